"""
Declared metrics are read from the objects that count, and added up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from s3proxy.telemetry.declarations import Distribution, Metric, counter, gauge, histogram
from s3proxy.telemetry.metrics import Metrics, MetricsSum


@dataclass
class Shop:
    """
    An object that counts.
    """

    size: int = 0
    sold: dict[str, int] = field(default_factory=dict)
    pairs: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: dict[str, Distribution] = field(default_factory=dict)


METRICS: tuple[Metric[Shop], ...] = (
    gauge("shop_bytes", "Size.", lambda shop: shop.size),
    counter("shop_sales", "Sales.", lambda shop: shop.sold, {"what": ("tea", "milk")}),
    counter("shop_pairs", "Pairs.", lambda shop: shop.pairs, {"town": "a town", "one": "a good", "other": "a good"}),
    histogram("shop_seconds", "Times.", lambda shop: shop.seconds, {"what": "a good"}),
)


def samples(document: bytes) -> dict[tuple[str, ...], float]:
    """
    Return the values of a page, by name and label values in alphabetic order of the labels.
    """
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(document.decode())
        for sample in family.samples
    }


def test_objects_with_the_same_labels_are_added_up() -> None:
    """
    Nothing needs to know how many there are. A number without labels is 0 if there is none.
    """
    shops: list[Shop] = []
    metrics = Metrics()
    metrics.add(METRICS[:2], lambda: [((), shop) for shop in shops])
    assert samples(metrics.document()) == {("shop_bytes",): 0.0}
    shops += [Shop(1, {"tea": 2}), Shop(10, {"tea": 20, "milk": 30})]

    assert samples(metrics.document()) == {
        ("shop_bytes",): 11.0,
        ("shop_sales_total", "tea"): 22.0,
        ("shop_sales_total", "milk"): 30.0,
    }


def test_the_labels_of_an_object_come_first() -> None:
    """
    The labels of its numbers follow.
    """
    distribution = Distribution()
    distribution.observe(0.01)
    distribution.observe(3000.0)
    metrics = Metrics()
    metrics.add(METRICS[2:3], lambda: [(("Bath",), Shop(pairs={("tea", "milk"): 1}))])
    metrics.add(METRICS[3:], lambda: [((), Shop(seconds={"tea": distribution}))])

    found = samples(metrics.document())

    assert found["shop_pairs_total", "tea", "milk", "Bath"] == 1.0
    assert found["shop_seconds_count", "tea"] == 2.0
    assert found["shop_seconds_bucket", "0.02", "tea"] == 1.0
    assert found["shop_seconds_bucket", "1800.0", "tea"] == 1.0
    assert found["shop_seconds_sum", "tea"] == 3000.01


def test_counters_of_a_process_stay_after_its_end() -> None:
    """
    Its gauges do not: what it used is free.
    """
    total = MetricsSum()
    for process in (1, 2):
        metrics = Metrics()
        shop = Shop(process, {"tea": process})
        metrics.add(METRICS[:2], lambda shop=shop: [((), shop)])  # type: ignore[misc]
        total.put(process, metrics.families())
    total.ended(1)

    assert samples(total.document()) == {("shop_bytes",): 2.0, ("shop_sales_total", "tea"): 3.0}


def test_a_declaration_has_what_a_query_needs() -> None:
    """
    The suffix that Prometheus adds to a counter, and the unit.
    """
    assert [(metric.queried_name, metric.unit) for metric in METRICS] == [
        ("shop_bytes", "bytes"),
        ("shop_sales_total", ""),
        ("shop_pairs_total", ""),
        ("shop_seconds", "seconds"),
    ]
