"""
The store of the demo speaks as Walrus did, and keeps nothing which did not arrive whole.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.testing import LegacyStore
from tests.harness import NOW, Answer, RawClient, turns, until

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
PREFIX = "/services/Walrus"


class Running:
    """
    A store which listens, and a client of it.
    """

    def __init__(self, directory: Path) -> None:
        self.store = LegacyStore(directory, {KEY: SECRET}, wall_clock=lambda: NOW, reactor=reactor)
        self.port = reactor.listenTCP(0, self.store.make_factory(), interface="127.0.0.1")
        self.clients: list[RawClient] = []

    async def connect(self) -> RawClient:
        """
        Open a connection.
        """
        factory = Factory.forProtocol(RawClient)
        factory.noisy = False
        client: RawClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port).connect(factory)
        self.clients.append(client)
        return client

    def head(self, method: str, path: str, headers: dict[str, str], *, signed: str = "", secret: str = SECRET) -> bytes:
        """
        Sign a head. ``signed`` is the part of the query which the signature covers.
        """
        amz = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-"))
        resource = PREFIX + path.partition("?")[0] + (f"?{signed}" if signed else "")
        text = f"{method}\n{headers.get('content-md5', '')}\n{headers.get('content-type', '')}\n{DATE}\n{amz}{resource}"
        signature = base64.b64encode(hmac.digest(secret.encode(), text.encode(), "sha1")).decode()
        lines = [f"{method} {PREFIX}{path} HTTP/1.1", "Host: store", f"Date: {DATE}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines.append(f"Authorization: AWS {KEY}:{signature}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    async def ask(self, method: str, path: str, body: bytes = b"", **options: Any) -> Answer:
        """
        Send a signed request on a connection of its own.
        """
        headers = dict(options.pop("headers", {}))
        if body or method in {"PUT", "POST"}:
            headers["content-length"] = str(len(body))
        client = await self.connect()
        client.send(self.head(method, path, headers, **options) + body)
        answer = await client.answer(method)
        assert answer is not None
        return answer

    async def close(self) -> None:
        """
        End everything.
        """
        await self.port.stopListening()
        for client in self.clients:
            if client.lost is None:
                client.transport.abortConnection()
        await until(lambda: all(client.lost for client in self.clients))
        await turns(5)


@pytest_twisted.ensureDeferred
async def test_objects_come_back(tmp_path: Path) -> None:
    """
    What was put is got: whole, in ranges, with its headers, from a second store on the same directory, until deleted.
    """
    running = Running(tmp_path)
    body = bytes(range(256)) * 100
    assert (await running.ask("PUT", "/bucket")).status == 200
    put = await running.ask("PUT", "/bucket/a%20key", body, headers={"content-type": "text/x", "x-amz-meta-a": "b"})
    got = await running.ask("GET", "/bucket/a%20key")
    part = await running.ask("GET", "/bucket/a%20key", headers={"range": "bytes=10-19"})
    same = await running.ask("GET", "/bucket/a%20key", headers={"if-none-match": put.header("etag") or ""})
    again = LegacyStore(tmp_path, {}, wall_clock=lambda: NOW, reactor=reactor)
    found = again.object_bytes("bucket", "a key")
    deleted = await running.ask("DELETE", "/bucket/a%20key")
    gone = await running.ask("GET", "/bucket/a%20key")
    await running.close()

    assert put.header("etag") == f'"{hashlib.md5(body).hexdigest()}"'
    assert (got.status, got.body, got.header("content-type"), got.header("x-amz-meta-a")) == (200, body, "text/x", "b")
    assert (part.status, part.body) == (206, body[10:20])
    assert same.status == 304
    assert found == body
    assert (deleted.status, gone.status) == (204, 404)


@pytest_twisted.ensureDeferred
async def test_lists_copies_and_parts(tmp_path: Path) -> None:
    """
    Listings, copies, uploads in parts and the deletion of many.
    """
    running = Running(tmp_path)
    await running.ask("PUT", "/b")
    for key in ("a/1", "a/2", "c"):
        await running.ask("PUT", f"/b/{key}", key.encode())
    listed = await running.ask("GET", "/b?delimiter=/&max-keys=1")
    copied = await running.ask("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/c"})
    begun = await running.ask("POST", "/b/parts?uploads", signed="uploads")
    upload = begun.body.decode().partition("<UploadId>")[2].partition("<")[0]
    parts = []
    for number in (1, 2):
        query = f"partNumber={number}&uploadId={upload}"
        answer = await running.ask("PUT", f"/b/parts?{query}", b"%d" % number * 10, signed=query)
        parts.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{answer.header('etag')}</ETag></Part>")
    document = f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()
    done = await running.ask("POST", f"/b/parts?uploadId={upload}", document, signed=f"uploadId={upload}")
    delete = b"<Delete><Object><Key>a/1</Key></Object><Object><Key>a/2</Key></Object></Delete>"
    md5 = base64.b64encode(hashlib.md5(delete).digest()).decode()
    removed = await running.ask("POST", "/b?delete", delete, signed="delete", headers={"content-md5": md5})
    rest = await running.ask("GET", "/b")
    busy = await running.ask("DELETE", "/b")
    await running.close()

    assert b"<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>" in listed.body
    assert b"<IsTruncated>true</IsTruncated><NextMarker>a/2</NextMarker>" in listed.body
    assert copied.status == 200
    assert running.store.object_bytes("b", "copy") == b"c"
    assert done.status == 200
    assert running.store.object_bytes("b", "parts") == b"1" * 10 + b"2" * 10
    assert removed.status == 200
    assert [key for key in ("a/1", "a/2", "c", "copy", "parts") if f"<Key>{key}</Key>".encode() in rest.body] == [
        "c",
        "copy",
        "parts",
    ]
    assert busy.status == 409


@pytest.mark.parametrize(
    ("headers", "options", "status", "code"),
    [
        ({}, {"secret": "wrong"}, 403, "SignatureDoesNotMatch"),
        ({"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, {}, 501, "NotImplemented"),
        ({"content-encoding": "aws-chunked"}, {}, 501, "NotImplemented"),
        ({"x-amz-decoded-content-length": "5"}, {}, 501, "NotImplemented"),
        ({"x-amz-date": "20260301T120000Z"}, {}, 403, "AccessDenied"),
        ({"x-amz-date": "Sun, 01 Mar 2026 14:00:00 GMT"}, {}, 403, "RequestTimeTooSkewed"),
        ({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {}, 400, "BadDigest"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_walrus_refuses(
    tmp_path: Path, headers: dict[str, str], options: dict[str, str], status: int, code: str
) -> None:
    """
    Today's spellings are refused, and nothing is stored.
    """
    running = Running(tmp_path)
    await running.ask("PUT", "/b")
    answer = await running.ask("PUT", "/b/k", b"hello", headers=headers, **options)
    await running.close()

    assert answer.status == status
    assert f"<Code>{code}</Code>".encode() in answer.body
    assert running.store.object_bytes("b", "k") is None


@pytest_twisted.ensureDeferred
async def test_signature_v4_is_not_known(tmp_path: Path) -> None:
    """
    A V4 header and a presigned request are refused.
    """
    running = Running(tmp_path)
    for line in ("Authorization: AWS4-HMAC-SHA256 Credential=a/b/c/s3/aws4_request", "X: y"):
        client = await running.connect()
        client.send(f"GET {PREFIX}/b?X-Amz-Algorithm=a HTTP/1.1\r\nHost: x\r\n{line}\r\n\r\n".encode())
        answer = await client.answer()
        assert answer is not None
        assert answer.status in {400, 403}
    await running.close()


@pytest_twisted.ensureDeferred
async def test_half_a_body_is_nothing(tmp_path: Path) -> None:
    """
    A connection which ends inside a PUT leaves the former object, and no file.
    """
    running = Running(tmp_path)
    await running.ask("PUT", "/b")
    await running.ask("PUT", "/b/k", b"former")
    client = await running.connect()
    client.send(running.head("PUT", "/b/k", {"content-length": "100000"}) + b"a" * 50_000)
    await until(lambda: running.store.received_size >= 50_000)
    client.transport.abortConnection()
    await until(lambda: running.store.aborted_count == 1)
    await running.close()

    assert running.store.object_bytes("b", "k") == b"former"
    assert list((tmp_path / "incoming").iterdir()) == []
