"""
One HTTP/1.1 connection to a backend: exact heads out, answers in, and nothing of a body beyond what was declared.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import auto
from functools import partial
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
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest, backend_failure
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.trouble import tls_fault
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import ResponseHead, parse_response_head
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_HEAD_SIZE
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.splice import MIN_SPLICED_SIZE, Splice, begin_splice
from s3proxy.transport.writer import Buffer, DirectWriter, acknowledged_size, bound_socket_buffers, is_readable

_STATUS_LINE_START = b"HTTP/1."

MAX_INTERIM_ANSWERS = 16
"""
Interim answers of one request; a backend which sends more is not waiting for anything.
"""


class _Waiting(IdentityEnum):
    """
    What the connection's one deadline is about.
    """

    FOR_HANDSHAKE = auto()
    FOR_CONTINUE = auto()
    FOR_ROOM = auto()
    FOR_ANSWER = auto()
    FOR_REST = auto()
    IN_POOL = auto()
    FOR_END = auto()


class ConnectionPool(Interface):
    """
    What has the connections: an `s3proxy.backend.pool.Pool`, which says what each of these does.
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
    A connection, for one request at a time.

    It is the consumer of the request's body and the source of its writer; the answer pauses and resumes its reading.

    Attributes:
        ready: Fires with the connection itself when requests may be sent: after the TLS handshake where there is one.
        is_reused: Whether it has answered a request before.
        released_at: When it was put into the pool, in the reactor's seconds.
    """

    transport: Any

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self.ready: Deferred[BackendConnection] = Deferred(lambda ignored: self.abort())
        self._is_silent = True
        self.is_reused = False
        self.released_at = 0.0
        self._limits = pool.limits
        self._deadline = Deadline(pool.reactor, self._timed_out)
        self._waiting = _Waiting.IN_POOL
        self._acknowledged: int | None = None
        self._request: BackendRequest | None = None
        self._answered: Deferred[BackendResponse] | None = None
        self._body: Any = None
        self._body_left = 0
        self._is_body_sent = True
        self._response: BackendResponse | None = None
        self._unread = b""
        self._interim_count = 0
        self._answer_left: int | None = 0
        self._framing: ChunkedFraming | None = None
        self._keeps_alive = True
        # Whether the last response ended with its head, though the head declares a body that may follow all the same.
        self._may_trail = False
        self._is_paused = False
        self._paused_at: float | None = None
        self._is_lost = False
        self._is_closing = False
        self._writer: DirectWriter | None = None
        self._splice: Splice | None = None

    # Life

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        bound_socket_buffers(transport, self._limits.socket_buffer)
        self._writer = DirectWriter(transport, self)
        # Who asked for it may be gone, and an endpoint need not notice: then nobody sends, and nobody ends it.
        self._wait(_Waiting.FOR_HANDSHAKE, self._limits.connect_time)
        if not isinstance(transport, TLSMemoryBIOProtocol):
            self._become_ready()

    def handshakeCompleted(self) -> None:
        # Twisted 24.7 says so of a certificate with a wrong name, too, and ends the connection in the next turn.
        self._pool.reactor.callLater(0, self._become_ready)

    def _become_ready(self) -> None:
        if self._is_lost or self.ready.called:
            return
        self._pool.connection_made(self)
        self.ready.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_lost = True
        self._stop_splice()
        self._count_pause()
        self._deadline.cancel()
        if self._writer is not None:
            self._writer.detach()
        self._pool.connection_lost(self)
        response, framing = self._response, self._framing
        if response is not None and framing is None and self._answer_left is None and reason.check(ConnectionDone):
            # Only its end tells how long the answer was.
            self._answer_ended(response)
            return
        self._fail(BackendFault.UNANSWERED if self._is_silent else BackendFault.LOST, reason.value)
        if not self.ready.called:
            cause = tls_fault(reason.value, self.transport)
            self.ready.errback(backend_failure(BackendFault.UNREACHABLE, cause))

    def abort(self) -> None:
        """
        Reset the connection, so that what the backend has of a body stays incomplete.
        """
        if not self._is_lost and self.transport is not None:
            self.transport.abortConnection()

    def close(self) -> None:
        """
        End a connection which is not in use.
        """
        self._is_closing = True
        # Under TLS the other side's close_notify is waited for.
        self._wait(_Waiting.FOR_END, self._limits.connect_time)
        if self._writer is not None:
            self._writer.detach()
        if self.transport is not None:
            self.transport.loseConnection()

    def rest(self, seconds: float) -> None:
        """
        Stay in the pool, for at most so long.
        """
        self._wait(_Waiting.IN_POOL, seconds)

    @property
    def is_quiet(self) -> bool:
        """
        Whether neither a byte nor an end has come after its last answer: the next request would take it for its own.
        """
        return not self._is_lost and not self._is_closing and not is_readable(self.transport)

    # The request

    def send(self, request: BackendRequest, body: Any = None) -> Deferred[BackendResponse]:
        """
        Send a request.

        Args:
            body: An `IBodyProducer` with a length, or None.

        Returns:
            Fires with the answer as soon as its final head is complete, early or not; fails with `BackendError`.
            Cancelling it resets the connection.
        """
        assert self._writer is not None
        self._request = request
        answered: Deferred[BackendResponse] = Deferred(self._cancelled)
        self._answered = answered
        self._interim_count = 0
        self._unread = b""
        self._is_silent = True
        self._body = body
        self._is_body_sent = body is None
        if body is None:
            self._deadline.clear()
            self._writer.read_size = None
            if request.content:
                self._writer.writeSequence((request.head, request.content))
            else:
                self._writer.write(request.head)
            self._request_sent()
            return answered
        self._body_left = body.length
        self._writer.read_size = getattr(body, "read_size", None)
        self._writer.write(request.head)
        if request.expects_continue:
            self._wait(_Waiting.FOR_CONTINUE, self._limits.continue_time)
        else:
            self._start_body()
        return answered

    def _start_body(self) -> None:
        assert self._writer is not None
        if self._writer.is_paused:
            # The head alone was too much for the socket.
            self._wait(_Waiting.FOR_ROOM, self._limits.idle_time)
        else:
            self._deadline.clear()
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
            # One byte more would be the beginning of a request of somebody's choice.
            self._fail(BackendFault.LOST, ValueError("a body is longer than was declared"))
            self.abort()
            return
        assert self._writer is not None
        self._writer.writeSequence(pieces)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        Where bytes of the body may go without coming here; None where they may not.
        """
        return self._writer if self._writer is not None and self._writer.can_splice else None

    def moved(self, size: int) -> None:
        """
        Know that bytes of the body went there.
        """
        self._body_left -= size

    def _body_produced(self, ignored: object, body: Any) -> None:
        if self._body is not body:
            return
        self._body = None
        if self._body_left:
            self._fail(BackendFault.LOST, ValueError("a body is shorter than was declared"))
            self.abort()
            return
        self._is_body_sent = True
        self._request_sent()

    def _body_failed(self, failure: Failure) -> None:
        self._body = None
        self._fail(BackendFault.LOST, failure.value)
        self.abort()

    def _stop_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.stopProducing()

    def _request_sent(self) -> None:
        assert self._writer is not None
        if self._answered is not None and not self._writer.is_paused:
            assert self._request is not None
            self._wait(_Waiting.FOR_ANSWER, self._request.first_byte_time)

    def _cancelled(self, ignored: object) -> None:
        self._answered = None
        self._stop_body()
        self.abort()

    @property
    def waiting_size(self) -> int:
        """
        Bytes which the backend's socket has not taken yet.
        """
        return self._writer.waiting_size if self._writer is not None else 0

    # The backend's socket is full, or takes bytes again

    def pauseProducing(self) -> None:
        self._acknowledged = acknowledged_size(self.transport)
        self._wait(_Waiting.FOR_ROOM, self._limits.idle_time)
        if self._body is not None:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        if self._waiting is _Waiting.FOR_ROOM:
            self._deadline.clear()
        if self._body is not None:
            self._body.resumeProducing()
        elif self._is_body_sent:
            self._request_sent()

    # The answer

    def dataReceived(self, data: bytes) -> None:
        if self._response is not None:
            self._body_received(self._response, data)
            return
        if self._answered is None:
            # Nobody asked: the next answer on this connection could be somebody else's.
            if self._may_trail:
                self._pool.trails_heads = True
            self.abort()
            return
        if self.is_reused and self._is_silent and not _STATUS_LINE_START.startswith(data[: len(_STATUS_LINE_START)]):
            # What is left of an earlier answer, such as the body of one that has none, late. Nothing of a response to
            # this request has come.
            if self._may_trail:
                self._pool.trails_heads = True
            self._fail(BackendFault.UNANSWERED)
            self.abort()
            return
        self._is_silent = False
        self._unread += data
        self._read_heads()

    def _read_heads(self) -> None:
        while True:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD_SIZE:
                if len(self._unread) > MAX_HEAD_SIZE:
                    self._drop()
                return
            try:
                head = parse_response_head(self._unread[:end])
            except BadRequest:
                self._drop()
                return
            self._unread = self._unread[end + 4 :]
            if head.status >= 200:
                break
            self._interim_count += 1
            if head.status == 101 or self._interim_count > MAX_INTERIM_ANSWERS:
                self._drop()
                return
            if head.status == 100 and self._waiting is _Waiting.FOR_CONTINUE:
                self._waiting = _Waiting.IN_POOL
                self._start_body()
        self._head_received(head)

    def _head_received(self, head: ResponseHead) -> None:
        request, answered = self._request, self._answered
        assert request is not None
        assert answered is not None
        self._deadline.clear()
        self._keeps_alive = head.keeps_alive
        self._framing = None
        is_bodiless = request.method == b"HEAD" or head.status in {204, 304}
        self._may_trail = is_bodiless and (head.is_chunked or head.content_length != 0)
        if is_bodiless:
            self._answer_left = 0
        elif head.is_chunked:
            self._answer_left = None
            self._framing = ChunkedFraming()
        else:
            self._answer_left = head.content_length
            if head.content_length is None:
                self._keeps_alive = False
        if not self._is_body_sent:
            # An early answer: nothing more is taken from the client, and the connection serves nobody else.
            self._keeps_alive = False
            self._stop_body()
        rest, self._unread = self._unread, b""
        if is_bodiless and (rest or (self._may_trail and self._pool.trails_heads)):
            # Walrus sends a document after the head of its answer to HEAD. It is not read, and nobody else gets this
            # connection: the document would be the beginning of the next answer.
            self._pool.trails_heads = True
            self._keeps_alive = False
            rest = b""
        if self._answer_left is not None and len(rest) > self._answer_left:
            self._drop()
            return
        self._answered = None
        response = BackendResponse(request, head, self._answer_left, self)
        self._response = response
        if rest or self._answer_left == 0:
            # It may end here, and the connection be somebody else's, before the body is asked for.
            self._body_received(response, rest)
        if self._response is response:
            self._pause()
            # Until somebody asks for it: who does not in time never will.
            self._wait(_Waiting.FOR_REST, self._limits.idle_time)
        if response.failure is not None:
            # Its head came with bytes which cannot be understood, and nobody has seen it yet.
            answered.errback(response.failure)
        else:
            answered.callback(response)

    def _body_received(self, response: BackendResponse, data: bytes) -> None:
        if self._framing is not None:
            self._chunks_received(response, self._framing, data)
            return
        left = self._answer_left
        if left is not None:
            if len(data) > left:
                self._drop()
                return
            self._answer_left = left = left - len(data)
        if data:
            if left != 0 and not self._is_paused:
                self._wait(_Waiting.FOR_REST, self._limits.idle_time)
            response.received((data,))
        if left == 0 and self._response is response:
            self._answer_ended(response)
        elif left is not None and left >= MIN_SPLICED_SIZE and self._splice is None:
            self._try_to_splice(response, left)

    def _try_to_splice(self, response: BackendResponse, left: int) -> None:
        """
        Have the rest of an answer never come here, where nobody looks at it.
        """
        target = response.splice_target
        if target is not None and self._response is response and not self._is_paused:
            self._splice = begin_splice(
                self.transport, target, left, partial(self._rest_moved, response), partial(self._rest_spliced, response)
            )

    def _rest_moved(self, response: BackendResponse, size: int) -> None:
        assert self._answer_left is not None
        self._answer_left -= size
        self._wait(_Waiting.FOR_REST, self._limits.idle_time)
        response.moved(size)

    def _rest_spliced(self, response: BackendResponse) -> None:
        self._splice = None
        self._answer_ended(response)

    def _stop_splice(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.stop()

    def _chunks_received(self, response: BackendResponse, framing: ChunkedFraming, data: bytes) -> None:
        pieces = framing.feed(data)
        if framing.fault is not None:
            self._drop()
            return
        if pieces:
            response.received(pieces)
        if self._response is not response:
            return
        if framing.remainder:
            self._drop()
        elif framing.is_complete:
            response.trailers = framing.trailers
            self._answer_ended(response)
        elif pieces and not self._is_paused:
            # A chunk's size that comes byte by byte is no answer.
            self._wait(_Waiting.FOR_REST, self._limits.idle_time)

    def _answer_ended(self, response: BackendResponse) -> None:
        self._response = self._request = self._framing = None
        self._deadline.clear()
        assert self._writer is not None
        if self._keeps_alive and self._is_body_sent and self._writer.is_drained and not self._is_lost:
            if self._is_paused:
                # A paused connection in the pool would see neither an end nor a stray byte.
                self._resume()
            self.is_reused = True
            self._pool.release(self)
        else:
            self.abort()
        response.ended(None)

    # What the answer asks for

    def claimed(self, response: BackendResponse) -> None:
        """
        Know that somebody takes the answer's body.
        """
        if self._response is response and self._is_paused:
            self._resume()
            self._wait(_Waiting.FOR_REST, self._limits.idle_time)

    def pause_answer(self) -> None:
        """
        Read no more of the answer.
        """
        self._deadline.clear()
        if self._paused_at is None:
            self._paused_at = self._pool.reactor.seconds()
        self._pause()

    def resume_answer(self) -> None:
        """
        Read on.
        """
        if self._response is not None and self._is_paused:
            self._wait(_Waiting.FOR_REST, self._limits.idle_time)
            self._resume()
            if self._splice is not None:
                self._splice.push()

    def _pause(self) -> None:
        if not self._is_paused and not self._is_lost:
            self._is_paused = True
            self.transport.pauseProducing()

    @property
    def paused_seconds(self) -> float:
        """
        For how long the answer is not read, because the client does not take it.
        """
        return 0.0 if self._paused_at is None else float(self._pool.reactor.seconds() - self._paused_at)

    def _count_pause(self) -> None:
        if self._paused_at is not None:
            self._pool.ended_paused_seconds += self.paused_seconds
            self._paused_at = None

    def _resume(self) -> None:
        self._is_paused = False
        self._count_pause()
        if not self._is_lost:
            self.transport.resumeProducing()

    # Failing

    def _wait(self, what: _Waiting, seconds: float) -> None:
        self._waiting = what
        self._deadline.set(seconds)

    def _timed_out(self) -> None:
        waiting = self._waiting
        if waiting is _Waiting.FOR_CONTINUE:
            # Many a backend knows no 100 Continue.
            self._waiting = _Waiting.FOR_ANSWER
            self._start_body()
        elif waiting is _Waiting.IN_POOL:
            self.close()
        elif waiting in {_Waiting.FOR_HANDSHAKE, _Waiting.FOR_END}:
            self.abort()
        elif waiting is _Waiting.FOR_ROOM and self._has_taken_bytes():
            self._deadline.set(self._limits.idle_time)
        else:
            self._fail(BackendFault.SILENT if waiting is _Waiting.FOR_ANSWER else BackendFault.STALLED)
            self.abort()

    def _has_taken_bytes(self) -> bool:
        before, self._acknowledged = self._acknowledged, acknowledged_size(self.transport)
        return before is not None and self._acknowledged != before

    def _drop(self) -> None:
        """
        Believe nothing which this backend says on this connection.
        """
        self._fail(BackendFault.LOST)
        self.abort()

    def _fail(self, fault: BackendFault, cause: BaseException | None = None) -> None:
        self._stop_body()
        failure = Failure(BackendError(fault)) if cause is None else backend_failure(fault, cause)
        answered, self._answered = self._answered, None
        response, self._response = self._response, None
        if answered is not None:
            answered.errback(failure)
        if response is not None:
            response.ended(failure)
