"""
The configuration that clients read and write in a `LegacyStore`: ACLs, versioning and logging. Also the list of
versions.
"""

from __future__ import annotations

from datetime import UTC, datetime

from s3proxy.testing.legacy_grants import OWNER, canned_grants, read_grants, write_grants
from s3proxy.testing.legacy_listing import parse_page_size, prefix_pattern
from s3proxy.testing.legacy_messages import (
    Call,
    OperationTable,
    Refusal,
    Reply,
    document,
    element,
    name_element,
    parse_document,
)
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_versions import ENABLED, Versions


class Configuration:
    """
    The operations of the configuration.

    Attributes:
        bucket_operations: The operations of a bucket, by the method and the sub-resources of a request.
        object_operations: The operations of an object, by the method and the sub-resources of a request.
    """

    def __init__(self, objects: ObjectDirectory, versions: Versions, quirks: Quirks) -> None:
        self._objects = objects
        self._versions = versions
        self._quirks = quirks
        self._name_element = name_element(quirks)
        get_acls: OperationTable = {(b"GET", frozenset({"acl"})): self._get_bucket_acl}
        self.bucket_operations: OperationTable = {}
        self.object_operations: OperationTable = {}
        if quirks.serves_configuration or quirks.lacks_messages:
            # A storage system that fails to write ACLs can read them.
            self.bucket_operations |= get_acls
            self.object_operations[b"GET", frozenset({"acl"})] = self._get_object_acl
        if quirks.serves_configuration:
            self.bucket_operations |= {
                (b"PUT", frozenset({"acl"})): self._put_bucket_acl,
                (b"GET", frozenset({"versioning"})): self._get_versioning,
                (b"PUT", frozenset({"versioning"})): self._put_versioning,
                (b"GET", frozenset({"versions"})): self._list_versions,
                (b"GET", frozenset({"logging"})): self._get_logging,
                (b"PUT", frozenset({"logging"})): self._put_logging,
            }
            self.object_operations |= {
                (b"PUT", frozenset({"acl"})): self._put_object_acl,
                (b"GET", frozenset({"acl", "versionId"})): self._get_object_acl,
                (b"PUT", frozenset({"acl", "versionId"})): self._put_object_acl,
                (b"DELETE", frozenset({"versionId"})): self._delete_version,
            }

    # ACLs

    def _get_bucket_acl(self, call: Call, bucket: Folder) -> Reply:
        return document("AccessControlPolicy", write_grants(self._objects.settings(bucket).get("grants", [])))

    def _put_bucket_acl(self, call: Call, bucket: Folder) -> Reply:
        self._objects.change_settings(bucket, grants=_asked_grants(call, self._quirks))
        return _done("SetRESTBucketAccessControlPolicyResponse", "204")

    def _get_object_acl(self, call: Call, bucket: Folder) -> Reply:
        return document("AccessControlPolicy", write_grants(self._find(call, bucket)[1].grants))

    def _put_object_acl(self, call: Call, bucket: Folder) -> Reply:
        folder, stored = self._find(call, bucket)
        stored.grants[:] = _asked_grants(call, self._quirks)
        folder.describe(stored, call.key if folder is bucket else stored.version)
        return _done("SetRESTObjectAccessControlPolicyResponse", "204")

    def _find(self, call: Call, bucket: Folder) -> tuple[Folder, StoredObject]:
        version = call.query.get("versionId")
        if version:
            found = self._versions.find(bucket, call.key, version)
        else:
            latest = bucket.find(call.key)
            found = None if latest is None else (bucket, latest)
        if found is None:
            raise Refusal(404, "NoSuchKey", resource=call.key)
        return found

    # Versions

    def _get_versioning(self, call: Call, bucket: Folder) -> Reply:
        status = self._versions.status(bucket)
        return document("VersioningConfiguration", element("Status", status) if status else "")

    def _put_versioning(self, call: Call, bucket: Folder) -> Reply:
        status = (parse_document(call.body, self._quirks).findtext("Status") or "").strip()
        is_kept = not self._quirks.ignores_first_suspension or bool(self._versions.status(bucket))
        if status == ENABLED or (status == "Suspended" and is_kept):
            self._objects.change_settings(bucket, versioning=status)
        return document("SetBucketVersioningStatusResponse", "")

    def _delete_version(self, call: Call, bucket: Folder) -> Reply:
        self._versions.delete_version(bucket, call.key, call.query["versionId"])
        return Reply(204)

    def _list_versions(self, call: Call, bucket: Folder) -> Reply:
        query = call.query
        prefix, limit = query.get("prefix", ""), parse_page_size(query.get("max-keys", ""), self._quirks)
        after = (query.get("key-marker", ""), query.get("version-id-marker", ""))
        is_hidden = self._quirks.hides_unversioned and not self._versions.status(bucket)
        left = [] if is_hidden or not limit else self._versions_after(bucket, prefix, after)
        listed = left[:limit]
        parts = [
            element("Name", call.bucket),
            self._name_element("Prefix", prefix),
            self._name_element("KeyMarker", after[0]),
            element("VersionIdMarker", after[1]),
            element("MaxKeys", str(limit)),
            element("IsTruncated", "true" if len(left) > limit else "false"),
        ]
        if len(left) > limit:
            parts.append(self._name_element("NextKeyMarker", listed[-1].key))
            parts.append(element("NextVersionIdMarker", listed[-1].version))
        for stored in listed:
            modified = datetime.fromtimestamp(stored.modified, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            content = self._name_element("Key", stored.key) + element("VersionId", stored.version)
            content += element("IsLatest", "true" if stored.is_latest else "false")
            content += element("LastModified", modified) + f"<Owner>{OWNER}</Owner>"
            if stored.is_marker:
                parts.append(f"<DeleteMarker>{content}</DeleteMarker>")
                continue
            etag = stored.etag if self._quirks.unquoted_etags else f'"{stored.etag}"'
            content += element("ETag", etag) + element("Size", str(stored.size))
            parts.append(f"<Version>{content}{element('StorageClass', 'STANDARD')}</Version>")
        return document("ListVersionsResult", "".join(parts))

    def _versions_after(self, bucket: Folder, prefix: str, after: tuple[str, str]) -> list[StoredObject]:
        """
        Return the versions of a list, the newest of each key first.

        Args:
            after: The key and the version id after which the list continues. If the id is empty, the list continues
                after all versions of the key.
        """
        pattern = prefix_pattern(prefix, self._quirks)
        found: list[StoredObject] = []
        for key in self._versions.keys(bucket):
            if key.encode() < after[0].encode() or (key == after[0] and not after[1]) or pattern.match(key) is None:
                continue
            versions = self._versions.all_of(bucket, key)
            if key == after[0]:
                seen = [stored.number for stored in versions if stored.version == after[1]]
                versions = [stored for stored in versions if seen and stored.number < seen[0]]
            found += reversed(versions)
        return found

    # Logging

    def _get_logging(self, call: Call, bucket: Folder) -> Reply:
        target = self._objects.settings(bucket).get("logging")
        if target is None:
            return document("BucketLoggingStatus", "")
        content = element("TargetBucket", target[0]) + element("TargetPrefix", target[1]) + "<TargetGrants/>"
        return document("BucketLoggingStatus", f"<LoggingEnabled>{content}</LoggingEnabled>")

    def _put_logging(self, call: Call, bucket: Folder) -> Reply:
        root = parse_document(call.body, self._quirks)
        name = (root.findtext(".//TargetBucket") or "").strip()
        if name and not self._objects.bucket(name).exists:
            raise Refusal(400, "InvalidTargetBucketForLogging", resource=name)
        target = [name, (root.findtext(".//TargetPrefix") or "").strip()] if name else None
        self._objects.change_settings(bucket, logging=target)
        return document("SetBucketLoggingStatusResponse", "")


def _asked_grants(call: Call, quirks: Quirks) -> list[list[str]]:
    if b"x-amz-acl" in call.fields or call.body is None:
        return canned_grants(call.fields.get(b"x-amz-acl"))
    return read_grants(parse_document(call.body, quirks))


def _done(name: str, code: str) -> Reply:
    return document(name, element("Code", code) + element("Description", "OK"))
