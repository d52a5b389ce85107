"""
Derive a key for one scope, and keep the last ones.

Source:
    "Signature Calculations for the Authorization Header", Task 3.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from s3proxy.sigv4.scope import CredentialScope


class Signature:
    """
    A signature which we computed: it has no text form.
    """

    __slots__ = ("_hex",)

    def __init__(self, digits: bytes) -> None:
        self._hex = digits

    def for_backend(self) -> bytes:
        """
        Return it as the backend reads it. It goes into the head which is sent, and nowhere else.
        """
        return self._hex


class SigningKey:
    """
    A key for one scope.

    Args:
        key: 32 bytes, as `derive_signing_key` returns them.
    """

    __slots__ = ("_begun",)

    def __init__(self, key: bytes) -> None:
        # A copy of what is begun costs less than half of beginning with the key.
        self._begun = HMAC(key, SHA256())

    def sign(self, text: bytes) -> Signature:
        """
        Sign a string.
        """
        return Signature(self._digits(text))

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Say whether a signature was made over a text with this key.

        They are compared in constant time, as text: upper-case hex is another signature.
        """
        return hmac.compare_digest(self._digits(text), claimed)

    def _digits(self, text: bytes) -> bytes:
        running = self._begun.copy()
        running.update(text)
        return running.finalize().hex().encode()


def derive_signing_key(secret_access_key: str, scope: CredentialScope) -> bytes:
    """
    Derive the key which signs everything in one credential scope.

    Args:
        secret_access_key: Text, as the credentials file holds it.
        scope: As claimed by the client: its day is the request's, not today's.

    Returns:
        32 bytes, good for one UTC day, region and service. May be cached, never logged.
    """
    key = ("AWS4" + secret_access_key).encode()
    for part in (scope.day, scope.region or b"", scope.service, scope.terminal):
        key = hmac.digest(key, part, "sha256")
    return key


class SigningKeys:
    """
    The signing keys which were used last.

    Args:
        size: How many are kept.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, CredentialScope], SigningKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SigningKeys: {len(self._keys)} of {self._size}>"

    def derive(self, secret_access_key: str, scope: CredentialScope) -> SigningKey:
        """
        Return the key of `derive_signing_key`, derived at most once while it is kept.
        """
        keys = self._keys
        place = (secret_access_key, scope)
        key = keys.get(place)
        if key is not None:
            keys.move_to_end(place)
            return key
        key = keys[place] = SigningKey(derive_signing_key(secret_access_key, scope))
        if len(keys) > self._size:
            keys.popitem(last=False)
        return key
