"""
Reads the claim of an Authorization header, a presigned query or a form of Signature V2.

Source:
    "Signing and Authenticating REST Requests", and "Query String Request Authentication Alternative" below it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim, Waivable, read_request_date
from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, InvalidArgument, format_iso8601
from s3proxy.s3.head import Fields, RequestHead, index_headers
from s3proxy.s3.payload import UNSIGNED, Payload, parse_payload
from s3proxy.s3.query import query_items
from s3proxy.s3.query_headers import is_believed, query_headers, with_headers
from s3proxy.sigv2.canonical import canonical_amz_lines, canonical_resource, string_to_sign

QUERY_NAMES = frozenset({b"AWSAccessKeyId", b"Expires", b"Signature"})
"""
The parameters of authentication. None of them is sent to a backend.
"""

FORM_NAMES = frozenset({b"awsaccesskeyid", b"signature"})
"""
The fields of a form that is signed with Signature V2, in lower case. The policy is a further one.
"""

_SIGNED_HEADERS = frozenset({b"content-md5", b"content-type", b"date"})
_SECONDS = re.compile(rb"-?[0-9]+")
_EXPIRED = "Request has expired"


@dataclass(slots=True, eq=False, repr=False)
class V2Claim(Claim):
    """
    A claim of Signature V2.

    Attributes:
        strings_to_sign: The strings that may have been signed; the first is the one that S3 computes.
    """

    strings_to_sign: tuple[bytes, ...]

    def signed_at(self) -> datetime | None:
        fields = self.head.fields
        raw_date = fields.value(b"x-amz-date") or fields.value(b"date")
        return parse_date(raw_date) if self.carrier is Carrier.V2_HEADER and raw_date is not None else None


def read_header_claim(head: RequestHead, address: Address, authorization: bytes, now: datetime) -> V2Claim:
    """
    Return the claim that the Authorization header makes.

    Args:
        authorization: The whole value of the header.

    Raises:
        InvalidArgument: It is not a key and a signature.
        AccessDenied: There is no readable date.
        RequestTimeTooSkewed: The date is too far from our clock.
    """
    _, _, value = authorization.partition(b" ")
    if b" " in value:
        raise InvalidArgument(
            "Authorization header is invalid -- one and only one ' ' (space) required", "Authorization", authorization
        )
    # A key of Swift is an account and a user with a colon between them.
    key, colon, signature = value.rpartition(b":")
    if not colon:
        raise InvalidArgument(
            "AWS authorization header is invalid.  Expected AwsAccessKeyId:signature", "Authorization", authorization
        )
    heads = _with_query_headers(head)
    fields = heads[0].fields
    waivable: Waivable = []
    read_request_date(fields, now, waivable)
    # If x-amz-date is among the amz lines, the line of Date is empty.
    date_line = b"" if b"x-amz-date" in fields else fields.value(b"date") or b""
    return _make_claim(Carrier.V2_HEADER, heads, address, key, signature, date_line, waivable)


def read_query_claim(head: RequestHead, address: Address, parameters: Mapping[bytes, bytes], now: datetime) -> V2Claim:
    """
    Return the claim that the query of a presigned request makes.

    Args:
        parameters: The query, decoded.

    Raises:
        AccessDenied: A parameter is missing or not valid, or the request is no longer valid.
    """
    if not parameters.keys() >= QUERY_NAMES:
        raise AccessDenied("Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters")
    expires = parameters[b"Expires"]
    if _SECONDS.fullmatch(expires) is None:
        raise AccessDenied(f"Invalid date (should be seconds since epoch): {expires.decode('utf-8', 'replace')}")
    ends_at = _moment(expires)
    if ends_at is not None and now > ends_at:
        raise AccessDenied(_EXPIRED, Expires=format_iso8601(ends_at), ServerTime=format_iso8601(now))
    return _make_claim(
        Carrier.V2_QUERY,
        _with_query_headers(head),
        address,
        parameters[b"AWSAccessKeyId"],
        parameters[b"Signature"],
        expires,
        [],
    )


def read_form_claim(head: RequestHead, fields: Mapping[bytes, bytes]) -> V2Claim:
    """
    Return the claim that the fields of a form make.

    Args:
        fields: Values by lower-case name, with each of `FORM_NAMES` and the policy.
    """
    return V2Claim(
        Carrier.V2_FORM,
        head,
        fields[b"awsaccesskeyid"],
        fields[b"signature"],
        fields.get(b"x-amz-security-token"),
        UNSIGNED,
        (),
        (fields[b"policy"],),
    )


def _with_query_headers(head: RequestHead) -> tuple[RequestHead, RequestHead]:
    """
    Return two heads whose ``x-amz-*`` query parameters are headers: the signed one, and the one to judge and send.

    Under Signature V2 such parameters count as headers, and win over headers of the same names.

    Raises:
        InvalidArgument: A name or a value is not valid in a header.
    """
    carried = query_headers(query_items(head.raw_query)) if head.raw_query else []
    if not carried:
        return head, head
    signed = with_headers(head, carried)
    dropped = {name for name, _ in carried if not is_believed(name)}
    if not dropped:
        return signed, signed
    kept = [header for header in signed.headers if header[0].lower() not in dropped]
    return signed, replace(signed, headers=kept, fields=index_headers(kept))


def _make_claim(
    carrier: Carrier,
    heads: tuple[RequestHead, RequestHead],
    address: Address,
    key: bytes,
    signature: bytes,
    date: bytes,
    waivable: Waivable,
) -> V2Claim:
    signed, head = heads
    amz_lines = canonical_amz_lines(signed.fields)
    return V2Claim(
        carrier,
        head,
        key,
        signature,
        head.fields.value(b"x-amz-security-token"),
        _read_payload(head.fields),
        tuple(name for name in head.fields if name in _SIGNED_HEADERS or name.startswith(b"x-amz-")),
        tuple(
            string_to_sign(signed.method, signed.fields, date, amz_lines, resource)
            for resource in _resources(signed, address)
        ),
        waivable=waivable,
    )


def _resources(head: RequestHead, address: Address) -> list[bytes]:
    path = head.raw_path
    if address.is_virtual_hosted:
        path = b"/%s%s" % (address.raw_bucket, path)
    paths = [path]
    if address.bucket and not address.key and not address.is_virtual_hosted and not path.endswith(b"/"):
        # boto3 signs "/bucket/" for a bucket, and sends "/bucket".
        paths.append(path + b"/")
    return [canonical_resource(each, head.raw_query or b"") for each in paths]


def _read_payload(fields: Fields) -> Payload:
    raw_payload = fields.value(b"x-amz-content-sha256")
    return UNSIGNED if raw_payload is None else parse_payload(raw_payload)


def _moment(seconds: bytes) -> datetime | None:
    """
    Return a moment; None if it is after the end of the calendar, because then it sets no limit.
    """
    if seconds.startswith(b"-"):
        return datetime.fromtimestamp(0, UTC)
    digits = seconds.lstrip(b"0") or b"0"
    # The year 9999 ends at a number of 12 digits.
    return datetime.fromtimestamp(int(digits), UTC) if len(digits) < 12 else None
