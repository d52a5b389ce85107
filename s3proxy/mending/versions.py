"""
The versions of one key, at a backend that may mark none of them, or several, as the latest.

Walrus 3.4 marks one version as the latest. CopyObject does not remove the mark from the version that had it, so two
have it: GET may return either. DELETE of the version with the mark gives it to no other, so none has it: GET finds
nothing. An existing version cannot get the mark. So s3proxy requests the versions of the key before such a request, and
refuses it if it would leave two latest versions, or would hide an older object.

Source:
    eucalyptus/eucalyptus 3.4.2, ``WalrusManager``: ``copyObject``, ``deleteVersion`` and ``listVersions``.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

from s3proxy.mending.pages import MAX_PAGES, WILDCARDS
from s3proxy.mending.results import check_root
from s3proxy.s3.address import escape_name
from s3proxy.s3.elements import name_bytes, read_listing_elements
from s3proxy.s3.errors import AccessDenied, InternalError, NotImplementedByProxy
from s3proxy.s3.head import ResponseHead
from s3proxy.s3.operation import LIST_OBJECT_VERSIONS

PAGE_SIZE = 100
"""
Versions on one page: a key seldom has more.
"""

TWO_LATEST = (
    "The key has a version, and this storage system would keep two latest ones after a copy to it. "
    "Copy to another key, or upload the object."
)
HIDDEN = (
    "This storage system would make no other version the latest, and the older ones of this key would be hidden. "
    "Delete those first, or all of them in one DeleteObjects."
)
TOO_MANY = "The storage system has too many versions of keys like this one to tell what the request would do to them."

_WANTED = frozenset(
    {"DeleteMarker", "IsLatest", "IsTruncated", "Key", "NextKeyMarker", "NextVersionIdMarker", "Version", "VersionId"}
)


@dataclass(frozen=True, slots=True)
class _Version:
    """
    One version, or a delete marker.
    """

    key: bytes
    version_id: bytes
    is_latest: bool
    is_marker: bool


class KeyVersions:
    """
    The versions of a key as a backend lists them, page by page.

    Attributes:
        is_complete: Whether all of the key's versions are known.
    """

    __slots__ = ("_found", "_key", "_marker", "_page_count", "is_complete")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._found: list[_Version] = []
        self._marker = (b"", b"")
        self._page_count = 0
        self.is_complete = False

    @property
    def has_more(self) -> bool:
        """
        Whether another page must be requested.
        """
        return not self.is_complete and self._page_count < MAX_PAGES

    @property
    def raw_query(self) -> bytes:
        """
        The query of the request for the next page.
        """
        # Wildcards stay: they only match too much. A backslash would match too little.
        prefix = self._key.replace(b"\\", b"\\\\")
        items = [b"versions", b"prefix=" + escape_name(prefix, ""), b"max-keys=%d" % PAGE_SIZE]
        if self._page_count:
            key, version_id = self._marker
            items.append(b"key-marker=" + escape_name(key, ""))
            if version_id:
                items.append(b"version-id-marker=" + escape_name(version_id, ""))
        return b"&".join(items)

    def read(self, response: ResponseHead, document: bytes) -> None:
        """
        Read a page.

        Raises:
            AccessDenied: The backend refuses access to the list.
            InternalError: The response does not show the versions of the key.
        """
        if response.status == 404 and not self._page_count:
            # If the bucket does not exist, the client learns that from the response to its own request.
            self.is_complete = True
            return
        if response.status == 403:
            raise AccessDenied
        if response.status != 200:
            raise InternalError
        reading = read_listing_elements(document, _WANTED)
        check_root(LIST_OBJECT_VERSIONS, reading)
        listed: list[_Version] = []
        texts: dict[str, str] = {}
        for element in reading.elements:
            if element.name in {"DeleteMarker", "Version"}:
                key, version_id = name_bytes(texts.get("Key", "")), name_bytes(texts.get("VersionId", ""))
                is_latest = texts.get("IsLatest", "").strip() == "true"
                listed.append(_Version(key, version_id, is_latest, element.name == "DeleteMarker"))
                texts = {}
            elif element.parent in {"DeleteMarker", "Version"}:
                texts[element.name] = element.text
        self._found += [version for version in listed if version.key == self._key]
        self._page_count += 1
        is_past = bool(listed) and listed[-1].key != self._key and (bool(self._found) or self._is_first)
        self.is_complete = is_past or reading.root_text("IsTruncated") != "true"
        if self.is_complete:
            return
        told = next(iter(reading.texts("NextKeyMarker", reading.root_name)), "")
        marker = name_bytes(told), name_bytes(reading.root_text("NextVersionIdMarker"))
        if not told or marker == self._marker:
            raise InternalError
        self._marker = marker

    @property
    def _is_first(self) -> bool:
        """
        Whether the key comes before all others that its page may have, because they begin with it.
        """
        return WILDCARDS.search(self._key) is None

    def is_latest(self, version_id: bytes) -> bool:
        """
        Return True if a version is known to be the latest.
        """
        return any(version.is_latest and version.version_id == version_id for version in self._found)

    def check_copy(self) -> bool:
        """
        Check a copy to the key; return True if enough is known to decide.

        Raises:
            NotImplementedByProxy: Two versions would be the latest.
        """
        if any(version.is_latest for version in self._found):
            raise NotImplementedByProxy(TWO_LATEST)
        return self._is_enough()

    def check_deletion(self, version_id: bytes, deleted: Container[bytes]) -> bool:
        """
        Check the deletion of one version; return True if enough is known to decide.

        Args:
            deleted: The ids of all versions of the key that the request deletes.

        Raises:
            NotImplementedByProxy: No version would be the latest, and the newest that is left is an object.
        """
        left = [version for version in self._found if version.version_id not in deleted]
        if any(version.is_latest for version in left):
            return True
        own = next((version for version in self._found if version.version_id == version_id), None)
        if own is not None and not own.is_latest:
            return True
        if own is not None and left:
            if not left[0].is_marker:
                raise NotImplementedByProxy(HIDDEN)
            # A delete marker hides the key, and so does the storage system.
            return True
        return self._is_enough()

    def _is_enough(self) -> bool:
        if not (self.is_complete or self.has_more):
            raise NotImplementedByProxy(TOO_MANY)
        return self.is_complete
