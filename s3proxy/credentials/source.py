"""
Open the source of client keys that the configuration names.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from twisted.python.reflect import namedAny

from s3proxy.configuration.sources import find_source
from s3proxy.configuration.tables import counted
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRules:
    """
    What the configuration says about every key, whatever its source.

    Attributes:
        backends: The backends that a key may name; None to allow any, and any backend key.
        backend_keys: The backend keys that a key may name, each with the name of its backend.
        limits: The limits of a key, if it sets none itself.
    """

    backends: Collection[str] | None
    backend_keys: Mapping[str, str] = field(default_factory=dict)
    limits: BudgetLimits = NO_LIMITS


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
    opener: Opener = namedAny(form.opener)
    return opener(argument, directory, rules)


def count_keys(source: ICredentialSource) -> str:
    """
    Return the number of keys as text for the operator.
    """
    known = source.list_credentials()
    return "an unknown number of keys" if known is None else counted(len(known), "key")
