"""
Secrets are compared in a time that does not show how much of a guess was right.
"""

from __future__ import annotations

import ast
import hashlib
import hmac
from collections.abc import Callable
from pathlib import Path

import pytest

import s3proxy
from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential, check_session
from s3proxy.s3.errors import InvalidAccessKeyId, InvalidToken, SignatureDoesNotMatch, XAmzContentSHA256Mismatch
from s3proxy.s3.head import Fields, parse_request_head
from s3proxy.s3.payload import UNSIGNED
from s3proxy.sigv2.authorization import V2Claim
from s3proxy.sigv2.verifier import check_signature as check_v2_signature
from s3proxy.sigv2.verifier import sign
from s3proxy.sigv4.asymmetric import VerifyingKeys
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.claims import FormClaim, SignatureClaim
from s3proxy.sigv4.scope import HMAC_ALGORITHM, CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, SigningKeys, derive_signing_key
from s3proxy.sigv4.verifier import check_form_signature, check_signature, string_to_sign
from tests.support.harness import NOW

HEAD = parse_request_head(b"GET /b/k HTTP/1.1\r\nHost: h")
SCOPE = CredentialScope(b"20260301", b"us-east-1")
SECRETS = ("first secret", "second secret")
CREDENTIAL = Credential("K", SECRETS)
DATE = b"20260301T120000Z"


class Guess(bytes):
    """
    Bytes that must not be compared with ``==``, which stops at the first byte that differs.
    """

    __hash__ = bytes.__hash__

    def __eq__(self, other: object) -> bool:
        raise AssertionError("compared by ==")

    def __ne__(self, other: object) -> bool:
        raise AssertionError("compared by !=")


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """
    The guesses that were compared in constant time, in order, with repeats.
    """
    seen: list[bytes] = []
    compare = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        seen.append(bytes(other if isinstance(other, Guess) else one))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", spy)
    return seen


def v4_claim(signature: bytes) -> SignatureClaim:
    return SignatureClaim(
        Carrier.V4_HEADER,
        HEAD,
        b"K",
        Guess(signature),
        None,
        UNSIGNED,
        (b"host",),
        HMAC_ALGORITHM,
        SCOPE,
        DATE,
        b"host",
    )


def check_v4(signature: bytes) -> None:
    check_signature(v4_claim(signature), CREDENTIAL, SigningKeys(), VerifyingKeys())


def check_v4_form(signature: bytes) -> None:
    claim = FormClaim(Carrier.V4_FORM, HEAD, b"K", Guess(signature), None, UNSIGNED, (), b"policy", SCOPE)
    check_form_signature(claim, CREDENTIAL, SigningKeys())


def v2_claim(signature: bytes, *texts: bytes) -> V2Claim:
    return V2Claim(Carrier.V2_HEADER, HEAD, b"K", Guess(signature), None, UNSIGNED, (), texts)


def check_v2(signature: bytes) -> None:
    check_v2_signature(v2_claim(signature, b"one", b"two"), SECRETS)


def chain() -> ChunkChain:
    key = SigningKey(derive_signing_key(SECRETS[0], SCOPE))
    return ChunkChain(b"K", key, HMAC_ALGORITHM, DATE, bytes(SCOPE), b"seed", b"")


def v4_signature(text: bytes, secret: str) -> bytes:
    return SigningKey(derive_signing_key(secret, SCOPE)).sign_for_backend(text)


@pytest.mark.parametrize(
    ("check", "times"),
    [
        (check_v4, 2),
        (check_v4_form, 2),
        (check_v2, 4),
        (lambda guess: chain().check_chunk(b"0" * 64, Guess(guess)), 1),
        (lambda guess: chain().check_trailer(b"a:b\n", Guess(guess)), 1),
    ],
    ids=["V4", "V4 form", "V2", "chunk", "trailer"],
)
@pytest.mark.parametrize("guess", [b"", b"0", b"0" * 64, b"\xff" * 64, b"0" * 100_000])
def test_a_wrong_signature(check: Callable[[bytes], None], times: int, guess: bytes, compared: list[bytes]) -> None:
    """
    A guess of any length is compared with the signature of each secret, and never with ``==``.
    """
    with pytest.raises(SignatureDoesNotMatch):
        check(guess)

    assert compared == [guess] * times


@pytest.mark.parametrize("right", SECRETS)
def test_every_secret_is_tried(right: str, compared: list[bytes]) -> None:
    """
    The time does not show which of two secrets a client has.
    """
    claim = v4_claim(b"")
    v4 = v4_signature(string_to_sign(claim, claim.canonical_request()), right)
    form = v4_signature(b"policy", right)
    v2 = [sign(right, text) for text in (b"one", b"two")]

    check_v4(v4)
    check_v4_form(form)
    for signature in v2:
        check_v2(signature)

    assert compared == [v4] * 2 + [form] * 2 + [v2[0]] * 4 + [v2[1]] * 4


TEMPORARY = Credential("K", SECRETS, session_token="the token", expires_at=NOW)


@pytest.mark.parametrize(
    ("guess", "known", "error"),
    [
        (b"the tokem", frozenset({b"the token"}), InvalidToken),
        (b"t", frozenset({b"the token"}), InvalidToken),
        (b"the token and more", frozenset({b"the token"}), InvalidToken),
        (b"another's", [b"another's"], InvalidAccessKeyId),
    ],
)
def test_a_wrong_session_token(
    guess: bytes, known: frozenset[bytes] | list[bytes], error: type[Exception], compared: list[bytes]
) -> None:
    """
    The token is compared in constant time. Whether it belongs to another key is looked up by its hash, which differs
    unless the whole token is right.
    """
    token = Guess(guess) if isinstance(known, frozenset) else guess

    with pytest.raises(error):
        check_session(b"K", token, TEMPORARY, known, NOW)

    assert len(compared) == 1


def test_the_right_session_token(compared: list[bytes]) -> None:
    """
    It passes, and was compared in constant time.
    """
    before = NOW.replace(hour=1)

    assert check_session(b"K", Guess(b"the token"), TEMPORARY, frozenset(), before) is TEMPORARY
    assert compared == [b"the token"]


def test_a_signed_hash(compared: list[bytes]) -> None:
    """
    Only the client that signed it knows the hash of a body.
    """
    digests = parse_body_digests(Fields(), claimed_sha256=Guess(b"0" * 64))
    digests.update(b"hello")

    with pytest.raises(XAmzContentSHA256Mismatch):
        digests.check([])

    assert compared == [b"0" * 64]
    right = parse_body_digests(Fields(), claimed_sha256=Guess(hashlib.sha256(b"").hexdigest().encode()))
    right.check([])


SECRET_WORDS = ("signature", "token", "secret", "hmac")
ROOMS = ("sigv4", "sigv2", "postobject", "awschunked")
FILES = ("authentication/verdict.py", "exchange/replay.py", "s3/credential.py", "s3/claim.py")


def comparisons(tree: ast.AST) -> list[str]:
    """
    Return the sides of each ``==`` and ``!=`` that involve a secret: no constants, no lengths.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops):
            for side in (node.left, *node.comparators):
                text = ast.unparse(side)
                if (
                    not text.isupper()
                    and not text.startswith("len(")
                    and any(word in text.lower() for word in SECRET_WORDS)
                ):
                    found.append(ast.unparse(node))
    return found


def test_no_secret_is_compared_by_its_text() -> None:
    """
    In the rooms that authenticate, no signature, token or secret is a side of ``==``.
    """
    root = Path(s3proxy.__file__).parent
    paths = [*(path for room in ROOMS for path in sorted((root / room).glob("*.py"))), *(root / file for file in FILES)]

    found = {path.name: comparisons(ast.parse(path.read_text())) for path in paths}

    assert {name: texts for name, texts in found.items() if texts} == {}
    assert comparisons(ast.parse("a.token != b.session_token")) != []
    assert comparisons(ast.parse("len(signature) == SIGNATURE_SIZE")) == []
