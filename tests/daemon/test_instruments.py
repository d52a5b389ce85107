"""
Each declared metric is exposed and documented, and a running daemon exposes no other.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

from twisted.internet.testing import MemoryReactorClock

from s3proxy.configuration.loading import make_settings, read_configuration
from s3proxy.daemon import supervisor
from s3proxy.daemon.instruments import INSTRUMENTS
from s3proxy.daemon.service import ProxyService
from s3proxy.daemon.supervisor import Supervisor
from s3proxy.telemetry.declarations import Metric
from s3proxy.telemetry.metrics import Metrics
from tests.support.processes import write_configuration, write_keys
from tests.support.root import ROOT

OF_PROCESSES = [metric for instrument in INSTRUMENTS for metric in instrument.metrics]


def declared() -> list[Metric[Any]]:
    """
    Every declaration of the package.
    """
    sources = [
        path
        for path in sorted((ROOT / "s3proxy").rglob("*.py"))
        if re.search("^METRICS: ", path.read_text("utf-8"), re.MULTILINE)
    ]
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sources]
    return [metric for name in names for metric in import_module(name).METRICS]


def shown(metrics: Metrics) -> dict[str, tuple[str, str]]:
    """
    The kind and the help text of each metric, by name.
    """
    return {name: (kind, about) for name, about, kind, _ in metrics.families()}


def described(declarations: list[Metric[Any]]) -> dict[str, tuple[str, str]]:
    """
    The same of declarations.
    """
    return {metric.name: (metric.kind.value, metric.about) for metric in declarations}


def test_each_declaration_is_exposed(tmp_path: Path) -> None:
    """
    By a process that serves, or by the supervisor. No name is used twice, and none is exposed without a declaration.
    """
    write_keys(tmp_path / "keys.toml")
    backend = {"name": "store", "url": "http://h", "signature": "none"}
    service = ProxyService(make_settings({"backend": [backend]}, tmp_path), MemoryReactorClock())
    configuration = write_configuration(tmp_path, "http://127.0.0.1:1", server="workers = 2")
    parent = Supervisor(lambda: read_configuration(configuration), MemoryReactorClock())
    of_parent = Metrics()
    of_parent.add(supervisor.METRICS, lambda: [((), parent)])

    names = [metric.name for metric in declared()]
    assert len(names) == len(set(names)) > 30
    assert shown(service.metrics) == described(OF_PROCESSES)
    assert shown(service.metrics) | shown(of_parent) == described(declared())


def test_each_declaration_is_documented() -> None:
    """
    The page has a row for each, with its kind, its labels, its unit and its meaning; and no other row.
    """
    page = (ROOT / "docs/reference/metrics.md").read_text("utf-8")
    rows = {
        cells[0].strip("`"): cells[1:]
        for row in page.splitlines()
        if row.startswith("| `")
        if (cells := row.strip("| ").split(" | "))
    }

    assert rows.keys() == {metric.queried_name for metric in declared()}
    for metric in declared():
        kind, labels, unit, about = rows[metric.queried_name]
        assert (kind, unit, about) == (metric.kind.value, metric.unit or "-", metric.about)
        assert re.findall(r"`(\w+)`: ", labels) == list(metric.labels)
        assert metric.about.endswith(".")
