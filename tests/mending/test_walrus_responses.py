"""
Responses of the Eucalyptus family, and what the client of s3proxy reads instead: over sockets, with responses as the
real servers wrote them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

import pytest
import pytest_twisted
from botocore.parsers import create_parser
from botocore.session import get_session
from twisted.internet import reactor
from twisted.internet.task import Clock

from s3proxy.backend.health import HealthCheck
from s3proxy.mending.results import RESULT_ROOTS
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import RangeLimits
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from tests.support.eucalyptus import CARRIERS
from tests.support.eucalyptus import request as signed_request
from tests.support.harness import VECTORS, Harness, until
from tests.support.signer import MODES, Signer
from tests.support.wire_cases import element

FAMILY = ("walrus-3.4", "walrusbackend-4.x", "osg-4.3")
KEY = "/test-bucket/k"
BUCKET = "/test-bucket"
Answering = Callable[[ReceivedRequest], bytes]


def vector(name: str) -> bytes:
    """
    Return a response as a real server wrote it.
    """
    return (VECTORS / "walrus" / f"{name}.http").read_bytes()


def response(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> bytes:
    """
    Return a response with a length.
    """
    lines = "".join(f"{header}\r\n" for header in headers)
    return (
        f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body
    )


def answering(response: bytes | Answering) -> FaultyBackend:
    """
    Return a backend that sends this response, and closes if the response says so or has no length.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        data = response if isinstance(response, bytes) else response(request)
        connection.send(data)
        head = data.partition(b"\r\n\r\n")[0].lower()
        is_bodiless = request.head.method == b"HEAD" or b" 204 " in head[:16]
        if b"connection: close" in head or (b"content-length" not in head and not is_bodiless):
            connection.end()

    backend.on_request = on_request
    return backend


async def ask(
    response: bytes | Answering,
    method: str = "GET",
    target: str = KEY,
    body: bytes = b"",
    *,
    profile: str = "walrus-3.4",
    head: bytes | None = None,
    before_close: Callable[[Harness], None] | None = None,
    **headers: str,
) -> Any:
    """
    Send one signed request through s3proxy; return the response, with the harness as ``harness``.
    """
    harness = Harness(profile=PROFILES[profile], signature="v2", backend=answering(response))
    signed = {name.replace("_", "-"): value for name, value in headers.items()}
    unsigned = {"Content-Length": str(len(body))} if method in {"PUT", "POST"} else {}
    if head is None:
        head, _ = Signer().head(method, target, signed, payload=hashlib.sha256(body).hexdigest(), unsigned=unsigned)
    try:
        got = await harness.request(head, body, method=method)
        assert got is not None
    finally:
        await harness.close()
    got.harness = harness
    return got


def asked(response: Any) -> list[tuple[str, str]]:
    """
    Return method and target of each request to the backend.
    """
    return [
        (request.head.method.decode(), request.head.raw_target.decode())
        for request in response.harness.backend.requests
    ]


def parsed(operation: str, response: Any) -> dict[str, Any]:
    """
    Return what botocore reads from a response.
    """
    model = get_session().get_service_model("s3").operation_model(operation)
    told = {
        "status_code": response.status,
        "headers": {name.lower(): value for name, value in response.headers},
        "body": response.body,
    }
    found: dict[str, Any] = create_parser("rest-xml").parse(told, model.output_shape)
    return found


# Bytes after the head of a response that has no body


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw", *FAMILY])
@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("is_late", [False, True])
@pytest.mark.parametrize(
    ("method", "status"),
    [("HEAD", 405), ("HEAD", 501), ("HEAD", 404), ("HEAD", 200), ("DELETE", 204), ("GET", 304)],
)
@pytest_twisted.ensureDeferred
async def test_f9_bytes_after_a_bodiless_response_fail_nobody(
    method: str, status: int, profile: str, *, is_tls: bool, is_late: bool
) -> None:
    """
    They are discarded with their connection, whether they come with the head or later. The next request succeeds.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if len(backend.requests) > 1:
            connection.send(response("200 OK", b"hello", 'ETag: "e"'))
            return
        head = response(f"{status} X", b"", 'ETag: "e"', "Content-Type: text/xml", length=138)
        rest = b"<" * 138
        connection.send(head if is_late else head + rest)
        if is_late:
            reactor.callLater(0, connection.send, rest)

    backend.on_request = on_request
    harness = Harness(profile=PROFILES[profile], is_tls=is_tls, backend=backend)

    first = await harness.request(Signer().head(method, KEY)[0])
    second = await harness.request(Signer().head("GET", KEY)[0])
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert first.status == status
    assert (second.status, second.body) == (200, b"hello")
    assert len(backend.connections) == 2


@pytest.mark.parametrize("status", [403, 405, 501])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f9_a_refused_head_keeps_its_status(profile: str, status: int) -> None:
    """
    Even if a document follows.
    """
    response = await ask(vector("head-refused").replace(b"405", b"%d" % status, 1), "HEAD", BUCKET, profile=profile)

    assert (response.status, response.body) == (status, b"")


@pytest_twisted.ensureDeferred
async def test_f9_a_head_that_is_refused_at_once_is_learned_from() -> None:
    """
    After the first response to HEAD that declares a body, s3proxy closes each connection with such a response.
    """
    first = [response("404 X", b"<Error/>")]
    backend = answering(lambda request: first.pop() if first else response("404 X", length=8))
    harness = Harness(profile=PROFILES["generic"], backend=backend)

    for _ in range(3):
        assert (await harness.request(Signer().head("HEAD", KEY)[0])).status == 404
    await until(lambda: all(connection.lost for connection in backend.connections))
    await harness.close()

    assert harness.pool.trails_heads
    assert len(backend.connections) == 3


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f9_a_health_check_is_answered(profile: str) -> None:
    """
    The health check's 405 says that the backend works, although a document follows the head.
    """
    backend = answering(vector("head-refused"))
    clock = Clock()
    harness = Harness(profile=PROFILES[profile], backend=backend, clock=clock)
    harness.pool.is_healthy = False
    check = HealthCheck(harness.pool, b"HEAD /services HTTP/1.1\r\nHost: x\r\n\r\n", 5.0, PROFILES[profile].health)
    check.start()
    await until(lambda: backend.requests)
    await until(lambda: check._asking is None)

    assert harness.pool.is_healthy
    await check.stop()
    await harness.close()


# Errors


@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize(
    ("name", "target", "status", "code", "message"),
    [
        ("error-of-the-service", KEY, 404, "NoSuchKey", "m"),
        ("error-of-the-service", BUCKET, 404, "NoSuchBucket", "m"),
        ("error-of-the-decoder", KEY, 400, "InvalidRequest", "m"),
        ("head-refused", KEY, 405, "MethodNotAllowed", "m"),
        ("not-found-without-headers", KEY, 404, "NoSuchKey", "The specified key does not exist."),
        ("not-found-without-headers", BUCKET, 404, "NoSuchBucket", "The specified bucket does not exist"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f10_f19_every_error_is_s3s(
    name: str, target: str, status: int, code: str, message: str, profile: str
) -> None:
    """
    Whatever its form is, botocore reads its code. The request id is s3proxy's.
    """
    response = await ask(vector(name), "GET", target, profile=profile)
    found = parsed("GetObject" if target == KEY else "ListObjects", response)

    assert response.status == status
    assert found["Error"]["Code"] == code
    assert found["Error"]["Message"] == message
    assert found["ResponseMetadata"]["RequestId"] == response.header("x-amz-request-id") == "0000000000000001"
    assert response.header("Content-Type") == "application/xml"
    assert response.header("Content-Length") == str(len(response.body))
    assert b"xmlns" not in response.body


DECODER = "<Response><Errors><Error><Code>{}</Code><Message>{}</Message></Error></Errors></Response>"
XSI = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.mark.parametrize(
    ("status", "document", "expected"),
    [
        ("404 X", f"<Error {XSI}><Code>NoSuchBucket</Code><Message>m</Message></Error>", (404, "NoSuchBucket")),
        ("404 X", "<a:Error xmlns:a='x'><a:Code>NoSuchKey</a:Code></a:Error>", (404, "NoSuchKey")),
        ("403 X", "<Error><Code>AccessDenied</Code><Message>a & b < c</Message></Error>", (403, "AccessDenied")),
        ("400 X", "Failure: 400 Bad Request", (400, "InvalidRequest")),
        ("403 X", "", (403, "AccessDenied")),
        ("409 X", "<Error><Code>BucketNotEmpty</Code></Error>", (409, "BucketNotEmpty")),
        ("416 X", "<Error><Code>Invalid Range</Code></Error>", (416, "InvalidRange")),
        ("501 X", DECODER.format("501 Not Implemented", ""), (501, "NotImplemented")),
        ("404 X", "<Error><Code>NoSuchKey</Code></Error>" + " " * 100_000, (404, "NoSuchKey")),
        ("500 X", "<Error><Code>UNKNOWN</Code><Message>No such property: x</Message></Error>", (500, "InternalError")),
        # An error without a readable code is a failure of the backend.
        ("400 X", DECODER.format("null", ""), (500, "InternalError")),
        ("400 X", "<Error><Code></Code><Message>m</Message></Error>", (500, "InternalError")),
        ("400 X", DECODER.format("400 Bad Request", "null value for Code"), (500, "InternalError")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f19_codes_of_every_form(status: str, document: str, expected: tuple[int, str]) -> None:
    """
    The code is the document's if S3 has it, otherwise the status's. The client sees nothing of the backend's own
    failures.
    """
    received = await ask(response(status, document.encode(), "Content-Type: text/plain"))

    assert (received.status, parsed("GetObject", received)["Error"]["Code"]) == expected
    assert b"property" not in received.body
    assert received.body.startswith(b"<?xml")


# Successes that are failures

FAULTS = {
    "ListObjects": ("GET", BUCKET),
    "ListObjectsV2": ("GET", f"{BUCKET}?list-type=2"),
    "ListBuckets": ("GET", "/"),
    "GetBucketAcl": ("GET", f"{BUCKET}?acl"),
    "PutObject": ("PUT", KEY),
    "CopyObject": ("PUT", KEY),
    "CreateBucket": ("PUT", BUCKET),
    "DeleteObject": ("DELETE", KEY),
    "GetObject": ("GET", KEY),
    "HeadObject": ("HEAD", KEY),
}


@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize("operation", FAULTS)
@pytest_twisted.ensureDeferred
async def test_f7_a_fault_that_is_answered_200_is_none(operation: str, profile: str) -> None:
    """
    It becomes 500 InternalError and is counted, and the client tries again.
    """
    method, target = FAULTS[operation]
    headers = {"x_amz_copy_source": "/test-bucket/source"} if operation == "CopyObject" else {}
    body = b"hello" if operation == "PutObject" else b""
    response = await ask(vector("fault-as-success"), method, target, body, profile=profile, **headers)

    assert response.status == 500
    assert method == "HEAD" or element(response.body, "Code") == "InternalError"
    disbelieved = response.harness.proxy.context.counts.disbelieved
    assert disbelieved.total() == 1
    assert response.harness.records[0].error_code == "InternalError"


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f7_a_bucket_with_a_fault_is_not_there(profile: str) -> None:
    """
    A response to HEAD of a missing bucket has the head of a document; that of a bucket has none. That of an object may.
    """
    fault = response("200 OK", b"", "Content-Type: application/xml", length=96)
    told = await ask(fault, "HEAD", BUCKET, profile=profile)
    there = await ask(response("200 OK", b""), "HEAD", BUCKET, profile=profile)

    assert (told.status, told.harness.proxy.context.counts.disbelieved) == (500, {"document": 1})
    assert there.status == 200


@pytest.mark.parametrize("profile", ["walrus-3.4", "osg-4.3"])
@pytest.mark.parametrize(("status", "expected"), [("Disabled", {}), ("Enabled", {"Status": "Enabled"})])
@pytest_twisted.ensureDeferred
async def test_a_bucket_without_versions_has_no_status(profile: str, status: str, expected: dict[str, str]) -> None:
    """
    The gateway returns a status that S3 does not have.
    """
    document = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    received = await ask(response("200 OK", document), target=f"{BUCKET}?versioning", profile=profile)
    told = parsed("GetBucketVersioning", received)

    assert {name: told[name] for name in told if name != "ResponseMetadata"} == expected


BUCKETS = (
    b"<ListAllMyBucketsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Owner><ID>1</ID></Owner><Buckets>"
    b"<Bucket><Name>tmp-a</Name><CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
    b"<Bucket><Name>kept</Name><CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
    b"</Buckets></ListAllMyBucketsResult>"
)


@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["tmp-a", "kept"]),
        ("?prefix=tmp-", ["tmp-a"]),
        ("?prefix=x&max-buckets=5", []),
        ("?prefix=", ["tmp-a", "kept"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f5_buckets_outside_the_prefix_are_taken_out(profile: str, query: str, expected: list[str]) -> None:
    """
    A client that deletes what it finds would delete the others.
    """
    received = await ask(
        response("200 OK", BUCKETS, "Content-Type: application/xml"), target=f"/{query}", profile=profile
    )
    told = parsed("ListBuckets", received)

    assert [bucket["Name"] for bucket in told["Buckets"]] == expected
    assert told["Owner"] == {"ID": "1"}


@pytest.mark.parametrize(
    ("rules", "expected"), [("", (404, "NoSuchLifecycleConfiguration")), ("<Rule><ID>a</ID></Rule>", (200, ""))]
)
@pytest_twisted.ensureDeferred
async def test_a_bucket_without_rules_has_no_lifecycle(rules: str, expected: tuple[int, str]) -> None:
    """
    The gateway returns one without rules, which clients of S3 do not know.
    """
    document = f"<LifecycleConfiguration>{rules}</LifecycleConfiguration>".encode()
    received = await ask(response("200 OK", document), target=f"{BUCKET}?lifecycle", profile="osg-4.3")

    assert received.status == expected[0]
    assert not expected[1] or element(received.body, "Code") == expected[1]


UPLOADS = (
    b"<ListMultipartUploadsResult><Bucket>b</Bucket><IsTruncated>false</IsTruncated>"
    b"<Upload><Key>log_1/a b</Key><UploadId>1</UploadId></Upload>"
    b"<Upload><Key>logs1/b</Key><UploadId>2</UploadId></Upload>"
    b"<CommonPrefixes><Prefix>other/</Prefix></CommonPrefixes></ListMultipartUploadsResult>"
)


@pytest.mark.parametrize(
    ("query", "keys", "folders"),
    [
        ("uploads", ["log_1/a b", "logs1/b"], ["other/"]),
        ("uploads&prefix=log_1/", ["log_1/a b"], []),
        ("uploads&prefix=log_1/&encoding-type=url", ["log_1/a b"], []),
        ("uploads&prefix=o&delimiter=/", [], ["other/"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f5_uploads_outside_the_prefix_are_taken_out(query: str, keys: list[str], folders: list[str]) -> None:
    """
    A client that aborts what it finds would abort the others.
    """
    received = await ask(response("200 OK", UPLOADS), target=f"{BUCKET}?{query}", profile="osg-4.3")
    told = parsed("ListMultipartUploads", received)

    assert [unquote(each["Key"]) for each in told.get("Uploads", [])] == keys
    assert [each["Prefix"] for each in told.get("CommonPrefixes", [])] == folders


@pytest_twisted.ensureDeferred
async def test_f5_folders_of_uploads_below_a_wildcard_are_refused() -> None:
    """
    They would be made of other keys' names. Uploads that s3proxy keeps do not have this fault.
    """
    target = f"{BUCKET}?uploads&prefix=log_1/&delimiter=/"
    folded = await ask(response("200 OK", UPLOADS), target=target, profile="osg-4.3")
    fault = await ask(vector("fault-as-success"), target=f"{BUCKET}?uploads&prefix=a", profile="osg-4.3")

    assert (folded.status, element(folded.body, "Code"), asked(folded)) == (501, "NotImplemented", [])
    assert (fault.status, element(fault.body, "Code")) == (500, "InternalError")


@pytest.mark.parametrize("told", [b"", b"<NextKeyMarker/><NextUploadIdMarker/>"])
@pytest_twisted.ensureDeferred
async def test_a_page_of_uploads_without_a_way_on_is_none(told: bytes) -> None:
    """
    Its client would request it for ever. If it ends with a common prefix, that is where the client continues.
    """
    lost = b"<ListMultipartUploadsResult>%s<IsTruncated>true</IsTruncated></ListMultipartUploadsResult>" % told
    found = lost.replace(b"</List", b"<CommonPrefixes><Prefix>a&amp;b/</Prefix></CommonPrefixes></List")
    responses = [
        await ask(response("200 OK", document), target=f"{BUCKET}?uploads", profile="osg-4.3")
        for document in (lost, found)
    ]

    assert (responses[0].status, element(responses[0].body, "Code")) == (500, "InternalError")
    assert responses[1].status == (200 if told else 500)
    assert not told or element(responses[1].body, "NextKeyMarker") == "a&b/"


@pytest_twisted.ensureDeferred
async def test_f7_a_deletion_of_many_believes_no_fault() -> None:
    """
    An object whose DELETE gets 200 with a fault is not ``Deleted``.
    """
    document = b"<Delete><Object><Key>a</Key></Object></Delete>"
    md5 = hashlib.md5(document).digest()
    response = await ask(
        vector("fault-as-success"),
        "POST",
        f"{BUCKET}?delete",
        document,
        content_md5=base64.b64encode(md5).decode(),
    )

    assert b"<Deleted>" not in response.body
    assert element(response.body, "Code") == "InternalError"


@pytest.mark.parametrize("headers", [(), ("Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT",), ('ETag: ""',)])
@pytest_twisted.ensureDeferred
async def test_f7_an_object_without_an_entity_tag_is_not_stored(headers: tuple[str, ...]) -> None:
    """
    Nor is a part stored.
    """
    put = await ask(response("200 OK", b"", *headers), "PUT", KEY, b"hello")
    part = await ask(
        response("200 OK", b"", *headers), "PUT", f"{KEY}?partNumber=1&uploadId=u", b"hello", profile="osg-4.3"
    )

    for received in (put, part):
        assert (received.status, element(received.body, "Code")) == (500, "InternalError")
        assert received.harness.proxy.context.counts.disbelieved == {"etag": 1}


@pytest.mark.parametrize(
    ("method", "target", "root"),
    [
        ("PUT", f"{KEY}?partNumber=1&uploadId=u", "UploadPartResult"),
        ("DELETE", f"{KEY}?uploadId=u", "AbortMultipartUploadResult"),
        ("PUT", BUCKET, "CreateBucketResponse"),
        ("DELETE", BUCKET, "DeleteBucketResponse"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f7_a_success_with_a_document_of_its_own_is_one(method: str, target: str, root: str) -> None:
    """
    S3 returns no document there, and the client gets none.
    """
    document = f"<{root} xmlns='http://s3.amazonaws.com/doc/2006-03-01/'/>".encode()
    told = response("200 OK", document, 'ETag: "e"', "Content-Type: application/xml")
    received = await ask(told, method, target, profile="osg-4.3")

    assert (received.status, received.body, received.header("Content-Type")) == (200, b"", None)


@pytest_twisted.ensureDeferred
async def test_a_bucket_is_created() -> None:
    """
    Without a length, a document or a header.
    """
    response = await ask(vector("bucket-created"), "PUT", BUCKET)

    assert (response.status, response.body) == (200, b"")


BODY = b"second"
ETAG = hashlib.md5(BODY).hexdigest()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [1, 200_000])
@pytest.mark.parametrize(
    ("profile", "target"),
    [("walrus-3.4", KEY), ("walrusbackend-4.x", KEY), ("walrusbackend-4.x", f"{KEY}?partNumber=1&uploadId=u")],
)
@pytest_twisted.ensureDeferred
async def test_f4_an_object_with_the_md5_of_another_is_lost(profile: str, target: str, size: int, mode: str) -> None:
    """
    Held or streamed, in every payload mode: a wrong MD5 is 500 InternalError, and counted; the right MD5 is a success.
    At 4.x one of two parts that are sent at the same time is lost.
    """
    body = BODY * size
    request = Signer().put(target, body, mode)
    options = {"target": target, "body": request.body, "profile": profile, "head": request.head}
    lost = await ask(vector("put-of-other-bytes"), "PUT", **options)
    right = vector("put-of-other-bytes").replace(
        b"e9e2371570daec2e7b70faa4f0f1eab8", hashlib.md5(body).hexdigest().encode()
    )
    stored = await ask(right, "PUT", **options)

    assert (lost.status, element(lost.body, "Code")) == (500, "InternalError")
    assert lost.harness.proxy.context.counts.disbelieved == {"md5": 1}
    # S3 sends no document here.
    assert (stored.status, stored.body, stored.header("Content-Type")) == (200, b"", None)
    assert stored.header("ETag") == f'"{hashlib.md5(body).hexdigest()}"'


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f4_the_md5_that_a_client_sends_is_compared(profile: str) -> None:
    """
    At each storage system of the family: s3proxy knows the MD5 without another hash.
    """
    content_md5 = base64.b64encode(hashlib.md5(BODY).digest()).decode()
    lost = await ask(vector("put-of-other-bytes"), "PUT", body=BODY * 2, profile=profile)
    told = await ask(vector("put-of-other-bytes"), "PUT", body=BODY, profile=profile, content_md5=content_md5)

    assert (told.status, told.harness.proxy.context.counts.disbelieved) == (500, {"md5": 1})
    assert lost.status == (200 if profile == "osg-4.3" else 500)


# Listings

PAGE = (
    "<ListBucketResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Name>b</Name><Prefix>{prefix}</Prefix><Marker/>"
    "<MaxKeys>1000</MaxKeys><IsTruncated>{truncated}</IsTruncated>{entries}</ListBucketResult>"
)


def page(*keys: str, truncated: bool = False, prefixes: tuple[str, ...] = ()) -> bytes:
    """
    Return a page of a listing as Walrus writes it.
    """
    entries = "".join(f"<Contents><Key>{key}</Key><ETag>{ETAG}</ETag></Contents>" for key in keys)
    entries += "".join(f"<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>" for prefix in prefixes)
    text = PAGE.format(prefix="x", truncated=str(truncated).lower(), entries=entries)
    return response("200 OK", text.encode(), "Content-Type: application/xml")


@pytest.mark.parametrize("query", ["?prefix=log_1%2F", "?list-type=2&prefix=log_1/", "?prefix=log%5F1/&max-keys=5"])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f5_names_outside_the_prefix_are_taken_out(profile: str, query: str) -> None:
    """
    A client that deletes what it finds deletes nothing else.
    """
    response = await ask(vector("page-with-wildcard"), "GET", BUCKET + query, profile=profile)
    found = parsed("ListObjectsV2" if "list-type" in query else "ListObjects", response)

    assert [entry["Key"] for entry in found["Contents"]] == ["log_1/a"]
    assert found["Prefix"] == "log_1/"
    assert not found["IsTruncated"]
    assert found.get("KeyCount", 1) == 1
    assert found["Contents"][0]["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'


@pytest_twisted.ensureDeferred
async def test_f5_common_prefixes_and_versions_are_taken_out() -> None:
    """
    As keys are taken out.
    """
    received = await ask(page("a_b1", "aXb1", prefixes=("a_b/", "aXb/")), "GET", f"{BUCKET}?prefix=a_b&delimiter=/")
    versions = (
        f"<ListVersionsResult><Prefix>a_</Prefix><IsTruncated>false</IsTruncated><Version><Key>a_1</Key>"
        f"<VersionId>v</VersionId><ETag>{ETAG}</ETag></Version><DeleteMarker><Key>ab1</Key><VersionId>w</VersionId>"
        f"</DeleteMarker></ListVersionsResult>"
    )
    told = await ask(response("200 OK", versions.encode()), "GET", f"{BUCKET}?versions&prefix=a_")

    found = parsed("ListObjects", received)
    assert [entry["Key"] for entry in found["Contents"]] == ["a_b1"]
    assert [entry["Prefix"] for entry in found["CommonPrefixes"]] == ["a_b/"]
    found = parsed("ListObjectVersions", told)
    assert [entry["Key"] for entry in found["Versions"]] == ["a_1"]
    assert "DeleteMarkers" not in found


@pytest.mark.parametrize("query", ["", "list-type=2&", "encoding-type=url&"])
@pytest_twisted.ensureDeferred
async def test_a_key_that_ends_with_the_delimiter_is_a_common_prefix(query: str) -> None:
    """
    Walrus lists it as a key. s3proxy writes it once, in order with the others; keys of the folder itself stay.
    """
    listed = page("a/", "a/b/", "a/k", "a/z/", prefixes=("a/b/", "a/x/"))
    received = await ask(listed, "GET", f"{BUCKET}?{query}prefix=a/&delimiter=/")
    versions = (
        f"<ListVersionsResult><IsTruncated>false</IsTruncated><Version><Key>d/</Key><VersionId>v</VersionId>"
        f"<ETag>{ETAG}</ETag></Version><Version><Key>k</Key><VersionId>w</VersionId></Version></ListVersionsResult>"
    )
    told = await ask(response("200 OK", versions.encode()), "GET", f"{BUCKET}?versions&delimiter=/")

    found = parsed("ListObjectsV2", received)
    assert [entry["Key"] for entry in found["Contents"]] == ["a/", "a/k"]
    assert [entry["Prefix"] for entry in found["CommonPrefixes"]] == ["a/b/", "a/x/", "a/z/"]
    assert found.get("KeyCount", 5) == 5
    found = parsed("ListObjectVersions", told)
    assert [entry["Key"] for entry in found["Versions"]] == ["k"]
    assert [entry["Prefix"] for entry in found["CommonPrefixes"]] == ["d/"]


@pytest.mark.parametrize("is_v2", [False, True])
@pytest_twisted.ensureDeferred
async def test_f6_no_page_is_empty_while_more_follows(*, is_v2: bool) -> None:
    """
    s3proxy requests the next pages in full. The client gets no more of them than it wants, and continues after that.
    """
    pages = {
        "": page("aX1", truncated=True),
        "aX1": page("aY1", "aY2", truncated=True),
        "aY2": page("aZ", "a_1", "a_2", "a_3"),
    }

    def response_page(request: ReceivedRequest) -> bytes:
        found = re.search(r"[?&]marker=([^&]*)", request.head.raw_target.decode())
        return pages[unquote(found[1]) if found else ""]

    query = "prefix=a_&max-keys=2" + ("&list-type=2" if is_v2 else "")
    response = await ask(response_page, "GET", f"{BUCKET}?{query}")
    found = parsed("ListObjectsV2" if is_v2 else "ListObjects", response)

    assert [entry["Key"] for entry in found["Contents"]] == ["a_1", "a_2"]
    assert (found["IsTruncated"], found["MaxKeys"]) == (True, 2)
    targets = [target for _, target in asked(response)]
    assert len(targets) == 3
    assert ["max-keys=1000" in target for target in targets] == [False, True, True]
    if is_v2:
        assert found["KeyCount"] == 2
        pages["a_2"] = page("a_3")
        token = found["NextContinuationToken"]
        response = await ask(response_page, "GET", f"{BUCKET}?list-type=2&prefix=a_&continuation-token={token}")
        found = parsed("ListObjectsV2", response)
        assert [entry["Key"] for entry in found["Contents"]] == ["a_3"]
    else:
        assert found["NextMarker"] == "a_2"


@pytest.mark.parametrize("is_v2", [False, True])
@pytest.mark.parametrize(
    ("marker", "leads_to"),
    [
        ("a_2", {"a_2": (("a_1", "a_2"), "a_2")}),
        ("", {"": (("ab1",), "ab1"), "ab1": (("ac1",), "ac1"), "ac1": (("ab1",), "ab1")}),
        ("a_0", {"a_0": (("ab1",), "ab1"), "ab1": (("a_1",), "a_0")}),
    ],
    ids=["itself", "in-a-circle", "back"],
)
@pytest_twisted.ensureDeferred
async def test_f6_pages_that_lead_nowhere_are_none(
    marker: str, leads_to: dict[str, tuple[tuple[str, ...], str]], *, is_v2: bool
) -> None:
    """
    A client that follows them would never reach the end.
    """

    def response_page(request: ReceivedRequest) -> bytes:
        found = re.search(r"[?&]marker=([^&]*)", request.head.raw_target.decode())
        keys, following = leads_to[unquote(found[1]) if found else ""]
        listed = page(*keys, truncated=True).partition(b"\r\n\r\n")[2]
        told = f"<NextMarker>{following}</NextMarker></ListBucketResult>".encode()
        return response("200 OK", listed.replace(b"</ListBucketResult>", told))

    name = "list-type=2&continuation-token" if is_v2 else "marker"
    value = quote(base64.urlsafe_b64encode(marker.encode())) if is_v2 else marker
    received = await ask(response_page, "GET", f"{BUCKET}?prefix=a_" + (f"&{name}={value}" if marker else ""))

    assert (received.status, element(received.body, "Code")) == (500, "InternalError")


VERSIONS = (
    b"<ListVersionsResult xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Name>b</Name><KeyMarker/><VersionIdMarker/>"
    b"<MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListVersionsResult>"
)


@pytest.mark.parametrize(
    ("objects", "expected"),
    [
        ("<Contents><Key>k</Key><ETag>x</ETag></Contents>", ["k"]),
        ("<Contents><Key><![CDATA[</Contents>]]></Key></Contents>", None),
        ("", []),
        (None, []),
    ],
)
@pytest_twisted.ensureDeferred
async def test_objects_are_listed_as_versions_where_there_are_none(
    objects: str | None, expected: list[str] | None
) -> None:
    """
    What the backend says of objects is converted, whatever it is; versions that it lists are not requested again.
    """

    def received(request: ReceivedRequest) -> bytes:
        if objects is None or b"versions" in request.head.raw_target:
            return response("200 OK", VERSIONS)
        return response("200 OK", PAGE.format(prefix="", truncated="false", entries=objects).encode())

    told = await ask(received, target=f"{BUCKET}?versions")

    assert len(asked(told)) == 2
    if expected is None:
        assert told.status == 500
        return
    versions = parsed("ListObjectVersions", told).get("Versions", [])
    assert [(each["Key"], each["VersionId"], each["IsLatest"]) for each in versions] == [
        (key, "null", True) for key in expected
    ]


@pytest_twisted.ensureDeferred
async def test_what_is_written_is_within_the_root() -> None:
    """
    Whatever comes after it, its client reads the folders that s3proxy makes here.
    """
    listed = page("a_/1", "a_/2").partition(b"\r\n\r\n")[2]
    responses = [
        await ask(response("200 OK", document), "GET", f"{BUCKET}?prefix=a_&delimiter=/")
        for document in (listed + b"<!-- </ -->", listed + b"<?a </ ?>\n", b"<ListBucketResult/>")
    ]

    for received in responses[:2]:
        assert [entry["Prefix"] for entry in parsed("ListObjects", received)["CommonPrefixes"]] == ["a_/"]
    assert (responses[2].status, element(responses[2].body, "Code")) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_f6_pages_without_end_are_bounded() -> None:
    """
    After some pages the client gets an empty one, with the place to continue. A page that repeats is a failure.
    """
    numbers = iter(range(1000))
    response = await ask(lambda request: page(f"aX{next(numbers):03}", truncated=True), "GET", f"{BUCKET}?prefix=a_")
    found = parsed("ListObjects", response)
    again = await ask(page("aX", truncated=True), "GET", f"{BUCKET}?prefix=a_")

    assert len(asked(response)) == 16
    assert (found["IsTruncated"], found["NextMarker"], found.get("Contents")) == (True, "aX015", None)
    assert (again.status, len(asked(again))) == (500, 2)


@pytest.mark.parametrize("later", ["not-found-without-headers", "fault-as-success", "error-of-the-decoder"])
@pytest_twisted.ensureDeferred
async def test_f6_a_later_page_that_fails_fails_the_whole(later: str) -> None:
    """
    It is not the end of the listing.
    """
    pages = iter([page("aX", truncated=True), vector(later)])
    response = await ask(lambda request: next(pages), "GET", f"{BUCKET}?prefix=a_")

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_f6_the_response_says_what_was_asked_for() -> None:
    """
    It does not say what the backend made of the request.
    """
    response = await ask(vector("page-that-overflowed"), "GET", f"{BUCKET}?prefix=a%3Db&max-keys=2147483647")
    found = parsed("ListObjects", response)

    assert (response.status, found["MaxKeys"], found["Prefix"]) == (200, 1000, "a=b")


@pytest.mark.parametrize("query", ["", "list-type=2&"])
@pytest_twisted.ensureDeferred
async def test_names_are_encoded_if_the_client_asks_for_it(query: str) -> None:
    """
    A backend that does not know ``encoding-type`` writes them unencoded.
    """
    target = f"{BUCKET}?{query}encoding-type=url&prefix=a%20%2B"
    response = await ask(page("a +%&amp;\u00fc/", truncated=True), "GET", target)

    assert element(response.body, "EncodingType") == "url"
    assert element(response.body, "Key") == "a%20%2B%25%26%C3%BC/"
    assert element(response.body, "Prefix") == "a%20%2B"


# Copies, entity tags, locations


@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_f14_a_copy_has_its_result_as_root(profile: str) -> None:
    """
    botocore reads the entity tag and the date.
    """

    def storage(request: ReceivedRequest) -> bytes:
        return vector("copied") if request.head.method == b"PUT" else response("200 OK", b"<ListVersionsResult/>")

    received = await ask(storage, "PUT", KEY, profile=profile, x_amz_copy_source="/test-bucket/source")
    found = parsed("CopyObject", received)

    assert found["CopyObjectResult"]["ETag"] == '"781e5e245d69b566979b86e28d23f2c7"'
    assert found["CopyObjectResult"]["LastModified"].year == 2026


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_f17_entity_tags_are_quoted(method: str) -> None:
    """
    Those in headers; those that are quoted stay as they are.
    """
    responses = [await ask(response("200 OK", b"hello" if method == "GET" else b"", f"ETag: {tag}", length=5), method)
               for tag in (ETAG, f'"{ETAG}"')]  # fmt: skip

    assert [received.header("ETag") for received in responses] == [f'"{ETAG}"'] * 2


@pytest_twisted.ensureDeferred
async def test_f24_the_location_of_an_upload_is_the_objects() -> None:
    """
    The backend's Location has neither scheme nor host.
    """
    document = (
        "<CompleteMultipartUploadResult><Location>WalrusBackend/test-bucket/k</Location><Bucket>test-bucket</Bucket>"
        "<Key>k</Key><ETag>uuid-1</ETag></CompleteMultipartUploadResult>"
    )
    body = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>e</ETag></Part></CompleteMultipartUpload>"
    received = await ask(
        response("200 OK", document.encode()), "POST", f"{KEY}?uploadId=u", body, profile="walrusbackend-4.x"
    )
    found = parsed("CompleteMultipartUpload", received)

    assert found["Location"] == "http://s3.example.test/test-bucket/k"
    assert found["ETag"] == '"uuid-1"'


# Reads

GIB = 1 << 30
OBJECT = b"0123456789"


def reading(form: str, *headers: str, content: bytes = OBJECT) -> Answering:
    """
    Return what sends the response to HEAD and GET of an object in one of the two forms.
    """

    def received(request: ReceivedRequest) -> bytes:
        told = (f"ETag: {ETAG}", "Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT", "Content-Type: text/x", *headers)
        if request.head.method == b"HEAD":
            return response("200 OK", b"", *told, length=len(content))
        span = request.head.fields.value(b"range")
        if span is None:
            return response("200 OK", content, *told)
        first, last = map(int, span.removeprefix(b"bytes=").split(b"-"))
        part = content[first : last + 1]
        if form == "3.4":
            return response("206 X", part, *told, f"Content-Range: {first}-{last}/{len(content)}")
        return response("200 OK", part, *told, f"Content-Range: {first}-{last}/{len(part)}")

    return received


@pytest.mark.parametrize("form", ["3.4", "4.x"])
@pytest.mark.parametrize("is_versioned", [False, True])
@pytest.mark.parametrize(
    ("span", "expected", "sent"),
    [
        ("bytes=2-4", b"234", "bytes=2-4"),
        ("bytes=-4", b"6789", "bytes=6-9"),
        ("bytes=5-", b"56789", "bytes=5-9"),
        ("bytes=0-", OBJECT, None),
        ("bytes=0-99", OBJECT, None),
        ("bytes=-99", OBJECT, None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f15_ranges(form: str, span: str, expected: bytes, sent: str | None, *, is_versioned: bool) -> None:
    """
    206 with S3's Content-Range in each case. s3proxy does not send a range that covers all, nor any for a version.
    """
    told = ["x-amz-version-id: v1"] if is_versioned else []
    response = await ask(reading(form, *told), range=span)
    first = OBJECT.index(expected)

    assert (response.status, response.body) == (206, expected)
    assert response.header("Content-Range") == f"bytes {first}-{first + len(expected) - 1}/10"
    assert response.header("Content-Length") == str(len(expected))
    got = response.harness.backend.requests[-1].head.fields.value(b"range")
    assert got == (None if is_versioned or sent is None else sent.encode())


@pytest_twisted.ensureDeferred
async def test_f15_a_range_of_a_named_version_is_cut() -> None:
    """
    Of a large object, which streams: s3proxy does not read the rest.
    """
    content = bytes(range(256)) * 8192
    response = await ask(reading("3.4", content=content), "GET", f"{KEY}?versionId=v1", range="bytes=70000-400000")

    assert (response.status, response.body == content[70_000:400_001]) == (206, True)
    assert response.harness.backend.requests[-1].head.fields.value(b"range") is None


@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize("size", [100, 300_000])
@pytest_twisted.ensureDeferred
async def test_f15_a_range_above_the_limit_is_cut_from_the_whole(size: int, profile: str) -> None:
    """
    With a small limit: each byte of the range arrives, and no other. A range at the limit is sent to the backend.
    """
    content = (bytes(range(251)) * (4 * size // 251 + 1))[: 4 * size]
    limited = replace(PROFILES[profile], range_limits=RangeLimits(max_size=size))
    got = {}
    for first, last in ((3, size + 2), (3, size + 3), (0, size), (size, 4 * size - 1), (2 * size, 9 * size)):
        harness = Harness(profile=limited, signature="v2", backend=answering(reading("3.4", content=content)))
        response = await harness.request(Signer().head("GET", KEY, {"range": f"bytes={first}-{last}"})[0])
        await harness.close()
        end = min(last + 1, len(content))
        assert (response.status, response.body == content[first:end]) == (206, True)
        assert response.header("Content-Range") == f"bytes {first}-{end - 1}/{len(content)}"
        got[first, last] = harness.backend.requests[-1].head.fields.value(b"range")

    asked_for = {span: value for span, value in got.items() if value is not None}
    assert asked_for == {(3, size + 2): b"bytes=3-%d" % (size + 2)}


@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize(
    ("span", "told", "sent"),
    [
        ("bytes=0-", f"bytes 0-{3 * GIB - 1}/{3 * GIB}", None),
        ("bytes=7-", f"bytes 7-{3 * GIB - 1}/{3 * GIB}", None),
        (f"bytes=7-{2 * GIB + 6}", f"bytes 7-{2 * GIB + 6}/{3 * GIB}", None),
        (f"bytes=7-{2 * GIB + 5}", f"bytes 7-{2 * GIB + 5}/{3 * GIB}", f"bytes=7-{2 * GIB + 5}"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_f15_ranges_of_2_gib(profile: str, span: str, told: str, sent: str | None) -> None:
    """
    The backend counts the bytes of a range in 31 bits, and s3proxy never requests more than it can count.
    """

    def received(request: ReceivedRequest) -> bytes:
        whole = response("200 OK", b"", f"ETag: {ETAG}", length=3 * GIB)
        if request.head.method == b"HEAD":
            return whole
        if request.head.fields.value(b"range") is None:
            return whole + b"0123456789"
        return response("206 X", b"0123456789", f"ETag: {ETAG}", length=2 * GIB - 1)

    harness = Harness(profile=PROFILES[profile], signature="v2", backend=answering(received))
    client = await harness.connect()
    client.send(Signer().head("GET", KEY, {"range": span})[0])
    await client.until(lambda: client.received.endswith((b"789", b"</Error>")) or client.lost)
    head, _, body = client.received.partition(b"\r\n\r\n")
    client.transport.abortConnection()
    await harness.close()

    assert head.startswith(b"HTTP/1.1 206 ")
    assert f"Content-Range: {told}\r\n".encode() in head
    first, last = map(int, told.removeprefix("bytes ").partition("/")[0].split("-"))
    assert f"Content-Length: {last - first + 1}".encode() in head
    assert body == (b"0123456789" if sent or not first else b"789")
    got = harness.backend.requests[-1].head.fields.value(b"range")
    assert got == (sent.encode() if sent else None)


HEAD_RANGES = [
    ("bytes=2-4", 206, "3", "bytes 2-4/10"),
    ("bytes=-4", 206, "4", "bytes 6-9/10"),
    ("bytes=5-", 206, "5", "bytes 5-9/10"),
    ("bytes=0-", 206, "10", "bytes 0-9/10"),
    ("bytes=8-99", 206, "2", "bytes 8-9/10"),
    ("bytes=5-2", 200, "10", None),
    ("bytes=-", 200, "10", None),
    ("bytes=1-2,4-5", 200, "10", None),
    ("lines=1-2", 200, "10", None),
    ("bytes=10-", 416, None, None),
    ("bytes=-0", 416, None, None),
]


@pytest.mark.parametrize("is_paced", [False, True])
@pytest.mark.parametrize("profile", FAMILY)
@pytest.mark.parametrize(("span", "status", "length", "content_range"), HEAD_RANGES)
@pytest_twisted.ensureDeferred
async def test_a_head_of_a_range(
    profile: str, span: str, status: int, length: str | None, content_range: str | None, *, is_paced: bool
) -> None:
    """
    HEAD returns what GET would: the range and its length. The connection remains in use, and the backend gets one
    request.
    """
    limits = BudgetLimits(bytes_per_second=1e6) if is_paced else NO_LIMITS
    harness = Harness(profile=PROFILES[profile], signature="v2", backend=answering(reading("3.4")), key_limits=limits)
    client = await harness.connect()
    client.send(Signer().head("HEAD", KEY, {"range": span})[0])
    told = await client.response("HEAD")
    client.send(Signer().head("GET", KEY, {"range": span})[0])
    got = await client.response("GET")
    await harness.close()

    assert told is not None
    assert got is not None
    assert (told.status, told.body) == (got.status, b"") == (status, b"")
    assert [told.header(name) for name in ("Content-Range", "ETag")] == [
        got.header(name) for name in ("Content-Range", "ETag")
    ]
    if status == 416:
        assert [element(got.body, name) for name in ("Code", "RangeRequested", "ActualObjectSize")] == [
            "InvalidRange",
            span,
            "10",
        ]
    else:
        assert (told.header("Content-Range"), told.header("Content-Length")) == (content_range, length)
        assert got.header("Content-Length") == length
    methods = [request.head.method for request in harness.backend.requests]
    assert methods == [b"HEAD", b"HEAD", b"GET"][: 2 if status == 416 else 3]
    assert all(b"range" not in request.head.fields for request in harness.backend.requests[:2])


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest_twisted.ensureDeferred
async def test_a_head_of_a_range_on_a_condition(carrier: str) -> None:
    """
    If-Range is honoured, and other conditions are checked before the range, for each kind of signature and carrier.
    """
    for header, value, status in (
        ("If-Range", f'"{ETAG}"', 206),
        ("If-Range", "Sat, 28 Nov 2026 20:00:00 GMT", 206),
        ("If-Range", '"other"', 200),
        ("If-None-Match", f'"{ETAG}"', 304),
        ("If-Match", '"other"', 412),
        ("If-Match", f'"{ETAG}"', 206),
    ):
        head = signed_request("HEAD", KEY, [("Range", "bytes=2-4"), (header, value)], carrier)
        response = await ask(reading("3.4"), "HEAD", head=head)
        assert (header, response.status) == (header, status)
        assert response.header("Content-Range") == ("bytes 2-4/10" if status == 206 else None)
        assert [method for method, _ in asked(response)] == ["HEAD"]

    for span, length in (("bytes=9-10", "1"), ("bytes=10-11", None)):
        large = await ask(reading("3.4", "x-amz-version-id: v1"), "HEAD", f"{KEY}?versionId=v1", range=span)
        assert (large.status, large.header("Content-Range")) == ((206, "bytes 9-9/10") if length else (416, None))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("profile", FAMILY)
@pytest_twisted.ensureDeferred
async def test_what_has_not_changed_has_no_content(profile: str, method: str) -> None:
    """
    A 304 of s3proxy has neither length nor type. If-Range and If-None-Match take the tag that the client was given.
    """
    unchanged = await ask(reading("3.4"), method, profile=profile, if_none_match=f'"{ETAG}"')
    part = await ask(reading("3.4"), profile=profile, range="bytes=2-4", if_range=f'"{ETAG}"')

    assert unchanged.status == 304
    names = {name.lower() for name, _ in unchanged.headers}
    assert names.isdisjoint({"content-length", "content-type", "transfer-encoding"})
    assert unchanged.header("ETag") == f'"{ETAG}"'
    assert unchanged.header("Last-Modified") == "Sat, 28 Nov 2026 20:00:00 GMT"
    assert (part.status, part.body) == (206, b"234")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_the_first_part_of_an_object_is_all_of_it(method: str) -> None:
    """
    It is returned as 206, as at S3. Another part is 416. The parts of an object are not recorded: all of it is one
    part.
    """
    whole = await ask(reading("3.4"), method, f"{KEY}?partNumber=1")
    second = await ask(reading("3.4"), method, f"{KEY}?partNumber=2")
    both = await ask(reading("3.4"), method, f"{KEY}?partNumber=1", range="bytes=1-2")

    def of_parts(request: ReceivedRequest) -> bytes:
        return reading("3.4")(request).replace(ETAG.encode(), b"uuid-" + ETAG.encode())

    parts = await ask(of_parts, method, f"{KEY}?partNumber=1")

    assert (whole.status, whole.header("Content-Range"), whole.header("Content-Length")) == (206, "bytes 0-9/10", "10")
    assert whole.body == (OBJECT if method == "GET" else b"")
    assert all("partNumber" not in target for _, target in asked(whole))
    assert (second.status, both.status, parts.status) == (416, 400, 200)


def test_every_operation_with_a_document_has_its_root() -> None:
    """
    The root is the one that botocore's model names, or that of its payload.
    """
    model = get_session().get_service_model("s3")
    for profile in FAMILY:
        for name in PROFILES[profile].taken_operations:
            if name in {"Preflight", "PreflightOfObject", "GetObject"}:
                continue
            shape = model.operation_model(name).output_shape
            members = {} if shape is None else shape.members
            is_in_body = any("location" not in member.serialization for member in members.values())
            assert is_in_body == (name in RESULT_ROOTS), name
