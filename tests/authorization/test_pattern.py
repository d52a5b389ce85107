"""
Patterns of names: compared with regular expressions, and with all names that a small alphabet has.
"""

from __future__ import annotations

import itertools
import re

from hypothesis import given
from hypothesis import strategies as st

from s3proxy.authorization.pattern import Pattern

TEXTS = st.text("ab*/", max_size=6).map(str.encode)
NAMES = st.text("abc/", max_size=8).map(str.encode)

ENDINGS = [bytes(letters) for size in range(6) for letters in itertools.product(b"abc", repeat=size)]
"""
What can follow a prefix. No pattern has a ``c``, so it stands for every other byte.
"""


def expression(text: bytes) -> re.Pattern[bytes]:
    return re.compile(b".*".join(map(re.escape, text.split(b"*"))), re.DOTALL)


@given(TEXTS, NAMES)
def test_a_name_matches_as_with_a_regular_expression(text: bytes, name: bytes) -> None:
    assert Pattern(text).matches(name) == (expression(text).fullmatch(name) is not None)


@given(st.text("ab*", max_size=4).map(str.encode), st.text("abc", max_size=3).map(str.encode))
def test_what_is_below_a_prefix(text: bytes, prefix: bytes) -> None:
    """
    A pattern matches all names below a prefix, or some, exactly if it does so for all names of a small alphabet.
    """
    matches = expression(text).fullmatch
    found = [matches(prefix + ending) is not None for ending in ENDINGS]
    assert Pattern(text).matches_all_below(prefix) == all(found)
    assert Pattern(text).matches_some_below(prefix) == any(found)


def test_a_star_matches_every_byte() -> None:
    """
    Keys are bytes, so a star also matches line ends, slashes and bytes that are not UTF-8.
    """
    pattern = Pattern(b"a*z")
    assert all(pattern.matches(b"a" + bytes([byte]) + b"z") for byte in range(256))


def test_many_stars_take_linear_time() -> None:
    """
    A pattern of many stars against a key that almost matches: backtracking would not end.
    """
    assert not Pattern(b"*a" * 60 + b"b").matches(b"a" * 1024)


def test_what_matches_all() -> None:
    assert Pattern(b"*").matches_all
    assert Pattern(b"**").matches_all
    assert not Pattern(b"").matches_all
    assert not Pattern(b"*a").matches_all
    assert not Pattern(b"a*").matches_all
    assert not Pattern(b"*a*").matches_all
