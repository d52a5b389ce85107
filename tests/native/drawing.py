"""
What the comparisons of signatures draw.
"""

from __future__ import annotations

import random


def spoiled_signatures(rng: random.Random, signature: bytes) -> list[bytes]:
    """
    Return texts that are nearly a signature.
    """
    place = rng.randrange(len(signature))
    other = rng.choice(b"0123456789abcdef".replace(signature[place : place + 1], b""))
    changed = signature[:place] + bytes((other,)) + signature[place + 1 :]
    odd = signature[:place] + bytes((rng.choice((0, 0x7F, 0x80, 0xFF, ord("g"))),)) + signature[place + 1 :]
    return [
        *(changed, odd, signature.upper(), signature[:-1], signature[1:], b"", signature * 2),
        *(signature + rng.choice((b"0", b"\x00", b" ")), b" " + signature, signature[::-1], b"0" * 64),
    ]
