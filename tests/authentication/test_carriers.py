"""
Which clients may sign in which way: switches of listeners and keys, anonymous requests, exemptions, Signature V2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_twisted

from s3proxy.authentication.realm import SWITCHES, Anonymous
from s3proxy.body.plan import BodyLimits
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.forwarding.onward import Onward
from s3proxy.s3.errors import InvalidURI
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.query import query_names
from tests.support.carriers import HOST, KEY, send, signed_by, v2, v2_query
from tests.support.forms import form_request, multipart
from tests.support.harness import NOW, Harness, data_set_credentials, in_transfer_chunks
from tests.support.signer import SIGNED_CHUNKS, UNSIGNED, SignedRequest, Signer
from tests.support.wire_cases import element


def with_key(**changes: Any) -> dict[bytes, Any]:
    """
    Return the data set's keys, with the first one changed.
    """
    credentials = data_set_credentials()
    credentials[KEY.encode()] = replace(credentials[KEY.encode()], **changes)
    return credentials


def plain(method: str, target: str, headers: str = "") -> SignedRequest:
    """
    Return a request without a signature.
    """
    return SignedRequest(f"{method} {target} HTTP/1.1\r\n{HOST}{headers}\r\n".encode(), b"")


# tests/daemon/test_client_certificates.py has the switch of certificates, which need TLS.
@pytest.mark.parametrize("switch", [switch for switch in SWITCHES if switch not in {"anonymous", "certificate"}])
@pytest_twisted.ensureDeferred
async def test_each_switch(switch: str) -> None:
    """
    What is off for a listener or a key is refused there, even with a valid signature; elsewhere it works.
    """
    request = signed_by(switch)
    refused = {(403, "AccessDenied")} if switch.startswith("unsigned") else {(400, "InvalidRequest")}
    if switch == "v4a-query":
        refused.add((400, "AuthorizationQueryParametersError"))
    others = frozenset(SWITCHES) - {switch, "v4-header" if switch.startswith("unsigned") else ""}
    for options, passes in (
        ({"refused": others}, True),
        ({"credentials": with_key(refused=others)}, True),
        ({"refused": frozenset({switch})}, False),
        ({"credentials": with_key(refused=frozenset({switch}))}, False),
    ):
        response, harness = await send(request, **options)

        if passes:
            assert response.status < 300, response.body
            assert len(harness.backend.requests) == 1
        else:
            assert (response.status, element(response.body, "Code")) in refused
            assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_switched_off_key_must_be_right_first() -> None:
    """
    Without its secret, a client does not learn what a key may do.
    """
    request = v2("GET", "/test-bucket/k", "/test-bucket/other")

    response, _ = await send(request, credentials=with_key(refused=frozenset({"v2-header"})))

    assert element(response.body, "Code") == "SignatureDoesNotMatch"


# Signature V2


@pytest.mark.parametrize("signed", ["/test-bucket", "/test-bucket/"])
@pytest_twisted.ensureDeferred
async def test_boto3_signs_a_bucket_with_a_slash(signed: str) -> None:
    """
    A bucket's path may be signed with a slash that was not sent; a key's may not.
    """
    response, harness = await send(v2("GET", "/test-bucket?prefix=a&acl", f"{signed}?acl"))
    # GetBucketAcl has no prefix: s3proxy does not send what S3 ignores.
    assert (response.status, harness.backend.requests[0].head.raw_target) == (200, b"/test-bucket?acl")

    response, harness = await send(v2("GET", "/test-bucket/k", "/test-bucket/k/"))
    assert (response.status, harness.backend.requests) == (403, [])


@pytest_twisted.ensureDeferred
async def test_amz_parameters_are_headers() -> None:
    """
    A presigned URL may carry them in its query: they are signed, and override a header of the same name.
    """
    text = "GET\n\n\n1772366460\nx-amz-meta-a:1\n/test-bucket/k"
    request = v2_query("/test-bucket/k?x-amz-meta-a=1", text)
    head = request.head.replace(b"\r\n\r\n", b"\r\nx-amz-meta-a: 2\r\n\r\n")
    response, harness = await send(SignedRequest(head, b""))

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == b"/test-bucket/k"
    assert harness.backend.requests[0].head.fields[b"x-amz-meta-a"] == (b"1",)


@pytest.mark.parametrize("query", ["prefix=%", "prefix=%zz", "acl&x=%-6"])
@pytest_twisted.ensureDeferred
async def test_a_broken_escape_in_a_query(query: str) -> None:
    """
    It is refused whatever the signature is, and however little of the query is signed.
    """
    resource = "/test-bucket?acl" if "acl" in query else "/test-bucket"
    response, harness = await send(v2("GET", f"/test-bucket?{query}", resource))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidURI")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_hash_binds_a_v2_request_too() -> None:
    """
    rclone adds x-amz-content-sha256 to requests of Signature V2: the body must match it.
    """
    for digest, status in (("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", 200), ("0" * 64, 400)):
        header = f"x-amz-content-sha256: {digest}\r\n"
        amz = f"x-amz-content-sha256:{digest}\n"
        response, harness = await send(v2("PUT", "/test-bucket/k", "/test-bucket/k", header, amz, b"hello"))

        assert response.status == status
        assert len(harness.backend.requests) == (status == 200)


# Anonymous requests


@pytest_twisted.ensureDeferred
async def test_anonymous_requests_are_refused_unless_they_are_configured() -> None:
    """
    If they are configured, they are sent on unsigned, with all their headers.
    """
    request = plain("PUT", "/test-bucket/k", "x-amz-acl: private\r\nContent-Length: 0\r\n")

    response, harness = await send(request)
    assert (response.status, element(response.body, "Code")) == (403, "AccessDenied")
    assert harness.backend.requests == []

    response, harness = await send(request, anonymous=Anonymous(passes=True))
    assert response.status == 200
    fields = harness.backend.requests[0].head.fields
    assert b"authorization" not in fields
    assert fields[b"x-amz-acl"] == (b"private",)
    assert harness.records[0].access_key_id is None
    assert harness.records[0].signature_version is None


NO_HEADERS = {
    "x-amz-checksum-crc32": "AAAAAA%3D%3D",
    "x-amz-checksum-sha256": "47DEQpj8HBSa%2B%2FTImW%2B5JCeuQeRkm5NMpJWZG3hSuFU%3D",
    "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "x-amz-decoded-content-length": "9",
    "X-Amz-Sdk-Checksum-Algorithm": "CRC32",
    "x-amz-trailer": "x-amz-checksum-crc32",
    "X-Amz-User-Agent": "aws-sdk-js%2F2",
}


@pytest.mark.parametrize("name", NO_HEADERS)
@pytest.mark.parametrize("carrier", ["query", "header"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_what_a_query_says_of_a_body_under_signature_v2(signature: str, carrier: str, name: str) -> None:
    """
    It is signed, but neither believed nor sent on, as under Signature V4: the client that signed it did not have the
    body. A header of that name is not sent either, as no signature covers it. Other headers that the query carries are.
    """
    target = f"/test-bucket/k?{name}={NO_HEADERS[name]}&x-amz-meta-a=b"
    lines = sorted([f"{name.lower()}:{unquote(NO_HEADERS[name])}\n", "x-amz-meta-a:b\n"])
    amz = "".join(lines)
    if carrier == "header":
        request = v2("PUT", target, "/test-bucket/k", f"{name}: none\r\n", amz, b"hello")
    else:
        get = v2_query(target, f"PUT\n\n\n1772366460\n{amz}/test-bucket/k")
        head = get.head.replace(b"GET", b"PUT").replace(b"\r\n\r\n", f"\r\n{name}: none\r\n".encode())
        request = SignedRequest(head + b"Content-Length: 5\r\n\r\n", b"hello")
    response, harness = await send(request, signature=signature)

    assert response.status == 200
    (sent,) = harness.backend.requests
    assert sent.head.raw_target == b"/test-bucket/k"
    assert sent.head.fields[b"x-amz-meta-a"] == (b"b",)
    if signature == "v2" or name != "x-amz-content-sha256":
        assert name.lower().encode() not in sent.head.fields
    assert sent.body == b"hello"


@pytest.mark.parametrize("anonymous", [Anonymous(passes=True), Anonymous(signed_buckets=("*",))])
@pytest_twisted.ensureDeferred
async def test_a_listener_without_anonymous_requests(anonymous: Anonymous) -> None:
    """
    They may be allowed for others and off for it; a browser's preflight is not access.
    """
    off = frozenset({"anonymous"})
    preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n"

    for request, options, status in (
        (plain("GET", "/test-bucket/k"), {}, 200),
        (plain("GET", "/test-bucket/k"), {"refused": off}, 403),
        (plain("OPTIONS", "/test-bucket/k", preflight), {"refused": off}, 200),
        (signed_by("v4-header"), {"refused": off}, 200),
    ):
        response, _ = await send(request, anonymous=anonymous, **options)
        assert response.status == status


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("GET", "/public-a/k", 200),
        ("HEAD", "/public-a/k?versionId=1", 200),
        ("HEAD", "/public-a", 200),
        ("GET", "/public-a?list-type=2&prefix=a", 200),
        ("GET", "/public-a/style.css?1472023447", 200),
        ("HEAD", "/public-a/style.css?v=3&utm_source=a", 200),
        ("GET", "/public-a/style.css?", 200),
        ("GET", "/public-a/a..b/...", 200),
        ("GET", "/private/k", 403),
        ("GET", "/private/k?v=3", 403),
        ("GET", "/not-public-a/k", 403),
        ("GET", "/", 403),
        ("GET", "/public-a/k?acl", 403),
        ("GET", "/public-a?policy", 403),
        ("GET", "/public-a?uploads", 403),
        ("GET", "/public-a/k?%61cl", 403),
        ("GET", "/public-a/k?response-content-type=a", 400),
        ("GET", "/public-a/k?X-Amz-Credential=a", 400),
        ("GET", "/public-a/../private/k", 403),
        ("GET", "/public-a/./../private/k", 403),
        ("GET", "/public-a/a/..", 403),
        ("GET", "/public-a/%2e%2E/private/k", 403),
        ("GET", "/public-a%2f..%2fprivate/k", 403),
        ("GET", "/public-a/%252e%252e/private/k", 403),
        ("GET", "/public-a/%25252e./private/k", 403),
        ("GET", "/public-a/..%5cprivate/k", 403),
        ("PUT", "/public-a/k", 403),
        ("DELETE", "/public-a/k", 403),
    ],
)
@pytest_twisted.ensureDeferred
async def test_buckets_which_anybody_may_read(method: str, target: str, status: int) -> None:
    """
    s3proxy's key signs reads of objects and listings, and nothing else. Cache busters are ignored, and never sent. A
    key that a backend could resolve to another bucket is not read.
    """
    headers = "x-amz-meta-a: b\r\n" + ("Content-Length: 0\r\n" if method == "PUT" else "")
    response, harness = await send(plain(method, target, headers), anonymous=Anonymous(False, ("public-*",)))

    assert response.status == status
    assert len(harness.backend.requests) == (status == 200)
    if status == 200:
        (sent,) = harness.backend.requests
        fields = sent.head.fields
        assert not {b"v", b"1472023447", b"utm_source"} & query_names(sent.head.raw_query)
        assert b"BACKENDKEY" in fields[b"authorization"][0]
        assert b"x-amz-meta-a" not in fields


@pytest_twisted.ensureDeferred
async def test_a_form_without_a_policy() -> None:
    """
    It is anonymous: if such forms are allowed, the backend decides.
    """
    request = form_request(multipart([("key", "k"), ("x-amz-meta-a", "b")], b"hello"))

    response, harness = await send(request)
    assert (response.status, harness.backend.requests) == (403, [])

    response, harness = await send(request, anonymous=Anonymous(passes=True))
    assert response.status == 204
    (stored,) = harness.backend.requests
    assert (stored.body, b"authorization" in stored.head.fields) == (b"hello", False)
    assert stored.head.fields[b"x-amz-meta-a"] == (b"b",)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Origin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n", 200),
        ("Origin: https://a.test\r\n", 400),
        ("Access-Control-Request-Method: PUT\r\n", 400),
        ("", 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_browser_s_preflight(headers: str, status: int) -> None:
    """
    A preflight is sent on unsigned; any other OPTIONS without a signature is refused.
    """
    response, harness = await send(plain("OPTIONS", "/test-bucket/k", headers + "x-amz-meta-a: b\r\n"))

    assert response.status == status
    assert len(harness.backend.requests) == (status == 200)
    if status == 200:
        fields = harness.backend.requests[0].head.fields
        assert fields[b"origin"] == (b"https://a.test",)
        assert not {b"authorization", b"x-amz-meta-a"} & fields.keys()


@pytest.mark.parametrize("payload", ["STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"])
@pytest_twisted.ensureDeferred
async def test_nobody_signs_chunks(payload: str) -> None:
    """
    Without a signature in the head the chunks have no signature to chain to.
    """
    headers = f"x-amz-content-sha256: {payload}\r\nx-amz-decoded-content-length: 0\r\nContent-Length: 0\r\n"
    response, harness = await send(plain("PUT", "/test-bucket/k", headers), anonymous=Anonymous(passes=True))

    assert (response.status, harness.backend.requests) == (400, [])


# Exemptions, replays, bodies without a length


@pytest_twisted.ensureDeferred
async def test_exemptions_are_counted() -> None:
    """
    A key whose clock is wrong passes with its exemption, and a counter says how often.
    """
    signer = Signer(now=NOW.replace(hour=5))
    request = signer.put("/test-bucket/k", b"hello")

    response, _ = await send(request)
    assert element(response.body, "Code") == "RequestTimeTooSkewed"

    response, harness = await send(request, credentials=with_key(exemptions=frozenset({Exemption.CLOCK_SKEW})))
    assert response.status == 200
    assert dict(harness.proxy.context.counts.exempted) == {Exemption.CLOCK_SKEW: 1}


@pytest.mark.parametrize(("chunk_size", "count"), [(1000, 1), (8192, 0)])
@pytest_twisted.ensureDeferred
async def test_the_exemption_of_small_chunks_is_counted(chunk_size: int, count: int) -> None:
    """
    Once for a body, however many of its chunks are too small. A key that has the exemption need not use it.
    """
    request = Signer(now=NOW).put("/test-bucket/k", b"hello" * 4000, SIGNED_CHUNKS, chunk_size=chunk_size)

    response, harness = await send(request, credentials=with_key(exemptions=frozenset({Exemption.CHUNK_SIZE})))

    assert response.status == 200
    assert harness.proxy.context.counts.exempted[Exemption.CHUNK_SIZE] == count


@pytest_twisted.ensureDeferred
async def test_a_request_which_was_sent_before() -> None:
    """
    Within the window it passes once, also if another client repeats it. A read always passes, and so does a request
    that was not done.
    """
    harness = Harness(replay_window=ReplayWindow(900, 100))
    put = Signer().put("/test-bucket/k", b"hello")
    get, _ = Signer().head("GET", "/test-bucket/k")

    first = await harness.request(put.head, put.body)
    second = await harness.request(put.head, put.body)
    reads = [await harness.request(get) for _ in range(2)]
    other = Signer().put("/test-bucket/other", b"hello")
    respond_ok = harness.backend.on_request
    harness.backend.on_request = lambda connection, request: connection.send(
        b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\n\r\n"
    )
    failed = await harness.request(other.head, other.body)
    harness.backend.on_request = respond_ok
    again = await harness.request(other.head, other.body)
    await harness.close()

    assert [first.status, second.status, *(read.status for read in reads)] == [200, 403, 200, 200]
    assert element(second.body, "Code") == "AccessDenied"
    assert [failed.status, again.status] == [503, 200]


def test_a_replay_window_is_bounded() -> None:
    """
    The window is bounded in time and in number.
    """
    window = ReplayWindow(10, 2)

    assert window.admit(b"a", 0)
    assert not window.admit(b"a", 9.9)
    assert window.admit(b"a", 10.1)
    assert window.admit(b"b", 11)
    assert window.admit(b"c", 12)
    assert len(window) == 2
    assert window.admit(b"a", 12)
    window.forget(b"a")
    window.forget(b"a")
    assert window.admit(b"a", 12)


@pytest.mark.parametrize("size", [0, 10, 500_000])
@pytest_twisted.ensureDeferred
async def test_a_put_without_a_length(size: int) -> None:
    """
    It is refused as S3 does. If it is configured, it is verified on disk and sent with its length.
    """
    body = bytes(range(250)) * (size // 250 + 1)
    body = body[:size]
    head, _ = Signer().head("PUT", "/test-bucket/k", payload=UNSIGNED, unsigned={"Transfer-Encoding": "chunked"})
    request = SignedRequest(head, in_transfer_chunks(body) if body else b"0\r\n\r\n")

    response, harness = await send(request)
    assert (response.status, element(response.body, "Code")) == (501, "NotImplemented")

    response, harness = await send(request, body_limits=BodyLimits(spools_unknown_length=True))
    assert response.status == 200
    (stored,) = harness.backend.requests
    assert (stored.body, stored.head.content_length) == (body, size)

    response, harness = await send(request, body_limits=BodyLimits(spools_unknown_length=True, object_size=size - 1))
    if size:
        assert element(response.body, "Code") == "EntityTooLarge"
        assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_fault_while_a_request_is_signed_for_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The client reads an error, and nothing waits for ever.
    """

    def fail(*ignored: object) -> Any:
        raise InvalidURI(b"?%")

    monkeypatch.setattr(Onward, "request", fail)
    harness = Harness()
    put = Signer().put("/test-bucket/k", b"hello")
    response = await harness.request(put.head, put.body)
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (400, "InvalidURI")
    assert harness.backend.requests == []
