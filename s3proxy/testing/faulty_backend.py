"""
A backend that a test controls: it responds early, late, wrongly or never, and keeps the requests that it receives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure

from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.testing.party import FaultyParty
from s3proxy.transport.writer import bound_socket_buffers

OK = b'HTTP/1.1 200 OK\r\nETag: "5d41402abc4b2a76b9719d911017c592"\r\nContent-Length: 0\r\n\r\n'
HELLO = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\n"


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """
    A complete request.

    Attributes:
        raw_head: The bytes of the head, including the empty line at its end.
        body: The bytes of the body; empty if bodies are not kept.
        size: The number of bytes of the body.
        sha256: The SHA-256 of the body, in lower-case hex.
    """

    head: RequestHead
    raw_head: bytes
    body: bytes
    size: int
    sha256: str


class FaultyConnection(FaultyParty):
    """
    One connection from the proxy.

    Attributes:
        head: The head of the request that is arriving; None between requests.
        size: Bytes that have arrived of the body of that request.
        received_size: Bytes that have arrived on the connection.
    """

    def __init__(self, backend: FaultyBackend) -> None:
        super().__init__()
        self.backend = backend
        self.head: RequestHead | None = None
        self.size = 0
        self.received_size = 0
        self._buffer = b""
        self._raw_head = b""
        self._pieces: list[bytes] = []
        self._hash = hashlib.sha256()
        self._has_ended = False

    def connectionMade(self) -> None:
        self.backend.connections.append(self)
        bound_socket_buffers(self.transport, self.backend.socket_buffer)
        self.backend.on_connection(self)

    def dataReceived(self, data: bytes) -> None:
        backend = self.backend
        if self._has_ended:
            # Under TLS, one read can deliver more after the bytes at which this end closed the connection.
            return
        self.received_size += len(data)
        if backend.reset_after is not None and self.received_size >= backend.reset_after:
            backend.reset_after = None
            self.reset()
            return
        if backend.end_after is not None and self.received_size >= backend.end_after:
            backend.end_after = None
            self._has_ended = True
            self.end()
            return
        if backend.pause_after is not None and self.received_size >= backend.pause_after:
            backend.pause_after = None
            self.pause()
        elif backend.read_rate is not None:
            self.rest_after(len(data), *backend.read_rate)
        self._read(data)

    def _read(self, data: bytes) -> None:
        while data or (self.head is not None and self.size == (self.head.content_length or 0)):
            if self.head is None:
                self._buffer += data
                raw_head, found, data = self._buffer.partition(b"\r\n\r\n")
                if not found:
                    return
                self._buffer = b""
                self._raw_head = raw_head + found
                self.head = parse_request_head(raw_head)
                self.size, self._pieces, self._hash = 0, [], hashlib.sha256()
                self.backend.on_head(self, self.head)
                continue
            left = (self.head.content_length or 0) - self.size
            piece, data = data[:left], data[left:]
            self.size += len(piece)
            self._hash.update(piece)
            if self.backend.keeps_bodies:
                self._pieces.append(piece)
            if self.size == (self.head.content_length or 0):
                self.backend.on_request(self, self._store(self.head))

    def _store(self, head: RequestHead) -> ReceivedRequest:
        request = ReceivedRequest(head, self._raw_head, b"".join(self._pieces), self.size, self._hash.hexdigest())
        self.head, self._pieces = None, []
        self.backend.requests.append(request)
        return request

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        backend = self.backend
        if self.head is not None or self._buffer:
            backend.partial_count += 1
        if self.head is not None and backend.commits_short_bodies:
            self._store(self.head)
        backend.on_lost(self)


def respond_ok(connection: FaultyConnection, request: ReceivedRequest) -> None:
    """
    Respond 200; to a GET with the body ``hello``.
    """
    connection.send(HELLO + b"hello" if request.head.method == b"GET" else OK)


def _do_nothing(*ignored: object) -> None:
    pass


class FaultyBackend(Factory):
    """
    The factory of a listening backend. Replace its ``on_`` functions to make it fail.

    Args:
        socket_buffer: The size of the kernel's buffers for each connection, in bytes; 0 leaves it to the kernel.
        keeps_bodies: Whether the bytes of bodies are kept. Their hashes are always kept.

    Attributes:
        connections: All connections so far, in order.
        requests: The complete requests so far, in order.
        pause_after: Stop reading the next connection that has sent this many bytes; None for never. Used once.
        reset_after: Reset the next connection that has sent this many bytes; None for never. Used once.
        end_after: Close the next connection that has sent this many bytes; None for never. Used once.
        read_rate: The bytes per second to read from a connection, and the clock for the pauses; None for no limit.
        commits_short_bodies: Whether a body that was cut short makes a request, too, with the bytes that arrived.
        partial_count: The number of connections that ended within a request.
        on_connection: Called with each new connection.
        on_head: Called with a connection and a head, before the body.
        on_request: Called with a connection and a complete request; `respond_ok` by default.
        on_lost: Called with a connection that has ended.
    """

    noisy = False

    def __init__(self, *, socket_buffer: int = 0, keeps_bodies: bool = True) -> None:
        self.socket_buffer = socket_buffer
        self.keeps_bodies = keeps_bodies
        self.connections: list[FaultyConnection] = []
        self.requests: list[ReceivedRequest] = []
        self.partial_count = 0
        self.behave()

    def behave(self) -> None:
        """
        End all faults: restore the defaults, and continue to read from the open connections.
        """
        self.pause_after: int | None = None
        self.reset_after: int | None = None
        self.end_after: int | None = None
        self.read_rate: tuple[float, IReactorTime] | None = None
        self.commits_short_bodies = False
        self.on_connection: Callable[[FaultyConnection], None] = _do_nothing
        self.on_head: Callable[[FaultyConnection, RequestHead], None] = _do_nothing
        self.on_request: Callable[[FaultyConnection, ReceivedRequest], None] = respond_ok
        self.on_lost: Callable[[FaultyConnection], None] = _do_nothing
        for connection in self.connections:
            if connection.lost is None:
                connection.resume()

    def buildProtocol(self, addr: IAddress | None) -> FaultyConnection:
        return FaultyConnection(self)
