"""
The result of a verified claim: the chain of a body's signatures, or nothing.
"""

from __future__ import annotations

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import Realm
from s3proxy.s3.address import parse_address
from s3proxy.s3.credential import Credential
from s3proxy.s3.head import parse_request_head
from s3proxy.sigv4.asymmetric import VerifyingKeys
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.claims import SignatureClaim
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.sigv4.verifier import check_signature
from tests.support.signer import EMPTY, NOW, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer


def chain_of(payload: str) -> ChunkChain | None:
    """
    Return the result for the verified signature of an upload.
    """
    signer = Signer()
    data, _ = signer.head("PUT", "/b/k", {"x-amz-decoded-content-length": "0"}, payload=payload)
    head = parse_request_head(data.partition(b"\r\n\r\n")[0])
    claim = read_claim(head, parse_address(head.raw_path, head.host, []), Realm(), NOW)
    assert isinstance(claim, SignatureClaim)
    return check_signature(claim, Credential("", (signer.secret,)), SigningKeys(2), VerifyingKeys(2))


def test_signed_chunks_have_a_chain_and_no_other_body_has() -> None:
    """
    Only their signatures depend on the signature of the head.
    """
    assert [chain_of(payload) is not None for payload in (SIGNED_CHUNKS, SIGNED_TRAILER)] == [True, True]
    assert [chain_of(payload) for payload in (EMPTY, UNSIGNED, UNSIGNED_TRAILER)] == [None, None, None]
