"""
Keys which a backend cannot hold: it would store them under another name, and so they are refused before it.
"""

from __future__ import annotations

from s3proxy.resign.profiles import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import copy_source_key
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.errors import InvalidArgument, MalformedXML
from s3proxy.s3.head import RequestHead


def check_keys(profile: Profile, head: RequestHead, address: Address) -> None:
    """
    Refuse a request whose key, or whose copy source's, the backend cannot hold.

    Raises:
        InvalidArgument: It is one of the profile's `refused_keys`.
    """
    _check_key(profile, address.key)
    for source in head.fields.get(b"x-amz-copy-source", ()):
        _check_key(profile, copy_source_key(source))


def check_document_keys(profile: Profile, document: bytes) -> None:
    """
    Refuse a DeleteObjects with a key which the backend cannot hold: it would delete another.

    Args:
        document: Verified.

    Raises:
        InvalidArgument: A key is one of the profile's `refused_keys`.
        MalformedXML: The document cannot be read as the backend might read it, or a key has elements within it.
    """
    for element in parse_document(document).iter():
        if local_name(element) == "Key":
            if len(element):
                # Go's reader leaves out the text of what is within a key, another would not.
                raise MalformedXML
            _check_key(profile, (element.text or "").encode())


def _check_key(profile: Profile, key: bytes) -> None:
    if profile.refused_keys is not None and profile.refused_keys.search(key) is not None:
        raise InvalidArgument("The storage cannot hold this key as it is.", "Key", key)
