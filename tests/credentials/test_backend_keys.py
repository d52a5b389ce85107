"""
Client keys that are mapped to our own keys: what a keys file may say about them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s3proxy.configuration.tables import Faults
from s3proxy.credentials.file import read_keys
from s3proxy.credentials.source import ANY_NAMES, KeyRules
from s3proxy.s3.credential import Credential

BACKENDS = ("first", "logs")
BACKEND_KEYS = {"a": "first", "b": "first", "logs-a": "logs"}


def read(directory: Path, options: str, backend_keys: dict[str, str] | None = None) -> Credential:
    """
    Read a file with one key.
    """
    path = directory / "keys.toml"
    path.write_text(f'[[key]]\naccess_key_id = "CLIENT"\nsecret_access_key = "secret"\n{options}\n')
    known = BACKEND_KEYS if backend_keys is None else backend_keys
    return read_keys(path, KeyRules(backends=BACKENDS, backend_keys=known))[b"CLIENT"]


@pytest.mark.parametrize(
    ("options", "backend", "backend_keys"),
    [
        ("", None, ()),
        ('backend_key = "a"', None, ("a",)),
        ('backend_key = ["logs-a", "b"]', None, ("logs-a", "b")),
        ('backend_key = "logs-a"\nbackend = "logs"', "logs", ("logs-a",)),
    ],
)
def test_a_key_names_one_key_of_ours_for_each_backend(
    tmp_path: Path, options: str, backend: str | None, backend_keys: tuple[str, ...]
) -> None:
    """
    One name, or several in the order in which they are written.
    """
    credential = read(tmp_path, options)

    assert (credential.backend, credential.backend_keys) == (backend, backend_keys)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('backend_key = "c"', '"c" is not accepted; accepted: "a" | "b" | "logs-a"'),
        ('backend_key = ["a", "b"]', '"a" and "b" both belong to backend "first"'),
        ('backend_key = ["a", "a"]', '"a" and "a" both belong to backend "first"'),
        ('backend_key = "a"\nbackend = "logs"', '"a" belongs to backend "first", but the key\'s backend is "logs"'),
        ('backend_key = ["logs-a", "a"]\nbackend = "logs"', '"a" belongs to backend "first"'),
        ("backend_key = 5", "the name of a [[backend_key]]; or a list of at least 1"),
        ("backend_key = []", "the name of a [[backend_key]]; or a list of at least 1"),
    ],
)
def test_a_contradiction_is_a_fault(tmp_path: Path, options: str, message: str) -> None:
    """
    It is reported with its place, and no key of such a file is used.
    """
    with pytest.raises(Faults) as raised:
        read(tmp_path, options)

    (fault,) = raised.value.faults
    assert fault.place == "key[0].backend_key"
    assert message in fault.message


def test_where_there_is_none_nothing_is_accepted(tmp_path: Path) -> None:
    """
    The message says that the configuration has no such table.
    """
    with pytest.raises(Faults, match="none, because none is defined"):
        read(tmp_path, 'backend_key = "a"', {})


def test_who_only_reads_keys_needs_no_configuration(tmp_path: Path) -> None:
    """
    ``s3proxy presign`` needs no backends.
    """
    read(tmp_path, 'backend_key = "a"')

    keys = read_keys(tmp_path / "keys.toml", ANY_NAMES)

    assert keys[b"CLIENT"].backend_keys == ("a",)
