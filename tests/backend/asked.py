"""
A request that a pool is asked to send.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.pool import Pool
from s3proxy.backend.request import BackendError, BackendLimits, BackendRequest, PendingRequest

HEAD = b"GET / HTTP/1.1\r\nHost: backend\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Endpoint:
    """
    Connects when the test says so.
    """

    def __init__(self) -> None:
        self.connecting: list[tuple[Any, Deferred[Any]]] = []
        self.transports: list[StringTransport] = []
        self.protocols: list[Any] = []

    def connect(self, factory: Any) -> Deferred[Any]:
        """
        Begin.
        """
        waiting: Deferred[Any] = Deferred()
        self.connecting.append((factory, waiting))
        return waiting

    def connected(self) -> None:
        """
        Give the first waiting request a connection.
        """
        factory, waiting = self.connecting.pop(0)
        protocol, transport = factory.buildProtocol(None), StringTransport()
        self.transports.append(transport)
        self.protocols.append(protocol)
        protocol.makeConnection(transport)
        waiting.callback(protocol)


class Asked:
    """
    A pool, and the outcomes of requests to it.
    """

    def __init__(self, **limits: Any) -> None:
        self.clock = Clock()
        self.endpoint = Endpoint()
        endpoint: Any = self.endpoint
        self.pool = Pool(self.clock, endpoint, BackendLimits(**limits))
        self.faults: list[BackendFault] = []
        self.responses: list[Any] = []

    def send(self, *, is_idempotent: bool = True, body: Any = None) -> PendingRequest:
        """
        Send a request as an exchange does: one with a body by a Deferred, any other with this object as its receiver.
        """
        request = BackendRequest(b"GET", body.head if body is not None else HEAD, is_idempotent=is_idempotent)
        if body is None:
            return self.pool.ask(request, self)
        return self.pool.send(request, body).addCallbacks(self.answered, self.not_answered)

    def answered(self, response: Any) -> None:
        """
        Keep a response.
        """
        self.responses.append(response)

    def not_answered(self, failure: Failure) -> None:
        """
        Keep the fault of a request that got no response.
        """
        if isinstance(failure.value, BackendError):
            self.faults.append(failure.value.fault)

    def response(self, number: int = -1) -> None:
        """
        Respond on a connection.
        """
        self.endpoint.protocols[number].dataReceived(OK)

    def lose(self, number: int = -1) -> None:
        """
        Lose a connection.
        """
        self.endpoint.protocols[number].connectionLost(Failure(ConnectionDone()))

    def make_idle(self) -> None:
        """
        Make one connection that is not in use.
        """
        self.send()
        self.endpoint.connected()
        self.response()
        self.responses.clear()
