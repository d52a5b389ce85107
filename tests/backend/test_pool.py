"""
Requests that their client gives up while a connection is being made: this is never the backend's failure.

The exception of a cancelled endpoint does not show who cancelled it, so each test tries several.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError, UserError
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.health import HealthCheck
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest, DeferredReceiver
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.s3.head import parse_response_head

GET = BackendRequest(b"GET", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n", is_idempotent=True)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
CANCELLED: dict[str, Callable[[Deferred[Any]], None]] = {
    "says CancelledError": lambda connecting: None,
    "says ConnectingCancelledError": lambda connecting: connecting.errback(ConnectingCancelledError(None)),
    "says UserError": lambda connecting: connecting.errback(UserError()),
    "says ConnectionRefusedError": lambda connecting: connecting.errback(ConnectionRefusedError()),
    "says OSError": lambda connecting: connecting.errback(OSError()),
    "says BackendError": lambda connecting: connecting.errback(BackendError(BackendFault.UNREACHABLE)),
}
"What endpoints do with a cancelled attempt."


class Transport(StringTransport):
    """
    A transport that ends like a socket's: a turn later, or at once if the test says so.
    """

    def abortConnection(self) -> None:
        super().abortConnection()
        self.disconnected = True

    def getHandle(self) -> None:
        """
        Return None: it is not a socket.
        """


class Endpoint:
    """
    An endpoint that the test controls.

    Attributes:
        attempts: Each attempt that began, with its factory.
    """

    def __init__(self, cancelled: Callable[[Deferred[Any]], None] = lambda connecting: None) -> None:
        self._cancelled = cancelled
        self.attempts: list[tuple[Any, Deferred[Any]]] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        connecting: Deferred[Any] = Deferred(self._cancelled)
        self.attempts.append((factory, connecting))
        return connecting

    def accept(self, number: int = -1) -> BackendConnection:
        """
        Let an attempt succeed.
        """
        factory, connecting = self.attempts[number]
        connection: BackendConnection = factory.buildProtocol(None)
        connection.makeConnection(Transport())
        if not connecting.called:
            connecting.callback(connection)
        return connection

    def refuse(self, number: int = -1) -> None:
        """
        Let an attempt fail.
        """
        self.attempts[number][1].errback(ConnectionRefusedError())


class Stage:
    """
    A pool of one address, whose endpoint the test controls.
    """

    def __init__(self, how: str = "says UserError", **limits: Any) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint(CANCELLED[how])
        self.pool = Pool(self.clock, self.endpoint, BackendLimits(**{"breaker_failures": 2, **limits}))
        self.pool.is_checked = True
        self.outcomes: list[Any] = []

    def ask(self) -> Deferred[Any]:
        """
        Send a request, and record its outcome.
        """
        return self.pool.send(GET).addBoth(self._keep)

    def _keep(self, outcome: Any) -> None:
        if isinstance(outcome, Failure):
            error = outcome.value
            self.outcomes.append(error.fault if isinstance(error, BackendError) else type(error))
        else:
            self.outcomes.append(outcome.head.status)

    def trip(self) -> None:
        """
        Make connecting fail until the breaker opens, and let its time pass.
        """
        while not self.pool.breaker.is_open:
            self.ask()
            self.endpoint.refuse()
        self.outcomes.clear()
        self.clock.advance(self.pool.limits.breaker_time)

    def end(self) -> None:
        """
        Close the pool; no timer may be left.
        """
        self.pool.close()
        for connection in tuple(self.pool.connections):
            connection.connectionLost(Failure(ConnectionRefusedError()))
        assert self.pool.busy_count == 0
        assert self.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", CANCELLED)
def test_connecting_is_given_up(how: str) -> None:
    """
    However often this happens, the breaker stays closed and the address healthy; no timer and no place in the pool is
    left.
    """
    stage = Stage(how)

    for _ in range(10):
        stage.ask().cancel()

    assert stage.outcomes == [CancelledError] * 10
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy, stage.pool.busy_count) == (False, True, 0)
    stage.end()


@pytest.mark.parametrize("how", CANCELLED)
def test_connecting_takes_too_long(how: str) -> None:
    """
    Then it is the proxy that cancels, and the backend that has failed.
    """
    stage = Stage(how)

    for _ in range(2):
        stage.ask()
    stage.clock.advance(stage.pool.limits.connect_time)

    assert stage.outcomes == [BackendFault.UNREACHABLE] * 2
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy) == (True, False)
    stage.end()


@pytest.mark.parametrize("ends", ["at once", "later"])
def test_a_handshake_is_given_up(ends: str) -> None:
    """
    With TLS the connection exists already, and is reset; its end is not the backend's failure.
    """
    stage = Stage()
    for _ in range(10):
        asked = stage.ask()
        factory, connecting = stage.endpoint.attempts[-1]
        connection = factory.buildProtocol(None)
        connection.transport = transport = Transport()
        if ends == "at once":
            transport.abortConnection = lambda: connection.connectionLost(Failure(UserError()))  # noqa: B023
        connecting.callback(connection)
        asked.cancel()
        if ends == "later":
            connection.connectionLost(Failure(UserError()))

    assert stage.outcomes == [CancelledError] * 10
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy, stage.pool.busy_count) == (False, True, 0)
    stage.end()


def test_a_place_is_given_up() -> None:
    """
    A request that waits for another's connection leaves no trace, and the next one in the queue is served.
    """
    stage = Stage(max_connections=1)
    stage.ask()
    connection = stage.endpoint.accept()
    waiting = [stage.ask() for _ in range(3)]
    waiting[0].cancel()
    connection.dataReceived(OK)
    waiting[1].cancel()
    assert connection.transport.disconnected
    connection.connectionLost(Failure(UserError()))
    stage.endpoint.accept().dataReceived(OK)

    assert stage.outcomes.count(CancelledError) == 2
    assert stage.outcomes.count(200) == 2
    assert not stage.pool.breaker.is_open
    stage.end()


def test_a_place_that_is_not_given_in_time() -> None:
    """
    A full pool says nothing about the backend.
    """
    stage = Stage(max_connections=1)
    stage.ask()
    stage.endpoint.accept()
    for _ in range(5):
        stage.ask()
    stage.clock.advance(stage.pool.limits.connect_time)

    assert stage.outcomes == [BackendFault.BUSY] * 5
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy) == (False, True)
    stage.end()


@pytest.mark.parametrize("how", CANCELLED)
def test_a_connecting_client_that_leaves_lets_the_next_connect(how: str) -> None:
    """
    The request that waits gets its place.
    """
    stage = Stage(how, max_connections=1)
    first = stage.ask()
    stage.ask()
    assert len(stage.endpoint.attempts) == 1

    first.cancel()
    stage.endpoint.accept().dataReceived(OK)

    assert stage.outcomes == [CancelledError, 200]
    stage.end()


@pytest.mark.parametrize("how", CANCELLED)
@pytest.mark.parametrize("when", ["connecting", "connected"])
def test_a_probe_is_given_up(how: str, when: str) -> None:
    """
    The breaker does not open for another period, and refuses no request: the next request is the probe.
    """
    stage = Stage(how)
    stage.trip()

    probe = stage.ask()
    stage.ask()
    if when == "connected":
        stage.endpoint.accept()
    probe.cancel()
    stage.ask()
    stage.endpoint.accept().dataReceived(OK)
    stage.ask()

    assert stage.outcomes[:3] == [BackendFault.OPEN, CancelledError, 200]
    assert (stage.pool.breaker.is_open, stage.pool.breaker.opened_count) == (False, 1)
    stage.end()


def test_a_slow_upload_is_the_probe() -> None:
    """
    A client that sends one byte a minute delays its own upload, but not other requests.
    """
    stage = Stage()
    stage.trip()
    upload = Upload(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 1000)
    slow = stage.pool.send(BackendRequest(b"PUT", upload.head), upload).addErrback(lambda failure: None)
    stage.endpoint.accept()

    stage.ask()
    stage.clock.advance(stage.pool.limits.breaker_time)
    stage.ask()
    stage.endpoint.accept().dataReceived(OK)

    assert stage.outcomes == [BackendFault.OPEN, 200]
    assert not stage.pool.breaker.is_open
    slow.cancel()
    stage.end()


def test_an_upload_is_refused_on_a_pooled_connection() -> None:
    """
    The connection is reset, and no failure is counted; the upload is not repeated.
    """
    stage = Stage()
    for _ in range(5):
        stage.ask()
        connection = stage.endpoint.accept()
        connection.dataReceived(OK)
        upload = Upload(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 1000)
        asked = stage.pool.send(BackendRequest(b"PUT", upload.head), upload).addErrback(lambda failure: None)
        upload.write(b"zz")
        upload.fail(ConnectionAbortedError())
        asked.cancel()
        assert connection.transport.disconnected
        connection.connectionLost(Failure(UserError()))

    assert len(stage.endpoint.attempts) == 5
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy, stage.pool.retried_count) == (False, True, 0)
    stage.end()


@pytest.mark.parametrize("how", CANCELLED)
def test_nobody_waits_at_another_address(how: str) -> None:
    """
    A request that was given up is not sent to the next address; a request whose address is gone is.
    """
    clock = Clock()
    endpoints = [Endpoint(CANCELLED[how]) for _ in range(3)]
    pools = [Pool(clock, endpoint, BackendLimits()) for endpoint in endpoints]
    agent = BackendAgent(pools)
    outcomes: list[Any] = []

    agent.send(GET).addBoth(outcomes.append).cancel()
    tried = [len(endpoint.attempts) for endpoint in endpoints]
    asked = agent.send(GET).addBoth(outcomes.append)
    next(endpoint for endpoint, count in zip(endpoints, tried, strict=True) if len(endpoint.attempts) > count).refuse()
    failed_over = agent.failed_over_count
    asked.cancel()

    assert [outcome.type for outcome in outcomes] == [CancelledError] * 2
    assert (sorted(tried), failed_over, agent.failed_over_count) == ([0, 0, 1], 1, 1)
    assert sum(len(endpoint.attempts) for endpoint in endpoints) == 3
    assert not any(pool.busy_count for pool in pools)
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", CANCELLED)
def test_an_upload_by_treq_is_given_up(how: str) -> None:
    """
    treq's wrapper around a request passes the cancellation on, and its result.
    """
    stage = Stage(how)
    agent = BackendAgent([stage.pool])
    outcomes: list[Any] = []

    for _ in range(5):
        upload = Upload(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 1000)
        asked = agent.send_upload(upload).addBoth(outcomes.append)
        upload.write(b"zz")
        upload.fail(ConnectionAbortedError())
        asked.cancel()

    assert [outcome.type for outcome in outcomes] == [CancelledError] * 5
    assert (len(stage.endpoint.attempts), stage.pool.breaker.is_open, stage.pool.is_healthy) == (5, False, True)
    stage.end()


@pytest.mark.parametrize("how", CANCELLED)
def test_a_check_that_is_stopped_says_nothing(how: str) -> None:
    """
    A reload stops the checks of the old configuration, whose requests continue: their address is not down.
    """
    stage = Stage(how)
    check = HealthCheck(stage.pool, b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n", 5)
    check.start()
    assert len(stage.endpoint.attempts) == 1

    check.stop()

    assert stage.pool.is_healthy
    stage.end()


def test_an_endpoint_that_goes_on_is_not_waited_for() -> None:
    """
    If the endpoint tries the next address when it is cancelled, it is still given up in time; its connection is reset.
    """
    stage = Stage()
    next_one: list[Deferred[Any]] = []

    def try_another(failure: Failure) -> Deferred[Any]:
        next_one.append(Deferred())
        return next_one[-1]

    connect = stage.endpoint.connect
    stage.endpoint.connect = lambda factory: connect(factory).addErrback(try_another)  # type: ignore[method-assign]
    stage.ask().cancel()
    stage.ask()
    stage.clock.advance(stage.pool.limits.connect_time)
    busy = stage.pool.busy_count
    late = [stage.pool.buildProtocol(None) for _ in next_one]
    for connection, connecting in zip(late, next_one, strict=True):
        connection.makeConnection(Transport())
        connecting.callback(connection)

    assert (stage.outcomes, busy) == ([CancelledError, BackendFault.UNREACHABLE], 0)
    assert [connection.transport.disconnected for connection in late] == [True, True]
    assert [connection.transport.value() for connection in late] == [b"", b""]
    stage.end()


def test_a_connection_nobody_waits_for_ends() -> None:
    """
    An endpoint that ignores a cancellation makes a connection: it ends within the time for connecting.
    """
    stage = Stage()
    stage.ask().cancel()
    connection = stage.endpoint.accept()
    assert not connection.transport.disconnected

    stage.clock.advance(stage.pool.limits.connect_time)

    assert connection.transport.disconnected
    stage.end()


def test_a_closed_pool_connects_no_more() -> None:
    """
    What was connecting or waiting ends with it, and is not counted.
    """
    stage = Stage(max_connections=1)
    stage.ask()
    stage.ask()

    stage.pool.close()
    stage.ask()

    assert stage.outcomes == [BackendFault.UNREACHABLE] * 3
    assert len(stage.endpoint.attempts) == 1
    assert (stage.pool.breaker.is_open, stage.pool.is_healthy) == (False, True)
    stage.end()


def test_a_connection_that_is_being_closed_is_not_used() -> None:
    """
    With TLS, its end waits for the peer's: a request that was sent meanwhile would be lost.
    """
    stage = Stage(pooled_time=10, breaker_failures=0)
    stage.ask()
    old = stage.endpoint.accept()
    old.dataReceived(OK)
    stage.clock.advance(10)
    assert old.transport.disconnecting

    stage.ask()
    stage.endpoint.accept().dataReceived(OK)

    assert len(stage.endpoint.attempts) == 2
    assert stage.outcomes == [200, 200]
    stage.end()


def test_a_connection_that_does_not_end_is_reset() -> None:
    """
    If a backend never sends its close_notify, the connection does not keep its place in the pool forever.
    """
    stage = Stage(pooled_time=10)
    stage.ask()
    connection = stage.endpoint.accept()
    connection.dataReceived(OK)
    stage.clock.advance(10)
    assert not connection.transport.disconnected

    stage.clock.advance(stage.pool.limits.connect_time)

    assert connection.transport.disconnected
    stage.end()


def test_a_response_nobody_asks_for_ends() -> None:
    """
    If a response is not read, its connection ends after the backend's idle time.
    """
    stage = Stage()
    stage.ask()
    connection = stage.endpoint.accept()
    connection.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    stage.clock.advance(stage.pool.limits.idle_time - 1)
    assert not connection.transport.disconnected

    stage.clock.advance(1)

    assert connection.transport.disconnected
    assert stage.outcomes == [200]
    stage.end()


def test_a_deferred_that_was_cancelled_hears_no_more() -> None:
    """
    A request may end after its Deferred was cancelled; a response that comes then has no receiver, and is given up.
    """
    outcomes: list[Any] = []
    fired: Deferred[Any] = Deferred(lambda ignored: None)
    fired.addErrback(lambda failure: outcomes.append(failure.type))
    receiver = DeferredReceiver(fired)
    fired.cancel()
    response = BackendResponse(None, parse_response_head(OK.removesuffix(b"\r\n\r\n")), 0, None)
    aborted = []
    connection: Any = SimpleNamespace(abort=lambda: aborted.append(True))
    response._connection = connection

    receiver.not_answered(Failure(BackendError(BackendFault.LOST)))
    receiver.answered(response)

    assert outcomes == [CancelledError]
    assert aborted == [True]


@pytest.mark.parametrize("way", ["stray bytes", "more than the length", "with the head"])
def test_a_body_of_head_that_passes_for_a_response_is_learned_from(way: str) -> None:
    """
    Nothing tells such a response from one to the next request. What comes after it shows that it was none, and from
    then on no connection is used again after a HEAD whose response declares a body.
    """
    stage = Stage()
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
    stage.pool.send(BackendRequest(b"HEAD", b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n"))
    connection = stage.endpoint.accept()
    connection.dataReceived(OK.replace(b"Length: 0", b"Length: 9"))
    stage.ask()
    pieces = {
        "stray bytes": [evil + b"evil", OK],
        "more than the length": [evil + b"ev", b"il" + OK],
        "with the head": [evil + b"evil" + OK],
    }[way]
    for piece in pieces:
        connection.dataReceived(piece)

    assert connection.transport.disconnected
    assert stage.pool.trails_heads
    connection.connectionLost(Failure(ConnectionRefusedError()))
    stage.pool.send(BackendRequest(b"HEAD", b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n"))
    again = stage.endpoint.accept()
    again.dataReceived(OK.replace(b"Length: 0", b"Length: 9"))
    assert again.transport.disconnected
    stage.end()
