"""
Reads the list of signed headers, and checks that it has the headers that must be signed.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from s3proxy.s3.claim import Waivable, refuse
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.limits import MAX_HEADER_COUNT
from s3proxy.sigv4.credential import Faults

_NOT_SIGNED = "There were headers present in the request which were not signed"
_TOO_MANY_SIGNED = f"SignedHeaders must not list more than {MAX_HEADER_COUNT} headers."

MAX_KEPT_LIST_SIZE = 255
"""
Bytes of a list that is remembered. It is too short for more names than `MAX_HEADER_COUNT`.
"""

MAX_KEPT_LISTS = 32
"""
Lists that are remembered without the names of a head.
"""

_MAX_KEPT_NAMES = 32
"""
Names in a list that is remembered: of short names, it could have four times as many.
"""


def read_signed_headers(
    raw_signed_headers: bytes, fault: Faults, waivable: Waivable
) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    if len(raw_signed_headers) <= MAX_KEPT_LIST_SIZE:
        return split_list(raw_signed_headers)
    # Each name costs work before the key is looked up. No request has more headers than this.
    if raw_signed_headers.count(b";") >= MAX_HEADER_COUNT:
        refuse(waivable, fault(_TOO_MANY_SIGNED))
    return _split_list(raw_signed_headers)


def _split_list(raw_signed_headers: bytes) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    # A repeated name must not copy the value into the canonical request again.
    names = tuple(dict.fromkeys(raw_signed_headers.split(b";")))
    return names, frozenset(names)


# The requests of a client have only a few different lists.
_kept_list = lru_cache(maxsize=MAX_KEPT_LISTS)(_split_list)


def split_list(raw_signed_headers: bytes) -> tuple[tuple[bytes, ...], frozenset[bytes]]:
    """
    Return the names of a list of at most `MAX_KEPT_LIST_SIZE` bytes, each once: in order, and as a set.
    """
    if raw_signed_headers.count(b";") < _MAX_KEPT_NAMES:
        return _kept_list(raw_signed_headers)
    return _split_list(raw_signed_headers)


def unsigned_names(names: Collection[bytes], signed_headers: frozenset[bytes]) -> list[bytes]:
    """
    Return the names of headers that must be signed, and are not.

    Args:
        names: The names of the head, in lower case.
        signed_headers: The names that the signature covers.
    """
    unsigned = [
        name
        for name in names
        if name not in signed_headers
        and (name.startswith(b"x-amz-") or name in {b"host", b"content-md5"})
        and name != b"x-amz-content-sha256"
    ]
    if b"host" not in names and b"host" not in signed_headers:
        unsigned.insert(0, b"host")
    return unsigned


def check_unsigned(unsigned: Collection[bytes], waivable: Waivable) -> None:
    """
    Refuse a request if there are headers that must be signed, and are not.
    """
    if not unsigned:
        return
    error = AccessDenied(_NOT_SIGNED, HeadersNotSigned=b", ".join(unsigned))
    # The object to copy, and the session, never come from an unsigned header, which anyone could have added.
    if b"host" in unsigned or b"x-amz-copy-source" in unsigned or b"x-amz-security-token" in unsigned:
        refuse(waivable, error)
    waivable.append((Exemption.UNSIGNED_HEADERS, error))
