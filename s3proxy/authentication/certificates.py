"""
Requests without a signature on a connection whose client has shown a certificate.

The certificate was verified in the TLS handshake, and a name in it stands for an access key. It vouches for the
connection, and so for each byte of a request: all headers count as covered. A request that has a signature is judged by
the signature alone, also if it is wrong.

A browser shows its user's certificate with every request to a host, also if another site's page has caused the request.
So a request that a page has caused needs a signature: a form, and any request with an ``Origin`` header.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from s3proxy.authentication.realm import PAYLOADS, Realm, check_carrier, check_payload_of
from s3proxy.authentication.verdict import Authenticated
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential, check_session
from s3proxy.s3.errors import AccessDenied, InvalidRequest, InvalidToken
from s3proxy.s3.head import RequestHead
from s3proxy.s3.payload import UNSIGNED, parse_payload

_NOBODY_SIGNS = (
    "Requests that are authenticated by a client certificate don't support this x-amz-content-sha256 value. "
    "Please use UNSIGNED-PAYLOAD or STREAMING-UNSIGNED-PAYLOAD-TRAILER."
)


def certified_key(names: Iterable[str], realm: Realm) -> bytes | None:
    """
    Return the access key that a client certificate stands for.

    Args:
        names: The names of the verified certificate, as `s3proxy.transport.client_names` compares them.

    Returns:
        None if it stands for no key.

    Raises:
        AccessDenied: It stands for several keys.
    """
    if Carrier.CERTIFICATE.value in realm.refused:
        return None
    found = {realm.client_keys[name] for name in names if name in realm.client_keys}
    if len(found) > 1:
        raise AccessDenied("The names of your client certificate stand for different access keys.")
    return found.pop() if found else None


def admit_certified(
    head: RequestHead, access_key_id: bytes, credential: Credential | None, realm: Realm, now: datetime
) -> Authenticated:
    """
    Return a request without a signature as the request of the access key that its client's certificate stands for.

    Args:
        credential: The credential of the key; None if the key is unknown.
        now: Aware, UTC.

    Raises:
        AccessDenied: A web page may have caused the request.
        InvalidAccessKeyId: The key is unknown, disabled, expired or temporary.
        InvalidToken: The request has a session token. A certificate stands for no temporary key.
        InvalidRequest: Only a signature can verify its kind of body, or the key may not be used in this way.
        InvalidArgument: x-amz-content-sha256 cannot be read.
    """
    if b"origin" in head.fields:
        raise AccessDenied("A request with an Origin header must be signed: a client certificate is not enough.")
    token = head.fields.value(b"x-amz-security-token")
    if token is not None:
        raise InvalidToken(token)
    known = check_session(access_key_id, None, credential, realm.known_tokens, now)
    check_carrier(Carrier.CERTIFICATE, known.refused)
    raw_payload = head.fields.value(b"x-amz-content-sha256")
    payload = UNSIGNED if raw_payload is None else parse_payload(raw_payload)
    if payload.word not in PAYLOADS[Carrier.CERTIFICATE]:
        raise InvalidRequest(_NOBODY_SIGNS)
    check_payload_of(Carrier.CERTIFICATE, head, payload, realm.refused | known.refused)
    return Authenticated(access_key_id, Carrier.CERTIFICATE, known, frozenset(head.fields), payload, None, head)
