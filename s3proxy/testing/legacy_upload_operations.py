"""
The operations of multipart uploads, as a `LegacyStore` carries them out.

Each upload has a folder. Each part is an object in it, and its number is the key. One more object has an empty key and
no content: it keeps the key, the id and the headers of the upload. CompleteMultipartUpload joins the parts that its
document names to one object of the bucket, and removes the folder. The lists of parts and of uploads are read from
these folders each time.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

from s3proxy.testing.legacy_conditions import check_md5
from s3proxy.testing.legacy_grants import OWNER
from s3proxy.testing.legacy_listing import MAX_LISTED, parse_java_int, parse_number, upload_page
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
)
from s3proxy.testing.legacy_objects import Folder, ObjectDirectory, StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_versions import find_object
from s3proxy.testing.legacy_writes import ObjectWriter

MAX_PART_NUMBER = 10_000
"""
The highest number of a part ("Amazon S3 multipart upload limits").
"""


class UploadOperations:
    """
    The operations of multipart uploads.

    Attributes:
        bucket_operations: The operations of a bucket, by the method and the sub-resources of a request.
        object_operations: The operations of an object, by the method and the sub-resources of a request.
    """

    def __init__(
        self, objects: ObjectDirectory, writer: ObjectWriter, wall_clock: Callable[[], datetime], quirks: Quirks
    ) -> None:
        self._objects = objects
        self._writer = writer
        self._wall_clock = wall_clock
        self._quirks = quirks
        self._name_element = name_element(quirks)
        self.bucket_operations: OperationTable = {}
        self.object_operations: OperationTable = {}
        if not quirks.hangs_on_uploads:
            self.object_operations |= {
                (b"POST", frozenset({"uploads"})): self._begin_upload,
                (b"PUT", frozenset({"partNumber", "uploadId"})): self._upload_part,
                (b"POST", frozenset({"uploadId"})): self._complete_upload,
                (b"DELETE", frozenset({"uploadId"})): self._abort_upload,
            }
            if not quirks.lacks_upload_lists:
                self.bucket_operations[b"GET", frozenset({"uploads"})] = self._list_uploads
                self.object_operations[b"GET", frozenset({"uploadId"})] = self._list_parts

    def _begin_upload(self, call: Call, bucket: Folder) -> Reply:
        upload_id = secrets.token_hex(16)
        upload = self._objects.upload(bucket, call.key, upload_id)
        upload.create()
        now, headers = self._wall_clock().timestamp(), self._writer.kept_headers(call)
        upload.put(call.key, self._objects.receive(), now, headers, name="", upload_id=upload_id)
        return document(
            "InitiateMultipartUploadResult",
            element("Bucket", call.bucket) + element("Key", call.key) + element("UploadId", upload_id),
        )

    def _upload_part(self, call: Call, bucket: Folder) -> Reply:
        if b"x-amz-copy-source" in call.fields:
            # Otherwise the part would be the empty body of the request.
            raise Refusal(501, "NotImplemented")
        number = parse_number(call.query["partNumber"], "partNumber")
        if not 1 <= number <= MAX_PART_NUMBER:
            raise Refusal(400, "InvalidArgument", "partNumber")
        check_md5(call)
        part = self._writer.store(call, self._find_upload(call, bucket), str(number), {})
        return Reply(200, {b"etag": b'"%s"' % part.etag.encode()})

    def _complete_upload(self, call: Call, bucket: Folder) -> Reply:
        quirks, upload = self._quirks, self._find_upload(call, bucket)
        parts: list[StoredObject] = []
        previous = 0
        for item in parse_document(call.body, self._quirks).iter("Part"):
            for child in item:
                if child.tag not in {"PartNumber", "ETag"}:
                    raise Refusal(400, "MalformedXML", f"{child.tag} is not supported")
            number = parse_number((item.findtext("PartNumber") or "").strip(), "PartNumber")
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
        headers = find_object(upload, "").headers
        stored = self._writer.join(bucket, call.key, upload, parts, headers, etag, is_upload=True)
        upload.remove()
        host = call.fields.get(b"host", b"").decode("latin-1")
        return document(
            "CompleteMultipartUploadResult",
            element("Location", f"http://{host}/{call.bucket}/{quote(call.key)}")
            + element("Bucket", call.bucket)
            + element("Key", call.key)
            + f'<ETag>"{stored.etag}"</ETag>',
        )

    def _abort_upload(self, call: Call, bucket: Folder) -> Reply:
        self._find_upload(call, bucket).remove()
        return Reply(204)

    def _find_upload(self, call: Call, bucket: Folder) -> Folder:
        upload = self._objects.upload(bucket, call.key, call.query["uploadId"])
        if not upload.exists:
            raise Refusal(404, "NoSuchUpload")
        return upload

    # Lists

    def _list_parts(self, call: Call, bucket: Folder) -> Reply:
        limit = self._page_length(call, "max-parts")
        marker = parse_java_int(call.query.get("part-number-marker") or "0", "part-number-marker")
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
            content += (
                element("LastModified", iso_date(stored.modified)) + element("Size", str(stored.size)) + "</Part>"
            )
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
                parts.append(f"<Upload>{content}{element('Initiated', iso_date(upload.modified))}</Upload>")
        for key, upload in entries:
            if upload is None:
                parts.append(f"<CommonPrefixes>{write('Prefix', key)}</CommonPrefixes>")
        return document("ListMultipartUploadsResult", "".join(parts))

    def _page_length(self, call: Call, name: str) -> int:
        length = parse_java_int(call.query.get(name) or str(MAX_LISTED), name)
        if length < 0 or (length > MAX_LISTED and self._quirks.refuses_long_pages):
            raise Refusal(400, "InvalidArgument", name)
        return min(length, MAX_LISTED)
