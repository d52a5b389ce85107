"""
One backend as the proxy sees it: how to reach it, what it wants, and whose key signs for us there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.request import DEFAULT_FIRST_BYTE_TIME, DEFAULT_SLOW_FIRST_BYTE_TIME
from s3proxy.profiles.allowed import Allowed
from s3proxy.profiles.operations import MULTIPART_OPERATIONS
from s3proxy.resign.head import Account
from s3proxy.resign.public_name import host_names


@dataclass(frozen=True, slots=True)
class Backend:
    """
    A backend and our account on it.

    Attributes:
        name: What the log calls it.
        extensions: What clients may ask for beyond the profile, by name; see `Profile.allows`.
        conditions: What becomes of those that it would ignore; see `Profile.allows`.
        spooled_size: Bytes up to which a body is verified on disk before it hears of it; 0 for none.
        keeps_multipart: Whether multipart uploads are kept here until they are complete: it has none itself.
        forwarded: ``none``, ``x-forwarded`` or ``forwarded``: how it is told who the client is.
        first_byte_time: Seconds until an answer's head.
        slow_first_byte_time: The same for operations which copy inside the backend.
        authorities: Of its further addresses.
        hosts: All of its addresses, which no client is told, as `host_names` returns them.
    """

    name: str
    agent: BackendAgent
    account: Account
    forwarded: str = "none"
    first_byte_time: float = DEFAULT_FIRST_BYTE_TIME
    slow_first_byte_time: float = DEFAULT_SLOW_FIRST_BYTE_TIME
    spooled_size: int = 0
    keeps_multipart: bool = False
    authorities: tuple[bytes, ...] = ()
    extensions: tuple[str, ...] | None = None
    conditions: str = "refuse"
    hosts: frozenset[bytes] = field(init=False)
    allowed: Allowed = field(init=False)
    "what clients may ask of it"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", host_names([self.account.host, *self.authorities]))
        allowed = self.account.profile.allows(self.extensions, conditions=self.conditions)
        if self.keeps_multipart:
            allowed = replace(allowed, operations=allowed.operations | MULTIPART_OPERATIONS, keeps_multipart=True)
        object.__setattr__(self, "allowed", allowed)
