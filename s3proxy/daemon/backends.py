"""
Make the backends of a configuration: their connections, health checks and accounts.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint

from s3proxy.backend import endpoints
from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.backend import Backend
from s3proxy.backend.endpoints import BadTLSFiles, TLSFiles
from s3proxy.backend.health import HealthCheck
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendLimits
from s3proxy.configuration.modes import Commit, LossyHeaders
from s3proxy.configuration.options import BackendKeySettings, BackendSettings, Place, Settings
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import ANY_BELOW_500, BackendKey, Profile
from s3proxy.resign.account import Account
from s3proxy.resign.gate import write_head
from s3proxy.sigv4.signing_key import SigningKeys


class CannotStart(Exception):
    """
    The daemon cannot do what its settings require; the text says what and why.
    """


def make_backend(backend: BackendSettings, settings: Settings, reactor: Any) -> Backend:
    """
    Return a backend with its connections and its account.

    Raises:
        CannotStart: A certificate or key file is missing or not valid.
    """
    profile = PROFILES[backend.profile]
    first, *others = backend.places
    if first.service_path:
        profile = replace(profile, service_path=first.service_path.encode())
    if backend.lossy_headers == LossyHeaders.REFUSE and profile.restrictions is not None:
        profile = replace(profile, restrictions=replace(profile.restrictions, refuses_loss=True))
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
    pools = [
        Pool(reactor, make_endpoint(backend, place, times.connect, reactor), limits, place.authority)
        for place in (first, *others)
    ]
    health = profile.health
    path = (profile.service_path + health.path).decode()
    if backend.health is not None:
        path, health = backend.health, ANY_BELOW_500
    own_headers = [(b"Host", first.authority.encode()), (b"Connection", b"close")]
    head = write_head(health.method, path.encode() or b"/", own_headers) + b"\r\n"
    is_checked = len(pools) > 1 and times.health
    checks = [HealthCheck(pool, head, times.health, health) for pool in pools] if is_checked else []
    return Backend(
        name=backend.name,
        agent=BackendAgent(pools, checks),
        account=Account(profile, key, first.authority.encode(), backend.signature, SigningKeys(8), backend.payload),
        forwarded=backend.forwarded,
        first_byte_time=times.first_byte,
        slow_first_byte_time=times.slow_first_byte,
        spooled_size=spooled_size(backend, profile),
        keeps_multipart=backend.keeps_multipart,
        authorities=tuple(place.authority.encode() for place in others),
        extensions=backend.extensions,
        conditions=backend.conditions,
    )


def spooled_size(backend: BackendSettings, profile: Profile) -> int:
    """
    Return the maximum size of a body that is verified on disk before it is sent to the backend; 0 for none.
    """
    if backend.commit is None and backend.spool_up_to is None:
        return profile.spooled_size
    return 0 if backend.commit == Commit.TAIL else backend.spool_up_to or sys.maxsize


def make_backend_key(key: BackendKeySettings, settings: Settings) -> BackendKey:
    """
    Return a further backend key, for the region of its backend.
    """
    (region,) = [backend.region for backend in settings.backends if backend.name == key.backend]
    return BackendKey(key.access_key_id, str(key.secret_access_key), str(region))


def make_endpoint(backend: BackendSettings, place: Place, connect_time: float, reactor: Any) -> IStreamClientEndpoint:
    """
    Return the endpoint that connects to one address of a backend, with TLS if that is configured.

    Raises:
        CannotStart: A certificate or key file is missing or not valid.
    """
    tls = None
    if place.is_tls:
        tls = TLSFiles(
            ca_file=backend.ca_file,
            client_certificate_file=backend.client_certificate_file,
            client_private_key_file=backend.client_private_key_file,
        )
    try:
        return endpoints.make_endpoint(
            reactor, place.host, place.port, connect_time, tls=tls, unix_socket=backend.unix_socket
        )
    except BadTLSFiles as error:
        raise CannotStart(f'TLS files of backend "{backend.name}": {error}') from None
