"""
The arguments and results of the store of uploads.
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
    The limits on what is kept, for all processes together.

    Attributes:
        size: Maximum bytes of all parts, including those that are still arriving.
        uploads: Maximum number of uploads that have begun and not ended.
        uploads_of_owner: Maximum number of such uploads for one access key; 0 for no limit.
        expires: Seconds from the beginning of an upload until it is removed.
        size_of_owner: Maximum bytes of all parts that one access key has sent or announced; 0 for no limit. To announce
            costs a client nothing: without a limit one key could take all the space, and send nothing.
    """

    size: int
    uploads: int
    uploads_of_owner: int
    expires: float
    size_of_owner: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """
    What an upload belongs to: at any other place it does not exist.

    Attributes:
        backend: The name of the backend.
        account: The access key id that signs for s3proxy at the backend; empty if none does.
    """

    backend: str
    account: str
    bucket: bytes
    key: bytes = b""


@dataclass(slots=True)
class Reservation:
    """
    The space for a part that is arriving.

    Attributes:
        file_name: The name of the part's file, without its suffix.
        owner: The access key id of the client.
        fd: The descriptor of the temporary file, open for writing; -1 once it is closed.
    """

    upload_id: str
    file_name: str
    size: int
    owner: str
    fd: int

    def close(self) -> None:
        """
        Close the file; it may be called twice.
        """
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


class ClaimOutcome(IdentityEnum):
    """
    The result of a request to complete an upload.
    """

    CLAIMED = auto()
    "this process has claimed the upload, and must complete it"
    BUSY = auto()
    "a living process is completing the upload"
    DONE = auto()
    "the upload was completed before, by the same document"


@dataclass(frozen=True, slots=True)
class Claim:
    """
    The claim of an upload for its completion.

    Attributes:
        parts: The parts in order; empty unless the upload is claimed.
        headers: The headers that `MultipartStore.begin` got.
        etag: The ETag of the object without quotation marks, if the upload is done.
    """

    outcome: ClaimOutcome
    parts: tuple[Part, ...] = ()
    headers: tuple[tuple[bytes, bytes], ...] = ()
    etag: str = ""
