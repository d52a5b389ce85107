"""
Keeps clients from the interfaces of a storage system that are not S3.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from s3proxy.profiles.allowed import Allowed
from s3proxy.profiles.profile import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import copy_source_path
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import query_names


def check_private_surface(
    profile: Profile, head: RequestHead, address: Address, allowed: Allowed | None = None, operation_name: str = ""
) -> None:
    """
    Refuse a request that the backend would not treat as S3: our key may have rights there that no client has.

    Args:
        profile: Profile of the backend that the request would go to.
        allowed: What clients may request from it; None for no extension.
        operation_name: Name of the request's operation.

    Raises:
        AccessDenied: The first segment of the path that the backend would see, or of a copy's source, belongs to an
            interface of its own; or a header or parameter controls a function of its own.
    """
    if profile.reserved_segments:
        # The path that the backend sees begins with the bucket in either style. A backend may remove an empty segment
        # or a dot, so the first segment with a name counts. So do a segment that two dots lead to, and a doubly escaped
        # one.
        path = head.raw_path
        if address.is_virtual_hosted:
            path = b"/%s%s" % (address.raw_bucket, path)
        names = [address.bucket, *_first_names(path)]
        for source in head.fields.get(b"x-amz-copy-source", ()):
            names += _first_names(copy_source_path(source))
        for name in names:
            if name.lower() in profile.reserved_segments:
                raise AccessDenied
    if profile.private_headers:
        for header in head.fields:
            if (
                header.startswith(profile.private_headers)
                or (b"_" in header and header.replace(b"_", b"-").startswith(profile.private_headers))
            ) and not (allowed is not None and allowed.has_header(operation_name, header)):
                raise AccessDenied
    if profile.private_parameters and head.raw_query:
        for name in query_names(head.raw_query):
            if name.lower().startswith(profile.private_parameters):
                raise AccessDenied


def _first_names(raw_path: bytes) -> list[bytes]:
    names: list[bytes] = []
    path = raw_path
    for _ in range(3):
        names += _firsts(path.split(b"/"))
        if b"%" not in path:
            break
        path = unquote_to_bytes(path)
    return names


def _firsts(segments: Iterable[bytes]) -> list[bytes]:
    """
    Return the first segment with a name, and the first that remains after each ".." has removed the one before it.
    """
    found: list[bytes] = []
    left: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del left[-1:]
        elif segment not in {b"", b"."}:
            found = found or [segment]
            left.append(segment)
    return found + left[:1]
