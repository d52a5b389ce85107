"""
The buckets and objects of a `LegacyStore`, in a directory.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast


@dataclass(frozen=True)
class StoredObject:
    """
    One object.

    Attributes:
        key: The decoded key.
        file: The name of the file with the bytes, below the directory of the folder.
        size: The number of bytes. The file is shorter if the store has lost bytes.
        etag: The entity tag without quotation marks: the MD5 in hex, or the tag of a multipart upload.
        modified: When it was stored, in seconds since the epoch.
        headers: The headers that a read returns. Names are in lower case or as they were spelled, values are Latin-1.
        grants: The ACL: pairs of a grantee and a permission.
        version: The id of this version.
        number: The position of this version among the versions of its key.
        is_marker: Whether it is a delete marker.
        is_latest: Whether it is the latest version of its key. An object in its bucket's folder always is.
        is_joined: Whether it was uploaded in parts.
        upload_id: The id of the multipart upload that this describes; empty for any other object.
    """

    key: str
    file: str
    size: int
    etag: str
    modified: float
    headers: dict[str, str] = field(default_factory=dict)
    grants: list[list[str]] = field(default_factory=list)
    version: str = "null"
    number: int = 0
    is_marker: bool = False
    is_latest: bool = False
    is_joined: bool = False
    upload_id: str = ""


class IncomingBody:
    """
    A body that the store receives. It is written to disk and hashed, and is not an object yet.

    Attributes:
        size: The number of bytes so far.
        is_cut: Whether bytes are missing on the disk, and the store hides that from the client.
    """

    def __init__(self, directory: Path) -> None:
        fd, name = tempfile.mkstemp(dir=directory)
        self.path = Path(name)
        self.size = 0
        self.is_cut = False
        self._file: BinaryIO = os.fdopen(fd, "wb")
        self._md5 = hashlib.md5()

    def write(self, data: bytes) -> None:
        """
        Append bytes.

        Raises:
            OSError: The bytes were counted, but not all of them were written to the disk.
        """
        self.size += len(data)
        self._md5.update(data)
        self._file.write(data)

    def append_file(self, path: Path) -> None:
        """
        Append all bytes of a file.
        """
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                self.write(data)

    def cut(self, size: int) -> None:
        """
        Keep only the first bytes on the disk. The size and the MD5 stay those of all bytes.
        """
        self._file.flush()
        if size < self.size:
            os.truncate(self.path, size)

    @property
    def md5(self) -> bytes:
        """
        The MD5 of the bytes so far: 16 bytes.
        """
        return self._md5.digest()

    def read(self) -> bytes:
        """
        Return the whole body.
        """
        self._file.flush()
        return self.path.read_bytes()

    def close(self) -> None:
        """
        Write all bytes to the file, and close it.

        Raises:
            OSError: The bytes could not be written. Not raised if `is_cut` is set.
        """
        try:
            self._file.close()
        except OSError:
            if not self.is_cut:
                raise

    def discard(self) -> None:
        """
        Remove the file, unless it has become the content of an object.
        """
        with contextlib.suppress(OSError):
            # A full disk refuses the last bytes again.
            self._file.close()
        self.path.unlink(missing_ok=True)


class Folder:
    """
    Objects by key: a bucket, or the parts of an upload.

    The bytes of an object are in a file with a unique name. Its description is written last, in one step.

    Args:
        path: The directory. It may not exist yet, but must exist before an object is stored.
        incoming: A directory for new files, on the same file system.
        name: The name of a bucket; empty for any other folder.
    """

    def __init__(self, path: Path, incoming: Path, name: str = "") -> None:
        self.path = path
        self.name = name
        self._incoming = incoming

    @property
    def exists(self) -> bool:
        """
        Whether the folder was created, and not removed since.
        """
        return self.path.is_dir()

    def create(self) -> None:
        """
        Create the folder, if it does not exist.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.name:
            (self.path / "name").write_text(self.name)

    def remove(self) -> None:
        """
        Remove the folder and everything in it.
        """
        shutil.rmtree(self.path)

    @property
    def is_empty(self) -> bool:
        """
        Whether the folder has no object.
        """
        return next(self.path.glob("*.json"), None) is None

    def objects(self) -> list[StoredObject]:
        """
        Return all objects, sorted by the bytes of their keys.
        """
        return sorted(map(_read, self.path.glob("*.json")), key=lambda stored: stored.key.encode())

    def find(self, key: str) -> StoredObject | None:
        """
        Return an object, or None.
        """
        try:
            return _read(self._description(key))
        except FileNotFoundError:
            return None

    def content_path(self, stored: StoredObject) -> Path:
        """
        Return the path of the file with the bytes of an object.
        """
        return self.path / stored.file

    def put(
        self,
        key: str,
        body: IncomingBody,
        modified: float,
        headers: dict[str, str],
        etag: str | None = None,
        name: str | None = None,
        **more: Any,
    ) -> StoredObject:
        """
        Store a body as an object. It replaces the object that has the name, if there is one.

        Args:
            modified: Seconds since the epoch.
            etag: The entity tag, if it is not the MD5 of the body.
            name: The name under which the object is found, if that is not its key.
            more: Further attributes of the `StoredObject`.
        """
        body.close()
        stored = StoredObject(key, secrets.token_hex(16), body.size, etag or body.md5.hex(), modified, headers, **more)
        former = self.find(key if name is None else name)
        body.path.replace(self.content_path(stored))
        self.describe(stored, key if name is None else name)
        if former is not None:
            self.content_path(former).unlink(missing_ok=True)
        return stored

    def describe(self, stored: StoredObject, name: str) -> None:
        """
        Write the description of an object, under the name by which it is found.
        """
        description = self._incoming / f"{stored.file}.json"
        description.write_text(json.dumps(asdict(stored)))
        description.replace(self._description(name))

    def overwrite_content(self, stored: StoredObject, body: IncomingBody) -> None:
        """
        Replace the content of an object but not its description, as a store does if its database fails.
        """
        body.close()
        body.path.replace(self.content_path(stored))

    def move(self, stored: StoredObject, name: str, target: Folder, target_name: str) -> None:
        """
        Move an object to another folder.

        Args:
            name: The name under which it is found in this folder.
            target_name: The name under which it is found in the other folder.
        """
        target.create()
        target.delete(target_name)
        self.content_path(stored).replace(target.content_path(stored))
        target.describe(stored, target_name)
        self._description(name).unlink()

    def delete(self, key: str) -> None:
        """
        Remove an object, if it exists.
        """
        former = self.find(key)
        if former is not None:
            self._description(key).unlink()
            self.content_path(former).unlink(missing_ok=True)

    def _description(self, key: str) -> Path:
        return self.path / f"{_digest(key)}.json"


class ObjectDirectory:
    """
    The directory with all buckets. Everything is in files, so another store on the same directory has the same objects.
    """

    def __init__(self, directory: Path) -> None:
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._buckets = directory / "buckets"
        self._buckets.mkdir(exist_ok=True)

    def receive(self) -> IncomingBody:
        """
        Return a new body, to write to.
        """
        return IncomingBody(self._incoming)

    def buckets(self) -> list[str]:
        """
        Return the names of all buckets, sorted.
        """
        return sorted((path / "name").read_text() for path in self._buckets.iterdir())

    def bucket(self, name: str) -> Folder:
        """
        Return a bucket, which may not exist.
        """
        # A digest, because the name of a bucket may be too long for a file.
        return Folder(self._buckets / _digest(name), self._incoming, name)

    def upload(self, bucket: Folder, key: str, upload_id: str) -> Folder:
        """
        Return the folder with the parts of an upload. It does not exist if the id belongs to another key.
        """
        # A listing reads only the first level of the bucket's directory. What is below it is removed with the bucket.
        return Folder(bucket.path / "uploads" / _digest(key) / _digest(upload_id), self._incoming)

    def uploads(self, bucket: Folder) -> list[StoredObject]:
        """
        Return the objects that describe the uploads of a bucket, sorted by the bytes of their keys and by their ids.
        """
        folders = [Folder(path, self._incoming) for path in bucket.path.glob("uploads/*/*")]
        found = [upload for upload in (folder.find("") for folder in folders) if upload is not None]
        return sorted(found, key=lambda upload: (upload.key.encode(), upload.upload_id))

    def history(self, bucket: Folder, key: str) -> Folder:
        """
        Return the folder with the former versions of an object, by their ids. It may not exist.
        """
        return Folder(bucket.path / "versions" / _digest(key), self._incoming)

    def histories(self, bucket: Folder) -> list[Folder]:
        """
        Return the folders with the former versions of all objects of a bucket.
        """
        return [Folder(path, self._incoming) for path in bucket.path.glob("versions/*")]

    def settings(self, bucket: Folder) -> dict[str, Any]:
        """
        Return the configuration of a bucket.
        """
        try:
            return cast(dict[str, Any], json.loads((bucket.path / "settings").read_text()))
        except FileNotFoundError:
            return {}

    def change_settings(self, bucket: Folder, **changes: Any) -> None:
        """
        Change settings in the configuration of a bucket.
        """
        (bucket.path / "settings").write_text(json.dumps({**self.settings(bucket), **changes}))


def _read(description: Path) -> StoredObject:
    return StoredObject(**cast(dict[str, Any], json.loads(description.read_text())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
