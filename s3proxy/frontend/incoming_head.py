"""
The head of one request as it arrives from a client: found whole, or refused as soon as it cannot become one.

One search finds the end of a head. Until then only the first byte and the size are checked: s3proxy does not wait for
bytes that do not begin as a request, or that are too many. What a listed proxy says of its client is part of the head.
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
        own: The origin that the connection itself shows.
        trust: What s3proxy believes of the other end; None if that is not listed.

    Attributes:
        origin: The client of the last head.
    """

    __slots__ = ("_own", "_trust", "origin")

    def __init__(self, own: Origin, trust: Trust | None) -> None:
        self.origin = self._own = own
        self._trust = trust

    @property
    def believes_proxy(self) -> bool:
        """
        Whether a listed proxy at the other end says who the client is.
        """
        return self._trust is not None

    def read(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """
        Return the head at the beginning of the bytes, and the bytes after it; None if the head is not complete.

        Raises:
            S3Error: The bytes are not a request, and cannot become one.
        """
        # Old clients sent one empty line after a form, before the next request (RFC 9112, section 2.2).
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
    # A TLS hello on a port without TLS never has the end of a head.
    if len(data) > start and not data[start : start + 1].isalpha() and data != b"\r":
        raise BadRequest


def why_no_request(data: bytes) -> str:
    """
    Return in words for an operator why `HeadReader.read` has refused.
    """
    head = data.removeprefix(b"\r\n").partition(_HEAD_END)[0]
    # What a listed proxy says is read only after the head itself.
    try:
        return why_not_believed(parse_request_head(head[:MAX_HEAD_SIZE]))
    except S3Error:
        return why_unreadable(head)
