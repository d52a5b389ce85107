"""
What all requests share: threads whose results are not lost, and the timer that sweeps.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError
from twisted.internet.task import Clock

from s3proxy.multipart.records import Place, StoreLimits
from s3proxy.multipart.store import MultipartStore
from s3proxy.multipart.uploads import DISK_TIME, SWEEP_TIME, MultipartUploads
from s3proxy.s3.errors import NoSuchUpload, ServiceUnavailable
from tests.support.harness import ClockedReactor, until

PLACE = Place("b", "a", b"bucket", b"key")


@asynccontextmanager
async def opened(directory: Path, clock: Clock) -> AsyncIterator[MultipartUploads]:
    limits = StoreLimits(1000, 10, 10, 100.0)
    uploads = MultipartUploads(MultipartStore(directory / "m", limits, clock.seconds), ClockedReactor(clock))
    try:
        yield uploads
    finally:
        await uploads.close()
        # It may be called twice.
        await uploads.close()


@pytest_twisted.ensureDeferred
async def test_the_timer_sweeps(tmp_path: Path) -> None:
    """
    Every minute while it runs, without a request.
    """
    clock = Clock()
    async with opened(tmp_path, clock) as uploads:
        upload_id = uploads.store.begin(PLACE, "me", [])
        uploads.start()
        uploads.start()
        for _ in range(2):
            clock.advance(SWEEP_TIME)
            await until(lambda: uploads._sweeping.at == clock.seconds() + SWEEP_TIME)
        usage = uploads.store.usage()
        uploads.stop()
        calls = clock.getDelayedCalls()

    assert (usage, calls) == ((0, 0), [])
    assert upload_id


@pytest_twisted.ensureDeferred
async def test_each_process_sweeps_what_it_has_left(tmp_path: Path) -> None:
    """
    The leader cannot do it: it does not know what the other processes are doing.
    """
    clock = Clock()
    async with opened(tmp_path, clock) as leader, opened(tmp_path, clock) as uploads:
        store = uploads.store
        store.limits = StoreLimits(1 << 20, 10, 10, 1e6)
        reservation = store.reserve(store.begin(PLACE, "me", []), PLACE, 7, "me")
        reservation.close()
        store._process.writing.clear()
        leader.start()
        uploads.start()
        before = leader.store.usage()
        clock.advance(SWEEP_TIME)
        await until(lambda: leader.store.usage() != before)
        usage = leader.store.usage()

    assert (before, usage) == ((7, 1), (0, 1))


@pytest_twisted.ensureDeferred
async def test_a_result_that_nobody_waits_for(tmp_path: Path) -> None:
    """
    The result is undone; a failure is ignored.
    """
    clock = Clock()
    go = threading.Event()
    undone: list[int] = []

    def slow() -> int:
        go.wait(60)
        return 7

    def fails() -> int:
        go.wait(60)
        raise NoSuchUpload

    async with opened(tmp_path, clock) as uploads:
        cancelled = [uploads.run(slow, undo=undone.append), uploads.run(fails, undo=undone.append)]
        late = uploads.run(slow, undo=undone.append)
        assert uploads.waiting_count == 3
        for each in cancelled:
            each.cancel()
            with pytest.raises(CancelledError):
                await each
        clock.advance(DISK_TIME)
        with pytest.raises(ServiceUnavailable):
            await late
        go.set()
        await until(lambda: undone == [7, 7])
        assert await uploads.run(lambda: 8, undo=undone.append) == 8

    assert (undone, uploads.waiting_count, clock.getDelayedCalls()) == ([7, 7], 0, [])
