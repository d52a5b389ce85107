"""
A body without a coding of its own: the received bytes are the bytes of the object.
"""

from __future__ import annotations

from s3proxy.awschunked.checksums import BodyDigests
from s3proxy.s3.errors import IncompleteBody
from s3proxy.s3.head import HeaderList


class PlainDecoder:
    """
    Verifies the length and the digests of a body.

    Args:
        length: Declared bytes of the body; None if only its end shows them.
    """

    __slots__ = ("_digests", "_size", "length")

    def __init__(self, length: int | None, digests: BodyDigests) -> None:
        self.length = length
        self._digests = digests
        self._size = 0

    def feed(self, data: bytes) -> list[memoryview]:
        """
        Count and hash bytes as they arrived, and return them.

        Raises:
            IncompleteBody: There are more than were declared.
        """
        self._size += len(data)
        if self.length is not None and self._size > self.length:
            raise IncompleteBody.of_length(self.length, self._size)
        self._digests.update(data)
        return [memoryview(data)]

    @property
    def only_counts(self) -> bool:
        """
        Whether only the length must be verified: there is one, and no digest.
        """
        return self.length is not None and not self._digests.updates

    def skip(self, size: int) -> None:
        """
        Count bytes that do not pass through this process.
        """
        self._size += size

    def finish(self) -> HeaderList:
        """
        Called once no more bytes will arrive.

        Returns:
            The verified checksums, as headers.

        Raises:
            IncompleteBody: There are fewer than were declared.
            S3Error: A digest does not match the body.
        """
        if self.length is not None and self._size != self.length:
            raise IncompleteBody.of_length(self.length, self._size)
        self._digests.check([])
        return self._digests.verified
