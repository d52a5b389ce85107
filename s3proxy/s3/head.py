"""
Parses the heads of HTTP/1.1 messages: from bytes to a RequestHead or a ResponseHead exactly as received, or an error.

If RFC 9112 leaves a case to the reader, the head is refused here, because the next reader may decide otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import methodcaller
from typing import Any, cast

from s3proxy.s3.errors import BadRequest, RequestHeaderSectionTooLarge
from s3proxy.s3.header_names import KNOWN_SETS, HeaderNames, check_names
from s3proxy.s3.known import Known
from s3proxy.s3.limits import (
    MAX_CONTENT_LENGTH_DIGITS,
    MAX_HEAD_SIZE,
    MAX_HEADER_COUNT,
    MAX_REQUEST_LINE_SIZE,
)
from s3proxy.s3.native import NATIVE

HeaderList = list[tuple[bytes, bytes]]

METHODS = frozenset({b"DELETE", b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT"})
"""
The methods of S3's operations.
"""

_METHOD = re.compile(rb"[A-Za-z][!#$%&'*+\-.^_`|~0-9A-Za-z]{0,31}")
_ABSOLUTE_TARGET = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://([^/?#\x00-\x20\x7f]+)([/?][^\x00-\x20\x7f#]*)?")
# A name or an address, and a port (RFC 3986, section 3.2). Only an IPv6 address has brackets around it.
_HOST = re.compile(rb"(?:[A-Za-z0-9\-._~%!$&'()*+,;=]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_STATUS_LINE = re.compile(rb"(HTTP/1\.[01]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")

_CONTROLS = frozenset({*range(0x20), 0x7F})
_IN_LINES = bytes(set(range(256)) - _CONTROLS | {ord("\t")})
"""
The bytes of header lines: a head has no others, except its line ends.
"""

# At a "#" a backend would cut the key that we signed.
_IN_TARGET = bytes(set(range(256)) - _CONTROLS - set(b" #"))

_AT_COLON = methodcaller("partition", b":")
_NO_HOST = (b"",)
_MAX_KNOWN_TEXTS = 512
_MAX_KNOWN_SIZE = 256
_KNOWN_HOSTS: Known[bytes, None] = Known(_MAX_KNOWN_TEXTS)
_KNOWN_STATUS_LINES: Known[bytes, tuple[bytes, int, bytes]] = Known(_MAX_KNOWN_TEXTS)


class Fields(dict[bytes, tuple[bytes, ...]]):
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


@dataclass(slots=True, eq=False, init=False)
class RequestHead:
    """
    The head of a request, as received, not yet believed.

    Attributes:
        method: As sent; S3 knows only upper case.
        raw_target: Origin form, from the first ``/`` on, byte for byte. The authority of an absolute form is gone.
        headers: Names as sent, values without the white space around them, in order.
        fields: The same values by lower-case name.
        content_length: Bytes, or None where no Content-Length was sent.
        host: The Host header as sent; empty if HTTP/1.0 sent none.
        has_body: Whether any byte follows the head.
        names: The set of the names, if the head is as received and no name is repeated; None for any other head.
        values: The values in the order of `names`.
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
    host: bytes = field(init=False)
    has_body: bool = field(init=False)
    names: HeaderNames | None = field(init=False)
    values: tuple[bytes, ...] = field(init=False)

    # Written out: it is made for each request, and the generated method would call a second one.
    def __init__(
        self,
        method: bytes,
        raw_target: bytes,
        version: bytes,
        headers: HeaderList,
        fields: Fields,
        content_length: int | None = None,
        is_chunked: bool = False,
        keeps_alive: bool = True,
    ) -> None:
        self.method = method
        self.raw_target = raw_target
        self.version = version
        self.headers = headers
        self.fields = fields
        self.content_length = content_length
        self.is_chunked = is_chunked
        self.keeps_alive = keeps_alive
        self.raw_path, mark, query = raw_target.partition(b"?")
        self.raw_query = query if mark else None
        self.host = fields.get(b"host", _NO_HOST)[0]
        self.has_body = is_chunked or bool(content_length)
        self.names = None
        self.values = ()

    def set_headers(self, headers: HeaderList) -> None:
        """
        Replace all headers. The framing stays as it was received.
        """
        self.headers = headers
        self.fields = index_headers(headers)
        self.host = self.fields.get(b"host", _NO_HOST)[0]
        self.names = None

    @property
    def expects_continue(self) -> bool:
        """
        Whether the client may be waiting for ``100 Continue``.
        """
        values = self.fields.get(b"expect")
        return values is not None and self.version == b"HTTP/1.1" and values[0].lower() == b"100-continue"


@dataclass(slots=True, eq=False)
class ResponseHead:
    """
    The head of a backend's response.

    Attributes:
        content_length: Bytes, or None if the response declares none.
        names: The set of the names, if the head is as received and no name is repeated; None for any other head.
    """

    version: bytes
    status: int
    reason: bytes
    headers: HeaderList
    fields: Fields
    content_length: int | None = None
    is_chunked: bool = False
    keeps_alive: bool = True
    names: HeaderNames | None = field(default=None, init=False)


def _native_heads() -> Any:
    """
    Return the native parser; None if there is none.
    """
    if NATIVE is None:
        return None
    heads = NATIVE.Heads(RequestHead, ResponseHead, Fields, MAX_REQUEST_LINE_SIZE, MAX_CONTENT_LENGTH_DIGITS)
    KNOWN_SETS.clear_too(heads)
    return heads


_NATIVE = _native_heads()


def index_headers(headers: Iterable[tuple[bytes, bytes]]) -> Fields:
    """
    Return the values of each header name.
    """
    found: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        found.setdefault(name.lower(), []).append(value)
    return Fields({name: tuple(values) for name, values in found.items()})


def parse_request_head(data: bytes) -> RequestHead:
    """
    Return the head of a request.

    Args:
        data: The whole head, without the empty line at its end.

    Raises:
        BadRequest: It is not HTTP/1.1, or two readers could read it in two ways.
        RequestHeaderSectionTooLarge: It has more than 256 header lines.
    """
    if _NATIVE is not None and (known := _NATIVE.request(data)) is not None:
        return cast(RequestHead, known)
    lines = data.split(b"\r\n")
    request_line = lines[0]
    if len(request_line) > MAX_REQUEST_LINE_SIZE:
        raise BadRequest
    parts = request_line.split(b" ")
    if len(parts) != 3:
        raise BadRequest
    method, target, version = parts
    if version not in {b"HTTP/1.1", b"HTTP/1.0"} or (method not in METHODS and _METHOD.fullmatch(method) is None):
        raise BadRequest
    names, values, headers, fields = _parse_lines(data, lines)
    hosts = fields.get(b"host", ())
    host = hosts[0] if hosts else b""
    if len(hosts) != 1 and (hosts or version != b"HTTP/1.0"):
        raise BadRequest
    if host not in _KNOWN_HOSTS:
        _check_host(host)
    if target[:1] != b"/" or target.translate(None, _IN_TARGET):
        target = _path_of_absolute(target, host)
    if names is not None and not names.has_framing:
        content_length, is_chunked = None, False
        keeps_alive = version == b"HTTP/1.1"
    else:
        content_length, is_chunked = _parse_framing(version, fields)
        connection = fields.get(b"connection")
        keeps_alive = version == b"HTTP/1.1" and (connection is None or b"close" not in _tokens(connection))
    head = RequestHead(method, target, version, headers, fields, content_length, is_chunked, keeps_alive)
    head.names = names
    head.values = values
    return head


def parse_response_head(data: bytes) -> ResponseHead:
    """
    Return the head of a backend's response, final or interim.

    Args:
        data: The whole head, without the empty line at its end.

    Raises:
        BadRequest: The response is ambiguous or not HTTP/1.1, so the backend cannot be trusted.
    """
    if _NATIVE is not None and (known := _NATIVE.response(data)) is not None:
        return cast(ResponseHead, known)
    lines = data.split(b"\r\n")
    version, status, reason = _KNOWN_STATUS_LINES.get(lines[0]) or _parse_status_line(lines[0])
    names, _, headers, fields = _parse_lines(data, lines)
    content_length, is_chunked = None, False
    keeps_alive = version == b"HTTP/1.1"
    if names is None or names.has_framing:
        content_length, is_chunked = _parse_framing(version, fields)
        connection = fields.get(b"connection")
        if connection is not None:
            tokens = _tokens(connection)
            keeps_alive = b"close" not in tokens if keeps_alive else b"keep-alive" in tokens
    head = ResponseHead(version, status, reason, headers, fields, content_length, is_chunked, keeps_alive)
    head.names = names
    return head


def connection_options(fields: Fields) -> frozenset[bytes]:
    """
    Return the lower-case header names that the Connection header lists.
    """
    return frozenset(_tokens(fields.get(b"connection", ())))


def _parse_lines(data: bytes, lines: list[bytes]) -> tuple[HeaderNames | None, tuple[bytes, ...], HeaderList, Fields]:
    """
    Return the set of names, the values in order, the headers, and their index.

    Args:
        data: The whole head.
        lines: Its lines. The first is not a header.
    """
    if len(lines) == 1:
        # The caller checks the first line.
        return None, (), [], Fields()
    del lines[0]
    if len(lines) > MAX_HEADER_COUNT:
        raise RequestHeaderSectionTooLarge(MAX_HEAD_SIZE, len(lines))
    # What is left besides the line ends is a bare CR or LF, or another control character.
    if data.translate(None, _IN_LINES) != b"\r\n" * len(lines):
        raise BadRequest
    sent, colons, rest = zip(*map(_AT_COLON, lines))  # noqa: B905
    if b"" in colons:
        raise BadRequest
    # Of all white space, only spaces and tabs are left.
    values = tuple(map(bytes.strip, rest))
    names = KNOWN_SETS.get(sent) or _learn(sent)
    if names is None:
        headers = list(zip(sent, values))  # noqa: B905
        return None, values, headers, index_headers(headers)
    return names, values, list(zip(names.sent, values)), Fields(zip(names.lower, zip(values)))  # noqa: B905


def _learn(sent: tuple[bytes, ...]) -> HeaderNames | None:
    """
    Return what `check_names` returns, and let native code know it.
    """
    names = check_names(sent)
    if names is not None and _NATIVE is not None:
        _NATIVE.learn(names)
    return names


def _parse_status_line(line: bytes) -> tuple[bytes, int, bytes]:
    found = _STATUS_LINE.fullmatch(line)
    if found is None:
        raise BadRequest
    version, status, reason = found.groups()
    parsed = (version, int(status), reason or b"")
    return _KNOWN_STATUS_LINES.keep(line, parsed) if len(line) <= _MAX_KNOWN_SIZE else parsed


def _check_host(host: bytes) -> None:
    if _HOST.fullmatch(host) is None:
        raise BadRequest
    if len(host) <= _MAX_KNOWN_SIZE:
        _KNOWN_HOSTS.keep(host, None)


def _path_of_absolute(target: bytes, host: bytes) -> bytes:
    """
    Return the origin form of a target in absolute form.
    """
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


def _tokens(values: tuple[bytes, ...]) -> list[bytes]:
    return [token.strip(b" \t").lower() for value in values for token in value.split(b",")]
