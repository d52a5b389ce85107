"""
The body of one request as it arrives from a client: where it ends, and which request receives its bytes.

The end is known from the beginning, by Content-Length, or is found on the way, in chunked coding; there is a class for
each. A body passes its bytes to its request at once and keeps none. It returns what follows its end to the channel,
which reads the next request there. The channel decides whether the client is read, and how long s3proxy waits for it.

Only a body of known length can be spliced. If its bytes need not pass through this process, the kernel moves them from
the client's socket to the backend's. The last bytes are read instead, because their consumer withholds them.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Protocol

from s3proxy.frontend.deadlines import ClientDeadlines
from s3proxy.frontend.hold import Holds
from s3proxy.s3.errors import IncompleteBody, S3Error
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import KIB
from s3proxy.transport.splice import MIN_SPLICED_SIZE, Splice, begin_splice
from s3proxy.transport.writer import FIRST_READ_SIZE, DirectWriter

MAX_DRAINED_SIZE = 64 * KIB
"""
Bytes of an unread body that are read and dropped to keep a connection; if there are more, it is closed.
"""


class BodyReceiver(Protocol):
    """
    The request that receives a body: a `s3proxy.frontend.request.StreamedRequest`, or an application's.
    """

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The writer that the body may be spliced to; None if the bytes must pass through this process.
        """

    def bodyReceived(self, data: bytes) -> None: ...

    def bodyMoved(self, size: int) -> None: ...


class IncomingBody:
    """
    The state of a body on a channel. This base class is the body of a request without one.

    Attributes:
        left: Bytes that must still arrive; 0 if that is not known.
        is_complete: Whether the end has arrived.
        fault: The error in the framing; None if it is correct so far.
        needs_continue: Whether the client waits for 100 Continue before it sends.
        may_be_spliced: Whether the body is long enough for splicing. If not, `splice` and `resume` do nothing.
    """

    left = 0
    is_complete = False
    fault: S3Error | None = None
    needs_continue = False
    may_be_spliced = False

    def receive(self, data: bytes) -> bytes:
        """
        Deliver the body's part of some bytes; return the bytes after its end.
        """
        return data

    @property
    def can_be_drained(self) -> bool:
        """
        Whether the rest is short enough to be read and dropped, to keep the connection.
        """
        return False

    def drain(self) -> None:
        """
        Deliver no more: the request has its response, and the rest of the body is dropped as it arrives.
        """

    def incomplete(self, missing: int) -> IncompleteBody:
        """
        Return the error for a client that ended before its body did.

        Args:
            missing: Bytes that will never arrive.
        """
        return IncompleteBody()

    def splice(self) -> None:
        """
        Begin to splice if that is possible now. Called between two reads.
        """

    def resume(self) -> None:
        """
        Continue splicing: the client is read again.
        """

    def stop(self) -> None:
        """
        Stop splicing: the rest of the body is read again.
        """


NO_BODY = IncomingBody()
"""
The body of a request without one, or of a request whose body is over.
"""


class WholeBodyReceiver(Protocol):
    """
    The request of a body that came with its head: an `s3proxy.frontend.application.ClientRequest`.
    """

    is_unjudged: bool

    def bodyCame(self, data: bytes) -> None: ...


def take_whole(request: WholeBodyReceiver, head: RequestHead, data: bytes) -> int:
    """
    Give a request its whole body, if that came with its head: it is never an `IncomingBody`, and nobody waits for it.

    Args:
        data: The bytes after the head.

    Returns:
        Bytes of the body; 0 if it did not come whole, or the request does not take it so.
    """
    length = head.content_length
    # Whoever may wait for 100 Continue is told when to go on.
    if not length or len(data) < length or not request.is_unjudged or b"expect" in head.fields:
        return 0
    request.bodyCame(data if len(data) == length else data[:length])
    return length


class LengthBody(IncomingBody):
    """
    A body with a Content-Length.

    Args:
        transport: The client's transport.
        deadlines: The client's deadlines.
        holds: The reasons for which the client is not read.
    """

    def __init__(
        self, request: BodyReceiver, head: RequestHead, transport: Any, deadlines: ClientDeadlines, holds: Holds
    ) -> None:
        self.left = self._length = head.content_length or 0
        self.needs_continue = head.expects_continue
        self.may_be_spliced = self.left >= MIN_SPLICED_SIZE
        self._request: BodyReceiver | None = request
        self._transport = transport
        self._deadlines = deadlines
        self._holds = holds
        self._splice: Splice | None = None

    def receive(self, data: bytes) -> bytes:
        self.needs_continue = False
        left, size = self.left, len(data)
        request = self._request
        if size < left:
            self.left = left - size
            if request is not None:
                request.bodyReceived(data)
            return b""
        self.left = 0
        self.is_complete = True
        if request is not None:
            request.bodyReceived(data if size == left else data[:left])
        return b"" if size == left else data[left:]

    @property
    def can_be_drained(self) -> bool:
        # A client that waits for 100 Continue may send its body or not. The next bytes could be the body or a request.
        return self.left <= MAX_DRAINED_SIZE and not self.needs_continue

    def drain(self) -> None:
        self._request = None

    def incomplete(self, missing: int) -> IncompleteBody:
        return IncompleteBody.of_length(self._length, self._length - missing)

    def splice(self) -> None:
        request = self._request
        target = request.splice_target if request is not None and self._splice is None else None
        if request is not None and target is not None:
            size = self.left - FIRST_READ_SIZE
            self._splice = begin_splice(
                self._transport, target, size, partial(self._spliced, request), self._splice_ended
            )

    def _spliced(self, request: BodyReceiver, size: int) -> None:
        self.left -= size
        if not self._holds.reasons:
            self._deadlines.await_body(size)
        request.bodyMoved(size)

    def _splice_ended(self) -> None:
        self._splice = None

    def resume(self) -> None:
        if self._splice is not None:
            self._splice.push()

    def stop(self) -> None:
        splice, self._splice = self._splice, None
        if splice is not None:
            splice.stop()


class ChunkedBody(IncomingBody):
    """
    A body in chunked transfer coding: its length is known only at its end.
    """

    def __init__(self, request: BodyReceiver, head: RequestHead) -> None:
        self.needs_continue = head.expects_continue
        self._request = request
        self._framing = ChunkedFraming()

    def receive(self, data: bytes) -> bytes:
        self.needs_continue = False
        framing = self._framing
        pieces = framing.feed(data)
        if pieces:
            self._request.bodyReceived(bytes(pieces[0]) if len(pieces) == 1 else b"".join(pieces))
        self.fault = framing.fault
        if framing.fault is not None or not framing.is_complete:
            return b""
        self.is_complete = True
        return framing.remainder
