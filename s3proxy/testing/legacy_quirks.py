"""
What a `LegacyStore` does otherwise than S3, by name, and which of it each kind of storage did.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

OBJECT_PARAMETERS = frozenset({"acl", "torrent", "versionId", "uploads", "partNumber", "uploadId"})
LISTING_PARAMETERS = frozenset({"max-parts", "part-number-marker"})
"""
Query names which Walrus and Riak CS know of an object, and those that the gateway and Riak CS know besides. Source:
eucalyptus/eucalyptus, ``WalrusProperties.ObjectParameter`` and ``ObjectStorageProperties.ObjectParameter``;
basho/riak_cs, ``SUBRESOURCES``.
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
        odd_ranges: A suffix range is taken for a range from the beginning, several ranges are a fault, and
            Content-Range has no unit.
        ranges_are_200: A range gets 200, and its Content-Range has the length of the range for the object's
            size.
        reads_any_unit: A range of another unit than bytes is read as one of bytes, without its first six characters.
        ranges_with_conditions: A GET with a condition gets the response to a range of the whole object: 200 with
            Content-Range, and 416 for an empty object.
        heads_ignore_conditions: HEAD reads no condition.
        ranges_ignore_versions: A range or a condition is about any version of the key; with ``versionId`` it is a
            fault.
        bare_etags: Entity tags of conditions are compared with their quotation marks to one without.
        unquoted_etags: Entity tags of GET, HEAD, listings and copies are sent without quotation marks.
        document_with_304: 304 has a document with its length, which no response of that status may have, and neither
            ETag nor Last-Modified.
        exact_names: Range and conditions are read only as ``Range``, ``If-Match`` ...
        keeps_few_headers: An object keeps Content-Type, Content-Disposition and ``x-amz-meta-*``; other headers, such
            as Content-Encoding, are dropped.
        keeps_meta_case: Names of ``x-amz-meta-*`` come back as they were spelled.
        lacks_accept_ranges: Responses have no Accept-Ranges.
        put_document: The response to PutObject has a document and Last-Modified.
        nested_copy_result: The result of CopyObject is an element inside of its document's root.
        copies_metadata_only: A copy has its source's Content-Type and Last-Modified, and REPLACE replaces its metadata
            only.
        cuts_copy_sources: The source of a copy ends at ``?``, even at an escaped one.
        ignores_overrides: ``response-*`` is neither signed nor read.
        lists_v1: ``list-type`` and ``encoding-type`` are ignored.
        ignores_part_tags: CompleteMultipartUpload does not compare the entity tags of its document with those of the
            parts.
        ignores_part_order: CompleteMultipartUpload takes parts in any order, and joins them by their numbers.
        swallows_disk_errors: A body that has no room on the disk gets 200, with its MD5, and is described whole.
            The object ends where the disk was full, and a GET of it breaks off there.
        most_copied: CopyObject copies less than 2 GiB of an object, gets 200, and describes the whole. A GET of
            the copy breaks off there.
        uuid_etags: The entity tag of an upload in parts is ``uuid-`` and a UUID.
        head_service_is_405: HEAD of the service gets 405, without a signature.
        three_error_forms: Errors have three forms. Those of operations have a namespace, and the connection stays;
            those of authentication and of requests without an operation are ``text/xml``, and it ends; those of the
            HTTP server and of POST are ``text/plain`` with ``<Response><Errors>``, and it ends.
        head_documents: The response to a HEAD that is refused before its operation has a document after the head.
        bare_heads: The responses to HEAD of a bucket, to a HEAD which fails and to CreateBucket have no header at all,
            and the connection ends after CreateBucket.
        fault_responses: The response to a fault of its own: ``200`` with an ``ExceptionResponse``, or ``400``.
        closes_on_errors: The connection ends after an error.
        closes_after_reads: The connection ends after GET of an object.
        closes_after_heads: The connection ends after HEAD of an object, and no header says so.
        unknown_is_405: A method or a combination of sub-resources which it does not know is 405.
        lacks_upload_lists: ListMultipartUploads and ListParts are 501.
        refuses_posts: POST is 400, whatever is signed, except for uploads in parts where there are any.
        hangs_on_uploads: CreateMultipartUpload never gets a response, and the other operations of uploads are refused.
        serves_configuration: ACLs, versions, logging and versioning of buckets can be read and written.
        lacks_messages: ``location``, ``logging``, ``versioning``, ``versions``, writing an ACL and deleting a version
            are known by name, and fail.
        creates_once: A second CreateBucket by the owner is 409.
        collapses_slashes: Several slashes in a path are one, and those at its end go, before the key is decoded: the
            key ``/`` is the bucket.
        drops_leading_slashes: ``//bucket/key`` is ``/bucket/key``.
        keeps_bucket_escapes: The bucket's name is not percent-decoded.
        removes_service_paths: Every service path in a path is removed, even within a key.
        replaces_bad_utf8: What is no UTF-8 in a key is U+FFFD.
        faults_on_bad_escapes: ``%`` without two hex digits in a key or a copy's source is a fault.
        walrus_bucket_names: Bucket names have 3 to 255 letters, digits, ``.``, ``_`` and ``-``, in either case.
        any_bucket_name: Bucket names are not checked.
        loses_long_values: PutObject with a key, a type or a value of more than 255 characters gets 200 and is not
            stored; a former object keeps its description and has the new content.
        refuses_long_values: The same request is a fault, and nothing is stored.
        loses_documents: A document that it cannot read, or that is above 100 KiB, is taken for an empty one; so are
            elements whose names have a prefix. A condition in DeleteObjects is not read.
        short_heads: A request line above 4,096 bytes is 500, and headers above 8,192 bytes are 400.
        overflows_max_keys: ``max-keys`` has no maximum; one of 2147483647 lists nothing, and a text is a fault.
        regex_delimiters: ``delimiter`` is a regular expression.
        lists_folders_as_keys: A key that ends with the delimiter, and has no other, is listed as a key and not as a
            common prefix.
        writes_as_woodstox: In the documents of listings CR is ``&#xd;``, ``>`` stays where it may, U+FFFE is
            ``&#xfffe;``, which no parser takes, and with a control character in a key the listing is 400.
        like_prefixes: ``prefix`` is a pattern of SQL: ``_`` is any character, ``%`` any text, a backslash escapes.
        faults_on_short_keys: With ``delimiter``, a key that is shorter than the pattern which finds it is a fault.
        refuses_long_pages: ``max-uploads`` and ``max-parts`` above 1000 are 400.
        truncates_empty_pages: A page of no uploads or parts, as was asked for, is truncated where there are any.
        loses_upload_markers: After a page of uploads that ends with a common prefix, ``NextKeyMarker`` is empty.
        copies_beside_latest: In a bucket with versions, the version that was the latest stays so when another object is
            copied to its key: both are. A list has the key twice, and GET may return either. A delete marker stays the
            latest, too, and then DELETE of the key does nothing. Behind a suspension, only the version ``null`` is
            replaced.
        forgets_latest: If the latest version is deleted by its id, no other becomes the latest: GET is 404, and lists
            of objects omit the key.
        refuses_absent_versions: DELETE of a version that is not there is 404.
        ignores_first_suspension: ``Suspended`` for a bucket that never had versions gets 200 and is not kept.
        hides_unversioned: A list of the versions of a bucket that never had any is empty.
        folds_parameter_names: Query names are read in any case; of repeated ones the last is.
        cuts_values: A query value with ``=`` in it is dropped.
        cuts_signed_values: In the signature a query value ends at ``=``.
        keeps_former_parts: An object that was uploaded in parts has their content, whatever is put or copied over it.
        own_parameters: ``IsCompressed=true`` takes the length of an object away, and ``maxkeys`` is a fault.
        faults_on_empty_values: A sub-resource with ``=`` and no value is a fault.
        takes_query_v2: Signature V2 in the query is known.
        knows_nobody: A request without a signature is done where the ACL says so.
        folds_equal_headers: Two equal headers are one, also in the signature.
        signs_any_value: The signature covers the value of any sub-resource, form-decoded, and names as they are sent.
        misreads_high_bytes: A byte above 127 in what is signed is a character from U+FF80 on.
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
By the names of their profiles. Source: eucalyptus/eucalyptus, the packages ``walrus``, ``walrus-common`` and
``object-storage``; basho/riak_cs, ``riak_cs_s3_auth``, ``riak_cs_s3_rewrite`` and ``riak_cs_s3_rewrite_legacy``.
"""
