"""
How much all clients together, and each key, may have at a time and a second: they wait first, and are refused last.

Public API: `Budgets`, `Ticket`, `Pace`, `Spent`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall

from s3proxy.deadline import Deadline
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits

BURST_TIME = 1.0
"""
Seconds whose worth of requests or bytes may come at once.
"""

MAX_IDLE_KEYS = 10_000
"""
Keys which are remembered although none of their requests runs.
"""

MIN_PAUSE = 0.01
"""
Seconds; a shorter pause costs more than it is worth.
"""


class Slots:
    """
    So many at a time, first come, first served.

    Args:
        limit: 0 for no bound.

    Attributes:
        used: Now.
    """

    __slots__ = ("_waiting", "limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()

    def take(self, amount: int) -> Deferred[None] | None:
        """
        Take some: None where they are there, else what fires when they are taken. Cancelling that takes none.
        """
        if not self._waiting and self._has_room(amount):
            self.used += amount
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append((amount, waiting))
        return waiting

    def give_back(self, amount: int) -> None:
        """
        Let others have them.
        """
        self.used -= amount
        self._serve()

    def _has_room(self, amount: int) -> bool:
        # One which is larger than everything passes alone.
        return not self.limit or self.used + amount <= self.limit or not self.used

    def _serve(self) -> None:
        while self._waiting and self._has_room(self._waiting[0][0]):
            amount, waiting = self._waiting.popleft()
            self.used += amount
            waiting.callback(None)

    def _forget(self, cancelled: Deferred[None]) -> None:
        self._waiting = deque(entry for entry in self._waiting if entry[1] is not cancelled)
        self._serve()


class Rate:
    """
    So much a second. What was not used is there for a second's worth at most; who takes more goes into debt.

    Args:
        limit: A second; 0 for no bound.
        clock: Seconds which never go back.
    """

    __slots__ = ("_at", "_call", "_clock", "_left", "_reactor", "_waiting", "limit")

    def __init__(self, limit: float, reactor: Any) -> None:
        self.limit = limit
        self._reactor = reactor
        self._clock: Callable[[], float] = reactor.seconds
        self._at = self._clock()
        self._left = limit * BURST_TIME
        self._waiting: deque[Deferred[None]] = deque()
        self._call: IDelayedCall | None = None

    @property
    def is_full(self) -> bool:
        """
        Whether nobody has taken anything lately.
        """
        self._refill()
        return self._left >= self.limit * BURST_TIME and not self._waiting

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self.limit * BURST_TIME, self._left + (now - self._at) * self.limit)
        self._at = now

    def spend(self, amount: int) -> float:
        """
        Take some which cannot be refused any more; return for how many seconds to take no further ones.
        """
        if not self.limit:
            return 0.0
        self._refill()
        self._left -= amount
        return max(0.0, -self._left / self.limit)

    def take(self) -> Deferred[None] | None:
        """
        Take one: None where it is there, else what fires when it is taken. Cancelling that takes none.
        """
        if not self.limit:
            return None
        self._refill()
        if not self._waiting and self._left >= 1:
            self._left -= 1
            return None
        waiting: Deferred[None] = Deferred(self._forget)
        self._waiting.append(waiting)
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
            self._waiting.popleft().callback(None)
        self._schedule()

    def _forget(self, cancelled: Deferred[None]) -> None:
        self._waiting.remove(cancelled)
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None


_TAKEN = ("requests_per_second", "requests", "bodies", "memory")


class _Holder:
    """
    The budgets of everybody, or of one key.

    Attributes:
        bounded: The names of those which have a bound, in the order in which they are taken.
    """

    __slots__ = (
        "bodies",
        "bounded",
        "bytes_per_second",
        "limits",
        "memory",
        "requests",
        "requests_per_second",
        "tickets",
    )

    def __init__(self, limits: BudgetLimits, reactor: Any) -> None:
        self.limits = limits
        self.bounded = tuple(name for name in _TAKEN if getattr(limits, name))
        self.requests = Slots(limits.requests)
        self.bodies = Slots(limits.bodies)
        self.memory = Slots(limits.memory)
        self.requests_per_second = Rate(limits.requests_per_second, reactor)
        self.bytes_per_second = Rate(limits.bytes_per_second, reactor)
        self.tickets = 0

    @property
    def is_idle(self) -> bool:
        """
        Whether it can be forgotten.
        """
        return not self.tickets and self.requests_per_second.is_full and self.bytes_per_second.is_full


_Step = tuple[_Holder, str, int]


class Pace:
    """
    The bytes a second of one request: it is paused while those who pay for it are in debt.

    Args:
        pause: Called when no more may come for a while.
        resume: Called when more may come.
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
        Know that bytes came.
        """
        debt = max(rate.spend(size) for rate in self._rates)
        if debt > MIN_PAUSE:
            self._pause()
            self._deadline.set(debt)

    def stop(self) -> None:
        """
        Pause nobody any more.
        """
        self._deadline.cancel()


class Ticket:
    """
    What one request has, until it gives it back.

    Attributes:
        waiting: Fires when it has everything; fails with `Spent` when that took too long. None where it is there.
    """

    __slots__ = ("_budgets", "_holders", "_taken", "waiting")

    def __init__(self, budgets: Budgets, holders: tuple[_Holder, ...]) -> None:
        self._budgets = budgets
        self._holders = holders
        self._taken: list[tuple[Slots, int]] = []
        self.waiting: Deferred[None] | None = None
        for holder in holders:
            holder.tickets += 1

    def take(self, slots: Slots, amount: int) -> Deferred[None] | None:
        """
        Take some, to be given back with the ticket.
        """
        waiting = slots.take(amount)
        if waiting is None:
            self._taken.append((slots, amount))
            return None
        return waiting.addCallback(lambda ignored: self._taken.append((slots, amount)))

    def release(self) -> None:
        """
        Give everything back; it may come twice.
        """
        taken, self._taken = self._taken, []
        for slots, amount in taken:
            slots.give_back(amount)
        holders, self._holders = self._holders, ()
        for holder in holders:
            holder.tickets -= 1

    def pace(self, pause: Callable[[], None], resume: Callable[[], None]) -> Pace | None:
        """
        Make what paces the bytes of one side; None where they are not counted.
        """
        rates = [holder.bytes_per_second for holder in self._holders if holder.limits.bytes_per_second]
        return Pace(rates, self._budgets.reactor, pause, resume) if rates else None


class Spent(Exception):
    """
    A budget had nothing left for as long as anybody may wait.
    """


class Budgets:
    """
    The budgets of all requests together, and of each key.

    Args:
        limits: Of all together.
        key_limits: Of each key which has none of its own.
        patience: Seconds for which a request waits.

    Attributes:
        reactor: Its clock never goes back.
        refused: Requests which waited in vain, by the budget's name.
        waited: Requests which had to wait, by the budget's name.
    """

    def __init__(
        self,
        reactor: Any,
        limits: BudgetLimits = NO_LIMITS,
        key_limits: BudgetLimits = NO_LIMITS,
        patience: float = 5.0,
    ) -> None:
        self.reactor = reactor
        self.refused: Counter[str] = Counter()
        self.waited: Counter[str] = Counter()
        self.patience = patience
        self.key_limits = NO_LIMITS if key_limits == NO_LIMITS else key_limits
        self._all = _Holder(limits, reactor)
        self._bounds_only_memory = replace(limits, memory=0) == NO_LIMITS
        self._keys: dict[bytes, _Holder] = {}

    @property
    def used(self) -> dict[str, int]:
        """
        How much of each budget of all together is used now.
        """
        return {name: getattr(self._all, name).used for name in ("requests", "bodies", "memory")}

    def admit(
        self, access_key_id: bytes | None, key_limits: BudgetLimits | None, *, has_body: bool, memory: int
    ) -> Ticket | None:
        """
        Let a request have what it needs, at once or when others have given it back.

        Args:
            access_key_id: Authenticated; None for everybody who is anonymous.
            key_limits: The key's own, or None.
            memory: Bytes of its body which will be held.

        Returns:
            None where nothing which it needs is bounded.
        """
        limits = key_limits or self.key_limits
        if limits is NO_LIMITS or limits == NO_LIMITS:
            if self._bounds_only_memory and not memory:
                return None
            holders: tuple[_Holder, ...] = (self._all,)
        else:
            holders = (self._key(access_key_id or b"", limits), self._all)
        amounts = {"requests_per_second": 1, "requests": 1, "bodies": int(has_body), "memory": memory}
        steps = [(holder, name, amounts[name]) for holder in holders for name in holder.bounded if amounts[name]]
        ticket = Ticket(self, holders)
        for index, step in enumerate(steps, 1):
            waiting = _take(ticket, *step)
            if waiting is not None:
                ticket.waiting = Deferred.fromCoroutine(self._wait(ticket, step[1], waiting, steps[index:]))
                break
        return ticket

    async def _wait(self, ticket: Ticket, name: str, waiting: Deferred[None], rest: list[_Step]) -> None:
        until = self.reactor.seconds() + self.patience
        try:
            await self._patiently(name, waiting, until)
            for step in rest:
                taking = _take(ticket, *step)
                if taking is not None:
                    await self._patiently(step[1], taking, until)
        except BaseException:
            ticket.release()
            raise

    async def _patiently(self, name: str, waiting: Deferred[None], until: float) -> None:
        self.waited[name] += 1
        timer = self.reactor.callLater(max(0.0, until - self.reactor.seconds()), waiting.cancel)
        try:
            await waiting
        except CancelledError:
            if timer.active():
                # Its client has left.
                raise
            self.refused[name] += 1
            raise Spent(name) from None
        finally:
            if timer.active():
                timer.cancel()

    def _key(self, access_key_id: bytes, limits: BudgetLimits) -> _Holder:
        holder = self._keys.get(access_key_id)
        if holder is None or (holder.limits != limits and holder.is_idle):
            if len(self._keys) >= MAX_IDLE_KEYS:
                self._keys = {key: held for key, held in self._keys.items() if not held.is_idle}
            holder = self._keys[access_key_id] = _Holder(limits, self.reactor)
        return holder


def _take(ticket: Ticket, holder: _Holder, name: str, amount: int) -> Deferred[None] | None:
    if name == "requests_per_second":
        return holder.requests_per_second.take()
    return ticket.take(getattr(holder, name), amount)
