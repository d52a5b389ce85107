"""
Signatures which were seen already: a request that changes something is let pass once.
"""

from __future__ import annotations

from collections import OrderedDict


class ReplayWindow:
    """
    The signatures of one process. Several processes do not know each other's.

    Args:
        seconds: How long a signature is remembered.
        max_count: How many are; above it the oldest is forgotten.
    """

    def __init__(self, seconds: float, max_count: int) -> None:
        self._seconds = seconds
        self._max_count = max_count
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, signature: bytes, at: float) -> bool:
        """
        Remember a signature; say whether it is new.

        Args:
            signature: Verified.
            at: Seconds of a clock which never goes back.
        """
        seen = self._seen
        while seen and next(iter(seen.values())) <= at - self._seconds:
            seen.popitem(last=False)
        if signature in seen:
            return False
        seen[signature] = at
        if len(seen) > self._max_count:
            seen.popitem(last=False)
        return True

    def forget(self, signature: bytes) -> None:
        """
        Let a signature pass once more: what it asked for was not done.
        """
        self._seen.pop(signature, None)
