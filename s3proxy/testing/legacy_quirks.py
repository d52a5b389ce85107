"""
The quirks of a `LegacyStore` by name, and those of each storage system.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OBJECT_PARAMETERS = frozenset({"acl", "torrent", "versionId", "uploads", "partNumber", "uploadId"})
LISTING_PARAMETERS = frozenset({"max-parts", "part-number-marker"})
"""
The query names that Walrus and Riak CS know for an object, and further ones of the object storage gateway and Riak CS.
Source: eucalyptus/eucalyptus, ``WalrusProperties.ObjectParameter`` and ``ObjectStorageProperties.ObjectParameter``;
basho/riak_cs, ``SUBRESOURCES``.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """
    The quirks of one storage system: how it differs from S3. Each is off by default.

    A fault is an error of the store itself, for which S3 has no code.

    Attributes:
        service_path: The path before every bucket; as received, still percent-encoded.
        signs_service_path: Whether the service path is ``in`` the signed resource, ``out`` of it, or ``either``.
        refuses_v4: Signature V4 is not supported.
        hashes_buffer: x-amz-content-sha256 is compared with the hash of the part of a body that is buffered: 100 KiB.
        refuses_iso_dates: x-amz-date is refused in the format of Signature V4.
        repeats_amz_date: If x-amz-date is sent, the Date line of the string to sign has its value, too.
        denies_only: A wrong key, signature or date gets AccessDenied, like any other request that is not allowed.
        plus_is_space: ``+`` in a path, and in the source of a copy, is a space.
        object_parameters: The query names that are known for an object. Other names are ignored. None: other names are
            refused.
        lacks_multi_delete: DeleteObjects does not exist.
        ignores_write_conditions: A write ignores If-None-Match and If-Match.
        own_codes: NoSuchEntity, ContentMismatch and "Invalid Range" replace the error codes of S3; a fault has UNKNOWN.
        odd_ranges: A suffix range is read as a range from the beginning, several ranges cause a fault, and
            Content-Range has no unit.
        ranges_are_200: A range gets 200, and its Content-Range has the length of the range instead of the size of the
            object.
        reads_any_unit: The unit of a range is not checked: the first six characters are dropped, and the rest is read
            as bytes.
        ranges_with_conditions: A GET with a condition gets the response to a range of the whole object: 200 with
            Content-Range, and 416 for an empty object.
        heads_ignore_conditions: HEAD ignores conditions.
        ranges_ignore_versions: A GET with a range or a condition reads any version of the key; with ``versionId`` it
            causes a fault.
        bare_etags: The entity tags of conditions are compared, with their quotation marks, with an entity tag that has
            none.
        unquoted_etags: GET, HEAD, listings and copies return entity tags without quotation marks.
        document_with_304: A 304 response has a document with its length, which HTTP does not allow for this status, and
            has neither ETag nor Last-Modified.
        exact_names: A range and conditions are read only if their headers are spelled ``Range``, ``If-Match`` and so
            on.
        keeps_few_headers: An object keeps Content-Type, Content-Disposition and ``x-amz-meta-*``. Other headers, such
            as Content-Encoding, are dropped.
        keeps_meta_case: The names of ``x-amz-meta-*`` are returned as the client spelled them.
        lacks_accept_ranges: Responses have no Accept-Ranges.
        put_document: The response to PutObject has a document and Last-Modified.
        nested_copy_result: The result of CopyObject is an element inside the root of its document.
        copies_metadata_only: A copy has the Content-Type and the Last-Modified of its source, and REPLACE replaces only
            the metadata.
        cuts_copy_sources: The source of a copy ends at ``?``, even at an escaped one.
        ignores_overrides: ``response-*`` parameters are neither signed nor read.
        lists_v1: ``list-type`` and ``encoding-type`` are ignored.
        ignores_part_tags: CompleteMultipartUpload does not compare the entity tags in its document with those of the
            parts.
        ignores_part_order: CompleteMultipartUpload accepts parts in any order, and joins them in the order of their
            numbers.
        swallows_disk_errors: If a body does not fit on the disk, the response is 200 with the MD5 of the whole body.
            The object is described as complete, but its content ends where the disk was full, and a GET breaks off
            there.
        most_copied: The number of bytes that CopyObject copies at most: less than 2 GiB. The response is 200, and the
            copy is described as complete, but a GET of it breaks off there.
        uuid_etags: The entity tag of a multipart upload is ``uuid-`` and a UUID.
        head_service_is_405: HEAD of the service gets 405, before any signature is checked.
        three_error_forms: Errors have three forms. Errors of operations have a namespace, and the connection stays
            open. Errors of authentication, and of requests without an operation, are ``text/xml``, and the connection
            ends. Errors of the HTTP server and of POST are ``text/plain`` with ``<Response><Errors>``, and the
            connection ends.
        head_documents: The response to a HEAD that is refused before its operation has a document after the head.
        bare_heads: The responses to HEAD of a bucket, to a HEAD that fails and to CreateBucket have no headers at all,
            and the connection ends after CreateBucket.
        fault_responses: The response to a fault of the store: ``200`` with an ``ExceptionResponse``, or ``400``.
        closes_on_errors: The connection ends after an error.
        closes_after_reads: The connection ends after a GET of an object.
        closes_after_heads: The connection ends after a HEAD of an object, and no header says so.
        unknown_is_405: An unknown method or combination of sub-resources gets 405.
        lacks_upload_lists: ListMultipartUploads and ListParts get 501.
        refuses_posts: POST gets 400, even if it is signed. The exception is multipart uploads, if the store has them.
        hangs_on_uploads: CreateMultipartUpload never gets a response, and the other operations of multipart uploads are
            refused.
        serves_configuration: ACLs, versions, and the logging and versioning of buckets can be read and written.
        lacks_messages: The store knows ``location``, ``logging``, ``versioning``, ``versions``, writing an ACL and
            deleting a version by name, and fails on them.
        creates_once: A second CreateBucket by the owner gets 409.
        collapses_slashes: Before the key is decoded, several slashes in a path become one, and slashes at its end are
            removed. So the key ``/`` is the bucket.
        drops_leading_slashes: ``//bucket/key`` is read as ``/bucket/key``.
        keeps_bucket_escapes: The name of the bucket is not percent-decoded.
        removes_service_paths: Every service path in a path is removed, even within a key.
        replaces_bad_utf8: Bytes of a key that are not UTF-8 become U+FFFD.
        faults_on_bad_escapes: ``%`` without two hex digits, in a key or in the source of a copy, causes a fault.
        walrus_bucket_names: Bucket names have 3 to 255 characters: letters of either case, digits, ``.``, ``_``, ``-``.
        any_bucket_name: Bucket names are not checked.
        loses_long_values: PutObject with a key, a type or a value of more than 255 characters gets 200, but is not
            stored. An existing object keeps its description and gets the new content.
        refuses_long_values: PutObject with a key, a type or a value of more than 255 characters causes a fault, and
            nothing is stored.
        loses_documents: A document that cannot be parsed, or is larger than 100 KiB, is read as an empty one. Elements
            whose names have a prefix are ignored, and so is a condition in DeleteObjects.
        short_heads: A request line above 4,096 bytes gets 500, and headers above 8,192 bytes get 400.
        overflows_max_keys: ``max-keys`` has no maximum. 2147483647 lists nothing, and a value that is not a number
            causes a fault.
        regex_delimiters: ``delimiter`` is a regular expression.
        lists_folders_as_keys: A key that has the delimiter at its end and nowhere else is listed as a key, not as a
            common prefix.
        writes_as_woodstox: In the documents of listings, CR is ``&#xd;``, ``>`` is escaped only if XML requires it, and
            U+FFFE is ``&#xfffe;``, which no parser accepts. A listing with a control character in a key gets 400.
        like_prefixes: ``prefix`` is a pattern of SQL: ``_`` is any character, ``%`` is any text, and a backslash
            escapes.
        faults_on_short_keys: With ``delimiter``, a key that matches the pattern in ``prefix`` and is shorter than it
            causes a fault.
        refuses_long_pages: ``max-uploads`` and ``max-parts`` above 1000 get 400.
        truncates_empty_pages: If a list of uploads or parts is requested with a page length of 0, the page is marked as
            truncated if there are any.
        loses_upload_markers: After a page of uploads that ends with a common prefix, ``NextKeyMarker`` is empty.
        copies_beside_latest: In a bucket with versions, a copy to a key does not replace the latest version: both are
            the latest. A list has the key twice, and GET may return either. A delete marker stays the latest, too, and
            then DELETE of the key does nothing. If versioning is suspended, only the version ``null`` is replaced.
        forgets_latest: If the latest version is deleted by its id, no other becomes the latest: GET gets 404, and lists
            of objects omit the key.
        refuses_absent_versions: DELETE of a version that does not exist gets 404.
        ignores_first_suspension: ``Suspended`` for a bucket that never had versions gets 200 and is not kept.
        hides_unversioned: The list of versions is empty for a bucket that never had any.
        folds_parameter_names: Query names are read in any case. If a name is repeated, the last value counts.
        cuts_values: A query value that contains ``=`` is dropped.
        cuts_signed_values: In the signature, a query value ends at ``=``.
        keeps_former_parts: An object that was uploaded in parts keeps their content, even if another object is put or
            copied over it.
        own_parameters: With ``IsCompressed=true``, the response to GET has no length. ``maxkeys`` causes a fault.
        faults_on_empty_values: A sub-resource with ``=`` and no value causes a fault.
        takes_query_v2: Signature V2 in the query is accepted.
        knows_nobody: A request without a signature is carried out if the ACL permits it.
        folds_equal_headers: Two equal headers are read as one, also in the signature.
        signs_any_value: The signature covers the value of any sub-resource, form-decoded, and its name as sent.
        misreads_high_bytes: A byte above 127 in the signed text is read as a character from U+FF80 on.
        trusts_rewrite_header: The header x-rcs-rewrite-path says which path was signed.
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
    ranges_are_200: bool = False
    reads_any_unit: bool = False
    ranges_with_conditions: bool = False
    heads_ignore_conditions: bool = False
    ranges_ignore_versions: bool = False
    bare_etags: bool = False
    unquoted_etags: bool = False
    document_with_304: bool = False
    exact_names: bool = False
    keeps_few_headers: bool = False
    keeps_meta_case: bool = False
    lacks_accept_ranges: bool = False
    put_document: bool = False
    nested_copy_result: bool = False
    copies_metadata_only: bool = False
    cuts_copy_sources: bool = False
    ignores_overrides: bool = False
    lists_v1: bool = False
    ignores_part_tags: bool = False
    ignores_part_order: bool = False
    swallows_disk_errors: bool = False
    most_copied: int = 0
    uuid_etags: bool = False
    head_service_is_405: bool = False
    three_error_forms: bool = False
    head_documents: bool = False
    bare_heads: bool = False
    fault_responses: str = ""
    closes_on_errors: bool = False
    closes_after_reads: bool = False
    closes_after_heads: bool = False
    unknown_is_405: bool = False
    lacks_upload_lists: bool = False
    refuses_posts: bool = False
    hangs_on_uploads: bool = False
    serves_configuration: bool = False
    lacks_messages: bool = False
    creates_once: bool = False
    collapses_slashes: bool = False
    drops_leading_slashes: bool = False
    keeps_bucket_escapes: bool = False
    removes_service_paths: bool = False
    replaces_bad_utf8: bool = False
    faults_on_bad_escapes: bool = False
    walrus_bucket_names: bool = False
    any_bucket_name: bool = False
    loses_long_values: bool = False
    refuses_long_values: bool = False
    loses_documents: bool = False
    short_heads: bool = False
    overflows_max_keys: bool = False
    regex_delimiters: bool = False
    lists_folders_as_keys: bool = False
    writes_as_woodstox: bool = False
    like_prefixes: bool = False
    faults_on_short_keys: bool = False
    refuses_long_pages: bool = False
    truncates_empty_pages: bool = False
    loses_upload_markers: bool = False
    copies_beside_latest: bool = False
    forgets_latest: bool = False
    refuses_absent_versions: bool = False
    ignores_first_suspension: bool = False
    hides_unversioned: bool = False
    folds_parameter_names: bool = False
    cuts_values: bool = False
    cuts_signed_values: bool = False
    keeps_former_parts: bool = False
    own_parameters: bool = False
    faults_on_empty_values: bool = False
    takes_query_v2: bool = False
    knows_nobody: bool = False
    folds_equal_headers: bool = False
    signs_any_value: bool = False
    misreads_high_bytes: bool = False
    trusts_rewrite_header: bool = False


_WALRUS = Quirks(
    signs_service_path="either",
    refuses_v4=True,
    refuses_iso_dates=True,
    denies_only=True,
    plus_is_space=True,
    object_parameters=OBJECT_PARAMETERS,
    lacks_multi_delete=True,
    ignores_write_conditions=True,
    own_codes=True,
    odd_ranges=True,
    reads_any_unit=True,
    ranges_with_conditions=True,
    heads_ignore_conditions=True,
    bare_etags=True,
    document_with_304=True,
    exact_names=True,
    keeps_few_headers=True,
    keeps_meta_case=True,
    lacks_accept_ranges=True,
    put_document=True,
    cuts_copy_sources=True,
    ignores_overrides=True,
    lists_v1=True,
    swallows_disk_errors=True,
    most_copied=(1 << 31) - 1,
    head_service_is_405=True,
    three_error_forms=True,
    head_documents=True,
    bare_heads=True,
    unknown_is_405=True,
    refuses_posts=True,
    drops_leading_slashes=True,
    keeps_bucket_escapes=True,
    replaces_bad_utf8=True,
    faults_on_bad_escapes=True,
    short_heads=True,
    overflows_max_keys=True,
    regex_delimiters=True,
    writes_as_woodstox=True,
    like_prefixes=True,
    faults_on_short_keys=True,
    folds_parameter_names=True,
    cuts_signed_values=True,
    own_parameters=True,
    knows_nobody=True,
    folds_equal_headers=True,
    signs_any_value=True,
    misreads_high_bytes=True,
)

MODES: dict[str, Quirks] = {
    "walrus-3.4": replace(
        _WALRUS,
        service_path=b"/services/Walrus",
        unquoted_etags=True,
        nested_copy_result=True,
        copies_metadata_only=True,
        fault_responses="200",
        hangs_on_uploads=True,
        serves_configuration=True,
        ranges_ignore_versions=True,
        collapses_slashes=True,
        cuts_values=True,
        lists_folders_as_keys=True,
        removes_service_paths=True,
        walrus_bucket_names=True,
        loses_long_values=True,
        loses_documents=True,
        copies_beside_latest=True,
        forgets_latest=True,
        refuses_absent_versions=True,
        ignores_first_suspension=True,
        hides_unversioned=True,
        takes_query_v2=True,
    ),
    "walrusbackend-4.x": replace(
        _WALRUS,
        service_path=b"/services/WalrusBackend",
        ranges_are_200=True,
        ignores_part_tags=True,
        ignores_part_order=True,
        uuid_etags=True,
        fault_responses="400",
        closes_after_heads=True,
        lacks_messages=True,
        lacks_upload_lists=True,
        creates_once=True,
        faults_on_empty_values=True,
        any_bucket_name=True,
        keeps_former_parts=True,
        refuses_long_values=True,
    ),
    "osg-4.3": Quirks(
        service_path=b"/services/objectstorage",
        signs_service_path="either",
        hashes_buffer=True,
        loses_documents=True,
        repeats_amz_date=True,
        plus_is_space=True,
        object_parameters=OBJECT_PARAMETERS | LISTING_PARAMETERS,
        ignores_write_conditions=True,
        odd_ranges=True,
        ranges_are_200=True,
        cuts_copy_sources=True,
        lists_v1=True,
        ignores_part_tags=True,
        most_copied=(1 << 31) - 1,
        uuid_etags=True,
        head_service_is_405=True,
        head_documents=True,
        closes_on_errors=True,
        closes_after_reads=True,
        drops_leading_slashes=True,
        keeps_bucket_escapes=True,
        faults_on_empty_values=True,
        overflows_max_keys=True,
        regex_delimiters=True,
        writes_as_woodstox=True,
        like_prefixes=True,
        faults_on_short_keys=True,
        refuses_long_pages=True,
        truncates_empty_pages=True,
        loses_upload_markers=True,
        folds_equal_headers=True,
        signs_any_value=True,
        misreads_high_bytes=True,
    ),
    "riakcs": Quirks(
        refuses_v4=True,
        plus_is_space=True,
        object_parameters=OBJECT_PARAMETERS | LISTING_PARAMETERS,
        ignores_write_conditions=True,
        lists_v1=True,
        trusts_rewrite_header=True,
    ),
}
"""
The quirks of each storage system, by the name of its profile. Source: eucalyptus/eucalyptus, the packages ``walrus``,
``walrus-common`` and ``object-storage``; basho/riak_cs, ``riak_cs_s3_auth``, ``riak_cs_s3_rewrite`` and
``riak_cs_s3_rewrite_legacy``.
"""
