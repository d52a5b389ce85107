"""
The repository tells the truth about itself.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def test_reference_pages_are_fresh() -> None:
    """
    The pages of options, errors and limits are what the code says.
    """
    ran = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_links_lead_somewhere() -> None:
    """
    Every relative link of README and docs is a file.
    """
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *(ROOT / "docs").rglob("*.md")]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    dead = [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]

    assert len(links) > 12
    assert dead == []


def test_the_threat_model_names_what_there_is() -> None:
    """
    Every test which proves a defence exists, and so does every room which has one.
    """
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    rooms = set(re.findall(r"`([\w/]+(?:\.py|/))`", text)) - {"s3proxy/"}

    assert len(tests) > 40
    assert [f"{file}::{name}" for file, name in tests if f"def {name}(" not in (ROOT / file).read_text("utf-8")] == []
    assert [room for room in rooms if not (ROOT / "s3proxy" / room).exists()] == []


def test_every_option_has_its_line() -> None:
    """
    No option is without a unit or a default in the reference.
    """
    rows = [
        line for line in (ROOT / "docs/reference/options.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]

    assert len(rows) > 40
    assert all(all(cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")) for row in rows)
