"""
From settings to a running daemon: it listens, reloads, and lets requests end before it does.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from s3proxy.configuration.options import ListenerSettings, Settings
from s3proxy.configuration.tables import Faults
from s3proxy.daemon.backends import CannotStart
from s3proxy.daemon.gauges import measure
from s3proxy.daemon.generation import Generation, claim_directory, utc_now
from s3proxy.daemon.listening import ADMIN, CannotListen, Sockets
from s3proxy.daemon.process import prepare_process, stop_once
from s3proxy.exchange.context import ProxyCounts
from s3proxy.frontend.admission import ConnectionLimit, most_connections
from s3proxy.frontend.balance import Balance
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderFactory
from s3proxy.frontend.resource import S3Resource
from s3proxy.frontend.site import S3Site
from s3proxy.multipart.directory import DirectoryClaim
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.errors import S3Error
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.telemetry.admin import AdminSite
from s3proxy.telemetry.metrics import Metrics


def possible_connections(settings: Settings) -> int:
    """
    Return how many connections of clients this process may have.
    """
    to_backends = sum(backend.connections * len(backend.places) for backend in settings.backends)
    return most_connections(settings.limits.connections, to_backends)


class ProxyService(Service):
    """
    The daemon, or one of its workers.

    Args:
        settings: All of them.
        reactor: Where everything runs; its clock must never go back.
        load: Reads the settings again, for a reload; None where only the files which they name may have changed.
        sockets: Those which are open already, with their names.
        handles_signals: Whether SIGHUP reloads, and SIGUSR2 ends nothing.
        balance: Which other processes accept from the same sockets.
        multipart_directory: What such processes have claimed together; without others this one claims its own.

    Raises:
        CannotStart: What the settings ask for cannot be done.
    """

    _log = Logger()
    name = "s3proxy"

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        *,
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
        self._load = load
        self._sockets = sockets or Sockets(reactor)
        self._handles_signals = handles_signals
        self._former_handlers: dict[int, Any] = {}
        self._ports: dict[str, IListeningPort] = {}
        self._sites: dict[str, S3Site] = {}
        self._left_sites: list[S3Site] = []
        self._resources: list[tuple[S3Resource, str | None]] = []
        self._is_draining = False
        self._is_retiring = False
        self._deadlines: list[Any] = []
        self.counts = ProxyCounts()
        self.metrics = Metrics()
        self.generation = self._make_generation(settings, None)
        self.former_generations: list[Generation] = []
        self.connection_limit = ConnectionLimit(
            self._accepting,
            possible_connections(settings),
            settings.limits.connections_per_address,
            reactor=reactor,
            balance=balance,
        )
        measure(self.metrics, self)

    def _make_generation(self, settings: Settings, former: Generation | None) -> Generation:
        return Generation(settings, self._reactor, former, counts=self.counts, log_access=self._log_access)

    # Life

    def privilegedStartService(self) -> None:
        # Before twistd gives up root: a port below 1024 needs it, and a failure here still fails the start.
        if self._ports:
            return
        try:
            self._listen(self.generation)
        except CannotListen as error:
            self._stop_listening()
            raise CannotStart(str(error)) from None

    def _stop_listening(self) -> None:
        for port in self._ports.values():
            port.stopListening()

    def startService(self) -> None:
        self.privilegedStartService()
        # After twistd has given up root: what it makes must be the daemon's own.
        try:
            self._claim = self._claimed(self.generation.settings)
            self._open(self.generation, self._claim)
        except CannotStart:
            self._give_up_directory()
            self._stop_listening()
            raise
        super().startService()
        self.generation.start()
        if self._handles_signals:
            self._former_handlers[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._hangup)
            if signal.getsignal(signal.SIGUSR2) == signal.SIG_DFL:
                # The default would end the process, and reset every transfer.
                self._former_handlers[signal.SIGUSR2] = signal.signal(signal.SIGUSR2, self._restart_asked)
        for address in self.addresses:
            self._log.info("listening on {address}", address=address)
        self._tell_multipart()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening; let running requests end, until the deadline; then let go of everything.

        Where the sockets are not our own a successor may be there, or come: what is asked on open connections is
        served still. Otherwise it is refused with SlowDown.
        """
        super().stopService()
        for number in self._former_handlers:
            # The default would end this process in the middle of the drain.
            signal.signal(number, signal.SIG_IGN)
        is_succeeded = self._is_retiring or any(name.startswith("systemd:") for name in self._ports)
        return self._end(self.generation.settings.times.drain, is_succeeded=is_succeeded)

    def retire(self) -> Deferred[None]:
        """
        Leave the sockets to a successor, and serve what was begun, and what is asked on open connections, to its end.

        Returns:
            Fires when nothing is left; or when the time of a handover has passed, if there is one.
        """
        self._is_retiring = True
        return self._end(self.generation.settings.times.handover, is_succeeded=True)

    def hurry(self) -> None:
        """
        Let what was retired end when the time of a drain has passed.
        """
        deadline = self._reactor.callLater(self.generation.settings.times.drain, self._abort)
        self._deadlines.append(deadline)

    def _end(self, seconds: float, *, is_succeeded: bool) -> Deferred[None]:
        self._is_draining = True
        # A successor may have it: what still runs here is safe with others beside it.
        self._give_up_directory()
        self.connection_limit.leave()
        waiting: list[Deferred[Any]] = []
        for name in tuple(self._ports):
            if name != ADMIN:
                stopping = self._ports.pop(name).stopListening()
                waiting += [stopping] if stopping is not None else []
        # Its admin page can be asked how the drain goes.
        self._sockets.keep_only([ADMIN])
        self._log.info("draining: {running} requests are running", running=self.running_count)
        proxies = [proxy for generation in self.generations for proxy in generation.proxies]
        if not is_succeeded:
            waiting += [proxy.drain() for proxy in proxies]
        for site in self.sites:
            drained = site.drain(serves=is_succeeded)
            waiting += [drained] if is_succeeded else []
        if seconds or not is_succeeded:
            self._deadlines.append(self._reactor.callLater(seconds, self._abort))
        return DeferredList(waiting, consumeErrors=True).addCallback(lambda ignored: self._drained())

    def reload(self) -> bool:
        """
        Read the configuration, the keys and the certificates again, and open the access log anew.

        Requests which run end as they began. What is wrong is logged, and then nothing changes.

        Returns:
            Whether it was right.
        """
        if self._is_draining:
            return self._not_reloaded(["the process is stopping"])
        former, claim = self.generation, self._claim
        try:
            settings = self._load() if self._load is not None else former.settings
            generation = self._make_generation(settings, former)
            for name, endpoint in endpoints(settings).items():
                self._sockets.open(name, endpoint)
            if self.running:
                claim = self._claimed(settings)
                self._open(generation, claim, former)
        except Faults as error:
            return self._not_reloaded(error.told)
        except (CannotStart, CannotListen) as error:
            self._sockets.keep_only(self._ports)
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
        for resource, listener in self._resources:
            resource.proxy = generation.make_proxy(self._listener(listener))
        former.retire(generation)
        if self.running:
            generation.start()
        if self._ports:
            self._listen(generation)
        self._log.info("reloaded: {count} keys", count=len(generation.credentials))
        return True

    def _not_reloaded(self, faults: Iterable[str]) -> bool:
        for fault in faults:
            self._log.error("reload failed, keeping the old configuration: {fault}", fault=fault)
        return False

    # What it consists of

    @property
    def credentials(self) -> Any:
        """
        The clients' keys.
        """
        return self.generation.credentials

    @property
    def generations(self) -> list[Generation]:
        """
        The present one, and those whose requests have not ended.
        """
        return [self.generation, *self.former_generations]

    @property
    def running_count(self) -> int:
        """
        How many requests have begun and not ended.
        """
        return sum(generation.running_count for generation in self.generations)

    @property
    def sites(self) -> list[S3Site]:
        """
        Those which have connections, or may get some.
        """
        return [*self._sites.values(), *self._left_sites]

    @property
    def admin_address(self) -> Any:
        """
        Where the admin endpoint listens, or None.
        """
        return self._ports[ADMIN].getHost() if ADMIN in self._ports else None

    @property
    def addresses(self) -> list[Any]:
        """
        Where it listens.
        """
        return [port.getHost() for name, port in self._ports.items() if name != ADMIN]

    def make_resource(self, listener: str | None = None) -> S3Resource:
        """
        Make a resource for a site, the daemon's or an application's own.

        Args:
            listener: The name of the one whose region and domains hold; the first by default.
        """
        resource = S3Resource(self.generation.make_proxy(self._listener(listener)))
        self._resources.append((resource, listener))
        return resource

    # Inside

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
            elif backend.keeps_multipart or backend.multipart == "refuse":
                self._log.info(
                    "backend {backend} does not support multipart uploads: they are refused", backend=backend.name
                )
        if multipart is not None and multipart.store.is_volatile:
            self._log.warn(
                "{directory} is in memory: multipart uploads are lost if this machine restarts",
                directory=multipart.store.directory,
            )

    def _listener(self, name: str | None) -> ListenerSettings:
        named = _named(self.generation.settings.listeners)
        return named.get(name or "") or next(iter(named.values()))

    def _listen(self, generation: Generation) -> None:
        """
        Listen where the settings say, and no more anywhere else.
        """
        settings = generation.settings
        named = _named(settings.listeners)
        for name, listener in named.items():
            if name not in self._sites:
                self._sites[name] = self._make_site(name, generation)
            site = self._sites[name]
            site.times = generation.client_times()
            site.trust = Trust(Peers(listener.trusted_peers), listener.proxy_protocol, listener.trusted_forwarded)
            former = self._ports.get(name)
            if former is None or listener.endpoint.startswith("ssl:"):
                # With TLS each port has its certificate; the socket below is the same.
                wrap = partial(ProxyHeaderFactory, site=site)
                self._ports[name] = self._sockets.listen(name, listener.endpoint, site, wrap)
                if former is not None:
                    # "(TCP Port 443 Closed)", Twisted logs, though the socket stays open.
                    cast(Any, former)._logConnectionLostMsg = lambda: None
                    former.stopListening()
        for name in self._sites.keys() - named.keys():
            self._ports.pop(name).stopListening()
            left = self._sites.pop(name)
            left.drain(serves=True)
            self._left_sites = [site for site in self._left_sites if site.channels] + [left]
            self._resources = [pair for pair in self._resources if pair[1] != name]
        admin = settings.server.admin
        if admin is not None and ADMIN not in self._ports:
            self._ports[ADMIN] = self._sockets.listen(
                ADMIN, admin, AdminSite(self.metrics.document, self._why_not_ready)
            )
        self._sockets.keep_only(self._ports)
        self._sockets.bound_buffers(settings.limits.socket_buffer)
        self.connection_limit.most = possible_connections(settings)
        self.connection_limit.most_per_address = settings.limits.connections_per_address

    def _make_site(self, name: str, generation: Generation) -> S3Site:
        return S3Site(
            self.make_resource(name),
            self._reactor,
            times=generation.client_times(),
            host_id=generation.settings.server.host_id,
            connection_refused=self._log_refused,
            limit=self.connection_limit,
        )

    def _accepting(self) -> list[Any]:
        return [port for name, port in self._ports.items() if name != ADMIN]

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
        for site in self.sites:
            site.abort()

    def _drained(self) -> Any:
        for deadline in self._deadlines:
            if deadline.active():
                deadline.cancel()
        self.generation.access_log.close()
        agents = {backend.agent for generation in self.generations for backend in generation.backends.values()}
        ending: list[Any] = [agent.close() for agent in agents]
        kept = {id(each): each for generation in self.generations if (each := generation.multipart) is not None}
        ending += [each.close() for each in kept.values()]
        for port in self._ports.values():
            stopping = port.stopListening()
            ending += [stopping] if stopping is not None else []
        self._ports = {}
        self._sockets.keep_only([])
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        self._former_handlers.clear()
        return DeferredList(ending, consumeErrors=True).addCallback(lambda ignored: None)

    def _log_access(self, record: AccessRecord) -> None:
        self.generation.access_log.write(record)
        self.metrics.record(record)

    def _log_refused(self, client_host: str, error: S3Error, request_id: str) -> None:
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


def _named(listeners: tuple[ListenerSettings, ...]) -> dict[str, ListenerSettings]:
    """
    Name each listener by its endpoint; port 0 may be there several times.
    """
    named: dict[str, ListenerSettings] = {}
    for listener in listeners:
        name, number = listener.endpoint, 1
        while name in named:
            number += 1
            name = f"{listener.endpoint} #{number}"
        named[name] = listener
    return named


def endpoints(settings: Settings) -> dict[str, str]:
    """
    Name each socket which the settings want: its endpoint string.
    """
    named = {name: listener.endpoint for name, listener in _named(settings.listeners).items()}
    return named if settings.server.admin is None else {**named, ADMIN: settings.server.admin}


def make_service(settings: Settings, load: Callable[[], Settings] | None = None) -> ProxyService:
    """
    Make the daemon for the process's own reactor, whose clock is set to one that never goes back.

    Raises:
        CannotStart: What the settings ask for cannot be done.
    """
    from twisted.internet import reactor

    # Twisted's timers run on the wall clock: a step of NTP would fire or starve them.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    prepare_process()
    reactor.callWhenRunning(stop_once)
    return ProxyService(settings, reactor, load=load)
