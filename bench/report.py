"""
Write the page with the results, and its plot.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from typing import Any

from bench import micro, scale, workers
from bench.flame import FLAMES
from bench.goals import HEADINGS as GOAL_HEADINGS
from bench.goals import RELAYS, Goal, goals_of, next_lever
from bench.loads import LOADS, Load
from bench.results import HEADINGS, RESULTS, Results, markdown_table, read_results, rows_of, spread

REFERENCE = Path(__file__).parent.parent / "docs" / "reference"

NOTE = "<!-- Written by `python -m bench report`. -->\n"

METHOD = """
All parties are in front of the same backend, which discards bodies and generates objects. All get the same requests,
which are signed in advance. Each round runs all loads, and each load runs all parties in turn. The page compares the
CPU time, user and system, of the whole process tree of a party, and its ratio to that of nginx in the same round.
Machines are noisy, so elapsed time depends more on the machine than on the party. A ratio is the median of the rounds,
with the minimum and the maximum. MB are millions of bytes. MB/s, requests/s and p50 are of one run on this machine. The
generator and the backend use the same cores, and the last column says how much.

Each party gets one request of a load before it is measured. If it refuses the load, its cell says how. Then it gets one
request with a wrong signature, or with data that differs from the signed data. A party that accepts it is marked "not
verified". A party that responds without a request to the backend is marked "from its cache". Neither is compared. nginx
and HAProxy verify nothing.
"""


def _machine(results: Results) -> str:
    lines = [f"- {name}: {value}\n" for name, value in results.machine.items()]
    lines += [f"- {name}: {about}\n" for name, about in results.parties.items()]
    return "".join(lines)


def _ratio_rows(results: Results) -> list[list[str]]:
    names = [name for name in results.parties if name != "nginx"]
    rows = [["load", "unit", *names]]
    for load in results.loads:
        cells = []
        for name in names:
            note = results.cells.get(load.name, {}).get(name, "")
            ratios = results.ratios(load, name)
            cells.append(f"{median(ratios):.2f}{f' ({note})' if note else ''}" if ratios else note or "-")
        rows.append([load.title, "GiB" if load.counts_bytes else "request", *cells])
    return rows


def _missed(goals: list[Goal]) -> str:
    """
    Return a section with a row for each load that misses a goal: the lowest ratio, the flame graph and the next step.
    """
    least: dict[str, float] = {}
    for goal in goals:
        if goal.load and not goal.is_met:
            least[goal.load] = min(goal.ratio, least.get(goal.load, goal.ratio))
    rows = [["load", "lowest ratio", "where the time goes", "next step"]]
    for name, ratio in least.items():
        graph = f"[flame graph](flames/{name}.svg)" if (FLAMES / f"{name}.svg").exists() else "-"
        rows.append([LOADS[name].title, f"{ratio:.2f}", graph, next_lever(LOADS[name])])
    return f"\n### Missed goals\n\n`python -m bench flame`\n\n{markdown_table(rows)}" if least else ""


def comparison_section(results: Results, more: list[Goal]) -> str:
    """
    Return the section that compares all parties under the same loads.

    Args:
        more: Goals of another measurement.
    """
    parts = [f"\n## All parties\n\n`{results.command}`\n\n{_machine(results)}"]
    goals = sorted([*goals_of(results), *more], key=lambda goal: goal.name)
    if goals:
        parts.append(
            "\n### Goals\n\nA bound is scaled by the cost of nginx in the same rounds. The last column has the ratio "
            "to the bound as it was written for another machine. If a load is hashed, the cost of nginx and SHA-256 "
            "together sets an upper limit, which is not scaled. `python -m bench workers` measures S5.\n\n"
        )
        parts.append(markdown_table([GOAL_HEADINGS, *[goal.row for goal in goals]]))
        met = sum(goal.is_met for goal in goals)
        parts.append(f"\n{met} of {len(goals)} goals are met.\n")
        parts.append(_missed(goals))
    parts.append("\n### CPU time, as a multiple of nginx's\n\n![MB and requests per CPU second](speed.svg)\n\n")
    parts.append(markdown_table(_ratio_rows(results)))
    parts.append("\n### All results\n\n")
    rows = [list(HEADINGS)]
    for load in results.loads:
        rows += rows_of(results, load, list(results.parties))
    parts.append(markdown_table(rows))
    hashing = [value for values in results.sha256.values() for value in values]
    parts.append(f"\nSHA-256 alone, in the rounds of the loads that need it: {spread(hashing, 3)} CPU s/GiB.\n")
    return "".join(parts)


def scale_section(results: Results) -> str:
    """
    Return the section about more clients and larger objects.
    """
    return (
        f"\n## More connections, larger objects\n\n`{results.command}`\n\n"
        "The memory of a connection is the peak minus the memory of the idle process, divided by the number of "
        "connections. With one connection it includes the memory of the whole process.\n\n"
        + markdown_table(scale.table(results))
    )


def workers_section(results: Results) -> str:
    """
    Return the section about several processes.
    """
    about = f"\n## Several processes\n\n`{results.command}`\n\n"
    rows = workers.table(results)
    return about + markdown_table(rows)


def micro_section(content: dict[str, Any]) -> str:
    """
    Return the section about each room alone.
    """
    rows = [micro.cells(*row) for row in content["rows"]]
    return (
        f"\n## The rooms without I/O, alone\n\n`{content['command']}`: CPU time in one process, bodies in blocks of "
        "256 KiB.\n\n" + markdown_table([micro.HEADINGS, *rows])
    )


def plot(results: Results, path: Path) -> None:
    """
    Draw the MB and the requests per CPU second of all parties.
    """
    import matplotlib as mpl

    mpl.use("svg")
    # The same results make the same file.
    mpl.rcParams["svg.hashsalt"] = "s3proxy"
    mpl.rcParams["svg.fonttype"] = "none"
    from matplotlib import pyplot
    from matplotlib.patches import Patch

    loads = [load for load in results.loads if not load.is_tls]
    halves = [[load for load in loads if load.counts_bytes], [load for load in loads if not load.counts_bytes]]
    halves = [half for half in halves if half]
    names = list(results.parties)
    figure, axes = pyplot.subplots(
        1, len(halves), figsize=(7 * len(halves), 0.9 + 0.75 * max(map(len, halves))), squeeze=False
    )
    for axis, half in zip(axes[0], halves, strict=True):
        _draw(axis, results, half, names)
    handles = [
        Patch(color=f"C{number}", label=f"{name} (relays only)" if name in RELAYS else name)
        for number, name in enumerate(names)
    ]
    figure.legend(handles=handles, loc="upper center", ncols=len(names), fontsize=8)
    figure.tight_layout(rect=(0, 0, 1, 0.96))
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    path.write_text("\n".join(line.rstrip() for line in path.read_text().splitlines()) + "\n")


def _draw(axis: Any, results: Results, loads: list[Load], names: list[str]) -> None:
    from matplotlib.ticker import LogLocator

    height = 0.8 / len(names)
    for number, name in enumerate(names):
        places, values, hatched = [], [], []
        for row, load in enumerate(loads):
            runs = results.of(load.name, name)
            if runs:
                places.append(row + number * height - 0.4 + height / 2)
                values.append(median(run.rate(load.counts_bytes) for run in runs))
                hatched.append(bool(results.cells.get(load.name, {}).get(name)))
        bars = axis.barh(places, values, height, color=f"C{number}")
        for bar, is_hatched in zip(bars, hatched, strict=True):
            if is_hatched:
                bar.set_hatch("///")
                bar.set_alpha(0.4)
    axis.set_yticks(range(len(loads)), [load.title for load in loads], fontsize=8)
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter("")
    unit = "MB" if loads[0].counts_bytes else "requests"
    axis.set_xlabel(f"{unit} per CPU second (logarithmic; hatched: not verified, or from a cache)", fontsize=8)
    axis.grid(axis="x", which="both", alpha=0.3)


def run(options: argparse.Namespace) -> int:
    """
    Write the page and its plot.
    """
    parts = ["# Speed\n\n", NOTE, METHOD]
    found = options.results
    if (found / "run.json").exists():
        results = read_results(found / "run.json")
        path = found / "workers.json"
        more = workers.goals_of(read_results(path)) if path.exists() else []
        parts.append(comparison_section(results, more))
        options.directory.mkdir(parents=True, exist_ok=True)
        plot(results, options.directory / "speed.svg")
    if (found / "scale.json").exists():
        parts.append(scale_section(read_results(found / "scale.json")))
    if (found / "workers.json").exists():
        parts.append(workers_section(read_results(found / "workers.json")))
    if (found / "micro.json").exists():
        parts.append(micro_section(json.loads((found / "micro.json").read_text())))
    if len(parts) == 3:
        print(f"no results: {found} is empty", file=sys.stderr)
        return 1
    path = options.directory / "speed.md"
    path.write_text("".join(parts))
    print(f"wrote {path}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``report``.
    """
    parser.add_argument("--results", type=Path, default=RESULTS, help="directory of the results")
    parser.add_argument("--directory", type=Path, default=REFERENCE, help="directory for the page and its plot")
    parser.set_defaults(function=run)
