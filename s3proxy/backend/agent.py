"""
Choose a connection to a backend, or make one, and try again where nothing was lost.
"""

from __future__ import annotations

from collections import deque
from http.cookiejar import CookieJar
from typing import Any

from hyperlink import EncodedURL
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer
from zope.interface import implementer

from s3proxy.backend.breaker import Breaker
from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest, backend_failure
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.exchange import BackendFault

_GONE = frozenset({BackendFault.UNREACHABLE, BackendFault.SILENT})
_IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})


class _NoCookies(CookieJar):
    """
    A jar which takes nothing: one client's cookies must not reach another's request.
    """

    def set_cookie(self, cookie: object) -> None:
        """
        Keep nothing.
        """

    def extract_cookies(self, response: object, request: object) -> None:
        """
        Keep nothing.
        """

    def add_cookie_header(self, request: object) -> None:
        """
        Send nothing.
        """


class _Connections(Factory):
    noisy = False

    def __init__(self, agent: BackendAgent) -> None:
        self._agent = agent

    def buildProtocol(self, addr: object) -> BackendConnection:
        return BackendConnection(self._agent)


@implementer(IAgent)
class BackendAgent:
    """
    The way to one backend. Also an agent for treq: requests share its pool.

    Args:
        reactor: Its clock must never go back.
        endpoint: Connects to the backend, with TLS where that is wanted.
        limits: Times and sizes.

    Attributes:
        connections: All which are open, in use or not.
        retried_count: Requests which were sent again, because a reused connection had died.
        breaker: Keeps requests away from a backend which is gone.
        ended_paused_seconds: For how long answers were not read because of clients, where that is over.
    """

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint, limits: BackendLimits | None = None) -> None:
        self.reactor = reactor
        self.limits = limits or BackendLimits()
        self.connections: set[BackendConnection] = set()
        self.retried_count = 0
        self.breaker = Breaker(self.limits.breaker_failures, self.limits.breaker_time)
        self._endpoint = endpoint
        self._factory = _Connections(self)
        self._idle: list[BackendConnection] = []
        self._connecting_count = 0
        self._waiting: deque[Deferred[BackendConnection | None]] = deque()
        self._closed: Deferred[None] | None = None
        self._is_retired = False
        self.ended_paused_seconds = 0.0
        cookies: Any = _NoCookies()  # Newer treq says that it wants its own kind, and takes any.
        self._client = HTTPClient(self, cookiejar=cookies)
        # Never resolved: the agent knows its endpoint, and the head is what was signed.
        self._url = EncodedURL.from_text("http://backend/")

    # Asking

    def send_upload(self, upload: Upload) -> Deferred[BackendResponse]:
        """
        Send a body which streams, by way of treq.

        Returns:
            As `send` does.
        """
        asked = self._client.request(
            "PUT", self._url, data=upload, unbuffered=True, allow_redirects=False, reactor=self.reactor
        )
        # treq's own object decodes bodies; the one which the agent gave is behind it.
        return asked.addCallback(lambda wrapped: wrapped.request.response)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: Any = None,
    ) -> Deferred[Any]:
        if isinstance(bodyProducer, Upload):
            request = BackendRequest(
                method,
                bodyProducer.head,
                first_byte_time=bodyProducer.first_byte_time,
                expects_continue=bodyProducer.expects_continue,
                absoluteURI=uri,
                headers=headers,
            )
        else:
            head = _plain_head(method, uri, headers, bodyProducer)
            is_idempotent = bodyProducer is None and method in _IDEMPOTENT
            request = BackendRequest(method, head, is_idempotent=is_idempotent, absoluteURI=uri, headers=headers)
        return self.send(request, bodyProducer)

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request.

        Args:
            body: What streams, or None where the request holds its content.

        Returns:
            Fires with the answer when its head is complete, early or not; fails with `BackendError`. Cancelling it
            resets the connection.
        """
        if not self.breaker.admits(self.reactor.seconds()):
            return fail(backend_failure(BackendFault.OPEN))
        connection = self._take(is_upload=body is not None)
        if connection is None:
            answered = Deferred.fromCoroutine(self._send_anew(request, body))
        else:
            answered = connection.send(request, body)
            answered.addErrback(self._send_again, connection, request, body)
        return answered.addBoth(self._learn)

    def _learn(self, outcome: Any) -> Any:
        """
        Tell the breaker how a request ended.
        """
        if not isinstance(outcome, Failure):
            self.breaker.succeeded()
        elif isinstance(outcome.value, BackendError) and outcome.value.fault in _GONE:
            self.breaker.failed(self.reactor.seconds())
        else:
            # Given up by the client, or cut in the middle: nothing is known.
            self.breaker.released()
        return outcome

    def close(self) -> Deferred[None]:
        """
        Reset every connection; tell when all are gone.
        """
        if not self.connections:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed = closed
        for connection in tuple(self.connections):
            connection.abort()
        return closed

    def retire(self) -> None:
        """
        Keep no connection longer than for the request which it serves.
        """
        self._is_retired = True
        for connection in tuple(self._idle):
            connection.close()

    @property
    def paused_seconds(self) -> float:
        """
        For how long answers were not read because their clients did not take them, all together.
        """
        return self.ended_paused_seconds + sum(connection.paused_seconds for connection in self.connections)

    # Connections

    async def _send_anew(self, request: BackendRequest, body: Any) -> BackendResponse:
        connection = await self._connection()
        return await connection.send(request, body)

    def _send_again(self, failure: Failure, connection: BackendConnection, request: BackendRequest, body: Any) -> Any:
        error = failure.value
        if not isinstance(error, BackendError) or error.fault is not BackendFault.LOST or not connection.is_silent:
            return failure
        # The backend closed it while the request was on its way.
        may_repeat = body.rewind() if isinstance(body, Upload) else body is None and request.is_idempotent
        if not may_repeat:
            return Failure(BackendError(BackendFault.STALE))
        self.retried_count += 1
        return Deferred.fromCoroutine(self._send_anew(request, body))

    def _take(self, *, is_upload: bool) -> BackendConnection | None:
        if not self._idle:
            return None
        if is_upload and self.reactor.seconds() - self._idle[-1].released_at > self.limits.pooled_upload_time:
            # A body cannot be sent twice, so the youngest connection must be young enough.
            return None
        return self._idle.pop()

    async def _connection(self) -> BackendConnection:
        if len(self.connections) + self._connecting_count >= self.limits.max_connections:
            if self._idle:
                # An old one in the pool keeps a place which a new one needs.
                self._idle.pop(0).close()
            else:
                waited = await self._wait_for_one()
                if waited is not None:
                    return waited
        self._connecting_count += 1
        connecting = Deferred.fromCoroutine(self._connect())
        connecting.addTimeout(self.limits.connect_time, self.reactor)
        try:
            return await connecting
        except Exception as error:
            self._let_one_connect()
            if isinstance(error, BackendError | CancelledError):
                raise
            raise BackendError(BackendFault.UNREACHABLE) from error
        finally:
            self._connecting_count -= 1

    async def _connect(self) -> BackendConnection:
        connection: Any = await self._endpoint.connect(self._factory)
        # With TLS there is a connection long before there is somebody to trust.
        ready: BackendConnection = await connection.ready
        return ready

    async def _wait_for_one(self) -> BackendConnection | None:
        waiting: Deferred[BackendConnection | None] = Deferred(self._forget_waiting)
        self._waiting.append(waiting)
        waiting.addTimeout(self.limits.connect_time, self.reactor)
        try:
            return await waiting
        except TimeoutError as error:
            raise BackendError(BackendFault.BUSY) from error

    def _forget_waiting(self, waiting: Deferred[BackendConnection | None]) -> None:
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def _let_one_connect(self) -> None:
        if self._waiting:
            self._waiting.popleft().callback(None)

    def connection_made(self, connection: BackendConnection) -> None:
        """
        Count a connection in.
        """
        self.connections.add(connection)

    def connection_lost(self, connection: BackendConnection) -> None:
        """
        Count a connection out.
        """
        if connection in self._idle:
            self._idle.remove(connection)
        if connection not in self.connections:
            return
        self.connections.discard(connection)
        self._let_one_connect()
        if not self.connections and self._closed is not None:
            closed, self._closed = self._closed, None
            closed.callback(None)

    def release(self, connection: BackendConnection) -> None:
        """
        Take back a connection which is fit for another request.
        """
        if self._waiting:
            self._waiting.popleft().callback(connection)
        elif len(self._idle) < self.limits.max_pooled and self._closed is None and not self._is_retired:
            connection.released_at = self.reactor.seconds()
            connection.rest(self.limits.pooled_time)
            self._idle.append(connection)
        else:
            connection.close()


def _plain_head(method: bytes, uri: bytes, headers: Headers | None, body: IBodyProducer | None) -> bytes:
    """
    Write the head which treq's arguments ask for.

    Raises:
        ValueError: The body's length is not known.
    """
    authority, slash, rest = uri.partition(b"://")[2].partition(b"/")
    lines = [b"%s %s HTTP/1.1\r\n" % (method, slash + rest or b"/")]
    pairs = [(name, value) for name, values in (headers or Headers()).getAllRawHeaders() for value in values]
    if not any(name.lower() == b"host" for name, _ in pairs):
        lines.append(b"Host: %s\r\n" % authority)
    lines += [b"%s: %s\r\n" % pair for pair in pairs if pair[0].lower() != b"content-length"]
    if body is not None:
        if body.length is UNKNOWN_LENGTH:
            raise ValueError("a body must have a length")
        lines.append(b"Content-Length: %d\r\n" % body.length)
    lines.append(b"\r\n")
    return b"".join(lines)
