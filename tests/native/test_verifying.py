"""
The native rooms believe the signatures that the Python rooms believe, over the same text. A request that the Python
rooms refuse gets the same error.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import verify_claim
from s3proxy.s3.address import parse_address
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.date import parse_basic_iso
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.native import NATIVE
from s3proxy.s3.payload import KNOWN_PAYLOADS, Payload
from s3proxy.sigv4 import coverage
from s3proxy.sigv4.asymmetric import VerifyingKeys
from s3proxy.sigv4.chunks import ChunkChain
from s3proxy.sigv4.claims import SignatureClaim
from s3proxy.sigv4.coverage import find_coverage
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signed_headers import split_list
from s3proxy.sigv4.signing_key import SigningKey, SigningKeys, derive_signing_key
from s3proxy.sigv4.verifier import check_signature, string_to_sign
from tests.native.data_set import head_of, request_heads
from tests.native.drawing import spoiled_signatures
from tests.native.rooms import COUNT, Watched, by_python, described
from tests.support.drawn_heads import METHODS, NAMES, VALUES, draw_headers, outcome
from tests.support.harness import NOW, data_set_credentials, encoded, load_vectors
from tests.support.signer import SIGNED_CHUNKS, UNSIGNED, Signer

pytestmark = [pytest.mark.native, pytest.mark.usefixtures("tables")]

SEED = 20261204
SECRETS = ("secret", "another/Secret+", "ß")
_KEYS = VerifyingKeys()
_PAYLOADS = (*KNOWN_PAYLOADS.values(), Payload(b"A" * 64, sha256=b"a" * 64))
_TARGETS = (
    b"/",
    b"/b/k",
    b"/b//k/../~_.-",
    b"/b/%20k",
    b"/b/k%2",
    b"/b/\xe9",
    b"/b/k?",
    b"/b/k?acl",
    b"/b?a=%2",
    b"/+",
)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """
    What the native parts of coverages decide.
    """
    watched = Watched(NATIVE)
    made = SimpleNamespace(Coverage=lambda *arguments: watched.beside(NATIVE.Coverage(*arguments)))
    monkeypatch.setattr(coverage, "NATIVE", made)
    return watched


def verdict_of(step: Callable[..., Any], *arguments: Any) -> Any:
    """
    Return what a function returns, or its error with all that a client is told.
    """
    try:
        return step(*arguments)
    except S3Error as error:
        return type(error), vars(error)


def parts_of(chain: ChunkChain | None) -> Any:
    """
    Return a chain of signatures in comparable parts. Its key is another object in each of the rooms.
    """
    if chain is None:
        return None
    key = chain._key
    parts = {name: getattr(chain, name) for name in ChunkChain.__slots__ if name != "_key"}
    return parts, key.sign_for_backend(b"text") if isinstance(key, SigningKey) else type(key)


def right_signature(claim: SignatureClaim, secret: str) -> bytes:
    """
    Return the signature that the Python rooms expect; of zeros if the request has no canonical form.
    """
    request = by_python(outcome, claim.canonical_request)
    if isinstance(request, type):
        return b"0" * 64
    key = by_python(SigningKey, derive_signing_key(secret, claim.scope))
    signature: bytes = key.sign_for_backend(string_to_sign(claim, request))
    return signature


class Comparison:
    """
    Verifies claims in both rooms.

    Attributes:
        accepted: Claims that were believed.
        refused: Claims that were not.
    """

    def __init__(self, watched: Watched) -> None:
        self.accepted = 0
        self.refused = 0
        self._watched = watched
        self._native_keys = SigningKeys(8)
        self._python_keys = SigningKeys(8)

    @property
    def decided(self) -> int:
        """
        The number of claims that the native rooms verified.
        """
        return self._watched.decided["verify"]

    def compare(self, claim_of: Callable[[bytes], SignatureClaim], claimed: bytes, secrets: Sequence[str]) -> None:
        """
        Verify a claim with a claimed signature.
        """

        def verify(keys: SigningKeys) -> Any:
            claim = claim_of(claimed)
            found = verdict_of(check_signature, claim, Credential("KEY", tuple(secrets)), keys, _KEYS)
            return (parts_of(found) if not isinstance(found, tuple) else found), claim.verified_text

        before = self.decided
        found = [verify(self._native_keys) for _ in range(2)]
        wanted = by_python(verify, self._python_keys)
        assert found == [wanted, wanted], (claimed, vars_of(claim_of(claimed)))
        if wanted[1]:
            self.accepted += 1
        else:
            self.refused += 1
            assert self.decided == before, vars_of(claim_of(claimed))

    def compare_signatures(
        self, rng: random.Random, claim_of: Callable[[bytes], SignatureClaim], secrets: Sequence[str]
    ) -> None:
        """
        Verify a claim with the right signature, with that of the request without a port, and with others.
        """
        claim = claim_of(b"")
        for secret in secrets or SECRETS[:1]:
            right = right_signature(claim, secret)
            self.compare(claim_of, right, secrets)
        portless = by_python(outcome, claim.canonical_request_without_port)
        if isinstance(portless, bytes):
            key = SigningKey(derive_signing_key(SECRETS[0], claim.scope))
            self.compare(claim_of, key.sign_for_backend(string_to_sign(claim, portless)), secrets)
        for claimed in rng.sample(spoiled_signatures(rng, right), 3):
            self.compare(claim_of, claimed, secrets)


def vars_of(claim: SignatureClaim) -> Any:
    """
    Return what a failure must show of a claim.
    """
    return claim.head.method, claim.head.raw_target, claim.head.headers, claim.raw_signed_headers, claim.payload.raw


def claim_over(
    head: RequestHead,
    raw_signed_headers: bytes,
    payload: Payload,
    scope: CredentialScope,
    date: bytes,
    algorithm: bytes = b"AWS4-HMAC-SHA256",
    carrier: Carrier = Carrier.V4_HEADER,
) -> Callable[[bytes], SignatureClaim]:
    """
    Return a function that makes a claim with a signature.
    """

    def claim_of(signature: bytes) -> SignatureClaim:
        return SignatureClaim(
            carrier,
            head,
            b"KEY",
            signature,
            None,
            payload,
            split_list(raw_signed_headers)[0],
            algorithm,
            scope,
            date,
            raw_signed_headers,
            find_coverage(head.names, raw_signed_headers),
        )

    return claim_of


def draw_claim(rng: random.Random) -> Callable[[bytes], SignatureClaim] | None:
    """
    Return a function that makes a claim with a signature; None if the drawn head is not well-formed.
    """
    framing = {b"host", b"content-length", b"transfer-encoding", b"connection"}
    if rng.random() < 0.2:
        headers = draw_headers(rng)
    else:
        names = [name for name in rng.sample(NAMES, rng.randrange(1, 8)) if name.lower() not in framing]
        plain = tuple(value for value in VALUES if b" " not in value and b"\t" not in value)
        headers = [(name, rng.choice(VALUES if rng.random() < 0.1 else plain)) for name in names]
    lines = b"".join([b"\r\n%s: %s" % header for header in headers])
    method = rng.choice(METHODS if rng.random() < 0.1 else (b"GET", b"PUT", b"P-T"))
    target = rng.choice(_TARGETS) if rng.random() < 0.5 else b"/b/key"
    host = rng.choice((b"s3.test", b"s3.test", b"s3.test:80", b"s3.test:443", b"[::1]:80", b":80", b"%s"))
    head = outcome(parse_request_head, b"%s %s HTTP/1.1\r\nHost: %s%s" % (method, target, host, lines))
    if isinstance(head, type):
        return None
    listed = [name for name in head.fields if rng.random() < 0.8]
    if rng.random() < 0.3:
        listed += rng.choices((*NAMES, b"", b" ", b"host ", b"%", b"a%sb", b"\xff", *head.fields), k=2)
        rng.shuffle(listed)
    return claim_over(
        head,
        b";".join(listed) or b"host",
        rng.choice(_PAYLOADS),
        CredentialScope(b"20260301", rng.choice((b"us-east-1", b"", b"%s"))),
        b"20260301T120000Z",
        rng.choice((b"AWS4-HMAC-SHA256", b"aws4-hmac-sha256")),
        Carrier.V4_HEADER if rng.random() < 0.9 else Carrier.V4_QUERY,
    )


def test_drawn_claims(watched: Watched) -> None:
    """
    With any names and values, lists, targets and signatures.
    """
    rng = random.Random(SEED)
    comparison = Comparison(watched)
    for _ in range(COUNT // 2):
        claim_of = draw_claim(rng)
        if claim_of is not None:
            comparison.compare_signatures(rng, claim_of, SECRETS[: rng.choices((0, 1, 2, 3), (1, 16, 2, 1))[0]])

    assert min(comparison.accepted, comparison.refused) > COUNT // 10
    assert comparison.decided > COUNT // 5


@pytest.mark.parametrize("place", ["target", "value", "listed name", "edge of a value"])
def test_each_byte_that_is_signed(place: str, watched: Watched) -> None:
    """
    With the right signature, and with others.
    """
    rng = random.Random(SEED)
    comparison = Comparison(watched)
    for byte in range(256):
        one = bytes((byte,))
        target = b"/b/" + (one if place == "target" else b"k")
        value = {"value": b"a" + one + b"b", "edge of a value": one + b"a" + one}.get(place, b"a")
        head = outcome(parse_request_head, b"GET %b HTTP/1.1\r\nHost: a\r\nx-a: %b" % (target, value))
        if isinstance(head, type):
            continue
        listed = b"host;x-a" + (one if place == "listed name" else b"")
        scope = CredentialScope(b"20260301", b"us-east-1")
        claim_of = claim_over(head, listed, _PAYLOADS[0], scope, b"20260301T120000Z")
        comparison.compare_signatures(rng, claim_of, SECRETS[:1])

    assert comparison.accepted > 80
    assert comparison.decided > 100


VECTORS = [
    vector
    for name in ("s3-sigv4", "s3-canonical", "suite-sigv4", "suite-sigv4-legacy")
    for vector in load_vectors(name)
    if vector["carrier"] == "header"
]


def test_vectors(watched: Watched) -> None:
    """
    The published signatures. The native rooms find some of them, and nothing else.
    """
    rng = random.Random(SEED)
    comparison = Comparison(watched)
    published = 0
    for vector in VECTORS:
        head = outcome(parse_request_head, head_of(vector["request"]))
        if isinstance(head, type):
            continue
        expected, date = vector["expected"], encoded(vector["date"])
        lines = encoded(expected["canonical_request"]).split(b"\n")
        scope = CredentialScope(date[:8], encoded(vector["region"]), encoded(vector["service"]))
        claim_of = claim_over(head, lines[-2], Payload(lines[-1]), scope, date)
        secret = vector["credentials"]["secret_key"]
        before = comparison.accepted
        comparison.compare(claim_of, expected["signature"].encode(), [secret])
        published += comparison.accepted - before
        comparison.compare_signatures(rng, claim_of, [secret])

    assert published > 80
    assert comparison.decided > 50


def judge(data: bytes, realm: Realm, credentials: dict[bytes, Credential], now: datetime) -> Any:
    """
    Return what is made of a signed request, or its error; None if it has no signature in its head.
    """

    def judged() -> Any:
        head = parse_request_head(data)
        claim = read_claim(head, parse_address(head.raw_path, head.host, realm.domains), realm, now)
        if claim is None:
            return None
        found = verify_claim(claim, credentials.get(claim.claimed_access_key_id), realm, now)
        parts = {name: getattr(found, name) for name in type(found).__slots__ if name not in {"chain", "head"}}
        # Heads of both rooms have other sets of names: they forget what they knew before the other begins.
        made = [(name, value) for name, value in described(found.head)[1] if name != "names"]
        return claim.verified_text, parts, parts_of(found.chain), made

    return verdict_of(judged)


def all_verdicts(cases: Sequence[bytes], credentials: dict[bytes, Credential], now: datetime) -> list[Any]:
    """
    Judge requests one after another, each twice, as one listener does.
    """
    realm = Realm(domains=(b"s3.example.test",), verifying_keys=_KEYS)
    return [judge(data, realm, credentials, now) for data in cases for _ in range(2)]


def forget() -> None:
    """
    Empty the tables. Coverages that were made by the Python rooms alone have no native part.
    """
    coverage.KNOWN_SETS.clear()
    coverage.KNOWN_COVERAGES.clear()


def compare_verdicts(cases: Sequence[bytes], credentials: dict[bytes, Credential], now: datetime) -> tuple[int, int]:
    """
    Judge requests in both rooms; return the numbers of those that were believed, and of those that were not.
    """
    wanted = by_python(all_verdicts, cases, credentials, now)
    forget()
    found = all_verdicts(cases, credentials, now)
    for place, (each, other) in enumerate(zip(found, wanted, strict=True)):
        assert each == other, cases[place // 2]
    errors = sum(verdict is not None and len(verdict) == 2 for verdict in wanted)
    return sum(verdict is not None for verdict in wanted) - errors, errors


def test_the_data_set(watched: Watched) -> None:
    """
    Each case is judged the same, from its first byte to the request that would be sent on.
    """
    accepted, refused = compare_verdicts(request_heads(), data_set_credentials(), NOW)

    assert accepted > 200
    assert refused > 200
    assert watched.decided["verify"] > 100


def test_vectors_on_their_day(watched: Watched) -> None:
    """
    The vectors of S3, each with its own key and at its own time.
    """
    accepted = 0
    for vector in VECTORS:
        now = parse_basic_iso(encoded(vector["date"]))
        assert now is not None
        key = vector["credentials"]["access_key"]
        credentials = {key.encode(): Credential(key, (vector["credentials"]["secret_key"],))}
        accepted += compare_verdicts([head_of(vector["request"])], credentials, now)[0]
        forget()

    assert accepted > 5
    assert watched.decided["verify"] > 5


def test_signed_requests_with_a_change(watched: Watched) -> None:
    """
    Nothing that is changed after signing is believed by one of the rooms only.
    """
    rng = random.Random(SEED + 1)
    signer = Signer()
    cases = []
    for _ in range(COUNT // 4):
        headers = {
            f"x-amz-meta-{rng.choice('abc')}": rng.choice(("1", "a b", "%s", "")) for _ in range(rng.randrange(3))
        }
        method, target = rng.choice(("GET", "HEAD", "PUT")), rng.choice(("/b/k", "/b/a%20b", "/b/k?acl=", "/b//k-_.~"))
        payload = rng.choice((signer.sign_chunk("", ""), UNSIGNED, SIGNED_CHUNKS))
        data = signer.head(method, target, headers, payload=payload)[0].removesuffix(b"\r\n\r\n")
        if rng.random() < 0.6:
            place = rng.randrange(len(data))
            data = data[:place] + bytes((data[place] ^ (1 << rng.randrange(8)),)) + data[place + 1 :]
        cases.append(data)
    accepted, refused = compare_verdicts(cases, data_set_credentials(), NOW)

    assert min(accepted, refused) > COUNT // 10
    assert watched.decided["verify"] > COUNT // 20


@pytest.mark.parametrize("path", [b"/b/k", b"/b/%2f", b"/b/%20k", b"/b/%41", b"/b/k+", b"/b/\xc3\xa9", b"/b/k'", b""])
@pytest.mark.parametrize("value", [b"a", b"a b", b"a\tb", b"\xc3\xa9"])
def test_nothing_is_verified_in_another_form(path: bytes, value: bytes) -> None:
    """
    A signature over bytes as they were sent is not believed if their canonical form is another one.
    """
    key = SigningKey(b"k" * 32)
    request = b"GET\n%s\n\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD" % (path, value)
    text = b"AWS4-HMAC-SHA256\ndate\nscope\n" + hashlib.sha256(request).hexdigest().encode()
    claimed = key.sign_for_backend(text)

    found = NATIVE.Coverage([(b"host", 0)], b"host").verify(
        key.native,
        *(b"AWS4-HMAC-SHA256", b"date", b"scope", b"GET", path, (value,), b"UNSIGNED-PAYLOAD", claimed),
    )

    is_canonical = path == b"/b/k" and value in {b"a", b"\xc3\xa9"}
    assert found == ((text, request) if is_canonical else None)
