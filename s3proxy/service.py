"""
From settings to a running daemon: it puts the rooms together and starts, reloads and drains them.
"""

from __future__ import annotations

import re
import signal
import socket
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from OpenSSL import crypto
from twisted.application.service import Service
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import IListeningPort, IStreamClientEndpoint
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Site

from s3proxy.accesslog import AccessLog, AccessRecord
from s3proxy.admin import AdminSite
from s3proxy.authentication import Anonymous, Authenticated, Realm
from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.backend import Backend
from s3proxy.backend.request import BackendLimits
from s3proxy.body.plan import BodyLimits
from s3proxy.body.spool import SpoolDirectory
from s3proxy.credentials.file import FileCredentialStore
from s3proxy.frontend.channel import ClientTimes, Hold
from s3proxy.frontend.resource import S3Resource
from s3proxy.frontend.site import S3Site, make_request_id
from s3proxy.metrics import Metrics
from s3proxy.proxy import Proxy, ProxySettings
from s3proxy.replay import ReplayWindow
from s3proxy.resign.head import Account
from s3proxy.resign.profiles import PROFILES, BackendKey
from s3proxy.s3.address import Address
from s3proxy.s3.errors import S3Error
from s3proxy.settings import BackendSettings, ListenerSettings, Settings
from s3proxy.sigv4.signing_key import SigningKeys
from s3proxy.tables import Faults

_PEM = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


class CannotStart(Exception):
    """
    The daemon cannot do what its settings say; the text tells what and why.
    """


def utc_now() -> datetime:
    """
    Tell the time of signatures. Not the reactor's, which is monotonic.
    """
    return datetime.now(UTC)


class ProxyService(Service):
    """
    The daemon.

    Args:
        settings: All of them.
        reactor: Where everything runs; its clock must never go back.
        handles_signals: Whether SIGHUP reloads.
    """

    _log = Logger()
    name = "s3proxy"

    def __init__(self, settings: Settings, reactor: Any, *, handles_signals: bool = True) -> None:
        self._settings = settings
        self._reactor = reactor
        self._handles_signals = handles_signals
        self._former_handler: Any = None
        self._ports: list[IListeningPort] = []
        self._sites: list[S3Site] = []
        self._proxies: list[Proxy] = []
        self._admin_port: IListeningPort | None = None
        self._is_draining = False
        self.metrics = Metrics()
        server = settings.server
        self._spool = SpoolDirectory(Path(server.spool_directory), settings.limits.spool_size)
        self._replay_window = None
        if server.replay_window:
            self._replay_window = ReplayWindow(server.replay_window, settings.limits.replay_entries)
        try:
            self.credentials = FileCredentialStore(
                settings.keys_file, tuple(backend.name for backend in settings.backends)
            )
            self._backends = {backend.name: make_backend(backend, settings, reactor) for backend in settings.backends}
            self._access_log = AccessLog(settings.log.access)
        except Faults as error:
            raise CannotStart(f"{settings.keys_file}:\n{error}") from None
        except OSError as error:
            raise CannotStart(f"{error.filename}: {error.strerror}") from None
        self._measure()

    # Life

    def privilegedStartService(self) -> None:
        # Before twistd gives up root: a port below 1024 needs it, and a failure here still fails the start.
        if not self._ports:
            for listener in self._settings.listeners:
                self._listen(listener)
            if self._settings.server.admin is not None:
                site = AdminSite(self.metrics, self._why_not_ready)
                self._admin_port = self._listen_on(self._settings.server.admin, site)

    def startService(self) -> None:
        self.privilegedStartService()
        super().startService()
        if self._handles_signals:
            self._former_handler = signal.signal(signal.SIGHUP, self._hangup)
        for port in self._ports:
            self._log.info("listening on {address}", address=port.getHost())

    def stopService(self) -> Deferred[None]:
        """
        Stop listening; let running requests end, until the deadline; then let go of everything.
        """
        super().stopService()
        self._is_draining = True
        if self._handles_signals:
            signal.signal(signal.SIGHUP, self._former_handler or signal.SIG_DFL)
        waiting: list[Deferred[Any]] = [d for port in self._ports if (d := port.stopListening()) is not None]
        self._ports = []
        running = sum(proxy.running_count for proxy in self._proxies)
        self._log.info("draining: {running} requests run", running=running)
        waiting += [proxy.drain() for proxy in self._proxies]
        for site in self._sites:
            site.drain()
        deadline = self._reactor.callLater(self._settings.times.drain, self._abort)
        drained: Deferred[Any] = DeferredList(waiting, consumeErrors=True)
        return drained.addCallback(lambda ignored: self._drained(deadline))

    def reload(self) -> None:
        """
        Read the keys again, and open the access log anew. What is wrong is logged, and changes nothing.
        """
        try:
            self.credentials.reload()
        except Faults as error:
            for fault in error.faults:
                self._log.error("the keys were not reloaded: {fault}", fault=str(fault))
        else:
            self._log.info("reloaded {count} keys", count=len(self.credentials))
        try:
            self._access_log.reopen()
        except OSError as error:
            self._log.error("the access log was not reopened: {reason}", reason=str(error))

    @property
    def admin_address(self) -> Any:
        """
        Where the admin endpoint listens, or None.
        """
        return self._admin_port.getHost() if self._admin_port is not None else None

    @property
    def addresses(self) -> list[Any]:
        """
        Where it listens.
        """
        return [port.getHost() for port in self._ports]

    # Inside

    def _hangup(self, number: int, frame: FrameType | None) -> None:
        self._reactor.callFromThread(self.reload)

    def _abort(self) -> None:
        self._log.warn("the drain's deadline has passed: what still runs is reset")
        for proxy in self._proxies:
            proxy.abort_all()

    def _drained(self, deadline: Any) -> Any:
        if deadline.active():
            deadline.cancel()
        self._access_log.close()
        ending = [backend.agent.close() for backend in self._backends.values()]
        if self._admin_port is not None:
            # Until now it could be asked how the drain goes.
            port, self._admin_port = self._admin_port, None
            ending += [stopped for stopped in (port.stopListening(),) if stopped is not None]
        return DeferredList(ending, consumeErrors=True)

    def make_resource(self, listener: ListenerSettings | None = None) -> S3Resource:
        """
        Make a resource for a site, the daemon's or an application's own.

        Args:
            listener: Whose region and domains hold; the first one's by default.
        """
        settings = self._settings
        listener = listener or settings.listeners[0]
        proxy = Proxy(
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
                    spools_unknown_length=settings.limits.unknown_length == "spool",
                    streams_forms=listener.post == "stream",
                ),
                host_id=settings.server.host_id,
                replay_window=self._replay_window,
            ),
            self.credentials,
            self._choose_backend,
            wall_clock=utc_now,
            clock=self._reactor.seconds,
            make_request_id=make_request_id,
            log_access=self._log_access,
            spool=self._spool,
        )
        self._proxies.append(proxy)
        return S3Resource(proxy)

    def _listen(self, listener: ListenerSettings) -> None:
        times = self._settings.times
        site = S3Site(
            self.make_resource(listener),
            self._reactor,
            times=ClientTimes(head=times.head, idle=times.idle, keep_alive=times.keep_alive, linger=times.linger),
            host_id=self._settings.server.host_id,
            connection_refused=self._log_refused,
        )
        port = self._listen_on(listener.endpoint, site)
        self._ports.append(port)
        self._sites.append(site)
        bound_socket_buffers(port, self._settings.limits.socket_buffer)

    def _listen_on(self, description: str, site: Site) -> IListeningPort:
        endpoint = serverFromString(self._reactor, description)
        ports: list[IListeningPort] = []
        failures: list[Failure] = []
        # Twisted's own endpoints bind at once: a later failure could not fail the start.
        endpoint.listen(site).addCallbacks(ports.append, failures.append)
        if failures:
            for port in self._ports:
                port.stopListening()
            reason = getattr(failures[0].value, "socketError", failures[0].value)
            message = f"cannot listen on {description}: {reason}"
            self._log.critical("{message}", message=message)
            raise CannotStart(message)
        return ports[0]

    def _choose_backend(self, address: Address, authenticated: Authenticated) -> Backend:
        name = authenticated.credential.backend
        return self._backends[name if name is not None else self._settings.backends[0].name]

    def _log_access(self, record: AccessRecord) -> None:
        self._access_log.write(record)
        self.metrics.record(record)

    def _why_not_ready(self) -> str:
        return "draining" if self._is_draining else ""

    def _measure(self) -> None:
        """
        Have told what the rooms count themselves.
        """
        metrics, backends = self.metrics, self._backends.values()
        metrics.gauge(
            "s3proxy_running_requests",
            "Requests which have begun and not ended.",
            lambda: [((), sum(proxy.running_count for proxy in self._proxies))],
        )
        metrics.gauge(
            "s3proxy_client_connections",
            "Connections of clients.",
            lambda: [((), sum(len(site.channels) for site in self._sites))],
        )
        metrics.gauge(
            "s3proxy_held_clients",
            "Clients which are not read now, by why.",
            lambda: [
                (
                    (hold.name.lower(),),
                    sum(hold in channel.holds for site in self._sites for channel in site.channels),
                )
                for hold in Hold
            ],
            ("reason",),
        )
        metrics.gauge(
            "s3proxy_backend_connections",
            "Connections to a backend, in use or not.",
            lambda: [((backend.name,), len(backend.agent.connections)) for backend in backends],
            ("backend",),
        )
        metrics.gauge(
            "s3proxy_backend_breaker_open",
            "1 while a backend is not asked because it failed too often in a row.",
            lambda: [((backend.name,), float(backend.agent.breaker.is_open)) for backend in backends],
            ("backend",),
        )
        metrics.counter(
            "s3proxy_backend_retries",
            "Requests which were sent again, because a reused connection had died.",
            lambda: [((backend.name,), backend.agent.retried_count) for backend in backends],
            ("backend",),
        )
        metrics.counter(
            "s3proxy_backend_committed_early",
            "Answers which claimed success before the body's end was released.",
            lambda: [((), sum(proxy.committed_early_count for proxy in self._proxies))],
        )
        metrics.counter(
            "s3proxy_dropped_headers",
            "Headers which were dropped because no signature covers them.",
            lambda: [((), sum(proxy.dropped_header_count for proxy in self._proxies))],
        )
        metrics.counter(
            "s3proxy_exemptions",
            "How often a key's exemption was needed.",
            lambda: [
                ((name,), sum(proxy.exempted_counts[name] for proxy in self._proxies))
                for name in ("region", "clock-skew", "unsigned-headers")
            ],
            ("exemption",),
        )
        metrics.gauge("s3proxy_spool_bytes", "Bytes of bodies on disk.", lambda: [((), self._spool.size)])
        metrics.counter(
            "s3proxy_spool_refusals",
            "Bodies for which there was no room on disk.",
            lambda: [((), self._spool.refused_count)],
        )

    def _log_refused(self, client_host: str, error: S3Error, request_id: str) -> None:
        self._log_access(
            AccessRecord(
                received_at=utc_now(),
                client_host=client_host,
                request_id=request_id,
                status=error.status,
                error_code=error.code,
                host_id=self._settings.server.host_id,
            )
        )


def bound_socket_buffers(port: Any, size: int) -> None:
    """
    Bound the kernel's buffers of every connection which a port will accept: they inherit its own.

    Args:
        size: Bytes for each direction.
    """
    with socket.socket(fileno=socket.dup(port.fileno())) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def make_backend(backend: BackendSettings, settings: Settings, reactor: Any) -> Backend:
    """
    Make what reaches a backend and signs for us there.

    Raises:
        CannotStart: A certificate or key file is not as it must be.
    """
    profile = PROFILES[backend.profile]
    if backend.service_path:
        profile = replace(profile, service_path=backend.service_path.encode())
    key = None
    if backend.access_key_id is not None and backend.secret_access_key is not None:
        key = BackendKey(backend.access_key_id, backend.secret_access_key, str(backend.region))
    times = settings.times
    limits = BackendLimits(
        connect_time=times.connect,
        idle_time=times.idle,
        pooled_time=times.pooled_idle,
        max_connections=backend.connections,
        breaker_failures=settings.limits.breaker_failures,
        breaker_time=times.breaker,
        socket_buffer=settings.limits.socket_buffer,
    )
    return Backend(
        name=backend.name,
        agent=BackendAgent(reactor, make_endpoint(backend, times.connect, reactor), limits),
        account=Account(profile, key, backend.authority.encode(), backend.signature, SigningKeys(8)),
        forwarded=backend.forwarded,
        first_byte_time=times.first_byte,
        slow_first_byte_time=times.slow_first_byte,
        spools=backend.commit == "spool",
    )


def make_endpoint(backend: BackendSettings, connect_time: float, reactor: Any) -> IStreamClientEndpoint:
    """
    Make what connects to a backend, its TLS included.

    Raises:
        CannotStart: A certificate or key file is not as it must be.
    """
    endpoint: IStreamClientEndpoint
    if backend.unix_socket is not None:
        endpoint = UNIXClientEndpoint(reactor, backend.unix_socket, timeout=connect_time)
    elif isIPAddress(backend.host):
        endpoint = TCP4ClientEndpoint(reactor, backend.host, backend.port, timeout=connect_time)
    elif isIPv6Address(backend.host):
        endpoint = TCP6ClientEndpoint(reactor, backend.host, backend.port, timeout=connect_time)
    else:
        endpoint = HostnameEndpoint(reactor, backend.host, backend.port, timeout=connect_time)
    if not backend.is_tls:
        return endpoint
    try:
        wrapped: IStreamClientEndpoint = wrapClientTLS(_client_tls(backend), endpoint)
    except (OSError, crypto.Error, ValueError) as error:
        raise CannotStart(f'the TLS files of backend "{backend.name}": {error}') from None
    return wrapped


def _client_tls(backend: BackendSettings) -> Any:
    trust_root = None
    if backend.ca_file is not None:
        trust_root = trustRootFromCertificates(_read_certificates(backend.ca_file))
    extra: dict[str, Any] = {}
    if backend.client_certificate_file is not None and backend.client_private_key_file is not None:
        own, *chain = [certificate.original for certificate in _read_certificates(backend.client_certificate_file)]
        private_key = Path(backend.client_private_key_file).read_bytes()
        extra["certificate"] = own
        extra["extraCertChain"] = chain
        extra["privateKey"] = crypto.load_privatekey(crypto.FILETYPE_PEM, private_key)
    return optionsForClientTLS(backend.host, trustRoot=trust_root, extraCertificateOptions=extra)


def _read_certificates(path: str) -> list[Any]:
    found = _PEM.findall(Path(path).read_text("ascii"))
    if not found:
        raise ValueError(f"{path} holds no certificate")
    return [Certificate.loadPEM(pem) for pem in found]


def make_service(settings: Settings) -> ProxyService:
    """
    Make the daemon for the process's own reactor, whose clock is set to one that never goes back.
    """
    from twisted.internet import reactor

    # Twisted's timers run on the wall clock: a step of NTP would fire or starve them.
    reactor.seconds = time.monotonic  # type: ignore[method-assign]
    return ProxyService(settings, reactor)
