"""
The bytes of parts: written as they arrive from a client, and read as one object to send to the backend.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from s3proxy.awschunked.checksums import ALGORITHMS, Digest
from s3proxy.body.spool import READ_SIZE, SpoolSink
from s3proxy.multipart.documents import Part
from s3proxy.multipart.records import Reservation
from s3proxy.s3.errors import SlowDown
from s3proxy.transport.writer import Buffer, SeesEachByte


class PartWriter(SeesEachByte):
    """
    Writes the verified bytes of a part to its file.

    Args:
        reservation: The reservation of the part, with its file open.

    Attributes:
        size: Bytes that were written so far.
    """

    def __init__(self, reservation: Reservation) -> None:
        self._reservation = reservation
        self._md5 = hashlib.md5()
        self.size = 0

    @property
    def md5(self) -> bytes:
        """
        The MD5 of the bytes so far.
        """
        return self._md5.digest()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Do nothing: the file takes each block before the next one is read, as a `SpooledBody` does.
        """

    def unregisterProducer(self) -> None:
        """
        Do nothing.
        """

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Write bytes.

        Raises:
            SlowDown: The disk has no space for the bytes.
        """
        for piece in pieces:
            self._md5.update(piece)
            self.size += len(piece)
            left = memoryview(piece)
            try:
                while left:
                    left = left[os.write(self._reservation.fd, left) :]
            except OSError:
                raise SlowDown from None


class _OpenPart(NamedTuple):
    """
    The part that is read.
    """

    part: Part
    file: BinaryIO


class JoinedParts:
    """
    The bytes of several parts, one after the other, for a `PartsReader`.

    Each part is compared with the MD5 that its client got, before the last of its bytes is returned: bytes that the
    disk has changed never become a complete object.

    Args:
        parts: The parts, each with the path of its file.
        claimed: The algorithm and digest that the client claims for the whole object; None if it claims none.
    """

    def __init__(self, parts: Sequence[tuple[Part, Path]], claimed: tuple[bytes, bytes] | None = None) -> None:
        self._parts = parts
        self._claimed = claimed
        self._checksum: Digest | None = None
        self._open: _OpenPart | None = None
        self._left = 0
        self._part_md5 = hashlib.md5()
        self._md5 = hashlib.md5()
        self._following = iter(parts)
        self._size = self._to_come = sum(part.size for part, _ in parts)
        self.is_other_than_claimed = False

    @property
    def size(self) -> int:
        """
        Bytes of all parts.
        """
        return self._size

    @property
    def is_read(self) -> bool:
        """
        Whether the last byte was returned.
        """
        return self._to_come == 0

    @property
    def etag(self) -> str:
        """
        The MD5 of the bytes that were read, in hex.
        """
        return self._md5.hexdigest()

    def rewind(self) -> None:
        """
        Start again from the beginning.
        """
        self.close()
        self._following = iter(self._parts)
        self._md5 = hashlib.md5()
        self._checksum = ALGORITHMS[self._claimed[0]].begin() if self._claimed is not None else None
        self._to_come = self._size

    def read(self, size: int) -> bytes:
        """
        Return the next bytes; empty at the end.

        Raises:
            OSError: A file is missing or not as it was written, or the whole does not match the claimed checksum.
        """
        opened = self._open
        while opened is None or self._left == 0:
            self.close()
            following = next(self._following, None)
            if following is None:
                return b""
            part, path = following
            self._part_md5 = hashlib.md5()
            self._open = opened = _OpenPart(part, path.open("rb", buffering=0))
            self._left = part.size
        data = opened.file.read(min(size, self._left))
        self._left -= len(data)
        self._to_come -= len(data)
        self._md5.update(data)
        self._part_md5.update(data)
        if self._checksum is not None:
            self._checksum.update(data)
        if not data or (self._left == 0 and self._part_md5.digest() != opened.part.md5):
            raise OSError(f"the file of part {opened.part.number} is not as it was written")
        if self._to_come == 0 and self._checksum is not None and self._claimed is not None:
            self.is_other_than_claimed = self._checksum.digest() != self._claimed[1]
            if self.is_other_than_claimed:
                raise OSError("the parts are not what the client claims of them")
        return data

    def close(self) -> None:
        """
        Close the open file; it may be called twice.
        """
        opened, self._open = self._open, None
        self._left = 0
        if opened is not None:
            opened.file.close()


@implementer(IPushProducer)
class PartsReader:
    """
    The producer of an object made of parts: as fast as its consumer takes it, but at most one block in each turn of the
    reactor.

    Hashing takes longer than many backends need to take the block, so the socket might never be full. Without the turns
    no other request would be served until the end of the object.

    Args:
        ended: Called once, after the last byte was written.
        failed: Called once if the bytes cannot be read, or do not match.
    """

    def __init__(
        self,
        reactor: Any,
        joined: JoinedParts,
        sink: SpoolSink,
        ended: Callable[[], None],
        failed: Callable[[OSError], None],
    ) -> None:
        self._reactor = reactor
        self._joined = joined
        self._sink = sink
        self._ended = ended
        self._failed = failed
        self._turn: IDelayedCall | None = None
        self._is_paused = False
        self._is_over = False

    def start(self) -> None:
        """
        Start with the first byte.
        """
        self._joined.rewind()
        self._sink.registerProducer(self, True)
        self._await_turn()

    def _await_turn(self) -> None:
        if self._turn is None:
            self._turn = self._reactor.callLater(0, self._read)

    def _read(self) -> None:
        self._turn = None
        if self._is_paused:
            return
        try:
            data = self._joined.read(READ_SIZE)
        except OSError as error:
            self.stop()
            self._failed(error)
            return
        if data:
            self._sink.write(data)
        self._go_on()

    def _go_on(self) -> None:
        if self._is_paused or self._is_over:
            return
        if self._joined.is_read:
            # Not one turn later: the backend may have responded by then, and its response would seem to come before the
            # end of the body.
            self.stop()
            self._ended()
        else:
            self._await_turn()

    def pauseProducing(self) -> None:
        self._is_paused = True

    def resumeProducing(self) -> None:
        self._is_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        self.stop()

    def stop(self) -> None:
        """
        Stop writing, and call neither function. It may be called twice.
        """
        if not self._is_over:
            self._is_over = True
            turn, self._turn = self._turn, None
            if turn is not None:
                turn.cancel()
            self._joined.close()
            self._sink.unregisterProducer()
