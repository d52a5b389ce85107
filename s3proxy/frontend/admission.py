"""
How many connections clients may have: idle ones make room first, then new ones wait where the kernel keeps them.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from s3proxy.frontend.balance import Balance

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


class Connection(Protocol):
    """
    A connection of a client: an `s3proxy.frontend.channel.S3Channel`.
    """

    @property
    def idle_until(self) -> float | None:
        """
        When it will be closed because no request came; None while it serves one.
        """

    def close_idle(self) -> None:
        """
        Close it now.
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
        refused_count: Connections of an address which had too many.
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
        Count a connection in; return whether its address may have it.

        Args:
            address: None for one of which any number is welcome.
        """
        self._connections[connection] = address
        if len(self._connections) >= self.most and not self._is_full and not self._evict():
            self._is_full = True
            self.full_count += 1
            self._pause()
        if self._balance is not None:
            self._balance.tell(len(self._connections))
            for port in self._ports():
                # Twisted takes twenty more the next time, where there were as many as it would take.
                port.numberAccepts = 0
            if self._resting is None and self._balance.is_ahead and self._balance.least != self._given_up:
                self._pause()
                self._rest()
        if not self.most_per_address or address is None:
            return True
        self._by_address[address] += 1
        if self._by_address[address] <= self.most_per_address:
            return True
        self.refused_count += 1
        return False

    def lost(self, connection: Connection) -> None:
        """
        Count a connection out.
        """
        address = self._connections.pop(connection, None)
        if self._balance is not None and not self._has_left:
            self._balance.tell(len(self._connections))
        if address is not None and address in self._by_address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        if self._is_full and len(self._connections) < self.most:
            self._is_full = False
            self._resume()

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

    def _pause(self) -> None:
        for port in self._ports():
            port.pauseProducing()

    def _resume(self) -> None:
        if not self._is_full and self._resting is None:
            for port in self._ports():
                port.resumeProducing()

    def _rest(self) -> None:
        assert self._reactor is not None
        self._rests += 1
        self._resting = self._reactor.callLater(REST_TIME, self._rested)

    def _rested(self) -> None:
        assert self._balance is not None
        self._resting = None
        if self._balance.is_ahead and self._rests < MAX_RESTS:
            self._rest()
            return
        self._given_up = self._balance.least if self._balance.is_ahead else None
        self._rests = 0
        self._resume()

    def _evict(self) -> bool:
        idle = [(until, number) for number, c in enumerate(self._connections) if (until := c.idle_until) is not None]
        if not idle:
            return False
        connections = list(self._connections)
        for _, number in sorted(idle)[: max(1, len(idle) // EVICTED_SHARE)]:
            self.evicted_count += 1
            connections[number].close_idle()
        return True


RESERVED_FDS = 64
"""
File descriptors for logs, sockets which listen, and bodies on disk.
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
