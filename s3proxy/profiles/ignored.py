"""
The conditions that each storage system ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ConditionPolicy(StrEnum):
    """
    How a condition is handled that the backend would ignore.
    """

    REFUSE = "refuse"
    CHECK = "check"
    "s3proxy evaluates it before the request, if it can"
    FORWARD = "pass"
    "it is forwarded"


IN_DOCUMENT = b""
"""
Stands for a condition in the document of a request, not in its headers.
"""

Conditions = Mapping[str, frozenset[bytes]]
"""
Lower-case names of headers, by the name of the operation.
"""

APPENDING: Conditions = {"PutObject": frozenset({b"x-amz-write-offset-bytes"})}
"""
Only S3's directory buckets can append in this way. Others replace the object with the bytes to append.
"""

_OF_DELETION = frozenset({b"x-amz-if-match-last-modified-time", b"x-amz-if-match-size"})
_OF_ABORT: Conditions = {"AbortMultipartUpload": frozenset({b"x-amz-if-match-initiated-time"})}
_TAGS = frozenset({b"if-match", b"if-none-match"})

CEPH_IGNORED: Conditions = {
    **APPENDING,
    **_OF_ABORT,
    "CompleteMultipartUpload": _TAGS,
    "CopyObject": _TAGS,
    "DeleteObject": _OF_DELETION | {b"if-match"},
    "DeleteObjects": frozenset({IN_DOCUMENT}),
}
"""
What 16.2 was seen to ignore. It supports the conditions of PutObject.
"""

SWIFT_IGNORED: Conditions = {**APPENDING, **_OF_ABORT, "DeleteObject": _OF_DELETION}
"""
What 2.38 was seen to ignore.
"""

MINIO_IGNORED: Conditions = {
    **APPENDING,
    **_OF_ABORT,
    "CopyObject": _TAGS,
    "DeleteObject": _OF_DELETION | {b"if-match"},
    "DeleteObjects": frozenset({IN_DOCUMENT}),
}
"""
What the source of February 2026 ignores: minio/minio, ``checkPreconditionsPUT`` and its callers,
``DeleteObjectHandler``, ``ObjectToDelete``. It supports the conditions of PutObject and of multipart uploads.

Releases before RELEASE.2025-05-24T17-08-30Z ignore `APPENDING`. Later ones refuse it themselves, seen with 400
BadRequest: ``api-router.go``, "AppendObject to be rejected".
"""

VERSITYGW_IGNORED: Conditions = {**APPENDING, "CopyObject": _TAGS, "DeleteObjects": frozenset({IN_DOCUMENT})}
"""
What the source of 1.7 and later ignores if it serves a directory: versity/versitygw, ``CopyObject`` and
``DeleteObjects`` of ``posix.go``.
"""
