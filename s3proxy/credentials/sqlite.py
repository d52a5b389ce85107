"""
Client keys in an SQLite database: ``sqlite:PATH``.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.database import MAX_CONNECTIONS, Database, DatabaseOrigin
from s3proxy.credentials.source import KeyRules

BUSY_TIME = 2.0
"""
Seconds to wait for a writer. A database in WAL mode does not make readers wait.
"""

_HEADER = b"SQLite format 3\0"
_LISTS = frozenset({"secret_access_key", "backend_key", "exempt", "refuse", "allow", "deny", "networks"})
_BOOLEANS = frozenset({"disabled", "read_only"})


class _File(sqlite3.Connection):
    """
    A connection that knows which file it has open.
    """

    file: tuple[int, int] = (0, 0)


class SQLiteDriver:
    """
    See `s3proxy.credentials.database.Driver`.
    """

    word = "sqlite"
    module = "sqlite3"
    table_query = "SELECT name FROM sqlite_master WHERE name = 's3proxy_schema'"
    key_query = "SELECT * FROM s3proxy_keys WHERE access_key_id = ?"
    unreadable: tuple[type[Exception], ...] = (ValueError, OverflowError)

    def __init__(self, path: Path) -> None:
        self._path = path
        self.parameters: Mapping[str, Any] = {
            # Never written, and never created if it is missing.
            "database": f"file:{quote(str(path))}?mode=ro",
            "uri": True,
            "timeout": BUSY_TIME,
            "isolation_level": None,
            # The pool closes connections in another thread than the one that used them.
            "check_same_thread": False,
            "factory": _File,
        }

    def prepare(self, connection: _File) -> None:
        """
        Remember the file, and take text as bytes: the error about text that is not UTF-8 would have the text.
        """
        connection.text_factory = bytes
        connection.file = self._file()

    def is_lost(self, connection: _File) -> bool:
        """
        Return True if another file is at the path by now.
        """
        return connection.file != self._file()

    def interrupt(self, connection: _File) -> None:
        """
        Make the current statement fail.
        """
        connection.interrupt()

    def values(self, row: dict[str, Any]) -> dict[str, Any]:
        """
        Return the columns of a row as the options of a key.
        """
        values, faults = {}, []
        for name, value in row.items():
            try:
                values[name] = _option(name, value)
            except ValueError as error:
                faults.append(Fault(name, str(error)))
        if faults:
            raise Faults(faults)
        return values

    def _file(self) -> tuple[int, int]:
        found = os.stat(self._path)
        return found.st_dev, found.st_ino


def _option(name: str, value: Any) -> Any:
    """
    Return the value of a column as its option has it.

    Raises:
        ValueError: It does not have that form. The text has nothing of it.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise ValueError("not UTF-8") from None
    if name in _BOOLEANS and value in (0, 1):
        return bool(value)
    if not isinstance(value, str):
        return value
    if name == "expires":
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            raise ValueError("not a date and time like 2030-01-01T00:00:00Z") from None
    if name in _LISTS:
        try:
            found = json.loads(value)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, list):
            raise ValueError("not a list in JSON")
        return found
    return value


def check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(len(_HEADER))
    except OSError as error:
        raise Faults([Fault("", f"{path}: {os.strerror(error.errno or 0)} (the database of keys)")]) from None
    # A database without any table is an empty file.
    if header not in {_HEADER, b""}:
        raise Faults([Fault("", f"{path}: not an SQLite database")])


def open_sqlite(argument: str, directory: Path, rules: KeyRules) -> CachedCredentials:
    """
    Open the source ``sqlite:PATH``.

    Raises:
        Faults: There is no database at the path.
    """
    path = directory / argument
    check_file(path)
    driver = SQLiteDriver(path)
    origin = DatabaseOrigin(Database(driver), driver, rules)
    return CachedCredentials(origin, rules, f"sqlite:{path}", (path,), MAX_CONNECTIONS)
