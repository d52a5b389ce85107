"""
Workers that die are restarted, but not in a tight loop.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock

from s3proxy.daemon.supervisor import MAX_PAUSE, Supervisor
from s3proxy.telemetry.metrics import MetricsSum


class Counts:
    """
    Where workers report how many connections they have.
    """

    def forget(self, number: int) -> None:
        """
        Do nothing.
        """


class Worker:
    """
    A process that has ended.
    """

    counts, number, pid = Counts(), 0, 1
    is_leaving, is_ready = False, True

    def __init__(self, began_at: float) -> None:
        self.began_at = began_at


def test_a_worker_that_dies_again_and_again_is_started_ever_later() -> None:
    """
    The machine is not kept busy with restarts. A worker that has lived for a while is restarted at once.
    """
    clock = Clock()
    supervisor: Any = Supervisor.__new__(Supervisor)
    supervisor.reactor, supervisor.metrics, supervisor.workers = clock, MetricsSum(), []
    supervisor._is_stopping, supervisor.death_count, supervisor._deaths_in_a_row = False, 0, 0
    pauses = []
    for lived in [0.0] * 12 + [MAX_PAUSE + 1]:
        worker = Worker(clock.seconds())
        clock.advance(lived)
        died_at = clock.seconds()
        supervisor.workers.append(worker)
        supervisor.worker_ended(worker, "killed")
        (starting,) = clock.getDelayedCalls()
        pauses.append(round(starting.getTime() - died_at, 3))
        starting.cancel()

    assert pauses[:3] == [0.2, 0.4, 0.8]
    assert pauses[:12] == sorted(pauses[:12])
    assert max(pauses) == MAX_PAUSE
    assert pauses[-1] == 0.1
