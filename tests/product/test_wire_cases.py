"""
Every case of the data set, over real sockets: the expected verdict, and nothing stored for a refused one.
"""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import pytest_twisted

from s3proxy.testing.faulty_client import Response
from tests.support.harness import VECTORS, Harness, in_transfer_chunks, load_cases, material, send_pieces, turns
from tests.support.wire_cases import FILES, LONG, element, judge_refusal

STEPS = (0, 1, 7)


def _runs() -> list[Any]:
    runs = []
    for case in load_cases(FILES):
        is_cut = "wire" in case or case["file"] == "negative/post"
        for step in STEPS if is_cut else (0,):
            if step == 1 and case.get("wire_length", 0) > LONG:
                continue
            runs.append(pytest.param(case, step, id=f"{case['file']}:{case['name']}:{step}"))
    return runs


RUNS = _runs()


async def run_case(harness: Harness, case: dict[str, Any], step: int) -> Response | None:
    """
    Send a case as the data set describes it, and return the response.
    """
    client = await harness.connect()
    if "raw" in case:
        wire = material(case["raw"])
        client.send(wire)
        return await client.response(wire.split(b" ", 1)[0].decode("latin-1"))
    request = case["request"]
    head = f"{request['method']} {request['target']} HTTP/1.1\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in request["headers"])
    body = material(case["wire"]) if "wire" in case else material(request.get("payload"))
    if case.get("http_chunked") or case.get("http_transfer_encoding"):
        body = in_transfer_chunks(body)
    if case.get("send_body") is False:
        body = b""
    client.send(head.encode() + b"\r\n")
    await send_pieces(client, body, step)
    if case.get("close_after_body"):
        client.transport.loseWriteConnection()
    return await client.response(request["method"])


DECIDED: dict[str, dict[str, Any]] = {
    # The data set took it from Swift. S3 stores aws-chunked with no object (ceph/s3-tests,
    # content_encoding_aws_chunked).
    "payload-content-encoding-aws-chunked-kept": {"content_encoding": None},
}
"""
What is stored differently from the data set, by case.
"""


def judge_acceptance(case: dict[str, Any], response: Response, harness: Harness) -> list[str]:
    """
    Return what is wrong with an accepted request.
    """
    if response.status >= 400 or response.status != case["expected"].get("status", response.status):
        return [f"answered {response.status} {element(response.body, 'Code')}: {element(response.body, 'Message')}"]
    requests = harness.backend.requests
    if len(requests) != 1:
        return [f"{len(requests)} requests at the backend"]
    faults = []
    stored = {**(case["expected"].get("stored") or case.get("stored") or {}), **DECIDED.get(case["name"], {})}
    if "key" in stored:
        bucket = case["request"]["target"].strip("/")
        target = unquote_to_bytes(requests[0].head.raw_target).decode()
        if target != f"/{bucket}/{stored['key']}":
            faults.append(f"stored as {target}")
    if "sha256" in stored and requests[0].sha256 != stored["sha256"]:
        faults.append("other bytes are stored")
    if "length" in stored and requests[0].size != stored["length"]:
        faults.append(f"{requests[0].size} bytes are stored, wanted {stored['length']}")
    if "content_encoding" in stored:
        value = requests[0].head.fields.value(b"content-encoding")
        if (value.decode() if value else None) != stored["content_encoding"]:
            faults.append(f"Content-Encoding {value!r}, wanted {stored['content_encoding']!r}")
    names = requests[0].head.fields
    faults += [
        f"{name.decode()} at the backend"
        for name in (b"x-amz-decoded-content-length", b"x-amz-trailer", b"transfer-encoding", b"x-amz-security-token")
        if name in names
    ]
    return faults


@pytest.mark.parametrize(("case", "step"), RUNS)
@pytest_twisted.ensureDeferred
async def test_case(case: dict[str, Any], step: int, case_table: dict[str, Counter[str]]) -> None:
    """
    The client gets S3's own response; a refused request leaves nothing at the backend.
    """
    harness = Harness()

    response = await run_case(harness, case, step)
    await turns(3)
    await harness.close()

    wanted = case["expected"]
    outcome = "passed"
    if "raw" in case:
        assert response is None or response.status in wanted.get("allowed_status", [response.status])
        assert len(harness.backend.requests) == wanted.get("backend_requests", len(harness.backend.requests))
    elif response is None:
        pytest.fail("the connection ended without a response")
    elif wanted["verdict"] == "accept":
        assert judge_acceptance(case, response, harness) == []
    elif case.get("tolerated_accept") and response.status < 400:
        outcome = "tolerated"
        assert len(harness.backend.requests) == 1
    else:
        assert judge_refusal(case, response) == []
        assert harness.backend.requests == []
        if (wanted.get("status") or response.status) != response.status or (
            wanted.get("code") and response.body and element(response.body, "Code") != wanted["code"]
        ):
            outcome = "allowed alternative"
    case_table.setdefault(case["file"], Counter())[outcome] += 1


def test_nothing_is_left_out() -> None:
    """
    All cases of the data set are run, each stream and form split in three ways; the suite's last lines count them.
    """
    every = {
        str(path.relative_to(VECTORS))[:-5] for kind in ("negative", "chunked") for path in VECTORS.glob(f"{kind}/*")
    }

    assert every == set(FILES)
    assert len({(run.values[0]["file"], run.values[0]["name"]) for run in RUNS}) == len(load_cases(FILES))
