"""
Requests that no backend may get, from any client.
"""

from __future__ import annotations

import pytest

from s3proxy.s3.address import Address
from s3proxy.s3.classification import check_method, check_request, classify
from s3proxy.s3.copy_source import check_copy_source
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, index_headers
from s3proxy.s3.limits import MAX_KEY_SIZE, MAX_METADATA_SIZE


def refusal(method: bytes, key: bytes = b"k", target: bytes = b"/b/k", *headers: tuple[bytes, bytes]) -> str:
    """
    Return the code of a refusal; empty if there is none.
    """
    head = RequestHead(method, target, b"HTTP/1.1", list(headers), index_headers(headers))
    address = Address(b"b", key, b"b", key)
    try:
        check_method(method)
        check_request(head, address, classify(head, address).operation)
    except S3Error as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("method", "code"),
    [
        (b"GET", ""),
        (b"HEAD", ""),
        (b"PUT", ""),
        (b"POST", ""),
        (b"DELETE", ""),
        (b"OPTIONS", ""),
        (b"TRACE", "MethodNotAllowed"),
        (b"CONNECT", "MethodNotAllowed"),
        (b"PATCH", "MethodNotAllowed"),
        (b"get", "BadRequest"),
        (b"PROPFIND", "BadRequest"),
        (b"COPY", "BadRequest"),
    ],
)
def test_methods(method: bytes, code: str) -> None:
    """
    S3's own, in upper case.
    """
    assert refusal(method, b"k", b"/b/k?uploads" if method == b"POST" else b"/b/k") == code


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"/",
        b"/b",
        b"b",
        b"/b/",
        b"b/",
        b"//k",
        b"/b//",
        b"%2Fb%2F",
        b"/b/?versionId=1",
        b"?versionId=1",
        b"arn:aws:s3:us-east-1:1:accesspoint/a",
        b"arn:aws:s3:us-east-1:1:accesspoint/a/object/",
    ],
)
def test_a_copy_of_no_key(source: bytes) -> None:
    """
    Such a request crashes Ceph 16.2: it is refused for each method that writes, in any spelling of the source.
    """
    for method, target in ((b"PUT", b"/b/k"), (b"POST", b"/b/k?uploads")):
        assert refusal(method, b"k", target, (b"x-amz-copy-source", source)) == "InvalidArgument"
        assert refusal(method, b"k", target, (b"x-amz-copy-source", b"/b/k"), (b"X-Amz-Copy-Source", source)) != ""


@pytest.mark.parametrize(
    "source",
    [b"/b/k", b"b/k", b"%2Fb%2Fk", b"/b/k?versionId=1", b"/b/a/", b"arn:aws:s3:us-east-1:1:accesspoint/a/object/k"],
)
def test_a_copy_of_a_key(source: bytes) -> None:
    """
    With or without its first slash and a version.
    """
    check_copy_source(source)


def test_sizes() -> None:
    """
    The sizes of a decoded key, and of all metadata, with names without their prefix.
    """
    name = b"x-amz-meta-a"
    assert refusal(b"PUT", b"k" * MAX_KEY_SIZE) == ""
    assert refusal(b"PUT", b"k" * (MAX_KEY_SIZE + 1)) == "KeyTooLongError"
    assert refusal(b"PUT", b"k", b"/b/k", (name, b"v" * (MAX_METADATA_SIZE - 1))) == ""
    assert refusal(b"PUT", b"k", b"/b/k", (name, b"v" * MAX_METADATA_SIZE)) == "MetadataTooLarge"
    assert refusal(b"PUT", b"k", b"/b/k", *[(name, b"v" * 1000)] * 3) == "MetadataTooLarge"


def test_a_form_with_a_signature_in_its_head() -> None:
    """
    No reader would check its policy.
    """
    form = (b"content-type", b"multipart/form-data; boundary=x")

    assert refusal(b"POST", b"", b"/b") == "MethodNotAllowed"
    assert refusal(b"POST", b"", b"/b?delete", form) == "MethodNotAllowed"
    assert refusal(b"POST", b"", b"/b?delete") == ""
