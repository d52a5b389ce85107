"""
A client that connects again resumes its TLS session, and need not pay for another whole handshake.
"""

from __future__ import annotations

import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from s3proxy.daemon.sockets import Sockets
from s3proxy.transport.certificates import read_server_files
from s3proxy.transport.handshakes import Handshakes, TLSOptions, TLSServer
from tests.support.harness import until

reactor: Any = _reactor


class Echo(Protocol):
    """
    Sends back what it gets.
    """

    open_count = 0

    def connectionMade(self) -> None:
        type(self).open_count += 1

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        type(self).open_count -= 1

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


def talk(address: tuple[str, int], context: ssl.SSLContext, count: int) -> list[tuple[str | None, bool]]:
    """
    Make connections one after another; return the version of each, and whether it resumed the session before.
    """
    found: list[tuple[str | None, bool]] = []
    session = None
    for _ in range(count):
        with (
            socket.create_connection(address) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as client,
        ):
            client.sendall(b"hello")
            assert client.recv(5) == b"hello"
            found.append((client.version(), bool(client.session_reused)))
            session = client.session
    return found


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest_twisted.ensureDeferred
async def test_a_session_is_resumed(version: str, tmp_path: Path) -> None:
    """
    With each version of TLS.
    """
    authority, path = CA(), tmp_path / "server.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    sockets = Sockets(reactor)
    factory = Factory.forProtocol(Echo)
    factory.noisy = False
    handshakes = Handshakes([read_server_files(path, path)], TLSOptions(), datetime.now(UTC))
    endpoint = f"ssl:0:interface=127.0.0.1:privateKey={path}"
    port = sockets.listen("tls", endpoint, factory, tls=TLSServer(handshakes))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version.replace(".", "_")]

    found = await deferToThread(talk, ("127.0.0.1", port.getHost().port), context, 3)  # type: ignore[attr-defined]

    await until(lambda: not Echo.open_count)
    stopped = port.stopListening()
    if isinstance(stopped, Deferred):
        await stopped
    sockets.keep_only(())
    assert found == [(version, False), (version, True), (version, True)]


@pytest.mark.parametrize("endpoint", ["ssl:0", "tls:certificates:0"])
def test_an_endpoint_with_tls_is_never_served_without_it(endpoint: str) -> None:
    """
    Not even by mistake.
    """
    with pytest.raises(ValueError, match=endpoint):
        Sockets(reactor).listen("tls", endpoint, Factory.forProtocol(Echo))
