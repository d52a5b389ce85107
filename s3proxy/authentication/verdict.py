"""
Decides whether a claim is believed, and makes the head that is judged and sent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from s3proxy.authentication.reading import V4_PARAMETERS
from s3proxy.authentication.realm import PAYLOADS, Anonymous, Realm, check_carrier, check_payload_mode
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.classification import Classification, is_preflight
from s3proxy.s3.credential import Credential, check_session
from s3proxy.s3.errors import AccessDenied, BadRequest, InvalidRequest, InvalidToken
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import OVERRIDES
from s3proxy.s3.payload import UNSIGNED, Payload, parse_payload
from s3proxy.s3.query import query_items
from s3proxy.s3.query_headers import is_believed, is_header_parameter, query_headers, with_headers, without_parameters
from s3proxy.sigv2 import authorization as sigv2
from s3proxy.sigv2.canonical import PASSED_NAMES
from s3proxy.sigv2.verifier import check_signature as check_v2_signature
from s3proxy.sigv4 import claims as sigv4
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.verifier import check_form_signature, check_signature

_NOBODY_SIGNS = (
    "Anonymous requests don't support this x-amz-content-sha256 value. "
    "Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER."
)
_NO_ORIGIN = "Insufficient information. Origin request header needed."
_OVERRIDES = frozenset(name.encode() for name in OVERRIDES)


@dataclass(slots=True)
class Authenticated:
    """
    A request whose head is believed.

    Attributes:
        access_key_id: None if the request is anonymous.
        credential: The key's; `NOBODY` if the request is anonymous.
        signed_headers: Lower-case names. The signature of a presigned request also covers the query.
        chain: Verifies a body of signed chunks; None for any other body.
        head: The head to judge and send: as received, without the parameters of its authentication, and with its
            ``x-amz-*`` parameters as headers.
        covered_names: Decoded query names that the signature covers or that may pass uncovered; None for all.
        is_signed_onward: Whether the request may be signed with the backend's key.
        exempted: The exemptions that the request needed.
    """

    access_key_id: bytes | None
    carrier: Carrier
    credential: Credential
    signed_headers: frozenset[bytes]
    payload: Payload
    chain: ChunkChain | None
    head: RequestHead
    covered_names: frozenset[bytes] | None = None
    is_signed_onward: bool = True
    exempted: tuple[Exemption, ...] = ()


NOBODY = Credential("", ())
"""
The credential of anonymous requests.
"""

_V2_CARRIERS = frozenset({Carrier.V2_HEADER, Carrier.V2_QUERY, Carrier.V2_FORM})
_CARRIES_NO_HEADERS = frozenset({Carrier.V4_HEADER, Carrier.V4A_HEADER, Carrier.V4_FORM, Carrier.V2_FORM})
_NO_NAMES: frozenset[bytes] = frozenset()
_COVERED_NAMES: dict[Carrier, frozenset[bytes]] = {
    # Signature V2 covers little of a query. The rest must not be signed with the backend's key.
    Carrier.V2_HEADER: PASSED_NAMES,
    Carrier.V2_QUERY: PASSED_NAMES,
}

_IGNORED_HEADERS = frozenset(
    {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"expires",
        b"host",
        b"user-agent",
    }
)
"""
Names of headers, in lower case, that SDKs add to a presigned query. S3 ignores them there.
"""


def verify_claim(claim: Claim, credential: Credential | None, realm: Realm, now: datetime) -> Authenticated:
    """
    Return the authenticated request of a claim, or refuse it.

    Args:
        credential: The credential of its key; None if the key is unknown.

    Raises:
        S3Error: The first error, in S3's order, that can be found only with the key.
    """
    exempted = _exempted(claim, credential) if claim.waivable else ()
    known = check_session(claim.claimed_access_key_id, claim.session_token, credential, realm.known_tokens, now)
    if isinstance(claim, sigv4.SignatureClaim):
        chain = check_signature(claim, known, realm.signing_keys, realm.verifying_keys)
        coverage = claim.coverage
        if claim.beginning is not None:
            _remember(claim.beginning, claim, realm)
    else:
        _check_other_signature(claim, known, realm)
        chain, coverage = None, None
    signed_headers = frozenset(claim.signed_headers) if coverage is None else coverage.signed_set
    if known.session_token is None and claim.session_token is not None:
        raise InvalidToken(claim.session_token)
    carrier = claim.carrier
    if known.refused:
        check_carrier(carrier, known.refused)
        check_payload_mode(claim, known.refused)
    head, carried = claim.head, _NO_NAMES
    if head.raw_query and carrier not in _CARRIES_NO_HEADERS:
        head, carried = _authorized_head(claim, signed_headers)
    return Authenticated(
        claim.claimed_access_key_id,
        carrier,
        known,
        signed_headers | carried if carried else signed_headers,
        claim.payload,
        chain,
        head,
        _COVERED_NAMES.get(carrier),
        True,
        exempted,
    )


def _exempted(claim: Claim, credential: Credential | None) -> tuple[Exemption, ...]:
    """
    Return the exemptions that a claim needs, or raise the first error that its key is not exempted from.
    """
    for exemption, error in claim.waivable:
        if credential is None or exemption not in credential.exemptions:
            raise error
    return tuple(exemption for exemption, _ in claim.waivable)


def _authorized_head(claim: Claim, signed_headers: frozenset[bytes]) -> tuple[RequestHead, frozenset[bytes]]:
    """
    Return the head of a verified request to judge and send, and the names of the headers that were in its query.

    Raises:
        InvalidArgument: A parameter in the query is not valid as a header.
    """
    head, carrier = claim.head, claim.carrier
    if not head.raw_query or carrier in _CARRIES_NO_HEADERS:
        return head, _NO_NAMES
    if carrier in _V2_CARRIERS:
        # Its x-amz-* parameters are already headers in the claim's head: the signature covers them as headers.
        if carrier is Carrier.V2_HEADER:
            return without_parameters(head, is_header_parameter), _NO_NAMES
        return without_parameters(head, _authenticates_v2), _NO_NAMES
    carried = [
        header
        for header in query_headers(query_items(head.raw_query))
        if header[0] not in V4_PARAMETERS
        and is_believed(header[0])
        # If the header itself was sent and signed, it counts.
        and not (header[0] in head.fields and header[0] in signed_headers)
    ]
    if carried:
        head = with_headers(head, carried)
    return without_parameters(head, _authenticates_v4), frozenset(name for name, _ in carried)


def _authenticates_v4(name: bytes) -> bool:
    return is_header_parameter(name) or name.lower() in _IGNORED_HEADERS


def _authenticates_v2(name: bytes) -> bool:
    return name in sigv2.QUERY_NAMES or _authenticates_v4(name)


def _check_other_signature(claim: Claim, credential: Credential, realm: Realm) -> None:
    """
    Verify a signature that is not over a whole request in Signature V4.
    """
    if isinstance(claim, sigv4.FormClaim):
        check_form_signature(claim, credential, realm.signing_keys)
    elif isinstance(claim, sigv2.V2Claim):
        if credential.given_key is not None:
            # No given key verifies Signature V2: this says so.
            credential.given_key.keys_for(claim.carrier, b"")
        check_v2_signature(claim, credential.secret_access_keys)
    else:
        raise TypeError(claim.carrier)


def _remember(beginning: bytes, claim: sigv4.SignatureClaim, realm: Realm) -> None:
    """
    Remember how the Authorization header of a verified request begins. Those of others are not remembered: a stranger
    must not be able to empty the table.
    """
    realm.beginnings.keep(
        beginning,
        sigv4.Beginning(claim.algorithm, claim.claimed_access_key_id, claim.scope, claim.raw_signed_headers),
    )


# Anonymous requests


def admit_anonymous(head: RequestHead, address: Address, classification: Classification, realm: Realm) -> Authenticated:
    """
    Return a request without a signature as `Authenticated`, if the realm allows it.

    Raises:
        AccessDenied: The realm does not allow it.
        InvalidRequest: Only a signature can verify its kind of body, or it sets headers of its response.
        InvalidArgument: x-amz-content-sha256 cannot be read.
    """
    anonymous = realm.anonymous if Carrier.ANONYMOUS.value not in realm.refused else Anonymous()
    signs = anonymous.signs(classification, address)
    if not (signs or anonymous.passes):
        raise AccessDenied
    if not _OVERRIDES.isdisjoint(classification.passed_names):
        # Otherwise anyone could serve any public file as a web page.
        raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
    raw_payload = head.fields.value(b"x-amz-content-sha256")
    payload = UNSIGNED if raw_payload is None else parse_payload(raw_payload)
    if payload.word not in PAYLOADS[Carrier.ANONYMOUS]:
        raise InvalidRequest(_NOBODY_SIGNS)
    # A request that we do not sign is anonymous to the backend, too, so it may get all headers.
    headers = frozenset() if signs else frozenset(head.fields)
    return Authenticated(None, Carrier.ANONYMOUS, NOBODY, headers, payload, None, head, is_signed_onward=signs)


def admit_preflight(head: RequestHead) -> Authenticated:
    """
    Return a CORS preflight as `Authenticated`. A signature in its URL is that of the request that will follow.

    Raises:
        BadRequest: It is OPTIONS, but not a preflight.
    """
    if not is_preflight(head):
        raise BadRequest(_NO_ORIGIN)
    # The CORS rules of a bucket use only the path and the headers.
    plain = replace(head, raw_target=head.raw_path)
    return Authenticated(None, Carrier.ANONYMOUS, NOBODY, _NO_NAMES, UNSIGNED, None, plain, is_signed_onward=False)
