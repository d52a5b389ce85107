"""
The Python rooms alone, whether or not the native rooms are installed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType


@lru_cache(maxsize=1)
def _hooks(module_count: int) -> tuple[tuple[ModuleType, str], ...]:
    """
    Return each name of a module of s3proxy by which it finds native rooms.

    Args:
        module_count: The modules that are imported: with more of them, there may be more such names.
    """
    return tuple(
        (module, name)
        for place, module in list(sys.modules.items())
        if place.startswith("s3proxy.")
        for name in ("NATIVE", "_NATIVE")
        if hasattr(module, name)
    )


@contextmanager
def python_rooms() -> Iterator[None]:
    """
    Leave everything to the Python rooms, as if the extra ``native`` were not installed.

    Coverages and signing keys that are made within have no native part: use them only within.
    """
    kept = [(module, name, getattr(module, name)) for module, name in _hooks(len(sys.modules))]
    for module, name, _ in kept:
        setattr(module, name, None)
    try:
        yield
    finally:
        for module, name, value in kept:
            setattr(module, name, value)
