"""
The list of buckets, without those in which a key may do nothing.
"""

from __future__ import annotations

import pytest

from s3proxy.authorization.buckets import visible_buckets
from s3proxy.authorization.rules import Rules
from s3proxy.s3.errors import InternalError

RULES = Rules(("read:mine/*", "list:b-*"), ("*:b-secret",))

HEAD = b'<?xml version="1.0"?>\n<ListAllMyBucketsResult xmlns="x"><Owner><ID>i</ID></Owner>'


def bucket(name: str) -> bytes:
    return f"<Bucket><Name>{name}</Name><CreationDate>2020</CreationDate></Bucket>".encode()


def test_only_buckets_with_a_rule_are_shown() -> None:
    names = ("mine", "other", "b-1", "b-secret", "&#109;ine2", "<![CDATA[mine]]>")
    document = HEAD + b"<Buckets>" + b"".join(map(bucket, names)) + b"</Buckets></ListAllMyBucketsResult>"
    kept = b"".join(map(bucket, ("mine", "b-1", "<![CDATA[mine]]>")))
    assert visible_buckets(RULES, document) == HEAD + b"<Buckets>" + kept + b"</Buckets></ListAllMyBucketsResult>"


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"not XML",
        b"<Error><Code>x</Code></Error>",
        b"<ListBucketResult/>",
        HEAD + b"<Buckets><Bucket></Bucket></Buckets></ListAllMyBucketsResult>",
        HEAD + b"<Buckets><Bucket><Name>mine</Name><Name>other</Name></Bucket></Buckets></ListAllMyBucketsResult>",
        HEAD + b"<Buckets>" + bucket("mine"),
        HEAD + b"<Buckets>" + bucket("other") + b"</Buckets></ListAllMyBucketsResult><x/>",
        b'<!DOCTYPE a [<!ENTITY n "other">]>' + HEAD + bucket("&n;") + b"</ListAllMyBucketsResult>",
        HEAD
        + b"<Bucket><Bucket><Name>mine</Name></Bucket><Name>other</Name></Bucket>"
        + b"<Bucket></Bucket></ListAllMyBucketsResult>",
    ],
)
def test_what_cannot_be_read_is_not_shown(document: bytes) -> None:
    with pytest.raises(InternalError):
        visible_buckets(RULES, document)
