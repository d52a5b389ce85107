"""
Keys which a backend cannot hold: it would store them under another name, and so they are refused before it.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

from s3proxy.resign.profiles import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.errors import InvalidArgument, MalformedXML
from s3proxy.s3.head import RequestHead
from s3proxy.s3.query import query_names


def check_keys(profile: Profile, head: RequestHead, address: Address) -> None:
    """
    Refuse a request whose key, or whose copy source's, the backend cannot hold.

    Raises:
        InvalidArgument: It is one of the profile's `refused_keys`.
    """
    _check_key(profile, address.key)
    for source in head.fields.get(b"x-amz-copy-source", ()):
        _check_key(profile, unquote_to_bytes(source.partition(b"?")[0]).removeprefix(b"/").partition(b"/")[2])


def check_document_keys(profile: Profile, head: RequestHead, address: Address, document: bytes) -> None:
    """
    Refuse a DeleteObjects with a key which the backend cannot hold: it would delete another.

    Args:
        document: Verified; of whatever operation.

    Raises:
        InvalidArgument: A key is one of the profile's `refused_keys`.
        MalformedXML: The document cannot be read as the backend might read it.
    """
    if head.method != b"POST" or address.key or b"delete" not in query_names(head.raw_query):
        return
    # A document type could say what an entity stands for; a NUL is in every other width of characters.
    if b"\0" in document or b"<!" in document.replace(b"<![CDATA[", b"").replace(b"<!--", b""):
        raise MalformedXML
    try:
        elements = ElementTree.fromstring(document).iter()  # noqa: S314
    except (ElementTree.ParseError, ValueError, LookupError):
        raise MalformedXML from None
    for element in elements:
        if element.tag.rpartition("}")[2] == "Key":
            _check_key(profile, "".join(element.itertext()).encode())


def _check_key(profile: Profile, key: bytes) -> None:
    if profile.refused_keys is not None and profile.refused_keys.search(key) is not None:
        raise InvalidArgument("The storage cannot hold this key as it is.", "Key", key)
