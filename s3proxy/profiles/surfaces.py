"""
What a storage system serves beside S3, and where: nobody reaches it through here.
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
    Refuse what is not S3 at the backend, whoever asks: our own key there may have rights which no client has.

    Args:
        profile: Of the backend which the request would go to.
        allowed: What clients may ask there; None for no extension.
        operation_name: Of the request.

    Raises:
        AccessDenied: The first segment of the path which the backend would see, or of a copy's source, is one of its
            own surfaces; or a header or parameter gives orders of its own kind.
    """
    if profile.reserved_segments:
        # The backend's path begins with the bucket in either style. An empty segment or a dot may vanish, so the first
        # which has a name counts; so does one that two dots lead to, and a double escape.
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
    Return the first segment that has a name, and the first that is left where two dots take away the one before them.
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
