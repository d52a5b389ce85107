"""
The operations of the service and of its buckets, as a `LegacyStore` carries them out.

ListBuckets and CreateBucket need no existing bucket, so `Operations` calls them itself. The others are in a table.
One method carries out ListObjects and ListObjectsV2: the version of a list decides how its next page is found and
which elements the document has. `legacy_listing` finds the keys and prefixes of a page, by the rules of S3 or by
those of Walrus.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from urllib.parse import quote

from s3proxy.testing.legacy_conditions import check_md5
from s3proxy.testing.legacy_grants import OWNER, canned_grants
from s3proxy.testing.legacy_listing import page, parse_page_size, walrus_page
from s3proxy.testing.legacy_messages import (
    Call,
    OperationTable,
    Refusal,
    Reply,
    document,
    element,
    iso_date,
    name_element,
    parse_document,
    written_etag,
)
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_versions import Versions

_WALRUS_BUCKET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{2,254}")


class BucketOperations:
    """
    The operations of the service and of its buckets.

    Attributes:
        bucket_operations: The operations that need a bucket, by the method and the sub-resources of a request.
    """

    def __init__(self, objects: ObjectDirectory, versions: Versions, quirks: Quirks) -> None:
        self._objects = objects
        self._versions = versions
        self._quirks = quirks
        self._name_element = name_element(quirks)
        self.bucket_operations: OperationTable = {
            (b"HEAD", frozenset()): self._head_bucket,
            (b"GET", frozenset()): self._list_objects,
            (b"DELETE", frozenset()): self._delete_bucket,
        }
        if not quirks.lacks_messages:
            self.bucket_operations[b"GET", frozenset({"location"})] = self._get_location
        if not quirks.lacks_multi_delete:
            self.bucket_operations[b"POST", frozenset({"delete"})] = self._delete_objects

    def list_buckets(self) -> Reply:
        """
        List all buckets.
        """
        names = "".join(
            f"<Bucket>{element('Name', name)}<CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
            for name in self._objects.buckets()
        )
        return document("ListAllMyBucketsResult", f"<Owner>{OWNER}</Owner><Buckets>{names}</Buckets>")

    def create_bucket(self, call: Call, bucket: Folder) -> Reply:
        """
        Create a bucket.

        Args:
            bucket: The bucket, which may exist already.

        Raises:
            Refusal: AccessDenied, InvalidBucketName in the form of Walrus, or BucketAlreadyExists.
        """
        quirks = self._quirks
        if call.is_nobody:
            raise Refusal(403, "AccessDenied")
        if quirks.walrus_bucket_names and not _WALRUS_BUCKET_NAME.fullmatch(call.bucket):
            # The source of Walrus has exchanged the code and the message.
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

    def _delete_objects(self, call: Call, bucket: Folder) -> Reply:
        if b"content-md5" not in call.fields:
            raise Refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
        check_md5(call)
        root = parse_document(call.body, self._quirks)
        is_quiet = (root.findtext("Quiet") or "").strip() == "true"
        keys = [item.findtext("Key") or "" for item in root.iter("Object")]
        for key in keys:
            bucket.delete(key)
        deleted = "" if is_quiet else "".join(f"<Deleted>{element('Key', key)}</Deleted>" for key in keys)
        return document("DeleteResult", deleted)

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
        limit = parse_page_size(query.get("max-keys", ""), quirks)
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
                # The token is opaque, so that no client has to decode it. encoding-type does not apply to it.
                parts.append(element("NextContinuationToken", _write_token(entries[-1][0])))
        else:
            parts.append(write("Marker", encode(after)))
            if is_truncated:
                parts.append(write("NextMarker", encode(entries[-1][0])))
        for key, stored in entries:
            if stored is not None:
                parts.append(
                    f"<Contents>{write('Key', encode(key))}<LastModified>{iso_date(stored.modified)}</LastModified>"
                    f"<ETag>{written_etag(stored, quirks)}</ETag><Size>{stored.size}</Size>"
                    "<StorageClass>STANDARD</StorageClass></Contents>"
                )
        for name, stored in entries:
            if stored is None:
                parts.append(f"<CommonPrefixes>{write('Prefix', encode(name))}</CommonPrefixes>")
        return document("ListBucketResult", "".join(parts))


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal(400, "InvalidArgument", "continuation-token") from None
