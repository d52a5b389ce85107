"""
All that is done to one request, and to its answer, for a backend which is not as S3: see its profile.
"""

from __future__ import annotations

from s3proxy.resign.answer import AnswerUse, translate_error
from s3proxy.resign.headers import escape_copy_source
from s3proxy.resign.listing import Listing, read_listing
from s3proxy.resign.profiles import Profile
from s3proxy.resign.reads import (
    MeasuredRead,
    needs_measuring,
    override,
    plain_read_headers,
    plan_read,
    split_overrides,
    without_part_number,
)
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InvalidRequest
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
from s3proxy.s3.operation import (
    LIST_MULTIPART_UPLOADS,
    LIST_OBJECT_VERSIONS,
    LIST_OBJECTS,
    LIST_OBJECTS_V2,
    Operation,
)

_LISTINGS = frozenset({LIST_MULTIPART_UPLOADS, LIST_OBJECT_VERSIONS, LIST_OBJECTS, LIST_OBJECTS_V2})


class Mending:
    """
    One request on its way to such a backend.

    Args:
        head: Authenticated, and authorized as it is.
        operation: That it asks for.
        passed: What passes of its headers.
        is_anonymous: Whether nobody signed it.

    Attributes:
        head: What the backend gets to see.
        passed: The same of its headers.
        must_measure: Whether the object must be measured, by HEAD, before the request is sent.
        is_answered: Whether the answer to HEAD is the answer: the client has the object already, or asked for no more.

    Raises:
        S3Error: It cannot be put as the backend would understand it.
    """

    __slots__ = (
        "_is_about_object",
        "_listing",
        "_measured",
        "_overrides",
        "_profile",
        "head",
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
    ) -> None:
        self._profile = profile
        self._is_about_object = bool(address.key)
        self._measured: MeasuredRead | None = None
        self._overrides: HeaderList = []
        self.must_measure = False
        if profile.escapes_plus:
            passed = escape_copy_source(passed)
        if profile.mends_reads:
            head = without_part_number(head, operation)
            self.must_measure = needs_measuring(head, operation)
            passed = plain_read_headers(head, passed)
        if profile.overrides_answers:
            head, self._overrides = split_overrides(head)
            if self._overrides and is_anonymous:
                # Else anybody could make a page of anybody's file.
                raise InvalidRequest("Request specific response headers cannot be used for anonymous GET requests.")
        self._listing: Listing | None = None
        if profile.lists_v1 and operation in _LISTINGS:
            self._listing = read_listing(head, address, may_be_v2=operation is LIST_OBJECTS_V2)
        self.head = head if self._listing is None else self._listing.head
        self.passed = passed

    @property
    def is_listing(self) -> bool:
        """
        Whether a listing of the second version is asked for as one of the first.
        """
        return self._listing is not None and self._listing.is_v2

    def measure(self, answer: ResponseHead, passed: HeaderList) -> HeaderList:
        """
        Judge what the client wants of an object; return the headers which ask for it.

        Args:
            answer: To HEAD.
            passed: What was sent with that.

        Raises:
            PreconditionFailed: It is another object than the client thinks.
            InvalidRange: No octet of it is meant.
        """
        self.must_measure = False
        self._measured = plan_read(self.head, answer)
        return self._measured.headers(passed)

    @property
    def is_answered(self) -> bool:
        return self._measured is not None and (self._measured.is_unchanged or self.head.method == b"HEAD")

    def answer_use(self, answer: ResponseHead, use: AnswerUse) -> AnswerUse:
        """
        Say what must happen to the document of an answer.

        Args:
            use: What would happen to S3's.

        Raises:
            InternalError: It is of another object than the one that was measured.
        """
        if self._measured is not None:
            self._measured.check(answer)
        if self._listing is not None and answer.status == 200:
            return AnswerUse.CONVERT
        if use is not AnswerUse.RELAY or self.head.method == b"HEAD" or answer.content_length == 0:
            return use
        return AnswerUse.JUDGE if answer.status >= 400 and self._profile.error_codes else use

    def answer_head(self, answer: ResponseHead, headers: HeaderList) -> tuple[int, bytes, HeaderList]:
        """
        Return status, reason and headers as the client must see them.
        """
        status, reason = answer.status, answer.reason
        if self._measured is not None:
            status, reason, headers = self._measured.mend(answer, headers)
        if self._overrides and status in {200, 206}:
            headers = override(headers, self._overrides)
        return status, reason, headers

    def document(self, document: bytes, status: int) -> bytes:
        """
        Make S3's document of the backend's.

        Raises:
            InternalError: It is a listing, and cannot be read.
        """
        if self._listing is not None and status == 200:
            return self._listing.edit(document)
        if status >= 400:
            codes = self._profile.error_codes
            return translate_error(document, codes, status, is_about_object=self._is_about_object)
        return document
