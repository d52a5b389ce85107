"""
The chain of signatures: what is a signature, and what each one is compared with.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, PADDED_SIGNATURE_SIZE
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.scope import HMAC_ALGORITHM

SHA256 = b"a" * 64


class RecordingKey:
    """
    A key that accepts one text as the signature of everything.
    """

    def __init__(self, right: bytes) -> None:
        self.right = right
        self.texts: list[bytes] = []

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Compare.
        """
        self.texts.append(text)
        return claimed == self.right


def chain_of(key: RecordingKey, algorithm: bytes) -> ChunkChain:
    """
    A chain after its request.
    """
    return ChunkChain(b"ID", key, algorithm, b"20260301T120000Z", b"scope", b"seed", b"canonical")


def test_padding_fills_a_signature_to_its_full_size() -> None:
    """
    A padded signature is the text before its asterisks; one that is padded to another size is refused.
    """
    key = RecordingKey(b"3045")
    padded = b"3045".ljust(PADDED_SIGNATURE_SIZE, b"*")

    chain_of(key, ECDSA_ALGORITHM).check_chunk(SHA256, padded)
    chain_of(key, ECDSA_ALGORITHM).check_chunk(SHA256, b"3045")
    for claimed in (padded[:-1], padded + b"*", b"3045*"):
        with pytest.raises(SignatureDoesNotMatch):
            chain_of(key, ECDSA_ALGORITHM).check_chunk(SHA256, claimed)
    with pytest.raises(SignatureDoesNotMatch):
        chain_of(key, HMAC_ALGORITHM).check_chunk(SHA256, padded)


def test_each_signature_is_chained_to_the_one_before() -> None:
    """
    A chunk that is left out, repeated or moved has another text. The next one is chained to the signature without
    padding.
    """
    key = RecordingKey(b"3045")
    chain = chain_of(key, ECDSA_ALGORITHM)

    chain.check_chunk(SHA256, b"3045".ljust(PADDED_SIGNATURE_SIZE, b"*"))
    chain.check_chunk(SHA256, b"3045")
    chain.check_trailer(b"name:value\n", b"3045")

    previous = [text.split(b"\n")[3] for text in key.texts]
    assert previous == [b"seed", b"3045", b"3045"]
    assert [text.split(b"\n")[0] for text in key.texts] == [
        ECDSA_ALGORITHM + b"-PAYLOAD",
        ECDSA_ALGORITHM + b"-PAYLOAD",
        ECDSA_ALGORITHM + b"-TRAILER",
    ]


def test_a_wrong_signature_ends_the_chain() -> None:
    """
    The error has the chunk's own text; nothing is chained to a refused chunk.
    """
    key = RecordingKey(b"3045")
    chain = chain_of(key, HMAC_ALGORITHM)

    with pytest.raises(SignatureDoesNotMatch) as refusal:
        chain.check_chunk(SHA256, b"0" * 64)

    assert dict(refusal.value.elements)["StringToSign"] == key.texts[0]
    chain.check_chunk(SHA256, b"3045")
    assert key.texts[0] == key.texts[1]
