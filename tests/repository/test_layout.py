"""
The tests mirror the package: who changes a module finds its tests by its name.
"""

from __future__ import annotations

import tomllib

from tests.support.imports import graph_of, modules_below
from tests.support.root import ROOT

ELSEWHERE: dict[str, list[str]] = tomllib.loads((ROOT / "tests/repository/tested_elsewhere.toml").read_text("utf-8"))
MODULES = {
    str(path.relative_to(ROOT / "s3proxy"))
    for path in (ROOT / "s3proxy").rglob("*.py")
    if path.name != "__init__.py" and path.parent != ROOT / "s3proxy"
}


def mirrored(module: str) -> str:
    """
    Return the place of a module's own tests below ``tests``.
    """
    room, _, name = module.rpartition("/")
    return f"{room}/test_{name}"


def reached(start: str, graph: dict[str, set[str]]) -> set[str]:
    """
    Return all modules that one imports, directly or not.
    """
    seen, left = {start}, [start]
    while left:
        fresh = graph[left.pop()] - seen
        seen |= fresh
        left += fresh
    return seen


def test_each_module_says_where_it_is_tested() -> None:
    """
    A module has tests of its own name in the directory of its room, or a row.
    """
    own = {module for module in MODULES if (ROOT / "tests" / mirrored(module)).exists()}

    assert MODULES - own == ELSEWHERE.keys()


def test_the_tests_of_each_row_reach_its_module() -> None:
    """
    The tests of a row import its module, directly or through others. What runs the daemon as a process is counted as
    importing all of it.
    """
    graph = graph_of(modules_below("s3proxy", "tests"))
    lost = []
    for module, tests in ELSEWHERE.items():
        name = "s3proxy." + module.removesuffix(".py").replace("/", ".")
        for test in tests:
            start = "tests." + test.removesuffix(".py").replace("/", ".")
            assert start in graph, f"{module}: there is no {test}"
            seen = reached(start, graph)
            if name not in seen and "tests.support.processes" not in seen:
                lost.append((module, test))
    assert lost == []


def test_what_is_reached() -> None:
    """
    Imports are followed through other modules, those of functions included.
    """
    graph = graph_of({"a": "import b", "b": "def f():\n    from c import d", "c": "", "c.d": "", "e": ""})

    assert reached("a", graph) == {"a", "b", "c", "c.d"}
