"""
Run the same loads on all parties, in turn.
"""

from __future__ import annotations

import argparse
import fnmatch
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from trustme import CA

from bench.goals import HEADINGS as GOAL_HEADINGS
from bench.goals import RELAYS, TARGETS, goals_of
from bench.loads import LOADS, MIB, Load
from bench.measure import Generator, sha256_cost
from bench.parties import OPTIONAL, PARTIES, loadgen, running_party, running_sink
from bench.results import (
    HEADINGS,
    RESULTS,
    Results,
    command_line,
    describe_machine,
    describe_party,
    rows_of,
    text_table,
)


@dataclass
class Bench:
    """
    What all measurements need.

    Attributes:
        directory: A directory for files.
        sink: The port of the backend.
        certificate: The paths of the certificate and of its key.
    """

    directory: Path
    sink: int
    generator: Generator
    certificate: Path


@contextmanager
def prepared() -> Iterator[Bench]:
    """
    Start the backend, and prepare the generator, the certificate and the directories.
    """
    memory = Path("/dev/shm")
    requests = Path(tempfile.mkdtemp(prefix="s3proxy-bench-", dir=memory if memory.is_dir() else None))
    directory = Path(tempfile.mkdtemp(prefix="s3proxy-bench-"))
    # The worker of nginx runs as the user nobody.
    directory.chmod(0o755)
    certificate = directory / "bench.pem"
    CA().issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    try:
        with running_sink(directory) as (sink_pid, sink):
            generator = Generator(loadgen(), requests, sink_pid, sink)
            yield Bench(directory, sink, generator, certificate)
    finally:
        shutil.rmtree(requests, ignore_errors=True)
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def started(bench: Bench, names: list[str], *, is_tls: bool, access_log: bool) -> Iterator[dict[str, tuple[int, int]]]:
    """
    Start parties. Yield the process id and the port of each, by name.
    """
    with ExitStack() as stack:
        certificate = bench.certificate if is_tls else None
        found = {}
        for name in names:
            party = running_party(PARTIES[name], bench.directory, bench.sink, certificate, access_log=access_log)
            found[name] = stack.enter_context(party)
        yield found


def probe(bench: Bench, results: Results, load: Load, name: str, pid: int, port: int) -> bool:
    """
    Send one valid request, and one with a wrong signature. Note a wrong outcome in the results.

    Returns:
        Whether the party accepts the load.
    """
    notes = results.cells.setdefault(load.name, {})
    true = bench.generator.run(load, name, -1, pid, port, requests=1, seconds=0)
    if true.failures:
        reason = next(iter(true.failures))
        notes[name] = f"refuses: {reason}"
        print(f"    {name} refuses: {reason} {true.first_response[-300:]!r}", flush=True)
        return False
    if name not in RELAYS:
        false = bench.generator.run(load, name, -1, pid, port, requests=1, seconds=0, is_false=True)
        if not false.failures:
            notes[name] = "not verified"
            print(f"    {name} does not verify it", flush=True)
    return True


def compare(options: argparse.Namespace) -> int:
    """
    Run the loads, and print the tables.
    """
    patterns = options.loads.split(",")
    loads = [load for load in LOADS.values() if any(fnmatch.fnmatch(load.name, pattern) for pattern in patterns)]
    if options.tls != "both":
        loads = [load for load in loads if load.is_tls == (options.tls == "only")]
    if not loads:
        raise SystemExit(f"no load matches {options.loads}; the loads are {', '.join(LOADS)}")
    names = options.peers.split(",")
    unknown = set(names) - set(PARTIES)
    if unknown:
        raise SystemExit(f"unknown party: {', '.join(sorted(unknown))}; the parties are {', '.join(PARTIES)}")
    results = Results("run", command_line(), describe_machine(), {name: PARTIES[name].about for name in names})
    with prepared() as bench:
        for is_tls in (False, True):
            chosen = [load for load in loads if load.is_tls == is_tls]
            if not chosen:
                continue
            with started(bench, names, is_tls=is_tls, access_log=options.access_log) as parties:
                _measure(bench, results, chosen, parties, options)
    for name in names:
        results.parties[name] = f"{describe_party(name)}; {results.parties[name]}"
    results.write(options.output)
    print_tables(results)
    print(f"\nresults are in {options.output}")
    return 0


def _measure(
    bench: Bench,
    results: Results,
    loads: list[Load],
    parties: dict[str, tuple[int, int]],
    options: argparse.Namespace,
) -> None:
    taken = {}
    for load in loads:
        print(f"  {load.title}", flush=True)
        taken[load] = {name: place for name, place in parties.items() if probe(bench, results, load, name, *place)}
    # A machine can be slower for minutes, so the rounds of one load are far apart.
    for number in range(options.rounds):
        print(f"  round {number + 1} of {options.rounds}", flush=True)
        for load, takers in taken.items():
            _measure_load(bench, results, load, number, takers, options)
            results.write(options.output)


def _measure_load(
    bench: Bench,
    results: Results,
    load: Load,
    number: int,
    parties: dict[str, tuple[int, int]],
    options: argparse.Namespace,
) -> None:
    requests = max(1, round(options.mebibytes * MIB / load.size)) if load.counts_bytes else options.requests
    if load.is_hashed and load.counts_bytes:
        results.sha256.setdefault(load.name, []).append(sha256_cost())
    # Each round begins with another party.
    turn = number % len(parties) if parties else 0
    names = list(parties)
    line = []
    for name in names[turn:] + names[:turn]:
        pid, port = parties[name]
        run = bench.generator.run(load, name, number, pid, port, requests=requests, seconds=options.seconds)
        results.runs.append(run)
        if run.requests and run.sink_requests < run.requests:
            results.cells[load.name][name] = "from its cache"
        cost = run.cost(load.counts_bytes) if run.requests else 0
        line.append(f"{name} " + (f"{cost:.2f} s/GiB" if load.counts_bytes else f"{cost * 1e6:.0f} µs"))
    print(f"    {load.title}: {', '.join(line)}", flush=True)


def print_tables(results: Results) -> None:
    """
    Print the measurements and the goals.
    """
    rows = [list(HEADINGS)]
    for load in results.loads:
        rows += rows_of(results, load, list(results.parties))
    print("\n" + text_table(rows))
    goals = goals_of(results)
    if goals:
        print("\n" + text_table([GOAL_HEADINGS, *[goal.row for goal in goals]]))


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``run``.
    """
    parser.add_argument("--loads", default="*", help="names or patterns, separated by commas (default: all)")
    usual = ",".join(name for name in PARTIES if name != OPTIONAL)
    parser.add_argument("--peers", default=usual, help=f"parties, separated by commas (default: all but {OPTIONAL})")
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds; each runs all parties in turn")
    parser.add_argument("--mebibytes", type=int, default=1024, help="MiB of each large load in each round")
    parser.add_argument("--requests", type=int, default=8000, help="requests of each small load in each round")
    parser.add_argument("--seconds", type=float, default=12, help="seconds after which a run begins no request")
    parser.add_argument("--tls", choices=("both", "only", "without"), default="both", help="loads with or without TLS")
    parser.add_argument("--access-log", action="store_true", help="let s3proxy write its access log")
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"run nginx, s3proxy, and {OPTIONAL} if it is named: two short rounds of the loads with a target",
    )
    parser.add_argument("--output", type=Path, default=None, help="file for the results, as JSON")
    parser.set_defaults(function=_run)


def _run(options: argparse.Namespace) -> int:
    if options.quick:
        options.rounds, options.tls = 2, "without"
        options.peers = "nginx,s3proxy" if OPTIONAL not in options.peers else f"nginx,s3proxy,{OPTIONAL}"
        options.mebibytes, options.requests = 512, 4000
        if options.loads == "*":
            options.loads = ",".join([*TARGETS, "put-signed-8k"])
    if options.output is None:
        options.output = RESULTS / ("quick.json" if options.quick else "run.json")
    return compare(options)
