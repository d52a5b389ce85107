"""
Listings of a backend which knows only the first version: asked in its own words, and answered in the client's.

Such a backend ignores ``list-type``: its answer has no continuation token, and a client which asked for one takes the
first thousand keys for all of them. It ignores ``encoding-type``, too: the AWS SDK for Java v1 and minio for JavaScript
decode names that were never encoded, and read or delete another object. Some do so that know the second version.
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
    A listing that its backend does not answer as it was asked.

    Attributes:
        head: What the backend gets to see: the first version.
        token: As the client sent it; empty where it sent none.
        start_after: Decoded; None where the client sent none.
        is_v2: Whether the second version is asked for.
        is_encoded: Whether the names in the answer are to be percent-encoded.
        marker: Where the first version is to go on, decoded; empty for the beginning.
    """

    head: RequestHead
    token: bytes = b""
    start_after: bytes | None = None
    is_v2: bool = True
    is_encoded: bool = False
    marker: bytes = b""

    def edit(self, document: bytes) -> bytes:
        """
        Make the client's answer of the backend's.

        Raises:
            InternalError: It cannot be read: as it is, its client would take it for all there is, or decode its names.
                Or it goes on where it began, and its client would ask for it for ever.
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
        Return what the second version's answer has besides.
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
    Return the key that a continuation token stands for.

    Raises:
        InvalidArgument: It is none of ours.
    """
    try:
        return base64.b64decode(token, b"-_", validate=True)
    except binascii.Error:
        raise bad_token(token) from None


def bad_token(token: bytes) -> InvalidArgument:
    """
    Return the refusal of a continuation token that no list has told.
    """
    return InvalidArgument("The continuation token provided is incorrect", "continuation-token", token)


def read_listing(head: RequestHead, address: Address, *, may_be_v2: bool = True) -> Listing | None:
    """
    Return a listing of the second version or with encoded names, or None where a request asks for something else.

    Args:
        may_be_v2: False for an operation to which ``list-type`` means nothing.

    Raises:
        InvalidArgument: The continuation token is not one of ours, or there is no such encoding.
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
    Return a listing with encoded names of a backend that knows both versions, or None where no encoding is asked for.

    Raises:
        InvalidArgument: There is no such encoding.
    """
    listing = read_listing(head, address, may_be_v2=False)
    return listing and replace(listing, head=without_parameters(head, lambda name: name == b"encoding-type"))
