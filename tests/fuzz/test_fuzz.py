"""
Whatever bytes come: no traceback, no 500, a bound on what is kept, and one verdict however the network cuts them.
"""

from __future__ import annotations

import os
import random
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise

import pytest

from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.body.plan import BodyLimits
from s3proxy.postobject.form import FieldsDecoder, FileDecoder
from s3proxy.s3.errors import S3Error
from s3proxy.s3.framing import ChunkedFraming
from s3proxy.s3.head import index_headers, parse_request_head, parse_response_head
from tests.fuzz.mutations import mutate, seeds, signed_request
from tests.support.forms import multipart
from tests.support.memory import MemoryProxy, Verdict

COUNT = int(os.environ.get("S3PROXY_FUZZ_COUNT", "4000"))
"Inputs of all tests of this module together; each is sent twice, cut at different places."

SEED = os.environ.get("S3PROXY_FUZZ_SEED", "1")

MAX_KEPT = 40 << 20
"Bytes that a run may hold at most at one time: the seeds, one input of 200 KiB sent twice, and the proxy."

BOUNDARY = b"boundary-0001"


def _progress(name: str, number: int, count: int) -> None:
    if number % 10_000 == 0 and number:
        print(f"{name}: {number} of {count}", file=sys.stderr, flush=True)


def _cuts(rng: random.Random, size: int) -> list[int]:
    if size < 300 and rng.random() < 0.2:
        return list(range(size))
    return [rng.randrange(size + 1) for _ in range(rng.randrange(1, 8))]


def _same(first: Verdict, second: Verdict) -> bool:
    """
    Return True if two verdicts are the same. A later request may be left unread if the connection ends after a refusal.
    """
    responses = min(len(first.statuses), len(second.statuses))
    stored = min(len(first.stored), len(second.stored))
    return (
        first.statuses[:responses] == second.statuses[:responses]
        and first.codes[:responses] == second.codes[:responses]
        and [(each.head.raw_target, each.body) for each in first.stored[:stored]]
        == [(each.head.raw_target, each.body) for each in second.stored[:stored]]
        and bool(first.statuses) == bool(second.statuses)
        and bool(first.stored) == bool(second.stored)
    )


@pytest.mark.parametrize("kind", ["mutated", "signed", "signed, forms streamed"])
def test_whole_requests(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    Changed requests of every kind, and correctly signed ones with changed bodies, through the whole proxy.
    """
    found = seeds()
    proxy = MemoryProxy(body_limits=BodyLimits(spools_unknown_length=True, streams_forms=kind.endswith("streamed")))
    outcomes: Counter[str] = Counter()
    count = COUNT // 4
    tracemalloc.start()
    for number in range(count):
        rng = random.Random(f"{SEED} {kind} {number}")
        wire = mutate(rng, rng.choice(found), found) if kind == "mutated" or rng.random() < 0.2 else signed_request(rng)
        cuts = _cuts(rng, len(wire))
        whole = proxy.send(wire)
        pieces = proxy.send(wire, cuts)

        story = f"{kind} {number}: {wire!r}, cut at {cuts}: {whole.codes}, {pieces.codes}"
        assert all(status < 500 or status == 501 for status in (*whole.statuses, *pieces.statuses)), story
        assert _same(whole, pieces), story
        outcomes[str(whole.codes[0] if whole.statuses else "no response yet")] += 1
        if number % 200 == 0:
            proxy.records.clear()
        _progress(kind, number, count)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    with capsys.disabled():
        print(f"\n{kind}: {count} requests, {peak >> 20} MiB: {dict(outcomes.most_common(60))}")
    assert peak < MAX_KEPT
    assert len(outcomes) > 10 or count < 500


Reader = Callable[[bytes, list[int]], object]


def _decode(wire: bytes, cuts: list[int]) -> object:
    digests = parse_body_digests(index_headers([(b"x-amz-trailer", b"x-amz-checksum-crc32")]), has_trailer=True)
    decoder = AwsChunkedDecoder(11, digests, has_trailer=True)
    decoded = b"".join(bytes(piece) for data in _split(wire, cuts) for piece in decoder.feed(data))
    return decoded, decoder.finish()


def _frame(wire: bytes, cuts: list[int]) -> object:
    framing = ChunkedFraming()
    decoded = b""
    for data in _split(wire, cuts):
        decoded += b"".join(framing.feed(data))
        if framing.fault is not None:
            break
    return decoded, framing.is_complete, framing.remainder, framing.trailers, framing.fault is None


def _form(wire: bytes, cuts: list[int]) -> object:
    fields, file = FieldsDecoder(BOUNDARY), FileDecoder(BOUNDARY)
    content, has_begun = b"", False
    for data in _split(wire, cuts):
        rest = data if has_begun else fields.feed(data)
        if rest is not None:
            has_begun = True
            content += b"".join(file.feed(rest))
    return fields.form, content, file.is_closed, has_begun


def _heads(wire: bytes, cuts: list[int]) -> object:
    head = wire.partition(b"\r\n\r\n")[0]
    with suppress(S3Error):
        parse_response_head(head)
    return parse_request_head(head).headers


def _split(wire: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(wire), *cuts})
    return [wire[start:end] for start, end in pairwise(places)]


READERS: dict[str, tuple[Reader, list[bytes]]] = {
    "aws-chunked": (_decode, [b"b\r\nhello world\r\n0\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n", b"0\r\n\r\n"]),
    "chunked transfer coding": (_frame, [b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nA: b\r\n\r\nGET ", b"0\r\n\r\n"]),
    "forms": (
        _form,
        [multipart([("key", "k"), ("acl", "private")], b"hello", boundary=BOUNDARY.decode())],
    ),
    "heads": (_heads, []),
}


@pytest.mark.parametrize("room", READERS)
def test_rooms_alone(room: str) -> None:
    """
    Each room takes any bytes, or refuses them as S3 does; where they are cut does not matter.
    """
    read, own = READERS[room]
    found = seeds()
    bodies = [*own * 50, *(wire.partition(b"\r\n\r\n")[2] for wire in found)] if own else found
    count = COUNT // 16
    for number in range(count):
        rng = random.Random(f"{SEED} {room} {number}")
        wire = mutate(rng, rng.choice(bodies), bodies)
        cuts = _cuts(rng, len(wire))
        outcomes = []
        for places in ([], cuts):
            try:
                outcomes.append(read(wire, places))
            except S3Error as error:
                outcomes.append((type(error), error.message))
        assert outcomes[0] == outcomes[1], f"{room} {number}: {wire!r}, cut at {cuts}"
        _progress(room, number, count)
