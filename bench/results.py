"""
The results of measurements, and their tables. Results are kept as JSON, so that the page can be written later.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import timeit
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from bench.loads import LOADS, Load
from bench.measure import Run
from bench.parties import CACHE
from tests.integration.gaul import CACHE as GAUL_CACHE

RESULTS = CACHE / "results"


def _call_nanoseconds() -> float:
    """
    Return the nanoseconds of a call. Builds of one version of Python differ by more than many changes to s3proxy do.
    """
    count = 1_000_000
    return min(timeit.repeat("f()", "def f(): pass", number=count)) / count * 1e9


def describe_machine() -> dict[str, str]:
    """
    Return what a reader must know about the machine and the versions, by title.
    """
    model = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    found = {
        "processor": model[1] if model else platform.machine(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "python": f"{platform.python_version()}, which calls an empty function in {_call_nanoseconds():.0f} ns",
    }
    for name in ("Twisted", "cryptography", "pyOpenSSL", "awscrt"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def describe_party(name: str) -> str:
    """
    Return the version of a party; ``?`` if it does not report one.
    """
    places = {**os.environ, "PATH": f"{CACHE / 'bin'}:{os.environ.get('PATH', '')}:/usr/sbin"}
    commands = {
        "nginx": ["nginx", "-v"],
        "haproxy": ["haproxy", "-v"],
        "versitygw": ["go", "version", "-m", str(CACHE / "bin" / "versitygw")],
        "rclone": ["go", "version", "-m", str(CACHE / "bin" / "rclone")],
    }
    if name == "gaul":
        return ", ".join(path.stem.rpartition("-")[2] for path in GAUL_CACHE.glob("s3proxy-*.jar"))
    if name not in commands:
        try:
            return version("txs3proxy")
        except PackageNotFoundError:
            return "this checkout"
    done = subprocess.run(commands[name], capture_output=True, text=True, env=places, check=False)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("/")]
    found = re.search(r"\bv?(\d+\.\d+[\w.+-]*)", "\n".join(line for line in lines if "path" not in line))
    return found[1] if found is not None else "?"


@dataclass
class Results:
    """
    The results of one command.

    Attributes:
        kind: The name of the subcommand.
        command: The command line.
        cells: By load and party, the reason why there are no results, or why they must not be compared.
        sha256: CPU seconds of SHA-256 for a GiB, by load, one for each round.
    """

    kind: str
    command: str
    machine: dict[str, str] = field(default_factory=dict)
    parties: dict[str, str] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    cells: dict[str, dict[str, str]] = field(default_factory=dict)
    sha256: dict[str, list[float]] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    def of(self, load: str, party: str) -> list[Run]:
        """
        Return the runs of a load on a party that had a successful request, in the order of their rounds.
        """
        return [run for run in self.runs if run.load == load and run.party == party and run.requests]

    def ratios(self, load: Load, party: str, base: str = "nginx") -> list[float]:
        """
        Return the cost of a party as a multiple of another party's, round by round.
        """
        bases = {run.number: run for run in self.of(load.name, base)}
        return [
            run.cost(load.counts_bytes) / bases[run.number].cost(load.counts_bytes)
            for run in self.of(load.name, party)
            if run.number in bases
        ]

    @property
    def loads(self) -> list[Load]:
        """
        The loads that were run, in the order of `LOADS`.
        """
        names = {run.load for run in self.runs}
        return [load for load in LOADS.values() if load.name in names]

    def write(self, path: Path) -> None:
        """
        Write the results as JSON.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {**self.__dict__, "runs": [run.written() for run in self.runs]}
        path.write_text(json.dumps(content, indent=1))


def read_results(path: Path) -> Results:
    """
    Read the results that `Results.write` has written.
    """
    content = json.loads(path.read_text())
    return Results(**{**content, "runs": [Run(**run) for run in content["runs"]]})


def command_line() -> str:
    """
    Return the command line of this process.
    """
    return " ".join(["python -m bench", *sys.argv[1:]])


def spread(values: list[float], digits: int = 2) -> str:
    """
    Return the median, with the minimum and the maximum, as text.
    """
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}..{max(values):.{digits}f})"


HEADINGS = (
    "load",
    "party",
    "MB/s",
    "requests/s",
    "p50 ms",
    "p99 ms",
    "CPU s/GiB",
    "CPU µs/request",
    "MB per CPU s",
    "requests per CPU s",
    "peak MiB",
    "times nginx",
    "CPU s of generator and sink",
)


def rows_of(results: Results, load: Load, parties: list[str]) -> list[list[str]]:
    """
    Return the rows of one load, one for each party, with the medians of its rounds.
    """
    rows = []
    for party in parties:
        runs = results.of(load.name, party)
        note = results.cells.get(load.name, {}).get(party, "")
        if not runs:
            if note:
                rows.append([load.title, party, note, *[""] * (len(HEADINGS) - 3)])
            continue

        def middle(of: Callable[[Run], float], runs: list[Run] = runs) -> float:
            return median([of(run) for run in runs])

        by_bytes = load.counts_bytes
        failed = sum(sum(run.failures.values()) for run in runs)
        name = party + (f" ({note})" if note else "") + (f" ({failed} failed)" if failed else "")
        rows.append(
            [
                load.title,
                name,
                f"{middle(lambda run: run.bytes / run.seconds / 1e6):,.0f}",
                f"{middle(lambda run: run.requests / run.seconds):,.1f}"
                if by_bytes
                else f"{middle(lambda run: run.requests / run.seconds):,.0f}",
                f"{middle(lambda run: run.p50 * 1e3):.2f}",
                f"{middle(lambda run: run.p99 * 1e3):.2f}",
                f"{middle(lambda run: run.cost(True)):.3f}" if by_bytes else "",
                f"{middle(lambda run: run.cost(False) * 1e6):,.0f}",
                f"{middle(lambda run: run.rate(True)):,.0f}" if by_bytes else "",
                "" if by_bytes else f"{middle(lambda run: run.rate(False)):,.0f}",
                f"{max(run.memory_peak for run in runs) / (1 << 20):,.0f}",
                spread(results.ratios(load, party)) if party != "nginx" else "1",
                f"{middle(lambda run: run.generator_cpu):.2f} + {middle(lambda run: run.sink_cpu):.2f}",
            ]
        )
    return rows


def text_table(rows: list[list[str]]) -> str:
    """
    Return a table for a terminal; the first row is its head.
    """
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def markdown_table(rows: list[list[str]]) -> str:
    """
    Return a table for a page; the first row is its head.
    """
    head, *rest = rows
    lines = ["| " + " | ".join(head) + " |", "|---|---|" + "---:|" * (len(head) - 2)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rest]
    return "\n".join(lines) + "\n"
