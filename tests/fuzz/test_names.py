"""
Whatever names a signed request has, every kind of backend reads what its client asked for, or gets nothing.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.profiles.known import PROFILES
from tests.fuzz.grammar import ATTACKS, CARRIERS, OWN, Case, Draft, make_case
from tests.fuzz.readers import read_by_all
from tests.fuzz.recording import Asker, RecordingBackend
from tests.fuzz.signing import Attacker
from tests.oracle.tap import ORACLE
from tests.support.harness import NOW, SERVER, Harness, turns

COUNT = int(os.environ.get("S3PROXY_FUZZ_COUNT", "2000"))
"Requests of all tests of this module together."

SEED = os.environ.get("S3PROXY_FUZZ_SEED", "1")

BACKENDS = ("generic", "ceph-rgw", "swift", "minio", "walrus-3.4")
SIGNATURES = ("v4", "v2", "none")
MAX_FINDINGS = int(os.environ.get("S3PROXY_FUZZ_FINDINGS", "5"))

_KEY = SERVER["credentials"][0]
ATTACKER = Attacker(_KEY["access_key"], _KEY["secret_key"], NOW)
_PASSED = frozenset({200, 201, 204, 206, 303, 304})


class Target:
    """
    A proxy, and everything that can be seen of it.
    """

    def __init__(self, profile: str, signature: str, error_log: Any) -> None:
        self.profile = PROFILES[profile]
        self.backend = RecordingBackend()
        # With V2, s3proxy signs anonymous reads in one bucket.
        buckets = (OWN.decode(),) if signature == "v2" else ()
        self.harness = Harness(
            profile=self.profile,
            signature=signature,
            backend=self.backend,
            anonymous=Anonymous(passes=True, signed_buckets=buckets),
            forwarded="x-forwarded" if profile == "generic" else "none",
        )
        self.asker = Asker(self.harness)
        self._error_log = error_log

    async def try_draft(self, draft: Draft) -> tuple[str, list[str]]:
        """
        Send a request.

        Returns:
            Its outcome, and what is wrong.
        """
        wire = ATTACKER.encode(draft)
        responses, fault = await self.asker.ask(wire, draft.method.decode("latin-1"))
        faults = [fault] if fault else []
        outcome = "closed"
        for response in responses:
            code = response.body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode()
            if response is responses[0]:
                outcome = code or str(response.status)
            if response.status >= 500 and response.status != 501:
                faults.append(f"{response.status} {code}")
            elif response.status >= 400 and not code and draft.method != b"HEAD" and b" HEAD" not in wire:
                faults.append(f"{response.status} without a code: {response.body[:200]!r}")
            elif response.status < 400 and response.status not in _PASSED:
                faults.append(f"status {response.status}")
        for raw in self.backend.take():
            _, difference = read_by_all(
                raw, plus_in_paths=self.profile.escapes_plus, service_path=self.profile.service_path
            )
            if difference:
                faults.append(f"{difference}: {raw!r}")
        breaches, ORACLE.breaches = ORACLE.breaches, []
        faults += breaches
        faults += [str(event.get("log_failure") or event.get("log_format")) for event in self._error_log.flush()]
        if faults:
            self.asker.drop()
            await turns(3)
        self.harness.records.clear()
        self.harness.refused.clear()
        return outcome, faults

    async def shrink(self, case: Case) -> Case:
        """
        Leave out every change that a finding does not need.
        """
        for fewer in case.fewer():
            if (await self.try_draft(fewer.draft()))[1]:
                return await self.shrink(fewer)
        return case


@asynccontextmanager
async def targets(profile: str, error_log: Any) -> AsyncIterator[list[Target]]:
    """
    Run a proxy for each signature.
    """
    found = [Target(profile, signature, error_log) for signature in SIGNATURES]
    try:
        yield found
    finally:
        for target in found:
            await target.harness.close()


def story(number: int, case: Case, target: Target, faults: list[str]) -> str:
    """
    Describe a finding.
    """
    draft = case.draft()
    return "\n".join(
        (
            f"{target.profile.name}, {target.harness.signature}, number {number} of seed {SEED!r}: {case!r}",
            f"  {ATTACKER.encode(draft)!r}",
            *(f"  {fault}" for fault in faults),
        )
    )


@pytest.mark.parametrize("profile", BACKENDS)
@pytest_twisted.ensureDeferred
async def test_names_that_two_readers_read_otherwise(
    profile: str, error_log: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """
    A correctly signed request is forwarded as one that four readers read alike, or is refused with S3's error.
    """
    outcomes: Counter[str] = Counter()
    passed: Counter[str] = Counter()
    findings: list[str] = []
    count = -(-COUNT // len(BACKENDS))
    async with targets(profile, error_log) as found:
        for number in range(count):
            case = make_case(f"{SEED} {profile} {number}")
            draft = case.draft()
            target = found[number % len(found)]
            outcome, faults = await target.try_draft(draft)
            outcomes[outcome] += 1
            passed[draft.carrier] += outcome in {"200", "201", "204", "206"}
            if faults:
                smallest = await target.shrink(case)
                _, least = await target.try_draft(smallest.draft())
                findings.append(story(number, smallest, target, least or faults))
                if len(findings) == MAX_FINDINGS:
                    break
            if number % 10_000 == 0 and number:
                print(f"names, {profile}: {number} of {count}", file=sys.stderr, flush=True)
    with capsys.disabled():
        print(
            f"\n{profile}: {number + 1} requests, {sum(passed.values())} passed, {dict(outcomes.most_common(40))}",
            end=" ",
        )
    assert not findings, "\n\n".join(findings)
    # Otherwise the test would have little but refusals.
    assert sum(passed.values()) > count / 5
    assert not outcomes["SignatureDoesNotMatch"]
    assert count < 200 or not set(CARRIERS) - passed.keys() - {"anonymous"}


@pytest.mark.parametrize("profile", BACKENDS)
@pytest_twisted.ensureDeferred
async def test_attacks_that_were_found(profile: str, error_log: Any) -> None:
    """
    What worked on an earlier proxy is refused, or every reader reads it alike: with each carrier, for each backend.
    """
    findings = []
    async with targets(profile, error_log) as found:
        for number, draft in enumerate(ATTACKS, BACKENDS.index(profile)):
            target = found[number % len(found)]
            outcome, faults = await target.try_draft(draft)
            if faults:
                findings.append(f"{target.harness.signature} {draft!r}: {outcome} {faults}")
    assert not findings, "\n\n".join(findings)
