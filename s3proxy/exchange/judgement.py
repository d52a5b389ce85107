"""
Drive a coroutine that judges a request: resume it when its Deferred fires, and refuse the request if that takes too
long.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, NamedTuple, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.exchange.context import ClientContext
from s3proxy.s3.errors import ServiceUnavailable
from s3proxy.transport.deadline import Deadline

T = TypeVar("T")


class Waiting(NamedTuple):
    """
    What a coroutine waits for.

    Attributes:
        is_bounded: Whether the wait ends after ``times.lookup``. False for a wait that has a bound of its own, such as
            that of a budget.
    """

    asked: Deferred[Any]
    is_bounded: bool


@types.coroutine
def wait_for(asked: Deferred[T], *, is_bounded: bool = True) -> Generator[Waiting, T, T]:
    """
    Wait for a Deferred within a judgement, and return its result. Raises what the Deferred fails with.
    """
    return (yield Waiting(asked, is_bounded))


class JudgedExchange(Protocol):
    """
    The request that is judged: a `s3proxy.exchange.exchange.Exchange`, or one for an application's own resource.
    """

    def failed(self, error: Exception) -> None:
        """
        Turn an exception into the client's error response.
        """

    def guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Call a function, and turn any exception into the client's error response.
        """


class Judgement:
    """
    One judgement that has to wait.

    Args:
        judging: The coroutine. It waits only by `wait_for`, and gives back what it took if it is closed.
        exchange: Receives what the coroutine raises.
        judged: Called with what the coroutine returns.
    """

    __slots__ = ("_context", "_deadline", "_exchange", "_judged", "_judging", "_request_id", "_waiting")

    def __init__(
        self,
        judging: Coroutine[Waiting, Any, T],
        context: ClientContext,
        request_id: str,
        exchange: JudgedExchange,
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
        Cancel the wait and close the coroutine. May be called twice.
        """
        asked = self._waiting
        self._waited()
        if asked is not None:
            asked.cancel()
        self._judging.close()

    def wait(self, waiting: Waiting) -> None:
        """
        Wait for a Deferred, and resume the coroutine when it fires.
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
        # The Deferred may fire although the judgement was given up.
        if self._waiting is not None:
            self._waited()
            self._exchange.guarded(self._go_on, self._judging.send, value)

    def _failed(self, failure: Failure) -> None:
        if self._waiting is not None:
            self._waited()
            self._exchange.guarded(self._go_on, self._judging.throw, failure.value)

    def _waited_in_vain(self) -> None:
        self._context.log.error(
            "the credential source, the authorizer or the disk did not respond in time: {request_id}",
            request_id=self._request_id,
        )
        self._exchange.failed(ServiceUnavailable())
