"""
Every fault of a backend or a client with every kind of request: one outcome each, and nothing is left over.

The table is in `tests.product.fault_rows`. It is printed after the run, and is a page of the documentation.
"""

from __future__ import annotations

import fcntl
import gc
import struct
import termios
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.request import BackendLimits
from s3proxy.backend.upload import Upload
from s3proxy.exchange.exchange import Exchange
from s3proxy.frontend.channel import S3Channel
from s3proxy.frontend.times import ClientTimes
from s3proxy.profiles.known import PROFILES
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from s3proxy.testing.faulty_client import FaultyClient, Response
from s3proxy.transport.writer import stream_socket
from tests.conftest import ErrorLog
from tests.product.fault_rows import (
    AMBIGUOUS_BODIES,
    AMBIGUOUS_HEADS,
    BODY,
    CUT,
    EXCESS,
    INTERNAL,
    KINDS,
    NONE,
    POISON,
    SMALL,
    Row,
    backend_rows,
    client_rows,
)
from tests.support.forms import form_request, multipart, v4_fields
from tests.support.harness import SERVER, Harness, server_context, turns, until
from tests.support.open_files import open_files
from tests.support.signer import SIGNED_CHUNKS, SignedRequest, Signer
from tests.support.wire_cases import element

BUFFER = 65536
STEPS = 96
"Steps in which time passes: what is due later must find that what was due earlier is done."

REQUESTS: dict[str, SignedRequest] = {
    "small upload": Signer().put("/test-bucket/k", SMALL),
    "streamed upload": Signer().put("/test-bucket/k", BODY, SIGNED_CHUNKS),
    "part": Signer().put("/test-bucket/k?partNumber=1&uploadId=u", BODY, SIGNED_CHUNKS),
    "form": form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="k"), BODY)),
    "download": SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b""),
}
BODIES = {"small upload": SMALL, "download": b""}
OTHER_KEY = SERVER["credentials"][1]
OTHER_TENANT = Signer(access_key_id=OTHER_KEY["access_key"], secret=OTHER_KEY["secret_key"])
HEALTHY = OTHER_TENANT.head("GET", "/test-bucket/healthy")[0]
HELD = (Exchange, BackendConnection, S3Channel, Upload)


class Stage:
    """
    A proxy with small kernel buffers, a row of the table, and a client whose request meets it.
    """

    def __init__(self, row: Row, channel: str, clock: Clock, *, max_connections: int = 512) -> None:
        self.row = row
        self.clock = clock
        self.backend = FaultyBackend(socket_buffer=BUFFER)
        self.harness = Harness(
            backend=self.backend,
            clock=clock,
            socket_buffer=BUFFER,
            is_tls=channel == "TLS",
            spools=row.spools,
            backend_speaks_tls=row.speaks_tls,
            backend_context=server_context(row.certificate) if row.certificate else None,
            limits=BackendLimits(socket_buffer=BUFFER, max_connections=max_connections),
            times=ClientTimes(minimum_rate=row.minimum_rate),
            profile=replace(PROFILES["generic"], sends_expect=row.expects),
        )
        row.misbehave(self.backend)
        if not row.is_there:
            self.harness.backend_port.stopListening()

    async def outcome(self, kind: str) -> str:
        """
        Let a client do its part, let the time pass, and return what it read.
        """
        request = REQUESTS[kind]
        data = request.head + request.body
        places = {
            "head": len(request.head) // 2,
            "body": len(request.head) + len(request.body) // 2,
            "end": len(data),
        }
        client = await self.harness.connect()
        self.row.misdeed(client, data, places[self.row.place])
        # Where the kernel takes more bytes late, at its own pace, a deadline begins anew: then time goes on.
        for step in range(3 * STEPS):
            await self.settle(client)
            is_over = step >= STEPS and not self.harness.proxy.running_count
            if is_over or client.lost is not None or client.received:
                break
            self.clock.advance(2 * self.row.waits / STEPS)
        if client.lost is None:
            client.resume()
        reading = Deferred.fromCoroutine(client.response("GET" if kind == "download" else "PUT"))
        await until(lambda: reading.called, 20_000)
        return described(await reading, client)

    async def ended(self) -> None:
        """
        Wait until nothing more is done for the request.
        """
        await until(lambda: self.harness.proxy.running_count == 0)
        await until(lambda: self.harness.pool.busy_count == 0)

    async def settle(self, client: FaultyClient) -> None:
        """
        Let bytes move until none moves any more.
        """
        still, last = 0, None
        while still < 30:
            await turns()
            now = (
                [connection.received_size for connection in self.backend.connections],
                self.harness.proxy.held_size,
                len(client.received),
                client.lost is None,
                self.harness.proxy.running_count,
            )
            still = still + 1 if now == last and not self._is_kernel_at_work(client) else 0
            last = now

    def _is_kernel_at_work(self, client: FaultyClient) -> bool:
        """
        Whether bytes are on their way to somebody who reads: windows open at the kernel's pace, not at the clock's.
        """
        channels = self.harness.site.channels
        if (
            client.lost is None
            and not any(channel.holds.reasons for channel in channels)
            and unsent_size(client.transport)
        ):
            return True
        return any(
            connection.transport is not None and unsent_size(connection.transport)
            for connection in self.harness.pool.connections
            if not any(other.is_paused for other in self.backend.connections)
        )


def described(response: Response | None, client: FaultyClient) -> str:
    """
    Return what a client read, in the words of the table.
    """
    if response is None:
        return NONE if client.has_left else CUT
    return f"{response.status} {element(response.body, 'Code') or ''}".strip()


def unsent_size(transport: Any) -> int:
    """
    Return the bytes of a transport that the other side's kernel has not accepted (SIOCOUTQ, tcp(7)).
    """
    found = stream_socket(transport)
    if found is None or found.fileno() < 0:
        return 0
    return int(struct.unpack("i", fcntl.ioctl(found, termios.TIOCOUTQ, bytes(4)))[0])


def everything_held() -> list[object]:
    """
    Return the objects that live only as long as a connection or a request, and Deferreds that have not fired.
    """
    gc.collect()
    return [
        found
        for found in gc.get_objects()
        if isinstance(found, HELD) or (isinstance(found, Deferred) and not found.called)
    ]


@pytest.fixture(scope="module", autouse=True)
def frozen() -> Iterator[None]:
    """
    Exclude the objects that exist now from `everything_held`.
    """
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


ROWS: dict[str, Callable[[Clock], dict[str, Row]]] = {"backend": backend_rows, "client": client_rows}
CELLS = [
    (party, name, channel, kind)
    for party, rows in ROWS.items()
    for name, row in rows(Clock()).items()
    for channel in row.channels
    for kind in KINDS
]


@pytest.mark.parametrize(("party", "name", "channel", "kind"), CELLS)
@pytest_twisted.ensureDeferred
async def test_a_fault(
    party: str, name: str, channel: str, kind: str, error_log: ErrorLog, fault_table: dict[str, dict[str, str]]
) -> None:
    """
    The client reads the outcome of the table, the backend holds what it may, another tenant is served, nothing is left
    over.
    """
    files, held = open_files(), len(everything_held())
    clock = Clock()
    row = ROWS[party](clock)[name]
    stage = Stage(row, channel, clock)

    outcome = await stage.outcome(kind)
    await stage.ended()
    stored = [request.body for request in stage.backend.requests]
    stage.backend.behave()
    if row.is_reached:
        served = await stage.harness.request(HEALTHY)
        assert (served.status, served.body) == (200, b"hello")
    await stage.harness.close()
    error_log.flush()
    timers = clock.getDelayedCalls()
    del stage

    assert outcome == row.outcome(kind, channel)
    sent = BODIES.get(kind, BODY)
    assert [body for body in stored if kind == "form" or body == sent] == stored
    assert bool(stored) == row.is_stored(kind, channel)
    assert timers == [], "a timer is left"
    assert open_files() == files, "a file or socket is left"
    assert len(everything_held()) == held, "a connection, request or Deferred is left"
    fault_table.setdefault(f"{name}, {channel}", {})[kind] = outcome


class Answering:
    """
    A backend which gives one response of these bytes, and right ones from then on.

    Args:
        step: Seconds between two bytes; 0 for all at once.
    """

    def __init__(self, data: bytes, step: float) -> None:
        self.clock = Clock()
        self.step = step
        self.data = data
        self.stage = Stage(Row(""), "plain", self.clock, max_connections=1)
        self.stage.backend.on_request = self._response
        self.connections: list[FaultyConnection] = []

    def _response(self, connection: FaultyConnection, request: ReceivedRequest) -> None:
        self.connections.append(connection)
        if len(self.connections) > 1:
            respond_ok(connection, request)
        elif self.step:
            connection.send_slowly(self.data, 1 / self.step, self.clock, 1)
        else:
            connection.send(self.data)

    async def ask(self, kind: str) -> FaultyClient:
        """
        Send a request, and return its client when the backend has the request.
        """
        client = await self.stage.harness.connect()
        client.send(REQUESTS[kind].head + REQUESTS[kind].body)
        await until(lambda: self.connections)
        return client

    async def ask_as_another(self) -> FaultyClient:
        """
        Send another tenant's request, which needs the only allowed connection.
        """
        client = await self.stage.harness.connect()
        client.send(HEALTHY)
        return client

    async def send_all(self) -> None:
        """
        Let all bytes leave, or as many as somebody takes.
        """
        while self.step and self.connections[0].is_busy and self.connections[0].lost is None:
            self.clock.advance(self.step)
            await turns(2)

    async def responses(self, kind: str, first: FaultyClient, other: FaultyClient) -> tuple[str, str]:
        """
        Return what each client read.
        """
        described_first = described(await first.response("GET" if kind == "download" else "PUT"), first)
        response = await other.response("GET")
        assert response is not None
        await self.stage.harness.close()
        return described_first, f"{response.status} {response.body.decode()}"


STEPS_OF_AN_RESPONSE = [0.0, 1e-6]
WHOLE_OR_NOT = ["whole", "byte by byte"]
OWN = "200 hello"
BEGUN = {"form": "204"}
MANY = 1000
"Bytes of a response which is too long to be sent one by one."


@pytest.mark.parametrize("step", STEPS_OF_AN_RESPONSE, ids=WHOLE_OR_NOT)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [*AMBIGUOUS_HEADS, *AMBIGUOUS_BODIES])
@pytest_twisted.ensureDeferred
async def test_an_ambiguous_response(name: str, kind: str, step: float) -> None:
    """
    The response is not believed. Another tenant, who waits for the same connection, reads its own response.
    """
    data = (AMBIGUOUS_HEADS.get(name) or AMBIGUOUS_BODIES[name]) + POISON
    answering = Answering(data, step if len(data) < MANY else 0)
    client = await answering.ask(kind)
    other = await answering.ask_as_another()
    await answering.send_all()
    first, second = await answering.responses(kind, client, other)

    assert first == (BEGUN.get(kind, CUT) if step and name in AMBIGUOUS_BODIES else INTERNAL)
    assert second == OWN


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXCESS)
@pytest_twisted.ensureDeferred
async def test_bytes_after_a_response(name: str, kind: str) -> None:
    """
    If they arrive with the response, it is not believed; another tenant waits, and reads its own response. A response
    that ends with its head is believed: what follows is discarded with the connection.
    """
    answering = Answering(b"".join(EXCESS[name]) + POISON, 0)
    client = await answering.ask(kind)
    other = await answering.ask_as_another()
    first, second = await answering.responses(kind, client, other)

    status = EXCESS[name][0][9:12].decode()
    assert first == (status if status in {"204", "304"} else INTERNAL)
    assert second == OWN
    assert answering.connections[0] is not answering.connections[1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", EXCESS)
@pytest_twisted.ensureDeferred
async def test_bytes_long_after_a_response(name: str, kind: str) -> None:
    """
    The response was good, and its client reads it. The connection is not reused, so the next tenant reads its own
    response.
    """
    response, excess = EXCESS[name]
    answering = Answering(response + excess + POISON, 1e-6)
    client = await answering.ask(kind)
    await answering.send_all()
    other = await answering.ask_as_another()
    first, second = await answering.responses(kind, client, other)

    status = response[9:12].decode()
    assert first == (BEGUN.get(kind, status) if status == "200" else status)
    assert second == OWN
    assert len(answering.connections) == 2
    assert answering.connections[0] is not answering.connections[1]
