"""
The objects of a running daemon that count, each with the metrics that its module declares.

A new metric of such an object needs nothing here. A new kind of object needs one entry of `INSTRUMENTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Protocol

from s3proxy.backend import agent, pool
from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.pool import Pool
from s3proxy.body import spool
from s3proxy.credentials import cache
from s3proxy.credentials.cache import CachedCredentials, LookupCounts
from s3proxy.daemon import expiry
from s3proxy.daemon.expiry import ExpiryWatch
from s3proxy.daemon.generation import Generation
from s3proxy.daemon.listeners import Listeners
from s3proxy.exchange import budget, context, proxy
from s3proxy.exchange.context import ProxyCounts
from s3proxy.frontend import admission, site
from s3proxy.multipart import store
from s3proxy.multipart.store import MultipartStore
from s3proxy.telemetry import requests
from s3proxy.telemetry.declarations import Metric, Owner, counter
from s3proxy.telemetry.metrics import Found, Metrics


class Measured(Protocol):
    """
    The source of the metrics: an `s3proxy.daemon.service.ProxyService`.
    """

    counts: ProxyCounts
    generation: Generation
    listeners: Listeners
    expiry_watch: ExpiryWatch

    @property
    def generations(self) -> list[Generation]:
        """
        The current generation, and those whose requests have not ended.
        """


@dataclass(frozen=True, slots=True)
class Instrument(Generic[Owner]):
    """
    One kind of object that counts.

    Attributes:
        metrics: What its module declares.
        find: Returns the objects of a service, each with the values of its own labels.
    """

    metrics: Sequence[Metric[Owner]]
    find: Callable[[Measured], Found[Owner]]


def _plain(*owners: Owner) -> Found[Owner]:
    """
    Return objects without labels of their own.
    """
    return [((), owner) for owner in owners]


def _stores(service: Measured) -> Iterable[MultipartStore]:
    kept = service.generation.multipart
    return [] if kept is None else [kept.store]


def _lookups(service: Measured) -> Iterable[LookupCounts]:
    source = service.generation.credentials
    return [source.counts] if isinstance(source, CachedCredentials) else []


def _agents(service: Measured) -> list[tuple[tuple[str, ...], BackendAgent]]:
    return [((name,), backend.agent) for name, backend in service.generation.backends.items()]


def _pools(service: Measured) -> list[tuple[tuple[str, ...], Pool]]:
    return [((*labels, pool.address), pool) for labels, agent in _agents(service) for pool in agent.pools]


METRICS: tuple[Metric[Measured], ...] = (
    # Clients are counted by their sites, and backends by their pools.
    counter(
        "s3proxy_paused_seconds",
        "Time in which one side was paused because the other did not accept its bytes, summed over all requests.",
        lambda service: {
            "client": sum(site.paused_seconds for site in service.listeners.sites),
            "backend": sum(pool.paused_seconds for _, pool in _pools(service)),
        },
        {"side": ("client", "backend")},
    ),
)

INSTRUMENTS: tuple[Instrument[Any], ...] = (
    Instrument(requests.METRICS, lambda service: _plain(service.counts.requests)),
    Instrument(proxy.METRICS, lambda service: _plain(*(each for made in service.generations for each in made.proxies))),
    Instrument(site.METRICS, lambda service: _plain(*service.listeners.sites)),
    Instrument(METRICS, _plain),
    Instrument(spool.METRICS, lambda service: _plain(service.generation.spool)),
    Instrument(pool.METRICS, _pools),
    Instrument(agent.METRICS, _agents),
    Instrument(context.METRICS, lambda service: _plain(service.counts)),
    Instrument(budget.METRICS, lambda service: _plain(service.generation.budgets)),
    Instrument(admission.METRICS, lambda service: _plain(service.listeners.limit)),
    Instrument(cache.METRICS, lambda service: _plain(*_lookups(service))),
    Instrument(expiry.METRICS, lambda service: _plain(service.expiry_watch)),
    Instrument(store.METRICS, lambda service: _plain(*_stores(service))),
)


def measure(metrics: Metrics, service: Measured) -> None:
    """
    Register the metrics of a service.
    """
    for instrument in INSTRUMENTS:
        metrics.add(instrument.metrics, partial(instrument.find, service))
