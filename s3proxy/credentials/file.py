"""
Read clients' keys from a TOML file.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from zope.interface import implementer

from s3proxy.authentication.realm import SWITCHES
from s3proxy.configuration.tables import (
    Fault,
    Faults,
    Kind,
    NotAccepted,
    accepted_names,
    boolean,
    choice,
    count,
    list_of,
    named_faults,
    one_or_list_of,
    option,
    read_toml,
    size,
    structure,
    text,
)
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits, Credential
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.limits import GIB, MIB

MAX_KEYS_FILE_SIZE = 16 * MIB
"""
Maximum bytes of a keys file. 100,000 keys need 12 MiB; more belong in a database.
"""

BUDGET_OPTIONS = ("requests", "bodies", "requests_per_second", "bytes_per_second")
"""
The options that set one key's own limits.
"""

MAX_SECRETS = 2
"""
Maximum number of secrets of one key: the old and the new one, while clients change over.
"""


def _check_access_key_id(value: str) -> None:
    # A slash ends a key id in a credential scope; white space and commas end it in an Authorization header.
    if not value.isascii() or re.search(r"[\s/,]", value) or len(value) > 128:
        raise NotAccepted


def _secrets() -> Kind:
    def parse(value: Any) -> tuple[str, ...]:
        secrets = value if isinstance(value, list) else [value]
        if not 1 <= len(secrets) <= MAX_SECRETS:
            raise NotAccepted
        for secret in secrets:
            if not isinstance(secret, str) or not secret or not secret.isprintable():
                raise NotAccepted
        return tuple(secrets)

    return Kind("printable text, or a list of two during a key rotation", parse, is_secret=True)


def _moment() -> Kind:
    def parse(value: Any) -> datetime:
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise NotAccepted
        return value

    return Kind("a date and time with a UTC offset, like 2030-01-01T00:00:00Z, without quotation marks", parse)


_KEY_LIMIT = "the `key_` limit in `[limits]`"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTable:
    """
    One client key.
    """

    access_key_id: str = option(
        text("ASCII text of at most 128 characters without whitespace, slashes or commas", _check_access_key_id),
        "The access key id of the client. It must be unique.",
    )
    secret_access_key: tuple[str, ...] = option(_secrets(), "The secret that the client signs with, or two.")
    session_token: str | None = option(
        text("printable text", is_secret=True),
        "The session token of a temporary key. Every request must carry it.",
        None,
    )
    expires: datetime | None = option(_moment(), "When the key expires.", None)
    disabled: bool = option(boolean(), "Whether the key is treated as if it did not exist.", default=False)
    backend: str | None = option(
        text("the name of a [[backend]]"),
        "The backend of all requests with this key. It overrides every `[[route]]`.",
        None,
        told="the backend of a `[[route]]`, or the first backend",
    )
    backend_key: tuple[str, ...] = option(
        one_or_list_of(text("the name of a [[backend_key]]")),
        "The backend keys that sign for this key: one for each backend that it may use. Requests that match no "
        "`[[route]]` go to the backend of the first one.",
        (),
        told="the backend's own",
    )
    exempt: tuple[str, ...] = option(
        list_of(choice(*Exemption)),
        "Checks that are waived, for clients that cannot pass them.",
        (),
    )
    refuse: tuple[str, ...] = option(
        list_of(choice(*SWITCHES)), "Types of signatures and payloads that are refused for this key.", ()
    )
    requests: int | None = option(
        count(0, 1_000_000),
        "Concurrent requests with this key. Further ones wait. 0 for no limit.",
        None,
        told=_KEY_LIMIT,
    )
    bodies: int | None = option(
        count(0, 1_000_000), "Concurrent requests with this key and a body. 0 for no limit.", None, told=_KEY_LIMIT
    )
    requests_per_second: int | None = option(
        count(0, 1_000_000_000), "Requests per second with this key. 0 for no limit.", None, told=_KEY_LIMIT
    )
    bytes_per_second: int | None = option(
        size(0, 1024 * GIB),
        "Body bytes per second with this key, in both directions together. 0 for no limit.",
        None,
        told=_KEY_LIMIT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeysFile:
    """
    The keys file.
    """

    key: tuple[KeyTable, ...] = ()


def _budget(table: KeyTable, key_limits: BudgetLimits) -> BudgetLimits | None:
    own = {name: value for name in BUDGET_OPTIONS if (value := getattr(table, name)) is not None}
    return replace(key_limits, **own) if own else None


def read_keys(
    path: Path,
    backend_names: Collection[str] | None,
    key_limits: BudgetLimits = NO_LIMITS,
    backend_keys: Mapping[str, str] | None = None,
) -> dict[bytes, Credential]:
    """
    Read a keys file.

    Args:
        backend_names: The backends that a key may name; None to allow any, and any backend key.
        key_limits: The limits of a key, if it sets none itself.
        backend_keys: The backend keys that a key may name, each with the name of its backend.

    Returns:
        Credentials by access key id.

    Raises:
        Faults: All errors of the file, each with its location. No secret is in their text.
    """
    content = read_toml(path, MAX_KEYS_FILE_SIZE, "the keys file")
    try:
        tables = structure(_KeysFile, content).key
    except Faults as error:
        raise Faults(named_faults(error.faults, content), path) from None
    faults = []
    credentials: dict[bytes, Credential] = {}
    for index, table in enumerate(tables):
        access_key_id = table.access_key_id.encode()
        if access_key_id in credentials:
            faults.append(Fault(f"key[{index}].access_key_id", f'duplicate access key id "{table.access_key_id}"'))
        if backend_names is not None:
            if table.backend is not None and table.backend not in backend_names:
                faults.append(Fault(f"key[{index}].backend", accepted_names(table.backend, backend_names)))
            faults += _backend_key_faults(table, f"key[{index}].backend_key", backend_keys or {})
        credentials[access_key_id] = Credential(
            access_key_id=table.access_key_id,
            secret_access_keys=table.secret_access_key,
            session_token=table.session_token,
            expires_at=table.expires,
            is_disabled=table.disabled,
            exemptions=frozenset(map(Exemption, table.exempt)),
            refused=frozenset(table.refuse),
            backend=table.backend,
            backend_keys=table.backend_key,
            budget=_budget(table, key_limits),
        )
    faults = named_faults(faults, content)
    if faults:
        raise Faults(faults, path)
    return credentials


def _backend_key_faults(table: KeyTable, place: str, backend_keys: Mapping[str, str]) -> Iterable[Fault]:
    former: dict[str, str] = {}
    for name in table.backend_key:
        backend = backend_keys.get(name)
        if backend is None:
            yield Fault(place, accepted_names(name, backend_keys))
        elif backend in former:
            yield Fault(
                place, f'"{former[backend]}" and "{name}" both belong to backend "{backend}": only one per backend'
            )
        elif table.backend not in {None, backend}:
            yield Fault(place, f'"{name}" belongs to backend "{backend}", but the key\'s backend is "{table.backend}"')
        else:
            former[backend] = name


@implementer(ICredentialSource)
class FileCredentialStore:
    """
    The keys of one file, in memory until the file is read again.

    Args:
        backend_names: The backends that a key may name; None to allow any, and any backend key.
        key_limits: The limits of a key, if it sets none itself.
        backend_keys: The backend keys that a key may name, each with the name of its backend.

    Attributes:
        session_tokens: The session tokens of all keys; the same set object after each reload.
        secret_files: The file.

    Raises:
        Faults: The file has errors.
    """

    def __init__(
        self,
        path: Path,
        backend_names: Collection[str] | None = (),
        key_limits: BudgetLimits = NO_LIMITS,
        backend_keys: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._backend_keys = backend_keys
        self._key_limits = key_limits
        self._backend_names = backend_names
        self._credentials: dict[bytes, Credential] = {}
        self.session_tokens: set[bytes] = set()
        self.secret_files = (path,)
        self.reload()

    def start(self, reactor: Any) -> None:
        """
        Do nothing: the file was read when the source was opened.
        """

    def stop(self) -> None:
        """
        Do nothing: no file is open.
        """

    def list_credentials(self) -> Collection[Credential]:
        return self._credentials.values()

    def reload(self) -> None:
        """
        Read the whole file again. Requests see either the old keys or the new ones, never some of each.

        Raises:
            Faults: The file has errors; the old keys stay in use.
        """
        self._credentials = read_keys(self._path, self._backend_names, self._key_limits, self._backend_keys)
        self.session_tokens.clear()
        self.session_tokens.update(
            credential.session_token.encode()
            for credential in self._credentials.values()
            if credential.session_token is not None
        )

    def look_up(self, access_key_id: bytes) -> Credential | None:
        return self._credentials.get(access_key_id)


def open_file(argument: str, directory: Path, rules: KeyRules) -> FileCredentialStore:
    """
    Open the source ``file:PATH``.

    Raises:
        Faults: The file has errors.
    """
    return FileCredentialStore(directory / argument, rules.backends, rules.limits, rules.backend_keys)
