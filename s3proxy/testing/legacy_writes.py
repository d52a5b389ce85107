"""
Store an object: the body of a request, or the content of other objects.

PutObject and UploadPart store a body. CopyObject and CompleteMultipartUpload join objects that are in the store. All of
them write through `ObjectWriter`, which also chooses the headers that the object keeps.

In one version of Walrus, an object that was uploaded in parts keeps their content when it is overwritten. The new
object then has the description of the request and the content of the former object: `ObjectWriter` restores that
content after the write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

from s3proxy.testing.legacy_grants import canned_grants
from s3proxy.testing.legacy_messages import Call
from s3proxy.testing.legacy_objects import Folder, IncomingBody, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_versions import Versions

MAX_COLUMN_SIZE = 255
"""
The maximum number of characters in a column of the database of Walrus.
"""

_KEPT = (
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"expires",
)
_FEW_KEPT = (b"content-disposition", b"content-type")


class ObjectWriter:
    """
    Writes objects and parts.

    Attributes:
        stored_count: The number of objects and parts that were stored.
    """

    def __init__(
        self, objects: ObjectDirectory, versions: Versions, wall_clock: Callable[[], datetime], quirks: Quirks
    ) -> None:
        self._objects = objects
        self._versions = versions
        self._wall_clock = wall_clock
        self._quirks = quirks
        self.stored_count = 0

    def kept_headers(self, call: Call) -> dict[str, str]:
        """
        Return the headers of a request that come back with its object.
        """
        kept = _FEW_KEPT if self._quirks.keeps_few_headers else _KEPT
        headers = {}
        for name, value in call.fields.items():
            if name in kept or name.startswith(b"x-amz-meta-"):
                spelled = call.spelled(name) if self._quirks.keeps_meta_case else name
                headers[spelled.decode("latin-1")] = value.decode("latin-1")
        return headers

    def store(self, call: Call, folder: Folder, key: str, headers: dict[str, str]) -> StoredObject:
        """
        Store the body of a request, and return the object.
        """
        body = call.body if call.body is not None else self._objects.receive()
        grants = canned_grants(call.fields.get(b"x-amz-acl"))
        parts = self._former_parts(folder, key)
        stored = self._versions.put(
            folder, key, body, self._wall_clock().timestamp(), headers, grants=grants, is_joined=parts is not None
        )
        if parts is not None:
            folder.overwrite_content(stored, parts)
        self.stored_count += 1
        return stored

    def join(
        self,
        bucket: Folder,
        key: str,
        source: Folder,
        pieces: Iterable[StoredObject],
        headers: dict[str, str],
        etag: str | None = None,
        modified: float | None = None,
        grants: list[list[str]] | None = None,
        *,
        is_upload: bool = False,
    ) -> StoredObject:
        """
        Join the content of objects to one object, and return it.

        Args:
            source: The folder of the pieces.
            etag: The entity tag without quotation marks; None for the MD5 of the content.
            modified: Seconds since the epoch; None for now.
            is_upload: Whether the pieces are the parts of a multipart upload.
        """
        body = self._objects.receive()
        parts = None if is_upload else self._former_parts(bucket, key)
        try:
            for piece in pieces:
                body.append_file(source.content_path(piece))
            if self._quirks.most_copied and not is_upload:
                body.cut(self._quirks.most_copied)
            if modified is None:
                modified = self._wall_clock().timestamp()
            is_joined = is_upload or parts is not None
            store = self._versions.put if is_upload else self._versions.copy
            stored = store(bucket, key, body, modified, headers, etag=etag, grants=grants or [], is_joined=is_joined)
        finally:
            body.discard()
        if parts is not None:
            bucket.overwrite_content(stored, parts)
        self.stored_count += 1
        return stored

    def _former_parts(self, folder: Folder, key: str) -> IncomingBody | None:
        """
        Return the content that the object keeps when it is overwritten, or None.
        """
        former = folder.find(key)
        if not self._quirks.keeps_former_parts or former is None or not former.is_joined:
            return None
        parts = self._objects.receive()
        parts.append_file(folder.content_path(former))
        return parts


def is_too_long(call: Call) -> bool:
    """
    Return True if a value that describes the object is too long for a column of the database.
    """
    values = [value for name, value in call.fields.items() if name in _FEW_KEPT or name.startswith(b"x-amz-meta-")]
    return max(map(len, [call.bucket, call.key, *values])) > MAX_COLUMN_SIZE
