"""
The metrics of a running daemon, except those of completed requests.
"""

from __future__ import annotations

from typing import Protocol

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.pool import Pool
from s3proxy.daemon.generation import Generation
from s3proxy.daemon.listeners import Listeners
from s3proxy.exchange.context import ProxyCounts
from s3proxy.frontend.hold import Hold
from s3proxy.s3.exemption import Exemption
from s3proxy.telemetry.metrics import Metrics


class Measured(Protocol):
    """
    The source of the metrics: an `s3proxy.daemon.service.ProxyService`.
    """

    counts: ProxyCounts
    generation: Generation
    listeners: Listeners

    @property
    def generations(self) -> list[Generation]:
        """
        The current generation, and those whose requests have not ended.
        """

    @property
    def running_count(self) -> int:
        """
        Number of requests that have begun and not ended.
        """


def measure(metrics: Metrics, service: Measured) -> None:
    """
    Register the metrics that the rooms count themselves.
    """
    _measure_clients(metrics, service)
    _measure_backends(metrics, service)
    _measure_judgements(metrics, service)
    _measure_budgets(metrics, service)
    _measure_multipart(metrics, service)


def _measure_clients(metrics: Metrics, service: Measured) -> None:
    metrics.gauge(
        "s3proxy_running_requests",
        "Requests that have started and not ended.",
        lambda: [((), service.running_count)],
    )
    metrics.gauge(
        "s3proxy_client_connections",
        "Client connections.",
        lambda: [((), sum(len(site.channels) for site in service.listeners.sites))],
    )
    metrics.gauge(
        "s3proxy_held_clients",
        "Client connections that are paused, by reason.",
        lambda: [
            (
                (hold.name.lower(),),
                sum(hold in channel.holds.reasons for site in service.listeners.sites for channel in site.channels),
            )
            for hold in Hold
        ],
        ("reason",),
    )
    metrics.counter(
        "s3proxy_paused_seconds",
        "Time in which one side was paused because the other did not accept its bytes, summed over all requests.",
        lambda: [
            (("client",), sum(site.paused_seconds for site in service.listeners.sites)),
            (("backend",), sum(pool.paused_seconds for _, pool in _pools(service))),
        ],
        ("side",),
    )
    metrics.gauge(
        "s3proxy_bytes_in_flight",
        "Bytes received from one side and not sent to the other yet: held, withheld, or waiting for a socket.",
        lambda: [((), sum(proxy.held_size for generation in service.generations for proxy in generation.proxies))],
    )
    metrics.gauge("s3proxy_spool_bytes", "Bytes of bodies on disk.", lambda: [((), service.generation.spool.size)])
    metrics.counter(
        "s3proxy_spool_refusals",
        "Bodies that were refused because the spool was full.",
        lambda: [((), service.generation.spool.refused_count)],
    )


def _measure_multipart(metrics: Metrics, service: Measured) -> None:
    def usage() -> tuple[int, int]:
        kept = service.generation.multipart
        return kept.store.usage() if kept is not None else (0, 0)

    metrics.gauge(
        "s3proxy_multipart_bytes",
        "Bytes of the upload parts that s3proxy keeps, including those that are arriving.",
        lambda: [((), usage()[0])],
    )
    metrics.gauge("s3proxy_multipart_uploads", "Multipart uploads that s3proxy keeps.", lambda: [((), usage()[1])])
    metrics.counter(
        "s3proxy_multipart_refusals",
        "Multipart uploads and parts that were refused because there was no space.",
        lambda: [((), kept.store.refused_count if (kept := service.generation.multipart) is not None else 0)],
    )


def _agents(service: Measured) -> list[tuple[str, BackendAgent]]:
    return [(name, backend.agent) for name, backend in service.generation.backends.items()]


def _pools(service: Measured) -> list[tuple[tuple[str, str], Pool]]:
    return [((name, pool.address), pool) for name, agent in _agents(service) for pool in agent.pools]


def _measure_backends(metrics: Metrics, service: Measured) -> None:
    metrics.gauge(
        "s3proxy_backend_connections",
        "Connections to a backend, in use or idle.",
        lambda: [(labels, len(pool.connections)) for labels, pool in _pools(service)],
        ("backend", "address"),
    )
    metrics.gauge(
        "s3proxy_backend_down",
        "1 while an address of a backend is down: its health check failed, or it could not be reached.",
        lambda: [(labels, float(not pool.is_healthy)) for labels, pool in _pools(service)],
        ("backend", "address"),
    )
    metrics.gauge(
        "s3proxy_backend_breaker_open",
        "1 while an address gets no requests because of too many consecutive failures.",
        lambda: [(labels, float(pool.breaker.is_open)) for labels, pool in _pools(service)],
        ("backend", "address"),
    )
    metrics.counter(
        "s3proxy_backend_retries",
        "Requests that were sent again because a reused connection had died.",
        lambda: [(labels, pool.retried_count) for labels, pool in _pools(service)],
        ("backend", "address"),
    )
    metrics.counter(
        "s3proxy_backend_failovers",
        "Requests that were sent to another address because the first one could not be reached.",
        lambda: [((name,), agent.failed_over_count) for name, agent in _agents(service)],
        ("backend",),
    )


def _measure_judgements(metrics: Metrics, service: Measured) -> None:
    counts = service.counts
    metrics.counter(
        "s3proxy_aborts",
        "Requests that were aborted, by cause: which side left, failed or was too slow.",
        lambda: [((cause,), number) for cause, number in sorted(counts.aborted.items())],
        ("cause",),
    )
    metrics.counter(
        "s3proxy_backend_committed_early",
        "Responses that claimed success before the end of the body was released.",
        lambda: [((), counts.committed_early)],
    )
    metrics.counter(
        "s3proxy_backend_disbelieved",
        "Responses that claimed success but failed a check, by reason: the document, the entity tag or its MD5.",
        lambda: [((reason,), number) for reason, number in sorted(counts.disbelieved.items())],
        ("reason",),
    )
    metrics.counter(
        "s3proxy_dropped_headers",
        "Headers that were dropped because no signature covers them.",
        lambda: [((), counts.dropped_headers)],
    )
    metrics.counter(
        "s3proxy_lost_headers",
        "Object headers that were not sent because the backend does not store them; see lossy_headers.",
        lambda: [(labels, number) for labels, number in sorted(counts.lost_headers.items())],
        ("backend", "header"),
    )
    metrics.counter(
        "s3proxy_exemptions",
        "Requests that needed an exemption of their key.",
        lambda: [((exemption,), counts.exempted[exemption]) for exemption in Exemption],
        ("exemption",),
    )


def _measure_budgets(metrics: Metrics, service: Measured) -> None:
    limit = service.listeners.limit
    metrics.gauge(
        "s3proxy_budget_used",
        "Current use of each limit for all requests together.",
        lambda: [((name,), used) for name, used in service.generation.budgets.used.items()],
        ("budget",),
    )
    metrics.counter(
        "s3proxy_budget_waits",
        "Requests that waited for a limit, for all requests together or for their key.",
        lambda: [((name,), number) for name, number in sorted(service.generation.budgets.waited.items())],
        ("budget",),
    )
    metrics.counter(
        "s3proxy_budget_refusals",
        "Requests that were refused after they had waited for a limit.",
        lambda: [((name,), number) for name, number in sorted(service.generation.budgets.refused.items())],
        ("budget",),
    )
    metrics.counter(
        "s3proxy_connections_evicted",
        "Idle client connections that were closed to make room for new ones.",
        lambda: [((), limit.evicted_count)],
    )
    metrics.counter(
        "s3proxy_connections_refused",
        "Client connections that were refused because their address had too many.",
        lambda: [((), limit.refused_count)],
    )
    metrics.counter(
        "s3proxy_connections_full",
        "Times when the proxy stopped accepting connections because it had too many.",
        lambda: [((), limit.full_count)],
    )
