"""
What is mutated, and which mutants may survive.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = Path(__file__).with_name("rooms.toml")
SURVIVORS = Path(__file__).with_name("survivors.toml")

TIMED_OUT = "timed out"
"""
The remark on a mutant whose tests did not end: it counts as killed.
"""

KINDS = frozenset({"equivalent", "message", "performance", "unreachable"})
"""
Why a surviving mutant is acceptable: it does the same; only the text of an error differs; only time or memory differs;
no caller can reach the difference.
"""


@dataclass(frozen=True, slots=True)
class Room:
    """
    A room, and the tests that judge its mutants.

    Attributes:
        without: Tests that are left out.
        first: By file below ``s3proxy/``, the tests that kill most mutants of the code that runs while it is imported;
            by default those of the same name.
    """

    name: str
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()
    first: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """
    A change of the source, by its lines: their numbers change with every edit above them.

    Attributes:
        file: Path below ``s3proxy/``.
        before: The changed lines, without the white space around them.
    """

    file: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Survivor:
    """
    A mutant that no test fails for, and why that is right.

    Attributes:
        kind: One of `KINDS`.
    """

    mutant: Mutant
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Settings:
    """
    The content of `ROOMS`.

    Attributes:
        harmless: Patterns of changes that change no verdict in any file.
    """

    exclude_operators: tuple[str, ...]
    harmless: tuple[str, ...]
    rooms: tuple[Room, ...]


class Explained:
    """
    The mutants that are known to change no verdict: those with a row, and those that are harmless in every file.
    """

    def __init__(self) -> None:
        self._mutants = {survivor.mutant for survivor in load_survivors()}
        self._harmless = re.compile("|".join(load_settings().harmless))

    def __contains__(self, mutant: Mutant) -> bool:
        return mutant in self._mutants or self._harmless.sub("", mutant.before) == self._harmless.sub("", mutant.after)


def mutant_of(diff: str) -> Mutant:
    """
    Read a mutant from its unified diff.
    """
    file, before, after = "", [], []
    for line in diff.splitlines():
        if line.startswith("--- "):
            file = line.partition("s3proxy/")[2].strip()
        elif line.startswith("-"):
            before.append(line[1:].strip())
        elif line.startswith("+") and not line.startswith("+++"):
            after.append(line[1:].strip())
    return Mutant(file, " ".join(" ".join(before).split()), " ".join(" ".join(after).split()))


def load_settings() -> Settings:
    """
    Read the rooms and their tests.
    """
    content = tomllib.loads(ROOMS.read_text("utf-8"))
    rooms = tuple(
        Room(
            name,
            tuple(room["tests"]),
            tuple(room.get("without", ())),
            {file: tuple(tests) for file, tests in room.get("first", {}).items()},
        )
        for room in content["room"]
        for name in (room["name"], *room.get("alike", ()))
    )
    return Settings(tuple(content["exclude_operators"]), tuple(content["harmless"]), rooms)


def load_survivors() -> tuple[Survivor, ...]:
    """
    Read the rows of mutants that may survive.
    """
    content = tomllib.loads(SURVIVORS.read_text("utf-8"))
    return tuple(
        Survivor(Mutant(row["file"], row["before"], row["after"]), row["kind"], row["reason"])
        for row in content.get("survivor", ())
    )
