"""
Why no answer came from a backend, and what its client reads then.
"""

from __future__ import annotations

from enum import auto

from s3proxy.s3.errors import InternalError, S3Error, ServiceUnavailable, SlowDown
from s3proxy.s3.identity_enum import IdentityEnum


class BackendFault(IdentityEnum):
    """
    Why no answer came from a backend.
    """

    UNREACHABLE = auto()
    "refused, timed out connecting, or its TLS did not verify; no byte of the request was sent"
    LOST = auto()
    "reset or garbage within an answer"
    UNANSWERED = auto()
    "reset or ended before any byte of an answer, also after all bytes were sent"
    SILENT = auto()
    "no first byte of an answer in time"
    STALLED = auto()
    "it took no byte of the body for its idle time"
    STALE = auto()
    "a reused connection died, and what was sent cannot be sent again"
    OPEN = auto()
    "it failed so often in a row that it is not asked for a while"
    BUSY = auto()
    "all connections which it may have were in use for too long"


def error_for_fault(fault: BackendFault) -> S3Error:
    """
    Return what the client reads when its backend failed before an answer.
    """
    if fault in {BackendFault.LOST, BackendFault.UNANSWERED}:
        return InternalError()
    if fault in {BackendFault.STALE, BackendFault.BUSY}:
        return SlowDown()
    return ServiceUnavailable()
