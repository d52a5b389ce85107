"""
The versions of objects. The latest version is in the bucket itself. Former versions and delete markers are in folders
below it, by their ids.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Any

from s3proxy.testing.legacy_messages import Fault, Refusal
from s3proxy.testing.legacy_objects import Folder, IncomingBody, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks

ENABLED = "Enabled"
NULL_VERSION = "null"


class Versions:
    """
    The objects of buckets that may have versions.
    """

    def __init__(self, objects: ObjectDirectory, quirks: Quirks) -> None:
        self._objects = objects
        self._quirks = quirks

    def status(self, bucket: Folder) -> str:
        """
        Return ``Enabled``, ``Suspended``, or an empty text if the bucket never had versions.
        """
        return str(self._objects.settings(bucket).get("versioning", ""))

    def put(
        self, bucket: Folder, key: str, body: IncomingBody, modified: float, headers: dict[str, str], **more: Any
    ) -> StoredObject:
        """
        Store a body as the latest version of a key.
        """
        if self.status(bucket):
            more |= self._make_room(bucket, key)
        return bucket.put(key, body, modified, headers, **more)

    def copy(
        self, bucket: Folder, key: str, body: IncomingBody, modified: float, headers: dict[str, str], **more: Any
    ) -> StoredObject:
        """
        Store a copied body as a version. With the quirk `copies_beside_latest`, the former one stays the latest, too.
        """
        if not (self._quirks.copies_beside_latest and self.status(bucket)):
            return self.put(bucket, key, body, modified, headers, **more)
        identity = self._next_identity(bucket, key)
        version = identity["version"]
        latest, history = bucket.find(key), self._objects.history(bucket, key)
        if version == NULL_VERSION:
            history.delete(version)
        if latest is None or latest.version == version:
            return bucket.put(key, body, modified, headers, **identity, **more)
        history.create()
        return history.put(key, body, modified, headers, name=version, is_latest=True, **identity, **more)

    def delete(self, bucket: Folder, key: str, modified: float) -> None:
        """
        Delete an object. In a bucket with versions, add a delete marker.

        Raises:
            Fault: Versioning is suspended, and two versions are the latest.
        """
        status = self.status(bucket)
        if not status:
            bucket.delete(key)
            return
        history = self._objects.history(bucket, key)
        beside = [stored for stored in history.objects() if stored.is_latest]
        if status == ENABLED:
            if any(stored.is_marker for stored in beside):
                return
        elif bucket.find(key) is None:
            return
        elif any(not stored.is_marker for stored in beside):
            raise Fault("More than one object set to 'last' found")
        identity = self._make_room(bucket, key)
        bucket.delete(key)
        history.create()
        name = str(identity["version"])
        body = self._objects.receive()
        history.put(key, body, modified, {}, name=name, is_marker=True, is_latest=True, **identity)

    def find(self, bucket: Folder, key: str, version: str) -> tuple[Folder, StoredObject] | None:
        """
        Return a version and its folder, or None.
        """
        latest = bucket.find(key)
        if latest is not None and latest.version == version:
            return bucket, latest
        history = self._objects.history(bucket, key)
        former = history.find(version)
        return None if former is None else (history, former)

    def delete_version(self, bucket: Folder, key: str, version: str) -> None:
        """
        Delete one version. The newest version that is left becomes the latest, except with the quirk `forgets_latest`.

        Raises:
            Refusal: NoSuchKey: there is no such version, and the store refuses that.
        """
        found = self.find(bucket, key, version)
        if found is None:
            if self._quirks.refuses_absent_versions:
                raise Refusal(404, "NoSuchKey", resource=key)
            return
        found[0].delete(key if found[0] is bucket else version)
        history = self._objects.history(bucket, key)
        versions = history.objects()
        if self._quirks.forgets_latest:
            versions = [stored for stored in versions if stored.is_latest]
        if not versions or bucket.find(key) is not None:
            return
        newest = max(versions, key=lambda stored: stored.number)
        if newest.is_marker:
            history.describe(replace(newest, is_latest=True), newest.version)
        else:
            history.move(newest, newest.version, bucket, key)

    def all_of(self, bucket: Folder, key: str) -> list[StoredObject]:
        """
        Return all versions of a key, the oldest first.
        """
        latest = bucket.find(key)
        found = self._objects.history(bucket, key).objects()
        if latest is not None:
            found.append(replace(latest, is_latest=True))
        return sorted(found, key=lambda stored: stored.number)

    def keys(self, bucket: Folder) -> list[str]:
        """
        Return the keys that have any version, sorted by their bytes.
        """
        found = {stored.key for stored in bucket.objects()}
        for history in self._objects.histories(bucket):
            found |= {stored.key for stored in history.objects()}
        return sorted(found, key=str.encode)

    def listed(self, bucket: Folder) -> list[StoredObject]:
        """
        Return the objects of a list: all latest versions, sorted by the bytes of their keys.
        """
        found = bucket.objects()
        if self._quirks.copies_beside_latest:
            for history in self._objects.histories(bucket):
                found += [stored for stored in history.objects() if stored.is_latest and not stored.is_marker]
        return sorted(found, key=lambda stored: stored.key.encode())

    def _make_room(self, bucket: Folder, key: str) -> dict[str, Any]:
        identity = self._next_identity(bucket, key)
        history = self._objects.history(bucket, key)
        latest = bucket.find(key)
        if latest is not None and latest.version != identity["version"]:
            bucket.move(latest, key, history, latest.version)
        for stored in history.objects():
            if stored.is_latest:
                history.describe(replace(stored, is_latest=False), stored.version)
        if identity["version"] == NULL_VERSION:
            history.delete(NULL_VERSION)
        return identity

    def _next_identity(self, bucket: Folder, key: str) -> dict[str, Any]:
        versions = self.all_of(bucket, key)
        version = secrets.token_hex(16) if self.status(bucket) == ENABLED else NULL_VERSION
        return {"version": version, "number": versions[-1].number + 1 if versions else 1}


def find_object(folder: Folder, key: str) -> StoredObject:
    """
    Return the object that a folder has under a key: in a bucket, the latest version.

    Raises:
        Refusal: NoSuchKey.
    """
    stored = folder.find(key)
    if stored is None:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.", resource=key)
    return stored
