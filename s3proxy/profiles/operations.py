"""
The operations that each storage system has.
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
The operations of a storage system that has all of S3's. CreateSession is left out: it would return credentials of our
own key.
"""

MULTIPART_OPERATIONS = frozenset(name for name, each in OPERATIONS.items() if each.is_part_of_upload)
"""
The operations of multipart uploads. For a storage system that has none of them, s3proxy may carry them out.
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
The operations that all older storage systems have.
"""

_UPLOADS_IN_PARTS = operations_named("CreateMultipartUpload UploadPart CompleteMultipartUpload AbortMultipartUpload")

_LOGGING_AND_VERSIONS = operations_named(
    "GetBucketLogging PutBucketLogging GetBucketVersioning PutBucketVersioning ListObjectVersions"
)

WALRUS_OPERATIONS = (CORE_OPERATIONS | _LOGGING_AND_VERSIONS) - _UPLOADS_IN_PARTS
"""
Source: eucalyptus/eucalyptus 3.4.2, ``WalrusRESTBinding``: the operations of ``populateOperationMap``. It does not
refuse an unknown sub-resource but ignores it: ``PUT /bucket/key?tagging`` would overwrite the object with the tags.
Seen there: ``POST /bucket/key?uploads`` never gets a response.
"""

WALRUSBACKEND_OPERATIONS = CORE_OPERATIONS - operations_named("GetBucketLocation PutBucketAcl PutObjectAcl")
"""
Source: eucalyptus/eucalyptus 4.3.1.1, ``WalrusRESTBinding``: those of its operations that have a message class in
``Walrus.groovy``. It responds 400 to the others.
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
Source: "Riak CS Storage API", its table of features; basho/riak_cs, ``riak_cs_s3_rewrite``: it ignores an unknown
sub-resource, too.
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
What 16.2 has, or refuses itself. It treats the others as operations without a sub-resource. Seen there: ``DELETE
/bucket?ownershipControls`` deletes the bucket, and ``PUT /bucket/key?renameObject`` empties the object.
"""

SWIFT_OPERATIONS = CORE_OPERATIONS | operations_named(
    """
    GetBucketLogging GetBucketVersioning PutBucketVersioning GetBucketTagging ListObjectVersions
    GetObjectLockConfiguration GetObjectTagging
    ListMultipartUploads ListParts DeleteObjects UploadPartCopy Preflight PreflightOfObject
    """
)
"""
What 2.38 has. It treats others as operations without a sub-resource. Seen there: ``PUT /bucket/key?retention``
overwrites the object with the document, and ``DELETE /bucket?lifecycle`` deletes the bucket.
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
What a build of February 2026 has, or refuses itself; minio/minio, ``api-router.go``. It treats others as operations
without a sub-resource. Seen there: ``DELETE /bucket?ownershipControls`` and ``DELETE /bucket?publicAccessBlock`` delete
the bucket, although it refuses the GET of both.
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
What 1.8 has, or refuses itself if the storage behind it lacks it; versity/versitygw, ``router.go``. It refuses most of
the others itself. It treats the newest of S3 as operations without a sub-resource. Seen there: ``DELETE
/bucket?metadataTable`` deletes the bucket, and ``PUT /bucket/key?renameObject`` empties the object.
"""
