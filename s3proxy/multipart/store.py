"""
Multipart uploads on disk: rows of a database for uploads and parts, and a file for the bytes of each part.

Several processes share one directory. Any of them may be killed at any moment, so the order of the steps decides what
is lost then. A part's file is complete and on disk before its row is committed, and a row is removed before its file: a
file without a row is never needed, and a row always has its file. Space for a part is reserved before its client may
send it. A request that completes an upload claims it first: then no part of it changes.

`database` has the transactions, `part_files` the files, `processes` the living processes, and `sweeper` removes
abandoned work. All of them block. `s3proxy.multipart.uploads` calls the store in threads.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from s3proxy.multipart.database import DATABASE, UploadsDatabase
from s3proxy.multipart.directory import CannotKeepUploads, make_directory, sync_directory
from s3proxy.multipart.documents import (
    BegunUpload,
    CompletedPart,
    Part,
    UploadsPage,
    UploadsQuery,
    choose_parts,
    completion_digest,
    page_of_uploads,
)
from s3proxy.multipart.part_files import PARTS, PartFiles
from s3proxy.multipart.processes import PROCESSES, OwnProcess
from s3proxy.multipart.records import Claim, ClaimOutcome, Place, Reservation, StoreLimits
from s3proxy.multipart.rows import UploadRow, files_of, find_upload, read_part, remove_upload
from s3proxy.multipart.schema import COMPLETING, DONE, LEAST_COST, OPEN
from s3proxy.multipart.sweeper import Sweeper
from s3proxy.s3.errors import NoSuchUpload, OperationAborted, S3Error, SlowDown
from s3proxy.telemetry.declarations import Metric, counter, gauge

REMEMBERED_COUNT = 1000
"""
Number of remembered results of completed uploads for each key, which can complete uploads as fast as it likes.
"""


class MultipartStore:
    """
    The uploads of one directory. Any thread may call it.

    Args:
        directory: A directory on a file system that keeps files; it is made, but its parents are not.
        limits: The limits, which may be replaced at any time.
        now: Returns the time in seconds since the epoch.

    Attributes:
        directory: The directory that was given.
        refused_count: Parts and uploads that were refused for lack of space or by a limit.

    Raises:
        CannotKeepUploads: Other users can access the directory, it cannot be written to, or its database cannot be
            read.
    """

    def __init__(self, directory: Path, limits: StoreLimits, now: Callable[[], float]) -> None:
        self.limits = limits
        self.refused_count = 0
        self._now = now
        self.directory = directory
        try:
            make_directory(directory)
            for name in (PARTS, PROCESSES):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory / name, 0o700)
            sync_directory(directory)
            self._process = OwnProcess(directory)
            self._database = UploadsDatabase(directory)
            self._files = PartFiles(directory, self._database)
            self._sweeper = Sweeper(self._database, self._files, self._process, now)
            self.sweep()
        except OSError as error:
            raise CannotKeepUploads(f"{error.filename or directory}: {error.strerror}") from None
        except sqlite3.Error as error:
            raise CannotKeepUploads(f"{directory / DATABASE}: {error}") from None
        except S3Error as error:
            raise CannotKeepUploads(f"{directory / DATABASE}: {error.__cause__}") from None

    def close(self) -> None:
        """
        Release the directory. Unfinished work is removed by the next process that opens it.
        """
        self._database.close()
        self._process.close()

    @property
    def is_volatile(self) -> bool:
        """
        Whether the file system is in memory.
        """
        device = os.stat(self.directory).st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        try:
            lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
        except OSError:
            return False
        mounts = [line.partition(" - ") for line in lines]
        return any(
            mount.split(" ")[2] == wanted and about.split(" ")[0] in {"tmpfs", "ramfs"} for mount, _, about in mounts
        )

    # Uploads

    def begin(self, place: Place, owner: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """
        Begin an upload; return its id, which cannot be guessed.

        Args:
            owner: The access key id of the client.
            headers: The headers that the request of the whole object must have.

        Raises:
            SlowDown: There are too many uploads.
        """
        upload_id = secrets.token_urlsafe(32)
        content = json.dumps([[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers])
        limits = self.limits
        with self._database.transaction(is_durable=True) as connection:
            (count,) = connection.execute("SELECT uploads FROM usage").fetchone()
            (own,) = connection.execute(
                "SELECT COUNT(*) FROM uploads WHERE owner = ? AND state < 2", (owner,)
            ).fetchone()
            if count >= limits.uploads or (limits.uploads_of_owner and own >= limits.uploads_of_owner):
                self.refused_count += 1
                raise SlowDown
            connection.execute(
                "INSERT INTO uploads (id, backend, account, bucket, key, owner, headers, begun_at, state) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (upload_id, place.backend, place.account, place.bucket, place.key, owner, content, self._now(), OPEN),
            )
        return upload_id

    def abort(self, upload_id: str, place: Place) -> None:
        """
        Remove an upload and its parts.

        Raises:
            NoSuchUpload: The upload does not exist.
            OperationAborted: The upload is being completed.
        """
        with self._database.transaction(is_durable=True) as connection:
            self._find_open(connection, upload_id, place)
            files = remove_upload(connection, upload_id)
        self._files.remove(files)

    def uploads(self, place: Place, query: UploadsQuery) -> UploadsPage:
        """
        Return a page of the uploads of a bucket.
        """
        with self._database.transaction() as connection:
            rows = connection.execute(
                "SELECT key, id, owner, begun_at FROM uploads "
                "WHERE backend = ? AND account = ? AND bucket = ? AND key >= ? AND state < 2 ORDER BY key, id",
                (place.backend, place.account, place.bucket, max(query.key_marker, query.prefix)),
            )
            return page_of_uploads((BegunUpload(*row) for row in rows), query)

    def parts(self, upload_id: str, place: Place, after: int, most: int) -> tuple[BegunUpload, list[Part], bool]:
        """
        Return an upload, a page of its parts by number, and whether there are more.

        Args:
            after: The part number after which the page begins.

        Raises:
            NoSuchUpload: The upload does not exist.
        """
        with self._database.transaction() as connection:
            found = find_upload(connection, upload_id, place)
            rows = connection.execute(
                "SELECT number, size, md5, file, checksums, modified_at FROM parts "
                "WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
                (upload_id, after, most + 1),
            ).fetchall()
        parts = [read_part(row) for row in rows[:most]]
        return BegunUpload(place.key, upload_id, found.owner, found.begun_at), parts, len(rows) > most > 0

    # Parts

    def reserve(self, upload_id: str, place: Place, size: int, owner: str) -> Reservation:
        """
        Reserve space for a part, and open its file.

        Args:
            size: Bytes that the client has announced.
            owner: The access key id of the client.

        Raises:
            NoSuchUpload: The upload does not exist.
            OperationAborted: The upload is being completed.
            SlowDown: There is no space, or none for this key.
        """
        cost, limits = max(size, LEAST_COST), self.limits
        file_name = f"{self._process.name}-{secrets.token_hex(16)}"
        with self._database.transaction() as connection:
            self._find_open(connection, upload_id, place)
            (used,) = connection.execute("SELECT cost FROM usage").fetchone()
            (own,) = connection.execute("SELECT cost FROM owners WHERE owner = ?", (owner,)).fetchone() or (0,)
            if used + cost > limits.size or (limits.size_of_owner and own + cost > limits.size_of_owner):
                self.refused_count += 1
                raise SlowDown
            connection.execute(
                "INSERT INTO reservations VALUES (?, ?, ?, ?, ?)",
                (file_name, self._process.name, upload_id, size, owner),
            )
            self._process.writing.add(file_name)
        try:
            fd = self._files.make(file_name)
        except OSError as error:
            self.release(Reservation(upload_id, file_name, size, owner, -1))
            self.refused_count += 1
            raise SlowDown from error
        return Reservation(upload_id, file_name, size, owner, fd)

    def release(self, reservation: Reservation) -> None:
        """
        Give space back, and remove the file. It may be called twice.
        """
        reservation.close()
        self._files.remove([f"{reservation.file_name}.tmp"])
        # A sweep does what cannot be done now. It does not touch files that are being written.
        self._process.writing.discard(reservation.file_name)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM reservations WHERE file = ?", (reservation.file_name,))

    def commit(
        self, reservation: Reservation, place: Place, number: int, md5: bytes, checksums: Mapping[str, str]
    ) -> Part:
        """
        Store a part whose bytes are written. It replaces an earlier part of the same number. Once this has returned,
        the part is not lost, whatever happens to the process.

        Raises:
            NoSuchUpload: The upload has ended in the meantime.
            OperationAborted: The upload is being completed.
            SlowDown: The disk is full.
        """
        upload_id, name = reservation.upload_id, reservation.file_name
        part = Part(number, reservation.size, md5, f"{name}.part", checksums, self._now())
        try:
            self._files.keep(reservation, part)
            with self._database.transaction(is_durable=True) as connection:
                self._find_open(connection, upload_id, place)
                former = connection.execute(
                    "SELECT file FROM parts WHERE upload = ? AND number = ?", (upload_id, number)
                ).fetchall()
                connection.execute("DELETE FROM reservations WHERE file = ?", (name,))
                connection.execute("DELETE FROM parts WHERE upload = ? AND number = ?", (upload_id, number))
                connection.execute(
                    "INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        upload_id,
                        number,
                        part.size,
                        md5,
                        part.file,
                        json.dumps(dict(checksums)),
                        part.modified_at,
                        reservation.owner,
                    ),
                )
        except (OSError, S3Error) as error:
            with contextlib.suppress(S3Error):
                self.release(reservation)
            self._files.remove_if_left([part.file])
            raise error if isinstance(error, S3Error) else SlowDown from error
        self._process.writing.discard(name)
        self._files.remove([file for (file,) in former])
        return part

    def path_of(self, part: Part) -> Path:
        """
        Return the path of a part's file.
        """
        return self._files.path_of(part)

    # Completion

    def claim(self, upload_id: str, place: Place, wanted: Sequence[CompletedPart], max_size: int) -> Claim:
        """
        Begin to complete an upload. Until `give_up` or `finish` its parts do not change.

        Args:
            max_size: Maximum size of the object, in bytes.

        Raises:
            NoSuchUpload: The upload does not exist, or was completed by another document.
            S3Error: The same errors as `choose_parts`.
        """
        with self._database.transaction() as connection:
            found = find_upload(connection, upload_id, place, is_open=False)
            if found.state == DONE:
                # Only here: for ten thousand parts the digest takes long, and a request that waits for another comes
                # here twice a second.
                if found.digest != completion_digest(wanted):
                    raise NoSuchUpload(UploadId=upload_id)
                return Claim(ClaimOutcome.DONE, etag=found.etag or "")
            if self._is_at_it(upload_id, found):
                return Claim(ClaimOutcome.BUSY)
            rows = connection.execute(
                "SELECT number, size, md5, file, checksums, modified_at FROM parts WHERE upload = ?", (upload_id,)
            )
            stored = {part.number: part for part in map(read_part, rows)}
            parts = choose_parts(wanted, stored, max_size, upload_id)
            connection.execute(
                "UPDATE uploads SET state = ?, completer = ? WHERE id = ?", (COMPLETING, self._process.name, upload_id)
            )
            self._process.completing.add(upload_id)
        pairs = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(found.headers))
        return Claim(ClaimOutcome.CLAIMED, tuple(parts), pairs)

    def give_up(self, upload_id: str) -> None:
        """
        Give up the claim: the upload is open again.
        """
        try:
            with self._database.transaction() as connection:
                connection.execute(
                    "UPDATE uploads SET state = ?, completer = NULL WHERE id = ? AND state = ? AND completer = ?",
                    (OPEN, upload_id, COMPLETING, self._process.name),
                )
        finally:
            # Otherwise no request could complete or abort the upload before this process ends.
            self._process.completing.discard(upload_id)

    def finish(self, upload_id: str, wanted: Sequence[CompletedPart], etag: str) -> None:
        """
        Remove the parts of a claimed upload that is now complete; remember its result.
        """
        with self._database.transaction(is_durable=True) as connection:
            connection.execute(
                "UPDATE uploads SET state = ?, completer = NULL, headers = '[]', ended_at = ?, digest = ?, etag = ? "
                "WHERE id = ?",
                (DONE, self._now(), completion_digest(wanted), etag, upload_id),
            )
            files = files_of(connection, upload_id)
            connection.execute("DELETE FROM parts WHERE upload = ?", (upload_id,))
            connection.execute(
                "DELETE FROM uploads WHERE id IN (SELECT id FROM uploads WHERE state = 2 AND owner = "
                "(SELECT owner FROM uploads WHERE id = ?) ORDER BY ended_at DESC LIMIT -1 OFFSET ?)",
                (upload_id, REMEMBERED_COUNT),
            )
        self._process.completing.discard(upload_id)
        self._files.remove(files)

    def _is_at_it(self, upload_id: str, found: UploadRow) -> bool:
        if found.state != COMPLETING or found.completer is None:
            return False
        if found.completer == self._process.name:
            return upload_id in self._process.completing
        return self._process.lives(found.completer)

    def _find_open(self, connection: sqlite3.Connection, upload_id: str, place: Place) -> None:
        if self._is_at_it(upload_id, find_upload(connection, upload_id, place)):
            raise OperationAborted

    # Abandoned work

    def sweep(self) -> None:
        """
        Remove expired uploads, and the unfinished work of dead processes. Any process may do this, at any time.

        Raises:
            S3Error: The database cannot be used.
        """
        self._sweeper.sweep(self.limits.expires)

    def sweep_own(self) -> None:
        """
        Remove the abandoned work of this process. While it lives, no other process can distinguish that from its
        current work.

        Raises:
            S3Error: The database cannot be used.
        """
        self._sweeper.sweep_own()

    def lead(self) -> bool:
        """
        Try to lead; return True if this process leads. Only the leader reports the usage of the directory and sweeps
        all of it.
        """
        return self._process.lead()

    def resign(self) -> None:
        """
        Let another process lead. It may be called twice.
        """
        self._process.resign()

    def usage(self) -> tuple[int, int]:
        """
        Return the bytes of all parts, and the number of uploads that have begun and not ended. It never waits. It
        returns zeros unless this process leads, because otherwise several processes would report the same bytes.
        """
        return self._database.usage() if self._process.is_leader else (0, 0)


METRICS: tuple[Metric[MultipartStore], ...] = (
    gauge(
        "s3proxy_multipart_bytes",
        "Bytes of the upload parts that s3proxy keeps, including those that are arriving.",
        lambda store: store.usage()[0],
    ),
    gauge("s3proxy_multipart_uploads", "Multipart uploads that s3proxy keeps.", lambda store: store.usage()[1]),
    counter(
        "s3proxy_multipart_refusals",
        "Multipart uploads and parts that were refused because there was no space.",
        lambda store: store.refused_count,
    ),
)
