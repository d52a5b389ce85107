"""
The consumer of a client's body: it verifies the bytes, and withholds the end until everything is verified.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from s3proxy.body.plain import PlainDecoder
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import HeaderList
from s3proxy.transport.writer import DirectWriter, SeesEachByte


class BodyDecoder(Protocol):
    """
    From the bytes of a body to those of an object.
    """

    @property
    def length(self) -> int | None:
        """
        Declared bytes of the object; None if only the end of the body shows it.
        """

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Take bytes, return the object's among them; raises an S3Error.
        """

    def finish(self) -> HeaderList:
        """
        Return the verified checksums of the whole body; raises an S3Error.
        """


class BodySink(Protocol):
    """
    Where verified bytes go: an `s3proxy.backend.upload.Upload`, or a `HeldBody`.
    """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Set the producer to pause.
        """

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """

    def writeSequence(self, pieces: Sequence[bytes | memoryview]) -> None:
        """
        Take bytes, in order.
        """

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The writer that bytes may be spliced to; None if they must be written to this object.
        """

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """


@implementer(IConsumer)
class GuardedBody:
    """
    Stands between a client's request and its backend: writes the decoded bytes to the sink, except the end.

    The pieces of the block in which the declared length is reached stay here until the decoder has judged the whole:
    at least one byte, at most one block, and nothing is copied.

    Args:
        verified: Called once, with the checksums which hold, after the sink got the last byte.
        refused: Called once, with the first fault. Whatever comes later is dropped.
    """

    def __init__(
        self,
        decoder: BodyDecoder,
        sink: BodySink,
        verified: Callable[[HeaderList], None],
        refused: Callable[[S3Error], None],
    ) -> None:
        self._decoder = decoder
        # There is nothing to verify but the length: then nobody need see the bytes.
        self._counter = decoder if isinstance(decoder, PlainDecoder) and decoder.only_counts else None
        self._sink = sink
        self._verified = verified
        self._refused = refused
        self._to_come = decoder.length
        self._withheld: list[memoryview] = []
        self._is_over = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._sink.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._sink.unregisterProducer()

    def write(self, data: bytes) -> None:
        """
        Take bytes of the client's body.
        """
        if self._is_over:
            return
        try:
            pieces = self._decoder.feed(data)
            if not pieces:
                return
            if self._to_come is not None:
                self._to_come -= sum(map(len, pieces))
                if self._to_come <= 0:
                    self._withheld += pieces
                    return
            self._sink.writeSequence(pieces)
        except S3Error as error:
            self._refuse(error)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The sink's writer, if this process need not read the bytes. The end of the body is still written here.
        """
        return self._sink.splice_target if self._counter is not None and not self._is_over else None

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """
        assert self._counter is not None
        self._counter.skip(size)
        if self._to_come is not None:
            self._to_come -= size
        self._sink.moved(size)

    def wireEnded(self) -> None:
        """
        Called once the client's body is complete: verify it, and release the end.
        """
        if self._is_over:
            return
        try:
            checksums = self._decoder.finish()
        except S3Error as error:
            self._refuse(error)
            return
        self._is_over = True
        withheld, self._withheld = self._withheld, []
        try:
            if withheld:
                self._sink.writeSequence(withheld)
        except S3Error as error:
            # A small body was withheld whole until now, and the disk may be full.
            self._refuse(error)
            return
        self._verified(checksums)

    def stop(self) -> None:
        """
        Drop the withheld and all further bytes, without a callback.
        """
        self._is_over = True
        self._withheld = []

    @property
    def withheld_size(self) -> int:
        """
        Number of bytes that are withheld.
        """
        return sum(map(len, self._withheld))

    def _refuse(self, error: S3Error) -> None:
        self.stop()
        self._refused(error)


class HeldBody(SeesEachByte):
    """
    Keeps a whole body in memory.

    Args:
        max_size: Maximum bytes of the body.
        too_large: Makes the error for a larger body.
        held: Called with the size of each piece that is kept.

    Attributes:
        memory_size: Bytes received so far.
    """

    def __init__(
        self, max_size: int, too_large: Callable[[], S3Error], held: Callable[[int], None] | None = None
    ) -> None:
        self._max_size = max_size
        self._too_large = too_large
        self._held = held
        self._content: bytes | bytearray = b""
        self.memory_size = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Ignored: the producer is never paused, because there is room for the whole body.
        """

    def unregisterProducer(self) -> None:
        """
        Ignored.
        """

    def writeSequence(self, pieces: Sequence[bytes | memoryview]) -> None:
        """
        Keep bytes, as a copy: a view would keep the whole block which it was read in.

        Raises:
            S3Error: The body is too large.
        """
        size = sum(map(len, pieces))
        self.memory_size += size
        if self.memory_size > self._max_size:
            raise self._too_large()
        for piece in pieces:
            # Most bodies arrive in one piece. Each of many small pieces would need an object larger than the piece.
            if not self._content:
                self._content = bytes(piece)
                continue
            if isinstance(self._content, bytes):
                self._content = bytearray(self._content)
            self._content += piece
        if self._held is not None:
            self._held(size)

    @property
    def content(self) -> bytes:
        """
        The body so far.
        """
        return bytes(self._content)
