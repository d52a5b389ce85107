"""
Several backends of one daemon, with real sockets: where objects are stored, and which key signs for them there.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import capturedLogs

from s3proxy.commands.cli import main
from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.service import ProxyService
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient, Response
from s3proxy.testing.legacy_messages import Reply
from s3proxy.testing.legacy_objects import IncomingBody
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_store import LegacyStore
from tests.support.daemon import BODY, Daemon, twistd_arguments
from tests.support.forms import BUCKET, form_request, multipart, v4_fields
from tests.support.harness import NOW, SERVER, turns, until
from tests.support.processes import running, until_listening
from tests.support.signer import HASH, SIGNED_CHUNKS, Signer
from tests.support.socket_client import SocketClient

HOST = "s3.example.test"
KEYS_OF_STORES = {
    "first": {"FIRST-OWN": "secret of first", "FIRST-A": "secret of a", "FIRST-B": "secret of b"},
    "logs": {"LOGS-OWN": "secret of logs", "LOGS-A": "secret of logs for a"},
}
ROUTES = [{"bucket": ["logs-*", BUCKET], "backend": "logs"}]
BACKEND_KEYS = [
    {"name": "a", "backend": "first", "access_key_id": "FIRST-A", "secret_access_key": "secret of a"},
    {"name": "b", "backend": "first", "access_key_id": "FIRST-B", "secret_access_key": "secret of b"},
    {"name": "logs-a", "backend": "logs", "access_key_id": "LOGS-A", "secret_access_key": "secret of logs for a"},
]
CLIENTS = {
    "PLAIN": "",
    "PINNED": 'backend = "logs"',
    "ONE": 'backend_key = "a"',
    "TWO": 'backend_key = "a"',
    "OTHER": 'backend_key = "b"',
    "BOTH": 'backend_key = ["a", "logs-a"]',
    "LOGS": 'backend_key = "logs-a"',
}


class Store(LegacyStore):
    """
    A store that records its requests and their keys.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.asked: list[tuple[str, str]] = []
        super().__init__(directory, KEYS_OF_STORES[name], wall_clock=lambda: NOW, reactor=reactor, quirks=Quirks())

    def perform(self, method: bytes, target: bytes, fields: Mapping[bytes, bytes], body: IncomingBody | None) -> Reply:
        key = fields.get(b"authorization", b"AWS :").partition(b" ")[2].partition(b":")[0]
        self.asked.append((key.decode(), f"{method.decode()} {target.decode()}"))
        return super().perform(method, target, fields, body)


@dataclass
class Client:
    """
    A client with one of the clients' keys.
    """

    stores: TwoStores
    signer: Signer

    async def put(self, target: str, body: bytes = b"", mode: str = HASH, **headers: str) -> Response:
        """
        Store an object; return the response.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = self.signer.put(target, body, mode, headers=named)
        return await self.stores.ask("PUT", request.head + request.body)

    async def get(self, target: str) -> Response:
        """
        Send a GET; return the response.
        """
        return await self.stores.ask("GET", self.signer.head("GET", target)[0])


class TwoStores:
    """
    A daemon in this process, and its two stores.
    """

    def __init__(self, directory: Path, **tables: Any) -> None:
        self.directory = directory
        self.stores = {}
        for name in KEYS_OF_STORES:
            (directory / name).mkdir()
            self.stores[name] = Store(name, directory / name)
        self.first, self.logs = self.stores.values()
        self.ports = {
            name: reactor.listenTCP(0, store.make_factory(), interface="127.0.0.1")
            for name, store in self.stores.items()
        }
        self.tables = {"route": ROUTES, "backend_key": BACKEND_KEYS, **tables}
        keys = "".join(
            f'[[key]]\naccess_key_id = "{name}"\nsecret_access_key = "secret of {name}"\n{more}\n'
            for name, more in CLIENTS.items()
        )
        (directory / "keys.toml").write_text(keys)
        self.service = ProxyService(self.load(), reactor, load=self.load, handles_signals=False)
        self.service.startService()
        (address,) = self.service.addresses
        self.endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", address.port)

    def load(self) -> Any:
        """
        Return the settings of the current tables.
        """
        backends = [
            {
                "name": name,
                "url": f"http://127.0.0.1:{port.getHost().port}",
                "profile": "generic",
                "signature": "v2",
                "access_key_id": f"{name.upper()}-OWN",
                "secret_access_key": f"secret of {name}",
            }
            for name, port in self.ports.items()
        ]
        server = {"listen": ["tcp:0:interface=127.0.0.1"], "domains": [HOST]}
        log = {"access": str(self.directory / "access.log")}
        return make_settings({"server": server, "backend": backends, "log": log, **self.tables}, self.directory)

    def client(self, name: str = "PLAIN", host: str = HOST) -> Client:
        """
        Return a client with a key.
        """
        return Client(self, Signer(name, f"secret of {name}", host=host))

    async def ask(self, method: str, data: bytes) -> Response:
        """
        Send a request on a new connection.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        client = await self.endpoint.connect(factory)
        client.send(data)
        response = await client.response(method)
        assert response is not None
        client.transport.loseConnection()
        await client.until(lambda: client.lost)
        return response

    def asked(self) -> dict[str, list[tuple[str, str]]]:
        """
        Return the requests to each store since the last call.
        """
        asked = {name: store.asked for name, store in self.stores.items()}
        for store in self.stores.values():
            store.asked = []
        return asked

    async def close(self) -> None:
        """
        Release everything.
        """
        await self.service.stopService()
        for port in self.ports.values():
            await port.stopListening()
        await until(lambda: not any(store.channels for store in self.stores.values()))
        await turns(3)


@pytest.fixture(autouse=True)
def _a_day_of_the_data_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("s3proxy.daemon.generation.utc_now", lambda: NOW)


def code(response: Response) -> tuple[int, str]:
    """
    Return status and error code.
    """
    return response.status, ElementTree.fromstring(response.body).findtext("Code") or ""


def buckets(response: Response) -> list[str]:
    """
    Return the names of a listing of buckets.
    """
    elements = ElementTree.fromstring(response.body).iter()
    return [element.text or "" for element in elements if element.tag.rpartition("}")[2] == "Name"]


@pytest_twisted.ensureDeferred
async def test_objects_lie_where_their_bucket_is_routed(tmp_path: Path) -> None:
    """
    Buckets are created, written and read at one store only, whatever the style of the request.
    """
    stores = TwoStores(tmp_path)
    plain, hosted = stores.client(), stores.client(host=f"logs-1.{HOST}")
    responses = [
        await plain.put("/logs-1"),
        await plain.put("/other"),
        await plain.put("/logs-1/small", b"a"),
        await plain.put("/other/small", b"b"),
        await plain.put("/logs-1/large", BODY, SIGNED_CHUNKS),
        await plain.put("/other/large", BODY[::-1], SIGNED_CHUNKS),
        await hosted.put("/hosted", b"c"),
    ]
    back = [await plain.get(f"/{name}") for name in ("logs-1/small", "other/small", "logs-1/large", "other/large")]
    presigned = plain.signer.presign("GET", "/logs-1/hosted")
    back.append(await stores.ask("GET", f"GET {presigned} HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode()))
    other_case = await plain.get("/Logs-1/small")
    await stores.close()

    assert [response.status for response in responses] == [200] * 7
    assert [response.body for response in back] == [b"a", b"b", BODY, BODY[::-1], b"c"]
    assert stores.logs.objects.buckets() == ["logs-1"]
    assert stores.first.objects.buckets() == ["other"]
    assert stores.logs.object_bytes("logs-1", "large") == BODY
    assert code(other_case) == (404, "NoSuchBucket")


@pytest_twisted.ensureDeferred
async def test_buckets_are_listed_at_one_store(tmp_path: Path) -> None:
    """
    The listing is that of the first backend, or of the key's own backend: it never combines two.
    """
    stores = TwoStores(tmp_path)
    for bucket in ("/logs-1", "/other"):
        await stores.client().put(bucket)
    listed = {name: await stores.client(name).get("/") for name in ("PLAIN", "PINNED", "ONE", "BOTH", "LOGS")}
    await stores.close()

    assert {name: buckets(response) for name, response in listed.items()} == {
        "PLAIN": ["other"],
        "PINNED": ["logs-1"],
        "ONE": ["other"],
        "BOTH": ["other"],
        "LOGS": ["logs-1"],
    }


@pytest_twisted.ensureDeferred
async def test_a_keys_own_backend_has_all_its_buckets(tmp_path: Path) -> None:
    """
    A route that would send its request elsewhere does not apply to the key.
    """
    stores = TwoStores(tmp_path, route=[{"bucket": "other", "backend": "first"}])
    pinned = stores.client("PINNED")
    statuses = [(await pinned.put("/other")).status, (await pinned.put("/other/key", b"a")).status]
    copied = await pinned.put("/other/copy", x_amz_copy_source="/other/key")
    await stores.close()

    assert [*statuses, copied.status] == [200] * 3
    assert stores.first.asked == []
    assert stores.logs.object_bytes("other", "copy") == b"a"


@pytest_twisted.ensureDeferred
async def test_a_copy_does_not_cross_from_store_to_store(tmp_path: Path) -> None:
    """
    501, and neither store gets it. Within one store the copy succeeds. The same for a part.
    """
    stores = TwoStores(tmp_path)
    plain = stores.client()
    for target, body in (("/logs-1", b""), ("/other", b""), ("/logs-1/key", b"a"), ("/other/key", b"b")):
        await plain.put(target, body)
    within = [
        await plain.put("/logs-1/copy", x_amz_copy_source="/logs-1/key"),
        await plain.put("/other/copy", x_amz_copy_source="other/key"),
    ]
    stores.asked()
    part = "?partNumber=1&uploadId=none"
    across = [
        await plain.put(target, x_amz_copy_source=source)
        for target, source in (
            ("/logs-1/copy", "/other/key"),
            ("/other/copy", "/logs-1/key"),
            ("/other/copy", "logs%2D1%2Fkey"),
            (f"/other/copy{part}", "/logs-1/key"),
        )
    ]
    heard = stores.asked()
    await plain.put(f"/other/copy{part}", x_amz_copy_source="/other/key")
    heard_within = stores.asked()
    await stores.close()

    assert [response.status for response in within] == [200, 200]
    assert (stores.logs.object_bytes("logs-1", "copy"), stores.first.object_bytes("other", "copy")) == (b"a", b"b")
    assert [code(response) for response in across] == [(501, "NotImplemented")] * 4
    assert heard == {"first": [], "logs": []}
    assert heard_within == {"first": [("FIRST-OWN", f"PUT /other/copy{part}")], "logs": []}


@pytest_twisted.ensureDeferred
async def test_a_form_goes_where_its_bucket_is(tmp_path: Path) -> None:
    """
    A browser's upload is routed by the bucket in its URL.
    """
    stores = TwoStores(tmp_path)
    keys = (tmp_path / "keys.toml").read_text()
    known = SERVER["credentials"][0]
    table = f'[[key]]\naccess_key_id = "{known["access_key"]}"\nsecret_access_key = "{known["secret_key"]}"\n'
    (tmp_path / "keys.toml").write_text(keys + table)
    assert stores.service.reload()
    await stores.client().put(f"/{BUCKET}")
    form = form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="file"), b"of a browser"))
    response = await stores.ask("POST", form.head + form.body)
    await stores.close()

    assert response.status == 204
    assert stores.logs.object_bytes(BUCKET, "file") == b"of a browser"
    assert stores.first.asked == []


@pytest_twisted.ensureDeferred
async def test_each_client_has_the_key_which_it_is_mapped_to(tmp_path: Path) -> None:
    """
    One to one, many to one, or one for each backend. Keys without a mapping, and anonymous readers, use the backend's
    own.
    """
    stores = TwoStores(tmp_path, anonymous={"signed_buckets": ["*"]})
    for target, body in (("/logs-1", b""), ("/other", b""), ("/logs-1/key", b"a"), ("/other/key", b"b")):
        await stores.client().put(target, body)
    stores.asked()
    seen = {}
    for name in ("PLAIN", "PINNED", "ONE", "TWO", "OTHER", "BOTH"):
        await stores.client(name).get("/other/key")
        seen[name] = stores.asked()
    await stores.client("BOTH").put("/logs-1/large", BODY, SIGNED_CHUNKS)
    seen["BOTH at logs"] = stores.asked()
    await stores.client("LOGS").get("/logs-1/key")
    seen["LOGS at logs"] = stores.asked()
    for path in ("other", "logs-1"):
        await stores.ask("GET", f"GET /{path}/key HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
    seen["nobody"] = stores.asked()
    await stores.close()

    read = "GET /other/key"
    assert seen == {
        "PLAIN": {"first": [("FIRST-OWN", read)], "logs": []},
        "PINNED": {"first": [], "logs": [("LOGS-OWN", read)]},
        "ONE": {"first": [("FIRST-A", read)], "logs": []},
        "TWO": {"first": [("FIRST-A", read)], "logs": []},
        "OTHER": {"first": [("FIRST-B", read)], "logs": []},
        "BOTH": {"first": [("FIRST-A", read)], "logs": []},
        "BOTH at logs": {"first": [], "logs": [("LOGS-A", "PUT /logs-1/large")]},
        "LOGS at logs": {"first": [], "logs": [("LOGS-A", "GET /logs-1/key")]},
        "nobody": {"first": [("FIRST-OWN", read)], "logs": [("LOGS-OWN", "GET /logs-1/key")]},
    }


@pytest_twisted.ensureDeferred
async def test_a_mapped_key_gets_no_other(tmp_path: Path) -> None:
    """
    If it has no mapping there it is refused, and no store gets it: the backend's own key could have more rights.
    """
    stores = TwoStores(tmp_path)
    await stores.client().put("/logs-1")
    stores.asked()
    refused = [
        await stores.client("ONE").get("/logs-1/key"),
        await stores.client("ONE").put("/logs-1/key", b"a"),
        await stores.client("ONE").put("/logs-1/large", BODY, SIGNED_CHUNKS),
        await stores.client("OTHER").put("/logs-1"),
    ]
    heard = stores.asked()
    await stores.close()

    assert [code(response) for response in refused] == [(403, "AccessDenied")] * 4
    assert heard == {"first": [], "logs": []}


@pytest_twisted.ensureDeferred
async def test_a_key_which_a_backend_refuses_is_named_in_the_log(tmp_path: Path) -> None:
    """
    The client reads 500: it did nothing wrong. The operator reads which of several keys it was, and no secret.
    """
    wrong = {**BACKEND_KEYS[1], "secret_access_key": "a wrong secret"}
    stores = TwoStores(tmp_path, backend_key=[BACKEND_KEYS[0], wrong, BACKEND_KEYS[2]])
    with capturedLogs() as captured:
        response = await stores.client("OTHER").get("/other/key")
    right = await stores.client("ONE").get("/other/key")
    await stores.close()

    assert code(response) == (500, "InternalError")
    assert code(right) == (404, "NoSuchBucket")
    (event,) = [event for event in captured if "refused our own signature" in (event["log_format"] or "")]
    text = event["log_format"].format(**event)
    assert "backend first refused our own signature, of key FIRST-B" in text
    assert "secret" not in text


@pytest_twisted.ensureDeferred
async def test_a_reload_swaps_routes_and_mappings(tmp_path: Path) -> None:
    """
    The next request follows the new file; a file that contradicts itself changes nothing.
    """
    stores = TwoStores(tmp_path)
    await stores.client("ONE").get("/moved/key")
    await stores.client().get("/logs-1/key")
    before = stores.asked()
    stores.tables = {"route": [{"bucket": "moved", "backend": "logs"}], "backend_key": BACKEND_KEYS}
    keys = tmp_path / "keys.toml"
    keys.write_text(keys.read_text().replace('backend_key = "a"', 'backend_key = ["b", "logs-a"]'))
    reloaded = stores.service.reload()
    await stores.client("ONE").get("/moved/key")
    await stores.client("ONE").get("/kept/key")
    await stores.client().get("/logs-1/key")
    after = stores.asked()
    stores.tables = {"route": []}
    with capturedLogs() as captured:
        reloaded_again = stores.service.reload()
    await stores.client("ONE").get("/moved/key")
    at_last = stores.asked()
    pools = [backend.agent.pools for backend in stores.service.generation.backends.values()]
    connections = [len(pool.connections) for (pool,) in pools]
    await stores.close()

    assert before == {"first": [("FIRST-A", "GET /moved/key")], "logs": [("LOGS-OWN", "GET /logs-1/key")]}
    assert reloaded
    assert after == {
        "first": [("FIRST-B", "GET /kept/key"), ("FIRST-OWN", "GET /logs-1/key")],
        "logs": [("LOGS-A", "GET /moved/key")],
    }
    assert not reloaded_again
    assert any("none is defined" in event.get("fault", "") for event in captured)
    assert at_last == {"first": [], "logs": [("LOGS-A", "GET /moved/key")]}
    assert connections == [1, 1], "accounts and generations share connections"


@pytest_twisted.ensureDeferred
async def test_a_hangup_during_an_upload(tmp_path: Path) -> None:
    """
    An upload ends at the backend where it began, even if no route leads there any more and it is no longer configured.
    """
    second = FaultyBackend()
    second_port = reactor.listenTCP(0, second, interface="127.0.0.1")
    more = f"""
[[backend]]
name = "second"
url = "http://127.0.0.1:{second_port.getHost().port}"
access_key_id = "SECONDKEY"
secret_access_key = "the-secret-of-the-second"

[[route]]
bucket = "test-*"
backend = "second"
"""
    daemon = Daemon(tmp_path, more=more)
    signer = Signer(now=datetime.now(UTC), host=f"127.0.0.1:{daemon.port}")
    request = signer.put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(request.head + request.body[:300_000])
        await until(lambda: client.pump() or (second.connections and second.connections[0].size))
        daemon.configuration.write_text(daemon.configuration.read_text().replace(more, ""))
        process.send_signal(signal.SIGHUP)
        await until(lambda: "reloaded: 4 keys" in daemon.output())
        small = signer.put("/test-bucket/small", b"a")
        moved = await daemon.ask(small.head + small.body)
        client.put(request.body[300_000:])
        await until(lambda: client.pump() or client.status)
    await daemon.close()
    await second_port.stopListening()
    for connection in second.connections:
        connection.transport.abortConnection()
    await until(lambda: all(connection.lost for connection in second.connections))

    assert client.status == 200
    assert [stored.body for stored in second.requests] == [BODY]
    assert moved.startswith(b"HTTP/1.1 200")
    assert [stored.body for stored in daemon.backend.requests] == [b"a"]


# ``s3proxy check``


def checked(directory: Path, capsys: pytest.CaptureFixture[str], more: str, keys: str) -> list[str]:
    """
    Check a correct configuration; return the warnings.
    """
    (directory / "keys.toml").write_text(keys)
    path = directory / "s3proxy.toml"
    path.write_text(
        f"""[[backend]]
name = "ceph"
profile = "ceph-rgw"
url = "http://127.0.0.1:1"
access_key_id = "OWN"
secret_access_key = "secret"
{more}"""
    )

    for file in (path, path.parent / "keys.toml"):
        file.chmod(0o600)

    assert main(["check", str(path)]) == 0
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]


def client_keys(*options: str) -> str:
    """
    Return the tables of some clients' keys.
    """
    return "".join(
        f'[[key]]\naccess_key_id = "C{number}"\nsecret_access_key = "secret"\n{more}\n'
        for number, more in enumerate(options)
    )


TENANTS = "".join(
    f'[[backend_key]]\nname = "{name}"\nbackend = "ceph"\naccess_key_id = "X"\nsecret_access_key = "secret"\n'
    for name in ("a", "b")
)
WITHOUT_RULES = "without access rules each can read, change and delete the objects of the others"
OPEN = '[[backend]]\nname = "open"\nurl = "http://127.0.0.1:2"\nsignature = "none"\n'
ROUTED = '[[route]]\nbucket = "logs-*"\nbackend = "open"\n'


@pytest.mark.parametrize(
    ("more", "keys", "warnings"),
    [
        ("", ["", "", ""], [f'warning: 3 client keys share the key of backend "ceph"; {WITHOUT_RULES}']),
        ("", [""], []),
        ("", ["", "disabled = true"], []),
        (TENANTS, ['backend_key = "a"', 'backend_key = "b"', ""], []),
        (TENANTS, ['backend_key = "a"', 'backend_key = "a"\ndisabled = true'], []),
        (
            TENANTS,
            ['backend_key = "a"', 'backend_key = "b"', 'backend_key = "b"'],
            [f'warning: 2 client keys share backend key "b"; {WITHOUT_RULES}'],
        ),
        (
            TENANTS + OPEN + ROUTED,
            ["", "", "", 'backend_key = "b"', 'backend_key = "b"', 'backend = "open"', 'backend = "open"'],
            [
                'warning: 2 client keys share backend key "b", 3 client keys share the key of backend "ceph"; '
                + WITHOUT_RULES
            ],
        ),
    ],
    ids=["one-key-of-ours", "single", "single-live", "one-to-one", "disabled", "shared", "own-key"],
)
def test_check_warns_where_keys_share_one_of_ours(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: str, keys: list[str], warnings: list[str]
) -> None:
    """
    One line, also for the one key of a single backend; a single client shares it with no other.
    """
    assert checked(tmp_path, capsys, more, client_keys(*keys)) == warnings
