"""
What ``x-amz-copy-source`` names.

Source:
    "CopyObject", x-amz-copy-source.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from s3proxy.s3.errors import InvalidArgument

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_VERSION = re.compile(rb"versionId=[^?&#%]*")


def check_copy_source(raw_source: bytes) -> None:
    """
    Refuse a copy source without a key, or one that two readers could take for two objects.

    Args:
        raw_source: ``/bucket/key?versionId=id``, escaped; the first slash and the version may be absent.

    Raises:
        InvalidArgument: There is no bucket, or no key; an escape is broken, the name is not UTF-8, or its query is not
            one version. Ceph 16.2 cuts a broken escape off, or stores an empty part for it.
    """
    _, mark, query = raw_source.partition(b"?")
    path = copy_source_path(raw_source)
    if _BAD_ESCAPE.search(raw_source) is not None or not _is_utf8(path):
        raise InvalidArgument("Invalid copy source encoding", "x-amz-copy-source", raw_source)
    if mark and _VERSION.fullmatch(query) is None:
        raise InvalidArgument("Unsupported copy source parameter.", "x-amz-copy-source", raw_source)
    if not path.startswith(b"arn:"):
        bucket, _, key = path.removeprefix(b"/").partition(b"/")
        if bucket and key.strip(b"/"):
            return
    elif path.partition(b"/object/")[2]:
        return
    raise InvalidArgument("Invalid copy source object key", "x-amz-copy-source", raw_source)


def copy_source_bucket(raw_source: bytes) -> bytes | None:
    """
    Return the bucket of a copy source, decoded; None if it names an access point.

    Args:
        raw_source: As `check_copy_source` lets it pass.
    """
    path = copy_source_path(raw_source)
    return None if path.startswith(b"arn:") else path.removeprefix(b"/").partition(b"/")[0]


def copy_source_key(raw_source: bytes) -> bytes:
    """
    Return the key of a copy source, decoded.
    """
    return copy_source_path(raw_source).removeprefix(b"/").partition(b"/")[2]


def copy_source_path(raw_source: bytes) -> bytes:
    """
    Return a copy source without its version, decoded once.
    """
    return unquote_to_bytes(raw_source.partition(b"?")[0])


def _is_utf8(path: bytes) -> bool:
    try:
        path.decode()
    except UnicodeDecodeError:
        return False
    return True
