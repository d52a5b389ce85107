"""
The published examples of Signature V2, at every intermediate step.
"""

from __future__ import annotations

from typing import Any

import pytest

from s3proxy.s3.head import index_headers
from s3proxy.sigv2.canonical import canonical_amz_lines, canonical_resource, string_to_sign
from s3proxy.sigv2.verifier import sign
from tests.support.harness import encoded, load_vectors

VECTORS = load_vectors("s3-sigv2")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_each_step(vector: dict[str, Any]) -> None:
    """
    The string to sign and its signature are the published ones. If those are wrong, they are what the rules give.
    """
    request, expected = vector["request"], vector["expected"]
    path, _, query = encoded(request["target"]).partition(b"?")
    fields = index_headers((encoded(name), encoded(value)) for name, value in request["headers"])
    date = fields.value(b"date") or b""
    if b"x-amz-date" in fields:
        date = b""
    if vector["carrier"] == "query":
        date = query.partition(b"Expires=")[2].partition(b"&")[0]

    text = string_to_sign(
        encoded(request["method"]),
        fields,
        date,
        canonical_amz_lines(fields),
        canonical_resource(encoded(vector["resource_prefix"]) + path, query),
    )

    assert text == encoded(expected["string_to_sign"])
    assert sign(vector["credentials"]["secret_key"], text) == encoded(expected["signature"])


def test_published_examples_which_are_wrong() -> None:
    """
    One example signs its date twice; the others give the printed result.
    """
    wrong = [vector for vector in VECTORS if "published_signature" in vector]

    assert [vector["name"] for vector in wrong] == ["v2-delete-with-x-amz-date"]
    secret = wrong[0]["credentials"]["secret_key"]
    assert sign(secret, encoded(wrong[0]["published_string_to_sign"])) == encoded(wrong[0]["published_signature"])
    assert wrong[0]["expected"]["signature"] != wrong[0]["published_signature"]
    assert len(VECTORS) == 16


@pytest.mark.parametrize(
    ("query", "resource"),
    [
        (b"", b"/b/k"),
        (b"acl", b"/b/k?acl"),
        (b"acl=anything", b"/b/k?acl"),
        (b"versionId=a%2Bb&acl", b"/b/k?acl&versionId=a+b"),
        (b"%61cl", b"/b/k?acl"),
        (b"prefix=x&uploads", b"/b/k?uploads"),
        (b"partNumber=2&uploadId=z&x-id=UploadPart", b"/b/k?partNumber=2&uploadId=z"),
        (b"select&select-type=2", b"/b/k?select&select-type=2"),
    ],
)
def test_sub_resources(query: bytes, resource: bytes) -> None:
    """
    Those with a value are signed with it, decoded; an escaped name counts as its decoded form.
    """
    assert canonical_resource(b"/b/k", query) == resource


@pytest.mark.parametrize(
    ("query", "writes_empty_values", "resource"),
    [
        (b"response-expires=", True, b"/b/k?response-expires="),
        (b"response-expires=", False, b"/b/k?response-expires"),
        (b"response-expires=a", True, b"/b/k?response-expires=a"),
        (b"response-expires=a", False, b"/b/k?response-expires=a"),
        (b"response-expires", True, b"/b/k?response-expires"),
    ],
)
def test_an_empty_value(query: bytes, writes_empty_values: bool, resource: bytes) -> None:
    """
    S3 includes it; Ceph 16.2 does not.
    """
    assert canonical_resource(b"/b/k", query, writes_empty_values=writes_empty_values) == resource
    if writes_empty_values:
        assert canonical_resource(b"/b/k", query) == resource
