"""
Minutes of random faults on both sides, and then every key is compared with the responses to its client.

``S3PROXY_SOAK_SECONDS`` is the length (600). ``S3PROXY_SOAK_UPLOADS`` is how many uploads must be stored at least
(5000); the run takes up to three times as long to reach it. ``S3PROXY_SOAK_SEED`` repeats the random choices of a run.
"""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from trustme import CA

from tests.integration import rgw, swift
from tests.soak.soak import BUCKET, Account, Size, Soak
from tests.soak.storage import Storage, of_rgw, of_swift

pytestmark = pytest.mark.soak


@pytest.fixture
def data() -> Iterator[Path]:
    """
    A directory for gigabytes, which is removed after the run.
    """
    directory = Path(tempfile.mkdtemp(prefix="s3proxy-soak-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory)


@pytest.fixture
def ceph(data: Path) -> Iterator[Storage]:
    """
    Ceph RGW, with its objects on disk.
    """
    rgw.install()
    (data / "rgw").mkdir()
    gateway = rgw.Gateway(data / "rgw", CA(), "bluestore")
    try:
        gateway.start()
        yield of_rgw(gateway)
    finally:
        gateway.stop()


@pytest.fixture
def openstack(data: Path) -> Iterator[Storage]:
    """
    OpenStack Swift.
    """
    (data / "swift").mkdir()
    servers = swift.Swift(data / "swift", swift.install())
    try:
        servers.start()
        yield of_swift(servers)
    finally:
        servers.stop()


def test_every_promise_is_kept(tmp_path: Path, ceph: Storage, openstack: Storage) -> None:
    """
    What was reported as stored is there byte for byte. What was refused or cut is nowhere. Nothing is left over.
    """
    size = Size(
        seconds=float(os.environ.get("S3PROXY_SOAK_SECONDS", "600")),
        uploads=int(os.environ.get("S3PROXY_SOAK_UPLOADS", "5000")),
        seed=int(os.environ.get("S3PROXY_SOAK_SEED", "0")) or random.randrange(1, 1 << 32),
    )
    accounts = [
        Account("SOAKRGWV2", "rgw", 'profile = "ceph-rgw"\nsignature = "v2"'),
        Account("SOAKRGWV4", "rgw", 'profile = "ceph-rgw"\nsignature = "v4"'),
        Account("SOAKSWIFT", "swift", 'profile = "generic"'),
    ]
    for storage in (ceph, openstack):
        storage.s3().create_bucket(Bucket=BUCKET)

    report = Soak(tmp_path, size, [ceph, openstack], accounts).run(lambda line: print(line, flush=True))

    print("", *report.lines, *report.faults, sep="\n", flush=True)
    assert report.faults == []
