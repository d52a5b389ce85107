"""
Translates the region in CreateBucket: clients name the listener's region, and the backend expects its own.

Source:
    "CreateBucket".
"""

from __future__ import annotations

import re
from collections.abc import Container

from s3proxy.s3.head import HeaderList

# Possessive quantifiers: white space of any length is read once.
_CONSTRAINT = re.compile(
    rb"(<(?:[A-Za-z0-9]{1,32}+:)?LocationConstraint(?:\s[^<>]*+)?>)\s*+([A-Za-z0-9-]{1,64}+)\s*+</"
)


def translate_region(document: bytes, ours: Container[bytes], backend_region: bytes) -> bytes:
    """
    Return the document of CreateBucket with the backend's region instead of one of ours.

    Args:
        document: Verified.

    Returns:
        ``document`` itself if it names another region, which the backend must check, or none. Empty if the backend is
        in us-east-1, because no document names that region.
    """
    found = _CONSTRAINT.search(document)
    if found is None or found[2] not in ours or found[2] == backend_region:
        return document
    if backend_region == b"us-east-1":
        return b""
    return document[: found.end(1)] + backend_region + document[found.end(2) :]


def without_digests(headers: HeaderList) -> HeaderList:
    """
    Return headers without those which are about the bytes of another body.
    """
    return [
        header
        for header in headers
        if header[0].lower() != b"content-md5" and not header[0].lower().startswith(b"x-amz-checksum-")
    ]
