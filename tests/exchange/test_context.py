"""
The counters of a proxy have the labels that their declarations list.
"""

from __future__ import annotations

import re

from s3proxy.backend.faults import BackendFault
from s3proxy.exchange.context import METRICS
from tests.support.root import ROOT

LABELS = {metric.name: metric.labels for metric in METRICS}


def test_each_cause_is_a_label() -> None:
    """
    The reference page lists every cause that a request can be given up for.
    """
    sources = "\n".join(path.read_text("utf-8") for path in (ROOT / "s3proxy/exchange").glob("*.py"))
    lines = re.findall(r"\.cause = .*|^_CAUSES = .*", sources, re.MULTILINE)
    causes = {word for line in lines for word in re.findall(r'(?<!f)"(\w+)"', line)}
    causes |= {f"backend_{fault.name.lower()}" for fault in BackendFault}

    assert len(causes) > 15
    assert causes == set(LABELS["s3proxy_aborts"]["cause"])


def test_each_reason_for_disbelief_is_a_label() -> None:
    """
    The reference page lists them.
    """
    source = (ROOT / "s3proxy/mending/results.py").read_text("utf-8")

    assert set(re.findall(r'DisbelievedError\("(\w+)"\)', source)) == set(
        LABELS["s3proxy_backend_disbelieved"]["reason"]
    )
