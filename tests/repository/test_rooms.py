"""
The package consists of rooms: it has no other modules at its top, and its imports have no cycle.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.support.imports import graph_of, modules_below
from tests.support.root import ROOT

PACKAGE = ROOT / "s3proxy"


def circle(sources: Mapping[str, str]) -> list[str]:
    """
    Return a cycle of imports, or nothing.
    """
    graph = {name: found - {name} for name, found in graph_of(sources).items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_import_leads_back() -> None:
    """
    Not even an import for types only may close a cycle.
    """
    assert circle(modules_below("s3proxy")) == []


@pytest.mark.parametrize("back", ["import s3proxy.b", "from s3proxy import b", "from s3proxy.b import X", "import os"])
def test_a_circle_is_found(back: str) -> None:
    """
    Whichever import closes it.
    """
    sources = {
        "s3proxy": "",
        "s3proxy.a": f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {back}",
        "s3proxy.b": "def f():\n    from s3proxy.a import Y",
    }

    assert bool(circle(sources)) == (back != "import os")


def test_nothing_lies_on_the_top() -> None:
    """
    Beside the rooms there are only the interfaces for embedders, and the mark of a typed package.
    """
    assert {path.name for path in PACKAGE.iterdir() if path.is_file()} == {"__init__.py", "interfaces.py", "py.typed"}


def test_no_test_module_imports_another() -> None:
    """
    What several test modules need is in `tests/support`, or in a module of their room without tests.
    """
    imports = re.compile(r"^ *(?:from|import) +(tests[\w.]*\.test_\w+|tests[\w.]* import .*\btest_\w+)", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT)): imports.findall(path.read_text("utf-8"))
        for directory in ("tests", "docs", "bench")
        for path in (ROOT / directory).rglob("*.py")
    }

    assert {path: names for path, names in found.items() if names} == {}


def test_each_room_of_the_package_has_tests() -> None:
    """
    They are in the directory of its name.
    """
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}

    assert {room for room in rooms if not list((ROOT / "tests" / room).glob("test_*.py"))} == set()
