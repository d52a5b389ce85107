"""
What a storage lacks is refused before it: its promise would be broken in silence.
"""

from __future__ import annotations

import pytest

from s3proxy.profiles.allowed import check_taken
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.address import parse_address
from s3proxy.s3.classification import classify
from s3proxy.s3.errors import NotImplementedByProxy
from s3proxy.s3.head import RequestHead, index_headers


def is_taken(profile: str, method: bytes, target: bytes, *headers: tuple[bytes, bytes]) -> bool:
    """
    Return True if a request goes on.
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
    Walrus ignores these headers: the object would be stored without its lock, cipher or tags, or over another one.
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
    Swift 2.38 was seen to store in clear what came with a key, and to delete what was locked. What a storage refuses
    itself goes on.
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
    rclone says with each upload that it wants no lock, and a condition of a read writes nothing.
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
    CreateSession answers with credentials: they would be ours.
    """
    assert not is_taken(profile, b"GET", b"/b?session")
