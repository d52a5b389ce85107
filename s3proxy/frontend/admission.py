"""
How many connections clients may have: idle ones make room first, then new ones wait where the kernel keeps them.
"""

from __future__ import annotations

import resource
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from s3proxy.frontend.balance import Balance
from s3proxy.frontend.peers import Trust
from s3proxy.frontend.times import ClientTimes

EVICTED_SHARE = 100
"""
One in so many idle connections is closed at a time: looking for them costs more than closing them.
"""


REST_TIME = 0.005
"""
Seconds for which a process accepts nothing that has more connections than another: time for that one to take some.
"""

MAX_RESTS = 200
"""
So often in a row at the most. A process which took nothing in all that time is busy or stopped, and not waited for
until it has another number of connections.
"""


MIN_EVICTION_AGE = 5.0
"""
Seconds that a connection without a request keeps its place when others want it: for its first head, or to read the
answer that ends it. One between two requests has none.
"""

MAX_REFUSED = 64
"""
Refused connections that may read their answer at a time, of all clients. They hold no place; the oldest is reset for
one more.
"""

MAX_CLOSING = 64
"""
Connections above the bound while those that were closed for them are not gone yet.
"""

EVICTION_INTERVAL = 1.0
"""
Seconds between two looks for idle connections while nothing is accepted.
"""


class Connection(Protocol):
    """
    A connection of a client: an `s3proxy.frontend.channel.S3Channel`, or one whose PROXY header is not complete.
    """

    @property
    def idle_since(self) -> float | None:
        """
        Since when it serves nobody; None while it does, or is too young to be closed.
        """

    def close_idle(self) -> None:
        """
        Close it now.
        """

    def abort(self) -> None:
        """
        Reset it now.
        """


class Port(Protocol):
    """
    Where connections come from: a `twisted.internet.tcp.Port`.

    Attributes:
        numberAccepts: How many are taken at a time, at the most.
    """

    numberAccepts: int

    def pauseProducing(self) -> None:
        """
        Accept no more.
        """

    def resumeProducing(self) -> None:
        """
        Accept again.
        """


class ConnectionLimit:
    """
    The bound of the connections of several sites together.

    Args:
        ports: Returns what accepts connections now.
        most: Connections of all.
        most_per_address: The same from one address; 0 for no bound.
        reactor: Tells when others have had their turn.
        balance: Who else accepts the same connections; None for nobody.

    Attributes:
        evicted_count: Idle connections which were closed to make room.
        refused_count: Connections of an address that had too many.
        full_count: How often nothing was accepted any more for a while.
    """

    def __init__(
        self,
        ports: Callable[[], Iterable[Port]],
        most: int,
        most_per_address: int = 0,
        *,
        reactor: IReactorTime | None = None,
        balance: Balance | None = None,
    ) -> None:
        self.most = most
        self.most_per_address = most_per_address
        self.evicted_count = 0
        self.refused_count = 0
        self.full_count = 0
        self._ports = ports
        self._connections: dict[Connection, str | None] = {}
        self._refused: OrderedDict[Connection, None] = OrderedDict()
        self._looking: IDelayedCall | None = None
        self._by_address: Counter[str] = Counter()
        self._is_full = False
        self._reactor = reactor
        self._balance = balance
        self._resting: IDelayedCall | None = None
        self._rests = 0
        self._given_up: int | None = None
        self._has_left = False

    def admits(self, connection: Connection, address: str | None) -> bool:
        """
        Count a connection in; return whether its address may have it. One that it may not have holds no place.

        Args:
            address: None for one of which any number is welcome.
        """
        is_welcome = True
        if self.most_per_address and address is not None:
            is_welcome = self._by_address[address] < self.most_per_address
        if is_welcome:
            self._count(connection, address)
        else:
            self.refused_count += 1
            self.refuse(connection)
        balance, reactor = self._balance, self._reactor
        if balance is not None:
            balance.tell(len(self._connections))
            for port in self._ports():
                # Twisted takes twenty more the next time, where there were as many as it would take.
                port.numberAccepts = 0
            is_to_rest = self._resting is None and balance.is_ahead and balance.least != self._given_up
            if is_to_rest and reactor is not None:
                self._pause()
                self._rest(balance, reactor)
        return is_welcome

    def _count(self, connection: Connection, address: str | None) -> None:
        self._connections[connection] = address
        if address is not None:
            self._by_address[address] += 1
        count = len(self._connections)
        if count >= self.most and not self._is_full and (not self._evict() or count >= self._hard_limit):
            self._is_full = True
            self.full_count += 1
            self._pause()
            self._look_later()

    @property
    def _hard_limit(self) -> int:
        return self.most + MAX_CLOSING

    def refuse(self, connection: Connection) -> None:
        """
        Take a connection's place away: it only reads why it was refused. Few may at a time.
        """
        self._forget(connection)
        self._refused[connection] = None
        self._refused.move_to_end(connection)
        if len(self._refused) > MAX_REFUSED:
            oldest, _ = self._refused.popitem(last=False)
            oldest.abort()

    def lost(self, connection: Connection) -> None:
        """
        Count a connection out.
        """
        if connection in self._refused:
            del self._refused[connection]
        else:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        address = self._connections.pop(connection, None)
        if self._balance is not None and not self._has_left:
            self._balance.tell(len(self._connections))
        if address is not None and address in self._by_address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        if self._is_full and len(self._connections) < self.most:
            self._is_full = False
            if self._looking is not None:
                self._looking.cancel()
                self._looking = None
            self._resume()

    def _look_later(self) -> None:
        if self._reactor is not None:
            self._looking = self._reactor.callLater(EVICTION_INTERVAL, self._look_again)

    def _look_again(self) -> None:
        # Nothing is accepted, so nobody else asks whether a connection has become idle meanwhile.
        self._looking = None
        self._evict()
        if self._is_full:
            self._look_later()

    def leave(self) -> None:
        """
        Accept no more: other processes need not wait for this one.
        """
        self._has_left = True
        if self._balance is not None:
            self._balance.leave()
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _pause(self) -> None:
        for port in self._ports():
            port.pauseProducing()

    def _resume(self) -> None:
        if not self._is_full and self._resting is None:
            for port in self._ports():
                port.resumeProducing()

    def _rest(self, balance: Balance, reactor: IReactorTime) -> None:
        self._rests += 1
        self._resting = reactor.callLater(REST_TIME, self._rested, balance, reactor)

    def _rested(self, balance: Balance, reactor: IReactorTime) -> None:
        self._resting = None
        if balance.is_ahead and self._rests < MAX_RESTS:
            self._rest(balance, reactor)
            return
        self._given_up = balance.least if balance.is_ahead else None
        self._rests = 0
        self._resume()

    def _evict(self) -> bool:
        """
        Close the connections that have been idle longest; return whether there was any.
        """
        connections = list(self._connections)
        idle = [
            (since, number)
            for number, connection in enumerate(connections)
            if (since := connection.idle_since) is not None
        ]
        if not idle:
            return False
        for _, number in sorted(idle)[: max(1, len(idle) // EVICTED_SHARE)]:
            self.evicted_count += 1
            connections[number].close_idle()
        return True


RESERVED_FDS = 64 + MAX_REFUSED + MAX_CLOSING
"""
File descriptors for logs, sockets that listen, bodies on disk, and connections that have no place.
"""


def most_connections(wanted: int, to_backends: int) -> int:
    """
    Return how many connections of clients are possible.

    Args:
        to_backends: Connections which all backends together may have. While a reload leaves the former ones there are
            twice as many; but no more than half of all descriptors are kept for them, since none is used without a
            client's.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = limit - RESERVED_FDS
    return min(wanted, max(1, free - min(2 * to_backends, free // 2)))


class BoundingSite(Protocol):
    """
    What bounds a connection: an `s3proxy.frontend.site.S3Site`, which says what each of these is.
    """

    reactor: Any

    @property
    def times(self) -> ClientTimes: ...

    @property
    def limit(self) -> ConnectionLimit | None: ...

    @property
    def trust(self) -> Trust: ...
