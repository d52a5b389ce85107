"""
What all requests about multipart uploads share: the store, the threads that call it, and the timer that sweeps it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.multipart.store import MultipartStore
from s3proxy.s3.errors import S3Error, ServiceUnavailable
from s3proxy.transport.deadline import Deadline

MAX_THREADS = 4
"""
Maximum number of threads that wait for the disk: the reactor's pool has ten, and also resolves host names.
"""

SWEEP_TIME = 60.0
"""
Seconds between two sweeps.
"""

DISK_TIME = 600.0
"""
Seconds after which a request no longer waits for a thread: 5 GiB of a part may have to be written to the disk first.
"""

_T = TypeVar("_T")


class MultipartUploads:
    """
    Multipart uploads that s3proxy keeps until they are complete.

    Args:
        reactor: The reactor, whose thread pool runs the calls.

    Attributes:
        waiting_count: Requests that wait for a thread.
    """

    _log = Logger()

    def __init__(self, store: MultipartStore, reactor: Any) -> None:
        self.store = store
        self.reactor = reactor
        self.waiting_count = 0
        self._turns = DeferredSemaphore(MAX_THREADS)
        self._sweeping = Deadline(reactor, self._sweep)
        self._is_started = False
        self._is_closed = False

    def run(self, function: Callable[..., _T], *arguments: Any, undo: Callable[[_T], object] | None = None) -> Any:
        """
        Call a blocking function in a thread.

        Args:
            undo: Called in a thread with the result, if nothing waits for that any more.

        Returns:
            A Deferred that fires with the result; it fails with ServiceUnavailable if the disk takes too long.
            Cancelling it does not stop the thread.
        """
        answered: Deferred[_T] = Deferred()
        timer = self.reactor.callLater(DISK_TIME, lambda: answered.errback(ServiceUnavailable()))
        self.waiting_count += 1

        def waited(result: Any) -> Any:
            self.waiting_count -= 1
            if timer.active():
                timer.cancel()
            return result

        def told(result: Any) -> None:
            if not answered.called:
                answered.callback(result)
            elif isinstance(result, Failure):
                self._failed(result)
            elif undo is not None:
                self.run_alone(undo, result)

        answered.addBoth(waited)
        self._in_thread(function, *arguments).addBoth(told)
        return answered

    def run_alone(self, function: Callable[..., object], *arguments: Any) -> None:
        """
        Call a blocking function in a thread, if nothing waits for the result.
        """
        self._in_thread(function, *arguments).addErrback(self._failed)

    def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
        pool = self.reactor.getThreadPool()
        asked = self._turns.run(deferToThreadPool, self.reactor, pool, function, *arguments)
        return asked.addErrback(self._tell)

    def _tell(self, failure: Failure) -> Failure:
        cause = failure.value.__cause__ if failure.value is not None else None
        if cause is not None:
            self._log.error("multipart uploads: {kind}: {reason}", kind=type(cause).__name__, reason=str(cause))
        return failure

    def _failed(self, failure: Failure) -> None:
        if not isinstance(failure.value, S3Error):
            self._log.failure("multipart uploads: a background task failed", failure)

    # The timer

    def start(self) -> None:
        """
        Start to sweep. It may be called twice.
        """
        if not self._is_started:
            self._is_started = True
            self.store.lead()
            self._sweeping.set(SWEEP_TIME)

    def stop(self) -> None:
        """
        Stop sweeping. Running requests still end.
        """
        self._is_started = False
        self._sweeping.cancel()
        self.store.resign()

    def close(self) -> Deferred[None]:
        """
        Release the directory, after all calls that are in a thread now.
        """
        self.stop()
        if self._is_closed:
            done: Deferred[None] = Deferred()
            done.callback(None)
            return done
        self._is_closed = True
        return self._in_thread(self.store.close).addErrback(self._failed)

    def _sweep(self) -> None:
        self._in_thread(self._sweep_store).addErrback(self._failed).addCallback(self._swept)

    def _sweep_store(self) -> None:
        if not self._is_started:
            return
        if self.store.lead():
            self.store.sweep()
        else:
            self.store.sweep_own()

    def _swept(self, ignored: object) -> None:
        if self._is_started:
            self._sweeping.set(SWEEP_TIME)
