"""
The end of a body is withheld until all of it is verified, and after a refusal nothing more leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from s3proxy.awschunked.checksums import BodyDigests, parse_body_digests
from s3proxy.body.guard import GuardedBody, HeldBody
from s3proxy.body.plain import PlainDecoder
from s3proxy.s3.errors import EntityTooLarge, S3Error
from s3proxy.s3.head import HeaderList, index_headers

# The checksum of "hello".
CRC32 = b"NhCmhg=="


def digests_of(*headers: tuple[bytes, bytes]) -> BodyDigests:
    """
    What headers claim of a body.
    """
    return parse_body_digests(index_headers(headers))


class Sink:
    """
    Keeps what left.
    """

    splice_target: Any = "anywhere"

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.moved_size = 0

    @property
    def content(self) -> bytes:
        """
        All of it.
        """
        return b"".join(self.pieces)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Pause nothing.
        """

    def unregisterProducer(self) -> None:
        """
        Pause nothing.
        """

    def writeSequence(self, pieces: Sequence[bytes | memoryview]) -> None:
        """
        Keep.
        """
        self.pieces += map(bytes, pieces)

    def moved(self, size: int) -> None:
        """
        Count the bytes.
        """
        self.moved_size += size


class Guarded:
    """
    A body of five bytes on its way.
    """

    def __init__(self, *headers: tuple[bytes, bytes], length: int | None = 5) -> None:
        self.sink = Sink()
        self.verified: list[HeaderList] = []
        self.refused: list[S3Error] = []
        decoder = PlainDecoder(length, digests_of(*headers))
        self.body = GuardedBody(decoder, self.sink, self.verified.append, self.refused.append)


@pytest.mark.parametrize("pieces", [[b"hello"], [b"h", b"ello"], [b"hell", b"o"], list(map(bytes, zip(b"hello")))])
def test_the_end_is_withheld_until_the_verdict(pieces: list[bytes]) -> None:
    """
    However the body arrives, its last byte leaves only with the verdict.
    """
    guarded = Guarded((b"x-amz-checksum-crc32", CRC32))
    for piece in pieces:
        guarded.body.write(piece)
        assert len(guarded.sink.content) < 5
    assert guarded.body.withheld_size + len(guarded.sink.content) == 5

    guarded.body.wireEnded()

    assert guarded.sink.content == b"hello"
    assert guarded.verified == [[(b"x-amz-checksum-crc32", CRC32)]]
    assert guarded.refused == []


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([(b"x-amz-checksum-crc32", b"AAAAAA==")], [b"hell", b"o"]),
        ([(b"content-md5", b"AAAAAAAAAAAAAAAAAAAAAA==")], [b"hell", b"o"]),
        ([], [b"hell"]),
        ([], [b"hell", b"oX"]),
        ([], [b"hello", b"X"]),
    ],
)
def test_what_is_refused_never_becomes_whole(headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> None:
    """
    With a wrong checksum, too few bytes or too many, the end does not leave, then or later.
    """
    guarded = Guarded(*headers)
    for piece in pieces:
        guarded.body.write(piece)
    guarded.body.wireEnded()
    guarded.body.write(b"more")
    guarded.body.wireEnded()

    assert len(guarded.refused) == 1
    assert guarded.verified == []
    assert len(guarded.sink.content) < 5


def test_too_much_is_refused_with_its_first_byte() -> None:
    """
    The client gets the error before it has sent everything.
    """
    guarded = Guarded()
    guarded.body.write(b"helloX")

    assert [error.code for error in guarded.refused] == ["IncompleteBody"]


def test_a_body_that_was_stopped_releases_nothing() -> None:
    """
    Its client has left: nothing is reported.
    """
    guarded = Guarded()
    guarded.body.write(b"hello")

    guarded.body.stop()
    guarded.body.wireEnded()

    assert guarded.sink.content == b""
    assert (guarded.verified, guarded.refused) == ([], [])


@pytest.mark.parametrize(
    "headers",
    [
        [(b"x-amz-checksum-crc32", CRC32)],
        [(b"content-md5", b"XUFAKrxLKna5cZ2REBfFkg==")],
        [(b"x-amz-checksum-sha1", b"qvTGHdzF6KLavt4PO0gs2a6pQ00=")],
    ],
)
def test_a_body_with_a_digest_is_seen_byte_by_byte(headers: list[tuple[bytes, bytes]]) -> None:
    """
    Only a body that is merely counted may bypass s3proxy; its bytes are then counted, too.
    """
    assert Guarded(*headers).body.splice_target is None
    assert Guarded(length=None).body.splice_target is None
    guarded = Guarded()
    assert guarded.body.splice_target == "anywhere"

    guarded.body.moved(3)
    guarded.body.write(b"lo")
    assert (guarded.sink.moved_size, guarded.sink.content) == (3, b"")
    guarded.body.wireEnded()
    assert guarded.verified == [[]]


def test_a_held_body_has_a_bound() -> None:
    """
    It is refused with the first byte beyond the limit.
    """
    held = HeldBody(5, lambda: EntityTooLarge(6, 5))

    held.writeSequence([b"he", b"llo"])
    assert held.content == b"hello"
    with pytest.raises(EntityTooLarge):
        held.writeSequence([b"X"])
