"""
What a serving process sets in its system: seen from inside such a process, because the whole process changes.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s3proxy.daemon.process import python_command, read_once, sealed_memory, stop_once

BLOCKS = """
import gc, resource, sys
from s3proxy.daemon.process import prepare_process

_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most // 2, most))
if sys.argv[1] == "prepared":
    prepare_process()
for size in (200_000, 1_100_000):
    # What glibc was told to do it does; otherwise the blocks which were freed last tell it.
    bytes(size)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    blocks = [b"x" * 1_000_000 for _ in range(6)]
    blocks.clear()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(gc.get_threshold()[0])
print(*resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def measured(word: str) -> list[int]:
    """
    Run a process that uses and frees blocks; return its page faults, the collector's threshold, and its descriptors.
    """
    ran = subprocess.run([sys.executable, "-c", BLOCKS, word], check=True, capture_output=True, text=True)
    return [int(word) for word in ran.stdout.split()]


def test_a_process_which_serves_keeps_the_memory_of_its_blocks() -> None:
    """
    Six blocks of a megabyte, a hundred times over, are mapped once; in another Python process they are mapped
    repeatedly.
    """
    faults, *_ = measured("prepared")
    other_faults, *_ = measured("unprepared")

    assert faults < 6 * 300
    assert other_faults > 20 * faults


def test_a_process_which_serves_looks_for_cycles_seldom_and_has_all_descriptors() -> None:
    """
    The collector's threshold is s3proxy's, and the soft limit of descriptors equals the hard one.
    """
    _, threshold, soft, hard = measured("prepared")

    assert threshold == 20_000
    assert soft == hard


def test_memory_with_secrets_can_be_read_and_not_changed() -> None:
    """
    Neither its content nor its size can change any more, even with the descriptor.
    """
    fd = sealed_memory("test", b"content")
    try:
        with pytest.raises(PermissionError):
            os.pwrite(fd, b"C", 0)
        with pytest.raises(PermissionError):
            os.ftruncate(fd, 1)
        assert os.read(fd, 100) == b"content"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_what_was_read_once_is_not_there_again() -> None:
    """
    The descriptor stays in use, and has no content.
    """
    fd = sealed_memory("test", b"content")
    try:
        assert read_once(fd) == b"content"
        assert Path(f"/proc/self/fd/{fd}").readlink() == Path(os.devnull)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [([], ["-P"]), (["-E"], ["-P", "-E"]), (["-s"], ["-P", "-s"]), (["-I"], ["-P", "-E", "-s"])],
    ids=["none", "no-environment", "no-user-site", "isolated"],
)
def test_a_further_process_imports_no_more_than_this_one(flags: list[str], expected: list[str]) -> None:
    """
    A distribution's `twistd` may ignore PYTHONPATH and the user's packages: so do the processes that it starts.
    """
    code = "from s3proxy.daemon.process import python_command; print(*python_command()[1:])"

    ran = subprocess.run([sys.executable, "-P", *flags, "-c", code], check=True, capture_output=True, text=True)

    assert ran.stdout.split() == expected
    assert python_command()[0] == sys.executable


def test_a_process_which_serves_writes_no_core_dump() -> None:
    """
    The soft limit is 0, and the hard one is unchanged: an operator may raise the soft one for one process.
    """
    code = (
        "import resource, sys; from s3proxy.daemon.process import prepare_process;"
        "before = resource.getrlimit(resource.RLIMIT_CORE)[1];"
        "resource.setrlimit(resource.RLIMIT_CORE, (before, before));"
        "prepare_process(); soft, hard = resource.getrlimit(resource.RLIMIT_CORE);"
        "print(soft, hard == before)"
    )
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("this system allows no core dump at all")

    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)

    assert ran.stdout.split() == ["0", "True"]


@pytest.fixture
def signals() -> Iterator[list[int]]:
    """
    The signals that end a daemon and reached its handlers.
    """
    received: list[int] = []
    numbers = (signal.SIGTERM, signal.SIGINT)
    former: dict[int, Any] = {
        number: signal.signal(number, lambda number, frame: received.append(number)) for number in numbers
    }
    yield received
    for number, handler in former.items():
        signal.signal(number, handler)


def test_a_daemon_is_told_to_stop_once(signals: list[int]) -> None:
    """
    Further signals during the drain have no effect.
    """
    stop_once()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)

    assert signals == [signal.SIGINT]
