"""
What is made each time the configuration is read: credentials, backends, budgets, and the proxies that use them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.authentication.realm import Anonymous, Realm
from s3proxy.backend.backend import Backend
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.configuration.modes import FormMode, MultipartMode, UnknownLength
from s3proxy.configuration.options import BackendSettings, Limits, ListenerSettings, Settings
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.record import BUDGET_OPTIONS
from s3proxy.credentials.source import KeyRules, open_source
from s3proxy.daemon.backends import CannotStart, make_backend, make_backend_key
from s3proxy.exchange.budget import Budgets
from s3proxy.exchange.context import ProxyContext, ProxyCounts, ProxySettings
from s3proxy.exchange.proxy import Proxy
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.exchange.routing import Routing
from s3proxy.frontend.site import make_request_id
from s3proxy.frontend.times import ClientTimes
from s3proxy.interfaces import IAuthorizer, ICredentialSource
from s3proxy.multipart.directory import CannotKeepUploads, DirectoryClaim, NoDirectory
from s3proxy.multipart.records import StoreLimits
from s3proxy.multipart.store import MultipartStore
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.s3.credential import BudgetLimits
from s3proxy.telemetry.accesslog import AccessLog, AccessRecord

_log = Logger()


class _Seconds:
    """
    The time for signatures and logs, which say it to the second. All requests of a second get the same object, and what
    is written from it is written once. The reactor's clock is monotonic and cannot be used.
    """

    __slots__ = ("_moment", "_second")

    def __init__(self) -> None:
        self._second = 0
        self._moment = datetime.fromtimestamp(0, UTC)

    def __call__(self) -> datetime:
        second = int(time.time())
        if second != self._second:
            self._moment = datetime.fromtimestamp(second, UTC)
            self._second = second
        return self._moment


utc_now = _Seconds()


class Generation:
    """
    Everything that lives until the configuration is read again. A request ends in the generation in which it began.

    Args:
        former: The generation before this one. What has not changed is taken from it: connections to backends, and what
            is remembered.
        log_access: Called with the record of each request that has ended.
        counts: The counters of the proxies of all generations.
        credentials: The source of client keys of an application, which starts and stops it; None to open the one that
            the settings name.
        authorizer: Decides about each authenticated request; None allows everything.

    Raises:
        CannotStart: A file is missing or not valid; the text has every error.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any,
        former: Generation | None = None,
        *,
        counts: ProxyCounts,
        log_access: Callable[[AccessRecord], None],
        credentials: ICredentialSource | None = None,
        authorizer: IAuthorizer | None = None,
    ) -> None:
        self.settings = settings
        self._reactor = reactor
        self._counts = counts
        self._log_access = log_access
        self._authorizer = authorizer
        self._is_started = False
        self._opens_credentials = credentials is None
        self._credentials_stopped: Deferred[None] | None = None
        self.proxies: list[Proxy] = []
        server, limits = settings.server, settings.limits
        try:
            if credentials is None:
                credentials = open_source(settings.credential_source, settings.directory, _key_rules(settings))
            self.credentials = credentials
            self.backends = {backend.name: self._backend(backend, former) for backend in settings.backends}
            if former is not None and former.settings.log == settings.log:
                self.access_log: AccessLog = former.access_log
                self.access_log.reopen()
            else:
                self.access_log = AccessLog(settings.log.access)
        except Faults as error:
            raise CannotStart("\n".join(error.told)) from None
        except OSError as error:
            option = "log.access: " if error.filename == settings.log.access else ""
            raise CannotStart(f"{option}{error.filename}: {error.strerror}") from None
        self.routing = Routing(
            self.backends,
            [(route.bucket, route.backend) for route in settings.routes],
            {key.name: (key.backend, make_backend_key(key, settings)) for key in settings.backend_keys},
        )
        if former is not None and former.settings.server.spool_directory == server.spool_directory:
            self.spool: SpoolDirectory = former.spool
            self.spool.quota = limits.spool_size
        else:
            self.spool = SpoolDirectory(Path(server.spool_directory), limits.spool_size)
        self.multipart: MultipartUploads | None = None
        if former is not None and _budgeted(former.settings) == _budgeted(settings):
            self.budgets: Budgets = former.budgets
        else:
            self.budgets = Budgets(reactor, all_limits(limits), key_limits(limits), settings.times.budget)
        self.replay_window: ReplayWindow | None = None
        if former is not None and _remembers(former.settings) == _remembers(settings):
            self.replay_window = former.replay_window
        elif server.replay_window:
            self.replay_window = ReplayWindow(server.replay_window, limits.replay_entries)

    def open(self, multipart_directory: Path | None, former: Generation | None = None) -> None:
        """
        Open what must belong to the user that the daemon runs as: before the daemon's start that may be root.

        Args:
            multipart_directory: The directory that the daemon has claimed; None to refuse multipart uploads.

        Raises:
            CannotStart: The directory cannot be used.
        """
        if multipart_directory is not None:
            self.multipart = self._open_multipart(multipart_directory, former)
        for proxy in self.proxies:
            proxy.context.multipart = self.multipart

    def _open_multipart(self, directory: Path, former: Generation | None) -> MultipartUploads:
        settings = self.settings
        limits = StoreLimits(
            settings.limits.multipart_size,
            settings.limits.multipart_uploads,
            settings.limits.key_multipart_uploads,
            settings.times.multipart_expires,
            key_multipart_size(settings.limits),
        )
        known = former.multipart if former is not None else None
        if known is not None and known.store.directory == directory:
            known.store.limits = limits
            return known
        try:
            return MultipartUploads(MultipartStore(directory, limits, time.time), self._reactor)
        except CannotKeepUploads as error:
            raise CannotStart(f"server.multipart_directory: {error}") from None

    def _backend(self, wanted: BackendSettings, former: Generation | None) -> Backend:
        settings = self.settings
        if former is not None and (former.settings.times, former.settings.limits) == (settings.times, settings.limits):
            for known in former.settings.backends:
                if known == wanted:
                    return former.backends[known.name]
        return make_backend(wanted, settings, self._reactor)

    def client_times(self) -> ClientTimes:
        """
        Return the time limits for clients.
        """
        times = self.settings.times
        return ClientTimes(
            head=times.head,
            idle=times.idle,
            total=times.total,
            keep_alive=times.keep_alive,
            linger=times.linger,
            minimum_rate=self.settings.limits.minimum_rate,
        )

    def make_proxy(self, listener: ListenerSettings) -> Proxy:
        """
        Return a new proxy, which carries out the requests of a listener.
        """
        settings = self.settings
        proxy = Proxy(
            ProxyContext(
                ProxySettings(
                    realm=Realm(
                        regions=tuple(region.encode() for region in (listener.region, *listener.accepted_regions)),
                        domains=tuple(domain.encode() for domain in listener.domains),
                        refused=frozenset(listener.refuse),
                        anonymous=Anonymous(settings.anonymous.allow, settings.anonymous.signed_buckets),
                        known_tokens=self.credentials.session_tokens,
                    ),
                    body_limits=BodyLimits(
                        small_body=settings.limits.small_body,
                        document=settings.limits.xml_body,
                        object_size=settings.limits.object_size,
                        spools_unknown_length=settings.limits.unknown_length == UnknownLength.SPOOL,
                        streams_forms=listener.post == FormMode.STREAM,
                    ),
                    host_id=settings.server.host_id,
                    lookup_time=settings.times.lookup,
                    replay_window=self.replay_window,
                    is_read_only=listener.read_only,
                ),
                self.credentials,
                self.routing.choose,
                wall_clock=utc_now,
                clock=self._reactor.seconds,
                make_request_id=make_request_id,
                log_access=self._log_access if self.access_log.is_kept else None,
                authorizer=self._authorizer,
                spool=self.spool,
                budgets=self.budgets,
                counts=self._counts,
                multipart=self.multipart,
            )
        )
        self.proxies.append(proxy)
        return proxy

    @property
    def running_count(self) -> int:
        """
        Number of this generation's requests that have begun and not ended.
        """
        return sum(proxy.running_count for proxy in self.proxies)

    def start(self) -> None:
        """
        Start what runs beside requests.
        """
        self._is_started = True
        if self._opens_credentials:
            self.credentials.start(self._reactor)
        self.access_log.start()
        for backend in self.backends.values():
            backend.agent.start()
        if self.multipart is not None:
            self.multipart.start()

    def retire(self, successor: Generation) -> None:
        """
        Serve no new requests; close each connection to a backend that the successor does not share, after its current
        request.
        """
        if self.access_log is not successor.access_log:
            self.access_log.close()
        if successor.access_log.is_kept:
            # Requests that are still running are in the log of the new configuration.
            for proxy in self.proxies:
                proxy.context.log_access = self._log_access
        if self.multipart is not None and self.multipart is not successor.multipart:
            self.multipart.stop()
        kept = set(map(id, successor.backends.values()))
        for backend in self.backends.values():
            if id(backend) not in kept:
                backend.agent.retire()
        DeferredList([proxy.idle() for proxy in self.proxies]).addCallback(lambda ignored: self.stop_credentials())

    def stop_credentials(self) -> Deferred[None]:
        """
        Stop the source of client keys. Called after the last request, and again at the end of the daemon.

        Returns:
            Fires when it has stopped; at once if it was not started here.
        """
        if self._is_started and self._opens_credentials and self._credentials_stopped is None:
            self._credentials_stopped = stop_source(self.credentials)
        return self._credentials_stopped or succeed(None)


def claim_directory(settings: Settings, former: DirectoryClaim | None = None) -> DirectoryClaim | None:
    """
    Claim the directory of multipart uploads for this daemon; None if it keeps none.

    Args:
        former: The claim before this one. It is returned itself if the settings need no other.

    Raises:
        CannotStart: The directory cannot be used, or another daemon has claimed it. Or the settings require one and
            name none, and no default can be used.
    """
    backends = [backend for backend in settings.backends if backend.keeps_multipart]
    named = settings.server.multipart_directory
    if not backends:
        return None
    if former is not None and former.named == named:
        return former
    try:
        return DirectoryClaim(named)
    except NoDirectory as error:
        if any(backend.multipart == MultipartMode.SPOOL for backend in backends):
            raise CannotStart(f"server.multipart_directory is required: {error}") from None
        _log.warn("multipart uploads are refused: server.multipart_directory is required: {reason}", reason=str(error))
        return None
    except CannotKeepUploads as error:
        raise CannotStart(f"server.multipart_directory: {error}") from None


def all_limits(limits: Limits) -> BudgetLimits:
    """
    Return the limits of all requests together.
    """
    return BudgetLimits(memory=limits.memory, **{name: getattr(limits, name) for name in BUDGET_OPTIONS})


def key_limits(limits: Limits) -> BudgetLimits:
    """
    Return the limits of all requests of one key, for a key that sets none itself.
    """
    memory = limits.memory // 4 if limits.key_memory is None else limits.key_memory
    return BudgetLimits(memory=memory, **{name: getattr(limits, f"key_{name}") for name in BUDGET_OPTIONS})


def key_multipart_size(limits: Limits) -> int:
    """
    Return the maximum bytes of multipart uploads of one key; 0 for no limit.
    """
    return limits.multipart_size // 2 if limits.key_multipart_size is None else limits.key_multipart_size


def _key_rules(settings: Settings) -> KeyRules:
    return KeyRules(
        backends=tuple(backend.name for backend in settings.backends),
        backend_keys={key.name: key.backend for key in settings.backend_keys},
        limits=key_limits(settings.limits),
    )


def stop_source(source: ICredentialSource) -> Deferred[None]:
    """
    Stop a source of client keys; a failure is logged.
    """
    stopping: Deferred[Any] = maybeDeferred(source.stop)
    return stopping.addErrback(_log_not_stopped)


def _log_not_stopped(failure: Failure) -> None:
    _log.error("the credential source did not stop: {reason}", reason=failure.getErrorMessage())


def _budgeted(settings: Settings) -> tuple[BudgetLimits, BudgetLimits, float]:
    return all_limits(settings.limits), key_limits(settings.limits), settings.times.budget


def _remembers(settings: Settings) -> tuple[float, int]:
    return settings.server.replay_window, settings.limits.replay_entries
