"""
What S3 requires of the documents of multipart uploads, and how it responds.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.awschunked.checksums import ALGORITHMS, Algorithm
from s3proxy.multipart.documents import (
    BegunUpload,
    CompletedPart,
    Part,
    UploadsQuery,
    check_object_size,
    choose_parts,
    completed_document,
    completion_digest,
    joined_digest,
    joined_etag,
    page_of_uploads,
    parse_copy_range,
    parse_count,
    parse_part_number,
    parts_document,
    read_completion,
    uploads_document,
)
from s3proxy.s3.document import parse_document
from s3proxy.s3.errors import (
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    MalformedXML,
    S3Error,
)
from s3proxy.s3.limits import MIB

MD5 = hashlib.md5(b"x").digest()


def part(number: int, size: int = 5 * MIB, md5: bytes = MD5, **checksums: str) -> Part:
    return Part(number, size, md5, f"{number}.part", checksums, 1e9)


def document(*parts: str) -> bytes:
    return f"<CompleteMultipartUpload>{''.join(parts)}</CompleteMultipartUpload>".encode()


def one(number: object, etag: object = MD5.hex(), more: str = "") -> str:
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{more}</Part>"


@pytest.mark.parametrize("text", [b"1", b"10000", b"9999", b"42"])
def test_part_numbers(text: bytes) -> None:
    """
    Numbers are accepted as S3 writes them.
    """
    assert parse_part_number(text) == int(text)


@pytest.mark.parametrize(
    "text",
    [
        b"0",
        b"-1",
        b"+1",
        b"01",
        b"1 ",
        b" 1",
        b"1e3",
        b"1.0",
        b"",
        b"10001",
        b"1" + b"0" * 30,
        b"0x1",
        b"1_0",
        "\u0661".encode(),
    ],
)
def test_part_numbers_of_another_kind(text: bytes) -> None:
    """
    A text that two readers could read as different numbers is refused, and so is one outside 1..10000.
    """
    with pytest.raises(InvalidArgument):
        parse_part_number(text)


@pytest.mark.parametrize("etag", [MD5.hex(), f'"{MD5.hex()}"', f"&quot;{MD5.hex()}&quot;", f" {MD5.hex().upper()}\n"])
def test_an_etag_is_quoted_or_bare(etag: str) -> None:
    """
    SDKs send it as they received it, other clients without the quotation marks.
    """
    wanted = read_completion(document(one(1, etag), one(7)))

    assert [each.number for each in wanted] == [1, 7]
    assert [each.number for each in choose_parts(wanted, {1: part(1), 7: part(7)}, 10**9, "u")] == [1, 7]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<CompleteMultipartUpload/>",
        b"<CompleteMultipartUpload>",
        b"<Delete><Part/></Delete>",
        document("<Part/>"),
        document("<Part><PartNumber>1</PartNumber></Part>"),
        document(f"<Part><ETag>{MD5.hex()}</ETag></Part>"),
        document(one(1, more="<PartNumber>2</PartNumber>")),
        document(one(1, more="<Size>2</Size>")),
        document(one("one")),
        document(one("<b>1</b>")),
        document("<Other/>"),
        b"<!DOCTYPE x>" + document(one(1)),
        document(*[one(1)] * 10_001),
        document(*["<Part>" + "<a/>" * 70_000 + "</Part>"]),
    ],
)
def test_documents_that_are_none(content: bytes) -> None:
    """
    Each is MalformedXML, and none needs more work than S3's largest document.
    """
    with pytest.raises(MalformedXML):
        read_completion(content)


def test_how_much_of_a_document_is_read() -> None:
    """
    The usual bound of documents is too small for ten thousand parts, so there is a larger one.
    """
    parse_document(b"<a>" + b"<b/>" * 60_000 + b"</a>", 60_001)
    with pytest.raises(MalformedXML):
        parse_document(b"<a>" + b"<b/>" * 60_001 + b"</a>", 60_001)
    with pytest.raises(MalformedXML):
        parse_document(b"<a>" + b"<b/>" * 8_000 + b"</a>")


def test_the_largest_document() -> None:
    """
    Ten thousand parts, each with a checksum.
    """
    content = document(*[one(number, more="<ChecksumCRC32>AAAAAA==</ChecksumCRC32>") for number in range(1, 10_001)])

    wanted = read_completion(content)

    assert (len(wanted), wanted[-1]) == (10_000, CompletedPart(10_000, MD5.hex(), {"crc32": "AAAAAA=="}))


def test_a_number_outside_the_range() -> None:
    """
    No part has it.
    """
    for number in (0, 10_001, -1):
        with pytest.raises(InvalidArgument):
            read_completion(document(one(number)))


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ([CompletedPart(2, MD5.hex()), CompletedPart(1, MD5.hex())], InvalidPartOrder),
        ([CompletedPart(1, MD5.hex()), CompletedPart(1, MD5.hex())], InvalidPartOrder),
        ([CompletedPart(4, MD5.hex())], InvalidPart),
        ([CompletedPart(1, "0" * 32)], InvalidPart),
        ([CompletedPart(1, "")], InvalidPart),
        ([CompletedPart(1, MD5.hex(), {"crc32": "BBBB"})], InvalidPart),
        ([CompletedPart(1, MD5.hex(), {"sha1": "AAAA"})], InvalidPart),
        ([CompletedPart(3, MD5.hex()), CompletedPart(5, MD5.hex())], EntityTooSmall),
        ([CompletedPart(1, MD5.hex()), CompletedPart(2, MD5.hex())], EntityTooLarge),
    ],
)
def test_parts_that_make_no_object(wanted: list[CompletedPart], error: type[S3Error]) -> None:
    """
    They are refused as S3 refuses them.
    """
    stored = {1: part(1, crc32="AAAA"), 2: part(2), 3: part(3, 5 * MIB - 1), 5: part(5, 1)}

    with pytest.raises(error):
        choose_parts(wanted, stored, 9 * MIB, "u")


def test_the_last_part_may_be_small() -> None:
    """
    Only the last part may be small, and it may be the only one.
    """
    stored = {1: part(1, crc32="AAAA"), 9: part(9, 0)}

    assert choose_parts([CompletedPart(9, MD5.hex())], stored, 0, "u") == [stored[9]]
    both = [CompletedPart(1, MD5.hex(), {"crc32": "AAAA"}), CompletedPart(9, MD5.hex())]
    assert choose_parts(both, stored, 5 * MIB, "u") == [stored[1], stored[9]]


def test_what_tells_two_documents_apart() -> None:
    """
    Numbers and ETags differ, not only their spelling.
    """
    first = read_completion(document(one(1, f'"{MD5.hex()}"'), one(2)))
    again = read_completion(document(one(1, MD5.hex().upper()), one(2)))
    other = read_completion(document(one(1), one(3)))

    assert completion_digest(first) == completion_digest(again) != completion_digest(other)


@pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=lambda algorithm: algorithm.name.decode())
def test_the_etag_and_the_checksum_of_an_object(algorithm: Algorithm) -> None:
    """
    They are computed from the digests of the parts ("Checking object integrity in Amazon S3").
    """

    def digest(data: bytes) -> bytes:
        running = algorithm.begin()
        running.update(data)
        return running.digest()

    md5s = [hashlib.md5(data).digest() for data in (b"a", b"b")]
    sums = [digest(data) for data in (b"a", b"b")]
    name = algorithm.name.decode()
    parts = [replace(part(n), checksums={name: base64.b64encode(value).decode()}) for n, value in enumerate(sums, 1)]

    assert joined_etag(md5s) == hashlib.md5(b"".join(md5s)).hexdigest() + "-2"
    assert joined_digest(parts, algorithm) == digest(b"".join(sums))
    assert joined_digest([*parts, part(3)], algorithm) is None


def test_parameters() -> None:
    """
    Invalid counts, invalid ranges, and a size that does not match are refused.
    """
    assert (parse_count({}, b"max-parts", 7), parse_count({b"max-parts": b"0"}, b"max-parts", 7)) == (7, 0)
    for raw in (b"-1", b"a", b"1" * 11, b"99999999999", b"+1", b"4294967296"):
        with pytest.raises(InvalidArgument):
            parse_count({b"max-parts": raw}, b"max-parts", 7)
    assert parse_copy_range(b"bytes=0-9") == (0, 9)
    for raw in (b"bytes=9-0", b"bytes=1-", b"bytes=-1", b"0-1", b"bytes=0-1,3-4", b"bytes=" + b"9" * 40 + b"-1"):
        with pytest.raises(InvalidArgument):
            parse_copy_range(raw)
    check_object_size(None, 3)
    check_object_size(b"3", 3)
    for raw in (b"4", b"-3", b"x"):
        with pytest.raises(InvalidRequest):
            check_object_size(raw, 3)
    with pytest.raises(InvalidArgument):
        UploadsQuery.parse({b"encoding-type": b"base64"})


def test_names_in_a_document() -> None:
    """
    Names from a client are text in the document, and nothing else.
    """
    key = b"a&b<c>\"'\r\x00\xff"
    written = completed_document(b"http://h/b/k", b"b", key, "e-1")
    root = parse_document(written)

    assert [child.text for child in root] == ["http://h/b/k", "b", "a&b<c>\"'\r\ufffd\ufffd", '"e-1"']
    upload = BegunUpload(key, "u" * 43, "<owner>", 1e9)
    for listing in (
        parts_document(b"b", key, upload, [part(1, crc32="AA==")], 0, 1000, is_truncated=True),
        uploads_document(b"b", UploadsQuery(prefix=b"<", is_encoded=False), page_of_uploads([upload], UploadsQuery())),
    ):
        parse_document(listing)
        assert b"<owner>" not in listing
    encoded = uploads_document(b"b", UploadsQuery(is_encoded=True), page_of_uploads([upload], UploadsQuery()))
    assert b"<Key>a%26b%3Cc%3E%22%27%0D%00%FF</Key>" in encoded


KEYS = st.binary(max_size=4).map(lambda raw: bytes(b"ab/"[byte % 3] for byte in raw))


@given(st.lists(st.tuples(KEYS, st.sampled_from("xyz")), unique=True), KEYS, st.sampled_from([b"", b"/", b"b/"]))
def test_pages(pairs: list[tuple[bytes, str]], prefix: bytes, delimiter: bytes) -> None:
    """
    Pages of any size together have each upload and each common prefix once, in order.
    """
    uploads = [BegunUpload(key, upload_id, "o", 0.0) for key, upload_id in sorted(pairs)]
    within = [upload for upload in uploads if upload.key.startswith(prefix)]

    def common(key: bytes) -> bytes:
        rest = key[len(prefix) :]
        return prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else b""

    expected = [(upload.key, upload.upload_id) for upload in within if not common(upload.key)]
    prefixes = sorted({common(upload.key) for upload in within} - {b""})
    for most in (1, 2, 5):
        found: list[tuple[bytes, str]] = []
        found_prefixes: list[bytes] = []
        query = UploadsQuery(prefix=prefix, delimiter=delimiter, most=most)
        for _ in range(len(pairs) + 2):
            page = page_of_uploads(uploads, query)
            found += [(upload.key, upload.upload_id) for upload in page.uploads]
            found_prefixes += page.common_prefixes
            if page.next_key is None:
                break
            assert len(page.uploads) + len(page.common_prefixes) == most
            marker = page.next_key
            query = UploadsQuery(prefix, delimiter, marker, page.next_upload_id.encode(), most)
        assert (found, found_prefixes) == (expected, prefixes)


def test_a_page_of_none() -> None:
    """
    A request for no items gets an empty page, and no page follows.
    """
    page = page_of_uploads([BegunUpload(b"k", "u", "o", 0.0)], UploadsQuery(most=0))

    assert (page.uploads, page.next_key) == ((), None)


def test_a_listing_says_where_it_goes_on() -> None:
    """
    The listing has the key and upload id that the next request sends back.
    """
    uploads = [BegunUpload(b"k", upload_id, "o", 0.0) for upload_id in ("u1", "u2")]
    query = UploadsQuery(most=1)
    text = unescape(uploads_document(b"b", query, page_of_uploads(uploads, query)).decode())

    assert re.findall("<Next[^>]*>([^<]*)<", text) == ["k", "u1"]
    assert "<IsTruncated>true<" in text
