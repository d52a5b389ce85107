"""
Reads of a backend which has its own idea of ranges and conditions: Walrus, and what Eucalyptus put in front of it.

It reads ``Range`` only in this spelling, a suffix as a range from the beginning, and several ranges not at all. It
answers 200 with ``Content-Range: 2-4/3``, whose last number is the length of the range: a client which takes that for
the object's size has a whole file after its first part. It compares entity tags without their quotation marks.

Therefore the object is asked for its size first; then one exact range is asked for, and its answer is put right.

Source: eucalyptus/eucalyptus, ``WalrusRESTBinding.parseExtendedHeaders``, ``WalrusFSManager.getObjectExtended``,
``WalrusOutboundHandler.createHttpResponse`` and ``ObjectStorageGETOutboundHandler.createHttpResponse``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from s3proxy.resign.operations import OVERRIDE_PREFIX, OVERRIDES
from s3proxy.resign.target import with_query
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InternalError, InvalidRange, NotImplementedByProxy
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
from s3proxy.s3.query import decode_item

_SPELLINGS = {
    b"if-match": b"If-Match",
    b"if-modified-since": b"If-Modified-Since",
    b"if-none-match": b"If-None-Match",
    b"if-unmodified-since": b"If-Unmodified-Since",
}
_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_ENTITY_TAG = re.compile(rb'(?:W/)?"([^"]*)"')


def plain_read_headers(head: RequestHead, passed: HeaderList) -> HeaderList:
    """
    Put the conditions of a read as such a backend reads them, and leave its range out.

    Raises:
        NotImplementedByProxy: One of several objects is wanted: the backend would find that none of them is.
    """
    if head.method not in {b"GET", b"HEAD"}:
        return passed
    headers: HeaderList = []
    for name, value in passed:
        lower = name.lower()
        if lower in {b"range", b"if-range"}:
            continue
        if lower in {b"if-match", b"if-none-match"}:
            tag = _ENTITY_TAG.fullmatch(value)
            if tag is not None:
                headers.append((_SPELLINGS[lower], tag[1]))
            elif lower == b"if-match" and value != b"*":
                raise NotImplementedByProxy
            # Whoever has several, or any, gets what is there.
        else:
            headers.append((_SPELLINGS.get(lower, name), value))
    return headers


def reads_a_range(head: RequestHead, address: Address) -> bool:
    """
    Say whether a request reads a range of an object.
    """
    return head.method == b"GET" and b"range" in head.fields and bool(address.key)


def split_overrides(head: RequestHead) -> tuple[RequestHead, HeaderList]:
    """
    Take out of a read what sets its answer's headers; return the rest, and those headers.
    """
    if head.method not in {b"GET", b"HEAD"} or not head.raw_query or OVERRIDE_PREFIX not in head.raw_query:
        return head, []
    items = [item.partition(b"=") for item in head.raw_query.split(b"&")]
    kept = [b"".join(item) for item in items if decode_item(item[0]) not in OVERRIDES]
    headers = []
    for raw_name, _, raw_value in items:
        name, value = decode_item(raw_name), decode_item(raw_value)
        # What could end a header's line is nobody's content type.
        if name in OVERRIDES and value and _VALUE.fullmatch(value):
            headers.append((name.removeprefix(OVERRIDE_PREFIX), value))
    return with_query(head, b"&".join(kept) if kept else None), headers


def override(headers: HeaderList, overrides: HeaderList) -> HeaderList:
    """
    Put headers in the place of those of the same name.
    """
    names = {name for name, _ in overrides}
    return [header for header in headers if header[0].lower() not in names] + overrides


@dataclass(frozen=True, slots=True)
class RangedRead:
    """
    What is read of an object whose size is known.

    Attributes:
        size: The object's; None where it was not found, or may not be seen.
        etag: As the backend writes it.
        span: The first octet and the one after the last; None for all of it.
    """

    size: int | None
    etag: bytes | None
    span: tuple[int, int] | None

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
        if answer.status not in {200, 206} or self.span is None:
            return
        lengths = {self.span[1] - self.span[0], self.size}
        if answer.content_length not in lengths or answer.fields.value(b"etag") != self.etag:
            raise InternalError

    def mend(self, answer: ResponseHead, headers: HeaderList) -> tuple[int, bytes, HeaderList]:
        """
        Return status, reason and headers as the client must see them.
        """
        if answer.status not in {200, 206}:
            return answer.status, answer.reason, headers
        headers = [header for header in headers if header[0].lower() != b"content-range"]
        if self.span is None or (answer.content_length == self.size and answer.status == 200 and not self._is_whole):
            return 200, b"OK", headers
        start, end = self.span
        headers.append((b"Content-Range", b"bytes %d-%d/%d" % (start, end - 1, self.size or 0)))
        return 206, b"Partial Content", headers

    @property
    def _is_whole(self) -> bool:
        return self.span == (0, self.size)


def plan_read(head: RequestHead, measured: ResponseHead) -> RangedRead:
    """
    Work out which octets a request means.

    Args:
        measured: The backend's answer to HEAD of the same object.

    Raises:
        InvalidRange: There are none.
    """
    if measured.status != 200 or measured.content_length is None:
        # The answer to GET will say why.
        return RangedRead(None, None, None)
    size, etag = measured.content_length, measured.fields.value(b"etag")
    condition = head.fields.value(b"if-range")
    if condition is not None and condition not in {etag, measured.fields.value(b"last-modified")}:
        return RangedRead(size, etag, None)
    raw_range = head.fields.value(b"range") or b""
    found = _RANGE.fullmatch(raw_range)
    if found is None or not (found[1] or found[2]) or (found[1] and found[2] and int(found[2]) < int(found[1])):
        # S3 ignores what is no range, and several ranges.
        return RangedRead(size, etag, None)
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
    if start >= size:
        raise InvalidRange(raw_range, size)
    return RangedRead(size, etag, (start, end))
