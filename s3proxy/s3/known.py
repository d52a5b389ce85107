"""
Tables of what was decided before: what does not change from request to request is decided once.

A table is filled only by the code that decides, so a look-up has the same result as the decision. It is bounded: when
it is full, it is emptied, and the next requests decide again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Protocol, TypeVar


class Clearable(Protocol):
    """
    A table that can be emptied.
    """

    def clear(self) -> None: ...


K = TypeVar("K")
V = TypeVar("V")


class Known(dict[K, V]):
    """
    A bounded table of decisions. A decision that raises is not kept.

    Args:
        most: Maximum number of decisions.
        about: The table that the keys of this one are from: when that is emptied, this one is, too. Otherwise it would
            keep what the other has forgotten.
    """

    __slots__ = ("_followers", "most")

    def __init__(self, most: int, about: Known[Any, Any] | None = None) -> None:
        super().__init__()
        self.most = most
        self._followers: list[Clearable] = []
        if about is not None:
            about.clear_too(self)

    def clear_too(self, follower: Clearable) -> None:
        """
        Clear another table whenever this one is cleared.
        """
        self._followers.append(follower)

    def keep(self, key: K, value: V) -> V:
        """
        Keep a decision, and return it.
        """
        if len(self) >= self.most and key not in self:
            self.clear()
        self[key] = value
        return value

    def clear(self) -> None:
        """
        Forget everything, and clear the tables that follow.
        """
        super().clear()
        for follower in self._followers:
            follower.clear()


def picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """
    Return a function, written in C, that picks the items at these places out of a sequence.
    """
    if len(places) > 1:
        return itemgetter(*places)
    return itemgetter(slice(places[0], places[0] + 1) if places else slice(0))
