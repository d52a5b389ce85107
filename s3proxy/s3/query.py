"""
Decodes the names and values of a query.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from s3proxy.s3.errors import InvalidURI

_MAX_KEPT_SIZE = 4096
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def query_items(raw_query: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """
    Return the decoded names and values of a query, in order; ``+`` is a space.

    Raises:
        InvalidURI: An escape is broken.
    """
    # Each stage of a request asks again.
    return _kept_items(raw_query) if len(raw_query) <= _MAX_KEPT_SIZE else _read_items(raw_query)


def _read_items(raw_query: bytes) -> tuple[tuple[bytes, bytes], ...]:
    if _BAD_ESCAPE.search(raw_query) is not None:
        raise InvalidURI(b"?" + raw_query)
    items = []
    for item in raw_query.split(b"&"):
        if item:
            name, _, value = item.partition(b"=")
            items.append((decode_item(name), decode_item(value)))
    return tuple(items)


_kept_items = lru_cache(maxsize=4)(_read_items)


def query_names(raw_query: bytes | None) -> frozenset[bytes]:
    """
    Return the decoded names of a query.
    """
    if not raw_query:
        return frozenset()
    return frozenset(decode_item(item.partition(b"=")[0]) for item in raw_query.split(b"&") if item)


def decode_item(text: bytes) -> bytes:
    """
    Return a name or a value of a query, decoded once; ``+`` is a space.
    """
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text
