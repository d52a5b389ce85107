"""
What a client gets when its backend, or the client itself, fails: an S3 error or a cut connection, never half an object.
"""

from __future__ import annotations

import hashlib
import socket
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock

from s3proxy.backend.request import BackendLimits, BackendRequest
from s3proxy.frontend.times import ClientTimes
from s3proxy.profiles.profile import BackendKey
from s3proxy.testing.faulty_backend import OK, FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from tests.conftest import ErrorLog
from tests.oracle.tap import Oracle
from tests.support.harness import Harness, server_context, turns, until
from tests.support.signer import HASH, SIGNED_CHUNKS, UNSIGNED, Signer
from tests.support.socket_client import SocketClient
from tests.support.wire_cases import element

KIB = 1024
TARGET = "/test-bucket/key"
BODY = bytes(range(256)) * 1200
GET = Signer().head("GET", TARGET)[0]


def answering(data: bytes) -> FaultyBackend:
    """
    Return a backend that sends these bytes for every request.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(data)
    return backend


async def ask(backend: FaultyBackend, head: bytes = GET, body: bytes = b"", **options: Any) -> Any:
    """
    Send one request through a new proxy.
    """
    harness = Harness(backend=backend, **options)
    response = await harness.request(head, body)
    await harness.close()
    return response


# The backend


@pytest_twisted.ensureDeferred
async def test_a_backend_which_is_gone_is_not_asked_for_a_while() -> None:
    """
    Its clients read 503 at once. When the time is over, one request tests the backend; if that succeeds, all pass
    again.
    """
    harness = Harness(clock=Clock(), limits=BackendLimits(breaker_failures=2, breaker_time=5))
    port = harness.backend_port.getHost().port
    await harness.backend_port.stopListening()

    async def status() -> int:
        response = await harness.request(GET)
        return int(response.status)

    gone = [await status() for _ in range(2)]
    assert harness.pool.breaker.is_open
    harness.backend_port = reactor.listenTCP(port, harness.backend, interface="127.0.0.1")
    kept_away = [await status() for _ in range(3)]
    connected = len(harness.backend.connections)
    assert harness.clock is not None
    harness.clock.advance(5)
    back = [await status() for _ in range(3)]
    await harness.close()

    assert (gone, kept_away, connected, back) == ([503] * 2, [503] * 3, 0, [200] * 3)
    assert not harness.pool.breaker.is_open


@pytest.mark.parametrize("mode", [HASH, SIGNED_CHUNKS])
@pytest.mark.parametrize("spools", [False, True])
@pytest_twisted.ensureDeferred
async def test_an_upload_to_a_backend_which_is_not_asked(mode: str, *, spools: bool) -> None:
    """
    It is refused once: its client gets no 100 Continue afterwards, its body is not kept, and s3proxy raises no error.
    """
    harness = Harness(clock=Clock(), limits=BackendLimits(breaker_failures=1, breaker_time=5), spools=spools)
    port = harness.backend_port.getHost().port
    await harness.backend_port.stopListening()
    await harness.request(GET)
    assert harness.pool.breaker.is_open
    harness.backend_port = reactor.listenTCP(port, harness.backend, interface="127.0.0.1")
    request = Signer().put(TARGET, BODY, mode, unsigned={"Expect": "100-continue"})
    client = await harness.connect()
    client.send(request.head)
    if spools:
        await client.until(lambda: client.received)
        client.send(request.body)
    response = await client.response("PUT")
    held = harness.proxy.held_size
    client.transport.loseWriteConnection()
    await client.until(lambda: client.lost)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (503, "ServiceUnavailable")
    assert (response.interim, client.received) == ([100] if spools else [], b"")
    assert (held, harness.spool.size) == (0, 0)


@pytest_twisted.ensureDeferred
async def test_refusals_do_not_open_the_breaker() -> None:
    """
    A backend that responds works, whatever the response is. A client that leaves says nothing about the backend.
    """
    backend = answering(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
    harness = Harness(backend=backend, limits=BackendLimits(breaker_failures=1))
    responses = [await harness.request(GET) for _ in range(3)]
    backend.on_request = lambda connection, request: None
    client = await harness.connect()
    client.send(GET)
    await until(lambda: len(backend.requests) == 4)
    client.transport.abortConnection()
    await until(lambda: harness.proxy.running_count == 0)
    await harness.close()

    assert [response.status for response in responses] == [500] * 3
    assert not harness.pool.breaker.is_open


@pytest_twisted.ensureDeferred
async def test_a_backend_which_refuses_connections_is_unavailable() -> None:
    """
    503 ServiceUnavailable with Retry-After.
    """
    port = reactor.listenTCP(0, FaultyBackend(), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    harness = Harness(endpoint=TCP4ClientEndpoint(reactor, "127.0.0.1", number))

    response = await harness.request(GET)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (503, "ServiceUnavailable")
    assert response.header("Retry-After")


@pytest.mark.parametrize(
    "data",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 17 + b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70_000 + b"\r\n\r\n",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_backend_is_no_trusted_parser(data: bytes) -> None:
    """
    A response that two readers could understand differently is refused: 500 InternalError.
    """
    response = await ask(answering(data))

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_interim_responses_are_not_relayed() -> None:
    """
    Sixteen interim responses are skipped, and the final one is relayed.
    """
    response = await ask(answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 16 + OK))

    assert response.status == 200
    assert response.interim == []


@pytest_twisted.ensureDeferred
async def test_a_backend_which_resets_is_an_internal_error() -> None:
    """
    Also after all bytes were sent: whether the backend carried the request out is unknown.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.transport.abortConnection()

    response = await ask(backend)

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_a_cut_response_does_not_look_complete() -> None:
    """
    After the first byte of a response a failure resets the client's connection.
    """
    backend = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"a" * 50_000)
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    await client.until(lambda: client.received)
    backend.connections[0].transport.abortConnection()
    await client.until(lambda: client.lost)
    await harness.close()

    assert client.received.startswith(b"HTTP/1.1 200")
    assert len(client.received) < 100_000
    assert "closed cleanly" not in str(client.lost.value)


@pytest_twisted.ensureDeferred
async def test_a_response_which_ends_with_its_connection_is_framed_anew() -> None:
    """
    The client gets chunked transfer coding, so that it can distinguish a cut from the end.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        connection.transport.loseConnection()

    backend.on_request = on_request
    response = await ask(backend)

    assert response.header("Transfer-Encoding") == "chunked"
    assert response.body == b"hello"


@pytest_twisted.ensureDeferred
async def test_a_silent_backend_is_unavailable() -> None:
    """
    503 ServiceUnavailable if the first byte does not come in time.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: None
    clock = Clock()
    harness = Harness(backend=backend, clock=clock, first_byte_time=60)
    client = await harness.connect()
    client.send(GET)
    await until(lambda: backend.requests)
    clock.advance(59)
    await turns(5)
    assert client.received == b""
    clock.advance(2)

    response = await client.response()
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (503, "ServiceUnavailable")


@pytest_twisted.ensureDeferred
async def test_an_early_success_is_never_believed() -> None:
    """
    200 before the tail was sent: s3proxy resets the backend's connection, and the client gets 500.
    """
    backend = FaultyBackend()
    backend.on_head = lambda connection, head: connection.send(OK)
    harness = Harness(backend=backend)
    request = Signer().put(TARGET, BODY, SIGNED_CHUNKS)
    client = await harness.connect()
    client.send(request.head + request.body[:100_000])

    response = await client.response("PUT")
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (500, "InternalError")
    assert harness.proxy.context.counts.committed_early == 1
    assert backend.requests == []


@pytest.mark.parametrize("status", [403, 404, 503])
@pytest_twisted.ensureDeferred
async def test_an_early_refusal_is_relayed(status: int) -> None:
    """
    A backend that refuses before it has read the body: its response reaches the client, its connection is not reused.
    """
    document = b"<Error><Code>NoSuchBucket</Code></Error>"
    backend = FaultyBackend()
    backend.on_head = lambda connection, head: connection.send(
        b"HTTP/1.1 %d Refused\r\nContent-Length: %d\r\n\r\n%s" % (status, len(document), document)
    )
    harness = Harness(backend=backend)
    request = Signer().put(TARGET, BODY * 10, SIGNED_CHUNKS)
    client = await harness.connect()
    client.send(request.head + request.body[:200_000])

    response = await client.response("PUT")
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert response.status == status
    assert response.body == document
    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_stale_connection_is_not_the_clients_problem() -> None:
    """
    A pooled connection that the backend closes as the request arrives: a small upload is sent again.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    await client.response()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        backend.on_request = respond_ok
        backend.requests.clear()
        connection.transport.abortConnection()

    backend.on_request = on_request
    request = Signer().put(TARGET, b"hello", HASH)
    client.send(request.head + request.body)
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert response.status == 200
    assert harness.pool.retried_count == 1
    assert [received.body for received in backend.requests] == [b"hello"]


@pytest_twisted.ensureDeferred
async def test_a_streamed_upload_survives_a_stale_connection() -> None:
    """
    Its first block is kept until the second is sent, and sent again.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    await client.response()

    def on_head(connection: FaultyConnection, head: object) -> None:
        backend.on_head = lambda connection, head: None
        connection.transport.abortConnection()

    backend.on_head = on_head
    request = Signer().put(TARGET, BODY, SIGNED_CHUNKS)
    client.send(request.head + request.body)
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert response.status in {200, 503}
    whole = [received.sha256 for received in backend.requests if received.head.method == b"PUT"]
    assert whole == ([hashlib.sha256(BODY).hexdigest()] if response.status == 200 else [])


@pytest_twisted.ensureDeferred
async def test_a_post_is_not_sent_twice() -> None:
    """
    503 SlowDown, and the client decides whether to repeat it.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    await client.response()
    backend.on_request = lambda connection, request: connection.transport.abortConnection()
    client.send(Signer().head("POST", f"{TARGET}?uploads=", unsigned={"Content-Length": "0"})[0])
    response = await client.response("POST")
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (503, "SlowDown")
    assert sum(received.head.method == b"POST" for received in backend.requests) == 1


@pytest_twisted.ensureDeferred
async def test_the_cap_of_connections_holds() -> None:
    """
    A request that gets no connection in time gets SlowDown; the maximum is never exceeded.
    """
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: None
    clock = Clock()
    harness = Harness(backend=backend, clock=clock, limits=BackendLimits(max_connections=2, connect_time=5))
    clients = [await harness.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    await until(lambda: len(backend.requests) == 2)
    await turns(20)
    assert len(backend.connections) == 2
    clock.advance(6)
    await until(lambda: any(client.received for client in clients))
    (told,) = [client for client in clients if client.received]
    response = await told.response()
    for connection in backend.connections:
        connection.send(OK)
    await until(lambda: all(client.received for client in clients if client is not told))
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (503, "SlowDown")


@pytest.mark.parametrize(
    "code",
    [
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "RequestTimeTooSkewed",
        "AuthorizationHeaderMalformed",
        "InvalidToken",
        "ExpiredToken",
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_a_backend_says_of_our_signature_reaches_no_client(code: str) -> None:
    """
    A wrong backend secret is s3proxy's fault: 500 InternalError, and no text of the backend's.
    """
    document = b"<Error><Code>%s</Code><StringToSign>our own</StringToSign></Error>" % code.encode()
    response = await ask(
        answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)),
        backend_key=BackendKey("BACKENDKEY", "a wrong secret"),
    )

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")
    assert b"our own" not in response.body


@pytest.mark.parametrize(("code", "status"), [("SignatureDoesNotMatch", 500), ("AccessDenied", 403)])
@pytest_twisted.ensureDeferred
async def test_a_refusal_of_head_is_explained(code: str, status: int) -> None:
    """
    A response to HEAD has no document: s3proxy sends a GET for the reason. If that is about its own signature, it is a
    500.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        document = b"<Error><Code>%s</Code></Error>" % code.encode()
        head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n" % len(document)
        connection.send(head if request.head.method == b"HEAD" else head + document)

    backend.on_request = on_request
    response = await ask(backend, Signer().head("HEAD", TARGET)[0])

    assert response.status == status
    assert [request.head.method for request in backend.requests] == [b"HEAD", b"GET"]
    assert backend.requests[1].head.fields.value(b"range") == b"bytes=0-0"


@pytest.mark.parametrize("status", [404, 200])
@pytest_twisted.ensureDeferred
async def test_a_refusal_of_head_which_nothing_explains(status: int) -> None:
    """
    If the GET gets another status, the response to HEAD is relayed, and nothing of the other.
    """
    backend = FaultyBackend()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method == b"HEAD":
            connection.send(b"HTTP/1.1 403 Forbidden\r\nX-Reason: policy\r\n\r\n")
        else:
            connection.send(b"HTTP/1.1 %d X\r\nContent-Length: 6\r\n\r\nsecret" % status)

    backend.on_request = on_request
    response = await ask(backend, Signer().head("HEAD", TARGET)[0])

    assert (response.status, response.header("X-Reason")) == (403, "policy")
    assert response.body == b""


@pytest_twisted.ensureDeferred
async def test_a_fault_of_ours_is_an_internal_error(error_log: ErrorLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    If any code inside s3proxy raises: the client reads 500 InternalError. The traceback is in the log, not in the
    response.
    """
    for name in ("exchange.judging.plan_body", "forwarding.onward.backend_head", "exchange.answering.response_use"):
        with monkeypatch.context() as patch:
            patch.setattr(f"s3proxy.{name}", lambda *arguments, **options: 1 / 0)
            harness = Harness()
            response = await harness.request(GET)
            await harness.close()
        assert (response.status, element(response.body, "Code")) == (500, "InternalError"), name
        assert b"ZeroDivision" not in response.body
        assert len(error_log.flush()) >= 1


@pytest_twisted.ensureDeferred
async def test_a_backends_policy_is_relayed() -> None:
    """
    A plain AccessDenied is not about s3proxy's signature.
    """
    document = b"<Error><Code>AccessDenied</Code></Error>"
    response = await ask(
        answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))
    )

    assert response.status == 403
    assert response.body == document


@pytest.mark.parametrize("fault", ["name", "issuer", "date"])
@pytest_twisted.ensureDeferred
async def test_a_backend_which_cannot_prove_who_it_is_gets_no_byte(fault: str) -> None:
    """
    A certificate with a wrong name, issuer or date: 503, and s3proxy sends no byte of the request.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend, is_tls=True, backend_context=server_context(fault))

    response = await harness.request(GET)
    await harness.close()

    assert (response.status, element(response.body, "Code")) == (503, "ServiceUnavailable")
    assert all(connection.received_size == 0 for connection in backend.connections)
    assert backend.requests == []


# The client


@pytest_twisted.ensureDeferred
async def test_a_body_which_ends_early_is_incomplete() -> None:
    """
    FIN inside a body: 400 IncompleteBody for the client, a reset for the backend, both at once.
    """
    harness = Harness()
    request = Signer().put(TARGET, BODY, UNSIGNED)
    client = await harness.connect()
    client.send(request.head + request.body[:200_000])
    client.transport.loseWriteConnection()

    response = await client.response("PUT")
    await until(lambda: harness.backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (400, "IncompleteBody")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_client_which_has_said_all_is_answered() -> None:
    """
    FIN after a complete request: the client still gets its response.
    """
    backend = FaultyBackend()
    waiting: list[FaultyConnection] = []
    backend.on_request = lambda connection, request: waiting.append(connection)
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    client.transport.loseWriteConnection()
    await until(lambda: waiting)
    await turns(20)
    respond_ok(waiting[0], backend.requests[0])

    response = await client.response()
    await harness.close()

    assert response is not None
    assert response.body == b"hello"


@pytest.mark.parametrize("held", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_client_which_resets_takes_its_upload_along(held: bool) -> None:
    """
    RST while s3proxy reads from the client, or holds it because the backend is full: the backend is reset, nothing is
    stored.
    """
    backend = FaultyBackend(socket_buffer=65536)
    if held:
        backend.pause_after = 100_000
    harness = Harness(backend=backend, limits=BackendLimits(socket_buffer=65536), socket_buffer=65536)
    request = Signer().put(TARGET, BODY * 20, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body[: len(request.body) if held else 200_000])
    for _ in range(300):
        client.pump()
        await turns()
    (channel,) = harness.site.channels
    assert bool(channel.holds.reasons) == held

    client.close(reset=True)
    await until(lambda: harness.proxy.running_count == 0)
    if held:
        backend.connections[0].resume()
    await until(lambda: backend.connections[0].lost)
    await harness.close()

    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_an_idle_body_times_out() -> None:
    """
    400 RequestTimeout after the idle time, counted from the last byte.
    """
    clock = Clock()
    harness = Harness(clock=clock, times=ClientTimes(idle=60))
    request = Signer().put(TARGET, BODY, UNSIGNED)
    client = await harness.connect()
    client.send(request.head + request.body[:100_000])
    await until(lambda: harness.backend.connections and harness.backend.connections[0].size > 0)
    clock.advance(59)
    client.send(request.body[100_000:150_000])
    (channel,) = harness.site.channels
    await until(lambda: channel._request.received_size == 150_000)
    clock.advance(59)
    await turns(5)
    assert client.received == b""
    clock.advance(2)

    response = await client.response("PUT")
    await until(lambda: harness.backend.connections[0].lost)
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (400, "RequestTimeout")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_held_client_does_not_time_out() -> None:
    """
    A slow backend slows the client and never makes it fail: hours may pass while the backend accepts bytes.
    """
    clock = Clock()
    backend = FaultyBackend(socket_buffer=65536, keeps_bodies=False)
    backend.pause_after = 100_000
    body = BODY * 10
    harness = Harness(
        backend=backend, clock=clock, limits=BackendLimits(socket_buffer=65536, idle_time=60), socket_buffer=65536
    )
    request = Signer().put(TARGET, body, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body)
    (connection,) = [await _first(backend, client)]

    for _ in range(20):
        while backend.pause_after is not None:
            client.pump()
            await turns()
        clock.advance(50)
        backend.pause_after = connection.received_size + 50_000
        connection.resume()
    backend.pause_after = None
    connection.resume()
    for _ in range(20_000):
        client.pump()
        if client.status:
            break
        await turns()
    client.close()
    await harness.close()

    assert client.status == 200
    assert clock.seconds() == 1000


async def _first(backend: FaultyBackend, client: SocketClient) -> FaultyConnection:
    while not backend.connections:
        client.pump()
        await turns()
    return backend.connections[0]


@pytest_twisted.ensureDeferred
async def test_a_stopped_backend_ends_the_exchange_in_its_idle_time() -> None:
    """
    A backend that accepts no byte at all for its idle time is given up: 503, and the client may try again.
    """
    clock = Clock()
    backend = FaultyBackend(socket_buffer=65536)
    backend.pause_after = 50_000
    harness = Harness(
        backend=backend, clock=clock, limits=BackendLimits(socket_buffer=65536, idle_time=60), socket_buffer=65536
    )
    request = Signer().put(TARGET, BODY * 20, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body)
    for _ in range(300):
        client.pump()
        await turns()

    for _ in range(3):
        # The first check may find that the kernel has accepted some bytes in the meantime.
        if harness.proxy.running_count:
            clock.advance(61)
        await turns(5)
    for _ in range(2000):
        client.pump()
        if client.status:
            break
        await turns()
    client.close()
    await harness.close()

    assert client.status == 503
    assert backend.requests == []


@pytest.mark.parametrize("data", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
@pytest_twisted.ensureDeferred
async def test_a_head_has_its_time(data: bytes) -> None:
    """
    A connection that does not send its whole head in time is closed.
    """
    clock = Clock()
    harness = Harness(clock=clock, times=ClientTimes(head=30))
    client = await harness.connect()
    client.send(data)
    await until(lambda: harness.site.channels)
    await turns(5)
    clock.advance(29)
    await turns(5)
    assert client.lost is None
    clock.advance(31)
    await client.until(lambda: client.lost)
    await harness.close()

    assert client.received == b""


@pytest_twisted.ensureDeferred
async def test_continue_comes_after_authentication_only() -> None:
    """
    A refused request never gets 100 Continue; an accepted one gets it once.
    """
    for secret, wanted in (("wrong", []), (None, [100])):
        signer = Signer() if secret is None else Signer(secret=secret)
        request = signer.put(TARGET, BODY, UNSIGNED, unsigned={"Expect": "100-continue"})
        harness = Harness()
        client = await harness.connect()
        client.send(request.head)
        if wanted:
            await client.until(lambda client=client: b"100 Continue\r\n\r\n" in client.received)
            client.send(request.body)
        response = await client.response("PUT")
        await harness.close()
        assert response is not None
        assert response.interim == wanted
        assert response.status == (200 if wanted else 403)


@pytest_twisted.ensureDeferred
async def test_requests_in_one_segment_are_answered_in_order() -> None:
    """
    Two requests that arrive together are two requests.
    """
    harness = Harness()
    request = Signer().put(TARGET, b"hello", HASH)
    client = await harness.connect()
    client.send(request.head + request.body + GET + Signer().head("HEAD", TARGET)[0])

    responses = [await client.response("PUT"), await client.response("GET"), await client.response("HEAD")]
    await harness.close()

    assert [response.status for response in responses if response] == [200, 200, 200]
    assert [received.head.method for received in harness.backend.requests] == [b"PUT", b"GET", b"HEAD"]


@pytest_twisted.ensureDeferred
async def test_a_small_refused_upload_keeps_its_connection() -> None:
    """
    The rest of a small body is read and discarded, and the next request on the connection is served.
    """
    harness = Harness()
    bad = Signer(secret="wrong").put(TARGET, b"a" * 1000, UNSIGNED)
    client = await harness.connect()
    client.send(bad.head)
    first = await client.response("PUT")
    client.send(bad.body + GET)
    second = await client.response("GET")
    await harness.close()

    assert first is not None
    assert first.status == 403
    assert second is not None
    assert second.body == b"hello"


@pytest_twisted.ensureDeferred
async def test_a_presigned_upload_may_be_large() -> None:
    """
    A presigned PUT above 300 KiB is stored byte for byte.
    """
    body = bytes(range(256)) * 1600
    target = Signer().presign("PUT", TARGET)
    head = f"PUT {target} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    harness = Harness()

    response = await harness.request(head, body)
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].body == body
    assert b"X-Amz-" not in harness.backend.requests[0].head.raw_target


@pytest.mark.parametrize("status", [204, 304])
@pytest_twisted.ensureDeferred
async def test_responses_without_a_body_have_none(status: int) -> None:
    """
    204 and 304 end with their heads.
    """
    harness = Harness(backend=answering(b"HTTP/1.1 %d X\r\nETag: x\r\n\r\n" % status))
    client = await harness.connect()
    client.send(GET + GET)
    responses = [await client.response("GET"), await client.response("GET")]
    await harness.close()

    assert [response.status for response in responses if response] == [status, status]


@pytest_twisted.ensureDeferred
async def test_a_head_request_keeps_the_length() -> None:
    """
    The response to HEAD has the length of the body that it does not send.
    """
    response = await ask(
        answering(b"HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n"), Signer().head("HEAD", TARGET)[0]
    )

    assert response.header("Content-Length") == "12345"
    assert response.body == b""


@pytest_twisted.ensureDeferred
async def test_an_unfit_connection_is_not_pooled() -> None:
    """
    A byte or an end on an idle connection: the connection is dropped, and the next request gets another.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend)
    client = await harness.connect()
    client.send(GET)
    await client.response()
    backend.connections[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    await until(lambda: backend.connections[0].lost)
    client.send(GET)
    response = await client.response()
    await harness.close()

    assert response is not None
    assert response.body == b"hello"
    assert len(backend.connections) == 2


@pytest.mark.parametrize("data", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b""])
@pytest_twisted.ensureDeferred
async def test_what_came_to_an_idle_connection_is_nobodys_response(data: bytes, oracle: Oracle) -> None:
    """
    Bytes or an end that the reactor has not seen yet, because the next request comes in the same turn.
    """
    backend = FaultyBackend()
    harness = Harness(backend=backend)
    await harness.request(GET)
    (first,) = backend.connections
    below = first.transport.getHandle()
    if data:
        below.send(data)
    else:
        below.shutdown(socket.SHUT_WR)
    response = await harness.agent.send(BackendRequest(b"POST", GET.replace(b"GET", b"POST")))
    response.abort()
    await harness.close()

    assert response.head.status == 200
    assert response.head.content_length == 0
    assert len(backend.connections) == 2
    assert backend.partial_count == 0
    # The request comes from the test, not from a client.
    own, oracle.breaches = oracle.breaches, []
    assert ["a request of no exchange" in breach for breach in own] == [True]


def test_the_working_directory_is_not_needed(tmp_path: Path) -> None:
    """
    The tests find their data from any working directory.
    """
    from tests.support.harness import VECTORS

    assert VECTORS.is_absolute()
    assert (VECTORS / "server.json").is_file()
