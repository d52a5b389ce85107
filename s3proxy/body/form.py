"""
Receive a form: its fields are read before they are verified, its file only afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from s3proxy.awschunked.checksums import BodyDigests
from s3proxy.postobject.form import FieldsDecoder, FileDecoder
from s3proxy.postobject.policy import SizeRange
from s3proxy.s3.errors import EntityTooLarge, EntityTooSmall, MalformedPOSTRequest, S3Error
from s3proxy.s3.head import HeaderList
from s3proxy.transport.deadline import Deadline


class FormBody:
    """
    The body decoder of a form's file.

    Args:
        length: Predicted bytes of the file; None if only its delimiter shows the end.
        digests: The digests of the file.
        size_ranges: The size ranges of the policy.
        max_size: Maximum bytes of one object.
    """

    __slots__ = ("_decoder", "_digests", "_least", "_most", "_size", "length")

    def __init__(
        self,
        decoder: FileDecoder,
        digests: BodyDigests,
        size_ranges: Sequence[SizeRange],
        max_size: int,
        length: int | None = None,
    ) -> None:
        self.length = length
        self._decoder = decoder
        self._digests = digests
        self._least = max((size_range.least for size_range in size_ranges), default=0)
        self._most = min((size_range.most for size_range in size_ranges), default=max_size)
        self._size = 0

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Take bytes of the form behind its fields; return the file's among them.

        Raises:
            EntityTooLarge: The file is larger than its policy allows.
        """
        pieces = self._decoder.feed(data)
        for piece in pieces:
            self._size += len(piece)
            self._digests.update(piece)
        if self._size > self._most:
            raise EntityTooLarge(self._size, self._most)
        return pieces

    def finish(self) -> HeaderList:
        """
        Know that no more bytes will come; return the checksums which hold.

        Raises:
            MalformedPOSTRequest: The form has no end, or the file's length is not the predicted one.
            EntityTooSmall: The file is smaller than its policy allows.
            S3Error: A digest does not match the file.
        """
        if not self._decoder.is_closed or self.length not in {None, self._size}:
            raise MalformedPOSTRequest
        if self._size < self._least:
            raise EntityTooSmall(self._size, self._least)
        self._digests.check([])
        return self._digests.verified


class FileConsumer(Protocol):
    """
    Receives the file: a `s3proxy.body.guard.GuardedBody`.
    """

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Set the producer to pause.
        """

    def unregisterProducer(self) -> None:
        """
        Forget the producer.
        """

    def write(self, data: bytes) -> None:
        """
        Take bytes.
        """

    def wireEnded(self) -> None:
        """
        Called once the body is complete.
        """


@implementer(IConsumer)
class FormReader:
    """
    The consumer of a form's body. It pauses the client after the fields, and resumes it once there is a consumer for
    the file.

    Args:
        decoder: The decoder of the fields.
        read: Called once, when the fields are complete.
        refused: Called once, with the first error in the fields.
    """

    def __init__(self, decoder: FieldsDecoder, read: Callable[[], None], refused: Callable[[S3Error], None]) -> None:
        self._decoder = decoder
        self._read = read
        self._refused = refused
        self._producer: Any = None
        self._file: FileConsumer | None = None
        self._deadline: Deadline | None = None
        self._early: list[bytes] = []
        self._has_fields = False
        self._has_ended = False
        self._is_over = False

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._producer = producer

    def bound_by(self, deadline: Deadline) -> None:
        """
        Set a deadline to cancel once the fields are complete, or no longer needed.
        """
        self._deadline = deadline

    def _meet_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None:
            deadline.cancel()

    def unregisterProducer(self) -> None:
        self._producer = None
        self._meet_deadline()
        if self._file is not None:
            self._file.unregisterProducer()

    def write(self, data: bytes) -> None:
        """
        Take bytes of the client's body.
        """
        if self._is_over:
            return
        if self._file is not None:
            self._file.write(data)
        elif self._has_fields:
            # These bytes were in flight when the client was paused.
            self._early.append(data)
        else:
            self._take(data)

    def _take(self, data: bytes) -> None:
        try:
            rest = self._decoder.feed(data)
        except S3Error as error:
            self._refuse(error)
            return
        if rest is not None:
            self._has_fields = True
            self._meet_deadline()
            self._early.append(rest)
            if self._producer is not None:
                self._producer.pauseProducing()
            self._read()

    def wireEnded(self) -> None:
        """
        Called once the client's body is complete.
        """
        if self._is_over:
            return
        self._has_ended = True
        if self._file is not None:
            self._file.wireEnded()
        elif not self._has_fields:
            self._refuse(MalformedPOSTRequest())

    def give_file_to(self, file: FileConsumer) -> None:
        """
        Go on: let somebody take the bytes behind the fields.
        """
        self._file = file
        producer = self._producer
        if producer is not None:
            file.registerProducer(producer, True)
        early, self._early = self._early, []
        for data in early:
            file.write(data)
        if self._has_ended:
            file.wireEnded()
        elif producer is not None and not self._is_over:
            producer.resumeProducing()

    def stop(self) -> None:
        """
        Drop all further bytes, without a callback.
        """
        self._is_over = True
        self._early = []

    def _refuse(self, error: S3Error) -> None:
        self.stop()
        self._refused(error)
