"""
Verifies the signature of a claim of Signature V2 with the secrets of its key.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Iterable

from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.sigv2.authorization import V2Claim


def sign(secret_access_key: str, text: bytes) -> bytes:
    """
    Return the signature of a string: base64 of its HMAC-SHA1.
    """
    return base64.b64encode(hmac.digest(secret_access_key.encode(), text, "sha1"))


def check_signature(claim: V2Claim, secrets: Iterable[str]) -> None:
    """
    Verify the signature with each of the key's secrets.

    Raises:
        SignatureDoesNotMatch: It was not made over this request or policy with any of the secrets.
    """
    verified: bytes | None = None
    # Every secret is tried, so that the time does not reveal which one matched.
    for secret in secrets:
        for text in claim.strings_to_sign:
            if hmac.compare_digest(sign(secret, text), claim.claimed_signature):
                verified = text
    if verified is None:
        raise SignatureDoesNotMatch(claim.claimed_access_key_id, claim.strings_to_sign[0], claim.claimed_signature)
    claim.verified_text = verified
