"""
What ``x-amz-copy-source`` names.

Source:
    "CopyObject", x-amz-copy-source.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from s3proxy.s3.errors import InvalidArgument


def check_copy_source(raw_source: bytes) -> None:
    """
    Refuse a copy source without a key.

    Args:
        raw_source: ``/bucket/key?versionId=id``, escaped; the first slash and the version may be absent.

    Raises:
        InvalidArgument: There is no bucket, or no key.
    """
    path = _copy_source_path(raw_source)
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
    path = _copy_source_path(raw_source)
    return None if path.startswith(b"arn:") else path.removeprefix(b"/").partition(b"/")[0]


def copy_source_key(raw_source: bytes) -> bytes:
    """
    Return the key of a copy source, decoded.
    """
    return _copy_source_path(raw_source).removeprefix(b"/").partition(b"/")[2]


def _copy_source_path(raw_source: bytes) -> bytes:
    return unquote_to_bytes(raw_source.partition(b"?")[0])
