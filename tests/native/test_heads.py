"""
The native parser makes of a head what the Python parser makes, in each attribute; a head that the Python parser refuses
is refused.

Each head is read three times: with its set of names unknown to the native rooms, with it known, and by the Python rooms
alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from s3proxy.s3 import head as heads
from s3proxy.s3.head import RequestHead, ResponseHead, parse_request_head, parse_response_head
from s3proxy.s3.header_names import KNOWN_SETS
from s3proxy.s3.limits import MAX_CONTENT_LENGTH_DIGITS, MAX_REQUEST_LINE_SIZE
from tests.fuzz.grammar import TOKENS, value_for
from tests.native.data_set import request_heads, response_heads
from tests.native.rooms import COUNT, Watched, by_python, described
from tests.support.drawn_heads import draw_heads, outcome, spoil

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("tables")]

SEED = 20261202
PARSERS = {"request": parse_request_head, "response": parse_response_head}

USUAL = (
    (b"Host", b"User-Agent", b"Content-Length", b"Authorization"),
    (b"host", b"x-amz-date", b"x-amz-content-sha256", b"Connection"),
    (b"Host", b"Content-Length", b"Connection", b"x-amz-meta-a_b"),
    (b"Content-Length", b"Date", b"ETag"),
    (b"Connection", b"Content-Length", b"HOST"),
    (b"Host", b"Transfer-Encoding"),
    (b"Host",),
)
"""
Sets of names that are sent again and again, with any values.
"""

_LENGTHS = (b"0", b"5", b"-0", b"1" * MAX_CONTENT_LENGTH_DIGITS, b"9" * MAX_CONTENT_LENGTH_DIGITS, b"0" * 20, b"\xb2")
_CONNECTIONS = (b"Keep-Alive", b"CLOSE", b"", b"keep-alive,", b"close ", b"te")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """
    The native parser in its place, watched.
    """
    watched = Watched(heads._NATIVE)
    monkeypatch.setattr(heads, "_NATIVE", watched)
    return watched


def compare(kind: str, data: bytes, watched: Watched) -> bool:
    """
    Compare both parsers; return whether the Python parser accepts the head.
    """
    parse: Callable[[bytes], Any] = PARSERS[kind]
    before = watched.decided[kind]
    found = [described(outcome(parse, data)) for _ in range(2)]
    # Only afterwards: a set of names that the Python rooms learn alone is not known to the native rooms.
    wanted = described(by_python(outcome, parse, data))
    assert found == [wanted, wanted], data
    is_accepted = wanted[0] is not type
    assert is_accepted or watched.decided[kind] == before, data
    assert len(heads._NATIVE) <= len(KNOWN_SETS)
    return is_accepted


def compare_all(kind: str, cases: Iterable[bytes], watched: Watched) -> tuple[int, int, int]:
    """
    Return how many heads were accepted and refused, and how many the native parser decided.
    """
    verdicts = [compare(kind, data, watched) for data in cases]
    return sum(verdicts), len(verdicts) - sum(verdicts), watched.decided[kind]


def draw_usual(rng: random.Random, kind: str) -> bytes:
    """
    Return a head with a usual set of names. Its first line and its values may be anything.
    """
    if kind == "request":
        target = b"/" + b"".join(rng.choices((b"b", b"/", b"k", b"?", b"=", b"%20", b"\xe9"), k=4))
        methods: tuple[bytes, ...] = (b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"OPTIONS")
        if rng.random() < 0.2:
            target += rng.choice(TOKENS)
        if rng.random() < 0.1:
            methods = (b"GETS", b"PATCH", b"get", b"", b"P(T")
        version = rng.choices((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2"), (8, 3, 1))[0]
        first = b"%s %s %s" % (rng.choice(methods), target, version)
    else:
        reason = rng.choice((b"", b"OK", b"No Content", b"O\tK ", b"\xe9", rng.choice(TOKENS)))
        status = rng.choice((b"200", b"404", b"599", b"100") * 3 + (b"600", b"099", b"20", b"2000", b"+20"))
        version = rng.choices((b"HTTP/1.1", b"HTTP/1.0", b"http/1.1"), (8, 3, 1))[0]
        first = b"%s %s %s" % (version, status, reason)
    lines = []
    for name in rng.choice(USUAL):
        lower = name.lower()
        value = value_for(rng, name)
        if lower == b"content-length" and rng.random() < 0.7:
            value = rng.choice(_LENGTHS)
        elif lower == b"connection" and rng.random() < 0.7:
            value = rng.choice(_CONNECTIONS)
        elif lower not in {b"host", b"content-length", b"connection"} and rng.random() < 0.2:
            value = b"a%bb" % rng.choice(TOKENS)
        before, after = rng.choices((b"", b" ", b"\t ", b"\x0b"), (20, 20, 10, 1), k=2)
        lines.append(b"\r\n%b:%b%b%b" % (name, before, value, after))
    return first + b"".join(lines)


@pytest.mark.parametrize("kind", PARSERS)
def test_heads_of_the_data_set(kind: str, watched: Watched) -> None:
    """
    Each head of each case and vector.
    """
    cases = request_heads() if kind == "request" else response_heads()
    accepted, refused, decided = compare_all(kind, cases, watched)

    assert accepted > 500
    assert refused > 20
    assert decided > accepted


@pytest.mark.parametrize("kind", PARSERS)
def test_drawn_heads(kind: str, watched: Watched) -> None:
    """
    Heads with any names, as `tests.fuzz` draws them.
    """
    rng = random.Random(SEED)
    cases = (draw_heads(rng)[kind == "response"] for _ in range(COUNT))
    accepted, refused, decided = compare_all(kind, cases, watched)

    assert min(accepted, refused) > COUNT // 20
    assert decided > COUNT // 50


@pytest.mark.parametrize("kind", PARSERS)
def test_drawn_heads_with_usual_names(kind: str, watched: Watched) -> None:
    """
    Nearly all of them reach the checks of the first line, the framing and the host.
    """
    rng = random.Random(SEED + 1)
    cases = (spoil(rng, draw_usual(rng, kind)) for _ in range(COUNT))
    accepted, refused, decided = compare_all(kind, cases, watched)

    assert min(accepted, refused) > COUNT // 20
    assert decided > COUNT // 20


_SMALL = {
    "request": b"GET /k?a HTTP/1.1\r\nHost: a.b:1\r\nContent-Length: 15\r\nConnection: close",
    "response": b"HTTP/1.0 200 OK\r\nContent-Length: 15\r\nConnection: keep-alive\r\nETag: a",
}
_BYTES = bytes({*range(0x30), *b"059:;?@AGTZ[]^_`akz{|}~", 0x7F, 0x80, 0x85, 0xA0, 0xC3, 0xFF})


def each_change(data: bytes) -> Iterator[bytes]:
    """
    Yield the bytes with each byte in turn replaced, left out, or preceded by another.
    """
    for place in range(len(data) + 1):
        yield data[:place] + data[place + 1 :]
        for byte in _BYTES:
            other = bytes((byte,))
            yield data[:place] + other + data[place:]
            yield data[:place] + other + data[place + 1 :]


@pytest.mark.parametrize("kind", PARSERS)
def test_each_byte_of_a_head(kind: str, watched: Watched) -> None:
    """
    Whichever byte is changed, no reader stops at another place.
    """
    accepted, refused, decided = compare_all(kind, each_change(_SMALL[kind]), watched)

    assert min(accepted, refused) > 2000
    assert decided > 1000


@pytest.mark.parametrize("size", [MAX_REQUEST_LINE_SIZE - 1, MAX_REQUEST_LINE_SIZE, MAX_REQUEST_LINE_SIZE + 1])
def test_long_request_lines(size: int, watched: Watched) -> None:
    """
    Up to the limit.
    """
    parse_request_head(b"GET / HTTP/1.1\r\nHost: a")
    line = b"GET /".ljust(size - len(b" HTTP/1.1"), b"a") + b" HTTP/1.1"

    assert compare("request", line + b"\r\nHost: a", watched) == (size <= MAX_REQUEST_LINE_SIZE)
    assert watched.decided["request"] == 2 * (size <= MAX_REQUEST_LINE_SIZE)


@pytest.mark.parametrize("count", [22, 23, 24, 25, 255, 256])
def test_many_header_lines(count: int, watched: Watched) -> None:
    """
    A set of names that is too large to be remembered is left to Python.
    """
    lines = b"".join([b"\r\nx-%d: a" % place for place in range(count)])
    for kind, first in (("request", b"GET / HTTP/1.1\r\nHost: a"), ("response", b"HTTP/1.1 200 OK\r\nServer: a")):
        assert compare(kind, first + lines, watched) == (count < 256)
        assert watched.decided[kind] == (count < 24)


def test_names_that_spell_the_same_text(watched: Watched) -> None:
    """
    Two sets whose names follow each other to the same letters are two sets.
    """
    first = b"HTTP/1.1 200 OK\r\n"
    for lines in (b"a: 1\r\nbc: 2", b"ab: 1\r\nc: 2", b"abc: 1", b"A: 1\r\nbc: 2", b"a::bc: 2", b"a: \r\n:bc: 2"):
        compare("response", first + lines, watched)

    assert watched.decided["response"] == 5


def test_each_head_is_its_own(watched: Watched) -> None:
    """
    What is done to the lists of a head changes no other head.
    """
    data = {"request": b"GET / HTTP/1.1\r\nHost: a", "response": b"HTTP/1.1 200 OK\r\nhost: a"}
    for kind, parse in PARSERS.items():
        wanted = described(parse(data[kind]))
        for _ in range(2):
            head = parse(data[kind])
            assert isinstance(head, RequestHead | ResponseHead)
            assert described(head) == wanted
            head.headers.append((b"b", b"c"))
            head.fields[b"b"] = (b"c",)
        assert watched.decided[kind] == 2


def test_what_is_forgotten_is_not_known(watched: Watched) -> None:
    """
    The native parser forgets a set together with the Python parser: there is one object for each set of names.
    """
    data = b"HTTP/1.1 200 OK\r\nServer: a"
    parse_response_head(data)
    former = parse_response_head(data)
    assert len(watched) == 1
    KNOWN_SETS.clear()

    assert len(watched) == 0
    fresh = parse_response_head(data)
    assert watched.decided["response"] == 1
    assert fresh.names is not former.names
    assert parse_response_head(data).names is fresh.names
