"""
The memory and the descriptors of processes, before and after a run.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20

MEMORY_SLACK = 24 * MIB
"""
Bytes by which a process may be larger than after the warm-up: the allocator keeps what the busiest moment needed.
"""


def age_of(pid: int) -> float:
    """
    Return the seconds since a process's start; negative if it is gone.
    """
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return -1.0
    ticks = int(text.rpartition(") ")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Footprint:
    """
    What a process holds.

    Attributes:
        memory: Bytes.
        descriptors: All descriptors except those of pipes.
        age: Seconds since its start.
        pipes: Descriptors of pipes. Those that moved a body are kept for the next one.
    """

    memory: int
    descriptors: int
    age: float = 0.0
    pipes: int = 0

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """
        Read a footprint from proc(5).

        Raises:
            OSError: The process does not exist any more.
        """
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
        if found is None:
            raise ProcessLookupError(f"process {pid} has ended")
        kinds = [_kind_of(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        pipes = kinds.count("pipe")
        return cls(int(found[1]) * 1024, len(kinds) - pipes, age_of(pid), pipes)

    def __str__(self) -> str:
        return (
            f"{self.memory / MIB:.1f} MiB, {self.descriptors} descriptors and {self.pipes} of pipes, "
            f"{self.age:.0f} s old"
        )


def _kind_of(descriptor: Path) -> str:
    # A descriptor may be closed meanwhile.
    with contextlib.suppress(OSError):
        return os.readlink(descriptor).partition(":")[0]
    return ""


Footprints = dict[str, list[Footprint]]
"""
Footprints of the processes, by kind.
"""


def descriptor_faults(begin: Footprints, end: Footprints, uploads_at_a_time: int) -> list[str]:
    """
    Name the processes that hold more descriptors than after the warm-up, and the kinds whose number of processes
    changed.

    Args:
        uploads_at_a_time: Pipes, of two descriptors each, that may have been needed at the same time, and are kept.
    """
    found = []
    for name, footprints in end.items():
        warm = max(footprint.descriptors for footprint in begin[name])
        if len(footprints) != len(begin[name]):
            found.append(f"{name}: {len(footprints)} processes, {len(begin[name])} at the beginning")
        found += [f"{name}: {footprint}, {warm} when warm" for footprint in footprints if footprint.descriptors > warm]
        most = max(footprint.pipes for footprint in begin[name]) + 2 * uploads_at_a_time
        found += [f"{name}: {footprint}, at most {most} of pipes" for footprint in footprints if footprint.pipes > most]
    return found


def memory_faults(begin: Footprints, end: Footprints) -> list[str]:
    """
    Name the processes that are larger than after the warm-up.
    """
    found = []
    for name, footprints in end.items():
        warm = max(footprint.memory for footprint in begin[name])
        found += [
            f"{name}: {footprint} at the end, {warm / MIB:.1f} MiB when warm"
            for footprint in footprints
            if footprint.memory > warm + MEMORY_SLACK
        ]
    return found


def told(footprints: Footprints) -> str:
    """
    Return the footprints in one line.
    """
    return "; ".join(f"{name} {footprint}" for name, items in footprints.items() for footprint in items)
