"""
Remove defences one at a time from a copy of the source, and check that the tests that need them fail.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from queue import SimpleQueue

from tests.defences.table import ROOT, Defence, Removal, StaleRow

MAX_SECONDS = 180.0
"""
Seconds for the tests of one row: without its defence a test may wait until its own timeout.
"""

UNWANTED = ("PYTHONSAFEPATH", "PYTHONWARNINGS", "PYTHONDONTWRITEBYTECODE", "PYTEST_ADDOPTS")
"""
Environment variables that the tests of a copy must not have.
"""

# An id may have any characters between its brackets.
_FAILED = re.compile(r"^FAILED (.*)$", re.MULTILINE)
_TEARDOWN = re.compile(r"^_+ ERROR at teardown of", re.MULTILINE)
_ERROR = re.compile(r"^ERROR (.*)$", re.MULTILINE)
# The source must run without the defence: a row that breaks the module proves nothing.
_BROKEN = re.compile(r"\b(NameError|UnboundLocalError|SyntaxError|ImportError|ModuleNotFoundError|IndentationError)\b")


class NotProven(Exception):
    """
    The tests did not do what the row says; the text says what they did.
    """


class Copy:
    """
    A copy of the files that git tracks, to be changed and put back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def without(self, removals: Iterable[Removal]) -> Iterator[None]:
        """
        Remove defences for a while.

        Raises:
            StaleRow: A removal does not fit the source.
        """
        originals: dict[Path, str] = {}
        changed: dict[Path, str] = {}
        for removal in removals:
            path = self.path / "s3proxy" / removal.file
            if path not in originals:
                originals[path] = changed[path] = path.read_text("utf-8")
            changed[path] = removal.apply(changed[path])
        try:
            for path, text in changed.items():
                path.write_text(text, "utf-8")
            yield
        finally:
            for path, text in originals.items():
                path.write_text(text, "utf-8")

    def run(self, tests: Sequence[str]) -> tuple[int, str]:
        """
        Run tests against the copy; return pytest's exit status and its output.

        Raises:
            NotProven: The tests did not end in time.
        """
        arguments = ["-m", "pytest", "-q", "-rfE", "--tb=short", "--no-header", "-p", "no:cacheprovider"]
        if len(tests) == 1:
            arguments.append("-x")
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.path),
            "COLUMNS": "200",
        }
        for name in UNWANTED:
            environment.pop(name, None)
        with subprocess.Popen(
            [sys.executable, *arguments, *tests],
            cwd=self.path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                output, _ = process.communicate(timeout=MAX_SECONDS)
            except subprocess.TimeoutExpired:
                # This includes the tests' own children.
                os.killpg(process.pid, 9)
                process.communicate()
                raise NotProven(f"the tests did not end within {MAX_SECONDS:g} s") from None
        return process.returncode, output


def make_copy(path: Path) -> Copy:
    """
    Copy the files that git tracks, as they are in the work tree.
    """
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        source = ROOT / name
        if name and source.is_file():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    # Compiled once, and checked by hash: by size and second, a changed file could pass for the former one.
    compileall = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "s3proxy"]
    subprocess.run(compileall, cwd=path, check=True)
    return Copy(path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """
    The outcome of one row.

    Attributes:
        reason: How the first test failed, or why the row is not proven.
    """

    defence: Defence
    is_caught: bool
    reason: str
    seconds: float


def check_defence(copy: Copy, defence: Defence) -> str:
    """
    Run the tests of a row without its defence; return how the first of them failed.

    Raises:
        StaleRow: The row does not fit the source.
        NotProven: A test did not fail, or not as tests fail.
    """
    for size in range(1, len(defence.removals)):
        for some in combinations(defence.removals, size):
            with copy.without(some):
                status, output = copy.run(defence.tests)
            if status != 0:
                removed = ", ".join(removal.file for removal in some)
                raise NotProven(f"fails without {removed} alone: make it two rows\n{_tail(output)}")
    with copy.without(defence.removals):
        status, output = copy.run(defence.tests)
    if status == 0:
        raise NotProven("the tests pass without it")
    failed = _FAILED.findall(output)
    if _TEARDOWN.search(output) is not None:
        failed += _ERROR.findall(output)
    if status != 1 or not failed:
        raise NotProven(f"no test failed, pytest ended with {status}\n{_tail(output)}")
    for test in defence.tests:
        if not any(line == test or line.startswith((f"{test}[", f"{test} - ")) for line in failed):
            raise NotProven(f"{test} passes without it")
    broken = _BROKEN.search(output)
    if broken is not None:
        raise NotProven(f"the removal breaks the module: {broken[0]}\n{_tail(output)}")
    return failed[0].partition("] - " if "]" in failed[0].partition(" - ")[0] else " - ")[2] or "failed"


def check_baseline(copy: Copy, defences: Iterable[Defence]) -> None:
    """
    Run the tests of all rows with every defence in place.

    Raises:
        NotProven: One of them fails.
    """
    tests = sorted({test for defence in defences for test in defence.tests})
    for start in range(0, len(tests), 100):
        status, output = copy.run(tests[start : start + 100])
        if status != 0:
            raise NotProven(f"with every defence in its place:\n{_tail(output)}")


def check_defences(
    defences: Sequence[Defence], tell: Callable[[str], None], *, processes: int | None = None
) -> list[Outcome]:
    """
    Prove every row, several at a time.

    Args:
        tell: Called with each line of progress.
        processes: Number of parallel processes; by default the number of cores.

    Raises:
        NotProven: A test fails with every defence in place.
    """
    processes = min(processes or os.cpu_count() or 1, len(defences))
    copies: SimpleQueue[Copy] = SimpleQueue()
    lock = threading.Lock()
    done = 0

    def prove(defence: Defence) -> Outcome:
        nonlocal done
        copy = copies.get()
        began_at = time.monotonic()
        try:
            reason, is_caught = check_defence(copy, defence), True
        except (StaleRow, NotProven) as error:
            reason, is_caught = str(error), False
        finally:
            copies.put(copy)
        outcome = Outcome(defence, is_caught, reason, time.monotonic() - began_at)
        with lock:
            done += 1
            word = "caught" if is_caught else "NOT CAUGHT"
            shown = reason if not is_caught else reason[:100]
            tell(f"{done:4}/{len(defences)} {word:10} {outcome.seconds:5.1f} s  {defence.name}: {shown}")
        return outcome

    with tempfile.TemporaryDirectory(prefix="s3proxy-defences-") as directory:
        made = [make_copy(Path(directory, str(number))) for number in range(processes)]
        check_baseline(made[0], defences)
        for copy in made:
            copies.put(copy)
        with ThreadPoolExecutor(processes) as pool:
            return list(pool.map(prove, defences))


def _tail(output: str) -> str:
    return "\n".join(output.splitlines()[-30:])
