"""
Limits on an amount at a time and a rate per second, with queues of callers that wait.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from s3proxy.transport.deadline import Deadline

BURST_TIME = 1.0
"""
Maximum burst, in seconds: the requests or bytes of this time may arrive at once.
"""

MIN_PAUSE = 0.01
"""
Shortest pause in seconds: a shorter one costs more than it gains.
"""


class Slots:
    """
    A limit on an amount at a time, first come, first served.

    Args:
        limit: The maximum amount; 0 for no limit.

    Attributes:
        used: The amount that is taken now.
    """

    __slots__ = ("_growing", "_most", "_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._most = limit or inf
        self.used = 0
        # Keyed by Deferred: the cost of a cancellation does not depend on the length of the queue.
        self._waiting: OrderedDict[Deferred[None], int] = OrderedDict()
        self._growing: OrderedDict[Deferred[None], int] = OrderedDict()

    def take(self, amount: int) -> Deferred[None] | None:
        """
        Take an amount. Return None if it is available; otherwise a Deferred that fires when it is taken. If that is
        cancelled, nothing is taken.
        """
        if self.is_free(amount):
            self.used += amount
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting[waiting] = amount
        return waiting

    def is_free(self, amount: int) -> bool:
        """
        Whether an amount can be taken without waiting.
        """
        # An amount above the limit is allowed if nothing else is used.
        return not self._waiting and (self.used + amount <= self._most or not self.used)

    def is_over(self, own: int) -> bool:
        """
        Whether more is used than the limit, and the caller, which uses `own`, is not the only one.
        """
        return bool(self.limit) and self.used > max(self.limit, own)

    def wait_for_room(self, own: int) -> Deferred[None] | None:
        """
        Wait until no more is used than the limit. Return None if that is so already. Callers that already hold an
        amount are served before others.

        Args:
            own: The amount that the caller uses.
        """
        if not self.is_over(own):
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._growing[waiting] = own
        return waiting

    def give_back(self, amount: int) -> None:
        """
        Return an amount, and serve the callers that wait.
        """
        self.used -= amount
        if self._waiting or self._growing:
            self._serve()

    def _serve(self) -> None:
        while self._growing and not self.is_over(next(iter(self._growing.values()))):
            growing, _ = self._growing.popitem(last=False)
            growing.callback(None)
        while self._waiting:
            amount = next(iter(self._waiting.values()))
            if self.used + amount > self._most and self.used:
                break
            waiting, _ = self._waiting.popitem(last=False)
            self.used += amount
            waiting.callback(None)

    def _forget(self, cancelled: Deferred[None]) -> None:
        self._waiting.pop(cancelled, None)
        self._growing.pop(cancelled, None)
        self._serve()


class Rate:
    """
    A limit on an amount per second. Unused amounts add up to one second's worth at most. A caller can take more than is
    left, and goes into debt.

    Args:
        limit: The maximum amount per second; 0 for no limit.
        reactor: Has a monotonic clock and timers.
    """

    __slots__ = ("_at", "_call", "_clock", "_left", "_reactor", "_waiting", "limit")

    def __init__(self, limit: float, reactor: Any) -> None:
        self.limit = limit
        self._reactor = reactor
        self._clock: Callable[[], float] = reactor.seconds
        self._at = self._clock()
        self._left = limit * BURST_TIME
        self._waiting: OrderedDict[Deferred[None], None] = OrderedDict()
        self._call: IDelayedCall | None = None

    @property
    def is_full(self) -> bool:
        """
        Whether the full burst is available and no caller waits.
        """
        self._refill()
        return self._left >= self.limit * BURST_TIME and not self._waiting

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self.limit * BURST_TIME, self._left + (now - self._at) * self.limit)
        self._at = now

    def spend(self, amount: int) -> float:
        """
        Take an amount that cannot be refused any more. Return for how many seconds the caller must take no more.
        """
        if not self.limit:
            return 0.0
        self._refill()
        self._left -= amount
        return max(0.0, -self._left / self.limit)

    def take(self) -> Deferred[None] | None:
        """
        Take one. Return None if it is available; otherwise a Deferred that fires when it is taken. If that is
        cancelled, nothing is taken.
        """
        if not self.limit:
            return None
        self._refill()
        if not self._waiting and self._left >= 1:
            self._left -= 1
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting[waiting] = None
        self._schedule()
        return waiting

    def _schedule(self) -> None:
        if self._call is None and self._waiting:
            self._call = self._reactor.callLater(max(0.0, (1 - self._left) / self.limit), self._serve)

    def _serve(self) -> None:
        self._call = None
        self._refill()
        while self._waiting and self._left >= 1 - 1e-9:
            self._left -= 1
            waiting, _ = self._waiting.popitem(last=False)
            waiting.callback(None)
        self._schedule()

    def _forget(self, cancelled: Deferred[None]) -> None:
        self._waiting.pop(cancelled, None)
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None


class Pace:
    """
    The pace of one request: it is paused while one of its rates is in debt.

    Args:
        pause: Called when delivery must stop for a while.
        resume: Called when delivery may continue.
    """

    __slots__ = ("_deadline", "_pause", "_rates")

    def __init__(
        self, rates: Iterable[Rate], reactor: Any, pause: Callable[[], None], resume: Callable[[], None]
    ) -> None:
        self._rates = tuple(rates)
        self._pause = pause
        self._deadline = Deadline(reactor, resume)

    def count(self, size: int) -> None:
        """
        Count bytes that arrived, and pause if that makes a debt.
        """
        debt = max(rate.spend(size) for rate in self._rates)
        if debt > MIN_PAUSE:
            self._pause()
            self._deadline.set(debt)

    def stop(self) -> None:
        """
        Cancel a pending resume. The side is not paused any more.
        """
        self._deadline.cancel()
