"""
The data of an access key, and what its text form shows.
"""

from __future__ import annotations

import dataclasses

from s3proxy.s3.address import parse_address
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits, Credential
from s3proxy.s3.head import parse_request_head
from s3proxy.sigv2.authorization import read_header_claim as read_v2_claim
from s3proxy.sigv4.header import read_header_claim as read_v4_claim
from tests.support.harness import NOW

SIGNATURE = "0123456789abcdef" * 4


def test_no_secret_is_in_a_credential_s_text() -> None:
    """
    The text may be in a traceback or a log line.
    """
    credential = Credential("AKID", ("the-secret", "the-older-secret"), session_token="the-token")

    assert "AKID" in repr(credential)
    assert not any(secret in repr(credential) for secret in ("the-secret", "the-older-secret", "the-token"))


def test_no_signature_is_in_a_claim_s_text() -> None:
    """
    Anyone who has it could send the request again.
    """
    components = (
        f"Credential=K/20260301/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
    )
    v4 = parse_request_head(
        b"GET /b/k HTTP/1.1\r\nHost: s3.test\r\nx-amz-date: 20260301T120000Z\r\nx-amz-content-sha256: UNSIGNED-PAYLOAD"
    )
    v2 = parse_request_head(b"GET /b/k HTTP/1.1\r\nHost: s3.test\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT")
    claims = [
        read_v4_claim(v4, b"AWS4-HMAC-SHA256", components.encode(), (b"us-east-1",), NOW),
        read_v2_claim(v2, parse_address(v2.raw_path, v2.host, []), f"AWS K:{SIGNATURE[:28]}".encode(), NOW),
    ]

    assert not any(SIGNATURE[:20] in repr(claim) for claim in claims)


def test_nothing_is_bounded_by_default() -> None:
    """
    0 means no limit.
    """
    assert BudgetLimits() == NO_LIMITS
    assert all(value == 0 for value in dataclasses.asdict(NO_LIMITS).values())
