"""
The name of the operation which a request asks for: what a backend has, and what it lacks, is told by it.
"""

from __future__ import annotations

from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import query_names
from s3proxy.sigv2.canonical import LISTING_NAMES, SUBRESOURCES

OVERRIDE_PREFIX = b"response-"

OVERRIDES = frozenset(name for name in SUBRESOURCES if name.startswith(OVERRIDE_PREFIX))
"""
Query names which set a header of GetObject's answer.
"""

_PLAIN_NAMES = (LISTING_NAMES - {b"list-type"}) | OVERRIDES | {b"versionId", b"x-id"}
"""
Query names which choose a part, a version or the answer's headers, and make no other operation of a request.
"""

_OPERATION_NAMES = (SUBRESOURCES | {b"list-type"}) - _PLAIN_NAMES

_IMPLYING_HEADERS = {
    b"x-amz-bucket-object-lock-enabled": "object-lock",
    b"x-amz-copy-source": "copy-source",
    b"x-amz-object-lock-legal-hold": "object-lock",
    b"x-amz-object-lock-mode": "object-lock",
    b"x-amz-object-lock-retain-until-date": "object-lock",
    b"x-amz-server-side-encryption": "encryption",
    b"x-amz-server-side-encryption-customer-algorithm": "encryption",
    b"x-amz-tagging": "tagging",
}
"""
Headers whose promise a backend which does not know them would break in silence.
"""

_PROMISES_NOTHING = {b"x-amz-bucket-object-lock-enabled": [b"false"], b"x-amz-object-lock-legal-hold": [b"OFF"]}
"""
What these headers say where the function is not wanted: rclone tells it with each new bucket.
"""

_CONDITIONS = frozenset(
    {
        b"x-amz-copy-source-if-match",
        b"x-amz-copy-source-if-modified-since",
        b"x-amz-copy-source-if-none-match",
        b"x-amz-copy-source-if-unmodified-since",
    }
)
_WRITE_CONDITIONS = _CONDITIONS | {b"if-match", b"if-none-match"}
_READS = frozenset({b"GET", b"HEAD", b"OPTIONS"})


def operation_name(head: RequestHead, address: Address, authentication_names: frozenset[bytes]) -> str:
    """
    Name an operation: its method, ``service``, ``bucket`` or ``object``, and, behind a ``?``, what makes another
    operation of it, in order: ``PUT object?partNumber&uploadId``.

    What makes another operation are the sub-resources of the query, and of the headers those which imply a function:
    ``copy-source``, ``condition`` of a write, ``encryption``, ``tagging``, ``object-lock``. S3 ignores other names of
    a query. So do we where a request reads; a write with a name which nobody knows has a name which no backend has.

    Args:
        authentication_names: Decoded names of the query's parameters which authenticated it.
    """
    level = "object" if address.key else "bucket" if address.bucket else "service"
    names = query_names(head.raw_query) - authentication_names
    asked = names & _OPERATION_NAMES if head.method in _READS else names - _PLAIN_NAMES
    features = {name.decode("latin-1") for name in asked}
    for header, feature in _IMPLYING_HEADERS.items():
        if header in head.fields and head.fields[header] != _PROMISES_NOTHING.get(header):
            features.add(feature)
    if head.method not in _READS and not _WRITE_CONDITIONS.isdisjoint(head.fields):
        features.add("condition")
    name = f"{head.method.decode('latin-1')} {level}"
    return f"{name}?{'&'.join(sorted(features))}" if features else name
