"""
Every request that botocore and the AWS Common Runtime sign is accepted; with one random change it is refused, or means
the same.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from datetime import UTC, datetime

import pytest

from tests.differential.changes import change, meaning_of
from tests.differential.signers import SIGNERS
from tests.support.memory import MemoryProxy

COUNT = int(os.environ.get("S3PROXY_DIFFERENTIAL_COUNT", "20000"))
"Requests of all signers together; each is sent twice, the second time with a change."

SEED = int(os.environ.get("S3PROXY_DIFFERENTIAL_SEED", "20260301"))


@pytest.mark.parametrize("signer", SIGNERS)
def test_signed_requests_and_their_changes(signer: str, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A refusal is an error of the client, never of s3proxy, and leaves nothing at the backend.
    """
    proxy = MemoryProxy()
    outcomes: Counter[str] = Counter()
    count = -(-COUNT // len(SIGNERS))
    for number in range(count):
        rng = random.Random(f"{SEED} {signer} {number}")
        wire = SIGNERS[signer](rng)
        # The signers use the real clock.
        proxy.now = datetime.now(UTC)
        data = wire.encode()
        verdict = proxy.send(data)
        assert len(verdict.stored) == 1, f"{number}: refused {verdict.codes}: {data!r}\n{verdict.responses.decode()}"
        meant = meaning_of(verdict.stored[0], wire)

        kind, changed = change(rng, wire)
        data = changed.encode()
        verdict = proxy.send(data)

        if verdict.stored:
            assert len(verdict.stored) == 1
            now_means = meaning_of(verdict.stored[0], wire)
            assert now_means == meant, f"{number}: a change of the {kind} was let pass: {data!r}\n{wire.encode()!r}"
            outcomes["the same in meaning"] += 1
        else:
            assert verdict.statuses, f"{number}: no response: {data!r}"
            assert 400 <= verdict.statuses[0] < 500 or verdict.statuses[0] == 501, f"{number}: {data!r}"
            outcomes["refused"] += 1
    with capsys.disabled():
        print(f"\n{signer}: {count} accepted; changed: {dict(outcomes)}", end=" ")
    assert outcomes["refused"] > count / 2
