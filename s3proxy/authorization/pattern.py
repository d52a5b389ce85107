"""
Patterns of bucket names, keys and actions: ``*`` stands for any bytes, also for none and for slashes; every other byte
stands for itself.
"""

from __future__ import annotations


class Pattern:
    """
    One pattern.

    Attributes:
        matches_all: Whether every name matches.
        literal: The only name that matches; None if there are several.
    """

    __slots__ = ("_end", "_middle", "_size", "_start", "literal", "matches_all")

    def __init__(self, text: bytes) -> None:
        self._start, *rest = text.split(b"*")
        self.literal = None if rest else self._start
        self._end = rest.pop() if rest else b""
        self._middle = tuple(filter(None, rest))
        self._size = len(self._start) + len(self._end)
        self.matches_all = self.literal is None and not (self._start or self._middle or self._end)

    def matches(self, name: bytes) -> bool:
        """
        Return True if a name matches. It takes linear time.
        """
        if self.literal is not None:
            return name == self.literal
        if len(name) < self._size or not name.startswith(self._start) or not name.endswith(self._end):
            return False
        position, end = len(self._start), len(name) - len(self._end)
        for part in self._middle:
            # The first place leaves most for the parts that follow.
            position = name.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True

    def matches_all_below(self, prefix: bytes) -> bool:
        """
        Return True if every name that begins with a prefix matches.
        """
        # A name can continue with any bytes, so only a star at the end matches all of them.
        return self.literal is None and not self._end and self.matches(prefix)

    def matches_some_below(self, prefix: bytes) -> bool:
        """
        Return True if a name that begins with a prefix can match.
        """
        if self.literal is not None:
            return self.literal.startswith(prefix)
        # After the first star, a name can continue with whatever the rest of the pattern needs.
        return prefix.startswith(self._start) or self._start.startswith(prefix)
