"""
The supervisor of several processes on the same sockets: it starts them, sends them commands, adds up their metrics, and
replaces those that die.

The supervisor owns the listening sockets and the admin endpoint, and serves no request itself. A reload starts new
workers beside the old ones, which then end after their last request: no connection waits for another's end.

The strategy: a worker never changes its configuration. Each start, reload and restart makes a new set of workers. Once
all new workers are ready, the former ones retire. If one is not ready in time, the new ones stop and nothing has
changed. One change runs at a time, and a reload that is requested during a change follows it. A worker that dies is
replaced by one with the same configuration, after a pause that grows, and not before a running change is decided.

`s3proxy.daemon.worker_process` is one worker, `s3proxy.daemon.orders` is the protocol with it, and
`s3proxy.daemon.handover` lets another program replace this one.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, succeed
from twisted.internet.interfaces import IDelayedCall, IListeningPort
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.usage import UsageError

from s3proxy.configuration.loading import Configuration
from s3proxy.configuration.options import Settings
from s3proxy.configuration.tables import Faults
from s3proxy.daemon import expiry
from s3proxy.daemon.backends import CannotStart
from s3proxy.daemon.expiry import ExpiryWatch
from s3proxy.daemon.generation import Generation, claim_directory, utc_now
from s3proxy.daemon.handover import Handover, restart_arguments, try_program
from s3proxy.daemon.listeners import endpoints
from s3proxy.daemon.orders import RETIRE, STOP
from s3proxy.daemon.process import stop_once, write_no_core
from s3proxy.daemon.sockets import ADMIN, CannotListen, Sockets
from s3proxy.daemon.watch import ReloadWatch
from s3proxy.daemon.worker_process import WorkerProcess, spawn_worker
from s3proxy.exchange.context import ProxyCounts
from s3proxy.frontend.balance import SharedCounts
from s3proxy.multipart.directory import DirectoryClaim
from s3proxy.telemetry.admin import AdminSite
from s3proxy.telemetry.declarations import Metric, counter, gauge
from s3proxy.telemetry.metrics import Metrics, MetricsSum

START_TIME = 60.0
"""
Seconds in which a new worker must become ready.
"""

STOP_MARGIN = 10.0
"""
Seconds after the time of a drain, until a worker that must stop is killed.
"""

MIN_PAUSE, MAX_PAUSE = 0.1, 30.0
"""
Seconds until a dead worker is replaced: for the first time, and at most, if it dies again and again.
"""

_RELOADS = ("done", "failed")


class Supervisor(Service):
    """
    The daemon with several processes.

    Args:
        load: Reads the configuration.
        former: Sockets and workers of the supervisor that this one replaces.

    Attributes:
        reactor: The reactor; its clock must never go back.
        metrics: The metrics of the workers and the supervisor.
        workers: All processes that have not ended.
        death_count: Number of workers that ended unexpectedly.
        reload_counts: Number of configurations that were loaded, or that failed to load.

    Raises:
        CannotStart: The daemon cannot do what the configuration requires.
    """

    _log = Logger()
    name = "s3proxy"

    def __init__(self, load: Callable[[], Configuration], reactor: Any, former: Handover | None = None) -> None:
        self.reactor = reactor
        self.metrics = MetricsSum()
        self._own_metrics = Metrics()
        self._own_metrics.add(METRICS, lambda: [((), self)])
        self._expiry_watch = ExpiryWatch(reactor, utc_now)
        self._own_metrics.add(expiry.METRICS, lambda: [((), self._expiry_watch)])
        self.workers: list[WorkerProcess] = []
        self._load = load
        # twistd changes to the directory of `--rundir`.
        self._directory = os.getcwd()
        self._former = former or Handover({}, {})
        self._sockets = Sockets(reactor, self._former.sockets)
        self._configuration = load()
        self._settings = self._configuration.settings()
        made = self._try_out(self._settings)
        self._expiry_watch.follow(made)
        self._claim: DirectoryClaim | None = None
        self._admin_port: IListeningPort | None = None
        self._watch = ReloadWatch(reactor, self.reload)
        self._handled = {signal.SIGHUP: self.reload, signal.SIGUSR2: self.restart}
        self._is_changing = False
        self._changes_again = False
        self._is_stopping = False
        self.death_count = 0
        self._deaths_in_a_row = 0
        self.reload_counts = dict.fromkeys(_RELOADS, 0)
        self._reaping = LoopingCall(self._former.reap)
        self._reaping.clock = reactor

    def _try_out(self, settings: Settings) -> Generation:
        # Make here once what each worker will make, so that an error is found before anything changes.
        made = Generation(settings, self.reactor, counts=ProxyCounts(), log_access=lambda record: None)
        made.access_log.close()
        return made

    # Start and end

    def privilegedStartService(self) -> None:
        # Before twistd gives up root.
        try:
            for name, endpoint in endpoints(self._settings).items():
                self._sockets.open(name, endpoint)
        except CannotListen as error:
            raise CannotStart(str(error)) from None

    def startService(self) -> None:
        # After twistd has given up root. The workers share the directory.
        self._claim = claim_directory(self._settings)
        super().startService()
        self._sockets.keep_only(endpoints(self._settings))
        self._handle_signals()
        self._watch.loaded(self._settings)
        self._reaping.start(1.0)
        self._expiry_watch.start()
        self._listen_for_admin()
        self._change(self._configuration, self._settings, self._claim, self._former.retire)

    def stopService(self) -> Deferred[None]:
        """
        Stop every worker, and kill those that do not end.
        """
        super().stopService()
        self._is_stopping = True
        self._watch.stop()
        self._expiry_watch.stop()
        self._give_up(self._claim)
        # The default action would end this process in the middle of the drain, and leave the workers alone.
        self._ignore_signals()
        self._sockets.keep_only([ADMIN])
        self._former.stop()
        for worker in self.workers:
            worker.tell(STOP)
        ended: Deferred[Any] = DeferredList([worker.ended for worker in self.workers])
        killing = self.reactor.callLater(self._settings.times.drain + STOP_MARGIN, _kill, self.workers)
        return ended.addCallback(lambda ignored: self._stopped(killing))

    def _stopped(self, killing: IDelayedCall) -> Deferred[None]:
        if killing.active():
            killing.cancel()
        self._reaping.stop()
        self._sockets.keep_only([])
        stopping = self._admin_port.stopListening() if self._admin_port is not None else None
        return stopping or succeed(None)

    def _handle_signals(self) -> None:
        for number, act in self._handled.items():
            signal.signal(number, self._in_reactor(act))

    def _ignore_signals(self) -> None:
        for number in self._handled:
            signal.signal(number, signal.SIG_IGN)

    def _in_reactor(self, act: Callable[[], None]) -> Callable[[int, Any], None]:
        return lambda number, frame: self.reactor.callFromThread(act)

    # Changes

    def reload(self) -> None:
        """
        Apply the current configuration: start new workers, and let the old ones end after their last request.

        Errors are logged, and then nothing changes.
        """
        if self._is_stopping:
            return
        if self._is_changing:
            self._changes_again = True
            return
        self._watch.loading()
        try:
            configuration = self._load()
            settings = configuration.settings()
            self._watch.loaded(self._settings, settings)
            made = self._try_out(settings)
            for name, endpoint in endpoints(settings).items():
                self._sockets.open(name, endpoint)
            claim = claim_directory(settings, self._claim)
        except Faults as error:
            self._not_reloaded(*error.told)
        except (CannotStart, CannotListen) as error:
            self._not_reloaded(str(error))
        else:
            self._change(configuration, settings, claim, lambda: self._expiry_watch.follow(made))

    def _change(
        self,
        configuration: Configuration,
        settings: Settings,
        claim: DirectoryClaim | None,
        changed: Callable[[], None],
    ) -> None:
        """
        Start workers; once all of them are ready, let the former ones end.
        """
        former = [worker for worker in self.workers if not worker.is_leaving]
        new: list[WorkerProcess] = []
        try:
            counts = SharedCounts(settings.server.workers)
            for number in range(settings.server.workers):
                new.append(self._start(configuration, settings, claim, counts, number))
        except OSError as error:
            # There is no process, descriptor or memory for another worker.
            for worker in new:
                worker.tell(STOP)
            if not former:
                raise CannotStart(f"cannot start a worker: {error.strerror}") from None
            self._give_up(claim if claim is not self._claim else None)
            self._not_reloaded(f"cannot start a worker: {error.strerror}")
            return
        self._is_changing = True
        giving_up = self.reactor.callLater(START_TIME, _kill, new)

        def started(results: list[tuple[bool, Any]]) -> None:
            if giving_up.active():
                giving_up.cancel()
            self._is_changing = False
            if self._is_stopping:
                self._give_up(claim)
                return
            if all(is_ready for _, is_ready in results):
                self._give_up(self._claim if claim is not self._claim else None)
                self._configuration, self._settings, self._claim = configuration, settings, claim
                self._watch.loaded(settings)
                self._sockets.keep_only(endpoints(settings))
                for worker in former:
                    worker.tell(RETIRE)
                changed()
                self.reload_counts["done"] += 1
                self._listen_for_admin()
                self._log.info("{count} workers are serving", count=len(new))
            else:
                for worker in new:
                    worker.tell(STOP)
                self._give_up(claim if claim is not self._claim else None)
                self._not_reloaded("a new worker did not become ready")
                if not former:
                    self.reactor.stop()
            if self._changes_again:
                self._changes_again = False
                self.reload()

        DeferredList([worker.ready for worker in new]).addCallback(started)

    def _give_up(self, claim: DirectoryClaim | None) -> None:
        if claim is not None:
            claim.give_up()

    def _not_reloaded(self, *faults: str) -> None:
        self.reload_counts["failed"] += 1
        self._sockets.keep_only(endpoints(self._settings))
        for fault in faults:
            self._log.error("reload failed, keeping the old configuration: {fault}", fault=fault)

    def restart(self) -> None:
        """
        Replace this supervisor by a new one, with the program that is on disk now.

        The process and the sockets stay. The workers end after their last request, once the new ones are ready.
        """
        if self._is_changing or self._is_stopping:
            self._not_restarted("a reload, a restart or a stop is in progress")
            return
        try:
            self._try_out(self._load().settings())
            arguments, pidfile = restart_arguments()
        except Faults as error:
            self._not_restarted(*error.told)
            return
        except (CannotStart, UsageError) as error:
            self._not_restarted(str(error))
            return
        self._is_changing = True
        # There is no way back from a program that cannot start.
        trying = try_program()
        trying.addCallback(self._tried, arguments, pidfile)
        trying.addErrback(self._not_tried)

    def _tried(self, result: tuple[bytes, bytes, int], arguments: list[str], pidfile: str | None) -> None:
        self._is_changing = False
        if self._is_stopping:
            # The supervisor must stop, and the new program would not know that.
            return
        if result[2] != 0:
            self._not_restarted(result[1].decode("utf-8", "replace"))
            return
        handover = Handover(self._sockets.descriptors, {worker.pid: worker.commands_fd for worker in self.workers})
        directory = os.getcwd()
        try:
            # Relative paths of the command line start from there.
            os.chdir(self._directory)
            # Ignored signals stay ignored through exec(2). Until the new program handles them, the default action would
            # end it.
            self._ignore_signals()
            handover.execute(arguments, os.path.join(directory, pidfile) if pidfile else None)
        except OSError as error:
            os.chdir(directory)
            self._handle_signals()
            self._not_restarted(error.strerror)

    def _not_restarted(self, *reasons: str | None) -> None:
        for reason in reasons:
            self._log.error("restart failed: {reason}", reason=reason)

    def _not_tried(self, failure: Failure) -> None:
        failure.trap(OSError)
        self._is_changing = False
        self._not_restarted(failure.getErrorMessage())

    # Workers

    def _start(
        self,
        configuration: Configuration,
        settings: Settings,
        claim: DirectoryClaim | None,
        counts: SharedCounts,
        number: int,
    ) -> WorkerProcess:
        names = endpoints(settings)
        sockets = {name: fd for name, fd in self._sockets.descriptors.items() if name in names and name != ADMIN}
        worker = spawn_worker(
            self,
            configuration,
            sockets,
            counts,
            number=number,
            workers=settings.server.workers,
            multipart_directory=claim.directory if claim is not None else None,
        )
        self.workers.append(worker)
        return worker

    def worker_ended(self, worker: WorkerProcess, reason: str) -> None:
        """
        Called when a process has ended: start another in its place, unless it was told to end.
        """
        self.workers.remove(worker)
        worker.counts.forget(worker.number)
        self.metrics.ended(worker.pid)
        if worker.is_leaving or self._is_stopping:
            return
        self.death_count += 1
        self._log.error("worker {pid} died: {reason}", pid=worker.pid, reason=reason)
        if not worker.is_ready:
            # The change or replacement that waits for this worker handles it.
            return
        lived = self.reactor.seconds() - worker.began_at
        self._deaths_in_a_row = 0 if lived > MAX_PAUSE else self._deaths_in_a_row + 1
        pause = min(MAX_PAUSE, MIN_PAUSE * 2.0**self._deaths_in_a_row)
        self.reactor.callLater(pause, self._replace, worker)

    def _replace(self, worker: WorkerProcess) -> None:
        if self._is_stopping:
            return
        if self._is_changing:
            # The change is not decided yet. A worker that starts now would serve the former configuration for ever: the
            # workers that will retire have been chosen already. A key that the new configuration disables would stay
            # valid there.
            self.reactor.callLater(MIN_PAUSE, self._replace, worker)
            return
        if worker.configuration is not self._configuration:
            return
        try:
            replacement = self._start(self._configuration, self._settings, self._claim, worker.counts, worker.number)
        except OSError as error:
            self._log.error("cannot start a worker: {reason}", reason=error.strerror)
            self.reactor.callLater(MAX_PAUSE, self._replace, worker)
            return
        giving_up = self.reactor.callLater(START_TIME, replacement.kill)
        replacement.ready.addCallback(self._replaced, worker, giving_up)

    def _replaced(self, is_ready: bool, worker: WorkerProcess, giving_up: IDelayedCall) -> None:
        if giving_up.active():
            giving_up.cancel()
        if not is_ready:
            self.reactor.callLater(MAX_PAUSE, self._replace, worker)

    # The admin endpoint

    def _listen_for_admin(self) -> None:
        wanted = self._settings.server.admin
        if self._admin_port is None and wanted is not None:
            site = AdminSite(self._document, self._why_not_ready)
            self._admin_port = self._sockets.listen(ADMIN, wanted, site)

    def _document(self) -> bytes:
        self.metrics.put(0, self._own_metrics.families())
        return self.metrics.document()

    @property
    def worker_counts(self) -> dict[str, int]:
        """
        Number of workers by state: those that serve, and those that end after their last request.
        """
        return {
            "serving": sum(worker.is_ready and not worker.is_leaving for worker in self.workers),
            "leaving": sum(worker.is_leaving for worker in self.workers),
        }

    def _why_not_ready(self) -> str:
        if self._is_stopping:
            return "draining"
        ready = self.worker_counts["serving"]
        return "" if ready >= self._settings.server.workers else f"only {ready} workers are ready"


METRICS: tuple[Metric[Supervisor], ...] = (
    gauge(
        "s3proxy_workers",
        "Worker processes: those that serve, and those that end after their last request.",
        lambda supervisor: supervisor.worker_counts,
        {"state": ("serving", "leaving")},
    ),
    counter(
        "s3proxy_worker_deaths",
        "Worker processes that ended unexpectedly.",
        lambda supervisor: supervisor.death_count,
    ),
    counter(
        "s3proxy_reloads",
        "Configurations that were loaded, including the first one, or that failed to load.",
        lambda supervisor: supervisor.reload_counts,
        {"result": _RELOADS},
    ),
)


def _kill(workers: list[WorkerProcess]) -> None:
    for worker in tuple(workers):
        worker.kill()


def make_supervisor(load: Callable[[], Configuration]) -> Supervisor:
    """
    Return the supervisor for the process's own reactor, and set its clock to one that never goes back.

    Raises:
        CannotStart: The daemon cannot do what the configuration requires.
        Faults: The configuration is not valid.
    """
    from twisted.internet import reactor

    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    write_no_core()
    reactor.callWhenRunning(stop_once)
    return Supervisor(load, reactor, Handover.from_environment())
