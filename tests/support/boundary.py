"""
Requests whose signatures do not cover all that they ask for.
"""

from __future__ import annotations

import base64
import hmac
from datetime import timedelta
from typing import Any
from urllib.parse import quote

from tests.support.harness import NOW, Harness
from tests.support.signer import Signer

KEY, SECRET = Signer.access_key_id, Signer.secret
DATE = NOW.strftime("%a, %d %b %Y %H:%M:%S GMT")
HOST = "Host: s3.example.test\r\n"
BACKENDS = [(profile, signature) for profile in ("generic", "ceph-rgw", "minio") for signature in ("v4", "v2", "none")]


def v2_header(method: str, target: str, resource: str, *, amz: str = "", headers: str = "", body: bytes = b"") -> bytes:
    """
    Return a request signed with Signature V2 in its Authorization header.
    """
    text = f"{method}\n\n\n{DATE}\n{amz}{resource}".encode()
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")).decode()
    head = f"{method} {target} HTTP/1.1\r\n{HOST}Date: {DATE}\r\n{headers}Content-Length: {len(body)}\r\n"
    return f"{head}Authorization: AWS {KEY}:{signature}\r\n\r\n".encode() + body


def v2_query(method: str, path: str, query: str, *, amz: str = "") -> bytes:
    """
    Return a request presigned with Signature V2.
    """
    expires = int((NOW + timedelta(minutes=1)).timestamp())
    text = f"{method}\n\n\n{expires}\n{amz}{path}".encode()
    signature = quote(base64.b64encode(hmac.digest(SECRET.encode(), text, "sha1")), safe="")
    target = f"{path}?{query}&AWSAccessKeyId={KEY}&Expires={expires}&Signature={signature}"
    return f"{method} {target} HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n".encode()


async def ask(*requests: bytes, **options: Any) -> tuple[list[Any], Harness]:
    """
    Send each request on a new connection; return the responses, and the closed harness.
    """
    harness = Harness(**options)
    try:
        return [await harness.request(request) for request in requests], harness
    finally:
        await harness.close()


UNDERSCORES = {
    "Transfer_Encoding": "chunked",
    "x_amz_copy_source": "/bucket/",
    "X_amz-copy-source": "/bucket/",
    "x_amz_acl": "public-read",
    "X_Forwarded_For": "1.2.3.4",
    "x_amz_security_token": "t",
    "Content_Length": "0",
    "X_Real_IP": "1.2.3.4",
}


ACTION = "Action=AssumeRole&Version=2011-06-15"
