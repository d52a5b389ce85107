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


def backend_query(
    raw_query: bytes | None, authentication_names: frozenset[bytes], passed_names: frozenset[bytes] | None
) -> bytes | None:
    """
    Cut out of a query the parameters of authentication, and those which may not pass, each with one ``&``.

    Args:
        raw_query: None where the target has no ``?``.
        authentication_names: Decoded, as the verifier named them.
        passed_names: Decoded; None where all may pass.

    Returns:
        None where no ``?`` is to be sent.
    """
    if not raw_query or not (authentication_names or passed_names is not None):
        return raw_query
    kept = []
    for item in raw_query.split(b"&"):
        name = decode_item(item.partition(b"=")[0])
        if name not in authentication_names and (passed_names is None or name in passed_names):
            kept.append(item)
    return b"&".join(kept) if kept else None


def backend_target(
    head: RequestHead,
    address: Address,
    profile: Profile,
    authentication_names: frozenset[bytes],
    passed_names: frozenset[bytes] | None = None,
) -> bytes:
    """
    Return the whole target.
    """
    path = backend_path(head, address, profile)
    query = backend_query(head.raw_query, authentication_names, passed_names)
    return path if query is None else b"%s?%s" % (path, query)
