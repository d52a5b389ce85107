"""
The digest of an operation's document: which clients must send one, and which backends get one that no client sent.

Source:
    The operations of "Amazon S3 API Reference"; s3cmd and boto 2 for what S3 takes without a digest.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from typing import Any

import pytest
import pytest_twisted

from s3proxy.mending.documents import write_document
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.operation import OPERATIONS, BodyUse
from tests.support.carriers import v2
from tests.support.harness import Harness
from tests.support.signer import Signer
from tests.support.wire_cases import element

DOCUMENT = b"<Delete><Object><Key>a</Key></Object></Delete>"
WRITTEN_ANEW = {
    "acl": ("PutBucketAcl", b"<AccessControlPolicy><AccessControlList/></AccessControlPolicy>"),
    "cors": (
        "PutBucketCors",
        (
            b"<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
            b"</CORSConfiguration>"
        ),
    ),
    "delete": ("DeleteObjects", DOCUMENT),
    "lifecycle": (
        "PutBucketLifecycleConfiguration",
        (
            b"<LifecycleConfiguration><Rule><Filter/><Status>Enabled</Status><Expiration><Days>1</Days></Expiration></Rule>"
            b"</LifecycleConfiguration>"
        ),
    ),
    "tagging": ("PutBucketTagging", b"<Tagging><TagSet/></Tagging>"),
    "versioning": (
        "PutBucketVersioning",
        b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
    ),
}
"""
By sub-resource: documents that s3proxy rewrites for a storage system that misreads them.
"""


def md5(document: bytes) -> str:
    return base64.b64encode(hashlib.md5(document).digest()).decode()


def crc32(document: bytes) -> str:
    return base64.b64encode(zlib.crc32(document).to_bytes(4, "big")).decode()


MD5, CRC32 = md5(DOCUMENT), crc32(DOCUMENT)
ASKED = ("cors", "lifecycle", "object-lock", "replication", "tagging")
NOT_ASKED = (
    "accelerate",
    "acl",
    "encryption",
    "logging",
    "notification",
    "ownershipControls",
    "policy",
    "publicAccessBlock",
    "requestPayment",
    "versioning",
    "website",
)
OF_OBJECTS = ("acl", "legal-hold", "retention", "tagging")


def put(target: str, headers: dict[str, str] | None = None, body: bytes = DOCUMENT, method: str = "PUT") -> bytes:
    """
    Return an operation with a document, signed with Signature V4.
    """
    payload = hashlib.sha256(body).hexdigest()
    length = {"Content-Length": str(len(body))}
    return Signer().head(method, target, headers, payload=payload, unsigned=length)[0] + body


async def ask(request: bytes, **options: Any) -> tuple[Any, Harness]:
    """
    Send one request to a new proxy.
    """
    harness = Harness(**options)
    response = await harness.request(request)
    await harness.close()
    return response, harness


@pytest.mark.parametrize("name", ASKED)
@pytest_twisted.ensureDeferred
async def test_a_digest_is_asked_for(name: str) -> None:
    """
    Without one S3 refuses these, whatever the signature. With Content-MD5 or a checksum they are sent on.
    """
    target = f"/test-bucket?{name}"
    for request in (put(target), v2("PUT", f"/test-bucket/?{name}", f"/test-bucket/?{name}", body=DOCUMENT)):
        whole = request if isinstance(request, bytes) else request.head + request.body
        if not isinstance(request, bytes) and name in {"object-lock", "replication"}:
            # Signature V2 is older than checksums: it covers none.
            continue
        response, harness = await ask(whole)
        assert (response.status, element(response.body, "Code")) == (400, "InvalidRequest")
        assert harness.backend.requests == []
    for header in ({"content-md5": MD5}, {"x-amz-checksum-crc32": CRC32}):
        response, _ = await ask(put(target, header))
        assert response.status == 200


@pytest.mark.parametrize("name", NOT_ASKED)
@pytest_twisted.ensureDeferred
async def test_no_digest_is_asked_for(name: str) -> None:
    """
    s3cmd, boto 2 and Java v1 send these without one; the backend still gets Content-MD5.
    """
    response, harness = await ask(put(f"/test-bucket?{name}"))

    assert response.status == 200
    assert harness.backend.requests[0].head.fields[b"content-md5"] == (MD5.encode(),)


@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("profile", ["generic", "minio", "versitygw", "ceph-rgw", "swift", "riakcs", "osg-4.3"])
@pytest_twisted.ensureDeferred
async def test_the_backend_gets_content_md5(profile: str, signature: str) -> None:
    """
    A client of today sends only a checksum. Each backend gets the MD5 as well, and none gets two.
    """
    taken = PROFILES[profile].taken_operations
    requests = [
        ("POST", "/test-bucket?delete", "DeleteObjects"),
        ("PUT", "/test-bucket?cors", "PutBucketCors"),
        ("PUT", "/test-bucket?lifecycle", "PutBucketLifecycleConfiguration"),
        ("PUT", "/test-bucket?tagging", "PutBucketTagging"),
        ("PUT", "/test-bucket?policy", "PutBucketPolicy"),
        ("PUT", "/test-bucket?versioning", "PutBucketVersioning"),
        ("PUT", "/test-bucket?acl", "PutBucketAcl"),
        *(("PUT", f"/test-bucket/k?{name}", "") for name in OF_OBJECTS),
    ]
    has_tags = "PutObjectTagging" in taken
    of_objects = {"acl"} | ({"tagging"} if has_tags else set())
    of_objects |= {"legal-hold", "retention"} if "PutObjectRetention" in taken else set()
    harness = Harness(profile=PROFILES[profile], signature=signature)
    for method, target, name in requests:
        if name and name not in taken:
            continue
        body = sent = DOCUMENT
        if PROFILES[profile].misreads_documents and (is_written := WRITTEN_ANEW.get(target.partition("?")[2])):
            operation, body = is_written
            sent = write_document(OPERATIONS[operation], body) or b""
        for headers in ({"x-amz-checksum-crc32": crc32(body)}, {"content-md5": md5(body)}):
            count = len(harness.backend.requests)
            await harness.request(put(target, headers, body, method))
            assert len(harness.backend.requests) == count + (
                name != "" or target.removeprefix("/test-bucket/k?") in of_objects
            )
            for request in harness.backend.requests[count:]:
                assert request.head.fields[b"content-md5"] == (md5(sent).encode(),)
                assert request.body == sent
                authorization = request.head.fields.value(b"authorization") or b""
                assert (b"content-md5" in authorization) == (signature == "v4")
    await harness.close()
    assert len(harness.backend.requests) >= 2


@pytest_twisted.ensureDeferred
async def test_what_gets_no_content_md5() -> None:
    """
    Objects, parts, copies, CompleteMultipartUpload, and requests without a body.
    """
    parts = b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>"
    harness = Harness()
    for request in (
        put("/test-bucket/k"),
        put("/test-bucket/k?partNumber=1&uploadId=u"),
        put("/test-bucket/k?uploads", body=b"", method="POST"),
        put("/test-bucket/k?uploadId=u", body=parts, method="POST"),
        put("/test-bucket/k?restore", body=b"<RestoreRequest/>", method="POST"),
        put("/test-bucket", body=b""),
        put("/test-bucket?acl", {"x-amz-acl": "private"}, body=b""),
    ):
        await harness.request(request)
    await harness.close()

    assert len(harness.backend.requests) == 7
    assert not any(b"content-md5" in request.head.fields for request in harness.backend.requests)


@pytest.mark.parametrize("name", ["versioning", "website", "logging", "requestPayment", "publicAccessBlock"])
@pytest_twisted.ensureDeferred
async def test_a_configuration_is_a_document(name: str) -> None:
    """
    Without a body there is no configuration.
    """
    response, harness = await ask(put(f"/test-bucket?{name}", body=b""))

    assert (response.status, element(response.body, "Code")) == (400, "MissingRequestBodyError")
    assert harness.backend.requests == []


def test_every_operation_with_a_digest_may_need_md5() -> None:
    """
    An operation that requires a digest has a document, and older storage systems accept no other digest of it.
    """
    for operation in OPERATIONS.values():
        if operation.requires_integrity:
            assert operation.requires_document
            assert operation.may_need_md5
        if operation.may_need_md5:
            assert operation.body is BodyUse.DOCUMENT
