"""
Buckets and objects in a directory: what a `LegacyStore` keeps.
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
        key: Text.
        file: Name of the file with its bytes, below the folder's directory.
        etag: In hex, without quotation marks: the MD5, or that of an upload in parts.
        modified: Seconds since the epoch.
        headers: What comes back with it; names in lower case or as they were spelled, values of Latin-1.
        grants: Its ACL: grantees, each with a permission.
        version: The id of this version.
        number: The position of this version among those of its key.
        is_marker: It says that the key was deleted.
        is_latest: It is the latest version of its key; so is each that is in its bucket, whatever this says.
        is_joined: It was uploaded in parts.
        upload_id: Of the upload in parts that this describes; empty for anything else.
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
    A body on its way into the store: on disk, hashed, and nobody's object yet.

    Attributes:
        is_cut: Whether the disk has not all of it, and nobody is to be told.
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
        Take bytes.

        Raises:
            OSError: They were counted, and did not all go to the disk.
        """
        self.size += len(data)
        self._md5.update(data)
        self._file.write(data)

    def append_file(self, path: Path) -> None:
        """
        Take all bytes of a file.
        """
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                self.write(data)

    def cut(self, size: int) -> None:
        """
        Keep the first bytes of those so far; size and MD5 stay those of all.
        """
        self._file.flush()
        if size < self.size:
            os.truncate(self.path, size)

    @property
    def md5(self) -> bytes:
        """
        Of the bytes so far.
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
        Have everything in the file.
        """
        try:
            self._file.close()
        except OSError:
            if not self.is_cut:
                raise

    def discard(self) -> None:
        """
        Leave nothing behind. After the file was put in place, there is nothing to leave.
        """
        with contextlib.suppress(OSError):
            # A full disk refuses the last bytes once more.
            self._file.close()
        self.path.unlink(missing_ok=True)


class Folder:
    """
    Objects by key: a bucket, or the parts of an upload.

    An object's bytes are in a file of a name of its own; its description is put in place last, in one step.

    Args:
        path: Need not exist; an object is only put where it does.
        incoming: On the same file system.
        name: Of a bucket.
    """

    def __init__(self, path: Path, incoming: Path, name: str = "") -> None:
        self.path = path
        self.name = name
        self._incoming = incoming

    @property
    def exists(self) -> bool:
        """
        Whether it was created, and not removed since.
        """
        return self.path.is_dir()

    def create(self) -> None:
        """
        Make it, if it is not there.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        if self.name:
            (self.path / "name").write_text(self.name)

    def remove(self) -> None:
        """
        Remove it with all that is in it.
        """
        shutil.rmtree(self.path)

    @property
    def is_empty(self) -> bool:
        """
        Whether it holds no object.
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
        Return where an object's bytes are.
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
        Put a body in place of whatever was there.

        Args:
            etag: Where it is not the body's MD5.
            name: By which it is found, where that is not its key.
            more: Further attributes of the object.
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
        Put the description of an object in place, by the name it is found by.
        """
        description = self._incoming / f"{stored.file}.json"
        description.write_text(json.dumps(asdict(stored)))
        description.replace(self._description(name))

    def overwrite_content(self, stored: StoredObject, body: IncomingBody) -> None:
        """
        Change the content of an object and leave its description, as a store does whose database fails.
        """
        body.close()
        body.path.replace(self.content_path(stored))

    def move(self, stored: StoredObject, name: str, target: Folder, target_name: str) -> None:
        """
        Move an object, which is here by one name, to another folder.
        """
        target.create()
        target.delete(target_name)
        self.content_path(stored).replace(target.content_path(stored))
        target.describe(stored, target_name)
        self._description(name).unlink()

    def delete(self, key: str) -> None:
        """
        Remove an object, if it is there.
        """
        former = self.find(key)
        if former is not None:
            self._description(key).unlink()
            self.content_path(former).unlink(missing_ok=True)

    def _description(self, key: str) -> Path:
        return self.path / f"{_digest(key)}.json"


class ObjectDirectory:
    """
    Everything is in files, so another store on the same directory sees the same objects.
    """

    def __init__(self, directory: Path) -> None:
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._buckets = directory / "buckets"
        self._buckets.mkdir(exist_ok=True)

    def receive(self) -> IncomingBody:
        """
        Begin to take a body.
        """
        return IncomingBody(self._incoming)

    def buckets(self) -> list[str]:
        """
        Return the names, sorted.
        """
        return sorted((path / "name").read_text() for path in self._buckets.iterdir())

    def bucket(self, name: str) -> Folder:
        """
        Return a bucket, which may not exist.
        """
        # A digest, because names may be longer than those of files.
        return Folder(self._buckets / _digest(name), self._incoming, name)

    def upload(self, bucket: Folder, key: str, upload_id: str) -> Folder:
        """
        Return where an upload's parts are. It may not exist: above all not with another key.
        """
        # The bucket's own directory is out of any listing's sight below its first level, and goes with the bucket.
        return Folder(bucket.path / "uploads" / _digest(key) / _digest(upload_id), self._incoming)

    def uploads(self, bucket: Folder) -> list[StoredObject]:
        """
        Return what describes each upload of a bucket, sorted by the bytes of their keys and by their ids.
        """
        folders = [Folder(path, self._incoming) for path in bucket.path.glob("uploads/*/*")]
        found = [upload for upload in (folder.find("") for folder in folders) if upload is not None]
        return sorted(found, key=lambda upload: (upload.key.encode(), upload.upload_id))

    def history(self, bucket: Folder, key: str) -> Folder:
        """
        Return where the former versions of an object are, by their ids. It may not exist.
        """
        return Folder(bucket.path / "versions" / _digest(key), self._incoming)

    def histories(self, bucket: Folder) -> list[Folder]:
        """
        Return the former versions of all objects of a bucket.
        """
        return [Folder(path, self._incoming) for path in bucket.path.glob("versions/*")]

    def settings(self, bucket: Folder) -> dict[str, Any]:
        """
        Return what is configured of a bucket.
        """
        try:
            return cast(dict[str, Any], json.loads((bucket.path / "settings").read_text()))
        except FileNotFoundError:
            return {}

    def change_settings(self, bucket: Folder, **changes: Any) -> None:
        """
        Configure a bucket.
        """
        (bucket.path / "settings").write_text(json.dumps({**self.settings(bucket), **changes}))


def _read(description: Path) -> StoredObject:
    return StoredObject(**cast(dict[str, Any], json.loads(description.read_text())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
