"""
A client that signs for another region, or asks for a bucket's, gets the listener's region, whatever the backend says.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.resign.region import translate_region, without_digests
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.harness import BACKEND_KEY, Harness
from tests.support.signer import Signer
from tests.support.wire_cases import element

OURS = (b"eu-central-1", b"eu-north-1")
BUCKET, KEY = "/test-bucket", "/test-bucket/key"
XMLNS = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("HEAD", BUCKET),
        ("HEAD", KEY),
        ("GET", BUCKET),
        ("GET", f"{BUCKET}?location"),
        ("GET", KEY),
        ("PUT", KEY),
        ("DELETE", KEY),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_wrong_region_is_corrected(method: str, target: str) -> None:
    """
    The error names the listener's own region: in its document, and in a header, because HEAD has no document.
    """
    harness = Harness(regions=OURS)
    head = Signer().head(method, target, unsigned={"Content-Length": "0"} if method == "PUT" else None)[0]
    response = await harness.request(head)
    await harness.close()

    assert (response.status, response.header("x-amz-bucket-region")) == (400, "eu-central-1")
    assert harness.backend.requests == []
    if method == "HEAD":
        assert response.body == b""
    else:
        assert element(response.body, "Code") == "AuthorizationHeaderMalformed"
        assert element(response.body, "Region") == "eu-central-1"


@pytest_twisted.ensureDeferred
async def test_a_wrong_region_in_a_url_is_corrected() -> None:
    """
    Also for a presigned request.
    """
    harness = Harness(regions=OURS)
    target = Signer().presign("GET", KEY)
    response = await harness.request(f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n".encode())
    await harness.close()

    assert (response.status, element(response.body, "Region")) == (400, "eu-central-1")
    assert response.header("x-amz-bucket-region") == "eu-central-1"


@pytest.mark.parametrize("status", [200, 403, 404])
@pytest.mark.parametrize("told", [b"", b"x-amz-bucket-region: default\r\n", b"X-Amz-Bucket-Region: us-west-2\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_bucket_which_is_there_is_in_our_region(told: bytes, status: int) -> None:
    """
    HeadBucket returns it once, whatever region the backend names, if any; but not for a bucket that does not exist.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 %d Something\r\n%sContent-Length: 0\r\n\r\n" % (status, told)
    )
    harness = Harness(regions=(b"us-east-1", b"eu-north-1"), backend=backend)
    response = await harness.request(Signer().head("HEAD", BUCKET)[0])
    await harness.close()

    names = [value for name, value in response.headers if name.lower() == "x-amz-bucket-region"]
    assert response.status == status
    assert names == (["us-east-1"] if told or status != 404 else [])


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest_twisted.ensureDeferred
async def test_other_responses_name_no_region(method: str) -> None:
    """
    The response for an object has the header only if the backend sent it.
    """
    harness = Harness()
    response = await harness.request(Signer().head(method, KEY)[0])
    await harness.close()

    assert (response.status, response.header("x-amz-bucket-region")) == (200, None)


@pytest_twisted.ensureDeferred
async def test_a_stranger_learns_the_region_of_a_bucket() -> None:
    """
    Clients ask for it before they have keys: the error of an anonymous HeadBucket names it, as S3's does.
    """
    harness = Harness(regions=OURS, anonymous=Anonymous())
    responses = [
        await harness.request(f"HEAD {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n".encode())
        for target in (BUCKET, KEY, "/")
    ]
    await harness.close()

    assert [(response.status, response.header("x-amz-bucket-region")) for response in responses] == [
        (403, "eu-central-1"),
        (403, None),
        (403, None),
    ]


@pytest.mark.parametrize(
    ("region", "shown"),
    [(b"eu-central-1", b"eu-central-1"), (b"us-east-1", b"")],
)
@pytest.mark.parametrize(
    "document",
    [
        b"<LocationConstraint %s>default</LocationConstraint>",
        b"<LocationConstraint %s></LocationConstraint>",
        b"<LocationConstraint %s/>",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_buckets_location_is_ours(document: bytes, region: bytes, shown: bytes) -> None:
    """
    GetBucketLocation returns the listener's region, and an empty one for us-east-1.
    """
    content = document % XMLNS
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content)
    )
    harness = Harness(regions=(region, b"us-east-1"), backend=backend)
    response = await harness.request(Signer().head("GET", f"{BUCKET}?location")[0])
    await harness.close()

    assert response.body == b"<LocationConstraint %s>%s</LocationConstraint>" % (XMLNS, shown)


CONSTRAINT = b"<CreateBucketConfiguration %b><LocationConstraint>%b</LocationConstraint></CreateBucketConfiguration>"


@pytest.mark.parametrize(
    ("named", "backend_region", "sent"),
    [
        (b"eu-central-1", "default", CONSTRAINT % (XMLNS, b"default")),
        (b"eu-north-1", "default", CONSTRAINT % (XMLNS, b"default")),
        (b"eu-central-1", "us-east-1", b""),
        (b"eu-central-1", "eu-central-1", CONSTRAINT % (XMLNS, b"eu-central-1")),
        (b"ap-southeast-2", "default", CONSTRAINT % (XMLNS, b"ap-southeast-2")),
    ],
)
@pytest.mark.parametrize("has_md5", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_bucket_is_made_where_the_backend_is(
    named: bytes, backend_region: str, sent: bytes, *, has_md5: bool
) -> None:
    """
    A client names s3proxy's region, and the backend reads its own. The backend judges any other region.
    """
    key = replace(BACKEND_KEY, region=backend_region)
    harness = Harness(regions=(*OURS, b"us-east-1"), backend_key=key)
    document = CONSTRAINT % (XMLNS, named)
    digest = base64.b64encode(hashlib.md5(document).digest()).decode()
    signed = {"content-md5": digest} if has_md5 else {}
    request = Signer().put(BUCKET, document, headers=signed)
    response = await harness.request(request.head, request.body)
    await harness.close()

    received = harness.backend.requests[0]
    assert response.status == 200
    assert received.body == sent
    assert (b"content-md5" in received.head.fields) == (has_md5 and sent == document)


def test_only_the_document_of_a_new_bucket_is_translated() -> None:
    """
    Names are compared whole, and white space of any length is accepted.
    """
    assert translate_region(b"<LocationConstraint>eu</LocationConstraint>", {b"eu-central-1"}, b"x") == (
        b"<LocationConstraint>eu</LocationConstraint>"
    )
    padded = b"<s3:LocationConstraint a='b'>\n eu-central-1 \n</s3:LocationConstraint>"
    assert b">us-west-2 " in translate_region(padded, {b"eu-central-1"}, b"us-west-2")
    endless = b"<LocationConstraint>" + b" " * 1_000_000
    assert translate_region(endless, {b"eu-central-1"}, b"x") is endless


def test_another_document_has_other_digests() -> None:
    """
    The backend gets neither the MD5 nor a checksum of the client's document; all other headers pass.
    """
    kept = [(b"Content-Type", b"application/xml"), (b"x-amz-acl", b"private"), (b"x-amz-meta-a", b"content-md5")]
    digests = [(b"Content-MD5", b"x=="), (b"x-amz-checksum-crc32", b"y=="), (b"X-Amz-Checksum-SHA256", b"z==")]

    assert without_digests([kept[0], *digests, *kept[1:]]) == kept
