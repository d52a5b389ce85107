"""
One client's connection without a socket: how long each of its states lasts, how many bytes are kept, and how it ends.
"""

from __future__ import annotations

from typing import Any, cast

import pytest
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionLost
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.frontend.admission import ConnectionLimit
from s3proxy.frontend.channel import MAX_PIPELINED_SIZE
from s3proxy.frontend.incoming_body import MAX_DRAINED_SIZE
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderFactory
from s3proxy.frontend.site import S3Site
from s3proxy.frontend.times import ClientTimes
from s3proxy.interfaces import IStreamedResource
from s3proxy.s3.limits import MAX_HEAD_SIZE

GET = b"GET /b/k HTTP/1.1\r\nHost: s3.test\r\n\r\n"
TIMES = ClientTimes(head=30, idle=60, keep_alive=75, linger=10, linger_size=1000)


def put(length: int, *headers: bytes) -> bytes:
    """
    The head of an upload.
    """
    lines = [b"PUT /b/k HTTP/1.1", b"Host: s3.test", b"Content-Length: %d" % length, *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n"


CHUNKED = b"PUT /b/k HTTP/1.1\r\nHost: s3.test\r\nTransfer-Encoding: chunked\r\n\r\n"


class Consumer:
    """
    Receives a body.
    """

    def __init__(self) -> None:
        self.data = b""

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Keep the producer to pause.
        """
        self.producer = producer

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """

    def write(self, data: bytes) -> None:
        """
        Keep.
        """
        self.data += data


class Transport(StringTransport):
    """
    A transport that distinguishes a half-close from an end.
    """

    has_half_closed = False

    def loseWriteConnection(self) -> None:
        """
        End one direction.
        """
        self.has_half_closed = True


@implementer(IStreamedResource)
class Resource:
    """
    Keeps requests, and does nothing with them.
    """

    isLeaf = True

    def __init__(self) -> None:
        self.requests: list[Any] = []

    def render(self, request: Any) -> Any:
        """
        Keep.
        """
        self.requests.append(request)


class Connected:
    """
    A connection of a client.
    """

    def __init__(self, times: ClientTimes = TIMES, limit: ConnectionLimit | None = None) -> None:
        self.clock = Clock()
        self.resource = Resource()
        site: Any = S3Site(self.resource, self.clock, times=times, limit=limit)  # type: ignore[arg-type]
        self.site = site
        self.channel = site.buildProtocol(None)
        self.transport = Transport()
        self.channel.makeConnection(self.transport)

    def send(self, *pieces: bytes) -> None:
        """
        Send bytes while the connection is open.
        """
        for piece in pieces:
            if not self.is_closed:
                self.channel.dataReceived(piece)

    @property
    def request(self) -> Any:
        """
        The last request.
        """
        return self.resource.requests[-1]

    @property
    def is_closed(self) -> bool:
        """
        Whether both directions were ended.
        """
        return self.transport.disconnecting or self.transport.disconnected

    @property
    def is_reset(self) -> bool:
        """
        Whether the connection was reset.
        """
        return self.transport.disconnected

    @property
    def written(self) -> bytes:
        """
        The bytes of the response.
        """
        return self.transport.value()

    def receive_body(self) -> tuple[Consumer, list[Any]]:
        """
        Receive the body of the last request.
        """
        consumer, ends = Consumer(), []
        self.request.deliverBody(consumer).addBoth(
            lambda result: ends.append(result.value if isinstance(result, Failure) else None)
        )
        return consumer, ends

    def end(self) -> None:
        """
        Lose the connection.
        """
        self.channel.connectionLost(Failure(ConnectionLost()))


def refuse(connected: Connected) -> None:
    """
    Respond to a request with a refusal.
    """
    connected.request.respond(403, b"AccessDenied", [], b"no")


# Heads


def test_a_head_has_a_bound() -> None:
    """
    Whole or in pieces, with its end or without, it is refused at the limit; the client can read the refusal.
    """
    long = b"GET /b/k HTTP/1.1\r\nHost: s3.test\r\nX: " + b"a" * MAX_HEAD_SIZE
    for pieces in (
        [long + b"\r\n\r\n"],
        [long],
        [long[:100], long[100:]],
        [bytes([byte]) for byte in long[:50]] + [long[50:]],
    ):
        connected = Connected()
        connected.send(*pieces)
        assert connected.resource.requests == []
        assert connected.written.startswith(b"HTTP/1.1 400 ")
        assert connected.transport.has_half_closed
        connected.end()


@pytest.mark.parametrize("beginning", [b"\x16\x03\x01", b" GET", b"\x00", b"\r\n\r\n", b"\r\nX\x00"])
def test_what_begins_as_no_request(beginning: bytes) -> None:
    """
    Otherwise a TLS hello on a port without TLS would wait until its time is over.
    """
    connected = Connected()
    connected.send(beginning)

    if beginning != b"\r\nX\x00":
        assert connected.written.startswith(b"HTTP/1.1 400 ")
    connected.end()


def test_a_connection_that_says_nothing() -> None:
    """
    It ends after the time of a head.
    """
    connected = Connected()
    connected.clock.advance(29.9)
    assert not connected.is_closed
    connected.clock.advance(0.2)

    assert connected.is_closed
    connected.end()


def test_a_head_byte_by_byte() -> None:
    """
    It has the time of one head, whatever bytes arrive, even on a connection that has served requests.
    """
    connected = Connected()
    connected.send(GET)
    refuse(connected)
    connected.clock.advance(70)
    for letter in b"GET /":
        connected.send(bytes([letter]))
        connected.clock.advance(5)
    assert not connected.is_closed
    connected.clock.advance(5.1)

    assert connected.is_closed
    connected.end()


def test_an_idle_connection() -> None:
    """
    It ends after the time between requests.
    """
    connected = Connected()
    connected.send(GET)
    refuse(connected)
    connected.clock.advance(74.9)
    assert not connected.is_closed
    connected.clock.advance(0.2)

    assert connected.is_closed
    connected.end()


def test_requests_that_are_sent_ahead() -> None:
    """
    They are kept up to a limit; above it s3proxy does not read from the client until its response was sent.
    """
    connected = Connected()
    connected.send(GET)
    connected.send(GET * (MAX_PIPELINED_SIZE // len(GET)))
    assert connected.transport.producerState == "producing"
    connected.send(GET * 2)
    assert connected.transport.producerState == "paused"

    for _ in range(5):
        refuse(connected)
    assert connected.transport.producerState == "producing"
    connected.end()


# Bodies


def test_no_byte_of_a_body_is_read_before_its_head_is_judged() -> None:
    """
    The client is paused, and gets 100 Continue only afterwards.
    """
    connected = Connected()
    connected.send(put(5, b"Expect: 100-continue"))
    assert connected.transport.producerState == "paused"
    assert connected.written == b""

    consumer, ends = connected.receive_body()
    assert connected.transport.producerState == "producing"
    assert connected.written == b"HTTP/1.1 100 Continue\r\n\r\n"
    connected.send(b"hello")
    assert (consumer.data, ends) == (b"hello", [None])
    connected.end()


def test_a_refused_client_is_never_told_to_continue() -> None:
    """
    Its next bytes may be its body or a request: the connection ends.
    """
    connected = Connected()
    connected.send(put(5, b"Expect: 100-continue"))
    refuse(connected)

    assert b"100 Continue" not in connected.written
    assert b"Connection: close" in connected.written
    connected.send(b"hello" + GET)
    assert len(connected.resource.requests) == 1
    connected.end()


def test_a_body_that_stops() -> None:
    """
    The client gets the error after its idle time; each byte restarts that time.
    """
    connected = Connected()
    connected.send(put(5))
    consumer, ends = connected.receive_body()
    for letter in b"hell":
        connected.clock.advance(50)
        connected.send(bytes([letter]))
    assert ends == []
    connected.clock.advance(60.1)

    assert [end.code for end in ends] == ["RequestTimeout"]
    assert consumer.data == b"hell"
    connected.end()


def test_a_body_below_the_minimum_rate() -> None:
    """
    Bytes that arrive one by one do not keep it.
    """
    connected = Connected(ClientTimes(idle=60, minimum_rate=1000))
    connected.send(put(100_000))
    _, ends = connected.receive_body()
    for _ in range(3):
        connected.clock.advance(25)
        connected.send(b"x")

    assert [end.code for end in ends] == ["RequestTimeout"]
    connected.end()


def test_a_request_has_a_time_in_all() -> None:
    """
    If one is set.
    """
    connected = Connected(ClientTimes(total=100))
    connected.send(put(100_000))
    _, ends = connected.receive_body()
    for _ in range(4):
        connected.clock.advance(26)
        connected.send(b"x" * 1000)

    assert [end.code for end in ends] == ["RequestTimeout"]
    connected.end()


@pytest.mark.parametrize("wire", [b"x\r\n", b"5\r\nhelloX", b"5\nhello\r\n"])
def test_framing_that_is_broken(wire: bytes) -> None:
    """
    The body fails there, and the connection serves no other request.
    """
    connected = Connected()
    connected.send(CHUNKED)
    _, ends = connected.receive_body()
    connected.send(wire)
    assert [end.code for end in ends] == ["BadRequest"]
    refuse(connected)

    assert b"Connection: close" in connected.written
    connected.end()


@pytest.mark.parametrize("head", [put(5), CHUNKED])
def test_a_client_that_ends_inside_its_body(head: bytes) -> None:
    """
    The body's receiver gets the failure, and never a complete body.
    """
    connected = Connected()
    connected.send(head)
    _, ends = connected.receive_body()
    connected.send(b"he" if head != CHUNKED else b"5\r\nhe")
    connected.channel.readConnectionLost()

    assert [end.code for end in ends] == ["IncompleteBody"]
    connected.end()


def test_a_client_that_has_said_all() -> None:
    """
    It gets its response, and then the end.
    """
    connected = Connected()
    connected.send(GET)
    connected.channel.readConnectionLost()
    assert not connected.is_closed

    refuse(connected)

    assert connected.written.startswith(b"HTTP/1.1 403 ")
    assert connected.is_closed
    connected.end()


# After a response


def test_a_short_rest_of_a_body_is_dropped() -> None:
    """
    The connection stays; none of the rest is read as a request.
    """
    connected = Connected()
    connected.send(put(len(GET)))
    refuse(connected)
    connected.send(GET)
    assert len(connected.resource.requests) == 1
    connected.send(GET)

    assert len(connected.resource.requests) == 2
    connected.end()


@pytest.mark.parametrize("head", [put(MAX_DRAINED_SIZE + 1), CHUNKED, put(5, b"Connection: close")])
def test_a_long_rest_of_a_body_ends_the_connection(head: bytes) -> None:
    """
    It is half-closed, so that the client can read the refusal, and is read up to a limit of bytes.
    """
    connected = Connected()
    connected.send(head)
    refuse(connected)
    assert connected.written.startswith(b"HTTP/1.1 403 ")
    assert b"Connection: close" in connected.written
    assert connected.transport.has_half_closed
    assert not connected.is_closed

    connected.send(b"x" * 1000)
    assert not connected.is_closed
    connected.send(b"x")
    assert connected.is_closed
    assert len(connected.resource.requests) == 1
    connected.end()


def test_a_client_that_does_not_read_its_refusal() -> None:
    """
    s3proxy does not wait for it forever.
    """
    connected = Connected()
    connected.send(put(MAX_DRAINED_SIZE + 1))
    refuse(connected)
    connected.clock.advance(9.9)
    assert not connected.is_closed
    connected.clock.advance(0.2)
    assert connected.is_closed
    assert not connected.is_reset

    connected.clock.advance(10.1)
    assert connected.is_reset
    connected.end()


def test_nothing_of_a_body_reaches_anybody_after_the_response() -> None:
    """
    The request releases its consumer when it has its response.
    """
    connected = Connected()
    connected.send(put(500))
    consumer, ends = connected.receive_body()
    connected.send(b"x")
    refuse(connected)
    connected.send(b"y" * 499)

    assert consumer.data == b"x"
    assert ends == []
    connected.end()


def test_a_cut_response_ends_with_a_reset() -> None:
    """
    Closed cleanly, it would look complete.
    """
    connected = Connected()
    connected.send(GET)
    connected.request.writer.write(connected.request.make_head(200, b"OK", [(b"Content-Length", b"5")]) + b"he")
    connected.request.abort()

    assert connected.is_reset
    connected.end()


def test_a_response_to_head_has_no_body() -> None:
    """
    It would be read as the next response.
    """
    connected = Connected()
    connected.send(GET.replace(b"GET", b"HEAD"))
    refuse(connected)

    assert connected.written.endswith(b"\r\n\r\n")
    assert b"Content-Length: 2\r\n" in connected.written
    assert b"Content-Type" not in connected.written
    connected.end()


def test_a_client_that_takes_nothing_of_its_response() -> None:
    """
    It is reset after its idle time.
    """
    connected = Connected()
    connected.send(GET)
    connected.channel.pauseProducing()
    connected.clock.advance(59.9)
    assert not connected.is_closed
    connected.clock.advance(0.2)

    assert connected.is_reset
    connected.end()


# Connections


def test_an_address_with_too_many_connections() -> None:
    """
    It gets SlowDown, and is not served.
    """
    limit = ConnectionLimit(list, 100, 1)
    first, second = Connected(limit=limit), Connected(limit=limit)
    second.send(GET)

    assert second.written.startswith(b"HTTP/1.1 503 SlowDown\r\n")
    assert second.resource.requests == []
    assert limit.refused_count == 1
    first.end()
    second.end()
    third = Connected(limit=limit)
    assert third.written == b""
    third.end()


def test_bytes_that_come_while_bytes_are_read_keep_their_order() -> None:
    """
    With TLS, a resumed transport may deliver what was decrypted before.
    """
    connected = Connected()

    class Resuming(Consumer):
        def write(self, data: bytes) -> None:
            super().write(data)
            if data == b"he":
                connected.channel.dataReceived(b"ll")

    connected.send(put(5))
    consumer = Resuming()
    connected.request.deliverBody(consumer).addErrback(lambda failure: None)
    connected.send(b"he")
    connected.send(b"o" + GET)

    assert consumer.data == b"hello"
    connected.end()


def test_a_body_that_is_paid_for_is_seen() -> None:
    """
    It does not bypass the code that counts it.
    """
    connected = Connected()
    connected.send(put(5))
    connected.receive_body()
    connected.request._consumer.splice_target = "anywhere"
    assert connected.request.splice_target == "anywhere"

    connected.request.meter = lambda size: None

    assert connected.request.splice_target is None
    connected.end()


@pytest.mark.parametrize(("is_tls", "name"), [(False, "S3Site"), (True, "S3Site (TLS)")])
def test_a_port_is_logged_by_what_it_serves(is_tls: bool, name: str) -> None:
    """
    An operator who has not set `proxy_protocol` does not read of PROXY headers when the daemon starts.
    """
    site: Any = S3Site(Resource(), Clock(), times=TIMES)  # type: ignore[arg-type]
    wrapped: Any = TLSMemoryBIOFactory(CertificateOptions(), False, site) if is_tls else site

    assert ProxyHeaderFactory(wrapped, site).logPrefix() == name


def test_a_wrapped_factory_without_a_name_is_logged_by_its_type() -> None:
    """
    An application may wrap a factory of its own, which need not be one of Twisted's.
    """

    class Own:
        pass

    site: Any = S3Site(Resource(), Clock(), times=TIMES)  # type: ignore[arg-type]

    assert ProxyHeaderFactory(cast(Any, Own()), site).logPrefix() == "Own"


def test_a_connection_without_its_proxy_header_is_read_no_more() -> None:
    """
    Nothing after a wrong header is read as a header.
    """
    trust = Trust(Peers(["10.0.0.1"]), True)
    site: Any = S3Site(Resource(), Clock(), times=TIMES, trust=trust)  # type: ignore[arg-type]
    protocol: Any = ProxyHeaderFactory(site, site).buildProtocol(IPv4Address("TCP", "10.0.0.1", 1))
    transport = Transport()
    protocol.makeConnection(transport)

    protocol.dataReceived(b"GET / HTTP/1.1\r\n")
    assert transport.disconnected
    protocol.dataReceived(b"PROXY TCP4 192.0.2.1 10.0.0.2 1 2\r\n" + GET)

    assert transport.value() == b""
    assert site.channels == set()
    protocol.connectionLost()
