"""
What any client can make a reader of foreign input do: its time grows no faster than the input, and its memory is
bounded.
"""

from __future__ import annotations

import pytest

from s3proxy.s3 import query
from tests.support.bounded import ROWS, Row, Shape, excess, growth, peak

CASES = [
    pytest.param(row, shape, id=f"{row.name}: {name}".replace(" ", "-"))
    for row in ROWS
    for name, shape in row.shapes.items()
]


@pytest.fixture(autouse=True)
def nothing_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The measure reads the same input again and again: each time must cost what the first one does.
    """
    monkeypatch.setattr(query, "_MAX_KEPT_SIZE", 0)


@pytest.mark.parametrize(("row", "shape"), CASES)
def test_time_grows_no_faster_than_the_input(row: Row, shape: Shape) -> None:
    """
    Up to the reader's limit, whatever the input consists of.
    """
    assert excess(growth(row, shape)) == ""


@pytest.mark.parametrize(("row", "shape"), CASES)
def test_memory_is_bounded_by_the_input(row: Row, shape: Shape) -> None:
    """
    Bytes for each byte of the input, and 64 KiB in addition.
    """
    data = shape(row.limit)

    assert peak(row, data) <= row.memory * len(data) + 64 * 1024


@pytest.mark.parametrize(
    ("seconds", "is_linear"),
    [
        ([0.001, 0.002, 0.004, 0.008], True),
        ([0.001, 0.0024, 0.006, 0.014], True),
        ([0.0001, 0.0002, 0.0004, 0.0008], True),
        ([0.001, 0.004, 0.016, 0.064], False),
        ([0.0001, 0.001, 0.01, 0.05], False),
        ([0.3, 0.3, 0.3, 0.5], False),
    ],
)
def test_what_counts_as_growth(seconds: list[float], is_linear: bool) -> None:
    """
    A test of the measure itself: it rejects four times the time for twice the input.
    """
    assert (excess(seconds) == "") is is_linear


def test_a_reader_which_is_quadratic_is_found() -> None:
    """
    Also a test of the measure itself: a list that is searched for each of its items.
    """

    def read(data: bytes) -> int:
        names = data.split(b",")
        return sum(name in names[:-1] for name in names[::4])

    row = Row("quadratic", read, 16 * 1024, 100)

    assert excess(growth(row, lambda size: b"".join(b"%x," % n for n in range(size // 5)))) != ""
