"""
The memory cost of a held body, and the outcome if its sink refuses it.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import pytest

from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.body.guard import GuardedBody, HeldBody
from s3proxy.body.plain import PlainDecoder
from s3proxy.body.spool import SpoolDirectory, SpooledBody
from s3proxy.s3.errors import EntityTooLarge, S3Error, SlowDown
from s3proxy.s3.head import Fields, HeaderList

SIZE = 64 * 1024


def too_large() -> S3Error:
    """
    The error above the limit.
    """
    return EntityTooLarge(SIZE + 1, SIZE)


@pytest.mark.parametrize("kind", ["held", "spooled"])
def test_a_body_in_small_pieces_costs_what_it_weighs(kind: str, tmp_path: Path) -> None:
    """
    A client that sends two bytes at a time does not make each of them an object of fifty.
    """
    body: HeldBody | SpooledBody
    if kind == "held":
        body = HeldBody(SIZE, too_large)
    else:
        body = SpooledBody(SpoolDirectory(tmp_path, 1 << 30), SIZE, 10 * SIZE, too_large)
    data = bytes(range(256)) * (SIZE // 256)

    tracemalloc.start()
    for start in range(0, SIZE, 2):
        body.writeSequence((memoryview(data)[start : start + 2],))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 2 * SIZE
    assert body.content == data


def test_what_is_counted_is_what_is_in_memory(tmp_path: Path) -> None:
    """
    Each piece counts while it is kept in memory; what is on disk no longer counts.
    """
    counted: list[int] = []
    spooled = SpooledBody(SpoolDirectory(tmp_path, 1 << 30), SIZE, 10 * SIZE, too_large, counted.append)
    held = HeldBody(SIZE, too_large, counted.append)

    held.writeSequence((b"abc", b"de"))
    for _ in range(3):
        spooled.writeSequence((bytes(SIZE // 2),))

    assert counted == [5, SIZE // 2, SIZE // 2, -SIZE]
    with pytest.raises(EntityTooLarge):
        held.writeSequence((bytes(SIZE),))
    spooled.discard()


def test_a_sink_that_refuses_the_last_bytes() -> None:
    """
    All of a small body is withheld until it is verified: so a full disk is found only then, and reported once.
    """

    class Full(HeldBody):
        def writeSequence(self, pieces: Sequence[bytes | memoryview]) -> None:
            raise SlowDown

    verified: list[HeaderList] = []
    refused: list[S3Error] = []
    decoder = PlainDecoder(5, parse_body_digests(Fields()))
    body = GuardedBody(decoder, Full(10, too_large), verified.append, refused.append)
    body.write(b"hello")
    body.wireEnded()
    body.wireEnded()

    assert (verified, [type(error) for error in refused]) == ([], [SlowDown])
