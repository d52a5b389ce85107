"""
The table of defences: the purpose of each, its source text, the text that replaces it, and the tests that need it.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TABLE = Path(__file__).with_name("defences.toml")
PROMISES = Path(__file__).with_name("promises.toml")


@dataclass(frozen=True, slots=True)
class Removal:
    """
    One edit of one file.

    Attributes:
        file: Path below ``s3proxy/``.
        source: Text of the defence; it occurs exactly once in the file.
        removed: The text that replaces it.
    """

    file: str
    source: str
    removed: str

    def apply(self, text: str) -> str:
        """
        Return a file's text without the defence.

        Raises:
            StaleRow: The source text does not occur exactly once, or the result is not Python.
        """
        count = text.count(self.source)
        if count != 1:
            raise StaleRow(f"{self.file}: the text occurs {count} times, not once: {self.source!r}")
        changed = text.replace(self.source, self.removed)
        try:
            compile(changed, self.file, "exec", dont_inherit=True)
        except SyntaxError as error:
            raise StaleRow(f"{self.file}: what is left is no Python: {error}") from None
        return changed


class StaleRow(Exception):
    """
    A row does not fit the current source.
    """


@dataclass(frozen=True, slots=True)
class Defence:
    """
    One row.

    Attributes:
        what: What the defence is for: the attack or the fault.
        removals: One; several if a test fails only without all of them. If one is removed alone, the others still
            defend.
        tests: Test ids; each of them fails without the defence.
        is_quick: Whether the row runs with the normal tests.
    """

    name: str
    what: str
    removals: tuple[Removal, ...]
    tests: tuple[str, ...]
    is_quick: bool = False


def load_defences(path: Path = TABLE) -> tuple[Defence, ...]:
    """
    Read the table.
    """
    content = tomllib.loads(path.read_text("utf-8"))
    defences = []
    for row in content["defence"]:
        removals = [Removal(row["file"], row["source"], row["removed"])]
        removals += [Removal(also["file"], also["source"], also["removed"]) for also in row.get("also", [])]
        defences.append(
            Defence(row["name"], row["what"], tuple(removals), tuple(row["tests"]), row.get("quick", False))
        )
    return tuple(defences)


@dataclass(frozen=True, slots=True)
class Promise:
    """
    One item of what the threat model promises.

    Attributes:
        item: Its number, and a letter if the number has several items.
        what: What holds.
        rows: Names of the defences that keep it; their tests fail without each of them.
        held_by_gate: Names of rows that remove such a defence together with the last line after it: the gate, or the
            table of operations.
        gate: Why the last line does not cover it; empty if it does.
    """

    item: str
    what: str
    rows: tuple[str, ...]
    held_by_gate: tuple[str, ...] = ()
    gate: str = ""


def load_promises(path: Path = PROMISES) -> tuple[Promise, ...]:
    """
    Read the promises.
    """
    content = tomllib.loads(path.read_text("utf-8"))
    return tuple(
        Promise(
            entry["item"],
            entry["what"],
            tuple(entry["rows"]),
            tuple(entry.get("held_by_gate", ())),
            entry.get("gate", ""),
        )
        for entry in content["promise"]
    )
