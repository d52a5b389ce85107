"""
Which operations and functions of S3 a backend has. A request for any other is refused before it is sent.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from s3proxy.profiles.ignored import Conditions
from s3proxy.profiles.operations import ALL_OPERATIONS, operations_named
from s3proxy.s3.address import Address
from s3proxy.s3.classification import Classification, level_of
from s3proxy.s3.errors import MethodNotAllowed, NotImplementedByProxy
from s3proxy.s3.head import RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.operation import OPERATIONS, UPLOAD_PART_COPY, Operation
from s3proxy.s3.query import query_names


class Feature(IdentityEnum):
    """
    A function that headers request, in any operation. The value is its name in the documentation.
    """

    CONDITIONAL_WRITES = "conditional writes"
    ENCRYPTION = "encryption"
    OBJECT_LOCK = "object lock"
    TAGGING = "tagging"


ALL_FEATURES = frozenset(Feature)

_FEATURE_HEADERS = {
    b"x-amz-bucket-object-lock-enabled": Feature.OBJECT_LOCK,
    b"x-amz-object-lock-legal-hold": Feature.OBJECT_LOCK,
    b"x-amz-object-lock-mode": Feature.OBJECT_LOCK,
    b"x-amz-object-lock-retain-until-date": Feature.OBJECT_LOCK,
    b"x-amz-server-side-encryption": Feature.ENCRYPTION,
    b"x-amz-server-side-encryption-customer-algorithm": Feature.ENCRYPTION,
    b"x-amz-tagging": Feature.TAGGING,
}
"""
Headers that a backend without the function would ignore silently, although the client relies on them.
"""

_PROMISES_NOTHING = {b"x-amz-bucket-object-lock-enabled": (b"false",), b"x-amz-object-lock-legal-hold": (b"OFF",)}
"""
Values that do not request the function: rclone sends such a header with each new bucket.
"""

SOURCE_CONDITIONS = {
    b"x-amz-copy-source-if-match": b"If-Match",
    b"x-amz-copy-source-if-modified-since": b"If-Modified-Since",
    b"x-amz-copy-source-if-none-match": b"If-None-Match",
    b"x-amz-copy-source-if-unmodified-since": b"If-Unmodified-Since",
}
"""
Conditions on the source of a copy, each with its name in a GET of the source.
"""

_SOURCE_CONDITIONS = frozenset(SOURCE_CONDITIONS)
_WRITE_CONDITIONS = _SOURCE_CONDITIONS | {
    b"if-match",
    b"if-none-match",
    b"x-amz-if-match-initiated-time",
    b"x-amz-if-match-last-modified-time",
    b"x-amz-if-match-size",
}

_EXPECTED_OWNER = b"x-amz-expected-bucket-owner"
_EXPECTED_OWNER_OF_SOURCE = b"x-amz-source-expected-bucket-owner"
_WITHOUT_OWNER = frozenset({"CreateBucket", "ListBuckets"})

_NO_HEADERS: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class Extension:
    """
    A function of a storage system that S3 does not have.

    Attributes:
        name: The configuration's word for it.
        operations: Names of the S3 operations that it extends.
        parameters: Query names that it adds to them, decoded.
        headers: Header names that it adds to them, in lower case.
        is_default: Whether clients may use it unless the configuration says otherwise.
    """

    name: str
    operations: frozenset[str]
    parameters: frozenset[bytes] = frozenset()
    headers: frozenset[bytes] = frozenset()
    is_default: bool = False


CEPH_EXTENSIONS = (
    Extension("append", operations_named("PutObject"), frozenset({b"append", b"position"}), is_default=True),
    Extension(
        "unordered-listing",
        operations_named("ListObjects ListObjectsV2 ListObjectVersions"),
        frozenset({b"allow-unordered"}),
        is_default=True,
    ),
)
"""
Source: ceph/ceph, "Ceph Object Gateway S3 API", object and bucket operations.
"""

MINIO_EXTENSIONS = (
    Extension(
        "metadata-listing",
        operations_named("ListObjectsV2 ListObjectVersions"),
        frozenset({b"metadata"}),
        is_default=True,
    ),
    Extension(
        "extract",
        operations_named("GetObject HeadObject ListObjects ListObjectsV2"),
        headers=frozenset({b"x-minio-extract"}),
    ),
    Extension("snowball", operations_named("PutObject"), headers=frozenset({b"x-amz-meta-snowball-auto-extract"})),
)
"""
Source: minio/minio, "Extracting files from ZIP archives"; minio-go, ``ListObjectsOptions.WithMetadata``.
"""

EXTENSIONS: dict[str, Extension] = {each.name: each for each in (*CEPH_EXTENSIONS, *MINIO_EXTENSIONS)}
"""
All extensions of all profiles, by name.
"""


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    What clients may request from one backend.

    Attributes:
        operations: Names of S3 operations.
        features: Functions that headers request.
        extensions: Functions that S3 does not have.
        ignored: Conditions of writes that the backend would ignore. They are refused, because a client uses them as a
            lock.
        checked: Conditions of writes that s3proxy checks with a HEAD before the write. They are not sent.
        keeps_multipart: Whether s3proxy carries out multipart uploads itself. It then checks conditions of
            UploadPartCopy with a GET of the source, even if the backend has no conditional writes.
        judges_sources: Whether s3proxy checks conditions on the source of a copy with a HEAD before the copy. They are
            not sent.
        refuses_owners: Whether a request that names the expected owner of a bucket is refused, because the backend
            would ignore that.
    """

    operations: frozenset[str] = ALL_OPERATIONS
    features: frozenset[Feature] = ALL_FEATURES
    extensions: tuple[Extension, ...] = ()
    ignored: Conditions = field(default_factory=dict)
    checked: Conditions = field(default_factory=dict)
    keeps_multipart: bool = False
    judges_sources: bool = False
    refuses_owners: bool = False

    def checks(self, operation: Operation, head: RequestHead) -> frozenset[bytes]:
        """
        Return the lower-case names of a request's headers with conditions that s3proxy checks itself.
        """
        return self.checked.get(operation.name, _NO_HEADERS) & head.fields.keys()

    def checks_source(self, operation: Operation, head: RequestHead) -> frozenset[bytes]:
        """
        Return the lower-case names of a copy's headers with conditions on its source that s3proxy checks itself.
        """
        if not self.judges_sources or not operation.copies:
            return _NO_HEADERS
        return _SOURCE_CONDITIONS & head.fields.keys()

    def ignores(self, operation: Operation, condition: bytes) -> bool:
        """
        Return True if a condition of an operation is refused.
        """
        return condition in self.ignored.get(operation.name, ())

    def parameters(self, classification: Classification) -> frozenset[bytes]:
        """
        Return the decoded query names that are sent to the backend.
        """
        passed = classification.passed_names
        if classification.extra_names:
            for extension in self.extensions:
                if classification.operation.name in extension.operations:
                    passed |= extension.parameters & classification.extra_names
        return passed

    def has_header(self, operation_name: str, header: bytes) -> bool:
        """
        Return True if an otherwise private header belongs to an extension of an operation.
        """
        return any(header in each.headers and operation_name in each.operations for each in self.extensions)


def check_taken(allowed: Allowed, head: RequestHead, classification: Classification) -> None:
    """
    Refuse a request for something that a backend lacks. If the backend ignored the unknown part, it would do something
    else than the client requested.

    Args:
        allowed: What clients may request from this backend.
        head: As authorized.

    Raises:
        NotImplementedByProxy: The backend lacks the operation or a function that a header requests, or a write has a
            parameter or a condition that the backend does not know.
    """
    operation = classification.operation
    if operation.name not in allowed.operations:
        raise NotImplementedByProxy
    if (
        classification.unknown_names
        and not operation.is_read
        and not classification.unknown_names <= allowed.parameters(classification)
    ):
        raise NotImplementedByProxy
    ignored = allowed.ignored.get(operation.name, _NO_HEADERS)
    if not ignored.isdisjoint(head.fields):
        raise NotImplementedByProxy(None, Header=next(header for header in head.fields if header in ignored))
    if allowed.refuses_owners:
        _check_owners(operation, head)
    if allowed.features is not ALL_FEATURES and not _features(operation, head, allowed) <= allowed.features:
        raise NotImplementedByProxy


def _check_owners(operation: Operation, head: RequestHead) -> None:
    """
    Refuse a request that names the expected owner of a bucket, because the backend would not check it.

    Source:
        "Verifying bucket ownership with bucket owner condition": reads have the condition, too; two operations do not.
    """
    if _EXPECTED_OWNER in head.fields and operation.name not in _WITHOUT_OWNER:
        raise NotImplementedByProxy(None, Header=_EXPECTED_OWNER)
    if operation.copies and _EXPECTED_OWNER_OF_SOURCE in head.fields:
        raise NotImplementedByProxy(None, Header=_EXPECTED_OWNER_OF_SOURCE)


def refusal_of_method(
    allowed: Allowed, head: RequestHead, address: Address, not_allowed: MethodNotAllowed
) -> MethodNotAllowed | NotImplementedByProxy:
    """
    Return the error for a method that S3 does not have for a sub-resource. It is NotImplemented if the backend does not
    have the sub-resource at all.
    """
    asked = query_names(head.raw_query)
    if not asked:
        return not_allowed
    level = level_of(address)
    here = [each for each in OPERATIONS.values() if each.level is level and each.subresource in asked]
    if here and not any(each.name in allowed.operations for each in here):
        return NotImplementedByProxy()
    return not_allowed


def _features(operation: Operation, head: RequestHead, allowed: Allowed) -> set[Feature]:
    asked = {
        feature
        for header, feature in _FEATURE_HEADERS.items()
        if header in head.fields and head.fields[header] != _PROMISES_NOTHING.get(header)
    }
    conditions = _WRITE_CONDITIONS
    if operation.copies and (allowed.judges_sources or (allowed.keeps_multipart and operation is UPLOAD_PART_COPY)):
        conditions = conditions - _SOURCE_CONDITIONS
    if not operation.is_read and not conditions.isdisjoint(head.fields):
        asked.add(Feature.CONDITIONAL_WRITES)
    return asked
