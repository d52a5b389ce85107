"""
The native rooms and the Python rooms side by side: who decides, how often, and whether both decide the same.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from typing import Any

from tests.support.python_rooms import python_rooms

COUNT = int(os.environ.get("S3PROXY_FUZZ_COUNT", "4000"))
"""
Drawn cases of each test.
"""


def by_python(step: Callable[..., Any], *arguments: Any) -> Any:
    """
    Return what a function of the Python rooms returns, without the native ones.
    """
    with python_rooms():
        return step(*arguments)


class Watched:
    """
    A native module or object, whose decisions are counted.

    Attributes:
        decided: By function: calls that did not return None.
        asked: By function: all calls.
    """

    def __init__(self, watched: Any) -> None:
        self._watched = watched
        self.asked: Counter[str] = Counter()
        self.decided: Counter[str] = Counter()

    def beside(self, watched: Any) -> Watched:
        """
        Watch another object, and count its decisions here.
        """
        other = Watched(watched)
        other.asked, other.decided = self.asked, self.decided
        return other

    def __len__(self) -> int:
        return len(self._watched)

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._watched, name)

        def call(*arguments: Any) -> Any:
            found = function(*arguments)
            self.asked[name] += 1
            self.decided[name] += found is not None
            return found

        return call


def described(value: Any) -> Any:
    """
    Return a value in a form in which only the same values are equal: with the types of all parts, and in their order.
    """
    if isinstance(value, dict):
        return type(value), [(described(key), described(each)) for key, each in value.items()]
    if isinstance(value, (tuple, list)):
        return type(value), [described(each) for each in value]
    slots = getattr(type(value), "__slots__", ())
    if type(value).__name__ in {"RequestHead", "ResponseHead"}:
        return type(value), [(name, described(getattr(value, name))) for name in slots]
    # The set of the names of a head is equal to itself only.
    return type(value), value
