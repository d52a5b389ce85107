"""
PutObject, GetObject, HeadObject, DeleteObject and CopyObject, as a `LegacyStore` carries them out.

A read finds the version that the request names, and the range of bytes to send. It leaves the file open, and the
connection sends and closes it. PutObject checks its conditions and its digest before it stores the body. CopyObject
finds its source, chooses the headers of the copy, and joins the content of the source to a new object. Each step in
which a storage system differs from S3 checks a quirk.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from s3proxy.s3.date import format_rfc1123
from s3proxy.testing.legacy_binding import decode_text
from s3proxy.testing.legacy_conditions import (
    check_md5,
    check_write,
    has_condition,
    is_unchanged,
    parse_odd_range,
    parse_range,
)
from s3proxy.testing.legacy_grants import canned_grants
from s3proxy.testing.legacy_messages import (
    NAMESPACE,
    XSI_NAMESPACE,
    Call,
    Fault,
    OperationTable,
    Refusal,
    Reply,
    Stage,
    document,
    element,
    iso_date,
    written_etag,
)
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_signature import RESPONSE_OVERRIDES
from s3proxy.testing.legacy_versions import ENABLED, NULL_VERSION, Versions, find_object
from s3proxy.testing.legacy_writes import MAX_COLUMN_SIZE, ObjectWriter, is_too_long


class ObjectOperations:
    """
    The operations of single objects.

    Attributes:
        object_operations: The operations, by the method and the sub-resources of a request.
    """

    def __init__(
        self,
        objects: ObjectDirectory,
        versions: Versions,
        writer: ObjectWriter,
        wall_clock: Callable[[], datetime],
        quirks: Quirks,
    ) -> None:
        self._objects = objects
        self._versions = versions
        self._writer = writer
        self._wall_clock = wall_clock
        self._quirks = quirks
        self.object_operations: OperationTable = {
            (b"GET", frozenset()): self._get_object,
            (b"HEAD", frozenset()): self._get_object,
            (b"PUT", frozenset()): self._put_object,
            (b"DELETE", frozenset()): self._delete_object,
        }
        if quirks.serves_configuration or quirks.lacks_messages:
            self.object_operations |= {
                (b"GET", frozenset({"versionId"})): self._get_object,
                (b"HEAD", frozenset({"versionId"})): self._get_object,
            }

    def _put_object(self, call: Call, bucket: Folder) -> Reply:
        if b"x-amz-copy-source" in call.fields:
            return self._copy_object(call, bucket)
        if not self._quirks.ignores_write_conditions:
            check_write(call, bucket.find(call.key))
        check_md5(call)
        if self._quirks.loses_long_values and is_too_long(call):
            etag = self._lose(call, bucket)
            modified, size, version = self._wall_clock(), call.body.size if call.body is not None else 0, NULL_VERSION
        else:
            stored = self._writer.store(call, bucket, call.key, self._writer.kept_headers(call))
            etag, size, version = stored.etag, stored.size, stored.version
            modified = datetime.fromtimestamp(int(stored.modified), UTC)
        headers = {b"etag": b'"%s"' % etag.encode()}
        if self._versions.status(bucket) == ENABLED:
            headers[b"x-amz-version-id"] = version.encode()
        if not self._quirks.put_document:
            return Reply(200, headers)
        headers |= {b"last-modified": format_rfc1123(modified), b"content-type": b"application/xml"}
        content = element("ETag", etag) + element("LastModified", format_rfc1123(modified).decode())
        content += element("Size", str(size))
        return Reply(200, headers, _nested("PutObjectResponse", "PutObjectResponse", content))

    def _lose(self, call: Call, bucket: Folder) -> str:
        """
        Receive a body whose description the database refuses. Return the entity tag that the client gets.
        """
        body = call.body if call.body is not None else self._objects.receive()
        former = bucket.find(call.key) if len(call.key) <= MAX_COLUMN_SIZE else None
        if former is None or self._versions.status(bucket):
            return body.md5.hex()
        bucket.overwrite_content(former, body)
        return former.etag

    def _delete_object(self, call: Call, bucket: Folder) -> Reply:
        self._versions.delete(bucket, call.key, self._wall_clock().timestamp())
        return Reply(204)

    # Reading

    def _get_object(self, call: Call, bucket: Folder) -> Reply:
        quirks = self._quirks
        folder, stored = self._find_version(call, bucket)
        modified = datetime.fromtimestamp(int(stored.modified), UTC)
        headers = {b"etag": written_etag(stored, self._quirks).encode(), b"last-modified": format_rfc1123(modified)}
        reads_conditions = not (quirks.heads_ignore_conditions and call.method == b"HEAD")
        raw_range = call.fields.get(b"range", b"") if reads_conditions else b""
        is_conditional = reads_conditions and has_condition(call)
        start, end, status = 0, stored.size, 200
        is_ranged = bool(raw_range) or (quirks.ranges_with_conditions and is_conditional)
        if quirks.odd_ranges and call.method == b"GET" and is_ranged:
            start, end = parse_odd_range(raw_range or b"bytes=0-", stored.size, quirks)
            status = 206 if raw_range and not quirks.ranges_are_200 else 200
            size = end - start if quirks.ranges_are_200 else stored.size
            headers[b"content-range"] = b"%d-%d/%d" % (start, end - 1, size)
        if is_conditional and is_unchanged(call, stored, modified, has_bare_etags=quirks.bare_etags):
            if quirks.document_with_304 and quirks.three_error_forms:
                raise Refusal(304, "NotModified", "Object Not Modified", resource=call.key)
            return Reply(304, headers)
        if not quirks.odd_ranges and (span := parse_range(raw_range, stored.size)):
            start, end, status = *span, 206
            headers[b"content-range"] = b"bytes %d-%d/%d" % (start, end - 1, stored.size)
        if not quirks.lacks_accept_ranges:
            headers[b"accept-ranges"] = b"bytes"
        if quirks.serves_configuration and self._versions.status(bucket) == ENABLED:
            headers[b"x-amz-version-id"] = stored.version.encode()
        if "content-type" not in {name.lower() for name in stored.headers}:
            headers[b"content-type"] = b"binary/octet-stream"
        headers |= {name.encode("latin-1"): value.encode("latin-1") for name, value in stored.headers.items()}
        for name in () if quirks.ignores_overrides else RESPONSE_OVERRIDES:
            value = call.query.get(name.decode())
            if value:
                headers[name.removeprefix(b"response-")] = value.encode()
        if call.method == b"HEAD":
            return Reply(status, headers, size=end - start, closes_silently=quirks.closes_after_heads)
        file = folder.content_path(stored).open("rb")
        file.seek(start)
        is_compressed = quirks.own_parameters and call.query.get("IsCompressed", "").lower() == "true"
        return Reply(status, headers, file=file, size=end - start, lacks_length=is_compressed)

    def _find_version(self, call: Call, bucket: Folder) -> tuple[Folder, StoredObject]:
        version = call.query.get("versionId")
        is_extended = call.method == b"GET" and (b"range" in call.fields or has_condition(call))
        if is_extended and self._quirks.ranges_ignore_versions:
            if version:
                raise Fault("No such property: versionId", stage=Stage.BINDING)
            # The database does not distinguish versions, and returns any of them.
            versions = self._versions.all_of(bucket, call.key)
            version = versions[0].version if versions else None
        if not version:
            return bucket, find_object(bucket, call.key)
        found = self._versions.find(bucket, call.key, version)
        if found is None or found[1].is_marker:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.", resource=call.key)
        return found

    # Copying

    def _copy_object(self, call: Call, bucket: Folder) -> Reply:
        quirks = self._quirks
        version, name, key = self._copy_source(call.fields[b"x-amz-copy-source"])
        directive = call.fields.get(b"x-amz-metadata-directive", b"COPY")
        if not name or not key or (directive not in {b"COPY", b"REPLACE"} and not quirks.copies_metadata_only):
            raise Refusal(400, "InvalidArgument")
        source = self._objects.bucket(name)
        if not source.exists:
            raise Refusal(404, "NoSuchBucket", resource=name)
        folder, original = source, source.find(key)
        if version:
            found = self._versions.find(source, key, version)
            folder, original = found if found is not None else (source, None)
        if original is None or original.is_marker:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.", resource=key)
        if quirks.loses_long_values and is_too_long(call):
            raise Fault("Could not commit")
        replaced = self._writer.kept_headers(call)
        if directive != b"REPLACE":
            headers = original.headers
        elif quirks.copies_metadata_only:
            headers = {**_without_meta(original.headers), **_only_meta(replaced)}
        else:
            headers = replaced
        acl = None if quirks.copies_metadata_only else call.fields.get(b"x-amz-acl")
        modified = original.modified if quirks.copies_metadata_only else self._wall_clock().timestamp()
        etag = original.etag if quirks.copies_metadata_only else None
        copied = self._writer.join(bucket, call.key, folder, [original], headers, etag, modified, canned_grants(acl))
        times, tag = (
            element("LastModified", iso_date(copied.modified)),
            f"<ETag>{written_etag(copied, self._quirks)}</ETag>",
        )
        if quirks.nested_copy_result:
            content = _nested("CopyObjectResponse", "CopyObjectResult", tag + times)
            return Reply(200, {b"content-type": b"application/xml"}, content)
        return document("CopyObjectResult", times + tag)

    def _copy_source(self, raw: bytes) -> tuple[str, str, str]:
        """
        Return the version id, the bucket and the key of a copy's source. The version id may be empty.
        """
        quirks = self._quirks
        if quirks.cuts_copy_sources:
            text, _, version = decode_text(raw, quirks).partition("?")
            if quirks.collapses_slashes:
                text = re.sub("/{2,}", "/", text).rstrip("/")
            name, _, key = text.lstrip("/").partition("/")
            return version.split("?")[0].replace("versionId=", "", 1).strip(), name, key
        raw_source = raw.partition(b"?")[0].removeprefix(b"/")
        if quirks.plus_is_space:
            raw_source = raw_source.replace(b"+", b" ")
        try:
            name, _, key = unquote_to_bytes(raw_source).decode().partition("/")
        except UnicodeDecodeError:
            raise Refusal(400, "InvalidArgument", "x-amz-copy-source") from None
        return "", name, key


def _without_meta(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in headers if not name.lower().startswith("x-amz-meta-")}


def _only_meta(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in headers if name.lower().startswith("x-amz-meta-")}


def _nested(root: str, name: str, content: str) -> bytes:
    namespaces = f'xmlns="{NAMESPACE}" xmlns:xsi="{XSI_NAMESPACE}"'
    return f"<{root} {namespaces}><{name}>{content}</{name}></{root}>".encode()
