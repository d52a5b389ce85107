"""
Conditions that a backend ignores or reads differently. s3proxy checks them against the response to a HEAD of the
object.

Another client may write between the HEAD and the request after it. For a read this does not matter: its response is
compared with the HEAD. A write or a copy is less safe than S3's own. For the conditions of a write this check is off by
default.

Source:
    "Conditional requests"; "CopyObject" and "UploadPartCopy", x-amz-copy-source-if-*; RFC 9110, section 13.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from s3proxy.profiles.allowed import SOURCE_CONDITIONS
from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, InternalError, InvalidRequest, NoSuchKey, PreconditionFailed
from s3proxy.s3.head import Fields, ResponseHead

_NAMES = {b"if-match": "If-Match", b"if-none-match": "If-None-Match"}
_OF_SOURCE = "x-amz-copy-source-"
_TAGS_OF_SOURCE = frozenset({b"x-amz-copy-source-if-match", b"x-amz-copy-source-if-none-match"})
_ENTITY_TAGS = re.compile(rb'"([^"]*)"')


def check_write(wanted: Fields, found: ResponseHead, names: Collection[bytes], key: bytes) -> None:
    """
    Check the conditions of a write.

    Args:
        wanted: The headers of the request.
        found: The backend's response to HEAD of the object.
        names: Lower-case names of the conditions to check; each is in the request.
        key: The decoded key of the object.

    Raises:
        NoSuchKey: The object does not exist, and a condition other than If-None-Match requires it.
        PreconditionFailed: A condition does not hold.
        AccessDenied: The backend refuses access to the object.
        InternalError: The response does not show if the object exists.

    Source:
        "How to prevent object overwrites with conditional writes", "How to perform conditional deletes".
    """
    if found.status == 403:
        raise AccessDenied
    if found.status not in {200, 404}:
        raise InternalError
    is_there = found.status == 200
    etag = (found.fields.value(b"etag") or b"").strip(b'"')
    for name in sorted(names):
        value = wanted.value(name) or b""
        bare = value.strip(b'"')
        if name == b"if-none-match":
            holds = not (is_there and (value == b"*" or bare == etag))
        elif not is_there:
            raise NoSuchKey(key)
        elif name == b"if-match":
            holds = value == b"*" or bare == etag
        elif name == b"x-amz-if-match-size":
            # Python refuses to parse thousands of digits.
            holds = value.isdigit() and (value.lstrip(b"0") or b"0") == str(found.content_length).encode()
        elif name == b"x-amz-if-match-last-modified-time":
            moment = parse_date(value)
            holds = moment is not None and moment == parse_date(found.fields.value(b"last-modified") or b"")
        else:
            holds = False
        if not holds:
            raise PreconditionFailed(_NAMES.get(name) or name.decode("ascii"))


def check_read(wanted: Fields, found: Fields, prefix: str = "", now: datetime | None = None) -> bool:
    """
    Check the conditions of a read; return True if the client already has the object.

    Args:
        wanted: The headers of the request.
        found: The headers of the backend's response to HEAD of the object.
        prefix: The prefix of the conditions' names, in lower case.
        now: The time; S3 ignores an If-Modified-Since that is later. None to ignore none.

    Raises:
        PreconditionFailed: The object is not the one that the client expects.

    Source:
        RFC 9110, section 13.2.2.
    """
    etag = (found.value(b"etag") or b"").strip(b'"')
    modified = parse_date(found.value(b"last-modified") or b"")
    start = prefix.encode()
    matches, others = wanted.value(start + b"if-match"), wanted.value(start + b"if-none-match")
    since = parse_date(wanted.value(start + b"if-modified-since") or b"")
    until = parse_date(wanted.value(start + b"if-unmodified-since") or b"")
    if matches is not None:
        if not _has_tag(matches, etag):
            raise PreconditionFailed(f"{prefix}If-Match")
    elif until is not None and modified is not None and modified > until:
        raise PreconditionFailed(f"{prefix}If-Unmodified-Since")
    if others is not None:
        return _has_tag(others, etag)
    if since is not None and now is not None and since > now:
        return False
    return since is not None and modified is not None and modified <= since


def _has_tag(condition: bytes, etag: bytes) -> bool:
    # S3 also accepts a tag without quotation marks.
    return condition in {b"*", etag} or etag in _ENTITY_TAGS.findall(condition)


def check_source(wanted: Fields, found: ResponseHead, key: bytes, now: datetime, max_size: int = 0) -> None:
    """
    Check the conditions that a copy sets on its source, and the size of the source.

    Args:
        wanted: The headers of the copy.
        found: The backend's response to HEAD of the source.
        key: The decoded key of the source.
        max_size: Most bytes of the source; 0 for no limit.

    Source:
        "CopyObject"; observed responses of S3: it ignores an x-amz-copy-source-if-modified-since in the future.

    Raises:
        NoSuchKey: The source does not exist.
        AccessDenied: The backend refuses access to the source.
        PreconditionFailed: A condition does not hold. A copy never gets a 304.
        InvalidRequest: The source is too large.
        InternalError: The response does not describe the source.
    """
    if found.status in {403, 404} and SOURCE_CONDITIONS.keys().isdisjoint(wanted):
        # The copy gets the backend's own error, which tells more.
        return
    if found.status == 404:
        raise NoSuchKey(key)
    if found.status == 403:
        raise AccessDenied
    if found.status != 200 or (b"etag" not in found.fields and not _TAGS_OF_SOURCE.isdisjoint(wanted)):
        raise InternalError
    if max_size:
        _check_source_size(found.content_length, max_size)
    if check_read(wanted, found.fields, _OF_SOURCE, now):
        is_by_tag = b"x-amz-copy-source-if-none-match" in wanted
        raise PreconditionFailed(_OF_SOURCE + ("If-None-Match" if is_by_tag else "If-Modified-Since"))


def _check_source_size(size: int | None, max_size: int) -> None:
    if size is None:
        raise InternalError
    if size > max_size:
        raise InvalidRequest(
            f"The specified copy source is larger than the maximum allowable size for a copy source: {max_size}"
        )
