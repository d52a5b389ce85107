"""
A strict reader of HTTP/1.1 requests, and a simple one of names and values.

Source:
    RFC 9112, sections 2 to 6; RFC 9110, sections 5 and 8.6; RFC 3986, section 3.3.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_HEAD_SIZE = 1 << 20
"""
Bytes without the end of a head after which a stream is not a sequence of requests.
"""

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb") ([^\x00-\x20\x7f]+) (HTTP/[0-9]\.[0-9])")
_FIELD_LINE = re.compile(
    rb"(" + _TOKEN + rb"):[ \t]*((?:[^\x00-\x20\x7f](?:[^\x00-\x08\x0a-\x1f\x7f]*[^\x00-\x20\x7f])?)?)[ \t]*"
)
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)
_TARGET = re.compile(rb"/[!-\"$-~\x80-\xff]*")
_HOST = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\r\n]*)?\r\n")

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"date",
        b"expires",
        b"host",
        b"if-modified-since",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"referer",
        b"user-agent",
    }
)
"""
Fields that RFC 9110 does not define as a list: if there are several lines, two readers may choose different ones.
"""

AUTHENTICATION = frozenset(
    {
        b"awsaccesskeyid",
        b"expires",
        b"signature",
        b"x-amz-algorithm",
        b"x-amz-credential",
        b"x-amz-date",
        b"x-amz-expires",
        b"x-amz-region-set",
        b"x-amz-security-token",
        b"x-amz-signature",
        b"x-amz-signedheaders",
    }
)
"""
Parameters of authentication, in lower case: none may reach a backend in a query.
"""


class NotARequest(Exception):
    """
    Bytes that RFC 9112 does not allow.
    """


@dataclass(slots=True)
class Head:
    """
    The head of a request.

    Attributes:
        raw: All of its bytes, with the empty line.
        fields: Values by lower-case name, in order.
    """

    raw: bytes
    method: bytes
    target: bytes
    version: bytes
    headers: list[tuple[bytes, bytes]]
    fields: dict[bytes, list[bytes]] = field(default_factory=dict)

    @property
    def path(self) -> bytes:
        return self._origin.partition(b"?")[0]

    @property
    def query(self) -> bytes | None:
        _, mark, query = self._origin.partition(b"?")
        return query if mark else None

    @property
    def _origin(self) -> bytes:
        # A client may send the absolute form (RFC 9112, section 3.2.2); `backend_faults` refuses it from a proxy.
        found = _ABSOLUTE.match(self.target)
        if found is None:
            return self.target
        rest = self.target[found.end() :]
        return rest if rest.startswith(b"/") else b"/" + rest

    def one(self, name: bytes) -> bytes | None:
        """
        Return the first value of a field.
        """
        values = self.fields.get(name)
        return values[0] if values else None


def parse_head(raw: bytes, *, is_client: bool = False) -> Head:
    """
    Read a head that RFC 9112 allows: the rules that both sides share.

    Args:
        is_client: Whether a client sent it. A client may send the same length twice (RFC 9110, section 8.6).

    Raises:
        NotARequest: The bytes are not such a head.
    """
    if raw[-4:] != b"\r\n\r\n":
        raise NotARequest("a head without its end")
    request_line, *lines = raw[:-4].split(b"\r\n")
    found = _REQUEST_LINE.fullmatch(request_line)
    if found is None:
        raise NotARequest(f"a request line which is none: {request_line!r}")
    headers = []
    fields: dict[bytes, list[bytes]] = {}
    for line in lines:
        match = _FIELD_LINE.fullmatch(line)
        if match is None:
            raise NotARequest(f"a field line which is none: {line!r}")
        name, value = match.groups()
        headers.append((name, value))
        lower = name.lower()
        if lower in fields:
            fields[lower].append(value)
        else:
            fields[lower] = [value]
    head = Head(raw, *found.groups(), headers, fields)
    hosts = fields.get(b"host", ())
    if len(hosts) != 1 or _HOST.fullmatch(hosts[0]) is None:
        raise NotARequest(f"Host must be one authority: {list(hosts)!r}")
    lengths = fields.get(b"content-length", ())
    if len(set(lengths) if is_client else lengths) > 1 or (lengths and not lengths[0].isdigit()):
        raise NotARequest(f"Content-Length must be one number: {list(lengths)!r}")
    if lengths and b"transfer-encoding" in fields:
        raise NotARequest("both Content-Length and Transfer-Encoding")
    return head


_OWN_HOP = (
    ((b"connection", [b"close"]),),
    ((b"connection", [b"close"]), (b"transfer-encoding", [b"chunked"])),
)
"""
Hop-by-hop headers in requests of the proxy's own: health checks close their connection, and the doctor also tries
chunks.
"""


def backend_faults(head: Head, *, is_probe: bool = False) -> list[str]:
    """
    Return what is wrong with a head that leaves for a backend, for any client.

    Args:
        is_probe: Whether the request tests what a backend accepts, presigned URLs and transfer coding included.
    """
    faults = []
    if head.version != b"HTTP/1.1":
        faults.append(f"the version is {head.version!r}")
    if _TARGET.fullmatch(head.target) is None:
        faults.append(f"the target is not in origin form: {head.target!r}")
    for name, values in head.fields.items():
        if name in HOP_BY_HOP and (name, values) not in _OWN_HOP[is_probe]:
            faults.append(f"a header of the hop: {name!r}")
        if len(values) > 1 and (name in SINGLE or name.startswith(b"x-amz-")):
            faults.append(f"several lines of {name!r}")
        if b"_" in name and not name.startswith(b"x-amz-meta-"):
            faults.append(f"an underscore in the name {name!r}")
    if head.query and not is_probe:
        for item in head.query.split(b"&"):
            if fully_decoded(item.partition(b"=")[0]).lower() in AUTHENTICATION:
                faults.append(f"a parameter of authentication in the query: {item.partition(b'=')[0]!r}")
    return faults


def fully_decoded(text: bytes) -> bytes:
    """
    Decode until nothing changes: some reader may take the name for that other one.
    """
    for _ in range(4):
        after = decoded(text.replace(b"+", b" "))
        if after == text:
            break
        text = after
    return text.strip()


_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")


def decoded(text: bytes) -> bytes:
    """
    Decode percent escapes once.
    """
    if b"%" not in text:
        return text
    return _ESCAPE.sub(lambda found: bytes((int(found[1], 16),)), text)


def decoded_item(text: bytes) -> bytes:
    """
    Decode a name or value of a query.
    """
    return decoded(text.replace(b"+", b" ")) if b"+" in text or b"%" in text else text


class ChunkedBody:
    """
    A body in chunked transfer coding, as it arrives.

    Attributes:
        is_complete: Whether its last chunk and its trailer section have arrived.
        rest: Bytes after it.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._chunk_left = 0
        self.is_complete = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """
        Return what the bytes add to the body. Nothing is read after an invalid chunk.
        """
        pieces = []
        self._buffer += data
        while not self.is_complete:
            if self._chunk_left > 2:
                piece = self._buffer[: self._chunk_left - 2]
                self._buffer = self._buffer[len(piece) :]
                self._chunk_left -= len(piece)
                pieces.append(piece)
                if self._chunk_left > 2:
                    break
            if self._chunk_left:
                if len(self._buffer) < 2:
                    break
                self._buffer = self._buffer[2:]
                self._chunk_left = 0
            found = _CHUNK_SIZE.match(self._buffer)
            if found is None:
                break
            size = int(found[1], 16)
            if size:
                self._buffer = self._buffer[found.end() :]
                self._chunk_left = size + 2
                continue
            # After the last chunk: its trailer section ends with an empty line.
            start = found.end() - 2
            end = self._buffer.find(b"\r\n\r\n", start)
            if end < 0:
                break
            self.is_complete = True
            self.rest, self._buffer = self._buffer[end + 4 :], b""
        return pieces


class RequestStream:
    """
    The bytes on one connection to a backend, which must be a sequence of requests and nothing else.

    Args:
        received: Called with each head, before its body.
        breach: Called with what is wrong, and with the bytes that are wrong.

    Attributes:
        body_left: Bytes of the current body that have yet to arrive.
        digest: Updated with the current body if `received` sets it.
    """

    def __init__(self, received: Callable[[Head], None], breach: Callable[[str, bytes], None]) -> None:
        self._received = received
        self._breach = breach
        self._buffer = b""
        self._chunks: ChunkedBody | None = None
        self.body_left = 0
        self.digest: Any = None
        self.is_dead = False

    @property
    def is_between(self) -> bool:
        """
        Whether the last request is complete and none has begun.
        """
        return not self.body_left and self._chunks is None and not self._buffer

    def feed(self, data: bytes) -> None:
        """
        Read bytes from the connection.
        """
        while data and not self.is_dead:
            if self.body_left:
                size = min(len(data), self.body_left)
                self.body_left -= size
                if self.digest is not None:
                    self.digest.update(data[:size])
                if size == len(data):
                    return
                data = data[size:]
            if self._chunks is not None:
                self._chunks.feed(bytes(data))
                if not self._chunks.is_complete:
                    return
                data, self._chunks = self._chunks.rest, None
                continue
            data = self._buffer + bytes(data)
            end = data.find(b"\r\n\r\n")
            if end < 0:
                self._buffer = data
                if len(data) > MAX_HEAD_SIZE:
                    self._die("no head ends here", data)
                return
            self._buffer = b""
            raw, data = data[: end + 4], data[end + 4 :]
            try:
                head = parse_head(raw)
            except NotARequest as error:
                self._die(str(error), raw)
                return
            length = head.one(b"content-length")
            self.body_left = int(length) if length else 0
            self._chunks = ChunkedBody() if b"transfer-encoding" in head.fields else None
            self.digest = None
            self._received(head)

    def skip(self, size: int) -> None:
        """
        Count bytes of a body that passed unseen.
        """
        if size > self.body_left:
            self._die(f"{size} bytes were moved, {self.body_left} belong to the body", b"")
        else:
            self.body_left -= size
            self.digest = None

    def _die(self, text: str, raw: bytes) -> None:
        self.is_dead = True
        self._breach(text, raw)


class ClientStream:
    """
    The bytes of one client's connection, split into requests as the oracle reads them.

    The bytes before a request are kept until `next_head` is called for it.

    Attributes:
        is_body_complete: Whether the whole body of the current request has arrived.
        is_unreadable: Whether bytes arrived that s3proxy did not read as a request.
        body: Kept bytes of the current request's body.
        body_size: Number of the body's bytes, without transfer coding.
    """

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self._chunks: ChunkedBody | None = None
        self._kept_size = 0
        self.is_body_complete = True
        self.is_unreadable = False
        self.body: list[bytes] = []
        self.body_size = 0

    def feed(self, data: bytes) -> None:
        """
        Receive bytes from the client.
        """
        if self._chunks is not None:
            self._read_chunks(self._chunks, data)
        elif self._left:
            piece = data if len(data) <= self._left else data[: self._left]
            self._left -= len(piece)
            self._take(piece)
            self.is_body_complete = not self._left
            if len(piece) < len(data):
                self._buffer = data[len(piece) :]
        elif not self.is_unreadable:
            self._buffer += data
            if len(self._buffer) > MAX_HEAD_SIZE:
                # Bytes after a refusal: s3proxy will read no request from them.
                self._buffer = b""
                self.is_unreadable = True

    def next_head(self, kept_size: Callable[[Head], int]) -> Head:
        """
        Cut the next head out of the bytes.

        Args:
            kept_size: Returns how many bytes of a request's body to keep.

        Raises:
            NotARequest: There is no head that RFC 9112 allows.
        """
        if self.is_unreadable or not self.is_body_complete:
            raise NotARequest("a request begins inside other bytes")
        start = 2 if self._buffer.startswith(b"\r\n") else 0
        end = self._buffer.find(b"\r\n\r\n", start)
        if end < 0:
            raise NotARequest("a request without a head")
        raw, rest, self._buffer = self._buffer[start : end + 4], self._buffer[end + 4 :], b""
        head = parse_head(raw, is_client=True)
        self.body, self.body_size, self._kept_size = [], 0, kept_size(head)
        codings = head.fields.get(b"transfer-encoding")
        if codings is not None and [coding.lower() for coding in codings] != [b"chunked"]:
            raise NotARequest(f"a transfer coding which is none: {codings!r}")
        self._chunks = ChunkedBody() if codings is not None else None
        self._left = int(head.one(b"content-length") or 0)
        self.is_body_complete = not self._left and self._chunks is None
        if rest:
            self.feed(rest)
        return head

    def skip(self, size: int) -> None:
        """
        Count bytes of a body that passed unseen.
        """
        self._left -= size
        self.body_size += size
        self.is_body_complete = self._left <= 0

    def _take(self, piece: bytes) -> None:
        self.body_size += len(piece)
        if self._kept_size > 0:
            self.body.append(piece)
            self._kept_size -= len(piece)

    def _read_chunks(self, chunks: ChunkedBody, data: bytes) -> None:
        for piece in chunks.feed(data):
            self._take(piece)
        if chunks.is_complete:
            self._chunks, self.is_body_complete = None, True
            self._buffer = chunks.rest
