"""
A part from its reservation to the store: first its space, then its bytes, then its row.

Space is reserved for the announced bytes, before any of them may arrive. The owner of a reservation ends it: `commit`
makes it a part and gives it to the store, or `discard` gives it back.
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
        uploads: The multipart uploads of the process.
        upload_id: The upload id, as the client sent it.
        owner: The access key id of the client.

    Attributes:
        size: Bytes that the client announced; None until then.
        writer: Writes the bytes; None until there is space for them.
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
        Reserve space for this many bytes.

        Returns:
            Fires with the writer; fails like `MultipartStore.reserve`.
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
        Store the part, whose bytes are all written.

        Args:
            checksums: The verified checksums, by the names of their algorithms.
        """
        # From here on the reservation belongs to the thread: there it becomes a part, or is given back.
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
        Give the space back if the part was not stored; it may be called twice.
        """
        reservation, self._reservation = self._reservation, None
        if reservation is not None:
            self._uploads.run_alone(self._store.release, reservation)
