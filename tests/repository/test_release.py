"""
The version, the news and the tag of a release agree.
"""

from __future__ import annotations

import re
import subprocess
import tomllib

from s3proxy import __version__
from tests.support.root import ROOT

CONFIGURATION = tomllib.loads((ROOT / "towncrier.toml").read_text("utf-8"))["tool"]["towncrier"]
TYPES = [row["directory"] for row in CONFIGURATION["type"]]
FRAGMENT = re.compile(r"\+[a-z0-9-]+\.([a-z]+)\.md")


def type_of(name: str) -> str | None:
    """
    Return the type of a news fragment; None if its name is not that of a fragment.
    """
    found = FRAGMENT.fullmatch(name)
    return found[1] if found is not None else None


def version_tags() -> list[str]:
    """
    Return the tags of the commit that is checked out, without those that name no version; none outside of a repository.
    """
    ran = subprocess.run(
        ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD"], capture_output=True, text=True, check=False
    )
    return [tag for tag in ran.stdout.split() if re.match(r"v\d", tag)]


def test_the_newest_news_are_of_this_version() -> None:
    """
    NEWS.md begins with the version that is installed, and its date.
    """
    headings = re.findall(r"^## (.*)$", (ROOT / "NEWS.md").read_text("utf-8"), re.MULTILINE)

    assert re.fullmatch(re.escape(__version__) + r" \(\d{4}-\d\d-\d\d\)", headings[0])
    assert len(headings) == len(set(headings))


def test_each_fragment_has_a_type() -> None:
    """
    What towncrier does not know would be in no release's news.
    """
    fragments = {path.name for path in (ROOT / "newsfragments").iterdir()} - {"README.md"}

    assert {name for name in fragments if type_of(name) not in TYPES} == set()
    assert type_of("+unix-sockets.daemon.md") in TYPES
    assert type_of("+unix-sockets.feature.md") not in TYPES
    assert type_of("unix-sockets.daemon.md") not in TYPES


def test_each_type_is_described() -> None:
    """
    The contributors' page describes the types that towncrier knows, in the order of their sections.
    """
    news = (ROOT / "CONTRIBUTING.md").read_text("utf-8").partition("\n## News\n")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", news, re.MULTILINE) == TYPES


def test_a_tag_names_this_version() -> None:
    """
    A commit without a tag is no release; one with a tag is that of its version alone.
    """
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert version_tags() in ([], [f"v{__version__}"])
