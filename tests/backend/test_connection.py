"""
One connection to a backend: never a byte of a body beyond what its head declared, nor one less.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest
from s3proxy.exchange import BackendFault

HEAD = b"PUT /b/k HTTP/1.1\r\nHost: backend\r\nContent-Length: 5\r\n\r\n"


class Body:
    """
    A body which writes what the test wants, whatever it has declared.
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
    A connection which sends a request with a body of five bytes.
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
        What left behind the head.
        """
        return self.transport.value().removeprefix(HEAD)

    def assert_reset(self) -> None:
        """
        The request failed, and its connection was reset.
        """
        assert [error.fault for error in self.failures] == [BackendFault.LOST]
        assert self.transport.disconnected
        assert self.body.is_stopped or self.connection._body is None


@pytest.mark.parametrize(
    "pieces", [[b"123456"], [b"12345", b"6"], [b"123", b"4567"], [b"12345GET /other HTTP/1.1\r\n"]]
)
def test_not_one_byte_more_than_was_announced(pieces: list[bytes]) -> None:
    """
    What is beyond the declared length would begin a request of somebody's choice: the piece that has it stays here.
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
    A body that ends early is reset: the backend would take the next request for its rest.
    """
    sending = Sending()
    sending.body.consumer.writeSequence([b"1234"])
    sending.body.done.callback(None)

    sending.assert_reset()


def test_exactly_what_was_announced() -> None:
    """
    A body of its declared length leaves, and the answer is waited for.
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
    Closed cleanly, a backend may take what it has for all there is.
    """
    sending = Sending()
    sending.body.consumer.writeSequence([b"1234"])
    sending.body.done.errback(ValueError("it was not verified"))

    assert sending.transport.disconnected
    assert [error.fault for error in sending.failures] == [BackendFault.LOST]
