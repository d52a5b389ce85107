"""
Versions of objects: the latest is in the bucket itself; the former ones and delete markers are beside it, by their ids.
"""

from __future__ import annotations

import secrets
from typing import Any

from s3proxy.testing.legacy_objects import Folder, IncomingBody, ObjectDirectory, StoredObject

ENABLED = "Enabled"
NULL_VERSION = "null"


class Versions:
    """
    The objects of buckets that may have versions.
    """

    def __init__(self, objects: ObjectDirectory) -> None:
        self._objects = objects

    def status(self, bucket: Folder) -> str:
        """
        Return ``Enabled``, ``Suspended``, or an empty text if there never were versions.
        """
        return str(self._objects.settings(bucket).get("versioning", ""))

    def put(
        self, bucket: Folder, key: str, body: IncomingBody, modified: float, headers: dict[str, str], **more: Any
    ) -> StoredObject:
        """
        Put a body as the latest version.
        """
        if self.status(bucket):
            more |= self._make_room(bucket, key)
        return bucket.put(key, body, modified, headers, **more)

    def delete(self, bucket: Folder, key: str, modified: float) -> None:
        """
        Delete an object; in a bucket with versions, put a delete marker over it.
        """
        if not self.status(bucket) or bucket.find(key) is None:
            bucket.delete(key)
            return
        identity = self._make_room(bucket, key)
        bucket.delete(key)
        history = self._objects.history(bucket, key)
        history.create()
        history.put(
            key, self._objects.receive(), modified, {}, name=str(identity["version"]), is_marker=True, **identity
        )

    def find(self, bucket: Folder, key: str, version: str) -> tuple[Folder, StoredObject] | None:
        """
        Return a version and where it is, or None.
        """
        latest = bucket.find(key)
        if latest is not None and latest.version == version:
            return bucket, latest
        history = self._objects.history(bucket, key)
        former = history.find(version)
        return None if former is None else (history, former)

    def delete_version(self, bucket: Folder, key: str, version: str) -> None:
        """
        Delete one version; the newest which is left becomes the latest.
        """
        found = self.find(bucket, key, version)
        if found is None:
            return
        found[0].delete(key if found[0] is bucket else version)
        versions = self.all_of(bucket, key)
        if versions and bucket.find(key) is None and not versions[-1].is_marker:
            newest = versions[-1]
            self._objects.history(bucket, key).move(newest, newest.version, bucket, key)

    def all_of(self, bucket: Folder, key: str) -> list[StoredObject]:
        """
        Return all versions of a key, the oldest first.
        """
        latest = bucket.find(key)
        found = self._objects.history(bucket, key).objects() + ([latest] if latest is not None else [])
        return sorted(found, key=lambda stored: stored.number)

    def keys(self, bucket: Folder) -> list[str]:
        """
        Return the keys which have any version, sorted by their bytes.
        """
        found = {stored.key for stored in bucket.objects()}
        for history in self._objects.histories(bucket):
            found |= {stored.key for stored in history.objects()}
        return sorted(found, key=str.encode)

    def _make_room(self, bucket: Folder, key: str) -> dict[str, Any]:
        versions = self.all_of(bucket, key)
        is_enabled = self.status(bucket) == ENABLED
        history = self._objects.history(bucket, key)
        latest = bucket.find(key)
        if latest is not None and (is_enabled or latest.version != NULL_VERSION):
            bucket.move(latest, key, history, latest.version)
        if not is_enabled:
            history.delete(NULL_VERSION)
        number = versions[-1].number + 1 if versions else 1
        return {"version": secrets.token_hex(16) if is_enabled else NULL_VERSION, "number": number}
