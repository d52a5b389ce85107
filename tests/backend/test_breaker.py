"""
The circuit breaker: when it opens, which requests it lets pass, and when it closes.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.backend.breaker import Breaker


def test_it_opens_after_failures_in_a_row() -> None:
    """
    A response in between restarts the count.
    """
    breaker = Breaker(3, 10)
    for outcome in ("failed", "failed", "succeeded", "failed", "failed"):
        assert breaker.admits(0)
        getattr(breaker, outcome)(*([0] if outcome == "failed" else []))
    assert not breaker.is_open

    breaker.failed(0)

    assert breaker.is_open
    assert not breaker.admits(9.9)
    assert breaker.opened_count == 1


def test_one_request_looks_whether_it_is_back() -> None:
    """
    Only one at a time. If it fails, the others are refused for another period; if it succeeds, they pass.
    """
    breaker = Breaker(1, 10)
    breaker.failed(0)

    assert [breaker.admits(10), breaker.admits(10)] == [True, False]
    breaker.failed(10, breaker.probe)
    assert [breaker.admits(19), breaker.admits(20), breaker.admits(20)] == [False, True, False]
    breaker.released(breaker.probe)
    assert breaker.admits(20)
    breaker.succeeded()
    assert [breaker.admits(20), breaker.admits(20), breaker.is_open] == [True, True, False]


def test_late_failures_do_not_keep_it_open() -> None:
    """
    Requests that ran when it opened do not move the time of the next probe.
    """
    breaker = Breaker(2, 10)
    for now in (0, 1, 5, 9):
        breaker.failed(now)

    assert breaker.admits(11)
    assert breaker.opened_count == 1


def test_a_probe_that_is_given_up_says_nothing() -> None:
    """
    The breaker neither opens for another period nor closes: the next request is the probe.
    """
    breaker = Breaker(1, 10)
    breaker.failed(0)
    assert breaker.admits(10)

    breaker.released(breaker.probe)

    assert (breaker.is_open, breaker.opened_count) == (True, 1)
    assert [breaker.admits(10), breaker.admits(10)] == [True, False]


def test_a_probe_keeps_others_out_no_longer_than_its_time() -> None:
    """
    An upload is a probe for as long as its client sends: another request may probe before it ends.
    """
    breaker = Breaker(1, 10)
    breaker.failed(0)
    assert breaker.admits(10)
    slow = breaker.probe

    assert [breaker.admits(19), breaker.admits(20), breaker.admits(20)] == [False, True, False]
    breaker.failed(21, slow)
    breaker.released(slow)
    assert [breaker.admits(29), breaker.opened_count] == [False, 1]
    breaker.succeeded()
    assert breaker.admits(29)


@pytest.mark.parametrize("outcome", ["failed", "released"])
def test_only_the_probe_speaks_for_itself(outcome: str) -> None:
    """
    A request that was sent before the breaker opened ends during a probe: nothing changes for others.
    """
    breaker = Breaker(1, 10)
    breaker.failed(0)
    assert breaker.admits(10)

    getattr(breaker, outcome)(*([11] if outcome == "failed" else []))

    assert (breaker.admits(11), breaker.opened_count) == (False, 1)
    breaker.released(breaker.probe)
    assert breaker.admits(11)


@given(st.lists(st.sampled_from(["ask", "ok", "bad", "gone"]), max_size=60))
def test_it_never_locks_itself_out(steps: list[str]) -> None:
    """
    After any sequence of events, some request passes when the breaker's time is over and no probe runs.
    """
    breaker, now = Breaker(2, 10), 0.0
    running: list[int] = []
    for step in steps:
        now += 3
        if step == "ask":
            if breaker.admits(now):
                running.append(breaker.probe)
        elif running:
            probe = running.pop()
            if step == "bad":
                breaker.failed(now, probe)
            elif step == "ok":
                breaker.succeeded()
            else:
                breaker.released(probe)
    for probe in running:
        breaker.released(probe)

    assert breaker.admits(now + 11)


def test_it_can_be_switched_off() -> None:
    """
    With a limit of zero failures it never opens.
    """
    breaker = Breaker(0, 10)
    for _ in range(100):
        breaker.failed(0)

    assert breaker.admits(0)
