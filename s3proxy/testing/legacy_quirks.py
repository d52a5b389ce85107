"""
What a `LegacyStore` does otherwise than S3, by name, and which of it each kind of storage did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OBJECT_PARAMETERS = frozenset({"acl", "torrent", "versionId", "uploads", "partNumber", "uploadId"})
"""
Query names which Walrus and Riak CS know of an object. Source: eucalyptus/eucalyptus,
``WalrusProperties.ObjectParameter``; basho/riak_cs, ``SUBRESOURCES``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """
    Each is off where it is not named.

    Attributes:
        service_path: Before every bucket; as received, still percent-encoded.
        signs_service_path: Whether the service path is ``in`` the signed resource, ``out`` of it, or ``either``.
        refuses_v4: Signature V4 is not known.
        hashes_buffer: x-amz-content-sha256 is compared with the hash of what is buffered of a body, 100 KiB.
        refuses_iso_dates: x-amz-date is not taken as Signature V4 writes it.
        repeats_amz_date: The line of Date in the string to sign has x-amz-date, too, where that was sent.
        denies_only: A wrong key, signature or date is AccessDenied, like anything else that is not allowed.
        plus_is_space: ``+`` in a path, and in a copy's source, is a space.
        object_parameters: Query names which it knows of an object; others are ignored. None where they are refused.
        lacks_multi_delete: There is no DeleteObjects.
        ignores_write_conditions: A write with If-None-Match or If-Match is done whatever is there.
        own_codes: NoSuchEntity, ContentMismatch and "Invalid Range", where S3 has other names; UNKNOWN for faults.
        odd_ranges: A range is answered 200, its Content-Range has the length of the range for the object's size, a
            suffix is taken for a range from the beginning, and several ranges are a fault.
        bare_etags: Entity tags of conditions are compared with their quotation marks to one without.
        document_with_304: 304 has a document, which no answer of that status may have.
        exact_names: Range and conditions are read only as ``Range``, ``If-Match`` ...
        ignores_overrides: ``response-*`` is neither signed nor read.
        lists_v1: ``list-type`` and ``encoding-type`` are ignored.
        uuid_etags: The entity tag of an upload in parts is ``uuid-`` and a UUID.
        head_service_is_405: HEAD of the service is answered 405, without a signature.
        closes_on_errors: The connection ends after an error.
        closes_after_reads: The connection ends after GET of an object.
        trusts_rewrite_header: x-rcs-rewrite-path says which path was signed.
    """

    service_path: bytes = b""
    signs_service_path: str = "in"
    refuses_v4: bool = False
    hashes_buffer: bool = False
    refuses_iso_dates: bool = False
    repeats_amz_date: bool = False
    denies_only: bool = False
    plus_is_space: bool = False
    object_parameters: frozenset[str] | None = None
    lacks_multi_delete: bool = False
    ignores_write_conditions: bool = False
    own_codes: bool = False
    odd_ranges: bool = False
    bare_etags: bool = False
    document_with_304: bool = False
    exact_names: bool = False
    ignores_overrides: bool = False
    lists_v1: bool = False
    uuid_etags: bool = False
    head_service_is_405: bool = False
    closes_on_errors: bool = False
    closes_after_reads: bool = False
    trusts_rewrite_header: bool = False


_WALRUS = Quirks(
    refuses_v4=True,
    refuses_iso_dates=True,
    denies_only=True,
    plus_is_space=True,
    object_parameters=OBJECT_PARAMETERS,
    lacks_multi_delete=True,
    ignores_write_conditions=True,
    own_codes=True,
    odd_ranges=True,
    bare_etags=True,
    document_with_304=True,
    exact_names=True,
    ignores_overrides=True,
    lists_v1=True,
    uuid_etags=True,
    head_service_is_405=True,
    closes_on_errors=True,
)

MODES: dict[str, Quirks] = {
    # Its own multipart uploads never get an answer: those of the stand-in are S3's.
    "walrus-3.4": replace(_WALRUS, service_path=b"/services/Walrus", uuid_etags=False),
    "walrusbackend-4.x": replace(_WALRUS, service_path=b"/services/WalrusBackend", signs_service_path="either"),
    "osg-4.3": Quirks(
        service_path=b"/services/objectstorage",
        signs_service_path="either",
        hashes_buffer=True,
        repeats_amz_date=True,
        plus_is_space=True,
        object_parameters=OBJECT_PARAMETERS,
        ignores_write_conditions=True,
        odd_ranges=True,
        lists_v1=True,
        uuid_etags=True,
        head_service_is_405=True,
        closes_on_errors=True,
        closes_after_reads=True,
    ),
    "riakcs": Quirks(
        refuses_v4=True,
        plus_is_space=True,
        object_parameters=OBJECT_PARAMETERS,
        ignores_write_conditions=True,
        lists_v1=True,
        trusts_rewrite_header=True,
    ),
}
"""
By the names of their profiles. Source: eucalyptus/eucalyptus, the packages ``walrus``, ``walrus-common`` and
``object-storage``; basho/riak_cs, ``riak_cs_s3_auth``, ``riak_cs_s3_rewrite`` and ``riak_cs_s3_rewrite_legacy``.
"""
