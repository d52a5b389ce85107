"""
What each profile lets clients request, compared with what its storage system was seen to do with each operation.

`tests.integration.test_operations` tests the real storage systems, and keeps the table true.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from s3proxy.profiles.known import PROFILES
from s3proxy.s3.operation import OPERATIONS
from tests.s3.classified import classified
from tests.support.harness import VECTORS

TABLE: dict[str, Any] = json.loads((VECTORS / "storage-operations.json").read_text())
STORAGES = list(TABLE["storages"])


@pytest.mark.parametrize(("name", "method", "level", "query"), TABLE["operations"], ids=lambda value: value)
def test_what_the_storages_were_asked_for(name: str, method: str, level: str, query: str) -> None:
    """
    Each request of the table is the operation that the table names.
    """
    target = "/bucket/key" if level == "object" else "/bucket"

    assert classified(method, f"{target}?{query}").operation.name == name


def test_the_storages_were_asked_for_all() -> None:
    """
    The table has each operation that a sub-resource distinguishes. A copy, such as UploadPartCopy, has the query of the
    plain operation.
    """
    told_apart = {name for name, each in OPERATIONS.items() if each.subresource is not None and not each.copies}

    assert {row[0] for row in TABLE["operations"]} == told_apart - {"ListObjectsV2"}


@pytest.mark.parametrize("profile", STORAGES)
def test_no_profile_allows_what_its_storage_mistakes(profile: str) -> None:
    """
    Such an operation would delete the bucket, overwrite the object, or return something else.
    """
    assert PROFILES[profile].taken_operations.isdisjoint(TABLE["storages"][profile]["mistaken"])


@pytest.mark.parametrize("profile", STORAGES)
def test_a_profile_allows_what_its_storage_takes(profile: str) -> None:
    """
    Apart from CreateSession, which no storage system accepts, no operation is withheld from clients.
    """
    assert PROFILES[profile].taken_operations >= set(TABLE["storages"][profile]["taken"])
