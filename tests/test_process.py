"""
What a process which serves asks of its system: seen from inside one, because the whole process changes.
"""

from __future__ import annotations

import subprocess
import sys

BLOCKS = """
import gc, resource, sys
from s3proxy.process import prepare_process

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
    Run a process which uses and frees blocks; return its page faults, the collector's threshold, and its descriptors.
    """
    ran = subprocess.run([sys.executable, "-c", BLOCKS, word], check=True, capture_output=True, text=True)
    return [int(word) for word in ran.stdout.split()]


def test_a_process_which_serves_keeps_the_memory_of_its_blocks() -> None:
    """
    Six blocks of a megabyte, a hundred times over, are mapped once; in another process of Python time and again.
    """
    faults, *_ = measured("prepared")
    other_faults, *_ = measured("unprepared")

    assert faults < 6 * 300
    assert other_faults > 20 * faults


def test_a_process_which_serves_looks_for_cycles_seldom_and_has_all_descriptors() -> None:
    """
    The collector's threshold is ours, and the soft limit of descriptors is the hard one.
    """
    _, threshold, soft, hard = measured("prepared")

    assert threshold == 20_000
    assert soft == hard
