"""
Readers of the bytes that a backend gets: each reads them as some server does, and the results are compared.

* ``strict`` is the oracle's: RFC 9112 and nothing else.
* ``twisted`` is `twisted.web.http.HTTPChannel`.
* ``python`` is the standard library's `http.server` with `email.parser`: eventlet is based on it, and so is Swift.
* ``cgi`` takes all the liberties of gateways and containers at once: a bare CR and a bare LF end a line, a folded line
  continues, a name loses its white space, its case and its underscores, the last of repeated fields counts, and the
  size of a chunk is the part of it that is a number.

If all four read the same, so does a backend.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

from twisted.internet.testing import StringTransport
from twisted.web.http import HTTPChannel, Request

from tests.oracle.operations import subresources
from tests.oracle.wire import Head, NotARequest, RequestStream


@dataclass(frozen=True)
class Seen:
    """
    A request as one reader reads it.

    Attributes:
        level: ``service``, ``bucket`` or ``object``.
        bucket: The bucket, decoded.
        key: The key, decoded.
        kind: Sub-resources by name, and whether it copies.
        fields: Names and values that choose something, normalized; of metadata only the names.
    """

    method: bytes
    target: bytes
    level: str
    bucket: bytes
    key: bytes
    kind: tuple[bytes, ...]
    body_length: int
    fields: tuple[tuple[bytes, bytes], ...]


class Unreadable(Exception):
    """
    A reader cannot read the bytes as requests.
    """


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_METADATA = b"x-amz-meta-"


def _decoded(text: bytes, *, plus: bool = False) -> bytes:
    if plus:
        text = text.replace(b"+", b" ")
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text)


def _seen(
    method: bytes,
    target: bytes,
    fields: Iterable[tuple[bytes, bytes]],
    body_length: int,
    *,
    plus_in_paths: bool,
    service_path: bytes,
) -> Seen:
    """
    Read the result of a reader as an S3 request.

    Args:
        fields: Fields by lower-case name.
    """
    path, _, query = target.partition(b"?")
    path = path.removeprefix(service_path)
    bucket, _, key = _decoded(path, plus=plus_in_paths)[1:].partition(b"/")
    kept: dict[bytes, list[bytes]] = {}
    copies = False
    for name, value in fields:
        if name.startswith(_METADATA):
            # Its underscores may become hyphens: it chooses nothing.
            kept[name.replace(b"_", b"-")] = []
        elif name.startswith((b"x-amz-", b"content-")) or name in {b"host", b"transfer-encoding"}:
            kept.setdefault(name, []).append(value.strip(b" \t"))
            copies = copies or name == b"x-amz-copy-source"
    names = {_decoded(item.partition(b"=")[0], plus=True) for item in query.split(b"&")}
    kind = sorted(names & subresources()) + [b"a copy"] * copies
    return Seen(
        method,
        target,
        "object" if key else "bucket" if bucket else "service",
        bucket,
        key,
        tuple(kind),
        body_length,
        tuple(sorted((name, b",".join(values)) for name, values in kept.items())),
    )


Reader = Callable[..., list[Seen]]


# The strict reader


def read_strictly(data: bytes, **how: Any) -> list[Seen]:
    """
    Read like the oracle.
    """
    heads: list[Head] = []
    faults: list[str] = []
    stream = RequestStream(heads.append, lambda text, raw: faults.append(text))
    stream.feed(data)
    if faults or not stream.is_between:
        raise Unreadable(faults or "a request is not complete")
    return [
        _seen(
            head.method,
            head.target,
            ((name.lower(), value) for name, value in head.headers),
            int(head.one(b"content-length") or 0),
            **how,
        )
        for head in heads
    ]


# Twisted's reader


def read_as_twisted(data: bytes, **how: Any) -> list[Seen]:
    """
    Read like `twisted.web`.
    """
    found: list[Seen] = []

    class Recorded(Request):
        def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
            # Without super: that would read a form, and refuse a request whose form is invalid.
            self.method, self.uri, self.clientproto = command, path, version
            self.content.seek(0)
            length = len(self.content.read())
            fields = [
                (name.lower(), value) for name, values in self.requestHeaders.getAllRawHeaders() for value in values
            ]
            found.append(_seen(self.method, self.uri, fields, length, **how))
            self.setResponseCode(204)
            self.finish()

    channel = HTTPChannel()
    channel.requestFactory = Recorded  # type: ignore[assignment]
    channel.timeOut = None
    transport = StringTransport()
    channel.makeConnection(transport)
    channel.dataReceived(data)
    responses = transport.value()
    is_between = not channel._receivedHeaderCount and channel._transferDecoder is None
    left = channel.clearLineBuffer()
    channel.connectionLost(None)  # type: ignore[arg-type]
    if responses.count(b"HTTP/1.1 204 ") != len(found) or b"HTTP/1.1 4" in responses or not is_between or left:
        raise Unreadable(responses[:200] or left[:200])
    return found


# Python's reader


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, data: bytes) -> None:
        self.rfile: Any = io.BytesIO(data)
        self.wfile: Any = io.BytesIO()
        self.close_connection = False

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        raise Unreadable(f"{code} {message}")

    def handle_expect_100(self) -> bool:
        return True


def read_as_python(data: bytes, **how: Any) -> list[Seen]:
    """
    Read like `http.server`, whose heads are read by `email.parser`.
    """
    handler = _Handler(data)
    found: list[Seen] = []
    while handler.rfile.tell() < len(data):
        handler.raw_requestline = handler.rfile.readline(65537)
        if not handler.parse_request():
            raise Unreadable("no request")
        # As it was sent: eventlet keeps it, http.server joins slashes at its beginning.
        words = handler.raw_requestline.rstrip(b"\r\n").split()
        fields = [
            (name.lower().encode("latin-1", "replace"), value.encode("latin-1", "replace"))
            for name, value in handler.headers.items()
        ]
        length = int(handler.headers.get("content-length", 0))
        if "transfer-encoding" in handler.headers:
            raise Unreadable("a transfer coding")
        if len(handler.rfile.read(length)) != length:
            raise Unreadable("a body is not complete")
        found.append(_seen(words[0], words[1], fields, length, **how))
    return found


# The most liberal reader


_LINE_END = re.compile(rb"\r\n|\r|\n")
_NUMBER = re.compile(rb"[ \t]*\+?([0-9]+)")
_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]*)")


def _line(data: bytes, start: int) -> tuple[bytes, int]:
    found = _LINE_END.search(data, start)
    if found is None:
        raise Unreadable("a line does not end")
    return data[start : found.start()], found.end()


def read_as_cgi(data: bytes, **how: Any) -> list[Seen]:
    """
    Read like a gateway that passes headers as environment variables.
    """
    found: list[Seen] = []
    position = 0
    while position < len(data):
        line, position = _line(data, position)
        if not line.strip():
            continue
        words = line.split()
        if len(words) < 2:
            raise Unreadable(f"a request line: {line[:80]!r}")
        environment: dict[bytes, bytes] = {}
        last = b""
        while True:
            line, position = _line(data, position)
            if not line:
                break
            if line[:1] in b" \t" and last:
                environment[last] += b" " + line.strip()
                continue
            name, _, value = line.partition(b":")
            last = name.split(b"\0")[0].strip().upper().replace(b"-", b"_")
            environment[last] = value.split(b"\0")[0].strip()
        if b"CHUNKED" in environment.get(b"TRANSFER_ENCODING", b"").upper():
            start = position
            position, length = _lenient_chunks(data, start)
        else:
            number = _NUMBER.match(environment.get(b"CONTENT_LENGTH", b""))
            length = int(number[1]) if number is not None else 0
            if position + length > len(data):
                raise Unreadable("a body is not complete")
            position += length
        fields = [(name.lower().replace(b"_", b"-"), value) for name, value in environment.items()]
        found.append(_seen(words[0], words[1], fields, length, **how))
    return found


def _lenient_chunks(data: bytes, position: int) -> tuple[int, int]:
    total = 0
    while True:
        line, position = _line(data, position)
        size = int(_SIZE.match(line)[1] or b"0", 16)  # type: ignore[index]
        if not size:
            break
        total += size
        position += size
        if position > len(data):
            raise Unreadable("a chunk is not complete")
        _, position = _line(data, position)
    while True:
        line, position = _line(data, position)
        if not line:
            return position, total


READERS: dict[str, Reader] = {
    "strict": read_strictly,
    "twisted": read_as_twisted,
    "python": read_as_python,
    "cgi": read_as_cgi,
}


def read_by_all(data: bytes, *, plus_in_paths: bool = False, service_path: bytes = b"") -> tuple[list[Seen], str]:
    """
    Read the bytes of a connection with every reader.

    Args:
        plus_in_paths: Whether this backend reads ``+`` in a path as a space.
        service_path: The path before every bucket.

    Returns:
        The requests of the strict reader, and the difference between two readers; empty if they agree.
    """
    first: list[Seen] = []
    for name, reader in READERS.items():
        if name == "twisted" and not all(seen.target.isascii() for seen in first):
            # It responds with 400, which is harmless. s3proxy forwards unescaped UTF-8 as it came.
            continue
        try:
            found = reader(data, plus_in_paths=plus_in_paths, service_path=service_path)
        except (Unreadable, NotARequest, ValueError) as error:
            return first, f"{name} cannot read it: {error!r}"
        if name == "strict":
            first = found
        elif found != first:
            return first, f"{name} reads {_difference(first, found)}"
    return first, ""


def _difference(first: list[Seen], second: list[Seen]) -> str:
    if len(first) != len(second):
        return f"{len(second)} requests, not {len(first)}: {second!r}"
    for one, other in zip(first, second, strict=True):
        for name in vars(one):
            if getattr(one, name) != getattr(other, name):
                return f"{name} {getattr(other, name)!r}, not {getattr(one, name)!r}"
    return ""
