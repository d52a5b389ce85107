"""
Before 3.11.5, Python may count what a possessive group only began to match as matched (Python issue 106052).

So a header without a name passed the gate on Debian 12. Possessive repeats of one character work in each version.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from typing import Any

import s3proxy

parser: Any = vars(re)["_parser"]


def patterns() -> dict[str, re.Pattern[Any]]:
    """
    Return every pattern at the top of a module.
    """
    return {
        f"{module.name}.{name}": value
        for module in pkgutil.walk_packages(s3proxy.__path__, "s3proxy.")
        if not module.name.endswith("__main__")
        for name, value in vars(importlib.import_module(module.name)).items()
        if isinstance(value, re.Pattern)
    }


def possessive_groups(parsed: Any) -> list[Any]:
    """
    Return the repeats that are possessive and whose operand is more than one character.
    """
    found = []
    for operator, arguments in parsed:
        if str(operator) in {"POSSESSIVE_REPEAT", "ATOMIC_GROUP"}:
            operand = arguments[2] if isinstance(arguments, tuple) else arguments
            if len(operand) != 1 or str(operand[0][0]) not in {"IN", "LITERAL", "NOT_LITERAL", "ANY"}:
                found.append(operand)
        found += [each for part in parts(arguments) for each in possessive_groups(part)]
    return found


def parts(arguments: Any) -> list[Any]:
    """
    Return the patterns within an operator's arguments.
    """
    if isinstance(arguments, parser.SubPattern):
        return [arguments]
    if isinstance(arguments, (tuple, list)):
        return [each for argument in arguments for each in parts(argument)]
    return []


def test_no_group_is_possessive() -> None:
    """
    In no version of Python does a pattern match more than it says.
    """
    found = {name: possessive_groups(parser.parse(pattern.pattern)) for name, pattern in patterns().items()}

    assert len(found) > 60
    assert {name for name, groups in found.items() if groups} == set()
    assert possessive_groups(parser.parse("a(?:bc)*+"))
    assert possessive_groups(parser.parse("(?:a|(?>bc))"))
