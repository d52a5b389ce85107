"""
Refuse buckets and keys that a backend cannot store, or reads as others.
"""

from __future__ import annotations

from s3proxy.profiles.profile import Profile
from s3proxy.s3.address import Address
from s3proxy.s3.copy_source import copy_source_bucket, copy_source_key, copy_source_path
from s3proxy.s3.document import local_name, parse_document
from s3proxy.s3.errors import InvalidArgument, InvalidBucketName, MalformedXML, NotImplementedByProxy
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import UPLOAD_PART_COPY, Operation


def check_keys(profile: Profile, head: RequestHead, address: Address, operation: Operation) -> None:
    """
    Refuse a request if the backend cannot store its bucket or key, or those of its copy source, or reads them as
    others.

    Raises:
        InvalidArgument: A key is one of the profile's `refused_keys`.
        InvalidBucketName: A bucket is one of the profile's `refused_buckets`.
        NotImplementedByProxy: The source of a part is one of the profile's `refused_part_sources`.
    """
    _check_bucket(profile, address.bucket)
    _check_key(profile, address.key)
    for source in head.fields.get(b"x-amz-copy-source", ()):
        _check_bucket(profile, copy_source_bucket(source) or b"")
        _check_key(profile, copy_source_key(source))
        refused = profile.refused_part_sources
        if operation is UPLOAD_PART_COPY and refused is not None and refused.search(copy_source_path(source)):
            raise NotImplementedByProxy(None, Header="x-amz-copy-source")


def check_document_keys(profile: Profile, document: bytes) -> None:
    """
    Refuse a DeleteObjects with a key that the backend cannot store: it would delete another object.

    Args:
        document: The verified document.

    Raises:
        InvalidArgument: A key is one of the profile's `refused_keys`.
        MalformedXML: The document cannot be read as the backend might read it, or a key has child elements.
    """
    for element in parse_document(document).iter():
        if local_name(element) == "Key":
            if len(element):
                # Go's XML reader leaves out the text of elements within a key; another reader may not.
                raise MalformedXML
            _check_key(profile, (element.text or "").encode())


def _check_bucket(profile: Profile, bucket: bytes) -> None:
    if profile.refused_buckets is not None and profile.refused_buckets.search(bucket) is not None:
        raise InvalidBucketName(bucket)


def _check_key(profile: Profile, key: bytes) -> None:
    if profile.refused_keys is not None and profile.refused_keys.search(key) is not None:
        raise InvalidArgument("The storage system cannot store this key unchanged.", "Key", key)
