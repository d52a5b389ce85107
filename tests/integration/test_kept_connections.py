"""
Two tenants over four kept connections to one storage system: no client gets another's response, or fails because of it.

Ceph 16.2 sends a last chunk after responses to HEAD, and our own stand-in sends more after any response. Each response
is compared with the one that the same request got when it was alone. It also names the object of its request: by its
content, its metadata, its entity tag or its document. `S3PROXY_KEPT_COUNT` requests are sent to each storage system;
with ``-m long`` it is 100,000.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import socket
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from trustme import CA

from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import parse_response_head
from tests.integration import rgw, swift
from tests.integration.storages import Processes
from tests.integration.stray import StrayStore
from tests.support.processes import free_port
from tests.support.signer import EMPTY, Signer

CONNECTIONS = 4
"Connections to the storage system."

WORKERS = 4
"Clients of each tenant, each with one connection."

STATUSES = {200, 204, 206, 304, 400, 403, 404, 412, 416}
"Statuses of responses to the mix."

_RGW_OTHER = ("RGWACCESSKEY00000002", "rgw-secret-of-the-integration-suite-0002")


@dataclass(frozen=True)
class Tenant:
    """
    A key of the proxy, and the key of the storage system that signs for it.
    """

    name: str
    backend_key: tuple[str, str]

    @property
    def key_id(self) -> str:
        return f"KEPTCLIENT{self.name.upper()}000000000"

    @property
    def secret(self) -> str:
        return f"kept-secret-of-tenant-{self.name}"

    @property
    def bucket(self) -> str:
        return f"kept-{self.name}"

    def signer(self, port: int) -> Signer:
        """
        Return a signer with its key and the present time.
        """
        return Signer(self.key_id, self.secret, datetime.now(UTC), f"127.0.0.1:{port}")


@dataclass(frozen=True)
class Storage:
    """
    A running storage system.

    Attributes:
        tenants: They have two keys, or both have the same key.
        stray: The stand-in, if it is our own.
        check: Fails if the storage system does not respond.
    """

    name: str
    profile: str
    port: int
    tenants: tuple[Tenant, Tenant]
    stray: StrayStore | None = None
    check: Callable[[], None] = lambda: None

    @property
    def is_divided(self) -> bool:
        """
        Whether the storage system forbids one tenant the other's bucket.
        """
        return self.tenants[0].backend_key != self.tenants[1].backend_key


@contextmanager
def _rgw(directory: Path) -> Iterator[Storage]:
    rgw.install()
    gateway = rgw.Gateway(directory, CA(), store="bluestore")
    try:
        gateway.start()
        gateway.create_user("other", *_RGW_OTHER)
        tenants = Tenant("a", (rgw.KEY_ID, rgw.SECRET)), Tenant("b", _RGW_OTHER)
        yield Storage("Ceph RGW 16.2", "ceph-rgw", gateway.port, tenants, check=gateway.wait)
    finally:
        gateway.stop()


@contextmanager
def _swift(directory: Path) -> Iterator[Storage]:
    servers = swift.Swift(directory, swift.install())
    try:
        servers.start()
        key = swift.KEY_ID, swift.SECRET
        yield Storage("Swift", "swift", servers.port, (Tenant("a", key), Tenant("b", key)), check=servers.wait)
    finally:
        servers.stop()


@contextmanager
def _stray(directory: Path) -> Iterator[Storage]:
    tenants = Tenant("a", ("STRAYKEY0000000000A", "stray-a")), Tenant("b", ("STRAYKEY0000000000B", "stray-b"))
    store = StrayStore({tenant.bucket: tenant.backend_key[0] for tenant in tenants})
    try:
        yield Storage("stray bytes", "generic", store.port, tenants, store)
    finally:
        store.stop()


@dataclass(frozen=True)
class Response:
    """
    A response that a client read.
    """

    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        """
        The code of an error.
        """
        return self.element("Code")

    def element(self, name: str) -> str:
        """
        Return the text of an element of its document; empty if there is none.
        """
        found = re.search(rb"<%s>([^<]*)</" % name.encode(), self.body)
        return found[1].decode() if found is not None else ""

    @property
    def shape(self) -> tuple[int, str]:
        """
        What is the same for each response to the same request.
        """
        return self.status, self.code


class Connection:
    """
    A client's kept connection to the proxy.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """
        End the connection.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def ask(self, method: str, wire: bytes) -> Response | None:
        """
        Send a request; return None if the connection was cut.

        Raises:
            AssertionError: There is more than one response.
        """
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 120)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self._socket.sendall(wire)
            return self._read(self._socket, method)
        except (ConnectionError, EOFError):
            self.close()
            return None

    def _read(self, connection: socket.socket, method: str) -> Response:
        data = b""
        while b"\r\n\r\n" not in data:
            data += _received(connection)
        raw_head, _, rest = data.partition(b"\r\n\r\n")
        head = parse_response_head(raw_head)
        assert head.status >= 200
        if method == "HEAD" or head.status in {204, 304}:
            body, more = b"", rest
        elif head.is_chunked:
            framing, pieces = ChunkedFraming(), []
            pieces += framing.feed(rest)
            while not framing.is_complete:
                pieces += framing.feed(_received(connection))
            body, more = b"".join(pieces), bytes(framing.remainder)
        else:
            assert head.content_length is not None
            while len(rest) < head.content_length:
                rest += _received(connection)
            body, more = rest[: head.content_length], rest[head.content_length :]
        assert not more, f"bytes behind a response: {more!r}"
        if not head.keeps_alive:
            self.close()
        fields = {name.decode().lower(): value.decode("latin-1") for name, value in head.headers}
        return Response(head.status, fields, body)


def _received(connection: socket.socket) -> bytes:
    data = connection.recv(65536)
    if not data:
        raise EOFError
    return data


@dataclass(frozen=True)
class Request:
    """
    A request of the mix.

    Attributes:
        kind: Requests of one kind get the same status and code.
        may_be_put_off: Whether 503 SlowDown is right if a connection failed: its body cannot be sent again, or it must
            not be carried out twice.
    """

    kind: str
    method: str
    bucket: str
    key: str = ""
    query: str = ""
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    may_be_put_off: bool = False
    is_forged: bool = False


@dataclass
class Run:
    """
    A proxy in front of a storage system, and its clients.

    Attributes:
        alone: The response to each kind of request when nothing else ran.
        faults: What must not happen.
        counts: Number of each outcome.
    """

    storage: Storage
    port: int
    count: int
    alone: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    request_ids: set[str] = field(default_factory=set)
    sent: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.monotonic)

    def take(self) -> bool:
        """
        Count a request; return True if there is still one to send.
        """
        with self._lock:
            if self.sent >= self.count or len(self.faults) >= 10:
                return False
            self.sent += 1
            if self.sent % 5000 == 0:
                seconds = time.monotonic() - self._began
                print(f"{self.storage.name}: {self.sent} of {self.count}, {seconds:.0f} s", file=sys.stderr, flush=True)
            return True

    def note(self, outcome: str, fault: str = "", request_id: str = "") -> None:
        """
        Record the outcome of a request.
        """
        with self._lock:
            self.counts[outcome] += 1
            if fault:
                self.faults.append(fault)
            if request_id:
                if request_id in self.request_ids:
                    self.faults.append(f"request id {request_id} came twice")
                self.request_ids.add(request_id)


def content_of(bucket: str, key: str) -> bytes:
    """
    Return the content of an object, which names the object.
    """
    return f"{bucket}/{key} ".encode() * (1 + int(hashlib.md5(key.encode()).hexdigest(), 16) % 120)


STEADY = tuple(f"steady-{number}" for number in range(20))
"Keys that are read, and never written during a run."


class Client:
    """
    One client of a tenant. No other client writes the keys that it writes.

    Attributes:
        stored: The content of its written keys.
    """

    def __init__(self, run: Run, tenant: Tenant, number: int) -> None:
        self._run = run
        self._tenant = tenant
        self._name = f"{tenant.name}{number}"
        self._chance = random.Random(self._name)
        self._connection = Connection(run.port)
        self._keys = [f"written-{self._name}-{index}" for index in range(10)]
        self._number = 0
        self.stored: dict[str, bytes] = {}

    def work(self) -> None:
        """
        Send requests until the count is reached.
        """
        try:
            while self._run.take():
                self.ask(self._draw())
        except Exception as error:  # an error of a thread must fail the test
            self._run.note("error", f"{self._name}: {error!r}")
        finally:
            self._connection.close()

    def close(self) -> None:
        """
        End its connection.
        """
        self._connection.close()

    def read_all(self) -> None:
        """
        Read what the client wrote.
        """
        for key in self._keys:
            for _ in range(20):
                response = self.ask(Request("get what was put", "GET", self._tenant.bucket, key))
                if response is not None and response.status < 500:
                    break

    def kinds(self) -> list[Request]:
        """
        Return one request of each kind, for random keys.
        """
        bucket, key = self._tenant.bucket, self._chance.choice(STEADY)
        etag = f'"{hashlib.md5(content_of(bucket, key)).hexdigest()}"'
        none, other = (("if-none-match", etag),), f'"{"0" * 32}"'
        future = (("if-modified-since", "Sun, 01 Nov 2026 00:00:00 GMT"),)
        found = [
            Request("head", "HEAD", bucket, key),
            Request("head, 304", "HEAD", bucket, key, headers=none),
            Request("head, nothing there", "HEAD", bucket, "missing-" + key),
            Request("head of the service", "HEAD", ""),
            Request("head of the bucket", "HEAD", bucket),
            Request("head of no bucket", "HEAD", "kept-missing"),
            Request("head of an ACL", "HEAD", bucket, key, "acl"),
            Request("head of the uploads", "HEAD", bucket, "", "uploads"),
            Request("get", "GET", bucket, key),
            Request("get, range", "GET", bucket, key, headers=(("range", "bytes=2-5"),)),
            Request("get, 304", "GET", bucket, key, headers=none),
            Request("get, 304 by date", "GET", bucket, key, headers=future),
            Request("get, 412", "GET", bucket, key, headers=(("if-match", other),)),
            Request("get, 416", "GET", bucket, key, headers=(("range", "bytes=9999999-"),)),
            Request("get, nothing there", "GET", bucket, "missing-" + key),
            Request("get of no bucket", "GET", "kept-missing", key),
            Request("list", "GET", bucket, "", f"list-type=2&prefix={key}"),
            Request("list of no number", "GET", bucket, "", "max-keys=none"),
            Request("delete, nothing there", "DELETE", bucket, "missing-" + key),
            Request("forged", "GET", bucket, key, is_forged=True),
        ]
        if self._run.storage.is_divided:
            others = next(each for each in self._run.storage.tenants if each is not self._tenant)
            found.append(Request("get of another's", "GET", others.bucket, key))
            found.append(Request("head of another's", "HEAD", others.bucket, key))
        return found

    def writes(self) -> list[Request]:
        """
        Return one write of each kind.
        """
        bucket, key = self._tenant.bucket, self._chance.choice(self._keys)
        label = (("x-amz-meta-name", f"{bucket}/{key}"),)
        body = b"%s %d" % (content_of(bucket, key), self._number)
        document = f"<Delete><Object><Key>{key}</Key></Object></Delete>".encode()
        return [
            Request("put", "PUT", bucket, key, body=body, headers=label),
            Request("put, streamed", "PUT", bucket, key, "", body * (1 + 80_000 // len(body)), label, True),
            Request("get what was put", "GET", bucket, key),
            Request("head what was put", "HEAD", bucket, key),
            Request("delete", "DELETE", bucket, key),
            Request("delete many", "POST", bucket, key, "delete", document, may_be_put_off=True),
        ]

    def _draw(self) -> Request:
        if self._chance.random() < 0.25:
            return self._chance.choices(self.writes(), (8, 1, 8, 8, 4, 2))[0]
        return self._chance.choice(self.kinds())

    def ask(self, request: Request) -> Response | None:
        """
        Send a request and judge its response.
        """
        self._number += 1
        name = f"kept-{self._name}-{self._number}"
        response = self._connection.ask(request.method, self._wire(request, name))
        stray = self._run.storage.stray
        if response is None or response.status >= 500:
            outcome = "cut" if response is None else f"{response.status} {response.code}"
            put_off = request.may_be_put_off and outcome == "503 SlowDown"
            if put_off:
                self._run.note("put off")
            elif stray is not None and name in stray.spoiled and outcome in {"cut", "500 InternalError", "500 "}:
                # A response with extra bytes is itself refused, but no other client's response is.
                self._run.note("spoiled")
            else:
                self._run.note(outcome, f"{name}, {request.kind}: {outcome}")
            if request.method != "GET" and request.method != "HEAD":
                self._settle(request)
            return response
        fault = self._judge(request, response)
        kind = (self._tenant.name, request.kind)
        if not fault and self._run.alone.get(kind, response.shape) != response.shape:
            fault = f"{response.shape}, and alone {self._run.alone[kind]}"
        if fault:
            fault = f"{name}, {request.kind} of {request.bucket}/{request.key}: {fault}"
        self._run.note(str(response.status), fault, response.fields.get("x-amz-request-id", ""))
        if request.kind in {"put", "put, streamed"}:
            self.stored[request.key] = request.body
        elif request.kind in {"delete", "delete many"}:
            self.stored.pop(request.key, None)
        return response

    def _settle(self, request: Request) -> None:
        """
        Find out whether a key was written, if the response does not show it.
        """
        if request.key not in self._keys:
            return
        for _ in range(50):
            removal = Request("delete", "DELETE", request.bucket, request.key)
            self._number += 1
            name = f"kept-{self._name}-{self._number}"
            response = self._connection.ask("DELETE", self._wire(removal, name))
            if response is not None and response.status == 204:
                self.stored.pop(request.key, None)
                return
        self._run.note("error", f"{self._name}: {request.key} cannot be deleted")

    def _wire(self, request: Request, name: str) -> bytes:
        signer = self._tenant.signer(self._run.port)
        target = f"/{request.bucket}/{request.key}".rstrip("/") if request.bucket else "/"
        if request.kind == "delete many":
            target = f"/{request.bucket}"
        if request.query:
            target += f"?{request.query}"
        headers = dict(request.headers)
        if request.kind == "delete many":
            headers["x-amz-checksum-sha256"] = _base64_sha256(request.body)
        payload = hashlib.sha256(request.body).hexdigest() if request.body else EMPTY
        unsigned = {"User-Agent": name}
        if request.method in {"PUT", "POST"}:
            unsigned["Content-Length"] = str(len(request.body))
        head, signature = signer.head(request.method, target, headers, payload=payload, unsigned=unsigned)
        if request.is_forged:
            head = head.replace(signature.encode(), b"0" * 64)
        return head + request.body

    def _judge(self, request: Request, response: Response) -> str:
        """
        Return what shows that a response does not belong to this request; empty if nothing does.
        """
        names = f"{request.bucket}/{request.key}"
        found = response.fields.get("x-amz-meta-name", names)
        if found != names:
            return f"the metadata of {found}"
        if response.body and response.element("Error") == "" and b"<Error>" in response.body:
            told = [response.element("Key") or request.key, response.element("BucketName") or request.bucket]
            if told != [request.key, request.bucket]:
                return f"the error of {told}"
            resource = response.element("Resource")
            if resource and request.key not in resource:
                return f"the error of {resource}"
            if response.element("RequestId") not in {"", response.fields["x-amz-request-id"]}:
                return "the error of another request"
        expected = self.stored.get(request.key) if request.key in self._keys else None
        if request.kind in {"get what was put", "head what was put"}:
            if expected is None:
                return "" if response.status == 404 else f"{response.status} for what is not there"
            if response.status != 200:
                return f"{response.status} for what was put"
        elif request.kind in {"head", "get"}:
            expected = content_of(request.bucket, request.key)
            if response.status != 200:
                return str(response.shape)
        if response.status == 200 and request.kind in {"get", "get what was put"} and response.body != expected:
            return f"other content: {response.body[:60]!r}"
        if response.status == 200 and request.kind in {"head", "head what was put"}:
            assert expected is not None
            if response.fields["content-length"] != str(len(expected)):
                return "another length"
            if response.fields["etag"].strip('"') != hashlib.md5(expected).hexdigest():
                return "another entity tag"
        if request.kind == "get, range" and response.body != content_of(request.bucket, request.key)[2:6]:
            return f"another range: {response.body[:60]!r}"
        if response.status == 304:
            etag = response.fields.get("etag", "").strip('"')
            if etag not in {"", hashlib.md5(content_of(request.bucket, request.key)).hexdigest()}:
                return "another entity tag"
        if request.kind in {"put", "put, streamed"} and (
            response.status != 200 or response.fields["etag"].strip('"') != hashlib.md5(request.body).hexdigest()
        ):
            return f"{response.status}, {response.fields.get('etag')}: another's response"
        if request.kind == "list":
            keys = re.findall(r"<Key>([^<]*)</Key>", response.body.decode())
            prefix = request.query.rpartition("=")[2]
            if keys != [key for key in sorted(STEADY) if key.startswith(prefix)]:
                return f"another list: {keys}"
        if request.kind == "delete many" and response.element("Key") != request.key:
            return f"the deletion of {response.element('Key')!r}"
        if request.kind == "delete" and response.status != 204:
            return str(response.shape)
        return ""


def _base64_sha256(body: bytes) -> str:
    import base64

    return base64.b64encode(hashlib.sha256(body).digest()).decode()


def _start_proxy(processes: Processes, storage: Storage) -> tuple[int, int]:
    """
    Start a daemon; return the ports of its listener and of its admin endpoint.
    """
    port, admin, directory = free_port(), free_port(), processes.directory
    keys, further = [], []
    for tenant in storage.tenants:
        keys.append(
            f'[[key]]\naccess_key_id = "{tenant.key_id}"\nsecret_access_key = "{tenant.secret}"\n'
            f'backend_key = "{tenant.name}"\n'
        )
        further.append(
            f'[[backend_key]]\nname = "{tenant.name}"\nbackend = "storage"\n'
            f'access_key_id = "{tenant.backend_key[0]}"\nsecret_access_key = "{tenant.backend_key[1]}"\n'
        )
    (directory / "keys.toml").write_text("".join(keys))
    (directory / "keys.toml").chmod(0o600)
    key_id, secret = storage.tenants[0].backend_key
    (directory / "s3proxy.toml").write_text(
        f"""[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
admin = "tcp:{admin}:interface=127.0.0.1"
[[backend]]
name = "storage"
url = "http://127.0.0.1:{storage.port}"
profile = "{storage.profile}"
connections = {CONNECTIONS}
access_key_id = "{key_id}"
secret_access_key = "{secret}"
{"".join(further)}[credentials]
source = "file:keys.toml"
[times]
connect = 60
"""
    )
    state = directory / "state"
    state.mkdir()
    command = ["twistd", "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"]
    processes.start(command, port, {"STATE_DIRECTORY": str(state)})
    return port, admin


def _repeats(admin: int) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=60) as response:
        text = response.read().decode()
    return int(sum(float(value) for value in re.findall(r"^s3proxy_backend_retries\w*\{[^}]*\} (\S+)$", text, re.M)))


def _prepare(run: Run, tenant: Tenant) -> None:
    """
    Store the objects that are read.
    """
    connection = Connection(run.port)
    signer = tenant.signer(run.port)
    writes = [signer.put(f"/{tenant.bucket}", b"")]
    for key in STEADY:
        name = f"{tenant.bucket}/{key}"
        writes.append(signer.put(f"/{name}", content_of(tenant.bucket, key), headers={"x-amz-meta-name": name}))
    for write in writes:
        # The stand-in's extra bytes may spoil this response, too.
        for _ in range(20):
            response = connection.ask("PUT", write.head + write.body)
            if response is not None and response.status == 200:
                break
        else:
            raise AssertionError(f"{write.head!r}: {response}")
    connection.close()


def _ask_alone(run: Run, tenant: Tenant, client: Client) -> None:
    """
    Send a request of each kind while nothing else runs.
    """
    for request in client.kinds():
        for _ in range(20):
            response = client.ask(request)
            if response is not None and response.status < 500:
                break
        else:
            raise AssertionError(f"{request.kind}: {response}")
        run.alone[tenant.name, request.kind] = response.shape


def keep_connections(storage: Storage, directory: Path, count: int) -> str:
    """
    Send requests of all kinds from two tenants to a storage system, and judge the responses.

    Returns:
        The figures.
    """
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(directory))
        port, admin = _start_proxy(processes, storage)
        run = Run(storage, port, count)
        clients = [Client(run, tenant, number) for tenant in storage.tenants for number in range(WORKERS)]
        for client in clients:
            stack.callback(client.close)
        for tenant in storage.tenants:
            _prepare(run, tenant)
        for tenant, first in zip(storage.tenants, clients[::WORKERS], strict=True):
            _ask_alone(run, tenant, first)
        run.counts.clear()
        began = time.monotonic()
        threads = [threading.Thread(target=client.work) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        storage.check()
        repeats = _repeats(admin)
        total = sum(run.counts.values())
        stray = storage.stray
        figures = f"{storage.name}: {total} requests in {seconds:.0f} s, {repeats} sent again, {len(run.faults)} faults"
        figures += f", {dict(sorted(run.counts.items()))}"
        if stray is not None:
            figures += f", left { ({f'{kind}: {way}': number for (kind, way), number in stray.left.items()}) }"
        print(f"\n{figures}", file=sys.stderr, flush=True)
        assert not run.faults, "\n".join([figures, *run.faults])
        for client in clients:
            client.read_all()
        assert not run.faults, "\n".join(run.faults)
        assert {shape[0] for shape in run.alone.values()} >= STATUSES
        if stray is not None:
            often = {
                (method, name): times
                for (method, name), times in stray.done.items()
                if name and times > (1 if method == b"POST" else 2)
            }
            assert not often
            assert repeats > 0
            assert len(stray.left) == 8
        return figures


_STORAGES = {"ceph-rgw": _rgw, "swift": _swift, "stray": _stray}


@pytest.mark.integration
@pytest.mark.parametrize("name", _STORAGES)
def test_kept_connections(name: str, tmp_path: Path) -> None:
    """
    A thousand requests: every response belongs to its request, and no request fails because of another's extra bytes.
    """
    with _STORAGES[name](tmp_path) as storage:
        (tmp_path / "proxy").mkdir()
        keep_connections(storage, tmp_path / "proxy", int(os.environ.get("S3PROXY_KEPT_COUNT", "1000")))


@pytest.mark.long
@pytest.mark.parametrize("name", _STORAGES)
def test_kept_connections_for_long(name: str, tmp_path: Path) -> None:
    """
    The same with a hundred thousand requests.
    """
    with _STORAGES[name](tmp_path) as storage:
        (tmp_path / "proxy").mkdir()
        keep_connections(storage, tmp_path / "proxy", int(os.environ.get("S3PROXY_KEPT_COUNT", "100000")))
