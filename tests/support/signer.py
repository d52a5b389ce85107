"""
A client's side of Signature V4, written from the documentation and independent of s3proxy's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import zlib
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote, unquote_to_bytes

from tests.support.harness import NOW, SERVER

UNSIGNED = "UNSIGNED-PAYLOAD"
SIGNED_CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
HASH = "hash"

MODES = (HASH, UNSIGNED, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER)
EMPTY = hashlib.sha256(b"").hexdigest()


def _encode(raw: str, safe: str) -> str:
    decoded = unquote_to_bytes(raw if safe else raw.replace("+", " "))
    return quote(decoded, safe=safe + "-_.~")


@dataclass
class SignedRequest:
    """
    A request, ready to be sent.
    """

    head: bytes
    body: bytes


@dataclass
class Signer:
    """
    A key of the data set.
    """

    access_key_id: str = SERVER["credentials"][0]["access_key"]
    secret: str = SERVER["credentials"][0]["secret_key"]
    now: datetime = NOW
    host: str = "s3.example.test"

    @property
    def _date(self) -> str:
        return self.now.strftime("%Y%m%dT%H%M%SZ")

    @property
    def _scope(self) -> str:
        return f"{self._date[:8]}/us-east-1/s3/aws4_request"

    def _sign(self, text: str) -> str:
        key = ("AWS4" + self.secret).encode()
        for part in (self._date[:8], "us-east-1", "s3", "aws4_request", text):
            key = hmac.digest(key, part.encode(), "sha256")
        return key.hex()

    def head(
        self,
        method: str,
        target: str,
        headers: dict[str, str] | None = None,
        *,
        payload: str = EMPTY,
        unsigned: dict[str, str] | None = None,
    ) -> tuple[bytes, str]:
        """
        Return a signed head and its signature.

        Args:
            headers: Signed headers.
            unsigned: Headers that are sent, but not signed.
        """
        signed = {"host": self.host, "x-amz-date": self._date, "x-amz-content-sha256": payload, **(headers or {})}
        names = sorted(signed)
        path, _, query = target.partition("?")
        items = [item.partition("=") for item in query.split("&") if item]
        pairs = sorted((_encode(name, ""), _encode(value, "")) for name, _, value in items)
        canonical = "\n".join(
            [
                method,
                _encode(path, "/"),
                "&".join(f"{name}={value}" for name, value in pairs),
                "".join(f"{name}:{signed[name].strip()}\n" for name in names),
                ";".join(names),
                payload,
            ]
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self._sign(f"AWS4-HMAC-SHA256\n{self._date}\n{self._scope}\n{digest}")
        lines = [f"{method} {target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in {**signed, **(unsigned or {})}.items()]
        lines.append(
            f"Authorization: AWS4-HMAC-SHA256 Credential={self.access_key_id}/{self._scope}, "
            f"SignedHeaders={';'.join(names)}, Signature={signature}"
        )
        return ("\r\n".join(lines) + "\r\n\r\n").encode(), signature

    def presign(self, method: str, target: str, expires: int = 600) -> str:
        """
        Return a presigned target. Parameters that it has already are signed, too.
        """
        path, _, own = target.partition("?")
        names = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key_id}/{self._scope}",
            "X-Amz-Date": self._date,
            "X-Amz-Expires": str(expires),
            "X-Amz-SignedHeaders": "host",
        }
        items = [item if "=" in item else f"{item}=" for item in own.split("&") if item]
        query = "&".join(sorted([*items, *(f"{name}={quote(value, safe='')}" for name, value in names.items())]))
        canonical = f"{method}\n{path}\n{query}\nhost:{self.host}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = self._sign(f"AWS4-HMAC-SHA256\n{self._date}\n{self._scope}\n{digest}")
        return f"{path}?{query}&X-Amz-Signature={signature}"

    def put(
        self,
        target: str,
        body: bytes,
        mode: str = HASH,
        *,
        chunk_size: int = 65536,
        transfer_chunks: int = 0,
        headers: dict[str, str] | None = None,
        unsigned: dict[str, str] | None = None,
    ) -> SignedRequest:
        """
        Return a PUT in one of the payload modes.

        Args:
            transfer_chunks: Bytes of each chunk of chunked transfer coding; 0 for Content-Length.
        """
        headers, unsigned = dict(headers or {}), dict(unsigned or {})
        if not mode.startswith("STREAMING"):
            payload = hashlib.sha256(body).hexdigest() if mode == HASH else mode
            unsigned["Content-Length"] = str(len(body))
            return SignedRequest(self.head("PUT", target, headers, payload=payload, unsigned=unsigned)[0], body)
        headers["x-amz-decoded-content-length"] = str(len(body))
        headers["content-encoding"] = "aws-chunked"
        if mode != SIGNED_CHUNKS:
            headers["x-amz-trailer"] = "x-amz-checksum-crc32"
        # The encoded length is the same whatever the signatures are.
        length = len(self.encode(body, mode, "0" * 64, chunk_size))
        if transfer_chunks:
            unsigned["Transfer-Encoding"] = "chunked"
        else:
            unsigned["Content-Length"] = str(length)
        head, seed = self.head("PUT", target, headers, payload=mode, unsigned=unsigned)
        wire = self.encode(body, mode, seed, chunk_size)
        if transfer_chunks:
            pieces = [wire[start : start + transfer_chunks] for start in range(0, len(wire), transfer_chunks)]
            wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        return SignedRequest(head, wire)

    def encode(self, body: bytes, mode: str, seed: str, chunk_size: int) -> bytes:
        """
        Put a body into aws-chunked.
        """
        previous = seed
        wire = []
        chunks = [body[start : start + chunk_size] for start in range(0, len(body), chunk_size)]
        for chunk in [*chunks, b""]:
            extension = ""
            if mode != UNSIGNED_TRAILER:
                previous = self.chunk_signature(chunk, previous)
                extension = f";chunk-signature={previous}"
            wire.append(f"{len(chunk):x}{extension}\r\n".encode())
            if chunk:
                wire += [chunk, b"\r\n"]
        if mode != SIGNED_CHUNKS:
            value = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
            wire.append(f"x-amz-checksum-crc32:{value}\r\n".encode())
            if mode == SIGNED_TRAILER:
                digest = hashlib.sha256(f"x-amz-checksum-crc32:{value}\n".encode()).hexdigest()
                text = f"AWS4-HMAC-SHA256-TRAILER\n{self._date}\n{self._scope}\n{previous}\n{digest}"
                wire.append(f"x-amz-trailer-signature:{self._sign(text)}\r\n".encode())
        wire.append(b"\r\n")
        return b"".join(wire)

    def chunk_signature(self, chunk: bytes, previous: str) -> str:
        """
        Sign one chunk.
        """
        return self.sign_chunk(hashlib.sha256(chunk).hexdigest(), previous)

    def sign_chunk(self, digest: str, previous: str) -> str:
        """
        Sign one chunk whose hash is given.
        """
        text = f"AWS4-HMAC-SHA256-PAYLOAD\n{self._date}\n{self._scope}\n{previous}\n{EMPTY}\n{digest}"
        return self._sign(text)
