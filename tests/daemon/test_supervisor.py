"""
What the supervisor does when events happen at the wrong moment. The tests play its processes.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from s3proxy.configuration.loading import read_configuration
from s3proxy.daemon import handover, supervisor
from s3proxy.daemon.orders import REPORTS_FD, RETIRE, STOP, Report
from s3proxy.daemon.supervisor import START_TIME, Supervisor
from s3proxy.daemon.worker_process import WorkerProcess
from tests.support.processes import write_configuration


class PlayedProcess:
    """
    The transport of a worker, and its process.
    """

    def __init__(self, pid: int, worker: WorkerProcess) -> None:
        self.pid = pid
        self.worker = worker
        self.signals: list[str] = []
        self.has_ended = False
        # The supervisor closes its own end of the commands; this process keeps the other end.
        self._commands_fd = os.dup(worker.commands_fd)
        self.commands: list[bytes] = []
        tell = worker.tell
        worker.tell = lambda command: (self.commands.append(command), tell(command))[1]  # type: ignore[method-assign]

    def signalProcess(self, name: str) -> None:
        if self.has_ended:
            raise ProcessExitedAlready
        self.signals.append(name)

    def become_ready(self) -> None:
        """
        Send the first report.
        """
        self.worker.childDataReceived(REPORTS_FD, Report(metrics=[]).to_json() + b"\n")

    def end(self) -> None:
        """
        End the process, whether it was told to end or not.
        """
        self.has_ended = True
        os.close(self._commands_fd)
        self.worker.processEnded(Failure(ProcessDone(None)))


class PlayedReactor(Clock):
    """
    Starts no process, and records what would have been one.

    Attributes:
        processes: All processes, in the order of their start.
        refuses: Whether the system can start no more processes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[PlayedProcess] = []
        self.refuses = False
        self.has_stopped = False

    def spawnProcess(self, worker: WorkerProcess, *arguments: Any, **options: Any) -> None:
        if self.refuses:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        process = PlayedProcess(1000 + len(self.processes), worker)
        self.processes.append(process)
        worker.makeConnection(process)  # type: ignore[no-untyped-call]

    def callFromThread(self, act: Callable[[], None]) -> None:
        act()

    def stop(self) -> None:
        self.has_stopped = True


class Played:
    """
    A supervisor of two workers.
    """

    def __init__(self, directory: Path) -> None:
        self.configuration = write_configuration(directory, "http://127.0.0.1:1", server="workers = 2")
        self.reactor = PlayedReactor()
        self.supervisor = Supervisor(lambda: read_configuration(self.configuration), self.reactor)
        self.log: list[str] = []

    def start(self) -> None:
        """
        Start, and let both workers become ready.
        """
        self.supervisor.privilegedStartService()
        self.supervisor.startService()
        for process in self.living:
            process.become_ready()

    @property
    def living(self) -> list[PlayedProcess]:
        """
        The processes that have not ended.
        """
        return [process for process in self.reactor.processes if not process.has_ended]

    @property
    def serving(self) -> list[PlayedProcess]:
        """
        Processes that were not told to end.
        """
        return [process for process in self.living if not process.commands]

    def change(self) -> None:
        """
        Begin a reload with another configuration.
        """
        self.configuration.write_text(self.configuration.read_text().replace("[server]", '[server]\nregion = "eu-1"'))
        self.supervisor.reload()

    def stop(self) -> None:
        """
        Stop everything.
        """
        if self.supervisor.running:
            self.supervisor.stopService()
        for process in self.living:
            process.end()


@pytest.fixture
def played(tmp_path: Path) -> Iterator[Played]:
    """
    A supervisor; the signal handlers are restored afterwards.
    """
    numbers = (signal.SIGHUP, signal.SIGUSR2)
    former: dict[int, Any] = {number: signal.getsignal(number) for number in numbers}
    directory = Path.cwd()
    played = Played(tmp_path)

    def observe(event: dict[str, Any]) -> None:
        if event.get("log_level") is not None and event["log_level"].name == "error":
            played.log.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield played
    played.stop()
    globalLogPublisher.removeObserver(observe)
    os.chdir(directory)
    for number, handler in former.items():
        signal.signal(number, handler)


def test_no_worker_keeps_the_former_configuration(played: Played) -> None:
    """
    A worker that dies during a reload is not replaced by one of its generation: a key that the new configuration
    disables must not work anywhere.
    """
    played.start()
    played.change()
    former, other, *new = played.reactor.processes
    former.end()
    played.reactor.advance(10)
    for process in new:
        process.become_ready()
    played.reactor.advance(10)

    assert played.serving == new
    assert other.commands == [RETIRE]
    assert {process.worker.configuration.content["server"].get("region") for process in new} == {"eu-1"}


def test_a_dead_worker_is_replaced_after_a_reload_that_failed(played: Played) -> None:
    """
    The former configuration remains in force, with as many workers as before.
    """
    played.start()
    played.change()
    former, other, *new = played.reactor.processes
    former.end()
    played.reactor.advance(10)
    for process in new:
        process.end()
    played.reactor.advance(10)
    *_, replacement = played.reactor.processes
    replacement.become_ready()

    assert played.serving == [other, replacement]
    assert "reload failed, keeping the old configuration: a new worker did not become ready" in played.log


def test_a_new_worker_that_dies_before_its_fellow_is_ready_is_replaced(played: Played) -> None:
    """
    After the reload as many workers serve as the configuration says.
    """
    played.start()
    played.change()
    first, second = played.reactor.processes[2:]
    first.become_ready()
    first.end()
    played.reactor.advance(10)
    second.become_ready()
    played.reactor.advance(10)
    *_, replacement = played.reactor.processes
    replacement.become_ready()

    assert played.serving == [second, replacement]


def test_a_replacement_that_does_not_become_ready_is_killed(played: Played) -> None:
    """
    It has the time limit of every new worker; then another is tried.
    """
    played.start()
    played.reactor.processes[0].end()
    played.reactor.advance(10)
    replacement = played.reactor.processes[2]
    played.reactor.advance(START_TIME)
    assert replacement.signals == ["KILL"]
    replacement.end()
    played.reactor.advance(60)

    assert len(played.living) == 2
    assert played.living[1] is played.reactor.processes[3]


def test_restarts_of_a_worker_that_dies_at_once_are_bounded(played: Played) -> None:
    """
    The pauses between the restarts grow to half a minute.
    """
    played.start()
    for _ in range(10_000):
        if played.reactor.seconds() > 3600:
            break
        played.reactor.advance(0.5)
        for process in played.living[1:]:
            process.become_ready()
            process.end()

    assert 100 < len(played.reactor.processes) < 150


def test_one_dead_and_one_silent_worker_end_a_reload(played: Played) -> None:
    """
    The silent one is killed although the other has already ended, and the next reload starts from the beginning.
    """
    played.start()
    played.change()
    dead, silent = played.reactor.processes[2:]
    dead.end()
    played.reactor.advance(START_TIME)
    assert silent.signals == ["KILL"]
    silent.end()
    played.supervisor.reload()

    assert len(played.living) == 4


def test_a_system_without_processes_left(played: Played) -> None:
    """
    A reload that cannot start its workers logs one line. The former workers continue to serve, and a later reload
    succeeds.
    """
    played.start()
    played.reactor.refuses = True
    played.change()
    assert played.log == [
        "reload failed, keeping the old configuration: cannot start a worker: Resource temporarily unavailable"
    ]
    played.reactor.processes[0].end()
    played.reactor.advance(10)
    played.reactor.refuses = False
    played.reactor.advance(60)
    played.supervisor.reload()
    for process in played.living:
        process.become_ready()

    assert len(played.serving) == 2
    assert len(played.living) == 4


def test_the_page_adds_the_supervisor_s_own_metrics(played: Played) -> None:
    """
    It counts its workers, their deaths and the reloads, beside the sums of what the workers report.
    """
    played.start()
    played.reactor.processes[0].end()
    played.configuration.write_text("nonsense")
    played.supervisor.reload()

    page = played.supervisor._document().decode()

    assert [line for line in page.splitlines() if not line.startswith("#")] == [
        's3proxy_workers{state="serving"} 1.0',
        's3proxy_workers{state="leaving"} 0.0',
        "s3proxy_worker_deaths_total 1.0",
        's3proxy_reloads_total{result="done"} 1.0',
        's3proxy_reloads_total{result="failed"} 1.0',
    ]


def test_signals_during_the_drain_do_not_end_it(played: Played) -> None:
    """
    SIGHUP and SIGUSR2 would end the process by default, and leave its workers without a supervisor.
    """
    played.start()
    played.supervisor.stopService()

    assert signal.getsignal(signal.SIGHUP) == signal.getsignal(signal.SIGUSR2) == signal.SIG_IGN
    assert [process.commands for process in played.living] == [[STOP], [STOP]]


class Restarted:
    """
    A restart up to the call that would replace the program.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, played: Played, pidfile: Path) -> None:
        self.tried: Deferred[Any] = Deferred()
        self.directories: list[Path] = []
        self.handlers: list[Any] = []
        self.commands: list[list[str]] = []
        monkeypatch.setattr(handover, "getProcessOutputAndValue", self._try)
        monkeypatch.setattr(supervisor, "restart_arguments", lambda: (["twistd"], pidfile.name))
        monkeypatch.setattr(os, "execve", self._execute)
        played.supervisor.restart()

    def _try(self, executable: str, arguments: list[str], environment: Any) -> Deferred[Any]:
        self.commands.append(arguments)
        return self.tried

    def _execute(self, *arguments: Any) -> None:
        self.directories.append(Path.cwd())
        self.handlers += [signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGUSR2)]
        raise OSError(errno.ENOMEM, "Cannot allocate memory")


def test_a_restart_that_fails_at_the_last_moment(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    It logs one line, and nothing has changed: handlers, directory, pid file, descriptors.

    Until then paths are relative to the directory where the daemon was started, and no signal could end the new
    program.
    """
    started_in = Path.cwd()
    played.start()
    pidfile = tmp_path / "run" / "twistd.pid"
    pidfile.parent.mkdir()
    pidfile.write_text("4711")
    os.chdir(pidfile.parent)
    restarted = Restarted(monkeypatch, played, pidfile)
    restarted.tried.callback((b"", b"", 0))

    assert restarted.directories == [started_in]
    assert restarted.handlers == [signal.SIG_IGN, signal.SIG_IGN]
    assert restarted.commands[0][0] == "-P", "the working directory is not on its module path"
    assert played.log == ["restart failed: Cannot allocate memory"]
    assert pidfile.read_text() == "4711"
    assert Path.cwd() == pidfile.parent
    assert callable(signal.getsignal(signal.SIGHUP))
    descriptors = [process.worker.commands_fd for process in played.living]
    assert not any(os.get_inheritable(fd) for fd in descriptors)


def test_a_daemon_that_was_told_to_stop_does_not_restart(
    played: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    SIGTERM arrives while the new program is tried: the new one would not see it.
    """
    played.start()
    restarted = Restarted(monkeypatch, played, tmp_path / "twistd.pid")
    played.supervisor.stopService()
    restarted.tried.callback((b"", b"", 0))

    assert restarted.directories == []


class DeafNotifier:
    """
    Reports nothing.
    """

    is_lost = False

    def __init__(self, *arguments: Any) -> None:
        pass

    def loseConnection(self) -> None:
        """
        Report nothing more.
        """


def test_a_supervisor_reloads_by_itself(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    `reload = "watch"`: a changed file brings new workers, a broken one is logged once, and no worker watches.
    """
    monkeypatch.setattr("s3proxy.daemon.notifier.DirectoryNotifier", DeafNotifier)
    played.start()
    text = played.configuration.read_text().replace("[server]", '[server]\nreload = "watch"')
    played.configuration.write_text(text)
    played.supervisor.reload()
    for process in played.living:
        process.become_ready()

    played.configuration.write_text(text.replace("[server]", '[server]\nregion = "eu-1"'))
    played.reactor.pump([0.1] * 60)
    for process in played.living:
        process.become_ready()
    serving = played.serving
    played.configuration.write_text(text.replace("[server]", "[server"))
    played.reactor.pump([0.1] * 300)

    assert [process.worker.configuration.content["server"].get("region") for process in serving] == ["eu-1"] * 2
    assert played.serving == serving
    assert len(played.log) == 1
    assert "reload failed" in played.log[0]
