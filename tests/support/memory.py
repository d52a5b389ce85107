"""
The whole proxy without a socket: bytes in at the client's side, bytes out, and what its backend got.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import gettempdir
from typing import Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import ITransport
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.authentication.realm import Realm
from s3proxy.backend.backend import Backend
from s3proxy.backend.request import BackendRequest, ResponseReceiver
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.context import ProxyContext, ProxySettings
from s3proxy.exchange.proxy import Proxy
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.frontend.resource import S3Resource
from s3proxy.frontend.site import S3Site
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.account import Account
from s3proxy.s3.credential import Credential
from s3proxy.s3.head import RequestHead, parse_request_head, parse_response_head
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.transport.writer import Buffer
from tests.oracle.tap import BackendStream, begin_stream
from tests.support.harness import BACKEND_KEY, NOW, MemoryStore, data_set_credentials

_HEAD = b'HTTP/1.1 %d X\r\nETag: "5d41402abc4b2a76b9719d911017c592"\r\nContent-Length: 0'
_OK = parse_response_head(_HEAD % 200)


@dataclass(frozen=True, slots=True)
class Stored:
    """
    A complete request as the backend got it.
    """

    head: RequestHead
    body: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """
    What became of some bytes: the statuses and codes of the responses, and what the backend got.

    Attributes:
        responses: All bytes of the responses.
        is_open: Whether the proxy would read on.
    """

    statuses: tuple[int, ...]
    codes: tuple[str | None, ...]
    stored: tuple[Stored, ...]
    responses: bytes
    is_open: bool


class _Consumer:
    """
    The consumer of an upload's bytes.
    """

    def __init__(self, stream: BackendStream) -> None:
        self.pieces: list[bytes] = []
        self._stream = stream

    def write(self, data: Buffer) -> None:
        """
        Take bytes.
        """
        self.writeSequence((data,))

    def writeSequence(self, pieces: Iterable[Buffer]) -> None:
        """
        Take bytes.
        """
        taken = [bytes(piece) for piece in pieces]
        self._stream.feed(taken)
        self.pieces += taken


class MemoryAgent:
    """
    A backend that accepts everything at once, and returns 200.

    Attributes:
        statuses: The statuses of the first responses, instead.
        partial_count: The number of uploads that were cut.
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.stored: list[Stored] = []
        self.partial_count = 0

    def send(self, request: BackendRequest) -> Deferred[BackendResponse]:
        """
        Send a request whose body was held.
        """
        begin_stream(request.head).feed((request.content,))
        return succeed(self._take(request.head, request.content))

    def ask(self, request: BackendRequest, receiver: ResponseReceiver) -> Deferred[None]:
        """
        Send a request whose body was held.
        """
        return self.send(request).addCallbacks(receiver.answered, receiver.not_answered)

    def send_upload(self, upload: Upload) -> Deferred[BackendResponse]:
        """
        Send a request whose body streams.
        """
        consumer = _Consumer(begin_stream(upload.head))
        answered: Deferred[BackendResponse] = Deferred()

        def ended(ignored: None) -> None:
            content = b"".join(consumer.pieces)
            assert len(content) == upload.length, "the body is not as long as its head says"
            answered.callback(self._take(upload.head, content))

        def cut(ignored: Failure) -> None:
            self.partial_count += 1
            assert sum(map(len, consumer.pieces)) < upload.length or not upload.length, "a refused body is complete"

        upload.startProducing(consumer).addCallbacks(ended, cut)
        return answered

    def _take(self, head: bytes, content: bytes) -> BackendResponse:
        self.stored.append(Stored(parse_request_head(head[:-4]), content))
        received = parse_response_head(_HEAD % self.statuses.pop(0)) if self.statuses else _OK
        response = BackendResponse(None, received, 0, None)
        response.ended(None)
        return response


class _Watch:
    def add(self, fd: int, hung_up: Callable[[bool], None]) -> None:
        """
        Do nothing.
        """

    def remove(self, fd: int) -> None:
        """
        Do nothing.
        """

    def close(self) -> None:
        """
        Do nothing.
        """


class _Site(S3Site):
    watch = cast(Any, _Watch())


@implementer(ITransport)
class MemoryTransport:
    """
    A client's connection.
    """

    disconnecting = False
    disconnected = False

    def __init__(self) -> None:
        self.out: list[bytes] = []
        self.is_paused = False
        self.is_closed = False
        self.is_reset = False

    def write(self, data: bytes) -> None:
        """
        Give bytes to the client.
        """
        self.out.append(bytes(data))

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """
        Give bytes to the client.
        """
        self.out += data

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Ignore the producer: it is never paused.
        """

    def unregisterProducer(self) -> None:
        """
        Do nothing: the producer was never paused.
        """

    def pauseProducing(self) -> None:
        """
        Stop reading.
        """
        self.is_paused = True

    def resumeProducing(self) -> None:
        """
        Read again.
        """
        self.is_paused = False

    def loseConnection(self) -> None:
        """
        Close the connection.
        """
        self.is_closed = True

    loseWriteConnection = loseConnection

    def abortConnection(self) -> None:
        """
        Reset the connection.
        """
        self.is_closed = self.is_reset = True

    def getPeer(self) -> Any:
        """
        Return no address.
        """
        return None

    getHost = getPeer

    def fileno(self) -> int:
        """
        Return no descriptor.
        """
        return -1


@dataclass
class MemoryProxy:
    """
    A proxy and its backend.

    Attributes:
        now: The proxy's time.
    """

    realm: Realm = field(default_factory=lambda: Realm(domains=(b"s3.example.test",)))
    credentials: dict[bytes, Credential] = field(default_factory=data_set_credentials)
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    profile: str = "generic"
    now: datetime = NOW
    replay_window: ReplayWindow | None = None

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.agent = MemoryAgent()
        self.records: list[AccessRecord] = []
        numbers = itertools.count(1)
        account = Account(PROFILES[self.profile], BACKEND_KEY, b"backend.test", "v4", SigningKeys(4))
        backend = Backend("memory", cast(Any, self.agent), account)
        self.spool = SpoolDirectory(Path(gettempdir()), 1 << 30)
        self.proxy = Proxy(
            ProxyContext(
                ProxySettings(self.realm, self.body_limits, replay_window=self.replay_window),
                MemoryStore(self.credentials),
                lambda head, address, authenticated: backend,
                wall_clock=lambda: self.now,
                clock=self.clock.seconds,
                make_request_id=lambda: f"{next(numbers):016X}",
                log_access=self.records.append,
                spool=self.spool,
                budgets=Budgets(self.clock),
            )
        )
        self.site = _Site(S3Resource(self.proxy), self.clock)
        self.site.make_request_id = lambda: "0" * 16

    def send(self, wire: bytes, cuts: Iterable[int] = ()) -> Verdict:
        """
        Send bytes on a connection of their own.

        Args:
            cuts: Where the network splits them.

        Returns:
            The result. Everything that the connection held is released.
        """
        self.agent.stored.clear()
        transport = MemoryTransport()
        channel = self.site.buildProtocol(None)
        channel.makeConnection(transport)
        places = sorted({0, len(wire), *(cut for cut in cuts if 0 < cut < len(wire))})
        for start, end in itertools.pairwise(places):
            if transport.is_closed or transport.is_paused:
                break
            channel.dataReceived(wire[start:end])
        is_open = not transport.is_closed
        was_paused = transport.is_paused
        stored = tuple(self.agent.stored)
        channel.connectionLost(Failure(ConnectionResetError()))
        self.clock.advance(3600)
        assert not self.clock.getDelayedCalls(), "a timer runs on"
        assert self.proxy.running_count == 0, "an exchange runs on"
        assert self.spool.size == 0, "a body is still on disk"
        assert len(self.agent.stored) == len(stored), "a request became complete when its client left"
        assert not was_paused or stored, "a client was stopped for good"
        responses = b"".join(transport.out)
        statuses, codes = _read_responses(responses)
        return Verdict(statuses, codes, stored, responses, is_open)


def _read_responses(data: bytes) -> tuple[tuple[int, ...], tuple[str | None, ...]]:
    statuses, codes = [], []
    while data:
        raw_head, _, data = data.partition(b"\r\n\r\n")
        head = parse_response_head(raw_head)
        if head.status == 100:
            continue
        length = head.content_length or 0
        body = data[:length]
        if not body.startswith(b"<?xml") and length:
            # A response to HEAD has no body.
            length, body = 0, b""
        data = data[length:]
        statuses.append(head.status)
        code = body.partition(b"<Code>")[2].partition(b"</Code>")[0]
        codes.append(code.decode() or None)
    return tuple(statuses), tuple(codes)
