"""
A credential source is opened by its word: which words there are, and what each of them opens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.python.reflect import namedAny
from zope.interface.verify import verifyObject

from s3proxy.configuration.options import SOURCE
from s3proxy.configuration.sources import SOURCES
from s3proxy.configuration.tables import Faults, NotAccepted
from s3proxy.credentials.source import ANY_NAMES, KeyRules, count_keys, open_source
from s3proxy.interfaces import ICredentialSource

KEY = '[[key]]\naccess_key_id = "{name}"\nsecret_access_key = "a-secret"\n'


@pytest.mark.parametrize("word", SOURCES)
def test_each_word_names_an_opener(word: str) -> None:
    """
    The opener is imported only if the source is used, so no other test would miss it. The reference has each form.
    """
    form = SOURCES[word]

    assert callable(namedAny(form.opener))
    assert f'"{word}:{form.argument}"' in SOURCE.accepted
    assert SOURCE.parse(f"{word}:x") == f"{word}:x"


@pytest.mark.parametrize("word", [word for word, form in SOURCES.items() if form.writer is not None])
def test_each_writer_is_named(word: str) -> None:
    """
    It is imported only by `s3proxy keys`.
    """
    assert callable(namedAny(str(SOURCES[word].writer)))


@pytest.mark.parametrize("source", ["keys.toml", "file", "file:", "File:keys.toml", "ldap:x", ":x", ""])
def test_what_is_no_source(tmp_path: Path, source: str) -> None:
    """
    A known word, a colon and an argument are required.
    """
    with pytest.raises(NotAccepted):
        SOURCE.parse(source)
    with pytest.raises(NotAccepted):
        open_source(source, tmp_path, ANY_NAMES)


def test_the_keys_file_is_a_source(tmp_path: Path) -> None:
    """
    Its path starts from the directory of the configuration, and it has all that the daemon uses.
    """
    (tmp_path / "keys.toml").write_text(KEY.format(name="A") + 'backend = "elsewhere"\n')

    source = open_source("file:keys.toml", tmp_path, ANY_NAMES)

    assert verifyObject(ICredentialSource, source)
    assert list(source.secret_files) == [tmp_path / "keys.toml"]
    assert [key.access_key_id for key in source.list_credentials() or ()] == ["A"]
    assert count_keys(source) == "1 key"


@pytest.mark.parametrize(("text", "place"), [(KEY.format(name="a b"), "access_key_id"), (KEY.format(name="A"), "")])
def test_a_fault_of_the_keys_file_names_the_file(tmp_path: Path, text: str, place: str) -> None:
    """
    Whoever opens a source does not know that it is a file.
    """
    path = tmp_path / "keys.toml"
    path.write_text(text + 'backend = "elsewhere"\n')

    with pytest.raises(Faults) as raised:
        open_source(f"file:{path}", Path("/"), KeyRules(backends=["only"]))

    assert place in raised.value.told[0]
    assert all(told.startswith(f"{path}: [[key]]") for told in raised.value.told)
