"""
The limit on client connections: at the limit, idle connections are closed first. Then s3proxy stops accepting, and new
connections wait in the kernel's queue.
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
from s3proxy.telemetry.declarations import Metric, counter

EVICTED_SHARE = 100
"""
One of this many idle connections is closed at a time, and at least one: the search costs more than the closing.
"""


REST_TIME = 0.005
"""
Seconds for which a process that has more connections than another pauses its accept, so that the other one can accept
some.
"""

MAX_RESTS = 200
"""
Maximum number of such pauses in a row. A process that accepted nothing in all that time is busy or stopped. It is not
waited for again until the smallest number of connections has changed.
"""


MIN_EVICTION_AGE = 5.0
"""
Seconds that a connection without a request is kept when others need room: for its first head, or to read the response
that ends it. A connection between two requests may be closed at once.
"""

MAX_REFUSED = 64
"""
Refused connections of all clients that may read their response at a time. They do not count against the limit; the
oldest is reset to make room for one more.
"""

MAX_CLOSING = 64
"""
Connections above the limit while those that were closed for them are not gone yet.
"""

EVICTION_INTERVAL = 1.0
"""
Seconds between two searches for idle connections while nothing is accepted.
"""


class Connection(Protocol):
    """
    A connection of a client: an `s3proxy.frontend.channel.S3Channel`, or one whose PROXY header is not complete.
    """

    @property
    def idle_since(self) -> float | None:
        """
        When the connection became idle, in the reactor's seconds; None if it serves a request or is too young to be
        closed.
        """

    def close_idle(self) -> None:
        """
        Close the connection now.
        """

    def abort(self) -> None:
        """
        Reset the connection now.
        """


class Port(Protocol):
    """
    Accepts connections: a `twisted.internet.tcp.Port`.

    Attributes:
        numberAccepts: Maximum number of connections to accept at a time.
    """

    numberAccepts: int

    def pauseProducing(self) -> None:
        """
        Stop accepting.
        """

    def resumeProducing(self) -> None:
        """
        Start accepting again.
        """


class ConnectionLimit:
    """
    The limit on the connections of several sites together.

    Args:
        ports: Returns the ports that accept connections now.
        most: Maximum number of connections.
        most_per_address: Maximum number of connections from one address; 0 for no limit.
        reactor: Times the pauses and the searches for idle connections.
        balance: The numbers of connections of the other processes that accept from the same sockets; None if there are
            no others.

    Attributes:
        evicted_count: Idle connections that were closed to make room.
        refused_count: Connections that were refused because their address had too many.
        full_count: How often s3proxy stopped accepting because the limit was reached.
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
        Count a new connection; return whether its address may have it. A refused one does not count against the limit.

        Args:
            address: The address to count the connection for; None for an address without a limit.
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
                # Twisted adds 20 to this number whenever it could accept as many connections as the number allows.
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
        Refuse a connection: it no longer counts against the limit, and only reads why it was refused. Only
        `MAX_REFUSED` connections may do so at a time.
        """
        self._forget(connection)
        self._refused[connection] = None
        self._refused.move_to_end(connection)
        if len(self._refused) > MAX_REFUSED:
            oldest, _ = self._refused.popitem(last=False)
            oldest.abort()

    def lost(self, connection: Connection) -> None:
        """
        Stop counting a connection: it is lost.
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
        # No new connection triggers a search while nothing is accepted, but a connection may have become idle.
        self._looking = None
        self._evict()
        if self._is_full:
            self._look_later()

    def leave(self) -> None:
        """
        Stop accepting for good: other processes need not wait for this one.
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
        Close the connections that have been idle longest; return False if none is idle.
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


METRICS: tuple[Metric[ConnectionLimit], ...] = (
    counter(
        "s3proxy_connections_evicted",
        "Idle client connections that were closed to make room for new ones.",
        lambda limit: limit.evicted_count,
    ),
    counter(
        "s3proxy_connections_refused",
        "Client connections that were refused because their address had too many.",
        lambda limit: limit.refused_count,
    ),
    counter(
        "s3proxy_connections_full",
        "Times when the proxy stopped accepting connections because it had too many.",
        lambda limit: limit.full_count,
    ),
)


RESERVED_FDS = 64 + MAX_REFUSED + MAX_CLOSING
"""
File descriptors for logs, listening sockets, bodies on disk, and connections that do not count against the limit.
"""


def most_connections(wanted: int, to_backends: int) -> int:
    """
    Return how many client connections are possible with the file descriptors of this process.

    Args:
        to_backends: Maximum number of connections to all backends together. It is doubled, because during a reload the
            former connections also exist. At most half of the descriptors are kept for backends, because each backend
            connection serves a client's.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = limit - RESERVED_FDS
    return min(wanted, max(1, free - min(2 * to_backends, free // 2)))


class BoundingSite(Protocol):
    """
    The site of a limited connection: an `s3proxy.frontend.site.S3Site`, which describes these attributes.
    """

    reactor: Any

    @property
    def times(self) -> ClientTimes: ...

    @property
    def limit(self) -> ConnectionLimit | None: ...

    @property
    def trust(self) -> Trust: ...
