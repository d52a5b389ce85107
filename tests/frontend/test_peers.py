"""
Which peers are proxies of the operator, and which only claim to be.
"""

from __future__ import annotations

import pytest
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress

from s3proxy.frontend.forwarded import Origin, believed_origin
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.proxy_protocol import UnnamedClient
from s3proxy.s3.errors import BadRequest
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.limits import MAX_FORWARDED_HOPS
from s3proxy.s3.network import parse_ip_address

PEERS = Peers(["10.0.0.0/8", "2001:db8::/32"])
OWN = Origin("10.0.0.1", b"http")


@pytest.mark.parametrize(
    ("host", "is_listed"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("2001:db8::1", True),
        ("11.0.0.1", False),
        ("::ffff:11.0.0.1", False),
        ("fe80::1%eth0", False),
        ("10.0.0.0/8", False),
        ("10.1", False),
        ("", False),
    ],
)
def test_who_is_listed(host: str, is_listed: bool) -> None:
    """
    An IPv4 address is also recognized in the form of an IPv6 socket.
    """
    assert PEERS.lists_host(host) is is_listed
    assert PEERS.lists(IPv6Address("TCP", host, 1) if ":" in host else IPv4Address("TCP", host, 1)) is is_listed


def test_other_kinds_of_addresses() -> None:
    """
    A unix socket is listed only by its keyword; an unknown client, or a name, never is.
    """
    assert Peers(["unix"]).lists(UNIXAddress(None))
    assert not PEERS.lists(UNIXAddress(None))
    assert not PEERS.lists(UnnamedClient("10.0.0.1"))
    assert not PEERS.lists(HostnameAddress(b"10.0.0.1", 1))
    assert not Peers(["unix"]).lists(IPv4Address("TCP", "10.0.0.1", 1))


def test_an_address_of_one_link() -> None:
    """
    It has no meaning on another link.
    """
    with pytest.raises(ValueError, match="fe80"):
        parse_ip_address("fe80::1%eth0")


def read(form: str, *lines: bytes) -> Origin:
    """
    Return what a listed proxy says.
    """
    head = parse_request_head(b"\r\n".join([b"GET / HTTP/1.1", b"Host: inner", *lines]))
    return believed_origin(head, Trust(PEERS, forwarded=form), OWN)


@pytest.mark.parametrize(
    ("form", "lines"),
    [
        ("x-forwarded", [b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Host: a.test", b"X-Forwarded-Host: b.test"]),
        ("x-forwarded", [b"X-Forwarded-Proto: http", b"X-Forwarded-Proto: https"]),
        ("x-forwarded", [b"X-Forwarded-Proto: ftp"]),
        ("x-forwarded", [b"X-Forwarded-Proto: https, http"]),
        ("x-forwarded", [b"X-Forwarded-Host: a/b"]),
        ("x-forwarded", [b"X-Forwarded-Host: a b"]),
        ("x-forwarded", [b"X-Forwarded-Host: a@b"]),
        ("x-forwarded", [b"X-Forwarded-Host: "]),
        ("x-forwarded", [b"X-Forwarded-For: nobody"]),
        ("x-forwarded", [b"X-Forwarded-For: 1.1.1.1 2.2.2.2"]),
        ("x-forwarded", [b"X-Forwarded-For: 1.1.1.300"]),
        ("x-forwarded", [b"X-Forwarded-For: fe80::1%1"]),
        ("forwarded", [b"Forwarded: for=1.1.1.1;for=2.2.2.2"]),
        ("forwarded", [b"Forwarded: for=1.1.1.1;host=a;Host=b"]),
        ("forwarded", [b"Forwarded: for=1.1.1.1;proto=ftp"]),
        ("forwarded", [b'Forwarded: for="1.1.1.1']),
        ("forwarded", [b"Forwarded: for 1.1.1.1"]),
        ("forwarded", [b"Forwarded: for=1.1.1.1 x"]),
        ("forwarded", [b"Forwarded: for=nobody"]),
    ],
)
def test_what_cannot_be_believed(form: str, lines: list[bytes]) -> None:
    """
    What could be read in two ways, or has no meaning, is refused, not skipped.
    """
    with pytest.raises(BadRequest):
        read(form, *lines)


@pytest.mark.parametrize("form", ["x-forwarded", "forwarded"])
def test_how_many_proxies_a_request_has_passed(form: str) -> None:
    """
    The number is limited: each costs a look-up in the list.
    """

    def line(count: int) -> bytes:
        if form == "forwarded":
            return b"Forwarded: " + b", ".join([b"for=10.0.0.2"] * count)
        return b"X-Forwarded-For: " + b", ".join([b"10.0.0.2"] * count)

    assert len(read(form, line(MAX_FORWARDED_HOPS)).hops) == MAX_FORWARDED_HOPS
    with pytest.raises(BadRequest):
        read(form, line(MAX_FORWARDED_HOPS + 1))


@pytest.mark.parametrize("form", ["x-forwarded", "forwarded"])
def test_only_listed_proxies_are_believed(form: str) -> None:
    """
    The client may have written what comes before the first address that is not listed.
    """
    line = b"X-Forwarded-For: 6.6.6.6, 7.7.7.7, 10.0.0.2"
    if form == "forwarded":
        line = b"Forwarded: for=6.6.6.6, for=7.7.7.7, for=10.0.0.2"

    origin = read(form, line)

    assert origin.client_host == "7.7.7.7"
    assert origin.hops == ("10.0.0.2", "10.0.0.1")
