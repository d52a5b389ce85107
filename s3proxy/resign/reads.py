"""
Reads of a backend which has its own idea of ranges and conditions: Walrus, and what Eucalyptus put in front of it.

It reads ``Range`` only in this spelling, a suffix as a range from the beginning, and several ranges not at all. It
answers 200 with ``Content-Range: 2-4/3``, whose last number is the length of the range: a client which takes that for
the object's size has a whole file after its first part. It compares entity tags without their quotation marks to those
which have them, and sends a document with 304.

Therefore it gets no condition, and no range but an exact one. The object is measured first, by HEAD, and what the
client wants of it is judged here.

Source: eucalyptus/eucalyptus, ``WalrusRESTBinding.parseExtendedHeaders``, ``WalrusFSManager.getObjectExtended``,
``WalrusOutboundHandler.createHttpResponse`` and ``ObjectStorageGETOutboundHandler.createHttpResponse``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.resign.target import with_query
from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import (
    InternalError,
    InvalidArgument,
    InvalidPartNumber,
    InvalidRange,
    InvalidRequest,
    PreconditionFailed,
)
from s3proxy.s3.head import Fields, HeaderList, RequestHead, ResponseHead
from s3proxy.s3.limits import MAX_PART_NUMBER
from s3proxy.s3.operation import GET_OBJECT, HEAD_OBJECT, Operation
from s3proxy.s3.operation import OVERRIDES as OVERRIDE_NAMES
from s3proxy.s3.query import decode_item, query_items
from s3proxy.s3.query_headers import without_parameters

_CONDITIONS = frozenset({b"if-match", b"if-modified-since", b"if-none-match", b"if-unmodified-since"})
_MEASURED = _CONDITIONS | {b"range"}
_NOT_SENT = _MEASURED | {b"if-range"}
_READS = frozenset({b"GET", b"HEAD"})
_READ_OBJECT = frozenset({GET_OBJECT, HEAD_OBJECT})
_OVERRIDE_PREFIX = b"response-"
_OVERRIDES = frozenset(name.encode() for name in OVERRIDE_NAMES)
_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_ENTITY_TAGS = re.compile(rb'"([^"]*)"')
_PART_NUMBER = re.compile(rb"0*[1-9][0-9]{0,4}")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


def plain_read_headers(head: RequestHead, passed: HeaderList) -> HeaderList:
    """
    Leave out of a read what is judged here.
    """
    if head.method not in _READS or _NOT_SENT.isdisjoint(head.fields):
        return passed
    return [header for header in passed if header[0].lower() not in _NOT_SENT]


def needs_measuring(head: RequestHead, operation: Operation) -> bool:
    """
    Return True if a request reads a range of an object, or sets a condition.
    """
    return operation in _READ_OBJECT and not _MEASURED.isdisjoint(head.fields)


def without_part_number(head: RequestHead, operation: Operation) -> RequestHead:
    """
    Return a read of the whole object where its first part is asked for: what the parts were is lost there.

    SDKs begin a read in parts with the first one, and take the whole for all there is.

    Raises:
        InvalidArgument: It is no number of a part.
        InvalidRequest: A range is asked for as well.
        InvalidPartNumber: It is another part.

    Source:
        "GetObject", "HeadObject", partNumber.
    """
    if operation not in _READ_OBJECT or not head.raw_query or b"artNumber" not in head.raw_query:
        return head
    number = dict(query_items(head.raw_query)).get(b"partNumber")
    if number is None:
        return head
    if _PART_NUMBER.fullmatch(number) is None or int(number) > MAX_PART_NUMBER:
        raise InvalidArgument(
            f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive", "partNumber", number
        )
    if b"range" in head.fields:
        raise InvalidRequest("Cannot specify both Range header and partNumber query parameter")
    if int(number) != 1:
        raise InvalidPartNumber(number, 1)
    return without_parameters(head, lambda name: name == b"partNumber")


@dataclass(frozen=True, slots=True)
class MeasuredRead:
    """
    What is read of an object which was measured.

    Attributes:
        size: The object's; None where it was not found, or may not be seen.
        etag: As the backend writes it.
        span: The first octet and the one after the last; None for all of it.
        is_unchanged: The client has it already.
    """

    size: int | None = None
    etag: bytes | None = None
    span: tuple[int, int] | None = None
    is_unchanged: bool = False

    def headers(self, passed: HeaderList) -> HeaderList:
        """
        Ask for it.
        """
        return [*passed, (b"Range", b"bytes=%d-%d" % (self.span[0], self.span[1] - 1))] if self.span else passed

    def check(self, answer: ResponseHead) -> None:
        """
        Refuse an answer which is of another object than the one that was measured.

        Raises:
            InternalError: It was replaced in between. The client asks again.
        """
        if self.size is None or answer.status not in {200, 206}:
            return
        lengths = {self.size} if self.span is None else {self.span[1] - self.span[0], self.size}
        if answer.content_length not in lengths or answer.fields.value(b"etag") != self.etag:
            raise InternalError

    def mend(self, answer: ResponseHead, headers: HeaderList) -> tuple[int, bytes, HeaderList]:
        """
        Return status, reason and headers as the client must see them.
        """
        if self.size is None or answer.status not in {200, 206}:
            return answer.status, answer.reason, headers
        if self.is_unchanged:
            return 304, b"Not Modified", headers
        headers = [header for header in headers if header[0].lower() != b"content-range"]
        # All of it may come although a part was asked for.
        if self.span is None or answer.content_length != self.span[1] - self.span[0]:
            return 200, b"OK", headers
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (self.span[0], self.span[1] - 1, self.size)))
        return 206, b"Partial Content", headers


def plan_read(head: RequestHead, measured: ResponseHead) -> MeasuredRead:
    """
    Work out what a request means.

    Args:
        measured: The backend's answer to HEAD of the same object.

    Raises:
        PreconditionFailed: The object is another one than the client thinks.
        InvalidRange: No octet of it is meant.

    Source:
        RFC 9110, sections 13.2.2 and 14.
    """
    if measured.status != 200 or measured.content_length is None:
        # The answer to GET will say why.
        return MeasuredRead()
    size, etag = measured.content_length, measured.fields.value(b"etag")
    if _check_conditions(head.fields, measured.fields):
        return MeasuredRead(size, etag, is_unchanged=True)
    if head.method == b"HEAD":
        return MeasuredRead(size, etag)
    condition = head.fields.value(b"if-range")
    if condition is not None and condition not in {etag, measured.fields.value(b"last-modified")}:
        return MeasuredRead(size, etag)
    return MeasuredRead(size, etag, _parse_range(head.fields.value(b"range") or b"", size))


def _check_conditions(wanted: Fields, measured: Fields) -> bool:
    """
    Say whether the client has the object already.
    """
    etag = (measured.value(b"etag") or b"").strip(b'"')
    modified = parse_date(measured.value(b"last-modified") or b"")
    matches, others = wanted.value(b"if-match"), wanted.value(b"if-none-match")
    since = parse_date(wanted.value(b"if-modified-since") or b"")
    until = parse_date(wanted.value(b"if-unmodified-since") or b"")
    if matches is not None:
        if not _names(matches, etag):
            raise PreconditionFailed("If-Match")
    elif until is not None and modified is not None and modified > until:
        raise PreconditionFailed("If-Unmodified-Since")
    if others is not None:
        return _names(others, etag)
    return since is not None and modified is not None and modified <= since


def _names(condition: bytes, etag: bytes) -> bool:
    # S3 takes a tag without quotation marks, too.
    return condition in {b"*", etag} or etag in _ENTITY_TAGS.findall(condition)


def _parse_range(raw_range: bytes, size: int) -> tuple[int, int] | None:
    """
    Return the first octet and the one after the last; None for all: S3 ignores what is no range, and several ranges.
    """
    found = _RANGE.fullmatch(raw_range)
    if found is None or not (found[1] or found[2]) or (found[1] and found[2] and int(found[2]) < int(found[1])):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= size:
        raise InvalidRange(raw_range, size)
    return start, end


def split_overrides(head: RequestHead) -> tuple[RequestHead, HeaderList]:
    """
    Take out of a read what sets its answer's headers; return the rest, and those headers.
    """
    if head.method not in _READS or not head.raw_query or _OVERRIDE_PREFIX not in head.raw_query:
        return head, []
    kept: list[bytes] = []
    headers: HeaderList = []
    for item in head.raw_query.split(b"&"):
        raw_name, _, raw_value = item.partition(b"=")
        name, value = decode_item(raw_name), decode_item(raw_value)
        if name not in _OVERRIDES:
            kept.append(item)
        elif value and _VALUE.fullmatch(value):
            # What could end a header's line is nobody's content type.
            headers.append((name.removeprefix(_OVERRIDE_PREFIX), value))
    return with_query(head, b"&".join(kept) if kept else None), headers


def override(headers: HeaderList, overrides: HeaderList) -> HeaderList:
    """
    Put headers in the place of those of the same name.
    """
    names = {name for name, _ in overrides}
    return [header for header in headers if header[0].lower() not in names] + overrides
