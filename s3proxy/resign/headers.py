"""
Selects the headers of a verified request that the backend gets, and says why the others are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from s3proxy.resign.response import HOP_BY_HOP, READABLE_CODINGS
from s3proxy.s3.copy_source import sent_copy_source
from s3proxy.s3.errors import InvalidArgument, InvalidRequest
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.head import HeaderList, RequestHead, connection_options
from s3proxy.s3.header import is_unambiguous_name
from s3proxy.s3.header_names import KNOWN_SETS, MAX_KNOWN_SETS, HeaderNames, is_known
from s3proxy.s3.known import Known, picker

_REPLACED = frozenset(
    {
        b"authorization",
        b"content-length",
        b"date",
        b"expect",
        b"host",
        b"x-amz-content-sha256",
        b"x-amz-date",
        b"x-amz-decoded-content-length",
        b"x-amz-region-set",
        b"x-amz-sdk-checksum-algorithm",
        b"x-amz-security-token",
        b"x-amz-trailer",
    }
)
"""
Headers with the client's credentials and framing. The backend gets our own instead.
"""

UNSIGNED_PASSED = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"accept-language",
        b"access-control-request-headers",
        b"access-control-request-method",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-md5",
        b"content-type",
        b"expires",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"origin",
        b"range",
        b"referer",
        b"user-agent",
    }
)
"""
Headers that pass even if the signature does not cover them: none of them selects an object, an owner or a permission.
"""

_TRACE = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto", b"x-real-ip"})
"""
Headers with which a proxy names its client. They are dropped, because any client can send them.
"""

_OF_RESPONSES = frozenset(
    {
        b"x-amz-copy-source-version-id",
        b"x-amz-delete-marker",
        b"x-amz-expiration",
        b"x-amz-id-2",
        b"x-amz-mp-parts-count",
        b"x-amz-replication-status",
        b"x-amz-request-id",
        b"x-amz-restore",
        b"x-amz-tagging-count",
        b"x-amz-version-id",
    }
)
"""
Headers that S3 has only in responses, and ignores in requests. For a storage system one may control a function of its
own: with x-amz-replication-status MinIO stores an object as that of another site, without its bucket's retention.
"""

_DROPPED = _TRACE | _OF_RESPONSES


class _Choice(NamedTuple):
    """
    What is decided from the names of headers alone.

    Attributes:
        pick: Picks the headers that pass out of all headers.
        dropped: The lower-case names of the headers that are dropped and not replaced.
        is_edited: Whether the value of one that passes is edited.
    """

    pick: Callable[[HeaderList], Sequence[tuple[bytes, bytes]]]
    dropped: tuple[bytes, ...]
    is_edited: bool


_KNOWN_CHOICES: Known[tuple[HeaderNames, frozenset[bytes], bool, bool, frozenset[bytes]], _Choice] = Known(
    MAX_KNOWN_SETS, about=KNOWN_SETS
)


def passed_headers(
    head: RequestHead,
    signed_headers: frozenset[bytes],
    *,
    passes_checksums: bool,
    copies: bool = False,
    dropped_headers: frozenset[bytes] = frozenset(),
) -> tuple[HeaderList, tuple[bytes, ...]]:
    """
    Return the headers of a request that the backend gets, and the lower-case names of those that are dropped and not
    replaced.

    Args:
        signed_headers: Lower-case names that the client's verified signature covers.
        passes_checksums: Whether the backend gets the checksums of the client.
        copies: Whether the operation has a source. If not, S3 ignores headers about a source, but Ceph 16.2 reads them
            in every request, and refuses a bad one.
        dropped_headers: Lower-case names that the backend must not get; see `Profile.dropped_headers`.

    Raises:
        InvalidRequest: The Connection header lists a signed header. To drop it would change what was verified, and if
            it passed, the next hop could drop it.
    """
    names = head.names
    if names is not None and b"connection" not in head.fields:
        key = (names, signed_headers, passes_checksums, copies, dropped_headers)
        choice = _KNOWN_CHOICES.get(key)
        if choice is None:
            choice = _choose(names.lower, _NONE, signed_headers, dropped_headers, passes_checksums, copies)
            # A list may name any number of headers that were not sent.
            if signed_headers.issubset(names.lower) and is_known(names):
                _KNOWN_CHOICES.keep(key, choice)
    else:
        nominated = connection_options(head.fields)
        if not nominated.isdisjoint(signed_headers - HOP_BY_HOP):
            raise InvalidRequest("A signed header must not be named in the Connection header")
        lower = [name.lower() for name, _ in head.headers]
        choice = _choose(lower, nominated, signed_headers, dropped_headers, passes_checksums, copies)
    passed: HeaderList = list(choice.pick(head.headers))
    if choice.is_edited:
        passed = _edited(passed)
    if names is None and len(head.fields) != len(head.headers):
        passed = _joined(passed)
    if copies:
        passed = [
            (name, sent_copy_source(value) if name.lower() == b"x-amz-copy-source" else value) for name, value in passed
        ]
    return passed, choice.dropped


def _choose(
    names: Sequence[bytes],
    nominated: frozenset[bytes],
    signed_headers: frozenset[bytes],
    dropped_headers: frozenset[bytes],
    passes_checksums: bool,
    copies: bool,
) -> _Choice:
    """
    Choose the headers that pass by their names.

    Args:
        names: The names in lower case, in order.
        nominated: The names that the Connection header lists.
    """
    places, dropped, is_edited = [], [], False
    for place, name in enumerate(names):
        if name in _REPLACED or name in HOP_BY_HOP:
            continue
        if (
            name in nominated
            or name in _DROPPED
            or name.startswith(b"x-forwarded-")
            or name in dropped_headers
            or (not copies and name.startswith(b"x-amz-copy-source"))
            or (name not in signed_headers and name not in UNSIGNED_PASSED)
            or (not passes_checksums and name.startswith(b"x-amz-checksum-") and name != _MODE)
            or (b"_" in name and not is_unambiguous_name(name))
        ):
            dropped.append(name)
        else:
            places.append(place)
            is_edited = is_edited or name in _EDITED
    return _Choice(picker(places), tuple(dropped), is_edited)


def _edited(passed: HeaderList) -> HeaderList:
    """
    Return headers without the codings that do not describe the object, or that s3proxy cannot decode.
    """
    edited: HeaderList = []
    for name, value in passed:
        lower = name.lower()
        if lower == b"content-encoding":
            # aws-chunked describes the transfer, not the object. SDKs send it with CreateMultipartUpload, too.
            kept = b"" if value == b"aws-chunked" else strike_aws_chunked(value)
            if kept:
                edited.append((name, kept))
        else:
            edited.append((name, readable_codings(value) if lower == b"accept-encoding" else value))
    return edited


def _joined(passed: HeaderList) -> HeaderList:
    """
    Return one line for each name, with its values joined as in a signature. A backend may read only one of two lines.
    """
    joined: HeaderList = []
    places: dict[bytes, int] = {}
    for name, value in passed:
        lower = name.lower()
        if lower in places and lower not in _LISTS:
            place = places[lower]
            joined[place] = (joined[place][0], b"%s,%s" % (joined[place][1], value))
        else:
            places.setdefault(lower, len(joined))
            joined.append((name, value))
    return joined


_NONE: frozenset[bytes] = frozenset()
_EDITED = frozenset({b"accept-encoding", b"content-encoding"})
_LISTS = frozenset({b"accept", b"accept-encoding", b"accept-language"})
_MODE = b"x-amz-checksum-mode"
_TAG_CONDITIONS = frozenset({b"if-match", b"if-none-match"})
_ENTITY_TAG = re.compile(rb'"([^"]+)"')


def bare_entity_tags(passed: HeaderList) -> HeaderList:
    """
    Return headers with the entity tag of a write's condition without quotation marks, for a backend that needs this.
    """
    return [
        (name, tag[1]) if name.lower() in _TAG_CONDITIONS and (tag := _ENTITY_TAG.fullmatch(value)) else (name, value)
        for name, value in passed
    ]


def check_hyphenated(passed: HeaderList) -> None:
    """
    Refuse metadata under two names that are one to a CGI-style backend: it would keep one of the values, by chance.

    Raises:
        InvalidArgument: Two names differ only in an underscore and a hyphen.
    """
    seen: dict[bytes, bytes] = {}
    for name, value in passed:
        lower = name.lower()
        other = seen.setdefault(lower.replace(b"_", b"-"), lower)
        if other != lower:
            raise InvalidArgument(f"The storage system reads this header as {other.decode()}", lower.decode(), value)


def asking_for(passed: HeaderList, header: bytes) -> HeaderList:
    """
    Return the headers of a preflight that requests one more header.
    """
    for place, (name, value) in enumerate(passed):
        if name.lower() == b"access-control-request-headers":
            asked = {each.strip(b" \t").lower() for each in value.split(b",")}
            added = value if header in asked else b"%s,%s" % (value, header)
            return [*passed[:place], (name, added), *passed[place + 1 :]]
    return [*passed, (b"Access-Control-Request-Headers", header)]


def readable_codings(accept_encoding: bytes) -> bytes:
    """
    Return an Accept-Encoding with only the codings that s3proxy can decode. If a proxy in front of the backend encoded
    an error in another one, such as brotli, s3proxy could not check it, and its document would not reach the client.
    """
    kept = [
        coding
        for coding in accept_encoding.split(b",")
        if coding.partition(b";")[0].strip(b" \t").lower() in READABLE_CODINGS
    ]
    return b",".join(kept).strip(b" \t") or b"identity"


def strike_aws_chunked(content_encoding: bytes) -> bytes:
    """
    Return a Content-Encoding without ``aws-chunked``. The other codings keep their order.
    """
    if b"chunked" not in content_encoding.lower():
        return content_encoding
    kept = [coding for coding in content_encoding.split(b",") if coding.strip(b" \t").lower() != b"aws-chunked"]
    return b",".join(kept).strip(b" \t")


def forwarded_headers(form: ForwardedHeaders, chain: Sequence[bytes], host: bytes, scheme: bytes) -> HeaderList:
    """
    Return the headers that name the client to the backend.

    Args:
        chain: Addresses: the client's, then those of the proxies between it and us; ``-`` for an unknown one.
        host: The Host header of the client.
        scheme: The scheme of the client's connection.
    """
    nodes = [b"unknown" if node == b"-" else node for node in chain]
    if form == ForwardedHeaders.X_FORWARDED:
        return [
            (b"X-Forwarded-For", b", ".join(nodes)),
            (b"X-Forwarded-Host", host),
            (b"X-Forwarded-Proto", scheme),
        ]
    if form == ForwardedHeaders.FORWARDED:
        elements = [b'for="[%s]"' % node if b":" in node else b"for=%s" % node for node in nodes]
        elements[0] += b';host="%s";proto=%s' % (host, scheme)
        return [(b"Forwarded", b", ".join(elements))]
    return []
