"""
A small store that behaves as Walrus of Eucalyptus 3.4, or as another storage system of its time. It does not support
aws-chunked, and each of its quirks has a name.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.http import RESPONSES, HTTPChannel, HTTPFactory, Request

from s3proxy.testing.legacy_binding import parse_path, parse_query
from s3proxy.testing.legacy_messages import (
    Call,
    Fault,
    Fields,
    NoReply,
    Refusal,
    Reply,
    Stage,
    document_bytes,
    error_reply,
)
from s3proxy.testing.legacy_objects import IncomingBody, ObjectDirectory
from s3proxy.testing.legacy_operations import Operations
from s3proxy.testing.legacy_quirks import MODES, Quirks
from s3proxy.testing.legacy_signature import check_form, check_signature, fold_equal_headers

FULL_READ_SIZE = 65536
"""
The maximum number of bytes of one read from a socket: the default of Twisted.
"""

BUFFER_SIZE = 102_400
"""
The number of bytes of a body that the object storage gateway buffers.
"""

MAX_LINE_SIZE = 4096
"""
The maximum size of a request line in bytes, for Walrus.
"""

MAX_HEADERS_SIZE = 8192
"""
The maximum size of all headers of a request in bytes, including line ends, for Walrus.
"""

_HASH = re.compile(rb"[0-9a-f]{64}")
_EXACT_NAMES = {
    name.lower(): name
    for name in (b"Range", b"If-Match", b"If-None-Match", b"If-Modified-Since", b"If-Unmodified-Since")
}
_SPELLED = {b"etag": b"ETag"}
_DENIALS = frozenset({"InvalidAccessKeyId", "InvalidArgument", "RequestTimeTooSkewed", "SignatureDoesNotMatch"})

STEPS_PER_SECOND = 10
"""
Reads per second of a store with a limited rate. Each read needs a timer, so there are few; each pause is still short.
"""


class LegacyStore:
    """
    An older storage system, for tests. `make_factory` returns the factory to listen with.

    Args:
        directory: The directory for buckets and objects.
        keys: The secret access keys by access key id.
        wall_clock: Returns the current time, aware and in UTC.
        reactor: Sets the timers for a limited rate.
        quirks: How the store differs from S3.
        bytes_per_second: The rate at which the bodies of one connection are read; None for no limit. May be changed at
            any time.

    Attributes:
        commits_short_bodies: Whether a body that was cut short is stored as if it were complete. False by default, as
            with Walrus.
        aborted_count: The number of bodies that ended before they were complete. Nothing of them is kept, unless
            `commits_short_bodies` is set.
        refused_count: The number of requests that got an error.
        unanswered_count: The number of requests that never get a response.
        received_size: The number of bytes of bodies so far.
        channels: The open connections.
    """

    def __init__(
        self,
        directory: Path,
        keys: Mapping[str, str],
        *,
        wall_clock: Callable[[], datetime],
        reactor: Any,
        quirks: Quirks = MODES["walrus-3.4"],
        bytes_per_second: int | None = None,
    ) -> None:
        self.objects = ObjectDirectory(directory)
        self.wall_clock = wall_clock
        self.reactor = reactor
        self.quirks = quirks
        self.bytes_per_second = bytes_per_second
        self.commits_short_bodies = False
        self.aborted_count = 0
        self.refused_count = 0
        self.unanswered_count = 0
        self.received_size = 0
        self.channels: set[HTTPChannel] = set()
        self._keys = keys
        self._operations = Operations(self.objects, wall_clock, quirks)

    @property
    def stored_count(self) -> int:
        """
        The number of objects and parts that were stored.
        """
        return self._operations.stored_count

    @property
    def read_size(self) -> int:
        """
        The maximum number of bytes of one read from a socket, at the current rate.
        """
        if self.bytes_per_second is None:
            return FULL_READ_SIZE
        return max(1, min(FULL_READ_SIZE, self.bytes_per_second // STEPS_PER_SECOND))

    def make_factory(self) -> HTTPFactory:
        """
        Return a factory to listen with.
        """
        return _StoreFactory(self)

    def object_bytes(self, bucket: str, key: str) -> bytes | None:
        """
        Return the bytes of an object, or None if it does not exist.
        """
        folder = self.objects.bucket(bucket)
        stored = folder.find(key)
        return None if stored is None else folder.content_path(stored).read_bytes()

    def has_object(self, bucket: str, key: str) -> bool:
        """
        Return True if an object exists.
        """
        return self.objects.bucket(bucket).find(key) is not None

    def perform(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes], body: IncomingBody | None) -> Reply:
        """
        Verify the signature of a request, and carry the request out.

        Args:
            target: Path and query as received, still percent-encoded.
            fields: The values of headers, by name in lower case. Repeated headers are joined with a comma.
            body: The complete body; None if its length is 0.

        Raises:
            Refusal: The request has no signature that the store accepts, or cannot be carried out.
            Fault: The request cannot be carried out, and S3 has no error for the reason.
            NoReply: The request never gets a response.
        """
        quirks = self.quirks
        raw_path, _, raw_query = target.partition(b"?")
        if quirks.head_service_is_405 and method == b"HEAD" and raw_path.rstrip(b"/") == quirks.service_path:
            raise Refusal(405, "MethodNotAllowed", stage=Stage.BINDING)
        if quirks.three_error_forms and not raw_path.startswith(quirks.service_path):
            raise Refusal(404, "NoSuchKey", "no pipeline accepts it", stage=Stage.SERVER)
        is_signed = self._authenticate(method, target, fields)
        has_hash = _HASH.fullmatch(fields.get(b"x-amz-content-sha256", b"")) is not None
        if quirks.hashes_buffer and has_hash and body is not None and body.size > BUFFER_SIZE:
            raise Refusal(403, "AccessDenied", "the hash is not that of the body", stage=Stage.BINDING)
        bucket, key = parse_path(raw_path, quirks)
        query = parse_query(raw_query, quirks)
        call = Call(method, bucket, key, query, fields, body, not is_signed)
        return self._operations.perform(call)

    def _authenticate(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes]) -> bool:
        try:
            check_form(fields, target.partition(b"?")[2], self.quirks)
            return check_signature(method, target, fields, self._keys, self.wall_clock(), self.quirks)
        except Refusal as refusal:
            if not (self.quirks.denies_only and refusal.code in _DENIALS):
                raise
            raise Refusal(403, "AccessDenied", stage=Stage.BINDING) from None


class _StoreFactory(HTTPFactory):
    noisy = False

    def __init__(self, store: LegacyStore) -> None:
        super().__init__(reactor=store.reactor)
        self._store = store

    def log(self, request: object) -> None:
        """
        Write no access log: the process that runs the store has its own log.
        """

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel: Any = _StoreChannel(self._store)
        channel.factory = self
        channel.timeOut = None
        channel.requestFactory = lambda *arguments: _StoreRequest(self._store, *arguments)
        return channel


class _StoreChannel(HTTPChannel):
    def __init__(self, store: LegacyStore) -> None:
        super().__init__()
        self._store = store
        self._has_request_line = False
        self._headers_size = 0
        self.names: set[bytes] = set()

    def lineReceived(self, line: bytes) -> None:
        if self._store.quirks.short_heads:
            if self._has_request_line:
                self._headers_size += len(line) + 2
                if self._headers_size > MAX_HEADERS_SIZE:
                    self._refuse(400, f"HTTP header is larger than {MAX_HEADERS_SIZE} bytes.")
                    return
            elif len(line) > MAX_LINE_SIZE:
                self._refuse(500, f"HTTP input line longer than {MAX_LINE_SIZE} bytes")
                return
            self._has_request_line = bool(line)
            if not line:
                self._headers_size = 0
        super().lineReceived(line)

    def _refuse(self, status: int, message: str) -> None:
        self._store.refused_count += 1
        reply = error_reply(Refusal(status, "", message, stage=Stage.SERVER), b"GET", "", self._store.quirks)
        transport: Any = self.transport
        transport.write(head_bytes(reply, len(reply.content), closes=True) + reply.content)
        self.lineReceived = lambda line: None  # type: ignore[method-assign]
        transport.loseConnection()

    def headerReceived(self, line: bytes) -> bool:
        # Twisted does not keep the spelling of the names.
        self.names.add(line.partition(b":")[0])
        return bool(super().headerReceived(line))

    def connectionMade(self) -> None:
        super().connectionMade()
        self._store.channels.add(self)
        self.bound_reads()

    def dataReceived(self, data: bytes) -> None:
        try:
            super().dataReceived(data)
        except ValueError:
            # Python refuses to parse a Content-Length of 5,000 digits, and Twisted does not check the length first.
            transport: Any = self.transport
            transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._store.channels.discard(self)
        super().connectionLost(reason)

    def bound_reads(self) -> None:
        """
        Limit the size of a read to `LegacyStore.read_size`.
        """
        transport: Any = self.transport
        if hasattr(transport, "bufferSize"):
            transport.bufferSize = self._store.read_size


class _StoreRequest(Request):
    _log = Logger()
    defaultContentType = None

    def __init__(self, store: LegacyStore, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._store = store
        self._body: IncomingBody | None = None
        self._body_error: OSError | None = None
        self._is_receiving = False
        self._pause: IDelayedCall | None = None
        self._names: set[bytes] = set()

    # The body goes to a file as it arrives

    def gotLength(self, length: int | None) -> None:
        channel: Any = self.channel
        self._names, channel.names = channel.names, set()
        # Twisted would write the body to a file of its own, so it would be on disk twice.
        self.content = BytesIO()
        self._is_receiving = length != 0
        if length:
            # A body without a length is refused, so nothing of it is kept.
            self._write(b"")

    def handleContentChunk(self, data: bytes) -> None:
        self._store.received_size += len(data)
        if self._body is not None:
            self._write(data)
        self._pace(len(data))

    def _write(self, data: bytes) -> None:
        try:
            if self._body is None:
                self._body = self._store.objects.receive()
            self._body.write(data)
        except OSError as error:
            if self._body is not None and self._store.quirks.swallows_disk_errors:
                self._body.is_cut = True
                return
            # The client gets the error of a full disk after its body, when it reads the response.
            self._body_error = error
            self._discard()

    def _pace(self, size: int) -> None:
        channel: Any = self.channel
        channel.bound_reads()
        if self._store.bytes_per_second is None:
            return
        seconds = size / self._store.bytes_per_second
        if self._pause is not None:
            # This data was read before the transport was paused.
            self._pause.delay(seconds)
            return
        channel.transport.pauseProducing()
        self._pause = self._store.reactor.callLater(seconds, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        if self._is_receiving:
            channel: Any = self.channel
            channel.transport.resumeProducing()
        else:
            self._serve()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        if self._is_receiving or self._body is not None:
            self._store.aborted_count += 1
            if self._store.commits_short_bodies:
                channel: Any = self.channel
                self.method, self.uri = channel._command, channel._path
                with suppress(Refusal, Fault, NoReply):
                    self._reply()
        self._discard()
        super().connectionLost(reason)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        self._is_receiving = False
        # The rate applies to the last bytes, too. The channel continues to read once the request has its response.
        if self._pause is None:
            self._serve()

    def _discard(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.discard()

    # The response

    def _serve(self) -> None:
        quirks = self._store.quirks
        try:
            reply = self._reply()
        except (Refusal, Fault) as error:
            self._store.refused_count += 1
            reply = error_reply(error, self.method, secrets.token_hex(8).upper(), quirks)
        except NoReply:
            self._store.unanswered_count += 1
            return
        finally:
            # The file of a body that was stored has moved already.
            self._discard()
        channel: Any = self.channel
        if quirks.closes_after_reads and self.method == b"GET":
            reply.closes = True
        if reply.closes or reply.closes_silently:
            channel.persistent = False
        self._send(reply)

    def _reply(self) -> Reply:
        fields = Fields()
        quirks = self._store.quirks
        for name, values in self.requestHeaders.getAllRawHeaders():
            fields[name.lower()] = b",".join(fold_equal_headers(values) if quirks.folds_equal_headers else values)
        if quirks.exact_names:
            for lower, name in _EXACT_NAMES.items():
                if name not in self._names:
                    fields.pop(lower, None)
        fields.spelled = {name.lower(): name for name in self._names}
        try:
            if self._body_error is not None:
                raise self._body_error
            return self._store.perform(self.method, self.uri, fields, self._body)
        except (Refusal, Fault, NoReply):
            raise
        except Exception as error:
            self._log.error("500 InternalError: {error!r}", error=error)
            raise Fault("InternalError") from None

    def _send(self, reply: Reply) -> None:
        is_documented = reply.status == 304 and self._store.quirks.document_with_304
        if is_documented and not reply.content:
            reply.content = document_bytes("<Error><Code>NotModified</Code></Error>")
        size: int | None = len(reply.content) if reply.size is None else reply.size
        if (reply.status in {204, 304} and not is_documented) or reply.lacks_length:
            size = None
        channel: Any = self.channel
        # The head that Twisted writes always has a length or chunks, and Twisted sends no document after HEAD and 304.
        self.startedWriting = 1
        closes = not channel.persistent and not reply.closes_silently
        request_id = secrets.token_hex(8).upper().encode()
        channel.write(head_bytes(reply, size, closes=closes, request_id=request_id))
        if reply.file is None:
            if self.method != b"HEAD" or reply.documents_head:
                channel.write(reply.content)
            self.finish()
            return
        file = reply.file
        window = _Window(file, reply.size or 0)
        sending = FileSender().beginFileTransfer(window, self)

        def sent(result: object) -> None:
            file.close()
            # A failure means that the client has left.
            if not isinstance(result, Failure):
                if window.size_left:
                    # The content is shorter than its description: the client must not wait for the rest.
                    channel.persistent = False
                self.finish()

        sending.addBoth(sent)


class _Window:
    """
    A part of a file, beginning at the current position.

    Attributes:
        size_left: The number of bytes that are not read yet.
    """

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self.size_left = size

    def read(self, size: int) -> bytes:
        data = self._file.read(min(size, self.size_left))
        self.size_left -= len(data)
        return data


def head_bytes(reply: Reply, size: int | None, *, closes: bool, request_id: bytes = b"") -> bytes:
    """
    Return the head of a response.

    Args:
        size: The value of Content-Length; None for no such header.
        closes: Whether a header says that the connection ends.
    """
    reason = RESPONSES.get(reply.status, b"Unknown Status")
    lines = [b"HTTP/1.1 %d %s" % (reply.status, reason)]
    if not reply.is_bare:
        if request_id:
            lines.append(b"x-amz-request-id: " + request_id)
        for name, value in reply.headers.items():
            spelled = name if name.lower().startswith(b"x-amz-") else _SPELLED.get(name, name.title())
            lines.append(spelled + b": " + value)
        if size is not None:
            lines.append(b"Content-Length: %d" % size)
        if closes:
            lines.append(b"Connection: close")
    return b"\r\n".join(lines) + b"\r\n\r\n"
