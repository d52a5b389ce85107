"""
The directory of multipart uploads: its choice, its owner, and that only one daemon uses it.
"""

from __future__ import annotations

import os
import pwd
import re
from pathlib import Path

import pytest

from s3proxy.multipart import directory as module
from s3proxy.multipart.directory import (
    CannotKeepUploads,
    DirectoryClaim,
    NoDirectory,
    default_directories,
    find_directory,
    make_directory,
)

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
OTHER = 65534
"""
The id of another user.
"""


@pytest.fixture(autouse=True)
def system_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """
    A replacement for the machine's own directory.
    """
    path = tmp_path / "var" / "s3proxy"
    monkeypatch.setattr(module, "SYSTEM_DIRECTORY", path)
    return path


def test_the_order(system_directory: Path) -> None:
    """
    The service manager's directory comes first, then that of the system's daemons, then this user's.
    """
    own = Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".local/state/s3proxy/multipart"
    environment = {"STATE_DIRECTORY": "/s:/other", "XDG_STATE_HOME": "/x", "HOME": "/h"}

    assert default_directories(environment) == [
        Path("/s/multipart"),
        system_directory / "multipart",
        Path("/x/s3proxy/multipart"),
        Path("/h/.local/state/s3proxy/multipart"),
        own,
    ]
    assert default_directories({"XDG_STATE_HOME": "x", "HOME": ""}) == [system_directory / "multipart", own]


def test_the_first_that_can_be_used(tmp_path: Path, system_directory: Path) -> None:
    """
    Each is used in its turn, and the search makes nothing.
    """
    environment = {"STATE_DIRECTORY": str(tmp_path / "s"), "XDG_STATE_HOME": str(tmp_path / "x")}

    assert find_directory("anywhere", environment) == Path("anywhere")
    assert find_directory(None, environment) == tmp_path / "s/multipart"
    (tmp_path / "s").write_bytes(b"")
    assert find_directory(None, environment) == system_directory / "multipart"
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o777)
    assert find_directory(None, environment) == tmp_path / "x/s3proxy/multipart"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s", "var"]


def test_none_that_can_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The message has the reason for each directory.
    """
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o750)
    paths = [tmp_path / "file" / "a", tmp_path / "open"]
    monkeypatch.setattr(module, "default_directories", lambda environment: paths)

    with pytest.raises(NoDirectory, match=r"file.*; .*open: others can reach it \(its mode is 0750\)"):
        DirectoryClaim(None, {})


def test_it_is_made_for_us_alone(tmp_path: Path) -> None:
    """
    The directory is made with its parents, if no option names it.
    """
    claim = DirectoryClaim(None, {"STATE_DIRECTORY": str(tmp_path / "a" / "b")})
    claim.give_up()

    assert claim.directory == tmp_path / "a/b/multipart"
    assert [path.stat().st_mode & 0o777 for path in (*claim.directory.parents[:2], claim.directory)] == [0o700] * 3
    with pytest.raises(CannotKeepUploads, match=r"c/d.*No such file"):
        DirectoryClaim(str(tmp_path / "c" / "d"), {})


@pytest.mark.parametrize("mode", [0o701, 0o710, 0o720, 0o702, 0o777])
def test_what_others_can_reach(tmp_path: Path, mode: int) -> None:
    """
    It must not hold what clients have sent.
    """
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(mode)

    with pytest.raises(CannotKeepUploads, match=rf"its mode is {mode:04o}"):
        make_directory(tmp_path / "m")


def test_what_others_can_replace(tmp_path: Path) -> None:
    """
    A directory that everyone may rename is refused, unless its parent is sticky, as ``/tmp`` is.
    """
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)

    with pytest.raises(CannotKeepUploads, match="every user of this machine can replace"):
        make_directory(above / "m")
    above.chmod(0o1777)
    make_directory(above / "m")


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"")

    with pytest.raises(CannotKeepUploads, match="is not a directory"):
        make_directory(tmp_path / "m")


def test_a_link_of_ours(tmp_path: Path) -> None:
    """
    A user with a larger disk elsewhere may make a link to it.
    """
    (tmp_path / "large").mkdir(0o700)
    (tmp_path / "m").symlink_to("large")
    make_directory(tmp_path / "m")

    (tmp_path / "n").symlink_to("nowhere")
    with pytest.raises((CannotKeepUploads, OSError)):
        DirectoryClaim(str(tmp_path / "n"), {})
    assert not (tmp_path / "nowhere").exists()


def test_a_link_of_another_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    That user may change the link's target at any time.
    """
    (tmp_path / "ours").mkdir(0o700)
    (tmp_path / "link").symlink_to("ours")
    if os.geteuid() == 0:
        os.lchown(tmp_path / "link", OTHER, OTHER)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: OTHER)

    with pytest.raises(CannotKeepUploads, match="is a symbolic link of another user"):
        make_directory(tmp_path / "link")


@as_root
def test_what_is_another_users(tmp_path: Path) -> None:
    """
    Another user's directory is not used, and none is made in it.
    """
    (tmp_path / "his").mkdir(0o700)
    os.chown(tmp_path / "his", OTHER, OTHER)

    with pytest.raises(CannotKeepUploads, match="must belong to the user"):
        make_directory(tmp_path / "his")
    environment = {"STATE_DIRECTORY": str(tmp_path / "his"), "XDG_STATE_HOME": str(tmp_path / "x")}
    (tmp_path / "var").write_bytes(b"")
    assert find_directory(None, environment) == tmp_path / "x/s3proxy/multipart"


def test_one_daemon_at_a_time(tmp_path: Path) -> None:
    """
    The second daemon gets an error that names the first one, until that one ends.
    """
    named = str(tmp_path / "m")
    first = DirectoryClaim(named)

    why = f"{named}: another daemon, process {os.getpid()}, keeps its uploads there; give each its own"
    with pytest.raises(CannotKeepUploads, match=f"^{re.escape(why)}$"):
        DirectoryClaim(named)
    first.give_up()
    first.give_up()
    second = DirectoryClaim(named)
    second.give_up()
