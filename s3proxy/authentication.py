"""
Which verifier judges a request: one closed table of carriers and payload modes. What is not in it is refused.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import cast
from urllib.parse import unquote_to_bytes

from s3proxy.postobject.form import Form
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.classification import Classification, is_form, is_preflight
from s3proxy.s3.credential import Credential, check_session
from s3proxy.s3.errors import (
    AccessDenied,
    AuthorizationQueryParametersError,
    BadRequest,
    InvalidArgument,
    InvalidRequest,
    InvalidToken,
    NotImplementedByProxy,
    PreconditionFailed,
)
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import GET_OBJECT, HEAD_BUCKET, HEAD_OBJECT, LIST_OBJECTS, LIST_OBJECTS_V2, OVERRIDES
from s3proxy.s3.payload import UNSIGNED, Payload, PayloadHash, parse_payload
from s3proxy.s3.query import query_items
from s3proxy.s3.query_headers import (
    is_believed,
    is_header_parameter,
    query_headers,
    with_headers,
    without_parameters,
)
from s3proxy.sigv2 import authorization as sigv2
from s3proxy.sigv2.canonical import PASSED_NAMES
from s3proxy.sigv2.verifier import check_signature as check_v2_signature
from s3proxy.sigv4 import authorization as sigv4
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, VerifyingKeys
from s3proxy.sigv4.authorization import HMAC_ALGORITHM
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.sigv4.verifier import check_form_signature, check_signature

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
    Carrier.ANONYMOUS: _PLAIN | {PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER},
}
"""
The table: which payload modes are verified for a carrier.
"""

PAYLOAD_SWITCHES = {
    "unsigned-payload": PayloadHash.UNSIGNED_PAYLOAD,
    "unsigned-trailer": PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER,
}
"""
Payload modes which can be switched off for bodies under Signature V4, by the configuration's words.
"""

_PAYLOAD_CARRIERS = frozenset({Carrier.V4_HEADER, Carrier.V4_QUERY, Carrier.V4A_HEADER, Carrier.V4A_QUERY})

SWITCHES = (*(carrier.value for carrier in Carrier), *PAYLOAD_SWITCHES)
"""
All that can be switched off for a listener or a key, by the configuration's words.
"""

_ONE_MECHANISM = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
    "the Authorization header should be specified"
)
_NOT_SUPPORTED = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
_NOBODY_SIGNS = (
    "Anonymous requests don't support this x-amz-content-sha256 value. "
    "Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER."
)
_NO_ORIGIN = "Insufficient information. Origin request header needed."
_POST_CONDITION = "Bucket POST must be of the enclosure-type multipart/form-data"

_V4_FIELDS = {
    b"policy": "policy",
    b"x-amz-signature": "X-Amz-Signature",
    b"x-amz-credential": "X-Amz-Credential",
    b"x-amz-date": "X-Amz-Date",
    b"x-amz-algorithm": "X-Amz-Algorithm",
}
_V2_FIELDS = {b"policy": "policy", b"signature": "signature", b"awsaccesskeyid": "AWSAccessKeyId"}

_PUBLIC_READS = frozenset({GET_OBJECT, HEAD_BUCKET, HEAD_OBJECT, LIST_OBJECTS, LIST_OBJECTS_V2})
_OVERRIDES = frozenset(name.encode() for name in OVERRIDES)
_DOTS = frozenset({b".", b".."})


@dataclass(frozen=True, slots=True)
class Anonymous:
    """
    What requests without a signature may do.

    Attributes:
        passes: Whether they go on to the backend, unsigned: its own policy decides.
        signed_buckets: Patterns of buckets; a read of one of them is signed with the backend's key.
    """

    passes: bool = False
    signed_buckets: tuple[str, ...] = ()

    def signs(self, classification: Classification, address: Address) -> bool:
        """
        Return True if a request is a read that our key signs.
        """
        if classification.operation not in _PUBLIC_READS or _may_leave_its_bucket(address.key):
            return False
        bucket = address.bucket.decode()
        return any(re.fullmatch(fnmatch.translate(pattern), bucket) for pattern in self.signed_buckets)


def _may_leave_its_bucket(key: bytes) -> bool:
    """
    Return True if a backend that resolves dot segments, or decodes a path once more, could read another bucket.
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
    What signatures must be made for, here.

    Attributes:
        regions: Accepted; the first is named in refusals.
        domains: Lower case; a host below one of them names its bucket.
        refused: Those of `SWITCHES` which are off.
        known_tokens: Session tokens given out for any key, to tell another key's from none.
        signing_keys: Those which were used last.
        verifying_keys: The same under SigV4A.
    """

    regions: tuple[bytes, ...] = (b"us-east-1",)
    domains: tuple[bytes, ...] = ()
    refused: frozenset[str] = frozenset()
    anonymous: Anonymous = field(default_factory=Anonymous)
    known_tokens: Container[bytes] = frozenset()
    signing_keys: SigningKeys = field(default_factory=SigningKeys, compare=False)
    verifying_keys: VerifyingKeys = field(default_factory=VerifyingKeys, compare=False)


@dataclass(slots=True)
class Authenticated:
    """
    A request whose head is believed.

    Attributes:
        access_key_id: None where the request is anonymous.
        credential: Of the key; `NOBODY` where the request is anonymous.
        signed_headers: Lower-case names; in a presigned request the query is covered besides.
        chain: Verifies a body of signed chunks, else None.
        head: What is judged and sent: as received, without the parameters of its authentication, and with its
            ``x-amz-*`` parameters as headers.
        covered_names: Decoded query names that the signature covers or that may pass uncovered; None for all.
        is_signed_onward: Whether our key on the backend may sign it.
        exempted: The exemptions which it needed.
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
    exempted: tuple[str, ...] = ()


NOBODY = Credential("", ())
"""
Whoever sends an anonymous request.
"""

_V2_CARRIERS = frozenset({Carrier.V2_HEADER, Carrier.V2_QUERY, Carrier.V2_FORM})
_CARRIES_NO_HEADERS = frozenset({Carrier.V4_HEADER, Carrier.V4A_HEADER, Carrier.V4_FORM, Carrier.V2_FORM})
_NO_NAMES: frozenset[bytes] = frozenset()
_COVERED_NAMES: dict[Carrier, frozenset[bytes]] = {
    # Signature V2 covers little of a query: what it does not cover must not get our own signature.
    Carrier.V2_HEADER: PASSED_NAMES,
    Carrier.V2_QUERY: PASSED_NAMES,
}
_QUERY_NAMES = sigv4.QUERY_NAMES | sigv2.QUERY_NAMES

_V4_PARAMETERS = frozenset(name.lower() for name in sigv4.QUERY_NAMES)
"""
The parameters of Signature V4, in lower case. They must not stand beside another carrier: a backend could believe them.
In another case S3 does not know them, and ignores them.
"""

_FOREIGN_BESIDE_V2 = _V4_PARAMETERS - {b"x-amz-date", b"x-amz-security-token"}
"""
The same beside Signature V2, which knows a date and a session token among its own ``x-amz-*`` parameters. In any case:
there they would become headers.
"""

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
Names of headers, in lower case, that SDKs write into a presigned query beside the signature. S3 ignores them there.
"""


def read_claim(head: RequestHead, address: Address, realm: Realm, now: datetime) -> Claim | None:
    """
    Find the one carrier of a request and read its claim. A form's carrier is in its body: see `read_form_claim`.

    Args:
        address: Of the request; Signature V2 covers the bucket of a host name.
        now: Aware, UTC.

    Returns:
        None where the head carries no signature.

    Raises:
        S3Error: The first fault, in S3's order, of those which can be seen without the key.
    """
    authorizations = head.fields.get(b"authorization")
    parameters: dict[bytes, bytes] = {}
    if head.raw_query:
        for name, value in query_items(head.raw_query):
            if name in parameters and name in _QUERY_NAMES:
                # Two readers could take one or the other.
                raise AuthorizationQueryParametersError
            parameters.setdefault(name, value)
    has_v4_query = b"X-Amz-Algorithm" in parameters
    has_v2_query = b"Signature" in parameters or b"AWSAccessKeyId" in parameters
    if authorizations is not None:
        if len(authorizations) > 1:
            raise NotImplementedByProxy(None, Header="Authorization")
        is_foreign = has_v4_query or has_v2_query
        if is_foreign or _has_foreign_parameters(parameters, is_v2=authorizations[0][:4].upper() == b"AWS "):
            raise InvalidArgument(_ONE_MECHANISM, "Authorization", authorizations[0])
        return _checked(_read_authorization(head, address, authorizations[0], realm, now), realm)
    if has_v4_query:
        if has_v2_query:
            raise InvalidArgument(_ONE_MECHANISM)
        return _checked(_read_presigned(head, parameters, realm, now), realm)
    if has_v2_query:
        if _has_foreign_parameters(parameters, is_v2=True):
            raise InvalidArgument(_ONE_MECHANISM)
        _check_switch(Carrier.V2_QUERY, realm)
        return _checked(sigv2.read_query_claim(head, address, parameters, now), realm)
    if parameters and _has_foreign_parameters(parameters, is_v2=False):
        raise AuthorizationQueryParametersError
    return None


def _has_foreign_parameters(parameters: Mapping[bytes, bytes], *, is_v2: bool) -> bool:
    """
    Return True if a query has parameters of Signature V4 although the request is authenticated in another way.
    """
    if is_v2:
        return any(name.lower() in _FOREIGN_BESIDE_V2 for name in parameters)
    return not sigv4.QUERY_NAMES.isdisjoint(parameters)


def _read_authorization(
    head: RequestHead, address: Address, authorization: bytes, realm: Realm, now: datetime
) -> Claim:
    if not authorization:
        raise AccessDenied
    scheme, space, components = authorization.partition(b" ")
    if not space:
        raise InvalidArgument(
            "Authorization header is invalid -- one and only one ' ' (space) required", "Authorization", authorization
        )
    word = scheme.upper()
    if word == b"AWS":
        _check_switch(Carrier.V2_HEADER, realm)
        return sigv2.read_header_claim(head, address, authorization, now)
    if word not in {HMAC_ALGORITHM, ECDSA_ALGORITHM}:
        raise InvalidArgument("Unsupported Authorization Type", "Authorization", authorization)
    _check_switch(Carrier.V4_HEADER if word == HMAC_ALGORITHM else Carrier.V4A_HEADER, realm)
    return sigv4.read_header_claim(head, scheme, components, realm.regions, now)


def _read_presigned(head: RequestHead, parameters: dict[bytes, bytes], realm: Realm, now: datetime) -> Claim:
    algorithm = parameters[b"X-Amz-Algorithm"]
    if algorithm not in {HMAC_ALGORITHM, ECDSA_ALGORITHM}:
        raise AuthorizationQueryParametersError(
            'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"'
        )
    if algorithm == ECDSA_ALGORITHM and Carrier.V4A_QUERY.value in realm.refused:
        raise AuthorizationQueryParametersError('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    if algorithm == HMAC_ALGORITHM:
        _check_switch(Carrier.V4_QUERY, realm)
    return sigv4.read_query_claim(head, parameters, realm.regions, now)


def _check_switch(carrier: Carrier, realm: Realm) -> None:
    if realm.refused and carrier.value in realm.refused:
        raise InvalidRequest(_NOT_SUPPORTED)


def _checked(claim: Claim, realm: Realm) -> Claim:
    """
    Hold a claim against the table.
    """
    if claim.payload.word not in PAYLOADS[claim.carrier]:
        raise InvalidRequest("The value of x-amz-content-sha256 does not go with this kind of authentication.")
    _check_payload_switch(claim, realm.refused)
    return claim


def _check_payload_switch(claim: Claim, refused: frozenset[str]) -> None:
    if not refused:
        return
    word = claim.payload.word
    # Signature V2 knows no other payload; and what has no body has nothing unsigned.
    if word is None or claim.carrier not in _PAYLOAD_CARRIERS or not claim.head.has_body:
        return
    if any(PAYLOAD_SWITCHES.get(switch) is word for switch in refused):
        raise AccessDenied(f"{word.value.decode()} is not accepted here")


def verify_claim(claim: Claim, credential: Credential | None, realm: Realm, now: datetime) -> Authenticated:
    """
    Believe a claim, or refuse it.

    Args:
        credential: What is known of its key; None where nothing is.

    Raises:
        S3Error: The first fault, in S3's order, of those which need the key.
    """
    exempted = []
    for exemption, error in claim.waivable:
        if credential is None or exemption not in credential.exemptions:
            raise error
        exempted.append(exemption)
    known = check_session(claim.claimed_access_key_id, claim.session_token, credential, realm.known_tokens, now)
    chain = _check_signature(claim, known, realm)
    if known.session_token is None and claim.session_token is not None:
        raise InvalidToken(claim.session_token)
    carrier = claim.carrier
    if known.refused:
        if carrier.value in known.refused:
            raise InvalidRequest(_NOT_SUPPORTED)
        _check_payload_switch(claim, known.refused)
    signed_headers = frozenset(claim.signed_headers)
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
        tuple(exempted),
    )


def _authorized_head(claim: Claim, signed_headers: frozenset[bytes]) -> tuple[RequestHead, frozenset[bytes]]:
    """
    Return what is judged and sent of a verified request, and the names of the headers that its query carried.

    Raises:
        InvalidArgument: The query carries what cannot be a header.
    """
    head, carrier = claim.head, claim.carrier
    if not head.raw_query or carrier in _CARRIES_NO_HEADERS:
        return head, _NO_NAMES
    if carrier in _V2_CARRIERS:
        # Its x-amz-* parameters are headers of the claim's head already: the signature covers them as such.
        if carrier is Carrier.V2_HEADER:
            return without_parameters(head, is_header_parameter), _NO_NAMES
        return without_parameters(head, _authenticates_v2), _NO_NAMES
    carried = [
        header
        for header in query_headers(query_items(head.raw_query))
        if header[0] not in _V4_PARAMETERS
        and is_believed(header[0])
        # A header that was sent and signed is what its sender means.
        and not (header[0] in head.fields and header[0] in signed_headers)
    ]
    if carried:
        head = with_headers(head, carried)
    return without_parameters(head, _authenticates_v4), frozenset(name for name, _ in carried)


def _authenticates_v4(name: bytes) -> bool:
    return is_header_parameter(name) or name.lower() in _IGNORED_HEADERS


def _authenticates_v2(name: bytes) -> bool:
    return name in sigv2.QUERY_NAMES or _authenticates_v4(name)


def _check_signature(claim: Claim, credential: Credential, realm: Realm) -> ChunkChain | None:
    secrets = credential.secret_access_keys
    if claim.carrier in _V2_CARRIERS:
        check_v2_signature(cast(sigv2.V2Claim, claim), secrets)
        return None
    if claim.carrier is Carrier.V4_FORM:
        check_form_signature(cast(sigv4.FormClaim, claim), secrets, realm.signing_keys)
        return None
    return check_signature(cast(sigv4.SignatureClaim, claim), secrets, realm.signing_keys, realm.verifying_keys)


# Forms


def carries_form(head: RequestHead, address: Address) -> bool:
    """
    Say whether a request without a signature in its head is a form's: its carrier is in its body.

    Raises:
        PreconditionFailed: It is a POST to a bucket, and no form.
    """
    if head.method != b"POST" or not address.bucket or address.key or head.raw_query:
        return False
    if not is_form(head.fields):
        raise PreconditionFailed(_POST_CONDITION)
    return True


def read_form_claim(head: RequestHead, form: Form, realm: Realm) -> Claim | None:
    """
    Find the carrier among a form's fields and read its claim.

    Returns:
        None where the form is anonymous.

    Raises:
        S3Error: The first fault, in S3's order, of those which can be seen without the key.
    """
    if b"x-amz-security-token" in head.fields:
        raise AccessDenied("No AWSAccessKey was presented.")
    has_v4 = not sigv4.FORM_NAMES.isdisjoint(form.fields)
    has_v2 = not sigv2.FORM_NAMES.isdisjoint(form.fields)
    if has_v4 and has_v2:
        raise InvalidArgument(_ONE_MECHANISM)
    if not has_v4 and not has_v2 and b"policy" not in form.fields:
        return None
    _check_switch(Carrier.V2_FORM if has_v2 else Carrier.V4_FORM, realm)
    for name, shown in (_V2_FIELDS if has_v2 else _V4_FIELDS).items():
        if name not in form.fields:
            raise InvalidArgument.of_missing_field(shown)
    if has_v2:
        return sigv2.read_form_claim(head, form.fields)
    return sigv4.read_form_claim(head, form.fields, realm.regions)


# Nobody's requests


def admit_anonymous(head: RequestHead, address: Address, classification: Classification, realm: Realm) -> Authenticated:
    """
    Let a request pass which carries no signature, as far as the realm allows it.

    Raises:
        AccessDenied: It does not.
        InvalidRequest: Its body is of a kind that only a signature can verify, or it sets headers of its response.
        InvalidArgument: x-amz-content-sha256 cannot be read.
    """
    anonymous = realm.anonymous if Carrier.ANONYMOUS.value not in realm.refused else Anonymous()
    signs = anonymous.signs(classification, address)
    if not (signs or anonymous.passes):
        raise AccessDenied
    if not _OVERRIDES.isdisjoint(classification.passed_names):
        # Else anybody could make a page of anybody's file.
        raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
    raw_payload = head.fields.value(b"x-amz-content-sha256")
    payload = UNSIGNED if raw_payload is None else parse_payload(raw_payload)
    if payload.word not in PAYLOADS[Carrier.ANONYMOUS]:
        raise InvalidRequest(_NOBODY_SIGNS)
    # What we do not sign, the backend judges as anonymous: it may have all of it.
    headers = frozenset() if signs else frozenset(head.fields)
    return Authenticated(None, Carrier.ANONYMOUS, NOBODY, headers, payload, None, head, is_signed_onward=signs)


def admit_preflight(head: RequestHead) -> Authenticated:
    """
    Let a browser ask what it may ask for. The signature in its URL, if there is one, is that of the request to come.

    Raises:
        BadRequest: It is OPTIONS, and no preflight.
    """
    if not is_preflight(head):
        raise BadRequest(_NO_ORIGIN)
    # The bucket's CORS rules decide by its path and headers alone.
    plain = replace(head, raw_target=head.raw_path)
    return Authenticated(None, Carrier.ANONYMOUS, NOBODY, _NO_NAMES, UNSIGNED, None, plain, is_signed_onward=False)
