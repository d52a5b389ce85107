"""
Buckets and keys which a backend cannot hold, or reads as others: they are refused before it.
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
    Refuse a request whose bucket or key, or whose copy source's, the backend cannot hold or takes for another.

    Raises:
        InvalidArgument: A key is one of the profile's `refused_keys`.
        InvalidBucketName: A bucket is one of its `refused_buckets`.
        NotImplementedByProxy: The source of a part is one of its `refused_part_sources`.
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


def _check_bucket(profile: Profile, bucket: bytes) -> None:
    if profile.refused_buckets is not None and profile.refused_buckets.search(bucket) is not None:
        raise InvalidBucketName(bucket)


def _check_key(profile: Profile, key: bytes) -> None:
    if profile.refused_keys is not None and profile.refused_keys.search(key) is not None:
        raise InvalidArgument("The storage cannot hold this key as it is.", "Key", key)
