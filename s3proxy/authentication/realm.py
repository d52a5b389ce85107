"""
What a listener accepts: one closed table of carriers and payload modes. Anything else is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.classification import Classification
from s3proxy.s3.errors import AccessDenied, InvalidRequest
from s3proxy.s3.head import RequestHead
from s3proxy.s3.known import Known
from s3proxy.s3.operation import GET_OBJECT, HEAD_BUCKET, HEAD_OBJECT, LIST_OBJECTS, LIST_OBJECTS_V2
from s3proxy.s3.payload import Payload, PayloadHash
from s3proxy.sigv4.asymmetric import VerifyingKeys
from s3proxy.sigv4.claims import Beginning
from s3proxy.sigv4.signing_key import SigningKeys

MAX_BEGINNINGS = 512
"""
Beginnings of Authorization headers that a listener remembers: one for each key, day, region and list of signed headers.
"""

_PLAIN: frozenset[PayloadHash | None] = frozenset({None, PayloadHash.UNSIGNED_PAYLOAD})
"""
The payload modes of a body that is not aws-chunked; None stands for a hash.
"""

PAYLOADS: dict[Carrier, frozenset[PayloadHash | None]] = {
    Carrier.V4_HEADER: _PLAIN
    | {
        PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER,
        PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD,
        PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER,
    },
    Carrier.V4_QUERY: _PLAIN,
    Carrier.V4_FORM: frozenset({PayloadHash.UNSIGNED_PAYLOAD}),
    Carrier.V4A_HEADER: _PLAIN
    | {
        PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER,
        PayloadHash.STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD,
        PayloadHash.STREAMING_AWS4_ECDSA_P256_SHA256_PAYLOAD_TRAILER,
    },
    Carrier.V4A_QUERY: _PLAIN,
    Carrier.V2_HEADER: _PLAIN,
    Carrier.V2_QUERY: _PLAIN,
    Carrier.V2_FORM: frozenset({PayloadHash.UNSIGNED_PAYLOAD}),
    # TLS protects the whole request on its way, so nothing else must.
    Carrier.CERTIFICATE: _PLAIN | {PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER},
    Carrier.ANONYMOUS: _PLAIN | {PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER},
}
"""
The table: the payload modes that s3proxy verifies for each carrier.
"""

PAYLOAD_SWITCHES = {
    "unsigned-payload": PayloadHash.UNSIGNED_PAYLOAD,
    "unsigned-trailer": PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER,
}
"""
Payload modes that can be switched off for bodies under Signature V4 or a client certificate, by the configuration's
words.
"""

_PAYLOAD_CARRIERS = frozenset(
    {Carrier.V4_HEADER, Carrier.V4_QUERY, Carrier.V4A_HEADER, Carrier.V4A_QUERY, Carrier.CERTIFICATE}
)

SWITCHES = (*(carrier.value for carrier in Carrier), *PAYLOAD_SWITCHES)
"""
Everything that can be switched off for a listener or a key, by the configuration's words.
"""
_NOT_SUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."

_PUBLIC_READS = frozenset({GET_OBJECT, HEAD_BUCKET, HEAD_OBJECT, LIST_OBJECTS, LIST_OBJECTS_V2})
_DOTS = frozenset({b".", b".."})


@dataclass(frozen=True, slots=True)
class Anonymous:
    """
    What requests without a signature may do.

    Attributes:
        passes: Whether they are sent to the backend unsigned, so that its own policy decides.
        signed_buckets: Patterns of buckets. A read from one of them is signed with the backend's key.
    """

    passes: bool = False
    signed_buckets: tuple[str, ...] = ()

    def signs(self, classification: Classification, address: Address) -> bool:
        """
        Return True if a request is a read that is signed with the backend's key.
        """
        if classification.operation not in _PUBLIC_READS or _may_leave_its_bucket(address.key):
            return False
        bucket = address.bucket.decode()
        return any(re.fullmatch(fnmatch.translate(pattern), bucket) for pattern in self.signed_buckets)


def _may_leave_its_bucket(key: bytes) -> bool:
    """
    Return True if a backend could read another bucket, because it resolves dot segments or decodes a path again.
    """
    for _ in range(3):
        if not _DOTS.isdisjoint(key.replace(b"\\", b"/").split(b"/")):
            return True
        if b"%" not in key:
            return False
        key = unquote_to_bytes(key)
    return True


@dataclass(frozen=True, slots=True)
class Realm:
    """
    What a listener accepts: regions, domains, carriers, payload modes and anonymous requests.

    Attributes:
        regions: The accepted regions; errors name the first.
        domains: Lower case. A host below one of them names its bucket.
        refused: Those of `SWITCHES` that are off.
        client_keys: The access keys that client certificates stand for, by a name of the certificate.
        known_tokens: Session tokens issued for any key, to distinguish another key's token from an unknown one.
        signing_keys: Cache of the keys used last.
        beginnings: The Authorization headers of verified requests with Signature V4, up to the signature.
        verifying_keys: The same for SigV4A.
    """

    regions: tuple[bytes, ...] = (b"us-east-1",)
    domains: tuple[bytes, ...] = ()
    refused: frozenset[str] = frozenset()
    anonymous: Anonymous = field(default_factory=Anonymous)
    client_keys: Mapping[str, bytes] = field(default_factory=dict)
    known_tokens: Container[bytes] = frozenset()
    signing_keys: SigningKeys = field(default_factory=SigningKeys, compare=False)
    beginnings: Known[bytes, Beginning] = field(default_factory=lambda: Known(MAX_BEGINNINGS), compare=False)
    verifying_keys: VerifyingKeys = field(default_factory=VerifyingKeys, compare=False)


def check_carrier(carrier: Carrier, refused: frozenset[str]) -> None:
    """
    Refuse a carrier that is switched off.

    Raises:
        InvalidRequest: It is switched off.
    """
    if refused and carrier.value in refused:
        raise InvalidRequest(_NOT_SUPPORTED)


def check_payload_mode(claim: Claim, refused: frozenset[str]) -> None:
    """
    Refuse a payload mode that is switched off.

    Raises:
        AccessDenied: It is switched off.
    """
    if refused:
        check_payload_of(claim.carrier, claim.head, claim.payload, refused)


def check_payload_of(carrier: Carrier, head: RequestHead, payload: Payload, refused: frozenset[str]) -> None:
    """
    Refuse a payload mode that is switched off, of a request that may have no claim.

    Raises:
        AccessDenied: It is switched off.
    """
    word = payload.word
    # Signature V2 has no other payload, and a request without a body has nothing unsigned.
    if word is None or carrier not in _PAYLOAD_CARRIERS or not head.has_body:
        return
    if any(PAYLOAD_SWITCHES.get(switch) is word for switch in refused):
        raise AccessDenied(f"{word.value.decode()} is not accepted here")
