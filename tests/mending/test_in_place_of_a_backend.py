"""
Responses of s3proxy in cases that old backends do not handle: each header and element as S3 has it.

Source:
    "GetObject", "ListObjects" and its siblings, encoding-type; what versitygw 1.8, Ceph 16.2 and Swift 2.38 return; the
    AWS SDKs for Java v1 and v2 and for Ruby, minio for JavaScript and OpenDAL, which depend on it.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
import pytest_twisted

from s3proxy.profiles.known import PROFILES
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from tests.support.harness import Harness
from tests.support.signer import Signer
from tests.support.wire_cases import element

OBJECT = (
    b'HTTP/1.1 200 OK\r\nETag: "781e"\r\nLast-Modified: Sat, 28 Feb 2026 20:47:43 GMT\r\nAccept-Ranges: bytes\r\n'
    b"Content-Type: text/plain\r\nContent-Disposition: inline\r\nContent-Encoding: gzip\r\nX-Amz-Meta-Colour: Blue\r\n"
    b"Cache-Control: no-cache\r\nContent-Length: 10\r\n\r\n"
)
OLD = ["walrus-3.4", "walrusbackend-4.x", "osg-4.3"]


async def ask(method: str, target: str, response: bytes, *, profile: str, **headers: str) -> tuple[Any, Harness]:
    """
    Send one request to a proxy whose backend responds to everything with this.
    """
    backend = FaultyBackend()

    def received(connection: FaultyConnection, request: ReceivedRequest) -> None:
        connection.send(
            response.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if request.head.method == b"HEAD" else response
        )

    backend.on_request = received
    harness = Harness(profile=PROFILES[profile], signature="v2", backend=backend)
    unsigned = {name.replace("_", "-"): value for name, value in headers.items()}
    result = await harness.request(Signer().head(method, target, unsigned=unsigned)[0])
    await harness.close()
    return result, harness


@pytest.mark.parametrize("profile", OLD)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_not_modified(method: str, profile: str) -> None:
    """
    It says nothing about content: no length for which a client would wait, and no type.
    """
    for headers in ({"If_None_Match": '"781e"'}, {"If_Modified_Since": "Sun, 01 Mar 2026 00:00:00 GMT"}):
        response, _ = await ask(method, "/test-bucket/k", OBJECT + b"0123456789", profile=profile, **headers)

        assert response.status == 304
        names = {name.lower() for name, _ in response.headers}
        assert {"etag", "last-modified", "cache-control", "date", "x-amz-request-id"} <= names
        assert not names & {"content-length", "content-type", "content-encoding", "content-disposition"}
        assert not names & {"accept-ranges", "transfer-encoding"}


@pytest.mark.parametrize("profile", [*OLD, "generic", "ceph-rgw"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_names_of_metadata(method: str, profile: str) -> None:
    """
    They are in lower case. Their values and the names of other headers are unchanged.
    """
    response, _ = await ask(method, "/test-bucket/k", OBJECT + b"0123456789", profile=profile)

    names = [name for name, _ in response.headers]
    assert ("x-amz-meta-colour", "Blue") in response.headers
    assert "X-Amz-Meta-Colour" not in names
    assert "Last-Modified" in names


@pytest.mark.parametrize("profile", [*OLD, "riakcs"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest_twisted.ensureDeferred
async def test_the_first_part(method: str, profile: str) -> None:
    """
    It is the whole object; the backend gets no part number. Any other part does not exist.
    """
    response = OBJECT + b"0123456789"
    for number in ("1", "01"):
        received, harness = await ask(method, f"/test-bucket/k?partNumber={number}", response, profile=profile)
        assert (received.status, received.header("Content-Length")) == (200, "10")
        assert all(b"partNumber" not in request.head.raw_target for request in harness.backend.requests)

    for number, status, code in (
        ("2", 416, "InvalidPartNumber"),
        ("10000", 416, "InvalidPartNumber"),
        ("0", 400, "InvalidArgument"),
        ("10001", 400, "InvalidArgument"),
        ("a", 400, "InvalidArgument"),
        ("-1", 400, "InvalidArgument"),
    ):
        received, harness = await ask(method, f"/test-bucket/k?partNumber={number}", response, profile=profile)
        assert received.status == status
        if method == "GET":
            assert element(received.body, "Code") == code
        assert harness.backend.requests == []

    received, _ = await ask(method, "/test-bucket/k?partNumber=1", response, profile=profile, Range="bytes=0-1")
    assert received.status == 400


@pytest.mark.parametrize("profile", OLD)
@pytest_twisted.ensureDeferred
async def test_an_unsatisfiable_range(profile: str) -> None:
    """
    The document has the requested range, and the size of the object.
    """
    for asked in ("bytes=10-", "bytes=99-100", "bytes=-0"):
        response, _ = await ask("GET", "/test-bucket/k", OBJECT + b"0123456789", profile=profile, Range=asked)

        assert response.status == 416
        found = [element(response.body, name) for name in ("Code", "RangeRequested", "ActualObjectSize")]
        assert found == ["InvalidRange", asked, "10"]


def listing(root: str, content: str) -> bytes:
    """
    Return a listing as an old backend writes it.
    """
    body = f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{content}</{root}>'.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


STORED = b'HTTP/1.1 200 OK\r\nETag: "8d777f385d3dfec8815d20f7496026dc"\r\nContent-Length: 0\r\n\r\n'
"""
The response to a PUT of ``data``: with its MD5, without which Walrus is not believed.
"""

NAMES = (
    "<Name>b</Name><Prefix>a b</Prefix><Marker>+</Marker><Delimiter>&amp;</Delimiter><IsTruncated>true</IsTruncated>"
    "<NextMarker>a b+c%d&amp;.txt</NextMarker><Contents><Key>a b+c%d&amp;.txt</Key></Contents>"
    "<Contents><Key>a bü</Key></Contents><CommonPrefixes><Prefix>a b/</Prefix></CommonPrefixes>"
)
VERSIONS = (
    "<Name>b</Name><Prefix/><KeyMarker>k+</KeyMarker><NextKeyMarker>a b</NextKeyMarker><IsTruncated>false</IsTruncated>"
    "<Version><Key>a b</Key></Version><DeleteMarker><Key>c+d</Key></DeleteMarker>"
)


def texts(body: bytes, path: str) -> list[str]:
    """
    Return the texts of some elements, ignoring namespaces.
    """
    root = ElementTree.fromstring(body)
    return [found.text or "" for found in root.findall("/".join("{*}" + name for name in path.split("/")))]


@pytest.mark.parametrize("profile", [*OLD, "riakcs"])
@pytest_twisted.ensureDeferred
async def test_encoded_names(profile: str) -> None:
    """
    With encoding-type=url each name is percent-encoded, and the listing says so, in either version.
    """
    for query in ("encoding-type=url&marker=%2B", "list-type=2&encoding-type=url&start-after=a%20b"):
        target = f"/test-bucket?prefix=a%20b&delimiter=%2C&{query}"
        response, _ = await ask(
            "GET",
            target,
            listing("ListBucketResult", NAMES.replace("<Delimiter>&amp;", "<Delimiter>,")),
            profile=profile,
        )

        assert texts(response.body, "EncodingType") == ["url"]
        assert texts(response.body, "Contents/Key") == ["a%20b%2Bc%25d%26.txt", "a%20b%C3%BC"]
        assert texts(response.body, "Prefix") == ["a%20b"]
        assert texts(response.body, "CommonPrefixes/Prefix") == ["a%20b/"]
        assert texts(response.body, "Delimiter") == ["%2C"]
        if "list-type" in query:
            assert texts(response.body, "StartAfter") == ["a%20b"]
            assert texts(response.body, "KeyCount") == ["3"]
            assert texts(response.body, "Marker") == []
            # Only s3proxy decodes it: it is the name itself.
            assert texts(response.body, "NextContinuationToken") == ["YSBiK2MlZCYudHh0"]
        else:
            assert texts(response.body, "Marker") == ["%2B"]
            assert texts(response.body, "NextMarker") == ["a%20b%2Bc%25d%26.txt"]


@pytest.mark.parametrize(
    ("query", "root"), [("versions", "ListVersionsResult"), ("uploads", "ListMultipartUploadsResult")]
)
@pytest_twisted.ensureDeferred
async def test_encoded_names_of_other_listings(query: str, root: str) -> None:
    """
    Versions and uploads have encoding-type, too, and no list-type.
    """
    content = VERSIONS if query == "versions" else VERSIONS.replace("Version>", "Upload>")
    for more in ("", "&list-type=2", "&list-type=2&start-after=a"):
        target = f"/test-bucket?{query}&key-marker=k%2B&encoding-type=url{more}"
        response, _ = await ask("GET", target, listing(root, content), profile="osg-4.3")

        assert texts(response.body, "EncodingType") == ["url"]
        assert texts(response.body, "Version/Key" if query == "versions" else "Upload/Key") == ["a%20b"]
        assert (texts(response.body, "KeyMarker"), texts(response.body, "NextKeyMarker")) == (["k%2B"], ["a%20b"])
        assert texts(response.body, "KeyCount") == texts(response.body, "StartAfter") == []


LISTS = {
    "": ("ListBucketResult", "Contents/Key"),
    "list-type=2&": ("ListBucketResult", "Contents/Key"),
    "versions&": ("ListVersionsResult", "Contents/Key"),
    "uploads&": ("ListMultipartUploadsResult", "Contents/Key"),
}
UNENCODED = {"versitygw": set(LISTS), "ceph-rgw": {"uploads&"}, "swift": {"uploads&"}, "minio": set(), "generic": set()}


@pytest.mark.parametrize("query", LISTS)
@pytest.mark.parametrize("profile", UNENCODED)
@pytest_twisted.ensureDeferred
async def test_a_list_that_a_newer_backend_does_not_encode(profile: str, query: str) -> None:
    """
    versitygw 1.8 encodes no name, Ceph 16.2 the keys of uploads without saying so, and Swift 2.38 these alone. s3proxy
    requests their names unencoded and encodes them itself; nothing else of the document changes. Other listings are
    relayed.
    """
    root, key = LISTS[query]
    told = "<EncodingType></EncodingType><NextContinuationToken>t+</NextContinuationToken>"
    response = listing(root, NAMES + told)
    for encoding in ("&encoding-type=url", ""):
        target = f"/test-bucket?{query}prefix=a%20b{encoding}&delimiter=%26"
        received, harness = await ask("GET", target, response, profile=profile)

        (asked,) = harness.backend.requests
        assert received.status == 200
        is_ours = query in UNENCODED[profile] and encoding != ""
        sent = target.replace("&encoding-type=url", "") if is_ours else target
        assert asked.head.raw_target == sent.encode()
        if is_ours:
            assert texts(received.body, "EncodingType") == ["url"]
            assert texts(received.body, key) == ["a%20b%2Bc%25d%26.txt", "a%20b%C3%BC"]
            assert texts(received.body, "CommonPrefixes/Prefix") == ["a%20b/"]
            assert (texts(received.body, "Prefix"), texts(received.body, "Delimiter")) == (["a%20b"], ["%26"])
            assert texts(received.body, "NextContinuationToken") == ["t+"]
            assert texts(received.body, "KeyCount") == []
        else:
            assert received.body == response.partition(b"\r\n\r\n")[2]

    missing = listing("Error", "<Code>NoSuchBucket</Code>").replace(b"200 OK", b"404 Not Found")
    received, _ = await ask("GET", f"/test-bucket?{query}encoding-type=url", missing, profile=profile)
    assert (received.status, element(received.body, "Code")) == (404, "NoSuchBucket")


@pytest_twisted.ensureDeferred
async def test_names_that_are_encoded_already() -> None:
    """
    Names from a backend that knows the parameter are not encoded twice. Without it nothing is encoded, and no other
    encoding is allowed.
    """
    encoded = NAMES.replace("</Name>", "</Name><EncodingType>url</EncodingType>").replace("a b", "a%20b")
    received, _ = await ask(
        "GET", "/test-bucket?prefix=a%20b&encoding-type=url", listing("ListBucketResult", encoded), profile="osg-4.3"
    )
    assert (texts(received.body, "EncodingType"), texts(received.body, "Prefix")) == (["url"], ["a%20b"])

    received, _ = await ask("GET", "/test-bucket?prefix=a%20b", listing("ListBucketResult", NAMES), profile="osg-4.3")
    assert (texts(received.body, "EncodingType"), texts(received.body, "Prefix")) == ([], ["a b"])

    for document in (b"<ListBucketResult><Key>", b"<Other/>"):
        response = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)
        received, _ = await ask("GET", "/test-bucket?encoding-type=url", response, profile="osg-4.3")
        assert (received.status, element(received.body, "Code")) == (500, "InternalError")

    received, harness = await ask("GET", "/test-bucket?encoding-type=base64", OBJECT, profile="osg-4.3")
    assert (received.status, element(received.body, "ArgumentName")) == (400, "encoding-type")
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    "name",
    [
        "Content-Type",
        "Cache-Control",
        "Content-Disposition",
        "Content-MD5",
        "Expires",
        "Content-Language",
        "content-type",
    ],
)
@pytest.mark.parametrize("profile", [*OLD, "riakcs", "ceph-rgw", "swift", "minio"])
@pytest_twisted.ensureDeferred
async def test_a_header_s_name_in_a_presigned_query(profile: str, name: str) -> None:
    """
    It is signed, and has no meaning: the upload is sent on, and the backend gets neither the parameter nor a header.
    """
    signer = Signer()
    target = signer.presign("PUT", f"/test-bucket/k?{name}=text%2Fplain")
    harness = Harness(profile=PROFILES[profile], signature="v2")
    harness.backend.on_request = lambda connection, _: connection.send(STORED)
    head = f"PUT {target} HTTP/1.1\r\nHost: {signer.host}\r\nContent-Length: 4\r\n\r\n".encode()
    response = await harness.request(head, b"data")
    await harness.close()

    assert response.status == 200
    (request,) = harness.backend.requests
    assert request.head.raw_query is None
    assert name.lower().encode() not in request.head.fields
