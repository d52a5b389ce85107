"""
HTTP/1.1 of one client's connection: heads, bodies, holds, times, and an end which lets the client read its answer.
"""

from __future__ import annotations

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
from s3proxy.frontend.deadlines import ClientDeadlines
from s3proxy.frontend.forwarded import UNKNOWN, Origin
from s3proxy.frontend.hangup import Hangup, HangupWatch
from s3proxy.frontend.hold import Hold, HoldingSite, Holds
from s3proxy.frontend.incoming_body import NO_BODY, ChunkedBody, IncomingBody, LengthBody
from s3proxy.frontend.incoming_head import HeadReader, why_no_request
from s3proxy.frontend.times import DRAINED_KEEP_ALIVE
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import BadRequest, RequestTimeout, S3Error, SlowDown
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import KIB
from s3proxy.transport.writer import DirectWriter, stream_socket

MAX_PIPELINED_SIZE = 64 * KIB
"""
Bytes of later requests which are kept while one is being answered; above it the client's socket is not read.
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


class ChannelSite(BoundingSite, HoldingSite, ResourceSite, Protocol):
    """
    What has the connections: an `s3proxy.frontend.site.S3Site`, which says what each of these is.
    """

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
        is_tls: Whether the connection is TLS.
        deadlines: How long the client is waited for.
        body: That of the present request, until its end.
        holds: The reasons for which the client's socket is not read now.
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
        self.holds = Holds(self, self.site)
        self._unread = b""
        self._is_reading = False
        self.body: IncomingBody = NO_BODY
        self._client_ended = False
        self._lingered_size = 0
        self.deadlines = ClientDeadlines(
            self.site.reactor,
            self._times,
            not_sent=self._timed_out,
            not_taken=self.abort,
            took_too_long=self._took_too_long,
        )
        self.deadlines.wait(self._times.head)
        self._answer_sent: list[Callable[[], None]] = []
        self._is_aborted = False
        self._head_began = False
        self._has_served = False
        self.is_tls = ISSLTransport.providedBy(transport)
        host = str(getattr(self.getPeer(), "host", UNKNOWN))
        self.origin = Origin(host, b"https" if self.is_tls else b"http")
        trust = self.site.trust
        is_believed = trust.forwarded != "none" and trust.peers.lists(self.peer)
        self._heads = HeadReader(self.origin, trust if is_believed else None)
        self.writer = DirectWriter(transport, self)
        self.site.connection_made(self)
        found = stream_socket(transport)
        self._hangup = None if found is None else Hangup(self, found.fileno(), self.site.watch, self.site.reactor)
        limit = self.site.limit
        # A proxy of many clients has as many connections as it needs.
        if limit is not None and not limit.admits(self, None if is_believed else host):
            self._refuse_connection(SlowDown())

    # Waiting

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
        is_timed = self.deadlines.sending.at is not None
        if self._state in {_State.LINGERING, _State.CLOSED}:
            return is_timed
        if self.writer.is_paused and self.deadlines.taking.at is None:
            return False
        request = self._request
        if self._state is _State.HEAD:
            return is_timed or self.writer.is_paused
        if self._state is _State.BODY:
            return is_timed or (request is not None and (bool(self.holds.reasons) or not request.takes_body))
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
            self.holds.hold(Hold.PIPELINED)

    def _read_head(self, data: bytes) -> bytes:
        try:
            found = self._heads.read(data)
        except S3Error as error:
            self._refuse_connection(error, partial(why_no_request, data))
            return b""
        if found is None:
            if not self._head_began:
                self._head_began = True
                self.deadlines.wait(self._times.head)
            return data
        head, rest = found
        self._head_began = False
        self.origin = self._heads.origin
        self.deadlines.begin_request()
        self.persistent = head.keeps_alive and not self.site.is_draining
        self._state = _State.BODY if head.has_body else _State.ANSWERING
        self._request = request = make_request(self, self.site, head)
        if head.is_chunked:
            self.body = ChunkedBody(request, head)
        elif head.has_body:
            self.body = LengthBody(request, head, self.transport, self._body_moved)
        self.requests.append(request)
        request.begin()
        if self._request is request and self._state is _State.BODY:
            if request.is_unjudged:
                self.holds.hold(Hold.UNJUDGED)
            elif not self.holds.reasons:
                self.deadlines.await_body(0)
        return rest

    def _read_body(self, data: bytes) -> bytes:
        body = self.body
        rest = body.receive(data)
        if self._state is not _State.BODY:
            # It was answered, or the connection ended, while it was delivered.
            return rest
        if body.is_complete:
            self._body_ended()
        elif body.fault is not None:
            self._body_failed(body.fault)
        elif not self.holds.reasons:
            self.deadlines.await_body(len(data))
            if body.may_be_spliced:
                body.splice()
        return rest

    def _body_moved(self, size: int) -> None:
        if not self.holds.reasons:
            self.deadlines.await_body(size)

    def _body_ended(self) -> None:
        self.deadlines.sending.clear()
        request = self._request
        if request is None:
            self.body = NO_BODY
            self._next_request()
            return
        self._state = _State.ANSWERING
        if self.holds.reasons:
            self.holds.release(Hold.BACKEND)
            self.holds.release(Hold.BUDGET)
        request.bodyEnded()

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

    def stop_reading(self) -> None:
        """
        Read the client's socket no more, and wait for nothing of it: what `Holds` calls for the first reason.
        """
        if self._state is not _State.CLOSED:
            self.transport.pauseProducing()
            self.deadlines.stop_awaiting()

    def read_on(self) -> None:
        """
        Read the client's socket again: what `Holds` calls when no reason is left.
        """
        if self._state is not _State.CLOSED:
            if self._state is _State.BODY:
                self.deadlines.await_body(0)
            self.transport.resumeProducing()
            if self.body.may_be_spliced:
                self.body.resume()

    def body_wanted(self) -> None:
        """
        Let a body come whose head was judged: 100 Continue where the client waits for it.
        """
        if self.body.needs_continue:
            self.send_continue()
        if self.holds.reasons:
            self.holds.release(Hold.UNJUDGED)

    @property
    def owed_size(self) -> int:
        """
        Bytes of the present body that must still come; 0 if that is not known.
        """
        return self.body.left if self._state is _State.BODY else 0

    def body_cut_short(self, missing: int) -> None:
        """
        Take note that so many bytes of the present body will never come.
        """
        request = self._request
        if request is not None and request.is_being_delivered:
            # As if it were being read: a client that only half-closed reads its verdict.
            self._body_failed(self.body.incomplete(missing))
        else:
            self.transport.abortConnection()

    # Answering

    def send_continue(self) -> None:
        """
        Let a client which waits for it send its body.
        """
        if self.body.needs_continue:
            self.body.needs_continue = False
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def answer_begins(self) -> bool:
        """
        Say that a final head is about to be written.

        Returns:
            Whether the connection may serve another request; the head must say so where it may not.
        """
        if self.holds.reasons:
            self.holds.release(Hold.UNJUDGED)
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
        return self.body.can_be_drained and self._times.linger > 0

    def requestDone(self, request: Any) -> None:
        """
        Go on after an answer: read the next request, or the rest of this one's body, or let the client read and leave.
        """
        self.requests.clear()
        self._request = None
        self._has_served = True
        self.deadlines.total.clear()
        if self._state is _State.CLOSED:
            return
        if self._state is _State.BODY and self.body.is_complete:
            # The verdict came inside the body's last octets.
            self._state = _State.ANSWERING
        if self._state is _State.BODY:
            # The state and its deadline first: a release may bring the body's rest at once.
            if self.persistent and self._can_drain():
                self.body.drain()
                self.deadlines.wait(self._times.linger)
                self.holds.release_all()
            else:
                self._linger()
            return
        self.body = NO_BODY
        if self.holds.reasons:
            for reason in tuple(self.holds.reasons - {Hold.PIPELINED}):
                self.holds.release(reason)
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
            self.deadlines.sending.clear()
        else:
            self._await_head()

    def _await_head(self) -> None:
        seconds = self._times.keep_alive
        self.deadlines.wait(min(DRAINED_KEEP_ALIVE, seconds) if self.site.is_draining else seconds)
        if self.holds.reasons:
            self.holds.release(Hold.PIPELINED)
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
        self.body = NO_BODY
        self.persistent = False
        self.deadlines.wait(self._times.linger)
        self.holds.release_all()
        if self._client_ended:
            self._close()
            return
        if not self.is_tls:
            self._detach()
            self.transport.loseWriteConnection()

    def _shut_down(self) -> None:
        """
        Close once what was written has left.
        """
        self._state = _State.CLOSED
        # What the socket has not taken yet is an answer's last block, and has the time of one.
        waits_for_client = self.writer.is_paused
        self.deadlines.wait(self._times.idle if waits_for_client else max(MIN_CLOSE_TIME, self._times.linger))
        self._detach()
        self.transport.loseConnection()

    def _detach(self) -> None:
        self.deadlines.taking.clear()
        self.writer.detach()

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
            self.deadlines.wait(min(DRAINED_KEEP_ALIVE, self._times.keep_alive))
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
        since = self.deadlines.waiting_since
        if self._request is not None or self._state is _State.CLOSED or since is None:
            return None
        if self._state is _State.HEAD and self._has_served and not self._head_began:
            return since
        return since if self.site.reactor.seconds() - since >= MIN_EVICTION_AGE else None

    def close_idle(self) -> None:
        """
        Close it now, to make room for another.
        """
        self._shut_down()
        # Nothing is owed to it, and under TLS its own end would be waited for.
        self.deadlines.wait(MIN_CLOSE_TIME)

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
            self._body_failed(self.body.incomplete(self.body.left))
        elif self._state is not _State.ANSWERING:
            # Before a request, or after an answer which it has now read.
            self._close()

    def writeConnectionLost(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self._is_aborted = True
        self.body.stop()
        self.body = NO_BODY
        self.holds.count_pause()
        self.deadlines.cancel()
        self._tell_answer_sent()
        if self.site.limit is not None:
            self.site.limit.lost(self)
        self.writer.detach()
        if self._hangup is not None:
            self._hangup.forget()
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        self.requests.clear()
        self.site.connection_lost(self)

    # What DirectWriter asks of its source: the client does not take our octets, or takes them again

    def pauseProducing(self) -> None:
        self.deadlines.taking.set(self._times.idle)
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()

    def resumeProducing(self) -> None:
        self.deadlines.taking.clear()
        self._tell_answer_sent()
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()
        if self._state is _State.HEAD and self.deadlines.sending.at is None:
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
