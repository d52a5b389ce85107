"""
How a body may be sent to a storage system.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from dataclasses import dataclass

from s3proxy.awschunked.encoder import SignChunk, encode_chunks, encode_trailers
from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.doctor.line import HeldBody, Response, read_response
from s3proxy.doctor.signatures import with_wrong_secret
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, judge, unclear
from s3proxy.resign.account import UNSIGNED_PAYLOAD, Account, SignatureVersion
from s3proxy.s3.head import HeaderList
from s3proxy.s3.payload import EMPTY_SHA256
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key

CHUNKS = (b"s3proxy doctor " * 600, b"looks at chunks")
CONTENT = b"".join(CHUNKS)

_SIGNATURE_OF_NONE = b"0" * 64

_SEED = re.compile(rb"x-amz-date: (\S+)\r\n.*Signature=([0-9a-f]{64})", re.DOTALL)


@dataclass(frozen=True, slots=True)
class _Chain:
    """
    Signs the chunks of a body, and its trailer, as current clients do.
    """

    key: SigningKey
    date: bytes
    scope: bytes
    previous: list[bytes]

    def chunk(self, digest: bytes) -> bytes:
        return self._sign(b"PAYLOAD", EMPTY_SHA256 + b"\n" + digest)

    def trailer(self, lines: bytes) -> bytes:
        return self._sign(b"TRAILER", hashlib.sha256(lines).hexdigest().encode())

    def _sign(self, kind: bytes, rest: bytes) -> bytes:
        text = b"AWS4-HMAC-SHA256-%s\n%s\n%s\n%s\n%s" % (kind, self.date, self.scope, self.previous[0], rest)
        self.previous[0] = self.key.sign_for_backend(text)
        return self.previous[0]


def _chain(storage: Storage, head: bytes) -> _Chain:
    found = _SEED.search(head)
    assert found is not None
    date, seed = found.groups()
    scope = CredentialScope(date[:8], storage.key.region.encode())
    key = SigningKey(derive_signing_key(storage.key.secret_access_key, scope))
    return _Chain(key, date, bytes(scope), [seed])


def _encode(sign_chunk: SignChunk | None, sign_trailer: SignChunk | None, *, has_trailer: bool) -> bytes:
    checksum = base64.b64encode(zlib.crc32(CONTENT).to_bytes(4, "big"))
    # The trailer's signature is chained to the last chunk's.
    chunks = b"".join(encode_chunks(CHUNKS, sign_chunk))
    return chunks + (encode_trailers([(b"x-amz-checksum-crc32", checksum)], sign_trailer) if has_trailer else b"\r\n")


def _streams(word: bytes) -> Examine:
    is_signed, has_trailer = word.startswith(b"STREAMING-AWS4"), word.endswith(b"-TRAILER")

    def nothing(text: bytes) -> bytes:
        return _SIGNATURE_OF_NONE

    async def examine(storage: Storage) -> Judgement:
        if SignatureVersion.V4 not in storage.ways:
            return judge(False, "it needs Signature V4")
        blank = nothing if is_signed else None
        length = len(_encode(blank, blank if has_trailer else None, has_trailer=has_trailer))
        headers: HeaderList = [
            (b"Content-Encoding", b"aws-chunked"),
            (b"x-amz-decoded-content-length", b"%d" % len(CONTENT)),
        ]
        if has_trailer:
            headers.append((b"x-amz-trailer", b"x-amz-checksum-crc32"))
        account, name = storage.account(SignatureVersion.V4), word.lower()
        head = storage.head(b"PUT", storage.target(name), headers, length, word, account=account)
        chain = _chain(storage, head)
        if is_signed:
            body = _encode(chain.chunk, chain.trailer if has_trailer else None, has_trailer=has_trailer)
        else:
            body = _encode(None, None, has_trailer=has_trailer)
        return await _stored(storage, name, await storage.send(b"PUT", head, body))

    return examine


async def _stored(storage: Storage, name: bytes, response: Response) -> Judgement:
    if not response.is_success:
        return judge(False, str(response))
    stored = await storage.get(name)
    if stored.content == CONTENT:
        return judge(True, str(response))
    return judge(False, f"PUT {response}, but GET returns {len(stored.content)} bytes instead of {len(CONTENT)}")


async def chunked_transfer(storage: Storage) -> Judgement:
    """
    Judge whether a body may have a transfer coding instead of a length.
    """
    name = b"chunked-transfer"
    head = storage.head(b"PUT", storage.target(name), [(b"Transfer-Encoding", b"chunked")], payload=UNSIGNED_PAYLOAD)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)
    return await _stored(storage, name, await storage.send(b"PUT", head, body))


@dataclass(frozen=True, slots=True)
class _Expectation:
    response: Response
    seconds: float | None


async def _expect(storage: Storage, name: bytes, account: Account) -> _Expectation:
    """
    Expect 100 Continue, and send the body when it arrives, or after the limit.
    """
    head = storage.head(
        b"PUT",
        storage.target(name),
        length=len(CONTENT),
        payload=UNSIGNED_PAYLOAD,
        account=account,
        expects_continue=True,
    )
    request = BackendRequest(b"PUT", head, first_byte_time=storage.patience.response, expects_continue=True)
    body = HeldBody(CONTENT, len(CONTENT), storage.line)
    async with storage.line.open() as connection:
        sent_at = storage.line.reactor.seconds()
        response = await read_response(await connection.send(request, body))
    return _Expectation(response, None if body.started_at is None else body.started_at - sent_at)


async def continues(storage: Storage) -> Judgement:
    """
    Judge whether 100 Continue arrives before our limit.
    """
    seen = await _expect(storage, b"continue", storage.way)
    if seen.seconds is None:
        return judge(False, f"{seen.response} before the body")
    if seen.seconds >= storage.line.limits.continue_time:
        return judge(False, f"none in {storage.line.limits.continue_time:g} s; then {seen.response}")
    return judge(seen.response.is_success, f"after {seen.seconds * 1000:.0f} ms; then {seen.response}")


async def refuses_before_the_body(storage: Storage) -> Judgement:
    """
    Judge whether a request with a wrong signature is refused instead of 100 Continue.
    """
    try:
        seen = await _expect(storage, b"continue-refused", with_wrong_secret(storage.way))
    except BackendError as error:
        return unclear(f"no response: {error.fault.name.lower()}")
    if seen.response.is_success:
        return unclear("it accepts any secret")
    return judge(seen.seconds is None, str(seen.response))


PROBES = (
    Probe("signed-chunks", "aws-chunked, with signed chunks", _streams(b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD")),
    Probe(
        "signed-trailer",
        "aws-chunked, with signed chunks and a signed trailer",
        _streams(b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
    ),
    Probe(
        "unsigned-trailer",
        "aws-chunked, with unsigned chunks and an unsigned trailer",
        _streams(b"STREAMING-UNSIGNED-PAYLOAD-TRAILER"),
    ),
    Probe("chunked-transfer", "a body in chunked transfer coding, without a length", chunked_transfer),
    Probe("continue", "100 Continue is sent", continues),
    Probe("refuses-before-body", "a wrong signature is refused before the body is sent", refuses_before_the_body),
)
