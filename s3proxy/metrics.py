"""
What can be measured of a running daemon, in the form which Prometheus reads.

Nothing here costs a request more than a few counters at its end; what others count is read when it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from s3proxy.accesslog import AccessRecord

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

MAX_CODES = 100
"""
Different error codes which get a label of their own: a backend may invent them.
"""

_METHODS = frozenset({b"GET", b"HEAD", b"PUT", b"POST", b"DELETE", b"OPTIONS"})
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)

Reading = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""
Returns values with the values of their labels.
"""


class Metrics:
    """
    The counters of one process.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._codes: set[str] = set()
        self._children: dict[tuple[Any, ...], Any] = {}
        self._readings: list[tuple[type[Metric], str, str, tuple[str, ...], Reading]] = []
        registry = self._registry
        self._requests = Counter(
            "s3proxy_requests",
            "Requests which have ended, by what was asked and what was answered; status 0: the client left before.",
            ("method", "signature", "place", "status", "code"),
            registry=registry,
        )
        self._received = Counter(
            "s3proxy_received_bytes", "Bytes of request bodies, transfer coding aside.", registry=registry
        )
        self._sent = Counter("s3proxy_sent_bytes", "Bytes of answers' bodies.", registry=registry)
        self._seconds = Histogram(
            "s3proxy_request_seconds",
            "From the end of a request's head to the end of its answer.",
            ("method",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._turn_around = Histogram(
            "s3proxy_backend_seconds",
            "From the end of a request to its backend's first byte.",
            ("backend",),
            buckets=_BUCKETS,
            registry=registry,
        )
        registry.register(self)

    def record(self, record: AccessRecord) -> None:
        """
        Count a request which has ended.
        """
        head = record.head
        method = head.method.decode() if head is not None and head.method in _METHODS else "other"
        self._child(
            self._requests,
            method,
            record.signature_version or "none",
            record.authentication_type or "none",
            str(record.status),
            self._code(record.error_code),
        ).inc()
        if record.received_size:
            self._received.inc(record.received_size)
        if record.sent_size:
            self._sent.inc(record.sent_size)
        self._child(self._seconds, method).observe(record.total_seconds)
        if record.backend is not None and record.turn_around_seconds is not None:
            self._child(self._turn_around, record.backend).observe(max(0.0, record.turn_around_seconds))

    def _child(self, parent: Counter | Histogram, *labels: str) -> Any:
        # What the library does to find one costs more than to count with it.
        key = (parent, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = parent.labels(*labels)
        return child

    def _code(self, code: str | None) -> str:
        if code is None:
            return ""
        if code not in self._codes:
            if len(self._codes) >= MAX_CODES:
                return "other"
            self._codes.add(code)
        return code

    def gauge(self, name: str, about: str, reading: Reading, labels: tuple[str, ...] = ()) -> None:
        """
        Tell of a value which goes up and down.
        """
        self._readings.append((GaugeMetricFamily, name, about, labels, reading))

    def counter(self, name: str, about: str, reading: Reading, labels: tuple[str, ...] = ()) -> None:
        """
        Tell of a value which somebody else counts.
        """
        self._readings.append((CounterMetricFamily, name, about, labels, reading))

    def collect(self) -> Iterable[Metric]:
        """
        Read what others count; the registry asks for it.
        """
        for kind, name, about, labels, reading in self._readings:
            family = kind(name, about, labels=labels)  # type: ignore[call-arg]
            for values, number in reading():
                family.add_metric(values, number)  # type: ignore[attr-defined]
            yield family

    def document(self) -> bytes:
        """
        Return everything as Prometheus reads it.
        """
        return generate_latest(self._registry)

    def families(self) -> list[Family]:
        """
        Return everything as JSON can hold it.
        """
        return [
            [
                metric.name,
                metric.documentation,
                metric.type,
                [[sample.name, sample.labels, sample.value] for sample in metric.samples],
            ]
            for metric in self._registry.collect()
        ]


Family = list[Any]
"""
A metric: its name, what it is about, its type, and its samples: name, labels and value of each.
"""


class MetricsSum:
    """
    The metrics of several processes together. Counters of those which have ended stay in the sum.
    """

    def __init__(self) -> None:
        self._ended: dict[str, Family] = {}
        self._running: dict[int, list[Family]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def put(self, process: int, families: list[Family]) -> None:
        """
        Know what a process has counted so far.

        Args:
            process: Its id.
        """
        self._running[process] = families

    def ended(self, process: int) -> None:
        """
        Know that a process counts no more.
        """
        for family in self._running.pop(process, []):
            if family[2] != "gauge":
                _add(self._ended, family)

    def collect(self) -> Iterable[Metric]:
        """
        Sum up; the registry asks for it.
        """
        sums: dict[str, Family] = {}
        for families in (list(self._ended.values()), *self._running.values()):
            for family in families:
                _add(sums, family)
        for name, about, kind, samples in sums.values():
            metric = Metric(name, about, kind)
            for sample_name, labels, value in samples:
                metric.add_sample(sample_name, labels, value)
            yield metric

    def document(self) -> bytes:
        """
        Return the sums as Prometheus reads them.
        """
        return generate_latest(self._registry)


def _add(sums: dict[str, Family], family: Family) -> None:
    name, about, kind, samples = family
    total = sums.setdefault(name, [name, about, kind, []])[3]
    known = {(sample[0], tuple(sorted(sample[1].items()))): sample for sample in total}
    for sample_name, labels, value in samples:
        sample = known.get((sample_name, tuple(sorted(labels.items()))))
        if sample is None:
            total.append([sample_name, labels, value])
        elif not sample_name.endswith("_created"):
            sample[2] += value
