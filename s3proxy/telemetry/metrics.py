"""
The metrics of a running daemon, in the text format of Prometheus.

Each request costs only a few counters at its end. Values that are counted elsewhere are read when Prometheus scrapes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from s3proxy.s3.errors import DOCUMENTED_CODES, S3Error
from s3proxy.telemetry.accesslog import AccessRecord

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_METHODS = {name.encode(): name for name in ("GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS")}
_BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)

Reading = Callable[[], Iterable[tuple[tuple[str, ...], float]]]
"""
Returns each value with its label values.
"""


class _Distribution:
    """
    A histogram: the number of values in each bucket.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """
        Count a value.
        """
        self.counts[bisect_left(_BUCKETS, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """
        Return upper bounds, each with the number of values up to it.
        """
        found, total = [], 0
        for bound, amount in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            total += amount
            found.append((bound, float(total)))
        return found


OTHER = "other"
"""
The label for any value that is not in a fixed list. A client that could choose labels could fill the memory of s3proxy
and of Prometheus.
"""


def _own_codes() -> set[str]:
    found, classes = set[str](), [S3Error]
    while classes:
        error = classes.pop()
        found.add(error.code)
        classes += error.__subclasses__()
    return found


CODES = DOCUMENTED_CODES | _own_codes()
"""
Error codes that have a label of their own: those of S3 and of s3proxy. The profiles map backends' codes to these.
"""


class Metrics:
    """
    The counters of one process.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._readings: list[tuple[type[Metric], str, str, tuple[str, ...], Reading]] = []
        # The library's own counters cost ten times as much per request.
        self._requests: Counter[tuple[str, str | None, str | None, int, str]] = Counter()
        self._received_size = 0
        self._sent_size = 0
        self._seconds: dict[str, _Distribution] = {}
        self._turn_around: dict[str, _Distribution] = {}
        self.counter(
            "s3proxy_requests",
            "Requests that have ended, by request and response. Status 0: the client left before the response.",
            self._read_requests,
            ("method", "signature", "place", "status", "code"),
        )
        self.counter(
            "s3proxy_received_bytes",
            "Bytes of request bodies, without transfer coding.",
            lambda: [((), self._received_size)],
        )
        self.counter("s3proxy_sent_bytes", "Bytes of response bodies.", lambda: [((), self._sent_size)])
        self._registry.register(self)

    def record(self, record: AccessRecord) -> None:
        """
        Count a request that has ended.
        """
        head = record.head
        method = _METHODS.get(head.method, OTHER) if head is not None else OTHER
        code = record.error_code or ""
        if code and code not in CODES:
            code = OTHER
        self._requests[method, record.signature_version, record.authentication_type, record.status, code] += 1
        self._received_size += record.received_size
        self._sent_size += record.sent_size
        _distribution(self._seconds, method).observe(record.total_seconds)
        if record.backend is not None and record.turn_around_seconds is not None:
            _distribution(self._turn_around, record.backend).observe(max(0.0, record.turn_around_seconds))

    def _read_requests(self) -> Iterable[tuple[tuple[str, ...], float]]:
        for (method, signature, place, status, code), number in self._requests.items():
            yield (method, signature or "none", place or "none", str(status), code), number

    def gauge(self, name: str, about: str, reading: Reading, labels: tuple[str, ...] = ()) -> None:
        """
        Add a metric whose value goes up and down.
        """
        self._readings.append((GaugeMetricFamily, name, about, labels, reading))

    def counter(self, name: str, about: str, reading: Reading, labels: tuple[str, ...] = ()) -> None:
        """
        Add a metric that is counted elsewhere and only goes up.
        """
        self._readings.append((CounterMetricFamily, name, about, labels, reading))

    def collect(self) -> Iterable[Metric]:
        """
        Return all metrics. Called by the registry.
        """
        yield _histogram(
            "s3proxy_request_seconds",
            "Time from the end of a request's head to the end of its response.",
            "method",
            self._seconds,
        )
        yield _histogram(
            "s3proxy_backend_seconds",
            "Time from the end of a request to the first byte of the backend's response.",
            "backend",
            self._turn_around,
        )
        for kind, name, about, labels, reading in self._readings:
            family = kind(name, about, labels=labels)  # type: ignore[call-arg]
            for values, number in reading():
                family.add_metric(values, number)  # type: ignore[attr-defined]
            yield family

    def document(self) -> bytes:
        """
        Return all metrics in the text format of Prometheus.
        """
        return generate_latest(self._registry)

    def families(self) -> list[Family]:
        """
        Return all metrics as JSON values.
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


def _distribution(distributions: dict[str, _Distribution], label: str) -> _Distribution:
    found = distributions.get(label)
    if found is None:
        found = distributions[label] = _Distribution()
    return found


def _histogram(name: str, about: str, label: str, distributions: Mapping[str, _Distribution]) -> Metric:
    family = HistogramMetricFamily(name, about, labels=(label,))
    for value, distribution in distributions.items():
        family.add_metric((value,), distribution.buckets(), distribution.sum)
    return family


Family = list[Any]
"""
A metric: its name, description, type, and samples, each with name, labels and value.
"""


class MetricsSum:
    """
    The sum of the metrics of several processes. Counters of processes that have ended stay in the sum.
    """

    def __init__(self) -> None:
        self._ended: dict[str, Family] = {}
        self._running: dict[int, list[Family]] = {}
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def put(self, process: int, families: list[Family]) -> None:
        """
        Set the metrics of a process, up to now.

        Args:
            process: The process id.
        """
        self._running[process] = families

    def ended(self, process: int) -> None:
        """
        Called when a process has ended.
        """
        for family in self._running.pop(process, []):
            if family[2] != "gauge":
                _add(self._ended, family)

    def collect(self) -> Iterable[Metric]:
        """
        Return the sums. Called by the registry.
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
        Return the sums in the text format of Prometheus.
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
