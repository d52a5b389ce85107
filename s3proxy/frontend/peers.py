"""
Other proxies in front of this one: who they are, and what they are believed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from twisted.internet.address import IPv4Address as TCP4Address
from twisted.internet.address import IPv6Address as TCP6Address
from twisted.internet.address import UNIXAddress

UNIX = "unix"
"""
Whoever connects to a unix socket, which has no address: the socket's permissions say who may.
"""


def parse_address(text: str) -> IPv4Address | IPv6Address:
    """
    Return the address which a text gives, one of IPv4 as such, also where a socket of IPv6 tells it.

    Raises:
        ValueError: It gives none, or one which holds on one link only.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(text)
        return address.ipv4_mapped or address
    return address


class Peers:
    """
    Whom the operator lists as proxies of theirs.

    Args:
        listed: Networks, addresses, or `UNIX`.
    """

    def __init__(self, listed: Iterable[str] = ()) -> None:
        listed = frozenset(listed)
        self._has_unix = UNIX in listed
        networks = [ip_network(text) for text in listed - {UNIX}]
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(networks)

    def lists(self, address: object) -> bool:
        """
        Say whether a connection's other end is one of them.

        Args:
            address: Twisted's, of a connection. Of a client whose own address nobody knows it is of another kind.
        """
        if isinstance(address, UNIXAddress):
            return self._has_unix
        return isinstance(address, TCP4Address | TCP6Address) and self.lists_host(address.host)

    def lists_host(self, host: str) -> bool:
        """
        Say whether an address, as text, is one of theirs.
        """
        try:
            address = parse_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._networks)


@dataclass(frozen=True, slots=True)
class Trust:
    """
    What a site believes of what others tell it about its clients.

    Attributes:
        peers: Who is believed.
        proxy_protocol: Whether a connection of theirs begins with a PROXY header.
        forwarded: Which of their requests' headers count: ``none``, ``x-forwarded`` or ``forwarded``.
    """

    peers: Peers = field(default_factory=Peers)
    proxy_protocol: bool = False
    forwarded: str = "none"
