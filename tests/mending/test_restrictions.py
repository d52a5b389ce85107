"""
Requests that a storage system would carry out differently from S3: s3proxy refuses them, and similar valid ones pass.

The behaviour of the storage systems was seen at Walrus 3.4.2 and Ceph 16.2: see their profiles.
"""

from __future__ import annotations

import pytest

from s3proxy.mending.keys import check_keys
from s3proxy.mending.restrictions import check_restrictions
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, parse_request_head

WALRUS, CEPH, MINIO = "walrus-3.4", "ceph-rgw", "minio"
PUT = "PUT /b/k"
COPY = "x-amz-copy-source"


def head_of(target: str, *lines: str) -> RequestHead:
    """
    Return the head of a request: its method and its target, and its headers.
    """
    return parse_request_head("\r\n".join([f"{target} HTTP/1.1", "Host: x", *lines]).encode())


def code_of(profile: str, head: RequestHead, *, keeps_multipart: bool = False) -> str:
    """
    The code with which a request is refused; empty if it passes.
    """
    address = parse_address(head.raw_path, head.host, ())
    found = classify(head, address)
    try:
        check_keys(PROFILES[profile], head, address, found.operation)
        check_restrictions(PROFILES[profile], head, address, found, keeps_multipart=keeps_multipart)
    except S3Error as error:
        return error.code
    return ""


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (f"x-amz-meta-a: {'v' * 255}", ""),
        (f"x-amz-meta-a: {'v' * 256}", "MetadataTooLarge"),
        (f"x-amz-meta-{'n' * 255}: v", ""),
        (f"x-amz-meta-{'n' * 256}: v", "MetadataTooLarge"),
        (f"Content-Type: {'v' * 255}", ""),
        (f"Content-Type: {'v' * 256}", "MetadataTooLarge"),
        (f"User-Agent: {'v' * 256}", ""),
    ],
)
def test_a_value_as_long_as_its_column(line: str, code: str) -> None:
    """
    The limit is 255 characters, whatever comes before the value: a longer one is not stored, although the status is
    200.
    """
    for lines in ([line], ["User-Agent: a", line], [line, "User-Agent: a"]):
        assert code_of(WALRUS, head_of(PUT, *lines)) == code


def test_a_value_is_measured_with_all_its_lines() -> None:
    """
    They are joined before they are stored.
    """
    lines = [f"x-amz-meta-a: {'v' * 127}"] * 2

    assert code_of(WALRUS, head_of(PUT, *lines)) == ""
    assert code_of(WALRUS, head_of(PUT, *lines, "x-amz-meta-a: ")) == "MetadataTooLarge"


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("max-keys=10&prefix=a", ""),
        ("max-keys=ten", "InvalidArgument"),
        ("x-id=ListObjects&max-keys=ten", "InvalidArgument"),
        ("prefix=%01", "InvalidArgument"),
        ("x-id=ListObjects&prefix=%01", "InvalidArgument"),
        ("x-id=%01&prefix=a", ""),
    ],
)
def test_each_parameter_that_is_sent_is_looked_at(query: str, code: str) -> None:
    """
    Whatever comes before it. A parameter that is not sent is not checked.
    """
    assert code_of(WALRUS, head_of(f"GET /b?{query}")) == code


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("prefix=a&max-buckets=10", ""),
        ("prefix=a&continuation-token=t", "InvalidArgument"),
        ("prefix=a&bucket-region=%FF", "InvalidArgument"),
    ],
)
def test_each_parameter_of_a_list_of_buckets_is_looked_at(query: str, code: str) -> None:
    """
    This includes one after a valid one. There is one page of buckets, and no token leads to another.
    """
    assert code_of(WALRUS, head_of(f"GET /?{query}")) == code


def test_what_is_not_sent_is_not_read() -> None:
    """
    A preflight has no parameters.
    """
    assert code_of(WALRUS, head_of("OPTIONS /b/k?prefix=%zz")) == ""


@pytest.mark.parametrize("name", ["prefix", "marker", "delimiter"])
@pytest.mark.parametrize("value", ["%01", "%EF%BF%BE"])
def test_a_list_cannot_repeat_what_is_not_xml(name: str, value: str) -> None:
    """
    The storage system fails if it has to repeat it. Only the parameter's name decides: a version is not repeated.
    """
    assert code_of(WALRUS, head_of(f"GET /b?{name}=a{value}")) == "InvalidArgument"
    assert code_of(WALRUS, head_of(f"GET /b?{name}=a")) == ""
    assert code_of(WALRUS, head_of(f"GET /b/k?versionId=a{value}")) == ""
    assert code_of(MINIO, head_of(f"GET /b?{name}=a{value}")) == ""


@pytest.mark.parametrize(
    ("profile", "lines", "code"),
    [
        (WALRUS, [], "MissingSecurityHeader"),
        (WALRUS, ["x-amz-acl: private"], ""),
        (WALRUS, ["Content-Length: 9"], ""),
        (WALRUS, ["x-amz-acl: private", "Content-Length: 9"], "UnexpectedContent"),
        (MINIO, [], ""),
    ],
)
def test_rights_are_named_once(profile: str, lines: list[str], code: str) -> None:
    """
    Without any name Walrus removes all existing rights.
    """
    assert code_of(profile, head_of("PUT /b?acl", *lines)) == code


@pytest.mark.parametrize(
    ("target", "lines", "code"),
    [
        (PUT, [f"{COPY}: /c/k"], ""),
        (PUT, [f"{COPY}: /t%3Ac/k"], "InvalidBucketName"),
        (PUT, [f"{COPY}: %3Ac/k"], "InvalidBucketName"),
        (PUT, [f"{COPY}: /c/a%3Ab"], ""),
        (PUT, [f"{COPY}: /c/a%00"], "InvalidArgument"),
        (PUT, [f"{COPY}: /c/a%2541"], ""),
        (f"{PUT}?partNumber=1&uploadId=u", [f"{COPY}: /c/a%2541"], "NotImplemented"),
        (f"{PUT}?partNumber=1&uploadId=u", [f"{COPY}: /c/a"], ""),
    ],
)
def test_a_source_is_the_one_that_is_named(target: str, lines: list[str], code: str) -> None:
    """
    Ceph reads ``tenant:bucket`` as another tenant's bucket. It also decodes the source of a part twice, but that of a
    copy once.
    """
    assert code_of(CEPH, head_of(target, *lines)) == code
    assert code_of(MINIO, head_of(target, *lines)) == ""


@pytest.mark.parametrize(
    ("target", "is_kept", "code"),
    [
        ("GET /b?uploads&delimiter=%5C", False, "NotImplemented"),
        ("GET /b?uploads&delimiter=%5C", True, ""),
        ("GET /b?delimiter=%5C", True, "NotImplemented"),
    ],
)
def test_a_pattern_is_one_only_where_the_storage_lists(target: str, code: str, *, is_kept: bool) -> None:
    """
    s3proxy reads the delimiter of a list of kept uploads as text; for any other list the storage system reads it as a
    pattern.
    """
    assert code_of("walrusbackend-4.x", head_of(target), keeps_multipart=is_kept) == code
