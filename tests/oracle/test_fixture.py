"""
A breach fails the test in which it happens.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

BREAKS = """
from tests.oracle.tap import ORACLE


def test_that_breaks():
    ORACLE.breaches.append("breach (a) of a test of the oracle")


def test_that_does_not():
    pass
"""


def test_every_test_is_watched(request: pytest.FixtureRequest) -> None:
    """
    This test is watched too, although it does not request the fixture.
    """
    assert "oracle" in request.fixturenames


def test_a_breach_fails_its_test(tmp_path: Path) -> None:
    """
    A breach fails its test and no other one; the summary counts it.
    """
    (tmp_path / "test_of_breaches.py").write_text(BREAKS)
    arguments = ["-q", "-p", "no:cacheprovider", "-p", "tests.conftest", f"--rootdir={tmp_path}", str(tmp_path)]

    ended = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "1 breaches" in ended.stdout
    assert "2 passed, 1 error" in ended.stdout
    assert "breach (a) of a test of the oracle" in ended.stdout
