"""
The demonstration shows what it promises.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_shows_everything(tmp_path: Path) -> None:
    """
    ``s3proxy demo --once`` ends well; its output tells the refusals and the successes, and how to go on.
    """
    ran = subprocess.run(
        [sys.executable, "-m", "s3proxy.cli", "demo", "--once"],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=tmp_path,
    )

    assert ran.returncode == 0, ran.stdout + ran.stderr
    lines = [line.strip() for line in ran.stdout.splitlines()]
    shown = [line.removeprefix("ok").strip().partition(":")[0] for line in lines if line.startswith("ok")]
    assert shown == [
        "straight to the store it fails",
        "through s3proxy it succeeds over http",
        "through s3proxy it succeeds over https",
        "and so does a multipart upload",
        "it is refused",
        "and the older object is still there",
        "unchanged it is stored",
        "all of it arrived",
        "the client was paced",
        "memory stayed flat",
    ]
    assert not [line for line in lines if line.startswith("FAIL")]
    assert "s3 cp FILE" in ran.stdout
