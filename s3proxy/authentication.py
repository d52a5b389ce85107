"""
Which verifier judges a request: one closed table of carriers and payload modes. What is not in it is refused.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto

from s3proxy.s3.address import Address
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import (
    AccessDenied,
    AuthorizationQueryParametersError,
    InvalidArgument,
    InvalidRequest,
    NotImplementedByProxy,
)
from s3proxy.s3.head import RequestHead
from s3proxy.sigv4.authorization import (
    ECDSA_ALGORITHM,
    HMAC_ALGORITHM,
    QUERY_NAMES,
    SignatureClaim,
    read_header_claim,
    read_query_claim,
)
from s3proxy.sigv4.canonical import query_items
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.payload import Payload, PayloadHash
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.sigv4.verifier import check_exemptions, check_signature, check_token


class Carrier(Enum):
    """
    Where a request carries its signature, and of which kind that is.
    """

    V4_HEADER = auto()
    V4_QUERY = auto()
    V4A_HEADER = auto()
    V4A_QUERY = auto()
    V2_HEADER = auto()
    V2_QUERY = auto()


_PLAIN: frozenset[PayloadHash | None] = frozenset({None, PayloadHash.UNSIGNED_PAYLOAD})
"""
The modes of a body which is no aws-chunked stream; None is a hash.
"""

PAYLOADS: dict[Carrier, frozenset[PayloadHash | None]] = {
    Carrier.V4_HEADER: _PLAIN
    | {
        PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER,
        PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD,
        PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER,
    },
    Carrier.V4_QUERY: _PLAIN,
}
"""
The table: which payload modes are verified for a carrier. A carrier without a row is not supported here.
"""

_ONE_MECHANISM = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
    "the Authorization header should be specified"
)
_NOT_SUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."


@dataclass(frozen=True, slots=True)
class Realm:
    """
    What signatures must be made for, here.

    Attributes:
        regions: Accepted; the first is named in refusals.
        domains: Lower case; a host below one of them names its bucket.
        carriers: Switched on.
        known_tokens: Session tokens given out for any key, to tell another key's from none.
        signing_keys: Those which were used last.
    """

    regions: tuple[bytes, ...] = (b"us-east-1",)
    domains: tuple[bytes, ...] = ()
    carriers: frozenset[Carrier] = frozenset(PAYLOADS)
    known_tokens: Container[bytes] = frozenset()
    signing_keys: SigningKeys = field(default_factory=SigningKeys, compare=False)


@dataclass(frozen=True, slots=True)
class Authenticated:
    """
    A request whose head is believed.

    Attributes:
        signed_headers: Lower-case names; in a presigned request the query is covered besides.
        chain: Verifies a body of signed chunks, else None.
        query_names: Decoded names of the parameters which authenticated it.
    """

    access_key_id: bytes
    carrier: Carrier
    credential: Credential
    signed_headers: frozenset[bytes]
    payload: Payload
    chain: ChunkChain | None
    query_names: frozenset[bytes] = frozenset()


_NO_NAMES: frozenset[bytes] = frozenset()


def read_claim(head: RequestHead, address: Address, realm: Realm, now: datetime) -> SignatureClaim | None:
    """
    Find the one carrier of a request and read its claim.

    Args:
        address: Of the request; Signature V2 covers the bucket of a host name.
        now: Aware, UTC.

    Returns:
        None where the request is anonymous.

    Raises:
        S3Error: The first fault, in S3's order, of those which can be seen without the key.
    """
    authorizations = head.fields.get(b"authorization")
    raw_query = head.raw_query
    parameters: dict[bytes, bytes] = {}
    if raw_query:
        for name, value in query_items(raw_query):
            if name in parameters and name in QUERY_NAMES:
                # Two readers could take one or the other.
                raise AuthorizationQueryParametersError
            parameters.setdefault(name, value)
    has_v4_query = b"X-Amz-Algorithm" in parameters
    has_v2_query = b"Signature" in parameters or b"AWSAccessKeyId" in parameters
    if authorizations is not None:
        if len(authorizations) > 1:
            raise NotImplementedByProxy(None, Header="Authorization")
        if has_v4_query or has_v2_query:
            raise InvalidArgument(_ONE_MECHANISM, "Authorization", authorizations[0])
        return _read_authorization(head, authorizations[0], realm, now)
    if has_v4_query:
        if has_v2_query:
            raise InvalidArgument(_ONE_MECHANISM)
        return _read_presigned(head, parameters, realm, now)
    if has_v2_query:
        raise InvalidRequest(_NOT_SUPPORTED)
    return None


def _read_authorization(head: RequestHead, authorization: bytes, realm: Realm, now: datetime) -> SignatureClaim:
    if not authorization:
        raise AccessDenied
    scheme, space, components = authorization.partition(b" ")
    if not space:
        raise InvalidArgument(
            "Authorization header is invalid -- one and only one ' ' (space) required", "Authorization", authorization
        )
    word = scheme.upper()
    if word in {ECDSA_ALGORITHM, b"AWS"}:
        raise InvalidRequest(_NOT_SUPPORTED)
    if word != HMAC_ALGORITHM:
        raise InvalidArgument("Unsupported Authorization Type", "Authorization", authorization)
    return _supported(read_header_claim(head, scheme, components, realm.regions, now), Carrier.V4_HEADER, realm)


def _read_presigned(head: RequestHead, parameters: dict[bytes, bytes], realm: Realm, now: datetime) -> SignatureClaim:
    algorithm = parameters[b"X-Amz-Algorithm"]
    if algorithm == ECDSA_ALGORITHM:
        raise InvalidRequest(_NOT_SUPPORTED)
    if algorithm != HMAC_ALGORITHM:
        raise AuthorizationQueryParametersError(
            'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"'
        )
    return _supported(read_query_claim(head, parameters, realm.regions, now), Carrier.V4_QUERY, realm)


def _supported(claim: SignatureClaim, carrier: Carrier, realm: Realm) -> SignatureClaim:
    if carrier not in realm.carriers:
        raise InvalidRequest(_NOT_SUPPORTED)
    if claim.payload.word not in PAYLOADS[carrier]:
        raise InvalidRequest("The value of x-amz-content-sha256 does not go with this kind of authentication.")
    return claim


def verify_claim(claim: SignatureClaim, credential: Credential | None, realm: Realm, now: datetime) -> Authenticated:
    """
    Believe a claim, or refuse it.

    Args:
        credential: What is known of its key; None where nothing is.

    Raises:
        S3Error: The first fault, in S3's order, of those which need the key.
    """
    check_exemptions(claim, credential)
    known = check_token(claim, credential, realm.known_tokens, now)
    chain = check_signature(claim, known, realm.signing_keys)
    return Authenticated(
        claim.claimed_access_key_id,
        Carrier.V4_QUERY if claim.is_presigned else Carrier.V4_HEADER,
        known,
        frozenset(claim.signed_headers),
        claim.payload,
        chain,
        QUERY_NAMES if claim.is_presigned else _NO_NAMES,
    )
