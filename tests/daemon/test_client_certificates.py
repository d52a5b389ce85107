"""
A client certificate in the place of a signature, on real connections.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from twisted.internet.threads import deferToThread

from tests.support.certificates import host, is_complete
from tests.support.signer import HASH, SIGNED_CHUNKS, UNSIGNED, UNSIGNED_TRAILER, Signer
from tests.support.tls_daemon import TLSDaemon

NAME = "backup.test"
CERTIFIED: dict[str, Any] = {"client_ca_file": "clients.pem", "client_keys": {NAME: "BACKUP"}}
BODY = b"all of the body"


def request_of(method: str, target: str, *headers: str, body: bytes = b"") -> bytes:
    """
    Return a request without a signature.
    """
    lines = [f"{method} {target} HTTP/1.1", "Host: a.test", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def code_of(response: bytes) -> str:
    """
    Return the status of a response, and the code of its error.
    """
    _, found, rest = response.partition(b"<Code>")
    return (response[9:12] + (b" " + rest.partition(b"<")[0] if found else b"")).decode()


@pytest_twisted.ensureDeferred
async def test_a_request_is_that_of_the_certificates_key(tmp_path: Path) -> None:
    """
    The backend gets it signed with s3proxy's own key; the access log names the client's key.
    """
    daemon = TLSDaemon(tmp_path, **CERTIFIED)
    context = daemon.client(host(NAME))
    got = await daemon.ask(context, request_of("GET", "/bucket/key"))
    put = await daemon.ask(context, request_of("PUT", "/bucket/key", "x-amz-meta-a: 1", body=BODY))
    metrics = daemon.service.metrics.document().decode()
    await daemon.close()

    assert (code_of(got), code_of(put)) == ("200", "200")
    assert [request.head.method for request in daemon.backend.requests] == [b"GET", b"PUT"]
    stored = daemon.backend.requests[1]
    assert stored.body == BODY
    assert b"BACKENDKEY" in stored.head.fields.value(b"authorization")
    assert stored.head.fields.value(b"x-amz-meta-a") == b"1"
    assert daemon.requesters() == [("BACKUP", "200", "-", "Certificate")] * 2
    assert (
        's3proxy_requests_total{code="",method="PUT",place="Certificate",signature="none",status="200"} 1.0' in metrics
    )


@pytest.mark.parametrize(
    ("mode", "expected"),
    [(HASH, "200"), (UNSIGNED, "200"), (UNSIGNED_TRAILER, "200"), (SIGNED_CHUNKS, "400 InvalidRequest")],
)
@pytest_twisted.ensureDeferred
async def test_the_bodies_of_a_certificate(mode: str, expected: str, tmp_path: Path) -> None:
    """
    A hash and a trailing checksum are verified. Signed chunks need a signature to begin with.
    """
    daemon = TLSDaemon(tmp_path, **CERTIFIED)
    context = daemon.client(host(NAME))
    signed = Signer("SIGNER", "secret of SIGNER", now=datetime.now(UTC), host="a.test").put("/bucket/key", BODY, mode)
    lines = [line for line in signed.head.split(b"\r\n") if not line.lower().startswith(b"authorization:")]
    good = await daemon.ask(context, b"\r\n".join(lines) + signed.body)
    bad = await daemon.ask(context, b"\r\n".join(lines) + signed.body.replace(BODY, BODY.upper()))
    await daemon.close()

    assert code_of(good) == expected
    assert (code_of(bad) == "200") is (mode == UNSIGNED)
    assert all(request.body in {BODY, BODY.upper()} for request in daemon.backend.requests)


@pytest_twisted.ensureDeferred
async def test_a_request_with_a_signature_is_judged_by_it(tmp_path: Path) -> None:
    """
    A right one is that of its own key; a wrong one is refused, whatever the certificate stands for.
    """
    daemon = TLSDaemon(tmp_path, **CERTIFIED)
    context = daemon.client(host(NAME))
    now = datetime.now(UTC)
    right = Signer("SIGNER", "secret of SIGNER", now=now, host="a.test").head("GET", "/bucket/key")[0]
    wrong = Signer("SIGNER", "another secret", now=now, host="a.test").head("GET", "/bucket/key")[0]
    unknown = Signer("NOBODY", "secret", now=now, host="a.test").head("GET", "/bucket/key")[0]
    requests = {
        "right": right,
        "wrong": wrong,
        "unknown": unknown,
        "empty": request_of("GET", "/bucket/key", "Authorization: "),
        "basic": request_of("GET", "/bucket/key", "Authorization: Basic QUFB"),
        "half a presigned URL": request_of("GET", "/bucket/key?X-Amz-Signature=00"),
        "V2": request_of("GET", "/bucket/key?AWSAccessKeyId=SIGNER&Expires=9999999999&Signature=AAAA"),
        "a token": request_of("GET", "/bucket/key", "x-amz-security-token: token-of-the-session"),
    }
    found = {name: code_of(await daemon.ask(context, request)) for name, request in requests.items()}
    await daemon.close()

    assert found == {
        "right": "200",
        "wrong": "403 SignatureDoesNotMatch",
        "unknown": "403 InvalidAccessKeyId",
        "empty": "403 AccessDenied",
        "basic": "400 InvalidArgument",
        "half a presigned URL": "400 AuthorizationQueryParametersError",
        "V2": "403 SignatureDoesNotMatch",
        "a token": "400 InvalidToken",
    }
    assert len(daemon.backend.requests) == 1
    assert {key for key, *_ in daemon.requesters()} == {"SIGNER", "-"}


@pytest_twisted.ensureDeferred
async def test_what_a_web_page_may_send_needs_a_signature(tmp_path: Path) -> None:
    """
    A form, and a request that names its origin. A preflight is anonymous as ever.
    """
    daemon = TLSDaemon(tmp_path, **CERTIFIED)
    context = daemon.client(host(NAME))
    form = b'--B\r\nContent-Disposition: form-data; name="key"\r\n\r\nk\r\n--B\r\n'
    form += b'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\nx\r\n--B--\r\n'
    found = [
        code_of(await daemon.ask(context, request))
        for request in (
            request_of("POST", "/bucket", "Content-Type: multipart/form-data; boundary=B", body=form),
            request_of("POST", "/bucket/key?uploads", "Origin: https://evil.test", "Content-Type: text/plain"),
            request_of("GET", "/bucket/key", "Origin: https://evil.test"),
        )
    ]
    sent = len(daemon.backend.requests)
    preflight = "Access-Control-Request-Method: PUT"
    await daemon.ask(context, request_of("OPTIONS", "/bucket/key", "Origin: https://good.test", preflight))
    await daemon.close()

    assert found == ["403 AccessDenied"] * 3
    assert sent == 0
    (request,) = daemon.backend.requests
    assert (request.head.method, b"authorization" in request.head.fields) == (b"OPTIONS", False)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("BACKUP", "200"),
        ("UNKNOWN", "403 InvalidAccessKeyId"),
        ("DISABLED", "403 InvalidAccessKeyId"),
        ("EXPIRED", "403 InvalidAccessKeyId"),
        ("SESSION", "403 InvalidAccessKeyId"),
        ("SIGNING", "400 InvalidRequest"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_key_must_exist_and_be_valid(key: str, expected: str, tmp_path: Path) -> None:
    """
    As for a signature.
    """
    daemon = TLSDaemon(tmp_path, **{**CERTIFIED, "client_keys": {NAME: key}})
    found = await daemon.ask(daemon.client(host(NAME)), request_of("GET", "/bucket/key"))
    await daemon.close()

    assert code_of(found) == expected


@pytest.mark.parametrize("anonymous", [False, True])
@pytest_twisted.ensureDeferred
async def test_another_certificate_stands_for_nobody(tmp_path: Path, *, anonymous: bool) -> None:
    """
    Its client may connect. Its requests need a signature, or are anonymous if that is allowed.
    """
    daemon = TLSDaemon(tmp_path, **CERTIFIED)
    daemon.tables["anonymous"] = {"allow": anonymous}
    daemon.service.reload()
    contexts = [
        daemon.client(host("other.test")),
        # The common name counts only without other names.
        daemon.client(host("other.test"), common_name=NAME),
        daemon.client(x509.UniformResourceIdentifier(f"urn:{NAME}")),
        daemon.client(host(f"x.{NAME}")),
    ]
    found = {code_of(await daemon.ask(context, request_of("GET", "/bucket/key"))) for context in contexts}
    named = code_of(await daemon.ask(daemon.client(common_name=NAME.upper()), request_of("GET", "/bucket/key")))
    await daemon.close()

    assert found == {"200" if anonymous else "403 AccessDenied"}
    assert named == "200"
    assert [key for key, *_ in daemon.requesters()] == ["-"] * 4 + ["BACKUP"]


@pytest_twisted.ensureDeferred
async def test_it_is_off_by_default_and_may_be_refused(tmp_path: Path) -> None:
    """
    Without `client_keys` every request needs a signature. ``refuse`` switches the keys off, too. A reload changes both.
    """
    daemon = TLSDaemon(tmp_path, client_ca_file="clients.pem")
    context = daemon.client(host(NAME))
    request = request_of("GET", "/bucket/key")
    found = [code_of(await daemon.ask(context, request))]
    for change in ({"client_keys": {NAME: "BACKUP"}}, {"refuse": ["certificate"]}, {"refuse": []}, {"client_keys": {}}):
        daemon.server.update(change)
        assert daemon.service.reload()
        found.append(code_of(await daemon.ask(context, request)))
    await daemon.close()

    assert found == ["403 AccessDenied", "200", "403 AccessDenied", "200", "403 AccessDenied"]


def ask_introduced(port: int, context: ssl.SSLContext, line: bytes, request: bytes) -> bytes:
    """
    Send a PROXY header, then a request over TLS; return the response. It blocks.
    """
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain:
        plain.sendall(line)
        with context.wrap_socket(plain, server_hostname="a.test") as client:
            client.sendall(request)
            response = b""
            while not is_complete(response) and (data := client.recv(65536)):
                response += data
            return response


@pytest_twisted.ensureDeferred
async def test_the_certificate_of_a_proxy_is_not_its_clients(tmp_path: Path) -> None:
    """
    A proxy that says who its clients are has one certificate for all of them: each request needs a signature. A PROXY
    header comes before TLS, which is then the client's own.
    """
    believed = {"trusted_peers": ["127.0.0.1"], "trusted_forwarded": "x-forwarded"}
    daemon = TLSDaemon(tmp_path, **CERTIFIED, **believed)
    context = daemon.client(host(NAME))
    found = [
        code_of(await daemon.ask(context, request_of("GET", "/bucket/key", *headers)))
        for headers in ((), ("X-Forwarded-For: 192.0.2.1",))
    ]
    daemon.server |= {"trusted_forwarded": "none", "proxy_protocol": True}
    assert daemon.service.reload()
    line = b"PROXY TCP4 192.0.2.7 192.0.2.1 1 443\r\n"
    request = request_of("GET", "/bucket/key")
    introduced = await deferToThread(ask_introduced, daemon.port, context, line, request)
    await daemon.close()

    assert found == ["403 AccessDenied"] * 2
    assert code_of(introduced) == "200"
    assert [key for key, *_ in daemon.requesters()] == ["-", "-", "BACKUP"]


@pytest_twisted.ensureDeferred
async def test_a_listener_without_tls_authenticates_nobody(tmp_path: Path) -> None:
    """
    Nor does one whose clients need no certificate, whatever they offer.
    """
    daemon = TLSDaemon(tmp_path)
    context = daemon.client(host(NAME))
    hashed = f"x-amz-content-sha256: {hashlib.sha256(b'').hexdigest()}"
    found = await daemon.ask(context, request_of("GET", "/bucket/key", hashed))
    await daemon.close()

    assert code_of(found) == "403 AccessDenied"
    assert daemon.backend.requests == []
