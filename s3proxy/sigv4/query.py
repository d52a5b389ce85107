"""
Reads the claim of a presigned request of Signature V4: who signed it, what of it, when, and for how long.

The checks and their order are those of S3.

Source:
    "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
"""

from __future__ import annotations

import re
from datetime import datetime

from s3proxy.s3.claim import MAX_CLOCK_SKEW, Carrier, Waivable, refuse
from s3proxy.s3.date import later, parse_basic_iso
from s3proxy.s3.errors import AccessDenied, AuthorizationQueryParametersError, S3Error, format_iso8601
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_PRESIGNED_SECONDS
from s3proxy.s3.payload import UNSIGNED, parse_payload
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM
from s3proxy.sigv4.claims import SignatureClaim
from s3proxy.sigv4.credential import check_day, check_region_set, read_credential
from s3proxy.sigv4.signed_headers import check_unsigned, read_signed_headers, unsigned_names

_EXPIRES = re.compile(rb"[+-]?[0-9]+")

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
The parameters of authentication. None of them is sent to a backend.
"""

_REQUIRED_NAMES = (
    b"X-Amz-Credential",
    b"X-Amz-Signature",
    b"X-Amz-Date",
    b"X-Amz-SignedHeaders",
    b"X-Amz-Expires",
)


def read_query_claim(
    head: RequestHead, parameters: dict[bytes, bytes], regions: tuple[bytes, ...], now: datetime
) -> SignatureClaim:
    """
    Return the claim that the query of a presigned request makes.

    Args:
        parameters: The query, decoded; X-Amz-Algorithm is already checked.

    Raises:
        AuthorizationQueryParametersError: A parameter is missing or not valid.
        AccessDenied: The request is not valid yet, or no longer valid, or some headers are not signed.
        InvalidArgument: x-amz-content-sha256 cannot be read.
        RegionSetMismatch: Under SigV4A, none of the accepted regions is in the request's set.
    """
    is_asymmetric = parameters[b"X-Amz-Algorithm"] == ECDSA_ALGORITHM
    if not all(parameters.get(name) for name in _REQUIRED_NAMES):
        raise AuthorizationQueryParametersError
    raw_date = parameters[b"X-Amz-Date"]
    waivable: Waivable = []
    _check_times(raw_date, parameters[b"X-Amz-Expires"], now, waivable)
    try:
        key, scope = read_credential(
            parameters[b"X-Amz-Credential"], None if is_asymmetric else regions, _query_fault, waivable
        )
    except AuthorizationQueryParametersError as malformed:
        raise (waivable[0][1] if waivable else malformed) from None
    check_day(scope, raw_date, AuthorizationQueryParametersError, waivable)
    raw_signed_headers = parameters[b"X-Amz-SignedHeaders"]
    signed_headers, signed_set = read_signed_headers(raw_signed_headers, AuthorizationQueryParametersError, waivable)
    check_unsigned(unsigned_names(head.fields, signed_set), waivable)
    if is_asymmetric:
        _check_regions(head.fields.value(b"x-amz-region-set") or parameters.get(b"X-Amz-Region-Set"), regions, waivable)
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


def _check_times(raw_date: bytes, raw_expires: bytes, now: datetime, waivable: Waivable) -> None:
    """
    Refuse a request that is not valid yet or no longer valid.
    """
    signed_at = parse_basic_iso(raw_date)
    if signed_at is None:
        raise AuthorizationQueryParametersError(
            "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
        )
    expires = _read_expires(raw_expires)
    ends_at = later(signed_at, expires)
    if signed_at - now > MAX_CLOCK_SKEW:
        waivable.append(
            (
                Exemption.CLOCK_SKEW,
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


def _check_regions(region_set: bytes | None, regions: tuple[bytes, ...], waivable: Waivable) -> None:
    if not region_set:
        sentence = "SigV4a query auth requires a non empty x-amz-region-set parameter."
        refuse(waivable, AuthorizationQueryParametersError(sentence))
    check_region_set(region_set, regions, waivable)


def _query_fault(sentence: str, **elements: bytes | str) -> S3Error:
    return AuthorizationQueryParametersError(f"Error parsing the X-Amz-Credential parameter; {sentence}", **elements)


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
