"""
Endpoints that connect to a server, with TLS that is verified by service-identity.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from OpenSSL import crypto
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates

from s3proxy.transport.sessions import SessionKeeper

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """
    The files for TLS connections to one server.

    Attributes:
        ca_file: PEM certificates of the authorities that may issue the server's certificate; None for the system's.
        client_certificate_file: Our own PEM certificate, with its chain; None for none.
        client_private_key_file: The PEM private key of that certificate.
    """

    ca_file: str | None = None
    client_certificate_file: str | None = None
    client_private_key_file: str | None = None


class BadTLSFiles(Exception):
    """
    A certificate or key file is missing or not valid; the text says why.
    """


def make_endpoint(
    reactor: Any,
    host: str,
    port: int,
    connect_time: float,
    *,
    tls: TLSFiles | None = None,
    unix_socket: str | None = None,
) -> IStreamClientEndpoint:
    """
    Return the endpoint that connects to a server.

    Args:
        host: A name or an address, without the brackets of an IPv6 address. The certificate must be for it.
        connect_time: Maximum seconds to connect.
        tls: None for a connection without TLS.
        unix_socket: Where to connect to instead of the host and the port.

    Raises:
        BadTLSFiles: A certificate or key file is missing or not valid.
    """
    endpoint: IStreamClientEndpoint
    if unix_socket is not None:
        endpoint = UNIXClientEndpoint(reactor, unix_socket, timeout=connect_time)
    elif isIPAddress(host):
        endpoint = TCP4ClientEndpoint(reactor, host, port, timeout=connect_time)
    elif isIPv6Address(host):
        endpoint = TCP6ClientEndpoint(reactor, host, port, timeout=connect_time)
    else:
        endpoint = HostnameEndpoint(reactor, host, port, timeout=connect_time)
    if tls is None:
        return endpoint
    wrapped: IStreamClientEndpoint = wrapClientTLS(SessionKeeper(_checked_tls(tls, host), reactor.seconds), endpoint)
    return wrapped


def check_tls_files(tls: TLSFiles | None, host: str) -> None:
    """
    Read the files of TLS, before there is a reactor.

    Raises:
        BadTLSFiles: A certificate or key file is missing or not valid.
    """
    if tls is not None:
        _checked_tls(tls, host)


def _checked_tls(tls: TLSFiles, host: str) -> Any:
    try:
        return _client_tls(tls, host)
    except (OSError, crypto.Error, ValueError) as error:
        raise BadTLSFiles(str(error)) from None


def _client_tls(tls: TLSFiles, host: str) -> Any:
    trust_root = None
    if tls.ca_file is not None:
        trust_root = trustRootFromCertificates(_read_certificates(tls.ca_file))
    extra: dict[str, Any] = {"enableSessionTickets": True}
    if tls.client_certificate_file is not None and tls.client_private_key_file is not None:
        own, *chain = [certificate.original for certificate in _read_certificates(tls.client_certificate_file)]
        private_key = Path(tls.client_private_key_file).read_bytes()
        extra["certificate"] = own
        extra["extraCertChain"] = chain
        extra["privateKey"] = crypto.load_privatekey(crypto.FILETYPE_PEM, private_key)
    return optionsForClientTLS(host, trustRoot=trust_root, extraCertificateOptions=extra)


def _read_certificates(path: str) -> list[Any]:
    found = _PEM.findall(Path(path).read_text("ascii"))
    if not found:
        raise ValueError(f"{path} contains no certificate")
    return [Certificate.loadPEM(pem) for pem in found]
