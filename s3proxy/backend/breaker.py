"""
A circuit breaker: for a time no request goes to a backend that cannot be reached, and its clients get an error at once.
"""

from __future__ import annotations


class Breaker:
    """
    Counts failures in a row.

    Args:
        failures: Number of failures after which the breaker opens; 0 for never.
        seconds: Seconds for which an open breaker refuses all requests; then it lets one request through as a probe.

    Attributes:
        in_a_row: The number of failures since the last success. Greater than 0 if the breaker is open.
        opened_count: How often the breaker opened.
        probe: The number of the request that was let through as a probe; 0 if there is none.
    """

    __slots__ = ("_failures", "_open_until", "_probe_count", "_seconds", "in_a_row", "opened_count", "probe")

    def __init__(self, failures: int, seconds: float) -> None:
        self._failures = failures
        self._seconds = seconds
        self.in_a_row = 0
        self._open_until: float | None = None
        self._probe_count = 0
        self.probe = 0
        self.opened_count = 0

    @property
    def is_open(self) -> bool:
        """
        Whether the breaker is open: the backend is taken for unreachable.
        """
        return self._open_until is not None

    def refuses(self, now: float) -> bool:
        """
        Return True if a request would be refused. Has no side effect.

        Args:
            now: Seconds of a clock that never goes back.
        """
        return self._open_until is not None and now < self._open_until

    def admits(self, now: float) -> bool:
        """
        Return True if a request may be sent. For each such request call `succeeded`, `failed` or `released`.

        A request that passes an open breaker is the probe, and `probe` is its number.

        Args:
            now: Seconds of a clock that never goes back.
        """
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        # A probe may last as long as its client likes. The next probe need not wait for its end.
        self._open_until = now + self._seconds
        self._probe_count += 1
        self.probe = self._probe_count
        return True

    def succeeded(self) -> None:
        """
        Called when the backend sent a response, whatever its status.
        """
        self.in_a_row = 0
        self._open_until = None
        self.probe = 0

    def failed(self, now: float, probe: int = 0) -> None:
        """
        Called when the backend could not be reached, or sent nothing in time.

        Args:
            now: Seconds of a clock that never goes back.
            probe: The number of the request, if it was a probe.
        """
        self.in_a_row += 1
        if not self._failures:
            return
        is_tripped = self.in_a_row >= self._failures and not self.is_open
        if is_tripped or (probe and probe == self.probe):
            self._open_until = now + self._seconds
            self.probe = 0
            self.opened_count += 1

    def released(self, probe: int = 0) -> None:
        """
        Called when the request was given up before a response. If it was the probe, the next request becomes the probe.

        Args:
            probe: The number of the request, if it was a probe.
        """
        if probe and probe == self.probe and self.is_open:
            self.probe = 0
            self._open_until = 0.0
