"""
The way to an LDAP server, over real sockets: one connection, made again when it is lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest_twisted
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from s3proxy.credentials.ldap_connection import CLOSE_TIME, Login, NoAnswer
from s3proxy.credentials.ldap_link import OPEN_TIME, PAUSE, REFUSED_PAUSE, LDAPLink
from tests.support.harness import ClockedReactor, turns, until
from tests.support.ldap_server import BASE, BIND_DN, PASSWORD, FakeDirectory

reactor: Any = _reactor


class Scene:
    """
    A server, and the way to it.
    """

    def __init__(self, **login: Any) -> None:
        self.clock = Clock()
        self.directory = FakeDirectory()
        self.port = reactor.listenTCP(0, self.directory, interface="127.0.0.1")
        clocked = ClockedReactor(self.clock)
        endpoint = TCP4ClientEndpoint(clocked, "127.0.0.1", self.port.getHost().port)
        self.link = LDAPLink(clocked, endpoint, Login(server="ldap://directory:389", **login))

    def search(self, value: bytes = b"AK1") -> Deferred[Any]:
        """
        Search for a key.
        """
        return self.link.search(BASE, {"objectClass": b"s3proxyKey", "s3proxyAccessKeyId": value}, ["a"])

    async def found(self, value: bytes = b"AK1") -> int | str:
        """
        Return the number of entries, or why there is no response.
        """
        try:
            return len(await self.search(value))
        except NoAnswer as error:
            return str(error)

    async def close(self) -> None:
        """
        Release everything.
        """
        stopping = self.link.stop()
        for connection in self.directory.connections:
            connection.transport.abortConnection()
        await stopping
        await self.port.stopListening()
        await until(lambda: all(connection.is_lost for connection in self.directory.connections))
        await turns(2)


@asynccontextmanager
async def scene(**login: Any) -> AsyncIterator[Scene]:
    """
    Run a server.
    """
    one = Scene(**login)
    try:
        yield one
    finally:
        await one.close()


@pytest_twisted.ensureDeferred
async def test_one_connection_for_all() -> None:
    """
    Searches that come while it is made wait for the same one.
    """
    async with scene(name=BIND_DN, password=PASSWORD) as here:
        here.link.connect()
        together = [here.search(), here.search(b"AK2"), here.search()]
        counts = [len(await each) for each in together]
        later = await here.found()

        assert (counts, later) == ([1, 0, 1], 1)
        assert len(here.directory.connections) == 1
        assert len(here.directory.bound) == 1


@pytest_twisted.ensureDeferred
async def test_a_connection_that_the_server_closed() -> None:
    """
    The next search makes another one.
    """
    async with scene() as here:
        first = await here.found()
        here.directory.connections[0].transport.loseConnection()
        await until(lambda: here.link._connection is None)
        second = await here.found()

        assert (first, second) == (1, 1)
        assert len(here.directory.connections) == 2


@pytest_twisted.ensureDeferred
async def test_a_search_whose_connection_ends_is_repeated_once() -> None:
    """
    The server may close a connection while the search is on its way.
    """
    async with scene() as here:
        await here.found()
        here.directory.answers = False
        searching = here.search()
        await until(lambda: here.directory.search_count() == 2)
        here.directory.answers = True
        here.directory.connections[0].transport.abortConnection()
        repeated = len(await searching)
        here.directory.answers = False
        failing = Deferred.fromCoroutine(here.found())
        await until(lambda: here.directory.search_count() == 4)
        here.directory.connections[1].transport.abortConnection()
        await until(lambda: here.directory.search_count() == 5)
        here.directory.connections[2].transport.abortConnection()

        assert repeated == 1
        assert await failing == "the connection was lost"
        assert here.directory.search_count() == 5


@pytest_twisted.ensureDeferred
async def test_a_server_that_ends_each_connection() -> None:
    """
    It does not get two more for each search: after a connection that answered nothing there is a pause.
    """
    async with scene() as here:
        here.directory.hangs_up = True
        first = await here.found()
        second = await here.found()
        here.directory.hangs_up = False
        here.clock.advance(PAUSE)
        third = await here.found()

        assert first == second == f"it closed the connection; the next attempt is in {PAUSE:.1f} s"
        assert third == 1
        assert len(here.directory.connections) == 2


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_down() -> None:
    """
    The reason is known at once, and the next attempt comes after a pause.
    """
    async with scene() as here:
        port = here.port.getHost().port
        await here.port.stopListening()
        with capturedLogs() as logs:
            here.link.connect()
            await until(lambda: logs)
        first = await here.found()
        here.port = reactor.listenTCP(port, here.directory, interface="127.0.0.1")
        here.clock.advance(PAUSE)
        second = await here.found()

        assert first == f"connection refused: no process listens there; the next attempt is in {PAUSE:.1f} s"
        assert second == 1
        assert [event["reason"] for event in logs] == ["connection refused: no process listens there"]


@pytest_twisted.ensureDeferred
async def test_a_refused_password_is_not_tried_often() -> None:
    """
    Servers lock an account after some attempts.
    """
    async with scene(name=BIND_DN, password="wrong") as here:
        here.directory.bind_code = 49
        first = await here.found()
        here.clock.advance(REFUSED_PAUSE - 1)
        second = await here.found()
        here.clock.advance(1)
        third = await here.found()

        assert first == f'it refuses to bind as "{BIND_DN}": invalidCredentials (49), who is it'
        assert second == f"{first}; the next attempt is in 1.0 s"
        assert third == first
        assert len(here.directory.bound) == 2
        assert here.directory.search_count() == 0


@pytest_twisted.ensureDeferred
async def test_a_server_that_accepts_and_says_nothing() -> None:
    """
    The attempt ends, and its connection with it.
    """
    async with scene(name=BIND_DN, password=PASSWORD) as here:
        here.directory.binds = False
        searching = Deferred.fromCoroutine(here.found())
        await until(lambda: here.directory.bound)
        here.clock.advance(OPEN_TIME)

        assert await searching == "not in time"
        await until(lambda: here.directory.connections[0].is_lost)


@pytest_twisted.ensureDeferred
async def test_a_search_is_cancelled_before_there_is_a_connection() -> None:
    """
    Others go on to wait for it.
    """
    async with scene(name=BIND_DN, password=PASSWORD) as here:
        leaving, staying = here.search(), here.search()
        leaving.addErrback(lambda ignored: None)
        leaving.cancel()

        assert len(await staying) == 1
        assert here.directory.search_count() == 1


@pytest_twisted.ensureDeferred
async def test_what_a_server_does_wrong_is_logged_once() -> None:
    """
    By the search that fails of it, or by the connection if there is none.
    """
    async with scene() as here:
        await here.found()
        with capturedLogs() as logs:
            here.directory.connections[0].transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            await until(lambda: here.link._connection is None)
        await here.found()
        here.directory.answers = False
        searching = Deferred.fromCoroutine(here.found())
        await until(lambda: here.directory.search_count() == 3)
        with capturedLogs() as more:
            here.directory.connections[1].transport.write(b"SSH-2.0-OpenSSH_9.2\r\n")
            told = await searching

        assert [(event["name"], event["reason"]) for event in logs] == [
            ("ldap://directory:389", "it sent bytes that are not LDAP")
        ]
        assert told == "it sent bytes that are not LDAP"
        assert list(more) == []


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_the_connection() -> None:
    """
    Until the server has closed it, or for a limited time. Later searches fail.
    """
    async with scene() as here:
        await here.found()
        stopped: list[None] = []
        here.link.stop().addCallback(stopped.append)
        at_once = list(stopped)
        await until(lambda: stopped)
        after = await here.found()

        assert at_once == []
        assert after == "the source is stopped"
        assert here.clock.getDelayedCalls() == []
        assert CLOSE_TIME > 0


@pytest_twisted.ensureDeferred
async def test_the_end_while_it_connects() -> None:
    """
    The attempt is given up.
    """
    async with scene(name=BIND_DN, password=PASSWORD) as here:
        here.directory.binds = False
        here.link.connect()
        await until(lambda: here.directory.bound)
        with capturedLogs() as logs:
            stopped: list[None] = []
            here.link.stop().addCallback(stopped.append)
            await until(lambda: stopped)

        assert list(logs) == []
        assert here.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_the_end_before_anything() -> None:
    """
    There is nothing to wait for.
    """
    async with scene() as here:
        stopped: list[None] = []
        here.link.stop().addCallback(stopped.append)

        assert stopped == [None]
        assert here.directory.connections == []
