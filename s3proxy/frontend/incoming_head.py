"""
The head of one request as it comes from a client: found whole, or refused as soon as it cannot become one.

One search finds the end of a head. Before that only the first byte and the size are looked at: what begins as no
request, or has grown too long, is not waited for. A listed proxy's word about its client is part of the head.
"""

from __future__ import annotations

from s3proxy.frontend.forwarded import Origin, believed_origin, why_not_believed
from s3proxy.frontend.peers import Trust
from s3proxy.s3.errors import BadRequest, RequestHeaderSectionTooLarge, S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.limits import MAX_HEAD_SIZE
from s3proxy.s3.unreadable import why_unreadable

_HEAD_END = b"\r\n\r\n"


class HeadReader:
    """
    Reads the heads of one connection.

    Args:
        own: What the connection itself tells of its client.
        trust: What the other end is believed of its clients; None if it is not listed.

    Attributes:
        origin: Whom the last head comes from.
    """

    __slots__ = ("_own", "_trust", "origin")

    def __init__(self, own: Origin, trust: Trust | None) -> None:
        self.origin = self._own = own
        self._trust = trust

    def read(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """
        Return the head with which the bytes begin, and what follows it; None if it is not complete.

        Raises:
            S3Error: The bytes are no request, and will not become one.
        """
        # One empty line before a request is what old clients sent after a form (RFC 9112, section 2.2).
        start = 2 if data[:2] == b"\r\n" else 0
        end = data.find(_HEAD_END, start)
        if end < 0 or end - start > MAX_HEAD_SIZE:
            _check_beginning(data, start)
            return None
        head = parse_request_head(data[start:end])
        if self._trust is not None:
            self.origin = believed_origin(head, self._trust, self._own)
        return head, data[end + 4 :]


def _check_beginning(data: bytes, start: int) -> None:
    if len(data) - start > MAX_HEAD_SIZE:
        raise RequestHeaderSectionTooLarge(MAX_HEAD_SIZE)
    # A TLS hello on a plain port never has an end of a head.
    if len(data) > start and not data[start : start + 1].isalpha() and data != b"\r":
        raise BadRequest


def why_no_request(data: bytes) -> str:
    """
    Say in words for an operator why `HeadReader.read` has refused.
    """
    head = data.removeprefix(b"\r\n").partition(_HEAD_END)[0]
    # What a listed proxy says is looked at once the head itself is read.
    try:
        return why_not_believed(parse_request_head(head[:MAX_HEAD_SIZE]))
    except S3Error:
        return why_unreadable(head)
