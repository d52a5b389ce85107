"""
The worker's end of what `s3proxy.daemon.orders` says: it follows commands, and reports what it has counted.

The strategy: each thing ends only once. A worker that was told to retire waits for its last request; told to stop, it
has the time of a drain; and it retires by itself if the supervisor is gone, since nobody would start it anew or tell it
to end. The last report is written before the process ends, so that no request of it is lost from the metrics.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineOnlyReceiver

from s3proxy.daemon.orders import RETIRE, STOP, Report

if TYPE_CHECKING:
    # A worker imports this module before it logs, and the larger ones after that.
    from s3proxy.daemon.service import ProxyService

REPORT_TIME = 1.0
"""
Seconds between two reports: what a process which is killed has counted since its last one is lost.
"""


class SupervisorLink(LineOnlyReceiver):
    """
    The connection of a worker to its supervisor.

    Args:
        service: What the worker serves with.
        reactor: Stopped once everything has ended.
    """

    delimiter = b"\n"

    def __init__(self, service: ProxyService, reactor: Any) -> None:
        self._service = service
        self._reactor = reactor
        self._reporting = LoopingCall(self._report)
        self._reporting.clock = reactor
        self._is_ending = False
        self._leaving: Any = None

    def connectionMade(self) -> None:
        self._reporting.start(REPORT_TIME)

    def _report(self) -> None:
        self.sendLine(Report(metrics=self._service.metrics.families()).to_json())

    def lineReceived(self, line: bytes) -> None:
        if line == STOP:
            self.stop()
        elif line == RETIRE:
            self._end(self._service.retire)

    def connectionLost(self, reason: object = None) -> None:
        if self._leaving is not None:
            # What was reported last has left.
            if self._leaving.active():
                self._leaving.reset(0)
        else:
            # Without a supervisor nobody would start it anew, or tell it to end.
            self._end(self._service.retire)

    def stop(self) -> None:
        """
        End soon, even after it was told to retire.
        """
        if self._is_ending:
            self._service.hurry()
        self._end(self._service.stopService)

    def _end(self, end: Callable[[], Deferred[None]]) -> None:
        if not self._is_ending:
            self._is_ending = True
            end().addBoth(self._ended)

    def _ended(self, result: object) -> None:
        self._report()
        self._reporting.stop()
        # The reactor drops what is not written when it stops. A supervisor that reads no more is not waited for.
        link: Any = self.transport
        self._leaving = self._reactor.callLater(0 if link.disconnected else REPORT_TIME, self._reactor.stop)
        link.loseConnection()
