"""
The conditions in the headers of a request: the digest of its body, the state of the object, and the range to read.

Each function reads the headers of one call, and compares them with the state of the store. It returns the result, or
raises the error that the client gets. Ranges have two functions, because Walrus has its own rules for them.
"""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime

from s3proxy.testing.legacy_messages import Call, Fault, Refusal, Stage
from s3proxy.testing.legacy_objects import StoredObject
from s3proxy.testing.legacy_quirks import Quirks
from s3proxy.testing.legacy_signature import parse_http_date

_RANGE = re.compile(rb"bytes=([0-9]{0,18})-([0-9]{0,18})")
_JAVA_LONG = re.compile(rb"[0-9]{1,18}")


def check_md5(call: Call) -> None:
    """
    Refuse a body whose MD5 is not the one in Content-MD5.

    Raises:
        Refusal: BadDigest.
    """
    claimed = call.fields.get(b"content-md5")
    computed = call.body.md5 if call.body is not None else hashlib.md5().digest()
    if claimed is not None and claimed != base64.b64encode(computed):
        raise Refusal(400, "BadDigest")


def has_condition(call: Call) -> bool:
    """
    Return True if a request depends on the state of its object.
    """
    names = (b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since")
    return any(name in call.fields for name in names)


def check_write(call: Call, former: StoredObject | None) -> None:
    """
    Refuse a write that depends on another state of its object.

    Args:
        former: The object that would be replaced, or None.

    Raises:
        Refusal: PreconditionFailed.
    """
    matches, others = call.fields.get(b"if-match"), call.fields.get(b"if-none-match")
    if others is not None and former is not None and _names_etag(others, former):
        raise Refusal(412, "PreconditionFailed")
    if matches is not None and (former is None or not _names_etag(matches, former)):
        raise Refusal(412, "PreconditionFailed")


def is_unchanged(call: Call, stored: StoredObject, modified: datetime, *, has_bare_etags: bool) -> bool:
    """
    Return True if the client has the object already (RFC 9110, section 13.2.2).

    Args:
        modified: When the object was stored, in whole seconds.
        has_bare_etags: The store compares an entity tag without its quotation marks with the header as it is sent.

    Raises:
        Refusal: PreconditionFailed.
    """
    matches, others = call.fields.get(b"if-match"), call.fields.get(b"if-none-match")
    until, since = (parse_http_date(call.fields.get(n, b"")) for n in (b"if-unmodified-since", b"if-modified-since"))
    if has_bare_etags:
        # The values as they are sent are compared with an entity tag without quotation marks.
        names_it = {value: value == stored.etag.encode() for value in (matches, others)}
    else:
        names_it = {value: value is not None and _names_etag(value, stored) for value in (matches, others)}
    if matches is not None:
        if not names_it[matches]:
            raise Refusal(412, "PreconditionFailed")
    elif until is not None and modified > until:
        raise Refusal(412, "PreconditionFailed")
    if others is not None:
        return names_it[others]
    return since is not None and modified <= since


def _names_etag(text: bytes, stored: StoredObject) -> bool:
    names = {name.strip().removeprefix(b"W/").strip(b'"') for name in text.split(b",")}
    return b"*" in names or stored.etag.encode() in names


def parse_range(text: bytes, size: int) -> tuple[int, int] | None:
    """
    Return the offset of the first byte and the offset after the last byte; None for the whole object.

    A header that cannot be parsed means the whole object.

    Args:
        text: The value of Range, as received.
        size: The bytes of the object.

    Raises:
        Refusal: InvalidRange: the range has no byte of the object.
    """
    found = _RANGE.fullmatch(text)
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start, end = int(found[1]), min(int(found[2]) + 1, size) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= size:
        raise Refusal(416, "InvalidRange", headers={b"content-range": b"bytes */%d" % size})
    return start, end


def parse_odd_range(text: bytes, size: int, quirks: Quirks) -> tuple[int, int]:
    """
    Parse a range as Walrus does. Return the offset of the first byte and the offset after the last byte.

    Args:
        text: The value of Range, as received.
        size: The bytes of the object.

    Raises:
        Refusal: The range cannot be satisfied.
        Fault: The range cannot be parsed.
    """
    if quirks.reads_any_unit:
        text = text[len(b"bytes=") :]
    elif not text.startswith(b"bytes="):
        raise Fault("the range cannot be parsed", stage=Stage.BINDING)
    else:
        text = text.removeprefix(b"bytes=")
    numbers = text.split(b"-")
    first, last = numbers[0], numbers[1] if len(numbers) > 1 else b""
    if text == b"-" or not all(not number or _JAVA_LONG.fullmatch(number) for number in (first, last)):
        raise Fault(f'For input string: "{text.decode("latin-1")}"', stage=Stage.BINDING)
    start = int(first) if first else 0
    end = min(int(last) + 1, size) if last else size
    if start >= end:
        raise Refusal(416, "InvalidRange", "The requested range cannot be satisfied.")
    return start, end
