"""
Why a backend sent no response, and the error that its client gets.
"""

from __future__ import annotations

from enum import auto

from s3proxy.s3.errors import InternalError, S3Error, ServiceUnavailable, SlowDown
from s3proxy.s3.identity_enum import IdentityEnum


class BackendFault(IdentityEnum):
    """
    Why a backend sent no response.
    """

    UNREACHABLE = auto()
    "refused, timed out connecting, or its TLS did not verify; no byte of the request was sent"
    LOST = auto()
    "reset or invalid bytes within a response"
    UNANSWERED = auto()
    "reset or ended before any byte of a response, also after all bytes were sent"
    SILENT = auto()
    "no first byte of a response in time"
    STALLED = auto()
    "it took no byte of the body for its idle time"
    STALE = auto()
    "a reused connection died, and the request cannot be sent again"
    OPEN = auto()
    "the breaker is open after repeated failures; no request is sent for a time"
    BUSY = auto()
    "all allowed connections were in use for too long"


def error_for_fault(fault: BackendFault) -> S3Error:
    """
    Return the error for a client whose backend failed before a response.
    """
    if fault in {BackendFault.LOST, BackendFault.UNANSWERED}:
        return InternalError()
    if fault in {BackendFault.STALE, BackendFault.BUSY}:
        return SlowDown()
    return ServiceUnavailable()
