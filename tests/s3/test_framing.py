"""
Chunked transfer coding: the returned bytes of a body do not depend on its chunks or on how it is cut.
"""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.s3.framing import MAX_LINE_SIZE, ChunkedFraming
from s3proxy.s3.limits import MAX_TRAILER_SIZE


def in_chunks(body: bytes, size: int) -> bytes:
    """
    Put a body into chunks of one size.
    """
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_many_small_chunks_are_one_piece(size: int) -> None:
    """
    If a client sends chunks of one byte, s3proxy does not hold an object for each of them.
    """
    body = bytes(range(256)) * 256
    framing = ChunkedFraming()

    pieces = framing.feed(in_chunks(body, size))

    assert b"".join(pieces) == body
    assert len(pieces) == 1


def test_large_chunks_are_not_copied() -> None:
    """
    The client's data is passed on without a copy.
    """
    wire = in_chunks(b"a" * 65536, 8192)

    pieces = ChunkedFraming().feed(wire)

    assert len(pieces) == 8
    assert all(piece.obj is wire for piece in pieces)


@given(body=st.binary(max_size=2000), size=st.integers(1, 50), cuts=st.lists(st.integers(0, 9000), max_size=5))
def test_what_comes_out_is_what_went_in(body: bytes, size: int, cuts: list[int]) -> None:
    """
    The network may cut it anywhere.
    """
    wire = in_chunks(body, size)
    places = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    framing = ChunkedFraming()

    found = [bytes(piece) for at, end in pairwise(places) for piece in framing.feed(wire[at:end])]

    assert b"".join(found) == body
    assert framing.is_complete
    assert framing.fault is None


@pytest.mark.parametrize("step", [1, 100, 255, 1 << 16])
@pytest.mark.parametrize("over", [0, 1])
def test_a_size_line_is_bounded_to_the_byte(step: int, over: int) -> None:
    """
    The network may cut it anywhere.
    """
    line = b"1;" + b"a" * (MAX_LINE_SIZE - 4 + over) + b"\r\n"
    wire = line + b"x\r\n0\r\n\r\n"
    framing = ChunkedFraming()

    found = b"".join(
        bytes(piece) for start in range(0, len(wire), step) for piece in framing.feed(wire[start : start + step])
    )

    assert len(line) == MAX_LINE_SIZE + over == 256 + over
    assert (framing.fault is not None) is bool(over)
    assert (found, framing.is_complete) == ((b"", False) if over else (b"x", True))


@pytest.mark.parametrize("step", [1, 1 << 16])
@pytest.mark.parametrize("over", [0, 1])
def test_trailers_are_bounded_to_the_byte(step: int, over: int) -> None:
    """
    The limit is for all lines together, with their ends.
    """
    lines = [b"a: " + b"x" * 95 + b"\r\n"] * (MAX_TRAILER_SIZE // 100)
    lines.append(b"b:" + b"x" * (MAX_TRAILER_SIZE % 100 - 4 + over) + b"\r\n")
    wire = b"0\r\n" + b"".join(lines) + b"\r\n"
    framing = ChunkedFraming()

    for start in range(0, len(wire), step):
        if framing.fault is None:
            framing.feed(wire[start : start + step])

    assert sum(map(len, lines)) == MAX_TRAILER_SIZE + over
    assert (framing.fault is not None, framing.is_complete) == (bool(over), not over)


def test_a_trailer_without_end_is_refused_at_once() -> None:
    """
    What came before it counts, too.
    """
    framing = ChunkedFraming()

    framing.feed(b"0\r\n" + (b"a: " + b"x" * 95 + b"\r\n") * 80)
    assert framing.fault is None
    framing.feed(b"b:" + b"x" * 300)

    assert framing.fault is not None
