"""
The whole examination of a storage system, from the first question to the list of what is left.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from twisted.internet.defer import Deferred

from s3proxy.backend.request import BackendError
from s3proxy.doctor import (
    checksums,
    commits,
    conditions,
    keys,
    payloads,
    responses,
    signatures,
    sources,
    strays,
    subresources,
    surfaces,
)
from s3proxy.doctor.approach import enter, find_way
from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.sweep import sweep
from s3proxy.doctor.verdict import Finding, Probe, Verdict, printable, unclear

ROOMS: tuple[tuple[str, tuple[Probe, ...]], ...] = (
    ("signatures", signatures.PROBES),
    ("incomplete bodies", commits.PROBES),
    ("bodies", payloads.PROBES),
    ("checksums", checksums.PROBES),
    ("keys", keys.PROBES),
    ("responses", responses.PROBES),
    ("after a response", strays.PROBES),
    ("conditions of writes", conditions.PROBES),
    ("sources of copies", sources.PROBES),
    ("sub-resources", subresources.PROBES),
    ("paths outside S3", surfaces.PROBES),
    ("last check", (commits.LATE,)),
)
"""
All probes, in the order in which they run.
"""

PROBE_COUNT = sum(len(probes) for _, probes in ROOMS)


T = TypeVar("T")


class Interrupted(Exception):
    """
    Raised when the user interrupts the run.
    """


@dataclass(slots=True)
class Examination:
    """
    A run of all probes, and its findings so far.

    Args:
        tell_room: Called with the title of the next group of probes.
        tell: Called with each finding.

    Attributes:
        findings: The findings by name of the probe, in order.
        left: What the probes stored and could not remove; None before the end.
    """

    storage: Storage
    tell_room: Callable[[str], None]
    tell: Callable[[Finding], None]
    findings: dict[str, Finding] = field(default_factory=dict)
    left: list[str] | None = None
    _asking: Deferred[Any] | None = None
    _is_interrupted: bool = False

    async def run(self) -> None:
        """
        Run all probes. Remove what was stored, however the run ends.

        Raises:
            CannotExamine: The storage system cannot be reached, or refuses the key.
            Interrupted: `interrupt` was called.
        """
        await self._unless_interrupted(find_way(self.storage))
        try:
            await self._unless_interrupted(enter(self.storage))
            for title, probes in ROOMS:
                self.tell_room(title)
                for probe in probes:
                    await self._ask(probe)
        finally:
            self.left = [printable(item) for item in await sweep(self.storage)]

    def interrupt(self) -> None:
        """
        Run no further probe. `run` removes what was stored before it ends.
        """
        self._is_interrupted = True
        if self._asking is not None:
            self._asking.cancel()

    async def _unless_interrupted(self, asked: Coroutine[Deferred[Any], Any, T]) -> T:
        self._asking = asking = Deferred.fromCoroutine(asked)
        try:
            return await asking
        finally:
            self._asking = None
            # The cancellation may have become another exception on its way.
            if self._is_interrupted:
                raise Interrupted

    @property
    def takes_any_secret(self) -> bool:
        """
        Whether a wrong secret was accepted. The findings on signatures then mean nothing.
        """
        finding = self.findings.get("wrong-secret-refused")
        return finding is not None and finding.verdict is Verdict.NO

    async def _ask(self, probe: Probe) -> None:
        try:
            verdict, why = await self._unless_interrupted(probe.examine(self.storage))
        except BackendError as error:
            verdict, why = unclear(f"no response: {error.fault.name.lower()}")
        except Unclear as error:
            verdict, why = unclear(str(error))
        if self.takes_any_secret and probe.name in signatures.SIGNATURE_NAMES:
            verdict, why = signatures.disbelieved((verdict, why))
        finding = Finding(probe.name, probe.about, verdict, printable(why).replace("\n", " "))
        self.findings[probe.name] = finding
        self.tell(finding)
