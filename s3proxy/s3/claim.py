"""
What a client claims of its request: who signed it, how, and over what. Well-formed, and not yet believed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, RequestTimeTooSkewed, S3Error
from s3proxy.s3.head import Fields, RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MAX_CLOCK_SKEW_SECONDS
from s3proxy.s3.payload import Payload

MAX_CLOCK_SKEW = timedelta(seconds=MAX_CLOCK_SKEW_SECONDS)

Waivable = list[tuple[str, S3Error]]
"""
Faults which a key's own exemptions may waive, by the exemption's name, in the order in which they were found.
"""


class Carrier(IdentityEnum):
    """
    Where a request carries its signature, and of which kind that is; the value is the configuration's word for it.
    """

    V4_HEADER = "v4-header"
    V4_QUERY = "v4-query"
    V4_FORM = "v4-form"
    V4A_HEADER = "v4a-header"
    V4A_QUERY = "v4a-query"
    V2_HEADER = "v2-header"
    V2_QUERY = "v2-query"
    V2_FORM = "v2-form"
    ANONYMOUS = "anonymous"

    @property
    def version(self) -> str | None:
        """
        The signature's version as S3's access log names it; None where there is no signature.
        """
        if self is Carrier.ANONYMOUS:
            return None
        return "SigV2" if self.value.startswith("v2") else "SigV4A" if self.value.startswith("v4a") else "SigV4"

    @property
    def place(self) -> str | None:
        """
        Where the signature is, as S3's access log names it; None for a form and where there is no signature.
        """
        if self.value.endswith("header"):
            return "AuthHeader"
        return "QueryString" if self.value.endswith("query") else None


@dataclass(slots=True, eq=False, repr=False)
class Claim:
    """
    A request's claim.

    Attributes:
        head: What is judged, and forwarded once it is believed: as received, but for what its query turned into
            headers.
        claimed_access_key_id: As sent.
        claimed_signature: As sent.
        session_token: As sent, or None.
        signed_headers: Lower-case names of the headers which the signature covers; none of a form's own.
        waivable: While there is one, the key is looked up only for its exemptions.
    """

    carrier: Carrier
    head: RequestHead
    claimed_access_key_id: bytes
    claimed_signature: bytes
    session_token: bytes | None
    payload: Payload
    signed_headers: tuple[bytes, ...]
    waivable: Waivable = field(default_factory=list, kw_only=True)


def read_request_date(fields: Fields, now: datetime, waivable: Waivable) -> datetime:
    """
    Read the date of a request which is signed in a header, and hold it against our clock.

    Args:
        now: Aware, UTC.
        waivable: RequestTimeTooSkewed is added where the date is too far away.

    Raises:
        AccessDenied: There is no date which can be read. A bad x-amz-date is not rescued by Date.
    """
    raw_date = fields.value(b"x-amz-date")
    if raw_date is None:
        raw_date = fields.value(b"date")
    signed_at = parse_date(raw_date) if raw_date is not None else None
    if raw_date is None or signed_at is None:
        raise AccessDenied("AWS authentication requires a valid Date or x-amz-date header")
    if abs(now - signed_at) > MAX_CLOCK_SKEW:
        waivable.append(("clock-skew", RequestTimeTooSkewed(raw_date, now, MAX_CLOCK_SKEW_SECONDS * 1000)))
    return signed_at
