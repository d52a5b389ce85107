"""
Two tenants of one storage system, one of them an attacker: fuzzed requests through the proxy to a real Ceph RGW and a
real Swift.

The buckets of both tenants belong to the one key with which the proxy signs. So the storage system carries out every
request that the proxy mistakes for another. `S3PROXY_FUZZ_STORAGE_COUNT` requests are sent to each; 50,000 take an
hour.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint

from s3proxy.authentication.realm import Anonymous
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey
from tests.fuzz.grammar import ATTACKS, OWN, VICTIM, Draft, make_case
from tests.fuzz.recording import Asker
from tests.fuzz.signing import Attacker
from tests.integration import rgw, swift
from tests.integration.stores import boto3_client
from tests.oracle.judge import Client, Facts
from tests.oracle.tap import ORACLE
from tests.oracle.wire import ClientStream, NotARequest
from tests.support.harness import SERVER, Harness

pytestmark = pytest.mark.integration

COUNT = int(os.environ.get("S3PROXY_FUZZ_STORAGE_COUNT", "500"))
"Requests to each storage system."

SEED = os.environ.get("S3PROXY_FUZZ_SEED", "1")

WORKERS = 4
RESTORED_EACH = 100
SECRET = b"what nobody but the victim reads"
_DOMAINS = (b"s3.example.test",)


@dataclass(frozen=True)
class Running:
    """
    A running storage system.

    Attributes:
        check: Fails if it does not respond, or if one of its processes has ended.
    """

    name: str
    port: int
    key: BackendKey
    check: Callable[[], None]

    def straight(self) -> Any:
        """
        Return a client that connects to it without the proxy.
        """
        return boto3_client(self.port, "us-east-1", self.key.access_key_id, self.key.secret_access_key)


@contextmanager
def _rgw(directory: Path) -> Iterator[Running]:
    rgw.install()
    gateway = rgw.Gateway(directory, CA())
    try:
        gateway.start()
        yield Running("ceph-rgw", gateway.port, BackendKey(rgw.KEY_ID, rgw.SECRET), gateway.wait)
    finally:
        gateway.stop()


@contextmanager
def _swift(directory: Path) -> Iterator[Running]:
    servers = swift.Swift(directory, swift.install())
    try:
        servers.start()
        yield Running("swift", servers.port, BackendKey(swift.KEY_ID, swift.SECRET), servers.wait)
    finally:
        servers.stop()


@pytest.fixture(params=[_rgw, _swift], ids=["ceph-rgw", "swift"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """
    Each storage system, with the victim's bucket and the attacker's own.
    """
    with request.param(tmp_path) as running:
        client = running.straight()
        for bucket in (OWN, VICTIM):
            client.create_bucket(Bucket=bucket.decode())
        for key in ("secret", "a/b", "k"):
            client.put_object(Bucket=VICTIM.decode(), Key=key, Body=SECRET + key.encode(), Metadata={"a": "victim"})
        yield running


def _all_of_victim(client: Any) -> list[Any]:
    """
    Return everything that can be read of the victim's bucket.
    """
    bucket = VICTIM.decode()
    found: list[Any] = [client.get_bucket_acl(Bucket=bucket)["Grants"]]
    found.append(client.get_bucket_versioning(Bucket=bucket).get("Status"))
    found.append(client.list_multipart_uploads(Bucket=bucket).get("Uploads"))
    for item in client.list_objects_v2(Bucket=bucket).get("Contents", []):
        response = client.get_object(Bucket=bucket, Key=item["Key"])
        grants = client.get_object_acl(Bucket=bucket, Key=item["Key"])["Grants"]
        found.append((item["Key"], item["LastModified"], response["Body"].read(), response["Metadata"], grants))
    return found


@dataclass
class Named:
    """
    The buckets and keys that the attacker's requests name, by a strict reading of their bytes.
    """

    buckets: set[bytes] = field(default_factory=set)
    keys: set[tuple[bytes, bytes]] = field(default_factory=set)

    def add(self, wire: bytes) -> bool:
        """
        Record what a request names.

        Returns:
            False if it names the victim's: a key of the storage system's owner may do that.
        """
        stream = ClientStream()
        stream.feed(wire)
        try:
            head = stream.next_head(lambda head: 1 << 20)
        except NotARequest:
            return True
        client = Client(head, stream, head.fields[b"host"][0], Facts(_DOMAINS))
        place = client.place
        sources = [value for value in client.fields.get(b"x-amz-copy-source", ()) for value in value.split(b",")]
        sources = [unquote_to_bytes(source).strip().lstrip(b"/") for source in sources]
        if place.bucket == VICTIM or any(source.split(b"/")[0] == VICTIM for source in sources):
            return False
        self.buckets.add(place.bucket)
        self.keys.add((place.bucket, place.key))
        return True


class Run:
    """
    A proxy in front of a storage system, and the attack on it.
    """

    def __init__(self, storage: Running) -> None:
        self.storage = storage
        self.harness = Harness(
            profile=PROFILES[storage.name],
            backend_key=storage.key,
            endpoint=TCP4ClientEndpoint(reactor, "127.0.0.1", storage.port),
            now=datetime.now(UTC),
            anonymous=Anonymous(passes=True),
        )
        key = SERVER["credentials"][0]
        self.attacker = Attacker(key["access_key"], key["secret_key"], datetime.now(UTC))
        self.named = Named({OWN}, {(OWN, b"k")})
        self.outcomes: Counter[str] = Counter()
        self.faults: list[str] = []
        self._number = 0
        self._began = time.monotonic()

    async def work(self) -> None:
        """
        Send requests until the count is reached.
        """
        asker = Asker(self.harness, patience=120.0)
        while self._number < COUNT and len(self.faults) < 5:
            number = self._number
            self._number += 1
            if number % RESTORED_EACH == 0:
                await self._ask(asker, Draft("v4-header", b"PUT", b"/" + OWN), "the bucket again")
                await self._ask(asker, Draft("v4-header", b"PUT", b"/%b/k" % OWN, body=b"hello"), "the object again")
            if number % 1000 == 0 and number:
                seconds = time.monotonic() - self._began
                print(f"{self.storage.name}: {number} of {COUNT}, {seconds:.0f} s", file=sys.stderr, flush=True)
            if number < len(ATTACKS):
                await self._ask(asker, ATTACKS[number], f"attack {number}")
            else:
                case = make_case(f"{SEED} {self.storage.name} {number}")
                await self._ask(asker, case.draft(), f"{number}: {case}")
        asker.drop()

    async def _ask(self, asker: Asker, draft: Draft, name: str) -> None:
        self.attacker.now = self.harness.now = datetime.now(UTC)
        wire = self.attacker.encode(draft)
        if not self.named.add(wire):
            self.outcomes["the victim's own name"] += 1
            return
        responses, fault = await asker.ask(wire, draft.method.decode("latin-1"))
        faults = [fault] if fault else []
        faults += ["it reads the victim's secret" for response in responses if SECRET in response.body]
        breaches, ORACLE.breaches = ORACLE.breaches, []
        faults += breaches
        self.faults += [f"{self.storage.name}, {name}\n  {wire!r}\n  {each}" for each in faults]
        self.harness.records.clear()
        status = responses[0].status if responses else 0
        code = responses[0].body.partition(b"<Code>")[2].partition(b"</Code>")[0].decode() if responses else ""
        self.outcomes[f"{status} {code}".strip()] += 1
        if status >= 500 and status != 501:
            print(f"{self.storage.name}, {name}: {status} {code}\n  {wire[:600]!r}", file=sys.stderr, flush=True)


@pytest_twisted.ensureDeferred
async def test_a_tenant_who_attacks(storage: Running, error_log: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """
    The storage system survives, the other tenant's bucket is unchanged, and nothing exists that no request named.
    """
    client = storage.straight()
    before = _all_of_victim(client)
    run = Run(storage)
    with capsys.disabled():
        await gatherResults([Deferred.fromCoroutine(run.work()) for _ in range(WORKERS)], consumeErrors=True)
        print(f"\n{storage.name}: {sum(run.outcomes.values())} requests: {dict(run.outcomes.most_common(60))}", end=" ")
    await run.harness.close()

    storage.check()
    assert not run.faults, "\n\n".join(run.faults)
    assert _all_of_victim(client) == before
    buckets = {bucket["Name"].encode() for bucket in client.list_buckets()["Buckets"]}
    assert buckets - {VICTIM} <= run.named.buckets
    for bucket in buckets - {VICTIM}:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket.decode()):
            for item in page.get("Contents", []):
                assert (bucket, item["Key"].encode()) in run.named.keys
                content = client.get_object(Bucket=bucket.decode(), Key=item["Key"])["Body"].read()
                assert SECRET not in content, (bucket, item["Key"])
    assert run.outcomes["200"] > COUNT / 20
