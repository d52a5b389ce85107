"""
A backend's response: its head as received, and its body at the pace of its receiver.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer

from s3proxy.backend.request import BackendRequest
from s3proxy.s3.head import HeaderList, ResponseHead
from s3proxy.transport.writer import Buffer, DirectWriter, SeesEachByte


class AnsweringConnection(Protocol):
    """
    The connection of a response: an `s3proxy.backend.connection.BackendConnection`, which describes these members.
    """

    transport: Any

    def claimed(self, response: Any) -> None: ...

    def pause_response(self) -> None: ...

    def resume_response(self) -> None: ...

    def abort(self) -> None: ...


class BodyReceiver(Protocol):
    """
    Receives the body of a response.
    """

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Receive bytes, in order. A few may arrive after the response was paused.
        """

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Called once the whole body was delivered, or with the reason for which its rest will not arrive.
        """

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The writer that the body may be spliced to; None if the bytes must pass through this process.
        """

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """


class _ProtocolReceiver(SeesEachByte):
    """
    A Twisted protocol as a receiver, as treq and `readBody` use it.
    """

    def __init__(self, protocol: IProtocol) -> None:
        self._protocol = protocol

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self._protocol.dataReceived(bytes(piece))

    def bodyEnded(self, failure: Failure | None) -> None:
        self._protocol.connectionLost(failure if failure is not None else Failure(ResponseDone()))


@implementer(IResponse, IPushProducer)
class BackendResponse:
    """
    A response whose head is complete.

    For relaying: `head`, `body_length`, `deliver`. For treq and similar libraries: the rest of `IResponse`. Its
    `headers` are a copy, because treq's wrappers change them. The response is also the transport of the protocol that
    `deliverBody` got.

    Args:
        content: The whole body, if it has arrived.

    Attributes:
        head: The head as received.
        body_length: Bytes of the body that will arrive; None if only its end shows that. A response to HEAD has 0,
            whatever its head declares.
        trailers: The trailers of a chunked body, once it has ended.
        is_claimed: Whether the body has or had a receiver.
        is_complete: Whether the whole body arrived, delivered or not.
        failure: The reason for which the rest of the body will not arrive; None if there is no failure.
    """

    __slots__ = (
        "_connection",
        "_early",
        "_headers",
        "_receiver",
        "body_length",
        "failure",
        "head",
        "is_claimed",
        "is_complete",
        "previousResponse",
        "request",
        "trailers",
    )

    disconnecting = False

    def __init__(
        self,
        request: BackendRequest | None,
        head: ResponseHead,
        body_length: int | None,
        connection: AnsweringConnection | None,
        content: bytes | None = None,
    ) -> None:
        self.request = request
        self.head = head
        self.body_length = body_length
        self.trailers: HeaderList = []
        self.is_complete = content is not None
        self.previousResponse: Any = None
        self._connection = connection
        self.is_claimed = False
        self._receiver: BodyReceiver | None = None
        self._early: list[Buffer] = [content] if content else []
        self.failure: Failure | None = None
        self._headers: Headers | None = None

    def deliver(self, receiver: BodyReceiver) -> None:
        """
        Give the body to a receiver, from its first byte on. Bytes that have already arrived are delivered at once.
        """
        if self.is_claimed:
            raise RuntimeError("the body already has, or had, a receiver")
        self.is_claimed = True
        early, self._early = self._early, []
        if early:
            receiver.bodyReceived(early)
        if self.is_complete or self.failure is not None:
            receiver.bodyEnded(self.failure)
        elif self._connection is not None:
            self._receiver = receiver
            self._connection.claimed(self)

    def take_content(self) -> bytes:
        """
        Return the whole body. Only for a complete body without a receiver.
        """
        self.is_claimed = True
        early, self._early = self._early, []
        return bytes(early[0]) if len(early) == 1 else b"".join(early)

    @property
    def transport(self) -> Any:
        """
        The backend's transport while bytes may still come, else None.
        """
        return self._connection.transport if self._connection is not None else None

    def abort(self) -> None:
        """
        Give up the rest of the response. The connection is reset; a receiver learns that the body was cut.
        """
        if self._connection is not None:
            self._connection.abort()

    # Called by the connection

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The writer that the rest of the body may be spliced to; None if it must pass through this process.
        """
        return self._receiver.splice_target if self._receiver is not None else None

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """
        if self._receiver is not None:
            self._receiver.moved(size)

    def received(self, pieces: Sequence[Buffer]) -> None:
        """
        Take bytes off the connection.
        """
        if self._receiver is not None:
            self._receiver.bodyReceived(pieces)
        else:
            self._early.extend(pieces)

    def ended(self, failure: Failure | None) -> None:
        """
        Called when the response has ended: from here on the connection may serve another request.
        """
        self._connection = None
        self.is_complete = failure is None
        self.failure = failure
        # Drop the reference, because the two refer to each other.
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.bodyEnded(failure)

    # IPushProducer, and the transport of a protocol

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.pause_response()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.resume_response()

    stopProducing = loseConnection = abortConnection = abort

    # IResponse

    @property
    def version(self) -> tuple[bytes, int, int]:
        return b"HTTP", 1, int(self.head.version[-1:])

    @property
    def code(self) -> int:
        return self.head.status

    @property
    def phrase(self) -> bytes:
        return self.head.reason

    @property
    def headers(self) -> Headers:
        if self._headers is None:
            self._headers = Headers()
            for name, value in self.head.headers:
                self._headers.addRawHeader(name, value)
        return self._headers

    @property
    def length(self) -> Any:
        return UNKNOWN_LENGTH if self.body_length is None else self.body_length

    def setPreviousResponse(self, response: IResponse) -> None:
        self.previousResponse = response

    def deliverBody(self, protocol: IProtocol) -> None:
        protocol.makeConnection(cast(Any, self))
        self.deliver(_ProtocolReceiver(protocol))
