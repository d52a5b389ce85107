"""
The published examples and suites of Signature V4, at every intermediate step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted

from s3proxy.s3.date import parse_basic_iso
from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.s3.head import Fields, index_headers
from s3proxy.sigv4.canonical import canonical_headers, canonical_query, canonical_request, canonical_uri
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.scope import HMAC_ALGORITHM, CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key
from tests.support.harness import Harness, encoded, load_vectors, material, turns


def _params(*names: str) -> Iterator[Any]:
    for name in names:
        for vector in load_vectors(name):
            if vector["carrier"] in {"header", "query"}:
                yield pytest.param(vector, id=f"{name}:{vector['name']}")


def _parts(vector: dict[str, Any]) -> tuple[bytes, bytes, Fields]:
    request = vector["request"]
    path, _, query = encoded(request["target"]).partition(b"?")
    return path, query, index_headers((encoded(name), encoded(value)) for name, value in request["headers"])


@pytest.mark.parametrize("vector", list(_params("s3-sigv4", "s3-canonical", "suite-sigv4", "suite-sigv4-legacy")))
def test_each_step(vector: dict[str, Any]) -> None:
    """
    Canonical request, string to sign and signature are the published ones.
    """
    expected = vector["expected"]
    wanted = encoded(expected["canonical_request"])
    lines = wanted.split(b"\n")
    names, payload = lines[-2].split(b";"), lines[-1]
    path, query, fields = _parts(vector)
    is_query = vector["carrier"] == "query"
    if vector.get("session_token_unsigned") and is_query:
        # The suites' services may allow a token that was added after signing; S3 signs it.
        query = b"&".join(item for item in query.split(b"&") if not item.startswith(b"X-Amz-Security-Token"))

    uri = canonical_uri(path)
    if not vector.get("same_canonical_path_in_s3_mode", True):
        # These services normalise the path; S3 does not. The data has what S3 would sign; the rest must match.
        if "s3_mode_canonical_path" in vector:
            assert uri == encoded(vector["s3_mode_canonical_path"])
        assert uri != lines[1]
        uri = lines[1]
    elif "canonical_path" in expected:
        assert uri == encoded(expected["canonical_path"])
    text = canonical_request(
        encoded(vector["request"]["method"]),
        uri,
        canonical_query(query, b"X-Amz-Signature" if is_query else None),
        canonical_headers(names, fields),
        b";".join(names),
        payload,
    )
    date = encoded(vector["date"])
    scope = CredentialScope(date[:8], encoded(vector["region"]), encoded(vector["service"]))
    digest = hashlib.sha256(text).hexdigest().encode()
    string_to_sign = b"AWS4-HMAC-SHA256\n%s\n%s\n%s" % (date, bytes(scope), digest)
    key = SigningKey(derive_signing_key(vector["credentials"]["secret_key"], scope))

    assert text == wanted
    assert string_to_sign == encoded(expected["string_to_sign"])
    assert key.matches(string_to_sign, expected["signature"].encode())
    assert not key.matches(string_to_sign, expected["signature"].upper().encode() + b"0")


CHUNKED = [vector for vector in load_vectors("s3-sigv4") if "chunks" in vector["expected"]]


@pytest.mark.parametrize("vector", CHUNKED, ids=lambda vector: vector["name"])
def test_the_chain_of_the_documentation(vector: dict[str, Any]) -> None:
    """
    Each chunk signature of the published uploads verifies, in order, and no other one does.
    """
    date = encoded(vector["date"])
    scope = CredentialScope(date[:8], b"us-east-1")
    key = SigningKey(derive_signing_key(vector["credentials"]["secret_key"], scope))

    def make_chain() -> ChunkChain:
        seed = vector["expected"]["signature"].encode()
        return ChunkChain(b"AKIAIOSFODNN7EXAMPLE", key, HMAC_ALGORITHM, date, bytes(scope), seed, b"")

    chunks = vector["expected"]["chunks"]
    chain = make_chain()
    sizes = [65536, 1024, 0]
    for chunk, size in zip(chunks, sizes, strict=True):
        signature = chunk["signature"] if isinstance(chunk, dict) else chunk
        chain.check_chunk(hashlib.sha256(b"a" * size).hexdigest().encode(), signature.encode())
    second = chunks[1]["signature"] if isinstance(chunks[1], dict) else chunks[1]
    with pytest.raises(SignatureDoesNotMatch):
        make_chain().check_chunk(hashlib.sha256(b"a" * 1024).hexdigest().encode(), second.encode())


def test_the_trailer_of_three_fields() -> None:
    """
    Trailer lines are signed after the last chunk's signature.
    """
    (vector,) = [v for v in load_vectors("s3-sigv4") if v["carrier"] == "trailer"]
    date = encoded(vector["date"])
    scope = CredentialScope(date[:8], b"us-east-1")
    key = SigningKey(derive_signing_key(vector["credentials"]["secret_key"], scope))
    previous = vector["input"]["previous_signature"].encode()
    lines = vector["expected"]["canonical_trailers"].encode()

    def make_chain() -> ChunkChain:
        return ChunkChain(b"AKIAIOSFODNN7EXAMPLE", key, HMAC_ALGORITHM, date, bytes(scope), previous, b"")

    make_chain().check_trailer(lines, vector["expected"]["signature"].encode())
    with pytest.raises(SignatureDoesNotMatch):
        make_chain().check_trailer(lines.replace(b"2nd", b"2ne"), vector["expected"]["signature"].encode())


def _as_sent(vector: dict[str, Any]) -> tuple[bytes, bytes]:
    """
    A vector of S3 as a request: those that were computed get the header with their signature.
    """
    request = vector["request"]
    headers = list(request["headers"])
    if vector["carrier"] == "header" and not any(name.lower() == "authorization" for name, _ in headers):
        names = vector["expected"]["canonical_request"].split("\n")[-2]
        scope = f"{vector['date'][:8]}/us-east-1/s3/aws4_request"
        value = f"AWS4-HMAC-SHA256 Credential={vector['credentials']['access_key']}/{scope}, SignedHeaders={names}, "
        headers.append(["Authorization", f"{value}Signature={vector['expected']['signature']}"])
    body = material(request.get("payload"))
    if vector["expected"].get("chunks"):
        body = b""
        for chunk, size in zip(vector["expected"]["chunks"], (65536, 1024, 0), strict=True):
            signature = chunk["signature"] if isinstance(chunk, dict) else chunk
            body += b"%x;chunk-signature=%s\r\n%s" % (size, signature.encode(), b"a" * size + b"\r\n" * bool(size))
        trailer = vector["expected"].get("trailer")
        if trailer:
            lines = trailer["canonical_trailers"].replace("\n", "\r\n")
            body += f"{lines}x-amz-trailer-signature:{trailer['signature']}\r\n".encode()
        body += b"\r\n"
        headers = [pair for pair in headers if pair[0].lower() != "content-length"] + [
            ["Content-Length", str(len(body))]
        ]
    elif body and not any(name.lower() == "content-length" for name, _ in headers):
        headers.append(["Content-Length", str(len(body))])
    head = f"{request['method']} {request['target']} HTTP/1.1\r\n" + "".join(f"{n}: {v}\r\n" for n, v in headers)
    return encoded(head) + b"\r\n", body


WITHOUT_BUCKET = {"path-leading-double-slash-kept", "path-escaped-leading-slash"}
"""
Their canonical form is right, but their path names a key without a bucket: they are refused before their signature is
verified.
"""

WIRED = [
    vector
    for vector in (*load_vectors("s3-sigv4"), *load_vectors("s3-canonical"))
    if vector["carrier"] != "trailer" and vector["verdict"] == "accept" and vector["name"] not in WITHOUT_BUCKET
]


@pytest.mark.parametrize("vector", WIRED, ids=lambda v: v["name"])
@pytest_twisted.ensureDeferred
async def test_on_the_wire(vector: dict[str, Any]) -> None:
    """
    Every vector of S3 is accepted through real sockets; the same request with another signature is refused, and nothing
    is stored.
    """
    now = parse_basic_iso(vector["date"].encode())
    assert now is not None
    head, body = _as_sent(vector)
    signature = vector["expected"]["signature"].encode()
    other = signature[:-1] + (b"0" if signature[-1:] != b"0" else b"1")
    for sent, wanted in ((head, True), (head.replace(signature, other), False)):
        harness = Harness(now=now)
        response = await harness.request(sent, body)
        await turns(3)
        await harness.close()
        assert response is not None
        assert (response.status < 400) == wanted, response.body
        assert len(harness.backend.requests) == wanted


def test_every_vector_is_looked_at() -> None:
    """
    No vector is left out.
    """
    assert len(list(_params("s3-sigv4", "s3-canonical", "suite-sigv4", "suite-sigv4-legacy"))) == 7 + 73 + 76 + 34
    assert len(WIRED) == 7 + 73 - len(WITHOUT_BUCKET)
