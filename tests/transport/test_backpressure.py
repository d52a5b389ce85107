"""
A slow party stops the other, all the way, by counting bytes: no clock, no queue.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.request import BackendLimits
from s3proxy.backend.upload import Upload
from s3proxy.frontend.hold import Hold
from s3proxy.frontend.request import StreamedRequest
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.transport.splice import PIPE_SIZE
from s3proxy.transport.writer import FIRST_READ_SIZE, DirectWriter
from tests.support.backpressure import BLOCKS, BUFFER, KERNEL, MIB, STOP_AFTER
from tests.support.harness import Harness, turns, until, until_steady
from tests.support.liveness import Ledger
from tests.support.signer import HASH, MODES, SIGNED_CHUNKS, UNSIGNED, Signer
from tests.support.socket_client import SocketClient

TLS_OVERHEAD = 16384 + 1024
"Bytes added to a block: the beginning of a record from the read before, and what records add."
BODY = bytes(range(256)) * (8 * MIB // 256)


def make_harness(*, tls: bool, backend: FaultyBackend) -> Harness:
    """
    Return a proxy with small kernel buffers everywhere, with TLS on both sides or on none.
    """
    return Harness(backend=backend, limits=BackendLimits(socket_buffer=BUFFER), socket_buffer=BUFFER, is_tls=tls)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """
    Count the pauses at each step of a PUT.
    """
    counted: Counter[str] = Counter()
    for class_ in (StreamedRequest, Upload, BackendConnection):
        for name in ("pauseProducing", "resumeProducing"):
            original = getattr(class_, name)

            def counting(self: Any, _original: Any = original, _key: str = f"{class_.__name__}.{name}") -> None:
                counted[_key] += 1
                _original(self)

            monkeypatch.setattr(class_, name, counting)
    return counted


CASES = [
    (mode, transfer_chunks, tls)
    for mode in MODES
    for transfer_chunks in ((0, 16384) if mode.startswith("STREAMING") else (0,))
    for tls in (False, True)
]


@pytest.mark.parametrize(("mode", "transfer_chunks", "tls"), CASES)
@pytest_twisted.ensureDeferred
async def test_a_stopped_backend_stops_the_client(
    mode: str, transfer_chunks: int, tls: bool, calls: Counter[str]
) -> None:
    """
    What the client can send stops at what the backend has read, the kernel's buffers and two blocks; then all arrives.
    """
    backend = FaultyBackend(socket_buffer=BUFFER, keeps_bodies=False)
    backend.pause_after = STOP_AFTER
    harness = make_harness(tls=tls, backend=backend)
    request = Signer().put("/test-bucket/key", BODY, mode, transfer_chunks=transfer_chunks)
    client = SocketClient(harness.port.getHost().port, BUFFER)
    if tls:
        await client.start_tls()
    client.put(request.head + request.body)

    await client.settle()

    (channel,) = harness.site.channels
    (connection,) = backend.connections
    taken = client.sent
    assert STOP_AFTER < taken <= connection.received_size + KERNEL + BLOCKS
    assert taken < len(request.body) / 2
    assert channel.holds.reasons == {Hold.BACKEND}
    raw = channel.transport if not tls else channel.transport.transport
    assert raw not in reactor.getReaders()
    assert not backend.requests
    for arrow in ("StreamedRequest", "Upload", "BackendConnection"):
        assert calls[f"{arrow}.pauseProducing"] > 0, arrow

    connection.resume()
    await client.until_answered()

    assert client.status == 200
    assert backend.requests[0].sha256 == hashlib.sha256(BODY).hexdigest()
    assert not channel.holds.reasons
    client.close()
    await harness.close()


class Pump:
    """
    A backend's response, written as its socket accepts it.
    """

    def __init__(self, connection: FaultyConnection, chunked: bool) -> None:
        self.sent = 0
        self._connection = connection
        self._chunked = chunked
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(BODY)
        connection.send(b"HTTP/1.1 200 OK\r\n%s\r\n\r\n" % framing)
        connection.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece = BODY[self.sent : self.sent + 65536]
        self.sent += len(piece)
        data = b"%x\r\n%s\r\n" % (len(piece), piece) if self._chunked else piece
        if self.sent == len(BODY):
            self._connection.transport.unregisterProducer()
            data += b"0\r\n\r\n" if self._chunked else b""
        self._connection.transport.write(data)

    def stopProducing(self) -> None:
        pass


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_stopped_client_stops_the_backend(chunked: bool, tls: bool) -> None:
    """
    What is taken from the backend settles at the kernel's buffers and two blocks; later all arrives, byte for byte.
    """
    backend = FaultyBackend(socket_buffer=BUFFER)
    pumps: list[Pump] = []

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        pumps.append(Pump(connection, chunked))

    backend.on_request = on_request
    harness = make_harness(tls=tls, backend=backend)
    head, _ = Signer().head("GET", "/test-bucket/key")
    client = SocketClient(harness.port.getHost().port, BUFFER)
    if tls:
        await client.start_tls()
    client.put(head)

    await until_steady(lambda: client.pump(reads=False) or (pumps[0].sent if pumps else None))

    (connection,) = harness.pool.connections
    raw = connection.transport if not tls else connection.transport.transport
    assert pumps[0].sent <= KERNEL + BLOCKS + 2 * 65536
    assert raw not in reactor.getReaders()

    while client.received_size < len(BODY):
        client.pump()
        assert client.end is None
        await turns()
    await until(lambda: client.pump() or client.received.endswith(b"0\r\n\r\n") or not chunked)

    header, _, body = client.received.partition(b"\r\n\r\n")
    if chunked:
        pieces, rest = [], body
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            pieces.append(rest[: int(size, 16)])
            rest = rest[int(size, 16) + 2 :]
        body = b"".join(pieces)
    else:
        await until(lambda: client.pump() or client.received_size >= len(header) + 4 + len(BODY))
        body = client.received.partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(body).hexdigest() == hashlib.sha256(BODY).hexdigest()
    client.close()
    await harness.close()


@pytest_twisted.ensureDeferred
async def test_without_the_pause_the_bound_is_missed(monkeypatch: pytest.MonkeyPatch, liveness: Ledger) -> None:
    """
    The tests above would notice: if the writer pauses no producer, far more is read from the client.
    """
    monkeypatch.setattr(DirectWriter, "_pause", lambda self: None)
    backend = FaultyBackend(socket_buffer=BUFFER, keeps_bodies=False)
    backend.pause_after = STOP_AFTER
    harness = make_harness(tls=False, backend=backend)
    request = Signer().put("/test-bucket/key", BODY, HASH)
    client = SocketClient(harness.port.getHost().port, BUFFER)
    client.put(request.head + request.body)

    for _ in range(3000):
        client.pump()
        await turns()

    assert client.sent > backend.connections[0].received_size + KERNEL + BLOCKS
    client.close()
    await harness.close()
    # The rules of a writer notice it, too.
    assert any(words.endswith("bytes wait and its source is not paused") for words in liveness.faults)
    liveness.faults.clear()


@pytest.mark.parametrize("mode", [UNSIGNED, SIGNED_CHUNKS])
@pytest_twisted.ensureDeferred
async def test_a_fast_upload_which_stalls_keeps_a_small_block(mode: str) -> None:
    """
    Blocks grow while the backend is fast. The one that it does not accept is a small one, or stays in a pipe.
    """
    most = FIRST_READ_SIZE if mode == SIGNED_CHUNKS else PIPE_SIZE
    buffer = 8 * BUFFER
    backend = FaultyBackend(socket_buffer=buffer, keeps_bodies=False)
    backend.pause_after = 16 * MIB
    harness = Harness(backend=backend, limits=BackendLimits(socket_buffer=buffer), socket_buffer=buffer)
    request = Signer().put("/test-bucket/key", BODY * 3, mode)
    client = SocketClient(harness.port.getHost().port, buffer)
    client.put(request.head + request.body)
    sizes = [0]

    def sent() -> int:
        client.pump()
        sizes.extend(channel.transport.bufferSize for channel in harness.site.channels)
        return client.sent

    await until_steady(sent)
    held = harness.proxy.held_size
    client.close(reset=True)
    await harness.close()

    assert max(sizes) > FIRST_READ_SIZE
    assert 0 < held <= most


@pytest_twisted.ensureDeferred
async def test_a_fast_download_over_tls_which_stalls_keeps_a_small_block() -> None:
    """
    Blocks of a backend's records grow while the client is fast. The one that it does not accept is a small one.
    """
    buffer = 8 * BUFFER
    backend = FaultyBackend(socket_buffer=buffer)
    backend.on_request = lambda connection, request: Pump(connection, chunked=False)
    harness = Harness(backend=backend, limits=BackendLimits(socket_buffer=buffer), socket_buffer=buffer, is_tls=True)
    head, _ = Signer().head("GET", "/test-bucket/key")
    client = SocketClient(harness.port.getHost().port, buffer)
    await client.start_tls()
    client.put(head)
    largest = 0
    while client.received_size < 2 * MIB:
        client.pump(keeps=False)
        assert client.end is None
        await turns()
        for connection in harness.pool.connections:
            largest = max(largest, connection.transport.transport.bufferSize)

    await until_steady(lambda: harness.proxy.held_size or None)
    held = harness.proxy.held_size
    client.close(reset=True)
    await harness.close()

    assert largest > FIRST_READ_SIZE
    assert 0 < held <= FIRST_READ_SIZE + TLS_OVERHEAD
