"""
The target which the backend gets: byte for byte the client's, without its credentials, in the backend's style.

A storage system that reads a target in another way than S3 gets one that is rewritten from the decoded bucket, key and
query; see `s3proxy.profiles.profile.TargetForm`.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote_from_bytes

from s3proxy.profiles.profile import Profile, TargetForm
from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import parse_copy_source
from s3proxy.s3.errors import NotImplementedByProxy
from s3proxy.s3.head import HeaderList, RequestHead
from s3proxy.s3.limits import MAX_PAGE_LENGTH
from s3proxy.s3.query import decode_item, query_items

PAGE_LENGTH_NAMES = frozenset({b"max-keys", b"max-parts", b"max-uploads"})
"""
Query names whose value is the most entries in a page of a list.
"""


def with_query(head: RequestHead, raw_query: bytes | None) -> RequestHead:
    """
    Return a head with the same path and another query; None to send no ``?``.
    """
    return replace(head, raw_target=head.raw_path if raw_query is None else b"%s?%s" % (head.raw_path, raw_query))


def backend_query(raw_query: bytes | None, passed_names: frozenset[bytes]) -> bytes | None:
    """
    Return a query without the parameters that must not pass; each is removed with one ``&``.

    Args:
        raw_query: None if the target has no ``?``.
        passed_names: Decoded; see `s3proxy.s3.classification.Classification`.

    Returns:
        None to send no ``?``. Names are written without escapes: a backend might not decode an escaped one. Semicolons
        are escaped.
    """
    if not raw_query:
        return raw_query
    # In S3 a semicolon is a part of a value. Readers of Go drop a parameter that has one, and older readers take it for
    # an ampersand.
    raw_query = raw_query.replace(b";", b"%3B")
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
        # Empty parameters included.
        return raw_query
    return b"&".join(kept) if kept else None


def backend_target(head: RequestHead, address: Address, profile: Profile, passed_names: frozenset[bytes]) -> bytes:
    """
    Return the request target for a backend, which is addressed in path style.
    """
    form = profile.target
    if form is not None:
        return profile.service_path + written_target(form, address, head.raw_query, passed_names)
    path = head.raw_path
    if address.is_virtual_hosted:
        path = b"/%s%s" % (address.raw_bucket, path)
    if profile.escapes_plus and b"+" in path:
        path = path.replace(b"+", b"%2B")
    if profile.service_path:
        path = profile.service_path + path
    if head.raw_query is None:
        return path
    query = backend_query(head.raw_query, passed_names)
    return path if query is None else b"%s?%s" % (path, query)


def written_target(
    form: TargetForm, address: Address, raw_query: bytes | None, passed_names: frozenset[bytes]
) -> bytes:
    """
    Return a target that is rewritten from decoded values, below the service path.

    Args:
        address: Its bucket needs no escapes; see `s3proxy.mending.restrictions.check_bucket`.
        passed_names: Decoded names that have a meaning in the operation.
    """
    path = b"/" + address.bucket
    if address.key:
        path += b"/" + _escaped(address.key, form.unescaped)
    if not raw_query:
        return path
    items = []
    for name, value in query_items(raw_query):
        if name not in passed_names or name not in form.query_names:
            continue
        if name in form.valueless_names:
            items.append(name)
        elif value:
            # To S3 an empty value is the same as no parameter. To the backend it may be an error, or an empty name.
            written = b"%d" % min(int(value), MAX_PAGE_LENGTH) if name in PAGE_LENGTH_NAMES else _escaped(value)
            items.append(b"%s=%s" % (name, written))
    return b"%s?%s" % (path, b"&".join(items)) if items else path


def written_copy_source(passed: HeaderList) -> HeaderList:
    """
    Return headers with the source of a copy rewritten: the backend decodes all of it before it finds key and version.

    Raises:
        NotImplementedByProxy: The source is an access point, which no such backend has.
    """
    return [(name, _written_source(value) if name.lower() == b"x-amz-copy-source" else value) for name, value in passed]


def _written_source(raw_source: bytes) -> bytes:
    source = parse_copy_source(raw_source)
    if source is None:
        # An access point.
        raise NotImplementedByProxy(None, Header="x-amz-copy-source")
    written = b"/%s/%s" % (source.bucket, _escaped(source.key, "/"))
    return written if source.version_id is None else b"%s?versionId=%s" % (written, _escaped(source.version_id))


def _escaped(text: bytes, unescaped: str = "") -> bytes:
    return quote_from_bytes(text, safe=unescaped).encode()
