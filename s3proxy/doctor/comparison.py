"""
How a storage system treats conditions of writes, beside what a profile expects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from s3proxy.doctor.conditions import CONDITIONS, Condition, Treatment, treatment_of
from s3proxy.doctor.verdict import Finding
from s3proxy.profiles.allowed import Feature
from s3proxy.profiles.profile import Profile

SENT = (Treatment.EVALUATED, Treatment.REFUSED)
"""
How a storage system must treat a condition that is sent to it. If the condition is refused, no client takes it for a
lock.
"""

KEPT_BACK = (Treatment.IGNORED, Treatment.REFUSED)
"""
How a storage system may treat a condition that s3proxy refuses: clients lose nothing.
"""

_CONSEQUENCES = {
    Treatment.IGNORED: "it is sent, and clients take it for a lock",
    Treatment.EVALUATED: "clients get 501, though the storage system evaluates it",
}
"""
The consequence of each treatment that the profile does not expect.
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """
    A condition, with its treatment.

    Attributes:
        found: The treatment by the storage system; None if it is unclear.
        expected: The treatments that the profile expects; None if the profile refuses the condition, whatever the
            storage system does.
    """

    condition: Condition
    found: Treatment | None
    expected: tuple[Treatment, ...] | None

    @property
    def is_as_expected(self) -> bool | None:
        """
        Whether the profile expects the treatment; None if that is not known.
        """
        if self.found is None or self.expected is None:
            return None
        return self.found in self.expected

    def __str__(self) -> str:
        found = "unclear" if self.found is None else self.found.value
        about = f"{self.condition.about}: {found}"
        if self.expected is None:
            return f"{about}; s3proxy refuses it"
        if self.found is None:
            return f"{about}; the profile expects that it is {' or '.join(one.value for one in self.expected)}"
        if self.is_as_expected:
            return f"{about}, as the profile expects"
        return f"{about}, unlike the profile; {_CONSEQUENCES[self.found]}"


def expected(profile: Profile, condition: Condition) -> tuple[Treatment, ...] | None:
    """
    Return the treatments that a profile expects; None if its storage system never gets the condition.
    """
    if condition.operation not in profile.operations:
        return None
    if condition.header in profile.ignored_conditions.get(condition.operation, ()):
        return KEPT_BACK
    return SENT if Feature.CONDITIONAL_WRITES in profile.features else None


def compare(profile: Profile, findings: Mapping[str, Finding]) -> Iterator[Compared]:
    """
    Yield each condition whose probe ran.

    Args:
        findings: The findings by name of the probe.
    """
    for condition in CONDITIONS:
        finding = findings.get(condition.name)
        if finding is not None:
            yield Compared(condition, treatment_of(finding), expected(profile, condition))
