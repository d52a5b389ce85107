"""
Signs a head with the backend's key, in Signature V4.

Source:
    "Signature Calculations for the Authorization Header".
"""

from __future__ import annotations

import hashlib
from datetime import datetime

from s3proxy.profiles.profile import BackendKey
from s3proxy.s3.address import PLAIN_PATH
from s3proxy.s3.date import format_basic_iso
from s3proxy.s3.head import HeaderList
from s3proxy.s3.header_names import MAX_KNOWN_SETS, has_known_form
from s3proxy.s3.known import Known, picker
from s3proxy.s3.payload import PayloadHash
from s3proxy.sigv4.canonical import canonical_query, canonical_uri
from s3proxy.sigv4.chunks import ChunkSigner
from s3proxy.sigv4.scope import scope_of_day, write_scope
from s3proxy.sigv4.signing_key import SigningKeys

_SIGNED = frozenset({b"content-md5", b"content-type", b"host"})
"""
Headers that are signed in addition to every ``x-amz-*``. Others are not, because another hop may rewrite them.
"""

STREAMING_PAYLOAD = PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD.value
STREAMING_PAYLOAD_TRAILER = PayloadHash.STREAMING_AWS4_HMAC_SHA256_PAYLOAD_TRAILER.value
STREAMING_UNSIGNED_PAYLOAD_TRAILER = PayloadHash.STREAMING_UNSIGNED_PAYLOAD_TRAILER.value

_SIGNED_STREAMS = frozenset({STREAMING_PAYLOAD, STREAMING_PAYLOAD_TRAILER})


class _Form:
    """
    What is signed of a head with certain names: decided once for all heads with these names.

    Args:
        names: The names of the head, as they are sent.

    Attributes:
        signed_headers: The list of the signed names.
        text: The canonical request, to be filled in with method, path, query, signed values and payload.
        pick: Picks the signed values out of the values of the head, the date and the payload.
    """

    __slots__ = ("pick", "signed_headers", "text")

    def __init__(self, names: tuple[bytes, ...]) -> None:
        places = {b"x-amz-date": [len(names)], b"x-amz-content-sha256": [len(names) + 1]}
        for place, name in enumerate(names):
            lower = name.lower()
            if lower in _SIGNED or lower.startswith(b"x-amz-"):
                places.setdefault(lower, []).append(place)
        signed = sorted(places)
        self.pick = picker([place for name in signed for place in places[name]])
        self.signed_headers = b";".join(signed)
        lines = b"".join(
            # The values of a repeated name are one line.
            [b"%s:%s\n" % (name.replace(b"%", b"%%"), b",".join([b"%s"] * len(places[name]))) for name in signed]
        )
        self.text = b"%%s\n%%s\n%%s\n%s\n%s\n%%s" % (lines, self.signed_headers.replace(b"%", b"%%"))


_KNOWN_FORMS: Known[tuple[bytes, ...], _Form] = Known(MAX_KNOWN_SETS)


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
    raw_path, _, raw_query = target.partition(b"?")
    path = canonical_uri(raw_path) if raw_path.translate(None, PLAIN_PATH) else raw_path
    query = canonical_query(raw_query) if raw_query else b""
    names, values = zip(*headers)  # noqa: B905
    form = _KNOWN_FORMS.get(names) or _form_of(names)
    signed = form.pick((*values, date, payload))
    request = form.text % (method, path, query, *signed, payload)
    if request.find(b" ") >= 0 or request.find(b"\t") >= 0:
        # White space is trimmed in the canonical request.
        request = form.text % (method, path, query, *[b" ".join(value.split()) for value in signed], payload)
    signed_headers = form.signed_headers
    scope = scope_of_day(date[:8], key.region)
    raw_scope = write_scope(scope)
    digest = hashlib.sha256(request).hexdigest().encode()
    string_to_sign = b"AWS4-HMAC-SHA256\n%s\n%s\n%s" % (date, raw_scope, digest)
    signing_key = signing_keys.derive(key.secret_access_key, scope)
    signature = signing_key.sign_for_backend(string_to_sign)
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


def _form_of(names: tuple[bytes, ...]) -> _Form:
    form = _Form(names)
    return _KNOWN_FORMS.keep(names, form) if has_known_form(names) else form
