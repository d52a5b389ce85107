"""
SigV4A: the same canonical request as Signature V4, signed with a P-256 key that is derived from the secret.

Source:
    "Signing requests with AWS Signature Version 4A"; NIST SP 800-108, the counter mode of its key derivation.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Sequence

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

ECDSA_ALGORITHM = b"AWS4-ECDSA-P256-SHA256"

PADDED_SIGNATURE_SIZE = 144
"""
Hex digits of the longest DER signature. Signatures of chunks are padded to this length with asterisks.
"""

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_LAST_COUNTER = 254
_ECDSA_SHA256 = ec.ECDSA(hashes.SHA256())


def derive_private_key(secret_access_key: str, access_key_id: bytes) -> ec.EllipticCurvePrivateKey:
    """
    Return the private key that a client signs with.

    Args:
        secret_access_key: Text, as the credentials file holds it.
        access_key_id: Part of the derivation: two access keys with the same secret sign differently.
    """
    secret = b"AWS4A" + secret_access_key.encode()
    for counter in range(1, _LAST_COUNTER + 1):
        context = b"\x00\x00\x00\x01%s\x00%s%c\x00\x00\x01\x00" % (ECDSA_ALGORITHM, access_key_id, counter)
        candidate = int.from_bytes(hmac.digest(secret, context, "sha256"), "big")
        if candidate <= _ORDER - 2:
            return ec.derive_private_key(candidate + 1, ec.SECP256R1())
    raise ValueError("no key can be derived")  # pragma: no cover - once in 2 ** 8128 secrets


class VerifyingKey:
    """
    The public half of a client's key.
    """

    __slots__ = ("_public_key",)

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self._public_key = public_key

    def matches(self, text: bytes, claimed: bytes) -> bool:
        """
        Return True if a signature was made over a text with the private half.

        Args:
            claimed: Hex of the DER value, in either case. Anything else does not match: numbers outside of the
                curve's order and bytes after the value, too.
        """
        try:
            signature = bytes.fromhex(claimed.decode("ascii"))
            # fromhex skips white space, which is not part of a DER value.
            if len(signature) * 2 != len(claimed):
                return False
            self._public_key.verify(signature, text, _ECDSA_SHA256)
        except (ValueError, InvalidSignature):
            return False
        return True


class VerifyingKeys:
    """
    A cache of the public keys used last: to derive one costs more than to verify with it.

    Args:
        size: Most keys that are kept.
    """

    __slots__ = ("_keys", "_size")

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, bytes], VerifyingKey] = OrderedDict()

    def __repr__(self) -> str:
        return f"<VerifyingKeys: {len(self._keys)} of {self._size}>"

    def derive(self, secret_access_key: str, access_key_id: bytes) -> VerifyingKey:
        """
        Return the public half of the key that `derive_private_key` returns, from the cache if it is there.
        """
        keys = self._keys
        place = (secret_access_key, access_key_id)
        key = keys.get(place)
        if key is not None:
            keys.move_to_end(place)
            return key
        key = keys[place] = VerifyingKey(derive_private_key(secret_access_key, access_key_id).public_key())
        if len(keys) > self._size:
            keys.popitem(last=False)
        return key


def region_set_matches(region_set: bytes, regions: Sequence[bytes]) -> bool:
    """
    Return True if a set of regions contains one of ours.

    Args:
        region_set: Comma-separated, in any case; ``*`` stands for any run of characters. Blanks belong to the names.
        regions: The accepted regions.
    """
    names = [region.lower() for region in regions]
    return any(_glob_matches(entry, name) for entry in region_set.lower().split(b",") if entry for name in names)


def _glob_matches(pattern: bytes, name: bytes) -> bool:
    first, *rest = pattern.split(b"*")
    if not rest:
        return pattern == name
    *inner, last = rest
    if not name.startswith(first) or not name.endswith(last) or len(name) < len(first) + len(last):
        return False
    position, end = len(first), len(name) - len(last)
    for piece in inner:
        position = name.find(piece, position, end)
        if position < 0:
            return False
        position += len(piece)
    return True
