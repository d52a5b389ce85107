"""
Every state of a client's connection ends by itself, whatever the client fails to do.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.web.resource import Resource

from s3proxy.frontend.admission import MIN_EVICTION_AGE
from s3proxy.frontend.answering import MIN_CLOSE_TIME
from s3proxy.frontend.channel import MAX_PIPELINED_SIZE
from s3proxy.frontend.hold import Hold
from s3proxy.frontend.incoming_body import MAX_DRAINED_SIZE
from s3proxy.frontend.times import ClientTimes
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.channel import CHUNKED, EXPECT, GET, TIMES, Connection, put
from tests.support.harness import Harness, turns, until
from tests.support.liveness import is_bounded
from tests.support.signer import UNSIGNED, Signer

# The rest of an owed body


@pytest.mark.parametrize(
    "head",
    [
        put(10),
        put(MAX_DRAINED_SIZE),
        put(10, method=b"GET"),
        put(10, method=b"HEAD"),
        put(10, method=b"POST"),
        put(10, EXPECT),
        put(MAX_DRAINED_SIZE + 1),
        CHUNKED,
    ],
    ids=["put", "longest", "get", "head", "post", "expect", "too-long", "chunked"],
)
@pytest.mark.parametrize("when", ["head", "delivered", "held", "budget", "memory"])
@pytest.mark.parametrize("tick", [b"", b"x"])
def test_an_answered_request_is_waited_for_in_total(head: bytes, when: str, tick: bytes) -> None:
    """
    A refused client has `linger` seconds for the rest of its body, in whatever state it was refused; no byte extends
    that time.
    """
    connection = Connection()
    resource, channel = connection.resource, connection.channel

    connection.send(head)
    if when != "head":
        resource.deliver()
    if when == "held":
        resource.sink.producer.pauseProducing()
    elif when == "budget":
        resource.request.hold_for_budget()
    elif when == "memory":
        resource.request.hold_for_memory()
    before = is_bounded(channel)
    resource.response()
    after = is_bounded(channel)
    seconds = connection.seconds_to_end(tick=tick)

    assert (before, after) == (True, True)
    assert seconds <= TIMES.linger
    connection.clock.advance(TIMES.linger)
    assert connection.transport.is_reset


def test_the_rest_that_comes_keeps_the_connection() -> None:
    """
    A client that was refused early and still sends its body can use the same connection again.
    """
    connection = Connection()

    connection.send(put(10))
    connection.resource.response()
    connection.clock.advance(9)
    connection.send(b"0123456789" + GET)

    assert connection.resource.count == 2
    connection.resource.response()
    assert connection.seconds_to_end() == TIMES.keep_alive


def test_a_response_inside_the_last_bytes() -> None:
    """
    The verdict over the last byte ends the body, too: the connection waits for a request.
    """
    connection = Connection()
    resource = connection.resource
    connection.send(put(10))
    resource.deliver()
    resource.sink.write = lambda data: resource.response() if data.endswith(b"9") else None

    connection.send(b"0123456789")

    assert is_bounded(connection.channel)
    assert connection.seconds_to_end() == TIMES.keep_alive


def test_without_time_to_linger_nothing_is_owed() -> None:
    """
    If `linger` is 0, a response before the end of the body says that the connection ends.
    """
    connection = Connection(ClientTimes(linger=0))

    connection.send(put(10))
    connection.resource.response()

    assert b"Connection: close" in connection.transport.value()
    assert connection.seconds_to_end() <= MIN_CLOSE_TIME


def test_an_applications_own_resource() -> None:
    """
    For another resource of the port, too, a body that never arrives ends its connection.
    """
    connection = Connection(resource=Resource())

    connection.send(put(10))

    assert is_bounded(connection.channel)
    assert connection.seconds_to_end() == TIMES.idle


@pytest.mark.parametrize("is_delivered", [True, False])
def test_the_total_time_ends_a_body_whoever_takes_it(is_delivered: bool) -> None:
    """
    `total` is for the whole request, even while its body is held, or is not read because the response has begun.
    """
    connection = Connection(ClientTimes(total=20, idle=60))
    resource = connection.resource
    connection.send(put(100_000))
    if is_delivered:
        resource.deliver()
        resource.request.write_response(200, b"OK", [])
        resource.request.stop_body()

    seconds = connection.seconds_to_end(tick=b"x")

    assert seconds == 20


# A client that does not read responses


def test_the_time_for_a_response_is_not_the_time_for_a_request() -> None:
    """
    A client that reads the end of a response late has the full time for another request, and no more.
    """
    connection = Connection()
    connection.send(GET)
    connection.transport.fill()
    connection.resource.response()
    connection.clock.advance(50)
    kept = [is_bounded(connection.channel), not connection.transport.is_ending]

    connection.transport.empty()

    assert kept == [True, True]
    assert is_bounded(connection.channel)
    assert connection.seconds_to_end() == TIMES.keep_alive


def test_a_response_that_is_not_taken_ends_the_connection() -> None:
    """
    This also holds if it was the last response, and the next request does not begin.
    """
    connection = Connection()
    connection.send(GET)
    connection.transport.fill()
    connection.resource.response()

    assert connection.seconds_to_end() == TIMES.idle


def test_pipelined_requests_do_not_stop_the_clock_of_a_response() -> None:
    """
    A client that sends requests and reads nothing is reset after `idle`, although s3proxy does not read from it.
    """
    connection = Connection()
    connection.send(GET)
    connection.transport.fill()

    connection.send(b"GET /b/k HTTP/1.1\r\n" + b"x" * MAX_PIPELINED_SIZE)

    assert connection.channel.holds.reasons == {Hold.PIPELINED}
    assert is_bounded(connection.channel)
    assert connection.seconds_to_end() == TIMES.idle


def test_responses_do_not_gather_for_a_client_that_takes_none() -> None:
    """
    The next request begins when the former response has left; what was sent meanwhile is limited, and is not lost.
    """
    connection = Connection()
    resource = connection.resource
    resource.responds_at_once = True
    connection.transport.fill()
    written = len(connection.transport.value())

    for _ in range(20_000):
        if connection.transport.producerState == "producing":
            connection.send(GET)
    begun = resource.count
    unread = len(connection.channel._unread)
    connection.transport.empty()

    assert begun == 0
    assert len(connection.transport.value()) > written
    assert MAX_PIPELINED_SIZE < unread <= MAX_PIPELINED_SIZE + len(GET)
    assert resource.count == -(-unread // len(GET))
    assert connection.channel.holds.reasons == set()


def test_the_last_block_of_a_response_has_the_time_of_a_block() -> None:
    """
    A slow client is not cut off after `linger` while its last block waits for it: it has `idle`.
    """
    connection = Connection()
    connection.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    connection.transport.fill()
    connection.resource.response()
    connection.clock.advance(TIMES.idle - 1)
    kept = not connection.transport.is_reset

    connection.clock.advance(1)

    assert connection.transport.disconnecting
    assert kept
    assert connection.transport.is_reset


def test_what_waits_for_a_response_to_be_sent() -> None:
    """
    It is called when the socket has accepted all of it, and when the connection is lost.
    """
    told: list[str] = []
    connection = Connection()
    channel = connection.channel

    channel.when_response_sent(lambda: told.append("nothing waited"))
    connection.transport.fill()
    channel.when_response_sent(lambda: told.append("sent"))
    channel.when_response_sent(lambda: told.append("sent"))
    before = list(told)
    connection.transport.empty()
    connection.transport.fill()
    channel.when_response_sent(lambda: told.append("lost"))
    channel.connectionLost()
    channel.when_response_sent(lambda: told.append("gone"))

    assert before == ["nothing waited"]
    assert told == ["nothing waited", "sent", "sent", "lost", "gone"]


# Every path


def _hold(connection: Connection) -> None:
    if connection.resource.sink.producer is not None:
        connection.resource.sink.producer.pauseProducing()


def _release(connection: Connection) -> None:
    if connection.resource.sink.producer is not None:
        connection.resource.sink.producer.resumeProducing()


def _of_request(name: str) -> Any:
    def event(connection: Connection) -> None:
        if connection.resource.request is not None:
            getattr(connection.resource.request, name)()

    return event


def _end(connection: Connection) -> None:
    if not connection.transport.is_ending:
        connection.channel.readConnectionLost()


EVENTS: dict[str, Any] = {
    "get": lambda c: c.send(GET),
    "put": lambda c: c.send(put(10)),
    "long": lambda c: c.send(put(MAX_DRAINED_SIZE + 100)),
    "expect": lambda c: c.send(put(10, EXPECT)),
    "chunked": lambda c: c.send(CHUNKED),
    "piece": lambda c: c.send(b"abcd"),
    "rest": lambda c: c.send(b"abcdef"),
    "chunk": lambda c: c.send(b"4\r\nabcd\r\n"),
    "last chunk": lambda c: c.send(b"0\r\n\r\n"),
    "many": lambda c: c.send(GET * 2 + b"GET /" + b"x" * MAX_PIPELINED_SIZE),
    "deliver": lambda c: c.resource.deliver(),
    "response": lambda c: c.resource.response(),
    "stop": _of_request("stop_body"),
    "hold": _hold,
    "release": _release,
    "hold for budget": _of_request("hold_for_budget"),
    "release for budget": _of_request("release_for_budget"),
    "hold for memory": _of_request("hold_for_memory"),
    "release for memory": _of_request("release_for_memory"),
    "full": lambda c: c.transport.fill(),
    "empty": lambda c: c.transport.empty(),
    "fin": _end,
    "soon": lambda c: c.clock.advance(5),
    "later": lambda c: c.clock.advance(40),
    "drain": lambda c: c.channel.drain(serves=True),
}


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.sampled_from(sorted(EVENTS)), max_size=14))
def test_no_path_leads_to_a_state_without_an_end(names: list[str]) -> None:
    """
    After each event a timer limits the connection; and once its exchanges have responded, time alone ends it.
    """
    connection = Connection()

    for name in names:
        EVENTS[name](connection)
        assert is_bounded(connection.channel), name
    while connection.resource.request is not None and not connection.transport.is_ending:
        connection.resource.response()
        assert is_bounded(connection.channel)
    seconds = connection.seconds_to_end()
    connection.clock.advance(TIMES.idle)

    assert seconds <= TIMES.head + TIMES.idle + TIMES.keep_alive
    assert connection.transport.is_reset or connection.channel.is_aborted


# Between real sockets


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("kind", ["put", "chunked", "expect", "get"])
@pytest_twisted.ensureDeferred
async def test_a_refused_client_that_sends_nothing_more_is_closed(is_tls: bool, kind: str) -> None:
    """
    No client without a key keeps a connection without traffic.
    """
    harness = Harness(clock=Clock(), is_tls=is_tls, times=TIMES)
    assert harness.clock is not None
    head = {"put": put(10), "chunked": CHUNKED, "expect": put(10, EXPECT), "get": put(10, method=b"GET")}[kind]
    client = await harness.connect()
    client.send(head)
    response = await client.response("PUT")
    bounded = all(is_bounded(channel) for channel in harness.site.channels)
    for _ in range(2):
        harness.clock.advance(TIMES.linger)
        await turns(5)
    await until(lambda: not harness.site.channels)
    await harness.close()

    assert response is not None
    assert response.status == 403
    assert bounded


@pytest.mark.parametrize("is_tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_client_that_takes_no_responses_is_not_served_for_ever(is_tls: bool) -> None:
    """
    Pipelined downloads of a client that reads nothing keep one response's block in memory, and end after `idle`.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend, clock=Clock(), is_tls=is_tls, times=TIMES, socket_buffer=65536)
    assert harness.clock is not None
    content = bytes(400_000)

    def respond(connection: Any, request: Any) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(content) + content)

    backend.on_request = respond
    client = await harness.connect()
    client.transport.pauseProducing()
    head = Signer().head("GET", "/test-bucket/k", payload=UNSIGNED)[0]
    client.send(head * 200)
    await until(lambda: backend.requests)
    for _ in range(20):
        await turns(50)
    (channel,) = harness.site.channels
    asked, bounded, waiting = len(backend.requests), is_bounded(channel), channel.writer.waiting_size
    harness.clock.advance(TIMES.idle)
    await until(lambda: not harness.site.channels)
    await harness.close()

    assert asked <= 2
    assert bounded
    assert waiting <= 2 * 1024 * 1024


# Making room for others


def test_who_may_be_closed_for_others() -> None:
    """
    Between two requests at once; before the first head, or while a refusal is read, after a while; never within a
    request.
    """
    connection = Connection()
    clock, channel = connection.clock, connection.channel
    told = []

    told.append(("new", channel.idle_since))
    clock.advance(MIN_EVICTION_AGE)
    told.append(("silent", channel.idle_since))
    connection.send(b"GET /b/k HTTP/1.1\r\n")
    told.append(("head began", channel.idle_since))
    clock.advance(MIN_EVICTION_AGE)
    told.append(("head is slow", channel.idle_since))
    connection.send(b"Host: h\r\n\r\n")
    told.append(("serves", channel.idle_since))
    connection.transport.fill()
    connection.resource.response()
    told.append(("sends", channel.idle_since))
    connection.transport.empty()
    told.append(("idle", channel.idle_since))
    connection.send(CHUNKED)
    connection.resource.response()
    told.append(("lingers", channel.idle_since))
    clock.advance(MIN_EVICTION_AGE)
    told.append(("lingers long", channel.idle_since))

    assert dict(told) == {
        "new": None,
        "silent": 0,
        "head began": None,
        "head is slow": 5,
        "serves": None,
        "sends": None,
        "idle": 10,
        "lingers": None,
        "lingers long": 10,
    }


def test_a_connection_has_a_small_dictionary() -> None:
    """
    CPython shares the keys of up to 30 attributes between the objects of a class. With one more, each connection has a
    dictionary of 1.6 KiB of its own.
    """
    connection = Connection()
    connection.send(GET)
    connection.resource.response()

    assert len(vars(connection.channel)) <= 30
