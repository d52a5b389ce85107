"""
What every test promises: it leaves the reactor as it found it, and no error unnoticed.
"""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import globalLogPublisher

from tests.oracle import fixture as oracle_fixture
from tests.support.liveness import LEDGER, Ledger


def pytest_configure(config: pytest.Config) -> None:
    """
    Make the oracle judge every request to a backend, in this process and in those that the tests start.
    """
    oracle_fixture.begin(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """
    Remove the files that child processes wrote for it.
    """
    oracle_fixture.end(config)


class ErrorLog:
    """
    Collects the errors that are logged while a test runs. A test that expects some flushes them.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __call__(self, event: dict[str, Any]) -> None:
        level = event.get("log_level")
        if event.get("log_failure") is not None or event.get("isError") or (level and level.name == "critical"):
            self.events.append(event)

    def flush(self) -> list[dict[str, Any]]:
        """
        Return the errors so far, and forget them.
        """
        events, self.events = self.events, []
        return events


@pytest.fixture(autouse=True)
def error_log() -> Iterator[ErrorLog]:
    """
    Fail a test that left an error in the log, including that of an unhandled Deferred.
    """
    log = ErrorLog()
    globalLogPublisher.addObserver(log)
    yield log
    # Deferreds end with their last reference; the young generations contain the reference cycles of one test.
    gc.collect(1)
    globalLogPublisher.removeObserver(log)
    assert not log.events, "\n".join(str(e.get("log_failure") or e.get("log_format")) for e in log.events)


def _state() -> tuple[set[Any], set[Any], list[Any]]:
    # The reactor's own wakers are created when it first runs.
    readers = set(reactor.getReaders()) - reactor._internalReaders
    return readers, set(reactor.getWriters()), list(reactor.getDelayedCalls())


@pytest.fixture(autouse=True)
def clean_reactor() -> Iterator[None]:
    """
    Fail a test that left a reader, a writer or a timer in the reactor.
    """
    readers, writers, calls = _state()
    yield
    after = _state()
    left = [*(after[0] - readers), *(after[1] - writers), *[call for call in after[2] if call not in calls]]
    assert not left, f"left in the reactor: {left}"


@pytest.fixture(autouse=True)
def liveness(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ledger]:
    """
    Fail a test in which something was alive for several turns that no deadline would have ended, or broke a rule of
    `tests.support.invariants`.
    """
    LEDGER.clear()
    run_until_current = reactor.runUntilCurrent

    def turn() -> None:
        try:
            LEDGER.look()
        except Exception:
            # Otherwise no turn would ever end.
            LEDGER.faults.append(traceback.format_exc())
        run_until_current()

    monkeypatch.setattr(reactor, "runUntilCurrent", turn)
    yield LEDGER
    faults = list(LEDGER.faults)
    LEDGER.clear()
    assert not faults, f"between two turns: {faults}"


CASES = pytest.StashKey[dict[str, Counter[str]]]()


@pytest.fixture
def case_table(pytestconfig: pytest.Config) -> dict[str, Counter[str]]:
    """
    Count the outcomes by file of the data set; printed when all tests have run.
    """
    return pytestconfig.stash.setdefault(CASES, {})


FAULTS = pytest.StashKey[dict[str, dict[str, str]]]()


@pytest.fixture
def fault_table(pytestconfig: pytest.Config) -> dict[str, dict[str, str]]:
    """
    What clients read, by fault and kind of request; printed when all tests have run.
    """
    return pytestconfig.stash.setdefault(FAULTS, {})


LIVES = pytest.StashKey[dict[str, dict[str, str]]]()


@pytest.fixture
def liveness_table(pytestconfig: pytest.Config) -> dict[str, dict[str, str]]:
    """
    When requests ended, and when nothing was left, by state and loss; printed when all tests have run.
    """
    return pytestconfig.stash.setdefault(LIVES, {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """
    Print how many requests the oracle judged, and the outcomes of the faults and of the data set.
    """
    terminalreporter.write_line(oracle_fixture.summary(config))
    faults = config.stash.get(FAULTS, {})
    if faults:
        kinds = list(next(iter(faults.values())))
        terminalreporter.section("faults of a backend, and what clients read")
        terminalreporter.write_line(f"{'':36}" + "".join(f"{kind:>24}" for kind in kinds))
        for fault, row in faults.items():
            terminalreporter.write_line(f"{fault:36}" + "".join(f"{row.get(kind, ''):>24}" for kind in kinds))
    lives = config.stash.get(LIVES, {})
    if lives:
        losses = list(dict.fromkeys(loss for row in lives.values() for loss in row))
        terminalreporter.section("seconds until a request has ended / until nothing is left")
        terminalreporter.write_line(f"{'':52}" + "".join(f"{loss:>22}" for loss in losses))
        for state, row in lives.items():
            terminalreporter.write_line(f"{state:52}" + "".join(f"{row.get(loss, ''):>22}" for loss in losses))
    table = config.stash.get(CASES, {})
    if not table:
        return
    outcomes = ("passed", "allowed alternative", "tolerated")
    terminalreporter.section("the data set, run by run; optional ones left out: none")
    terminalreporter.write_line(f"{'':32}" + "".join(f"{outcome:>22}" for outcome in outcomes))
    total: Counter[str] = Counter()
    for file in sorted(table):
        total += table[file]
        terminalreporter.write_line(f"{file:32}" + "".join(f"{table[file][outcome]:>22}" for outcome in outcomes))
    terminalreporter.write_line(f"{'all':32}" + "".join(f"{total[outcome]:>22}" for outcome in outcomes))
