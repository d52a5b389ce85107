"""
A small S3 in memory. Each of its responses to the doctor can be changed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.testing import FaultyBackend
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest

MODIFIED = b"Sun, 29 Nov 2026 12:00:00 GMT"

_SOURCE_CONDITIONS = (
    b"x-amz-copy-source-if-match",
    b"x-amz-copy-source-if-none-match",
    b"x-amz-copy-source-if-modified-since",
    b"x-amz-copy-source-if-unmodified-since",
)


@dataclass
class Script:
    """
    How the storage system responds.

    Attributes:
        ignored: Conditions of writes that it ignores, as operation and header.
        refused: Conditions that it refuses even if they hold.
        lacking: Operations to which it responds with 501.
        overruled: Operations to which it responds with 200 without carrying them out.
        source_status: Status of a copy on a condition that does not hold; 200 if the condition is ignored.
        refuses_sources: Whether it also refuses a source's condition that holds.
        decodes: How often it decodes the source of a copy.
        tags: The form in which it reads an entity tag: ``quoted``, ``bare`` or ``none`` at all.
        complete: The element in its response to CompleteMultipartUpload.
        strays: Bytes after a response, by method and status.
        sub_status: Status of a request with a sub-resource; 0 if the sub-resource is ignored.
        get_status: Status of GetObject; 0 for the right one.
        is_one_object: Whether each key names the same object.
        unanswered: Operations that it carries out, and then closes the connection.
        appends: Whether it supports x-amz-write-offset-bytes.
        objects: Content by raw key, decoded.
        uploads: Content of the part of each upload, by raw key, decoded.
        asked: Method and target of each request.
        stored_count: How often an object or a part was stored.
    """

    ignored: set[tuple[str, bytes]] = field(default_factory=set)
    refused: set[tuple[str, bytes]] = field(default_factory=set)
    lacking: set[str] = field(default_factory=set)
    overruled: set[str] = field(default_factory=set)
    source_status: int = 412
    refuses_sources: bool = False
    decodes: int = 1
    tags: str = "quoted"
    complete: str = "<ETag>&quot;0&quot;</ETag>"
    strays: dict[tuple[bytes, int], bytes] = field(default_factory=dict)
    sub_status: int = 501
    get_status: int = 0
    is_one_object: bool = False
    unanswered: set[str] = field(default_factory=set)
    appends: bool = True
    objects: dict[bytes, bytes] = field(default_factory=dict)
    uploads: dict[bytes, bytes] = field(default_factory=dict)
    asked: list[tuple[bytes, bytes]] = field(default_factory=list)
    stored_count: int = 0
    _operation: str = ""

    def backend(self) -> FaultyBackend:
        """
        Return a factory to listen with.
        """
        backend = FaultyBackend()
        backend.on_request = self._response
        return backend

    def _response(self, connection: FaultyConnection, request: ReceivedRequest) -> None:
        head = request.head
        self.asked.append((head.method, head.raw_target))
        self._operation = ""
        status, headers, content = self._perform(request)
        if self._operation in self.unanswered:
            connection.transport.loseConnection()
            return
        lines = [b"HTTP/1.1 %d Told" % status, *headers]
        if status not in {204, 304}:
            lines.append(b"Content-Length: %d" % len(content))
        whole = b"\r\n".join(lines) + b"\r\n\r\n"
        if head.method != b"HEAD" and status not in {204, 304}:
            whole += content
        connection.send(whole + self.strays.get((head.method, status), b""))

    def _perform(self, request: ReceivedRequest) -> tuple[int, list[bytes], bytes]:
        head = request.head
        raw_path, _, query = head.raw_target.partition(b"?")
        key = unquote_to_bytes(raw_path.split(b"/", 2)[2]) if raw_path.count(b"/") > 1 else b""
        if key and self.is_one_object:
            key = b"one"
        names = {pair.partition(b"=")[0] for pair in query.split(b"&")}
        is_of_upload = (b"uploadId" in names and b"uploadId=1" not in query) or b"uploads" in names
        if query and key and not is_of_upload and self.sub_status:
            return _error(self.sub_status)
        if query and not key and query != b"delete" and self.sub_status:
            return _error(self.sub_status)
        if head.method == b"POST":
            return self._post(request, key, query)
        if not key:
            return 200, [], b"<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>"
        if head.method in {b"GET", b"HEAD"}:
            return self._get(request, key)
        if head.method == b"DELETE" and is_of_upload:
            self.uploads.pop(key, None)
            return 204, [], b""
        if head.method == b"DELETE":
            return self._write(request, "DeleteObject", key, None)
        if b"x-amz-copy-source" in head.fields:
            return self._copy(request, key, is_part=b"uploadId" in names)
        if b"uploadId" in names and b"uploadId=1" not in query:
            self._store_part("UploadPart", key, request.body)
            return 200, [b'ETag: "%s"' % _md5(request.body)], b""
        return self._write(request, "PutObject", key, request.body)

    def _get(self, request: ReceivedRequest, key: bytes) -> tuple[int, list[bytes], bytes]:
        content = self.objects.get(key)
        if content is None:
            return _error(404)
        if self.get_status and request.head.method == b"GET":
            return _error(self.get_status)
        headers = [b'ETag: "%s"' % _md5(content), b"Last-Modified: " + MODIFIED]
        return (304 if b"if-none-match" in request.head.fields else 200), headers, content

    def _post(self, request: ReceivedRequest, key: bytes, query: bytes) -> tuple[int, list[bytes], bytes]:
        if query == b"uploads":
            if "CreateMultipartUpload" in self.lacking:
                return _error(501)
            return 200, [], b"<R><UploadId>upload</UploadId></R>"
        if query == b"delete":
            found = re.search(rb"<Key>(.*?)</Key>", request.body)
            assert found is not None
            tag = re.search(rb"<ETag>(.*?)</ETag>", request.body)
            status, _, content = self._write(request, "DeleteObjects", found[1], None, tag[1] if tag else b"")
            return (200, [], content) if status in {204, 412} else (status, [], content)
        status, headers, content = self._write(request, "CompleteMultipartUpload", key, self.uploads.get(key, b""))
        document = f"<CompleteMultipartUploadResult>{self.complete}</CompleteMultipartUploadResult>"
        if status == 200:
            self.uploads.pop(key, None)
        return (status, headers, document.encode() if status == 200 else content)

    def _write(
        self, request: ReceivedRequest, operation: str, key: bytes, content: bytes | None, tag: bytes = b""
    ) -> tuple[int, list[bytes], bytes]:
        self._operation = operation
        if operation in self.lacking:
            return _error(501)
        if operation in self.overruled:
            return 200, [], b""
        former = self.objects.get(key)
        fields = request.head.fields
        offset = fields.value(b"x-amz-write-offset-bytes")
        name = (operation, b"x-amz-write-offset-bytes")
        if offset is not None and name not in self.ignored:
            if name in self.refused or former is None or int(offset) != len(former):
                return _error(400)
            if self.appends:
                content = former + (content or b"")
        if former is not None and not self._holds(operation, fields, former, tag):
            return _error(412)
        for header in (b"if-none-match",):
            if header in fields and (operation, header) in self.refused:
                return _error(501)
        if content is None:
            self.objects.pop(key, None)
            return 204, [], b""
        self.objects[key] = content
        self.stored_count += 1
        return 200, [b'ETag: "%s"' % _md5(content)], b""

    def _store_part(self, operation: str, key: bytes, content: bytes) -> None:
        self._operation = operation
        self.uploads[key] = content
        self.stored_count += 1

    def _holds(self, operation: str, fields: object, former: bytes, tag: bytes) -> bool:
        etag = _md5(former)
        forms = {"quoted": {b'"%s"' % etag}, "bare": {etag}, "none": set()}[self.tags]
        right: dict[bytes, set[bytes]] = {
            b"if-match": forms,
            b"if-none-match": set(),
            b"x-amz-if-match-size": {b"%d" % len(former)},
            b"x-amz-if-match-last-modified-time": {MODIFIED},
            IN_DOCUMENT: forms,
        }
        for header, values in right.items():
            value = tag if header == IN_DOCUMENT else fields.value(header)  # type: ignore[attr-defined]
            if not value or (operation, header) in self.ignored:
                continue
            if (operation, header) in self.refused or value not in values:
                return False
        return True

    def _copy(self, request: ReceivedRequest, key: bytes, *, is_part: bool) -> tuple[int, list[bytes], bytes]:
        fields = request.head.fields
        source = fields.value(b"x-amz-copy-source") or b""
        for _ in range(self.decodes):
            source = unquote_to_bytes(source)
        content = self.objects.get(source.split(b"/", 2)[2])
        if content is None or ("UploadPartCopy" if is_part else "CopyObject") in self.lacking:
            return _error(404 if content is None else 501)
        conditions = [name for name in _SOURCE_CONDITIONS if name in fields]
        holds = fields.value(_SOURCE_CONDITIONS[0]) == b'"%s"' % _md5(content) and not self.refuses_sources
        if conditions and not holds and self.source_status != 200:
            return _error(self.source_status)
        document = b"<R><ETag>&quot;%s&quot;</ETag></R>" % _md5(content)
        if is_part:
            self._store_part("UploadPartCopy", key, content)
            return 200, [], document
        status, headers, told = self._write(request, "CopyObject", key, content)
        return status, headers, document if status == 200 else told


def _md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).hexdigest().encode()


def _error(status: int) -> tuple[int, list[bytes], bytes]:
    code = {304: "", 403: "AccessDenied", 404: "NoSuchKey", 412: "PreconditionFailed", 501: "NotImplemented"}
    return status, [], f"<Error><Code>{code.get(status, 'Odd')}</Code></Error>".encode()
