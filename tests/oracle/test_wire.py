"""
The strict reader, for requests in any pieces and with any fault.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.wire import (
    ClientStream,
    Head,
    NotARequest,
    RequestStream,
    backend_faults,
    fully_decoded,
    parse_head,
)


def texts(alphabet: bytes, **sizes: int) -> st.SearchStrategy[bytes]:
    """
    Bytes of an alphabet.
    """
    return st.lists(st.sampled_from(list(alphabet)), **sizes).map(bytes)


TOKEN = texts(b"!#$%&'*+-.^_`|~0123456789abcXYZ", min_size=1, max_size=12)
VALUE = st.binary(max_size=20).map(
    lambda data: bytes(b for b in data if b == 9 or (b >= 32 and b != 127)).strip(b" \t")
)
TARGET = texts(b"/abc%2F.?&=;:@+~", max_size=20).map(lambda text: b"/" + text)
SPOKEN_FOR = {b"host", b"content-length", b"transfer-encoding"}


@st.composite
def requests(
    draw: Callable[..., object], *, is_chunked: bool = False
) -> tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]:
    """
    A request that RFC 9112 allows: its bytes, its target, its headers and its body.
    """
    target = draw(TARGET)
    headers = [
        pair for pair in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=5)) if pair[0].lower() not in SPOKEN_FOR
    ]
    body = draw(st.binary(max_size=40))
    lines = [(b"Host", b"a.example:80"), *headers]
    wire = body
    if is_chunked and draw(st.booleans()):
        lines.append((b"Transfer-Encoding", b"chunked"))
        size = draw(st.integers(1, 9))
        pieces = [body[start : start + size] for start in range(0, len(body), size)]
        wire = b"".join(b"%x;a=b\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    elif body:
        lines.append((b"Content-Length", b"%d" % len(body)))
    head = b"PUT %s HTTP/1.1\r\n%s\r\n" % (target, b"".join(b"%s: %s\r\n" % line for line in lines))
    return head + wire, target, lines, body


class Reading:
    """
    What a stream reports.
    """

    def __init__(self) -> None:
        self.heads: list[Head] = []
        self.faults: list[str] = []
        self.stream = RequestStream(self.heads.append, lambda text, raw: self.faults.append(text))

    def feed(self, data: bytes, cuts: list[int]) -> Reading:
        """
        Feed the bytes in pieces.
        """
        edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
        for start, end in itertools.pairwise(edges):
            self.stream.feed(data[start:end])
        return self


CUTS = st.lists(st.integers(0, 10_000), max_size=8)


@given(made=st.lists(requests(), min_size=1, max_size=4), cuts=CUTS)
def test_valid_requests_are_read_however_they_come(
    made: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]], cuts: list[int]
) -> None:
    """
    A sequence of requests is read as it was written, without a breach.
    """
    reading = Reading().feed(b"".join(wire for wire, *_ in made), cuts)

    assert not reading.faults
    assert reading.stream.is_between
    assert [(head.target, head.headers) for head in reading.heads] == [(target, lines) for _, target, lines, _ in made]


@given(made=st.lists(requests(is_chunked=True), min_size=1, max_size=4), cuts=CUTS)
def test_a_client_s_requests_are_cut_where_they_end(
    made: list[tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes]], cuts: list[int]
) -> None:
    """
    Bodies with a length and in chunks are read whole, in whatever pieces they arrive. The next request may follow at
    once.
    """
    data = b"".join(wire for wire, *_ in made)
    edges = iter([*sorted(cut % (len(data) + 1) for cut in cuts), len(data)])
    stream, fed = ClientStream(), 0
    for _, target, lines, body in made:
        head = None
        while True:
            if head is None:
                try:
                    head = stream.next_head(lambda _: 1 << 20)
                except NotARequest:
                    head = None
            if head is not None and stream.is_body_complete:
                break
            edge = next(edges)
            stream.feed(data[fed:edge])
            fed = edge
        assert (head.target, head.headers) == (target, lines)
        assert (b"".join(stream.body), stream.body_size) == (body, len(body))


@given(
    made=requests(),
    position=st.integers(0, 10_000),
    byte=st.sampled_from([*range(9), 10, 11, 12, 13, *range(14, 32), 127]),
)
def test_a_control_byte_in_a_head_is_no_request(
    made: tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes], position: int, byte: int
) -> None:
    """
    A head with any control byte at any place is not read as a request.
    """
    head = made[0].partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    position %= len(head) - 3
    changed = head[:position] + bytes([byte]) + head[position:]

    with pytest.raises(NotARequest):
        parse_head(changed)


@given(made=requests(), extra=st.binary(min_size=1, max_size=10), cuts=CUTS)
def test_bytes_after_a_request_are_never_lost(
    made: tuple[bytes, bytes, list[tuple[bytes, bytes]], bytes], extra: bytes, cuts: list[int]
) -> None:
    """
    What follows a body is the beginning of another request, or a breach.
    """
    reading = Reading().feed(made[0] + extra, cuts)

    assert len(reading.heads) == 1
    assert not reading.stream.is_between or reading.faults


@pytest.mark.parametrize(
    "head",
    [
        b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        b"GET /\r\nHost: a\r\n\r\n",
        b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nA: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_what_two_readers_may_read_differently(head: bytes) -> None:
    """
    Neither side may send a head that two readers may read differently.
    """
    with pytest.raises(NotARequest):
        parse_head(head)


@pytest.mark.parametrize(
    ("line", "target"),
    [
        (b"x_amz_acl: a", b"/"),
        (b"Content_Length: 0", b"/"),
        (b"Transfer-Encoding: chunked", b"/"),
        (b"Connection: x-amz-acl", b"/"),
        (b"x-amz-acl: a\r\nX-Amz-Acl: b", b"/"),
        (b"Content-Type: a\r\nContent-Type: b", b"/"),
        (b"Authorization: a\r\nAuthorization: b", b"/"),
        (b"A: b", b"http://a/"),
        (b"A: b", b"/#"),
        (b"A: b", b"*"),
        (b"A: b", b"/?X-Amz-Credential=a"),
        (b"A: b", b"/?a&x%2Damz%2Dsignature=a"),
        (b"A: b", b"/?%2553ignature=a"),
        (b"A: b", b"/?Expires"),
        (b"A: b", b"/?awsaccesskeyid=a"),
    ],
)
def test_what_no_backend_may_get(line: bytes, target: bytes) -> None:
    """
    It is a request, but not one that the proxy may send.
    """
    head = parse_head(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % (target, line))

    assert backend_faults(head)


def test_what_a_backend_may_get() -> None:
    """
    Metadata may have underscores, and a health check may close its connection.
    """
    lines = b"x-amz-meta-a_b: c\r\nConnection: close\r\nX-Amz-Date: a\r\nx-amz-expires-after: b"

    assert not backend_faults(parse_head(b"GET /a//%%2F?acl&x-id=a HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % lines))


@given(text=texts(b"sig%2345+ ", max_size=20))
def test_decoding_ends(text: bytes) -> None:
    """
    No name grows when it is decoded.
    """
    assert len(fully_decoded(text)) <= len(text)
