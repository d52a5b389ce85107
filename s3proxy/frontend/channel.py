"""
HTTP/1.1 of one client's connection: which request is read, which gets its response, and how the connection ends.

A connection is in one state at a time. In HEAD it waits for the next head. In BODY it reads the body of a request, or
drops the rest of it if the request already has its response. In ANSWERING the body is complete, and bytes of later
requests are kept but not parsed. In LINGERING the connection serves no more requests: the client reads its response,
and what it sends is dropped. In CLOSED the connection only waits for its end.

Other modules do the parts, one for each question: `incoming_head` and `incoming_body` parse what arrives, `hold`
decides whether the client is read, `deadlines` how long s3proxy waits for it, `hangup` whether it left while it was not
read, and `answering` writes the response and closes the connection. Only this module has the state and the order of the
steps.

In each state something ends the connection, whatever the client does: a deadline, or the exchange of the request that
holds the client or sends its response.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import auto
from functools import partial
from typing import Any, Protocol

from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.frontend.admission import MIN_EVICTION_AGE, BoundingSite
from s3proxy.frontend.answering import MIN_CLOSE_TIME, AnsweringChannel, refusal
from s3proxy.frontend.application import ClientRequest, ResourceSite, make_request
from s3proxy.frontend.deadlines import ClientDeadlines
from s3proxy.frontend.forwarded import UNKNOWN, Origin
from s3proxy.frontend.hangup import Hangup, HangupWatch
from s3proxy.frontend.hold import Hold, HoldingSite, Holds
from s3proxy.frontend.incoming_body import NO_BODY, ChunkedBody, IncomingBody, LengthBody, take_whole
from s3proxy.frontend.incoming_head import HeadReader, why_no_request
from s3proxy.frontend.times import DRAINED_KEEP_ALIVE
from s3proxy.s3.errors import BadRequest, RequestTimeout, S3Error, SlowDown
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import KIB
from s3proxy.transport.writer import stream_socket

MAX_PIPELINED_SIZE = 64 * KIB
"""
Bytes of later requests that are kept while one is served; above it the client's socket is not read.
"""


class _State(IdentityEnum):
    HEAD = auto()
    BODY = auto()
    ANSWERING = auto()
    LINGERING = auto()
    CLOSED = auto()


class ChannelSite(BoundingSite, HoldingSite, ResourceSite, Protocol):
    """
    The site of a connection: an `s3proxy.frontend.site.S3Site`, which describes these members.
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

    def connection_lost(self, channel: Any, reason: Failure) -> None: ...

    def connection_refused(
        self, channel: Any, error: S3Error, request_id: str, why: Callable[[], str] | None = None
    ) -> None: ...


@implementer(IHalfCloseableProtocol)
class S3Channel(AnsweringChannel):
    """
    One connection of a client.

    Attributes:
        origin: The client of the current request, as far as it is known.
        body: The body of the current request, until its end.
        heads: Reads the heads of requests.
        holds: The reasons for which the client's socket is not read now.
    """

    # The rest of the attributes are in a dictionary, which is small only up to 30 of them.
    __slots__ = (
        "_client_ended", "_hangup", "_has_served", "_head_began", "_is_reading", "_lingered_size", "_request",
        "_state", "_unread", "body", "heads", "holds", "origin",
    )  # fmt: skip

    site: ChannelSite
    persistent: bool

    def connectionMade(self) -> None:
        self.persistent = True
        self.times = self.site.times
        self._state = _State.HEAD
        self._request: ClientRequest | None = None
        self.holds = Holds(self, self.site)
        self._unread = b""
        self._is_reading = False
        self.body: IncomingBody = NO_BODY
        self._client_ended = False
        self._lingered_size = 0
        self.deadlines = ClientDeadlines(
            self.site.reactor, self.times, not_sent=self._timed_out, not_taken=self.abort, took_too_long=self._too_long
        )
        self.deadlines.wait(self.times.head)
        self._head_began = False
        self._has_served = False
        self.start_responses()
        peer = self.peer if self.peer is not None else self.transport.getPeer()
        host = str(getattr(peer, "host", UNKNOWN))
        self.origin = Origin(host, b"https" if self.is_tls else b"http")
        trust = self.site.trust
        is_believed = trust.forwarded != ForwardedHeaders.NONE and trust.peers.lists(self.peer)
        self.heads = HeadReader(self.origin, trust if is_believed else None)
        self.site.connection_made(self)
        found = stream_socket(self.transport)
        self._hangup = None if found is None else Hangup(self, found.fileno(), self.site.watch, self.site.reactor)
        limit = self.site.limit
        # A proxy of many clients has as many connections as it needs.
        if limit is not None and not limit.admits(self, None if is_believed else host):
            self._refuse_connection(SlowDown())

    # Reading

    def dataReceived(self, data: bytes) -> None:
        if self._is_reading:
            # Under TLS, resumeProducing may deliver bytes that were decrypted before.
            self._unread += data
            return
        data, self._unread = self._unread + data, b""
        self._is_reading = True
        while True:
            state = self._state
            if state is _State.HEAD:
                # A client that does not read its responses gets no further ones: they would pile up in memory.
                left = data if self.writer.is_paused else self._read_head(data)
            elif state is _State.BODY:
                left = self._read_body(data)
            else:
                left = data if state is _State.ANSWERING else self._drop(data)
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
            found = self.heads.read(data)
        except S3Error as error:
            self._refuse_connection(error, partial(why_no_request, data))
            return b""
        if found is None:
            if not self._head_began:
                self._head_began = True
                self.deadlines.wait(self.times.head)
            return data
        head, rest = found
        self._head_began = False
        self.origin = self.heads.origin
        self.deadlines.begin_request()
        self.persistent = head.keeps_alive and not self.site.is_draining
        self._request = request = make_request(self, self.site, head)
        taken = take_whole(request, head, rest) if head.has_body else 0
        self._state = _State.BODY if head.has_body and not taken else _State.ANSWERING
        if head.is_chunked:
            self.body = ChunkedBody(request, head)
        elif self._state is _State.BODY:
            self.body = LengthBody(request, head, self.transport, self.deadlines, self.holds)
        self.requests.append(request)
        request.begin()
        if self._request is request and self._state is _State.BODY:
            if request.is_unjudged:
                self.holds.hold(Hold.UNJUDGED)
            elif not self.holds.reasons:
                self.deadlines.await_body(0)
        return rest[taken:]

    def _read_body(self, data: bytes) -> bytes:
        body = self.body
        rest = body.receive(data)
        if self._state is not _State.BODY:
            # While these bytes were delivered, the request got its response or the connection ended.
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
        Called if the rest of the body will not arrive, or cannot be read.
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
            if self._lingered_size > self.times.linger_size:
                self._close()
        return b""

    # Holding

    def stop_reading(self) -> None:
        """
        Stop reading the client's socket and waiting for bytes. Called by `Holds` for the first reason.
        """
        if self._state is not _State.CLOSED:
            self.transport.pauseProducing()
            self.deadlines.stop_awaiting()

    def read_on(self) -> None:
        """
        Read the client's socket again. Called by `Holds` when no reason is left.
        """
        if self._state is not _State.CLOSED:
            if self._state is _State.BODY:
                self.deadlines.await_body(0)
            self.transport.resumeProducing()
            if self.body.may_be_spliced:
                self.body.resume()

    @property
    def owed_size(self) -> int:
        return self.body.left if self._state is _State.BODY else 0

    def body_cut_short(self, missing: int) -> None:
        request = self._request
        if request is not None and request.is_being_delivered:
            # As if the socket were read: a client that has only half-closed can read its error response.
            self._body_failed(self.body.incomplete(missing))
        else:
            self.transport.abortConnection()

    # Responses

    def body_wanted(self) -> None:
        """
        Called once the head was judged and the body is wanted: send 100 Continue if the client waits for it.
        """
        if self.body.needs_continue:
            self.body.needs_continue = False
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if self.holds.reasons:
            self.holds.release(Hold.UNJUDGED)

    def response_begins(self) -> bool:
        if self.holds.reasons:
            self.holds.release(Hold.UNJUDGED)
        if self.site.is_draining or self._client_ended:
            self.persistent = False
        if self._state is _State.BODY and not self._can_drain():
            self.persistent = False
        return self.persistent

    def _can_drain(self) -> bool:
        return self.body.can_be_drained and self.times.linger > 0

    def requestDone(self, request: Any) -> None:
        """
        Called after a response: read the next request or the rest of the body, or let the client read the response and
        end the connection.
        """
        self.requests.clear()
        self._request = None
        self._has_served = True
        self.deadlines.total.at = None
        if self._state is _State.CLOSED:
            return
        if self._state is _State.BODY and self.body.is_complete:
            # The verdict came inside the body's last bytes.
            self._state = _State.ANSWERING
        if self._state is _State.BODY:
            # Set the state and its deadline first: a release may deliver the rest of the body at once.
            if self.persistent and self._can_drain():
                self.body.drain()
                self.deadlines.wait(self.times.linger)
                self.holds.release_all()
            else:
                self._linger()
            return
        self.body = NO_BODY
        if self.holds.reasons:
            for reason in tuple(self.holds.reasons - {Hold.PIPELINED}):
                self.holds.release(reason)
        self._next_request()

    def _next_request(self) -> None:
        if not self.persistent:
            self._shut_down()
            return
        self._state = _State.HEAD
        if self.writer.is_paused:
            # resumeProducing continues, once the client has read the response.
            self.deadlines.sending.clear()
            return
        seconds = self.times.keep_alive
        self.deadlines.wait(min(DRAINED_KEEP_ALIVE, seconds) if self.site.is_draining else seconds)
        if self.holds.reasons:
            self.holds.release(Hold.PIPELINED)
        if self._unread and not self._is_reading:
            self.dataReceived(b"")

    def _refuse_connection(self, error: S3Error, why: Callable[[], str] | None = None) -> None:
        """
        Send an error response to bytes that are not a request, and read no more of this connection.

        Args:
            why: Returns the reason in words for an operator.
        """
        self.persistent = False
        if self.site.limit is not None:
            self.site.limit.refuse(self)
        request_id = self.site.make_request_id()
        self.writer.write(refusal(error, request_id, self.site.host_id, self.site.wall_clock()))
        self.site.connection_refused(self, error, request_id, why)
        self._linger()

    # Ending

    def _linger(self) -> None:
        """
        Half-close and drop what still arrives, within limits: to close at once would take the response from the client.
        """
        self._state = _State.LINGERING
        self.body = NO_BODY
        self.persistent = False
        self.deadlines.wait(self.times.linger)
        self.holds.release_all()
        if self._client_ended:
            self._close()
        else:
            self.half_close()

    def _shut_down(self) -> None:
        self._state = _State.CLOSED
        self.close_when_sent()

    def _close(self) -> None:
        if self._state is not _State.CLOSED:
            self._shut_down()

    def abort(self) -> None:
        """
        Reset the connection.
        """
        self._state = _State.CLOSED
        self.reset()

    def drain(self, *, serves: bool) -> None:
        """
        Serve no further request, or at most one.

        Args:
            serves: Whether a request that arrives soon is served: the client may have sent it before it could know. If
                not, an idle connection is closed now.
        """
        if self._state is not _State.HEAD or self._head_began:
            self.persistent = False
        elif serves:
            self.deadlines.wait(min(DRAINED_KEEP_ALIVE, self.times.keep_alive))
        else:
            self._shut_down()

    def loseConnection(self) -> None:
        self.persistent = False
        self._shut_down()

    @property
    def idle_since(self) -> float | None:
        """
        When the connection became idle, in the reactor's seconds; None if it serves a request, sends a response, or is
        too young to be closed.
        """
        since = self.deadlines.waiting_since
        if self._request is not None or self._state is _State.CLOSED or since is None:
            return None
        if self._state is _State.HEAD and self._has_served and not self._head_began:
            return since
        return since if self.site.reactor.seconds() - since >= MIN_EVICTION_AGE else None

    def close_idle(self) -> None:
        """
        Close the connection now, to make room for another.
        """
        self._shut_down()
        # No response is unsent. Under TLS, closing would wait for the client's own close.
        self.deadlines.wait(MIN_CLOSE_TIME)

    def _too_long(self) -> None:
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
            # The last bytes that were written before the close never left.
            self.abort()

    def readConnectionLost(self) -> None:
        self._client_ended = True
        self.persistent = False
        if self._state is _State.BODY:
            self._body_failed(self.body.incomplete(self.body.left))
        elif self._state is not _State.ANSWERING:
            # The client ended before a request, or after a response that it has now read.
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._state = _State.CLOSED
        self.is_aborted = True
        self.body.stop()
        self.body = NO_BODY
        self.holds.count_pause()
        self.deadlines.cancel()
        self.tell_response_sent()
        if self.site.limit is not None:
            self.site.limit.lost(self)
        self.writer.detach()
        if self._hangup is not None:
            self._hangup.forget()
        request, self._request = self._request, None
        if request is not None:
            request.connectionLost(reason)
        self.requests.clear()
        self.site.connection_lost(self, reason)

    def resumeProducing(self) -> None:
        super().resumeProducing()
        if self._state is _State.HEAD and self.deadlines.sending.at is None:
            self._next_request()

    def _respondToBadRequestAndDisconnect(self) -> None:
        self._refuse_connection(BadRequest())
