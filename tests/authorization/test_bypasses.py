"""
Attempts to get past the rules of a key. In each of them, the key may use the keys of the bucket ``mine`` that begin
with ``in/``, and nothing else.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from pytest_twisted import ensureDeferred

from s3proxy.profiles.known import PROFILES
from s3proxy.s3.operation import OPERATIONS
from tests.authorization.asked import KEY_ID, LIST, ask, client, request_for, xml
from tests.support import deletions
from tests.support.carriers import v2, v2_query
from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.harness import Harness, turns
from tests.support.signer import SignedRequest, Signer

RULES = ("*:mine/in/*",)


async def refused(request: bytes, *, allow: tuple[str, ...] | None = RULES, **options: Any) -> None:
    """
    Send a request; it must be refused as one that is not allowed, before anything reaches the backend.
    """
    response, harness = await ask(request, allow=allow, **options)
    assert response.status == 403, (response.status, response.body)
    assert harness.backend.requests == []
    assert harness.backend.connections == []


async def allowed(request: bytes, *, allow: tuple[str, ...] | None = RULES, **options: Any) -> Harness:
    """
    Send a request; it must pass.
    """
    response, harness = await ask(request, allow=allow, **options)
    assert response.status in {200, 204}, (response.status, response.body)
    assert len(harness.backend.requests) == 1
    return harness


def get(target: str, method: str = "GET", **options: Any) -> bytes:
    return Signer(**options).head(method, target)[0]


@pytest.mark.parametrize(
    "target", ["/mine/in/key", "/mine/in/%61", "/min%65/in/key", "/mine/%69n/key", "/mine%2Fin/key"]
)
@ensureDeferred
async def test_what_the_rule_is_about_passes(target: str) -> None:
    await allowed(get(target))


@pytest.mark.parametrize(
    "target",
    [
        "/mine/secret",
        "/mine/%73ecret",
        "/mine/in",
        "/mine/In/key",
        "/mine/IN/key",
        "/mine/i%6E",
        "/mine%2Fsecret",
        "/other/in/key",
        "/MINE/in/key",
        "/mine//in/key",
        "/mine/%2Fin/key",
        "/mine/%252569n/key",
    ],
)
@ensureDeferred
async def test_other_spellings_of_a_key(target: str) -> None:
    """
    A rule is about the bytes of a key as the backend decodes them, in one case, with every slash.
    """
    await refused(get(target))


@pytest.mark.parametrize(
    "key", ["in/../secret", "in/%2E%2E/secret", "in/x/../../secret", "in/./../secret", "in/..", "in/../../other/in/key"]
)
@ensureDeferred
async def test_a_key_that_a_backend_could_resolve(key: str) -> None:
    """
    Some backends keep objects as files, and resolve ``..``: the key must be allowed under both readings.
    """
    await refused(get(f"/mine/{key}"))


@pytest.mark.parametrize(
    "key", ["in/./key", "in//key", "in/x/../key", "in/.hidden", "in/..hidden", "in/folder/", "in/a.b"]
)
@ensureDeferred
async def test_a_key_that_is_allowed_under_both_readings(key: str) -> None:
    await allowed(get(f"/mine/{key}"))


@pytest.mark.parametrize("key", ["x//secret", "x/../secret", "./secret"])
@ensureDeferred
async def test_a_denied_key_that_a_backend_could_resolve(key: str) -> None:
    await refused(get(f"/mine/{key}"), allow=None, deny=("read:mine/secret", "read:mine/x/secret"))


@ensureDeferred
async def test_a_key_that_ends_early_in_c() -> None:
    """
    A backend in C may end a key at a zero byte, so that it reads a key that is denied.
    """
    await refused(get("/mine/secret%00"), allow=None, deny=("read:mine/secret",))


@pytest.mark.parametrize("bucket", [":secret", "%3Asecret", "tenant:secret", "tenant%3asecret"])
@ensureDeferred
async def test_a_bucket_with_its_tenant(bucket: str) -> None:
    """
    Ceph reads a tenant before a colon; an empty one, or the client's own, names the bucket itself.
    """
    await refused(get(f"/{bucket}/key"), allow=None, deny=("*:secret",))


@ensureDeferred
async def test_a_bucket_in_the_host_name() -> None:
    """
    The bucket of a virtual-hosted request is the one of the host name, whatever the path begins with.
    """
    await refused(get("/mine/in/key", host="other.s3.example.test"))
    await allowed(get("/in/key", host="mine.s3.example.test"))
    await refused(get("/mine/in/key", host="mine.s3.example.test"))


@pytest.mark.parametrize(
    "source",
    ["/other/in/key", "mine/secret", "/mine/secret", "mine%2Fsecret", "/mine/in%2F..%2Fsecret", "other/x?versionId=1"],
)
@pytest.mark.parametrize("name", ["CopyObject", "UploadPartCopy"])
@ensureDeferred
async def test_the_source_of_a_copy(name: str, source: str) -> None:
    await refused(request_for(OPERATIONS[name], source=source))


@ensureDeferred
async def test_the_source_of_a_copy_is_only_read() -> None:
    """
    To write a key does not mean to read one, and to read the current version does not mean to read every version.
    """
    copy = OPERATIONS["CopyObject"]
    await refused(request_for(copy), allow=("write:mine/in/*",))
    rules = ("write:mine/in/*", "s3:GetObject:mine/in/*")
    await allowed(request_for(copy), allow=rules)
    await refused(request_for(copy, source="/mine/in/source?versionId=1"), allow=rules)


@ensureDeferred
async def test_a_copy_from_an_access_point() -> None:
    """
    Which bucket an access point stands for is not known here.
    """
    arn = "arn:aws:s3:us-east-1:123456789012:accesspoint/mine/object/in/key"
    await refused(request_for(OPERATIONS["CopyObject"], source=arn))


@pytest.mark.parametrize(
    "name",
    ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload", "AbortMultipartUpload", "ListParts"],
)
@ensureDeferred
async def test_a_multipart_upload_of_another_key(name: str) -> None:
    await refused(request_for(OPERATIONS[name], key="secret"))
    await allowed(request_for(OPERATIONS[name]))


@pytest.mark.parametrize("key", ["secret", "IN/key", "${filename}"])
@pytest.mark.parametrize("fields", [v4_fields, v2_fields], ids=("v4", "v2"))
@ensureDeferred
async def test_the_key_of_a_form(fields: Any, key: str) -> None:
    """
    The key of a form is in its fields, not in its path; the name of the file may be a part of it.
    """
    conditions = [["starts-with", "$key", ""]]
    request = form_request(multipart(fields(conditions, key=key), b"hello"))
    await refused(request.head + request.body, allow=("*:test-bucket/in/*",))


@ensureDeferred
async def test_a_form_for_a_key_that_is_allowed() -> None:
    request = form_request(multipart(v4_fields([["starts-with", "$key", ""]], key="in/x"), b"hello"))
    await allowed(request.head + request.body, allow=("*:test-bucket/in/*",))


@ensureDeferred
async def test_delete_objects_deletes_only_what_is_allowed() -> None:
    """
    The backend gets a document of the allowed keys only; the response tells of both kinds.
    """
    keys = ("in/a", "secret", "in/../secret", "in/b&<>", "IN/c")
    result = b'<DeleteResult xmlns="x"><Deleted><Key>in/a</Key></Deleted></DeleteResult>'
    response, harness = await ask(
        deletions.request(deletions.document(*keys), "/mine?delete"), xml(result), allow=RULES
    )
    (sent,) = harness.backend.requests
    assert [part.split(b"</Key>")[0] for part in sent.body.split(b"<Key>")[1:]] == [b"in/a", b"in/b&amp;&lt;&gt;"]
    assert response.status == 200
    errors = response.body.split(b"<Error>")[1:]
    assert [error.split(b"</Key>")[0] for error in errors] == [b"<Key>secret", b"<Key>in/../secret", b"<Key>IN/c"]
    assert all(b"<Code>AccessDenied</Code>" in error for error in errors)
    assert b"<Deleted><Key>in/a</Key></Deleted>" in response.body


@pytest.mark.parametrize(
    "result", [b"<DeleteResult/>", b'<DeleteResult xmlns="x" />', b"<s:DeleteResult xmlns:s='x'></s:DeleteResult>"]
)
@ensureDeferred
async def test_delete_objects_that_is_quiet_tells_of_errors(result: bytes) -> None:
    document = deletions.document("in/a", "secret", is_quiet=True)
    response, harness = await ask(deletions.request(document, "/mine?delete"), xml(result), allow=RULES)
    assert b"<Quiet>true</Quiet>" in harness.backend.requests[0].body
    prefix = b"s:" if result.startswith(b"<s:") else b""
    assert response.body.endswith(b"</%sError></%sDeleteResult>" % (prefix, prefix))
    assert b"<%sKey>secret</%sKey>" % (prefix, prefix) in response.body


@pytest.mark.parametrize("result", [b"", b"x", b"<Other/>", b"<DeleteResult>"])
@ensureDeferred
async def test_delete_objects_with_a_result_that_cannot_be_read(result: bytes) -> None:
    """
    The client must not take a response without our errors for the whole result.
    """
    document = deletions.document("in/a", "secret")
    response, _ = await ask(deletions.request(document, "/mine?delete"), xml(result), allow=RULES)
    assert response.status == 500


@ensureDeferred
async def test_delete_objects_of_nothing_that_is_allowed() -> None:
    request = deletions.request(deletions.document("secret", "other"), "/mine?delete")
    response, harness = await ask(request, allow=RULES)
    assert (response.status, response.body.count(b"<Code>AccessDenied</Code>")) == (200, 2)
    assert harness.backend.requests == []


@ensureDeferred
async def test_delete_objects_of_versions() -> None:
    """
    The deletion of a version is another action than that of an object.
    """
    document = b"<Delete>%s</Delete>" % b"".join(
        b"<Object><Key>in/%d</Key>%s</Object>" % (number, version)
        for number, version in enumerate((b"", b"<VersionId>v</VersionId>"))
    )
    request = deletions.request(document, "/mine?delete")
    response, harness = await ask(request, xml(b"<DeleteResult/>"), allow=("s3:DeleteObject:mine/in/*",))
    assert b"VersionId" not in harness.backend.requests[0].body
    assert b"<Key>in/1</Key><VersionId>v</VersionId><Code>AccessDenied" in response.body


@ensureDeferred
async def test_delete_objects_keeps_conditions() -> None:
    """
    A document that is written anew keeps what its client relies on.
    """
    document = b"<Delete><Object><Key>in/a</Key><ETag>e</ETag></Object><Object><Key>b</Key></Object></Delete>"
    request = deletions.request(document, "/mine?delete")
    _, harness = await ask(request, xml(b"<DeleteResult/>"), allow=RULES)
    assert b"<Object><Key>in/a</Key><ETag>e</ETag></Object>" in harness.backend.requests[0].body


@ensureDeferred
async def test_delete_objects_at_a_backend_that_deletes_one_by_one() -> None:
    keys = deletions.document("in/a", "secret", "in/b")
    response, harness = await ask(
        deletions.request(keys, "/mine?delete"), allow=RULES, profile=PROFILES["walrus-3.4"], signature="v2"
    )
    assert [request.head.raw_path for request in harness.backend.requests if b"secret" in request.head.raw_path] == []
    assert len(harness.backend.requests) == 2
    assert response.body.count(b"<Code>AccessDenied</Code>") == 1


LISTS = ("", "list-type=2", "versions", "uploads")


@pytest.mark.parametrize(
    "prefix", ["", "prefix=", "prefix=i", "prefix=in", "prefix=IN%2F", "prefix=secret", "prefix=%252Fin/"]
)
@pytest.mark.parametrize("listing", LISTS)
@ensureDeferred
async def test_a_list_with_the_prefix_of_a_prefix(listing: str, prefix: str) -> None:
    """
    A list is allowed only if every name in it would be.
    """
    query = "&".join(filter(None, [listing, prefix]))
    await refused(get(f"/mine?{query}"), allow=("list:mine/in/*",))


@pytest.mark.parametrize("prefix", ["in/", "in%2F", "%69n/", "in/x"])
@pytest.mark.parametrize("listing", LISTS)
@ensureDeferred
async def test_a_list_below_the_prefix(listing: str, prefix: str) -> None:
    await allowed(get("/mine?" + "&".join(filter(None, [listing, f"prefix={prefix}"]))), allow=("list:mine/in/*",))


@ensureDeferred
async def test_a_list_with_two_prefixes() -> None:
    """
    One reader takes the first prefix, another the last.
    """
    response, harness = await ask(get("/mine?prefix=in/&prefix="), allow=("list:mine/in/*",))
    assert response.status in {400, 403}
    assert harness.backend.requests == []


@pytest.mark.parametrize("prefix", ["", "prefix=", "prefix=se", "prefix=secret", "prefix=secret/x"])
@ensureDeferred
async def test_a_list_that_could_show_what_is_denied(prefix: str) -> None:
    await refused(get(f"/mine?list-type=2&{prefix}"), allow=None, deny=("list:mine/secret*",))
    await allowed(get("/mine?list-type=2&prefix=in/"), allow=None, deny=("list:mine/secret*",))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@ensureDeferred
async def test_the_list_of_buckets(method: str) -> None:
    response, harness = await ask(get("/", method), xml(LIST), allow=RULES)
    if method == "HEAD":
        assert (response.status, harness.backend.requests) == (403, [])
    else:
        buckets = b"<Buckets><Bucket><Name>mine</Name></Bucket></Buckets>"
        assert response.body == b"<ListAllMyBucketsResult>%s</ListAllMyBucketsResult>" % buckets


@pytest.mark.parametrize("content", [b"", b"x", b"<Other><Bucket><Name>other</Name></Bucket></Other>", LIST[:-9]])
@ensureDeferred
async def test_a_list_of_buckets_that_cannot_be_read(content: bytes) -> None:
    response, _ = await ask(get("/"), xml(content), allow=RULES)
    assert (b"other" in response.body, response.status) == (False, 500)


@ensureDeferred
async def test_a_version() -> None:
    """
    To read the current version does not mean to read, or delete, every version.
    """
    rules = ("s3:GetObject:mine/in/*", "s3:DeleteObject:mine/in/*")
    for method in ("GET", "HEAD", "DELETE"):
        await refused(get("/mine/in/key?versionId=v", method), allow=rules)
        await refused(get("/mine/in/key?version%49d=null", method), allow=rules)
        await allowed(get("/mine/in/key", method), allow=rules)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("x-amz-acl", "public-read"),
        ("x-amz-grant-read", 'uri="x"'),
        ("x-amz-tagging", "a=b"),
        ("x-amz-object-lock-mode", "COMPLIANCE"),
        ("x-amz-object-lock-retain-until-date", "2030-01-01T00:00:00Z"),
        ("x-amz-object-lock-legal-hold", "ON"),
        ("x-amz-bypass-governance-retention", "true"),
    ],
)
@pytest.mark.parametrize("name", ["PutObject", "CopyObject", "CreateMultipartUpload"])
@ensureDeferred
async def test_a_header_that_does_what_a_subresource_does(name: str, header: str, value: str) -> None:
    rules = ("s3:PutObject:mine/in/*", "s3:GetObject:mine/in/*")
    request = request_for(OPERATIONS[name], headers={header: value})
    await refused(request, allow=rules)
    await allowed(request, allow=(*rules, "*:mine/in/*"))


@pytest.mark.parametrize("header", ["x-amz-acl", "x-amz-bucket-object-lock-enabled", "x-amz-object-ownership"])
@ensureDeferred
async def test_a_header_that_configures_a_new_bucket(header: str) -> None:
    request = request_for(OPERATIONS["CreateBucket"], headers={header: "true"})
    await refused(request, allow=("s3:CreateBucket:mine",))
    await allowed(request, allow=("configure:mine",))


@ensureDeferred
async def test_an_archive_that_is_unpacked() -> None:
    """
    MinIO unpacks such an archive, and writes keys that no rule was asked about.
    """
    request = request_for(OPERATIONS["PutObject"], headers={"x-amz-meta-snowball-auto-extract": "true"})
    await refused(request)
    await allowed(request, allow=("write:mine",))


@ensureDeferred
async def test_the_protection_of_versions_is_not_bypassed_by_a_writer() -> None:
    document = deletions.document("in/a")
    request = deletions.request(document, "/mine?delete", x_amz_bypass_governance_retention="true")
    await refused(request, allow=("delete:mine/*", "write:mine/*"))
    request = Signer().head("DELETE", "/mine/in/a", {"x-amz-bypass-governance-retention": "true"})[0]
    await refused(request, allow=("delete:mine/*", "write:mine/*"))


@ensureDeferred
async def test_a_presigned_request() -> None:
    signer = Signer()
    for target, is_allowed in (("/mine/in/key", True), ("/mine/secret", False), ("/other/in/key", False)):
        request = f"GET {signer.presign('GET', target)} HTTP/1.1\r\nHost: {signer.host}\r\n\r\n".encode()
        await (allowed if is_allowed else refused)(request)


@ensureDeferred
async def test_headers_in_a_presigned_query() -> None:
    """
    Parameters of a presigned query are headers, so they need what those headers need.
    """
    signer = Signer()
    query = signer.presign("PUT", "/mine/in/key?x-amz-acl=public-read")
    request = f"PUT {query} HTTP/1.1\r\nHost: {signer.host}\r\nContent-Length: 0\r\n\r\n".encode()
    await refused(request, allow=("s3:PutObject:mine/in/*",))
    query = signer.presign("PUT", "/mine/in/key?x-amz-copy-source=%2Fother%2Fkey")
    request = f"PUT {query} HTTP/1.1\r\nHost: {signer.host}\r\nContent-Length: 0\r\n\r\n".encode()
    await refused(request)


@ensureDeferred
async def test_signature_v2() -> None:
    for key, is_allowed in (("in/key", True), ("secret", False)):
        request = v2("GET", f"/mine/{key}", f"/mine/{key}")
        await (allowed if is_allowed else refused)(request.head)
    target = "/mine/secret"
    await refused(v2_query(target, f"GET\n\n\n1772366460\n{target}").head)
    copy = v2(
        "PUT", "/mine/in/key", "/mine/in/key", "x-amz-copy-source: /other/key\r\n", "x-amz-copy-source:/other/key\n"
    )
    await refused(copy.head)


@ensureDeferred
async def test_signature_v4a() -> None:
    from tests.support.carriers import signed_by

    request: SignedRequest = signed_by("v4a-header")
    await refused(request.head + request.body, allow=("*:test-bucket/in/*",))
    await allowed(request.head + request.body, allow=("*:test-bucket/*",))


@ensureDeferred
async def test_a_subresource_is_an_action_of_its_own() -> None:
    """
    To write objects does not mean to make them public; to read them does not mean to read who may.
    """
    await refused(get("/mine/in/key?acl"), allow=("s3:GetObject:mine/in/*",))
    await refused(request_for(OPERATIONS["PutObjectAcl"]), allow=("s3:PutObject:mine/in/*",))
    await refused(
        request_for(OPERATIONS["PutBucketPolicy"]), allow=("write:mine", "read:mine", "list:mine", "delete:mine")
    )
    await refused(request_for(OPERATIONS["PutBucketPolicy"]), allow=("configure:mine/in/*",))


@ensureDeferred
async def test_a_rule_that_cannot_be_read_allows_nothing() -> None:
    """
    An application's own store may return what no source would accept.
    """
    for restriction in ({"allow": ("reed:mine/*",)}, {"deny": ("x",)}, {"networks": ("127.0.0.1/33",)}):
        harness = Harness(credentials=client(**restriction))
        response = await harness.request(get("/mine/in/key"))
        await turns(3)
        await harness.close()
        assert response.status == 500
        assert harness.backend.requests == []
        assert KEY_ID.decode() not in json.dumps(response.body.decode())
