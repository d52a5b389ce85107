"""
The end of a daemon: running requests have a deadline, whatever started the drain.
"""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from s3proxy.daemon.service import ProxyService


class Generation:
    """
    One request that never ends, and its generation.
    """

    running_count = 1
    backends: dict[str, Any] = {}

    def __init__(self) -> None:
        self.proxies = [self]
        self.aborted_count = 0

    def drain(self) -> Deferred[None]:
        """
        Never end.
        """
        return Deferred()

    def abort_all(self) -> None:
        """
        Count the call.
        """
        self.aborted_count += 1


class Listeners:
    """
    Nobody is connected.
    """

    def stop_accepting(self) -> list[Deferred[Any]]:
        """
        Wait for no port.
        """
        return []

    def drain(self, *, serves: bool) -> list[Deferred[Any]]:
        """
        Wait for no connection.
        """
        return []

    def abort(self) -> None:
        """
        Reset nothing.
        """


@pytest.mark.parametrize(("seconds", "is_succeeded", "aborts"), [(5.0, False, 1), (5.0, True, 1), (0.0, True, 0)])
def test_a_drain_has_a_deadline(seconds: float, aborts: int, *, is_succeeded: bool) -> None:
    """
    Requests that still run then are reset; only a handover may have no deadline.
    """
    clock, generation = Clock(), Generation()
    service: Any = ProxyService.__new__(ProxyService)
    service._reactor, service.generation, service.former_generations = clock, generation, []
    service.listeners, service._deadlines = Listeners(), []
    service._drained, service._claim = lambda: None, None

    service._end(seconds, is_succeeded=is_succeeded)
    clock.advance(4.9)
    assert generation.aborted_count == 0
    clock.advance(0.2)

    assert generation.aborted_count == aborts
