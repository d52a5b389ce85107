"""
s3proxy refuses what a storage system lacks: that system would break the request's promise silently.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from s3proxy.profiles.allowed import check_taken
from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import ANY_BELOW_500, HealthRequest
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import AccessDenied, NotImplementedByProxy
from s3proxy.s3.head import RequestHead, index_headers


def is_taken(profile: str, method: bytes, target: bytes, *headers: tuple[bytes, bytes]) -> bool:
    """
    Return True if a request is forwarded.
    """
    head = RequestHead(method, target, b"HTTP/1.1", list(headers), index_headers(headers))
    address = parse_address(head.raw_path, b"", ())
    try:
        check_taken(PROFILES[profile].allows(), head, classify(head, address))
    except NotImplementedByProxy:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-amz-object-lock-mode", b"COMPLIANCE"),
        (b"x-amz-object-lock-retain-until-date", b"2027-01-01T00:00:00Z"),
        (b"x-amz-object-lock-legal-hold", b"ON"),
        (b"x-amz-server-side-encryption", b"AES256"),
        (b"x-amz-server-side-encryption-customer-algorithm", b"AES256"),
        (b"x-amz-tagging", b"a=b"),
        (b"if-none-match", b"*"),
        (b"if-match", b'"a"'),
    ],
)
def test_a_promise_that_a_storage_would_break(name: bytes, value: bytes) -> None:
    """
    Walrus ignores these headers: the object would be stored without its lock, encryption or tags, or over another one.
    """
    assert not is_taken("walrus-3.4", b"PUT", b"/b/k", (name, value))
    assert is_taken("generic", b"PUT", b"/b/k", (name, value))


@pytest.mark.parametrize(
    ("profile", "taken"),
    [
        ("generic", "encryption key lock hold tags"),
        ("ceph-rgw", "encryption key lock hold tags"),
        ("minio", "encryption key lock hold tags"),
        ("swift", "tags"),
        ("versitygw", "lock hold tags"),
        ("riakcs", ""),
        ("walrus-3.4", ""),
    ],
)
@pytest.mark.parametrize(
    ("method", "target"),
    [
        (b"PUT", b"/b/k"),
        (b"POST", b"/b/k?uploads"),
        (b"PUT", b"/b/k?partNumber=1&uploadId=u"),
        (b"GET", b"/b/k"),
        (b"HEAD", b"/b/k"),
    ],
)
def test_what_each_storage_keeps_of_it(profile: str, taken: str, method: bytes, target: bytes) -> None:
    """
    Swift 2.38 was seen to store objects unencrypted that came with a key, and to delete locked ones. What a storage
    system itself refuses is forwarded.
    """
    if not PROFILES[profile].operations >= {"CreateMultipartUpload", "UploadPart"} and b"upload" in target:
        return
    promises = {
        "encryption": (b"x-amz-server-side-encryption", b"AES256"),
        "key": (b"x-amz-server-side-encryption-customer-algorithm", b"AES256"),
        "lock": (b"x-amz-object-lock-mode", b"COMPLIANCE"),
        "hold": (b"x-amz-object-lock-legal-hold", b"ON"),
        "tags": (b"x-amz-tagging", b"a=b"),
    }

    found = [name for name, header in promises.items() if is_taken(profile, method, target, header)]

    assert found == taken.split()


def test_what_promises_nothing() -> None:
    """
    With each upload rclone says that it wants no lock, and a condition of a read writes nothing.
    """
    assert is_taken("walrus-3.4", b"PUT", b"/b/k", (b"x-amz-object-lock-legal-hold", b"OFF"))
    assert is_taken("walrus-3.4", b"PUT", b"/b", (b"x-amz-bucket-object-lock-enabled", b"false"))
    assert is_taken("walrus-3.4", b"GET", b"/b/k", (b"if-match", b'"a"'))
    assert not is_taken("walrus-3.4", b"PUT", b"/b", (b"x-amz-bucket-object-lock-enabled", b"true"))
    assert is_taken("swift", b"PUT", b"/b", (b"x-amz-bucket-object-lock-enabled", b"false"))
    assert not is_taken("swift", b"PUT", b"/b", (b"x-amz-bucket-object-lock-enabled", b"true"))


@pytest.mark.parametrize("profile", PROFILES)
def test_nobody_gets_a_session(profile: str) -> None:
    """
    The response to CreateSession has credentials: they would be s3proxy's own.
    """
    assert not is_taken(profile, b"GET", b"/b?session")


@pytest.mark.parametrize(
    ("profile", "method", "target", "taken"),
    [
        ("ceph-rgw", b"PUT", b"/b/k?append&position=0", True),
        ("ceph-rgw", b"PUT", b"/b/k?append&position=0&other", False),
        ("ceph-rgw", b"POST", b"/b/k?uploads&append", False),
        ("generic", b"PUT", b"/b/k?append&position=0", False),
        ("minio", b"PUT", b"/b/k?append&position=0", False),
    ],
)
def test_a_parameter_of_an_extension(profile: str, method: bytes, target: bytes, *, taken: bool) -> None:
    """
    Only Ceph appends, and only to an object. The meaning of any other parameter there is unknown.
    """
    assert is_taken(profile, method, target) is taken


@pytest.mark.parametrize(
    ("method", "target", "names"),
    [
        (b"PUT", b"/b/k?append&position=0&x-id=PutObject", {b"append", b"position"}),
        (b"PUT", b"/b/k?x-id=PutObject", set()),
        (b"GET", b"/b?allow-unordered=true&prefix=a", {b"allow-unordered"}),
        (b"GET", b"/b/k?allow-unordered=true", set()),
    ],
)
def test_what_an_extension_has_sent(method: bytes, target: bytes, names: set[bytes]) -> None:
    """
    Its parameters reach the backend with the operations that it extends, and with no other.
    """
    head = RequestHead(method, target, b"HTTP/1.1", [], index_headers([]))
    classification = classify(head, parse_address(head.raw_path, b"", ()))
    sent = PROFILES["ceph-rgw"].allows().parameters(classification)
    assert sent & {b"append", b"position", b"allow-unordered"} == names


@pytest.mark.parametrize(
    ("keeps_multipart", "target", "taken"),
    [
        (True, b"/b/k?partNumber=1&uploadId=u", True),
        (True, b"/b/k", False),
        (False, b"/b/k?partNumber=1&uploadId=u", False),
    ],
)
def test_conditions_of_a_source_where_parts_are_kept_here(target: bytes, *, keeps_multipart: bool, taken: bool) -> None:
    """
    s3proxy evaluates them with the GET of the part's source. A storage system without conditional writes would ignore
    them in any other copy.
    """
    allowed = PROFILES["riakcs"].allows()
    allowed = replace(allowed, keeps_multipart=keeps_multipart, judges_sources=False)
    headers = [(b"x-amz-copy-source", b"/b/source"), (b"x-amz-copy-source-if-match", b'"a"')]
    head = RequestHead(b"PUT", target, b"HTTP/1.1", headers, index_headers(headers))
    try:
        check_taken(allowed, head, classify(head, parse_address(head.raw_path, b"", ())))
        found = True
    except NotImplementedByProxy:
        found = False
    assert found is taken


@pytest.mark.parametrize(
    ("extensions", "method", "header", "passes"),
    [
        (("extract",), b"GET", b"x-minio-extract", True),
        (("extract",), b"GET", b"x-minio-force-delete", False),
        (("extract",), b"DELETE", b"x-minio-extract", False),
        ((), b"GET", b"x-minio-extract", False),
    ],
)
def test_a_header_of_an_extension(extensions: tuple[str, ...], method: bytes, header: bytes, *, passes: bool) -> None:
    """
    It belongs to the storage system and requests what S3 does not have: it passes with the operations of its extension.
    """
    profile, headers = PROFILES["minio"], [(header, b"true")]
    head = RequestHead(method, b"/b/k.zip/inner", b"HTTP/1.1", headers, index_headers(headers))
    address = parse_address(head.raw_path, b"", ())
    name = classify(head, address).operation.name
    try:
        check_private_surface(profile, head, address, profile.allows(extensions), name)
        found = True
    except AccessDenied:
        found = False
    assert found is passes


@pytest.mark.parametrize(
    ("path", "passes"),
    [
        (b"/admin/user", False),
        (b"/%61dmin/user", False),
        (b"/%2561dmin/user", False),
        (b"/%252561dmin/user", True),
        (b"/admin/../b/k", False),
        (b"/b/../admin/user", False),
        (b"/b/admin", True),
    ],
)
def test_the_ways_to_a_surface(path: bytes, *, passes: bool) -> None:
    """
    RGW unescapes a path once, and a hop before it possibly once more; two dots may be removed, or not. No known storage
    system unescapes a third time.
    """
    head = RequestHead(b"GET", path, b"HTTP/1.1", [], index_headers([]))
    try:
        check_private_surface(PROFILES["ceph-rgw"], head, Address(b"b", b"k", b"b", b"k"))
        found = True
    except AccessDenied:
        found = False
    assert found is passes


@pytest.mark.parametrize(
    ("request_", "status", "is_healthy"),
    [
        (ANY_BELOW_500, 499, True),
        (ANY_BELOW_500, 500, False),
        (HealthRequest(statuses=frozenset({200, 403})), 403, True),
        (HealthRequest(statuses=frozenset({200, 403})), 404, False),
    ],
)
def test_what_is_healthy(request_: HealthRequest, status: int, *, is_healthy: bool) -> None:
    """
    A status from 500 is a fault of the storage system, unless its profile names the status of a healthy one.
    """
    assert request_.is_healthy(status) is is_healthy
