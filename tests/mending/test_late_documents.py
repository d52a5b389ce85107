"""
Operations that take minutes: the status comes at once, then white space, then the document. The client must see each of
them when it comes, and the document edited for it.

Source:
    "CompleteMultipartUpload", "CopyObject"; Swift's s3api and MinIO send white space in the same way.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Sequence
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from s3proxy.backend.relay import DocumentReader
from s3proxy.exchange.answering import EARLY_TIME
from s3proxy.exchange.exchange import Exchange
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.response import MAX_JUDGED_SIZE, MAX_NAMING_SIZE
from s3proxy.testing.faulty_backend import FaultyConnection
from s3proxy.testing.faulty_client import FaultyClient
from tests.support.carriers import v2
from tests.support.harness import Harness, turns, until
from tests.support.signer import Signer
from tests.support.wire_cases import element

PARTS = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nx-amz-request-id: theirs\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ERROR = b"<Error><Code>%s</Code><Message>no</Message><RequestId>theirs</RequestId><HostId>them</HostId></Error>"


def complete(target: str = "/test-bucket/k?uploadId=u") -> bytes:
    """
    Return a CompleteMultipartUpload, signed with Signature V4.
    """
    headers = {"Content-Length": str(len(PARTS))}
    return Signer().head("POST", target, unsigned=headers, payload=hashlib.sha256(PARTS).hexdigest())[0] + PARTS


def complete_v2() -> bytes:
    """
    The same, signed with Signature V2.
    """
    target = "/test-bucket/k?uploadId=u"
    return v2("POST", target, target, body=PARTS).head + PARTS


def copy(query: str = "") -> bytes:
    """
    Return a CopyObject, or UploadPartCopy.
    """
    headers = {"x-amz-copy-source": "/test-bucket/other"}
    return Signer().head("PUT", f"/test-bucket/k{query}", headers, unsigned={"Content-Length": "0"})[0]


def result(harness: Harness) -> bytes:
    """
    Return a result in which the backend names itself.
    """
    location = b"http://127.0.0.1:%d/test-bucket/k" % harness.backend_port.getHost().port
    return (
        b"<CompleteMultipartUploadResult><Location>%s</Location><ETag>e</ETag></CompleteMultipartUploadResult>"
        % location
    )


def reader_of(exchange: Exchange) -> DocumentReader | None:
    """
    Return the reader of the response's document.
    """
    return exchange._transfer._answering._reader if exchange._transfer is not None else None


def chunk(data: bytes) -> bytes:
    """
    Return one chunk of a response.
    """
    return b"%x\r\n%s\r\n" % (len(data), data)


class Slow:
    """
    A slow backend, and a client that watches it.
    """

    def __init__(self, **options: Any) -> None:
        self.harness = Harness(**options)
        self.client: FaultyClient
        self.backend: FaultyConnection

    async def ask(self, request: bytes) -> None:
        """
        Send a request, and wait until the backend has it.
        """
        backend = self.harness.backend
        backend.on_request = lambda connection, received: None
        self.client = await self.harness.connect()
        self.client.send(request)
        await until(lambda: backend.requests)
        self.backend = backend.connections[0]

    async def send(self, data: bytes, *, seen: bytes) -> None:
        """
        Let the backend send data, and wait until the client has seen the part that it must see.
        """
        self.backend.send(data)
        await until(lambda: seen in self.client.received)

    async def end(self, data: bytes = b"", method: str = "POST") -> Any:
        """
        Let the backend end its response; return the client's.
        """
        self.backend.send(data)
        response = await self.client.response(method)
        await self.harness.close()
        return response


WAITS: dict[str, Sequence[bytes]] = {
    "white space": [b" ", b"\n ", b"\r\n\t "],
    "declaration first": [DECLARATION, b" ", b"\n\n"],
    "declaration and line": [DECLARATION + b"\n", b" "],
    "byte order mark": [b"\xef\xbb\xbf" + DECLARATION, b" "],
    "cut declaration": [DECLARATION[:9], DECLARATION[9:] + b" ", b" "],
    "root first": [DECLARATION, b'<x:CompleteMultipartUploadResult xmlns:x="a>b">\n', b"  "],
}


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw", "osg-4.3"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_white_space_comes_at_once(signature: str, profile: str) -> None:
    """
    The client sees the head and each piece of white space as the backend sends it. Location is for the client.
    """
    for request in (complete(), complete_v2()):
        slow = Slow(profile=PROFILES[profile], signature=signature)
        await slow.ask(request)
        await slow.send(CHUNKED + chunk(b" "), seen=chunk(b" "))
        for _ in range(3):
            await slow.send(chunk(b"\n "), seen=chunk(b"\n "))
            slow.client.received = slow.client.received.replace(chunk(b"\n "), b"", 1)
        response = await slow.end(chunk(DECLARATION + result(slow.harness)) + b"0\r\n\r\n")

        assert response.status == 200
        # A declaration after white space is not valid XML.
        assert response.body.startswith(b" <Complete")
        assert element(response.body, "Location") == "http://s3.example.test/test-bucket/k"
        assert [name.lower() for name, _ in response.headers].count("x-amz-request-id") == 1
        assert "theirs" not in str(response.headers)


@pytest.mark.parametrize("waits", WAITS)
@pytest_twisted.ensureDeferred
async def test_what_comes_before_a_document(waits: str) -> None:
    """
    A backend may send anything to keep its client waiting: the declaration first, only white space, an unclosed root.
    """
    slow = Slow(clock=Clock())
    await slow.ask(complete())
    slow.backend.send(CHUNKED)
    for piece in WAITS[waits]:
        slow.backend.send(chunk(piece))
        await turns(5)
        assert slow.harness.clock is not None
        slow.harness.clock.advance(EARLY_TIME)
        if piece != DECLARATION[:9]:
            await until(lambda piece=piece: piece[-1:] + b"\r\n" in slow.client.received)
    body = result(slow.harness)
    if waits == "root first":
        body = body.replace(b"<CompleteMultipartUploadResult>", b"").replace(b"</Comp", b"</x:Comp")
    response = await slow.end(chunk(body[:40]) + chunk(body[40:]) + b"0\r\n\r\n")

    assert element(response.body, "Location") == "http://s3.example.test/test-bucket/k"
    assert response.body.count(DECLARATION) == (waits != "white space")
    assert b"127.0.0.1" not in response.body


@pytest.mark.parametrize("framing", [b"", b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5000\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_head_alone(framing: bytes) -> None:
    """
    The client has the head a second after it came, whether or not anything follows, and whatever its framing is.
    """
    clock = Clock()
    slow = Slow(clock=clock)
    await slow.ask(complete())
    slow.backend.send(HEAD + framing + b"\r\n")
    await until(lambda: any(reader_of(exchange) for exchange in slow.harness.proxy._running))
    clock.advance(EARLY_TIME * 0.9)
    await turns(5)
    assert slow.client.received == b""
    clock.advance(EARLY_TIME * 0.2)
    await until(lambda: b"\r\n\r\n" in slow.client.received)

    body = result(slow.harness)
    if b"chunked" in framing:
        response = await slow.end(chunk(body) + b"0\r\n\r\n")
    else:
        slow.backend.send(body.ljust(5000))
        if not framing:
            slow.backend.end()
        response = await slow.end()
    assert response.header("Transfer-Encoding") == "chunked"
    assert element(response.body, "Location") == "http://s3.example.test/test-bucket/k"


@pytest_twisted.ensureDeferred
async def test_a_client_of_http_1_0() -> None:
    """
    It gets no chunks: the end of the connection is the end of the document.
    """
    slow = Slow()
    await slow.ask(complete().replace(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", 1))
    await slow.send(CHUNKED + chunk(b" "), seen=b"\r\n\r\n ")
    response = await slow.end(chunk(result(slow.harness)) + b"0\r\n\r\n")

    assert response.header("Transfer-Encoding") is None
    assert element(response.body, "Location") == "http://s3.example.test/test-bucket/k"


OPERATIONS = {"complete": complete(), "v2": complete_v2(), "copy": copy(), "part": copy("?partNumber=1&uploadId=u")}


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
@pytest.mark.parametrize("operation", OPERATIONS)
@pytest_twisted.ensureDeferred
async def test_an_error_in_a_200(operation: str, *, late: bool) -> None:
    """
    It reaches the client, with s3proxy's ids. An error about s3proxy's own signature becomes InternalError.
    """
    for code, shown in (
        ("InternalError", "InternalError"),
        ("NoSuchUpload", "NoSuchUpload"),
        ("InvalidAccessKeyId", "InternalError"),
    ):
        slow = Slow(profile=PROFILES["ceph-rgw"])
        await slow.ask(OPERATIONS[operation])
        if late:
            await slow.send(CHUNKED + chunk(b" "), seen=chunk(b" "))
        else:
            slow.backend.send(CHUNKED)
        response = await slow.end(chunk(DECLARATION + ERROR % code.encode()) + b"0\r\n\r\n")

        is_ours = code == "InvalidAccessKeyId"
        assert response.status == (500 if is_ours and not late else 200)
        assert element(response.body.strip(), "Code") == shown
        assert element(response.body.strip(), "RequestId") == response.header("x-amz-request-id")
        assert b"theirs" not in response.body
        assert b"them" not in response.body
        assert slow.harness.records[0].error_code == shown


@pytest.mark.parametrize("operation", ["copy", "part"])
@pytest_twisted.ensureDeferred
async def test_progress_of_a_copy(operation: str) -> None:
    """
    Ceph writes an element for each finished part: once the document cannot be an error it is relayed as it is.
    """
    slow = Slow(profile=PROFILES["ceph-rgw"])
    await slow.ask(OPERATIONS[operation])
    await slow.send(CHUNKED + chunk(DECLARATION), seen=b"?>")
    await slow.send(chunk(b"<CopyObjectResult><Progress>1</Progress>"), seen=b"<Progress>1</Progress>")
    await slow.send(chunk(b"<Progress>2</Progress>"), seen=b"<Progress>2</Progress>")
    more = b"<Progress>3</Progress>" * 10_000
    response = await slow.end(chunk(more + b"</CopyObjectResult>") + b"0\r\n\r\n")

    assert response.body.endswith(more + b"</CopyObjectResult>")


@pytest_twisted.ensureDeferred
async def test_a_copy_s_document_is_untouched() -> None:
    """
    A document that is not an error keeps its bytes, length and coding; so does one that is too large to be S3's.
    """
    small = b"<CopyObjectResult><ETag>e</ETag><RequestId>theirs</RequestId></CopyObjectResult>"
    for body in (small, small.ljust(MAX_JUDGED_SIZE * 3), gzip.compress(small)):
        slow = Slow()
        await slow.ask(copy())
        coding = b"Content-Encoding: gzip\r\n" if body.startswith(b"\x1f") else b""
        response = await slow.end(HEAD + coding + b"Content-Length: %d\r\n\r\n" % len(body) + body, "PUT")

        assert (response.status, response.body) == (200, body)
        assert response.header("Content-Length") == str(len(body))


@pytest.mark.parametrize("case", ["cut", "unreadable", "unreadable after its root", "too long"])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_told_any_more(case: str) -> None:
    """
    After the status nothing can be taken back: an unreadable document is InternalError, a cut one is cut for the
    client.
    """
    slow = Slow()
    await slow.ask(complete())
    await slow.send(CHUNKED + chunk(b" "), seen=chunk(b" "))
    if case == "unreadable":
        response = await slow.end(chunk(b"<CompleteMultipartUploadResult><Location>http://127.0.0.1/") + b"0\r\n\r\n")
        assert element(response.body.strip(), "Code") == "InternalError"
        assert b"127.0.0.1" not in response.body
        return
    if case == "cut":
        slow.backend.send(chunk(b"<Complete"))
        slow.backend.reset()
    elif case == "too long":
        slow.backend.send(chunk(b"<!--" + bytes(MAX_NAMING_SIZE).replace(b"\0", b"-")))
    else:
        await slow.send(chunk(b"<CompleteMultipartUploadResult> "), seen=b"Result> ")
        slow.backend.send(chunk(b"<Location>http://127.0.0.1/<") + b"0\r\n\r\n")
    await until(lambda: slow.client.lost)
    assert b"127.0.0.1" not in slow.client.received
    assert b"0\r\n\r\n" not in slow.client.received
    await until(lambda: slow.harness.proxy.running_count == 0)
    await slow.harness.close()


@pytest_twisted.ensureDeferred
async def test_white_space_is_not_gathered() -> None:
    """
    s3proxy keeps no white space from a backend in memory, and a client that does not read pauses the backend.
    """
    slow = Slow(socket_buffer=16_384)
    await slow.ask(complete())
    await slow.send(CHUNKED + chunk(b" "), seen=chunk(b" "))
    for _ in range(20):
        slow.backend.send(chunk(b" " * 50_000))
        await until(lambda: len(slow.client.received) > 45_000)
        slow.client.received = b""
    (exchange,) = slow.harness.proxy._running
    reader = reader_of(exchange)
    assert reader is not None
    receiver: Any = reader._receiver
    assert exchange.held_size < 300_000
    assert len(receiver._buffer) == 0
    slow.client.transport.abortConnection()
    await until(lambda: slow.backend.lost)
    await slow.harness.close()
