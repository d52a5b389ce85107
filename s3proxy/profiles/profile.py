"""
The profile of a storage system: what s3proxy knows of it, as data.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import NamedTuple

from s3proxy.profiles.allowed import ALL_FEATURES, EXTENSIONS, Allowed, Extension, Feature
from s3proxy.profiles.ignored import APPENDING, ConditionPolicy, Conditions
from s3proxy.profiles.operations import ALL_OPERATIONS
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.operation import VALUELESS_NAMES


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
Query names that Signature V2 covers at most backends: those in the documentation, and newer ones.
"""


@dataclass(frozen=True, slots=True)
class HealthRequest:
    """
    An unsigned request that shows whether a backend works.

    Attributes:
        path: Path below the service path.
        statuses: Status codes of a healthy backend; empty for any below 500.
    """

    method: bytes = b"GET"
    path: bytes = b"/"
    statuses: frozenset[int] = frozenset()

    def is_healthy(self, status: int) -> bool:
        """
        Return True if a response with this status code shows that the backend works.
        """
        return status in self.statuses if self.statuses else status < 500


ANY_BELOW_500 = HealthRequest()
"""
Any response with a status code below 500 shows that the backend works.
"""


@dataclass(frozen=True, slots=True)
class TargetForm:
    """
    How to rewrite a request target for a backend, from the decoded bucket, key and query.

    Attributes:
        unescaped: Bytes of a key that are not escaped, in addition to letters, digits and ``-._~``.
        query_names: Query names that the backend knows. Others are not sent.
        valueless_names: Those of them that are sent without a value and without ``=``.
    """

    unescaped: str
    query_names: frozenset[bytes]
    valueless_names: frozenset[bytes] = VALUELESS_NAMES


@dataclass(frozen=True, slots=True)
class Restrictions:
    """
    Requests that are valid in S3, but that a backend would lose, misread or never respond to. s3proxy refuses them.

    Attributes:
        max_key_length: Most characters of a key that is written; 0 for S3's own limit.
        max_value_length: Most characters of a content type, a content disposition, and a name or value of metadata; 0
            for S3's own limit.
        max_line_size: Most bytes of the first line of a request, without its CRLF; 0 for no limit.
        max_headers_size: Most bytes of all header lines; 0 for no limit.
        refused_sources: Pattern of refused copies: found in the decoded key of the source; None for no refusal.
        max_copy_size: Most bytes of the source of a CopyObject; 0 for no limit. Of a larger one the backend would copy
            the beginning.
        refused_delimiters: Pattern of refused lists: found in the delimiter.
        refused_prefixes: Pattern of refused lists: found in the prefix.
        refused_names: Pattern of refused lists: found in a parameter that the document repeats but cannot hold.
        refused_headers: Lower-case names of headers that no write may have: the backend would ignore them, and write.
        refused_object_headers: Lower-case names of headers that no object may have.
        ignores_acls: Whether ``x-amz-acl`` has no effect: everything is ``private``.
        ignores_acl_of_copies: Whether ``x-amz-acl`` of a copy has no effect.
        lossy_headers: Headers of an object that are not stored and have no other effect. They are not sent.
        lossy_headers_of_copies: Further headers that are not stored for a copy.
        lossy_properties: Further headers that are not stored for any object, nor for a copy with either directive.
        refuses_loss: Whether an object with such a header is refused.
        refused_parameters: Query names that an operation has in S3, but not at this backend.
        max_document_size: Most bytes of a document, as sent; 0 for no limit. The backend reads a longer one as empty.
    """

    max_key_length: int = 0
    max_value_length: int = 0
    max_line_size: int = 0
    max_headers_size: int = 0
    refused_sources: re.Pattern[bytes] | None = None
    max_copy_size: int = 0
    refused_delimiters: re.Pattern[bytes] | None = None
    refused_prefixes: re.Pattern[bytes] | None = None
    refused_names: re.Pattern[bytes] | None = None
    refused_headers: frozenset[bytes] = frozenset()
    refused_object_headers: frozenset[bytes] = frozenset()
    ignores_acls: bool = False
    ignores_acl_of_copies: bool = False
    lossy_headers: frozenset[bytes] = frozenset()
    lossy_headers_of_copies: frozenset[bytes] = frozenset()
    lossy_properties: frozenset[bytes] = frozenset()
    refuses_loss: bool = False
    refused_parameters: Mapping[str, frozenset[bytes]] = field(default_factory=dict)
    max_document_size: int = 0


BY_STATUS = (b"", b"")
"""
In a map of error codes: use the S3 code that belongs to the status of the response.
"""


class RangeLimits(NamedTuple):
    """
    Ranges that cannot be requested from a backend. s3proxy requests the whole object, and cuts the range out of it.

    Attributes:
        max_size: Most bytes of one range; 0 for no limit.
        ignores_versions: Whether the backend may return a range of another version than the requested one.
    """

    max_size: int = 0
    ignores_versions: bool = False


_MENDED = {"is_mended": True}
"""
Of the field of a quirk for which requests and responses are mended: see `s3proxy.mending.mending`. A profile that has
one cannot be taken for plain.
"""


@dataclass(frozen=True, slots=True)
class Profile:
    """
    One kind of backend. All are addressed in path style.

    Attributes:
        service_path: Prefix of the path of every request; empty for most.
        signs_service_path: Whether Signature V2 covers `service_path`.
        date_form: How the date is sent under Signature V2.
        takes_hashes: Whether the hash of a streamed body may be signed with Signature V4. If not, its payload is sent
            as unsigned.
        takes_checksums: Whether ``x-amz-checksum-*`` headers may be sent. If not, they are dropped once verified.
        takes_trailers: Whether a streamed body may be sent aws-chunked with its checksum in a trailer, under Signature
            V4. If not, that checksum is not sent, nor is any of a multipart upload. Requires `takes_checksums`.
        escapes_plus: Whether ``+`` in a path must be sent as ``%2B``, because the backend reads it as a space.
        sends_expect: Whether a streamed body is sent only after ``Expect: 100-continue``.
        proves_tail: Whether the backend was seen to discard a body whose connection was reset before its end.
        spooled_size: Bytes up to which a body is verified on disk first, unless the operator configures otherwise: a
            cut body costs the backend more than the body itself. 0 for never.
        reserved_segments: First path segments, lower case, that are not buckets but interfaces of the backend's own.
        private_headers: Prefixes of headers, lower case, that control functions of the backend's own.
        health: The request that shows whether the backend works.
        lacks_v4: Whether it refuses Signature V4, so that `signature` must be ``v2``.
        v2_subresources: Query names that its Signature V2 covers.
        signs_empty_values: Whether its Signature V2 has the ``=`` of an empty value.
        dropped_headers: Names, lower case, of headers that change its responses and have no meaning in S3.
        private_parameters: Prefixes of query names, lower case, that control functions of the backend's own.
        operations: Names of the S3 operations that it has, or refuses itself. s3proxy responds 501 to the others.
        features: Functions that headers may request. s3proxy responds 501 to a write that requests another.
        extensions: Functions beyond S3 that may be allowed.
        error_codes: Error codes of its own, each with S3's code for an operation on an object, and for any other.
            Requires `writes_own_errors`.
        mends_reads: Whether Range and conditions of a GET must be rewritten for it, and ranged responses be mended.
            Conditions on the source of a copy are not sent, but checked with a HEAD before the copy.
        lacks_part_reads: Whether it cannot read one part of an object: the first part is the whole object then, as with
            `mends_reads`.
        range_limits: Ranges of a measured object that cannot be requested.
        misreads_documents: Whether it reads documents in another way than S3. They are rewritten for it.
        writes_own_errors: Whether its error documents differ from those of S3. They are rewritten for the client.
        checks_results: Whether it may report success for a request that failed. Each success is checked, and documents
            are rewritten as S3 writes them. An entity tag is compared with the MD5 if the client sent one.
        loses_objects: Whether it may report success for an object that it has not stored. s3proxy computes the MD5 of
            each object, and compares it with the entity tag. No body is spliced then.
        filters_pages: Whether a listing may have names that do not begin with the prefix.
        hides_unversioned: Whether its list of versions is empty for a bucket that never had any.
        misplaces_latest: Whether a copy to a key leaves two latest versions there, and the deletion of the latest one
            leaves none: the versions of the key are asked for before, and such a request is refused.
        overrides_responses: Whether ``response-*`` is kept from it, and done here: it reads or signs none of that.
        lists_v1: Whether it knows only the first version of a bucket's listing.
        unencoded_lists: Names of lists, of either version, whose names it does not encode, or not all of them, or does
            not say so. They are asked for without ``encoding-type``, and encoded here.
        lacks_location: Whether GetBucketLocation, which it lacks, is answered here: a list shows if there is a bucket.
        refused_keys: Found in a key, decoded, which it cannot hold, or holds under another name; None for nothing.
        refused_buckets: Found in the name of a bucket, decoded, which it reads as another's; None for nothing. With it
            goes `refused_keys`.
        refused_part_sources: Found in the source of an UploadPartCopy, decoded, which it reads as another.
        server: What it calls itself in the Server header, in full or at its start; empty if nothing is known.
        facts: What tells this version from the others of its family: names of probes of ``s3proxy doctor``, each with
            whether it is so. Nothing is mended by it.
        misread_hosts: Found in the host that it is told, it would take what is before that for a bucket; None for none.
        deletes_one_by_one: Whether DeleteObjects, which it lacks, is carried out as one DELETE for each object.
        target: How it reads a target; None to send the client's own, byte for byte.
        restrictions: What it would not do as S3 does; None for nothing.
        spelled_headers: Names of headers by which it finds them, by their lower-case name: case counts there.
        bare_write_tags: Whether it takes the quotation marks of the entity tag in a PUT's condition for a part of it.
        hyphenates_names: Whether an underscore in the name of metadata is a hyphen to it, also for its Signature V2.
        misreads_ranges: Whether it refuses, or answers in part, what S3 takes for no range and ignores.
        omits_etags: Whether the response of CompleteMultipartUpload has an empty entity tag.
        ignored_conditions: Conditions of writes that it does not look at.
        preflight_header: What a browser's preflight must ask for, or it is taken for one of another API; empty for
            nothing.
        ignores_owners: Whether it does not look who is to have a bucket: x-amz-expected-bucket-owner.
        misreads_sources: Whether it reads conditions on a copy's source otherwise than S3, or not at all.
        lacks_multipart: Whether it has no multipart uploads: they are kept here until they are complete, or refused.
        keeps_former_parts: Whether an object that was uploaded in parts has their content for ever, whatever is put
            over it: uploads may be kept here, so that there is no such object.
    """

    name: str
    service_path: bytes = b""
    signs_service_path: bool = False
    date_form: DateForm = DateForm.AMZ_DATE
    takes_hashes: bool = True
    takes_checksums: bool = False
    takes_trailers: bool = False
    escapes_plus: bool = field(default=False, metadata=_MENDED)
    sends_expect: bool = False
    proves_tail: bool = False
    spooled_size: int = 0
    reserved_segments: frozenset[bytes] = frozenset()
    private_headers: tuple[bytes, ...] = ()
    dropped_headers: frozenset[bytes] = frozenset()
    private_parameters: tuple[bytes, ...] = ()
    health: HealthRequest = ANY_BELOW_500
    lacks_v4: bool = False
    v2_subresources: frozenset[bytes] = V2_SUBRESOURCES
    signs_empty_values: bool = True
    operations: frozenset[str] = ALL_OPERATIONS
    features: frozenset[Feature] = ALL_FEATURES
    extensions: tuple[Extension, ...] = ()
    error_codes: Mapping[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    mends_reads: bool = field(default=False, metadata=_MENDED)
    lacks_part_reads: bool = field(default=False, metadata=_MENDED)
    range_limits: RangeLimits = field(default_factory=RangeLimits)
    misreads_documents: bool = False
    writes_own_errors: bool = field(default=False, metadata=_MENDED)
    checks_results: bool = field(default=False, metadata=_MENDED)
    loses_objects: bool = False
    filters_pages: bool = field(default=False, metadata=_MENDED)
    hides_unversioned: bool = False
    misplaces_latest: bool = False
    overrides_responses: bool = field(default=False, metadata=_MENDED)
    lists_v1: bool = field(default=False, metadata=_MENDED)
    unencoded_lists: frozenset[str] = frozenset()
    lacks_location: bool = field(default=False, metadata=_MENDED)
    refused_keys: re.Pattern[bytes] | None = None
    refused_buckets: re.Pattern[bytes] | None = None
    refused_part_sources: re.Pattern[bytes] | None = None
    misread_hosts: re.Pattern[str] | None = None
    deletes_one_by_one: bool = False
    target: TargetForm | None = field(default=None, metadata=_MENDED)
    restrictions: Restrictions | None = field(default=None, metadata=_MENDED)
    spelled_headers: Mapping[bytes, bytes] = field(default_factory=dict)
    server: bytes = b""
    facts: Mapping[str, bool] = field(default_factory=dict)
    bare_write_tags: bool = False
    hyphenates_names: bool = False
    misreads_ranges: bool = False
    omits_etags: bool = False
    ignored_conditions: Conditions = field(default_factory=lambda: APPENDING)
    preflight_header: bytes = b""
    ignores_owners: bool = False
    misreads_sources: bool = False
    lacks_multipart: bool = False
    keeps_former_parts: bool = False
    _has_quirks: bool = field(init=False)
    "whether it has a quirk that is declared as mended"
    taken_operations: frozenset[str] = field(init=False)
    "the operations that clients may request: its own, and those that s3proxy carries out with them"

    def __post_init__(self) -> None:
        quirks = [each for each in fields(self) if each.metadata.get("is_mended")]
        object.__setattr__(self, "_has_quirks", any(getattr(self, each.name) != each.default for each in quirks))
        taken = self.operations
        if self.deletes_one_by_one:
            taken |= {"DeleteObjects"}
        if self.lacks_location:
            taken |= {"GetBucketLocation"}
        object.__setattr__(self, "taken_operations", taken)

    def mends(self, operation_name: str) -> bool:
        """
        Return True if a request for this operation, or its response, may need mending.
        """
        return self._has_quirks or operation_name in self.unencoded_lists

    def allows(
        self, names: Collection[str] | None = None, *, conditions: ConditionPolicy = ConditionPolicy.REFUSE
    ) -> Allowed:
        """
        Return what clients may request from such a backend.

        Args:
            names: What it has in addition to this profile: names of S3 operations and of extensions. None for the
                default extensions of the profile.
            conditions: What to do with conditions that it would ignore.
        """
        ignored = self.ignored_conditions if conditions != ConditionPolicy.FORWARD else {}
        # The response to a HEAD does not name the owner of the bucket.
        refuses_owners = self.ignores_owners and conditions != ConditionPolicy.FORWARD
        checked: Conditions = {}
        if conditions == ConditionPolicy.CHECK:
            # s3proxy cannot find out when a multipart upload began, nor check an append. A document may have a thousand
            # conditions.
            kept = {name: ignored[name] for name in _NEVER_CHECKED & ignored.keys()}
            checked = {name: headers for name, headers in ignored.items() if name not in kept}
            ignored = kept
        taken = self.taken_operations
        if names is None:
            extensions = tuple(each for each in self.extensions if each.is_default)
        else:
            extensions = tuple(each for name, each in EXTENSIONS.items() if name in names)
            taken = taken | ALL_OPERATIONS.intersection(names)
        return Allowed(
            taken,
            self.features,
            extensions,
            ignored,
            checked,
            judges_sources=self.misreads_sources,
            refuses_owners=refuses_owners,
        )


_NEVER_CHECKED = frozenset({"AbortMultipartUpload", "DeleteObjects", "PutObject"})


@dataclass(frozen=True, slots=True, repr=False)
class BackendKey:
    """
    The key with which s3proxy signs requests to a backend.
    """

    access_key_id: str
    secret_access_key: str
    region: str = "us-east-1"

    def __repr__(self) -> str:
        return f"<BackendKey {self.access_key_id}>"
