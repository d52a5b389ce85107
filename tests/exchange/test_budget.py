"""
Limits of all requests together and of each key: a request waits first, and is refused last.
"""

from __future__ import annotations

import os
import resource
import socket
from dataclasses import replace
from datetime import timedelta
from time import process_time
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendLimits
from s3proxy.configuration.options import Limits
from s3proxy.daemon.generation import key_limits
from s3proxy.exchange.budget import MEMORY_STEP, Budgets, HeldMemory, Spent, Ticket
from s3proxy.frontend.admission import (
    EVICTION_INTERVAL,
    MAX_CLOSING,
    MAX_REFUSED,
    MAX_RESTS,
    RESERVED_FDS,
    REST_TIME,
    ConnectionLimit,
    most_connections,
)
from s3proxy.frontend.balance import SLACK as SLACK_OF_BALANCE
from s3proxy.frontend.balance import Balance, SharedCounts
from s3proxy.frontend.hold import Hold
from s3proxy.frontend.times import ClientTimes
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE
from s3proxy.testing.faulty_backend import HELLO, FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import FaultyClient
from s3proxy.transport.pace import Pace, Rate, Slots
from tests.support.forms import form_request, multipart, v4_fields
from tests.support.harness import Harness, data_set_credentials, over_tls, turns, until
from tests.support.liveness import is_bounded
from tests.support.signer import HASH, NOW, SIGNED_CHUNKS, UNSIGNED, SignedRequest, Signer
from tests.support.wire_cases import element

BODY = bytes(range(256)) * 6000
SLACK = 6 * 65536
"""
Bytes of the blocks that were already in transit at the pause.
"""
KEY = Signer().access_key_id.encode()


def fired(waiting: Deferred[Any] | None) -> bool:
    """
    Return True if a wait is over.
    """
    assert waiting is not None
    return waiting.called


def failure_of(waiting: Deferred[Any] | None) -> Failure:
    """
    Return why a wait failed.
    """
    failures: list[Failure] = []
    assert waiting is not None
    waiting.addErrback(failures.append)
    return failures[0]


def admit(budgets: Budgets, key: bytes = b"a", *, has_body: bool = False, memory: int = 0) -> Ticket:
    """
    Return a ticket from budgets that have limits.
    """
    ticket = budgets.admit(key, None, has_body=has_body, memory=memory)
    assert ticket is not None
    return ticket


# The parts


def test_slots_are_given_in_turn() -> None:
    """
    First come, first served: a small request does not overtake a large one.
    """
    slots = Slots(10)

    first = slots.take(8)
    large, small = slots.take(5), slots.take(1)
    before = [fired(large), fired(small)]
    slots.give_back(8)

    assert first is None
    assert before == [False, False]
    assert [fired(large), fired(small)] == [True, True]
    assert slots.used == 6


def test_what_is_larger_than_everything_passes_alone() -> None:
    """
    No request waits for ever.
    """
    slots = Slots(10)

    assert slots.take(50) is None
    waiting = slots.take(1)
    assert not fired(waiting)
    slots.give_back(50)
    assert fired(waiting)


def test_who_leaves_does_not_hold_up_others() -> None:
    """
    A request that gives up lets those queued after it pass.
    """
    slots = Slots(10)
    slots.take(9)
    large, small = slots.take(5), slots.take(1)

    assert large is not None
    large.cancel()

    assert failure_of(large).check(CancelledError)
    assert fired(small)
    assert slots.used == 10


def test_a_rate_lets_pass_what_it_says() -> None:
    """
    Tokens of one second at once, then one after the other.
    """
    clock = Clock()
    rate = Rate(10, clock)

    at_once = sum(rate.take() is None for _ in range(10))
    waiting = [rate.take() for _ in range(5)]
    over = []
    for _ in range(6):
        clock.advance(0.1)
        over.append(sum(map(fired, waiting)))

    assert at_once == 10
    assert over == [1, 2, 3, 4, 5, 5]
    assert clock.getDelayedCalls() == []


def test_a_rate_with_nobody_waiting_leaves_no_timer() -> None:
    """
    The last waiter that gives up cancels the timer.
    """
    clock = Clock()
    rate = Rate(1, clock)
    rate.take()
    waiting = rate.take()

    assert waiting is not None
    waiting.cancel()

    assert failure_of(waiting).check(CancelledError)
    assert clock.getDelayedCalls() == []


def test_bytes_go_into_debt() -> None:
    """
    Bytes that have arrived cannot be refused; no more are read until they are paid for.
    """
    clock = Clock()
    told: list[str] = []
    pace = Pace([Rate(1000, clock), Rate(0, clock)], clock, lambda: told.append("pause"), lambda: told.append("go on"))

    pace.count(1000)
    pace.count(500)
    clock.advance(0.4)
    before = list(told)
    clock.advance(0.11)
    pace.stop()

    assert before == ["pause"]
    assert told == ["pause", "go on"]
    assert clock.getDelayedCalls() == []


def test_nothing_is_counted_where_nothing_is_bounded() -> None:
    """
    This is the path of most requests.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=100))

    assert budgets.admit(b"a", None, has_body=False, memory=0) is None
    assert budgets.admit(b"a", None, has_body=True, memory=1) is not None


def test_a_key_waits_for_itself() -> None:
    """
    A request that uses up its key's budget does not slow another key.
    """
    budgets = Budgets(Clock(), key_limits=BudgetLimits(requests=1))
    first = admit(budgets, b"a")

    second, other = admit(budgets, b"a"), admit(budgets, b"b")
    assert not fired(second.waiting)
    assert other.waiting is None
    first.release()

    assert fired(second.waiting)


def test_patience_has_an_end() -> None:
    """
    What was taken during the wait is given back.
    """
    clock = Clock()
    budgets = Budgets(clock, BudgetLimits(requests=2, bodies=1), patience=5)
    first = admit(budgets, has_body=True)
    second = admit(budgets, has_body=True)
    used = budgets.used

    clock.advance(5)

    assert used == {"requests": 2, "bodies": 1, "memory": 0}
    assert failure_of(second.waiting).check(Spent)
    assert budgets.used == {"requests": 1, "bodies": 1, "memory": 0}
    first.release()
    first.release()
    assert budgets.used == {"requests": 0, "bodies": 0, "memory": 0}
    assert budgets.refused == {"bodies": 1}
    assert clock.getDelayedCalls() == []


def test_a_client_which_leaves_gives_everything_back() -> None:
    """
    Also what it had taken while it waited for more.
    """
    clock = Clock()
    budgets = Budgets(clock, BudgetLimits(requests=2, bodies=1))
    first, second = admit(budgets, has_body=True), admit(budgets, has_body=True)

    assert second.waiting is not None
    second.waiting.cancel()

    assert failure_of(second.waiting).check(CancelledError)
    assert budgets.used == {"requests": 1, "bodies": 1, "memory": 0}
    assert budgets.refused == {}
    first.release()
    assert clock.getDelayedCalls() == []


def test_idle_keys_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Many keys do not fill the memory.
    """
    monkeypatch.setattr("s3proxy.exchange.budget.MAX_IDLE_KEYS", 10)
    budgets = Budgets(Clock(), key_limits=BudgetLimits(requests=1))
    kept = admit(budgets, b"kept")

    for number in range(100):
        admit(budgets, b"%d" % number).release()

    assert len(budgets._keys) <= 11
    assert not fired(admit(budgets, b"kept").waiting)
    kept.release()


# Connections


class Idle:
    """
    A connection that has been idle since some moment, or serves a request.
    """

    def __init__(self, limit: ConnectionLimit, idle_since: float | None) -> None:
        self.idle_since = idle_since
        self.is_closed = False
        self._limit = limit

    def close_idle(self) -> None:
        """
        Close at once.
        """
        self.is_closed = True
        self._limit.lost(self)

    def abort(self) -> None:
        """
        Reset the connection.
        """
        self.is_closed = True


class Port:
    """
    A listening port.
    """

    is_paused = False

    def pauseProducing(self) -> None:
        """
        Pause accepting.
        """
        self.is_paused = True

    def resumeProducing(self) -> None:
        """
        Accept again.
        """
        self.is_paused = False


def test_the_longest_idle_makes_room() -> None:
    """
    At the limit an idle connection is closed. If none is idle, no connection is accepted until one ends.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 3)
    connections = [Idle(limit, until) for until in (30.0, 10.0, None)]

    for connection in connections:
        limit.admits(connection, "a")
    first = [connection.is_closed for connection in connections]
    more = [Idle(limit, None), Idle(limit, None)]
    for connection in more:
        limit.admits(connection, "a")
    full = port.is_paused
    limit.lost(more[0])

    assert first == [False, True, False]
    assert connections[0].is_closed
    assert full
    assert not port.is_paused
    assert (limit.evicted_count, limit.full_count) == (2, 1)


def test_a_refused_connection_holds_no_place() -> None:
    """
    The excess connections of one address take no places, and only a few read their refusal at a time.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 4, 2)
    welcome = [Idle(limit, None), Idle(limit, None)]
    refused = [Idle(limit, None) for _ in range(MAX_REFUSED + 10)]

    first = [limit.admits(connection, "a") for connection in welcome]
    others = [limit.admits(connection, "a") for connection in refused]
    other = limit.admits(Idle(limit, None), "b")
    accepting = not port.is_paused
    limit.lost(welcome[0])
    again = limit.admits(Idle(limit, None), "a")

    assert first == [True, True]
    assert not any(others)
    assert (other, again, accepting) == (True, True, True)
    assert [connection.is_closed for connection in refused] == [True] * 10 + [False] * MAX_REFUSED
    assert limit.refused_count == len(refused)


def test_what_was_refused_later_gives_its_place_back() -> None:
    """
    A connection whose first bytes are no request reads why, and others are accepted meanwhile.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 2)
    connections = [Idle(limit, None), Idle(limit, None)]
    for connection in connections:
        limit.admits(connection, "a")
    full = port.is_paused

    limit.refuse(connections[0])

    assert full
    assert not port.is_paused
    limit.lost(connections[0])


def test_a_full_process_looks_again_for_idle_connections() -> None:
    """
    At the limit nothing is accepted, so nothing else would notice that a connection has become idle.
    """
    clock, port = Clock(), Port()
    limit = ConnectionLimit(lambda: [port], 2, reactor=clock)
    connections = [Idle(limit, None), Idle(limit, None)]
    for connection in connections:
        limit.admits(connection, "a")
    full = port.is_paused
    clock.advance(EVICTION_INTERVAL)
    still = port.is_paused

    connections[1].idle_since = 0.0
    clock.advance(EVICTION_INTERVAL)

    assert (full, still, port.is_paused) == (True, True, False)
    assert [connection.is_closed for connection in connections] == [False, True]
    assert clock.getDelayedCalls() == []


class Slow(Idle):
    """
    A connection that takes its time to close.
    """

    def close_idle(self) -> None:
        """
        Only mark the connection as closed.
        """
        self.is_closed = True
        self.idle_since = None


def test_connections_that_close_slowly_are_bounded() -> None:
    """
    Under TLS a connection that was closed to make room remains for a while. The number above the limit is bounded.
    """
    port = Port()
    limit = ConnectionLimit(lambda: [port], 1000)
    count = 0

    while not port.is_paused:
        limit.admits(Slow(limit, float(count)), "a")
        count += 1
        assert count < 5000

    assert count <= 1000 + MAX_CLOSING


# Memory


def held(budgets: Budgets, key: bytes = b"a", ticket: Ticket | None = None) -> tuple[HeldMemory, list[str]]:
    """
    Return the counter of a request's bytes, and the list of calls that it makes.
    """
    memory = budgets.hold(key, None, ticket)
    assert memory is not None
    told: list[str] = []
    memory.bind(lambda: told.append("pause"), lambda: told.append("go on"), lambda: told.append("refused"))
    return memory, told


def used_memory(budgets: Budgets) -> int:
    """
    Return the bytes that all requests hold.
    """
    return budgets.used["memory"]


def test_what_is_promised_keeps_no_other_key_waiting() -> None:
    """
    One key with many bodies that have not begun waits for itself; another key is served.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=16 * MEMORY_STEP), BudgetLimits(memory=4 * MEMORY_STEP))

    promised = [admit(budgets, b"a", has_body=True, memory=4 << 20) for _ in range(100)]
    other = admit(budgets, b"b", has_body=True, memory=4 << 20)

    assert used_memory(budgets) == 0
    assert [ticket.waiting is None for ticket in promised] == [True] * 4 + [False] * 96
    assert other.waiting is None
    for ticket in [*promised, other]:
        ticket.release()


def test_a_key_has_a_share_of_the_memory() -> None:
    """
    Bytes above its share are not read until the key's own are released; other keys are not affected.
    """
    clock = Clock()
    budgets = Budgets(clock, BudgetLimits(memory=16 * MEMORY_STEP), BudgetLimits(memory=4 * MEMORY_STEP))
    (first, one), (second, two), (other, three) = (held(budgets, key) for key in (b"a", b"a", b"b"))

    first.add(3 * MEMORY_STEP)
    second.add(2 * MEMORY_STEP)
    other.add(4 * MEMORY_STEP)
    before = [list(told) for told in (one, two, three)]
    first.release()

    assert before == [[], ["pause"], []]
    assert two == ["pause", "go on"]
    second.release()
    other.release()
    assert used_memory(budgets) == 0
    assert clock.getDelayedCalls() == []


def test_two_halves_do_not_wait_for_each_other_for_ever() -> None:
    """
    Each has half of a document and needs more: one is refused after a while, and the other continues.
    """
    clock = Clock()
    budgets = Budgets(clock, BudgetLimits(memory=10 * MEMORY_STEP), patience=5)
    (first, one), (second, two) = held(budgets, b"a"), held(budgets, b"b")
    first.add(5 * MEMORY_STEP)
    second.add(5 * MEMORY_STEP)
    first.add(MEMORY_STEP)
    clock.advance(1)
    second.add(MEMORY_STEP)
    waiting = [list(one), list(two)]

    clock.advance(4)
    assert one == ["pause", "refused"]
    first.release()

    assert waiting == [["pause"], ["pause"]]
    assert two == ["pause", "go on"]
    second.add(4 * MEMORY_STEP)
    assert two == ["pause", "go on"]
    second.release()
    assert used_memory(budgets) == 0
    assert budgets.refused == {"memory": 1}
    assert clock.getDelayedCalls() == []


def test_a_document_larger_than_all_memory_passes_alone() -> None:
    """
    It does not wait for itself.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=2 * MEMORY_STEP), BudgetLimits(memory=MEMORY_STEP))
    memory, told = held(budgets, b"a", admit(budgets, b"a", has_body=True, memory=9 * MEMORY_STEP))

    for _ in range(9):
        memory.add(MEMORY_STEP)

    assert told == []


def test_who_has_some_goes_before_who_has_none() -> None:
    """
    Memory that others give back lets a document continue before another begins.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=4 * MEMORY_STEP))
    (first, one), (second, two) = held(budgets, b"a"), held(budgets, b"b")
    first.add(2 * MEMORY_STEP)
    second.add(2 * MEMORY_STEP)
    newcomer = admit(budgets, b"c", has_body=True, memory=MEMORY_STEP)
    first.add(1)
    waiting = [list(one), fired(newcomer.waiting)]

    second.add(-MEMORY_STEP)

    assert waiting == [["pause"], False]
    assert one == ["pause", "go on"]
    assert not fired(newcomer.waiting)
    assert two == []
    second.release()
    assert fired(newcomer.waiting)
    first.release()
    newcomer.release()
    assert used_memory(budgets) == 0


def test_a_body_that_is_complete_waits_no_more() -> None:
    """
    There is nothing left to hold back, and the request is not refused later.
    """
    clock = Clock()
    budgets = Budgets(clock, BudgetLimits(memory=MEMORY_STEP))
    (first, _), (second, two) = held(budgets, b"a"), held(budgets, b"b")
    first.add(MEMORY_STEP)
    second.add(2 * MEMORY_STEP)

    second.settle()
    clock.advance(100)

    assert two == ["pause", "go on"]
    assert budgets.refused == {}
    second.release()
    second.release()
    first.release()
    assert used_memory(budgets) == 0


def test_forms_that_nobody_signed_have_a_share_of_their_own() -> None:
    """
    Their fields delay neither keys nor anonymous requests.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=100 * MEMORY_STEP), BudgetLimits(memory=2 * MEMORY_STEP))
    fields = [budgets.hold_form() for _ in range(3)]
    for memory in fields:
        assert memory is not None
        memory.add(MEMORY_STEP)

    form = budgets.admit_form(1000)
    anonymous = budgets.admit(None, None, has_body=True, memory=1000)

    assert form is not None
    assert not fired(form.waiting)
    assert anonymous is not None
    assert anonymous.waiting is None


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(), 64 << 20),
        (Limits(memory=16 << 20), 4 << 20),
        (Limits(key_memory=1000), 1000),
        (Limits(key_memory=0), 0),
    ],
)
def test_a_key_has_a_quarter_of_the_memory_by_default(limits: Limits, expected: int) -> None:
    """
    `key_memory` overrides the default.
    """
    assert key_limits(limits).memory == expected


@pytest.mark.parametrize("kind", ["slots", "growing", "rate", "pool"])
def test_many_who_give_up_cost_little_each(kind: str) -> None:
    """
    Clients that leave a queue cost the same each, however long the queue is.
    """

    def cancel_all(count: int) -> float:
        slots, rate = Slots(1), Rate(1e-9, Clock())
        slots.used = 10
        pool = Pool(Clock(), None, BackendLimits(max_connections=0))  # type: ignore[arg-type]
        waits: list[Any] = []
        for _ in range(count):
            if kind == "slots":
                waits.append(slots.take(5))
            elif kind == "growing":
                waits.append(slots.wait_for_room(5))
            elif kind == "rate":
                waits.append(rate.take())
            else:
                wait: Deferred[Any] = Deferred(pool._forget_waiting)
                pool._waiting[wait] = None
                waits.append(wait)
        waits = [wait for wait in waits if wait is not None]
        for wait in waits:
            wait.addErrback(lambda failure: None)
        began = process_time()
        # Cancel the last first: a search takes longest at the end of a queue.
        for wait in reversed(waits):
            wait.cancel()
        return process_time() - began

    cancel_all(1000)
    few = min(cancel_all(1000) for _ in range(5))
    many = min(cancel_all(8000) for _ in range(2))

    assert many < 28 * few


# Through the whole proxy


@pytest.mark.parametrize("is_tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_one_key_does_not_take_the_memory_of_others(is_tls: bool) -> None:
    """
    One key sends parts of its documents. s3proxy stops reading them above the key's share, and refuses them after a
    while. Another key's upload is stored at once.
    """
    clock = Clock()
    harness = Harness(
        clock=clock,
        is_tls=is_tls,
        budget_limits=BudgetLimits(memory=32 * MEMORY_STEP),
        key_limits=BudgetLimits(memory=8 * MEMORY_STEP),
    )
    credentials = data_set_credentials()
    harness.store.credentials = {**credentials, b"OTHER": replace(credentials[KEY], access_key_id="OTHER")}
    part = bytes(6 * MEMORY_STEP)
    length = {"Content-Length": str(4 << 20)}
    greedy = []
    for _ in range(8):
        head, _ = Signer().head("POST", "/test-bucket/k?uploadId=x", payload=UNSIGNED, unsigned=length)
        greedy.append(await asked(harness, SignedRequest(head, part)))
    await until(lambda: any(Hold.MEMORY in channel.holds.reasons for channel in harness.site.channels))
    await turns(100)
    used = harness.proxy.context.budgets.used["memory"]
    bounded = all(is_bounded(channel) for channel in harness.site.channels)
    other = await outcome(await asked(harness, Signer("OTHER").put("/test-bucket/b", b"y" * 600, HASH)))
    clock.advance(5.0)
    await turns(100)
    refused = sum(b"SlowDown" in client.received for client in greedy)
    await harness.close()

    assert other == (200, None)
    assert bounded
    # Above its share each request holds at most what it was admitted with and the block that was in transit.
    assert used <= 8 * MEMORY_STEP + 8 * 2 * MEMORY_STEP
    assert refused
    assert harness.proxy.context.budgets.used["memory"] == 0


@pytest_twisted.ensureDeferred
async def test_documents_of_responses_count_as_memory() -> None:
    """
    What s3proxy reads of a response before it relays it counts for the key, until it was sent to the client.
    """
    harness = Harness(clock=Clock(), budget_limits=BudgetLimits(memory=1 << 20))
    sizes: list[int] = []
    parts: list[FaultyConnection] = []

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        parts.append(connection)
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 50000\r\n\r\n" + b"<" + b"x" * 39_999)

    harness.backend.on_request = respond
    client = await asked(harness, SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b""))
    await until(lambda: harness.proxy.context.budgets.used["memory"] == 40_000)
    sizes.append(harness.proxy.context.budgets.used["memory"])
    parts[0].send(b"y" * 10_000)
    answered = await client.response("GET")
    await until(lambda: not harness.proxy.running_count)
    sizes.append(harness.proxy.context.budgets.used["memory"])
    await harness.close()

    assert answered is not None
    assert answered.status == 403
    assert sizes == [40_000, 0]


@pytest_twisted.ensureDeferred
async def test_a_complete_body_is_not_refused_for_memory() -> None:
    """
    A body whose last block exceeds the limit is complete: it goes to the backend without waiting.
    """
    clock = Clock()
    harness = Harness(clock=clock, budget_limits=BudgetLimits(memory=2 * MEMORY_STEP))
    others, _ = held(harness.proxy.context.budgets, b"other")
    others.add(MEMORY_STEP)
    harness.backend.on_request = lambda connection, request: None
    body = bytes(MEMORY_STEP + 1000)
    head, _ = Signer().head(
        "POST", "/test-bucket/k?uploadId=x", payload=UNSIGNED, unsigned={"Content-Length": str(len(body))}
    )
    client = await asked(harness, SignedRequest(head, body[:1000]))
    await until(lambda: harness.proxy.context.budgets.used["memory"] == MEMORY_STEP + 1000)
    client.send(body[1000:])
    await until(lambda: harness.proxy.context.budgets.used["memory"] == 2 * MEMORY_STEP + 1000)
    await turns(20)
    waited = dict(harness.proxy.context.budgets.waited)
    clock.advance(5.0)
    await turns(20)
    refused = dict(harness.proxy.context.budgets.refused)
    await harness.close()
    others.release()

    assert waited == {"memory": 1}
    assert refused == {}


def made_document(budgets: Budgets, size: int, key: bytes = b"a") -> tuple[HeldMemory, Deferred[bytes], list[None]]:
    """
    Make a document of s3proxy's own; return its counter, the document, and one entry for each time that it was made.
    """
    memory = budgets.hold(key, None)
    assert memory is not None
    made: list[None] = []

    def make() -> Deferred[bytes]:
        made.append(None)
        return succeed(b"x" * size)

    return memory, Deferred.fromCoroutine(memory.make(make, len)), made


def test_documents_of_s3proxy_wait_for_room() -> None:
    """
    They are made one after another, so that at most one of a key waits in memory. They are counted until given back.
    """
    budgets = Budgets(Clock(), BudgetLimits(memory=3000), BudgetLimits(memory=2000))
    first, one, _ = made_document(budgets, 1500)
    second, two, made_second = made_document(budgets, 1000)
    _, three, made_third = made_document(budgets, 10)
    other, four, _ = made_document(budgets, 1500, b"b")
    at_first = one.called, two.called, four.called, len(made_second), len(made_third), used_memory(budgets)
    first.release()
    after = two.called, three.called, len(made_third), used_memory(budgets)
    second.release()
    other.release()

    assert at_first == (True, False, True, 1, 0, 3000)
    assert after == (True, True, 1, 2510)
    assert used_memory(budgets) == 10


@pytest.mark.parametrize("limited", ["all", "key"])
def test_a_document_of_s3proxy_that_finds_no_room(limited: str) -> None:
    """
    It is given up after the time that a request may wait, and nothing stays counted; so it is if its client leaves.
    """
    clock = Clock()
    limits = BudgetLimits(memory=1000), BudgetLimits(memory=9000)
    budgets = Budgets(clock, *(limits if limited == "all" else reversed(limits)), patience=5.0)
    first, one, _ = made_document(budgets, 800)
    refused: list[Failure] = []
    _, two, _ = made_document(budgets, 800)
    two.addErrback(refused.append)
    clock.advance(4.9)
    waiting = two.called
    clock.advance(0.1)
    _, three, _ = made_document(budgets, 800)
    three.addErrback(refused.append)
    three.cancel()
    kept = used_memory(budgets)
    first.release()
    last, four, _ = made_document(budgets, 800)
    found = four.called, used_memory(budgets)
    last.release()

    assert one.called
    assert not waiting
    assert [failure.type for failure in refused] == [Spent, CancelledError]
    assert (kept, found, used_memory(budgets)) == (800, (True, 800), 0)


@pytest_twisted.ensureDeferred
async def test_a_document_is_counted_until_the_client_has_taken_it() -> None:
    """
    The request has ended, but the document still waits for the client's socket.
    """
    harness = Harness(
        profile=PROFILES["riakcs"],
        clock=Clock(),
        budget_limits=BudgetLimits(memory=64 << 20),
        socket_buffer=16384,
    )
    document = b"<ListBucketResult><Name>%s</Name></ListBucketResult>" % (b"x" * (3 << 20))
    size = len(document)

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n" % size)
        connection.send(document)

    harness.backend.on_request = respond
    client = await harness.connect()
    client.transport.pauseProducing()
    client.send(Signer().head("GET", "/test-bucket?list-type=2")[0])
    await until(lambda: harness.records)
    waiting = harness.proxy.context.budgets.used["memory"]
    client.transport.resumeProducing()
    answered = await client.response("GET")
    await until(lambda: not harness.proxy.context.budgets.used["memory"])
    await harness.close()

    assert waiting == size
    assert answered is not None
    assert answered.status == 200


@pytest_twisted.ensureDeferred
async def test_a_document_that_finds_no_memory_is_not_read_on() -> None:
    """
    s3proxy pauses the backend first. Then the client gets SlowDown, and all memory is given back.
    """
    clock = Clock()
    harness = Harness(profile=PROFILES["riakcs"], clock=clock, budget_limits=BudgetLimits(memory=2 * MEMORY_STEP))
    other, _ = held(harness.proxy.context.budgets, b"other")
    other.add(2 * MEMORY_STEP)

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: 900000\r\n\r\n")
        connection.send(b"<" + b"x" * 800_000)

    harness.backend.on_request = respond
    client = await asked(harness, SignedRequest(Signer().head("GET", "/test-bucket?list-type=2")[0], b""))
    await until(lambda: harness.proxy.context.budgets.waited["memory"])
    await turns(100)
    size = harness.proxy.context.budgets.used["memory"]
    clock.advance(5.0)
    result = await outcome(client)
    used = harness.proxy.context.budgets.used["memory"]
    other.release()
    await harness.close()

    assert result == (503, "SlowDown")
    assert size < 2 * MEMORY_STEP + 800_000
    assert used == 2 * MEMORY_STEP


@pytest_twisted.ensureDeferred
async def test_fields_of_unsigned_forms_count_as_memory() -> None:
    """
    The fields count as they arrive, and a form waits while others use the whole share of forms.
    """
    clock = Clock()
    harness = Harness(
        clock=clock,
        budget_limits=BudgetLimits(memory=100 * MEMORY_STEP),
        key_limits=BudgetLimits(memory=MAX_POST_FIELDS_SIZE),
    )
    head = (
        b"POST /test-bucket HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: 90000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    fields = b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n' + b"x" * 9000
    first = await asked(harness, SignedRequest(head, fields))
    await until(lambda: harness.proxy.context.budgets.used["memory"])
    one = harness.proxy.context.budgets.used["memory"]
    second = await asked(harness, SignedRequest(head, fields))
    await until(lambda: harness.proxy.context.budgets.waited["memory"])
    await turns(20)
    two = harness.proxy.context.budgets.used["memory"]
    clock.advance(5.0)
    result = await outcome(second)
    first.transport.abortConnection()
    await until(lambda: not harness.proxy.running_count)
    left = harness.proxy.context.budgets.used["memory"]
    await harness.close()

    assert one == two == len(fields)
    assert result == (503, "SlowDown")
    assert left == 0


@pytest_twisted.ensureDeferred
async def test_fields_that_come_with_the_head_count_as_memory() -> None:
    """
    A form that arrives whole is counted like one that arrives in pieces.
    """
    harness = Harness(clock=Clock(), budget_limits=BudgetLimits(memory=100 * MEMORY_STEP))
    counts: list[int] = []
    harness.proxy.context.look_up = lambda key: counts.append(harness.proxy.context.budgets.used["memory"])
    request = form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="k"), b"f" * 20_000))
    client = await harness.connect()
    client.send(request.head + request.body)
    response = await client.response("POST")
    await until(lambda: not harness.proxy.running_count)
    left = harness.proxy.context.budgets.used["memory"]
    await harness.close()

    assert response.status == 403
    assert counts == [len(request.body)]
    assert left == 0


@pytest_twisted.ensureDeferred
async def test_a_request_that_waited_is_signed_with_the_time_of_its_sending() -> None:
    """
    Not with that of its arrival, which a backend may find too old.
    """
    clock = Clock()
    harness = Harness(clock=clock, key_limits=BudgetLimits(requests=1))
    busy: list[FaultyConnection] = []
    harness.backend.on_request = lambda connection, request: busy.append(connection)
    get = SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b"")
    await asked(harness, get)
    await until(lambda: bool(busy))
    await asked(harness, get)
    await until(lambda: bool(harness.proxy.context.budgets.waited["requests"]))
    clock.advance(3.0)
    harness.now += timedelta(seconds=3)
    busy[0].send(HELLO + b"hello")
    await until(lambda: len(harness.backend.requests) == 2)
    dates = [request.head.fields[b"x-amz-date"] for request in harness.backend.requests]
    await harness.close()

    assert dates == [(f"{moment:%Y%m%dT%H%M%SZ}".encode(),) for moment in (NOW, harness.now)]


@pytest.mark.parametrize("is_tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_refused_connections_keep_nobody_out(is_tls: bool) -> None:
    """
    Connections of an address that had too many linger without a place. Other addresses are served.
    """
    ports: list[Any] = []
    limit = ConnectionLimit(lambda: ports, 4, 2)
    harness = Harness(connection_limit=limit, is_tls=is_tls, clock=Clock())
    ports.append(harness.port)
    port = harness.port.getHost().port
    # The sockets read nothing, and never close.
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
    await until(lambda: limit.refused_count == 6)
    counts = len(limit._connections), len(limit._refused)
    bounded = all(is_bounded(channel) for channel in harness.site.channels)
    endpoint: Any = TCP4ClientEndpoint(reactor, "127.0.0.1", port, bindAddress=("127.0.0.2", 0))
    client = await harness.connect(over_tls(endpoint) if is_tls else endpoint)
    client.send(Signer().head("GET", "/test-bucket/k")[0])
    served = await outcome(client)
    for opened in sockets:
        opened.close()
    await until(lambda: len(harness.site.channels) == 1)
    left = len(limit._refused)
    await harness.close()

    assert counts == (2, 6)
    assert bounded
    assert served == (200, None)
    assert left == 0


async def asked(harness: Harness, request: SignedRequest) -> FaultyClient:
    """
    Send a request on a new connection.
    """
    client = await harness.connect()
    client.send(request.head + request.body)
    return client


async def outcome(client: FaultyClient) -> tuple[int, str | None]:
    """
    Return the status and the error code of a response.
    """
    response = await client.response("PUT")
    assert response is not None
    return response.status, element(response.body, "Code")


@pytest.mark.parametrize(
    "limits",
    [{"requests": 1}, {"bodies": 1}, {"memory": 1000}, {"requests_per_second": 1}],
    ids=lambda one: next(iter(one)),
)
@pytest.mark.parametrize("patient", [True, False])
@pytest_twisted.ensureDeferred
async def test_requests_wait_and_are_refused_last(limits: dict[str, int], patient: bool) -> None:
    """
    The second request is not read while it waits. It is served once the first has ended, or gets SlowDown.
    """
    held: list[FaultyConnection] = []
    harness = Harness(clock=Clock(), budget_limits=BudgetLimits(**limits))
    harness.backend.on_request = lambda connection, request: held.append(connection)
    assert harness.clock is not None
    first = await asked(harness, Signer().put("/test-bucket/a", b"x" * 600, HASH))
    await until(lambda: held)
    second = await asked(harness, Signer().put("/test-bucket/b", b"y" * 600, HASH))
    await turns(50)
    waiting = (len(held), harness.proxy.running_count)
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

    if patient:
        held[0].send(response)
        one = await outcome(first)
        harness.clock.advance(1.0)
        await until(lambda: len(held) == 2)
        held[1].send(response)
        two = await outcome(second)
    else:
        if "requests_per_second" in limits:
            # This budget refills by itself: put it so far into debt that it does not.
            harness.proxy.context.budgets._all.requests_per_second._left = -100.0
        harness.clock.advance(5.0)
        two = await outcome(second)
        held[0].send(response)
        one = await outcome(first)
    stored = len(harness.backend.requests)
    aborted = dict(harness.proxy.context.counts.aborted)
    await harness.close()

    assert waiting == (1, 2)
    assert one == (200, None)
    assert two == ((200, None) if patient else (503, "SlowDown"))
    assert stored == (2 if patient else 1)
    assert aborted == ({} if patient else {"budget": 1})


@pytest_twisted.ensureDeferred
async def test_a_waiting_client_may_leave() -> None:
    """
    Its place is free again.
    """
    harness = Harness(clock=Clock(), budget_limits=BudgetLimits(requests=1))
    held: list[FaultyConnection] = []
    harness.backend.on_request = lambda connection, request: held.append(connection)
    first = await asked(harness, Signer().put("/test-bucket/a", b"x", HASH))
    await until(lambda: held)
    second = await asked(harness, Signer().put("/test-bucket/b", BODY, UNSIGNED))
    await until(lambda: harness.proxy.running_count == 2)
    second.transport.abortConnection()
    await until(lambda: harness.proxy.running_count == 1)
    used = harness.proxy.context.budgets.used
    held[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await outcome(first)
    await harness.close()

    assert used["requests"] == 1
    assert harness.proxy.context.budgets.used["requests"] == 0


@pytest.mark.parametrize("limits", ["of all", "of the key"])
@pytest_twisted.ensureDeferred
async def test_bytes_a_second_of_an_upload(limits: str) -> None:
    """
    The client is not read while the second's bytes are used up, and its idle time does not run meanwhile.
    """
    rate = BudgetLimits(bytes_per_second=100_000)
    harness = Harness(clock=Clock(), budget_limits=rate if limits == "of all" else BudgetLimits())
    if limits == "of the key":
        credentials = data_set_credentials()
        harness.store.credentials = {**credentials, KEY: replace(credentials[KEY], budget=rate)}
    assert harness.clock is not None
    client = await asked(harness, Signer().put("/test-bucket/k", BODY, SIGNED_CHUNKS))
    seconds = 0
    while not client.received:
        await turns(100)
        sizes = sum(connection.received_size for connection in harness.backend.connections)
        assert sizes <= 100_000 * (seconds + 1) + SLACK, "it came too fast"
        harness.clock.advance(1.0)
        seconds += 1
        assert seconds < 100
    result = await outcome(client)
    body = harness.backend.requests[0].body
    await harness.close()

    assert result == (200, None)
    assert body == BODY
    assert 10 <= seconds <= 20
    assert harness.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_bytes_a_second_of_a_download() -> None:
    """
    The backend is not read while the second's bytes are used up.
    """
    harness = Harness(clock=Clock(), budget_limits=BudgetLimits(bytes_per_second=100_000))
    assert harness.clock is not None

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY)

    harness.backend.on_request = respond
    client = await asked(harness, SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b""))
    seconds = 0
    while len(client.received) < len(BODY):
        await turns(100)
        assert len(client.received) <= 100_000 * (seconds + 1) + SLACK, "it came too fast"
        harness.clock.advance(1.0)
        seconds += 1
        assert seconds < 100
    received = await client.response("GET")
    await harness.close()

    assert received is not None
    assert received.body == BODY
    assert 10 <= seconds <= 20
    assert harness.clock.getDelayedCalls() == []


@pytest.mark.parametrize(("rate", "result"), [(1000, (400, "RequestTimeout")), (0, (200, None))])
@pytest_twisted.ensureDeferred
async def test_a_client_which_is_too_slow(rate: int, result: tuple[int, str | None]) -> None:
    """
    A byte now and then is not enough where a minimum rate is set.
    """
    harness = Harness(clock=Clock(), times=ClientTimes(idle=60, minimum_rate=rate))
    assert harness.clock is not None
    request = Signer().put("/test-bucket/k", BODY, UNSIGNED)
    client = await asked(harness, SignedRequest(request.head, request.body[:1000]))
    for number in range(20):
        await turns(10)
        harness.clock.advance(10)
        client.send(request.body[1000 + number : 1001 + number])
        if client.received:
            break
    client.send(request.body[1020:])
    answered = await outcome(client)
    stored = len(harness.backend.requests)
    await harness.close()

    assert answered == result
    assert stored == (result[0] == 200)


@pytest_twisted.ensureDeferred
async def test_the_proxys_own_hold_is_not_the_clients_slowness() -> None:
    """
    A client that s3proxy holds for an hour has used none of its idle time.
    """
    backend = FaultyBackend(socket_buffer=16384)
    backend.pause_after = 50_000
    harness = Harness(
        backend=backend, clock=Clock(), socket_buffer=16384, times=ClientTimes(idle=60, minimum_rate=1000)
    )
    harness.pool.limits = replace(harness.pool.limits, idle_time=100_000.0)
    assert harness.clock is not None
    body = BODY
    client = await asked(harness, Signer().put("/test-bucket/k", body, UNSIGNED))
    await until(lambda: backend.connections and backend.connections[0].received_size >= 50_000)
    await until(lambda: any(Hold.BACKEND in channel.holds.reasons for channel in harness.site.channels))
    for _ in range(60):
        harness.clock.advance(60)
        await turns(2)
    backend.connections[0].resume()
    answered = await outcome(client)
    paused = harness.site.paused_seconds
    await harness.close()

    assert answered == (200, None)
    assert paused >= 3600


@pytest.mark.parametrize("part", ["body", "response"])
@pytest_twisted.ensureDeferred
async def test_a_request_may_be_bounded_in_time(part: str) -> None:
    """
    The limit holds even if the request is busy. During the body the client gets an error; later its connection is cut.
    """
    harness = Harness(clock=Clock(), times=ClientTimes(total=50))
    assert harness.clock is not None
    request = Signer().put("/test-bucket/k", BODY, UNSIGNED)
    if part == "body":
        client = await asked(harness, SignedRequest(request.head, request.body[:1000]))
    else:
        harness.backend.on_request = lambda connection, request: None
        client = await asked(harness, request)
        await until(lambda: harness.backend.requests)
    for number in range(5):
        await turns(10)
        harness.clock.advance(10)
        if part == "body":
            client.send(request.body[1000 + number : 1001 + number])
    response = await client.response("PUT")
    await harness.close()

    if part == "body":
        assert response is not None
        assert (response.status, element(response.body, "Code")) == (400, "RequestTimeout")
    else:
        assert response is None


@pytest_twisted.ensureDeferred
async def test_connections_of_one_address() -> None:
    """
    One connection too many gets SlowDown. When one of the others has ended there is room again.
    """
    limit = ConnectionLimit(list, 1000, 2)
    harness = Harness(connection_limit=limit)
    get = SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b"")
    first, second = await asked(harness, get), await asked(harness, get)
    one, two = await outcome(first), await outcome(second)
    third = await asked(harness, get)
    three = await outcome(third)
    await third.until(lambda: third.lost)
    first.transport.loseConnection()
    await until(lambda: len(harness.site.channels) == 1)
    four = await outcome(await asked(harness, get))
    await harness.close()

    assert (one, two, three, four) == ((200, None), (200, None), (503, "SlowDown"), (200, None))
    assert limit.refused_count == 1


@pytest_twisted.ensureDeferred
async def test_connections_beyond_the_limit() -> None:
    """
    An idle connection makes room at once. If all are busy, the next one waits until one has ended.
    """
    ports: list[Any] = []
    limit = ConnectionLimit(lambda: ports, 2)
    harness = Harness(connection_limit=limit)
    ports.append(harness.port)
    held: list[FaultyConnection] = []
    get = SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b"")
    idle = await asked(harness, get)
    await outcome(idle)
    harness.backend.on_request = lambda connection, request: held.append(connection)
    busy = await asked(harness, get)
    await idle.until(lambda: idle.lost)
    second = await asked(harness, get)
    await until(lambda: len(held) == 2)
    waiting = await asked(harness, get)
    await turns(100)
    before = len(held)
    held[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    await outcome(busy)
    busy.transport.loseConnection()
    await until(lambda: len(held) == 3)
    for connection in held[1:]:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    outcomes = [await outcome(second), await outcome(waiting)]
    await harness.close()

    assert before == 2
    assert outcomes == [(200, None), (200, None)]
    assert (limit.evicted_count, limit.full_count) == (1, 2)


@pytest.mark.parametrize(
    ("limit", "to_backends", "expected"),
    [(100_000, 512, 16_384), (10_000, 512, 10_000 - RESERVED_FDS - 1024), (1024, 512, (1024 - RESERVED_FDS) // 2)],
)
def test_descriptors_are_kept_for_backends(
    limit: int, to_backends: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Clients get the descriptors that backends cannot use, and never less than half.
    """
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limit, limit))

    assert most_connections(16_384, to_backends) == expected


def test_who_is_ahead_lets_others_accept() -> None:
    """
    A process with more connections than another pauses its accept for a while, then accepts whatever the other did.
    """
    clock, counts, port = Clock(), SharedCounts(3), Port()
    limit = ConnectionLimit(lambda: [port], 1000, reactor=clock, balance=Balance(os.dup(counts.fd), 0))
    other = Balance(os.dup(counts.fd), 1)
    paused = []

    def admit() -> None:
        limit.admits(Idle(limit, None), "a")
        paused.append(port.is_paused)

    for _ in range(SLACK_OF_BALANCE + 1):
        admit()
    clock.pump([REST_TIME] * (MAX_RESTS - 1))
    paused.append(port.is_paused)
    clock.advance(REST_TIME)
    paused.append(port.is_paused)
    admit()
    other.tell(1)
    admit()
    other.tell(SLACK_OF_BALANCE)
    clock.advance(REST_TIME)
    paused.append(port.is_paused)
    counts.forget(1)
    admit()

    assert paused == [*[False] * SLACK_OF_BALANCE, True, True, False, False, True, False, False]
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_what_is_no_request_holds_no_place() -> None:
    """
    Bytes that are no head are answered, and their connection does not keep others out while it lingers.
    """
    limit = ConnectionLimit(list, 100)
    harness = Harness(connection_limit=limit, clock=Clock())
    with socket.create_connection(("127.0.0.1", harness.port.getHost().port)) as opened:
        opened.sendall(b"\x16\x03\x01\x00")
        await until(lambda: harness.refused)
        counts = len(limit._connections), len(limit._refused)
        bounded = all(is_bounded(channel) for channel in harness.site.channels)
    await harness.close()

    assert counts == (0, 1)
    assert bounded


@pytest_twisted.ensureDeferred
async def test_a_response_that_was_given_up_is_not_heard_of_again() -> None:
    """
    If a client has left, the end of the connection that brought its document is not a failure.
    """
    harness = Harness(clock=Clock())

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 50000\r\n\r\n<")

    harness.backend.on_request = respond
    client = await asked(harness, SignedRequest(Signer().head("GET", "/test-bucket/k")[0], b""))
    await until(lambda: harness.backend.requests)
    await turns(20)
    client.transport.abortConnection()
    await until(lambda: harness.backend.connections[0].lost)
    await turns(5)
    await harness.close()

    assert dict(harness.proxy.context.counts.aborted) == {"client_left": 1}
