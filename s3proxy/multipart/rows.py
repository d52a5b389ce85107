"""
Steps that several transactions share: find an upload, read a part, remove both.

Each function works within the transaction of its caller: it gets the connection, and commits nothing.
"""

from __future__ import annotations

import json
import re
import sqlite3
from typing import NamedTuple

from s3proxy.multipart.documents import Part
from s3proxy.multipart.records import Place
from s3proxy.multipart.schema import COMPLETING, DONE
from s3proxy.s3.errors import NoSuchUpload

_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{43}")


class UploadRow(NamedTuple):
    """
    A row of ``uploads``.

    Attributes:
        completer: The process that completes the upload; None if none does.
        headers: The headers in JSON.
        digest: The digest of the document that completed the upload.
        etag: The ETag of the object, once the upload is done.
    """

    state: int
    completer: str | None
    owner: str
    begun_at: float
    headers: str
    digest: bytes | None
    etag: str | None


def find_upload(connection: sqlite3.Connection, upload_id: str, place: Place, *, is_open: bool = True) -> UploadRow:
    """
    Return an upload.

    Args:
        is_open: Whether only an upload that has not ended is found.

    Raises:
        NoSuchUpload: The upload does not exist, is not of this place, or has ended.
    """
    row = None
    if _UPLOAD_ID.fullmatch(upload_id):
        row = connection.execute(
            "SELECT state, completer, owner, begun_at, headers, digest, etag FROM uploads "
            "WHERE id = ? AND backend = ? AND account = ? AND bucket = ? AND key = ? AND state <= ?",
            (upload_id, place.backend, place.account, place.bucket, place.key, COMPLETING if is_open else DONE),
        ).fetchone()
    if row is None:
        raise NoSuchUpload(UploadId=upload_id[:128])
    return UploadRow(*row)


def read_part(row: tuple[int, int, bytes, str, str, float]) -> Part:
    """
    Return the part of a row, which has its number, size, MD5, file, checksums and time.
    """
    number, size, md5, file, checksums, modified_at = row
    return Part(number, size, md5, file, json.loads(checksums), modified_at)


def files_of(connection: sqlite3.Connection, upload_id: str) -> list[str]:
    """
    Return the names of the files of an upload's parts.
    """
    return [file for (file,) in connection.execute("SELECT file FROM parts WHERE upload = ?", (upload_id,))]


def remove_upload(connection: sqlite3.Connection, upload_id: str) -> list[str]:
    """
    Remove the rows of an upload and its parts; return the files to remove next.
    """
    files = files_of(connection, upload_id)
    connection.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
    connection.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
    return files
