"""
Browsers' forms through real sockets: held, on disk or streamed, verified before anything is stored, and answered.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_twisted

from s3proxy.body.plan import BodyLimits
from s3proxy.postobject.policy import parse_policy
from s3proxy.s3.date import parse_basic_iso
from s3proxy.testing.faulty_client import Answer
from tests.forms import BUCKET, form_request, multipart, v2_fields, v4_fields
from tests.harness import Harness, load_vectors, turns, until
from tests.signer import SignedRequest
from tests.test_wire_cases import element

KIB = 1024
SMALL = b"hello world"
LARGE = bytes(range(251)) * 4000
ANY_KEY = ["starts-with", "$key", ""]
STREAMING = BodyLimits(streams_forms=True)


async def post(request: SignedRequest, *, step: int = 0, **options: Any) -> tuple[Answer, Harness]:
    """
    Send a form; return the answer, and the harness which has ended.
    """
    harness = Harness(**options)
    answer = await harness.request(request.head, request.body, step=step)
    await turns(3)
    await harness.close()
    assert answer is not None
    return answer, harness


def upload(file: bytes, *conditions: Any, after: Any = (), filename: str = "file.txt", **fields: str) -> SignedRequest:
    """
    A form with a policy which covers its fields.
    """
    fields = {"key": "user/${filename}", **fields}
    covered = [*conditions, ANY_KEY, *([["starts-with", f"${name}", ""] for name in fields if name != "key"])]
    return form_request(multipart(v4_fields(covered, **fields), file, filename=filename, after=after))


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("file", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest_twisted.ensureDeferred
async def test_a_file_is_stored(file: bytes, signature: str, limits: BodyLimits) -> None:
    """
    The backend gets a signed PUT with the file, its length and nothing of the form.
    """
    answer, harness = await post(upload(file, acl="private"), signature=signature, body_limits=limits)

    assert (answer.status, answer.header("ETag")) == (204, '"5d41402abc4b2a76b9719d911017c592"')
    assert answer.header("Location") == f"http://s3.example.test/{BUCKET}/user/file.txt"
    assert answer.header("Content-Length") is None
    (stored,) = harness.backend.requests
    assert (stored.head.method, stored.head.raw_target) == (b"PUT", b"/test-bucket/user/file.txt")
    assert (stored.size, stored.sha256) == (len(file), hashlib.sha256(file).hexdigest())
    assert stored.head.fields[b"content-type"] == [b"binary/octet-stream"]
    assert stored.head.fields[b"x-amz-acl"] == [b"private"]
    assert not {b"policy", b"x-amz-signature", b"transfer-encoding"} & stored.head.fields.keys()
    assert harness.records[0].object_size == len(file)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest_twisted.ensureDeferred
async def test_any_cutting(step: int) -> None:
    """
    However the network cuts a form, the same file is stored.
    """
    file = (SMALL + b"\r\n--") * 20
    answer, harness = await post(upload(file, after=[("submit", "Upload")]), step=step)

    assert answer.status == 204
    assert harness.backend.requests[0].body == file


@pytest_twisted.ensureDeferred
async def test_fields_become_headers() -> None:
    """
    Those which S3 knows; what only the policy must know stays behind, a copy source above all.
    """
    fields = {
        "Content-Type": "image/png",
        "Cache-Control": "no-cache",
        "x-amz-meta-colour": "blue",
        "x-amz-storage-class": "STANDARD",
        "x-amz-copy-source": "/other/secret",
        "x-amz-request-payer": "requester",
        "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>c&amp;d</Value></Tag></TagSet></Tagging>",
        "utf8": "yes",
    }
    _, harness = await post(upload(SMALL, **fields))

    (stored,) = harness.backend.requests
    wanted = {
        b"content-type": b"image/png",
        b"cache-control": b"no-cache",
        b"x-amz-meta-colour": b"blue",
        b"x-amz-storage-class": b"STANDARD",
        b"x-amz-tagging": b"a+b=c%26d",
    }
    assert {name: stored.head.fields.value(name) for name in wanted} == wanted
    assert not {b"x-amz-copy-source", b"x-amz-request-payer", b"tagging", b"utf8"} & stored.head.fields.keys()


@pytest.mark.parametrize("status", ["200", "201", "204", "999"])
@pytest_twisted.ensureDeferred
async def test_the_answer_which_the_form_wants(status: str) -> None:
    """
    200 without a document, 201 with one, 204 for anything else.
    """
    answer, _ = await post(upload(SMALL, success_action_status=status, key="a & b"))

    location = f"http://s3.example.test/{BUCKET}/a%20%26%20b"
    assert answer.header("Location") == location
    assert answer.status == (int(status) if status != "999" else 204)
    if status == "201":
        assert answer.header("Content-Type") == "application/xml"
        found = {name: element(answer.body, name) for name in ("Location", "Bucket", "Key", "ETag")}
        etag = '"5d41402abc4b2a76b9719d911017c592"'
        assert found == {"Location": location, "Bucket": BUCKET, "Key": "a & b", "ETag": etag}
    else:
        assert answer.body == b""


@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
@pytest_twisted.ensureDeferred
async def test_a_redirect_tells_what_was_stored(name: str) -> None:
    """
    Bucket, key and ETag follow the query which was there.
    """
    answer, _ = await post(upload(SMALL, **{name: "https://example.test/done?lang=en#top"}))

    assert answer.status == 303
    url = urlsplit(answer.header("Location") or "")
    assert (url.netloc, url.path, url.fragment) == ("example.test", "/done", "top")
    assert parse_qs(url.query) == {
        "lang": ["en"],
        "bucket": [BUCKET],
        "key": ["user/file.txt"],
        "etag": ['"5d41402abc4b2a76b9719d911017c592"'],
    }


@pytest.mark.parametrize("url", ["ftp://example.test/", "//example.test/", "no url", "http://[", "javascript:alert(1)"])
@pytest_twisted.ensureDeferred
async def test_a_redirect_to_nowhere(url: str) -> None:
    """
    What is no URL of the web is no redirect: the browser gets what it would get without it.
    """
    answer, _ = await post(upload(SMALL, success_action_redirect=url))

    assert answer.status == 204


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("size", [10, 300 * KIB])
@pytest_twisted.ensureDeferred
async def test_a_field_after_the_file(size: int, limits: BodyLimits) -> None:
    """
    It is ignored where the file is verified first; where its length was predicted, the form is refused.
    """
    file = bytes(size)
    answer, harness = await post(upload(file, after=[("submit", "Upload")]), body_limits=limits)

    if limits is STREAMING:
        assert (answer.status, element(answer.body, "Code")) == (400, "MalformedPOSTRequest")
        assert harness.backend.requests == []
    else:
        assert answer.status == 204
        assert harness.backend.requests[0].body == file


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_what_the_policy_does_not_allow(file: bytes, limits: BodyLimits) -> None:
    """
    Nothing of it is stored: a file which is too large or too small, a field which is not covered, a wrong checksum.
    """
    size = len(file)
    wrong = base64.b64encode(zlib.crc32(b"other").to_bytes(4, "big")).decode()
    fields = {"key": "k", "x-amz-meta-a": "b"}
    for request, status, code in (
        (upload(file, ["content-length-range", 0, size - 1]), 400, "EntityTooLarge"),
        (upload(file, ["content-length-range", size + 1, size * 2]), 400, "EntityTooSmall"),
        (upload(file, **{"x-amz-checksum-crc32": wrong}), 400, "BadDigest"),
        (upload(file, **{"Content-MD5": base64.b64encode(bytes(16)).decode()}), 400, "BadDigest"),
        (upload(file, ["eq", "$acl", "private"], acl="public-read"), 403, "AccessDenied"),
        (form_request(multipart(v4_fields([ANY_KEY], **fields), file)), 403, "AccessDenied"),
        (form_request(multipart(v2_fields([ANY_KEY], **fields), file)), 403, "AccessDenied"),
    ):
        answer, harness = await post(request, body_limits=limits)

        assert (answer.status, element(answer.body, "Code")) == (status, code)
        assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_what_holds_is_passed_on() -> None:
    """
    A file which is just as large as it may be, with its checksum.
    """
    checksum = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
    size_range = ["content-length-range", len(LARGE), str(len(LARGE))]
    answer, harness = await post(upload(LARGE, size_range, **{"x-amz-checksum-crc32": checksum}))

    assert answer.status == 204
    assert harness.backend.requests[0].head.fields.value(b"x-amz-checksum-crc32") == checksum.encode()


@pytest_twisted.ensureDeferred
async def test_the_disk_has_a_quota() -> None:
    """
    A file for which there is no room is refused with SlowDown, and its room is given back.
    """
    answer, harness = await post(upload(LARGE), spool_quota=len(LARGE) - 1)

    assert (answer.status, element(answer.body, "Code")) == (503, "SlowDown")
    assert answer.header("Retry-After") == "1"
    assert harness.backend.requests == []
    assert (harness.spool.size, harness.spool.refused_count) == (0, 1)


@pytest_twisted.ensureDeferred
async def test_a_browser_which_leaves() -> None:
    """
    What it sent so far is on disk for nobody, and the backend never heard of it.
    """
    harness = Harness()
    request = upload(LARGE)
    client = await harness.connect()
    client.send(request.head + request.body[:500_000])
    await until(lambda: harness.spool.size > 300_000)

    client.transport.abortConnection()
    await until(lambda: harness.proxy.running_count == 0)

    assert harness.spool.size == 0
    await harness.close()
    assert harness.backend.requests == []
    assert harness.backend.connections == []


@pytest_twisted.ensureDeferred
async def test_no_octet_of_a_file_is_kept_before_its_policy_is_believed() -> None:
    """
    While the key is looked up, the browser is not read.
    """
    from twisted.internet.defer import Deferred

    harness = Harness(socket_buffer=16 * KIB)
    looked_up: Deferred[Any] = Deferred()
    harness.store.look_up = lambda key: looked_up  # type: ignore[method-assign]
    request = upload(bytes(8 << 20))
    client = await harness.connect()
    client.send(request.head + request.body)
    await until(lambda: any(channel.holds for channel in harness.site.channels))
    await turns(200)
    (running,) = harness.proxy._running
    assert running._request.received_size < 300 * KIB

    looked_up.callback(None)
    answer = await client.answer("POST")
    await harness.close()

    assert answer is not None
    assert (answer.status, element(answer.body, "Code")) == (403, "InvalidAccessKeyId")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_backend_which_answers_before_it_has_the_file() -> None:
    """
    Its success is not believed, although the file was verified: it does not have it.
    """
    harness = Harness()
    harness.backend.on_head = lambda connection, head: connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    harness.backend.pause_after = 1
    request = upload(bytes(8 << 20))
    answer = await harness.request(request.head, request.body)
    await harness.close()

    assert (answer.status, element(answer.body, "Code")) == (500, "InternalError")
    assert harness.proxy.counts.committed_early == 1


@pytest_twisted.ensureDeferred
async def test_a_backend_which_refuses_the_file() -> None:
    """
    Its answer reaches the browser as it is.
    """
    harness = Harness()
    document = b"<Error><Code>NoSuchBucket</Code></Error>"
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(document)
    harness.backend.on_request = lambda connection, request: connection.send(head + document)
    request = upload(LARGE)
    answer = await harness.request(request.head, request.body)
    await harness.close()

    assert (answer.status, answer.body) == (404, document)


@pytest.mark.parametrize("vector", load_vectors("s3-post"), ids=lambda vector: vector["name"])
@pytest_twisted.ensureDeferred
async def test_the_documentation_s_forms(vector: dict[str, Any]) -> None:
    """
    The published policies are read, their signatures verify, and their forms are stored; with another one they are not.
    """
    policy, signature = vector["policy_base64"], vector["expected"]["signature"]
    read = parse_policy(policy.encode())
    bucket = next(condition.value.decode() for condition in read.conditions if condition.name == b"bucket")
    now = parse_basic_iso(vector["date"].encode())
    assert now is not None
    assert base64.b64decode(policy).decode() == vector["policy"]
    assert vector["expected"]["string_to_sign"] == policy
    names = {name.lower() for name, _ in vector["fields"]}
    name = "x-amz-signature" if vector["sigv"] == "4" else "signature"
    fields = [pair for pair in vector["fields"] if pair[0].lower() not in {name, "policy"}]
    # Where only the policy is published, the form is one which it allows.
    missing = [condition for condition in read.conditions if condition.name.decode() not in {*names, "bucket"}]
    fields += [[condition.name.decode(), condition.value.decode()] for condition in missing]
    names |= {condition.name.decode() for condition in missing}
    if vector["sigv"] == "2" and "awsaccesskeyid" not in names:
        fields.append(["AWSAccessKeyId", vector["credentials"]["access_key"]])
    for sent, status in ((signature, 303 if "success_action_redirect" in names else 204), (signature[::-1], 403)):
        body = multipart([*fields, ("policy", policy), (name, sent)], SMALL, filename="photo.jpg")
        answer, harness = await post(form_request(body, target=f"/{bucket}"), now=now)

        assert answer.status == status, answer.body
        assert len(harness.backend.requests) == (status != 403)


@pytest_twisted.ensureDeferred
async def test_a_form_for_a_bucket_in_the_host_name() -> None:
    """
    The bucket is the host's, and so is the location.
    """
    body = multipart(v4_fields([ANY_KEY], key="k"), SMALL)
    request = form_request(body, target="/")
    head = request.head.replace(b"Host: s3.example.test", b"Host: test-bucket.s3.example.test:9000")
    answer, harness = await post(SignedRequest(head, request.body))

    assert answer.status == 204
    assert answer.header("Location") == "http://test-bucket.s3.example.test:9000/k"
    assert harness.backend.requests[0].head.raw_target == b"/test-bucket/k"
