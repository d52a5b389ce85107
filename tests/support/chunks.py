"""
A reader of signed chunks, as a backend has one: written from the documentation and independent of s3proxy's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.support.signer import Signer

_HEADER = re.compile(rb"([0-9a-f]+);chunk-signature=([0-9a-f]{64})\r\n")


@dataclass
class Chunks:
    """
    The content of a stream of signed chunks.

    Attributes:
        sizes: The size of each whole chunk with a correct signature, including the zero chunk.
        data: The bytes of these chunks.
        is_complete: Whether the zero chunk was there, and nothing after it.
    """

    sizes: list[int]
    data: bytes
    is_complete: bool


def read_chunks(wire: bytes, signer: Signer, seed: str) -> Chunks:
    """
    Read a stream, or its beginning.

    Args:
        signer: The signer of the chunks.
        seed: The signature of the request's head.
    """
    sizes, pieces, position, previous = [], [], 0, seed
    while (found := _HEADER.match(wire, position)) is not None:
        size = int(found[1], 16)
        data = wire[found.end() : found.end() + size]
        position = found.end() + size + 2
        if wire[position - 2 : position] != b"\r\n":
            break
        previous = signer.chunk_signature(data, previous)
        assert found[2].decode() == previous, "a chunk's signature is wrong"
        sizes.append(size)
        pieces.append(data)
        if not size:
            break
    return Chunks(sizes, b"".join(pieces), sizes[-1:] == [0] and position == len(wire))
