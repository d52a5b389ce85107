"""
The options of multipart uploads: what they accept, and what holds without them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from s3proxy.backends import make_backend
from s3proxy.config import make_settings
from s3proxy.generation import key_multipart_size
from s3proxy.resign.profiles import PROFILES
from s3proxy.settings import Limits, Settings
from s3proxy.tables import Faults


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
    `key_multipart_size` says otherwise.
    """
    assert key_multipart_size(limits) == expected


def test_what_holds_without_them(tmp_path: Path) -> None:
    """
    With a directory they are kept, without one refused; a storage that has its own gets them.
    """
    kept = settings(tmp_path, server={"multipart_directory": "m"})
    ours = settings(tmp_path, environment={"STATE_DIRECTORY": f"{tmp_path}:/other"})
    refused = settings(tmp_path)
    own = settings(tmp_path, profile="generic", signature="v4", environment={"STATE_DIRECTORY": str(tmp_path)})

    assert (kept.backends[0].multipart, kept.server.multipart_directory) == ("spool", str(tmp_path / "m"))
    assert (ours.backends[0].multipart, ours.server.multipart_directory) == ("spool", str(tmp_path / "multipart"))
    assert (refused.backends[0].multipart, refused.server.multipart_directory) == ("refuse", None)
    assert own.backends[0].multipart is None
    explicit = settings(tmp_path, server={"multipart_directory": "m"}, multipart="refuse")
    assert explicit.backends[0].multipart == "refuse"


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - {"walrus-3.4"}))
@pytest.mark.parametrize("word", ["spool", "refuse"])
def test_a_storage_that_has_its_own(tmp_path: Path, profile: str, word: str) -> None:
    """
    The option is refused in words.
    """
    with pytest.raises(Faults) as caught:
        settings(tmp_path, profile=profile, multipart=word, server={"multipart_directory": "m"})
    assert [str(fault) for fault in caught.value.faults] == [
        f'[[backend]] "a": multipart: a {profile} has multipart uploads of its own; this is for profile walrus-3.4'
    ]


def test_what_cannot_be(tmp_path: Path) -> None:
    """
    Parts need a place, and the place a parent.
    """
    with pytest.raises(Faults, match=r"multipart: \"spool\" needs server.multipart_directory"):
        settings(tmp_path, multipart="spool")
    with pytest.raises(Faults, match=r"server.multipart_directory: .*is no directory"):
        settings(tmp_path, server={"multipart_directory": "a/b/c"})
    with pytest.raises(Faults, match="multipart"):
        settings(tmp_path, multipart="pass")


def test_what_a_backend_is_asked_for(tmp_path: Path) -> None:
    """
    All seven operations, or none of them.
    """
    seven = {name for name in PROFILES["minio"].operations if "Multipart" in name or "Part" in name}
    assert len(seven) == 7
    for one, expected in (
        (settings(tmp_path, server={"multipart_directory": "m"}), seven),
        (settings(tmp_path), set()),
    ):
        backend = make_backend(one.backends[0], one, None)
        assert backend.keeps_multipart is bool(expected)
        assert backend.allowed.operations & seven == expected
