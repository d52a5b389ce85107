"""
The chain of signatures of chunks and the trailer.

Source:
    "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

from __future__ import annotations

import hashlib
from typing import Protocol

from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.s3.payload import EMPTY_SHA256
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, PADDED_SIGNATURE_SIZE
from s3proxy.sigv4.signing_key import SigningKey

HMAC_SIGNATURE_SIZE = 64
"""
Hex digits of an HMAC-SHA256.
"""


class Key(Protocol):
    """
    A key that verifies: a `s3proxy.sigv4.signing_key.SigningKey` or a `s3proxy.sigv4.asymmetric.VerifyingKey`.
    """

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Return True if a signature was made over a text with this key.
        """


class ChunkChain:
    """
    Verifies each chunk's signature over its data and the signature before it.

    Args:
        access_key_id: Named in errors.
        key: The key that verified the request.
        algorithm: ``AWS4-HMAC-SHA256`` or ``AWS4-ECDSA-P256-SHA256``.
        date: The date line of the request's string to sign.
        scope: The scope line.
        seed_signature: The signature of the request, verified.
        canonical_request: That of the request. S3 repeats it in errors.
    """

    __slots__ = (
        "_access_key_id",
        "_canonical_request",
        "_chunk_prefix",
        "_is_padded",
        "_key",
        "_previous",
        "_trailer_prefix",
    )

    def __init__(
        self,
        access_key_id: bytes,
        key: Key,
        algorithm: bytes,
        date: bytes,
        scope: bytes,
        seed_signature: bytes,
        canonical_request: bytes,
    ) -> None:
        self._access_key_id = access_key_id
        self._key = key
        self._canonical_request = canonical_request
        self._previous = seed_signature
        self._is_padded = algorithm == ECDSA_ALGORITHM
        self._chunk_prefix = b"%s-PAYLOAD\n%s\n%s\n" % (algorithm, date, scope)
        self._trailer_prefix = b"%s-TRAILER\n%s\n%s\n" % (algorithm, date, scope)

    def is_signature(self, claimed_signature: bytes) -> bool:
        """
        Return True if a text has the length of a signature. If not, the framing is broken, not the signature wrong.
        """
        return self._is_padded or len(claimed_signature) == HMAC_SIGNATURE_SIZE

    def check_chunk(self, computed_sha256: bytes, claimed_signature: bytes) -> None:
        """
        Verify one chunk. The next chunk is chained to it.

        Args:
            computed_sha256: Hash of the chunk's data, lower-case hex.

        Raises:
            SignatureDoesNotMatch: The chunk, or its position, is not what was signed.
        """
        self._check(
            b"%s%s\n%s\n%s" % (self._chunk_prefix, self._previous, EMPTY_SHA256, computed_sha256), claimed_signature
        )

    def check_trailer(self, trailer_lines: bytes, claimed_signature: bytes) -> None:
        """
        Verify the trailer.

        Args:
            trailer_lines: Name, colon, value and LF for each, names in lower case and sorted.

        Raises:
            SignatureDoesNotMatch: The lines are not what was signed.
        """
        digest = hashlib.sha256(trailer_lines).hexdigest().encode()
        self._check(b"%s%s\n%s" % (self._trailer_prefix, self._previous, digest), claimed_signature)

    def _check(self, string_to_sign: bytes, claimed_signature: bytes) -> None:
        signature = claimed_signature
        if self._is_padded and len(signature) == PADDED_SIGNATURE_SIZE:
            # The padding keeps the encoded length constant. The next signature is chained to this one without it.
            signature = signature.rstrip(b"*")
        if not self._key.matches(string_to_sign, signature):
            raise SignatureDoesNotMatch(self._access_key_id, string_to_sign, claimed_signature, self._canonical_request)
        self._previous = signature


class ChunkSigner:
    """
    Signs the chunks of a body that s3proxy sends, each over its data and the signature before it, and then the trailer.

    Args:
        key: The key that signed the request.
        date: The date line of the request's string to sign.
        scope: The scope line.
        seed_signature: The signature of the request.
    """

    __slots__ = ("_date", "_key", "_prefix", "_previous", "_scope")

    def __init__(self, key: SigningKey, date: bytes, scope: bytes, seed_signature: bytes) -> None:
        self._key = key
        self._date = date
        self._scope = scope
        self._prefix = b"AWS4-HMAC-SHA256-PAYLOAD\n%s\n%s\n" % (date, scope)
        self._previous = seed_signature

    def sign(self, sha256: bytes) -> bytes:
        """
        Return the signature of the next chunk.

        Args:
            sha256: Hash of its data, lower-case hex.

        Returns:
            64 hex digits. They go into the chunk's header and nowhere else.
        """
        text = b"%s%s\n%s\n%s" % (self._prefix, self._previous, EMPTY_SHA256, sha256)
        self._previous = self._key.sign_for_backend(text)
        return self._previous

    def sign_trailer(self, lines: bytes) -> bytes:
        """
        Return the signature of the trailer, after the zero chunk.

        Args:
            lines: Name, colon, value and LF for each, names in lower case and sorted.

        Returns:
            64 hex digits. They go into the trailer and nowhere else.
        """
        digest = hashlib.sha256(lines).hexdigest().encode()
        text = b"AWS4-HMAC-SHA256-TRAILER\n%s\n%s\n%s\n%s" % (self._date, self._scope, self._previous, digest)
        return self._key.sign_for_backend(text)
