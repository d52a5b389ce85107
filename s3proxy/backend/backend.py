"""
One backend as the proxy sees it: how to reach it, what its profile allows, and the key that signs for it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.request import DEFAULT_FIRST_BYTE_TIME, DEFAULT_SLOW_FIRST_BYTE_TIME
from s3proxy.profiles.allowed import Allowed
from s3proxy.profiles.ignored import ConditionPolicy
from s3proxy.profiles.operations import MULTIPART_OPERATIONS
from s3proxy.resign.account import Account
from s3proxy.resign.public_name import host_names
from s3proxy.s3.forwarded import ForwardedHeaders


@dataclass(frozen=True, slots=True)
class Backend:
    """
    A backend and the account on it.

    Attributes:
        name: The name in the log.
        extensions: What clients may request beyond the profile, by name; see `Profile.allows`.
        conditions: How a request is handled whose conditions the backend would ignore; see `Profile.allows`.
        spooled_size: Maximum size of a body that is verified on disk before it is sent to the backend; 0 for none.
        keeps_multipart: Whether s3proxy keeps multipart uploads until they are complete, because the backend has none.
        forwarded: The headers that name the client to the backend.
        first_byte_time: Seconds until the head of a response.
        slow_first_byte_time: Seconds until the head of a response, for operations that copy inside the backend.
        authorities: Host and port of each further address.
        is_read_only: Whether requests that change something are refused.
        hosts: The host names of all addresses, which must not reach clients, as `host_names` returns them.
    """

    name: str
    agent: BackendAgent
    account: Account
    forwarded: ForwardedHeaders = ForwardedHeaders.NONE
    first_byte_time: float = DEFAULT_FIRST_BYTE_TIME
    slow_first_byte_time: float = DEFAULT_SLOW_FIRST_BYTE_TIME
    spooled_size: int = 0
    keeps_multipart: bool = False
    authorities: tuple[bytes, ...] = ()
    extensions: tuple[str, ...] | None = None
    conditions: ConditionPolicy = ConditionPolicy.REFUSE
    is_read_only: bool = False
    hosts: frozenset[bytes] = field(init=False)
    allowed: Allowed = field(init=False)
    "what clients may request of the backend"

    def __post_init__(self) -> None:
        object.__setattr__(self, "hosts", host_names([self.account.host, *self.authorities]))
        allowed = self.account.profile.allows(self.extensions, conditions=self.conditions)
        if self.keeps_multipart:
            allowed = replace(allowed, operations=allowed.operations | MULTIPART_OPERATIONS, keeps_multipart=True)
        object.__setattr__(self, "allowed", allowed)
