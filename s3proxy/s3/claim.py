"""
What a client claims about its request: who signed it, how, and over what. Well-formed, not yet believed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, RequestTimeTooSkewed, S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_CLOCK_SKEW_SECONDS
from s3proxy.s3.payload import Payload

MAX_CLOCK_SKEW = timedelta(seconds=MAX_CLOCK_SKEW_SECONDS)

Waivable = list[tuple[Exemption, S3Error]]
"""
Errors that an exemption of the key may waive, each with the exemption, in the order they were found.
"""


_VERSIONS = {"v4": "SigV4", "v4a": "SigV4A", "v2": "SigV2"}
_PLACES = {"header": "AuthHeader", "query": "QueryString", "certificate": "Certificate"}


class Carrier(IdentityEnum):
    """
    Where a request has its signature, and of which kind it is; or what stands for a signature. The value is the
    configuration's word for it.

    Attributes:
        version: Version of the signature, as S3's access log names it; None if there is no signature.
        place: Where the signature is, as S3's access log names it; None for a form or if there is no signature. S3 has
            no client certificates, and no word for them.
    """

    V4_HEADER = "v4-header"
    V4_QUERY = "v4-query"
    V4_FORM = "v4-form"
    V4A_HEADER = "v4a-header"
    V4A_QUERY = "v4a-query"
    V2_HEADER = "v2-header"
    V2_QUERY = "v2-query"
    V2_FORM = "v2-form"
    CERTIFICATE = "certificate"
    ANONYMOUS = "anonymous"

    def __init__(self, word: str) -> None:
        version, _, place = word.partition("-")
        self.version = _VERSIONS.get(version)
        self.place = _PLACES.get(place or version)


@dataclass(slots=True, eq=False, repr=False)
class Claim:
    """
    A request's claim.

    Attributes:
        head: The head that is judged, and forwarded once it is believed: as received, except that some query parameters
            are now headers.
        claimed_access_key_id: As sent.
        claimed_signature: As sent.
        session_token: As sent, or None.
        signed_headers: Lower-case names of the headers that the signature covers; empty for a form.
        waivable: Errors that an exemption may waive. If there are any, the key is looked up only for its exemptions.
        verified_text: The string to sign that the signature was made over; empty until it is verified.
    """

    carrier: Carrier
    head: RequestHead
    claimed_access_key_id: bytes
    claimed_signature: bytes
    session_token: bytes | None
    payload: Payload
    signed_headers: tuple[bytes, ...]
    waivable: Waivable = field(default_factory=list, kw_only=True)
    verified_text: bytes = field(default=b"", init=False)

    def signed_at(self) -> datetime | None:
        """
        Return the time at which the signature was made, by the client's clock; None if the signature does not say it.
        """
        return None

    def fingerprint(self) -> bytes:
        """
        Return a hash of the access key and of the string it signed: the same for every spelling of one signature.

        A SigV4A signature has many spellings, and nobody needs the key to write them: hex in either case, s or n - s.

        Returns:
            32 bytes.

        Raises:
            ValueError: The signature was not verified.
        """
        if not self.verified_text:
            raise ValueError("this signature was not verified")
        key = self.claimed_access_key_id
        return hashlib.sha256(b"%d\n%s\n%s" % (len(key), key, self.verified_text)).digest()


def refuse(waivable: Waivable, error: S3Error) -> NoReturn:
    """
    Raise an error, or the first waivable one if there is one: S3 reports the first error, and no key was looked up yet.
    """
    raise waivable[0][1] if waivable else error


def read_request_date(fields: Fields, now: datetime, waivable: Waivable) -> datetime:
    """
    Return the date of a request that is signed in a header, checked against our clock.

    Args:
        now: Aware, UTC.
        waivable: RequestTimeTooSkewed is added to it if the date is too far away.

    Raises:
        AccessDenied: There is no readable date. If x-amz-date is bad, Date is not used instead.
    """
    raw_date = fields.value(b"x-amz-date")
    if raw_date is None:
        raw_date = fields.value(b"date")
    signed_at = parse_date(raw_date) if raw_date is not None else None
    if raw_date is None or signed_at is None:
        raise AccessDenied("AWS authentication requires a valid Date or x-amz-date header")
    if abs(now - signed_at) > MAX_CLOCK_SKEW:
        waivable.append((Exemption.CLOCK_SKEW, RequestTimeTooSkewed(raw_date, now, MAX_CLOCK_SKEW_SECONDS * 1000)))
    return signed_at
