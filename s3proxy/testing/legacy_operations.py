"""
What a `LegacyStore` does for a request which it believes: S3's operations on a directory, without any network.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO
from urllib.parse import quote, unquote_to_bytes
from xml.etree import ElementTree

from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.limits import MAX_KEY_SIZE, MAX_XML_BODY_SIZE
from s3proxy.testing.legacy_objects import Folder, IncomingBody, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_signature import RESPONSE_OVERRIDES, SUBRESOURCES, Refusal, parse_http_date

MAX_BUCKET_NAME_SIZE = 63
"""
Bytes of a bucket's name: S3's limit, and in hex still a file's name.
"""

MAX_LISTED = 1000
"""
Entries of one page of a listing.
"""

MAX_PART_NUMBER = 10_000
"""
The highest number of a part ("Amazon S3 multipart upload limits").
"""

_KEPT = (
    b"cache-control",
    b"content-disposition",
    b"content-encoding",
    b"content-language",
    b"content-type",
    b"expires",
)
_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_NUMBER = re.compile("[0-9]{1,9}")
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
_SUBRESOURCE_NAMES = frozenset(name.decode() for name in SUBRESOURCES)
# The SDK for Go names its operation in the query.
_IGNORED = frozenset({"x-id"})


@dataclass(slots=True)
class Call:
    """
    An authenticated request.

    Attributes:
        bucket: Empty for the service itself.
        key: Empty for a bucket.
        query: Decoded.
        fields: Values by name in lower case; repeats are joined with a comma.
        body: All of it; None where its length is 0.
    """

    method: bytes
    bucket: str
    key: str
    query: Mapping[str, str]
    fields: Mapping[bytes, bytes]
    body: IncomingBody | None


@dataclass(slots=True)
class Reply:
    """
    What the client gets.

    Attributes:
        content: A document; empty where there is a file.
        file: Stands at the first octet to send. Whoever sends it closes it.
        size: Octets of the file to send; those which are declared where only the head is asked for.
    """

    status: int
    headers: dict[bytes, bytes] = field(default_factory=dict)
    content: bytes = b""
    file: BinaryIO | None = None
    size: int | None = None


class Operations:
    """
    The operations of the store.

    Attributes:
        stored_count: Objects and parts which were stored.
    """

    def __init__(self, objects: ObjectDirectory, wall_clock: Callable[[], datetime], quirks: Quirks) -> None:
        self._objects = objects
        self._quirks = quirks
        self._wall_clock = wall_clock
        self.stored_count = 0
        self._bucket_operations: dict[tuple[bytes, frozenset[str]], Callable[[Call, Folder], Reply]] = {
            (b"HEAD", frozenset()): self._head_bucket,
            (b"GET", frozenset()): self._list_objects,
            (b"GET", frozenset({"location"})): self._get_location,
            (b"DELETE", frozenset()): self._delete_bucket,
        }
        if not quirks.lacks_multi_delete:
            self._bucket_operations[b"POST", frozenset({"delete"})] = self._delete_objects
        self._object_operations: dict[tuple[bytes, frozenset[str]], Callable[[Call, Folder], Reply]] = {
            (b"GET", frozenset()): self._get_object,
            (b"HEAD", frozenset()): self._get_object,
            (b"PUT", frozenset()): self._put_object,
            (b"DELETE", frozenset()): self._delete_object,
            (b"POST", frozenset({"uploads"})): self._begin_upload,
            (b"PUT", frozenset({"partNumber", "uploadId"})): self._upload_part,
            (b"POST", frozenset({"uploadId"})): self._complete_upload,
            (b"DELETE", frozenset({"uploadId"})): self._abort_upload,
        }

    def perform(self, call: Call) -> Reply:
        """
        Do what a request asks for.

        Raises:
            Refusal: It cannot be done, and nothing was changed.
        """
        if not call.bucket:
            if call.key or call.method != b"GET":
                raise Refusal(405, "MethodNotAllowed")
            return self._list_buckets()
        if len(call.bucket.encode()) > MAX_BUCKET_NAME_SIZE:
            raise Refusal(400, "InvalidBucketName")
        if len(call.key.encode()) > MAX_KEY_SIZE:
            raise Refusal(400, "KeyTooLong")
        if call.key and self._quirks.object_parameters is not None:
            call.query = {name: call.query[name] for name in call.query if name in self._quirks.object_parameters}
        asked = frozenset(call.query) & _SUBRESOURCE_NAMES
        if call.method not in {b"GET", b"HEAD"} and call.query.keys() - asked - _IGNORED:
            # A sub-resource which is not known must not be written over the object itself.
            raise Refusal(501, "NotImplemented")
        bucket = self._objects.bucket(call.bucket)
        if not call.key and call.method == b"PUT" and not asked:
            bucket.create()
            return Reply(200, {b"location": b"/" + quote(call.bucket).encode()})
        operations = self._object_operations if call.key else self._bucket_operations
        operation = operations.get((call.method, asked))
        if operation is None:
            raise Refusal(501, "NotImplemented")
        if not bucket.exists:
            raise Refusal(404, "NoSuchBucket")
        return operation(call, bucket)

    # The service and its buckets

    def _list_buckets(self) -> Reply:
        names = "".join(
            f"<Bucket>{_element('Name', name)}<CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
            for name in self._objects.buckets()
        )
        owner = "<Owner><ID>1</ID><DisplayName>legacy</DisplayName></Owner>"
        return _document("ListAllMyBucketsResult", f"{owner}<Buckets>{names}</Buckets>")

    def _head_bucket(self, call: Call, bucket: Folder) -> Reply:
        return Reply(200)

    def _get_location(self, call: Call, bucket: Folder) -> Reply:
        return _document("LocationConstraint", "")

    def _delete_bucket(self, call: Call, bucket: Folder) -> Reply:
        if not bucket.is_empty:
            raise Refusal(409, "BucketNotEmpty")
        bucket.remove()
        return Reply(204)

    def _list_objects(self, call: Call, bucket: Folder) -> Reply:
        query = call.query
        if self._quirks.lists_v1:
            query = {name: query[name] for name in query if name not in {"list-type", "encoding-type"}}
        is_v2 = query.get("list-type") == "2"
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        if query.get("encoding-type", "url") != "url":
            raise Refusal(400, "InvalidArgument", "encoding-type")
        encode: Callable[[str], str] = quote if "encoding-type" in query else str
        limit = min(_number(query.get("max-keys") or str(MAX_LISTED), "max-keys"), MAX_LISTED)
        token = query.get("continuation-token", "")
        if is_v2:
            after = _read_token(token) if token else query.get("start-after", "")
        else:
            after = query.get("marker", "")
        entries, is_truncated = _page(bucket.objects(), prefix, delimiter, after, limit)

        parts = [_element("Name", call.bucket), _element("Prefix", encode(prefix))]
        if delimiter:
            parts.append(_element("Delimiter", encode(delimiter)))
        parts.append(_element("MaxKeys", str(limit)))
        if "encoding-type" in query:
            parts.append(_element("EncodingType", "url"))
        parts.append(_element("IsTruncated", "true" if is_truncated else "false"))
        if is_v2:
            parts.append(_element("KeyCount", str(len(entries))))
            if token:
                parts.append(_element("ContinuationToken", token))
            if "start-after" in query:
                parts.append(_element("StartAfter", encode(query["start-after"])))
            if is_truncated:
                # Opaque, so that no client has to decode it; encoding-type does not speak of it.
                parts.append(_element("NextContinuationToken", _write_token(entries[-1][0])))
        else:
            parts.append(_element("Marker", encode(after)))
            if is_truncated:
                parts.append(_element("NextMarker", encode(entries[-1][0])))
        for key, stored in entries:
            if stored is not None:
                parts.append(
                    f"<Contents>{_element('Key', encode(key))}<LastModified>{_iso(stored.modified)}</LastModified>"
                    f'<ETag>"{stored.etag}"</ETag><Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass>'
                    "</Contents>"
                )
        for name, stored in entries:
            if stored is None:
                parts.append(f"<CommonPrefixes>{_element('Prefix', encode(name))}</CommonPrefixes>")
        return _document("ListBucketResult", "".join(parts))

    def _delete_objects(self, call: Call, bucket: Folder) -> Reply:
        if b"content-md5" not in call.fields:
            raise Refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
        _check_md5(call)
        root = _parse_document(call)
        is_quiet = (root.findtext("Quiet") or "").strip() == "true"
        keys = [element.findtext("Key") or "" for element in root.iter("Object")]
        for key in keys:
            bucket.delete(key)
        deleted = "" if is_quiet else "".join(f"<Deleted>{_element('Key', key)}</Deleted>" for key in keys)
        return _document("DeleteResult", deleted)

    # Objects

    def _put_object(self, call: Call, bucket: Folder) -> Reply:
        if b"x-amz-copy-source" in call.fields:
            return self._copy_object(call, bucket)
        if not self._quirks.ignores_write_conditions:
            _check_write(call, bucket.find(call.key))
        stored = self._store(call, bucket, call.key, _kept_headers(call))
        return Reply(200, {b"etag": _quoted_etag(stored)})

    def _delete_object(self, call: Call, bucket: Folder) -> Reply:
        bucket.delete(call.key)
        return Reply(204)

    def _get_object(self, call: Call, bucket: Folder) -> Reply:
        stored = _find(bucket, call.key)
        modified = datetime.fromtimestamp(int(stored.modified), UTC)
        headers = {b"etag": _quoted_etag(stored), b"last-modified": format_rfc1123(modified)}
        if _is_unchanged(call, stored, modified, has_bare_etags=self._quirks.bare_etags):
            return Reply(304, headers)
        headers[b"accept-ranges"] = b"bytes"
        headers[b"content-type"] = b"binary/octet-stream"
        headers |= {name.encode("latin-1"): value.encode("latin-1") for name, value in stored.headers.items()}
        for name in () if self._quirks.ignores_overrides else RESPONSE_OVERRIDES:
            value = call.query.get(name.decode())
            if value:
                headers[name.removeprefix(b"response-")] = value.encode()
        start, end, status = 0, stored.size, 200
        raw_range = call.fields.get(b"range", b"")
        if self._quirks.odd_ranges:
            if raw_range and call.method == b"GET":
                start, end = _parse_odd_range(raw_range, stored.size)
                headers[b"content-range"] = b"%d-%d/%d" % (start, end - 1, end - start)
        elif span := _parse_range(raw_range, stored.size):
            start, end, status = *span, 206
            headers[b"content-range"] = b"bytes %d-%d/%d" % (start, end - 1, stored.size)
        if call.method == b"HEAD":
            return Reply(status, headers, size=end - start)
        file = bucket.content_path(stored).open("rb")
        file.seek(start)
        return Reply(status, headers, file=file, size=end - start)

    def _copy_object(self, call: Call, bucket: Folder) -> Reply:
        raw_source = call.fields[b"x-amz-copy-source"].partition(b"?")[0].removeprefix(b"/")
        if self._quirks.plus_is_space:
            raw_source = raw_source.replace(b"+", b" ")
        try:
            name, _, key = unquote_to_bytes(raw_source).decode().partition("/")
        except UnicodeDecodeError:
            raise Refusal(400, "InvalidArgument", "x-amz-copy-source") from None
        directive = call.fields.get(b"x-amz-metadata-directive", b"COPY")
        if not name or not key or directive not in {b"COPY", b"REPLACE"}:
            raise Refusal(400, "InvalidArgument")
        source = self._objects.bucket(name)
        if len(name.encode()) > MAX_BUCKET_NAME_SIZE or not source.exists:
            raise Refusal(404, "NoSuchBucket")
        original = _find(source, key)
        headers = _kept_headers(call) if directive == b"REPLACE" else original.headers
        copied = self._join(bucket, call.key, source, [original], headers)
        return _document(
            "CopyObjectResult",
            f'<LastModified>{_iso(copied.modified)}</LastModified><ETag>"{copied.etag}"</ETag>',
        )

    def _store(self, call: Call, folder: Folder, key: str, headers: dict[str, str]) -> StoredObject:
        _check_md5(call)
        body = call.body if call.body is not None else self._objects.receive()
        stored = folder.put(key, body, self._wall_clock().timestamp(), headers)
        self.stored_count += 1
        return stored

    def _join(
        self,
        bucket: Folder,
        key: str,
        source: Folder,
        pieces: Iterable[StoredObject],
        headers: dict[str, str],
        etag: str | None = None,
    ) -> StoredObject:
        body = self._objects.receive()
        try:
            for piece in pieces:
                body.append_file(source.content_path(piece))
            stored = bucket.put(key, body, self._wall_clock().timestamp(), headers, etag)
        finally:
            body.discard()
        self.stored_count += 1
        return stored

    # Uploads in parts: a folder of parts by number, and under no number an empty object with the headers

    def _begin_upload(self, call: Call, bucket: Folder) -> Reply:
        upload_id = secrets.token_hex(16)
        upload = self._objects.upload(bucket, call.key, upload_id)
        upload.create()
        upload.put("", self._objects.receive(), self._wall_clock().timestamp(), _kept_headers(call))
        return _document(
            "InitiateMultipartUploadResult",
            _element("Bucket", call.bucket) + _element("Key", call.key) + _element("UploadId", upload_id),
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
        part = self._store(call, self._find_upload(call, bucket), str(number), {})
        return Reply(200, {b"etag": _quoted_etag(part)})

    def _complete_upload(self, call: Call, bucket: Folder) -> Reply:
        upload = self._find_upload(call, bucket)
        parts: list[StoredObject] = []
        previous = 0
        for element in _parse_document(call).iter("Part"):
            for child in element:
                if child.tag not in {"PartNumber", "ETag"}:
                    raise Refusal(400, "MalformedXML", f"{child.tag} is not known here")
            number = _number((element.findtext("PartNumber") or "").strip(), "PartNumber")
            part = upload.find(str(number))
            if number == 0 or part is None or (element.findtext("ETag") or "").strip().strip('"') != part.etag:
                raise Refusal(400, "InvalidPart")
            if number <= previous:
                raise Refusal(400, "InvalidPartOrder")
            previous = number
            parts.append(part)
        if not parts:
            raise Refusal(400, "MalformedXML")
        etag = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest() + f"-{len(parts)}"
        if self._quirks.uuid_etags:
            etag = f"uuid-{uuid.uuid4()}"
        headers = _find(upload, "").headers
        stored = self._join(bucket, call.key, upload, parts, headers, etag)
        upload.remove()
        host = call.fields.get(b"host", b"").decode("latin-1")
        return _document(
            "CompleteMultipartUploadResult",
            _element("Location", f"http://{host}/{call.bucket}/{quote(call.key)}")
            + _element("Bucket", call.bucket)
            + _element("Key", call.key)
            + f'<ETag>"{stored.etag}"</ETag>',
        )

    def _abort_upload(self, call: Call, bucket: Folder) -> Reply:
        self._find_upload(call, bucket).remove()
        return Reply(204)


def document_bytes(text: str) -> bytes:
    """
    Return the octets of an XML document.
    """
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()


# What a request says


def _number(text: str, name: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise Refusal(400, "InvalidArgument", f"{name} is no number")
    return int(text)


def _kept_headers(call: Call) -> dict[str, str]:
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in call.fields.items()
        if name in _KEPT or name.startswith(b"x-amz-meta-")
    }


def _check_md5(call: Call) -> None:
    claimed = call.fields.get(b"content-md5")
    computed = call.body.md5 if call.body is not None else hashlib.md5().digest()
    if claimed is not None and claimed != base64.b64encode(computed):
        raise Refusal(400, "BadDigest")


def _parse_document(call: Call) -> Any:
    if call.body is None or call.body.size > MAX_XML_BODY_SIZE:
        raise Refusal(400, "MalformedXML")
    content = call.body.read()
    if b"<!" in content:
        # Neither DTD nor entities: nothing in S3 needs them.
        raise Refusal(400, "MalformedXML")
    try:
        root = ElementTree.fromstring(content)  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        # What is named as its encoding may not exist.
        raise Refusal(400, "MalformedXML") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


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
    Return the first octet and the one after the last; None for all, as where the header is none we know.
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


def _parse_odd_range(text: bytes, size: int) -> tuple[int, int]:
    """
    Read a range as Walrus did; what it could not read was a fault of its own.
    """
    first, _, last = text.removeprefix(b"bytes=").partition(b"-")
    start = int(first) if first else 0
    end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise Refusal(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end


# What an answer says


def _find(folder: Folder, key: str) -> StoredObject:
    stored = folder.find(key)
    if stored is None:
        raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
    return stored


def _page(
    objects: list[StoredObject], prefix: str, delimiter: str, after: str, limit: int
) -> tuple[list[tuple[str, StoredObject | None]], bool]:
    """
    Return a page's entries, common prefixes without an object, and whether there are more.
    """
    entries: list[tuple[str, StoredObject | None]] = []
    if not limit:
        return entries, False
    for stored in objects:
        if not stored.key.startswith(prefix):
            continue
        cut = stored.key.find(delimiter, len(prefix)) if delimiter else -1
        name = stored.key if cut < 0 else stored.key[: cut + len(delimiter)]
        is_listed = cut >= 0 and entries and entries[-1] == (name, None)
        if is_listed or (after and name.encode() <= after.encode()):
            continue
        if len(entries) == limit:
            return entries, True
        entries.append((name, stored if cut < 0 else None))
    return entries, False


def _write_token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise Refusal(400, "InvalidArgument", "continuation-token") from None


def _quoted_etag(stored: StoredObject) -> bytes:
    return b'"%s"' % stored.etag.encode()


def _element(name: str, text: str) -> str:
    return f"<{name}>{escape_text(text)}</{name}>"


def _document(name: str, content: str) -> Reply:
    text = f'<{name} xmlns="{_NAMESPACE}">{content}</{name}>'
    return Reply(200, {b"content-type": b"application/xml"}, document_bytes(text))


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
