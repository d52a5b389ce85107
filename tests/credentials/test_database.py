"""
The threads and connections of a database: how many there are, and how they end.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from s3proxy.credentials import database as module
from s3proxy.credentials.database import MAX_CONNECTIONS, Database
from s3proxy.credentials.sqlite import SQLiteDriver
from tests.support.databases import make_sqlite
from tests.support.harness import turns, until

SLOW = "WITH RECURSIVE n(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM n WHERE x < 20000000) SELECT max(x) FROM n"
"A statement that takes some seconds."


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """
    A database that is stopped in the end.
    """
    make_sqlite(tmp_path / "keys.sqlite")
    made = Database(SQLiteDriver(tmp_path / "keys.sqlite"))
    made.start(reactor)
    yield made
    pytest_twisted.blockon(made.stop())


class Gate:
    """
    Work that ends when the test opens a gate.
    """

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.opened = threading.Event()

    def __call__(self, connection: Any) -> int:
        self.begun.append(threading.get_ident())
        assert self.opened.wait(60)
        return len(self.begun)


async def outcome(running: Deferred[Any]) -> Any:
    """
    Return the result of a Deferred, or its error.
    """
    try:
        return await running
    except Exception as error:
        return error


@pytest_twisted.ensureDeferred
async def test_the_reactor_runs_while_a_database_is_slow(database: Database) -> None:
    """
    Work is done in a bounded number of threads. The rest waits, and can be cancelled.
    """
    gate = Gate()
    running = [database.run(gate) for _ in range(MAX_CONNECTIONS + 3)]
    await until(lambda: len(gate.begun) == MAX_CONNECTIONS)
    await turns(10)
    running[-1].cancel()
    before = len(gate.begun)
    gate.opened.set()
    results = await gatherResults([*map(Deferred.fromCoroutine, map(outcome, running))])

    assert before == MAX_CONNECTIONS
    assert len(set(gate.begun)) <= MAX_CONNECTIONS
    assert len(gate.begun) == MAX_CONNECTIONS + 2
    assert isinstance(results[-1], CancelledError)
    assert not [result for result in results[:-1] if isinstance(result, Exception)]


@pytest_twisted.ensureDeferred
async def test_cancelled_work_keeps_its_thread_until_it_ends(database: Database) -> None:
    """
    Otherwise clients that leave could fill the queue of the threads.
    """
    gate = Gate()
    running = [database.run(gate) for _ in range(MAX_CONNECTIONS)]
    await until(lambda: len(gate.begun) == MAX_CONNECTIONS)
    for each in running:
        each.cancel()
    following = database.run(gate)
    # One thread is left for other work. It would have begun the next call before this.
    other = database.in_thread(lambda: None, lambda: None)
    await until(lambda: other.called or len(gate.begun) > MAX_CONNECTIONS)
    before = len(gate.begun)
    gate.opened.set()
    results = [await outcome(each) for each in (*running, following)]
    await other

    assert before == MAX_CONNECTIONS
    assert [type(result) for result in results[:-1]] == [CancelledError] * MAX_CONNECTIONS
    assert results[-1] == MAX_CONNECTIONS + 1


@pytest_twisted.ensureDeferred
async def test_a_thread_that_is_stuck_is_freed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its statement is interrupted, and its connection can be used again.
    """
    monkeypatch.setattr(module, "STUCK_TIME", 0.05)

    stuck = await outcome(database.run(lambda connection: connection.execute(SLOW).fetchone()))
    following = await database.run(lambda connection: connection.execute("SELECT 1").fetchone())

    assert isinstance(stuck, sqlite3.OperationalError)
    assert str(stuck) == "interrupted"
    assert following == (1,)


@pytest_twisted.ensureDeferred
async def test_the_end_does_not_wait_for_a_slow_statement(tmp_path: Path) -> None:
    """
    It is interrupted. Afterwards no thread and no connection is left.
    """
    make_sqlite(tmp_path / "keys.sqlite")
    database = Database(SQLiteDriver(tmp_path / "keys.sqlite"))
    database.start(reactor)
    threads = threading.active_count()
    begun: list[Any] = []
    running = database.run(lambda connection: begun.append(connection) or connection.execute(SLOW).fetchone())
    await until(lambda: begun)

    stopping = database.stop()
    result = await outcome(running)
    await stopping

    assert isinstance(result, sqlite3.OperationalError)
    assert threading.active_count() == threads
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        begun[0].execute("SELECT 1")


@pytest_twisted.ensureDeferred
async def test_a_lost_connection_is_replaced(database: Database) -> None:
    """
    The work is done once more with the new one. If that is lost as well, the error is told.
    """
    lost: list[Any] = []
    driver: Any = database._driver
    driver.is_lost = lambda connection: connection._connection in lost
    used: list[Any] = []

    def work(connection: Any) -> str:
        used.append(connection._connection)
        if len(used) in {1, 3, 4}:
            lost.append(connection._connection)
            raise OSError("lost")
        return "done"

    first = await database.run(work)
    second = await outcome(database.run(work))

    assert first == "done"
    assert str(second) == "lost"
    assert len(used) == 4
    assert used[0] is not used[1]


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_stopped_without_work(tmp_path: Path) -> None:
    """
    Nothing was connected.
    """
    make_sqlite(tmp_path / "keys.sqlite")
    database = Database(SQLiteDriver(tmp_path / "keys.sqlite"))
    database.start(reactor)

    await database.stop()

    assert database._calls == {}
