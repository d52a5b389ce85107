"""
The streams of the data set, into an application's consumer: the same bytes and the same verdicts as into a backend.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
import pytest_twisted

from s3proxy.s3.errors import S3Error
from tests.support.embedding import Page, embedded
from tests.support.harness import in_transfer_chunks, load_cases, material
from tests.support.wire_cases import FILES, judge_refusal

SHORT = 2000
"Bytes of a body up to which it is also sent byte by byte."


def _runs() -> list[Any]:
    return [
        pytest.param(case, step, id=f"{case['file']}:{case['name']}:{step}")
        for case in load_cases(name for name in FILES if name.startswith("chunked/"))
        for step in (0, 1, 7)
        if step == 0 or case["wire_length"] <= (SHORT if step == 1 else 10 * SHORT)
    ]


RUNS = _runs()


@pytest.mark.parametrize(("case", "step"), RUNS)
@pytest_twisted.ensureDeferred
async def test_each_stream(case: dict[str, Any], step: int) -> None:
    """
    The Deferred fires for a good stream, and fails with the client's error for a bad one.
    """
    request = case["request"]
    head = f"{request['method']} {request['target']} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request["headers"])
    body = material(case["wire"])
    if case.get("http_chunked") or case.get("http_transfer_encoding"):
        body = in_transfer_chunks(body)
    page = Page()
    harness = embedded(page)

    response = await harness.request(head.encode() + b"\r\n", body, step=step)
    await harness.close()

    wanted = case["expected"]
    if response.status == 200:
        assert wanted["verdict"] == "accept" or case.get("tolerated_accept"), "it was accepted"
        assert page.outcomes == [None]
        stored = wanted.get("stored") or case.get("stored") or {}
        assert hashlib.sha256(page.consumer.content).hexdigest() == stored["sha256"]
    else:
        assert wanted["verdict"] == "reject"
        assert judge_refusal(case, response) == []
        assert all(isinstance(outcome, S3Error) for outcome in page.outcomes)


def test_there_are_enough() -> None:
    """
    Every stream is sent whole, and most of them in pieces.
    """
    assert len(RUNS) > 500
