"""
Finds the carrier of a request, and reads its claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from s3proxy.authentication.realm import PAYLOADS, Realm, check_carrier, check_payload_mode
from s3proxy.postobject.form import Form
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.classification import is_form
from s3proxy.s3.errors import (
    AccessDenied,
    AuthorizationQueryParametersError,
    InvalidArgument,
    InvalidRequest,
    NotImplementedByProxy,
    PreconditionFailed,
)
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import query_items
from s3proxy.sigv2 import authorization as sigv2
from s3proxy.sigv4 import form as v4_form
from s3proxy.sigv4 import header as v4_header
from s3proxy.sigv4 import query as v4_query
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM
from s3proxy.sigv4.scope import HMAC_ALGORITHM

_ONE_MECHANISM = (
    "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or "
    "the Authorization header should be specified"
)
_POST_CONDITION = "Bucket POST must be of the enclosure-type multipart/form-data"

_V4_FIELDS = {
    b"policy": "policy",
    b"x-amz-signature": "X-Amz-Signature",
    b"x-amz-credential": "X-Amz-Credential",
    b"x-amz-date": "X-Amz-Date",
    b"x-amz-algorithm": "X-Amz-Algorithm",
}
_V2_FIELDS = {b"policy": "policy", b"signature": "signature", b"awsaccesskeyid": "AWSAccessKeyId"}
_QUERY_NAMES = v4_query.QUERY_NAMES | sigv2.QUERY_NAMES

V4_PARAMETERS = frozenset(name.lower() for name in v4_query.QUERY_NAMES)
"""
The parameters of Signature V4, in lower case. A request with another carrier must not have them: a backend could
believe them. S3 knows them only in their exact case, and ignores any other spelling.
"""

_FOREIGN_BESIDE_V2 = V4_PARAMETERS - {b"x-amz-date", b"x-amz-security-token"}
"""
The parameters that a request with Signature V2 must not have. It may have a date and a session token among its own
``x-amz-*`` parameters. Names in any case count, because these parameters would become headers.
"""


def read_claim(head: RequestHead, address: Address, realm: Realm, now: datetime) -> Claim | None:
    """
    Return the claim of a request, after a check that it has only one carrier.

    The carrier of a form is in its body: see `read_form_claim`.

    Args:
        address: The request's. Signature V2 covers the bucket in a host name.
        now: Aware, UTC.

    Returns:
        None if the head has no signature.

    Raises:
        S3Error: The first error, in S3's order, that can be found without the key.
    """
    authorizations = head.fields.get(b"authorization")
    parameters: dict[bytes, bytes] = {}
    if head.raw_query:
        for name, value in query_items(head.raw_query):
            if name in parameters and name in _QUERY_NAMES:
                # One reader could use the first, another the last.
                raise AuthorizationQueryParametersError
            parameters.setdefault(name, value)
    has_v4_query = b"X-Amz-Algorithm" in parameters
    has_v2_query = b"Signature" in parameters or b"AWSAccessKeyId" in parameters
    if authorizations is not None:
        if len(authorizations) > 1:
            raise NotImplementedByProxy(None, Header="Authorization")
        is_foreign = has_v4_query or has_v2_query
        is_v2 = authorizations[0][:4].upper() == b"AWS "
        if is_foreign or (parameters and _has_foreign_parameters(parameters, is_v2=is_v2)):
            raise InvalidArgument(_ONE_MECHANISM, "Authorization", authorizations[0])
        claim: Claim | None = v4_header.read_known_claim(head, authorizations[0], realm.beginnings, now)
        if claim is None:
            claim = _read_authorization(head, address, authorizations[0], realm, now)
        elif not realm.refused and claim.payload.word in PAYLOADS[Carrier.V4_HEADER]:
            return claim
        return _checked(claim, realm)
    if has_v4_query:
        if has_v2_query:
            raise InvalidArgument(_ONE_MECHANISM)
        return _checked(_read_presigned(head, parameters, realm, now), realm)
    if has_v2_query:
        if _has_foreign_parameters(parameters, is_v2=True):
            raise InvalidArgument(_ONE_MECHANISM)
        check_carrier(Carrier.V2_QUERY, realm.refused)
        return _checked(sigv2.read_query_claim(head, address, parameters, now), realm)
    if parameters and _has_foreign_parameters(parameters, is_v2=False):
        raise AuthorizationQueryParametersError
    return None


def _has_foreign_parameters(parameters: Mapping[bytes, bytes], *, is_v2: bool) -> bool:
    """
    Return True if a query has parameters of Signature V4, but the request is authenticated in another way.
    """
    if is_v2:
        return any(name.lower() in _FOREIGN_BESIDE_V2 for name in parameters)
    return not v4_query.QUERY_NAMES.isdisjoint(parameters)


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
        check_carrier(Carrier.V2_HEADER, realm.refused)
        return sigv2.read_header_claim(head, address, authorization, now)
    if word not in {HMAC_ALGORITHM, ECDSA_ALGORITHM}:
        raise InvalidArgument("Unsupported Authorization Type", "Authorization", authorization)
    check_carrier(Carrier.V4_HEADER if word == HMAC_ALGORITHM else Carrier.V4A_HEADER, realm.refused)
    return v4_header.read_header_claim(head, scheme, components, realm.regions, now)


def _read_presigned(head: RequestHead, parameters: dict[bytes, bytes], realm: Realm, now: datetime) -> Claim:
    algorithm = parameters[b"X-Amz-Algorithm"]
    if algorithm not in {HMAC_ALGORITHM, ECDSA_ALGORITHM}:
        raise AuthorizationQueryParametersError(
            'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256 and AWS4-ECDSA-P256-SHA256"'
        )
    if algorithm == ECDSA_ALGORITHM and Carrier.V4A_QUERY.value in realm.refused:
        raise AuthorizationQueryParametersError('X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"')
    if algorithm == HMAC_ALGORITHM:
        check_carrier(Carrier.V4_QUERY, realm.refused)
    return v4_query.read_query_claim(head, parameters, realm.regions, now)


def _checked(claim: Claim, realm: Realm) -> Claim:
    """
    Return a claim if the table allows its payload with its carrier.
    """
    if claim.payload.word not in PAYLOADS[claim.carrier]:
        raise InvalidRequest("The value of x-amz-content-sha256 does not go with this kind of authentication.")
    check_payload_mode(claim, realm.refused)
    return claim


# Forms


def carries_form(head: RequestHead, address: Address) -> bool:
    """
    Return True if a request without a signature in its head is a form, with the carrier in its body.

    Raises:
        PreconditionFailed: It is a POST to a bucket, but not a form.
    """
    if head.method != b"POST" or not address.bucket or address.key or head.raw_query:
        return False
    if not is_form(head.fields):
        raise PreconditionFailed(_POST_CONDITION)
    return True


def read_form_claim(head: RequestHead, form: Form, realm: Realm) -> Claim | None:
    """
    Return the claim that the fields of a form make.

    Returns:
        None if the form is anonymous.

    Raises:
        S3Error: The first error, in S3's order, that can be found without the key.
    """
    if b"x-amz-security-token" in head.fields:
        raise AccessDenied("No AWSAccessKey was presented.")
    has_v4 = not v4_form.FORM_NAMES.isdisjoint(form.fields)
    has_v2 = not sigv2.FORM_NAMES.isdisjoint(form.fields)
    if has_v4 and has_v2:
        raise InvalidArgument(_ONE_MECHANISM)
    if not has_v4 and not has_v2 and b"policy" not in form.fields:
        return None
    check_carrier(Carrier.V2_FORM if has_v2 else Carrier.V4_FORM, realm.refused)
    for name, shown in (_V2_FIELDS if has_v2 else _V4_FIELDS).items():
        if name not in form.fields:
            raise InvalidArgument.of_missing_field(shown)
    if has_v2:
        return sigv2.read_form_claim(head, form.fields)
    return v4_form.read_form_claim(head, form.fields, realm.regions)
