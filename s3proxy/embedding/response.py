"""
The response to a request for an application's own resource.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.python.failure import Failure
from twisted.web.http import RESPONSES

from s3proxy.exchange.context import ClientContext
from s3proxy.exchange.record import own_headers
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import InternalError, S3Error
from s3proxy.s3.head import HeaderList, RequestHead
from s3proxy.s3.header import is_field_value, is_token
from s3proxy.transport.writer import DirectWriter

_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})
_WITHOUT_CONTENT = frozenset({204, 304})


class RespondingRequest(Protocol):
    """
    The request that gets a response: a `s3proxy.frontend.request.StreamedRequest`.
    """

    head: RequestHead
    writer: DirectWriter

    def make_head(self, status: int, reason: bytes, headers: HeaderList) -> bytes: ...

    def respond_from(self, producer: Any, *, streaming: bool = True) -> None: ...

    def forget_producer(self) -> None: ...

    def finish_response(self) -> None: ...

    def abort(self) -> None: ...


class ResourceResponse:
    """
    One response. Whatever comes after its end has no effect.

    Args:
        over: Called once when the response has ended, or the client has disconnected.

    Attributes:
        request_id: Names the request in its response and in the log.
        is_over: Whether that has happened.
    """

    __slots__ = ("_context", "_has_begun", "_left", "_over", "_producer", "_request", "is_over", "request_id")

    def __init__(self, context: ClientContext, request: RespondingRequest, over: Callable[[], None]) -> None:
        self._context = context
        self._request = request
        self._over = over
        self._has_begun = False
        self._left = 0
        self._producer: Any = None
        self.request_id = context.make_request_id()
        self.is_over = False

    def begin(self, status: int, headers: HeaderList, length: int) -> None:
        """
        Send the head.

        Args:
            length: Bytes of the content that will be written.

        Raises:
            ValueError: A header cannot be sent, or is one about the framing. Or the response has begun.
        """
        for name, value in headers:
            if not is_token(name) or not is_field_value(value) or name.lower() in _FRAMING:
                raise ValueError(f"a resource cannot send the header {name!r}")
        if not 200 <= status <= 599 or (length and status in _WITHOUT_CONTENT):
            raise ValueError(f"a resource cannot send {length} bytes with status {status}")
        if self._has_begun and not self.is_over:
            raise ValueError("the response has begun")
        self._send_head(status, RESPONSES.get(status, b"Unknown"), headers, length)

    def _send_head(self, status: int, reason: bytes, headers: HeaderList, length: int) -> None:
        if self.is_over:
            return
        self._has_begun = True
        self._left = length
        headers = [*own_headers(self._context, self.request_id), *headers]
        if status not in _WITHOUT_CONTENT:
            headers.append((b"Content-Length", b"%d" % length))
        self._request.writer.write(self._request.make_head(status, reason, headers))

    def write(self, data: bytes) -> None:
        """
        Send content.

        Raises:
            ValueError: The response has not begun, or this is more than its length.
        """
        if self.is_over:
            return
        if not self._has_begun or len(data) > self._left:
            raise ValueError("this is more content than the response has")
        self._left -= len(data)
        if self._request.head.method != b"HEAD" and data:
            self._request.writer.write(data)

    def write_from(self, producer: Any, *, streaming: bool) -> None:
        """
        Pause and resume a producer of content at the client's pace.
        """
        if self.is_over:
            producer.stopProducing()
        else:
            self._request.respond_from(producer, streaming=streaming)
            self._producer = producer

    def forget_producer(self) -> None:
        """
        Forget the producer of content: it has written everything.
        """
        self._producer = None
        if not self.is_over:
            self._request.forget_producer()

    def finish(self) -> None:
        """
        End the response. If content is missing, reset the connection: a cut response must not look complete.
        """
        if self.is_over:
            return
        if not self._has_begun or self._left:
            self._cut()
            return
        self.is_over = True
        self._producer = None
        self._request.finish_response()
        self._over()

    def fail(self, error: S3Error) -> None:
        """
        Send the document of an error; reset the connection if the response has begun.
        """
        if self.is_over:
            return
        if self._has_begun:
            self._cut()
            return
        headers: HeaderList = [(b"Content-Type", b"application/xml")]
        if error.retry_after is not None:
            headers.append((b"Retry-After", b"%d" % error.retry_after))
        if error.names_region:
            headers.append((b"x-amz-bucket-region", self._context.settings.realm.regions[0]))
        document = error_document(error, self.request_id, self._context.settings.host_id)
        self._send_head(error.status, error.code.encode(), headers, len(document))
        self.write(document)
        self.finish()

    def _cut(self) -> None:
        self._request.abort()
        self.gone()

    def gone(self) -> None:
        """
        Called when the client has disconnected.
        """
        if not self.is_over:
            self.is_over = True
            producer, self._producer = self._producer, None
            if producer is not None:
                self._request.forget_producer()
                producer.stopProducing()
            self._over()

    def error_of(self, error: BaseException | None) -> S3Error:
        """
        Return the client's error for an exception, and log it if it is not an S3Error.
        """
        if isinstance(error, S3Error):
            return error
        self._context.log.failure(
            "a request failed inside the application: {request_id}", Failure(error), request_id=self.request_id
        )
        return InternalError()
