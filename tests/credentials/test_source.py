"""
A credential source is opened by its word: which words there are, and what each of them opens.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from twisted.python.reflect import namedAny
from zope.interface.verify import verifyObject

from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.options import SOURCE
from s3proxy.configuration.sources import SOURCES, SourceForm, find_source
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
    example = f"{word}://x" if form.is_url else f"{word}:x"
    assert SOURCE.parse(example) == example


@pytest.mark.parametrize("word", [word for word, form in SOURCES.items() if form.writer is not None])
def test_each_writer_is_named(word: str) -> None:
    """
    It is imported only by `s3proxy keys`.
    """
    assert callable(namedAny(str(SOURCES[word].writer)))


@pytest.fixture
def url_form(monkeypatch: pytest.MonkeyPatch) -> SourceForm:
    """
    Add a source whose word is the scheme of a URL.
    """
    form = SourceForm("//HOST/NAME", "s3proxy.credentials.file.open_file")
    monkeypatch.setitem(SOURCES, "scheme", form)
    return form


def test_a_url_is_a_source(url_form: SourceForm) -> None:
    """
    Its opener gets the whole URL. That of a word gets what follows the colon, which may be a URL, too.
    """
    url = "scheme://user:a@host:1/name?a=b:c"

    assert find_source(url) == (url_form, url)
    assert find_source("file:https://host/x") == (SOURCES["file"], "https://host/x")
    for source in ("scheme:", "scheme:x", "scheme:/x", "scheme://", "scheme"):
        with pytest.raises(NotAccepted):
            find_source(source)


def test_a_wrong_url_is_not_shown(url_form: SourceForm, tmp_path: Path) -> None:
    """
    It may contain a password, wherever that is in it. Neither the error nor the text form of the settings has it.
    """
    backend = [{"name": "only", "url": "http://h", "signature": "none"}]
    with pytest.raises(Faults) as raised:
        make_settings({"backend": backend, "credentials": {"source": "shceme://h/n?password=hidden"}}, tmp_path)
    settings = make_settings({"backend": backend, "credentials": {"source": "scheme://u:hidden@h/n"}}, tmp_path)

    assert [fault.place for fault in raised.value.faults] == ["credentials.source"]
    assert "hidden" not in str(raised.value)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("source", ["keys.toml", "file", "file:", "File:keys.toml", "gopher:x", ":x", ""])
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
