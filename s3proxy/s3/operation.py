"""
The operations of S3: one closed table, by level, method and sub-resource.

A request for anything else is refused before it reaches a backend, even if it is signed: the backend may have
operations of its own there, and would carry out something that the client did not sign.

Source:
    "Amazon S3 API Reference", Actions. The service model of botocore has the same list, and a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import auto

from s3proxy.s3.identity_enum import IdentityEnum


class Level(IdentityEnum):
    """
    What the path of a request names; the value is S3's ResourceType.
    """

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


class BodyUse(IdentityEnum):
    """
    What the body of a request is for the backend.
    """

    OBJECT = auto()
    "the bytes of an object or a part: streamed"
    DOCUMENT = auto()
    "the XML document of an operation: verified whole, then sent"
    NONE = auto()
    "nothing: verified up to a limit, and not sent"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Operation:
    """
    One operation of S3.

    Attributes:
        name: Name in S3's API, such as ``CompleteMultipartUpload``.
        log_name: Name in S3's server access log, such as ``REST.POST.UPLOAD``.
        action: The IAM action that allows it, such as ``s3:PutObject``; None if it needs no permission. A copy also
            needs that of reading its source.
        version_action: The action instead if the request names a version; the same if S3 has no other.
        subresource: The query name that selects it among the operations of the same method and level; None if it
            needs none.
        required: Further query names without which the request is for another operation, or for none.
        parameters: Query names that are optional.
        body: What its body is for the backend.
        copies: Whether a header names the source to copy from.
        requires_document: Whether it must have a body.
        requires_integrity: Whether its document must come with Content-MD5 or a checksum.
        may_need_md5: Whether some storage systems require Content-MD5 with its document, as S3 did before 2022.
        describes_object: Whether checksum headers describe an object, not this body.
        is_slow: Whether a backend may work long before it responds: it copies, or joins parts.
        is_part_of_upload: Whether it begins, continues, lists or ends a multipart upload.
    """

    name: str
    method: bytes
    level: Level
    log_name: str
    action: str | None
    version_action: str | None
    subresource: bytes | None
    required: frozenset[bytes]
    parameters: frozenset[bytes]
    body: BodyUse
    copies: bool
    requires_document: bool
    requires_integrity: bool
    may_need_md5: bool
    describes_object: bool
    is_slow: bool
    is_part_of_upload: bool

    def __repr__(self) -> str:
        return f"<Operation {self.name}>"

    @property
    def is_read(self) -> bool:
        """
        Whether the operation changes nothing.
        """
        return self.method in READ_METHODS

    @property
    def query_names(self) -> frozenset[bytes]:
        """
        All query names that have a meaning in this operation, decoded.
        """
        own = self.required | self.parameters
        return own if self.subresource is None else own | {self.subresource}


READ_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS"})

_LOG_RESOURCES = {
    b"accelerate": "ACCELERATE",
    b"acl": "ACL",
    b"cors": "CORS",
    b"delete": "MULTI_OBJECT_DELETE",
    b"encryption": "ENCRYPTION",
    b"lifecycle": "LIFECYCLE",
    b"location": "LOCATION",
    b"logging": "LOGGING_STATUS",
    b"notification": "NOTIFICATION",
    b"object-lock": "OBJECT_LOCK_CONFIGURATION",
    b"policy": "BUCKETPOLICY",
    b"publicAccessBlock": "PUBLIC_ACCESS_BLOCK",
    b"replication": "REPLICATION",
    b"requestPayment": "REQUEST_PAYMENT",
    b"restore": "OBJECT_RESTORE",
    b"retention": "OBJECT_LOCK_RETENTION",
    b"tagging": "TAGGING",
    b"torrent": "OBJECT_TORRENT",
    b"uploadId": "UPLOAD",
    b"uploads": "UPLOADS",
    b"versioning": "VERSIONING",
    b"versions": "BUCKETVERSIONS",
    b"website": "WEBSITE",
}
"""
The last word of the access log's Operation field, by sub-resource; for others it is the name of the level.

Source:
    "Amazon S3 server access log format", Operation.
"""

_INTEGRITY_REQUIRED = frozenset({b"cors", b"lifecycle", b"object-lock", b"replication", b"tagging"})
"""
Sub-resources of a bucket whose document must come with Content-MD5 or a checksum.

The API's model requires one for every configuration of a bucket, and SDKs send one each time. S3 itself requires one
only for these and for DeleteObjects: s3cmd and boto 2 send the others without one.

Source:
    "DeleteObjects", and the ``PUT`` operations of a bucket's configuration.
"""

_DOCUMENT_REQUIRED = _INTEGRITY_REQUIRED | {
    b"encryption",
    b"logging",
    b"ownershipControls",
    b"publicAccessBlock",
    b"requestPayment",
    b"versioning",
    b"website",
}
"""
Sub-resources of a bucket whose PUT must have a document.
"""

OVERRIDES = (
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
)
"""
Query names that set a header of GetObject's response.
"""

_LISTING = "delimiter encoding-type max-keys prefix"
_READING = " ".join(("partNumber", "versionId", *OVERRIDES))


_VERSION_ACTIONS = {
    "s3:DeleteObject": "s3:DeleteObjectVersion",
    "s3:DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "s3:GetObject": "s3:GetObjectVersion",
    "s3:GetObjectAcl": "s3:GetObjectVersionAcl",
    "s3:GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "s3:GetObjectTagging": "s3:GetObjectVersionTagging",
    "s3:PutObjectAcl": "s3:PutObjectVersionAcl",
    "s3:PutObjectTagging": "s3:PutObjectVersionTagging",
}
"""
The actions that S3 has again for a named version.
"""
_EXPRESS = "s3express:CreateSession"
"""
The action of the operations that only directory buckets have.
"""


def _names(text: str) -> frozenset[bytes]:
    return frozenset(name.encode() for name in text.split())


def _operation(
    name: str,
    method: str,
    level: Level,
    subresource: str = "",
    required: str = "",
    parameters: str = "",
    *,
    body: BodyUse | None = None,
    copies: bool = False,
    is_slow: bool = False,
    action: str | None = "",
) -> Operation:
    """
    Return one row of the table.

    Args:
        action: As in `Operation`; empty for ``s3:`` and the name.

    Source:
        "Required permissions for Amazon S3 API operations"; "Actions, resources, and condition keys for Amazon S3".
    """
    action = f"s3:{name}" if action == "" else action
    raw = subresource.encode() or None
    is_object = level is Level.OBJECT
    if body is None:
        body = BodyUse.DOCUMENT if method in {"PUT", "POST"} else BodyUse.NONE
    resource = _LOG_RESOURCES.get(raw or b"", level.value)
    if "partNumber" in required:
        resource = "PART"
    return Operation(
        name,
        method.encode(),
        level,
        f"REST.{'COPY' if copies else method}.{resource}",
        action,
        _VERSION_ACTIONS.get(action, action) if action is not None else None,
        raw,
        _names(required),
        _names(parameters),
        body,
        copies,
        name == "DeleteObjects" or (method == "PUT" and not is_object and raw in _DOCUMENT_REQUIRED),
        name == "DeleteObjects" or (method == "PUT" and not is_object and raw in _INTEGRITY_REQUIRED),
        body is BodyUse.DOCUMENT and raw is not None and (method == "PUT" or not is_object),
        method == "POST" and is_object and raw in {b"uploads", b"uploadId"},
        is_slow,
        raw in {b"uploads", b"uploadId"},
    )


def _service_operations() -> Iterable[Operation]:
    yield _operation(
        "ListBuckets",
        "GET",
        Level.SERVICE,
        parameters="bucket-region continuation-token max-buckets prefix",
        action="s3:ListAllMyBuckets",
    )


_BUCKET_CONFIGURATIONS = (
    # sub-resource, name of its operations without the verb, methods, name of its actions without the verb
    ("abac", "BucketAbac", "GET PUT", "BucketABAC"),
    ("accelerate", "BucketAccelerateConfiguration", "GET PUT", "AccelerateConfiguration"),
    ("acl", "BucketAcl", "GET PUT", "BucketAcl"),
    ("cors", "BucketCors", "GET PUT DELETE", "BucketCORS"),
    ("encryption", "BucketEncryption", "GET PUT DELETE", "EncryptionConfiguration"),
    ("location", "BucketLocation", "GET", "BucketLocation"),
    ("logging", "BucketLogging", "GET PUT", "BucketLogging"),
    ("metadataConfiguration", "BucketMetadataConfiguration", "GET DELETE", "BucketMetadataTableConfiguration"),
    ("metadataTable", "BucketMetadataTableConfiguration", "GET DELETE", "BucketMetadataTableConfiguration"),
    ("notification", "BucketNotificationConfiguration", "GET PUT", "BucketNotification"),
    ("object-lock", "ObjectLockConfiguration", "GET PUT", "BucketObjectLockConfiguration"),
    ("ownershipControls", "BucketOwnershipControls", "GET PUT DELETE", "BucketOwnershipControls"),
    ("policy", "BucketPolicy", "GET PUT DELETE", "BucketPolicy"),
    ("policyStatus", "BucketPolicyStatus", "GET", "BucketPolicyStatus"),
    ("publicAccessBlock", "PublicAccessBlock", "GET PUT DELETE", "BucketPublicAccessBlock"),
    ("replication", "BucketReplication", "GET PUT DELETE", "ReplicationConfiguration"),
    ("requestPayment", "BucketRequestPayment", "GET PUT", "BucketRequestPayment"),
    ("tagging", "BucketTagging", "GET PUT DELETE", "BucketTagging"),
    ("versioning", "BucketVersioning", "GET PUT", "BucketVersioning"),
    ("website", "BucketWebsite", "GET PUT DELETE", "BucketWebsite"),
)

_DELETED_BY_AN_ACTION = frozenset({"metadataConfiguration", "metadataTable", "policy", "website"})
"""
Sub-resources with an action to delete their configuration. For the others it is the action that writes it.
"""

_MANY_BUCKET_CONFIGURATIONS = (
    # A bucket may have many of these: "id" names one, and a GET without it lists them.
    ("analytics", "BucketAnalyticsConfiguration"),
    ("intelligent-tiering", "BucketIntelligentTieringConfiguration"),
    ("inventory", "BucketInventoryConfiguration"),
    ("metrics", "BucketMetricsConfiguration"),
)


def _bucket_operations() -> Iterable[Operation]:
    at = Level.BUCKET
    yield _operation("CreateBucket", "PUT", at)
    yield _operation("DeleteBucket", "DELETE", at)
    yield _operation("HeadBucket", "HEAD", at, action="s3:ListBucket")
    yield _operation("ListObjects", "GET", at, parameters=f"{_LISTING} marker", action="s3:ListBucket")
    yield _operation(
        "ListObjectsV2",
        "GET",
        at,
        "list-type",
        parameters=f"{_LISTING} continuation-token fetch-owner start-after",
        action="s3:ListBucket",
    )
    yield _operation(
        "ListObjectVersions",
        "GET",
        at,
        "versions",
        parameters=f"{_LISTING} key-marker version-id-marker",
        action="s3:ListBucketVersions",
    )
    yield _operation(
        "ListMultipartUploads",
        "GET",
        at,
        "uploads",
        parameters="delimiter encoding-type key-marker max-uploads prefix upload-id-marker",
        action="s3:ListBucketMultipartUploads",
    )
    yield _operation("DeleteObjects", "POST", at, "delete", action="s3:DeleteObject")
    yield _operation("CreateSession", "GET", at, "session", action=_EXPRESS)
    verbs = {"GET": "Get", "PUT": "Put", "DELETE": "Delete"}
    for subresource, name, methods, allowed in _BUCKET_CONFIGURATIONS:
        for method in methods.split():
            is_own = method != "DELETE" or subresource in _DELETED_BY_AN_ACTION
            action = f"s3:{verbs[method if is_own else 'PUT']}{allowed}"
            yield _operation(verbs[method] + name, method, at, subresource, action=action)
    # The name DeleteBucketLifecycle does not follow the pattern of the others.
    yield _operation("GetBucketLifecycleConfiguration", "GET", at, "lifecycle", action="s3:GetLifecycleConfiguration")
    yield _operation("PutBucketLifecycleConfiguration", "PUT", at, "lifecycle", action="s3:PutLifecycleConfiguration")
    yield _operation("DeleteBucketLifecycle", "DELETE", at, "lifecycle", action="s3:PutLifecycleConfiguration")
    for subresource, name in _MANY_BUCKET_CONFIGURATIONS:
        read, write = (f"s3:{verb}{name.removeprefix('Bucket')}" for verb in ("Get", "Put"))
        yield _operation(f"List{name}s", "GET", at, subresource, parameters="continuation-token", action=read)
        for method, action in (("GET", read), ("PUT", write), ("DELETE", write)):
            yield _operation(verbs[method] + name, method, at, subresource, "id", action=action)
    yield _operation(
        "CreateBucketMetadataConfiguration",
        "POST",
        at,
        "metadataConfiguration",
        action="s3:CreateBucketMetadataTableConfiguration",
    )
    yield _operation("CreateBucketMetadataTableConfiguration", "POST", at, "metadataTable")
    for table in ("Annotation", "Inventory", "Journal"):
        name = f"UpdateBucketMetadata{table}TableConfiguration"
        yield _operation(name, "PUT", at, f"metadata{table}Table")
    yield _operation("Preflight", "OPTIONS", at, action=None)


def _object_operations() -> Iterable[Operation]:
    at = Level.OBJECT
    version = "versionId"
    yield _operation("GetObject", "GET", at, parameters=_READING)
    yield _operation("HeadObject", "HEAD", at, parameters=_READING, action="s3:GetObject")
    yield _operation("PutObject", "PUT", at, body=BodyUse.OBJECT)
    yield _operation("CopyObject", "PUT", at, body=BodyUse.NONE, copies=True, is_slow=True, action="s3:PutObject")
    yield _operation("DeleteObject", "DELETE", at, parameters=version)
    yield _operation("CreateMultipartUpload", "POST", at, "uploads", action="s3:PutObject")
    yield _operation("UploadPart", "PUT", at, "uploadId", "partNumber", body=BodyUse.OBJECT, action="s3:PutObject")
    yield _operation(
        "UploadPartCopy",
        "PUT",
        at,
        "uploadId",
        "partNumber",
        body=BodyUse.NONE,
        copies=True,
        is_slow=True,
        action="s3:PutObject",
    )
    yield _operation("CompleteMultipartUpload", "POST", at, "uploadId", is_slow=True, action="s3:PutObject")
    yield _operation("AbortMultipartUpload", "DELETE", at, "uploadId")
    yield _operation(
        "ListParts",
        "GET",
        at,
        "uploadId",
        parameters="encoding-type max-parts part-number-marker",
        action="s3:ListMultipartUploadParts",
    )
    for subresource, name in (
        ("acl", "ObjectAcl"),
        ("legal-hold", "ObjectLegalHold"),
        ("retention", "ObjectRetention"),
    ):
        yield _operation(f"Get{name}", "GET", at, subresource, parameters=version)
        yield _operation(f"Put{name}", "PUT", at, subresource, parameters=version)
    for method, verb in (("GET", "Get"), ("PUT", "Put"), ("DELETE", "Delete")):
        yield _operation(f"{verb}ObjectTagging", method, at, "tagging", parameters=version)
        yield _operation(f"{verb}ObjectAnnotation", method, at, "annotation", "annotationName", version)
    yield _operation(
        "ListObjectAnnotations",
        "GET",
        at,
        "annotation",
        parameters=f"{version} annotation-prefix continuation-token max-annotation-results",
    )
    yield _operation("GetObjectAttributes", "GET", at, "attributes", parameters=version)
    yield _operation("GetObjectTorrent", "GET", at, "torrent")
    yield _operation("RestoreObject", "POST", at, "restore", parameters=version, is_slow=True)
    yield _operation("SelectObjectContent", "POST", at, "select", "select-type", action="s3:GetObject")
    yield _operation("RenameObject", "PUT", at, "renameObject", body=BodyUse.NONE, action=_EXPRESS)
    yield _operation("UpdateObjectEncryption", "PUT", at, "encryption", parameters=version)
    yield _operation("PreflightOfObject", "OPTIONS", at, action=None)


OPERATIONS: dict[str, Operation] = {
    operation.name: operation for operation in (*_service_operations(), *_bucket_operations(), *_object_operations())
}
"""
All operations, by name.
"""

VALUELESS_NAMES = frozenset(
    operation.subresource for operation in OPERATIONS.values() if operation.subresource is not None
) - {b"list-type", b"uploadId"}
"""
Query names that select an operation by their presence. S3 ignores their values.
"""

COPY_OBJECT = OPERATIONS["CopyObject"]
CREATE_BUCKET = OPERATIONS["CreateBucket"]
CREATE_MULTIPART_UPLOAD = OPERATIONS["CreateMultipartUpload"]
COMPLETE_MULTIPART_UPLOAD = OPERATIONS["CompleteMultipartUpload"]
DELETE_OBJECT = OPERATIONS["DeleteObject"]
DELETE_OBJECTS = OPERATIONS["DeleteObjects"]
GET_BUCKET_LIFECYCLE = OPERATIONS["GetBucketLifecycleConfiguration"]
GET_BUCKET_LOCATION = OPERATIONS["GetBucketLocation"]
GET_BUCKET_VERSIONING = OPERATIONS["GetBucketVersioning"]
GET_OBJECT = OPERATIONS["GetObject"]
HEAD_BUCKET = OPERATIONS["HeadBucket"]
HEAD_OBJECT = OPERATIONS["HeadObject"]
LIST_BUCKETS = OPERATIONS["ListBuckets"]
LIST_MULTIPART_UPLOADS = OPERATIONS["ListMultipartUploads"]
LIST_OBJECT_VERSIONS = OPERATIONS["ListObjectVersions"]
LIST_OBJECTS = OPERATIONS["ListObjects"]
LIST_OBJECTS_V2 = OPERATIONS["ListObjectsV2"]
LIST_PARTS = OPERATIONS["ListParts"]
PUT_OBJECT = OPERATIONS["PutObject"]
UPLOAD_PART = OPERATIONS["UploadPart"]
UPLOAD_PART_COPY = OPERATIONS["UploadPartCopy"]
