"""
A body on disk: one that must be verified whole, and is too large for memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from s3proxy.s3.errors import S3Error, SlowDown
from s3proxy.s3.limits import KIB
from s3proxy.telemetry.declarations import Metric, counter, gauge
from s3proxy.transport.writer import Buffer, SeesEachByte

READ_SIZE = 256 * KIB
"""
Bytes of one read from a file: those that the backend does not take at once are kept in memory.
"""


MAX_PIECES = 256
"""
Maximum number of pieces of a body in memory: each of many small pieces would need an object larger than the piece.
"""


class SpoolDirectory:
    """
    Space for bodies on disk, with a quota for all of them together.

    Args:
        path: An existing directory. The files in it have no name, so that none is left over, however the process ends.
        quota: Maximum bytes of all bodies at a time.

    Attributes:
        quota: Maximum bytes of all bodies at a time; may be changed at any time.
        size: Bytes of all bodies now.
        refused_count: Number of bodies for which there was no space.
    """

    def __init__(self, path: Path, quota: int) -> None:
        self._path = path
        self.quota = quota
        self.size = 0
        self.refused_count = 0

    def open(self) -> BinaryIO:
        """
        Open a new file without a name.

        Raises:
            SlowDown: No file can be opened.
        """
        try:
            return tempfile.TemporaryFile(dir=self._path, buffering=0)
        except OSError:
            self.refused_count += 1
            raise SlowDown from None

    def take(self, size: int) -> None:
        """
        Add bytes to the total.

        Raises:
            SlowDown: The quota would be exceeded.
        """
        if self.size + size > self.quota:
            self.refused_count += 1
            raise SlowDown
        self.size += size

    def give_back(self, size: int) -> None:
        """
        Subtract bytes from the total.
        """
        self.size -= size


METRICS: tuple[Metric[SpoolDirectory], ...] = (
    gauge("s3proxy_spool_bytes", "Bytes of bodies on disk.", lambda spool: spool.size),
    counter(
        "s3proxy_spool_refusals",
        "Bodies that were refused because the spool was full.",
        lambda spool: spool.refused_count,
    ),
)


class BodyOnDisk(NamedTuple):
    """
    A body in a file.

    Attributes:
        size: Bytes.
    """

    file: BinaryIO
    size: int


class SpooledBody(SeesEachByte):
    """
    Keeps a whole body: a small one in memory, a large one in a file.

    Args:
        memory_size: Maximum bytes of a body that stays in memory.
        max_size: Maximum bytes of the body.
        too_large: Makes the error for a larger body.
        held: Called with the change in the number of bytes in memory; negative when bytes went to the disk.

    Attributes:
        size: Bytes received so far.
    """

    def __init__(
        self,
        directory: SpoolDirectory,
        memory_size: int,
        max_size: int,
        too_large: Callable[[], S3Error],
        held: Callable[[int], None] | None = None,
    ) -> None:
        self._held = held
        self._directory = directory
        self._memory_size = memory_size
        self._max_size = max_size
        self._too_large = too_large
        self._pieces: list[bytes] = []
        self._file: BinaryIO | None = None
        self._taken = 0
        self.size = 0

    @property
    def on_disk(self) -> BodyOnDisk | None:
        """
        What is on disk, if the body has become too large for memory.
        """
        return BodyOnDisk(self._file, self.size) if self._file is not None else None

    @property
    def memory_size(self) -> int:
        """
        Bytes of the body in memory.
        """
        return sum(map(len, self._pieces))

    @property
    def content(self) -> bytes:
        """
        The body so far, if it is in memory.
        """
        return b"".join(self._pieces)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Ignored: the producer is never paused, because each block is written to disk before the next is read.
        """

    def unregisterProducer(self) -> None:
        """
        Ignored.
        """

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Keep bytes.

        Raises:
            S3Error: The body is too large.
            SlowDown: There is no space for it on disk.
        """
        before = self.memory_size
        self.size += sum(map(len, pieces))
        if self.size > self._max_size:
            raise self._too_large()
        self._pieces += map(bytes, pieces)
        if self.size <= self._memory_size:
            if len(self._pieces) > MAX_PIECES:
                self._pieces = [b"".join(self._pieces)]
            if self._held is not None:
                self._held(self.memory_size - before)
            return
        if self._held is not None and before:
            self._held(-before)
        self._directory.take(self.size - self._taken)
        self._taken = self.size
        if self._file is None:
            self._file = self._directory.open()
        try:
            for piece in self._pieces:
                left = memoryview(piece)
                while left:
                    left = left[self._file.write(left) :]
        except OSError:
            raise SlowDown from None
        self._pieces.clear()

    def discard(self) -> None:
        """
        Remove the body from memory and disk.
        """
        self._pieces.clear()
        file, self._file = self._file, None
        if file is not None:
            file.close()
        taken, self._taken = self._taken, 0
        self._directory.give_back(taken)


class SpoolSink(Protocol):
    """
    Receives a body from disk: a `s3proxy.backend.upload.Upload`.
    """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Set the producer to pause.
        """

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """

    def write(self, data: Buffer) -> None:
        """
        Take bytes.
        """


@implementer(IPushProducer)
class SpoolReader:
    """
    The producer of a body that was verified on disk. It reads as fast as its consumer takes the bytes.

    Args:
        ended: Called once, after the last byte was written.
        failed: Called once where the disk gives the body back no more.
    """

    def __init__(
        self, body: BodyOnDisk, sink: SpoolSink, ended: Callable[[], None], failed: Callable[[], None]
    ) -> None:
        self._file = body.file
        self._sink = sink
        self._ended = ended
        self._failed = failed
        self._is_paused = False
        self._is_reading = False
        self._is_over = False

    def start(self) -> None:
        """
        Begin with the first byte.
        """
        self._file.seek(0)
        self._sink.registerProducer(self, True)
        self._read()

    def _read(self) -> None:
        # The sink may call resumeProducing while it takes a block.
        if self._is_reading:
            return
        self._is_reading = True
        try:
            while not self._is_paused and not self._is_over:
                data = self._file.read(READ_SIZE)
                if data:
                    self._sink.write(data)
                else:
                    self.stop()
                    self._ended()
        except OSError:
            self.stop()
            self._failed()
        finally:
            self._is_reading = False

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._read()

    def stopProducing(self) -> None:
        self.stop()

    def stop(self) -> None:
        """
        Stop writing, without a callback.
        """
        if not self._is_over:
            self._is_over = True
            self._sink.unregisterProducer()
