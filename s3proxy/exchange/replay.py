"""
The replay window: a request that changes something is accepted once.
"""

from __future__ import annotations

from collections import OrderedDict


class ReplayWindow:
    """
    The remembered requests of one process. Processes do not share them.

    Args:
        seconds: How long a request is remembered.
        max_count: How many requests are remembered. Above it, a key that has more than its share of them loses its
            oldest, so that no key can push out another key's request and replay it.
    """

    def __init__(self, seconds: float, max_count: int) -> None:
        self._seconds = seconds
        self._max_count = max_count
        self._count = 0
        # Ordered by last use: the most recent key comes last, and so does its most recent request.
        self._of_key: OrderedDict[bytes, OrderedDict[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def admit(self, fingerprint: bytes, at: float, key: bytes = b"") -> bool:
        """
        Remember a request; return False if it was seen before.

        Args:
            fingerprint: Identifies a verified request: see `s3proxy.s3.claim.Claim.fingerprint`. It is not the
                signature, which has several spellings and any length.
            at: Seconds of a monotonic clock.
            key: The access key that signed the request.
        """
        self._forget_unused_keys(at)
        own = self._of_key.setdefault(key, OrderedDict())
        self._of_key.move_to_end(key)
        while own and next(iter(own.values())) <= at - self._seconds:
            self._forget_oldest(own)
        if fingerprint in own:
            return False
        own[fingerprint] = at
        self._count += 1
        if self._count > self._max_count:
            has_more_than_its_share = len(own) * len(self._of_key) > self._max_count
            self._forget_oldest(own if has_more_than_its_share else max(self._of_key.values(), key=len))
        return True

    def forget(self, fingerprint: bytes, key: bytes = b"") -> None:
        """
        Forget a request, so that it is accepted once more: it was not carried out.
        """
        own = self._of_key.get(key)
        if own is not None and own.pop(fingerprint, None) is not None:
            self._count -= 1

    def _forget_unused_keys(self, at: float) -> None:
        while self._of_key:
            key, oldest = next(iter(self._of_key.items()))
            if oldest and next(reversed(oldest.values())) > at - self._seconds:
                break
            self._count -= len(self._of_key.pop(key))

    def _forget_oldest(self, requests: OrderedDict[bytes, float]) -> None:
        requests.popitem(last=False)
        self._count -= 1
