"""
Heads: what two readers could read differently is refused, and the rest is exactly what was sent.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.errors import BadRequest, RequestHeaderSectionTooLarge, S3Error
from s3proxy.s3.head import Fields, RequestHead, ResponseHead, parse_request_head, parse_response_head
from s3proxy.s3.limits import MAX_HEADER_COUNT, MAX_REQUEST_LINE_SIZE

LINE = b"PUT /b/k HTTP/1.1\r\nHost: s3.test"


def is_refused(data: bytes) -> bool:
    """
    Return True if a request's head is refused.
    """
    try:
        parse_request_head(data)
    except S3Error as error:
        return error.status == 400
    return False


def test_a_head_is_what_came() -> None:
    """
    Names as sent, values without the white space around them, repeats in order.
    """
    head = parse_request_head(b"PUT /b/k?a=1&b HTTP/1.1\r\nHost: s3.test\r\nX-A:\t1 \r\nx-a: 2\r\nContent-Length: 05")

    assert (head.method, head.raw_target, head.raw_path, head.raw_query) == (b"PUT", b"/b/k?a=1&b", b"/b/k", b"a=1&b")
    assert head.headers == [(b"Host", b"s3.test"), (b"X-A", b"1"), (b"x-a", b"2"), (b"Content-Length", b"05")]
    assert (head.fields.value(b"x-a"), head.content_length, head.is_chunked, head.has_body) == (b"1,2", 5, False, True)


@pytest.mark.parametrize(
    "line",
    [
        b"PUT /b/k",
        b"PUT  /b/k HTTP/1.1",
        b"PUT /b k HTTP/1.1",
        b"PUT /b/k HTTP/1.1 ",
        b" PUT /b/k HTTP/1.1",
        b"PUT /b/k HTTP/1.1\n",
        b"PUT /b/k HTTP/2.0",
        b"PUT /b/k HTTP/0.9",
        b"PUT /b/k http/1.1",
        b"PUT /b/k HTTP/1.10",
        b"P(T /b/k HTTP/1.1",
        b" /b/k HTTP/1.1",
        b"1UT /b/k HTTP/1.1",
        b"P" * 33 + b" /b/k HTTP/1.1",
        b"PUT b/k HTTP/1.1",
        b"PUT * HTTP/1.1",
        b"PUT /b/k#x HTTP/1.1",
        b"PUT /b/k?a#x HTTP/1.1",
        b"PUT /b\tk HTTP/1.1",
        b"PUT /b\x00k HTTP/1.1",
        b"PUT /b\x7fk HTTP/1.1",
        b"PUT /b\rk HTTP/1.1",
        b"PUT ftp://s3.test/b/k HTTP/1.1",
        b"PUT http://other.test/b/k HTTP/1.1",
        b"PUT http:///b/k HTTP/1.1",
        b"PUT http://s3.test@other.test/b HTTP/1.1",
        b"PUT /" + b"a" * MAX_REQUEST_LINE_SIZE + b" HTTP/1.1",
    ],
)
def test_what_is_no_request_line(line: bytes) -> None:
    """
    A valid one has a method, a path and a version, with one space between each, and nothing that a backend would cut.
    """
    assert is_refused(line + b"\r\nHost: s3.test")


@pytest.mark.parametrize(
    "target", [b"http://s3.test/b/k", b"HTTPS://S3.test/b/k", b"http://s3.test", b"http://s3.test?a"]
)
def test_an_absolute_target_names_the_host(target: bytes) -> None:
    """
    Only its path is used, if its authority is the Host.
    """
    head = parse_request_head(b"PUT %s HTTP/1.1\r\nHost: s3.test" % target)

    assert head.raw_target in {b"/b/k", b"/", b"/?a"}


@pytest.mark.parametrize(
    "headers",
    [
        b"X-A: 1\r\n X-B: 2",
        b"X-A: 1\r\n\tfolded",
        b"X-A : 1",
        b"X-A",
        b": 1",
        b"X A: 1",
        b"X-A\x00: 1",
        b"X-\xe4: 1",
        b"X(A): 1",
        b"X-A: 1\rX-B: 2",
        b"X-A: 1\nX-B: 2",
        b"X-A: \x00",
        b"X-A: \x1b",
        b"X-A: \x7f",
        b"X-A: 1\r\n",
        b"X-A: 1\r\n\r\nX-B: 2",
    ],
)
def test_what_are_no_header_lines(headers: bytes) -> None:
    """
    A valid line has no fold, no space before the colon, no control character except a tab, and no other kind of line
    end.
    """
    assert is_refused(LINE + b"\r\n" + headers)
    with pytest.raises(BadRequest):
        parse_response_head(b"HTTP/1.1 200 OK\r\n" + headers)


def test_a_tab_and_other_bytes_may_stand_in_a_value() -> None:
    """
    They stay as they are.
    """
    head = parse_request_head(LINE + b"\r\nX-A: a\tb\xff\xc3\xa4")

    assert head.fields.value(b"x-a") == b"a\tb\xff\xc3\xa4"


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"\r\nHost: s3.test\r\nHost: s3.test",
        b"\r\nHost: s3.test\r\nHost: other.test",
        b"\r\nHost: s3.test/b",
        b"\r\nHost: s3.test other",
        b"\r\nHost: a@s3.test",
        b'\r\nHost: "s3.test"',
        b"\r\nHost: s3.test#",
        b"\r\nHost: s3.test?a",
        b"\r\nHost: s3\\.test",
        b"\r\nHost: \xff",
    ],
)
def test_there_is_one_host(host: bytes) -> None:
    """
    None, two, or one that names something besides a host.
    """
    assert is_refused(b"PUT /b/k HTTP/1.1" + host)


def test_http_1_0_may_have_no_host() -> None:
    """
    But not two.
    """
    assert parse_request_head(b"GET /b/k HTTP/1.0").host == b""
    assert is_refused(b"GET /b/k HTTP/1.0\r\nHost: a\r\nHost: a")


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 0",
        b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: gzip, chunked",
        b"Transfer-Encoding: chunked, gzip",
        b"Transfer-Encoding: chunked,",
        b"Transfer-Encoding: xchunked",
        b"Transfer-Encoding: identity",
        b"Transfer-Encoding:",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\r\nContent-Length: 05",
        b"Content-Length: 5, 5",
        b"Content-Length: +5",
        b"Content-Length: -5",
        b"Content-Length: 5_0",
        b"Content-Length: 0x5",
        b"Content-Length: 5 5",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Content-Length: " + b"0" * 20,
        b"Content-Length: " + b"9" * 5000,
    ],
)
def test_there_is_one_framing(headers: bytes) -> None:
    """
    If two readers could find two ends of a body, the head is refused, from a client and from a backend.
    """
    assert is_refused(LINE + b"\r\n" + headers)
    with pytest.raises(BadRequest):
        parse_response_head(b"HTTP/1.1 200 OK\r\n" + headers)


def test_framings_that_are_one() -> None:
    """
    Equal lengths count as one; chunked may be in upper or lower case.
    """
    assert parse_request_head(LINE + b"\r\nContent-Length: 5\r\ncontent-length: 5").content_length == 5
    assert parse_request_head(LINE + b"\r\nTransfer-Encoding: Chunked").is_chunked
    assert is_refused(b"PUT /b/k HTTP/1.0\r\nHost: s3.test\r\nTransfer-Encoding: chunked")
    with pytest.raises(BadRequest):
        parse_response_head(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked")


def test_headers_have_a_bound() -> None:
    """
    One-byte headers cost more than their bytes.
    """
    parse_request_head(LINE + b"\r\na: 1" * (MAX_HEADER_COUNT - 1))
    with pytest.raises(RequestHeaderSectionTooLarge) as refused:
        parse_request_head(LINE + b"\r\na: 1" * (MAX_HEADER_COUNT + 43))
    with pytest.raises(RequestHeaderSectionTooLarge):
        parse_request_head(LINE + b"\r\na: 1" * MAX_HEADER_COUNT)

    assert refused.value.message == "Your request has 300 headers, and the maximum is 256."


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 099 OK",
        b"HTTP/1.1 600 OK",
        b"HTTP/1.1 -20 OK",
        b"HTTP/2 200 OK",
        b"HTTP/1.2 200 OK",
        b"http/1.1 200 OK",
        b"HTTP/1.1  200 OK",
        b" HTTP/1.1 200 OK",
        b"HTTP/1.1 200 O\x00K",
        b"HTTP/1.1 200 OK\r",
        b"ICY 200 OK",
        b"",
    ],
)
def test_what_is_no_status_line(line: bytes) -> None:
    """
    Such a backend's response is not used at all.
    """
    with pytest.raises(BadRequest):
        parse_response_head(line + b"\r\nX-A: 1")


def test_a_status_line() -> None:
    """
    Its reason may be absent.
    """
    assert parse_response_head(b"HTTP/1.1 200").reason == b""
    assert parse_response_head(b"HTTP/1.1 404 Not Found").reason == b"Not Found"


@pytest.mark.parametrize(
    ("version", "headers", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.1", "Connection: Keep-Alive, Close\r\n", False),
        ("1.1", "Connection: keep-alive\r\n", True),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", False),
    ],
)
def test_which_connection_stays(version: str, headers: str, stays: bool) -> None:
    """
    One of HTTP/1.1 stays unless it says otherwise; one of HTTP/1.0 never stays, whatever it says.
    """
    head = parse_request_head(f"GET /b/k HTTP/{version}\r\nHost: s3.test\r\n{headers}".rstrip().encode())

    assert head.keeps_alive is stays


@pytest.mark.parametrize(
    ("version", "headers", "expects"),
    [
        ("1.1", "", False),
        ("1.1", "Expect: 100-continue\r\n", True),
        ("1.1", "expect: 100-Continue\r\n", True),
        ("1.1", "Expect: nothing\r\n", False),
        ("1.1", "Expect: 100-continue\r\nExpect: nothing\r\n", True),
        ("1.1", "Expect: nothing\r\nExpect: 100-continue\r\n", False),
        ("1.0", "Expect: 100-continue\r\n", False),
    ],
)
def test_who_waits_for_100_continue(version: str, headers: str, expects: bool) -> None:
    """
    RFC 9110, section 10.1.1: a client of HTTP/1.0 does not wait.
    """
    head = parse_request_head(f"PUT /b/k HTTP/{version}\r\nHost: s3.test\r\n{headers}".rstrip().encode())

    assert head.expects_continue is expects


@pytest.mark.parametrize("over", [0, 1])
def test_a_request_line_is_bounded_to_the_byte(over: int) -> None:
    """
    The line without its end.
    """
    line = b"GET /" + b"a" * (MAX_REQUEST_LINE_SIZE - len(b"GET / HTTP/1.1") + over) + b" HTTP/1.1"

    assert len(line) == MAX_REQUEST_LINE_SIZE + over
    if over:
        with pytest.raises(BadRequest):
            parse_request_head(line + b"\r\nHost: s3.test")
    else:
        assert parse_request_head(line + b"\r\nHost: s3.test").method == b"GET"


def test_a_head_that_is_made_has_no_body_unless_it_says_so() -> None:
    """
    A head that s3proxy makes for a request of its own.
    """
    request = RequestHead(b"GET", b"/b", b"HTTP/1.1", [], Fields())
    response = ResponseHead(b"HTTP/1.1", 200, b"OK", [], Fields())

    assert (request.has_body, request.is_chunked, request.keeps_alive) == (False, False, True)
    assert (response.is_chunked, response.keeps_alive) == (False, True)


@pytest.mark.parametrize(
    ("version", "headers", "stays"),
    [
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
    ],
)
def test_which_backend_s_connection_stays(version: str, headers: str, stays: bool) -> None:
    """
    Old storage systems use HTTP/1.0, and keep a connection if they say so.
    """
    assert parse_response_head(f"HTTP/{version} 200 OK\r\n{headers}".rstrip().encode()).keeps_alive is stays


@pytest.mark.parametrize(("length", "is_one"), [("9" * 19, True), ("0" * 18 + "5", True), ("1" + "0" * 19, False)])
def test_a_length_has_so_many_digits(length: str, is_one: bool) -> None:
    """
    19 digits hold any length of a body.
    """
    data = f"PUT /b/k HTTP/1.1\r\nHost: s3.test\r\nContent-Length: {length}".encode()

    assert is_refused(data) is not is_one
    if is_one:
        assert parse_request_head(data).content_length == int(length)
