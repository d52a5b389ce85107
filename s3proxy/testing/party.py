"""
A connection which ends, stops and stalls as a test tells it: what a faulty backend and a faulty client share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure


class FaultyParty(Protocol):
    """
    One end of a connection, plain or TLS.

    Attributes:
        lost: Why the connection ended; None while it lasts.
        has_left: Whether this end was the one which ended it.
        is_paused: Whether nothing is read.
    """

    transport: Any

    def __init__(self) -> None:
        self.lost: Failure | None = None
        self.has_left = False
        self.is_paused = False
        self._delayed: Any = None

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.lost = reason
        delayed, self._delayed = self._delayed, None
        if delayed is not None:
            delayed.cancel()

    def send(self, data: bytes) -> None:
        """
        Send bytes, whatever they mean.
        """
        self.transport.write(data)

    def send_slowly(self, data: bytes, rate: float, clock: IReactorTime, size: int = 65536) -> None:
        """
        Send bytes in pieces, so many bytes a second.
        """
        self.send(data[:size])
        if len(data) > size:
            self.after(size / rate, clock, self.send_slowly, data[size:], rate, clock, size)

    def rest_after(self, size: int, rate: float, clock: IReactorTime) -> None:
        """
        Read no more for as long as so many bytes may take.
        """
        self.pause()
        self.after(size / rate, clock, self.resume)

    def after(self, seconds: float, clock: IReactorTime, act: Callable[..., None], *arguments: object) -> None:
        """
        Do something after a while, unless the connection is lost by then. One thing at a time.
        """

        def do() -> None:
            self._delayed = None
            act(*arguments)

        if self._delayed is not None:
            self._delayed.cancel()
        self._delayed = clock.callLater(seconds, do)

    @property
    def is_busy(self) -> bool:
        """
        Whether something is still to be done `after` a while.
        """
        return self._delayed is not None

    def pause(self) -> None:
        """
        Read no more.
        """
        self.is_paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """
        Read on.
        """
        self.is_paused = False
        self.transport.resumeProducing()

    def reset(self) -> None:
        """
        End with RST; what was not sent yet is dropped.
        """
        self.has_left = True
        self.transport.abortConnection()

    def end(self) -> None:
        """
        End when all is sent: with FIN, under TLS with close_notify before it. Nothing is read any more.
        """
        self.has_left = True
        self.transport.loseConnection()

    def half_close(self) -> None:
        """
        Send FIN, and read on. TLS has no such thing: there it is `end`.
        """
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self.end()
        else:
            self.transport.loseWriteConnection()

    def end_without_notice(self) -> None:
        """
        Send FIN below TLS without close_notify, as somebody would who cuts the connection to make it look complete.
        """
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self.has_left = True
            below: Any = self.transport.transport
            below.loseConnection()
        else:
            self.end()
