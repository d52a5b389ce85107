"""
Every state of a request with every party lost in every way: all of it ends within its time, and nothing is left.

In each row everybody has stopped: the state's own time must end it. Then one party is lost, or stays silent, and the
test's clock runs until nothing is left. The table of times is printed when all rows have run.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from s3proxy.backend.connection import MAX_INTERIM_ANSWERS, BackendConnection
from s3proxy.backend.request import BackendLimits
from s3proxy.exchange import State
from s3proxy.frontend.channel import ClientTimes, S3Channel
from s3proxy.proxy import ProxiedExchange
from s3proxy.resign.profiles import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection
from s3proxy.testing.faulty_client import FaultyClient
from tests.conftest import ErrorLog
from tests.forms import form_request, multipart, v4_fields
from tests.harness import Harness, turns, until
from tests.liveness import Ledger
from tests.signer import SIGNED_CHUNKS, UNSIGNED_TRAILER, SignedRequest, Signer

TARGET = "/test-bucket/key"
BODY = bytes(range(256)) * 6000
SMALL = b"hello" * 200
BUFFER = 65536
GET = Signer().head("GET", TARGET)[0]
UPLOAD = Signer().put(TARGET, BODY, SIGNED_CHUNKS)
SMALL_UPLOAD = Signer().put(TARGET, SMALL)
FORM = form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="k"), SMALL))
STRANGER = Signer(access_key_id="AKIANOBODYKNOWSTHIS0")
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
SHORT = b"HTTP/1.1 200 OK\r\nContent-Length: 16384\r\n\r\n" + bytes(16384)
BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 500\r\n\r\n<Error>"
TIMES = ClientTimes(head=30.0, idle=60.0, keep_alive=75.0, linger=10.0)
LIMITS = BackendLimits(socket_buffer=BUFFER, connect_time=5.0, idle_time=60.0, pooled_time=25.0)
LOOKUP, PATIENCE, FIRST_BYTE = 10.0, 5.0, 60.0
AFTERWARDS = TIMES.keep_alive + TIMES.linger + LIMITS.pooled_time + LIMITS.connect_time
"Seconds for which connections may last when their request has ended."


def never(*ignored: object) -> None:
    """
    Do nothing.
    """


@implementer(IStreamClientEndpoint)
class Unanswered:
    """
    The way to an address that does not answer.
    """

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred(lambda connecting: connecting.errback(ConnectingCancelledError(None)))


class Stage:
    """
    A proxy on a clock, and everybody whom it talks to.

    Attributes:
        asked: What a credential source or an authorizer was asked and has not answered.
    """

    def __init__(self, channel: str, **options: Any) -> None:
        self.clock = Clock()
        self.backend = FaultyBackend(socket_buffer=BUFFER)
        self.backend.on_request = never
        self.asked: list[Deferred[Any]] = []
        self.harness = Harness(
            backend=self.backend,
            clock=self.clock,
            is_tls=channel == "https",
            socket_buffer=BUFFER,
            first_byte_time=FIRST_BYTE,
            **{"limits": LIMITS, "times": TIMES, **options},
        )

    def silence_source(self) -> None:
        """
        Let the credential source answer no more.
        """
        self.harness.store.look_up = self.ask  # type: ignore[method-assign]

    def ask(self, *ignored: object) -> Deferred[Any]:
        """
        Be asked, and do not answer.
        """
        self.asked.append(Deferred())
        return self.asked[-1]

    # What an authorizer has.
    authorize = ask

    async def connect(self) -> FaultyClient:
        """
        Open a client's connection, which reads.
        """
        return await self.harness.connect()

    @property
    def exchanges(self) -> list[ProxiedExchange]:
        """
        Those which run.
        """
        return list(self.harness.proxy._running)

    async def reach(self, state: State) -> None:
        """
        Wait until a request is in a state, and octets have come to rest.
        """
        await until(lambda: any(found._exchange.state is state for found in self.exchanges), 3000)
        await turns(40)
        assert any(found._exchange.state is state for found in self.exchanges)

    @property
    def is_over(self) -> bool:
        """
        Whether nothing is left: no request, no connection of either side, and no timer.
        """
        pool = self.harness.pool
        return not (
            self.harness.proxy.running_count
            or self.harness.site.channels
            or pool.connections
            or pool.busy_count
            or pool._waiting
        )

    async def end(self) -> tuple[float, float]:
        """
        Let the time pass; return when the last request had ended, and when nothing was left.
        """
        requests_ended = None
        for step in range(2400):
            # What was on its way comes at the kernel's pace, not at the clock's.
            await turns(100 if step < 3 else 6)
            if requests_ended is None and not self.harness.proxy.running_count:
                requests_ended = self.clock.seconds()
            if self.is_over:
                break
            self.clock.advance(0.5)
        assert requests_ended is not None, "a request never ends"
        assert self.is_over, "a connection never ends"
        return requests_ended, self.clock.seconds()


# States


async def _idle(stage: Stage) -> FaultyClient:
    return await stage.connect()


async def _in_head(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(GET[: len(GET) // 2])
    await turns(5)
    return client


async def _kept_alive(stage: Stage) -> FaultyClient:
    stage.backend.behave()
    client = await stage.connect()
    client.send(GET)
    assert await client.answer("GET")
    return client


async def _kept_alive_after_a_long_answer(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client = await stage.connect()
    client.pause()
    client.send(GET)
    await stage.reach(State.RELAYING)
    client.resume()
    assert await client.answer("GET")
    return client


async def _looking_up(stage: Stage) -> FaultyClient:
    stage.silence_source()
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.LOOKING_UP)
    return client


async def _looking_up_for_an_upload(stage: Stage) -> FaultyClient:
    stage.silence_source()
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body[:1000])
    await stage.reach(State.LOOKING_UP)
    return client


async def _authorizing(stage: Stage) -> FaultyClient:
    stage.harness.proxy.authorizer = stage  # type: ignore[assignment]
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body[:1000])
    await stage.reach(State.LOOKING_UP)
    return client


async def _waiting_for_a_budget(stage: Stage) -> FaultyClient:
    first = await stage.connect()
    first.send(GET)
    await stage.reach(State.AWAITING)
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.LOOKING_UP)
    return client


async def _reading_form(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(FORM.head + FORM.body[:100])
    await stage.reach(State.READING_FORM)
    return client


async def _judging_form(stage: Stage) -> FaultyClient:
    stage.silence_source()
    client = await stage.connect()
    client.send(FORM.head + FORM.body[:-500])
    await stage.reach(State.JUDGING_FORM)
    return client


async def _holding(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(SMALL_UPLOAD.head + SMALL_UPLOAD.body[:500])
    await stage.reach(State.HOLDING)
    return client


async def _sending(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body[: len(UPLOAD.body) // 2])
    await stage.reach(State.SENDING)
    return client


async def _sending_to_who_reads_nothing(stage: Stage) -> FaultyClient:
    stage.backend.pause_after = 1
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body)
    await stage.reach(State.SENDING)
    return client


async def _connecting_for_an_upload(stage: Stage) -> FaultyClient:
    stage.harness.pool.endpoint = Unanswered()
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body)
    await stage.reach(State.SENDING)
    return client


async def _connecting(stage: Stage) -> FaultyClient:
    stage.harness.pool.endpoint = Unanswered()
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.AWAITING)
    return client


async def _waiting_for_a_connection(stage: Stage) -> FaultyClient:
    first = await stage.connect()
    first.send(GET)
    await stage.reach(State.AWAITING)
    client = await stage.connect()
    client.send(GET)
    await until(lambda: stage.harness.pool._waiting)
    return client


async def _asking_to_continue(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body)
    await stage.reach(State.SENDING)
    return client


async def _awaiting(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.AWAITING)
    return client


async def _awaiting_with_more_requests(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(GET * 400)
    await stage.reach(State.AWAITING)
    return client


async def _awaiting_after_an_upload(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(UPLOAD.head + UPLOAD.body)
    await stage.reach(State.AWAITING)
    return client


async def _judging(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(REFUSAL)
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.JUDGING)
    return client


async def _relaying(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(BEGUN)
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.RELAYING)
    return client


async def _relaying_to_who_reads_nothing(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client = await stage.connect()
    client.pause()
    client.send(GET)
    await stage.reach(State.RELAYING)
    return client


async def _relaying_to_who_reads_nothing_and_asks_more(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client = await stage.connect()
    client.pause()
    client.send(GET)
    await stage.reach(State.RELAYING)
    client.send(GET * 400)
    await turns(20)
    return client


async def _kept_alive_with_an_unread_answer(stage: Stage) -> FaultyClient:
    """
    Its answer has ended, and the end of it has not left: the connection already waits for the next request.
    """
    client = await stage.connect()
    client.pause()
    (channel,) = stage.harness.site.channels
    stage.backend.on_request = lambda connection, request: connection.send(SHORT)
    for _ in range(200):
        client.send(GET)
        await turns(30)
        if channel.writer.is_paused:
            break
    await until(lambda: not stage.harness.proxy.running_count, 300)
    assert channel.writer.is_paused
    return client


async def _refused_with_an_unread_answer(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_answer(stage)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    await turns(20)
    return client


async def _awaiting_with_an_unread_answer(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_answer(stage)
    stage.backend.on_request = never
    client.send(GET)
    await stage.reach(State.AWAITING)
    return client


async def _sending_with_an_unread_answer(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_answer(stage)
    client.send(UPLOAD.head + UPLOAD.body[: len(UPLOAD.body) // 2])
    await stage.reach(State.SENDING)
    return client


async def _relaying_with_an_unread_answer(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_answer(stage)
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client.send(GET)
    await stage.reach(State.RELAYING)
    return client


async def _owing_a_refused_body(stage: Stage) -> FaultyClient:
    request = STRANGER.put(TARGET, SMALL)
    client = await stage.connect()
    client.send(request.head + request.body[:500])
    answer = await client.answer("PUT")
    assert answer is not None
    assert answer.status == 403
    return client


async def _lingering(stage: Stage) -> FaultyClient:
    request = STRANGER.put(TARGET, BODY, SIGNED_CHUNKS)
    client = await stage.connect()
    client.send(request.head + request.body[:500])
    answer = await client.answer("PUT")
    assert answer is not None
    assert answer.status == 403
    return client


async def _refused_connection(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert await client.answer("GET")
    return client


@dataclass(frozen=True)
class StateRow:
    """
    A state and how to come to it.

    Attributes:
        seconds: In which its request ends, or its connection where there is no request; everybody has stopped.
        options: Of the harness.
    """

    come: Callable[[Stage], Awaitable[FaultyClient]]
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)


ONE_CONNECTION = {"limits": replace(LIMITS, max_connections=1)}
STATES = {
    "before a head": StateRow(_idle, TIMES.head),
    "in a head": StateRow(_in_head, TIMES.head),
    "kept alive": StateRow(_kept_alive, TIMES.keep_alive),
    "kept alive after a long answer": StateRow(_kept_alive_after_a_long_answer, TIMES.keep_alive),
    "kept alive, its answer unread": StateRow(_kept_alive_with_an_unread_answer, TIMES.keep_alive),
    "refused as no request, an answer unread": StateRow(_refused_with_an_unread_answer, TIMES.linger),
    "AWAITING, an answer unread": StateRow(_awaiting_with_an_unread_answer, FIRST_BYTE),
    "SENDING, an answer unread": StateRow(_sending_with_an_unread_answer, TIMES.idle),
    "RELAYING, an answer unread": StateRow(_relaying_with_an_unread_answer, TIMES.idle),
    "LOOKING_UP": StateRow(_looking_up, LOOKUP),
    "LOOKING_UP for an upload": StateRow(_looking_up_for_an_upload, LOOKUP),
    "LOOKING_UP by the authorizer": StateRow(_authorizing, LOOKUP),
    "LOOKING_UP for a budget": StateRow(
        _waiting_for_a_budget, FIRST_BYTE + PATIENCE, {"budget_limits": BudgetLimits(requests=1)}
    ),
    "READING_FORM": StateRow(_reading_form, TIMES.idle),
    "JUDGING_FORM": StateRow(_judging_form, LOOKUP),
    "HOLDING": StateRow(_holding, TIMES.idle),
    "SENDING": StateRow(_sending, TIMES.idle),
    "SENDING to who reads nothing": StateRow(_sending_to_who_reads_nothing, 2 * LIMITS.idle_time),
    "SENDING while connecting": StateRow(_connecting_for_an_upload, LIMITS.connect_time),
    "SENDING, 100 Continue asked for": StateRow(
        _asking_to_continue,
        LIMITS.continue_time + 2 * LIMITS.idle_time,
        {"profile": replace(PROFILES["generic"], sends_expect=True)},
    ),
    "AWAITING while connecting": StateRow(_connecting, LIMITS.connect_time),
    "AWAITING a connection": StateRow(_waiting_for_a_connection, FIRST_BYTE, ONE_CONNECTION),
    "AWAITING": StateRow(_awaiting, FIRST_BYTE),
    # Each request has its time, until the breaker opens.
    "AWAITING, more is asked": StateRow(_awaiting_with_more_requests, LIMITS.breaker_failures * FIRST_BYTE),
    "AWAITING after an upload": StateRow(_awaiting_after_an_upload, FIRST_BYTE),
    "JUDGING": StateRow(_judging, LIMITS.idle_time),
    "RELAYING": StateRow(_relaying, LIMITS.idle_time),
    "RELAYING to who reads nothing": StateRow(_relaying_to_who_reads_nothing, TIMES.idle),
    "RELAYING to who reads nothing and asks more": StateRow(_relaying_to_who_reads_nothing_and_asks_more, TIMES.idle),
    "owing a refused body": StateRow(_owing_a_refused_body, TIMES.idle),
    "lingering": StateRow(_lingering, TIMES.linger),
    "refused as no request": StateRow(_refused_connection, TIMES.linger),
}


# Losses


def _each(act: Callable[[FaultyConnection], None]) -> Callable[[Stage, FaultyClient], None]:
    def lose(stage: Stage, client: FaultyClient) -> None:
        for connection in stage.backend.connections:
            if connection.lost is None:
                act(connection)

    return lose


def _fail_all(make: Callable[[], Exception]) -> Callable[[Stage, FaultyClient], None]:
    def lose(stage: Stage, client: FaultyClient) -> None:
        for asked in stage.asked:
            asked.errback(make())

    return lose


LOSSES: dict[str, Callable[[Stage, FaultyClient], None]] = {
    "all silent": never,
    "client reads nothing": lambda stage, client: client.pause(),
    "client reads on": lambda stage, client: client.resume(),
    "client FIN": lambda stage, client: client.half_close(),
    "client RST": lambda stage, client: client.reset(),
    "backend FIN": _each(FaultyConnection.end),
    "backend RST": _each(FaultyConnection.reset),
    "source FIN": _fail_all(ConnectionDone),
    "source RST": _fail_all(ConnectionLost),
    "source gives up": _fail_all(CancelledError),
}
OF_THE_SOURCE = ("LOOKING_UP", "LOOKING_UP for an upload", "LOOKING_UP by the authorizer", "JUDGING_FORM")
OF_THE_BACKEND = (
    "kept alive",
    "kept alive after a long answer",
    "LOOKING_UP for a budget",
    "SENDING",
    "SENDING to who reads nothing",
    "SENDING, 100 Continue asked for",
    "AWAITING a connection",
    "AWAITING",
    "AWAITING after an upload",
    "JUDGING",
    "RELAYING",
    "RELAYING to who reads nothing",
)


def _is_there(state: str, loss: str) -> bool:
    """
    Whether the party that is lost has anything to do with the state.
    """
    if loss.startswith("source"):
        return state in OF_THE_SOURCE
    if loss == "client reads on":
        return "unread" in state or "reads nothing" in state
    return not loss.startswith("backend") or state in OF_THE_BACKEND


CELLS = [
    (state, loss, channel)
    for state in STATES
    for loss in LOSSES
    if _is_there(state, loss)
    for channel in ("http", "https")
]


def open_files() -> int:
    """
    Return how many descriptors this process has.
    """
    return len(os.listdir("/proc/self/fd"))


def held() -> int:
    """
    Return how many connections and requests there are in this process.
    """
    gc.collect()
    return sum(isinstance(found, ProxiedExchange | BackendConnection | S3Channel) for found in gc.get_objects())


@pytest.mark.parametrize(("state", "loss", "channel"), CELLS)
@pytest_twisted.ensureDeferred
async def test_a_loss(
    state: str, loss: str, channel: str, error_log: ErrorLog, liveness_table: dict[str, dict[str, str]]
) -> None:
    """
    The request ends in the state's time, its connections soon after, and there is no timer, descriptor or place left.
    """
    row = STATES[state]
    stage = Stage(channel, **row.options)
    client = await row.come(stage)
    LOSSES[loss](stage, client)
    requests_ended, all_ended = await stage.end()
    used = stage.harness.proxy.budgets.used
    await stage.harness.close()
    timers = stage.clock.getDelayedCalls()
    error_log.flush()

    assert requests_ended <= row.seconds + 1
    assert all_ended <= row.seconds + AFTERWARDS + 1
    assert used == {"requests": 0, "bodies": 0, "memory": 0}
    assert timers == []
    liveness_table.setdefault(f"{state}, {channel}", {})[loss] = f"{requests_ended:g} / {all_ended:g}"
