"""
Every checksum of S3, in a header and in a trailer, for backends that know checksums and those that do not.
"""

from __future__ import annotations

import hashlib

import pytest

from s3proxy.awschunked.checksums import ALGORITHMS
from s3proxy.awschunked.encoder import encode_chunks, encode_trailers
from tests.support.checksums import checksum
from tests.support.memory import MemoryProxy, Verdict
from tests.support.signer import UNSIGNED, UNSIGNED_TRAILER, Signer

BODY = bytes(range(256)) * 1000


def put(proxy: MemoryProxy, body: bytes, name: str, value: str, *, in_trailer: bool) -> Verdict:
    """
    Upload a body with a checksum.
    """
    header = f"x-amz-checksum-{name}"
    if not in_trailer:
        made = Signer().put("/test-bucket/k", body, UNSIGNED, headers={header: value})
        return proxy.send(made.head + made.body)
    wire = b"".join(encode_chunks([body])) + encode_trailers([(header.encode(), value.encode())])
    headers = {"x-amz-trailer": header, "x-amz-decoded-content-length": str(len(body))}
    unsigned = {"Content-Length": str(len(wire))}
    head, _ = Signer().head("PUT", "/test-bucket/k", headers, payload=UNSIGNED_TRAILER, unsigned=unsigned)
    return proxy.send(head + wire, range(0, len(head) + len(wire), 4000))


@pytest.mark.parametrize("in_trailer", [False, True], ids=["header", "trailer"])
@pytest.mark.parametrize("size", [5000, len(BODY)])
@pytest.mark.parametrize("name", [name.decode() for name in ALGORITHMS])
def test_each_checksum(name: str, size: int, in_trailer: bool) -> None:
    """
    The right value is accepted, and a wrong one is refused with its algorithm's name.
    """
    proxy = MemoryProxy()
    body = BODY[:size]

    right = put(proxy, body, name, checksum(name, body), in_trailer=in_trailer)
    wrong = put(proxy, body, name, checksum(name, body[1:]), in_trailer=in_trailer)
    none = put(proxy, body, name, "AAAA", in_trailer=in_trailer)

    assert (right.statuses, right.stored[0].body) == ((200,), body)
    assert wrong.codes == ("BadDigest",)
    assert f"The {name.upper()} you specified did not match".encode() in wrong.responses
    assert none.codes == ("InvalidRequest",)
    assert wrong.stored == none.stored == ()


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw"])
@pytest.mark.parametrize("in_trailer", [False, True], ids=["header", "trailer"])
@pytest.mark.parametrize("size", [5000, len(BODY)])
def test_what_the_backend_and_the_client_get(size: int, in_trailer: bool, profile: str) -> None:
    """
    A backend gets the checksums that it knows and that exist before its head is sent; the client always gets one back.
    """
    proxy = MemoryProxy(profile=profile)
    body = BODY[:size]
    value = checksum("crc32", body)

    verdict = put(proxy, body, "crc32", value, in_trailer=in_trailer)

    sent = verdict.stored[0].head.fields.value(b"x-amz-checksum-crc32")
    # A trailer's value is known before the head is sent only if the body was held.
    is_known = not in_trailer or size == 5000
    assert sent == (value.encode() if profile == "generic" and is_known else None)
    assert b"x-amz-checksum-crc32: " + value.encode() in verdict.responses
    assert not {b"x-amz-trailer", b"x-amz-sdk-checksum-algorithm"} & verdict.stored[0].head.fields.keys()


def test_an_upload_in_parts_has_none() -> None:
    """
    Each part is verified here, wherever its checksum is. The backend would miss one from a trailer, so it gets none:
    neither at the upload's beginning nor with a part nor at its end.
    """
    proxy = MemoryProxy(profile="generic")
    value = checksum("crc32", BODY)
    part = "<Part><PartNumber>1</PartNumber><ETag>e</ETag>{}</Part>"
    document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>"
    body = document.format(f"<ChecksumCRC32>{value}</ChecksumCRC32>").encode()
    begun = Signer().head(
        "POST",
        "/test-bucket/k?uploads=",
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"},
        unsigned={"Content-Length": "0"},
    )[0]
    made = Signer().put(
        "/test-bucket/k?partNumber=1&uploadId=u", BODY, UNSIGNED, headers={"x-amz-checksum-crc32": value}
    )
    wrong = Signer().put(
        "/test-bucket/k?partNumber=2&uploadId=u", BODY[1:], UNSIGNED, headers={"x-amz-checksum-crc32": value}
    )
    ended = Signer().head(
        "POST",
        "/test-bucket/k?uploadId=u",
        payload=hashlib.sha256(body).hexdigest(),
        unsigned={"Content-Length": str(len(body))},
    )[0]

    verdict = proxy.send(begun + made.head + made.body + ended + body)
    refused = proxy.send(wrong.head + wrong.body)

    assert verdict.statuses == (200, 200, 200)
    assert [stored.body for stored in verdict.stored] == [b"", BODY, document.format("").encode()]
    for stored in verdict.stored:
        assert not [name for name, _ in stored.head.headers if name.lower().startswith(b"x-amz-checksum-")]
    assert f"x-amz-checksum-crc32: {value}".encode() in verdict.responses
    assert (refused.codes, refused.stored) == (("BadDigest",), ())
