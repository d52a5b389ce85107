"""
What s3proxy changes for a backend that differs from S3, and what it refuses because it cannot be changed.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import fields
from itertools import product

import pytest

from s3proxy.mending import mending as module
from s3proxy.mending.mending import Mending
from s3proxy.mending.results import DisbelievedError
from s3proxy.profiles.allowed import check_taken
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.resign.response import ResponseUse
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import InternalError, InvalidRequest, NotImplementedByProxy
from s3proxy.s3.head import RequestHead, ResponseHead, index_headers
from s3proxy.s3.operation import GET_OBJECT

WALRUS = PROFILES["walrus-3.4"]
RIAK_CS = PROFILES["riakcs"]
PLAIN = Profile("plain")
OBJECT, BUCKET = Address(b"b", b"k", b"b", b"k"), Address(b"b", b"", b"b", b"")


def head_of(target: bytes, *headers: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    """
    A head.
    """
    return RequestHead(method, target, b"HTTP/1.1", list(headers), index_headers(headers))


def response_of(status: int, length: int | None, *headers: tuple[bytes, bytes]) -> ResponseHead:
    """
    The head of a response.
    """
    return ResponseHead(b"HTTP/1.1", status, b"", list(headers), index_headers(headers), length)


def mending_of(profile: Profile, method: str, target: str) -> Mending:
    """
    Return the mending of a request without headers.
    """
    head = head_of(target.encode(), method=method.encode())
    address = parse_address(target.encode(), b"x", ())
    return Mending(profile, head, address, classify(head, address).operation, [], is_anonymous=False)


MENDED_WITH_ANOTHER = {
    "error_codes": "writes_own_errors",
    "hides_unversioned": "filters_pages",
    "misplaces_latest": "filters_pages",
    "range_limits": "mends_reads",
    "spelled_headers": "restrictions",
}
"""
Fields of a profile that are mended only together with another field, which is declared as mended.
"""


def test_each_field_that_is_mended_is_declared_so() -> None:
    """
    Without the declaration, nothing is mended for a profile that has only this quirk.
    """
    read = set(re.findall(r"\b_?profile\.(\w+)", inspect.getsource(module)))
    declared = {field.name for field in fields(Profile) if field.metadata.get("is_mended")}

    assert read - declared == {*MENDED_WITH_ANOTHER, "unencoded_lists"}
    assert declared >= set(MENDED_WITH_ANOTHER.values())
    assert Profile("a", unencoded_lists=frozenset({"ListParts"})).mends("ListParts")
    for name, other in MENDED_WITH_ANOTHER.items():
        with_it = {each.name for each in PROFILES.values() if getattr(each, name) != getattr(PLAIN, name)}
        assert with_it <= {each.name for each in PROFILES.values() if getattr(each, other) != getattr(PLAIN, other)}


def test_nobody_anonymous_sets_the_headers_of_a_response() -> None:
    """
    Otherwise anyone could turn any file into a web page.
    """
    head = head_of(b"/b/k?response-content-type=text/html")

    assert Mending(WALRUS, head, OBJECT, GET_OBJECT, [], is_anonymous=False).head.raw_query is None
    with pytest.raises(InvalidRequest):
        Mending(WALRUS, head, OBJECT, GET_OBJECT, [], is_anonymous=True)
    Mending(WALRUS, head_of(b"/b/k"), OBJECT, GET_OBJECT, [], is_anonymous=True)


@pytest.mark.parametrize("value", [b"a%0d%0aSet-Cookie: b=c", b"a%0ab", b"a%00", b"a%7f"])
def test_a_response_s_header_holds_no_line_end(value: bytes) -> None:
    """
    A value that could end a line is not a content type.
    """
    mending = Mending(
        WALRUS, head_of(b"/b/k?response-content-type=" + value), OBJECT, GET_OBJECT, [], is_anonymous=False
    )

    _, _, headers = mending.response_head(response_of(200, 1), [(b"Content-Type", b"text/plain")])

    assert headers == [(b"Content-Type", b"text/plain")]


@pytest.mark.parametrize(
    ("length", "etag", "passes"), [(3, b'"a"', True), (10, b'"a"', True), (3, b'"b"', False), (4, b'"a"', False)]
)
def test_a_range_is_of_the_object_that_was_measured(length: int, etag: bytes, passes: bool) -> None:
    """
    If the object was replaced in between, the client does not get a part of the new one.
    """
    mending = Mending(WALRUS, head_of(b"/b/k", (b"Range", b"bytes=2-4")), OBJECT, GET_OBJECT, [], is_anonymous=False)
    assert mending.measure(response_of(200, 10, (b"ETag", b'"a"')), []) == [(b"Range", b"bytes=2-4")]
    response = response_of(206, length, (b"ETag", etag))

    if passes:
        assert mending.response_use(response, ResponseUse.RELAY) is ResponseUse.RELAY
    else:
        with pytest.raises(InternalError):
            mending.response_use(response, ResponseUse.RELAY)


@pytest.mark.parametrize(
    ("target", "method", "address"),
    [
        (b"/b?policy", b"PUT", BUCKET),
        (b"/b/k?select&select-type=2", b"POST", OBJECT),
        (b"/b/k?unheard-of", b"PUT", OBJECT),
        (b"/b?unheard-of", b"DELETE", BUCKET),
    ],
)
def test_what_a_backend_lacks(target: bytes, method: bytes, address: Address) -> None:
    """
    The backend would do something else: it ignores an unknown name, and carries out the plain operation.
    """
    head = head_of(target, method=method)

    with pytest.raises(NotImplementedByProxy):
        check_taken(WALRUS.allows(), head, classify(head, address))
    read = head_of(b"/b/k")
    check_taken(WALRUS.allows(), read, classify(read, OBJECT))


@pytest.mark.parametrize(
    ("status", "is_success"), [(200, True), (201, True), (204, True), (299, True), (300, False), (304, False)]
)
def test_a_success_is_one_of_the_class_of_200(status: int, is_success: bool) -> None:
    """
    A client that does not know a status takes it for the first of its class (RFC 9110, section 15). No client knows
    299: it would take it for the success of a write without an entity tag, or of a request for rights.
    """
    put, rights = mending_of(WALRUS, "PUT", "/b/k"), mending_of(WALRUS, "GET", "/b?acl")
    fault = b"<ExceptionResponse/>"

    if is_success:
        with pytest.raises(DisbelievedError):
            put.response_use(response_of(status, 0), ResponseUse.RELAY)
        with pytest.raises(DisbelievedError):
            rights.document(fault, status)
    else:
        assert put.response_use(response_of(status, 0), ResponseUse.RELAY) is ResponseUse.RELAY
        assert rights.document(fault, status) == fault


@pytest.mark.parametrize(
    ("status", "length", "expected"),
    [
        (204, None, ResponseUse.RELAY),
        (200, 0, ResponseUse.RELAY),
        (200, 1, ResponseUse.CHECK),
        (200, None, ResponseUse.CHECK),
        (203, None, ResponseUse.CHECK),
        (205, None, ResponseUse.CHECK),
    ],
)
def test_a_document_that_s3_has_not_is_read(status: int, length: int | None, expected: ResponseUse) -> None:
    """
    It may be an error.
    """
    mending = mending_of(WALRUS, "DELETE", "/b/k")

    assert mending.response_use(response_of(status, length), ResponseUse.RELAY) is expected


@pytest.mark.parametrize(
    ("method", "target", "response", "expected"),
    [
        # An empty body is not a document of rights.
        ("GET", "/b?acl", response_of(200, 0), ResponseUse.CHECK),
        ("GET", "/b?acl", response_of(204, None), ResponseUse.CHECK),
        ("GET", "/b", response_of(200, 5), ResponseUse.CONVERT),
        ("GET", "/b/k", response_of(200, 5, (b"ETag", b"e")), ResponseUse.RELAY),
        ("HEAD", "/b/k", response_of(200, 5, (b"ETag", b"e")), ResponseUse.RELAY),
    ],
)
def test_a_document_that_s3_has_is_read(
    method: str, target: str, response: ResponseHead, expected: ResponseUse
) -> None:
    """
    An object streams, whatever it contains.
    """
    assert mending_of(WALRUS, method, target).response_use(response, ResponseUse.RELAY) is expected


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("profile", [WALRUS, RIAK_CS], ids=["walrus-3.4", "riakcs"])
def test_an_error_is_read_where_it_is_written_anew(profile: Profile, method: str) -> None:
    """
    With or without a document, because S3 sends one. In all other cases the response is treated as S3's.
    """
    mending = mending_of(profile, method, "/b/k")

    for status in (300, 304, 399, 400, 404, 599):
        is_error = profile is WALRUS and status >= 400
        assert mending.replaces_error(status) is is_error
        document = mending.document(b"<html/>", status)
        assert document.startswith(b"<?xml") if is_error else document == b"<html/>"
        for use, length in product((ResponseUse.RELAY, ResponseUse.EDIT), (None, 0, 9)):
            expected = ResponseUse.JUDGE if is_error and method == "GET" else use
            assert mending.response_use(response_of(status, length), use) is expected


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        ("PUT", 200, []),
        ("PUT", 299, []),
        ("PUT", 300, [b"text/plain"]),
        ("PUT", 399, [b"text/plain"]),
        ("PUT", 400, [b"application/xml"]),
        ("GET", 200, [b"text/plain"]),
        ("HEAD", 200, [b"text/plain"]),
        ("HEAD", 404, [b"application/xml"]),
    ],
)
def test_the_type_of_a_response_about_an_object(method: str, status: int, expected: list[bytes]) -> None:
    """
    S3 sends no type without a document. A document that was read has its own type.
    """
    check_type(mending_of(WALRUS, method, "/b/k"), status, expected)


@pytest.mark.parametrize(
    ("status", "expected"), [(200, b"application/xml"), (299, b"application/xml"), (301, b"text/plain")]
)
def test_the_type_of_a_listing(status: int, expected: bytes) -> None:
    """
    S3 sends XML.
    """
    check_type(mending_of(WALRUS, "GET", "/b"), status, [expected])


def check_type(mending: Mending, status: int, expected: list[bytes]) -> None:
    """
    Check the types that a client gets.
    """
    _, _, headers = mending.response_head(response_of(status, 9), [(b"Content-Type", b"text/plain")])

    assert [value for name, value in headers if name.lower() == b"content-type"] == expected


@pytest.mark.parametrize(("status", "is_set"), [(200, True), (206, True), (304, False), (404, False), (500, False)])
def test_a_response_s_headers_are_set_on_success(status: int, is_set: bool) -> None:
    """
    With no other status.

    Source:
        "GetObject", Overriding response header values through the request.
    """
    for profile in (WALRUS, RIAK_CS):
        mending = mending_of(profile, "GET", "/b/k?response-content-disposition=attachment")

        _, _, headers = mending.response_head(response_of(status, 9), [(b"Content-Disposition", b"inline")])

        told = [value for name, value in headers if name.lower() == b"content-disposition"]
        assert told == [b"attachment" if is_set else b"inline"]


@pytest.mark.parametrize(
    ("document", "status", "expected"),
    [
        (b"<ListBucketResult/>", 200, b"LocationConstraint"),
        (b"<ListBucketResult/>", 299, b"LocationConstraint"),
        (b"<ListBucketResult/>", 300, b"<ListBucketResult/>"),
        (b"<Error><Code>NoSuchEntity</Code></Error>", 404, b"<Code>NoSuchBucket</Code>"),
        (b"<ExceptionResponse/>", 200, None),
    ],
)
def test_a_list_shows_that_there_is_a_bucket(document: bytes, status: int, expected: bytes | None) -> None:
    """
    The response has the bucket's region if the backend does not send it.
    """
    mending = mending_of(PROFILES["walrusbackend-4.x"], "GET", "/b?location")

    if expected is None:
        with pytest.raises(DisbelievedError):
            mending.document(document, status)
    else:
        assert expected in mending.document(document, status)
