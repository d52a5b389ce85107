"""
Derives the signing key of one scope, and caches the keys used last.

Source:
    "Signature Calculations for the Authorization Header", Task 3.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from s3proxy.s3.native import NATIVE
from s3proxy.sigv4.scope import CredentialScope


class SigningKey:
    """
    A key for one scope.

    Args:
        key: 32 bytes, from `derive_signing_key`.

    Attributes:
        native: The same key for native code; None if there is none.
    """

    __slots__ = ("_begun", "native")

    def __init__(self, key: bytes) -> None:
        self.native = None if NATIVE is None else NATIVE.SigningKey(key)
        # Copying an HMAC that has its key costs less than half of creating one.
        self._begun = HMAC(key, SHA256())

    def sign_for_backend(self, text: bytes) -> bytes:
        """
        Return the signature of a string in lower-case hex. It goes to the backend, or to the owner of the key, and
        nowhere else.
        """
        running = self._begun.copy()
        running.update(text)
        return running.finalize().hex().encode()

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Return True if a signature was made over a text with this key.

        The signatures are compared as text, in constant time: upper-case hex does not match.
        """
        running = self._begun.copy()
        running.update(text)
        return hmac.compare_digest(running.finalize().hex().encode(), claimed)


def derive_signing_key(secret_access_key: str, scope: CredentialScope) -> bytes:
    """
    Return the key that signs everything in one credential scope.

    Args:
        secret_access_key: Text, as the credentials file holds it.
        scope: As claimed by the client. Its day is that of the request, not today.

    Returns:
        32 bytes, valid for one UTC day, region and service. May be cached, never logged.
    """
    key = ("AWS4" + secret_access_key).encode()
    for part in (scope.day, scope.region or b"", scope.service, scope.terminal):
        key = hmac.digest(key, part, "sha256")
    return key


class SigningKeys:
    """
    A cache of the signing keys used last.

    Args:
        size: Most keys that are kept.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, CredentialScope], SigningKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"<SigningKeys: {len(self._keys)} of {self._size}>"

    def derive(self, secret_access_key: str, scope: CredentialScope) -> SigningKey:
        """
        Return the key that `derive_signing_key` returns, from the cache if it is there.
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
