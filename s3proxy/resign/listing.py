"""
ListObjectsV2 at a backend which knows only the first version: asked in its own words, and answered in the client's.

Such a backend ignores ``list-type``: its answer has no continuation token, and a client which asked for one takes the
first thousand keys for all of them.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from s3proxy.resign.elements import character_data, read_elements, remove_elements
from s3proxy.resign.target import with_query
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InternalError, InvalidArgument
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import decode_item, query_items

_V2_NAMES = frozenset({b"list-type", b"continuation-token", b"start-after", b"fetch-owner", b"marker"})
_WANTED = frozenset({"EncodingType", "IsTruncated", "Key", "Marker", "NextMarker", "Prefix"})
_MARKERS = frozenset({"Marker", "NextMarker"})


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

        Raises:
            InternalError: It cannot be read: as it is, its client would take it for all there is.
        """
        reading = read_elements(document, _WANTED)
        root = reading.root
        if not reading.is_readable or root is None or root.name != "ListBucketResult":
            raise InternalError
        keys = reading.texts("Key", "Contents")
        prefixes = reading.texts("Prefix", "CommonPrefixes")
        added = [("KeyCount", b"%d" % (len(keys) + len(prefixes)))]
        if self.token:
            added.append(("ContinuationToken", self.token))
        if self.start_after is not None:
            added.append(("StartAfter", self.start_after))
        if _first(reading.texts("IsTruncated", root.name)) == "true":
            named = reading.texts("NextMarker", root.name)
            markers = [name.encode() for name in named[:1] or (*keys, *prefixes)]
            if _first(reading.texts("EncodingType", root.name)) == "url":
                markers = [unquote_to_bytes(marker.replace(b"+", b" ")) for marker in markers]
            added.append(("NextContinuationToken", base64.urlsafe_b64encode(max(markers, default=b""))))
        names = [(f"{root.prefix}{name}".encode(), character_data(text)) for name, text in added]
        written = b"".join(b"<%s>%s</%s>" % (name, text, name) for name, text in names)
        document = reading.document
        end = root.end
        if not document.startswith(b"</", end):
            raise InternalError
        markers_of_v1 = [element for element in reading.elements if element.name in _MARKERS]
        return remove_elements(document[:end], markers_of_v1) + written + document[end:]


def _first(texts: list[str]) -> str:
    return texts[0].strip() if texts else ""


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
