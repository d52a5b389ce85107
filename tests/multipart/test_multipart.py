"""
Multipart uploads through s3proxy to a storage system that has none: clients see S3's, and the backend sees one PUT.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import pytest_twisted
from awscrt import checksums
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread

from s3proxy.authentication.realm import Anonymous
from s3proxy.body.plan import BodyLimits
from s3proxy.daemon.generation import utc_now
from s3proxy.multipart.files import JoinedParts, PartsReader
from s3proxy.multipart.records import Place, StoreLimits
from s3proxy.multipart.store import MultipartStore
from s3proxy.multipart.uploads import MAX_THREADS
from s3proxy.multipart.waiting import KEEP_ALIVE_TIME
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MIB
from s3proxy.s3.operation import COMPLETE_MULTIPART_UPLOAD, UPLOAD_PART_COPY
from s3proxy.testing import MODES
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.harness import BACKEND_KEY, NOW, SERVER, Harness, turns, until
from tests.support.legacy import KEY, SECRET, Running, code, found
from tests.support.multipart import completion, joined
from tests.support.signer import MODES as PAYLOADS
from tests.support.signer import Signer

LIMITS = StoreLimits(size=200 * MIB, uploads=20, uploads_of_owner=10, expires=7 * 86400)
WALRUS = PROFILES["walrus-3.4"]


class Kept:
    """
    A harness with multipart uploads in s3proxy, and the store that keeps them.
    """

    def __init__(self, directory: Path, limits: StoreLimits = LIMITS, **options: Any) -> None:
        self.directory = directory / "multipart"
        self.kept = MultipartStore(self.directory, limits, time.time)
        self.kept.lead()
        options = {"profile": WALRUS, "signature": "v2", **options}
        self.harness = Harness(multipart=self.kept, **options)
        self.harness.now = utc_now()

    def boto(self, **options: Any) -> Any:
        """
        Return an ordinary boto3 client.
        """
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.harness.port.getHost().port}",
            aws_access_key_id=SERVER["credentials"][0]["access_key"],
            aws_secret_access_key=SERVER["credentials"][0]["secret_key"],
            region_name="us-east-1",
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, **options),
        )

    def request(
        self, method: str, target: str, body: bytes = b"", signer: Signer | None = None, **headers: str
    ) -> tuple[bytes, bytes]:
        """
        Return a request with signed headers: ``if_match`` becomes ``if-match``.
        """
        signer = signer or Signer(now=self.harness.now)
        signed = {name.replace("_", "-"): value for name, value in headers.items()}
        unsigned = {"Content-Length": str(len(body))} if method in {"PUT", "POST"} else {}
        payload = hashlib.sha256(body).hexdigest()
        return signer.head(method, target, signed, payload=payload, unsigned=unsigned)[0], body

    async def ask(self, method: str, target: str, body: bytes = b"", **headers: Any) -> Response:
        """
        Send a request on a new connection.
        """
        response: Response = await self.harness.request(*self.request(method, target, body, **headers), method=method)
        assert response is not None, f"{method} {target} got no response"
        return response

    async def begin(self, target: str = "/b/k", **headers: Any) -> str:
        """
        Begin an upload; return its id.
        """
        response = await self.ask("POST", f"{target}?uploads", **headers)
        assert response.status == 200, response.body
        (upload_id,) = found(response, "UploadId")
        return upload_id

    async def put_part(self, upload_id: str, number: int, content: bytes, target: str = "/b/k", **headers: Any) -> str:
        """
        Send a part; return its ETag.
        """
        response = await self.ask("PUT", f"{target}?partNumber={number}&uploadId={upload_id}", content, **headers)
        assert response.status == 200, response.body
        return response.header("etag") or ""

    async def complete(self, upload_id: str, etags: dict[int, str], target: str = "/b/k", **headers: Any) -> Response:
        """
        Complete an upload.
        """
        return await self.ask("POST", f"{target}?uploadId={upload_id}", completion(etags), **headers)

    @property
    def files(self) -> list[str]:
        return sorted(os.listdir(self.directory / "parts"))

    @property
    def is_empty(self) -> bool:
        return not self.files and self.kept.usage() == (0, 0)

    async def close(self) -> None:
        await self.harness.close()


class WithStore(Kept):
    """
    The same, in front of a stand-in for Walrus.
    """

    def __init__(self, directory: Path, **options: Any) -> None:
        keys = {KEY: SECRET, BACKEND_KEY.access_key_id: BACKEND_KEY.secret_access_key}
        self.store = Running(directory / "store", quirks=MODES["walrus-3.4"], keys=keys, wall_clock=utc_now)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.store.port.getHost().port, timeout=5)
        super().__init__(directory, endpoint=endpoint, **options)
        self.store.store.objects.bucket("b").create()

    def stored(self, key: str = "k") -> bytes | None:
        return self.store.store.object_bytes("b", key)

    async def close(self) -> None:
        await super().close()
        await self.store.close()


@asynccontextmanager
async def keeping(directory: Path, **options: Any) -> AsyncIterator[WithStore]:
    kept = WithStore(directory, **options)
    try:
        yield kept
    finally:
        await kept.close()


@asynccontextmanager
async def recording(directory: Path, **options: Any) -> AsyncIterator[Kept]:
    kept = Kept(directory, **options)
    try:
        yield kept
    finally:
        await kept.close()


# Clients


@pytest_twisted.ensureDeferred
async def test_boto3(tmp_path: Path) -> None:
    """
    A file of 20 MiB, in parts at the same time, with trailers and checksums as boto3 sends them; a copy of it in parts.
    """
    content = os.urandom(20 * MIB)
    (tmp_path / "file").write_bytes(content)
    async with keeping(tmp_path) as kept:

        def run() -> tuple[Any, Any]:
            client = kept.boto()
            extra = {"ContentType": "text/x", "Metadata": {"a": "b"}, "ACL": "private"}
            client.upload_file(str(tmp_path / "file"), "b", "k", ExtraArgs=extra)
            config = TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=8 * MIB)
            client.copy({"Bucket": "b", "Key": "k"}, "b", "copy", Config=config)
            return client.head_object(Bucket="b", Key="k"), client.list_multipart_uploads(Bucket="b")

        head, uploads = await deferToThread(run)
        is_empty = kept.is_empty
        stored, copied = kept.stored(), kept.stored("copy")
        operations = [record.operation.name for record in kept.harness.records if record.operation is not None]
        is_ok = all(record.status in {200, 206} for record in kept.harness.records)

    assert stored == content == copied
    # The entity tag is Walrus's own: the MD5 of the whole object.
    assert head["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert (head["ContentType"], {name.lower(): value for name, value in head["Metadata"].items()}) == (
        "text/x",
        {"a": "b"},
    )
    assert (is_empty, uploads.get("Uploads"), is_ok) == (True, None, True)
    assert (operations.count("UploadPart"), operations.count("UploadPartCopy")) == (3, 3)


@pytest_twisted.ensureDeferred
async def test_each_step(tmp_path: Path) -> None:
    """
    What a client sees at each step of an upload, twice.
    """
    first, last = b"a" * 5 * MIB, b"end"
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin("/b/k%20%2B", content_type="text/y", x_amz_meta_n="v")
        etags = {
            2: await kept.put_part(upload_id, 2, last, "/b/k%20%2B"),
            1: await kept.put_part(upload_id, 1, first, "/b/k%20%2B"),
        }
        parts = await kept.ask("GET", f"/b/k%20%2B?uploadId={upload_id}&max-parts=1")
        uploads = await kept.ask("GET", "/b?uploads&encoding-type=url")
        head = await kept.ask("HEAD", f"/b/k%20%2B?uploadId={upload_id}")
        etags = dict(sorted(etags.items()))
        done = await kept.complete(upload_id, etags, "/b/k%20%2B")
        again = await kept.complete(upload_id, {n: etag.strip('"') for n, etag in etags.items()}, "/b/k%20%2B")
        other = await kept.complete(upload_id, {1: etags[1]}, "/b/k%20%2B")
        gone = await kept.ask("DELETE", f"/b/k%20%2B?uploadId={upload_id}")
        stored = kept.stored("k +")
        object_headers = await kept.ask("HEAD", "/b/k%20%2B")
        is_empty = kept.is_empty

    assert etags == {1: f'"{hashlib.md5(first).hexdigest()}"', 2: f'"{hashlib.md5(last).hexdigest()}"'}
    assert (found(parts, "PartNumber"), found(parts, "Size"), found(parts, "IsTruncated")) == (
        ["1"],
        ["5242880"],
        ["true"],
    )
    assert (found(parts, "NextPartNumberMarker"), found(parts, "Key")) == (["1"], ["k +"])
    assert (found(uploads, "UploadId"), found(uploads, "Key")) == ([upload_id], ["k%20%2B"])
    assert (head.status, head.body) == (200, b"")
    assert (done.status, found(done, "ETag"), found(done, "Key")) == (200, [f'"{joined(first, last)}"'], ["k +"])
    assert found(done, "Location") == ["http://s3.example.test/b/k%20%2B"]
    assert (again.status, again.body) == (200, done.body)
    assert (other.status, code(other), gone.status, code(gone)) == (404, "NoSuchUpload", 404, "NoSuchUpload")
    assert (stored, is_empty) == (first + last, True)
    assert (object_headers.header("content-type"), object_headers.header("x-amz-meta-n")) == ("text/y", "v")


@pytest.mark.parametrize("mode", PAYLOADS)
@pytest_twisted.ensureDeferred
async def test_each_payload_mode(tmp_path: Path, mode: str) -> None:
    """
    A part is decoded and verified like any other body. A part that was altered on its way is not kept.
    """
    content = os.urandom(300_000)
    async with keeping(tmp_path) as kept:
        signer = Signer(now=kept.harness.now)
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        sent = signer.put(target, content, mode)
        response = await kept.harness.request(sent.head, sent.body, step=50_000, method="PUT")
        spoilt = signer.put(f"/b/k?partNumber=2&uploadId={upload_id}", content, mode)
        middle = len(spoilt.body) // 2
        body = spoilt.body[:middle] + bytes([spoilt.body[middle] ^ 1]) + spoilt.body[middle + 1 :]
        refused = await kept.harness.request(spoilt.head, body, method="PUT")
        parts = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await until(lambda: kept.kept.usage()[0] == len(content) * len(found(parts, "PartNumber")))
        size, count = kept.kept.usage()[0], len(kept.files)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")

    assert (response.status, response.header("etag")) == (200, f'"{hashlib.md5(content).hexdigest()}"')
    if mode == "UNSIGNED-PAYLOAD":
        assert refused.status == 200
    else:
        assert refused.status in {400, 403}
        assert (found(parts, "PartNumber"), size, count) == (["1"], len(content), 1)


@pytest_twisted.ensureDeferred
async def test_checksums_and_digests(tmp_path: Path) -> None:
    """
    A part's checksums are verified, returned, listed, and compared with what the client states for the object.
    """
    content = b"x" * 100
    right = base64.b64encode(hashlib.sha256(content).digest()).decode()
    composite = base64.b64encode(hashlib.sha256(hashlib.sha256(content).digest()).digest()).decode() + "-1"
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        wrong_md5 = await kept.ask("PUT", target, content, content_md5=base64.b64encode(b"0" * 16).decode())
        wrong = await kept.ask("PUT", target, content, x_amz_checksum_sha256=base64.b64encode(b"0" * 32).decode())
        nothing = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        stored = await kept.ask("PUT", target, content, x_amz_checksum_sha256=right)
        listed = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        etag = stored.header("etag") or ""

        async def complete(checksum: str, **headers: str) -> Response:
            part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{checksum}</Part>"
            document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
            return await kept.ask("POST", f"/b/k?uploadId={upload_id}", document, **headers)

        other_part = await complete("<ChecksumSHA256>AAAA</ChecksumSHA256>")
        other_size = await complete("", x_amz_mp_object_size="101")
        other_whole = await complete("", x_amz_checksum_crc32="AAAAAA==")
        other_composite = await complete("", x_amz_checksum_sha256=composite.replace("-1", "-2"))
        empty_id = await kept.begin()
        empty_etag = await kept.put_part(empty_id, 1, b"")
        other_empty = await kept.complete(empty_id, {1: empty_etag}, x_amz_checksum_crc32="AAAAAQ==")
        before = kept.stored()
        empty = await kept.complete(empty_id, {1: empty_etag}, x_amz_checksum_crc32="AAAAAA==")
        done = await complete(
            f"<ChecksumSHA256>{right}</ChecksumSHA256>", x_amz_checksum_sha256=composite, x_amz_mp_object_size="100"
        )

    assert [code(each) for each in (wrong_md5, wrong)] == ["BadDigest", "BadDigest"]
    assert found(nothing, "PartNumber") == []
    assert (stored.header("x-amz-checksum-sha256"), found(listed, "ChecksumSHA256")) == (right, [right])
    assert [code(each) for each in (other_part, other_size)] == ["InvalidPart", "InvalidRequest"]
    assert [code(each) for each in (other_whole, other_composite)] == ["BadDigest", "BadDigest"]
    assert (code(other_empty), empty.status) == ("BadDigest", 200)
    assert (before, done.status) == (None, 200)


def crc32c(content: bytes) -> bytes:
    """
    Return the CRC32C of some content.
    """
    return checksums.crc32c(content).to_bytes(4, "big")


PARTS = [b"a" * (5 << 20), b"b"]
WHOLE = base64.b64encode(crc32c(b"".join(PARTS))).decode()
JOINED = base64.b64encode(crc32c(b"".join(map(crc32c, PARTS)))).decode()


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (WHOLE, None, ""),
        (WHOLE, "FULL_OBJECT", ""),
        (WHOLE, "COMPOSITE", "BadDigest"),
        (JOINED, None, ""),
        (JOINED, "COMPOSITE", ""),
        (JOINED, "FULL_OBJECT", "BadDigest"),
        (f"{JOINED}-2", None, ""),
        (f"{JOINED}-2", "COMPOSITE", ""),
        (f"{JOINED}-1", "COMPOSITE", "BadDigest"),
        (f"{WHOLE}-2", None, "BadDigest"),
        ("AAAAAA==", None, "BadDigest"),
        ("AAAA", "COMPOSITE", "InvalidRequest"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_client_says_of_the_whole(tmp_path: Path, value: str, kind: str | None, expected: str) -> None:
    """
    A checksum of the object's bytes, or of its parts' checksums: minio-go names the kind in a header, other clients
    append the number of parts.
    """
    headers = {"x_amz_checksum_crc32c": value} | ({"x_amz_checksum_type": kind} if kind is not None else {})
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        names = ""
        for number, content in enumerate(PARTS, 1):
            stored = await kept.ask(
                "PUT",
                f"/b/k?partNumber={number}&uploadId={upload_id}",
                content,
                x_amz_checksum_crc32c=base64.b64encode(crc32c(content)).decode(),
            )
            names += f"<Part><PartNumber>{number}</PartNumber><ETag>{stored.header('etag')}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{names}</CompleteMultipartUpload>".encode()
        done = await kept.ask("POST", f"/b/k?uploadId={upload_id}", document, **headers)
        object_ = kept.stored()

    assert (code(done) if expected else "") == expected
    assert (object_ is not None) is (not expected)


# Refusals


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda etags: {2: etags[2], 1: etags[1]}, "InvalidPartOrder"),
        (lambda etags: {1: etags[2]}, "InvalidPart"),
        (lambda etags: {3: etags[1]}, "InvalidPart"),
        (lambda etags: {1: etags[1], 2: etags[2]}, "EntityTooSmall"),
        (lambda etags: {}, "MalformedXML"),
        (lambda etags: {0: etags[1]}, "InvalidArgument"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_completed(
    tmp_path: Path, make: Callable[[dict[int, str]], dict[int, str]], expected: str
) -> None:
    """
    The upload remains, and the backend gets no request.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        etags = {number: await kept.put_part(upload_id, number, b"%d" % number) for number in (1, 2)}
        refused = await kept.complete(upload_id, make(etags))
        before = kept.stored()
        done = await kept.complete(upload_id, {2: etags[2]})

    assert (code(refused), before, done.status) == (expected, None, 200)


@pytest_twisted.ensureDeferred
async def test_other_places(tmp_path: Path) -> None:
    """
    An upload does not exist under another bucket or key. Ids that were never issued do not exist either.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, b"x")
        ids = [
            "..%2F..%2Fetc",
            "a%2Fb",
            "%00",
            "x" * 43,
            "x" * 5000,
            upload_id[:-1],
            upload_id + "%00",
            upload_id.swapcase(),
        ]
        responses = []
        for target in ("/b/other", "/other/k", *[f"/b/k?uploadId={each}" for each in ids]):
            path, _, query = target.partition("?")
            query = query or f"uploadId={upload_id}"
            responses += [
                await kept.ask("PUT", f"{path}?partNumber=1&{query}", b"y"),
                await kept.ask("GET", f"{path}?{query}"),
                await kept.ask("DELETE", f"{path}?{query}"),
                await kept.ask("POST", f"{path}?{query}", completion({1: etag})),
            ]
        remaining = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await until(lambda: len(kept.files) == 1)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        is_empty = kept.is_empty

    assert {(response.status, code(response)) for response in responses} == {(404, "NoSuchUpload")}
    assert (found(remaining, "ETag"), is_empty) == (
        [etag.replace('"', "&quot;")] if "&quot;" in remaining.body.decode() else [etag],
        True,
    )


@pytest_twisted.ensureDeferred
async def test_a_client_that_waits_for_100_continue(tmp_path: Path) -> None:
    """
    It gets 100 Continue only once there is room for its part.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        responses = []
        for target, length in ((upload_id, "3"), ("x" * 43, "3"), (upload_id, str(300 * MIB))):
            head, _ = Signer(now=kept.harness.now).head(
                "PUT",
                f"/b/k?partNumber=1&uploadId={target}",
                payload="UNSIGNED-PAYLOAD",
                unsigned={"Content-Length": length, "Expect": "100-continue"},
            )
            client = await kept.harness.connect()
            client.send(head)
            await client.until(lambda client=client: client.received)
            if length == "3" and target == upload_id:
                client.send(b"abc")
            responses.append(await client.response("PUT"))

    assert [(response.status, bool(response.interim)) for response in responses] == [
        (200, True),
        (404, False),
        (503, False),
    ]


@pytest.mark.parametrize("number", ["0", "10001", "%2B1", "01", "1e3", "1" + "0" * 30, "-1", "1%00", "x"])
@pytest_twisted.ensureDeferred
async def test_part_numbers(tmp_path: Path, number: str) -> None:
    """
    An invalid part number is refused before the body is read.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        response = await kept.ask("PUT", f"/b/k?partNumber={number}&uploadId={upload_id}", b"x")
        files = kept.files

    assert (response.status, code(response), files) == (400, "InvalidArgument", [])


@pytest_twisted.ensureDeferred
async def test_what_a_put_would_be_refused(tmp_path: Path) -> None:
    """
    CreateMultipartUpload refuses what PutObject refuses, and reports a missing bucket.
    """
    async with keeping(tmp_path) as kept:
        encrypted = await kept.ask("POST", "/b/k?uploads", x_amz_server_side_encryption="AES256")
        tagged = await kept.ask("POST", "/b/k?uploads", x_amz_tagging="a=b")
        locked = await kept.ask("POST", "/b/k?uploads", x_amz_object_lock_mode="GOVERNANCE")
        nowhere = await kept.ask("POST", "/nowhere/k?uploads")
        listed = await kept.ask("GET", "/nowhere?uploads")
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, b"x")
        conditional = await kept.complete(upload_id, {1: etag}, if_none_match="*")
        encoded = await kept.ask("GET", "/b?uploads&encoding-type=other")
        stored = kept.stored()

    assert [code(each) for each in (encrypted, tagged, locked, conditional)] == ["NotImplemented"] * 4
    assert [code(each) for each in (nowhere, listed, encoded)] == ["NoSuchBucket", "NoSuchBucket", "InvalidArgument"]
    assert stored is None


@pytest.mark.parametrize("kind", ["403", "garbage", "nobody"])
@pytest_twisted.ensureDeferred
async def test_a_storage_that_says_nothing_of_the_bucket(tmp_path: Path, kind: str) -> None:
    """
    A client that may write but not read can begin an upload.
    """
    responses = {
        "403": b"HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<Error />",
        "garbage": b"<Error/>\r\n\r\n",
    }
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(responses[kind])
    async with recording(tmp_path, backend=backend) as kept:
        if kind == "nobody":
            await kept.harness.backend_port.stopListening()
        response = await kept.ask("POST", "/b/k?uploads")
        count = kept.kept.usage()[1]

    assert (response.status, count) == ((503, 0) if kind == "nobody" else (200, 1))


@pytest_twisted.ensureDeferred
async def test_nobody_who_is_anonymous(tmp_path: Path) -> None:
    """
    Anonymous clients are refused as at S3, even if the storage system lets everyone write: the parts are on s3proxy's
    disk.
    """
    async with keeping(tmp_path, anonymous=Anonymous(passes=True)) as kept:
        upload_id = await kept.begin()
        requests = [
            "POST /b/k?uploads",
            f"PUT /b/k?partNumber=1&uploadId={upload_id}",
            f"POST /b/k?uploadId={upload_id}",
            f"DELETE /b/k?uploadId={upload_id}",
            f"GET /b/k?uploadId={upload_id}",
            "GET /b?uploads",
        ]
        responses = [
            await kept.harness.request(
                f"{each} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: 0\r\n\r\n".encode(),
                method=each.split()[0],
            )
            for each in requests
        ]
        count = kept.kept.usage()[1]

    assert [code(response) for response in responses] == ["AccessDenied"] * 6
    assert count == 1


@pytest_twisted.ensureDeferred
async def test_it_is_off(tmp_path: Path) -> None:
    """
    If multipart uploads are off, all seven operations are refused at once, and the backend gets no request.
    """
    harness = Harness(profile=WALRUS, signature="v2")
    signer = Signer()
    try:
        responses = []
        for method, target, headers in (
            ("POST", "/b/k?uploads", {}),
            ("PUT", "/b/k?partNumber=1&uploadId=u", {}),
            ("PUT", "/b/k?partNumber=1&uploadId=u", {"x-amz-copy-source": "/b/s"}),
            ("POST", "/b/k?uploadId=u", {}),
            ("DELETE", "/b/k?uploadId=u", {}),
            ("GET", "/b/k?uploadId=u", {}),
            ("GET", "/b?uploads", {}),
        ):
            head, _ = signer.head(method, target, headers, unsigned={"Content-Length": "0"})
            responses.append(await harness.request(head, method=method))
        asked = len(harness.backend.requests)
    finally:
        await harness.close()

    assert [(response.status, code(response)) for response in responses] == [(501, "NotImplemented")] * 7
    assert asked == 0


# The disk


@pytest_twisted.ensureDeferred
async def test_the_quota(tmp_path: Path) -> None:
    """
    An announced part counts while it is being received, and no longer: once its client leaves, there is room again.
    """
    limits = replace(LIMITS, size=16 * MIB)
    async with keeping(tmp_path, limits=limits) as kept:
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        head, _ = kept.request("PUT", target, b"x" * 10 * MIB)
        client = await kept.harness.connect()
        client.send(head + b"x" * 1000)
        await until(lambda: kept.kept.usage()[0] == 10 * MIB)
        refused = await kept.ask("PUT", f"/b/k?partNumber=2&uploadId={upload_id}", b"y" * 7 * MIB)
        client.transport.abortConnection()
        await until(lambda: kept.kept.usage()[0] == 0)
        files = kept.files
        etag = await kept.put_part(upload_id, 2, b"y" * 7 * MIB)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        is_empty = kept.is_empty

    assert (refused.status, code(refused), refused.header("retry-after") is not None) == (503, "SlowDown", True)
    assert (files, bool(etag), is_empty) == ([], True, True)


@pytest_twisted.ensureDeferred
async def test_too_many_uploads(tmp_path: Path) -> None:
    """
    One key has a limit, so that it leaves uploads to other keys.
    """
    async with keeping(tmp_path, limits=replace(LIMITS, uploads_of_owner=2)) as kept:
        for key in ("k1", "k2"):
            await kept.begin(f"/b/{key}")
        refused = await kept.ask("POST", "/b/k3?uploads")
        other = await kept.begin(
            "/b/k4",
            signer=Signer(_other().access_key_id, _other().secret_access_keys[0], kept.harness.now),
        )

    assert (refused.status, code(refused), bool(other)) == (503, "SlowDown", True)


@pytest_twisted.ensureDeferred
async def test_one_key_leaves_room(tmp_path: Path) -> None:
    """
    It announces as much as it may, and sends nothing. Another key can still send its part, also of the same upload.
    """
    limits = replace(LIMITS, size=20 * MIB, size_of_owner=10 * MIB)
    async with keeping(tmp_path, limits=limits) as kept:
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        signer = Signer(now=kept.harness.now)
        head = signer.head(
            "PUT",
            target,
            payload="UNSIGNED-PAYLOAD",
            unsigned={"Content-Length": str(10 * MIB), "Expect": "100-continue"},
        )[0]
        client = await kept.harness.connect()
        client.send(head)
        await client.until(lambda: client.received)
        refused = await kept.ask("PUT", target, b"x")
        copied = await kept.ask("PUT", target, x_amz_copy_source="/b/source")
        other = Signer(_other().access_key_id, _other().secret_access_keys[0], kept.harness.now)
        sent = await kept.ask("PUT", target, b"x", signer=other)
        client.transport.abortConnection()
        await until(lambda: kept.kept.usage()[0] == 1)
        again = await kept.ask("PUT", target, b"y")

    assert [code(refused), copied.status, sent.status, again.status] == ["SlowDown", 404, 200, 200]


def _other() -> Any:
    from tests.support.harness import data_set_credentials

    return next(
        each
        for each in data_set_credentials().values()
        if each.session_token is None
        and each.expires_at is None
        and each.access_key_id != SERVER["credentials"][0]["access_key"]
    )


@pytest_twisted.ensureDeferred
async def test_a_body_that_is_cut(tmp_path: Path) -> None:
    """
    A truncated body is not a part, and nothing of it remains on the disk.
    """
    content = os.urandom(500_000)
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        head, _ = kept.request("PUT", f"/b/k?partNumber=1&uploadId={upload_id}", content)
        client = await kept.harness.connect()
        client.send(head + content[:250_000])
        await until(lambda: bool(kept.files))
        client.transport.loseWriteConnection()
        response = await client.response("PUT")
        parts = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await until(lambda: not kept.files)
        size = kept.kept.usage()[0]

    assert (response.status, code(response), found(parts, "PartNumber"), size) == (400, "IncompleteBody", [], 0)


@pytest_twisted.ensureDeferred
async def test_a_part_that_is_replaced(tmp_path: Path) -> None:
    """
    Of two parts with one number the later one counts. The earlier one is deleted from the disk.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        former = await kept.put_part(upload_id, 1, b"former")
        etag = await kept.put_part(upload_id, 1, b"later")
        files, size = kept.files, kept.kept.usage()[0]
        refused = await kept.complete(upload_id, {1: former})
        done = await kept.complete(upload_id, {1: etag})
        stored = kept.stored()

    assert (len(files), size, code(refused)) == (1, 5, "InvalidPart")
    assert (done.status, stored) == (200, b"later")


@pytest_twisted.ensureDeferred
async def test_an_abort_during_a_part(tmp_path: Path) -> None:
    """
    The part is refused at its end, and nothing remains.
    """
    content = os.urandom(300_000)
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        head, _ = kept.request("PUT", f"/b/k?partNumber=1&uploadId={upload_id}", content)
        client = await kept.harness.connect()
        client.send(head + content[:100_000])
        await until(lambda: bool(kept.files))
        aborted = await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        client.send(content[100_000:])
        response = await client.response("PUT")
        kept.kept.sweep()
        is_empty = kept.is_empty

    assert (aborted.status, response.status, code(response), is_empty) == (204, 404, "NoSuchUpload", True)


@pytest.mark.parametrize("size", [100, 500_000])
@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """
    The client may try again, also if s3proxy still withheld the whole part.
    """
    content = os.urandom(size)
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        with monkeypatch.context() as patched:
            patched.setattr("s3proxy.multipart.files.os", SimpleNamespace(write=_is_full))
            refused = await kept.ask("PUT", target, content)
        await until(lambda: not kept.files and kept.kept.usage()[0] == 0)
        stored = await kept.ask("PUT", target, content)

    assert (refused.status, code(refused), stored.status) == (503, "SlowDown", 200)


def _is_full(*ignored: object) -> int:
    raise OSError(28, "No space left on device")


@pytest_twisted.ensureDeferred
async def test_a_database_that_breaks(tmp_path: Path) -> None:
    """
    Every operation fails with 503, and nothing waits.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        kept.kept._database._connection.execute("DROP TABLE uploads")
        responses = [
            await kept.ask("POST", "/b/k?uploads"),
            await kept.ask("PUT", f"/b/k?partNumber=1&uploadId={upload_id}", b"x"),
            await kept.ask("PUT", f"/b/k?partNumber=1&uploadId={upload_id}", x_amz_copy_source="/b/k"),
            await kept.ask("POST", f"/b/k?uploadId={upload_id}", completion({1: "x"})),
            await kept.ask("DELETE", f"/b/k?uploadId={upload_id}"),
            await kept.ask("GET", f"/b/k?uploadId={upload_id}"),
            await kept.ask("GET", "/b?uploads"),
        ]

    # s3proxy requests the source of the copy first, and it does not exist.
    expected = [(503, "ServiceUnavailable")] * 2 + [(404, "NoSuchKey")] + [(503, "ServiceUnavailable")] * 4
    assert [(response.status, code(response)) for response in responses] == expected


@pytest_twisted.ensureDeferred
async def test_a_part_without_a_length(tmp_path: Path) -> None:
    """
    It is refused: the room that it needs is unknown.
    """
    async with keeping(tmp_path, body_limits=BodyLimits(spools_unknown_length=True)) as kept:
        upload_id = await kept.begin()
        signer = Signer(now=kept.harness.now)
        head, _ = signer.head(
            "PUT",
            f"/b/k?partNumber=1&uploadId={upload_id}",
            payload="UNSIGNED-PAYLOAD",
            unsigned={"Transfer-Encoding": "chunked"},
        )
        response = await kept.harness.request(head, b"1\r\nx\r\n0\r\n\r\n", method="PUT")
        files = kept.files

    assert (response.status, code(response), files) == (411, "MissingContentLength", [])


@pytest_twisted.ensureDeferred
async def test_both_addressing_styles(tmp_path: Path) -> None:
    """
    The bucket is in the host's name or in the path: the upload is the same.
    """
    content = b"x" * 1000
    async with keeping(tmp_path) as kept:
        hosted = Signer(now=kept.harness.now, host="b.s3.example.test")
        upload_id = await kept.begin("/a%20k", signer=hosted)
        etag = await kept.put_part(upload_id, 1, content, "/b/a%20k")
        listed = await kept.ask("GET", "/?uploads", signer=hosted)
        done = await kept.complete(upload_id, {1: etag}, "/a%20k", signer=hosted)
        stored = kept.stored("a k")

    assert (found(listed, "UploadId"), done.status, stored) == ([upload_id], 200, content)
    assert found(done, "Location") == ["http://b.s3.example.test/a%20k"]


@pytest_twisted.ensureDeferred
async def test_no_credential_is_kept(tmp_path: Path) -> None:
    """
    The credentials of CreateMultipartUpload are not among the stored headers of the object.
    """
    item = next(item for item in SERVER["credentials"] if item["session_token"])
    async with keeping(tmp_path) as kept:
        kept.harness.now = NOW
        signer = Signer(item["access_key"], item["secret_key"], NOW)
        response = await kept.ask(
            "POST", "/b/k?uploads", signer=signer, x_amz_security_token=item["session_token"], x_amz_meta_a="b"
        )
        database = sqlite3.connect(kept.directory / "uploads.sqlite")
        rows = database.execute("SELECT headers FROM uploads").fetchall()
        database.close()

    assert response.status == 200, response.body
    assert [json.loads(headers) for (headers,) in rows] == [[["x-amz-meta-a", "b"]]]


@pytest.mark.parametrize(
    ("query", "keys", "folders"),
    [
        ("prefix=a_", ["a_1.x"], []),
        ("delimiter=.", ["aa"], ["a_1.", "ab1."]),
        ("prefix=a_&delimiter=.", [], ["a_1."]),
        ("prefix=%5C", [], []),
    ],
)
@pytest_twisted.ensureDeferred
async def test_lists_that_a_storage_could_not_be_asked_for(
    tmp_path: Path, query: str, keys: list[str], folders: list[str]
) -> None:
    """
    The listing of uploads interprets neither regular expressions nor patterns of SQL.
    """
    async with keeping(tmp_path) as kept:
        for key in ("a_1.x", "aa", "ab1.y"):
            await kept.begin(f"/b/{key}")
        listed = await kept.ask("GET", f"/b?uploads&{query}")

    assert (listed.status, found(listed, "Key")) == (200, keys)
    assert [each for each in found(listed, "Prefix") if each.endswith(".")] == folders


# The copy of a part


@pytest_twisted.ensureDeferred
async def test_a_part_from_an_object(tmp_path: Path) -> None:
    """
    From a whole object, and from a range; with errors of the source, and of the range.
    """
    content = os.urandom(300_000)
    async with keeping(tmp_path) as kept:
        await kept.ask("PUT", "/b/a%20source", content)
        upload_id = await kept.begin()

        async def copy(number: int, source: str = "/b/a%20source", **headers: str) -> Response:
            target = f"/b/k?partNumber={number}&uploadId={upload_id}"
            return await kept.ask("PUT", target, x_amz_copy_source=source, **headers)

        whole = await copy(2)
        piece = await copy(1, x_amz_copy_source_range="bytes=10-5242889")
        ranged = await copy(1, x_amz_copy_source_range="bytes=100-199999")
        missing = await copy(3, "/b/missing")
        beyond = await copy(3, x_amz_copy_source_range="bytes=300000-300001")
        odd = await copy(3, x_amz_copy_source_range="bytes=1-")
        conditions = [
            await copy(3, x_amz_copy_source_if_match="x"),
            await copy(3, x_amz_copy_source_if_none_match=f'"{hashlib.md5(content).hexdigest()}"'),
            await copy(3, x_amz_copy_source_if_unmodified_since="Sat, 01 Jan 2000 00:00:00 GMT"),
            await copy(3, if_match="x"),
            await copy(3, "arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k"),
            await kept.ask("PUT", "/b/k", x_amz_copy_source="/b/a%20source", x_amz_copy_source_if_match="x"),
        ]
        same = await copy(4, x_amz_copy_source_if_match=f'"{hashlib.md5(content).hexdigest()}"')
        nowhere = await kept.ask("PUT", "/b/k?partNumber=1&uploadId=u", x_amz_copy_source="/b/a%20source")
        listed = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        done = await kept.complete(upload_id, {1: f'"{hashlib.md5(content[100:200_000]).hexdigest()}"'})
        stored = kept.stored()
        await until(lambda: kept.is_empty)

    assert (whole.status, found(whole, "ETag")) == (200, [f'"{hashlib.md5(content).hexdigest()}"'])
    assert (ranged.status, found(ranged, "ETag")) == (200, [f'"{hashlib.md5(content[100:200_000]).hexdigest()}"'])
    assert (code(piece), missing.status, code(missing)) == ("InvalidRange", 404, "NoSuchKey")
    assert [code(each) for each in (beyond, odd, nowhere)] == [
        "InvalidRange",
        "InvalidArgument",
        "NoSuchUpload",
    ]
    assert [code(each) for each in conditions] == [
        *["PreconditionFailed"] * 3,
        *["NotImplemented"] * 2,
        "PreconditionFailed",
    ]
    assert same.status == 200
    assert found(listed, "Size") == ["199900", "300000", "300000"]
    assert (done.status, stored) == (200, content[100:200_000])


SOURCE = bytes(range(250)) * 4
_TAG = hashlib.md5(SOURCE).hexdigest()


def source(status: str, body: bytes, *headers: str) -> bytes:
    """
    The response of a backend that has `SOURCE`.
    """
    lines = "".join(f"{line}\r\n" for line in (f'ETag: "{_TAG}"', *headers))
    length = "" if status.startswith(("204", "304")) else f"Content-Length: {len(body)}\r\n"
    return f"HTTP/1.1 {status}\r\n{lines}{length}\r\n".encode() + body


def has_source(response: bytes, *headers: str) -> FaultyBackend:
    """
    A backend that responds to GET with this response.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method == b"GET":
            connection.send(response)
        else:
            connection.send(source("200 OK", SOURCE, *headers).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")

    backend.on_request = on_request
    return backend


_VERSION = "x-amz-version-id: v"


@pytest.mark.parametrize(
    ("response", "wanted", "headers", "expected"),
    [
        (source("200 OK", SOURCE), "10-19", (), SOURCE[10:20]),
        (source("200 OK", SOURCE, _VERSION), "10-19", (_VERSION,), SOURCE[10:20]),
        (source("200 OK", SOURCE, _VERSION), "990-999", (_VERSION,), SOURCE[990:]),
        (source("200 OK", SOURCE, _VERSION), "5-1004", (_VERSION,), "InvalidRange"),
        (source("200 OK", SOURCE), "5-1004", (), "InvalidRange"),
        (source("206 Partial Content", SOURCE[10:20]), "10-19", (), SOURCE[10:20]),
        (source("206 Partial Content", SOURCE[:10]), "", (), "InternalError"),
        (source("201 Created", b"x"), "", (), "InternalError"),
        (source("203 Non-Authoritative", SOURCE), "", (), "InternalError"),
        (source("204 No Content", b""), "", (), "InternalError"),
        (source("304 Not Modified", b""), "", (), "InternalError"),
    ],
    ids=[
        "range",
        "version-range",
        "version-end",
        "version-beyond",
        "beyond",
        "piece",
        "206",
        "201",
        "203",
        "204",
        "304",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_source_that_is_answered_otherwise(
    tmp_path: Path, response: bytes, wanted: str, headers: tuple[str, ...], expected: bytes | str
) -> None:
    """
    The part is what the client asked for, whether the backend sends the whole object or a range; or it is refused.
    """
    async with recording(tmp_path, backend=has_source(response, *headers)) as kept:
        upload_id = await kept.begin()
        ranged = {"x_amz_copy_source_range": f"bytes={wanted}"} if wanted else {}
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        copied = await kept.ask("PUT", target, x_amz_copy_source="/b/source", **ranged)
        await until(lambda: kept.harness.uploads._turns.tokens == MAX_THREADS)
        contents = [(kept.directory / "parts" / name).read_bytes() for name in kept.files]

    if isinstance(expected, bytes):
        assert (copied.status, contents) == (200, [expected])
    else:
        assert (copied.status, code(copied), contents) == (416 if wanted else 500, expected, [])


@pytest.mark.parametrize(
    ("wanted", "sent", "expected"),
    [
        ("0-9", SOURCE[:10], SOURCE[:10]),
        ("10-19", SOURCE[10:20], SOURCE[10:20]),
        ("990-999", SOURCE[990:], SOURCE[990:]),
        ("990-1009", SOURCE[990:], None),
    ],
    ids=["start", "middle", "end", "beyond"],
)
@pytest_twisted.ensureDeferred
async def test_a_range_that_comes_with_status_200(
    tmp_path: Path, wanted: str, sent: bytes, expected: bytes | None
) -> None:
    """
    Walrus 4 sends a range with status 200: the part is that range, not a piece of it.
    """
    backend = has_source(source("200 OK", sent))
    async with recording(tmp_path, backend=backend, profile=PROFILES["walrusbackend-4.x"]) as kept:
        upload_id = await kept.begin()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        copied = await kept.ask("PUT", target, x_amz_copy_source="/b/source", x_amz_copy_source_range=f"bytes={wanted}")
        await until(lambda: kept.harness.uploads._turns.tokens == MAX_THREADS)
        contents = [(kept.directory / "parts" / name).read_bytes() for name in kept.files]

    assert (copied.status, contents) == ((416, []) if expected is None else (200, [expected]))


# Completion, and backends that fail


def puts(*responses: bytes, socket_buffer: int = 0) -> FaultyBackend:
    """
    A backend that sends each PUT the next response, and resets the connection if the response is empty.
    """
    backend = FaultyBackend(socket_buffer=socket_buffer)
    left = list(responses)

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method != b"PUT":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        elif following := left.pop(0):
            connection.send(following)
        else:
            connection.reset()

    backend.on_request = respond
    return backend


def holds_puts() -> tuple[FaultyBackend, list[FaultyConnection]]:
    """
    A backend that does not respond to PUT, and the connections on which it got one.
    """
    held: list[FaultyConnection] = []
    backend = puts()
    response = backend.on_request

    def hold(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method == b"PUT":
            held.append(connection)
        else:
            response(connection, request)

    backend.on_request = hold
    return backend, held


def kept_as(content: bytes) -> bytes:
    """
    The response of a backend that has stored an object.
    """
    return b'HTTP/1.1 200 OK\r\nETag: "%b"\r\nContent-Length: 0\r\n\r\n' % hashlib.md5(content).hexdigest().encode()


STORED = b"y" * 600_000


def told_as(status: str, document: bytes = b"") -> bytes:
    """
    A response with the entity tag of `STORED`, and any status and document.
    """
    etag = hashlib.md5(STORED).hexdigest()
    return f'HTTP/1.1 {status}\r\nETag: "{etag}"\r\nContent-Length: {len(document)}\r\n\r\n'.encode() + document


DENIED = b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>"
REFUSES = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\nContent-Type: application/xml\r\n\r\n%b" % (
    len(DENIED),
    DENIED,
)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (REFUSES, (403, ["AccessDenied"])),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", (500, ["InternalError"])),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", (500, ["InternalError"])),
        (
            b'HTTP/1.1 200 OK\r\nETag: "00000000000000000000000000000000"\r\nContent-Length: 0\r\n\r\n',
            (500, ["InternalError"]),
        ),
        (b"", (503, ["SlowDown"])),
        (told_as("201 Created"), (500, ["InternalError"])),
        (told_as("202 Accepted", b"<CompleteMultipartUploadResult/>"), (500, ["InternalError"])),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", (500, ["InternalError"])),
        (told_as("200 OK", b"<ExceptionResponse/>"), (500, ["InternalError"])),
        (told_as("200 OK", b"<Error><Code>InternalError</Code></Error>"), (500, ["InternalError"])),
        (told_as("200 OK", b"<" + b"x" * 100_000), (500, ["InternalError"])),
    ],
    ids=[
        "refused",
        "failed",
        "without-etag",
        "other-object",
        "lost",
        "created",
        "accepted",
        "not-modified",
        "fault",
        "error",
        "long",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_storage_that_does_not_take_it(tmp_path: Path, response: bytes, expected: tuple[int, str]) -> None:
    """
    The client reads the reason, and the upload remains: the next CompleteMultipartUpload succeeds.
    """
    content = STORED
    async with recording(tmp_path, backend=puts(response, kept_as(content))) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        refused = await kept.complete(upload_id, {1: etag})
        count = len(kept.files)
        done = await kept.complete(upload_id, {1: etag})
        is_empty = kept.is_empty
        (first, second) = [request for request in kept.harness.backend.requests if request.head.method == b"PUT"]

    assert (refused.status, found(refused, "Code")) == expected
    assert (count, done.status, found(done, "ETag"), is_empty) == (1, 200, [f'"{joined(content)}"'], True)
    assert first.body == second.body == content


@pytest_twisted.ensureDeferred
async def test_a_storage_that_answers_too_early(tmp_path: Path) -> None:
    """
    A success is not believed before the backend has the whole object.
    """
    content = os.urandom(3 * MIB)
    backend = puts(kept_as(content), socket_buffer=64 * 1024)

    def early(connection: FaultyConnection, head: RequestHead) -> None:
        if head.method == b"PUT":
            connection.pause()
            connection.send(b'HTTP/1.1 200 OK\r\nETag: "early"\r\nContent-Length: 0\r\n\r\n')

    backend.on_head = early
    async with recording(tmp_path, backend=backend) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        refused = await kept.complete(upload_id, {1: etag})
        count = len(kept.files)
        backend.on_head = lambda connection, head: None
        done = await kept.complete(upload_id, {1: etag})

    assert (refused.status, code(refused), count, done.status) == (500, "InternalError", 1, 200)


@pytest_twisted.ensureDeferred
async def test_what_the_storage_gets(tmp_path: Path) -> None:
    """
    One PUT, signed by s3proxy, with the headers of CreateMultipartUpload and none of CompleteMultipartUpload.
    """
    content = b"x" * 100_000
    async with recording(tmp_path, backend=puts(kept_as(content))) as kept:
        upload_id = await kept.begin(
            "/b/a%2Bb",
            content_type="text/x",
            cache_control="no-cache",
            x_amz_meta_name="value",
            x_amz_acl="public-read",
        )
        etag = await kept.put_part(upload_id, 1, content, "/b/a%2Bb", x_amz_meta_part="no")
        await kept.complete(upload_id, {1: etag}, "/b/a%2Bb", x_amz_meta_end="no", content_type="application/xml")
        (put,) = [request for request in kept.harness.backend.requests if request.head.method == b"PUT"]

    fields = put.head.fields
    assert put.head.raw_target == b"/services/Walrus/b/a%2Bb"
    # Walrus keeps no Cache-Control: s3proxy drops it, as for a PUT.
    assert (fields.value(b"content-type"), fields.value(b"cache-control")) == (b"text/x", None)
    assert (fields.value(b"x-amz-meta-name"), fields.value(b"x-amz-acl")) == (b"value", b"public-read")
    assert not {b"x-amz-meta-part", b"x-amz-meta-end", b"content-md5", b"x-amz-content-sha256"} & fields.keys()
    assert (fields.value(b"content-length"), put.body) == (b"100000", content)
    assert (fields.value(b"authorization") or b"").startswith(b"AWS BACKENDKEY:")


_IGNORED = {
    "x-amz-copy-source": "/secret/object",
    "x-amz-copy-source-range": "bytes=0-1",
    "x-amz-metadata-directive": "REPLACE",
    "x-amz-rename-source": "/secret/object",
    "x-amz-mfa": "1",
    "x-amz-unknown": "1",
}


@pytest.mark.parametrize("carrier", ["header", "query", "earlier version"])
@pytest_twisted.ensureDeferred
async def test_a_beginning_that_names_another_object(tmp_path: Path, carrier: str) -> None:
    """
    The request to the backend remains a PUT. A header that S3 ignores in CreateMultipartUpload must not turn it into a
    copy of an object that the client is not authorized to read.
    """
    content = b"x" * 1000
    target = "/b/earlier" if carrier == "earlier version" else "/b/k"
    async with recording(tmp_path, backend=puts(kept_as(content))) as kept:
        signer = Signer(now=kept.harness.now)
        if carrier == "earlier version":
            place = Place("test", BACKEND_KEY.access_key_id, b"b", b"earlier")
            headers = [(name.encode(), value.encode()) for name, value in {**_IGNORED, "x-amz-meta-a": "b"}.items()]
            upload_id = kept.kept.begin(place, "me", headers)
        elif carrier == "header":
            upload_id = await kept.begin(
                x_amz_meta_a="b", **{name.replace("-", "_"): value for name, value in _IGNORED.items()}
            )
        else:
            url = presigned(signer, "POST", "/b/k?uploads=", {**_IGNORED, "x-amz-meta-a": "b"})
            head = f"POST {url} HTTP/1.1\r\nHost: {signer.host}\r\nContent-Length: 0\r\n\r\n"
            response = await kept.harness.request(head.encode(), method="POST")
            assert response.status == 200, response.body
            (upload_id,) = found(response, "UploadId")
        etag = await kept.put_part(upload_id, 1, content, target)
        done = await kept.complete(upload_id, {1: etag}, target)
        sent = [request for request in kept.harness.backend.requests if request.head.method == b"PUT"]

    assert all(not _IGNORED.keys() & {name.decode() for name in request.head.fields} for request in sent)
    assert (done.status, [request.body for request in sent]) == (200, [content])
    assert sent[0].head.fields.value(b"x-amz-meta-a") == b"b"


@pytest_twisted.ensureDeferred
async def test_no_copy_comes_of_a_beginning(tmp_path: Path) -> None:
    """
    No request of a multipart upload names an object to copy from.
    """
    async with recording(tmp_path, backend=puts(kept_as(b"x"))) as kept:
        begun = await kept.ask("POST", "/b/none?uploads", x_amz_copy_source="/secret/object")
        for upload_id in found(begun, "UploadId"):
            etag = await kept.put_part(upload_id, 1, b"x", "/b/none")
            await kept.complete(upload_id, {1: etag}, "/b/none")
        sent = b"".join(request.raw_head for request in kept.harness.backend.requests)

    assert b"copy" not in sent


def presigned(signer: Signer, method: str, target: str, headers: dict[str, str]) -> str:
    """
    Return a presigned target, with the headers as its parameters.
    """
    path, _, query = target.partition("?")
    names = {
        **headers,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{signer.access_key_id}/{signer._scope}",
        "X-Amz-Date": signer._date,
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": "host",
    }
    items = [query, *[f"{name}={quote(value, safe='')}" for name, value in names.items()]]
    canonical = "&".join(sorted(items, key=lambda item: item.partition("=")[0]))
    text = f"{method}\n{path}\n{canonical}\nhost:{signer.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(text.encode()).hexdigest()
    signature = signer._sign(f"AWS4-HMAC-SHA256\n{signer._date}\n{signer._scope}\n{digest}")
    return f"{path}?{canonical}&X-Amz-Signature={signature}"


@pytest.mark.parametrize("is_kept", [True, False], ids=["kept", "refused"])
@pytest_twisted.ensureDeferred
async def test_a_storage_that_takes_long(tmp_path: Path, is_kept: bool) -> None:
    """
    The response begins before the backend's, as S3's does: white space keeps the client waiting, then the client reads
    the result or the error.
    """
    content = b"x" * 1000
    backend, held = holds_puts()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        head, body = kept.request("POST", f"/b/k?uploadId={upload_id}", completion({1: etag}))
        client = await kept.harness.connect()
        client.send(head + body)
        await until(lambda: held)
        clock.advance(KEEP_ALIVE_TIME - 1)
        await turns(3)
        early = bytes(client.received)
        for _ in range(4):
            clock.advance(KEEP_ALIVE_TIME)
            await turns(3)
        waiting = bytes(client.received)
        held[0].send(kept_as(content) if is_kept else REFUSES)
        answered = await client.response("POST")
        await until(lambda: kept.is_empty is is_kept)
        count = len(kept.files)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")

    assert early == b""
    assert waiting.startswith(b"HTTP/1.1 200 OK\r\n")
    assert waiting.count(b"\r\n1\r\n \r\n") or waiting.count(b"1\r\n \r\n") == 3
    assert answered.status == 200
    assert re.match(rb'<\?xml version="1.0" encoding="UTF-8"\?>\s+<', answered.body)
    # As S3 logs it: the status that was sent, and the error code of the result.
    (record,) = [one for one in kept.harness.records if one.operation is COMPLETE_MULTIPART_UPLOAD]
    assert (record.status, record.error_code) == (200, None if is_kept else "AccessDenied")
    if is_kept:
        assert (found(answered, "ETag"), count) == ([f'"{joined(content)}"'], 0)
    else:
        assert (found(answered, "Code"), found(answered, "Message"), count) == (["AccessDenied"], ["No."], 1)


async def in_white_space(
    kept: Kept, clock: Clock, held: list[FaultyConnection], upload_id: str, etag: str
) -> FaultyClient:
    """
    Complete an upload of one part at a backend that withholds its response; return the client once it has white space.
    """
    client = await kept.harness.connect()
    client.send(b"".join(kept.request("POST", f"/b/k?uploadId={upload_id}", completion({1: etag}))))
    await until(lambda: held)
    clock.advance(KEEP_ALIVE_TIME)
    await until(lambda: client.received)
    return client


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        ("400 Bad Request", b"<Error><Code>null</Code><Message>java.lang.Boom</Message></Error>", "InternalError"),
        ("500 Oops", b"<Error><Code>InternalError</Code><Message>java.lang.Boom</Message></Error>", "InternalError"),
        ("403 Forbidden", b"", "AccessDenied"),
        ("404 Not Found", b"", "InternalError"),
        ("307 Temporary Redirect", b"", "InternalError"),
        ("201 Created", b"", "InternalError"),
    ],
    ids=["null", "classes", "denied", "missing", "elsewhere", "created"],
)
@pytest_twisted.ensureDeferred
async def test_an_error_that_comes_late(tmp_path: Path, status: str, document: bytes, expected: str) -> None:
    """
    The document is S3's, as if the error had come at once: with a code, and without names of the backend's classes.
    """
    content = b"x" * 1000
    backend, held = holds_puts()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        client = await in_white_space(kept, clock, held, upload_id, etag)
        held[0].send(f"HTTP/1.1 {status}\r\nContent-Length: {len(document)}\r\n\r\n".encode() + document)
        answered = await client.response("POST")
        await until(lambda: not kept.kept._process.completing)

    assert (answered.status, code(answered)) == (200, expected)
    assert b"java" not in answered.body


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_while_a_late_error_is_read(tmp_path: Path) -> None:
    """
    s3proxy closes the backend's connection when the client leaves.
    """
    backend, held = holds_puts()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, b"x")
        client = await in_white_space(kept, clock, held, upload_id, etag)
        held[0].send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000\r\n\r\n<Error>")
        await until(lambda: not kept.kept._process.completing)
        client.transport.abortConnection()
        await until(lambda: kept.harness.proxy.running_count == 0)
        await until(lambda: held[0].lost is not None)
        aborted = await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")

    assert aborted.status == 204


@pytest.mark.parametrize(
    ("response", "expected", "aborted"),
    [
        (b"HTTP/1.1 2", "InternalError", {"backend_lost": 1}),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 99\r\n\r\n<Error>", "AccessDenied", {}),
    ],
    ids=["in-its-head", "in-a-refusal"],
)
@pytest_twisted.ensureDeferred
async def test_a_storage_that_is_lost_in_white_space(
    tmp_path: Path, response: bytes, expected: str, aborted: dict[str, int]
) -> None:
    """
    The client reads an error, and does not wait. It can complete the upload again. The logs say what happened.
    """
    content = b"x" * 1000
    backend, held = holds_puts()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        client = await in_white_space(kept, clock, held, upload_id, etag)
        held[0].send(response)
        held[0].end()
        answered = await client.response("POST")
        await until(lambda: kept.harness.proxy.running_count == 0)
        count = len(kept.files)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")

    (record,) = [one for one in kept.harness.records if one.operation is COMPLETE_MULTIPART_UPLOAD]
    assert (answered.status, count, record.status) == (200, 1, 200)
    assert (found(answered, "Code"), record.error_code) == ([expected], expected)
    assert re.findall("<RequestId>(.*?)<", answered.body.decode()) == [answered.header("x-amz-request-id")]
    assert kept.harness.proxy.context.counts.aborted == aborted


def is_waiting(clock: Clock) -> bool:
    """
    Return True if white space is due, unless something else comes first.
    """
    return any(call.getTime() == clock.seconds() + KEEP_ALIVE_TIME for call in clock.getDelayedCalls())


async def copied_slowly(
    kept: Kept, clock: Clock, held: list[FaultyConnection], finish: Callable[[FaultyConnection], None]
) -> tuple[bytes, bytes, Response, str]:
    """
    Copy a part from an object of 1,000 bytes. The backend sends half of it, and then ``finish`` acts on its connection.

    Returns:
        What the client received before the time for white space, and after it; the response; and the upload's id.
    """
    upload_id = await kept.begin()
    target = f"/b/k?partNumber=1&uploadId={upload_id}"
    client = await kept.harness.connect()
    client.send(kept.request("PUT", target, x_amz_copy_source="/b/source")[0])
    await until(lambda: held and is_waiting(clock))
    clock.advance(KEEP_ALIVE_TIME - 1)
    await turns(3)
    early = bytes(client.received)
    for _ in range(4):
        clock.advance(KEEP_ALIVE_TIME)
        await turns(3)
    waiting = bytes(client.received)
    finish(held[0])
    answered = await client.response("PUT")
    await until(lambda: kept.harness.proxy.running_count == 0)
    return early, waiting, answered, upload_id


def holds_source(length: int = 1000) -> tuple[FaultyBackend, list[FaultyConnection]]:
    """
    A backend that sends only the first 500 bytes of an object, and the connections on which it got the GET.
    """
    held: list[FaultyConnection] = []
    backend = puts()

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        head = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nLast-Modified: Sun, 01 Mar 2026 11:00:00 GMT\r\n'
        is_source = request.head.raw_target.endswith(b"/source")
        connection.send(head + b"Content-Length: %d\r\n\r\n" % (length if is_source else 0))
        if is_source and request.head.method == b"GET":
            connection.send(b"x" * 500)
            held.append(connection)

    backend.on_request = respond
    return backend, held


@pytest_twisted.ensureDeferred
async def test_a_source_that_takes_long(tmp_path: Path) -> None:
    """
    The response to UploadPartCopy begins before its end, as S3's does, once no error can need a status.
    """
    backend, held = holds_source()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        early, waiting, answered, upload_id = await copied_slowly(
            kept, clock, held, lambda connection: connection.send(b"x" * 500)
        )
        listed = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")

    assert early == b""
    assert waiting.startswith(b"HTTP/1.1 200 OK\r\n")
    assert waiting.count(b"1\r\n \r\n") == 3
    etag = f'"{hashlib.md5(b"x" * 1000).hexdigest()}"'
    assert re.match(rb'<\?xml version="1.0" encoding="UTF-8"\?>\s+<CopyPartResult', answered.body)
    assert (answered.status, found(answered, "ETag"), found(listed, "ETag")) == (200, [etag], [etag])
    (record,) = [one for one in kept.harness.records if one.operation is UPLOAD_PART_COPY]
    assert (record.status, record.error_code, record.object_size) == (200, None, 1000)


@pytest_twisted.ensureDeferred
async def test_a_source_that_is_lost_in_white_space(tmp_path: Path) -> None:
    """
    The client reads an error in the document, and the part does not exist.
    """
    backend, held = holds_source()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        early, _, answered, upload_id = await copied_slowly(kept, clock, held, lambda connection: connection.reset())
        listed = await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        await until(lambda: kept.is_empty)

    assert (early, answered.status, found(answered, "Code")) == (b"", 200, ["InternalError"])
    assert found(listed, "PartNumber") == []
    (record,) = [one for one in kept.harness.records if one.operation is UPLOAD_PART_COPY]
    assert (record.status, record.error_code) == (200, "InternalError")
    assert kept.harness.proxy.context.counts.aborted == {"backend_lost": 1}


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_a_copy(tmp_path: Path) -> None:
    """
    Also during the white space: s3proxy resets the source's connection, and keeps nothing.
    """
    backend, held = holds_source()
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        client = await kept.harness.connect()
        target = f"/b/k?partNumber=1&uploadId={upload_id}"
        client.send(kept.request("PUT", target, x_amz_copy_source="/b/source")[0])
        await until(lambda: held and is_waiting(clock))
        clock.advance(KEEP_ALIVE_TIME)
        await until(lambda: client.received)
        client.transport.abortConnection()
        await until(lambda: kept.harness.proxy.running_count == 0)
        await until(lambda: held[0].lost)
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        await until(lambda: kept.is_empty)

    assert kept.harness.proxy.context.counts.aborted["client_left"] == 1


@pytest.mark.parametrize("is_waiting", [False, True], ids=["before-an-answer", "in-white-space"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_at_the_end(tmp_path: Path, is_waiting: bool) -> None:
    """
    s3proxy resets the backend's connection. The upload can be completed again at once.
    """
    content = b"x" * 3 * MIB
    backend = puts(kept_as(content), socket_buffer=64 * 1024)
    backend.pause_after = MIB
    clock = Clock()
    async with recording(tmp_path, backend=backend, clock=clock) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        head, body = kept.request("POST", f"/b/k?uploadId={upload_id}", completion({1: etag}))
        client = await kept.harness.connect()
        client.send(head + body)
        await until(lambda: backend.pause_after is None)
        if is_waiting:
            clock.advance(KEEP_ALIVE_TIME)
            await until(lambda: client.received)
        client.transport.abortConnection()
        await until(lambda: kept.harness.proxy.running_count == 0)
        backend.pause_after = None
        for connection in backend.connections:
            if connection.lost is None:
                connection.resume()
        await until(lambda: not kept.harness.uploads._turns.tokens < 4)
        done = await kept.complete(upload_id, {1: etag})
        whole = [request for request in backend.requests if request.head.method == b"PUT"]
        is_empty = kept.is_empty

    assert (done.status, len(whole), is_empty) == (200, 1, True)


@pytest_twisted.ensureDeferred
async def test_two_that_complete_at_once(tmp_path: Path) -> None:
    """
    The second waits for the first, and reads the same response. Until then no client can abort the upload or send a
    part.
    """
    content = b"x" * 1000
    backend, held = holds_puts()
    async with recording(tmp_path, backend=backend) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        clients = []
        for _ in range(2):
            head, body = kept.request("POST", f"/b/k?uploadId={upload_id}", completion({1: etag}))
            client = await kept.harness.connect()
            client.send(head + body)
            clients.append(client)
        await until(lambda: held)
        aborted = await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        part = await kept.ask("PUT", f"/b/k?uploadId={upload_id}&partNumber=1", b"x")
        held[0].send(kept_as(content))
        responses = [await client.response("POST") for client in clients]
        is_empty = kept.is_empty

    assert [(each.status, code(each)) for each in (aborted, part)] == [(409, "OperationAborted")] * 2
    assert [found(each, "ETag") for each in responses] == [[f'"{joined(content)}"']] * 2
    assert (len(held), is_empty) == (1, True)


@pytest_twisted.ensureDeferred
async def test_a_disk_that_has_changed_a_part(tmp_path: Path) -> None:
    """
    The backend never has the whole request, so it stores no object.
    """
    content = os.urandom(900_000)
    backend = puts(kept_as(content))
    async with recording(tmp_path, backend=backend) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        (name,) = kept.files
        path = kept.directory / "parts" / name
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        refused = await kept.complete(upload_id, {1: etag})
        await until(lambda: backend.partial_count == 1)
        whole = [request for request in backend.requests if request.head.method == b"PUT"]
        path.write_bytes(content)
        done = await kept.complete(upload_id, {1: etag})

    assert (refused.status, code(refused), whole, done.status) == (500, "InternalError", [], 200)


@pytest_twisted.ensureDeferred
async def test_others_are_served_meanwhile(tmp_path: Path) -> None:
    """
    A backend that accepts everything at once does not occupy the reactor with one object: each block has its own turn.
    """
    content = os.urandom(4 * MIB)
    written: list[int] = []

    class Sink:
        def registerProducer(self, producer: Any, streaming: bool) -> None:
            pass

        def unregisterProducer(self) -> None:
            pass

        def write(self, data: bytes) -> None:
            written.append(len(data))

    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, content)
        (part,) = kept.kept.parts(upload_id, Place("test", "BACKENDKEY", b"b", b"k"), 0, 9)[1]
        ended: list[bool] = []
        joined_parts = JoinedParts([(part, kept.kept.path_of(part))])
        reader = PartsReader(reactor, joined_parts, Sink(), lambda: ended.append(True), ended.append)
        reader.start()
        most = len(written)
        while not ended:
            before = len(written)
            await turns()
            most = max(most, len(written) - before)
        done = await kept.complete(upload_id, {1: etag})

    assert (sum(written), ended, done.status) == (len(content), [True], 200)
    assert most <= 2


@pytest.mark.parametrize("is_full", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_end_is_told_with_the_last_byte(tmp_path: Path, *, is_full: bool) -> None:
    """
    A backend may respond as soon as it has the last byte. s3proxy does not believe a response that comes before the end
    of the upload. So the end is reported before the reactor reads again, also if the socket was full and the last byte
    is sent later.
    """
    content = os.urandom(MIB)
    written: list[int] = []
    ended: list[int] = []

    class Turns(Clock):
        def callLater(self, when: float, *arguments: Any, **named: Any) -> Any:
            # A call that is due at once runs in the next turn, which is one second here.
            return super().callLater(when + 1, *arguments, **named)

    class Sink:
        def registerProducer(self, producer: Any, streaming: bool) -> None:
            pass

        def unregisterProducer(self) -> None:
            pass

        def write(self, data: bytes) -> None:
            written.append(len(data))
            if is_full:
                reader.pauseProducing()

    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        await kept.put_part(upload_id, 1, content)
        (part,) = kept.kept.parts(upload_id, Place("test", "BACKENDKEY", b"b", b"k"), 0, 9)[1]
        clock = Turns()
        joined_parts = JoinedParts([(part, kept.kept.path_of(part))])
        reader = PartsReader(clock, joined_parts, Sink(), lambda: ended.append(sum(written)), ended.append)
        reader.start()
        early: list[int] = []
        while sum(written) < len(content):
            early += ended
            clock.advance(1)
            if is_full and sum(written) < len(content):
                reader.resumeProducing()
        if is_full:
            early += ended
            reader.resumeProducing()

    assert (early, ended, clock.getDelayedCalls()) == ([], [len(content)], [])


@pytest_twisted.ensureDeferred
async def test_an_object_that_is_too_large(tmp_path: Path) -> None:
    """
    One PUT to the backend has a maximum size, and so has the object.
    """
    async with keeping(tmp_path, body_limits=BodyLimits(object_size=6 * MIB)) as kept:
        upload_id = await kept.begin()
        etags = {
            1: await kept.put_part(upload_id, 1, b"x" * 5 * MIB),
            2: await kept.put_part(upload_id, 2, b"y" * 2 * MIB),
        }
        refused = await kept.complete(upload_id, etags)
        target = f"/b/k?partNumber=3&uploadId={upload_id}"
        part = await kept.ask("PUT", target, b"z" * (6 * MIB + 1))
        await kept.ask("PUT", "/b/source", b"s" * 1000)
        settings = kept.harness.proxy.context.settings
        kept.harness.proxy.context.settings = replace(settings, body_limits=BodyLimits(object_size=999))
        copied = await kept.ask("PUT", target, x_amz_copy_source="/b/source")
        stored = kept.stored()

    assert [(each.status, code(each)) for each in (refused, part, copied)] == [(400, "EntityTooLarge")] * 3
    assert stored is None


@pytest_twisted.ensureDeferred
async def test_the_access_log(tmp_path: Path) -> None:
    """
    Each operation is logged with its name, its size and its error.
    """
    async with keeping(tmp_path) as kept:
        upload_id = await kept.begin()
        etag = await kept.put_part(upload_id, 1, b"abc")
        await kept.ask("GET", "/b?uploads")
        await kept.ask("GET", f"/b/k?uploadId={upload_id}")
        await kept.complete(upload_id, {1: etag})
        await kept.ask("DELETE", f"/b/k?uploadId={upload_id}")
        records = [
            (
                record.operation.log_name if record.operation else "",
                record.status,
                record.error_code,
                record.object_size,
            )
            for record in kept.harness.records
        ]

    assert records == [
        ("REST.POST.UPLOADS", 200, None, None),
        ("REST.PUT.PART", 200, None, 3),
        ("REST.GET.UPLOADS", 200, None, None),
        ("REST.GET.UPLOAD", 200, None, None),
        ("REST.POST.UPLOAD", 200, None, 3),
        ("REST.DELETE.UPLOAD", 404, "NoSuchUpload", None),
    ]


@pytest_twisted.ensureDeferred
async def test_a_list_is_counted_until_its_client_has_taken_it(tmp_path: Path) -> None:
    """
    Clients that read nothing cannot fill the memory with lists: each list counts, and further ones wait for room.
    """
    limits = StoreLimits(size=200 * MIB, uploads=200, uploads_of_owner=200, expires=7 * 86400)
    options: dict[str, Any] = {"limits": limits, "budget_limits": BudgetLimits(memory=300_000), "socket_buffer": 16384}
    async with keeping(tmp_path, **options) as kept:
        budgets = kept.harness.proxy.context.budgets
        for number in range(120):
            await kept.begin("/b/" + quote("&" * 250 + str(number)))
        clients = [await kept.harness.connect() for _ in range(3)]
        counted = []
        for client in clients:
            client.transport.pauseProducing()
            client.send(kept.request("GET", "/b?uploads")[0])
            await until(lambda: budgets.used["memory"])
            await turns(50)
            counted.append(budgets.used["memory"])
        for client in clients:
            client.transport.resumeProducing()
        responses = [await client.response("GET") for client in clients]
        await until(lambda: not budgets.used["memory"])

    sizes = {len(response.body) for response in responses if response is not None}
    assert sizes == {counted[0]}
    assert counted == [counted[0]] * 3
    assert counted[0] > 150_000
    assert [response.status for response in responses if response is not None] == [200] * 3
