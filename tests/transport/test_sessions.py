"""
Sessions towards a server: resumed by the next connection, but never without a certificate that was accepted within the
hour.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest
from trustme import CA
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface.verify import verifyObject

from s3proxy.transport.sessions import MAX_SESSION_TIME, SessionKeeper, keep_session

AUTHORITY = CA()
VERSIONS = ["TLSv1.2", "TLSv1.3"]


class Received(Protocol):
    """
    What a client's connection gets.
    """

    data = b""

    def dataReceived(self, data: bytes) -> None:
        self.data += data


class Servers:
    """
    Servers with one certificate and one key for tickets.
    """

    def __init__(self, directory: Path, version: str = "TLSv1.3", name: str = "s3.test") -> None:
        path = directory / f"{name}.pem"
        AUTHORITY.issue_cert(name).private_key_and_cert_chain_pem.write_to_path(path)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(path)
        self.context.minimum_version = self.context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]


def make_keeper(times: list[float]) -> SessionKeeper:
    """
    Return the keeper for s3.test. The last of the times is now.
    """
    trusted = Certificate.loadPEM(AUTHORITY.cert_pem.bytes())
    options = optionsForClientTLS("s3.test", trustRoot=trusted, extraCertificateOptions={"enableSessionTickets": True})
    return SessionKeeper(options, lambda: times[-1])


def connect(keeper: SessionKeeper, servers: Servers, *, is_kept: bool = True) -> bool | None:
    """
    Make a connection, and receive a byte. Return whether its session was resumed; None if the server was refused.

    Args:
        is_kept: Whether its session is kept, once the handshake has succeeded.
    """
    factory = Factory.forProtocol(Received)
    factory.noisy = False
    client = TLSMemoryBIOFactory(keeper, True, factory, Clock()).buildProtocol(IPv4Address("TCP", "127.0.0.1", 443))
    below = StringTransport()
    client.makeConnection(below)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = servers.context.wrap_bio(to_server, to_client, server_side=True)
    has_shaken = False
    for _ in range(6):
        to_server.write(below.value())
        below.clear()
        if not has_shaken:
            try:
                server.do_handshake()
                has_shaken = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLError:
                # The client has sent an alert.
                return None
        if data := to_client.read():
            client.dataReceived(data)
    assert has_shaken
    if is_kept:
        keep_session(client)
    server.write(b"!")
    # The tickets of TLS 1.3 come with it.
    client.dataReceived(to_client.read())
    assert client.wrappedProtocol.data == b"!"
    return bool(server.session_reused)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_next_connection_resumes(version: str, tmp_path: Path) -> None:
    """
    And the one after it.
    """
    keeper, servers = make_keeper([0.0]), Servers(tmp_path, version)

    assert verifyObject(IOpenSSLClientConnectionCreator, keeper)
    assert [connect(keeper, servers) for _ in range(4)] == [False, True, True, True]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_kept_only_after_its_handshake_has_succeeded(version: str, tmp_path: Path) -> None:
    """
    As long as nobody says so, the certificate is judged each time.
    """
    keeper, servers = make_keeper([0.0]), Servers(tmp_path, version)

    assert [connect(keeper, servers, is_kept=False) for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_certificate_is_judged_each_hour(version: str, tmp_path: Path) -> None:
    """
    However often the session is resumed in between: its age counts from the handshake that showed the certificate.
    """
    times = [0.0]
    keeper, servers = make_keeper(times), Servers(tmp_path, version)
    resumed = []
    for now in (0.0, MAX_SESSION_TIME / 2, MAX_SESSION_TIME - 1, MAX_SESSION_TIME, MAX_SESSION_TIME * 2 - 1):
        times.append(now)
        resumed.append(connect(keeper, servers))

    assert resumed == [False, True, True, False, True]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_connection_of_before_brings_no_old_session_back(version: str, tmp_path: Path) -> None:
    """
    If it resumed a session, and is kept only after the hour, its session is as old as the one that it resumed.
    """
    times = [0.0]
    keeper, servers = make_keeper(times), Servers(tmp_path, version)
    assert connect(keeper, servers) is False
    assert connect(keeper, servers) is True
    late = keeper._last
    times.append(MAX_SESSION_TIME)
    assert connect(keeper, servers) is False
    assert late is not None

    keeper.keep(late)

    assert connect(keeper, servers) is False


@pytest.mark.parametrize("version", VERSIONS)
def test_another_server_that_knows_no_session_is_judged(version: str, tmp_path: Path) -> None:
    """
    It shows its certificate: one of the right name is accepted, another is refused.
    """
    keeper, servers = make_keeper([0.0]), Servers(tmp_path, version)
    assert connect(keeper, servers) is False

    assert connect(keeper, Servers(tmp_path, version, "other.test")) is None
    assert connect(keeper, Servers(tmp_path, version)) is False
    assert connect(keeper, servers) is False


def test_a_server_without_tickets(tmp_path: Path) -> None:
    """
    Each connection has a whole handshake.
    """
    keeper, servers = make_keeper([0.0]), Servers(tmp_path)
    servers.context.num_tickets = 0

    assert [connect(keeper, servers) for _ in range(3)] == [False, False, False]


@pytest.mark.parametrize("transport", [None, object()])
def test_what_is_not_tls_has_no_session(transport: Any) -> None:
    """
    A plain connection of a backend, or one of an application's own endpoint.
    """
    keep_session(transport)
