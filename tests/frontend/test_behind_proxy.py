"""
s3proxy behind another proxy, on real sockets: it believes what a listed proxy says of its clients, and no other peer.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent, globalLogPublisher
from twisted.web.resource import Resource

from s3proxy.configuration.loading import load_settings
from s3proxy.daemon.service import ProxyService
from s3proxy.frontend.admission import MIN_EVICTION_AGE, ConnectionLimit
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.site import S3Site
from s3proxy.frontend.times import ClientTimes
from s3proxy.s3.errors import BadRequest
from s3proxy.telemetry.accesslog import format_line
from s3proxy.testing.faulty_backend import HELLO, OK, FaultyBackend, FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import FaultyClient
from tests.frontend.proxy_headers import extension, header_v2, with_checksum
from tests.support.forms import BUCKET, form_request, multipart, v4_fields
from tests.support.harness import Harness, turns, until
from tests.support.processes import write_configuration
from tests.support.signer import SIGNED_CHUNKS, Signer
from tests.support.socket_client import SocketClient

TARGET = "/test-bucket/key"
GET = Signer().head("GET", TARGET)[0]
LOOPBACK = Peers(["127.0.0.0/8"])
SPEAKS_PROXY = Trust(LOOPBACK, proxy_protocol=True)
INET = struct.pack("!4B4BHH", 192, 0, 2, 7, 198, 51, 100, 1, 56324, 443)
INET6 = bytes.fromhex("20010db8" + "0" * 23 + "7" + "20010db8" + "0" * 23 + "1") + struct.pack("!HH", 56324, 443)
LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 443\r\n"

HEADERS: dict[str, tuple[bytes, str]] = {
    "v1 TCP4": (LINE, "192.0.2.7"),
    "v1 TCP6": (b"PROXY TCP6 2001:DB8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
    "v1 UNKNOWN": (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
    "v2 TCP4": (header_v2(0x21, 0x11, INET), "192.0.2.7"),
    "v2 TCP6": (with_checksum(0x21, 0x21, INET6, extension(0x20, bytes(40))), "2001:db8::7"),
    "v2 IPv4 in IPv6": (
        header_v2(0x21, 0x21, bytes(10) + b"\xff\xff\xc0\0\2\7" + bytes(10) + b"\xff\xff\xc0\0\2\1" + bytes(4)),
        "192.0.2.7",
    ),
    "v2 UNIX": (header_v2(0x21, 0x31, bytes(216)), "127.0.0.1"),
    "v2 LOCAL": (header_v2(0x20, 0, b""), "127.0.0.1"),
}


def hello(connection: FaultyConnection, request: ReceivedRequest) -> None:
    """
    Respond as S3 would: a GET returns an object.
    """
    connection.send(HELLO + b"hello" if request.head.method == b"GET" else OK)


def make(**options: Any) -> Harness:
    """
    Return a proxy whose backend responds, and sees who the client is.
    """
    harness = Harness(**{"forwarded": "x-forwarded", **options})
    harness.backend.on_request = hello
    return harness


def told(harness: Harness, name: bytes = b"x-forwarded-for") -> bytes | None:
    """
    Return what the backend's last request says of the client.
    """
    return harness.backend.requests[-1].head.fields.value(name)


async def send_bytes(client: SocketClient, data: bytes, step: int) -> None:
    """
    Send bytes, each piece in its own segment, which s3proxy has read before the next one is sent.
    """
    client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(data), step):
        client.put(data[start : start + step])
        client.pump()
        await turns(2)


# The PROXY protocol


@pytest.mark.parametrize("step", [0, 1, 5, 15])
@pytest.mark.parametrize("name", HEADERS)
@pytest_twisted.ensureDeferred
async def test_the_clients_address_is_the_headers(name: str, step: int) -> None:
    """
    In the log and in the requests to the backend, for every request of the connection, however the header is split;
    also in one segment with a request and the next.
    """
    header, host = HEADERS[name]
    harness = make(trust=SPEAKS_PROXY)
    client = SocketClient(harness.port.getHost().port)
    await send_bytes(client, header + GET + GET, step or 100_000)
    await until(lambda: client.pump() or client.received.count(b"hello") == 2)
    client.close()
    await harness.close()

    assert [record.client_host for record in harness.records] == [host, host]
    assert format_line(harness.records[0]).split()[4] == host.encode()
    assert [r.head.fields.value(b"x-forwarded-for") for r in harness.backend.requests] == [host.encode()] * 2


@pytest.mark.parametrize("step", [1, 0])
@pytest.mark.parametrize("name", ["v1 TCP4", "v2 TCP6", "v2 LOCAL"])
@pytest_twisted.ensureDeferred
async def test_the_header_is_before_tls(name: str, step: int) -> None:
    """
    Unencrypted before the first TLS record, which may be in the same segment. After it everything works as usual,
    uploads too.
    """
    header, host = HEADERS[name]
    harness = make(trust=SPEAKS_PROXY, is_tls=True)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    upload = Signer().put(TARGET, bytes(200_000), SIGNED_CHUNKS)
    client = SocketClient(harness.port.getHost().port)

    async def do(act: Callable[[], Any], before: bytes = b"") -> Any:
        while True:
            try:
                result = act()
            except ssl.SSLWantReadError:
                result = None
            data, before = before + outgoing.read(), b""
            if data:
                await send_bytes(client, data, step if step and len(data) < 2000 else 100_000)
            client.pump()
            incoming.write(client.received)
            client.received = b""
            if result is not None:
                return result
            await turns()

    await do(lambda: tls.do_handshake() or True, header)
    await do(lambda: tls.write(upload.head + upload.body))
    response = await do(lambda: tls.read(1000))
    client.close()
    await harness.close()

    assert response.startswith(b"HTTP/1.1 200")
    assert harness.records[0].client_host == host
    assert harness.records[0].tls_version == "TLSv1.3"
    assert told(harness) == host.encode()
    assert told(harness, b"x-forwarded-proto") == b"https"


@pytest.mark.parametrize(
    "data",
    [
        GET,
        b"\r\n" + GET,
        b"PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n" + GET,
        b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n" + GET,
        header_v2(0x21, 0x11, INET + extension(3, b"\1\2\3\4")) + GET,
        header_v2(0x21, 0x11, b"") + GET,
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
@pytest.mark.parametrize("is_tls", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_wrong_header_is_not_answered(data: bytes, is_tls: bool) -> None:
    """
    The connection is closed without a response, the backend gets nothing, and the log names the peer and quotes
    nothing.
    """
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    harness = make(trust=SPEAKS_PROXY, is_tls=is_tls)
    client = SocketClient(harness.port.getHost().port)
    client.put(data)
    await until(lambda: client.pump() or client.end)
    globalLogPublisher.removeObserver(events.append)
    client.close()
    await harness.close()

    assert client.received == b""
    assert (harness.records, harness.refused, harness.backend.requests) == ([], [], [])
    (event,) = [event for event in events if "peer" in event]
    assert event["peer"] == "127.0.0.1"
    assert "192.0.2" not in event["reason"]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (b"X-Forwarded-Host: secret\r\nX-Forwarded-Host: b\r\n", "a listed proxy sends 2 X-Forwarded-Host headers"),
        (b"X-Forwarded-For: se cret\r\n", "what a listed proxy says of its client"),
        (b"Host: secret\r\n", "it has 2 Host headers"),
        (b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "it has both Content-Length and Transfer-Encoding"),
        (None, "a TLS handshake, on a port that has no TLS"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_log_says_why_something_is_no_request(more: bytes | None, why: str) -> None:
    """
    With the request id that the client reads, and without a byte of what it sent.
    """
    harness = make(trust=Trust(LOOPBACK, forwarded="x-forwarded"))
    client = SocketClient(harness.port.getHost().port)
    with capturedLogs() as captured:
        client.put(b"\x16\x03\x01\x02\x00\x01\x00" if more is None else GET[:-2] + more + b"\r\n")
        await until(lambda: client.pump() or client.end)
    client.close()
    await harness.close()

    assert client.status == 400
    (event,) = [event for event in captured if "why" in event]
    assert event["why"].startswith(why)
    assert b"x-amz-request-id: " + event["request_id"].encode() in client.received
    assert "secret" not in formatEvent(event)


def test_garbage_does_not_fill_the_log() -> None:
    """
    Ten reasons a second are logged, then the number of the others.
    """
    clock = Clock()
    site = S3Site(Resource(), clock)
    channel: Any = None
    with capturedLogs() as captured:
        for _ in range(25):
            site.connection_refused(channel, BadRequest(), "ID", lambda: "garbage")
        clock.advance(1)
        site.connection_refused(channel, BadRequest(), "ID", lambda: "garbage")

    assert len([event for event in captured if "why" in event]) == 11
    assert [event["count"] for event in captured if "more times" in event["log_format"]] == [15]


@pytest.mark.parametrize("begun", [b"", LINE[:-1], header_v2(0x21, 0x11, INET)[:20]])
@pytest_twisted.ensureDeferred
async def test_a_header_has_its_time(begun: bytes) -> None:
    """
    The header has the time limit of a head: then the connection is closed without a response.
    """
    clock = Clock()
    harness = make(trust=SPEAKS_PROXY, clock=clock, times=ClientTimes(head=10))
    client = SocketClient(harness.port.getHost().port)
    client.put(begun)
    client.pump()
    await until(lambda: harness.site.introduced)
    clock.advance(9)
    await turns(5)
    client.pump()
    ended_early = client.end
    clock.advance(2)
    await until(lambda: client.pump() or client.end)
    await until(lambda: not harness.site.introduced)
    client.close()
    await harness.close()

    assert ended_early is None
    assert client.received == b""
    assert clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_who_is_not_listed_speaks_for_nobody() -> None:
    """
    Its own requests are served as its own; a PROXY header from it is not a request.
    """
    harness = make(trust=Trust(Peers(["192.0.2.0/24", "::1"]), proxy_protocol=True))
    served = await harness.request(GET)
    line = await harness.request(LINE + GET)
    block = await harness.request(header_v2(0x21, 0x11, INET) + GET)
    await harness.close()

    assert (served.status, line.status, block.status) == (200, 400, 400)
    assert [record.client_host for record in harness.records] == ["127.0.0.1"]
    assert harness.refused == ["127.0.0.1", "127.0.0.1"]


@pytest_twisted.ensureDeferred
async def test_without_the_option_a_header_is_no_request() -> None:
    """
    Not even from a listed peer.
    """
    harness = make(trust=Trust(LOOPBACK))
    response = await harness.request(LINE + GET)
    await harness.close()

    assert response.status == 400
    assert harness.records == []


@pytest_twisted.ensureDeferred
async def test_a_health_check_which_says_nothing_leaves_nothing() -> None:
    """
    A connection that ends before its header, inside it, or right after it.
    """
    harness = make(trust=SPEAKS_PROXY)
    for data in (b"", LINE[:20], LINE, header_v2(0x20, 0, b"")):
        client = SocketClient(harness.port.getHost().port)
        client.put(data)
        client.pump()
        await turns(5)
        client.close()
    await until(lambda: not harness.site.introduced and not harness.site.channels)
    response = await harness.request(LINE + GET)
    await harness.close()

    assert response.status == 200


@pytest_twisted.ensureDeferred
async def test_the_bound_of_an_address_is_the_clients() -> None:
    """
    A client behind a proxy has as many connections as its limit allows, and takes none of another client's.
    """
    harness = make(trust=SPEAKS_PROXY, connection_limit=ConnectionLimit(list, 100, 1))
    first = SocketClient(harness.port.getHost().port)
    await send_bytes(first, LINE, 100)
    await until(lambda: harness.site.channels)
    refused = await harness.request(LINE)
    other = await harness.request(LINE.replace(b".7 ", b".8 ") + GET)
    first.close()
    await harness.close()

    assert (refused.status, other.status) == (503, 200)


@pytest.mark.parametrize("serves", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_drain_waits_for_headers_too(serves: bool) -> None:
    """
    If idle connections may send one more request, so may one whose header has not come; otherwise it is closed.
    """
    clock = Clock()
    harness = make(trust=SPEAKS_PROXY, clock=clock)
    client = SocketClient(harness.port.getHost().port)
    client.pump()
    await until(lambda: harness.site.introduced)
    drained = harness.site.drain(serves=serves)
    if serves:
        client.put(LINE + GET)
        await until(lambda: client.pump() or client.end)
    await drained
    await until(lambda: client.pump() or client.end)
    client.close()
    await harness.close()

    assert client.status == (200 if serves else 0)


@pytest_twisted.ensureDeferred
async def test_a_drain_does_not_end_before_the_last_header() -> None:
    """
    Not even once all others have ended: this connection may still bring a request.
    """
    harness = make(trust=SPEAKS_PROXY)
    waiting = SocketClient(harness.port.getHost().port)
    other = SocketClient(harness.port.getHost().port)
    await send_bytes(other, LINE, 100)
    await until(lambda: harness.site.channels and harness.site.introduced)
    drained = harness.site.drain(serves=True)
    other.close()
    await until(lambda: not harness.site.channels)
    was_drained = drained.called
    waiting.put(LINE + GET)
    await until(lambda: waiting.pump() or waiting.end)
    await drained
    waiting.close()
    await harness.close()

    assert not was_drained
    assert waiting.status == 200


# Headers of requests

X = Trust(LOOPBACK, forwarded="x-forwarded")
RFC = Trust(LOOPBACK, forwarded="forwarded")
HOPS = Trust(Peers(["127.0.0.1", "10.0.0.0/8", "2001:db8::/32"]), forwarded="x-forwarded")
HOPS_RFC = Trust(HOPS.peers, forwarded="forwarded")


def behind(*headers: str, host: str = "inner:8080", public: str = "s3.example.test", target: str = TARGET) -> bytes:
    """
    Return a request that was signed for the public name, as a proxy sends it: with its own Host and its own headers.
    """
    head = Signer(host=public).head("GET", target)[0]
    head = head.replace(f"host: {public}\r\n".encode(), f"Host: {host}\r\n".encode())
    return head.replace(b"\r\n\r\n", "".join(f"\r\n{line}" for line in headers).encode("latin-1") + b"\r\n\r\n")


@pytest.mark.parametrize("host", ["s3.example.test", "S3.Example.TEST:9443", "[2001:db8::1]:9000", "s3.example.test."])
@pytest.mark.parametrize(
    ("trust", "line"),
    [(X, "X-Forwarded-Host: {}"), (RFC, 'Forwarded: for=192.0.2.7;host="{}"'), (RFC, 'fOrWarded: Host="{}";FOR=_x')],
)
@pytest_twisted.ensureDeferred
async def test_the_public_name_is_the_host(trust: Trust, line: str, host: str) -> None:
    """
    s3proxy verifies what the client signed, though a proxy has changed Host, in any spelling that the client used.
    """
    harness = make(trust=trust)
    response = await harness.request(behind(line.format(host), public=host))
    await harness.close()

    assert response.status == 200, response.body
    assert told(harness, b"x-forwarded-host") == host.encode()
    assert host.encode() in format_line(harness.records[0])
    assert b"host: %s\r\n" % host.encode() not in harness.backend.requests[0].raw_head


@pytest_twisted.ensureDeferred
async def test_only_the_public_name_is_the_host() -> None:
    """
    A signature for the Host that the proxy sent is refused: there is one candidate, not two.
    """
    harness = make(trust=X)
    response = await harness.request(behind("X-Forwarded-Host: public.example.test", host="inner", public="inner"))
    without = await harness.request(behind(host="inner", public="inner"))
    await harness.close()

    assert response.status == 403
    assert b"SignatureDoesNotMatch" in response.body
    assert without.status == 200


@pytest_twisted.ensureDeferred
async def test_the_public_name_holds_the_bucket() -> None:
    """
    Virtual-hosted style uses the public name, whatever the Host is.
    """
    harness = make(trust=X)
    line = "X-Forwarded-Host: bucket.s3.example.test"
    response = await harness.request(
        behind(line, host="other.s3.example.test", public="bucket.s3.example.test", target="/key")
    )
    await harness.close()

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == b"/bucket/key"


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "http"])
@pytest.mark.parametrize("trust", [X, RFC])
@pytest_twisted.ensureDeferred
async def test_location_is_public(trust: Trust, scheme: str) -> None:
    """
    With the scheme and the name that the client used.
    """
    harness = make(trust=trust)
    inside = f"http://127.0.0.1:{harness.backend_port.getHost().port}/test-bucket/key".encode()
    harness.backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 307 T\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % inside
    )
    public = "s3.example.test:8443"
    lines = [f"X-Forwarded-Host: {public}", f"X-Forwarded-Proto: {scheme}"]
    if trust is RFC:
        lines = [f'Forwarded: for=192.0.2.7;host="{public}";proto={scheme}']
    response = await harness.request(behind(*lines, public=public))
    await harness.close()

    assert response.header("Location") == f"{scheme.lower()}://{public}{TARGET}"


@pytest_twisted.ensureDeferred
async def test_a_forms_location_is_public() -> None:
    """
    A browser gets the location of its file under the name that it used.
    """
    harness = make(trust=X)
    fields = v4_fields(
        [["eq", "$key", "k"], ["eq", "$success_action_status", "201"]], key="k", success_action_status="201"
    )
    request = form_request(multipart(fields, b"hello"))
    head = request.head.replace(
        b"Host: s3.example.test",
        b"Host: inner\r\nX-Forwarded-Host: s3.example.test:8443\r\nX-Forwarded-Proto: https",
    )
    response = await harness.request(head, request.body)
    await harness.close()

    assert response.status == 201, response.body
    assert response.header("Location") == f"https://s3.example.test:8443/{BUCKET}/k"


CHAINS: dict[str, tuple[list[str], str, str]] = {
    "none": ([], "127.0.0.1", "127.0.0.1"),
    "one": (["192.0.2.7"], "192.0.2.7", "192.0.2.7, 127.0.0.1"),
    "what the client wrote": (["10.9.9.9, nonsense\t, 192.0.2.7"], "192.0.2.7", "192.0.2.7, 127.0.0.1"),
    "through a listed one": (["6.6.6.6, 192.0.2.7 ,10.0.0.1"], "192.0.2.7", "192.0.2.7, 10.0.0.1, 127.0.0.1"),
    "in lines": (["6.6.6.6", "192.0.2.7", "10.0.0.1"], "192.0.2.7", "192.0.2.7, 10.0.0.1, 127.0.0.1"),
    "listed ones only": (["10.0.0.2, 10.0.0.1"], "10.0.0.2", "10.0.0.2, 10.0.0.1, 127.0.0.1"),
    "with ports": (["192.0.2.7:1234, [2001:db8::5]:99"], "192.0.2.7", "192.0.2.7, 2001:db8::5, 127.0.0.1"),
    "IPv6": (["2001:DB9::7"], "2001:db9::7", "2001:db9::7, 127.0.0.1"),
    "IPv4 in IPv6": (["6.6.6.6, ::ffff:192.0.2.7"], "192.0.2.7", "192.0.2.7, 127.0.0.1"),
    "unknown": (["6.6.6.6, unknown"], "-", "unknown, 127.0.0.1"),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest_twisted.ensureDeferred
async def test_the_client_is_the_last_who_is_not_listed(name: str) -> None:
    """
    s3proxy reads from the right, as each listed hop appends the address that it saw; the backend gets no more than
    that.
    """
    values, host, chain = CHAINS[name]
    harness = make(trust=HOPS)
    response = await harness.request(
        behind(*(f"X-Forwarded-For: {value}" for value in values), "X-Forwarded-Host: s3.example.test")
    )
    await harness.close()

    assert response.status == 200, response.body
    assert harness.records[0].client_host == host
    assert told(harness) == chain.encode()


FORWARDED: dict[str, tuple[list[str], str, str]] = {
    "one": (
        ["for=192.0.2.7;proto=https;host=s3.example.test"],
        "192.0.2.7",
        'for=192.0.2.7;host="s3.example.test";proto=https, for=127.0.0.1',
    ),
    "what the client wrote": (
        ['for=10.9.9.9;host=evil, for=192.0.2.7;host="s3.example.test"'],
        "192.0.2.7",
        'for=192.0.2.7;host="s3.example.test";proto=http, for=127.0.0.1',
    ),
    "through a listed one": (
        ['for="[2001:DB9::7]:1";host=s3.example.test;by=_edge;ext="a, b;\\"c", for=10.0.0.1;host=inner;proto=https'],
        "2001:db9::7",
        'for="[2001:db9::7]";host="s3.example.test";proto=http, for=10.0.0.1, for=127.0.0.1',
    ),
    "an obfuscated client": (
        ["for=6.6.6.6,for=_hidden;host=s3.example.test, for=10.0.0.1"],
        "-",
        'for=unknown;host="s3.example.test";proto=http, for=10.0.0.1, for=127.0.0.1',
    ),
    "no address at all": (
        ["for=10.0.0.1, host=s3.example.test;proto=https ,"],
        "-",
        'for=unknown;host="s3.example.test";proto=https, for=127.0.0.1',
    ),
}


@pytest.mark.parametrize("name", FORWARDED)
@pytest_twisted.ensureDeferred
async def test_forwarded_is_read_and_written(name: str) -> None:
    """
    RFC 7239: host and scheme are those that the first listed hop saw of the client, not those of an inner hop.
    """
    values, host, chain = FORWARDED[name]
    harness = make(trust=HOPS_RFC, forwarded="forwarded")
    response = await harness.request(
        behind(*(f"Forwarded: {value}" for value in values), "X-Forwarded-Host: evil", "X-Forwarded-For: 6.6.6.6")
    )
    await harness.close()

    assert response.status == 200, response.body
    assert harness.records[0].client_host == host
    assert told(harness, b"forwarded") == chain.encode()
    assert told(harness) is None


BAD = {
    "two hosts": (X, ["X-Forwarded-Host: s3.example.test", "X-Forwarded-Host: s3.example.test"]),
    "a list of hosts": (X, ["X-Forwarded-Host: evil, s3.example.test"]),
    "an empty host": (X, ["X-Forwarded-Host:"]),
    "a space": (X, ["X-Forwarded-Host: s3.example.test x"]),
    "a byte above ASCII": (X, ["X-Forwarded-Host: s3.example\xfftest"]),
    "a path": (X, ["X-Forwarded-Host: s3.example.test/x"]),
    "an escape": (X, ["X-Forwarded-Host: a%2fb.s3.example.test"]),
    "a user": (X, ["X-Forwarded-Host: evil@s3.example.test"]),
    "a quotation mark": (X, ['X-Forwarded-Host: "s3.example.test"']),
    "markup": (X, ["X-Forwarded-Host: <script>"]),
    "two schemes": (X, ["X-Forwarded-Proto: https", "X-Forwarded-Proto: http"]),
    "a list of schemes": (X, ["X-Forwarded-Proto: https,http"]),
    "another scheme": (X, ["X-Forwarded-Proto: javascript"]),
    "no address": (X, ["X-Forwarded-For: 192.0.2.7, nonsense"]),
    "no address of a listed one": (HOPS, ["X-Forwarded-For: 192.0.2.7, , 10.0.0.1"]),
    "an address too large": (X, ["X-Forwarded-For: 192.0.2.256"]),
    "a scope": (X, ["X-Forwarded-For: fe80::1%eth0"]),
    "too many hops": (HOPS, ["X-Forwarded-For: " + ",".join(["10.0.0.1"] * 40)]),
    "an open quotation": (RFC, ['Forwarded: for="192.0.2.7']),
    "an open quotation before": (RFC, ['Forwarded: for="x, for=192.0.2.7;host=s3.example.test']),
    "a quotation over two lines": (RFC, ['Forwarded: for="', 'Forwarded: ";host=evil, for=192.0.2.7;host=x']),
    "a parameter twice": (RFC, ["Forwarded: for=192.0.2.7;host=evil;host=s3.example.test"]),
    "a parameter twice, in two spellings": (RFC, ["Forwarded: for=192.0.2.7;host=evil;Host=s3.example.test"]),
    "no value": (RFC, ["Forwarded: for"]),
    # A pattern that tries all combinations would take minutes.
    "white space without end": (RFC, ["Forwarded: for=192.0.2.7;" + " \t" * 29000 + "x, for=192.0.2.7"]),
    "a bad host": (RFC, ['Forwarded: for=192.0.2.7;host="evil, s3.example.test"']),
    "a bad scheme": (RFC, ["Forwarded: for=192.0.2.7;proto=ftp"]),
    "a bad address": (RFC, ["Forwarded: for=nonsense"]),
}


@pytest.mark.parametrize("name", BAD)
@pytest_twisted.ensureDeferred
async def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    """
    400, and the connection ends; the backend gets nothing.
    """
    trust, lines = BAD[name]
    harness = make(trust=trust)
    head = behind(*lines, host="s3.example.test")
    response = await harness.request(head)
    await harness.close()

    assert response.status == 400, response.body
    assert response.header("Connection") == "close"
    assert harness.backend.requests == []


SPOOFED = [
    "X-Forwarded-For: 6.6.6.6",
    "X-Forwarded-Host: evil.example.test",
    "X-Forwarded-Proto: https",
    "Forwarded: for=6.6.6.6;host=evil.example.test;proto=https",
    "X-Real-IP: 6.6.6.6",
    "Via: 1.1 evil",
]


@pytest.mark.parametrize(
    "trust",
    [
        Trust(),
        Trust(LOOPBACK),
        Trust(Peers(["10.0.0.0/8"]), forwarded="x-forwarded"),
        Trust(Peers(["10.0.0.0/8"]), forwarded="forwarded"),
        Trust(Peers(["unix", "::1"]), forwarded="x-forwarded"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_is_not_listed_is_not_believed(trust: Trust) -> None:
    """
    Neither its address, nor the name, nor the scheme; and none of them reaches the backend.
    """
    harness = make(trust=trust)
    response = await harness.request(behind(*SPOOFED, host="s3.example.test"))
    spoofed = await harness.request(behind(*SPOOFED, host="s3.example.test", public="evil.example.test"))
    await harness.close()

    assert (response.status, spoofed.status) == (200, 403)
    assert harness.records[0].client_host == "127.0.0.1"
    assert told(harness) == b"127.0.0.1"
    assert told(harness, b"x-forwarded-host") == b"s3.example.test"
    assert told(harness, b"x-forwarded-proto") == b"http"
    assert b"6.6.6.6" not in harness.backend.requests[0].raw_head
    assert b"evil" not in harness.backend.requests[0].raw_head


@pytest.mark.parametrize("trust", [Trust(), X], ids=["not listed", "listed"])
@pytest_twisted.ensureDeferred
async def test_a_signature_makes_no_proxy(trust: Trust) -> None:
    """
    A client may sign such headers; like unsigned ones, they do not reach the backend.
    """
    names = ("x-forwarded-for", "x-forwarded-server", "forwarded", "via", "x-real-ip")
    harness = make(trust=trust, forwarded="none")
    response = await harness.request(Signer().head("GET", TARGET, dict.fromkeys(names, "6.6.6.6"))[0])
    await harness.close()

    assert response.status == 200, response.body
    assert b"6.6.6.6" not in harness.backend.requests[0].raw_head


@pytest.mark.parametrize("name", ["v1 TCP4", "v1 UNKNOWN", "v2 UNIX"])
@pytest_twisted.ensureDeferred
async def test_a_relayed_client_does_not_speak_for_its_proxy(name: str) -> None:
    """
    A proxy that relays bytes is believed for its PROXY header. The request's headers are the client's own, even if the
    PROXY header does not name the client.
    """
    header, host = HEADERS[name]
    harness = make(trust=Trust(LOOPBACK, proxy_protocol=True, forwarded="x-forwarded"))
    response = await harness.request(header + behind(*SPOOFED, host="s3.example.test"))
    await harness.close()

    assert response.status == 200, response.body
    assert harness.records[0].client_host == host
    assert told(harness) == host.encode()


@pytest.mark.parametrize(
    "header", [header_v2(0x20, 0, b""), b"PROXY TCP4 127.0.0.9 198.51.100.1 56324 443\r\n"], ids=["LOCAL", "listed"]
)
@pytest_twisted.ensureDeferred
async def test_a_proxy_behind_a_relay_is_believed(header: bytes) -> None:
    """
    If the PROXY header names a listed peer, or says that the proxy speaks for itself, the request's headers count.
    """
    harness = make(trust=Trust(LOOPBACK, proxy_protocol=True, forwarded="x-forwarded"))
    response = await harness.request(header + behind("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: s3.example.test"))
    await harness.close()

    assert response.status == 200, response.body
    assert harness.records[0].client_host == "192.0.2.7"


@pytest_twisted.ensureDeferred
async def test_each_request_has_its_own_origin() -> None:
    """
    A proxy's connection carries many clients in sequence. What one request says does not apply to the next.
    """
    harness = make(trust=X)
    client = await harness.connect()
    client.send(behind("X-Forwarded-For: 192.0.2.7", "X-Forwarded-Host: s3.example.test"))
    await client.response()
    client.send(behind("X-Forwarded-For: 192.0.2.8", host="s3.example.test"))
    await client.response()
    client.send(GET)
    await client.response()
    await harness.close()

    assert [record.client_host for record in harness.records] == ["192.0.2.7", "192.0.2.8", "127.0.0.1"]


@pytest_twisted.ensureDeferred
async def test_a_listed_proxy_has_as_many_connections_as_it_needs() -> None:
    """
    The limit of connections from one address is for clients, not for a proxy of many clients.
    """
    limit = ConnectionLimit(list, 100, 1)
    harness = make(trust=X, connection_limit=limit)
    clients = [await harness.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
    responses = [await client.response() for client in clients]
    await harness.close()

    assert [response.status for response in responses if response is not None] == [200, 200, 200]
    assert limit.refused_count == 0


# Configured


# Twisted compares the socket's name with a zero byte of either type.
@pytest.mark.filterwarnings("ignore::BytesWarning")
@pytest_twisted.ensureDeferred
async def test_a_unix_socket_and_a_reload(tmp_path: Path) -> None:
    """
    ``unix`` lists every peer on a unix socket; a reload changes what is believed, on the same socket.
    """
    backend = FaultyBackend()
    backend_port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    url = f"http://127.0.0.1:{backend_port.getHost().port}"
    listen = f"unix:{tmp_path}/socket"

    def configure(server: str) -> Any:
        path = write_configuration(tmp_path, url, listen=listen, server=server)
        return load_settings(path)

    def load() -> Any:
        return configure('trusted_peers = ["unix"]\ntrusted_forwarded = "x-forwarded"')

    service = ProxyService(
        configure('trusted_peers = ["unix"]\nproxy_protocol = true'), reactor, load=load, handles_signals=False
    )
    service.startService()
    signed = Signer(now=datetime.now(UTC)).head("GET", TARGET)[0]
    statuses = []

    async def ask(data: bytes) -> int:
        client = await UNIXClientEndpoint(reactor, f"{tmp_path}/socket").connect(Factory.forProtocol(FaultyClient))
        client.send(data)
        response = await client.response()
        client.transport.abortConnection()
        await client.until(lambda: client.lost)
        return 0 if response is None else response.status

    for _ in range(2):
        statuses += [await ask(LINE + signed), await ask(signed)]
        service.reload()
    (site,) = service.listeners.sites
    assert site.trust.forwarded == "x-forwarded"
    statuses.append(await ask(signed.replace(b"\r\n\r\n", b"\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")))
    await service.stopService()
    await backend_port.stopListening()

    assert statuses == [200, 0, 400, 200, 200]
    hosts = [line.split()[4] for line in (tmp_path / "access.log").read_text().splitlines()]
    assert hosts == ["192.0.2.7", "-", "-", "192.0.2.9"]


@pytest_twisted.ensureDeferred
async def test_a_header_that_never_comes_counts_as_a_connection() -> None:
    """
    A connection of a listed peer takes a place before its header is complete, and one place afterwards. After a while
    it may be closed to make room.
    """
    clock = Clock()
    limit = ConnectionLimit(list, 100)
    harness = make(trust=SPEAKS_PROXY, connection_limit=limit, clock=clock)
    silent, speaking = await harness.connect(), await harness.connect()
    await until(lambda: len(harness.site.introduced) == 2)
    counted = len(limit._connections)
    young = [connection.idle_since for connection in limit._connections]
    speaking.send(LINE)
    await until(lambda: harness.site.channels)
    handed_over = len(limit._connections)
    clock.advance(MIN_EVICTION_AGE)
    (introduced,) = harness.site.introduced
    old = introduced.idle_since
    introduced.close_idle()
    await silent.until(lambda: silent.lost)
    await until(lambda: not harness.site.introduced)
    left = len(limit._connections)
    await harness.close()

    assert counted == 2
    assert young == [None, None]
    assert handed_over == 2
    assert old == 0
    assert left == 1
