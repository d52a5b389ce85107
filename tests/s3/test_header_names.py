"""
What is remembered of the names of heads: small sets without repeats, each checked once, and never more than a table
holds.
"""

from __future__ import annotations

from typing import Any

import pytest

from s3proxy.body import plan
from s3proxy.frontend import request as client_request
from s3proxy.resign import gate, v4
from s3proxy.resign import headers as passed
from s3proxy.resign import response as shown
from s3proxy.s3 import head as head_module
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.head import parse_request_head, parse_response_head
from s3proxy.s3.header_names import KNOWN_SETS, check_names
from s3proxy.s3.known import Known, picker
from s3proxy.sigv4 import coverage
from tests.support.python_rooms import python_rooms

REQUEST = b"GET /b/k HTTP/1.1\r\nHost: s3.test"


def test_the_same_names_are_the_same_set() -> None:
    """
    In the same order and the same spelling; the values do not matter.
    """
    first = parse_request_head(REQUEST + b"\r\nX-A: 1")
    again = parse_request_head(REQUEST + b"\r\nX-A: 2")
    others = [parse_request_head(REQUEST + lines).names for lines in (b"\r\nx-a: 1", b"", b"\r\nX-A: 1\r\nX-B: 1")]

    assert first.names is not None
    assert first.names is again.names
    assert (first.names.sent, first.names.lower) == ((b"Host", b"X-A"), (b"host", b"x-a"))
    assert again.values == (b"s3.test", b"2")
    assert first.names not in others


def test_a_known_name_without_a_colon() -> None:
    """
    The line is refused, although its name is known.
    """
    parse_request_head(REQUEST + b"\r\nX-A: 1")

    for line in (b"X-A", b"X-A 1", b""):
        with pytest.raises(BadRequest):
            parse_request_head(REQUEST + b"\r\n" + line)


@pytest.mark.parametrize(
    "names",
    [
        [b"a%d" % number for number in range(24)],
        [b"a" * 400, b"b" * 365],
        [b"a", b"b", b"A"],
    ],
)
def test_a_large_set_is_not_remembered(names: list[bytes]) -> None:
    """
    Nor one in which a name is repeated. Their heads are read all the same.
    """
    before = len(KNOWN_SETS)
    head = parse_request_head(REQUEST + b"".join([b"\r\n%s: 1" % name for name in names]))

    assert head.names is None
    assert len(head.headers) == len(names) + 1
    assert len(KNOWN_SETS) == before


@pytest.mark.parametrize("name", [b"", b" a", b"a ", b"a\n", b"a:", b"\xff", b"a b"])
def test_what_is_no_name_is_not_remembered(name: bytes) -> None:
    """
    It is refused each time.
    """
    for _ in range(2):
        with pytest.raises(BadRequest):
            check_names((b"Host", name))
    assert (b"Host", name) not in KNOWN_SETS


@pytest.mark.parametrize(("size", "is_known"), [(1, True), (255, True), (256, True), (257, False), (1000, False)])
def test_a_long_host_is_not_remembered(size: int, is_known: bool) -> None:
    """
    It is read all the same, each time.
    """
    host = b"h" * size
    with python_rooms():
        for _ in range(2):
            assert parse_request_head(b"GET /b/k HTTP/1.1\r\nHost: " + host).host == host

    assert len(host) == size
    assert (host in head_module._KNOWN_HOSTS) is is_known


@pytest.mark.parametrize(("size", "is_known"), [(255, True), (256, True), (257, False)])
def test_a_long_status_line_is_not_remembered(size: int, is_known: bool) -> None:
    """
    It is read all the same, each time.
    """
    line = b"HTTP/1.1 200 ".ljust(size, b"k")
    with python_rooms():
        for _ in range(2):
            assert parse_response_head(line + b"\r\nContent-Length: 0").reason == line[13:]

    assert (line in head_module._KNOWN_STATUS_LINES) is is_known


def test_other_headers_have_other_names() -> None:
    """
    A head whose headers are replaced has the new host, and its former set of names no longer.
    """
    head = parse_request_head(REQUEST + b"\r\nX-A: 1")
    head.set_headers([(b"Host", b"other.test"), (b"X-B", b"2")])

    assert (head.host, head.names) == (b"other.test", None)
    assert head.fields == {b"host": (b"other.test",), b"x-b": (b"2",)}


def test_a_full_table_is_emptied() -> None:
    """
    It never has more decisions than it may have.
    """
    table: Known[int, int] = Known(3)
    for number in range(10):
        assert table.keep(number, number) == number
        assert number in table
        assert len(table) <= 3
    assert sorted(table) == [9]

    table.keep(10, 0)
    table.keep(11, 0)
    # What is in the table needs no room.
    table.keep(9, 1)
    assert table == {9: 1, 10: 0, 11: 0}


@pytest.mark.parametrize("places", [[], [0], [2], [0, 2], [2, 0, 1]])
def test_items_are_picked_by_their_places(places: list[int]) -> None:
    """
    Out of a tuple and out of a list.
    """
    items = ("a", "b", "c")

    assert list(picker(places)(items)) == list(picker(places)(list(items))) == [items[place] for place in places]


def test_no_table_keeps_a_decision_about_a_forgotten_set() -> None:
    """
    While a request waits, other requests can fill the table of sets. What is decided then is for this request alone.
    """
    tables = (coverage.KNOWN_COVERAGES, passed._KNOWN_CHOICES, plan._KNOWN_SILENT, shown._KNOWN_CHOICES)
    for are_forgotten in (False, True):
        KNOWN_SETS.clear()
        request = parse_request_head(REQUEST + b"\r\nx-amz-date: a")
        response = parse_response_head(b"HTTP/1.1 200 OK\r\nETag: a")
        if are_forgotten:
            KNOWN_SETS.clear()

        assert coverage.find_coverage(request.names, b"host") is not None
        assert passed.passed_headers(request, frozenset({b"host"}), passes_checksums=True)[0] == []
        assert plan._is_silent(request)
        public: Any = None
        assert shown.response_headers(response, b"id", b"host", [], public)[1:] == [(b"ETag", b"a")]

        assert [len(table) for table in tables] == [0 if are_forgotten else 1] * 4


@pytest.mark.parametrize(
    ("count", "size", "is_kept"), [(32, 32, True), (33, 1, False), (31, 33, True), (32, 33, False)]
)
def test_only_small_forms_are_remembered(count: int, size: int, is_kept: bool) -> None:
    """
    A head with more or longer names than any known set is written all the same, each time.
    """
    names = [b"x-%02d" % place + b"a" * (size - 4) if size > 4 else b"%02d" % place for place in range(count)]
    for table in (gate._KNOWN_FORMS, v4._KNOWN_FORMS, client_request._KNOWN_FORMS):
        table.clear()

    head = gate.write_head(b"GET", b"/", [(name, b"b") for name in names])
    v4._form_of(tuple(names))
    client_request._form_of(tuple(names))

    assert head == b"GET / HTTP/1.1\r\n" + b"".join([b"%s: b\r\n" % name for name in names])
    for table in (gate._KNOWN_FORMS, v4._KNOWN_FORMS, client_request._KNOWN_FORMS):
        assert len(table) == is_kept
        table.clear()
