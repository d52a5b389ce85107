"""
A credential source with a word of its own: the daemon and its commands use it by its interface alone.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs
from zope.interface import implementer

from s3proxy.commands.cli import main
from s3proxy.configuration.loading import Configuration
from s3proxy.configuration.sources import SOURCES, SourceForm
from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.source import KeyRules
from s3proxy.daemon.backends import CannotStart
from s3proxy.daemon.service import ProxyService
from s3proxy.daemon.supervisor import Supervisor
from s3proxy.interfaces import ICredentialSource
from s3proxy.s3.credential import Credential
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from tests.support.harness import NOW, turns, until
from tests.support.processes import write_configuration
from tests.support.signer import Signer


@implementer(ICredentialSource)
class RemoteSource:
    """
    A source whose lookups wait until the test answers them, and that cannot list its keys.
    """

    opened: list[RemoteSource] = []
    faults: list[Fault] = []

    def __init__(self, argument: str, directory: Path, rules: KeyRules) -> None:
        self.argument, self.directory, self.rules = argument, directory, rules
        self.session_tokens: Collection[bytes] = ()
        self.secret_files = [directory / argument]
        self.started_with: list[Any] = []
        self.stops: list[Deferred[None]] = []
        self.lookups: list[tuple[bytes, Deferred[Credential | None]]] = []

    def start(self, of_reactor: Any) -> None:
        """
        Remember the call.
        """
        self.started_with.append(of_reactor)

    def stop(self) -> Deferred[None]:
        """
        Return what the test fires.
        """
        self.stops.append(Deferred())
        return self.stops[-1]

    def list_credentials(self) -> None:
        """
        Say that the keys are not known.
        """

    def look_up(self, access_key_id: bytes) -> Deferred[Credential | None]:
        """
        Return what the test fires.
        """
        found: Deferred[Credential | None] = Deferred()
        self.lookups.append((access_key_id, found))
        return found

    def response(self) -> None:
        """
        Answer the oldest lookup: the secret of each key follows from its name.
        """
        name, found = self.lookups.pop(0)
        secret = f"secret of {name.decode()}"
        found.callback(Credential(access_key_id=name.decode(), secret_access_keys=(secret,)))


def open_remote(argument: str, directory: Path, rules: KeyRules) -> RemoteSource:
    """
    Open the source ``remote:NAME``, unless it has faults.
    """
    if RemoteSource.faults:
        raise Faults(RemoteSource.faults)
    RemoteSource.opened.append(RemoteSource(argument, directory, rules))
    return RemoteSource.opened[-1]


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> list[RemoteSource]:
    """
    Add the word, and return the sources that a test opens.
    """
    monkeypatch.setitem(SOURCES, "remote", SourceForm("NAME", f"{__name__}.open_remote"))
    monkeypatch.setattr(RemoteSource, "opened", [])
    monkeypatch.setattr(RemoteSource, "faults", [])
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)
    return RemoteSource.opened


class Running:
    """
    A daemon in this process whose keys are in such a source, and its backend.
    """

    def __init__(self, directory: Path) -> None:
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        backend = {"name": "only", "url": f"http://127.0.0.1:{self.backend_port.getHost().port}", "signature": "none"}
        self.content: dict[str, Any] = {
            "server": {"listen": ["tcp:0:interface=127.0.0.1"]},
            "backend": [backend],
            "credentials": {"source": "remote:one"},
            "log": {"access": "none"},
        }
        self.configuration = Configuration(self.content, directory)
        self.service = ProxyService(
            self.configuration.settings(), reactor, load=self.configuration.settings, handles_signals=False
        )
        self.service.startService()
        self.clients: list[FaultyClient] = []

    async def send(self, name: str) -> FaultyClient:
        """
        Send a request with a key, on a connection of its own.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        port = self.service.addresses[0].port
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.clients.append(client)
        client.send(Signer(name, f"secret of {name}").head("GET", "/bucket/key")[0])
        return client

    async def close(self, sources: list[RemoteSource]) -> None:
        """
        Release everything.
        """
        stopping = self.service.stopService()
        for client in self.clients:
            client.transport.abortConnection()
        await until(lambda: sources[-1].stops)
        for source in sources:
            for stop in source.stops:
                if not stop.called:
                    stop.callback(None)
        await stopping
        await self.backend_port.stopListening()
        await until(lambda: all(client.lost for client in self.clients))
        await turns(3)


async def status(client: FaultyClient) -> int:
    """
    Return the status of a client's response.
    """
    response = await client.response()
    assert response is not None
    return response.status


@pytest_twisted.ensureDeferred
async def test_a_source_serves_requests_until_the_last_one(tmp_path: Path, opened: list[RemoteSource]) -> None:
    """
    It is started once. After a reload another one looks up keys, and the former one stops with its last request.
    """
    running = Running(tmp_path)
    (former,) = opened
    client = await running.send("A")
    await until(lambda: former.lookups)
    assert former.started_with == [reactor]
    assert (former.argument, former.directory, former.rules.backends) == ("one", tmp_path, ("only",))

    running.content["credentials"] = {"source": "remote:two"}
    with capturedLogs() as logs:
        is_reloaded = running.service.reload()
    _, following = opened
    other = await running.send("B")
    await until(lambda: following.lookups)
    before = (list(former.stops), following.started_with, running.service.credentials)
    former.response()
    first = await status(client)
    await until(lambda: former.stops)
    following.response()
    second = await status(other)
    await running.close(opened)

    assert is_reloaded
    assert [event["keys"] for event in logs if "keys" in event] == ["an unknown number of keys"]
    assert before == ([], [reactor], following)
    assert (first, second) == (200, 200)
    assert (following.argument, len(former.stops), len(following.stops)) == ("two", 1, 1)


@pytest_twisted.ensureDeferred
async def test_a_failed_reload_keeps_the_source(tmp_path: Path, opened: list[RemoteSource]) -> None:
    """
    Whether the new source has faults, or something else of the new configuration: the new one is never started.
    """
    running = Running(tmp_path)
    RemoteSource.faults.append(Fault("credentials.source", "no such database"))
    with capturedLogs() as logs:
        reloads = [running.service.reload()]
    RemoteSource.faults.clear()
    taken = running.backend_port.getHost().port
    running.content["server"] = {"listen": [f"tcp:{taken}:interface=127.0.0.1"]}
    reloads.append(running.service.reload())
    client = await running.send("A")
    await until(lambda: opened[0].lookups)
    opened[0].response()
    answered = await status(client)
    started = [len(source.started_with) for source in opened]
    stopped = [len(source.stops) for source in opened]
    await running.close(opened[:1])

    assert reloads == [False, False]
    assert [str(event["fault"]) for event in logs if "fault" in event] == ["credentials.source: no such database"]
    assert answered == 200
    assert (started, stopped) == ([1, 0], [0, 0])


@pytest_twisted.ensureDeferred
async def test_an_unreachable_source(tmp_path: Path, opened: list[RemoteSource]) -> None:
    """
    The response is 503, and the reason is in the log.
    """
    running = Running(tmp_path)
    client = await running.send("A")
    await until(lambda: opened[0].lookups)
    with capturedLogs() as logs:
        opened[0].lookups[0][1].errback(OSError("connection refused"))
        answered = await status(client)
    await running.close(opened)

    assert answered == 503
    assert "connection refused" in [event.get("reason") for event in logs]


@pytest_twisted.ensureDeferred
async def test_the_end_waits_for_the_source(tmp_path: Path, opened: list[RemoteSource]) -> None:
    """
    Also if it fails to stop, and then the log says so.
    """
    running = Running(tmp_path)
    ended: list[None] = []
    stopping = running.service.stopService().addCallback(ended.append)
    await until(lambda: opened[0].stops)
    await turns(3)
    was_waiting = not ended
    with capturedLogs() as logs:
        opened[0].stops[0].errback(OSError("still in use"))
        await stopping
    await running.backend_port.stopListening()
    await turns(3)

    assert was_waiting
    assert ended
    assert [event["reason"] for event in logs if "reason" in event] == ["still in use"]
    assert len(opened[0].stops) == 1


def test_a_supervisor_only_opens_it(tmp_path: Path, opened: list[RemoteSource]) -> None:
    """
    It looks for errors. Its workers start their own sources.
    """
    backend = {"name": "only", "url": "http://127.0.0.1:1", "signature": "none"}
    content = {"server": {"workers": 2}, "backend": [backend], "credentials": {"source": "remote:one"}}
    configuration = Configuration({**content, "log": {"access": "none"}}, tmp_path)

    Supervisor(lambda: configuration, reactor)
    RemoteSource.faults.append(Fault("credentials.source", "no such database"))
    with pytest.raises(CannotStart, match=r"^credentials.source: no such database$"):
        Supervisor(lambda: configuration, reactor)

    assert [(source.started_with, source.stops) for source in opened] == [([], [])]


@pytest.mark.parametrize("server", ["", "region = 5"])
def test_check_opens_it(
    tmp_path: Path, opened: list[RemoteSource], capsys: pytest.CaptureFixture[str], server: str
) -> None:
    """
    Its faults are reported like others, also beside other errors. Its files are examined, and nothing is started.
    """
    path = write_configuration(tmp_path, "http://127.0.0.1:1", server=server)
    path.write_text(path.read_text().replace("file:keys.toml", "remote:password"))
    (tmp_path / "password").write_text("a-password")
    (tmp_path / "password").chmod(0o644)

    assert main(["check", str(path)]) == bool(server)
    found = capsys.readouterr()
    RemoteSource.faults.append(Fault("credentials.source", "no such database"))
    assert main(["check", str(path)]) == 1
    faults = capsys.readouterr().err.splitlines()

    assert [(source.argument, source.rules.backends, source.started_with) for source in opened] == [
        ("password", ["test"], [])
    ]
    if not server:
        assert f"{path}: ok, 1 backend, an unknown number of keys" in found.out.splitlines()
        assert f"warning: {tmp_path / 'password'}: every user of this machine can read the secrets" in found.out
    assert faults[-1] == f"{path}: credentials.source: no such database"
    assert len(faults) == len(found.err.splitlines()) + 1
