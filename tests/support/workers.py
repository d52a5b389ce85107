"""
A daemon with several processes, and changes to it under load.
"""

from __future__ import annotations

import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory

from s3proxy.testing.faulty_client import FaultyClient
from tests.support.daemon import BODY, LONG, Daemon, twistd_arguments
from tests.support.harness import turns, until
from tests.support.processes import free_port, running, until_listening
from tests.support.signer import HASH, SIGNED_CHUNKS, Signer
from tests.support.socket_client import SocketClient


class Supervised:
    """
    A daemon of several processes, and its admin endpoint.
    """

    def __init__(self, directory: Path, workers: int = 2, more: str = "") -> None:
        self.admin_port = free_port()
        self.server = f'workers = {workers}\nadmin = "tcp:{self.admin_port}:interface=127.0.0.1"'
        self.daemon = Daemon(directory, server=self.server, more=more)

    async def page(self, name: str) -> tuple[int, str]:
        """
        Read a page of the admin endpoint.
        """
        factory = Factory.forProtocol(FaultyClient)
        factory.noisy = False
        client = await TCP4ClientEndpoint(reactor, "127.0.0.1", self.admin_port).connect(factory)
        client.send(b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % name.encode())
        response = await client.response("GET")
        await client.until(lambda: client.lost)
        return response.status, response.body.decode()

    async def metric(self, name: str, **labels: str) -> float:
        """
        Read the sum of a metric.
        """
        _, text = await self.page("metrics")
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    async def until_ready(self, process: subprocess.Popen[bytes]) -> None:
        """
        Wait until all workers serve.
        """
        await until_listening(self.admin_port, process)
        await self.until_page("ready", lambda status, text: status == 200)

    async def until_page(self, name: str, condition: Callable[[int, str], bool]) -> None:
        """
        Request a page until it says what it should.
        """
        for _ in range(20_000):
            status, text = await self.page(name)
            if condition(status, text):
                return
            await turns(50)
        raise AssertionError(f"{name}: {status} {text}")


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """
    Return the workers of a supervisor: its running children.
    """
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text().rpartition(") ")[2].split()[:2]
        except OSError:
            continue
        if int(parent) == process.pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


class Load:
    """
    Clients that send requests without a pause, each on a connection that it keeps as long as possible.

    Attributes:
        ledger: How often each outcome occurred.
    """

    def __init__(self, port: int, signer: Signer, count: int) -> None:
        self.ledger: Counter[str] = Counter()
        self._requests = [
            signer.put("/test-bucket/key", b"hello" * 1000, HASH),
            signer.put("/test-bucket/key", BODY[:100_000], SIGNED_CHUNKS),
        ]
        self._get = signer.head("GET", "/test-bucket/key")[0]
        self._endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self._factory = Factory.forProtocol(FaultyClient)
        self._factory.noisy = False
        self._is_over = False
        self._clients = [Deferred.fromCoroutine(self._ask(number)) for number in range(count)]

    async def _ask(self, number: int) -> None:
        client: Any = None
        while not self._is_over:
            number += 1
            if client is None:
                client = await self._endpoint.connect(self._factory)
            if number % 3:
                request = self._requests[number % 2]
                client.send(request.head + request.body)
            else:
                client.send(self._get)
            response = await client.response("PUT" if number % 3 else "GET")
            self.ledger["nothing" if response is None else str(response.status)] += 1
            if response is None or response.header("Connection") == "close":
                await client.until(lambda client=client: client.lost)
                client = None
        if client is not None:
            client.transport.abortConnection()
            await client.until(lambda: client.lost)

    async def end(self) -> None:
        """
        Let each client end after its current request.
        """
        self._is_over = True
        await gatherResults(self._clients)


Change = Callable[[subprocess.Popen[bytes], Supervised], Any]
Parts = Iterable[Iterable[bytes]]


async def change_under_load(
    tmp_path: Path, workers: int, changes: Sequence[Change], upload: Callable[[Signer], Parts]
) -> tuple[Load, Supervised, SocketClient]:
    """
    Serve 32 connections and one large upload while the daemon changes.

    Args:
        changes: One after the other.
        upload: Makes the bytes of an upload to ``/test-bucket/large``, in parts: one before the changes, one for each,
            sent while that is on its way, and one after them.
    """
    supervised = Supervised(tmp_path, workers)
    daemon = supervised.daemon
    daemon.backend.keeps_bodies = False
    first, *meanwhile, last = upload(daemon.signer())
    with running(twistd_arguments(daemon.configuration), tmp_path) as process:
        await supervised.until_ready(process)
        client = SocketClient(daemon.port)
        daemon.clients.append(client)
        await send_part(client, first)
        await until(lambda: client.pump() or any(connection.size for connection in daemon.backend.connections))
        load = Load(daemon.port, daemon.signer(), 32)
        await until(lambda: sum(load.ledger.values()) > 200)
        for change, part in zip(changes, meanwhile, strict=True):
            sending = Deferred.fromCoroutine(send_part(client, part))
            await change(process, supervised)
            await sending
            reached = sum(load.ledger.values())
            await until(lambda reached=reached: sum(load.ledger.values()) > reached + 200)
        assert client.end is None
        await send_part(client, last)
        await until(lambda: client.pump() or client.status or client.end, LONG)
        await load.end()
    await daemon.close()
    return load, supervised, client


async def send_part(client: SocketClient, part: Iterable[bytes]) -> None:
    """
    Send bytes as fast as they are taken, and keep few of them.
    """
    for piece in part:
        client.put(piece)
        while client.pending > 1 << 20:
            client.pump()
            assert client.end is None, client.received
            await turns()
    while client.pending:
        client.pump()
        assert client.end is None, client.received
        await turns()


def log_of(directory: Path) -> str:
    """
    Return the daemon's log.
    """
    return (directory / "process.log").read_text()


async def hangup(process: subprocess.Popen[bytes], supervised: Supervised) -> None:
    """
    Reload, twice.
    """

    def reloads() -> int:
        text = log_of(supervised.daemon.directory)
        return text.count("reloaded: ") + text.count("workers are serving")

    for _ in range(2):
        before = reloads()
        process.send_signal(signal.SIGHUP)
        await until(lambda before=before: reloads() > before, LONG)


async def replace(process: subprocess.Popen[bytes], supervised: Supervised) -> None:
    """
    Restart the supervisor in place.
    """
    before = set(children(process))
    served = log_of(supervised.daemon.directory).count("workers are serving")
    process.send_signal(signal.SIGUSR2)
    await until(lambda: log_of(supervised.daemon.directory).count("workers are serving") > served, LONG)
    assert set(children(process)) - before
