"""
What each kind of backend wants, as data.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from s3proxy.resign.allowed import (
    ALL_FEATURES,
    ALL_OPERATIONS,
    APPENDING,
    CEPH_EXTENSIONS,
    CEPH_IGNORED,
    CEPH_OPERATIONS,
    EXTENSIONS,
    MINIO_EXTENSIONS,
    MINIO_IGNORED,
    MINIO_OPERATIONS,
    OSG_OPERATIONS,
    RIAKCS_OPERATIONS,
    SWIFT_IGNORED,
    SWIFT_OPERATIONS,
    VERSITYGW_IGNORED,
    VERSITYGW_OPERATIONS,
    WALRUS_OPERATIONS,
    WALRUSBACKEND_OPERATIONS,
    Allowed,
    Conditions,
    Extension,
    Feature,
)
from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import copy_source_path
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead
from s3proxy.s3.identity_enum import IdentityEnum
from s3proxy.s3.limits import MIB
from s3proxy.s3.operation import VALUELESS_NAMES
from s3proxy.s3.query import query_names


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


@dataclass(frozen=True, slots=True)
class TargetForm:
    """
    How a storage reads a target that is written anew, from the decoded bucket, key and query of its client.

    Attributes:
        unescaped: Bytes of a key that are sent as they are, besides letters, digits and ``-._~``.
        query_names: Names that it knows. It gets no others.
        valueless_names: Those of them that it gets without a value and without ``=``.
    """

    unescaped: str
    query_names: frozenset[bytes]
    valueless_names: frozenset[bytes] = VALUELESS_NAMES


@dataclass(frozen=True, slots=True)
class Restrictions:
    """
    What S3 has, and a storage would lose, mistake or never answer: it is refused before the storage.

    Attributes:
        max_key_length: Characters of a key that is written; 0 for S3's own limit.
        max_value_length: Characters of a content type, a content disposition, and a name or value of metadata; 0 for
            S3's own limit.
        max_line_size: Bytes of the first line of a request, without its CRLF; 0 for any.
        max_headers_size: Bytes of all header lines; 0 for any.
        refused_sources: Found in the decoded key of a copy's source; None for nothing.
        refused_delimiters: Found in the delimiter of a list.
        refused_prefixes: Found in the prefix of a list.
        refused_names: Found in whatever a list is asked for and its document repeats: it could not be written.
        refused_headers: Names, lower case, that no write may have: the storage would do the rest.
        refused_object_headers: Those that no object may have.
        ignores_acls: Whether ``x-amz-acl`` has no effect: all is ``private``.
        ignores_acl_of_copies: Whether that of a copy has none.
        lossy_headers: Those of an object that are not stored and change nothing else; they are not sent.
        lossy_headers_of_copies: Further ones that are not stored of a copy.
        lossy_properties: Further ones that are not stored of any object, and of a copy whatever its directive says.
        refuses_loss: Whether an object with such a header is refused.
        refused_parameters: Query names that an operation has in S3, and not there.
        max_document_size: Bytes of a document, as it is sent; 0 for any. A longer one is read as if it were empty.
    """

    max_key_length: int = 0
    max_value_length: int = 0
    max_line_size: int = 0
    max_headers_size: int = 0
    refused_sources: re.Pattern[bytes] | None = None
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
In an error-code map: S3's code is the one which goes with the answer's status.
"""


class RangeLimits(NamedTuple):
    """
    Which ranges a backend cannot be asked for. All of the object is asked for then, and the range cut out of it here.

    Attributes:
        max_size: Bytes of one range; 0 for no limit.
        ignores_versions: Whether a range may be of any version of the object.
    """

    max_size: int = 0
    ignores_versions: bool = False


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
        spooled_size: Bytes up to which a body is verified on disk first, unless its operator says otherwise: a cut body
            costs it more than the body. 0 for none.
        reserved_segments: First path segments, lower case, which are not buckets but surfaces of its own.
        private_headers: Prefixes of headers, lower case, by which it takes orders from its own kind.
        health: Asked to see whether it works.
        v2_subresources: Query names which its Signature V2 covers.
        signs_empty_values: Whether its Signature V2 has the ``=`` of a value that is empty.
        dropped_headers: Names, lower case, that change what it answers and mean nothing to S3.
        private_parameters: Prefixes of query names, lower case, by which it does the same.
        operations: Those of S3 that it has, by name, or refuses itself; the others are answered 501 before it.
        features: Functions that headers ask for; a write that asks for another is answered 501.
        extensions: Functions beyond S3 that may be allowed there.
        error_codes: Codes of its own, each with S3's code where the operation is about an object, and where it is not.
        mends_reads: Whether Range and conditions of a GET must be put as it reads them, and ranged answers be mended.
            Conditions on the source of a copy are not sent, but judged by a HEAD before the copy.
        range_limits: Which ranges of a measured object it cannot be asked for.
        misreads_documents: Whether it takes documents otherwise than S3, and gets them written anew.
        writes_own_errors: Whether its error documents are not S3's, and are written anew.
        checks_results: Whether it answers success to what has failed: each success is checked, and documents are put as
            S3 writes them. An entity tag is compared with the MD5 where the client sent one.
        loses_objects: Whether it may answer success to an object that it has not stored: the MD5 of each is computed
            here, and compared with the entity tag. No body is spliced then.
        filters_pages: Whether a listing may have names that do not begin with the prefix.
        hides_unversioned: Whether its list of versions is empty for a bucket that never had any.
        overrides_answers: Whether ``response-*`` is kept from it, and done here: it reads or signs none of that.
        lists_v1: Whether it knows only the first version of a bucket's listing.
        unencoded_lists: Names of lists, of either version, whose names it does not encode, or not all of them, or does
            not say so. They are asked for without ``encoding-type``, and encoded here.
        lacks_location: Whether GetBucketLocation, which it lacks, is answered here: a list shows if there is a bucket.
        refused_keys: Found in a key, decoded, which it cannot hold, or holds under another name; None for nothing.
        refused_buckets: Found in the name of a bucket, decoded, which it reads as another's; None for nothing. With it
            goes `refused_keys`.
        refused_part_sources: Found in the source of an UploadPartCopy, decoded, which it reads as another.
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
    escapes_plus: bool = False
    sends_expect: bool = False
    proves_tail: bool = False
    spooled_size: int = 0
    reserved_segments: frozenset[bytes] = frozenset()
    private_headers: tuple[bytes, ...] = ()
    dropped_headers: frozenset[bytes] = frozenset()
    private_parameters: tuple[bytes, ...] = ()
    health: HealthRequest = ANY_BELOW_500
    v2_subresources: frozenset[bytes] = V2_SUBRESOURCES
    signs_empty_values: bool = True
    operations: frozenset[str] = ALL_OPERATIONS
    features: frozenset[Feature] = ALL_FEATURES
    extensions: tuple[Extension, ...] = ()
    error_codes: Mapping[bytes, tuple[bytes, bytes]] = field(default_factory=dict)
    mends_reads: bool = False
    range_limits: RangeLimits = field(default_factory=RangeLimits)
    misreads_documents: bool = False
    writes_own_errors: bool = False
    checks_results: bool = False
    loses_objects: bool = False
    filters_pages: bool = False
    hides_unversioned: bool = False
    overrides_answers: bool = False
    lists_v1: bool = False
    unencoded_lists: frozenset[str] = frozenset()
    lacks_location: bool = False
    refused_keys: re.Pattern[bytes] | None = None
    refused_buckets: re.Pattern[bytes] | None = None
    refused_part_sources: re.Pattern[bytes] | None = None
    misread_hosts: re.Pattern[str] | None = None
    deletes_one_by_one: bool = False
    target: TargetForm | None = None
    restrictions: Restrictions | None = None
    spelled_headers: Mapping[bytes, bytes] = field(default_factory=dict)
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
    is_plain: bool = field(init=False)
    "whether nothing of a request or an answer is to be mended, but for `unencoded_lists`"
    taken_operations: frozenset[str] = field(init=False)
    "those which clients may ask for: its own, and what is made of them"

    def __post_init__(self) -> None:
        is_mended = self.escapes_plus or self.mends_reads or self.overrides_answers or self.lists_v1
        is_mended = is_mended or self.writes_own_errors or self.checks_results or self.filters_pages
        is_written = self.target is not None or self.restrictions is not None or self.lacks_location
        object.__setattr__(self, "is_plain", not (is_mended or is_written or self.error_codes))
        taken = self.operations
        if self.deletes_one_by_one:
            taken |= {"DeleteObjects"}
        if self.lacks_location:
            taken |= {"GetBucketLocation"}
        object.__setattr__(self, "taken_operations", taken)

    def mends(self, operation_name: str) -> bool:
        """
        Return True if something of such a request or of its answer may have to be mended.
        """
        return not self.is_plain or operation_name in self.unencoded_lists

    def allows(self, names: Collection[str] | None = None, *, conditions: str = "refuse") -> Allowed:
        """
        Return what clients may ask of such a backend.

        Args:
            names: What it has beyond this profile: S3's operations by name, and extensions. None for the extensions
                that are the profile's own choice.
            conditions: What becomes of those that it would ignore: ``refuse``, ``check`` or ``pass``.
        """
        ignored = self.ignored_conditions if conditions != "pass" else {}
        # No answer to a HEAD tells who has a bucket.
        refuses_owners = self.ignores_owners and conditions != "pass"
        checked: Conditions = {}
        if conditions == "check":
            # Nothing tells of an upload when it began, what is appended cannot be judged, and of a document's there may
            # be a thousand.
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

_WALRUS_QUERY = _WALRUS_SUBRESOURCES | {
    b"delimiter",
    b"key-marker",
    b"marker",
    b"max-keys",
    b"prefix",
    b"version-id-marker",
}
"""
Source: eucalyptus/eucalyptus, ``WalrusProperties.BucketParameter`` and ``ObjectParameter``.
"""

_OSG_QUERY = _WALRUS_QUERY | {b"delete", b"max-parts", b"max-uploads", b"part-number-marker", b"upload-id-marker"}
"""
Source: eucalyptus/eucalyptus, ``ObjectStorageProperties.BucketParameter`` and ``ObjectParameter``.
"""

_RESTRICTIONS = Restrictions(
    # HTTP_MAX_INITIAL_LINE_BYTES and HTTP_MAX_HEADER_BYTES of StackConfiguration.
    max_line_size=4096,
    max_headers_size=8192,
    # A copy's source is decoded before its version is cut off.
    refused_sources=re.compile(rb"\?"),
    # It is Java's String.split that looks for it.
    refused_delimiters=re.compile(rb"[\\.$|()\[{^?*+]"),
    # In SQL's LIKE a backslash escapes. The wildcards there only find too much.
    refused_prefixes=re.compile(rb"\\"),
    refused_names=re.compile(_NOT_IN_XML),
    # There is one class, and nothing is redirected.
    lossy_properties=frozenset({b"x-amz-storage-class", b"x-amz-website-redirect-location"}),
)

_WALRUS_RESTRICTIONS = replace(
    _RESTRICTIONS,
    # Columns of 255 characters in ObjectInfo and MetaDataInfo.
    max_key_length=255,
    max_value_length=255,
    # Grants are not known.
    refused_headers=frozenset(
        {
            b"x-amz-grant-full-control",
            b"x-amz-grant-read",
            b"x-amz-grant-read-acp",
            b"x-amz-grant-write",
            b"x-amz-grant-write-acp",
        }
    ),
    # What is coded would be read back as if it were plain.
    refused_object_headers=frozenset({b"content-encoding"}),
    ignores_acl_of_copies=True,
    lossy_headers=frozenset({b"cache-control", b"content-language", b"expires"}),
    lossy_headers_of_copies=frozenset({b"content-disposition", b"content-type"}),
    # HTTP_MAX_CHUNK_BYTES of StackConfiguration: a larger body comes in chunks, and the first is the document.
    max_document_size=102_400,
)

_CODINGS = frozenset({b"accept-encoding"})
"""
Not sent to a storage that never compresses, as S3 never does. An nginx before it would: the entity tag of what it
compresses is a weak one or none, and the answer to HEAD has no length.
"""

_EUCALYPTUS = Profile(
    "eucalyptus",
    date_form=DateForm.DATE,
    reserved_segments=frozenset({b"services"}),
    # By the policy headers an upload is judged by another policy than its client's; SOAP has operations of its own.
    private_headers=(b"euca", b"s3uploadpolicy", b"awsaccesskeyid", b"soapaction"),
    dropped_headers=_CODINGS,
    # Of each body above 100 KiB that was cut, one thread of Walrus 3.4.2 waits for ever, and a file stays.
    spooled_size=64 * MIB,
    features=frozenset(),
    error_codes=_WALRUS_CODES,
    mends_reads=True,
    ignores_owners=True,
    misreads_sources=True,
    # Their listings are plain XML, whatever encoding is asked for. Woodstox, which writes them for JiBX, fails over a
    # control character, and refers to U+FFFE by a number that no parser takes. It writes CR as one that each does.
    refused_keys=re.compile(_NOT_IN_XML),
    # The size of a range is an int there: a longer one gets no answer.
    range_limits=RangeLimits(max_size=(1 << 31) - 1),
    misreads_documents=True,
    writes_own_errors=True,
    checks_results=True,
    filters_pages=True,
    overrides_answers=True,
    lists_v1=True,
    target=TargetForm("/", _WALRUS_QUERY),
    restrictions=_RESTRICTIONS,
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
            # Those of Swift and of others are stored as if they were x-amz-meta-.
            private_headers=(
                b"rgwx-",
                b"x-rgw-",
                b"http_x_rgw",
                b"x-account-",
                b"x-container-",
                b"x-dho-",
                b"x-goog-",
                b"x-object-",
            ),
            # "application/json" turns listings and errors into what no S3 client reads, and nor do we.
            dropped_headers=_CODINGS | {b"accept"},
            # By rgwx-uid a system user acts for another; the usage and the sync state of everybody are its own API.
            private_parameters=(b"rgwx-", b"usage", b"mdsearch"),
            operations=CEPH_OPERATIONS,
            extensions=CEPH_EXTENSIONS,
            # As 16.2 has them: it came to know the operations, and its Signature V2 did not.
            v2_subresources=V2_SUBRESOURCES - {b"encryption", b"object-lock", b"restore"},
            signs_empty_values=False,
            refused_keys=re.compile(rb"\0"),
            # "tenant:bucket", and ":bucket" is a second name of "bucket": a rule for that would not hold.
            refused_buckets=re.compile(rb":"),
            # Seen with 16.2: it decodes them twice and looks for "?versionId=" in between. "a%2541" is "aA" to it, and
            # of "k%25zz" nothing is left, which ends the gateway.
            refused_part_sources=re.compile(rb"[%?]"),
            bare_write_tags=True,
            # As CGI names them: "x-amz-meta-a_b" is "x-amz-meta-a-b" to it, in the signature as in the object.
            hyphenates_names=True,
            misreads_ranges=True,
            omits_etags=True,
            ignored_conditions=CEPH_IGNORED,
            # Seen with 16.2. Ceph came to look at it in 2025.
            ignores_owners=True,
            # Seen with 16.2: it encodes the keys, and does not say so.
            unencoded_lists=frozenset({"ListMultipartUploads"}),
            # Seen with 16.2: it looks for x-amz-copy-if-match and its kind, and of a part's source for none.
            misreads_sources=True,
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
            operations=SWIFT_OPERATIONS,
            # It knows S3's preflights by a credential in the query, which none has that goes on, or by this.
            preflight_header=b"authorization",
            dropped_headers=_CODINGS,
            refused_keys=re.compile(rb"\0"),
            # Seen with 2.38: an object is stored in clear whatever key is sent with it, and without its lock, and a new
            # bucket has none. Several ranges are answered in parts of MIME.
            features=ALL_FEATURES - {Feature.ENCRYPTION, Feature.OBJECT_LOCK},
            misreads_ranges=True,
            # Seen with 2.38: it says so, and encodes the keys alone.
            unencoded_lists=frozenset({"ListMultipartUploads"}),
            ignored_conditions=SWIFT_IGNORED,
            # Seen with 2.38.
            ignores_owners=True,
        ),
        replace(
            _EUCALYPTUS,
            name="walrus-3.4",
            service_path=b"/services/Walrus",
            signs_service_path=True,
            proves_tail=True,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            v2_subresources=_WALRUS_SUBRESOURCES,
            # Seen with 3.4.2: it never answers a CreateMultipartUpload.
            operations=WALRUS_OPERATIONS,
            range_limits=RangeLimits(max_size=(1 << 31) - 1, ignores_versions=True),
            # If the database refuses the record, the answer is 200 with the entity tag of the former content.
            loses_objects=True,
            facts={"error-plain": False, "etag-quoted": False, "range-status": True, "versioning": True},
            misread_hosts=re.compile(r"\.walrus", re.IGNORECASE),
            hides_unversioned=True,
            deletes_one_by_one=True,
            # It drops each "/services/Walrus" of a path, joins slashes and cuts those at the end; then it decodes.
            target=TargetForm("", _WALRUS_QUERY),
            restrictions=replace(_WALRUS_RESTRICTIONS, refused_sources=re.compile(rb"\?|//|\A/|/\Z")),
            lacks_multipart=True,
        ),
        replace(
            _EUCALYPTUS,
            name="osg-4.3",
            service_path=b"/services/objectstorage",
            facts={"error-plain": True, "versioning": True},
            # It compares the hash with that of the 100 KiB which it has buffered.
            takes_hashes=False,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            operations=OSG_OPERATIONS,
            target=TargetForm("/", _OSG_QUERY),
            restrictions=replace(_RESTRICTIONS, lossy_headers=frozenset({b"content-language"})),
            # It looks them up by these names, and case counts.
            spelled_headers={
                b"cache-control": b"Cache-Control",
                b"content-disposition": b"Content-Disposition",
                b"content-encoding": b"Content-Encoding",
                b"content-type": b"Content-Type",
                b"expires": b"Expires",
            },
        ),
        replace(
            _EUCALYPTUS,
            name="walrusbackend-4.x",
            service_path=b"/services/WalrusBackend",
            health=HealthRequest(b"HEAD", b"", frozenset({405})),
            facts={"error-plain": False, "etag-quoted": True, "range-status": False, "versioning": False},
            v2_subresources=_WALRUS_SUBRESOURCES,
            operations=WALRUSBACKEND_OPERATIONS,
            lacks_location=True,
            deletes_one_by_one=True,
            # Two bodies that come at once share a place by bucket, key and part with dots between them: "b.c" of "a",
            # "c" of "a.b". It keeps one of them, and answers both with the entity tag of that.
            loses_objects=True,
            keeps_former_parts=True,
            restrictions=replace(
                _WALRUS_RESTRICTIONS,
                refused_parameters={"DeleteObject": frozenset({b"versionId"})},
                # It knows no rights: whoever may ask it may do all.
                ignores_acls=True,
            ),
        ),
        Profile(
            "riakcs",
            escapes_plus=True,
            reserved_segments=frozenset({b"riak-cs", b"usage"}),
            # By x-rcs-rewrite-path a client would choose what its signature is held against.
            private_headers=(b"x-rcs-",),
            health=HealthRequest(path=b"/riak-cs/ping", statuses=frozenset({200})),
            operations=RIAKCS_OPERATIONS,
            dropped_headers=_CODINGS,
            features=frozenset(),
            overrides_answers=True,
            lists_v1=True,
            ignores_owners=True,
            # By its source it compares dates as text, where every If-Unmodified-Since holds, and tags with their
            # quotation marks.
            misreads_sources=True,
        ),
        Profile(
            "minio",
            takes_checksums=True,
            takes_trailers=True,
            proves_tail=True,
            # The second has its configuration and its users' secrets: it refuses paths there, but copies from there.
            reserved_segments=frozenset({b"minio", b".minio.sys"}),
            # By the second an upload is unpacked over other objects, by the third it evades its bucket's retention.
            private_headers=(b"x-minio-", b"x-amz-meta-snowball-auto-extract", b"x-amz-replication-status"),
            private_parameters=(b"x-minio-",),
            operations=MINIO_OPERATIONS,
            extensions=MINIO_EXTENSIONS,
            health=HealthRequest(path=b"/minio/health/live", statuses=frozenset({200})),
            ignored_conditions=MINIO_IGNORED,
            # Its source does not name the header.
            ignores_owners=True,
        ),
        Profile(
            "versitygw",
            takes_checksums=True,
            takes_trailers=True,
            operations=VERSITYGW_OPERATIONS,
            # Over a directory it has no encryption, and its source looks at none of the headers.
            features=ALL_FEATURES - {Feature.ENCRYPTION},
            # Seen with 1.8: it encodes no name.
            unencoded_lists=frozenset({"ListMultipartUploads", "ListObjectVersions", "ListObjects", "ListObjectsV2"}),
            ignored_conditions=VERSITYGW_IGNORED,
            # Seen with 1.8: a copy whose source the client has already is answered 304, as a read.
            misreads_sources=True,
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


def check_private_surface(
    profile: Profile, head: RequestHead, address: Address, allowed: Allowed | None = None, operation_name: str = ""
) -> None:
    """
    Refuse what is not S3 at the backend, whoever asks: our own key there may have rights which no client has.

    Args:
        profile: Of the backend which the request would go to.
        allowed: What clients may ask there; None for no extension.
        operation_name: Of the request.

    Raises:
        AccessDenied: The first segment of the path which the backend would see, or of a copy's source, is one of its
            own surfaces; or a header or parameter gives orders of its own kind.
    """
    if profile.reserved_segments:
        # The backend's path begins with the bucket in either style. An empty segment or a dot may vanish, so the first
        # which has a name counts; so does one that two dots lead to, and a double escape.
        path = head.raw_path
        if address.is_virtual_hosted:
            path = b"/%s%s" % (address.raw_bucket, path)
        names = [address.bucket, *_first_names(path)]
        for source in head.fields.get(b"x-amz-copy-source", ()):
            names += _first_names(copy_source_path(source))
        for name in names:
            if name.lower() in profile.reserved_segments:
                raise AccessDenied
    if profile.private_headers:
        for header in head.fields:
            if (
                header.startswith(profile.private_headers)
                or (b"_" in header and header.replace(b"_", b"-").startswith(profile.private_headers))
            ) and not (allowed is not None and allowed.has_header(operation_name, header)):
                raise AccessDenied
    if profile.private_parameters and head.raw_query:
        for name in query_names(head.raw_query):
            if name.lower().startswith(profile.private_parameters):
                raise AccessDenied


def _first_names(raw_path: bytes) -> list[bytes]:
    names: list[bytes] = []
    path = raw_path
    for _ in range(3):
        names += _firsts(path.split(b"/"))
        if b"%" not in path:
            break
        path = unquote_to_bytes(path)
    return names


def _firsts(segments: Iterable[bytes]) -> list[bytes]:
    """
    Return the first segment that has a name, and the first that is left where two dots take away the one before them.
    """
    found: list[bytes] = []
    left: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del left[-1:]
        elif segment not in {b"", b"."}:
            found = found or [segment]
            left.append(segment)
    return found + left[:1]
