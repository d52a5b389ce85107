"""
Refuse functions of S3 that a storage system would lose, misread or never respond to, before it gets the request.
"""

from __future__ import annotations

import re
from dataclasses import replace

from s3proxy.mending.documents import check_rights, checks_rights
from s3proxy.mending.listing import bad_token, read_token
from s3proxy.profiles.profile import Profile, Restrictions
from s3proxy.resign.headers import strike_aws_chunked
from s3proxy.resign.target import PAGE_LENGTH_NAMES
from s3proxy.s3.address import Address
from s3proxy.s3.classification import Classification
from s3proxy.s3.copy_source import CopySource, parse_copy_source
from s3proxy.s3.errors import (
    InvalidArgument,
    InvalidBucketName,
    KeyTooLongError,
    MetadataTooLarge,
    NotImplementedByProxy,
)
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_PAGE_NUMBER
from s3proxy.s3.operation import COPY_OBJECT, CREATE_MULTIPART_UPLOAD, PUT_OBJECT, UPLOAD_PART, Operation
from s3proxy.s3.query import query_items

_BUCKET = re.compile(rb"[A-Za-z0-9._-]+")
_COUNT = re.compile(rb"[0-9]{1,10}")
_METADATA_PREFIX = b"x-amz-meta-"
_OBJECT_WRITES = frozenset({PUT_OBJECT, COPY_OBJECT, CREATE_MULTIPART_UPLOAD})
_TEXT_HEADERS = frozenset({b"content-disposition", b"content-type"})
_READ_HEADERS = _TEXT_HEADERS | {b"cache-control", b"content-encoding", b"content-language", b"content-md5", b"expires"}
_ESCAPED = b"x-amz-copy-source"
_STORAGE_CLASS = b"x-amz-storage-class"
_CANNED_ACLS = frozenset(
    {
        b"authenticated-read",
        b"aws-exec-read",
        b"bucket-owner-full-control",
        b"bucket-owner-read",
        b"log-delivery-write",
        b"private",
        b"public-read",
        b"public-read-write",
    }
)
_NO_NAMES: frozenset[bytes] = frozenset()


def check_restrictions(
    profile: Profile,
    head: RequestHead,
    address: Address,
    classification: Classification,
    *,
    keeps_multipart: bool = False,
) -> None:
    """
    Refuse a request that the storage system would not carry out as the client means it.

    Args:
        head: The authorized head.
        keeps_multipart: Whether s3proxy keeps multipart uploads itself.

    Raises:
        NotImplementedByProxy: The storage system does not have the function, or reads it as another one.
        InvalidBucketName: The bucket cannot be named in a path there.
        KeyTooLongError: The key is longer than the storage system can store.
        MetadataTooLarge: A metadata value is longer than the storage system can store.
        InvalidArgument: A header or parameter is not valid in S3, or has bytes that the storage system reads as others.
        MissingSecurityHeader: The request sets access rights, and names none.
        UnexpectedContent: Rights are named both in a header and in a document.
    """
    restrictions, operation = profile.restrictions, classification.operation
    if restrictions is None:
        return
    if address.bucket:
        check_bucket(address.bucket)
    check_parameters(restrictions, operation, classification.passed_names)
    if profile.misreads_documents and checks_rights(operation):
        check_rights(head.fields, has_document=head.has_body)
    if not operation.is_read:
        _check_write(restrictions, head, address, operation)
    for name, values in head.fields.items():
        if (name.startswith(b"x-amz-") and name != _ESCAPED) or name in _READ_HEADERS:
            for value in values:
                if not value.isascii():
                    # The storage system decodes these bytes to other characters, and then refuses the signature of
                    # s3proxy.
                    raise InvalidArgument("The storage system accepts only ASCII in this header.", name.decode(), value)
    if head.raw_query and classification.passed_names:
        if keeps_multipart and operation.is_part_of_upload:
            # s3proxy lists these uploads itself, and does not use prefixes as patterns.
            restrictions = replace(restrictions, refused_delimiters=None, refused_prefixes=None)
        _check_query(restrictions, head.raw_query, address, classification)


def check_parameters(restrictions: Restrictions, operation: Operation, names: frozenset[bytes]) -> None:
    """
    Refuse an operation with a parameter that the storage system does not have: without the parameter, it would be
    another operation.

    Raises:
        NotImplementedByProxy: There is such a parameter.
    """
    if not names.isdisjoint(restrictions.refused_parameters.get(operation.name, _NO_NAMES)):
        raise NotImplementedByProxy


def check_bucket(bucket: bytes) -> None:
    """
    Refuse a bucket name that must be escaped in a path: the storage system does not decode it.

    Raises:
        InvalidBucketName: The name must be escaped.
    """
    if _BUCKET.fullmatch(bucket) is None or bucket in {b".", b".."}:
        raise InvalidBucketName(bucket)


def lossy_headers(restrictions: Restrictions, head: RequestHead, operation: Operation) -> frozenset[bytes]:
    """
    Return the lower-case names of a request's headers that S3 would store, and the storage system does not.
    """
    names = _NO_NAMES
    if _describes_object(head, operation):
        names = restrictions.lossy_headers
        if operation is COPY_OBJECT:
            names |= restrictions.lossy_headers_of_copies
    if operation in _OBJECT_WRITES:
        # S3 needs these headers with each copy, whatever is done with the metadata.
        names |= restrictions.lossy_properties
    lost = names & head.fields.keys()
    if _STORAGE_CLASS in lost and head.fields[_STORAGE_CLASS] == (b"STANDARD",):
        # Every object has this storage class there.
        lost -= {_STORAGE_CLASS}
    return lost


def _describes_object(head: RequestHead, operation: Operation) -> bool:
    """
    Return True if the headers of a request are stored with the object.
    """
    if operation is COPY_OBJECT:
        return head.fields.value(b"x-amz-metadata-directive") == b"REPLACE"
    return operation in _OBJECT_WRITES


def _check_write(restrictions: Restrictions, head: RequestHead, address: Address, operation: Operation) -> None:
    fields = head.fields
    if not restrictions.refused_headers.isdisjoint(fields):
        raise NotImplementedByProxy
    _check_acl(restrictions, head, operation)
    if operation is COPY_OBJECT:
        _check_copy(restrictions, head)
    if operation in _OBJECT_WRITES or operation is UPLOAD_PART:
        limit, length = restrictions.max_key_length, len(address.key.decode())
        if limit and length > limit:
            raise KeyTooLongError(length, limit)
    if restrictions.refuses_loss and lossy_headers(restrictions, head, operation):
        raise NotImplementedByProxy
    if not _describes_object(head, operation):
        return
    for name in restrictions.refused_object_headers & fields.keys():
        value = b",".join(fields[name])
        if name != b"content-encoding" or strike_aws_chunked(value).lower() not in {b"", b"identity"}:
            raise NotImplementedByProxy
    if restrictions.max_value_length:
        _check_values(head, restrictions.max_value_length)


def _check_values(head: RequestHead, limit: int) -> None:
    for name, values in head.fields.items():
        if name.startswith(_METADATA_PREFIX):
            length = max(len(name) - len(_METADATA_PREFIX), len(b",".join(values)))
        elif name in _TEXT_HEADERS:
            length = len(b",".join(values))
        else:
            continue
        if length > limit:
            raise MetadataTooLarge(length, limit)


def _check_acl(restrictions: Restrictions, head: RequestHead, operation: Operation) -> None:
    """
    Refuse access rights that the storage system does not grant, and an unknown canned ACL: it would be read as
    ``private``.
    """
    acl = head.fields.value(b"x-amz-acl")
    if acl is None:
        return
    if acl not in _CANNED_ACLS:
        raise InvalidArgument("There is no such canned ACL.", "x-amz-acl", acl)
    is_ignored = restrictions.ignores_acls or (restrictions.ignores_acl_of_copies and operation is COPY_OBJECT)
    if is_ignored and acl != b"private":
        raise NotImplementedByProxy


def _check_copy(restrictions: Restrictions, head: RequestHead) -> None:
    directive = head.fields.value(b"x-amz-metadata-directive")
    if directive not in {None, b"COPY", b"REPLACE"}:
        # Walrus reads an unknown directive as COPY, and new metadata would be lost.
        raise InvalidArgument("Unknown metadata directive.", "x-amz-metadata-directive", directive)
    read_copy_source(restrictions, head)


def read_copy_source(restrictions: Restrictions, head: RequestHead) -> CopySource:
    """
    Return the source of a copy.

    Raises:
        InvalidArgument: There are several sources, or the version is not valid.
        InvalidBucketName: The bucket of the source cannot be named in a path there.
        NotImplementedByProxy: The source is an access point, or the storage system reads it as another object.
    """
    raw_source, *others = head.fields[b"x-amz-copy-source"]
    if others:
        # Joined, the values would name a third object.
        raise InvalidArgument("There is more than one copy source", "x-amz-copy-source", raw_source)
    source = parse_copy_source(raw_source)
    if source is None:
        # The source is an S3 access point.
        raise NotImplementedByProxy
    check_bucket(source.bucket)
    if restrictions.refused_sources is not None and restrictions.refused_sources.search(source.key) is not None:
        raise NotImplementedByProxy
    return source


_REPEATED = frozenset({b"delimiter", b"key-marker", b"marker", b"prefix", b"start-after"})
"""
Parameters of a list that its document repeats.
"""


def _check_query(
    restrictions: Restrictions, raw_query: bytes, address: Address, classification: Classification
) -> None:
    refused = {b"delimiter": restrictions.refused_delimiters, b"prefix": restrictions.refused_prefixes}
    for name, value in query_items(raw_query):
        if name not in classification.passed_names:
            continue
        if name in PAGE_LENGTH_NAMES and value and not _is_page_length(value):
            message = f"Provided {name.decode()} not an integer or within integer range"
            raise InvalidArgument(message, name.decode(), value)
        try:
            value.decode()
        except UnicodeDecodeError:
            raise InvalidArgument("The value is not UTF-8", name.decode(), value) from None
        if not address.bucket:
            if name == b"continuation-token" and value:
                # The list of buckets has only one page.
                raise bad_token(value)
            continue
        pattern, unwritten = refused.get(name), restrictions.refused_names
        if pattern is not None and pattern.search(value) is not None:
            raise NotImplementedByProxy
        if name == b"continuation-token":
            _check_token(value, unwritten)
        if unwritten is not None and name in _REPEATED and unwritten.search(value) is not None:
            raise InvalidArgument("The storage system cannot return this name in a list", name.decode(), value)


def _check_token(token: bytes, unwritten: re.Pattern[bytes] | None) -> None:
    """
    Refuse a token that no list has returned: its key could not be written into a list.
    """
    marker = read_token(token)
    try:
        marker.decode()
    except UnicodeDecodeError:
        raise bad_token(token) from None
    if unwritten is not None and unwritten.search(marker) is not None:
        raise bad_token(token)


def _is_page_length(value: bytes) -> bool:
    return _COUNT.fullmatch(value) is not None and int(value) <= MAX_PAGE_NUMBER
