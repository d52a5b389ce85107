"""
What each kind of backend wants, as data.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from s3proxy.s3.address import Address
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead
from s3proxy.s3.identity_enum import IdentityEnum


class DateForm(IdentityEnum):
    """
    How a backend reads the date of a Signature V2 request.
    """

    AMZ_DATE = "x-amz-date"
    "in x-amz-date, RFC 1123"
    DATE = "date"
    "in Date, RFC 1123; x-amz-date is refused or misread"


V2_SUBRESOURCES = frozenset(
    {
        b"acl",
        b"cors",
        b"delete",
        b"encryption",
        b"lifecycle",
        b"location",
        b"logging",
        b"notification",
        b"object-lock",
        b"partNumber",
        b"policy",
        b"policyStatus",
        b"publicAccessBlock",
        b"requestPayment",
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
        b"restore",
        b"tagging",
        b"torrent",
        b"uploadId",
        b"uploads",
        b"versionId",
        b"versioning",
        b"versions",
        b"website",
    }
)
"""
Query names which Signature V2 covers at most backends: the documentation's list, and those which came later.
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """
    One kind of backend.

    Attributes:
        service_path: Goes before the path of every request; empty for most.
        signs_service_path: Whether Signature V2 covers it.
        date_form: For Signature V2.
        takes_checksums: Whether ``x-amz-checksum-*`` headers may be passed; else they are dropped once verified.
        escapes_plus: Whether ``+`` in a path must be sent as ``%2B``, because it is read as a space.
        sends_expect: Whether the backend is asked with ``Expect: 100-continue`` before a streamed body.
        proves_tail: Whether the backend was seen to drop a body which was reset before its end.
        reserved_segments: First path segments, lower case, which are not buckets but surfaces of its own.
        private_headers: Prefixes of headers, lower case, by which it takes orders from its own kind.
        health_path: Asked for, without a signature, to see whether it works; below the service path.
        v2_subresources: Query names which its Signature V2 covers.
    """

    name: str
    service_path: bytes = b""
    signs_service_path: bool = False
    date_form: DateForm = DateForm.AMZ_DATE
    takes_checksums: bool = False
    escapes_plus: bool = False
    sends_expect: bool = False
    proves_tail: bool = False
    reserved_segments: frozenset[bytes] = frozenset()
    private_headers: tuple[bytes, ...] = ()
    health_path: bytes = b"/"
    v2_subresources: frozenset[bytes] = V2_SUBRESOURCES


PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("generic", takes_checksums=True),
        Profile(
            "ceph-rgw",
            proves_tail=True,
            reserved_segments=frozenset({b"admin", b"swift", b"auth"}),
            private_headers=(b"rgwx-", b"x-rgw-", b"http_x_rgw"),
            # As 16.2 has them: it came to know the operations, and its Signature V2 did not.
            v2_subresources=V2_SUBRESOURCES - {b"encryption", b"object-lock", b"restore"},
        ),
        Profile(
            "walrus-3.4",
            service_path=b"/services/Walrus",
            signs_service_path=True,
            date_form=DateForm.DATE,
            escapes_plus=True,
            reserved_segments=frozenset({b"services"}),
        ),
    )
}
"""
The profiles by name.
"""


@dataclass(frozen=True, slots=True, repr=False)
class BackendKey:
    """
    The account which signs for us on a backend.
    """

    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"<BackendKey {self.access_key_id}>"


def check_private_surface(profile: Profile, head: RequestHead, address: Address) -> None:
    """
    Refuse what is not S3 at the backend, whoever asks: our own key there may have rights which no client has.

    Args:
        profile: Of the backend which the request would go to.

    Raises:
        AccessDenied: The first segment of the path which the backend would see is one of its own surfaces, or a header
            gives orders of its own kind.
    """
    if profile.reserved_segments:
        # In virtual-hosted style the bucket may become the first segment, or the key where the host is kept. An empty
        # segment or a dot may vanish at the backend, so the first which has a name counts; so does a double escape.
        for name in (address.bucket, *_first_names(head.raw_path)):
            if name.lower() in profile.reserved_segments:
                raise AccessDenied
    for prefix in profile.private_headers:
        for header in head.fields:
            if header.startswith(prefix) or header.replace(b"_", b"-").startswith(prefix):
                raise AccessDenied


def _first_names(raw_path: bytes) -> list[bytes]:
    names: list[bytes] = []
    path = raw_path
    for _ in range(3):
        segments = [segment for segment in path.split(b"/") if segment not in {b"", b".", b".."}]
        names += segments[:1]
        if b"%" not in path:
            break
        path = unquote_to_bytes(path)
    return names
