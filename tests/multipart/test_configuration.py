"""
The options of multipart uploads: what they accept, and what holds without them.
"""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from typing import Any

import pytest

from s3proxy.commands.cli import main
from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.options import Limits, Settings
from s3proxy.configuration.tables import Faults
from s3proxy.daemon.backends import CannotStart, make_backend
from s3proxy.daemon.generation import claim_directory, key_multipart_size
from s3proxy.profiles.known import PROFILES
from tests.support.processes import write_configuration

WALRUS = 'profile = "walrus-3.4"\nsignature = "v2"\n'


def settings(
    directory: Path, *, server: dict[str, Any] | None = None, environment: dict[str, str] | None = None, **backend: Any
) -> Settings:
    content = {
        "server": server or {},
        "backend": [
            {
                "name": "a",
                "url": "http://127.0.0.1:1",
                "access_key_id": "k",
                "secret_access_key": "s",
                "profile": "walrus-3.4",
                "signature": "v2",
                **backend,
            }
        ],
    }
    return make_settings(content, directory, environment or {})


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), 16 << 30),
        (Limits(multipart_size=64 << 20), 32 << 20),
        (Limits(key_multipart_size=1000), 1000),
        (Limits(key_multipart_size=0), 0),
    ],
)
def test_a_key_has_half_of_the_room_by_default(limits: Limits, expected: int) -> None:
    """
    `key_multipart_size` sets another value.
    """
    assert key_multipart_size(limits) == expected


def test_what_holds_without_them(tmp_path: Path) -> None:
    """
    Uploads are kept; a storage system with its own multipart uploads gets the requests. The directory is chosen when
    the daemon starts.
    """
    kept = settings(tmp_path, server={"multipart_directory": "m"})
    ours = settings(tmp_path, environment={"STATE_DIRECTORY": str(tmp_path)})
    refused = settings(tmp_path, server={"multipart_directory": "m"}, multipart="refuse")
    own = settings(tmp_path, profile="generic", signature="v4")

    assert [one.backends[0].keeps_multipart for one in (kept, ours, refused, own)] == [True, True, False, False]
    assert [one.server.multipart_directory for one in (kept, ours, own)] == [str(tmp_path / "m"), None, None]


def test_a_storage_whose_own_lose_objects(tmp_path: Path) -> None:
    """
    The backend gets the requests, unless the option says that uploads are kept.
    """
    directory = {"multipart_directory": "m"}
    own = settings(tmp_path, profile="walrusbackend-4.x", server=directory)
    kept = settings(tmp_path, profile="walrusbackend-4.x", server=directory, multipart="spool")

    assert [one.backends[0].keeps_multipart for one in (own, kept)] == [False, True]
    assert "ListParts" in make_backend(kept.backends[0], kept, None).allowed.operations


@pytest.mark.parametrize(
    ("profile", "word"),
    [
        (profile, word)
        for profile in sorted(PROFILES.keys() - {"walrus-3.4"})
        for word in ("spool", "refuse")
        if (profile, word) != ("walrusbackend-4.x", "spool")
    ],
)
def test_a_storage_that_has_its_own(tmp_path: Path, profile: str, word: str) -> None:
    """
    The option is refused with a message.
    """
    with pytest.raises(Faults) as caught:
        settings(tmp_path, profile=profile, multipart=word, server={"multipart_directory": "m"})
    assert [str(fault) for fault in caught.value.faults] == [
        f'[[backend]] "a": multipart: {profile} supports multipart uploads; this option is for profile walrus-3.4'
    ]


def test_what_cannot_be(tmp_path: Path) -> None:
    """
    The parent of a configured directory must exist.
    """
    with pytest.raises(Faults, match=r"server.multipart_directory: .*not a directory"):
        settings(tmp_path, server={"multipart_directory": "a/b/c"})
    with pytest.raises(Faults, match="multipart"):
        settings(tmp_path, multipart="pass")


def test_what_a_backend_is_asked_for(tmp_path: Path) -> None:
    """
    The client may use all seven operations, or none of them.
    """
    seven = {name for name in PROFILES["minio"].operations if "Multipart" in name or "Part" in name}
    assert len(seven) == 7
    for one, expected in (
        (settings(tmp_path), seven),
        (settings(tmp_path, multipart="refuse"), set()),
    ):
        backend = make_backend(one.backends[0], one, None)
        assert backend.keeps_multipart is bool(expected)
        assert backend.allowed.operations & seven == expected


def test_check_tells_the_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    The report has the configured directory, or the one that this user's daemon would make, or the reason if there is
    none. Nothing is made.
    """
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    found = write_configuration(tmp_path, "http://127.0.0.1:1", backend=WALRUS)
    assert main(["check", str(found)]) == 0
    user = pwd.getpwuid(os.geteuid()).pw_name
    place = f"{tmp_path / 'state' / 'multipart'}, if the daemon runs as user {user}\n"
    assert f'note: backend "test": multipart uploads are kept in {place}' in capsys.readouterr().out

    named = write_configuration(tmp_path, "http://127.0.0.1:1", backend=WALRUS, server='multipart_directory = "m"')
    assert main(["check", str(named)]) == 0
    assert f"multipart uploads are kept in {tmp_path / 'm'}\n" in capsys.readouterr().out

    monkeypatch.setattr("s3proxy.multipart.directory.default_directories", lambda environment: [tmp_path / "keys.toml"])
    none = write_configuration(tmp_path, "http://127.0.0.1:1", backend=WALRUS)
    assert main(["check", str(none)]) == 0
    told = f"are refused: server.multipart_directory is required: {tmp_path / 'keys.toml'}: is not a directory\n"
    assert told in capsys.readouterr().out

    refused = write_configuration(tmp_path, "http://127.0.0.1:1", backend=f'{WALRUS}multipart = "refuse"\n')
    assert main(["check", str(refused)]) == 0
    assert "multipart" not in capsys.readouterr().out
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "m").exists()


def test_a_directory_that_must_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If ``spool`` is configured explicitly, nothing starts without a directory. If it is not, uploads are refused.
    """
    monkeypatch.setattr("s3proxy.multipart.directory.default_directories", lambda environment: [])

    assert claim_directory(settings(tmp_path)) is None
    with pytest.raises(CannotStart, match=r"server\.multipart_directory is required"):
        claim_directory(settings(tmp_path, multipart="spool"))
    claim = claim_directory(settings(tmp_path, multipart="spool", server={"multipart_directory": "m"}))
    assert claim is not None
    claim.give_up()
    assert claim_directory(settings(tmp_path, multipart="refuse", server={"multipart_directory": "m"})) is None
