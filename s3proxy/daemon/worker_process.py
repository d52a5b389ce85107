"""
One worker as the supervisor sees it: a process that is started, told what to do, listened to, and that ends.

The strategy: this module knows descriptors, pipes and lines, and decides nothing. What it hears it tells its owner, who
decides whether a worker that has ended is started anew. A worker is given descriptors: its orders in sealed memory,
the listening sockets, and the memory in which workers tell how many connections they have. Its command line is the same
for every worker. What a worker writes to its log is logged here, with its process id.

`s3proxy.daemon.worker` is what runs in the process; `s3proxy.daemon.orders` is what the two say to each other.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from s3proxy.configuration.loading import Configuration
from s3proxy.daemon.orders import COMMANDS_FD, FIRST_SOCKET_FD, REPORTS_FD, Orders, Report
from s3proxy.daemon.process import python_command, sealed_memory
from s3proxy.frontend.balance import SharedCounts
from s3proxy.telemetry.metrics import Family, MetricsSum

_LEVELS = {level.name: level for level in LogLevel.iterconstants()}


class WorkerOwner(Protocol):
    """
    Who starts workers: an `s3proxy.daemon.supervisor.Supervisor`.

    Attributes:
        reactor: Starts processes; its clock never goes back.
        metrics: Where the reports of all workers are summed up.
    """

    reactor: Any
    metrics: MetricsSum

    def worker_ended(self, worker: WorkerProcess, reason: str) -> None:
        """
        Called once when a process has ended.
        """


class WorkerProcess(ProcessProtocol):
    """
    One process, from its start to its end.

    Args:
        configuration: What it serves.
        commands_fd: Where it is told what to do.
        counts: Where it and its fellows tell how many connections they have.
        number: Which of them it is.

    Attributes:
        is_ready: Whether it accepts connections.
        is_leaving: Whether it was told to end.
        ready: Fires with whether it became ready: it ended before that if not.
        ended: Fires when it has ended.
        began_at: Seconds of a clock which never goes back.
        pid: The id of the process.
    """

    _log = Logger()
    transport: Any

    def __init__(
        self,
        owner: WorkerOwner,
        configuration: Configuration,
        commands_fd: int,
        counts: SharedCounts,
        number: int,
    ) -> None:
        self._owner = owner
        self.configuration = configuration
        self.commands_fd = commands_fd
        self.counts = counts
        self.number = number
        self.is_ready = False
        self.is_leaving = False
        self.ready: Deferred[bool] = Deferred()
        self.ended: Deferred[None] = Deferred()
        self.began_at = owner.reactor.seconds()
        self.pid = 0
        self._unread = {2: b"", REPORTS_FD: b""}

    def connectionMade(self) -> None:
        self.pid = self.transport.pid

    def tell(self, command: bytes) -> None:
        """
        Send a command. One which is dead will not mind.
        """
        self.is_leaving = True
        with contextlib.suppress(OSError):
            os.write(self.commands_fd, command + b"\n")

    def kill(self) -> None:
        """
        End the process now, if it has not ended.
        """
        self.is_leaving = True
        with contextlib.suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        *lines, self._unread[childFD] = (self._unread[childFD] + data).split(b"\n")
        for line in lines:
            if childFD == REPORTS_FD:
                self._reported(Report.from_json(line).metrics)
            else:
                self._logged(line.decode("utf-8", "replace"))

    def _reported(self, families: list[Family]) -> None:
        self._owner.metrics.put(self.pid, families)
        if not self.is_ready:
            self.is_ready = True
            self.ready.callback(True)

    def _logged(self, line: str) -> None:
        level, _, text = line.partition(" ")
        if level not in _LEVELS:
            # A further line of a traceback.
            level, text = "info", line
        self._log.emit(_LEVELS[level], "[{pid}] {text}", pid=self.pid, text=text)

    def processEnded(self, reason: Failure) -> None:
        os.close(self.commands_fd)
        self._owner.worker_ended(self, str(reason.value))
        if not self.ready.called:
            self.ready.callback(False)
        self.ended.callback(None)


def spawn_worker(
    owner: WorkerOwner,
    configuration: Configuration,
    sockets: Mapping[str, int],
    counts: SharedCounts,
    *,
    number: int,
    workers: int,
    multipart_directory: Path | None,
) -> WorkerProcess:
    """
    Start a worker.

    Args:
        configuration: What it is to serve.
        sockets: Descriptors of the listening sockets in this process, by name.
        counts: Where it and its fellows tell how many connections they have.
        number: Which of them it is, from 0 on.
        workers: How many of them share the limits.
        multipart_directory: What is claimed for all of them.

    Raises:
        OSError: No process, descriptor or memory is left for another one.
    """
    in_worker = {name: FIRST_SOCKET_FD + number for number, name in enumerate(sockets)}
    counts_fd = FIRST_SOCKET_FD + len(sockets)
    orders = Orders(
        content=configuration.content,
        directory=str(configuration.directory),
        sockets=in_worker,
        workers=workers,
        number=number,
        counts_fd=counts_fd,
        multipart_directory=str(multipart_directory) if multipart_directory is not None else None,
    )
    orders_fd = sealed_memory("s3proxy", orders.to_json())
    commands_read_fd, commands_fd = os.pipe()
    try:
        worker = WorkerProcess(owner, configuration, commands_fd, counts, number)
        owner.reactor.spawnProcess(
            worker,
            sys.executable,
            [*python_command(), "-m", "s3proxy.daemon.worker"],
            env=None,
            childFDs={
                0: orders_fd,
                1: 1,
                2: "r",
                COMMANDS_FD: commands_read_fd,
                REPORTS_FD: "r",
                **{in_worker[name]: fd for name, fd in sockets.items()},
                counts_fd: counts.fd,
            },
        )
    finally:
        os.close(orders_fd)
        os.close(commands_read_fd)
    return worker
