"""
What a backend has beyond S3 is not reachable: s3proxy refuses first segments of a path, and headers of the backend's
own.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import BackendKey, Profile, Restrictions, TargetForm
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.s3.address import parse_address
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.head import RequestHead, index_headers

RESERVED = [
    pytest.param(name, segment.decode(), id=f"{name}-{segment.decode()}")
    for name, profile in PROFILES.items()
    for segment in sorted(profile.reserved_segments)
]


def check(profile: str, target: str, headers: tuple[tuple[bytes, bytes], ...] = (), host: bytes = b"s3.test") -> None:
    """
    Check a request as the client sent it.
    """
    head = RequestHead(b"GET", target.encode(), b"HTTP/1.1", list(headers), index_headers(headers))
    check_private_surface(PROFILES[profile], head, parse_address(head.raw_path, host, [b"s3.test"]))


def escaped(text: str, times: int) -> str:
    """
    Escape the first letter this many times.
    """
    first = f"%{ord(text[0]):02X}"
    for _ in range(times - 1):
        first = first.replace("%", "%25")
    return first + text[1:]


@pytest.mark.parametrize(("profile", "segment"), RESERVED)
@pytest.mark.parametrize("before", ["/", "/./", "/../", "/.//../", "/bucket/../", "/a/b/.././%2e%2E/", "/a/..%2f"])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_surface_of_the_backend_s_own(profile: str, segment: str, before: str, times: int) -> None:
    """
    It is refused in upper and lower case, after segments that vanish, and with escapes that a backend decodes once or
    twice.
    """
    for name in (segment, segment.upper()):
        text = escaped(name, times) if times else name
        with pytest.raises(AccessDenied):
            check(profile, f"{before}{text}/what")
        # In virtual-hosted style the bucket comes before it.
        if ".." in before and not before.startswith(("/a", "/b")):
            with pytest.raises(AccessDenied):
                check(profile, f"{before}{text}/what", host=b"bucket.s3.test")


@pytest.mark.parametrize(("profile", "segment"), RESERVED)
@pytest.mark.parametrize("before", ["/", "//", "/./", "/a/../", "/%2f"])
def test_a_key_of_that_name(profile: str, segment: str, before: str) -> None:
    """
    It is a key in virtual-hosted style, and after a bucket in path style: the backend's path begins with the bucket.
    """
    for name in (segment, escaped(segment, 1), escaped(segment, 2)):
        check(profile, f"{before}{name}/what", host=b"bucket.s3.test")
        check(profile, f"/bucket{before}{name}/what")


@pytest.mark.parametrize(("profile", "segment"), RESERVED)
def test_a_surface_in_a_host_s_name(profile: str, segment: str) -> None:
    """
    A bucket in a host name becomes the first segment of a path.
    """
    with pytest.raises(AccessDenied):
        check(profile, "/key", host=segment.encode() + b".s3.test")


def test_a_slash_behind_a_second_escape() -> None:
    """
    One segment may become two after a backend has decoded it twice.
    """
    with pytest.raises(AccessDenied):
        check("ceph-rgw", "/admin%252Fuser")
    with pytest.raises(AccessDenied):
        check("ceph-rgw", "/%252E/admin")


@pytest.mark.parametrize(("profile", "segment"), RESERVED)
def test_other_names_pass(profile: str, segment: str) -> None:
    """
    A bucket that only begins with such a name is a bucket, and a key within one is a key.
    """
    check(profile, f"/{segment}-bucket/key")
    check(profile, f"/bucket/{segment}/key")


@pytest.mark.parametrize(
    ("profile", "prefix"),
    [
        pytest.param(name, prefix, id=f"{name}-{prefix.decode()}")
        for name, profile in PROFILES.items()
        for prefix in profile.private_headers
    ],
)
def test_a_header_of_the_backend_s_own_kind(profile: str, prefix: bytes) -> None:
    """
    It is refused unchanged, and with underscores for some or all hyphens: CGI makes the same name of both.
    """
    names = {prefix, prefix + b"more", prefix.replace(b"-", b"_"), prefix.replace(b"-", b"_", 1), prefix.upper()}
    for name in names:
        with pytest.raises(AccessDenied):
            check(profile, "/bucket/key", ((name, b"1"),))
    check(profile, "/bucket/key", ((b"x-amz-meta-" + prefix, b"1"),))


@pytest.mark.parametrize("name", ["rgwx-uid", "rgwx-zonegroup", "RGWX-uid", "rgwx%2Duid", "%72gwx-uid", "usage"])
def test_parameters_of_ceph_s_own(name: str) -> None:
    """
    They are refused on every level and in every spelling; for other backends they have no meaning.
    """
    for target in (f"/?{name}=a", f"/bucket?x&{name}", f"/bucket/key?{name}=a&x"):
        with pytest.raises(AccessDenied):
            check("ceph-rgw", target)
        check("generic", target)


def test_a_backend_key_has_no_secret_text() -> None:
    """
    Its text form, which may be in a log, has its name and nothing else.
    """
    assert "the-secret" not in repr(BackendKey("ID", "the-secret"))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("escapes_plus", True),
        ("mends_reads", True),
        ("lacks_part_reads", True),
        ("writes_own_errors", True),
        ("checks_results", True),
        ("filters_pages", True),
        ("overrides_responses", True),
        ("lists_v1", True),
        ("lacks_location", True),
        ("target", TargetForm("/", frozenset())),
        ("restrictions", Restrictions()),
    ],
)
def test_a_single_quirk_is_mended(name: str, value: object) -> None:
    """
    A profile with one quirk is not taken for plain.
    """
    plain = Profile("plain")

    assert not any(plain.mends(operation) for operation in ("GetObject", "PutObject", "ListObjects"))
    assert all(replace(plain, **{name: value}).mends(operation) for operation in ("GetObject", "ListObjects"))
