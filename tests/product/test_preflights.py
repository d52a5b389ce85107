"""
A browser's preflight before a request from a page of another origin, as the backend gets it.
"""

from __future__ import annotations

import pytest
import pytest_twisted

from s3proxy.profiles.known import PROFILES
from tests.support.harness import Harness
from tests.support.signer import Signer

TARGETS = (
    "/bucket/a%20b?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=KEY%2F20260301%2Fr%2Fs3%2Faws4_request&X-Amz-Signature=0",
    "/bucket/a%20b?AWSAccessKeyId=KEY&Expires=1&Signature=00",
    "/bucket/a%20b?uploadId=u&partNumber=1",
    "/bucket/a%20b",
    "/bucket?uploads",
    "/bucket",
)
"""
A presigned URL of either signature, a part, a plain object, an upload in parts, and a form.
"""

ASKED = {
    "": b"authorization",
    "x-amz-meta-a": b"x-amz-meta-a,authorization",
    "content-type, x-amz-meta-a": b"content-type, x-amz-meta-a,authorization",
    "authorization,range": b"authorization,range",
    "range, Authorization": b"range, Authorization",
    "x-authorization": b"x-authorization,authorization",
}
"""
What a preflight asks for, and what the preflight to Swift then asks for.
"""


def preflight(target: str, asked: str) -> bytes:
    """
    Return a preflight.
    """
    lines = "Origin: https://app.test\r\nAccess-Control-Request-Method: PUT\r\n"
    if asked:
        lines += f"Access-Control-Request-Headers: {asked}\r\n"
    return f"OPTIONS {target} HTTP/1.1\r\nHost: s3.example.test\r\n{lines}\r\n".encode()


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("profile", ["swift", "ceph-rgw", "versitygw", "generic"])
@pytest_twisted.ensureDeferred
async def test_what_a_storage_takes_for_a_preflight(profile: str, signature: str, asked: str) -> None:
    """
    A preflight is sent on unsigned and without the credentials of its URL. Swift takes one for its own API's, and
    refuses it, unless the URL has a credential or it asks for Authorization: so at Swift it asks for that, too.
    """
    harness = Harness(profile=PROFILES[profile], signature=signature)

    responses = [await harness.request(preflight(target, asked)) for target in TARGETS]
    await harness.close()

    heads = [request.head for request in harness.backend.requests]
    assert [response.status for response in responses] == [200] * len(TARGETS)
    assert [head.raw_target for head in heads] == [target.encode().partition(b"?")[0] for target in TARGETS]
    expected = ASKED[asked] if profile == "swift" else asked.encode()
    for head in heads:
        assert head.fields.get(b"access-control-request-headers", ()) == ((expected,) if expected else ())
        assert head.fields[b"origin"] == (b"https://app.test",)
        assert b"authorization" not in head.fields


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "POST", "DELETE"])
@pytest_twisted.ensureDeferred
async def test_no_other_request_asks_for_more(method: str) -> None:
    """
    At Swift, a request that a client signed keeps the client's own headers.
    """
    harness = Harness(profile=PROFILES["swift"])
    target = "/test-bucket/key?uploads" if method == "POST" else "/test-bucket/key"
    unsigned = {"Origin": "https://app.test", "Access-Control-Request-Method": method, "Content-Length": "0"}

    response = await harness.request(Signer().head(method, target, {}, unsigned=unsigned)[0])
    await harness.close()

    assert response.status == 200
    assert [request.head.fields.get(b"access-control-request-headers") for request in harness.backend.requests] == [
        None
    ]
