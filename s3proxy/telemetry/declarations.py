"""
Declarations of metrics. Each is beside the object that counts, and says how the number is read from it.

The strategy: an object counts in plain attributes. Its module declares `METRICS`, with a `Metric` for each number.
`s3proxy.daemon.instruments` finds the objects of a process, and `s3proxy.telemetry.metrics` reads and writes their
numbers. `docs/generate.py` makes the reference page. A name, a help text or a label is written only here: in its
declaration.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Generic, TypeVar

BUCKETS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 1800.0)
"""
The upper bounds of every histogram, in seconds.
"""

BACKEND = {"backend": "the `name` of the backend"}
"""
The label of what is counted for each backend.
"""

ADDRESS = {**BACKEND, "address": "host and port of the backend"}
"""
The labels of what is counted for each address of a backend.
"""


class Kind(Enum):
    """
    How a metric behaves; the value is the word of Prometheus.
    """

    COUNTER = "counter"
    "it only goes up, and begins at 0 when the process starts"
    GAUGE = "gauge"
    "it goes up and down"
    HISTOGRAM = "histogram"
    "the number of values up to each of `BUCKETS`"


class Distribution:
    """
    The values of a histogram.

    Attributes:
        counts: The number of values in each bucket.
        sum: The sum of all values.
    """

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """
        Count a value.
        """
        self.counts[bisect_left(BUCKETS, value)] += 1
        self.sum += value

    def buckets(self) -> list[tuple[str, float]]:
        """
        Return upper bounds, each with the number of values up to it.
        """
        found, total = [], 0
        for bound, amount in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            total += amount
            found.append((bound, float(total)))
        return found


Reading = float | Mapping[Any, float] | Mapping[str, Distribution]
"""
A number; or the number of each value of the label. If there are several labels, a key is a tuple of their values.
"""

Labels = Mapping[str, str | tuple[str, ...]]
"""
The labels by name: all values, or a description of the values.
"""

Owner = TypeVar("Owner")


@dataclass(frozen=True, slots=True)
class Metric(Generic[Owner]):
    """
    The declaration of a metric. `counter`, `gauge` and `histogram` make one.

    Attributes:
        name: The name, without the suffix that Prometheus adds to it.
        about: The help text: one sentence for an operator.
        read: Returns the current number of an object.
        labels: The labels. The first ones may be those of the object, which `read` does not return.
    """

    kind: Kind
    name: str
    about: str
    read: Callable[[Owner], Reading]
    labels: Labels = field(default_factory=dict)

    @property
    def queried_name(self) -> str:
        """
        The name to use in a query. A histogram adds a suffix for each of its numbers.
        """
        return f"{self.name}_total" if self.kind is Kind.COUNTER else self.name

    @property
    def unit(self) -> str:
        """
        The unit, which the name contains; empty for a plain number.
        """
        return next((unit for unit in ("bytes", "seconds") if unit in self.name.split("_")), "")


def counter(name: str, about: str, read: Callable[[Owner], Reading], labels: Labels | None = None) -> Metric[Owner]:
    """
    Declare a number that only goes up.
    """
    return Metric(Kind.COUNTER, name, about, read, labels or {})


def gauge(name: str, about: str, read: Callable[[Owner], Reading], labels: Labels | None = None) -> Metric[Owner]:
    """
    Declare a number that goes up and down.
    """
    return Metric(Kind.GAUGE, name, about, read, labels or {})


def histogram(
    name: str, about: str, read: Callable[[Owner], Mapping[str, Distribution]], labels: Labels
) -> Metric[Owner]:
    """
    Declare a distribution of seconds.
    """
    return Metric(Kind.HISTOGRAM, name, about, read, labels)
