"""
Documents of multipart uploads.
"""

from __future__ import annotations

import hashlib


def completion(etags: dict[int, str]) -> bytes:
    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>" for number, etag in etags.items()
    )
    return f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()


def joined(*contents: bytes) -> str:
    return hashlib.md5(b"".join(hashlib.md5(each).digest() for each in contents)).hexdigest() + f"-{len(contents)}"
