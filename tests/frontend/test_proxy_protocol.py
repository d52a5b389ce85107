"""
The header of the PROXY protocol, byte by byte.
"""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest
from awscrt import checksums
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from s3proxy.frontend.peers import Peers
from s3proxy.frontend.proxy_protocol import ProxyHeader, ProxyHeaderReader, UnnamedClient, WrongProxyHeader
from s3proxy.s3.limits import MAX_PROXY_HEADER_SIZE, MAX_PROXY_LINE_SIZE
from tests.frontend.proxy_headers import SIGNATURE, extension, header_v2, with_checksum

INET = struct.pack("!4B4BHH", 192, 0, 2, 7, 198, 51, 100, 1, 56324, 443)
INET6 = ip_address("2001:db8::7").packed + ip_address("2001:db8::1").packed + struct.pack("!HH", 56324, 443)
UNIX = b"/run/client".ljust(108, b"\0") + b"/run/server".ljust(108, b"\0")
V4 = ProxyHeader(client=(ip_address("192.0.2.7"), 56324))
V6 = ProxyHeader(client=(ip_address("2001:db8::7"), 56324))
NAMELESS = ProxyHeader()
LOCAL = ProxyHeader(is_local=True)

GOOD: dict[str, tuple[bytes, ProxyHeader]] = {
    "v1 TCP4": (b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n", V4),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8::7 2001:db8::1 56324 443\r\n", V6),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", NAMELESS),
    "v1 UNKNOWN with more": (b"PROXY UNKNOWN ffff:: ffff:: 65535 65535\r\n", NAMELESS),
    "v1 longest": (b"PROXY UNKNOWN " + b"f" * (MAX_PROXY_LINE_SIZE - 16) + b"\r\n", NAMELESS),
    "v2 TCP4": (header_v2(0x21, 0x11, INET), V4),
    "v2 TCP6": (header_v2(0x21, 0x21, INET6), V6),
    "v2 UNIX": (header_v2(0x21, 0x31, UNIX), NAMELESS),
    "v2 LOCAL": (header_v2(0x20, 0x00, b""), LOCAL),
    "v2 LOCAL with a block": (header_v2(0x20, 0x11, INET + b"\x03\xff"), LOCAL),
    "v2 unspecified": (header_v2(0x21, 0x00, b"whatever"), NAMELESS),
    "v2 UDP": (header_v2(0x21, 0x12, INET), NAMELESS),
    "v2 with extensions": (header_v2(0x21, 0x11, INET + extension(4, b"") + extension(0x20, b"\1" * 300)), V4),
    "v2 with a checksum": (with_checksum(0x21, 0x21, INET6, extension(2, b"s3.example.com")), V6),
    "v2 UNIX with a checksum": (with_checksum(0x21, 0x31, UNIX, extension(5, b"id")), NAMELESS),
    "v2 longest": (
        header_v2(0x21, 0x11, INET + extension(4, bytes(MAX_PROXY_HEADER_SIZE - 16 - len(INET) - 3))),
        V4,
    ),
}

WRONG: dict[str, bytes] = {
    "a request": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a TLS hello": bytes.fromhex("1603010200010001fc0303"),
    "nothing but zeros": bytes(20),
    "v1 in lower case": b"proxy TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 tab": b"PROXY\tTCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 two spaces": b"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 space at its end": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2 \r\n",
    "v1 no port": b"PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
    "v1 a port with a zero before it": b"PROXY TCP4 192.0.2.7 198.51.100.1 01 2\r\n",
    "v1 a port too large": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 65536\r\n",
    "v1 a negative port": b"PROXY TCP4 192.0.2.7 198.51.100.1 -1 2\r\n",
    "v1 a byte with a zero before it": b"PROXY TCP4 192.0.02.7 198.51.100.1 1 2\r\n",
    "v1 a byte too large": b"PROXY TCP4 192.0.2.256 198.51.100.1 1 2\r\n",
    "v1 a name": b"PROXY TCP4 localhost 198.51.100.1 1 2\r\n",
    "v1 the other family": b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
    "v1 two families": b"PROXY TCP6 2001:db8::7 198.51.100.1 1 2\r\n",
    "v1 a scope": b"PROXY TCP6 fe80::1%eth0 2001:db8::1 1 2\r\n",
    "v1 an unknown family": b"PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
    "v1 UNKNOWN and more": b"PROXY UNKNOWNS\r\n",
    "v1 a bare LF": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\n" + b"x" * 80,
    "v1 a bare CR": b"PROXY TCP4 192.0.2.7 198.51.100.1 1 2\rGET / HTTP/1.1\r\n",
    "v1 too long by one": b"PROXY UNKNOWN " + b"f" * (MAX_PROXY_LINE_SIZE - 15) + b"\r\n",
    "v1 without end": b"PROXY UNKNOWN " + b"f" * 200,
    "v2 version 1": header_v2(0x11, 0x11, INET),
    "v2 version 3": header_v2(0x31, 0x11, INET),
    "v2 an unknown command": header_v2(0x22, 0x11, INET),
    "v2 an unknown family": header_v2(0x21, 0x41, INET),
    "v2 an unknown protocol": header_v2(0x21, 0x13, INET),
    "v2 addresses cut off": header_v2(0x21, 0x11, INET[:-1]),
    "v2 the smaller family's addresses": header_v2(0x21, 0x21, INET),
    "v2 UNIX cut off": header_v2(0x21, 0x31, UNIX[:-1]),
    "v2 an extension cut off": header_v2(0x21, 0x11, INET + b"\x04\x00\x02x"),
    "v2 an extension's head cut off": header_v2(0x21, 0x11, INET + b"\x04\x00"),
    "v2 a wrong checksum": header_v2(0x21, 0x11, INET + extension(3, b"\1\2\3\4")),
    "v2 a checksum of three bytes": header_v2(0x21, 0x11, INET + extension(3, b"\1\2\3")),
    "v2 a changed address": with_checksum(0x21, 0x11, INET, b"").replace(b"\xc0\x00\x02\x07", b"\xc0\x00\x02\x08"),
    "v2 too long by one": SIGNATURE + b"\x21\x11" + struct.pack("!H", MAX_PROXY_HEADER_SIZE - 15),
    "v2 as long as it can say": SIGNATURE + b"\x21\x11\xff\xff",
}


def read(data: bytes, cuts: list[int]) -> tuple[ProxyHeader | None, bytes]:
    """
    Feed a header in pieces; return it, and the bytes after it.
    """
    reader = ProxyHeaderReader()
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    for index, piece in enumerate(pieces):
        header = reader.feed(piece)
        if header is not None:
            return header, reader.rest + b"".join(pieces[index + 1 :])
    return None, b""


@pytest.mark.parametrize("name", GOOD)
def test_every_cut_gives_the_same_header(name: str) -> None:
    """
    In two pieces cut anywhere, byte by byte, and in one segment with what follows, which stays whole.
    """
    data, expected = GOOD[name]
    cuts = range(1, len(data)) if len(data) < 1000 else range(1, len(data), 997)

    for cut in cuts:
        assert read(data, [cut]) == (expected, b"")
    assert read(data + b"GET /", list(range(1, len(data) + 5))) == (expected, b"GET /")
    assert read(data + b"GET /", []) == (expected, b"GET /")


@pytest.mark.parametrize("name", GOOD)
def test_a_part_of_a_header_is_none(name: str) -> None:
    """
    Nothing is believed before the last byte.
    """
    data, _ = GOOD[name]

    assert read(data[:-1], []) == (None, b"")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_however_it_is_cut(name: str) -> None:
    """
    Whole, and byte by byte.
    """
    data = WRONG[name]

    with pytest.raises(WrongProxyHeader):
        read(data, [])
    with pytest.raises(WrongProxyHeader):
        read(data, list(range(1, len(data))))


@pytest.mark.parametrize("data", [b"G", b"PROXX", b"\r\n\r\n\0\r\nQUIX", SIGNATURE + b"\x31"])
def test_a_wrong_byte_is_refused_at_once(data: bytes) -> None:
    """
    If bytes cannot become a header, s3proxy does not wait for more.
    """
    reader = ProxyHeaderReader()

    assert reader.feed(data[:-1]) is None
    with pytest.raises(WrongProxyHeader):
        reader.feed(data[-1:])


@given(data=st.binary(max_size=300), prefix=st.sampled_from([b"", b"PROXY ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x20"]))
def test_bytes_without_sense_raise_nothing_else(data: bytes, prefix: bytes) -> None:
    """
    The result is a header, no header yet, or a refusal.
    """
    verdicts = []
    for cuts in ([], list(range(1, len(prefix + data)))):
        try:
            verdicts.append(read(prefix + data, cuts))
        except WrongProxyHeader:
            verdicts.append((None, b"wrong"))

    assert verdicts[0] == verdicts[1]


def test_the_checksum_is_that_of_the_documentation() -> None:
    """
    CRC32C as RFC 4960 defines it: its check value.
    """
    assert checksums.crc32c(b"123456789") == 0xE3069283


def test_who_is_listed() -> None:
    """
    Networks of both families, an IPv4 address in the form of an IPv6 socket, unix sockets; by default none.
    """
    peers = Peers(["10.0.0.0/8", "2001:db8::/32", "fe80::/10", "192.0.2.1"])

    def tcp(host: str) -> IPv4Address | IPv6Address:
        return (IPv6Address if ":" in host else IPv4Address)("TCP", host, 1)

    listed = ["10.255.0.1", "192.0.2.1", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%eth0"]
    others = ["11.0.0.1", "127.0.0.1", "::1", "192.0.2.2", "2001:db9::1", "::ffff:11.0.0.1", "::10.0.0.1", "-", ""]
    assert [host for host in (*listed, *others) if peers.lists(tcp(host))] == listed
    assert not peers.lists(UnnamedClient("10.0.0.1"))
    assert not peers.lists(UNIXAddress(b""))
    assert not peers.lists(None)
    assert Peers(["unix"]).lists(UNIXAddress(b""))
    assert not Peers(["unix"]).lists(tcp("127.0.0.1"))
    assert not Peers().lists(tcp("127.0.0.1"))
