"""
Several processes on the same sockets, and changes to them under load: no request fails.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import pytest_twisted

from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from tests.support.daemon import BODY, LONG, Daemon, twistd_arguments
from tests.support.harness import turns, until
from tests.support.processes import established_count, free_port, running, until_listening
from tests.support.signer import SIGNED_CHUNKS, Signer
from tests.support.socket_client import SocketClient
from tests.support.workers import Change, Load, Parts, Supervised, change_under_load, children, hangup, log_of, replace


@pytest_twisted.ensureDeferred
async def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    """
    SIGKILL of a worker: another takes its place, its counters stay in the sum, and the daemon continues to serve.
    """
    supervised = Supervised(tmp_path)
    daemon = supervised.daemon
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        before = children(process)
        for _ in range(10):
            assert b"200 OK" in await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
        await supervised.until_page("metrics", lambda status, text: 'code="",method="GET"' in text and "} 10.0" in text)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await supervised.until_page("metrics", lambda status, text: "s3proxy_worker_deaths_total 2.0" in text)
        await supervised.until_ready(process)
        after = children(process)
        served = await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
        await supervised.until_page("metrics", lambda status, text: 'place="AuthHeader"' in text and "} 11.0" in text)
        counted = await supervised.metric("s3proxy_requests_total", status="200")
    await daemon.close()

    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    assert b"200 OK" in served
    assert counted == 11
    assert [pid for pid in after if Path(f"/proc/{pid}").exists()] == [], "a worker has outlived its supervisor"


def small_upload(signer: Signer) -> Parts:
    """
    Return an upload that pauses while the daemon changes.
    """
    upload = signer.put("/test-bucket/large", BODY, SIGNED_CHUNKS)
    return ([upload.head, upload.body[:300_000]], [], [upload.body[300_000:]])


@pytest.mark.parametrize(
    ("workers", "change"), [(1, hangup), (2, hangup), (2, replace)], ids=["reload-1", "reload-2", "restart-2"]
)
@pytest_twisted.ensureDeferred
async def test_a_change_under_load(tmp_path: Path, workers: int, change: Change) -> None:
    """
    No request of 32 connections fails, and a running upload succeeds.
    """
    load, supervised, client = await change_under_load(tmp_path, workers, [change], small_upload)

    assert set(load.ledger) == {"200"}
    assert client.status == 200
    assert "Traceback" not in log_of(tmp_path)
    large = [request for request in supervised.daemon.backend.requests if b"/large" in request.raw_head]
    assert [request.size for request in large] == [len(BODY)]


@pytest_twisted.ensureDeferred
async def test_a_wrong_configuration_changes_nothing(tmp_path: Path) -> None:
    """
    The error is logged with its file and its place; the same workers continue to serve.
    """
    supervised = Supervised(tmp_path)
    daemon = supervised.daemon
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        before = children(process)
        former = daemon.configuration.read_text()
        daemon.configuration.write_text(former.replace("[log]", "[log]\ncolour = 1"))
        process.send_signal(signal.SIGHUP)
        place = f"{daemon.configuration}: log.colour"
        await until(lambda: f"reload failed, keeping the old configuration: {place}" in log_of(tmp_path), LONG)
        process.send_signal(signal.SIGUSR2)
        await until(lambda: f"restart failed: {place}" in log_of(tmp_path), LONG)
        after = children(process)
        served = await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
    await daemon.close()

    assert before == after
    assert b"200 OK" in served


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_reload_moves_the_listener(tmp_path: Path, workers: int) -> None:
    """
    The daemon listens on the new address, and no longer on the former; other options take effect at once.
    """
    supervised = Supervised(tmp_path, workers)
    daemon = supervised.daemon
    former, port = daemon.port, free_port()
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        text = daemon.configuration.read_text().replace(f"tcp:{former}:", f"tcp:{port}:")
        daemon.configuration.write_text(text.replace("[server]", '[server]\nregion = "eu-north-1"'))
        process.send_signal(signal.SIGHUP)
        await until_listening(port, process)
        daemon.port = port
        await until(lambda: "eu-north-1" in daemon.configuration.read_text())
        refused = await daemon.ask(daemon.signer().head("GET", "/b/k")[0])
        await until(lambda: not is_open(former), LONG)
    await daemon.close()

    assert b"AuthorizationHeaderMalformed" in refused
    assert b"<Region>eu-north-1</Region>" in refused


def is_open(port: int) -> bool:
    """
    Return True if a process listens on a port.
    """
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_sockets_of_systemd(tmp_path: Path, workers: int) -> None:
    """
    A socket with another owner survives the daemon: clients wait in it for the next daemon, and none is refused.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=128) as owned:
        supervised = Supervised(tmp_path, workers)
        daemon = supervised.daemon
        daemon.port = owned.getsockname()[1]
        text = daemon.configuration.read_text()
        start = text.index('listen = ["') + len('listen = ["')
        text = text[:start] + "systemd:domain=INET:index=0" + text[text.index('"]', start) :]
        daemon.configuration.write_text(text)
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); sys.argv[:2] = ['twistd'];"
            "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='s3', LISTEN_PID=str(os.getpid()));"
            "from twisted.scripts.twistd import run; run()"
        )
        arguments = ["-c", code, str(owned.fileno()), *twistd_arguments(daemon.configuration)[2:]]
        responses = []
        load = Load(daemon.port, daemon.signer(), 8)
        for number in (1, 2):
            with running(arguments, tmp_path, pass_fds=(owned.fileno(),)) as process:
                await until(lambda number=number: sum(load.ledger.values()) > 100 * number, LONG)
                process.terminate()
                while process.poll() is None:
                    await turns(20)
        with running(arguments, tmp_path, pass_fds=(owned.fileno(),)) as process:
            await load.end()
            responses.append(await daemon.ask(daemon.signer().head("GET", "/b/k")[0]))
        await daemon.close()

    assert set(load.ledger) == {"200"}
    assert b"200 OK" in responses[0]


@pytest_twisted.ensureDeferred
async def test_a_port_in_use_fails_the_start(tmp_path: Path) -> None:
    """
    The supervisor exits with an error instead of starting workers that serve nothing.
    """
    with socket.create_server(("127.0.0.1", 0)) as taken:
        daemon = Supervised(tmp_path).daemon
        text = daemon.configuration.read_text().replace(f"tcp:{daemon.port}:", f"tcp:{taken.getsockname()[1]}:")
        daemon.configuration.write_text(text)
        ran = subprocess.run(
            [sys.executable, *twistd_arguments(daemon.configuration)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
        await daemon.close()

    assert ran.returncode != 0
    assert "cannot listen" in ran.stdout + ran.stderr
    assert "Traceback" not in ran.stdout + ran.stderr


@pytest_twisted.ensureDeferred
async def test_connections_are_spread(tmp_path: Path) -> None:
    """
    Each of four processes gets its share of 400 simultaneous connections, within a fifth; also after one was replaced.
    """
    supervised = Supervised(tmp_path, 4)
    daemon = supervised.daemon
    spreads = []
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        for number in range(2):
            clients = [SocketClient(daemon.port) for _ in range(400)]
            daemon.clients += clients
            counts: list[int] = []

            def is_accepted(counts: list[int] = counts) -> bool:
                counts[:] = [established_count(pid, daemon.port) for pid in children(process)]
                return sum(counts) == 400

            await until(is_accepted)
            spreads.append(counts)
            for client in clients:
                client.close()
            if number == 0:
                os.kill(children(process)[0], signal.SIGKILL)
                await supervised.until_page("metrics", lambda status, text: "s3proxy_worker_deaths_total 1.0" in text)
                await supervised.until_ready(process)
    await daemon.close()

    assert [len(counts) for counts in spreads] == [4, 4]
    assert all(80 <= count <= 120 for counts in spreads for count in counts), spreads


@pytest.mark.parametrize("workers", [1, 2])
@pytest_twisted.ensureDeferred
async def test_the_last_requests_of_a_drain_are_logged(tmp_path: Path, workers: int) -> None:
    """
    A request that ends together with the drain has its line in the log: its client has read 200.
    """
    supervised = Supervised(tmp_path, workers)
    daemon = supervised.daemon
    upload = daemon.signer().put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    clients = []
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        for number in range(2):
            client = SocketClient(daemon.port)
            clients.append(client)
            daemon.clients.append(client)
            client.put(upload.head + upload.body[:300_000])
            await until(lambda client=client, number=number: client.pump() or begun(daemon) > number, LONG)
        process.send_signal(signal.SIGTERM)
        await until(lambda: log_of(tmp_path).count("draining: ") == workers, LONG)
        for client in clients:
            client.put(upload.body[300_000:])
        await until(lambda: [client.pump() for client in clients] and all(client.status for client in clients), LONG)
        await until(lambda: process.poll() is not None, LONG)
    await daemon.close()

    assert [client.status for client in clients] == [200, 200]
    assert (tmp_path / "access.log").read_text().count('REST.PUT.OBJECT key "PUT /test-bucket/key HTTP/1.1" 200') == 2


def respond_and_close(connection: FaultyConnection, request: ReceivedRequest) -> None:
    """
    Respond as a backend that closes its connections.
    """
    connection.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")


def begun(daemon: Daemon) -> int:
    """
    Return the number of requests that have reached the backend with some of their body.
    """
    return sum(1 for connection in daemon.backend.connections if connection.size)


@pytest_twisted.ensureDeferred
async def test_requests_which_end_in_a_replaced_worker_are_counted(tmp_path: Path) -> None:
    """
    What a worker does between its last regular report and its end is also in the sum.
    """
    supervised = Supervised(tmp_path)
    daemon = supervised.daemon
    # The backend keeps no connection open, so the worker ends in the reactor turn of its last report.
    daemon.backend.on_request = respond_and_close
    upload = daemon.signer().put("/test-bucket/key", BODY, SIGNED_CHUNKS)
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        former = set(children(process))
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        client.put(upload.head + upload.body[:300_000])
        await until(lambda: client.pump() or begun(daemon), LONG)
        process.send_signal(signal.SIGHUP)
        await until(lambda: log_of(tmp_path).count("workers are serving") == 2, LONG)
        await until(lambda: len(former & set(children(process))) == 1, LONG)
        client.put(upload.body[300_000:])
        await until(lambda: client.pump() or client.status, LONG)
        await until(lambda: not former & set(children(process)), LONG)
        await supervised.until_page("metrics", lambda status, text: 's3proxy_workers{state="leaving"} 0.0' in text)
        counted = await supervised.metric("s3proxy_requests_total", method="PUT", status="200")
    await daemon.close()

    assert client.status == 200
    assert counted == 1
