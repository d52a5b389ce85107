"""
The database of uploads: one connection that changes it, in transactions, and one that only reads.

A transaction does everything, or nothing. The transactions of one process run one after the other, and SQLite isolates
them from those of other processes. What must survive a power cut is on disk before the transaction ends; what needs to
survive only the end of the process is not waited for. Metrics use the second connection, which waits for no
transaction.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from s3proxy.multipart.directory import CannotKeepUploads, alone
from s3proxy.multipart.schema import COUNTING, LEAST_COST, SCHEMA, VERSION
from s3proxy.s3.errors import ServiceUnavailable, SlowDown

DATABASE = "uploads.sqlite"
"""
Name of the file in the directory.
"""

BUSY_TIME = 10.0
"""
Seconds for which a process waits for another one's transaction.
"""

_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL})


class UploadsDatabase:
    """
    The database of one directory. Any thread may call it.

    Raises:
        CannotKeepUploads: Another version of s3proxy has written the database.
        OSError: The directory cannot be used.
        sqlite3.Error: The database cannot be used.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / DATABASE
        self._lock = threading.Lock()
        with alone(directory):
            self._connection = self._connect()
            self._make_tables()
        self._reader = self._connect()

    def close(self) -> None:
        """
        Close both connections, after the current transaction.
        """
        with self._lock:
            self._connection.close()
            self._reader.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_TIME, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    def _make_tables(self) -> None:
        (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        (count,) = self._connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        if version != VERSION and count:
            raise CannotKeepUploads(f"{self._path}: another version of s3proxy has written it")
        if not count:
            counting = COUNTING.replace("LEAST_COST", str(LEAST_COST))
            tables = [counting.replace("COUNTED", table) for table in ("parts", "reservations")]
            # All or nothing: a process may be killed in between.
            steps = ["BEGIN IMMEDIATE;", SCHEMA, *tables, f"PRAGMA user_version = {VERSION};", "COMMIT;"]
            self._connection.executescript("".join(steps))

    @contextlib.contextmanager
    def transaction(self, *, is_durable: bool = False) -> Iterator[sqlite3.Connection]:
        """
        Apply several changes to the database, or none of them.

        Args:
            is_durable: Whether the transaction must be on disk before this returns. If not, a power cut could undo it
                and the ones before it; the end of the process cannot.

        Raises:
            SlowDown: Another process uses the database for too long, or the disk is full.
            ServiceUnavailable: The database cannot be used. The cause is chained.
        """
        with self._lock:
            try:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_durable else 'NORMAL'}")
                self._connection.execute("BEGIN IMMEDIATE")
                try:
                    yield self._connection
                    self._connection.execute("COMMIT")
                finally:
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF in _BUSY_CODES:
                    raise SlowDown from error
                raise ServiceUnavailable from error

    def usage(self) -> tuple[int, int]:
        """
        Return the bytes of all parts, and the number of uploads that have begun and not ended; zeros if they cannot be
        read. It never waits.
        """
        try:
            size, uploads = self._reader.execute("SELECT size, uploads FROM usage").fetchone()
        except sqlite3.Error:
            return 0, 0
        return size, uploads
