"""
What real storage systems do with each operation of S3: they accept it, refuse it, or mistake it for another one.

A storage system ignores a sub-resource that it does not know: the request is then the plain operation of its method. So
``DELETE /bucket?ownershipControls`` deletes the bucket. These requests are sent straight, without s3proxy: the
profiles' lists of accepted operations are based on the results.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from tests.integration.running import STORAGES
from tests.integration.storages import Endpoint, Reply
from tests.support.harness import VECTORS

pytestmark = pytest.mark.integration

TABLE: dict[str, Any] = json.loads((VECTORS / "storage-operations.json").read_text())

RUNNING = {"ceph-rgw": "ceph-rgw", "swift": "swift", "minio": "minio", "versitygw": "generic"}
"""
The table's names of storage systems, each with the suite's name for it.
"""

TAKEN, REFUSED, MISTAKEN = "taken", "refused", "mistaken"

CONTENT, DOCUMENT = b"the content", b"<Document/>"

NOT_THERE = {405, 501}
"""
Statuses that say that a storage system lacks an operation.
"""

OTHER_REFUSALS = {
    # A torrent can at most be made while an object is uploaded.
    ("ceph-rgw", "GetObjectTorrent"): 400,
    # The error is in the event stream.
    ("versitygw", "SelectObjectContent"): 200,
}
"""
Other statuses with which some operations are refused.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """
    An operation of S3 that has a sub-resource.

    Attributes:
        level: ``bucket`` or ``object``.
    """

    name: str
    method: str
    level: str
    query: str


OPERATIONS = [Operation(*row) for row in TABLE["operations"]]
CASES = [
    pytest.param(storage, operation, verdict, id=f"{storage}-{operation.name}")
    for storage in RUNNING
    for operation in OPERATIONS
    for verdict in (TAKEN, REFUSED, MISTAKEN)
    if operation.name in TABLE["storages"][storage][verdict]
]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Endpoint]]:
    """
    Start a storage system that does not run yet; the previous one ends.
    """
    os.environ.pop("AWS_CA_BUNDLE", None)
    endpoints: dict[str, Endpoint] = {}

    def started(name: str) -> Endpoint:
        if name not in endpoints:
            endpoints.clear()
            stack.close()
            storage = stack.enter_context(STORAGES[RUNNING[name]](tmp_path_factory.mktemp(name)))
            endpoints[name] = endpoint = Endpoint(storage.port, storage.key_id, storage.secret)
            # MinIO reports that it is ready before it is.
            for _ in range(600):
                if endpoint.ask("PUT", "/ready").status == 200:
                    break
                time.sleep(0.05)
        return endpoints[name]

    with ExitStack() as stack:
        yield started


def _ask_bucket(endpoint: Endpoint, operation: Operation, bucket: str) -> tuple[Reply, bool]:
    if operation.method == "PUT":
        # Without a document, CreateBucket makes the bucket; the operation itself finds no bucket.
        endpoint.ask("PUT", f"/{bucket}-not-there?{operation.query}")
        is_mistaken = endpoint.ask("HEAD", f"/{bucket}-not-there").status == 200
        return endpoint.ask("PUT", f"/{bucket}?{operation.query}", DOCUMENT), is_mistaken
    if operation.method == "DELETE":
        endpoint.ask("DELETE", f"/{bucket}/key")
    body = DOCUMENT if operation.method == "POST" else b""
    reply = endpoint.ask(operation.method, f"/{bucket}?{operation.query}", body)
    if operation.method == "DELETE":
        return reply, endpoint.ask("HEAD", f"/{bucket}").status == 404
    return reply, b"<ListBucketResult" in reply.body


def _ask_object(endpoint: Endpoint, operation: Operation, bucket: str) -> tuple[Reply, bool]:
    target = f"/{bucket}/key"
    body = DOCUMENT if operation.method in {"PUT", "POST"} else b""
    reply = endpoint.ask(operation.method, f"{target}?{operation.query}", body)
    if operation.method == "GET":
        return reply, reply.body == CONTENT
    return reply, endpoint.ask("GET", target).body != CONTENT


@pytest.mark.parametrize(("storage", "operation", "verdict"), CASES)
def test_each_operation_straight(
    run: Callable[[str], Endpoint], storage: str, operation: Operation, verdict: str
) -> None:
    """
    Each operation is accepted, refused or mistaken, as the table says; a bucket and an object show whether it was
    mistaken.
    """
    endpoint = run(storage)
    bucket = f"operation-{OPERATIONS.index(operation)}"
    assert endpoint.ask("PUT", f"/{bucket}").status == 200
    assert endpoint.ask("PUT", f"/{bucket}/key", CONTENT).status == 200

    ask = _ask_object if operation.level == "object" else _ask_bucket
    reply, is_mistaken = ask(endpoint, operation, bucket)

    if operation.method == "POST" and verdict == MISTAKEN:
        # The operation was taken for a form upload. This body is not a form, so that is refused, too.
        assert not is_mistaken
        assert reply.status >= 400
        return
    assert is_mistaken is (verdict == MISTAKEN), reply
    if verdict == REFUSED:
        status = OTHER_REFUSALS.get((storage, operation.name))
        assert reply.status in (NOT_THERE if status is None else {status}), reply
    if verdict == TAKEN:
        assert reply.status not in NOT_THERE, reply


@pytest.mark.parametrize("storage", RUNNING)
def test_the_table_is_whole(storage: str) -> None:
    """
    Each operation has one verdict.
    """
    verdicts = TABLE["storages"][storage]
    names = [name for kind in (TAKEN, REFUSED, MISTAKEN) for name in verdicts[kind]]

    assert sorted(names) == sorted(operation.name for operation in OPERATIONS)
