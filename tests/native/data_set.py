"""
All heads of the data set: those of its cases and vectors, also before they were signed, and those of its responses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.support.harness import VECTORS, encoded, material

_STATUS_LINES = (b"HTTP/1.1 200 OK", b"HTTP/1.1 404 Not Found", b"HTTP/1.0 206 ", b"HTTP/1.1 503")
_END = b"\r\n\r\n"


def _parts(value: Any) -> Iterator[dict[str, Any]]:
    """
    Yield each object of a JSON document.
    """
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _parts(each)


def _lines_of(headers: list[tuple[str, str]]) -> bytes:
    return b"".join([b"\r\n%s: %s" % (encoded(name), encoded(value)) for name, value in headers])


def head_of(request: dict[str, Any]) -> bytes:
    """
    Return the head of a request of the data set, without the empty line at its end.
    """
    first = b"%s %s HTTP/1.1" % (encoded(request["method"]), encoded(request["target"]))
    return first + _lines_of(request["headers"])


@cache
def request_heads() -> tuple[bytes, ...]:
    """
    Return the different heads of requests, without the empty line at the end.
    """
    found: dict[bytes, None] = {}
    for path in sorted(VECTORS.rglob("*.json")):
        for part in _parts(json.loads(path.read_text("utf-8"))):
            if {"method", "target", "headers"} <= part.keys():
                found[head_of(part)] = None
            if "raw" in part:
                for head in material(part["raw"]).split(_END):
                    found[head] = None
    return tuple(found)


@cache
def response_heads() -> tuple[bytes, ...]:
    """
    Return the different heads of responses. Those of requests are among them, with another first line.
    """
    found = {path.read_bytes().partition(_END)[0]: None for path in sorted(VECTORS.rglob("*.http"))}
    assert len(found) > 5
    for place, head in enumerate(request_heads()):
        _, crlf, lines = head.partition(b"\r\n")
        found[_STATUS_LINES[place % len(_STATUS_LINES)] + crlf + lines] = None
        found[_STATUS_LINES[0] + crlf + lines] = None
    return tuple(found)
