"""
What was found out: one question about a storage, and its answer.
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
    The answer to a question.
    """

    YES = "yes"
    NO = "no"
    UNCLEAR = "unclear"


Judgement = tuple[Verdict, str]
"""
A verdict, and why.
"""


Examine = Callable[["Storage"], Coroutine[Any, Any, Judgement]]
"""
Answers a question. Whatever it stores is below the storage's prefix.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    A question and its answer.

    Attributes:
        name: Of the probe.
        about: The question, as a statement which the verdict confirms or denies.
        why: What was seen.
    """

    name: str
    about: str
    verdict: Verdict
    why: str


@dataclass(frozen=True, slots=True)
class Probe:
    """
    A question, and how it is answered.

    Attributes:
        name: Never changes: reports are compared by it.
        about: The question, as a statement.
        examine: Returns the answer.
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
    Say that it could not be seen.
    """
    return Verdict.UNCLEAR, why


def printable(text: str) -> str:
    """
    Return a text of which part came from the storage, fit for a terminal: lines stay, other control characters do not.
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else f"\\x{ord(letter):02x}" for letter in text)
