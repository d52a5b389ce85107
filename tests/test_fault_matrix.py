"""
Every fault of a backend with every kind of request: one outcome each, and nothing is left behind.

The table is printed when it was run; its rows are the faults, its columns the kinds of requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from s3proxy.backend.request import BackendLimits
from s3proxy.testing.faulty_backend import OK, FaultyBackend, FaultyConnection, ReceivedRequest
from tests.conftest import ErrorLog
from tests.forms import form_request, multipart, v4_fields
from tests.harness import Harness, RawClient, turns, until
from tests.signer import SIGNED_CHUNKS, SignedRequest, Signer
from tests.test_wire_cases import element

BODY = bytes(range(256)) * 1500
SMALL = b"hello" * 100
DOWNLOAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
HEALTHY = Signer().head("GET", "/test-bucket/healthy")[0]

KINDS: dict[str, SignedRequest] = {
    "small upload": Signer().put("/test-bucket/k", SMALL),
    "streamed upload": Signer().put("/test-bucket/k", BODY, SIGNED_CHUNKS),
    "part": Signer().put("/test-bucket/k?partNumber=1&uploadId=u", BODY, SIGNED_CHUNKS),
    "form": form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="k"), BODY)),
    "download": SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b""),
}
CUT = "cut"
REFUSAL = b"HTTP/1.1 404 Not Found\r\nContent-Length: 32\r\n\r\n<Error><Code>Gone</Code></Error>"


def answering(*answers: bytes) -> Callable[[FaultyBackend], None]:
    """
    Answer a whole request with these octets.
    """

    def misbehave(backend: FaultyBackend) -> None:
        backend.on_request = lambda connection, request: connection.answer(b"".join(answers))

    return misbehave


def at_head(act: Callable[[FaultyConnection], None]) -> Callable[[FaultyBackend], None]:
    """
    Do something when a head has come, and answer nothing.
    """

    def misbehave(backend: FaultyBackend) -> None:
        backend.on_head = lambda connection, head: act(connection)
        backend.on_request = lambda connection, request: None

    return misbehave


def early(answer: bytes) -> Callable[[FaultyBackend], None]:
    """
    Answer a head, and read no more of what follows it.
    """

    def misbehave(backend: FaultyBackend) -> None:
        at_head(lambda connection: connection.answer(answer))(backend)
        backend.pause_after = 1

    return misbehave


def reset(connection: FaultyConnection) -> None:
    """
    Reset a connection.
    """
    transport: Any = connection.transport
    transport.abortConnection()


def resetting_within(backend: FaultyBackend) -> None:
    """
    Reset inside of a body, or inside of the answer where there is none.
    """
    backend.reset_after = 100_000

    def answer(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.answer(DOWNLOAD[: len(DOWNLOAD) // 2])
        transport: Any = connection.transport
        transport.loseConnection()

    backend.on_request = answer


def ending_early(backend: FaultyBackend) -> None:
    """
    Close inside of an answer's body.
    """

    def answer(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nshort")
        transport: Any = connection.transport
        transport.loseConnection()

    backend.on_request = answer


def reading_nothing(backend: FaultyBackend) -> None:
    """
    Take the head and a little of the body, and no more.
    """
    backend.pause_after = 1
    backend.on_request = lambda connection, request: None


@dataclass(frozen=True)
class Fault:
    """
    What goes wrong, and what clients then read: by kind of request, or for all others.

    Attributes:
        waits: Seconds which pass before anybody gives up.
        stores: Kinds of which the backend may have the whole request: it failed afterwards.
    """

    misbehave: Callable[[FaultyBackend], None]
    others: str
    by_kind: dict[str, str]
    waits: float = 0
    stores: tuple[str, ...] = ()


ALL = tuple(KINDS)
GONE = "500 InternalError"
SILENT = "503 ServiceUnavailable"

FAULTS: dict[str, Fault] = {
    "resets each connection": Fault(
        lambda backend: setattr(backend, "on_connection", reset), GONE, {"streamed upload": GONE, "part": GONE}
    ),
    "resets after the head": Fault(at_head(reset), GONE, {}, stores=("small upload", "download")),
    "resets within the body": Fault(
        resetting_within, GONE, {"small upload": CUT, "download": CUT}, stores=("small upload", "download")
    ),
    "resets after all of it": Fault(
        lambda backend: setattr(backend, "on_request", lambda connection, request: reset(connection)),
        GONE,
        {},
        stores=ALL,
    ),
    "reads nothing": Fault(reading_nothing, SILENT, {}, waits=61, stores=("small upload", "download")),
    "never answers": Fault(at_head(lambda connection: None), SILENT, {}, waits=61, stores=ALL),
    "answers garbage": Fault(answering(b"garbage\r\n\r\n"), GONE, {}, stores=ALL),
    "answers with an endless head": Fault(answering(b"HTTP/1.1 200 OK\r\nA: ", b"b" * 200_000), GONE, {}, stores=ALL),
    "answers with two lengths": Fault(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello"), GONE, {}, stores=ALL
    ),
    "answers with a length and chunks": Fault(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        GONE,
        {},
        stores=ALL,
    ),
    "switches protocols": Fault(answering(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n"), GONE, {}, stores=ALL),
    "sends interim answers only": Fault(answering(b"HTTP/1.1 103 Early\r\n\r\n" * 20), GONE, {}, stores=ALL),
    "ends within its answer": Fault(ending_early, CUT, {"form": "204"}, stores=ALL),
    "sends more than its answer": Fault(answering(OK, b"HTTP/1.1 200 OK\r\n"), GONE, {}, stores=ALL),
    "refuses": Fault(answering(REFUSAL), "404 Gone", {}, stores=ALL),
    "refuses early": Fault(early(REFUSAL), "404 Gone", {}, stores=("small upload", "download")),
    "succeeds early": Fault(
        early(OK), GONE, {"small upload": "200", "download": "200"}, stores=("small upload", "download")
    ),
}


async def outcome_of(harness: Harness, client: RawClient, request: SignedRequest, fault: Fault) -> str:
    """
    Send a request, let the time pass, and say what its client read.
    """
    method = request.head.split(b" ", 1)[0].decode()
    client.send(request.head + request.body)
    if fault.waits:
        await until(lambda: harness.backend.connections and harness.backend.connections[-1].received_size)
        await turns(300)
        assert harness.clock is not None
        for _ in range(4):
            harness.clock.advance(fault.waits)
            await turns(20)
    answer = await client.answer(method)
    if answer is None:
        return CUT
    return f"{answer.status} {element(answer.body, 'Code') or ''}".strip()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FAULTS)
@pytest_twisted.ensureDeferred
async def test_a_fault(name: str, kind: str, error_log: ErrorLog, fault_table: dict[str, dict[str, str]]) -> None:
    """
    The client reads the outcome of the table; the backend holds nothing which it should not; the next client is served.
    """
    fault = FAULTS[name]
    backend = FaultyBackend(socket_buffer=16384)
    limits = BackendLimits(socket_buffer=16384)
    harness = Harness(backend=backend, clock=Clock(), socket_buffer=16384, limits=limits)
    former = (backend.on_connection, backend.on_head, backend.on_request)
    fault.misbehave(backend)

    client = await harness.connect()
    outcome = await outcome_of(harness, client, KINDS[kind], fault)
    complete = len(backend.requests)
    backend.on_connection, backend.on_head, backend.on_request = former
    backend.pause_after = backend.reset_after = None
    for connection in backend.connections:
        if connection.lost is None:
            connection.resume()
    other = await harness.connect()
    other.send(HEALTHY)
    served = await other.answer("GET")
    await harness.close()
    error_log.flush()

    assert outcome == fault.by_kind.get(kind, fault.others)
    assert complete <= (kind in fault.stores)
    assert served is not None
    assert (served.status, served.body) == (200, b"hello")
    assert harness.clock is not None
    assert harness.clock.getDelayedCalls() == [], "a timer is left"
    fault_table.setdefault(name, {})[kind] = outcome
