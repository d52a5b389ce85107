"""
Budgets: what all clients together, and each key, may use at a time and each second. A request without room waits, and
is refused if the wait is too long.

Public API: `Budgets`, `Ticket`, `HeldMemory`, `Spent`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred

from s3proxy.exchange.holder import BUDGETS, Holder
from s3proxy.s3.credential import NO_LIMITS, BudgetLimits
from s3proxy.s3.limits import KIB
from s3proxy.telemetry.declarations import Metric, counter, gauge
from s3proxy.transport.pace import Pace, Slots

MAX_IDLE_KEYS = 10_000
"""
Maximum number of remembered keys without a running request.
"""

MEMORY_STEP = 64 * KIB
"""
Bytes that an admitted request may hold without waiting: it waited for them before s3proxy accepted its body.
"""

_FORMS = b"\n"
"""
The shared key of all forms whose signature is not read yet: no real key has a line break in its name.
"""

_USED = ("requests", "bodies", "memory")

_Step = tuple[Holder, str, int]
T = TypeVar("T")


class Ticket:
    """
    What one request has taken from the budgets, until it gives it back.

    Attributes:
        holders: The budgets of the request's key, if that has limits, and of all clients together.
        is_paced: Whether the bytes per second are limited.
        waiting: Fires when the request has everything that it needs; fails with `Spent` if that takes too long. None if
            it has everything at once.
        reserved_memory: Bytes that the request has taken from its key's memory budget, whether or not they have
            arrived.
    """

    __slots__ = ("_budgets", "_pace", "_taken", "holders", "is_paced", "reserved_memory", "waiting")

    def __init__(self, budgets: Budgets, holders: tuple[Holder, ...]) -> None:
        self._budgets = budgets
        self.holders = holders
        self._taken: list[tuple[Slots, int]] = []
        self._pace: Pace | None = None
        self.waiting: Deferred[None] | None = None
        self.reserved_memory = 0
        self.is_paced = False
        for holder in holders:
            holder.tickets += 1
            if holder.limits.bytes_per_second:
                self.is_paced = True

    def take(self, slots: Slots, amount: int) -> Deferred[None] | None:
        """
        Take an amount from a budget until the ticket is released. Return None, or a Deferred if it must wait.
        """
        waiting = slots.take(amount)
        if waiting is None:
            self._taken.append((slots, amount))
            return None
        return waiting.addCallback(lambda ignored: self._taken.append((slots, amount)))

    def take_memory(self, holder: Holder, amount: int) -> Deferred[None] | None:
        """
        Take the first bytes of a body from the memory of its key. Of a budget that does not reserve memory, only wait
        until there is room: a body that has yet to arrive delays only requests of its own key.
        """
        if holder.reserves_memory:
            self.reserved_memory = amount
            return self.take(holder.memory, amount)
        return self._pass_by(holder.memory, amount)

    def take_memory_at_once(self, amount: int) -> bool:
        """
        Take the first bytes of a body, as `take_memory` does from each holder, if none of them must wait.

        Returns:
            False if one must wait. Then nothing is taken.
        """
        for holder in self.holders:
            if not holder.memory.is_free(amount):
                return False
        for holder in self.holders:
            if holder.reserves_memory:
                holder.memory.used += amount
                self._taken.append((holder.memory, amount))
                self.reserved_memory = amount
        return True

    def _pass_by(self, slots: Slots, amount: int) -> Deferred[None] | None:
        if slots.is_free(amount):
            return None
        waiting = slots.take(amount)
        assert waiting is not None
        return waiting.addCallback(lambda ignored: slots.give_back(amount))

    def release(self) -> None:
        """
        Give everything back. May be called twice.
        """
        if self._pace is not None:
            self._end_pace()
        taken, self._taken = self._taken, []
        for slots, amount in taken:
            slots.give_back(amount)
        holders, self.holders = self.holders, ()
        for holder in holders:
            holder.tickets -= 1

    def pace(self, pause: Callable[[], None], resume: Callable[[], None]) -> Pace | None:
        """
        Return the pace for the bytes of one side. It replaces the pace of the other side. None if the bytes are not
        limited.
        """
        self._end_pace()
        rates = [holder.bytes_per_second for holder in self.holders if holder.limits.bytes_per_second]
        self._pace = Pace(rates, self._budgets.reactor, pause, resume) if rates else None
        return self._pace

    def _end_pace(self) -> None:
        pace, self._pace = self._pace, None
        if pace is not None:
            pace.stop()


class HeldMemory:
    """
    The bytes that one request holds in memory. They are counted as they arrive: a body that was only announced makes no
    other request wait.

    Bytes that have arrived cannot be refused any more, so they are always counted. If the limit of the key, or of all
    clients together, is exceeded, s3proxy stops reading until other requests give memory back. A request that waits too
    long is refused.

    Args:
        holders: The budgets of the request's key, and of all clients together.
        reserved: Bytes that the request's ticket has taken from its key's memory budget.

    Attributes:
        size: Bytes that the request holds now.
    """

    __slots__ = (
        "_all",
        "_budgets",
        "_holders",
        "_key",
        "_pause",
        "_refused",
        "_reserved",
        "_resume",
        "_ticketed",
        "_waiting",
        "size",
    )

    def __init__(self, budgets: Budgets, holders: tuple[Holder, ...], reserved: int = 0) -> None:
        self._budgets = budgets
        self._holders = holders
        key, everybody = holders
        self._key, self._all = key.memory, everybody.memory
        self._reserved = self._ticketed = reserved
        self._waiting: Deferred[None] | None = None
        self.size = 0
        self._pause: Callable[[], None] = _nothing
        self._resume: Callable[[], None] = _nothing
        self._refused: Callable[[], None] = _nothing
        key.tickets += 1
        everybody.tickets += 1

    def bind(self, pause: Callable[[], None], resume: Callable[[], None], refused: Callable[[], None]) -> None:
        """
        Set the callbacks of the side that delivers the bytes from now on.

        Args:
            pause: Called when delivery must stop for a while.
            resume: Called when delivery may continue.
            refused: Called once if the wait takes too long.
        """
        if self._waiting is not None:
            self.settle()
        self._pause, self._resume, self._refused = pause, resume, refused

    def add(self, size: int) -> None:
        """
        Count bytes that have arrived, and pause delivery if they are too many. A negative size counts bytes that have
        left.
        """
        self.count(size)
        if self.size <= MEMORY_STEP or size <= 0 or self._waiting is not None:
            return
        if self._key.is_over(self._reserved) or self._all.is_over(self.size):
            self._pause()
            waiting = Deferred.fromCoroutine(self._wait())
            self._waiting = None if waiting.called else waiting

    def count(self, size: int) -> None:
        """
        Count bytes without a pause, for bytes whose delivery cannot be stopped.
        """
        if not self._holders:
            return
        self.size += size
        if size > 0:
            self._all.used += size
        else:
            self._all.give_back(-size)
        ticketed, now = self._ticketed, self.size
        missing = (now if now > ticketed else ticketed) - self._reserved
        if missing:
            self._reserved += missing
            if missing > 0:
                self._key.used += missing
            else:
                self._key.give_back(-missing)

    async def make(self, step: Callable[[], Deferred[T]], size_of: Callable[[T], int]) -> T:
        """
        Make a document of s3proxy's own, and count its bytes once there is room for them. The documents of one key are
        made one after another, so that at most one of them is not counted.

        Args:
            step: Makes the document.
            size_of: Returns its bytes in memory.

        Raises:
            Spent: There was no room for as long as a request may wait.
            CancelledError: The client has disconnected.
        """
        turn = self._holders[0].turn
        await turn.acquire()
        try:
            made = await step()
            await self._reserve(size_of(made))
        finally:
            turn.release()
        return made

    async def _reserve(self, size: int) -> None:
        until = self._budgets.reactor.seconds() + self._budgets.patience
        taken: list[Slots] = []
        try:
            for slots in (self._key, self._all):
                waiting = slots.take(size)
                if waiting is not None:
                    await self._budgets.wait_patiently("memory", waiting, until)
                taken.append(slots)
        except BaseException:
            for slots in taken:
                slots.give_back(size)
            raise
        self.size += size
        self._reserved += size

    async def _wait(self) -> None:
        try:
            until = self._budgets.reactor.seconds() + self._budgets.patience
            for slots, own in ((self._key, self._reserved), (self._all, self.size)):
                waiting = slots.wait_for_room(own)
                if waiting is not None:
                    await self._budgets.wait_patiently("memory", waiting, until)
        except CancelledError:
            return
        except Spent:
            self._waiting = None
            self._refused()
            return
        self._waiting = None
        self._resume()

    def settle(self) -> None:
        """
        Stop waiting for room: no more bytes will arrive, or another object holds them.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
            self._resume()

    def release(self) -> None:
        """
        Give everything back. May be called twice.
        """
        holders, self._holders = self._holders, ()
        if not holders:
            return
        if self._waiting is not None:
            self.settle()
        self._pause = self._resume = self._refused = _nothing
        self._all.give_back(self.size)
        if self._reserved != self._ticketed:
            self._key.give_back(self._reserved - self._ticketed)
        self.size = 0
        for holder in holders:
            holder.tickets -= 1


def _nothing() -> None:
    pass


class Spent(Exception):
    """
    A budget had no room for as long as a request may wait.
    """


class Budgets:
    """
    The budgets of all requests together, and of each key.

    Args:
        limits: The limits of all requests together.
        key_limits: The limits of each key that has none of its own.
        patience: Maximum seconds that a request waits.

    Attributes:
        reactor: The reactor, whose clock is monotonic.
        refused: Number of requests that were refused after the wait, by the budget's name.
        waited: Number of requests that had to wait, by the budget's name.
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
        self._all = Holder(limits, reactor)
        self._bounds_only_memory = replace(limits, memory=0) == NO_LIMITS
        self._key_bounds_only_memory = replace(key_limits, memory=0) == NO_LIMITS
        self._keys: dict[bytes, Holder] = {}

    @property
    def used(self) -> dict[str, int]:
        """
        How much of each budget all requests together use now.
        """
        return {name: getattr(self._all, name).used for name in _USED}

    def admit(
        self, access_key_id: bytes | None, key_limits: BudgetLimits | None, *, has_body: bool, memory: int
    ) -> Ticket | None:
        """
        Return the ticket of a request. It has what the request needs, at once or when other requests have given it
        back.

        Args:
            access_key_id: The authenticated key; None for an anonymous client.
            key_limits: The key's own limits, or None.
            memory: Maximum bytes of the request's body that will be in memory. The request waits until there is room
                for the first of them; `hold` counts them.

        Returns:
            None if nothing that the request needs is bounded.
        """
        limits = key_limits or self.key_limits
        if limits is NO_LIMITS or (not memory and limits is self.key_limits and self._key_bounds_only_memory):
            if self._bounds_only_memory and not memory:
                return None
            holders: tuple[Holder, ...] = (self._all,)
        else:
            holders = (self._key(access_key_id or b"", limits), self._all)
        first = min(memory, MEMORY_STEP)
        ticket = Ticket(self, holders)
        if self._bounds_only_memory and limits is self.key_limits and self._key_bounds_only_memory:
            # The way of most uploads, and the cheapest.
            if not ticket.take_memory_at_once(first):
                self._take_all(ticket, [(holder, "memory", first) for holder in holders])
            return ticket
        amounts = {"requests_per_second": 1, "requests": 1, "bodies": int(has_body), "memory": first}
        steps = [(holder, name, amounts[name]) for holder in holders for name in holder.bounded if amounts[name]]
        return self._take_all(ticket, steps)

    def admit_form(self, memory: int) -> Ticket | None:
        """
        Return the ticket of a form whose fields are yet to be read. Its signature is among them, so all such forms
        share the budget of one key.

        Args:
            memory: Maximum bytes of the fields.

        Returns:
            As `admit`.
        """
        holders = self._memory_holders(_FORMS, None)
        if holders is None:
            return None
        steps = [(holder, "memory", min(memory, MEMORY_STEP)) for holder in holders if holder.memory.limit]
        return self._take_all(Ticket(self, holders), steps)

    def hold(
        self, access_key_id: bytes | None, key_limits: BudgetLimits | None, ticket: Ticket | None = None
    ) -> HeldMemory | None:
        """
        Return the counter of the bytes that a request holds in memory; None if no budget bounds them.

        Args:
            access_key_id: As for `admit`.
            key_limits: As for `admit`.
            ticket: The ticket with which the request was admitted.
        """
        if ticket is not None and ticket.reserved_memory:
            return HeldMemory(self, ticket.holders, ticket.reserved_memory)
        holders = self._memory_holders(access_key_id or b"", key_limits)
        return None if holders is None else HeldMemory(self, holders)

    def hold_form(self) -> HeldMemory | None:
        """
        Return the counter of the fields of a form whose signature is not read yet.
        """
        return self.hold(_FORMS, None)

    def _memory_holders(self, key: bytes, key_limits: BudgetLimits | None) -> tuple[Holder, Holder] | None:
        limits = key_limits or self.key_limits
        if not limits.memory and not self._all.memory.limit:
            return None
        return self._key(key, limits), self._all

    def _take_all(self, ticket: Ticket, steps: list[_Step]) -> Ticket:
        for index, step in enumerate(steps, 1):
            waiting = _take(ticket, *step)
            if waiting is not None:
                ticket.waiting = Deferred.fromCoroutine(self._wait(ticket, step[1], waiting, steps[index:]))
                break
        return ticket

    async def _wait(self, ticket: Ticket, name: str, waiting: Deferred[None], rest: list[_Step]) -> None:
        until = self.reactor.seconds() + self.patience
        try:
            await self.wait_patiently(name, waiting, until)
            for step in rest:
                taking = _take(ticket, *step)
                if taking is not None:
                    await self.wait_patiently(step[1], taking, until)
        except BaseException:
            ticket.release()
            raise

    async def wait_patiently(self, name: str, waiting: Deferred[None], until: float) -> None:
        """
        Wait until a budget has room.

        Raises:
            Spent: There was no room by the time `until`.
            CancelledError: The client has disconnected.
        """
        self.waited[name] += 1
        timer = self.reactor.callLater(max(0.0, until - self.reactor.seconds()), waiting.cancel)
        try:
            await waiting
        except CancelledError:
            if timer.active():
                # The client has disconnected.
                raise
            self.refused[name] += 1
            raise Spent(name) from None
        finally:
            if timer.active():
                timer.cancel()

    def _key(self, access_key_id: bytes, limits: BudgetLimits) -> Holder:
        holder = self._keys.get(access_key_id)
        if holder is None or (holder.limits is not limits and holder.limits != limits and holder.is_idle):
            if len(self._keys) >= MAX_IDLE_KEYS:
                self._keys = {key: held for key, held in self._keys.items() if not held.is_idle}
            holder = self._keys[access_key_id] = Holder(limits, self.reactor, reserves_memory=access_key_id != _FORMS)
        return holder


METRICS: tuple[Metric[Budgets], ...] = (
    gauge(
        "s3proxy_budget_used",
        "Current use of each limit for all requests together; memory in bytes.",
        lambda budgets: budgets.used,
        {"budget": _USED},
    ),
    counter(
        "s3proxy_budget_waits",
        "Requests that waited for a limit, for all requests together or for their key.",
        lambda budgets: budgets.waited,
        {"budget": BUDGETS},
    ),
    counter(
        "s3proxy_budget_refusals",
        "Requests that were refused after they had waited for a limit.",
        lambda budgets: budgets.refused,
        {"budget": BUDGETS},
    ),
)


def _take(ticket: Ticket, holder: Holder, name: str, amount: int) -> Deferred[None] | None:
    if name == "requests_per_second":
        return holder.requests_per_second.take()
    if name == "memory":
        return ticket.take_memory(holder, amount)
    return ticket.take(getattr(holder, name), amount)
