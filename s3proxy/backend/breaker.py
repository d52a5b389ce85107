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
        probe: The number of the request that is let through to see whether the backend is back; 0 if there is none.
    """

    __slots__ = ("_failures", "_in_a_row", "_open_until", "_probe_count", "_seconds", "opened_count", "probe")

    def __init__(self, failures: int, seconds: float) -> None:
        self._failures = failures
        self._seconds = seconds
        self._in_a_row = 0
        self._open_until: float | None = None
        self._probe_count = 0
        self.probe = 0
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
        return self._open_until is not None and now < self._open_until

    def admits(self, now: float) -> bool:
        """
        Say whether a request may pass. Each which passes must be told of: by `succeeded`, `failed` or `released`.

        Where it passes an open breaker, it is the probe, and `probe` is its number.

        Args:
            now: Seconds of a clock which never goes back.
        """
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        # A probe may take as long as its client likes: then the next one need not wait for its end.
        self._open_until = now + self._seconds
        self._probe_count += 1
        self.probe = self._probe_count
        return True

    def succeeded(self) -> None:
        """
        Know that the backend answered, whatever it said.
        """
        self._in_a_row = 0
        self._open_until = None
        self.probe = 0

    def failed(self, now: float, probe: int = 0) -> None:
        """
        Know that it could not be reached, or said nothing in time.

        Args:
            now: Seconds of a clock which never goes back.
            probe: The request's number, if it was a probe.
        """
        self._in_a_row += 1
        if not self._failures:
            return
        is_tripped = self._in_a_row >= self._failures and not self.is_open
        if is_tripped or (probe and probe == self.probe):
            self._open_until = now + self._seconds
            self.probe = 0
            self.opened_count += 1

    def released(self, probe: int = 0) -> None:
        """
        Know nothing: the request was given up before there was an answer. If it was the probe, the next request is.

        Args:
            probe: The request's number, if it was a probe.
        """
        if probe and probe == self.probe and self.is_open:
            self.probe = 0
            self._open_until = 0.0
