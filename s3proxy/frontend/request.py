"""
One request of a client: the head as soon as it is complete, then the body as it arrives, never stored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPullProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.frontend.deadlines import ClientDeadlines
from s3proxy.frontend.forwarded import Origin
from s3proxy.frontend.hold import Hold, Holds
from s3proxy.frontend.incoming_body import IncomingBody
from s3proxy.interfaces import IStreamedRequest, IStreamedResource
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead
from s3proxy.s3.header_names import MAX_KNOWN_SETS, form_of_lines, has_known_form
from s3proxy.s3.known import Known
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.writer import DirectWriter

_KNOWN_FORMS: Known[tuple[bytes, ...], bytes] = Known(MAX_KNOWN_SETS)


def _form_of(names: tuple[bytes, ...]) -> bytes:
    """
    Return the form of a head with certain names, to be filled in with status, reason and values.
    """
    form = b"HTTP/1.1 %d %s\r\n" + form_of_lines(names)
    return _KNOWN_FORMS.keep(names, form) if has_known_form(names) else form


class RequestChannel(Protocol):
    """
    The connection of a request: an `s3proxy.frontend.channel.S3Channel`, which describes these members.
    """

    transport: Any

    @property
    def origin(self) -> Origin: ...

    @property
    def writer(self) -> DirectWriter: ...

    @property
    def is_tls(self) -> bool: ...

    @property
    def holds(self) -> Holds: ...

    @property
    def deadlines(self) -> ClientDeadlines: ...

    @property
    def body(self) -> IncomingBody: ...

    def body_wanted(self) -> None: ...

    def response_begins(self) -> bool: ...

    def when_response_sent(self, sent: Callable[[], None]) -> None: ...

    def registerProducer(self, producer: Any, streaming: bool) -> Any: ...

    def unregisterProducer(self) -> Any: ...

    def requestDone(self, request: Any) -> None: ...

    def abort(self) -> None: ...


@implementer(IStreamedRequest, IPushProducer)
class StreamedRequest:
    """
    A request that a streamed resource gets at the end of the head. It is not a Twisted request.

    Args:
        resource: Renders the request.

    Attributes:
        writer: The writer of the response.
        head: The head as received. If a listed proxy is believed, its Host is the one that the proxy received.
        origin: The client, as far as it is known.
        received_size: Bytes of the body so far, without transfer coding.
        meter: Called with the number of bytes that arrived; None if no budget counts them.
    """

    def __init__(self, channel: RequestChannel, head: RequestHead, resource: IStreamedResource) -> None:
        self.channel = channel
        self.writer = channel.writer
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
        self._whole: bytes | None = None
        self._failure: S3Error | None = None
        self._gone: Callable[[], None] | None = None
        self._has_producer = False
        self._disconnected = False

    # Called by the channel

    def begin(self) -> None:
        """
        Render the resource: the body has yet to arrive.
        """
        self._resource.render(self)

    def bodyCame(self, data: bytes) -> None:
        """
        Take the whole body, which came with the head.
        """
        self.received_size = len(data)
        self.is_unjudged = False
        self._is_complete = True
        self._whole = data

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
        The writer that the body may be spliced to; None if the bytes must pass through this process.
        """
        return None if self.meter is not None else getattr(self._consumer, "splice_target", None)

    @property
    def takes_body(self) -> bool:
        """
        Whether the rest of the body is needed, now or once the head was judged.
        """
        return self.is_being_delivered or self.is_unjudged

    @property
    def is_being_delivered(self) -> bool:
        """
        Whether a consumer receives the body now, and must learn if its rest does not arrive.
        """
        return self._consumer is not None

    def bodyMoved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """
        self.received_size += size
        cast(Any, self._consumer).moved(size)

    def bodyEnded(self) -> None:
        """
        Called once the body is complete.
        """
        self._is_complete = True
        if self._consumer is not None:
            self._body_delivered(None)

    def bodyFailed(self, error: S3Error) -> None:
        """
        Called if the rest of the body will not arrive, or cannot be read.
        """
        self._failure = error
        if self._consumer is not None:
            self._body_delivered(error)

    def connectionLost(self, reason: Failure) -> None:
        """
        Called when the client's connection is lost.
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
        whole = self.take_body()
        for data in early if whole is None else [whole]:
            # The consumer may have responded to the bytes before, or the budget may have refused them.
            if self._consumer is consumer and not self.finished:
                consumer.write(data)
        if self._delivered is not None and (self._is_complete or self._failure is not None):
            self._body_delivered(self._failure)
        return result

    def take_body(self) -> bytes | None:
        """
        Return the whole body if it came with the head, instead of its delivery to a consumer; None if it did not.
        """
        body, self._whole = self._whole, None
        if body is not None and self.meter is not None:
            self.meter(len(body))
        return body

    def start_head_deadline(self) -> Deadline:
        """
        Return a deadline for a part of the body that is not authenticated: see `ClientDeadlines`.
        """
        return self.channel.deadlines.start_head_deadline()

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
        Deliver no more of the body: the channel drops the rest.
        """
        self._delivered = self._whole = None
        self._early = []
        self.is_unjudged = False
        self.channel.body.stop()
        self._detach_consumer()

    def pauseProducing(self) -> None:
        if not self._is_complete and not self.finished:
            self.channel.holds.hold(Hold.BACKEND)

    def resumeProducing(self) -> None:
        if not self.finished:
            self.channel.holds.release(Hold.BACKEND)

    def hold_for_budget(self) -> None:
        """
        Stop reading the body: the budget of bytes a second is spent.
        """
        self._hold(Hold.BUDGET)

    def release_for_budget(self) -> None:
        """
        Resume reading the body.
        """
        self._release(Hold.BUDGET)

    def hold_for_memory(self) -> None:
        """
        Stop reading the body: the memory for bodies is in use.
        """
        self._hold(Hold.MEMORY)

    def release_for_memory(self) -> None:
        """
        Resume reading the body.
        """
        self._release(Hold.MEMORY)

    def _hold(self, reason: Hold) -> None:
        if not self._is_complete and not self.finished:
            self.channel.holds.hold(reason)

    def _release(self, reason: Hold) -> None:
        if not self.finished:
            self.channel.holds.release(reason)

    def stopProducing(self) -> None:
        """
        Only pause: the exchange ends the client's connection, not the consumer of the body.
        """
        self.pauseProducing()

    # The response, for a streamed resource

    def on_gone(self, gone: Callable[[], None]) -> None:
        """
        Call a function once if the client's connection is lost before the response is complete.
        """
        self._gone = gone

    def respond(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], content: bytes = b"") -> None:
        """
        Send a whole response. `Content-Length` is added, and `Connection` if needed.
        """
        self.write_response(status, reason, headers, content)
        self.finish_response()

    def write_response(
        self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]], content: bytes = b""
    ) -> None:
        """
        Write a whole response, but do not finish it yet.
        """
        if status != 204:
            # A 204 never has a body, and no Content-Length (RFC 9110, section 8.6).
            headers.append((b"Content-Length", b"%d" % len(content)))
        head = self.make_head(status, reason, headers)
        if self.head.method == b"HEAD":
            content = b""
        self.writer.write(head + content)

    def make_head(self, status: int, reason: bytes, headers: list[tuple[bytes, bytes]]) -> bytes:
        """
        Return a final head. The headers must include the framing of the body.
        """
        names, values = zip(*headers) if headers else ((), ())  # noqa: B905
        form = _KNOWN_FORMS.get(names) or _form_of(names)
        end = b"\r\n" if self.channel.response_begins() else b"Connection: close\r\n\r\n"
        return form % (status, reason, *values) + end

    @property
    def transport_to_read(self) -> Any:
        """
        The transport whose reads bring the body.
        """
        return self.channel.transport

    def respond_from(self, producer: IPushProducer | IPullProducer, *, streaming: bool = True) -> None:
        """
        Pause and resume a producer of the response at the client's pace.

        Args:
            streaming: Whether it is a push producer; a pull producer is called for each piece.
        """
        self.channel.registerProducer(producer, streaming)
        self._has_producer = True

    def forget_producer(self) -> None:
        """
        Forget the producer of the response, before its end.
        """
        if self._has_producer:
            self._has_producer = False
            self.channel.unregisterProducer()

    def when_response_sent(self, sent: Callable[[], None]) -> None:
        """
        Call a function once the client's socket has taken the whole response, or the connection is lost.
        """
        self.channel.when_response_sent(sent)

    def finish_response(self) -> None:
        """
        End the response: all of it was written.
        """
        if self.finished or self._disconnected:
            return
        self.finished = True
        if self._has_producer:
            self.channel.unregisterProducer()
        self._gone = None
        if not self._is_complete and self.head.has_body:
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
        Return the cipher suite and the version of the client's TLS; None for both if there is no TLS.
        """
        if not self.channel.is_tls or self._disconnected:
            return None, None
        connection = self.channel.transport.getHandle()
        if connection is None:
            return None, None
        return connection.get_cipher_name(), connection.get_protocol_version_name()
