"""
Bodies which go from socket to socket inside the kernel: the same bytes, the same ends, nothing left behind.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.task import Clock

from s3proxy.profiles.known import PROFILES
from s3proxy.s3.credential import BudgetLimits
from s3proxy.testing.faults import reads_no_more_after
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from s3proxy.transport import splice
from tests.support.harness import Harness, turns, until
from tests.support.signer import HASH, UNSIGNED, SignedRequest, Signer

MIB = 1 << 20
BODY = os.urandom(MIB) * 16
WITH_LENGTH = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY)


def upload(mode: str = UNSIGNED) -> SignedRequest:
    """
    Return a large PUT.
    """
    return Signer().put("/test-bucket/k", BODY, mode)


DOWNLOAD = Signer().head("GET", "/test-bucket/k")[0]


@pytest.fixture
def spliced(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[splice.Splice]]:
    """
    Record each body that went through a pipe, and check at the end that all pipes are empty.
    """
    begun: list[splice.Splice] = []

    class Noted(splice.Splice):
        __slots__ = ()

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self)

    monkeypatch.setattr(splice, "Splice", Noted)
    # Other tests leave empty pipes, which would be used again.
    splice.PIPES.close()
    yield begun
    splice.PIPES.close()
    assert splice.PIPES.made_count == 0, "a pipe is in use, and its body has ended"


def gives(data: bytes, *, ends: bool = False) -> FaultyBackend:
    """
    Return a backend that responds to GET with this, and then ends its connection or not.
    """
    backend = FaultyBackend()

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method != b"GET":
            respond_ok(connection, request)
            return
        connection.send(data)
        if ends:
            connection.end()

    backend.on_request = respond
    return backend


@pytest_twisted.ensureDeferred
async def test_a_download_arrives_whole(spliced: list[splice.Splice]) -> None:
    """
    Each byte of a large response arrives, its connection serves another request, and the log has its size.
    """
    harness = Harness(backend=gives(WITH_LENGTH + BODY))

    responses = [await harness.request(DOWNLOAD) for _ in range(2)]
    await harness.close()

    assert [response.body == BODY for response in responses] == [True, True]
    assert len(spliced) == 2
    assert len(harness.backend.connections) == 1
    assert [record.sent_size for record in harness.records] == [len(BODY)] * 2


@pytest_twisted.ensureDeferred
async def test_an_upload_arrives_whole(spliced: list[splice.Splice]) -> None:
    """
    Each byte of a large body arrives, connections on both sides serve another request, and the log has its size.
    """
    harness = Harness()
    client = await harness.connect()
    put = upload()

    for _ in range(2):
        client.send(put.head + put.body)
        assert (await client.response("PUT")).status == 200
    await harness.close()

    assert [request.body == BODY for request in harness.backend.requests] == [True, True]
    assert len(spliced) == 2
    assert len(harness.backend.connections) == 1
    assert [(record.received_size, record.object_size) for record in harness.records] == [(len(BODY), len(BODY))] * 2


@pytest.mark.parametrize("profile", PROFILES)
@pytest_twisted.ensureDeferred
async def test_no_profile_hashes_bodies_without_need(profile: str, spliced: list[splice.Splice]) -> None:
    """
    Only Walrus reports success for objects that it has lost. So s3proxy computes their MD5, and does not splice them.
    """
    backend = FaultyBackend()
    md5 = hashlib.md5(BODY).hexdigest().encode()
    backend.on_request = lambda connection, _: connection.send(
        b'HTTP/1.1 200 OK\r\nETag: "%s"\r\nContent-Length: 0\r\n\r\n' % md5
    )
    harness = Harness(backend=backend, profile=PROFILES[profile])
    put = upload()

    response = await harness.request(put.head, put.body)
    await harness.close()

    assert (response.status, backend.requests[0].body == BODY) == (200, True)
    assert len(spliced) == (not profile.startswith("walrus"))


@pytest.mark.parametrize("seen", ["chunked", "TLS", "paid for", "without a length"])
@pytest_twisted.ensureDeferred
async def test_bytes_which_somebody_must_see_are_seen(seen: str, spliced: list[splice.Splice]) -> None:
    """
    A body that is verified, framed, encrypted or counted by the second is not spliced.
    """
    body = BODY[: 6 * MIB]
    budget = BudgetLimits(bytes_per_second=1 << 40) if seen == "paid for" else BudgetLimits()
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    if seen == "chunked":
        data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    elif seen == "without a length":
        data = b"HTTP/1.1 200 OK\r\n\r\n" + body
    backend = gives(data, ends=seen == "without a length")
    harness = Harness(backend=backend, is_tls=seen == "TLS", budget_limits=budget)

    response = await harness.request(DOWNLOAD)
    put = upload(UNSIGNED if seen in {"TLS", "paid for"} else HASH)
    await harness.request(put.head, put.body)
    await harness.close()

    assert response.body == body
    assert backend.requests[-1].body == BODY
    assert spliced == []


@pytest_twisted.ensureDeferred
async def test_a_body_which_is_put_into_chunks_is_seen(spliced: list[splice.Splice]) -> None:
    """
    Towards a backend which gets signed chunks no byte goes by itself.
    """
    harness = Harness(payload="chunks")
    put = upload()

    response = await harness.request(put.head, put.body)
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].size > len(BODY)
    assert spliced == []


@pytest_twisted.ensureDeferred
async def test_a_stalled_client_stops_the_backend_and_gets_all(spliced: list[splice.Splice]) -> None:
    """
    What is in the pipe leaves when its client reads again, also where no byte follows it.
    """
    harness = Harness(backend=gives(WITH_LENGTH + BODY), socket_buffer=65536)
    client = await harness.connect()
    client.send(DOWNLOAD)
    await until(lambda: spliced)
    for _ in range(5):
        client.pause()
        await until(lambda: any(connection.paused_seconds for connection in harness.pool.connections))
        await turns(20)
        client.resume()
        await turns(3)

    response = await client.response("GET")
    await harness.close()

    assert response.body == BODY


@pytest_twisted.ensureDeferred
async def test_a_stalled_backend_stops_the_client_and_gets_all(spliced: list[splice.Splice]) -> None:
    """
    A backend that stops within a body holds its client, and gets the whole body once it reads again.
    """
    backend = FaultyBackend(socket_buffer=65536)
    backend.pause_after = 8 * MIB
    harness = Harness(backend=backend)
    client = await harness.connect()
    put = upload()
    client.send(put.head + put.body)
    await until(lambda: any(channel.holds.reasons for channel in harness.site.channels) and backend.pause_after is None)
    await turns(50)
    backend.behave()

    response = await client.response("PUT")
    await harness.close()

    assert response.status == 200
    assert backend.requests[0].body == BODY
    assert spliced


@pytest.mark.parametrize("end", ["end", "reset"])
@pytest_twisted.ensureDeferred
async def test_a_cut_download_is_a_cut_response(end: str, spliced: list[splice.Splice]) -> None:
    """
    A response that ends before its length is never complete for its client.
    """
    harness = Harness(backend=gives(WITH_LENGTH + BODY[:-1]))
    client = await harness.connect()
    client.send(DOWNLOAD)
    await until(lambda: spliced)

    getattr(harness.backend.connections[0], end)()
    response = await client.response("GET")
    await harness.close()

    assert response is None
    assert BODY.startswith(client.received.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("leave", ["reset", "end"])
@pytest_twisted.ensureDeferred
async def test_a_client_which_leaves_its_download_frees_the_backend(leave: str, spliced: list[splice.Splice]) -> None:
    """
    s3proxy stops reading from the backend once the client is gone.
    """
    harness = Harness(backend=gives(WITH_LENGTH + BODY), socket_buffer=65536)
    client = await harness.connect()
    client.send(DOWNLOAD)
    await until(lambda: spliced)

    client.pause()
    await turns(20)
    getattr(client, leave)()
    if leave == "end":
        client.resume()
    await until(lambda: harness.proxy.running_count == 0)
    await until(lambda: harness.pool.busy_count == 0)
    await harness.close()

    assert len(harness.records) == 1


@pytest.mark.parametrize("cut", ["reset", "half_close"])
@pytest_twisted.ensureDeferred
async def test_a_cut_upload_is_not_committed(cut: str, spliced: list[splice.Splice]) -> None:
    """
    A body that ends early is not a complete request at the backend, and the client gets an error if it can still read.
    """
    harness = Harness()
    client = await harness.connect()
    put = upload()
    client.send(put.head + put.body[:-1])
    await until(lambda: spliced and harness.backend.connections[0].size > 10 * MIB)

    getattr(client, cut)()
    response = await client.response("PUT")
    await until(lambda: harness.proxy.running_count == 0)
    await harness.close()

    assert harness.backend.requests == []
    assert harness.backend.partial_count == 1
    told = (response.status, b"IncompleteBody" in response.body) if response is not None else None
    assert told == (None if cut == "reset" else (400, True))


@pytest_twisted.ensureDeferred
async def test_the_end_of_a_body_is_withheld(spliced: list[splice.Splice]) -> None:
    """
    While the last byte is missing, the backend does not have all of those before it.
    """
    harness = Harness()
    client = await harness.connect()
    put = upload()
    client.send(put.head + put.body[:-1])
    await until(lambda: spliced and harness.backend.connections[0].size > 12 * MIB)
    await turns(100)

    assert harness.backend.connections[0].size < len(BODY)
    client.send(put.body[-1:])
    response = await client.response("PUT")
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].body == BODY


@pytest.mark.parametrize("status", [403, 200])
@pytest_twisted.ensureDeferred
async def test_an_early_response_ends_it(status: int, spliced: list[splice.Splice]) -> None:
    """
    A backend that responds within a body gets no more of it. An error is relayed, a success is not believed.
    """
    backend = FaultyBackend(socket_buffer=65536)
    backend.pause_after = 8 * MIB
    harness = Harness(backend=backend)
    client = await harness.connect()
    put = upload()
    client.send(put.head + put.body)
    await until(lambda: spliced and backend.pause_after is None)
    await turns(50)

    document = b"<Error><Code>QuotaExceeded</Code></Error>"
    backend.connections[0].send(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(document), document))
    response = await client.response("PUT")
    await harness.close()

    assert response.status == (403 if status == 403 else 500)
    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_backend_which_reads_no_more_is_given_up(spliced: list[splice.Splice]) -> None:
    """
    A hold within a spliced body has a time limit like any other.
    """
    clock = Clock()
    backend = FaultyBackend(socket_buffer=65536)
    reads_no_more_after(8 * MIB)(backend)
    harness = Harness(backend=backend, clock=clock)
    client = await harness.connect()
    put = upload()
    client.send(put.head + put.body)
    await until(lambda: spliced and any(channel.holds.reasons for channel in harness.site.channels))
    await turns(100)
    for _ in range(20):
        clock.advance(31)
        await turns(20)

    response = await client.response("PUT")
    await harness.close()

    assert response.status == 503
    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_without_a_pipe_bodies_are_copied(monkeypatch: pytest.MonkeyPatch, spliced: list[splice.Splice]) -> None:
    """
    If all pipes are in use, the next body is copied as usual.
    """
    monkeypatch.setattr(splice, "MAX_PIPES", 0)
    harness = Harness(backend=gives(WITH_LENGTH + BODY))

    response = await harness.request(DOWNLOAD)
    await harness.close()

    assert response.body == BODY
    assert spliced == []
