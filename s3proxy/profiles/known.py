"""
The profiles of all known storage systems, by the configuration's names.
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
Characters that a listing in plain XML cannot contain. The storage system ignores ``encoding-type``.
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
    # It decodes the source of a copy before it cuts off the version.
    refused_sources=re.compile(rb"\?"),
    # It copies with a single call of FileChannel.transferTo. The gateway has Walrus copy.
    max_copy_size=(1 << 31) - 1,
    # It searches for the delimiter with Java's String.split, which takes a regular expression.
    refused_delimiters=re.compile(rb"[\\.$|()\[{^?*+]"),
    # It uses SQL's LIKE, in which a backslash escapes. The wildcards of LIKE only find too many keys.
    refused_prefixes=re.compile(rb"\\"),
    refused_names=re.compile(_NOT_IN_XML),
    # It has one storage class, and no redirects.
    lossy_properties=frozenset({b"x-amz-storage-class", b"x-amz-website-redirect-location"}),
)

_WALRUS_RESTRICTIONS = replace(
    _RESTRICTIONS,
    # Columns of 255 characters in ObjectInfo and MetaDataInfo.
    max_key_length=255,
    max_value_length=255,
    # It does not support grants.
    refused_headers=frozenset(
        {
            b"x-amz-grant-full-control",
            b"x-amz-grant-read",
            b"x-amz-grant-read-acp",
            b"x-amz-grant-write",
            b"x-amz-grant-write-acp",
        }
    ),
    # It would return an encoded object without the header, as if it were plain.
    refused_object_headers=frozenset({b"content-encoding"}),
    ignores_acl_of_copies=True,
    lossy_headers=frozenset({b"cache-control", b"content-language", b"expires"}),
    lossy_headers_of_copies=frozenset({b"content-disposition", b"content-type"}),
    # HTTP_MAX_CHUNK_BYTES of StackConfiguration: it splits a larger body, and reads the first piece as the document.
    max_document_size=102_400,
)

_CODINGS = frozenset({b"accept-encoding"})
"""
Not sent to a storage system that never compresses, as S3 never does. An nginx in front of it would: a compressed
response has a weak entity tag or none, and the response to HEAD has no length.
"""

_EUCALYPTUS = Profile(
    "eucalyptus",
    date_form=DateForm.DATE,
    reserved_segments=frozenset({b"services"}),
    # The policy headers would replace the policy of the client's form. SOAP has operations of its own.
    private_headers=(b"euca", b"s3uploadpolicy", b"awsaccesskeyid", b"soapaction"),
    dropped_headers=_CODINGS,
    # For each cut body above 100 KiB, a thread of Walrus 3.4.2 waits forever, and a file remains.
    spooled_size=64 * MIB,
    features=frozenset(),
    error_codes=_WALRUS_CODES,
    mends_reads=True,
    ignores_owners=True,
    misreads_sources=True,
    # Listings are plain XML, even with encoding-type. Woodstox, which writes them for JiBX, fails at a control
    # character, and writes U+FFFE as a character reference that no parser accepts. It writes CR as one that all accept.
    refused_keys=re.compile(_NOT_IN_XML),
    # The size of a range is an int: a longer range gets no response.
    range_limits=RangeLimits(max_size=(1 << 31) - 1),
    misreads_documents=True,
    writes_own_errors=True,
    checks_results=True,
    filters_pages=True,
    overrides_responses=True,
    lists_v1=True,
    target=TargetForm("/", _WALRUS_QUERY),
    restrictions=_RESTRICTIONS,
)
"""
What the storage systems of the Eucalyptus family have in common.
"""

PROFILES: dict[str, Profile] = {
    profile.name: profile
    for profile in (
        Profile("generic", takes_checksums=True),
        Profile(
            "ceph-rgw",
            proves_tail=True,
            reserved_segments=frozenset({b"admin", b"swift", b"auth"}),
            # It stores the metadata headers of Swift and others as if they were x-amz-meta-.
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
            # With "application/json" it sends listings and errors that no S3 client can read, nor can s3proxy.
            dropped_headers=_CODINGS | {b"accept"},
            # With rgwx-uid a system user acts for another. The usage and the sync state of all users are its own API.
            private_parameters=(b"rgwx-", b"usage", b"mdsearch"),
            operations=CEPH_OPERATIONS,
            extensions=CEPH_EXTENSIONS,
            # As in 16.2: it supports these operations, but its Signature V2 does not cover their sub-resources.
            v2_subresources=V2_SUBRESOURCES - {b"encryption", b"object-lock", b"restore"},
            signs_empty_values=False,
            refused_keys=re.compile(rb"\0"),
            # It reads "tenant:bucket", and ":bucket" is a second name of "bucket", so an access rule could be evaded.
            refused_buckets=re.compile(rb":"),
            # Seen with 16.2: it decodes them twice, and looks for "?versionId=" in between. It reads "a%2541" as "aA",
            # and "k%25zz" as an empty key, which crashes the gateway.
            refused_part_sources=re.compile(rb"[%?]"),
            bare_write_tags=True,
            # As in CGI, it reads "x-amz-meta-a_b" as "x-amz-meta-a-b", in the signature and in the object.
            hyphenates_names=True,
            misreads_ranges=True,
            omits_etags=True,
            ignored_conditions=CEPH_IGNORED,
            # Seen with 16.2. Ceph has checked the owner since 2025.
            ignores_owners=True,
            # Seen with 16.2: it encodes the keys, but the response does not say so.
            unencoded_lists=frozenset({"ListMultipartUploads"}),
            # Seen with 16.2: it reads x-amz-copy-if-match and the like instead, and none for the source of a part.
            misreads_sources=True,
        ),
        Profile(
            "swift",
            proves_tail=True,
            # An unsigned request is for Swift's own API. The health check responds before the S3 API sees a request.
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
            # It recognizes S3's preflights by a credential in the query, which s3proxy removes, or by this header.
            preflight_header=b"authorization",
            dropped_headers=_CODINGS,
            refused_keys=re.compile(rb"\0"),
            # Seen with 2.38: it stores an object unencrypted even if a key is sent, and without its lock, and a new
            # bucket has no object lock. It responds to several ranges with a multipart body.
            features=ALL_FEATURES - {Feature.ENCRYPTION, Feature.OBJECT_LOCK},
            misreads_ranges=True,
            # Seen with 2.38: the response says that names are encoded, but only the keys are.
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
            lacks_v4=True,
            proves_tail=True,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            v2_subresources=_WALRUS_SUBRESOURCES,
            # Seen with 3.4.2: it never responds to CreateMultipartUpload.
            operations=WALRUS_OPERATIONS,
            range_limits=RangeLimits(max_size=(1 << 31) - 1, ignores_versions=True),
            # If the database refuses the record, it responds 200 with the entity tag of the former content.
            loses_objects=True,
            facts={"error-plain": False, "etag-quoted": False, "range-status": True, "versioning": True},
            misread_hosts=re.compile(r"\.walrus", re.IGNORECASE),
            hides_unversioned=True,
            misplaces_latest=True,
            deletes_one_by_one=True,
            # It removes each "/services/Walrus" in a path, merges slashes and cuts those at the end. Then it decodes.
            target=TargetForm("", _WALRUS_QUERY),
            restrictions=replace(_WALRUS_RESTRICTIONS, refused_sources=re.compile(rb"\?|//|\A/|/\Z")),
            lacks_multipart=True,
        ),
        replace(
            _EUCALYPTUS,
            name="osg-4.3",
            service_path=b"/services/objectstorage",
            facts={"error-plain": True, "versioning": True},
            # It compares the hash with that of the first 100 KiB only, which it has buffered.
            takes_hashes=False,
            health=HealthRequest(b"HEAD", b"", frozenset({403, 405})),
            operations=OSG_OPERATIONS,
            target=TargetForm("/", _OSG_QUERY),
            restrictions=replace(_RESTRICTIONS, lossy_headers=frozenset({b"content-language"})),
            # It looks them up by these names, case-sensitively.
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
            lacks_v4=True,
            health=HealthRequest(b"HEAD", b"", frozenset({405})),
            facts={"error-plain": False, "etag-quoted": True, "range-status": False, "versioning": False},
            v2_subresources=_WALRUS_SUBRESOURCES,
            operations=WALRUSBACKEND_OPERATIONS,
            lacks_location=True,
            deletes_one_by_one=True,
            # It stores two concurrent bodies in one place if bucket, key and part, joined with dots, are the same:
            # "b.c" in "a", and "c" in "a.b". It keeps one, and responds to both with the entity tag of that one.
            loses_objects=True,
            keeps_former_parts=True,
            restrictions=replace(
                _WALRUS_RESTRICTIONS,
                refused_parameters={"DeleteObject": frozenset({b"versionId"})},
                # It has no access control: a key that it accepts may do everything.
                ignores_acls=True,
            ),
        ),
        Profile(
            "riakcs",
            server=b"Riak CS",
            lacks_v4=True,
            escapes_plus=True,
            reserved_segments=frozenset({b"riak-cs", b"usage"}),
            # With x-rcs-rewrite-path a client could choose the path that its signature is checked with.
            private_headers=(b"x-rcs-",),
            health=HealthRequest(path=b"/riak-cs/ping", statuses=frozenset({200})),
            operations=RIAKCS_OPERATIONS,
            dropped_headers=_CODINGS,
            features=frozenset(),
            overrides_responses=True,
            lists_v1=True,
            ignores_owners=True,
            # According to its source it takes every partNumber for one of an upload: a read gets an error.
            lacks_part_reads=True,
            # According to its source it compares dates as text, so that every If-Unmodified-Since holds, and entity
            # tags with their quotation marks.
            misreads_sources=True,
        ),
        Profile(
            "minio",
            server=b"MinIO",
            takes_checksums=True,
            takes_trailers=True,
            proves_tail=True,
            # The second has its configuration and its users' secrets: it refuses paths there, but not copies.
            reserved_segments=frozenset({b"minio", b".minio.sys"}),
            # With the second an upload is unpacked over other objects; with the third it evades the bucket's retention.
            private_headers=(b"x-minio-", b"x-amz-meta-snowball-auto-extract", b"x-amz-replication-status"),
            private_parameters=(b"x-minio-",),
            operations=MINIO_OPERATIONS,
            extensions=MINIO_EXTENSIONS,
            health=HealthRequest(path=b"/minio/health/live", statuses=frozenset({200})),
            ignored_conditions=MINIO_IGNORED,
            # The header is not in its source.
            ignores_owners=True,
        ),
        Profile(
            "versitygw",
            server=b"VERSITYGW",
            takes_checksums=True,
            takes_trailers=True,
            operations=VERSITYGW_OPERATIONS,
            # Over a directory it has no encryption, and its source ignores the headers for it.
            features=ALL_FEATURES - {Feature.ENCRYPTION},
            # Seen with 1.8: it encodes no name.
            unencoded_lists=frozenset({"ListMultipartUploads", "ListObjectVersions", "ListObjects", "ListObjectsV2"}),
            ignored_conditions=VERSITYGW_IGNORED,
            # Seen with 1.8: if the client already has the source of a copy, it responds 304, as to a read.
            misreads_sources=True,
            # Keys become file paths: empty and dot segments are removed, and ".sgwtmp" is used internally.
            refused_keys=re.compile(rb"(?:^|/)\.{0,2}/|(?:^|/)\.{1,2}\Z|^\.sgwtmp(?:/|\Z)|" + _NOT_IN_XML),
        ),
    )
}
"""
The profiles by name.
"""
