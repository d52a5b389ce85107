"""
The quirks of Walrus 3.4.2, WalrusBackend 4.3.1.1 and the object storage gateway 4.3.1.1, as they were seen there: how
each shows at the stand-in, and what a client of s3proxy should see. `tests/mending/test_profiles.py` runs them.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote, unquote
from xml.etree import ElementTree

from s3proxy.multipart.records import StoreLimits
from s3proxy.multipart.store import MultipartStore
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.support.harness import NOW, Harness, until
from tests.support.legacy import DATE, KEY, SECRET, code, complete, found, md5_header
from tests.support.signer import Signer

BODY = b"0123456789"
MOST_COPIED = (1 << 31) - 1
ETAG = hashlib.md5(BODY).hexdigest()
S3 = "http://s3.amazonaws.com/doc/2006-03-01/"
NAMESPACE = b'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
VERSIONING = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"

Trial = Callable[[Any], Awaitable[None]]


async def ask_raw(pair: Any, data: bytes, *, lasts: bool = False) -> tuple[FaultyClient, bytes]:
    """
    Send bytes to the store; return the connection and all bytes that arrived up to the end of a head, or of the
    connection.
    """
    client: FaultyClient = await pair.store.connect()
    client.send(data)
    if lasts:
        await client.until(lambda: b"\r\n\r\n" in client.received)
    else:
        await until(lambda: client.lost is not None)
    return client, client.received


async def keeps(pair: Any, client: FaultyClient) -> bool:
    """
    Return True if a connection serves another request.
    """
    client.received = b""
    client.send(pair.store.head("GET", "/b/k", {}))
    await until(lambda: b"\r\n\r\n" in client.received or client.lost)
    return client.lost is None


def put(pair: Any, key: str, body: bytes = b"", bucket: str = "b") -> None:
    """
    Put an object into the store directly, without a request.
    """
    incoming = pair.store.store.objects.receive()
    incoming.write(body)
    folder = pair.store.store.objects.bucket(bucket)
    folder.create()
    folder.put(key, incoming, 0.0, {})


def keys(pair: Any, bucket: str = "b") -> list[str]:
    """
    Return the keys of a bucket in the store.
    """
    return [stored.key for stored in pair.store.store.objects.bucket(bucket).objects()]


async def is_refused(pair: Any, expected: tuple[int, str], *request: Any, **headers: str) -> None:
    """
    Check that s3proxy refuses a request, and sends the store nothing.
    """
    counts = pair.counts
    response: Response = await pair.through(*request, **headers)
    assert (response.status, code(response)) == expected
    assert (pair.counts, pair.stored()) == (counts, BODY)


# Errors, and heads without documents


async def three_error_forms_straight(pair: Any) -> None:
    client, missing = await ask_raw(pair, pair.store.head("GET", "/b/missing", {}), lasts=True)
    await client.until(lambda: b"</Error>" in client.received)
    missing = client.received
    assert b"\r\nContent-Type: application/xml\r\n" in missing
    assert b"<Error " + NAMESPACE in missing
    assert b"<Resource>missing</Resource><RequestId>" in missing
    assert await keeps(pair, client)
    _, denied = await ask_raw(pair, pair.store.head("GET", "/b/k", {}, secret="wrong"))
    assert b"\r\nContent-Type: text/xml; charset=UTF-8\r\n" in denied
    assert b"<Error><Code>AccessDenied</Code>" in denied
    _, outside = await ask_raw(pair, pair.store.head("GET", "", {}).replace(b"/services/", b"/elsewhere/", 1))
    assert b"\r\nContent-Type: text/plain; charset=UTF-8\r\n" in outside
    assert b"<Response><Errors><Error><Code>404 Not Found</Code>" in outside


async def three_error_forms_through(pair: Any) -> None:
    for target, expected in (("/b/missing", "NoSuchKey"), ("/none", "NoSuchBucket")):
        response = await pair.through("GET", target)
        assert (response.status, code(response)) == (404, expected)
        assert b"<Error>" in response.body
        assert found(response, "Message") != []


async def head_documents_straight(pair: Any) -> None:
    head = pair.store.head("HEAD", "/b/k", {}, secret="wrong")
    _, received = await ask_raw(pair, head)
    assert received.startswith(b"HTTP/1.1 403 ")
    assert b"\r\n\r\n<" in received
    assert b"</Error>" in received


async def head_documents_through(pair: Any) -> None:
    """
    The client reads the status, and the bytes after the head belong to no response. Only the gateway says that it
    refuses s3proxy's own signature.
    """
    keys, pair.store.store._keys = pair.store.store._keys, {}
    response = await pair.through("HEAD", "/b/k")
    assert (response.status, response.body) == (500 if pair.mode == "osg-4.3" else 403, b"")
    pair.store.store._keys = keys
    assert (await pair.through("GET", "/b/k")).body == BODY


async def bare_heads_straight(pair: Any) -> None:
    for method, path, status in (("HEAD", "/b/missing", b"404 Not Found"), ("HEAD", "/b", b"200 OK")):
        client, received = await ask_raw(pair, pair.store.head(method, path, {}), lasts=True)
        assert received == b"HTTP/1.1 %s\r\n\r\n" % status
        assert await keeps(pair, client)
    _, created = await ask_raw(pair, pair.store.head("PUT", "/new-bucket", {"content-length": "0"}))
    assert created == b"HTTP/1.1 200 OK\r\n\r\n"


async def bare_heads_through(pair: Any) -> None:
    responses = [
        await pair.through("HEAD", "/b/missing"),
        await pair.through("HEAD", "/b"),
        await pair.through("HEAD", "/none"),
        await pair.through("PUT", "/new-bucket"),
    ]
    assert [(response.status, response.body) for response in responses] == [
        (404, b""),
        (200, b""),
        (404, b""),
        (200, b""),
    ]


async def fault_responses_straight(pair: Any) -> None:
    response = await pair.straight("GET", "/b?max-keys=abc")
    if pair.quirks.fault_responses == "200":
        assert response.status == 200
        assert response.body.startswith(b"<ExceptionResponse ")
    else:
        assert (response.status, response.header("content-type")) == (400, "text/plain; charset=UTF-8")
    assert found(response, "Key") == []


async def fault_responses_through(pair: Any) -> None:
    """
    The disk is full: the client must not believe that its object is stored.
    """
    pair.store.store.objects._incoming.rmdir()
    stored = await pair.through("PUT", "/b/other", b"hello")
    pair.store.store.objects._incoming.mkdir()
    assert not pair.store.store.has_object("b", "other")
    assert (stored.status, code(stored)) == (500, "InternalError")


async def unknown_is_405_straight(pair: Any) -> None:
    responses = [
        await pair.straight("OPTIONS", "/b/k"),
        await pair.straight("PATCH", "/b/k"),
        await pair.straight("PUT", "/b?location", signed="location"),
    ]
    assert [(response.status, code(response)) for response in responses] == [(405, "UNKNOWN")] * 3
    cors = await pair.straight("GET", "/b?cors", signed="cors")
    assert (cors.status, code(cors)) == (501, "NotImplemented")


async def unknown_is_405_through(pair: Any) -> None:
    await is_refused(pair, (405, "MethodNotAllowed"), "PATCH", "/b/k")
    await is_refused(pair, (501, "NotImplemented"), "GET", "/b?cors")


async def refuses_posts_straight(pair: Any) -> None:
    for path in ("/b?delete", "/b", "/b/k"):
        response = await pair.straight("POST", path, b"<Delete/>")
        assert (response.status, response.header("content-type")) == (400, "text/plain; charset=UTF-8")


async def closes_after_heads_straight(pair: Any) -> None:
    _, received = await ask_raw(pair, pair.store.head("HEAD", "/b/k", {}))
    assert received.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"onnection" not in received


async def closes_after_heads_through(pair: Any) -> None:
    client: FaultyClient = await pair.harness.connect()
    for method in ("HEAD", "GET", "HEAD", "HEAD"):
        client.send(pair.request(method, "/b/k")[0])
        response = await client.response(method)
        assert response is not None
        assert (response.status, response.header("content-length")) == (200, "10")


# Reads


async def ranges_are_200_straight(pair: Any) -> None:
    """
    A client that takes the last number for the object's size has a whole object after its first part.
    """
    middle = await pair.straight("GET", "/b/k", headers={"Range": "bytes=2-4"})
    assert (middle.status, middle.header("content-range"), middle.body) == (200, "2-4/3", b"234")


async def reads_any_unit_straight(pair: Any) -> None:
    response = await pair.straight("GET", "/b/k", headers={"Range": "items=1"})
    assert response.body == BODY[1:]
    assert (response.header("content-range") or "").startswith("1-9/")


async def ranges_with_conditions_straight(pair: Any) -> None:
    put(pair, "empty")
    whole = await pair.straight("GET", "/b/k", headers={"If-Match": ETAG})
    empty = await pair.straight("GET", "/b/empty", headers={"If-None-Match": "other"})
    assert (whole.status, whole.header("content-range"), whole.body) == (200, "0-9/10", BODY)
    assert empty.status == 416


async def ranges_with_conditions_through(pair: Any) -> None:
    put(pair, "empty")
    for headers in ({"if_match": f'"{ETAG}"'}, {"if_none_match": '"other"'}):
        whole = await pair.through("GET", "/b/k", **headers)
        assert (whole.status, whole.header("content-range"), whole.body) == (200, None, BODY)
    empty = await pair.through("GET", "/b/empty", if_none_match='"other"')
    assert (empty.status, empty.body) == (200, b"")


async def heads_ignore_conditions_straight(pair: Any) -> None:
    response = await pair.straight("HEAD", "/b/k", headers={"If-Match": "other"})
    assert response.status == 200


async def heads_ignore_conditions_through(pair: Any) -> None:
    statuses = [
        (await pair.through("HEAD", "/b/k", **headers)).status
        for headers in ({"if_match": '"other"'}, {"if_none_match": f'"{ETAG}"'}, {"if_match": f'"{ETAG}"'})
    ]
    assert statuses == [412, 304, 200]


async def ranges_ignore_versions_straight(pair: Any) -> None:
    await pair.straight("PUT", "/b?versioning", VERSIONING, signed="versioning")
    await pair.straight("PUT", "/b/k", b"abcdefghij")
    ranged = await pair.straight("GET", "/b/k", headers={"Range": "bytes=0-3"})
    latest = await pair.straight("GET", "/b/k")
    version = latest.header("x-amz-version-id")
    query = f"versionId={version}"
    named = await pair.straight("GET", f"/b/k?{query}", signed=query, headers={"Range": "bytes=0-3"})
    assert (ranged.body, latest.body, named.status) == (b"0123", b"abcdefghij", 500)


async def ranges_ignore_versions_through(pair: Any) -> None:
    assert (await pair.through("PUT", "/b?versioning", VERSIONING, **md5_header(VERSIONING))).status == 200
    second = await pair.through("PUT", "/b/k", b"abcdefghij")
    version = second.header("x-amz-version-id")
    ranged = await pair.through("GET", "/b/k", range="bytes=0-3")
    named = await pair.through("GET", f"/b/k?versionId={version}", range="bytes=0-3")
    former = await pair.through("GET", "/b/k?versionId=null", range="bytes=0-3")
    responses = (ranged, named, former)
    assert [(response.status, response.body) for response in responses] == [
        (206, b"abcd"),
        (206, b"abcd"),
        (206, b"0123"),
    ]


async def unquoted_etags_straight(pair: Any) -> None:
    tags = [(await pair.straight(method, "/b/k")).header("etag") for method in ("GET", "HEAD")]
    listed = found(await pair.straight("GET", "/b"), "ETag")
    copied = found(await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/k"}), "ETag")
    stored = (await pair.straight("PUT", "/b/k", BODY)).header("etag")
    assert (tags, listed, copied, stored) == ([ETAG] * 2, [ETAG], [ETAG], f'"{ETAG}"')


async def unquoted_etags_through(pair: Any) -> None:
    quoted = f'"{ETAG}"'
    tags = [(await pair.through(method, "/b/k")).header("etag") for method in ("GET", "HEAD", "GET")]
    ranged = (await pair.through("GET", "/b/k", range="bytes=2-4")).header("etag")
    same = await pair.through("GET", "/b/k", range="bytes=2-4", if_range=quoted)
    lists = [found(await pair.through("GET", f"/b?{query}"), "ETag") for query in ("list-type=2", "max-keys=2")]
    copied = found(await pair.through("PUT", "/b/copy", x_amz_copy_source="/b/k"), "ETag")
    shown = [tag.replace("&quot;", '"') for tag in (*lists[0], *lists[1], *copied)]
    assert (tags, ranged, shown) == ([quoted] * 3, quoted, [quoted] * 3)
    assert (same.status, same.body) == (206, b"234")


async def lacks_accept_ranges_straight(pair: Any) -> None:
    assert (await pair.straight("GET", "/b/k")).header("accept-ranges") is None


# What an object keeps


async def keeps_few_headers_straight(pair: Any) -> None:
    headers = {"content-encoding": "gzip", "cache-control": "no-cache", "content-disposition": "attachment"}
    await pair.straight("PUT", "/b/k", BODY, headers={**headers, "expires": DATE, "content-language": "de"})
    got = await pair.straight("GET", "/b/k")
    assert [got.header(name) for name in headers] == [None, None, "attachment"]
    assert (got.header("expires"), got.header("content-language")) == (None, None)


async def keeps_few_headers_through(pair: Any) -> None:
    """
    A client that reads gzip as plain data gets other content: s3proxy refuses the object rather than storing it.
    """
    await is_refused(pair, (501, "NotImplemented"), "PUT", "/b/k", b"x", content_encoding="gzip")


async def keeps_meta_case_straight(pair: Any) -> None:
    head = pair.store.head("PUT", "/b/k", {"content-length": "1", "x-amz-meta-camelcase": "1"})
    client: FaultyClient = await pair.store.connect()
    client.send(head.replace(b"x-amz-meta-camelcase", b"x-amz-meta-CamelCase") + b"x")
    await client.response("PUT")
    got = await pair.straight("GET", "/b/k")
    assert ("x-amz-meta-CamelCase", "1") in got.headers


async def keeps_meta_case_through(pair: Any) -> None:
    await pair.through("PUT", "/b/k", BODY, **{"x-amz-meta-camelcase": "1"})
    assert (await pair.through("GET", "/b/k")).header("x-amz-meta-camelcase") == "1"


async def put_document_straight(pair: Any) -> None:
    response = await pair.straight("PUT", "/b/k", BODY)
    assert response.body.startswith(b"<PutObjectResponse " + NAMESPACE)
    assert (found(response, "ETag"), response.header("last-modified")) == ([ETAG], DATE)


async def put_document_through(pair: Any) -> None:
    response = await pair.through("PUT", "/b/k", BODY)
    assert (response.status, response.header("etag")) == (200, f'"{ETAG}"')


async def loses_long_values_straight(pair: Any) -> None:
    """
    The former object is destroyed: its length and its entity tag are returned with the new content.
    """
    new = await pair.straight("PUT", "/b/" + "k" * 256, b"x")
    gone = await pair.straight("GET", "/b/" + "k" * 256)
    replaced = await pair.straight("PUT", "/b/k", b"short", headers={"x-amz-meta-a": "z" * 256})
    client: FaultyClient = await pair.store.connect()
    client.send(pair.store.head("GET", "/b/k", {}))
    await until(lambda: client.lost is not None)
    assert (new.status, gone.status) == (200, 404)
    assert (replaced.status, replaced.header("etag")) == (200, f'"{ETAG}"')
    assert b"\r\nContent-Length: 10\r\n" in client.received
    assert client.received.endswith(b"\r\n\r\nshort")


async def long_values_through(pair: Any) -> None:
    await is_refused(pair, (400, "KeyTooLongError"), "PUT", "/b/" + "k" * 256, b"x")
    await is_refused(pair, (400, "MetadataTooLarge"), "PUT", "/b/k", b"x", **{"x-amz-meta-a": "z" * 256})


async def refuses_long_values_straight(pair: Any) -> None:
    new = await pair.straight("PUT", "/b/" + "k" * 256, b"x")
    replaced = await pair.straight("PUT", "/b/k", b"x", headers={"x-amz-meta-a": "z" * 256})
    assert [(response.status, response.header("content-type")) for response in (new, replaced)] == [
        (400, "text/plain; charset=UTF-8")
    ] * 2
    assert (keys(pair), pair.stored()) == (["k"], BODY)


PUBLIC = (
    b"<AccessControlPolicy><AccessControlList><Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers"
    b"</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
)
MANY = b"<Delete><Object><Key>k</Key></Object></Delete>"


def prefixed(document: bytes) -> bytes:
    """
    Return a document whose elements have a prefix.
    """
    named = document.replace(b"</", b"\0").replace(b"<", b"<s:").replace(b"\0", b"</s:")
    return named.replace(b">", b" xmlns:s='http://s3.amazonaws.com/doc/2006-03-01/'>", 1)


async def loses_documents_straight(pair: Any) -> None:
    """
    Each request gets 200: the rights are gone, or nothing is deleted.
    """
    if pair.mode == "osg-4.3":
        for document in (prefixed(MANY), MANY[:-1]):
            many = await pair.straight("POST", "/b?delete", document, signed="delete", headers=md5_header(document))
            assert (many.status, found(many, "Key"), pair.stored()) == (200, [], BODY)
        document = MANY.replace(b"</Object>", b"<ETag>other</ETag></Object>")
        many = await pair.straight("POST", "/b?delete", document, signed="delete", headers=md5_header(document))
        assert (many.status, pair.stored()) == (200, None)
        return
    for document in (prefixed(PUBLIC), PUBLIC[:-1], PUBLIC + b" " * 102_400):
        await pair.straight("PUT", "/b/k?acl", PUBLIC, signed="acl")
        assert b"AllUsers" in (await pair.straight("GET", "/b/k?acl", signed="acl")).body
        assert (await pair.straight("PUT", "/b/k?acl", document, signed="acl")).status == 200
        assert b"AllUsers" not in (await pair.straight("GET", "/b/k?acl", signed="acl")).body


async def loses_documents_through(pair: Any) -> None:
    if pair.mode == "osg-4.3":
        many = await pair.through("POST", "/b?delete", MANY[:-1], **md5_header(MANY[:-1]))
        assert (many.status, code(many), pair.stored()) == (400, "MalformedXML", BODY)
        document = MANY.replace(b"</Object>", b"<ETag>other</ETag></Object>")
        many = await pair.through("POST", "/b?delete", document, **md5_header(document))
        assert (many.status, code(many), pair.stored()) == (501, "NotImplemented", BODY)
        many = await pair.through("POST", "/b?delete", prefixed(MANY), **md5_header(prefixed(MANY)))
        assert (many.status, found(many, "Key"), pair.stored()) == (200, ["k"], None)
        return
    await is_refused(pair, (400, "MalformedXML"), "PUT", "/b/k?acl", PUBLIC[:-1])
    for document in (prefixed(PUBLIC), PUBLIC + b" " * 102_400):
        await pair.through("PUT", "/b/k?acl", x_amz_acl="private")
        assert b"AllUsers" not in (await pair.through("GET", "/b/k?acl")).body
        assert (await pair.through("PUT", "/b/k?acl", document)).status == 200
        assert b"AllUsers" in (await pair.through("GET", "/b/k?acl")).body


# Copies


async def nested_copy_result_straight(pair: Any) -> None:
    response = await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/k"})
    assert response.body.startswith(b"<CopyObjectResponse " + NAMESPACE)
    assert b"><CopyObjectResult><ETag>" in response.body


async def nested_copy_result_through(pair: Any) -> None:
    response = await pair.through("PUT", "/b/copy", x_amz_copy_source="/b/k")
    assert b"CopyObjectResponse" not in response.body
    assert b"<CopyObjectResult" in response.body
    assert [tag.replace("&quot;", '"') for tag in found(response, "ETag")] == [f'"{ETAG}"']


async def copies_metadata_only_straight(pair: Any) -> None:
    headers = {
        "x-amz-copy-source": "/b/k",
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-meta-a": "1",
        "x-amz-acl": "public-read",
        "content-type": "text/y",
    }
    await pair.straight("PUT", "/b/copy", headers=headers)
    got = await pair.straight("GET", "/b/copy")
    assert (got.header("content-type"), got.header("x-amz-meta-a")) == ("text/x", "1")
    acl = await pair.straight("GET", "/b/copy?acl", signed="acl")
    assert found(acl, "URI") == []


async def copies_metadata_only_through(pair: Any) -> None:
    headers = {"x_amz_copy_source": "/b/k", "x_amz_acl": "public-read"}
    await is_refused(pair, (501, "NotImplemented"), "PUT", "/b/copy", **headers)


async def cuts_copy_sources_straight(pair: Any) -> None:
    put(pair, "k?versionId=null", b"another")
    copied = await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/k%3FversionId%3Dnull"})
    other = await pair.straight("PUT", "/b/other", headers={"x-amz-copy-source": "/b/k%3Fx"})
    assert (copied.status, pair.stored("copy"), other.status) == (200, BODY, 404)


async def cuts_copy_sources_through(pair: Any) -> None:
    put(pair, "k?versionId=null", b"another")
    for source in ("/b/k%3FversionId%3Dnull", "/b/k%3Fx"):
        await is_refused(pair, (501, "NotImplemented"), "PUT", "/b/copy", x_amz_copy_source=source)


# Operations


async def hangs_on_uploads_straight(pair: Any) -> None:
    client: FaultyClient = await pair.store.connect()
    client.send(pair.store.head("POST", "/b/k?uploads", {"content-length": "0"}, signed="uploads"))
    await until(lambda: pair.store.store.unanswered_count == 1)
    query = "partNumber=1&uploadId=x"
    part = await pair.straight("PUT", f"/b/k?{query}", b"x", signed=query)
    aborted = await pair.straight("DELETE", "/b/k?uploadId=x", signed="uploadId=x")
    completed = await pair.straight("POST", "/b/k?uploadId=x", b"<x/>", signed="uploadId=x")
    assert (client.received, client.lost) == (b"", None)
    assert [response.status for response in (part, aborted, completed)] == [501, 501, 400]
    assert completed.header("content-type") == "text/plain; charset=UTF-8"


async def hangs_on_uploads_through(pair: Any) -> None:
    client: FaultyClient = await pair.harness.connect()
    client.send(pair.request("POST", "/b/k?uploads")[0])
    await until(lambda: client.received or pair.store.store.unanswered_count)
    assert pair.store.store.unanswered_count == 0
    response = await client.response("POST")
    assert response is not None
    assert (response.status, code(response)) == (501, "NotImplemented")
    await is_refused(pair, (501, "NotImplemented"), "PUT", "/b/k?partNumber=1&uploadId=x", b"x")


async def configure(ask: Any, sign: Callable[..., dict[str, Any]]) -> None:
    """
    Read and write the configuration of a bucket and of an object.
    """
    empty = await ask("GET", "/b?versioning", **sign("versioning"))
    enabled = await ask("PUT", "/b?versioning", VERSIONING, **sign("versioning", VERSIONING))
    second = await ask("PUT", "/b/k", b"second")
    listed = await ask("GET", "/b?versions", **sign("versions"))
    former = await ask("GET", "/b/k?versionId=null", **sign("versionId=null"))
    deleted = await ask("DELETE", "/b/k")
    gone = await ask("GET", "/b/k")
    assert (found(empty, "Status"), enabled.status) == ([], 200)
    assert found(listed, "VersionId") == [second.header("x-amz-version-id"), "null"]
    assert found(listed, "IsLatest") == ["true", "false"]
    assert (former.body, deleted.status, gone.status) == (BODY, 204, 404)
    grants = (
        b"<AccessControlPolicy><AccessControlList><Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers"
        b"</URI></Grantee><Permission>READ</Permission></Grant></AccessControlList></AccessControlPolicy>"
    )
    for target in ("/b?acl", "/b/other?acl"):
        await ask("PUT", "/b/other", b"x")
        before = await ask("GET", target, **sign("acl"))
        written = await ask("PUT", target, grants, **sign("acl", grants))
        after = await ask("GET", target, **sign("acl"))
        assert (found(before, "Permission"), written.status) == (["FULL_CONTROL"], 200)
        assert found(after, "Permission") == ["READ"]
    target = b"<LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix>l</TargetPrefix></LoggingEnabled>"
    logging = b"<BucketLoggingStatus>%s</BucketLoggingStatus>" % target
    assert (await ask("PUT", "/b?logging", logging, **sign("logging", logging))).status == 200
    assert found(await ask("GET", "/b?logging", **sign("logging")), "TargetPrefix") == ["l"]


async def serves_configuration_straight(pair: Any) -> None:
    await configure(pair.straight, lambda signed, body=b"": {"signed": signed})


async def serves_configuration_through(pair: Any) -> None:
    await configure(pair.through, lambda signed, body=b"": md5_header(body) if body else {})


LACKING = [
    ("GET", "/b", "logging"),
    ("GET", "/b", "versioning"),
    ("GET", "/b", "versions"),
    ("PUT", "/b", "acl"),
    ("PUT", "/b/k", "acl"),
    ("DELETE", "/b/k", "versionId=null"),
]


async def lacks_messages_straight(pair: Any) -> None:
    for method, path, query in [*LACKING, ("GET", "/b", "location")]:
        response = await pair.straight(method, f"{path}?{query}", signed=query)
        assert (response.status, response.header("content-type")) == (400, "text/plain; charset=UTF-8")
        assert b"Failed to construct message" in response.body


async def lacks_messages_through(pair: Any) -> None:
    for method, path, query in LACKING:
        await is_refused(pair, (501, "NotImplemented"), method, f"{path}?{query}")
    located = await pair.through("GET", "/b?location")
    missing = await pair.through("GET", "/none?location=")
    assert (located.status, b"<LocationConstraint " in located.body, found(located, "Key")) == (200, True, [])
    assert (missing.status, code(missing)) == (404, "NoSuchBucket")
    assert (await pair.through("HEAD", "/b?location")).status == 200


async def creates_once_straight(pair: Any) -> None:
    response = await pair.straight("PUT", "/b")
    assert (response.status, code(response)) == (409, "BucketAlreadyExists")


async def creates_once_through(pair: Any) -> None:
    response = await pair.through("PUT", "/b")
    assert (response.status, code(response)) == (409, "BucketAlreadyExists")


# Buckets and keys


async def collapses_slashes_straight(pair: Any) -> None:
    for key in ("a//b", "dir/", "/lead"):
        await pair.straight("PUT", f"/b/{key}", b"x")
    listing = await pair.straight("GET", "/b//")
    created = await pair.straight("PUT", "/other//")
    deleted = await pair.straight("DELETE", "/other//")
    escaped = await pair.straight("PUT", "/b/a%2F%2Fb%2F", b"escaped")
    assert keys(pair) == ["a/b", "a//b/", "dir", "k", "lead"] or keys(pair) == ["a//b/", "a/b", "dir", "k", "lead"]
    assert b"<ListBucketResult" in listing.body
    assert (created.status, deleted.status, escaped.status) == (200, 204, 200)
    assert pair.store.store.objects.buckets() == ["b"]
    assert pair.stored("a//b/") == b"escaped"


async def collapses_slashes_through(pair: Any) -> None:
    put(pair, "a/b", b"another")
    for key in ("a//b", "dir/", "/lead", "/", "//"):
        assert (await pair.through("PUT", f"/b/{key}", key.encode())).status == 200
        got = await pair.through("GET", f"/b/{key}")
        assert (pair.stored(key), got.body) == (key.encode(), key.encode())
    for key in ("a//b", "dir/", "/lead", "/", "//"):
        assert (await pair.through("DELETE", f"/b/{key}")).status == 204
    assert keys(pair) == ["a/b", "k"]


async def drops_leading_slashes_straight(pair: Any) -> None:
    response = await pair.straight("GET", "//b/k")
    assert (response.status, response.body) == (200, BODY)


async def drops_leading_slashes_through(pair: Any) -> None:
    await is_refused(pair, (400, "InvalidURI"), "GET", "//b/k")


async def keeps_bucket_escapes_straight(pair: Any) -> None:
    assert (await pair.straight("GET", "/%62/k")).status == 404


async def keeps_bucket_escapes_through(pair: Any) -> None:
    response = await pair.through("GET", "/%62/k")
    assert (response.status, response.body) == (200, BODY)


async def removes_service_paths_straight(pair: Any) -> None:
    """
    The bucket is not the one that was signed.
    """
    put(pair, "secret", b"the secret", "b-internal")
    response = await pair.straight("GET", "/b/services/Walrus-internal/secret")
    assert (response.status, response.body) == (200, b"the secret")


async def removes_service_paths_through(pair: Any) -> None:
    put(pair, "secret", b"the secret", "b-internal")
    for key in ("services/Walrus-internal/secret", "services%2FWalrus-internal/secret", "x/services/Walrus/secret"):
        missing = await pair.through("GET", f"/b/{key}")
        assert (missing.status, code(missing)) == (404, "NoSuchKey")
        await pair.through("PUT", f"/b/{key}", b"mine")
        await pair.through("DELETE", f"/b/{key}")
    listed = await pair.through("GET", "/b/services/Walrus-internal/")
    assert b"ListBucketResult" not in listed.body
    assert pair.store.store.object_bytes("b-internal", "secret") == b"the secret"
    assert keys(pair) == ["k"]


async def replaces_bad_utf8_straight(pair: Any) -> None:
    await pair.straight("PUT", "/b/%FF", b"x")
    response = await pair.straight("GET", "/b/%FE")
    assert (response.status, response.body, pair.stored("\ufffd")) == (200, b"x", b"x")


async def replaces_bad_utf8_through(pair: Any) -> None:
    """
    Two keys must not become one.
    """
    response = await pair.through("PUT", "/b/%FF", b"x")
    assert response.status == 400
    assert keys(pair) == ["k"]


async def faults_on_bad_escapes_straight(pair: Any) -> None:
    status = 400 if pair.quirks.fault_responses == "400" else 500
    responses = [
        await pair.straight("GET", "/b/%zz"),
        await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/%zz"}),
    ]
    assert [response.status for response in responses] == [status] * 2


async def faults_on_bad_escapes_through(pair: Any) -> None:
    for target, headers in (("/b/%zz", {}), ("/b/copy", {"x_amz_copy_source": "/b/%zz"})):
        response = await pair.through("PUT", target, **headers)
        assert (response.status, keys(pair)) == (400, ["k"])


async def walrus_bucket_names_straight(pair: Any) -> None:
    """
    Code and message of the error are swapped.
    """
    names = ("ab", "MyBucket", "a_b", "n" * 255, "n" * 256, "-ab", "a%20b")
    statuses = [(await pair.straight("PUT", f"/{name}")).status for name in names]
    refused = await pair.straight("PUT", "/ab")
    assert statuses == [400, 200, 200, 200, 400, 400, 400]
    assert found(refused, "Code") == ["The specified bucket is not valid: ab"]
    assert found(refused, "Message") == ["InvalidBucketName"]
    assert "MyBucket" in found(await pair.straight("GET", "/"), "Name")


async def walrus_bucket_names_through(pair: Any) -> None:
    response = await pair.through("PUT", "/ab")
    assert (response.status, code(response)) == (400, "InvalidBucketName")


async def any_bucket_name_straight(pair: Any) -> None:
    statuses = [(await pair.straight("PUT", f"/{name}")).status for name in ("a", "MyBucket", "n" * 255)]
    assert statuses == [200, 200, 200]


async def any_bucket_name_through(pair: Any) -> None:
    """
    A bucket that is created is listed by the same name.
    """
    assert (await pair.through("PUT", "/new-bucket")).status == 200
    assert "new-bucket" in found(await pair.through("GET", "/"), "Name")


# Heads


async def short_heads_straight(pair: Any) -> None:
    line = await pair.straight("GET", "/b?prefix=" + "p" * 4096)
    headers = await pair.straight("GET", "/b", headers={f"x-{number}": "v" * 4000 for number in range(3)})
    fits = await pair.straight("GET", "/b?prefix=" + "p" * 4000)
    assert [(response.status, response.header("content-type")) for response in (line, headers)] == [
        (500, "text/plain; charset=UTF-8"),
        (400, "text/plain; charset=UTF-8"),
    ]
    assert fits.status == 200


async def short_heads_through(pair: Any) -> None:
    """
    No client may repeat the request: it can never succeed.
    """
    text = "%C3%A9" * 500
    response = await pair.through("GET", f"/b?prefix={text}&marker={text}")
    assert response.status == 400
    assert b"<Error>" in response.body


async def folds_equal_headers_straight(pair: Any) -> None:
    line = b"x-amz-meta-a: 1\r\n"
    statuses = []
    for signed in ("1,1", "1"):
        head = pair.store.head("PUT", "/b/k", {"content-length": "0", "x-amz-meta-a": signed})
        twice = head.replace(f"x-amz-meta-a: {signed}\r\n".encode(), line * 2)
        statuses.append((await pair.store.say(twice, "PUT")).status)
    assert statuses == [403, 200]


async def folds_equal_headers_through(pair: Any) -> None:
    head, body = pair.request("PUT", "/b/k", b"twice", x_amz_meta_a="1,1")
    twice = head.replace(b"x-amz-meta-a: 1,1\r\n", b"x-amz-meta-a: 1\r\n" * 2)
    assert twice != head
    response = await pair.harness.request(twice, body, method="PUT")
    assert (response.status, pair.stored()) == (200, b"twice")


async def misreads_high_bytes_straight(pair: Any) -> None:
    responses = [
        await pair.straight("GET", "/b/k", headers={"x-amz-meta-a": "\u00fc"}),
        await pair.straight("GET", "/b/k", headers={"content-type": "\u00fc"}),
    ]
    assert [response.status for response in responses] == [403, 403]


async def misreads_high_bytes_through(pair: Any) -> None:
    stored = await pair.through("PUT", "/b/k", b"x", x_amz_meta_a="\u00fc")
    assert stored.status in {200, 400}


async def takes_query_v2_straight(pair: Any) -> None:
    expires = int(NOW.timestamp()) + 60
    text = f"GET\n\n\n{expires}\n{pair.store.service_path}/b/k"
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1")).decode()
    escaped = signature.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D")
    statuses = []
    for claimed, time in ((escaped, expires), ("x" + escaped, expires), (escaped, expires - 120)):
        target = f"{pair.store.service_path}/b/k?AWSAccessKeyId={KEY}&Expires={time}&Signature={claimed}"
        statuses.append((await pair.store.say(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())).status)
    assert statuses == [200, 403, 403]


async def takes_query_v2_through(pair: Any) -> None:
    target = Signer().presign("GET", "/b/k")
    response = await pair.harness.request(f"GET {target} HTTP/1.1\r\nHost: {Signer().host}\r\n\r\n".encode())
    assert (response.status, response.body) == (200, BODY)


async def knows_nobody_straight(pair: Any) -> None:
    head = f"GET {pair.store.service_path}/b/%s HTTP/1.1\r\nHost: x\r\n\r\n"
    await pair.straight("PUT", "/b/public", b"x", headers={"x-amz-acl": "public-read"})
    private, public = [await pair.store.say((head % key).encode()) for key in ("k", "public")]
    unsigned = f"PUT {pair.store.service_path}/b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx"
    written = await pair.store.say(unsigned.encode(), "PUT")
    assert (private.status, code(private)) == (403, "AccessDenied")
    assert (public.status, public.body) == (200, b"x")
    assert (written.status, pair.stored()) == (403, BODY)


async def knows_nobody_through(pair: Any) -> None:
    """
    An ACL of the backend grants no access that s3proxy does not.
    """
    await pair.through("PUT", "/b/public", b"x", x_amz_acl="public-read")
    response = await pair.harness.request(b"GET /b/public HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (response.status, code(response)) == (403, "AccessDenied")


# Queries


async def signs_any_value_straight(pair: Any) -> None:
    unsigned = await pair.straight("GET", "/b?location=x", signed="location")
    signed = await pair.straight("GET", "/b?location=a+x", signed="location=a x")
    empty = await pair.straight("GET", "/b/k?versionId=", signed="versionId=")
    escaped = await pair.straight("GET", "/b?%61cl", signed="acl")
    assert unsigned.status == empty.status == escaped.status == 403
    assert signed.status != 403


async def signs_any_value_through(pair: Any) -> None:
    await is_refused(pair, (400, "InvalidArgument"), "GET", "/b/k?versionId=")
    targets = {
        "walrus-3.4": ["/b?location=x", "/b/k?acl=x", "/b?%61cl"],
        "osg-4.3": ["/b?location=x"],
        "walrusbackend-4.x": ["/b?location=x"],
    }
    for target in targets[pair.mode]:
        response = await pair.through("GET", target)
        assert (target, response.status) == (target, 200)


async def folds_parameter_names_straight(pair: Any) -> None:
    folded = await pair.straight("GET", "/b?PREFIX=zzz")
    repeated = await pair.straight("GET", "/b?prefix=zzz&prefix=k")
    assert (found(folded, "Key"), found(repeated, "Key")) == ([], ["k"])


async def folds_parameter_names_through(pair: Any) -> None:
    response = await pair.through("GET", "/b?PREFIX=zzz")
    assert (response.status, found(response, "Key")) == (200, ["k"])
    await is_refused(pair, (400, "InvalidArgument"), "GET", "/b?prefix=zzz&prefix=k")


async def cuts_values_straight(pair: Any) -> None:
    response = await pair.straight("GET", "/b?prefix=a=b")
    assert found(response, "Key") == ["k"]


async def cuts_values_through(pair: Any) -> None:
    put(pair, "a=b")
    for prefix in ("a=b", "a%3Db"):
        response = await pair.through("GET", f"/b?prefix={prefix}")
        assert (response.status, found(response, "Key")) == (200, ["a=b"])


async def cuts_signed_values_straight(pair: Any) -> None:
    whole = await pair.straight("GET", "/b/k?versionId=a=b", signed="versionId=a=b")
    cut = await pair.straight("GET", "/b/k?versionId=a=b", signed="versionId=a")
    assert whole.status == 403
    assert cut.status != 403


async def cuts_signed_values_through(pair: Any) -> None:
    """
    There is no such version, and the client reads that.
    """
    response = await pair.through("GET", "/b/k?versionId=a=b")
    assert response.status == 404


async def own_parameters_straight(pair: Any) -> None:
    client, _ = await ask_raw(pair, pair.store.head("GET", "/b/k?IsCompressed=true", {}), lasts=True)
    await client.until(lambda: client.received.endswith(BODY))
    received = client.received
    listed = await pair.straight("GET", "/b?maxkeys=0")
    assert b"Content-Length" not in received
    assert listed.status == (400 if pair.quirks.fault_responses == "400" else 500)


async def own_parameters_through(pair: Any) -> None:
    got = await pair.through("GET", "/b/k?IsCompressed=true")
    listed = await pair.through("GET", "/b?maxkeys=0")
    assert (got.status, got.header("content-length"), got.body) == (200, "10", BODY)
    assert (listed.status, found(listed, "Key")) == (200, ["k"])


async def faults_on_empty_values_straight(pair: Any) -> None:
    for method, path in (("GET", "/b?location="), ("POST", "/b/k?uploads=")):
        response = await pair.straight(method, path, signed=path.partition("?")[2].rstrip("="))
        assert response.status == (400 if pair.quirks.fault_responses == "400" else 500)
        assert b"No such property" in response.body


async def faults_on_empty_values_through(pair: Any) -> None:
    begun = await pair.through("POST", "/b/k?uploads=")
    assert (begun.status, len(found(begun, "UploadId"))) == (200, 1)
    if pair.mode == "osg-4.3":
        assert (await pair.through("GET", "/b?location=")).status == 200


# Listings


async def overflows_max_keys_straight(pair: Any) -> None:
    full = await pair.straight("GET", "/b?max-keys=2147483647")
    assert (found(full, "Key"), found(full, "IsTruncated")) == ([], ["false"])
    assert found(await pair.straight("GET", "/b?max-keys=5000"), "MaxKeys") == ["5000"]


async def overflows_max_keys_through(pair: Any) -> None:
    for query in ("max-keys=2147483647", "list-type=2&max-keys=2147483647", "max-keys=1001"):
        response = await pair.through("GET", f"/b?{query}")
        assert (response.status, found(response, "Key"), found(response, "MaxKeys")) == (200, ["k"], ["1000"])


async def regex_delimiters_straight(pair: Any) -> None:
    put(pair, "a1b")
    digits = await pair.straight("GET", "/b?delimiter=%5B0-9%5D")
    broken = await pair.straight("GET", "/b?delimiter=%2B")
    if lists_uploads(pair):
        await begin(pair, "a1b")
        uploads = await pair.straight("GET", "/b?uploads&delimiter=%5B0-9%5D", signed="uploads")
        assert found(uploads, "Prefix") == ["a[0-9]"]
    assert found(digits, "Prefix")[1:] == ["a[0-9]"]
    assert found(broken, "Key") == []
    assert broken.body.startswith(b"<ExceptionResponse") or broken.status in {400, 500}


async def regex_delimiters_through(pair: Any) -> None:
    for delimiter in ("%2B", "(", "%5B", "*", "?", ".", "%7C", "%5B0-9%5D"):
        await is_refused(pair, (501, "NotImplemented"), "GET", f"/b?delimiter={delimiter}")
        if lists_uploads(pair):
            await is_refused(pair, (501, "NotImplemented"), "GET", f"/b?uploads&delimiter={delimiter}")


async def lists_folders_as_keys_straight(pair: Any) -> None:
    put(pair, "dir/")
    response = await pair.straight("GET", "/b?delimiter=/")
    assert (found(response, "Key"), found(response, "Prefix")[1:]) == (["dir/", "k"], [])


async def lists_folders_as_keys_through(pair: Any) -> None:
    put(pair, "dir/")
    for query in ("delimiter=/", "list-type=2&delimiter=/", "delimiter=/&max-keys=1"):
        response = await pair.through("GET", f"/b?{query}")
        assert found(response, "Prefix")[1:] == ["dir/"]
        assert "dir/" not in found(response, "Key")
    put(pair, "dir/a")
    put(pair, "z/")
    listed, marker = [], ""
    while marker is not None:
        response = await pair.through("GET", f"/b?delimiter=/&max-keys=1&marker={marker}")
        listed += [*found(response, "Key"), *found(response, "Prefix")[1:]]
        marker = next(iter(found(response, "NextMarker")), None)
    assert listed == ["dir/", "k", "z/"]


async def like_prefixes_straight(pair: Any) -> None:
    for key in ("log_1/a", "logs1/precious", "x\\y"):
        put(pair, key)
    for prefix, expected in (
        ("log_1/", ["log_1/a", "logs1/precious"]),
        ("%25prec", ["logs1/precious"]),
        ("x%5Cy", []),
        ("x%5C%5Cy", ["x\\y"]),
    ):
        assert found(await pair.straight("GET", f"/b?prefix={prefix}"), "Key") == expected
    if lists_uploads(pair):
        await begin(pair, "log_1/a", "logs1/b")
        for prefix, expected in (("log_1/", ["log_1/a", "logs1/b"]), ("%25s1", ["logs1/b"]), ("log_1%5C", [])):
            listed = await pair.straight("GET", f"/b?uploads&prefix={prefix}", signed="uploads")
            assert found(listed, "Key") == expected


async def like_prefixes_through(pair: Any) -> None:
    """
    A client that deletes what is listed below a prefix must not delete other keys.
    """
    for key in ("log_1/a", "logs1/precious", "log_1/dir/b", "logs1/dir/b"):
        put(pair, key)
    for query in ("prefix=log_1/", "list-type=2&prefix=log_1/"):
        assert found(await pair.through("GET", f"/b?{query}"), "Key") == ["log_1/a", "log_1/dir/b"]
    folded = await pair.through("GET", "/b?prefix=log_1/&delimiter=/")
    assert (found(folded, "Key"), found(folded, "Prefix")[1:]) == (["log_1/a"], ["log_1/dir/"])
    if lists_uploads(pair):
        await begin(pair, "log_1/a", "logs1/b", "log_2/c")
        for query in ("prefix=log_1/", "prefix=log_1/&encoding-type=url"):
            assert found(await pair.through("GET", f"/b?uploads&{query}"), "Key") == ["log_1/a"]
        await is_refused(pair, (501, "NotImplemented"), "GET", "/b?uploads&prefix=log_1%5C")


def lists_uploads(pair: Any) -> bool:
    """
    Return whether the store has ListMultipartUploads.
    """
    return not (pair.quirks.hangs_on_uploads or pair.quirks.lacks_upload_lists)


async def begin(pair: Any, *keys: str) -> list[str]:
    """
    Begin uploads at the store itself; return their ids.
    """
    begun = [await pair.straight("POST", f"/b/{quote(key)}?uploads", signed="uploads") for key in keys]
    return [found(response, "UploadId")[0] for response in begun]


async def faults_on_short_keys_straight(pair: Any) -> None:
    """
    The pattern finds ``ab``, which is shorter.
    """
    put(pair, "ab")
    responses = [await pair.straight("GET", "/b?prefix=a%25%25b&delimiter=/")]
    assert found(await pair.straight("GET", "/b?prefix=a%25%25b"), "Key") == ["ab"]
    if lists_uploads(pair):
        await begin(pair, "ab")
        responses.append(await pair.straight("GET", "/b?uploads&prefix=a%25%25b&delimiter=/", signed="uploads"))
    for response in responses:
        assert found(response, "IsTruncated") == []
        assert response.body.startswith(b"<ExceptionResponse") or response.status in {400, 500}


async def faults_on_short_keys_through(pair: Any) -> None:
    for key in ("ab", "a%%b/c"):
        put(pair, key)
    for query in ("prefix=a%25%25b&delimiter=/", "list-type=2&prefix=a%25%25b&delimiter=/"):
        response = await pair.through("GET", f"/b?{query}")
        assert (response.status, found(response, "Key"), found(response, "Prefix")[1:]) == (200, [], ["a%%b/"])
    if lists_uploads(pair):
        await is_refused(pair, (501, "NotImplemented"), "GET", "/b?uploads&prefix=a%25%25b&delimiter=/")


async def refuses_long_pages_straight(pair: Any) -> None:
    (upload,) = await begin(pair, "k")
    uploads = await pair.straight("GET", "/b?uploads&max-uploads=1001", signed="uploads")
    parts = await pair.straight("GET", f"/b/k?uploadId={upload}&max-parts=1001", signed=f"uploadId={upload}")
    assert [(response.status, code(response)) for response in (uploads, parts)] == [(400, "InvalidArgument")] * 2


async def refuses_long_pages_through(pair: Any) -> None:
    (upload,) = await begin(pair, "k")
    uploads = await pair.through("GET", "/b?uploads&max-uploads=1001")
    parts = await pair.through("GET", f"/b/k?uploadId={upload}&max-parts=2147483647")
    assert (uploads.status, found(uploads, "Key"), found(uploads, "MaxUploads")) == (200, ["k"], ["1000"])
    assert (parts.status, found(parts, "MaxParts")) == (200, ["1000"])


async def truncates_empty_pages_straight(pair: Any) -> None:
    (upload,) = await begin(pair, "k")
    query = f"partNumber=1&uploadId={upload}"
    await pair.straight("PUT", f"/b/k?{query}", BODY, signed=query)
    uploads = await pair.straight("GET", "/b?uploads&max-uploads=0", signed="uploads")
    parts = await pair.straight("GET", f"/b/k?uploadId={upload}&max-parts=0", signed=f"uploadId={upload}")
    for response, name in ((uploads, "Upload"), (parts, "Part")):
        assert (found(response, "IsTruncated"), found(response, name)) == (["true"], [])
    assert found(uploads, "NextKeyMarker") == [""]


async def truncates_empty_pages_through(pair: Any) -> None:
    """
    Its client would request the same page for ever.
    """
    (upload,) = await begin(pair, "k")
    query = f"partNumber=1&uploadId={upload}"
    await pair.straight("PUT", f"/b/k?{query}", BODY, signed=query)
    for target in ("/b?uploads&max-uploads=0", f"/b/k?uploadId={upload}&max-parts=0"):
        response = await pair.through("GET", target)
        assert (response.status, found(response, "IsTruncated")) == (200, ["false"])
    for target in ("/b?uploads&max-uploads=0&encoding-type=url", "/b?uploads&max-uploads=1"):
        assert found(await pair.through("GET", target), "IsTruncated") == ["false"]


FOLDED = ["a", "dir/", "e", "z z/", "\u00fc"]


async def loses_upload_markers_straight(pair: Any) -> None:
    await begin(pair, "a", "dir/1", "dir/2", "e")
    responses = [
        await pair.straight("GET", f"/b?uploads&delimiter=/&max-uploads={size}", signed="uploads") for size in (1, 2)
    ]
    assert [found(response, "NextKeyMarker") for response in responses] == [["a"], [""]]
    assert [found(response, "IsTruncated") for response in responses] == [["true"], ["true"]]


async def loses_upload_markers_through(pair: Any) -> None:
    """
    A client that continues at the marker reaches the end, and sees each name once.
    """
    await begin(pair, "a", "a", "dir/1", "dir/2", "e", "z z/1", "\u00fc")
    for size in (1, 2, 3, 1000):
        for encoding in ("", "&encoding-type=url"):
            seen: list[str] = []
            place = ""
            while len(seen) < 20:
                page = await pair.through("GET", f"/b?uploads&delimiter=/&max-uploads={size}{encoding}{place}")
                seen += [*found(page, "Key"), *found(page, "Prefix")]
                if found(page, "IsTruncated") == ["false"]:
                    break
                (key,), (upload,) = found(page, "NextKeyMarker"), found(page, "NextUploadIdMarker")
                place = f"&key-marker={quote(unquote(key))}&upload-id-marker={upload}"
            assert sorted(map(unquote, seen), key=str.encode) == ["a", *FOLDED]


WRITTEN = {
    "a\rb\r\nc": b"a&#xd;b&#xd;\nc",
    "a\nb\tc": b"a\nb\tc",
    " a ": b" a ",
    "smile\U0001f600": "smile\U0001f600".encode(),
    "a&b<c>d\"e'f": b"a&amp;b&lt;c>d\"e'f",
    ">a]]>": b"&gt;a]]&gt;",
    "\x7f\x85\u2028\ufffd": "\x7f\x85\u2028\ufffd".encode(),
}
"""
Keys, and how Woodstox 4.2.0 with JiBX 1.2.5 was seen to write them.
"""


async def writes_as_woodstox_straight(pair: Any) -> None:
    for key in WRITTEN:
        put(pair, key)
    listed = await pair.store.ask("GET", "/b")
    for written in WRITTEN.values():
        assert b"<Key>%b</Key>" % written in listed.body
    put(pair, "\ufffe", bucket="b2")
    assert b"<Key>&#xfffe;</Key>" in (await pair.store.ask("GET", "/b2")).body
    put(pair, "a\x01b", bucket="b3")
    failed = await pair.store.ask("GET", "/b3")
    assert (failed.status, b"failed to marshall" in failed.body) == (400, True)


async def writes_as_woodstox_through(pair: Any) -> None:
    """
    The names are the client's, in each kind of listing. A key that XML cannot hold is refused. If one exists already,
    it does not hide the others, as far as the storage system can list it at all.
    """
    for key in WRITTEN:
        assert (await pair.through("PUT", f"/b/{quote(key)}")).status == 200
    expected = sorted([*WRITTEN, "k"], key=str.encode)
    for query in ("", "?list-type=2", "?max-keys=1000"):
        assert names(await pair.through("GET", f"/b{query}")) == expected
    for query in ("?encoding-type=url", "?list-type=2&encoding-type=url"):
        assert list(map(unquote, names(await pair.through("GET", f"/b{query}")))) == expected
    # The prefix has a wildcard of SQL, so s3proxy rewrites the document.
    assert (await pair.through("PUT", "/b/a_b/%0D%3E%F0%9F%98%80")).status == 200
    assert names(await pair.through("GET", "/b?prefix=a_b/&delimiter=x")) == ["a_b/\r>\U0001f600"]
    for key in ("a\x01b", "\ufffe"):
        await is_refused(pair, (400, "InvalidArgument"), "PUT", f"/b/{quote(key)}")
    put(pair, "a\x01b", bucket="b2")
    response = await pair.through("GET", "/b2")
    assert (response.status, code(response)) == (500, "InternalError")
    put(pair, "\ufffe", bucket="b3")
    put(pair, "k", bucket="b3")
    response = await pair.through("GET", "/b3")
    assert (response.status, b"<Key>k</Key>" in response.body) == (200, True)
    assert list(map(unquote, names(await pair.through("GET", "/b3?encoding-type=url")))) == ["k", "\ufffe"]


def names(response: Response) -> list[str]:
    """
    Return the keys of a listing, as a parser reads them.
    """
    return [element.text or "" for element in ElementTree.fromstring(response.body).iter(f"{{{S3}}}Key")]


async def lacks_upload_lists_straight(pair: Any) -> None:
    for path, signed in (("/b/k?uploadId=none", "uploadId=none"), ("/b?uploads", "uploads")):
        response = await pair.store.ask("GET", path, signed=signed)
        assert (response.status, code(response)) == (501, "NotImplemented")


async def lacks_upload_lists_through(pair: Any) -> None:
    await is_refused(pair, (501, "NotImplemented"), "GET", "/b/k?uploadId=none")
    await is_refused(pair, (501, "NotImplemented"), "GET", "/b?uploads")


async def keeps_former_parts_straight(pair: Any) -> None:
    """
    The new length and entity tag are returned with the former content.
    """
    begun = await pair.straight("POST", "/b/parts?uploads", signed="uploads")
    query = f"uploadId={found(begun, 'UploadId')[0]}"
    part = await pair.straight("PUT", f"/b/parts?partNumber=1&{query}", BODY, signed=f"partNumber=1&{query}")
    document = f"<Part><PartNumber>1</PartNumber><ETag>{part.header('etag')}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{document}</CompleteMultipartUpload>"
    await pair.straight("POST", f"/b/parts?{query}", document.encode(), signed=query)
    replaced = await pair.straight("PUT", "/b/parts", b"short")
    read = await pair.straight("GET", "/b/parts")
    assert (replaced.status, read.header("etag")) == (200, replaced.header("etag"))
    assert (pair.stored("parts"), read.body) == (BODY, BODY[:5])


async def keeps_former_parts_through(pair: Any) -> None:
    """
    With ``multipart = "spool"`` the backend has no such object.
    """
    with TemporaryDirectory() as directory:
        kept = MultipartStore(Path(directory), StoreLimits(1 << 20, 5, 5, 86400), NOW.timestamp)
        kept.lead()
        signer = Signer()
        harness = Harness(profile=pair.harness.profile, signature="v2", endpoint=pair.harness.endpoint, multipart=kept)

        async def ask(method: str, target: str, body: bytes = b"") -> Response:
            payload = hashlib.sha256(body).hexdigest()
            unsigned = {"Content-Length": str(len(body))}
            head = signer.head(method, target, {}, payload=payload, unsigned=unsigned)[0]
            response: Response = await harness.request(head, body, method=method)
            return response

        query = f"uploadId={found(await ask('POST', '/b/parts?uploads'), 'UploadId')[0]}"
        part = await ask("PUT", f"/b/parts?partNumber=1&{query}", BODY)
        document = f"<Part><PartNumber>1</PartNumber><ETag>{part.header('etag')}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{document}</CompleteMultipartUpload>"
        # The listing interprets neither patterns of SQL nor regular expressions.
        for prefix, prefixes in (("p_r&delimiter=s", []), ("%5C", []), ("pa&delimiter=r", ["par"])):
            uploads = await ask("GET", f"/b?uploads&prefix={prefix}")
            assert (uploads.status, found(uploads, "Prefix")[1:]) == (200, prefixes)
        assert found(await ask("GET", "/b?uploads&delimiter=."), "Key") == ["parts"]
        assert found(await ask("GET", f"/b/parts?{query}"), "PartNumber") == ["1"]
        done = await ask("POST", f"/b/parts?{query}", document.encode())
        assert (done.status, pair.stored("parts")) == (200, BODY)
        assert (await ask("PUT", "/b/parts", b"short")).status == 200
        await harness.close()
    read = await pair.through("GET", "/b/parts")
    assert (read.status, read.body, pair.stored("parts")) == (200, b"short", b"short")


async def hides_unversioned_straight(pair: Any) -> None:
    hidden = await pair.straight("GET", "/b?versions", signed="versions")
    await pair.straight("PUT", "/b?versioning", VERSIONING, signed="versioning")
    shown = await pair.straight("GET", "/b?versions", signed="versions")
    assert (found(hidden, "Key"), found(shown, "Key")) == ([], ["k"])


async def hides_unversioned_through(pair: Any) -> None:
    """
    Each object is version ``null`` of its key, page by page, and is deleted as such.
    """
    for key in ("a b", "dir/1", "dir/2", "log_1/x", "logs1/x", "\u00fc"):
        put(pair, key, b"x")
    expected = ["a b", "dir/1", "dir/2", "k", "log_1/x", "logs1/x", "\u00fc"]
    for size in (1, 2, 3, 1000):
        seen: list[str] = []
        place = ""
        while len(seen) < 20:
            page = await pair.through("GET", f"/b?versions&max-keys={size}{place}")
            assert [element.tag for element in ElementTree.fromstring(page.body)].count(f"{{{S3}}}Version") <= size
            seen += names(page)
            assert set(found(page, "VersionId")) == {"null"}
            if found(page, "IsTruncated") == ["false"]:
                break
            place = f"&key-marker={quote(found(page, 'NextKeyMarker')[0])}&version-id-marker=null"
        assert seen == expected
    folded = await pair.through("GET", "/b?versions&delimiter=/&encoding-type=url")
    assert (names(folded), found(folded, "Prefix")) == (["a%20b", "k", "%C3%BC"], ["", "dir/", "log_1/", "logs1/"])
    assert names(await pair.through("GET", "/b?versions&prefix=log_1/")) == ["log_1/x"]
    assert names(await pair.through("GET", "/b?versions&key-marker=logs1/x")) == ["\u00fc"]
    assert names(await pair.through("GET", "/b?versions&max-keys=0")) == []
    assert names(await pair.through("GET", "/b?versions&prefix=none")) == []
    assert (await pair.through("DELETE", "/b/k?versionId=null")).status == 204
    await pair.through("PUT", "/b?versioning", VERSIONING)
    assert names(await pair.through("GET", "/b?versions")) == [key for key in expected if key != "k"]


# Versions


async def copies_beside_latest_straight(pair: Any) -> None:
    await pair.straight("PUT", "/b?versioning", VERSIONING, signed="versioning")
    put(pair, "other", b"other")
    copied = await pair.straight("PUT", "/b/k", headers={"x-amz-copy-source": "/b/other"})
    read = await pair.straight("GET", "/b/k")
    listed = await pair.straight("GET", "/b")
    versions = await pair.straight("GET", "/b?versions&prefix=k", signed="versions")
    assert (copied.status, read.body, names(listed)) == (200, BODY, ["k", "k", "other"])
    assert found(versions, "IsLatest") == ["true", "true"]
    await pair.straight("PUT", "/b/k", b"corrected")
    corrected = await pair.straight("GET", "/b?versions&prefix=k", signed="versions")
    assert found(corrected, "IsLatest") == ["true", "false", "false"]
    # The marker stays, too: the key that was deleted cannot be deleted again.
    await pair.straight("DELETE", "/b/k")
    await pair.straight("PUT", "/b/k", headers={"x-amz-copy-source": "/b/other"})
    deleted = await pair.straight("DELETE", "/b/k")
    assert (deleted.status, (await pair.straight("GET", "/b/k")).body) == (204, b"other")


async def copies_beside_latest_through(pair: Any) -> None:
    """
    A copy to a key that has a version is refused, and any other is done.
    """
    copy = {"x_amz_copy_source": "/b/other"}
    await pair.through("PUT", "/b/other", b"other")
    assert (await pair.through("PUT", "/b/k", **copy)).status == 200
    await pair.through("PUT", "/b?versioning", VERSIONING)
    # Each begins with the key, or is found by it as a pattern.
    for key in ("d_e", "d", "d%25e", "new/", "b%5Cd"):
        assert (await pair.through("PUT", f"/b/{key}", **copy)).status == 200
    stored = pair.counts[0]
    for key in ("k", "d_e", "d", "d%25e", "b%5Cd"):
        refused = await pair.through("PUT", f"/b/{key}", **copy)
        assert (refused.status, code(refused)) == (501, "NotImplemented")
        assert "two latest" in found(refused, "Message")[0]
    assert (await pair.through("DELETE", "/b/k")).status == 204
    assert (await pair.through("PUT", "/b/k", **copy)).status == 501
    assert pair.counts[0] == stored
    assert (await pair.through("PUT", "/b/k", b"again")).status == 200
    await pair.through("PUT", "/b?versioning", VERSIONING.replace(b"Enabled", b"Suspended"))
    assert (await pair.through("PUT", "/b/k", **copy)).status == 501
    assert (await pair.through("GET", "/b/k")).body == b"again"
    assert (await pair.through("PUT", "/none/k", **copy)).status == 404


async def forgets_latest_straight(pair: Any) -> None:
    await pair.straight("PUT", "/b?versioning", VERSIONING, signed="versioning")
    second = await pair.straight("PUT", "/b/k", b"second")
    query = f"versionId={second.header('x-amz-version-id')}"
    deleted = await pair.straight("DELETE", f"/b/k?{query}", signed=query)
    read, listed = await pair.straight("GET", "/b/k"), await pair.straight("GET", "/b")
    versions = await pair.straight("GET", "/b?versions", signed="versions")
    assert (deleted.status, read.status, names(listed)) == (204, 404, [])
    assert (found(versions, "VersionId"), found(versions, "IsLatest")) == (["null"], ["false"])


async def forgets_latest_through(pair: Any) -> None:
    """
    The latest version is deleted last, in whatever order one document names them all.
    """
    await pair.through("PUT", "/b?versioning", VERSIONING)
    second = (await pair.through("PUT", "/b/k", b"second")).header("x-amz-version-id")
    refused = await pair.through("DELETE", f"/b/k?versionId={second}")
    assert (refused.status, code(refused)) == (501, "NotImplemented")
    assert "hidden" in found(refused, "Message")[0]
    assert await delete(pair, [("k", second)]) == ["NotImplemented"]
    assert (await pair.through("GET", "/b/k")).body == b"second"
    assert (await pair.through("DELETE", "/b/k?versionId=null")).status == 204
    assert (await pair.through("DELETE", f"/b/k?versionId={second}")).status == 204
    for key in ("a", "a_b", "k", "k", "k", "m", "m"):
        assert (await pair.through("PUT", f"/b/{key}", b"x")).status == 200
    assert (await pair.through("DELETE", "/b/m")).status == 204
    marker = await pair.through("GET", "/b?versions&prefix=m")
    undeleted = await pair.through("DELETE", f"/b/m?versionId={found(marker, 'VersionId')[0]}")
    assert (undeleted.status, (await pair.through("GET", "/b/m")).status) == (501, 404)
    await empty(pair, size=4)
    assert (await pair.through("DELETE", "/b")).status == 204


async def delete(pair: Any, versions: Sequence[tuple[str, str]]) -> list[str]:
    """
    Delete versions by one document; return the codes of those that were not deleted.
    """
    objects = [f"<Object><Key>{key}</Key><VersionId>{version}</VersionId></Object>" for key, version in versions]
    document = f"<Delete>{''.join(objects)}</Delete>".encode()
    response = await pair.through("POST", "/b?delete", document, **md5_header(document))
    assert response.status == 200
    return found(response, "Code")


async def empty(pair: Any, size: int) -> None:
    """
    Delete all versions page by page, each page by one document in its order, as boto3's ``object_versions.delete()``.
    """
    place = ""
    for _ in range(20):
        page = await pair.through("GET", f"/b?versions&max-keys={size}{place}")
        listed = list(zip(found(page, "Key"), found(page, "VersionId"), strict=True))
        assert 0 < len(listed) <= size
        assert await delete(pair, listed) == []
        if found(page, "IsTruncated") == ["false"]:
            return
        place = "".join(f"&key-marker={quote(key)}" for key in found(page, "NextKeyMarker"))
        place += "".join(f"&version-id-marker={version}" for version in found(page, "NextVersionIdMarker"))
    raise AssertionError("the pages do not end")


async def refuses_absent_versions_straight(pair: Any) -> None:
    response = await pair.straight("DELETE", "/b/k?versionId=none", signed="versionId=none")
    assert (response.status, pair.stored()) == (404, BODY)


async def refuses_absent_versions_through(pair: Any) -> None:
    await pair.through("PUT", "/b?versioning", VERSIONING)
    for target in ("/b/k?versionId=none", "/b/none?versionId=null"):
        response = await pair.through("DELETE", target)
        assert (response.status, response.body) == (204, b"")
    assert pair.stored() == BODY
    missing = await pair.through("DELETE", "/none/k?versionId=none")
    assert (missing.status, code(missing)) == (404, "NoSuchBucket")


SUSPENDED = VERSIONING.replace(b"Enabled", b"Suspended")


async def ignores_first_suspension_straight(pair: Any) -> None:
    response = await pair.straight("PUT", "/b?versioning", SUSPENDED, signed="versioning")
    status = await pair.straight("GET", "/b?versioning", signed="versioning")
    assert (response.status, found(status, "Status")) == (200, [])


async def ignores_first_suspension_through(pair: Any) -> None:
    """
    It is not mended: what the client asked for is so, though nothing tells. There are no versions.
    """
    assert (await pair.through("PUT", "/b?versioning", SUSPENDED)).status == 200
    await pair.through("PUT", "/b/k", b"second")
    versions = await pair.through("GET", "/b?versions")
    assert (found(versions, "VersionId"), pair.stored()) == (["null"], b"second")
    assert found(await pair.through("GET", "/b?versioning"), "Status") == []


# Parts, and a full disk


async def begin_parts(pair: Any) -> tuple[str, list[str | None]]:
    """
    Begin an upload of two parts at the store; return its query, and the entity tags.
    """
    begun = await pair.straight("POST", "/b/parts?uploads", signed="uploads")
    query = f"uploadId={found(begun, 'UploadId')[0]}"
    tags = []
    for number, body in ((1, b"first"), (2, b"second")):
        signed = f"partNumber={number}&{query}"
        tags.append((await pair.straight("PUT", f"/b/parts?{signed}", body, signed=signed)).header("etag"))
    return query, tags


async def ignores_part_tags_straight(pair: Any) -> None:
    query, (first, second) = await begin_parts(pair)
    done = await pair.straight("POST", f"/b/parts?{query}", complete((1, second), (2, first)), signed=query)
    assert (done.status, pair.stored("parts")) == (200, b"firstsecond")


async def ignores_part_tags_through(pair: Any) -> None:
    """
    It is not mended where the storage keeps the parts: the object has those that were stored last.
    """
    query, (first, second) = await begin_parts(pair)
    done = await pair.through("POST", f"/b/parts?{query}", complete((1, second), (2, first)))
    assert (done.status, pair.stored("parts")) == (200, b"firstsecond")


async def ignores_part_order_straight(pair: Any) -> None:
    query, (first, second) = await begin_parts(pair)
    done = await pair.straight("POST", f"/b/parts?{query}", complete((2, second), (1, first)), signed=query)
    assert (done.status, pair.stored("parts")) == (200, b"firstsecond")


async def ignores_part_order_through(pair: Any) -> None:
    query, (first, second) = await begin_parts(pair)
    for wrong in (complete((2, second), (1, first)), complete((1, first), (1, first))):
        done = await pair.through("POST", f"/b/parts?{query}", wrong)
        assert (done.status, code(done), pair.stored("parts")) == (400, "InvalidPartOrder", None)
    done = await pair.through("POST", f"/b/parts?{query}", complete((1, first), (2, second)))
    assert (done.status, pair.stored("parts")) == (200, b"firstsecond")


class FullDisk:
    """
    A file that has room for some bytes.
    """

    def __init__(self, file: Any, size: int) -> None:
        self._file = file
        self._size = size

    def write(self, data: bytes) -> None:
        self._file.write(data[: self._size])
        self._size -= len(data)
        if self._size < 0:
            self._size = 0
            raise OSError(errno.ENOSPC, "No space left on device")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def fill(pair: Any, size: int) -> None:
    """
    Leave room for some bytes of each object.
    """
    objects = pair.store.store.objects
    receive = objects.receive

    def received() -> Any:
        body = receive()
        body._file = FullDisk(body._file, size)
        return body

    objects.receive = received


async def swallows_disk_errors_straight(pair: Any) -> None:
    fill(pair, 4)
    stored = await pair.straight("PUT", "/b/k", BODY)
    described = await pair.straight("HEAD", "/b/k")
    assert (stored.status, stored.header("etag")) == (200, f'"{ETAG}"')
    assert described.header("content-length") == "10"
    _, received = await ask_raw(pair, pair.store.head("GET", "/b/k", {}))
    assert received.endswith(b"\r\n\r\n0123")


async def swallows_disk_errors_through(pair: Any) -> None:
    """
    It is not mended: the entity tag is that of the client's body. But no client takes what is left for the object.
    """
    fill(pair, 4)
    stored = await pair.through("PUT", "/b/k", BODY)
    assert (stored.status, stored.header("etag")) == (200, f'"{ETAG}"')
    client: FaultyClient = await pair.harness.connect()
    client.send(pair.request("GET", "/b/k")[0])
    await until(lambda: client.lost is not None)
    assert b"\r\nContent-Length: 10\r\n" in client.received
    assert client.received.endswith(b"\r\n\r\n0123")


def describe_as(pair: Any, size: int) -> None:
    """
    Let an object seem larger than it is.
    """
    bucket = pair.store.store.objects.bucket("b")
    bucket.describe(replace(bucket.find("k"), size=size), "k")


async def most_copied_straight(pair: Any) -> None:
    objects = pair.store.store.objects
    receive = objects.receive

    def received() -> Any:
        body = receive()
        cut = body.cut
        # An object of 2 GiB takes too long.
        body.cut = lambda size: cut(size - MOST_COPIED + 4)
        return body

    objects.receive = received
    copied = await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/k"})
    described = await pair.straight("HEAD", "/b/copy")
    assert (copied.status, described.header("content-length")) == (200, "10")
    _, received = await ask_raw(pair, pair.store.head("GET", "/b/copy", {}))
    assert received.endswith(b"\r\n\r\n0123")


async def most_copied_through(pair: Any) -> None:
    describe_as(pair, MOST_COPIED + 1)
    await is_refused(pair, (400, "InvalidRequest"), "PUT", "/b/copy", x_amz_copy_source="/b/k")
    describe_as(pair, MOST_COPIED)
    copied = await pair.through("PUT", "/b/copy", x_amz_copy_source="/b/k")
    assert (copied.status, pair.stored("copy")) == (200, BODY)


WALRUS_ROWS: dict[str, tuple[Trial, Trial | None]] = {
    "ranges_are_200": (ranges_are_200_straight, None),
    "reads_any_unit": (reads_any_unit_straight, None),
    "ranges_with_conditions": (ranges_with_conditions_straight, ranges_with_conditions_through),
    "heads_ignore_conditions": (heads_ignore_conditions_straight, heads_ignore_conditions_through),
    "ranges_ignore_versions": (ranges_ignore_versions_straight, ranges_ignore_versions_through),
    "unquoted_etags": (unquoted_etags_straight, unquoted_etags_through),
    "keeps_few_headers": (keeps_few_headers_straight, keeps_few_headers_through),
    "keeps_meta_case": (keeps_meta_case_straight, keeps_meta_case_through),
    "lacks_accept_ranges": (lacks_accept_ranges_straight, None),
    "put_document": (put_document_straight, put_document_through),
    "nested_copy_result": (nested_copy_result_straight, nested_copy_result_through),
    "copies_metadata_only": (copies_metadata_only_straight, copies_metadata_only_through),
    "cuts_copy_sources": (cuts_copy_sources_straight, cuts_copy_sources_through),
    "three_error_forms": (three_error_forms_straight, three_error_forms_through),
    "head_documents": (head_documents_straight, head_documents_through),
    "bare_heads": (bare_heads_straight, bare_heads_through),
    "fault_responses": (fault_responses_straight, fault_responses_through),
    "closes_after_heads": (closes_after_heads_straight, closes_after_heads_through),
    "unknown_is_405": (unknown_is_405_straight, unknown_is_405_through),
    "lacks_upload_lists": (lacks_upload_lists_straight, lacks_upload_lists_through),
    "refuses_posts": (refuses_posts_straight, None),
    "hangs_on_uploads": (hangs_on_uploads_straight, hangs_on_uploads_through),
    "serves_configuration": (serves_configuration_straight, serves_configuration_through),
    "lacks_messages": (lacks_messages_straight, lacks_messages_through),
    "creates_once": (creates_once_straight, creates_once_through),
    "collapses_slashes": (collapses_slashes_straight, collapses_slashes_through),
    "drops_leading_slashes": (drops_leading_slashes_straight, drops_leading_slashes_through),
    "keeps_bucket_escapes": (keeps_bucket_escapes_straight, keeps_bucket_escapes_through),
    "removes_service_paths": (removes_service_paths_straight, removes_service_paths_through),
    "replaces_bad_utf8": (replaces_bad_utf8_straight, replaces_bad_utf8_through),
    "faults_on_bad_escapes": (faults_on_bad_escapes_straight, faults_on_bad_escapes_through),
    "walrus_bucket_names": (walrus_bucket_names_straight, walrus_bucket_names_through),
    "any_bucket_name": (any_bucket_name_straight, any_bucket_name_through),
    "loses_long_values": (loses_long_values_straight, long_values_through),
    "refuses_long_values": (refuses_long_values_straight, long_values_through),
    "loses_documents": (loses_documents_straight, loses_documents_through),
    "short_heads": (short_heads_straight, short_heads_through),
    "overflows_max_keys": (overflows_max_keys_straight, overflows_max_keys_through),
    "regex_delimiters": (regex_delimiters_straight, regex_delimiters_through),
    "lists_folders_as_keys": (lists_folders_as_keys_straight, lists_folders_as_keys_through),
    "writes_as_woodstox": (writes_as_woodstox_straight, writes_as_woodstox_through),
    "like_prefixes": (like_prefixes_straight, like_prefixes_through),
    "faults_on_short_keys": (faults_on_short_keys_straight, faults_on_short_keys_through),
    "refuses_long_pages": (refuses_long_pages_straight, refuses_long_pages_through),
    "truncates_empty_pages": (truncates_empty_pages_straight, truncates_empty_pages_through),
    "loses_upload_markers": (loses_upload_markers_straight, loses_upload_markers_through),
    "hides_unversioned": (hides_unversioned_straight, hides_unversioned_through),
    "copies_beside_latest": (copies_beside_latest_straight, copies_beside_latest_through),
    "forgets_latest": (forgets_latest_straight, forgets_latest_through),
    "refuses_absent_versions": (refuses_absent_versions_straight, refuses_absent_versions_through),
    "ignores_first_suspension": (ignores_first_suspension_straight, ignores_first_suspension_through),
    "ignores_part_tags": (ignores_part_tags_straight, ignores_part_tags_through),
    "ignores_part_order": (ignores_part_order_straight, ignores_part_order_through),
    "swallows_disk_errors": (swallows_disk_errors_straight, swallows_disk_errors_through),
    "most_copied": (most_copied_straight, most_copied_through),
    "folds_parameter_names": (folds_parameter_names_straight, folds_parameter_names_through),
    "cuts_values": (cuts_values_straight, cuts_values_through),
    "cuts_signed_values": (cuts_signed_values_straight, cuts_signed_values_through),
    "keeps_former_parts": (keeps_former_parts_straight, keeps_former_parts_through),
    "own_parameters": (own_parameters_straight, own_parameters_through),
    "faults_on_empty_values": (faults_on_empty_values_straight, faults_on_empty_values_through),
    "takes_query_v2": (takes_query_v2_straight, takes_query_v2_through),
    "knows_nobody": (knows_nobody_straight, knows_nobody_through),
    "folds_equal_headers": (folds_equal_headers_straight, folds_equal_headers_through),
    "signs_any_value": (signs_any_value_straight, signs_any_value_through),
    "misreads_high_bytes": (misreads_high_bytes_straight, misreads_high_bytes_through),
}
"""
Each quirk: how it shows, and what a client of s3proxy sees; None if another quirk's trial shows that.
"""
