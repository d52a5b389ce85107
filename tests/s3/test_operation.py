"""
What the table of operations says of each besides its name, repeated here from S3's documentation.
"""

from __future__ import annotations

import re

import pytest
from botocore.loaders import Loader

from s3proxy.s3.operation import _VERSION_ACTIONS, OPERATIONS, BodyUse

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


def documented_actions() -> dict[str, list[str]]:
    """
    Return the actions that Amazon's own model of S3 names in the text of each operation, in order.
    """
    model = Loader().load_service_model("s3", "service-2")
    return {
        name: re.findall(r"s3:[A-Za-z]+", operation.get("documentation", ""))
        for name, operation in model["operations"].items()
    }


def test_each_action_is_the_documented_one() -> None:
    """
    Where the model names actions, the operation's is among them.
    """
    documented = documented_actions()
    compared = 0
    for name, operation in OPERATIONS.items():
        found = {action for action in documented.get(name, []) if action != "s3:ListBucket"} or set(
            documented.get(name, [])
        )
        if found:
            compared += 1
            assert {operation.action, operation.version_action} & found, (name, found)

    assert compared > 60


@pytest.mark.parametrize(
    ("name", "action", "version_action"),
    [
        ("GetObject", "s3:GetObject", "s3:GetObjectVersion"),
        ("HeadObject", "s3:GetObject", "s3:GetObjectVersion"),
        ("DeleteObject", "s3:DeleteObject", "s3:DeleteObjectVersion"),
        ("PutObjectTagging", "s3:PutObjectTagging", "s3:PutObjectVersionTagging"),
        ("PutObjectAcl", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"),
        ("PutObjectRetention", "s3:PutObjectRetention", "s3:PutObjectRetention"),
        ("UploadPart", "s3:PutObject", "s3:PutObject"),
        ("AbortMultipartUpload", "s3:AbortMultipartUpload", "s3:AbortMultipartUpload"),
        ("ListParts", "s3:ListMultipartUploadParts", "s3:ListMultipartUploadParts"),
        ("ListMultipartUploads", "s3:ListBucketMultipartUploads", "s3:ListBucketMultipartUploads"),
        ("ListObjects", "s3:ListBucket", "s3:ListBucket"),
        ("GetBucketLocation", "s3:GetBucketLocation", "s3:GetBucketLocation"),
        ("GetBucketVersioning", "s3:GetBucketVersioning", "s3:GetBucketVersioning"),
        ("DeleteBucketWebsite", "s3:DeleteBucketWebsite", "s3:DeleteBucketWebsite"),
        ("DeleteBucketPolicy", "s3:DeleteBucketPolicy", "s3:DeleteBucketPolicy"),
        ("ListBucketMetricsConfigurations", "s3:GetMetricsConfiguration", "s3:GetMetricsConfiguration"),
        ("DeleteBucketIntelligentTieringConfiguration", *["s3:PutIntelligentTieringConfiguration"] * 2),
        ("PutObjectLockConfiguration", *["s3:PutBucketObjectLockConfiguration"] * 2),
        ("Preflight", None, None),
        ("RenameObject", "s3express:CreateSession", "s3express:CreateSession"),
    ],
)
def test_the_action_of_an_operation(name: str, action: str | None, version_action: str | None) -> None:
    """
    Those that no text of the model names are from "Required permissions for Amazon S3 API operations".
    """
    assert (OPERATIONS[name].action, OPERATIONS[name].version_action) == (action, version_action)


def test_each_action_of_a_version_is_of_an_operation() -> None:
    """
    A wrong name in this table would change nothing, and nobody would see it.
    """
    assert set(_VERSION_ACTIONS) <= {operation.action for operation in OPERATIONS.values()}


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
