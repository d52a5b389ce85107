"""
The half of a connection that writes: responses to the client, and an end that does not take the response from the
client.

There is one way to the client's socket, a direct writer, and the channel is its source. If the socket is full, the
producer of the current response is paused, and the client has a limited time to read. Twisted's own requests write here
too. Stock `HTTPChannel` provides the producer methods and what applications see of a channel; nothing else of it is
used.

The kernel resets a socket that is closed with unread bytes, and the client loses the response. So this half can be
closed alone, while the other one still reads. A cut response ends with a reset, or it would look complete.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.interfaces import ISSLTransport, ITCPTransport
from twisted.web.http import HTTPChannel

from s3proxy.frontend.deadlines import ClientDeadlines
from s3proxy.frontend.times import ClientTimes
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import S3Error
from s3proxy.transport.writer import DirectWriter

MIN_CLOSE_TIME = 1.0
"""
Minimum seconds for a closing connection, so that a short response is not reset before the kernel has sent it.
"""


class AnsweringChannel(HTTPChannel):
    """
    The half of a client's connection that writes.

    Attributes:
        peer: The address of the other end, or the client's address from a PROXY header.
        is_tls: Whether the connection is TLS.
        is_aborted: Whether the connection was reset or is lost.
        times: The time limits for the client.
        deadlines: The deadlines of the client.
        writer: Writes to the client's socket.
    """

    peer: Any = None
    transport: Any
    is_tls: bool
    is_aborted: bool
    times: ClientTimes
    deadlines: ClientDeadlines
    writer: DirectWriter

    def start_responses(self) -> None:
        """
        Prepare for writing. Called when the connection is made.
        """
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.is_tls = ISSLTransport.providedBy(self.transport)
        self.is_aborted = False
        self._networkProducer = self.transport
        self._response_sent: list[Callable[[], None]] = []
        self.writer = DirectWriter(self.transport, self)

    def response_begins(self) -> bool:
        """
        Prepare for a final head, which is about to be written.

        Returns:
            Whether the connection may serve another request; if not, the head must say so.
        """
        raise NotImplementedError

    def when_response_sent(self, sent: Callable[[], None]) -> None:
        """
        Call a function once the last response has left for the client's socket, or the connection is lost.
        """
        if self.is_aborted or not self.writer.is_paused:
            sent()
        else:
            self._response_sent.append(sent)

    def tell_response_sent(self) -> None:
        """
        Call the functions of `when_response_sent`.
        """
        while self._response_sent:
            self._response_sent.pop()()

    # Ending

    def half_close(self) -> None:
        """
        Close only the writing half, so that the client sees the end. TLS has no half-close.
        """
        if not self.is_tls:
            self._detach()
            self.transport.loseWriteConnection()

    def close_when_sent(self) -> None:
        """
        Close the connection after the write buffer drains.
        """
        # If the socket has not taken everything, the client must read the end of a response, and has the time for that.
        waits_for_client = self.writer.is_paused
        self.deadlines.wait(self.times.idle if waits_for_client else max(MIN_CLOSE_TIME, self.times.linger))
        self._detach()
        self.transport.loseConnection()

    def reset(self) -> None:
        """
        Reset the connection, so that a cut response does not look complete.
        """
        self.is_aborted = True
        self.transport.abortConnection()

    def writeConnectionLost(self) -> None:
        pass

    def _detach(self) -> None:
        self.deadlines.taking.clear()
        self.writer.detach()

    # What DirectWriter asks of its source: the client does not take our bytes, or takes them again

    def pauseProducing(self) -> None:
        self.deadlines.taking.set(self.times.idle)
        if self._requestProducer is not None:
            self._requestProducer.pauseProducing()

    def resumeProducing(self) -> None:
        self.deadlines.taking.clear()
        self.tell_response_sent()
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()

    # For the own requests of applications

    def getPeer(self) -> Any:
        return self.peer if self.peer is not None else self.transport.getPeer()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def writeSequence(self, iovec: Any) -> None:
        self.writer.writeSequence(list(iovec))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        lines = [b"%s %s %s\r\n" % (version, code, reason)]
        lines += [b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        if not self.response_begins():
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        self.writer.writeSequence(lines)


def refusal(error: S3Error, request_id: str, host_id: str, now: datetime) -> bytes:
    """
    Return the whole response to bytes that are not a request; after it the connection is closed.
    """
    document = error_document(error, request_id, host_id)
    return (
        b"HTTP/1.1 %d %s\r\nx-amz-request-id: %s\r\nDate: %s\r\nContent-Type: application/xml\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
        % (error.status, error.code.encode(), request_id.encode(), format_rfc1123(now), len(document), document)
    )
