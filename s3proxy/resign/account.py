"""
How requests to one backend are signed: its account, the signature version, and what that covers of a body.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import StrEnum

from s3proxy.profiles.profile import BackendKey, Profile
from s3proxy.s3.payload import EMPTY_SHA256
from s3proxy.sigv4.signing_key import SigningKeys

UNSIGNED_PAYLOAD = b"UNSIGNED-PAYLOAD"


class SignatureVersion(StrEnum):
    """
    How requests to a backend are signed.
    """

    V4 = "v4"
    V2 = "v2"
    NONE = "none"
    "not at all"


class PayloadPolicy(StrEnum):
    """
    What Signature V4 covers of a body.
    """

    AUTO = "auto"
    "its hash if that is known, otherwise nothing"
    UNSIGNED = "unsigned"
    "nothing"
    CHUNKS = "chunks"
    "its hash; if the body is streamed and its hash is not known, each chunk"


@dataclass(frozen=True, slots=True)
class Account:
    """
    The way in which one backend is addressed: its profile, host, key and kind of signature.

    Attributes:
        key: None if requests are not signed.
        host: Value of the Host header, with the port if it is not the default of the scheme.
    """

    profile: Profile
    key: BackendKey | None
    host: bytes
    signature: SignatureVersion
    signing_keys: SigningKeys
    payload: PayloadPolicy = PayloadPolicy.AUTO
    signs_hashes: bool = field(init=False)
    "whether the signature covers a hash of the body"
    signs_chunks: bool = field(init=False)
    "whether a body is sent in signed chunks if its hash is not known"
    sends_trailers: bool = field(init=False)
    "whether a checksum that arrives after the body is sent after it, in a trailer"
    empty_payload: bytes = field(init=False)
    "the payload line of the signature for a request without a body"

    def __post_init__(self) -> None:
        is_v4, has_key = self.signature == SignatureVersion.V4, self.key is not None
        for name, value in {
            "signs_hashes": is_v4 and self.payload != PayloadPolicy.UNSIGNED,
            "signs_chunks": self.payload == PayloadPolicy.CHUNKS and has_key,
            "sends_trailers": self.profile.takes_trailers and is_v4 and has_key,
            "empty_payload": EMPTY_SHA256 if is_v4 and self.payload != PayloadPolicy.UNSIGNED else UNSIGNED_PAYLOAD,
        }.items():
            object.__setattr__(self, name, value)

    def payload_for(self, content: bytes, sha256: bytes | None = None) -> bytes:
        """
        Return the payload line of the signature for a body that is held in memory.

        Args:
            sha256: The hash in lower-case hex, if it is known already.
        """
        if not self.signs_hashes:
            return UNSIGNED_PAYLOAD
        return sha256 or payload_of(content)


def payload_of(content: bytes) -> bytes:
    """
    Return the SHA-256 of a body that is held in memory, in lower-case hex.
    """
    return hashlib.sha256(content).hexdigest().encode()
