"""
A head signed with the backend's own key, Signature V2.

Source:
    "Signing and Authenticating REST Requests".
"""

from __future__ import annotations

import base64
import hmac
from datetime import datetime
from urllib.parse import unquote_to_bytes

from s3proxy.resign.profiles import BackendKey, DateForm, Profile
from s3proxy.s3.head import HeaderList, index_headers
from s3proxy.sigv4.scope import format_rfc1123

_SIGNED_VALUES = frozenset(
    {
        b"partNumber",
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
        b"uploadId",
        b"versionId",
    }
)


def sign_v2(
    method: bytes, target: bytes, headers: HeaderList, profile: Profile, key: BackendKey, now: datetime
) -> HeaderList:
    """
    Return the headers which authenticate a request, to be sent after its own.

    Args:
        target: As it will be sent, in path style.
        headers: As they will be sent.
        now: Aware, UTC.
    """
    date = format_rfc1123(now)
    is_amz_date = profile.date_form is DateForm.AMZ_DATE
    added = [(b"x-amz-date" if is_amz_date else b"Date", date)]
    text = string_to_sign(method, target, [*headers, *added], profile)
    digest = hmac.digest(key.secret_access_key.encode(), text, "sha1")
    added.append((b"Authorization", b"AWS %s:%s" % (key.access_key_id.encode(), base64.b64encode(digest))))
    return added


def string_to_sign(method: bytes, target: bytes, headers: HeaderList, profile: Profile) -> bytes:
    """
    Return what is signed: no secret, but for the backend's eyes.
    """
    fields = index_headers(headers)
    lines = [
        b"%s:%s\n" % (name, b",".join([value.strip(b" \t") for value in fields[name]]))
        for name in sorted(fields)
        if name.startswith(b"x-amz-")
    ]
    # A date among the x-amz lines leaves the line of Date empty.
    date = b"" if b"x-amz-date" in fields else b"".join(fields.get(b"date", [])[:1])
    return b"%s\n%s\n%s\n%s\n%s%s" % (
        method,
        b"".join(fields.get(b"content-md5", [])[:1]),
        b"".join(fields.get(b"content-type", [])[:1]),
        date,
        b"".join(lines),
        canonical_resource(target, profile),
    )


def canonical_resource(target: bytes, profile: Profile) -> bytes:
    """
    Return the path as sent and the sub-resources which the backend counts in.
    """
    raw_path, _, raw_query = target.partition(b"?")
    if not profile.signs_service_path:
        raw_path = raw_path.removeprefix(profile.service_path)
    signed = []
    for item in raw_query.split(b"&"):
        name, equals, value = item.partition(b"=")
        if name in profile.v2_subresources:
            # One with a value is signed decoded, any other by its name alone, whatever it was sent with.
            signed.append(b"%s=%s" % (name, unquote_to_bytes(value)) if equals and name in _SIGNED_VALUES else name)
    return b"%s?%s" % (raw_path, b"&".join(sorted(signed))) if signed else raw_path
