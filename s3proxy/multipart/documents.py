"""
The documents and rules of multipart uploads, which s3proxy carries out for a storage system that has none.

Source:
    "CreateMultipartUpload", "UploadPart", "UploadPartCopy", "CompleteMultipartUpload", "ListParts",
    "ListMultipartUploads" of the Amazon S3 API Reference; "Amazon S3 multipart upload limits".
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from urllib.parse import quote_from_bytes
from xml.etree.ElementTree import Element

from s3proxy.awschunked.checksums import Algorithm
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import (
    EntityTooLarge,
    EntityTooSmall,
    InvalidArgument,
    InvalidPart,
    InvalidPartOrder,
    InvalidRequest,
    MalformedXML,
)
from s3proxy.s3.limits import MAX_LISTED, MAX_PART_COUNT, MIN_PART_SIZE

DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
"""
The beginning of each document. White space that keeps a client waiting comes after it: XML allows nothing before it.
"""

CHECKSUM_PREFIX = b"x-amz-checksum-"
"""
The prefix of a header with a checksum; the algorithm follows.
"""

_ELEMENTS_OF_PART = 6
"""
Maximum number of elements for one part in CompleteMultipartUpload: the part, its number, its ETag, and up to three
checksums.
"""

_NAME_SPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_NUMBER = re.compile(rb"[1-9][0-9]{0,4}")
_COUNT = re.compile(rb"[0-9]{1,10}")
_RANGE = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{1,18})")
_CHECKSUM = re.compile(r"Checksum([A-Z0-9]{3,10})")
_NO_CHECKSUMS: Mapping[str, str] = {}
# Shared by all parts without checksums: there may be ten thousand.
_PART_NUMBER_RULE = "Part number must be an integer between 1 and 10000, inclusive"
_MAX_COUNT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """
    One part in a client's CompleteMultipartUpload.

    Attributes:
        etag: The ETag without quotation marks.
        checksums: The claimed checksums in base64, by lower-case algorithm name.
    """

    number: int
    etag: str
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """
    One stored part.

    Attributes:
        md5: The MD5 of the part, 16 bytes.
        file: The name of the part's file.
        checksums: The verified checksums in base64, by lower-case algorithm name.
        modified_at: When the part was stored, in seconds since the epoch.
    """

    number: int
    size: int
    md5: bytes
    file: str
    checksums: Mapping[str, str]
    modified_at: float

    @property
    def etag(self) -> str:
        """
        The ETag of the part as S3 makes it, without quotation marks.
        """
        return self.md5.hex()


@dataclass(frozen=True, slots=True)
class BegunUpload:
    """
    One upload that has begun and not ended.

    Attributes:
        owner: The access key id that began the upload.
        begun_at: When the upload began, in seconds since the epoch.
    """

    key: bytes
    upload_id: str
    owner: str
    begun_at: float


def parse_part_number(raw: bytes) -> int:
    """
    Read a part number.

    Raises:
        InvalidArgument: The number is not in 1..10000, or not in S3's format: two readers could read two numbers.
    """
    number = int(raw) if _NUMBER.fullmatch(raw) is not None else 0
    if not 1 <= number <= MAX_PART_COUNT:
        raise InvalidArgument(_PART_NUMBER_RULE, "partNumber", raw[:64])
    return number


def parse_count(values: Mapping[bytes, bytes], name: bytes, default: int) -> int:
    """
    Read a parameter that limits a listing or says where it continues.

    Raises:
        InvalidArgument: The value is not an integer in 0..2147483647.
    """
    raw = values.get(name)
    if not raw:
        return default
    count = int(raw) if _COUNT.fullmatch(raw) is not None else -1
    if not 0 <= count <= _MAX_COUNT:
        text = name.decode()
        raise InvalidArgument(f"Provided {text} not an integer or within integer range", text, raw[:64])
    return count


def parse_copy_range(raw: bytes) -> tuple[int, int]:
    """
    Read ``x-amz-copy-source-range``: return the first and the last byte.

    Raises:
        InvalidArgument: The value is not ``bytes=first-last``; S3 accepts no other form here.
    """
    found = _RANGE.fullmatch(raw)
    if found is None or int(found[2]) < int(found[1]):
        raise InvalidArgument(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the "
            "zero-based offsets of the first and last bytes to copy",
            "x-amz-copy-source-range",
            raw,
        )
    return int(found[1]), int(found[2])


def read_completion(document: bytes) -> tuple[CompletedPart, ...]:
    """
    Read the document of CompleteMultipartUpload.

    Args:
        document: The verified document.

    Raises:
        MalformedXML: The document does not have S3's format, or names no part, or more than 10,000.
        InvalidArgument: A part number is outside 1..10000.
    """
    root = parse_document(document, max_elements=_ELEMENTS_OF_PART * MAX_PART_COUNT + 1)
    if local_name(root) != "CompleteMultipartUpload" or not 0 < len(root) <= MAX_PART_COUNT:
        raise MalformedXML
    return tuple(map(_read_part, root))


def _read_part(element: Element) -> CompletedPart:
    if local_name(element) != "Part":
        raise MalformedXML
    texts: dict[str, str] = {}
    for child in element:
        name = local_name(child)
        if name in texts or len(child) or not (name in {"PartNumber", "ETag"} or _CHECKSUM.fullmatch(name)):
            raise MalformedXML
        texts[name] = (child.text or "").strip(" \t\r\n")
    number, etag = texts.pop("PartNumber", None), texts.pop("ETag", None)
    if number is None or etag is None or re.fullmatch(r"[+-]?[0-9]{1,10}", number) is None:
        raise MalformedXML
    if len(etag) >= 2 and etag[0] == etag[-1] == '"':
        etag = etag[1:-1]
    checksums = {name.removeprefix("Checksum").lower(): value for name, value in texts.items()}
    return CompletedPart(parse_part_number(number.encode()), etag, checksums or _NO_CHECKSUMS)


def completion_digest(parts: Iterable[CompletedPart]) -> bytes:
    """
    Return a digest that is equal for two CompleteMultipartUpload documents with the same parts and ETags.
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(b"%d %b\n" % (part.number, part.etag.lower().encode()))
    return digest.digest()


def choose_parts(
    wanted: Sequence[CompletedPart], stored: Mapping[int, Part], max_size: int, upload_id: str
) -> list[Part]:
    """
    Return the stored parts of an object, in order.

    Args:
        stored: The stored parts by number.
        max_size: Maximum size of the whole object, in bytes.

    Raises:
        InvalidPartOrder: The parts are not in ascending order.
        InvalidPart: A part is not stored, or differs from what the client claims.
        EntityTooSmall: A part has fewer than 5 MiB, and is not the last.
        EntityTooLarge: Together the parts are larger than one object of the backend may be.
    """
    for one, following in pairwise(wanted):
        if following.number <= one.number:
            raise InvalidPartOrder(UploadId=upload_id)
    chosen = []
    for claimed in wanted:
        part = stored.get(claimed.number)
        if part is None or claimed.etag.lower() != part.etag or not claimed.checksums.items() <= part.checksums.items():
            raise InvalidPart(UploadId=upload_id, PartNumber=str(claimed.number), ETag=claimed.etag[:64])
        chosen.append(part)
    for part in chosen[:-1]:
        if part.size < MIN_PART_SIZE:
            raise EntityTooSmall(part.size, MIN_PART_SIZE)
    size = sum(part.size for part in chosen)
    if size > max_size:
        raise EntityTooLarge(size, max_size)
    return chosen


def check_object_size(raw: bytes | None, size: int) -> None:
    """
    Compare ``x-amz-mp-object-size``, if it was sent, with the size of all parts.

    Raises:
        InvalidRequest: The sizes differ.
    """
    if raw is not None and (_COUNT.fullmatch(raw) is None or int(raw) != size):
        raise InvalidRequest("The provided 'x-amz-mp-object-size' header does not match what was computed.")


def joined_etag(md5s: Sequence[bytes]) -> str:
    """
    Return the ETag of an object made of parts, without quotation marks.
    """
    return f"{hashlib.md5(b''.join(md5s)).hexdigest()}-{len(md5s)}"


def joined_digest(parts: Sequence[Part], algorithm: Algorithm) -> bytes | None:
    """
    Return the digest of the parts' digests, which is an object's composite checksum; None if a part has no such
    checksum.

    Source:
        "Checking object integrity in Amazon S3", composite checksums.
    """
    joined = algorithm.begin()
    for part in parts:
        digest = part.checksums.get(algorithm.name.decode())
        if digest is None:
            return None
        joined.update(base64.b64decode(digest))
    return joined.digest()


# Listings


@dataclass(frozen=True, slots=True)
class UploadsQuery:
    """
    The parameters of ListMultipartUploads.

    Attributes:
        key_marker: Uploads of keys before this one are left out; those of this key too, unless there is an upload id
            marker.
        most: Maximum number of uploads and common prefixes together.
        is_encoded: Whether names in the response are URL-encoded.
    """

    prefix: bytes = b""
    delimiter: bytes = b""
    key_marker: bytes = b""
    upload_id_marker: bytes = b""
    most: int = MAX_LISTED
    is_encoded: bool = False

    @classmethod
    def parse(cls, values: Mapping[bytes, bytes]) -> UploadsQuery:
        """
        Read the parameters of a request.

        Raises:
            InvalidArgument: A parameter is not valid.
        """
        encoding = values.get(b"encoding-type")
        if encoding not in {None, b"", b"url"}:
            raise InvalidArgument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
        key_marker = values.get(b"key-marker", b"")
        return cls(
            values.get(b"prefix", b""),
            values.get(b"delimiter", b""),
            key_marker,
            values.get(b"upload-id-marker", b"") if key_marker else b"",
            min(MAX_LISTED, parse_count(values, b"max-uploads", MAX_LISTED)),
            encoding == b"url",
        )


@dataclass(frozen=True, slots=True)
class UploadsPage:
    """
    One page of ListMultipartUploads.

    Attributes:
        next_key: The key marker of the next page; None if this is the last page.
        next_upload_id: The upload id marker of the next page; empty after a common prefix.
    """

    uploads: tuple[BegunUpload, ...]
    common_prefixes: tuple[bytes, ...]
    next_key: bytes | None = None
    next_upload_id: str = ""


def page_of_uploads(uploads: Iterable[BegunUpload], query: UploadsQuery) -> UploadsPage:
    """
    Return the uploads of one page.

    Args:
        uploads: The uploads sorted by key, and those of one key by upload id.
    """
    found: list[BegunUpload] = []
    prefixes: list[bytes] = []
    last: tuple[bytes, str] = (b"", "")
    marker, id_marker = query.key_marker, query.upload_id_marker.decode("latin-1")
    for upload in uploads:
        if not upload.key.startswith(query.prefix):
            continue
        if marker and (upload.key < marker or (upload.key == marker and not id_marker)):
            continue
        name, upload_id = upload.key, upload.upload_id
        rest = upload.key[len(query.prefix) :]
        common = b""
        if query.delimiter and query.delimiter in rest:
            common = query.prefix + rest.partition(query.delimiter)[0] + query.delimiter
            if common <= marker or (prefixes and prefixes[-1] == common):
                continue
            name, upload_id = common, ""
        elif upload.key == marker and upload.upload_id <= id_marker:
            continue
        if len(found) + len(prefixes) == query.most:
            if not query.most:
                break
            return UploadsPage(tuple(found), tuple(prefixes), *last)
        last = (name, upload_id)
        if common:
            prefixes.append(common)
        else:
            found.append(upload)
    return UploadsPage(tuple(found), tuple(prefixes))


# Responses


def initiated_document(bucket: bytes, key: bytes, upload_id: str) -> bytes:
    """
    Return the response document of CreateMultipartUpload.
    """
    content = _element("Bucket", bucket) + _element("Key", key) + _element("UploadId", upload_id)
    return _document("InitiateMultipartUploadResult", content)


def part_copied_document(etag: str, modified_at: float, checksums: Mapping[str, str]) -> bytes:
    """
    Return the response document of UploadPartCopy.
    """
    content = _element("LastModified", _moment(modified_at)) + _element("ETag", f'"{etag}"') + _checksums(checksums)
    return _document("CopyPartResult", content)


def completed_document(location: bytes, bucket: bytes, key: bytes, etag: str) -> bytes:
    """
    Return the response document of CompleteMultipartUpload.
    """
    content = _element("Location", location) + _element("Bucket", bucket) + _element("Key", key)
    return _document("CompleteMultipartUploadResult", content + _element("ETag", f'"{etag}"'))


def parts_document(
    bucket: bytes,
    key: bytes,
    upload: BegunUpload,
    parts: Sequence[Part],
    marker: int,
    most: int,
    *,
    is_truncated: bool,
) -> bytes:
    """
    Return the response document of ListParts.

    Args:
        parts: The parts on this page.
        marker: The part number after which the page begins.
        most: Maximum number of parts on the page.
    """
    content = _element("Bucket", bucket) + _element("Key", key) + _element("UploadId", upload.upload_id)
    content += _people(upload.owner) + _element("StorageClass", "STANDARD")
    content += _element("PartNumberMarker", str(marker))
    content += _element("NextPartNumberMarker", str(parts[-1].number if parts else 0))
    content += _element("MaxParts", str(most)) + _element("IsTruncated", str(is_truncated).lower())
    content += "".join(
        "<Part>"
        + _element("PartNumber", str(part.number))
        + _element("LastModified", _moment(part.modified_at))
        + _element("ETag", f'"{part.etag}"')
        + _element("Size", str(part.size))
        + _checksums(part.checksums)
        + "</Part>"
        for part in parts
    )
    return _document("ListPartsResult", content)


def uploads_document(bucket: bytes, query: UploadsQuery, page: UploadsPage) -> bytes:
    """
    Return the response document of ListMultipartUploads.
    """

    def name(element: str, value: bytes) -> str:
        return _element(element, quote_from_bytes(value, safe="/-_.~*") if query.is_encoded else value)

    content = _element("Bucket", bucket)
    content += name("KeyMarker", query.key_marker) + _element("UploadIdMarker", query.upload_id_marker)
    if page.next_key is not None:
        content += name("NextKeyMarker", page.next_key) + _element("NextUploadIdMarker", page.next_upload_id)
    content += name("Delimiter", query.delimiter) if query.delimiter else ""
    content += name("Prefix", query.prefix)
    content += _element("EncodingType", "url") if query.is_encoded else ""
    content += _element("MaxUploads", str(query.most))
    content += _element("IsTruncated", str(page.next_key is not None).lower())
    content += "".join(
        "<Upload>"
        + name("Key", upload.key)
        + _element("UploadId", upload.upload_id)
        + _people(upload.owner)
        + _element("StorageClass", "STANDARD")
        + _element("Initiated", _moment(upload.begun_at))
        + "</Upload>"
        for upload in page.uploads
    )
    content += "".join(f"<CommonPrefixes>{name('Prefix', prefix)}</CommonPrefixes>" for prefix in page.common_prefixes)
    return _document("ListMultipartUploadsResult", content)


def _document(root: str, content: str) -> bytes:
    return DECLARATION + f"<{root} {_NAME_SPACE}>{content}</{root}>".encode()


def _element(name: str, text: str | bytes) -> str:
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return f"<{name}>{escape_text(text)}</{name}>"


def _people(owner: str) -> str:
    person = _element("ID", owner) + _element("DisplayName", owner)
    return f"<Initiator>{person}</Initiator><Owner>{person}</Owner>"


def _checksums(checksums: Mapping[str, str]) -> str:
    return "".join(_element(f"Checksum{name.upper()}", value) for name, value in sorted(checksums.items()))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
