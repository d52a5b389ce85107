"""
A claim and what is known of its key: a verified request, or an S3 error.
"""

from __future__ import annotations

import hashlib
from collections.abc import Container
from datetime import datetime

from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ExpiredToken, InvalidAccessKeyId, InvalidToken, SignatureDoesNotMatch
from s3proxy.sigv4.authorization import SignatureClaim
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.scope import format_basic_iso
from s3proxy.sigv4.signing_key import SigningKeys, sign


def string_to_sign(claim: SignatureClaim, canonical_request: bytes) -> bytes:
    """
    Return the string to sign. Its first line is the algorithm as the client wrote it.
    """
    return b"%s\n%s\n%s\n%s" % (
        claim.algorithm,
        format_basic_iso(claim.signed_at),
        bytes(claim.scope),
        hashlib.sha256(canonical_request).hexdigest().encode(),
    )


def check_exemptions(claim: SignatureClaim, credential: Credential | None) -> None:
    """
    Raise the first fault of a claim which its key does not waive.
    """
    for exemption, error in claim.waivable:
        if credential is None or exemption not in credential.exemptions:
            raise error


def check_token(
    claim: SignatureClaim, credential: Credential | None, known_tokens: Container[bytes], now: datetime
) -> Credential:
    """
    Check key and session token, before the signature.

    Args:
        known_tokens: Every token which this service has given out, of whatever key.

    Raises:
        InvalidAccessKeyId: The key is unknown, disabled or expired, or its token is missing or another key's.
        InvalidToken: The token is no token.
        ExpiredToken: The session has ended.
    """
    key = claim.claimed_access_key_id
    token = claim.session_token
    if credential is None or credential.is_disabled:
        raise InvalidAccessKeyId(key)
    if credential.session_token is None:
        if credential.expires_at is not None and now >= credential.expires_at:
            raise InvalidAccessKeyId(key)
        return credential
    if not token:
        raise InvalidAccessKeyId(key)
    if token != credential.session_token.encode():
        if token in known_tokens:
            raise InvalidAccessKeyId(key)
        raise InvalidToken(token)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise ExpiredToken(token)
    return credential


def check_signature(claim: SignatureClaim, credential: Credential, signing_keys: SigningKeys) -> ChunkChain | None:
    """
    Verify the signature with each of the key's secrets.

    Returns:
        The chain for a body of signed chunks, else None.

    Raises:
        SignatureDoesNotMatch: It was not made with any of the secrets, over this request.
        InvalidToken: A long-lived key came with a session token.
    """
    canonical_request = claim.canonical_request()
    text = string_to_sign(claim, canonical_request)
    signing_key = None
    for secret in credential.secret_access_keys:
        key = signing_keys.derive(secret, claim.scope)
        # Every secret is tried, so that the time does not tell which one it was.
        if sign(key, text).matches(claim.claimed_signature):
            signing_key = key
    if signing_key is None:
        raise SignatureDoesNotMatch(claim.claimed_access_key_id, text, claim.claimed_signature, canonical_request)
    if credential.session_token is None and claim.session_token is not None:
        raise InvalidToken(claim.session_token)
    if not claim.payload.has_signed_chunks:
        return None
    return ChunkChain(
        claim.claimed_access_key_id,
        signing_key,
        format_basic_iso(claim.signed_at),
        bytes(claim.scope),
        claim.claimed_signature,
        canonical_request,
    )
