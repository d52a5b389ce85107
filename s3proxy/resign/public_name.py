"""
Replaces the names and URLs of the backend with those that clients use for s3proxy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from s3proxy.s3.head import HeaderList

# Browsers accept any number of slashes after "http:", and backslashes as slashes.
URL = re.compile(
    rb"(?:[Hh][Tt][Tt][Pp][Ss]?:[/\\]*+|(?:[A-Za-z][A-Za-z0-9+.\-]*+:)?[/\\]{2,}+)([^/?#\\]*+)(.*)", re.DOTALL
)
# A match ends at the next slash, so no byte is read twice.
_URL_WITHIN = re.compile(rb"(?:https?:)?//([^/?#\\\s\"'<>,;]++)", re.IGNORECASE)
_NOT_IN_PATH = re.compile(rb"[^!$&'()*+,\-./0-9:;=?@A-Z_a-z~%]")


class PublicName(NamedTuple):
    """
    The client's names for s3proxy, and the names of the backend that the client must not see.

    Attributes:
        scheme: ``http`` or ``https``, the scheme of the client's connection.
        host: The Host header, as the client sent it.
        region: The listener's region.
        raw_path: Path of the request, as the client sent it.
        virtual_bucket: The bucket that `host` begins with; empty in path style.
        hosts: The backend's hosts, in the form of `host_name`.
        service_path: Prefix of the backend's paths.
        request_id: Our own. The backend's is only logged.
        host_id: Our own.
    """

    scheme: bytes
    host: bytes
    region: bytes
    raw_path: bytes = b""
    virtual_bucket: bytes = b""
    hosts: frozenset[bytes] = frozenset()
    service_path: bytes = b""
    request_id: bytes = b""
    host_id: bytes = b""

    @property
    def object_url(self) -> bytes:
        """
        The URL of the request's bucket or object, with escapes if they are necessary.
        """
        path = _NOT_IN_PATH.sub(lambda found: b"%%%02X" % ord(found[0]), self.raw_path)
        return b"%s://%s%s" % (self.scheme, self.host, path) if self.host else path


def add_region(headers: HeaderList, name: PublicName) -> None:
    """
    Add the listener's region if the backend did not send its own: clients read it from HeadBucket.
    """
    if not any(header.lower() == b"x-amz-bucket-region" for header, _ in headers):
        headers.append((b"x-amz-bucket-region", name.region))


def host_name(authority: bytes) -> bytes:
    """
    Return the host of an authority in the one spelling that is compared, without port and user.
    """
    host = unquote_to_bytes(authority).rpartition(b"@")[2].strip().lower()
    if not host.startswith(b"["):
        return host.partition(b":")[0].rstrip(b".")
    literal = host[1:].partition(b"]")[0].partition(b"%")[0]
    try:
        address = ip_address(literal.decode("ascii"))
    except ValueError:
        return host
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address).encode()


def host_names(authorities: Iterable[bytes]) -> frozenset[bytes]:
    """
    Return the hosts of some authorities, for `is_backend`.
    """
    return frozenset(filter(None, map(host_name, authorities)))


def is_backend(authority: bytes, hosts: Iterable[bytes]) -> bool:
    """
    Return True if an authority is one of these hosts, or a bucket below one.

    The port does not matter: clients must not see the host, even if the URL is of another service on it.
    """
    name = host_name(authority)
    return any(name == host or name.endswith(b"." + host) for host in hosts)


def public_value(lower: bytes, value: bytes, name: PublicName) -> bytes:
    if lower == b"x-amz-bucket-region":
        return name.region
    if lower in {b"link", b"refresh"}:
        return with_public_urls(value, name, name.host)
    return public_url(value, name)


def public_url(url: bytes, name: PublicName) -> bytes:
    """
    Return a URL of the backend as the client must see it; a URL of another host is unchanged.
    """
    found = URL.fullmatch(url)
    if found is None:
        return _below_service_path(url, name)
    if not is_backend(found[1], name.hosts):
        return url
    path = _below_service_path(found[2], name)
    bucket = b"/" + name.virtual_bucket
    if name.virtual_bucket and path.startswith(bucket) and path[len(bucket) : len(bucket) + 1] in {b"", b"/", b"?"}:
        path = path[len(bucket) :]
    return b"%s://%s%s" % (name.scheme, name.host, path) if name.host else path or b"/"


def _below_service_path(path: bytes, name: PublicName) -> bytes:
    if name.service_path and path.startswith(name.service_path + b"/"):
        return path[len(name.service_path) :]
    return path


def with_public_urls(text: bytes, name: PublicName, host: bytes) -> bytes:
    """
    Return a text in which each URL of the backend has the client's name for s3proxy instead.

    Args:
        host: The client's name, in the form to write.
    """

    def public(found: re.Match[bytes]) -> bytes:
        return b"%s://%s" % (name.scheme, host) if is_backend(found[1], name.hosts) else found[0]

    return _URL_WITHIN.sub(public, text) if b"//" in text else text
