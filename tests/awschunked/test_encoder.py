"""
The encoders make the chunks which public signers make, however the bytes come, and keep at most one of them.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import zlib
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.awschunked.checksums import ALGORITHMS, parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.awschunked.encoder import (
    CHUNK_SIZE,
    BodyEncoder,
    ChunkEncoder,
    UnsignedChunkEncoder,
    encode_chunks,
    encoded_length,
)
from s3proxy.s3.errors import IncompleteBody
from s3proxy.s3.head import Fields, HeaderList
from s3proxy.sigv4.chunks import ChunkChain, ChunkSigner
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key
from tests.support.chunks import read_chunks
from tests.support.harness import VECTORS
from tests.support.signer import SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER, Signer

SEED = "1" * 64
DATE = b"20260301T120000Z"
CRC32 = b"x-amz-checksum-crc32"
TRAILERS = (SIGNED_TRAILER, UNSIGNED_TRAILER)
SIZES = [0, 1, 8191, CHUNK_SIZE - 1, CHUNK_SIZE, CHUNK_SIZE + 1, 2 * CHUNK_SIZE, 3 * CHUNK_SIZE + 17, 1 << 20]


def make_signer(secret: str, date: bytes, seed: str) -> ChunkSigner:
    """
    Return a signer for the chunks of a request to us-east-1.
    """
    scope = CredentialScope(date[:8], b"us-east-1")
    return ChunkSigner(SigningKey(derive_signing_key(secret, scope)), date, bytes(scope), seed.encode())


def make_encoder(length: int) -> ChunkEncoder:
    return ChunkEncoder(length, make_signer(Signer().secret, DATE, SEED).sign)


def make_trailing(mode: str, length: int, name: bytes = CRC32) -> BodyEncoder:
    """
    Return an encoder for a body with a trailer.
    """
    if mode == UNSIGNED_TRAILER:
        return UnsignedChunkEncoder(length, name)
    signer = make_signer(Signer().secret, DATE, SEED)
    return ChunkEncoder(length, signer.sign, trailer_name=name, sign_trailer=signer.sign_trailer)


def crc32_of(body: bytes) -> HeaderList:
    """
    Return the verified checksum of a body.
    """
    return [(CRC32, base64.b64encode(zlib.crc32(body).to_bytes(4, "big")))]


def encode_with(encoder: BodyEncoder, blocks: Iterable[bytes], verified: HeaderList) -> bytes:
    """
    Encode a body that arrives in blocks.
    """
    wire = [bytes(piece) for block in blocks for piece in encoder.feed([memoryview(block)])]
    return b"".join([*wire, *map(bytes, encoder.finish(verified))])


def encode(length: int, blocks: Iterable[bytes]) -> bytes:
    """
    The same, without a trailer.
    """
    return encode_with(make_encoder(length), blocks, [])


def body_of(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def trailer_of(vector: dict[str, Any], signer: ChunkSigner) -> dict[str, Any]:
    """
    Return what an encoder needs for an example's trailer.
    """
    name = dict(vector["request"]["headers"]).get("x-amz-trailer")
    return {} if name is None else {"trailer_name": name.encode(), "sign_trailer": signer.sign_trailer}


@pytest.mark.parametrize("name", ["s3-chunked-upload", "s3-chunked-upload-trailer"])
def test_the_published_examples(name: str) -> None:
    """
    "Transferring Payload in Multiple Chunks", and the same "Including Trailing Headers": 65 KiB, whose chunks,
    signatures, trailer and length are printed there.
    """
    vectors = json.loads((VECTORS / "vectors" / "s3-sigv4.json").read_text())["vectors"]
    (vector,) = [vector for vector in vectors if vector["name"] == name]
    request, expected = vector["request"], vector["expected"]
    secret, date = vector["credentials"]["secret_key"], vector["date"].encode()
    signer = make_signer(secret, date, expected["signature"])
    encoder = ChunkEncoder(66560, signer.sign, **trailer_of(vector, signer))
    verified = [(b"x-amz-checksum-crc32c", b"sOO8/Q==")]

    wire = b"".join([*encoder.feed([b"a" * 66560]), *encoder.finish(verified)])

    parts = [part.get("text") or part["repeat"] * part["count"] for part in request["wire"]]
    assert wire == "".join(parts).encode()
    assert encoder.encoded_length == request["wire_length"] == len(wire)


@pytest.mark.parametrize("size", SIZES)
def test_the_length_is_known_beforehand(size: int) -> None:
    """
    The chunks are as another signer makes them, and as many bytes as were promised.
    """
    body = body_of(size)

    wire = encode(size, [body])

    assert wire == Signer().encode(body, SIGNED_CHUNKS, SEED, CHUNK_SIZE)
    assert len(wire) == encoded_length(size)


@given(size=st.integers(0, 3 * CHUNK_SIZE), cuts=st.lists(st.integers(0, 3 * CHUNK_SIZE), max_size=60))
@settings(max_examples=60, deadline=None)
def test_fragmentation_is_invisible(size: int, cuts: list[int]) -> None:
    """
    However the bytes come, the same chunks come out.
    """
    body = body_of(size)
    places = [0, *sorted(min(cut, size) for cut in cuts), size]

    wire = encode(size, [body[start:end] for start, end in itertools.pairwise(places)])

    assert wire == Signer().encode(body, SIGNED_CHUNKS, SEED, CHUNK_SIZE)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [1 << 20, CHUNK_SIZE, 10_000])
def test_the_end_leaves_with_the_verdict(size: int, block: int) -> None:
    """
    With every byte of the body given, neither the zero chunk nor the whole of the last data chunk has left.
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
    The output consists of views of the input, if a chunk is made of whole blocks or of parts of them.
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
    Views of large blocks, of many blocks, or many views do not add up: at most two chunks are kept, in few pieces.
    """
    encoder = make_encoder(1 << 30)
    for _ in range(30):
        data = memoryview(bytes(block))
        # Of each block a little is the body's: the rest is framing.
        encoder.feed([data[at : at + piece] for at in range(7, min(block, 64 * piece), piece)])

        blocks = {id(view.obj): memoryview(view.obj).nbytes for view in encoder._kept}
        assert sum(blocks.values()) <= 2 * CHUNK_SIZE
        assert len(encoder._kept) <= 32
        assert encoder.kept_size < CHUNK_SIZE


def test_a_body_of_another_length_is_never_of_the_promised_one() -> None:
    """
    Where more or fewer bytes come than were promised, so do of what leaves: the connection counts them.
    """
    for given_size in (0, CHUNK_SIZE - 1, CHUNK_SIZE + 1, 5 * CHUNK_SIZE):
        assert len(encode(CHUNK_SIZE, [body_of(given_size)])) != encoded_length(CHUNK_SIZE)


def test_a_signer_tells_nothing() -> None:
    """
    The signer's text has neither the key nor a signature.
    """
    signer = make_signer(Signer().secret, DATE, SEED)

    signature = signer.sign(b"0" * 64)

    assert signature.decode() not in repr(signer)
    assert SEED not in repr(signer)
    assert signer.sign_trailer(b"x:y\n").decode() not in repr(signer)


# Trailers


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mode", TRAILERS)
def test_a_trailer_is_as_another_signer_makes_it(mode: str, size: int) -> None:
    """
    The chunks, too; and as many bytes as were promised.
    """
    body = body_of(size)
    encoder = make_trailing(mode, size)

    wire = encode_with(encoder, [body], crc32_of(body))

    assert wire == Signer().encode(body, mode, SEED, CHUNK_SIZE)
    assert len(wire) == encoder.encoded_length == encoded_length(size, CRC32, is_signed=mode == SIGNED_TRAILER)


@given(
    mode=st.sampled_from(TRAILERS),
    size=st.integers(0, 3 * CHUNK_SIZE),
    cuts=st.lists(st.integers(0, 3 * CHUNK_SIZE), max_size=60),
)
@settings(max_examples=100, deadline=None)
def test_fragmentation_is_invisible_before_a_trailer(mode: str, size: int, cuts: list[int]) -> None:
    """
    However the bytes come, the same chunks come out.
    """
    body = body_of(size)
    places = [0, *sorted(min(cut, size) for cut in cuts), size]
    blocks = [body[start:end] for start, end in itertools.pairwise(places)]

    wire = encode_with(make_trailing(mode, size), blocks, crc32_of(body))

    assert wire == Signer().encode(body, mode, SEED, CHUNK_SIZE)


@pytest.mark.parametrize("mode", TRAILERS)
def test_every_cut(mode: str) -> None:
    """
    A body of three chunks is cut at every place near their borders.
    """
    body = body_of(2 * CHUNK_SIZE + 3)
    expected = Signer().encode(body, mode, SEED, CHUNK_SIZE)
    borders = (0, CHUNK_SIZE, 2 * CHUNK_SIZE, len(body))
    for cut in sorted({border + off for border in borders for off in range(-3, 4)} & set(range(len(body) + 1))):
        assert encode_with(make_trailing(mode, len(body)), [body[:cut], body[cut:]], crc32_of(body)) == expected


@pytest.mark.parametrize("name", [name.decode() for name in ALGORITHMS])
@pytest.mark.parametrize("mode", TRAILERS)
def test_our_own_decoder_believes_it(mode: str, name: str) -> None:
    """
    Our decoder accepts it for every algorithm, down to the trailer's signature, and the length is known beforehand.
    """
    body = body_of(2 * CHUNK_SIZE + 17)
    digest = ALGORITHMS[name.encode()].begin()
    digest.update(body)
    trailer = (f"x-amz-checksum-{name}".encode(), base64.b64encode(digest.digest()))
    encoder = make_trailing(mode, len(body), trailer[0])

    wire = encode_with(encoder, [body], [(b"x-amz-checksum-of-another", b"x"), trailer])

    decoder = make_decoder(mode, len(body), trailer[0])
    assert b"".join(decoder.feed(wire)) == body
    assert decoder.finish() == [trailer]
    assert len(wire) == encoder.encoded_length


def make_decoder(mode: str, length: int, name: bytes = CRC32) -> AwsChunkedDecoder:
    """
    Return a decoder as for a client's body.
    """
    scope = CredentialScope(DATE[:8], b"us-east-1")
    key = SigningKey(derive_signing_key(Signer().secret, scope))
    chain = ChunkChain(b"KEY", key, b"AWS4-HMAC-SHA256", DATE, bytes(scope), SEED.encode(), b"")
    digests = parse_body_digests(Fields({b"x-amz-trailer": [name]}), has_trailer=True)
    return AwsChunkedDecoder(length, digests, verifier=chain if mode == SIGNED_TRAILER else None, has_trailer=True)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("block", [1 << 20, CHUNK_SIZE, 10_000])
@pytest.mark.parametrize("mode", TRAILERS)
def test_the_trailer_leaves_with_the_verdict(mode: str, size: int, block: int) -> None:
    """
    With every byte of the body given, its last has not left, nor the zero chunk, nor anything of the trailer.
    """
    body = body_of(size)
    encoder = make_trailing(mode, size)

    sent = b"".join(bytes(p) for at in range(0, size, block) for p in encoder.feed([body[at : at + block]]))

    decoder = make_decoder(mode, size)
    seen = b"".join(decoder.feed(sent))
    assert size == 0 or len(seen) < size
    assert b"x-amz-" not in sent
    with pytest.raises(IncompleteBody):
        decoder.finish()
    assert encoder.kept_size >= size - len(seen)
    end = b"".join(map(bytes, encoder.finish(crc32_of(body))))
    assert seen + b"".join(decoder.feed(end)) == body
    assert decoder.finish() == crc32_of(body)
    assert encoder.kept_size == 0


@pytest.mark.parametrize("mode", TRAILERS)
@pytest.mark.parametrize("verified", [[], [(b"x-amz-checksum-sha256", b"x")]], ids=["none", "another"])
def test_no_trailer_of_what_was_not_verified(mode: str, verified: HeaderList) -> None:
    """
    Without the checksum that the head announced, the body is not ended.
    """
    encoder = make_trailing(mode, 1)
    encoder.feed([b"x"])

    with pytest.raises(ValueError, match="unpack"):
        encoder.finish(verified)


def test_nothing_is_gathered_or_copied_without_signatures() -> None:
    """
    All input leaves at once, as views, in blocks of any size.
    """
    blocks = [body_of(100), body_of(CHUNK_SIZE), body_of(40_000), body_of(3 * CHUNK_SIZE)]
    encoder = UnsignedChunkEncoder(1 << 20, CRC32)

    for block in blocks:
        pieces = encoder.feed([memoryview(block)])

        views = [piece for piece in pieces if isinstance(piece, memoryview)]
        assert {id(view.obj) for view in views} == {id(block)}
        assert sum(map(len, views)) == len(block)
        assert encoder.kept_size == 0


@pytest.mark.parametrize("mode", TRAILERS)
@pytest.mark.parametrize("blocks", [[0], [CHUNK_SIZE - 1], [CHUNK_SIZE + 1], [CHUNK_SIZE, 1], [5 * CHUNK_SIZE]])
def test_a_body_of_another_length_with_a_trailer(mode: str, blocks: list[int]) -> None:
    """
    Where more or fewer bytes come than were promised, so do of what leaves: the connection counts them.
    """
    encoder = make_trailing(mode, CHUNK_SIZE)

    wire = encode_with(encoder, map(body_of, blocks), crc32_of(b""))

    assert len(wire) != encoder.encoded_length


def test_chunks_as_they_are_given() -> None:
    """
    With a signature for each, or without signatures.
    """
    hashes: list[bytes] = []

    def sign(hash_: bytes) -> bytes:
        hashes.append(hash_)
        return b"%d" % len(hashes)

    assert b"".join(encode_chunks([b"hello", b"!"])) == b"5\r\nhello\r\n1\r\n!\r\n0\r\n"
    assert b"".join(encode_chunks([b"hello"], sign)) == (b"5;chunk-signature=1\r\nhello\r\n0;chunk-signature=2\r\n")
    assert hashes == [hashlib.sha256(b"hello").hexdigest().encode(), hashlib.sha256().hexdigest().encode()]
