"""
Names and values of a query, decoded.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes


def query_items(raw_query: bytes) -> list[tuple[bytes, bytes]]:
    """
    Return the decoded names and values of a query, in order; ``+`` is a space.
    """
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
    Decode a name or a value, once.
    """
    if b"+" in text:
        text = text.replace(b"+", b" ")
    return unquote_to_bytes(text) if b"%" in text else text
