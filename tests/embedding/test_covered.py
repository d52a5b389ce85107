"""
A resource sees what the signature covers, and what selects and permits nothing.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from tests.support.carriers import DATE, KEY, SECRET, v2
from tests.support.embedding import Page, embedded
from tests.support.signer import SIGNED_CHUNKS, SignedRequest, Signer
from tests.support.wire_cases import element

UNSIGNED = {
    "Content-Type": "text/plain",
    "Range": "bytes=0-1",
    "If-Match": '"a"',
    "User-Agent": "agent",
    "Cookie": "session=1",
    "X-Forwarded-For": "10.0.0.1",
    "X-User": "admin",
    "Connection": "close",
}


async def shown(request: SignedRequest) -> Any:
    """
    Send a request; return the head that the resource sees, or the response if it is not rendered.
    """
    page = Page()
    harness = embedded(page)
    response = await harness.request(request.head, request.body)
    await harness.close()
    return page.requests[0].head if page.requests else response


def signed_v2(method: str, query: str, resource: str) -> SignedRequest:
    """
    Return a request with Signature V2, with more headers than it covers.
    """
    return v2(method, f"/test-bucket/k{query}", f"/test-bucket/k{resource}", "Range: bytes=0-1\r\nX-User: admin\r\n")


def presigned_v2(query: str, amz: str, resource: str) -> SignedRequest:
    """
    Return a presigned GET with Signature V2 and ``x-amz-*`` parameters.
    """
    text = f"GET\n\n\n1772366460\n{amz}/test-bucket/k{resource}"
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    target = f"/test-bucket/k?{query}&AWSAccessKeyId={KEY}&Expires=1772366460&Signature={quote(signature, safe='')}"
    return SignedRequest(f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\nDate: {DATE}\r\n\r\n".encode(), b"")


@pytest_twisted.ensureDeferred
async def test_headers_under_signature_v4() -> None:
    """
    Those that are signed, and the harmless ones; never the client's credentials.
    """
    head = await shown(SignedRequest(Signer().head("GET", "/test-bucket/k", {"x-own": "1"}, unsigned=UNSIGNED)[0], b""))

    assert set(head.fields) == {
        *(b"host", b"x-amz-date", b"x-amz-content-sha256", b"x-own"),
        *(b"content-type", b"range", b"if-match", b"user-agent"),
    }
    assert {name.lower() for name, _ in head.headers} == set(head.fields)
    assert head.host == b"s3.example.test"


@pytest_twisted.ensureDeferred
async def test_headers_under_signature_v2() -> None:
    """
    The host is not signed, and the date only if there is no other one.
    """
    head = await shown(
        v2("GET", "/test-bucket/k", "/test-bucket/k", "X-Amz-Own: 1\r\nX-User: admin\r\n", "x-amz-own:1\n")
    )

    assert head.fields == {b"x-amz-own": (b"1",)}
    assert head.host == b""


@pytest.mark.parametrize(
    ("query", "signed", "seen"),
    [
        ("", "", b""),
        ("?versionId=7", "?versionId=7", b"?versionId=7"),
        ("?acl", "?acl", b"?acl"),
        ("?user=admin", "", b""),
        ("?user=admin&versionId=7&page=2", "?versionId=7", b"?versionId=7"),
        # It is no listing: to cut it could show what its key may not see.
        ("?prefix=secret", "", b""),
        ("?policy=own", "?policy", b"?policy"),
        ("?%61cl&us%65r=x", "?acl", b"?%61cl"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_query_under_signature_v2(query: str, signed: str, seen: bytes) -> None:
    """
    A read loses the parameters that no signature covers; a request that may change something is refused.
    """
    head = await shown(signed_v2("GET", query, signed))
    to_write = await shown(signed_v2("PUT", query, signed))

    assert head.raw_target == b"/test-bucket/k" + seen
    if seen == query.encode():
        assert to_write.raw_target == head.raw_target
    else:
        assert (to_write.status, element(to_write.body, "Code")) == (501, "NotImplemented")


@pytest_twisted.ensureDeferred
async def test_a_presigned_query_under_signature_v2() -> None:
    """
    Its ``x-amz-*`` parameters are headers, and its authentication is gone.
    """
    head = await shown(presigned_v2("x-amz-own=1&user=admin&uploadId=u", "x-amz-own:1\n", "?uploadId=u"))

    assert head.raw_target == b"/test-bucket/k?uploadId=u"
    assert head.fields == {b"x-amz-own": (b"1",)}


@pytest_twisted.ensureDeferred
async def test_a_query_under_signature_v4() -> None:
    """
    All of it is signed; the authentication in it is not shown.
    """
    in_header = Signer().head("GET", "/test-bucket/k?user=x&b")[0]
    target = Signer().presign("GET", "/test-bucket/k?user=x&b")
    in_query = f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n".encode()

    assert (await shown(SignedRequest(in_header, b""))).raw_target == b"/test-bucket/k?user=x&b"
    assert (await shown(SignedRequest(in_query, b""))).raw_target == b"/test-bucket/k?b=&user=x"


@pytest_twisted.ensureDeferred
async def test_the_coding_of_the_transfer() -> None:
    """
    The consumer gets the decoded body: aws-chunked is not a coding of it.
    """
    page = Page()
    harness = embedded(page)
    upload = Signer().put("/test-bucket/k", b"hello", SIGNED_CHUNKS)
    await harness.request(upload.head, upload.body)
    await harness.close()
    plain = page.requests[0].head
    coding = {"content-encoding": "aws-chunked,gzip", "content-type": "text/plain"}
    zipped = await shown(SignedRequest(Signer().head("GET", "/test-bucket/k", coding)[0], b""))

    # The chain of its signatures has the signing key.
    assert page.requests[0].authenticated.chain is None
    assert page.requests[0].authenticated.head is plain
    assert b"content-encoding" not in plain.fields
    assert b"content-length" not in plain.fields
    assert plain.fields.value(b"x-amz-decoded-content-length") == b"5"
    assert zipped.fields.value(b"content-encoding") == b"gzip"
