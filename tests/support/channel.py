"""
One connection of a client on a fake transport, with a resource that responds when a test says so.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from s3proxy.frontend.channel import S3Channel
from s3proxy.frontend.site import S3Site
from s3proxy.frontend.times import ClientTimes
from s3proxy.interfaces import IStreamedResource

TIMES = ClientTimes(head=30, idle=60, keep_alive=75, linger=10)
GET = b"GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n"


def put(length: int, more: bytes = b"", method: bytes = b"PUT") -> bytes:
    """
    A head that announces a body.
    """
    return b"%s /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n%s\r\n" % (method, length, more)


CHUNKED = b"PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
EXPECT = b"Expect: 100-continue\r\n"


class Transport(StringTransport):
    """
    A client's transport, whose socket is full when a test says so.
    """

    def __init__(self) -> None:
        super().__init__(lenient=True)
        self.is_reset = False

    def loseWriteConnection(self) -> None:
        """
        Half-close.
        """

    def abortConnection(self) -> None:
        """
        Reset.
        """
        self.is_reset = True

    def fill(self) -> None:
        """
        Accept no more bytes.
        """
        if self.producer is not None:
            self.producer.pauseProducing()

    def empty(self) -> None:
        """
        Accept bytes again.
        """
        if self.producer is not None:
            self.producer.resumeProducing()

    @property
    def is_ending(self) -> bool:
        """
        Whether s3proxy has closed or reset it.
        """
        return self.disconnecting or self.is_reset


@implementer(IConsumer)
class Sink:
    """
    Receives a body.
    """

    producer: Any = None
    size = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Keep the producer to pause.
        """
        self.producer = producer

    def unregisterProducer(self) -> None:
        """
        Pause nothing.
        """
        self.producer = None

    def write(self, data: bytes) -> None:
        """
        Count the bytes.
        """
        self.size += len(data)


@implementer(IResource, IStreamedResource)
class Answering:
    """
    Begins requests, and responds to them when a test says so.
    """

    isLeaf = True

    def __init__(self) -> None:
        self.request: Any = None
        self.count = 0
        self.sink = Sink()
        self.is_delivered = False
        self.responds_at_once = False

    def render(self, request: Any) -> int:
        """
        Begin.
        """
        self.count += 1
        self.request, self.sink, self.is_delivered = request, Sink(), False
        request.on_gone(self.ended)
        if self.responds_at_once:
            self.response()
        return NOT_DONE_YET

    def ended(self) -> None:
        """
        Called when the client has left.
        """
        self.request = None

    def deliver(self) -> None:
        """
        Receive the body; respond if it does not arrive.
        """
        if self.request is not None and not self.is_delivered:
            self.is_delivered = True
            delivered: Deferred[None] = self.request.deliverBody(self.sink)
            delivered.addErrback(lambda failure: self.response())

    def response(self, size: int = 10) -> None:
        """
        Send the whole response.
        """
        request, self.request = self.request, None
        if request is not None:
            request.respond(403, b"Forbidden", [], b"x" * size)


class Connection:
    """
    One connection, its resource and its clock.
    """

    def __init__(self, times: ClientTimes = TIMES, resource: Any = None) -> None:
        self.clock = Clock()
        self.resource = resource or Answering()
        self.site = S3Site(self.resource, self.clock, times=times)
        self.transport = Transport()
        self.channel: S3Channel = self.site.buildProtocol(None)
        self.channel.makeConnection(self.transport)

    def send(self, data: bytes) -> None:
        """
        Let bytes arrive.
        """
        if not self.transport.is_ending:
            self.channel.dataReceived(data)

    def seconds_to_end(self, most: float = 10_000, tick: bytes = b"") -> float:
        """
        Let time pass until the connection is closed; return the seconds.

        Args:
            tick: Bytes that arrive from time to time.
        """
        began = self.clock.seconds()
        while not self.transport.is_ending:
            assert self.clock.seconds() - began < most, "nothing ends it"
            self.clock.advance(1)
            if tick and self.clock.seconds() % 7 == 0:
                self.send(tick)
        return self.clock.seconds() - began
