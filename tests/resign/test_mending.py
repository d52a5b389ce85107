"""
What is made over for a backend that is not as S3, and what is refused where it cannot be.
"""

from __future__ import annotations

import pytest

from s3proxy.mending.mending import Mending
from s3proxy.profiles.allowed import check_taken
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.answer import AnswerUse
from s3proxy.s3.address import Address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import InternalError, InvalidRequest, NotImplementedByProxy
from s3proxy.s3.head import RequestHead, ResponseHead, index_headers
from s3proxy.s3.operation import GET_OBJECT

WALRUS = PROFILES["walrus-3.4"]
OBJECT, BUCKET = Address(b"b", b"k", b"b", b"k"), Address(b"b", b"", b"b", b"")


def head_of(target: bytes, *headers: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    """
    A head.
    """
    return RequestHead(method, target, b"HTTP/1.1", list(headers), index_headers(headers))


def answer_of(status: int, length: int | None, *headers: tuple[bytes, bytes]) -> ResponseHead:
    """
    The head of an answer.
    """
    return ResponseHead(b"HTTP/1.1", status, b"", list(headers), index_headers(headers), length)


def test_nobody_anonymous_sets_the_headers_of_an_answer() -> None:
    """
    Anybody could make a page of anybody's file.
    """
    head = head_of(b"/b/k?response-content-type=text/html")

    assert Mending(WALRUS, head, OBJECT, GET_OBJECT, [], is_anonymous=False).head.raw_query is None
    with pytest.raises(InvalidRequest):
        Mending(WALRUS, head, OBJECT, GET_OBJECT, [], is_anonymous=True)
    Mending(WALRUS, head_of(b"/b/k"), OBJECT, GET_OBJECT, [], is_anonymous=True)


@pytest.mark.parametrize("value", [b"a%0d%0aSet-Cookie: b=c", b"a%0ab", b"a%00", b"a%7f"])
def test_an_answer_s_header_holds_no_line_end(value: bytes) -> None:
    """
    What could end a line is nobody's content type.
    """
    mending = Mending(
        WALRUS, head_of(b"/b/k?response-content-type=" + value), OBJECT, GET_OBJECT, [], is_anonymous=False
    )

    _, _, headers = mending.answer_head(answer_of(200, 1), [(b"Content-Type", b"text/plain")])

    assert headers == [(b"Content-Type", b"text/plain")]


@pytest.mark.parametrize(
    ("length", "etag", "passes"), [(3, b'"a"', True), (10, b'"a"', True), (3, b'"b"', False), (4, b'"a"', False)]
)
def test_a_range_is_of_the_object_that_was_measured(length: int, etag: bytes, passes: bool) -> None:
    """
    One that was replaced in between is not given as a part of the former.
    """
    mending = Mending(WALRUS, head_of(b"/b/k", (b"Range", b"bytes=2-4")), OBJECT, GET_OBJECT, [], is_anonymous=False)
    assert mending.measure(answer_of(200, 10, (b"ETag", b'"a"')), []) == [(b"Range", b"bytes=2-4")]
    answer = answer_of(206, length, (b"ETag", etag))

    if passes:
        assert mending.answer_use(answer, AnswerUse.RELAY) is AnswerUse.RELAY
    else:
        with pytest.raises(InternalError):
            mending.answer_use(answer, AnswerUse.RELAY)


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
    It would do something else: an unknown name is ignored, and the plain operation carried out.
    """
    head = head_of(target, method=method)

    with pytest.raises(NotImplementedByProxy):
        check_taken(WALRUS.allows(), head, classify(head, address))
    read = head_of(b"/b/k")
    check_taken(WALRUS.allows(), read, classify(read, OBJECT))
