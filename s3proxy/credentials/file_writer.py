"""
Change a keys file: it is replaced as a whole, or stays as it is.

The strategy: whoever changes a keys file by this module locks its directory, so that no change is lost. The new file is
made beside the former one with the same mode, owner and further attributes, reaches the disk, is read as the daemon
reads it, and only then gets the name. A daemon that reads the file at any moment finds either all of the former keys or
all of the new ones.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from s3proxy.configuration.tables import Fault, Faults, read_toml
from s3proxy.credentials.file import MAX_KEYS_FILE_SIZE, PURPOSE, make_credentials, read_keys
from s3proxy.credentials.file_text import CannotEdit, put_key, read_tables, remove_key
from s3proxy.credentials.source import KeyRules
from s3proxy.credentials.writer import Record
from s3proxy.multipart.directory import alone, sync_directory


class FileKeyEdit:
    """
    One change of a keys file, in memory.

    Attributes:
        text: The text of the file, with what has changed.
    """

    def __init__(self, text: str, path: Path) -> None:
        self.text = text
        self._path = path

    def get(self, access_key_id: str) -> Record | None:
        return next((table for table in read_tables(self.text) if table["access_key_id"] == access_key_id), None)

    def put(self, record: Record) -> None:
        self._edit(lambda: put_key(self.text, record))

    def remove(self, access_key_id: str) -> None:
        self._edit(lambda: remove_key(self.text, access_key_id))

    def _edit(self, change: Callable[[], str]) -> None:
        try:
            self.text = change()
        except CannotEdit as error:
            raise Faults([Fault("", f"{self._path}: {error}")]) from None


class FileKeyWriter:
    """
    Lists and changes the keys of one file. A symbolic link stays, and its target is replaced.
    """

    effect = 'The daemon uses it after a reload (SIGHUP), or by itself with `reload = "watch"`.'

    def __init__(self, path: Path, rules: KeyRules) -> None:
        self._path = path
        self._rules = rules

    def records(self) -> list[Record]:
        return list(self._read(self._path).get("key", []))

    @contextmanager
    def edit(self) -> Iterator[FileKeyEdit]:
        path = Path(os.path.realpath(self._path))
        with contextlib.ExitStack() as stack:
            with _told(path.parent):
                stack.enter_context(alone(path.parent))
            with _told(path):
                former = _find(path)
                content = b""
                if former is not None:
                    self._read(path)
                    content = path.read_bytes()
                    self._check_version(path, former)
            edit = FileKeyEdit(content.decode(), self._path)
            yield edit
            changed = edit.text.encode()
            if changed != content:
                with _told(path):
                    self._replace(path, changed, former)

    def _read(self, path: Path) -> Mapping[str, Any]:
        content = read_toml(path, MAX_KEYS_FILE_SIZE, PURPOSE)
        make_credentials(content, self._rules, self._path)
        return content

    def _check_version(self, path: Path, former: os.stat_result | None) -> None:
        if _version(_find(path)) != _version(former):
            raise Faults([Fault("", f"{self._path}: another program changed it meanwhile; nothing was changed")])

    def _replace(self, path: Path, content: bytes, former: os.stat_result | None) -> None:
        # With mode 0600 from the start: at no moment can others read the secrets.
        fd, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        temporary = Path(name)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(content)
                file.flush()
                if former is not None:
                    _keep_attributes(fd, path, former)
                os.fsync(fd)
            self._check(temporary)
            self._check_version(path, former)
            os.replace(temporary, path)
        except BaseException:
            temporary.unlink()
            raise
        sync_directory(path.parent)

    def _check(self, temporary: Path) -> None:
        try:
            read_keys(temporary, self._rules)
        except Faults as error:
            # The operator knows nothing of the other file.
            own, known = str(temporary), str(self._path)
            named = [replace(each, message=each.message.replace(own, known)) for each in error.faults]
            raise Faults(named, self._path) from None


def open_writer(argument: str, directory: Path, rules: KeyRules) -> FileKeyWriter:
    """
    Open the writer of the source ``file:PATH``. The file may not exist yet.
    """
    return FileKeyWriter(directory / argument, rules)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """
    Turn an error of the operating system into one line for the operator.
    """
    try:
        yield
    except OSError as error:
        raise Faults([Fault("", f"{path}: {os.strerror(error.errno or 0)}")]) from None


def _find(path: Path) -> os.stat_result | None:
    """
    Raises:
        Faults: It is not a file that can be replaced.
    """
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise Faults([Fault("", f"{path}: is not a regular file")])
    return found


def _version(found: os.stat_result | None) -> tuple[int, ...] | None:
    return None if found is None else (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _keep_attributes(fd: int, path: Path, former: os.stat_result) -> None:
    """
    Give a new file the owner, the mode and the further attributes of the former one, among them access control lists.

    Raises:
        Faults: This user cannot give the file to its owner or its group. The daemon might be unable to read it.
    """
    own = os.fstat(fd)
    if (own.st_uid, own.st_gid) != (former.st_uid, former.st_gid):
        try:
            os.fchown(fd, former.st_uid, former.st_gid)
        except PermissionError:
            of = f"user {former.st_uid} and group {former.st_gid}"
            raise Faults([Fault("", f"{path}: belongs to {of}: change it as that user or as root")]) from None
    os.fchmod(fd, stat.S_IMODE(former.st_mode))
    for name in os.listxattr(path):
        try:
            os.setxattr(fd, name, os.getxattr(path, name))
        except OSError:
            # A label of SELinux is set by the policy. Without its access control list others could read the file, or
            # the daemon could not.
            if name.startswith("system."):
                raise
