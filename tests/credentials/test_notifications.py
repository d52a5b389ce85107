"""
Notifications of changed keys: how they are read, and what happens if the connection is lost.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from s3proxy.credentials.notifications import FIRST_PAUSE, LONGEST_PAUSE, Notifications


class Connection:
    """
    A connection whose notifications a test gives.
    """

    def __init__(self) -> None:
        self.payloads: list[str] = []
        self.is_broken = False
        self.closed = False
        self._socket, self._server = socket.socketpair()

    def fileno(self) -> int:
        """
        Return a descriptor.
        """
        return self._socket.fileno()

    def notifies(self, *, timeout: float) -> list[psycopg.Notify]:
        """
        Return what has arrived; it does not wait. After a loss the descriptor is closed, as libpq does.
        """
        assert timeout == 0
        if self.is_broken:
            self._socket.close()
            raise psycopg.OperationalError("the connection is lost")
        payloads, self.payloads = self.payloads, []
        return [psycopg.Notify("s3proxy_keys", payload, 1) for payload in payloads]

    def close(self) -> None:
        """
        Close it.
        """
        self.closed = True
        self._socket.close()
        self._server.close()


class Listening:
    """
    Notifications whose connections a test makes.
    """

    def __init__(self) -> None:
        self.reactor = MemoryReactorClock()
        self.changed: list[bytes | None] = []
        self.attempts: list[Deferred[Any]] = []
        self.notifications = Notifications(self.connect, "the server", 60)
        self.notifications.start(self.reactor, self.changed.append)

    def connect(self) -> Deferred[Any]:
        """
        Return what the test fires.
        """
        self.attempts.append(Deferred())
        return self.attempts[-1]

    def connected(self) -> Connection:
        """
        Have the last attempt succeed.
        """
        connection = Connection()
        self.attempts[-1].callback(connection)
        return connection


def test_each_notification_is_a_changed_key() -> None:
    """
    An empty one stands for all, and so does the beginning: before it none was received.
    """
    listening = Listening()
    connection = listening.connected()
    assert verifyObject(IReadDescriptor, listening.notifications)
    assert listening.reactor.getReaders() == [listening.notifications]
    assert listening.changed == [None]

    connection.payloads = ["A", "", "B"]
    lost = listening.notifications.doRead()

    assert lost is None
    assert listening.changed == [None, b"A", None, b"B"]
    assert listening.notifications.logPrefix() == "the server"
    listening.notifications.stop()


def test_a_lost_connection_is_replaced() -> None:
    """
    Notifications may have been missed, so any key may have changed.
    """
    listening = Listening()
    connection = listening.connected()
    connection.is_broken = True
    lost = listening.notifications.doRead()
    assert lost is CONNECTION_LOST
    assert os.fstat(listening.notifications.fileno()), "the reactor must be able to forget it"

    with capturedLogs() as logs:
        listening.notifications.connectionLost(Failure(CONNECTION_LOST))
        assert (connection.closed, listening.reactor.getReaders(), listening.notifications.fileno()) == (True, [], -1)
        listening.reactor.advance(FIRST_PAUSE)
        listening.connected()

    assert listening.changed == [None, None]
    assert len(listening.reactor.getReaders()) == 1
    told = [event["log_format"].format(**event) for event in logs]
    assert told[0].startswith("the server does not tell of changed keys; changes take effect within 60 s: ")
    assert told[1] == "the server tells of changed keys again"
    listening.notifications.stop()


def test_attempts_become_rarer() -> None:
    """
    One line of the log is enough.
    """
    listening = Listening()
    pauses = []
    with capturedLogs() as logs:
        for _ in range(8):
            listening.attempts[-1].errback(OSError("refused"))
            (call,) = listening.reactor.getDelayedCalls()
            pauses.append(call.getTime() - listening.reactor.seconds())
            listening.reactor.advance(pauses[-1])

    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE
    assert len(logs) == 1
    assert len(listening.attempts) == 9


def test_the_end() -> None:
    """
    Whether it is connected, connects or waits: nothing is left, and nothing is told any more.
    """
    connected, connecting, waiting = Listening(), Listening(), Listening()
    connection = connected.connected()
    waiting.attempts[-1].errback(OSError("refused"))
    for each in (connected, connecting, waiting):
        each.notifications.stop()

    late = connecting.connected()
    other = Listening()
    other.notifications.stop()
    other.attempts[-1].errback(OSError("refused"))

    assert (connection.closed, late.closed) == (True, True)
    for each in (connected, connecting, waiting, other):
        assert each.reactor.getReaders() == []
        assert each.reactor.getDelayedCalls() == []
    assert connecting.changed == []
