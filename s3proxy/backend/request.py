"""
A request for a backend, its time limits, and the exception for a missing response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IClientRequest
from zope.interface import implementer

from s3proxy.backend.faults import BackendFault
from s3proxy.transport.writer import DEFAULT_SOCKET_BUFFER

DEFAULT_FIRST_BYTE_TIME = 60.0
"""
Seconds until the head of a response.
"""

DEFAULT_SLOW_FIRST_BYTE_TIME = 1800.0
"""
Seconds until the head of a response, for operations that copy inside the backend: CompleteMultipartUpload, copies,
RestoreObject.
"""


class BackendError(Exception):
    """
    A backend sent no response, or not all of it. The cause is chained; neither holds anything that was sent.

    Attributes:
        address: The address that the request was sent to; empty if none was chosen.
    """

    def __init__(self, fault: BackendFault, address: str = "") -> None:
        super().__init__(fault.name)
        self.fault = fault
        self.address = address


def backend_failure(fault: BackendFault, cause: BaseException | None = None) -> Failure:
    """
    Return the failure for a Deferred that waited for a backend.
    """
    error = BackendError(fault)
    error.__cause__ = cause
    return Failure(error)


class ResponseReceiver(Protocol):
    """
    Gets the response to a request: `s3proxy.exchange.asking.Asking`, `DeferredReceiver`, or the pool between them and a
    connection.
    """

    def answered(self, response: Any) -> None:
        """
        Called with the `s3proxy.backend.response.BackendResponse` when its final head is complete, even before the
        request's end.
        """

    def not_answered(self, failure: Failure) -> None:
        """
        Called with a `BackendError`, or with a `CancelledError` if the request was cancelled. May be called before the
        function that sends the request returns.
        """


class PendingRequest(Protocol):
    """
    A request whose response is awaited: an attempt of the pool, or a Deferred.
    """

    def cancel(self) -> None:
        """
        Reset the connection, or give up making one. No effect if the response has arrived.
        """


class DeferredReceiver:
    """
    Fires a Deferred with the response, or with the failure. A Deferred that was cancelled has fired already.
    """

    __slots__ = ("_fired",)

    def __init__(self, fired: Deferred[Any]) -> None:
        self._fired = fired

    def answered(self, response: Any) -> None:
        """
        Fire the Deferred, or give up a response that came too late.
        """
        if self._fired.called:
            response.abort()
        else:
            self._fired.callback(response)

    def not_answered(self, failure: Failure) -> None:
        """
        Fire the Deferred with the failure.
        """
        if not self._fired.called:
            self._fired.errback(failure)


@dataclass(frozen=True, slots=True)
class BackendLimits:
    """
    The limits for one backend: times in seconds, and numbers of connections.

    Attributes:
        connect_time: Seconds to connect, including TLS; also to wait for a connection if all are in use.
        idle_time: Seconds between two bytes of a response that s3proxy reads; also until the backend takes a byte of a
            request.
        continue_time: Seconds to wait for ``100 Continue``. Then the body is sent without it.
        pooled_time: Seconds that an unused connection is kept.
        pooled_upload_time: Seconds that an unused connection may be used for a body that cannot be sent a second time.
        max_connections: Maximum number of connections, used and unused.
        max_pooled: Maximum number of unused connections.
        breaker_failures: Number of failures in a row, to connect or to get a response in time, after which the breaker
            opens; 0 for never.
        breaker_time: Seconds that a tripped breaker stays open.
        socket_buffer: Bytes that the kernel may keep for a connection in each direction; 0 to let the kernel decide.
    """

    connect_time: float = 5.0
    idle_time: float = 60.0
    continue_time: float = 1.0
    pooled_time: float = 25.0
    pooled_upload_time: float = 2.0
    max_connections: int = 4096
    max_pooled: int = 4096
    breaker_failures: int = 5
    breaker_time: float = 5.0
    socket_buffer: int = DEFAULT_SOCKET_BUFFER


@implementer(IClientRequest)
@dataclass(slots=True, eq=False)
class BackendRequest:
    """
    A request as it is sent.

    Attributes:
        method: The method in the head.
        head: The whole signed head, with the empty line at its end. It is sent byte for byte.
        content: A body that was held. It follows the head in the same write, and can be sent again.
        is_idempotent: Whether the request may be sent again if a reused connection died without a response.
        first_byte_time: Seconds from the last byte of the request to the head of the response.
        expects_continue: Whether the head asks for ``100 Continue``. The body waits for it for a limited time.
        absoluteURI: The URL that treq was given. It is not sent.
        headers: The headers that treq was given. They are not sent.
        response: The original response, for a caller that has only treq's wrapper of it.
    """

    method: bytes
    head: bytes
    content: bytes = b""
    is_idempotent: bool = False
    first_byte_time: float = DEFAULT_FIRST_BYTE_TIME
    expects_continue: bool = False
    absoluteURI: bytes | None = None
    headers: Headers | None = None
    response: Any = None
