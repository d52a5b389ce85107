"""
The running requests of a listener: each gets an exchange, and a drain waits for the last of them.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed

from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.exchange import Exchange, ExchangedRequest
from s3proxy.telemetry.declarations import Metric, gauge


class Proxy:
    """
    Runs the exchanges of a listener, from the end of each head to the access log.

    Args:
        context: What the exchanges share.
    """

    def __init__(self, context: ProxyContext) -> None:
        self.context = context
        self._running: set[Exchange] = set()
        self._drained: list[Deferred[None]] = []

    @property
    def running_count(self) -> int:
        """
        Number of exchanges that have begun and not ended.
        """
        return len(self._running)

    @property
    def held_size(self) -> int:
        """
        Bytes that arrived from one side and were not yet sent to the other.
        """
        return sum(exchange.held_size for exchange in self._running)

    def begin(self, request: ExchangedRequest) -> None:
        """
        Begin the exchange of a request.
        """
        exchange = Exchange(self.context, request, self._ended)
        self._running.add(exchange)
        exchange.begin()

    def _ended(self, exchange: Exchange) -> None:
        self._running.discard(exchange)
        if not self._running:
            waiting, self._drained = self._drained, []
            for drained in waiting:
                drained.callback(None)

    def drain(self) -> Deferred[None]:
        """
        Refuse new requests with SlowDown. Returns a Deferred that fires when the running ones have ended.
        """
        self.context.is_draining = True
        return self.idle()

    def idle(self) -> Deferred[None]:
        """
        Return a Deferred that fires when no request is running.
        """
        if not self._running:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def abort_all(self) -> None:
        """
        Reset all running exchanges. Called when the deadline of a drain has passed.
        """
        for exchange in tuple(self._running):
            exchange.abort()


METRICS: tuple[Metric[Proxy], ...] = (
    gauge(
        "s3proxy_running_requests",
        "Requests that have started and not ended.",
        lambda proxy: proxy.running_count,
    ),
    gauge(
        "s3proxy_bytes_in_flight",
        "Bytes received from one side and not sent to the other yet: held, withheld, or waiting for a socket.",
        lambda proxy: proxy.held_size,
    ),
)
