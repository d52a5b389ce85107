"""
The metrics of a process and their sums, in the text format of Prometheus.

Values are read when Prometheus scrapes, from the objects that count. Their declarations say how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.core import Metric as MetricFamily

from s3proxy.telemetry.declarations import Distribution, Kind, Metric, Owner

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_FAMILIES: dict[Kind, Callable[..., Any]] = {
    Kind.COUNTER: CounterMetricFamily,
    Kind.GAUGE: GaugeMetricFamily,
    Kind.HISTOGRAM: HistogramMetricFamily,
}

Found = Iterable[tuple[tuple[str, ...], Owner]]
"""
Objects that count, each with the values of its own labels.
"""


class Metrics:
    """
    The metrics of one process.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._sources: list[tuple[Sequence[Metric[Any]], Callable[[], Found[Any]]]] = []
        self._registry.register(self)

    def add(self, metrics: Sequence[Metric[Owner]], find: Callable[[], Found[Owner]]) -> None:
        """
        Add declared metrics.

        Args:
            find: Returns the objects to read now. The numbers of several objects with the same labels are added up.
        """
        self._sources.append((metrics, find))

    def collect(self) -> Iterable[MetricFamily]:
        """
        Return all metrics. Called by the registry.
        """
        for metrics, find in self._sources:
            found = tuple(find())
            for metric in metrics:
                yield _read(metric, found)

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


def _read(metric: Metric[Owner], found: Found[Owner]) -> MetricFamily:
    family = _FAMILIES[metric.kind](metric.name, metric.about, labels=tuple(metric.labels))
    numbers: dict[tuple[str, ...], float] = {} if metric.labels else {(): 0.0}
    for own, owner in found:
        reading = metric.read(owner)
        # A plain number has only the labels of its object.
        for key, value in reading.items() if isinstance(reading, Mapping) else [((), reading)]:
            labels = (*own, key) if isinstance(key, str) else (*own, *key)
            if isinstance(value, Distribution):
                family.add_metric(labels, value.buckets(), value.sum)
            else:
                numbers[labels] = numbers.get(labels, 0.0) + value
    if metric.kind is not Kind.HISTOGRAM:
        for labels, number in numbers.items():
            family.add_metric(labels, number)
    made: MetricFamily = family
    return made


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

    def collect(self) -> Iterable[MetricFamily]:
        """
        Return the sums. Called by the registry.
        """
        sums: dict[str, Family] = {}
        for families in (list(self._ended.values()), *self._running.values()):
            for family in families:
                _add(sums, family)
        for name, about, kind, samples in sums.values():
            metric = MetricFamily(name, about, kind)
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
