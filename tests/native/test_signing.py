"""
The native rooms sign as the Python rooms do: a text with the key of one scope, and the head of a request to a backend.
"""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from s3proxy.resign import head as onward
from s3proxy.resign.account import Account, SignatureVersion
from s3proxy.resign.head import backend_head
from s3proxy.resign.v4 import STREAMING_PAYLOAD
from s3proxy.s3.head import HeaderList, parse_request_head
from s3proxy.s3.native import NATIVE
from s3proxy.sigv4.signing_key import SigningKey, SigningKeys
from tests.native.data_set import request_heads
from tests.native.drawing import spoiled_signatures
from tests.native.rooms import COUNT, Watched, by_python
from tests.support.drawn_heads import METHODS, NAMES, TARGETS, VALUES, draw_headers, outcome, spoil

pytestmark = pytest.mark.native

SEED = 20261203
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

_SIZES = (0, 1, 31, 54, 55, 56, 57, 63, 64, 65, 119, 120, 128, 1000, 4096)
"""
Bytes of a text. Near the multiples of 64, the padding of SHA-256 needs another block.
"""

_PAYLOADS = (b"UNSIGNED-PAYLOAD", b"0" * 64, STREAMING_PAYLOAD)
_HOSTS = (b"store.test", b"store.test:8080", b"[::1]:80", b"Store.TEST", b"", b"a b", b"\xff", b"a\r\nb: c", b"a\x00")


def test_texts_of_each_length_are_verified() -> None:
    """
    Of each length, with keys of each length that HMAC uses as they are.
    """
    rng = random.Random(SEED)
    coverage = NATIVE.Coverage([], b"")
    for number in range(COUNT // 4):
        key = SigningKey(rng.randbytes(32 if number % 2 else rng.randrange(65)))
        size = _SIZES[number % len(_SIZES)] if number % 3 else rng.randrange(300)
        algorithm, payload = rng.randbytes(size), rng.randbytes(rng.choice(_SIZES))
        request = b"GET\n/\n\n\n\n" + payload
        text = b"%s\ndate\nscope\n%s" % (algorithm, hashlib.sha256(request).hexdigest().encode())
        signature = key.sign_for_backend(text)
        for claimed in (signature, *spoiled_signatures(rng, signature)):
            found = coverage.verify(key.native, algorithm, b"date", b"scope", b"GET", b"/", (), payload, claimed)
            assert found == ((text, request) if key.matches(text, claimed) else None)


def test_a_key_shows_no_secret() -> None:
    """
    Neither a key nor its text lead to the bytes of the secret.
    """
    native: Any = SigningKey(b"0123456789abcdef" * 2).native

    assert "0123456789abcdef" not in repr(native) + str(native)
    assert [name for name in dir(native) if not name.startswith("_")] == []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """
    The native module in the place where heads for a backend are signed, watched.
    """
    watched = Watched(NATIVE)
    monkeypatch.setattr(onward, "NATIVE", watched)
    return watched


def account_of(
    host: bytes, signature: SignatureVersion, profile: str, key: BackendKey | None, keys: dict[str, SigningKeys]
) -> tuple[Account, Account]:
    """
    Return an account twice: for the native rooms, and for the Python rooms with keys of their own.
    """
    native, python = (
        Account(PROFILES[profile], key, host, signature, keys.setdefault(name, SigningKeys(8)))
        for name in ("native", "python")
    )
    return native, python


class Comparison:
    """
    Compares the heads that both rooms write for a backend.

    Attributes:
        written: Heads that were written.
        refused: Heads that the gate refused.
    """

    def __init__(self, watched: Watched) -> None:
        self.written = 0
        self.refused = 0
        self._watched = watched

    @property
    def decided(self) -> int:
        """
        The number of heads that the native rooms wrote.
        """
        return self._watched.decided["signed_head"]

    def compare(self, accounts: tuple[Account, Account], *arguments: Any, expects_continue: bool = False) -> None:
        """
        Write a head in both rooms.
        """

        def write(account: Account) -> bytes:
            return backend_head(account, *arguments, expects_continue=expects_continue)

        before = self.decided
        found = [outcome(write, accounts[0]) for _ in range(2)]
        wanted = by_python(outcome, write, accounts[1])
        assert found == [wanted, wanted], arguments
        if isinstance(wanted, bytes):
            self.written += 1
        else:
            self.refused += 1
            assert self.decided == before, arguments


def draw_passed(rng: random.Random) -> HeaderList:
    """
    Return headers that a client's request may pass on; in some heads one of them may not pass.
    """
    headers: HeaderList = []
    if rng.random() < 0.3:
        headers = draw_headers(rng)
    else:
        names = rng.sample(NAMES, rng.randrange(8))
        headers = [(name, rng.choice(VALUES)) for name in names]
        if rng.random() < 0.7:
            added = {b"host", b"content-length", b"x-amz-date", b"x-amz-content-sha256", b"authorization"}
            headers = [header for header in headers if header[0].lower() not in added]
    if headers and rng.random() < 0.2:
        place = rng.randrange(len(headers))
        name, value = headers[place]
        headers[place] = rng.choice(((spoil(rng, name), value), (name, spoil(rng, value))))
    return headers


def draw_target(rng: random.Random) -> bytes:
    """
    Return a target, mostly a plain path.
    """
    if rng.random() < 0.7:
        return b"/" + b"".join(rng.choices((b"b", b"/", b"K-", b"_.~", b"9", b"//"), k=rng.randrange(6)))
    return rng.choice(TARGETS) if rng.random() < 0.5 else spoil(rng, b"/b/key+?%20:@")


@pytest.mark.usefixtures("tables")
def test_drawn_heads_for_a_backend(watched: Watched) -> None:
    """
    Byte for byte, for each kind of account; what the gate refuses is refused.
    """
    rng = random.Random(SEED + 1)
    comparison = Comparison(watched)
    keys: dict[str, SigningKeys] = {}
    for _ in range(COUNT):
        access_key_id = rng.choice(("AKIDBACKEND", "ké%s", ""))
        key = BackendKey(access_key_id, rng.choice(("secret", "ß/+", "")), rng.choice(("us-east-1", "", "région")))
        account = account_of(
            rng.choice(_HOSTS) if rng.random() < 0.3 else b"store.test",
            rng.choice((SignatureVersion.V4,) * 8 + (SignatureVersion.V2, SignatureVersion.NONE)),
            rng.choice(("generic", "generic", "generic", "ceph-rgw", "walrus-3.4")),
            key if rng.random() < 0.95 else None,
            keys,
        )
        comparison.compare(
            account,
            rng.choice(METHODS if rng.random() < 0.1 else (b"GET", b"HEAD", b"PUT", b"DELETE", b"POST", b"OPTIONS")),
            draw_target(rng),
            draw_passed(rng),
            rng.choice((None, 0, 5, 10**18, 9_999_999_999_999_999_999)),
            rng.choice(_PAYLOADS),
            NOW + timedelta(seconds=rng.randrange(10**8), microseconds=rng.randrange(10**6)),
            expects_continue=rng.random() < 0.3,
        )

    assert min(comparison.written, comparison.refused) > COUNT // 10
    assert comparison.decided > COUNT // 4


@pytest.mark.usefixtures("tables")
def test_heads_of_the_data_set_for_a_backend(watched: Watched) -> None:
    """
    The headers of each case and vector, as a client sent them and without those that s3proxy adds.
    """
    comparison = Comparison(watched)
    accounts = account_of(b"store.test", SignatureVersion.V4, "generic", BackendKey("KEY", "secret"), {})
    added = {b"host", b"content-length", b"x-amz-date", b"x-amz-content-sha256", b"authorization"}
    for data in request_heads():
        head = outcome(parse_request_head, data)
        if isinstance(head, type):
            continue
        passed = [header for header in head.headers if header[0].lower() not in added]
        for headers in (head.headers, passed):
            for target in (head.raw_target, head.raw_path, b"/b/k"):
                comparison.compare(accounts, head.method, target, headers, head.content_length, _PAYLOADS[0], NOW)

    assert comparison.written > 2000
    assert comparison.refused > 1000
    assert comparison.decided > 2000


@pytest.mark.parametrize("place", ["name", "value", "host", "method", "target"])
def test_each_byte_in_each_place(place: str, watched: Watched) -> None:
    """
    A byte that the gate refuses in a name, a value, a host, a method or a target is refused.
    """
    comparison = Comparison(watched)
    keys: dict[str, SigningKeys] = {}
    key = BackendKey("KEY", "secret")
    for byte in range(256):
        one = bytes((byte,))
        for text in (one, b"a" + one, one + b"a", b"a" + one + b"a", b"x-amz-meta-" + one, b"x-amz-" + one + b"a"):
            account = account_of(text if place == "host" else b"a", SignatureVersion.V4, "generic", key, keys)
            name, value = text if place == "name" else b"a", text if place == "value" else b"b"
            method = (one if place == "method" else b"") + b"GET" + (text if place == "method" else b"")
            target = b"/" + text if place == "target" else b"/"
            headers = [(name, value), (b"Content-Type", value), (b"x-amz-meta-b", value)]
            comparison.compare(account, method, target, headers, None, _PAYLOADS[0], NOW)

    assert comparison.refused > 100
    assert comparison.decided > 100 or place == "method"


@pytest.mark.parametrize(
    "name", sorted({*NAMES, b"x-amz-meta-", b"x-amz-meta-_", b"a_b", b"expect", b"date", b"X-AMZ-b"})
)
def test_a_name_alone_twice_and_beside_its_other_spelling(name: bytes, watched: Watched) -> None:
    """
    A name that may not be repeated is not, in whatever case.
    """
    comparison = Comparison(watched)
    accounts = account_of(b"store.test", SignatureVersion.V4, "generic", BackendKey("KEY", "secret"), {})
    for headers in (
        [(name, b"1")],
        [(name, b"1"), (name, b"1")],
        [(name, b"1"), (name.swapcase(), b"2")],
        [(name, b"a  b\t"), (b"b", b"c"), (b"content-type", b"\t")],
    ):
        for length in (None, 5):
            comparison.compare(accounts, b"PUT", b"/b/k", headers, length, _PAYLOADS[1], NOW)
