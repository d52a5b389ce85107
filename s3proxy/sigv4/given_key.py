"""
Keys that a credential source gives in place of a secret: the signing key of one scope, or the public key of a client.

Such a key verifies what it was made for, and cannot sign anything else. A service that keeps the secrets need not tell
them to s3proxy.
"""

from __future__ import annotations

import base64
import binascii

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

from s3proxy.s3.claim import Carrier
from s3proxy.s3.errors import InvalidRequest
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, VerifyingKey
from s3proxy.sigv4.chunks import Key
from s3proxy.sigv4.claims import ASYMMETRIC
from s3proxy.sigv4.scope import HMAC_ALGORITHM
from s3proxy.sigv4.signing_key import SigningKey

SIGNING_KEY_SIZE = 32
"""
Bytes of a signing key: an HMAC-SHA256.
"""

_SYMMETRIC = frozenset({Carrier.V4_HEADER, Carrier.V4_QUERY, Carrier.V4_FORM})


class GivenKey:
    """
    A key without its secret.

    Args:
        algorithm: The algorithm of its signatures. Errors name it.
        carriers: What it can verify.
        scope: The one scope that it is valid for; None for any.
    """

    __slots__ = ("_algorithm", "_carriers", "_key", "_scope")

    def __init__(self, key: Key, algorithm: bytes, carriers: frozenset[Carrier], scope: bytes | None = None) -> None:
        self._key = key
        self._algorithm = algorithm
        self._carriers = carriers
        self._scope = scope

    def __repr__(self) -> str:
        return f"<GivenKey for {self._algorithm.decode()}>"

    def keys_for(self, carrier: Carrier, scope: bytes) -> tuple[Key, ...]:
        """
        Return the key if it is valid for a scope, else nothing: then no signature can match.

        Args:
            scope: The scope of a claim, as its string to sign has it; empty for Signature V2.

        Raises:
            InvalidRequest: The key cannot verify this kind of signature, whatever the scope is.
        """
        if carrier not in self._carriers:
            # What S3 returns for a version of signatures that a region does not know.
            raise InvalidRequest(
                "The authorization mechanism you have provided is not supported. "
                f"Please use {self._algorithm.decode()}."
            )
        return (self._key,) if self._scope is None or self._scope == scope else ()


def give_signing_key(key: bytes, scope: bytes) -> GivenKey:
    """
    Return the key for a client whose secret is not known, but the signing key of one scope is.

    Args:
        key: The 32 bytes that `s3proxy.sigv4.signing_key.derive_signing_key` returns. They are a secret.
        scope: As a string to sign has it: ``20300101/us-east-1/s3/aws4_request``.

    Raises:
        ValueError: It does not have 32 bytes.
    """
    if len(key) != SIGNING_KEY_SIZE:
        raise ValueError(f"a signing key has {SIGNING_KEY_SIZE} bytes")
    return GivenKey(SigningKey(key), HMAC_ALGORITHM, _SYMMETRIC, scope)


def give_public_key(encoded: str) -> GivenKey:
    """
    Return the key for a client that signs with Signature V4A and whose private key is not known.

    Args:
        encoded: A SubjectPublicKeyInfo of the curve P-256: PEM, or base64 of its DER.

    Raises:
        ValueError: It is not such a key. The text says what is wrong, and has nothing of the key.
    """
    try:
        if encoded.lstrip().startswith("-----BEGIN"):
            key = load_pem_public_key(encoded.encode("ascii"))
        else:
            key = load_der_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm):
        raise ValueError("neither PEM nor base64 of a DER SubjectPublicKeyInfo") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("not a key of the curve P-256")
    return GivenKey(VerifyingKey(key), ECDSA_ALGORITHM, ASYMMETRIC)
