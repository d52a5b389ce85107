"""
The end of a daemon: running requests have a deadline, whatever started the drain.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon import generation as generation_module
from s3proxy.daemon.expiry import ExpiryWatch
from s3proxy.daemon.service import ProxyService
from s3proxy.exchange.context import ProxyCounts


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
    service.expiry_watch = ExpiryWatch(clock, generation_module.utc_now)

    service._end(seconds, is_succeeded=is_succeeded)
    clock.advance(4.9)
    assert generation.aborted_count == 0
    clock.advance(0.2)

    assert generation.aborted_count == aborts


@pytest.mark.parametrize(("former", "now", "is_logged"), [("none", "file", True), ("none", "none", False)])
def test_requests_that_still_run_are_in_the_new_log(tmp_path: Path, former: str, now: str, *, is_logged: bool) -> None:
    """
    A reload may begin an access log: requests of the former configuration are in it when they end.
    """
    (tmp_path / "keys.toml").write_text("")
    made = []
    for word in (former, now):
        content = {
            "server": {"listen": ["tcp:0"]},
            "backend": [{"name": "only", "url": "http://127.0.0.1:1", "signature": "none"}],
            "log": {"access": "none" if word == "none" else str(tmp_path / "access.log")},
        }
        settings = make_settings(content, tmp_path, {})
        made.append(
            generation_module.Generation(
                settings, MemoryReactorClock(), counts=ProxyCounts(), log_access=lambda record: None
            )
        )
    proxy = made[0].make_proxy(made[0].settings.listeners[0])
    assert proxy.context.log_access is None

    made[0].retire(made[1])

    assert (proxy.context.log_access is not None) is is_logged
    made[1].access_log.close()
