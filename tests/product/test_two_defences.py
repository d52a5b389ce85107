"""
What no backend gets although its first defence is missing: the gate, or the table of operations, stops it.

Each test fails only without both. `tests/defences/promises.toml` says which two.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.authentication.realm import Anonymous
from s3proxy.postobject.form import Form
from s3proxy.postobject.upload import upload_request
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.gate import write_head
from s3proxy.resign.headers import passed_headers
from s3proxy.s3.address import Address
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import RequestHead, parse_request_head
from s3proxy.s3.query import query_names
from tests.oracle.tap import Oracle
from tests.support.boundary import ACTION, HOST, UNDERSCORES, ask, v2_header, v2_query
from tests.support.forms import form_request, multipart
from tests.support.posts import KINDS, SMALL, fields_of
from tests.support.presigning import presigned
from tests.support.signer import Signer


@pytest.fixture(autouse=True)
def judged_by_bytes(oracle: Oracle) -> Iterator[None]:
    """
    Examine only what the backend got: the oracle finds what passes without the first defence.
    """
    yield
    oracle.breaches.clear()


EVERYBODY = Anonymous(passes=True)
ORIGIN = "Origin: https://app.test\r\nAccess-Control-Request-Method: GET\r\n"


async def heard(*requests: bytes, **options: Any) -> int:
    """
    Return how many bytes the backend got. If it got none, check that each request was refused.
    """
    responses, harness = await ask(*requests, **options)
    size = sum(connection.received_size for connection in harness.backend.connections)
    assert size or all(400 <= response.status < 500 for response in responses)
    return size


PARTS_OF_LINES = {
    "CR LF": "x-amz-meta-a: 1\r\n\r\nGET /admin/user?uid=x HTTP/1.1\r\nHost: x\r\nX-Rest",
    "CR": "x-amz-meta-a: 1\rx-amz-copy-source",
    "LF": "x-amz-meta-a: 1\nx-amz-copy-source",
    "colon": "x-amz-meta-a: 1",
}


@pytest.mark.parametrize("name", PARTS_OF_LINES.values(), ids=PARTS_OF_LINES)
@pytest_twisted.ensureDeferred
async def test_the_name_of_a_parameter_is_no_line(name: str) -> None:
    """
    A decoded name becomes a header of a request signed with V2 in its head, with V2 in its query, or with V4 in its
    query.
    """
    query, amz = f"{quote(name, safe='')}=7", f"{name.lower()}:7\n"

    heard_size = await heard(
        v2_header("GET", f"/bucket/key?{query}", "/bucket/key", amz=amz),
        v2_query("GET", "/bucket/key", query, amz=amz),
        f"PUT {presigned(Signer(), 'PUT', '/bucket/key', query)} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode(),
    )

    assert heard_size == 0


@pytest.mark.parametrize("value", ["1\r\nx-amz-acl: public-read", "1\rX: y", "1\nX: y", "\0"], ids=repr)
@pytest_twisted.ensureDeferred
async def test_the_value_of_a_parameter_is_no_line(value: str) -> None:
    """
    The value of a parameter cannot begin one either.
    """
    query = f"x-amz-meta-a={quote(value, safe='')}"

    heard_size = await heard(
        f"PUT {presigned(Signer(), 'PUT', '/bucket/key', query)} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode()
    )

    assert heard_size == 0


def head_of_upload(head: RequestHead, form: Form) -> bytes:
    """
    Write the head that a form becomes.
    """
    asked, _ = upload_request(head, Address(b"b", b"", b"b", b""), form)
    passed = passed_headers(asked, frozenset(asked.fields), passes_checksums=True)[0]
    return write_head(asked.method, asked.raw_target, [(b"Host", b"backend.test"), *passed])


FIELD_NAMES = {
    "a bare CR": b"x-amz-meta-a:1\rX-Injected",
    "a colon": b"x-amz-meta-a: b",
    "a space": b"x-amz-meta-a b",
}


@pytest.mark.parametrize("name", FIELD_NAMES.values(), ids=FIELD_NAMES)
def test_the_name_of_a_field_is_no_line(name: bytes) -> None:
    """
    A field becomes a header, even if the form's parser let a bad name through.
    """
    head = parse_request_head(b"POST /b HTTP/1.1\r\nHost: s3.example.test")

    with pytest.raises(S3Error):
        head_of_upload(head, Form({b"key": b"k", name: b"7"}, b""))


@KINDS
@pytest.mark.parametrize("name", ["x-amz-meta-a: b", "x-amz-meta-a b"], ids=["a colon", "a space"])
@pytest_twisted.ensureDeferred
async def test_a_form_s_field_is_no_line(name: str, kind: str) -> None:
    """
    The same for a whole form, signed or not.
    """
    fields = fields_of(kind, [["starts-with", f"${name}", ""]], **{"key": "k", name: "7"})
    request = form_request(multipart(fields, SMALL))

    heard_size = await heard(request.head + request.body, anonymous=EVERYBODY)

    assert heard_size == 0


@pytest.mark.parametrize("name", UNDERSCORES)
@pytest_twisted.ensureDeferred
async def test_no_header_with_an_underscore_arrives(name: str) -> None:
    """
    Signed with V4, beside V2, or unsigned: a CGI-style backend would read it as the header with hyphens.
    """
    value = UNDERSCORES[name]
    signed = Signer().put("/bucket/key", b"hello", headers={name.lower(): value})
    line = f"{name}: {value}\r\n"
    _, harness = await ask(
        signed.head + signed.body,
        v2_header("PUT", "/bucket/key", "/bucket/key", headers=line, body=b"hello"),
        f"PUT /bucket/key HTTP/1.1\r\n{HOST}{line}Content-Length: 5\r\n\r\nhello".encode(),
        anonymous=EVERYBODY,
    )

    arrived = {header for request in harness.backend.requests for header in request.head.fields}
    assert {header for header in arrived if b"_" in header} == set()


@pytest_twisted.ensureDeferred
async def test_no_parameter_with_an_underscore_arrives() -> None:
    """
    Nor does a parameter that would become such a header.
    """
    target = presigned(Signer(), "PUT", "/bucket/key", "x-amz-copy_source=%2Fbucket%2Fother")

    heard_size = await heard(
        v2_query("PUT", "/bucket/key", "x-amz-copy_source=%2Fb%2Fo", amz="x-amz-copy_source:/b/o\n"),
        f"PUT {target} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode(),
    )

    assert heard_size == 0


@pytest.mark.parametrize("name", ["x_minio_source_mtime", "x_minio-extract", "X_Minio_Force_Delete"])
@pytest_twisted.ensureDeferred
async def test_no_private_header_with_an_underscore_arrives(name: str) -> None:
    """
    A backend's private header stays private under another spelling of its name.
    """
    signed = Signer().put("/bucket/key", b"hello", headers={name.lower(): "1"})
    _, harness = await ask(signed.head + signed.body, profile=PROFILES["minio"])

    arrived = {header for request in harness.backend.requests for header in request.head.fields}
    assert {header for header in arrived if b"minio" in header} == set()


CREDENTIALS = {
    "a credential": "X-Amz-Credential=other%2F20260301%2Fus-east-1%2Fs3%2Faws4_request&X-Amz-Signature=00",
    "an escaped name": "X%2DAmz%2DSignature=00",
    "a token": "X-Amz-Security-Token=t",
}
BESIDE = {
    "Authorization": lambda target: Signer().head("GET", target)[0],
    "nothing": lambda target: f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode(),
    "a preflight": lambda target: f"OPTIONS {target} HTTP/1.1\r\n{HOST}{ORIGIN}\r\n".encode(),
}


@pytest.mark.parametrize("carrier", BESIDE)
@pytest.mark.parametrize("query", CREDENTIALS.values(), ids=CREDENTIALS)
@pytest_twisted.ensureDeferred
async def test_no_credential_arrives_in_a_query(query: str, carrier: str) -> None:
    """
    In any request: a backend could accept it, under s3proxy's own signature.
    """
    _, harness = await ask(BESIDE[carrier](f"/bucket/key?{query}"), anonymous=EVERYBODY)

    assert [query_names(request.head.raw_query) for request in harness.backend.requests] in ([], [frozenset()])


PRIVATE_QUERIES = {
    "rgwx-uid": "/bucket/key?rgwx-uid=root",
    "rgwx%2Duid": "/bucket/key?rgwx%2Duid=root",
    "RGWX-zonegroup": "/bucket?RGWX-zonegroup=z",
    "usage": "/?usage",
    "mdsearch": "/bucket?mdsearch",
}


@pytest.mark.parametrize("target", PRIVATE_QUERIES.values(), ids=PRIVATE_QUERIES)
@pytest_twisted.ensureDeferred
async def test_no_private_parameter_arrives(target: str) -> None:
    """
    Parameters that the table of operations does not have are removed from a query, whatever they mean to a backend.
    """
    _, harness = await ask(Signer().head("GET", target)[0], profile=PROFILES["ceph-rgw"])

    assert [query_names(request.head.raw_query) for request in harness.backend.requests] in ([], [frozenset()])


@pytest.mark.parametrize("target", [f"//?{ACTION}", "//"])
@pytest_twisted.ensureDeferred
async def test_an_action_below_no_bucket_does_not_arrive(target: str) -> None:
    """
    Slashes before the query make neither a bucket nor a key: the service has one operation, and it is not a POST.
    """
    heard_size = await heard(
        Signer().head("POST", target, unsigned={"Content-Length": "0"})[0], profile=PROFILES["ceph-rgw"]
    )

    assert heard_size == 0


@pytest_twisted.ensureDeferred
async def test_an_action_on_a_key_of_no_bucket_does_not_arrive() -> None:
    """
    If a key is read after the slashes, the table has no such POST.
    """
    heard_size = await heard(
        Signer().head("POST", f"//x?{ACTION}", unsigned={"Content-Length": "0"})[0], profile=PROFILES["ceph-rgw"]
    )

    assert heard_size == 0
