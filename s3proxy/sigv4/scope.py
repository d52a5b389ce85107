"""
The credential scope.

Source:
    "Signature Calculations for the Authorization Header".
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

HMAC_ALGORITHM = b"AWS4-HMAC-SHA256"
TERMINAL = b"aws4_request"
SERVICE = b"s3"


class CredentialScope(NamedTuple):
    """
    The day, region and service that a signing key is valid for.

    Attributes:
        day: Eight digits.
        region: None under SigV4A, whose requests have a set of regions elsewhere.
    """

    day: bytes
    region: bytes | None
    service: bytes = SERVICE
    terminal: bytes = TERMINAL

    def __bytes__(self) -> bytes:
        return write_scope(self)


@lru_cache(maxsize=256)
def write_scope(scope: CredentialScope) -> bytes:
    """
    Return a scope as a string to sign has it. All requests of a day have the same few.
    """
    if scope.region is None:
        return b"/".join((scope.day, scope.service, scope.terminal))
    return b"/".join((scope.day, scope.region, scope.service, scope.terminal))


@lru_cache(maxsize=64)
def scope_of_day(day: bytes, region: str) -> CredentialScope:
    """
    Return the scope of one day and region: the same object for each request that is signed in it.
    """
    return CredentialScope(day, region.encode())
