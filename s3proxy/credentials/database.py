"""
Client keys in the table of an SQL database: what SQLite and PostgreSQL have in common.

Questions are asked in threads of `twisted.enterprise.adbapi`, each with a connection of its own. A statement is a
transaction. A connection that was lost is opened again for the next question.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from twisted.enterprise import adbapi
from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.record import read_record
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential

T = TypeVar("T")

SCHEMA_VERSION = 1
"""
The least version of the schema that has all columns which this code reads. Later files add columns.
"""

MIGRATIONS = Path(__file__).parent / "migrations"
"""
The directory of the files that make the schema: one directory for each kind of database.
"""

MAX_CONNECTIONS = 4
"""
Maximum number of connections of one process, besides one for notifications.
"""

STATEMENT_TIME = 5
"""
Seconds that a database may take for a statement, and to connect.
"""

STUCK_TIME = 3.0 * STATEMENT_TIME
"""
Seconds after which a thread is freed by force: its database neither answers nor keeps its own limits.
"""


class WrongSchema(Exception):
    """
    A database does not have the tables that this code reads.
    """


class Driver(Protocol):
    """
    What differs from database to database. Only `interrupt` and `values` are called in the reactor's thread.

    Attributes:
        word: The name of its directory in `MIGRATIONS`.
        module: The name of its DB-API module.
        parameters: The arguments of ``connect``.
        table_query: Finds the table ``s3proxy_schema``: one row with its name, or none, or one with NULL.
        key_query: Finds the row of a key.
        unreadable: What the module raises for a value that Python cannot have.
    """

    word: str
    module: str
    parameters: Mapping[str, Any]
    table_query: str
    key_query: str
    unreadable: tuple[type[Exception], ...]

    def prepare(self, connection: Any) -> None:
        """
        Prepare a new connection.
        """

    def is_lost(self, connection: Any) -> bool:
        """
        Return True if a connection cannot be used any more.
        """

    def interrupt(self, connection: Any) -> None:
        """
        Make the current statement of a connection fail.
        """

    def values(self, row: dict[str, Any]) -> dict[str, Any]:
        """
        Return the columns of a row as the options of a key.

        Raises:
            Faults: A column does not have the form of its option.
        """


class _Connection(adbapi.Connection):
    def rollback(self) -> None:
        """
        Do nothing: each statement is a transaction of its own. A lost connection could not do it, either.
        """


class _Pool(adbapi.ConnectionPool):
    connectionFactory = _Connection


class _Call:
    """
    One piece of work in a thread.

    Attributes:
        is_given_up: Whether nobody wants its result.
    """

    def __init__(self, driver: Driver, work: Callable[[Any], Any]) -> None:
        self._driver = driver
        self._work = work
        self._connection: Any = None
        self.is_given_up = False

    def run(self, connection: Any) -> Any:
        """
        Do the work. If the connection was lost since it was used last, do it with a new one.
        """
        if self.is_given_up:
            return None
        if self._driver.is_lost(connection):
            connection.reconnect()
        self._connection = connection
        try:
            return self._work(connection)
        except Exception:
            if self.is_given_up or not self._driver.is_lost(connection):
                raise
        connection.reconnect()
        return self._work(connection)

    def interrupt(self) -> None:
        """
        Make the work fail. Called in the reactor's thread.
        """
        self.is_given_up = True
        if self._connection is not None:
            self._driver.interrupt(self._connection)


class Database:
    """
    The connections to a database.
    """

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._slots = DeferredSemaphore(MAX_CONNECTIONS)
        self._reactor: Any = None
        self._pool: Any = None
        self._calls: dict[Deferred[Any], Callable[[], None]] = {}

    def start(self, reactor: Any) -> None:
        """
        Make the threads. They connect when there is work.
        """
        self._reactor = reactor
        make_pool: Any = _Pool
        self._pool = make_pool(
            self._driver.module,
            cp_reactor=reactor,
            cp_min=0,
            cp_max=MAX_CONNECTIONS + 1,
            cp_openfun=self._opened,
            **self._driver.parameters,
        )

    def stop(self) -> Deferred[None]:
        """
        Make all work fail, and close all connections when it has ended.
        """
        for interrupt in self._calls.values():
            interrupt()
        # A pool that is closed waits for its threads, and would block the reactor if there were work.
        waiting = DeferredList([*map(_follow, self._calls)])
        return waiting.addCallback(lambda ignored: self._pool.close())

    def run(self, work: Callable[[Any], T]) -> Deferred[T]:
        """
        Call a function in a thread, with a connection.

        Returns:
            The result. If it is cancelled, the work is still done if it has begun, and nothing else in its place.
        """
        call = _Call(self._driver, work)
        waiting = self._slots.acquire()

        def cancel(result: Deferred[T]) -> None:
            call.is_given_up = True
            waiting.cancel()

        result: Deferred[T] = Deferred(cancel)
        waiting.addCallback(lambda slots: self._begin(call, result))
        waiting.addErrback(lambda failure: None if result.called else result.errback(failure))
        return result

    def in_thread(self, work: Callable[[], T], interrupt: Callable[[], None]) -> Deferred[T]:
        """
        Call a function in a thread, without a connection.

        Args:
            interrupt: Makes the work fail.
        """
        return self._track(deferToThreadPool(self._reactor, self._pool.threadpool, work), interrupt)

    def _begin(self, call: _Call, result: Deferred[T]) -> None:
        running = self._track(self._pool.runWithConnection(call.run), call.interrupt)

        def ended(outcome: Any) -> None:
            self._slots.release()
            if not result.called:
                result.callback(outcome)

        running.addBoth(ended)

    def _track(self, running: Deferred[T], interrupt: Callable[[], None]) -> Deferred[T]:
        self._calls[running] = interrupt
        timer = self._reactor.callLater(STUCK_TIME, interrupt)

        def ended(outcome: Any) -> Any:
            del self._calls[running]
            if timer.active():
                timer.cancel()
            return outcome

        return running.addBoth(ended)

    def _opened(self, connection: Any) -> None:
        """
        Prepare a new connection, and check that its database has the schema. Called in a thread.
        """
        try:
            self._driver.prepare(connection)
            check_schema(self._driver, connection)
        except BaseException:
            # The pool forgets it.
            connection.close()
            raise


def check_schema(driver: Driver, connection: Any) -> None:
    """
    Check that a database has the tables that this code reads.

    Raises:
        WrongSchema: It has none, or those of a former version.
    """
    directory = MIGRATIONS / driver.word
    cursor = connection.cursor()
    try:
        cursor.execute(driver.table_query)
        table = cursor.fetchone()
        if table is None or table[0] is None:
            raise WrongSchema(f"the database does not have the tables of s3proxy: apply the files in {directory}")
        cursor.execute("SELECT max(version) FROM s3proxy_schema")
        (version,) = cursor.fetchone()
    finally:
        cursor.close()
    if not isinstance(version, int) or version < SCHEMA_VERSION:
        found = "no version" if version is None else f"version {version}"
        raise WrongSchema(
            f"the tables of s3proxy have {found}, and version {SCHEMA_VERSION} is required: apply the files in "
            f"{directory}"
        )


def _follow(running: Deferred[Any]) -> Deferred[None]:
    """
    Return a Deferred that fires when another one has fired, whatever its result, which stays as it is.
    """
    following: Deferred[None] = Deferred()

    def ended(outcome: Any) -> Any:
        following.callback(None)
        return outcome

    running.addBoth(ended)
    return following


@implementer(ICredentialOrigin)
class DatabaseOrigin:
    """
    The keys in a database, as an `s3proxy.interfaces.ICredentialOrigin` that is not told of changes.
    """

    def __init__(self, database: Database, driver: Driver, rules: KeyRules) -> None:
        self._database = database
        self._driver = driver
        self._rules = rules

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Make the threads.
        """
        self._database.start(reactor)

    def stop(self) -> Deferred[None]:
        """
        Make all questions fail, and close all connections.
        """
        return self._database.stop()

    def identify(self, question: KeyQuestion) -> Hashable:
        """
        Return the access key id.
        """
        return question.access_key_id

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Read the row of a key.
        """
        key = question.access_key_id.decode("ascii")
        reading = self._database.run(partial(_read, self._driver, key))
        made: Deferred[Credential | None] = reading.addCallback(self._make)
        return made

    def _make(self, row: dict[str, Any] | None) -> Credential | None:
        return None if row is None else read_record(self._driver.values(row), self._rules)


def _read(driver: Driver, key: str, connection: Any) -> dict[str, Any] | None:
    """
    Return the columns of a row that are not NULL; None if there is no row. Called in a thread.

    Whatever the columns are, each must be an option of a key: a right that this version does not know must not be
    ignored.
    """
    cursor = connection.cursor()
    try:
        cursor.execute(driver.key_query, (key,))
        row = cursor.fetchone()
        names = [column[0] for column in cursor.description]
    except driver.unreadable as error:
        # The text of such an error may have the value, which may be a secret.
        raise Faults([Fault("", f"a column cannot be read: {type(error).__name__}")]) from None
    finally:
        cursor.close()
    return None if row is None else {name: value for name, value in zip(names, row, strict=True) if value is not None}
