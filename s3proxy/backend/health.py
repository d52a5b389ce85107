"""
Health checks: requests at intervals that show if each address of a backend works.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.profiles.profile import ANY_BELOW_500, HealthRequest


class HealthCheck:
    """
    Sends a request to one address at intervals, to see if it works.

    Args:
        pool: The pool of the address, which gets the result. Its own connections are not used: they may all be busy.
        head: The request, unsigned.
        interval: Seconds between a response and the next request; a response may take as long as connecting.
        health: The method of the head, and the statuses that show that the address works.
    """

    _log = Logger()

    def __init__(self, pool: Pool, head: bytes, interval: float, health: HealthRequest = ANY_BELOW_500) -> None:
        self._pool = pool
        self._own = Pool(pool.reactor, pool.endpoint, replace(pool.limits, max_pooled=0, breaker_failures=0))
        self._head = head
        self._interval = interval
        self._health = health
        self._delayed: Any = None
        self._asking: Deferred[BackendResponse] | None = None
        self._is_running = False

    def start(self) -> None:
        """
        Send a request now, and then at intervals.
        """
        if not self._is_running:
            self._is_running = self._pool.is_checked = True
            self._ask()

    def stop(self) -> Deferred[None]:
        """
        Send no more requests; the Deferred fires when the last one is gone.
        """
        self._is_running = self._pool.is_checked = False
        delayed, self._delayed = self._delayed, None
        if delayed is not None:
            delayed.cancel()
        if self._asking is not None:
            self._asking.cancel()
        return self._own.close()

    def _ask(self) -> None:
        self._delayed = None
        request = BackendRequest(self._health.method, self._head, first_byte_time=self._own.limits.connect_time)
        self._asking = asking = self._own.send(request)
        asking.addCallbacks(self._answered, self._failed).addBoth(self._wait)

    def _answered(self, response: BackendResponse) -> None:
        response.abort()
        status = response.head.status
        self._learn(f"responded with status {status}", is_healthy=self._health.is_healthy(status))

    def _failed(self, failure: Failure) -> None:
        # A check that is stopped shows nothing about the backend.
        if self._is_running:
            self._learn(f"did not respond: {failure.value}", is_healthy=False)

    def _learn(self, what: str, *, is_healthy: bool) -> None:
        pool = self._pool
        if pool.is_healthy != is_healthy:
            self._log.warn(
                "{address} {what}: it is {word}", address=pool.address, what=what, word=("down", "up")[is_healthy]
            )
        pool.is_healthy = is_healthy

    def _wait(self, ignored: object) -> None:
        self._asking = None
        if self._is_running:
            self._delayed = self._pool.reactor.callLater(self._interval, self._ask)
