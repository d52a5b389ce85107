"""
The values of x-amz-content-sha256.

Source:
    "Signature Calculations for the Authorization Header", the payload options.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.s3.errors import InvalidArgument
from s3proxy.s3.identity_enum import IdentityEnum

EMPTY_SHA256 = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
_HEX_SHA256 = re.compile(rb"[0-9A-Fa-f]{64}")


class PayloadHash(IdentityEnum):
    """
    The words that x-amz-content-sha256 may have instead of a hash.
    """

    UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"
    STREAMING_UNSIGNED_PAYLOAD_TRAILER = b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    STREAMING_AWS4_HMAC_SHA256_PAYLOAD = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER = b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD = b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD_TRAILER = b"STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER"


_WORDS = {word.value: word for word in PayloadHash}
_HMAC = frozenset(
    {PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD, PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER}
)
_ECDSA = frozenset(
    {
        PayloadHash.STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD,
        PayloadHash.STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD_TRAILER,
    }
)
_TRAILER = frozenset(word for word in PayloadHash if word.value.endswith(b"-TRAILER"))

_MESSAGE = (
    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, "
    "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD, STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD-TRAILER "
    "or a valid sha256 value."
)


@dataclass(slots=True)
class Payload:
    """
    How the signature of a request covers its body.

    Attributes:
        raw: The payload line of the canonical request, as sent.
        word: The word that was sent; None if a hash was sent.
        sha256: The claimed hash, in lower-case hex; None if a word was sent.
    """

    raw: bytes
    word: PayloadHash | None = None
    sha256: bytes | None = None

    @property
    def is_streaming(self) -> bool:
        """
        Whether the body is aws-chunked.
        """
        return self.word is not None and self.word is not PayloadHash.UNSIGNED_PAYLOAD

    @property
    def has_signed_chunks(self) -> bool:
        """
        Whether each chunk has a signature.
        """
        return self.word in _HMAC or self.word in _ECDSA

    @property
    def is_asymmetric(self) -> bool:
        """
        Whether the signatures of chunks are ECDSA.
        """
        return self.word in _ECDSA

    @property
    def has_trailer(self) -> bool:
        """
        Whether trailer lines may follow the last chunk.
        """
        return self.word in _TRAILER


UNSIGNED = Payload(b"UNSIGNED-PAYLOAD", PayloadHash.UNSIGNED_PAYLOAD)


def parse_payload(value: bytes) -> Payload:
    """
    Return what x-amz-content-sha256 says of a body.

    Raises:
        InvalidArgument: The value is neither exactly one of the words nor 64 hex digits.
    """
    if _HEX_SHA256.fullmatch(value) is not None:
        return Payload(value, sha256=value.lower())
    word = _WORDS.get(value)
    if word is None:
        raise InvalidArgument(_MESSAGE, "x-amz-content-sha256", value)
    return Payload(value, word)
