"""
The encoder makes the chunks which public signers make, however the octets come, and keeps at most one of them.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.awschunked.encoder import CHUNK_SIZE, ChunkEncoder, encoded_length
from s3proxy.sigv4.chunks import ChunkSigner
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key
from tests.chunks import read_chunks
from tests.harness import VECTORS
from tests.signer import SIGNED_CHUNKS, Signer

SEED = "1" * 64
DATE = b"20260301T120000Z"
SIZES = [0, 1, 8191, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE + 17, 1 << 20]


def make_signer(secret: str, date: bytes, seed: str) -> ChunkSigner:
    """
    What signs the chunks of a request of us-east-1.
    """
    scope = CredentialScope(date[:8], b"us-east-1")
    return ChunkSigner(SigningKey(derive_signing_key(secret, scope)), date, bytes(scope), seed.encode())


def make_encoder(length: int) -> ChunkEncoder:
    return ChunkEncoder(length, make_signer(Signer().secret, DATE, SEED).sign)


def encode(length: int, blocks: Iterable[bytes]) -> bytes:
    """
    Encode a body which comes in blocks.
    """
    encoder = make_encoder(length)
    wire = [bytes(piece) for block in blocks for piece in encoder.feed([memoryview(block)])]
    return b"".join([*wire, *map(bytes, encoder.finish())])


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def test_the_published_example() -> None:
    """
    "Transferring Payload in Multiple Chunks": 65 KiB, whose chunks, signatures and length are printed there.
    """
    vectors = json.loads((VECTORS / "vectors" / "s3-sigv4.json").read_text())["vectors"]
    (vector,) = [vector for vector in vectors if vector["name"] == "s3-chunked-upload"]
    request, expected = vector["request"], vector["expected"]
    secret, date = vector["credentials"]["secret_key"], vector["date"].encode()
    encoder = ChunkEncoder(66560, make_signer(secret, date, expected["signature"]).sign)

    wire = b"".join([*encoder.feed([b"a" * 66560]), *encoder.finish()])

    parts = [part.get("text") or part["repeat"] * part["count"] for part in request["wire"]]
    assert wire == "".join(parts).encode()
    assert encoder.encoded_length == request["wire_length"] == len(wire)


@pytest.mark.parametrize("size", SIZES)
def test_the_length_is_known_beforehand(size: int) -> None:
    """
    The chunks are as another signer makes them, and as many octets as were promised.
    """
    body = body_of(size)

    wire = encode(size, [body])

    assert wire == Signer().encode(body, SIGNED_CHUNKS, SEED, CHUNK_SIZE)
    assert len(wire) == encoded_length(size)


@given(size=st.integers(0, 3 * CHUNK_SIZE), cuts=st.lists(st.integers(0, 3 * CHUNK_SIZE), max_size=60))
@settings(max_examples=60, deadline=None)
def test_fragmentation_is_invisible(size: int, cuts: list[int]) -> None:
    """
    However the octets come, the same chunks come out.
    """
    body = body_of(size)
    places = [0, *sorted(min(cut, size) for cut in cuts), size]

    wire = encode(size, [body[start:end] for start, end in itertools.pairwise(places)])

    assert wire == Signer().encode(body, SIGNED_CHUNKS, SEED, CHUNK_SIZE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [1 << 20, CHUNK_SIZE, 10_000])
def test_the_end_leaves_with_the_verdict(size: int, block: int) -> None:
    """
    With every octet of the body given, neither the zero chunk nor the whole of the last data chunk has left.
    """
    body = body_of(size)
    encoder = make_encoder(size)

    sent = b"".join(bytes(p) for at in range(0, size, block) for p in encoder.feed([body[at : at + block]]))
    chunks = read_chunks(sent + b"\r\n" if sent else b"", Signer(), SEED)

    assert not chunks.is_complete
    assert len(chunks.data) == max(0, (size - 1) // CHUNK_SIZE * CHUNK_SIZE)
    assert encoder.kept_size == size - len(chunks.data)
    end = sent + b"".join(map(bytes, encoder.finish()))
    assert read_chunks(end, Signer(), SEED).is_complete


def test_nothing_is_copied() -> None:
    """
    What leaves are views of what came, where a chunk is made of whole blocks or of parts of them.
    """
    blocks = [body_of(CHUNK_SIZE), body_of(40_000), body_of(40_000)]
    encoder = make_encoder(1 << 20)

    pieces = [piece for block in blocks for piece in encoder.feed([memoryview(block)])]

    views = [piece.obj for piece in pieces if isinstance(piece, memoryview)]
    assert [id(view) for view in views] == [id(block) for block in blocks]


@pytest.mark.parametrize(
    ("block", "piece"), [(1 << 20, 1 << 20), (CHUNK_SIZE, 1), (CHUNK_SIZE, 100), (CHUNK_SIZE, 4096)]
)
def test_what_is_kept_is_bounded(block: int, piece: int) -> None:
    """
    Not by views of large blocks, nor of many, nor by many views: at most two chunks, in few pieces.
    """
    encoder = make_encoder(1 << 30)
    for _ in range(30):
        octets = memoryview(bytes(block))
        # Of each block a little is the body's: the rest is framing.
        encoder.feed([octets[at : at + piece] for at in range(7, min(block, 64 * piece), piece)])

        blocks = {id(view.obj): memoryview(view.obj).nbytes for view in encoder._kept}
        assert sum(blocks.values()) <= 2 * CHUNK_SIZE
        assert len(encoder._kept) <= 32
        assert encoder.kept_size < CHUNK_SIZE


def test_a_body_of_another_length_is_never_of_the_promised_one() -> None:
    """
    Where more or fewer octets come than were promised, so do of what leaves: the connection counts them.
    """
    for given_size in (0, CHUNK_SIZE - 1, CHUNK_SIZE + 1, 5 * CHUNK_SIZE):
        assert len(encode(CHUNK_SIZE, [body_of(given_size)])) != encoded_length(CHUNK_SIZE)


def test_a_signer_tells_nothing() -> None:
    """
    Its text names neither the key nor a signature.
    """
    signer = make_signer(Signer().secret, DATE, SEED)

    signature = signer.sign(b"0" * 64)

    assert signature.decode() not in repr(signer)
    assert SEED not in repr(signer)
