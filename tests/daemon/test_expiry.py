"""
The end of certificates: lines in the log, once a day, and a gauge.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from trustme import CA
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import formatEvent, globalLogPublisher

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.expiry import INTERVAL, ExpiryWatch
from s3proxy.daemon.generation import Generation
from s3proxy.exchange.context import ProxyCounts
from tests.support.certificates import host, issue

SERVERS = CA()
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
BACKEND = {"name": "store", "url": "http://127.0.0.1:1", "signature": "none"}


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """
    Return the warnings in the log.
    """
    found: list[str] = []

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") is not None and event["log_level"].name == "warn":
            found.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


def generation(directory: Path, *endpoints: str) -> Generation:
    """
    Return the generation of a configuration.
    """
    (directory / "keys.toml").write_text("")
    content = {"backend": [BACKEND], "server": {"listen": list(endpoints)}, "log": {"access": "none"}}
    settings = make_settings(content, directory, {})
    return Generation(settings, MemoryReactorClock(), counts=ProxyCounts(), log_access=lambda record: None)


def test_a_line_a_day(tmp_path: Path, lines: list[str]) -> None:
    """
    From a month before the end; two listeners with the same file write one line.
    """
    path = issue(SERVERS, host("a.test"), ends_at=NOW + 32 * DAY).write(tmp_path / "a.pem")
    clock = Clock()
    watch = ExpiryWatch(clock, lambda: NOW + timedelta(seconds=clock.seconds()))
    watch.follow(generation(tmp_path, "ssl:1:privateKey=a.pem", "ssl:2:privateKey=a.pem", "tcp:3"))
    assert lines == []
    watch.start()
    clock.advance(INTERVAL)
    assert lines == []
    for _ in range(3):
        clock.advance(INTERVAL)
    watch.stop()
    clock.advance(INTERVAL)

    end = f"{path}: the certificate of a.test expires on {NOW + 32 * DAY:%Y-%m-%d}, in "
    assert lines == [f"{end}{days} days" for days in (30, 29, 28)]
    assert clock.getDelayedCalls() == []


def test_a_reload_warns_again(tmp_path: Path, lines: list[str]) -> None:
    """
    Of the certificates that are used from then on.
    """
    issue(SERVERS, host("a.test"), ends_at=NOW + 5 * DAY).write(tmp_path / "a.pem")
    watch = ExpiryWatch(Clock(), lambda: NOW)
    watch.follow(generation(tmp_path, "ssl:1:privateKey=a.pem"))
    watch.start()
    assert len(lines) == 1
    issue(SERVERS, host("a.test"), ends_at=NOW + 6 * DAY).write(tmp_path / "a.pem")
    watch.follow(generation(tmp_path, "ssl:1:privateKey=a.pem"))
    issue(SERVERS, host("a.test")).write(tmp_path / "a.pem")
    watch.follow(generation(tmp_path, "ssl:1:privateKey=a.pem"))
    watch.stop()

    assert [line.rpartition(", ")[2] for line in lines] == ["in 5 days", "in 6 days"]


def test_the_gauge_has_the_first_end_of_a_listener(tmp_path: Path) -> None:
    """
    In seconds since 1970, by the endpoint. A listener without TLS has none.
    """
    for name, days in (("a", 40), ("b", 20), ("c", 60)):
        issue(SERVERS, host(f"{name}.test"), ends_at=NOW + days * DAY).write(tmp_path / f"{name}.pem")
    watch = ExpiryWatch(Clock(), lambda: NOW)
    assert watch.first_ends() == {}

    watch.follow(generation(tmp_path, f"tls:{tmp_path}:1", "ssl:2:privateKey=c.pem", "tcp:3"))

    assert watch.first_ends() == {
        f"tls:{tmp_path}:1": (NOW + 20 * DAY).timestamp(),
        "ssl:2:privateKey=c.pem": (NOW + 60 * DAY).timestamp(),
    }
