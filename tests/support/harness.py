"""
A proxy between real sockets on loopback: a client which is bytes, a backend which does what it is told.
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from tempfile import gettempdir
from typing import Any

from trustme import CA
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import Clock, deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory

from s3proxy.authentication.realm import Anonymous, Realm
from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.backend import Backend
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendLimits
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.context import ProxyContext, ProxySettings
from s3proxy.exchange.proxy import Proxy
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.frontend.admission import ConnectionLimit
from s3proxy.frontend.peers import Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderFactory
from s3proxy.frontend.resource import S3Resource
from s3proxy.frontend.site import S3Site
from s3proxy.frontend.times import ClientTimes
from s3proxy.multipart.store import MultipartStore
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey, Profile
from s3proxy.resign.account import Account
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits, Credential
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from s3proxy.transport.writer import bound_socket_buffers

VECTORS = Path(__file__).parents[1] / "vectors"
SERVER = json.loads((VECTORS / "server.json").read_text())["default"]
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
BACKEND_KEY = BackendKey("BACKENDKEY", "the-backend-secret-of-the-tests")


def data_set_credentials() -> dict[bytes, Credential]:
    """
    Return the keys of the data set.
    """
    found = {}
    for item in SERVER["credentials"]:
        expires = item.get("expires")
        found[item["access_key"].encode()] = Credential(
            access_key_id=item["access_key"],
            secret_access_keys=(item["secret_key"],),
            session_token=item["session_token"],
            expires_at=datetime.fromisoformat(expires) if expires else None,
        )
    return found


class MemoryStore:
    """
    Credentials in a dictionary.
    """

    def __init__(self, credentials: dict[bytes, Credential]) -> None:
        self.credentials = credentials
        self.look_up_count = 0

    def look_up(self, access_key_id: bytes) -> Deferred[Credential | None]:
        """
        Find a key.
        """
        self.look_up_count += 1
        return succeed(self.credentials.get(access_key_id))


async def turns(count: int = 1) -> None:
    """
    Let the reactor run.
    """
    for _ in range(count):
        await deferLater(reactor, 0)


async def until(condition: Callable[[], Any], limit: int = 200_000) -> None:
    """
    Let the reactor run until a condition holds; fail after ``limit`` turns.

    Some turns wait for a millisecond. A reactor that never waits takes Python's lock back before a thread wakes up: one
    row of SQLite took it half a second.
    """
    for number in range(limit):
        if condition():
            return
        await deferLater(reactor, 0.001 if number % 100 == 99 else 0)
    raise AssertionError("it did not come to be so")


async def until_steady(measure: Callable[[], int | None]) -> None:
    """
    Wait until a value stays the same for 300 turns.

    Args:
        measure: Called each turn; returns None while there is nothing to measure.
    """
    steady, before = 0, None
    while steady < 300:
        now = measure()
        steady = steady + 1 if now is not None and now == before else 0
        before = now
        await turns()


class ClockedReactor:
    """
    The real reactor for sockets and for calls that are due at once, and a clock under the test's control for all other
    timers.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.seconds = clock.seconds

    def callLater(self, delay: float, *arguments: Any, **named: Any) -> Any:
        return (self._clock if delay else reactor).callLater(delay, *arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(reactor, name)


AUTHORITY = CA()
"The authority that every party trusts."


@cache
def server_context(fault: str = "") -> Any:
    """
    Return a server's TLS context for 127.0.0.1.

    Args:
        fault: What is wrong with its certificate: the ``name``, the ``issuer``, or its ``date``, which is past.
    """
    certificate = (CA() if fault == "issuer" else AUTHORITY).issue_cert(
        *(["other.example.test"] if fault == "name" else ["127.0.0.1", "localhost"]),
        not_after=datetime.now(UTC) - timedelta(days=2) if fault == "date" else None,
    )
    return PrivateCertificate.loadPEM(certificate.private_key_and_cert_chain_pem.bytes()).options()


def over_tls(endpoint: IStreamClientEndpoint) -> IStreamClientEndpoint:
    """
    Return an endpoint with TLS, which accepts 127.0.0.1 only.
    """
    options = optionsForClientTLS("127.0.0.1", trustRoot=Certificate.loadPEM(AUTHORITY.cert_pem.bytes()))
    wrapped: IStreamClientEndpoint = wrapClientTLS(options, endpoint)
    return wrapped


@dataclass
class Harness:
    """
    A proxy and its backend, both listening.

    Attributes:
        is_tls: Whether both connections are TLS.
        backend_context: The backend's, where it is not an ordinary one.
        backend_speaks_tls: False for a backend which does not, though it should.
        now: What the proxy takes for the time.
        trust: What proxies in front of this one are believed.
        multipart: Where multipart uploads are kept; None to send them to the backend. It is closed in the end.
        make_store: Makes the source of credentials.
        records: What went to the access log.
        refused: Addresses of clients whose bytes were no request.
    """

    profile: Profile = PROFILES["generic"]
    signature: str = "v4"
    payload: str = "auto"
    is_tls: bool = False
    limits: BackendLimits = field(default_factory=BackendLimits)
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    times: ClientTimes = field(default_factory=ClientTimes)
    backend: FaultyBackend = field(default_factory=FaultyBackend)
    credentials: dict[bytes, Credential] = field(default_factory=data_set_credentials)
    backend_key: BackendKey = BACKEND_KEY
    forwarded: str = "none"
    endpoint: IStreamClientEndpoint | None = None
    backend_context: Any = None
    backend_speaks_tls: bool = True
    socket_buffer: int = 0
    authorizer: Any = None
    first_byte_time: float = 60.0
    spools: bool = False
    conditions: str = "refuse"
    clock: Clock | None = None
    now: datetime = NOW
    anonymous: Anonymous = field(default_factory=Anonymous)
    refused: frozenset[str] = frozenset()
    regions: tuple[bytes, ...] = (b"us-east-1",)
    replay_window: ReplayWindow | None = None
    spool_quota: int = 1 << 30
    budget_limits: BudgetLimits = NO_LIMITS
    key_limits: BudgetLimits = NO_LIMITS
    connection_limit: ConnectionLimit | None = None
    trust: Trust = field(default_factory=Trust)
    domains: tuple[bytes, ...] = (b"s3.example.test",)
    multipart: MultipartStore | None = None
    extensions: tuple[str, ...] | None = None
    is_read_only: bool = False
    has_read_only_backend: bool = False
    make_store: Callable[[dict[bytes, Credential]], Any] = MemoryStore

    def __post_init__(self) -> None:
        self.records: list[AccessRecord] = []
        self.clients: list[FaultyClient] = []
        numbers = itertools.count(1)
        timed: Any = reactor if self.clock is None else ClockedReactor(self.clock)
        if self.is_tls and self.backend_speaks_tls:
            context = self.backend_context or server_context()
            self.backend_port = reactor.listenSSL(0, self.backend, context, interface="127.0.0.1")
        else:
            self.backend_port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        host = self.backend_port.getHost()
        endpoint = self.endpoint or TCP4ClientEndpoint(reactor, "127.0.0.1", host.port, timeout=5)
        if self.is_tls:
            endpoint = over_tls(endpoint)
        self.pool = Pool(timed, endpoint, self.limits)
        self.agent = BackendAgent([self.pool])
        account = Account(
            self.profile,
            self.backend_key,
            b"127.0.0.1:%d" % host.port,
            self.signature,
            SigningKeys(4),
            self.payload,
        )
        self.uploads = MultipartUploads(self.multipart, timed) if self.multipart is not None else None
        backend = Backend(
            "test",
            self.agent,
            account,
            self.forwarded,
            self.first_byte_time,
            spooled_size=sys.maxsize if self.spools else 0,
            conditions=self.conditions,
            keeps_multipart=self.uploads is not None,
            extensions=self.extensions,
            is_read_only=self.has_read_only_backend,
        )
        tokens = {c.session_token.encode() for c in self.credentials.values() if c.session_token}
        self.store = self.make_store(self.credentials)
        self.spool = SpoolDirectory(Path(gettempdir()), self.spool_quota)
        self.proxy = Proxy(
            ProxyContext(
                ProxySettings(
                    Realm(
                        regions=self.regions,
                        domains=self.domains,
                        refused=self.refused,
                        anonymous=self.anonymous,
                        known_tokens=tokens,
                    ),
                    self.body_limits,
                    replay_window=self.replay_window,
                    is_read_only=self.is_read_only,
                ),
                self.store,
                lambda head, address, authenticated: backend,
                wall_clock=lambda: self.now,
                clock=timed.seconds,
                make_request_id=lambda: f"{next(numbers):016X}",
                log_access=self.records.append,
                authorizer=self.authorizer,
                spool=self.spool,
                budgets=Budgets(timed, self.budget_limits, self.key_limits, patience=5.0),
                multipart=self.uploads,
            )
        )
        self.refused: list[str] = []
        self.site = S3Site(
            S3Resource(self.proxy),
            timed,
            times=self.times,
            limit=self.connection_limit,
            connection_refused=lambda host, error, request_id: self.refused.append(host),
            trust=self.trust,
        )
        if self.trust.proxy_protocol:
            tls = TLSMemoryBIOFactory(server_context(), False, self.site) if self.is_tls else self.site
            self.port = reactor.listenTCP(0, ProxyHeaderFactory(tls, self.site), interface="127.0.0.1")
        elif self.is_tls:
            self.port = reactor.listenSSL(0, self.site, server_context(), interface="127.0.0.1")
        else:
            self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        if self.socket_buffer:
            bound_listener(self.port, self.socket_buffer)

    async def connect(self, endpoint: IStreamClientEndpoint | None = None) -> FaultyClient:
        """
        Open a client's connection.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        if endpoint is None:
            endpoint = self.plain_endpoint()
            if self.is_tls:
                endpoint = over_tls(endpoint)
        client = await endpoint.connect(factory)
        await client.ready
        if self.socket_buffer:
            bound_socket_buffers(client.transport, self.socket_buffer)
        self.clients.append(client)
        return client

    def plain_endpoint(self) -> IStreamClientEndpoint:
        """
        Return the endpoint of the proxy's port, without TLS.
        """
        return TCP4ClientEndpoint(reactor, "127.0.0.1", self.port.getHost().port)

    async def request(self, head: bytes, body: bytes = b"", *, step: int = 0, method: str | None = None) -> Any:
        """
        Send a request on a new connection, its body in pieces of ``step``; return the response.
        """
        client = await self.connect()
        client.send(head)
        await send_pieces(client, body, step)
        return await client.response(method or head.split(b" ", 1)[0].decode("latin-1"))

    async def close(self) -> None:
        """
        Close everything, and wait until it has closed.
        """
        await self.port.stopListening()
        await maybeDeferred(self.backend_port.stopListening)
        for client in self.clients:
            if client.lost is None:
                client.transport.abortConnection()
        await self.agent.close()
        for channel in tuple(self.site.channels):
            channel.abort()
        for connection in self.backend.connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        await until(
            lambda: (
                not self.site.channels
                and all(client.lost for client in self.clients)
                and all(connection.lost for connection in self.backend.connections)
            )
        )
        if self.uploads is not None:
            await self.uploads.close()
        assert self.proxy.running_count == 0, "an exchange has not ended"
        assert self.spool.size == 0, "a body is still on disk"


def bound_listener(port: Any, size: int) -> None:
    """
    Limit the kernel's buffers of every connection that a port will accept.
    """
    with socket.socket(fileno=os.dup(port.fileno())) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


async def send_pieces(client: FaultyClient, data: bytes, step: int) -> None:
    """
    Send bytes in pieces, each in a turn of the reactor of its own.
    """
    if not step:
        client.send(data)
        return
    for start in range(0, len(data), step):
        if client.lost is not None:
            return
        client.send(data[start : start + step])
        await deferLater(reactor, 0)


def material(value: Any) -> bytes:
    """
    Make the bytes which the data set describes.
    """
    import base64

    if value is None:
        return b""
    if isinstance(value, list):
        return b"".join(map(material, value))
    if "text" in value:
        return value["text"].encode()
    if "base64" in value:
        return base64.b64decode(value["base64"])
    return value["repeat"].encode() * value["count"]


def in_transfer_chunks(body: bytes, size: int = 8192) -> bytes:
    """
    Put a body into chunked transfer coding.
    """
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def load_cases(names: Iterable[str]) -> list[dict[str, Any]]:
    """
    Read cases of the data set.
    """
    cases = []
    for name in names:
        for case in json.loads((VECTORS / f"{name}.json").read_text())["cases"]:
            cases.append({**case, "file": name})
    return cases


def load_vectors(name: str) -> list[dict[str, Any]]:
    """
    Read the vectors of a file.
    """
    vectors: list[dict[str, Any]] = json.loads((VECTORS / "vectors" / f"{name}.json").read_text())["vectors"]
    return vectors


def encoded(text: str) -> bytes:
    """
    The bytes which a text of the data set stands for.
    """
    return text.encode("utf-8", "surrogateescape")


HOUR = timedelta(hours=1)
