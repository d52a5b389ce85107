"""
The end of the certificates of listeners: a gauge, and a line in the log each day in the last month.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from s3proxy.configuration.certificates import Expiry, expiries
from s3proxy.daemon.generation import Generation
from s3proxy.telemetry.declarations import Metric, gauge

INTERVAL = 86400.0
"""
Seconds between two lines in the log about the same certificate.
"""


class ExpiryWatch:
    """
    Warns in the log of certificates that have expired or soon will: at the start, at each reload, and once a day.

    Args:
        reactor: Its clock never goes back.
        wall_clock: Returns the time, with its time zone.
    """

    _log = Logger()

    def __init__(self, reactor: Any, wall_clock: Callable[[], datetime]) -> None:
        self._wall_clock = wall_clock
        self._expiries: list[tuple[str, Expiry]] = []
        self._watching = LoopingCall(self._tell)
        self._watching.clock = reactor

    def follow(self, generation: Generation) -> None:
        """
        Watch the certificates of a generation instead of those before. If the watch has started, warn of them now.
        """
        listeners = generation.settings.named_listeners
        self._expiries = [
            (name, expiry)
            for name, handshakes in generation.handshakes.items()
            for expiry in expiries(handshakes, listeners[name])
        ]
        if self._watching.running:
            self._tell()

    def start(self) -> None:
        """
        Warn now, and each day.
        """
        self._watching.start(INTERVAL)

    def stop(self) -> None:
        """
        Warn no more.
        """
        if self._watching.running:
            self._watching.stop()

    def _tell(self) -> None:
        now = self._wall_clock()
        for warning in dict.fromkeys(expiry.warning(now) for _, expiry in self._expiries):
            if warning:
                self._log.warn("{warning}", warning=warning)

    def first_ends(self) -> dict[str, float]:
        """
        Return for each listener with TLS when its first certificate expires, in seconds since 1970.
        """
        ends: dict[str, float] = {}
        for name, expiry in self._expiries:
            end = expiry.ends_at.timestamp()
            ends[name] = min(end, ends.get(name, end))
        return ends


METRICS: tuple[Metric[ExpiryWatch], ...] = (
    gauge(
        "s3proxy_certificate_end_time_seconds",
        "When the first certificate of a listener with TLS expires, in seconds since 1970. The authorities of its "
        "clients count, too.",
        ExpiryWatch.first_ends,
        {"listener": "the endpoint of the listener"},
    ),
)
