"""
The decoder gives the same bytes and the same verdict however the network cuts a stream.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.s3.errors import IncompleteBody, InvalidChunkSizeError, MalformedTrailerError, S3Error
from s3proxy.s3.head import index_headers
from s3proxy.s3.limits import MAX_CHUNK_HEADER_SIZE, MAX_TRAILER_SIZE
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.scope import HMAC_ALGORITHM, CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key
from tests.support.signer import EMPTY, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER, Signer

KIB, MIB = 1 << 10, 1 << 20
SEED = "0" * 64
DATE = b"20260301T120000Z"
SCOPE = CredentialScope(DATE[:8], b"us-east-1")
KEY = SigningKey(derive_signing_key(Signer().secret, SCOPE))


def make_decoder(mode: str, length: int) -> AwsChunkedDecoder:
    """
    A decoder for a stream of `tests.support.signer`.
    """
    has_trailer = mode != SIGNED_CHUNKS
    fields = index_headers([(b"x-amz-trailer", b"x-amz-checksum-crc32")] if has_trailer else [])
    chain = ChunkChain(b"AKIAIOSFODNN7EXAMPLE", KEY, HMAC_ALGORITHM, DATE, bytes(SCOPE), SEED.encode(), b"")
    return AwsChunkedDecoder(
        length,
        parse_body_digests(fields, has_trailer=has_trailer),
        verifier=None if mode == UNSIGNED_TRAILER else chain,
        has_trailer=has_trailer,
    )


def decode(mode: str, length: int, pieces: Sequence[bytes]) -> bytes | str:
    """
    Decode a stream which arrives in pieces; return the bytes, or the name of the error.
    """
    decoder = make_decoder(mode, length)
    decoded = []
    try:
        for piece in pieces:
            decoded += [bytes(view) for view in decoder.feed(piece)]
        decoder.finish()
    except S3Error as error:
        return type(error).__name__
    return b"".join(decoded)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])
def test_every_cut_in_two(mode: str) -> None:
    """
    A stream of 3 chunks of 8,192 bytes and one of 1,000 is cut in two at every place.
    """
    body = bytes(range(256)) * 100
    body = (body * 2)[: 3 * 8192 + 1000]
    wire = Signer().encode(body, mode, SEED, 8192)

    for at in range(len(wire) + 1):
        assert decode(mode, len(body), (wire[:at], wire[at:])) == body, at


@pytest.mark.parametrize(("chunk_size", "total"), [(8 * KIB, 50 * MIB), (64 * KIB, 64 * MIB)])
def test_segments_which_meet_the_ends_of_chunks(chunk_size: int, total: int) -> None:
    """
    Pieces have 102,400 bytes, so that over time a piece ends at every place of a chunk's framing.
    """
    _decode_large(chunk_size, total)


@pytest.mark.long
def test_segments_beyond_two_gibibytes() -> None:
    """
    The same with chunks of 64 KiB, beyond 2 GiB.
    """
    _decode_large(64 * KIB, 2200 * MIB)


def _decode_large(chunk_size: int, total: int) -> None:
    signer = Signer()
    chunk = bytes(range(256)) * (chunk_size // 256)
    digest = hashlib.sha256(chunk).hexdigest()
    decoder = make_decoder(SIGNED_CHUNKS, total)
    signature = SEED
    pending = bytearray()
    hashed = hashlib.sha256()
    decoded_size = 0
    count = total // chunk_size
    for number in range(count + 1):
        signature = signer.sign_chunk(digest if number < count else EMPTY, signature)
        size = chunk_size if number < count else 0
        pending += f"{size:x};chunk-signature={signature}\r\n".encode() + (chunk if size else b"") + b"\r\n"
        while len(pending) >= 102_400 or (number == count and pending):
            piece = bytes(pending[:102_400])
            del pending[:102_400]
            for view in decoder.feed(piece):
                decoded_size += len(view)
                hashed.update(view)
    decoder.finish()

    expected = hashlib.sha256()
    for _ in range(count):
        expected.update(chunk)
    assert decoded_size == total
    assert hashed.digest() == expected.digest()


MODE = st.sampled_from([SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])


@settings(max_examples=150, deadline=None)
@given(mode=MODE, size=st.integers(0, 40_000), chunk=st.integers(8192, 20_000), cuts=st.lists(st.integers(0, 50_000)))
def test_fragmentation_is_invisible(mode: str, size: int, chunk: int, cuts: list[int]) -> None:
    """
    However the network cuts an aws-chunked body, the same bytes come out.
    """
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    wire = Signer().encode(body, mode, SEED, chunk)
    edges = [0, *sorted(min(cut, len(wire)) for cut in cuts), len(wire)]
    pieces = [wire[start:end] for start, end in itertools.pairwise(edges)]

    assert decode(mode, size, pieces) == body


@settings(max_examples=300, deadline=None)
@given(mode=MODE, at=st.integers(0), change=st.integers(1, 255), step=st.sampled_from([0, 1, 7, 1000]))
def test_one_byte_changed_anywhere(mode: str, at: int, change: int, step: int) -> None:
    """
    Every change is found, except one that keeps the meaning: the case of a digit, a leading zero, the last CRLF.
    """
    body = b"0123456789abcdef" * 700
    wire = bytearray(Signer().encode(body, mode, SEED, 8192))
    place = at % len(wire)
    wire[place] ^= change
    changed = bytes(wire)
    pieces = [changed[start : start + step] for start in range(0, len(changed), step)] if step else [changed]

    verdict = decode(mode, len(body), pieces)

    assert verdict == decode(mode, len(body), [changed])
    assert isinstance(verdict, str) or verdict == body


@pytest.mark.parametrize(
    ("wire", "length", "error"),
    [
        (b"", 0, IncompleteBody),
        (b"0", 0, IncompleteBody),
        (b"0\r", 0, IncompleteBody),
        (b"5\r\nhello\r\n", 5, IncompleteBody),
        (b"5\r\nhello\r\n0\r\n", 6, IncompleteBody),
        (b"5\r\nhello0\r\n", 5, IncompleteBody),
        (b"5\nhello\r\n0\r\n\r\n", 5, IncompleteBody),
        (b"5\r\nhello\r\n5\r\nhello\r\n0\r\n\r\n", 10, InvalidChunkSizeError),
        (b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n" + b"a" * 9000, 0, MalformedTrailerError),
        (b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\nGET / HTTP/1.1\r\n", 0, IncompleteBody),
        (b"0\r\n\r\n", 0, MalformedTrailerError),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_broken_streams(wire: bytes, length: int, error: type[S3Error], step: int) -> None:
    """
    Missing, excess or misplaced bytes get S3's error.
    """
    pieces = [wire[start : start + step] for start in range(0, len(wire), step)] if step else [wire]

    assert decode(UNSIGNED_TRAILER, length, pieces) == error.__name__


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("ending", [b"\n", b"\r", b" " * MAX_CHUNK_HEADER_SIZE + b"\r\n", b" " * MAX_CHUNK_HEADER_SIZE])
@pytest.mark.parametrize("step", [0, 1, 1000])
def test_a_chunk_header_ends_with_crlf_within_its_limit(mode: str, ending: bytes, step: int) -> None:
    """
    No signature covers the end of a chunk's header, so only its form is checked.
    """
    body = b"0123456789abcdef" * 512
    wire = Signer().encode(body, mode, SEED, 8192).replace(b"\r\n", ending, 1)
    pieces = [wire[start : start + step] for start in range(0, len(wire), step)] if step else [wire]

    assert decode(mode, len(body), pieces) == "IncompleteBody"


def test_small_chunks_may_be_allowed() -> None:
    """
    The first of them is reported, and then no other one. The last chunk may be small for everybody.
    """
    found: list[str] = []
    decoder = AwsChunkedDecoder(
        4, parse_body_digests(index_headers([])), min_chunk_size=2, small_chunk=lambda: found.append("small")
    )
    decoder.feed(b"2\r\naa\r\n1\r\nb\r\n")
    assert found == []
    decoder.feed(b"1\r\nc\r\n0\r\n\r\n")
    decoder = AwsChunkedDecoder(
        3, parse_body_digests(index_headers([])), min_chunk_size=2, small_chunk=lambda: found.append("again")
    )
    pieces = decoder.feed(b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")

    assert b"".join(pieces) == b"abc"
    assert found == ["small", "again"]


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest.mark.parametrize("header", [b"zz\r\n", b"5" + b" " * (MAX_CHUNK_HEADER_SIZE - 1)])
def test_a_broken_chunk_header_is_refused_at_once(mode: str, header: bytes) -> None:
    """
    Nothing more is waited for, or kept, where no byte which follows can mend it.
    """
    decoder = make_decoder(mode, 8192)

    with pytest.raises(IncompleteBody):
        decoder.feed(header)


SHAPES = [b"0" * 63, b"0" * 64, b"0" * 65, b"0", b"zz", b"a" * 140, b"MEQCIA==", b"*" * 144, b"a,b", b"\xc3\xbc", b"\0"]
SHAPES += [b"z" * 64, b"A" * 64, b"0" * 62 + b"==", b"a,b:" * 16, b"\xc3\xbc" * 32, b"0" * 59, b"0" * 64 + b"cc"]


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
def test_a_signature_of_another_shape_is_wrong(mode: str, shape: bytes, step: int) -> None:
    """
    Any other text in the place of a signature is a wrong signature. A text of another length is broken framing: S3
    reads the bytes after the 64th character, and they are not the end of a line. This holds for the first chunk, the
    next, the last and the trailer.
    """
    body = b"0123456789abcdef" * 1024
    wire = Signer().encode(body, mode, SEED, 8192)
    places = [found.span(1) for found in re.finditer(rb"signature[=:]([0-9a-f]{64})", wire)]
    assert len(places) == (4 if mode == SIGNED_TRAILER else 3)
    for start, end in places:
        wrong = wire[:start] + shape + wire[end:]
        pieces = [wrong[at : at + step] for at in range(0, len(wrong), step)] if step else [wrong]
        expected = "SignatureDoesNotMatch" if len(shape) == 64 else "IncompleteBody"
        assert decode(mode, len(body), pieces) == expected


@pytest.mark.parametrize("between", [b"", b" ", b"\r", b"00;a=b", b"0" * 64 + b";a=b", b"0" * 300])
def test_what_is_no_signature_at_all(between: bytes) -> None:
    """
    An empty signature, an extension after it and a header that is too long are broken framing.
    """
    wire = b"2000;chunk-signature=%s\r\n" % between + b"a" * 8192 + b"\r\n"

    assert decode(SIGNED_CHUNKS, 8192, [wire]) == "IncompleteBody"


def test_nothing_beyond_the_length_comes_out() -> None:
    """
    Bytes beyond the declared length are counted, not given.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 8192)

    given = decoder.feed(b"4000\r\n" + b"a" * 16384)

    assert sum(map(len, given)) == 8192
    assert decoder.decoded_size == 16384


HELLO = b"5\r\nhello\r\n0\r\n"
CHECKSUM = b"x-amz-checksum-crc32:NhCmhg=="


@pytest.mark.parametrize(
    "wire",
    [
        pytest.param(b"0" * 16 + HELLO + CHECKSUM + b"\r\n\r\n", id="a size of 17 digits"),
        pytest.param(b"5;name=value" + HELLO[1:] + CHECKSUM + b"\r\n\r\n", id="an extension"),
        pytest.param(b"5 " + b"x" + HELLO[1:] + CHECKSUM + b"\r\n\r\n", id="a word after the size"),
        pytest.param(HELLO + CHECKSUM + b"\x01\r\n\r\n", id="a control character in a trailer's value"),
        pytest.param(HELLO + b"x-amz checksum:1\r\n" + CHECKSUM + b"\r\n\r\n", id="a trailer's name with a space"),
        pytest.param(HELLO + b":1\r\n" + CHECKSUM + b"\r\n\r\n", id="a trailer without a name"),
        pytest.param(HELLO + CHECKSUM, id="a trailer that is cut"),
        pytest.param(HELLO + CHECKSUM + b"\r\n\r\n\r", id="a cut line after the end"),
        pytest.param(HELLO + CHECKSUM + b"\n", id="a bare LF without its CRLF"),
        pytest.param(HELLO + CHECKSUM + b"\n" + CHECKSUM + b"\r\n\r\n", id="a bare LF before a trailer"),
        pytest.param(HELLO + CHECKSUM + b"\r\n\r\n" + CHECKSUM + b"\r\n", id="a trailer after the end"),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_framing_is_no_more_than_its_grammar(wire: bytes, step: int) -> None:
    """
    If one rule were left out, each of these would decode to the whole body, and another reader might see another body.
    """
    pieces = [wire[start : start + step] for start in range(0, len(wire), step)] if step else [wire]

    assert decode(UNSIGNED_TRAILER, 5, [HELLO + CHECKSUM + b"\r\n\r\n"]) == b"hello"
    assert decode(UNSIGNED_TRAILER, 5, pieces) == "IncompleteBody"


@pytest.mark.parametrize(
    ("mode", "old", "new", "error"),
    [
        pytest.param(SIGNED_CHUNKS, b"5;chunk", b"0" * 16 + b"5;chunk", "IncompleteBody", id="a size of 17 digits"),
        pytest.param(SIGNED_CHUNKS, b"\r\n\r\n", b"\r\n" + CHECKSUM + b"\r\n\r\n", "IncompleteBody", id="a trailer"),
        pytest.param(
            SIGNED_TRAILER, b"signature:", b"signature:0", "IncompleteBody", id="a trailer signature's length"
        ),
        pytest.param(
            SIGNED_TRAILER, b"\r\n\r\n", b"\r\n" + CHECKSUM + b"\r\n\r\n", "IncompleteBody", id="an unsigned trailer"
        ),
        pytest.param(SIGNED_TRAILER, CHECKSUM, CHECKSUM[:-3] + b"h==", "SignatureDoesNotMatch", id="another trailer"),
    ],
)
@pytest.mark.parametrize("step", [0, 1, 7])
def test_signed_framing_is_no_more_than_its_grammar(mode: str, old: bytes, new: bytes, error: str, step: int) -> None:
    """
    What no signature covers is refused, at any place.
    """
    wire = Signer().encode(b"hello", mode, SEED, 8192)
    assert decode(mode, 5, [wire]) == b"hello"
    assert wire.count(old) == 1

    changed = wire.replace(old, new)
    pieces = [changed[start : start + step] for start in range(0, len(changed), step)] if step else [changed]

    assert decode(mode, 5, pieces) == error


def test_a_wrong_end_of_a_chunk_is_refused_with_its_first_byte() -> None:
    """
    The decoder does not wait for more.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(b"5\r\nhello")

    with pytest.raises(IncompleteBody):
        decoder.feed(b"x")


def test_a_wrong_end_of_a_chunk_is_refused_with_its_second_byte() -> None:
    """
    It is refused whatever arrives with the first byte.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(b"5\r\nhello")

    with pytest.raises(IncompleteBody):
        decoder.feed(b"\rx")


def test_excess_is_read_up_to_a_bound() -> None:
    """
    A body far beyond its declared length is refused while it arrives, not only at its end.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(b"%x\r\n" % (1 << 40))
    decoder.feed(b"a" * MIB)

    with pytest.raises(IncompleteBody):
        decoder.feed(b"a" * 6)


def test_trailers_are_read_up_to_a_bound_all_together() -> None:
    """
    Many short lines may not have more bytes than a long one.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(HELLO)

    for _ in range(MAX_TRAILER_SIZE // 14):
        decoder.feed(b"a: 123456789\r\n")
    with pytest.raises(MalformedTrailerError):
        decoder.feed(b"a: 123456789\r\n")


def test_a_bare_lf_after_the_last_chunk_is_refused_at_once() -> None:
    """
    The same holds if it is the first byte that arrives.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(HELLO)

    with pytest.raises(IncompleteBody):
        decoder.feed(b"\n")


def test_the_bound_of_trailers_is_not_that_of_what_comes_before() -> None:
    """
    After a long chunk, the decoder waits for the rest of a cut trailer.
    """
    body = b"a" * 3 * MAX_TRAILER_SIZE
    wire = Signer().encode(body, UNSIGNED_TRAILER, SEED, len(body))

    for cut in range(1, 40):
        assert decode(UNSIGNED_TRAILER, len(body), [wire[:-cut], wire[-cut:]]) == body


def test_a_line_of_trailers_is_waited_for_up_to_the_bound() -> None:
    """
    The bound includes the line's end, so a line that fills it without an end is refused.
    """
    decoder = make_decoder(UNSIGNED_TRAILER, 5)
    decoder.feed(HELLO)
    decoder.feed(b"a" * (MAX_TRAILER_SIZE - 1))

    with pytest.raises(MalformedTrailerError):
        decoder.feed(b"a")


@pytest.mark.parametrize(
    ("headers", "has_trailer", "error"),
    [
        ([(b"x-amz-trailer", b"x-amz-checksum-crc32")], True, MalformedTrailerError),
        ([], True, IncompleteBody),
        ([], False, IncompleteBody),
    ],
)
def test_what_stands_where_the_announced_trailer_should(
    headers: list[tuple[bytes, bytes]], *, has_trailer: bool, error: type[S3Error]
) -> None:
    """
    S3 reports the announced trailer as missing; if none was announced, the body is not in chunks.
    """
    digests = parse_body_digests(index_headers(headers), has_trailer=has_trailer)
    decoder = AwsChunkedDecoder(5, digests, has_trailer=has_trailer)
    decoder.feed(HELLO)
    decoder.feed(b"\r\n")

    with pytest.raises(error):
        decoder.feed(b"a:b\r\n")


@pytest.mark.parametrize("mode", [UNSIGNED_TRAILER, SIGNED_CHUNKS])
def test_a_line_feed_is_no_chunk_header(mode: str) -> None:
    """
    It is refused at once, even as the first byte of a body: no header can begin with it.
    """
    with pytest.raises(IncompleteBody):
        make_decoder(mode, 5).feed(b"\n")
