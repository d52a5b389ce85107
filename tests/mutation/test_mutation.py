"""
The table of surviving mutants fits the source; ``tox -e mutation`` judges them all.
"""

from __future__ import annotations

import pytest

from tests.mutation.table import KINDS, ROOT, Explained, Mutant, Survivor, load_settings, load_survivors

SURVIVORS = load_survivors()


@pytest.mark.parametrize("survivor", SURVIVORS, ids=lambda survivor: f"{survivor.mutant.file}:{survivor.mutant.after}")
def test_each_row_fits_the_source(survivor: Survivor) -> None:
    """
    The lines which are mutated are there, and the reason is one.
    """
    text = " ".join((ROOT / "s3proxy" / survivor.mutant.file).read_text("utf-8").split())

    assert " ".join(survivor.mutant.before.split()) in text
    assert survivor.kind in KINDS
    assert survivor.reason.endswith(".")


def test_each_room_is_there() -> None:
    """
    What is mutated and what judges it exist.
    """
    for room in load_settings().rooms:
        assert (ROOT / "s3proxy" / room.name).exists()
        assert all((ROOT / test).exists() for test in room.tests)
    assert len({survivor.mutant for survivor in SURVIVORS}) == len(SURVIVORS)


@pytest.mark.parametrize(
    ("before", "after", "is_explained"),
    [
        ("@dataclass(frozen=True, slots=True)", "@dataclass(frozen=True, slots=False)", True),
        ("@lru_cache(maxsize=16)", "@lru_cache(maxsize= 17)", True),
        ("@dataclass(frozen=True, slots=True)", "@dataclass(frozen=True, slots=True, eq=False)", False),
        ("return 200, b'OK'", "return 201, b'OK'", False),
    ],
)
def test_what_is_harmless_in_every_file(before: str, after: str, is_explained: bool) -> None:
    """
    Memory and speed; nothing else is explained without a row.
    """
    assert (Mutant("any.py", before, after) in Explained()) is is_explained
