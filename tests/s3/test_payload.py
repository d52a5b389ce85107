"""
What x-amz-content-sha256 says of a body: eight words and a hash, as "Signature Calculations" defines them.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.payload import parse_payload


@pytest.mark.parametrize(
    ("value", "is_streaming", "has_signed_chunks", "is_asymmetric", "has_trailer"),
    [
        ("0" * 64, False, False, False, False),
        ("UNSIGNED-PAYLOAD", False, False, False, False),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", True, False, False, True),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", True, True, False, False),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", True, True, False, True),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", True, True, True, False),
        ("STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER", True, True, True, True),
    ],
)
def test_what_a_word_says(
    value: str, is_streaming: bool, has_signed_chunks: bool, is_asymmetric: bool, has_trailer: bool
) -> None:
    """
    Each of four properties.
    """
    payload = parse_payload(value.encode())

    assert payload.is_streaming is is_streaming
    assert payload.has_signed_chunks is has_signed_chunks
    assert payload.is_asymmetric is is_asymmetric
    assert payload.has_trailer is has_trailer
