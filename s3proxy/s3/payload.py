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


@dataclass(slots=True, init=False)
class Payload:
    """
    How the signature of a request covers its body. Many requests share one object: it is not changed.

    Attributes:
        raw: The payload line of the canonical request, as sent.
        word: The word that was sent; None if a hash was sent.
        sha256: The claimed hash, in lower-case hex; None if a word was sent.
        is_streaming: Whether the body is aws-chunked.
        has_signed_chunks: Whether each chunk has a signature.
        is_asymmetric: Whether the signatures of chunks are ECDSA.
        has_trailer: Whether trailer lines may follow the last chunk.
    """

    raw: bytes
    word: PayloadHash | None
    sha256: bytes | None
    is_streaming: bool
    has_signed_chunks: bool
    is_asymmetric: bool
    has_trailer: bool

    def __init__(self, raw: bytes, word: PayloadHash | None = None, sha256: bytes | None = None) -> None:
        self.raw = raw
        self.word = word
        self.sha256 = sha256
        self.is_streaming = word is not None and word is not PayloadHash.UNSIGNED_PAYLOAD
        self.is_asymmetric = word in _ECDSA
        self.has_signed_chunks = self.is_asymmetric or word in _HMAC
        self.has_trailer = word in _TRAILER


KNOWN_PAYLOADS = {word.value: Payload(word.value, word) for word in PayloadHash}
KNOWN_PAYLOADS[EMPTY_SHA256] = Payload(EMPTY_SHA256, sha256=EMPTY_SHA256)
"""
What the words and the hash of no bytes say.
"""

UNSIGNED = KNOWN_PAYLOADS[PayloadHash.UNSIGNED_PAYLOAD.value]


def parse_payload(value: bytes) -> Payload:
    """
    Return what x-amz-content-sha256 says of a body.

    Raises:
        InvalidArgument: The value is neither exactly one of the words nor 64 hex digits.
    """
    known = KNOWN_PAYLOADS.get(value)
    if known is not None:
        return known
    if _HEX_SHA256.fullmatch(value) is None:
        raise InvalidArgument(_MESSAGE, "x-amz-content-sha256", value)
    return Payload(value, sha256=value.lower())
