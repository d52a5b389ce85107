"""
Requests that once did more at a storage system than their signatures say: each was found on a running one.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.exchange.replay import ReplayWindow
from s3proxy.profiles.known import PROFILES
from tests.support.boundary import BACKENDS, ask, v2_header, v2_query
from tests.support.presigning import presigned
from tests.support.signer import Signer

EMPTY_BODY = {"Content-Length": "0"}


def by_url(method: str, target: str, headers: str = "", body: bytes = b"") -> bytes:
    """
    Return a request presigned with Signature V4, whose query the signature covers, with unsigned header lines.
    """
    signer = Signer()
    path, _, query = target.partition("?")
    url = presigned(signer, method, path, query)
    head = f"{method} {url} HTTP/1.1\r\nHost: {signer.host}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def code(response: Any) -> str:
    """
    Return the code of an error document, empty if there is none.
    """
    _, _, rest = response.body.partition(b"<Code>")
    return rest.partition(b"</Code>")[0].decode()


EMPTY_VALUES = {
    "an upload to abort": ("DELETE", "/b/k?uploadId=", "NoSuchUpload"),
    "an upload without an equals sign": ("DELETE", "/b/k?uploadId", "NoSuchUpload"),
    "white space": ("DELETE", "/b/k?uploadId=%20%09", "NoSuchUpload"),
    "an escaped name": ("DELETE", "/b/k?upload%49d=", "NoSuchUpload"),
    "a part": ("PUT", "/b/k?uploadId=&partNumber=1", "NoSuchUpload"),
    "a part's number": ("PUT", "/b/k?uploadId=u&partNumber=", "InvalidArgument"),
    "an upload to complete": ("POST", "/b/k?uploadId=", "NoSuchUpload"),
    "parts": ("GET", "/b/k?uploadId=", "NoSuchUpload"),
    "a version to delete": ("DELETE", "/b/k?versionId=", "InvalidArgument"),
    "a version to read": ("GET", "/b/k?versionId", "InvalidArgument"),
    "a version's tags": ("DELETE", "/b/k?tagging&versionId=", "InvalidArgument"),
}


@pytest.mark.parametrize(("profile", "signature"), BACKENDS)
@pytest.mark.parametrize("case", EMPTY_VALUES)
@pytest_twisted.ensureDeferred
async def test_an_empty_value_is_not_another_operation(case: str, profile: str, signature: str) -> None:
    """
    With an empty upload id, Ceph 16.2 deletes the object for AbortMultipartUpload, and overwrites it for UploadPart.
    """
    method, target, expected = EMPTY_VALUES[case]
    responses, harness = await ask(
        Signer().head(method, target, unsigned=EMPTY_BODY)[0],
        by_url(method, target),
        profile=PROFILES[profile],
        signature=signature,
    )

    assert [code(response) for response in responses] == [expected] * 2
    assert harness.backend.requests == []


@pytest.mark.parametrize("target", ["/b/k?uploadId=", "/b/k?uploadId"])
@pytest_twisted.ensureDeferred
async def test_an_empty_value_under_signature_v2(target: str) -> None:
    """
    Signature V2 covers the name with or without its equals sign.
    """
    responses, harness = await ask(v2_header("DELETE", target, target), profile=PROFILES["ceph-rgw"])

    assert [code(response) for response in responses] == ["NoSuchUpload"]
    assert harness.backend.requests == []


SEMICOLONS = {
    "/b/k?versionId=a;b": b"/b/k?versionId=a%3Bb",
    "/b/k?versionId=1;uploadId=u": b"/b/k?versionId=1%3BuploadId=u",
    "/b/k?x-id=DeleteObject;acl&versionId=a;b": b"/b/k?versionId=a%3Bb",
}


@pytest.mark.parametrize("signature", ["v4", "v2", "none"])
@pytest.mark.parametrize("profile", ["generic", "ceph-rgw", "minio", "riakcs", "swift"])
@pytest_twisted.ensureDeferred
async def test_a_semicolon_is_a_part_of_a_value(profile: str, signature: str) -> None:
    """
    Readers of Go leave out a parameter with a semicolon, so that the deletion of a version deletes the object. Older
    readers take a semicolon for an ampersand, so that what follows is another parameter.
    """
    _, harness = await ask(
        *(Signer().head("DELETE", target)[0] for target in SEMICOLONS),
        v2_header("DELETE", "/b/k?versionId=a;b", "/b/k?versionId=a;b"),
        profile=PROFILES[profile],
        signature=signature,
    )

    sent = [request.head.raw_target for request in harness.backend.requests]
    assert sent == [*SEMICOLONS.values(), b"/b/k?versionId=a%3Bb"]


INTERNAL_SOURCES = [
    ".minio.sys/config/config.json",
    "/.minio.sys/config/iam/users/x/identity.json",
    "%2eminio.sys/config/config.json",
    "%2F.minio.sys/config/config.json",
    ".minio.sys%2Fconfig/config.json",
    "/./.minio.sys/config/config.json",
    ".MINIO.SYS/config/config.json",
    ".minio.sys/config/config.json?versionId=null",
    "%252eminio.sys/config/config.json",
    "minio/x/y",
]


@pytest.mark.parametrize("target", ["/b/k", "/b/k?uploadId=u&partNumber=1"])
@pytest.mark.parametrize("source", INTERNAL_SOURCES)
@pytest_twisted.ensureDeferred
async def test_nothing_is_copied_from_a_private_surface(source: str, target: str) -> None:
    """
    MinIO refuses a path below its own bucket, but copies from there: its configuration, and its users' secrets.
    """
    header = {"x-amz-copy-source": source}
    separator = "&" if "?" in target else "?"
    responses, harness = await ask(
        Signer().head("PUT", target, header, unsigned=EMPTY_BODY)[0],
        by_url("PUT", f"{target}{separator}x-amz-copy-source={quote(source, safe='')}"),
        profile=PROFILES["minio"],
    )

    assert [(response.status, code(response)) for response in responses] == [(403, "AccessDenied")] * 2
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    "source",
    [
        "http://h/.minio.sys/config/config.json",
        "http:/.minio.sys/config/config.json",
        "HTTPS://h/bucket/key",
        "x:/bucket/key",
        "x%3A/bucket/key",
        "arn:/bucket/object/key",
        "arn:/.minio.sys/object/key",
        "arn:aws:s3:/bucket/object/key",
    ],
)
@pytest.mark.parametrize("profile", ["generic", "minio", "ceph-rgw"])
@pytest_twisted.ensureDeferred
async def test_a_copy_source_is_no_url(source: str, profile: str) -> None:
    """
    MinIO reads it as a URL: then the bucket is the first segment after the host, and not the one that s3proxy checked.
    """
    head = Signer().head("PUT", "/b/k", {"x-amz-copy-source": source}, unsigned=EMPTY_BODY)[0]
    responses, harness = await ask(head, profile=PROFILES[profile])

    assert [(response.status, code(response)) for response in responses] == [(400, "InvalidArgument")]
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    ("source", "sent"),
    [
        ("bucket/a#b", "bucket/a%23b"),
        ("bucket/a#b?versionId=1", "bucket/a%23b?versionId=1"),
        ("/bucket/a%23b", "/bucket/a%23b"),
        ("tenant:bucket/key", "tenant:bucket/key"),
        (
            "arn:aws:s3:us-west-2:123456789012:accesspoint/p/object/a/b",
            "arn:aws:s3:us-west-2:123456789012:accesspoint/p/object/a/b",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_copy_source_is_read_alike(source: str, sent: str) -> None:
    """
    A number sign is part of the key: MinIO would copy the object whose key ends before it.
    """
    head = Signer().head("PUT", "/b/k", {"x-amz-copy-source": source}, unsigned=EMPTY_BODY)[0]
    responses, harness = await ask(head)

    assert [response.status for response in responses] == [200]
    assert harness.backend.requests[0].head.fields[b"x-amz-copy-source"] == (sent.encode(),)


@pytest.mark.parametrize("value", ["REPLICA", "x"])
@pytest_twisted.ensureDeferred
async def test_no_client_replicates(value: str) -> None:
    """
    MinIO stores an object with this header without the retention that its bucket gives to every object.
    """
    name = "x-amz-replication-status"
    signed = Signer().put("/b/k", b"hello", headers={name: value})
    requests = (
        signed.head + signed.body,
        by_url("PUT", f"/b/k?{name}={value}"),
        by_url("PUT", f"/b/k?X-Amz-Replication-Status={value}"),
        v2_query("PUT", "/b/k", f"{name}={value}", amz=f"{name}:{value}\n"),
        Signer().head("DELETE", "/b/k", {name: value})[0],
    )
    refused, minio = await ask(*requests, profile=PROFILES["minio"])
    passed, generic = await ask(*requests)

    assert [(response.status, code(response)) for response in refused] == [(403, "AccessDenied")] * 5
    assert minio.backend.requests == []
    assert [response.status for response in passed] == [200] * 5
    assert [request.head.fields.get(name.encode()) for request in generic.backend.requests] == [None] * 5


@pytest.mark.parametrize(
    "document",
    [
        b"<Delete><Object><Key>.sgwtmp<x>y</x></Key></Object></Delete>",
        b"<Delete><Object><Key>.sgw<x>y</x>tmp</Key></Object></Delete>",
        b"<Delete><Object><Key>a<x>y</x>//b</Key></Object></Delete>",
        b"<Delete><Object><Key>.<x/>.</Key></Object></Delete>",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_key_has_no_elements(document: bytes) -> None:
    """
    versitygw drops what the elements contain, and deletes another key than the one that s3proxy checked.
    """
    headers = {"content-md5": base64.b64encode(hashlib.md5(document).digest()).decode()}
    head = Signer().head(
        "POST",
        "/b?delete",
        headers,
        payload=hashlib.sha256(document).hexdigest(),
        unsigned={"Content-Length": str(len(document))},
    )[0]
    responses, harness = await ask(head + document, profile=PROFILES["versitygw"])

    assert [(response.status, code(response)) for response in responses] == [(400, "MalformedXML")]
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("aws-chunked", None),
        ("AWS-Chunked", None),
        ("gzip, aws-chunked", (b"gzip",)),
        ("aws-chunked,gzip", (b"gzip",)),
        ("gzip", (b"gzip",)),
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_backend_hears_of_aws_chunked(value: str, sent: tuple[bytes, ...] | None) -> None:
    """
    Anyone with a presigned URL could add it to a body that is not such a stream. It is not a coding of an object,
    signed or not.
    """
    body = b"5\r\nhello\r\n0\r\n\r\n"
    signed = Signer().put("/b/k", body, headers={"content-encoding": value})
    responses, harness = await ask(
        signed.head + signed.body,
        by_url("PUT", "/b/k", f"Content-Encoding: {value}\r\n", body),
    )

    assert [response.status for response in responses] == [200] * 2
    assert [request.body for request in harness.backend.requests] == [body] * 2
    codings = [request.head.fields.get(b"content-encoding") for request in harness.backend.requests]
    assert codings == [sent, sent]


def test_one_key_makes_no_room_for_anothers_replay() -> None:
    """
    A client that floods the window only loses its own requests.
    """
    window = ReplayWindow(900, 100)
    admitted = [window.admit(b"victim %d" % number, 0, b"victim") for number in range(20)]
    admitted += [window.admit(b"flood %d" % number, number / 100, b"flooder") for number in range(10_000)]

    assert all(admitted)
    assert len(window) == 100
    assert not any(window.admit(b"victim %d" % number, 101, b"victim") for number in range(20))
    assert not window.admit(b"flood 9999", 101, b"flooder")
    assert window.admit(b"flood 0", 101, b"flooder")


def test_a_window_full_of_one_key_remembers_others() -> None:
    """
    The key with the fewest loses nothing, whatever the order of the requests.
    """
    window = ReplayWindow(900, 100)
    for number in range(100):
        assert window.admit(b"flood %d" % number, 0, b"flooder")
    for number in range(40):
        assert window.admit(b"late %d" % number, 1, b"late")

    assert len(window) == 100
    assert not any(window.admit(b"late %d" % number, 2, b"late") for number in range(40))


def test_a_window_forgets_keys() -> None:
    """
    Keys without a remembered request are forgotten.
    """
    window = ReplayWindow(10, 100)
    for number in range(50):
        assert window.admit(b"request", number, b"key %d" % number)
    window.forget(b"request", b"key 49")
    window.forget(b"request", b"nobody")

    assert len(window) == 9
    assert window.admit(b"request", 49, b"key 49")
    assert not window.admit(b"request", 49, b"key 40")
    assert window.admit(b"request", 100, b"key 40")
    assert len(window) == 1
