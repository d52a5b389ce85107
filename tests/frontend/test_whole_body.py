"""
A body that came with its head: nobody waits for it, and the request is the same as if it had come later.
"""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.web.resource import Resource
from twisted.web.server import Request

from s3proxy.frontend.hold import Hold
from tests.support.channel import CHUNKED, EXPECT, GET, TIMES, Connection, put
from tests.support.harness import Harness, turns
from tests.support.liveness import is_bounded
from tests.support.signer import MODES, UNSIGNED, Signer

BODY = b"0123456789"


def test_it_is_taken_once() -> None:
    """
    Whole, and counted. Then there is nothing to take.
    """
    connection = Connection()

    connection.send(put(len(BODY)) + BODY)
    request = connection.resource.request

    assert request.received_size == len(BODY)
    assert not request.is_unjudged
    assert request.take_body() == BODY
    assert request.take_body() is None
    assert is_bounded(connection.channel)


def test_it_is_delivered_like_any_other() -> None:
    """
    For an application's own streamed resource: the bytes, and then the end.
    """
    connection = Connection()
    ended: list[object] = []

    connection.send(put(len(BODY)) + BODY)
    connection.resource.request.deliverBody(connection.resource.sink).addBoth(ended.append)

    assert connection.resource.sink.size == len(BODY)
    assert connection.resource.sink.producer is None
    assert ended == [None]


def test_it_is_counted_once_it_is_delivered_or_taken() -> None:
    """
    The budget that counts it is known only after it came.
    """
    counts: list[int] = []
    for take in (True, False):
        connection = Connection()
        connection.send(put(len(BODY)) + BODY)
        request = connection.resource.request
        request.meter = counts.append
        if take:
            request.take_body()
        else:
            connection.resource.deliver()

    assert counts == [len(BODY), len(BODY)]


@pytest.mark.parametrize("data", [CHUNKED + b"a\r\n" + BODY + b"\r\n0\r\n\r\n", put(len(BODY), EXPECT) + BODY])
def test_a_body_of_another_kind_is_no_whole_body(data: bytes) -> None:
    """
    Not even if it is complete and in one piece: the client is not read until the body is wanted.
    """
    connection = Connection()

    connection.send(data)
    request = connection.resource.request
    assert connection.channel.holds.reasons == {Hold.UNJUDGED}
    assert request.take_body() is None
    connection.resource.deliver()

    assert connection.resource.sink.size == len(BODY)
    assert not connection.channel.holds.reasons
    assert is_bounded(connection.channel)


def test_nothing_is_delivered_after_the_response() -> None:
    """
    A consumer that responds at the first bytes gets no others.
    """
    connection = Connection()
    connection.send(CHUNKED + b"1\r\na\r\n")
    connection.send(b"1\r\nb\r\n0\r\n\r\n")
    resource = connection.resource
    write = resource.sink.write

    def respond(data: bytes) -> None:
        write(data)
        resource.response()

    sink = resource.sink
    sink.write = respond
    resource.deliver()

    assert sink.size == 1
    assert connection.channel.requests == []


@pytest.mark.parametrize("cut", [0, 1, 9])
def test_a_body_that_came_in_part_is_waited_for(cut: int) -> None:
    """
    It is no whole body, even if all of it has come by the time it is asked for.
    """
    connection = Connection()

    connection.send(put(len(BODY)) + BODY[:cut])
    request = connection.resource.request
    assert request.take_body() is None
    connection.send(BODY[cut:])
    connection.resource.deliver()

    assert connection.resource.sink.size == len(BODY)


def test_the_next_request_waits_for_the_response() -> None:
    """
    Bytes after the body belong to the next request.
    """
    connection = Connection()

    connection.send(put(len(BODY)) + BODY + GET)
    assert connection.resource.count == 1
    assert connection.resource.request.take_body() == BODY
    connection.resource.response()

    assert connection.resource.count == 2
    assert connection.resource.request.head.method == b"GET"


def test_a_refused_request_keeps_its_connection() -> None:
    """
    Also if nobody took the body: nothing of it is left to be dropped.
    """
    connection = Connection()

    connection.send(put(len(BODY)) + BODY)
    connection.resource.response()

    assert b"Connection: close" not in connection.transport.value()
    assert connection.seconds_to_end() == TIMES.keep_alive


@pytest.mark.parametrize("head", [put(len(BODY), EXPECT), CHUNKED])
def test_other_bodies_are_read_as_they_arrive(head: bytes) -> None:
    """
    One whose client may wait for 100 Continue, and one in chunks.
    """
    connection = Connection()
    body = BODY if head is not CHUNKED else b"a\r\n%s\r\n0\r\n\r\n" % BODY

    connection.send(head + body)
    connection.resource.deliver()

    assert connection.resource.request.take_body() is None
    assert connection.resource.sink.size == len(BODY)


def test_an_applications_own_resource_gets_it_from_twisted() -> None:
    """
    Twisted receives the whole body itself.
    """
    received = []

    class Own(Resource):
        isLeaf = True

        def render_PUT(self, request: Request) -> bytes:
            received.append(request.content.read())
            return b"done"

    connection = Connection(resource=Own())

    connection.send(put(len(BODY)) + BODY)

    assert received == [BODY]
    assert connection.transport.value().endswith(b"done")
    assert connection.seconds_to_end() == TIMES.keep_alive


def test_a_held_budget_does_not_stop_the_client() -> None:
    """
    The body is here already: there is nothing to pause.
    """
    connection = Connection()

    connection.send(put(len(BODY)) + BODY)
    connection.resource.request.hold_for_budget()
    connection.resource.request.hold_for_memory()
    connection.resource.request.pauseProducing()

    assert not connection.channel.holds.reasons


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_whole", [True, False])
@pytest_twisted.ensureDeferred
async def test_the_backend_gets_the_same(mode: str, is_whole: bool) -> None:
    """
    Whether the body came with the head or after it, good or spoiled.
    """
    harness = Harness()
    signed = Signer().put("/test-bucket/key", BODY * 100, mode)
    statuses = []
    for body in (signed.body, signed.body.replace(b"5", b"6", 1), signed.body[:-1] + b"x"):
        client = await harness.connect()
        client.send(signed.head + (body if is_whole else b""))
        if not is_whole:
            await turns(3)
            client.send(body)
        statuses.append((await client.response("PUT")).status)
    stored = [(request.head.method, request.body) for request in harness.backend.requests]
    records = [(record.received_size, record.object_size) for record in harness.records]
    await harness.close()

    assert statuses[0] == 200
    assert mode == UNSIGNED or 200 not in statuses[1:]
    assert stored[0] == (b"PUT", BODY * 100)
    assert len(stored) == statuses.count(200)
    assert records[0] == (len(signed.body), len(BODY) * 100)
