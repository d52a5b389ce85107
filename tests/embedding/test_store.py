"""
A daemon with an application's own store of keys, and its own authorizer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from zope.interface import Invalid, implementer
from zope.interface.verify import verifyObject

from s3proxy import (
    AccessDenied,
    AccessRequest,
    Credential,
    IAuthorizer,
    ICredentialSource,
    ICredentialStore,
    ProxyService,
    make_settings,
)
from s3proxy.embedding.store import StoreSource, as_source
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from tests.support.carriers import KEY, SECRET
from tests.support.harness import NOW, SERVER, turns, until
from tests.support.signer import Signer
from tests.support.wire_cases import element

TEMPORARY = SERVER["credentials"][2]
KEYS = {
    KEY.encode(): Credential(KEY, (SECRET,)),
    b"SESSION": Credential("SESSION", ("secret of a session",), session_token="its-token"),
}


class Plain:
    """
    A store that only looks up keys, and does not say that it is one.
    """

    def look_up(self, access_key_id: bytes) -> Credential | None:
        """
        Return a key.
        """
        return KEYS.get(access_key_id)


@implementer(ICredentialSource)
class Source(Plain):
    """
    A source of an application's own.
    """

    session_tokens = frozenset({b"its-token", b"token-of-another"})
    secret_files: tuple[Path, ...] = ()

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.stopping: Deferred[None] = Deferred()

    def start(self, of_reactor: Any) -> None:
        """
        Remember the call.
        """
        self.calls.append("start")

    def stop(self) -> Deferred[None]:
        """
        Remember the call.
        """
        self.calls.append("stop")
        return self.stopping

    def list_credentials(self) -> list[Credential]:
        """
        Return all keys.
        """
        return list(KEYS.values())


@implementer(IAuthorizer)
class Authorizer:
    """
    Refuses one bucket.
    """

    def __init__(self) -> None:
        self.asked: list[AccessRequest] = []

    def authorize(self, asked: AccessRequest) -> None:
        """
        Refuse, or allow.
        """
        self.asked.append(asked)
        if asked.address.bucket == b"closed":
            raise AccessDenied


class Application:
    """
    A service of s3proxy in this process, with a backend. There is no keys file.
    """

    def __init__(self, directory: Path, **own: Any) -> None:
        self.backend = FaultyBackend()
        self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        url = f"http://127.0.0.1:{self.backend_port.getHost().port}"
        content = {
            "server": {"listen": ["tcp:0:interface=127.0.0.1"]},
            "backend": [{"name": "only", "url": url, "signature": "none"}],
            "log": {"access": "none"},
        }
        self.service = ProxyService(make_settings(content, directory), reactor, handles_signals=False, **own)
        self.clients: list[FaultyClient] = []

    async def send(self, head: bytes) -> Any:
        """
        Send a request; return the response.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        port = self.service.addresses[0].port
        client: FaultyClient = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
        self.clients.append(client)
        client.send(head)
        return await client.response()

    async def close(self) -> None:
        """
        Release everything.
        """
        for client in self.clients:
            client.reset()
        await self.service.stopService()
        await self.backend_port.stopListening()
        await until(lambda: all(client.lost for client in self.clients))
        await turns(5)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)


def get(bucket: str = "bucket", key: str = KEY, secret: str = SECRET, token: str | None = None) -> bytes:
    """
    Return a signed GET.
    """
    headers = {} if token is None else {"x-amz-security-token": token}
    return Signer(key, secret).head("GET", f"/{bucket}/key", headers)[0]


@pytest.mark.parametrize("reloads", [0, 2])
@pytest_twisted.ensureDeferred
async def test_an_own_store_and_an_own_authorizer(tmp_path: Path, reloads: int) -> None:
    """
    Both are asked in every generation. The source that the settings name is not opened: there is no file.
    """
    authorizer = Authorizer()
    application = Application(tmp_path, credentials=Plain(), authorizer=authorizer)
    application.service.startService()
    for _ in range(reloads):
        assert application.service.reload()

    statuses = [
        (await application.send(each)).status
        for each in (get(), get("closed"), get(key="nobody"), get(secret="another"))
    ]
    await application.close()

    assert statuses == [200, 403, 403, 403]
    assert [asked.address.bucket for asked in authorizer.asked] == [b"bucket", b"closed"]
    assert [asked.operation.action for asked in authorizer.asked] == ["s3:GetObject"] * 2
    assert len(application.backend.requests) == 1


@pytest.mark.parametrize(
    ("store", "codes"),
    [
        (Plain, [None, "InvalidToken", "InvalidToken", "InvalidAccessKeyId"]),
        (Source, [None, "InvalidToken", "InvalidAccessKeyId", "InvalidAccessKeyId"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_session_tokens(tmp_path: Path, store: Any, codes: list[str | None]) -> None:
    """
    Every store may have keys with tokens. Only a source knows the tokens of the other keys.
    """
    own = store()
    application = Application(tmp_path, credentials=own)
    application.service.startService()
    found = []
    for token in ("its-token", "never-issued", "token-of-another", None):
        response = await application.send(get(key="SESSION", secret="secret of a session", token=token))
        found.append(element(response.body, "Code"))
    if store is Source:
        own.stopping.callback(None)
    await application.close()

    assert found == codes


@pytest_twisted.ensureDeferred
async def test_a_source_is_started_and_stopped_once(tmp_path: Path) -> None:
    """
    A reload opens no other: the source lives as long as the service, whose end waits for it.
    """
    source = Source()
    application = Application(tmp_path, credentials=source)
    assert source.calls == []
    application.service.startService()
    assert application.service.credentials is source
    for _ in range(3):
        assert application.service.reload()
        await turns(3)
    assert (await application.send(get())).status == 200
    assert source.calls == ["start"]

    closing = Deferred.fromCoroutine(application.close())
    await until(lambda: source.calls == ["start", "stop"])
    await turns(5)
    assert not closing.called
    source.stopping.callback(None)
    await closing


def test_a_service_that_is_never_started(tmp_path: Path) -> None:
    """
    An application that only takes a resource starts its source itself.
    """
    source = Source()
    content = {"backend": [{"name": "only", "url": "http://127.0.0.1:1", "signature": "none"}]}
    service = ProxyService(make_settings(content, tmp_path), MemoryReactorClock(), credentials=source)

    resource = service.make_resource()

    assert resource.isLeaf
    assert source.calls == []


def test_a_store_as_a_source() -> None:
    """
    It is complete, and does nothing but look up keys.
    """
    source: Any = as_source(Plain())

    assert isinstance(source, StoreSource)
    assert verifyObject(ICredentialSource, source)
    assert source.look_up(KEY.encode()) is KEYS[KEY.encode()]
    assert (source.start(None), source.stop(), source.list_credentials()) == (None, None, None)
    assert b"its-token" not in source.session_tokens
    own = Source()
    assert as_source(own) is own


@pytest.mark.parametrize("store", [object(), Plain, {}])
def test_what_is_no_store(store: Any) -> None:
    """
    A mistake is found at the start, not by the first client.
    """
    with pytest.raises(Invalid):
        as_source(store)
    assert not ICredentialStore.providedBy(store)
