"""
Questions about a storage system, and their results.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from s3proxy.s3.identity_enum import IdentityEnum

if TYPE_CHECKING:
    from s3proxy.doctor.storage import Storage


class Verdict(IdentityEnum):
    """
    The result of a question.
    """

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


Judgement = tuple[Verdict, str]
"""
A verdict, and the reason.
"""


Examine = Callable[["Storage"], Coroutine[Any, Any, Judgement]]
"""
Finds the result of a question. It stores objects only below the prefix.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A question and its result.

    Attributes:
        name: The name of the probe.
        about: The question, as a statement that the verdict confirms or denies.
        why: The reason for the verdict.
    """

    name: str
    about: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Probe:
    """
    A question, and how its result is found.

    Attributes:
        name: The stable name, by which reports are compared.
        about: The question, as a statement.
        examine: Returns the result.
    """

    name: str
    about: str
    examine: Examine


def judge(is_so: bool, why: str) -> Judgement:
    """
    Return yes or no.
    """
    return Verdict.YES if is_so else Verdict.NO, why


def unclear(why: str) -> Judgement:
    """
    Return a verdict for what could not be seen.
    """
    return Verdict.UNCLEAR, why


def printable(text: str) -> str:
    """
    Return a text from the storage system in a form that is safe for a terminal.

    Line feeds stay, and other control characters are escaped.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)
