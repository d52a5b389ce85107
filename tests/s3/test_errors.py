"""
s3proxy's own errors are S3's: codes, statuses, messages and elements.
"""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree

import pytest

from s3proxy.s3 import errors
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import InvalidURI, S3Error
from s3proxy.s3.query import query_items
from tests.support.harness import VECTORS

KNOWN = {item["code"]: item for item in json.loads((VECTORS / "errors.json").read_text())["errors"]}
# The data set is about authentication and bodies; this is an error of reads ("GetObject").
KNOWN["InvalidRange"] = {
    "status": 416,
    "message": "The requested range is not satisfiable",
    "extra_elements": ["RangeRequested", "ActualObjectSize"],
}
# Also of reads ("GetObject", partNumber).
KNOWN["InvalidPartNumber"] = {
    "status": 416,
    "message": "The requested partnumber is not satisfiable",
    "extra_elements": ["PartNumberRequested", "ActualPartCount"],
}
# Of multipart uploads ("CompleteMultipartUpload").
KNOWN["InvalidPart"] = {
    "status": 400,
    "message": "One or more of the specified parts could not be found. The part may not have been uploaded, or the "
    "specified entity tag may not match the part's entity tag.",
    "extra_elements": ["UploadId", "PartNumber", "ETag"],
}
KNOWN["InvalidPartOrder"] = {
    "status": 400,
    "message": "The list of parts was not in ascending order. Parts must be ordered by part number.",
    "extra_elements": ["UploadId"],
}
# Of object tags ("Categorizing your storage using tags").
# Of lists of rights and lifecycles ("PutBucketAcl", "GetBucketLifecycleConfiguration").
KNOWN["MalformedACLError"] = {
    "status": 400,
    "message": "The XML you provided was not well-formed or did not validate against our published schema",
    "extra_elements": [],
}
KNOWN["UnexpectedContent"] = {
    "status": 400,
    "message": "This request does not support content",
    "extra_elements": [],
}
KNOWN["NoSuchLifecycleConfiguration"] = {
    "status": 404,
    "message": "The lifecycle configuration does not exist",
    "extra_elements": [],
}
KNOWN["InvalidTag"] = {"status": 400, "message": "The tag provided was not a valid tag.", "extra_elements": []}

CLASSES = [
    each for _, each in inspect.getmembers(errors, inspect.isclass) if issubclass(each, S3Error) and each is not S3Error
]

NOT_OURS = {
    "AccountProblem": "no accounts",
    "CredentialsNotSupported": "no such requests",
    "IncorrectNumberOfFilesInPostRequest": "documented; S3 answers InvalidArgument",
    "InvalidSecurity": "not seen from S3",
    "MissingSecurityElement": "no SOAP",
    "PermanentRedirect": "one region",
    "TokenRefreshRequired": "not answered by a proxy",
    "UserKeyMustBeSpecified": "documented; S3 answers InvalidArgument",
}

SAMPLES: dict[str, tuple[Any, ...]] = {
    "AuthorizationHeaderMalformed": ("the region 'X' is wrong; expecting 'us-east-1'",),
    "EntityTooLarge": (2, 1),
    "EntityTooSmall": (1, 2),
    "ExpiredToken": (b"token",),
    "InvalidAccessKeyId": (b"key",),
    "InvalidArgument": ("Unsupported Authorization Type", "Authorization", b"Bearer x"),
    "InvalidBucketName": (b"a/b",),
    "InvalidChunkSizeError": (1, 2),
    "InvalidDigest": (b"x",),
    "InvalidPartNumber": (b"2", 1),
    "InvalidPolicyDocument": ("Invalid JSON.",),
    "InvalidRange": (b"bytes=10-", 10),
    "NoSuchBucket": (b"bucket",),
    "NoSuchKey": (b"key",),
    "InvalidToken": (b"token",),
    "InvalidURI": (b"/%",),
    "KeyTooLongError": (1025, 1024),
    "MaxMessageLengthExceeded": (1,),
    "MaxPostPreDataLengthExceeded": (20480,),
    "MetadataTooLarge": (2049, 2048),
    "MethodNotAllowed": (b"PATCH", "OBJECT"),
    "MissingSecurityHeader": ("x-amz-acl",),
    "PreconditionFailed": ("Bucket POST must be of the enclosure-type multipart/form-data",),
    "RequestHeaderSectionTooLarge": (8192,),
    "RequestTimeTooSkewed": (b"date", datetime(2026, 3, 1, 12, tzinfo=UTC), 900_000),
    "SignatureDoesNotMatch": (b"key", b"text", b"signature", b"canonical"),
    "XAmzContentSHA256Mismatch": (b"0" * 64, b"1" * 64),
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_each_error(kind: type[S3Error]) -> None:
    """
    Status and message are S3's, the elements are those of S3, and the document can be read.
    """
    known = KNOWN[kind.code]
    error = kind(*SAMPLES.get(kind.code, ()))
    if kind.code == "InvalidRequest":
        error = kind("Missing required header for this request: x-amz-content-sha256")

    document = ElementTree.fromstring(error_document(error, "ID", "HOST"))

    messages = {known["message"], *(other["message"] for other in known.get("other_messages", ()))}
    elements = {
        *known["extra_elements"],
        *(e for o in known.get("other_messages", ()) for e in o.get("extra_elements", ())),
    }
    assert kind.status == known["status"]
    assert error.message in messages
    assert document.findtext("Code") == kind.code
    assert document.findtext("Message") == error.message
    sent = [element.tag for element in document][2:-2]
    assert set(sent) <= elements
    if kind.code in SAMPLES and kind.code != "AuthorizationHeaderMalformed":
        assert sent == known["extra_elements"]
    assert [element.tag for element in document][-2:] == ["RequestId", "HostId"]


def test_every_code_is_ours_or_has_a_reason() -> None:
    """
    No code of the data set is missing, and no class has a code that S3 does not have.
    """
    ours = {kind.code for kind in CLASSES}

    assert ours | NOT_OURS.keys() == KNOWN.keys()
    assert not ours & NOT_OURS.keys()


def test_what_is_told_to_a_client_that_comes_too_often() -> None:
    """
    SDKs wait for the seconds of Retry-After; no other refusal has it.
    """
    assert {kind.code for kind in CLASSES if kind.retry_after is not None} == {"SlowDown", "ServiceUnavailable"}
    assert {kind.retry_after for kind in CLASSES if kind.retry_after is not None} == {1}
    assert (S3Error.code, S3Error.status, S3Error.retry_after) == ("InternalError", 500, None)


@pytest.mark.parametrize("query", [b"a=%", b"a=%4", b"%zz", b"a=%4x"])
def test_an_escape_that_is_broken(query: bytes) -> None:
    """
    The error has the query with the broken escape.
    """
    with pytest.raises(InvalidURI) as refusal:
        query_items(query)

    assert dict(refusal.value.elements) == {"URI": b"?" + query}


def test_which_refusals_name_the_right_region() -> None:
    """
    Those that have its element; a client then tries that region.
    """
    assert S3Error(None, Region="eu-west-1").names_region is True
    assert S3Error(None, BucketName="b").names_region is False
    assert S3Error().names_region is False
