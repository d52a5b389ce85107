"""
A request for a backend, its time limits, and the exception for a missing response.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True, slots=True)
class BackendLimits:
    """
    The limits for one backend: times in seconds, and numbers of connections.

    Attributes:
        connect_time: For a connection, its TLS handshake included; also for the wait where all connections are in use.
        idle_time: Between two bytes of an answer which we are ready to read, and without taking a byte of a request.
        continue_time: For ``100 Continue``, before the body is sent without it.
        pooled_time: An unused connection is kept.
        pooled_upload_time: An unused connection is fit for a body which cannot be sent a second time.
        max_connections: In all, whatever they do.
        max_pooled: Unused ones among them.
        breaker_failures: In a row, of reaching it or of getting an answer in time, after which it is not asked for a
            while; 0 for never.
        breaker_time: For so long.
        socket_buffer: Bytes which the kernel may keep for a connection in each direction. 0 leaves it to the kernel.
    """

    connect_time: float = 5.0
    idle_time: float = 60.0
    continue_time: float = 1.0
    pooled_time: float = 25.0
    pooled_upload_time: float = 2.0
    max_connections: int = 256
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
        head: All of it, signed, with the empty line at its end; sent byte for byte.
        content: A body which was held. It follows the head in the same write, and can be sent again.
        is_idempotent: Whether it may be sent again when a reused connection died without an answer.
        first_byte_time: Seconds from its last byte to an answer's head.
        expects_continue: Whether the head asks for ``100 Continue``: the body waits for it a while.
        absoluteURI: What treq was given; nothing is sent of it.
        headers: The same.
        response: The answer as it came, for those who see only what treq made of it.
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
