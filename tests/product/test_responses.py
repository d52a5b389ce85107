"""
Responses of a backend, on the wire: objects stream unchanged, and documents name s3proxy only.
"""

from __future__ import annotations

import gzip
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor

from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import make_backend
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.response import MAX_NAMING_SIZE
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from tests.support.carriers import v2, v2_query
from tests.support.harness import NOW, Harness
from tests.support.signer import SIGNED_CHUNKS, UNSIGNED, Signer
from tests.support.wire_cases import element

BUCKET = "/test-bucket"
NAMING = b"<a><LocationConstraint>inside</LocationConstraint><Location>http://inside/k</Location></a>"


def answering(status: str, body: bytes, *headers: str) -> FaultyBackend:
    """
    Return a backend that sends one response to every request.
    """
    lines = "".join(f"{header}\r\n" for header in headers)
    data = f"HTTP/1.1 {status}\r\n{lines}Content-Length: {len(body)}\r\n\r\n".encode() + body
    backend = FaultyBackend()
    backend.on_request = lambda connection, request: connection.send(data)
    return backend


async def ask(harness: Harness, head: bytes, body: bytes = b"") -> Any:
    """
    Send one request, and close everything.
    """
    response = await harness.request(head, body)
    await harness.close()
    return response


OF_OBJECTS = {
    "header": Signer().head("GET", f"{BUCKET}/k?location")[0],
    "escaped": Signer().head("GET", f"{BUCKET}/k?%6cocation")[0],
    "with others": Signer().head("GET", f"{BUCKET}/k?location&uploadId=x")[0],
    "slashes": Signer().head("GET", f"{BUCKET}//?location")[0],
    "escaped slash": Signer().head("GET", f"{BUCKET}%2Fk?location")[0],
    "range": Signer().head("GET", f"{BUCKET}/k?location", unsigned={"Range": "bytes=0-"})[0],
    "virtual-hosted": Signer(host="test-bucket.s3.example.test").head("GET", "/k?location")[0],
    "presigned": v2_query(f"{BUCKET}/k?location", f"GET\n\n\n1772366460\n{BUCKET}/k?location").head,
    "v2": v2("GET", f"{BUCKET}/k?location", f"{BUCKET}/k?location").head,
}


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw"])
@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("how", OF_OBJECTS)
@pytest_twisted.ensureDeferred
async def test_an_object_is_no_document(how: str, profile: str, *, is_tls: bool) -> None:
    """
    ``?location`` of an object is ignored by S3: the object streams, of any size and unchanged.
    """
    content = NAMING + bytes(MAX_NAMING_SIZE * 4)
    status = "206 Partial Content" if how == "range" else "200 OK"
    harness = Harness(profile=PROFILES[profile], is_tls=is_tls, backend=answering(status, content))

    response = await ask(harness, OF_OBJECTS[how])

    assert (response.status, response.body == content) == (int(status[:3]), True)
    assert response.header("Content-Length") == str(len(content))


@pytest_twisted.ensureDeferred
async def test_an_object_that_looks_like_a_document_is_unchanged() -> None:
    """
    A small one is not either, whatever elements it contains.
    """
    harness = Harness(backend=answering("200 OK", NAMING))

    response = await ask(harness, Signer().head("GET", f"{BUCKET}/k?location")[0])

    assert (response.status, response.body) == (200, NAMING)


@pytest.mark.parametrize("target", ["?location", "?%6cocation", "/?location", "?x&%6C%6Fcation="])
@pytest_twisted.ensureDeferred
async def test_no_spelling_hides_a_document(target: str) -> None:
    """
    The name of a query parameter is the same name however it is escaped.
    """
    harness = Harness(backend=answering("200 OK", NAMING), regions=(b"eu-central-1", b"us-east-1"))

    response = await ask(harness, Signer().head("GET", BUCKET + target)[0])

    assert b"inside" not in response.body
    assert element(response.body, "LocationConstraint") == "eu-central-1"


@pytest.mark.parametrize("host", ["s3.example.test", "test-bucket.s3.example.test"])
@pytest.mark.parametrize("name", ["uploadId", "%75ploadId"])
@pytest_twisted.ensureDeferred
async def test_an_upload_is_where_its_client_calls_it(host: str, name: str) -> None:
    """
    Location in the response to CompleteMultipartUpload is the object's URL as the client addresses it.
    """
    path = "/a%20b" if host.startswith("test-bucket") else f"{BUCKET}/a%20b"
    head = Signer(host=host).head("POST", f"{path}?{name}=x", unsigned={"Content-Length": "0"})[0]

    response = await ask(Harness(backend=answering("200 OK", NAMING)), head)

    assert element(response.body, "Location") == f"http://{host}{path}"
    assert b"//inside" not in response.body


@pytest.mark.parametrize(
    ("content", "coding"),
    [
        (b"<LocationConstraint>inside", ""),
        (b" " * (MAX_NAMING_SIZE + 1) + b"<LocationConstraint>inside</LocationConstraint>", ""),
        (b"inside", "Content-Encoding: br"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_edited_is_an_error(content: bytes, coding: str) -> None:
    """
    The client reads 500, and nothing that only the backend knows.
    """
    backend = answering("200 OK", content, *([coding] if coding else []))

    response = await ask(Harness(backend=backend), Signer().head("GET", f"{BUCKET}?location")[0])

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")
    assert b"inside" not in response.body


@pytest_twisted.ensureDeferred
async def test_a_compressed_document_is_edited() -> None:
    """
    A web server in front of the backend compressed it: the client gets it edited and uncompressed.
    """
    backend = answering("200 OK", gzip.compress(NAMING), "Content-Encoding: gzip", "Content-Type: application/xml")

    response = await ask(Harness(backend=backend), Signer().head("GET", f"{BUCKET}?location")[0])

    assert element(response.body, "LocationConstraint") == ""
    assert response.header("Content-Encoding") is None
    assert b"inside" not in response.body


ERROR = b"<Error><Code>%s</Code><Message>m</Message><RequestId>theirs</RequestId><HostId>their zone</HostId></Error>"


@pytest.mark.parametrize("profile", ["generic", "walrus-3.4"])
@pytest.mark.parametrize("status", [301, 400, 403, 404, 409, 500, 503])
@pytest_twisted.ensureDeferred
async def test_the_ids_of_an_error_are_ours(status: int, profile: str) -> None:
    """
    The document's ids are those of the headers; the log has the backend's own ids and the code.
    """
    headers = ("x-amz-request-id: theirs", "x-amz-id-2: their zone", "Content-Type: application/xml")
    harness = Harness(
        profile=PROFILES[profile], backend=answering(f"{status} X", ERROR % b"SomeCode", *headers), signature="v2"
    )

    response = await ask(harness, Signer().head("GET", f"{BUCKET}/k")[0])

    assert (response.status, element(response.body, "Code")) == (status, "SomeCode")
    assert element(response.body, "RequestId") == response.header("x-amz-request-id")
    if status >= 400:
        assert element(response.body, "HostId") == response.header("x-amz-id-2") == "s3proxy"
        assert harness.records[0].error_code == "SomeCode"
        assert [name.lower() for name, _ in response.headers].count("x-amz-id-2") == 1
    assert b"their" not in response.body
    assert response.header("Content-Length") == str(len(response.body))
    assert harness.records[0].backend_request_id == b"theirs"


@pytest_twisted.ensureDeferred
async def test_an_early_refusal_has_our_ids() -> None:
    """
    Also while the upload is still being sent.
    """
    document = ERROR % b"QuotaExceeded"
    backend = FaultyBackend()

    def on_head(connection: FaultyConnection, head: Any) -> None:
        connection.send(b"HTTP/1.1 507 X\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document))

    backend.on_head = on_head
    request = Signer().put(f"{BUCKET}/k", bytes(1 << 20), UNSIGNED)

    response = await ask(Harness(backend=backend), request.head, request.body)

    assert response.status == 507
    assert element(response.body, "RequestId") == response.header("x-amz-request-id")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("profile", ["generic", "minio", "versitygw"])
@pytest_twisted.ensureDeferred
async def test_what_a_browser_can_read_and_nobody_here(profile: str, signature: str, method: str) -> None:
    """
    s3proxy does not request brotli from a proxy in front of the backend: it could not read the error in the document.
    """
    error = b"<Error><Code>SignatureDoesNotMatch</Code></Error>"

    def compress(connection: FaultyConnection, request: ReceivedRequest) -> None:
        asked = b",".join(request.head.fields[b"accept-encoding"])
        coding, document = (b"br", b"...") if b"br" in asked else (b"gzip", gzip.compress(error))
        lines = b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nContent-Encoding: %b\r\n" % coding
        body = b"" if request.head.method == b"HEAD" else document
        connection.send(lines + b"Content-Length: %d\r\n\r\n" % len(document) + body)

    harness = Harness(profile=PROFILES[profile], signature=signature)
    harness.backend.on_request = compress
    unsigned = {"Accept-Encoding": "gzip, deflate, br, zstd"}
    unsigned |= {"Content-Length": "0"} if method == "PUT" else {}

    response = await ask(harness, Signer().head(method, f"{BUCKET}/k", unsigned=unsigned)[0])

    assert response.status == 500
    for request in harness.backend.requests:
        assert request.head.fields[b"accept-encoding"] == (b"gzip, deflate",)


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "503 X"])
@pytest_twisted.ensureDeferred
async def test_what_is_said_of_our_signature_is_found_under_a_coding(status: str) -> None:
    """
    A compressed document shows no client the string that s3proxy signed.
    """
    document = b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>our own</StringToSign></Error>"
    backend = answering(status, gzip.compress(document), "Content-Encoding: gzip", "Content-Type: application/xml")

    response = await ask(Harness(backend=backend), Signer().head("GET", f"{BUCKET}/k")[0])

    assert (response.status, element(response.body, "Code")) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_an_error_which_is_too_long_to_be_read_streams() -> None:
    """
    It is relayed to its last byte.
    """
    document = b"<Error><Code>NoSuchKey</Code><Message>" + b"m" * 200_000 + b"</Message></Error>"

    response = await ask(Harness(backend=answering("404 X", document)), Signer().head("GET", f"{BUCKET}/k")[0])

    assert (response.status, response.body == document) == (404, True)


@pytest.mark.parametrize("status", ["301 Moved Permanently", "307 Temporary Redirect"])
@pytest_twisted.ensureDeferred
async def test_a_redirect_leads_to_us(status: str) -> None:
    """
    In its header and in its document; s3proxy does not follow it.
    """
    harness = Harness()
    port = harness.backend_port.getHost().port
    document = b"<Error><Code>PermanentRedirect</Code><Endpoint>127.0.0.1:%d</Endpoint></Error>" % port
    location = f"HTTP://user@127.0.0.1:{port}/test-bucket/k?a=b"
    harness.backend.on_request = lambda connection, request: connection.send(
        f"HTTP/1.1 {status}\r\nLocation: {location}\r\nContent-Length: {len(document)}\r\n\r\n".encode() + document
    )

    response = await ask(harness, Signer().head("GET", f"{BUCKET}/k")[0])

    assert response.header("Location") == "http://s3.example.test/test-bucket/k?a=b"
    assert element(response.body, "Endpoint") == "s3.example.test"
    assert len(harness.backend.requests) == 1


@pytest_twisted.ensureDeferred
async def test_a_code_of_any_length_does_not_reach_the_log() -> None:
    """
    A backend's error code is a short word, otherwise the log has none.
    """
    for code in (b"A" * 60_000, b'x y" 200 -', b"a&#10;b"):
        harness = Harness(backend=answering("404 X", ERROR % code))

        response = await ask(harness, Signer().head("GET", f"{BUCKET}/k")[0])

        assert response.status == 404
        assert harness.records[0].error_code is None


def test_no_address_of_a_backend_is_told(tmp_path: Path) -> None:
    """
    Neither the address that requests name, nor that of a replica.
    """
    urls = ["http://Store-1.internal:7480", "http://10.0.0.6:7480", "http://[2001:db8:0::6]"]
    settings = make_settings({"backend": [{"name": "b", "urls": urls, "signature": "none"}]}, tmp_path)

    backend = make_backend(settings.backends[0], settings, reactor)

    assert backend.hosts == {b"store-1.internal", b"10.0.0.6", b"2001:db8::6"}


@pytest_twisted.ensureDeferred
async def test_every_response_has_a_date() -> None:
    """
    SDKs correct a wrong clock by the Date of an error, and sign again. s3proxy adds its own Date if the backend sent
    none.
    """
    harness = Harness()
    good = Signer().head("GET", "/bucket/key")[0]
    late = Signer(now=NOW - timedelta(hours=1))
    requests = {
        "a refusal": late.head("GET", "/bucket/key")[0],
        "a refusal of HEAD": late.head("HEAD", "/bucket/key")[0],
        "no request": b"GET /\r\n\r\n",
        "a relayed answer": good,
    }
    dates = {}
    for what, request in requests.items():
        dates[what] = (await harness.request(request, method="HEAD" if b"HEAD" in request[:4] else "GET")).header(
            "date"
        )
    harness.backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 200 OK\r\nDate: Sun, 01 Nov 2026 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n"
    )
    own = (await harness.request(good)).headers
    await harness.close()

    no_request = dates.pop("no request")
    assert no_request is not None
    assert parsedate_to_datetime(no_request).tzinfo is not None
    assert set(dates.values()) == {NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")}
    assert [value for name, value in own if name.lower() == "date"] == ["Sun, 01 Nov 2026 00:00:00 GMT"]


NOTHING_OF_S3 = {
    "no HTTP": b"GET /\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "two lengths": b"PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a long line": b"GET /" + b"k" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "many headers": b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: b\r\n" * 3000 + b"\r\n",
    "another version": b"GET / HTTP/2.0\r\nHost: a\r\n\r\n",
    "HTTP/1.0": b"GET /b/k HTTP/1.0\r\n\r\n",
    "an unknown method": b"FOO /b/k HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE": b"TRACE /b/k HTTP/1.1\r\nHost: a\r\n\r\n",
    "anonymous": b"GET /b/k HTTP/1.1\r\nHost: a\r\n\r\n",
    "anonymous HEAD": b"HEAD /b/k HTTP/1.1\r\nHost: a\r\n\r\n",
    "no preflight": b"OPTIONS /b/k HTTP/1.1\r\nHost: a\r\n\r\n",
    "no form": b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
    "an empty form": b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 5\r\n\r\n--b--",
    "bad framing of a body": Signer()
    .put("/b/k", b"hello", UNSIGNED)
    .head.replace(b"Content-Length: 5", b"Content-Length: x"),
    "a wrong body": Signer().put("/b/k", b"hello").head + b"olleh",
    "not implemented": Signer().head("DELETE", "/b?accelerate")[0],
    "a long body of a read": Signer().head("GET", "/b/k", payload=UNSIGNED, unsigned={"Content-Length": "102400"})[0]
    + bytes(102_400),
    "a long document": Signer().head("POST", "/b?delete", payload=UNSIGNED, unsigned={"Content-Length": "5242880"})[0],
    "a wrong chunk": Signer().put("/b/k", b"hello", SIGNED_CHUNKS).head
    + Signer().put("/b/k", b"hello", SIGNED_CHUNKS).body.replace(b"hello", b"olleh"),
    "a presigned URL of long ago": f"GET {Signer(now=NOW - timedelta(days=1)).presign('GET', '/b/k')} HTTP/1.1\r\n"
    "Host: s3.example.test\r\n\r\n".encode(),
    "authentication twice": Signer().head("GET", "/b/k?X-Amz-Signature=0")[0],
    "a copy of nothing": Signer().head("PUT", "/b/k", {"x-amz-copy-source": "/b/"}, unsigned={"Content-Length": "0"})[
        0
    ],
}


@pytest.mark.parametrize("what", NOTHING_OF_S3)
@pytest_twisted.ensureDeferred
async def test_each_refusal_has_a_date(what: str) -> None:
    """
    Each error has one, wherever it is made: an SDK corrects its clock by this Date, and signs again.
    """
    harness = Harness()

    response = await ask(harness, NOTHING_OF_S3[what])

    assert response.status >= 400
    assert parsedate_to_datetime(response.header("Date") or "").year >= 2024
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_preflight_has_a_date() -> None:
    """
    Also if the backend's response has none.
    """
    request = b"OPTIONS /b/k HTTP/1.1\r\nHost: s3.example.test\r\nOrigin: https://a.test\r\n"
    request += b"Access-Control-Request-Method: PUT\r\n\r\n"
    for status in ("200 OK", "403 Forbidden"):
        harness = Harness()
        harness.backend.on_request = lambda connection, request, status=status: connection.send(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
        )

        response = await ask(harness, request)

        assert response.status == int(status[:3])
        assert parsedate_to_datetime(response.header("Date") or "") == NOW


@pytest.mark.parametrize("profile", ["walrus-3.4", "generic"])
@pytest_twisted.ensureDeferred
async def test_each_response_in_place_of_a_backend_has_a_date(profile: str) -> None:
    """
    s3proxy's own responses have one too, or the backend's without one: 304, 412, 416, deletions, 500, 503.
    """
    responses = []
    for status in ("200 OK", "503 No", "500 No", "403 No"):
        for method, target, headers in (
            ("GET", f"{BUCKET}/k", {"If-None-Match": '"e"'}),
            ("GET", f"{BUCKET}/k", {"If-Match": '"f"'}),
            ("GET", f"{BUCKET}/k", {"Range": "bytes=9-"}),
            ("HEAD", f"{BUCKET}/k", {"If-None-Match": '"e"'}),
            ("DELETE", f"{BUCKET}/k", {}),
        ):
            backend = FaultyBackend()
            length = b"0" if status == "403 No" else b"5"
            body = b"" if method == "HEAD" or length == b"0" else b"hello"

            def respond(connection: FaultyConnection, request: Any, status: str = status, body: bytes = body) -> None:
                sent = b"" if request.head.method == b"HEAD" else body
                head = f'HTTP/1.1 {status}\r\nETag: "e"\r\nContent-Length: {len(body)}\r\n\r\n'.encode()
                connection.send(head + sent)

            backend.on_request = respond
            harness = Harness(profile=PROFILES[profile], signature="v2", backend=backend)
            responses.append(await ask(harness, Signer().head(method, target, unsigned=headers)[0]))
    broken = Harness(profile=PROFILES[profile], signature="v2")
    broken.backend.on_request = lambda connection, request: connection.reset()
    responses.append(await ask(broken, Signer().head("GET", f"{BUCKET}/k")[0]))

    assert {200, 403, 500} <= {respond.status for respond in responses}
    if profile == "walrus-3.4":
        assert {304, 412, 416} <= {respond.status for respond in responses}
    for each in responses:
        assert parsedate_to_datetime(each.header("Date") or "") == NOW
        assert [name.lower() for name, _ in each.headers].count("date") == 1
