"""
A part of a small response is acknowledged at once: a backend that writes head and body apart may wait for that.
"""

from __future__ import annotations

import socket
from typing import Any

import pytest
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from s3proxy.backend import reader
from s3proxy.backend.connection import BackendConnection
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendLimits, BackendRequest
from s3proxy.s3.limits import KIB
from s3proxy.transport.writer import acknowledge_now

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 65536\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("pieces", "expected"),
    [
        ([HEAD + b"hello"], 0),
        ([HEAD, b"hello"], 1),
        ([HEAD[:10], HEAD[10:], b"he", b"llo"], 3),
        ([HEAD + b"he", b"llo"], 1),
        ([b"HTTP/1.1 100 Continue\r\n\r\n", HEAD + b"hello"], 1),
        ([LARGE, bytes(32 * KIB), bytes(32 * KIB)], 1),
        ([LARGE + bytes(32 * KIB), bytes(32 * KIB)], 0),
        ([CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n"], 2),
        ([CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"], 0),
        ([b"HTTP/1.1 204 No Content\r\n\r\n"], 0),
    ],
)
def test_what_is_acknowledged_at_once(pieces: list[bytes], expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    Each small read after which something is missing. A response that came whole costs no system call more.
    """
    acknowledged: list[Any] = []
    monkeypatch.setattr(reader, "acknowledge_now", acknowledged.append)
    endpoint: Any = None
    connection = BackendConnection(Pool(Clock(), endpoint, BackendLimits()))
    transport = StringTransport()
    connection.makeConnection(transport)
    received: list[Any] = []
    connection.send(BackendRequest(b"GET", b"GET / HTTP/1.1\r\nHost: backend\r\n\r\n")).addCallback(received.append)

    for piece in pieces:
        connection.dataReceived(piece)

    assert acknowledged == [transport] * expected
    assert received[0].is_complete


def test_it_is_asked_of_the_socket() -> None:
    """
    Of one below any transport; a transport without a socket, a socket of another family and one that is reset do not
    matter.
    """

    class Transport:
        def __init__(self, handle: Any) -> None:
            self._handle = handle

        def getHandle(self) -> Any:
            return self._handle

    server = socket.create_server(("127.0.0.1", 0))
    client = socket.create_connection(server.getsockname())
    accepted, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 0
    acknowledge_now(Transport(client))
    assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1

    near, far = socket.socketpair()
    acknowledge_now(Transport(near))
    acknowledge_now(StringTransport())
    for each in (client, accepted, server, near, far):
        each.close()
    acknowledge_now(Transport(client))
