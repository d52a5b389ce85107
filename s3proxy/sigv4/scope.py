"""
The credential scope.

Source:
    "Signature Calculations for the Authorization Header".
"""

from __future__ import annotations

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
        if self.region is None:
            return b"/".join((self.day, self.service, self.terminal))
        return b"/".join((self.day, self.region, self.service, self.terminal))
