"""
Drive a coroutine that judges a request: on when what it waits for has come, out when that takes too long.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.machine import Event, EventReceiver
from s3proxy.s3.errors import ServiceUnavailable
from s3proxy.transport.deadline import Deadline

T = TypeVar("T")


class Waiting(NamedTuple):
    """
    What a coroutine waits for.

    Attributes:
        is_bounded: Whether it may take no longer than ``times.lookup``: what others bring of their own has no bound.
    """

    asked: Deferred[Any]
    is_bounded: bool


@types.coroutine
def wait_for(asked: Deferred[T], *, is_bounded: bool = True) -> Generator[Waiting, T, T]:
    """
    Wait within a judgement. Raises what the Deferred fails with.
    """
    return (yield Waiting(asked, is_bounded))


class Judgement:
    """
    One judgement that has to wait.

    Args:
        judging: The coroutine. It waits by `wait_for` alone, and gives back what it took if it is closed.
        exchange: Told what it raises.
        judged: Called with what it returns.
    """

    __slots__ = ("_context", "_deadline", "_exchange", "_judged", "_judging", "_request_id", "_waiting")

    def __init__(
        self,
        judging: Coroutine[Waiting, Any, T],
        context: ProxyContext,
        request_id: str,
        exchange: EventReceiver,
        judged: Callable[[T], None],
    ) -> None:
        self._judging = judging
        self._context = context
        self._request_id = request_id
        self._exchange = exchange
        self._judged = judged
        self._waiting: Deferred[Any] | None = None
        self._deadline: Deadline | None = None

    def give_up(self) -> None:
        """
        Wait for nothing more; it may come twice.
        """
        asked = self._waiting
        self._waited()
        if asked is not None:
            asked.cancel()
        self._judging.close()

    def wait(self, waiting: Waiting) -> None:
        """
        Wait, and go on when it has come.
        """
        self._waiting = waiting.asked
        waiting.asked.addCallbacks(self._came, self._failed)
        if waiting.is_bounded and self._waiting is waiting.asked:
            if self._deadline is None:
                self._deadline = Deadline(self._context.budgets.reactor, self._waited_in_vain)
            self._deadline.set(self._context.settings.lookup_time)

    def _go_on(self, resume: Callable[[Any], Waiting], value: Any) -> None:
        try:
            waiting = resume(value)
        except StopIteration as end:
            judged = end.value
        else:
            self.wait(waiting)
            return
        self._judged(judged)

    def _waited(self) -> None:
        self._waiting = None
        if self._deadline is not None:
            self._deadline.cancel()

    def _came(self, value: Any) -> None:
        # What was given up may come nevertheless.
        if self._waiting is not None:
            self._waited()
            self._exchange.guarded(self._go_on, self._judging.send, value)

    def _failed(self, failure: Failure) -> None:
        if self._waiting is not None:
            self._waited()
            self._exchange.guarded(self._go_on, self._judging.throw, failure.value)

    def _waited_in_vain(self) -> None:
        self._context.log.error(
            "the credential source, the authorizer or the disk did not answer in time: {request_id}",
            request_id=self._request_id,
        )
        self._exchange.receive(Event.REFUSED, ServiceUnavailable())
