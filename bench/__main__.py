"""
The command line: ``python -m bench [run | micro | scale | workers | report]``.
"""

from __future__ import annotations

import argparse
import sys

from bench import comparison

SUBCOMMANDS = {
    "run": (comparison.add_options, "all parties under the same loads, in turn (default)"),
}


def main(arguments: list[str]) -> int:
    """
    Measure and print.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
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
