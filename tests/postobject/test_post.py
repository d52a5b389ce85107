"""
Browsers' forms over real sockets: held, on disk or streamed, verified before anything is stored, and their responses.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from s3proxy.authentication.realm import Anonymous
from s3proxy.body.plan import BodyLimits
from s3proxy.frontend.times import ClientTimes
from s3proxy.postobject import upload as upload_module
from s3proxy.postobject.policy import parse_policy
from s3proxy.s3.date import parse_basic_iso
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.forms import BUCKET, form_request, multipart, v2_fields, v4_fields
from tests.support.harness import NOW, SERVER, Harness, data_set_credentials, load_vectors, turns, until
from tests.support.posts import ANY_KEY, KINDS, SMALL, fields_of, upload
from tests.support.signer import UNSIGNED, SignedRequest, Signer
from tests.support.wire_cases import element

KIB = 1024
LARGE = bytes(range(251)) * 4000
STREAMING = BodyLimits(streams_forms=True)


async def post(request: SignedRequest, *, step: int = 0, **options: Any) -> tuple[Response, Harness]:
    """
    Send a form; return the response, and the closed harness.
    """
    harness = Harness(**options)
    response = await harness.request(request.head, request.body, step=step)
    await turns(3)
    await harness.close()
    assert response is not None
    return response, harness


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("file", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
@pytest_twisted.ensureDeferred
async def test_a_file_is_stored(file: bytes, signature: str, limits: BodyLimits) -> None:
    """
    The backend gets a signed PUT with the file, its length and nothing of the form.
    """
    response, harness = await post(upload(file, acl="private"), signature=signature, body_limits=limits)

    assert (response.status, response.header("ETag")) == (204, '"5d41402abc4b2a76b9719d911017c592"')
    assert response.header("Location") == f"http://s3.example.test/{BUCKET}/user/file.txt"
    assert response.header("Content-Length") is None
    (stored,) = harness.backend.requests
    assert (stored.head.method, stored.head.raw_target) == (b"PUT", b"/test-bucket/user/file.txt")
    assert (stored.size, stored.sha256) == (len(file), hashlib.sha256(file).hexdigest())
    assert stored.head.fields[b"content-type"] == (b"binary/octet-stream",)
    assert stored.head.fields[b"x-amz-acl"] == (b"private",)
    assert not {b"policy", b"x-amz-signature", b"transfer-encoding"} & stored.head.fields.keys()
    assert harness.records[0].object_size == len(file)


@pytest.mark.parametrize("step", [1, 7, 1000])
@pytest_twisted.ensureDeferred
async def test_any_cutting(step: int) -> None:
    """
    However the network splits a form, the same file is stored.
    """
    file = (SMALL + b"\r\n--") * 20
    response, harness = await post(upload(file, after=[("submit", "Upload")]), step=step)

    assert response.status == 204
    assert harness.backend.requests[0].body == file


@pytest_twisted.ensureDeferred
async def test_fields_become_headers() -> None:
    """
    Fields that S3 knows become headers; those for the policy only are not sent, above all not a copy source.
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
async def test_the_response_which_the_form_wants(status: str) -> None:
    """
    200 without a document, 201 with one, 204 for anything else.
    """
    response, _ = await post(upload(SMALL, success_action_status=status, key="a & b"))

    location = f"http://s3.example.test/{BUCKET}/a%20%26%20b"
    assert response.header("Location") == location
    assert response.status == (int(status) if status != "999" else 204)
    if status == "201":
        assert response.header("Content-Type") == "application/xml"
        found = {name: element(response.body, name) for name in ("Location", "Bucket", "Key", "ETag")}
        etag = '"5d41402abc4b2a76b9719d911017c592"'
        assert found == {"Location": location, "Bucket": BUCKET, "Key": "a & b", "ETag": etag}
    else:
        assert response.body == b""


@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
@pytest_twisted.ensureDeferred
async def test_a_redirect_tells_what_was_stored(name: str) -> None:
    """
    Bucket, key and ETag follow the query of the field.
    """
    response, _ = await post(upload(SMALL, **{name: "https://example.test/done?lang=en#top"}))

    assert response.status == 303
    url = urlsplit(response.header("Location") or "")
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
    A value that is not an http(s) URL does not redirect: the browser gets the response without it.
    """
    response, _ = await post(upload(SMALL, success_action_redirect=url))

    assert response.status == 204


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("size", [10, 300 * KIB])
@pytest_twisted.ensureDeferred
async def test_a_field_after_the_file(size: int, limits: BodyLimits) -> None:
    """
    It is ignored if the file is verified first. If the file's length was predicted, the form is refused.
    """
    file = bytes(size)
    response, harness = await post(upload(file, after=[("submit", "Upload")]), body_limits=limits)

    if limits is STREAMING:
        assert (response.status, element(response.body, "Code")) == (400, "MalformedPOSTRequest")
        assert harness.backend.requests == []
    else:
        assert response.status == 204
        assert harness.backend.requests[0].body == file


@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_what_the_policy_does_not_allow(file: bytes, limits: BodyLimits) -> None:
    """
    Nothing of the form is stored: a file that is too large or too small, a field that is not covered, a wrong checksum.
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
        response, harness = await post(request, body_limits=limits)

        assert (response.status, element(response.body, "Code")) == (status, code)
        assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_what_holds_is_passed_on() -> None:
    """
    A file of exactly the maximum size, with its checksum.
    """
    checksum = base64.b64encode(zlib.crc32(LARGE).to_bytes(4, "big")).decode()
    size_range = ["content-length-range", len(LARGE), str(len(LARGE))]
    response, harness = await post(upload(LARGE, size_range, **{"x-amz-checksum-crc32": checksum}))

    assert response.status == 204
    assert harness.backend.requests[0].head.fields.value(b"x-amz-checksum-crc32") == checksum.encode()


@pytest_twisted.ensureDeferred
async def test_the_disk_has_a_quota() -> None:
    """
    A file for which there is no room is refused with SlowDown, and its room is given back.
    """
    response, harness = await post(upload(LARGE), spool_quota=len(LARGE) - 1)

    assert (response.status, element(response.body, "Code")) == (503, "SlowDown")
    assert response.header("Retry-After") == "1"
    assert harness.backend.requests == []
    assert (harness.spool.size, harness.spool.refused_count) == (0, 1)


@pytest_twisted.ensureDeferred
async def test_a_browser_which_leaves() -> None:
    """
    What the browser has sent so far is deleted from the disk, and the backend gets nothing.
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
async def test_no_byte_of_a_file_is_kept_before_its_policy_is_believed() -> None:
    """
    While s3proxy looks up the key, it does not read from the browser.
    """
    from twisted.internet.defer import Deferred

    harness = Harness(socket_buffer=16 * KIB)
    looked_up: Deferred[Any] = Deferred()
    harness.proxy.context.look_up = lambda key: looked_up
    request = upload(bytes(8 << 20))
    client = await harness.connect()
    client.send(request.head + request.body)
    await until(lambda: any(channel.holds.reasons for channel in harness.site.channels))
    await turns(200)
    (running,) = harness.proxy._running
    assert running._request.received_size < 300 * KIB

    looked_up.callback(None)
    response = await client.response("POST")
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (403, "InvalidAccessKeyId")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_backend_which_answers_before_it_has_the_file() -> None:
    """
    Its success is not believed, although the file was verified: the backend does not have the file yet.
    """
    harness = Harness()
    harness.backend.on_head = lambda connection, head: connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    harness.backend.pause_after = 1
    request = upload(bytes(8 << 20))
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")
    assert harness.proxy.context.counts.committed_early == 1


@pytest_twisted.ensureDeferred
async def test_a_backend_which_refuses_the_file() -> None:
    """
    Its response reaches the browser unchanged.
    """
    harness = Harness()
    document = b"<Error><Code>NoSuchBucket</Code></Error>"
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % len(document)
    harness.backend.on_request = lambda connection, request: connection.send(head + document)
    request = upload(LARGE)
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert (response.status, response.body) == (404, document)


@pytest.mark.parametrize("vector", load_vectors("s3-post"), ids=lambda vector: vector["name"])
@pytest_twisted.ensureDeferred
async def test_the_documentation_s_forms(vector: dict[str, Any]) -> None:
    """
    The published policies can be read, their signatures verify, and their forms are stored; with another one they are
    not.
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
    # If only the policy is published, the test uses a form that it allows.
    missing = [condition for condition in read.conditions if condition.name.decode() not in {*names, "bucket"}]
    fields += [[condition.name.decode(), condition.value.decode()] for condition in missing]
    names |= {condition.name.decode() for condition in missing}
    if vector["sigv"] == "2" and "awsaccesskeyid" not in names:
        fields.append(["AWSAccessKeyId", vector["credentials"]["access_key"]])
    for sent, status in ((signature, 303 if "success_action_redirect" in names else 204), (signature[::-1], 403)):
        body = multipart([*fields, ("policy", policy), (name, sent)], SMALL, filename="photo.jpg")
        response, harness = await post(form_request(body, target=f"/{bucket}"), now=now)

        assert response.status == status, response.body
        assert len(harness.backend.requests) == (status != 403)


@pytest_twisted.ensureDeferred
async def test_a_form_for_a_bucket_in_the_host_name() -> None:
    """
    The bucket is that of the host, and so is the location.
    """
    body = multipart(v4_fields([ANY_KEY], key="k"), SMALL)
    request = form_request(body, target="/")
    head = request.head.replace(b"Host: s3.example.test", b"Host: test-bucket.s3.example.test:9000")
    response, harness = await post(SignedRequest(head, request.body))

    assert response.status == 204
    assert response.header("Location") == "http://test-bucket.s3.example.test:9000/k"
    assert harness.backend.requests[0].head.raw_target == b"/test-bucket/k"


EVERYBODY = Anonymous(passes=True)


@KINDS
@pytest.mark.parametrize("signature", ["v4", "v2", "none"])
@pytest_twisted.ensureDeferred
async def test_no_field_s_name_ends_a_header_s_line(signature: str, kind: str) -> None:
    """
    A name that is not a header's name, or that is another header to some backend, reaches no backend.
    """
    for name, code in {
        "x-amz-meta-a:1\\\rX-Injected": "MalformedPOSTRequest",
        "x-amz-meta-a\rX-Injected": "MalformedPOSTRequest",
        "x-amz-meta-a: b": "InvalidArgument",
        "x-amz-meta-a b": "InvalidArgument",
        "x-amz-meta-a;b": "InvalidArgument",
        "x-amz-meta-é": "InvalidArgument",
        "x-amz-grant-full_control": "InvalidArgument",
    }.items():
        fields = fields_of(kind, [["starts-with", f"${name}", ""]], **{"key": "k", name: "7"})
        response, harness = await post(form_request(multipart(fields, SMALL)), signature=signature, anonymous=EVERYBODY)

        assert (response.status, element(response.body, "Code")) == (400, code)
        assert harness.backend.requests == []


UTF16 = '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE t [<!ENTITY a "b">]><Tagging><TagSet/></Tagging>'


@pytest.mark.parametrize("tagging", [UTF16.encode("utf-16-be").decode("latin-1"), "<Tagging>", "<!DOCTYPE t []>"])
@KINDS
@pytest_twisted.ensureDeferred
async def test_nothing_of_a_form_is_parsed_before_it_is_believed(
    kind: str, tagging: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Tags are read once signature and policy hold, or if anonymous forms are allowed. No XML is read before that.
    """
    parsed: list[bytes] = []
    parse = upload_module.parse_document
    monkeypatch.setattr(upload_module, "parse_document", lambda document: parsed.append(document) or parse(document))
    covered = [["starts-with", "$tagging", ""]]
    fields = dict(fields_of(kind, covered, key="k", tagging=tagging))
    refused = [fields_of(kind, [], key="k", tagging=tagging)]
    if kind != "anonymous":
        name = "x-amz-signature" if kind == "v4" else "signature"
        refused.append([*{**fields, name: fields[name][::-1]}.items()])

    for each in refused:
        response, _ = await post(form_request(multipart(each, SMALL)))

        assert (response.status, element(response.body, "Code")) in {
            (403, "AccessDenied"),
            (403, "SignatureDoesNotMatch"),
        }
    assert parsed == []
    response, harness = await post(form_request(multipart(fields.items(), SMALL)), anonymous=EVERYBODY)
    assert (response.status, element(response.body, "Code")) == (400, "MalformedXML")
    assert parsed == [tagging.encode()]
    assert harness.backend.requests == []


@KINDS
@pytest.mark.parametrize("tagging", ["<Tagging>", "a" * 30_000], ids=["broken", "long"])
@pytest_twisted.ensureDeferred
async def test_an_anonymous_form_is_held_to_the_same(tagging: str, kind: str) -> None:
    """
    If anonymous forms are allowed, their fields are checked as those of signed forms.
    """
    fields = fields_of(kind, [["starts-with", "$tagging", ""]], key="k", tagging=tagging)
    response, harness = await post(form_request(multipart(fields, SMALL)), anonymous=EVERYBODY)

    wanted = "MalformedXML" if tagging == "<Tagging>" else "MaxPostPreDataLengthExceeded"
    assert (response.status, element(response.body, "Code")) == (400, wanted)
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_an_anonymous_form_is_stored_with_its_fields() -> None:
    """
    The PUT is unsigned, with the headers that the form's fields name, and none of the form's own request.
    """
    body = multipart([("key", "k"), ("x-amz-meta-a_b", "c"), ("acl", "private")], SMALL)
    headers = "x-amz-acl: public-read\r\nx-amz-content-sha256: of-no-body\r\n"
    response, harness = await post(form_request(body, headers=headers), anonymous=EVERYBODY)

    (stored,) = harness.backend.requests
    assert response.status == 204
    assert stored.head.fields[b"x-amz-meta-a_b"] == (b"c",)
    assert stored.head.fields[b"x-amz-acl"] == (b"private",)
    assert b"authorization" not in stored.head.fields
    assert stored.body == SMALL


async def trickle(client: FaultyClient, clock: Clock, data: bytes, seconds: float) -> float:
    """
    Send one byte per interval until there is a response; return how long that took.
    """
    began = clock.seconds()
    for byte in data:
        if client.received or client.lost is not None:
            break
        client.send(bytes([byte]))
        await turns(4)
        clock.advance(seconds)
        await turns(4)
    return clock.seconds() - began


@pytest.mark.parametrize("is_tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("place", ["preamble", "part head", "value", "file's head"])
@pytest_twisted.ensureDeferred
async def test_fields_take_no_longer_than_a_head(place: str, is_tls: bool) -> None:
    """
    A browser that sends a byte now and then has the time limit of a head for all of its fields, and gets an error.
    """
    clock = Clock()
    harness = Harness(clock=clock, is_tls=is_tls, times=ClientTimes(head=30.0, idle=60.0))
    request = upload(SMALL)
    start = {
        "preamble": 0,
        "part head": request.body.index(b"Content-Disposition"),
        "value": request.body.index(b"user/"),
        "file's head": request.body.index(b'name="file"'),
    }[place]
    client = await harness.connect()
    client.send(request.head + request.body[:start])
    await turns(4)

    taken = await trickle(client, clock, request.body[start : start + 100], 1.0)
    await until(lambda: client.received, limit=1_000)
    response = await client.response("POST")
    await until(lambda: not harness.site.channels or clock.advance(1))
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (400, "RequestTimeout")
    assert response.header("Connection") == "close"
    assert 29 <= taken <= 32
    assert harness.backend.connections == []
    assert harness.proxy.context.counts.aborted == {"client_too_slow": 1}


@KINDS
@pytest_twisted.ensureDeferred
async def test_a_file_may_be_slower_than_its_fields(kind: str) -> None:
    """
    Once its fields are complete, a form has the time limit of any other body, and its policy may expire.
    """
    clock = Clock()
    harness = Harness(clock=clock, anonymous=EVERYBODY)
    fields = fields_of(kind, [], key="k")
    request = form_request(multipart(fields, SMALL * 10))
    split = request.body.index(SMALL)
    client = await harness.connect()
    client.send(request.head + request.body[:split])
    await turns(4)

    harness.now = NOW + timedelta(days=1)
    taken = await trickle(client, clock, request.body[split : split + 100], 20.0)
    client.send(request.body[split + 100 :])
    response = await client.response("POST")
    await harness.close()

    assert taken == 2000
    assert response is not None
    assert response.status == 204
    assert harness.backend.requests[0].body == SMALL * 10


async def response_after(harness: Harness, request: SignedRequest, pause: timedelta) -> Response:
    """
    Send a form whose fields are complete only after a pause; return the response.
    """
    split = request.body.index(b'name="file"')
    client = await harness.connect()
    client.send(request.head + request.body[:split])
    await until(lambda: harness.proxy.running_count)
    harness.now = NOW + pause
    client.send(request.body[split:])
    response = await client.response("POST")
    await harness.close()
    assert response is not None
    return response


@pytest.mark.parametrize("kind", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_a_policy_is_judged_when_the_fields_are_complete(kind: str) -> None:
    """
    A form that began before its policy expired is refused if its fields came after that.
    """
    for passed, status in ((3599, 204), (3601, 403)):
        harness = Harness()
        request = form_request(multipart(fields_of(kind, [], key="k"), SMALL))

        response = await response_after(harness, request, timedelta(seconds=passed))

        assert response.status == status
        if status == 403:
            assert element(response.body, "Message") == "Invalid according to Policy: Policy expired."


@pytest.mark.parametrize("kind", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_a_session_is_judged_when_the_fields_are_complete(kind: str) -> None:
    """
    A temporary key is also judged at that moment, even if its lookup takes long.
    """
    key = SERVER["credentials"][0]["access_key"].encode()
    known = data_set_credentials()
    ends = NOW + timedelta(minutes=1)
    for passed, code in ((59, None), (61, "ExpiredToken")):
        credentials = {**known, key: replace(known[key], session_token="the-token", expires_at=ends)}
        harness = Harness(credentials=credentials)
        fields = fields_of(
            kind, [{"x-amz-security-token": "the-token"}], **{"key": "k", "x-amz-security-token": "the-token"}
        )
        request = form_request(multipart(fields, SMALL))

        response = await response_after(harness, request, timedelta(seconds=passed))

        assert (element(response.body, "Code") if response.body else None) == code


@pytest.mark.parametrize(
    ("types", "status", "code"),
    [
        (["multipart/form-data; boundary=B", "text/plain"], 400, "BadRequest"),
        (["text/plain", "multipart/form-data; boundary=B"], 400, "BadRequest"),
        (["multipart/form-data; boundary=B"] * 2, 400, "BadRequest"),
        (["multipart/form-data,text/plain; boundary=B"], 412, "PreconditionFailed"),
        (["text/plain, multipart/form-data; boundary=B"], 412, "PreconditionFailed"),
        (["boundary=B; multipart/form-data"], 412, "PreconditionFailed"),
        (["multipart/form-dataset; boundary=B"], 412, "PreconditionFailed"),
        (["multipart/form-data; boundary=B, text/plain"], 400, "MalformedPOSTRequest"),
        (["multipart/form-data; boundary=B; boundary=C"], 400, "MalformedPOSTRequest"),
        (["multipart/form-data; boundary=B; boundary*=utf-8''C"], 400, "MalformedPOSTRequest"),
        (["\t Multipart/FORM-data ;\tcharset=utf-8; Boundary=B"], 204, None),
    ],
)
@KINDS
@pytest_twisted.ensureDeferred
async def test_what_is_a_form(types: list[str], status: int, code: str | None, kind: str) -> None:
    """
    A request that is a form for one reader is one for every other, or it is refused.
    """
    body = multipart(fields_of(kind, [], key="k"), SMALL, boundary="B")
    lines = "".join(f"Content-Type: {each}\r\n" for each in types)
    head = f"POST /{BUCKET} HTTP/1.1\r\nHost: s3.example.test\r\n{lines}Content-Length: {len(body)}\r\n\r\n"
    response, harness = await post(SignedRequest(head.encode(), body), anonymous=EVERYBODY)

    assert (response.status, element(response.body, "Code") if response.body else None) == (status, code)
    assert len(harness.backend.requests) == (status == 204)


@pytest.mark.parametrize(
    ("types", "status", "code"),
    [
        (["multipart/form-data; boundary=B"], 405, "MethodNotAllowed"),
        (["multipart/form-data,text/plain; boundary=B"], 405, "MethodNotAllowed"),
        (["text/plain; a=Multipart/form-data; boundary=B"], 405, "MethodNotAllowed"),
        (["text/plain", "multipart/form-data; boundary=B"], None, None),
    ],
)
@pytest.mark.parametrize("target", ["?x", "?delete", "/key", "/key?x", "/key?restore", "/key?select&select-type=2"])
@pytest_twisted.ensureDeferred
async def test_a_form_that_hides(types: list[str], target: str, status: int | None, code: str | None) -> None:
    """
    No POST reaches a backend that could take it for a form, signed in its head or anonymous: MinIO looks for the words
    anywhere in the type. Ceph takes a POST to a bucket or an object for a form if it has no parameter it knows.
    """
    body = multipart([("key", "k")], SMALL, boundary="B")
    unsigned = {"Content-Length": str(len(body))}
    signed = Signer().head("POST", f"/{BUCKET}{target}", headers={}, payload=UNSIGNED, unsigned=unsigned)[0]
    anonymous = (
        f"POST /{BUCKET}{target} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    lines = "".join(f"Content-Type: {each}\r\n" for each in types).encode()
    for head in (signed, anonymous):
        request = SignedRequest(head[:-2] + lines + b"\r\n", body)
        response, harness = await post(request, anonymous=EVERYBODY)

        # Two types are 400 if the operation exists. If it does not, nothing else is checked.
        is_operation = not target.endswith(("?x", "/key"))
        expected = (status, code) if status else (400, "BadRequest") if is_operation else (405, "MethodNotAllowed")
        assert (response.status, element(response.body, "Code")) == expected
        assert harness.backend.requests == []


@KINDS
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_not_utf8(kind: str) -> None:
    """
    In its field or in the file's name, it reaches no backend. If the key does not use the file's name, that does not
    matter.
    """
    for key, filename, code in (
        (b"k\xff", b"a", "InvalidArgument"),
        (b"${filename}", b"\xe9", "InvalidArgument"),
        (b"k", b"\xe9", None),
    ):
        fields = [(name, value) for name, value in fields_of(kind, [], key="KEY") if name != "key"]
        body = multipart([*fields, ("key", key)], SMALL, filename="FILENAME").replace(b"FILENAME", filename)
        response, harness = await post(form_request(body), anonymous=EVERYBODY)

        assert (element(response.body, "Code") if response.body else None) == code
        assert len(harness.backend.requests) == (code is None)


@KINDS
@pytest_twisted.ensureDeferred
async def test_a_policy_s_prefix_is_not_left(kind: str) -> None:
    """
    A key with a segment of dots begins with the allowed prefix, and may be another object to a backend.
    """
    for key in ("user/../other/k", "user/${filename}"):
        fields = fields_of(kind, [["starts-with", "$key", "user/"]], key=key)
        response, harness = await post(form_request(multipart(fields, SMALL, filename="..")), anonymous=EVERYBODY)

        assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
        assert harness.backend.requests == []


@KINDS
@pytest_twisted.ensureDeferred
async def test_a_response_has_no_line_of_the_form(kind: str) -> None:
    """
    Neither a redirect nor a key can write a header of the response.
    """
    key = "a\r\nSet-Cookie: a=b"
    for name, value, status in (
        ("success_action_redirect", "http://example.test/\r\nSet-Cookie: a=b", 204),
        ("success_action_redirect", "http://example.test/", 303),
        ("redirect", "http://example.test/?\rSet-Cookie: a=b", 204),
        ("success_action_status", "201", 201),
    ):
        fields = fields_of(kind, [["starts-with", f"${name}", ""]], **{"key": key, name: value})
        response, _ = await post(form_request(multipart(fields, SMALL)), anonymous=EVERYBODY)

        assert response.status == status
        assert response.header("Set-Cookie") is None
        location = response.header("Location") or ""
        assert not {"\r", "\n", " "} & set(location)
        assert "%0D%0ASet-Cookie" in location


@pytest_twisted.ensureDeferred
async def test_an_upload_of_an_object_that_is_a_form() -> None:
    """
    The type is that of the object: its multipart upload begins like any other.
    """
    head = Signer().head(
        "POST",
        f"/{BUCKET}/key?uploads",
        headers={"content-type": "multipart/form-data; boundary=B"},
        unsigned={"Content-Length": "0"},
    )[0]
    response, harness = await post(SignedRequest(head, b""))

    assert response.status == 200
    assert harness.backend.requests[0].head.fields[b"content-type"] == (b"multipart/form-data; boundary=B",)


ORIGIN = "Origin: https://app.example\r\nReferer: https://app.example/page\r\n"
SHARED = (
    b'ETag: "5d41402abc4b2a76b9719d911017c592"\r\nAccess-Control-Allow-Origin: https://app.example\r\n'
    b"Access-Control-Expose-Headers: ETag\r\nVary: Origin\r\n"
)


def from_another_origin(request: SignedRequest, lines: str = ORIGIN) -> SignedRequest:
    """
    The same form, sent by a script of another origin's page.
    """
    return SignedRequest(request.head.replace(b"\r\n\r\n", b"\r\n" + lines.encode() + b"\r\n", 1), request.body)


async def post_to(
    status_line: bytes, document: bytes, request: SignedRequest, **options: Any
) -> tuple[Response, Harness]:
    """
    Send a form to a backend that allows its origin and sends this response.
    """
    harness = Harness(**options)
    head = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n" % (status_line, SHARED, len(document))
    harness.backend.on_request = lambda connection, received: connection.send(head + document)
    response = await harness.request(request.head, request.body)
    await harness.close()
    return response, harness


@KINDS
@pytest.mark.parametrize("limits", [BodyLimits(), STREAMING], ids=["spool", "stream"])
@pytest.mark.parametrize("file", [SMALL, LARGE], ids=["small", "large"])
@pytest_twisted.ensureDeferred
async def test_a_page_of_another_origin_may_read_the_response(file: bytes, limits: BodyLimits, kind: str) -> None:
    """
    The backend sees the form's Origin and Referer. The browser sees its Access-Control headers, whatever the status.
    """
    redirect = "https://app.example/done"
    for name, value, status in (
        ("x-ignore-this", "", 204),
        ("success_action_status", "200", 200),
        ("success_action_status", "201", 201),
        ("success_action_redirect", redirect, 303),
    ):
        fields = fields_of(kind, [["starts-with", f"${name}", ""]], key="k", **{name: value})
        request = from_another_origin(form_request(multipart(fields, file)))
        response, harness = await post_to(b"200 OK", b"", request, body_limits=limits, anonymous=EVERYBODY)

        assert response.status == status
        assert response.header("Access-Control-Allow-Origin") == "https://app.example"
        assert (response.header("Access-Control-Expose-Headers"), response.header("Vary")) == ("ETag", "Origin")
        seen = harness.backend.requests[0].head.fields
        assert (seen.value(b"origin"), seen.value(b"referer")) == (b"https://app.example", b"https://app.example/page")
        # Ceph looks for the rule of this method. The browser's was POST, and s3proxy's is PUT.
        assert seen.value(b"access-control-request-method") == b"POST"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 412, 503])
@pytest_twisted.ensureDeferred
async def test_a_page_of_another_origin_may_read_a_refusal(status: int) -> None:
    """
    A refusal of the backend keeps its Access-Control headers, also if s3proxy's own error replaces it.
    """
    for code, shown in (("NoSuchBucket", status), ("InvalidAccessKeyId", 500)):
        document = f"<Error><Code>{code}</Code></Error>".encode()
        response, _ = await post_to(b"%d No" % status, document, from_another_origin(upload(SMALL)))

        assert (response.status, response.header("Access-Control-Allow-Origin")) == (shown, "https://app.example")
        assert response.header("Vary") == "Origin"


@pytest_twisted.ensureDeferred
async def test_what_a_form_s_request_says_of_its_origin() -> None:
    """
    Access-Control-Request-* of the form pass unchanged. Without an Origin nothing is added.
    """
    lines = ORIGIN + "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-a\r\nCookie: a=b\r\n"
    _, harness = await post(from_another_origin(upload(SMALL), lines))
    seen = harness.backend.requests[0].head.fields
    assert (seen[b"access-control-request-method"], seen[b"access-control-request-headers"]) == ((b"PUT",), (b"x-a",))
    assert b"cookie" not in seen

    _, harness = await post(upload(SMALL))
    seen = harness.backend.requests[0].head.fields
    assert not {b"origin", b"access-control-request-method"} & seen.keys()


@KINDS
@pytest_twisted.ensureDeferred
async def test_the_file_s_name_in_any_field(kind: str) -> None:
    """
    ``${filename}`` stands for the name in headers, tags and the redirect. The policy applies to the result.
    """
    fields = {
        "key": "up/${filename}",
        "x-amz-meta-name": "${filename} or ${filename}",
        "Content-Disposition": 'attachment; filename="${filename}"',
        "Cache-Control": "${filename}",
        "x-amz-website-redirect-location": "/${filename}",
        "tagging": "<Tagging><TagSet><Tag><Key>n</Key><Value>${filename}</Value></Tag></TagSet></Tagging>",
        "success_action_redirect": "https://app.example/?of=${filename}",
    }
    covered = [["starts-with", f"${name}", ""] for name in fields if name != "key"]
    covered.append(["starts-with", "$x-amz-meta-name", "a.txt or"])
    body = multipart(fields_of(kind, covered, **fields), SMALL, filename="C:\\dir\\a.txt")
    response, harness = await post(form_request(body), anonymous=EVERYBODY)

    assert response.status == 303
    query = parse_qs(urlsplit(response.header("Location") or "").query)
    assert (query["of"], query["key"]) == (["a.txt"], ["up/a.txt"])
    seen = harness.backend.requests[0].head
    assert seen.raw_target == b"/test-bucket/up/a.txt"
    wanted = {
        b"x-amz-meta-name": b"a.txt or a.txt",
        b"content-disposition": b'attachment; filename="a.txt"',
        b"cache-control": b"a.txt",
    }
    assert {name: seen.fields.value(name) for name in wanted} == wanted
    assert seen.fields.value(b"x-amz-website-redirect-location") == b"/a.txt"
    assert seen.fields.value(b"x-amz-tagging") == b"n=a.txt"


@pytest_twisted.ensureDeferred
async def test_a_policy_is_about_the_name_of_the_file() -> None:
    """
    A condition applies to the field as it is stored, not to its variable.
    """
    for condition, status in (
        (["eq", "$x-amz-meta-name", "file.txt"], 204),
        (["eq", "$x-amz-meta-name", "${filename}"], 403),
        (["starts-with", "$x-amz-meta-name", "file"], 204),
        (["starts-with", "$x-amz-meta-name", "$"], 403),
    ):
        fields = v4_fields([ANY_KEY, condition], **{"key": "k", "x-amz-meta-name": "${filename}"})
        response, harness = await post(form_request(multipart(fields, SMALL)))

        assert response.status == status
        assert len(harness.backend.requests) == (status == 204)


@pytest.mark.parametrize("region", ["eu-west-1", "US-EAST-1", "us-east-2", "us-east-1x", "\u00fc"])
@pytest_twisted.ensureDeferred
async def test_a_form_for_another_region(region: str) -> None:
    """
    The error names the right region, in its document and in x-amz-bucket-region: SDKs then sign again.
    """
    fields = [
        (name, value.replace("us-east-1", region) if name == "x-amz-credential" else value)
        for name, value in v4_fields([ANY_KEY], key="k")
    ]
    response, harness = await post(form_request(multipart(fields, SMALL)))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert element(response.body, "Region") == "us-east-1"
    assert "expecting 'us-east-1'" in element(response.body, "Message")
    assert response.header("x-amz-bucket-region") == "us-east-1"
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_form_with_another_fault_names_no_region() -> None:
    """
    Only the error about the region does.
    """
    fields = [
        (name, value.replace("/s3/", "/sts/") if name == "x-amz-credential" else value)
        for name, value in v4_fields([ANY_KEY], key="k")
    ]
    response, _ = await post(form_request(multipart(fields, SMALL)))

    assert b"<Region>" not in response.body
    assert response.header("x-amz-bucket-region") is None
