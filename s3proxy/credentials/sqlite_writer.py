"""
Change the keys in an SQLite database.
"""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from s3proxy.credentials.database import Driver
from s3proxy.credentials.database_writer import DatabaseKeyWriter
from s3proxy.credentials.source import KeyRules
from s3proxy.credentials.sqlite import SQLiteDriver, check_file

BUSY_TIME = 30.0
"""
Seconds to wait for another writer.
"""


class SQLiteDialect:
    """
    See `s3proxy.credentials.database_writer.Dialect`.
    """

    placeholder = "?"
    # No other connection can write until the end: a record that was read is still there when it is replaced.
    begin = "BEGIN IMMEDIATE"
    errors: tuple[type[Exception], ...] = (sqlite3.Error, OSError)

    def __init__(self, path: Path) -> None:
        self.driver: Driver = SQLiteDriver(path)
        self.locking_query = self.driver.key_query
        self._path = path

    def connect(self, *, writes: bool) -> Any:
        """
        Open the file. It is never created.
        """
        parameters: dict[str, Any] = {**self.driver.parameters, "timeout": BUSY_TIME}
        if writes:
            parameters["database"] = f"file:{quote(str(self._path))}?mode=rw"
        return sqlite3.connect(**parameters)

    def column(self, value: Any) -> Any:
        """
        Return lists as JSON, times as text and switches as numbers.
        """
        if isinstance(value, list | tuple):
            return json.dumps(value, ensure_ascii=False)
        if isinstance(value, datetime):
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        return int(value) if isinstance(value, bool) else value

    def told(self, error: Exception) -> str:
        """
        Return the text of an error of SQLite: it names tables, columns and rules, and no value.
        """
        if isinstance(error, OSError):
            return error.strerror or "cannot be read"
        return " ".join(str(error).split())


def open_writer(argument: str, directory: Path, rules: KeyRules) -> DatabaseKeyWriter:
    """
    Open the writer of the source ``sqlite:PATH``.

    Raises:
        Faults: There is no database at the path.
    """
    path = directory / argument
    check_file(path)
    effect = "The daemon uses it within the `ttl` of `[credentials]`, or after a reload (SIGHUP)."
    return DatabaseKeyWriter(SQLiteDialect(path), rules, str(path), effect)
