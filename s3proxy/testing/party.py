"""
A connection that a test makes end, stop or stall. `FaultyBackend` and `FaultyClient` share it.
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
    One end of a connection, with or without TLS.

    Attributes:
        lost: The reason why the connection ended; None while it is open.
        has_left: Whether this end closed the connection.
        is_paused: Whether reading is paused.
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
        Send bytes as they are.
        """
        self.transport.write(data)

    def send_slowly(self, data: bytes, rate: float, clock: IReactorTime, size: int = 65536) -> None:
        """
        Send bytes in pieces, at a limited rate.

        Args:
            rate: Bytes per second.
            size: Bytes of a piece.
        """
        self.send(data[:size])
        if len(data) > size:
            self.after(size / rate, clock, self.send_slowly, data[size:], rate, clock, size)

    def rest_after(self, size: int, rate: float, clock: IReactorTime) -> None:
        """
        Pause reading for as long as a number of bytes takes at a rate.

        Args:
            size: The number of bytes that were read.
            rate: Bytes per second.
        """
        self.pause()
        self.after(size / rate, clock, self.resume)

    def after(self, seconds: float, clock: IReactorTime, act: Callable[..., None], *arguments: object) -> None:
        """
        Call a function after some seconds, unless the connection is lost by then. It replaces a call that is pending.
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
        Whether a call by `after` is pending.
        """
        return self._delayed is not None

    def pause(self) -> None:
        """
        Stop reading.
        """
        self.is_paused = True
        self.transport.pauseProducing()

    def resume(self) -> None:
        """
        Continue to read.
        """
        self.is_paused = False
        self.transport.resumeProducing()

    def reset(self) -> None:
        """
        Close the connection with RST. Bytes that were not sent yet are dropped.
        """
        self.has_left = True
        self.transport.abortConnection()

    def end(self) -> None:
        """
        Close the connection when all bytes are sent: with FIN, under TLS after close_notify. Nothing more is read.
        """
        self.has_left = True
        self.transport.loseConnection()

    def half_close(self) -> None:
        """
        Send FIN, and continue to read. TLS has no half-close: under TLS this is the same as `end`.
        """
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self.end()
        else:
            self.transport.loseWriteConnection()

    def end_without_notice(self) -> None:
        """
        Send FIN below TLS without close_notify, as an attacker does who cuts a connection so that it looks complete.
        """
        if isinstance(self.transport, TLSMemoryBIOProtocol):
            self.has_left = True
            below: Any = self.transport.transport
            below.loseConnection()
        else:
            self.end()
