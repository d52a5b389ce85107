"""
Known attacks on S3 servers and proxies: each is refused, and leaves nothing at the backend.

Seen elsewhere, in this order: an unsigned copy source; a credential in the query instead of a signature; the kind of
authentication chosen by an unsigned header; a payload or trailer mode changed in transit; a zero chunk that is unsigned
or missing; data beyond the declared length; a verdict after the commit; a chain that begins again; a size cut to 32
bits; a declared size that is allocated; a scan of quadratic time. Then those on surfaces, connections, Signature V2 and
forms.
"""

from __future__ import annotations

import re
import tracemalloc
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
import pytest_twisted

from s3proxy.awschunked.checksums import parse_body_digests
from s3proxy.awschunked.decoder import AwsChunkedDecoder
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.errors import IncompleteBody, S3Error
from s3proxy.s3.exemption import Exemption
from s3proxy.s3.head import index_headers
from s3proxy.s3.limits import MAX_CHUNK_HEADER_SIZE
from tests.support.carriers import send, v2, v2_query
from tests.support.forms import form_request, multipart, v4_fields
from tests.support.harness import Harness, turns
from tests.support.signer import HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, SignedRequest, Signer
from tests.support.wire_cases import element

KIB = 1024
BODY = bytes(range(251)) * 1200
TARGET = "/test-bucket/key"
ANY_KEY = ["starts-with", "$key", ""]
COPY = "x-amz-copy-source"


async def refused(request: SignedRequest, code: str, status: int, **options: Any) -> bytes:
    """
    Send a request that must be refused; return the document.
    """
    harness = Harness(**options)
    response = await harness.request(request.head, request.body)
    await turns(3)
    await harness.close()
    assert response is not None
    assert (response.status, element(response.body, "Code")) == (status, code)
    assert harness.backend.requests == []
    document: bytes = response.body
    return document


@pytest_twisted.ensureDeferred
async def test_a_copy_source_must_be_signed() -> None:
    """
    An attacker between client and proxy cannot turn a PUT into a copy of another user's object.
    """
    head, _ = Signer().head("PUT", TARGET, unsigned={"x-amz-copy-source": "/other/secret", "Content-Length": "0"})

    await refused(SignedRequest(head, b""), "AccessDenied", 403)


@pytest_twisted.ensureDeferred
async def test_an_exempted_key_must_sign_its_copy_source_too() -> None:
    """
    The exemption from signing every header never applies to x-amz-copy-source.
    """
    from dataclasses import replace

    from tests.support.harness import data_set_credentials

    credentials = data_set_credentials()
    key = b"AKIAIOSFODNN7EXAMPLE"
    credentials[key] = replace(credentials[key], exemptions=frozenset({Exemption.UNSIGNED_HEADERS}))
    head, _ = Signer().head("PUT", TARGET, unsigned={"x-amz-copy-source": "/other/secret", "Content-Length": "0"})

    await refused(SignedRequest(head, b""), "AccessDenied", 403, credentials=credentials)


@pytest.mark.parametrize("signature", ["", "&X-Amz-Signature=" + "0" * 64])
@pytest_twisted.ensureDeferred
async def test_a_credential_in_the_query_is_no_signature(signature: str) -> None:
    """
    An upload with an unsigned trailer and a key in its query is not accepted without a signature (CVE-2026-41145
    elsewhere).
    """
    wire = Signer().encode(BODY, UNSIGNED_TRAILER, "", 65536)
    query = (
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20260301%2Fus-east-1%2Fs3%2F"
        "aws4_request&X-Amz-Date=20260301T120000Z&X-Amz-Expires=600&X-Amz-SignedHeaders=host" + signature
    )
    head = (
        f"PUT {TARGET}?{query} HTTP/1.1\r\nHost: s3.example.test\r\nx-amz-content-sha256: {UNSIGNED_TRAILER}\r\n"
        f"x-amz-decoded-content-length: {len(BODY)}\r\nContent-Length: {len(wire)}\r\n\r\n"
    ).encode()
    harness = Harness()

    response = await harness.request(head, wire)
    await harness.close()

    assert 400 <= response.status < 500
    assert harness.backend.requests == []


@pytest.mark.parametrize("signature", ["0" * 64, ""])
@pytest.mark.parametrize("mode", [UNSIGNED_TRAILER, UNSIGNED, SIGNED_CHUNKS])
@pytest_twisted.ensureDeferred
async def test_no_header_chooses_how_a_request_is_judged(mode: str, signature: str) -> None:
    """
    With a key's name but no signature, no payload mode lets a body pass (CVE-2025-31489 elsewhere).
    """
    request = Signer().put(TARGET, BODY, mode)
    head = re.sub(rb"Signature=[0-9a-f]{64}", b"Signature=" + signature.encode(), request.head)
    code, status = ("SignatureDoesNotMatch", 403) if signature else ("AuthorizationHeaderMalformed", 400)

    await refused(SignedRequest(head, request.body), code, status)


@pytest_twisted.ensureDeferred
async def test_the_payload_mode_cannot_be_changed_on_the_way() -> None:
    """
    A hash replaced by UNSIGNED-PAYLOAD breaks the signature, although that header need not be among the signed ones.
    """
    request = Signer().put(TARGET, BODY, HASH)
    lines = [
        b"x-amz-content-sha256: UNSIGNED-PAYLOAD" if line.startswith(b"x-amz-content-sha256") else line
        for line in request.head.split(b"\r\n")
    ]

    await refused(SignedRequest(b"\r\n".join(lines), BODY), "SignatureDoesNotMatch", 403)


@pytest_twisted.ensureDeferred
async def test_a_signed_trailer_cannot_be_left_unsigned() -> None:
    """
    A body that was announced with a signed trailer is not accepted without the trailer's signature.
    """
    request = Signer().put(TARGET, BODY, SIGNED_TRAILER)
    at = request.body.index(b"x-amz-trailer-signature")
    body = request.body[:at] + b"\r\n"
    head = request.head.replace(b"%d" % len(request.body), b"%d" % len(body))

    await refused(SignedRequest(head, body), "IncompleteBody", 400)


@pytest_twisted.ensureDeferred
async def test_a_signed_stream_cannot_become_an_unsigned_one() -> None:
    """
    Chunks without signatures are not accepted as signed chunks.
    """
    request = Signer().put(TARGET, BODY, SIGNED_CHUNKS)
    wire = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    head = request.head.replace(b"%d" % len(request.body), b"%d" % len(wire))

    await refused(SignedRequest(head, wire), "IncompleteBody", 400)


@pytest.mark.parametrize("mode", [SIGNED_CHUNKS, SIGNED_TRAILER])
@pytest_twisted.ensureDeferred
async def test_the_zero_chunk_is_verified(mode: str) -> None:
    """
    An attacker who can only cut the stream cannot end it early: the last chunk is signed, too.
    """
    request = Signer().put(TARGET, BODY, mode)
    at = request.body.rindex(b"\r\n0;chunk-signature=") + len(b"\r\n0;chunk-signature=")
    digit = b"1" if request.body[at : at + 1] != b"1" else b"2"
    body = request.body[:at] + digit + request.body[at + 1 :]

    await refused(SignedRequest(request.head, body), "SignatureDoesNotMatch", 403)


@pytest.mark.parametrize("size", [20, 100 * KIB])
@pytest_twisted.ensureDeferred
async def test_more_data_than_was_declared_is_not_cut_off(size: int) -> None:
    """
    A decoded length smaller than the data is refused: no object is silently truncated.
    """
    signer = Signer()
    request = signer.put(TARGET, BODY, SIGNED_CHUNKS)
    headers = {"x-amz-decoded-content-length": str(len(BODY) - size), "content-encoding": "aws-chunked"}
    head, seed = signer.head(
        "PUT", TARGET, headers, payload=SIGNED_CHUNKS, unsigned={"Content-Length": str(len(request.body))}
    )

    document = await refused(
        SignedRequest(head, signer.encode(BODY, SIGNED_CHUNKS, seed, 65536)), "IncompleteBody", 400
    )

    assert element(document, "NumberBytesProvided") == str(len(BODY))


@pytest.mark.parametrize("mode", [HASH, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest_twisted.ensureDeferred
async def test_the_verdict_comes_before_the_commit(mode: str) -> None:
    """
    One byte changed at the very end: the backend's connection is reset before it has the whole body.
    """
    body = BODY * 8
    request = Signer().put(TARGET, body, mode)
    at = request.body.rindex(body[-40:]) + 39
    wire = request.body[:at] + bytes([request.body[at] ^ 1]) + request.body[at + 1 :]
    harness = Harness()

    response = await harness.request(request.head, wire)
    await turns(3)
    (connection,) = harness.backend.connections
    await harness.close()

    assert response.status in {400, 403}
    assert harness.backend.requests == []
    assert 0 < connection.size < len(body)
    assert harness.backend.partial_count == 1


@pytest_twisted.ensureDeferred
async def test_the_chain_does_not_begin_anew() -> None:
    """
    After the last chunk a second stream, begun from the seed again, is not stored after the first.
    """
    signer = Signer()
    request = signer.put(TARGET, BODY, SIGNED_CHUNKS)
    seed = request.head.rpartition(b"Signature=")[2][:64].decode()
    wire = request.body + signer.encode(b"a" * 9000, SIGNED_CHUNKS, seed, 65536)
    head = request.head.replace(b"Content-Length: %d" % len(request.body), b"Content-Length: %d" % len(wire))

    await refused(SignedRequest(head, wire), "IncompleteBody", 400)


@pytest_twisted.ensureDeferred
async def test_a_size_of_two_to_the_32_is_not_zero() -> None:
    """
    Hex 100000000 announces 4 GiB. It does not end the stream, as it does if sizes have 32 bits.
    """
    signer = Signer()
    headers = {"x-amz-decoded-content-length": "0", "content-encoding": "aws-chunked"}
    wire_length = len(signer.encode(b"", SIGNED_CHUNKS, "0" * 64, 1)) + 8
    head, seed = signer.head(
        "PUT", TARGET, headers, payload=SIGNED_CHUNKS, unsigned={"Content-Length": str(wire_length)}
    )
    wire = b"100000000" + signer.encode(b"", SIGNED_CHUNKS, seed, 1)[1:]

    await refused(SignedRequest(head, wire), "IncompleteBody", 400)


def make_decoder(length: int, verifier: Any = None) -> AwsChunkedDecoder:
    """
    Return a decoder without digests.
    """
    return AwsChunkedDecoder(length, parse_body_digests(index_headers([])), verifier=verifier)


def test_a_declared_chunk_size_allocates_nothing() -> None:
    """
    A chunk of 16 EiB costs what one byte of it costs.
    """
    decoder = make_decoder(1 << 62)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]

    decoder.feed(b"ffffffffffffffff\r\n" + b"a" * 100)
    after = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert after - before < 64 * KIB


class CountedBytes(bytes):
    """
    Bytes which count how many of them a search may have looked at.
    """

    searched = 0

    def find(self, sub: Any, start: Any = 0, end: Any = None, /) -> int:
        stop = len(self) if end is None else min(end, len(self))
        CountedBytes.searched += max(0, stop - start)
        return super().find(sub, start, stop)


@pytest.mark.parametrize("step", [1, 100, 65536])
def test_a_header_without_an_end_costs_linear_time(step: int) -> None:
    """
    20 MB without a semicolon are refused after the first 256 bytes, however they arrive.
    """
    stream = b"1" * 20_000_000
    decoder = make_decoder(1 << 40)
    CountedBytes.searched = 0
    fed = 0

    def feed_all() -> None:
        nonlocal fed
        while fed < len(stream):
            piece = CountedBytes(stream[fed : fed + step])
            fed += len(piece)
            decoder.feed(piece)

    with pytest.raises(IncompleteBody):
        feed_all()

    assert fed <= MAX_CHUNK_HEADER_SIZE + step
    assert CountedBytes.searched <= MAX_CHUNK_HEADER_SIZE * 2


@pytest_twisted.ensureDeferred
async def test_a_private_surface_is_reached_by_no_key() -> None:
    """
    GET /admin/user does not reach an RGW for which s3proxy's key has admin caps; nor do RGW's own headers.
    """
    for target in ("/admin/user", "/%61dmin/user", "//admin/user", "/./admin/user", "/swift/v1", "/auth/v1.0"):
        head, _ = Signer().head("GET", target)
        harness = Harness(profile=PROFILES["ceph-rgw"])
        response = await harness.request(head)
        await harness.close()
        assert response.status in {403, 400}, target
        assert harness.backend.requests == [], target
    head, _ = Signer().head("GET", TARGET, {"rgwx-uid": "admin"})
    harness = Harness(profile=PROFILES["ceph-rgw"])
    response = await harness.request(head)
    await harness.close()
    assert response.status == 403
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_body_bytes_are_no_request() -> None:
    """
    The body of a refused upload is never read as the next request of the connection.
    """
    inner, _ = Signer().head("DELETE", TARGET)
    body = inner * 200
    request = Signer(secret="wrong").put(TARGET, body, UNSIGNED)
    harness = Harness()
    client = await harness.connect()

    client.send(request.head)
    client.send(request.body)
    response = await client.response("PUT")
    await turns(50)
    await harness.close()

    assert response is not None
    assert response.status == 403
    assert client.received == b""
    assert harness.backend.requests == []


@pytest.mark.parametrize(
    "source", ["", "/", "/bucket", "/bucket/", "bucket/", "/bucket//", "/bucket/?versionId=1", "%2Fbucket%2F"]
)
@pytest_twisted.ensureDeferred
async def test_a_copy_of_no_key_is_refused(source: str) -> None:
    """
    An empty key in a copy source crashes Ceph 16.2, so it is not sent.
    """
    head, _ = Signer().head("PUT", TARGET, {"x-amz-copy-source": source}, unsigned={"Content-Length": "0"})

    await refused(SignedRequest(head, b""), "InvalidArgument", 400)


def test_refusals_are_s3_errors() -> None:
    """
    What the decoder raises is an S3 error, for whatever bytes.
    """
    for line in (b"\x00\r", b"-1\r", b"0x10\r", b" 1\r", b"1_0\r", b"\r", b"10;\r", b"g\r", b"1"):
        with pytest.raises(S3Error):
            make_decoder(16).feed(line + b"\n")


# Signature V2, which covers little


@pytest_twisted.ensureDeferred
async def test_what_v2_does_not_sign_of_a_query_does_not_pass() -> None:
    """
    Only listing parameters pass; any other parameter that was added in transit is removed.
    """
    target = "/test-bucket?prefix=a%2Fb&x-id=List&allow=all&%70olicyy=1&delimiter=/&rgwx-uid=admin&versions"
    response, harness = await send(v2("GET", target, "/test-bucket?versions"))

    assert response.status == 200
    assert harness.backend.requests[0].head.raw_target == b"/test-bucket?prefix=a%2Fb&delimiter=/&versions"


@pytest.mark.parametrize("query", ["%61cl", "ac%6C=", "%2561cl&acl"])
@pytest_twisted.ensureDeferred
async def test_an_escaped_sub_resource_is_one(query: str) -> None:
    """
    A backend that unescapes names must not see another operation than the one that was signed.
    """
    response, harness = await send(v2("PUT", f"/test-bucket/k?{query}", "/test-bucket/k"))

    assert (response.status, element(response.body, "Code")) == (403, "SignatureDoesNotMatch")
    assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_an_amz_parameter_is_no_way_into_the_head() -> None:
    """
    An escaped end of line in it would begin another header at the backend.
    """
    value = "1%0d%0ax-amz-acl:public-read"
    text = "GET\n\n\n1772366460\nx-amz-meta-a:1\r\nx-amz-acl:public-read\n/test-bucket/k"
    response, harness = await send(v2_query(f"/test-bucket/k?x-amz-meta-a={value}", text))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert harness.backend.requests == []


# Forms, whose signature covers a policy


@pytest_twisted.ensureDeferred
async def test_a_form_with_a_signature_in_its_head() -> None:
    """
    Its policy would not be checked, so it does not reach a backend that might read it as a form.
    """
    body = multipart([("key", "k")], b"hello")
    content_type = {"content-type": "multipart/form-data; boundary=x"}
    for target in ("/test-bucket", "/test-bucket?a=b"):
        head, _ = Signer().head(
            "POST", target, content_type, payload=UNSIGNED, unsigned={"Content-Length": str(len(body))}
        )
        response, harness = await send(SignedRequest(head, body))

        assert (response.status, element(response.body, "Code")) == (405, "MethodNotAllowed")
        assert harness.backend.requests == []


@pytest_twisted.ensureDeferred
async def test_a_form_is_no_copy() -> None:
    """
    A field of that name does not become the header, even if the policy allows it.
    """
    fields = v4_fields([ANY_KEY, ["starts-with", "$x-amz-copy-source", ""]], **{"key": "k", COPY: "/other/secret"})
    _, harness = await send(form_request(multipart(fields, b"hello")))

    (stored,) = harness.backend.requests
    assert stored.body == b"hello"
    assert COPY.encode() not in stored.head.fields


@pytest_twisted.ensureDeferred
async def test_a_policy_is_for_its_own_bucket() -> None:
    """
    The bucket is that of the URL, whatever a field says.
    """
    body = multipart(v4_fields([ANY_KEY, {"bucket": "test-bucket"}], key="k", bucket="test-bucket"), b"hello")
    response, harness = await send(form_request(body, target="/other-bucket"))

    assert (response.status, element(response.body, "Code")) == (403, "AccessDenied")
    assert harness.backend.requests == []


@pytest.mark.parametrize("name", ["key", "KEY", "Policy", "x-amz-signature"])
@pytest_twisted.ensureDeferred
async def test_a_field_which_comes_twice(name: str) -> None:
    """
    Two readers could take one or the other: the form is refused.
    """
    fields = [*v4_fields([{"key": "mine"}], key="mine"), (name, "other")]
    response, harness = await send(form_request(multipart(fields, b"hello")))

    assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
    assert harness.backend.requests == []


@pytest.mark.parametrize("key", ["../other-bucket/k", "a/../../other-bucket/k", "%2e%2e/other-bucket/k"])
@pytest_twisted.ensureDeferred
async def test_a_key_stays_in_its_bucket(key: str) -> None:
    """
    Whatever the key is, its path begins with the bucket, and nothing in it is decoded twice. A key with a segment of
    dots is refused.
    """
    response, harness = await send(form_request(multipart(v4_fields([ANY_KEY], key=key), b"hello")))

    if ".." in key:
        assert (response.status, element(response.body, "Code")) == (400, "InvalidArgument")
        assert harness.backend.requests == []
    else:
        target = harness.backend.requests[0].head.raw_target
        assert unquote_to_bytes(target) == b"/test-bucket/" + key.encode()


@pytest_twisted.ensureDeferred
async def test_a_file_which_ends_early() -> None:
    """
    A form whose end is cut off is not stored, although its bytes are as many as were announced.
    """
    request = form_request(multipart(v4_fields([ANY_KEY], key="k"), b"hello"))
    for end in (b"--\r\n", b"\r\n--", b"hello"):
        body = request.body[: request.body.rindex(end)]
        response, harness = await send(form_request(body))

        assert (response.status, element(response.body, "Code")) == (400, "MalformedPOSTRequest")
        assert harness.backend.requests == []
