"""
Clients that give up while the connection to the backend is being made: others are still served.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import Clock
from zope.interface import implementer

from s3proxy.backend.request import BackendLimits
from s3proxy.testing.faulty_backend import FaultyBackend
from s3proxy.testing.faulty_client import FaultyClient
from tests.support.carriers import v2
from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.harness import Harness, over_tls, turns, until
from tests.support.signer import HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, SignedRequest, Signer

TARGET = "/test-bucket/key"
BODY = bytes(range(256)) * 400
FIELDS = [["starts-with", "$key", ""]]
GET = Signer().head("GET", TARGET)[0]
PREFLIGHT = SignedRequest(
    b"OPTIONS /test-bucket/key HTTP/1.1\r\nHost: s3.example.test\r\nOrigin: http://x\r\n"
    b"Access-Control-Request-Method: GET\r\n\r\n",
    b"",
)
GIVEN_UP: dict[str, SignedRequest] = {
    "GET": SignedRequest(GET, b""),
    "GET with V2": v2("GET", TARGET, TARGET),
    "preflight": PREFLIGHT,
    "hashed upload": Signer().put(TARGET, BODY, HASH),
    "unsigned upload": Signer().put(TARGET, BODY, UNSIGNED),
    "signed chunks": Signer().put(TARGET, BODY, SIGNED_CHUNKS),
    "signed chunks and trailer": Signer().put(TARGET, BODY, SIGNED_TRAILER),
    "unsigned chunks and trailer": Signer().put(TARGET, BODY, UNSIGNED_TRAILER),
    "upload with V2": v2("PUT", TARGET, TARGET, body=BODY),
    "form with V4": form_request(multipart(v4_fields(FIELDS, key="k"), BODY)),
    "form with V2": form_request(multipart(v2_fields(FIELDS, key="k"), BODY)),
}
REFUSED = ("signed chunks", "signed chunks and trailer", "unsigned chunks and trailer")
"Payload modes in which the first block can be wrong."
FAILURES = 3


@implementer(IStreamClientEndpoint)
class Unanswered:
    """
    An endpoint whose packets are lost: connecting lasts until it is cancelled.
    """

    def __init__(self) -> None:
        self.count = 0

    def connect(self, factory: Any) -> Deferred[Any]:
        self.count += 1
        return Deferred(lambda connecting: connecting.errback(ConnectingCancelledError(None)))


class Stage:
    """
    A proxy whose backend cannot be reached until `reach` is called.
    """

    def __init__(self, how: str) -> None:
        self.clock = Clock()
        is_tls = how == "TLS handshake"
        self.endpoint = Unanswered()
        self.harness = Harness(
            clock=self.clock,
            is_tls=is_tls,
            endpoint=None if is_tls else self.endpoint,
            limits=BackendLimits(breaker_failures=FAILURES),
        )
        self.pool = self.harness.pool
        self.pool.is_checked = True
        port = self.harness.backend_port.getHost().port
        self._working = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        self._is_tls = is_tls
        self._silent = FaultyBackend()
        if is_tls:
            self._silent_port = reactor.listenTCP(0, self._silent, interface="127.0.0.1")
            number = self._silent_port.getHost().port
            self.pool.endpoint = over_tls(TCP4ClientEndpoint(reactor, "127.0.0.1", number))

    @property
    def attempts(self) -> int:
        """
        The number of attempted connections.
        """
        return len(self._silent.connections) if self._is_tls else self.endpoint.count

    async def reach(self) -> int:
        """
        Make the backend reachable, and return what another client reads.
        """
        self.pool.endpoint = over_tls(self._working) if self._is_tls else self._working
        response = await self.harness.request(GET)
        return int(response.status)

    async def end(self) -> None:
        """
        Close everything; check that no timer is left.
        """
        await self.harness.close()
        if self._is_tls:
            await self._silent_port.stopListening()
            await until(lambda: all(connection.lost for connection in self._silent.connections))
        assert self.clock.getDelayedCalls() == []


@pytest.mark.parametrize("how", ["connect", "TLS handshake"])
@pytest.mark.parametrize("kind", GIVEN_UP)
@pytest_twisted.ensureDeferred
async def test_clients_that_leave(kind: str, how: str) -> None:
    """
    However many leave while their connection is being made, the next client is served, and no place is lost.
    """
    stage = Stage(how)
    request = GIVEN_UP[kind]
    # A form is verified whole before it is sent on.
    sent = request.head + (request.body if "form" in kind else request.body[: len(request.body) * 9 // 10])
    for count in range(1, 2 * FAILURES + 1):
        client = await stage.harness.connect()
        client.send(sent)
        await until(lambda: stage.attempts == count)  # noqa: B023
        await turns(3)
        client.reset()
        await until(lambda: stage.pool.busy_count == 0)
    is_open, is_healthy = stage.pool.breaker.is_open, stage.pool.is_healthy
    status = await stage.reach()
    await stage.end()

    assert (is_open, is_healthy, status) == (False, True, 200)


@pytest.mark.parametrize("how", ["connect", "TLS handshake"])
@pytest.mark.parametrize("kind", REFUSED)
@pytest_twisted.ensureDeferred
async def test_uploads_that_are_refused(kind: str, how: str) -> None:
    """
    An upload whose first block is wrong is refused while its connection is being made; others are still served.
    """
    stage = Stage(how)
    request = GIVEN_UP[kind]
    for count in range(1, 2 * FAILURES + 1):
        client = await stage.harness.connect()
        client.send(request.head)
        await until(lambda: stage.attempts == count)  # noqa: B023
        await turns(3)
        client.send(b"zz\r\n" + request.body[4:])
        response = await client.response("PUT")
        assert response is not None
        assert response.status in {400, 403}
    is_open, is_healthy, busy = stage.pool.breaker.is_open, stage.pool.is_healthy, stage.pool.busy_count
    status = await stage.reach()
    await stage.end()

    assert (is_open, is_healthy, busy, status) == (False, True, 0, 200)


@pytest.mark.parametrize("how", ["connect", "TLS handshake"])
@pytest_twisted.ensureDeferred
async def test_nobody_is_there(how: str) -> None:
    """
    A backend that cannot be reached in time counts as failed: the clients that still wait are not the cause.
    """
    stage = Stage(how)
    clients: list[FaultyClient] = []
    for count in range(1, FAILURES + 1):
        clients.append(await stage.harness.connect())
        clients[-1].send(GET)
        await until(lambda: stage.attempts == count)  # noqa: B023
    stage.clock.advance(stage.pool.limits.connect_time)
    responses = [await client.response("GET") for client in clients]
    is_open, is_healthy = stage.pool.breaker.is_open, stage.pool.is_healthy
    await stage.end()

    assert [response and response.status for response in responses] == [503] * FAILURES
    assert (is_open, is_healthy) == (True, False)


@pytest_twisted.ensureDeferred
async def test_a_drain_ends_while_a_connection_is_being_made() -> None:
    """
    A connection that is given up because the daemon stops does not count as a failure of the backend.
    """
    stage = Stage("connect")
    for count in range(1, 2 * FAILURES + 1):
        client = await stage.harness.connect()
        client.send(GET)
        await until(lambda: stage.attempts == count)  # noqa: B023
    stage.harness.proxy.abort_all()
    await turns(3)
    is_open, is_healthy, busy = stage.pool.breaker.is_open, stage.pool.is_healthy, stage.pool.busy_count
    await stage.end()

    assert (is_open, is_healthy, busy) == (False, True, 0)
