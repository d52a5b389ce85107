"""
Bodies on disk: within a common quota, each within its own limit, and removed with their requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3proxy.body.spool import SpoolDirectory, SpooledBody, SpoolReader
from s3proxy.s3.errors import EntityTooLarge, SlowDown

BODIES: list[SpooledBody] = []


@pytest.fixture(autouse=True)
def discarded() -> Iterator[None]:
    """
    Leave no file open, whatever fails.
    """
    yield
    while BODIES:
        BODIES.pop().discard()


def body_in(directory: SpoolDirectory, most: int = 100) -> SpooledBody:
    """
    A body that is on disk above four bytes.
    """
    body = SpooledBody(directory, 4, most, lambda: EntityTooLarge(most + 1, most))
    BODIES.append(body)
    return body


def test_a_quota_is_for_all_bodies(tmp_path: Path) -> None:
    """
    Bytes in memory do not count; those of a body that has ended are given back, once.
    """
    directory = SpoolDirectory(tmp_path, 10)
    small, first, second = body_in(directory), body_in(directory), body_in(directory)
    small.writeSequence([b"1234"])
    first.writeSequence([b"12345"])
    first.writeSequence([b"6"])
    assert (directory.size, small.on_disk is None, first.on_disk is None) == (6, True, False)

    with pytest.raises(SlowDown):
        second.writeSequence([b"12345"])
    assert directory.refused_count == 1
    first.discard()
    first.discard()
    second.discard()
    assert directory.size == 0
    third = body_in(directory)
    third.writeSequence([b"1234567890"])
    assert directory.size == 10
    third.discard()


def test_a_body_has_a_bound(tmp_path: Path) -> None:
    """
    It is refused with the first byte beyond the limit.
    """
    body = body_in(SpoolDirectory(tmp_path, 1000), 6)
    body.writeSequence([b"123456"])

    with pytest.raises(EntityTooLarge):
        body.writeSequence([b"7"])
    body.discard()


def test_nothing_stays_behind(tmp_path: Path) -> None:
    """
    A file has no name, and is closed with its body.
    """
    body = body_in(SpoolDirectory(tmp_path, 1000))
    body.writeSequence([b"12345"])
    file = body._file
    assert file is not None
    assert list(tmp_path.iterdir()) == []

    body.discard()

    is_closed = file.closed
    file.close()
    assert is_closed


class BadDisk:
    """
    A file that can be neither written nor read.
    """

    def write(self, data: Any) -> int:
        """
        Fail.
        """
        raise OSError(28, "No space left on device")

    def read(self, size: int) -> bytes:
        """
        Fail.
        """
        raise OSError(5, "Input/output error")

    def seek(self, position: int) -> None:
        """
        Do nothing.
        """

    def close(self) -> None:
        """
        Do nothing.
        """


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The client is asked to wait, and there is no traceback.
    """
    directory = SpoolDirectory(tmp_path, 1000)
    monkeypatch.setattr(directory, "open", BadDisk)
    body = body_in(directory)

    with pytest.raises(SlowDown):
        body.writeSequence([b"12345"])
    body.discard()
    assert directory.size == 0
    with pytest.raises(SlowDown):
        SpoolDirectory(tmp_path / "none", 1000).open()


class Sink:
    """
    Keeps what was written.
    """

    def __init__(self) -> None:
        self.data = b""
        self.producer: Any = None

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Keep the producer to pause.
        """
        self.producer = producer

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """
        self.producer = None

    def write(self, data: Any) -> None:
        """
        Keep.
        """
        self.data += data


@pytest.mark.parametrize("is_bad", [False, True])
def test_a_disk_that_gives_nothing_back(tmp_path: Path, *, is_bad: bool) -> None:
    """
    The upload fails; it never ends as if it were whole.
    """
    body = body_in(SpoolDirectory(tmp_path, 1000))
    body.writeSequence([b"12345"])
    kept = body._file
    if is_bad:
        body._file = BadDisk()  # type: ignore[assignment]
    on_disk = body.on_disk
    assert on_disk is not None
    told: list[str] = []
    sink = Sink()

    SpoolReader(on_disk, sink, lambda: told.append("ended"), lambda: told.append("failed")).start()

    assert told == (["failed"] if is_bad else ["ended"])
    assert sink.producer is None
    assert sink.data == (b"" if is_bad else b"12345")
    body._file = kept
    body.discard()
