"""
Client keys in a PostgreSQL database: ``postgresql://HOST/DATABASE``, and whatever else libpq accepts in such a URL.

The extra ``[postgresql]`` installs the driver, psycopg 3.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from twisted.internet.defer import Deferred
from zope.interface import implementer

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.database import MAX_CONNECTIONS, STATEMENT_TIME, Database, DatabaseOrigin
from s3proxy.credentials.notifications import Notifications
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential

Connection = psycopg.Connection[Any]

_DEFAULTS: dict[str, Any] = {
    "application_name": "s3proxy",
    "connect_timeout": STATEMENT_TIME,
    # A connection without traffic must notice within a minute that the server has gone without a word.
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
}
"""
Parameters that the URL may override.
"""

_FILES = ("passfile", "sslcert", "sslkey", "sslrootcert", "sslcrl")
"Parameters that are paths."

_SECRET_FILES = ("passfile", "sslkey")


class PostgreSQLDriver:
    """
    See `s3proxy.credentials.database.Driver`.

    Args:
        parameters: The parameters of libpq.
    """

    word = "postgresql"
    module = "psycopg"
    table_query = "SELECT to_regclass('s3proxy_schema')::text"
    key_query = "SELECT * FROM s3proxy_keys WHERE access_key_id = %s"
    unreadable: tuple[type[Exception], ...] = (psycopg.DataError, ValueError, OverflowError)

    def __init__(self, parameters: dict[str, Any]) -> None:
        self._beginning: Connection | None = None
        self.parameters: Mapping[str, Any] = {
            **parameters,
            "autocommit": True,
            "client_encoding": "UTF8",
            # A pooler between s3proxy and the server may give each statement another connection.
            "prepare_threshold": None,
        }

    def prepare(self, connection: Connection) -> None:
        """
        Limit the time of each statement.
        """
        connection.execute("SELECT set_config('statement_timeout', %s, false)", (f"{STATEMENT_TIME}s",))

    def is_lost(self, connection: Connection) -> bool:
        """
        Return True if the connection is closed.
        """
        return connection.closed

    def interrupt(self, connection: Connection) -> None:
        """
        Shut down the socket. The thread that waits for it gets an error.
        """
        try:
            with socket.socket(fileno=os.dup(connection.fileno())) as copy:
                copy.shutdown(socket.SHUT_RDWR)
        except (OSError, psycopg.Error):
            # It is closed already.
            pass

    def values(self, row: dict[str, Any]) -> dict[str, Any]:
        """
        Return the columns of a row: psycopg makes of each what its option has.
        """
        return row

    def listen(self) -> Connection:
        """
        Return a connection that receives notifications. Called in a thread.

        The payload of a notification is an access key id, or empty if any key may have changed.
        """
        connection: Connection = psycopg.connect(**self.parameters)
        self._beginning = connection
        try:
            connection.execute("LISTEN s3proxy_keys")
        except BaseException:
            connection.close()
            raise
        finally:
            self._beginning = None
        return connection

    def interrupt_listening(self) -> None:
        """
        Make `listen` fail, if its server does not answer.
        """
        connection = self._beginning
        if connection is not None:
            self.interrupt(connection)


@implementer(ICredentialOrigin)
class PostgreSQLOrigin:
    """
    The keys in a PostgreSQL database, which tells of changes.

    Args:
        name: The database as the log names it.
    """

    def __init__(self, driver: PostgreSQLDriver, rules: KeyRules, name: str) -> None:
        database = Database(driver)
        self._keys = DatabaseOrigin(database, driver, rules)
        self._notifications = Notifications(
            partial(database.in_thread, driver.listen, driver.interrupt_listening), name, rules.cache.ttl
        )

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Make the threads, and begin to listen.
        """
        self._keys.start(reactor, changed)
        self._notifications.start(reactor, changed)

    def stop(self) -> Deferred[None]:
        """
        Close all connections.
        """
        self._notifications.stop()
        return self._keys.stop()

    def identify(self, question: KeyQuestion) -> Hashable:
        """
        Return the access key id.
        """
        return self._keys.identify(question)

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Read the row of a key.
        """
        return self._keys.fetch(question)


def read_parameters(url: str, directory: Path) -> dict[str, Any]:
    """
    Return the parameters of a URL, with absolute paths.

    Raises:
        Faults: They cannot be used. No text has a part of the URL that may belong to a password.
    """
    try:
        parameters: dict[str, Any] = conninfo_to_dict(url)
    except psycopg.Error:
        raise _fault("not a URL that libpq accepts, like postgresql://USER@HOST:PORT/DATABASE") from None
    places = [str(parameters.get(name, "")) for name in ("host", "hostaddr", "port", "dbname")]
    if any("@" in place for place in places) or (not places[2].replace(",", "0").isdigit() and places[2]):
        # libpq would take the rest of the password for a host, and an error would name it.
        raise _fault(
            "in the user and the password of the URL, @ / : ? # and % must be written as %40 %2F %3A %3F %23 %25"
        )
    for name in _FILES:
        # The value "system" of sslrootcert is no path.
        if name in parameters and parameters[name] != "system":
            path = directory / parameters[name]
            try:
                path.open("rb").close()
            except OSError as error:
                raise _fault(f"{name}: {path}: {os.strerror(error.errno or 0)}") from None
            parameters[name] = str(path)
    return {**_DEFAULTS, **parameters}


def _fault(message: str) -> Faults:
    return Faults([Fault("credentials.source", message)])


def open_postgresql(url: str, directory: Path, rules: KeyRules) -> CachedCredentials:
    """
    Return the source of a URL.

    Raises:
        Faults: Its parameters cannot be used.
    """
    parameters = read_parameters(url, directory)
    secret_files = [Path(parameters[name]) for name in _SECRET_FILES if name in parameters]
    name = f"postgresql://{parameters.get('host', '')}/{parameters.get('dbname', '')}"
    origin = PostgreSQLOrigin(PostgreSQLDriver(parameters), rules, name)
    return CachedCredentials(origin, rules, name, secret_files, MAX_CONNECTIONS)
