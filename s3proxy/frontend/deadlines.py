"""
The deadlines of one client.

A connection has three deadlines. The first is for what the client must send, and for the connection's end. The second
is for the bytes that the client must read: one deadline for both would be cleared by progress in the other direction.
The third is for a whole request.

Some waits have a total time, which no byte prolongs: for a head, the next request, the rest of a body that is dropped,
the end. A body that is needed has `idle` seconds between two bytes. With a minimum rate these seconds are a credit:
received bytes add to it, and waiting spends it. While the client is held, nothing is spent.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

from s3proxy.frontend.times import ClientTimes
from s3proxy.transport.deadline import Deadline


class ClientDeadlines:
    """
    The deadlines of one client's connection.

    Args:
        reactor: Its clock must never go back.
        not_sent: Called when `sending` passes.
        not_taken: Called when `taking` passes.
        took_too_long: Called when `total` or a deadline of `start_head_deadline` passes.

    Attributes:
        sending: The deadline by which the client must send, or the connection must end.
        taking: The deadline by which the client must read some of what was written.
        total: The deadline by which the current request must be over.
    """

    __slots__ = (
        "_awaited_since",
        "_credit",
        "_is_prolonged",
        "_reactor",
        "_times",
        "_took_too_long",
        "_wait_time",
        "sending",
        "taking",
        "total",
    )

    def __init__(
        self,
        reactor: IReactorTime,
        times: ClientTimes,
        *,
        not_sent: Callable[[], None],
        not_taken: Callable[[], None],
        took_too_long: Callable[[], None],
    ) -> None:
        self.sending = Deadline(reactor, not_sent)
        self.taking = Deadline(reactor, not_taken)
        self.total = Deadline(reactor, took_too_long)
        self._reactor = reactor
        self._times = times
        self._took_too_long = took_too_long
        self._wait_time = 0.0
        self._is_prolonged = False
        self._credit = 0.0
        self._awaited_since: float | None = None

    def wait(self, seconds: float) -> None:
        """
        Wait for the client for a total number of seconds, whatever it sends.
        """
        self._is_prolonged = False
        self._wait_time = seconds
        self.sending.set(seconds)

    @property
    def waiting_since(self) -> float | None:
        """
        When `wait` was called last, in the reactor's seconds; None if no such deadline is set.
        """
        return None if self.sending.at is None else self.sending.at - self._wait_time

    def begin_request(self) -> None:
        """
        Called when a head is complete: stop waiting. The body starts with the full credit, and the request with its
        total time.
        """
        self.sending.at = None
        self._is_prolonged = True
        self._credit = self._times.idle
        self._awaited_since = None
        if self._times.total:
            self.total.set(self._times.total)

    def await_body(self, size: int) -> None:
        """
        Wait for more of a request's body.
        """
        if not self._is_prolonged:
            # The rest of the body of an answered request: its deadline is a total, which no byte prolongs.
            return
        times = self._times
        if not times.minimum_rate:
            self.sending.set(times.idle)
            return
        # A client gains what its bytes are worth, and loses the time for which it was waited for.
        now = self._reactor.seconds()
        if self._awaited_since is not None:
            self._credit -= now - self._awaited_since
        self._credit = min(times.idle, self._credit + size / times.minimum_rate)
        self._awaited_since = now
        self.sending.set(max(0.0, self._credit))

    def stop_awaiting(self) -> None:
        """
        Stop waiting for the client, which is not read for now.
        """
        self.sending.clear()
        if self._awaited_since is not None:
            self._credit -= self._reactor.seconds() - self._awaited_since
            self._awaited_since = None

    def start_head_deadline(self) -> Deadline:
        """
        Start a deadline for part of the body: it has the time of a head as its total, and no byte prolongs it.

        Returns:
            The deadline, to be cancelled when that part is complete. If it passes, the body fails with RequestTimeout.
        """
        deadline = Deadline(self._reactor, self._took_too_long)
        deadline.set(self._times.head)
        return deadline

    def cancel(self) -> None:
        """
        Cancel all deadlines: the connection is lost.
        """
        self.sending.cancel()
        self.taking.cancel()
        self.total.cancel()
