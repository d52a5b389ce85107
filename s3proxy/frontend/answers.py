"""
The half of a connection that writes: answers to the client, and an end after which the client has its answer.

There is one way to the client's socket, a direct writer, and the channel is its source: if the socket is full, what
produces the present answer is paused, and the client has a time to take some. Twisted's own requests write here too.
Stock `HTTPChannel` has the producer's side of it and what applications see of a channel; nothing else of it is used.

A socket that is closed with bytes unread is reset, which takes the answer from its client. So this half can be closed
alone, while the other one reads on. A cut answer ends with a reset, or it would look complete.
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
Seconds a closing connection has at least, so that a short answer is not reset before the kernel has sent it.
"""


class AnsweringChannel(HTTPChannel):
    """
    The half of a client's connection that writes.

    Attributes:
        peer: The address of the other end, or the one which it was given by a PROXY header.
        is_tls: Whether the connection is TLS.
        is_aborted: Whether the connection was reset or is lost.
        times: How long the client may take.
        deadlines: How long the client is waited for.
        writer: The way to the client's socket.
    """

    peer: Any = None
    transport: Any
    is_tls: bool
    is_aborted: bool
    times: ClientTimes
    deadlines: ClientDeadlines
    writer: DirectWriter

    def start_answers(self) -> None:
        """
        Write from now on: the connection was made.
        """
        if ITCPTransport.providedBy(self.transport):
            self.transport.setTcpNoDelay(True)
        self.is_tls = ISSLTransport.providedBy(self.transport)
        self.is_aborted = False
        self._networkProducer = self.transport
        self._answer_sent: list[Callable[[], None]] = []
        self.writer = DirectWriter(self.transport, self)

    def answer_begins(self) -> bool:
        """
        Say that a final head is about to be written.

        Returns:
            Whether the connection may serve another request; the head must say so where it may not.
        """
        raise NotImplementedError

    def when_answer_sent(self, sent: Callable[[], None]) -> None:
        """
        Have this called once the last answer has left for the client's socket, or the connection is lost.
        """
        if self.is_aborted or not self.writer.is_paused:
            sent()
        else:
            self._answer_sent.append(sent)

    def tell_answer_sent(self) -> None:
        """
        Call those who wait for it.
        """
        while self._answer_sent:
            self._answer_sent.pop()()

    # The end

    def half_close(self) -> None:
        """
        Write no more, and let the client know. TLS has no such end.
        """
        if not self.is_tls:
            self._detach()
            self.transport.loseWriteConnection()

    def close_when_sent(self) -> None:
        """
        Close once what was written has left.
        """
        # What the socket has not taken yet is an answer's last block, and has the time of one.
        waits_for_client = self.writer.is_paused
        self.deadlines.wait(self.times.idle if waits_for_client else max(MIN_CLOSE_TIME, self.times.linger))
        self._detach()
        self.transport.loseConnection()

    def reset(self) -> None:
        """
        Reset the connection, so that a cut answer does not look complete.
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
        self.tell_answer_sent()
        if self._requestProducer is not None:
            self._requestProducer.resumeProducing()

    # What applications' own requests ask, and write

    def getPeer(self) -> Any:
        return self.peer if self.peer is not None else self.transport.getPeer()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    def writeSequence(self, iovec: Any) -> None:
        self.writer.writeSequence(list(iovec))

    def writeHeaders(self, version: bytes, code: bytes, reason: bytes, headers: Any) -> None:
        lines = [b"%s %s %s\r\n" % (version, code, reason)]
        lines += [b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values]
        if not self.answer_begins():
            lines.append(b"Connection: close\r\n")
        lines.append(b"\r\n")
        self.writer.writeSequence(lines)


def refusal(error: S3Error, request_id: str, host_id: str, now: datetime) -> bytes:
    """
    Return the whole answer to what is no request; after it the connection is closed.
    """
    document = error_document(error, request_id, host_id)
    return (
        b"HTTP/1.1 %d %s\r\nx-amz-request-id: %s\r\nDate: %s\r\nContent-Type: application/xml\r\n"
        b"Connection: close\r\nContent-Length: %d\r\n\r\n%s"
        % (error.status, error.code.encode(), request_id.encode(), format_rfc1123(now), len(document), document)
    )
