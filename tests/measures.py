"""
The sizes of the rooms: ``python -m tests.measures`` prints them, and fails above `MOST`. The limits are only lowered.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "s3proxy"

DECLARATIONS = frozenset({"configuration/options.py", "s3/errors.py"})
"""
Files that consist mostly of declarations.
"""

MOST = {
    "lines of a file": 550,
    "lines of a class": 400,
    "lines of a function": 60,
    "asserts on optional state": 5,
    "__getattr__": 0,
}
"""
By measure: the maximum size, or the maximum number.
"""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def measure(package: Path) -> Iterator[tuple[str, int, str]]:
    """
    Yield each measure, its size and its place.
    """
    for path in sorted(package.rglob("*.py")):
        name, text = str(path.relative_to(package)), path.read_text("utf-8")
        if name not in DECLARATIONS:
            yield "lines of a file", text.count("\n"), name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                kind = "lines of a function" if isinstance(node, _FUNCTIONS) else "lines of a class"
                yield kind, (node.end_lineno or 0) - node.lineno + 1, f"{name}: {node.name}"
                if node.name == "__getattr__":
                    yield "__getattr__", 1, name
            elif isinstance(node, ast.Assert) and any(
                isinstance(e, ast.Name) and e.id == "self" for e in ast.walk(node)
            ):
                yield "asserts on optional state", 1, f"{name}: line {node.lineno}"


def main() -> int:
    """
    Print the largest of each measure; return the exit status.
    """
    found = list(measure(PACKAGE))
    status = 0
    for kind, most in MOST.items():
        sizes = sorted(((size, place) for each, size, place in found if each == kind), reverse=True)
        if kind.startswith("lines"):
            measured, told = sizes[0][0], "; ".join(f"{size} {place}" for size, place in sizes[:5])
        else:
            measured, told = sum(size for size, _ in sizes), ""
        print(f"{kind}: {measured}, at most {most}" + (f" ({told})" if told else ""))
        if measured > most:
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
