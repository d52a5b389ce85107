"""
Remove from a list of buckets those in which a key may do nothing.
"""

from __future__ import annotations

from s3proxy.authorization.rules import Rules
from s3proxy.s3.elements import read_listing_elements, remove_elements
from s3proxy.s3.errors import InternalError


def visible_buckets(rules: Rules, document: bytes) -> bytes:
    """
    Return the document of ListBuckets without the buckets that the rules hide.

    Raises:
        InternalError: The document is not a list of buckets, or a bucket in it has no name, or several.
    """
    reading = read_listing_elements(document, {"Bucket", "Name"})
    if not reading.is_readable or reading.root_name != "ListAllMyBucketsResult":
        raise InternalError
    buckets = [element for element in reading.elements if element.name == "Bucket"]
    names = [element for element in reading.elements if element.name == "Name" and element.parent == "Bucket"]
    if len(names) != len(buckets):
        raise InternalError
    hidden = []
    for bucket, name in zip(buckets, names, strict=True):
        if not bucket.start < name.start < bucket.end:
            raise InternalError
        if not rules.shows(name.name_bytes):
            hidden.append(bucket)
    return reading.written(remove_elements(reading.document, hidden))
