"""
One connection to a backend: a body has exactly as many bytes as its head declares, in requests and in responses.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.transport.writer import SeesEachByte

HEAD = b"PUT /b/k HTTP/1.1\r\nHost: backend\r\nContent-Length: 5\r\n\r\n"


class Body:
    """
    A body that writes what the test wants, whatever it has declared.
    """

    length = 5

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()
        self.is_stopped = False

    def startProducing(self, consumer: Any) -> Deferred[None]:
        """
        Begin.
        """
        self.consumer = consumer
        return self.done

    def pauseProducing(self) -> None:
        """
        Do nothing.
        """

    resumeProducing = pauseProducing

    def stopProducing(self) -> None:
        """
        End.
        """
        self.is_stopped = True


class Sending:
    """
    A connection that sends a request with a body of five bytes.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        endpoint: Any = None
        self.pool = Pool(self.clock, endpoint, BackendLimits())
        self.connection = BackendConnection(self.pool)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)
        self.body = Body()
        self.failures: list[BackendError] = []
        self.connection.send(BackendRequest(b"PUT", HEAD), self.body).addErrback(
            lambda failure: self.failures.append(failure.value)
        )

    @property
    def sent(self) -> bytes:
        """
        The bytes that left after the head.
        """
        return self.transport.value().removeprefix(HEAD)

    def assert_reset(self) -> None:
        """
        Assert that the request failed, and that its connection was reset.
        """
        assert [error.fault for error in self.failures] == [BackendFault.LOST]
        assert self.transport.disconnected
        assert self.body.is_stopped or self.connection._body is None


@pytest.mark.parametrize(
    "pieces", [[b"123456"], [b"12345", b"6"], [b"123", b"4567"], [b"12345GET /other HTTP/1.1\r\n"]]
)
def test_not_one_byte_more_than_was_announced(pieces: list[bytes]) -> None:
    """
    Bytes beyond the declared length would begin a request that an attacker chooses: the piece that has them is not
    sent.
    """
    sending = Sending()
    for piece in pieces:
        sending.body.consumer.writeSequence([piece])

    assert len(sending.sent) <= 5
    assert b"6" not in sending.sent
    assert b"7" not in sending.sent
    assert b"GET" not in sending.sent
    sending.assert_reset()


def test_not_one_byte_less() -> None:
    """
    If a body ends early, the connection is reset: the backend would take the next request for the rest of it.
    """
    sending = Sending()
    sending.body.consumer.writeSequence([b"1234"])
    sending.body.done.callback(None)

    sending.assert_reset()


def test_exactly_what_was_announced() -> None:
    """
    A body of its declared length leaves, and the connection waits for the response.
    """
    sending = Sending()
    sending.body.consumer.writeSequence([b"123", b"45"])
    sending.body.done.callback(None)

    assert sending.sent == b"12345"
    assert sending.failures == []
    assert not sending.transport.disconnecting
    sending.connection.connectionLost()
    assert [error.fault for error in sending.failures] == [BackendFault.UNANSWERED]


def test_a_body_that_fails_is_reset() -> None:
    """
    If the connection were closed cleanly, a backend might take the bytes that it has for the whole body.
    """
    sending = Sending()
    sending.body.consumer.writeSequence([b"1234"])
    sending.body.done.errback(ValueError("it was not verified"))

    assert sending.transport.disconnected
    assert [error.fault for error in sending.failures] == [BackendFault.LOST]


# Responses


class Asking:
    """
    A connection that has sent a request without a body, or with one that is not complete.
    """

    def __init__(self, method: bytes = b"GET", *, body: bool = False, expects_continue: bool = False) -> None:
        self.clock = Clock()
        endpoint: Any = None
        self.pool = Pool(self.clock, endpoint, BackendLimits())
        self.connection = BackendConnection(self.pool)
        self.transport = StringTransport()
        self.connection.makeConnection(self.transport)
        self.responses: list[BackendResponse] = []
        self.failures: list[BackendError] = []
        self.body = Body() if body else None
        request = BackendRequest(method, HEAD, expects_continue=expects_continue)
        self.connection.send(request, self.body).addCallbacks(
            self.responses.append, lambda failure: self.failures.append(failure.value)
        )

    def receive(self, *pieces: bytes) -> None:
        """
        Receive bytes while the connection is open.
        """
        for piece in pieces:
            if not self.transport.disconnected:
                self.connection.dataReceived(piece)

    def read(self) -> Reader:
        """
        Read the response's body.
        """
        reader = Reader()
        self.responses[0].deliver(reader)
        return reader

    @property
    def is_pooled(self) -> bool:
        """
        Whether the connection may be used for another request.
        """
        return self.pool.busy_count == 0 and not self.transport.disconnected and not self.transport.disconnecting


class Reader(SeesEachByte):
    """
    Keeps a response's body.
    """

    def __init__(self) -> None:
        self.data = b""
        self.ends: list[Any] = []

    def bodyReceived(self, pieces: Any) -> None:
        """
        Keep.
        """
        self.data += b"".join(pieces)

    def bodyEnded(self, failure: Any) -> None:
        """
        Keep.
        """
        self.ends.append(failure)


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"GET", OK + b"Content-Length: 5\r\n\r\nhello"),
        (b"GET", OK + b"Content-Length: 0\r\n\r\n"),
        (b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
        (b"HEAD", OK + b"Content-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 100 Continue\r\n\r\n" * 16 + OK + b"Content-Length: 0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_response_that_ends_leaves_its_connection(method: bytes, response: bytes, *, is_cut: bool) -> None:
    """
    However the response arrives, the connection can be used for another request, and is read meanwhile.
    """
    asking = Asking(method)
    asking.receive(*([response[at : at + 1] for at in range(len(response))] if is_cut else [response]))
    if not asking.responses[0].is_complete:
        asking.read()
        asking.receive(b"")

    assert asking.failures == []
    assert asking.is_pooled
    assert asking.transport.producerState == "producing"
    asking.connection.dataReceived(b"H")
    assert asking.transport.disconnected


@pytest.mark.parametrize(
    ("method", "response"),
    [
        (b"GET", OK + b"Content-Length: 5\r\n\r\nhelloX"),
        (b"GET", OK + b"Content-Length: 0\r\n\r\nX"),
        (b"HEAD", OK + b"Content-Length: 5\r\n\r\nhello"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\nX"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello"),
        (b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nX"),
        (b"GET", OK + b"Content-Length: 5\r\nConnection: close\r\n\r\nhello"),
        (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_a_connection_that_says_more_serves_nobody_else(method: bytes, response: bytes, *, is_cut: bool) -> None:
    """
    A byte beyond a response, in the same piece or a later one, would become part of the next client's response. A
    connection that the backend closes is not reused either.
    """
    asking = Asking(method)
    asking.receive(*([response[at : at + 1] for at in range(len(response))] if is_cut else [response]))
    data = asking.read().data if asking.responses else b""

    assert not asking.is_pooled
    assert len(data) <= 5
    assert b"X" not in data


@pytest.mark.parametrize(
    "response",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 17,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_response(response: bytes) -> None:
    """
    Nothing of it is used: the request fails, and the connection is reset.
    """
    asking = Asking()
    asking.receive(response)

    assert asking.responses == []
    assert [error.fault for error in asking.failures] == [BackendFault.LOST]
    assert asking.transport.disconnected


@pytest.mark.parametrize("wire", [b"X\r\n", b"5\r\nhelloX", b"5\nhello"])
def test_chunks_that_are_none(wire: bytes) -> None:
    """
    The response is cut there, and is never complete.
    """
    asking = Asking()
    asking.receive(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    reader = asking.read()
    asking.receive(wire)

    assert len(reader.ends) == 1
    assert reader.ends[0] is not None
    assert asking.transport.disconnected


@pytest.mark.parametrize(("reason", "is_whole"), [(ConnectionDone(), True), (ConnectionLost(), False)])
def test_a_response_that_only_its_end_tells(reason: Exception, *, is_whole: bool) -> None:
    """
    It is whole if the connection was closed, and cut if it was reset; the connection is never pooled.
    """
    asking = Asking()
    asking.receive(OK + b"\r\nhello")
    reader = asking.read()
    assert not asking.is_pooled
    asking.connection.connectionLost(Failure(reason))

    assert reader.data == b"hello"
    assert [end is None for end in reader.ends] == [is_whole]


def test_bytes_that_nobody_asked_for() -> None:
    """
    They would become the next client's response.
    """
    asking = Asking()
    asking.receive(OK + b"Content-Length: 0\r\n\r\n")
    assert asking.is_pooled

    asking.connection.dataReceived(OK)

    assert asking.transport.disconnected


@pytest.mark.parametrize("status", [b"403 Forbidden", b"200 OK"])
def test_a_response_before_the_end_of_a_body(status: bytes) -> None:
    """
    Nothing more is read from the client, and the connection is not reused.
    """
    asking = Asking(b"PUT", body=True)
    assert asking.body is not None
    asking.body.consumer.writeSequence([b"123"])

    asking.receive(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status)

    assert len(asking.responses) == 1
    assert asking.body.is_stopped
    assert asking.transport.disconnected


# Times


def test_a_backend_answers_in_time() -> None:
    """
    Otherwise the connection is reset, and the fault is its silence.
    """
    asking = Asking()
    asking.clock.advance(59.9)
    assert asking.failures == []
    asking.clock.advance(0.2)

    assert [error.fault for error in asking.failures] == [BackendFault.SILENT]
    assert asking.transport.disconnected


@pytest.mark.parametrize("begins", [b"", b"he"])
def test_a_response_that_stops(begins: bytes) -> None:
    """
    It is cut after its idle time, whether or not a byte of its body has arrived.
    """
    asking = Asking()
    asking.receive(OK + b"Content-Length: 5\r\n\r\n")
    reader = asking.read()
    asking.receive(begins)
    asking.clock.advance(59.9)
    assert reader.ends == []
    asking.clock.advance(0.2)

    assert reader.ends[0] is not None
    assert asking.transport.disconnected


def test_each_byte_of_a_response_gives_it_time() -> None:
    """
    A slow backend is not a dead one.
    """
    asking = Asking()
    asking.receive(OK + b"Content-Length: 5\r\n\r\n")
    reader = asking.read()
    for letter in b"hello":
        asking.clock.advance(50)
        asking.receive(bytes([letter]))

    assert reader.data == b"hello"
    assert reader.ends == [None]


def test_a_backend_that_knows_no_continue() -> None:
    """
    It gets the body after a second; one that sends 100 Continue gets it at once.
    """
    asking = Asking(b"PUT", body=True, expects_continue=True)
    assert not hasattr(asking.body, "consumer")
    asking.clock.advance(1.1)
    assert hasattr(asking.body, "consumer")

    asking = Asking(b"PUT", body=True, expects_continue=True)
    asking.receive(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert hasattr(asking.body, "consumer")


def test_a_body_that_failed_before_it_was_asked_for() -> None:
    """
    What comes in one piece with ``100 Continue`` answers a request that has failed by then.
    """
    asking = Asking(b"PUT", body=True, expects_continue=True)
    assert asking.body is not None
    asking.body.done.errback(ValueError("it was not verified"))
    asking.receive(b"HTTP/1.1 100 Continue\r\n\r\n" + OK + b"Content-Length: 0\r\n\r\n")

    assert asking.transport.disconnected
    assert [error.fault for error in asking.failures] == [BackendFault.LOST]
    assert asking.responses == []


def test_a_pooled_connection_ends() -> None:
    """
    It ends after its maximum time in the pool.
    """
    asking = Asking()
    asking.receive(OK + b"Content-Length: 0\r\n\r\n")
    asking.clock.advance(24.9)
    assert not asking.transport.disconnecting
    asking.clock.advance(0.2)

    assert asking.transport.disconnecting


def test_a_backend_that_takes_nothing() -> None:
    """
    It ends after its idle time; one that accepts bytes meanwhile does not.
    """
    asking = Asking(b"PUT", body=True)
    asking.connection.pauseProducing()
    asking.clock.advance(60.1)

    assert [error.fault for error in asking.failures] == [BackendFault.STALLED]
    assert asking.transport.disconnected
    asking = Asking(b"PUT", body=True)
    asking.connection.pauseProducing()
    asking.clock.advance(50)
    asking.connection.resumeProducing()
    asking.clock.advance(50)
    assert asking.failures == []


def test_a_request_that_is_given_up() -> None:
    """
    Its connection is reset: the response would go to another client.
    """
    sending = Sending()
    connection = BackendConnection(sending.pool)
    transport = StringTransport()
    connection.makeConnection(transport)
    answered = connection.send(BackendRequest(b"GET", HEAD))
    answered.addErrback(lambda failure: None)

    answered.cancel()

    assert transport.disconnected


def test_a_connection_that_has_not_sent_everything_is_not_pooled() -> None:
    """
    The bytes that are left would leave before the next request.
    """
    asking = Asking()
    asking.transport.producer.pauseProducing()
    asking.receive(OK + b"Content-Length: 0\r\n\r\n")

    assert asking.transport.disconnected


def test_a_body_is_given_once() -> None:
    """
    Two receivers would each get a part.
    """
    asking = Asking()
    asking.receive(OK + b"Content-Length: 5\r\n\r\n")
    asking.read()

    with pytest.raises(RuntimeError):
        asking.read()
    asking.receive(b"hello")


def test_a_backend_that_takes_bytes_slowly(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its socket stays full, but it is not dead: its kernel acknowledges bytes.
    """
    acknowledged = itertools.count()
    monkeypatch.setattr("s3proxy.backend.connection.acknowledged_size", lambda transport: min(next(acknowledged), 3))
    asking = Asking(b"PUT", body=True)
    asking.connection.pauseProducing()
    for _ in range(3):
        asking.clock.advance(60.1)
        assert asking.failures == []
    asking.clock.advance(60.1)

    assert [error.fault for error in asking.failures] == [BackendFault.STALLED]


def test_nothing_is_sent_before_a_certificate_is_judged() -> None:
    """
    Twisted 24.7 also reports a handshake with a wrong certificate, and ends the connection in the next turn.
    """
    sending = Sending()
    for is_right in (True, False):
        connection = BackendConnection(sending.pool)
        ready: list[Any] = []
        connection.ready.addBoth(ready.append)
        connection.transport = StringTransport()
        connection.handshakeCompleted()
        assert ready == []
        if not is_right:
            connection.connectionLost(Failure(ConnectionLost()))
        sending.clock.advance(0)

        assert (ready == [connection]) is is_right
        assert (connection in sending.pool.connections) is is_right
        assert len(ready) == 1


class FailingReceiver:
    """
    A receiver that raises.
    """

    def answered(self, response: object) -> None:
        """
        Raise.
        """
        raise RuntimeError

    not_answered = answered


def test_a_receiver_that_fails_does_not_keep_the_connection() -> None:
    """
    Without a reset nothing would end a connection whose request is over.
    """
    sending = Sending()
    connection = BackendConnection(sending.pool)
    transport = StringTransport()
    connection.makeConnection(transport)
    connection.ask(BackendRequest(b"GET", HEAD, first_byte_time=5.0), FailingReceiver())

    with pytest.raises(RuntimeError):
        sending.clock.advance(5.1)

    assert transport.disconnected


@pytest.mark.parametrize(
    "received",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n\r\n",
        b"HTTP/1.1 403 X\r\nContent-Length: 1\r\n\r\nabc",
        b"HTTP/1.1 403 X\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_a_request_that_ends_when_its_continue_is_due(received: bytes) -> None:
    """
    Both in one turn of the reactor, before the connection is lost: no body is left to be sent.
    """
    asking = Asking(b"PUT", body=True, expects_continue=True)
    asking.clock.rightNow += 1.5
    asking.receive(received)

    asking.clock.advance(0)

    assert asking.transport.disconnected
    assert len(asking.failures) == 1
