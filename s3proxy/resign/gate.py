"""
The gate: the last check of every head that leaves for a backend.

Everything was checked before. It is checked here again, whether the client or s3proxy wrote it: a backend may read a
name, a line or a parameter in another way than s3proxy, and our signature covers all of it.

Source:
    RFC 9112, sections 3 and 5; RFC 9110, section 5.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from s3proxy.s3.errors import InvalidRequest
from s3proxy.s3.head import METHODS, HeaderList
from s3proxy.s3.header_names import MAX_KNOWN_SETS, form_of_lines, has_known_form
from s3proxy.s3.known import Known
from s3proxy.s3.query import query_names

_TOKEN = rb"!#$%&'*+\-.^`|~0-9a-z"
# To CGI-style backends a name with an underscore is another header. Only metadata may have one.
_NAME = re.compile(rb"x-amz-meta-[_%b]+|[%b]+" % (_TOKEN, _TOKEN))
_METHOD = re.compile(rb"[A-Z]{1,16}")
_CONTROLS = frozenset({*range(0x20), 0x7F})
_IN_LINES = bytes(set(range(256)) - _CONTROLS | {ord("\t")})
_IN_TARGET = bytes(set(range(256)) - _CONTROLS - set(b" #"))

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


class _Form(NamedTuple):
    """
    The form of a head with certain names, which were checked.

    Attributes:
        text: The head, to be filled in with method, target and values.
        line_ends: All control characters that a head of this form has, in order.
    """

    text: bytes
    line_ends: bytes


_KNOWN_FORMS: Known[tuple[bytes, ...], _Form] = Known(MAX_KNOWN_SETS)


def write_head(method: bytes, target: bytes, headers: HeaderList, *, is_presigned: bool = False) -> bytes:
    """
    Return a head without the empty line at its end, so that a signature can follow.

    Args:
        target: In origin form, with the path and query that the backend will read.
        is_presigned: Whether the target has our own signature. The target of a client's request never has.

    Raises:
        InvalidRequest: Two readers could read the head in two ways. It must not be signed or sent.
    """
    if not headers:
        raise _refusal()
    names, values = zip(*headers)  # noqa: B905
    form = _KNOWN_FORMS.get(names) or _check_names(names)
    head = form.text % (method, target, *values)
    if (
        # What is left is a line end inside a value, or another control character.
        head.translate(None, _IN_LINES) != form.line_ends
        or (method not in METHODS and _METHOD.fullmatch(method) is None)
        or target[:1] != b"/"
        or target.translate(None, _IN_TARGET)
    ):
        raise _refusal()
    if not is_presigned and target.find(b"?") >= 0:
        _check_query(target.partition(b"?")[2])
    return head


def _check_names(names: tuple[bytes, ...]) -> _Form:
    lower = [name.lower() for name in names]
    if not all(map(_NAME.fullmatch, lower)):
        raise _refusal()
    if len(set(lower)) != len(lower):
        _check_repeats(lower)
    form = _Form(b"%s %s HTTP/1.1\r\n" + form_of_lines(names), b"\r\n" * (len(names) + 1))
    return _KNOWN_FORMS.keep(names, form) if has_known_form(names) else form


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
