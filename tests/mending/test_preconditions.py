"""
Conditions of writes and of copies for a storage system that ignores them: s3proxy evaluates them with a HEAD of the
object.

Source:
    "CopyObject", x-amz-copy-source-if-match; "How to prevent object overwrites with conditional writes"; "How to
    perform conditional deletes".
"""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from s3proxy.mending.preconditions import check_read, check_source, check_write
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import parse_request_head, parse_response_head

MODIFIED = "Sun, 01 Mar 2026 12:00:00 GMT"


def code_of(name: str, value: str, status: int = 200, size: int = 12) -> str:
    """
    The code with which a conditional write is refused; empty if it is allowed.
    """
    wanted = parse_request_head(f"PUT /b/k HTTP/1.1\r\nHost: x\r\n{name}: {value}".encode()).fields
    lines = f'Content-Length: {size}\r\nETag: "e"\r\nLast-Modified: {MODIFIED}'
    found = parse_response_head(f"HTTP/1.1 {status} x\r\n{lines}".encode())
    try:
        check_write(wanted, found, {name.lower().encode()}, b"k")
    except S3Error as error:
        return error.code
    return ""


@pytest.mark.parametrize(("second", "has_it"), [("00", True), ("01", False)])
def test_a_time_to_come_is_no_condition(second: str, *, has_it: bool) -> None:
    """
    If-Modified-Since may be the current second; a later time is ignored.
    """
    since = f"Sun, 01 Mar 2026 13:00:{second} GMT"
    wanted = parse_request_head(f"GET /b/k HTTP/1.1\r\nHost: x\r\nIf-Modified-Since: {since}".encode()).fields
    found = parse_response_head(f"HTTP/1.1 200 x\r\nLast-Modified: {MODIFIED}".encode()).fields

    assert check_read(wanted, found, now=datetime(2026, 3, 1, 13, tzinfo=UTC)) is has_it


@pytest.mark.parametrize(
    ("status", "if_match", "if_none_match"),
    [
        (200, "", "PreconditionFailed"),
        (404, "NoSuchKey", ""),
        (403, "AccessDenied", "AccessDenied"),
        (402, "InternalError", "InternalError"),
        (500, "InternalError", "InternalError"),
    ],
)
def test_whether_there_is_an_object(status: int, if_match: str, if_none_match: str) -> None:
    """
    If the backend's response does not show it, nothing is written.
    """
    assert (code_of("If-Match", '"e"', status), code_of("If-None-Match", "*", status)) == (if_match, if_none_match)


@pytest.mark.parametrize(
    ("value", "size", "holds"),
    [
        ("12", 12, True),
        ("0", 0, True),
        ("11", 12, False),
        (f"{'0' * 5000}12", 12, True),
        ("13", 12, False),
        ("9" * 5000, 12, False),
        ("-12", 12, False),
        ("", 0, False),
    ],
)
def test_a_size(value: str, size: int, *, holds: bool) -> None:
    """
    It must be a number, and the object's size.
    """
    assert code_of("x-amz-if-match-size", value, size=size) == ("" if holds else "PreconditionFailed")


@pytest.mark.parametrize("name", ["x-amz-if-match-owner", "If-Range"])
def test_a_condition_that_is_not_known_does_not_hold(name: str) -> None:
    """
    Nothing is deleted that the client may want to keep.
    """
    assert code_of(name, '"e"') == "PreconditionFailed"


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (200, ""),
        (404, "NoSuchKey"),
        (403, "AccessDenied"),
        (402, "InternalError"),
        (206, "InternalError"),
        (500, "InternalError"),
    ],
)
def test_whether_there_is_a_source(status: int, code: str) -> None:
    """
    If the backend's response does not show it, nothing is copied.
    """
    condition = b'\r\nx-amz-copy-source-if-match: "e"'
    assert code_of_source(condition, b"%d x\r\nContent-Length: 9" % status) == code


@pytest.mark.parametrize(
    ("status", "code"), [(200, ""), (404, ""), (403, ""), (402, "InternalError"), (500, "InternalError")]
)
def test_an_unconditional_copy_gets_the_error_of_its_backend(status: int, code: str) -> None:
    """
    A source that is not there, or may not be read, is refused by the backend, in its own words.
    """
    assert code_of_source(b"", b"%d x\r\nContent-Length: 9" % status, max_size=9) == code


@pytest.mark.parametrize(
    ("condition", "length", "code"),
    [
        (b"", b"\r\nContent-Length: 9", ""),
        (b"", b"\r\nContent-Length: 10", "InvalidRequest"),
        (b"", b"\r\nContent-Length: 9999999999", "InvalidRequest"),
        (b"", b"", "InternalError"),
        (b'\r\nx-amz-copy-source-if-match: "e"', b"\r\nContent-Length: 9", ""),
        (b'\r\nx-amz-copy-source-if-match: "e"', b"\r\nContent-Length: 10", "InvalidRequest"),
        (b'\r\nx-amz-copy-source-if-match: "f"', b"\r\nContent-Length: 9", "PreconditionFailed"),
    ],
)
def test_the_size_of_a_source(condition: bytes, length: bytes, code: str) -> None:
    """
    A backend that copies the beginning of a large object only must not be asked to.
    """
    assert code_of_source(condition, b"200 OK" + length, max_size=9) == code


@pytest.mark.parametrize("length", [b"", b"\r\nContent-Length: 9999999999"])
def test_a_backend_that_copies_any_size(length: bytes) -> None:
    """
    Then the size is not looked at.
    """
    assert code_of_source(b'\r\nx-amz-copy-source-if-match: "e"', b"200 OK" + length) == ""


def code_of_source(condition: bytes, found: bytes, max_size: int = 0) -> str:
    """
    Return the code of the error for a copy with a condition, given the response to HEAD; empty for none.
    """
    head = parse_request_head(b"PUT /b/k HTTP/1.1\r\nHost: x" + condition)
    response = parse_response_head(b'HTTP/1.1 %s\r\nETag: "e"' % found)
    try:
        check_source(head.fields, response, b"k", datetime(2026, 3, 1, tzinfo=UTC), max_size)
    except S3Error as error:
        return error.code
    return ""
