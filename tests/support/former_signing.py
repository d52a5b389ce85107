"""
What s3proxy had before it remembered sets of names, as the oracle for what it has today: the gate as two regular
expressions over a whole head, and a signature over headers that are indexed and sorted for each request.
"""

from __future__ import annotations

import hashlib
import re

from s3proxy.s3.errors import InvalidRequest
from s3proxy.s3.head import Fields, HeaderList, index_headers
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key

_TOKEN = rb"!#$%&'*+\-.^`|~0-9a-z"
_NAME = rb"(?:x-amz-meta-[_%b]++|[%b]++)" % (_TOKEN, _TOKEN)
_NAMES = re.compile(rb"%b(?:\n%b)*" % (_NAME, _NAME))
_HEAD = re.compile(rb"[A-Z]{1,16} /[^\x00-\x20\x7f#]*+ HTTP/1\.1\r\n(?:[^\x00-\x08\x0a-\x1f\x7f]++\r\n)+")
_SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"date",
        b"expect",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"transfer-encoding",
    }
)


def write_head(method: bytes, target: bytes, headers: HeaderList) -> bytes:
    """
    Return a head without the empty line at its end, or raise as the gate does. The query is not checked.
    """
    lines = [b"%s %s HTTP/1.1\r\n" % (method, target)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    head = b"".join(lines)
    names = [name.lower() for name, _ in headers]
    is_sound = _HEAD.fullmatch(head) is not None and _NAMES.fullmatch(b"\n".join(names)) is not None
    if not is_sound or head.count(b"\n") != len(lines):
        raise InvalidRequest
    for name in names:
        if names.count(name) > 1 and (name in _SINGLE or name.startswith(b"x-amz-")):
            raise InvalidRequest
    return head


def authorize(
    method: bytes, target: bytes, headers: HeaderList, payload: bytes, key: tuple[str, str, str], date: bytes
) -> bytes:
    """
    Return the Authorization header of a request of our own.

    Args:
        key: The access key, its secret and the region.
    """
    access_key_id, secret, region = key
    fields = Fields({b"x-amz-date": (date,), b"x-amz-content-sha256": (payload,)})
    for name, values in index_headers(headers).items():
        if name in {b"content-md5", b"content-type", b"host"} or name.startswith(b"x-amz-"):
            fields[name] = fields.get(name, ()) + values
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
    scope = CredentialScope(date[:8], region.encode())
    text = b"AWS4-HMAC-SHA256\n%s\n%s\n%s" % (date, bytes(scope), hashlib.sha256(request).hexdigest().encode())
    signature = SigningKey(derive_signing_key(secret, scope)).sign_for_backend(text)
    return b"AWS4-HMAC-SHA256 Credential=%s/%s,SignedHeaders=%s,Signature=%s" % (
        access_key_id.encode(),
        bytes(scope),
        signed_headers,
        signature,
    )
