"""
Every state of a request, with every party lost in every way: the request ends in time, and nothing is left.

In each row all parties have stopped: the time limit of the state must end it. Then one party is lost, or stays silent,
and the test's clock runs until nothing is left. The table of times is printed when all rows have run.
"""

from __future__ import annotations

import base64
import hashlib
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

from s3proxy.backend.reader import MAX_INTERIM_RESPONSES
from s3proxy.backend.request import BackendLimits
from s3proxy.exchange.exchange import Exchange
from s3proxy.exchange.machine import State
from s3proxy.frontend.times import ClientTimes
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from s3proxy.testing.faulty_client import FaultyClient
from tests.conftest import ErrorLog
from tests.support.forms import form_request, multipart, v4_fields
from tests.support.harness import Harness, turns, until
from tests.support.liveness import Ledger
from tests.support.open_files import open_files
from tests.support.signer import SIGNED_CHUNKS, UNSIGNED_TRAILER, Signer

TARGET = "/test-bucket/key"
BODY = bytes(range(256)) * 6000
SMALL = b"hello" * 200
BUFFER = 65536
GET = Signer().head("GET", TARGET)[0]
HEAD = Signer().head("HEAD", TARGET)[0]
CONDITIONAL = Signer().head("DELETE", TARGET, {"if-match": '"tag"'})[0]
DELETIONS = b"<Delete>%s</Delete>" % b"".join(b"<Object><Key>%d</Key></Object>" % number for number in range(20))
DELETE_ALL = Signer().head(
    "POST",
    "/test-bucket?delete",
    {"content-md5": base64.b64encode(hashlib.md5(DELETIONS).digest()).decode()},
    payload=hashlib.sha256(DELETIONS).hexdigest(),
    unsigned={"Content-Length": str(len(DELETIONS))},
)[0]
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
"Maximum seconds that connections may last after their request has ended."


SEVERAL = LIMITS.breaker_failures * FIRST_BYTE + 4
"Seconds of several requests of one connection, each in its own time, until the breaker opens."

STEP = 0.5
"Seconds of one step of the clock."


def never(*ignored: object) -> None:
    """
    Do nothing.
    """


@implementer(IStreamClientEndpoint)
class Unanswered:
    """
    An endpoint that never connects.
    """

    def connect(self, factory: Any) -> Deferred[Any]:
        return Deferred(lambda connecting: connecting.errback(ConnectingCancelledError(None)))


class Stage:
    """
    A proxy on a test clock, and all parties that it talks to.

    Attributes:
        asked: The requests to a credential source or an authorizer that have no result yet.
        prepare: Called with each of these before it is returned.
    """

    def __init__(self, channel: str, **options: Any) -> None:
        self.clock = Clock()
        self.backend = FaultyBackend(socket_buffer=BUFFER)
        self.backend.on_request = never
        self.asked: list[Deferred[Any]] = []
        self.prepare: Callable[[Deferred[Any]], Deferred[Any]] = lambda asked: asked
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
        Make the credential source silent from now on.
        """
        self.harness.proxy.context.look_up = self.ask

    def ask(self, *ignored: object) -> Deferred[Any]:
        """
        Record a request, and do not respond.
        """
        self.asked.append(Deferred())
        return self.prepare(self.asked[-1])

    # An authorizer has this attribute.
    authorize = ask

    async def connect(self) -> FaultyClient:
        """
        Open a client's connection, which reads.
        """
        return await self.harness.connect()

    @property
    def exchanges(self) -> list[Exchange]:
        """
        Return the running exchanges.
        """
        return list(self.harness.proxy._running)

    async def reach(self, state: State) -> None:
        """
        Wait until a request is in a state, and bytes have come to rest.
        """
        await until(lambda: any(found.state is state for found in self.exchanges), 3000)
        await turns(40)
        assert any(found.state is state for found in self.exchanges)

    @property
    def is_over(self) -> bool:
        """
        Return True if nothing is left: no request, no connection of either side, and no timer.
        """
        pool = self.harness.pool
        return not (
            self.harness.proxy.running_count
            or self.harness.site.channels
            or pool.connections
            or pool.busy_count
            or pool._waiting
        )

    async def begin(self, data: bytes, state: State) -> FaultyClient:
        """
        Connect a client that sends this data, and wait until its request is in a state.
        """
        client = await self.connect()
        client.send(data)
        await self.reach(state)
        return client

    async def end(self) -> tuple[float, float]:
        """
        Let the time pass; return when the last request ended, and when nothing was left.
        """
        requests_ended = 0.0
        for step in range(1000):
            # Bytes in transit arrive at the kernel's pace, not at the clock's.
            await turns(100 if step < 3 else 6)
            if self.harness.proxy.running_count:
                requests_ended = self.clock.seconds() + STEP
            if self.is_over:
                break
            self.clock.advance(STEP)
        assert not self.harness.proxy.running_count, "a request never ends"
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
    assert await client.response("GET")
    return client


async def _kept_alive_after_a_long_response(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client = await stage.connect()
    client.pause()
    client.send(GET)
    await stage.reach(State.RELAYING)
    client.resume()
    assert await client.response("GET")
    return client


async def _looking_up(stage: Stage) -> FaultyClient:
    stage.silence_source()
    return await stage.begin(GET, State.LOOKING_UP)


async def _looking_up_for_an_upload(stage: Stage) -> FaultyClient:
    stage.silence_source()
    return await stage.begin(UPLOAD.head + UPLOAD.body[:1000], State.LOOKING_UP)


async def _authorizing(stage: Stage) -> FaultyClient:
    stage.harness.proxy.context.authorizer = stage  # type: ignore[assignment]
    return await stage.begin(UPLOAD.head + UPLOAD.body[:1000], State.LOOKING_UP)


async def _waiting_for_a_budget(stage: Stage) -> FaultyClient:
    await stage.begin(GET, State.AWAITING)
    return await stage.begin(GET, State.LOOKING_UP)


async def _reading_form(stage: Stage) -> FaultyClient:
    return await stage.begin(FORM.head + FORM.body[:100], State.READING_FORM)


async def _judging_form(stage: Stage) -> FaultyClient:
    stage.silence_source()
    return await stage.begin(FORM.head + FORM.body[:-500], State.JUDGING_FORM)


async def _holding(stage: Stage) -> FaultyClient:
    return await stage.begin(SMALL_UPLOAD.head + SMALL_UPLOAD.body[:500], State.HOLDING)


async def _sending(stage: Stage) -> FaultyClient:
    return await stage.begin(UPLOAD.head + UPLOAD.body[: len(UPLOAD.body) // 2], State.SENDING)


async def _sending_to_who_reads_nothing(stage: Stage) -> FaultyClient:
    stage.backend.pause_after = 1
    return await stage.begin(UPLOAD.head + UPLOAD.body, State.SENDING)


async def _connecting_for_an_upload(stage: Stage) -> FaultyClient:
    stage.harness.pool.endpoint = Unanswered()
    return await stage.begin(UPLOAD.head + UPLOAD.body, State.SENDING)


async def _connecting(stage: Stage) -> FaultyClient:
    stage.harness.pool.endpoint = Unanswered()
    return await stage.begin(GET, State.AWAITING)


async def _waiting_for_a_connection(stage: Stage) -> FaultyClient:
    await stage.begin(GET, State.AWAITING)
    client = await stage.connect()
    client.send(GET)
    await until(lambda: stage.harness.pool._waiting)
    return client


async def _asking_to_continue(stage: Stage) -> FaultyClient:
    return await stage.begin(UPLOAD.head + UPLOAD.body, State.SENDING)


async def _awaiting(stage: Stage) -> FaultyClient:
    return await stage.begin(GET, State.AWAITING)


async def _awaiting_with_more_requests(stage: Stage) -> FaultyClient:
    return await stage.begin(GET * 400, State.AWAITING)


async def _awaiting_after_an_upload(stage: Stage) -> FaultyClient:
    return await stage.begin(UPLOAD.head + UPLOAD.body, State.AWAITING)


async def _measuring(stage: Stage) -> FaultyClient:
    return await stage.begin(CONDITIONAL, State.MEASURING)


async def _deleting(stage: Stage) -> FaultyClient:
    return await stage.begin(DELETE_ALL + DELETIONS, State.DELETING)


async def _explaining(stage: Stage) -> FaultyClient:
    def refuse(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method == b"HEAD":
            connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    stage.backend.on_request = refuse
    return await stage.begin(HEAD, State.EXPLAINING)


async def _judging(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(REFUSAL)
    return await stage.begin(GET, State.JUDGING)


async def _relaying(stage: Stage) -> FaultyClient:
    stage.backend.on_request = lambda connection, request: connection.send(BEGUN)
    return await stage.begin(GET, State.RELAYING)


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
    stage.backend.on_request = respond_ok
    client.send(GET * 400)
    await turns(20)
    return client


async def _kept_alive_with_an_unread_response(stage: Stage) -> FaultyClient:
    """
    The response is complete but not yet sent: the connection already waits for the next request.
    """
    client = await stage.connect()
    client.pause()
    (channel,) = stage.harness.site.channels
    stage.backend.on_request = lambda connection, request: connection.send(SHORT)
    for count in range(1, 201):
        client.send(GET)
        await until(lambda count=count: len(stage.backend.requests) == count or channel.writer.is_paused)  # type: ignore[misc]
        await turns(30)
        if channel.writer.is_paused:
            break
    await until(lambda: not stage.harness.proxy.running_count, 300)
    assert channel.writer.is_paused
    return client


async def _refused_with_an_unread_response(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_response(stage)
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    await turns(20)
    return client


async def _more_is_asked_with_an_unread_response(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_response(stage)
    stage.backend.on_request = never
    client.send(GET)
    await turns(40)
    return client


async def _more_is_sent_with_an_unread_response(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_response(stage)
    client.send(UPLOAD.head + UPLOAD.body[: len(UPLOAD.body) // 2])
    await turns(40)
    return client


async def _more_is_read_with_an_unread_response(stage: Stage) -> FaultyClient:
    client = await _kept_alive_with_an_unread_response(stage)
    stage.backend.on_request = lambda connection, request: connection.send(LONG)
    client.send(GET)
    await turns(40)
    return client


async def _owing_a_refused_body(stage: Stage) -> FaultyClient:
    request = STRANGER.put(TARGET, SMALL)
    client = await stage.connect()
    client.send(request.head + request.body[:500])
    response = await client.response("PUT")
    assert response is not None
    assert response.status == 403
    return client


async def _lingering(stage: Stage) -> FaultyClient:
    request = STRANGER.put(TARGET, BODY, SIGNED_CHUNKS)
    client = await stage.connect()
    client.send(request.head + request.body[:500])
    response = await client.response("PUT")
    assert response is not None
    assert response.status == 403
    return client


async def _refused_connection(stage: Stage) -> FaultyClient:
    client = await stage.connect()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert await client.response("GET")
    return client


@dataclass(frozen=True)
class StateRow:
    """
    A state, and how to reach it.

    Attributes:
        seconds: Time in which the request ends, or the connection if there is no request, once all parties have
            stopped.
        options: Options of the harness.
        unread_seconds: The same with these options, if the client reads nothing and responses fill the kernel's
            buffers.
    """

    come: Callable[[Stage], Awaitable[FaultyClient]]
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)
    unread_seconds: float = 0.0


ONE_CONNECTION = {"limits": replace(LIMITS, max_connections=1)}
STATES = {
    "before a head": StateRow(_idle, TIMES.head),
    "in a head": StateRow(_in_head, TIMES.head),
    "kept alive": StateRow(_kept_alive, TIMES.keep_alive),
    "kept alive after a long response": StateRow(_kept_alive_after_a_long_response, TIMES.keep_alive),
    "kept alive, its response unread": StateRow(_kept_alive_with_an_unread_response, TIMES.keep_alive),
    "refused as no request, a response unread": StateRow(_refused_with_an_unread_response, TIMES.linger),
    "a response unread, more is asked": StateRow(_more_is_asked_with_an_unread_response, SEVERAL),
    "a response unread, more is sent": StateRow(_more_is_sent_with_an_unread_response, TIMES.idle),
    "a response unread, more is to be read": StateRow(_more_is_read_with_an_unread_response, 2 * TIMES.idle),
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
    "AWAITING, more is asked": StateRow(_awaiting_with_more_requests, SEVERAL, unread_seconds=2 * TIMES.idle),
    "AWAITING after an upload": StateRow(_awaiting_after_an_upload, FIRST_BYTE),
    # A request that is lost with its connection is sent again.
    "MEASURING": StateRow(_measuring, 2 * FIRST_BYTE, {"profile": PROFILES["ceph-rgw"], "conditions": "check"}),
    "DELETING": StateRow(_deleting, 2 * FIRST_BYTE, {"profile": PROFILES["walrus-3.4"], "signature": "v2"}),
    "EXPLAINING": StateRow(_explaining, 2 * FIRST_BYTE),
    "JUDGING": StateRow(_judging, LIMITS.idle_time),
    "RELAYING": StateRow(_relaying, LIMITS.idle_time),
    "RELAYING to who reads nothing": StateRow(_relaying_to_who_reads_nothing, 2 * TIMES.idle),
    "RELAYING to who reads nothing and asks more": StateRow(
        _relaying_to_who_reads_nothing_and_asks_more, 2 * TIMES.idle
    ),
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
    "kept alive after a long response",
    "LOOKING_UP for a budget",
    "SENDING",
    "SENDING to who reads nothing",
    "SENDING, 100 Continue asked for",
    "AWAITING a connection",
    "AWAITING",
    "AWAITING after an upload",
    "MEASURING",
    "DELETING",
    "EXPLAINING",
    "JUDGING",
    "RELAYING",
    "RELAYING to who reads nothing",
)


def _is_there(state: str, loss: str) -> bool:
    """
    Return True if the lost party has a part in the state.
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


@pytest.mark.parametrize(("state", "loss", "channel"), CELLS)
@pytest_twisted.ensureDeferred
async def test_a_loss(
    state: str, loss: str, channel: str, error_log: ErrorLog, liveness_table: dict[str, dict[str, str]]
) -> None:
    """
    The request ends in the state's time, its connections soon after. No timer, descriptor or place is left.
    """
    files = open_files()
    row = STATES[state]
    stage = Stage(channel, **row.options)
    client = await row.come(stage)
    LOSSES[loss](stage, client)
    requests_ended, all_ended = await stage.end()
    used = stage.harness.proxy.context.budgets.used
    await stage.harness.close()
    timers = stage.clock.getDelayedCalls()
    error_log.flush()

    seconds = row.seconds + (row.unread_seconds if loss == "client reads nothing" else 0)
    # The clock moves in steps, and the kernel may take one more to deliver what the other side did.
    assert requests_ended <= seconds + 2
    assert all_ended <= seconds + AFTERWARDS + 1
    assert used == {"requests": 0, "bodies": 0, "memory": 0}
    assert timers == []
    assert open_files() == files
    liveness_table.setdefault(f"{state}, {channel}", {})[loss] = f"{requests_ended:g} / {all_ended:g}"


# Slow drips


@dataclass(frozen=True)
class DripRow:
    """
    A client or a backend that sends one byte shortly before each deadline.

    Attributes:
        request: Bytes that the client sends at once.
        drip: Bytes that it sends one by one.
        every: Seconds between two bytes.
        seconds: Time in which all requests have ended, and the connection serves none.
        response: Bytes that the backend sends one by one.
        options: Options of the harness.
    """

    seconds: float
    request: bytes = b""
    drip: bytes = b""
    every: float = TIMES.idle - 1
    response: bytes = b""
    options: dict[str, Any] = field(default_factory=dict)


TRAILER_UPLOAD = Signer().put(TARGET, BODY[:70_000], UNSIGNED_TRAILER)
READING = frozenset({"HEAD", "BODY", "LINGERING"})
AT_RATE: Any = {"times": replace(TIMES, minimum_rate=1000)}
OK_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REFUSED_SMALL = STRANGER.put(TARGET, SMALL)
REFUSED_LARGE = STRANGER.put(TARGET, BODY, SIGNED_CHUNKS)
DRIPS = {
    "a client's head": DripRow(TIMES.head, drip=GET, every=5),
    "a client's head, each byte just in time": DripRow(TIMES.head, drip=GET, every=TIMES.head - 1),
    "a body, with a minimum rate": DripRow(
        TIMES.idle, UPLOAD.head + UPLOAD.body[:70_000], UPLOAD.body[70_000:], options=AT_RATE
    ),
    "a small body, with a minimum rate": DripRow(TIMES.idle, SMALL_UPLOAD.head, SMALL_UPLOAD.body, options=AT_RATE),
    "the framing of aws-chunked, with a minimum rate": DripRow(TIMES.idle, UPLOAD.head, UPLOAD.body, options=AT_RATE),
    "a trailer, with a minimum rate": DripRow(
        2 * TIMES.idle + 1, TRAILER_UPLOAD.head + TRAILER_UPLOAD.body[:-60], TRAILER_UPLOAD.body[-60:], options=AT_RATE
    ),
    "a form's fields, with a minimum rate": DripRow(TIMES.idle, FORM.head, FORM.body, options=AT_RATE),
    "the rest of a refused body": DripRow(TIMES.linger, REFUSED_SMALL.head, REFUSED_SMALL.body),
    "the rest of a refused body, each byte just in time": DripRow(
        TIMES.linger, REFUSED_SMALL.head, REFUSED_SMALL.body, every=TIMES.linger - 1
    ),
    "a refused upload that goes on": DripRow(TIMES.linger, REFUSED_LARGE.head, BODY, every=TIMES.linger - 1),
    "a backend's head": DripRow(FIRST_BYTE, GET, response=b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    "a backend's head, fast enough for none": DripRow(FIRST_BYTE, GET, response=b"HTTP/1.1 200 OK\r\nA: b", every=1),
    "interim responses": DripRow(FIRST_BYTE, GET, response=b"HTTP/1.1 103 Early\r\n\r\n" * 99, every=1),
    "a backend's chunk size": DripRow(LIMITS.idle_time, GET, response=b"0" * 99, every=1),
    "a backend's trailer": DripRow(LIMITS.idle_time, GET, response=b"0\r\nA: " + b"b" * 99, every=1),
}


@pytest.mark.parametrize("channel", ["http", "https"])
@pytest.mark.parametrize("name", DRIPS)
@pytest_twisted.ensureDeferred
async def test_a_drip(name: str, channel: str, error_log: ErrorLog) -> None:
    """
    A byte that comes just in time does not extend a total limit; the client's connection ends.
    """
    row = DRIPS[name]
    stage = Stage(channel, **row.options)

    def respond(connection: FaultyConnection, request: Any) -> None:
        if "chunk size" in name or "trailer" in name:
            connection.send(OK_CHUNKED)
        connection.send_slowly(row.response, 1 / row.every, stage.clock, 1)

    if row.response:
        stage.backend.on_request = respond
    client = await stage.connect()
    client.send(row.request)
    await turns(40)
    if row.drip:
        client.send_slowly(row.drip, 1 / row.every, stage.clock, 1)
    ended = None
    while stage.clock.seconds() < row.seconds + 3 and ended is None:
        await turns(10)
        if "refused" in name or not row.request:
            left = [channel for channel in stage.harness.site.channels if channel._state.name in READING]
        else:
            left = stage.exchanges
        if not left:
            ended = stage.clock.seconds()
        stage.clock.advance(STEP)
    for connection in stage.backend.connections:
        if connection.lost is None:
            connection.reset()
    if client.lost is None:
        client.reset()
    await turns(20)
    await stage.harness.close()
    if client._delayed is not None:
        # A byte was left to send when the connection ended.
        client._delayed.cancel()
    error_log.flush()

    assert ended is not None
    assert ended <= row.seconds + 1
    assert stage.clock.getDelayedCalls() == []


@pytest.mark.parametrize("channel", ["http", "https"])
@pytest_twisted.ensureDeferred
async def test_endless_interim_responses(channel: str) -> None:
    """
    A backend that sends only interim responses is dropped after a few.
    """
    stage = Stage(channel)
    interim = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    stage.backend.on_request = lambda connection, request: connection.send(interim * (MAX_INTERIM_RESPONSES + 1))
    response = await stage.harness.request(GET)
    busy = stage.harness.pool.busy_count
    await stage.harness.close()

    assert (response.status, busy, stage.clock.seconds()) == (500, 0, 0)


@pytest_twisted.ensureDeferred
async def test_what_nothing_bounds_is_found(liveness: Ledger) -> None:
    """
    A test of the kit itself: it notices a lost deadline a few turns later, on each side.
    """
    stage = Stage("http")
    client = await _awaiting(stage)
    assert liveness.faults == []
    (connection,) = stage.harness.pool.connections
    connection.deadline.clear()
    await turns(20)
    of_backend, liveness.faults[:] = list(liveness.faults), []
    client.reset()
    idle = await stage.connect()
    await turns(20)
    assert liveness.faults == []
    for channel in stage.harness.site.channels:
        channel.deadlines.sending.clear()
    await turns(20)
    of_client, liveness.faults[:] = list(liveness.faults), []
    idle.reset()
    await stage.harness.close()

    assert any("FOR_RESPONSE" in fault for fault in of_backend)
    assert any("AWAITING" in fault for fault in of_backend)
    assert any("HEAD" in fault for fault in of_client)


@pytest.mark.parametrize("who", ["source", "authorizer"])
@pytest.mark.parametrize("end", ["silence", "failure", "cancelled by itself"])
@pytest_twisted.ensureDeferred
async def test_a_lookup_that_does_not_end_well(who: str, end: str, error_log: ErrorLog) -> None:
    """
    The client reads 503 in time, whatever its source does; a result that comes later changes nothing.
    """
    stage = Stage("http", budget_limits=BudgetLimits(requests=5))
    late: list[Deferred[Any]] = []

    def go_on(failure: Any) -> Deferred[Any]:
        late.append(Deferred())
        return late[-1]

    if who == "source":
        stage.silence_source()
    else:
        stage.harness.proxy.context.authorizer = stage  # type: ignore[assignment]
    # A lookup that continues although it was cancelled.
    stage.prepare = lambda asked: asked.addErrback(go_on) if end == "silence" else asked
    client = await stage.connect()
    client.send(GET)
    await stage.reach(State.LOOKING_UP)
    if end == "silence":
        stage.clock.advance(LOOKUP)
    else:
        stage.asked[0].errback(ConnectionLost() if end == "failure" else CancelledError())
    await until(lambda: client.received, 3000)
    response = await client.response("GET")
    for deferred in late:
        deferred.callback(next(iter(stage.harness.credentials.values())) if who == "source" else None)
    await turns(10)
    used = stage.harness.proxy.context.budgets.used["requests"]
    await stage.harness.close()
    error_log.flush()

    assert response is not None
    assert response.status == 503
    assert stage.backend.requests == []
    assert used == 0
    assert stage.clock.getDelayedCalls() == []
