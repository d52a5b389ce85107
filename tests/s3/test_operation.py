"""
What the table of operations says of each besides its name, repeated here from S3's documentation.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.operation import OPERATIONS, BodyUse

INTEGRITY = {
    "DeleteObjects",
    "PutBucketCors",
    "PutBucketLifecycleConfiguration",
    "PutBucketReplication",
    "PutBucketTagging",
    "PutObjectLockConfiguration",
}
DOCUMENT = INTEGRITY | {
    "PutBucketEncryption",
    "PutBucketLogging",
    "PutBucketOwnershipControls",
    "PutBucketRequestPayment",
    "PutBucketVersioning",
    "PutBucketWebsite",
    "PutPublicAccessBlock",
}
OF_UPLOADS = {
    "AbortMultipartUpload",
    "CompleteMultipartUpload",
    "CreateMultipartUpload",
    "ListMultipartUploads",
    "ListParts",
    "UploadPart",
    "UploadPartCopy",
}


@pytest.mark.parametrize(
    ("attribute", "names"),
    [
        ("copies", {"CopyObject", "UploadPartCopy"}),
        ("requires_document", DOCUMENT),
        ("requires_integrity", INTEGRITY),
        ("describes_object", {"CreateMultipartUpload", "CompleteMultipartUpload"}),
        ("is_slow", {"CompleteMultipartUpload", "CopyObject", "RestoreObject", "UploadPartCopy"}),
        ("is_part_of_upload", OF_UPLOADS),
    ],
)
def test_which_operations_have_it(attribute: str, names: set[str]) -> None:
    """
    These and no others.
    """
    assert {name for name, operation in OPERATIONS.items() if getattr(operation, attribute)} == names


def test_documents_may_need_a_digest() -> None:
    """
    Those of a PUT on a sub-resource, and of all POST requests to a bucket; an object's own POST has none.
    """
    needing = {name for name, operation in OPERATIONS.items() if operation.may_need_md5}

    assert needing == {
        name
        for name, operation in OPERATIONS.items()
        if operation.body is BodyUse.DOCUMENT
        and name not in {"CompleteMultipartUpload", "CreateBucket", "CreateMultipartUpload"}
        and name not in {"RestoreObject", "SelectObjectContent"}
    }
    assert needing > DOCUMENT


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ListBuckets", "REST.GET.SERVICE"),
        ("GetObject", "REST.GET.OBJECT"),
        ("HeadBucket", "REST.HEAD.BUCKET"),
        ("CopyObject", "REST.COPY.OBJECT"),
        ("UploadPart", "REST.PUT.PART"),
        ("UploadPartCopy", "REST.COPY.PART"),
        ("CompleteMultipartUpload", "REST.POST.UPLOAD"),
        ("GetBucketLocation", "REST.GET.LOCATION"),
        ("PutBucketPolicy", "REST.PUT.BUCKETPOLICY"),
        ("DeleteObjects", "REST.POST.MULTI_OBJECT_DELETE"),
        ("PutObjectLegalHold", "REST.PUT.OBJECT"),
    ],
)
def test_the_access_log_s_name(name: str, shown: str) -> None:
    """
    As "Amazon S3 server access log format" defines it.
    """
    assert OPERATIONS[name].log_name == shown
