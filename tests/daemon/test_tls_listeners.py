"""
Listeners with TLS on real sockets: names, reloads under load, and clients that must show a certificate.
"""

from __future__ import annotations

import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from OpenSSL import SSL
from twisted.internet.defer import gatherResults
from twisted.internet.threads import deferToThread
from twisted.logger import formatEvent, globalLogPublisher

from s3proxy.commands.cli import main
from tests.support.certificates import VERSIONS, client_context, host, issue, shake
from tests.support.daemon import LONG, twistd_arguments
from tests.support.harness import until
from tests.support.processes import free_port, running, write_configuration
from tests.support.tls_daemon import SERVERS, TLSDaemon
from tests.support.workers import Supervised

GET = b"GET /bucket/key HTTP/1.1\r\nHost: a.test\r\n\r\n"
REFUSED = b"HTTP/1.1 403 "


@pytest.fixture
def errors() -> Iterator[list[str]]:
    """
    Return the errors in the log.
    """
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") is not None and event["log_level"].name == "error":
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def told() -> Iterator[list[str]]:
    """
    Return the lines in the log.
    """
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


# Certificates


@pytest.mark.parametrize("version", VERSIONS)
@pytest_twisted.ensureDeferred
async def test_the_name_decides(version: str, tmp_path: Path) -> None:
    """
    Two names, and none; with the protocol that s3proxy speaks.
    """
    daemon = TLSDaemon(tmp_path)
    context = daemon.client(version=version)
    context.set_alpn_protocols(["h2", "http/1.1"])
    found = [await daemon.shake(context, name, request=GET) for name in ("b.test", "a.test")]
    context.check_hostname = False
    found.append(await daemon.shake(context, None, request=GET))
    await daemon.close()

    assert [each.names for each in found] == [("b.test",), ("a.test",), ("a.test",)]
    assert {(each.version, each.protocol) for each in found} == {(version, "http/1.1")}
    assert all(each.response.startswith(REFUSED) for each in found)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl command")
@pytest.mark.parametrize("name", ["a.test", "b.test"])
@pytest_twisted.ensureDeferred
async def test_the_client_of_openssl(name: str, tmp_path: Path) -> None:
    """
    It verifies the chain and the name, and gets a response.
    """
    daemon = TLSDaemon(tmp_path)
    (tmp_path / "ca.pem").write_bytes(SERVERS.cert_pem.bytes())
    command = ["openssl", "s_client", "-quiet", "-verify_return_error", "-CAfile", str(tmp_path / "ca.pem")]
    command += ["-verify_hostname", name, "-servername", name, "-connect", f"127.0.0.1:{daemon.port}", "-ign_eof"]
    request = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")

    ran = await deferToThread(subprocess.run, command, input=request, capture_output=True, check=False, timeout=60)
    await daemon.close()

    assert ran.stdout.startswith(REFUSED), ran.stderr


@pytest_twisted.ensureDeferred
async def test_the_client_of_pyopenssl(tmp_path: Path) -> None:
    """
    It shows a certificate of its own.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem")
    daemon.client(host("x.test"))
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(str(tmp_path / "client.crt"))
    context.use_privatekey_file(str(tmp_path / "client.crt"))

    def connect() -> tuple[int, bytes]:
        with socket.create_connection(("127.0.0.1", daemon.port), timeout=30) as plain:
            plain.settimeout(None)
            connection = SSL.Connection(context, plain)
            connection.set_tlsext_host_name(b"b.test")
            connection.set_connect_state()
            connection.sendall(GET)
            response = connection.recv(65536)
            certificate = connection.get_peer_certificate()
            assert certificate is not None
            return certificate.get_serial_number(), response

    serial = daemon.renew("b.test")
    daemon.service.reload()
    found, response = await deferToThread(connect)
    await daemon.close()

    assert f"{found:X}" == serial
    assert response.startswith(REFUSED)


class Load:
    """
    Clients in threads, which connect until they are told to stop.

    Attributes:
        failures: The errors of handshakes and responses.
        serials: The serial numbers of the certificates that were seen, by name.
        count: The number of connections that succeeded.
    """

    def __init__(self, port: int, contexts: list[ssl.SSLContext]) -> None:
        self.failures: list[str] = []
        self.serials: dict[str, set[str]] = {"a.test": set(), "b.test": set()}
        self.count = 0
        self._is_ending = False
        self._port = port
        self._executor = ThreadPoolExecutor(len(contexts))
        self._running = [
            self._executor.submit(self._run, context, name)
            for context, name in zip(contexts, ["a.test", "b.test"] * len(contexts), strict=False)
        ]

    def _run(self, context: ssl.SSLContext, name: str) -> None:
        session = None
        while not self._is_ending:
            try:
                # Every other connection offers the session of the one before.
                made = shake(self._port, context, name, request=GET, session=session)
            except OSError as error:
                self.failures.append(f"{name}: {error!r}")
                session = None
                continue
            session = made.session if session is None else None
            self.serials[name].add(made.serial)
            self.count += 1
            if made.names != (name,) or not made.response.startswith(b"HTTP/1.1 "):
                self.failures.append(f"{name}: {made}")

    def end(self) -> None:
        """
        Let each client end with its connection.
        """
        self._is_ending = True

    @property
    def has_ended(self) -> bool:
        """
        Whether all clients have ended.
        """
        return all(each.done() for each in self._running)


@pytest.mark.parametrize("version", VERSIONS)
@pytest_twisted.ensureDeferred
async def test_no_handshake_fails_during_reloads(version: str, tmp_path: Path) -> None:
    """
    Five reloads with new certificates for both names while clients connect; each new certificate is seen.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem")
    context = daemon.client(host("x.test"), version=version)
    load = Load(daemon.port, [context] * 4)
    written: dict[str, set[str]] = {"a.test": set(), "b.test": set()}
    for number in range(1, 6):
        await until(lambda number=number: load.count >= 40 * number or load.failures, LONG)
        for name, serials in written.items():
            serials.add(daemon.renew(name).rjust(40, "0")[-40:])
        assert daemon.service.reload()
        last = {name: load.serials[name].copy() for name in written}
        await until(lambda last=last: load.failures or all(load.serials[name] - last[name] for name in last), LONG)
    await until(lambda: load.count >= 240 or load.failures, LONG)
    load.end()
    await until(lambda: load.has_ended, LONG)
    await daemon.close()

    assert load.failures == []
    assert load.count >= 240
    for name, serials in written.items():
        assert {each.rjust(40, "0") for each in load.serials[name]} >= serials


@pytest_twisted.ensureDeferred
async def test_a_broken_file_changes_nothing(tmp_path: Path, errors: list[str]) -> None:
    """
    A reload that finds one keeps all former certificates, and writes one line.
    """
    daemon = TLSDaemon(tmp_path)
    context = daemon.client()
    before = await daemon.shake(context, "a.test")
    daemon.renew("a.test")
    (daemon.certificates / "b.test.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    reloaded = daemon.service.reload()
    after = await daemon.shake(context, "a.test")
    other = await daemon.shake(context, "b.test")
    daemon.renew("b.test")
    recovered = daemon.service.reload()
    renewed = await daemon.shake(context, "a.test")
    await daemon.close()

    assert (reloaded, recovered) == (False, True)
    why = "incomplete PEM"
    assert after.serial == before.serial != renewed.serial
    assert other.names == ("b.test",)
    assert errors == [
        f"reload failed, keeping the old configuration: server.listen[0]: {daemon.certificates}/b.test.pem: {why}"
    ]


@pytest_twisted.ensureDeferred
async def test_workers_reload_without_a_failed_handshake(tmp_path: Path) -> None:
    """
    New workers begin with new certificates while the former ones still serve. The supervisor tells when they expire.
    """
    (tmp_path / "certificates").mkdir()
    serials = {"a.test": set(), "b.test": set()}

    def renew() -> None:
        for name, found in serials.items():
            made = issue(SERVERS, host(name))
            made.write(tmp_path / f"{name}.new").rename(tmp_path / "certificates" / f"{name}.pem")
            found.add(f"{made.certificate.serial_number:X}".rjust(40, "0"))

    renew()
    port = free_port()
    supervised = Supervised(tmp_path)
    configuration = supervised.daemon.configuration
    endpoint = f"tls:certificates:{port}:interface=127.0.0.1"
    configuration.write_text(
        configuration.read_text().replace(f"tcp:{supervised.daemon.port}:interface=127.0.0.1", endpoint)
    )
    with running(twistd_arguments(configuration), tmp_path) as process:
        await supervised.until_ready(process)
        end = await supervised.metric("s3proxy_certificate_end_time_seconds", listener=endpoint)
        load = Load(port, [client_context(SERVERS)] * 2)
        await until(lambda: load.count >= 30 or load.failures, LONG)
        renew()
        process.send_signal(signal.SIGHUP)
        await until(
            lambda: load.failures or all(len(load.serials[name]) == len(serials[name]) for name in serials), LONG
        )
        load.end()
        await until(lambda: load.has_ended, LONG)
        # One certificate has one end, however many workers show it.
        latest = await supervised.metric("s3proxy_certificate_end_time_seconds", listener=endpoint)
    await supervised.daemon.close()

    assert load.failures == []
    assert {name: {each.rjust(40, "0") for each in found} for name, found in load.serials.items()} == serials
    assert 1_700_000_000 < end <= latest < 3_000_000_000


@pytest.mark.parametrize("workers", [1, 2])
def test_a_daemon_with_a_broken_certificate_does_not_start(
    workers: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    It says why in one line, without a traceback; ``s3proxy check`` says the same.
    """
    (tmp_path / "certificates").mkdir()
    (tmp_path / "certificates" / "a.pem").write_text("")
    path = write_configuration(
        tmp_path, "http://127.0.0.1:1", listen="tls:certificates:0", server=f"workers = {workers}"
    )

    with running(twistd_arguments(path), tmp_path) as process:
        assert process.wait(60) != 0
    told = f"{path}: server.listen[0]: {tmp_path}/certificates/a.pem: contains no PEM"
    assert main(["check", str(path)]) == 1

    output = (tmp_path / "process.log").read_text()
    assert output.count(told) == 1
    assert "Traceback" not in output
    assert capsys.readouterr().err == f"{told}\n"


# Clients


@pytest.mark.parametrize("version", VERSIONS)
@pytest_twisted.ensureDeferred
async def test_a_client_without_the_right_certificate_is_refused(version: str, tmp_path: Path, told: list[str]) -> None:
    """
    In the handshake. With TLS 1.3 a client learns it at its first read. No request reaches s3proxy. The log says why.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem", client_names=["*.backup.test"])
    wrong = [
        daemon.client(version=version),
        daemon.client(host("other.test"), version=version),
    ]
    wrong.append(daemon.client(host("x.backup.test"), authority=SERVERS, version=version))
    failed = []
    for context in wrong:
        try:
            await daemon.shake(context, request=GET)
        except OSError as error:
            failed.append(error)
    served = await daemon.ask(daemon.client(host("x.backup.test"), version=version), GET)
    await daemon.close()

    assert len(failed) == len(wrong)
    assert [line.partition(": ")[2] for line in told if line.startswith("TLS with 127.0.0.1 failed: ")] == [
        "peer did not return a certificate",
        "certificate verify failed",
        "certificate verify failed",
    ]
    assert served.startswith(REFUSED)
    assert len(daemon.requesters()) == 1


@pytest.mark.parametrize("version", VERSIONS)
@pytest_twisted.ensureDeferred
async def test_a_reload_that_removes_an_authority_ends_its_sessions(version: str, tmp_path: Path) -> None:
    """
    The client's session is not resumed, and its open connection serves no further request.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem", client_keys={"x.test": "BACKUP"})
    context = daemon.client(host("x.test"), version=version)
    first = await daemon.shake(context, request=GET)
    resumed = await daemon.shake(context, request=GET, session=first.session)
    kept = daemon.client(host("x.test"), version=version)
    opened = await deferToThread(_open, daemon.port, kept)
    served = await deferToThread(_exchange, opened)
    (tmp_path / "clients.pem").write_bytes(SERVERS.cert_pem.bytes())
    assert daemon.service.reload()
    after = await deferToThread(_exchange, opened)
    failure = None
    try:
        await daemon.shake(context, request=GET, session=resumed.session)
    except OSError as error:
        failure = error
    opened.close()
    await daemon.close()

    assert first.response.startswith(b"HTTP/1.1 200")
    assert (resumed.is_resumed, resumed.response[:12]) == (True, b"HTTP/1.1 200")
    assert served.startswith(b"HTTP/1.1 200")
    assert after == b""
    assert failure is not None


@pytest_twisted.ensureDeferred
async def test_a_reload_with_the_same_authorities_keeps_connections(tmp_path: Path) -> None:
    """
    New certificates of the server do not concern them.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem", client_keys={"x.test": "BACKUP"})
    opened = await deferToThread(_open, daemon.port, daemon.client(host("x.test")))
    first = await deferToThread(_exchange, opened)
    daemon.renew("a.test")
    assert daemon.service.reload()
    second = await deferToThread(_exchange, opened)
    opened.close()
    await daemon.close()

    assert first.startswith(b"HTTP/1.1 200")
    assert second.startswith(b"HTTP/1.1 200")


def _open(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    return context.wrap_socket(plain, server_hostname="a.test")


def _exchange(client: ssl.SSLSocket) -> bytes:
    try:
        client.sendall(GET)
        return client.recv(65536)
    except OSError:
        return b""


@pytest_twisted.ensureDeferred
async def test_many_clients_at_once(tmp_path: Path) -> None:
    """
    Each is authenticated as its own name, also with a resumed session.
    """
    keys = {"x.test": "BACKUP", "y.test": "SIGNER"}
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem", client_keys=keys)
    contexts = {name: daemon.client(host(name)) for name in keys}
    first = await gatherResults([daemon.shake(context, request=GET) for context in contexts.values()])
    again = await gatherResults(
        [
            daemon.shake(context, request=GET, session=one.session)
            for context, one in zip(contexts.values(), first, strict=True)
        ]
    )
    await daemon.close()

    assert [each.is_resumed for each in (*first, *again)] == [False, False, True, True]
    assert sorted(key for key, *_ in daemon.requesters()) == ["BACKUP", "BACKUP", "SIGNER", "SIGNER"]
