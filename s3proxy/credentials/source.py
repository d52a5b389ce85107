"""
Open the source of client keys that the configuration names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from twisted.python.reflect import namedAny

from s3proxy.configuration.options import CredentialsSettings, Times
from s3proxy.configuration.sources import SourceForm, find_source
from s3proxy.configuration.tables import Fault, Faults, counted
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits

_DEFAULTS = CredentialsSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheLimits:
    """
    How long and how much a source remembers of what it was told. Times are in seconds.

    Attributes:
        ttl: How long a key is used before it is asked for again.
        negative_ttl: The same for an unknown key.
        stale: How long a key is used after it was last told, while the source fails.
        entries: Maximum number of keys.
        patience: After this time without a response, the source counts as failed. It is shorter than `times.lookup`,
            so that a request with a known key is served if the source hangs.
    """

    ttl: float = _DEFAULTS.ttl
    negative_ttl: float = _DEFAULTS.negative_ttl
    stale: float = _DEFAULTS.stale
    entries: int = _DEFAULTS.entries
    patience: float = Times().lookup / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """
    What the configuration says about every key, whatever its source.

    Attributes:
        backends: The backends that a key may name; None to allow any, and any backend key.
        backend_keys: The backend keys that a key may name, each with the name of its backend.
        limits: The limits of a key, if it sets none itself.
        cache: For a source that asks another process for keys.
        options: The options of the source. Relative paths start from the directory of the configuration.
    """

    backends: Collection[str] | None
    backend_keys: Mapping[str, str] = field(default_factory=dict)
    limits: BudgetLimits = NO_LIMITS
    cache: CacheLimits = CacheLimits()
    options: CredentialsSettings = _DEFAULTS


ANY_NAMES = KeyRules(backends=None)
"""
The rules if there is no configuration.
"""

Opener = Callable[[str, Path, KeyRules], ICredentialSource]
"""
Opens a source. It gets the argument after the word, or the whole source if that is a URL; the directory where relative
paths start; and the rules for keys.
`s3proxy.interfaces.ICredentialSource` says what opening may do. It raises `Faults`; a fault of a file has the file's
path, any other fault has the place ``credentials.source``.
"""


def open_source(source: str, directory: Path, rules: KeyRules) -> ICredentialSource:
    """
    Open a source by its word. Nothing is started.

    Args:
        source: As in the configuration: ``file:keys.toml``.
        directory: Where relative paths start.

    Raises:
        NotAccepted: The word is unknown, or the argument is missing. Settings have no such source.
        Faults: All errors of the source that can be found without waiting.
    """
    form, argument = find_source(source)
    opener: Opener = import_opener(form, form.opener)
    return opener(argument, directory, rules)


def import_opener(form: SourceForm, name: str) -> Any:
    """
    Return a function that a row names.

    Raises:
        Faults: The source's driver is missing.
    """
    try:
        return namedAny(name)
    except ImportError as error:
        if not form.extra:
            raise
        needed = f'the driver is missing ({error}): pip install "txs3proxy[{form.extra}]"'
        raise Faults([Fault("credentials.source", needed)]) from None


def count_keys(source: ICredentialSource) -> str:
    """
    Return the number of keys as text for the operator.
    """
    known = source.list_credentials()
    return "an unknown number of keys" if known is None else counted(len(known), "key")
