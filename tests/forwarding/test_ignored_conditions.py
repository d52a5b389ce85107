"""
Conditions on writes at backends that ignore some of them, and check others in their own way.

Source:
    "Conditional requests", "PutObject", "DeleteObject", "DeleteObjects"; what Ceph 16.2 and Swift 2.38 were seen to do,
    and what the source of MinIO and versitygw ignores.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import make_backend
from s3proxy.profiles.allowed import check_taken
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import NotImplementedByProxy
from s3proxy.s3.head import parse_request_head
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from tests.support.harness import Harness
from tests.support.signer import Signer
from tests.support.wire_cases import element

TAG = '"fedcba9876543210fedcba9876543210"'
PART = '"0123456789abcdef0123456789abcdef"'
SOURCE = {"x-amz-copy-source": "/test-bucket/a"}
DONE = (
    f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{PART}</ETag></Part>"
    f"<Part><ETag>{PART.upper()}</ETag><PartNumber>2</PartNumber></Part></CompleteMultipartUpload>"
).encode()


def deletions(condition: str) -> bytes:
    """
    Return a DeleteObjects of two objects, the second with a condition.
    """
    objects = f"<Object><Key>a</Key></Object><Object><Key>b</Key>{condition}</Object>"
    return f'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{objects}</Delete>'.encode()


async def ask(
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes = b"",
    response: bytes = b"",
    harness: Harness | None = None,
    **options: Any,
) -> tuple[Any, Harness]:
    """
    Send one request.
    """
    harness = harness or Harness(**options)
    if response:
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(response)

        def received(connection: FaultyConnection, request: ReceivedRequest) -> None:
            connection.send(head + response)

        harness.backend.on_request = received
    signed = {name: value for name, value in headers.items() if name.startswith("x-amz-")}
    unsigned = {name: value for name, value in headers.items() if name not in signed}
    if method in {"PUT", "POST"}:
        unsigned["Content-Length"] = str(len(body))
    if "delete" in target:
        signed["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    payload = hashlib.sha256(body).hexdigest()
    whole = Signer().head(method, target, signed, payload=payload, unsigned=unsigned)[0] + body
    response_read = await harness.request(whole)
    await harness.close()
    return response_read, harness


WRITES: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "complete, If-None-Match": ("POST", "/test-bucket/k?uploadId=u", {"If-None-Match": "*"}, DONE),
    "complete, If-Match": ("POST", "/test-bucket/k?uploadId=u", {"If-Match": TAG}, DONE),
    "copy, If-None-Match": ("PUT", "/test-bucket/k", {**SOURCE, "If-None-Match": "*"}, b""),
    "copy, If-Match": ("PUT", "/test-bucket/k", {**SOURCE, "If-Match": TAG}, b""),
    "delete, If-Match": ("DELETE", "/test-bucket/k", {"If-Match": TAG}, b""),
    "delete, If-Match, one version": ("DELETE", "/test-bucket/k?versionId=v", {"if-match": "*"}, b""),
    "delete, size": ("DELETE", "/test-bucket/k", {"x-amz-if-match-size": "9"}, b""),
    "delete, time": ("DELETE", "/test-bucket/k", {"x-amz-if-match-last-modified-time": "x"}, b""),
    "abort, time": ("DELETE", "/test-bucket/k?uploadId=u", {"x-amz-if-match-initiated-time": "x"}, b""),
    "append": ("PUT", "/test-bucket/k", {"x-amz-write-offset-bytes": "3"}, b"data"),
    "append at the start": ("PUT", "/test-bucket/k", {"x-amz-write-offset-bytes": "0"}, b"data"),
    "deletions, tag": ("POST", "/test-bucket?delete", {}, deletions(f"<ETag>{TAG}</ETag>")),
    "deletions, size": ("POST", "/test-bucket?delete", {}, deletions("<Size>9</Size>")),
    "deletions, time": ("POST", "/test-bucket?delete", {}, deletions("<LastModifiedTime>x</LastModifiedTime>")),
}
_APPENDED = {"append", "append at the start"}
IGNORED = {
    "ceph-rgw": set(WRITES),
    "swift": _APPENDED | {"abort, time", "delete, size", "delete, time"},
    "minio": WRITES.keys() - {"complete, If-Match", "complete, If-None-Match"},
    "versitygw": _APPENDED | {write for write in WRITES if write.startswith(("copy", "deletions"))},
    "generic": _APPENDED,
}


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("profile", IGNORED)
@pytest_twisted.ensureDeferred
async def test_a_condition_that_a_backend_ignores(profile: str, write: str, signature: str) -> None:
    """
    It is refused before the backend gets the write: its client takes the condition for a lock. Other conditions are
    sent on.
    """
    method, target, headers, body = WRITES[write]
    response, harness = await ask(method, target, headers, body, profile=PROFILES[profile], signature=signature)

    if write in IGNORED[profile]:
        assert (response.status, element(response.body, "Code")) == (501, "NotImplemented")
        assert harness.backend.requests == []
    else:
        assert response.status == 200
        assert len(harness.backend.requests) == 1


@pytest.mark.parametrize("profile", IGNORED)
@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("PUT", {"If-None-Match": "*"}),
        ("PUT", {"If-Match": TAG}),
        ("GET", {"If-Match": TAG}),
        ("HEAD", {"If-None-Match": TAG}),
        ("DELETE", {}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_condition_that_a_backend_knows(method: str, headers: dict[str, str], profile: str) -> None:
    """
    Reads, and writes of objects, are sent on.
    """
    _, harness = await ask(method, "/test-bucket/k", headers, profile=PROFILES[profile])

    assert len(harness.backend.requests) >= 1


@pytest.mark.parametrize(("word", "is_refused"), [("refuse", True), ("check", False), ("pass", False), (None, True)])
def test_the_option(tmp_path: Path, word: str | None, is_refused: bool) -> None:
    """
    ``conditions = "pass"`` is for a backend that has learned these conditions; with ``check`` s3proxy judges them.
    """
    named = {"name": "b", "url": "http://127.0.0.1:1", "profile": "ceph-rgw", "signature": "none"}
    settings = make_settings({"backend": [named | ({"conditions": word} if word is not None else {})]}, tmp_path)
    allowed = make_backend(settings.backends[0], settings, reactor).allowed
    head = parse_request_head(b"DELETE /b/k HTTP/1.1\r\nHost: h\r\nIf-Match: x")
    address = parse_address(head.raw_path, head.host, ())

    if is_refused:
        with pytest.raises(NotImplementedByProxy):
            check_taken(allowed, head, classify(head, address))
    else:
        check_taken(allowed, head, classify(head, address))


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_the_marks_of_an_entity_tag(signature: str) -> None:
    """
    Ceph compares the tag of a PUT's condition including its quotation marks: it gets the tag without them. Reads keep
    theirs.
    """
    for profile, method, sent, seen in (
        ("ceph-rgw", "PUT", TAG, TAG.strip('"')),
        ("ceph-rgw", "PUT", TAG.strip('"'), TAG.strip('"')),
        ("ceph-rgw", "PUT", "*", "*"),
        ("ceph-rgw", "GET", TAG, TAG),
        ("generic", "PUT", TAG, TAG),
        ("swift", "PUT", TAG, TAG),
    ):
        _, harness = await ask(
            method, "/test-bucket/k", {"If-Match": sent}, profile=PROFILES[profile], signature=signature
        )
        assert harness.backend.requests[0].head.fields[b"if-match"] == (seen.encode(),)


RESULT = "<CompleteMultipartUploadResult><Location>rgw/b/k</Location>{}</CompleteMultipartUploadResult>"
JOINED = hashlib.md5(bytes.fromhex(PART.strip('"')) * 2).hexdigest()


@pytest.mark.parametrize(
    ("profile", "told", "etag"),
    [
        ("ceph-rgw", "<ETag></ETag>", f'"{JOINED}-2"'),
        ("ceph-rgw", "<ETag/>", f'"{JOINED}-2"'),
        ("ceph-rgw", "<ETag> </ETag>", f'"{JOINED}-2"'),
        ("ceph-rgw", "<ETag>its own</ETag>", "its own"),
        ("generic", "<ETag></ETag>", ""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_entity_tag_of_an_upload_in_parts(profile: str, told: str, etag: str) -> None:
    """
    Ceph 16.2 leaves it empty. s3proxy computes it from the parts' tags, as S3 does.
    """
    response, _ = await ask(
        "POST", "/test-bucket/k?uploadId=u", {}, DONE, RESULT.format(told).encode(), profile=PROFILES[profile]
    )

    assert (element(response.body, "ETag") or "").replace("&quot;", '"').strip() == etag
    assert element(response.body, "Location") == "http://s3.example.test/test-bucket/k"


@pytest.mark.parametrize("tag", ["x", PART[:-2], "", "0" * 32 + "-2"])
@pytest_twisted.ensureDeferred
async def test_a_part_s_tag_that_is_no_md5(tag: str) -> None:
    """
    The tag of an encrypted part may be something else: then the response has none.
    """
    document = DONE.replace(PART.encode(), tag.encode())
    response, _ = await ask(
        "POST",
        "/test-bucket/k?uploadId=u",
        {},
        document,
        RESULT.format("<ETag></ETag>").encode(),
        profile=PROFILES["ceph-rgw"],
    )

    assert not element(response.body, "ETag")


@pytest.mark.parametrize("profile", ["ceph-rgw", "swift", "generic"])
@pytest_twisted.ensureDeferred
async def test_a_method_of_what_a_backend_lacks(profile: str) -> None:
    """
    An operation that the backend lacks is NotImplemented, whatever the method. Any other wrong method gets S3's own
    405.
    """
    for method, target, status in (
        ("DELETE", "/test-bucket?accelerate", 405 if profile == "generic" else 501),
        ("PUT", "/test-bucket?metadataTable", 405 if profile == "generic" else 501),
        ("PUT", "/test-bucket/k?attributes", 405 if profile == "generic" else 501),
        ("DELETE", "/test-bucket?acl", 405),
        ("PUT", "/test-bucket?uploads", 405),
        ("POST", "/test-bucket?versioning", 405),
        ("DELETE", "/test-bucket/k?acl", 405),
    ):
        response, harness = await ask(method, target, {}, profile=PROFILES[profile])
        assert (method, target, response.status) == (method, target, status)
        assert harness.backend.requests == []


NOW_THERE = (
    b'HTTP/1.1 200 OK\r\nETag: "fedcba9876543210fedcba9876543210"\r\nContent-Length: 9\r\n'
    b"Last-Modified: Sun, 01 Mar 2026 11:00:00 GMT\r\n\r\n"
)
NOT_THERE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
OTHER = '"00000000000000000000000000000000"'
TIME = "x-amz-if-match-last-modified-time"


@pytest.mark.parametrize("profile", ["ceph-rgw", "minio"])
@pytest.mark.parametrize("write", ["complete", "copy", "delete"])
@pytest.mark.parametrize(
    ("condition", "holds", "holds_of_nothing"),
    [
        ({"If-Match": TAG}, True, False),
        ({"If-Match": TAG.strip('"')}, True, False),
        ({"If-Match": "*"}, True, False),
        ({"If-Match": OTHER}, False, False),
        ({"If-None-Match": "*"}, False, True),
        ({"If-None-Match": TAG}, False, True),
        ({"If-None-Match": OTHER}, True, True),
        ({"x-amz-if-match-size": "9"}, True, False),
        ({"x-amz-if-match-size": "8"}, False, False),
        ({"x-amz-if-match-size": "-9"}, False, False),
        ({TIME: "Sun, 01 Mar 2026 11:00:00 GMT"}, True, False),
        ({TIME: "Sun, 01 Mar 2026 11:00:01 GMT"}, False, False),
        ({"If-Match": TAG, "x-amz-if-match-size": "8"}, False, False),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_condition_that_is_checked(
    profile: str, write: str, condition: dict[str, str], holds: bool, holds_of_nothing: bool
) -> None:
    """
    s3proxy sends a HEAD for the object. The write is then sent without the condition, or not sent and refused with 412;
    or with 404 if the object of the condition does not exist.
    """
    method, target, headers, body = {
        "complete": ("POST", "/test-bucket/k?uploadId=u", {}, DONE),
        "copy": ("PUT", "/test-bucket/k", SOURCE, b""),
        "delete": ("DELETE", "/test-bucket/k", {}, b""),
    }[write]
    known = {"if-match", "if-none-match"} if write != "delete" else {"if-match", "x-amz-if-match-size", TIME}
    if not {name.lower() for name in condition} <= known or (profile, write) == ("minio", "complete"):
        return
    for head, goes_on, refusal in (
        (NOW_THERE, holds, (412, "PreconditionFailed")),
        (NOT_THERE, holds_of_nothing, (404, "NoSuchKey")),
    ):
        harness = Harness(profile=PROFILES[profile], conditions="check")

        def respond(connection: FaultyConnection, request: ReceivedRequest, head: bytes = head) -> None:
            connection.send(head if request.head.method == b"HEAD" else b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        harness.backend.on_request = respond
        result, _ = await ask(method, target, {**headers, **condition}, body, harness=harness)

        assert (result.status, element(result.body, "Code")) == ((200, None) if goes_on else refusal)
        methods = [request.head.method.decode() for request in harness.backend.requests]
        assert methods == (["HEAD", method] if goes_on else ["HEAD"])
        asked = harness.backend.requests[0].head
        assert asked.raw_target == b"/test-bucket/k"
        for request in harness.backend.requests:
            assert not {name.lower().encode() for name in condition} & request.head.fields.keys()
        assert b"x-amz-copy-source" not in asked.fields


@pytest.mark.parametrize(("status", "shown"), [(403, 403), (500, 500), (503, 500), (301, 500)])
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_checked(status: int, shown: int) -> None:
    """
    The write is not sent if s3proxy cannot know what it would replace, or if no HEAD can judge the condition.
    """
    harness = Harness(profile=PROFILES["ceph-rgw"], conditions="check")
    head = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status
    harness.backend.on_request = lambda connection, request: connection.send(head)
    result, _ = await ask("DELETE", "/test-bucket/k", {"If-Match": TAG}, harness=harness)
    assert (result.status, [request.head.method for request in harness.backend.requests]) == (shown, [b"HEAD"])

    for write in ("abort, time", "append", "deletions, tag"):
        method, target, headers, body = WRITES[write]
        harness = Harness(profile=PROFILES["ceph-rgw"], conditions="check")
        result, _ = await ask(method, target, headers, body, harness=harness)
        assert (result.status, harness.backend.requests) == (501, [])
