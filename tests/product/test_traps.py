"""
What Twisted and the network do that a proxy may not expect: each was seen once, and has a test since.
"""

from __future__ import annotations

import gc
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from s3proxy.backend.request import BackendLimits, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.body.guard import GuardedBody
from s3proxy.exchange.exchange import Exchange
from s3proxy.forwarding.onward import Onward
from s3proxy.frontend.request import StreamedRequest
from s3proxy.frontend.resource import S3Resource
from s3proxy.testing.faulty_backend import OK, FaultyBackend, FaultyConnection, ReceivedRequest
from tests.conftest import ErrorLog
from tests.support.harness import Harness, turns, until
from tests.support.signer import HASH, SIGNED_CHUNKS, UNSIGNED, UNSIGNED_TRAILER, SignedRequest, Signer
from tests.support.socket_client import SocketClient
from tests.support.wire_cases import element

TARGET = "/test-bucket/key"
BODY = bytes(range(256)) * 1200
GET = Signer().head("GET", TARGET)[0]


@pytest_twisted.ensureDeferred
async def test_a_verdict_inside_the_last_bytes_keeps_the_connection() -> None:
    """
    A small upload is refused at its very end: the next request on the connection is served.
    """
    request = Signer().put(TARGET, BODY[:20_000], SIGNED_CHUNKS, chunk_size=8192)
    wire = request.body[:-10] + b"x" + request.body[-9:]
    harness = Harness()
    client = await harness.connect()
    client.send(request.head + wire + GET)

    first, second = await client.response("PUT"), await client.response("GET")
    await harness.close()

    assert first is not None
    assert first.status in {400, 403}
    assert second is not None
    assert second.body == b"hello"


@pytest.mark.parametrize("connection", ["close", "keep-alive,close", "Close"])
@pytest_twisted.ensureDeferred
async def test_close_is_understood(connection: str) -> None:
    """
    In any spelling. The response arrives whole, then the connection ends.
    """
    harness = Harness()
    client = await harness.connect()
    client.send(Signer().head("GET", TARGET, unsigned={"Connection": connection})[0])
    response = await client.response()
    await client.until(lambda: client.lost)
    await harness.close()

    assert response is not None
    assert response.body == b"hello"
    assert response.header("Connection") == "close"
    assert "closed cleanly" in str(client.lost.value)


@pytest_twisted.ensureDeferred
async def test_no_header_is_invented() -> None:
    """
    A response without Content-Type or Server stays without them; only Date is added.
    """
    harness = Harness()
    harness.backend.on_request = lambda connection, request: connection.send(OK)
    response = await harness.request(GET)
    await harness.close()

    assert sorted(name.lower() for name, _ in response.headers) == [
        "content-length",
        "date",
        "etag",
        "x-amz-request-id",
    ]


@pytest.mark.parametrize(
    "path",
    [
        "/b//",
        "/b//k",
        "/b/./k/../x",
        "/b/k%2Fx",
        "/b/k%2fx",
        "/b/k+x",
        "/b/k;x",
        "/b/k;",
        "/b/(k)",
        "/b/'k'!*",
        "/b/%C3%A4",
        "/b/~k",
        "/b/k%7E",
        "/b/k[x]",
        "/b/k?",
        "/b/k?&&",
        "/b?prefix=a%2Fb&delimiter=/",
    ],
)
@pytest_twisted.ensureDeferred
async def test_targets_pass_byte_for_byte(path: str) -> None:
    """
    s3proxy forwards what it verified: it normalises nothing.
    """
    harness = Harness()
    response = await harness.request(Signer().head("GET", path)[0])
    await harness.close()

    assert response.status == 200, response.body
    assert harness.backend.requests[0].head.raw_target == path.encode()


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest_twisted.ensureDeferred
async def test_transfer_chunks_may_end_anywhere(size: int) -> None:
    """
    The edges of the outer coding fall inside the lines of the inner one, as some SDKs send them.
    """
    body = BODY[:70_000]
    request = Signer().put(TARGET, body, UNSIGNED_TRAILER, transfer_chunks=size)
    harness = Harness()
    response = await harness.request(request.head, request.body)
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].body == body


@pytest.mark.parametrize("tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_refusal_is_readable(tls: bool) -> None:
    """
    A refused upload of 20 MB whose client reads only after it has sent everything: the error is still readable.
    """
    harness = Harness(is_tls=tls, socket_buffer=65536)
    request = Signer(secret="wrong").put(TARGET, BODY * 66, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    if tls:
        await client.start_tls()
    client.put(request.head + request.body)
    await until(lambda: client.pump(reads=False) or not client.pending or client.end)
    await until(lambda: client.pump() or client.status or client.end)
    client.close()
    await harness.close()

    assert client.status == 403
    assert harness.backend.connections == []


@pytest.mark.parametrize("offered", [["http/1.1"], ["h2", "http/1.1"], []])
@pytest_twisted.ensureDeferred
async def test_alpn(offered: list[str]) -> None:
    """
    A client that offers HTTP/1.1 gets it, and no client gets h2.
    """
    harness = Harness(is_tls=True)
    client = SocketClient(harness.port.getHost().port)
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if offered:
        context.set_alpn_protocols(offered)
    await client.start_tls(context)
    client.put(GET)
    await until(lambda: client.pump() or client.status or client.end)
    assert isinstance(client.socket, ssl.SSLSocket)
    chosen = client.socket.selected_alpn_protocol()
    client.close()
    await harness.close()

    assert client.status == 200
    assert chosen == ("http/1.1" if offered else None)


@pytest_twisted.ensureDeferred
async def test_a_held_client_which_ends_too_early_is_noticed() -> None:
    """
    FIN during a hold, with less sent than the body needs: the client gets the error at once, and nothing is stored.
    """
    backend = FaultyBackend(socket_buffer=65536)
    backend.pause_after = 100_000
    harness = Harness(backend=backend, limits=BackendLimits(socket_buffer=65536), socket_buffer=262144)
    request = Signer().put(TARGET, BODY * 20, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body[:700_000])
    await client.settle()
    (channel,) = harness.site.channels
    held = bool(channel.holds.reasons)
    client.socket.shutdown(1)
    await until(lambda: client.pump() or client.status or client.end)
    backend.connections[0].resume()
    await until(lambda: backend.connections[0].lost)
    await until(lambda: client.pump() or client.end)
    end = client.end
    client.close()
    await harness.close()

    assert held
    assert (client.status, end) == (400, "FIN")
    assert element(client.received, "NumberBytesProvided") == str(client.sent - len(request.head))
    assert backend.requests == []


@pytest_twisted.ensureDeferred
async def test_no_paused_connection_is_pooled() -> None:
    """
    After a response with a body, a pooled connection is not paused, so that its end is seen.
    """
    harness = Harness()
    client = await harness.connect()
    for _ in range(3):
        client.send(GET)
        await client.response()
    (connection,) = harness.pool.connections
    is_read = connection.transport in reactor.getReaders()
    harness.backend.connections[0].transport.loseConnection()
    await until(lambda: not harness.pool.connections)
    await harness.close()

    assert is_read


@pytest_twisted.ensureDeferred
async def test_a_response_which_comes_with_a_reset_is_read() -> None:
    """
    A backend refuses and closes while s3proxy sends: if its response has arrived, the client gets it.
    """
    document = b"<Error><Code>EntityTooLarge</Code></Error>"
    backend = FaultyBackend(socket_buffer=65536)

    def on_head(connection: FaultyConnection, head: object) -> None:
        connection.send(b"HTTP/1.1 400 Bad\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))
        connection.transport.loseConnection()

    backend.on_head = on_head
    harness = Harness(backend=backend)
    request = Signer().put(TARGET, BODY * 10, UNSIGNED)
    client = await harness.connect()
    client.send(request.head + request.body)
    response = await client.response("PUT")
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) in {(400, "EntityTooLarge"), (500, "InternalError")}
    assert backend.requests == []


def test_an_upload_may_be_stopped_twice() -> None:
    """
    Twisted stops a producer more than once; the Deferred from its start never fires afterwards.
    """
    upload = Upload(b"head", 100)
    paused = []

    class Source:
        def pauseProducing(self) -> None:
            paused.append(True)

        def resumeProducing(self) -> None:
            paused.append(False)

    class Consumer:
        def writeSequence(self, pieces: object) -> None:
            raise AssertionError("nothing is written after the stop")

    upload.registerProducer(Source(), True)
    fired: list[object] = []
    done: Deferred[None] = upload.startProducing(Consumer())
    done.addBoth(fired.append)
    upload.stopProducing()
    upload.stopProducing()
    upload.write(b"late")
    upload.finish()

    assert fired == []
    assert paused[-1] is True
    assert bool(upload)


@pytest_twisted.ensureDeferred
async def test_a_stock_site_is_told_clearly(error_log: ErrorLog) -> None:
    """
    Under a stock Site, which stores bodies, the resource reports what it needs.
    """
    harness = Harness()
    root = Resource()
    root.putChild(b"s3", S3Resource(harness.proxy))
    site = Site(root)
    site.noisy = False
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    from twisted.internet.endpoints import TCP4ClientEndpoint

    client = await harness.connect(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))
    client.send(b"GET /s3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    response = await client.response()
    await port.stopListening()
    await client.until(lambda: client.lost)
    await harness.close()

    assert response is not None
    assert response.status == 500
    assert b"S3Site" in response.body
    assert len(error_log.flush()) == 1


def test_the_clock_of_timers_is_monotonic(tmp_path: Path) -> None:
    """
    If NTP steps the wall clock by an hour, no timer of the daemon fires early or never.
    """
    from tests.support.processes import write_configuration

    path = write_configuration(tmp_path, "http://127.0.0.1:1")
    code = (
        "import sys, time; from pathlib import Path; from s3proxy.configuration.loading import load_settings;"
        "from s3proxy.daemon.service import make_service; make_service(load_settings(Path(sys.argv[1])));"
        "from twisted.internet import reactor; fired = [];"
        "reactor.callLater(0, lambda: (setattr(time, 'time', lambda: 0.0), reactor.callLater(0.01, fired.append, 1),"
        "reactor.callLater(3000, fired.append, 2), reactor.callLater(0.1, reactor.stop)));"
        "reactor.run(); assert reactor.seconds is time.monotonic; assert fired == [1], fired"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_a_dirty_test_fails(tmp_path: Path) -> None:
    """
    The suite's own fixtures fail a test that leaves a timer or an unhandled error.
    """
    (tmp_path / "test_dirty.py").write_text(
        "from tests.conftest import clean_reactor, error_log\n"
        "import pytest\n"
        "def test_timer():\n"
        "    from twisted.internet import reactor\n"
        "    reactor.callLater(100, print)\n"
        "def test_error():\n"
        "    from twisted.internet.defer import fail\n"
        "    fail(ValueError('nobody looks'))\n"
        "def test_clean():\n"
        "    pass\n"
    )
    root = Path(__file__).parents[2]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "-c", "/dev/null",
         str(tmp_path)],
        capture_output=True, text=True, timeout=100, check=False, cwd=root,
    )  # fmt: skip

    assert "2 errors" in ran.stdout, ran.stdout
    assert "3 passed" in ran.stdout


@pytest_twisted.ensureDeferred
async def test_virtual_hosted_buckets_become_path_style() -> None:
    """
    The bucket of the host name moves to the front of the path.
    """
    signer = Signer(host="bucket.with.dots.s3.example.test")
    harness = Harness()
    response = await harness.request(signer.head("GET", "/key")[0])
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == b"/bucket.with.dots/key"


@pytest_twisted.ensureDeferred
async def test_headers_pass_in_order_and_the_rest_is_dropped() -> None:
    """
    Signed and harmless headers pass with order, spelling and repeats. Other headers, and those of another proxy, do
    not.
    """
    request = Signer().put(
        TARGET,
        b"hello",
        HASH,
        headers={"x-amz-meta-b": "2", "x-amz-meta-a": "1", "x-custom": "signed"},
        unsigned={
            "Cache-Control": "no-cache",
            "X-Unsigned": "no",
            "X-Forwarded-For": "1.2.3.4",
            "Via": "x",
            "Range": "a",
        },
    )
    harness = Harness()
    await harness.request(request.head, request.body)
    await harness.close()

    (received,) = harness.backend.requests
    names = [name for name, _ in received.head.headers]
    passed = [name for name in names if name.lower() not in {b"host", b"authorization", b"content-length"}]
    ours = {b"x-amz-date", b"x-amz-content-sha256"}
    assert [name for name in passed if name not in ours] == [
        b"x-amz-meta-b",
        b"x-amz-meta-a",
        b"x-custom",
        b"Cache-Control",
        b"Range",
    ]
    assert harness.proxy.context.counts.dropped_headers == 3


@pytest_twisted.ensureDeferred
async def test_the_backends_name_becomes_ours() -> None:
    """
    In Location and in the document of CompleteMultipartUpload; redirects are relayed, never followed.
    """
    harness = Harness()
    inside = f"http://127.0.0.1:{harness.backend_port.getHost().port}/test-bucket/key".encode()

    def on_request(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.method == b"GET":
            connection.send(b"HTTP/1.1 307 T\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inside)
        else:
            document = b"<R><Location>%s</Location></R>" % inside
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

    harness.backend.on_request = on_request
    redirect = await harness.request(GET)
    head = Signer().head("POST", f"{TARGET}?uploadId=x", unsigned={"Content-Length": "0"})[0]
    done = await harness.request(head)
    await harness.close()

    assert redirect.status == 307
    assert redirect.header("Location") == "http://s3.example.test/test-bucket/key"
    assert done.body == b"<R><Location>http://s3.example.test/test-bucket/key</Location></R>"
    assert len(harness.backend.requests) == 2


@pytest_twisted.ensureDeferred
async def test_a_client_which_was_held_keeps_its_times() -> None:
    """
    A client held until its body's end: no idle time runs while it waits for the backend; keep-alive time runs
    afterwards.
    """
    clock = Clock()
    backend = FaultyBackend(socket_buffer=65536, keeps_bodies=False)
    backend.pause_after = 100_000
    waiting: list[FaultyConnection] = []
    backend.on_request = lambda connection, request: waiting.append(connection)
    harness = Harness(
        backend=backend,
        clock=clock,
        limits=BackendLimits(socket_buffer=65536),
        socket_buffer=65536,
        first_byte_time=10_000,
    )
    request = Signer().put(TARGET, BODY * 10, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body)
    for _ in range(300):
        client.pump()
        await turns()
    (channel,) = harness.site.channels
    held = bool(channel.holds.reasons)
    backend.connections[0].resume()
    await until(lambda: client.pump() or waiting)
    clock.advance(5_000)
    await turns(5)
    still_there = client.end is None and channel in harness.site.channels
    waiting[0].send(OK)
    await until(lambda: client.pump() or client.status)
    await turns(5)
    clock.advance(74)
    await turns(5)
    kept = channel in harness.site.channels
    clock.advance(2)
    await until(lambda: client.pump() or client.end)
    client.close()
    await harness.close()

    assert held
    assert still_there
    assert client.status == 200
    assert kept


@pytest_twisted.ensureDeferred
async def test_a_half_close_does_not_wait_for_a_paused_writer() -> None:
    """
    An early error that is larger than the kernel's buffers arrives whole, with its end, once the client reads.
    """
    document = b"<Error><Code>NoSuchBucket</Code>" + b" " * 2_000_000 + b"</Error>"
    backend = FaultyBackend()
    backend.on_head = lambda connection, head: connection.send(
        b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)
    )
    harness = Harness(backend=backend, socket_buffer=65536)
    request = Signer().put(TARGET, BODY * 10, UNSIGNED)
    client = SocketClient(harness.port.getHost().port)
    client.put(request.head + request.body)
    for _ in range(300):
        client.pump(reads=False)
        await turns()
    await until(lambda: client.pump() or client.end)
    end = client.end
    client.close()
    await harness.close()

    assert client.status == 404
    assert client.received.endswith(document)
    assert end == "FIN"


@pytest_twisted.ensureDeferred
async def test_the_log_is_not_told_of_each_connection() -> None:
    """
    A connection to the backend causes no log line when it opens or closes.
    """
    told: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        told.append(str(event.get("log_format")) + str(event.get("log_text")))

    harness = Harness()
    globalLogPublisher.addObserver(observe)
    await harness.request(GET)
    for connection in harness.backend.connections:
        connection.transport.loseConnection()
    await until(lambda: not harness.pool.connections)
    globalLogPublisher.removeObserver(observe)
    await harness.close()

    assert len(harness.backend.requests) == 1
    assert told == []


@pytest_twisted.ensureDeferred
async def test_a_released_connection_may_be_used_in_the_callback() -> None:
    """
    A callback for a response may send the next request at once, on the connection that has just become free.
    """
    harness = Harness()
    agent = harness.agent
    head = b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n"
    first = agent.send(BackendRequest(b"HEAD", head))
    second = first.addCallback(lambda response: agent.send(BackendRequest(b"HEAD", head)))
    harness.backend.on_request = lambda connection, request: connection.send(OK)
    response = await second
    await harness.close()

    assert response.code == 200
    assert len(harness.backend.connections) == 1
    assert len(harness.backend.requests) == 2


def everything_of_a_request() -> list[object]:
    """
    Return the objects that live only as long as a request.
    """
    kinds = (Exchange, Onward, StreamedRequest, BackendRequest, BackendResponse, Upload, GuardedBody)
    return [held for held in gc.get_objects() if isinstance(held, kinds)]


@pytest.mark.parametrize("mode", ["GET", HASH, SIGNED_CHUNKS])
@pytest_twisted.ensureDeferred
async def test_a_request_is_gone_with_its_end(mode: str) -> None:
    """
    No object of it waits for the garbage collector, which would have to examine the objects of all other requests.
    """
    harness = Harness()
    request = SignedRequest(GET, b"") if mode == "GET" else Signer().put(TARGET, bytes(200_000), mode)
    client = await harness.connect()
    gc.collect()
    before = {id(held) for held in everything_of_a_request()}
    gc.disable()
    try:
        for _ in range(3):
            client.send(request.head + request.body)
            response = await client.response(request.head[:3].decode())
            assert response is not None
            assert response.status == 200
        left = [held for held in everything_of_a_request() if id(held) not in before]
    finally:
        gc.enable()
    await harness.close()

    assert left == []
