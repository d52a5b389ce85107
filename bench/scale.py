"""
Measure if the cost of a byte and the memory of a connection stay the same with more clients and larger objects.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.comparison import prepared
from bench.loads import GIB, KIB, LOADS, MIB, Load
from bench.measure import Run
from bench.parties import PARTIES, running_party
from bench.results import RESULTS, Results, command_line, describe_machine, spread, text_table

KINDS = ("put-signed-64k", "put-unsigned", "get")
CONNECTIONS = (1, 16, 256, 1000)
OBJECT_SIZE = 4 * MIB
"""
Bytes of an object in a series in which the number of connections varies.
"""

SIZES = (MIB, 16 * MIB, 256 * MIB, GIB, 4 * GIB, 16 * GIB)
FLAT = 0.15


def _size(value: int) -> str:
    return f"{value // GIB} GiB" if value >= GIB else f"{value // MIB} MiB"


def series() -> Iterator[tuple[str, str, Load]]:
    """
    Yield each load, after the title of its series and a label for the value that varies in it.
    """
    for kind in KINDS:
        load = LOADS[kind]
        for count in CONNECTIONS:
            name = f"{kind}-connections-{count}"
            label = f"{count:,} connection{'s' if count > 1 else ''}"
            yield (
                f"{load.title}, objects of 4 MiB",
                label,
                replace(load, name=name, size=OBJECT_SIZE, connections=count),
            )
    for kind in KINDS:
        load = LOADS[kind]
        for size in SIZES:
            yield f"{load.title}, 1 connection", _size(size), replace(load, name=f"{kind}-size-{size}", size=size)


def run(options: argparse.Namespace) -> int:
    """
    Measure, print the table and write the results.
    """
    names = options.peers.split(",")
    results = Results("scale", command_line(), describe_machine(), {name: PARTIES[name].about for name in names})
    for title, label, load in series():
        if options.loads not in load.name or load.size > options.largest * GIB:
            continue
        results.more[load.name] = [title, label, load.connections]
        # Each row has its own processes, so that memory left by one load does not hide that of the next.
        for name in names:
            _measure(results, load, name, options)
        results.write(options.output)
    print("\n" + text_table(table(results)))
    print(f"\nresults are in {options.output}")
    return 0


def _measure(results: Results, load: Load, name: str, options: argparse.Namespace) -> None:
    requests = max(load.connections, round(options.mebibytes * MIB / load.size))
    with (
        prepared() as bench,
        running_party(PARTIES[name], bench.directory, bench.sink, connections=2048) as (pid, port),
    ):
        for number in range(options.rounds if load.size <= GIB else 1):
            done = bench.generator.run(load, name, number, pid, port, requests=requests, seconds=0)
            results.runs.append(done)
            failed = f", {done.failures}" if done.failures else ""
            cost = f"{done.cost(True):.3f} s/GiB" if done.requests else "nothing"
            print(f"  {load.name}: {name} {cost}{failed}", flush=True)


HEADINGS = [
    "series",
    "party",
    "with",
    "CPU s/GiB",
    "of the series' median",
    "flat within 15 %",
    "peak MiB",
    "KiB a connection",
]


def table(results: Results) -> list[list[str]]:
    """
    Return the table; the first row is its head.
    """
    rows = [HEADINGS]
    titles = dict.fromkeys(title for title, _, _ in results.more.values())
    for title in titles:
        for party in results.parties:
            cells = {name: results.of(name, party) for name, (of, _, _) in results.more.items() if of == title}
            cells = {name: runs for name, runs in cells.items() if runs}
            if not cells:
                continue
            costs = {name: median(run.cost(True) for run in runs) for name, runs in cells.items()}
            middle = median(costs.values())
            for name, runs in cells.items():
                share = costs[name] / middle
                rows.append(
                    [
                        title,
                        party,
                        results.more[name][1],
                        spread([run.cost(True) for run in runs], 3),
                        f"{share:.2f}",
                        "yes" if abs(share - 1) <= FLAT else "**no**",
                        f"{max(run.memory_peak for run in runs) / MIB:,.0f}",
                        f"{_memory(runs, results.more[name][2]):,.0f}",
                    ]
                )
    return rows


def _memory(runs: list[Run], connections: int) -> float:
    """
    Return the KiB of memory that each connection added to the idle party.
    """
    return (max(run.memory_peak for run in runs) - runs[0].memory_before) / KIB / connections


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``scale``.
    """
    parser.add_argument("--loads", default="", help="run only the loads whose name contains this text")
    parser.add_argument("--peers", default="nginx,s3proxy", help="parties, separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each row up to 1 GiB; larger objects run once")
    parser.add_argument("--mebibytes", type=int, default=1024, help="MiB of a run; at least one object per connection")
    parser.add_argument("--largest", type=int, default=16, help="size of the largest object in GiB")
    parser.add_argument("--output", type=Path, default=RESULTS / "scale.json", help="file for the results")
    parser.set_defaults(function=run)
