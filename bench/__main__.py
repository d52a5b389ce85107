"""
The command line: ``python -m bench [run | micro | calls | scale | workers | flame | splice | report]``.
"""

from __future__ import annotations

import argparse
import sys

from bench import calls, comparison, flame, micro, report, scale, splice, workers

SUBCOMMANDS = {
    "run": (comparison.add_options, "all parties under the same loads, in turn (default)"),
    "micro": (micro.add_options, "what each room without I/O costs alone"),
    "calls": (calls.add_options, "Python calls, C calls and bytecodes of a small request, within the budget"),
    "scale": (scale.add_options, "1 to 1,000 connections, objects of 1 MiB to 16 GiB: cost of a GiB, memory"),
    "workers": (workers.add_options, "what a request costs with 2 and 4 processes, and how connections spread"),
    "flame": (flame.add_options, "where the time goes under a load, as a flame graph"),
    "splice": (splice.add_options, "what splice(2) would save"),
    "report": (report.add_options, "write docs/reference/speed.md and its plot from what was measured"),
}


def main(arguments: list[str]) -> int:
    """
    Measure and print.
    """
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="Each has its options: python -m bench run --help. Options alone are those of run, as in "
        "python -m bench --quick.",
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
