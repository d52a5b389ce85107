"""
Checksums as S3's headers have them.
"""

from __future__ import annotations

import base64

from s3proxy.awschunked.checksums import ALGORITHMS


def checksum(name: str, body: bytes) -> str:
    """
    Return the value of a checksum's header.
    """
    digest = ALGORITHMS[name.encode()].begin()
    digest.update(body)
    return base64.b64encode(digest.digest()).decode()
