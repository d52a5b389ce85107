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

    Attributes:
        at: When the deadline passes, in the reactor's seconds; None if it is clear. Others may only clear it.
    """

    __slots__ = ("_call", "_fires_at", "_passed", "_reactor", "at")

    def __init__(self, reactor: IReactorTime, passed: Callable[[], None]) -> None:
        self._reactor = reactor
        self._passed = passed
        self.at: float | None = None
        self._call: IDelayedCall | None = None
        self._fires_at = 0.0

    def set(self, seconds: float) -> None:
        """
        Set the deadline this many seconds from now.
        """
        self.at = at = self._reactor.seconds() + seconds
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
        self.at = None

    def cancel(self) -> None:
        """
        Clear the deadline and cancel its timer.
        """
        self.at = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _fired(self) -> None:
        self._call = None
        if self.at is None:
            return
        left = self.at - self._reactor.seconds()
        if left > 0:
            self._fires_at = self.at
            self._call = self._reactor.callLater(left, self._fired)
            return
        self.at = None
        self._passed()
