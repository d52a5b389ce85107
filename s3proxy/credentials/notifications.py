"""
Listen to a PostgreSQL server, which tells of changed keys.

The reactor watches the socket of a connection that does nothing else. If the connection is lost, another one is made,
and every key is asked for again: notifications may have been missed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import psycopg
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

FIRST_PAUSE = 1.0
"""
Seconds from the loss of a connection to the next attempt.
"""

LONGEST_PAUSE = 30.0
"""
Seconds between two attempts after many failures.
"""


@implementer(IReadDescriptor)
class Notifications:
    """
    The notifications of one server.

    Args:
        connect: Returns a new connection that listens; it may take time.
        name: The database as the log names it.
        ttl: Seconds after which a change takes effect without notifications, for the log.
    """

    _log = Logger()

    def __init__(self, connect: Callable[[], Deferred[psycopg.Connection[Any]]], name: str, ttl: float) -> None:
        self._connect_in_thread = connect
        self._name = name
        self._ttl = ttl
        self._reactor: Any = None
        self._changed: Callable[[bytes | None], None] = lambda access_key_id: None
        self._connection: Any = None
        # libpq closes its own descriptor when the connection is lost, before the reactor can forget it.
        self._descriptor = -1
        self._timer: Any = None
        self._pause = FIRST_PAUSE
        self._is_told = False
        self._is_stopped = False

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Begin to connect.

        Args:
            changed: See `s3proxy.interfaces.ICredentialOrigin.start`.
        """
        self._reactor, self._changed = reactor, changed
        self._connect()

    def stop(self) -> None:
        """
        Close the connection, and make no other.
        """
        self._is_stopped = True
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._close()

    def _connect(self) -> None:
        self._connect_in_thread().addCallbacks(self._connected, self._failed)

    def _connected(self, connection: psycopg.Connection[Any]) -> None:
        if self._is_stopped:
            connection.close()
            return
        self._connection, self._descriptor = connection, os.dup(connection.fileno())
        self._pause = FIRST_PAUSE
        if self._is_told:
            self._log.info("{name} tells of changed keys again", name=self._name)
            self._is_told = False
        self._reactor.addReader(self)
        self._changed(None)

    def _failed(self, failure: Failure) -> None:
        if self._is_stopped:
            return
        if not self._is_told:
            self._log.warn(
                "{name} does not tell of changed keys; changes take effect within {ttl:g} s: {reason}",
                name=self._name,
                ttl=self._ttl,
                reason=" ".join(failure.getErrorMessage().split()),
            )
            self._is_told = True
        self._timer = self._reactor.callLater(self._pause, self._connect)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._reactor.removeReader(self)
            os.close(self._descriptor)
            self._descriptor = -1
            connection.close()

    # IReadDescriptor

    def fileno(self) -> int:
        """
        Return a descriptor of the socket; -1 if there is none.
        """
        return self._descriptor

    def logPrefix(self) -> str:
        """
        Return the name for the log.
        """
        return self._name

    def doRead(self) -> Any:
        """
        Read what has arrived.

        Returns:
            None, or an exception if the connection is lost.
        """
        try:
            told = [notification.payload for notification in self._connection.notifies(timeout=0)]
        except psycopg.Error:
            return CONNECTION_LOST
        for payload in told:
            self._changed(payload.encode() or None)
        return None

    def connectionLost(self, reason: Failure) -> None:
        """
        Called when the connection is lost: make another one.
        """
        self._close()
        self._failed(reason)
