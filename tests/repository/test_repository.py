"""
The repository describes itself correctly.
"""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from s3proxy.commands.cli import main
from s3proxy.configuration.options import Limits
from s3proxy.configuration.tables import options_of
from s3proxy.doctor.command import PROBE_COUNT
from s3proxy.s3 import limits
from s3proxy.telemetry.accesslog import AccessRecord, format_line
from tests.support.root import ROOT

RECORD = AccessRecord(received_at=datetime(2026, 1, 1, tzinfo=UTC), client_host="127.0.0.1", request_id="ID")
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)")


def test_reference_pages_are_fresh() -> None:
    """
    The pages of options, errors and limits match the code.
    """
    ran = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_links_lead_somewhere() -> None:
    """
    Every relative link of the pages at the top, of the docs and of a news fragment is a file.
    """
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "newsfragments/README.md"]
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text("utf-8")) if "://" not in link]
    dead = [f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()]

    assert len(links) > 12
    assert dead == []


def test_the_threat_model_names_what_there_is() -> None:
    """
    Every test that proves a defence exists, and so does every room with a defence.
    """
    text = (ROOT / "docs/explanation/threat-model.md").read_text("utf-8")
    tests = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text)
    rooms = set(re.findall(r"`([\w/]+(?:\.py|/))`", text)) - {"s3proxy/"}

    assert len(tests) > 40
    assert [f"{file}::{name}" for file, name in tests if f"def {name}(" not in (ROOT / file).read_text("utf-8")] == []
    assert [room for room in rooms if not (ROOT / "s3proxy" / room).exists()] == []


def test_every_option_has_its_line() -> None:
    """
    Each option has a unit or a default in the reference.
    """
    rows = [
        line for line in (ROOT / "docs/reference/options.md").read_text("utf-8").splitlines() if line.startswith("| `")
    ]

    assert len(rows) > 40
    assert all(all(cell.strip() for cell in row.replace("\\|", "").strip("|").split("|")) for row in rows)


def test_the_tutorials_files_are_accepted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    A reader who copies them has a configuration that starts, and it does what the page says.
    """
    page = (ROOT / "docs/tutorial/first-proxy.md").read_text("utf-8")
    keys, configuration = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for name, text in (("keys.toml", keys), ("s3proxy.toml", configuration), ("backend-secret", "secret\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o600)

    assert main(["check", str(tmp_path / "s3proxy.toml")]) == 0
    assert "ok, 1 backend, 1 key" in capsys.readouterr().out


def test_limits_which_are_options_are_their_defaults() -> None:
    """
    The page of limits names the option of each.
    """
    page = (ROOT / "docs/reference/limits.md").read_text("utf-8")
    defaults = {option.name: option.default for option in options_of(Limits)}
    named = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `(\w+)` \|", page, re.MULTILINE))

    assert {limit: defaults[option] for limit, option in named.items()} == {
        limit: getattr(limits, limit) for limit in named
    }
    assert len(named) == 3


def test_the_log_s_example_is_a_line() -> None:
    """
    The annotated example has the fields of a real line, in their order.
    """
    page = (ROOT / "docs/reference/log.md").read_text("utf-8")
    example = " ".join(re.findall(r"^```\n(.*?)^```", page, re.MULTILINE | re.DOTALL)[0].split("\n")).strip()
    fields = re.findall(r'"[^"]*"|\[[^\]]*\]|\S+', example)
    values = [value for row in re.findall(r"^\| [^|]+ \| (`.*?`) \|", page, re.MULTILINE) for value in row.split("` `")]

    assert [value.strip("`") for value in values] == fields
    assert len(fields) == len(re.findall(r'"[^"]*"|\[[^\]]*\]|\S+', format_line(RECORD).decode()))


def test_the_doctor_s_example_has_its_number_of_questions() -> None:
    """
    Each probe counts as one.
    """
    assert f": {PROBE_COUNT} questions, " in (ROOT / "docs" / "howto" / "doctor.md").read_text("utf-8")
