"""
Over TLS s3proxy sends requests only to the backend itself, with its right name, issuer and date. Also: which bodies are
spooled.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions, TLSVersion

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest
from s3proxy.backend.trouble import why
from s3proxy.configuration.options import BackendSettings
from s3proxy.daemon.backends import CannotStart, make_endpoint, spooled_size
from s3proxy.profiles.known import PROFILES
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.harness import AUTHORITY, server_context, turns, until

HEAD = b"GET / HTTP/1.1\r\nHost: backend\r\n\r\n"


class Plain(Protocol):
    """
    A server without TLS, which responds to anything.
    """

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


async def ask(ca_file: Path | None, context: Any) -> tuple[BackendFault | None, FaultyBackend]:
    """
    Send a request to a server with this certificate; return the fault, or None, and the server.
    """
    error, server = await ask_for_error(ca_file, context)
    return error.fault if error is not None else None, server


async def ask_for_error(ca_file: Path | None, context: Any) -> tuple[BackendError | None, FaultyBackend]:
    """
    The same, with the error itself. Without a context the server does not use TLS.
    """
    server = FaultyBackend()
    if context is None:
        plain = Factory.forProtocol(Plain)
        plain.noisy = False
        port = reactor.listenTCP(0, plain, interface="127.0.0.1")
    else:
        port = reactor.listenSSL(0, server, context, interface="127.0.0.1")
    settings = BackendSettings(
        name="b", url=f"https://127.0.0.1:{port.getHost().port}", ca_file=None if ca_file is None else str(ca_file)
    )
    pool = Pool(reactor, make_endpoint(settings, settings.places[0], 5.0, reactor), BackendLimits(), "the-address")
    found = None
    try:
        response = await pool.send(BackendRequest(b"GET", HEAD))
        response.abort()
    except BackendError as error:
        found = error
    await pool.close()
    await port.stopListening()
    await until(lambda: all(connection.lost for connection in server.connections))
    await turns(3)
    return found, server


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    """
    The file of the issuer of the tests' servers.
    """
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return path


@pytest_twisted.ensureDeferred
async def test_a_backend_whose_certificate_is_right(ca_file: Path) -> None:
    """
    It gets the request.
    """
    fault, server = await ask(ca_file, server_context())

    assert fault is None
    assert len(server.requests) == 1


@pytest_twisted.ensureDeferred
async def test_the_next_connection_to_a_backend_resumes_the_session(ca_file: Path) -> None:
    """
    With TLS 1.2 a resumed session has the master key of the first.
    """
    server, keys = FaultyBackend(), []
    server.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
    context = server_context()
    options = CertificateOptions(
        context.privateKey,
        context.certificate,
        enableSessions=True,
        enableSessionTickets=True,
        lowerMaximumSecurityTo=TLSVersion.TLSv1_2,
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_2,
    )
    port = reactor.listenSSL(0, server, options, interface="127.0.0.1")
    settings = BackendSettings(name="b", url=f"https://127.0.0.1:{port.getHost().port}", ca_file=str(ca_file))
    pool = Pool(reactor, make_endpoint(settings, settings.places[0], 5.0, reactor), BackendLimits(), "the-address")
    for number in range(3):
        response = await pool.send(BackendRequest(b"GET", HEAD))
        keys.append(server.connections[number].transport.getHandle().master_key())
        response.abort()
        await until(lambda: all(connection.lost for connection in server.connections))
    await pool.close()
    await port.stopListening()
    await turns(3)

    assert len(server.connections) == 3
    assert len(keys[0]) == 48
    assert keys[0] == keys[1] == keys[2]


@pytest.mark.parametrize("wrong", ["name", "issuer", "date"])
@pytest_twisted.ensureDeferred
async def test_a_backend_whose_certificate_is_wrong(ca_file: Path, wrong: str) -> None:
    """
    Another name, another issuer or an expired date: s3proxy sends nothing, above all not its signature.
    """
    fault, server = await ask(ca_file, server_context(wrong))

    assert fault is BackendFault.UNREACHABLE
    assert server.requests == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("name", "its certificate is not for 127.0.0.1"),
        ("issuer", "certificate verify failed: "),
        ("date", "certificate verify failed: certificate has expired"),
        ("plain", "the server there does not use TLS"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_why_tls_failed_is_told_in_words(ca_file: Path, wrong: str, told: str) -> None:
    """
    With the address, and OpenSSL's own description of what is wrong with a certificate.
    """
    error, _ = await ask_for_error(ca_file, None if wrong == "plain" else server_context(wrong))

    assert error is not None
    assert error.address == "the-address"
    assert told in why(error)
    assert not why(error).endswith(": ")


@pytest_twisted.ensureDeferred
async def test_only_the_own_issuer_is_trusted_where_one_is_set(tmp_path: Path) -> None:
    """
    With another issuer set, and with none, the tests' server is not trusted.
    """
    other = tmp_path / "other.pem"
    CA().cert_pem.write_to_path(other)

    for path in (other, None):
        fault, server = await ask(path, server_context())
        assert fault is BackendFault.UNREACHABLE
        assert server.requests == []


def test_a_file_without_a_certificate(tmp_path: Path) -> None:
    """
    It is an error at the start: an empty list of issuers would trust no backend, or those of the system.
    """
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    settings = BackendSettings(name="b", url="https://127.0.0.1:1", ca_file=str(path))

    with pytest.raises(CannotStart, match="contains no certificate"):
        make_endpoint(settings, settings.places[0], 5.0, reactor)


@pytest.mark.parametrize(
    ("profile", "options", "size"),
    [
        ("generic", {}, 0),
        ("generic", {"commit": "spool"}, sys.maxsize),
        ("generic", {"commit": "spool", "spool_up_to": 1000}, 1000),
        ("generic", {"spool_up_to": 1000}, 1000),
        ("walrus-3.4", {}, 64 << 20),
        ("walrusbackend-4.x", {}, 64 << 20),
        ("osg-4.3", {}, 64 << 20),
        ("walrus-3.4", {"commit": "tail"}, 0),
        ("walrus-3.4", {"commit": "spool"}, sys.maxsize),
        ("walrus-3.4", {"spool_up_to": 1000}, 1000),
    ],
)
def test_which_bodies_are_spooled(profile: str, options: dict[str, Any], size: int) -> None:
    """
    A truncated body costs the Eucalyptus family more than that body. The operator's option always decides.
    """
    settings = BackendSettings(name="b", url="http://127.0.0.1:1", profile=profile, **options)

    assert spooled_size(settings, PROFILES[profile]) == size
