"""
What the proxy knows of a request that this room carries out.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from datetime import datetime

from twisted.python.failure import Failure

from s3proxy.authentication.verdict import Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.frontend.forwarded import Origin
from s3proxy.mending.deletions import Outcome
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import Operation


@dataclass(frozen=True, slots=True)
class MultipartContext:
    """
    What the proxy knows of one request.

    Attributes:
        head: Authorized.
        regions: Those that clients may name.
        origin: Who the client is.
        object_size: Bytes of one object of the storage, at most.
        wall_clock: The time of our own signatures.
        write_error: Writes the document of an error whose status can no longer be sent.
        write_failure: Does the same for whatever has gone wrong.
    """

    head: RequestHead
    address: Address
    operation: Operation
    authenticated: Authenticated
    backend: Backend
    regions: Container[bytes]
    origin: Origin
    object_size: int
    wall_clock: Callable[[], datetime]
    write_error: Callable[[Outcome], bytes]
    write_failure: Callable[[Failure], bytes]
