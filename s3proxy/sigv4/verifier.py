"""
Verifies the signature of a claim with the secrets of its key, or with what is given in their place.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.s3.native import NATIVE
from s3proxy.sigv4.asymmetric import VerifyingKeys
from s3proxy.sigv4.chunks import ChunkChain, Key
from s3proxy.sigv4.claims import ASYMMETRIC, FormClaim, SignatureClaim
from s3proxy.sigv4.scope import write_scope
from s3proxy.sigv4.signing_key import SigningKeys


def string_to_sign(claim: SignatureClaim, canonical_request: bytes) -> bytes:
    """
    Return the string to sign. Its first line is the algorithm as the client wrote it.
    """
    return b"%s\n%s\n%s\n%s" % (
        claim.algorithm,
        claim.date,
        write_scope(claim.scope),
        hashlib.sha256(canonical_request).hexdigest().encode(),
    )


def check_signature(
    claim: SignatureClaim, credential: Credential, signing_keys: SigningKeys, verifying_keys: VerifyingKeys
) -> ChunkChain | None:
    """
    Verify the signature of a request with each secret of its key, or with what is given in their place.

    Returns:
        The chain for a body of signed chunks, else None.

    Raises:
        InvalidURI: The path or the query cannot be decoded.
        InvalidRequest: The key has no secret, and what is given in its place cannot verify this kind of signature.
        SignatureDoesNotMatch: The signature was not made over this request with that key.
    """
    key: Key | None
    if (
        NATIVE is not None
        and (found := _verify_natively(claim, credential.secret_access_keys, signing_keys)) is not None
    ):
        key, text, canonical_request = found
    else:
        keys: list[Key] = []
        for secret in credential.secret_access_keys:
            if claim.carrier in ASYMMETRIC:
                keys.append(verifying_keys.derive(secret, claim.claimed_access_key_id))
            else:
                keys.append(signing_keys.derive(secret, claim.scope))
        canonical_request = claim.canonical_request()
        text = string_to_sign(claim, canonical_request)
        if len(keys) == 1:
            key = keys[0] if keys[0].matches(text, claim.claimed_signature) else None
        else:
            if credential.given_key is not None:
                keys += credential.given_key.keys_for(claim.carrier, write_scope(claim.scope))
            key = _matching_key(keys, text, claim.claimed_signature)
        portless_request = claim.canonical_request_without_port() if key is None else None
        if portless_request is not None:
            portless_text = string_to_sign(claim, portless_request)
            key = _matching_key(keys, portless_text, claim.claimed_signature)
            if key is not None:
                canonical_request, text = portless_request, portless_text
        if key is None:
            raise SignatureDoesNotMatch(claim.claimed_access_key_id, text, claim.claimed_signature, canonical_request)
    claim.verified_text = text
    if not claim.payload.has_signed_chunks:
        return None
    return ChunkChain(
        claim.claimed_access_key_id,
        key,
        claim.algorithm.upper(),
        claim.date,
        write_scope(claim.scope),
        claim.claimed_signature,
        canonical_request,
    )


def _verify_natively(
    claim: SignatureClaim, secrets: Sequence[str], signing_keys: SigningKeys
) -> tuple[Key, bytes, bytes] | None:
    """
    Return the key that verifies a request, the string to sign and the canonical request, if native code verifies it;
    None if Python code must decide.
    """
    coverage, head = claim.coverage, claim.head
    if coverage is None or claim.carrier is not Carrier.V4_HEADER or len(secrets) != 1 or head.raw_query:
        return None
    key, scope = signing_keys.derive(secrets[0], claim.scope), write_scope(claim.scope)
    verified = coverage.native.verify(
        key.native,
        claim.algorithm,
        claim.date,
        scope,
        head.method,
        head.raw_path,
        head.values,
        claim.payload.raw,
        claim.claimed_signature,
    )
    return None if verified is None else (key, *verified)


def check_form_signature(claim: FormClaim, credential: Credential, signing_keys: SigningKeys) -> None:
    """
    Verify the signature of a form's policy with each secret of its key, or with what is given in their place.

    Raises:
        InvalidRequest: The key has no secret, and what is given in its place cannot verify this kind of signature.
        SignatureDoesNotMatch: The signature was not made over this policy with that key.
    """
    keys: list[Key] = [signing_keys.derive(secret, claim.scope) for secret in credential.secret_access_keys]
    if credential.given_key is not None:
        keys += credential.given_key.keys_for(claim.carrier, write_scope(claim.scope))
    if _matching_key(keys, claim.policy, claim.claimed_signature) is None:
        raise SignatureDoesNotMatch(claim.claimed_access_key_id, claim.policy, claim.claimed_signature)
    claim.verified_text = claim.policy


def _matching_key(keys: Iterable[Key], text: bytes, claimed_signature: bytes) -> Key | None:
    found = None
    for key in keys:
        # Every secret is tried, so that the time does not reveal which one matched.
        if key.matches(text, claimed_signature):
            found = key
    return found
