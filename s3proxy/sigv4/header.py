"""
Reads the claim of an Authorization header of Signature V4: who signed the request, what of it, and when.

The checks and their order are those of S3.

Source:
    "Authenticating Requests (AWS Signature Version 4)".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from s3proxy.s3.claim import MAX_CLOCK_SKEW, Carrier, Waivable, read_request_date, refuse
from s3proxy.s3.date import format_basic_iso, parse_date
from s3proxy.s3.errors import AuthorizationHeaderMalformed, InvalidRequest
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.payload import KNOWN_PAYLOADS, Payload, parse_payload
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM
from s3proxy.sigv4.claims import Beginning, SignatureClaim
from s3proxy.sigv4.coverage import KNOWN_COVERAGES, Coverage, find_coverage
from s3proxy.sigv4.credential import check_region_set, read_credential
from s3proxy.sigv4.signed_headers import check_unsigned, read_signed_headers, unsigned_names

_COMPONENTS_FORM = "the authorization header requires three components: Credential, SignedHeaders, and Signature."
_COMPONENT = re.compile(rb"[ \t]*+([A-Za-z]++)=([^,\s]*+)[ \t]*+")
_MAX_KNOWN_SIZE = 1024
_SIGNATURE_SIZE = 64
# Nearly all clients write this order and spacing. Any other is read component by component.
_COMPONENTS = re.compile(rb"Credential=([^,\s]++), ?SignedHeaders=([^,\s]++), ?Signature=([^,\s]++)")


def read_header_claim(
    head: RequestHead, scheme: bytes, components: bytes, regions: tuple[bytes, ...], now: datetime
) -> SignatureClaim:
    """
    Return the claim that the Authorization header makes.

    Args:
        scheme: The word before the first space, as sent.
        components: The text after it.
        regions: The accepted regions; errors name the first.

    Raises:
        InvalidRequest: x-amz-content-sha256 is missing.
        InvalidArgument: x-amz-content-sha256 cannot be read.
        AccessDenied: There is no readable date, or some headers are not signed.
        RequestTimeTooSkewed: The date is too far from our clock.
        AuthorizationHeaderMalformed: The header or its credential scope is not valid.
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
        key, scope = read_credential(
            credential, None if is_asymmetric else regions, AuthorizationHeaderMalformed, waivable
        )
    except AuthorizationHeaderMalformed as malformed:
        raise (waivable[0][1] if waivable else malformed) from None
    if scope.day != date[:8]:
        refuse(waivable, AuthorizationHeaderMalformed("Invalid credential date. Date is not the same as X-Amz-Date."))
    coverage = find_coverage(head.names, raw_signed_headers)
    signed_headers = _check_signed_headers(head, raw_signed_headers, coverage, waivable)
    if is_asymmetric:
        region_set = fields.value(b"x-amz-region-set")
        if not region_set:
            refuse(waivable, InvalidRequest("Missing required header for this request: x-amz-region-set"))
        check_region_set(region_set, regions, waivable)
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
        coverage,
        None if waivable or is_asymmetric or coverage is None else _beginning_of(scheme, components),
        waivable=waivable,
    )


def _check_signed_headers(
    head: RequestHead, raw_signed_headers: bytes, coverage: Coverage | None, waivable: Waivable
) -> tuple[bytes, ...]:
    """
    Return the names of the signed headers, after a check that all headers are signed that must be.
    """
    if coverage is not None:
        check_unsigned(coverage.unsigned, waivable)
        return coverage.signed_headers
    names, name_set = read_signed_headers(raw_signed_headers, AuthorizationHeaderMalformed, waivable)
    check_unsigned(unsigned_names(head.fields, name_set), waivable)
    return names


def _beginning_of(scheme: bytes, components: bytes) -> bytes | None:
    """
    Return an Authorization header up to its signature; None if that does not say all the rest.
    """
    if len(components) > _MAX_KNOWN_SIZE or _COMPONENTS.fullmatch(components) is None:
        return None
    return b"%s %s" % (scheme, components.rpartition(b"=")[0])


def read_known_claim(
    head: RequestHead, authorization: bytes, beginnings: Mapping[bytes, Beginning], now: datetime
) -> SignatureClaim | None:
    """
    Return the claim of an Authorization header that begins as that of a verified request. A client's header is the same
    all day, except for the signature.

    Args:
        beginnings: The headers of verified requests, up to the signature.

    Returns:
        None if the whole header must be read, also to find the error.

    Raises:
        InvalidArgument: x-amz-content-sha256 cannot be read.
    """
    text, _, signature = authorization.rpartition(b"=")
    beginning = beginnings.get(text)
    if beginning is None or len(signature) != _SIGNATURE_SIZE or not signature.isalnum():
        return None
    names, raw_signed_headers, fields = head.names, beginning.raw_signed_headers, head.fields
    if names is None:
        return None
    coverage = KNOWN_COVERAGES.get((names, raw_signed_headers)) or find_coverage(names, raw_signed_headers)
    payload, date = fields.get(b"x-amz-content-sha256"), fields.get(b"x-amz-date")
    if coverage is None or coverage.unsigned or payload is None or date is None:
        return None
    signed_at = parse_date(date[0])
    if signed_at is None or abs(now - signed_at) > MAX_CLOCK_SKEW:
        return None
    day_and_time = format_basic_iso(signed_at)
    if day_and_time[:8] != beginning.scope.day:
        return None
    token = fields.get(b"x-amz-security-token")
    return SignatureClaim(
        Carrier.V4_HEADER,
        head,
        beginning.access_key_id,
        signature,
        None if token is None else token[0],
        KNOWN_PAYLOADS.get(payload[0]) or parse_payload(payload[0]),
        coverage.signed_headers,
        beginning.algorithm,
        beginning.scope,
        day_and_time,
        raw_signed_headers,
        coverage,
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
