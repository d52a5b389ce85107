"""
A backend's answer: its head as it came, and its body at the pace of whoever takes it.
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
    Where an answer comes from: an `s3proxy.backend.connection.BackendConnection`, which says what each of these does.
    """

    transport: Any

    def claimed(self, response: Any) -> None: ...

    def pause_answer(self) -> None: ...

    def resume_answer(self) -> None: ...

    def abort(self) -> None: ...


class BodyReceiver(Protocol):
    """
    Who takes the body of an answer.
    """

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Take bytes, in order. They may come while the answer is paused: those which were on their way.
        """

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Know that the whole body was given, or why its rest will not come.
        """

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        Where bytes may go without being given to it; None where it must see them.
        """

    def moved(self, size: int) -> None:
        """
        Know that bytes went there.
        """


class _ProtocolReceiver(SeesEachByte):
    """
    A Twisted protocol as a receiver: what treq and `readBody` bring.
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
    An answer whose head is complete.

    For relaying: `head`, `body_length`, `deliver`. For treq and its kind: the rest of `IResponse`; its `headers` are a
    copy, because treq's wrappers change them. It is also the transport of the protocol which `deliverBody` got.

    Attributes:
        head: As received.
        body_length: Bytes of the body which will come, or None where only its end tells. An answer to HEAD has 0,
            whatever its head declares.
        trailers: Of a chunked body, once it has ended.
        is_claimed: Whether somebody takes the body.
        is_complete: Whether the whole body arrived, delivered or not.
        failure: Why its rest will not come, once that is known.
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
    ) -> None:
        self.request = request
        self.head = head
        self.body_length = body_length
        self.trailers: HeaderList = []
        self.is_complete = False
        self.previousResponse: Any = None
        self._connection = connection
        self.is_claimed = False
        self._receiver: BodyReceiver | None = None
        self._early: list[Buffer] = []
        self.failure: Failure | None = None
        self._headers: Headers | None = None

    def deliver(self, receiver: BodyReceiver) -> None:
        """
        Give the body to a receiver, from its first byte on; what is there already comes at once.
        """
        if self.is_claimed:
            raise RuntimeError("this body was asked for before")
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
        Return the whole body, which is complete and was asked for by nobody.
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
        Want no more of it. The connection is reset; a receiver is told that the body was cut.
        """
        if self._connection is not None:
            self._connection.abort()

    # What the connection tells

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        Where the rest of the body may go without coming here.
        """
        return self._receiver.splice_target if self._receiver is not None else None

    def moved(self, size: int) -> None:
        """
        Know that bytes went there.
        """
        assert self._receiver is not None
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
        Know that the connection has no more of it: from here on it is somebody else's.
        """
        self._connection = None
        self.is_complete = failure is None
        self.failure = failure
        # They know each other; it is not needed any more.
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.bodyEnded(failure)

    # IPushProducer, and the transport of a protocol

    def pauseProducing(self) -> None:
        if self._connection is not None:
            self._connection.pause_answer()

    def resumeProducing(self) -> None:
        if self._connection is not None:
            self._connection.resume_answer()

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
