"""
One worker as the supervisor sees it: a process that it starts, sends commands to and reads reports from, until the
process ends.

The strategy: this module handles descriptors, pipes and lines, and decides nothing. It passes each report and the end
of the process to its owner, which decides if a dead worker is replaced. A worker gets descriptors: its orders in sealed
memory, the listening sockets, and the memory in which workers share their numbers of connections. The command line is
the same for every worker. Lines that a worker writes to its log are logged here, with its process id.

`s3proxy.daemon.worker` runs in the process; `s3proxy.daemon.orders` is the protocol between the two.
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
    Starts workers: an `s3proxy.daemon.supervisor.Supervisor`.

    Attributes:
        reactor: Starts processes; its clock never goes back.
        metrics: Adds up the reports of all workers.
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
        configuration: The configuration that the worker serves.
        commands_fd: The descriptor for commands to the worker.
        counts: The memory in which workers share their numbers of connections.
        number: The number of the worker.

    Attributes:
        is_ready: Whether the worker accepts connections.
        is_leaving: Whether the worker was told to end.
        ready: Fires with True when the worker becomes ready, or with False if it ends before that.
        ended: Fires when the process has ended.
        began_at: When the process started, in seconds of a clock that never goes back.
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
        Send a command that ends the worker. Ignored if the process is already dead.
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
        configuration: The configuration that the worker serves.
        sockets: Descriptors of the listening sockets in this process, by name.
        counts: The memory in which workers share their numbers of connections.
        number: The number of the worker, from 0.
        workers: The number of workers that share the limits.
        multipart_directory: The directory that is claimed for all workers; None if none is.

    Raises:
        OSError: There is no process, descriptor or memory for another worker.
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
