"""
The oracle as a part of pytest: a breach fails the test in which it happens.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import tap

SITE = Path(__file__).parent / "site"
_DIRECTORY = pytest.StashKey[Path]()
_OFFSETS = pytest.StashKey[dict[str, int]]()
_BREACHES = pytest.StashKey[list[int]]()


def begin(config: pytest.Config) -> None:
    """
    Watch this process, and every process that it starts.
    """
    # An import of the fixture into conftest.py would also work, but it looks unused, and was removed once.
    config.pluginmanager.register(sys.modules[__name__], "s3proxy-oracle")
    directory = Path(tempfile.mkdtemp(prefix="s3proxy-oracle-"))
    config.stash[_DIRECTORY] = directory
    config.stash[_OFFSETS] = {}
    config.stash[_BREACHES] = [0]
    os.environ[tap.ENVIRONMENT] = str(directory)
    former = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{SITE}{os.pathsep}{former}" if former else str(SITE)
    # If a test started this run of pytest, the run watches for itself.
    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "sitecustomize"]
    # Some tests pass their own path on to a child.
    sys.path.append(str(SITE))
    for name in tap.PATCHES:
        tap.patch(importlib.import_module(name))


def end(config: pytest.Config) -> None:
    """
    Delete what child processes wrote.
    """
    os.environ.pop(tap.ENVIRONMENT, None)
    shutil.rmtree(config.stash[_DIRECTORY], ignore_errors=True)


def new_breaches(config: pytest.Config) -> list[str]:
    """
    Return the breaches since the last call, those of child processes included. Breaches that a test takes are its own.
    """
    found, tap.ORACLE.breaches = tap.ORACLE.breaches, []
    offsets = config.stash[_OFFSETS]
    for path in config.stash[_DIRECTORY].glob("*.breaches"):
        lines = path.read_text().splitlines()
        found += [json.loads(line) for line in lines[offsets.get(path.name, 0) :]]
        offsets[path.name] = len(lines)
    return found


def counts(config: pytest.Config) -> tuple[int, int, int]:
    """
    Return how many requests were judged, how many of them were clients', and how many processes sent them.
    """
    judged, clients, processes = tap.ORACLE.judged_count, tap.ORACLE.client_count, 1
    for path in config.stash[_DIRECTORY].glob("*.count"):
        of_child = tap.read_counts(path)
        judged, clients, processes = judged + of_child[0], clients + of_child[1], processes + 1
    return judged, clients, processes


def summary(config: pytest.Config) -> str:
    """
    Return the line that is printed at the end of a run.
    """
    judged, clients, processes = counts(config)
    return (
        f"oracle: {judged} requests judged, {config.stash[_BREACHES][0]} breaches "
        f"({clients} of clients by every rule, {judged - clients} of ours by (a); {processes} processes)"
    )


@pytest.fixture(autouse=True)
def oracle(pytestconfig: pytest.Config) -> Iterator[Any]:
    """
    Fail a test in which a backend received what its client did not sign.
    """
    yield tap.ORACLE
    found = new_breaches(pytestconfig)
    pytestconfig.stash[_BREACHES][0] += len(found)
    assert not found, "the oracle, see tests/oracle/judge.py:\n" + "\n".join(found)
