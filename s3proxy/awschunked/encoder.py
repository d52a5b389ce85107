"""
Encodes a body in aws-chunked, for backends that support it and for tests.

Source:
    "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", and the same
    "... Including Trailing Headers".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from s3proxy.awschunked.checksums import checksum_size
from s3proxy.s3.limits import KIB

CHUNK_SIZE = 64 * KIB
"""
Bytes of each chunk except the last: what most clients send, and more than the minimum of any server.
"""

SignChunk = Callable[[bytes], bytes]
"""
Returns the signature for the lower-case hex SHA-256 of a chunk's data. Called in order, and last for the zero chunk.
"""

SignTrailer = Callable[[bytes], bytes]
"""
Returns the signature of the trailer's lines, each with an LF at its end. Called once, after the zero chunk is signed.
"""

_SIGNATURE = b";chunk-signature="
_SIGNATURE_SIZE = 64
_TRAILER_SIGNATURE = b"x-amz-trailer-signature:"
_MAX_KEPT_PIECES = 32
_NEXT_WHOLE = b"\r\n%x\r\n" % CHUNK_SIZE


def encoded_length(length: int, trailer_name: bytes | None = None, *, is_signed: bool = True) -> int:
    """
    Return the length of an encoded body in bytes.

    Args:
        length: Bytes of the body.
        trailer_name: Name of the checksum after the body, lower case; None for no trailer.
        is_signed: True for a `ChunkEncoder`, False for an `UnsignedChunkEncoder`.
    """
    signature_size = len(_SIGNATURE) + _SIGNATURE_SIZE if is_signed else 0
    whole, rest = divmod(length, CHUNK_SIZE)
    # The CRLF of the zero chunk is also the end of the trailer.
    encoded = whole * _chunk_length(CHUNK_SIZE, signature_size) + _chunk_length(0, signature_size)
    if rest:
        encoded += _chunk_length(rest, signature_size)
    if trailer_name is not None:
        encoded += len(trailer_name) + len(b":\r\n") + checksum_size(trailer_name)
        if is_signed:
            encoded += len(_TRAILER_SIGNATURE) + _SIGNATURE_SIZE + len(b"\r\n")
    return encoded


def _chunk_length(size: int, signature_size: int) -> int:
    return len(b"%x\r\n\r\n" % size) + signature_size + size


class ChunkEncoder:
    """
    Encodes one body into signed chunks of `CHUNK_SIZE`, as it arrives.

    The signature of a chunk precedes its data, so the pieces of a chunk are kept until it is whole. They are copied
    only if they would hold far more memory than their own. The last data chunk is kept until `finish`, and is returned
    with the zero chunk, so that the backend cannot treat the body as complete before that.

    Args:
        length: Bytes of the body.
        sign_chunk: Called for each chunk, in order.
        trailer_name: Name of the checksum that follows, lower case; None for no trailer.
        sign_trailer: Signs the trailer; required if there is one.

    Attributes:
        encoded_length: Bytes of the whole encoded body.
    """

    __slots__ = (
        "_hash",
        "_kept",
        "_left",
        "_line_end",
        "_sign_chunk",
        "_sign_trailer",
        "_size",
        "_trailer_name",
        "encoded_length",
    )

    def __init__(
        self,
        length: int,
        sign_chunk: SignChunk,
        *,
        trailer_name: bytes | None = None,
        sign_trailer: SignTrailer | None = None,
    ) -> None:
        self.encoded_length = encoded_length(length, trailer_name)
        self._left = length
        self._sign_chunk = sign_chunk
        self._trailer_name = trailer_name
        self._sign_trailer = sign_trailer
        self._kept: list[memoryview] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self._line_end = b""

    def feed(self, pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """
        Take bytes of the body, which must not change afterwards.

        Returns:
            The chunks in pieces, as views of what was given.
        """
        encoded: list[bytes | memoryview] = []
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self._size == CHUNK_SIZE:
                    # It should have been the last. A body that is too long stays so, for the next check.
                    self._end_chunk(encoded)
                part = rest[: CHUNK_SIZE - self._size]
                rest = rest[len(part) :]
                self._hash.update(part)
                self._kept.append(part)
                self._size += len(part)
                self._left -= len(part)
                if self._size == CHUNK_SIZE and self._left > 0:
                    self._end_chunk(encoded)
        self._shrink()
        return encoded

    def finish(self, verified: Iterable[tuple[bytes, bytes]] = ()) -> list[bytes | memoryview]:
        """
        Return the end of the encoding, once the body is complete and verified.

        Args:
            verified: Checksums that match the body, that of the trailer included.

        Returns:
            The last data chunk, the zero chunk and the trailer.
        """
        encoded: list[bytes | memoryview] = []
        if self._size:
            self._end_chunk(encoded)
        self._end_chunk(encoded)
        if self._trailer_name is None:
            encoded.append(b"\r\n")
        else:
            encoded.append(encode_trailers([_find(verified, self._trailer_name)], self._sign_trailer))
        return encoded

    @property
    def kept_size(self) -> int:
        """
        Bytes of the chunk that is not complete yet, or is kept until `finish`.
        """
        return self._size

    def _end_chunk(self, encoded: list[bytes | memoryview]) -> None:
        signature = self._sign_chunk(self._hash.hexdigest().encode())
        encoded.append(b"%s%x%s%s\r\n" % (self._line_end, self._size, _SIGNATURE, signature))
        encoded += self._kept
        self._kept = []
        # The CRLF after a chunk's data is returned with the next header.
        self._line_end = b"\r\n" if self._size else b""
        self._size = 0
        self._hash = hashlib.sha256()

    def _shrink(self) -> None:
        """
        Copy the kept pieces if they are many, or if the blocks that they are views of are larger than two chunks.
        """
        blocks = {id(piece.obj): memoryview(piece.obj).nbytes for piece in self._kept}
        if sum(blocks.values()) > 2 * CHUNK_SIZE or len(self._kept) > _MAX_KEPT_PIECES:
            self._kept = [memoryview(b"".join(self._kept))]


class UnsignedChunkEncoder:
    """
    Encodes one body into unsigned chunks of `CHUNK_SIZE` and a checksum in a trailer, as it arrives.

    A chunk's header leaves before its data: nothing is gathered, and nothing copied. What was given with the body's
    last byte is kept until `finish`, and leaves with the zero chunk: before that, nobody can take the body for
    complete.

    Args:
        length: Bytes of the body.
        trailer_name: Name of the checksum that follows, lower case.

    Attributes:
        encoded_length: Bytes of the whole encoded body.
    """

    __slots__ = ("_chunk_left", "_has_begun", "_kept", "_left", "_trailer_name", "encoded_length")

    def __init__(self, length: int, trailer_name: bytes) -> None:
        self.encoded_length = encoded_length(length, trailer_name, is_signed=False)
        self._left = length
        self._trailer_name = trailer_name
        self._chunk_left = 0
        self._has_begun = False
        self._kept: list[bytes | memoryview] = []

    def feed(self, pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """
        Take bytes of the body, which must not change afterwards.

        Returns:
            Views of what was given; empty if it has the last byte of the body.
        """
        encoded = self._kept
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if not self._chunk_left:
                    # A body that is too long stays so, for the next check.
                    self._begin_chunk(self._left if self._left > 0 else len(rest), encoded)
                part = rest[: self._chunk_left]
                rest = rest[len(part) :]
                encoded.append(part)
                self._chunk_left -= len(part)
                self._left -= len(part)
        self._kept = []
        if self._left == 0:
            self._kept = encoded
            return []
        return encoded

    def finish(self, verified: Iterable[tuple[bytes, bytes]] = ()) -> list[bytes | memoryview]:
        """
        Return the end of the encoding, once the body is complete and verified.

        Args:
            verified: Checksums that match the body, that of the trailer included.

        Returns:
            Its last bytes, the zero chunk and the trailer.
        """
        end = encode_trailers([_find(verified, self._trailer_name)])
        kept, self._kept = self._kept, []
        return [*kept, b"%s0\r\n%s" % (b"\r\n" if self._has_begun else b"", end)]

    @property
    def kept_size(self) -> int:
        """
        Bytes that are kept until `finish`.
        """
        return sum(map(len, self._kept))

    def _begin_chunk(self, left: int, encoded: list[bytes | memoryview]) -> None:
        self._chunk_left = min(left, CHUNK_SIZE)
        # The CRLF after the data before it is returned with the header.
        if not self._has_begun:
            self._has_begun = True
            encoded.append(b"%x\r\n" % self._chunk_left)
        elif self._chunk_left == CHUNK_SIZE:
            encoded.append(_NEXT_WHOLE)
        else:
            encoded.append(b"\r\n%x\r\n" % self._chunk_left)


BodyEncoder = ChunkEncoder | UnsignedChunkEncoder
"""
An encoder for a body that is sent to a backend in aws-chunked.
"""


def _find(verified: Iterable[tuple[bytes, bytes]], name: bytes) -> tuple[bytes, bytes]:
    (value,) = [value for verified_name, value in verified if verified_name == name]
    return name, value


def encode_chunks(chunks: Iterable[bytes], sign_chunk: SignChunk | None = None) -> Iterator[bytes]:
    """
    Yield an encoded body, from its first chunk to the line of the zero chunk.

    Args:
        chunks: The chunks, none of them empty.
        sign_chunk: None to leave the chunks unsigned.

    Yields:
        Header, data and end of each chunk.
    """
    for chunk in chunks:
        yield _header(chunk, sign_chunk)
        yield chunk
        yield b"\r\n"
    yield _header(b"", sign_chunk)


def encode_trailers(trailers: Iterable[tuple[bytes, bytes]], sign_trailer: SignTrailer | None = None) -> bytes:
    """
    Return the encoded trailers, which follow the line of the zero chunk.

    Args:
        sign_trailer: Returns the signature of the trailer lines; None to leave them unsigned.
    """
    lines = [b"%s:%s" % (name.lower(), value) for name, value in trailers]
    if sign_trailer is not None:
        signed = b"".join([line + b"\n" for line in sorted(lines)])
        lines.append(_TRAILER_SIGNATURE + sign_trailer(signed))
    return b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


def _header(chunk: bytes, sign_chunk: SignChunk | None) -> bytes:
    if sign_chunk is None:
        return b"%x\r\n" % len(chunk)
    signature = sign_chunk(hashlib.sha256(chunk).hexdigest().encode())
    return b"%x;chunk-signature=%s\r\n" % (len(chunk), signature)
