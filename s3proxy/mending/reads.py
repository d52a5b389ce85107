"""
Reads of a backend that handles ranges and conditions differently from S3: Walrus, and the gateway that Eucalyptus put
in front of it.

Walrus accepts ``Range`` only in this spelling, reads a suffix as a range from the beginning, and does not support
several ranges. It responds with status 200 and ``Content-Range: 2-4/3``, where the last number is the length of the
range: a client that takes it for the size of the object has a complete file after its first part. It compares an entity
tag without quotation marks with one that has them, and sends a document with status 304.

So it gets no conditions, and only exact ranges. The object is measured first, by HEAD, and s3proxy applies the client's
range and conditions itself.

Source: eucalyptus/eucalyptus, ``WalrusRESTBinding.parseExtendedHeaders``, ``WalrusFSManager.getObjectExtended``,
``WalrusOutboundHandler.createHttpResponse`` and ``ObjectStorageGETOutboundHandler.createHttpResponse``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.mending.preconditions import check_read
from s3proxy.profiles.profile import RangeLimits
from s3proxy.resign.target import with_query
from s3proxy.s3.errors import InternalError, InvalidArgument, InvalidPartNumber, InvalidRange, InvalidRequest
from s3proxy.s3.head import Fields, HeaderList, RequestHead, ResponseHead
from s3proxy.s3.limits import MAX_PART_NUMBER
from s3proxy.s3.operation import GET_OBJECT, HEAD_OBJECT, Operation
from s3proxy.s3.operation import OVERRIDES as OVERRIDE_NAMES
from s3proxy.s3.query import decode_item, query_items, query_names
from s3proxy.s3.query_headers import without_parameters

_CONDITIONS = frozenset({b"if-match", b"if-modified-since", b"if-none-match", b"if-unmodified-since"})
_MEASURED = _CONDITIONS | {b"range"}
_NOT_SENT = _MEASURED | {b"if-range"}
_READS = frozenset({b"GET", b"HEAD"})
_READ_OBJECT = frozenset({GET_OBJECT, HEAD_OBJECT})
_OVERRIDE_PREFIX = b"response-"
_OVERRIDES = frozenset(name.encode() for name in OVERRIDE_NAMES)
_RANGE = re.compile(rb"bytes=([0-9]*+)-([0-9]*+)")
# More digits than the size of any object. Java's SDK ends a range without an end at 2**63 - 2.
_MAX_DIGITS = 18
_MD5_TAG = re.compile(rb"[0-9a-f]{32}")
_VERSION_ID = b"x-amz-version-id"
_NO_LIMITS = RangeLimits()
_NOT_OF_304 = (b"content-", b"accept-ranges")
_PART_NUMBER = re.compile(rb"0*[1-9][0-9]{0,4}")
_NOT_LATIN_1 = "Header value cannot be represented using ISO-8859-1."
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")


def plain_read_headers(head: RequestHead, passed: HeaderList) -> HeaderList:
    """
    Remove from a read the headers that s3proxy handles itself.
    """
    if head.method not in _READS or _NOT_SENT.isdisjoint(head.fields):
        return passed
    return [header for header in passed if header[0].lower() not in _NOT_SENT]


def needs_measuring(head: RequestHead, operation: Operation) -> bool:
    """
    Return True if a request reads a range of an object, or has a condition.
    """
    return operation in _READ_OBJECT and not _MEASURED.isdisjoint(head.fields)


@dataclass(frozen=True, slots=True)
class MeasuredRead:
    """
    The range to read of an object that was measured.

    Attributes:
        size: The object's; None where it was not found, or may not be seen.
        etag: As the backend writes it.
        span: The first byte and the one after the last; None for all of it.
        is_unchanged: The client has it already.
        is_whole: All of it is asked for, though the client wants a part.
    """

    size: int | None = None
    etag: bytes | None = None
    span: tuple[int, int] | None = None
    is_unchanged: bool = False
    is_whole: bool = False

    def headers(self, passed: HeaderList) -> HeaderList:
        """
        Return the headers for the backend.
        """
        if self.span is None or self.is_whole:
            return passed
        return [*passed, (b"Range", b"bytes=%d-%d" % (self.span[0], self.span[1] - 1))]

    def cut(self, response: ResponseHead) -> tuple[int, int] | None:
        """
        Return the part of a response that the client gets, if the response has the whole object; None if the client
        gets all of it.
        """
        if self.span is None or not self.is_whole or response.status not in {200, 206} or self.span == (0, self.size):
            return None
        return self.span

    def is_range(self, response: ResponseHead) -> bool:
        """
        Return True if a response has only the range that was requested, whatever its status is.
        """
        return self.span is not None and not self.is_whole and response.content_length == self.span[1] - self.span[0]

    def check(self, response: ResponseHead) -> None:
        """
        Refuse a response of another object than the one that was measured.

        Raises:
            InternalError: The object was replaced after the HEAD. The client repeats its request.
        """
        if self.size is None or response.status not in {200, 206}:
            return
        lengths = {self.size}
        if self.span is not None and not self.is_whole:
            lengths.add(self.span[1] - self.span[0])
        if response.content_length not in lengths or _bare_tag(response.fields) != _bare(self.etag):
            raise InternalError

    def mend(self, response: ResponseHead, headers: HeaderList) -> tuple[int, bytes, HeaderList]:
        """
        Return the status, reason and headers for the client.
        """
        if self.size is None or response.status not in {200, 206}:
            return response.status, response.reason, headers
        if self.is_unchanged:
            return 304, b"Not Modified", [item for item in headers if not item[0].lower().startswith(_NOT_OF_304)]
        headers = [header for header in headers if header[0].lower() != b"content-range"]
        # The response may have the whole object although a part was requested.
        if self.span is None or not (self.is_whole or self.is_range(response)):
            return 200, b"OK", headers
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (self.span[0], self.span[1] - 1, self.size)))
        return 206, b"Partial Content", headers


def plan_read(
    head: RequestHead, measured: ResponseHead, limits: RangeLimits = _NO_LIMITS, *, is_first_part: bool = False
) -> MeasuredRead:
    """
    Return the read that a request means.

    Args:
        measured: The backend's response to HEAD of the same object.
        is_first_part: Whether the client requests the first part of the object: the whole object, if it was not
            uploaded in parts.

    Raises:
        PreconditionFailed: The object is another one than the client thinks.
        InvalidRange: No byte of it is meant.

    Source:
        RFC 9110, sections 13.2.2 and 14.
    """
    if measured.status != 200 or measured.content_length is None:
        # The response to GET will give the reason.
        return MeasuredRead()
    size, etag = measured.content_length, measured.fields.value(b"etag")
    if check_read(head.fields, measured.fields):
        return MeasuredRead(size, etag, is_unchanged=True)
    if is_first_part:
        # S3 responds with 206 here, but for an empty object there is no first byte to name. For an object that was
        # uploaded in parts, the size of the first part is lost: 200 says that this is the whole object.
        is_one_part = size > 0 and _MD5_TAG.fullmatch(_bare(etag) or b"") is not None
        return MeasuredRead(size, etag, (0, size), is_whole=True) if is_one_part else MeasuredRead(size, etag)
    condition = head.fields.value(b"if-range")
    if condition is not None and _bare(condition) not in {_bare(etag), measured.fields.value(b"last-modified")}:
        return MeasuredRead(size, etag)
    span = _parse_range(head.fields.value(b"range") or b"", size)
    if span is None:
        return MeasuredRead(size, etag)
    # The response to HEAD has already arrived: what it says of the whole object is rewritten in S3's form for the
    # range.
    is_whole = (
        head.method == b"HEAD"
        or span == (0, size)
        or 0 < limits.max_size < span[1] - span[0]
        or (limits.ignores_versions and (_VERSION_ID in measured.fields or _names_version(head)))
    )
    return MeasuredRead(size, etag, span, is_whole=is_whole)


def _names_version(head: RequestHead) -> bool:
    return bool(head.raw_query) and b"versionId" in query_names(head.raw_query or b"")


def _bare(etag: bytes | None) -> bytes | None:
    # Walrus 3.4 writes the tag without quotation marks in some responses.
    return None if etag is None else etag.strip(b'"')


def _bare_tag(fields: Fields) -> bytes | None:
    return _bare(fields.value(b"etag"))


def without_ignored_range(passed: HeaderList) -> HeaderList:
    """
    Remove from a read a Range that S3 ignores because it is not valid: several ranges, another unit, an end before the
    start.
    """
    return [header for header in passed if header[0].lower() != b"range" or _read_range(header[1]) is not None]


def _read_range(raw_range: bytes) -> tuple[int | None, int | None] | None:
    found = _RANGE.fullmatch(raw_range)
    if found is None:
        return None
    first, last = _number(found[1]), _number(found[2])
    if first is None:
        return None if last is None else (None, last)
    return None if last is not None and last < first else (first, last)


def _parse_range(raw_range: bytes, size: int) -> tuple[int, int] | None:
    """
    Return the first byte and the one after the last; None for all: S3 ignores what is no range, and several ranges.

    The last bytes of an empty object are all of it: S3 answers 200, and 416 to any other range of it.
    """
    found = _read_range(raw_range)
    if found is None:
        return None
    first, last = found
    if first is None:
        assert last is not None
        if last and not size:
            return None
        start, end = max(0, size - last), size
    else:
        start, end = first, size if last is None else min(last + 1, size)
    if start >= size:
        raise InvalidRange(raw_range, size)
    return start, end


def _number(digits: bytes) -> int | None:
    if not digits:
        return None
    # Python refuses to parse thousands of digits.
    significant = digits.lstrip(b"0") or b"0"
    return int(significant) if len(significant) <= _MAX_DIGITS else 10**_MAX_DIGITS


def split_part(head: RequestHead, operation: Operation) -> tuple[RequestHead, bool]:
    """
    Remove the part number from a read; return the rest, and whether it requests the first part.

    The first part is the whole object, because the backend does not keep the sizes of parts. SDKs begin a read in parts
    with the first one.

    Raises:
        InvalidArgument: The value is not a part number.
        InvalidRequest: The request also has a range.
        InvalidPartNumber: The request is for another part.

    Source:
        "GetObject", "HeadObject", partNumber.
    """
    if operation not in _READ_OBJECT or not head.raw_query or b"artNumber" not in head.raw_query:
        return head, False
    number = dict(query_items(head.raw_query)).get(b"partNumber")
    if number is None:
        return head, False
    if _PART_NUMBER.fullmatch(number) is None or int(number) > MAX_PART_NUMBER:
        raise InvalidArgument(
            f"Part number must be an integer between 1 and {MAX_PART_NUMBER}, inclusive", "partNumber", number
        )
    if b"range" in head.fields:
        raise InvalidRequest("Cannot specify both Range header and partNumber query parameter")
    if int(number) != 1:
        raise InvalidPartNumber(number, 1)
    return without_parameters(head, lambda name: name == b"partNumber"), True


def split_overrides(head: RequestHead) -> tuple[RequestHead, HeaderList]:
    """
    Remove from a read the parameters that set headers of the response; return the rest, and those headers.

    Raises:
        InvalidArgument: A value has characters outside ISO 8859-1, which S3 does not allow in a header.
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
            # A value with control characters could end the header's line, and is no real content type.
            headers.append((name.removeprefix(_OVERRIDE_PREFIX), _in_latin_1(name, value)))
    return with_query(head, b"&".join(kept) if kept else None), headers


def _in_latin_1(name: bytes, value: bytes) -> bytes:
    if value.isascii():
        return value
    try:
        return value.decode().encode("latin-1")
    except UnicodeError:
        raise InvalidArgument(_NOT_LATIN_1, name.decode("ascii"), value) from None


def override(headers: HeaderList, overrides: HeaderList) -> HeaderList:
    """
    Replace headers by those of the same name.
    """
    names = {name for name, _ in overrides}
    return [header for header in headers if header[0].lower() not in names] + overrides
