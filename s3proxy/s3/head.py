"""
Parses the heads of HTTP/1.1 messages: from bytes to a RequestHead or a ResponseHead exactly as received, or an error.

If RFC 9112 leaves a case to the reader, the head is refused here, because the next reader may decide otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from s3proxy.s3.errors import BadRequest, RequestHeaderSectionTooLarge
from s3proxy.s3.limits import (
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_HEAD_SIZE,
    MAX_HEADER_COUNT,
    MAX_REQUEST_LINE_SIZE,
)

HeaderList = list[tuple[bytes, bytes]]

# All lines at once. A fold begins with white space, which is no name; a bare CR or LF is a control byte in a value.
_LINE = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++:[^\x00-\x08\x0a-\x1f\x7f]*+"
_HEADER_LINES = re.compile(rb"%b(?:\r\n%b)*" % (_LINE, _LINE))
_METHOD = re.compile(rb"[A-Za-z][!#$%&'*+\-.^_`|~0-9A-Za-z]{0,31}")
# At a "#" a backend would cut the key that we signed.
_TARGET = re.compile(rb"/[^\x00-\x20\x7f#]*")
_ABSOLUTE_TARGET = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#\x00-\x20\x7f]+)([/?][^\x00-\x20\x7f#]*)?")
# A name or an address, and a port (RFC 3986, section 3.2). Only an IPv6 address has brackets around it.
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")


class Fields(dict[bytes, list[bytes]]):
    """
    Header values by lower-case name: the values of one name in the order received.
    """

    __slots__ = ()

    def value(self, name: bytes) -> bytes | None:
        """
        Return the value of a header, or None. Repeated values are joined with commas, as in the canonical request.
        """
        values = self.get(name)
        if values is None:
            return None
        return values[0] if len(values) == 1 else b",".join(values)


@dataclass(slots=True, eq=False)
class RequestHead:
    """
    The head of a request, as received, not yet believed.

    Attributes:
        method: As sent; S3 knows only upper case.
        raw_target: Origin form, from the first ``/`` on, byte for byte. The authority of an absolute form is gone.
        headers: Names as sent, values without the white space around them, in order.
        fields: The same values by lower-case name.
        content_length: Bytes, or None where no Content-Length was sent.
        has_body: Whether any byte follows the head.
    """

    method: bytes
    raw_target: bytes
    version: bytes
    headers: HeaderList
    fields: Fields
    content_length: int | None = None
    is_chunked: bool = False
    keeps_alive: bool = True
    raw_path: bytes = field(init=False)
    raw_query: bytes | None = field(init=False)
    has_body: bool = field(init=False)

    def __post_init__(self) -> None:
        self.raw_path, mark, query = self.raw_target.partition(b"?")
        self.raw_query = query if mark else None
        self.has_body = self.is_chunked or bool(self.content_length)

    @property
    def expects_continue(self) -> bool:
        """
        Whether the client may be waiting for ``100 Continue``.
        """
        values = self.fields.get(b"expect")
        return values is not None and self.version == b"HTTP/1.1" and values[0].lower() == b"100-continue"

    @property
    def host(self) -> bytes:
        """
        The Host header as sent; empty if HTTP/1.0 sent none.
        """
        return (self.fields.get(b"host") or [b""])[0]


@dataclass(slots=True, eq=False)
class ResponseHead:
    """
    The head of a backend's response.

    Attributes:
        content_length: Bytes, or None if the response declares none.
    """

    version: bytes
    status: int
    reason: bytes
    headers: HeaderList
    fields: Fields
    content_length: int | None = None
    is_chunked: bool = False
    keeps_alive: bool = True


def index_headers(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """
    Return the values of each header name.
    """
    fields = Fields()
    for name, value in headers:
        lower = name.lower()
        values = fields.get(lower)
        if values is None:
            fields[lower] = [value]
        else:
            values.append(value)
    return fields


def parse_request_head(data: bytes) -> RequestHead:
    """
    Return the head of a request.

    Args:
        data: The whole head, without the empty line at its end.

    Raises:
        BadRequest: It is not HTTP/1.1, or two readers could read it in two ways.
        RequestHeaderSectionTooLarge: It has more than 256 header lines.
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
    headers, fields = _parse_header_lines(lines) if crlf else ([], Fields())
    raw_target = _parse_target(target, version, fields)
    content_length, is_chunked = _parse_framing(version, fields)
    connection = fields.get(b"connection")
    keeps_alive = version == b"HTTP/1.1" and (connection is None or b"close" not in _tokens(connection))
    return RequestHead(method, raw_target, version, headers, fields, content_length, is_chunked, keeps_alive)


def parse_response_head(data: bytes) -> ResponseHead:
    """
    Return the head of a backend's response, final or interim.

    Args:
        data: The whole head, without the empty line at its end.

    Raises:
        BadRequest: The response is ambiguous or not HTTP/1.1, so the backend cannot be trusted.
    """
    status_line, crlf, lines = data.partition(b"\r\n")
    found = _STATUS_LINE.fullmatch(status_line)
    if found is None:
        raise BadRequest
    version, status, reason = found.groups()
    headers, fields = _parse_header_lines(lines) if crlf else ([], Fields())
    content_length, is_chunked = _parse_framing(version, fields)
    tokens = _tokens(fields.get(b"connection", []))
    keeps_alive = b"close" not in tokens if version == b"HTTP/1.1" else b"keep-alive" in tokens
    return ResponseHead(version, int(status), reason or b"", headers, fields, content_length, is_chunked, keeps_alive)


def connection_options(fields: Fields) -> frozenset[bytes]:
    """
    Return the lower-case header names that the Connection header lists.
    """
    return frozenset(_tokens(fields.get(b"connection", [])))


def _parse_header_lines(lines: bytes) -> tuple[HeaderList, Fields]:
    if lines.count(b"\r\n") >= MAX_HEADER_COUNT:
        raise RequestHeaderSectionTooLarge(MAX_HEAD_SIZE, lines.count(b"\r\n") + 1)
    if _HEADER_LINES.fullmatch(lines) is None:
        raise BadRequest
    headers: HeaderList = []
    fields = Fields()
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        headers.append((name, value))
        lower = name.lower()
        if lower in fields:
            fields[lower].append(value)
        else:
            fields[lower] = [value]
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
        # A request with both Transfer-Encoding and Content-Length is the classic smuggling attack.
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
