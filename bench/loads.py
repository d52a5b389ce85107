"""
The loads that every party gets, and the bytes of their requests. Requests are signed before the measurement.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
import struct
import zlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.signer import EMPTY, HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

BLOCK = random.Random(0).randbytes(MIB)
"""
The content of every object, repeated. The sender has it in memory, and no chunk is larger.
"""

CHECKSUM = "x-amz-checksum-crc32"

MANY_SETS = 20_000
"""
Far more sets than any party remembers: each time a set comes, it is new.
"""


@dataclass(frozen=True)
class Load:
    """
    One kind of request.

    Attributes:
        name: The name for ``--loads``.
        size: Bytes of the object.
        mode: How the payload is signed; None for a request without a body.
        chunk_size: Bytes of a chunk in aws-chunked coding; 0 for a body without this coding.
        connections: The number of clients. Each sends one request after another.
        is_tls: Whether the clients use TLS.
        name_sets: The number of sets of header names among the requests, which take turns.
        handshake: How each request makes a connection of its own: ``full`` or ``resumed``. Empty if connections are
            kept.
    """

    name: str
    title: str
    method: str
    size: int
    mode: str | None = None
    chunk_size: int = 0
    connections: int = 1
    is_tls: bool = False
    name_sets: int = 1
    handshake: str = ""

    @property
    def counts_bytes(self) -> bool:
        """
        Whether the cost is given for a GiB, and not for a request.
        """
        return self.size >= MIB

    @property
    def is_hashed(self) -> bool:
        """
        Whether a party that verifies the load must hash each byte with SHA-256.
        """
        return self.mode in {HASH, SIGNED_CHUNKS, SIGNED_TRAILER}

    def over_tls(self) -> Load:
        """
        Return the same load with TLS between the client and the party.
        """
        return replace(self, name=f"tls-{self.name}", title=f"TLS, {self.title}", is_tls=True)


def _loads() -> list[Load]:
    large = 256 * MIB
    loads = [
        Load("put-signed-64k", "PUT, signed chunks of 64 KiB", "PUT", large, SIGNED_CHUNKS, 64 * KIB),
        Load("put-signed-8k", "PUT, signed chunks of 8 KiB", "PUT", large, SIGNED_CHUNKS, 8 * KIB),
        Load("put-signed-1m", "PUT, signed chunks of 1 MiB", "PUT", large, SIGNED_CHUNKS, MIB),
        Load("put-signed-trailer", "PUT, signed chunks of 64 KiB, trailer", "PUT", large, SIGNED_TRAILER, 64 * KIB),
        Load("put-unsigned-trailer", "PUT, unsigned chunks, trailer", "PUT", large, UNSIGNED_TRAILER, 64 * KIB),
        Load("put-hash", "PUT, single hash", "PUT", large, HASH),
        Load("put-unsigned", "PUT, unsigned payload", "PUT", large, UNSIGNED),
        Load("get", "GET", "GET", large),
    ]
    for connections in (1, 16, 64, 256):
        where = f"{connections} connection{'s' if connections > 1 else ''}"
        loads += [
            Load(f"get-1k-{connections}", f"GET 1 KiB, {where}", "GET", KIB, connections=connections),
            Load(f"head-1k-{connections}", f"HEAD, {where}", "HEAD", KIB, connections=connections),
            Load(f"put-1k-{connections}", f"PUT 1 KiB, {where}", "PUT", KIB, HASH, connections=connections),
        ]
    loads += [
        Load(f"get-1k-{name}", f"GET 1 KiB, 16 connections, {title}", "GET", KIB, connections=16, name_sets=count)
        for name, title, count in (
            ("1000-sets", "1,000 sets of header names", 1000),
            ("new-sets", "a new set of header names each", MANY_SETS),
        )
    ]
    four = Load("put-4k-signed-16", "PUT 4 KiB, signed chunk", "PUT", 4 * KIB, SIGNED_CHUNKS, 64 * KIB, 16)
    loads.append(four)
    encrypted = {"put-signed-64k", "put-unsigned-trailer", "put-hash", "put-unsigned", "get"}
    encrypted |= {"get-1k-16", "head-1k-16", "put-1k-16", "put-4k-signed-16"}
    loads += [load.over_tls() for load in loads if load.name in encrypted]
    return loads + [
        Load(
            f"tls-head-{handshake}",
            f"TLS, HEAD, a {handshake} handshake each",
            *("HEAD", KIB),
            connections=16,
            is_tls=True,
            handshake=handshake,
        )
        for handshake in ("full", "resumed")
    ]


LOADS = {load.name: load for load in _loads()}
"""
The loads by name.
"""


@dataclass
class Sheaf:
    """
    Requests in the form that the generator reads: one file has the bytes, another the pieces that make a request.
    """

    directory: Path
    _arena: bytearray = field(default_factory=bytearray)
    _pieces: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> tuple[int, int]:
        """
        Add bytes. Return their offset and their size.
        """
        self._arena += data
        return len(self._arena) - len(data), len(data)

    def request(
        self, method: str, size: int, response: int, head: bytes, body: list[tuple[int, int]]
    ) -> dict[str, Any]:
        """
        Add a request. Return its description in a job.

        Args:
            size: Bytes of the object.
            response: Bytes of the response's body.
            head: The bytes of the head, including the empty line at its end.
            body: The offset and the size of each piece of the body.
        """
        first = len(self._pieces) // 16
        pieces = [self.add(head), *body]
        for offset, length in pieces:
            self._pieces += struct.pack("<QQ", offset, length)
        return {"method": method, "first": first, "count": len(pieces), "size": size, "response": response}

    def write(self) -> dict[str, str]:
        """
        Write both files. Return their paths, by the names that a job has for them.
        """
        arena, pieces = self.directory / "arena", self.directory / "pieces"
        arena.write_bytes(self._arena)
        pieces.write_bytes(self._pieces)
        return {"arena": str(arena), "pieces": str(pieces)}


def write_job(load: Load, directory: Path, port: int, *, requests: int, seconds: float, is_false: bool = False) -> Path:
    """
    Sign the requests of a load, and write a job for the generator. Return the path of the job.

    Args:
        port: The port of the party.
        requests: The number of requests to send.
        seconds: Seconds after which no request begins; 0 for no limit.
        is_false: Whether to change one digit of the last signature, or one byte of a body that only a checksum covers.
    """
    sheaf = Sheaf(directory)
    signer = Signer(now=datetime.now(UTC))
    target = f"/bench/size-{load.size}"
    warm_head = signer.head("GET", f"/bench/size-{KIB}")[0]
    warm = sheaf.request("GET", KIB, KIB, warm_head, [])
    items = []
    if load.mode is None:
        response = load.size if load.method == "GET" else 0
        for number in range(1 if is_false else load.name_sets):
            more = {f"x-bench-{number}": "1"} if number else None
            head = signer.head(load.method, target, unsigned=more)[0]
            items.append(sheaf.request(load.method, load.size, response, _falsified(head) if is_false else head, []))
    else:
        head, body = _put(load, load.mode, sheaf, signer, target, is_false)
        items.append(sheaf.request("PUT", load.size, 0, head, body))
    job = {
        **sheaf.write(),
        "address": f"127.0.0.1:{port}",
        "tls": load.is_tls,
        "connections": load.connections,
        "fresh": bool(load.handshake),
        "resumes": load.handshake == "resumed",
        "requests": requests,
        "seconds": seconds,
        "items": items,
        "warm": None if is_false else warm,
    }
    path = directory / "job.json"
    path.write_text(json.dumps(job))
    return path


def _falsified(text: bytes) -> bytes:
    """
    Change the last hexadecimal digit before the end of the line. It is the last digit of a signature.
    """
    kept = text.rstrip(b"\r\n")
    return kept[:-1] + (b"0" if kept[-1:] != b"0" else b"1") + text[len(kept) :]


def _put(
    load: Load, mode: str, sheaf: Sheaf, signer: Signer, target: str, is_false: bool
) -> tuple[bytes, list[tuple[int, int]]]:
    block, _ = sheaf.add(BLOCK)
    if not load.chunk_size:
        sizes = _sizes(load.size, len(BLOCK))
        body = [(block, size) for size in sizes]
        payload = mode
        if mode == HASH:
            digest = hashlib.sha256()
            for size in sizes:
                digest.update(memoryview(BLOCK)[:size])
            payload = digest.hexdigest()
            if is_false:
                last = body.pop()[1]
                body.append(sheaf.add(BLOCK[: last - 1] + bytes([BLOCK[last - 1] ^ 1])))
        head = signer.head("PUT", target, payload=payload, unsigned={"Content-Length": str(load.size)})[0]
        return (_falsified(head) if is_false and mode != HASH else head), body
    return _put_chunks(load, mode, sheaf, signer, target, block, is_false)


def _sizes(total: int, each: int) -> list[int]:
    rest = total % each
    return [each] * (total // each) + ([rest] if rest else [])


def _put_chunks(
    load: Load, mode: str, sheaf: Sheaf, signer: Signer, target: str, block: int, is_false: bool
) -> tuple[bytes, list[tuple[int, int]]]:
    sizes = _sizes(load.size, load.chunk_size)
    is_signed = mode != UNSIGNED_TRAILER
    headers = {"x-amz-decoded-content-length": str(load.size), "content-encoding": "aws-chunked"}
    checksum = 0
    if mode != SIGNED_CHUNKS:
        headers["x-amz-trailer"] = CHECKSUM
        for size in sizes:
            checksum = zlib.crc32(memoryview(BLOCK)[:size], checksum)
    value = base64.b64encode(checksum.to_bytes(4, "big")).decode()
    trailer = "" if mode == SIGNED_CHUNKS else f"{CHECKSUM}:{value}\r\n"
    # The encoded length does not depend on the signatures.
    length = sum(len(f"{size:x}") + size + 4 + is_signed * 81 for size in sizes)
    length += 3 + is_signed * 81 + len(trailer) + 2
    if mode == SIGNED_TRAILER:
        length += len("x-amz-trailer-signature:") + 64 + 2
    head, previous = signer.head("PUT", target, headers, payload=mode, unsigned={"Content-Length": str(length)})
    digests = {size: hashlib.sha256(memoryview(BLOCK)[:size]).hexdigest() for size in set(sizes)}
    body = []
    between = ""
    for number, size in enumerate([*sizes, 0]):
        line = f"{between}{size:x}"
        if is_signed:
            previous = signer.sign_chunk(digests[size] if size else EMPTY, previous)
            line += f";chunk-signature={previous}"
        data = f"{line}\r\n".encode()
        is_last = number == len(sizes) - 1
        body.append(sheaf.add(_falsified(data) if is_false and is_signed and is_last else data))
        if size and is_false and not is_signed and is_last:
            body.append(sheaf.add(BLOCK[: size - 1] + bytes([BLOCK[size - 1] ^ 1])))
        elif size:
            body.append((block, size))
        between = "\r\n"
    end = trailer
    if mode == SIGNED_TRAILER:
        end += f"x-amz-trailer-signature:{_sign_trailer(signer, trailer, previous)}\r\n"
    body.append(sheaf.add(f"{end}\r\n".encode()))
    assert sum(size for _, size in body) == length
    return head, body


def _sign_trailer(signer: Signer, trailer: str, previous: str) -> str:
    """
    Sign a trailer of one line.
    """
    digest = hashlib.sha256(trailer.replace("\r\n", "\n").encode()).hexdigest()
    date = signer.now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    key = ("AWS4" + signer.secret).encode()
    text = f"AWS4-HMAC-SHA256-TRAILER\n{date}\n{scope}\n{previous}\n{digest}"
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()
