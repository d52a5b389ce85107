"""
The checks that may be waived for one key.
"""

from __future__ import annotations

from enum import StrEnum


class Exemption(StrEnum):
    """
    A check that is waived for a key; the value is the word for it in the configuration and in metrics.
    """

    REGION = "region"
    "the client signs for another region"
    CLOCK_SKEW = "clock-skew"
    "the client's clock is wrong"
    UNSIGNED_HEADERS = "unsigned-headers"
    "the client leaves headers unsigned that S3 requires to be signed"
    CHUNK_SIZE = "chunk-size"
    "the client sends chunks that are smaller than S3 allows"
