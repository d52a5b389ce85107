"""
One backend as the proxy sees it: how to reach it, what it wants, and whose key signs for us there.
"""

from __future__ import annotations

from dataclasses import dataclass

from s3proxy.backend.agent import BackendAgent
from s3proxy.resign.profiles import BackendKey, Profile, check_private_surface
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead


@dataclass(frozen=True, slots=True)
class Backend:
    """
    A backend and our account on it.

    Attributes:
        host: The authority which its Host header gets, port included where it is not the scheme's own.
        signature: ``v4``, ``v2`` or ``none``.
        forwarded: ``none``, ``x-forwarded`` or ``forwarded``: how it is told who the client is.
    """

    name: str
    agent: BackendAgent
    profile: Profile
    key: BackendKey | None
    host: bytes
    signature: str = "v4"
    forwarded: str = "none"

    def check(self, head: RequestHead, address: Address) -> None:
        """
        Refuse what would reach a surface of the backend which is not S3's.

        Raises:
            AccessDenied: The request addresses a private surface.
        """
        check_private_surface(self.profile, head, address)
