"""
`bench.micro` measures the rooms as they are now.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.root import ROOT


def test_each_room_is_measured(tmp_path: Path) -> None:
    """
    A change of a room's functions must not break its measurement.
    """
    output = tmp_path / "micro.json"
    command = [sys.executable, "-m", "bench", "micro", "--repetitions", "1", "--least", "0", "--output", str(output)]

    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)

    rows = json.loads(output.read_text())["rows"]
    assert len({name for name, _, _ in rows}) == len(rows) > 20
    assert all(len(values) == 1 and values[0] > 0 for _, _, values in rows)
