"""
A worker and its supervisor's commands: what it does, once, and what it still reports.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from s3proxy.daemon.link import REPORT_TIME, SupervisorLink
from s3proxy.daemon.orders import RETIRE, STOP, Report


class Service:
    """
    What a worker serves with. It ends when a test says so.

    Attributes:
        asked: What it was told, in order.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.ended: Deferred[None] = Deferred()
        self.metrics = self

    def families(self) -> list[Any]:
        """
        Count what it was told.
        """
        return [["s3proxy_x", "Commands.", "counter", [["s3proxy_x_total", {}, len(self.asked)]]]]

    def retire(self) -> Deferred[None]:
        """
        End with the last request.
        """
        self.asked.append("retire")
        return self.ended

    def hurry(self) -> None:
        """
        Have a deadline after all.
        """
        self.asked.append("hurry")

    def stopService(self) -> Deferred[None]:
        """
        Drain.
        """
        self.asked.append("stop")
        return self.ended


class Reactor(Clock):
    """
    A clock that can stop.
    """

    has_stopped = False

    def stop(self) -> None:
        """
        End.
        """
        self.has_stopped = True


class Linked:
    """
    A worker's end of the link.
    """

    def __init__(self) -> None:
        self.service: Any = Service()
        self.reactor = Reactor()
        self.transport: Any = StringTransport()
        self.transport.disconnected = False
        self.link: Any = SupervisorLink(self.service, self.reactor)
        self.link.makeConnection(self.transport)

    @property
    def counted(self) -> list[float]:
        """
        What each report says.
        """
        return [Report.from_json(line).metrics[0][3][0][2] for line in self.transport.value().splitlines()]


def test_a_worker_reports_at_once_and_every_second() -> None:
    """
    The first report says that it is ready.
    """
    linked = Linked()
    assert len(linked.counted) == 1
    linked.reactor.pump([REPORT_TIME] * 3)

    assert len(linked.counted) == 4


@pytest.mark.parametrize(
    ("commands", "asked"),
    [
        ([RETIRE], ["retire"]),
        ([STOP], ["stop"]),
        ([RETIRE, RETIRE], ["retire"]),
        ([RETIRE, STOP], ["retire", "hurry"]),
        ([STOP, STOP], ["stop", "hurry"]),
        ([b"dance"], []),
    ],
)
def test_a_worker_ends_once(commands: list[bytes], asked: list[str]) -> None:
    """
    However often it is told to; a stop after that gives it a deadline.
    """
    linked = Linked()
    linked.link.dataReceived(b"".join(command + b"\n" for command in commands))

    assert linked.service.asked == asked


def test_the_last_report_of_a_worker_is_written_before_it_ends() -> None:
    """
    A supervisor that reads no more is waited for no longer than the time between two reports.
    """
    linked = Linked()
    linked.link.dataReceived(STOP + b"\n")
    linked.service.ended.callback(None)

    assert linked.counted == [0, 1]
    assert linked.transport.disconnecting
    assert not linked.reactor.has_stopped
    linked.reactor.advance(REPORT_TIME)
    assert linked.reactor.has_stopped
    assert linked.counted == [0, 1]


def test_a_worker_ends_as_soon_as_its_last_report_has_left() -> None:
    """
    It need not wait for a second.
    """
    linked = Linked()
    linked.link.dataReceived(STOP + b"\n")
    linked.service.ended.callback(None)
    linked.link.connectionLost()
    linked.reactor.advance(0)

    assert linked.reactor.has_stopped


def test_a_worker_without_a_supervisor_retires() -> None:
    """
    Nobody would start it anew, or tell it to end.
    """
    linked = Linked()
    linked.transport.disconnected = True
    linked.link.connectionLost()
    assert linked.service.asked == ["retire"]
    linked.service.ended.callback(None)
    linked.reactor.advance(0)

    assert linked.reactor.has_stopped
