"""
One measurement: the CPU time and the memory of a process tree, while the generator sends requests to it.
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
    Return the ids of a process and of its descendants.
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
    Return the CPU seconds, user and system, of a process and its descendants.

    The tree is read as in proc(5). The seconds are read from the CPU-time clock of each process
    (clock_getcpuclockid(3)). They are the same as in ``/proc/PID/stat``, but in nanoseconds and not in hundredths.
    """
    total = 0.0
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            total += time.clock_gettime((~one << 3) | 2)
    return total


def memory(pid: int, name: str) -> int:
    """
    Return the bytes that a process and its descendants have in memory (proc(5)).

    Args:
        name: ``VmRSS`` for the current value, ``VmHWM`` for the maximum since `reset_peak`.
    """
    total = 0
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text())
            total += int(found[1]) * KIB if found is not None else 0
    return total


def reset_peak(pid: int) -> None:
    """
    Reset ``VmHWM`` of a process and its descendants.
    """
    for one in process_tree(pid):
        with contextlib.suppress(OSError):
            Path(f"/proc/{one}/clear_refs").write_text("5")


@dataclass
class Run:
    """
    One run of one load on one party.

    Attributes:
        number: The number of the round.
        cpu: CPU seconds of the party's process tree.
        memory_before: Bytes that the tree had in memory before the clients connected.
        memory_peak: The maximum number of bytes while they were connected.
        generator_cpu: CPU seconds of the generator.
        sink_cpu: CPU seconds of the backend.
        sink_requests: The number of requests that the backend received.
        p50: The median time of a request, in seconds.
        failures: The number of requests that failed, by reason.
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
        Return the CPU seconds for a GiB, or for a request.
        """
        return self.cpu * GIB / self.bytes if counts_bytes else self.cpu / self.requests

    def rate(self, counts_bytes: bool) -> float:
        """
        Return the MB, or the requests, per CPU second.
        """
        return (self.bytes / 1e6 if counts_bytes else self.requests) / self.cpu

    def written(self) -> dict[str, Any]:
        """
        Return the run as a value for JSON.
        """
        return asdict(self)


class Generator:
    """
    Runs one load at a time.

    Args:
        program: The path of ``loadgen``.
        directory: The directory for requests. It should be in memory, not on a disk.
        sink_pid: The process id of the backend.
        sink_port: The port of the backend.
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
            number: The number of the round.
            pid: The id of the party's first process.
            look: Called when all connections are made, and each had a first request. Its result becomes ``more``.
        """
        job = write_job(load, self._directory, port, requests=requests, seconds=seconds, is_false=is_false)
        before = memory(pid, "VmRSS")
        reset_peak(pid)
        # More threads would only take the CPU from the party that is measured.
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
