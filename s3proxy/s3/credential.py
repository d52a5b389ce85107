"""
An access key: its secrets, limits and rights, and the check of its session token.
"""

from __future__ import annotations

import hmac
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from s3proxy.s3.claim import Carrier
from s3proxy.s3.errors import ExpiredToken, InvalidAccessKeyId, InvalidToken
from s3proxy.s3.exemption import Exemption


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLimits:
    """
    The limits of a budget; 0 means no limit.

    Attributes:
        requests: Requests at a time.
        bodies: Request bodies at a time.
        requests_per_second: Requests that begin in one second.
        bytes_per_second: Bytes of bodies in one second, both directions together.
        memory: Bytes of bodies held in memory at a time.
    """

    requests: int = 0
    bodies: int = 0
    requests_per_second: float = 0.0
    bytes_per_second: float = 0.0
    memory: int = 0


NO_LIMITS = BudgetLimits()


class SecretlessKey(Protocol):
    """
    What verifies the signatures of a client whose secret is not known: a `s3proxy.sigv4.given_key.GivenKey`.
    """

    def keys_for(self, carrier: Carrier, scope: bytes) -> Sequence[Any]:
        """
        Return the keys to verify a signature with; none if it cannot match.

        Raises:
            InvalidRequest: Signatures of this kind cannot be verified.
        """


@dataclass(frozen=True, slots=True, repr=False)
class Credential:
    """
    An access key with its secrets.

    Attributes:
        secret_access_keys: One, or two while one replaces the other; each is tried. None if there is a `given_key`.
        session_token: The token of a temporary key, which each of its requests must have; None for a permanent key.
        expires_at: The moment from which the key is expired; None if it never expires.
        is_disabled: If True, requests get the same error as with an unknown key.
        exemptions: The checks that are waived.
        refused: Carriers and payloads that are switched off for this key, by the configuration's words.
        backend: Name of the backend that all requests of this key go to; None if the bucket decides.
        backend_keys: Names of the keys that sign its requests, each for one backend; empty if the backend's own key
            signs.
        allow: Access rules, ``ACTION:BUCKET/PREFIX*``; None if everything is allowed that `deny` does not name.
        deny: Access rules that win over those of `allow`.
        networks: The networks or addresses from which the key may be used; empty for all.
        is_read_only: Whether its requests must change nothing.
        budget: What all requests of this key may use together; None for the default of each key.
        is_restricted: Whether `allow`, `deny`, `networks` or `is_read_only` restricts what the key may do.
        given_key: What verifies signatures if the secret is not known; None if it is.
    """

    access_key_id: str
    secret_access_keys: tuple[str, ...]
    session_token: str | None = None
    expires_at: datetime | None = None
    is_disabled: bool = False
    exemptions: frozenset[Exemption] = frozenset()
    refused: frozenset[str] = frozenset()
    backend: str | None = None
    backend_keys: tuple[str, ...] = ()
    allow: tuple[str, ...] | None = None
    budget: BudgetLimits | None = None
    deny: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    is_read_only: bool = False
    given_key: SecretlessKey | None = None
    is_restricted: bool = field(init=False)

    def __post_init__(self) -> None:
        is_restricted = self.allow is not None or bool(self.deny or self.networks) or self.is_read_only
        object.__setattr__(self, "is_restricted", is_restricted)

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
    Return the credential of a request, after a check of its key and its session token. The signature is checked later.

    Args:
        session_token: As sent, or None.
        credential: The credential of the key; None if the key is unknown.
        known_tokens: Every token that this service has issued, for any key. A set finds a token by a hash that is
            keyed per process, so the time of a look-up does not reveal how much of a guess was right.

    Raises:
        InvalidAccessKeyId: The key is unknown, disabled or expired, or its token is missing or another key's.
        InvalidToken: The token was never issued.
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
