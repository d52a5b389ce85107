"""
The aws-chunked content coding: bytes in, decoded bytes out; every byte of framing is accounted for.

Source:
    "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", and the same
    "... Including Trailing Headers".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from enum import auto
from typing import Protocol

from s3proxy.awschunked.checksums import BodyDigests
from s3proxy.s3.errors import IncompleteBody, InvalidChunkSizeError, MalformedTrailerError
from s3proxy.s3.head import HeaderList
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_CHUNK_HEADER_SIZE, MAX_TRAILER_SIZE, MIB, MIN_CHUNK_SIZE

_SIGNED_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16}+)[ \t]*+;[ \t]*+chunk-signature[ \t]*+=[ \t]*+([^\s;]++)[ \t]*+\r\n")
_UNSIGNED_HEADER = re.compile(rb"([0-9A-Fa-f]{1,16}+)[ \t]*+\r\n")
_TRAILER = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[ \t]*+([\t\x20-\x7e\x80-\xff]*+)")
_TRAILER_SIGNATURE = b"x-amz-trailer-signature"

_NOTHING = hashlib.sha256()
_EMPTY_SHA256 = _NOTHING.hexdigest().encode()

MAX_EXCESS_SIZE = 1 * MIB
"""
Decoded bytes after the declared length that are read only to count them for the error.
"""


class ChunkVerifier(Protocol):
    """
    Verifies signed chunks and trailers, in order.
    """

    def is_signature(self, claimed_signature: bytes) -> bool:
        """
        Return True if a text has the form of a signature.
        """

    def check_chunk(self, computed_sha256: bytes, claimed_signature: bytes) -> None:
        """
        Verify one chunk, or raise.
        """

    def check_trailer(self, trailer_lines: bytes, claimed_signature: bytes) -> None:
        """
        Verify the trailer, or raise.
        """


class _State(IdentityEnum):
    CHUNK_HEADER = auto()
    CHUNK_DATA = auto()
    CHUNK_END = auto()
    TRAILERS = auto()
    COMPLETE = auto()


class AwsChunkedDecoder:
    """
    Decodes one body, however it is cut into segments.

    Args:
        decoded_length: Bytes, as x-amz-decoded-content-length declares.
        digests: Run over the decoded bytes.
        verifier: Of signed chunks; None where chunks are not signed.
        has_trailer: Whether trailers may follow the last chunk.
        min_chunk_size: Bytes that every data chunk except the last must have.
        small_chunk: Called once if a chunk has fewer bytes, which is then allowed; None to refuse such a body.

    Attributes:
        length: Declared bytes of the decoded body.
        decoded_size: Bytes decoded so far, those after the declared length included.
        trailers: As sent, without the trailer signature.
    """

    __slots__ = (
        "_awaits_crlf",
        "_chunk_number",
        "_claimed_signature",
        "_digests",
        "_has_trailer",
        "_hash",
        "_header",
        "_kept",
        "_last_chunk_size",
        "_left",
        "_min_chunk_size",
        "_small_chunk",
        "_state",
        "_trailer_is_signed",
        "_trailer_size",
        "_updates",
        "_verifier",
        "decoded_size",
        "length",
        "trailers",
    )

    def __init__(
        self,
        decoded_length: int,
        digests: BodyDigests,
        *,
        verifier: ChunkVerifier | None = None,
        has_trailer: bool = False,
        min_chunk_size: int = MIN_CHUNK_SIZE,
        small_chunk: Callable[[], object] | None = None,
    ) -> None:
        self.length = decoded_length
        self.decoded_size = 0
        self.trailers: HeaderList = []
        self._digests = digests
        self._updates = digests.updates
        self._verifier = verifier
        self._header = _UNSIGNED_HEADER if verifier is None else _SIGNED_HEADER
        self._has_trailer = has_trailer
        self._min_chunk_size = min_chunk_size
        self._small_chunk = small_chunk
        self._state = _State.CHUNK_HEADER
        self._kept = b""
        self._left = 0
        self._chunk_number = 0
        self._last_chunk_size = min_chunk_size
        self._claimed_signature = b""
        self._hash = _NOTHING
        self._trailer_size = 0
        self._trailer_is_signed = False
        self._awaits_crlf = False

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Take bytes as they arrived.

        Returns:
            The decoded bytes among them, in order, as views of ``data``; never more than the declared length in all.

        Raises:
            IncompleteBody: The framing is broken.
            InvalidChunkSizeError: A chunk before the last is too small.
            SignatureDoesNotMatch: A chunk or the trailer is not what was signed.
            MalformedTrailerError: The trailers are too long.
        """
        if self._kept:
            data, self._kept = self._kept + data, b""
        pieces: list[memoryview] = []
        view = memoryview(data)
        position, end = 0, len(data)
        while position < end:
            state = self._state
            if state is _State.CHUNK_DATA:
                piece = view[position : position + self._left]
                size = len(piece)
                position += size
                self._left -= size
                self._take(piece, size, pieces)
                if not self._left:
                    self._state = _State.CHUNK_END
            elif state is _State.CHUNK_END:
                if end - position < 2:
                    self._keep(data, position, is_broken=data[position] != 13)
                    break
                if data[position : position + 2] != b"\r\n":
                    raise IncompleteBody
                position += 2
                self._chunk_ended()
            elif state is _State.CHUNK_HEADER:
                limit = position + MAX_CHUNK_HEADER_SIZE
                found = self._header.match(data, position, limit)
                if found is None:
                    self._keep(data, position, is_broken=end >= limit or data.find(b"\n", position) >= 0)
                    break
                self._header_read(found)
                position = found.end()
                size = self._left
                if size and position + size + 2 <= end:
                    # The whole chunk is here.
                    self._left = 0
                    chunk_end = position + size
                    self._take(view[position:chunk_end], size, pieces)
                    position = chunk_end + 2
                    if data[chunk_end:position] != b"\r\n":
                        raise IncompleteBody
                    self._chunk_ended()
            else:
                position = self._read_line(data, position)
                if position < 0:
                    break
        return pieces

    def finish(self) -> HeaderList:
        """
        Know that no more bytes will come.

        Returns:
            The verified checksums, as headers.

        Raises:
            IncompleteBody: Something is missing, or the decoded length is not the declared one.
            MalformedTrailerError: The trailers are not the declared ones.
            InvalidRequest: The value of a trailer cannot be read.
            BadDigest: A digest does not match the body.
        """
        if self._state not in {_State.TRAILERS, _State.COMPLETE} or self._kept or self._awaits_crlf:
            # The last CRLF may be missing, but a line must not be cut.
            raise IncompleteBody
        if self._has_trailer and self._verifier is not None and not self._trailer_is_signed:
            raise IncompleteBody
        self._check_length()
        self._digests.check(self.trailers)
        return self._digests.verified

    def _check_length(self) -> None:
        if self.decoded_size != self.length:
            raise IncompleteBody.of_length(self.length, self.decoded_size)

    def _keep(self, data: bytes, position: int, *, is_broken: bool) -> None:
        """
        Keep the beginning of what frames a chunk, until its end has come.
        """
        if is_broken:
            raise IncompleteBody
        self._kept = data[position:]

    def _take(self, piece: memoryview, size: int, pieces: list[memoryview]) -> None:
        if self._verifier is not None:
            if self._hash is _NOTHING:
                self._hash = hashlib.sha256(piece)
            else:
                self._hash.update(piece)
        room = self.length - self.decoded_size
        self.decoded_size += size
        if size <= room:
            for update in self._updates:
                update(piece)
            pieces.append(piece)
            return
        # Longer than declared: the excess is not returned, but counted for the error.
        if room > 0:
            self._digests.update(piece[:room])
            pieces.append(piece[:room])
        if self.decoded_size - self.length > MAX_EXCESS_SIZE:
            raise IncompleteBody.of_length(self.length, self.decoded_size)

    def _header_read(self, found: re.Match[bytes]) -> None:
        if self._verifier is not None:
            self._claimed_signature = found[2]
            if not self._verifier.is_signature(self._claimed_signature):
                raise IncompleteBody
        size = int(found[1], 16)
        self._chunk_number += 1
        if size:
            if self._last_chunk_size < self._min_chunk_size:
                if self._small_chunk is None:
                    raise InvalidChunkSizeError(self._chunk_number, self._last_chunk_size)
                self._small_chunk()
                self._min_chunk_size = 0
            self._last_chunk_size = self._left = size
            self._state = _State.CHUNK_DATA
            return
        if self._verifier is not None:
            self._verifier.check_chunk(_EMPTY_SHA256, self._claimed_signature)
        self._state = _State.TRAILERS

    def _chunk_ended(self) -> None:
        if self._verifier is not None:
            self._verifier.check_chunk(self._hash.hexdigest().encode(), self._claimed_signature)
            self._hash = _NOTHING
        self._state = _State.CHUNK_HEADER

    def _read_line(self, data: bytes, position: int) -> int:
        """
        Read one line after the last chunk.

        Returns:
            The position of the next line; -1 if this line is not complete. Its beginning is kept.
        """
        limit = MAX_TRAILER_SIZE - self._trailer_size
        found = data.find(b"\n", position, position + limit)
        if found < 0:
            if len(data) - position >= limit:
                raise MalformedTrailerError
            self._kept = data[position:]
            return -1
        line = data[position : found + 1]
        self._trailer_size += len(line)
        if self._awaits_crlf:
            if line != b"\r\n":
                raise IncompleteBody
            self._awaits_crlf = False
        elif line == b"\r\n":
            # After the blank line only further blank lines may follow.
            self._state = _State.COMPLETE
        elif self._state is _State.COMPLETE or not self._has_trailer:
            if self._has_trailer and self._digests.trailer_name is not None and not self.trailers:
                raise MalformedTrailerError
            # A zero chunk in the middle of a body: S3 reports the missing bytes.
            self._check_length()
            raise IncompleteBody
        else:
            # minio-go ends a trailer with a bare LF before its CRLF.
            self._awaits_crlf = not line.endswith(b"\r\n")
            self._trailer_read(line.rstrip(b"\r\n"))
        return found + 1

    def _trailer_read(self, line: bytes) -> None:
        found = _TRAILER.fullmatch(line)
        if found is None or self._trailer_is_signed:
            raise IncompleteBody
        name, value = found[1], found[2].rstrip(b" \t")
        if self._verifier is not None and name.lower() == _TRAILER_SIGNATURE:
            if not self._verifier.is_signature(value):
                raise IncompleteBody
            last = {name.lower(): value for name, value in self.trailers}
            lines = b"".join([b"%s:%s\n" % item for item in sorted(last.items())])
            self._verifier.check_trailer(lines, value)
            self._trailer_is_signed = True
        else:
            self.trailers.append((name, value))
