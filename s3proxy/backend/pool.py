"""
The connections to one address of a backend: choose one, or make one, and try again where nothing was lost.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from s3proxy.backend.breaker import Breaker
from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest, backend_failure
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload

_GONE = frozenset({BackendFault.UNREACHABLE, BackendFault.SILENT})


class Pool(Factory):
    """
    One address of a backend, and the connections to it.

    Args:
        reactor: Its clock must never go back.
        endpoint: Connects to it, with TLS where that is wanted.
        limits: Times and sizes.
        address: What metrics and the log call it.

    Attributes:
        connections: All which are open, in use or not.
        retried_count: Requests which were sent again, because a reused connection had died, or had brought nothing but
            what was left of an earlier answer.
        breaker: Keeps requests away from an address where nobody is.
        is_healthy: Whether it is thought to work.
        is_checked: Whether somebody asks at intervals; only then can it become healthy again.
        turn: When it was chosen last, among the pools of its backend.
        trails_heads: Whether a body was seen after the head of an answer that has none. From then on a connection ends
            with such an answer whose head declares a body.
        ended_paused_seconds: For how long answers were not read because of clients, where that is over.
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
        # By what fires: a client that leaves the queue costs the same, however long it is. The value says whether it
        # must be a new connection.
        self._waiting: OrderedDict[Deferred[BackendConnection | None], bool] = OrderedDict()
        self._closed: Deferred[None] | None = None
        self._is_closed = False
        self._is_retired = False

    def buildProtocol(self, addr: object) -> BackendConnection:
        return BackendConnection(self)

    # Asking

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request.

        Args:
            body: What streams, or None where the request holds its content.

        Returns:
            Fires with the answer when its head is complete, early or not; fails with `BackendError`. Cancelling it
            resets the connection, or gives up making one; then it fails with `CancelledError`, and with nothing else.
        """
        breaker = self.breaker
        if not breaker.admits(self.reactor.seconds()):
            return fail(BackendError(BackendFault.OPEN, self.address))
        probe = breaker.probe
        connection = self._take(is_upload=body is not None)
        if connection is None:
            answered = Deferred.fromCoroutine(self._send_anew(request, body))
            return answered.addCallbacks(self._succeeded, self._failed, errbackArgs=(probe,))
        answered = connection.send(request, body)
        return answered.addCallbacks(self._succeeded, self._reused_failed, errbackArgs=(probe, request, body))

    def _succeeded(self, response: BackendResponse) -> BackendResponse:
        self.breaker.succeeded()
        return response

    def _failed(self, outcome: Failure, probe: int) -> Failure:
        """
        Remember how a request failed.
        """
        if isinstance(outcome.value, BackendError):
            outcome.value.address = self.address
        if not self._is_closed and isinstance(outcome.value, BackendError) and outcome.value.fault in _GONE:
            self.breaker.failed(self.reactor.seconds(), probe)
            if self.is_checked and outcome.value.fault is BackendFault.UNREACHABLE:
                self.is_healthy = False
        else:
            # Given up by the client, or cut in the middle: nothing is known.
            self.breaker.released(probe)
        return outcome

    def close(self) -> Deferred[None]:
        """
        Reset every connection, and make no other; tell when all are gone.
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
        Keep no connection longer than for the request which it serves.
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
        How many connections are in use, or being made.
        """
        return len(self.connections) - len(self._idle) + len(self._connecting)

    @property
    def paused_seconds(self) -> float:
        """
        For how long answers were not read because their clients did not take them, all together.
        """
        return self.ended_paused_seconds + sum(connection.paused_seconds for connection in self.connections)

    # Connections

    async def _send_anew(self, request: BackendRequest, body: Any, *, must_be_new: bool = False) -> BackendResponse:
        connection = await self._connection(must_be_new=must_be_new)
        # The one that was waited for may have come from another request, and be as dead as any in the pool.
        is_reused = connection.is_reused
        try:
            return await connection.send(request, body)
        except BackendError as error:
            if not is_reused or error.fault is not BackendFault.UNANSWERED:
                raise
        return await self._repeat(request, body)

    async def _repeat(self, request: BackendRequest, body: Any) -> BackendResponse:
        """
        Send a request again that a reused connection did not answer.
        """
        if not may_repeat(request, body):
            raise BackendError(BackendFault.STALE)
        self.retried_count += 1
        return await self._send_anew(request, body, must_be_new=True)

    def _reused_failed(self, failure: Failure, probe: int, request: BackendRequest, body: Any) -> Any:
        error = failure.value
        if not isinstance(error, BackendError) or error.fault is not BackendFault.UNANSWERED:
            return self._failed(failure, probe)
        # It was closed while the request was on its way.
        answered = Deferred.fromCoroutine(self._repeat(request, body))
        return answered.addCallbacks(self._succeeded, self._failed, errbackArgs=(probe,))

    def _take(self, *, is_upload: bool) -> BackendConnection | None:
        while self._idle:
            if is_upload and self.reactor.seconds() - self._idle[-1].released_at > self.limits.pooled_upload_time:
                # A body cannot be sent twice, so the youngest connection must be young enough.
                return None
            connection = self._idle.pop()
            if connection.is_quiet:
                return connection
            connection.abort()
        return None

    async def _connection(self, *, must_be_new: bool = False) -> BackendConnection:
        if len(self.connections) + len(self._connecting) >= self.limits.max_connections:
            if self._idle:
                # An old one in the pool keeps a place which a new one needs.
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
        if self._waiting and (self._waiting[next(iter(self._waiting))] or not connection.is_quiet):
            # Its loss lets the first that waits connect.
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


class _Connecting:
    """
    One connection that is being made, for at most `BackendLimits.connect_time`.

    Whatever an endpoint raises when it is cancelled, it does not tell who cancelled. That is known here: a client that
    leaves, or the time that has passed.
    """

    __slots__ = ("_made", "_pool", "_timer", "_trying")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._made: Deferred[BackendConnection] | None = None
        self._timer: IDelayedCall | None = None
        self._trying: Deferred[BackendConnection] | None = None

    def start(self) -> Deferred[BackendConnection]:
        """
        Begin.

        Returns:
            Fires with a connection to which requests may be sent; fails with `BackendError`. Cancelling it gives up.
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
        Whether it ends by itself.
        """
        return self._made is None or (self._timer is not None and self._timer.active())

    def stop(self) -> None:
        """
        Give up: the pool is closed.
        """
        self._end(BackendError(BackendFault.UNREACHABLE))

    async def _try(self) -> BackendConnection:
        connection: Any = await self._pool.endpoint.connect(self._pool)
        # With TLS there is a connection long before there is somebody to trust.
        ready: BackendConnection = await connection.ready
        return ready

    def _succeeded(self, connection: BackendConnection) -> None:
        made = self._ended()
        if made is None:
            # An endpoint that goes on after it was cancelled.
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
        Return what is still to be told; None if it was told before.
        """
        made, self._made = self._made, None
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        return made


def may_repeat(request: BackendRequest, body: Any) -> bool:
    """
    Say whether a request which nobody answered may be sent once more; a body is prepared for it.
    """
    return body.rewind() if isinstance(body, Upload) else body is None and request.is_idempotent
