"""
What the store of uploads takes and tells.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from enum import auto

from s3proxy.multipart.documents import Part
from s3proxy.s3.identity_enum import IdentityEnum


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """
    How much may be kept, by all processes together.

    Attributes:
        size: Bytes of all parts, those included that are on their way.
        uploads: Uploads that have begun and not ended.
        uploads_of_owner: The same of one access key; 0 for no bound.
        expires: Seconds after its beginning that an upload is removed.
        size_of_owner: Bytes of all parts that one access key has sent, or has announced; 0 for no bound. What is
            announced costs nothing: without a bound one key could take all the room, and send nothing.
    """

    size: int
    uploads: int
    uploads_of_owner: int
    expires: float
    size_of_owner: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """
    What an upload belongs to: with any other it does not exist.

    Attributes:
        backend: Its name.
        account: The access key id that signs for us there; empty if nobody does.
    """

    backend: str
    account: str
    bucket: bytes
    key: bytes = b""


@dataclass(slots=True)
class Reservation:
    """
    Room for a part that is on its way.

    Attributes:
        file_name: Of the part, once it is complete.
        owner: The access key id of who sends it.
        fd: Of its temporary file, open for writing; -1 once it is closed.
    """

    upload_id: str
    file_name: str
    size: int
    owner: str
    fd: int

    def close(self) -> None:
        """
        Close the file; it may come twice.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class ClaimOutcome(IdentityEnum):
    """
    What became of the wish to complete an upload.
    """

    CLAIMED = auto()
    "it is ours to complete"
    BUSY = auto()
    "a process that lives is completing it"
    DONE = auto()
    "it was completed before, by the same document"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    An upload that is to be completed.

    Attributes:
        parts: In order; empty unless it is claimed.
        headers: As `MultipartStore.begin` got them.
        etag: Of the object, without quotation marks, if it is done.
    """

    outcome: ClaimOutcome
    parts: tuple[Part, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    etag: str = ""
