"""
The way to one LDAP server: one connection that all searches share, made anew if it is lost.

How many searches there are at a time, how long each may take and how often a server that is down is asked is up to the
cache, `s3proxy.credentials.cache`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.backend.trouble import why
from s3proxy.credentials.ldap_connection import LDAPConnection, Login, NoAnswer, Refused, Unanswered
from s3proxy.credentials.ldap_messages import INVALID_CREDENTIALS, Entry

OPEN_TIME = 5.0
"""
Seconds to connect, verify the server and bind.
"""

PAUSE = 0.5
"""
Seconds without an attempt to connect after a failed one.
"""

REFUSED_PAUSE = 30.0
"""
The same if the server refused the password: servers lock an account after some attempts.
"""


class LDAPLink:
    """
    The connection to one server.

    Args:
        reactor: Its clock must never go back.
        endpoint: Connects to the server, with TLS if the URL says so.
        login: How each connection begins.
    """

    _log = Logger()

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint, login: Login) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._login = login
        self._connection: LDAPConnection | None = None
        self._open: set[LDAPConnection] = set()
        self._attempt: Deferred[LDAPConnection] | None = None
        self._waiting: list[Deferred[LDAPConnection]] = []
        self._not_before = 0.0
        self._why_not = ""
        self._stopped: Deferred[None] | None = None

    def connect(self) -> None:
        """
        Begin to connect, if there is no connection. A failure is only logged.
        """
        self._connected().addErrback(self._log_not_connected)

    def search(self, base: str, equal: dict[str, bytes], attributes: list[str]) -> Deferred[list[Entry]]:
        """
        Search as `search_request` describes.

        Returns:
            Fires with at most two entries; fails with `NoAnswer`. It can be cancelled.
        """

        def ask(connection: LDAPConnection) -> Deferred[list[Entry]]:
            return connection.search(base, equal, attributes)

        def ask_again(failure: Failure) -> Any:
            # The server has closed a connection that it found idle, while the search was on its way.
            return self._connected().addCallback(ask) if failure.check(Unanswered) else failure

        # Not a coroutine: Twisted 24.7 would take an exception for another one that is handled at the same time.
        return self._connected().addCallback(ask).addErrback(ask_again)

    def stop(self) -> Deferred[None]:
        """
        Close all connections, and make no other.

        Returns:
            Fires when all are closed, after `CLOSE_TIME` at the latest.
        """
        stopped = self._stopped = Deferred[None]()
        if self._attempt is not None:
            self._attempt.cancel()
        for connection in tuple(self._open):
            connection.close()
        self._check_stopped()
        return stopped

    def _check_stopped(self) -> None:
        stopped = self._stopped
        if stopped is not None and not stopped.called and not self._open:
            stopped.callback(None)

    # Attempts to connect

    def _connected(self) -> Deferred[LDAPConnection]:
        if self._connection is not None:
            return succeed(self._connection)
        waiting: Deferred[LDAPConnection] = Deferred(self._leave)
        self._waiting.append(waiting)
        pause = self._not_before - self._reactor.seconds()
        if self._stopped is not None:
            self._refuse("the source is stopped")
        elif self._attempt is None and pause > 0:
            self._refuse(f"{self._why_not}; the next attempt is in {pause:.1f} s")
        elif self._attempt is None:
            attempt = self._attempt = Deferred.fromCoroutine(self._connect())
            attempt.addTimeout(OPEN_TIME, self._reactor).addCallbacks(self._succeeded, self._failed)
        return waiting

    def _leave(self, waiting: Deferred[LDAPConnection]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    async def _connect(self) -> LDAPConnection:
        factory = Factory.forProtocol(lambda: LDAPConnection(self, self._reactor, self._login))
        factory.noisy = False
        protocol: Any = await self._endpoint.connect(factory)
        connection: LDAPConnection = await protocol.opened
        return connection

    def _succeeded(self, connection: LDAPConnection) -> None:
        self._attempt = None
        if connection.is_over:
            # Its end came together with the response to the bind.
            self._fail(connection.why_over)
            return
        self._connection = connection
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(connection)

    def _failed(self, failure: Failure) -> None:
        self._attempt = None
        error = failure.value
        is_refused = isinstance(error, Refused) and error.code == INVALID_CREDENTIALS
        self._fail(str(error) if isinstance(error, NoAnswer) else why(error), REFUSED_PAUSE if is_refused else PAUSE)

    def _fail(self, text: str, pause: float = PAUSE) -> None:
        """
        Make no connection for a time.
        """
        self._why_not = text
        self._not_before = self._reactor.seconds() + pause
        self._refuse(text)

    def _refuse(self, text: str) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.errback(NoAnswer(text))

    def _log_not_connected(self, failure: Failure) -> None:
        if self._stopped is None:
            self._log.error("{name}: not connected: {reason}", name=self._login.server, reason=str(failure.value))

    # What a connection tells

    def connection_made(self, connection: LDAPConnection) -> None:
        """
        Count an open connection.
        """
        self._open.add(connection)

    def connection_over(self, connection: LDAPConnection) -> None:
        """
        Do not use a connection any more.
        """
        if self._connection is not connection:
            return
        self._connection = None
        if connection.has_failed:
            # A server that ends each connection at once must not get another one for each search.
            self._fail(connection.why_over)
        if connection.is_untold:
            self._log.error("{name}: {reason}", name=self._login.server, reason=connection.why_over)

    def connection_lost(self, connection: LDAPConnection) -> None:
        """
        Stop counting a connection: it is closed.
        """
        self._open.discard(connection)
        self._check_stopped()
