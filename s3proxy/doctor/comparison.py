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

_EVALUATED, _IGNORED, _REFUSED = Treatment.EVALUATED, Treatment.IGNORED, Treatment.REFUSED

_CONSEQUENCES = {
    (_IGNORED, _EVALUATED): "it is sent, and clients take it for a lock",
    (_REFUSED, _EVALUATED): "it is sent, and fails even if it holds",
    (_EVALUATED, _IGNORED): "clients get 501, though the storage system evaluates it",
}
"""
By what was found and what is expected. A condition that is refused everywhere may be expected to be ignored: the
profile refuses it as well.
"""


@dataclass(frozen=True, slots=True)
class Compared:
    """
    A condition, with its treatment.

    Attributes:
        found: None if it is not clear.
        expected: By the profile; None if the profile refuses it, whatever the storage system does.
    """

    condition: Condition
    found: Treatment | None
    expected: Treatment | None

    @property
    def is_as_expected(self) -> bool | None:
        """
        Whether clients get what the profile says; None if that is not known.
        """
        if self.found is None or self.expected is None:
            return None
        return (self.found, self.expected) not in _CONSEQUENCES

    def __str__(self) -> str:
        found = "unclear" if self.found is None else self.found.value
        about = f"{self.condition.about}: {found}"
        if self.expected is None:
            return f"{about}; s3proxy refuses it"
        if self.found is None:
            return f"{about}; the profile expects that it is {self.expected.value}"
        consequence = _CONSEQUENCES.get((self.found, self.expected))
        return (
            f"{about}, as the profile expects" if consequence is None else f"{about}, unlike the profile; {consequence}"
        )


def expected(profile: Profile, condition: Condition) -> Treatment | None:
    """
    Return the treatment that a profile expects; None if its storage system never gets the condition.
    """
    if condition.operation not in profile.operations:
        return None
    if condition.header in profile.ignored_conditions.get(condition.operation, ()):
        return _IGNORED
    return _EVALUATED if Feature.CONDITIONAL_WRITES in profile.features else None


def compare(profile: Profile, findings: Mapping[str, Finding]) -> Iterator[Compared]:
    """
    Yield each condition whose probe ran.

    Args:
        findings: By name of the probe.
    """
    for condition in CONDITIONS:
        finding = findings.get(condition.name)
        if finding is not None:
            yield Compared(condition, treatment_of(finding), expected(profile, condition))
