"""
Other proxies in front of s3proxy: which are listed, and what s3proxy believes of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from twisted.internet.address import IPv4Address as TCP4Address
from twisted.internet.address import IPv6Address as TCP6Address
from twisted.internet.address import UNIXAddress

from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.network import Networks

UNIX = "unix"
"""
Stands for all connections to a unix socket, which have no address: the socket's permissions decide who may connect.
"""


class Peers:
    """
    The proxies that the operator lists.

    Args:
        listed: Networks, addresses, or `UNIX`.
    """

    def __init__(self, listed: Iterable[str] = ()) -> None:
        listed = frozenset(listed)
        self._has_unix = UNIX in listed
        self._networks = Networks(listed - {UNIX})

    def lists(self, address: object) -> bool:
        """
        Return True if the other end of a connection is listed.

        Args:
            address: The connection's address, as Twisted has it. The address of an unknown client is of another type,
                and not listed.
        """
        if isinstance(address, UNIXAddress):
            return self._has_unix
        return isinstance(address, TCP4Address | TCP6Address) and self.lists_host(address.host)

    def lists_host(self, host: str) -> bool:
        """
        Return True if an address, as text, is listed.
        """
        return self._networks.contain(host)


@dataclass(frozen=True, slots=True)
class Trust:
    """
    What a site believes when proxies describe their clients.

    Attributes:
        peers: The proxies that are believed.
        proxy_protocol: Whether their connections begin with a PROXY header.
        forwarded: Which headers of their requests are believed.
    """

    peers: Peers = field(default_factory=Peers)
    proxy_protocol: bool = False
    forwarded: ForwardedHeaders = ForwardedHeaders.NONE
