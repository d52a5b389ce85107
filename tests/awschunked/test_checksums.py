"""
Every algorithm gives the published values, and a text that is not a digest is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest

from s3proxy.awschunked.checksums import ALGORITHMS, decode_digest, has_integrity, parse_body_digests
from s3proxy.s3.errors import (
    BadDigest,
    InvalidDigest,
    InvalidRequest,
    MalformedTrailerError,
    S3Error,
    XAmzContentSHA256Mismatch,
)
from s3proxy.s3.head import index_headers
from tests.support.harness import VECTORS, material

DATA = json.loads((VECTORS / "vectors" / "checksums.json").read_text())


@pytest.mark.parametrize("vector", DATA["vectors"], ids=lambda vector: vector["name"])
@pytest.mark.parametrize("name", sorted(ALGORITHMS))
def test_values(vector: dict[str, Any], name: bytes) -> None:
    """
    The body comes in one piece and in many, as bytes and as views.
    """
    body = material(vector["payload"])
    whole, pieces = ALGORITHMS[name].begin(), ALGORITHMS[name].begin()

    whole.update(body)
    for start in range(0, len(body), 1021):
        pieces.update(memoryview(body)[start : start + 1021])

    wanted = vector["values"][name.decode()]
    assert base64.b64encode(whole.digest()).decode() == wanted
    assert base64.b64encode(pieces.digest()).decode() == wanted
    assert len(whole.digest()) == ALGORITHMS[name].length


@pytest.mark.parametrize("case", DATA["invalid_values"] + DATA["invalid_content_md5"], ids=lambda case: case["why"])
def test_what_is_no_digest(case: dict[str, Any]) -> None:
    """
    It is refused before a body is read.
    """
    fields = index_headers([(case["header"].lower().encode(), case["value"].encode())])

    with pytest.raises((InvalidRequest, InvalidDigest)) as raised:
        parse_body_digests(fields)

    assert raised.value.code == case["code"]
    assert raised.value.message == case["message"]


def test_a_digest_of_another_body() -> None:
    """
    Each kind of digest has its own error.
    """
    for fields, claimed, error in (
        ([(b"content-md5", base64.b64encode(b"0" * 16))], None, BadDigest),
        ([(b"x-amz-checksum-crc32", b"AAAAAA==")], None, BadDigest),
        ([], b"0" * 64, XAmzContentSHA256Mismatch),
    ):
        digests = parse_body_digests(index_headers(fields), claimed_sha256=claimed)
        digests.update(b"hello")
        with pytest.raises(error):
            digests.check([])


@pytest.mark.parametrize(("is_part", "expected"), [({}, b"30" * 16), ({"is_part": True}, base64.b64encode(b"0" * 16))])
def test_how_a_refused_digest_is_repeated(is_part: dict[str, bool], expected: bytes) -> None:
    """
    S3 repeats Content-MD5 in hex for an object, and in base64 for a part.
    """
    digests = parse_body_digests(index_headers([(b"content-md5", base64.b64encode(b"0" * 16))]), **is_part)

    with pytest.raises(BadDigest) as raised:
        digests.check([])
    assert dict(raised.value.elements)["ExpectedDigest"] == expected


@pytest.mark.parametrize("text", [b"AAAAAA==\n", b"AA AAAA==", b"AAAA!AA==", b"AAAAA===", b"AAAAAA", b"", b"AAAAAAA="])
def test_a_digest_is_nothing_but_base64(text: bytes) -> None:
    """
    A text that another reader would shorten or pad is not a digest; nor is one of another length.
    """
    assert decode_digest(b"AAAAAA==", 4) == bytes(4)
    assert decode_digest(text, 4) is None


@pytest.mark.parametrize(
    ("headers", "error"),
    [
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32")], MalformedTrailerError),
        ([(b"x-amz-sdk-checksum-algorithm", b"CRC32")], InvalidRequest),
        ([(b"x-amz-sdk-checksum-algorithm", b"SHA1"), (b"x-amz-checksum-crc32", b"AAAAAA==")], InvalidRequest),
        ([(b"x-amz-checksum-crc32", b"AAAAAA=="), (b"x-amz-checksum-crc32c", b"AAAAAA==")], InvalidRequest),
        ([(b"x-amz-checksum-crc33", b"AAAAAA==")], InvalidRequest),
        ([(b"content-md5", b"AAAAAA==")], InvalidDigest),
    ],
)
def test_what_cannot_be_verified_is_refused(headers: list[tuple[bytes, bytes]], error: type[S3Error]) -> None:
    """
    A claim about the body that cannot be verified must not be ignored.
    """
    with pytest.raises(error):
        parse_body_digests(index_headers(headers))


@pytest.mark.parametrize(
    ("trailer", "headers"),
    [
        (b"x-amz-checksum-crc32,x-amz-checksum-sha1", []),
        (b"x-amz-checksum-crc32, x-amz-checksum-crc32", []),
        (b"x-amz-meta-a", []),
        (b"x-amz-checksum-crc32", [(b"x-amz-checksum-crc32", b"AAAAAA==")]),
    ],
)
def test_one_checksum_is_announced(trailer: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """
    If several checksums are announced, only one would be verified.
    """
    with pytest.raises(InvalidRequest):
        parse_body_digests(index_headers([(b"x-amz-trailer", trailer), *headers]), has_trailer=True)


@pytest.mark.parametrize(
    ("trailer", "is_one"),
    [
        (b"x-amz-checksum-crc32", True),
        (b"x-amz-checksum-crc32,", True),
        (b"x-amz-checksum-crc32, ", True),
        (b" X-Amz-Checksum-CRC32", True),
        (b"x-amz-checksum-crc32, ,", False),
        (b",x-amz-checksum-crc32", False),
        (b"", False),
    ],
)
def test_an_empty_item_of_an_announcement(trailer: bytes, *, is_one: bool) -> None:
    """
    An empty item may only stand at the end.
    """
    fields = index_headers([(b"x-amz-trailer", trailer)])

    if is_one:
        assert parse_body_digests(fields, has_trailer=True).trailer_name == b"x-amz-checksum-crc32"
    else:
        with pytest.raises(InvalidRequest):
            parse_body_digests(fields, has_trailer=True)


@pytest.mark.parametrize(
    ("announced", "trailers", "error"),
    [
        (None, [(b"x-amz-checksum-crc32", b"AAAAAA==")], MalformedTrailerError),
        (b"x-amz-checksum-crc32", [], MalformedTrailerError),
        (b"x-amz-checksum-crc32", [(b"x-amz-checksum-sha1", b"AAAAAA==")], MalformedTrailerError),
        (b"x-amz-checksum-crc32", [(b"x-amz-checksum-crc32", b"AAAA")], InvalidRequest),
        (b"x-amz-checksum-crc32", [(b"x-amz-checksum-crc32", b"AAAAAQ==")], BadDigest),
    ],
)
def test_the_trailer_is_the_announced_one(
    announced: bytes | None, trailers: list[tuple[bytes, bytes]], error: type[S3Error]
) -> None:
    """
    A trailer that was not announced is refused. One that was announced must arrive and be correct.
    """
    fields = index_headers([] if announced is None else [(b"x-amz-trailer", announced)])
    digests = parse_body_digests(fields, has_trailer=True)

    with pytest.raises(error):
        digests.check(trailers)


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (b"content-md5", True),
        (b"x-amz-trailer", True),
        (b"x-amz-checksum-crc32", True),
        (b"x-amz-checksum-algorithm", False),
        (b"x-amz-checksum-mode", False),
        (b"x-amz-checksum-type", False),
        (b"x-amz-sdk-checksum-algorithm", False),
        (b"etag", False),
    ],
)
def test_what_lets_a_body_be_verified(name: bytes, is_one: bool) -> None:
    """
    Each of these headers lets a body be verified; a header that only describes checksums does not.
    """
    assert has_integrity(index_headers([(name, b"1")])) is is_one


@pytest.mark.parametrize("wanted", [True, False])
def test_the_md5_of_a_body_is_computed_where_it_is_wanted(wanted: bool) -> None:
    """
    It is computed whether or not the client sent one. It is then not compared with anything.
    """
    digests = parse_body_digests(index_headers([]), computes_md5=wanted)
    digests.update(b"hello")
    digests.check([])

    assert digests.md5 == (hashlib.md5(b"hello").hexdigest().encode() if wanted else None)
    assert parse_body_digests(index_headers([])).md5 is None
