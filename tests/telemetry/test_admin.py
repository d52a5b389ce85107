"""
The admin endpoint: what it returns, to whom, and that it returns no secret.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, UNIXClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.configuration.loading import make_settings
from s3proxy.configuration.tables import Faults
from s3proxy.daemon.service import ProxyService
from s3proxy.telemetry.admin import MAX_CONNECTIONS, AdminSite
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.conftest import ErrorLog
from tests.support.harness import SERVER, turns, until
from tests.support.processes import write_keys
from tests.support.root import ROOT
from tests.support.signer import HASH, Signer

SECRET = SERVER["credentials"][0]["secret_key"]


class Running:
    """
    A daemon in this process, and its backend.
    """

    def __init__(self, directory: Path, admin: str = "tcp:0:interface=127.0.0.1") -> None:
        write_keys(directory / "keys.toml")
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        loopback = "tcp:0:interface=127.0.0.1"
        settings = make_settings(
            {
                "server": {"listen": [loopback], "admin": admin},
                "backend": [
                    {
                        "name": "store",
                        "url": f"http://127.0.0.1:{self.backend_port.getHost().port}",
                        "access_key_id": "BACKENDKEY",
                        "secret_access_key": "the-backend-secret-of-the-tests",
                    }
                ],
                "log": {"access": "none"},
            },
            directory,
        )
        self.service = ProxyService(settings, reactor, handles_signals=False)
        self.service.startService()
        self.clients: list[FaultyClient] = []

    async def connect(self, port: int) -> FaultyClient:
        """
        Open a connection.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.clients.append(client)
        return client

    async def admin(self, path: str, host: str = "localhost:9001", method: str = "GET") -> Response:
        """
        Send a request to the admin endpoint.
        """
        client = await self.connect(self.service.admin_address.port)
        client.send(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        response = await client.response(method)
        assert response is not None
        return response

    async def values(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """
        Return the values of ``/metrics``, by name and labels.
        """
        response = await self.admin("/metrics")
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(response.body.decode())
            for sample in family.samples
        }

    async def stop(self) -> None:
        """
        Release everything.
        """
        await self.service.stopService()
        for client in self.clients:
            if client.lost is None:
                client.transport.abortConnection()
        await self.backend_port.stopListening()
        await until(lambda: all(client.lost for client in self.clients))
        await turns(3)


@pytest_twisted.ensureDeferred
async def test_each_page_has_a_date(tmp_path: Path) -> None:
    """
    So has each of its errors, and the response to bytes that are not a request.
    """
    running = Running(tmp_path)
    responses = [
        await running.admin("/health"),
        await running.admin("/health", method="HEAD"),
        await running.admin("/nothing"),
        await running.admin("/metrics", host="elsewhere.example"),
        await running.admin("/ready", method="POST"),
    ]
    await running.stop()

    assert [response.status for response in responses] == [200, 200, 404, 403, 405]
    for response in responses:
        assert parsedate_to_datetime(response.header("Date") or "").year >= 2024


@pytest_twisted.ensureDeferred
async def test_health_and_readiness(tmp_path: Path) -> None:
    """
    Alive while it runs. Ready until it drains; /ready is served until the last request has ended.
    """
    running = Running(tmp_path)
    responses = [await running.admin(path) for path in ("/health", "/ready", "/", "/health/x")]
    assert [(response.status, response.body) for response in responses[:2]] == [(200, b"ok\n"), (200, b"ready\n")]
    assert [response.status for response in responses[2:]] == [404, 404]
    assert responses[0].header("Content-Security-Policy") == "default-src 'self'"

    client = await running.connect(running.service.addresses[0].port)
    running.backend.on_request = lambda connection, request: None
    made = Signer(host="127.0.0.1", now=datetime.now(UTC)).put("/test-bucket/k", b"hello")
    client.send(made.head + made.body)
    await until(lambda: running.backend.requests)
    stopped = running.service.stopService()
    draining = await running.admin("/ready")
    running.backend.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    response = await client.response("PUT")
    await stopped
    await running.stop()

    assert (draining.status, draining.body) == (503, b"draining\n")
    assert response is not None
    assert response.status == 200


@pytest_twisted.ensureDeferred
async def test_a_reload_during_the_drain(tmp_path: Path) -> None:
    """
    It comes too late: the daemon does not listen again.
    """
    running = Running(tmp_path)
    client = await running.connect(running.service.addresses[0].port)
    running.backend.on_request = lambda connection, request: None
    made = Signer(host="127.0.0.1", now=datetime.now(UTC)).put("/test-bucket/k", b"hello")
    client.send(made.head + made.body)
    await until(lambda: running.backend.requests)
    stopped = running.service.stopService()
    is_reloaded = running.service.reload()
    addresses = running.service.addresses
    running.backend.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await client.response("PUT")
    await stopped
    await running.stop()

    assert not is_reloaded
    assert addresses == []


@pytest.mark.parametrize(
    "host",
    [
        *("evil.test", "localhost.evil.test", "127.0.0.1.evil.test", "127-0-0-1.evil.test", "10.0.0.1", "0.0.0.0", ""),
        *(
            "127.0.0.1@evil.test",
            "localhost:9001@evil.test",
            "localhost:9001x",
            "localhost:",
            "localhost evil",
            "127.1",
        ),
        *("[::1].evil.test", "[::1", "::1", "[::ffff:10.0.0.1]", "%6cocalhost", "localhost%00", "localhost,evil.test"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_page_of_somebody_else(host: str, tmp_path: Path) -> None:
    """
    A browser that reaches this address by another name gets nothing, and POST is refused.
    """
    running = Running(tmp_path)
    response = await running.admin("/metrics", host)
    posted = await running.admin("/metrics", method="POST")
    await running.stop()

    assert response.status == 403
    assert b"s3proxy_" not in response.body
    assert posted.status == 405


NOT_SERVED = {
    "no host": b"GET /metrics HTTP/1.0\r\n\r\n",
    "no host, 1.1": b"GET /metrics HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n",
    "a url of another host": b"GET http://evil.test/metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a url, another host": b"GET http://localhost/metrics HTTP/1.1\r\nHost: evil.test\r\n\r\n",
    "no slash": b"GET xmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "escaped": b"GET /%6detrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an escaped slash": b"GET %2Fmetrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "dots": b"GET /health/../metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "two slashes": b"GET //metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a slash more": b"GET /metrics/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "case": b"GET /Metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "connect": b"CONNECT localhost:9001 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "options": b"OPTIONS /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "delete": b"DELETE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trace": b"TRACE /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("data", NOT_SERVED.values(), ids=NOT_SERVED)
@pytest_twisted.ensureDeferred
async def test_a_request_that_is_not_for_a_page(data: bytes, tmp_path: Path) -> None:
    """
    It serves only GET and HEAD of a documented page, by a name of loopback. Any other request gets no page.
    """
    running = Running(tmp_path)
    client = await running.connect(running.service.admin_address.port)
    client.send(data)
    response = await client.response("GET")
    await running.stop()

    assert response is not None
    assert response.status in {400, 403, 404, 405}
    assert b"s3proxy_" not in response.body


@pytest.mark.parametrize("host", ["localhost", "localhost:9001", "127.0.0.1:9001", "127.1.2.3", "[::1]", "[::1]:9001"])
@pytest_twisted.ensureDeferred
async def test_names_of_loopback(host: str, tmp_path: Path) -> None:
    """
    Each of them is accepted, with or without a port.
    """
    running = Running(tmp_path)
    response = await running.admin("/health?x=1", host)
    await running.stop()

    assert (response.status, response.body) == (200, b"ok\n")


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_checks_the_host_too(tmp_path: Path) -> None:
    """
    Another proxy may relay requests of browsers to it.
    """
    path = tmp_path / "admin.socket"
    running = Running(tmp_path, admin=f"unix:{path}")
    responses = []
    for host in ("localhost", "evil.test"):
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        client: Any = await UNIXClientEndpoint(reactor, str(path)).connect(factory)
        client.send(f"GET /health HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        responses.append(await client.response("GET"))
        running.clients.append(client)
    await running.stop()

    assert [response.status for response in responses] == [200, 403]


def temporary_files() -> list[str]:
    """
    Return this process's files without a name.
    """
    links = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(descriptor.readlink()))
    return [link for link in links if link.endswith("(deleted)") and not link.startswith("/memfd:")]


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
@pytest_twisted.ensureDeferred
async def test_a_body_is_not_kept(framing: bytes, tmp_path: Path) -> None:
    """
    A local client, such as a web page in a browser, cannot fill the disk with a POST.
    """
    running = Running(tmp_path)
    client = await running.connect(running.service.admin_address.port)
    before = temporary_files()
    client.send(b"POST /metrics HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n" % framing)
    client.send(b"80000\r\n" + b"x" * 0x80000 + b"\r\n" if b"chunked" in framing else b"x" * 0x80000)
    other = await running.admin("/health")
    assert temporary_files() == before
    assert other.status == 200
    client.send(b"0\r\n\r\n" if b"chunked" in framing else b"x" * (1_000_000 - 0x80000))
    response = await client.response("POST")
    await running.stop()

    assert response is not None
    assert response.status == 405


@pytest_twisted.ensureDeferred
async def test_its_connections_are_bounded(tmp_path: Path) -> None:
    """
    Many idle connections take no descriptors from the clients; one more connection is served.
    """
    running = Running(tmp_path)
    port = running.service.admin_address.port
    idle = [await running.connect(port) for _ in range(MAX_CONNECTIONS)]
    response = await running.admin("/health")
    await until(lambda: idle[0].lost)
    held = sum(client.lost is None for client in idle)
    await running.stop()

    assert response.status == 200
    assert held == MAX_CONNECTIONS - 1


@pytest_twisted.ensureDeferred
async def test_what_is_measured(tmp_path: Path) -> None:
    """
    Requests by kind and outcome, bytes, connections; and no key, object or secret.
    """
    running = Running(tmp_path)
    signer = Signer(host="127.0.0.1", now=datetime.now(UTC))
    port = running.service.addresses[0].port
    authority = f"127.0.0.1:{running.backend_port.getHost().port}"
    good = signer.put("/test-bucket/private-name", b"hello" * 1000, HASH)
    target = signer.presign("GET", "/test-bucket/private-name").encode()
    for data, method in (
        (good.head + good.body, "PUT"),
        (good.head.replace(b"Signature=", b"Signature=0"), "PUT"),
        (b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % target, "GET"),
        (b"no request\r\n\r\n", "GET"),
    ):
        client = await running.connect(port)
        client.send(data)
        await client.response(method)
    values = await running.values()
    document = (await running.admin("/metrics")).body
    await running.stop()

    def value(name: str, **labels: str) -> Any:
        return values.get((name, tuple(sorted(labels.items()))))

    requests = "s3proxy_requests_total"
    v4 = {"signature": "SigV4", "code": ""}
    nobody = {"signature": "none", "place": "none"}
    assert value(requests, method="PUT", place="AuthHeader", status="200", **v4) == 1
    assert value(requests, method="GET", place="QueryString", status="200", **v4) == 1
    assert value(requests, method="PUT", status="403", code="SignatureDoesNotMatch", **nobody) == 1
    assert value(requests, method="other", status="400", code="BadRequest", **nobody) == 1
    assert value("s3proxy_received_bytes_total") >= 5000
    assert value("s3proxy_running_requests") == 0
    assert value("s3proxy_client_connections") >= 1
    assert value("s3proxy_backend_connections", backend="store", address=authority) >= 1
    assert value("s3proxy_backend_seconds_count", backend="store") == 2
    assert value("s3proxy_held_clients", reason="backend") == 0
    assert value("s3proxy_exemptions_total", exemption="clock-skew") == 0
    documented = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    names = {re.sub(r"_(?:bucket|count|sum)$", "", name) for name, _ in values}
    assert len(names) > 20
    assert [name for name in names if f"`{name}`" not in documented] == []
    for secret in (SECRET, "the-backend-secret", "private-name", "AKIAIOSFODNN7EXAMPLE", "BACKENDKEY"):
        assert secret.encode() not in document


@pytest.mark.parametrize("admin", ["tcp:9001", "tcp:9001:interface=0.0.0.0", "tcp:9001:interface=10.0.0.1", "ssl:1"])
def test_it_does_not_listen_to_everybody(admin: str, tmp_path: Path) -> None:
    """
    Such a configuration is refused.
    """
    backend = {"name": "b", "url": "http://h", "signature": "none"}

    with pytest.raises(Faults) as raised:
        make_settings({"server": {"admin": admin}, "backend": [backend]}, tmp_path)

    assert [fault.place for fault in raised.value.faults] == ["server.admin"]


async def ask_page(request: bytes, metrics: Callable[[], bytes] = lambda: b"metrics") -> Response:
    """
    Return the response to a request, from a page without a daemon.
    """
    port = reactor.listenTCP(0, AdminSite(metrics, lambda: ""), interface="127.0.0.1")
    factory = Factory.forProtocol(FaultyClient)
    factory.noisy = False
    client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port).connect(factory)
    client.send(request)
    response = await client.response("GET")
    await port.stopListening()
    await until(lambda: client.lost)
    await turns(3)
    assert response is not None
    return response


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: [::1]:9001\r\n\r\n", 200),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.0\r\n\r\n", 403),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost.evil.test\r\n\r\n", 403),
        (b"POST /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", 405),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_is_answered(request_: bytes, status: int) -> None:
    """
    A request by a local name that changes nothing. A browser sends the name of the page that makes the request.
    """
    response = await ask_page(request_)

    assert response.status in {status, 400 if status == 403 else status}
    if response.status != 400:
        assert response.header("X-Content-Type-Options") == "nosniff"
        assert response.header("Content-Security-Policy") == "default-src 'self'"
        assert response.header("Cache-Control") == "no-store"


@pytest_twisted.ensureDeferred
async def test_a_fault_of_a_page_shows_nothing(error_log: ErrorLog) -> None:
    """
    Its traceback is only in the log.
    """

    def metrics() -> bytes:
        raise RuntimeError("the-secret")

    response = await ask_page(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", metrics)

    assert response.status == 500
    assert b"the-secret" not in response.body
    assert b"Traceback" not in response.body
    assert len(error_log.flush()) == 1
