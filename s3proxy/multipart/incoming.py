"""
A part on its way to the disk: its room, then its bytes, then its row.

Room is reserved for the bytes that are announced, before any of them may come. Whoever has the reservation ends it: it
becomes a part by `commit`, which gives it to the store, or is given back by `discard`.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from s3proxy.multipart.documents import Part
from s3proxy.multipart.files import PartWriter
from s3proxy.multipart.records import Place, Reservation
from s3proxy.multipart.uploads import MultipartUploads


class IncomingPart:
    """
    The part of one request.

    Args:
        uploads: Of the process.
        upload_id: As the client names it.
        owner: The access key id of the client.

    Attributes:
        size: Bytes that were announced; None until then.
        writer: Writes the bytes; None until there is room for them.
    """

    def __init__(self, uploads: MultipartUploads, upload_id: str, place: Place, number: int, owner: str) -> None:
        self._uploads = uploads
        self._store = uploads.store
        self._upload_id = upload_id
        self._place = place
        self._number = number
        self._owner = owner
        self._reservation: Reservation | None = None
        self.size: int | None = None
        self.writer: PartWriter | None = None

    def reserve(self, size: int) -> Deferred[PartWriter]:
        """
        Take room for so many bytes.

        Returns:
            Fires with the writer; fails as `MultipartStore.reserve` does.
        """
        self.size = size
        reserving: Deferred[Any] = self._uploads.run(
            self._store.reserve, self._upload_id, self._place, size, self._owner, undo=self._store.release
        )
        return reserving.addCallback(self._reserved)

    def _reserved(self, reservation: Reservation) -> PartWriter:
        self._reservation = reservation
        self.writer = writer = PartWriter(reservation)
        return writer

    async def commit(self, checksums: dict[str, str]) -> Part:
        """
        Keep the part, whose bytes are all written.

        Args:
            checksums: Those that hold of it, by the names of their algorithms.
        """
        # From here on the reservation is the thread's: it ends with a part, or is given back there.
        reservation, self._reservation = self._reservation, None
        writer = self.writer
        assert reservation is not None
        assert writer is not None
        assert writer.size == reservation.size
        part: Part = await self._uploads.run(
            self._store.commit, reservation, self._place, self._number, writer.md5, checksums
        )
        return part

    def discard(self) -> None:
        """
        Give the room back if the part was not kept; it may come twice.
        """
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._uploads.run_alone(self._store.release, reservation)
