"""
A daemon whose keys come from a callout in another process: the example of the documentation, which tells no secret.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.commands.cli import main
from s3proxy.configuration.loading import Configuration
from s3proxy.daemon.service import ProxyService
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.carriers import KEY, SECRET, signed_by
from tests.support.harness import NOW, turns, until
from tests.support.processes import free_port, running, wait_for_port, write_configuration
from tests.support.signer import HASH, MODES, SignedRequest, Signer

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "callout.py"
TOKEN = "the-token-of-s3proxy"


@pytest.fixture(scope="module")
def callout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """
    Run the example; return its port.
    """
    directory = tmp_path_factory.mktemp("callout")
    (directory / "secrets.json").write_text(json.dumps({KEY: SECRET}))
    port = free_port()
    environment = {**os.environ, "CALLOUT_TOKEN": TOKEN, "PYTHONPATH": str(EXAMPLE.parents[2])}
    with running([str(EXAMPLE), "secrets.json", str(port)], directory, environment) as process:
        wait_for_port(port, process)
        yield port


class Running:
    """
    A daemon in this process, and its backend.
    """

    def __init__(self, directory: Path, source: str, **options: Any) -> None:
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        backend = {"name": "only", "url": f"http://127.0.0.1:{self.backend_port.getHost().port}", "signature": "none"}
        content = {
            "server": {"listen": ["tcp:0:interface=127.0.0.1"], "domains": ["s3.example.test"]},
            "backend": [backend],
            "credentials": {"source": source, "callout": {"token_env": "CALLOUT_TOKEN"}, **options},
            "log": {"access": "none"},
        }
        configuration = Configuration(content, directory)
        self.service = ProxyService(configuration.settings(), reactor, handles_signals=False)
        self.service.startService()
        self.clients: list[FaultyClient] = []

    async def send(self, request: SignedRequest) -> Response:
        """
        Send a request on a connection of its own.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        port = self.service.addresses[0].port
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.clients.append(client)
        client.send(request.head + request.body)
        response = await client.response(request.head.split(b" ", 1)[0].decode())
        assert response is not None
        return response

    async def close(self) -> None:
        """
        Release everything.
        """
        for client in self.clients:
            client.transport.abortConnection()
        await self.service.stopService()
        await self.backend_port.stopListening()
        await until(lambda: all(connection.lost for connection in self.backend.connections))
        await turns(3)


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The time of the data set, and the token for the example.
    """
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)
    monkeypatch.setenv("CALLOUT_TOKEN", TOKEN)


@pytest.mark.parametrize(
    "carrier", ["v4-header", "v4-query", "v4-form", "unsigned-payload", "unsigned-trailer", "v4a-header", "v4a-query"]
)
@pytest_twisted.ensureDeferred
async def test_each_carrier(tmp_path: Path, callout: int, carrier: str) -> None:
    """
    A signing key or a public key verifies the request, and the backend gets it.
    """
    daemon = Running(tmp_path, f"http://127.0.0.1:{callout}/")
    response = await daemon.send(signed_by(carrier))
    await daemon.close()

    assert response.status in {200, 204}, response.body
    assert len(daemon.backend.requests) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_each_kind_of_body(tmp_path: Path, callout: int, mode: str) -> None:
    """
    Signed chunks and a signed trailer are verified with the signing key.
    """
    body = bytes(range(256)) * 2000
    daemon = Running(tmp_path, f"http://127.0.0.1:{callout}/")
    response = await daemon.send(Signer().put("/test-bucket/k", body, mode))
    wrong = Signer().put("/test-bucket/k", body, mode)
    wrong.body = wrong.body.replace(bytes(range(200)), bytes(200), 1)
    refused = await daemon.send(wrong)
    await daemon.close()

    assert response.status == 200
    assert daemon.backend.requests[0].sha256 == hashlib.sha256(body).hexdigest()
    assert (refused.status == 200) == (mode == "UNSIGNED-PAYLOAD")
    assert len(daemon.backend.requests) == 1 + (mode == "UNSIGNED-PAYLOAD")


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        (lambda: Signer(secret="another").put("/b/k", b"x", HASH), b"SignatureDoesNotMatch"),
        (lambda: Signer("UNKNOWN").put("/b/k", b"x", HASH), b"InvalidAccessKeyId"),
        (lambda: signed_by("v2-header"), b"InvalidAccessKeyId"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_refused(tmp_path: Path, callout: int, request_of: Any, code: bytes) -> None:
    """
    Another secret, a key that the service does not know, and Signature V2, for which this service knows none.
    """
    daemon = Running(tmp_path, f"http://127.0.0.1:{callout}/")
    response = await daemon.send(request_of())
    await daemon.close()

    assert (response.status, daemon.backend.requests) == (403, [])
    assert b"<Code>%s</Code>" % code in response.body


@pytest_twisted.ensureDeferred
async def test_a_callout_that_does_not_know_us(tmp_path: Path, callout: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Its status 401 is a failure: the response is 503, and the client may try again.
    """
    monkeypatch.setenv("CALLOUT_TOKEN", "another")
    daemon = Running(tmp_path, f"http://127.0.0.1:{callout}/")
    response = await daemon.send(signed_by("v4-header"))
    await daemon.close()

    assert (response.status, daemon.backend.requests) == (503, [])
    assert response.header("Retry-After") is not None


@pytest.mark.parametrize("server", ["", "region = 5"])
def test_check_reads_the_options(tmp_path: Path, capsys: pytest.CaptureFixture[str], server: str) -> None:
    """
    Also beside other errors, with paths from the directory of the file. Nothing is asked.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server=server)
    plain = path.read_text()
    (tmp_path / "token").write_text("the-token")
    (tmp_path / "token").chmod(0o644)
    callout = 'source = "http://127.0.0.1:1/keys"\n[credentials.callout]\n'
    keystone = 'source = "keystone:http://127.0.0.1:1"\n[credentials.keystone]\nuser = "u"\nsystem = true\n'
    found = []
    for source in (
        callout + 'token_file = "token"',
        callout + 'token_file = "missing"',
        keystone + 'roles = ["member"]\nsecret_file = "token"',
        keystone + 'secret_file = "token"',
    ):
        path.write_text(plain.replace('source = "file:keys.toml"', source))
        status = main(["check", str(path)])
        told = capsys.readouterr()
        found.append((status, told.out + told.err))

    assert [status for status, _ in found] == [1 if server else 0, 1, 1 if server else 0, 1]
    if not server:
        for _, told in (found[0], found[2]):
            assert f"{path}: ok, 1 backend, an unknown number of keys" in told
            assert f"{tmp_path / 'token'}: every user of this machine can read the secrets" in told
    assert "credentials.callout.token_file: " in found[1][1]
    assert "credentials.keystone.roles: at least one role is required" in found[3][1]
    assert all(("server.region" in told) == bool(server) for _, told in found)
    assert all(("credentials." in told) == bool(status and number % 2) for number, (status, told) in enumerate(found))
