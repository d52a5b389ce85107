"""
The files of parts: each is written under a temporary name, and gets its final name once all its bytes are on disk.

A file without a row is never needed, so files are removed after their rows. A file that cannot be removed is
remembered, and so is one that may or may not have a row: both are tried again later.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from s3proxy.multipart.database import UploadsDatabase
from s3proxy.multipart.directory import sync_directory
from s3proxy.multipart.documents import Part
from s3proxy.multipart.records import Reservation
from s3proxy.s3.errors import S3Error

PARTS = "parts"
"""
Name of the subdirectory.
"""


class PartFiles:
    """
    The files of one directory, as one process sees them.

    Args:
        directory: A directory that has a subdirectory `PARTS`.
        database: Shows which file belongs to a part.
    """

    def __init__(self, directory: Path, database: UploadsDatabase) -> None:
        self._parts = directory / PARTS
        self._database = database
        # Files that could not be removed, or that may or may not belong to a part.
        self._left: set[str] = set()

    def names(self) -> list[str]:
        """
        Return the names of all files, in order.
        """
        return sorted(os.listdir(self._parts))

    def path_of(self, part: Part) -> Path:
        """
        Return the path of a part's file.
        """
        return self._parts / part.file

    def make(self, file_name: str) -> int:
        """
        Open a new file for writing, under its temporary name.

        Raises:
            OSError: The file cannot be made.
        """
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        return os.open(self._parts / f"{file_name}.tmp", flags, 0o600)

    def keep(self, reservation: Reservation, part: Part) -> None:
        """
        Write the bytes of a part to the disk, and then the name of its file.

        Raises:
            OSError: The disk is full.
        """
        os.fsync(reservation.fd)
        reservation.close()
        os.rename(self._parts / f"{reservation.file_name}.tmp", self._parts / part.file)
        sync_directory(self._parts)

    def remove(self, names: Sequence[str]) -> None:
        """
        Remove files; missing files are ignored.
        """
        for name in names:
            try:
                os.unlink(self._parts / name)
            except FileNotFoundError:
                pass
            except OSError:
                self._left.add(name)

    def remove_if_left(self, names: Sequence[str]) -> None:
        """
        Remove the files that belong to no part. A commit that seemed to fail may have succeeded, so their rows are
        looked up.
        """
        if not names:
            return
        try:
            with self._database.transaction() as connection:
                left = [
                    name
                    for name in names
                    if not connection.execute("SELECT 1 FROM parts WHERE file = ?", (name,)).fetchone()
                ]
        except S3Error:
            self._left.update(names)
        else:
            self.remove(left)

    def remove_remembered(self) -> None:
        """
        Try again to remove the remembered files.
        """
        left = list(self._left)
        self._left.difference_update(left)
        self.remove_if_left(left)
