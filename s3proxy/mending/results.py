"""
Check that a success is real: a storage system may respond with 200 although it has failed, or has stored nothing.

Walrus 3.4 responds with 200 and an ``ExceptionResponse`` to any failure that is not one of its S3 errors: a full disk,
an unreachable database. If its database refuses the record of an object, it responds with 200 and the entity tag of the
former content.

Source:
    eucalyptus/eucalyptus, ``walrus-binding.xml`` and ``osg-s3ns-binding-inc.xml``: the roots of its documents.
"""

from __future__ import annotations

import re

from s3proxy.s3.elements import (
    Element,
    Reading,
    character_data,
    name_bytes,
    name_data,
    read_elements,
    read_listing_elements,
    remove_elements,
    replace_contents,
)
from s3proxy.s3.errors import InternalError, NoSuchLifecycleConfiguration
from s3proxy.s3.head import HeaderList, ResponseHead
from s3proxy.s3.operation import (
    COPY_OBJECT,
    GET_BUCKET_LIFECYCLE,
    GET_BUCKET_VERSIONING,
    GET_OBJECT,
    HEAD_BUCKET,
    HEAD_OBJECT,
    LIST_MULTIPART_UPLOADS,
    LIST_OBJECT_VERSIONS,
    LIST_OBJECTS,
    LIST_OBJECTS_V2,
    PUT_OBJECT,
    UPLOAD_PART,
    Operation,
)

NAME_SPACE = b"http://s3.amazonaws.com/doc/2006-03-01/"

RESULT_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CopyObject": "CopyObjectResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLocation": "LocationConstraint",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
}
"""
The root of the response document of each operation. The Eucalyptus family sends documents for other operations, too; S3
sends none for those.

Source:
    "Amazon S3 API Reference", Actions: Response Syntax.
"""

LISTINGS = frozenset({LIST_OBJECT_VERSIONS, LIST_OBJECTS, LIST_OBJECTS_V2})
_WRITES = frozenset({PUT_OBJECT, UPLOAD_PART})
_READS = frozenset({GET_OBJECT, HEAD_OBJECT})
_FAULT_ROOTS = frozenset({"Error", "ErrorResponse", "ExceptionResponse", "Response"})
_WANTED = frozenset({"CopyObjectResult", "ETag", "LastModified", "Rule", "Status"})
_NAMES_OF = {
    "ListBuckets": {"Bucket": "Name"},
    "ListMultipartUploads": {"CommonPrefixes": "Prefix", "Upload": "Key"},
}
"""
By operation: the elements of its list, and the child that has their name.
"""
_PAGE_ENDS = frozenset({"IsTruncated", "MaxParts", "MaxUploads", "NextKeyMarker", "Prefix"})
_MD5 = re.compile(rb"[0-9a-f]{32}")


class DisbelievedError(InternalError):
    """
    The backend's response claims success, but fails a check.

    Args:
        reason: The reason for the log and the metrics: ``document``, ``etag`` or ``md5``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


def check_head(operation: Operation, response: ResponseHead, md5: bytes | None) -> None:
    """
    Check the head of a success.

    Args:
        md5: The MD5 of the body that was sent, in lower-case hex; None if it is not known.

    Raises:
        DisbelievedError: The response to a write of an object or part has no entity tag, or that of other bytes. Or the
            response to a read of an object looks like a document of the service. Or the response to a HEAD of a bucket
            declares a document, which is an error document.
    """
    etag = (response.fields.value(b"etag") or b"").strip(b'"')
    if operation in _WRITES:
        if not etag:
            raise DisbelievedError("etag")
        if md5 is not None and _MD5.fullmatch(etag.lower()) and etag.lower() != md5:
            raise DisbelievedError("md5")
    elif operation in _READS and not etag and b"last-modified" not in response.fields and _is_xml(response):
        # An object always has an entity tag and a Last-Modified.
        raise DisbelievedError("etag")
    elif operation is HEAD_BUCKET and response.content_length and _is_xml(response):
        raise DisbelievedError("document")


def _is_xml(response: ResponseHead) -> bool:
    return b"xml" in (response.fields.value(b"content-type") or b"").lower()


def has_document(operation: Operation) -> bool:
    """
    Return True if S3 responds to the operation with a document.
    """
    return operation.name in RESULT_ROOTS


def is_fault(document: bytes) -> bool:
    """
    Return True if the document of a success reports a failure, for an operation to which S3 responds without a
    document.
    """
    if not document.lstrip().startswith(b"<"):
        return False
    reading = read_elements(document, ())
    # A document that reports no failure is called "CreateBucketResponse", "UploadPartResult" or similar.
    is_own = reading.root_name.endswith(("Response", "Result")) and reading.root_name not in _FAULT_ROOTS
    return not (reading.is_readable and is_own)


def check_root(operation: Operation, reading: Reading) -> None:
    """
    Raises:
        DisbelievedError: The document is not of this operation.
    """
    if not reading.is_readable or reading.root_name != RESULT_ROOTS[operation.name]:
        raise DisbelievedError("document")


def mend_result(operation: Operation, document: bytes) -> bytes:
    """
    Return the document of a success in S3's form; empty if S3 sends none.

    Raises:
        DisbelievedError: The document is not of this operation.
        NoSuchLifecycleConfiguration: The document has no rule.
    """
    if not has_document(operation):
        if is_fault(document):
            raise DisbelievedError("document")
        return b""
    reading = read_elements(document, _WANTED)
    if operation is COPY_OBJECT:
        return _copy_result(reading)
    check_root(operation, reading)
    if operation is GET_BUCKET_LIFECYCLE and "Rule" not in {element.name for element in reading.elements}:
        raise NoSuchLifecycleConfiguration
    if operation is GET_BUCKET_VERSIONING:
        # S3 sends no status for a bucket that never had versioning, and clients know only two values.
        never = [element for element in reading.elements if element.name == "Status" and element.text == "Disabled"]
        return remove_elements(reading.document, never)
    return replace_contents(reading.document, quoted_tags(reading))


def with_prefix(operation: Operation, document: bytes, prefix: bytes) -> bytes:
    """
    Return a list of buckets, or of uploads, without those whose name does not begin with the prefix.

    Raises:
        DisbelievedError: The document is not of this operation.
    """
    names = _NAMES_OF[operation.name]
    reading = read_elements(document, {*names, *names.values()})
    check_root(operation, reading)
    others, name = [], ""
    for element in reading.elements:
        if names.get(element.parent) == element.name:
            name = element.text
        elif element.name in names:
            if not name.encode().startswith(prefix):
                others.append(element)
            name = ""
    return remove_elements(reading.document, others)


def with_page_end(operation: Operation, document: bytes) -> bytes:
    """
    Return a page of uploads or parts with its end in S3's form.

    The gateway sends no next marker after a common prefix, and the client would request the same page for ever. If the
    client requests a page of no entries, the gateway says that there are more.

    Raises:
        DisbelievedError: The document is not of this operation.
        InternalError: There are more entries, and nothing shows where they begin.
    """
    reading = read_listing_elements(document, _PAGE_ENDS)
    check_root(operation, reading)
    if reading.root_text("IsTruncated") != "true":
        return document
    if "0" in {reading.root_text("MaxParts"), reading.root_text("MaxUploads")}:
        ends = [(element, b"false") for element in reading.elements if element.name == "IsTruncated"]
        return reading.written(replace_contents(reading.document, ends))
    if operation is not LIST_MULTIPART_UPLOADS or reading.texts("NextKeyMarker") not in ([], [""]):
        return document
    last = max(map(name_bytes, reading.texts("Prefix", "CommonPrefixes")), default=b"")
    markers = [(element, name_data(last)) for element in reading.elements if element.name == "NextKeyMarker"]
    if not (last and markers):
        raise InternalError
    return reading.written(replace_contents(reading.document, markers))


def _copy_result(reading: Reading) -> bytes:
    """
    Return the document of a copy, which Walrus 3.4 puts inside another one.
    """
    etag = next(iter(reading.texts("ETag", "CopyObjectResult")), "").strip()
    if not reading.is_readable or not etag.strip('"'):
        raise DisbelievedError("document")
    modified = next(iter(reading.texts("LastModified", "CopyObjectResult")), "")
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<CopyObjectResult xmlns="%s"><LastModified>%s</LastModified>'
        b"<ETag>%s</ETag></CopyObjectResult>"
    ) % (NAME_SPACE, character_data(modified.encode()), character_data(quote_tag(etag.encode())))


def quote_tag(etag: bytes) -> bytes:
    """
    Return an entity tag in quotation marks.
    """
    return etag if not etag or etag.endswith(b'"') else b'"%s"' % etag


def quoted_tags(reading: Reading) -> list[tuple[Element, bytes]]:
    """
    Return the new content of each entity tag in a document that has no quotation marks.
    """
    found = []
    for element in reading.elements:
        if element.name == "ETag":
            etag = element.name_bytes.strip()
            if quote_tag(etag) != etag:
                found.append((element, character_data(quote_tag(etag))))
    return found


def quote_headers(headers: HeaderList) -> HeaderList:
    """
    Return the headers of a response, with the entity tag in quotation marks.
    """
    return [(name, quote_tag(value) if name.lower() == b"etag" else value) for name, value in headers]
