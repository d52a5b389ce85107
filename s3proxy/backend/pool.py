"""
The connections to one address of a backend: choose one or make one, and send a request again if that is safe.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet import tcp
from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from s3proxy.backend.breaker import Breaker
from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import (
    BackendError,
    BackendLimits,
    BackendRequest,
    DeferredReceiver,
    PendingRequest,
    ResponseReceiver,
    backend_failure,
)
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.telemetry.declarations import ADDRESS, Metric, counter, gauge
from s3proxy.transport.sessions import keep_session

_GONE = frozenset({BackendFault.UNREACHABLE, BackendFault.SILENT})


class Pool(Factory):
    """
    One address of a backend, and the connections to it.

    Args:
        reactor: Its clock must never go back.
        endpoint: Connects to the address, with TLS if that is configured.
        limits: The limits on times and connections.
        address: The address in metrics and the log.

    Attributes:
        connections: All open connections, in use or not.
        retried_count: Requests that were sent again, because a reused connection had died, or had brought only the rest
            of an earlier response.
        breaker: Refuses requests while the address is unreachable.
        is_healthy: Whether the address is believed to work.
        is_checked: Whether a health check runs; only that can make the address healthy again.
        turn: The number of the last request that the agent sent to this pool first. It spreads requests over pools that
            are equally busy.
        trails_heads: Whether a body was seen after the head of a response that must have none. From then on a
            connection is closed after such a response, if its head declares a body.
        ended_paused_seconds: Seconds for which responses were not read because of clients, without the pauses that
            still last.
    """

    noisy = False

    def __init__(self, reactor: Any, endpoint: IStreamClientEndpoint, limits: BackendLimits, address: str = "") -> None:
        self.reactor = reactor
        self.endpoint = endpoint
        self.limits = limits
        self.address = address
        self.connections: set[BackendConnection] = set()
        self.retried_count = 0
        self.breaker = Breaker(limits.breaker_failures, limits.breaker_time)
        self.is_healthy = True
        self.is_checked = False
        self.turn = 0
        self.trails_heads = False
        self.ended_paused_seconds = 0.0
        self._idle: list[BackendConnection] = []
        self._connecting: set[_Connecting] = set()
        # By the Deferred that fires: a client that leaves the queue costs the same, however long the queue is. The
        # value says whether it must be a new connection.
        self._waiting: OrderedDict[Deferred[BackendConnection | None], bool] = OrderedDict()
        self._closed: Deferred[None] | None = None
        self._is_closed = False
        self._is_retired = False

    def buildProtocol(self, addr: object) -> BackendConnection:
        return BackendConnection(self)

    # Requests

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request.

        Args:
            body: A body to stream; None if the request holds its content.

        Returns:
            Fires with the response when its head is complete, even before the request's end; fails with `BackendError`.
            Cancelling it resets the connection, or gives up making one. Then it fails with `CancelledError` and nothing
            else.
        """
        answered: Deferred[BackendResponse] = Deferred(lambda ignored: pending.cancel())
        pending = self.ask(request, DeferredReceiver(answered), body)
        return answered

    def ask(self, request: BackendRequest, receiver: ResponseReceiver, body: Any = None) -> PendingRequest:
        """
        Send a request, as `send` does. On a pooled connection this needs no Deferred.

        Args:
            receiver: Gets the response. If the request is cancelled, it hears nothing more, or of a `CancelledError`.
        """
        breaker = self.breaker
        if breaker.in_a_row and not breaker.admits(self.reactor.seconds()):
            return fail(BackendError(BackendFault.OPEN, self.address)).addErrback(receiver.not_answered)
        probe = breaker.probe
        connection = self._take(is_upload=body is not None)
        if connection is not None:
            return _Attempt(self, connection, request, body, receiver, probe)
        answered = Deferred.fromCoroutine(self._send_anew(request, body))
        answered.addCallbacks(self._succeeded, self._failed, errbackArgs=(probe,))
        return answered.addCallbacks(receiver.answered, receiver.not_answered)

    def _succeeded(self, response: BackendResponse) -> BackendResponse:
        self.breaker.succeeded()
        return response

    def _failed(self, outcome: Failure, probe: int) -> Failure:
        """
        Tell the breaker how a request failed.
        """
        if isinstance(outcome.value, BackendError):
            outcome.value.address = self.address
        if not self._is_closed and isinstance(outcome.value, BackendError) and outcome.value.fault in _GONE:
            self.breaker.failed(self.reactor.seconds(), probe)
            if self.is_checked and outcome.value.fault is BackendFault.UNREACHABLE:
                self.is_healthy = False
        else:
            # The client gave up, or the response was cut: this shows nothing about the address.
            self.breaker.released(probe)
        return outcome

    def close(self) -> Deferred[None]:
        """
        Reset every connection, and make no other; the Deferred fires when all are gone.
        """
        self._is_closed = True
        for connecting in tuple(self._connecting):
            connecting.stop()
        if not self.connections:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._closed = closed
        for connection in tuple(self.connections):
            connection.abort()
        return closed

    def retire(self) -> None:
        """
        Close each connection after its current request.
        """
        self._is_retired = True
        for connection in tuple(self._idle):
            connection.close()

    @property
    def is_usable(self) -> bool:
        """
        Whether a request is worth trying.
        """
        return self.is_healthy and not self.breaker.refuses(self.reactor.seconds())

    @property
    def busy_count(self) -> int:
        """
        Number of connections that are in use or being made.
        """
        return len(self.connections) - len(self._idle) + len(self._connecting)

    @property
    def paused_seconds(self) -> float:
        """
        Seconds for which responses were not read because their clients did not take them, over all connections.
        """
        return self.ended_paused_seconds + sum(connection.paused_seconds for connection in self.connections)

    # Connections

    async def _send_anew(self, request: BackendRequest, body: Any, *, must_be_new: bool = False) -> BackendResponse:
        connection = await self._connection(must_be_new=must_be_new)
        # A connection that was waited for may have served another request, and may be as dead as any in the pool.
        is_reused = connection.is_reused
        try:
            return await connection.send(request, body)
        except BackendError as error:
            if not is_reused or error.fault is not BackendFault.UNANSWERED:
                raise
        return await self._repeat(request, body)

    async def _repeat(self, request: BackendRequest, body: Any) -> BackendResponse:
        """
        Send a request again after a reused connection died without a response.
        """
        if not may_repeat(request, body):
            raise BackendError(BackendFault.STALE)
        self.retried_count += 1
        return await self._send_anew(request, body, must_be_new=True)

    def reused_failed(
        self, failure: Failure, probe: int, request: BackendRequest, body: Any
    ) -> Failure | Deferred[BackendResponse]:
        """
        Called if a pooled connection brought no response: send the request again if that is safe.

        Returns:
            The failure for whoever asked, or the Deferred of the repetition.
        """
        error = failure.value
        if not isinstance(error, BackendError) or error.fault is not BackendFault.UNANSWERED:
            return self._failed(failure, probe)
        # The backend closed the connection while the request was on its way.
        answered = Deferred.fromCoroutine(self._repeat(request, body))
        return answered.addCallbacks(self._succeeded, self._failed, errbackArgs=(probe,))

    def _take(self, *, is_upload: bool) -> BackendConnection | None:
        while self._idle:
            if is_upload and self.reactor.seconds() - self._idle[-1].released_at > self.limits.pooled_upload_time:
                # A body cannot be sent twice, so even the youngest connection must be recent enough.
                return None
            connection = self._idle.pop()
            if connection.is_quiet:
                return connection
            connection.abort()
        return None

    async def _connection(self, *, must_be_new: bool = False) -> BackendConnection:
        if len(self.connections) + len(self._connecting) >= self.limits.max_connections:
            if self._idle:
                # The oldest pooled connection takes a place that a new one needs.
                self._idle.pop(0).close()
            else:
                waited = await self._wait_for_one(must_be_new=must_be_new)
                if waited is not None:
                    return waited
        if self._is_closed:
            raise BackendError(BackendFault.UNREACHABLE)
        connecting = _Connecting(self)
        self._connecting.add(connecting)
        try:
            return await connecting.start()
        except Exception:
            self._let_one_connect()
            raise
        finally:
            self._connecting.discard(connecting)

    async def _wait_for_one(self, *, must_be_new: bool) -> BackendConnection | None:
        waiting: Deferred[BackendConnection | None] = Deferred(self._forget_waiting)
        self._waiting[waiting] = must_be_new
        waiting.addTimeout(self.limits.connect_time, self.reactor)
        try:
            return await waiting
        except TimeoutError as error:
            raise BackendError(BackendFault.BUSY) from error

    def _forget_waiting(self, waiting: Deferred[BackendConnection | None]) -> None:
        self._waiting.pop(waiting, None)

    def _let_one_connect(self) -> None:
        if self._waiting:
            waiting, _ = self._waiting.popitem(last=False)
            waiting.callback(None)

    def connection_made(self, connection: BackendConnection) -> None:
        """
        Count a new connection. Its handshake has succeeded.
        """
        self.connections.add(connection)
        keep_session(connection.transport)

    def connection_lost(self, connection: BackendConnection) -> None:
        """
        Stop counting a connection: it is lost.
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
        Take back a connection that can serve another request.
        """
        if self._waiting and (self._waiting[next(iter(self._waiting))] or not connection.is_quiet):
            # The loss of this connection lets the first waiting request connect.
            connection.abort()
        elif self._waiting:
            waiting, _ = self._waiting.popitem(last=False)
            waiting.callback(connection)
        elif len(self._idle) < self.limits.max_pooled and self._closed is None and not self._is_retired:
            connection.released_at = self.reactor.seconds()
            connection.rest(self.limits.pooled_time)
            self._idle.append(connection)
        else:
            connection.close()


METRICS: tuple[Metric[Pool], ...] = (
    gauge(
        "s3proxy_backend_connections",
        "Connections to a backend, in use or idle.",
        lambda pool: len(pool.connections),
        ADDRESS,
    ),
    gauge(
        "s3proxy_backend_down",
        "1 while an address of a backend is down: its health check failed, or it could not be reached.",
        lambda pool: not pool.is_healthy,
        ADDRESS,
    ),
    gauge(
        "s3proxy_backend_breaker_open",
        "1 while an address gets no requests because of too many consecutive failures.",
        lambda pool: pool.breaker.is_open,
        ADDRESS,
    ),
    counter(
        "s3proxy_backend_retries",
        "Requests that were sent again because a reused connection had died.",
        lambda pool: pool.retried_count,
        ADDRESS,
    ),
)


class _Attempt:
    """
    A request on a pooled connection.

    Args:
        receiver: Gets the response of this connection, or that of a repetition.
        probe: The number of the request, if it is a probe of the breaker.
    """

    __slots__ = ("_body", "_connection", "_pool", "_probe", "_receiver", "_repeated", "_request")

    def __init__(
        self,
        pool: Pool,
        connection: BackendConnection,
        request: BackendRequest,
        body: Any,
        receiver: ResponseReceiver,
        probe: int,
    ) -> None:
        self._pool = pool
        self._connection: BackendConnection | None = connection
        self._request = request
        self._body = body
        self._receiver = receiver
        self._probe = probe
        self._repeated: Deferred[BackendResponse] | None = None
        connection.ask(request, self, body)

    def answered(self, response: BackendResponse) -> None:
        """
        Called with the response.
        """
        self._connection = None
        breaker = self._pool.breaker
        if breaker.in_a_row:
            breaker.succeeded()
        self._receiver.answered(response)

    def not_answered(self, failure: Failure) -> None:
        """
        Called if the connection brought no response.
        """
        self._connection = None
        outcome = self._pool.reused_failed(failure, self._probe, self._request, self._body)
        if isinstance(outcome, Failure):
            self._receiver.not_answered(outcome)
        else:
            self._repeated = outcome
            outcome.addCallbacks(self._receiver.answered, self._receiver.not_answered)

    def cancel(self) -> None:
        """
        Reset the connection.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.give_up()
            # This shows nothing about the address.
            self._pool.breaker.released(self._probe)
        elif self._repeated is not None:
            self._repeated.cancel()


class _Connecting:
    """
    One connection attempt, for at most `BackendLimits.connect_time`.

    The exception of a cancelled endpoint does not say why it was cancelled. This object knows it: the client left, or
    the time has passed.
    """

    __slots__ = ("_made", "_pool", "_timer", "_trying")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: Deferred[BackendConnection] | None = None
        self._timer: IDelayedCall | None = None
        self._trying: Deferred[BackendConnection] | None = None

    def start(self) -> Deferred[BackendConnection]:
        """
        Start connecting.

        Returns:
            Fires with a connection that is ready for requests; fails with `BackendError`. Cancelling it gives up.
        """
        made: Deferred[BackendConnection] = Deferred(self._given_up)
        self._made = made
        self._timer = self._pool.reactor.callLater(self._pool.limits.connect_time, self._timed_out)
        self._trying = Deferred.fromCoroutine(self._try())
        self._trying.addCallbacks(self._succeeded, self._failed)
        return made

    @property
    def is_bounded(self) -> bool:
        """
        Whether the attempt has a time limit.
        """
        return self._made is None or (self._timer is not None and self._timer.active())

    def stop(self) -> None:
        """
        Give up: the pool is closed.
        """
        self._end(BackendError(BackendFault.UNREACHABLE))

    async def _try(self) -> BackendConnection:
        connection: Any = await self._pool.endpoint.connect(self._pool)
        if isinstance(connection.transport, tcp.Connection):
            # Twisted's endpoint leaves a protocol between the two that only passes on what it gets.
            connection.transport.protocol = connection
        # With TLS, the connection is made long before the certificate is verified.
        ready: BackendConnection = await connection.ready
        return ready

    def _succeeded(self, connection: BackendConnection) -> None:
        made = self._ended()
        if made is None:
            # The endpoint went on after it was cancelled.
            connection.abort()
        else:
            made.callback(connection)

    def _failed(self, failure: Failure) -> None:
        made = self._ended()
        if made is not None:
            error = failure.value
            made.errback(
                failure if isinstance(error, BackendError) else backend_failure(BackendFault.UNREACHABLE, error)
            )

    def _timed_out(self) -> None:
        error = BackendError(BackendFault.UNREACHABLE)
        error.__cause__ = TimeoutError()
        self._end(error)

    def _given_up(self, ignored: object) -> None:
        self._end(None)

    def _end(self, error: BackendError | None) -> None:
        made = self._ended()
        if self._trying is not None:
            self._trying.cancel()
        if made is not None and error is not None:
            made.errback(error)

    def _ended(self) -> Deferred[BackendConnection] | None:
        """
        Return the Deferred to fire; None if it has fired. End the time limit.
        """
        made, self._made = self._made, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return made


def may_repeat(request: BackendRequest, body: Any) -> bool:
    """
    Return True if a request without a response may be sent once more. If so, its body is rewound.
    """
    return body.rewind() if isinstance(body, Upload) else body is None and request.is_idempotent
