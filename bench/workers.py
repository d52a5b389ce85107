"""
Measure the cost of a request with several worker processes, and how connections are spread over them (S5).
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.comparison import prepared
from bench.goals import Goal
from bench.loads import LOADS
from bench.measure import Generator, process_tree
from bench.parties import PARTIES, running_party
from bench.results import RESULTS, Results, command_line, describe_machine, spread, text_table
from tests.support.processes import established_count

COUNTS = (1, 2, 4)
LOAD_NAMES = ("get-1k-64", "put-1k-64")
SPREAD_CONNECTIONS = 400
BOUND, SPREAD_BOUND = 1.1, 0.2
"""
The bounds of S5: the cost as a multiple of one worker's, and how far a worker's connections may be from the mean.
"""


def connections_of(pid: int, port: int) -> dict[int, int]:
    """
    Return the number of client connections of each process of a tree, without those that have none.
    """
    counts = {one: established_count(one, port) for one in process_tree(pid)}
    return {one: count for one, count in counts.items() if count}


def _look(pid: int, port: int) -> dict[str, Any]:
    return {"connections": connections_of(pid, port)}


def run(options: argparse.Namespace) -> int:
    """
    Measure, print the table and write the results.
    """
    results = Results("workers", command_line(), describe_machine())
    with prepared() as bench, ExitStack() as stack:
        places = {}
        for count in COUNTS:
            party = running_party(PARTIES["s3proxy"], bench.directory, bench.sink, workers=count)
            places[count] = stack.enter_context(party)
        results.parties = {f"{count} workers": PARTIES["s3proxy"].about for count in COUNTS}
        for name in LOAD_NAMES:
            for number in range(options.rounds):
                turn = number % len(COUNTS)
                for count in COUNTS[turn:] + COUNTS[:turn]:
                    pid, port = places[count]
                    done = bench.generator.run(
                        LOADS[name],
                        f"{count} workers",
                        number,
                        pid,
                        port,
                        requests=options.requests,
                        seconds=60,
                        look=partial(_look, pid, port),
                    )
                    results.runs.append(done)
                    print(f"  {name}: {count} workers {done.cost(False) * 1e6:.0f} µs", flush=True)
        results.more["spread"] = {}
        for count in COUNTS[1:]:
            results.more["spread"][str(count)] = _spread_of(bench.generator, *places[count])
    results.write(options.output)
    print("\n" + text_table(table(results)))
    print(f"\nresults are in {options.output}")
    return 0


def _spread_of(generator: Generator, pid: int, port: int) -> list[int]:
    """
    Make many connections at once. Return the number of connections of each worker that has any, sorted.
    """
    load = LOADS["get-1k-64"]
    wide = replace(load, connections=SPREAD_CONNECTIONS)
    done = generator.run(
        wide,
        "spread",
        -1,
        pid,
        port,
        requests=SPREAD_CONNECTIONS,
        seconds=0,
        look=partial(_look, pid, port),
    )
    return sorted(done.more["connections"].values())


HEADINGS = ["S5", "workers", "CPU µs/request", "times one worker", "bound", "verdict"]


def table(results: Results) -> list[list[str]]:
    """
    Return the table; the first row is its head.
    """
    rows = [HEADINGS]
    for name in LOAD_NAMES:
        for count in COUNTS:
            party = f"{count} workers"
            costs = [run.cost(False) * 1e6 for run in results.of(name, party)]
            if not costs:
                continue
            ratios = results.ratios(LOADS[name], party, f"{COUNTS[0]} workers")
            verdict = "" if count == 1 else "met" if median(ratios) <= BOUND else "**missed**"
            bound = "" if count == 1 else f"≤ {BOUND}"
            rows.append([LOADS[name].title, str(count), spread(costs, 0), spread(ratios), bound, verdict])
    for count, counts in results.more.get("spread", {}).items():
        worst = _farthest(counts, int(count))
        rows.append(
            [
                f"{SPREAD_CONNECTIONS} connections, spread: {', '.join(map(str, counts))}",
                count,
                "",
                f"within {worst:.0%} of the mean",
                f"≤ {SPREAD_BOUND:.0%}",
                "met" if worst <= SPREAD_BOUND else "**missed**",
            ]
        )
    return rows


def goals_of(results: Results) -> list[Goal]:
    """
    Return the goals that these results decide.
    """
    found = []
    for name in LOAD_NAMES:
        for count in COUNTS[1:]:
            ratios = results.ratios(LOADS[name], f"{count} workers", f"{COUNTS[0]} workers")
            if ratios:
                text = f"{LOADS[name].title}: CPU per request with {count} workers, times one worker's"
                value = median(ratios)
                found.append(Goal("S5", text, f"≤ {BOUND:.2f}", f"{value:.2f}", BOUND / value, load=name))
    for count, counts in results.more.get("spread", {}).items():
        worst = _farthest(counts, int(count))
        text = f"{SPREAD_CONNECTIONS} connections over {count} workers: farthest from the mean"
        found.append(Goal("S5", text, f"≤ {SPREAD_BOUND:.0%}", f"{worst:.0%}", SPREAD_BOUND / max(worst, 0.01)))
    return found


def _farthest(counts: list[int], workers: int) -> float:
    """
    Return the largest distance of a worker's connections from the mean, as a share of the mean.

    Args:
        counts: The connections of each worker that has any.
        workers: The number of all workers.
    """
    mean = sum(counts) / workers
    return max(abs(one - mean) for one in [*counts, *[0] * (workers - len(counts))]) / mean


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``workers``.
    """
    parser.add_argument("--rounds", type=int, default=5, help="number of rounds; each runs all counts in turn")
    parser.add_argument("--requests", type=int, default=8000, help="requests of each run")
    parser.add_argument("--output", type=Path, default=RESULTS / "workers.json", help="file for the results")
    parser.set_defaults(function=run)
