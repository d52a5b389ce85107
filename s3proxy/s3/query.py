"""
Decodes the names and values of a query.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from s3proxy.s3.errors import InvalidURI

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def query_items(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """
    Return the decoded names and values of a query, in order; ``+`` is a space.

    Raises:
        InvalidURI: An escape is broken.
    """
    if _BAD_ESCAPE.search(raw_query) is not None:
        raise InvalidURI(b"?" + raw_query)
    items = []
    for item in raw_query.split(b"&"):
        if item:
            name, _, value = item.partition(b"=")
            items.append((decode_item(name), decode_item(value)))
    return items


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
