"""
Buckets and objects in a directory: what a `LegacyStore` keeps.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast


@dataclass(frozen=True)
class StoredObject:
    """
    One object.

    Attributes:
        key: Text.
        file: Name of the file with its octets, below the bucket's directory.
        etag: MD5 in hex, without quotation marks.
        modified: Seconds since the epoch.
        headers: What comes back with it.
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
        Leave nothing behind.
        """
        self._file.close()
        self.path.unlink(missing_ok=True)


class ObjectDirectory:
    """
    Everything is in files, so another store on the same directory sees the same objects.

    An object's octets are in a file of a name of its own; its description is put in place last, in one step.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._incoming = directory / "incoming"
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._buckets = directory / "buckets"
        self._buckets.mkdir(exist_ok=True)

    def receive(self) -> IncomingBody:
        """
        Begin to take a body.
        """
        return IncomingBody(self._incoming)

    # Buckets

    def buckets(self) -> list[str]:
        """
        Return the names, sorted.
        """
        return sorted(bytes.fromhex(path.name).decode() for path in self._buckets.iterdir())

    def has_bucket(self, bucket: str) -> bool:
        """
        Say whether there is such a bucket.
        """
        return self._path(bucket).is_dir()

    def create_bucket(self, bucket: str) -> None:
        """
        Make a bucket, if it is not there.
        """
        self._path(bucket).mkdir(exist_ok=True)

    def delete_bucket(self, bucket: str) -> bool:
        """
        Remove an empty bucket; return whether it was empty.
        """
        if self.keys(bucket):
            return False
        self._path(bucket).rmdir()
        return True

    # Objects

    def keys(self, bucket: str) -> list[str]:
        """
        Return the keys, sorted by their octets.
        """
        return sorted((stored.key for stored in self._all(bucket)), key=str.encode)

    def find(self, bucket: str, key: str) -> StoredObject | None:
        """
        Return an object, or None.
        """
        try:
            text = self._description(bucket, key).read_text()
        except FileNotFoundError:
            return None
        return StoredObject(**cast(dict[str, Any], json.loads(text)))

    def content_path(self, bucket: str, stored: StoredObject) -> Path:
        """
        Return where an object's octets are.
        """
        return self._path(bucket) / stored.file

    def put(self, bucket: str, stored: StoredObject, content: Path) -> None:
        """
        Put an object in place of whatever was there.
        """
        former = self.find(bucket, stored.key)
        content.replace(self.content_path(bucket, stored))
        description = self._incoming / f"{stored.file}.json"
        description.write_text(json.dumps(asdict(stored)))
        description.replace(self._description(bucket, stored.key))
        if former is not None:
            self.content_path(bucket, former).unlink(missing_ok=True)

    def delete(self, bucket: str, key: str) -> None:
        """
        Remove an object, if it is there.
        """
        former = self.find(bucket, key)
        if former is not None:
            self._description(bucket, key).unlink()
            self.content_path(bucket, former).unlink(missing_ok=True)

    def _all(self, bucket: str) -> Iterator[StoredObject]:
        for path in self._path(bucket).glob("*.json"):
            yield StoredObject(**cast(dict[str, Any], json.loads(path.read_text())))

    def _path(self, bucket: str) -> Path:
        return self._buckets / bucket.encode().hex()

    def _description(self, bucket: str, key: str) -> Path:
        return self._path(bucket) / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
