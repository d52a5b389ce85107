"""
How long a small request takes on a kept connection: straight to a storage system, and through s3proxy.

Only one request is under way at a time, so nothing waits for the processor: what is measured is the time on the way.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from trustme import CA

from bench.loads import KIB
from bench.results import text_table
from tests.integration import rgw
from tests.integration.storages import Endpoint, Processes, versitygw
from tests.support.signer import Signer

BUCKET = "bench-latency"
REQUESTS = {
    "GET 1 KiB": ("GET", f"/{BUCKET}/small"),
    "HEAD": ("HEAD", f"/{BUCKET}/small"),
    "list of 10": ("GET", f"/{BUCKET}?list-type=2&max-keys=10"),
}
_BLOCK_SIZE = 64 * KIB


@dataclass(frozen=True)
class Times:
    """
    The times of one kind of request, on one way.

    Attributes:
        storage: The storage system.
        way: ``straight``, ``straight, quick ACK`` or ``s3proxy``.
        request: The kind of request.
        p50: Median, in milliseconds.
        p99: 99th percentile, in milliseconds.
    """

    storage: str
    way: str
    request: str
    p50: float
    p99: float


class Client:
    """
    A kept connection.

    Args:
        acknowledges: Whether the kernel acknowledges each read at once, as s3proxy does towards backends.
    """

    def __init__(self, endpoint: Endpoint, *, acknowledges: bool = False) -> None:
        self._endpoint = endpoint
        self._acknowledges = acknowledges
        self._socket = socket.create_connection(("127.0.0.1", endpoint.port), 30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def seconds(self, method: str, target: str) -> float:
        """
        Send a request, read the whole response, and return the time of both.
        """
        endpoint = self._endpoint
        signer = Signer(endpoint.key_id, endpoint.secret, datetime.now(UTC), f"127.0.0.1:{endpoint.port}")
        head, _ = signer.head(method, target)
        began = time.perf_counter()
        self._socket.sendall(head)
        received = b""
        while not _is_whole(received, method):
            block = self._socket.recv(_BLOCK_SIZE)
            if not block:
                raise RuntimeError(f"the connection ended after {received[:100]!r}")
            received += block
            if self._acknowledges:
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        took = time.perf_counter() - began
        if not received.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(received[:500].decode("latin-1"))
        return took

    def close(self) -> None:
        """
        Close the connection.
        """
        self._socket.close()


def _is_whole(received: bytes, method: str) -> bool:
    head, end, body = received.partition(b"\r\n\r\n")
    if not end or method == "HEAD":
        return bool(end)
    lower = head.lower()
    if b"\r\ntransfer-encoding: chunked" in lower:
        return body.endswith(b"0\r\n\r\n")
    return len(body) >= int(lower.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])


@contextmanager
def _rgw(directory: Path) -> Iterator[tuple[Endpoint, Endpoint]]:
    rgw.install()
    gateway = rgw.Gateway(directory, CA())
    try:
        gateway.start()
        proxy_directory = directory / "proxy"
        proxy_directory.mkdir()
        with Processes(proxy_directory) as processes:
            through = processes.start_proxy(gateway.port, rgw.KEY_ID, rgw.SECRET, 'profile = "ceph-rgw"')
            yield Endpoint(gateway.port, rgw.KEY_ID, rgw.SECRET), through
    finally:
        gateway.stop()


@contextmanager
def _versitygw(directory: Path) -> Iterator[tuple[Endpoint, Endpoint]]:
    with versitygw(directory, "--keep-alive") as storage:
        assert storage.straight is not None
        yield storage.straight, storage.through


STORAGES = {"rgw": _rgw, "versitygw": _versitygw}


def measure(name: str, directory: Path, count: int, note: Callable[[str], None]) -> list[Times]:
    """
    Return the times for one storage system.

    Args:
        count: Requests of each kind on each way. The ways take turns.
    """
    found = []
    with STORAGES[name](directory) as (straight, through):
        straight.ask("PUT", f"/{BUCKET}")
        for number in range(20):
            straight.ask("PUT", f"/{BUCKET}/key-{number}", b"x")
        straight.ask("PUT", f"/{BUCKET}/small", bytes(KIB))
        clients = {
            "straight": Client(straight),
            "straight, quick ACK": Client(straight, acknowledges=True),
            "s3proxy": Client(through),
        }
        for request, (method, target) in REQUESTS.items():
            note(f"{name}: {request}")
            seconds: dict[str, list[float]] = {way: [] for way in clients}
            for turn in range(count + 10):
                for way, client in clients.items():
                    took = client.seconds(method, target)
                    if turn >= 10:
                        seconds[way].append(took)
            for way, each in seconds.items():
                p99 = statistics.quantiles(each, n=100)[98]
                found.append(Times(name, way, request, statistics.median(each) * 1000, p99 * 1000))
        for client in clients.values():
            client.close()
    return found


def add_options(parser: argparse.ArgumentParser) -> None:
    """
    Add this subcommand's options.
    """
    parser.add_argument("--storages", default=",".join(STORAGES), help=f"of {', '.join(STORAGES)} (default: all)")
    parser.add_argument("--count", type=int, default=400, help="requests of each kind on each way (default: 400)")
    parser.add_argument("--output", type=Path, help="a JSON file for the times")
    parser.set_defaults(function=run)


def run(options: argparse.Namespace) -> int:
    """
    Measure, and print the times.
    """
    found: list[Times] = []
    for name in options.storages.split(","):
        with tempfile.TemporaryDirectory() as directory:
            found += measure(name, Path(directory), options.count, lambda text: print(text, file=sys.stderr))
    rows = [[each.storage, each.request, each.way, f"{each.p50:.2f}", f"{each.p99:.2f}"] for each in found]
    print(text_table([["storage", "request", "way", "p50 ms", "p99 ms"], *rows]))
    if options.output is not None:
        options.output.write_text(json.dumps([asdict(each) for each in found], indent=1))
    return 0
