"""
The versions of one key, as Walrus 3.4 lists them, and what a request may do to them.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

import pytest

from s3proxy.mending.pages import MAX_PAGES
from s3proxy.mending.versions import HIDDEN, TOO_MANY, TWO_LATEST, KeyVersions
from s3proxy.s3.errors import AccessDenied, InternalError, NotImplementedByProxy, S3Error
from s3proxy.s3.head import ResponseHead, index_headers


def respond(status: int = 200) -> ResponseHead:
    """
    Return the head of a response.
    """
    return ResponseHead(b"HTTP/1.1", status, b"x", [], index_headers([]))


def page(*listed: str, following: str = "") -> bytes:
    """
    Return a page of versions, each as ``key id`` with ``*`` for the latest and ``-`` for a delete marker.
    """
    parts = []
    for text in listed:
        key, version = text.split(" ")
        name = "DeleteMarker" if "-" in version else "Version"
        is_latest = "true" if "*" in version else "false"
        version_id = version.strip("*-")
        parts.append(
            f"<{name}><Key>{key}</Key><VersionId>{version_id}</VersionId><IsLatest>{is_latest}</IsLatest></{name}>"
        )
    if following:
        key, version = following.split(" ")
        parts.append(f"<NextKeyMarker>{key}</NextKeyMarker><NextVersionIdMarker>{version}</NextVersionIdMarker>")
    truncated = "true" if following else "false"
    return f"<ListVersionsResult><IsTruncated>{truncated}</IsTruncated>{''.join(parts)}</ListVersionsResult>".encode()


def known(key: str, *pages: bytes) -> KeyVersions:
    """
    Return what is known after some pages.
    """
    versions = KeyVersions(key.encode())
    for document in pages:
        versions.read(respond(), document)
    return versions


@pytest.mark.parametrize(
    ("key", "pages", "expected"),
    [
        ("k", [page()], True),
        ("k", [page("kk 1*", "kl 2*")], True),
        ("k", [page("k 2*", "k 1")], TWO_LATEST),
        ("k", [page("k 2*-", "k 1")], TWO_LATEST),
        # None is the latest: the copy will be.
        ("k", [page("k 2", "k 1")], True),
        # Its own would come first.
        ("k", [page("kk 1*", following="kk 1")], True),
        ("a_b", [page("a-b 1*", following="a-b 1")], False),
        ("a_b", [page("a-b 1*", following="a-b 1"), page("a_b 1*")], TWO_LATEST),
        ("a_b", [page("a-b 1*", following="a-b 1"), page("a_b 1", "azb 1*", following="azb 1")], True),
        ("k", [page("k 2", following="k 2")], False),
        ("k", [page("k 2", following="k 2"), page("kk 1*")], True),
    ],
)
def test_a_copy(key: str, pages: Sequence[bytes], expected: bool | str) -> None:
    """
    It is refused if a version of its key is the latest, and judged once that is known.
    """
    versions = known(key, *pages)

    if isinstance(expected, bool):
        assert versions.check_copy() is expected
        return
    with pytest.raises(NotImplementedByProxy) as refusal:
        versions.check_copy()
    assert refusal.value.message == expected


@pytest.mark.parametrize(
    ("pages", "version", "deleted", "expected"),
    [
        ([page("k 1*")], b"1", {b"1"}, True),
        ([page("k 2*", "k 1")], b"1", {b"1"}, True),
        ([page("k 2*", "k 1")], b"2", {b"2"}, HIDDEN),
        ([page("k 2*-", "k 1")], b"2", {b"2"}, HIDDEN),
        ([page("k 3*", "k 2-", "k 1")], b"3", {b"3"}, True),
        ([page("k 2*", "k 1")], b"2", {b"1", b"2"}, True),
        ([page("k 3*", "k 2", "k 1")], b"3", {b"2", b"3"}, HIDDEN),
        ([page("k 3*", "k 2", "k 1")], b"2", {b"2", b"3"}, True),
        # Another one is the latest besides.
        ([page("k 2*", "k 1*")], b"2", {b"2"}, True),
        ([page("k 2", "k 1")], b"2", {b"2"}, True),
        ([page("k 2*", "k 1")], b"none", {b"none"}, True),
        ([page()], b"null", {b"null"}, True),
        ([page("k 2*", following="k 2")], b"2", {b"2"}, False),
        ([page("k 2*", following="k 2"), page("k 1")], b"2", {b"2"}, HIDDEN),
        ([page("k 2*", following="k 2"), page("kk 1*")], b"2", {b"2"}, True),
    ],
)
def test_a_deletion(pages: Sequence[bytes], version: bytes, deleted: set[bytes], expected: bool | str) -> None:
    """
    It is refused if no version would be the latest, and the newest that is left is an object.
    """
    versions = known("k", *pages)

    if isinstance(expected, bool):
        assert versions.check_deletion(version, deleted) is expected
        return
    with pytest.raises(NotImplementedByProxy) as refusal:
        versions.check_deletion(version, deleted)
    assert refusal.value.message == expected


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (403, b"", AccessDenied),
        (500, page(), InternalError),
        (200, b"", InternalError),
        (200, b"<ExceptionResponse/>", InternalError),
        (200, b"<ListBucketResult/>", InternalError),
        (200, page("k 1*")[:-5], InternalError),
        (200, b"<ListVersionsResult><IsTruncated>true</IsTruncated></ListVersionsResult>", InternalError),
    ],
)
def test_a_page_that_tells_nothing(status: int, document: bytes, error: type[S3Error]) -> None:
    """
    The request is refused: nobody knows what it would do.
    """
    with pytest.raises(error):
        KeyVersions(b"k").read(respond(status), document)


def test_a_bucket_that_is_not_there() -> None:
    """
    The storage says so itself, as the response to the request; but it does not vanish between two pages.
    """
    versions = KeyVersions(b"k")
    versions.read(respond(404), b"")
    begun = known("k", page("k 2", following="k 2"))

    assert versions.check_copy()
    assert not versions.has_more
    with pytest.raises(InternalError):
        begun.read(respond(404), b"")


def test_the_pages_are_bounded() -> None:
    """
    Each begins behind the one before, and after some the request is refused. A page that leads to itself is an error.
    """
    versions = KeyVersions(b"a_%\\ b")
    queries = []
    for number in range(MAX_PAGES):
        assert versions.has_more
        assert not versions.check_copy()
        queries.append(versions.raw_query)
        versions.read(respond(), page(f"other {number}", following=f"other {number}"))

    assert unquote_to_bytes(queries[0]) == b"versions&prefix=a_%\\\\ b&max-keys=100"
    assert unquote_to_bytes(queries[2]) == unquote_to_bytes(queries[0]) + b"&key-marker=other&version-id-marker=1"
    assert not versions.has_more
    for check in (versions.check_copy, lambda: versions.check_deletion(b"1", {b"1"})):
        with pytest.raises(NotImplementedByProxy) as refusal:
            check()
        assert refusal.value.message == TOO_MANY
    with pytest.raises(InternalError):
        known("a_b", *[page("a-b 1", following="a-b 1")] * 2)
