"""
A client's checksum in a trailer, sent to backends that accept trailers and to those that do not.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import replace

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.awschunked.encoder import CHUNK_SIZE
from s3proxy.backend.request import BackendLimits
from s3proxy.body.plan import BodyLimits
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.s3.head import RequestHead
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from tests.support.backpressure import BLOCKS, BUFFER, KERNEL, STOP_AFTER
from tests.support.harness import Harness, turns, until
from tests.support.memory import MemoryProxy, Stored
from tests.support.payloads import backend_signer, field, stored
from tests.support.signer import HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer
from tests.support.socket_client import SocketClient
from tests.support.wire_cases import element

KIB = 1024
TARGET = "/test-bucket/key"
STORED = b'HTTP/1.1 200 OK\r\nETag: "an-entity-tag"\r\nContent-Length: 0\r\n\r\n'
PART = f"{TARGET}?partNumber=1&uploadId=u"
BODY = bytes(range(251)) * 2000
CRC32 = "x-amz-checksum-crc32"
MODES = (UNSIGNED_TRAILER, SIGNED_TRAILER)
TAKING = tuple(profile.name for profile in PROFILES.values() if profile.takes_trailers)
ONWARD = {"auto": UNSIGNED_TRAILER, "unsigned": UNSIGNED_TRAILER, "chunks": SIGNED_TRAILER}
"The payload that a backend gets, by its option ``payload``."


def crc32_of(body: bytes) -> str:
    """
    Return the CRC32 of a body, as in a header.
    """
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


def expected_body(head: RequestHead, body: bytes, mode: str) -> bytes:
    """
    Verify the signature of the backend's request with s3proxy's key; return the wire bytes of the body that match it.
    """
    authorization = field(head, "authorization") or ""
    seed = authorization.rpartition("Signature=")[2]
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    assert {"x-amz-trailer", "x-amz-decoded-content-length"} <= set(names)
    signed = {name: field(head, name) or "" for name in names if name not in {"host", "x-amz-date"}}
    signer = backend_signer(field(head, "host") or "")
    method, target = head.method.decode(), head.raw_target.decode()
    assert signer.head(method, target, signed, payload=mode)[1] == seed
    return signer.encode(body, mode, seed, CHUNK_SIZE)


@pytest.mark.parametrize("target", [TARGET, PART])
@pytest.mark.parametrize("size", [65_537, 2 * CHUNK_SIZE, len(BODY)])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", ONWARD)
@pytest.mark.parametrize("name", TAKING)
@pytest_twisted.ensureDeferred
async def test_a_trailer_goes_on(name: str, payload: str, mode: str, size: int, target: str) -> None:
    """
    Whatever the client's payload mode, the backend gets chunks and a trailer as s3proxy's key may send them, with the
    client's checksum; and nothing that would be stored with the object.
    """
    harness = Harness(profile=PROFILES[name], payload=payload)
    body = BODY[:size]
    request = Signer().put(target, body, mode, headers={"content-type": "text/plain"})
    response = await harness.request(request.head, request.body, step=50_000)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert field(got.head, "x-amz-content-sha256") == ONWARD[payload]
    assert field(got.head, "x-amz-trailer") == CRC32
    assert field(got.head, "x-amz-decoded-content-length") == str(size)
    assert field(got.head, "content-length") == str(got.size)
    assert field(got.head, "content-encoding") is None
    assert field(got.head, CRC32) is None
    assert got.body == expected_body(got.head, body, ONWARD[payload])
    assert response.header(CRC32) == crc32_of(body)
    assert harness.records[0].object_size == size


@pytest.mark.parametrize("payload", ONWARD)
@pytest_twisted.ensureDeferred
async def test_over_tls(payload: str) -> None:
    """
    The same, with TLS on both sides.
    """
    harness = Harness(profile=PROFILES["minio"], payload=payload, is_tls=True)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert got.body == expected_body(got.head, BODY, ONWARD[payload])


@pytest_twisted.ensureDeferred
async def test_an_announcement_is_written_anew() -> None:
    """
    In lower case and without what S3 ignores; an object's own coding stays.
    """
    harness = Harness(profile=PROFILES["minio"])
    signer = Signer()
    wire = signer.encode(BODY, UNSIGNED_TRAILER, "", CHUNK_SIZE)
    headers = {
        "x-amz-trailer": "X-Amz-Checksum-CRC32,",
        "x-amz-decoded-content-length": str(len(BODY)),
        "x-amz-sdk-checksum-algorithm": "CRC32",
        "content-encoding": "gzip,aws-chunked",
    }
    length = {"Content-Length": str(len(wire))}
    head, _ = signer.head("PUT", TARGET, headers, payload=UNSIGNED_TRAILER, unsigned=length)
    response = await harness.request(head, wire)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert field(got.head, "x-amz-trailer") == CRC32
    assert field(got.head, "content-encoding") == "gzip"
    assert got.body == expected_body(got.head, BODY, UNSIGNED_TRAILER)


# Requests without a trailer


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name in PROFILES if name not in TAKING])
@pytest_twisted.ensureDeferred
async def test_others_get_a_plain_body(name: str, mode: str) -> None:
    """
    A backend whose profile does not say that it accepts trailers gets none.
    """
    harness = Harness(profile=PROFILES[name])
    harness.backend.on_request = lambda connection, _: connection.send(STORED)
    request = Signer().put(TARGET, BODY, mode)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert (got.body, field(got.head, "x-amz-content-sha256")) == (BODY, UNSIGNED)
    assert {b"x-amz-trailer", b"x-amz-decoded-content-length", CRC32.encode()}.isdisjoint(got.head.fields)


@pytest.mark.parametrize("signature", ["v2", "none"])
@pytest.mark.parametrize("payload", ["auto", "unsigned"])
@pytest_twisted.ensureDeferred
async def test_no_trailer_without_signature_v4(payload: str, signature: str) -> None:
    """
    Other signatures have no such bodies.
    """
    harness = Harness(profile=PROFILES["minio"], payload=payload, signature=signature)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert got.body == BODY
    assert {b"x-amz-trailer", b"x-amz-content-sha256"}.isdisjoint(got.head.fields)


@pytest_twisted.ensureDeferred
async def test_no_trailer_of_what_nobody_signed() -> None:
    """
    s3proxy does not sign an anonymous upload, so it has no trailer.
    """
    harness = Harness(profile=PROFILES["minio"], anonymous=Anonymous(passes=True))
    wire = Signer().encode(BODY, UNSIGNED_TRAILER, "", CHUNK_SIZE)
    head = (
        f"PUT {TARGET} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: {len(wire)}\r\nx-amz-trailer: {CRC32}\r\n"
        f"x-amz-decoded-content-length: {len(BODY)}\r\nx-amz-content-sha256: {UNSIGNED_TRAILER}\r\n\r\n"
    )
    response = await harness.request(head.encode(), wire)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert got.body == BODY
    assert {b"authorization", b"x-amz-trailer"}.isdisjoint(got.head.fields)


@pytest.mark.parametrize("mode", [HASH, UNSIGNED, SIGNED_CHUNKS])
@pytest_twisted.ensureDeferred
async def test_a_body_without_a_trailer_is_as_ever(mode: str) -> None:
    """
    A body is not put into chunks for a checksum that is in the head or does not exist.
    """
    harness = Harness(profile=PROFILES["minio"])
    request = Signer().put(TARGET, BODY, mode, headers={CRC32: crc32_of(BODY)})
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert (got.body, field(got.head, CRC32)) == (BODY, crc32_of(BODY))
    assert b"x-amz-trailer" not in got.head.fields


# Checksums known before the head is sent


@pytest.mark.parametrize("target", [TARGET, PART])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("payload", ONWARD)
@pytest_twisted.ensureDeferred
async def test_a_small_body_needs_no_trailer(payload: str, mode: str, target: str) -> None:
    """
    The whole body was verified: its checksum is a header.
    """
    harness = Harness(profile=PROFILES["minio"], payload=payload)
    request = Signer().put(target, BODY[:1000], mode)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert (got.body, field(got.head, CRC32)) == (BODY[:1000], crc32_of(BODY[:1000]))
    assert b"x-amz-trailer" not in got.head.fields


@pytest.mark.parametrize(
    ("name", "target", "is_told"),
    [
        ("minio", TARGET, True),
        ("minio", PART, True),
        ("versitygw", PART, True),
        ("generic", TARGET, True),
        ("generic", PART, False),
        ("ceph-rgw", TARGET, False),
    ],
)
@pytest.mark.parametrize("in_trailer", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_body_on_disk_needs_no_trailer(*, in_trailer: bool, name: str, target: str, is_told: bool) -> None:
    """
    The same, if the backend knows checksums. The checksum is sent once, however it came.
    """
    harness = Harness(profile=PROFILES[name], spools=True)
    headers = {} if in_trailer else {CRC32: crc32_of(BODY)}
    request = Signer().put(target, BODY, UNSIGNED_TRAILER if in_trailer else UNSIGNED, headers=headers)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    assert response.status == 200
    assert got.body == BODY
    assert got.head.fields.get(CRC32.encode(), ()) == ((crc32_of(BODY).encode(),) if is_told else ())
    assert b"x-amz-trailer" not in got.head.fields


@pytest_twisted.ensureDeferred
async def test_chunks_of_a_body_on_disk() -> None:
    """
    They are signed as usual, after a head with the checksum.
    """
    harness = Harness(profile=PROFILES["minio"], payload="chunks", spools=True)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    response = await harness.request(request.head, request.body)
    await harness.close()

    got = stored(harness)
    seed = (field(got.head, "authorization") or "").rpartition("Signature=")[2]
    assert response.status == 200
    assert (field(got.head, CRC32), field(got.head, "x-amz-content-sha256")) == (crc32_of(BODY), SIGNED_CHUNKS)
    assert got.body == backend_signer().encode(BODY, SIGNED_CHUNKS, seed, CHUNK_SIZE)


# Uploads in parts


def upload_in_parts(proxy: MemoryProxy) -> tuple[Stored, ...]:
    """
    Begin an upload; send a small part and a large one, each with a trailer, and a third with a header; complete it.
    """
    document = (
        b"<CompleteMultipartUpload><Part><ChecksumCRC32>AAAAAA==</ChecksumCRC32><ETag>e</ETag>"
        b"<PartNumber>1</PartNumber></Part></CompleteMultipartUpload>"
    )
    begun = {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"}
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    ended = {CRC32: "AAAAAA==", "x-amz-checksum-type": "FULL_OBJECT", "content-md5": md5}
    parts = [
        Signer().put(PART, BODY[:1000], UNSIGNED_TRAILER),
        Signer().put(PART, BODY, UNSIGNED_TRAILER),
        Signer().put(PART, BODY, UNSIGNED, headers={CRC32: crc32_of(BODY)}),
    ]
    wire = Signer().head("POST", f"{TARGET}?uploads=", begun, unsigned={"Content-Length": "0"})[0]
    wire += b"".join(part.head + part.body for part in parts)
    payload, length = hashlib.sha256(document).hexdigest(), {"Content-Length": str(len(document))}
    wire += Signer().head("POST", f"{TARGET}?uploadId=u", ended, payload=payload, unsigned=length)[0] + document

    verdict = proxy.send(wire)

    assert verdict.statuses == (200,) * 5
    return verdict.stored


def checksum_headers(head: RequestHead) -> dict[str, str]:
    """
    Return the headers about checksums that a backend got.
    """
    found = {name.lower().decode(): value.decode() for name, value in head.headers}
    return {name: value for name, value in found.items() if re.match(r"x-amz-(checksum|trailer)|content-md5", name)}


@pytest.mark.parametrize("name", TAKING)
def test_a_backend_hears_all_of_an_upload_in_parts(name: str) -> None:
    """
    Its algorithm and type, each part's checksum, and those at its end pass unchanged.
    """
    begun, small, large, third, ended = upload_in_parts(MemoryProxy(profile=name))

    assert checksum_headers(begun.head) == {
        "x-amz-checksum-algorithm": "CRC32",
        "x-amz-checksum-type": "FULL_OBJECT",
    }
    assert checksum_headers(small.head) == {CRC32: crc32_of(BODY[:1000])}
    assert checksum_headers(large.head) == {"x-amz-trailer": CRC32}
    assert large.body == expected_body(large.head, BODY, UNSIGNED_TRAILER)
    assert checksum_headers(third.head) == {CRC32: crc32_of(BODY)}
    assert checksum_headers(ended.head).keys() == {CRC32, "x-amz-checksum-type", "content-md5"}
    assert b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32>" in ended.body


@pytest.mark.parametrize("name", ["generic", "ceph-rgw"])
def test_others_hear_nothing_of_it(name: str) -> None:
    """
    An upload that began with an algorithm would accept no part whose checksum comes too late.
    """
    requests = upload_in_parts(MemoryProxy(profile=name))

    assert [checksum_headers(request.head) for request in requests] == [{}] * 5
    assert requests[2].body == BODY
    assert b"Checksum" not in requests[4].body


# The commit guard


def broken(mode: str, body: bytes, fault: str) -> tuple[bytes, bytes]:
    """
    Return a head and a body that must be refused at its end.
    """
    request = Signer().put(TARGET, body, mode)
    wire = request.body
    value = f"{CRC32}:{crc32_of(body)}\r\n".encode()
    assert value in wire
    if fault == "checksum":
        wire = wire.replace(value, f"{CRC32}:{crc32_of(body + b'x')}\r\n".encode())
    elif fault == "no digest":
        wire = wire.replace(value, f"{CRC32}:AAAA\r\n".encode())
    elif fault == "missing":
        wire = wire.replace(value, b"")
    elif fault == "another":
        wire = wire.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-crc3x:")
    elif fault == "signature":
        at = wire.rindex(b"signature:") + 10
        wire = wire[:at] + (b"1" if wire[at : at + 1] == b"0" else b"0") + wire[at + 1 :]
    head = request.head.replace(b"Content-Length: %d" % len(request.body), b"Content-Length: %d" % len(wire))
    return head, wire


FAULTS = [
    (UNSIGNED_TRAILER, "checksum", "BadDigest"),
    (UNSIGNED_TRAILER, "no digest", "InvalidRequest"),
    (UNSIGNED_TRAILER, "missing", "MalformedTrailerError"),
    (UNSIGNED_TRAILER, "another", "MalformedTrailerError"),
    (SIGNED_TRAILER, "checksum", "SignatureDoesNotMatch"),
    (SIGNED_TRAILER, "signature", "SignatureDoesNotMatch"),
]


@pytest.mark.parametrize("small_body", [64 * KIB, 0])
@pytest.mark.parametrize("size", [1, 65_537, 2 * CHUNK_SIZE, len(BODY)])
@pytest.mark.parametrize(("mode", "fault", "code"), FAULTS)
@pytest.mark.parametrize("payload", ["auto", "chunks"])
@pytest_twisted.ensureDeferred
async def test_a_wrong_trailer_commits_nothing(
    payload: str, mode: str, fault: str, code: str, size: int, small_body: int
) -> None:
    """
    The backend has neither the body's last byte nor the zero chunk nor a trailer, and its connection was reset.
    """
    cuts: list[tuple[RequestHead, bytes]] = []
    backend = FaultyBackend()
    backend.on_lost = lambda connection: cuts.append((connection.head, b"".join(connection._pieces)))  # type: ignore[arg-type]
    harness = Harness(
        profile=PROFILES["minio"], payload=payload, backend=backend, body_limits=BodyLimits(small_body=small_body)
    )
    head, wire = broken(mode, BODY[:size], fault)
    response = await harness.request(head, wire)
    await turns(5)
    await harness.close()

    assert element(response.body, "Code") == code
    assert backend.requests == []
    for cut_head, sent in cuts:
        if cut_head is None:
            continue
        whole = expected_body(cut_head, BODY[:size], ONWARD[payload])
        assert whole.startswith(sent)
        # The end of the data, which is followed by the zero chunk.
        assert len(sent) < whole.rindex(b"\r\n0")


@pytest.mark.parametrize("payload", ["auto", "chunks"])
@pytest.mark.parametrize("missing", [2, 40, 1000])
@pytest_twisted.ensureDeferred
async def test_an_end_which_never_comes(missing: int, payload: str) -> None:
    """
    A client that leaves before its trailer is complete leaves no complete request at the backend.
    """
    harness = Harness(profile=PROFILES["minio"], payload=payload)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    client = await harness.connect()
    client.send(request.head + request.body[:-missing])
    await until(lambda: harness.backend.connections and harness.backend.connections[0].head)
    await turns(20)
    (connection,) = harness.backend.connections
    sent, head = b"".join(connection._pieces), connection.head
    client.transport.abortConnection()
    await until(lambda: connection.lost)
    await harness.close()

    assert harness.backend.requests == []
    assert harness.backend.partial_count == 1
    assert head is not None
    whole = expected_body(head, BODY, ONWARD[payload])
    assert whole.startswith(sent)
    assert len(sent) < whole.rindex(b"\r\n0")


@pytest_twisted.ensureDeferred
async def test_an_early_success_is_never_believed() -> None:
    """
    A backend that sends 200 before the trailer is reset.
    """
    backend = FaultyBackend()
    backend.on_head = lambda connection, head: respond_ok(connection, ReceivedRequest(head, b"", b"", 0, ""))
    harness = Harness(profile=PROFILES["minio"], backend=backend)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    client = await harness.connect()
    client.send(request.head + request.body[:-60])
    response = await client.response("PUT")
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert response.status == 500
    assert harness.proxy.context.counts.committed_early == 1
    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_backends_own_verdict_is_passed_on() -> None:
    """
    The backend verifies again: it refuses bytes changed in transit, and the client gets its error.
    """
    backend = FaultyBackend()
    document = b"<Error><Code>BadDigest</Code></Error>"
    backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)
    )
    harness = Harness(profile=PROFILES["minio"], backend=backend)
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert (response.status, response.body) == (400, document)


# Connections


@pytest.mark.parametrize(("payload", "first"), [("auto", 30_000), ("chunks", 100_000)])
@pytest_twisted.ensureDeferred
async def test_a_stale_connection_is_not_the_clients_problem(payload: str, first: int) -> None:
    """
    A pooled connection that fails with the first block: the same chunks are sent on another one, and are all valid.
    """
    backend = FaultyBackend()
    harness = Harness(profile=PROFILES["minio"], payload=payload, backend=backend)
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
    request = Signer().put(TARGET, BODY, UNSIGNED_TRAILER)
    client.send(request.head + request.body[:first])
    await until(lambda: len(heads) == 2)
    client.send(request.body[first:])
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert response.status == 200
    got = stored(harness)
    assert heads[0].headers == heads[1].headers
    assert got.body == expected_body(got.head, BODY, ONWARD[payload])


@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_stopped_backend_stops_the_client(mode: str) -> None:
    """
    Without signatures s3proxy gathers nothing: it accepts from the client what the backend has read, what fits into the
    kernel's buffers, and two blocks.
    """
    backend = FaultyBackend(socket_buffer=BUFFER)
    backend.pause_after = STOP_AFTER
    limits = BackendLimits(socket_buffer=BUFFER)
    harness = Harness(profile=PROFILES["minio"], backend=backend, limits=limits, socket_buffer=BUFFER)
    body = BODY * 16
    request = Signer().put(TARGET, body, mode)
    client = SocketClient(harness.port.getHost().port, BUFFER)
    client.put(request.head + request.body)
    await client.settle()

    (connection,) = backend.connections
    assert STOP_AFTER < client.sent <= connection.received_size + KERNEL + BLOCKS
    assert harness.proxy.held_size <= BLOCKS

    connection.resume()
    await client.until_answered()
    status = client.status
    client.close()
    await harness.close()
    assert status == 200
    got = stored(harness)
    assert got.body == expected_body(got.head, body, UNSIGNED_TRAILER)


def test_who_takes_trailers_takes_checksums() -> None:
    """
    Only profiles that were proven to; a body whose checksum is known before its head needs no trailer.
    """
    assert TAKING == ("minio", "versitygw")
    assert all(PROFILES[name].takes_checksums for name in TAKING)
    assert not Profile("another", takes_checksums=True).takes_trailers
    assert replace(PROFILES["minio"], takes_trailers=False).takes_checksums
