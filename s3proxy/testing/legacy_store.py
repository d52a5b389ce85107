"""
A small store which speaks as Walrus of Eucalyptus 3.4 did, or another of its time: no aws-chunked, and quirks by name.
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
Bytes of one read from a socket: Twisted's own.
"""

BUFFER_SIZE = 102_400
"""
Bytes of a body which the object storage gateway buffers.
"""

MAX_LINE_SIZE = 4096
"""
Bytes of a request line which Walrus reads.
"""

MAX_HEADERS_SIZE = 8192
"""
Bytes of all headers of a request which Walrus reads, with their line ends.
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
Reads of a store which has a pace: few enough for a timer each, and none is long.
"""


class LegacyStore:
    """
    The store.

    Args:
        directory: Where objects are kept.
        keys: Secrets by access key id.
        wall_clock: Aware, UTC.
        reactor: For the pace.
        quirks: What it does otherwise than S3.
        bytes_per_second: How fast each connection's bodies are read; None for no limit. May be changed at any time.

    Attributes:
        commits_short_bodies: Whether a body which was cut is stored as a whole one: false, as it was with Walrus.
        aborted_count: Bodies which ended before they were complete; nothing of them is kept.
        refused_count: Requests which were answered with an error.
        unanswered_count: Requests which never get a response.
        received_size: Bytes of bodies so far.
        channels: Connections which are open.
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
        Objects and parts which were stored.
        """
        return self._operations.stored_count

    @property
    def read_size(self) -> int:
        """
        Bytes of one read from a socket, at the present pace.
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
        Return an object's bytes, or None.
        """
        folder = self.objects.bucket(bucket)
        stored = folder.find(key)
        return None if stored is None else folder.content_path(stored).read_bytes()

    def has_object(self, bucket: str, key: str) -> bool:
        """
        Say whether there is such an object.
        """
        return self.objects.bucket(bucket).find(key) is not None

    def perform(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes], body: IncomingBody | None) -> Reply:
        """
        Judge a request, and do what it asks for.

        Args:
            target: Path and query as received.
            fields: Values by name in lower case; repeats are joined with a comma.
            body: All of it; None where its length is 0.

        Raises:
            Refusal: It was not signed, or not as the store wants it, or cannot be done.
            Fault: It cannot be done for a reason of the store's own.
            NoReply: It is never answered.
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
        Keep no log: whoever listens has one.
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
        # Twisted forgets how they were spelled.
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
            # Python reads no Content-Length of 5,000 digits, and Twisted does not ask first.
            transport: Any = self.transport
            transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._store.channels.discard(self)
        super().connectionLost(reason)

    def bound_reads(self) -> None:
        """
        Read no more at once than the pace allows for one step.
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

    # The body goes to a file as it comes

    def gotLength(self, length: int | None) -> None:
        channel: Any = self.channel
        self._names, channel.names = channel.names, set()
        # Twisted's own file would hold the body a second time.
        self.content = BytesIO()
        self._is_receiving = length != 0
        if length:
            # Without a length it is refused, and nothing of it is kept.
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
            # A full disk is told once the client reads: after the body.
            self._body_error = error
            self._discard()

    def _pace(self, size: int) -> None:
        channel: Any = self.channel
        channel.bound_reads()
        if self._store.bytes_per_second is None:
            return
        seconds = size / self._store.bytes_per_second
        if self._pause is not None:
            # Data which had been read before the transport was paused.
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
        # The last bytes have their time, too; the channel reads on once the request is done.
        if self._pause is None:
            self._serve()

    def _discard(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.discard()

    # The answer

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
            # What was stored is no longer where it came in.
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
        # Twisted's own head has a length or chunks, and no document after HEAD and 304.
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
            # A failure says that the client has left.
            if not isinstance(result, Failure):
                if window.size_left:
                    # The content is shorter than its description: the client must not wait for the rest.
                    channel.persistent = False
                self.finish()

        sending.addBoth(sent)


class _Window:
    """
    Part of a file, from where it stands.

    Attributes:
        size_left: Bytes still to be read.
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
        size: The length to declare; None for no such header.
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
