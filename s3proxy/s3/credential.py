"""
What is known of an access key.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


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
        backend: Name of the backend which its requests go to; the default's where None.
        backend_key: Name of the key which signs for it there; the backend's own where None.
        allow: Access rules; everything is allowed where None.
    """

    access_key_id: str
    secret_access_keys: tuple[str, ...]
    session_token: str | None = None
    expires_at: datetime | None = None
    is_disabled: bool = False
    exemptions: frozenset[str] = frozenset()
    backend: str | None = None
    backend_key: str | None = None
    allow: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"<Credential {self.access_key_id}>"
