"""
The table of defences fits the source, and every run proves a sample of it; ``tox -e defences`` proves all.
"""

from __future__ import annotations

import ast
from collections import Counter
from functools import cache

import pytest

from tests.defences.runner import check_defences
from tests.defences.table import ROOT, Defence, Promise, Removal, StaleRow, load_defences, load_promises

DEFENCES = load_defences()
BY_NAME = {defence.name: defence for defence in DEFENCES}
PROMISES = load_promises()
# Number of items of each number in promises.toml.
ITEM_COUNTS = dict.fromkeys(range(1, 27), 1) | {
    2: 3, 3: 3, 4: 4, 5: 5, 7: 3, 8: 4, 9: 2, 10: 3, 12: 2, 13: 3, 14: 2, 15: 2, 16: 19
}  # fmt: skip
# The gate, and the table of operations with the code that removes everything else from a query.
LAST_LINE = {"resign/gate.py", "resign/target.py", "s3/classification.py"}
needs_git = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="the copy is of what git tracks")
# Code that judges, bounds, escapes, masks or resets is in one of these rooms.
ROOMS = (
    "authentication",
    "awschunked",
    "backend",
    "body",
    "configuration",
    "credentials",
    "daemon",
    "embedding",
    "exchange",
    "forwarding",
    "frontend",
    "mending",
    "multipart",
    "postobject",
    "profiles",
    "resign",
    "s3",
    "sigv2",
    "sigv4",
    "telemetry",
    "transport",
)


@cache
def source(name: str) -> str:
    """
    The text of one of s3proxy's files.
    """
    return (ROOT / "s3proxy" / name).read_text("utf-8")


def room(removal: Removal) -> str:
    """
    The room that the removed text belongs to.
    """
    return removal.file.partition("/")[0]


@cache
def functions(name: str) -> frozenset[str]:
    """
    The names of a test file's functions.
    """
    tree = ast.parse((ROOT / name).read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


@pytest.mark.parametrize("defence", DEFENCES, ids=lambda defence: defence.name)
def test_each_row_fits_the_source(defence: Defence) -> None:
    """
    Its text occurs exactly once, the result without it is different and is Python, and its tests exist.
    """
    for removal in defence.removals:
        assert removal.apply(source(removal.file)) != source(removal.file)
    assert defence.what.endswith(".")
    assert defence.tests
    for test in defence.tests:
        file, _, name = test.partition("::")
        assert name.partition("[")[0] in functions(file)


def test_the_table_is_whole() -> None:
    """
    Each name is unique, and each room has rows.
    """
    names = Counter(defence.name for defence in DEFENCES)
    files = {removal.file for defence in DEFENCES for removal in defence.removals}

    assert [name for name, count in names.items() if count > 1] == []
    assert len(DEFENCES) >= 400
    assert [room for room in ROOMS if not any(file.startswith(f"{room}/") for file in files)] == []


def test_every_promise_is_listed() -> None:
    """
    In order, each item once.
    """
    expected = [
        str(number) if count == 1 else f"{number}{chr(ord('a') + part)}"
        for number, count in ITEM_COUNTS.items()
        for part in range(count)
    ]

    assert [promise.item for promise in PROMISES] == expected


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.item)
def test_each_promise_is_kept_by_a_defence_and_by_the_last_line(promise: Promise) -> None:
    """
    A test fails if only the promise's own defence is removed. If the gate or the table also keeps the promise, another
    test fails without both.
    """
    rows = [BY_NAME[name].removals for name in promise.rows]
    held = [BY_NAME[name].removals for name in promise.held_by_gate]

    assert promise.what.endswith(".")
    assert any(len(removals) == 1 for removals in rows)
    assert not any(removal.file == "resign/gate.py" for removals in rows for removal in removals)
    for first, *others in held:
        assert room(first) in {room(removals[0]) for removals in rows}
        assert {removal.file for removal in others} & LAST_LINE
    assert bool(held) != bool(promise.gate)
    assert held or promise.gate.startswith("does not reach: ")


@needs_git
def test_a_sample_is_proven() -> None:
    """
    Without each of these defences its tests fail.
    """
    lines: list[str] = []

    outcomes = check_defences([defence for defence in DEFENCES if defence.is_quick], lines.append)

    assert len(outcomes) >= 8
    assert [outcome.reason for outcome in outcomes if not outcome.is_caught] == []
    assert len(lines) == len(outcomes)


@needs_git
def test_a_row_that_proves_nothing_is_told() -> None:
    """
    A row is reported as not caught if its test passes without the defence, if it breaks its module, or if its text is
    gone.
    """
    file, test = "sigv4/signing_key.py", "tests/sigv4/test_signing_key.py::test_a_signature_is_compared_whole"
    bound = Removal(file, "if len(keys) > self._size:", "if False:")
    rows = [
        Defence("passes", "Another test needs it.", (bound,), (test,)),
        Defence("breaks", "What is left does not run.", (Removal(file, "import hmac\n", "import hmack\n"),), (test,)),
        Defence("stale", "It was changed.", (Removal(file, "no such text", ""),), (test,)),
    ]

    outcomes = {outcome.defence.name: outcome for outcome in check_defences(rows, lambda line: None)}

    assert not any(outcome.is_caught for outcome in outcomes.values())
    assert "pass without it" in outcomes["passes"].reason
    assert "no test failed" in outcomes["breaks"].reason
    assert "occurs 0 times" in outcomes["stale"].reason


def test_a_removal_must_fit_once() -> None:
    """
    A text that occurs twice could be the wrong one, and a result that is not Python proves nothing.
    """
    with pytest.raises(StaleRow, match="2 times"):
        Removal("f", "a", "b").apply("a = a\n")
    with pytest.raises(StaleRow, match="no Python"):
        Removal("f", "a", "(").apply("a = 1\n")
