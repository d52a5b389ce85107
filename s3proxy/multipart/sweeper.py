"""
Remove abandoned work: uploads that no client completes, and the unfinished work of dead processes.

A process sweeps its own abandoned work, because while it lives no other process can distinguish that from its current
work. Any process may sweep the work of dead processes, and expired uploads; it is enough if the leader does. Files and
rows are listed before s3proxy checks which processes live: work that a process began since then is not in the lists.
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
Seconds for which the result of a completed upload is kept: its client may not have got the response.
"""

SWEPT_AT_ONCE = 1000
"""
Files that are looked up in one transaction of a sweep: no other process can write in that time.
"""


class Sweeper:
    """
    Removes the abandoned work in one directory.

    Args:
        now: Returns the time in seconds since the epoch.
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
        Remove expired uploads, and the unfinished work of dead processes. Any process may do this, at any time.

        Args:
            expires: Seconds from the beginning of an open upload until it is removed.

        Raises:
            S3Error: The database cannot be used.
        """
        self.sweep_own()
        own = self._process
        # Files and rows first, then the living processes: work that a process began since then is not in the lists.
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
        Remove the abandoned work of this process. While it lives, no other process can distinguish that from its
        current work.

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
