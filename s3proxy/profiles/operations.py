"""
Which operations each storage system has.
"""

from __future__ import annotations

from s3proxy.s3.operation import OPERATIONS


def operations_named(names: str) -> frozenset[str]:
    found = frozenset(names.split())
    unknown = found - OPERATIONS.keys()
    assert not unknown, f"not in S3's API: {unknown}"
    return found


ALL_OPERATIONS = frozenset(OPERATIONS) - {"CreateSession"}
"""
What a storage may be asked for that takes whatever S3 has. CreateSession answers with credentials: they would be ours.
"""

MULTIPART_OPERATIONS = frozenset(name for name, each in OPERATIONS.items() if each.is_part_of_upload)
"""
Those of uploads in parts. A storage that has none of them may get them all from s3proxy.
"""

CORE_OPERATIONS = operations_named(
    """
    ListBuckets HeadBucket CreateBucket DeleteBucket ListObjects ListObjectsV2
    GetBucketAcl PutBucketAcl GetBucketLocation
    HeadObject GetObject PutObject CopyObject DeleteObject GetObjectAcl PutObjectAcl
    CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload
    """
)
"""
What all of the older ones have.
"""

_UPLOADS_IN_PARTS = operations_named("CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload")

_LOGGING_AND_VERSIONS = operations_named(
    "GetBucketLogging PutBucketLogging GetBucketVersioning PutBucketVersioning ListObjectVersions"
)

WALRUS_OPERATIONS = (CORE_OPERATIONS | _LOGGING_AND_VERSIONS) - _UPLOADS_IN_PARTS
"""
Source: eucalyptus/eucalyptus 3.4.2, ``WalrusRESTBinding``: the operations of ``populateOperationMap``. A sub-resource
that it does not know is not refused there but ignored: ``PUT /bucket/key?tagging`` would write the tags over the
object. Seen there, ``POST /bucket/key?uploads`` is never answered.
"""

WALRUSBACKEND_OPERATIONS = CORE_OPERATIONS - operations_named("GetBucketLocation PutBucketAcl PutObjectAcl")
"""
Source: eucalyptus/eucalyptus 4.3.1.1, ``WalrusRESTBinding``: those of its operations that have a message class in
``Walrus.groovy``. The others are answered 400 there.
"""

OSG_OPERATIONS = (
    CORE_OPERATIONS
    | _LOGGING_AND_VERSIONS
    | operations_named(
        """
    GetBucketCors PutBucketCors DeleteBucketCors
    GetBucketLifecycleConfiguration PutBucketLifecycleConfiguration DeleteBucketLifecycle
    GetBucketTagging PutBucketTagging DeleteBucketTagging
    ListMultipartUploads ListParts DeleteObjects Preflight PreflightOfObject
    """
    )
)
"""
Source: eucalyptus/eucalyptus, ``SUPPORTED_OPS`` of ``ObjectStorageGETBinding`` and its siblings.
"""

RIAKCS_OPERATIONS = CORE_OPERATIONS | operations_named(
    """
    GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketVersioning
    ListMultipartUploads ListParts DeleteObjects UploadPartCopy
    """
)
"""
Source: "Riak CS Storage API", its table of features; basho/riak_cs, ``riak_cs_s3_rewrite``: an unknown sub-resource is
ignored there, too.
"""

CEPH_OPERATIONS = OSG_OPERATIONS | operations_named(
    """
    GetBucketNotificationConfiguration PutBucketNotificationConfiguration
    GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus
    GetBucketReplication PutBucketReplication DeleteBucketReplication
    GetBucketRequestPayment PutBucketRequestPayment
    GetBucketWebsite PutBucketWebsite DeleteBucketWebsite
    GetPublicAccessBlock PutPublicAccessBlock DeletePublicAccessBlock
    GetObjectLockConfiguration PutObjectLockConfiguration
    GetObjectRetention PutObjectRetention GetObjectLegalHold PutObjectLegalHold
    GetObjectTagging PutObjectTagging DeleteObjectTagging
    UploadPartCopy GetObjectTorrent SelectObjectContent
    """
)
"""
What 16.2 has, or refuses in its own words. It takes the others for operations that have no sub-resource: seen there,
``DELETE /bucket?ownershipControls`` deletes the bucket and ``PUT /bucket/key?renameObject`` empties the object.
"""

SWIFT_OPERATIONS = CORE_OPERATIONS | operations_named(
    """
    GetBucketLogging GetBucketVersioning PutBucketVersioning GetBucketTagging ListObjectVersions
    GetObjectLockConfiguration GetObjectTagging
    ListMultipartUploads ListParts DeleteObjects UploadPartCopy Preflight PreflightOfObject
    """
)
"""
What 2.38 has. It takes others for operations that have no sub-resource: seen there, ``PUT /bucket/key?retention``
writes its document over the object and ``DELETE /bucket?lifecycle`` deletes the bucket.
"""

_LOCKS_TAGS_POLICIES = operations_named(
    """
    GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus
    GetBucketTagging PutBucketTagging DeleteBucketTagging
    GetBucketVersioning PutBucketVersioning ListObjectVersions
    GetObjectLockConfiguration PutObjectLockConfiguration
    GetObjectRetention PutObjectRetention GetObjectLegalHold PutObjectLegalHold
    GetObjectTagging PutObjectTagging DeleteObjectTagging GetObjectAttributes
    ListMultipartUploads ListParts DeleteObjects UploadPartCopy RestoreObject Preflight PreflightOfObject
    """
)

MINIO_OPERATIONS = (
    CORE_OPERATIONS
    | _LOCKS_TAGS_POLICIES
    | operations_named(
        """
    GetBucketAccelerateConfiguration GetBucketCors PutBucketCors DeleteBucketCors GetBucketLogging
    GetBucketRequestPayment
    GetBucketEncryption PutBucketEncryption DeleteBucketEncryption
    GetBucketLifecycleConfiguration PutBucketLifecycleConfiguration DeleteBucketLifecycle
    GetBucketNotificationConfiguration PutBucketNotificationConfiguration
    GetBucketReplication PutBucketReplication DeleteBucketReplication
    GetBucketWebsite DeleteBucketWebsite SelectObjectContent
    """
    )
)
"""
What a build of February 2026 has, or refuses itself; minio/minio, ``api-router.go``. It takes others for operations
that have no sub-resource: seen there, ``DELETE /bucket?ownershipControls`` and ``DELETE /bucket?publicAccessBlock``
delete the bucket, though it refuses the GET of both.
"""

VERSITYGW_OPERATIONS = (
    CORE_OPERATIONS
    | _LOCKS_TAGS_POLICIES
    | operations_named(
        """
    GetBucketCors PutBucketCors DeleteBucketCors
    GetBucketOwnershipControls PutBucketOwnershipControls DeleteBucketOwnershipControls
    GetBucketWebsite PutBucketWebsite DeleteBucketWebsite
    """
    )
)
"""
What 1.8 has, or refuses itself where what is behind it has no such thing; versity/versitygw, ``router.go``. It refuses
most of the others itself. Seen there, it takes S3's newest for operations that have no sub-resource: ``DELETE
/bucket?metadataTable`` deletes the bucket and ``PUT /bucket/key?renameObject`` empties the object.
"""
