"""
Conditions of a write which its backend does not look at, judged by what a HEAD tells of the object.

Between the HEAD and the write another client may write: this is less than S3's own, and off unless asked for.

Source:
    "Conditional requests"; RFC 9110, section 13.
"""

from __future__ import annotations

from collections.abc import Collection

from s3proxy.s3.date import parse_date
from s3proxy.s3.errors import AccessDenied, InternalError, PreconditionFailed
from s3proxy.s3.head import Fields, ResponseHead

_NAMES = {b"if-match": "If-Match", b"if-none-match": "If-None-Match"}


def check_write(wanted: Fields, found: ResponseHead, names: Collection[bytes]) -> None:
    """
    Judge the conditions of a write.

    Args:
        wanted: The request's.
        found: The backend's answer to HEAD of the object.
        names: Lower-case names of those that are to be judged; each is in the request.

    Raises:
        PreconditionFailed: One does not hold. Of an object that is not there none holds but If-None-Match.
        AccessDenied: The backend does not show the object.
        InternalError: It does not tell whether there is one.
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
            holds = False
        elif name == b"if-match":
            holds = value == b"*" or bare == etag
        elif name == b"x-amz-if-match-size":
            holds = value.isdigit() and len(value) < 19 and int(value) == found.content_length
        elif name == b"x-amz-if-match-last-modified-time":
            moment = parse_date(value)
            holds = moment is not None and moment == parse_date(found.fields.value(b"last-modified") or b"")
        else:
            holds = False
        if not holds:
            raise PreconditionFailed(_NAMES.get(name) or name.decode("ascii"))
