"""
A client that a test controls: it sends bytes, stalls, disconnects, and keeps what it reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHandshakeListener, IPullProducer
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.testing.party import FaultyParty


@dataclass
class Response:
    """
    A response that the client has read.

    Attributes:
        headers: Names as received, and values; in order.
        body: Without chunked transfer coding.
        interim: The status codes of the interim responses before this one.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes
    interim: list[int]

    def header(self, name: str) -> str | None:
        """
        Return the first value of a header, or None. The case of the name does not matter.
        """
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@implementer(IPullProducer, IHandshakeListener)
class FaultyClient(FaultyParty):
    """
    The connection of a client. It sends the bytes that a test gives it, and keeps the bytes that it receives.

    Attributes:
        ready: Fires when the connection is made, including its TLS handshake, or is lost.
        received: The bytes that were received, and not yet read by `response`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.ready: Deferred[None] = Deferred()
        self.received = b""
        self._taken: Response | None = None
        self._sent_all: Callable[[], None] | None = None
        self._waiters: list[tuple[Callable[[], Any], Deferred[Any]]] = []

    def connectionMade(self) -> None:
        if not isinstance(self.transport, TLSMemoryBIOProtocol):
            self.ready.callback(None)

    def handshakeCompleted(self) -> None:
        self.ready.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._look()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        super().connectionLost(reason)
        if not self.ready.called:
            self.ready.callback(None)
        self._look()

    def _look(self) -> None:
        for waiter in tuple(self._waiters):
            condition, waiting = waiter
            value = condition()
            if value:
                self._waiters.remove(waiter)
                waiting.callback(True if isinstance(value, Failure) else value)

    def until(self, condition: Callable[[], Any]) -> Deferred[Any]:
        """
        Return a Deferred that fires with the value of a condition, as soon as that value is true.

        The condition is called at once, and again after bytes arrive or the connection is lost. If its value is a
        Failure, the Deferred fires with True.
        """
        value = condition()
        if value:
            return succeed(True if isinstance(value, Failure) else value)
        waiting: Deferred[Any] = Deferred()
        self._waiters.append((condition, waiting))
        return waiting

    async def response(self, method: str = "GET") -> Response | None:
        """
        Read one response from the connection. Return None if the connection ended without one.

        Args:
            method: The method of the request. A response to HEAD has no body.
        """
        return await self.until(lambda: self._parse(method) or (self.lost and [None])) and self._taken

    def _parse(self, method: str) -> bool:
        data = self.received
        interim = []
        while True:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                self._taken = None
                return False
            status_line, *lines = head.decode("latin-1").split("\r\n")
            _, status, reason = status_line.split(" ", 2)
            if not status.startswith("1"):
                break
            interim.append(int(status))
            data = rest
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        fields = {name.lower(): value for name, value in headers}
        if method == "HEAD" or status in {"204", "304"}:
            body, left = b"", rest
        elif fields.get("transfer-encoding") == "chunked":
            parts = []
            while True:
                size, line, rest = rest.partition(b"\r\n")
                if not line or len(rest) < int(size, 16) + 2:
                    return False
                length = int(size, 16)
                parts.append(rest[:length])
                rest = rest[length + 2 :]
                if not length:
                    break
            body, left = b"".join(parts), rest
        elif "content-length" in fields:
            length = int(fields["content-length"])
            if len(rest) < length:
                return False
            body, left = rest[:length], rest[length:]
        elif self.lost is None:
            return False
        else:
            body, left = rest, b""
        self.received = left
        self._taken = Response(int(status), reason, headers, body, interim)
        return True

    def send_then(self, data: bytes, act: Callable[[], None]) -> None:
        """
        Send bytes, and call a function as soon as they are sent. An earlier reset would drop them.
        """
        self._sent_all = act
        self.transport.write(data)
        self.transport.registerProducer(self, False)

    # The transport calls this when its buffer is empty

    def resumeProducing(self) -> None:
        act, self._sent_all = self._sent_all, None
        if act is not None:
            self.transport.unregisterProducer()
            act()

    def stopProducing(self) -> None:
        self._sent_all = None
