"""
The PROXY protocol, versions 1 and 2: a header before everything else, TLS included, in which a proxy names its client.

Twisted's own wrapper needs 8 or 16 bytes in the first piece; this one takes any.

Source:
    "The PROXY protocol, Versions 1 & 2".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from typing import Protocol as Interface

from awscrt import checksums
from twisted.internet.address import IPv4Address as TCP4Address
from twisted.internet.address import IPv6Address as TCP6Address
from twisted.internet.interfaces import IAddress, ILoggingContext, IProtocolFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.frontend.admission import MIN_EVICTION_AGE, BoundingSite
from s3proxy.s3.limits import MAX_PROXY_HEADER_SIZE, MAX_PROXY_LINE_SIZE
from s3proxy.s3.network import parse_ip_address
from s3proxy.transport.deadline import Deadline

_V1 = b"PROXY "
_V2 = b"\r\n\r\n\0\r\nQUIT\n"
_V2_FIXED_SIZE = 16

_PORT = rb"(0|[1-9][0-9]{0,4})"
_LINE = re.compile(rb"TCP([46]) ([0-9A-Fa-f:.]+) ([0-9A-Fa-f:.]+) %b %b" % (_PORT, _PORT))

_LOCAL, _PROXY = 0, 1
_INET, _INET6, _UNIX = 1, 2, 3
_STREAM = 1
_ADDRESSES_SIZE = {_INET: 12, _INET6: 36, _UNIX: 216}
_CRC32C = 3


class IntroducedSite(BoundingSite, Interface):
    """
    The site of connections that begin with a header: an `s3proxy.frontend.site.S3Site`.
    """

    @property
    def introduced(self) -> set[Any]: ...

    def introduction_ended(self, connection: Any) -> None: ...


class WrongProxyHeader(Exception):
    """
    The bytes are not a PROXY header. The text says why, and quotes none of them.
    """


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """
    The content of a header.

    Attributes:
        is_local: Whether the connection is the proxy's own, for example a health check.
        client: The client's address and port; None if the header has none, or none of IP.
    """

    is_local: bool = False
    client: tuple[IPv4Address | IPv6Address, int] | None = None


class ProxyHeaderReader:
    """
    Finds the header at a connection's beginning, however the bytes come in pieces.

    Attributes:
        rest: The bytes after the header.
    """

    def __init__(self) -> None:
        self.rest = b""
        self._bytes = bytearray()

    def feed(self, data: bytes) -> ProxyHeader | None:
        """
        Take bytes; return the header once it is complete.

        Raises:
            WrongProxyHeader: The bytes cannot become a header. This is raised at the first wrong byte.
        """
        raw = self._bytes
        raw += data
        if raw[: len(_V1)] == _V1[: len(raw)]:
            return self._read_line() if len(raw) > len(_V1) else None
        if raw[: len(_V2)] == _V2[: len(raw)]:
            return self._read_block() if len(raw) > len(_V2) else None
        raise WrongProxyHeader("it does not begin as a header does")

    def _read_line(self) -> ProxyHeader | None:
        end = self._bytes.find(b"\r\n", 0, MAX_PROXY_LINE_SIZE)
        if end < 0:
            if len(self._bytes) >= MAX_PROXY_LINE_SIZE:
                raise WrongProxyHeader("its line is too long")
            return None
        line = self._take(end + 2)[len(_V1) : -2]
        if line == b"UNKNOWN" or line.startswith(b"UNKNOWN "):
            return ProxyHeader()
        found = _LINE.fullmatch(line)
        if found is None:
            raise WrongProxyHeader("its line cannot be read")
        family = IPv4Address if found[1] == b"4" else IPv6Address
        try:
            source, _ = (family(text.decode()) for text in found.group(2, 3))
        except ValueError:
            raise WrongProxyHeader("an address cannot be read") from None
        if max(map(int, found.group(4, 5))) > 0xFFFF:
            raise WrongProxyHeader("a port is too large")
        return ProxyHeader(client=(source, int(found[4])))

    def _read_block(self) -> ProxyHeader | None:
        raw = self._bytes
        version, command = divmod(raw[12], 16)
        if version != 2 or command not in {_LOCAL, _PROXY}:
            raise WrongProxyHeader("its version or command is unknown")
        if len(raw) < _V2_FIXED_SIZE:
            return None
        family, protocol = divmod(raw[13], 16)
        if family > _UNIX or protocol > 2:
            raise WrongProxyHeader("its family or protocol is unknown")
        size = _V2_FIXED_SIZE + int.from_bytes(raw[14:16])
        if size > MAX_PROXY_HEADER_SIZE:
            raise WrongProxyHeader("it is too long")
        if len(raw) < size:
            return None
        header = self._take(size)
        if command == _LOCAL:
            return ProxyHeader(is_local=True)
        if family not in _ADDRESSES_SIZE or protocol != _STREAM:
            # The addresses in the header are not of a TCP connection.
            return ProxyHeader()
        addresses_end = _V2_FIXED_SIZE + _ADDRESSES_SIZE[family]
        if size < addresses_end:
            raise WrongProxyHeader("its addresses are cut off")
        _check_extensions(header, addresses_end)
        if family == _UNIX:
            return ProxyHeader()
        length = 4 if family == _INET else 16
        port = _V2_FIXED_SIZE + 2 * length
        source = ip_address(header[_V2_FIXED_SIZE : _V2_FIXED_SIZE + length])
        return ProxyHeader(client=(source, int.from_bytes(header[port : port + 2])))

    def _take(self, size: int) -> bytes:
        self.rest = bytes(self._bytes[size:])
        header = bytes(self._bytes[:size])
        self._bytes.clear()
        return header


def _check_extensions(header: bytes, start: int) -> None:
    """
    Check the lengths of the extensions after the addresses, and verify the checksum if there is one.
    """
    while start < len(header):
        kind = header[start]
        value = start + 3
        end = value + int.from_bytes(header[start + 1 : value])
        if len(header) < value or len(header) < end:
            raise WrongProxyHeader("an extension is cut off")
        if kind == _CRC32C:
            blank = b"%b\0\0\0\0%b" % (header[:value], header[end:])
            if end - value != 4 or checksums.crc32c(blank) != int.from_bytes(header[value:end]):
                raise WrongProxyHeader("its checksum is wrong")
        start = end


@implementer(IAddress)
@dataclass(frozen=True, slots=True)
class UnnamedClient:
    """
    A client whose proxy does not say its address.

    Attributes:
        host: The proxy's own address, the nearest that is known. What the client itself sends is not believed as the
            proxy's word.
    """

    host: str


class ProxyHeaderProtocol(Protocol):
    """
    A connection until its header is complete. Then another protocol takes the transport, and this one is dropped.
    """

    transport: Any
    _log = Logger()

    def __init__(self, factory: ProxyHeaderFactory, address: IAddress) -> None:
        self.factory: ProxyHeaderFactory = factory
        self._address = address
        self._reader = ProxyHeaderReader()
        self._is_over = False

    def connectionMade(self) -> None:
        site = self.factory.site
        self._deadline = Deadline(site.reactor, self.close)
        self._deadline.set(site.times.head)
        self._began_at = site.reactor.seconds()
        site.introduced.add(self)
        if site.limit is not None:
            # A proxy of many clients has as many connections as it needs, but its connections count against the limit
            # of all.
            site.limit.admits(self, None)

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        try:
            header = self._reader.feed(data)
        except WrongProxyHeader as error:
            self._log.warn(
                "a connection of {peer} was closed: wrong PROXY header: {reason}",
                peer=_host_of(self._address),
                reason=str(error),
            )
            self.close()
            return
        if header is not None:
            self._hand_over(self._told_address(header))

    def _told_address(self, header: ProxyHeader) -> IAddress:
        if header.is_local:
            return self._address
        if header.client is None:
            return UnnamedClient(_host_of(self._address))
        address = parse_ip_address(str(header.client[0]))
        kind = TCP4Address if address.version == 4 else TCP6Address
        return kind("TCP", str(address), header.client[1])

    def _hand_over(self, address: IAddress) -> None:
        successor = self.factory.wrapped.buildProtocol(address)
        if successor is None:
            self.close()
            return
        # From here on the transport calls the successor directly, so the header costs nothing after it was read.
        transport = self.transport
        self._leave()
        transport.protocol = successor
        successor.makeConnection(transport)
        self._end()
        if self._reader.rest:
            successor.dataReceived(self._reader.rest)

    def drain(self, seconds: float | None) -> None:
        """
        Wait at most this many seconds for the header; None closes the connection now.
        """
        if seconds is None:
            self.close()
        else:
            self._deadline.set(min(seconds, self.factory.site.times.head))

    def close(self) -> None:
        """
        Close the connection. A peer that does not speak the PROXY protocol gets no response.
        """
        self._is_over = True
        self.transport.abortConnection()

    abort = close_idle = close

    @property
    def idle_since(self) -> float | None:
        """
        When the connection was made, in the reactor's seconds; None if it is too young to be closed for others.
        """
        age = self.factory.site.reactor.seconds() - self._began_at
        return self._began_at if age >= MIN_EVICTION_AGE and not self._is_over else None

    def _leave(self) -> None:
        limit = self.factory.site.limit
        if limit is not None:
            limit.lost(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._deadline.cancel()
        self._leave()
        self.factory.site.introduction_ended(self)


def _host_of(address: IAddress) -> str:
    return str(getattr(address, "host", "-"))


class ProxyHeaderFactory(Factory):
    """
    Requires a header on each connection of a listed peer, if the site wants that. Other peers are clients themselves,
    and need none.

    Args:
        wrapped: Makes the protocol after the header: the site, or TLS over it.
        site: Says which peers are listed, and how long a header may take.
    """

    noisy = False

    def __init__(self, wrapped: IProtocolFactory, site: IntroducedSite) -> None:
        self.wrapped = wrapped
        self.site = site

    def buildProtocol(self, addr: IAddress) -> Any:  # type: ignore[override]
        trust = self.site.trust
        if not trust.proxy_protocol or not trust.peers.lists(addr):
            return self.wrapped.buildProtocol(addr)
        return ProxyHeaderProtocol(self, addr)

    def logPrefix(self) -> str:
        # Twisted logs this name when a port opens. Most ports expect no header.
        wrapped: Any = self.wrapped
        return wrapped.logPrefix() if ILoggingContext.providedBy(wrapped) else type(wrapped).__name__

    def doStart(self) -> None:
        self.wrapped.doStart()
        super().doStart()

    def doStop(self) -> None:
        super().doStop()
        self.wrapped.doStop()
