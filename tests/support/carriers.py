"""
Requests that are signed in each way.
"""

from __future__ import annotations

import base64
import hmac
from typing import Any
from urllib.parse import quote

from s3proxy.testing.faulty_client import Response
from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.harness import NOW, SERVER, Harness, turns
from tests.support.signer import HASH, UNSIGNED, UNSIGNED_TRAILER, SignedRequest, Signer

KEY, SECRET = SERVER["credentials"][0]["access_key"], SERVER["credentials"][0]["secret_key"]
DATE = "Sun, 01 Mar 2026 12:00:00 GMT"
HOST = "Host: s3.example.test\r\n"
FIELDS = [["starts-with", "$key", ""]]


async def send(request: SignedRequest, **options: Any) -> tuple[Response, Harness]:
    """
    Send a request; return the response, and the closed harness.
    """
    harness = Harness(**options)
    response = await harness.request(request.head, request.body)
    await turns(3)
    await harness.close()
    assert response is not None
    return response, harness


def v2(method: str, target: str, resource: str, headers: str = "", amz: str = "", body: bytes = b"") -> SignedRequest:
    """
    Return a request with Signature V2 in a header.
    """
    text = f"{method}\n\n\n{DATE}\n{amz}{resource}"
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    head = f"{method} {target} HTTP/1.1\r\n{HOST}Date: {DATE}\r\n{headers}"
    if method in {"PUT", "POST"}:
        head += f"Content-Length: {len(body)}\r\n"
    return SignedRequest(f"{head}Authorization: AWS {KEY}:{signature}\r\n\r\n".encode(), body)


def v2_query(target: str, text: str) -> SignedRequest:
    """
    Return a presigned GET with Signature V2.
    """
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    mark = "&" if "?" in target else "?"
    target += f"{mark}AWSAccessKeyId={KEY}&Expires=1772366460&Signature={quote(signature, safe='')}"
    return SignedRequest(f"GET {target} HTTP/1.1\r\n{HOST}\r\n".encode(), b"")


def signed_by(carrier: str) -> SignedRequest:
    """
    Return a valid request for each switch.
    """
    signer = Signer()
    if carrier == "v4-header":
        return signer.put("/test-bucket/k", b"hello", HASH)
    if carrier == "unsigned-payload":
        return signer.put("/test-bucket/k", b"hello", UNSIGNED)
    if carrier == "unsigned-trailer":
        return signer.put("/test-bucket/k", b"hello", UNSIGNED_TRAILER)
    if carrier == "v4-query":
        return SignedRequest(f"GET {signer.presign('GET', '/test-bucket/k')} HTTP/1.1\r\n{HOST}\r\n".encode(), b"")
    if carrier == "v4-form":
        return form_request(multipart(v4_fields(FIELDS, key="k"), b"hello"))
    if carrier == "v2-form":
        return form_request(multipart(v2_fields(FIELDS, key="k"), b"hello"))
    if carrier == "v2-header":
        return v2("GET", "/test-bucket/k", "/test-bucket/k")
    if carrier == "v2-query":
        return v2_query("/test-bucket/k", "GET\n\n\n1772366460\n/test-bucket/k")
    from awscrt.auth import (
        AwsCredentialsProvider,
        AwsSignatureType,
        AwsSignedBodyHeaderType,
        AwsSignedBodyValue,
        AwsSigningAlgorithm,
        AwsSigningConfig,
        aws_sign_request,
    )
    from awscrt.http import HttpHeaders, HttpRequest

    is_query = carrier == "v4a-query"
    request = HttpRequest("GET", "/test-bucket/k", HttpHeaders([("Host", "s3.example.test")]))
    config = AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4_ASYMMETRIC,
        signature_type=AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS
        if is_query
        else AwsSignatureType.HTTP_REQUEST_HEADERS,
        credentials_provider=AwsCredentialsProvider.new_static(KEY, SECRET),
        region="*",
        service="s3",
        date=NOW,
        use_double_uri_encode=False,
        should_normalize_uri_path=False,
        signed_body_value=AwsSignedBodyValue.UNSIGNED_PAYLOAD if is_query else AwsSignedBodyValue.EMPTY_SHA256,
        signed_body_header_type=(
            AwsSignedBodyHeaderType.NONE if is_query else AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256
        ),
        expiration_in_seconds=600 if is_query else None,
    )
    aws_sign_request(request, config).result()
    headers = "".join(f"{name}: {value}\r\n" for name, value in request.headers)
    return SignedRequest(f"GET {request.path} HTTP/1.1\r\n{headers}\r\n".encode(), b"")
