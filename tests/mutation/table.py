"""
What is mutated, and what may survive.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = Path(__file__).with_name("rooms.toml")
SURVIVORS = Path(__file__).with_name("survivors.toml")

KINDS = frozenset({"equivalent", "message", "performance", "unreachable"})
"""
Why a mutant that survives is no fault: it does the same; only the text of a refusal differs; only time or memory
differs; no caller can reach the difference.
"""


@dataclass(frozen=True, slots=True)
class Room:
    """
    A room, and the tests that judge its mutants.

    Attributes:
        without: Tests among them that are left out.
    """

    name: str
    tests: tuple[str, ...]
    without: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Mutant:
    """
    A change of the source, by its lines: their numbers change with every edit above them.

    Attributes:
        file: Below ``s3proxy/``.
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
    What `ROOMS` says.
    """

    exclude_operators: tuple[str, ...]
    seconds: float
    rooms: tuple[Room, ...]


def load_settings() -> Settings:
    """
    Read what is mutated.
    """
    content = tomllib.loads(ROOMS.read_text("utf-8"))
    rooms = tuple(Room(room["name"], tuple(room["tests"]), tuple(room.get("without", ()))) for room in content["room"])
    return Settings(tuple(content["exclude_operators"]), content["seconds"], rooms)


def load_survivors() -> tuple[Survivor, ...]:
    """
    Read what may survive.
    """
    content = tomllib.loads(SURVIVORS.read_text("utf-8"))
    return tuple(
        Survivor(Mutant(row["file"], row["before"], row["after"]), row["kind"], row["reason"])
        for row in content.get("survivor", ())
    )
