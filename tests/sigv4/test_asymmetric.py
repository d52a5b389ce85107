"""
SigV4A: keys, the suite at every intermediate step, chunks, and invalid signatures.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.s3.head import index_headers
from s3proxy.sigv4.asymmetric import ECDSA_ALGORITHM, VerifyingKeys, derive_private_key, region_set_matches
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.scope import CredentialScope
from tests.support.harness import encoded, load_vectors

KEYS = [vector for vector in load_vectors("s3-sigv4a") if vector["carrier"] == "key-derivation"]
SEEDS = [vector for vector in load_vectors("s3-sigv4a") if vector["carrier"] == "header"]
SUITE = load_vectors("suite-sigv4a")
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def key_of(vector: dict[str, Any]) -> Any:
    """
    The public key of a vector's credentials.
    """
    credentials = vector["credentials"]
    return VerifyingKeys(2).derive(credentials["secret_key"], encoded(credentials["access_key"]))


@pytest.mark.parametrize("vector", KEYS, ids=lambda vector: vector["name"])
def test_keys(vector: dict[str, Any]) -> None:
    """
    Private and public values are the published ones.
    """
    credentials = vector["credentials"]

    key = derive_private_key(credentials["secret_key"], encoded(credentials["access_key"]))

    numbers = key.private_numbers()
    assert numbers.private_value == int(vector["expected"]["private_key"], 16)
    assert numbers.public_numbers.x == int(vector["expected"]["public_x"], 16)
    assert numbers.public_numbers.y == int(vector["expected"]["public_y"], 16)


@pytest.mark.parametrize("vector", [*SUITE, *SEEDS], ids=lambda vector: vector["name"])
def test_each_step(vector: dict[str, Any]) -> None:
    """
    Canonical request and string to sign are the published ones, and the published signature verifies.
    """
    expected, request = vector["expected"], vector["request"]
    wanted = encoded(expected["canonical_request"])
    lines = wanted.split(b"\n")
    names, payload = lines[-2].split(b";"), lines[-1]
    path, _, query = encoded(request["target"]).partition(b"?")
    fields = index_headers((encoded(name), encoded(value)) for name, value in request["headers"])
    is_query = vector["carrier"] == "query"
    if vector.get("session_token_unsigned") and is_query:
        query = b"&".join(item for item in query.split(b"&") if not item.startswith(b"X-Amz-Security-Token"))

    uri = canonical_uri(path)
    if not vector.get("same_canonical_path_in_s3_mode", True):
        # These services normalise the path; S3 does not.
        assert uri != lines[1]
        uri = lines[1]
    text = canonical_request(
        encoded(request["method"]),
        uri,
        canonical_query(query, b"X-Amz-Signature" if is_query else None),
        canonical_headers(names, fields),
        b";".join(names),
        payload,
    )
    date = encoded(vector["date"])
    scope = CredentialScope(date[:8], None, encoded(vector["service"]))
    digest = hashlib.sha256(text).hexdigest().encode()
    string_to_sign = b"%s\n%s\n%s\n%s" % (ECDSA_ALGORITHM, date, bytes(scope), digest)
    key = key_of(vector)

    assert text == wanted
    assert string_to_sign == encoded(expected["string_to_sign"])
    assert key.matches(string_to_sign, encoded(expected["signature"]))
    assert not key.matches(string_to_sign + b"0", encoded(expected["signature"]))


@pytest.mark.parametrize("vector", SEEDS, ids=lambda vector: vector["name"])
def test_chunks(vector: dict[str, Any]) -> None:
    """
    The chain verifies with padding and without, and is chained to the signature without padding.
    """
    expected = vector["expected"]

    def make_chain() -> ChunkChain:
        date = encoded(vector["date"])
        scope = bytes(CredentialScope(date[:8], None))
        return ChunkChain(b"K", key_of(vector), ECDSA_ALGORITHM, date, scope, encoded(expected["signature"]), b"")

    for form in ("signature", "signature_padded"):
        chain = make_chain()
        for chunk in expected["chunks"]:
            chain.check_chunk(encoded(chunk["data_sha256"]), encoded(chunk[form]))
        trailer = expected.get("trailer")
        if trailer is not None:
            chain.check_trailer(encoded(trailer["canonical_trailers"]), encoded(trailer["signature"]))
    first, second = expected["chunks"][:2]
    with pytest.raises(SignatureDoesNotMatch):
        make_chain().check_chunk(encoded(second["data_sha256"]), encoded(second["signature"]))
    with pytest.raises(SignatureDoesNotMatch):
        make_chain().check_chunk(encoded(first["data_sha256"]), encoded(first["signature"]) + b"*" * 200)


def test_what_is_no_signature() -> None:
    """
    Bytes after the DER value, numbers outside of the curve's order, white space between digits: none verifies.
    """
    vector = SUITE[0]
    text, signature = encoded(vector["expected"]["string_to_sign"]), encoded(vector["expected"]["signature"])
    key = key_of(vector)
    r, s = decode_dss_signature(bytes.fromhex(signature.decode()))
    others = [(0, 0), (r, 0), (0, s), (ORDER, s), (r + ORDER, s), (r, s + ORDER), (s, r)]

    assert key.matches(text, signature)
    assert key.matches(text, signature.upper())
    for claimed in (
        signature + b"00",
        signature[:-2],
        signature[:-1],
        signature[:4] + b" " + signature[4:],
        b"",
        b"zz",
        "é".encode(),
        *(encode_dss_signature(*pair).hex().encode() for pair in others),
    ):
        assert not key.matches(text, claimed)


@pytest.mark.parametrize(
    ("region_set", "holds"),
    [
        (b"us-east-1", True),
        (b"US-EAST-1", True),
        (b"*", True),
        (b"us-*", True),
        (b"*-1", True),
        (b"u*-*-1", True),
        (b",us-east-1", True),
        (b"eu-west-1,us-east-1", True),
        (b"us-east-*1", True),
        (b"us-east-1*", True),
        (b"eu-west-1, us-east-1", False),
        (b"us-east-?", False),
        (b"us-east-11", False),
        (b"us-east-1-*1", False),
        (b"", False),
        (b",", False),
        (b"*a" * 20_000, False),
    ],
)
def test_region_sets(region_set: bytes, holds: bool) -> None:
    """
    An entry must be the whole name of a region; only an asterisk stands for other characters.
    """
    assert region_set_matches(region_set, (b"us-east-1", b"ap-south-9")) == holds


def test_every_vector_is_looked_at() -> None:
    """
    No vector is left out.
    """
    assert (len(KEYS), len(SEEDS), len(SUITE)) == (4, 2, 76)


@pytest.mark.parametrize("region_set", [b"us-east-1*1", b"us*1*1", b"us-east-*-east-1", b"us*2", b"eu*1"])
def test_both_ends_of_a_pattern(region_set: bytes) -> None:
    """
    A name begins with one end and ends with the other, without an overlap.
    """
    assert not region_set_matches(region_set, [b"us-east-1"])


@pytest.mark.parametrize(
    ("region_set", "holds"),
    [
        (b"us-east-1*", True),
        (b"*us-east-1", True),
        (b"us-east", False),
        (b"us-east-11", False),
        (b"", False),
        (b"*a*", True),
        (b"*us*", True),
        (b"*1*", True),
        (b"us*st*st*1", False),
        (b"us*-*-*1", True),
        (b"us*-*-*-*", False),
    ],
)
def test_a_pattern_takes_each_character_once(region_set: bytes, holds: bool) -> None:
    """
    The texts between the stars of a pattern match different characters of the name, between its two ends.
    """
    assert region_set_matches(region_set, [b"us-east-1"]) is holds


def test_public_keys_are_kept_up_to_a_bound() -> None:
    """
    Requests with unknown keys do not fill memory; the most recently used key stays.
    """
    keys = VerifyingKeys(2)

    first = keys.derive("secret", b"ONE")
    keys.derive("secret", b"TWO")
    assert keys.derive("secret", b"ONE") is first
    third = keys.derive("secret", b"THREE")

    assert repr(keys) == "<VerifyingKeys: 2 of 2>"
    assert keys.derive("secret", b"THREE") is third
    assert keys.derive("secret", b"ONE") is first


@pytest.mark.parametrize("tries", [1, 2, 254])
def test_a_candidate_beyond_the_order_is_no_key(monkeypatch: pytest.MonkeyPatch, tries: int) -> None:
    """
    The next counter gives the next candidate, up to the last. Such a candidate occurs once in 2 ** 32 secrets.
    """
    texts: list[bytes] = []

    def digest(secret: bytes, text: bytes, name: str) -> bytes:
        texts.append(text)
        return (ORDER - 2 if len(texts) == tries else ORDER - 1).to_bytes(32, "big")

    monkeypatch.setattr("s3proxy.sigv4.asymmetric.hmac.digest", digest)

    key = derive_private_key("secret", b"ID")

    assert key.private_numbers().private_value == ORDER - 1
    counters = [text.removesuffix(b"\x00\x00\x01\x00")[-1] for text in texts]
    assert counters == list(range(1, tries + 1))


def test_no_candidate_is_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The number of counters is limited.
    """
    monkeypatch.setattr("s3proxy.sigv4.asymmetric.hmac.digest", lambda *given: b"\xff" * 32)

    with pytest.raises(ValueError, match="no key"):
        derive_private_key("secret", b"ID")
