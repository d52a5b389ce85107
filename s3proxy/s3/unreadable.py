"""
Explains to an operator why the head of a request was refused.

It is called after `parse_request_head` has refused a head, and decides nothing. Its text contains no bytes of the
request: a client that sends garbage must not write into a log, and half a head may hold a credential.
"""

from __future__ import annotations

from s3proxy.s3.errors import BadRequest
from s3proxy.s3.head import parse_request_head
from s3proxy.s3.limits import MAX_HEAD_SIZE, MAX_HEADER_COUNT, MAX_REQUEST_LINE_SIZE

_PLAIN_LINE = b"GET / HTTP/1.1"


def why_unreadable(data: bytes) -> str:
    """
    Return what is wrong with a head that is not a request.

    Args:
        data: The head as received, or its beginning.
    """
    if data[:2] == b"\x16\x03":
        return "a TLS handshake, on a port that has no TLS"
    if len(data) > MAX_HEAD_SIZE:
        return f"its head is longer than {MAX_HEAD_SIZE} bytes"
    request_line, _, rest = data.partition(b"\r\n")
    if not request_line[:1].isalpha():
        return "it does not begin with a method"
    if len(request_line) > MAX_REQUEST_LINE_SIZE:
        return f"its request line is longer than {MAX_REQUEST_LINE_SIZE} bytes"
    lines = rest.partition(b"\r\n\r\n")[0].split(b"\r\n") if rest else []
    if len(lines) > MAX_HEADER_COUNT:
        return f"it has {len(lines)} headers, and at most {MAX_HEADER_COUNT} are read"
    return _of_request_line(request_line) or _of_lines(lines) or "its request line, its Host and its framing disagree"


def _is_readable(*lines: bytes) -> bool:
    try:
        parse_request_head(b"\r\n".join(lines))
    except BadRequest:
        return False
    return True


def _of_request_line(request_line: bytes) -> str:
    if request_line.count(b" ") != 2:
        return "its first line is not METHOD TARGET VERSION, with one space between them"
    method, target, version = request_line.split(b" ")
    if version not in {b"HTTP/1.1", b"HTTP/1.0"}:
        return "its version is neither HTTP/1.1 nor HTTP/1.0"
    if not _is_readable(method + b" / HTTP/1.1", b"Host: a"):
        return "its method is not a token of at most 32 characters"
    if target.startswith(b"/") and not _is_readable(b"GET " + target + b" HTTP/1.1", b"Host: a"):
        return 'its target has a control character or a "#" in it'
    return ""


def _of_lines(lines: list[bytes]) -> str:
    names: dict[bytes, list[bytes]] = {}
    for number, line in enumerate(lines, 1):
        name, _, value = line.partition(b":")
        if not name or not _is_readable(_PLAIN_LINE, b"Host: a", b"x-" + line):
            return f"header {number} is not NAME: VALUE on one line, without control characters"
        names.setdefault(name.lower(), []).append(value.strip(b" \t"))
    hosts, codings = names.get(b"host", []), names.get(b"transfer-encoding", [])
    lengths = names.get(b"content-length", [])
    if len(hosts) != 1:
        return f"it has {len(hosts)} Host headers"
    if not _is_readable(_PLAIN_LINE, b"Host: " + hosts[0]):
        return "its Host is not a name or an address, with or without a port"
    if codings and lengths:
        return "it has both Content-Length and Transfer-Encoding"
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        return "its Transfer-Encoding is not chunked alone"
    if len(set(lengths)) > 1:
        return f"it has {len(set(lengths))} Content-Length headers that differ"
    if lengths and not _is_readable(_PLAIN_LINE, b"Host: a", b"Content-Length: " + lengths[0]):
        return "its Content-Length is not a number of bytes"
    return ""
