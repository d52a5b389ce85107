"""
Makes the string to sign of Signature V2: a few headers, and the resource as it is sent.

Source:
    "Signing and Authenticating REST Requests".
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from s3proxy.s3.head import Fields
from s3proxy.s3.query import decode_item

VALUED_SUBRESOURCES = frozenset(
    {
        b"partNumber",
        b"response-cache-control",
        b"response-content-disposition",
        b"response-content-encoding",
        b"response-content-language",
        b"response-content-type",
        b"response-expires",
        b"select-type",
        b"uploadId",
        b"versionId",
    }
)
"""
Query names that are signed with their decoded value. Any other is signed by its name only, even if it has a value.
"""

SUBRESOURCES = VALUED_SUBRESOURCES | {
    b"accelerate",
    b"acl",
    b"analytics",
    b"annotation",
    b"attributes",
    b"cors",
    b"delete",
    b"encryption",
    b"intelligent-tiering",
    b"inventory",
    b"legal-hold",
    b"lifecycle",
    b"location",
    b"logging",
    b"metrics",
    b"notification",
    b"object-lock",
    b"ownershipControls",
    b"policy",
    b"policyStatus",
    b"publicAccessBlock",
    b"replication",
    b"requestPayment",
    b"restore",
    b"retention",
    b"select",
    b"tagging",
    b"torrent",
    b"uploads",
    b"versioning",
    b"versions",
    b"website",
}
"""
Query names that are signed: the list that S3 uses today. The documentation and older backends have a shorter one.
"""

LISTING_NAMES = frozenset(
    {
        b"continuation-token",
        b"delimiter",
        b"encoding-type",
        b"fetch-owner",
        b"key-marker",
        b"list-type",
        b"marker",
        b"max-keys",
        b"max-parts",
        b"max-uploads",
        b"part-number-marker",
        b"prefix",
        b"start-after",
        b"upload-id-marker",
        b"version-id-marker",
    }
)
"""
Query names that pass although they are not signed: they select a part of a listing that the client may read whole.
"""

PASSED_NAMES = SUBRESOURCES | LISTING_NAMES
"""
Query names that a backend gets if a request is signed with Signature V2.
"""


def string_to_sign(method: bytes, fields: Fields, date: bytes, amz_lines: bytes, resource: bytes) -> bytes:
    """
    Return the string to sign, made of its lines.

    Args:
        fields: For Content-MD5 and Content-Type.
        date: The value of Date, or of Expires if the query has it; empty if x-amz-date is an amz line.
    """
    return b"%s\n%s\n%s\n%s\n%s%s" % (
        method,
        fields.value(b"content-md5") or b"",
        fields.value(b"content-type") or b"",
        date,
        amz_lines,
        resource,
    )


def canonical_amz_lines(fields: Mapping[bytes, Sequence[bytes]]) -> bytes:
    """
    Return a line for each ``x-amz-*`` header, sorted.
    """
    return b"".join(
        [
            b"%s:%s\n" % (name, b",".join([value.strip(b" \t") for value in fields[name]]))
            for name in sorted(fields)
            if name.startswith(b"x-amz-")
        ]
    )


def canonical_resource(
    raw_path: bytes,
    raw_query: bytes,
    subresources: Collection[bytes] = SUBRESOURCES,
    *,
    writes_empty_values: bool = True,
) -> bytes:
    """
    Return the path as it is sent, and the sub-resources sorted by name.

    Args:
        raw_path: With the bucket first, even if it was in the host name.
        subresources: Decoded names that the verifier includes.
        writes_empty_values: False for a verifier that treats ``name=`` as ``name``.
    """
    signed = []
    for item in raw_query.split(b"&"):
        raw_name, equals, value = item.partition(b"=")
        # A reader that unescapes the name later must find the one that was signed.
        name = decode_item(raw_name)
        if name in subresources:
            is_valued = equals and name in VALUED_SUBRESOURCES and (writes_empty_values or value)
            signed.append((name, b"%s=%s" % (name, decode_item(value)) if is_valued else name))
    return b"%s?%s" % (raw_path, b"&".join([text for _, text in sorted(signed)])) if signed else raw_path
