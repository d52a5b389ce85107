"""
A small request costs no more Python calls, C calls and bytecodes than `bench/calls.toml` allows.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.root import ROOT

BUDGET = ROOT / "bench" / "calls.toml"


def measured(budget: Path) -> tuple[int, str]:
    """
    Return the exit status and the output of a comparison with a budget.
    """
    command = [sys.executable, "-m", "bench", "calls", "--budget", str(budget)]
    # What watches each process of the tests would be counted, too.
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout + done.stderr


def test_no_request_is_above_its_budget() -> None:
    """
    Each load costs what was recorded, or less.
    """
    status, output = measured(BUDGET)

    assert output.endswith("within the budget\n"), output
    assert status == 0


def test_a_number_above_the_budget_is_an_error(tmp_path: Path) -> None:
    """
    With other versions of Python and Twisted, only the calls of s3proxy's own functions can be compared.
    """
    text = BUDGET.read_text()
    other = tmp_path / "other.toml"
    lowered = re.sub(r"^(calls|own_calls) = .*$", r"\1 = 9", text, flags=re.MULTILINE)
    other.write_text(re.sub(r"^twisted = .*$", 'twisted = "0"', lowered, flags=re.MULTILINE))

    status, output = measured(other)

    assert status == 1
    found = re.findall(r"^(.*): (\w+) [\d.]+, the budget is 9$", output, re.MULTILINE)
    assert {name for _, name in found} == {"own_calls"}
    assert len(found) == text.count("[")
