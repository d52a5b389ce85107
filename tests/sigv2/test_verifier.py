"""
How a Signature V2 is compared.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.claim import Carrier
from s3proxy.s3.errors import SignatureDoesNotMatch
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.payload import UNSIGNED
from s3proxy.sigv2 import verifier
from s3proxy.sigv2.authorization import V2Claim
from s3proxy.sigv2.verifier import check_signature, sign

HEAD = RequestHead(b"GET", b"/b/k", b"HTTP/1.1", [], Fields())


def claim_of(signature: bytes, *texts: bytes) -> V2Claim:
    """
    A claim over any texts that may have been signed.
    """
    return V2Claim(Carrier.V2_HEADER, HEAD, b"ID", signature, None, UNSIGNED, (), texts or (b"text",))


def test_a_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The verdict is that of `hmac.compare_digest`: the time of an ordinary comparison shows how much of it was right.
    """
    signature = sign("secret", b"text")
    compared: list[tuple[bytes, bytes]] = []

    def compare(computed: bytes, claimed: bytes) -> bool:
        compared.append((computed, claimed))
        return False

    monkeypatch.setattr(verifier.hmac, "compare_digest", compare)

    with pytest.raises(SignatureDoesNotMatch):
        check_signature(claim_of(signature), ["secret"])
    assert compared == [(signature, signature)]


def test_every_secret_and_text_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The time does not show which of them it was.
    """
    compared = []
    compare = verifier.hmac.compare_digest
    monkeypatch.setattr(verifier.hmac, "compare_digest", lambda *given: compared.append(given) or compare(*given))

    check_signature(claim_of(sign("first", b"text"), b"text", b"text/"), ["first", "second"])

    assert len(compared) == 4


@pytest.mark.parametrize("signature", [b"", sign("secret", b"other"), sign("secret", b"text")[:-1], b"x" * 28])
def test_what_is_no_signature(signature: bytes) -> None:
    """
    Neither a part of the signature nor the signature of another text or by another secret is accepted.
    """
    with pytest.raises(SignatureDoesNotMatch):
        check_signature(claim_of(signature), ["secret", "former"])


def test_a_refusal_repeats_the_text_that_s3_signs() -> None:
    """
    If several texts are tried, it is the first: clients sign the others by mistake.
    """
    with pytest.raises(SignatureDoesNotMatch) as refusal:
        check_signature(claim_of(b"wrong", b"text", b"text/"), ["secret"])

    assert dict(refusal.value.elements)["StringToSign"] == b"text"
