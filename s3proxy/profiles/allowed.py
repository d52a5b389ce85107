"""
What a backend takes of the operations that S3 has; what it does not is refused before it is asked.
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
    A function that headers of a request ask for, whatever its operation; the value is what the documentation calls it.
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
Headers whose promise a backend that does not know them would break in silence.
"""

_PROMISES_NOTHING = {b"x-amz-bucket-object-lock-enabled": [b"false"], b"x-amz-object-lock-legal-hold": [b"OFF"]}
"""
What these headers say if the function is not wanted: rclone sends one with each new bucket.
"""

SOURCE_CONDITIONS = {
    b"x-amz-copy-source-if-match": b"If-Match",
    b"x-amz-copy-source-if-modified-since": b"If-Modified-Since",
    b"x-amz-copy-source-if-none-match": b"If-None-Match",
    b"x-amz-copy-source-if-unmodified-since": b"If-Unmodified-Since",
}
"""
Conditions on the source of a copy, and what they are in a GET of it.
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
    A function of a storage beyond S3.

    Attributes:
        name: The configuration's word for it.
        operations: Those of S3 that it extends, by name.
        parameters: Query names that they get, decoded.
        headers: Header names that they get, in lower case.
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
All extensions that any profile knows, by name.
"""


@dataclass(frozen=True, slots=True)
class Allowed:
    """
    What clients may ask of one backend.

    Attributes:
        operations: Those of S3, by name.
        features: Functions that headers ask for.
        extensions: Functions beyond S3.
        ignored: Conditions of writes that it would ignore, and that are refused therefore: a client takes them for a
            lock.
        checked: Those that are judged here, by a HEAD before the write, and not sent.
        keeps_multipart: Whether multipart uploads are carried out here: conditions of UploadPartCopy are judged with a
            GET of its source, whatever the backend knows of conditional writes.
        judges_sources: Whether conditions on a copy's source are judged here, by a HEAD of the source before the copy,
            and not sent.
        refuses_owners: Whether a request that says who has its bucket is refused: the backend would not look at it.
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
        Return the lower-case names of the headers by which a request sets conditions that are judged here.
        """
        return self.checked.get(operation.name, _NO_HEADERS) & head.fields.keys() if self.checked else _NO_HEADERS

    def checks_source(self, operation: Operation, head: RequestHead) -> frozenset[bytes]:
        """
        Return the lower-case names of the headers by which a copy sets conditions on its source that are judged here.
        """
        if not self.judges_sources or not operation.copies:
            return _NO_HEADERS
        return _SOURCE_CONDITIONS & head.fields.keys()

    def ignores(self, operation: Operation, condition: bytes) -> bool:
        """
        Return True if a condition of an operation is to be refused.
        """
        return condition in self.ignored.get(operation.name, ())

    def parameters(self, classification: Classification) -> frozenset[bytes]:
        """
        Return the decoded query names that go to the backend.
        """
        passed = classification.passed_names
        if classification.extra_names:
            for extension in self.extensions:
                if classification.operation.name in extension.operations:
                    passed |= extension.parameters & classification.extra_names
        return passed

    def has_header(self, operation_name: str, header: bytes) -> bool:
        """
        Return True if a header that is private otherwise belongs to an extension of an operation.
        """
        return any(header in each.headers and operation_name in each.operations for each in self.extensions)


def check_taken(allowed: Allowed, head: RequestHead, classification: Classification) -> None:
    """
    Refuse at once what a backend lacks. It is spared; and where it would ignore what it does not know, it would do
    something else than it was asked for.

    Args:
        allowed: What clients may ask of this backend.
        head: As authorized.

    Raises:
        NotImplementedByProxy: It has no such operation, no function that a header asks for, or a write has a parameter
            or a condition that it does not know.
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
    Refuse what is only to be done if somebody's bucket is his, where nobody would look whose it is.

    Source:
        "Verifying bucket ownership with bucket owner condition": reads have it as well; two operations do not.
    """
    if _EXPECTED_OWNER in head.fields and operation.name not in _WITHOUT_OWNER:
        raise NotImplementedByProxy(None, Header=_EXPECTED_OWNER)
    if operation.copies and _EXPECTED_OWNER_OF_SOURCE in head.fields:
        raise NotImplementedByProxy(None, Header=_EXPECTED_OWNER_OF_SOURCE)


def refusal_of_method(
    allowed: Allowed, head: RequestHead, address: Address, not_allowed: MethodNotAllowed
) -> MethodNotAllowed | NotImplementedByProxy:
    """
    Return the refusal of a method that S3 does not have for a sub-resource: the storage may not have the sub-resource
    at all, and then that is what its client is told.
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
