"""
CPU seconds per GiB and microseconds per request of s3proxy, beside nginx which only relays, from one run.

What is counted is the CPU time of the process between (user and system, proc(5)); whole-clock time is not, because
machines are noisy. Each load is run several times, both in turn, and the least is told, with the spread.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from bench.peers import SMALL, Client
from tests.processes import free_port
from tests.signer import HASH, SIGNED_CHUNKS, UNSIGNED, UNSIGNED_TRAILER, Signer

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TICKS = os.sysconf("SC_CLK_TCK")

NGINX = """
worker_processes 1;
daemon off;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_buffer_size 256k;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 1000000;
    upstream backend {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_buffer_size 256k;
            proxy_buffers 4 256k;
            proxy_busy_buffers_size 256k;
        }}
    }}
}}
"""

S3PROXY = """
[server]
listen = ["tcp:{port}:interface=127.0.0.1"]
[[backend]]
name = "sink"
url = "http://127.0.0.1:{backend}"
access_key_id = "BENCH"
secret_access_key = "bench-secret"
[credentials]
source = "file:keys.toml"
[log]
access = "{directory}/access.log"
"""


def cpu_seconds(pid: int) -> float:
    """
    Return the CPU seconds of a process and those below it.
    """
    total, children = 0, [pid]
    while children:
        one = children.pop()
        fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
        for task in Path(f"/proc/{one}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return total / TICKS


@contextmanager
def running(command: list[str], port: int, directory: Path) -> Iterator[int]:
    """
    Run a process until it listens; give its id.
    """
    with (directory / "process.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        for _ in range(400):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit((directory / "process.log").read_text())
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(60)


class Load:
    """
    One kind of request.

    Args:
        unit: ``GiB`` or ``request``.
        amount: How many units one run of ``send`` makes.
    """

    def __init__(self, name: str, unit: str, amount: float, send: Callable[[int], None]) -> None:
        self.name = name
        self.unit = unit
        self.amount = amount
        self.send = send
        self.costs: dict[str, list[float]] = {}

    def measure(self, party: str, port: int, pid: int) -> None:
        """
        Run once; keep CPU seconds for one unit.
        """
        before = cpu_seconds(pid)
        self.send(port)
        self.costs.setdefault(party, []).append((cpu_seconds(pid) - before) / self.amount)

    def tell(self) -> str:
        """
        Return the line of the table.
        """
        scale, unit = (1.0, "s/GiB") if self.unit == "GiB" else (1e6, "µs/request")
        cells = []
        for party in ("nginx", "s3proxy"):
            costs = self.costs.get(party)
            cells.append("-" if costs is None else f"{min(costs) * scale:8.3f} (to {max(costs) * scale:.3f})")
        ratio = ""
        if len(self.costs) == 2 and min(self.costs["nginx"]):
            ratio = f"{min(self.costs['s3proxy']) / min(self.costs['nginx']):.2f}"
        return f"{self.name:32} {cells[0]:26} {cells[1]:26} {ratio:>6}   {unit}"


def puts(signer: Signer, mode: str, size: int, chunk: int, count: int) -> Callable[[int], None]:
    """
    Return what sends the same PUT again and again on one connection.
    """
    made = signer.put("/bench/large", bytes(size), mode, chunk_size=chunk)

    def send(port: int) -> None:
        client = Client(port)
        for _ in range(count):
            client.ask(made.head, made.body)
        client.close()

    return send


def gets(signer: Signer, size: int, count: int) -> Callable[[int], None]:
    """
    Return what gets the same large object again and again.
    """
    head, _ = signer.head("GET", f"/bench/large-{size}")

    def send(port: int) -> None:
        client = Client(port)
        for _ in range(count):
            client.ask(head)
        client.close()

    return send


def small(signer: Signer, method: str, count: int, connections: int) -> Callable[[int], None]:
    """
    Return what sends small requests on several connections.
    """
    made = signer.put("/bench/small", SMALL, HASH)
    head, body = (made.head, made.body) if method == "PUT" else (signer.head(method, "/bench/small")[0], b"")

    def one(port: int) -> None:
        client = Client(port)
        for _ in range(count // connections):
            client.ask(head, body, is_head=method == "HEAD")
        client.close()

    def send(port: int) -> None:
        threads = [threading.Thread(target=one, args=(port,)) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    return send


def sha256_cost(size: int) -> float:
    """
    Return the CPU seconds of SHA-256 over one GiB, in blocks of 64 KiB.
    """
    block = bytes(64 * KIB)
    before = time.process_time()
    for _ in range(size // len(block)):
        hashlib.sha256(block).digest()
    return (time.process_time() - before) * GIB / size


def find_nginx() -> str:
    """
    Return nginx, installed from Debian's packages where it is not there.
    """
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        subprocess.run(["apt-get", "install", "-q", "-y", "--no-install-recommends", "nginx-light"], check=True)
        found = shutil.which("nginx", path="/usr/sbin:/usr/bin")
    assert found is not None
    return found


def main() -> int:
    """
    Measure and print.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each load; the least is told")
    parser.add_argument("--gibibytes", type=float, default=1.0, help="of each large load in each run")
    parser.add_argument("--requests", type=int, default=8000, help="of each small load in each run")
    parser.add_argument("--only", default="", help="loads whose name holds this")
    options = parser.parse_args()
    nginx = find_nginx()
    directory = Path(tempfile.mkdtemp(prefix="s3proxy-bench-"))
    backend, nginx_port, proxy_port = free_port(), free_port(), free_port()
    signer = Signer(now=datetime.now(UTC))
    (directory / "nginx.conf").write_text(NGINX.format(directory=directory, backend=backend, port=nginx_port))
    (directory / "s3proxy.toml").write_text(S3PROXY.format(directory=directory, backend=backend, port=proxy_port))
    (directory / "keys.toml").write_text(
        f'[[key]]\naccess_key_id = "{signer.access_key_id}"\nsecret_access_key = "{signer.secret}"\n'
    )
    (directory / "bench").mkdir()
    size = 128 * MIB
    count = max(1, round(options.gibibytes * GIB / size))
    amount = count * size / GIB
    requests = options.requests
    print("making bodies", flush=True)
    loads = [
        Load("PUT, not hashed", "GiB", amount, puts(signer, UNSIGNED, size, 0, count)),
        Load("GET", "GiB", amount, gets(signer, size, count)),
        Load("PUT, SHA-256", "GiB", amount, puts(signer, HASH, size, 0, count)),
        Load("PUT, signed chunks of 64 KiB", "GiB", amount, puts(signer, SIGNED_CHUNKS, size, 64 * KIB, count)),
        Load("PUT, signed chunks of 8 KiB", "GiB", amount, puts(signer, SIGNED_CHUNKS, size, 8 * KIB, count)),
        Load("PUT, unsigned trailer, crc32", "GiB", amount, puts(signer, UNSIGNED_TRAILER, size, 64 * KIB, count)),
        Load("GET, 1 KiB", "request", requests, small(signer, "GET", requests, 8)),
        Load("HEAD", "request", requests, small(signer, "HEAD", requests, 8)),
        Load("PUT, 1 KiB", "request", requests, small(signer, "PUT", requests, 8)),
    ]
    loads = [load for load in loads if options.only in load.name]
    python = sys.executable
    twistd = str(Path(python).parent / "twistd")
    peers = str(Path(__file__).parent / "peers.py")
    with (
        running([python, peers, str(backend)], backend, directory),
        running([nginx, "-p", str(directory), "-c", str(directory / "nginx.conf")], nginx_port, directory) as nginx_pid,
        running(
            [twistd, "-n", "--pidfile=", "s3proxy", "--config", "s3proxy.toml"], proxy_port, directory
        ) as proxy_pid,
    ):
        for number in range(options.rounds):
            for load in loads:
                print(f"  round {number + 1} of {options.rounds}: {load.name}", flush=True)
                load.measure("nginx", nginx_port, nginx_pid)
                load.measure("s3proxy", proxy_port, proxy_pid)
    print(f"\nCPU time of the process between, least of {options.rounds} (to the most)\n")
    print(f"{'':32} {'nginx, relay only':26} {'s3proxy':26}  ratio")
    for load in loads:
        print(load.tell())
    print(f"\nSHA-256 alone: {sha256_cost(GIB):.3f} s/GiB; access log on; one process each")
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
