"""
A backend with several addresses: which of them gets a request, and what happens to requests when one fails.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.task import Clock

from s3proxy.backend.agent import BackendAgent
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.health import HealthCheck
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import make_backend
from s3proxy.testing import MODES
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest, respond_ok
from tests.support.harness import ClockedReactor, turns, until
from tests.support.legacy import Running

HEAD = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
CHECK = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
INTERVAL = 5.0


class Replicas:
    """
    An agent and its backends, each of which can be stopped and started again.
    """

    def __init__(self, count: int = 2, *, is_checked: bool = False, **limits: Any) -> None:
        self.clock = Clock()
        timed: Any = ClockedReactor(self.clock)
        self.backends = [FaultyBackend() for _ in range(count)]
        self.ports = [reactor.listenTCP(0, backend, interface="127.0.0.1") for backend in self.backends]
        self.numbers = [port.getHost().port for port in self.ports]
        self.pools = [
            Pool(
                timed, TCP4ClientEndpoint(reactor, "127.0.0.1", number), BackendLimits(**limits), f"127.0.0.1:{number}"
            )
            for number in self.numbers
        ]
        checks = [HealthCheck(pool, CHECK, INTERVAL) for pool in self.pools] if is_checked else []
        self.agent = BackendAgent(self.pools, checks)

    def get(self) -> Deferred[BackendResponse]:
        """
        Send a GET.
        """
        return self.agent.send(BackendRequest(b"GET", HEAD, is_idempotent=True))

    async def status(self) -> int | BackendFault:
        """
        Send a GET; return the status of the response, or the fault if there is none.
        """
        try:
            response = await self.get()
        except BackendError as error:
            return error.fault
        response.deliver(Ignored())
        return int(response.head.status)

    def asked(self) -> list[int]:
        """
        Return the number of requests to each backend, without health checks.
        """
        return [sum(r.head.raw_path != b"/health" for r in backend.requests) for backend in self.backends]

    async def stop(self, number: int) -> None:
        """
        Stop a backend: its open connections are reset.
        """
        await self.ports[number].stopListening()
        for connection in self.backends[number].connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        await turns(5)

    def start(self, number: int) -> None:
        """
        Start it again on the same port.
        """
        self.ports[number] = reactor.listenTCP(self.numbers[number], self.backends[number], interface="127.0.0.1")

    async def close(self) -> None:
        """
        Close everything; check that nothing is left.
        """
        await self.agent.close()
        for port in self.ports:
            await maybeDeferred(port.stopListening)
        await until(lambda: all(c.lost for backend in self.backends for c in backend.connections))
        assert not any(pool.connections for pool in self.pools)
        assert self.clock.getDelayedCalls() == []


class Ignored:
    """
    Ignores the body of a response.
    """

    def bodyReceived(self, pieces: Any) -> None:
        """
        Take bytes.
        """

    def bodyEnded(self, failure: Any) -> None:
        """
        Ignore the end.
        """


@pytest_twisted.ensureDeferred
async def test_requests_go_where_least_is_to_do() -> None:
    """
    While one backend works on its requests, the others get new ones; idle ones take turns.
    """
    replicas = Replicas(3)
    busy = replicas.backends[0]
    busy.on_request = lambda connection, request: None
    waiting = [replicas.get() for _ in range(6)]
    await until(lambda: sum(asked.called for asked in waiting) == 4)
    spread = replicas.asked()
    for _ in range(12):
        await replicas.status()
    later = replicas.asked()
    for asked in waiting:
        asked.addErrback(lambda failure: None)
    await replicas.close()

    assert spread == [2, 2, 2]
    assert later[0] == 2
    assert abs(later[1] - later[2]) <= 1


@pytest_twisted.ensureDeferred
async def test_a_request_fails_over_where_nobody_is() -> None:
    """
    Nothing was sent, so any request may be sent to another one. If none accepts connections, the client gets an error.
    """
    replicas = Replicas(3, breaker_failures=0)
    await replicas.stop(0)
    one_gone = [await replicas.status() for _ in range(6)]
    moved = replicas.agent.failed_over_count
    await replicas.stop(1)
    await replicas.stop(2)
    all_gone = await replicas.status()
    await replicas.close()

    assert one_gone == [200] * 6
    assert replicas.asked()[0] == 0
    assert moved >= 1
    assert all_gone is BackendFault.UNREACHABLE


@pytest_twisted.ensureDeferred
async def test_an_upload_fails_over_before_its_first_byte() -> None:
    """
    A body that streams goes to the replica that is up, whole.
    """
    replicas = Replicas(2)
    await replicas.stop(0)
    for _ in range(2):
        upload = Upload(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n", 11)
        answered = replicas.agent.send_upload(upload)
        upload.write(b"hello world")
        upload.finish()
        response = await answered
        assert response.head.status == 200
        response.deliver(Ignored())
    await replicas.close()

    assert [request.body for request in replicas.backends[1].requests] == [b"hello world"] * 2
    assert replicas.agent.failed_over_count >= 1


@pytest_twisted.ensureDeferred
async def test_a_get_which_nobody_answered_is_asked_elsewhere() -> None:
    """
    A replica fails during a request: if the request is safe to repeat, another replica gets it; a POST is not repeated.
    """
    replicas = Replicas(2, breaker_failures=0)

    def die(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.transport.abortConnection()

    replicas.backends[0].on_request = die
    repeated = [await replicas.status() for _ in range(4)]
    replicas.backends[1].on_request = die
    try:
        await replicas.agent.send(BackendRequest(b"POST", HEAD.replace(b"GET", b"POST")))
        fault = None
    except BackendError as error:
        fault = error.fault
    posts = [r for backend in replicas.backends for r in backend.requests if r.head.method == b"POST"]
    nowhere = await replicas.status()
    await replicas.close()

    assert repeated == [200] * 4
    assert fault is BackendFault.STALE
    assert len(posts) == 1
    assert nowhere is BackendFault.STALE


@pytest_twisted.ensureDeferred
async def test_an_upload_under_way_is_not_repeated() -> None:
    """
    Bytes beyond the first block are gone: the client is asked to send them again, nothing is sent twice.
    """
    replicas = Replicas(2)
    upload = Upload(b"PUT /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", 1000)
    answered = replicas.agent.send_upload(upload)
    await until(lambda: any(backend.connections for backend in replicas.backends))
    upload.write(b"a" * 100)
    await turns(5)
    upload.write(b"b" * 100)
    (taker,) = [backend for backend in replicas.backends if backend.connections]
    await until(lambda: taker.connections[0].size == 200)
    taker.connections[0].transport.abortConnection()
    with pytest.raises(BackendError) as caught:
        await answered
    await replicas.close()

    assert caught.value.fault is BackendFault.STALE
    assert replicas.asked() == [0, 0]
    assert sum(len(backend.connections) for backend in replicas.backends) == 1


@pytest_twisted.ensureDeferred
async def test_a_health_check_takes_a_replica_out_and_back() -> None:
    """
    A replica that returns 503, does not respond in time, or is down gets no requests, until it responds again.
    """
    replicas = Replicas(2, is_checked=True, connect_time=3.0)
    sick = replicas.backends[0]
    is_sick = True

    def respond(connection: FaultyConnection, request: ReceivedRequest) -> None:
        if request.head.raw_path == b"/health" and is_sick:
            connection.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        else:
            respond_ok(connection, request)

    async def look(number: int, *, is_healthy: bool) -> None:
        for _ in range(4):
            # Once for the interval, once for a response that does not come.
            replicas.clock.advance(INTERVAL)
            await turns(30)
        assert replicas.pools[number].is_healthy is is_healthy

    sick.on_request = respond
    replicas.agent.start()
    await until(lambda: not replicas.pools[0].is_healthy)
    refused = [await replicas.status() for _ in range(4)]
    while_refused = replicas.asked()
    is_sick = False
    await look(0, is_healthy=True)
    sick.on_request = lambda connection, request: None
    await look(0, is_healthy=False)
    sick.on_request = respond
    await look(0, is_healthy=True)
    await replicas.stop(0)
    await look(0, is_healthy=False)
    failed_over = replicas.agent.failed_over_count
    gone = [await replicas.status() for _ in range(4)]
    replicas.start(0)
    await look(0, is_healthy=True)
    before = replicas.asked()
    back = [await replicas.status() for _ in range(4)]
    after = replicas.asked()
    replicas.agent.retire()
    await turns(5)
    checked = len(sick.connections)
    replicas.clock.advance(INTERVAL * 3)
    await turns(20)
    await replicas.close()

    assert (refused, while_refused) == ([200] * 4, [0, 4])
    assert (gone, failed_over) == ([200] * 4, replicas.agent.failed_over_count)
    assert back == [200] * 4
    assert after[0] - before[0] == 2
    assert len(sick.connections) == checked, "a retired agent asks no more"


@pytest.mark.parametrize("mode", ["walrus-3.4", "walrusbackend-4.x", "osg-4.3"])
@pytest_twisted.ensureDeferred
async def test_storages_of_eucalyptus_are_up_until_they_are_killed(mode: str, tmp_path: Path) -> None:
    """
    They respond to a check with 405 and a document after its head, which means that they work. When one is down, the
    other gets the requests.
    """
    stores = [Running(tmp_path / name, quirks=MODES[mode]) for name in ("first", "second")]
    for store in stores:
        store.store.objects.bucket("b").create()
        await store.ask("PUT", "/b/k", b"x")
    number = stores[0].port.getHost().port
    urls = [f"http://127.0.0.1:{store.port.getHost().port}" for store in stores]
    table = {"name": "b", "urls": urls, "profile": mode, "signature": "none"}
    settings = make_settings({"backend": [table], "credentials": {"source": "file:keys.toml"}}, tmp_path)
    clock = Clock()
    agent = make_backend(settings.backends[0], settings, ClockedReactor(clock)).agent

    async def statuses() -> list[int]:
        found = []
        for _ in range(4):
            head = stores[0].head("GET", "/b/k", {})
            response = await agent.send(BackendRequest(b"GET", head, is_idempotent=True))
            response.deliver(Ignored())
            found.append(int(response.head.status))
        return found

    async def look(*expected: bool) -> None:
        # If a check is still open, turning the clock uses up its time limit.
        await until(lambda: all(check._asking is None for check in agent._checks))
        clock.advance(INTERVAL)
        await until(lambda: all(check._asking is None for check in agent._checks))
        assert [pool.is_healthy for pool in agent.pools] == list(expected)

    for pool in agent.pools:
        pool.is_healthy = False
    agent.start()
    await look(True, True)
    await look(True, True)
    with_both = await statuses()
    refused = [store.store.refused_count for store in stores]
    await stores[0].port.stopListening()
    for channel in tuple(stores[0].store.channels):
        channel.transport.abortConnection()
    await turns(30)
    with_one = await statuses()
    await look(False, True)
    failed_over = agent.failed_over_count
    with_one += await statuses()
    failed_over_later = agent.failed_over_count - failed_over
    stores[0].port = reactor.listenTCP(number, stores[0].store.make_factory(), interface="127.0.0.1")
    await look(True, True)
    back = await statuses()
    await agent.close()
    for store in stores:
        await store.close()

    assert (with_both, with_one, back) == ([200] * 4, [200] * 8, [200] * 4)
    assert failed_over_later == 0, "the check had told already"
    assert min(refused) >= 2, "both were asked by checks, and refused them"


@pytest_twisted.ensureDeferred
async def test_one_failure_takes_a_checked_replica_out() -> None:
    """
    If health checks will bring a replica back, requests need not find out repeatedly that it is down.
    """
    replicas = Replicas(2, is_checked=True, breaker_failures=0)
    replicas.agent.start()
    await until(lambda: all(backend.requests for backend in replicas.backends))
    await replicas.stop(1)
    statuses = [await replicas.status() for _ in range(10)]
    moved = replicas.agent.failed_over_count
    await replicas.stop(0)
    nowhere = await replicas.status()
    replicas.start(0)
    in_spite_of_checks = await replicas.status()
    await replicas.close()

    assert statuses == [200] * 10
    assert moved == 1
    assert nowhere is BackendFault.UNREACHABLE
    assert in_spite_of_checks == 200, "where all are said to be down, all are tried"


@pytest_twisted.ensureDeferred
async def test_a_full_pool_does_not_fail_its_check() -> None:
    """
    A check has its own connection: a busy replica does not count as failed.
    """
    replicas = Replicas(1, is_checked=True, max_connections=1)
    backend = replicas.backends[0]
    backend.on_request = lambda connection, request: (
        respond_ok(connection, request) if request.head.raw_path == b"/health" else None
    )
    asked = replicas.get().addErrback(lambda failure: None)
    await until(lambda: sum(replicas.asked()) == 1)
    replicas.agent.start()
    await until(lambda: len(backend.requests) == 2)
    await turns(10)
    is_healthy = replicas.pools[0].is_healthy
    asked.cancel()
    await replicas.close()

    assert is_healthy
    assert backend.requests[1].head.raw_path == b"/health"
