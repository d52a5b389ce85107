"""
Makes presigned URLs, which anyone who has them may use.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from urllib.parse import quote, urlsplit

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from s3proxy.s3.address import parse_address
from s3proxy.s3.credential import Credential
from s3proxy.s3.date import format_basic_iso
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import Fields
from s3proxy.s3.limits import MAX_PRESIGNED_SECONDS
from s3proxy.sigv2.canonical import canonical_resource, string_to_sign
from s3proxy.sigv2.verifier import sign as sign_text
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, derive_private_key
from s3proxy.sigv4.canonical import canonical_query, canonical_request, canonical_uri, uri_encode
from s3proxy.sigv4.scope import HMAC_ALGORITHM, CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key

# Characters that a URL may contain as they are. A percent sign begins an escape.
_SAFE = "%/:?#[]@!$&'()*+,;=-._~"


class CannotPresign(Exception):
    """
    Raised if a URL cannot be signed. The text says why.
    """


def presign(
    url: str,
    credential: Credential,
    now: datetime,
    *,
    method: str = "GET",
    expires: int = 3600,
    signature: str = "v4",
    region: str = "us-east-1",
    domain: str | None = None,
) -> str:
    """
    Return a URL with a signature in its query.

    Args:
        url: Characters that a URL must not contain are escaped; an escape stays as it is.
        now: Aware, UTC.
        expires: Seconds; at most a week under Signature V4.
        signature: ``v4``, ``v4a`` or ``v2``.
        domain: A host below this domain names its bucket.

    Raises:
        CannotPresign: The URL is not valid, or `expires` is out of range.
    """
    url = quote(url, safe=_SAFE)
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.fragment:
        raise CannotPresign(f"{url} is not an http or https URL, or has a fragment")
    if expires <= 0 or (signature != "v2" and expires > MAX_PRESIGNED_SECONDS):
        most = "" if signature == "v2" else f", at most {MAX_PRESIGNED_SECONDS}"
        raise CannotPresign(f"a URL expires after at least 1 second{most}")
    path, query, host = (parts.path or "/").encode(), parts.query.encode(), parts.netloc.encode()
    try:
        if signature == "v2":
            added = _sign_v2(method.encode(), path, query, host, credential, now, expires, domain)
        else:
            added = _sign_v4(
                method.encode(), path, query, host, credential, now, expires, region.encode(), signature == "v4a"
            )
    except S3Error as error:
        raise CannotPresign(f"{url}: {error.message}") from None
    whole = b"&".join([*([query] if query else []), added])
    return f"{parts.scheme}://{parts.netloc}{path.decode()}?{whole.decode()}"


def _sign_v4(
    method: bytes,
    path: bytes,
    query: bytes,
    host: bytes,
    credential: Credential,
    now: datetime,
    expires: int,
    region: bytes,
    is_asymmetric: bool,
) -> bytes:
    date = format_basic_iso(now)
    key_id, secret = credential.access_key_id.encode(), credential.secret_access_keys[0]
    scope = CredentialScope(date[:8], None if is_asymmetric else region)
    algorithm = ECDSA_ALGORITHM if is_asymmetric else HMAC_ALGORITHM
    items = [
        (b"X-Amz-Algorithm", algorithm),
        (b"X-Amz-Credential", b"%s/%s" % (key_id, bytes(scope))),
        (b"X-Amz-Date", date),
        (b"X-Amz-Expires", b"%d" % expires),
        (b"X-Amz-SignedHeaders", b"host"),
    ]
    if is_asymmetric:
        items.append((b"X-Amz-Region-Set", region))
    if credential.session_token is not None:
        items.append((b"X-Amz-Security-Token", credential.session_token.encode()))
    added = b"&".join([b"%s=%s" % (name, uri_encode(value)) for name, value in items])
    request = canonical_request(
        method,
        canonical_uri(path),
        canonical_query(b"%s&%s" % (query, added)),
        b"host:%s\n" % host,
        b"host",
        b"UNSIGNED-PAYLOAD",
    )
    digest = hashlib.sha256(request).hexdigest().encode()
    text = b"%s\n%s\n%s\n%s" % (algorithm, date, bytes(scope), digest)
    if is_asymmetric:
        signed = derive_private_key(secret, key_id).sign(text, ec.ECDSA(hashes.SHA256())).hex().encode()
    else:
        signed = SigningKey(derive_signing_key(secret, scope)).sign_for_backend(text)
    return b"%s&X-Amz-Signature=%s" % (added, signed)


def _sign_v2(
    method: bytes,
    path: bytes,
    query: bytes,
    host: bytes,
    credential: Credential,
    now: datetime,
    expires: int,
    domain: str | None,
) -> bytes:
    ends_at = b"%d" % (int(now.timestamp()) + expires)
    address = parse_address(path, host, [domain.lower().encode()] if domain else [])
    if address.is_virtual_hosted:
        path = b"/%s%s" % (address.raw_bucket, path)
    amz_lines, token = b"", b""
    if credential.session_token is not None:
        raw_token = credential.session_token.encode()
        amz_lines = b"x-amz-security-token:%s\n" % raw_token
        token = b"&x-amz-security-token=" + uri_encode(raw_token)
    text = string_to_sign(method, Fields(), ends_at, amz_lines, canonical_resource(path, query))
    return b"AWSAccessKeyId=%s&Expires=%s%s&Signature=%s" % (
        uri_encode(credential.access_key_id.encode()),
        ends_at,
        token,
        uri_encode(sign_text(credential.secret_access_keys[0], text)),
    )
