"""
Uploads of all kinds, good and bad, as bytes: what is drawn is written down, and can be made again from its seed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import re
from dataclasses import dataclass, replace
from email.utils import format_datetime

from tests.support.signer import HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer

KIB, MIB = 1 << 10, 1 << 20

V2, MULTIPART = "v2", "multipart"
CHUNKED = " te"
"""
At the end of a mode: the body is in chunked transfer coding, without a Content-Length.
"""

PAYLOADS = {
    "hash": HASH,
    "unsigned": UNSIGNED,
    "signed-chunks": SIGNED_CHUNKS,
    "signed-trailer": SIGNED_TRAILER,
    "unsigned-trailer": UNSIGNED_TRAILER,
}
MODES = {
    "hash": 10,
    "unsigned": 10,
    "unsigned te": 6,
    "signed-chunks": 14,
    "signed-chunks te": 8,
    "signed-trailer": 12,
    "signed-trailer te": 8,
    "unsigned-trailer": 12,
    "unsigned-trailer te": 12,
    V2: 10,
    MULTIPART: 3,
}
"""
About how many of a hundred uploads are of each mode.
"""

_DIGESTS = ("content-md5", "checksum")
_CHUNKS = ("decoded-length", "final-chunk", "changed-byte")
FLAWS: dict[str, tuple[str, ...]] = {
    "hash": ("changed-byte", *_DIGESTS),
    "unsigned": _DIGESTS,
    "signed-chunks": (*_CHUNKS, "chunk-signature"),
    "signed-trailer": (*_CHUNKS, "chunk-signature", "trailer-signature"),
    "unsigned-trailer": (*_CHUNKS, "trailer-checksum"),
    V2: ("content-md5",),
    MULTIPART: ("part", "abandoned"),
}
"""
What may be wrong with an upload, by mode. In every mode but the last, its signature or its end may also be wrong.
"""

CUTS = ("cut-reset", "cut-close", "cut-half")
"""
How a client gives up in the middle of a body: with a reset, with an orderly end, or with the end of its direction only.
"""

GOOD = "good"


@dataclass(frozen=True)
class Upload:
    """
    What a client intends to do.

    Attributes:
        account: Name of the client's key, which also chooses the backend.
        seed: Seed of the body.
        flaw: ``good``, or what is wrong with the upload.
        chunk_size: Size of the chunks of aws-chunked, or of the parts of a multipart upload.
        transfer_size: Size of the chunks of chunked transfer coding; 0 for Content-Length.
        expects: Whether the client waits for 100 Continue.
        place: The place of a flaw in the body, from 0 to 1.
    """

    key: str
    account: str
    seed: int
    size: int
    mode: str
    flaw: str
    chunk_size: int
    transfer_size: int
    expects: bool
    place: float

    @property
    def is_good(self) -> bool:
        """
        Whether the upload may be stored.
        """
        return self.flaw == GOOD

    @property
    def body(self) -> bytes:
        """
        The object.
        """
        return random.Random(self.seed).randbytes(self.size)


@dataclass(frozen=True)
class Bytes:
    """
    An upload as its client sends it.

    Attributes:
        stop: How many bytes of the body are sent.
    """

    head: bytes
    body: bytes
    stop: int


def draw_size(source: random.Random) -> int:
    """
    Choose the size of the next body: most are small, some have up to 8 MiB, few have up to 64 MiB.
    """
    kind = source.random()
    if kind < 0.04:
        return source.choice((0, 1, 65535, 65536, 65537))
    if kind < 0.72:
        return int(2 ** source.uniform(0, 16))
    if kind < 0.93:
        return int(2 ** source.uniform(16, 20))
    if kind < 0.994:
        return source.randrange(1 * MIB, 8 * MIB)
    return source.randrange(8 * MIB, 64 * MIB)


def draw_upload(source: random.Random, key: str, account: str, flaw_probability: float) -> Upload:
    """
    Choose the next upload.
    """
    (mode,) = source.choices(list(MODES), list(MODES.values()))
    size = draw_size(source)
    if mode == MULTIPART:
        size = source.randrange(5 * MIB, 14 * MIB) if source.random() < 0.4 else max(1, min(size, 5 * MIB))
    flaw = GOOD
    if source.random() < flaw_probability:
        base = mode.removesuffix(CHUNKED)
        flaws = FLAWS[base] if base == MULTIPART else (*FLAWS[base], "signature", *CUTS)
        flaw = source.choice(flaws)
        if flaw in {"changed-byte", *CUTS}:
            size = max(1, size)
        if size <= 64 * KIB and mode != MULTIPART and source.random() < 0.5:
            # Too large to be verified before the backend gets the request.
            size = int(2 ** source.uniform(16, 22))
    chunk_size = source.choice((8 * KIB, 64 * KIB, 128 * KIB, 1 * MIB, 100_001, max(1, size)))
    return Upload(
        key=key,
        account=account,
        seed=source.getrandbits(48),
        size=size,
        mode=mode,
        flaw=flaw,
        chunk_size=5 * MIB if mode == MULTIPART else chunk_size,
        transfer_size=source.choice((1000, 16 * KIB, 65_537)) if mode.endswith(CHUNKED) else 0,
        # The request of an empty body ends with its head.
        expects=size > 0 and source.random() < 0.15,
        place=source.random(),
    )


def write_upload(upload: Upload, bucket: str, body: bytes, signer: Signer) -> Bytes:
    """
    Write an upload that is a single request.

    Args:
        signer: Signs with the client's key, at the present time.
    """
    if upload.flaw == "signature":
        signer = replace(signer, secret="not-the-secret-of-this-key")
    target = f"/{bucket}/{upload.key}"
    headers, unsigned = _digest_headers(upload, body)
    if upload.expects:
        unsigned["Expect"] = "100-continue"
    if upload.mode == V2:
        unsigned["Content-Length"] = str(len(body))
        return _end(upload, _v2_head(signer, target, headers, unsigned), body)
    mode = PAYLOADS[upload.mode.removesuffix(CHUNKED)]
    payload, wire, end_size = mode, body, 0
    if mode == HASH:
        payload = hashlib.sha256(body).hexdigest()
    if mode.startswith("STREAMING"):
        headers["x-amz-decoded-content-length"] = str(len(body) + (upload.flaw == "decoded-length"))
        headers["content-encoding"] = "aws-chunked"
        if mode != SIGNED_CHUNKS:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        # Lengths do not depend on the signatures.
        end_size = len(signer.encode(b"", mode, "0" * 64, upload.chunk_size))
        wire = _spoilt(upload, signer.encode(body, mode, "0" * 64, upload.chunk_size), end_size)
    if upload.transfer_size:
        unsigned["Transfer-Encoding"] = "chunked"
    else:
        unsigned["Content-Length"] = str(len(wire))
    head, seed = signer.head("PUT", target, headers, payload=payload, unsigned=unsigned)
    if mode.startswith("STREAMING"):
        wire = signer.encode(body, mode, seed, upload.chunk_size)
    return _end(upload, head, _spoilt(upload, wire, end_size))


def _digest_headers(upload: Upload, body: bytes) -> tuple[dict[str, str], dict[str, str]]:
    if upload.flaw == "content-md5":
        return {"content-md5": _base64(hashlib.md5(body + b"!").digest())}, {}
    if upload.flaw == "checksum":
        return {"x-amz-checksum-sha256": _base64(hashlib.sha256(body + b"!").digest())}, {}
    if upload.mode in {"hash", "unsigned", V2} and upload.seed % 3 == 0:
        return {"content-md5": _base64(hashlib.md5(body).digest())}, {}
    return {}, {}


def _v2_head(signer: Signer, target: str, headers: dict[str, str], unsigned: dict[str, str]) -> bytes:
    date = format_datetime(signer.now, usegmt=True)
    text = f"PUT\n{headers.get('content-md5', '')}\n\n{date}\n{target}"
    signature = _base64(hmac.digest(signer.secret.encode(), text.encode(), "sha1"))
    fields = {"Host": signer.host, "Date": date, **headers, **unsigned}
    fields["Authorization"] = f"AWS {signer.access_key_id}:{signature}"
    return "\r\n".join(
        [f"PUT {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    ).encode()


def _spoilt(upload: Upload, wire: bytes, end_size: int) -> bytes:
    is_encoded = upload.mode.removesuffix(CHUNKED) not in {"hash", "unsigned"}
    if upload.flaw == "changed-byte":
        # Inside the first chunk, for any chunk size.
        start = wire.index(b"\r\n") + 2 if is_encoded else 0
        at = start + int(upload.place * min(upload.size, upload.chunk_size if is_encoded else upload.size))
        return wire[:at] + bytes([wire[at] ^ 1]) + wire[at + 1 :]
    if upload.flaw == "chunk-signature":
        found = [match.end() for match in re.finditer(rb"chunk-signature=", wire)]
        return _other_digit(wire, found[int(upload.place * len(found))])
    if upload.flaw == "trailer-signature":
        return _other_digit(wire, wire.index(b"x-amz-trailer-signature:") + len(b"x-amz-trailer-signature:"))
    if upload.flaw == "trailer-checksum":
        at = wire.index(b"x-amz-checksum-crc32:") + len(b"x-amz-checksum-crc32:")
        return wire[:at] + (b"B" if wire[at : at + 1] == b"A" else b"A") + wire[at + 1 :]
    if upload.flaw == "final-chunk":
        # All data and nothing else: the final chunk and what follows it are missing.
        return wire[: len(wire) - end_size]
    return wire


def _other_digit(wire: bytes, at: int) -> bytes:
    return wire[:at] + (b"1" if wire[at : at + 1] == b"0" else b"0") + wire[at + 1 :]


def _end(upload: Upload, head: bytes, wire: bytes) -> Bytes:
    if upload.transfer_size:
        size = upload.transfer_size
        pieces = [wire[start : start + size] for start in range(0, len(wire), size)]
        wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    stop = len(wire)
    if upload.flaw in CUTS:
        stop = int(upload.place * (len(wire) - 5 if upload.transfer_size else len(wire)))
    return Bytes(head, wire, stop)


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
