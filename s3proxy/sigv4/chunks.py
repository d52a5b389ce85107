"""
The chain of chunk and trailer signatures.

Source:
    "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

from __future__ import annotations

import hashlib

from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.sigv4.payload import EMPTY_SHA256
from s3proxy.sigv4.signing_key import sign


class ChunkChain:
    """
    Verifies each chunk's signature over its data and the signature before it.

    Args:
        access_key_id: For refusals.
        signing_key: Of the request's scope.
        date: The date line of the request's string to sign.
        scope: The scope line.
        seed_signature: The request's own, verified.
        canonical_request: The request's own; S3 repeats it in refusals.
    """

    __slots__ = (
        "_access_key_id",
        "_canonical_request",
        "_chunk_prefix",
        "_previous",
        "_signing_key",
        "_trailer_prefix",
    )

    def __init__(
        self,
        access_key_id: bytes,
        signing_key: bytes,
        date: bytes,
        scope: bytes,
        seed_signature: bytes,
        canonical_request: bytes,
    ) -> None:
        self._access_key_id = access_key_id
        self._signing_key = signing_key
        self._canonical_request = canonical_request
        self._previous = seed_signature
        self._chunk_prefix = b"AWS4-HMAC-SHA256-PAYLOAD\n%s\n%s\n" % (date, scope)
        self._trailer_prefix = b"AWS4-HMAC-SHA256-TRAILER\n%s\n%s\n" % (date, scope)

    def check_chunk(self, computed_sha256: bytes, claimed_signature: bytes) -> None:
        """
        Verify one chunk; the next is chained to it.

        Args:
            computed_sha256: Of the chunk's data, lower-case hex.

        Raises:
            SignatureDoesNotMatch: The data, or any before it, is not what was signed.
        """
        string_to_sign = b"%s%s\n%s\n%s" % (self._chunk_prefix, self._previous, EMPTY_SHA256, computed_sha256)
        self._check(string_to_sign, claimed_signature)

    def check_trailer(self, trailer_lines: bytes, claimed_signature: bytes) -> None:
        """
        Verify the trailer.

        Args:
            trailer_lines: Name, colon, value and LF for each, names in lower case and sorted.

        Raises:
            SignatureDoesNotMatch: They are not what was signed.
        """
        digest = hashlib.sha256(trailer_lines).hexdigest().encode()
        self._check(b"%s%s\n%s" % (self._trailer_prefix, self._previous, digest), claimed_signature)

    def _check(self, string_to_sign: bytes, claimed_signature: bytes) -> None:
        if not sign(self._signing_key, string_to_sign).matches(claimed_signature):
            raise SignatureDoesNotMatch(self._access_key_id, string_to_sign, claimed_signature, self._canonical_request)
        self._previous = claimed_signature
