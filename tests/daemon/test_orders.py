"""
What the supervisor and a worker say to each other, from one side to the other.
"""

from __future__ import annotations

import json

import pytest

from s3proxy.daemon.orders import Document, Orders, Report

ORDERS = Orders(
    content={"server": {"workers": 2}, "backend": [{"url": "http://127.0.0.1:1"}]},
    directory="/etc/s3proxy",
    sockets={"tcp:9000": 5},
    workers=2,
    number=1,
    counts_fd=6,
    multipart_directory=None,
)

REPORT = Report(metrics=[["s3proxy_x", "What it is.", "gauge", [["s3proxy_x", {"state": "ä\n"}, 1.5]]]])


@pytest.mark.parametrize("document", [ORDERS, REPORT])
def test_what_one_side_writes_the_other_side_reads(document: Document) -> None:
    """
    Nothing is lost, and each document is one line.
    """
    written = document.to_json()

    assert type(document).from_json(written) == document
    assert b"\n" not in written


def test_the_keys_stay_from_one_version_to_the_next() -> None:
    """
    A worker can be newer than its supervisor: it runs the program that is on disk when it starts.
    """
    assert list(json.loads(ORDERS.to_json())) == [
        *("content", "directory", "sockets", "workers", "number", "counts_fd", "multipart_directory"),
    ]
    assert list(json.loads(REPORT.to_json())) == ["metrics"]


def test_a_field_that_is_not_known_is_ignored() -> None:
    """
    A supervisor that is newer than the program on disk can still start workers.
    """
    read = Report.from_json(b'{"metrics": [], "another": 1}')

    assert read == Report(metrics=[])


def test_a_field_that_is_needed_must_be_there() -> None:
    """
    A worker without one of its orders does not guess it.
    """
    with pytest.raises(KeyError, match="metrics"):
        Report.from_json(b"{}")
