"""
One measurement: the CPU time and the memory of a tree of processes, while the generator drives it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from bench.loads import GIB, KIB, MIB, Load, write_job


def process_tree(pid: int) -> list[int]:
    """
    Return a process and those below it.
    """
    found, waiting = [], [pid]
    while waiting:
        one = waiting.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                waiting += [int(child) for child in (task / "children").read_text().split()]
    return found


def cpu_seconds(pid: int) -> float:
    """
    Return the CPU seconds, user's and system's, of a process and those below it.

    The tree is that of proc(5). The seconds are those of each process's CPU-time clock (clock_getcpuclockid(3)): the
    same as in ``/proc/PID/stat``, in nanoseconds and not in hundredths.
    """
    total = 0.0
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~one << 3) | 2)
    return total


def memory(pid: int, name: str) -> int:
    """
    Return the bytes which a process and those below it have in memory (proc(5)).

    Args:
        name: ``VmRSS`` for now, ``VmHWM`` for the most since `reset_peak`.
    """
    total = 0
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text())
            total += int(found[1]) * KIB if found is not None else 0
    return total


def reset_peak(pid: int) -> None:
    """
    Let ``VmHWM`` begin anew.
    """
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5")


@dataclass
class Run:
    """
    One load on one party, once.

    Attributes:
        cpu: Seconds of the party's process tree.
        memory_before: Bytes of it in memory before its clients came.
        memory_peak: The most while they were there.
        generator_cpu: Seconds of who asked.
        sink_cpu: Seconds of the backend.
        sink_requests: How often the backend was asked.
        p50: Seconds of a request.
        failures: How many requests failed, by how.
    """

    load: str
    party: str
    number: int
    seconds: float
    requests: int
    bytes: int
    cpu: float
    memory_before: int
    memory_peak: int
    generator_cpu: float
    sink_cpu: float
    sink_requests: int
    p50: float
    p99: float
    failures: dict[str, int] = field(default_factory=dict)
    first_response: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def cost(self, counts_bytes: bool) -> float:
        """
        Return CPU seconds for a GiB, or for a request.
        """
        return self.cpu * GIB / self.bytes if counts_bytes else self.cpu / self.requests

    def rate(self, counts_bytes: bool) -> float:
        """
        Return MB, or requests, of a CPU second.
        """
        return (self.bytes / 1e6 if counts_bytes else self.requests) / self.cpu

    def written(self) -> dict[str, Any]:
        """
        Return it as JSON has it.
        """
        return asdict(self)


class Generator:
    """
    Drives one load at a time.

    Args:
        program: ``loadgen``.
        directory: Where requests are written: memory, not a disk.
        sink_pid: The backend's; and its port.
    """

    def __init__(self, program: Path, directory: Path, sink_pid: int, sink_port: int) -> None:
        self._program = program
        self._directory = directory
        self._sink_pid = sink_pid
        self._sink_port = sink_port

    def _asked(self) -> int:
        with urlopen(f"http://127.0.0.1:{self._sink_port}/-/count") as response:
            return int(response.read())

    def run(
        self,
        load: Load,
        party: str,
        number: int,
        pid: int,
        port: int,
        *,
        requests: int,
        seconds: float,
        is_false: bool = False,
        look: Callable[[], dict[str, Any]] | None = None,
    ) -> Run:
        """
        Sign a load and run it once.

        Args:
            pid: Of the party's first process.
            look: Called when all connections are there and warm; what it returns becomes ``more``.
        """
        job = write_job(load, self._directory, port, requests=requests, seconds=seconds, is_false=is_false)
        before = memory(pid, "VmRSS")
        reset_peak(pid)
        # Threads beyond these would only take the CPU from who is measured.
        threads = str(max(1, (os.cpu_count() or 1) // 2))
        with subprocess.Popen(
            [self._program, "drive", job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "GOMAXPROCS": threads},
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("the generator did not start")
            more = look() if look is not None else {}
            asked = self._asked()
            cpu, sink_cpu = cpu_seconds(pid), cpu_seconds(self._sink_pid)
            process.stdin.write(b"\n")
            process.stdin.flush()
            result = json.loads(process.stdout.readline())
            cpu, sink_cpu = cpu_seconds(pid) - cpu, cpu_seconds(self._sink_pid) - sink_cpu
            asked = self._asked() - asked
            peak = memory(pid, "VmHWM")
            process.stdin.close()
        return Run(
            load.name,
            party,
            number,
            result["seconds"],
            result["requests"],
            result["bytes"],
            cpu,
            before,
            peak,
            result["cpu"],
            sink_cpu,
            asked,
            result["p50"],
            result["p99"],
            result["failures"],
            result["first_response"],
            more,
        )


def sha256_cost(size: int = 256 * MIB) -> float:
    """
    Return the CPU seconds of SHA-256 over one GiB, in blocks of 64 KiB.
    """
    block = bytes(64 * KIB)
    before = time.process_time()
    for _ in range(size // len(block)):
        hashlib.sha256(block).digest()
    return (time.process_time() - before) * GIB / size
