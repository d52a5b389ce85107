"""
Made-up heads: many are well-formed, some are not, and some come again and again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import HeaderList
from tests.fuzz.grammar import TOKENS

NAMES = (
    *(b"Host", b"host", b"HOST", b"Content-Length", b"content-length", b"Transfer-Encoding", b"Connection"),
    *(b"x-amz-date", b"X-Amz-Date", b"x-amz-content-sha256", b"Authorization", b"x-amz-meta-a", b"x-amz-meta-a_b"),
    *(b"Content-Type", b"Content-MD5", b"Range", b"x%y", b"%s", b"a", b"If-Match", b"x-amz-acl", b"User-Agent"),
)
VALUES = (
    *(b"", b"s3.test", b"s3.test:8080", b"[::1]:80", b"5", b"05", b"chunked", b"close", b"keep-alive, X-A", b"a  b"),
    *(b"a\tb", b" a", b"\xff\xc3", b"100%", b"%s", b"x-amz-meta-a", b"UNSIGNED-PAYLOAD", b"text/plain; charset=utf-8"),
)
TARGETS = (
    b"/",
    b"/b/k",
    b"/b/k?a=1",
    b"/b/%20k",
    b"http://s3.test/b",
    b"HTTP://S3.TEST",
    b"*",
    b"/b#c",
    b"/b c",
    b"b",
)
METHODS = (b"GET", b"PUT", b"get", b"P-T", b"P(T", b"", b"A" * 33)
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"HTTP/1.1 ")
_STATUS_LINES = (
    b"HTTP/1.1 200 OK",
    b"HTTP/1.1 404",
    b"HTTP/1.0 304 Not Modified",
    b"HTTP/1.1 99 X",
    b"HTTP/1.1 200 O\tK",
)


def draw_headers(rng: random.Random) -> HeaderList:
    """
    Return headers, most of them well-formed; some are drawn from a few sets that come again and again.
    """
    if rng.random() < 0.5:
        rng = random.Random(rng.randrange(20))
    return [(rng.choice(NAMES), rng.choice(VALUES)) for _ in range(rng.randrange(1, 9))]


def spoil(rng: random.Random, data: bytes) -> bytes:
    """
    Return the bytes, in a third of all cases with something inserted, repeated or left out.
    """
    for _ in range(rng.choice((0, 0, 1))):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randrange(4))
        data = data[:at] + rng.choice((rng.choice(TOKENS), b"", data[at:end] * 2)) + data[end:]
    return data


def draw_heads(rng: random.Random) -> tuple[bytes, bytes]:
    """
    Return the head of a request and that of a response, without the empty line at the end.
    """
    lines = b"".join(
        [b"\r\n%s:%s" % (name, rng.choice((b"", b" ", b"\t ")) + value) for name, value in draw_headers(rng)]
    )
    request = b"%s %s %s" % (rng.choice(METHODS[:2]), rng.choice(TARGETS), rng.choice(_VERSIONS))
    if rng.random() < 0.2:
        request = b"%s %s %s" % (rng.choice(METHODS), rng.choice(TARGETS), rng.choice(_VERSIONS))
    if rng.random() < 0.7:
        lines = b"\r\nHost: s3.test" + lines
    return spoil(rng, request + lines), spoil(rng, rng.choice(_STATUS_LINES) + lines)


def outcome(step: Callable[..., Any], *arguments: Any) -> Any:
    """
    Return what a function returns, or the class of the S3 error that it raises.
    """
    try:
        return step(*arguments)
    except S3Error as error:
        return type(error)
