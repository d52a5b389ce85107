"""
The native rooms are built from this checkout, and decide as the Python rooms do. ``tox -e native`` runs all tests with
them; here are those of the rooms that have a native part.
"""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.rust import install_native
from tests.support.root import ROOT

pytestmark = pytest.mark.integration

TESTS = (
    *("tests/native", "tests/s3", "tests/sigv4", "tests/resign", "tests/authentication"),
    *("tests/fuzz/test_known.py", "tests/product/test_data_set.py", "tests/product/test_wire_cases.py"),
)
LEFT_OUT = "tests/product/test_wire_cases.py::test_case[chunked/"
"""
The streams take minutes over sockets. `tests/product/test_data_set.py` has them without.
"""

SELECTED = "native or not (integration or clients or long or soak)"


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    """
    The environment of a process that uses the native rooms.
    """
    former = os.environ.get("PYTHONPATH")
    path = str(install_native())
    return {**os.environ, "PYTHONPATH": f"{path}{os.pathsep}{former}" if former else path}


def test_they_are_in_use(environment: dict[str, str]) -> None:
    """
    A process that finds them uses them.
    """
    program = "from s3proxy.s3 import head, native; print(native.describe(), type(head._NATIVE).__module__)"
    command = [sys.executable, "-P", "-c", program]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert ran.stdout == "in use s3proxy_native\n", ran.stderr


def test_the_tests_of_the_native_rooms_pass(environment: dict[str, str], tmp_path: Path) -> None:
    """
    Their comparison with the Python rooms, and the tests of the Python rooms, which now meet both.
    """
    report = tmp_path / "report.xml"
    command = [sys.executable, "-P", "-bb", "-m", "pytest", "--import-mode=importlib", "-q", "-m", SELECTED]
    ran = subprocess.run(
        [*command, f"--junit-xml={report}", f"--deselect={LEFT_OUT}", *TESTS],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    print(ran.stdout[-4000:])

    assert ran.returncode == 0
    cases = ElementTree.parse(report).getroot().iter("testcase")
    counts = Counter(case.get("classname", "").split(".")[1] for case in cases)
    assert counts["native"] > 80
    assert min(counts[room] for room in ("s3", "sigv4", "resign", "authentication", "fuzz", "product")) >= 8
