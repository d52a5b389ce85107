"""
The worker's end of the protocol in `s3proxy.daemon.orders`: it follows commands, and reports its metrics.

The strategy: each thing ends only once. A worker that must retire waits for its last request. A worker that must stop
has the time of a drain. A worker whose supervisor is gone retires by itself, because no other process would replace it
or tell it to end. The last report is written before the process ends, so that the metrics include all of its requests.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall
from twisted.protocols.basic import LineOnlyReceiver

from s3proxy.daemon.orders import RETIRE, STOP, Report

if TYPE_CHECKING:
    # A worker imports this module before it can log, and the larger ones after that.
    from s3proxy.daemon.service import ProxyService

REPORT_TIME = 1.0
"""
Seconds between two reports: if a process is killed, what it has counted since its last report is lost.
"""


class SupervisorLink(LineOnlyReceiver):
    """
    The connection of a worker to its supervisor.

    Args:
        service: The service of the worker.
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
            # The last report was written.
            if self._leaving.active():
                self._leaving.reset(0)
        else:
            # Without a supervisor, no other process would replace this worker or tell it to end.
            self._end(self._service.retire)

    def stop(self) -> None:
        """
        End soon, even if the worker is retiring.
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
        # When the reactor stops, it drops what is not written. A supervisor that does not read is not waited for.
        link: Any = self.transport
        self._leaving = self._reactor.callLater(0 if link.disconnected else REPORT_TIME, self._reactor.stop)
        link.loseConnection()
