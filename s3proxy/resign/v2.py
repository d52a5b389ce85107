"""
Signs a head with the backend's key, in Signature V2.

Source:
    "Signing and Authenticating REST Requests".
"""

from __future__ import annotations

from datetime import datetime

from s3proxy.profiles.profile import BackendKey, DateForm, Profile
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.head import Fields, HeaderList, index_headers
from s3proxy.sigv2.canonical import canonical_amz_lines, canonical_resource
from s3proxy.sigv2.canonical import string_to_sign as join_lines
from s3proxy.sigv2.verifier import sign


def sign_v2(
    method: bytes, target: bytes, headers: HeaderList, profile: Profile, key: BackendKey, now: datetime
) -> HeaderList:
    """
    Return the headers that authenticate a request, to be sent after its own headers.

    Args:
        target: As it will be sent, in path style.
        headers: As they will be sent.
        now: Aware, UTC.
    """
    date = format_rfc1123(now)
    is_amz_date = profile.date_form is DateForm.AMZ_DATE
    added = [(b"x-amz-date" if is_amz_date else b"Date", date)]
    text = string_to_sign(method, target, [*headers, *added], profile)
    signature = sign(key.secret_access_key, text)
    added.append((b"Authorization", b"AWS %s:%s" % (key.access_key_id.encode(), signature)))
    return added


def string_to_sign(method: bytes, target: bytes, headers: HeaderList, profile: Profile) -> bytes:
    """
    Return the string to sign. It is not a secret, but clients must not see it.
    """
    fields = index_headers(headers)
    # If x-amz-date is among the amz lines, the line of Date is empty.
    date = b"" if b"x-amz-date" in fields else fields.value(b"date") or b""
    raw_path, _, raw_query = target.partition(b"?")
    if not profile.signs_service_path:
        raw_path = raw_path.removeprefix(profile.service_path)
    resource = canonical_resource(
        raw_path, raw_query, profile.v2_subresources, writes_empty_values=profile.signs_empty_values
    )
    amz_fields = _hyphenated(fields) if profile.hyphenates_names else fields
    return join_lines(method, fields, date, canonical_amz_lines(amz_fields), resource)


def _hyphenated(fields: Fields) -> Fields:
    if not any(b"_" in name for name in fields):
        return fields
    # No two names become the same: see `s3proxy.resign.headers.check_hyphenated`.
    return Fields({name.replace(b"_", b"-"): values for name, values in fields.items()})
