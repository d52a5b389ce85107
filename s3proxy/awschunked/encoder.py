"""
The aws-chunked content coding in the other direction, for tests and for whoever speaks to such a store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator

SignChunk = Callable[[bytes], bytes]
"""
From the lower-case hex SHA-256 of a chunk's data to its signature; called in order, the last time for the zero chunk.
"""


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
