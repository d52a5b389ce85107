"""
Endpoint strings: where a listener listens, and the files of its TLS.

Twisted parses the endpoints without TLS. Those with TLS are parsed here, with the arguments that Twisted gives them:
Twisted would read their files at once, with paths that start from the working directory, and older releases have no
``tls:``.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import AdoptedStreamServerEndpoint, serverFromString

from s3proxy.configuration.tables import NotAccepted

MAX_PORT = 65535
"""
The highest port. The socket module takes larger numbers modulo 65536.
"""

ENDPOINT_KINDS = ("tcp", "tcp6", "ssl", "tls", "unix", "systemd")
"""
The types of Twisted endpoint strings that a listener accepts. ``haproxy:`` is not among them: Twisted's wrapper drops a
valid connection whose PROXY header arrives in pieces. ``proxy_protocol`` is the replacement.
"""

_FIELD = re.compile(r"(?:[^:\\]|\\.)*", re.DOTALL)
_NAMED = re.compile(r"((?:[^=\\]|\\.)*)=(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TCPAddress:
    """
    The TCP address where an endpoint would listen.

    Attributes:
        interface: The interface's address; empty for all of IPv4.
    """

    port: int
    interface: str


@dataclass(frozen=True, slots=True)
class TLSEndpoint:
    """
    An endpoint with TLS. Paths are as written: they start from the directory of the configuration file.

    Attributes:
        directory: The directory with the certificates of ``tls:``; empty for ``ssl:``.
        private_key: The file of the private key.
        certificate: The file of the certificate.
        chain: The file of further certificates of its issuers; empty for none.
        method: The name of an OpenSSL method; empty for the default.
        dh_parameters: The file of Diffie-Hellman parameters; empty for none.
    """

    address: TCPAddress
    directory: str = ""
    private_key: str = ""
    certificate: str = ""
    chain: str = ""
    method: str = ""
    dh_parameters: str = ""


def parse_tls(endpoint: str) -> TLSEndpoint | None:
    """
    Return an endpoint with TLS; None if the string is one of another kind.

    Raises:
        ValueError, TypeError: The arguments are not those of the endpoint.
    """
    kind, _, rest = endpoint.partition(":")
    if kind not in _TLS_KINDS:
        return None
    positional: list[str] = []
    named: dict[str, str] = {}
    for field in _fields(rest):
        found = _NAMED.fullmatch(field)
        if found is None:
            positional.append(_unescaped(field))
        else:
            named[_unescaped(found[1])] = _unescaped(found[2])
    return _TLS_KINDS[kind](*positional, **named)


def _fields(text: str) -> list[str]:
    found, position = [], 0
    while True:
        field = _FIELD.match(text, position)
        end = position if field is None else field.end()
        found.append(text[position:end])
        if end >= len(text) or text[end] != ":":
            return found
        position = end + 1


def _unescaped(text: str) -> str:
    return _ESCAPED.sub(r"\1", text)


# The names and the order of the arguments are Twisted's.


def _ssl(
    port: str,
    privateKey: str = "server.pem",
    certKey: str = "",
    sslmethod: str = "",
    interface: str = "",
    backlog: str = "50",
    extraCertChain: str = "",
    dhParameters: str = "",
) -> TLSEndpoint:
    if sslmethod and not (sslmethod.endswith("_METHOD") and hasattr(SSL, sslmethod)):
        raise ValueError(f'"{sslmethod}" is not a method of OpenSSL')
    int(backlog)
    return TLSEndpoint(
        TCPAddress(int(port), interface),
        private_key=privateKey,
        certificate=certKey or privateKey,
        chain=extraCertChain,
        method=sslmethod,
        dh_parameters=dhParameters,
    )


def _tls(path: str, port: str = "443", backlog: str = "50", interface: str = "::") -> TLSEndpoint:
    int(backlog)
    if not path:
        raise ValueError("no path is given")
    return TLSEndpoint(TCPAddress(int(port), interface), directory=path)


_TLS_KINDS: dict[str, Callable[..., TLSEndpoint]] = {"ssl": _ssl, "tls": _tls}


def listening_address(endpoint: str) -> TCPAddress | str | None:
    """
    Return the address where an endpoint would listen: a path for a unix socket, None for a systemd socket.
    """
    tls = parse_tls(endpoint)
    if tls is not None:
        return tls.address
    found = _Asked()
    made: Any = serverFromString(found, endpoint)
    if not isinstance(made, AdoptedStreamServerEndpoint):
        made.listen(None)
    return found.address


class _Asked:
    """
    A stand-in for the reactor that records where an endpoint would listen.
    """

    address: TCPAddress | str | None = None

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> None:
        self.address = TCPAddress(port, interface)

    def listenUNIX(self, address: str, factory: Any, **more: Any) -> None:
        self.address = address


def excludes(one: TCPAddress | str, other: TCPAddress | str) -> bool:
    """
    Return True if two sockets cannot both listen.
    """
    if not isinstance(one, TCPAddress) or not isinstance(other, TCPAddress):
        return one == other
    wide = {"", "0.0.0.0", "::"}  # noqa: S104
    overlaps = (":" in one.interface) == (":" in other.interface) and not wide.isdisjoint(
        {one.interface, other.interface}
    )
    return one.port == other.port != 0 and (one.interface == other.interface or overlaps)


# The check of an option


def check_endpoint(value: str) -> None:
    """
    Check that a listener can have an endpoint. The files of its TLS are not read.

    Raises:
        NotAccepted: The kind, an argument or the address is not valid.
    """
    if value.partition(":")[0] not in ENDPOINT_KINDS:
        raise NotAccepted
    try:
        address = listening_address(value)
    except Exception as error:
        raise NotAccepted(_why_no_endpoint(error)) from None
    if isinstance(address, TCPAddress):
        if not 0 <= address.port <= MAX_PORT:
            raise NotAccepted(f"{address.port} is not a port from 0 to {MAX_PORT}")
        try:
            socket.getaddrinfo(address.interface or None, address.port, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
        except OSError as error:
            raise NotAccepted(f"interface={address.interface}: {error.strerror}") from None
    elif address == "":
        raise NotAccepted("no path is given")
    elif address is not None and address.startswith("/") and not Path(address).parent.is_dir():
        # A relative path starts from the working directory, which may be another one when the daemon starts.
        raise NotAccepted(f"{Path(address).parent}: not a directory")


def _why_no_endpoint(error: Exception) -> str:
    """
    Return a message for an error of an endpoint parser, which may be ValueError, TypeError or IndexError.
    """
    text = str(error)
    if found := re.search(r"unexpected keyword argument '(\w+)'", text):
        return f'unknown argument "{found[1]}="'
    if found := re.search(r"missing \d+ required positional argument: '(\w+)'", text):
        return f'missing argument "{found[1]}="'
    if found := re.search(r"invalid literal for int\(\) with base \d+: '(.*)'", text):
        return f'"{found[1]}" is not a number'
    if isinstance(error, LookupError):
        return "systemd passed no such socket to this process"
    if isinstance(error, TypeError):
        return "too many or too few arguments"
    return text or type(error).__name__
