"""
Who sent a request, as Walrus of Eucalyptus 3.4 found out: Signature V2 in a header, and nothing newer.

The gateway's own signer is not used here: what it does wrong must not be taken for right.
"""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import unquote_to_bytes

from s3proxy.s3.date import parse_date

MAX_SKEW_SECONDS = 900
"""
Seconds between a request's date and the store's clock.
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
Query names which make another operation of a request; the signature covers them.
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
Query names which change a header of GetObject's answer; the signature covers them, too.
"""

_VALUED = RESPONSE_OVERRIDES | {b"partNumber", b"uploadId", b"versionId"}
_SIGNED = SUBRESOURCES | RESPONSE_OVERRIDES
_ISO_DATE = re.compile(rb"[0-9]{8}T[0-9]{6}Z")
_RFC_1123_START = re.compile(rb"[A-Z][a-z]{2}, ")


class Refusal(Exception):
    """
    An error which the client gets to read.

    Args:
        code: Of S3, or of Walrus where that had its own.
        headers: To be sent with it.
    """

    def __init__(self, status: int, code: str, message: str = "", headers: Mapping[bytes, bytes] | None = None) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message or code
        self.headers = dict(headers or {})


def parse_http_date(text: bytes) -> datetime | None:
    """
    Read a date of RFC 1123; None where it is anything else.
    """
    return parse_date(text) if _RFC_1123_START.match(text) else None


def check_form(fields: Mapping[bytes, bytes], raw_query: bytes) -> None:
    """
    Refuse what came after Walrus.

    Args:
        fields: Values by name in lower case; repeats are joined with a comma.

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
        raise Refusal(501, "NotImplemented", "aws-chunked is not known here")
    if b"transfer-encoding" in fields:
        raise Refusal(411, "MissingContentLength")
    if _ISO_DATE.fullmatch(fields.get(b"x-amz-date", b"")):
        raise Refusal(403, "AccessDenied", "the date cannot be read")
    names = {unquote_to_bytes(item.partition(b"=")[0]) for item in raw_query.split(b"&")}
    if names & {b"X-Amz-Algorithm", b"X-Amz-Signature", b"Signature"}:
        raise Refusal(403, "AccessDenied", "signatures in the query are not known here")


def check_signature(
    method: bytes, target: bytes, fields: Mapping[bytes, bytes], keys: Mapping[str, str], now: datetime
) -> None:
    """
    Refuse a request which none of the keys signed.

    Args:
        target: Path and query as received, service path included.
        fields: Values by name in lower case; repeats are joined with a comma.
        keys: Secrets by access key id.
        now: Aware, UTC.

    Raises:
        Refusal: InvalidArgument for another kind of signature, AccessDenied without one or without a date that can be
            read, RequestTimeTooSkewed, InvalidAccessKeyId, SignatureDoesNotMatch.

    Source:
        "Signing and Authenticating REST Requests".
    """
    authorization = fields.get(b"authorization")
    if authorization is None:
        raise Refusal(403, "AccessDenied", "a signature is required")
    scheme, _, value = authorization.partition(b" ")
    if scheme != b"AWS":
        raise Refusal(400, "InvalidArgument", "Unsupported Authorization Type")
    access_key_id, _, claimed = value.partition(b":")
    secret = keys.get(access_key_id.decode("latin-1"))
    if secret is None:
        raise Refusal(403, "InvalidAccessKeyId")
    sent_at = parse_http_date(fields.get(b"x-amz-date") or fields.get(b"date", b""))
    if sent_at is None:
        raise Refusal(403, "AccessDenied", "a date of RFC 1123 is required")
    if abs((now - sent_at).total_seconds()) > MAX_SKEW_SECONDS:
        raise Refusal(403, "RequestTimeTooSkewed")
    digest = hmac.digest(secret.encode(), _string_to_sign(method, target, fields), "sha1")
    if not hmac.compare_digest(base64.b64encode(digest), claimed):
        raise Refusal(403, "SignatureDoesNotMatch")


def _string_to_sign(method: bytes, target: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    # A date among the x-amz lines leaves the line of Date empty.
    date = b"" if b"x-amz-date" in fields else fields.get(b"date", b"")
    amz = [b"%s:%s\n" % (name, fields[name]) for name in sorted(fields) if name.startswith(b"x-amz-")]
    lines = [method, fields.get(b"content-md5", b""), fields.get(b"content-type", b""), date]
    return b"\n".join(lines) + b"\n" + b"".join(amz) + _canonical_resource(target)


def _canonical_resource(target: bytes) -> bytes:
    raw_path, _, raw_query = target.partition(b"?")
    signed = []
    for item in raw_query.split(b"&"):
        name, equals, value = item.partition(b"=")
        if name in _SIGNED:
            signed.append((name, b"=" + unquote_to_bytes(value) if equals and name in _VALUED else b""))
    return raw_path + (b"?" + b"&".join(name + value for name, value in sorted(signed)) if signed else b"")
