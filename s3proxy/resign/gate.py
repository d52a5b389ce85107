"""
The gate: the last check of every head that leaves for a backend.

Everything was checked before. It is checked here again, whether the client or s3proxy wrote it: a backend may read a
name, a line or a parameter in another way than s3proxy, and our signature covers all of it.

Source:
    RFC 9112, sections 3 and 5; RFC 9110, section 5.
"""

from __future__ import annotations

import re

from s3proxy.s3.errors import InvalidRequest
from s3proxy.s3.head import HeaderList
from s3proxy.s3.query import query_names

_TOKEN = rb"!#$%&'*+\-.^`|~0-9a-z"
# To CGI-style backends a name with an underscore is another header. Only metadata may have one.
_NAME = rb"(?:x-amz-meta-[_%b]++|[%b]++)" % (_TOKEN, _TOKEN)
_NAMES = re.compile(rb"%b(?:\n%b)*" % (_NAME, _NAME))
_HEAD = re.compile(rb"[A-Z]{1,16} /[^\x00-\x20\x7f#]*+ HTTP/1\.1\r\n(?:[^\x00-\x08\x0a-\x1f\x7f]++\r\n)+")

_SINGLE = frozenset(
    {
        b"authorization",
        b"content-length",
        b"content-md5",
        b"content-type",
        b"date",
        b"expect",
        b"host",
        b"if-match",
        b"if-modified-since",
        b"if-none-match",
        b"if-range",
        b"if-unmodified-since",
        b"range",
        b"transfer-encoding",
    }
)
_AUTHENTICATION = frozenset(
    {
        b"awsaccesskeyid",
        b"signature",
        b"x-amz-algorithm",
        b"x-amz-credential",
        b"x-amz-date",
        b"x-amz-expires",
        b"x-amz-region-set",
        b"x-amz-security-token",
        b"x-amz-signature",
        b"x-amz-signedheaders",
    }
)


def write_head(method: bytes, target: bytes, headers: HeaderList, *, is_presigned: bool = False) -> bytes:
    """
    Return a head without the empty line at its end, so that a signature can follow.

    Args:
        target: In origin form, with the path and query that the backend will read.
        is_presigned: Whether the target has our own signature. The target of a client's request never has.

    Raises:
        InvalidRequest: Two readers could read the head in two ways. It must not be signed or sent.
    """
    lines = [b"%s %s HTTP/1.1\r\n" % (method, target)]
    lines += [b"%s: %s\r\n" % header for header in headers]
    head = b"".join(lines)
    names = [name.lower() for name, _ in headers]
    # One match for all names, and one for all lines. The count finds a line end inside a name or a value.
    is_sound = _HEAD.fullmatch(head) is not None and _NAMES.fullmatch(b"\n".join(names)) is not None
    if not is_sound or head.count(b"\n") != len(lines):
        raise _refusal()
    if len(set(names)) != len(names):
        _check_repeats(names)
    if b"?" in target and not is_presigned:
        _check_query(target.partition(b"?")[2])
    return head


def _check_repeats(names: list[bytes]) -> None:
    seen = set()
    for name in names:
        if name in seen and (name in _SINGLE or name.startswith(b"x-amz-")):
            raise _refusal()
        seen.add(name)


def _check_query(raw_query: bytes) -> None:
    if any(name.lower() in _AUTHENTICATION for name in query_names(raw_query)):
        raise _refusal()


def _refusal() -> InvalidRequest:
    return InvalidRequest("The request has a header or a parameter that cannot be passed on.")
