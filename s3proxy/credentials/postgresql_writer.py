"""
Change the keys in a PostgreSQL database.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg

from s3proxy.credentials.database import Driver
from s3proxy.credentials.database_writer import DatabaseKeyWriter
from s3proxy.credentials.postgresql import PostgreSQLDriver, read_parameters
from s3proxy.credentials.source import KeyRules


class PostgreSQLDialect:
    """
    See `s3proxy.credentials.database_writer.Dialect`.
    """

    placeholder = "%s"
    begin = "BEGIN"
    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, parameters: dict[str, Any]) -> None:
        self.driver: Driver = PostgreSQLDriver(parameters)
        self.locking_query = f"{self.driver.key_query} FOR UPDATE"

    def connect(self, *, writes: bool) -> psycopg.Connection[Any]:
        """
        Connect to the server.
        """
        return psycopg.connect(**self.driver.parameters)

    def column(self, value: Any) -> Any:
        """
        Return a tuple as a list, which is an array there.
        """
        return list(value) if isinstance(value, tuple) else value

    def told(self, error: Exception) -> str:
        """
        Return the message of the server without its details, which may have the values of a row. If the server sent
        none, there was no row: the connection failed.
        """
        message = error.diag.message_primary if isinstance(error, psycopg.Error) else None
        return message or " ".join(str(error).split())


def open_writer(argument: str, directory: Path, rules: KeyRules) -> DatabaseKeyWriter:
    """
    Open the writer of a URL.

    Raises:
        Faults: Its parameters cannot be used.
    """
    parameters = read_parameters(argument, directory)
    name = f"postgresql://{parameters.get('host', '')}/{parameters.get('dbname', '')}"
    effect = "The daemon is told at once. If it is not connected now, it uses the change within the `ttl`."
    return DatabaseKeyWriter(PostgreSQLDialect(parameters), rules, name, effect)
