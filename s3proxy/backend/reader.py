"""
Read the response to one request: bytes of a backend in, a head and the pieces of a body out.

The head is read whole, up to a maximum size. Interim heads are skipped, up to a maximum number. The head says how the
end of the body is found: by a length, by chunks, or by the end of the connection. From then on each piece goes to the
`BackendResponse` as it arrives, and spliced bytes never come here. If anything is invalid, the connection is dropped
and nothing of it is believed. A response that arrives before the end of the request's body, or that may have bytes
after it, ends a connection that would otherwise serve the next request.

A reader reads one response, and its connection has one reader at a time: `ReadConnection.reader`. Any other reader is
over.
"""

from __future__ import annotations

from functools import partial
from typing import Protocol as Interface

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.request import BackendRequest, ResponseReceiver
from s3proxy.backend.response import AnsweringConnection, BackendResponse
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import ResponseHead, parse_response_head
from s3proxy.s3.limits import KIB, MAX_HEAD_SIZE
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.splice import MIN_SPLICED_SIZE, Splice, begin_splice
from s3proxy.transport.writer import acknowledge_now

_STATUS_LINE_START = b"HTTP/1."

_SMALL_READ_SIZE = 16 * KIB
"""
After a read of fewer bytes, the backend's kernel may hold back the next ones until these are acknowledged.
"""

MAX_INTERIM_RESPONSES = 16
"""
Maximum number of interim responses to one request; a backend that sends more is faulty.
"""


class TrailingPool(Interface):
    """
    The pool of the connection: an `s3proxy.backend.pool.Pool`, which describes this attribute.
    """

    trails_heads: bool


class ReadConnection(AnsweringConnection, Interface):
    """
    The connection to read from: an `s3proxy.backend.connection.BackendConnection`, which describes these members.
    """

    deadline: Deadline
    reader: ResponseReader | None
    splice: Splice | None
    is_reused: bool
    is_body_sent: bool
    is_paused: bool
    may_trail: bool
    may_have_trailed: bool

    @property
    def pool(self) -> TrailingPool: ...

    def continue_received(self) -> None: ...

    def stop_body(self) -> None: ...

    def wait_for_rest(self) -> None: ...

    def pause_reading(self) -> None: ...

    def release(self, *, keeps_alive: bool) -> None: ...

    def drop(self, fault: BackendFault = ...) -> None: ...


class ResponseReader:
    """
    Reads the response to one request.

    Args:
        receiver: Gets the response as soon as its final head is complete.

    Attributes:
        request: The request of this response.
        receiver: The receiver that the reader was given.
        response: The response; None until its head is complete.
        is_silent: Whether no byte of the response has arrived yet.
        ends_with_connection: Whether only the end of the connection shows how long the body is.
    """

    __slots__ = (
        "_connection",
        "_framing",
        "_interim_count",
        "_keeps_alive",
        "_left",
        "_unread",
        "ends_with_connection",
        "is_silent",
        "receiver",
        "request",
        "response",
    )

    def __init__(self, connection: ReadConnection, request: BackendRequest, receiver: ResponseReceiver) -> None:
        self._connection = connection
        self.request = request
        self.receiver = receiver
        self.response: BackendResponse | None = None
        self.is_silent = True
        self.ends_with_connection = False
        self._unread = b""
        self._interim_count = 0
        self._left: int | None = 0
        self._framing: ChunkedFraming | None = None
        self._keeps_alive = True

    def read_head(self, data: bytes) -> None:
        """
        Receive bytes while there is no response yet.
        """
        connection = self._connection
        if (
            connection.is_reused
            and self.is_silent
            and not _STATUS_LINE_START.startswith(data[: len(_STATUS_LINE_START)])
        ):
            # This is the rest of an earlier response, for example a late body of one that must have none. No byte of a
            # response to this request has arrived.
            if connection.may_trail:
                connection.pool.trails_heads = True
            connection.drop(BackendFault.UNANSWERED)
            return
        self.is_silent = False
        self._unread += data
        while True:
            end = self._unread.find(b"\r\n\r\n")
            if end < 0 or end > MAX_HEAD_SIZE:
                if len(self._unread) > MAX_HEAD_SIZE:
                    connection.drop()
                else:
                    acknowledge_now(connection.transport)
                return
            try:
                head = parse_response_head(self._unread[:end])
            except BadRequest:
                connection.drop()
                return
            self._unread = self._unread[end + 4 :]
            if head.status >= 200:
                break
            self._interim_count += 1
            if head.status == 101 or self._interim_count > MAX_INTERIM_RESPONSES:
                connection.drop()
                return
            if head.status == 100:
                connection.continue_received()
                if connection.reader is not self:
                    # The body had failed already, and the request with it.
                    return
        self._begin(head)

    def _begin(self, head: ResponseHead) -> None:
        connection, request = self._connection, self.request
        self._keeps_alive = head.keeps_alive
        is_bodiless = request.method == b"HEAD" or head.status in {204, 304}
        connection.may_have_trailed = connection.may_trail
        connection.may_trail = is_bodiless and (head.is_chunked or head.content_length != 0)
        if is_bodiless:
            self._left = 0
        elif head.is_chunked:
            self._left = None
            self._framing = ChunkedFraming()
        else:
            self._left = head.content_length
            if head.content_length is None:
                self.ends_with_connection = True
                self._keeps_alive = False
        if not connection.is_body_sent:
            # A response before the end of the request's body: s3proxy reads no more from the client, and the connection
            # serves no other request.
            self._keeps_alive = False
            connection.stop_body()
        rest, self._unread = self._unread, b""
        if is_bodiless and (rest or (connection.may_trail and connection.pool.trails_heads)):
            # Walrus sends a document after the head of a response to HEAD. It is not read, and the connection is not
            # used again: the document would be taken for the beginning of the next response.
            connection.pool.trails_heads = True
            self._keeps_alive = False
            rest = b""
        if self._left is not None and len(rest) > self._left:
            self._drop_surplus()
            return
        if self._left is not None and len(rest) == self._left:
            # The whole response came at once. The connection may serve another request before the body has a receiver.
            response = BackendResponse(request, head, self._left, None, rest)
            connection.release(keeps_alive=self._keeps_alive)
            self.receiver.answered(response)
            return
        self.response = response = BackendResponse(request, head, self._left, connection)
        if rest:
            self.read_body(response, rest)
        else:
            # Many storage systems write the head and the body apart.
            acknowledge_now(connection.transport)
        if connection.reader is self:
            connection.pause_reading()
            # If no receiver is given in time, none will be.
            connection.wait_for_rest()
        if response.failure is not None:
            # Invalid bytes arrived with the head, and no caller has seen the head yet.
            self.receiver.not_answered(response.failure)
        else:
            self.receiver.answered(response)

    def _drop_surplus(self) -> None:
        """
        Reset the connection: more bytes came than the response has. The response may be the body of an earlier one.
        """
        if self._connection.may_have_trailed:
            self._connection.pool.trails_heads = True
        self._connection.drop()

    def read_body(self, response: BackendResponse, data: bytes) -> None:
        """
        Receive bytes once there is a response.
        """
        if self._framing is not None:
            self._read_chunks(response, self._framing, data)
            return
        connection, left = self._connection, self._left
        if left is not None:
            if len(data) > left:
                self._drop_surplus()
                return
            self._left = left = left - len(data)
        if data:
            if left != 0 and not connection.is_paused:
                connection.wait_for_rest()
            if left != 0 and len(data) < _SMALL_READ_SIZE:
                acknowledge_now(connection.transport)
            response.received((data,))
        if left == 0 and connection.reader is self:
            self._end(response)
        elif left is not None and left >= MIN_SPLICED_SIZE and connection.splice is None:
            self._try_to_splice(response, left)

    def _try_to_splice(self, response: BackendResponse, left: int) -> None:
        """
        Splice the rest of a response, if its bytes need not pass through this process.
        """
        connection, target = self._connection, response.splice_target
        if target is not None and connection.reader is self and not connection.is_paused:
            connection.splice = begin_splice(
                connection.transport,
                target,
                left,
                partial(self._rest_moved, response),
                partial(self._rest_spliced, response),
            )

    def _rest_moved(self, response: BackendResponse, size: int) -> None:
        assert self._left is not None
        self._left -= size
        self._connection.wait_for_rest()
        response.moved(size)

    def _rest_spliced(self, response: BackendResponse) -> None:
        self._connection.splice = None
        self._end(response)

    def _end(self, response: BackendResponse) -> None:
        # First, because the end of the response may lead to the next request.
        self._connection.release(keeps_alive=self._keeps_alive)
        response.ended(None)

    def _read_chunks(self, response: BackendResponse, framing: ChunkedFraming, data: bytes) -> None:
        connection = self._connection
        pieces = framing.feed(data)
        if framing.fault is not None:
            connection.drop()
            return
        if not framing.is_complete and len(data) < _SMALL_READ_SIZE:
            acknowledge_now(connection.transport)
        if pieces:
            response.received(pieces)
        if connection.reader is not self:
            return
        if framing.remainder:
            connection.drop()
        elif framing.is_complete:
            response.trailers = framing.trailers
            self._end(response)
        elif pieces and not connection.is_paused:
            # Single bytes of a chunk's size do not prolong the deadline.
            connection.wait_for_rest()
