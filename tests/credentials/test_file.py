"""
A keys file: what it may say, that it is used whole or not at all, and that no text has a secret.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from s3proxy.configuration.tables import Faults
from s3proxy.credentials.file import FileCredentialStore, read_keys
from s3proxy.credentials.record import KeyTable
from s3proxy.credentials.source import ANY_NAMES, KeyRules

ONE = '[[key]]\naccess_key_id = "{name}"\nsecret_access_key = {secret}\n'


def write(directory: Path, name: str = "CLIENT", secret: str = '"a-secret"', more: str = "") -> Path:
    """
    Write a file with one key, and more.
    """
    path = directory / "keys.toml"
    path.write_text(ONE.format(name=name, secret=secret) + more)
    return path


def refusal(path: Path) -> str:
    """
    All errors of a file; empty if it is accepted.
    """
    try:
        read_keys(path, KeyRules(backends=("first",)))
    except Faults as error:
        return "\n".join(f"{fault.place}: {fault.message}" for fault in error.faults)
    return ""


@pytest.mark.parametrize("name", ["CLIENT", "account:user", "a.b-c_d+e=f@g"])
def test_names_of_keys(tmp_path: Path, name: str) -> None:
    """
    Every name that fits in a credential scope and in an Authorization header.
    """
    assert refusal(write(tmp_path, name)) == ""


@pytest.mark.parametrize("name", ["a/b", "a b", "a,b", "\u00e4", "", "a" * 129])
def test_names_that_are_cut_by_a_scope_or_a_header(tmp_path: Path, name: str) -> None:
    """
    Two readers would find two different keys.
    """
    assert "key[0].access_key_id" in refusal(write(tmp_path, name))


@pytest.mark.parametrize(
    "secret", ['""', '["a", "b", "c"]', "[]", '["a", ""]', '"a\\u0000"', '["a", "b\\n"]', "1", "[1]"]
)
def test_what_is_no_secret(tmp_path: Path, secret: str) -> None:
    """
    One or two secrets, printable and not empty: HMAC accepts an empty key.
    """
    assert "key[0].secret_access_key" in refusal(write(tmp_path, secret=secret))


def test_two_secrets(tmp_path: Path) -> None:
    """
    A key has two while one replaces the other.
    """
    (credential,) = read_keys(write(tmp_path, secret='["former", "new"]'), ANY_NAMES).values()

    assert credential.secret_access_keys == ("former", "new")


@pytest.mark.parametrize(
    ("more", "place"),
    [
        (ONE.format(name="CLIENT", secret='"other"'), "key[1].access_key_id"),
        ('backend = "second"', "key[0].backend"),
        ("disable = true", "key[0].disable"),
        ('exempt = ["everything"]', "key[0].exempt"),
        ("expires = 2030-01-01", "key[0].expires"),
    ],
)
def test_a_file_with_a_fault_is_not_taken(tmp_path: Path, more: str, place: str) -> None:
    """
    A duplicate key, an unknown backend, a misspelt option: all former keys stay.
    """
    store = FileCredentialStore(write(tmp_path), KeyRules(backends=("first",)))
    write(tmp_path, more=more)

    assert place in refusal(tmp_path / "keys.toml")
    with pytest.raises(Faults):
        store.reload()
    credential = store.look_up(b"CLIENT")
    assert credential is not None
    assert credential.secret_access_keys == ("a-secret",)


def test_no_text_holds_a_secret(tmp_path: Path) -> None:
    """
    Neither the text of a credential nor that of an error.
    """
    path = write(tmp_path, more='session_token = "a-token"')
    (credential,) = read_keys(path, ANY_NAMES).values()

    for text in (repr(credential), str(credential), f"{credential!r}"):
        assert "a-secret" not in text
        assert "a-token" not in text
    assert "a-secret" not in refusal(write(tmp_path, secret='["a-secret", ""]'))
    assert "a-secret" not in repr(KeyTable(access_key_id="CLIENT", secret_access_key=("a-secret",)))
    assert "a-secret" not in refusal(write(tmp_path, name="a/b"))


def test_a_reload_is_whole(tmp_path: Path) -> None:
    """
    Tokens of removed keys are no longer accepted.
    """
    store = FileCredentialStore(write(tmp_path, more='session_token = "a-token"'), KeyRules(backends=()))
    assert store.session_tokens == {b"a-token"}

    write(tmp_path, name="OTHER")
    store.reload()

    assert store.session_tokens == set()
    assert store.look_up(b"CLIENT") is None
    assert [key.access_key_id for key in store.list_credentials()] == ["OTHER"]
