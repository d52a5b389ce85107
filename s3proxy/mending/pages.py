"""
Remove from a page of a listing what the client did not request.

Walrus uses a prefix in an SQL ``LIKE``, where ``_`` is any character: a client that deletes everything it finds below
``log_1/`` deletes ``logs1/`` as well. So every name that does not begin with the prefix is removed. A page that is
empty then, although another follows, would be taken for the end or for an empty bucket: the next pages are requested.

With a delimiter, Walrus lists a key as a key if it ends with the delimiter and has no other one: ``dir/`` is not a
common prefix there. A client that walks a tree by its common prefixes would not find the folder, so s3proxy makes a
common prefix of it.

Common prefixes of Walrus begin with the requested prefix, even if the key does not: from the key ``logs1/b/k`` and
``prefix=log_1/`` it makes ``log_1/b/``. That folder does not exist, and after a page that ends with it, the next page
begins after it and misses others that exist. So with such a prefix no delimiter is sent, and s3proxy makes the common
prefixes.

Walrus 3.4 lists no versions in a bucket that never had versioning, although S3 lists each object as its version
``null``: a client that empties a bucket by its versions finds nothing to delete. So if the list of versions is empty,
the objects are requested.

A version is not deleted there if older ones would be hidden; see `s3proxy.mending.versions`. A client that deletes
everything on a page must find all versions of a key on it. So a page does not end between two versions of a key, if it
has another key before that.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from s3proxy.mending.listing import ENCODED_NAMES
from s3proxy.mending.results import check_root, quoted_tags
from s3proxy.resign.target import with_query
from s3proxy.s3.address import escape_name
from s3proxy.s3.elements import (
    Element,
    Reading,
    character_data,
    edit_elements,
    name_bytes,
    name_data,
    read_listing_elements,
)
from s3proxy.s3.errors import InternalError, NotImplementedByProxy
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import LIST_OBJECT_VERSIONS, LIST_OBJECTS, Operation
from s3proxy.s3.query import decode_item, query_items

MAX_PAGES = 16
"""
Maximum number of the backend's pages for one page of the client. They have 16,000 names, more than a client waits for.
"""

MAX_KEYS = 1000
"""
Maximum number of names on one page, as in S3.
"""

_ENTRIES = frozenset({"CommonPrefixes", "Contents", "DeleteMarker", "Version"})
WILDCARDS = re.compile(rb"[%_]")
"""
Characters that match others in an SQL ``LIKE``.
"""
_OF_KEYS = ("Marker", "NextMarker")
_OF_VERSIONS = ("KeyMarker", "NextKeyMarker")
_WANTED = (
    _ENTRIES
    | ENCODED_NAMES
    | frozenset(
        {"ETag", "EncodingType", "IsTruncated", "MaxKeys", "NextVersionIdMarker", "VersionId", "VersionIdMarker"}
    )
)


@dataclass(slots=True)
class _Entry:
    """
    One name on a page: an object, a version, or a common prefix.
    """

    element: Element
    name: bytes
    version_id: bytes = b""


class Page:
    """
    A page that a client requested.

    Args:
        head: The head for the backend, without this correction.
        wanted: The client's head.
        hides_unversioned: Whether the backend's list of versions is empty if the bucket never had any.
        joins_versions: Whether a page must not end between two versions of a key.

    Raises:
        NotImplementedByProxy: Common prefixes of versions are requested, below a prefix that has a wildcard.

    Attributes:
        head: The head for the backend.
        following: The next request to send before the client gets a response; None if the page is complete.
    """

    __slots__ = (
        "_asked_count",
        "_delimiter",
        "_first_marker",
        "_hides_unversioned",
        "_joins_versions",
        "_lists_objects",
        "_lists_versions",
        "_markers",
        "_max_keys",
        "_operation",
        "_prefix",
        "_rolls_up",
        "_seen_name",
        "following",
        "head",
    )

    def __init__(
        self,
        operation: Operation,
        head: RequestHead,
        wanted: RequestHead,
        *,
        hides_unversioned: bool = False,
        joins_versions: bool = False,
    ) -> None:
        items = dict(query_items(wanted.raw_query or b""))
        self._operation = operation
        self._lists_versions = operation is LIST_OBJECT_VERSIONS
        self._hides_unversioned = self._lists_versions and hides_unversioned
        self._joins_versions = self._lists_versions and joins_versions
        # Whether objects are requested in place of versions.
        self._lists_objects = False
        self.head = head
        self._prefix = items.get(b"prefix", b"")
        self._delimiter = items.get(b"delimiter", b"")
        max_keys = items.get(b"max-keys", b"")
        self._max_keys = min(int(max_keys), MAX_KEYS) if max_keys else MAX_KEYS
        asked = dict(query_items(head.raw_query or b""))
        marker = (asked.get(self._marker_name, b""), asked.get(b"version-id-marker", b""))
        self._markers = {marker}
        self._first_marker = marker[0]
        # If the marker also names a version, other versions of its key may follow.
        self._seen_name = b"" if marker[1] else marker[0]
        self._asked_count = 1
        self._rolls_up = bool(self._delimiter) and WILDCARDS.search(self._prefix) is not None
        if self._rolls_up:
            if self._lists_versions:
                raise NotImplementedByProxy
            self.head = self._ask_for_keys()
        self.following: RequestHead | None = None

    @property
    def _marker_name(self) -> bytes:
        return b"key-marker" if self._lists_versions and not self._lists_objects else b"marker"

    def edit(self, document: bytes) -> bytes:
        """
        Return the page without the names that do not begin with the prefix; see `following`.

        Raises:
            DisbelievedError: The document is not a listing.
            InternalError: The next page would be one that was requested before.
        """
        self.following = None
        reading = read_listing_elements(document, _WANTED)
        if reading.root_name == "ListVersionsResult":
            # A backend that responds with versions even to a request for objects has no objects to list.
            self._lists_objects = False
        check_root(LIST_OBJECTS if self._lists_objects else self._operation, reading)
        if self._lists_objects:
            reading = read_listing_elements(reading.written(_as_versions(reading)), _WANTED)
        is_encoded = reading.root_text("EncodingType") == "url"
        entries = _entries(reading, is_encoded=is_encoded)
        if self._hides_unversioned and self._max_keys and not entries:
            self._hides_unversioned = False
            self._lists_objects = True
            self.following = self._ask_for_objects()
            return document
        kept = [entry for entry in entries if entry.name.startswith(self._prefix)]
        if self._seen_name:
            # After a common prefix as the marker, the client has seen that prefix. After a key below it, it has not; S3
            # does the same. Walrus leaves out the common prefix that is the marker, but not a key with that prefix that
            # it lists as a key.
            kept = [entry for entry in kept if self._listed_name(entry.name) != self._seen_name]
        last = None if self._lists_versions else self._last_name(kept)
        is_cut = last is not None
        if last is not None:
            # Pages after the first are requested with the maximum number of names.
            kept = sorted(kept, key=lambda entry: entry.name)
            kept = [entry for entry in kept if self._listed_name(entry.name) <= last]
        is_truncated = (is_cut or reading.root_text("IsTruncated") == "true") and self._max_keys > 0
        marker = (last, b"") if last is not None else self._next_marker(reading, entries, is_encoded=is_encoded)
        if is_truncated:
            # Otherwise the client would request the same pages for ever.
            if marker in self._markers or not marker[0]:
                raise InternalError
            self._markers.add(marker)
        if is_truncated and not kept and self._asked_count < MAX_PAGES:
            self._asked_count += 1
            self.following = self._ask_for(marker)
            return document
        if is_truncated and self._joins_versions and not self._delimiter:
            others = [entry for entry in kept if entry.name != marker[0]]
            if others:
                kept, marker = others, (others[-1].name, b"")
        folder = self._common_prefix(marker[0])
        if folder and any(self._common_prefix(entry.name) == folder for entry in kept):
            # The client got the common prefix, but neither the key nor its version.
            marker = (folder, b"")
        return self._written(reading, entries, kept, marker, is_truncated=is_truncated, is_encoded=is_encoded)

    def _listed_name(self, name: bytes) -> bytes:
        """
        Return the name under which the client sees a key: its own, or a common prefix.
        """
        return self._common_prefix(name) or name

    def _common_prefix(self, name: bytes) -> bytes:
        """
        Return the beginning of a key, which starts with the prefix, up to the next delimiter; empty if there is none.
        """
        if not self._delimiter:
            return b""
        cut = name.find(self._delimiter, len(self._prefix))
        return b"" if cut < 0 else name[: cut + len(self._delimiter)]

    def _last_name(self, kept: list[_Entry]) -> bytes | None:
        """
        Return the last name that fits on the page, if there are more names; otherwise None.
        """
        names = {self._listed_name(entry.name) for entry in kept}
        if len(names) <= self._max_keys:
            return None
        return sorted(names)[self._max_keys - 1] if self._max_keys else b""

    def _next_marker(self, reading: Reading, entries: Iterable[_Entry], *, is_encoded: bool) -> tuple[bytes, bytes]:
        name = _OF_VERSIONS[1] if self._lists_versions else _OF_KEYS[1]
        # White space at the ends belongs to the key.
        told = next(iter(reading.texts(name, reading.root_name)), "")
        if told:
            version = name_bytes(reading.root_text("NextVersionIdMarker"))
            return _decoded(name_bytes(told), is_encoded=is_encoded), version
        # The oldest version of a key comes last, whatever its id.
        ordered = sorted(entries, key=lambda entry: entry.name)
        if not ordered:
            return b"", b""
        return ordered[-1].name, ordered[-1].version_id if self._lists_versions else b""

    def _ask_for_keys(self) -> RequestHead:
        items = self._items_without({b"delimiter", b"max-keys"})
        items.append(b"max-keys=%d" % (MAX_KEYS if self._max_keys else 0))
        return with_query(self.head, b"&".join(items))

    def _ask_for(self, marker: tuple[bytes, bytes]) -> RequestHead:
        replaced = {self._marker_name: marker[0], b"version-id-marker": marker[1]}
        if not self._lists_versions or self._lists_objects:
            del replaced[b"version-id-marker"]
            replaced[b"max-keys"] = b"%d" % MAX_KEYS
        items = self._items_without(replaced)
        items += [b"%s=%s" % (name, escape_name(value, "")) for name, value in replaced.items()]
        return with_query(self.head, b"&".join(items))

    def _ask_for_objects(self) -> RequestHead:
        items = self._items_without({b"versions", b"key-marker", b"version-id-marker"})
        if self._first_marker:
            items.append(b"marker=" + escape_name(self._first_marker, ""))
        return with_query(self.head, b"&".join(items) if items else None)

    def _items_without(self, names: Container[bytes]) -> list[bytes]:
        """
        Return the query parameters for the backend, in their raw form, without some names.
        """
        items = (self.head.raw_query or b"").split(b"&")
        return [item for item in items if item and decode_item(item.partition(b"=")[0]) not in names]

    def _written(
        self,
        reading: Reading,
        entries: Iterable[_Entry],
        kept: list[_Entry],
        marker: tuple[bytes, bytes],
        *,
        is_truncated: bool,
        is_encoded: bool,
    ) -> bytes:
        root = reading.root
        assert root is not None
        kept, prefixes = self._roll_up(kept)
        left = {id(entry.element) for entry in kept}
        removed = [entry.element for entry in entries if id(entry.element) not in left]
        own = _own_elements(reading)
        marker_name, next_name = _OF_VERSIONS if self._lists_versions else _OF_KEYS
        told: list[tuple[str, bytes]] = []
        if removed or self._asked_count > 1 or self._rolls_up:
            removed += [own[name] for name in (next_name, "NextVersionIdMarker") if name in own]
            if is_truncated:
                told.append((next_name, _encoded(marker[0], is_encoded=is_encoded)))
                if marker[1]:
                    told.append(("NextVersionIdMarker", marker[1]))
        if self._rolls_up and "Delimiter" not in own:
            told.append(("Delimiter", _encoded(self._delimiter, is_encoded=is_encoded)))
        contents = quoted_tags(reading)
        for name, text in (
            ("IsTruncated", b"true" if is_truncated else b"false"),
            ("Delimiter", _encoded(self._delimiter, is_encoded=is_encoded)),
            ("MaxKeys", b"%d" % self._max_keys),
            ("Prefix", _encoded(self._prefix, is_encoded=is_encoded)),
            (marker_name, _encoded(self._first_marker, is_encoded=is_encoded)),
        ):
            element = own.get(name)
            if element is not None and element.name_bytes != text:
                contents.append((element, character_data(text)))
        added = _write(root, told)
        for prefix in prefixes:
            text = _encoded(prefix, is_encoded=is_encoded)
            added += b"<%s>%s</%s>" % (_common_tag(root), _write(root, [("Prefix", text)]), _common_tag(root))
        # At the end of the root, not of the document: comments may follow the root.
        if added and not reading.document.startswith(b"</", root.end):
            raise InternalError
        return reading.written(edit_elements(reading.document, contents, removed, (added, root.end)))

    def _roll_up(self, kept: list[_Entry]) -> tuple[list[_Entry], list[bytes]]:
        """
        Take out the keys that have the delimiter after the prefix, and return the common prefixes to write instead.

        Existing common prefixes are written again with the new ones, because S3 lists them in order.
        """
        if not self._delimiter:
            return kept, []
        left: list[_Entry] = []
        old: list[_Entry] = []
        found: set[bytes] = set()
        for entry in kept:
            common = self._common_prefix(entry.name)
            if entry.element.name == "CommonPrefixes":
                old.append(entry)
            elif not common or entry.element.name == "Prefix":
                left.append(entry)
            else:
                found.add(common)
        if not found:
            return kept, []
        found -= {entry.name for entry in left if entry.element.name == "Prefix"}
        return left, sorted(found | {entry.name for entry in old})


_RENAMED = {
    b"ListBucketResult": b"ListVersionsResult",
    b"Contents": b"Version",
    b"Marker": b"KeyMarker",
    b"NextMarker": b"NextKeyMarker",
}
_NULL_VERSION = b"<%bVersionId>null</%bVersionId><%bIsLatest>true</%bIsLatest>"


def _as_versions(reading: Reading) -> bytes:
    """
    Return a list of versions, made from a list of objects: each object is the only version of its key.

    Raises:
        InternalError: The document has a CDATA section, which may contain what looks like a tag.
    """
    root = reading.root
    if root is None or b"<![CDATA[" in reading.document:
        raise InternalError
    prefix = root.prefix.encode()
    told = _NULL_VERSION % ((prefix,) * 4)

    def renamed(found: re.Match[bytes]) -> bytes:
        tag = found[1] + prefix + _RENAMED[found[2]]
        return told + tag if found[1] == b"</" and found[2] == b"Contents" else tag

    return re.sub(rb"(</?)%b(%b)(?=[\s/>])" % (re.escape(prefix), b"|".join(_RENAMED)), renamed, reading.document)


def _entries(reading: Reading, *, is_encoded: bool) -> list[_Entry]:
    """
    Return the names on a page, each with its element.
    """
    found: list[_Entry] = []
    name, version_id, prefixes = b"", b"", []
    for element in reading.elements:
        if element.name == "Key" and element.parent in _ENTRIES:
            name = _decoded(element.name_bytes, is_encoded=is_encoded)
        elif element.name == "VersionId" and element.parent in _ENTRIES:
            version_id = element.name_bytes
        elif element.name == "Prefix" and element.parent == "CommonPrefixes":
            prefixes.append(_Entry(element, _decoded(element.name_bytes, is_encoded=is_encoded)))
        elif element.name == "CommonPrefixes":
            if len(prefixes) == 1:
                prefixes[0].element = element
            found += prefixes
            prefixes = []
        elif element.name in _ENTRIES:
            found.append(_Entry(element, name, version_id))
            name, version_id = b"", b""
    return found


def _decoded(text: bytes, *, is_encoded: bool) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" ")) if is_encoded else text


def _encoded(name: bytes, *, is_encoded: bool) -> bytes:
    return escape_name(name) if is_encoded else name


def _own_elements(reading: Reading) -> dict[str, Element]:
    return {element.name: element for element in reading.elements if element.parent == reading.root_name}


def _common_tag(root: Element) -> bytes:
    return (root.prefix + "CommonPrefixes").encode()


def _write(root: Element, elements: Iterable[tuple[str, bytes]]) -> bytes:
    names = [((root.prefix + name).encode(), name_data(text)) for name, text in elements]
    return b"".join(b"<%s>%s</%s>" % (name, text, name) for name, text in names)
