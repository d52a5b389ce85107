"""
One HTTP/1.1 connection to a backend: it sends heads byte for byte, never more of a body than was declared, and receives
responses.

A connection serves one request at a time. The head is sent as it was signed, and the body at the pace of the socket:
the writer pauses the connection, and the connection pauses the body. A `ResponseReader` makes the response from the
received bytes, at the pace of its receiver: the response pauses the connection, which stops reading. There is one
deadline, and `_Waiting` says what it is for. Every failure ends in a reset, so that half a body is never complete for
the backend. Bytes that arrive while there is no reader belong to no request, and end in a reset, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import auto
from typing import Any
from typing import Protocol as Interface

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.reader import ResponseReader
from s3proxy.backend.request import (
    BackendError,
    BackendLimits,
    BackendRequest,
    DeferredReceiver,
    ResponseReceiver,
    backend_failure,
)
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.trouble import tls_fault
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.splice import Splice
from s3proxy.transport.writer import (
    NO_WRITER,
    Buffer,
    DirectWriter,
    acknowledged_size,
    bound_socket_buffers,
    is_readable,
)


class _Waiting(IdentityEnum):
    """
    What the connection's one deadline is for.
    """

    FOR_HANDSHAKE = auto()
    FOR_CONTINUE = auto()
    FOR_ROOM = auto()
    FOR_RESPONSE = auto()
    FOR_REST = auto()
    IN_POOL = auto()
    FOR_END = auto()


class ConnectionPool(Interface):
    """
    The pool of a connection: an `s3proxy.backend.pool.Pool`, which describes these members.
    """

    reactor: Any
    trails_heads: bool
    ended_paused_seconds: float

    @property
    def limits(self) -> BackendLimits: ...

    def connection_made(self, connection: Any) -> None: ...

    def connection_lost(self, connection: Any) -> None: ...

    def release(self, connection: Any) -> None: ...


@implementer(IHandshakeListener)
class BackendConnection(Protocol):
    """
    A connection to a backend, for one request at a time.

    It is the consumer of the request's body and the source of its writer; the response pauses and resumes its reading.

    Attributes:
        pool: The pool of the connection.
        ready: Fires with the connection itself when requests may be sent: after the TLS handshake, if there is one.
        is_reused: Whether the connection has served a request before.
        released_at: When the connection was put into the pool, in the reactor's seconds.
        deadline: The connection's one deadline.
        reader: Reads the response to the current request; None if no response is expected.
        is_body_sent: Whether the whole body of the current request was written.
        is_paused: Whether reading is paused.
        may_trail: Whether the body that the last response declared, and must not have, may still follow.
        may_have_trailed: `may_trail` before the head of the current response, which may be that body.
        splice: Moves the rest of a response's body, if its bytes need not pass through this process.
    """

    transport: Any

    def __init__(self, pool: ConnectionPool) -> None:
        self.pool = pool
        self.ready: Deferred[BackendConnection] = Deferred(lambda ignored: self.abort())
        self.is_reused = False
        self.released_at = 0.0
        self._limits = pool.limits
        self.deadline = Deadline(pool.reactor, self._timed_out)
        self._waiting = _Waiting.IN_POOL
        self._acknowledged: int | None = None
        self._body: Any = None
        self._body_left = 0
        self.is_body_sent = True
        self.reader: ResponseReader | None = None
        self.may_trail = self.may_have_trailed = False
        self.is_paused = False
        self._paused_at: float | None = None
        self._is_lost = False
        self._is_closing = False
        self._writer = NO_WRITER
        self.splice: Splice | None = None

    # Start and end

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        bound_socket_buffers(transport, self._limits.socket_buffer)
        self._writer = DirectWriter(transport, self)
        # Its request may be gone, and an endpoint need not notice: without a deadline nothing ends the connection.
        self._wait(_Waiting.FOR_HANDSHAKE, self._limits.connect_time)
        if not isinstance(transport, TLSMemoryBIOProtocol):
            self._become_ready()

    def handshakeCompleted(self) -> None:
        # Twisted 24.7 also calls this for a certificate with a wrong name, and ends the connection in the next turn.
        self.pool.reactor.callLater(0, self._become_ready)

    def _become_ready(self) -> None:
        if self._is_lost or self.ready.called:
            return
        self.pool.connection_made(self)
        self.ready.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        splice, self.splice = self.splice, None
        if splice is not None:
            splice.stop()
        self._count_pause()
        self.deadline.cancel()
        self._writer.detach()
        self.pool.connection_lost(self)
        reader = self.reader
        response = reader.response if reader is not None and reader.ends_with_connection else None
        if response is not None and reason.check(ConnectionDone):
            # The length of this response is known only by the end of the connection.
            self.release(keeps_alive=False)
            response.ended(None)
            return
        is_silent = reader is None or reader.is_silent
        self._fail(BackendFault.UNANSWERED if is_silent else BackendFault.LOST, reason.value)
        if not self.ready.called:
            cause = tls_fault(reason.value, self.transport)
            self.ready.errback(backend_failure(BackendFault.UNREACHABLE, cause))

    def abort(self) -> None:
        """
        Reset the connection, so that the body stays incomplete at the backend.
        """
        if not self._is_lost and self.transport is not None:
            self.transport.abortConnection()

    def close(self) -> None:
        """
        Close a connection that is not in use.
        """
        self._is_closing = True
        # Under TLS the other side's close_notify is waited for.
        self._wait(_Waiting.FOR_END, self._limits.connect_time)
        self._writer.detach()
        if self.transport is not None:
            self.transport.loseConnection()

    def rest(self, seconds: float) -> None:
        """
        Stay in the pool for at most this many seconds.
        """
        self._waiting = _Waiting.IN_POOL
        self.deadline.set(seconds)

    @property
    def is_quiet(self) -> bool:
        """
        Whether it is open, and nothing has arrived after the last response: the next request would take it for its own.
        """
        return not self._is_lost and not self._is_closing and not is_readable(self.transport)

    # The request

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request with a Deferred as its receiver. Cancelling it resets the connection.
        """
        answered: Deferred[BackendResponse] = Deferred(lambda ignored: self.give_up())
        self.ask(request, DeferredReceiver(answered), body)
        return answered

    def ask(self, request: BackendRequest, receiver: ResponseReceiver, body: Any = None) -> None:
        """
        Send a request.

        Args:
            receiver: Gets the response as soon as its final head is complete, even before the request's end.
            body: An `IBodyProducer` with a length, or None.
        """
        self.reader = ResponseReader(self, request, receiver)
        self._body = body
        self.is_body_sent = body is None
        writer = self._writer
        if body is None:
            writer.read_size = None
            if request.content:
                writer.writeSequence((request.head, request.content))
            else:
                writer.write(request.head)
            if not writer.is_paused:
                self._wait(_Waiting.FOR_RESPONSE, request.first_byte_time)
            return
        self._body_left = body.length
        writer.read_size = getattr(body, "read_size", None)
        writer.write(request.head)
        if request.expects_continue:
            self._wait(_Waiting.FOR_CONTINUE, self._limits.continue_time)
        else:
            self._start_body()

    def _start_body(self) -> None:
        if self._writer.is_paused:
            # The head alone has filled the socket.
            self._wait(_Waiting.FOR_ROOM, self._limits.idle_time)
        else:
            self.deadline.clear()
        body = self._body
        body.startProducing(self).addCallbacks(self._body_produced, self._body_failed, callbackArgs=(body,))

    def write(self, data: Buffer) -> None:
        self.writeSequence((data,))

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Take bytes of the body.
        """
        self._body_left -= sum(map(len, pieces))
        if self._body_left < 0:
            # The backend would read the next byte as the beginning of another request.
            self.drop(BackendFault.LOST, ValueError("a body is longer than was declared"))
            return
        self._writer.writeSequence(pieces)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The writer that the body may be spliced to; None if the bytes must pass through this process.
        """
        return self._writer if self._writer.can_splice else None

    def moved(self, size: int) -> None:
        """
        Count bytes of the body that were spliced to `splice_target`.
        """
        self._body_left -= size

    def _body_produced(self, ignored: object, body: Any) -> None:
        if self._body is not body:
            return
        self._body = None
        if self._body_left:
            self.drop(BackendFault.LOST, ValueError("a body is shorter than was declared"))
            return
        self.is_body_sent = True
        self._request_sent()

    def _body_failed(self, failure: Failure) -> None:
        self._body = None
        self.drop(BackendFault.LOST, failure.value)

    def stop_body(self) -> None:
        """
        Stop sending the request's body.
        """
        body, self._body = self._body, None
        if body is not None:
            body.stopProducing()

    def _request_sent(self) -> None:
        reader = self.reader
        if reader is not None and reader.response is None and not self._writer.is_paused:
            self._waiting = _Waiting.FOR_RESPONSE
            self.deadline.set(reader.request.first_byte_time)

    def give_up(self) -> None:
        """
        Reset the connection, and forget the request without a response.
        """
        self.reader = None
        self.stop_body()
        self.abort()

    @property
    def waiting_size(self) -> int:
        """
        Bytes that the backend's socket has not taken yet.
        """
        return self._writer.waiting_size

    # The backend's socket is full, or takes bytes again

    def pauseProducing(self) -> None:
        self._acknowledged = acknowledged_size(self.transport)
        self._wait(_Waiting.FOR_ROOM, self._limits.idle_time)
        if self._body is not None:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        if self._waiting is _Waiting.FOR_ROOM:
            self.deadline.clear()
        if self._body is not None:
            self._body.resumeProducing()
        elif self.is_body_sent:
            self._request_sent()

    # The response

    def dataReceived(self, data: bytes) -> None:
        reader = self.reader
        if reader is None:
            # No request waits for these bytes. The next response on this connection could belong to another client.
            if self.may_trail or self.may_have_trailed:
                self.pool.trails_heads = True
            self.abort()
            return
        if reader.response is not None:
            reader.read_body(reader.response, data)
        else:
            reader.read_head(data)

    def continue_received(self) -> None:
        """
        Called for ``100 Continue``: send the body, if it waits for that.
        """
        if self._waiting is _Waiting.FOR_CONTINUE:
            self._waiting = _Waiting.IN_POOL
            self._start_body()

    def release(self, *, keeps_alive: bool) -> None:
        """
        Called when a response is complete: return the connection to the pool if that is safe, or reset it.
        """
        self.reader = None
        if keeps_alive and self.is_body_sent and self._writer.is_drained and not self._is_lost:
            if self.is_paused:
                # A paused connection in the pool would see neither an end nor a stray byte.
                self._resume()
            self.is_reused = True
            # The pool sets the deadline for what follows.
            self.pool.release(self)
        else:
            self.deadline.clear()
            self.abort()

    # Called by the response

    def claimed(self, response: BackendResponse) -> None:
        """
        Called when the response's body has a receiver.
        """
        reader = self.reader
        if reader is not None and reader.response is response and self.is_paused:
            self._resume()
            self.wait_for_rest()

    def pause_response(self) -> None:
        """
        Stop reading the response.
        """
        self.deadline.clear()
        if self._paused_at is None:
            self._paused_at = self.pool.reactor.seconds()
        self.pause_reading()

    def resume_response(self) -> None:
        """
        Resume reading the response.
        """
        reader = self.reader
        if reader is not None and reader.response is not None and self.is_paused:
            self.wait_for_rest()
            self._resume()
            if self.splice is not None:
                self.splice.push()

    def wait_for_rest(self) -> None:
        """
        Start the deadline for the next bytes of the response.
        """
        self._waiting = _Waiting.FOR_REST
        self.deadline.set(self._limits.idle_time)

    def pause_reading(self) -> None:
        """
        Pause reading.
        """
        if not self.is_paused and not self._is_lost:
            self.is_paused = True
            self.transport.pauseProducing()

    @property
    def paused_seconds(self) -> float:
        """
        Seconds for which the response has not been read because the client does not read it; 0 if it is read.
        """
        return 0.0 if self._paused_at is None else float(self.pool.reactor.seconds() - self._paused_at)

    def _count_pause(self) -> None:
        if self._paused_at is not None:
            self.pool.ended_paused_seconds += self.paused_seconds
            self._paused_at = None

    def _resume(self) -> None:
        self.is_paused = False
        self._count_pause()
        if not self._is_lost:
            self.transport.resumeProducing()

    # Failures

    def _wait(self, what: _Waiting, seconds: float) -> None:
        self._waiting = what
        self.deadline.set(seconds)

    def _timed_out(self) -> None:
        waiting = self._waiting
        if waiting is _Waiting.FOR_CONTINUE and self._body is not None:
            # Many backends do not implement 100 Continue.
            self._waiting = _Waiting.FOR_RESPONSE
            self._start_body()
        elif waiting is _Waiting.IN_POOL:
            self.close()
        elif waiting in {_Waiting.FOR_HANDSHAKE, _Waiting.FOR_END}:
            self.abort()
        elif waiting is _Waiting.FOR_ROOM and self._has_taken_bytes():
            self.deadline.set(self._limits.idle_time)
        else:
            self.drop(BackendFault.SILENT if waiting is _Waiting.FOR_RESPONSE else BackendFault.STALLED)

    def _has_taken_bytes(self) -> bool:
        before, self._acknowledged = self._acknowledged, acknowledged_size(self.transport)
        return before is not None and self._acknowledged != before

    def drop(self, fault: BackendFault = BackendFault.LOST, cause: BaseException | None = None) -> None:
        """
        Reset the connection: the request cannot be sent, or its response is not valid or does not come.
        """
        try:
            self._fail(fault, cause)
        finally:
            self.abort()

    def _fail(self, fault: BackendFault, cause: BaseException | None = None) -> None:
        self.stop_body()
        failure = Failure(BackendError(fault)) if cause is None else backend_failure(fault, cause)
        reader, self.reader = self.reader, None
        if reader is not None:
            if reader.response is None:
                reader.receiver.not_answered(failure)
            else:
                reader.response.ended(failure)
