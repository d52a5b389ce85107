"""
HTTP/1.1 of one client's connection: heads, bodies, holds, times, and an end which lets the client read its answer.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from collections.abc import Callable
from datetime import datetime
from enum import auto
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol, ISSLTransport, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from zope.interface import implementer

from s3proxy.frontend.admission import MIN_EVICTION_AGE, BoundingSite
from s3proxy.frontend.application import ClientRequest, ResourceSite, make_request
from s3proxy.frontend.forwarded import UNKNOWN, Origin, believed_origin, why_not_believed
from s3proxy.frontend.hangup import HangupWatch
from s3proxy.frontend.hold import Hold
from s3proxy.frontend.times import DRAINED_KEEP_ALIVE
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import (
    BadRequest,
    IncompleteBody,
    RequestHeaderSectionTooLarge,
    RequestTimeout,
    S3Error,
    SlowDown,
)
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import KIB, MAX_HEAD_SIZE
from s3proxy.s3.unreadable import why_unreadable
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.splice import MIN_SPLICED_SIZE, Splice, begin_splice
from s3proxy.transport.writer import FIRST_READ_SIZE, DirectWriter, stream_socket

_HEAD_END = b"\r\n\r\n"

MAX_PIPELINED_SIZE = 64 * KIB
"""
Bytes of later requests which are kept while one is being answered; above it the client's socket is not read.
"""

MAX_DRAINED_SIZE = 64 * KIB
"""
Bytes of an unread body which are read and dropped to keep a connection; for more it is closed.
"""


MIN_CLOSE_TIME = 1.0
"""
Seconds a closing connection has at least, so that a short answer is not reset before the kernel has sent it.
"""


class _State(IdentityEnum):
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    LINGERING = auto()
    CLOSED = auto()


class ChannelSite(BoundingSite, ResourceSite, Protocol):
    """
    What has the connections: an `s3proxy.frontend.site.S3Site`, which says what each of these is.
    """

    ended_paused_seconds: float

    @property
    def host_id(self) -> str: ...

    @property
    def watch(self) -> HangupWatch: ...

    @property
    def is_draining(self) -> bool: ...

    @property
    def wall_clock(self) -> Callable[[], datetime]: ...

    @property
    def make_request_id(self) -> Callable[[], str]: ...

    def connection_made(self, channel: Any) -> None: ...

    def connection_lost(self, channel: Any) -> None: ...

    def connection_refused(
        self, channel: Any, error: S3Error, request_id: str, why: Callable[[], str] | None = None
    ) -> None: ...


@implementer(IHalfCloseableProtocol)
class S3Channel(HTTPChannel):
    """
    One connection of a client.

    Stock `HTTPChannel` answers 100 Continue unasked, stores bodies, and leaves heads to its version's judgement; of it
    remain the producer's side towards `Request` and what applications see of a channel.

    Attributes:
        peer: The address of the other end, or the one which it was given by a PROXY header.
        origin: Whom the present request comes from.
    """

    site: ChannelSite
    peer: Any = None
    persistent: bool
    transport: Any

    def connectionMade(self) -> None:
        transport = self.transport
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
        self.persistent = True
        self._networkProducer = transport
        self._times = self.site.times
        self._state = _State.HEAD
        self._request: ClientRequest | None = None
        self._holds: set[Hold] = set()
        self._paused_at: float | None = None
        self._unread = b""
        self._is_reading = False
        self._lacks = 0
        self._patience = 0.0
        self._awaited_since: float | None = None
        self._framing: ChunkedFraming | None = None
        self._needs_continue = False
        self._client_ended = False
        self._lingered_size = 0
        # Two clocks: what the client must send, or the connection's end, and what it must take. One alone would be
        # cleared by the other's progress.
        self._deadline = Deadline(self.site.reactor, self._timed_out)
        self._write_deadline = Deadline(self.site.reactor, self.abort)
        self._wait_time = 0.0
        self._wait(self._times.head)
        self._answer_sent: list[Callable[[], None]] = []
        self._is_aborted = False
        self._total = Deadline(self.site.reactor, self._took_too_long)
        self._head_began = False
        self._has_served = False
        self._hangup_seen: bool | None = None
        self._fd: int | None = None
        self._is_tls = ISSLTransport.providedBy(transport)
        self._splice: Splice | None = None
        host = str(getattr(self.getPeer(), "host", UNKNOWN))
        self.origin = self._own_origin = Origin(host, b"https" if self._is_tls else b"http")
        trust = self.site.trust
        self._trust = trust if trust.forwarded != "none" and trust.peers.lists(self.peer) else None
        self.writer = DirectWriter(transport, self)
        self.site.connection_made(self)
        found = stream_socket(transport)
        if found is not None:
            self._fd = found.fileno()
            self.site.watch.add(self._fd, self._hung_up)
        limit = self.site.limit
        # A proxy of many clients has as many connections as it needs.
        if limit is not None and not limit.admits(self, host if self._trust is None else None):
            self._refuse_connection(SlowDown())

    # Waiting

    def _wait(self, seconds: float) -> None:
        """
        Set the deadline of a connection that serves no request.
        """
        self._wait_time = seconds
        self._deadline.set(seconds)

    @property
    def is_bounded(self) -> bool:
        """
        Whether something ends the present state, whatever the client does or leaves undone. For tests.

        What counts, by state:

        - HEAD: the deadline is set. While a former answer waits for the client's socket no head is read, and the
          deadline of writing is set instead.
        - BODY with a request: the deadline is set; or a hold stands, whose owner is the request's exchange; or the
          request takes no more of its body because its answer has begun, and its exchange owns the wait.
        - BODY whose request was answered: the deadline is set.
        - ANSWERING: there is a request. Its exchange, or the application, owns the wait.
        - LINGERING, CLOSED: the deadline is set, or the connection was reset or is lost.

        In every state a paused writer needs the deadline of writing too, until the writer is detached to close.
        """
        if self._is_aborted:
            return True
        is_timed = self._deadline.at is not None
        if self._state in {_State.LINGERING, _State.CLOSED}:
            return is_timed
        if self.writer.is_paused and self._write_deadline.at is None:
            return False
        request = self._request
        if self._state is _State.HEAD:
            return is_timed or self.writer.is_paused
        if self._state is _State.BODY:
            return is_timed or (request is not None and (bool(self._holds) or not request.takes_body))
        return request is not None

    # Reading

    def dataReceived(self, data: bytes) -> None:
        if self._is_reading:
            # Under TLS a resume may deliver what was decrypted before.
            self._unread += data
            return
        if self._unread:
            data = self._unread + data
            self._unread = b""
        self._read(data)

    def _read(self, data: bytes) -> None:
        self._is_reading = True
        while True:
            state = self._state
            if state is _State.HEAD:
                # A client that takes no answers gets no further ones: they would gather here.
                left = data if self.writer.is_paused else self._read_head(data)
            elif state is _State.BODY:
                left = self._read_body(data)
            elif state is _State.ANSWERING:
                left = data
            else:
                left = self._drop(data)
            if self._unread:
                left += self._unread
                self._unread = b""
            if not left or (len(left) == len(data) and self._state is state):
                break
            data = left
        self._is_reading = False
        self._unread = left
        if len(left) > MAX_PIPELINED_SIZE and (self._state is _State.ANSWERING or self.writer.is_paused):
            self.hold(Hold.PIPELINED)

    def _read_head(self, data: bytes) -> bytes:
        # One empty line before a request is what old clients sent after a form (RFC 9112, section 2.2).
        start = 2 if data[:2] == b"\r\n" else 0
        end = data.find(_HEAD_END, start)
        try:
            if end < 0 or end - start > MAX_HEAD_SIZE:
                self._check_beginning(data, start)
                return data
            head = parse_request_head(data[start:end])
            if self._trust is not None:
                self.origin = believed_origin(head, self._trust, self._own_origin)
        except S3Error as error:
            self._refuse_connection(error, partial(self._why_no_request, data[start : end if end >= 0 else None]))
            return b""
        self._head_began = False
        self._begin(head)
        return data[end + 4 :]

    def _why_no_request(self, head: bytes) -> str:
        # What a listed proxy says is looked at once the head itself is read.
        try:
            return why_not_believed(parse_request_head(head[:MAX_HEAD_SIZE]))
        except S3Error:
            return why_unreadable(head)

    def _check_beginning(self, data: bytes, start: int) -> None:
        if len(data) - start > MAX_HEAD_SIZE:
            raise RequestHeaderSectionTooLarge(MAX_HEAD_SIZE)
        # A TLS hello on a plain port never has an end of a head.
        if len(data) > start and not data[start : start + 1].isalpha() and data != b"\r":
            raise BadRequest
        if not self._head_began:
            self._head_began = True
            self._wait(self._times.head)

    def _begin(self, head: RequestHead) -> None:
        self._deadline.clear()
        self._patience = self._times.idle
        self._awaited_since = None
        if self._times.total:
            self._total.set(self._times.total)
        self.persistent = head.keeps_alive and not self.site.is_draining
        self._lacks = head.content_length or 0
        self._framing = ChunkedFraming() if head.is_chunked else None
        self._needs_continue = head.expects_continue and head.has_body
        self._state = _State.BODY if head.has_body else _State.ANSWERING
        self._request = request = make_request(self, self.site, head)
        self.requests.append(request)
        request.begin()
        if self._request is request and self._state is _State.BODY:
            if request.is_unjudged:
                self.hold(Hold.UNJUDGED)
            elif not self._holds:
                self._await_body(0)

    def _await_body(self, size: int) -> None:
        """
        Wait for bytes of the body, after so many have come.
        """
        if self._request is None:
            # The rest of an answered request: its deadline is a total, which no byte moves.
            return
        times = self._times
        if not times.minimum_rate:
            self._deadline.set(times.idle)
            return
        # A client gains what its bytes are worth, and loses the time for which it was waited for.
        now = self.site.reactor.seconds()
        if self._awaited_since is not None:
            self._patience -= now - self._awaited_since
        self._patience = min(times.idle, self._patience + size / times.minimum_rate)
        self._awaited_since = now
        self._deadline.set(max(0.0, self._patience))

    def _read_body(self, data: bytes) -> bytes:
        self._needs_continue = False
        if self._framing is not None:
            return self._read_chunked_body(self._framing, data)
        lacks = self._lacks
        size = len(data)
        if size < lacks:
            self._lacks = lacks - size
            self._deliver(data)
            if self._state is _State.BODY and not self._holds:
                self._await_body(size)
                if lacks >= MIN_SPLICED_SIZE and self._splice is None:
                    self._try_to_splice()
            return b""
        self._lacks = 0
        self._deliver(data if size == lacks else data[:lacks])
        self._body_ended()
        return b"" if size == lacks else data[lacks:]

    def _try_to_splice(self) -> None:
        """
        Have the rest of a body never come here, where nobody looks at it: all but its end, which is withheld.
        """
        target = self._request.splice_target if self._request is not None else None
        if target is not None:
            size = self._lacks - FIRST_READ_SIZE
            self._splice = begin_splice(self.transport, target, size, self._body_moved, self._body_spliced)

    def _body_moved(self, size: int) -> None:
        assert self._request is not None
        self._lacks -= size
        if not self._holds:
            self._await_body(size)
        self._request.bodyMoved(size)

    def _body_spliced(self) -> None:
        self._splice = None

    def stop_splice(self) -> None:
        """
        See each byte again.
        """
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.stop()

    def start_head_deadline(self) -> Deadline:
        """
        Give part of the body the time of a head, in all: bytes do not extend it.

        Returns:
            To be cancelled when that part is complete. If it passes, the body has failed with RequestTimeout.
        """
        deadline = Deadline(self.site.reactor, self._took_too_long)
        deadline.set(self._times.head)
        return deadline

    def _stop_awaiting(self) -> None:
        if self._awaited_since is not None:
            self._patience -= self.site.reactor.seconds() - self._awaited_since
            self._awaited_since = None

    def _read_chunked_body(self, framing: ChunkedFraming, data: bytes) -> bytes:
        pieces = framing.feed(data)
        if pieces:
            self._deliver(bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces))
        if framing.fault is not None:
            if self._state is _State.BODY:
                self._body_failed(framing.fault)
            return b""
        if not framing.is_complete:
            if self._state is _State.BODY and not self._holds:
                self._await_body(len(data))
            return b""
        self._framing = None
        self._body_ended()
        return framing.remainder

    def _deliver(self, data: bytes) -> None:
        if self._request is not None:
            self._request.bodyReceived(data)

    def _body_ended(self) -> None:
        if self._state is not _State.BODY:
            return
        self._deadline.clear()
        if self._request is None:
            self._next_request()
            return
        self._state = _State.ANSWERING
        self.release(Hold.BACKEND)
        self.release(Hold.BUDGET)
        self._request.bodyEnded()

    def _body_failed(self, error: S3Error) -> None:
        """
        No more of the body will come, or what comes cannot be understood.
        """
        self.persistent = False
        request = self._request
        if request is None:
            self._close()
        else:
            request.bodyFailed(error)

    def _drop(self, data: bytes) -> bytes:
        if self._state is _State.LINGERING:
            self._lingered_size += len(data)
            if self._lingered_size > self._times.linger_size:
                self._close()
        return b""

    # Holding

    def hold(self, reason: Hold) -> None:
        """
        Do not read the client's socket while there is this reason.
        """
        if not self._holds and self._state is not _State.CLOSED:
            self.transport.pauseProducing()
            self._deadline.clear()
            self._stop_awaiting()
            if self._hangup_seen is not None:
                self._hung_up(self._hangup_seen)
        if reason is Hold.BACKEND:
            self._paused_at = self.site.reactor.seconds()
        self._holds.add(reason)

    def release(self, reason: Hold) -> None:
        """
        Take back one reason not to read; read on when none is left.
        """
        if reason not in self._holds:
            return
        self._holds.discard(reason)
        if reason is Hold.BACKEND:
            self._count_pause()
        if not self._holds and self._state is not _State.CLOSED:
            if self._state is _State.BODY:
                self._await_body(0)
            self.transport.resumeProducing()
            if self._splice is not None:
                self._splice.push()

    @property
    def paused_seconds(self) -> float:
        """
        For how long the client is not read, because the backend does not take its bytes.
        """
        return 0.0 if self._paused_at is None else float(self.site.reactor.seconds() - self._paused_at)

    def _count_pause(self) -> None:
        self.site.ended_paused_seconds += self.paused_seconds
        self._paused_at = None

    def hold_for_backend(self) -> None:
        """
        Do not read while the backend's socket is full.
        """
        if Hold.BACKEND not in self._holds:
            self.hold(Hold.BACKEND)

    def release_for_backend(self) -> None:
        """
        Read on: the backend takes bytes again.
        """
        self.release(Hold.BACKEND)

    def body_wanted(self) -> None:
        """
        Let a body come whose head was judged: 100 Continue where the client waits for it.
        """
        self.send_continue()
        self.release(Hold.UNJUDGED)

    @property
    def is_tls(self) -> bool:
        """
        Whether the connection is TLS.
        """
        return self._is_tls

    @property
    def holds(self) -> frozenset[Hold]:
        """
        The reasons for which the client's socket is not read now.
        """
        return frozenset(self._holds)

    def _hung_up(self, is_reset: bool) -> None:
        self._hangup_seen = is_reset
        if not self._holds:
            # It is being read: the transport finds out, in order.
            return
        if is_reset:
            self.transport.abortConnection()
        elif self._missing_size():
            # Not at once: a hold may begin in the middle of a write.
            self.site.reactor.callLater(0, self._cut_short)

    def _missing_size(self) -> int:
        """
        After FIN, count the bytes of a body that will never come: those which are not even in the kernel's queue.

        Nobody knows it of a chunked body or under TLS; then it is 0, and reading on finds the end.
        """
        if self._state is not _State.BODY or self._framing is not None or self._fd is None or self._is_tls:
            return 0
        queued: int = struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4)))[0]
        return max(0, self._lacks - queued)

    def _cut_short(self) -> None:
        missing = self._missing_size()
        if not self._holds or not missing:
            return
        request = self._request
        if request is not None and request.is_being_delivered:
            # As if it were being read: a client that only half-closed reads its verdict.
            self._body_failed(self._short_body(missing))
        else:
            self.transport.abortConnection()

    # Answering

    def send_continue(self) -> None:
        """
        Let a client which waits for it send its body.
        """
        if self._needs_continue:
            self._needs_continue = False
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer_begins(self) -> bool:
        """
        Say that a final head is about to be written.

        Returns:
            Whether the connection may serve another request; the head must say so where it may not.
        """
        self.release(Hold.UNJUDGED)
        if self.site.is_draining or self._client_ended:
            self.persistent = False
        if self._state is _State.BODY and not self._can_drain():
            self.persistent = False
        return self.persistent

    def when_answer_sent(self, sent: Callable[[], None]) -> None:
        """
        Have this called once the last answer has left for the client's socket, or the connection is lost.
        """
        if self._is_aborted or not self.writer.is_paused:
            sent()
        else:
            self._answer_sent.append(sent)

    def _tell_answer_sent(self) -> None:
        while self._answer_sent:
            self._answer_sent.pop()()

    def _can_drain(self) -> bool:
        # A client told to continue by nobody may send its body or may not: the next bytes could be either.
        return (
            self._framing is None
            and self._lacks <= MAX_DRAINED_SIZE
            and not self._needs_continue
            and self._times.linger > 0
        )

    def requestDone(self, request: Any) -> None:
        """
        Go on after an answer: read the next request, or the rest of this one's body, or let the client read and leave.
        """
        self.requests.clear()
        self._request = None
        self._has_served = True
        self._total.clear()
        if self._state is _State.CLOSED:
            return
        if self._state is _State.BODY and self._lacks == 0 and self._framing is None:
            # The verdict came inside the body's last bytes.
            self._state = _State.ANSWERING
        if self._state is _State.BODY:
            # The state and its deadline first: a release may bring the body's rest at once.
            if self.persistent and self._can_drain():
                self._wait(self._times.linger)
                self._release_all()
            else:
                self._linger()
            return
        if self._holds:
            for reason in tuple(self._holds - {Hold.PIPELINED}):
                self.release(reason)
        if self.persistent:
            self._next_request()
        elif self._client_ended:
            self._close()
        else:
            self._shut_down()

    def _next_request(self) -> None:
        if not self.persistent:
            self._shut_down()
            return
        self._state = _State.HEAD
        if self.writer.is_paused:
            # resumeProducing goes on, once the client has taken the answer.
            self._deadline.clear()
        else:
            self._await_head()

    def _await_head(self) -> None:
        seconds = self._times.keep_alive
        self._wait(min(DRAINED_KEEP_ALIVE, seconds) if self.site.is_draining else seconds)
        self.release(Hold.PIPELINED)
        if self._unread and not self._is_reading:
            data, self._unread = self._unread, b""
            self._read(data)

    def _refuse_connection(self, error: S3Error, why: Callable[[], str] | None = None) -> None:
        """
        Answer what is no request, and read no more of this connection.

        Args:
            why: Says in words for an operator why it is none.
        """
        self.persistent = False
        if self.site.limit is not None:
            self.site.limit.refuse(self)
        request_id = self.site.make_request_id()
        document = error_document(error, request_id, self.site.host_id)
        date = format_rfc1123(self.site.wall_clock())
        self.writer.write(
            b"HTTP/1.1 %d %s\r\nx-amz-request-id: %s\r\nDate: %s\r\nContent-Type: application/xml\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (error.status, error.code.encode(), request_id.encode(), date, len(document), document)
        )
        self.site.connection_refused(self, error, request_id, why)
        self._linger()

    # Ending

    def _linger(self) -> None:
        """
        Half-close and drop what still comes, within bounds: closing at once would take the answer from the client.
        """
        self._state = _State.LINGERING
        self.persistent = False
        self._wait(self._times.linger)
        self._release_all()
        if self._client_ended:
            self._close()
            return
        if not self._is_tls:
            self._detach()
            self.transport.loseWriteConnection()

    def _shut_down(self) -> None:
        """
        Close once what was written has left.
        """
        self._state = _State.CLOSED
        # What the socket has not taken yet is an answer's last block, and has the time of one.
        waits_for_client = self.writer.is_paused
        self._wait(self._times.idle if waits_for_client else max(MIN_CLOSE_TIME, self._times.linger))
        self._detach()
        self.transport.loseConnection()

    def _detach(self) -> None:
        self._write_deadline.clear()
        self.writer.detach()

    def _release_all(self) -> None:
        for reason in tuple(self._holds):
            self.release(reason)

    def _close(self) -> None:
        if self._state is not _State.CLOSED:
            self._shut_down()

    def abort(self) -> None:
        """
        Reset the connection, so that a cut answer does not look complete.
        """
        self._state = _State.CLOSED
        self._is_aborted = True
        self.transport.abortConnection()

    def drain(self, *, serves: bool) -> None:
        """
        Serve no further request, or one at most.

        Args:
            serves: Whether a request which comes soon is served: the client may have sent it before it could know.
                Otherwise an idle connection is closed now.
        """
        if self._state is not _State.HEAD or self._head_began:
            self.persistent = False
        elif serves:
            self._wait(min(DRAINED_KEEP_ALIVE, self._times.keep_alive))
        else:
            self._shut_down()

    def loseConnection(self) -> None:
        self.persistent = False
        self._shut_down()

    @property
    def idle_since(self) -> float | None:
        """
        Since when it serves nobody; None while it serves a request, sends an answer, or is too young to be closed.
        """
        at = self._deadline.at
        if self._request is not None or self._state is _State.CLOSED or at is None:
            return None
        since = at - self._wait_time
        if self._state is _State.HEAD and self._has_served and not self._head_began:
            return since
        return since if self.site.reactor.seconds() - since >= MIN_EVICTION_AGE else None

    def close_idle(self) -> None:
        """
        Close it now, to make room for another.
        """
        self._shut_down()
        # Nothing is owed to it, and under TLS its own end would be waited for.
        self._wait(MIN_CLOSE_TIME)

    def _took_too_long(self) -> None:
        request = self._request
        if self._state is _State.BODY and request is not None and request.is_being_delivered:
            self._body_failed(RequestTimeout())
        else:
            self.abort()

    def _timed_out(self) -> None:
        if self._state is _State.BODY:
            self._body_failed(RequestTimeout())
        elif self._state in {_State.HEAD, _State.LINGERING}:
            self._shut_down()
        else:
            # What was written before the end never left.
            self.abort()

    def readConnectionLost(self) -> None:
        self._client_ended = True
        self.persistent = False
        if self._state is _State.BODY:
            self._body_failed(IncompleteBody() if self._framing else self._short_body(self._lacks))
        elif self._state is not _State.ANSWERING:
            # Before a request, or after an answer which it has now read.
            self._close()

    def _short_body(self, missing: int) -> IncompleteBody:
        length = self._request.head.content_length if self._request is not None else None
        return IncompleteBody.of_length(length or 0, (length or 0) - missing)

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self._is_aborted = True
        self.stop_splice()
        self._count_pause()
        self._deadline.cancel()
        self._write_deadline.cancel()
        self._total.cancel()
        self._tell_answer_sent()
        if self.site.limit is not None:
            self.site.limit.lost(self)
        self.writer.detach()
        if self._fd is not None:
            self.site.watch.remove(self._fd)
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        self.requests.clear()
        self.site.connection_lost(self)

    # What DirectWriter asks of its source: the client does not take our bytes, or takes them again

    def pauseProducing(self) -> None:
        self._write_deadline.set(self._times.idle)
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()

    def resumeProducing(self) -> None:
        self._write_deadline.clear()
        self._tell_answer_sent()
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()
        if self._state is _State.HEAD and self._deadline.at is None:
            self._await_head()

    def stopProducing(self) -> None:
        if self._requestProducer is not None:
            self._requestProducer.stopProducing()

    # What applications' own requests ask, and write

    def getPeer(self) -> Any:
        return self.peer if self.peer is not None else self.transport.getPeer()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def writeSequence(self, iovec: Any) -> None:
        self.writer.writeSequence(list(iovec))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        lines = [b"%s %s %s\r\n" % (version, code, reason)]
        lines += [b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        if not self.answer_begins():
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        self.writer.writeSequence(lines)

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse_connection(BadRequest())
