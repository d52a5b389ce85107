"""
A timer that is cheap to move: most deadlines are met, so most timers never have to be set again.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """
    Calls a function once when a time has passed, unless the deadline was moved or cleared.

    A move to a later time needs no call to the reactor: the timer that is already set checks the time again when it
    fires.

    Args:
        reactor: Its clock must be monotonic.
        passed: Called without arguments. The deadline is clear by then.
    """

    __slots__ = ("_at", "_call", "_fires_at", "_passed", "_reactor")

    def __init__(self, reactor: IReactorTime, passed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._passed = passed
        self._at: float | None = None
        self._call: IDelayedCall | None = None
        self._fires_at = 0.0

    @property
    def at(self) -> float | None:
        """
        When the deadline passes, in the reactor's seconds; None if it is clear.
        """
        return self._at

    def set(self, seconds: float) -> None:
        """
        Set the deadline this many seconds from now.
        """
        self._at = at = self._reactor.seconds() + seconds
        if self._call is not None:
            if self._fires_at <= at:
                return
            self._call.cancel()
        self._fires_at = at
        self._call = self._reactor.callLater(seconds, self._fired)

    def clear(self) -> None:
        """
        Clear the deadline. The timer stays set, so that it can be used again.
        """
        self._at = None

    def cancel(self) -> None:
        """
        Clear the deadline and cancel its timer.
        """
        self._at = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fired(self) -> None:
        self._call = None
        if self._at is None:
            return
        left = self._at - self._reactor.seconds()
        if left > 0:
            self._fires_at = self._at
            self._call = self._reactor.callLater(left, self._fired)
            return
        self._at = None
        self._passed()
