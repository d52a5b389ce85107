"""
Which conditions each storage system does not look at.
"""

from __future__ import annotations

from collections.abc import Mapping

IN_DOCUMENT = b""
"""
Stands for a condition that is in the document of a request, not in its headers.
"""

Conditions = Mapping[str, frozenset[bytes]]
"""
Lower-case names of headers, by operation.
"""

APPENDING: Conditions = {"PutObject": frozenset({b"x-amz-write-offset-bytes"})}
"""
What only S3's directory buckets have: others store what was to be appended in the place of the object.
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
What 16.2 was seen to ignore. It knows the conditions of PutObject.
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
What the source of February 2026 does not look at: minio/minio, ``checkPreconditionsPUT`` and where it is called,
``DeleteObjectHandler``, ``ObjectToDelete``. It knows those of uploads, whole and in parts.

`APPENDING` is what releases before RELEASE.2025-05-24T17-08-30Z ignore. Later ones refuse it themselves, seen with 400
BadRequest: ``api-router.go``, "AppendObject to be rejected".
"""

VERSITYGW_IGNORED: Conditions = {**APPENDING, "CopyObject": _TAGS, "DeleteObjects": frozenset({IN_DOCUMENT})}
"""
What the source of 1.7 and later does not look at over a directory: versity/versitygw, ``CopyObject`` and
``DeleteObjects`` of ``posix.go``.
"""
