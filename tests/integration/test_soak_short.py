"""
A short soak with the gateway that runs anyway. Swift would have to be installed: ``tox -e soak`` has it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.conftest import Field
from tests.soak.soak import BUCKET, Account, Size, Soak
from tests.soak.storage import of_rgw

pytestmark = pytest.mark.integration


def test_half_a_minute_of_faults(field: Field, tmp_path: Path) -> None:
    """
    What was reported as stored is there byte for byte. What was refused or cut is nowhere. Nothing is left over.
    """
    storage = of_rgw(field.gateway)
    storage.s3().create_bucket(Bucket=BUCKET)
    size = Size(seconds=30, uploads=100, seed=20261125, clients=3, warm_up=60)
    accounts = [
        Account("SOAKRGWV2", "rgw", 'profile = "ceph-rgw"\nsignature = "v2"'),
        Account("SOAKRGWV4", "rgw", 'profile = "ceph-rgw"\nsignature = "v4"'),
    ]

    report = Soak(tmp_path, size, [storage], accounts).run(lambda line: print(line, flush=True))

    print("", *report.lines, *report.faults, sep="\n", flush=True)
    assert report.faults == []
