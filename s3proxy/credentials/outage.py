"""
Whether the origin of client keys is down, and when it is asked again.
"""

from __future__ import annotations

import math

FIRST_PAUSE = 0.5
"""
Seconds between the first failure and the next question.
"""

LONGEST_PAUSE = 15.0
"""
Seconds between two questions after many failures: the origin is found to be up again at most this late.
"""


class Outage:
    """
    The state of one origin. While it is down, one question at a time is asked, after a pause that grows.
    """

    def __init__(self) -> None:
        self._pause = 0.0
        self._ends_at = 0.0
        self._is_probed = False

    @property
    def is_on(self) -> bool:
        """
        Whether the last question failed.
        """
        return self._pause > 0

    def may_ask(self, now: float) -> bool:
        """
        Return True if a question may be asked now.
        """
        return not self.is_on or (not self._is_probed and now >= self._ends_at)

    def probe(self) -> None:
        """
        Called when a question is asked in spite of the outage.
        """
        self._is_probed = True

    def probed(self) -> None:
        """
        Called when that question has ended, also if it was cancelled.
        """
        self._is_probed = False

    def failed(self, now: float, *, is_probe: bool) -> bool:
        """
        Called when a question has failed. Questions that were asked before the outage began do not lengthen the pause.

        Returns:
            Whether the outage begins now.
        """
        begins = not self.is_on
        if begins or is_probe:
            self._pause = min(max(2 * self._pause, FIRST_PAUSE), LONGEST_PAUSE)
            self._ends_at = now + self._pause
        return begins

    def answered(self) -> bool:
        """
        Called when a question was answered.

        Returns:
            Whether an outage ends now.
        """
        ends = self.is_on and not math.isinf(self._pause)
        if ends:
            self._pause = 0.0
        return ends

    def stop(self) -> None:
        """
        Ask nothing any more.
        """
        self._pause = self._ends_at = math.inf
