"""
Reads and writes chunked transfer coding.

Source:
    RFC 9112, section 7.1 "Chunked Transfer Coding".
"""

from __future__ import annotations

import re
from enum import auto

from s3proxy.s3.errors import BadRequest
from s3proxy.s3.head import HeaderList
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_TRAILER_SIZE

MAX_LINE_SIZE = 256
"""
Bytes of a chunk's size line: 16 digits, and room for the extensions that some clients still send.
"""

LAST_CHUNK = b"0\r\n\r\n"

_MAX_PIECE_COUNT = 64

# No control bytes: in an extension's quoted string, another reader could read them as an end of line.
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16}+)[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)")


class _State(IdentityEnum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILERS = auto()
    COMPLETE = auto()


class ChunkedFraming:
    """
    Reads a body in chunked transfer coding, however it is cut into segments.

    Attributes:
        is_complete: Whether the last chunk and its trailers were read.
        fault: Why what comes next cannot be read, or None: two readers could understand the framing in two ways, or it
            is no framing at all. What came before it was returned, however the bytes were cut.
        remainder: Bytes after the end, untouched.
        trailers: As received.
    """

    __slots__ = ("_left", "_line", "_state", "_trailer_size", "fault", "remainder", "trailers")

    def __init__(self) -> None:
        self._state = _State.SIZE
        self._line = b""
        self._left = 0
        self._trailer_size = 0
        self.fault: BadRequest | None = None
        self.remainder = b""
        self.trailers: HeaderList = []

    @property
    def is_complete(self) -> bool:
        """
        Whether the body was read to its end.
        """
        return self._state is _State.COMPLETE

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Take bytes as they arrived.

        Returns:
            The content in order, up to the `fault` if there is one: views of ``data``, or of one copy if the chunks are
            many and small.
        """
        pieces: list[memoryview] = []
        try:
            self._read(data, pieces)
        except BadRequest as fault:
            self.fault = fault
        if len(pieces) > _MAX_PIECE_COUNT:
            # A view of each one-byte chunk would hold 200 bytes while the other side is slow.
            pieces = [memoryview(b"".join(pieces))]
        return pieces

    def _read(self, data: bytes, pieces: list[memoryview]) -> None:
        view = memoryview(data)
        position, end = 0, len(data)
        while position < end:
            state = self._state
            if state is _State.DATA:
                taken = min(self._left, end - position)
                pieces.append(view[position : position + taken])
                position += taken
                self._left -= taken
                if not self._left:
                    self._state = _State.DATA_END
            elif state is _State.COMPLETE:
                self.remainder += data[position:]
                break
            else:
                position = self._read_line(data, position)

    def _read_line(self, data: bytes, position: int) -> int:
        """
        Read to the end of a line, or keep its beginning. Returns the position after it.
        """
        limit = MAX_LINE_SIZE - len(self._line) if self._state is not _State.TRAILERS else MAX_TRAILER_SIZE
        found = data.find(b"\n", position, position + limit)
        if found < 0:
            self._line += data[position:]
            if len(self._line) >= MAX_LINE_SIZE and (
                self._state is not _State.TRAILERS or len(self._line) + self._trailer_size > MAX_TRAILER_SIZE
            ):
                raise BadRequest
            if self._state is _State.DATA_END and self._line != b"\r":
                raise BadRequest
            return len(data)
        line = self._line + data[position : found + 1]
        self._line = b""
        if not line.endswith(b"\r\n"):
            raise BadRequest
        self._line_read(line[:-2])
        return found + 1

    def _line_read(self, line: bytes) -> None:
        if self._state is _State.SIZE:
            found = _SIZE_LINE.fullmatch(line)
            if found is None:
                raise BadRequest
            self._left = int(found[1], 16)
            self._state = _State.DATA if self._left else _State.TRAILERS
        elif self._state is _State.DATA_END:
            if line:
                raise BadRequest
            self._state = _State.SIZE
        elif not line:
            self._state = _State.COMPLETE
        else:
            self._trailer_size += len(line) + 2
            trailer = _TRAILER.fullmatch(line)
            if trailer is None or self._trailer_size > MAX_TRAILER_SIZE:
                raise BadRequest
            self.trailers.append((trailer[1], trailer[2].rstrip(b" \t")))


def encode_chunk(size: int) -> bytes:
    """
    Return the size line of a chunk. The chunk follows it, then CRLF.
    """
    return b"%x\r\n" % size
