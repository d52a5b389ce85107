"""
The target which the backend gets: octet for octet the client's, without its credentials, in the backend's style.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from s3proxy.resign.profiles import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead


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


def backend_query(raw_query: bytes | None, authentication_names: frozenset[bytes]) -> bytes | None:
    """
    Cut the parameters of authentication out of a query, each with one ``&``.

    Args:
        raw_query: None where the target has no ``?``.
        authentication_names: Decoded, as the verifier named them.

    Returns:
        None where no ``?`` is to be sent.
    """
    if not raw_query or not authentication_names:
        return raw_query
    kept = [item for item in raw_query.split(b"&") if _name(item) not in authentication_names]
    return b"&".join(kept) if kept else None


def backend_target(
    head: RequestHead, address: Address, profile: Profile, authentication_names: frozenset[bytes]
) -> bytes:
    """
    Return the whole target.
    """
    path = backend_path(head, address, profile)
    query = backend_query(head.raw_query, authentication_names)
    return path if query is None else b"%s?%s" % (path, query)


def _name(item: bytes) -> bytes:
    name = item.partition(b"=")[0]
    return unquote_to_bytes(name.replace(b"+", b" ")) if b"%" in name or b"+" in name else name
