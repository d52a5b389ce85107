"""
All corrections of one request and its response, for a backend that differs from S3 as its profile says.
"""

from __future__ import annotations

from s3proxy.mending.listing import Listing, read_listing, read_unencoded_listing
from s3proxy.mending.pages import WILDCARDS, Page
from s3proxy.mending.reads import (
    MeasuredRead,
    needs_measuring,
    override,
    plain_read_headers,
    plan_read,
    split_overrides,
    split_part,
)
from s3proxy.mending.restrictions import lossy_headers
from s3proxy.mending.results import (
    LISTINGS,
    NAME_SPACE,
    check_head,
    check_root,
    has_document,
    mend_result,
    quote_headers,
    with_page_end,
    with_prefix,
)
from s3proxy.profiles.profile import Profile
from s3proxy.resign.error_forms import standard_error
from s3proxy.resign.response import ResponseUse
from s3proxy.resign.target import with_query, written_copy_source
from s3proxy.s3.address import Address
from s3proxy.s3.elements import read_elements
from s3proxy.s3.errors import InvalidRequest, NotImplementedByProxy
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
from s3proxy.s3.operation import (
    GET_BUCKET_LOCATION,
    GET_OBJECT,
    LIST_BUCKETS,
    LIST_MULTIPART_UPLOADS,
    LIST_OBJECTS,
    LIST_OBJECTS_V2,
    LIST_PARTS,
    Operation,
)
from s3proxy.s3.query import query_items

_LOCATION = b'<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint xmlns="%s"/>' % NAME_SPACE
_OF_NAMES = LISTINGS | {LIST_MULTIPART_UPLOADS}
_FILTERED = frozenset({LIST_BUCKETS, LIST_MULTIPART_UPLOADS})
_OF_UPLOADS = frozenset({LIST_MULTIPART_UPLOADS, LIST_PARTS})


def _prefix_of(operation: Operation, raw_query: bytes) -> bytes:
    """
    Return the prefix for the names of a list.

    Raises:
        NotImplementedByProxy: Common prefixes of uploads are requested, below a prefix that has a wildcard: the backend
            would also make common prefixes from other names.
    """
    items = dict(query_items(raw_query))
    prefix = items.get(b"prefix", b"")
    if operation is LIST_MULTIPART_UPLOADS and items.get(b"delimiter") and WILDCARDS.search(prefix) is not None:
        raise NotImplementedByProxy
    return prefix


def _first_page(profile: Profile, operation: Operation, head: RequestHead, wanted: RequestHead) -> Page:
    """
    Return what edits the pages of a listing.

    Args:
        head: What the backend would get to see of the client's.
        wanted: The client's own.
    """
    listed = LIST_OBJECTS if operation is LIST_OBJECTS_V2 else operation
    return Page(
        listed,
        head,
        wanted,
        hides_unversioned=profile.hides_unversioned,
        joins_versions=profile.misplaces_latest,
    )


class Mending:
    """
    The corrections of one request and its response.

    Args:
        head: The authenticated and authorized head.
        operation: The operation of the request.
        passed: The headers of the request that are passed on.
        is_anonymous: Whether the request is not signed.
        keeps_multipart: Whether s3proxy keeps multipart uploads itself.

    Attributes:
        head: The head for the backend.
        passed: The headers for the backend.
        lost: Lower-case names of headers that the backend would not store, and does not get.
        must_measure: Whether a HEAD of the object must be sent before the request.
        is_answered: Whether the response to HEAD is the response to the client: the client has the object already, or
            sent a HEAD.
        md5: The MD5 of the body that was sent, in lower-case hex; None if it is not known.

    Raises:
        S3Error: The request cannot be expressed in a form that the backend reads correctly.
    """

    __slots__ = (
        "_is_about_object",
        "_is_first_part",
        "_is_located_here",
        "_listing",
        "_measured",
        "_operation",
        "_overrides",
        "_page",
        "_prefix",
        "_profile",
        "head",
        "lost",
        "md5",
        "must_measure",
        "passed",
    )

    def __init__(
        self,
        profile: Profile,
        head: RequestHead,
        address: Address,
        operation: Operation,
        passed: HeaderList,
        *,
        is_anonymous: bool,
        keeps_multipart: bool = False,
    ) -> None:
        self._profile = profile
        self._is_about_object = bool(address.key)
        self._operation = operation
        self.md5: bytes | None = None
        wanted = head
        self._measured: MeasuredRead | None = None
        self._overrides: HeaderList = []
        self.must_measure = False
        self._is_first_part = False
        self.lost: frozenset[bytes] = frozenset()
        if profile.restrictions is not None:
            self.lost = lossy_headers(profile.restrictions, head, operation)
            if self.lost:
                passed = [header for header in passed if header[0].lower() not in self.lost]
        if profile.spelled_headers:
            passed = [(profile.spelled_headers.get(name.lower(), name), value) for name, value in passed]
        if operation.copies and profile.target is not None:
            passed = written_copy_source(passed)
        if profile.mends_reads or profile.lacks_part_reads:
            head, self._is_first_part = split_part(head, operation)
            self.must_measure = self._is_first_part
        if profile.mends_reads:
            self.must_measure = self.must_measure or needs_measuring(head, operation)
            passed = plain_read_headers(head, passed)
        if profile.overrides_responses:
            head, self._overrides = split_overrides(head)
            if self._overrides and is_anonymous:
                # Otherwise anyone could serve any public file as a web page.
                raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
        self._listing: Listing | None = None
        if profile.lists_v1 and operation in _OF_NAMES:
            self._listing = read_listing(head, address, may_be_v2=operation is LIST_OBJECTS_V2)
        elif operation.name in profile.unencoded_lists:
            self._listing = read_unencoded_listing(head, address)
        self._is_located_here = profile.lacks_location and operation is GET_BUCKET_LOCATION
        if self._is_located_here:
            head = with_query(head, b"max-keys=1")
        self.head = head if self._listing is None else self._listing.head
        self.passed = passed
        self._prefix = b""
        is_here = keeps_multipart and operation is LIST_MULTIPART_UPLOADS
        if profile.filters_pages and operation in _FILTERED and head.raw_query and not is_here:
            self._prefix = _prefix_of(operation, head.raw_query)
        self._page: Page | None = None
        if profile.filters_pages and operation in LISTINGS and head.method == b"GET":
            self._page = _first_page(profile, operation, self.head, wanted)
            self.head = self._page.head

    @property
    def is_listing(self) -> bool:
        """
        Whether a version 1 listing is requested in place of another operation.
        """
        return self._is_located_here or (self._listing is not None and self._listing.is_v2)

    def measure(self, response: ResponseHead, passed: HeaderList) -> HeaderList:
        """
        Apply the client's range and conditions to an object; return the headers to request it with.

        Args:
            response: The response to HEAD.
            passed: The headers that were sent with the HEAD.

        Raises:
            PreconditionFailed: It is another object than the client thinks.
            InvalidRange: No byte of it is meant.
        """
        self.must_measure = False
        limits = self._profile.range_limits
        self._measured = plan_read(self.head, response, limits, is_first_part=self._is_first_part)
        return self._measured.headers(passed)

    @property
    def is_answered(self) -> bool:
        return self._measured is not None and (self._measured.is_unchanged or self.head.method == b"HEAD")

    def response_use(self, response: ResponseHead, use: ResponseUse) -> ResponseUse:
        """
        Return what must be done with the document of a response.

        Args:
            use: What would be done with S3's document.

        Raises:
            InternalError: The response is of another object than the one that was measured.
            DisbelievedError: The response claims success, but fails a check.
        """
        if self._measured is not None:
            self._measured.check(response)
        if (self._listing is not None or self._page is not None) and response.status == 200:
            return ResponseUse.CONVERT
        if self._profile.checks_results and response.status < 300:
            return self._use_of_success(response, use)
        if self.replaces_error(response.status) and self.head.method != b"HEAD":
            return ResponseUse.JUDGE
        return use

    def _use_of_success(self, response: ResponseHead, use: ResponseUse) -> ResponseUse:
        check_head(self._operation, response, self.md5)
        is_read_anyhow = use not in {ResponseUse.RELAY, ResponseUse.WATCH}
        if is_read_anyhow or self.head.method in {b"HEAD", b"OPTIONS"} or self._operation is GET_OBJECT:
            return use
        is_empty = response.content_length == 0 or response.status == 204
        return use if is_empty and not has_document(self._operation) else ResponseUse.CHECK

    def replaces_error(self, status: int) -> bool:
        """
        Return True if the client gets a document of s3proxy, even if the backend's document is too large to be read.
        """
        return status >= 400 and self._profile.writes_own_errors

    @property
    def following(self) -> bool:
        """
        Whether the next page of a listing must be requested before the client gets a response; `head` requests it.
        """
        return self._page is not None and self._page.following is not None

    def _is_document(self, status: int) -> bool:
        return status < 300 and self._operation is not GET_OBJECT and self.head.method != b"HEAD"

    def cut(self, response: ResponseHead) -> tuple[int, int] | None:
        """
        Return the first byte of the response's body that the client gets, and the one after the last; None for the
        whole body.
        """
        return self._measured.cut(response) if self._measured is not None else None

    def is_range(self, response: ResponseHead) -> bool:
        """
        Return True if the body of a response is only the range that was requested: Walrus 4 sends it with status 200.
        """
        return self._measured is not None and self._measured.is_range(response)

    def response_head(self, response: ResponseHead, headers: HeaderList) -> tuple[int, bytes, HeaderList]:
        """
        Return the status, reason and headers for the client.
        """
        status, reason = response.status, response.reason
        if self._measured is not None:
            status, reason, headers = self._measured.mend(response, headers)
        if self._overrides and status in {200, 206}:
            headers = override(headers, self._overrides)
        if self._profile.checks_results:
            headers = quote_headers(headers)
        is_replaced = self.replaces_error(status)
        if is_replaced or (self._profile.checks_results and self._is_document(status)):
            headers = [header for header in headers if header[0].lower() != b"content-type"]
            if is_replaced or has_document(self._operation):
                headers.append((b"Content-Type", b"application/xml"))
        return status, reason, headers

    def document(self, document: bytes, status: int) -> bytes:
        """
        Return the document for the client.

        Raises:
            InternalError: The document is a listing that cannot be read.
        """
        if status == 200 and (self._page is not None or self._listing is not None):
            return self._listed(document)
        if self.replaces_error(status):
            codes = self._profile.error_codes
            return standard_error(document, codes, status, is_about_object=self._is_about_object)
        if status >= 300:
            return document
        if self._is_located_here:
            check_root(LIST_OBJECTS, read_elements(document, ()))
            return _LOCATION
        if self._profile.checks_results:
            return self._filtered(mend_result(self._operation, document))
        return document

    def _filtered(self, document: bytes) -> bytes:
        if self._profile.filters_pages and self._operation in _OF_UPLOADS:
            document = with_page_end(self._operation, document)
        return with_prefix(self._operation, document, self._prefix) if self._prefix else document

    def _listed(self, document: bytes) -> bytes:
        page, listing = self._page, self._listing
        document = self._filtered(document)
        if page is not None:
            document = page.edit(document)
            if page.following is not None:
                self.head = page.following
                return document
        return document if listing is None else listing.edit(document)
