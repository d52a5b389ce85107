"""
The table of surviving mutants fits the source; ``tox -e mutation`` judges them all.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.mutation.__main__ import keep_only, take_over
from tests.mutation.table import KINDS, ROOT, Explained, Mutant, Survivor, load_settings, load_survivors

SURVIVORS = load_survivors()
TABLES = """
CREATE TABLE mutation_specs (module_path, operator_name, operator_args, occurrence, job_id);
CREATE TABLE work_items (job_id);
CREATE TABLE work_results (worker_outcome, output, test_outcome, diff, job_id);
"""
"What the tests need of a session."
KEPT = ("mutation_specs", "work_items", "work_results")


@pytest.mark.parametrize("survivor", SURVIVORS, ids=lambda survivor: f"{survivor.mutant.file}:{survivor.mutant.after}")
def test_each_row_fits_the_source(survivor: Survivor) -> None:
    """
    The mutated lines exist, and the reason is one of `KINDS`.
    """
    text = " ".join((ROOT / "s3proxy" / survivor.mutant.file).read_text("utf-8").split())

    assert " ".join(survivor.mutant.before.split()) in text
    assert survivor.kind in KINDS
    assert survivor.reason.endswith(".")


def test_each_room_is_there() -> None:
    """
    The mutated files and their tests exist.
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
    Changes of memory and speed; nothing else is explained without a row.
    """
    assert (Mutant("any.py", before, after) in Explained()) is is_explained


def test_what_was_judged_of_an_unchanged_file_is_taken_over(tmp_path: Path) -> None:
    """
    Results are matched by the mutation and its place, because the names of the jobs are new. Results that the new
    session already has stay.
    """
    former, new = tmp_path / "former", tmp_path / "new"
    for path, mark in ((former, "old"), (new, "new")):
        with closing(sqlite3.connect(path)) as database, database:
            database.executescript(TABLES)
            for file, occurrence in (("a.py", 0), ("a.py", 1), ("a.py", 2), ("b.py", 0)):
                spec = (file, "core/X", "{}", occurrence, f"{mark} {file} {occurrence}")
                database.execute("INSERT INTO mutation_specs VALUES (?, ?, ?, ?, ?)", spec)
                if (mark == "old" and occurrence != 2) or spec[-1] == "new a.py 1":
                    result = ("NORMAL", mark, "KILLED", "", spec[-1])
                    database.execute("INSERT INTO work_results VALUES (?, ?, ?, ?, ?)", result)

    count = take_over(former, new, ["a.py"])

    with closing(sqlite3.connect(new)) as database:
        known = sorted(database.execute("SELECT job_id, output FROM work_results"))
    assert count == 1
    assert known == [("new a.py 0", "old"), ("new a.py 1", "new")]


def test_mutants_of_other_files_leave_a_session(tmp_path: Path) -> None:
    """
    A session for some files of a room has no mutants of the others.
    """
    session = tmp_path / "session"
    with closing(sqlite3.connect(session)) as database, database:
        database.executescript(TABLES)
        for file in ("a.py", "b.py", "c.py"):
            database.execute("INSERT INTO mutation_specs VALUES (?, ?, ?, ?, ?)", (file, "core/X", "{}", 0, file))
            database.execute("INSERT INTO work_items VALUES (?)", (file,))
            database.execute("INSERT INTO work_results VALUES (?, ?, ?, ?, ?)", ("NORMAL", "", "KILLED", "", file))

    keep_only(session, ["a.py", "c.py"])

    with closing(sqlite3.connect(session)) as database:
        left = [database.execute(f"SELECT job_id FROM {table} ORDER BY job_id").fetchall() for table in KEPT]
    assert left == [[("a.py",), ("c.py",)]] * 3
