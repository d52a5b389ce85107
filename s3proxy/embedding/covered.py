"""
The head of an authenticated request without what its signature does not cover, and without the client's credentials.
"""

from __future__ import annotations

from s3proxy.authentication.verdict import Authenticated
from s3proxy.resign.headers import UNSIGNED_PASSED, strike_aws_chunked
from s3proxy.resign.response import HOP_BY_HOP
from s3proxy.s3.errors import NotImplementedByProxy
from s3proxy.s3.head import HeaderList, RequestHead, index_headers
from s3proxy.s3.operation import READ_METHODS
from s3proxy.s3.query import decode_item
from s3proxy.sigv2.canonical import SUBRESOURCES, VALUED_SUBRESOURCES

_HIDDEN = HOP_BY_HOP | {b"authorization", b"x-amz-security-token"}


def covered_head(authenticated: Authenticated) -> RequestHead:
    """
    Return the head that an application's own resource sees. The framing stays as it was received.

    Raises:
        NotImplementedByProxy: Signature V2 does not cover a parameter of a request that may change something. A read
            loses such a parameter, as at S3.
    """
    head = authenticated.head
    target = head.raw_target
    is_v2 = authenticated.covered_names is not None
    if is_v2 and head.raw_query:
        target = _covered_target(head, head.raw_query)
    headers: HeaderList = []
    for name, value in head.headers:
        lower = name.lower()
        if lower in _HIDDEN or (lower not in authenticated.signed_headers and lower not in UNSIGNED_PASSED):
            continue
        if lower == b"date" and is_v2:
            # Signature V2 covers it only if there is no other date.
            continue
        shown = strike_aws_chunked(value) if lower == b"content-encoding" else value
        if shown or not value:
            headers.append((name, shown))
    return RequestHead(
        head.method,
        target,
        head.version,
        headers,
        index_headers(headers),
        head.content_length,
        head.is_chunked,
        head.keeps_alive,
    )


def _covered_target(head: RequestHead, raw_query: bytes) -> bytes:
    covered, is_whole = [], True
    for item in raw_query.split(b"&"):
        raw_name, _, value = item.partition(b"=")
        name = decode_item(raw_name)
        if name in VALUED_SUBRESOURCES or (name in SUBRESOURCES and not value):
            covered.append(item)
        elif item:
            is_whole = False
            if name in SUBRESOURCES:
                # It is signed by its name only.
                covered.append(raw_name)
    if not is_whole and head.method not in READ_METHODS:
        raise NotImplementedByProxy
    return b"%s?%s" % (head.raw_path, b"&".join(covered)) if covered else head.raw_path
