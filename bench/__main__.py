"""
Measure the speed of s3proxy: ``python -m bench [run | micro | calls | latency | scale | workers | flame | splice |
report]``.
"""

from __future__ import annotations

import argparse
import sys

from bench import calls, comparison, flame, latency, micro, report, scale, splice, workers

SUBCOMMANDS = {
    "run": (comparison.add_options, "run the same loads on all parties, in turn (default)"),
    "micro": (micro.add_options, "measure each room without I/O alone"),
    "calls": (calls.add_options, "count the calls and bytecodes of a small request, and compare them with the budget"),
    "latency": (
        latency.add_options,
        "measure how long a small request takes, straight to RGW and versitygw and through s3proxy",
    ),
    "scale": (
        scale.add_options,
        "measure the cost of a GiB and the memory with 1 to 1,000 connections, and objects of 1 MiB to 16 GiB",
    ),
    "workers": (
        workers.add_options,
        "measure the cost of a request with 2 and 4 processes, and the spread of connections",
    ),
    "flame": (flame.add_options, "draw flame graphs of the time that a load takes"),
    "splice": (splice.add_options, "measure what splice(2) saves"),
    "report": (report.add_options, "write docs/reference/speed.md and its plot from the measurements"),
}


def main(arguments: list[str]) -> int:
    """
    Run a subcommand, and return the exit status.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Each subcommand has its own options: python -m bench run --help. Without a subcommand, the options are "
        "those of run: python -m bench --quick.",
    )
    subparsers = parser.add_subparsers(metavar="SUBCOMMAND")
    for name, (add_options, about) in SUBCOMMANDS.items():
        add_options(subparsers.add_parser(name, help=about, description=about))
    if not arguments or (arguments[0] not in SUBCOMMANDS and arguments[0] not in {"-h", "--help"}):
        arguments = ["run", *arguments]
    options = parser.parse_args(arguments)
    result: int = options.function(options)
    return result


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
