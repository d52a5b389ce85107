"""
A circuit breaker: a backend which cannot be reached is not asked for a while, and its clients need not wait to be told.
"""

from __future__ import annotations


class Breaker:
    """
    Counts failures in a row.

    Args:
        failures: After so many it opens; 0 for never.
        seconds: For so long nothing passes; then one request does, to see.

    Attributes:
        opened_count: How often it opened.
    """

    __slots__ = ("_failures", "_in_a_row", "_is_probing", "_open_until", "_seconds", "opened_count")

    def __init__(self, failures: int, seconds: float) -> None:
        self._failures = failures
        self._seconds = seconds
        self._in_a_row = 0
        self._open_until: float | None = None
        self._is_probing = False
        self.opened_count = 0

    @property
    def is_open(self) -> bool:
        """
        Whether the backend is thought to be gone.
        """
        return self._open_until is not None

    def refuses(self, now: float) -> bool:
        """
        Say whether a request would not pass, and leave it at that.

        Args:
            now: Seconds of a clock which never goes back.
        """
        return self._open_until is not None and (self._is_probing or now < self._open_until)

    def admits(self, now: float) -> bool:
        """
        Say whether a request may pass. Each which passes must be told of: by `succeeded`, `failed` or `released`.

        Args:
            now: Seconds of a clock which never goes back.
        """
        if self._open_until is None:
            return True
        if self.refuses(now):
            return False
        self._is_probing = True
        return True

    def succeeded(self) -> None:
        """
        Know that the backend answered, whatever it said.
        """
        self._in_a_row = 0
        self._open_until = None
        self._is_probing = False

    def failed(self, now: float) -> None:
        """
        Know that it could not be reached, or said nothing in time.
        """
        self._in_a_row += 1
        if self._failures and (self._is_probing or (self._in_a_row >= self._failures and not self.is_open)):
            self._open_until = now + self._seconds
            self._is_probing = False
            self.opened_count += 1

    def released(self) -> None:
        """
        Know nothing: the request was given up before there was an answer.
        """
        self._is_probing = False
