"""
A service that is asked over HTTP, over real sockets: what it gets, and every way in which it can fail.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.task import Clock

from s3proxy.backend.endpoints import BadTLSFiles, TLSFiles
from s3proxy.backend.json_service import (
    MAX_DOCUMENT_SIZE,
    MAX_SERVICE_CONNECTIONS,
    JSONService,
    ServiceAddress,
    ServiceFailed,
    ServiceResponse,
)
from s3proxy.s3.head import Fields
from s3proxy.testing import faults
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.harness import AUTHORITY, ClockedReactor, server_context, until

TIME = 3.0
HIDDEN = "a-hidden-value"


def response(content: bytes, status: str = "200 OK", more: str = "") -> bytes:
    """
    Return a whole response.
    """
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(content)}\r\n\r\n".encode() + content


class Served:
    """
    A service of a test, and s3proxy's side of it.

    Args:
        context: The TLS context of the service; None for plain connections.
        host: The name that s3proxy connects to.
    """

    def __init__(self, context: Any = None, ca_file: str | None = None, host: str = "127.0.0.1") -> None:
        self.backend = FaultyBackend()
        self.clock = Clock()
        if context is None:
            self.port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        else:
            self.port = reactor.listenSSL(0, self.backend, context, interface="127.0.0.1")
        self.number = number = self.port.getHost().port
        tls = None if context is None else TLSFiles(ca_file=ca_file)
        address = ServiceAddress(host=host, port=number, authority=f"{host}:{number}", tls=tls)
        self.service = JSONService(address, TIME)
        self.service.start(ClockedReactor(self.clock))

    def ask(self) -> Deferred[ServiceResponse]:
        """
        Ask with a secret in a header and in the content.
        """
        return self.service.ask(b"POST", "/p/q?r", [(b"Authorization", HIDDEN.encode())], {"b": HIDDEN})

    async def failure(self) -> str:
        """
        Ask, and return the text of the failure.
        """
        with pytest.raises(ServiceFailed) as raised:
            await self.ask()
        return str(raised.value)

    async def close(self) -> None:
        """
        Release everything.
        """
        await self.service.stop()
        await maybeDeferred(self.port.stopListening)
        for connection in self.backend.connections:
            if connection.lost is None:
                connection.transport.abortConnection()
        await until(lambda: all(connection.lost for connection in self.backend.connections))
        assert self.clock.getDelayedCalls() == []


@pytest_twisted.ensureDeferred
async def test_a_question_and_its_response() -> None:
    """
    It is sent as one request, and the next one takes the same connection.
    """
    served = Served()
    faults.responds(response(b'{"a": [1]}', more="X-Found: yes\r\n"))(served.backend)
    first = await served.ask()
    second = await served.service.ask(b"GET", "/x")
    await served.close()

    assert (first.status, first.document(), first.fields.value(b"x-found")) == (200, {"a": [1]}, b"yes")
    assert second.status == 200
    post, get = served.backend.requests
    assert post.head.raw_target == b"/p/q?r"
    assert post.head.fields.value(b"host") == f"127.0.0.1:{served.number}".encode()
    assert post.head.fields.value(b"content-type") == b"application/json"
    assert json.loads(post.body) == {"b": HIDDEN}
    assert (get.head.method, get.head.raw_target, get.size) == (b"GET", b"/x", 0)
    assert len(served.backend.connections) == 1


@pytest.mark.parametrize("status", ["404 Not Found", "500 Internal Server Error", "302 Found", "307 Temporary"])
@pytest_twisted.ensureDeferred
async def test_any_status_is_a_response(status: str) -> None:
    """
    A redirect is not followed.
    """
    served = Served()
    elsewhere = f"Location: http://127.0.0.1:{served.port.getHost().port}/elsewhere\r\n"
    faults.responds(response(b"{}", status, elsewhere))(served.backend)
    found = await served.ask()
    await served.close()

    assert found.status == int(status[:3])
    assert [request.head.raw_target for request in served.backend.requests] == [b"/p/q?r"]


LARGE = b"x" * (MAX_DOCUMENT_SIZE + 1)


@pytest.mark.parametrize(
    ("misbehaves", "told"),
    [
        (faults.resets_when_it_has_all, "the connection was lost"),
        (faults.resets_at_once, "the connection was lost"),
        (faults.responds(b"garbage " + HIDDEN.encode() + b"\r\n\r\n"), ""),
        (faults.responds(b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"), ""),
        (faults.ends_within(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"), ""),
        (faults.responds(response(LARGE)), f"the response has more than {MAX_DOCUMENT_SIZE} bytes"),
        (
            faults.responds(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"),
            f"the response has more than {MAX_DOCUMENT_SIZE} bytes",
        ),
        (
            faults.responds(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(LARGE), LARGE)),
            f"the response has more than {MAX_DOCUMENT_SIZE} bytes",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_service_that_fails(misbehaves: Callable[[FaultyBackend], None], told: str) -> None:
    """
    The text names the service, and has nothing that was sent or received.
    """
    served = Served()
    misbehaves(served.backend)
    text = await served.failure()
    await served.close()

    assert text.startswith(f"127.0.0.1:{served.number}: ")
    assert told in text
    assert HIDDEN not in text


@pytest_twisted.ensureDeferred
async def test_a_response_without_an_end() -> None:
    """
    It is given up as soon as it is too large.
    """
    served = Served()
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    faults.responds(head + b"%x\r\n%s\r\n" % (len(LARGE), LARGE))(served.backend)
    asked = served.ask()
    await until(lambda: served.backend.requests and (asked.called or served.backend.connections[0].lost), 20_000)
    with pytest.raises(ServiceFailed, match="more than"):
        await asked
    await served.close()


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"])
@pytest_twisted.ensureDeferred
async def test_a_service_that_is_too_slow(data: bytes) -> None:
    """
    No response, or not all of it: the request ends after its time, and its connection is reset.
    """
    served = Served()
    faults.responds(data)(served.backend)
    asked = served.ask()
    await until(lambda: served.backend.requests)
    served.clock.advance(TIME - 0.1)
    was_waiting = not asked.called
    served.clock.advance(0.2)
    assert asked.called
    with pytest.raises(ServiceFailed, match="no whole response within 3 seconds"):
        await asked
    await until(lambda: served.backend.connections[0].lost)
    await served.close()

    assert was_waiting


@pytest_twisted.ensureDeferred
async def test_a_question_can_be_cancelled() -> None:
    """
    Its connection is reset: the response of a cancelled request must not be taken for that of the next one.
    """
    served = Served()
    faults.never_responds(served.backend)
    asked = served.ask()
    await until(lambda: served.backend.requests)
    asked.cancel()
    with pytest.raises(CancelledError):
        await asked
    await until(lambda: served.backend.connections[0].lost)
    await served.close()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_died_in_the_pool() -> None:
    """
    The question is sent once more: it changes nothing.
    """
    served = Served()
    faults.responds(response(b"{}"))(served.backend)
    await served.ask()

    def reset_once(connection: Any, request: Any) -> None:
        served.backend.on_request = lambda connection, request: connection.send(response(b"{}"))
        connection.reset()

    served.backend.on_request = reset_once
    found = await served.ask()
    await served.close()

    assert found.status == 200
    assert len(served.backend.connections) == 2


@pytest_twisted.ensureDeferred
async def test_connections_are_bounded() -> None:
    """
    Many questions at a time wait for a connection, and fail if none becomes free in time.
    """
    served = Served()
    faults.never_responds(served.backend)
    asked = [served.ask() for _ in range(MAX_SERVICE_CONNECTIONS + 20)]
    await until(lambda: len(served.backend.requests) == MAX_SERVICE_CONNECTIONS)
    served.clock.advance(TIME + 0.1)
    for each in asked:
        with pytest.raises(ServiceFailed):
            await each
    await served.close()

    assert len(served.backend.connections) == MAX_SERVICE_CONNECTIONS


@pytest_twisted.ensureDeferred
async def test_before_the_start_and_after_the_end() -> None:
    """
    It fails as a service does that is down.
    """
    address = ServiceAddress(host="127.0.0.1", port=1, authority="127.0.0.1:1")
    service = JSONService(address, TIME)
    with pytest.raises(ServiceFailed, match="before the start"):
        await service.ask(b"GET", "/")
    await service.stop()
    served = Served()
    faults.never_responds(served.backend)
    asked = served.ask()
    await until(lambda: served.backend.requests)
    await served.service.stop()
    with pytest.raises(ServiceFailed):
        await asked
    with pytest.raises(ServiceFailed, match="after the end"):
        await served.ask()
    await served.close()


@pytest_twisted.ensureDeferred
async def test_nobody_listens() -> None:
    """
    The text says so.
    """
    served = Served()
    await served.port.stopListening()

    assert "connection refused" in await served.failure()
    await served.close()


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    """
    Return a file with the authority that every party trusts.
    """
    path = tmp_path / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


@pytest_twisted.ensureDeferred
async def test_a_service_over_tls(ca_file: str) -> None:
    """
    Its certificate is issued by the configured authority, and is for the host of the URL.
    """
    served = Served(server_context(), ca_file)
    faults.responds(response(b"{}"))(served.backend)
    found = await served.ask()
    await served.close()

    assert found.status == 200


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("name", "certificate is not for"),
        ("issuer", "certificate verify failed"),
        ("date", "certificate verify failed"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_certificate_that_is_wrong(ca_file: str, fault: str, told: str) -> None:
    """
    No byte of the request is sent: it has a token, and the key that a client claims.
    """
    served = Served(server_context(fault), ca_file)
    text = await served.failure()
    await served.close()

    assert told in text
    assert [connection.received_size for connection in served.backend.connections] in ([], [0])


@pytest_twisted.ensureDeferred
async def test_only_the_configured_authority_is_trusted() -> None:
    """
    Without a file, those of the system are.
    """
    served = Served(server_context())
    text = await served.failure()
    await served.close()

    assert "certificate verify failed" in text


def test_a_file_of_tls_that_is_wrong(tmp_path: Path) -> None:
    """
    It is found before there is a reactor.
    """
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(BadTLSFiles):
            JSONService(ServiceAddress(host="h", port=1, authority="h", tls=TLSFiles(ca_file=str(path))), TIME)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b'{"a": 1, "a": 1}',
        b'{"b": {"a": 1, "a": 2}}',
        b"\xff",
        b"[" * 60_000,
        b'{"a": ' * 10_000,
        b'{"a": %s}' % (b"9" * 5000),
        HIDDEN.encode(),
    ],
)
def test_what_is_no_document(content: bytes) -> None:
    """
    A JSON object whose members are unique; the text of the error has none of it.
    """
    with pytest.raises(ServiceFailed, match=r"^the response is not (JSON|a JSON object)$") as raised:
        ServiceResponse(200, Fields(), content).document()

    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_a_response_may_be_secret() -> None:
    """
    No text has it.
    """
    assert HIDDEN not in repr(ServiceResponse(200, Fields(), HIDDEN.encode()))
