"""
IP addresses and networks, as text.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network


def parse_ip_address(text: str) -> IPv4Address | IPv6Address:
    """
    Return the address that a text gives. An IPv4 address is returned as such, even in the form in which an IPv6 socket
    reports it.

    Raises:
        ValueError: The text is not an address, or is one that is valid on one link only.
    """
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if address.scope_id is not None:
            raise ValueError(text)
        return address.ipv4_mapped or address
    return address


class Networks:
    """
    A set of networks.

    Args:
        listed: Networks or addresses, as text.

    Raises:
        ValueError: A text is neither.
    """

    __slots__ = ("_networks",)

    def __init__(self, listed: Iterable[str]) -> None:
        self._networks = tuple(map(ip_network, listed))

    def contain(self, host: str) -> bool:
        """
        Return True if an address, as text, is in one of the networks; False for anything that is not an address.
        """
        try:
            address = parse_ip_address(host.partition("%")[0])
        except ValueError:
            return False
        return any(address in network for network in self._networks)


@lru_cache(1024)
def networks_of(listed: tuple[str, ...]) -> Networks:
    """
    Return a set of networks. Those of a key are read once, not for each of its requests.

    Raises:
        ValueError: A text is neither a network nor an address.
    """
    return Networks(listed)
