"""
What each test of the native rooms needs: the native rooms, and tables that are empty.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from s3proxy import __version__
from s3proxy.s3.native import NATIVE
from tests.support.known_tables import known_tables


@pytest.fixture(autouse=True)
def native_rooms() -> None:
    """
    Fail each test if there is nothing to compare.
    """
    if NATIVE is None:
        pytest.fail(
            f"the native rooms of version {__version__} are not installed: run `pip install ./native`", pytrace=False
        )


@pytest.fixture(params=["warm", "full"])
def tables(request: pytest.FixtureRequest) -> Iterator[str]:
    """
    Tables that keep many sets, or that are emptied for each new one.
    """
    with known_tables(request.param):
        yield request.param
