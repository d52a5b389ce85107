"""
Headers that a request has as query parameters.

A presigned URL may have ``x-amz-*`` headers as query parameters. s3proxy treats them as headers, and sends them as
headers: a backend would ignore them in the query of a request with an Authorization header, or misread them.

Source:
    "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)"; for Signature V2 "Signing and
    Authenticating REST Requests".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from s3proxy.s3.errors import InvalidArgument
from s3proxy.s3.head import HeaderList, RequestHead, index_headers
from s3proxy.s3.header import is_field_value, is_unambiguous_name
from s3proxy.s3.query import decode_item

_PREFIX = b"x-amz-"
_CHECKSUMS = b"x-amz-checksum-"
_MODE = b"x-amz-checksum-mode"
_NOT_BELIEVED = frozenset(
    {
        b"x-amz-content-sha256",
        b"x-amz-decoded-content-length",
        b"x-amz-sdk-checksum-algorithm",
        b"x-amz-trailer",
        b"x-amz-user-agent",
    }
)


def is_header_parameter(name: bytes) -> bool:
    """
    Return True if a decoded query name stands for a header.
    """
    return name[:6].lower() == _PREFIX


def is_believed(name: bytes) -> bool:
    """
    Return True if a parameter that stands for a header is treated and sent as one. A parameter that describes the body
    is not, because the signer of a URL does not have the body. The AWS SDK for JavaScript signs the checksum of an
    empty body into the URL of an upload.

    Args:
        name: In lower case.
    """
    return name not in _NOT_BELIEVED and (name == _MODE or not name.startswith(_CHECKSUMS))


def query_headers(items: Iterable[tuple[bytes, bytes]]) -> HeaderList:
    """
    Return the headers that a query has as parameters, with names in lower case.

    Args:
        items: Decoded names and values of the query.

    Raises:
        InvalidArgument: A name or a value is not valid in a header. A decoded name may contain any byte: CR LF in it
            could begin another request at the backend.
    """
    headers: HeaderList = []
    for name, value in items:
        if not is_header_parameter(name):
            continue
        if not is_unambiguous_name(name):
            raise InvalidArgument("The name of a query parameter is not a valid header name")
        if not is_field_value(value):
            raise InvalidArgument("The value of a header cannot contain control characters")
        headers.append((name.lower(), value.strip(b" \t")))
    return headers


def with_headers(head: RequestHead, headers: HeaderList) -> RequestHead:
    """
    Return a head with these headers instead of those with the same names.
    """
    names = {name for name, _ in headers}
    kept = [header for header in head.headers if header[0].lower() not in names]
    return replace(head, headers=kept + headers, fields=index_headers(kept + headers))


def without_parameters(head: RequestHead, is_dropped: Callable[[bytes], bool]) -> RequestHead:
    """
    Return a head without some query parameters; each is removed with one ``&``.

    Args:
        is_dropped: Called with each decoded name; returns True to remove the parameter.
    """
    if not head.raw_query:
        return head
    items = head.raw_query.split(b"&")
    kept = [item for item in items if not is_dropped(decode_item(item.partition(b"=")[0]))]
    if len(kept) == len(items):
        return head
    raw_query = b"&".join(kept)
    return replace(head, raw_target=head.raw_path + b"?" + raw_query if kept else head.raw_path)
