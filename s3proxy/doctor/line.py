"""
Single connections to a storage system. Each is opened and ended explicitly, so a probe can end a body anywhere.
"""

from __future__ import annotations

import html
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.s3.head import Fields
from s3proxy.s3.limits import MIB
from s3proxy.transport.writer import Buffer, SeesEachByte, acknowledged_size

MAX_RESPONSE_SIZE = 16 * MIB
"""
Bytes of a response that are kept. No probe stores more, and a listing has further pages.
"""


@dataclass(frozen=True, slots=True)
class Response:
    """
    A whole response.

    Attributes:
        fields: Header values by lower-case name.
    """

    status: int
    fields: Fields
    content: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.code}".strip()

    @property
    def is_success(self) -> bool:
        """
        Whether the status is a success.
        """
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """
        The code of an S3 error document; empty if there is none.
        """
        return self.element("Code") if self.status >= 300 else ""

    @property
    def outcome(self) -> str:
        """
        The status, and the code of an error, which may be in a document of success.
        """
        return f"{self.status} {self.element('Code')}".strip()

    def element(self, name: str) -> str:
        """
        Return the text of the first element of a name; empty if there is none.
        """
        return next(iter(self.elements(name)), "")

    def elements(self, name: str) -> list[str]:
        """
        Return the text of each element of a name, in order.
        """
        found = re.findall(rb"<(?:\w+:)?%s(?:\s[^>]*)?>([^<]*)<" % name.encode(), self.content)
        return [html.unescape(text.decode("utf-8", "replace")) for text in found]


class Line(Pool):
    """
    A pool that keeps no connection.
    """

    def release(self, connection: BackendConnection) -> None:
        """
        Do nothing: `open` ends the connection.
        """

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BackendConnection]:
        """
        Open a connection; end it afterwards, with RST if it is in use.

        Raises:
            BackendError: The storage system cannot be reached.
        """
        connection = await self._connection()
        try:
            yield connection
        finally:
            connection.abort()

    async def pause(self, seconds: float) -> None:
        """
        Wait.
        """
        await deferLater(self.reactor, seconds)


async def ask(connection: BackendConnection, request: BackendRequest, body: Any = None) -> Response:
    """
    Send a request; return the whole response.

    Raises:
        BackendError: There was no response, or not all of it.
    """
    return await read_response(await connection.send(request, body))


async def read_response(response: BackendResponse) -> Response:
    """
    Return a whole response, once its head has arrived.

    Raises:
        BackendError: The rest does not arrive.
    """
    gathering = _Gathering(response)
    response.deliver(gathering)
    await gathering.ended
    return Response(response.head.status, response.head.fields, b"".join(gathering.pieces))


class _Gathering(SeesEachByte):
    def __init__(self, response: BackendResponse) -> None:
        self.pieces: list[bytes] = []
        self.ended: Deferred[None] = Deferred(lambda ignored: response.abort())
        self._size = 0

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self._size += len(piece)
            if self._size <= MAX_RESPONSE_SIZE:
                self.pieces.append(bytes(piece))

    def bodyEnded(self, failure: Failure | None) -> None:
        if self.ended.called:
            return
        if failure is not None:
            self.ended.errback(failure)
        else:
            self.ended.callback(None)


@implementer(IBodyProducer)
class HeldBody:
    """
    A body whose first bytes are sent at once, and the others when they are released, or never.

    Args:
        content: The bytes that are sent at once.
        length: The declared length of the body.
        line: The line whose clock measures the times.

    Attributes:
        started_at: When the body was requested, in the reactor's seconds; None if it was not.
    """

    def __init__(self, content: bytes, length: int, line: Line) -> None:
        self.length: Any = length
        self.started_at: float | None = None
        self._content = content
        self._line = line
        self._connection: BackendConnection | None = None
        self._done: Deferred[None] = Deferred()

    def startProducing(self, consumer: Any) -> Deferred[None]:
        self.started_at = self._line.reactor.seconds()
        self._connection = consumer
        if self._content:
            consumer.writeSequence((self._content,))
        if len(self._content) == self.length:
            self._done.callback(None)
        return self._done

    def let_go(self, rest: bytes) -> None:
        """
        Send the other bytes.
        """
        if self._connection is not None:
            self._connection.writeSequence((rest,))
            self._done.callback(None)

    def pauseProducing(self) -> None:
        """
        Do nothing: everything is written already.
        """

    def resumeProducing(self) -> None:
        """
        Do nothing, as `pauseProducing`.
        """

    def stopProducing(self) -> None:
        """
        Called if the rest is not needed.
        """
        self._connection = None

    async def taken(self, head_size: int, seconds: float) -> bool:
        """
        Wait until the bytes that are sent at once are acknowledged. Return False if the time ends first.
        """
        until = self._line.reactor.seconds() + seconds
        while self._line.reactor.seconds() < until:
            connection = self._connection
            if connection is not None and connection.waiting_size == 0:
                acknowledged = acknowledged_size(connection.transport)
                # Under TLS more bytes are sent than were written.
                if acknowledged is None or acknowledged >= head_size + len(self._content):
                    return True
            await self._line.pause(0.02)
        return False


def half_close(connection: BackendConnection) -> None:
    """
    Send FIN after the write buffer drains, and keep reading. Under TLS send close_notify, and read nothing more.
    """
    if isinstance(connection.transport, TLSMemoryBIOProtocol):
        connection.close()
    else:
        connection.transport.getHandle().shutdown(socket.SHUT_WR)
