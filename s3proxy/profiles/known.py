"""
The storage systems that are known, by the names which the configuration uses.
"""

from __future__ import annotations

import re
from dataclasses import replace

from s3proxy.profiles.allowed import ALL_FEATURES, CEPH_EXTENSIONS, MINIO_EXTENSIONS, Feature
from s3proxy.profiles.ignored import CEPH_IGNORED, MINIO_IGNORED, SWIFT_IGNORED, VERSITYGW_IGNORED
from s3proxy.profiles.operations import (
    CEPH_OPERATIONS,
    MINIO_OPERATIONS,
    OSG_OPERATIONS,
    RIAKCS_OPERATIONS,
    SWIFT_OPERATIONS,
    VERSITYGW_OPERATIONS,
    WALRUS_OPERATIONS,
    WALRUSBACKEND_OPERATIONS,
)
from s3proxy.profiles.profile import (
    BY_STATUS,
    V2_SUBRESOURCES,
    DateForm,
    HealthRequest,
    Profile,
    RangeLimits,
    Restrictions,
    TargetForm,
)
from s3proxy.s3.limits import MIB

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
            misplaces_latest=True,
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
            server=b"Riak CS",
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
            server=b"MinIO",
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
            server=b"VERSITYGW",
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
