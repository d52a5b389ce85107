"""
From the Authorization header, a presigned query or a form to one claim: who says that it signed what, when.

The checks and their order are those of S3; a claim which passes them is well-formed, and not yet believed.

Source:
    "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache, partial

from s3proxy.s3.claim import MAX_CLOCK_SKEW, Carrier, Claim, Waivable, read_request_date
from s3proxy.s3.date import format_basic_iso, is_day, later, parse_basic_iso
from s3proxy.s3.errors import (
    AccessDenied,
    AuthorizationHeaderMalformed,
    AuthorizationQueryParametersError,
    InvalidArgument,
    InvalidRequest,
    RegionSetMismatch,
    S3Error,
    format_iso8601,
)
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.limits import MAX_HEADER_COUNT, MAX_PRESIGNED_SECONDS
from s3proxy.s3.payload import UNSIGNED, Payload, parse_payload
from s3proxy.s3.query import query_items
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, region_set_matches
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.scope import SERVICE, TERMINAL, CredentialScope

HMAC_ALGORITHM = b"AWS4-HMAC-SHA256"

_CREDENTIAL_FORM = 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
_ASYMMETRIC_CREDENTIAL_FORM = _CREDENTIAL_FORM.replace("REGION/", "")
_COMPONENTS_FORM = "the authorization header requires three components: Credential, SignedHeaders, and Signature."
_COMPONENT = re.compile(rb"[ \t]*+([A-Za-z]++)=([^,\s]*+)[ \t]*+")
# As nearly all clients write them; any other order and spacing is read component by component.
_COMPONENTS = re.compile(rb"Credential=([^,\s]++), ?SignedHeaders=([^,\s]++), ?Signature=([^,\s]++)")
_KEPT_CREDENTIAL_SIZE = 256
# Too short for more names than MAX_HEADER_COUNT.
_KEPT_LIST_SIZE = 255
_EXPIRES = re.compile(rb"[+-]?[0-9]+")
_DEFAULT_PORTS = (b":443", b":80")

QUERY_NAMES = frozenset(
    {
        b"X-Amz-Algorithm",
        b"X-Amz-Credential",
        b"X-Amz-Date",
        b"X-Amz-Expires",
        b"X-Amz-SignedHeaders",
        b"X-Amz-Signature",
        b"X-Amz-Security-Token",
        b"X-Amz-Region-Set",
    }
)
"""
The parameters of authentication: none of them reaches a backend.
"""

_REQUIRED_NAMES = (
    b"X-Amz-Credential",
    b"X-Amz-Signature",
    b"X-Amz-Date",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Expires",
)

_NOT_SIGNED = "There were headers present in the request which were not signed"
_TOO_MANY_SIGNED = f"SignedHeaders must not list more than {MAX_HEADER_COUNT} headers."


FORM_NAMES = frozenset({b"x-amz-algorithm", b"x-amz-credential", b"x-amz-date", b"x-amz-signature"})
"""
The fields of a form which is signed with Signature V4, lower case; its policy is another.
"""

_ASYMMETRIC = frozenset({Carrier.V4A_HEADER, Carrier.V4A_QUERY})
_PRESIGNED = frozenset({Carrier.V4_QUERY, Carrier.V4A_QUERY})

Faults = Callable[..., S3Error]
"""
From the sentence of a fault in a credential, and further elements, to the error of the carrier.
"""


@dataclass(slots=True, eq=False, repr=False)
class SignatureClaim(Claim):
    """
    A claim over a whole request.

    Attributes:
        algorithm: The word which begins the string to sign, as sent.
        date: Of the request, ``20260301T120000Z``.
        raw_signed_headers: The list as sent; `signed_headers` has each name once.
    """

    algorithm: bytes
    scope: CredentialScope
    date: bytes
    raw_signed_headers: bytes

    @property
    def is_asymmetric(self) -> bool:
        """
        Whether the signature is ECDSA.
        """
        return self.carrier in _ASYMMETRIC

    @property
    def is_presigned(self) -> bool:
        """
        Whether it came in the query.
        """
        return self.carrier in _PRESIGNED

    def canonical_request(self) -> bytes:
        """
        Build the canonical request from what was received.

        Raises:
            InvalidURI: The path or the query cannot be decoded.
        """
        return self._canonical_request(self.head.fields)

    def canonical_request_without_port(self) -> bytes | None:
        """
        Build it without the port in Host, or return None if that is not the default port of http or https.

        S3 takes such a port out before it verifies. Signers leave it out, and whoever opens a presigned URL that has it
        may send it: browsers do not, Go and other clients do.
        """
        fields = self.head.fields
        hosts = fields.get(b"host", [])
        if len(hosts) != 1 or not hosts[0].endswith(_DEFAULT_PORTS):
            return None
        fields = Fields(fields)
        fields[b"host"] = [hosts[0].rpartition(b":")[0]]
        return self._canonical_request(fields)

    def _canonical_request(self, fields: Fields) -> bytes:
        head = self.head
        query = canonical_query(head.raw_query, b"X-Amz-Signature" if self.is_presigned else None)
        if self.is_presigned:
            fields = self._fields_with_query(fields)
        return canonical_request(
            head.method,
            canonical_uri(head.raw_path),
            query,
            canonical_headers(self.signed_headers, fields),
            self.raw_signed_headers,
            self.payload.raw,
        )

    def _fields_with_query(self, fields: Fields) -> Fields:
        # A signed name may be satisfied by a query parameter of the same name when no such header is sent.
        # A set: each of thousands of parameters is looked up in it.
        missing = {name for name in self.signed_headers if name not in fields}
        if not missing or not self.head.raw_query:
            return fields
        fields = Fields(fields)
        for name, value in query_items(self.head.raw_query):
            lower = name.lower()
            if lower in missing:
                fields.setdefault(lower, []).append(value)
        return fields


@dataclass(slots=True, eq=False, repr=False)
class FormClaim(Claim):
    """
    A claim over the policy of a form.

    Attributes:
        policy: As sent, in base64: the string to sign.
    """

    policy: bytes
    scope: CredentialScope


def read_header_claim(
    head: RequestHead, scheme: bytes, components: bytes, regions: tuple[bytes, ...], now: datetime
) -> SignatureClaim:
    """
    Read a claim from the Authorization header.

    Args:
        scheme: The word before the first space, as sent.
        components: What follows it.
        regions: Accepted here; the first is named in refusals.

    Raises:
        InvalidRequest: x-amz-content-sha256 is missing.
        InvalidArgument: It cannot be read.
        AccessDenied: There is no readable date, or headers were sent which are not signed.
        RequestTimeTooSkewed: The date is too far from ours.
        AuthorizationHeaderMalformed: The header or its credential scope cannot be used.
        RegionSetMismatch: Under SigV4A, none of the accepted regions is in the request's set.
    """
    fields = head.fields
    payload = _header_payload(fields)
    waivable: Waivable = []
    signed_at = read_request_date(fields, now, waivable)
    date = format_basic_iso(signed_at)
    is_asymmetric = scheme.upper() == ECDSA_ALGORITHM
    try:
        credential, raw_signed_headers, signature = _read_components(components)
        key, scope = _read_credential(
            credential, None if is_asymmetric else regions, AuthorizationHeaderMalformed, waivable
        )
    except AuthorizationHeaderMalformed as malformed:
        raise (waivable[0][1] if waivable else malformed) from None
    if scope.day != date[:8]:
        _raise(waivable, AuthorizationHeaderMalformed("Invalid credential date. Date is not the same as X-Amz-Date."))
    signed_headers, signed_set = _read_signed_headers(raw_signed_headers, AuthorizationHeaderMalformed, waivable)
    _check_signed_headers(fields, signed_set, waivable)
    if is_asymmetric:
        region_set = fields.value(b"x-amz-region-set")
        if not region_set:
            _raise(waivable, InvalidRequest("Missing required header for this request: x-amz-region-set"))
        else:
            _check_region_set(region_set, regions, waivable)
    return SignatureClaim(
        Carrier.V4A_HEADER if is_asymmetric else Carrier.V4_HEADER,
        head,
        key,
        signature,
        fields.value(b"x-amz-security-token"),
        payload,
        signed_headers,
        scheme,
        scope,
        date,
        raw_signed_headers,
        waivable=waivable,
    )


def read_query_claim(
    head: RequestHead, parameters: dict[bytes, bytes], regions: tuple[bytes, ...], now: datetime
) -> SignatureClaim:
    """
    Read a claim from the query of a presigned request.

    Args:
        parameters: The query, decoded; X-Amz-Algorithm was judged already.

    Raises:
        AuthorizationQueryParametersError: A parameter is missing or cannot be used.
        AccessDenied: The request is not valid yet, or no longer, or headers were sent which are not signed.
        InvalidArgument: x-amz-content-sha256 cannot be read.
        RegionSetMismatch: Under SigV4A, none of the accepted regions is in the request's set.
    """
    is_asymmetric = parameters[b"X-Amz-Algorithm"] == ECDSA_ALGORITHM
    if not all(parameters.get(name) for name in _REQUIRED_NAMES):
        raise AuthorizationQueryParametersError
    raw_date = parameters[b"X-Amz-Date"]
    signed_at = parse_basic_iso(raw_date)
    if signed_at is None:
        raise AuthorizationQueryParametersError(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    raw_expires = parameters[b"X-Amz-Expires"]
    expires = _read_expires(raw_expires)
    ends_at = later(signed_at, expires)
    waivable: Waivable = []
    if signed_at - now > MAX_CLOCK_SKEW:
        waivable.append(
            (
                "clock-skew",
                AccessDenied(
                    "Request is not yet valid",
                    X__Amz__Date=raw_date,
                    Expires=format_iso8601(ends_at),
                    ServerTime=format_iso8601(now),
                ),
            )
        )
    if now > ends_at:
        raise AccessDenied(
            "Request has expired",
            X__Amz__Expires=raw_expires,
            Expires=format_iso8601(ends_at),
            ServerTime=format_iso8601(now),
        )
    try:
        key, scope = _read_credential(
            parameters[b"X-Amz-Credential"], None if is_asymmetric else regions, _query_fault, waivable
        )
    except AuthorizationQueryParametersError as malformed:
        raise (waivable[0][1] if waivable else malformed) from None
    if scope.day != raw_date[:8]:
        _raise(
            waivable,
            AuthorizationQueryParametersError(
                f'Invalid credential date "{_text(scope.day)}". '
                f'This date is not the same as X-Amz-Date: "{_text(raw_date[:8])}".'
            ),
        )
    raw_signed_headers = parameters[b"X-Amz-SignedHeaders"]
    signed_headers, signed_set = _read_signed_headers(raw_signed_headers, AuthorizationQueryParametersError, waivable)
    _check_signed_headers(head.fields, signed_set, waivable)
    if is_asymmetric:
        region_set = head.fields.value(b"x-amz-region-set") or parameters.get(b"X-Amz-Region-Set")
        if not region_set:
            sentence = "SigV4a query auth requires a non empty x-amz-region-set parameter."
            _raise(waivable, AuthorizationQueryParametersError(sentence))
        else:
            _check_region_set(region_set, regions, waivable)
    raw_payload = head.fields.value(b"x-amz-content-sha256")
    return SignatureClaim(
        Carrier.V4A_QUERY if is_asymmetric else Carrier.V4_QUERY,
        head,
        key,
        parameters[b"X-Amz-Signature"],
        head.fields.value(b"x-amz-security-token") or parameters.get(b"X-Amz-Security-Token"),
        UNSIGNED if raw_payload is None else parse_payload(raw_payload),
        signed_headers,
        parameters[b"X-Amz-Algorithm"],
        scope,
        raw_date,
        raw_signed_headers,
        waivable=waivable,
    )


def read_form_claim(head: RequestHead, fields: Mapping[bytes, bytes], regions: tuple[bytes, ...]) -> FormClaim:
    """
    Read a claim from the fields of a form.

    Args:
        fields: Values by lower-case name; each of `FORM_NAMES` and the policy are among them.

    Raises:
        InvalidArgument: A field cannot be used.
    """
    algorithm = fields[b"x-amz-algorithm"]
    if algorithm != HMAC_ALGORITHM:
        raise InvalidArgument("Only AWS4-HMAC-SHA256 is supported", "X-Amz-Algorithm", algorithm)
    raw_date = fields[b"x-amz-date"]
    if parse_basic_iso(raw_date) is None:
        raise InvalidArgument("X-Amz-Date must be formated via ISO8601 Long format", "X-Amz-Date", raw_date)
    credential = fields[b"x-amz-credential"]
    fault = partial(_form_fault, credential)
    waivable: Waivable = []
    key, scope = _read_credential(credential, regions, fault, waivable)
    if scope.day != raw_date[:8]:
        _raise(
            waivable,
            fault(
                f'Invalid credential date "{_text(scope.day)}". '
                f'This date is not the same as X-Amz-Date: "{_text(raw_date[:8])}".'
            ),
        )
    return FormClaim(
        Carrier.V4_FORM,
        head,
        key,
        fields[b"x-amz-signature"],
        fields.get(b"x-amz-security-token"),
        UNSIGNED,
        (),
        fields[b"policy"],
        scope,
        waivable=waivable,
    )


def _header_payload(fields: Fields) -> Payload:
    raw_payload = fields.value(b"x-amz-content-sha256")
    if raw_payload is None:
        raise InvalidRequest("Missing required header for this request: x-amz-content-sha256")
    return parse_payload(raw_payload)


def _read_components(components: bytes) -> tuple[bytes, bytes, bytes]:
    common = _COMPONENTS.fullmatch(components)
    if common is not None:
        return common[1], common[2], common[3]
    found: dict[bytes, bytes] = {}
    for component in components.split(b","):
        parsed = _COMPONENT.fullmatch(component)
        if parsed is None or parsed[1] in found:
            raise AuthorizationHeaderMalformed(_COMPONENTS_FORM)
        found[parsed[1]] = parsed[2]
    credential = found.get(b"Credential")
    signed_headers = found.get(b"SignedHeaders")
    signature = found.get(b"Signature")
    if credential is None or not signed_headers or not signature:
        raise AuthorizationHeaderMalformed(_COMPONENTS_FORM)
    return credential, signed_headers, signature


def _query_fault(sentence: str, **elements: bytes | str) -> S3Error:
    return AuthorizationQueryParametersError(f"Error parsing the X-Amz-Credential parameter; {sentence}", **elements)


def _form_fault(credential: bytes, sentence: str, **elements: bytes | str) -> S3Error:
    return InvalidArgument(sentence, "X-Amz-Credential", credential, **elements)


def _read_credential(
    credential: bytes, regions: tuple[bytes, ...] | None, fault: Faults, waivable: Waivable
) -> tuple[bytes, CredentialScope]:
    """
    Read the key and its scope.

    Args:
        regions: Accepted here; None under SigV4A, whose scope names none.
    """
    found = _read_sound_credential(credential, regions) if len(credential) <= _KEPT_CREDENTIAL_SIZE else None
    return found or _judge_credential(credential, regions, fault, waivable)


@lru_cache(maxsize=256)
def _read_sound_credential(
    credential: bytes, regions: tuple[bytes, ...] | None
) -> tuple[bytes, CredentialScope] | None:
    """
    Read a credential in which nothing is wrong; None for any other. A client's is the same all day long.
    """
    waivable: Waivable = []
    try:
        found = _judge_credential(credential, regions, AuthorizationHeaderMalformed, waivable)
    except AuthorizationHeaderMalformed:
        return None
    return None if waivable else found


def _judge_credential(
    credential: bytes, regions: tuple[bytes, ...] | None, fault: Faults, waivable: Waivable
) -> tuple[bytes, CredentialScope]:
    parts = credential.split(b"/")
    if regions is None:
        parts[2:2] = [b""]
    if len(parts) != 5:
        raise fault(_CREDENTIAL_FORM if regions is not None else _ASYMMETRIC_CREDENTIAL_FORM)
    key, day, region, service, terminal = parts
    if not is_day(day):
        raise fault(
            f'incorrect date format "{_text(day)}". This date in the credential must be in the format "yyyyMMdd".'
        )
    if regions is not None:
        if not region:
            raise fault("a non-empty region must be provided in the credential.")
        if region not in regions:
            expected = _text(regions[0])
            error = fault(f"the region '{_text(region)}' is wrong; expecting '{expected}'", Region=expected)
            waivable.append(("region", error))
    if not key:
        _raise(waivable, fault("a non-empty Access Key (AKID) must be provided in the credential."))
    if service != SERVICE:
        _raise(waivable, fault(f'incorrect service "{_text(service)}". This endpoint belongs to "s3".'))
    if terminal != TERMINAL:
        _raise(waivable, fault(f'incorrect terminal "{_text(terminal)}". This endpoint uses "aws4_request".'))
    return key, CredentialScope(day, region if regions is not None else None, service, terminal)


def _check_region_set(region_set: bytes, regions: tuple[bytes, ...], waivable: Waivable) -> None:
    if not region_set_matches(region_set, regions):
        waivable.append(("region", RegionSetMismatch(RequestedRegion=regions[0], RegionSet=region_set)))


def _read_expires(raw_expires: bytes) -> int:
    if _EXPIRES.fullmatch(raw_expires) is None:
        raise AuthorizationQueryParametersError("X-Amz-Expires should be a number")
    if raw_expires.startswith(b"-"):
        raise AuthorizationQueryParametersError("X-Amz-Expires must be non-negative")
    digits = raw_expires.lstrip(b"+0") or b"0"
    # Python refuses to read thousands of digits.
    if len(digits) > 9 or int(digits) > MAX_PRESIGNED_SECONDS:
        raise AuthorizationQueryParametersError(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than "
            "604800 seconds"
        )
    return int(digits)


def _read_signed_headers(
    raw_signed_headers: bytes, fault: Faults, waivable: Waivable
) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    if len(raw_signed_headers) <= _KEPT_LIST_SIZE:
        return _split_kept_list(raw_signed_headers)
    # Each name costs work before any key is looked up. No request has more headers than this.
    if raw_signed_headers.count(b";") >= MAX_HEADER_COUNT:
        _raise(waivable, fault(_TOO_MANY_SIGNED))
    return _split_list(raw_signed_headers)


def _split_list(raw_signed_headers: bytes) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    # A repeated name must not copy the header's value into the canonical request again.
    names = tuple(dict.fromkeys(raw_signed_headers.split(b";")))
    return names, frozenset(names)


# A client's requests have a few lists.
_split_kept_list = lru_cache(maxsize=256)(_split_list)


def _check_signed_headers(fields: Fields, signed_headers: frozenset[bytes], waivable: Waivable) -> None:
    unsigned = [
        name
        for name in fields
        if name not in signed_headers
        and (name.startswith(b"x-amz-") or name in {b"host", b"content-md5"})
        and name != b"x-amz-content-sha256"
    ]
    if b"host" not in fields and b"host" not in signed_headers:
        unsigned.insert(0, b"host")
    if not unsigned:
        return
    error = AccessDenied(_NOT_SIGNED, HeadersNotSigned=b", ".join(unsigned))
    # Which object is copied, and for whom, is never taken from a header that anyone may have added.
    if b"host" in unsigned or b"x-amz-copy-source" in unsigned or b"x-amz-security-token" in unsigned:
        _raise(waivable, error)
    waivable.append(("unsigned-headers", error))


def _raise(waivable: Waivable, error: S3Error) -> None:
    """
    Raise an error, unless one came before it which no key was asked about yet: S3 names the first.
    """
    raise waivable[0][1] if waivable else error


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
