"""
What is known of an access key.
"""

from __future__ import annotations

import hmac
from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime

from s3proxy.s3.errors import ExpiredToken, InvalidAccessKeyId, InvalidToken


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """
    What may be had; 0 for no bound.

    Attributes:
        requests: At a time.
        bodies: Of requests, at a time.
        requests_per_second: As it says.
        bytes_per_second: Of bodies, both ways together.
        memory: Bytes of bodies which are held in memory.
    """

    requests: int = 0
    bodies: int = 0
    requests_per_second: float = 0.0
    bytes_per_second: float = 0.0
    memory: int = 0


NO_LIMITS = BudgetLimits()


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """
    An access key with its secrets.

    Attributes:
        secret_access_keys: One, or two while one replaces the other; each is tried.
        session_token: Of a temporary key: each request must carry it.
        expires_at: From this moment on the key is expired.
        is_disabled: Answered as an unknown key is.
        exemptions: Names of checks which are waived: ``region``, ``clock-skew``, ``unsigned-headers``, ``chunk-size``.
        refused: Carriers and payload words which are switched off for it, by the configuration's words.
        backend: Name of the backend which all of its requests go to, whatever their buckets; None where buckets decide.
        backend_keys: Names of the keys which sign for it, each at a backend of its own; the backend's own where empty.
        allow: Access rules; everything is allowed where None.
        budget: What its requests may have together; the default for each key where None.
    """

    access_key_id: str
    secret_access_keys: tuple[str, ...]
    session_token: str | None = None
    expires_at: datetime | None = None
    is_disabled: bool = False
    exemptions: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()
    backend: str | None = None
    backend_keys: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    budget: BudgetLimits | None = None

    def __repr__(self) -> str:
        return f"<Credential {self.access_key_id}>"


def check_session(
    claimed_access_key_id: bytes,
    session_token: bytes | None,
    credential: Credential | None,
    known_tokens: Container[bytes],
    now: datetime,
) -> Credential:
    """
    Check key and session token, before the signature.

    Args:
        session_token: As sent, or None.
        credential: What is known of the key; None where nothing is.
        known_tokens: Every token which this service has given out, of whatever key. A set looks a token up by a hash
            that is keyed per process, so that the time does not tell how much of a guess was right.

    Raises:
        InvalidAccessKeyId: The key is unknown, disabled or expired, or its token is missing or another key's.
        InvalidToken: The token is no token.
        ExpiredToken: The session has ended.
    """
    if credential is None or credential.is_disabled:
        raise InvalidAccessKeyId(claimed_access_key_id)
    if credential.session_token is None:
        if credential.expires_at is not None and now >= credential.expires_at:
            raise InvalidAccessKeyId(claimed_access_key_id)
        return credential
    if not session_token:
        raise InvalidAccessKeyId(claimed_access_key_id)
    if not hmac.compare_digest(session_token, credential.session_token.encode()):
        if session_token in known_tokens:
            raise InvalidAccessKeyId(claimed_access_key_id)
        raise InvalidToken(session_token)
    if credential.expires_at is not None and now >= credential.expires_at:
        raise ExpiredToken(session_token)
    return credential
