"""
The cost of a backend's document: CPU time that grows no faster than its size, and memory within a few times that size.
"""

from __future__ import annotations

import gc
import math
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from time import process_time

import pytest

from s3proxy.mending.listing import read_listing
from s3proxy.resign.error_documents import (
    blames_our_signature,
    error_code,
    error_message,
    public_error,
    read_error,
    translate_error,
)
from s3proxy.resign.head import strip_checksum_elements
from s3proxy.resign.public_name import PublicName, host_names
from s3proxy.resign.region import translate_region
from s3proxy.resign.response import MAX_EDITED_SIZE, MAX_JUDGED_SIZE, edit_document
from s3proxy.s3.address import parse_address
from s3proxy.s3.elements import MAX_TAGS, read_elements
from s3proxy.s3.errors import InternalError
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, index_headers
from tests.support.heads import shown_headers

NAME = PublicName(
    b"http", b"s3.example.test", b"r", b"/b/k", hosts=host_names([b"store:80"]), request_id=b"1", host_id=b"h"
)
CODES = {b"NoSuchEntity": (b"NoSuchKey", b"NoSuchBucket")}

UNITS = [
    b" ",
    b"<",
    b">",
    b"\0",
    b"/",
    b"//",
    b"//store",
    b"a.",
    b"<a>",
    b"<a/>",
    b"<Contents>",
    b"<Key>",
    b"<CommonPrefixes>",
    b"<CommonPrefixes><Prefix>",
    b"<Prefix></Prefix>",
    b"<Marker",
    b"<NextMarker>",
    b"<IsTruncated>",
    b"<Code>",
    b"<Code>a a a",
    b"<Code>a</Code>",
    b"<Message>http://store/",
    b"<Location>",
    b"<Location>http://",
    b"<Location>http://" + b"a" * 64 + b"<",
    b"<Location>x</Location>",
    b"<LocationConstraint",
    b"<LocationConstraint>",
    b"<LocationConstraint >  ",
    b"<ChecksumA",
    b"<ChecksumA>",
    b"<ChecksumA>x</ChecksumB>",
    b"<![CDATA[x]]>",
    b"<!--x-->",
    b"&#",
    b"&amp;",
    b"&#x68;",
    b"&#1;",
    b"\x01",
    b"\xff",
    b" a='b'",
]
FORBIDDEN = [b"\x01", b"\xff", b"&#1;", b"k" * 31 + b"\x01", b"k" * 31 + b"&#1;"]
ROOTS = [b"", b"<Error>", b"<Error><Message>", b"<ListBucketResult>", b"<Code>", b"<Location>http://", b"<a "]


def _listing(document: bytes) -> object:
    head = RequestHead(b"GET", b"/b?list-type=2", b"HTTP/1.1", [], index_headers([]))
    listing = read_listing(head, parse_address(b"/b", b"x", ()))
    assert listing is not None
    return listing.edit(document)


def _headers(value: bytes) -> object:
    headers: HeaderList = [(name, value) for name in (b"Location", b"Content-Location", b"Link", b"Refresh")]
    return shown_headers(ResponseHead(b"HTTP/1.1", 307, b"", headers, index_headers(headers)), NAME)


READERS: dict[str, tuple[Callable[[bytes], object], int]] = {
    "response_headers": (_headers, MAX_JUDGED_SIZE),
    "blames_our_signature": (lambda document: blames_our_signature(read_error(document)), MAX_JUDGED_SIZE),
    "edit_document": (lambda document: edit_document(document, NAME), MAX_JUDGED_SIZE),
    "error_code": (lambda document: error_code(read_error(document)), MAX_JUDGED_SIZE),
    "error_message": (lambda document: error_message(read_error(document)), MAX_JUDGED_SIZE),
    "public_error": (lambda document: public_error(read_error(document), NAME), MAX_JUDGED_SIZE),
    "translate_error": (lambda document: translate_error(document, CODES, 404, is_about_object=True), MAX_JUDGED_SIZE),
    "listing": (_listing, MAX_EDITED_SIZE),
    "strip_checksum_elements": (strip_checksum_elements, MAX_EDITED_SIZE),
    "translate_region": (lambda document: translate_region(document, {b"r"}, b"s"), MAX_EDITED_SIZE),
}


def _read(reader: Callable[[bytes], object], document: bytes) -> None:
    # A document that cannot be read is refused, and nothing else is raised.
    with suppress(InternalError):
        reader(document)


def _seconds(reader: Callable[[bytes], object], document: bytes) -> float:
    gc.disable()
    try:
        began = process_time()
        _read(reader, document)
        return process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("reader", READERS)
def test_no_document_is_read_again_and_again(reader: str) -> None:
    """
    Ten times the bytes cost ten times the time, not a hundred times: for any repeated element, with an end or without.
    """
    read, size = READERS[reader]
    size = min(size, 512 * 1024)
    for root in ROOTS:
        for unit in UNITS:
            tenth, whole = [(root + unit * (size // scale // len(unit)))[: size // scale] for scale in (10, 1)]
            # A quadratic expression already shows here, before it has run for minutes.
            assert min(_seconds(read, tenth) for _ in range(2)) < 0.12, root + unit
            seconds = _seconds(read, whole)
            # A shorter time cannot be measured; a quadratic expression takes far longer for 64 KiB.
            assert seconds <= 0.05 or _is_in_proportion(read, tenth, whole), root + unit


def _is_in_proportion(read: Callable[[bytes], object], tenth: bytes, whole: bytes) -> bool:
    """
    Return True if the whole takes at most 1.3 times as long as ten tenths. The machine's own noise makes a time longer,
    so both are measured up to ten times: the shortest time counts for the whole, and the longest for the tenth.
    """
    seconds, of_tenth = math.inf, 0.004
    for _ in range(10):
        seconds = min(seconds, _seconds(read, whole))
        of_tenth = max(of_tenth, _seconds(read, tenth))
        if seconds <= 1.3 * 10 * of_tenth:
            return True
    return False


@pytest.mark.parametrize("reader", READERS)
def test_no_document_fills_the_memory(reader: str) -> None:
    """
    Reading takes a few times the document's own size, and never more than 48 MiB.
    """
    read, size = READERS[reader]
    for unit in (
        b"<a>",
        b"<Key>k</Key>",
        b"<Code>a a</Code>",
        b"<Location>x",
        b"&amp;",
        b"//store/",
        b"\0<",
        *FORBIDDEN,
    ):
        document = (b"<Error>" + unit * (size // len(unit)))[:size]
        tracemalloc.start()
        _read(read, document)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

        assert peak < 48 * (1 << 20), unit
        assert peak < 400 * size, unit


def test_a_document_of_tags_is_not_read() -> None:
    """
    A document within its limit of bytes may hold a million tags: it is refused before they are counted one by one.
    """
    document = b"<r>" + b"<a/>" * MAX_TAGS + b"</r>"

    assert not read_elements(document, {"a"}).is_readable
    assert read_elements(document[: 4 * 1000] + b"</r>", {"a"}, is_whole=False).elements != []


def test_a_listing_of_a_thousand_long_keys_is_read() -> None:
    """
    What S3 may list in one response is below every limit.
    """
    owner = b"<Owner><ID>%s</ID><DisplayName>n</DisplayName></Owner>" % (b"i" * 64)
    entry = (
        b"<Contents><Key>%s</Key><LastModified>t</LastModified><ETag>e</ETag><Size>1</Size>%s"
        b"<StorageClass>STANDARD</StorageClass></Contents>" % (b"%2F" * 1024, owner)
    )
    document = b"<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>" % (entry * 1000)

    assert len(document) < MAX_EDITED_SIZE
    assert b"<KeyCount>1000</KeyCount>" in _listing(document)  # type: ignore[operator]
