"""
The running daemon: it starts, reloads, and drains before it ends.

The strategy: each reading of the configuration makes a generation, and the listeners outlive it. A reload first makes
everything that can fail: settings, a generation, sockets, the directory of multipart uploads. If one of them fails,
nothing changes. Otherwise the new generation replaces the former one, whose requests end in it.

The end is a drain with a deadline. If the sockets have a successor, further requests on open connections are served;
otherwise they are refused. At the deadline, running requests are reset. Then everything is released.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from s3proxy.configuration.modes import MultipartMode
from s3proxy.configuration.options import Settings
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.source import count_keys
from s3proxy.daemon.backends import CannotStart
from s3proxy.daemon.generation import Generation, claim_directory, stop_source, utc_now
from s3proxy.daemon.instruments import measure
from s3proxy.daemon.listeners import Listeners
from s3proxy.daemon.process import prepare_process, stop_once
from s3proxy.daemon.sockets import CannotListen, Sockets
from s3proxy.embedding.store import as_source
from s3proxy.exchange.context import ProxyCounts
from s3proxy.frontend.balance import Balance
from s3proxy.frontend.resource import S3Resource
from s3proxy.interfaces import IAuthorizer, ICredentialSource, ICredentialStore
from s3proxy.multipart.directory import DirectoryClaim
from s3proxy.profiles.known import PROFILES
from s3proxy.s3 import native
from s3proxy.s3.errors import S3Error
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.telemetry.admin import AdminSite
from s3proxy.telemetry.metrics import Metrics


class ProxyService(Service):
    """
    The daemon, or one of its workers, or the proxy inside of an application.

    Args:
        settings: All settings.
        reactor: The reactor; its clock must never go back.
        credentials: An application's own store of client keys, in place of the source that the settings name, which is
            not opened then. It is asked in every generation, also after a reload. An `ICredentialSource` is started
            with the service, once, and stopped after the last request. Any other store is only asked for keys: see
            `s3proxy.embedding.store.StoreSource` for its session tokens.
        authorizer: An application's own decision about each authenticated request, in every generation.
        load: Reads the settings again, for a reload; None if only the files that they name may have changed.
        sockets: The sockets that are already open, with their names.
        handles_signals: Whether SIGHUP reloads, and SIGUSR2 does not end the process.
        balance: The numbers of connections of the other processes that accept from the same sockets.
        multipart_directory: The directory that such processes have claimed together. A single process claims its own.

    Attributes:
        generation: The generation that serves new requests.
        former_generations: Earlier generations whose requests have not ended.
        listeners: Accept client connections.
        counts: The counters of the proxies of all generations.
        metrics: The metrics for the admin endpoint.

    Raises:
        CannotStart: The daemon cannot do what the settings require.
    """

    _log = Logger()
    name = "s3proxy"

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        *,
        credentials: ICredentialStore | None = None,
        authorizer: IAuthorizer | None = None,
        load: Callable[[], Settings] | None = None,
        sockets: Sockets | None = None,
        handles_signals: bool = True,
        balance: Balance | None = None,
        multipart_directory: Path | None = None,
    ) -> None:
        self._reactor = reactor
        self._is_one_of_several = balance is not None
        self._shared_directory = multipart_directory
        self._claim: DirectoryClaim | None = None
        self._own_credentials = as_source(credentials) if credentials is not None else None
        self._started_credentials: ICredentialSource | None = None
        self._authorizer = authorizer
        self._load = load
        self._handles_signals = handles_signals
        self._former_handlers: dict[int, Any] = {}
        self._is_draining = False
        self._is_retiring = False
        self._deadlines: list[Any] = []
        self.counts = ProxyCounts()
        self.metrics = Metrics()
        self.generation = self._make_generation(settings, None)
        self.former_generations: list[Generation] = []
        self.listeners = Listeners(
            reactor,
            sockets or Sockets(reactor),
            settings,
            balance=balance,
            connection_refused=self._log_refused,
            make_admin_site=partial(AdminSite, self.metrics.document, self._why_not_ready),
        )
        measure(self.metrics, self)

    def _make_generation(self, settings: Settings, former: Generation | None) -> Generation:
        return Generation(
            settings,
            self._reactor,
            former,
            counts=self.counts,
            log_access=self._log_access,
            credentials=self._own_credentials,
            authorizer=self._authorizer,
        )

    # Start and end

    def privilegedStartService(self) -> None:
        # Before twistd gives up root: a port below 1024 needs it, and an error here still makes the start fail.
        if self.listeners.is_listening:
            return
        try:
            self.listeners.listen(self.generation)
        except CannotListen as error:
            self.listeners.stop_listening()
            raise CannotStart(str(error)) from None

    def startService(self) -> None:
        self.privilegedStartService()
        # After twistd has given up root: the files that it makes must belong to the daemon's user.
        try:
            self._claim = self._claimed(self.generation.settings)
            self._open(self.generation, self._claim)
        except CannotStart:
            self._give_up_directory()
            self.listeners.stop_listening()
            raise
        super().startService()
        if self._own_credentials is not None:
            self._started_credentials = self._own_credentials
            self._own_credentials.start(self._reactor)
        self.generation.start()
        if self._handles_signals:
            self._former_handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hangup)
            if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
                # The default action would end the process, and reset every transfer.
                self._former_handlers[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._restart_asked)
        for address in self.addresses:
            self._log.info("listening on {address}", address=address)
        if native.find() is not None:
            self._log.info("native rooms: {state}", state=native.describe())
        self._tell_multipart()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening; let running requests end until the deadline; then release everything.

        If the sockets are inherited, a successor may exist or come: further requests on open connections are served. If
        not, they are refused with SlowDown.
        """
        super().stopService()
        for number in self._former_handlers:
            # The default action would end this process in the middle of the drain.
            signal.signal(number, signal.SIG_IGN)
        is_succeeded = self._is_retiring or self.listeners.has_systemd_sockets
        return self._end(self.generation.settings.times.drain, is_succeeded=is_succeeded)

    def retire(self) -> Deferred[None]:
        """
        Leave the sockets to a successor. Running requests end, and further requests on open connections are served.

        Returns:
            Fires when nothing is left, or after `times.handover` if that is set.
        """
        self._is_retiring = True
        return self._end(self.generation.settings.times.handover, is_succeeded=True)

    def hurry(self) -> None:
        """
        End a process that is retiring after the time of a drain.
        """
        deadline = self._reactor.callLater(self.generation.settings.times.drain, self._abort)
        self._deadlines.append(deadline)

    def _end(self, seconds: float, *, is_succeeded: bool) -> Deferred[None]:
        self._is_draining = True
        # A successor may claim the directory: requests that still run here can share it safely with other processes.
        self._give_up_directory()
        waiting = self.listeners.stop_accepting()
        self._log.info("draining: {running} requests are running", running=self.running_count)
        proxies = [proxy for generation in self.generations for proxy in generation.proxies]
        if not is_succeeded:
            waiting += [proxy.drain() for proxy in proxies]
        drained = self.listeners.drain(serves=is_succeeded)
        waiting += drained if is_succeeded else []
        if seconds or not is_succeeded:
            self._deadlines.append(self._reactor.callLater(seconds, self._abort))
        return DeferredList(waiting, consumeErrors=True).addCallback(lambda ignored: self._drained())

    def reload(self) -> bool:
        """
        Read the configuration, the keys and the certificates again, and reopen the access log.

        Running requests end in their generation. Errors are logged, and then nothing changes.

        Returns:
            Whether the reload succeeded.
        """
        if self._is_draining:
            return self._not_reloaded(["the process is stopping"])
        former, claim = self.generation, self._claim
        try:
            settings = self._load() if self._load is not None else former.settings
            generation = self._make_generation(settings, former)
            self.listeners.open(settings)
            if self.running:
                claim = self._claimed(settings)
                self._open(generation, claim, former)
        except Faults as error:
            return self._not_reloaded(error.told)
        except (CannotStart, CannotListen) as error:
            self.listeners.close_unused()
            if claim is not None and claim is not self._claim:
                claim.give_up()
            return self._not_reloaded([str(error)])
        if claim is not self._claim:
            self._give_up_directory()
            self._claim = claim
        if settings.server.workers > 1:
            self._log.warn(
                "server.workers is now {wanted}, but a single process has no supervisor to start others: restart the "
                "daemon",
                wanted=settings.server.workers,
            )
        self.generation = generation
        self.former_generations = [old for old in self.former_generations if old.running_count] + [former]
        self.listeners.follow(generation)
        former.retire(generation)
        if self.running:
            generation.start()
        if self.listeners.is_listening:
            self.listeners.listen(generation)
        self._log.info("reloaded: {keys}", keys=count_keys(generation.credentials))
        return True

    def _not_reloaded(self, faults: Iterable[str]) -> bool:
        for fault in faults:
            self._log.error("reload failed, keeping the old configuration: {fault}", fault=fault)
        return False

    # Parts

    @property
    def credentials(self) -> ICredentialSource:
        """
        The source of client keys.
        """
        return self.generation.credentials

    @property
    def generations(self) -> list[Generation]:
        """
        The current generation, and those whose requests have not ended.
        """
        return [self.generation, *self.former_generations]

    @property
    def running_count(self) -> int:
        """
        Number of requests that have begun and not ended.
        """
        return sum(generation.running_count for generation in self.generations)

    @property
    def admin_address(self) -> Any:
        """
        The address of the admin endpoint; None if there is none.
        """
        return self.listeners.admin_address

    @property
    def addresses(self) -> list[Any]:
        """
        The addresses where clients connect.
        """
        return self.listeners.addresses

    def make_resource(self, listener: str | None = None) -> S3Resource:
        """
        Return a resource for a site, which may be the daemon's or an application's own.

        Args:
            listener: The name of the listener whose region and domains apply; the first one by default.
        """
        return self.listeners.make_resource(self.generation, listener)

    # Internals

    def _claimed(self, settings: Settings) -> DirectoryClaim | None:
        return None if self._is_one_of_several else claim_directory(settings, self._claim)

    def _open(self, generation: Generation, claim: DirectoryClaim | None, former: Generation | None = None) -> None:
        generation.open(claim.directory if claim is not None else self._shared_directory, former)

    def _give_up_directory(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.give_up()

    def _tell_multipart(self) -> None:
        multipart = self.generation.multipart
        for backend in self.generation.settings.backends:
            if backend.keeps_multipart and multipart is not None:
                why = "does not support multipart uploads: they"
                if not PROFILES[backend.profile].lacks_multipart:
                    why = "cannot replace objects that were uploaded in parts: multipart uploads"
                self._log.info(
                    "backend {backend} {why} are kept in {directory}",
                    backend=backend.name,
                    why=why,
                    directory=multipart.store.directory,
                )
            elif backend.keeps_multipart or backend.multipart == MultipartMode.REFUSE:
                self._log.info(
                    "backend {backend} does not support multipart uploads: they are refused", backend=backend.name
                )
        if multipart is not None and multipart.store.is_volatile:
            self._log.warn(
                "{directory} is in memory: multipart uploads are lost if this machine restarts",
                directory=multipart.store.directory,
            )

    def _hangup(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.reload)

    def _restart_asked(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self._not_restarted)

    def _not_restarted(self) -> None:
        self._log.error(
            "restart failed: server.workers is 1, and a single process has no supervisor to replace it; stop the "
            "daemon and start it again"
        )

    def _abort(self) -> None:
        self._log.warn("the drain timeout has expired: requests that are still running are reset")
        for generation in self.generations:
            for proxy in generation.proxies:
                proxy.abort_all()
        self.listeners.abort()

    def _drained(self) -> Any:
        for deadline in self._deadlines:
            if deadline.active():
                deadline.cancel()
        self.generation.access_log.close()
        agents = {backend.agent for generation in self.generations for backend in generation.backends.values()}
        ending: list[Any] = [agent.close() for agent in agents]
        kept = {id(each): each for generation in self.generations if (each := generation.multipart) is not None}
        ending += [each.close() for each in kept.values()]
        ending += [generation.stop_credentials() for generation in self.generations]
        started, self._started_credentials = self._started_credentials, None
        if started is not None:
            ending.append(stop_source(started))
        ending += self.listeners.close()
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers.clear()
        return DeferredList(ending, consumeErrors=True).addCallback(lambda ignored: None)

    def _log_access(self, record: AccessRecord) -> None:
        self.generation.access_log.write(record)

    def _log_refused(self, client_host: str, error: S3Error, request_id: str) -> None:
        self.counts.requests.count(b"", None, error.status, error.code, seconds=0.0)
        self._log_access(
            AccessRecord(
                received_at=utc_now(),
                client_host=client_host,
                request_id=request_id,
                status=error.status,
                error_code=error.code,
                host_id=self.generation.settings.server.host_id,
            )
        )

    def _why_not_ready(self) -> str:
        return "draining" if self._is_draining else ""


def make_service(settings: Settings, load: Callable[[], Settings] | None = None) -> ProxyService:
    """
    Return the daemon for the process's own reactor, and set its clock to one that never goes back.

    Raises:
        CannotStart: The daemon cannot do what the settings require.
    """
    from twisted.internet import reactor

    # Twisted's timers use the wall clock: an NTP step would fire them early or delay them.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    prepare_process()
    reactor.callWhenRunning(stop_once)
    return ProxyService(settings, reactor, load=load)
