"""
ListObjectsV2 at a backend which knows only the first version: asked in its own words, and answered in the client's.

Such a backend ignores ``list-type``: its answer has no continuation token, and a client which asked for one takes the
first thousand keys for all of them.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from s3proxy.resign.target import with_query
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InvalidArgument
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import decode_item, query_items

_V2_NAMES = frozenset({b"list-type", b"continuation-token", b"start-after", b"fetch-owner", b"marker"})
# Each is bounded by the next "<": whoever is behind the backend may have written its document.
_MARKERS = re.compile(rb"<(?:Next)?Marker(?:/>|>[^<]*</(?:Next)?Marker>)")
_NEXT_MARKER = re.compile(rb"<NextMarker>([^<]+)</NextMarker>")
_TRUNCATED = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>")
_URL_ENCODED = re.compile(rb"<EncodingType>\s*url\s*</EncodingType>")
_KEYS = re.compile(rb"<Key>([^<]*)</Key>")
_PREFIX_GROUPS = re.compile(rb"<CommonPrefixes>((?:[^<]*<Prefix>[^<]*</Prefix>)*)")
_PREFIXES = re.compile(rb"<Prefix>([^<]*)</Prefix>")
_END = b"</ListBucketResult>"
_ENTITY = re.compile(rb"&(?:#([0-9]{1,7})|#x([0-9A-Fa-f]{1,6})|(lt|gt|amp|quot|apos));")
_ENTITIES = {b"lt": b"<", b"gt": b">", b"amp": b"&", b"quot": b'"', b"apos": b"'"}


@dataclass(frozen=True, slots=True)
class Listing:
    """
    A listing of the second version.

    Attributes:
        head: What the backend gets to see: the first version.
        token: As the client sent it; empty where it sent none.
        start_after: Decoded; None where the client sent none.
    """

    head: RequestHead
    token: bytes
    start_after: bytes | None

    def edit(self, document: bytes) -> bytes:
        """
        Make the second version's answer of the first one's.
        """
        keys = _KEYS.findall(document)
        prefixes = [name for group in _PREFIX_GROUPS.findall(document) for name in _PREFIXES.findall(group)]
        added = b"<KeyCount>%d</KeyCount>" % (len(keys) + len(prefixes))
        if self.token:
            added += b"<ContinuationToken>%s</ContinuationToken>" % self.token
        if self.start_after is not None:
            added += b"<StartAfter>%s</StartAfter>" % _escape(self.start_after)
        if _TRUNCATED.search(document) is not None:
            named = _NEXT_MARKER.search(document)
            names = [named[1]] if named is not None else [*keys, *prefixes]
            markers = [unescape(name) for name in names]
            if _URL_ENCODED.search(document) is not None:
                markers = [unquote_to_bytes(marker.replace(b"+", b" ")) for marker in markers]
            added += b"<NextContinuationToken>%s</NextContinuationToken>" % base64.urlsafe_b64encode(
                max(markers, default=b"")
            )
        document = _MARKERS.sub(b"", document)
        return document.replace(_END, added + _END)


def read_listing(head: RequestHead, address: Address) -> Listing | None:
    """
    Return a listing of the second version, or None where a request asks for something else.

    Raises:
        InvalidArgument: The continuation token is not one of ours.
    """
    if head.method != b"GET" or address.key or not address.bucket or not head.raw_query:
        return None
    if (b"list-type", b"2") not in (items := query_items(head.raw_query)):
        return None
    found = dict(items)
    token, start_after = found.get(b"continuation-token", b""), found.get(b"start-after")
    marker = start_after or b""
    if token:
        try:
            marker = base64.b64decode(token, b"-_", validate=True)
        except binascii.Error:
            raise InvalidArgument("The continuation token provided is incorrect", "continuation-token", token) from None
    kept = [item for item in head.raw_query.split(b"&") if decode_item(item.partition(b"=")[0]) not in _V2_NAMES]
    if marker:
        kept.append(b"marker=" + quote_from_bytes(marker, safe="-_.~").encode())
    asked = with_query(head, b"&".join(kept) if kept else None)
    return Listing(asked, token, start_after)


def _escape(text: bytes) -> bytes:
    return text.replace(b"&", b"&amp;").replace(b"<", b"&lt;").replace(b">", b"&gt;")


def unescape(text: bytes) -> bytes:
    """
    Read the character data of a backend's document; an entity which XML itself does not know stays as it is.
    """

    def character(found: re.Match[bytes]) -> bytes:
        if found[3]:
            return _ENTITIES[found[3]]
        number = int(found[1]) if found[1] else int(found[2], 16)
        return chr(number).encode("utf-8", "replace") if number < 0x110000 else b""

    return _ENTITY.sub(character, text) if b"&" in text else text
