"""
What may fail through s3proxy, and why: two closed tables. Any other failure is a defect of s3proxy.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.clients.drivers.scenario import OPERATIONS
from tests.clients.field import BACKENDS
from tests.clients.matrix import STYLES, Place


@dataclass(frozen=True)
class Rule:
    """
    Operations that fail through s3proxy.

    Attributes:
        codes: Error codes; the client reports one of them.
        reason: Why the failure is right.
        is_occasional: Whether it happens only in some runs, straight as well as through s3proxy.
    """

    clients: tuple[str, ...]
    operations: tuple[str, ...]
    codes: tuple[str, ...]
    reason: str
    backends: tuple[str, ...] = tuple(BACKENDS)
    styles: tuple[str, ...] = STYLES
    is_occasional: bool = False

    def __post_init__(self) -> None:
        assert set(self.operations) <= set(OPERATIONS)

    def covers(self, place: Place, operation: str, code: str) -> bool:
        """
        Return True if the rule is about a failure.
        """
        return (
            place.client in self.clients
            and place.door in self.backends
            and place.style in self.styles
            and operation in self.operations
            and code in self.codes
        )


@dataclass(frozen=True)
class Witness:
    """
    One operation that fails straight because the storage system lacks a feature that s3proxy translates. It must work
    through s3proxy.

    Attributes:
        feature: The feature that the storage system lacks.
        code: The code that the client reports.
    """

    feature: str
    client: str
    storage: str
    scheme: str
    operation: str
    code: str
    style: str = "path"

    @property
    def columns(self) -> list[str]:
        """
        The columns of its storage system.
        """
        return [name for name, kind in BACKENDS.items() if kind.storage == self.storage]

    def __str__(self) -> str:
        return f"{self.feature}: {self.client} at {self.storage}"


REFUSED: tuple[Rule, ...] = ()
"""
What some storage system accepts and S3 does not: each reason is S3's rule.
"""

LACKING: tuple[Rule, ...] = (
    Rule(
        ("aws-go",),
        ("delete many",),
        ("connection cut",),
        "now and then it closes its own connection while the body of the response is awaited: 11 times of 569 straight",
        backends=("rgw-v2", "rgw-v4"),
        is_occasional=True,
    ),
    Rule(
        ("curl",),
        tuple(name for name in OPERATIONS if name not in {"backup", "presigned"}),
        ("InvalidRequest", "400"),
        "it sends no x-amz-content-sha256 unless it is told to, and a request signed with Signature V4 must have it "
        '("Signature Calculations for the Authorization Header")',
    ),
    Rule(
        ("curl-unsigned",),
        ("put stream",),
        ("NotImplemented",),
        'it sends a body whose length is in no header, and S3 takes none; with `unknown_length = "spool"` s3proxy does',
    ),
    Rule(
        ("rclone-v2",),
        tuple(name for name in OPERATIONS if name != "backup"),
        ("SignatureDoesNotMatch", "403"),
        "rclone signs the path alone, and Signature V2 wants the bucket of the host's name before it "
        '("Signing and Authenticating REST Requests")',
        styles=("virtual",),
    ),
    Rule(
        ("chromium",),
        ("put", "put large", "put odd key", "get", "get odd key", "range", "list", "copy", "head", "form"),
        ("blocked by CORS policy",),
        "the storage lets no page of another origin in; a page of its own origin works",
        backends=("walrus-3.4", "walrusbackend-4.x", "osg-4.3", "riakcs"),
    ),
    Rule(
        ("chromium",),
        ("put large", "list"),
        ("blocked by CORS policy",),
        "Swift's responses for a bucket, and to the begin of an upload in parts, let no page of another origin in",
        backends=("swift",),
    ),
    Rule(
        ("s3fs",),
        ("make bucket",),
        ("FileExistsError:",),
        "it asks where the bucket is, and gaul/s3proxy responds 200 for one that does not exist",
        backends=("gaul",),
    ),
    Rule(
        ("boto3-crt", "aws-java-multipart", "aws-java-crt"),
        ("put large",),
        ("NotImplemented",),
        "it completes an upload with the object's size in x-amz-mp-object-size; gaul/s3proxy responds 501 to headers "
        "that it does not know, and would let a wrong size pass if it was told to ignore them",
        backends=("gaul",),
    ),
)
"""
What also fails straight, and is not for a proxy to mend: a limit of the client or of the storage system.
"""

TRANSLATED: tuple[Witness, ...] = (
    Witness("checksum trailers", "boto3", "rgw", "https", "put", "MissingContentLength"),
    Witness("checksum trailers", "aioboto3", "rgw", "https", "put large", "MissingContentLength"),
    Witness("checksum trailers", "s3fs", "rgw", "https", "put stream", "MissingContentLength"),
    Witness("checksum trailers", "smart_open", "rgw", "https", "put", "MissingContentLength"),
    # The client fails with its own error for status 411.
    Witness("checksum trailers", "aws-cli", "rgw", "https", "put large", "TypeError"),
    Witness("checksum trailers", "aws-go", "rgw", "https", "put", "XAmzContentSHA256Mismatch"),
    Witness("checksum trailers", "aws-js", "rgw", "http", "put", "MissingContentLength"),
    Witness("signed trailers", "minio-go-trailers", "rgw", "http", "put large", "XAmzContentSHA256Mismatch"),
    Witness("signed trailers", "minio-go-trailers", "swift", "http", "put large", "IncompleteBody"),
    Witness("signed trailers", "minio-go-trailers", "versitygw", "http", "put large", "BadDigest"),
    Witness("signed trailers", "aws-java", "rgw", "http", "put", "XAmzContentSHA256Mismatch"),
    Witness("checksum trailers", "aws-java-crt", "rgw", "http", "put large", "XAmzContentSHA256Mismatch"),
    Witness("signatures in a query by V4", "chromium-at-home", "walrus-3.4", "http", "put", "AccessDenied"),
    Witness("Signature V4", "boto3", "gaul", "http", "put", "AccessDenied"),
    Witness("Signature V4", "aws-cli-2", "gaul", "https", "list", "AccessDenied"),
    Witness("Signature V4", "boto3", "walrus-3.4", "http", "put", "AccessDenied"),
    Witness("Signature V4", "aws-go", "walrusbackend-4.x", "https", "copy", "AccessDenied"),
    Witness("Signature V2", "boto2", "versitygw", "http", "put", "AccessDenied"),
    Witness("Signature V2", "s3cmd-v2", "versitygw", "https", "list", "AccessDenied"),
    Witness("Signature V2", "rclone-v2", "versitygw", "http", "list", "AccessDenied"),
    Witness("signatures in a query", "boto2", "walrusbackend-4.x", "http", "presigned", "AccessDenied"),
    Witness("DeleteObjects", "boto2", "walrus-3.4", "http", "delete many", "AccessDenied"),
    # The request never gets a response.
    Witness("uploads in parts", "boto2", "walrus-3.4", "http", "put large", "TimeoutError: timed out"),
    # The server that adds TLS writes header names in lower case.
    Witness(
        "ranges by names in lower case",
        "boto2",
        "walrusbackend-4.x",
        "https",
        "range",
        "AssertionError: other bytes came back: 9437185, not 100000",
    ),
    Witness("checksum trailers", "boto3", "osg-4.3", "https", "put", "NotImplemented"),
    Witness("a bucket signed with a slash after it", "boto3-v2", "osg-4.3", "http", "list", "SignatureDoesNotMatch"),
    Witness("DeleteObjects", "boto3-v2", "walrusbackend-4.x", "https", "delete many", "AccessDenied"),
    Witness("signatures in a query by V4", "rclone-v2", "gaul", "http", "presigned", "AccessDenied"),
    Witness("a bucket signed with a slash after it", "boto3-v2", "rgw", "http", "list", "SignatureDoesNotMatch"),
    Witness("a bucket signed with a slash after it", "boto3-v2", "swift", "http", "list", "SignatureDoesNotMatch"),
    Witness("a key without a colon", "curl-unsigned", "swift", "http", "put", "SignatureDoesNotMatch"),
)
"""
At least one for each feature and each storage system that lacks it.
"""
