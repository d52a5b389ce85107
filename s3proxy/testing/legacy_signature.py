"""
Verify the signature of a request as Walrus of Eucalyptus 3.4 does: only Signature V2 in a header. The later object
storage gateway accepts Signature V4 in a header, too.

This module does not use the signers of s3proxy. Otherwise it would accept their errors.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from urllib.parse import quote_from_bytes, unquote_plus, unquote_to_bytes

from s3proxy.s3.date import parse_date
from s3proxy.testing.legacy_messages import Fault, Refusal, Stage
from s3proxy.testing.legacy_quirks import Quirks

MAX_SKEW_SECONDS = 900
"""
The maximum number of seconds between the date of a request and the clock of the store.
"""

SUBRESOURCES = frozenset(
    {
        b"acl",
        b"cors",
        b"delete",
        b"lifecycle",
        b"location",
        b"logging",
        b"notification",
        b"partNumber",
        b"policy",
        b"requestPayment",
        b"tagging",
        b"torrent",
        b"uploadId",
        b"uploads",
        b"versionId",
        b"versioning",
        b"versions",
        b"website",
    }
)
"""
The query names that make a request another operation. The signature covers them.
"""

RESPONSE_OVERRIDES = frozenset(
    {
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
    }
)
"""
The query names that change a header in the response to GetObject. The signature covers them, too.
"""

_VALUED = RESPONSE_OVERRIDES | {b"partNumber", b"uploadId", b"versionId"}
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ISO_DATE = re.compile(rb"[0-9]{8}T[0-9]{6}Z")
_V4_ALGORITHM = b"AWS4-HMAC-SHA256"
_RFC_1123_START = re.compile(rb"[A-Z][a-z]{2}, ")


def parse_http_date(text: bytes) -> datetime | None:
    """
    Parse a date in the format of RFC 1123. Return None for any other text.
    """
    return parse_date(text) if _RFC_1123_START.match(text) else None


def check_form(fields: Mapping[bytes, bytes], raw_query: bytes, quirks: Quirks) -> None:
    """
    Refuse a request that uses a feature newer than such a store.

    Args:
        fields: The values of headers, by name in lower case. Repeated headers are joined with a comma.
        raw_query: As received, still percent-encoded.

    Raises:
        Refusal: NotImplemented for an aws-chunked body, MissingContentLength for chunked transfer coding, AccessDenied
            for an ISO date and for a signature in the query.
    """
    codings = fields.get(b"content-encoding", b"").lower().replace(b" ", b"").split(b",")
    if (
        fields.get(b"x-amz-content-sha256", b"").startswith(b"STREAMING-")
        or b"aws-chunked" in codings
        or b"x-amz-decoded-content-length" in fields
    ):
        raise Refusal(501, "NotImplemented", "aws-chunked is not supported", stage=Stage.BINDING)
    if b"transfer-encoding" in fields:
        raise Refusal(411, "MissingContentLength", stage=Stage.BINDING)
    if quirks.refuses_iso_dates and _ISO_DATE.fullmatch(fields.get(b"x-amz-date", b"")):
        raise _denied("the date cannot be parsed")
    names = {unquote_to_bytes(item.partition(b"=")[0]) for item in raw_query.split(b"&")}
    if names & {b"X-Amz-Algorithm", b"X-Amz-Signature", b"Signature"} and not quirks.knows_nobody:
        raise _denied("signatures in the query are not supported")


def check_signature(
    method: bytes,
    target: bytes,
    fields: Mapping[bytes, bytes],
    keys: Mapping[str, str],
    now: datetime,
    quirks: Quirks,
) -> bool:
    """
    Return True if one of the keys signed a request. Return False for an anonymous request, if the store accepts those.

    Args:
        target: Path and query as received, including the service path.
        fields: The values of headers, by name in lower case. Repeated headers are joined with a comma.
        keys: The secret access keys by access key id.
        now: Aware, UTC.

    Raises:
        Refusal: InvalidArgument for another kind of signature, AccessDenied without a signature or without a valid
            date, RequestTimeTooSkewed, InvalidAccessKeyId, or SignatureDoesNotMatch.

    Source:
        "Signing and Authenticating REST Requests".
    """
    authorization = fields.get(b"authorization")
    if authorization is None:
        parameters = dict(_form_items(target)) if quirks.takes_query_v2 else {}
        if "AWSAccessKeyId" in parameters:
            _check_query_signature(method, target, fields, keys, now, quirks, parameters)
            return True
        if quirks.knows_nobody:
            return False
        raise _denied("a signature is required")
    scheme, _, value = authorization.partition(b" ")
    is_v4 = scheme == _V4_ALGORITHM and not quirks.refuses_v4
    if scheme != b"AWS" and not is_v4:
        raise Refusal(400, "InvalidArgument", "Unsupported Authorization Type", stage=Stage.BINDING)
    components = _v4_components(value) if is_v4 else {}
    raw_key, _, claimed = value.partition(b":")
    if is_v4:
        raw_key, claimed = components[b"Credential"].partition(b"/")[0], components[b"Signature"]
    secret = keys.get(raw_key.decode("latin-1"))
    if secret is None:
        raise Refusal(403, "InvalidAccessKeyId", stage=Stage.BINDING)
    _check_date(fields, now, quirks)
    if is_v4:
        is_right = hmac.compare_digest(_sign_v4(method, target, fields, components, secret), claimed)
    else:
        # If x-amz-date is signed, the Date line is empty.
        date = b"" if b"x-amz-date" in fields else fields.get(b"date", b"")
        if quirks.repeats_amz_date:
            date = fields.get(b"x-amz-date") or date
        is_right = _is_signed(method, target, fields, secret, date, claimed, quirks)
    if not is_right:
        raise Refusal(403, "SignatureDoesNotMatch", stage=Stage.BINDING)
    return True


def fold_equal_headers(values: Sequence[bytes]) -> Sequence[bytes]:
    """
    Return one value if there are two equal ones, and otherwise all values.
    """
    return values[:1] if len(values) == 2 and values[0] == values[1] else values


def _check_date(fields: Mapping[bytes, bytes], now: datetime, quirks: Quirks) -> None:
    """
    Refuse a request whose date cannot be parsed, or is too far from the clock of the store.
    """
    raw_date = fields.get(b"x-amz-date") or fields.get(b"date", b"")
    sent_at = parse_http_date(raw_date) if quirks.refuses_iso_dates else parse_date(raw_date)
    if sent_at is None:
        raise _denied("a date of RFC 1123 is required")
    if abs((now - sent_at).total_seconds()) > MAX_SKEW_SECONDS:
        raise Refusal(403, "RequestTimeTooSkewed", stage=Stage.BINDING)


def _denied(message: str) -> Refusal:
    return Refusal(403, "AccessDenied", message, stage=Stage.BINDING)


def _form_items(target: bytes) -> list[tuple[str, str]]:
    items = [item.partition(b"=") for item in target.partition(b"?")[2].split(b"&") if item]
    return [(unquote_plus(name.decode("latin-1")), unquote_plus(value.decode("latin-1"))) for name, _, value in items]


def _check_query_signature(
    method: bytes,
    target: bytes,
    fields: Mapping[bytes, bytes],
    keys: Mapping[str, str],
    now: datetime,
    quirks: Quirks,
    parameters: Mapping[str, str],
) -> None:
    """
    Refuse a request whose query does not sign it.

    Source:
        "Signing and Authenticating REST Requests", Query String Request Authentication Alternative.
    """
    secret, expires = keys.get(parameters["AWSAccessKeyId"]), parameters.get("Expires", "")
    if secret is None or not expires.isdecimal() or len(expires) > 18 or now.timestamp() > int(expires):
        raise _denied("Could not verify request")
    claimed = parameters.get("Signature", "").encode()
    if not _is_signed(method, target, fields, secret, b"%d" % int(expires), claimed, quirks):
        raise _denied("Could not verify request")


def _is_signed(
    method: bytes,
    target: bytes,
    fields: Mapping[bytes, bytes],
    secret: str,
    date: bytes,
    claimed: bytes,
    quirks: Quirks,
) -> bool:
    texts = [_string_to_sign(method, each, fields, date, quirks) for each in _signed_targets(target, fields, quirks)]
    digests = [base64.b64encode(hmac.digest(secret.encode(), text, "sha1")) for text in texts]
    return any(hmac.compare_digest(digest, claimed) for digest in digests)


def _signed_targets(target: bytes, fields: Mapping[bytes, bytes], quirks: Quirks) -> list[bytes]:
    if quirks.trusts_rewrite_header and b"x-rcs-rewrite-path" in fields:
        return [fields[b"x-rcs-rewrite-path"]]
    without = target.removeprefix(quirks.service_path)
    return {"in": [target], "out": [without], "either": [target, without]}[quirks.signs_service_path]


def _string_to_sign(method: bytes, target: bytes, fields: Mapping[bytes, bytes], date: bytes, quirks: Quirks) -> bytes:
    amz = [b"%s:%s\n" % (name, fields[name]) for name in sorted(fields) if name.startswith(b"x-amz-")]
    lines = [method, fields.get(b"content-md5", b""), fields.get(b"content-type", b""), date]
    signed_names = SUBRESOURCES if quirks.ignores_overrides else SUBRESOURCES | RESPONSE_OVERRIDES
    if quirks.lacks_multi_delete:
        signed_names -= {b"delete"}
    head = b"\n".join(lines) + b"\n" + b"".join(amz)
    raw_path, _, raw_query = target.partition(b"?")
    if quirks.misreads_high_bytes:
        head, raw_path = _widen(head), _widen(raw_path)
    if quirks.signs_any_value:
        return head + raw_path + _walrus_parameters(raw_query, signed_names, quirks)
    return head + raw_path + _signed_parameters(raw_query, signed_names)


def _signed_parameters(raw_query: bytes, signed_names: frozenset[bytes]) -> bytes:
    signed = []
    for item in raw_query.split(b"&"):
        name, equals, value = item.partition(b"=")
        if name in signed_names:
            signed.append((name, b"=" + unquote_to_bytes(value) if equals and name in _VALUED else b""))
    return b"?" + b"&".join(name + value for name, value in sorted(signed)) if signed else b""


def _walrus_parameters(raw_query: bytes, signed_names: frozenset[bytes], quirks: Quirks) -> bytes:
    """
    Return the signed parameters, sorted as they were sent. Names are raw, and values are form-decoded.

    Raises:
        Fault: A value has a malformed escape.
    """
    signed = []
    for item in sorted(raw_query.split(b"&")):
        name, _, raw_value = item.partition(b"=")
        if name not in signed_names:
            continue
        if quirks.cuts_signed_values:
            raw_value = raw_value.partition(b"=")[0]
        if _BAD_ESCAPE.search(raw_value):
            raise Fault("URLDecoder: Illegal hex characters in escape (%) pattern", stage=Stage.BINDING)
        value = unquote_to_bytes(raw_value.replace(b"+", b" ")).decode("utf-8", "replace").encode()
        signed.append(name + (b"=" + value if raw_value else b""))
    return b"?" + b"&".join(signed) if signed else b""


def _widen(text: bytes) -> bytes:
    """
    Return a text as it becomes in a decoder that converts each signed byte to a character. The result is UTF-8.
    """
    if text.isascii():
        return text
    return "".join(chr(byte if byte < 0x80 else 0xFF00 | byte) for byte in text).encode()


# Signature V4


def _v4_components(value: bytes) -> dict[bytes, bytes]:
    items = [item.strip().partition(b"=") for item in value.split(b",")]
    components = {name: text for name, _, text in items}
    if not {b"Credential", b"SignedHeaders", b"Signature"} <= components.keys():
        raise _denied("the Authorization header cannot be parsed")
    return components


def _sign_v4(
    method: bytes, target: bytes, fields: Mapping[bytes, bytes], components: Mapping[bytes, bytes], secret: str
) -> bytes:
    """
    Return the signature in hex. The claimed hash of the body is not verified.

    Source:
        "Signature Calculations for the Authorization Header".
    """
    raw_path, _, raw_query = target.partition(b"?")
    items = [item.partition(b"=") for item in raw_query.split(b"&") if item]
    query = sorted((_encode(name), _encode(value)) for name, _, value in items)
    names = components[b"SignedHeaders"].split(b";")
    request = b"\n".join(
        [
            method,
            quote_from_bytes(unquote_to_bytes(raw_path), safe="/-_.~").encode(),
            b"&".join(b"%s=%s" % item for item in query),
            b"".join(b"%s:%s\n" % (name, fields.get(name, b"").strip()) for name in names),
            components[b"SignedHeaders"],
            fields.get(b"x-amz-content-sha256", b""),
        ]
    )
    scope = components[b"Credential"].split(b"/")[1:]
    text = b"\n".join(
        [_V4_ALGORITHM, fields.get(b"x-amz-date", b""), b"/".join(scope), sha256(request).hexdigest().encode()]
    )
    key = b"AWS4" + secret.encode()
    for part in scope:
        key = hmac.digest(key, part, "sha256")
    return hmac.digest(key, text, "sha256").hex().encode()


def _encode(raw: bytes) -> bytes:
    return quote_from_bytes(unquote_to_bytes(raw.replace(b"+", b" ")), safe="-_.~").encode()
