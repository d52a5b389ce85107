"""
How many connections clients may have: idle ones make room first, then new ones wait where the kernel keeps them.
"""

from __future__ import annotations

import resource
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Protocol

EVICTED_SHARE = 100
"""
One in so many idle connections is closed at a time: looking for them costs more than closing them.
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
    Where connections come from.
    """

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

    Attributes:
        evicted_count: Idle connections which were closed to make room.
        refused_count: Connections of an address which had too many.
        full_count: How often nothing was accepted any more for a while.
    """

    def __init__(self, ports: Callable[[], Iterable[Port]], most: int, most_per_address: int = 0) -> None:
        self.most = most
        self.most_per_address = most_per_address
        self.evicted_count = 0
        self.refused_count = 0
        self.full_count = 0
        self._ports = ports
        self._connections: dict[Connection, str] = {}
        self._by_address: Counter[str] = Counter()
        self._is_full = False

    def admits(self, connection: Connection, address: str) -> bool:
        """
        Count a connection in; return whether its address may have it.
        """
        self._connections[connection] = address
        if len(self._connections) >= self.most and not self._is_full and not self._evict():
            self._is_full = True
            self.full_count += 1
            for port in self._ports():
                port.pauseProducing()
        if not self.most_per_address:
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
        if address is not None and address in self._by_address:
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]
        if self._is_full and len(self._connections) < self.most:
            self._is_full = False
            for port in self._ports():
                port.resumeProducing()

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


def raise_file_limit() -> None:
    """
    Let this process have as many file descriptors as it may.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
