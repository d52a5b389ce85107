"""
What Signature V4 covers of a body to the backend: its hash, nothing, or each of its chunks.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.awschunked.encoder import CHUNK_SIZE, ChunkEncoder
from s3proxy.backend.request import BackendLimits
from s3proxy.body.plan import BodyLimits
from s3proxy.s3.head import RequestHead
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from tests.support.backpressure import BLOCKS, BUFFER, KERNEL, STOP_AFTER
from tests.support.chunks import Chunks, read_chunks
from tests.support.harness import Harness, turns, until
from tests.support.payloads import backend_signer, field, stored
from tests.support.posts import upload
from tests.support.signer import (
    EMPTY,
    HASH,
    SIGNED_CHUNKS,
    SIGNED_TRAILER,
    UNSIGNED,
    UNSIGNED_TRAILER,
    Signer,
)
from tests.support.socket_client import SocketClient
from tests.support.wire_cases import element

KIB = 1024
TARGET = "/test-bucket/key"
BODY = bytes(range(251)) * 2000
WITHOUT_HASH = (UNSIGNED, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
STREAMING = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"


def read(head: RequestHead, body: bytes) -> Chunks:
    """
    Read what a backend got, and verify the signatures of its head and of its chunks with s3proxy's key.
    """
    authorization = field(head, "authorization") or ""
    seed = authorization.rpartition("Signature=")[2]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = {name: field(head, name) or "" for name in names if name not in {"host", "x-amz-date"}}
    signer = backend_signer(field(head, "host") or "")
    assert signer.head("PUT", head.raw_target.decode(), signed, payload=STREAMING)[1] == seed
    return read_chunks(body, signer, seed)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("size", [65_537, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE, len(BODY)])
@pytest.mark.parametrize("mode", WITHOUT_HASH)
@pytest_twisted.ensureDeferred
async def test_a_streamed_body_goes_in_chunks(mode: str, size: int, tls: bool) -> None:
    """
    Whatever the client's payload mode, the backend gets chunks signed by s3proxy's key, of the length that its head
    states.
    """
    harness = Harness(payload="chunks", is_tls=tls)
    request = Signer().put(TARGET, BODY[:size], mode)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    chunks = read(got.head, got.body)
    assert response.status == 200
    assert field(got.head, "x-amz-content-sha256") == STREAMING
    assert field(got.head, "x-amz-decoded-content-length") == str(size)
    assert field(got.head, "content-length") == str(got.size)
    assert field(got.head, "content-encoding") is None
    assert chunks.is_complete
    assert chunks.data == BODY[:size]
    assert max(chunks.sizes) == CHUNK_SIZE
    assert harness.records[0].object_size == size


@pytest.mark.parametrize("coding", ["gzip", "gzip, br"])
@pytest_twisted.ensureDeferred
async def test_an_objects_own_coding_stays(coding: str) -> None:
    """
    Nothing is added to it: many backends would store ``aws-chunked`` with the object.
    """
    harness = Harness(payload="chunks")
    request = Signer().put(TARGET, BODY, UNSIGNED, headers={"content-encoding": coding})
    await harness.request(request.head, request.body)
    await harness.close()

    assert field(stored(harness).head, "content-encoding") == coding


@pytest.mark.parametrize(
    ("payload", "mode", "size", "expected"),
    [
        ("auto", UNSIGNED, len(BODY), UNSIGNED),
        ("auto", HASH, len(BODY), "hash"),
        ("auto", SIGNED_CHUNKS, 1000, "hash"),
        ("unsigned", UNSIGNED, len(BODY), UNSIGNED),
        ("unsigned", HASH, len(BODY), UNSIGNED),
        ("unsigned", HASH, 1000, UNSIGNED),
        ("unsigned", SIGNED_TRAILER, 1000, UNSIGNED),
        ("unsigned", HASH, 0, UNSIGNED),
        ("chunks", HASH, len(BODY), "hash"),
        ("chunks", UNSIGNED, 1000, "hash"),
        ("chunks", SIGNED_CHUNKS, 0, "hash"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_covered(payload: str, mode: str, size: int, expected: str) -> None:
    """
    The hash of a held body or the one claimed; nothing if the backend accepts no hashes.
    """
    harness = Harness(payload=payload)
    request = Signer().put(TARGET, BODY[:size], mode)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    digest = hashlib.sha256(BODY[:size]).hexdigest()
    assert response.status == 200
    assert field(got.head, "x-amz-content-sha256") == (digest if expected == "hash" else expected)
    assert (got.body, field(got.head, "content-encoding")) == (BODY[:size], None)


@pytest.mark.parametrize(("payload", "expected"), [("auto", EMPTY), ("chunks", EMPTY), ("unsigned", UNSIGNED)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_requests_without_a_body(method: str, payload: str, expected: str) -> None:
    """
    Also the GET that finds out why a HEAD was refused.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    )
    harness = Harness(payload=payload, backend=backend)
    await harness.request(Signer().head(method, TARGET)[0])
    await harness.close()

    hashes = [field(request.head, "x-amz-content-sha256") for request in backend.requests]
    assert hashes == [expected] * (2 if method == "HEAD" else 1)


@pytest.mark.parametrize(
    ("payload", "checksum", "expected"),
    [
        ("auto", True, "hash"),
        ("auto", False, UNSIGNED),
        ("chunks", True, "hash"),
        ("chunks", False, STREAMING),
        ("unsigned", True, UNSIGNED),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_known_of_a_body_on_disk(payload: str, checksum: bool, expected: str) -> None:
    """
    A verified checksum is the hash. Without one the body is read once, and is sent in chunks or not covered.
    """
    harness = Harness(payload=payload, spools=True)
    digest = hashlib.sha256(BODY)
    headers = {"x-amz-checksum-sha256": base64.b64encode(digest.digest()).decode()} if checksum else {}
    request = Signer().put(TARGET, BODY, UNSIGNED, headers=headers)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert field(got.head, "x-amz-content-sha256") == (digest.hexdigest() if expected == "hash" else expected)
    assert (read(got.head, got.body).data if expected == STREAMING else got.body) == BODY


@pytest_twisted.ensureDeferred
async def test_a_forms_file_goes_in_chunks() -> None:
    """
    If it is not on disk, its hash is unknown.
    """
    harness = Harness(payload="chunks", body_limits=BodyLimits(streams_forms=True))
    form = upload(BODY)
    response = await harness.request(form.head, form.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 204
    assert (read(got.head, got.body).data, got.head.method) == (BODY, b"PUT")


@pytest_twisted.ensureDeferred
async def test_what_nobody_signed_we_do_not_sign() -> None:
    """
    An anonymous upload is sent on as it came: its chunks would need s3proxy's signature.
    """
    harness = Harness(payload="chunks", anonymous=Anonymous(passes=True))
    head = f"PUT {TARGET} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: {len(BODY)}\r\n\r\n"
    response = await harness.request(head.encode(), BODY)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert got.body == BODY
    assert {b"authorization", b"x-amz-content-sha256", b"x-amz-decoded-content-length"}.isdisjoint(got.head.fields)


# The commit guard


def broken(mode: str, size: int, fault: str) -> tuple[bytes, bytes]:
    """
    Return a head and a body that must be refused at its end.
    """
    body = BODY[:size]
    headers = {}
    if fault == "checksum":
        headers["x-amz-checksum-sha256"] = base64.b64encode(hashlib.sha256(b"another").digest()).decode()
    request = Signer().put(TARGET, body, mode, headers=headers)
    wire = request.body
    if fault == "signature":
        # Of the zero chunk only: all data is good.
        at = wire.rindex(b"chunk-signature=") + 16
        wire = wire[:at] + (b"1" if wire[at : at + 1] == b"0" else b"0") + wire[at + 1 :]
    elif fault == "data":
        at = len(wire) - len(wire) % CHUNK_SIZE // 2 - 200
        wire = wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]
    return request.head, wire


FAULTS = [
    (SIGNED_CHUNKS, "signature", "SignatureDoesNotMatch"),
    (SIGNED_TRAILER, "signature", "SignatureDoesNotMatch"),
    (SIGNED_CHUNKS, "data", "SignatureDoesNotMatch"),
    (UNSIGNED, "checksum", "BadDigest"),
]


@pytest.mark.parametrize("small_body", [64 * KIB, 0])
@pytest.mark.parametrize("size", [1, 65_537, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE, len(BODY)])
@pytest.mark.parametrize(("mode", "fault", "code"), FAULTS)
@pytest_twisted.ensureDeferred
async def test_a_refused_body_is_not_complete(mode: str, fault: str, code: str, size: int, small_body: int) -> None:
    """
    The backend has neither the last data chunk nor the zero chunk, and its connection was reset.
    """
    cuts: list[tuple[RequestHead, bytes]] = []
    backend = FaultyBackend()
    backend.on_lost = lambda connection: cuts.append((connection.head, b"".join(connection._pieces)))  # type: ignore[arg-type]
    harness = Harness(payload="chunks", backend=backend, body_limits=BodyLimits(small_body=small_body))
    head, body = broken(mode, size, fault)
    response = await harness.request(head, body)
    await turns(5)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (400 if code == "BadDigest" else 403, code)
    assert backend.requests == []
    for cut_head, wire in cuts:
        if cut_head is None:
            continue
        chunks = read(cut_head, wire)
        assert not chunks.is_complete
        assert len(chunks.data) <= (size - 1) // CHUNK_SIZE * CHUNK_SIZE


@pytest.mark.parametrize("mode", WITHOUT_HASH)
@pytest.mark.parametrize("size", [65_537, 2 * CHUNK_SIZE])
@pytest_twisted.ensureDeferred
async def test_a_length_which_never_comes(mode: str, size: int) -> None:
    """
    A client that leaves before the end leaves no complete request at the backend.
    """
    harness = Harness(payload="chunks")
    request = Signer().put(TARGET, BODY[:size], mode)
    client = await harness.connect()
    client.send(request.head + request.body[:-1] if mode == UNSIGNED else request.head + request.body[:-100])
    await until(lambda: harness.backend.connections and harness.backend.connections[0].head)
    await turns(20)
    client.transport.abortConnection()
    await until(lambda: harness.backend.connections[0].lost)
    await harness.close()

    assert harness.backend.requests == []
    assert harness.backend.partial_count == 1


@pytest_twisted.ensureDeferred
async def test_an_early_success_is_never_believed() -> None:
    """
    A backend that sends 200 before the zero chunk is reset.
    """
    backend = FaultyBackend()
    backend.on_head = lambda connection, head: respond_ok(connection, ReceivedRequest(head, b"", b"", 0, ""))
    harness = Harness(payload="chunks", backend=backend)
    request = Signer().put(TARGET, BODY, SIGNED_CHUNKS)
    client = await harness.connect()
    client.send(request.head + request.body[:200_000])
    response = await client.response("PUT")
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert response.status == 500
    assert harness.proxy.context.counts.committed_early == 1
    assert backend.requests == []


# Connections


@pytest_twisted.ensureDeferred
async def test_a_stale_connection_is_not_the_clients_problem() -> None:
    """
    A pooled connection that fails with the first block: the same chunks are sent on another one, and are all valid.
    """
    backend = FaultyBackend()
    harness = Harness(payload="chunks", backend=backend)
    client = await harness.connect()
    client.send(Signer().head("GET", TARGET)[0])
    await client.response()
    backend.requests.clear()
    heads: list[RequestHead] = []

    def on_head(connection: FaultyConnection, head: RequestHead) -> None:
        heads.append(head)
        if len(heads) == 1:
            connection.reset()

    backend.on_head = on_head
    request = Signer().put(TARGET, BODY, UNSIGNED)
    client.send(request.head + request.body[:100_000])
    await until(lambda: len(heads) == 2)
    client.send(request.body[100_000:])
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert response.status == 200
    got = stored(harness)
    assert heads[0].headers == heads[1].headers
    assert read(got.head, got.body).data == BODY


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("mode", WITHOUT_HASH)
@pytest_twisted.ensureDeferred
async def test_a_stopped_backend_stops_the_client(mode: str, tls: bool) -> None:
    """
    What the client can send stops at what the backend has read, the kernel's buffers, two blocks and a chunk.
    """
    backend = FaultyBackend(socket_buffer=BUFFER)
    backend.pause_after = STOP_AFTER
    harness = Harness(
        payload="chunks",
        backend=backend,
        limits=BackendLimits(socket_buffer=BUFFER),
        socket_buffer=BUFFER,
        is_tls=tls,
    )
    body = BODY * 16
    request = Signer().put(TARGET, body, mode)
    client = SocketClient(harness.port.getHost().port, BUFFER)
    if tls:
        await client.start_tls()
    client.put(request.head + request.body)
    await client.settle()

    (connection,) = backend.connections
    assert STOP_AFTER < client.sent <= connection.received_size + KERNEL + BLOCKS + CHUNK_SIZE
    assert client.sent < len(request.body) / 2
    assert harness.proxy.held_size <= BLOCKS + CHUNK_SIZE

    connection.resume()
    await client.until_answered()
    status = client.status
    client.close()
    await harness.close()
    assert status == 200
    got = stored(harness)
    assert read(got.head, got.body).data == body


@pytest_twisted.ensureDeferred
async def test_a_fast_upload_which_stalls_keeps_no_large_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Blocks of a MiB are read while the backend is fast; afterwards the encoder keeps no view of one.
    """
    kept: list[int] = []
    feed = ChunkEncoder.feed

    def feeding(self: ChunkEncoder, pieces: Any) -> Any:
        encoded = feed(self, pieces)
        kept.append(sum({id(view.obj): memoryview(view.obj).nbytes for view in self._kept}.values()))
        return encoded

    monkeypatch.setattr(ChunkEncoder, "feed", feeding)
    harness = Harness(payload="chunks", backend=FaultyBackend(keeps_bodies=False))
    request = Signer().put(TARGET, BODY * 60, UNSIGNED)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert response.status == 200
    assert max(kept) <= 2 * CHUNK_SIZE
