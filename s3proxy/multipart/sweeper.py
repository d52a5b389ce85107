"""
What is left behind: uploads that nobody completes, and what dead processes were at.

A process sweeps for itself what it has forgotten, because as long as it lives nobody else can tell that from what it is
at. Any process may sweep what the dead have left, and uploads that have expired; it is enough if the leader does. Files
and rows are listed before it is asked who lives: what a process has made since then is not among them.
"""

from __future__ import annotations

from collections.abc import Callable

from s3proxy.multipart.database import UploadsDatabase
from s3proxy.multipart.part_files import PartFiles
from s3proxy.multipart.processes import OwnProcess
from s3proxy.multipart.rows import remove_upload
from s3proxy.multipart.schema import COMPLETING, DONE, OPEN

REMEMBERED_TIME = 86_400.0
"""
Seconds for which the result of a completed upload is kept: its client may not have got the answer.
"""

SWEPT_AT_ONCE = 1000
"""
Files that are looked up in one transaction of a sweep: nobody else can write meanwhile.
"""


class Sweeper:
    """
    Removes what is left behind in one directory.

    Args:
        now: Tells the time, in seconds since the epoch.
    """

    def __init__(
        self, database: UploadsDatabase, files: PartFiles, process: OwnProcess, now: Callable[[], float]
    ) -> None:
        self._database = database
        self._files = files
        self._process = process
        self._now = now

    def sweep(self, expires: float) -> None:
        """
        Remove uploads that have expired, and what processes left that live no more. Any process may, at any time.

        Args:
            expires: Seconds after its beginning at which an open upload is removed.

        Raises:
            S3Error: The database cannot be used.
        """
        self.sweep_own()
        own = self._process
        # Files and rows first, then who lives: what a process has made since is not among them.
        names = self._files.names()
        with self._database.transaction() as connection:
            owners = {process for (process,) in connection.execute("SELECT DISTINCT process FROM reservations")}
            owners |= {process for (process,) in connection.execute("SELECT completer FROM uploads WHERE state = 1")}
        owners |= {name.partition("-")[0] for name in names} | own.known()
        dead = {process for process in owners if process != own.name and not own.lives(process)}
        files: list[str] = []
        with self._database.transaction() as connection:
            for process in dead:
                connection.execute("DELETE FROM reservations WHERE process = ?", (process,))
                connection.execute(
                    "UPDATE uploads SET state = ?, completer = NULL WHERE state = ? AND completer = ?",
                    (OPEN, COMPLETING, process),
                )
            now = self._now()
            expired = connection.execute(
                "SELECT id FROM uploads WHERE (state = ? AND begun_at < ?) OR (state = ? AND ended_at < ?)",
                (OPEN, now - expires, DONE, now - REMEMBERED_TIME),
            ).fetchall()
            for (upload_id,) in expired:
                files += remove_upload(connection, upload_id)
        self._files.remove(files)
        ended = [
            name
            for name in names
            if (process := name.partition("-")[0]) in dead
            or (process == own.name and name.rpartition(".")[0] not in own.writing)
        ]
        for start in range(0, len(ended), SWEPT_AT_ONCE):
            self._files.remove_if_left(ended[start : start + SWEPT_AT_ONCE])

    def sweep_own(self) -> None:
        """
        Remove what this process has left behind. As long as it lives nobody else can tell that from what it is at.

        Raises:
            S3Error: The database cannot be used.
        """
        own = self._process
        with self._database.transaction() as connection:
            reserved = connection.execute("SELECT file FROM reservations WHERE process = ?", (own.name,)).fetchall()
            for (file_name,) in reserved:
                if file_name not in own.writing:
                    connection.execute("DELETE FROM reservations WHERE file = ?", (file_name,))
            for (upload_id,) in connection.execute(
                "SELECT id FROM uploads WHERE state = ? AND completer = ?", (COMPLETING, own.name)
            ).fetchall():
                if upload_id not in own.completing:
                    connection.execute("UPDATE uploads SET state = ?, completer = NULL WHERE id = ?", (OPEN, upload_id))
        self._files.remove_remembered()
