"""
Public bug reports about other S3 software, tried here: s3proxy responds to what those clients send as S3 does.

Each test names its reports. ``docs/explanation/field-log.md`` says what was right here, and what was wrong.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from s3proxy.exchange.replay import ReplayWindow
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.head import parse_request_head
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import Response
from tests.support.carriers import DATE, FIELDS, HOST, KEY, SECRET, send, signed_by, v2, v2_query
from tests.support.forms import v2_fields, v4_fields
from tests.support.harness import BACKEND_KEY, Harness, turns, until
from tests.support.signer import HASH, MODES, SIGNED_CHUNKS, UNSIGNED, UNSIGNED_TRAILER, SignedRequest, Signer
from tests.support.wire_cases import element

BACKENDS = {
    "generic by V4": ("generic", "v4"),
    "ceph-rgw by V2": ("ceph-rgw", "v2"),
    "riakcs by V2": ("riakcs", "v2"),
    "walrus-3.4 by V2": ("walrus-3.4", "v2"),
}
WALRUS = ("walrus-3.4", "walrusbackend-4.x", "osg-4.3")
ETAG = '"5d41402abc4b2a76b9719d911017c592"'
TARGET = "/test-bucket/k"


def of(backend: str) -> dict[str, Any]:
    """
    Return a harness's options for one of `BACKENDS`, or for a profile with Signature V2.
    """
    profile, signature = BACKENDS.get(backend, (backend, "v2"))
    return {"profile": PROFILES[profile], "signature": signature}


def head_request(head: bytes) -> SignedRequest:
    """
    Return a request without a body.
    """
    return SignedRequest(head, b"")


def answering(response: Callable[[ReceivedRequest], bytes]) -> FaultyBackend:
    """
    Return a backend that sends the response that a function returns for a request.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(response(request))
    return backend


def response(body: bytes, *headers: str, length: int | None = None) -> bytes:
    """
    Return a successful response.
    """
    lines = "".join(f"{header}\r\n" for header in headers)
    return (
        f"HTTP/1.1 200 OK\r\n{lines}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
    )


def storing(content: bytes) -> FaultyBackend:
    """
    Return a backend whose objects all have this content. It reads ranges as Walrus does: from the first byte only.
    """

    def received(request: ReceivedRequest) -> bytes:
        described = (f"ETag: {ETAG}", "Last-Modified: Sun, 01 Mar 2026 11:00:00 GMT")
        if request.head.method == b"HEAD":
            return response(b"", *described, length=len(content))
        found = re.fullmatch(rb"bytes=(\d+)-(\d+)", request.head.fields.value(b"range") or b"")
        part = content if found is None else content[int(found[1]) : int(found[2]) + 1]
        return response(part, *described)

    return answering(received)


# Signatures and Host

PORTS = ["s3.example.test:443", "s3.example.test:80", "S3.example.test.:443", "test-bucket.s3.example.test:443"]


def with_host(head: bytes, host: str) -> bytes:
    """
    Return a signed head with another Host.
    """
    return re.sub(rb"(?im)^host: [^\r]+", b"Host: " + host.encode(), head)


def carried(carrier: str, host: str) -> SignedRequest:
    """
    Return a request for TARGET that was signed for a host without a port.
    """
    is_virtual = host.startswith("test-bucket.")
    target = "/k" if is_virtual else TARGET
    signer = Signer(host=host)
    if carrier in {"v4a-header", "v4a-query"}:
        return signed_by(carrier)
    if carrier == "query":
        return head_request(f"GET {signer.presign('GET', target)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    if carrier == "header":
        return head_request(signer.head("GET", target)[0])
    return signer.put(target, b"hello" * 40_000, carrier)


@pytest.mark.parametrize("host", PORTS)
@pytest.mark.parametrize("carrier", ["header", "query", *MODES])
@pytest_twisted.ensureDeferred
async def test_the_default_port_may_be_sent_though_it_was_not_signed(carrier: str, host: str) -> None:
    """
    velero-plugin-for-aws 13 and 327, boto3 2179, minio 9169: the URL has a port that its signer left out; S3 does, too.
    """
    request = carried(carrier, host.rpartition(":")[0])

    response, harness = await send(SignedRequest(with_host(request.head, host), request.body))

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == TARGET.encode()
    if carrier in MODES:
        assert harness.backend.requests[0].size == 200_000


@pytest.mark.parametrize("carrier", ["v4a-header", "v4a-query"])
@pytest_twisted.ensureDeferred
async def test_the_default_port_may_be_sent_under_sigv4a(carrier: str) -> None:
    """
    velero-plugin-for-aws 13 and 327, for asymmetric signatures.
    """
    request = carried(carrier, "s3.example.test")

    response, _ = await send(SignedRequest(with_host(request.head, "s3.example.test:443"), b""))

    assert response.status == 200


@pytest.mark.parametrize(
    ("signed", "sent"),
    [
        ("s3.example.test", "s3.example.test:8080"),
        ("s3.example.test", "other.example.test:443"),
        ("s3.example.test", "s3.example.test:0443"),
        ("s3.example.test", "s3.example.test:443:443"),
        ("s3.example.test:443", "s3.example.test"),
        ("s3.example.test:8443", "s3.example.test:443"),
        ("s3.example.test:80", "s3.example.test:443"),
    ],
)
@pytest.mark.parametrize("carrier", ["header", "query"])
@pytest_twisted.ensureDeferred
async def test_any_other_host_than_the_signed_one_is_refused(carrier: str, signed: str, sent: str) -> None:
    """
    aws-cli 2883, aws-sdk-rust 1244: a port that was signed and not sent is a mismatch at S3; so is any other port.
    """
    request = carried(carrier, signed)

    response, harness = await send(SignedRequest(with_host(request.head, sent), b""))

    assert response.status in {400, 403}
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_port_makes_no_other_request_of_a_replay() -> None:
    """
    The default port in Host does not make a replayed request a new one: a signature passes once, with the port or
    without.
    """
    harness = Harness(replay_window=ReplayWindow(900, 10))
    request = Signer().put(TARGET, b"hello", HASH)

    statuses = [
        (await harness.request(with_host(request.head, host), request.body)).status
        for host in ("s3.example.test", "s3.example.test:443", "s3.example.test:80")
    ]
    await harness.close()

    assert statuses == [200, 403, 403]


SPACES = [(b",", b","), (b",  ", b","), (b" , ", b"\t,\t"), (b",", b", ")]


@pytest.mark.parametrize("separators", SPACES)
@pytest_twisted.ensureDeferred
async def test_white_space_in_authorization_means_nothing(separators: tuple[bytes, bytes]) -> None:
    """
    teleport 50866, riak_cs 1166, scylladb 9568: some clients write spaces after the commas, and some do not.
    """
    head = Signer().head("GET", TARGET)[0]
    first, second = separators
    head = head.replace(b", SignedHeaders", first + b"SignedHeaders").replace(b", Signature", second + b"Signature")

    response, _ = await send(head_request(head))

    assert response.status == 200


@pytest.mark.parametrize("backend", BACKENDS)
@pytest_twisted.ensureDeferred
async def test_a_signed_expect_is_verified_and_answered(backend: str) -> None:
    """
    versitygw 1517, cyberduck 10170, discourse 9591: Expect is among the signed headers, and a hop handles it.
    """
    head = Signer().head("PUT", TARGET, {"expect": "100-continue", "content-length": "5"}, payload=UNSIGNED)[0]

    response, harness = await send(SignedRequest(head, b"hello"), **of(backend))

    assert (response.status, response.interim) == (200, [100])
    assert harness.backend.requests[0].body == b"hello"


@pytest_twisted.ensureDeferred
async def test_a_signed_cookie_is_a_header_like_any_other() -> None:
    """
    cyberduck 15983: a load balancer set a cookie, and the client signs what it sends back.
    """
    response, harness = await send(head_request(Signer().head("GET", TARGET, {"cookie": "LB=1; b=2"})[0]))

    assert response.status == 200
    assert harness.backend.requests[0].head.fields.get(b"cookie", (b"LB=1; b=2",)) == (b"LB=1; b=2",)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest_twisted.ensureDeferred
async def test_headers_of_a_body_that_is_not_there_are_verified(method: str, backend: str) -> None:
    """
    aws-c-s3 514, mountpoint-s3 1381, rust-s3 450: a read signs a Content-Length of 0 and Content-Type; hops drop them.
    """
    signed = {"content-length": "0", "content-type": "text/plain"}

    response, harness = await send(
        head_request(Signer().head(method, TARGET, signed)[0]), backend=storing(b"hello"), **of(backend)
    )

    assert response.status == 200
    assert {request.head.method.decode() for request in harness.backend.requests} == {method}


@pytest_twisted.ensureDeferred
async def test_a_token_that_was_added_after_signing_is_refused() -> None:
    """
    rusoto 1939, aws-c-auth 109: some services of AWS expect X-Amz-Security-Token outside the signature. S3 does not.
    """
    target = Signer().presign("GET", TARGET) + "&X-Amz-Security-Token=abc"

    response, harness = await send(head_request(f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode()))

    assert response.status == 403
    assert harness.backend.requests == []


@pytest.mark.parametrize("name", ["x-amz-security-token", "x-amz-acl", "x-amz-tagging"])
@pytest_twisted.ensureDeferred
async def test_an_amz_header_that_is_not_signed_is_named(name: str) -> None:
    """
    soto-core 99, ex_aws_s3 73, minio-dart 92: the error names the header that was left out of the signature.
    """
    head = Signer().head("PUT", TARGET, unsigned={name: "abc", "Content-Length": "0"})[0]

    response, harness = await send(head_request(head))

    assert (response.status, element(response.body, "Code")) == (403, "AccessDenied")
    assert element(response.body, "HeadersNotSigned") == name
    assert harness.backend.requests == []


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE"])
@pytest_twisted.ensureDeferred
async def test_the_url_of_a_read_is_good_for_that_read_alone(method: str) -> None:
    """
    moby 50065, distribution 2055: HEAD of a URL that was presigned for GET is 403, and has no body.
    """
    target = Signer().presign("GET", TARGET)
    length = "Content-Length: 0\r\n" if method == "PUT" else ""

    response, harness = await send(head_request(f"{method} {target} HTTP/1.1\r\n{HOST}{length}\r\n".encode()))

    assert response.status == 403
    assert method != "HEAD" or response.body == b""
    assert harness.backend.requests == []


def presigned_put(body: bytes, length: int, checksum: str) -> SignedRequest:
    """
    Return a PUT of ``hello`` whose URL fixes length and checksum, but which is sent with other values.
    """
    signer = Signer()
    sha256 = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    signed = {"content-length": "5", "host": signer.host, "x-amz-checksum-sha256": sha256}
    names = ";".join(signed)
    parameters = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{KEY}/20260301/us-east-1/s3/aws4_request",
        "X-Amz-Date": "20260301T120000Z",
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": names,
    }
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
    lines = "".join(f"{name}:{value}\n" for name, value in signed.items())
    digest = hashlib.sha256(f"PUT\n{TARGET}\n{query}\n{lines}\n{names}\nUNSIGNED-PAYLOAD".encode()).hexdigest()
    key = f"AWS4{SECRET}".encode()
    text = f"AWS4-HMAC-SHA256\n20260301T120000Z\n20260301/us-east-1/s3/aws4_request\n{digest}"
    for part in ("20260301", "us-east-1", "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    target = f"{TARGET}?{query}&X-Amz-Signature={key.hex()}"
    headers = f"Content-Length: {length}\r\nx-amz-checksum-sha256: {checksum or sha256}\r\n"
    return SignedRequest(f"PUT {target} HTTP/1.1\r\n{HOST}{headers}\r\n".encode(), body)


@pytest.mark.parametrize(
    ("body", "checksum", "status", "code"),
    [
        (b"hello", "", 200, ""),
        (b"hello!", "", 403, "SignatureDoesNotMatch"),
        (b"hullo", "", 400, "BadDigest"),
        (b"hello", "A" * 43 + "=", 403, "SignatureDoesNotMatch"),
    ],
    ids=["as signed", "longer", "other bytes", "other checksum"],
)
@pytest_twisted.ensureDeferred
async def test_a_url_may_fix_length_and_checksum_of_an_upload(
    body: bytes, checksum: str, status: int, code: str
) -> None:
    """
    w3infra 79, bun 23398: content-length and x-amz-checksum-sha256 are signed headers of a presigned PUT.
    """
    response, harness = await send(presigned_put(body, len(body), checksum))

    assert response.status == status
    assert not code or element(response.body, "Code") == code
    assert [request.body for request in harness.backend.requests] == ([b"hello"] if status == 200 else [])


ZONES = ["Sun, 01 Mar 2026 12:00:00 UTC", "Sun, 1 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 2026 12:00:00 +0000"]


@pytest.mark.parametrize("date", ZONES)
@pytest_twisted.ensureDeferred
async def test_a_list_of_an_old_registry_is_verified(date: str) -> None:
    """
    pithos 86: Docker's registry signs ``/bucket/`` and a date of the zone UTC with Signature V2, and no parameter.
    """
    signature = base64.b64encode(hmac.digest(SECRET.encode(), f"GET\n\n\n{date}\n/test-bucket/".encode(), "sha1"))
    head = f"GET /test-bucket/?prefix=&delimiter=/&max-keys=1000&marker= HTTP/1.1\r\n{HOST}Date: {date}\r\n"
    head += f"Authorization: AWS {KEY}:{signature.decode()}\r\n\r\n"

    response, harness = await send(head_request(head.encode()), **of("ceph-rgw by V2"))

    assert response.status == 200
    assert b"delimiter=/" in harness.backend.requests[0].head.raw_target


@pytest_twisted.ensureDeferred
async def test_the_type_of_a_document_is_signed_under_v2() -> None:
    """
    s3fs-fuse 134: CompleteMultipartUpload has a Content-Type, which is one line of the V2 string to sign.
    """
    document = (
        b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
    )
    text = f"POST\n\napplication/xml\n{DATE}\n{TARGET}?uploadId=u"
    statuses = []
    for sent in ("application/xml", "text/xml"):
        signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
        head = f"POST {TARGET}?uploadId=u HTTP/1.1\r\n{HOST}Date: {DATE}\r\nContent-Type: {sent}\r\n"
        head += f"Content-Length: {len(document)}\r\nAuthorization: AWS {KEY}:{signature}\r\n\r\n"
        response, _ = await send(SignedRequest(head.encode(), document), **of("ceph-rgw by V2"))
        statuses.append(response.status)

    assert statuses == [200, 403]


# Paths and queries

KEYS = ["mac@2x.png", "14:12:16", "year=2020/month=04", "libstdc++-docs", "%2F.txt", "a%252Fb", "a,b(c)'!*", "[1]|{2}"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("key", KEYS)
@pytest_twisted.ensureDeferred
async def test_a_key_is_the_same_however_its_path_is_written(key: str, backend: str) -> None:
    """
    envoy 42165 and 35023, aws-sigv4-proxy 176 and 246, aws-s3-reverse-proxy 3, ngx_aws_auth 87, k6-jslib-aws 78: a
    proxy signs one spelling of a path and sends another.
    """
    response, harness = await send(head_request(Signer().head("GET", f"/test-bucket/{key}")[0]), **of(backend))

    assert response.status == 200
    path = harness.backend.requests[0].head.raw_path
    assert unquote_to_bytes(path).endswith(unquote_to_bytes(f"/test-bucket/{key}"))
    # Walrus decodes a path before it looks for the end of the bucket's name.
    assert backend.startswith("walrus") or (b"%2F" in path) == ("%2F" in key)


@pytest.mark.parametrize("carrier", ["header", "query"])
@pytest_twisted.ensureDeferred
async def test_parameters_are_sorted_before_they_are_signed(carrier: str) -> None:
    """
    envoy 16918, duckdb 7698: parameters in any order, with escapes or without, after a bucket that ends in a slash.
    """
    target = "/test-bucket/?prefix=day%3D1%2Fa=b&list-type=2&delimiter=/&encoding-type=url"
    head = Signer().head("GET", target)[0]
    if carrier == "query":
        resource = "GET\n\n\n1772366460\n/test-bucket/"
        head = v2_query("/test-bucket/?prefix=day%3D1%2Fa=b&delimiter=/", resource).head

    response, harness = await send(head_request(head))

    assert response.status == 200
    assert b"prefix=day%3D1%2Fa=b" in harness.backend.requests[0].head.raw_target


# Bodies and framing

BODILESS = {
    "CreateBucket": ("PUT", "/test-bucket", {}),
    "CreateMultipartUpload": ("POST", f"{TARGET}?uploads", {}),
    "CopyObject": ("PUT", TARGET, {"x-amz-copy-source": "/test-bucket/o"}),
    "UploadPartCopy": ("PUT", f"{TARGET}?partNumber=1&uploadId=u", {"x-amz-copy-source": "/test-bucket/o"}),
    "PutObjectAcl": ("PUT", f"{TARGET}?acl", {"x-amz-acl": "private"}),
    "DeleteObject": ("DELETE", TARGET, {}),
    "GetObject": ("GET", TARGET, {}),
}


@pytest.mark.parametrize("framing", ["no length", "an empty chunked body"])
@pytest.mark.parametrize("backend", ["generic by V4", "ceph-rgw by V2"])
@pytest.mark.parametrize("operation", BODILESS)
@pytest_twisted.ensureDeferred
async def test_an_operation_without_a_body_needs_no_length(operation: str, backend: str, framing: str) -> None:
    """
    s3s 751, node-http-proxy 373 and 960: a hop removes Content-Length, or makes an empty chunked body of it.
    """
    method, target, signed = BODILESS[operation]
    unsigned = {} if framing == "no length" else {"Transfer-Encoding": "chunked"}
    head = Signer().head(method, target, signed, unsigned=unsigned)[0]

    response, harness = await send(SignedRequest(head, b"0\r\n\r\n" if unsigned else b""), **of(backend))

    assert response.status == 200
    received = harness.backend.requests[0]
    assert (received.size, b"transfer-encoding" in received.head.fields) == (0, False)
    assert received.head.fields.get(b"content-length", (b"0",)) == (b"0",)


@pytest_twisted.ensureDeferred
async def test_a_chunked_body_without_a_decoded_length_names_its_header() -> None:
    """
    haproxy 2076, gaul/s3proxy 134, requests 1648: S3 accepts no plain body in chunked transfer coding, and says why.
    """
    head = Signer().head("PUT", TARGET, payload=UNSIGNED, unsigned={"Transfer-Encoding": "chunked"})[0]

    response, harness = await send(SignedRequest(head, b"5\r\nhello\r\n0\r\n\r\n"))

    assert (response.status, element(response.body, "Code")) == (501, "NotImplemented")
    assert element(response.body, "Header") == "Transfer-Encoding"
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_two_lengths_of_one_body_are_refused() -> None:
    """
    minio 7266: amazonka sends Transfer-Encoding with Content-Length. S3 accepts that; two hops could read two requests.
    """
    request = Signer().put(TARGET, b"hello", SIGNED_CHUNKS, transfer_chunks=100)
    head = request.head.replace(b"\r\n\r\n", b"\r\nContent-Length: 176\r\n\r\n")

    response, harness = await send(SignedRequest(head, request.body))

    assert response.status == 400
    assert harness.backend.requests == []


CODINGS = {
    "gzip, aws-chunked": b"gzip",
    "aws-chunked,gzip": b"gzip",
    "AWS-Chunked": None,
    "aws-chunked,": None,
    "gzip,aws-chunked,br": b"gzip,br",
    "aws-chunked, aws-chunked": None,
}


@pytest.mark.parametrize("mode", [UNSIGNED_TRAILER, SIGNED_CHUNKS, HASH])
@pytest.mark.parametrize("coding", CODINGS)
@pytest_twisted.ensureDeferred
async def test_the_codings_of_an_object_are_kept_without_aws_chunked(coding: str, mode: str) -> None:
    """
    trinodb/aws-proxy 100, noobaa-core 10054, amazonka 681: the name of the framing was stored with the object.
    """
    signer = Signer()
    signed = {"content-encoding": coding}
    if mode == HASH:
        request = signer.put(TARGET, b"hello", HASH, headers=signed)
    else:
        signed["x-amz-decoded-content-length"] = "5"
        if mode == UNSIGNED_TRAILER:
            signed["x-amz-trailer"] = "x-amz-checksum-crc32"
        length = len(signer.encode(b"hello", mode, "0" * 64, 65536))
        head, seed = signer.head("PUT", TARGET, signed, payload=mode, unsigned={"Content-Length": str(length)})
        request = SignedRequest(head, signer.encode(b"hello", mode, seed, 65536))

    response, harness = await send(request)

    assert response.status == 200
    assert harness.backend.requests[0].head.fields.value(b"content-encoding") == CODINGS[coding]


@pytest.mark.parametrize("ending", ["whole", "ended", "reset"])
@pytest.mark.parametrize("is_sized", [True, False], ids=["with a length", "chunked"])
@pytest_twisted.ensureDeferred
async def test_a_cut_object_is_never_whole_to_http_1_0(ending: str, *, is_sized: bool) -> None:
    """
    gumroad 7468, capistrano-puma 277, nextcloud 42248: nginx sends HTTP/1.0, where the end of the connection is the end
    of the body. A backend that fails must not look like that.
    """
    framed = b"Content-Length: 10\r\n\r\nhello" if is_sized else b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
    rest = b"world" if is_sized else b"5\r\nworld\r\n0\r\n\r\n"
    backend = FaultyBackend()
    connections: list[FaultyConnection] = []

    def begin(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n" + framed)
        connections.append(connection)

    backend.on_request = begin
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(Signer().head("GET", TARGET)[0].replace(b"HTTP/1.1", b"HTTP/1.0"))
    await until(lambda: b"hello" in client.received)
    if ending == "whole":
        connections[0].send(rest)
    elif ending == "ended":
        connections[0].end()
    else:
        connections[0].reset()
    await until(lambda: client.lost)
    await harness.close()

    head, _, body = client.received.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body == (b"helloworld" if ending == "whole" else b"hello")
    assert client.lost is not None
    assert type(client.lost.value).__name__ == ("ConnectionDone" if ending == "whole" else "ConnectionLost")


@pytest_twisted.ensureDeferred
async def test_a_pooled_connection_of_a_hop_is_kept_longer_than_by_the_hop() -> None:
    """
    rustfs 3076: nginx keeps an idle connection for 60 seconds, and an upload fails on one that the server has closed.
    """
    clock = Clock()
    harness = Harness(clock=clock)
    client = await harness.connect()
    statuses = []
    for _ in range(3):
        client.send(Signer().head("GET", TARGET)[0])
        statuses.append((await client.response()).status)
        clock.advance(60)
        await turns(5)
    is_open = client.lost is None
    clock.advance(20)
    await until(lambda: client.lost)
    await harness.close()

    assert (statuses, is_open) == ([200, 200, 200], True)


# Metadata and copies


@pytest.mark.parametrize("backend", ["generic by V4", "ceph-rgw by V2"])
@pytest_twisted.ensureDeferred
async def test_metadata_arrive_as_they_were_signed(backend: str) -> None:
    """
    lakeFS 9588, minio-py 764, libcloud 1607: words in the form of RFC 2047, and names with an underscore.
    """
    metadata = {"x-amz-meta-name": "=?UTF-8?B?0YTQsNC50Ls=?=", "x-amz-meta-content_type": "text/x"}
    head = Signer().head("PUT", TARGET, metadata, unsigned={"Content-Length": "0"})[0]

    response, harness = await send(head_request(head), **of(backend))

    assert response.status == 200
    fields = harness.backend.requests[0].head.fields
    assert {name: fields.value(name.encode()) for name in metadata} == {n: v.encode() for n, v in metadata.items()}


def signature_of(request: ReceivedRequest, amz_lines: str) -> str:
    """
    Return the Signature V2 of a request as a backend computes it from these lines.
    """
    text = f"{request.head.method.decode()}\n\n\n\n{amz_lines}{request.head.raw_target.decode()}"
    key = BACKEND_KEY.secret_access_key.encode()
    return base64.b64encode(hmac.digest(key, text.encode(), "sha1")).decode()


@pytest.mark.parametrize(
    ("profile", "name"), [("ceph-rgw", "x-amz-meta-content-type"), ("riakcs", "x-amz-meta-content_type")]
)
@pytest.mark.parametrize("operation", ["PutObject", "CreateMultipartUpload", "CopyObject"])
@pytest_twisted.ensureDeferred
async def test_a_name_with_an_underscore_is_signed_as_the_storage_reads_it(
    operation: str, profile: str, name: str
) -> None:
    """
    z3 24, libcloud 1607: under CGI an underscore becomes a hyphen. Ceph then signs ``x-amz-meta-content-type``.
    """
    signed = {"x-amz-meta-content_type": "text/x", "x-amz-meta-a": "b"}
    if operation == "CopyObject":
        signed |= {"x-amz-copy-source": "/test-bucket/o", "x-amz-metadata-directive": "REPLACE"}
    method, target = ("POST", f"{TARGET}?uploads") if operation == "CreateMultipartUpload" else ("PUT", TARGET)
    head = Signer().head(method, target, signed, unsigned={"Content-Length": "0"})[0]

    _, harness = await send(head_request(head), profile=PROFILES[profile], signature="v2")

    request = harness.backend.requests[0]
    lines = {name: "text/x", **{other: value for other, value in signed.items() if "_" not in other}}
    lines["x-amz-date"] = (request.head.fields.value(b"x-amz-date") or b"").decode()
    text = "".join(f"{other}:{lines[other]}\n" for other in sorted(lines))
    sent = (request.head.fields.value(b"authorization") or b"").decode()
    assert sent.rpartition(":")[2] == signature_of(request, text)
    assert request.head.fields.value(b"x-amz-meta-content_type") == b"text/x"


@pytest.mark.parametrize("backend", ["ceph-rgw by V2", "ceph-rgw"])
@pytest.mark.parametrize("names", [("a_b", "a-b"), ("a-b", "a_b"), ("a_b_c", "a-b_c"), ("_", "-")])
@pytest_twisted.ensureDeferred
async def test_two_names_that_are_one_to_the_storage_are_refused(names: tuple[str, str], backend: str) -> None:
    """
    z3 24, zulip 13234: under CGI both names are one, and Ceph would lose one of the values.
    """
    signed = {f"x-amz-meta-{name}": str(number) for number, name in enumerate(names)}
    head = Signer().head("PUT", TARGET, signed, unsigned={"Content-Length": "0"})[0]

    response, harness = await send(head_request(head), **of(backend))
    kept, elsewhere = await send(head_request(head), **of("riakcs"))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert element(response.body, "ArgumentName") == f"x-amz-meta-{names[1]}"
    assert harness.backend.requests == []
    assert (kept.status, len(elsewhere.backend.requests)) == (200, 1)


@pytest.mark.parametrize(
    ("query", "ceph", "others"),
    [
        ("response-content-encoding=", "?response-content-encoding", "?response-content-encoding="),
        ("response-content-type=&response-expires=0", "?response-content-type&response-expires=0", None),
        ("response-expires=0", "?response-expires=0", "?response-expires=0"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_empty_override_is_signed_as_the_storage_reads_it(query: str, ceph: str, others: str | None) -> None:
    """
    minio 3400: overrides are part of what Signature V2 signs. Ceph leaves the ``=`` out if no value follows it.
    """
    head = Signer().head("GET", f"{TARGET}?{query}")[0]
    for backend, signed in (("ceph-rgw", ceph), ("generic", others)):
        response, harness = await send(head_request(head), **of(backend))
        request = harness.backend.requests[0]
        date = (request.head.fields.value(b"x-amz-date") or b"").decode()
        text = f"GET\n\n\n\nx-amz-date:{date}\n{TARGET}{signed}"
        key = BACKEND_KEY.secret_access_key.encode()
        expected = base64.b64encode(hmac.digest(key, text.encode(), "sha1")).decode()

        assert response.status == 200
        sent = (request.head.fields.value(b"authorization") or b"").decode()
        assert signed is None or sent.rpartition(":")[2] == expected


SOURCES = {
    "test-bucket/o": "o",
    "/test-bucket/o": "o",
    "test-bucket%2Fo": "o",
    "%2Ftest-bucket%2Fo": "o",
    "test-bucket/folder/my%20file%2B1.txt": "folder/my file+1.txt",
    "/test-bucket/folder/my file.txt": "folder/my file.txt",
    "/test-bucket/%D1%84": "\u0444",
}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("source", SOURCES)
@pytest_twisted.ensureDeferred
async def test_the_source_of_a_copy_is_one_object_however_it_is_written(source: str, backend: str) -> None:
    """
    supabase/storage 1377, aws-sdk-js 1821, minio-js 985, lean-s3 113, s3rver 30: with or without the first slash, with
    every character escaped or none.
    """
    result = b"<CopyObjectResult><ETag>&quot;x&quot;</ETag></CopyObjectResult>"
    no_versions = b"<ListVersionsResult/>"
    backend_of_copies = answering(
        lambda request: response(
            result if request.head.method == b"PUT" else no_versions, "Content-Type: application/xml"
        )
    )

    _, harness = await send(
        head_request(Signer().head("PUT", TARGET, {"x-amz-copy-source": source})[0]),
        backend=backend_of_copies,
        **of(backend),
    )

    # Walrus 3.4 is first asked for the versions of the key.
    sent = harness.backend.requests[-1].head.fields.value(b"x-amz-copy-source") or b""
    assert unquote_to_bytes(sent).removeprefix(b"/") == f"test-bucket/{SOURCES[source]}".encode()


@pytest.mark.parametrize("source", ["test-bucket/%%%%", "test-bucket/a%2", "test-bucket/%zz"])
@pytest_twisted.ensureDeferred
async def test_a_broken_escape_in_the_source_of_a_copy_is_refused(source: str) -> None:
    """
    versitygw 1401: S3 responds with 400, and does not look for a key with percent signs.
    """
    response, harness = await send(head_request(Signer().head("PUT", TARGET, {"x-amz-copy-source": source})[0]))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert element(response.body, "ArgumentName") == "x-amz-copy-source"
    assert harness.backend.requests == []


def bodiless(signed: dict[str, str], method: str) -> SignedRequest:
    """
    Return a request without a body that has these headers.
    """
    return head_request(Signer().head(method, TARGET, signed)[0])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
@pytest_twisted.ensureDeferred
async def test_the_checksum_of_nothing_is_no_fault_of_a_read(method: str, backend: str) -> None:
    """
    gaul/s3proxy 942: the SDK for Java 2.40 sends x-amz-checksum-crc32 with a GET.
    """
    request = bodiless({"x-amz-checksum-crc32": "AAAAAA==", "x-amz-sdk-checksum-algorithm": "CRC32"}, method)

    response, harness = await send(request, backend=storing(b"hello"), **of(backend))

    assert response.status == 200
    assert backend.startswith("generic") or b"x-amz-checksum-crc32" not in harness.backend.requests[0].head.fields


# Ranges and headers of responses

LONG_MAX = 2**63 - 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("profile", WALRUS)
@pytest.mark.parametrize(
    ("span", "start"),
    [
        (f"5-{LONG_MAX - 1}", 5),
        (f"5-{LONG_MAX}", 5),
        ("5-18446744073709551616", 5),
        (f"0-{LONG_MAX - 1}", 0),
        (f"-{LONG_MAX}", 0),
        ("00000000000000000000005-", 5),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_range_may_end_far_beyond_the_object(span: str, start: int, profile: str, method: str) -> None:
    """
    presto 9452, cloudserver 270, minio 21333: Java's SDK writes a range without an end as one that ends at 2**63 - 2.
    """
    content = b"0123456789"
    head = Signer().head(method, TARGET, {"range": f"bytes={span}"})[0]

    response, _ = await send(head_request(head), backend=storing(content), **of(profile))

    assert (response.status, response.header("content-range")) == (206, f"bytes {start}-9/10")
    assert response.header("content-length") == str(10 - start)
    assert method == "HEAD" or response.body == content[start:]


@pytest.mark.parametrize("profile", WALRUS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("span", "status"),
    [
        ("-1", 200),
        ("-524288", 200),
        (f"-{LONG_MAX}", 200),
        ("-0", 416),
        ("0-", 416),
        ("0-0", 416),
        ("9" * 20 + "-", 416),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_last_bytes_of_an_empty_object_are_none(span: str, status: int, method: str, profile: str) -> None:
    """
    arrow-rs-object-store 846, floci 1141, CloudStore.jl 17: S3 returns 200 for a suffix range of an empty object.
    """
    head = Signer().head(method, TARGET, {"range": f"bytes={span}"})[0]

    response, _ = await send(head_request(head), backend=storing(b""), **of(profile))

    assert response.status == status
    assert response.header("content-range") is None or status == 416
    assert status == 416 or response.header("content-length") == "0"


@pytest.mark.parametrize("profile", WALRUS)
@pytest.mark.parametrize(
    "span", ["bytes=1-0", "bytes=33-10", "bytes=invalid-range", "bytes=0-0,2-3", "items=0-1", "bytes=-"]
)
@pytest_twisted.ensureDeferred
async def test_what_is_no_range_is_ignored(span: str, profile: str) -> None:
    """
    noobaa-core 9889, versitygw 1120, cloudserver 675: S3 returns the whole object.
    """
    head = Signer().head("GET", TARGET, {"range": span})[0]

    response, _ = await send(head_request(head), backend=storing(b"1234"), **of(profile))

    assert (response.status, response.body, response.header("content-range")) == (200, b"1234", None)


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("span", "is_sent"),
    [
        ("bytes=1-0", False),
        ("bytes=junk", False),
        ("bytes=0-0,2-3", False),
        ("items=0-1", False),
        ("bytes=-", False),
        ("bytes=0-1", True),
        ("bytes=2-", True),
        ("bytes=-3", True),
        (f"bytes=5-{LONG_MAX - 1}", True),
    ],
)
@pytest.mark.parametrize("signature", ["v2", "v4"])
@pytest.mark.parametrize("profile", ["ceph-rgw", "swift"])
@pytest_twisted.ensureDeferred
async def test_what_is_no_range_is_kept_from_some(
    profile: str, signature: str, span: str, method: str, *, is_sent: bool
) -> None:
    """
    noobaa-core 9889, versitygw 1120: Ceph 16.2 responds with 416, or with the first range only; Swift 2.38 returns
    several ranges as a MIME multipart body. s3proxy sends a valid range on as it is.
    """
    head = Signer().head(method, TARGET, {"range": span})[0]

    response, harness = await send(head_request(head), profile=PROFILES[profile], signature=signature)

    assert response.status == 200
    received = harness.backend.requests[0].head.fields
    assert received.get(b"range") == ((span.encode(),) if is_sent else None)


@pytest.mark.parametrize("profile", ["generic", "minio", "versitygw", "riakcs"])
@pytest.mark.parametrize("span", ["bytes=0-0,2-3", "bytes=1-0"])
@pytest_twisted.ensureDeferred
async def test_any_other_storage_gets_the_range_as_it_is(span: str, profile: str) -> None:
    """
    noobaa-core 9889: a backend that ignores such a range itself gets the client's request as it is.
    """
    head = Signer().head("GET", TARGET, {"range": span})[0]

    _, harness = await send(head_request(head), **of(profile))

    assert harness.backend.requests[0].head.fields.value(b"range") == span.encode()


def override(value: str, carrier: str) -> SignedRequest:
    """
    Return a read that sets the Content-Disposition of its response.
    """
    name = "response-content-disposition"
    target = f"{TARGET}?{name}={quote(value, safe='')}"
    if carrier == "v4":
        return head_request(Signer().head("GET", target)[0])
    if carrier == "v2":
        return v2("GET", target, f"{TARGET}?{name}={value}")
    return v2_query(target, f"GET\n\n\n1772366460\n{TARGET}?{name}={value}")


@pytest.mark.parametrize("carrier", ["v4", "v2", "v2 query"])
@pytest.mark.parametrize("profile", ["riakcs", *WALRUS])
@pytest_twisted.ensureDeferred
async def test_a_header_that_latin_1_cannot_write_is_refused(profile: str, carrier: str) -> None:
    """
    guardian/grid 1716, minio 16159: S3 returns 400 for a file name with a curly quotation mark, and names the
    parameter.
    """
    response, _ = await send(override('inline; filename="\u2019.png"', carrier), backend=storing(b"x"), **of(profile))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert element(response.body, "Message") == "Header value cannot be represented using ISO-8859-1."
    assert element(response.body, "ArgumentName") == "response-content-disposition"


@pytest.mark.parametrize("carrier", ["v4", "v2", "v2 query"])
@pytest.mark.parametrize("profile", ["riakcs", *WALRUS])
@pytest.mark.parametrize("value", ['inline; filename="\u00e9\u00ff.png"', "inline; filename*=UTF-8''%E2%80%99.png"])
@pytest_twisted.ensureDeferred
async def test_a_header_is_written_in_latin_1(value: str, profile: str, carrier: str) -> None:
    """
    guardian/grid 1716: a character of ISO 8859-1 is one byte of the header; all others need RFC 5987.
    """
    response, _ = await send(override(value, carrier), backend=storing(b"x"), **of(profile))

    # The client of the tests reads headers as ISO 8859-1.
    assert (response.status, response.header("content-disposition")) == (200, value)


# Listings and documents

FORBIDDEN = {
    "a control character": (b"a\x03b", b"a\x03b", b"a&#x3;b"),
    "a decimal reference": (b"a&#3;b", b"a\x03b", b"a&#x3;b"),
    "a hexadecimal reference": (b"a&#x1F;b", b"a\x1fb", b"a&#x1f;b"),
    "a reference to nothing": (b"a&#x0;b", b"a\0b", b"a&#x0;b"),
    "a byte of no UTF-8": (b"a\xffb\x85", b"a\xffb\x85", b"a\xffb\x85"),
    "a noncharacter": ("a\ufffeb\uffff".encode(), "a\ufffeb\uffff".encode(), "a\ufffeb\uffff".encode()),
    "a private character as well": ("\U00100003\x03".encode(), "\U00100003\x03".encode(), "\U00100003&#x3;".encode()),
}


def listing(raw_key: bytes, *, is_truncated: bool = False) -> bytes:
    """
    Return a version 1 listing with two keys, as Riak CS and Walrus write it.
    """
    contents = b"".join(
        b"<Contents><Key>%s</Key><ETag>&quot;x&quot;</ETag><Size>1</Size></Contents>" % key for key in (b"A", raw_key)
    )
    return (
        b'<?xml version="1.0" encoding="UTF-8"?><ListBucketResult><Name>b</Name><Prefix></Prefix><Marker></Marker>'
        b"<MaxKeys>1000</MaxKeys><IsTruncated>%s</IsTruncated>%s</ListBucketResult>"
        % (b"true" if is_truncated else b"false", contents)
    )


async def list_with(
    raw_key: bytes, query: str, profile: str, *, is_truncated: bool = False
) -> tuple[Response, Harness]:
    """
    Return what a client gets from a backend whose listing has this key.
    """
    document = listing(raw_key, is_truncated=is_truncated)
    backend = answering(lambda request: response(document, "Content-Type: application/xml"))
    return await send(head_request(Signer().head("GET", f"/test-bucket{query}")[0]), backend=backend, **of(profile))


@pytest.mark.parametrize("profile", ["riakcs", *WALRUS])
@pytest.mark.parametrize("query", ["?list-type=2&encoding-type=url", "?encoding-type=url"])
@pytest.mark.parametrize("key", FORBIDDEN)
@pytest_twisted.ensureDeferred
async def test_a_key_that_xml_cannot_hold_is_listed_encoded(key: str, query: str, profile: str) -> None:
    """
    riak_cs 1255, rclone 3345, minio 15023, goofys 564, SimpleS3 5: one such key made the bucket's listing unreadable.
    """
    raw, real, _ = FORBIDDEN[key]

    response, _ = await list_with(raw, query, profile)

    assert response.status == 200
    assert element(response.body, "EncodingType") == "url"
    listed = re.findall(rb"<Key>([^<]*)</Key>", response.body)
    assert [unquote_to_bytes(name) for name in listed] == [b"A", real]
    assert response.body.isascii()


@pytest.mark.parametrize("profile", ["riakcs", *WALRUS])
@pytest.mark.parametrize("key", FORBIDDEN)
@pytest_twisted.ensureDeferred
async def test_a_key_that_xml_cannot_hold_is_listed_as_s3_lists_it(key: str, profile: str) -> None:
    """
    riak_cs 1255, minio 15023: without encoding-type a control character is a character reference, and the listing
    continues.
    """
    raw, real, written = FORBIDDEN[key]

    response, _ = await list_with(raw, "?list-type=2", profile, is_truncated=True)

    assert response.status == 200
    assert re.findall(rb"<Key>([^<]*)</Key>", response.body) == [b"A", written]
    assert element(response.body, "KeyCount") == "2"
    token = element(response.body, "NextContinuationToken") or ""
    assert base64.urlsafe_b64decode(token) == real


@pytest.mark.parametrize(("query", "written"), [("", b"a_&#x3;/"), ("&encoding-type=url", b"a_%03/")])
@pytest.mark.parametrize("profile", WALRUS)
@pytest_twisted.ensureDeferred
async def test_a_folder_that_xml_cannot_hold_is_one_too(profile: str, query: str, written: bytes) -> None:
    """
    riak_cs 1255: the same for common prefixes and markers, if s3proxy writes the listing.
    """
    keys = [b"a_\x03/b", b"a_\x03/c", b"aX\x03/d"]
    contents = b"".join(b"<Contents><Key>%s</Key></Contents>" % key for key in keys)
    document = listing(b"a_").partition(b"<Contents>")[0] + contents + b"</ListBucketResult>"
    backend = answering(lambda request: response(document, "Content-Type: application/xml"))
    head = Signer().head("GET", f"/test-bucket?prefix=a_&delimiter=%2F{query}")[0]

    received, _ = await send(head_request(head), backend=backend, **of(profile))

    assert received.status == 200
    assert re.findall(rb"<CommonPrefixes><Prefix>([^<]*)</Prefix></CommonPrefixes>", received.body) == [written]
    assert re.findall(rb"<Key>", received.body) == []


@pytest.mark.parametrize(
    "document",
    [
        listing(b"a\x03b").replace(b"</ListBucketResult>", b""),
        listing(b"a\x03<b"),
        listing(b"a&#xD800;b"),
        listing(b"a&#x110000;b"),
        listing(b"<![CDATA[a&#3;b\x03]]>"),
        listing(b"a\x03b").replace(b"UTF-8", b"ISO-8859-1"),
        listing(b"a\x03b&e;").replace(b"<ListBucketResult>", b'<!DOCTYPE l [<!ENTITY e "x">]><ListBucketResult>'),
    ],
    ids=["cut", "markup", "surrogate", "beyond", "CDATA", "another coding", "document type"],
)
@pytest.mark.parametrize("profile", ["riakcs", "walrus-3.4"])
@pytest_twisted.ensureDeferred
async def test_a_list_that_is_not_understood_is_refused_as_before(document: bytes, profile: str) -> None:
    """
    s3proxy does not guess: its client would take a part of the listing for the whole.
    """
    backend = answering(lambda request: response(document, "Content-Type: application/xml"))
    head = Signer().head("GET", "/test-bucket?list-type=2")[0]

    received, _ = await send(head_request(head), backend=backend, **of(profile))

    assert (received.status, element(received.body, "Code")) == (500, "InternalError")


DELETED = {
    " ": b"%20",
    "a  b": b"a%20%20b",
    "  lead": b"%20%20lead",
    "\n": b"%0A",
    "&#13;": b"%0D",
    "\u00a0": b"%C2%A0",
}


def deletion(key: str) -> SignedRequest:
    """
    Return DeleteObjects of one key, written as it is in the document.
    """
    body = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    unsigned = {"Content-Length": str(len(body))}
    digest = hashlib.sha256(body).hexdigest()
    return SignedRequest(
        Signer().head("POST", "/test-bucket?delete", {"content-md5": md5}, payload=digest, unsigned=unsigned)[0], body
    )


@pytest.mark.parametrize("profile", ["walrus-3.4", "walrusbackend-4.x"])
@pytest.mark.parametrize("key", DELETED)
@pytest_twisted.ensureDeferred
async def test_white_space_is_part_of_a_deleted_key(key: str, profile: str) -> None:
    """
    moto 4077, riak_cs 1129, s3cmd 976: a parser trimmed the key, and deleted another object or none.
    """
    backend = answering(lambda request: b"HTTP/1.1 204 No Content\r\n\r\n")

    response, harness = await send(deletion(key), backend=backend, **of(profile))

    assert response.status == 200
    assert [request.head.raw_path.rpartition(b"/")[2] for request in harness.backend.requests] == [DELETED[key]]


@pytest.mark.parametrize("profile", ["walrus-3.4", "ceph-rgw"])
@pytest.mark.parametrize("key", ["&#1;", "a\x02", "a & b"])
@pytest_twisted.ensureDeferred
async def test_a_deletion_that_is_no_xml_is_refused(key: str, profile: str) -> None:
    """
    aws-sdk-ruby 797, aws-sdk-php 1106, ex_aws_s3 112: a character that XML forbids in a key must not be dropped
    silently.
    """
    response, harness = await send(deletion(key), **of(profile))

    assert (response.status, element(response.body, "Code")) == (400, "MalformedXML")
    assert harness.backend.requests == []


# Forms


def form(fields: list[tuple[str, str]], *, is_quoted: bool, has_types: bool, file_first: bool = False) -> SignedRequest:
    """
    Return a form as .NET writes it: its boundary in quotation marks, and the rest as the arguments say.
    """
    boundary = "d85d818a-48ca-4af6-ae86-7e23975bfd03"
    mark = '"' if is_quoted else ""
    parts = [*fields, ("file", "hello")]
    if file_first:
        parts.insert(0, parts.pop())
    body = ""
    for name, value in parts:
        filename = f"; filename={mark}a.txt{mark}" if name == "file" else ""
        kind = "Content-Type: text/plain; charset=utf-8\r\n" if has_types else ""
        disposition = f"Content-Disposition: form-data; name={mark}{name}{mark}{filename}"
        body += f"--{boundary}\r\n{kind}{disposition}\r\n\r\n{value}\r\n"
    body += f"--{boundary}--\r\n"
    head = f'POST /test-bucket HTTP/1.1\r\n{HOST}Content-Type: multipart/form-data; boundary="{boundary}"\r\n'
    return SignedRequest(f"{head}Content-Length: {len(body)}\r\n\r\n".encode(), body.encode())


@pytest.mark.parametrize("has_types", [True, False], ids=["with types", "without types"])
@pytest.mark.parametrize("is_quoted", [True, False], ids=["quoted", "bare"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_a_form_is_read_as_dotnet_writes_it(signature: str, *, is_quoted: bool, has_types: bool) -> None:
    """
    minio 6844, ministack 535: each field has a Content-Type before its name, and the name has no quotation marks.
    """
    fields = (v4_fields if signature == "v4" else v2_fields)(FIELDS, key="k")

    response, harness = await send(form(fields, is_quoted=is_quoted, has_types=has_types))

    assert response.status == 204
    received = harness.backend.requests[0]
    assert (received.head.raw_target, received.body) == (TARGET.encode(), b"hello")


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_fields_behind_the_file_are_missed_by_name(signature: str) -> None:
    """
    asmcos/requests 36, appium 18519, mint 335: S3 reads nothing after the file, and reports that the key is missing.
    """
    fields = (v4_fields if signature == "v4" else v2_fields)(FIELDS, key="k")

    response, harness = await send(form(fields, is_quoted=True, has_types=False, file_first=True))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert element(response.body, "ArgumentName") == "key"
    assert harness.backend.requests == []


def test_the_requests_here_are_what_they_say() -> None:
    """
    s3proxy's own parser can read a head of these tests.
    """
    head = parse_request_head(presigned_put(b"hello", 5, "").head.removesuffix(b"\r\n\r\n"))

    assert (head.method, head.content_length) == (b"PUT", 5)
