"""
Conditions which a backend does not look at, or reads otherwise, judged by what a HEAD tells of the object.

Between the HEAD and the request that follows another client may write. For a read this does not matter: its answer is
compared with the HEAD. A write or a copy is less safe than S3's own. For the conditions of a write this is off unless
asked for.

Source:
    "Conditional requests"; "CopyObject" and "UploadPartCopy", x-amz-copy-source-if-*; RFC 9110, section 13.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime

from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, InternalError, NoSuchKey, PreconditionFailed
from s3proxy.s3.head import Fields, ResponseHead

_NAMES = {b"if-match": "If-Match", b"if-none-match": "If-None-Match"}
_OF_SOURCE = "x-amz-copy-source-"
_TAGS_OF_SOURCE = frozenset({b"x-amz-copy-source-if-match", b"x-amz-copy-source-if-none-match"})
_ENTITY_TAGS = re.compile(rb'"([^"]*)"')


def check_write(wanted: Fields, found: ResponseHead, names: Collection[bytes], key: bytes) -> None:
    """
    Judge the conditions of a write.

    Args:
        wanted: The request's.
        found: The backend's answer to HEAD of the object.
        names: Lower-case names of those that are to be judged; each is in the request.
        key: Of the object, decoded.

    Raises:
        NoSuchKey: There is no object, and the condition speaks of one: any but If-None-Match.
        PreconditionFailed: One does not hold.
        AccessDenied: The backend does not show the object.
        InternalError: It does not tell whether there is one.

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
            # Python refuses to read thousands of digits.
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
    Judge the conditions of a read; return whether the client has the object already.

    Args:
        wanted: The request's headers.
        found: Those of the backend's answer to HEAD of the object.
        prefix: Of the conditions' names, lower case.
        now: S3 ignores an If-Modified-Since that is later. None to ignore none.

    Raises:
        PreconditionFailed: The object is another one than the client thinks.

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
    # S3 takes a tag without quotation marks, too.
    return condition in {b"*", etag} or etag in _ENTITY_TAGS.findall(condition)


def check_source(wanted: Fields, found: ResponseHead, key: bytes, now: datetime) -> None:
    """
    Judge the conditions that a copy sets on its source.

    Args:
        wanted: The headers of the copy.
        found: The backend's answer to HEAD of the source.
        key: The source's, decoded.

    Source:
        "CopyObject"; what S3 was seen to answer: it ignores an x-amz-copy-source-if-modified-since of the future.

    Raises:
        NoSuchKey: There is no such source.
        AccessDenied: The backend does not show it.
        PreconditionFailed: A condition does not hold. A copy is never answered 304.
        InternalError: The answer does not tell what the source is.
    """
    if found.status == 404:
        raise NoSuchKey(key)
    if found.status == 403:
        raise AccessDenied
    if found.status != 200 or (b"etag" not in found.fields and not _TAGS_OF_SOURCE.isdisjoint(wanted)):
        raise InternalError
    if check_read(wanted, found.fields, _OF_SOURCE, now):
        is_by_tag = b"x-amz-copy-source-if-none-match" in wanted
        raise PreconditionFailed(_OF_SOURCE + ("If-None-Match" if is_by_tag else "If-Modified-Since"))
