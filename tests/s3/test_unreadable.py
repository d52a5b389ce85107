"""
The reason why a head was refused, for the operator.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.limits import MAX_HEADER_COUNT
from s3proxy.s3.unreadable import why_unreadable

LINE = b"GET /secret HTTP/1.1\r\nHost: secret"


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (LINE + b"\r\nHost: other", "it has 2 Host headers"),
        (b"GET / HTTP/1.1\r\nA: secret", "it has 0 Host headers"),
        (LINE + b"/secret", "its Host is not a name or an address, with or without a port"),
        (
            LINE + b"\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
            "it has both Content-Length and Transfer-Encoding",
        ),
        (LINE + b"\r\nTransfer-Encoding: gzip, chunked", "its Transfer-Encoding is not chunked alone"),
        (LINE + b"\r\nContent-Length: 5\r\nContent-Length: 6", "it has 2 Content-Length headers that differ"),
        (LINE + b"\r\nContent-Length: secret", "its Content-Length is not a number of bytes"),
        (
            LINE + b"\r\nA: 1\r\n secret",
            "header 3 is not NAME: VALUE on one line, without control characters",
        ),
        (LINE + b"\r\n: secret", "header 2 is not NAME: VALUE on one line, without control characters"),
        (
            LINE + b"\r\na: 1" * MAX_HEADER_COUNT,
            f"it has {MAX_HEADER_COUNT + 1} headers, and at most {MAX_HEADER_COUNT} are read",
        ),
        (b"\x16\x03\x01\x02secret", "a TLS handshake, on a port that has no TLS"),
        (b"\x00secret", "it does not begin with a method"),
        (b"GET /a secret HTTP/1.1", "its first line is not METHOD TARGET VERSION, with one space between them"),
        (b"GET / HTTP/2.0\r\nHost: a", "its version is neither HTTP/1.1 nor HTTP/1.0"),
        (b"G(T / HTTP/1.1\r\nHost: a", "its method is not a token of at most 32 characters"),
        (b"GET /secret#a HTTP/1.1\r\nHost: a", 'its target has a control character or a "#" in it'),
        (b"GET http://secret/ HTTP/1.1\r\nHost: a", "its request line, its Host and its framing disagree"),
        (b"GET /" + b"a" * 40000 + b" HTTP/1.1\r\nHost: a", "its request line is longer than 32768 bytes"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70000, "its head is longer than 65536 bytes"),
    ],
)
def test_a_reason_is_in_words_and_quotes_nothing(head: bytes, why: str) -> None:
    """
    Each head is refused, and the reason has no byte of what was sent.
    """
    if len(head) < 65536 and head[:1].isalpha():
        with pytest.raises(S3Error):
            parse_request_head(head)

    assert why_unreadable(head) == why
    assert "secret" not in why_unreadable(head)
