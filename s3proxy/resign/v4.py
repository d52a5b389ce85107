"""
Signs a head with the backend's key, in Signature V4.

Source:
    "Signature Calculations for the Authorization Header".
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from s3proxy.profiles.profile import BackendKey
from s3proxy.s3.date import format_basic_iso
from s3proxy.s3.head import Fields, HeaderList
from s3proxy.s3.payload import PayloadHash
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.chunks import ChunkSigner
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKeys

_SIGNED = frozenset({b"content-md5", b"content-type", b"host"})
"""
Headers that are signed in addition to every ``x-amz-*``. Others are not, because another hop may rewrite them.
"""

STREAMING_PAYLOAD = PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD.value
STREAMING_PAYLOAD_TRAILER = PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER.value
STREAMING_UNSIGNED_PAYLOAD_TRAILER = PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER.value

_SIGNED_STREAMS = frozenset({STREAMING_PAYLOAD, STREAMING_PAYLOAD_TRAILER})


def sign_v4(
    method: bytes,
    target: bytes,
    headers: HeaderList,
    payload: bytes,
    key: BackendKey,
    signing_keys: SigningKeys,
    now: datetime,
) -> tuple[HeaderList, ChunkSigner | None]:
    """
    Return the headers that authenticate a request, to be sent after its own headers, and the signer of its chunks.

    Args:
        target: As it will be sent.
        headers: As they will be sent, with Host.
        payload: The value of x-amz-content-sha256: lower-case hex, ``UNSIGNED-PAYLOAD``, or one of the constants above.
        now: Aware, UTC.

    Returns:
        The signer is None if the payload has no signed chunks.
    """
    date = format_basic_iso(now)
    fields = Fields({b"x-amz-date": [date], b"x-amz-content-sha256": [payload]})
    for name, value in headers:
        lower = name.lower()
        if lower in _SIGNED or lower.startswith(b"x-amz-"):
            fields.setdefault(lower, []).append(value)
    names = sorted(fields)
    raw_path, _, raw_query = target.partition(b"?")
    signed_headers = b";".join(names)
    request = canonical_request(
        method,
        canonical_uri(raw_path),
        canonical_query(raw_query),
        canonical_headers(names, fields),
        signed_headers,
        payload,
    )
    scope = CredentialScope(date[:8], key.region.encode())
    raw_scope = bytes(scope)
    digest = hashlib.sha256(request).hexdigest().encode()
    string_to_sign = b"AWS4-HMAC-SHA256\n%s\n%s\n%s" % (date, raw_scope, digest)
    signing_key = signing_keys.derive(key.secret_access_key, scope)
    signature = signing_key.sign(string_to_sign).for_backend()
    added = [
        (b"x-amz-date", date),
        (b"x-amz-content-sha256", payload),
        (
            b"Authorization",
            b"AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s"
            % (key.access_key_id.encode(), raw_scope, signed_headers, signature),
        ),
    ]
    if payload not in _SIGNED_STREAMS:
        return added, None
    return added, ChunkSigner(signing_key, date, raw_scope, signature)
