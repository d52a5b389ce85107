"""
Single connections to a storage: each is opened, used and ended by hand, so that a body can end wherever a probe wants.
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
from s3proxy.transport.writer import Buffer, SeesEachOctet, acknowledged_size

MAX_ANSWER_SIZE = 16 * MIB
"""
Bytes of an answer which are kept. No probe stores more; the rest of a listing is asked for.
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What the storage answered.

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
        Whether it says that what was asked for was done.
        """
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """
        The code of an S3 error document; empty where there is none.
        """
        return self.element("Code") if self.status >= 300 else ""

    def element(self, name: str) -> str:
        """
        Return the text of the first element of a name; empty where there is none.
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
    The way to a storage; it keeps no connection.
    """

    def release(self, connection: BackendConnection) -> None:
        """
        Leave it to whoever opened it.
        """

    @asynccontextmanager
    async def open(self) -> AsyncIterator[BackendConnection]:
        """
        Open a connection; end it afterwards, with RST where it is in use.

        Raises:
            BackendError: Nobody is there.
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


async def ask(connection: BackendConnection, request: BackendRequest, body: Any = None) -> Answer:
    """
    Send a request; return the whole answer.

    Raises:
        BackendError: None came, or not all of it.
    """
    return await read_answer(await connection.send(request, body))


async def read_answer(response: BackendResponse) -> Answer:
    """
    Return the whole of an answer whose head has come.

    Raises:
        BackendError: Its rest does not come.
    """
    gathering = _Gathering(response)
    response.deliver(gathering)
    await gathering.ended
    return Answer(response.head.status, response.head.fields, b"".join(gathering.pieces))


class _Gathering(SeesEachOctet):
    def __init__(self, response: BackendResponse) -> None:
        self.pieces: list[bytes] = []
        self.ended: Deferred[None] = Deferred(lambda ignored: response.abort())
        self._size = 0

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        for piece in pieces:
            self._size += len(piece)
            if self._size <= MAX_ANSWER_SIZE:
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
    A body of which some octets leave, and the others when they are let go, or never.

    Args:
        content: What leaves at once.
        length: Bytes of the body, as the head declares.
        line: Which it goes along.

    Attributes:
        started_at: When it was asked for, in the reactor's seconds; None where it was not.
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
        Send the others.
        """
        if self._connection is not None:
            self._connection.writeSequence((rest,))
            self._done.callback(None)

    def pauseProducing(self) -> None:
        """
        Know that the socket is full: all is written already.
        """

    def resumeProducing(self) -> None:
        """
        The same.
        """

    def stopProducing(self) -> None:
        """
        Know that the rest is not wanted.
        """
        self._connection = None

    async def taken(self, head_size: int, seconds: float) -> bool:
        """
        Wait until the storage's side has what was to leave at once; say whether that came to be in time.
        """
        until = self._line.reactor.seconds() + seconds
        while self._line.reactor.seconds() < until:
            connection = self._connection
            if connection is not None and connection.waiting_size == 0:
                acknowledged = acknowledged_size(connection.transport)
                # Under TLS more octets leave than were written.
                if acknowledged is None or acknowledged >= head_size + len(self._content):
                    return True
            await self._line.pause(0.02)
        return False


def half_close(connection: BackendConnection) -> None:
    """
    Send FIN once all has left, and read on; under TLS close_notify, and nothing is read any more.
    """
    if isinstance(connection.transport, TLSMemoryBIOProtocol):
        connection.close()
    else:
        connection.transport.getHandle().shutdown(socket.SHUT_WR)
