"""
What a request needs to be allowed: one access for each resource that it touches.

Source:
    "Required permissions for Amazon S3 API operations".
"""

from __future__ import annotations

from enum import auto
from typing import NamedTuple

from s3proxy.authorization.actions import BYPASS_RETENTION, GET_BUCKET_LOCATION
from s3proxy.s3.address import Address
from s3proxy.s3.classification import Classification
from s3proxy.s3.copy_source import parse_copy_source
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.operation import CREATE_BUCKET, DELETE_OBJECTS, HEAD_BUCKET, Level, Operation
from s3proxy.s3.query import query_items


class Scope(IdentityEnum):
    """
    Which part of a bucket an access is about.
    """

    KEY = auto()
    "one key"
    PREFIX = auto()
    "all keys that begin with a prefix, which may be empty"
    WHOLE = auto()
    "the bucket and everything in it"
    PRESENCE = auto()
    "the existence of the bucket"
    SERVICE = auto()
    "all buckets"


class Access(NamedTuple):
    """
    One action on one resource.

    Attributes:
        action: An S3 action, such as ``s3:PutObject``.
        bucket: Decoded, as the client names it; empty for `Scope.SERVICE`.
        name: The key or the prefix, decoded; otherwise empty.
    """

    action: str
    scope: Scope
    bucket: bytes
    name: bytes = b""


_GRANTS = tuple(
    b"x-amz-" + name
    for name in (b"acl", b"grant-full-control", b"grant-read", b"grant-read-acp", b"grant-write", b"grant-write-acp")
)

_OF_OBJECT = {
    **dict.fromkeys(_GRANTS, "s3:PutObjectAcl"),
    b"x-amz-bypass-governance-retention": BYPASS_RETENTION,
    b"x-amz-object-lock-legal-hold": "s3:PutObjectLegalHold",
    b"x-amz-object-lock-mode": "s3:PutObjectRetention",
    b"x-amz-object-lock-retain-until-date": "s3:PutObjectRetention",
    b"x-amz-tagging": "s3:PutObjectTagging",
}
"""
Headers of a request that changes an object, each with the action that it needs in addition.
"""

_OF_BUCKET = {
    **dict.fromkeys(_GRANTS, "s3:PutBucketAcl"),
    b"x-amz-bucket-object-lock-enabled": "s3:PutBucketObjectLockConfiguration",
    b"x-amz-object-ownership": "s3:PutBucketOwnershipControls",
}
"""
Headers of CreateBucket, each with the action that it needs in addition.
"""

_EXTRACTS = b"x-amz-meta-snowball-auto-extract"
"""
The header that makes MinIO unpack an uploaded archive, so that it writes keys that the request does not name.
"""

_ASKING = frozenset({*_OF_OBJECT, *_OF_BUCKET, _EXTRACTS})
"""
Headers of which a request may have one that needs an action of its own.
"""

_DOTS = frozenset({b"", b".", b".."})


def needed_accesses(head: RequestHead, address: Address, classification: Classification) -> list[Access]:
    """
    Return everything that a request must be allowed to do. For DeleteObjects, its document says the rest.

    Args:
        head: The authenticated head.

    Raises:
        AccessDenied: The source of a copy is an access point: which object it stands for is not known here.
    """
    operation = classification.operation
    if operation is DELETE_OBJECTS or operation.action is None:
        needed = []
    else:
        needed = [_own_access(head, address, classification, operation.action)]
    if not operation.is_read:
        needed += _of_headers(head, address, operation)
    if operation.copies:
        needed += map(_of_source, head.fields.get(b"x-amz-copy-source", ()))
    return needed


def deletion_access(bucket: bytes, key: bytes, *, names_version: bool) -> Access:
    """
    Return what the deletion of one object of a DeleteObjects document needs.
    """
    action = DELETE_OBJECTS.version_action if names_version else DELETE_OBJECTS.action
    return Access(str(action), Scope.KEY, bucket, key)


def scope_of(operation: Operation) -> Scope:
    """
    Return which part of a bucket an operation is about.
    """
    if operation.level is Level.SERVICE:
        return Scope.SERVICE
    if operation.action is None or not operation.action.startswith("s3:"):
        # The operations of directory buckets name further keys, or give a session for all of them.
        return Scope.WHOLE
    if operation.level is Level.OBJECT:
        return Scope.KEY
    if operation is HEAD_BUCKET or operation.action == GET_BUCKET_LOCATION:
        return Scope.PRESENCE
    return Scope.PREFIX if b"prefix" in operation.parameters else Scope.WHOLE


def other_reading(key: bytes) -> bytes | None:
    """
    Return the key that a backend sees if it resolves a key as the path of a file; None if it would see the same key.

    Returns:
        No bytes if the path leads out of the bucket.
    """
    if b"/" not in key and key not in _DOTS:
        return None
    parts = key.split(b"/")
    # A slash at the end is no empty segment to drop: it makes a folder's own object, also in file systems.
    if _DOTS.isdisjoint(parts[:-1]) and parts[-1] not in {b".", b".."}:
        return None
    resolved: list[bytes] = []
    for part in parts:
        if part == b"..":
            if not resolved:
                return b""
            resolved.pop()
        elif part not in _DOTS:
            resolved.append(part)
    return b"/".join(resolved)


def _own_access(head: RequestHead, address: Address, classification: Classification, action: str) -> Access:
    operation, scope = classification.operation, scope_of(classification.operation)
    if scope is Scope.KEY:
        if b"versionId" in classification.passed_names and operation.version_action is not None:
            action = operation.version_action
        return Access(action, scope, address.bucket, address.key)
    if scope is Scope.PREFIX:
        prefix = dict(query_items(head.raw_query)).get(b"prefix", b"") if head.raw_query else b""
        return Access(action, scope, address.bucket, prefix)
    return Access(action, scope, address.bucket)


def _of_headers(head: RequestHead, address: Address, operation: Operation) -> list[Access]:
    fields = head.fields
    if fields.keys().isdisjoint(_ASKING):
        return []
    if operation is CREATE_BUCKET:
        return [
            Access(action, Scope.WHOLE, address.bucket)
            for action in sorted({action for name, action in _OF_BUCKET.items() if name in fields})
        ]
    actions = sorted({action for name, action in _OF_OBJECT.items() if name in fields} - {operation.action})
    if operation.level is Level.OBJECT:
        needed = [Access(action, Scope.KEY, address.bucket, address.key) for action in actions]
        if _EXTRACTS in fields:
            needed.append(Access(str(operation.action), Scope.WHOLE, address.bucket))
        return needed
    if operation is DELETE_OBJECTS:
        return [Access(BYPASS_RETENTION, Scope.WHOLE, address.bucket)] if BYPASS_RETENTION in actions else []
    return []


def _of_source(raw_source: bytes) -> Access:
    source = parse_copy_source(raw_source)
    if source is None:
        raise AccessDenied
    action = "s3:GetObject" if source.version_id is None else "s3:GetObjectVersion"
    return Access(action, Scope.KEY, source.bucket, source.key)
