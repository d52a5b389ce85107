"""
What takes minutes: memory and kernel buffers of the daemon under slow, large and stalled uploads.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.testing.faulty_backend import FaultyConnection
from tests.harness import turns, until
from tests.processes import peak_memory
from tests.signer import EMPTY, SIGNED_CHUNKS, UNSIGNED, Signer
from tests.socket_client import SocketClient
from tests.test_daemon import Daemon, running, twistd_arguments, until_listening

pytestmark = pytest.mark.long

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK = bytes(range(256)) * 256
DIGEST = hashlib.sha256(CHUNK).hexdigest()


def current_memory(pid: int) -> int:
    """
    Return the bytes which a process has in memory (VmRSS, proc(5)).
    """
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * KIB


def kernel_memory(port: int, *, is_local: bool) -> int:
    """
    Return the bytes in the kernel's queues of a port's connections, as ss(8) tells them.
    """
    side = "sport" if is_local else "dport"
    text = subprocess.run(["ss", "-tmnH", f"{side} = :{port}"], capture_output=True, text=True, check=True).stdout
    return sum(int(r) + int(w) for r, w in re.findall(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f\d+,w(\d+)", text))


def head_of(signer: Signer, key: str, size: int, chunk_size: int) -> tuple[bytes, str]:
    """
    Sign the head of a chunk-signed upload of so many bytes.
    """
    count = size // chunk_size
    length = count * (len(f"{chunk_size:x};chunk-signature=") + 64 + 2 + chunk_size + 2)
    length += len("0;chunk-signature=") + 64 + 4
    headers = {"x-amz-decoded-content-length": str(size), "content-encoding": "aws-chunked"}
    unsigned = {"Content-Length": str(length)}
    return signer.head("PUT", f"/test-bucket/{key}", headers, payload=SIGNED_CHUNKS, unsigned=unsigned)


@pytest_twisted.ensureDeferred
async def test_four_gibibytes_through_a_slow_backend(tmp_path: Path) -> None:
    """
    A backend at 20 MB/s: the client is paced, memory stays within what one exchange may have, every octet arrives.
    """
    rate, size = 20_000_000, 4 * GIB
    daemon = Daemon(tmp_path)
    daemon.backend.keeps_bodies = False
    began = time.monotonic()

    def slow(connection: FaultyConnection) -> None:
        original = connection.dataReceived

        def received(data: bytes) -> None:
            original(data)
            ahead = connection.received_size / rate - (time.monotonic() - began)
            if ahead > 0.02:
                connection.pause()
                reactor.callLater(ahead, connection.resume)

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


@pytest_twisted.ensureDeferred
async def test_stalled_uploads(tmp_path: Path) -> None:
    """
    200 uploads whose backend has stopped: at most 160 KiB of process memory each, and the kernel's share is bounded.
    """
    count, buffer = 200, 128 * KIB
    daemon = Daemon(tmp_path, more=f"[limits]\nsocket_buffer = {buffer}\n")
    daemon.backend.socket_buffer = buffer
    daemon.backend.keeps_bodies = False
    number = daemon.backend_port.getHost().port
    daemon.backend.on_head = lambda connection, head: connection.pause()
    body = CHUNK * 64
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await until_listening(daemon.port, process)
        request = Signer(now=datetime.now(UTC), host=f"127.0.0.1:{daemon.port}").put("/test-bucket/key", body, UNSIGNED)
        warm = SocketClient(daemon.port)
        daemon.clients.append(warm)
        warm.put(request.head + request.body)
        for _ in range(300):
            warm.pump()
            await turns()
        before = current_memory(process.pid)
        clients = [SocketClient(daemon.port, buffer) for _ in range(count)]
        daemon.clients += clients
        for client in clients:
            client.put(request.head + request.body)
        settled, last = 0, -1
        while settled < 200:
            for client in clients:
                client.pump()
            await turns()
            sent = sum(client.sent for client in clients)
            settled = settled + 1 if sent == last else 0
            last = sent
        grown = current_memory(process.pid) - before
        kernel = kernel_memory(daemon.port, is_local=True) + kernel_memory(number, is_local=False)
        each = f"{grown / count / KIB:.0f} KiB of process memory, {kernel / count / KIB:.0f} KiB of the kernel's each"
        print(f"\n  {each}")
    await daemon.close()

    assert last < count * len(body) / 2
    assert grown / count <= 160 * KIB
    # Two sockets, each with what it may receive and send; the kernel doubles what it is asked for.
    assert kernel / count <= 2 * 2 * 2 * buffer
