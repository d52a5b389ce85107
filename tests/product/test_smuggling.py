"""
Framings that two readers could understand differently: the backend never gets a second request.

Each variant carries a second request, rightly signed, where another reader would see one. It is sent whole through real
sockets, and cut at each byte through the same code without them.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

import pytest
import pytest_twisted

from tests.support.harness import Harness
from tests.support.memory import MemoryProxy
from tests.support.signer import UNSIGNED, Signer

SIGNER = Signer()
INNER = SIGNER.head("GET", "/test-bucket/smuggled")[0]
HEAD = SIGNER.head("PUT", "/test-bucket/key", payload=UNSIGNED)[0][:-4]
GET = SIGNER.head("GET", "/test-bucket/key", payload=UNSIGNED)[0][:-4]
CHUNKED = b"Transfer-Encoding: chunked"
END = b"0\r\n\r\n"


@dataclass(frozen=True)
class Framing:
    """
    A request whose end is ambiguous.

    Attributes:
        wire: All bytes, the second request among them.
        passes: Whether the first request is understood after all: then it alone reaches the backend.
    """

    wire: bytes
    passes: bool = False


def request(*lines: bytes, body: bytes = b"", head: bytes = HEAD, passes: bool = False) -> Framing:
    """
    Return a framing: header lines are added to a head, and a body follows.
    """
    return Framing(b"\r\n".join((head, *lines)) + b"\r\n\r\n" + body, passes)


def with_line(replaced: bytes, line: bytes, *, head: bytes = HEAD, body: bytes = b"") -> Framing:
    """
    Replace a part of the head.
    """
    assert head.count(replaced) == 1
    return request(b"Content-Length: %d" % len(body), head=head.replace(replaced, line), body=body + INNER)


def chunks(*pieces: bytes) -> bytes:
    """
    Put pieces into chunked transfer coding, without its end.
    """
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)


IN_CHUNK = chunks(INNER) + END
HOST = re.search(rb"host: ([^\r]+)", HEAD)
assert HOST is not None
HOST_LINE = HOST[0]

FRAMINGS: dict[str, Framing] = {}

# A length and chunks: which of the two counts?
for name, lines in {
    "length, chunks": (b"Content-Length: %d" % len(END + INNER), CHUNKED),
    "chunks, length": (CHUNKED, b"Content-Length: %d" % len(END + INNER)),
    "length 0, chunks": (b"Content-Length: 0", CHUNKED),
    "length of 4, chunks": (b"Content-Length: 4", CHUNKED),
    "two lengths, chunks": (b"Content-Length: 4", CHUNKED, b"Content-Length: 5"),
    "length, identity": (b"Content-Length: 4", b"Transfer-Encoding: identity"),
}.items():
    FRAMINGS[name] = request(*lines, body=END + INNER)
    FRAMINGS[f"{name}, in a chunk"] = request(*lines, body=IN_CHUNK)

# A coding that one reader takes for chunked and another does not.
for value in (
    b"Chunked x",
    b"xchunked",
    b"chunkedx",
    b"chunked;q=1",
    b"chunked; a=b",
    b'"chunked"',
    b"'chunked'",
    b"chunked, identity",
    b"identity, chunked",
    b"identity",
    b"chunked, chunked",
    b"chunked,",
    b",chunked",
    b"chunked, gzip",
    b"gzip, chunked",
    b"gzip",
    b"deflate, chunked",
    b"chun ked",
    b"chunked\x0b",
    b"\x0bchunked",
    b"chunked\x0c",
    b"\x00chunked",
    b"chunked\x00",
    b"chunked\x85",
    b"\xa0chunked",
    b"chunked\xa0",
    b"c\xc4\xa7unked",
    b"chunked\r",
    b"\rchunked",
    b"chunked\rX: y",
    b"chunked\nContent-Length: 5",
    b"",
    b"none",
    b"cow",
    b"=?utf-8?q?chunked?=",
    b"chunked\r\n identity",
    b"\r\n chunked",
    b"\r\n\tchunked",
    b"x\r\n chunked",
):
    FRAMINGS[f"coding {value!r}"] = request(b"Transfer-Encoding: " + value, body=END + INNER)
    FRAMINGS[f"coding {value!r}, length"] = request(
        b"Content-Length: 4", b"Transfer-Encoding: " + value, body=END + INNER
    )
for first, second in itertools.permutations((b"chunked", b"identity", b"gzip"), 2):
    FRAMINGS[f"codings {first!r} and {second!r}"] = request(
        b"Transfer-Encoding: " + first, b"Transfer-Encoding: " + second, body=END + INNER
    )
FRAMINGS["chunked twice"] = request(CHUNKED, CHUNKED, body=END + INNER)
FRAMINGS["chunks in HTTP/1.0"] = request(CHUNKED, head=HEAD.replace(b"HTTP/1.1", b"HTTP/1.0"), body=END + INNER)

# A name that one reader takes for the header's and another does not.
for line in (
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding\t: chunked",
    b" Transfer-Encoding: chunked",
    b"\tTransfer-Encoding: chunked",
    b"Transfer-Encoding\x00: chunked",
    b"\x00Transfer-Encoding: chunked",
    b"Transfer-Encoding\r: chunked",
    b"X: y\rTransfer-Encoding: chunked",
    b"X: y\nTransfer-Encoding: chunked",
    b"X: y\n\rTransfer-Encoding: chunked",
    b"Transfer-Encoding\n : chunked",
    b"Transfer-Encoding",
    b"Transfer-Encoding chunked",
    b"Transfer Encoding: chunked",
    b"Transfer-\xc3\x89ncoding: chunked",
    b'"Transfer-Encoding": chunked',
    b": Transfer-Encoding: chunked",
    b"Transfer-Encoding:: chunked",
    b"Content-Length : 5",
    b"Content-Length\t: 5",
    b" Content-Length: 5",
    b"Content-Length\x00: 5",
    b"X: y\rContent-Length: 5",
    b"X: y\nContent-Length: 5",
    b"Content Length: 5",
    b"Content-Length",
    b"Content-Length 5",
    b": 5",
):
    FRAMINGS[f"line {line!r}"] = request(b"Content-Length: 5", line, body=END + INNER)

# A length that one reader takes for another number.
for length in (
    b"5, 5",
    b"5,6",
    b"5 6",
    b"5,",
    b"+5",
    b"-5",
    b"-0",
    b"0x5",
    b"0b1",
    b"5.0",
    b"5e0",
    b"5_0",
    b"5;",
    b'"5"',
    b"5\x00",
    b"\x005",
    b"5\x0b",
    b"\x0c5",
    b"5\r",
    b"5\n",
    b"",
    b" ",
    b"five",
    b"\xef\xbc\x95",
    b"\xd9\xa5",
    b"\xb2",
    b"5\r\n 0",
    b"5\r\n\t0",
    b"18446744073709551621",
    b"9223372036854775813",
    b"4294967301x",
    b"9" * 5000,
):
    FRAMINGS[f"length {length[:30]!r}"] = request(b"Content-Length: " + length, body=END + INNER)
for first, second in ((b"5", b"6"), (b"5", b"0"), (b"0", b"5"), (b"5", b"05"), (b"5", b"+5"), (b"5", b"5x")):
    FRAMINGS[f"lengths {first!r} and {second!r}"] = request(
        b"Content-Length: " + first, b"Content-Length: " + second, body=END + INNER
    )

# The chunks themselves.
for chunk in (
    b"+5\r\nhello\r\n",
    b"-5\r\nhello\r\n",
    b"0x5\r\nhello\r\n",
    b" 5\r\nhello\r\n",
    b"\t5\r\nhello\r\n",
    b"5\nhello\r\n",
    b"5\rhello\r\n",
    b"5\r\nhello\n",
    b"5\r\nhello\r",
    b"5\r\nhello",
    b"5\r\nhelloX\r\n",
    b"5\r\nhell\r\n",
    b"5x\r\nhello\r\n",
    b"5 x\r\nhello\r\n",
    b"5,5\r\nhello\r\n",
    b"5_\r\nhello\r\n",
    b"g\r\nhello\r\n",
    b"\r\nhello\r\n",
    b";a=b\r\nhello\r\n",
    b"5;a\nb\r\nhello\r\n",
    b"5;a\rb\r\nhello\r\n",
    b"5;\x00\r\nhello\r\n",
    b"5\x00\r\nhello\r\n",
    b"5\x0b\r\nhello\r\n",
    b"\xef\xbc\x95\r\nhello\r\n",
    b"10000000000000005\r\nhello\r\n",
    b"fffffffffffffffff\r\nhello\r\n",
    b"5;" + b"a" * 5000 + b"\r\nhello\r\n",
    b"0" * 5000 + b"5\r\nhello\r\n",
):
    FRAMINGS[f"chunk {chunk[:20]!r}"] = request(CHUNKED, body=chunk + END + INNER)
for end in (
    b"0\n\n",
    b"0\r\n\n",
    b"0\n\r\n",
    b"00\r\n\r",
    b"0\r\r\n\r\n",
    b"0;\n\r\n\r\n",
    b"-0\r\n\r\n",
    b"0x0\r\n\r\n",
):
    FRAMINGS[f"last chunk {end!r}"] = request(CHUNKED, body=chunks(b"hello") + end + INNER)
for trailer in (
    b"X y\r\n",
    b" X: y\r\n",
    b"X : y\r\n",
    b"X: y\n",
    b"X: y\rZ: z\r\n",
    b"X: y\x00\r\n",
    b"\x00: y\r\n",
    b": y\r\n",
):
    FRAMINGS[f"trailer {trailer!r}"] = request(CHUNKED, body=chunks(b"hello") + b"0\r\n" + trailer + b"\r\n" + INNER)

# The request line and the host.
LINE = b"PUT /test-bucket/key HTTP/1.1"
for name, line in {
    "two spaces": b"PUT  /test-bucket/key HTTP/1.1",
    "a tab": b"PUT\t/test-bucket/key HTTP/1.1",
    "a space at the end": b"PUT /test-bucket/key HTTP/1.1 ",
    "a space before": b" PUT /test-bucket/key HTTP/1.1",
    "a space in the target": b"PUT /test-bucket/key HTTP/1.1 HTTP/1.1",
    "no version": b"PUT /test-bucket/key",
    "HTTP/0.9": b"PUT /test-bucket/key HTTP/0.9",
    "HTTP/1.2": b"PUT /test-bucket/key HTTP/1.2",
    "HTTP/2.0": b"PUT /test-bucket/key HTTP/2.0",
    "HTTP/1.10": b"PUT /test-bucket/key HTTP/1.10",
    "http/1.1": b"PUT /test-bucket/key http/1.1",
    "HTTP/01.1": b"PUT /test-bucket/key HTTP/01.1",
    "an end of line": b"PUT /test-bucket/key HTTP/1.1\nX: y",
    "a carriage return": b"PUT /test-bucket/key HTTP/1.1\rX: y",
    "NUL": b"PUT /test-bucket/key\x00 HTTP/1.1",
    "a fragment": b"PUT /test-bucket/key#x HTTP/1.1",
    "another host": b"PUT http://evil.test/test-bucket/key HTTP/1.1",
    "no slash": b"PUT test-bucket/key HTTP/1.1",
    "an authority": b"CONNECT 127.0.0.1:1 HTTP/1.1",
    "a star": b"OPTIONS * HTTP/1.1",
    "a method in brackets": b"P(T /test-bucket/key HTTP/1.1",
    "a method with a colon": b"PUT: /test-bucket/key HTTP/1.1",
    "a header first": b"X: y",
    "a fold first": LINE + b"\r\n X: y",
    "two empty lines": b"\r\n\r\n" + LINE,
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + LINE,
}.items():
    FRAMINGS[f"request line with {name}"] = with_line(LINE, line)
for name, line in {
    "none": b"X: y",
    "two": HOST_LINE + b"\r\n" + HOST_LINE,
    "two, one elsewhere": HOST_LINE + b"\r\nHost: evil.test",
    "a list": HOST_LINE + b", evil.test",
    "a space": HOST_LINE + b" evil.test",
    "a path": HOST_LINE + b"/x",
    "a name before": HOST_LINE.replace(b"host: ", b"host: x@"),
    "NUL": HOST_LINE + b"\x00",
    "a space before the colon": HOST_LINE.replace(b"host:", b"host :"),
    "a fold": HOST_LINE + b"\r\n x",
}.items():
    FRAMINGS[f"host: {name}"] = with_line(HOST_LINE, line)

# What other readers make of an unexpected body, of upgrades, and of nominated headers.
for name, framing in {
    "GET with chunks": request(CHUNKED, head=GET, body=IN_CHUNK, passes=True),
    "GET with a length": request(b"Content-Length: %d" % len(INNER), head=GET, body=INNER, passes=True),
    "PUT with the request in a chunk": request(CHUNKED, body=IN_CHUNK),
    "PUT with the request as its body": request(b"Content-Length: %d" % len(INNER), body=INNER, passes=True),
    "equal lengths": request(*[b"Content-Length: %d" % len(INNER)] * 2, body=INNER, passes=True),
    "a length with zeros": request(b"Content-Length: 0000%d" % len(INNER), body=INNER, passes=True),
    "an underscore": request(b"Content-Length: 0", b"Transfer_Encoding: chunked", b"Connection: close", passes=True),
    "another header": request(b"Content-Length: 0", b"X-Transfer-Encoding: chunked", b"Connection: close", passes=True),
    "the length nominated": request(
        b"Content-Length: %d" % len(INNER), b"Connection: content-length", body=INNER, passes=True
    ),
    "the coding nominated": request(CHUNKED, b"Connection: transfer-encoding", body=END + INNER),
    "the host nominated": request(b"Content-Length: %d" % len(INNER), b"Connection: host", body=INNER),
    "an upgrade": request(
        b"Content-Length: %d" % len(INNER), b"Connection: Upgrade", b"Upgrade: h2c", body=INNER, passes=True
    ),
    "an upgrade to a socket": request(
        *(b"Content-Length: %d" % len(INNER), b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"),
        body=INNER,
        passes=True,
    ),
    "an expectation of something else": request(
        b"Content-Length: %d" % len(INNER), b"Expect: 200-maybe", body=INNER, passes=True
    ),
    "trailers announced": request(
        b"Content-Length: %d" % len(INNER),
        b"TE: trailers, chunked",
        b"Trailer: content-length",
        body=INNER,
        passes=True,
    ),
}.items():
    FRAMINGS[name] = framing


def judge(statuses: tuple[int, ...], targets: list[bytes], framing: Framing) -> None:
    """
    Fail unless the backend got only what it may get.
    """
    assert b"/test-bucket/smuggled" not in targets
    if framing.passes:
        assert statuses[:1] == (200,)
        assert len(targets) == 1
    else:
        assert targets == []
        assert 200 not in statuses


def test_there_are_enough() -> None:
    """
    At least 150 ambiguous framings.
    """
    assert sum(not framing.passes for framing in FRAMINGS.values()) >= 150


@pytest.mark.parametrize("name", FRAMINGS)
def test_cut_at_each_byte(name: str) -> None:
    """
    However the network splits it, the backend never gets a second request, and of most not even a first.
    """
    framing = FRAMINGS[name]
    proxy = MemoryProxy()
    size = len(framing.wire)
    # The middle of the longest ones is uniform.
    cuts = [*range(min(size, 1200)), *range(max(1200, size - 1200), size)]
    for cut in cuts:
        verdict = proxy.send(framing.wire, (cut,))
        judge(verdict.statuses, [stored.head.raw_target for stored in verdict.stored], framing)


@pytest_twisted.ensureDeferred
async def test_through_sockets() -> None:
    """
    The same, whole, through real sockets: the backend counts what it reads, byte by byte.
    """
    harness = Harness()
    for name, framing in FRAMINGS.items():
        before = len(harness.backend.requests)
        client = await harness.connect()
        client.send(framing.wire)
        response = await client.response("GET")
        if framing.passes:
            assert response is not None, name
            client.transport.abortConnection()
        await client.until(lambda client=client: client.lost)
        targets = [request.head.raw_target for request in harness.backend.requests[before:]]
        judge((response.status,) if response is not None else (), targets, framing)
    received = sum(connection.received_size for connection in harness.backend.connections)
    understood = sum(len(request.raw_head) + request.size for request in harness.backend.requests)
    partial = harness.backend.partial_count
    await harness.close()

    assert partial == 0
    assert received == understood
