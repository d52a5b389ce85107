"""
Bucket and key, from a path-style or a virtual-hosted-style request.

Source:
    "Virtual hosting of buckets".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote_from_bytes, unquote_to_bytes

from s3proxy.s3.errors import InvalidBucketName, InvalidURI

PLAIN_PATH = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/"
"""
The bytes of a path in which nothing is escaped, and in whose canonical form nothing would be.
"""

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SLASH = re.compile(rb"/|%2[Ff]")
_HOST_BUCKET = re.compile(rb"[a-z0-9._-]+")


@dataclass(slots=True)
class Address:
    """
    The bucket and the key that a request names.

    Attributes:
        bucket: Decoded; empty if the request is about the service.
        key: Decoded; empty if the request is about a bucket or the service.
        raw_bucket: As received; in virtual-hosted style, taken from the host name.
        raw_key: As received, without the slash before it.
        is_virtual_hosted: Whether the bucket was in the host name.
    """

    bucket: bytes
    key: bytes
    raw_bucket: bytes
    raw_key: bytes
    is_virtual_hosted: bool = False


def parse_address(raw_path: bytes, host: bytes, domains: Sequence[bytes]) -> Address:
    """
    Return the bucket and the key that a request names.

    Args:
        raw_path: As received, with its first slash.
        host: The Host header, with or without a port and a dot at its end, in any case.
        domains: Lower case. A host below one of them names its bucket; any other is path style.

    Raises:
        InvalidURI: An escape is broken, the decoded path is not UTF-8, or it has a key and no bucket.
        InvalidBucketName: The bucket in the host name would be another bucket in a path.
    """
    decoded = decode_path(raw_path) if raw_path.translate(None, PLAIN_PATH) else raw_path
    bucket = _bucket_of_host(host, domains) if domains else b""
    if bucket:
        # The bucket moves into a path. An escape would be decoded there, and a backend may remove dots.
        if bucket in {b".", b".."} or _HOST_BUCKET.fullmatch(bucket) is None:
            raise InvalidBucketName(bucket)
        return Address(bucket, decoded[1:], bucket, raw_path[1:], True)
    if decoded[1:2] == b"/":
        # A backend that drops empty segments would read the first segment of the key as the bucket.
        raise InvalidURI(raw_path)
    if decoded is raw_path:
        raw_bucket, _, raw_key = raw_path[1:].partition(b"/")
        return Address(raw_bucket, raw_key, raw_bucket, raw_key)
    # An escaped slash ends the bucket, too: backends decode a path before they look for its slashes.
    bucket, _, key = decoded[1:].partition(b"/")
    raw_bucket, *raw_keys = _SLASH.split(raw_path[1:], maxsplit=1)
    return Address(bucket, key, raw_bucket, b"".join(raw_keys))


def written_address(bucket: bytes, key: bytes) -> Address:
    """
    Return the path-style address of an object that no target names, from its decoded bucket and key.
    """
    return Address(bucket, key, escape_name(bucket, ""), escape_name(key))


def object_target(address: Address, version_id: bytes | None) -> bytes:
    """
    Return the request target of an object in path style.

    Args:
        version_id: Decoded; None or empty for the current version.
    """
    path = b"/%s/%s" % (address.raw_bucket, address.raw_key)
    return b"%s?versionId=%s" % (path, escape_name(version_id, "")) if version_id else path


def escape_name(name: bytes, kept: str = "/") -> bytes:
    """
    Return a name with all characters escaped except the unreserved ones and those in `kept`.
    """
    return quote_from_bytes(name, safe=kept + "-_.~").encode()


def decode_path(raw_path: bytes) -> bytes:
    """
    Return a path with its escapes decoded once.

    Returns:
        ``raw_path`` itself if there is nothing to decode.

    Raises:
        InvalidURI: An escape is broken, or the decoded path is not UTF-8.
    """
    if not raw_path.translate(None, PLAIN_PATH):
        return raw_path
    if _BAD_ESCAPE.search(raw_path) is not None:
        raise InvalidURI(raw_path)
    decoded = unquote_to_bytes(raw_path)
    try:
        decoded.decode()
    except UnicodeDecodeError:
        raise InvalidURI(raw_path) from None
    return decoded


def _bucket_of_host(host: bytes, domains: Sequence[bytes]) -> bytes:
    name = host.lower()
    if not name.endswith(b"]"):
        head, colon, port = name.rpartition(b":")
        if colon and (not port or port.isdigit()):
            name = head
    # A dot at the end names the DNS root. Only a resolver needs it.
    name = name.removesuffix(b".")
    found = b""
    longest = 0
    for domain in domains:
        # The longest domain wins: "eu" is not a bucket if both "eu.s3.test" and "s3.test" are domains.
        if len(domain) > longest and (name == domain or name.endswith(b"." + domain)):
            longest = len(domain)
            found = name[: -len(domain) - 1] if name != domain else b""
    return found
