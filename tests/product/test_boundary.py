"""
The boundary: s3proxy signs nothing that the client's signature does not cover. Each test is a request that it once
signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.profiles.known import PROFILES
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.support.boundary import ACTION, BACKENDS, HOST, KEY, SECRET, UNDERSCORES, ask, v2_header, v2_query
from tests.support.harness import NOW
from tests.support.presigning import presigned
from tests.support.signer import Signer

SPLITTING = {
    "another request": "x-amz-meta-a: 1\r\n\r\nGET /admin/user?uid=x HTTP/1.1\r\nHost: x\r\nX-Rest",
    "a body to come": "x-amz-meta-a: 1\r\n\r\nPUT /other/loot HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n",
    "another header": "x-amz-meta-a: 1\r\nx-amz-copy-source",
    "a bare CR": "x-amz-meta-a: 1\rx-amz-copy-source",
    "a bare LF": "x-amz-meta-a: 1\nx-amz-copy-source",
    "a colon": "x-amz-meta-a: 1",
    "an underscore": "x-amz-copy_source",
}


@pytest.mark.parametrize(("profile", "signature"), BACKENDS)
@pytest.mark.parametrize("name", SPLITTING.values(), ids=SPLITTING)
@pytest_twisted.ensureDeferred
async def test_the_name_of_a_parameter_begins_no_line(name: str, profile: str, signature: str) -> None:
    """
    A query parameter that becomes a header is refused if its name is not a header's: V2 in a header, V2 presigned, and
    V4 presigned.
    """
    query, amz = f"{quote(name, safe='')}=7", f"{name.lower()}:7\n"
    responses, harness = await ask(
        v2_header("GET", f"/bucket/key?{query}", "/bucket/key", amz=amz),
        v2_query("GET", "/bucket/key", query, amz=amz),
        f"PUT {presigned(Signer(), 'PUT', '/bucket/key', query)} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode(),
        profile=PROFILES[profile],
        signature=signature,
    )

    assert [response.status for response in responses] == [400] * 3
    assert harness.backend.requests == []
    assert harness.backend.partial_count == 0


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw", "swift", "walrus-3.4"])
@pytest.mark.parametrize("name", UNDERSCORES)
@pytest_twisted.ensureDeferred
async def test_a_header_with_an_underscore(name: str, profile: str) -> None:
    """
    CGI-style backends read it as the header with hyphens. It is dropped, signed or not; metadata keep theirs.
    """
    value = UNDERSCORES[name]
    extra = {name.lower(): value, "x-amz-meta-a_b": "kept"}
    signed = Signer().put("/bucket/key", b"hello", headers=extra)
    unsigned = Signer().put("/bucket/key", b"hello", unsigned={name: value}, headers={"x-amz-meta-a_b": "kept"})
    lines = f"{name}: {value}\r\nx-amz-meta-a_b: kept\r\n"
    responses, harness = await ask(
        signed.head + signed.body,
        unsigned.head + unsigned.body,
        v2_header("PUT", "/bucket/key", "/bucket/key", headers=lines, amz="x-amz-meta-a_b:kept\n", body=b"hello"),
        f"PUT /bucket/key HTTP/1.1\r\n{HOST}{lines}Content-Length: 5\r\n\r\nhello".encode(),
        profile=PROFILES[profile],
        anonymous=Anonymous(passes=True),
    )

    assert [response.status for response in responses] == [200] * 4
    assert len(harness.backend.requests) == 4
    for request in harness.backend.requests:
        assert [header for header in request.head.fields if b"_" in header] == [b"x-amz-meta-a_b"]
        assert request.body == b"hello"


FOREIGN = (
    "X-Amz-Credential=other%2F20260301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=00",
    "X-Amz-Security-Token=t",
    "X%2DAmz%2DSignature=00",
    "X-Amz-Date=20260301T000000Z",
    "X-Amz-Region-Set=*",
)


@pytest.mark.parametrize("query", FOREIGN)
@pytest_twisted.ensureDeferred
async def test_authentication_beside_another_carrier(query: str) -> None:
    """
    Parameters of Signature V4 are 400 beside an Authorization header, and if there is no signature. A preflight is sent
    on without them.
    """
    preflight = f"{HOST}Origin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n\r\n"
    responses, harness = await ask(
        Signer().head("GET", f"/bucket/key?{query}")[0],
        Signer().head("GET", f"/bucket/key?uploadId=1&{query}")[0],
        f"GET /bucket/key?{query} HTTP/1.1\r\n{HOST}\r\n".encode(),
        f"OPTIONS /bucket/key?{query} HTTP/1.1\r\n{preflight}".encode(),
        anonymous=Anonymous(passes=True),
    )

    assert [response.status for response in responses] == [400, 400, 400, 200]
    assert [request.head.raw_target for request in harness.backend.requests] == [b"/bucket/key"]


@pytest.mark.parametrize(
    "query", ["Expires=1", "x-amz-credential=other&x-amz-signature=00", "signature=a&awsaccesskeyid=b"]
)
@pytest_twisted.ensureDeferred
async def test_what_authenticates_nobody(query: str) -> None:
    """
    Expires alone, and names in another case, are parameters that S3 ignores. They are not sent, and a write with them
    is refused.
    """
    responses, harness = await ask(
        Signer().head("GET", f"/bucket/key?{query}")[0],
        Signer().head("DELETE", f"/bucket/key?{query}")[0],
        v2_header("GET", "/bucket/key?X-AMZ-CREDENTIAL=other", "/bucket/key", amz="x-amz-credential:other\n"),
    )

    assert [response.status for response in responses] == [200, 501, 400]
    assert [request.head.raw_target for request in harness.backend.requests] == [b"/bucket/key"]


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_what_changes_the_form_of_a_response(signature: str) -> None:
    """
    Ceph responds in JSON if Accept says so, also with errors. S3 has no such option, so Ceph does not get it.
    """
    for headers in ({"accept": "application/json"}, {"Accept": "application/json"}):
        signed = headers if "accept" in headers else None
        responses, harness = await ask(
            Signer().head("GET", "/bucket?format=json", signed, unsigned=None if signed else headers)[0],
            profile=PROFILES["ceph-rgw"],
            signature=signature,
        )
        assert [response.status for response in responses] == [200]
        (request,) = harness.backend.requests
        assert (b"accept" in request.head.fields, request.head.raw_target) == (False, b"/bucket")


@pytest_twisted.ensureDeferred
async def test_an_upload_that_is_unpacked() -> None:
    """
    MinIO unpacks an upload with this metadata and overwrites any objects that it names, beyond the authorized key.
    """
    requests = [
        Signer().put("/bucket/a.tar", b"x", headers={name: "true"})
        for name in ("x-amz-meta-snowball-auto-extract", "x-amz-meta-snowball_auto_extract", "x-minio-extract")
    ]
    responses, harness = await ask(*(each.head + each.body for each in requests), profile=PROFILES["minio"])

    assert [response.status for response in responses] == [403] * 3
    assert harness.backend.requests == []


OF_THE_SERVICE = {
    **{
        method: [
            *(Signer().head(method, f"/{query}")[0] for query in ("", "?x", f"?{ACTION}")),
            v2_header(method, f"/?{ACTION}", "/"),
        ]
        for method in ("POST", "PUT", "DELETE")
    },
    "presigned POST": [
        f"POST {Signer().presign('POST', '/')} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode(),
        v2_query("POST", "/", ACTION),
    ],
    "unsigned POST": [f"POST /?{ACTION} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode()],
}


@pytest.mark.parametrize("profile", ["generic", "ceph-rgw", "minio"])
@pytest.mark.parametrize("how", OF_THE_SERVICE)
@pytest_twisted.ensureDeferred
async def test_the_service_has_one_operation(how: str, profile: str) -> None:
    """
    POST, PUT and DELETE of the service are STS, IAM and SNS at Ceph: 405, whatever the query and the carrier.
    """
    responses, harness = await ask(*OF_THE_SERVICE[how], profile=PROFILES[profile], anonymous=Anonymous(passes=True))

    assert {response.status for response in responses} == {405}
    assert harness.backend.requests == []


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_headers_of_a_presigned_url(signature: str) -> None:
    """
    What SDKs put into a presigned URL become headers for the backend. Parameters about the coverage of a body, and
    checksums of an empty body, become neither headers nor parameters. A signed header wins.
    """
    query = (
        "X-Amz-Content-Sha256=UNSIGNED-PAYLOAD&X-Amz-User-Agent=a&x-amz-checksum-crc32=AAAAAA%3D%3D"
        "&x-amz-sdk-checksum-algorithm=CRC32&x-amz-meta-color=light%20blue&x-amz-acl=public-read&x-id=PutObject"
        "&Content-Type=text%2Fx&x-amz-meta-a=1&x-amz-meta-a=2"
    )
    target = presigned(Signer(), "PUT", "/bucket/key", query)
    responses, harness = await ask(
        f"PUT {target} HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nhello".encode(), signature=signature
    )

    assert [response.status for response in responses] == [200]
    (request,) = harness.backend.requests
    assert request.head.raw_target == b"/bucket/key"
    fields = request.head.fields
    assert {name: values for name, values in fields.items() if name.startswith((b"x-amz-meta", b"x-amz-acl"))} == {
        b"x-amz-meta-color": (b"light blue",),
        b"x-amz-acl": (b"public-read",),
        b"x-amz-meta-a": (b"1,2",),
    }
    assert not {name for name in fields if b"checksum" in name} | (
        {b"content-type", b"x-amz-user-agent"} & fields.keys()
    )


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_a_copy_source_in_a_presigned_url(signature: str) -> None:
    """
    It is checked as the header that it becomes: a source without a key is refused, and a copy has no body.
    """
    copies = [
        presigned(Signer(), "PUT", "/bucket/key", f"x-amz-copy-source={quote(source)}") for source in ("/b/k", "/b/")
    ]
    responses, harness = await ask(
        *(f"PUT {target} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode() for target in copies),
        signature=signature,
    )

    assert [response.status for response in responses] == [200, 400]
    (request,) = harness.backend.requests
    assert request.head.fields[b"x-amz-copy-source"] == (b"/b/k",)


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_what_a_signature_v2_does_not_cover(signature: str) -> None:
    """
    A read loses a parameter that its Signature V2 does not cover. A write is refused: without the parameter it is
    another request.
    """
    options: dict[str, Any] = {"profile": PROFILES["ceph-rgw"], "signature": signature}
    responses, harness = await ask(
        v2_header("GET", "/bucket/key?other=1", "/bucket/key"),
        v2_header("PUT", "/bucket/key?x-id=PutObject", "/bucket/key", body=b"a"),
        v2_header("PUT", "/bucket/log?append&position=5", "/bucket/log", body=b"a"),
        v2_header("DELETE", "/bucket/key?some-sub-resource", "/bucket/key"),
        v2_header("PUT", "/bucket?some-sub-resource", "/bucket"),
        **options,
    )
    assert [response.status for response in responses] == [200, 200, 501, 501, 501]
    assert [request.head.raw_target for request in harness.backend.requests] == [b"/bucket/key"] * 2

    # Signature V4 covers them. Ceph has this one in addition to S3's.
    appended = Signer().put("/bucket/log?append&position=5", b"a")
    responses, harness = await ask(appended.head + appended.body, **options)
    assert [response.status for response in responses] == [200]
    assert harness.backend.requests[0].head.raw_target == b"/bucket/log?append&position=5"


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest_twisted.ensureDeferred
async def test_a_header_that_came_twice(signature: str) -> None:
    """
    S3 joins the values of one name. A backend gets them joined, because RGW reads only one of two lines. Unsigned lists
    such as Accept stay as they came.
    """
    request = Signer().put("/bucket/key", b"x", headers={"x-amz-meta-a": "1,2", "content-type": "a,b", "range": "a,b"})
    head = request.head.replace(b"x-amz-meta-a: 1,2", b"x-amz-meta-a: 1\r\nAccept: c\r\nX-Amz-Meta-A: 2\r\nAccept: d")
    head = head.replace(b"content-type: a,b", b"content-type: a\r\nContent-Type: b")
    head = head.replace(b"range: a,b", b"range: a\r\nRange: b")
    responses, harness = await ask(head + request.body, signature=signature)

    assert [response.status for response in responses] == [200]
    fields = harness.backend.requests[0].head.fields
    names = (b"x-amz-meta-a", b"content-type", b"range", b"accept")
    assert [fields[name] for name in names] == [(b"1,2",), (b"a,b",), (b"a,b",), (b"c", b"d")]


@pytest.mark.parametrize("profile", ["walrus-3.4", "osg-4.3", "walrusbackend-4.x"])
@pytest_twisted.ensureDeferred
async def test_a_condition_on_another_document(profile: str) -> None:
    """
    At Eucalyptus a condition on the read of an object is judged by HEAD. For an ACL that is not possible: there is no
    such operation.
    """
    backend = FaultyBackend()
    document = b"<AccessControlPolicy/>"
    received = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(document), document)
    backend.on_request = lambda connection, request: connection.send(received)
    responses, harness = await ask(
        Signer().head("GET", "/bucket/key?acl", unsigned={"If-Match": '"a"', "Range": "bytes=0-1"})[0],
        profile=PROFILES[profile],
        backend=backend,
    )

    assert [response.status for response in responses] == [200]
    assert [request.head.method for request in harness.backend.requests] == [b"GET"]


@pytest_twisted.ensureDeferred
async def test_headers_that_botocore_writes_into_a_query() -> None:
    """
    botocore's Signature V2 writes Content-Type and Content-MD5 into a presigned URL, beside the headers themselves.
    """
    target = f"/bucket/key?content-type=text%2Fplain&content-md5=a&AWSAccessKeyId={KEY}"
    expires = int((NOW + timedelta(minutes=1)).timestamp())
    digest = base64.b64encode(hashlib.md5(b"hello").digest()).decode()
    text = f"PUT\n{digest}\ntext/plain\n{expires}\n/bucket/key".encode()
    signature = quote(base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")), safe="")
    headers = f"{HOST}Content-Type: text/plain\r\nContent-MD5: {digest}\r\nContent-Length: 5\r\n"
    responses, harness = await ask(
        f"PUT {target}&Expires={expires}&Signature={signature} HTTP/1.1\r\n{headers}\r\nhello".encode()
    )

    assert [response.status for response in responses] == [200]
    assert harness.backend.requests[0].head.raw_target == b"/bucket/key"
