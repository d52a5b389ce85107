"""
The names of the header lines of one head: checked once for each set of names, not for each head.

Clients and backends send the same few sets again and again. What other modules decide from the names alone, they look
up by the set.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from s3proxy.s3.errors import BadRequest
from s3proxy.s3.known import Known

MAX_KNOWN_SETS = 256
"""
Sets of names that are remembered. A set that is not costs a head about 15 % more.
"""

_MAX_NAMES = 24
_MAX_SIZE = 768
"""
Names and bytes of a set that is remembered.
"""

_MAX_FORM_NAMES = _MAX_NAMES + 8
_MAX_FORM_SIZE = _MAX_SIZE + 256
"""
Names and bytes of a head that is written, if its form is remembered: s3proxy adds a few names to those that it got.
"""

_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FRAMING = frozenset({b"connection", b"content-length", b"transfer-encoding"})


class HeaderNames:
    """
    The names of a head in which no name is repeated, in order. Two heads with the same names have the same object.

    Attributes:
        sent: The names as received.
        lower: The names in lower case.
        has_framing: Whether one of them says where the body or the connection ends.
        has_metadata: Whether one of them is an object's metadata.
    """

    __slots__ = ("has_framing", "has_metadata", "lower", "sent")

    def __init__(self, sent: tuple[bytes, ...], lower: tuple[bytes, ...]) -> None:
        self.sent = sent
        self.lower = lower
        self.has_framing = not _FRAMING.isdisjoint(lower)
        self.has_metadata = any(name.startswith(b"x-amz-meta-") for name in lower)


KNOWN_SETS: Known[tuple[bytes, ...], HeaderNames] = Known(MAX_KNOWN_SETS)
"""
The sets of names that were checked last.
"""


def check_names(sent: tuple[bytes, ...]) -> HeaderNames | None:
    """
    Return the set of these names, and remember it. Call it for a set that is not in `KNOWN_SETS`.

    Returns:
        None if a name is repeated, or the set is too large to be remembered.

    Raises:
        BadRequest: One of them is not a name.
    """
    for name in sent:
        if _NAME.fullmatch(name) is None:
            raise BadRequest
    lower = tuple([name.lower() for name in sent])
    if len(sent) > _MAX_NAMES or sum(map(len, sent)) > _MAX_SIZE or len(set(lower)) != len(lower):
        return None
    return KNOWN_SETS.keep(sent, HeaderNames(sent, lower))


def is_known(names: HeaderNames) -> bool:
    """
    Return True if a set is still remembered. A table about sets keeps no decision for one that is forgotten: while a
    request waited, other requests may have filled the table of sets.
    """
    return KNOWN_SETS.get(names.sent) is names


def has_known_form(names: Sequence[bytes]) -> bool:
    """
    Return True if the form of a head with these names may be remembered.
    """
    return len(names) <= _MAX_FORM_NAMES and sum(map(len, names)) <= _MAX_FORM_SIZE


def form_of_lines(names: tuple[bytes, ...]) -> bytes:
    """
    Return the header lines with these names, to be filled in with their values.
    """
    return b"".join([b"%s: %%s\r\n" % name.replace(b"%", b"%%") for name in names])
