"""
The operations that every client is to do, as far as it can. This module uses only the standard library: each client
runs it in its own Python.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import ssl
import struct
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

MIB = 1 << 20
SMALL_SIZE = 1000
LARGE_SIZE = int(os.environ.get("S3PROXY_CLIENTS_LARGE", "20")) * MIB
"""
Bytes of an object that most clients send in parts; the variable is in MiB.
"""

STREAM_SIZE = 6 * MIB + 7
GIVEN_SIZE = 9 * MIB + 1
ODD_KEY = "odd/a b+ü.txt"
GIVEN_KEYS = (ODD_KEY, "odd/second", "plain")
"""
Small objects of the bucket which is given: each one's bytes are its key's.
"""

GIVEN_LARGE = "large"
GIVEN_IMAGE = "image.png"
IMAGE_SIZE = (23, 11)
PAGE_KEY = "page.html"
SAVED_NAME = "saved ü.txt"
"""
Name under which a browser saves an object, whatever its key is.
"""

DOOMED_KEYS = ("doomed/1", "doomed/2 +ü", "doomed/3")
PUT_SMALL, PUT_LARGE, PUT_STREAM, PUT_ODD, COPIED = "put/small", "put/large", "put/stream", "put/" + ODD_KEY, "put/copy"
PUT_FORM = "put/form"


def content_of(size: int) -> bytes:
    """
    Bytes which repeat in no convenient period.
    """
    block = hashlib.sha256(b"s3proxy").digest() * 1023 + b"!"
    return (block * (size // len(block) + 1))[:size]


def image() -> bytes:
    """
    Return a PNG image.
    """
    width, height = IMAGE_SIZE
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0),
        b"IDAT": zlib.compress(bytes(height * (1 + width))),
        b"IEND": b"",
    }
    written = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)


STORED = {
    "put": (PUT_SMALL, SMALL_SIZE),
    "put large": (PUT_LARGE, LARGE_SIZE),
    "put stream": (PUT_STREAM, STREAM_SIZE),
    "put odd key": (PUT_ODD, SMALL_SIZE),
    "form": (PUT_FORM, SMALL_SIZE),
}
"""
Key and size of the object that an operation stores.
"""


class Unavailable(Exception):
    """
    The client has no such operation. The text says why.
    """


@dataclass(frozen=True)
class Cell:
    """
    The endpoint and the buckets of one run of a client.

    Attributes:
        scheme: ``http`` or ``https``.
        host: Host name without a port.
        path: Path of the endpoint; empty for most.
        style: ``path`` or ``virtual``.
        authority: Path of the certificate that issued the server's.
        given: Bucket with the given objects; it is only read.
        own: Bucket to write to, with the doomed objects in it.
        new: Name of a bucket that does not exist yet.
        empty: Bucket to be removed.
        directory: Directory for files.
        response_seconds: Timeout of one response, and of one command.
        tools: Paths of programs, by name.
    """

    scheme: str
    host: str
    port: int
    path: str
    style: str
    key_id: str
    secret: str
    authority: str
    given: str
    own: str
    new: str
    empty: str
    directory: str
    response_seconds: int
    tools: dict[str, str]

    @property
    def address(self) -> str:
        """
        Host and port.
        """
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """
        The endpoint.
        """
        return f"{self.scheme}://{self.address}{self.path}"

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"


class Unsized(io.RawIOBase):
    """
    A stream without a length that cannot be rewound.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._stream = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)


class Client:
    """
    One client. It cannot do the operations that it does not override.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell

    def file(self, name: str, data: bytes | None = None) -> str:
        """
        Return the path of a file for the client, with these bytes in it.
        """
        path = Path(self.cell.directory) / name
        if data is not None:
            path.write_bytes(data)
        return str(path)

    def fetch(self, url: str) -> bytes:
        """
        Get a URL without a key.
        """
        context = ssl.create_default_context(cafile=self.cell.authority) if self.cell.is_tls else None
        try:
            with urllib.request.urlopen(url, context=context, timeout=60) as response:
                found: bytes = response.read()
                return found
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{error.code} {error.read()[:1000]!r}") from None

    def make_bucket(self, bucket: str) -> None:
        cannot("it makes no buckets")

    def remove_bucket(self, bucket: str) -> None:
        cannot("it removes no buckets")

    def put(self, bucket: str, key: str, path: str) -> None:
        cannot("it puts nothing")

    def put_large(self, bucket: str, key: str, path: str) -> None:
        self.put(bucket, key, path)

    def put_stream(self, bucket: str, key: str, stream: BinaryIO) -> None:
        cannot("it puts no stream whose length is not known")

    def put_form(self, bucket: str, key: str, path: str) -> None:
        cannot(_NO_BROWSER)

    def put_backup(self, bucket: str, path: str) -> None:
        cannot("it makes no backups")

    def get(self, bucket: str, key: str, path: str) -> None:
        cannot("it gets nothing")

    def get_range(self, bucket: str, key: str, first: int, last: int) -> bytes:
        cannot("it gets no ranges")

    def list(self, bucket: str, prefix: str) -> list[str]:
        cannot("it lists nothing")

    def copy(self, bucket: str, key: str, target_bucket: str, target: str) -> None:
        cannot("it copies nothing at the server")

    def head(self, bucket: str, key: str) -> int:
        cannot("it has no HEAD of its own")

    def presign(self, bucket: str, key: str) -> str:
        cannot("it makes no URLs for others")

    def show_image(self, bucket: str, key: str) -> tuple[int, int]:
        cannot(_NO_BROWSER)

    def download(self, bucket: str, key: str, name: str) -> bytes:
        cannot(_NO_BROWSER)

    def delete_many(self, bucket: str, keys: list[str]) -> None:
        cannot("it deletes one object at a time")

    def close(self) -> None:
        """
        Release everything.
        """


_NO_BROWSER = "it is no browser"


def cannot(reason: str) -> NoReturn:
    """
    Raise Unavailable.
    """
    raise Unavailable(reason)


def same(found: Any, wanted: Any) -> None:
    """
    Fail where two differ; of bytes, tell their sizes alone.
    """
    if found == wanted:
        return
    if isinstance(found, bytes):
        raise AssertionError(f"other bytes came back: {len(found)}, not {len(wanted)}")
    raise AssertionError(f"came back: {found!r}, not {wanted!r}")


def operations(client: Client) -> Iterator[tuple[str, Any]]:
    """
    Yield the names of the operations, each with the function that does it.
    """
    cell = client.cell
    yield "make bucket", lambda: client.make_bucket(cell.new)
    yield "put", lambda: client.put(cell.own, PUT_SMALL, client.file("small", content_of(SMALL_SIZE)))
    yield "put large", lambda: client.put_large(cell.own, PUT_LARGE, client.file("large", content_of(LARGE_SIZE)))
    yield (
        "put stream",
        lambda: client.put_stream(cell.own, PUT_STREAM, io.BufferedReader(Unsized(content_of(STREAM_SIZE)))),
    )
    yield "put odd key", lambda: client.put(cell.own, PUT_ODD, client.file("small", content_of(SMALL_SIZE)))
    yield "backup", lambda: client.put_backup(cell.own, client.file("large", content_of(LARGE_SIZE)))

    def get() -> None:
        client.get(cell.given, GIVEN_LARGE, client.file("down"))
        same(Path(client.file("down")).read_bytes(), content_of(GIVEN_SIZE))

    def get_odd() -> None:
        client.get(cell.given, ODD_KEY, client.file("odd"))
        same(Path(client.file("odd")).read_bytes(), ODD_KEY.encode())

    yield "get", get
    yield "get odd key", get_odd
    yield (
        "range",
        lambda: same(
            client.get_range(cell.given, GIVEN_LARGE, 1_000_000, 1_099_999), content_of(GIVEN_SIZE)[1_000_000:1_100_000]
        ),
    )
    yield (
        "list",
        lambda: same(sorted(client.list(cell.given, "odd/")), sorted(k for k in GIVEN_KEYS if k.startswith("odd/"))),
    )
    yield "copy", lambda: client.copy(cell.given, ODD_KEY, cell.own, COPIED)
    yield "head", lambda: same(client.head(cell.given, GIVEN_LARGE), GIVEN_SIZE)
    yield "presigned", lambda: same(client.fetch(client.presign(cell.given, ODD_KEY)), ODD_KEY.encode())
    yield "form", lambda: client.put_form(cell.own, PUT_FORM, client.file("small", content_of(SMALL_SIZE)))
    yield "image", lambda: same(client.show_image(cell.given, GIVEN_IMAGE), IMAGE_SIZE)
    yield "download", lambda: same(client.download(cell.given, ODD_KEY, SAVED_NAME), ODD_KEY.encode())
    yield "delete many", lambda: client.delete_many(cell.own, list(DOOMED_KEYS))
    yield "remove bucket", lambda: client.remove_bucket(cell.empty)


OPERATIONS = tuple(name for name, _ in operations(Client(Cell("", "", 0, *[""] * 10, 0, {}))))  # type: ignore[arg-type]
"""
The names of the operations, in order.
"""


def _causes(error: BaseException | None) -> Iterator[str]:
    # s3fs turns an error into an OSError that does not mention it.
    while error is not None:
        yield f"{type(error).__name__}: {error}"
        error = error.__cause__ or error.__context__


def perform(client: Client) -> None:
    """
    Do every operation; write a line of JSON for each: its name, its outcome, and the details.
    """
    for name, do in operations(client):
        try:
            do()
        except Unavailable as reason:
            said = ["n/a", str(reason)]
        except Exception as error:
            said = ["fails", "\n".join(_causes(error))]
        else:
            said = ["works", ""]
        print(json.dumps([name, *said]), file=sys.__stdout__, flush=True)
    with contextlib.suppress(Exception):
        client.close()
