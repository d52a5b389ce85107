"""
One request of a client: its head as soon as that is complete, then its body as it arrives, never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.frontend.forwarded import Origin
from s3proxy.frontend.hold import Hold
from s3proxy.interfaces import IStreamedRequest, IStreamedResource
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.writer import DirectWriter


class RequestChannel(Protocol):
    """
    The connection by which a request came: an `s3proxy.frontend.channel.S3Channel`, which says what each of these does.
    """

    transport: Any

    @property
    def origin(self) -> Origin: ...

    @property
    def writer(self) -> DirectWriter: ...

    @property
    def is_tls(self) -> bool: ...

    def send_continue(self) -> None: ...

    def body_wanted(self) -> None: ...

    def start_head_deadline(self) -> Deadline: ...

    def stop_splice(self) -> None: ...

    def hold(self, reason: Hold) -> None: ...

    def release(self, reason: Hold) -> None: ...

    def hold_for_backend(self) -> None: ...

    def release_for_backend(self) -> None: ...

    def answer_begins(self) -> bool: ...

    def when_answer_sent(self, sent: Callable[[], None]) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> Any: ...

    def unregisterProducer(self) -> Any: ...

    def requestDone(self, request: Any) -> None: ...

    def abort(self) -> None: ...


@implementer(IStreamedRequest, IPushProducer)
class StreamedRequest:
    """
    A request which a streamed resource sees at the end of its head. It is none of Twisted's own.

    Args:
        resource: Renders it.

    Attributes:
        head: As received; its Host as a listed proxy received it, where that is believed.
        origin: Whom it comes from.
        received_size: Bytes of the body so far, without transfer coding.
        meter: Told how many bytes of it came, where somebody pays for them.
    """

    def __init__(self, channel: RequestChannel, head: RequestHead, resource: IStreamedResource) -> None:
        self.channel = channel
        self.head = head
        self.origin = channel.origin
        self.received_size = 0
        self.meter: Callable[[int], None] | None = None
        self.is_unjudged = head.has_body
        self.finished = False
        self._resource = resource
        self._is_complete = False
        self._consumer: IConsumer | None = None
        self._delivered: Deferred[None] | None = None
        self._early: list[bytes] = []
        self._failure: S3Error | None = None
        self._gone: Callable[[], None] | None = None
        self._has_producer = False
        self._disconnected = False

    # What the channel tells

    def begin(self) -> None:
        """
        Have it rendered: its body has yet to come.
        """
        self._resource.render(self)

    def bodyReceived(self, data: bytes) -> None:
        """
        Take bytes of the body.
        """
        self.received_size += len(data)
        if self.finished:
            return
        if self.meter is not None:
            self.meter(len(data))
        if self._consumer is not None:
            self._consumer.write(data)
        elif self.is_unjudged:
            self._early.append(data)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        Where the body's bytes may go without being received; None where somebody must see them.
        """
        return None if self.meter is not None else getattr(self._consumer, "splice_target", None)

    @property
    def takes_body(self) -> bool:
        """
        Whether what still comes of the body goes to somebody, now or once its head was judged.
        """
        return self.is_being_delivered or self.is_unjudged

    @property
    def is_being_delivered(self) -> bool:
        """
        Whether somebody takes the body now, and is told if its rest does not come.
        """
        return self._consumer is not None

    def bodyMoved(self, size: int) -> None:
        """
        Know that bytes went there.
        """
        self.received_size += size
        cast(Any, self._consumer).moved(size)

    def bodyEnded(self) -> None:
        """
        Know that the body is complete.
        """
        self._is_complete = True
        if self._consumer is not None:
            self._body_delivered(None)

    def bodyFailed(self, error: S3Error) -> None:
        """
        Know that the rest of the body will not come, or cannot be read.
        """
        self._failure = error
        if self._consumer is not None:
            self._body_delivered(error)

    def connectionLost(self, reason: Failure) -> None:
        """
        Know that the client's connection is lost.
        """
        gone, self._gone = self._gone, None
        delivered, self._delivered = self._delivered, None
        if delivered is not None:
            self._detach_consumer()
        self._disconnected = True
        if gone is not None:
            gone()

    # The body, for a streamed resource

    def deliverBody(self, consumer: IConsumer) -> Deferred[None]:
        self._consumer = consumer
        result = self._delivered = Deferred()
        self.is_unjudged = False
        consumer.registerProducer(cast(Any, self), True)
        self.channel.body_wanted()
        early, self._early = self._early, []
        for data in early:
            consumer.write(data)
        if self._delivered is not None and (self._is_complete or self._failure is not None):
            self._body_delivered(self._failure)
        return result

    def start_head_deadline(self) -> Deadline:
        """
        Return a deadline for a part of the body which nobody has authenticated: see `S3Channel.start_head_deadline`.
        """
        return self.channel.start_head_deadline()

    def _body_delivered(self, error: S3Error | None) -> None:
        delivered, self._delivered = self._delivered, None
        if delivered is None:
            return
        self._detach_consumer()
        if error is None:
            delivered.callback(None)
        else:
            delivered.errback(error)

    def _detach_consumer(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.unregisterProducer()

    def stop_body(self) -> None:
        """
        Give no more of the body to its consumer: what still comes is the channel's to drop.
        """
        self._delivered = None
        self._early = []
        self.is_unjudged = False
        self.channel.stop_splice()
        self._detach_consumer()

    def pauseProducing(self) -> None:
        if not self._is_complete and not self.finished:
            self.channel.hold_for_backend()

    def resumeProducing(self) -> None:
        if not self.finished:
            self.channel.release_for_backend()

    def hold_for_budget(self) -> None:
        """
        Read no more of the body: what may come a second is spent.
        """
        self._hold(Hold.BUDGET)

    def release_for_budget(self) -> None:
        """
        Read on.
        """
        self._release(Hold.BUDGET)

    def hold_for_memory(self) -> None:
        """
        Read no more of the body: the memory for bodies is in use.
        """
        self._hold(Hold.MEMORY)

    def release_for_memory(self) -> None:
        """
        Read on.
        """
        self._release(Hold.MEMORY)

    def _hold(self, reason: Hold) -> None:
        if not self._is_complete and not self.finished:
            self.channel.hold(reason)

    def _release(self, reason: Hold) -> None:
        if not self.finished:
            self.channel.release(reason)

    def stopProducing(self) -> None:
        """
        Only pause: the exchange decides about the client's connection, not its backend.
        """
        self.pauseProducing()

    # The answer, for a streamed resource

    def on_gone(self, gone: Callable[[], None]) -> None:
        """
        Have this called once if the client's connection is lost before the answer is finished.
        """
        self._gone = gone

    def respond(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], content: bytes = b"") -> None:
        """
        Give a whole answer. `Content-Length` and, where it is due, `Connection` are added.
        """
        self.write_answer(status, reason, headers, content)
        self.finish_answer()

    def write_answer(
        self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], content: bytes = b""
    ) -> None:
        """
        Write a whole answer, and do not finish it yet.
        """
        if status != 204:
            # Which never has a body, and says no length (RFC 9110, section 8.6).
            headers.append((b"Content-Length", b"%d" % len(content)))
        head = self.make_head(status, reason, headers)
        if self.head.method == b"HEAD":
            content = b""
        self.channel.writer.write(head + content)

    def make_head(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """
        Write a final head. Its body's framing must be among the headers.
        """
        lines = [b"HTTP/1.1 %d %s\r\n" % (status, reason)]
        lines += [b"%s: %s\r\n" % header for header in headers]
        if not self.channel.answer_begins():
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        return b"".join(lines)

    @property
    def writer(self) -> DirectWriter:
        """
        Where the answer's bytes go.
        """
        return self.channel.writer

    @property
    def transport_to_read(self) -> Any:
        """
        The transport whose reads bring the body.
        """
        return self.channel.transport

    def answer_from(self, producer: IPushProducer) -> None:
        """
        Have a producer of the answer paused and resumed as the client takes it.
        """
        self.channel.registerProducer(producer, True)
        self._has_producer = True

    def when_answer_sent(self, sent: Callable[[], None]) -> None:
        """
        Have this called once the client's socket has taken the whole answer, or the connection is lost.
        """
        self.channel.when_answer_sent(sent)

    def finish_answer(self) -> None:
        """
        Say that the whole answer was written.
        """
        if self.finished or self._disconnected:
            return
        self.finished = True
        if self._has_producer:
            self.channel.unregisterProducer()
        self._gone = None
        self.stop_body()
        self.channel.requestDone(self)

    def abort(self) -> None:
        """
        Reset the client's connection.
        """
        self._gone = None
        if not self._disconnected:
            self.channel.abort()

    def tls_names(self) -> tuple[str | None, str | None]:
        """
        Return the cipher suite and the version of the client's TLS, None where there is none.
        """
        if not self.channel.is_tls or self._disconnected:
            return None, None
        connection = self.channel.transport.getHandle()
        if connection is None:
            return None, None
        return connection.get_cipher_name(), connection.get_protocol_version_name()
