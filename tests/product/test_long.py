"""
Tests that take minutes: slow, large and stalled uploads, idle connections, and changes to the daemon under load.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import resource
import ssl
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import pytest_twisted
from trustme import CA
from twisted.internet import reactor
from twisted.internet.interfaces import IDelayedCall

from s3proxy.s3.head import RequestHead
from s3proxy.testing.faulty_backend import FaultyConnection
from s3proxy.transport.splice import MAX_PIPES, PIPE_SIZE
from s3proxy.transport.writer import DEFAULT_SOCKET_BUFFER, FIRST_READ_SIZE
from tests.oracle.tap import ENVIRONMENT
from tests.support.daemon import LONG, Daemon, twistd_arguments
from tests.support.harness import turns, until
from tests.support.processes import peak_memory, running, until_listening
from tests.support.signer import EMPTY, HASH, SIGNED_CHUNKS, UNSIGNED, Signer
from tests.support.socket_client import SocketClient
from tests.support.workers import Supervised, change_under_load, children, hangup, log_of, replace

pytestmark = pytest.mark.long

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = bytes(range(256)) * 256
DIGEST = hashlib.sha256(CHUNK).hexdigest()
PIECE = CHUNK * 16


def current_memory(pid: int) -> int:
    """
    Return the bytes of memory that a process uses (VmRSS, proc(5)).
    """
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * KIB


def kernel_memory(port: int, *, is_local: bool) -> int:
    """
    Return the bytes in the kernel's queues of a port's connections, as ss(8) reports them.
    """
    side = "sport" if is_local else "dport"
    text = subprocess.run(["ss", "-tmnH", f"{side} = :{port}"], capture_output=True, text=True, check=True).stdout
    return sum(int(r) + int(w) for r, w in re.findall(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f\d+,w(\d+)", text))


def head_of(signer: Signer, key: str, size: int, chunk_size: int) -> tuple[bytes, str]:
    """
    Sign the head of a chunk-signed upload of ``size`` bytes.
    """
    count = size // chunk_size
    length = count * (len(f"{chunk_size:x};chunk-signature=") + 64 + 2 + chunk_size + 2)
    length += len("0;chunk-signature=") + 64 + 4
    headers = {"x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked"}
    unsigned = {"Content-Length": str(length)}
    return signer.head("PUT", f"/test-bucket/{key}", headers, payload=SIGNED_CHUNKS, unsigned=unsigned)


@pytest_twisted.ensureDeferred
async def test_four_gibibytes_through_a_slow_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A backend at 20 MB/s: the client is paced, memory stays within what one exchange may have, every byte arrives.
    """
    # The oracle that watches each process keeps bytes of its own, which would be measured, too.
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    rate, size = 20_000_000, 4 * GIB
    daemon = Daemon(tmp_path)
    daemon.backend.keeps_bodies = False
    began = time.monotonic()
    resuming: list[IDelayedCall] = []

    def slow(connection: FaultyConnection) -> None:
        original = connection.dataReceived

        def received(data: bytes) -> None:
            original(data)
            ahead = connection.received_size / rate - (time.monotonic() - began)
            if ahead > 0.02:
                connection.pause()
                resuming.append(reactor.callLater(ahead, connection.resume))

        connection.dataReceived = received  # type: ignore[method-assign]

    daemon.backend.on_connection = slow
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        signer = daemon.signer()
        client = SocketClient(daemon.port, 512 * KIB)
        daemon.clients.append(client)
        head, signature = head_of(signer, "large", size, len(CHUNK))
        client.put(head)
        before, told = peak_memory(process.pid), 0.0
        count = size // len(CHUNK)
        for number in range(count + 1):
            signature = signer.sign_chunk(DIGEST if number < count else EMPTY, signature)
            data = CHUNK if number < count else b""
            client.put(f"{len(data):x};chunk-signature={signature}\r\n".encode() + data + b"\r\n")
            while client.pending > 2 * MIB or (number == count and not client.status):
                client.pump()
                assert client.end is None, client.received
                await turns()
            if time.monotonic() - told > 10:
                told = time.monotonic()
                print(f"\n  {number * len(CHUNK) // MIB} of {size // MIB} MiB, "
                      f"{current_memory(process.pid) // MIB} MiB in memory", end="", flush=True)  # fmt: skip
        lasted = time.monotonic() - began
        grown = peak_memory(process.pid) - before
    await daemon.close()
    # The last bytes may have come while the backend was still paused.
    for call in resuming:
        if call.active():
            call.cancel()

    hashed = hashlib.sha256()
    for _ in range(count):
        hashed.update(CHUNK)
    print(f"\n  {size / lasted / 1e6:.1f} MB/s, memory {grown / KIB:+.0f} KiB")
    assert client.status == 200
    assert daemon.backend.requests[0].sha256 == hashed.hexdigest()
    assert size / lasted < rate * 1.1
    assert grown < 4 * MIB


@pytest_twisted.ensureDeferred
async def test_one_chunk_of_a_gibibyte(tmp_path: Path) -> None:
    """
    One chunk of 1 GiB costs no more memory than many of 64 KiB.
    """
    grown = {}
    for name, chunk_size in (("many", len(CHUNK)), ("one", GIB)):
        directory = tmp_path / name
        directory.mkdir()
        daemon = Daemon(directory)
        daemon.backend.keeps_bodies = False
        hashed = hashlib.sha256()
        for _ in range(GIB // len(CHUNK)):
            hashed.update(CHUNK)
        with running(twistd_arguments(daemon.configuration), directory) as process:
            await until_listening(daemon.port, process)
            signer = daemon.signer()
            client = SocketClient(daemon.port, 512 * KIB)
            daemon.clients.append(client)
            head, signature = head_of(signer, name, GIB, chunk_size)
            client.put(head)
            before = peak_memory(process.pid)
            digest = DIGEST if chunk_size == len(CHUNK) else hashed.hexdigest()
            for _ in range(GIB // chunk_size):
                signature = signer.sign_chunk(digest, signature)
                client.put(f"{chunk_size:x};chunk-signature={signature}\r\n".encode())
                for _ in range(chunk_size // len(CHUNK)):
                    client.put(CHUNK)
                    while client.pending > 2 * MIB:
                        client.pump()
                        assert client.end is None, client.received
                        await turns()
                client.put(b"\r\n")
            signature = signer.sign_chunk(EMPTY, signature)
            client.put(f"0;chunk-signature={signature}\r\n\r\n".encode())
            await until(lambda client=client: client.pump() or client.status)
            grown[name] = peak_memory(process.pid) - before
        await daemon.close()
        assert client.status == 200
        assert daemon.backend.requests[0].sha256 == hashed.hexdigest()

    print(f"\n  memory: many chunks {grown['many'] / KIB:+.0f} KiB, one chunk {grown['one'] / KIB:+.0f} KiB")
    assert grown["one"] < grown["many"] + 1 * MIB


def raise_file_limit(wanted: int) -> None:
    """
    Allow this process, and the daemon that it starts, this many file descriptors.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert most >= wanted, f"this needs a hard limit of {wanted} file descriptors (RLIMIT_NOFILE), not {most}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


class StalledUploads:
    """
    Clients whose uploads the backend has stopped reading, and one that is still served.

    Args:
        mode: How the clients' bodies are signed: not at all, or as one chunk of the whole body.
        buffer: Bytes of the daemon's kernel buffers, and of its clients'.
        fast_size: Bytes after which the backend stops reading the uploads that it reads quickly at first.
        tls: Whether clients use TLS.
    """

    size = 64 * MIB

    def __init__(self, directory: Path, mode: str, buffer: int, fast_size: int, *, tls: bool = False) -> None:
        self.supervised = Supervised(
            directory,
            workers=1,
            more=f"[limits]\nsocket_buffer = {buffer}\n[times]\nidle = 900\ndrain = 0\n",
        )
        self.daemon = daemon = self.supervised.daemon
        self.buffer = buffer
        self.fast_size = fast_size
        self.clients: list[SocketClient] = []
        self._mode = mode
        self._context: ssl.SSLContext | None = None
        if tls:
            server = directory / "listener.pem"
            CA().issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(server)
            text = daemon.configuration.read_text().replace(
                f"tcp:{daemon.port}:", f"ssl:{daemon.port}:privateKey={server}:"
            )
            daemon.configuration.write_text(text)
            self._context = ssl.create_default_context(cafile=str(server))
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        daemon.backend.keeps_bodies = False
        daemon.backend.on_head = self._head_came

    def _head_came(self, connection: FaultyConnection, head: RequestHead) -> None:
        if head.raw_target.endswith(b"/stalled"):
            connection.pause()
        elif head.raw_target.endswith(b"/fast"):
            original = connection.dataReceived

            def received(data: bytes) -> None:
                original(data)
                if connection.received_size >= self.fast_size:
                    connection.pause()

            connection.dataReceived = received  # type: ignore[method-assign]

    async def connect(self) -> SocketClient:
        """
        Open a client's connection.
        """
        client = SocketClient(self.daemon.port, self.buffer)
        self.daemon.clients.append(client)
        if self._context is not None:
            await client.start_tls(self._context)
        return client

    async def stall(self, count: int, key: str = "stalled") -> None:
        """
        Begin ``count`` uploads, and return when the daemon has stopped reading each of them.

        Args:
            key: ``fast`` for those that the backend reads quickly at first.
        """
        # The kernel has a limit for all connections together, and this process holds both ends of the test's.
        self.daemon.backend.socket_buffer = self.buffer if key == "fast" else 16 * KIB
        signer = self.daemon.signer()
        if self._mode == UNSIGNED:
            length = {"Content-Length": str(self.size)}
            head, _ = signer.head("PUT", f"/test-bucket/{key}", payload=UNSIGNED, unsigned=length)
        else:
            head, signature = head_of(signer, key, self.size, self.size)
            head += f"{self.size:x};chunk-signature={signer.sign_chunk(EMPTY, signature)}\r\n".encode()
        while count:
            opened = [await self.connect() for _ in range(min(count, 50))]
            count -= len(opened)
            self.clients += opened
            for client in opened:
                client.put(head)
            # Small windows sometimes wait for the kernel's timer: an upload has stopped if nothing changes for a while.
            calm, last = 0, -1
            while calm < 10:
                for _ in range(20):
                    for client in opened:
                        if client.pending < MIB:
                            client.put(PIECE)
                        client.pump()
                        assert client.end is None, client.received
                    await turns()
                sent = sum(client.sent for client in opened)
                calm = calm + 1 if sent == last and await self._holds_all() else 0
                last = sent
        if key == "fast":
            assert sum(client.sent >= self.fast_size for client in self.clients) > len(self.clients) / 2

    async def _holds_all(self) -> bool:
        held = await self.supervised.metric("s3proxy_held_clients", reason="backend")
        return held == len(self.clients)

    async def serve_another(self) -> list[int]:
        """
        Let one more client send three requests, and return the statuses.
        """
        self.daemon.backend.socket_buffer = self.buffer
        client, signer, statuses = await self.connect(), self.daemon.signer(), []
        small = signer.put("/test-bucket/key", b"hello" * 1000, HASH)
        streamed = signer.put("/test-bucket/key", PIECE, SIGNED_CHUNKS)
        for data, end in (
            (signer.head("GET", "/test-bucket/key")[0], b"hello"),
            (small.head + small.body, b"\r\n\r\n"),
            (streamed.head + streamed.body, b"\r\n\r\n"),
        ):
            client.received = b""
            client.put(data)
            await until(lambda end=end: client.pump() or client.end or client.received.endswith(end), LONG)
            statuses.append(client.status)
        return statuses

    def kernel_memory(self) -> int:
        """
        Return the bytes that the kernel holds for the daemon's connections, both sides.
        """
        backend_port = self.daemon.backend_port.getHost().port
        return kernel_memory(self.daemon.port, is_local=True) + kernel_memory(backend_port, is_local=False)


@pytest.mark.parametrize(("tls", "bound"), [(False, 160 * KIB), (True, 320 * KIB)], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", [UNSIGNED, SIGNED_CHUNKS], ids=["unsigned", "one-signed-chunk"])
@pytest_twisted.ensureDeferred
async def test_stalled_uploads(tmp_path: Path, mode: str, tls: bool, bound: int) -> None:
    """
    1,000 uploads whose backend has stopped, 50 of them after 4 fast MiB: each costs at most 160 KiB of process memory,
    320 KiB with TLS. The kernel's share is bounded, and a 1,001st client is served.
    """
    count, fast_count = 1000, 50
    raise_file_limit(2 * count + 1000)
    stalled = StalledUploads(tmp_path, mode, 128 * KIB, 4 * MIB, tls=tls)
    with running(twistd_arguments(stalled.daemon.configuration), tmp_path) as process:
        await stalled.supervised.until_ready(process)
        assert await stalled.serve_another() == [200, 200, 200]
        before = current_memory(process.pid)
        await stalled.stall(fast_count, "fast")
        fast_grown = current_memory(process.pid) - before
        await stalled.stall(count - fast_count)
        grown = current_memory(process.pid) - before
        statuses = await stalled.serve_another()
        still_held = await stalled.supervised.metric("s3proxy_held_clients", reason="backend")
        in_flight = await stalled.supervised.metric("s3proxy_bytes_in_flight")
        kernel = stalled.kernel_memory()
    await stalled.daemon.close()

    each, fast_each = grown / count, fast_grown / fast_count
    print(
        f"\n  {'TLS' if tls else 'plain'}, {mode}: {each / KIB:.0f} KiB of process memory each"
        f" ({fast_each / KIB:.0f} KiB after 4 fast MiB), {in_flight / count / KIB:.0f} KiB of it bytes of the body;"
        f" {kernel / count / KIB:.0f} KiB of the kernel's"
    )
    assert still_held == count
    assert statuses == [200, 200, 200]
    assert each <= bound
    assert fast_each <= bound
    # Two sockets, each with a receive and a send buffer; the kernel doubles the requested size.
    assert kernel / count <= 2 * 2 * 2 * stalled.buffer


@pytest.mark.parametrize("mode", [UNSIGNED, SIGNED_CHUNKS], ids=["unsigned", "one-signed-chunk"])
@pytest_twisted.ensureDeferred
async def test_fast_uploads_which_stall(tmp_path: Path, mode: str) -> None:
    """
    Kernel buffers of the default size, so that blocks grow to what they accept at once. After 32 MiB the backend stops,
    and each upload costs no more than one that was never fast.
    """
    count = 100
    stalled = StalledUploads(tmp_path, mode, DEFAULT_SOCKET_BUFFER, 32 * MIB)
    with running(twistd_arguments(stalled.daemon.configuration), tmp_path) as process:
        await stalled.supervised.until_ready(process)
        assert await stalled.serve_another() == [200, 200, 200]
        before = current_memory(process.pid)
        await stalled.stall(count, "fast")
        grown = current_memory(process.pid) - before
        in_flight = await stalled.supervised.metric("s3proxy_bytes_in_flight")
        kernel = stalled.kernel_memory()
    await stalled.daemon.close()

    print(
        f"\n  fast, then stalled, {mode}: {grown / count / KIB:.0f} KiB of process memory each,"
        f" {in_flight / count / KIB:.0f} KiB of it bytes of the body; {kernel / count / KIB:.0f} KiB of the kernel's"
    )
    assert grown / count <= 160 * KIB
    # Spliced bytes are in the kernel's pipes, whose number is limited.
    piped = MAX_PIPES * PIPE_SIZE if mode == UNSIGNED else 0
    assert 0 < in_flight <= count * FIRST_READ_SIZE + piped
    assert kernel / count <= 2 * 2 * 2 * stalled.buffer


@pytest_twisted.ensureDeferred
async def test_idle_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    10,000 connections that got one response and wait for their next request cost one process with its default limits at
    most 4.5 KiB of memory each, and are still served.
    """
    # The oracle that watches each process keeps bytes of its own, which would be measured, too.
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    count, step, sample = 10_000, 100, 200
    raise_file_limit(15_000)
    supervised = Supervised(tmp_path, 1, more="[times]\nkeep_alive = 3600\n")
    daemon = supervised.daemon
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        assert children(process) == []
        get = daemon.signer().head("GET", "/test-bucket/key")[0]

        async def ask(clients: Sequence[SocketClient]) -> None:
            for client in clients:
                client.received = b""
                client.put(get)
            await until(lambda: all(client.pump() or client.received.endswith(b"hello") for client in clients), LONG)
            assert {client.status for client in clients} == {200}

        async def connect(number: int) -> list[SocketClient]:
            clients = [SocketClient(daemon.port, 4 * KIB) for _ in range(number)]
            daemon.clients += clients
            await ask(clients)
            return clients

        # Do not count what the daemon creates once: its pool, its tables, its first page of metrics.
        warm = await connect(2 * step)
        before = current_memory(process.pid)
        clients = []
        for _ in range(count // step):
            clients += await connect(step)
        grown = current_memory(process.pid) - before
        await supervised.until_page("metrics", lambda status, text: connections_of(text) == count + len(warm))
        await ask(clients[:: count // sample])
    await daemon.close()

    print(f"\n  {count} idle connections: {grown / count / KIB:.1f} KiB of process memory each")
    assert len(clients) == count
    assert [client.end for client in clients if client.end != "closed"] == []
    assert grown / count <= 4.5 * KIB


def connections_of(metrics: str) -> int:
    """
    Return the number of clients' connections.
    """
    return sum(int(float(value)) for value in re.findall(r"^s3proxy_client_connections ([\d.]+)$", metrics, re.M))


LARGE_SIZE = 2 * GIB


def large_upload(signer: Signer) -> list[Iterable[bytes]]:
    """
    Return a chunk-signed upload of 2 GiB: a quarter before the changes, one during each of two, one after them.
    """

    def pieces() -> Iterator[bytes]:
        head, signature = head_of(signer, "large", LARGE_SIZE, len(CHUNK))
        yield head
        for _ in range(LARGE_SIZE // len(CHUNK)):
            signature = signer.sign_chunk(DIGEST, signature)
            yield f"{len(CHUNK):x};chunk-signature={signature}\r\n".encode() + CHUNK + b"\r\n"
        yield f"0;chunk-signature={signer.sign_chunk(EMPTY, signature)}\r\n\r\n".encode()

    data, quarter = pieces(), LARGE_SIZE // len(CHUNK) // 4
    return [*(itertools.islice(data, quarter) for _ in range(3)), data]


@pytest_twisted.ensureDeferred
async def test_a_large_upload_through_changes(tmp_path: Path) -> None:
    """
    `kill -HUP` and a restart under load of 32 connections: no request fails, and a running upload of 2 GiB survives.
    """
    began = time.monotonic()
    load, supervised, client = await change_under_load(tmp_path, 2, [hangup, replace], large_upload)
    lasted = time.monotonic() - began

    hashed = hashlib.sha256()
    for _ in range(LARGE_SIZE // len(CHUNK)):
        hashed.update(CHUNK)
    large = [request for request in supervised.daemon.backend.requests if b"/large" in request.raw_head]
    served = sum(load.ledger.values())
    failed = served - load.ledger["200"]
    print(f"\n  2 GiB through two reloads and a restart in {lasted:.0f} s; {served} other requests, {failed} failed")
    assert set(load.ledger) == {"200"}
    assert client.status == 200
    assert [(request.size, request.sha256) for request in large] == [(LARGE_SIZE, hashed.hexdigest())]
    assert "Traceback" not in log_of(tmp_path)
