"""
A browser's side of POST Object: forms with their policies, written from the documentation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.support.harness import NOW, SERVER
from tests.support.signer import SignedRequest

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
BUCKET = "test-bucket"


def multipart(
    fields: Iterable[tuple[str, str | bytes]],
    file: bytes | None,
    *,
    filename: str = "file.txt",
    after: Iterable[tuple[str, str]] = (),
    boundary: str = BOUNDARY,
) -> bytes:
    """
    Write a form as a browser does.

    Args:
        file: None to leave it out.
        after: Fields after the file: a button that was pressed.
    """
    parts = []
    for name, value in fields:
        data = value.encode() if isinstance(value, str) else value
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + data)
    if file is not None:
        disposition = f'Content-Disposition: form-data; name="file"; filename="{filename}"'
        head = f"--{boundary}\r\n{disposition}\r\nContent-Type: text/plain\r\n\r\n"
        parts.append(head.encode() + file)
    for name, value in after:
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
    return b"".join(part + b"\r\n" for part in parts) + f"--{boundary}--\r\n".encode()


def policy(conditions: Sequence[Any], expires_at: datetime = NOW + timedelta(hours=1)) -> str:
    """
    Write a policy.
    """
    document = {"expiration": expires_at.strftime("%Y-%m-%dT%H:%M:%S.000Z"), "conditions": list(conditions)}
    return base64.b64encode(json.dumps(document).encode()).decode()


def v4_fields(conditions: Sequence[Any], now: datetime = NOW, **others: str) -> list[tuple[str, str]]:
    """
    Return the fields of a form that is signed with Signature V4; its policy covers them.
    """
    key = SERVER["credentials"][0]
    date = now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    authentication = {
        "x-amz-algorithm": "AWS4-HMAC-SHA256",
        "x-amz-credential": f"{key['access_key']}/{scope}",
        "x-amz-date": date,
    }
    text = policy([{"bucket": BUCKET}, *conditions, *({name: value} for name, value in authentication.items())])
    signing_key = ("AWS4" + key["secret_key"]).encode()
    for part in (date[:8], "us-east-1", "s3", "aws4_request", text):
        signing_key = hmac.digest(signing_key, part.encode(), "sha256")
    return [*others.items(), *authentication.items(), ("policy", text), ("x-amz-signature", signing_key.hex())]


def v2_fields(conditions: Sequence[Any], **others: str) -> list[tuple[str, str]]:
    """
    Return the fields of a form that is signed with Signature V2.
    """
    key = SERVER["credentials"][0]
    text = policy([{"bucket": BUCKET}, *conditions])
    signature = base64.b64encode(hmac.digest(key["secret_key"].encode(), text.encode(), hashlib.sha1)).decode()
    return [*others.items(), ("AWSAccessKeyId", key["access_key"]), ("policy", text), ("signature", signature)]


def form_request(
    body: bytes, *, headers: str = "", boundary: str = BOUNDARY, target: str = f"/{BUCKET}"
) -> SignedRequest:
    """
    Return the request that sends a form.
    """
    head = (
        f"POST {target} HTTP/1.1\r\nHost: s3.example.test\r\nContent-Type: multipart/form-data; boundary={boundary}\r\n"
        f"{headers}Content-Length: {len(body)}\r\n\r\n"
    )
    return SignedRequest(head.encode(), body)
