"""
Check that no state lasts for ever: every live object waits for a deadline, or for a party that has one.

`Ledger` has each channel, exchange, backend connection and pool of this process. Its `look` runs after each turn of the
reactor (see `tests.conftest.liveness`). It looks from outside, at what the objects hold, and does not ask them:

- a client's channel has its deadline, or is held for a reason whose owner is bounded, or waits for its exchange;
- an exchange waits for a lookup with a deadline, for its client, or for its backend;
- a request for an application's own resource waits for a lookup with a deadline, or for the application;
- a connection to a backend has its deadline, or waits for the client whose body it sends or whose response it reads;
- an attempt to connect has its timer.

A single finding may be between two steps (a connection that was reset ends a turn later), so it is a fault only if it
remains for several turns. What breaks a rule of `tests.support.invariants` is a fault at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakSet

from twisted.internet.defer import Deferred

from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.pool import Pool
from s3proxy.backend.response import BackendResponse
from s3proxy.embedding.entrance import Entrance
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.exchange import Exchange
from s3proxy.exchange.machine import State
from s3proxy.frontend.application import ApplicationRequest
from s3proxy.frontend.channel import S3Channel
from s3proxy.frontend.hold import Hold
from s3proxy.multipart.waiting import WaitingResponse
from s3proxy.transport.writer import NO_WRITER
from tests.support.invariants import broken_of_channel, broken_of_connection, broken_of_exchange, broken_of_writer

TURNS = 5
"Turns of the reactor for which something must be unbounded to be a fault."

_LOOKING_UP = frozenset({State.LOOKING_UP, State.JUDGING_FORM})
_FROM_CLIENT = frozenset({State.READING_FORM, State.HOLDING})
_FROM_BACKEND = frozenset({State.MEASURING, State.DELETING, State.AWAITING, State.EXPLAINING})


def is_armed(deadline: Any) -> bool:
    """
    Return True if a deadline is running.
    """
    return deadline is not None and deadline.at is not None


def is_bounded(channel: S3Channel) -> bool:
    """
    Whether something ends the present state of a channel, whatever the client does or leaves undone.

    What counts, by state:

    - HEAD: the deadline is set. While a former answer waits for the client's socket no head is read, and the
      deadline of writing is set instead.
    - BODY with a request: the deadline is set; or a hold stands, whose owner is the request's exchange; or the
      request takes no more of its body because its response has begun, and its exchange owns the wait.
    - BODY whose request was answered: the deadline is set.
    - ANSWERING: there is a request. Its exchange, or the application, owns the wait.
    - LINGERING, CLOSED: the deadline is set, or the connection was reset or is lost.

    In every state a paused writer needs the deadline of writing too, until the writer is detached to close.
    """
    if channel.is_aborted:
        return True
    state, is_timed = channel._state.name, is_armed(channel.deadlines.sending)
    if state in {"LINGERING", "CLOSED"}:
        return is_timed
    if channel.writer.is_paused and not is_armed(channel.deadlines.taking):
        return False
    request = channel._request
    if state == "HEAD":
        return is_timed or channel.writer.is_paused
    if state == "BODY":
        return is_timed or (request is not None and (bool(channel.holds.reasons) or not request.takes_body))
    return request is not None


class Ledger:
    """
    All live objects, and those of them that nothing bounds or that break a rule.

    Attributes:
        faults: Descriptions of what was found.
    """

    def __init__(self) -> None:
        self.channels: WeakSet[S3Channel] = WeakSet()
        self.exchanges: WeakSet[Exchange] = WeakSet()
        self.entrances: WeakSet[Entrance] = WeakSet()
        self.connections: WeakSet[BackendConnection] = WeakSet()
        self.pools: WeakSet[Pool] = WeakSet()
        self.queued: WeakSet[Deferred[None]] = WeakSet()
        self.faults: list[str] = []
        self._suspected: dict[tuple[int, str], int] = {}

    def clear(self) -> None:
        """
        Forget everything.
        """
        for known in (self.channels, self.exchanges, self.entrances, self.connections, self.pools):
            known.clear()
        self.faults.clear()
        self._suspected.clear()

    def look(self) -> None:
        """
        Find what is unbounded, and was for several turns; and what breaks a rule of its own.
        """
        self.faults += (words for words in self._broken() if words not in self.faults)
        suspected = {}
        for found, words in self._unbounded():
            key = (id(found), words)
            count = suspected[key] = self._suspected.get(key, 0) + 1
            if count == TURNS:
                self.faults.append(words)
        self._suspected = suspected

    def _unbounded(self) -> Iterator[tuple[object, str]]:
        for channel in tuple(self.channels):
            if channel in channel.site.channels and not self.is_channel_bounded(channel):
                holds = ", ".join(sorted(hold.name for hold in channel.holds.reasons)) or "nothing"
                state, exchange = channel._state.name, self._exchange_of(channel)
                yield channel, f"a client's channel in {state}, held for {holds}, its exchange {_named(exchange)}"
        for exchange in tuple(self.exchanges):
            if not self.is_exchange_bounded(exchange):
                yield exchange, f"an exchange in {_named(exchange)}"
        for connection in tuple(self.connections):
            if not self.is_connection_bounded(connection):
                yield connection, f"a backend's connection which waited last {connection._waiting.name}"
        for pool in tuple(self.pools):
            for connecting in tuple(pool._connecting):
                if not connecting.is_bounded:
                    yield connecting, "an attempt to connect"

    def _broken(self) -> Iterator[str]:
        for channel in tuple(self.channels):
            for words in (*broken_of_channel(channel), *broken_of_writer(channel.writer)):
                yield f"a client's channel in {channel._state.name}: {words}"
        for connection in tuple(self.connections):
            writer = () if connection._writer is NO_WRITER else broken_of_writer(connection._writer)
            for words in (*broken_of_connection(connection), *writer):
                yield f"a backend's connection which waited last {connection._waiting.name}: {words}"
        for exchange in tuple(self.exchanges):
            for words in broken_of_exchange(exchange):
                yield f"an exchange in {_named(exchange)}: {words}"

    # The client's side

    def is_channel_bounded(self, channel: S3Channel) -> bool:
        """
        Return True if a channel has its deadline, or waits for a party that has one.
        """
        if channel.is_aborted or is_armed(channel.deadlines.sending) or is_armed(channel.deadlines.total):
            return True
        if channel.writer.is_paused:
            # It does not take what it was sent; what else it may owe comes after that.
            return is_armed(channel.deadlines.taking)
        request = channel._request
        if isinstance(request, ApplicationRequest):
            # An application's request, which takes its own time.
            return True
        entrance = next((found for found in self.entrances if request is not None and found._request is request), None)
        if entrance is not None:
            return self._is_entrance_bounded(entrance, channel)
        exchange = self._exchange_of(channel)
        if channel.holds.reasons:
            return all(self._is_hold_bounded(hold, exchange) for hold in channel.holds.reasons)
        # Nobody waits for the client: then somebody must be there for whom it waits.
        return channel._state.name == "ANSWERING" and exchange is not None and self.is_exchange_bounded(exchange)

    def _exchange_of(self, channel: S3Channel) -> Exchange | None:
        request = channel._request
        return next((found for found in self.exchanges if request is not None and found._request is request), None)

    def _is_entrance_bounded(self, entrance: Entrance, channel: S3Channel) -> bool:
        if entrance._shown is None:
            judgement = entrance._judgement
            return entrance._response.is_over or (
                judgement is not None and (judgement._waiting in self.queued or is_armed(judgement._deadline))
            )
        # The application takes its own time, also with the body; but not for a budget.
        pace = entrance._ticket._pace if entrance._ticket is not None else None
        return Hold.BUDGET not in channel.holds.reasons or (pace is not None and is_armed(pace._deadline))

    def _is_hold_bounded(self, hold: Hold, exchange: Exchange | None) -> bool:
        if exchange is None:
            return False
        if hold is Hold.UNJUDGED:
            return self._is_lookup_bounded(exchange)
        if hold is Hold.BUDGET:
            return _is_paced(exchange)
        if hold is Hold.MEMORY:
            return _is_memory_awaited(exchange)
        # The backend's socket is full, its connection is being made, or a form's claim is looked up; or the present
        # request must end before the next is read.
        return self.is_exchange_bounded(exchange)

    # The exchange

    def is_exchange_bounded(self, exchange: Exchange) -> bool:
        """
        Return True if what an exchange waits for is bounded.
        """
        state = exchange.state
        if state is State.ENDED:
            return True
        if _is_memory_awaited(exchange):
            return True
        if state in _LOOKING_UP or _lookup(exchange) is not None:
            return self._is_lookup_bounded(exchange)
        if state in _FROM_CLIENT:
            return _is_client_awaited(exchange)
        if state is State.SENDING:
            return self._is_backend_bounded(exchange) or _is_client_awaited(exchange)
        if state in _FROM_BACKEND:
            return self._is_backend_bounded(exchange)
        response = _response(exchange)
        connection = response._connection if response is not None else None
        if isinstance(connection, WaitingResponse):
            return _is_at_disk(exchange) or self._is_pool_bounded(exchange)
        return isinstance(connection, BackendConnection) and self.is_connection_bounded(connection)

    def _is_lookup_bounded(self, exchange: Exchange) -> bool:
        # The budgets refuse a request that waits too long; see `s3proxy.exchange.budget.Budgets.wait_patiently`.
        lookup = _lookup(exchange)
        return lookup is not None and (lookup in self.queued or is_armed(exchange._judgement._deadline))

    def _is_backend_bounded(self, exchange: Exchange) -> bool:
        if _is_at_disk(exchange):
            return True
        asking = exchange._transfer._asking
        if asking._asked is None:
            return False
        consumer = asking.upload._consumer if asking.upload is not None else None
        if isinstance(consumer, BackendConnection):
            return is_armed(consumer.deadline)
        return self._is_pool_bounded(exchange)

    def _is_pool_bounded(self, exchange: Exchange) -> bool:
        return any(
            pool._waiting
            or any(connecting.is_bounded for connecting in pool._connecting)
            or any(is_armed(connection.deadline) for connection in pool.connections)
            for pool in exchange._transfer._admitted.backend.agent.pools
        )

    # The backend's side

    def is_connection_bounded(self, connection: BackendConnection) -> bool:
        """
        Return True if a connection has its deadline, or waits for a client that has one.
        """
        if connection.transport is None or connection._is_lost or is_armed(connection.deadline):
            return True
        body = connection._body
        response = connection.reader.response if connection.reader is not None else None
        if body is not None:
            owners = [
                exchange
                for exchange in self.exchanges
                if exchange._transfer is not None and exchange._transfer._asking.upload is body
            ]
            # The body belongs to an embedder or a test, which must bound it.
            return not owners or any(map(_is_client_awaited, owners))
        if response is not None and connection.is_paused:
            owners = [exchange for exchange in self.exchanges if _response(exchange) is response]
            is_waited_for = any(_is_client_slow(exchange) or _is_memory_awaited(exchange) for exchange in owners)
            return is_waited_for or (response.is_claimed and not owners)
        return False


def _lookup(exchange: Exchange) -> Deferred[Any] | None:
    """
    Return what an exchange waits for before it is admitted.
    """
    if exchange._form is not None and exchange._form._waiting is not None:
        return exchange._form._waiting
    return exchange._judgement._waiting if exchange._judgement is not None else None


def _response(exchange: Exchange) -> BackendResponse | None:
    return exchange._transfer._answering._response if exchange._transfer is not None else None


def _is_at_disk(exchange: Exchange) -> bool:
    multipart = exchange._transfer._admitted.multipart if exchange._transfer is not None else None
    if multipart is None:
        return False
    # A thread has a time of its own; the next block of an object is read in the next turn.
    reader = multipart._completion._reader
    is_reading = reader is not None and reader._turn is not None
    return is_reading or multipart._uploads.waiting_count > 0


def _is_client_awaited(exchange: Exchange) -> bool:
    channel = exchange._request.channel
    return (not channel.holds.reasons and is_armed(channel.deadlines.sending)) or (
        Hold.BUDGET in channel.holds.reasons and _is_paced(exchange)
    )


def _is_client_slow(exchange: Exchange) -> bool:
    relay = exchange._transfer._answering._relay
    if relay is None:
        return False
    if relay._is_held:
        return _is_paced(exchange)
    return is_armed(exchange._request.channel.deadlines.taking)


def _is_paced(exchange: Exchange) -> bool:
    ticket = exchange._transfer._admitted.ticket if exchange._transfer is not None else None
    return ticket is not None and ticket._pace is not None and is_armed(ticket._pace._deadline)


def _is_memory_awaited(exchange: Exchange) -> bool:
    # The budgets refuse a request that waits too long; see `s3proxy.exchange.budget.Budgets.wait_patiently`.
    memory = exchange._form._memory if exchange._form is not None else None
    if exchange._transfer is not None:
        memory = exchange._transfer._admitted.memory
    return memory is not None and memory._waiting is not None


def _named(exchange: Exchange | None) -> str:
    return "none" if exchange is None else exchange.state.name


LEDGER = Ledger()


def _noted(kind: type, name: str, known: WeakSet[Any]) -> None:
    stock: Callable[..., None] = getattr(kind, name)

    def noting(self: Any, *arguments: Any, **named: Any) -> None:
        known.add(self)
        stock(self, *arguments, **named)

    setattr(kind, name, noting)


def _note_queued(name: str) -> None:
    stock: Callable[..., Any] = getattr(Budgets, name)

    def noting(self: Any, *arguments: Any, **named: Any) -> Any:
        ticket = stock(self, *arguments, **named)
        if ticket is not None and ticket.waiting is not None:
            LEDGER.queued.add(ticket.waiting)
        return ticket

    setattr(Budgets, name, noting)


_note_queued("admit")
_note_queued("admit_form")
_noted(S3Channel, "connectionMade", LEDGER.channels)
_noted(Exchange, "__init__", LEDGER.exchanges)
_noted(Entrance, "__init__", LEDGER.entrances)
_noted(BackendConnection, "__init__", LEDGER.connections)
_noted(Pool, "__init__", LEDGER.pools)
