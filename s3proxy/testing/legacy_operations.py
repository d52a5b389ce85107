"""
What a `LegacyStore` does for a request that it believes: S3's operations on a directory, without any network.

This file decides which operation a request means, and whether it may be done. The operation is found in a table, by the
method and the sub-resources of the query; a request that has no row gets the error that the storage system has for it.
Before an operation is called, the lengths of the names are checked, the bucket has to exist, and for a request that
nobody signed the ACL has to permit it. What an operation does is in `legacy_bucket_operations`,
`legacy_object_operations`, `legacy_upload_operations` and `legacy_configuration`, each with its rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from s3proxy.s3.limits import MAX_KEY_SIZE
from s3proxy.testing.legacy_bucket_operations import BucketOperations
from s3proxy.testing.legacy_configuration import Configuration
from s3proxy.testing.legacy_grants import lets_anybody
from s3proxy.testing.legacy_messages import Call, Fault, NoReply, OperationTable, Refusal, Reply, Stage
from s3proxy.testing.legacy_object_operations import ObjectOperations
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_signature import SUBRESOURCES
from s3proxy.testing.legacy_upload_operations import UploadOperations
from s3proxy.testing.legacy_versions import NULL_VERSION, Versions
from s3proxy.testing.legacy_writes import ObjectWriter, is_too_long

MAX_BUCKET_NAME_SIZE = 63
"""
Bytes of a bucket's name: S3's limit, and in hex still a file's name.
"""

_SUBRESOURCE_NAMES = frozenset(name.decode() for name in SUBRESOURCES)
# The SDK for Go names its operation in the query.
_IGNORED = frozenset({"x-id"})
_KNOWN_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE"})
# Walrus knows them by name, and refuses them as not implemented.
_NOT_IMPLEMENTED_OF_BUCKETS = frozenset({"cors", "lifecycle", "notification", "policy", "tagging", "website"})
_UPLOAD_PARAMETERS = frozenset({"partNumber", "uploadId", "uploads"})
# Walrus of 4.x knows them by name, and has no message for them.
_LACKING = {b"GET": ("location", "logging", "versioning", "versions"), b"PUT": ("acl", "logging", "versioning")}
_MESSAGES = "com.eucalyptus.walrus.msgs"


class Operations:
    """
    The operations of the store.
    """

    def __init__(self, objects: ObjectDirectory, wall_clock: Callable[[], datetime], quirks: Quirks) -> None:
        self._objects = objects
        self._quirks = quirks
        self._versions = Versions(objects, quirks)
        self._writer = ObjectWriter(objects, self._versions, wall_clock, quirks)
        self._buckets = BucketOperations(objects, self._versions, quirks)
        single = ObjectOperations(objects, self._versions, self._writer, wall_clock, quirks)
        uploads = UploadOperations(objects, self._writer, wall_clock, quirks)
        configuration = Configuration(objects, self._versions, quirks)
        self._bucket_operations: OperationTable = {
            **self._buckets.bucket_operations,
            **uploads.bucket_operations,
            **configuration.bucket_operations,
        }
        self._object_operations: OperationTable = {
            **single.object_operations,
            **uploads.object_operations,
            **configuration.object_operations,
        }

    @property
    def stored_count(self) -> int:
        """
        Objects and parts that were stored.
        """
        return self._writer.stored_count

    def perform(self, call: Call) -> Reply:
        """
        Do what a request asks for.

        Raises:
            Refusal: It cannot be done, and nothing was changed.
            Fault: The same, for a reason of the store's own.
            NoReply: It is never answered.
        """
        quirks = self._quirks
        if quirks.refuses_posts and call.method == b"POST":
            self._check_post(call)
        if not call.bucket:
            if call.key or call.method != b"GET":
                raise Refusal(405, "MethodNotAllowed", stage=Stage.BINDING)
            if call.is_nobody:
                raise Refusal(403, "AccessDenied")
            return self._buckets.list_buckets()
        if quirks.object_parameters is not None and call.key:
            known = quirks.object_parameters | ({"IsCompressed"} if quirks.own_parameters else set())
            call.query = {name: call.query[name] for name in call.query if name in known}
        asked = frozenset(call.query) & _SUBRESOURCE_NAMES
        self._check_lengths(call)
        unknown = call.query.keys() - asked - _IGNORED
        if call.method not in {b"GET", b"HEAD"} and unknown and not quirks.unknown_is_405:
            # A sub-resource which is not known must not be written over the object itself.
            raise Refusal(501, "NotImplemented")
        bucket = self._objects.bucket(call.bucket)
        if not call.key and call.method == b"PUT" and not asked:
            return self._buckets.create_bucket(call, bucket)
        operations = self._object_operations if call.key else self._bucket_operations
        operation = operations.get((call.method, asked))
        if operation is None:
            raise self._no_operation(call, asked)
        if not bucket.exists:
            raise Refusal(404, "NoSuchBucket", resource=call.bucket)
        if call.is_nobody:
            self._check_nobody(call, bucket, asked)
        return operation(call, bucket)

    def _check_post(self, call: Call) -> None:
        if call.key and "uploads" in call.query and self._quirks.hangs_on_uploads:
            raise NoReply
        if not (call.key and _UPLOAD_PARAMETERS & call.query.keys()) or self._quirks.hangs_on_uploads:
            raise Refusal(400, "InvalidRequest", "User authentication failed.", stage=Stage.SERVER)

    def _no_operation(self, call: Call, asked: frozenset[str]) -> Refusal | Fault:
        quirks = self._quirks
        if quirks.lacks_messages and self._lacks_message(call, asked):
            return Fault(f"Failed to construct message of type {_MESSAGES}", stage=Stage.BINDING)
        if not quirks.unknown_is_405:
            return Refusal(501, "NotImplemented")
        if call.key:
            is_known = bool(_UPLOAD_PARAMETERS & asked)
        else:
            is_known = bool(asked & (_NOT_IMPLEMENTED_OF_BUCKETS | {"requestPayment", "uploads"}))
        if call.method in _KNOWN_METHODS and is_known:
            return Refusal(501, "NotImplemented", "NA", stage=Stage.BINDING, resource=call.key or call.bucket)
        return Refusal(405, "MethodNotAllowed", "Could not determine operation name", stage=Stage.BINDING)

    def _lacks_message(self, call: Call, asked: frozenset[str]) -> bool:
        if call.key:
            return (call.method, asked) in {(b"PUT", frozenset({"acl"})), (b"DELETE", frozenset({"versionId"}))}
        names = _LACKING.get(call.method, ())
        return len(asked) == 1 and asked <= frozenset(names)

    def _check_lengths(self, call: Call) -> None:
        quirks = self._quirks
        if quirks.loses_long_values or quirks.refuses_long_values:
            if quirks.refuses_long_values and call.method == b"PUT" and is_too_long(call):
                raise Fault("value too long for type character varying(255)")
            return
        if len(call.bucket.encode()) > MAX_BUCKET_NAME_SIZE and not quirks.any_bucket_name:
            raise Refusal(400, "InvalidBucketName")
        if len(call.key.encode()) > MAX_KEY_SIZE:
            raise Refusal(400, "KeyTooLong")

    def _check_nobody(self, call: Call, bucket: Folder, asked: frozenset[str]) -> None:
        grants = self._objects.settings(bucket).get("grants", [])
        if call.key and call.method in {b"GET", b"HEAD"}:
            found = self._versions.find(bucket, call.key, call.query.get("versionId") or self._latest(bucket, call.key))
            grants = found[1].grants if found is not None else []
            if found is None and not asked:
                raise Refusal(404, "NoSuchKey", resource=call.key)
        permission = "READ" if call.method in {b"GET", b"HEAD"} else "WRITE"
        if "acl" in asked:
            permission += "_ACP"
        is_owners = not call.key and (asked - {"acl"} or call.method == b"DELETE")
        if is_owners or not lets_anybody(grants, permission):
            raise Refusal(403, "AccessDenied", "Access Denied", resource=call.key or call.bucket)

    def _latest(self, bucket: Folder, key: str) -> str:
        stored = bucket.find(key)
        return NULL_VERSION if stored is None else stored.version

    # The service and its buckets

    def _list_buckets(self) -> Reply:
        names = "".join(
            f"<Bucket>{element('Name', name)}<CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
            for name in self._objects.buckets()
        )
        return document("ListAllMyBucketsResult", f"<Owner>{OWNER}</Owner><Buckets>{names}</Buckets>")

    def _create_bucket(self, call: Call, bucket: Folder) -> Reply:
        quirks = self._quirks
        if call.is_nobody:
            raise Refusal(403, "AccessDenied")
        if quirks.walrus_bucket_names and not _WALRUS_BUCKET_NAME.fullmatch(call.bucket):
            # Code and message have changed places in its source.
            code, message = f"The specified bucket is not valid: {call.bucket}", "InvalidBucketName"
            raise Refusal(400, code, message, resource=call.bucket)
        if quirks.creates_once and bucket.exists:
            raise Refusal(409, "BucketAlreadyExists", resource=call.bucket)
        if not bucket.exists:
            bucket.create()
            self._objects.change_settings(bucket, grants=canned_grants(call.fields.get(b"x-amz-acl")))
        if quirks.bare_heads:
            return Reply(200, is_bare=True, closes=True)
        return Reply(200, {b"location": b"/" + quote(call.bucket).encode()})

    def _head_bucket(self, call: Call, bucket: Folder) -> Reply:
        return Reply(200, is_bare=self._quirks.bare_heads)

    def _get_location(self, call: Call, bucket: Folder) -> Reply:
        return document("LocationConstraint", "")

    def _delete_bucket(self, call: Call, bucket: Folder) -> Reply:
        if not bucket.is_empty or self._versions.keys(bucket):
            raise Refusal(409, "BucketNotEmpty", resource=call.bucket)
        bucket.remove()
        return Reply(204)

    def _list_objects(self, call: Call, bucket: Folder) -> Reply:
        quirks = self._quirks
        query = call.query
        if quirks.lists_v1:
            query = {name: query[name] for name in query if name not in {"list-type", "encoding-type"}}
        is_v2 = query.get("list-type") == "2"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if query.get("encoding-type", "url") != "url":
            raise Refusal(400, "InvalidArgument", "encoding-type")
        encode: Callable[[str], str] = quote if "encoding-type" in query else str
        limit = self._page_size(query.get("max-keys", ""))
        token = query.get("continuation-token", "")
        if is_v2:
            after = _read_token(token) if token else query.get("start-after", "")
        else:
            after = query.get("marker", "")
        listed = self._versions.listed(bucket)
        if quirks.like_prefixes or quirks.regex_delimiters or quirks.lists_folders_as_keys:
            entries, is_truncated = walrus_page(listed, prefix, delimiter, after, limit, quirks)
        else:
            entries, is_truncated = page(listed, prefix, delimiter, after, limit)

        write = self._name_element
        parts = [element("Name", call.bucket), write("Prefix", encode(prefix))]
        if delimiter:
            parts.append(write("Delimiter", encode(delimiter)))
        parts.append(element("MaxKeys", str(limit)))
        if "encoding-type" in query:
            parts.append(element("EncodingType", "url"))
        parts.append(element("IsTruncated", "true" if is_truncated else "false"))
        if is_v2:
            parts.append(element("KeyCount", str(len(entries))))
            if token:
                parts.append(element("ContinuationToken", token))
            if "start-after" in query:
                parts.append(element("StartAfter", encode(query["start-after"])))
            if is_truncated:
                # Opaque, so that no client has to decode it; encoding-type does not speak of it.
                parts.append(element("NextContinuationToken", _write_token(entries[-1][0])))
        else:
            parts.append(write("Marker", encode(after)))
            if is_truncated:
                parts.append(write("NextMarker", encode(entries[-1][0])))
        for key, stored in entries:
            if stored is not None:
                parts.append(
                    f"<Contents>{write('Key', encode(key))}<LastModified>{_iso(stored.modified)}</LastModified>"
                    f"<ETag>{self._etag(stored)}</ETag><Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass>"
                    "</Contents>"
                )
        for name, stored in entries:
            if stored is None:
                parts.append(f"<CommonPrefixes>{write('Prefix', encode(name))}</CommonPrefixes>")
        return document("ListBucketResult", "".join(parts))

    def _page_size(self, text: str) -> int:
        if not self._quirks.overflows_max_keys:
            return min(_number(text or str(MAX_LISTED), "max-keys"), MAX_LISTED)
        if not text:
            return MAX_LISTED
        if not _JAVA_INT.fullmatch(text) or not -MAX_INT <= int(text) <= MAX_INT:
            raise Fault(f'For input string: "{text}"')
        if int(text) < 0:
            raise Refusal(400, "InvalidArgument", "Argument max-keys must be an integer between 0 and 2147483647")
        return int(text)

    def _delete_objects(self, call: Call, bucket: Folder) -> Reply:
        if b"content-md5" not in call.fields:
            raise Refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
        _check_md5(call)
        root = parse_document(call.body, self._quirks)
        is_quiet = (root.findtext("Quiet") or "").strip() == "true"
        keys = [item.findtext("Key") or "" for item in root.iter("Object")]
        for key in keys:
            bucket.delete(key)
        deleted = "" if is_quiet else "".join(f"<Deleted>{element('Key', key)}</Deleted>" for key in keys)
        return document("DeleteResult", deleted)

    # Objects

    def _put_object(self, call: Call, bucket: Folder) -> Reply:
        if b"x-amz-copy-source" in call.fields:
            return self._copy_object(call, bucket)
        if not self._quirks.ignores_write_conditions:
            _check_write(call, bucket.find(call.key))
        _check_md5(call)
        if self._quirks.loses_long_values and self._is_too_long(call):
            etag = self._lose(call, bucket)
            modified, size, version = self._wall_clock(), call.body.size if call.body is not None else 0, NULL_VERSION
        else:
            stored = self._store(call, bucket, call.key, self._kept_headers(call))
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
        Take a body whose description the database does not take; return the entity tag which the client is told.
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

    def _get_object(self, call: Call, bucket: Folder) -> Reply:
        quirks = self._quirks
        folder, stored = self._find_version(call, bucket)
        modified = datetime.fromtimestamp(int(stored.modified), UTC)
        headers = {b"etag": self._etag(stored).encode(), b"last-modified": format_rfc1123(modified)}
        reads_conditions = not (quirks.heads_ignore_conditions and call.method == b"HEAD")
        raw_range = call.fields.get(b"range", b"") if reads_conditions else b""
        has_condition = reads_conditions and _has_condition(call)
        start, end, status = 0, stored.size, 200
        is_ranged = bool(raw_range) or (quirks.ranges_with_conditions and has_condition)
        if quirks.odd_ranges and call.method == b"GET" and is_ranged:
            start, end = _parse_odd_range(raw_range or b"bytes=0-", stored.size, quirks)
            status = 206 if raw_range and not quirks.ranges_are_200 else 200
            size = end - start if quirks.ranges_are_200 else stored.size
            headers[b"content-range"] = b"%d-%d/%d" % (start, end - 1, size)
        if has_condition and _is_unchanged(call, stored, modified, has_bare_etags=quirks.bare_etags):
            if quirks.document_with_304 and quirks.three_error_forms:
                raise Refusal(304, "NotModified", "Object Not Modified", resource=call.key)
            return Reply(304, headers)
        if not quirks.odd_ranges and (span := _parse_range(raw_range, stored.size)):
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
        is_extended = call.method == b"GET" and (b"range" in call.fields or _has_condition(call))
        if is_extended and self._quirks.ranges_ignore_versions:
            if version:
                raise Fault("No such property: versionId", stage=Stage.BINDING)
            # Versions are not told apart: the database gives any.
            versions = self._versions.all_of(bucket, call.key)
            version = versions[0].version if versions else None
        if not version:
            return bucket, _find(bucket, call.key)
        found = self._versions.find(bucket, call.key, version)
        if found is None or found[1].is_marker:
            raise Refusal(404, "NoSuchKey", "The specified key does not exist.", resource=call.key)
        return found

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
        if quirks.loses_long_values and self._is_too_long(call):
            raise Fault("Could not commit")
        replaced = self._kept_headers(call)
        if directive != b"REPLACE":
            headers = original.headers
        elif quirks.copies_metadata_only:
            headers = {**_without_meta(original.headers), **_only_meta(replaced)}
        else:
            headers = replaced
        acl = None if quirks.copies_metadata_only else call.fields.get(b"x-amz-acl")
        modified = original.modified if quirks.copies_metadata_only else self._wall_clock().timestamp()
        etag = original.etag if quirks.copies_metadata_only else None
        copied = self._join(bucket, call.key, folder, [original], headers, etag, modified, canned_grants(acl))
        times, tag = element("LastModified", _iso(copied.modified)), f"<ETag>{self._etag(copied)}</ETag>"
        if quirks.nested_copy_result:
            content = _nested("CopyObjectResponse", "CopyObjectResult", tag + times)
            return Reply(200, {b"content-type": b"application/xml"}, content)
        return document("CopyObjectResult", times + tag)

    def _copy_source(self, raw: bytes) -> tuple[str, str, str]:
        """
        Return version, bucket and key.
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

    def _kept_headers(self, call: Call) -> dict[str, str]:
        kept = _FEW_KEPT if self._quirks.keeps_few_headers else _KEPT
        headers = {}
        for name, value in call.fields.items():
            if name in kept or name.startswith(b"x-amz-meta-"):
                spelled = call.spelled(name) if self._quirks.keeps_meta_case else name
                headers[spelled.decode("latin-1")] = value.decode("latin-1")
        return headers

    def _etag(self, stored: StoredObject) -> str:
        return stored.etag if self._quirks.unquoted_etags else f'"{stored.etag}"'

    def _store(self, call: Call, folder: Folder, key: str, headers: dict[str, str]) -> StoredObject:
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

    def _former_parts(self, folder: Folder, key: str) -> IncomingBody | None:
        """
        Return the content that an object keeps which is there, or None.
        """
        former = folder.find(key)
        if not self._quirks.keeps_former_parts or former is None or not former.is_joined:
            return None
        parts = self._objects.receive()
        parts.append_file(folder.content_path(former))
        return parts

    def _join(
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
        body = self._objects.receive()
        parts = None if is_upload else self._former_parts(bucket, key)
        try:
            for piece in pieces:
                body.append_file(source.content_path(piece))
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

    # Uploads in parts: a folder of parts by number, and under no number an empty object with key, id and headers

    def _begin_upload(self, call: Call, bucket: Folder) -> Reply:
        upload_id = secrets.token_hex(16)
        upload = self._objects.upload(bucket, call.key, upload_id)
        upload.create()
        now, headers = self._wall_clock().timestamp(), self._kept_headers(call)
        upload.put(call.key, self._objects.receive(), now, headers, name="", upload_id=upload_id)
        return document(
            "InitiateMultipartUploadResult",
            element("Bucket", call.bucket) + element("Key", call.key) + element("UploadId", upload_id),
        )

    def _find_upload(self, call: Call, bucket: Folder) -> Folder:
        upload = self._objects.upload(bucket, call.key, call.query["uploadId"])
        if not upload.exists:
            raise Refusal(404, "NoSuchUpload")
        return upload

    def _upload_part(self, call: Call, bucket: Folder) -> Reply:
        if b"x-amz-copy-source" in call.fields:
            # Else the part would be the request's own, empty body.
            raise Refusal(501, "NotImplemented")
        number = _number(call.query["partNumber"], "partNumber")
        if not 1 <= number <= MAX_PART_NUMBER:
            raise Refusal(400, "InvalidArgument", "partNumber")
        _check_md5(call)
        part = self._store(call, self._find_upload(call, bucket), str(number), {})
        return Reply(200, {b"etag": b'"%s"' % part.etag.encode()})

    def _complete_upload(self, call: Call, bucket: Folder) -> Reply:
        quirks, upload = self._quirks, self._find_upload(call, bucket)
        parts: list[StoredObject] = []
        previous = 0
        for item in parse_document(call.body, self._quirks).iter("Part"):
            for child in item:
                if child.tag not in {"PartNumber", "ETag"}:
                    raise Refusal(400, "MalformedXML", f"{child.tag} is not known here")
            number = _number((item.findtext("PartNumber") or "").strip(), "PartNumber")
            part = upload.find(str(number))
            etag = (item.findtext("ETag") or "").strip().strip('"')
            if number == 0 or part is None or part in parts or (etag != part.etag and not quirks.ignores_part_tags):
                raise Refusal(400, "InvalidPart")
            if number <= previous and not quirks.ignores_part_order:
                raise Refusal(400, "InvalidPartOrder")
            previous = number
            parts.append(part)
        if not parts:
            raise Refusal(400, "MalformedXML")
        parts.sort(key=lambda part: int(part.key))
        etag = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest() + f"-{len(parts)}"
        if quirks.uuid_etags:
            etag = f"uuid-{uuid.uuid4()}"
        headers = _find(upload, "").headers
        stored = self._join(bucket, call.key, upload, parts, headers, etag, is_upload=True)
        upload.remove()
        host = call.fields.get(b"host", b"").decode("latin-1")
        return document(
            "CompleteMultipartUploadResult",
            element("Location", f"http://{host}/{call.bucket}/{quote(call.key)}")
            + element("Bucket", call.bucket)
            + element("Key", call.key)
            + f'<ETag>"{stored.etag}"</ETag>',
        )

    def _list_parts(self, call: Call, bucket: Folder) -> Reply:
        limit = self._page_length(call, "max-parts")
        marker = _java_int(call.query.get("part-number-marker") or "0", "part-number-marker")
        upload = self._find_upload(call, bucket)
        parts = sorted((int(stored.key), stored) for stored in upload.objects() if not stored.upload_id)
        left = [(number, stored) for number, stored in parts if number > marker]
        listed = left[:limit]
        is_truncated = len(left) > limit and (limit > 0 or self._quirks.truncates_empty_pages)
        content = element("Bucket", call.bucket) + self._name_element("Key", call.key)
        content += element("UploadId", call.query["uploadId"])
        content += f"<Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>" + element("StorageClass", "STANDARD")
        content += element("PartNumberMarker", str(marker))
        content += element("NextPartNumberMarker", str(listed[-1][0] if listed else 0))
        content += element("MaxParts", str(limit))
        content += element("IsTruncated", "true" if is_truncated else "false")
        for number, stored in listed:
            content += f"<Part>{element('PartNumber', str(number))}" + element("ETag", f'"{stored.etag}"')
            content += element("LastModified", _iso(stored.modified)) + element("Size", str(stored.size)) + "</Part>"
        return document("ListPartsResult", content)

    def _list_uploads(self, call: Call, bucket: Folder) -> Reply:
        quirks, query = self._quirks, call.query
        encode: Callable[[str], str] = str if quirks.lists_v1 or query.get("encoding-type") != "url" else quote
        limit = self._page_length(call, "max-uploads")
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = (query.get("key-marker", ""), query.get("upload-id-marker", ""))
        uploads = self._objects.uploads(bucket)
        entries, is_truncated = upload_page(uploads, prefix, delimiter, after, limit, quirks)
        name, last = entries[-1] if entries else ("", None)
        if last is None and quirks.loses_upload_markers:
            name = ""

        def write(element_name: str, text: str) -> str:
            return self._name_element(element_name, encode(text))

        parts = [element("Bucket", call.bucket), write("KeyMarker", after[0]), element("UploadIdMarker", after[1])]
        parts += [write("NextKeyMarker", name), element("NextUploadIdMarker", last.upload_id if last else "")]
        parts += [write(title, query[title.lower()]) for title in ("Delimiter", "Prefix") if title.lower() in query]
        if encode is not str:
            parts.append(element("EncodingType", "url"))
        parts.append(element("MaxUploads", str(limit)))
        parts.append(element("IsTruncated", "true" if is_truncated else "false"))
        for key, upload in entries:
            if upload is not None:
                content = write("Key", key) + element("UploadId", upload.upload_id)
                content += f"<Initiator>{OWNER}</Initiator><Owner>{OWNER}</Owner>" + element("StorageClass", "STANDARD")
                parts.append(f"<Upload>{content}{element('Initiated', _iso(upload.modified))}</Upload>")
        for key, upload in entries:
            if upload is None:
                parts.append(f"<CommonPrefixes>{write('Prefix', key)}</CommonPrefixes>")
        return document("ListMultipartUploadsResult", "".join(parts))

    def _page_length(self, call: Call, name: str) -> int:
        length = _java_int(call.query.get(name) or str(MAX_LISTED), name)
        if length < 0 or (length > MAX_LISTED and self._quirks.refuses_long_pages):
            raise Refusal(400, "InvalidArgument", name)
        return min(length, MAX_LISTED)

    def _abort_upload(self, call: Call, bucket: Folder) -> Reply:
        self._find_upload(call, bucket).remove()
        return Reply(204)


# What a request says


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Refusal(400, "InvalidArgument", f"{name} is no number")
    return int(text)


def _java_int(text: str, name: str) -> int:
    if not _JAVA_INT.fullmatch(text) or not -MAX_INT <= int(text) <= MAX_INT:
        raise Refusal(400, "InvalidArgument", f"{name} is no number")
    return int(text)


def _without_meta(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in headers if not name.lower().startswith("x-amz-meta-")}


def _only_meta(headers: dict[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in headers if name.lower().startswith("x-amz-meta-")}


def _has_condition(call: Call) -> bool:
    names = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
    return any(name in call.fields for name in names)


def _check_md5(call: Call) -> None:
    claimed = call.fields.get(b"content-md5")
    computed = call.body.md5 if call.body is not None else hashlib.md5().digest()
    if claimed is not None and claimed != base64.b64encode(computed):
        raise Refusal(400, "BadDigest")


def _check_write(call: Call, former: StoredObject | None) -> None:
    matches, others = call.fields.get(b"if-match"), call.fields.get(b"if-none-match")
    if others is not None and former is not None and _names_etag(others, former):
        raise Refusal(412, "PreconditionFailed")
    if matches is not None and (former is None or not _names_etag(matches, former)):
        raise Refusal(412, "PreconditionFailed")


def _is_unchanged(call: Call, stored: StoredObject, modified: datetime, *, has_bare_etags: bool) -> bool:
    """
    Whether the client has the object already (RFC 9110, section 13.2.2).
    """
    matches, others = call.fields.get(b"if-match"), call.fields.get(b"if-none-match")
    until, since = (parse_http_date(call.fields.get(n, b"")) for n in (b"if-unmodified-since", b"if-modified-since"))
    if has_bare_etags:
        # As they are sent, against one without quotation marks.
        names_it = {value: value == stored.etag.encode() for value in (matches, others)}
    else:
        names_it = {value: value is not None and _names_etag(value, stored) for value in (matches, others)}
    if matches is not None:
        if not names_it[matches]:
            raise Refusal(412, "PreconditionFailed")
    elif until is not None and modified > until:
        raise Refusal(412, "PreconditionFailed")
    if others is not None:
        return names_it[others]
    return since is not None and modified <= since


def _names_etag(text: bytes, stored: StoredObject) -> bool:
    names = {name.strip().removeprefix(b"W/").strip(b'"') for name in text.split(b",")}
    return b"*" in names or stored.etag.encode() in names


def _parse_range(text: bytes, size: int) -> tuple[int, int] | None:
    """
    Return the first byte and the one after the last; None for all, as where the header is none we know.
    """
    found = _RANGE.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= size:
        raise Refusal(416, "InvalidRange", headers={b"content-range": b"bytes */%d" % size})
    return start, end


def _parse_odd_range(text: bytes, size: int, quirks: Quirks) -> tuple[int, int]:
    """
    Read a range as Walrus does.

    Raises:
        Refusal: It cannot be satisfied.
        Fault: It cannot be read.
    """
    if quirks.reads_any_unit:
        text = text[len(b"bytes=") :]
    elif not text.startswith(b"bytes="):
        raise Fault("the range cannot be read", stage=Stage.BINDING)
    else:
        text = text.removeprefix(b"bytes=")
    numbers = text.split(b"-")
    first, last = numbers[0], numbers[1] if len(numbers) > 1 else b""
    if text == b"-" or not all(not number or _JAVA_LONG.fullmatch(number) for number in (first, last)):
        raise Fault(f'For input string: "{text.decode("latin-1")}"', stage=Stage.BINDING)
    start = int(first) if first else 0
    end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise Refusal(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end


# What an answer says


def _find(folder: Folder, key: str) -> StoredObject:
    stored = folder.find(key)
    if stored is None:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.", resource=key)
    return stored


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal(400, "InvalidArgument", "continuation-token") from None


def _nested(root: str, name: str, content: str) -> bytes:
    namespaces = f'xmlns="{NAMESPACE}" xmlns:xsi="{XSI_NAMESPACE}"'
    return f"<{root} {namespaces}><{name}>{content}</{name}></{root}>".encode()


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
