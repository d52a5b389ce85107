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
        head: The authorized head.
        regions: The regions that clients may name.
        origin: The client, as far as it is known.
        object_size: Maximum size of one object of the backend, in bytes.
        wall_clock: Returns the time for the signatures of s3proxy.
        write_error: Returns the document of an error whose status can no longer be sent.
        write_failure: Returns the same document for any other failure.
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
