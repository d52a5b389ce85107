"""
What a backend got of an upload.
"""

from __future__ import annotations

from s3proxy.s3.head import RequestHead
from s3proxy.testing.faulty_backend import ReceivedRequest
from tests.support.harness import BACKEND_KEY, Harness
from tests.support.signer import (
    Signer,
)


def field(head: RequestHead, name: str) -> str | None:
    value = head.fields.value(name.encode())
    return None if value is None else value.decode()


def backend_signer(host: str = "") -> Signer:
    """
    Return a signer with s3proxy's key, as the backend knows it.
    """
    return Signer(BACKEND_KEY.access_key_id, BACKEND_KEY.secret_access_key, host=host)


def stored(harness: Harness) -> ReceivedRequest:
    (request,) = harness.backend.requests
    return request
