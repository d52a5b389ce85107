"""
The architecture page leads to what exists.
"""

from __future__ import annotations

import re

import pytest

from tests.support.root import ROOT

PAGE = (ROOT / "docs/explanation/architecture.md").read_text("utf-8")
ROWS = re.findall(r"^\| [^|]+\? \| (.+) \|$", PAGE, re.MULTILINE)
"The second cells of the table of questions."

ROOMS = re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`[^|]+) \| [^|]+ \|$", PAGE, re.MULTILINE)))


def quoted(row: str) -> list[tuple[str, str]]:
    """
    Return each name in backquotes of a row with the file that stands before it.
    """
    file, found = "", []
    for word in re.findall(r"`([^`]+)`", row):
        if "/" in word:
            file = word
        found.append((file, "" if "/" in word else word))
    return found


@pytest.mark.parametrize("row", ROWS)
def test_each_row_names_what_exists(row: str) -> None:
    """
    Each file exists, and defines the classes, functions, methods and constants that the row names.
    """
    names = quoted(row)
    assert names
    for file, name in names:
        path = ROOT / "s3proxy" / file
        assert path.is_file() or path.is_dir()
        for part in filter(None, name.split(".")):
            defined = rf"^ *(?:(?:async )?def|class) {re.escape(part)}\b|^{re.escape(part)}\b.* = "
            assert re.search(defined, path.read_text("utf-8"), re.MULTILINE), f"{file}: {part}"


def test_each_room_has_its_line() -> None:
    """
    The table of rooms has each package, and no other.
    """
    assert sorted(ROOMS) == sorted(path.parent.name for path in (ROOT / "s3proxy").glob("*/__init__.py"))


def test_there_are_questions() -> None:
    """
    The table is found.
    """
    assert len(ROWS) > 20
