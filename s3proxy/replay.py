"""
Requests that were seen already: one that changes something passes once.
"""

from __future__ import annotations

from collections import OrderedDict


class ReplayWindow:
    """
    The requests of one process. Processes do not know of each other's.

    Args:
        seconds: How long a request is remembered.
        max_count: How many requests are remembered; above it the oldest is forgotten.
    """

    def __init__(self, seconds: float, max_count: int) -> None:
        self._seconds = seconds
        self._max_count = max_count
        self._seen: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, fingerprint: bytes, at: float) -> bool:
        """
        Remember a request; return False if it was seen before.

        Args:
            fingerprint: Of a verified request, by `s3proxy.s3.claim.Claim.fingerprint`. Not its signature, which has
                several spellings and any length.
            at: Seconds of a clock which never goes back.
        """
        seen = self._seen
        while seen and next(iter(seen.values())) <= at - self._seconds:
            seen.popitem(last=False)
        if fingerprint in seen:
            return False
        seen[fingerprint] = at
        if len(seen) > self._max_count:
            seen.popitem(last=False)
        return True

    def forget(self, fingerprint: bytes) -> None:
        """
        Let a request pass once more: what it asked for was not done.
        """
        self._seen.pop(fingerprint, None)
