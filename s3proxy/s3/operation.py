"""
What an S3 request asks for, as far as a proxy must know: whether its body is an object, a document, a form, or nothing.
"""

from __future__ import annotations

import re
from enum import auto
from urllib.parse import unquote_to_bytes

from s3proxy.s3.address import Address
from s3proxy.s3.errors import (
    BadRequest,
    InvalidArgument,
    KeyTooLongError,
    MetadataTooLarge,
    MethodNotAllowed,
)
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_KEY_SIZE, MAX_METADATA_SIZE
from s3proxy.s3.query import query_names

_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"})
_REFUSED_METHODS = frozenset({b"TRACE", b"CONNECT", b"PATCH"})
_METADATA_PREFIX = b"x-amz-meta-"

# MinIO takes whatever matches "multipart/form-data*", as a regular expression, for a form.
_ANY_FORM_TYPE = b"multipart/form-dat"
_FORM_TYPE = re.compile(rb"multipart/form-data[ \t]*(?:;|\Z)", re.IGNORECASE)
_OBJECT_DOCUMENTS = frozenset(
    {b"acl", b"tagging", b"retention", b"legal-hold", b"annotation", b"encryption", b"renameObject"}
)
_INTEGRITY_REQUIRED = frozenset(
    {
        b"acl",
        b"cors",
        b"encryption",
        b"legal-hold",
        b"lifecycle",
        b"logging",
        b"object-lock",
        b"ownershipControls",
        b"policy",
        b"publicAccessBlock",
        b"replication",
        b"requestPayment",
        b"retention",
        b"tagging",
        b"versioning",
        b"website",
    }
)


class BodyUse(IdentityEnum):
    """
    What a request's body is to its backend.
    """

    OBJECT = auto()
    "the octets of an object or a part: they stream"
    DOCUMENT = auto()
    "the XML of an operation: verified whole, then sent on"
    NONE = auto()
    "nothing: verified within a bound, and not sent on"


def is_form(fields: Fields) -> bool:
    """
    Say whether a body is a form which may hold a file.

    Raises:
        BadRequest: There are two Content-Type headers: one reader takes the first, another the last.
    """
    _check_one_type(fields)
    return _FORM_TYPE.match(fields.value(b"content-type") or b"") is not None


def _may_be_form(fields: Fields) -> bool:
    """
    Say whether a backend could take a body for a form, however the type is spelled.
    """
    _check_one_type(fields)
    return _ANY_FORM_TYPE in (fields.value(b"content-type") or b"").lower()


def _check_one_type(fields: Fields) -> None:
    if len(fields.get(b"content-type", ())) > 1:
        raise BadRequest


def is_copy(head: RequestHead) -> bool:
    """
    Say whether the object's octets come from another object.
    """
    return b"x-amz-copy-source" in head.fields


def is_head_bucket(head: RequestHead, address: Address) -> bool:
    """
    Say whether a request asks for nothing but a bucket's presence, and its region.
    """
    return head.method == b"HEAD" and bool(address.bucket) and not address.key


def body_use(head: RequestHead, address: Address) -> BodyUse:
    """
    Say what the body of a request is.
    """
    method = head.method
    if method == b"PUT":
        if is_copy(head):
            return BodyUse.NONE
        if not address.key:
            return BodyUse.DOCUMENT
        if head.raw_query and not _OBJECT_DOCUMENTS.isdisjoint(query_names(head.raw_query)):
            return BodyUse.DOCUMENT
        return BodyUse.OBJECT
    if method == b"POST":
        return BodyUse.DOCUMENT
    return BodyUse.NONE


def requires_integrity(head: RequestHead, address: Address) -> bool:
    """
    Say whether the operation's document must come with Content-MD5 or a checksum.

    Source:
        "DeleteObjects", and the ``PUT`` operations of a bucket's configuration.
    """
    if not head.raw_query:
        return False
    names = query_names(head.raw_query)
    if head.method == b"POST":
        return not address.key and b"delete" in names
    return head.method == b"PUT" and not address.key and not _INTEGRITY_REQUIRED.isdisjoint(names - {b"acl", b"policy"})


def deletes_objects(head: RequestHead, address: Address) -> bool:
    """
    Say whether the operation is DeleteObjects: its document names what is to be deleted.
    """
    return head.method == b"POST" and not address.key and b"delete" in query_names(head.raw_query)


def describes_object(head: RequestHead) -> bool:
    """
    Say whether checksum headers are about an object which is already there, not about this body.

    Source:
        "CompleteMultipartUpload"; and "CreateMultipartUpload", whose headers announce.
    """
    if head.method != b"POST":
        return False
    names = query_names(head.raw_query)
    return b"uploadId" in names or b"uploads" in names


def copies_inside(head: RequestHead) -> bool:
    """
    Say whether a backend may work long before it answers: it copies, or joins parts.
    """
    if is_copy(head):
        return True
    if head.method != b"POST":
        return False
    names = query_names(head.raw_query)
    return b"uploadId" in names or b"restore" in names


def creates_bucket(head: RequestHead, address: Address) -> bool:
    """
    Say whether the operation is CreateBucket.
    """
    return head.method == b"PUT" and not address.key and bool(address.bucket) and not head.raw_query


def completes_upload(head: RequestHead) -> bool:
    """
    Say whether the operation is CompleteMultipartUpload.
    """
    return head.method == b"POST" and b"uploadId" in query_names(head.raw_query)


def belongs_to_upload(head: RequestHead) -> bool:
    """
    Say whether the operation begins, continues or ends a multipart upload.
    """
    return not query_names(head.raw_query).isdisjoint({b"uploads", b"uploadId"})


def check_method(method: bytes) -> None:
    """
    Refuse what S3 has no operation for.

    Raises:
        BadRequest: The method is not known; S3's are in upper case.
        MethodNotAllowed: It is known, and never allowed here.
    """
    if method not in _METHODS:
        if method in _REFUSED_METHODS:
            raise MethodNotAllowed(method, "OBJECT")
        raise BadRequest


def check_operation(head: RequestHead, address: Address) -> None:
    """
    Refuse what no backend may be asked, once the client is known to be who it says.

    Raises:
        MethodNotAllowed: A form came with a signature in its head: nobody would read its policy.
        BadRequest: A POST that could be a form has two Content-Type headers.
        KeyTooLongError: The key has more than 1,024 bytes.
        MetadataTooLarge: The metadata has more than 2 KiB.
        InvalidArgument: A copy's source names no key: such a request ends Ceph 16.2.
    """
    if head.method == b"POST" and not address.key and (not head.raw_query or _may_be_form(head.fields)):
        raise MethodNotAllowed(head.method, "BUCKET" if address.bucket else "SERVICE")
    # Ceph takes each other POST to an object for a form, whose key is another one. An upload's type is its object's.
    if head.method == b"POST" and address.key and not belongs_to_upload(head) and _may_be_form(head.fields):
        raise MethodNotAllowed(head.method, "OBJECT")
    if len(address.key) > MAX_KEY_SIZE:
        raise KeyTooLongError(len(address.key), MAX_KEY_SIZE)
    if head.method in {b"PUT", b"POST"}:
        _check_metadata(head)
        for source in head.fields.get(b"x-amz-copy-source", ()):
            check_copy_source(source)


def check_copy_source(raw_source: bytes) -> None:
    """
    Refuse a copy source without a key.

    Args:
        raw_source: ``/bucket/key?versionId=id``, escaped; the first slash and the version may be absent.

    Raises:
        InvalidArgument: There is no bucket, or no key.
    """
    path = _copy_source_path(raw_source)
    if not path.startswith(b"arn:"):
        bucket, _, key = path.removeprefix(b"/").partition(b"/")
        if bucket and key.strip(b"/"):
            return
    elif path.partition(b"/object/")[2]:
        return
    raise InvalidArgument("Invalid copy source object key", "x-amz-copy-source", raw_source)


def copy_source_bucket(raw_source: bytes) -> bytes | None:
    """
    Return the bucket of a copy source, decoded; None where it names an access point.

    Args:
        raw_source: As `check_copy_source` lets it pass.
    """
    path = _copy_source_path(raw_source)
    return None if path.startswith(b"arn:") else path.removeprefix(b"/").partition(b"/")[0]


def _copy_source_path(raw_source: bytes) -> bytes:
    return unquote_to_bytes(raw_source.partition(b"?")[0])


def _check_metadata(head: RequestHead) -> None:
    size = 0
    for name, values in head.fields.items():
        if name.startswith(_METADATA_PREFIX):
            size += len(name) - len(_METADATA_PREFIX) + sum(map(len, values))
    if size > MAX_METADATA_SIZE:
        raise MetadataTooLarge(size, MAX_METADATA_SIZE)
