"""
The parser that s3proxy had before it remembered sets of names: one regular expression for all lines, nothing kept. It
is the oracle for the parser of today.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.s3.errors import BadRequest, RequestHeaderSectionTooLarge
from s3proxy.s3.limits import MAX_CONTENT_LENGTH_DIGITS, MAX_HEAD_SIZE, MAX_HEADER_COUNT, MAX_REQUEST_LINE_SIZE

_LINE = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\x00-\x08\x0a-\x1f\x7f]*+"
_HEADER_LINES = re.compile(rb"%b(?:\r\n%b)*" % (_LINE, _LINE))
_METHOD = re.compile(rb"[A-Za-z][!#$%&'*+\-.^_`|~0-9A-Za-z]{0,31}")
_TARGET = re.compile(rb"/[^\x00-\x20\x7f#]*")
_ABSOLUTE_TARGET = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#\x00-\x20\x7f]+)([/?][^\x00-\x20\x7f#]*)?")
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")

Fields = dict[bytes, list[bytes]]


@dataclass(frozen=True)
class Parsed:
    """
    What the parser made of a head.
    """

    first_line: tuple[bytes | int, ...]
    headers: list[tuple[bytes, bytes]]
    fields: Fields
    content_length: int | None
    is_chunked: bool
    keeps_alive: bool


def parse_request(data: bytes) -> Parsed:
    """
    Return the head of a request, or raise as s3proxy does.
    """
    request_line, crlf, lines = data.partition(b"\r\n")
    if len(request_line) > MAX_REQUEST_LINE_SIZE:
        raise BadRequest
    parts = request_line.split(b" ")
    if len(parts) != 3:
        raise BadRequest
    method, target, version = parts
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or _METHOD.fullmatch(method) is None:
        raise BadRequest
    headers, fields = _parse_lines(lines) if crlf else ([], {})
    raw_target = _parse_target(target, version, fields)
    content_length, is_chunked = _parse_framing(version, fields)
    keeps_alive = version == b"HTTP/1.1" and b"close" not in _tokens(fields.get(b"connection", []))
    return Parsed((method, raw_target, version), headers, fields, content_length, is_chunked, keeps_alive)


def parse_response(data: bytes) -> Parsed:
    """
    Return the head of a response, or raise as s3proxy does.
    """
    status_line, crlf, lines = data.partition(b"\r\n")
    found = _STATUS_LINE.fullmatch(status_line)
    if found is None:
        raise BadRequest
    version, status, reason = found.groups()
    headers, fields = _parse_lines(lines) if crlf else ([], {})
    content_length, is_chunked = _parse_framing(version, fields)
    tokens = _tokens(fields.get(b"connection", []))
    keeps_alive = b"close" not in tokens if version == b"HTTP/1.1" else b"keep-alive" in tokens
    return Parsed((version, int(status), reason or b""), headers, fields, content_length, is_chunked, keeps_alive)


def _parse_lines(lines: bytes) -> tuple[list[tuple[bytes, bytes]], Fields]:
    if lines.count(b"\r\n") >= MAX_HEADER_COUNT:
        raise RequestHeaderSectionTooLarge(MAX_HEAD_SIZE, lines.count(b"\r\n") + 1)
    if _HEADER_LINES.fullmatch(lines) is None:
        raise BadRequest
    headers = []
    fields: Fields = {}
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        headers.append((name, value))
        fields.setdefault(name.lower(), []).append(value)
    return headers, fields


def _parse_target(target: bytes, version: bytes, fields: Fields) -> bytes:
    hosts = fields.get(b"host", [])
    if len(hosts) != 1 and not (version == b"HTTP/1.0" and not hosts):
        raise BadRequest
    host = hosts[0] if hosts else b""
    if _HOST.fullmatch(host) is None:
        raise BadRequest
    if _TARGET.fullmatch(target) is not None:
        return target
    found = _ABSOLUTE_TARGET.fullmatch(target)
    if found is None:
        raise BadRequest
    authority, rest = found.groups()
    if authority.lower() != host.lower():
        raise BadRequest
    rest = rest or b"/"
    return rest if rest.startswith(b"/") else b"/" + rest


def _parse_framing(version: bytes, fields: Fields) -> tuple[int | None, bool]:
    codings = fields.get(b"transfer-encoding")
    lengths = fields.get(b"content-length")
    if codings is not None:
        if lengths is not None or version != b"HTTP/1.1" or len(codings) != 1 or codings[0].lower() != b"chunked":
            raise BadRequest
        return None, True
    if lengths is None:
        return None, False
    length = lengths[0]
    is_number = length.isdigit() and len(length) <= MAX_CONTENT_LENGTH_DIGITS
    if not is_number or lengths.count(length) != len(lengths):
        raise BadRequest
    return int(length), False


def _tokens(values: list[bytes]) -> list[bytes]:
    return [token.strip(b" \t").lower() for value in values for token in value.split(b",")]
