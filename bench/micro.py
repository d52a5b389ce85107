"""
Measure each room without I/O alone: CPU time in this process, without sockets or a reactor.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from pathlib import Path
from statistics import median

from zlib_ng import zlib_ng

from bench.loads import KIB, MIB
from bench.results import RESULTS, command_line, describe_machine, text_table
from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import Authenticated, verify_claim
from s3proxy.awschunked.encoder import BodyEncoder, ChunkEncoder, UnsignedChunkEncoder
from s3proxy.body.plan import BodyLimits, plan_body
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from s3proxy.resign.account import Account, SignatureVersion
from s3proxy.resign.head import backend_head
from s3proxy.resign.headers import passed_headers
from s3proxy.resign.public_name import PublicName
from s3proxy.resign.response import response_headers, response_use
from s3proxy.resign.target import backend_target
from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import Classification, classify
from s3proxy.s3.credential import Credential
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import RequestHead, parse_request_head, parse_response_head
from s3proxy.sigv4.chunks import ChunkSigner
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, SigningKeys, derive_signing_key
from tests.support.signer import HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer

BLOCK_SIZE = 256 * KIB
"""
The maximum number of bytes of one read.
"""

BODY_SIZE = 16 * MIB

RESPONSE = (
    b'HTTP/1.1 200 OK\r\nETag: "5d41402abc4b2a76b9719d911017c592"\r\n'
    b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n"
    b"Content-Type: application/octet-stream\r\nx-amz-request-id: tx0000000000000\r\n"
    b"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Length: 1024"
)


class Rooms:
    """
    A key, a realm, and the rooms that a request passes through.
    """

    def __init__(self) -> None:
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.signer = Signer(now=self.now)
        # S3 refuses chunks below 8 KiB, except the last one.
        exemptions = frozenset({Exemption.CHUNK_SIZE})
        self.credential = Credential(self.signer.access_key_id, (self.signer.secret,), exemptions=exemptions)
        self.realm = Realm()

    def judge(self, data: bytes) -> tuple[RequestHead, Classification, Authenticated]:
        """
        Parse a head, and verify its signature.

        Args:
            data: The bytes of the head, without the empty line at its end.
        """
        head = parse_request_head(data)
        address = parse_address(head.raw_path, head.host, self.realm.domains)
        claim = read_claim(head, address, self.realm, self.now)
        assert claim is not None
        authenticated = verify_claim(claim, self.credential, self.realm, self.now)
        return authenticated.head, classify(authenticated.head, address, authenticated.covered_names), authenticated

    def v2_head(self, target: str) -> bytes:
        """
        Return a GET signed with Signature V2.
        """
        date = format_datetime(self.now, usegmt=True)
        text = f"GET\n\n\n\nx-amz-date:{date}\n{target}"
        signature = base64.b64encode(hmac.digest(self.signer.secret.encode(), text.encode(), "sha1")).decode()
        return (
            f"GET {target} HTTP/1.1\r\nHost: {self.signer.host}\r\nx-amz-date: {date}\r\n"
            f"Authorization: AWS {self.signer.access_key_id}:{signature}"
        ).encode()

    def presigned_head(self, target: str) -> bytes:
        """
        Return a presigned GET.
        """
        return f"GET {self.signer.presign('GET', target)} HTTP/1.1\r\nHost: {self.signer.host}".encode()


def measure(operation: Callable[[], object], repetitions: int, least: float = 0.05) -> list[float]:
    """
    Return the CPU seconds of one call, for each repetition.

    Args:
        least: The minimum number of CPU seconds of a repetition. It makes as many calls as that needs.
    """
    operation()
    count = 1
    while True:
        before = time.process_time()
        for _ in range(count):
            operation()
        spent = time.process_time() - before
        if spent >= least:
            break
        count = max(count * 2, int(count * least / spent * 1.1) if spent else 0)
    found = []
    for _ in range(repetitions):
        before = time.process_time()
        for _ in range(count):
            operation()
        found.append((time.process_time() - before) / count)
    return found


def measure_once(prepare: Callable[[], Callable[[], object]], repetitions: int) -> list[float]:
    """
    Return the CPU seconds of a function that can be called only once, for each repetition.

    Args:
        prepare: Returns a new function to measure.
    """
    found = []
    for _ in range(repetitions + 1):
        operation = prepare()
        before = time.process_time()
        operation()
        found.append(time.process_time() - before)
    return found[1:]


def _blocks(wire: bytes) -> list[bytes]:
    return [wire[start : start + BLOCK_SIZE] for start in range(0, len(wire), BLOCK_SIZE)]


def _decoding(rooms: Rooms, mode: str, chunk_size: int) -> Callable[[], Callable[[], object]]:
    made = rooms.signer.put("/bench/key", bytes(BODY_SIZE), mode, chunk_size=chunk_size)
    blocks = _blocks(made.body)

    def prepare() -> Callable[[], object]:
        head, classification, authenticated = rooms.judge(made.head[:-4])
        plan = plan_body(head, classification.operation, authenticated, BodyLimits())
        decoder = plan.decoder
        assert decoder is not None
        feed = decoder.feed

        def decode() -> None:
            for block in blocks:
                feed(block)
            decoder.finish()

        return decode

    return prepare


def _encoding(rooms: Rooms, mode: str) -> Callable[[], Callable[[], object]]:
    date = rooms.now.strftime("%Y%m%dT%H%M%SZ").encode()
    scope = CredentialScope(date[:8], b"us-east-1")
    key = SigningKey(derive_signing_key("bench-secret", scope))
    blocks = _blocks(bytes(BODY_SIZE))

    trailer = (b"x-amz-checksum-crc32", b"AAAAAA==")

    def prepare() -> Callable[[], object]:
        encoder: BodyEncoder
        if mode == SIGNED_CHUNKS:
            encoder = ChunkEncoder(BODY_SIZE, ChunkSigner(key, date, bytes(scope), b"0" * 64).sign)
        else:
            encoder = UnsignedChunkEncoder(BODY_SIZE, trailer[0])

        def encode() -> None:
            for block in blocks:
                encoder.feed([block])
            encoder.finish([trailer])

        return encode

    return prepare


def _framing(chunk_size: int) -> Callable[[], Callable[[], object]]:
    pieces = BODY_SIZE // chunk_size
    blocks = _blocks(b"".join([b"%x\r\n%s\r\n" % (chunk_size, bytes(chunk_size))] * pieces) + b"0\r\n\r\n")

    def prepare() -> Callable[[], object]:
        framing = ChunkedFraming()

        def read() -> None:
            for block in blocks:
                framing.feed(block)
            assert framing.is_complete

        return read

    return prepare


def _resigning(rooms: Rooms, method: str, signature: str) -> Callable[[], object]:
    if method == "PUT":
        data = rooms.signer.put("/bench/key", bytes(64 * KIB), SIGNED_CHUNKS).head[:-4]
    else:
        data = rooms.signer.head(method, "/bench/key")[0][:-4]
    head, classification, authenticated = rooms.judge(data)
    address = parse_address(head.raw_path, head.host, ())
    account = Account(
        PROFILES["generic"],
        BackendKey("BENCH", "bench-secret"),
        b"127.0.0.1:7480",
        SignatureVersion(signature),
        SigningKeys(4),
    )
    length = 64 * KIB if method == "PUT" else None

    def sign() -> None:
        passed, _ = passed_headers(head, authenticated.signed_headers, passes_checksums=False)
        target = backend_target(head, address, account.profile, classification.passed_names)
        payload = UNSIGNED.encode()
        backend_head(account, head.method, target, passed, length, payload, rooms.now)

    return sign


def _answering(rooms: Rooms) -> Callable[[], object]:
    request, classification, _ = rooms.judge(rooms.signer.head("GET", "/bench/key")[0][:-4])
    name = PublicName(b"http", b"s3.example.test", b"us-east-1", request_id=b"0123456789ABCDEF", host_id=b"s3proxy")

    def rewrite() -> None:
        response = parse_response_head(RESPONSE)
        response_use(request, response, classification.operation)
        response_headers(response, name.request_id, name.host_id, [], lambda: name)

    return rewrite


def rows(repetitions: int, least: float = 0.05) -> list[tuple[str, str, list[float]]]:
    """
    Measure everything. Return a name, a unit and the CPU seconds of each measurement.

    Args:
        least: The minimum number of CPU seconds of a repetition, for a function that can be called several times.
    """
    rooms = Rooms()
    found: list[tuple[str, str, list[float]]] = []
    heads = {
        "head to verdict: GET, V4 header": rooms.signer.head("GET", "/bench/key")[0][:-4],
        "head to verdict: PUT, V4 header, signed chunks": rooms.signer.put("/bench/key", b"x", SIGNED_CHUNKS).head[:-4],
        "head to verdict: GET, V4 presigned": rooms.presigned_head("/bench/key"),
        "head to verdict: GET, V2 header": rooms.v2_head("/bench/key"),
    }
    for name, data in heads.items():
        found.append((name, "µs", measure(partial(rooms.judge, data), repetitions, least)))
    head, classification, authenticated = rooms.judge(rooms.signer.put("/bench/key", b"x", HASH).head[:-4])
    plan = partial(plan_body, head, classification.operation, authenticated, BodyLimits())
    found.append(("body plan: PUT, single hash", "µs", measure(plan, repetitions, least)))
    for method in ("GET", "PUT"):
        for signature in ("v4", "v2"):
            operation = _resigning(rooms, method, signature)
            found.append((f"re-sign: {method}, {signature.upper()}", "µs", measure(operation, repetitions, least)))
    found.append(("response's head, read and rewritten", "µs", measure(_answering(rooms), repetitions, least)))
    for mode, title in (
        (SIGNED_CHUNKS, "signed"),
        (SIGNED_TRAILER, "signed, signed trailer crc32"),
        (UNSIGNED_TRAILER, "unsigned, trailer crc32"),
    ):
        for size in (4 * KIB, 8 * KIB, 64 * KIB, MIB):
            if mode == SIGNED_TRAILER and size != 64 * KIB:
                continue
            values = measure_once(_decoding(rooms, mode, size), repetitions)
            found.append((f"decode: {title}, chunks of {size // KIB} KiB", "MB/s", values))
    for mode, title in ((SIGNED_CHUNKS, "signed"), (UNSIGNED_TRAILER, "unsigned, trailer")):
        values = measure_once(_encoding(rooms, mode), repetitions)
        found.append((f"encode: {title}, chunks of 64 KiB", "MB/s", values))
    for size in (16 * KIB, 64 * KIB):
        values = measure_once(_framing(size), repetitions)
        found.append((f"chunked transfer coding, chunks of {size // KIB} KiB", "MB/s", values))
    blocks = _blocks(bytes(BODY_SIZE))

    def sha256() -> None:
        digest = hashlib.sha256()
        for block in blocks:
            digest.update(block)

    def crc32() -> None:
        value = 0
        for block in blocks:
            value = zlib_ng.crc32(block, value)

    found.append(("SHA-256 alone", "MB/s", measure(sha256, repetitions, least)))
    found.append(("CRC-32 alone", "MB/s", measure(crc32, repetitions, least)))
    return found


def cells(name: str, unit: str, values: list[float]) -> list[str]:
    """
    Return a row of the table: the median, the minimum and the maximum.
    """
    if unit == "MB/s":
        values = [BODY_SIZE / 1e6 / value for value in values]
    else:
        values = [value * 1e6 for value in values]
    digits = 0 if unit == "MB/s" else 1
    return [name, unit, *(f"{value:,.{digits}f}" for value in (median(values), min(values), max(values)))]


HEADINGS = ["what", "unit", "median", "minimum", "maximum"]


def run(options: argparse.Namespace) -> int:
    """
    Measure, print the table and write the results.
    """
    found = rows(options.repetitions, options.least)
    print(text_table([HEADINGS, *[cells(*row) for row in found]]))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    content = {"command": command_line(), "machine": describe_machine(), "rows": found}
    options.output.write_text(json.dumps(content, indent=1))
    print(f"\nresults are in {options.output}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add the options of ``micro``.
    """
    parser.add_argument("--repetitions", type=int, default=7, help="repetitions of each measurement")
    parser.add_argument("--least", type=float, default=0.05, help="minimum CPU seconds of a repetition")
    parser.add_argument("--output", type=Path, default=RESULTS / "micro.json", help="file for the results")
    parser.set_defaults(function=run)
