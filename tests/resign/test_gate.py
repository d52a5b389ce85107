"""
The gate for every head that leaves: it neither signs nor sends what two readers could read differently.
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from twisted.web.http_headers import Headers

from s3proxy.backend.agent import _plain_head
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from s3proxy.resign.account import Account
from s3proxy.resign.gate import write_head
from s3proxy.resign.head import backend_head, chunked_head
from s3proxy.s3.errors import InvalidRequest
from s3proxy.s3.head import HeaderList, parse_request_head
from s3proxy.sigv4.signing_key import SigningKeys

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOST = (b"Host", b"backend.test")

REFUSED_HEADERS: dict[str, HeaderList] = {
    "a space in a name": [(b"x-amz-meta-a b", b"1")],
    "a colon in a name": [(b"x-amz-meta-a: b", b"1")],
    "a line within a name": [(b"x-amz-meta-a: 1\r\nx-amz-acl", b"public-read")],
    "a head within a name": [(b"x-amz-meta-a: 1\r\n\r\nGET / HTTP/1.1\r\nHost", b"x")],
    "a bare CR in a name": [(b"x-amz-meta-a:1\rX-Other", b"1")],
    "a bare LF in a name": [(b"x-amz-meta-a:1\nX-Other", b"1")],
    "an empty name": [(b"", b"1")],
    "a byte above 0x7f in a name": [(b"x-amz-meta-\xc3\xa4", b"1")],
    "a NUL in a name": [(b"x-amz-meta-\0", b"1")],
    "an underscore": [(b"x_amz_copy_source", b"/bucket/key")],
    "an underscore in a transfer coding": [(b"Transfer_Encoding", b"chunked")],
    "an underscore before metadata": [(b"x-amz_meta-a", b"1")],
    "a line within a value": [(b"x-amz-meta-a", b"1\r\nx-amz-acl: public-read")],
    "a bare CR in a value": [(b"x-amz-meta-a", b"1\rx-amz-acl: public-read")],
    "a bare LF in a value": [(b"x-amz-meta-a", b"1\nx-amz-acl: public-read")],
    "a NUL in a value": [(b"x-amz-meta-a", b"\0")],
    "a DEL in a value": [(b"x-amz-meta-a", b"\x7f")],
    "a second Host": [(b"host", b"other.test")],
    "a second length": [(b"Content-Length", b"1"), (b"content-length", b"2")],
    "a second type": [(b"Content-Type", b"a"), (b"content-type", b"a")],
    "a second Authorization": [(b"Authorization", b"a"), (b"Authorization", b"b")],
    "a repeated header of S3": [(b"x-amz-acl", b"private"), (b"X-Amz-Acl", b"public-read")],
}

REFUSED_TARGETS = {
    "a space": b"/bucket/a b",
    "a line": b"/bucket/k HTTP/1.1\r\nx-amz-acl: public-read\r\nx",
    "a fragment": b"/bucket/k#f",
    "a NUL": b"/bucket/\0",
    "an absolute form": b"http://other.test/bucket",
    "nothing": b"",
    "a credential": b"/bucket/k?X-Amz-Credential=a",
    "a credential in lower case": b"/bucket/k?x-amz-credential=a",
    "an escaped credential": b"/bucket/k?X-Amz%2DCredential=a",
    "a token": b"/bucket/k?x-amz-security-token=a",
    "a key of Signature V2": b"/bucket/k?AWSAccessKeyId=a",
    "a signature of Signature V2": b"/bucket/k?Signature=a",
}


@pytest.mark.parametrize("headers", REFUSED_HEADERS.values(), ids=REFUSED_HEADERS)
def test_a_header_that_does_not_pass(headers: HeaderList) -> None:
    """
    Names are tokens, and only those of metadata may have underscores. Values have no control bytes. If S3 joins the
    lines of a name, there is one line.
    """
    with pytest.raises(InvalidRequest):
        write_head(b"PUT", b"/bucket/key", [HOST, *headers])


@pytest.mark.parametrize("target", REFUSED_TARGETS.values(), ids=REFUSED_TARGETS)
def test_a_target_that_does_not_pass(target: bytes) -> None:
    """
    A target is in origin form, without anything that ends it early, and without any authentication.
    """
    with pytest.raises(InvalidRequest):
        write_head(b"GET", target, [HOST])


@pytest.mark.parametrize("target", [b"/bucket/k?X-Amz-Credential=a", b"/bucket/k?AWSAccessKeyId=a&Signature=a"])
def test_our_own_signature_in_a_target(target: bytes) -> None:
    """
    A URL that s3proxy signed has its own authentication in the query.
    """
    assert write_head(b"GET", target, [HOST], is_presigned=True).startswith(b"GET " + target + b" HTTP/1.1\r\n")


@pytest.mark.parametrize("method", [b"get", b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET", b"", b"G ET"])
def test_a_method_that_does_not_pass(method: bytes) -> None:
    """
    A method is a word in upper case.
    """
    with pytest.raises(InvalidRequest):
        write_head(method, b"/bucket", [HOST])


def test_what_passes_is_read_as_it_was_written() -> None:
    """
    A reader reads what passes exactly as it was written: names, values and target, byte for byte.
    """
    headers = [
        HOST,
        (b"x-amz-meta-a_b", b"\xc3\xa4\tb"),
        (b"X-Amz-Meta-A-B", b""),
        (b"Accept", b"a"),
        (b"Accept", b"b"),
        (b"Range", b"bytes=0-"),
    ]

    head = parse_request_head(write_head(b"GET", b"/b/\xc3\xa4%2F//../;a?x=%0d%0a&y", headers)[:-2])

    assert head.headers == headers
    assert head.raw_target == b"/b/\xc3\xa4%2F//../;a?x=%0d%0a&y"


@pytest.mark.parametrize("signature", ["v4", "v2", "none"])
def test_every_writer_of_heads_goes_through_it(signature: str) -> None:
    """
    Requests with a body that was held, that streams or that is sent in chunks, and those of treq's agent.
    """
    key = BackendKey("KEY", "secret")
    account = Account(PROFILES["minio"], key, b"backend.test", signature, SigningKeys(1), "chunks")
    passed = [(b"x-amz-meta-a: 1\r\nx-amz-acl", b"1")]

    with pytest.raises(InvalidRequest):
        backend_head(account, b"PUT", b"/b/k", passed, 0, b"UNSIGNED-PAYLOAD", NOW)
    with pytest.raises(InvalidRequest):
        chunked_head(account, b"PUT", b"/b/k", passed, 1, NOW, b"x-amz-checksum-crc32")
    with pytest.raises(InvalidRequest):
        _plain_head(b"GET", b"http://backend.test/b/k", Headers({b"x_amz_acl": [b"a"]}), None)
