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
        file: Name of the file with its octets, below the folder's directory.
        etag: In hex, without quotation marks: the MD5, or that of an upload in parts.
        modified: Seconds since the epoch.
        headers: What comes back with it; names in lower case, values of Latin-1.
    """

    key: str
    file: str
    size: int
    etag: str
    modified: float
    headers: dict[str, str] = field(default_factory=dict)


class IncomingBody:
    """
    A body on its way into the store: on disk, hashed, and nobody's object yet.
    """

    def __init__(self, directory: Path) -> None:
        fd, name = tempfile.mkstemp(dir=directory)
        self.path = Path(name)
        self.size = 0
        self._file: BinaryIO = os.fdopen(fd, "wb")
        self._md5 = hashlib.md5()

    def write(self, data: bytes) -> None:
        """
        Take octets.
        """
        self.size += len(data)
        self._md5.update(data)
        self._file.write(data)

    def append_file(self, path: Path) -> None:
        """
        Take all octets of a file.
        """
        with path.open("rb") as file:
            while data := file.read(1 << 20):
                self.write(data)

    @property
    def md5(self) -> bytes:
        """
        Of the octets so far.
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
        self._file.close()

    def discard(self) -> None:
        """
        Leave nothing behind. After the file was put in place, there is nothing to leave.
        """
        with contextlib.suppress(OSError):
            # A full disk refuses the last octets once more.
            self._file.close()
        self.path.unlink(missing_ok=True)


class Folder:
    """
    Objects by key: a bucket, or the parts of an upload.

    An object's octets are in a file of a name of its own; its description is put in place last, in one step.

    Args:
        path: Need not exist; an object is only put where it does.
        incoming: On the same file system.
    """

    def __init__(self, path: Path, incoming: Path) -> None:
        self.path = path
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
        Return all objects, sorted by the octets of their keys.
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
        Return where an object's octets are.
        """
        return self.path / stored.file

    def put(
        self, key: str, body: IncomingBody, modified: float, headers: dict[str, str], etag: str | None = None
    ) -> StoredObject:
        """
        Put a body in place of whatever was there.

        Args:
            etag: Where it is not the body's MD5.
        """
        body.close()
        stored = StoredObject(key, secrets.token_hex(16), body.size, etag or body.md5.hex(), modified, headers)
        former = self.find(key)
        body.path.replace(self.content_path(stored))
        description = self._incoming / f"{stored.file}.json"
        description.write_text(json.dumps(asdict(stored)))
        description.replace(self._description(key))
        if former is not None:
            self.content_path(former).unlink(missing_ok=True)
        return stored

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
        return sorted(bytes.fromhex(path.name).decode() for path in self._buckets.iterdir())

    def bucket(self, name: str) -> Folder:
        """
        Return a bucket, which may not exist.
        """
        return Folder(self._buckets / name.encode().hex(), self._incoming)

    def upload(self, bucket: Folder, key: str, upload_id: str) -> Folder:
        """
        Return where an upload's parts are. It may not exist: above all not with another key.
        """
        # The bucket's own directory is out of any listing's sight below its first level, and goes with the bucket.
        return Folder(bucket.path / "uploads" / _digest(key) / _digest(upload_id), self._incoming)


def _read(description: Path) -> StoredObject:
    return StoredObject(**cast(dict[str, Any], json.loads(description.read_text())))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
