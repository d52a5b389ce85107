"""
What ``x-amz-copy-source`` names.

Source:
    "CopyObject", x-amz-copy-source.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from s3proxy.s3.errors import InvalidArgument

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(rb"versionId=[^?&#%]*")
_ARN = re.compile(rb"arn:[a-z0-9-]+:[a-z0-9-]+:[^:/]*:[^:/]*:[a-z]+/.*?/object/.", re.DOTALL)
_VERSION_ID = re.compile(rb"[!->@-~]+")


class CopySource(NamedTuple):
    """
    An object to copy from, decoded.

    Attributes:
        version_id: None for the current version.
    """

    bucket: bytes
    key: bytes
    version_id: bytes | None


def check_copy_source(raw_source: bytes) -> None:
    """
    Refuse a copy source that has no key, or that two readers could read as two objects. MinIO reads
    ``http://host/bucket/key`` as a URL, so it finds another bucket.

    Args:
        raw_source: ``/bucket/key?versionId=id``, escaped; the first slash and the version may be absent.

    Raises:
        InvalidArgument: The bucket or the key is missing, or a scheme precedes them; an escape is broken, the name is
            not UTF-8, or its query is not one version. Ceph 16.2 cuts off a broken escape, or stores an empty part.
    """
    _, mark, query = raw_source.partition(b"?")
    path = copy_source_path(raw_source)
    if _BAD_ESCAPE.search(raw_source) is not None or not _is_utf8(path):
        raise InvalidArgument("Invalid copy source encoding", "x-amz-copy-source", raw_source)
    if mark and _VERSION.fullmatch(query) is None:
        raise InvalidArgument("Unsupported copy source parameter.", "x-amz-copy-source", raw_source)
    if not path.startswith(b"arn:"):
        bucket, key = _bucket_and_key(path)
        if bucket and not bucket.endswith(b":") and key.strip(b"/"):
            return
    elif _ARN.match(path) is not None:
        return
    raise InvalidArgument("Invalid copy source object key", "x-amz-copy-source", raw_source)


def parse_copy_source(raw_source: bytes) -> CopySource | None:
    """
    Return the object that a copy source names; None if it names an access point.

    Args:
        raw_source: Accepted by `check_copy_source`.

    Raises:
        InvalidArgument: Its version is empty or malformed.
    """
    bucket = copy_source_bucket(raw_source)
    if bucket is None:
        return None
    _, mark, raw_query = raw_source.partition(b"?")
    version_id = raw_query.removeprefix(b"versionId=") if mark else None
    if version_id is not None and _VERSION_ID.fullmatch(version_id) is None:
        problem = "Invalid version id specified" if version_id else "Version id cannot be the empty string"
        raise InvalidArgument(problem, "x-amz-copy-source", raw_source)
    return CopySource(bucket, copy_source_key(raw_source), version_id)


def copy_source_bucket(raw_source: bytes) -> bytes | None:
    """
    Return the bucket of a copy source, decoded; None if it names an access point.

    Args:
        raw_source: Accepted by `check_copy_source`.
    """
    path = copy_source_path(raw_source)
    return None if path.startswith(b"arn:") else _bucket_and_key(path)[0]


def copy_source_key(raw_source: bytes) -> bytes:
    """
    Return the key of a copy source, decoded.
    """
    return _bucket_and_key(copy_source_path(raw_source))[1]


def sent_copy_source(raw_source: bytes) -> bytes:
    """
    Return a copy source as a backend gets it: with ``#`` escaped, because MinIO would cut the key there, and ``+``
    replaced, because S3 reads a space and Ceph reads a plus.
    """
    if b"#" in raw_source:
        raw_source = raw_source.replace(b"#", b"%23")
    if b"+" in raw_source:
        path, mark, query = raw_source.partition(b"?")
        raw_source = path.replace(b"+", b"%20") + mark + query
    return raw_source


def copy_source_path(raw_source: bytes) -> bytes:
    """
    Return a copy source without its version, decoded once as form data is: ``+`` is a space.
    """
    return unquote_to_bytes(raw_source.partition(b"?")[0].replace(b"+", b" "))


def _bucket_and_key(path: bytes) -> tuple[bytes, bytes]:
    bucket, _, key = path.removeprefix(b"/").partition(b"/")
    return bucket, key


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
