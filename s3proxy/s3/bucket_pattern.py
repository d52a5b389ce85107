"""
Patterns of bucket names, as the configuration and the credentials write them.
"""

from __future__ import annotations

import fnmatch
import re
from functools import lru_cache

_WILD = frozenset("*?[")


def is_wild(pattern: str) -> bool:
    """
    Return True if a pattern may match more than one name.
    """
    return not _WILD.isdisjoint(pattern)


@lru_cache(4096)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """
    Return a regular expression that matches the names that a shell would match with the pattern.
    """
    return re.compile(fnmatch.translate(pattern))


def covers(pattern: str, other: str) -> bool:
    """
    Return True if a pattern certainly matches every name that the other one matches.
    """
    if pattern == other or set(pattern) == {"*"}:
        return True
    has_set = "[" in pattern or "[" in other
    if not is_wild(pattern) or (has_set and is_wild(other)):
        return False
    # Two names are enough to decide for all: a star is empty, or has more characters than the pattern has question
    # marks. Only a wildcard matches these characters.
    matches = compile_pattern(pattern).fullmatch
    return all(
        matches(other.replace("?", "\0").replace("*", star)) is not None for star in ("", "\0" * (len(pattern) + 1))
    )
