"""
The imports of a source, read without running it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from tests.support.root import ROOT


def modules_below(*tops: str) -> dict[str, str]:
    """
    Return the sources below directories of the project, by the names of their modules.
    """
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text("utf-8")
        for top in tops
        for path in (ROOT / top).rglob("*.py")
    }


def graph_of(modules: Mapping[str, str]) -> dict[str, set[str]]:
    """
    Return which of these modules each of them imports.
    """
    return {name: set(imported(source, modules)) for name, source in modules.items()}


def imported(source: str, modules: Mapping[str, object]) -> Iterator[str]:
    """
    Yield the modules that a source imports, also those for types only, and those that a function imports.
    ``from a import b`` yields ``a``, and ``a.b`` if that is a module.

    Args:
        modules: The modules that count, by name.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module in modules:
            yield node.module
            yield from (name for alias in node.names if (name := f"{node.module}.{alias.name}") in modules)
