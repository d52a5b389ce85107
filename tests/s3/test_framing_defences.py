"""
Chunked transfer coding: each of its bytes is checked, however it is cut.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.framing import MAX_LINE_SIZE, ChunkedFraming
from s3proxy.s3.limits import MAX_TRAILER_SIZE

STEPS = (0, 1, 3)


def read(wire: bytes, step: int) -> tuple[bytes, ChunkedFraming]:
    """
    Read a body in pieces, up to its fault.
    """
    framing, content = ChunkedFraming(), []
    for start in range(0, len(wire), step or len(wire) or 1):
        content += [bytes(piece) for piece in framing.feed(wire[start : start + (step or len(wire))])]
        if framing.fault is not None:
            break
    return b"".join(content), framing


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "wire",
    [
        b"5\r\nhello\r\n0\r\n\r\n",
        b"0000000000000005\r\nhello\r\n00\r\n\r\n",
        b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
        b"5 \t\r\nhello\r\n0\r\n\r\n",
        b'5;name="a;b"\r\nhello\r\n0;x\r\n\r\n',
        b"5\r\nhello\r\n0\r\nA: 1\r\nB:\t2 \r\n\r\n",
    ],
)
def test_what_is_one(wire: bytes, step: int) -> None:
    """
    What follows its end is not read.
    """
    content, framing = read(wire + b"GET / HTTP/1.1\r\n", step)

    assert content == b"hello"
    assert framing.is_complete
    assert framing.fault is None
    assert framing.remainder == b"GET / HTTP/1.1\r\n"
    assert framing.trailers == ([(b"A", b"1"), (b"B", b"2")] if b"A" in wire else [])


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "wire",
    [
        b"\r\nhello\r\n0\r\n\r\n",
        b"x\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 5\r\nhello\r\n0\r\n\r\n",
        b"00000000000000005\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\rhello\r\n0\r\n\r\n",
        b"5;a=\n\r\nhello\r\n0\r\n\r\n",
        b"5;a=\r\r\nhello\r\n0\r\n\r\n",
        b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
        b"5;a=\x7f\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\rX0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello \r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA : 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\n: 1\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: \x01\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: 1\n\r\n",
        b"5\r\nhello\r\n0\r\nA: 1\r\n folded\r\n\r\n",
        b"5;" + b"a" * MAX_LINE_SIZE + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nA: " + b"a" * MAX_TRAILER_SIZE + b"\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"A: 12345678\r\n" * (MAX_TRAILER_SIZE // 13 + 1) + b"\r\n",
    ],
)
def test_what_is_none(wire: bytes, step: int) -> None:
    """
    Another reader could read each of them as another body. The bytes before the fault are returned all the same.
    """
    content, framing = read(wire, step)

    assert framing.fault is not None
    assert framing.fault.status == 400
    assert not framing.is_complete
    assert b"hello".startswith(content)


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        (b"5\r\nhello", b"X"),
        (b"5\r\nhello\r", b"X\n"),
        (b"", b"5" * MAX_LINE_SIZE),
        (b"5\r\nhello\r\n0\r\n", b"a" * (MAX_TRAILER_SIZE + 1)),
    ],
)
def test_a_fault_is_told_at_once(before: bytes, wrong: bytes) -> None:
    """
    If nothing can correct it, no more bytes are kept or waited for.
    """
    framing = ChunkedFraming()
    framing.feed(before)
    assert framing.fault is None

    framing.feed(wrong)

    assert framing.fault is not None
