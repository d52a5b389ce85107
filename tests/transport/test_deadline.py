"""
A deadline passes, is moved, is cleared; the reactor gets as few calls as possible.
"""

from __future__ import annotations

from twisted.internet.task import Clock

from s3proxy.transport.deadline import Deadline


def make() -> tuple[Clock, list[float], Deadline]:
    clock = Clock()
    passed: list[float] = []
    return clock, passed, Deadline(clock, lambda: passed.append(clock.seconds()))


def test_it_passes_once_at_its_moment() -> None:
    """
    A deadline passes once its seconds are over, and not again.
    """
    clock, passed, deadline = make()
    deadline.set(10)

    clock.pump([9, 1, 100])

    assert passed == [10]


def test_moving_it_later_keeps_the_timer_and_the_promise() -> None:
    """
    A deadline that is moved passes at its last moment, on the existing timer.
    """
    clock, passed, deadline = make()
    deadline.set(10)
    timers = clock.getDelayedCalls()
    clock.advance(5)

    deadline.set(10)

    assert clock.getDelayedCalls() == timers
    clock.advance(5)
    assert passed == []
    clock.advance(5)
    assert passed == [15]


def test_moving_it_earlier_takes_effect() -> None:
    """
    A shorter time replaces a longer one.
    """
    clock, passed, deadline = make()
    deadline.set(100)

    deadline.set(3)

    clock.advance(3)
    assert passed == [3]
    clock.advance(200)
    assert passed == [3]


def test_a_clear_deadline_never_passes_and_can_be_set_again() -> None:
    """
    A cleared deadline stays silent until it is set again.
    """
    clock, passed, deadline = make()
    deadline.set(1)
    deadline.clear()
    clock.advance(5)

    deadline.set(1)

    clock.advance(1)
    assert passed == [6]


def test_cancelling_leaves_no_timer() -> None:
    """
    A connection that has ended leaves nothing in the reactor.
    """
    clock, passed, deadline = make()
    deadline.set(1)

    deadline.cancel()

    assert clock.getDelayedCalls() == []
    clock.advance(2)
    assert passed == []
