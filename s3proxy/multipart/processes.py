"""
The processes that share a directory: which of them live, which one leads, and what this one is working on.

Each process has a file, and holds a lock on it as long as it lives. The kernel releases the lock, however the process
ends. So a process that can take the lock of another knows that the other is dead, and may remove its unfinished work.
The process that holds the lock of another file leads. What this process works on is kept only in memory: files and rows
with its name that are not in memory are its abandoned work.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from s3proxy.multipart.directory import lock

PROCESSES = "processes"
LEADER = "leader.lock"
"""
Names in the directory.
"""


class OwnProcess:
    """
    The current process, among those that share a directory.

    Args:
        directory: A directory that has a subdirectory `PROCESSES`.

    Attributes:
        name: The name of the process: of its file, in the names of the files that it writes, and in rows.
        writing: Files of parts that the process is writing, each without its suffix.
        completing: Ids of uploads that the process is completing.

    Raises:
        OSError: The directory cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._processes = directory / PROCESSES
        self._leader = directory / LEADER
        self._leader_fd = -1
        self.name, self._fd = self._begin()
        self.writing: set[str] = set()
        self.completing: set[str] = set()

    def _begin(self) -> tuple[str, int]:
        while True:
            name = secrets.token_hex(8)
            path = self._processes / name
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
            # Before this process had the lock, another one may have taken it for dead and removed the file.
            if lock(fd) and path.exists():
                return name, fd
            os.close(fd)

    def close(self) -> None:
        """
        Release the lock: other processes then take this one for dead. It may be called twice.
        """
        self.resign()
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def known(self) -> set[str]:
        """
        Return the names of all processes that have a file, alive or not.
        """
        return set(os.listdir(self._processes))

    def lives(self, process: str) -> bool:
        """
        Return True if another process lives. The file of a dead process is removed.
        """
        path = self._processes / process
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            if not lock(fd):
                return True
            path.unlink(missing_ok=True)
            return False
        finally:
            os.close(fd)

    @property
    def is_leader(self) -> bool:
        """
        Whether this process leads.
        """
        return self._leader_fd >= 0

    def lead(self) -> bool:
        """
        Try to lead; return True if this process leads. Only the leader reports the usage of the directory and sweeps
        all of it.
        """
        if self._leader_fd < 0:
            fd = os.open(self._leader, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            if not lock(fd):
                os.close(fd)
                return False
            self._leader_fd = fd
        return True

    def resign(self) -> None:
        """
        Let another process lead. It may be called twice.
        """
        fd, self._leader_fd = self._leader_fd, -1
        if fd >= 0:
            os.close(fd)
