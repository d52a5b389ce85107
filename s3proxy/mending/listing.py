"""
Listings of a backend that has only ListObjects version 1: the request is translated for it, and the response for the
client.

Such a backend ignores ``list-type``: its response has no continuation token, and a client that needs one takes the
first thousand keys for all of them. It also ignores ``encoding-type``: the AWS SDK for Java v1 and minio for JavaScript
decode names that were never encoded, and read or delete another object. Some backends with version 2 ignore
``encoding-type``, too.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, replace
from urllib.parse import unquote_to_bytes

from s3proxy.resign.target import with_query
from s3proxy.s3.address import Address, escape_name
from s3proxy.s3.elements import (
    Element,
    Reading,
    character_data,
    name_bytes,
    read_listing_elements,
    remove_elements,
    replace_contents,
)
from s3proxy.s3.errors import InternalError, InvalidArgument
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import decode_item, query_items
from s3proxy.s3.query_headers import without_parameters

_V2_NAMES = frozenset({b"list-type", b"continuation-token", b"start-after", b"fetch-owner", b"marker"})
ENCODED_NAMES = frozenset(
    {"Delimiter", "Key", "KeyMarker", "Marker", "NextKeyMarker", "NextMarker", "Prefix", "StartAfter"}
)
"""
Elements of a listing that ``encoding-type=url`` encodes.
"""

_WANTED = ENCODED_NAMES | {"EncodingType", "IsTruncated"}
_MARKERS = frozenset({"Marker", "NextMarker"})
_ROOTS = frozenset({"ListBucketResult", "ListMultipartUploadsResult", "ListVersionsResult"})


@dataclass(frozen=True, slots=True)
class Listing:
    """
    A listing whose response must be edited, because the backend ignores what the client requested.

    Attributes:
        head: The head for the backend: a version 1 listing.
        token: The continuation token that the client sent; empty if it sent none.
        start_after: The client's start-after, decoded; None if it sent none.
        is_v2: Whether the client requests version 2.
        is_encoded: Whether the names in the response must be percent-encoded.
        marker: The decoded marker for version 1; empty for the beginning.
    """

    head: RequestHead
    token: bytes = b""
    start_after: bytes | None = None
    is_v2: bool = True
    is_encoded: bool = False
    marker: bytes = b""

    def edit(self, document: bytes) -> bytes:
        """
        Return the client's document for the backend's document.

        Raises:
            InternalError: The document cannot be read: unchanged, its client would take it for the complete listing, or
                decode its names. Or it continues at its own beginning, and its client would request it for ever.
        """
        reading = read_listing_elements(document, _WANTED)
        root = reading.root
        if not reading.is_readable or root is None or root.name not in _ROOTS:
            raise InternalError
        encodes = self.is_encoded and reading.root_text("EncodingType") != "url"
        if not (self.is_v2 or encodes):
            return document
        added = self._added(reading, root) if self.is_v2 else []
        if encodes:
            told = [(element, b"url") for element in reading.elements if element.name == "EncodingType"]
            names = [
                (element, escape_name(element.name_bytes))
                for element in reading.elements
                if element.name in ENCODED_NAMES
            ]
            names += told
            added = [(name, escape_name(text) if name in ENCODED_NAMES else text) for name, text in added]
            if not told:
                added.append(("EncodingType", b"url"))
            reading = read_listing_elements(reading.written(replace_contents(reading.document, names)), _WANTED)
            root = reading.root
            assert root is not None
        written = b"".join(
            b"<%s>%s</%s>" % (name, character_data(text), name)
            for name, text in ((f"{root.prefix}{name}".encode(), text) for name, text in added)
        )
        document, end = reading.document, root.end
        if not document.startswith(b"</", end):
            raise InternalError
        markers_of_v1 = [element for element in reading.elements if self.is_v2 and element.name in _MARKERS]
        return reading.written(remove_elements(document[:end], markers_of_v1) + written + document[end:])

    def _added(self, reading: Reading, root: Element) -> list[tuple[str, bytes]]:
        """
        Return the elements that version 2 has in addition.
        """
        if root.name != "ListBucketResult":
            raise InternalError
        keys = reading.texts("Key", "Contents")
        prefixes = reading.texts("Prefix", "CommonPrefixes")
        added = [("KeyCount", b"%d" % (len(keys) + len(prefixes)))]
        if self.token:
            added.append(("ContinuationToken", self.token))
        if self.start_after is not None:
            added.append(("StartAfter", self.start_after))
        if reading.root_text("IsTruncated") == "true":
            named = reading.texts("NextMarker", root.name)
            markers = [name_bytes(name) for name in named or (*keys, *prefixes)]
            if reading.root_text("EncodingType") == "url":
                markers = [unquote_to_bytes(marker.replace(b"+", b" ")) for marker in markers]
            following = max(markers, default=b"")
            if following and following == self.marker:
                raise InternalError
            added.append(("NextContinuationToken", base64.urlsafe_b64encode(following)))
        return added


def read_token(token: bytes) -> bytes:
    """
    Return the key in a continuation token.

    Raises:
        InvalidArgument: The token is not one of s3proxy.
    """
    try:
        return base64.b64decode(token, b"-_", validate=True)
    except binascii.Error:
        raise bad_token(token) from None


def bad_token(token: bytes) -> InvalidArgument:
    """
    Return the error for a continuation token that no listing has returned.
    """
    return InvalidArgument("The continuation token provided is incorrect", "continuation-token", token)


def read_listing(head: RequestHead, address: Address, *, may_be_v2: bool = True) -> Listing | None:
    """
    Return the listing for a request of version 2 or with encoded names; None for any other request.

    Args:
        may_be_v2: False for an operation in which ``list-type`` has no meaning.

    Raises:
        InvalidArgument: The continuation token is not one of s3proxy, or the encoding does not exist.
    """
    if head.method != b"GET" or address.key or not address.bucket or not head.raw_query:
        return None
    items = query_items(head.raw_query)
    found = dict(items)
    encoding = found.get(b"encoding-type", b"")
    if encoding not in {b"", b"url"}:
        raise InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
    if not may_be_v2 or (b"list-type", b"2") not in items:
        return Listing(head, is_v2=False, is_encoded=True) if encoding else None
    token, start_after = found.get(b"continuation-token", b""), found.get(b"start-after")
    marker = start_after or b""
    if token:
        marker = read_token(token)
    kept = [item for item in head.raw_query.split(b"&") if decode_item(item.partition(b"=")[0]) not in _V2_NAMES]
    if marker:
        kept.append(b"marker=" + escape_name(marker, ""))
    asked = with_query(head, b"&".join(kept) if kept else None)
    return Listing(asked, token, start_after, is_encoded=bool(encoding), marker=marker)


def read_unencoded_listing(head: RequestHead, address: Address) -> Listing | None:
    """
    Return the listing for a request with encoded names, at a backend that has both versions; None if the request has no
    encoding.

    Raises:
        InvalidArgument: The encoding does not exist.
    """
    listing = read_listing(head, address, may_be_v2=False)
    return listing and replace(listing, head=without_parameters(head, lambda name: name == b"encoding-type"))
