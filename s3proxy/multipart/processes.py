"""
The processes that share a directory: which of them live, which one leads, and what this one is at.

Each has a file, and holds a lock on it as long as it lives. The kernel gives the lock up, however the process ends: so
whoever can take the lock knows that the process is dead, and may remove what it left half done. The one that holds
the lock of another file leads. What this process is at is kept in memory alone: what is in its name on disk, and not
here, it has forgotten.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from s3proxy.multipart.directory import lock

PROCESSES = "processes"
LEADER = "leader.lock"
"""
Names within the directory.
"""


class OwnProcess:
    """
    The process that runs this, among those that share a directory.

    Args:
        directory: Has a directory of the name `PROCESSES`.

    Attributes:
        name: In its file's name, in the names of the files that it writes, and in rows.
        writing: Files of parts that it is writing, each without the end of its name.
        completing: Ids of uploads that it is completing.

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
            # Before we had the lock another process may have taken us for dead, and removed the file.
            if lock(fd) and path.exists():
                return name, fd
            os.close(fd)

    def close(self) -> None:
        """
        Be dead for the others. It may come twice.
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
        Return True if another process lives. The file of a dead one is removed.
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
        Whether it is the one that speaks for the directory.
        """
        return self._leader_fd >= 0

    def lead(self) -> bool:
        """
        Return True if this is the one process that speaks for the directory: it tells its size, and sweeps.
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
        Let another process lead. It may come twice.
        """
        fd, self._leader_fd = self._leader_fd, -1
        if fd >= 0:
            os.close(fd)
