"""
The operation of a request, and the table of S3's operations compared with the service model of S3's own SDK.
"""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest

from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import is_form, is_head_bucket
from s3proxy.s3.errors import BadRequest, InvalidArgument, S3Error
from s3proxy.s3.head import index_headers, parse_request_head
from s3proxy.s3.operation import OPERATIONS, VALUELESS_NAMES, BodyUse
from tests.s3.classified import classified

NOT_IN_THE_MODEL = {"Preflight", "PreflightOfObject"}
"""
Browsers send these; no SDK does.
"""

ELSEWHERE = {
    "ListDirectoryBuckets": "ListBuckets at the endpoint of directory buckets",
    "WriteGetObjectResponse": "asked of an endpoint of its own, by functions of Object Lambda",
    "GetBucketLifecycle": "the deprecated name of GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "the deprecated name of PutBucketLifecycleConfiguration",
    "GetBucketNotification": "the deprecated name of GetBucketNotificationConfiguration",
    "PutBucketNotification": "the deprecated name of PutBucketNotificationConfiguration",
}
"""
Operations of the model that have no row of their own, and the reason.
"""


def model() -> dict[str, Any]:
    """
    Return S3's operations from botocore's service model.
    """
    service = botocore.session.get_session().get_service_model("s3")
    return {name: service.operation_model(name) for name in service.operation_names}


def asked_by(name: str, operation: Any) -> tuple[str, dict[str, str]]:
    """
    Return target and headers of a request for an operation of the model, with everything that it requires or may have.
    """
    path, _, query = operation.http["requestUri"].partition("?")
    path = path.replace("{Bucket}", "b").replace("{Key+}", "k")
    items = [query] if query else []
    headers = {}
    for member in operation.input_shape.members.values() if operation.input_shape else ():
        if member.serialization.get("location") == "querystring":
            items.append(member.serialization["name"] + "=1")
    if name in {"CopyObject", "UploadPartCopy"}:
        headers["x_amz_copy_source"] = "/b/source"
    return path + ("?" + "&".join(items) if items else ""), headers


@pytest.mark.parametrize("name", sorted(set(model()) - set(ELSEWHERE)))
def test_the_table_is_that_of_the_sdk(name: str) -> None:
    """
    Each operation of S3's own SDK is in the table: its method, level, sub-resource and every parameter.
    """
    operation = model()[name]
    target, headers = asked_by(name, operation)

    found = classified(operation.http["method"], target, **headers)

    assert found.operation.name == name
    assert not found.unknown_names


def test_nothing_else_is_in_the_table() -> None:
    """
    What the SDK does not have is not in the table, except for a browser's preflights.
    """
    assert set(OPERATIONS) - set(model()) == NOT_IN_THE_MODEL
    assert set(model()) - set(OPERATIONS) == set(ELSEWHERE)


@pytest.mark.parametrize(
    ("method", "target", "headers", "name", "passed", "unknown"),
    [
        ("GET", "/", {}, "ListBuckets", set(), set()),
        ("GET", "/?", {}, "ListBuckets", set(), set()),
        ("GET", "/b/", {}, "ListObjects", set(), set()),
        ("HEAD", "/", {}, "ListBuckets", set(), set()),
        ("HEAD", "/b?prefix=a", {}, "HeadBucket", set(), {b"prefix"}),
        ("HEAD", "/b?uploads&prefix=a", {}, "ListMultipartUploads", {b"uploads", b"prefix"}, set()),
        ("HEAD", "/b?list-type=2", {}, "ListObjectsV2", {b"list-type"}, set()),
        ("HEAD", "/b/k?acl", {}, "GetObjectAcl", {b"acl"}, set()),
        ("HEAD", "/b/k?partNumber=1", {}, "HeadObject", {b"partNumber"}, set()),
        ("GET", "/b?list-type=2&prefix=a", {}, "ListObjectsV2", {b"list-type", b"prefix"}, set()),
        ("GET", "/b?list-type=1&prefix=a", {}, "ListObjects", {b"prefix"}, {b"list-type"}),
        ("GET", "/b?versions&list-type=2", {}, "ListObjectVersions", {b"versions"}, {b"list-type"}),
        ("GET", "/b?analytics", {}, "ListBucketAnalyticsConfigurations", {b"analytics"}, set()),
        ("GET", "/b?analytics&id=1", {}, "GetBucketAnalyticsConfiguration", {b"analytics", b"id"}, set()),
        ("GET", "/b/k?%6cocation", {}, "GetObject", set(), {b"location"}),
        ("GET", "/b?%6cocation", {}, "GetBucketLocation", {b"location"}, set()),
        ("GET", "/b/k?v=3&1472023447&versionId=1", {}, "GetObject", {b"versionId"}, {b"v", b"1472023447"}),
        ("GET", "/b/k?x-id=GetObject&X-Amz-User-Agent=a", {}, "GetObject", set(), set()),
        ("GET", "/b/k?response-expires=a", {"x_amz_copy_source": "/b/s"}, "GetObject", {b"response-expires"}, set()),
        ("PUT", "/b/k?append&position=0", {}, "PutObject", set(), {b"append", b"position"}),
        ("PUT", "/b/k?partNumber=1&uploadId=2", {}, "UploadPart", {b"partNumber", b"uploadId"}, set()),
        (
            "PUT",
            "/b/k?partNumber=1&uploadId=2",
            {"x_amz_copy_source": "b/s"},
            "UploadPartCopy",
            {b"partNumber", b"uploadId"},
            set(),
        ),
        ("PUT", "/b/k", {"x_amz_copy_source": "b/s"}, "CopyObject", set(), set()),
        ("POST", "/b?delete", {}, "DeleteObjects", {b"delete"}, set()),
        ("DELETE", "/b/k?%74agging&versionId=1", {}, "DeleteObjectTagging", {b"tagging", b"versionId"}, set()),
        ("OPTIONS", "/b/k?uploads", {}, "PreflightOfObject", set(), set()),
    ],
)
def test_classification(
    method: str, target: str, headers: dict[str, str], name: str, passed: set[bytes], unknown: set[bytes]
) -> None:
    """
    An operation is found by level, method and decoded sub-resource; only parameters that it defines pass.
    """
    found = classified(method, target, **headers)

    assert (found.operation.name, found.passed_names, found.unknown_names) == (name, passed, unknown)


@pytest.mark.parametrize(
    ("method", "target", "headers", "code"),
    [
        ("POST", "/", {}, "MethodNotAllowed"),
        ("POST", "/?", {}, "MethodNotAllowed"),
        ("POST", "/?Action=AssumeRole", {}, "MethodNotAllowed"),
        ("PUT", "/?Action=CreateRole", {}, "MethodNotAllowed"),
        ("DELETE", "/?Action=DeleteRole", {}, "MethodNotAllowed"),
        ("OPTIONS", "/", {}, "MethodNotAllowed"),
        ("POST", "/b", {}, "MethodNotAllowed"),
        ("POST", "/b?x", {}, "MethodNotAllowed"),
        ("POST", "/b?delete", {"Content_Type": "multipart/form-data; boundary=a"}, "MethodNotAllowed"),
        ("POST", "/b/k", {}, "MethodNotAllowed"),
        ("POST", "/b/k?append", {}, "MethodNotAllowed"),
        ("GET", "/b?delete", {}, "MethodNotAllowed"),
        ("GET", "/b/k?uploads", {}, "MethodNotAllowed"),
        ("DELETE", "/b?acl", {}, "MethodNotAllowed"),
        ("DELETE", "/b?versions", {}, "MethodNotAllowed"),
        ("GET", "/b?acl&policy", {}, "InvalidArgument"),
        ("PUT", "/b/k?tagging&acl", {}, "InvalidArgument"),
        ("PUT", "/b/k?uploadId=1", {}, "InvalidArgument"),
        ("PUT", "/b?inventory", {}, "InvalidArgument"),
        ("GET", "/b?prefix=a&prefix=b", {}, "InvalidArgument"),
        ("DELETE", "/b/k?versionId=a&versionId=b", {}, "InvalidArgument"),
        ("PUT", "/b/k?versionId=1", {}, "InvalidArgument"),
        ("PUT", "/b/k?acl", {"x_amz_copy_source": "/b/s"}, "InvalidArgument"),
        ("PUT", "/b", {"x_amz_copy_source": "/b/s"}, "InvalidArgument"),
    ],
)
def test_what_is_not_in_the_table(method: str, target: str, headers: dict[str, str], code: str) -> None:
    """
    A request is refused if S3 has no operation for it, or if two readers would take it for different operations.
    """
    with pytest.raises(S3Error) as caught:
        classified(method, target, **headers)

    assert caught.value.code == code


@pytest.mark.parametrize(
    ("method", "target", "code", "message"),
    [
        ("PUT", "/b/k?partNumber=1&uploadId=", "NoSuchUpload", ""),
        ("PUT", "/b/k?partNumber=1&uploadId=%20", "NoSuchUpload", ""),
        ("DELETE", "/b/k?versionId=", "InvalidArgument", "Version id cannot be the empty string"),
        ("PUT", "/b?inventory&id=", "InvalidArgument", "A query parameter must not be empty"),
        ("PUT", "/b/k?partNumber=&uploadId=1", "InvalidArgument", "A query parameter must not be empty"),
    ],
)
def test_a_parameter_that_is_empty(method: str, target: str, code: str, message: str) -> None:
    """
    A parameter that identifies an upload, a version or a configuration is never empty.
    """
    with pytest.raises(S3Error) as caught:
        classified(method, target)

    assert caught.value.code == code
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(("method", "is_refused"), [("GET", False), ("HEAD", False), ("PUT", True), ("DELETE", True)])
def test_a_parameter_that_is_not_known_comes_twice(method: str, is_refused: bool) -> None:
    """
    In a read S3 ignores it. In a write, a storage system that supports it would use one or the other.
    """
    if is_refused:
        with pytest.raises(InvalidArgument):
            classified(method, "/b/k?position=0&position=1")
    else:
        assert classified(method, "/b/k?position=0&position=1").unknown_names == {b"position"}


def test_what_a_signature_does_not_cover() -> None:
    """
    With Signature V2 an uncovered parameter is removed from a read. If that would change the operation, the request is
    refused.
    """
    covered = frozenset({b"prefix", b"uploadId"})

    read = classified("GET", "/b?prefix=a&delimiter=b", covered=covered)
    assert (read.operation.name, read.passed_names) == ("ListObjects", {b"prefix"})
    for method, target in (
        ("GET", "/b?abac"),
        ("GET", "/b?analytics&id=1"),
        ("PUT", "/b/k?partNumber=1&uploadId=1"),
        ("DELETE", "/b/k?versionId=1"),
    ):
        with pytest.raises(S3Error) as caught:
            classified(method, target, covered=covered)
        assert caught.value.code == "NotImplemented"


def test_bodies() -> None:
    """
    Each operation defines its body: bytes that stream, a document that is held, or none.
    """
    streamed = {each.name for each in OPERATIONS.values() if each.body is BodyUse.OBJECT}
    documents = {each.name for each in OPERATIONS.values() if each.body is BodyUse.DOCUMENT}

    assert streamed == {"PutObject", "UploadPart"}
    assert all(OPERATIONS[name].method in {b"PUT", b"POST"} for name in documents)
    assert {"CopyObject", "UploadPartCopy", "RenameObject", "GetObject"}.isdisjoint(documents)


def test_a_body_has_one_type() -> None:
    """
    If there are two, one reader reads a form, the other a document.
    """
    with pytest.raises(BadRequest):
        is_form(index_headers([(b"Content-Type", b"multipart/form-data; boundary=a"), (b"content-type", b"text/xml")]))
    assert is_form(index_headers([(b"Content-Type", b"multipart/form-data; boundary=a")]))


def test_names_that_choose_by_being_there() -> None:
    """
    Sub-resources, except for those whose value also chooses.
    """
    assert {b"acl", b"uploads", b"versions", b"tagging", b"delete"} <= VALUELESS_NAMES
    assert VALUELESS_NAMES.isdisjoint({b"list-type", b"uploadId", b"prefix", None})


@pytest.mark.parametrize(
    ("method", "target", "is_one"),
    [("HEAD", "/b", True), ("HEAD", "/b/", True), ("HEAD", "/b/k", False), ("HEAD", "/", False), ("GET", "/b", False)],
)
def test_what_asks_for_a_bucket_s_presence(method: str, target: str, is_one: bool) -> None:
    """
    HEAD of a bucket; its responses have the region, even if they refuse the request.
    """
    head = parse_request_head(f"{method} {target} HTTP/1.1\r\nHost: s3.test".encode())

    assert is_head_bucket(head, parse_address(head.raw_path, head.host, [])) is is_one
