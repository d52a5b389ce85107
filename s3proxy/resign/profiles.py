"""
What each kind of backend wants, as data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import unquote_to_bytes

from s3proxy.resign.operations import operation_name
from s3proxy.s3.address import Address
from s3proxy.s3.errors import AccessDenied, NotImplementedByProxy
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
class HealthRequest:
    """
    What a backend is asked, without a signature, to see whether it works.

    Attributes:
        path: Below the service path.
        statuses: Those which say so; empty where any below 500 does.
    """

    method: bytes = b"GET"
    path: bytes = b"/"
    statuses: frozenset[int] = frozenset()

    def is_healthy(self, status: int) -> bool:
        """
        Say whether an answer with this status says that it works.
        """
        return status in self.statuses if self.statuses else status < 500


ANY_BELOW_500 = HealthRequest()
"""
Whoever answers at all is there.
"""

BY_STATUS = (b"", b"")
"""
In an error-code map: S3's code is the one which goes with the answer's status.
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """
    One kind of backend. All are addressed in path style.

    Attributes:
        service_path: Goes before the path of every request; empty for most.
        signs_service_path: Whether Signature V2 covers it.
        date_form: For Signature V2.
        takes_hashes: Whether the hash of a streamed body may be signed with Signature V4; else its payload is unsigned.
        takes_checksums: Whether ``x-amz-checksum-*`` headers may be passed; else they are dropped once verified.
        takes_trailers: Whether a streamed body may come aws-chunked with its checksum in a trailer, under Signature V4;
            else that checksum stays here, and so does every one of a multipart upload. Needs `takes_checksums`.
        escapes_plus: Whether ``+`` in a path must be sent as ``%2B``, because it is read as a space.
        sends_expect: Whether the backend is asked with ``Expect: 100-continue`` before a streamed body.
        proves_tail: Whether the backend was seen to drop a body which was reset before its end.
        reserved_segments: First path segments, lower case, which are not buckets but surfaces of its own.
        private_headers: Prefixes of headers, lower case, by which it takes orders from its own kind.
        health: Asked to see whether it works.
        v2_subresources: Query names which its Signature V2 covers.
        operations: Those which it has, as `s3proxy.resign.operations.operation_name` names them; the others are
            answered 501 before it. None where it has them all, or tells for itself what it lacks.
        error_codes: Codes of its own, each with S3's code where the operation is about an object, and where it is not.
        mends_reads: Whether Range and conditions of a GET must be put as it reads them, and ranged answers be mended.
        overrides_answers: Whether ``response-*`` is kept from it, and done here: it reads or signs none of that.
        lists_v1: Whether it knows only the first version of a bucket's listing.
        refused_keys: Found in a key, decoded, which it cannot hold, or holds under another name; None for nothing.
        deletes_one_by_one: Whether DeleteObjects, which it lacks, is carried out as one DELETE for each object.
    """

    name: str
    service_path: bytes = b""
    signs_service_path: bool = False
    date_form: DateForm = DateForm.AMZ_DATE
    takes_hashes: bool = True
    takes_checksums: bool = False
    takes_trailers: bool = False
    escapes_plus: bool = False
    sends_expect: bool = False
    proves_tail: bool = False
    reserved_segments: frozenset[bytes] = frozenset()
    private_headers: tuple[bytes, ...] = ()
    health: HealthRequest = ANY_BELOW_500
    v2_subresources: frozenset[bytes] = V2_SUBRESOURCES
    operations: frozenset[str] | None = None
    error_codes: Mapping[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    mends_reads: bool = False
    overrides_answers: bool = False
    lists_v1: bool = False
    refused_keys: re.Pattern[bytes] | None = None
    deletes_one_by_one: bool = False
    is_plain: bool = field(init=False)
    "whether nothing of a request or an answer is to be mended"
    taken_operations: frozenset[str] | None = field(init=False)
    "those which clients may ask for: its own, and what is made of them"

    def __post_init__(self) -> None:
        is_mended = self.escapes_plus or self.mends_reads or self.overrides_answers or self.lists_v1
        object.__setattr__(self, "is_plain", not (is_mended or self.error_codes))
        taken = self.operations
        if taken is not None and self.deletes_one_by_one:
            taken |= {"POST bucket?delete"}
        object.__setattr__(self, "taken_operations", taken)


_CORE_OPERATIONS = frozenset(
    {
        "GET service",
        "HEAD service",
        "HEAD bucket",
        "GET bucket",
        "GET bucket?list-type",
        "PUT bucket",
        "DELETE bucket",
        "GET bucket?acl",
        "PUT bucket?acl",
        "GET bucket?location",
        "HEAD object",
        "GET object",
        "PUT object",
        "PUT object?copy-source",
        "DELETE object",
        "GET object?acl",
        "PUT object?acl",
        "POST object?uploads",
        "PUT object?partNumber&uploadId",
        "POST object?uploadId",
        "DELETE object?uploadId",
    }
)
"""
What all of the older ones have.
"""

_WALRUS_OPERATIONS = _CORE_OPERATIONS | {
    "GET bucket?logging",
    "PUT bucket?logging",
    "GET bucket?versioning",
    "PUT bucket?versioning",
    "GET bucket?versions",
}
"""
Source: eucalyptus/eucalyptus, ``WalrusRESTBinding``: the operations of ``populateOperationMap``. A sub-resource which
it does not know is not refused there but ignored: ``PUT /bucket/key?tagging`` would write the tags over the object.
"""

_OSG_OPERATIONS = _WALRUS_OPERATIONS | {
    *(f"{method} bucket?{name}" for method in ("GET", "PUT", "DELETE") for name in ("cors", "lifecycle", "tagging")),
    "GET bucket?uploads",
    "GET object?uploadId",
    "POST bucket?delete",
    "OPTIONS bucket",
    "OPTIONS object",
}
"""
Source: eucalyptus/eucalyptus, ``SUPPORTED_OPS`` of ``ObjectStorageGETBinding`` and its siblings.
"""

_RIAKCS_OPERATIONS = _CORE_OPERATIONS - {"HEAD service"} | {
    *(f"{method} bucket?policy" for method in ("GET", "PUT", "DELETE")),
    "GET bucket?uploads",
    "GET bucket?versioning",
    "GET object?uploadId",
    "POST bucket?delete",
    "PUT object?copy-source&partNumber&uploadId",
}
"""
Source: "Riak CS Storage API", its table of features; basho/riak_cs, ``riak_cs_s3_rewrite``: an unknown sub-resource is
ignored there, too.
"""

_WALRUS_SUBRESOURCES = frozenset(
    {
        b"acl",
        b"cors",
        b"lifecycle",
        b"location",
        b"logging",
        b"notification",
        b"partNumber",
        b"policy",
        b"requestPayment",
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
Source: eucalyptus/eucalyptus, ``WalrusProperties.SubResource``.
"""

_WALRUS_CODES: dict[bytes, tuple[bytes, bytes]] = {
    b"ContentMismatch": (b"BadDigest", b"BadDigest"),
    b"Invalid Range": (b"InvalidRange", b"InvalidRange"),
    b"NoSuchEntity": (b"NoSuchKey", b"NoSuchBucket"),
    b"UNKNOWN": BY_STATUS,
}
"""
Source: eucalyptus/eucalyptus, the exceptions of ``walrus-common`` and ``WalrusRESTExceptionHandler``.
"""

_NOT_IN_XML = rb"[\0-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]"
"""
What a listing cannot tell which is plain XML, whatever encoding is asked for.
"""

_EUCALYPTUS = Profile(
    "eucalyptus",
    date_form=DateForm.DATE,
    escapes_plus=True,
    reserved_segments=frozenset({b"services"}),
    private_headers=(b"euca",),
    error_codes=_WALRUS_CODES,
    mends_reads=True,
    overrides_answers=True,
    lists_v1=True,
)
"""
What its storages have in common, which are one family.
"""

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
            refused_keys=re.compile(rb"\0"),
        ),
        Profile(
            "swift",
            proves_tail=True,
            # Whatever comes unsigned is Swift's own API; health checks are answered before the S3 API is asked.
            reserved_segments=frozenset({b"v1", b"v1.0", b"auth", b"info", b"healthcheck", b"endpoints"}),
            private_headers=(
                b"x-account-",
                b"x-auth-",
                b"x-backend-",
                b"x-container-",
                b"x-copy-",
                b"x-delete-",
                b"x-fresh-",
                b"x-history-",
                b"x-if-delete-",
                b"x-object-",
                b"x-remove-",
                b"x-service-",
                b"x-static-large-object",
                b"x-storage-",
                b"x-symlink-",
                b"x-timestamp",
                b"x-versions-",
            ),
            health=HealthRequest(path=b"/healthcheck", statuses=frozenset({200})),
            refused_keys=re.compile(rb"\0"),
        ),
        replace(
            _EUCALYPTUS,
            name="walrus-3.4",
            service_path=b"/services/Walrus",
            signs_service_path=True,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            v2_subresources=_WALRUS_SUBRESOURCES,
            operations=_WALRUS_OPERATIONS,
            refused_keys=re.compile(_NOT_IN_XML),
            deletes_one_by_one=True,
        ),
        replace(
            _EUCALYPTUS,
            name="osg-4.3",
            service_path=b"/services/objectstorage",
            # It compares the hash with that of the 100 KiB which it has buffered.
            takes_hashes=False,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            operations=_OSG_OPERATIONS,
        ),
        replace(
            _EUCALYPTUS,
            name="walrusbackend-4.x",
            service_path=b"/services/WalrusBackend",
            health=HealthRequest(b"HEAD", b"", frozenset({405})),
            v2_subresources=_WALRUS_SUBRESOURCES,
            operations=_WALRUS_OPERATIONS,
            deletes_one_by_one=True,
        ),
        Profile(
            "riakcs",
            escapes_plus=True,
            reserved_segments=frozenset({b"riak-cs", b"usage"}),
            # By x-rcs-rewrite-path a client would choose what its signature is held against.
            private_headers=(b"x-rcs-",),
            health=HealthRequest(path=b"/riak-cs/ping", statuses=frozenset({200})),
            operations=_RIAKCS_OPERATIONS,
            overrides_answers=True,
            lists_v1=True,
        ),
        Profile(
            "minio",
            takes_checksums=True,
            takes_trailers=True,
            proves_tail=True,
            reserved_segments=frozenset({b"minio"}),
            private_headers=(b"x-minio-",),
            health=HealthRequest(path=b"/minio/health/live", statuses=frozenset({200})),
        ),
        Profile(
            "versitygw",
            takes_checksums=True,
            takes_trailers=True,
            # Paths of files: what is empty or dots goes, and ".sgwtmp" is its own.
            refused_keys=re.compile(rb"(?:^|/)\.{0,2}/|(?:^|/)\.{1,2}\Z|^\.sgwtmp(?:/|\Z)|" + _NOT_IN_XML),
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


def check_operation_taken(
    operations: frozenset[str], head: RequestHead, address: Address, authentication_names: frozenset[bytes]
) -> None:
    """
    Refuse at once what a backend lacks. It is spared; and where it would ignore what it does not know, it would do
    something else than it was asked for.

    Args:
        operations: Those which it has, or which are made of them.

    Raises:
        NotImplementedByProxy: This one is not among them.
    """
    if operation_name(head, address, authentication_names) not in operations:
        raise NotImplementedByProxy


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
