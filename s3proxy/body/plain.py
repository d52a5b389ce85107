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
        Take bytes as they arrived, and give them back.

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
        Count bytes which go another way.
        """
        self._size += size

    def finish(self) -> HeaderList:
        """
        Know that no more bytes will come.

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
