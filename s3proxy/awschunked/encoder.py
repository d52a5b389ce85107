"""
The aws-chunked content coding in the other direction: towards a backend which knows it, and for tests.

Source:
    "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks".
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence

from s3proxy.s3.limits import KIB

CHUNK_SIZE = 64 * KIB
"""
Bytes of each chunk but the last: what most clients send, and above what every server asks for.
"""

SignChunk = Callable[[bytes], bytes]
"""
From the lower-case hex SHA-256 of a chunk's data to its signature; called in order, the last time for the zero chunk.
"""

_SIGNATURE = b";chunk-signature="
_SIGNATURE_SIZE = 64
_MAX_KEPT_PIECES = 32


def encoded_length(length: int) -> int:
    """
    Return the bytes which a `ChunkEncoder` makes of a body.

    Args:
        length: Bytes of the body.
    """
    whole, rest = divmod(length, CHUNK_SIZE)
    encoded = whole * _chunk_length(CHUNK_SIZE) + _chunk_length(0)
    return encoded + _chunk_length(rest) if rest else encoded


def _chunk_length(size: int) -> int:
    return len(b"%x%s\r\n\r\n" % (size, _SIGNATURE)) + _SIGNATURE_SIZE + size


class ChunkEncoder:
    """
    Encodes one body into signed chunks of `CHUNK_SIZE`, as it comes.

    A chunk's signature stands before its data, so its pieces are gathered until it is whole: nothing of them is copied,
    save where they keep far more than themselves in memory. The last data chunk is kept until `finish`, and leaves
    with the zero chunk: before that, nobody can take the body for complete.

    Args:
        length: Bytes of the body.
        sign_chunk: Called for each chunk, in order.

    Attributes:
        encoded_length: Bytes of all that it returns.
    """

    __slots__ = ("_hash", "_kept", "_left", "_line_end", "_sign_chunk", "_size", "encoded_length")

    def __init__(self, length: int, sign_chunk: SignChunk) -> None:
        self.encoded_length = encoded_length(length)
        self._left = length
        self._sign_chunk = sign_chunk
        self._kept: list[memoryview] = []
        self._size = 0
        self._hash = hashlib.sha256()
        self._line_end = b""

    def feed(self, pieces: Sequence[bytes | memoryview]) -> list[bytes | memoryview]:
        """
        Take octets of the body, which must not change afterwards.

        Returns:
            The chunks which are whole now, in pieces; views of what was given.
        """
        encoded: list[bytes | memoryview] = []
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                if self._size == CHUNK_SIZE:
                    # It was to be the last: a body which is too long must stay so, for whoever counts.
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

    def finish(self) -> list[bytes | memoryview]:
        """
        Know that the body is complete and verified.

        Returns:
            The last data chunk and the zero chunk.
        """
        encoded: list[bytes | memoryview] = []
        if self._size:
            self._end_chunk(encoded)
        self._end_chunk(encoded)
        encoded.append(b"\r\n")
        return encoded

    @property
    def kept_size(self) -> int:
        """
        Bytes of the chunk which is not whole yet, or not to leave yet.
        """
        return self._size

    def _end_chunk(self, encoded: list[bytes | memoryview]) -> None:
        signature = self._sign_chunk(self._hash.hexdigest().encode())
        encoded.append(b"%s%x%s%s\r\n" % (self._line_end, self._size, _SIGNATURE, signature))
        encoded += self._kept
        self._kept = []
        # The end of a chunk's data leaves with the next header.
        self._line_end = b"\r\n" if self._size else b""
        self._size = 0
        self._hash = hashlib.sha256()

    def _shrink(self) -> None:
        """
        Copy what is kept where the blocks which it is a view of are more than two chunks, or its pieces many.
        """
        blocks = {id(piece.obj): memoryview(piece.obj).nbytes for piece in self._kept}
        if sum(blocks.values()) > 2 * CHUNK_SIZE or len(self._kept) > _MAX_KEPT_PIECES:
            self._kept = [memoryview(b"".join(self._kept))]


def encode_chunks(chunks: Iterable[bytes], sign_chunk: SignChunk | None = None) -> Iterator[bytes]:
    """
    Encode a body, from its first chunk to the line of the zero chunk.

    Args:
        chunks: None of them empty.
        sign_chunk: None to leave the chunks unsigned.

    Yields:
        Header, data and end of each chunk.
    """
    for chunk in chunks:
        yield _header(chunk, sign_chunk)
        yield chunk
        yield b"\r\n"
    yield _header(b"", sign_chunk)


def encode_trailers(
    trailers: Iterable[tuple[bytes, bytes]], sign_trailer: Callable[[bytes], bytes] | None = None
) -> bytes:
    """
    Encode what follows the zero chunk's line.

    Args:
        sign_trailer: From the trailer lines to their signature; None to leave them unsigned.
    """
    lines = [b"%s:%s" % (name.lower(), value) for name, value in trailers]
    if sign_trailer is not None:
        signed = b"".join([line + b"\n" for line in sorted(lines)])
        lines.append(b"x-amz-trailer-signature:" + sign_trailer(signed))
    return b"".join([line + b"\r\n" for line in lines]) + b"\r\n"


def _header(chunk: bytes, sign_chunk: SignChunk | None) -> bytes:
    if sign_chunk is None:
        return b"%x\r\n" % len(chunk)
    signature = sign_chunk(hashlib.sha256(chunk).hexdigest().encode())
    return b"%x;chunk-signature=%s\r\n" % (len(chunk), signature)
