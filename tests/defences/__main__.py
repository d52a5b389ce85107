"""
Prove the table: ``python -m tests.defences [NAME ...]``, by default all rows.
"""

from __future__ import annotations

import argparse
import sys

from tests.defences.runner import NotProven, check_defences
from tests.defences.table import load_defences


def main() -> int:
    """
    Run; return the exit status.
    """
    parser = argparse.ArgumentParser(prog="defences", description="Remove each defence, and see its tests fail.")
    parser.add_argument("names", nargs="*", help="of rows, or the beginning of their files; all by default")
    parser.add_argument("--processes", type=int, help="rows at a time (default: the number of cores)")
    options = parser.parse_args()
    defences = [
        defence
        for defence in load_defences()
        if not options.names
        or defence.name in options.names
        or any(defence.removals[0].file.startswith(name) for name in options.names)
    ]
    if not defences:
        print("no such row", file=sys.stderr)
        return 2
    try:
        outcomes = check_defences(defences, lambda line: print(line, flush=True), processes=options.processes)
    except NotProven as error:
        print(error, file=sys.stderr)
        return 1
    caught = sum(outcome.is_caught for outcome in outcomes)
    print(f"{len(outcomes)} defences, {caught} caught, {len(outcomes) - caught} not caught")
    return 0 if caught == len(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
