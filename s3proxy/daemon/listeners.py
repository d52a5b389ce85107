"""
Where clients connect: the ports, their sites, and the resources that give a site its proxy.

The strategy: a listener has a name, and everything here is stored by that name. A reload compares names. A new listener
gets a socket, a site and a port. A listener that stays keeps its site with its connections; only the site's settings
are replaced. A listener that is gone is closed, and its site is kept until its last connection has ended.

A port is not a socket: `s3proxy.daemon.sockets.Sockets` holds the sockets. So a port can be stopped while connections
wait in the kernel. A port with TLS stays, too: its `TLSServer` gets the new certificates. All listeners share one limit
on connections.

When a process ends, its ports are stopped first, then its sites drain, and its admin endpoint is closed last.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort

from s3proxy.configuration.options import Settings
from s3proxy.daemon.generation import Generation
from s3proxy.daemon.sockets import ADMIN, Sockets
from s3proxy.exchange.proxy import Proxy
from s3proxy.frontend.admission import ConnectionLimit, most_connections
from s3proxy.frontend.balance import Balance
from s3proxy.frontend.peers import Peers, Trust
from s3proxy.frontend.proxy_protocol import ProxyHeaderFactory
from s3proxy.frontend.resource import S3Resource
from s3proxy.frontend.site import S3Site
from s3proxy.s3.errors import S3Error
from s3proxy.telemetry.admin import AdminSite
from s3proxy.transport.handshakes import TLSServer


def possible_connections(settings: Settings) -> int:
    """
    Return how many client connections this process may have.
    """
    to_backends = sum(backend.connections * len(backend.places) for backend in settings.backends)
    return most_connections(settings.limits.connections, to_backends)


def endpoints(settings: Settings) -> dict[str, str]:
    """
    Return the endpoint string of each socket that the settings need, by name.
    """
    named = {name: listener.endpoint for name, listener in settings.named_listeners.items()}
    return named if settings.server.admin is None else {**named, ADMIN: settings.server.admin}


class Listeners:
    """
    The listeners of a process.

    Args:
        sockets: The listening sockets; some may be open already.
        settings: The settings at the start. Each call of `listen` brings its own.
        balance: The numbers of connections of the other processes that accept from the same sockets.
        connection_refused: Called with the client's host, the error and the request id, for a connection that is
            refused before it has a request.
        make_admin_site: Makes the factory of the admin endpoint.

    Attributes:
        limit: The limit on all client connections together.
    """

    def __init__(
        self,
        reactor: Any,
        sockets: Sockets,
        settings: Settings,
        *,
        balance: Balance | None,
        connection_refused: Callable[[str, S3Error, str], None],
        make_admin_site: Callable[[], AdminSite],
    ) -> None:
        self._reactor = reactor
        self._sockets = sockets
        self._connection_refused = connection_refused
        self._make_admin_site = make_admin_site
        self._ports: dict[str, IListeningPort] = {}
        self._sites: dict[str, S3Site] = {}
        self._tls: dict[str, TLSServer] = {}
        self._left_sites: list[S3Site] = []
        self._resources: list[tuple[S3Resource, str | None]] = []
        self.limit = ConnectionLimit(
            self._accepting,
            possible_connections(settings),
            settings.limits.connections_per_address,
            reactor=reactor,
            balance=balance,
        )

    def _accepting(self) -> list[Any]:
        return [port for name, port in self._ports.items() if name != ADMIN]

    # State

    @property
    def is_listening(self) -> bool:
        """
        Whether any port is open.
        """
        return bool(self._ports)

    @property
    def has_systemd_sockets(self) -> bool:
        """
        Whether a socket came from systemd, which also gives it to the next process.
        """
        return any(name.startswith("systemd:") for name in self._ports)

    @property
    def sites(self) -> list[S3Site]:
        """
        The sites that have connections, or may get some.
        """
        return [*self._sites.values(), *self._left_sites]

    @property
    def admin_address(self) -> Any:
        """
        The address of the admin endpoint; None if there is none.
        """
        return self._ports[ADMIN].getHost() if ADMIN in self._ports else None

    @property
    def addresses(self) -> list[Any]:
        """
        The addresses where clients connect.
        """
        return [port.getHost() for name, port in self._ports.items() if name != ADMIN]

    # Opening and changing

    def open(self, settings: Settings) -> None:
        """
        Open the sockets that the settings need and that are not open. Connections wait until `listen`.

        Raises:
            CannotListen: An address is in use, or cannot be bound by this process.
        """
        for name, endpoint in endpoints(settings).items():
            self._sockets.open(name, endpoint)

    def close_unused(self) -> None:
        """
        Close the sockets that were opened but got no port.
        """
        self._sockets.keep_only(self._ports)

    def listen(self, generation: Generation) -> None:
        """
        Listen on the sockets of the settings, and close all others.

        Raises:
            CannotListen: An address is in use, or cannot be bound by this process.
        """
        settings = generation.settings
        named = settings.named_listeners
        for name, listener in named.items():
            if name not in self._sites:
                self._sites[name] = self._make_site(name, generation)
            site = self._sites[name]
            site.times = generation.client_times()
            site.trust = Trust(Peers(listener.trusted_peers), listener.proxy_protocol, listener.trusted_forwarded)
            tls = self._follow_certificates(name, site, generation)
            if name not in self._ports:
                wrap = partial(ProxyHeaderFactory, site=site)
                self._ports[name] = self._sockets.listen(name, listener.endpoint, site, wrap, tls)
        for name in self._sites.keys() - named.keys():
            self._ports.pop(name).stopListening()
            self._tls.pop(name, None)
            left = self._sites.pop(name)
            left.drain(serves=True)
            self._left_sites = [site for site in self._left_sites if site.channels] + [left]
            self._resources = [pair for pair in self._resources if pair[1] != name]
        admin = settings.server.admin
        if admin is not None and ADMIN not in self._ports:
            self._ports[ADMIN] = self._sockets.listen(ADMIN, admin, self._make_admin_site())
        self._sockets.keep_only(self._ports)
        self._sockets.bound_buffers(settings.limits.socket_buffer)
        self.limit.most = possible_connections(settings)
        self.limit.most_per_address = settings.limits.connections_per_address

    def _follow_certificates(self, name: str, site: S3Site, generation: Generation) -> TLSServer | None:
        """
        Let the next handshakes of a listener use the certificates of a generation; return None if it has no TLS.
        """
        handshakes = generation.handshakes.get(name)
        if handshakes is None:
            return None
        tls = self._tls.setdefault(name, TLSServer(handshakes))
        former, tls.handshakes = tls.handshakes, handshakes
        if former.clients != handshakes.clients:
            # The clients of the open connections were judged by other authorities or names.
            site.end_connections()
        return tls

    def _make_site(self, name: str, generation: Generation) -> S3Site:
        return S3Site(
            self.make_resource(generation, name),
            self._reactor,
            times=generation.client_times(),
            host_id=generation.settings.server.host_id,
            connection_refused=self._connection_refused,
            limit=self.limit,
        )

    def make_resource(self, generation: Generation, listener: str | None) -> S3Resource:
        """
        Return a resource for a site, which may be the daemon's or an application's own.

        Args:
            listener: The name of the listener whose region and domains apply; the first listener if none has that name.
        """
        resource = S3Resource(_make_proxy(generation, listener))
        self._resources.append((resource, listener))
        return resource

    def follow(self, generation: Generation) -> None:
        """
        Serve requests that begin from now on with another generation.
        """
        for resource, listener in self._resources:
            resource.proxy = _make_proxy(generation, listener)

    # Ending

    def stop_listening(self) -> None:
        """
        Stop every port. Called if the start of the process fails.
        """
        for port in self._ports.values():
            port.stopListening()

    def stop_accepting(self) -> list[Deferred[Any]]:
        """
        Stop accepting client connections. The admin endpoint stays open, so that the drain can be observed.

        Returns:
            The Deferreds that fire when the ports have stopped.
        """
        self.limit.leave()
        waiting: list[Deferred[Any]] = []
        for name in tuple(self._ports):
            if name != ADMIN:
                stopping = self._ports.pop(name).stopListening()
                waiting += [stopping] if stopping is not None else []
        self._sockets.keep_only([ADMIN])
        return waiting

    def drain(self, *, serves: bool) -> list[Deferred[Any]]:
        """
        Let connections end after their last request.

        Args:
            serves: Whether further requests on these connections are served; if not, they are refused.

        Returns:
            The Deferreds that fire when the connections of a site have ended.
        """
        return [site.drain(serves=serves) for site in self.sites]

    def abort(self) -> None:
        """
        Reset the remaining connections.
        """
        for site in self.sites:
            site.abort()

    def close(self) -> list[Deferred[Any]]:
        """
        Stop the remaining ports, and close every socket.

        Returns:
            The Deferreds that fire when the ports have stopped.
        """
        ending: list[Deferred[Any]] = []
        for port in self._ports.values():
            stopping = port.stopListening()
            ending += [stopping] if stopping is not None else []
        self._ports = {}
        self._sockets.keep_only([])
        return ending


def _make_proxy(generation: Generation, name: str | None) -> Proxy:
    named = generation.settings.named_listeners
    return generation.make_proxy(named.get(name or "") or next(iter(named.values())))
