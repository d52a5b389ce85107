"""
Two gateways to one store, each killed under load: boto3 with its default retries reports no error, and nothing is lost.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import re
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from trustme import CA

from tests.integration.golang import environment
from tests.integration.versitygw import install
from tests.support.daemon import twistd_arguments
from tests.support.processes import end_all, free_port, running, wait_for_port

pytestmark = pytest.mark.integration

KIB, MIB = 1 << 10, 1 << 20
BUCKET = "failover"
OUR_KEY, OUR_SECRET = "VGWROOTKEY0000000001", "versitygw-root-secret-of-the-suite-0001"
CLIENT_KEY, CLIENT_SECRET = "FAILOVERCLIENT000001", "failover-client-secret-of-the-suite-001"
WORKERS = 4
ROUNDS = 8
"Rounds of all workers together between two events."
UPLOADS = 6
"Uploads that are half sent when a gateway is killed: some to each of the two."

LINE = re.compile(r'REST\.(\w+)\.\w+ (\S+) "[^"]*" (\d+) (\S+)')
"A line of the access log: operation, key, status and error code."


class Gateways:
    """
    Two versitygw processes on one directory.
    """

    def __init__(self, directory: Path) -> None:
        self._program = install()
        self._directory = directory
        self.ports = [free_port(), free_port()]
        self._log = (directory / "versitygw.log").open("ab")
        self._processes: list[subprocess.Popen[bytes] | None] = [None, None]
        for name in ("store", "iam"):
            (directory / name).mkdir()

    def start(self, number: int) -> None:
        """
        Start a gateway, and wait until it listens.
        """
        keys = {"ROOT_ACCESS_KEY": OUR_KEY, "ROOT_SECRET_KEY": OUR_SECRET}
        iam = ["--iam-dir", str(self._directory / "iam")]
        process = subprocess.Popen(
            [str(self._program), "--port", f"127.0.0.1:{self.ports[number]}", *iam, "posix", "store"],
            cwd=self._directory,
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            env={**environment(), **keys},
        )
        self._processes[number] = process
        wait_for_port(self.ports[number], process)

    def kill(self, number: int) -> None:
        """
        End a gateway with SIGKILL.
        """
        process = self._processes[number]
        assert process is not None
        assert process.poll() is None, "it has ended before"
        process.kill()
        process.wait()

    def stop(self) -> None:
        """
        End both.
        """
        end_all(process for process in self._processes if process is not None and process.poll() is None)
        self._log.close()


@dataclass
class Setup:
    """
    All running servers.
    """

    directory: Path
    gateways: Gateways
    port: int
    tls_port: int
    admin_port: int
    authority: str

    def client(self, *, is_tls: bool = False, straight: int | None = None) -> Any:
        """
        Return a boto3 client with its default retries.

        Args:
            straight: The gateway to use without the proxy.
        """
        import boto3
        from botocore.config import Config

        port = self.tls_port if is_tls else self.port
        key_id, secret = CLIENT_KEY, CLIENT_SECRET
        if straight is not None:
            port, key_id, secret = self.gateways.ports[straight], OUR_KEY, OUR_SECRET
        return boto3.client(
            "s3",
            endpoint_url=f"{'https' if is_tls else 'http'}://127.0.0.1:{port}",
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            verify=self.authority if is_tls else None,
            config=Config(s3={"addressing_style": "path"}),
        )

    def metric(self, name: str) -> float:
        """
        Return the sum of a metric over all its labels.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=30) as page:
            families = text_string_to_metric_families(page.read().decode())
        return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """
    Two gateways, and a daemon with both as its backend.
    """
    gateways = Gateways(tmp_path)
    port, tls_port, admin_port = free_port(), free_port(), free_port()
    authority = CA()
    authority_path, server = tmp_path / "authority.pem", tmp_path / "server.pem"
    authority.cert_pem.write_to_path(authority_path)
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
    (tmp_path / "keys.toml").write_text(
        f'[[key]]\naccess_key_id = "{CLIENT_KEY}"\nsecret_access_key = "{CLIENT_SECRET}"\n'
    )
    urls = [f"http://127.0.0.1:{number}" for number in gateways.ports]
    path = tmp_path / "s3proxy.toml"
    path.write_text(
        f"""[server]
listen = [
    "tcp:{port}:interface=127.0.0.1",
    "ssl:{tls_port}:interface=127.0.0.1:privateKey={server}",
]
admin = "tcp:{admin_port}:interface=127.0.0.1"
[[backend]]
name = "versitygw"
urls = {urls}
access_key_id = "{OUR_KEY}"
secret_access_key = "{OUR_SECRET}"
[times]
health = 0.5
[log]
access = "access.log"
"""
    )
    try:
        for number in range(len(gateways.ports)):
            gateways.start(number)
        with running(twistd_arguments(path), tmp_path) as process:
            wait_for_port(port, process)
            yield Setup(tmp_path, gateways, port, tls_port, admin_port, str(authority_path))
    finally:
        gateways.stop()


@dataclass
class Load:
    """
    What all workers have done together.

    Attributes:
        stored: Digests of the objects that must exist, by key.
    """

    is_over: threading.Event = field(default_factory=threading.Event)
    rounds: int = 0
    operations: Counter[str] = field(default_factory=Counter)
    stored: dict[str, str] = field(default_factory=dict)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def done(self, operations: Counter[str]) -> None:
        """
        Count a round.
        """
        with self._changed:
            self.rounds += 1
            self.operations += operations
            self._changed.notify_all()

    def wait(self, rounds: int) -> None:
        """
        Return when this many more rounds were done, or a worker has failed.
        """
        with self._changed:
            wanted = self.rounds + rounds
            assert self._changed.wait_for(lambda: self.rounds >= wanted or self.is_over.is_set(), 300)
        assert not self.is_over.is_set(), "a worker has failed"


def work(number: int, client: Any, load: Load) -> None:
    """
    Use the client as applications do, and check every response, until the run is over.
    """
    try:
        for count in itertools.count():
            if load.is_over.is_set():
                return
            load.done(_round(f"{number}-{count}", client, load))
    except BaseException:
        load.is_over.set()
        raise


def _round(name: str, client: Any, load: Load) -> Counter[str]:
    from botocore.exceptions import ClientError

    seed = hashlib.sha256(name.encode()).digest()
    bodies = {f"{name}-small": seed * 100, f"{name}-large": seed * (MIB // len(seed)), f"{name}-gone": seed}
    operations: Counter[str] = Counter()

    def ask(operation: str, **options: Any) -> Any:
        operations[operation] += 1
        return getattr(client, operation)(Bucket=BUCKET, **options)

    for key, body in bodies.items():
        ask("put_object", Key=key, Body=body)
    for key, body in bodies.items():
        assert ask("head_object", Key=key)["ContentLength"] == len(body)
        assert ask("get_object", Key=key, Range="bytes=0-9")["Body"].read() == body[:10]
        # Only this call requests a large response again if it was cut.
        back = io.BytesIO()
        ask("download_fileobj", Key=key, Fileobj=back)
        assert back.getvalue() == body
    listed = ask("list_objects_v2", Prefix=f"{name}-")["Contents"]
    assert {item["Key"] for item in listed} == bodies.keys()
    ask("delete_object", Key=f"{name}-gone")
    with pytest.raises(ClientError, match="404"):
        ask("head_object", Key=f"{name}-gone")
    del bodies[f"{name}-gone"]
    load.stored.update({key: hashlib.sha256(body).hexdigest() for key, body in bodies.items()})
    return operations


class HalfSent(io.BytesIO):
    """
    A body that is read, once, only to its middle until a gateway was killed.
    """

    def __init__(self, body: bytes, killed: threading.Event) -> None:
        super().__init__(body)
        self._middle = len(body) // 2
        self._killed = killed
        self.is_half_sent = threading.Event()

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= self._middle and not self.is_half_sent.is_set():
            self.is_half_sent.set()
            assert self._killed.wait(120)
        return super().read(size)


def kill_during_uploads(setup: Setup, load: Load, number: int, pool: ThreadPoolExecutor) -> list[str]:
    """
    Kill a gateway while uploads are half sent; wait until they end, and return their keys.
    """
    killed = threading.Event()
    client = setup.client(is_tls=True)
    sending = []
    for index in range(UPLOADS):
        body = hashlib.sha256(f"{number}-{index}".encode()).digest() * (4 * MIB // 32)
        key = f"half-{number}-{index}"
        load.stored[key] = hashlib.sha256(body).hexdigest()
        source = HalfSent(body, killed)
        sending.append((key, source, pool.submit(client.put_object, Bucket=BUCKET, Key=key, Body=source)))
    try:
        for _, source, _ in sending:
            assert source.is_half_sent.wait(120)
        setup.gateways.kill(number)
    finally:
        killed.set()
    for _, _, sent in sending:
        sent.result(120)
    return [key for key, _, _ in sending]


def test_a_gateway_is_killed_and_comes_back(setup: Setup) -> None:
    """
    First one gateway dies, then it returns, then the other dies. GET, HEAD, lists and DELETE get normal responses.
    Uploads that were half sent get 503 SlowDown, and boto3 sends them again.
    """
    setup.client().create_bucket(Bucket=BUCKET)
    load = Load()
    half_sent = []
    with ThreadPoolExecutor(WORKERS + UPLOADS) as pool:
        working = [pool.submit(work, n, setup.client(is_tls=n % 2 == 1), load) for n in range(WORKERS)]
        try:
            for number in (0, 1):
                load.wait(ROUNDS)
                half_sent += kill_during_uploads(setup, load, number, pool)
                load.wait(ROUNDS)
                assert setup.metric("s3proxy_backend_down") == 1
                setup.gateways.start(number)
                _until(lambda: setup.metric("s3proxy_backend_down") == 0, load)
        finally:
            load.is_over.set()
        for worker in working:
            worker.result(120)
    failed_over = setup.metric("s3proxy_backend_failovers_total")
    lines = LINE.findall((setup.directory / "access.log").read_text())
    outcomes = Counter((operation, status, code) for operation, _, status, code in lines)
    straight = setup.client(straight=0)
    stored = {
        key: hashlib.sha256(straight.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest()
        for key in load.stored
    }
    listed = {item["Key"] for page in _pages(straight) for item in page["Contents"]}
    print(f"{load.operations.total()} operations, {failed_over:.0f} failed over; {dict(sorted(outcomes.items()))}")

    failures = {outcome: count for outcome, count in outcomes.items() if int(outcome[1]) >= 500}
    assert set(failures) == {("PUT", "503", "SlowDown")}
    assert {key for operation, key, status, _ in lines if status == "503"} & set(half_sent)
    assert failed_over > 0
    assert stored == load.stored
    assert listed == load.stored.keys()
    assert min(load.operations.values()) >= ROUNDS * 4


def _until(condition: Callable[[], bool], load: Load) -> None:
    for _ in range(100):
        if condition():
            return
        load.wait(1)
    raise AssertionError("it did not come to be so")


def _pages(client: Any) -> Any:
    return client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
