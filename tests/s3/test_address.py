"""
The bucket and the key of a request: by its path, or by the host name that it was sent to.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import pytest
import pytest_twisted

from s3proxy.s3.address import Address, object_target, parse_address, written_address
from s3proxy.s3.errors import InvalidBucketName, InvalidURI
from tests.support.harness import Harness
from tests.support.signer import Signer

DOMAINS = [b"s3.example.com", b"eu.s3.example.com", b"storage.example.org", b"localhost"]

HOSTS: dict[str, bytes] = {
    # Below a domain, with everything that a host may have around it.
    "bucket.s3.example.com": b"bucket",
    "bucket.s3.example.com:9000": b"bucket",
    "bucket.s3.example.com:": b"bucket",
    "bucket.s3.example.com.": b"bucket",
    "bucket.s3.example.com.:443": b"bucket",
    "BUCKET.S3.Example.COM": b"bucket",
    "my.dotted.bucket.s3.example.com": b"my.dotted.bucket",
    "s3.example.com.s3.example.com": b"s3.example.com",
    "under_score.s3.example.com": b"under_score",
    "-.s3.example.com": b"-",
    # The longest domain wins.
    "bucket.eu.s3.example.com": b"bucket",
    "a.b.eu.s3.example.com:80": b"a.b",
    "eu.s3.example.com": b"",
    "eu.s3.example.com:9000": b"",
    "xeu.s3.example.com": b"xeu",
    "us.s3.example.com": b"us",
    # Several public names.
    "bucket.storage.example.org": b"bucket",
    "bucket.localhost:9000": b"bucket",
    # A domain itself, and hosts under none: path style.
    "s3.example.com": b"",
    "S3.EXAMPLE.COM.:9000": b"",
    "buckets3.example.com": b"",
    "example.com": b"",
    "com": b"",
    "bucket.s3.example.com.evil.test": b"",
    "bucket.s3.example.com..": b"",
    ".s3.example.com": b"",
    "bucket.s3.example.com:9000:9000": b"",
    "bucket.s3.example.com:x": b"",
    "127.0.0.1": b"",
    "127.0.0.1:9000": b"",
    "[::1]": b"",
    "[::1]:9000": b"",
    "[2001:db8::1]:": b"",
    "2001:db8::1": b"",
    "": b"",
    ".": b"",
    ":80": b"",
}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("host", HOSTS)
def test_the_host_names_the_bucket_or_nothing(host: str, order: int) -> None:
    """
    In any order of the domains.
    """
    address = parse_address(b"/one/two", host.encode(), DOMAINS[::order])

    if HOSTS[host]:
        assert address == Address(HOSTS[host], b"one/two", HOSTS[host], b"one/two", True)
    else:
        assert address == Address(b"one", b"two", b"one", b"two")


def test_without_domains_every_host_is_path_style() -> None:
    """
    The default.
    """
    assert not parse_address(b"/one/two", b"bucket.s3.example.com", []).is_virtual_hosted


PATHS: dict[bytes, tuple[bytes, bytes]] = {
    b"/": (b"", b""),
    b"/b": (b"b", b""),
    b"/b/": (b"b", b""),
    b"/b//": (b"b", b"/"),
    b"/b//k": (b"b", b"/k"),
    b"/b/./k": (b"b", b"./k"),
    b"/b/../k": (b"b", b"../k"),
    b"/b/%2e%2e/k": (b"b", b"../k"),
    b"/b/k%2Fx": (b"b", b"k/x"),
    b"/b/k+x%2Bx": (b"b", b"k+x+x"),
    b"/b/%25": (b"b", b"%"),
    b"/b/%C3%A4;?": (b"b", b"\xc3\xa4;?"),
    b"/%62/k": (b"b", b"k"),
    b"/.../k": (b"...", b"k"),
    # A pattern of buckets such as "*-public" must not match the first one.
    b"/secret%2Fa-public/k": (b"secret", b"a-public/k"),
    b"/b%2f..%2fc/k": (b"b", b"../c/k"),
    b"/./b/k": (b".", b"b/k"),
    b"/%2e%2E/b/k": (b"..", b"b/k"),
    b"/b%2F": (b"b", b""),
    b"/b%2F%C3%A4%2f/": (b"b", b"\xc3\xa4//"),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_decoded_once_and_nothing_is_merged(path: bytes) -> None:
    """
    The bucket ends at the second slash, the rest is the key; the raw values are what was sent.
    """
    bucket, key = PATHS[path]
    address = parse_address(path, b"127.0.0.1", DOMAINS)

    assert (address.bucket, address.key) == (bucket, key)
    assert unquote_to_bytes(address.raw_bucket) == bucket
    assert unquote_to_bytes(address.raw_key) == key


@pytest.mark.parametrize("path", [b"//k", b"//", b"/%2Fb", b"/%2f", b"//b/k", b"///"])
def test_a_key_without_a_bucket(path: bytes) -> None:
    """
    A path-style request with an empty bucket is refused: a backend that drops empty segments takes the key's first
    segment for the bucket. If the host names the bucket, such a key is valid.
    """
    with pytest.raises(InvalidURI):
        parse_address(path, b"127.0.0.1", DOMAINS)
    assert parse_address(path, b"bucket.s3.example.com", DOMAINS).bucket == b"bucket"


@pytest.mark.parametrize(
    ("path", "host"),
    [
        (b"/k", "a%2fb.s3.example.com"),
        (b"/k", "%2e%2e.s3.example.com"),
        (b"/k", "...s3.example.com"),
        (b"/b/k", "..s3.example.com"),
        (b"/k", "a,b.s3.example.com"),
        (b"/k", "[a].s3.example.com"),
        (b"/k", "a:b.s3.example.com"),
    ],
)
def test_no_bucket_becomes_another(path: bytes, host: str) -> None:
    """
    With an escape in a host name, or dots that a reader may remove from a path, the backend would read another bucket
    than the authenticated one.
    """
    with pytest.raises(InvalidBucketName):
        parse_address(path, host.encode(), DOMAINS)


@pytest.mark.parametrize("path", [b"/b/%", b"/b/%2", b"/b/%zz", b"/%/k", b"/b/%ff", b"/b/%C3"])
def test_what_cannot_be_decoded_is_refused(path: bytes) -> None:
    """
    A broken escape, or bytes that are not UTF-8.
    """
    with pytest.raises(InvalidURI):
        parse_address(path, b"h", DOMAINS)


@pytest.mark.parametrize("carrier", ["header", "query"])
@pytest.mark.parametrize(
    ("host", "target", "sent"),
    [
        ("a.b.eu.s3.example.test:9000", "/k%2B", b"/a.b/k%2B"),
        ("Bucket.S3.example.test.", "/", b"/bucket/"),
        ("eu.s3.example.test", "/bucket/k", b"/bucket/k"),
        ("bucket.other.test", "//k", b"/bucket//k"),
        ("127.0.0.1:9000", "/bucket/k", b"/bucket/k"),
        ("[::1]:9000", "/bucket/k", b"/bucket/k"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_every_public_name_is_served(host: str, target: str, sent: bytes, carrier: str) -> None:
    """
    Several on one listener, each signed as the client addressed it; the backend gets path style.
    """
    harness = Harness(domains=(b"s3.example.test", b"eu.s3.example.test", b"other.test"))
    signer = Signer(host=host)
    if carrier == "header":
        head = signer.head("GET", target)[0]
    else:
        head = f"GET {signer.presign('GET', target)} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    response = await harness.request(head)
    await harness.close()

    assert response.status == 200, response.body
    assert harness.backend.requests[0].head.raw_target == sent


@pytest_twisted.ensureDeferred
async def test_no_escape_of_a_hosts_name_reaches_the_backend() -> None:
    """
    The name was signed. It is refused for what it would become in a path.
    """
    harness = Harness()
    response = await harness.request(Signer(host="public%2Fsecret.s3.example.test").head("GET", "/k")[0])
    await harness.close()

    assert response.status == 400
    assert b"<Code>InvalidBucketName</Code>" in response.body
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    ("address", "version", "target"),
    [
        (written_address(b"b", b"a b/c+d"), b"", b"/b/a%20b/c%2Bd"),
        (written_address(b"b", "é/~-._".encode()), b"", b"/b/%C3%A9/~-._"),
        (written_address(b"b", b"k"), b"a/b+c", b"/b/k?versionId=a%2Fb%2Bc"),
        (written_address(b"b", b"%2F?#"), b"", b"/b/%252F%3F%23"),
    ],
)
def test_a_target_of_our_own(address: Address, version: bytes, target: bytes) -> None:
    """
    Everything except RFC 3986's unreserved characters is escaped, so that every reader reads the same.
    """
    assert object_target(address, version) == target
