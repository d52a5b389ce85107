"""
Keys of one scope: how a signature is compared, and how many keys are kept.
"""

from __future__ import annotations

from typing import Any

import pytest

from s3proxy.sigv4 import signing_key, verifier
from s3proxy.sigv4.scope import CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, SigningKeys

SCOPE = CredentialScope(b"20260301", b"us-east-1")


def test_a_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The verdict is that of `hmac.compare_digest`: the time of an ordinary comparison shows how many digits were right.
    """
    key = SigningKey(b"k" * 32)
    digits = key.sign_for_backend(b"text")
    compared: list[tuple[bytes, bytes]] = []

    def compare(computed: bytes, claimed: bytes) -> bool:
        compared.append((computed, claimed))
        return False

    monkeypatch.setattr(signing_key.hmac, "compare_digest", compare)

    assert not key.matches(b"text", digits)
    assert compared == [(digits, digits)]


def test_a_signature_is_compared_whole() -> None:
    """
    Neither a part of the signature nor another spelling is accepted.
    """
    key = SigningKey(b"k" * 32)
    digits = key.sign_for_backend(b"text")

    assert key.matches(b"text", digits)
    for claimed in (b"", digits[:-1], digits + b"0", digits.upper(), b"0" * 64):
        assert not key.matches(b"text", claimed)
    assert not key.matches(b"texts", digits)


class CountingKey:
    """
    A key that counts its calls.
    """

    def __init__(self, *, is_right: bool) -> None:
        self.is_right = is_right
        self.count = 0

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Count the call.
        """
        self.count += 1
        return self.is_right


@pytest.mark.parametrize("right", [0, 1])
def test_every_secret_is_tried(right: int) -> None:
    """
    The time does not show whether the former secret or the new one signed.
    """
    keys = [CountingKey(is_right=number == right) for number in range(2)]

    assert verifier._matching_key(keys, b"text", b"claimed") is keys[right]
    assert [key.count for key in keys] == [1, 1]


def test_keys_are_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The most recently used key stays, the oldest is removed.
    """
    derived: list[Any] = []
    derive = signing_key.derive_signing_key
    monkeypatch.setattr(signing_key, "derive_signing_key", lambda *given: derived.append(given) or derive(*given))
    keys = SigningKeys(2)

    first = keys.derive("one", SCOPE)
    keys.derive("two", SCOPE)
    assert keys.derive("one", SCOPE) is first
    keys.derive("three", SCOPE)

    assert repr(keys) == "<SigningKeys: 2 of 2>"
    assert keys.derive("one", SCOPE) is first
    assert len(derived) == 3
    keys.derive("two", SCOPE)
    assert len(derived) == 4


def test_a_key_is_of_its_own_scope_and_secret() -> None:
    """
    No other day, region or secret finds it.
    """
    keys = SigningKeys(9)
    scopes = [SCOPE, SCOPE._replace(day=b"20260302"), SCOPE._replace(region=b"eu-west-1")]

    signatures = {keys.derive(secret, scope).sign_for_backend(b"text") for scope in scopes for secret in ("one", "two")}

    assert len(signatures) == 6
