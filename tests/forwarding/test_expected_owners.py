"""
Requests with the condition that a certain account owns the bucket, at storage systems that do not check the owner.

Source:
    "Verifying bucket ownership with bucket owner condition"; what Ceph 16.2, Swift 2.38 and versitygw 1.8 were seen to
    do; the sources of MinIO, Riak CS and Eucalyptus, which do not contain the headers.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.profiles.known import PROFILES
from tests.support.eucalyptus import CARRIERS, request
from tests.support.harness import Harness
from tests.support.signer import EMPTY, Signer
from tests.support.wire_cases import element

OWNER, OWNER_OF_SOURCE = "x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"
ACCOUNT = "123456789012"
IGNORING = ("ceph-rgw", "swift", "walrus-3.4", "osg-4.3", "walrusbackend-4.x", "riakcs", "minio")
LOOKING = ("generic", "versitygw")

DELETIONS = b"<Delete><Object><Key>a</Key></Object></Delete>"
COPY = {"x-amz-copy-source": "/test-bucket/a"}
REQUESTS: dict[str, tuple[str, str, dict[str, str], bytes]] = {
    "get": ("GET", "/test-bucket/k", {}, b""),
    "head": ("HEAD", "/test-bucket/k", {}, b""),
    "list": ("GET", "/test-bucket?list-type=2", {}, b""),
    "head of the bucket": ("HEAD", "/test-bucket", {}, b""),
    "acl": ("GET", "/test-bucket?acl", {}, b""),
    "put": ("PUT", "/test-bucket/k", {}, b"data"),
    "delete": ("DELETE", "/test-bucket/k", {}, b""),
    "delete many": ("POST", "/test-bucket?delete", {}, DELETIONS),
    "copy": ("PUT", "/test-bucket/k", COPY, b""),
    "delete the bucket": ("DELETE", "/test-bucket", {}, b""),
}


def test_every_profile_is_known_here() -> None:
    """
    A new profile states what its storage system does.
    """
    assert {name for name, profile in PROFILES.items() if profile.ignores_owners} == set(IGNORING)
    assert set(LOOKING) == PROFILES.keys() - set(IGNORING)


async def ask(
    profile: str, method: str, target: str, headers: dict[str, str], body: bytes = b"", **options: Any
) -> tuple[Any, Harness]:
    """
    Send a request signed with Signature V4.
    """
    harness = Harness(profile=PROFILES[profile], **options)
    unsigned = {"Content-Length": str(len(body))} if method in {"PUT", "POST"} else {}
    signed = dict(headers)
    if "delete" in target:
        signed["content-md5"] = base64.b64encode(hashlib.md5(body).digest()).decode()
    payload = hashlib.sha256(body).hexdigest() if body else EMPTY
    head = Signer().head(method, target, signed, payload=payload, unsigned=unsigned)[0]
    response = await harness.request(head + body, method=method)
    await harness.close()
    return response, harness


@pytest.mark.parametrize("value", [ACCOUNT, "", "somebody"])
@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("profile", IGNORING)
@pytest_twisted.ensureDeferred
async def test_it_is_refused(profile: str, name: str, value: str) -> None:
    """
    Reads are refused as well: the backend gets no request.
    """
    method, target, headers, body = REQUESTS[name]
    response, harness = await ask(profile, method, target, {**headers, OWNER: value}, body)

    assert response.status == 501
    assert harness.backend.requests == []
    if method != "HEAD":
        assert element(response.body, "Code") == "NotImplemented"
        assert element(response.body, "Header") == OWNER


@pytest.mark.parametrize("profile", IGNORING)
@pytest_twisted.ensureDeferred
async def test_the_owner_of_a_source(profile: str) -> None:
    """
    It is refused for a copy. For other operations S3 does not know the header.
    """
    method, target, headers, _ = REQUESTS["copy"]
    copied, copying = await ask(profile, method, target, {**headers, OWNER_OF_SOURCE: ACCOUNT})
    got, getting = await ask(profile, "DELETE", "/test-bucket/k", {OWNER_OF_SOURCE: ACCOUNT})

    assert (copied.status, element(copied.body, "Header")) == (501, OWNER_OF_SOURCE)
    assert copying.backend.requests == []
    assert got.status == 200
    assert len(getting.backend.requests) == 1


@pytest.mark.parametrize("profile", IGNORING)
@pytest.mark.parametrize(("method", "target"), [("GET", "/"), ("PUT", "/test-bucket")])
@pytest_twisted.ensureDeferred
async def test_what_has_no_such_condition(profile: str, method: str, target: str) -> None:
    """
    S3 ignores it if the bucket cannot have an owner yet, or if there is no bucket.
    """
    _, harness = await ask(profile, method, target, {OWNER: ACCOUNT})

    assert len(harness.backend.requests) == 1


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("profile", ["ceph-rgw", "walrus-3.4"])
@pytest_twisted.ensureDeferred
async def test_each_carrier(profile: str, carrier: str) -> None:
    """
    With each carrier.
    """
    harness = Harness(profile=PROFILES[profile], signature="v2")
    response = await harness.request(request("PUT", "/b/k", [(OWNER, ACCOUNT)], carrier))
    await harness.close()

    assert response is not None
    assert (response.status, element(response.body, "Code")) == (501, "NotImplemented")
    assert harness.backend.requests == []


@pytest.mark.parametrize("profile", IGNORING)
@pytest_twisted.ensureDeferred
async def test_in_a_presigned_query(profile: str) -> None:
    """
    There it is a header of that name: SDKs from before 2023 put it there.
    """
    harness = Harness(profile=PROFILES[profile])
    target = _presigned(f"/test-bucket/k?{OWNER}={ACCOUNT}")
    response = await harness.request(f"GET {target} HTTP/1.1\r\nHost: s3.example.test\r\n\r\n".encode())
    await harness.close()

    assert response.status == 501
    assert harness.backend.requests == []


def _presigned(target: str) -> str:
    signer = Signer()
    path, _, query = target.partition("?")
    # The signer adds no query itself: the names are signed in their order.
    name, _, value = query.partition("=")
    date = signer.now.strftime("%Y%m%dT%H%M%SZ")
    scope = f"{date[:8]}/us-east-1/s3/aws4_request"
    names = {
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": f"{signer.access_key_id}/{scope}",
        "X-Amz-Date": date,
        "X-Amz-Expires": "600",
        "X-Amz-SignedHeaders": "host",
        name: value,
    }
    text = "&".join(f"{key}={quote(item, safe='')}" for key, item in sorted(names.items()))
    canonical = f"GET\n{path}\n{text}\nhost:{signer.host}\n\nhost\nUNSIGNED-PAYLOAD"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    signature = signer._sign(f"AWS4-HMAC-SHA256\n{date}\n{scope}\n{digest}")
    return f"{path}?{text}&X-Amz-Signature={signature}"


@pytest.mark.parametrize("profile", LOOKING)
@pytest.mark.parametrize("name", ["get", "put", "delete", "copy"])
@pytest_twisted.ensureDeferred
async def test_who_looks_gets_it(profile: str, name: str) -> None:
    """
    Unchanged.
    """
    method, target, headers, body = REQUESTS[name]
    both = {OWNER: ACCOUNT, **({OWNER_OF_SOURCE: "other"} if name == "copy" else {})}
    _, harness = await ask(profile, method, target, {**headers, **both}, body)

    (sent,) = harness.backend.requests
    assert {key: sent.head.fields.value(key.encode()) for key in both} == {key: both[key].encode() for key in both}


@pytest.mark.parametrize(("conditions", "is_sent"), [("refuse", False), ("check", False), ("pass", True)])
@pytest_twisted.ensureDeferred
async def test_the_option(conditions: str, is_sent: bool) -> None:
    """
    ``pass`` is for a storage system that has learned the condition; no HEAD can check it.
    """
    for name in ("get", "put", "copy"):
        method, target, headers, body = REQUESTS[name]
        response, harness = await ask("ceph-rgw", method, target, {**headers, OWNER: "x"}, body, conditions=conditions)

        assert (response.status == 200) is is_sent
        assert [sent.head.fields.value(OWNER.encode()) for sent in harness.backend.requests] == [b"x"] * is_sent
