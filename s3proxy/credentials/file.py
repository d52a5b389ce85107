"""
Read clients' keys from a TOML file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zope.interface import implementer

from s3proxy.configuration.tables import Fault, Faults, named_faults, read_toml, structure
from s3proxy.credentials.record import KeyTable, key_faults, make_credential
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import Credential
from s3proxy.s3.limits import MIB

MAX_KEYS_FILE_SIZE = 16 * MIB
"""
Maximum bytes of a keys file. 100,000 keys need 12 MiB; more belong in a database.
"""

PURPOSE = "the keys file"
"What the file is, for messages."


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeysFile:
    """
    The keys file.
    """

    key: tuple[KeyTable, ...] = ()


def read_keys(path: Path, rules: KeyRules) -> dict[bytes, Credential]:
    """
    Read a keys file.

    Returns:
        Credentials by access key id.

    Raises:
        Faults: All errors of the file, each with its location. No secret is in their text.
    """
    return make_credentials(read_toml(path, MAX_KEYS_FILE_SIZE, PURPOSE), rules, path)


def make_credentials(content: Mapping[str, Any], rules: KeyRules, path: Path) -> dict[bytes, Credential]:
    """
    Return the credentials that the content of a keys file describes, by access key id.

    Raises:
        Faults: As `read_keys`.
    """
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
        faults += key_faults(table, f"key[{index}]", rules)
        credentials[access_key_id] = make_credential(table, rules)
    faults = named_faults(faults, content)
    if faults:
        raise Faults(faults, path)
    return credentials


@implementer(ICredentialSource)
class FileCredentialStore:
    """
    The keys of one file, in memory until the file is read again.

    Attributes:
        session_tokens: The session tokens of all keys; the same set object after each reload.
        secret_files: The file.

    Raises:
        Faults: The file has errors.
    """

    def __init__(self, path: Path, rules: KeyRules) -> None:
        self._path = path
        self._rules = rules
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
        self._credentials = read_keys(self._path, self._rules)
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
    return FileCredentialStore(directory / argument, rules)
