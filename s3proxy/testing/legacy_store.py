"""
A small store which speaks as Walrus of Eucalyptus 3.4 did: Signature V2 in a header, dates of RFC 1123, no aws-chunked.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, HTTPFactory, Request

from s3proxy.resign.profiles import V2_SUBRESOURCES
from s3proxy.sigv4.scope import format_rfc1123
from s3proxy.testing.legacy_objects import IncomingBody, ObjectDirectory, StoredObject

MAX_SKEW_SECONDS = 900
"Seconds between a request's date and the store's clock."

_VALUED = re.compile("partNumber|uploadId|versionId|response-.*")
_KEPT = ("content-type", "content-encoding", "content-disposition", "cache-control", "expires", "content-language")
_ISO_DATE = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")
_UPLOADS = "\x00uploads/"


class _Refusal(Exception):
    def __init__(self, status: int, code: str, message: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code


class LegacyStore:
    """
    The store.

    Args:
        directory: Where objects are kept.
        keys: Secrets by access key id.
        wall_clock: Aware, UTC.
        reactor: For the pace.
        bytes_per_second: How fast each connection's bodies are read; None for no limit. May be changed at any time.

    Attributes:
        stored_count: Objects and parts which were stored.
        aborted_count: Bodies which ended before they were complete; nothing of them is kept.
        refused_count: Requests which were answered with an error.
        received_size: Bytes of bodies so far.
    """

    def __init__(
        self,
        directory: Path,
        keys: Mapping[str, str],
        *,
        wall_clock: Callable[[], datetime],
        reactor: Any,
        service_path: str = "/services/Walrus",
        bytes_per_second: int | None = None,
    ) -> None:
        self.objects = ObjectDirectory(directory)
        self.keys = keys
        self.wall_clock = wall_clock
        self.reactor = reactor
        self.service_path = service_path
        self.bytes_per_second = bytes_per_second
        self.stored_count = 0
        self.aborted_count = 0
        self.refused_count = 0
        self.received_size = 0

    def make_factory(self) -> HTTPFactory:
        """
        Return a factory to listen with.
        """
        return _StoreFactory(self)

    def object_bytes(self, bucket: str, key: str) -> bytes | None:
        """
        Return an object's octets, or None.
        """
        stored = self.objects.find(bucket, key)
        return None if stored is None else self.objects.content_path(bucket, stored).read_bytes()


class _StoreFactory(HTTPFactory):
    noisy = False

    def __init__(self, store: LegacyStore) -> None:
        super().__init__(reactor=store.reactor)
        self._store = store

    def log(self, request: object) -> None:
        """
        Keep no log: whoever listens has one.
        """

    def buildProtocol(self, addr: IAddress | None) -> Any:
        channel: Any = HTTPChannel()
        channel.factory = self
        channel.timeOut = None
        channel.requestFactory = lambda *arguments: _StoreRequest(self._store, *arguments)
        return channel


class _StoreRequest(Request):
    defaultContentType = None

    def __init__(self, store: LegacyStore, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._store = store
        self._body: IncomingBody | None = None

    # The body goes to a file as it comes

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()
        if length != 0:
            self._body = self._store.objects.receive()

    def handleContentChunk(self, data: bytes) -> None:
        assert self._body is not None
        self._store.received_size += len(data)
        self._body.write(data)
        if self._store.bytes_per_second is not None:
            transport: Any = self.channel.transport
            transport.pauseProducing()
            self._store.reactor.callLater(len(data) / self._store.bytes_per_second, self._go_on, transport)

    def _go_on(self, transport: Any) -> None:
        if not self._disconnected and transport.connected:
            transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._body is not None:
            self._body.discard()
            self._body = None
            self._store.aborted_count += 1
        super().connectionLost(reason)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.method, self.uri, self.clientproto = command, path, version
        try:
            self._serve()
        except _Refusal as refusal:
            self._store.refused_count += 1
            message = escape(refusal.message)
            self._answer_xml(f"<Error><Code>{refusal.code}</Code><Message>{message}</Message></Error>", refusal.status)
        finally:
            if self._body is not None:
                self._body.discard()
                self._body = None

    # Judging

    def _field(self, name: str) -> str | None:
        # Octets both ways: Twisted's cache of names must not hold text beside them.
        values = self.requestHeaders.getRawHeaders(name.encode())
        return None if not values else b",".join(values).decode("latin-1")

    def _serve(self) -> None:
        raw_path, _, raw_query = self.uri.decode("latin-1").partition("?")
        self._query = {}
        for item in raw_query.split("&"):
            if item:
                name, _, value = item.partition("=")
                self._query[unquote(name)] = unquote(value.replace("+", " "))
        self._check_form()
        self._check_signature(raw_path, raw_query)
        if raw_path != self._store.service_path and not raw_path.startswith(self._store.service_path + "/"):
            raise _Refusal(404, "NoSuchEntity")
        # Walrus reads a plus as a space, in paths too.
        path = unquote_to_bytes(raw_path.removeprefix(self._store.service_path).replace("+", " ")).decode()
        bucket, _, key = path[1:].partition("/")
        if not bucket:
            self._list_buckets()
        elif not key:
            self._serve_bucket(bucket)
        elif not self._store.objects.has_bucket(bucket):
            raise _Refusal(404, "NoSuchBucket")
        else:
            self._serve_object(bucket, key)

    def _check_form(self) -> None:
        content_hash = self._field("x-amz-content-sha256") or ""
        codings = (self._field("content-encoding") or "").replace(" ", "").split(",")
        if (
            content_hash.startswith("STREAMING-")
            or "aws-chunked" in codings
            or self._field("x-amz-decoded-content-length")
        ):
            raise _Refusal(501, "NotImplemented", "aws-chunked is not known here")
        if self._field("transfer-encoding"):
            raise _Refusal(411, "MissingContentLength")
        if _ISO_DATE.fullmatch(self._field("x-amz-date") or ""):
            raise _Refusal(403, "AccessDenied", "the date cannot be read")
        if "X-Amz-Algorithm" in self._query or "Signature" in self._query:
            raise _Refusal(403, "AccessDenied", "signatures in the query are not known here")

    def _check_signature(self, raw_path: str, raw_query: str) -> None:
        authorization = self._field("authorization") or ""
        scheme, _, value = authorization.partition(" ")
        if scheme != "AWS":
            raise _Refusal(400, "InvalidArgument", "Unsupported Authorization Type")
        access_key_id, _, claimed = value.partition(":")
        secret = self._store.keys.get(access_key_id)
        if secret is None:
            raise _Refusal(403, "InvalidAccessKeyId")
        date = self._field("x-amz-date") or self._field("date")
        try:
            sent_at = parsedate_to_datetime(date or "")
        except ValueError:
            raise _Refusal(403, "AccessDenied", "a date is required") from None
        if abs((self._store.wall_clock() - sent_at).total_seconds()) > MAX_SKEW_SECONDS:
            raise _Refusal(403, "RequestTimeTooSkewed")
        digest = hmac.digest(secret.encode(), self._string_to_sign(raw_path, raw_query).encode(), "sha1")
        if not hmac.compare_digest(base64.b64encode(digest).decode(), claimed):
            raise _Refusal(403, "SignatureDoesNotMatch")

    def _string_to_sign(self, raw_path: str, raw_query: str) -> str:
        names = sorted({name.lower().decode() for name, _ in self.requestHeaders.getAllRawHeaders()})
        amz = "".join(f"{name}:{self._field(name)}\n" for name in names if name.startswith("x-amz-"))
        signed = []
        for item in raw_query.split("&"):
            name, equals, value = item.partition("=")
            if name.encode() in V2_SUBRESOURCES:
                signed.append(f"{name}={unquote(value)}" if equals and _VALUED.fullmatch(name) else name)
        resource = raw_path + ("?" + "&".join(sorted(signed)) if signed else "")
        date = "" if self._field("x-amz-date") else self._field("date") or ""
        lines = [self.method.decode(), self._field("content-md5") or "", self._field("content-type") or "", date]
        return "\n".join(lines) + "\n" + amz + resource

    # Answering

    def _answer(self, status: int, content: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.setResponseCode(status)
        self.setHeader(b"x-amz-request-id", secrets.token_hex(8).upper().encode())
        for name, value in (headers or {}).items():
            self.setHeader(name.encode(), value.encode("latin-1"))
        if status != 204:
            self.setHeader(b"content-length", b"%d" % len(content))
        if self.method != b"HEAD":
            self.write(content)
        self.finish()

    def _answer_xml(self, text: str, status: int = 200) -> None:
        document = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
        self._answer(status, document, {"content-type": "application/xml"})

    def _document(self) -> Any:
        content = self._body.read() if self._body is not None else b""
        if b"<!" in content:
            # Neither DTD nor entities: nothing in S3 needs them.
            raise _Refusal(400, "MalformedXML")
        try:
            root = ElementTree.fromstring(content)  # noqa: S314
        except (ElementTree.ParseError, ValueError):
            raise _Refusal(400, "MalformedXML") from None
        for element in root.iter():
            element.tag = element.tag.rpartition("}")[2]
        return root

    # The service and its buckets

    def _list_buckets(self) -> None:
        names = "".join(
            f"<Bucket><Name>{escape(name)}</Name><CreationDate>2013-10-01T00:00:00.000Z</CreationDate></Bucket>"
            for name in self._store.objects.buckets()
        )
        self._answer_xml(
            "<ListAllMyBucketsResult><Owner><ID>1</ID><DisplayName>legacy</DisplayName></Owner>"
            f"<Buckets>{names}</Buckets></ListAllMyBucketsResult>"
        )

    def _serve_bucket(self, bucket: str) -> None:
        objects = self._store.objects
        if self.method == b"PUT" and not self._query:
            objects.create_bucket(bucket)
            self._answer(200)
            return
        if not objects.has_bucket(bucket):
            raise _Refusal(404, "NoSuchBucket")
        if self.method == b"HEAD":
            self._answer(200)
        elif self.method == b"DELETE":
            if not objects.delete_bucket(bucket):
                raise _Refusal(409, "BucketNotEmpty")
            self._answer(204)
        elif self.method == b"GET" and "location" in self._query:
            self._answer_xml("<LocationConstraint/>")
        elif self.method == b"GET":
            self._list_objects(bucket)
        elif self.method == b"POST" and "delete" in self._query:
            self._delete_objects(bucket)
        else:
            raise _Refusal(501, "NotImplemented")

    def _list_objects(self, bucket: str) -> None:
        query = self._query
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        limit = int(query.get("max-keys") or 1000)
        encode = quote if query.get("encoding-type") == "url" else str
        items: list[str] = []
        prefixes: list[str] = []
        last = ""
        is_truncated = False
        for key in self._store.objects.keys(bucket):
            if key.startswith(_UPLOADS) or not key.startswith(prefix) or (after and key.encode() <= after.encode()):
                continue
            rest = key[len(prefix) :]
            common = prefix + rest.partition(delimiter)[0] + delimiter if delimiter and delimiter in rest else ""
            if common and common in prefixes:
                last = key
                continue
            if len(items) + len(prefixes) >= limit:
                is_truncated = True
                break
            last = key
            if common:
                prefixes.append(common)
                continue
            stored = self._store.objects.find(bucket, key)
            if stored is not None:
                items.append(
                    f"<Contents><Key>{escape(encode(key))}</Key><LastModified>{_iso(stored.modified)}</LastModified>"
                    f'<ETag>"{stored.etag}"</ETag><Size>{stored.size}</Size><StorageClass>STANDARD</StorageClass></Contents>'
                )
        more = "true" if is_truncated else "false"
        following = ""
        if is_truncated:
            name = "NextContinuationToken" if query.get("list-type") == "2" else "NextMarker"
            following = f"<{name}>{escape(encode(last))}</{name}>"
        common_prefixes = "".join(
            f"<CommonPrefixes><Prefix>{escape(encode(text))}</Prefix></CommonPrefixes>" for text in prefixes
        )
        encoding = "<EncodingType>url</EncodingType>" if query.get("encoding-type") == "url" else ""
        self._answer_xml(
            f"<ListBucketResult><Name>{escape(bucket)}</Name><Prefix>{escape(encode(prefix))}</Prefix>"
            f"<KeyCount>{len(items) + len(prefixes)}</KeyCount><MaxKeys>{limit}</MaxKeys>{encoding}"
            f"<IsTruncated>{more}</IsTruncated>{following}{''.join(items)}{common_prefixes}</ListBucketResult>"
        )

    def _delete_objects(self, bucket: str) -> None:
        if self._field("content-md5") is None:
            raise _Refusal(400, "InvalidRequest", "Missing required header for this request: Content-MD5")
        self._check_md5()
        deleted = []
        for element in self._document().iter("Object"):
            key = element.findtext("Key") or ""
            self._store.objects.delete(bucket, key)
            deleted.append(f"<Deleted><Key>{escape(key)}</Key></Deleted>")
        self._answer_xml(f"<DeleteResult>{''.join(deleted)}</DeleteResult>")

    # Objects

    def _serve_object(self, bucket: str, key: str) -> None:
        if self.method in {b"GET", b"HEAD"}:
            self._get_object(bucket, key)
        elif self.method == b"PUT" and "uploadId" in self._query:
            self._upload_part(bucket, key)
        elif self.method == b"PUT" and self._field("x-amz-copy-source"):
            self._copy_object(bucket, key)
        elif self.method == b"PUT":
            stored = self._store_body(bucket, key, self._kept_headers())
            self._answer(200, headers={"etag": f'"{stored.etag}"'})
        elif self.method == b"DELETE" and "uploadId" in self._query:
            self._end_upload(bucket, self._query["uploadId"])
            self._answer(204)
        elif self.method == b"DELETE":
            self._store.objects.delete(bucket, key)
            self._answer(204)
        elif self.method == b"POST" and "uploads" in self._query:
            self._begin_upload(bucket, key)
        elif self.method == b"POST" and "uploadId" in self._query:
            self._complete_upload(bucket, key)
        else:
            raise _Refusal(501, "NotImplemented")

    def _kept_headers(self) -> dict[str, str]:
        kept = {}
        for raw_name, values in self.requestHeaders.getAllRawHeaders():
            name = raw_name.decode("latin-1").lower()
            if name in _KEPT or name.startswith("x-amz-meta-"):
                kept[name] = b",".join(values).decode("latin-1")
        return kept

    def _check_md5(self) -> None:
        claimed = self._field("content-md5")
        computed = self._body.md5 if self._body is not None else hashlib.md5().digest()
        if claimed is not None and claimed != base64.b64encode(computed).decode():
            raise _Refusal(400, "BadDigest")

    def _store_body(self, bucket: str, key: str, headers: dict[str, str]) -> StoredObject:
        self._check_md5()
        body = self._body if self._body is not None else self._store.objects.receive()
        self._body = None
        body.close()
        return self._put(bucket, key, body.path, body.size, body.md5.hex(), headers)

    def _put(self, bucket: str, key: str, content: Path, size: int, etag: str, headers: dict[str, str]) -> StoredObject:
        modified = self._store.wall_clock().timestamp()
        stored = StoredObject(key, secrets.token_hex(16), size, etag, modified, headers)
        self._store.objects.put(bucket, stored, content)
        self._store.stored_count += 1
        return stored

    def _find(self, bucket: str, key: str) -> StoredObject:
        stored = self._store.objects.find(bucket, key)
        if stored is None:
            # What Walrus said for NoSuchKey.
            raise _Refusal(404, "NoSuchEntity", "The specified key does not exist.")
        return stored

    def _get_object(self, bucket: str, key: str) -> None:
        stored = self._find(bucket, key)
        etag = f'"{stored.etag}"'
        matches, others = self._field("if-match"), self._field("if-none-match")
        if matches is not None and matches not in {etag, "*"}:
            raise _Refusal(412, "PreconditionFailed")
        if others is not None and others in {etag, "*"}:
            self.setHeader(b"etag", etag.encode())
            self.setResponseCode(304)
            self.finish()
            return
        start, end = 0, stored.size
        found = _RANGE.fullmatch(self._field("range") or "")
        if found is not None and (found[1] or found[2]):
            if found[1]:
                start, end = int(found[1]), min(int(found[2] or stored.size), stored.size - 1) + 1
            else:
                start = max(0, stored.size - int(found[2]))
            if start >= stored.size:
                raise _Refusal(416, "InvalidRange")
            self.setHeader(b"content-range", b"bytes %d-%d/%d" % (start, end - 1, stored.size))
        self.setResponseCode(206 if found is not None else 200)
        self.setHeader(b"content-type", b"binary/octet-stream")
        for name, value in stored.headers.items():
            self.setHeader(name.encode(), value.encode("latin-1"))
        self.setHeader(b"etag", etag.encode())
        self.setHeader(b"last-modified", format_rfc1123(datetime.fromtimestamp(stored.modified, self._zone)))
        self.setHeader(b"content-length", b"%d" % (end - start))
        if self.method == b"HEAD":
            self.finish()
            return
        file = self._store.objects.content_path(bucket, stored).open("rb")
        file.seek(start)
        left = [end - start]

        class Window:
            def read(self, size: int) -> bytes:
                data = file.read(min(size, left[0]))
                left[0] -= len(data)
                return data

        def sent(result: object) -> None:
            file.close()
            if not isinstance(result, Failure):
                self.finish()

        FileSender().beginFileTransfer(Window(), self).addBoth(sent)

    @property
    def _zone(self) -> Any:
        return self._store.wall_clock().tzinfo

    def _copy_object(self, bucket: str, key: str) -> None:
        source = unquote((self._field("x-amz-copy-source") or "").partition("?")[0]).removeprefix("/")
        from_bucket, _, from_key = source.partition("/")
        stored = self._find(from_bucket, from_key)
        body = self._store.objects.receive()
        with self._store.objects.content_path(from_bucket, stored).open("rb") as file:
            while data := file.read(1 << 20):
                body.write(data)
        body.close()
        replaces = self._field("x-amz-metadata-directive") == "REPLACE"
        headers = self._kept_headers() if replaces else stored.headers
        copied = self._put(bucket, key, body.path, body.size, body.md5.hex(), headers)
        self._answer_xml(
            f'<CopyObjectResult><LastModified>{_iso(copied.modified)}</LastModified><ETag>"{copied.etag}"</ETag>'
            "</CopyObjectResult>"
        )

    # Uploads in parts: each part is an object which no listing shows

    def _begin_upload(self, bucket: str, key: str) -> None:
        upload_id = secrets.token_hex(16)
        self._store_body(bucket, f"{_UPLOADS}{upload_id}/", self._kept_headers())
        self._answer_xml(
            f"<InitiateMultipartUploadResult><Bucket>{escape(bucket)}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>"
        )

    def _upload(self, bucket: str, upload_id: str) -> StoredObject:
        stored = self._store.objects.find(bucket, f"{_UPLOADS}{upload_id}/")
        if stored is None:
            raise _Refusal(404, "NoSuchUpload")
        return stored

    def _upload_part(self, bucket: str, key: str) -> None:
        upload_id = self._query["uploadId"]
        self._upload(bucket, upload_id)
        part = self._store_body(bucket, f"{_UPLOADS}{upload_id}/{int(self._query['partNumber'])}", {})
        self._answer(200, headers={"etag": f'"{part.etag}"'})

    def _complete_upload(self, bucket: str, key: str) -> None:
        upload_id = self._query["uploadId"]
        upload = self._upload(bucket, upload_id)
        parts = []
        for element in self._document().iter("Part"):
            for child in element:
                if child.tag not in {"PartNumber", "ETag"}:
                    raise _Refusal(400, "MalformedXML", f"{child.tag} is not known here")
            part = self._store.objects.find(bucket, f"{_UPLOADS}{upload_id}/{int(element.findtext('PartNumber') or 0)}")
            if part is None or (element.findtext("ETag") or "").strip('"') != part.etag:
                raise _Refusal(400, "InvalidPart")
            parts.append(part)
        body = self._store.objects.receive()
        for part in parts:
            with self._store.objects.content_path(bucket, part).open("rb") as file:
                while data := file.read(1 << 20):
                    body.write(data)
        body.close()
        digest = hashlib.md5(b"".join(bytes.fromhex(part.etag) for part in parts)).hexdigest()
        stored = self._put(bucket, key, body.path, body.size, f"{digest}-{len(parts)}", upload.headers)
        self._end_upload(bucket, upload_id)
        host = self._field("host") or ""
        location = escape(f"http://{host}{self._store.service_path}/{bucket}/{quote(key)}")
        self._answer_xml(
            f"<CompleteMultipartUploadResult><Location>{location}</Location><Bucket>{escape(bucket)}</Bucket>"
            f'<Key>{escape(key)}</Key><ETag>"{stored.etag}"</ETag></CompleteMultipartUploadResult>'
        )

    def _end_upload(self, bucket: str, upload_id: str) -> None:
        for key in self._store.objects.keys(bucket):
            if key.startswith(f"{_UPLOADS}{upload_id}/"):
                self._store.objects.delete(bucket, key)


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
