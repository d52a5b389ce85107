"""
A keys file is replaced as a whole or not at all, with the mode and the owner that it had, by one operator at a time.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3proxy.configuration.tables import Faults
from s3proxy.credentials import file_writer
from s3proxy.credentials.file import read_keys
from s3proxy.credentials.file_writer import open_writer
from s3proxy.credentials.source import ANY_NAMES, KeyRules

KEY = '# first\n[[key]]\naccess_key_id = "ALICE"\nsecret_access_key = "secret of alice"\n'
BOB = {"access_key_id": "BOB", "secret_access_key": "secret of bob"}
RULES = KeyRules(backends=("only",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """
    A file with one key.
    """
    path = tmp_path / "keys.toml"
    path.write_text(KEY)
    path.chmod(0o640)
    return path


def names(path: Path) -> list[str]:
    """
    The keys as the daemon reads them.
    """
    return [name.decode() for name in read_keys(path, ANY_NAMES)]


def put(path: Path, record: dict[str, Any] = BOB) -> None:
    """
    Put one key into a file.
    """
    with open_writer(path.name, path.parent, RULES).edit() as edit:
        edit.put(record)


def test_a_file_is_replaced(path: Path) -> None:
    """
    It has another inode, the same mode and the same owner, and nothing is left beside it.
    """
    former = path.stat()

    put(path)

    now = path.stat()
    assert names(path) == ["ALICE", "BOB"]
    assert path.read_text().startswith(KEY)
    assert now.st_ino != former.st_ino
    assert (now.st_mode, now.st_uid, now.st_gid) == (former.st_mode, former.st_uid, former.st_gid)
    assert os.listdir(path.parent) == ["keys.toml"]


def test_a_reader_sees_the_former_file_or_the_new_one(path: Path) -> None:
    """
    Who has opened the file reads the former keys to their end.
    """
    with path.open() as reader:
        put(path)
        assert reader.read() == KEY


def test_nothing_changes_if_nothing_is_changed(path: Path) -> None:
    """
    The file is not even touched.
    """
    former = path.stat()

    put(path, {"access_key_id": "ALICE", "secret_access_key": "secret of alice"})

    assert path.stat() == former


def test_a_new_file_is_private(tmp_path: Path) -> None:
    """
    Whatever the umask.
    """
    former = os.umask(0)
    try:
        put(tmp_path / "keys.toml")
    finally:
        os.umask(former)

    assert stat.S_IMODE((tmp_path / "keys.toml").stat().st_mode) == 0o600


def test_a_link_stays(path: Path, tmp_path: Path) -> None:
    """
    Its target is replaced, in the target's directory.
    """
    (tmp_path / "etc").mkdir()
    link = tmp_path / "etc" / "keys.toml"
    link.symlink_to("../keys.toml")

    put(link)

    assert link.is_symlink()
    assert names(path) == ["ALICE", "BOB"]
    assert os.listdir(link.parent) == ["keys.toml"]


BROKEN = {
    "not TOML": "[[key]\n",
    "not UTF-8": None,
    "an unknown option": KEY + "disable = true\n",
    "an unknown backend": KEY + 'backend = "other"\n',
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_not_changed(path: Path, kind: str) -> None:
    """
    The daemon would not read it. The error names the file and no secret.
    """
    text = BROKEN[kind]
    path.write_bytes(b"\xff" if text is None else text.encode())
    former = path.read_bytes()

    with pytest.raises(Faults) as raised:
        put(path)

    assert path.read_bytes() == former
    assert all(str(path) in told for told in raised.value.told)
    assert "secret of" not in "".join(raised.value.told)


def test_a_file_that_would_be_broken_is_not_put_in_place(path: Path) -> None:
    """
    The new file is read as the daemon reads it. The error names the file, not the one beside it.
    """
    with pytest.raises(Faults) as raised:
        put(path, {**BOB, "backend": "other"})

    assert raised.value.told == [f'{path}: [[key]] "BOB": backend: "other" is not accepted; accepted: "only"']
    assert path.read_text() == KEY
    assert os.listdir(path.parent) == ["keys.toml"]


def test_a_file_that_would_be_too_large_is_not_put_in_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The error names the file.
    """
    monkeypatch.setattr("s3proxy.credentials.file.MAX_KEYS_FILE_SIZE", len(KEY) + 10)

    with pytest.raises(Faults) as raised:
        put(path)

    assert raised.value.told == [f"{path}: larger than {len(KEY) + 10}"]
    assert path.read_text() == KEY


@pytest.mark.parametrize("function", ["fsync", "replace", "fchmod"])
def test_an_error_of_the_disk_changes_nothing(path: Path, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A full disk: the former file stays, and nothing is left beside it.
    """

    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, function, fail)
        with pytest.raises(Faults) as raised:
            put(path)

    assert raised.value.told == [f"{path}: No space left on device"]
    assert path.read_text() == KEY
    assert os.listdir(path.parent) == ["keys.toml"]


def test_a_change_by_an_editor_is_not_lost(path: Path) -> None:
    """
    An editor does not know of the lock. If it writes meanwhile, its change stays, and this one is refused.
    """
    change = open_writer(path.name, path.parent, RULES).edit()
    change.__enter__().put(BOB)
    path.write_text(KEY + "# edited\n")
    with pytest.raises(Faults, match="another program"):
        change.__exit__(None, None, None)

    assert path.read_text() == KEY + "# edited\n"


def test_concurrent_changes_are_all_kept(path: Path) -> None:
    """
    Each reads what the one before it has written.
    """
    code = (
        "import sys; from pathlib import Path; from s3proxy.credentials.file_writer import open_writer;"
        "from s3proxy.credentials.source import ANY_NAMES\n"
        "for number in range(10):\n"
        "    with open_writer(sys.argv[1], Path(), ANY_NAMES).edit() as edit:\n"
        "        edit.put({'access_key_id': f'{sys.argv[2]}{number}', 'secret_access_key': 's'})\n"
    )
    processes = [subprocess.Popen([sys.executable, "-P", "-c", code, str(path), name]) for name in "XYZ"]

    assert [process.wait(120) for process in processes] == [0, 0, 0]
    assert sorted(names(path)) == ["ALICE", *(f"{name}{number}" for name in "XYZ" for number in range(10))]


def test_a_change_waits_for_another_one(path: Path) -> None:
    """
    The second one reads the file after the first one has ended.
    """
    with open_writer(path.name, path.parent, RULES).edit(), pytest.raises(BlockingIOError):
        lock(path.parent)
    os.close(lock(path.parent))

    writer = open_writer(path.name, path.parent, RULES)
    second = threading.Thread(target=put, args=(path, {**BOB, "access_key_id": "CAROL"}))
    with writer.edit() as edit:
        second.start()
        edit.put(BOB)
    second.join(60)

    assert names(path) == ["ALICE", "BOB", "CAROL"]


def lock(directory: Path) -> int:
    """
    Lock a directory as a second operator does, without waiting; return its descriptor.
    """
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise
    return fd


def test_an_exception_undoes_a_change(path: Path) -> None:
    """
    Nothing is written, and the lock is free again.
    """
    with contextlib.suppress(ZeroDivisionError), open_writer(path.name, path.parent, RULES).edit() as edit:
        edit.put(BOB)
        raise ZeroDivisionError
    assert path.read_text() == KEY

    put(path)
    assert names(path) == ["ALICE", "BOB"]


@contextlib.contextmanager
def played_owner(monkeypatch: pytest.MonkeyPatch, change: Any) -> Iterator[None]:
    """
    Let the file belong to another user and group.
    """
    real = os.stat

    def found(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        values = list(real(path, *arguments, **options))
        values[4:6] = [4711, 4712]
        return os.stat_result(values)

    with monkeypatch.context() as patch:
        patch.setattr(file_writer.os, "stat", found)
        patch.setattr(file_writer.os, "fchown", change)
        patch.setattr(file_writer, "_version", lambda found: None)
        yield


def test_the_owner_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    root changes the file of the daemon's user: the daemon can still read it.
    """
    changed: list[tuple[int, int]] = []

    with played_owner(monkeypatch, lambda fd, user, group: changed.append((user, group))):
        put(path)

    assert changed == [(4711, 4712)]
    assert names(path) == ["ALICE", "BOB"]


def test_a_file_that_cannot_keep_its_owner_is_not_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The daemon might be unable to read the new one.
    """

    def refuse(*arguments: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with played_owner(monkeypatch, refuse), pytest.raises(Faults, match="belongs to user 4711 and group 4712"):
        put(path)

    assert path.read_text() == KEY


def test_an_access_control_list_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It may be what lets the daemon read the file. A label that only the system may set is left out.
    """
    given: dict[str, bytes] = {}

    def give(fd: int, name: str, value: bytes) -> None:
        if name.startswith("security."):
            raise PermissionError(errno.EPERM, "Operation not permitted")
        given[name] = value

    with monkeypatch.context() as patch:
        patch.setattr(file_writer.os, "listxattr", lambda path: ["security.selinux", "system.posix_acl_access"])
        patch.setattr(file_writer.os, "getxattr", lambda path, name: name.encode())
        patch.setattr(file_writer.os, "setxattr", give)
        put(path)

    assert given == {"system.posix_acl_access": b"system.posix_acl_access"}
    assert names(path) == ["ALICE", "BOB"]


def test_without_its_access_control_list_a_file_is_not_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Others could read the new one, or the daemon could not.
    """

    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    with monkeypatch.context() as patch:
        patch.setattr(file_writer.os, "listxattr", lambda path: ["system.posix_acl_access"])
        patch.setattr(file_writer.os, "getxattr", lambda path, name: b"")
        patch.setattr(file_writer.os, "setxattr", refuse)
        with pytest.raises(Faults, match="Operation not supported"):
            put(path)

    assert path.read_text() == KEY


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """
    A directory, or a file in no directory.
    """
    (tmp_path / "directory").mkdir()

    for argument, told in (("directory", "is not a regular file"), ("none/keys.toml", "No such file or directory")):
        with pytest.raises(Faults, match=told), open_writer(argument, tmp_path, RULES).edit():
            pass


def test_keys_are_listed(path: Path, tmp_path: Path) -> None:
    """
    As the file has them; a file that does not exist is an error.
    """
    writer = open_writer(path.name, path.parent, RULES)

    assert writer.records() == [{"access_key_id": "ALICE", "secret_access_key": "secret of alice"}]
    with pytest.raises(Faults, match="No such file"):
        open_writer("other.toml", tmp_path, RULES).records()
