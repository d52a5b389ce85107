"""
The target which the backend gets: octet for octet the client's, without its credentials, in the backend's style.
"""

from __future__ import annotations

from dataclasses import replace

from s3proxy.resign.profiles import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import decode_item


def backend_path(head: RequestHead, address: Address, profile: Profile) -> bytes:
    """
    Return the raw path for a backend which is addressed in path style.
    """
    path = head.raw_path
    if address.is_virtual_hosted:
        path = b"/%s%s" % (address.raw_bucket, path)
    if profile.escapes_plus and b"+" in path:
        path = path.replace(b"+", b"%2B")
    return profile.service_path + path


def with_query(head: RequestHead, raw_query: bytes | None) -> RequestHead:
    """
    Return a head which asks for the same path with another query; None to send no ``?``.
    """
    return replace(head, raw_target=head.raw_path if raw_query is None else b"%s?%s" % (head.raw_path, raw_query))


def backend_query(raw_query: bytes | None, passed_names: frozenset[bytes]) -> bytes | None:
    """
    Cut out of a query whatever may not pass, each parameter with one ``&``.

    Args:
        raw_query: None if the target has no ``?``.
        passed_names: Decoded; see `s3proxy.s3.classification.Classification`.

    Returns:
        None if no ``?`` is to be sent. A name is written as S3 spells it: a backend might not decode an escaped one.
    """
    if not raw_query:
        return raw_query
    kept = []
    is_whole = True
    for item in raw_query.split(b"&"):
        raw_name, equals, raw_value = item.partition(b"=")
        name = decode_item(raw_name)
        if name in passed_names:
            kept.append(item if name == raw_name else name + equals + raw_value)
            is_whole = is_whole and name == raw_name
        elif item:
            is_whole = False
    if is_whole:
        # Byte for byte, with whatever empty parameters there are.
        return raw_query
    return b"&".join(kept) if kept else None


def backend_target(head: RequestHead, address: Address, profile: Profile, passed_names: frozenset[bytes]) -> bytes:
    """
    Return the whole target.
    """
    path = backend_path(head, address, profile)
    query = backend_query(head.raw_query, passed_names)
    return path if query is None else b"%s?%s" % (path, query)
