"""
Chunked transfer coding: what is returned of a body, however it is chunked and cut.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3.framing import ChunkedFraming


def in_chunks(body: bytes, size: int) -> bytes:
    """
    Put a body into chunks of one size.
    """
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_many_small_chunks_are_one_piece(size: int) -> None:
    """
    Whoever sends chunks of one byte makes nobody hold an object for each of them.
    """
    body = bytes(range(256)) * 256
    framing = ChunkedFraming()

    pieces = framing.feed(in_chunks(body, size))

    assert b"".join(pieces) == body
    assert len(pieces) == 1


def test_large_chunks_are_not_copied() -> None:
    """
    What clients send is passed on as it came.
    """
    wire = in_chunks(b"a" * 65536, 8192)

    pieces = ChunkedFraming().feed(wire)

    assert len(pieces) == 8
    assert all(piece.obj is wire for piece in pieces)


@given(body=st.binary(max_size=2000), size=st.integers(1, 50), cuts=st.lists(st.integers(0, 9000), max_size=5))
def test_what_comes_out_is_what_went_in(body: bytes, size: int, cuts: list[int]) -> None:
    """
    However the network cuts it.
    """
    wire = in_chunks(body, size)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    framing = ChunkedFraming()

    found = [bytes(piece) for at, end in pairwise(places) for piece in framing.feed(wire[at:end])]

    assert b"".join(found) == body
    assert framing.is_complete
    assert framing.fault is None
