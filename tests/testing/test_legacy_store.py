"""
The demo's store behaves like an old Walrus, and stores nothing that did not arrive whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from s3proxy.testing import LegacyStore, Quirks
from s3proxy.testing.faulty_client import Response
from s3proxy.testing.legacy_quirks import MODES
from tests.support.harness import NOW, VECTORS, turns, until
from tests.support.legacy import DATE, KEY, PREFIX, SECRET, Running, code, complete, found, md5_header


@asynccontextmanager
async def running_store(directory: Path, **options: Any) -> AsyncIterator[Running]:
    """
    A running store with the bucket ``b``.
    """
    running = Running(directory, **options)
    running.store.objects.bucket("b").create()
    try:
        yield running
    finally:
        await running.close()


# Objects


@pytest_twisted.ensureDeferred
async def test_objects_come_back(tmp_path: Path) -> None:
    """
    An object can be read after it was stored: whole, with its headers, from a second store on the same directory, until
    it is deleted.
    """
    body = bytes(range(256)) * 1000
    kept = {
        "content-type": "text/x",
        "content-encoding": "gzip",
        "content-disposition": "attachment",
        "cache-control": "no-cache",
        "x-amz-meta-a": "ä b",
    }
    async with running_store(tmp_path) as running:
        created = await running.ask("PUT", "/bucket")
        put = await running.ask("PUT", "/bucket/a%20key", body, headers={**kept, **md5_header(body)})
        got = await running.ask("GET", "/bucket/a%20key")
        head = await running.ask("HEAD", "/bucket/a%20key")
        bucket = await running.ask("HEAD", "/bucket")
        again = LegacyStore(tmp_path, {}, wall_clock=lambda: NOW, reactor=reactor)
        kept_bytes, was_there = again.object_bytes("bucket", "a key"), again.has_object("bucket", "a key")
        deleted = await running.ask("DELETE", "/bucket/a%20key")
        gone = await running.ask("GET", "/bucket/a%20key")
        gone_head = await running.ask("HEAD", "/bucket/a%20key")
        emptied = await running.ask("DELETE", "/bucket")
        no_bucket = await running.ask("GET", "/bucket/a%20key")

    assert (created.status, bucket.status, put.status) == (200, 200, 200)
    assert put.header("etag") == f'"{hashlib.md5(body).hexdigest()}"'
    assert (got.status, got.body) == (200, body)
    # Bytes of UTF-8, which the client of the test reads as Latin-1.
    kept["x-amz-meta-a"] = "ä b".encode().decode("latin-1")
    for response in (got, head):
        assert {name: response.header(name) for name in kept} == kept
        assert response.header("content-length") == str(len(body))
        assert response.header("last-modified") == DATE
        assert response.header("etag") == put.header("etag")
    assert (kept_bytes, was_there) == (body, True)
    assert (deleted.status, gone.status, gone_head.status, emptied.status) == (204, 404, 404, 204)
    assert code(no_bucket) == "NoSuchBucket"
    assert not again.has_object("bucket", "a key")
    assert running.store.stored_count == 1
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-4", 206, b"6789", "bytes 6-9/10"),
        ("bytes=-99", 206, b"0123456789", "bytes 0-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("bytes=-0", 416, None, "bytes */10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
        ("bytes=1-2,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_ranges(tmp_path: Path, asked: str, status: int, body: bytes | None, content_range: str | None) -> None:
    """
    One range is served, one beyond the end is refused, and an invalid one is ignored.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/k", b"0123456789")
        got = await running.ask("GET", "/b/k", headers={"range": asked})

    assert (got.status, got.header("content-range")) == (status, content_range)
    assert code(got) == "InvalidRange" if body is None else got.body == body


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("if-none-match", "ETAG", 304),
        ("if-none-match", '"x", ETAG', 304),
        ("if-none-match", "*", 304),
        ("if-none-match", '"x"', 200),
        ("if-match", "ETAG", 200),
        ("if-match", '"x"', 412),
        ("if-modified-since", DATE, 304),
        ("if-modified-since", "Sun, 01 Mar 2026 11:59:59 GMT", 200),
        ("if-modified-since", "yesterday", 200),
        ("if-unmodified-since", DATE, 200),
        ("if-unmodified-since", "Sun, 01 Mar 2026 11:59:59 GMT", 412),
    ],
)
@pytest_twisted.ensureDeferred
async def test_conditions(tmp_path: Path, name: str, value: str, status: int) -> None:
    """
    The response says whether the client has the object.
    """
    async with running_store(tmp_path) as running:
        put = await running.ask("PUT", "/b/k", b"hello")
        got = await running.ask("GET", "/b/k", headers={name: value.replace("ETAG", put.header("etag") or "")})

    assert got.status == status
    assert (got.body == b"hello") is (status == 200)


@pytest_twisted.ensureDeferred
async def test_response_headers_are_overridden(tmp_path: Path) -> None:
    """
    A client may choose the headers of the response; it signs them decoded.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/k", b"hello", headers={"content-type": "text/x"})
        query = "response-content-type=text%2Fplain"
        got = await running.ask("GET", f"/b/k?{query}", signed=unquote(query))

    assert (got.status, got.header("content-type")) == (200, "text/plain")


@pytest_twisted.ensureDeferred
async def test_copies(tmp_path: Path) -> None:
    """
    A copy has the original's bytes, and its headers unless they are replaced.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/the%20original", b"hello", headers={"x-amz-meta-a": "first"})
        source = {"x-amz-copy-source": "/b/the%20original"}
        replacing = {**source, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-a": "second"}
        copied = await running.ask("PUT", "/b/copy", headers=source)
        replaced = await running.ask("PUT", "/b/replaced", headers=replacing)
        missing = await running.ask("PUT", "/b/none", headers={"x-amz-copy-source": "b/missing"})
        elsewhere = await running.ask("PUT", "/b/none", headers={"x-amz-copy-source": "other/k"})
        heads = [await running.ask("HEAD", f"/b/{key}") for key in ("copy", "replaced")]

    etag = hashlib.md5(b"hello").hexdigest()
    assert f'<ETag>"{etag}"</ETag>'.encode() in copied.body
    assert replaced.status == 200
    assert running.store.object_bytes("b", "copy") == b"hello"
    assert [head.header("x-amz-meta-a") for head in heads] == ["first", "second"]
    assert (missing.status, code(elsewhere)) == (404, "NoSuchBucket")
    assert not running.store.has_object("b", "none")


@pytest_twisted.ensureDeferred
async def test_a_plus_in_a_path_is_a_space(tmp_path: Path) -> None:
    """
    A client must escape a plus sign.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/a+b", b"space")
        await running.ask("PUT", "/b/a%2Bb", b"plus")

    assert running.store.object_bytes("b", "a b") == b"space"
    assert running.store.object_bytes("b", "a+b") == b"plus"


@pytest.mark.parametrize(
    ("method", "path", "signed"),
    [
        ("PUT", "/b/k?acl", "acl"),
        ("PUT", "/b/k?retention", ""),
        ("PUT", "/b/k?partNumber=1", "partNumber=1"),
        ("POST", "/b/k?restore", ""),
        ("DELETE", "/b/k?tagging", "tagging"),
        ("GET", "/b/k?acl", "acl"),
        ("PUT", "/b?encryption", ""),
        ("PUT", "/b?policy", "policy"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_unknown_operations_touch_nothing(tmp_path: Path, method: str, path: str, signed: str) -> None:
    """
    A sub-resource that the store does not have is never taken for the object or the bucket.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/k", b"former")
        response = await running.ask(method, path, b"<xml/>" if method != "GET" else b"", signed=signed)

    assert (response.status, code(response)) == (501, "NotImplemented")
    assert running.store.object_bytes("b", "k") == b"former"


# Listings


@pytest_twisted.ensureDeferred
async def test_listings_are_paged(tmp_path: Path) -> None:
    """
    Pages of any size, of both versions of the listing, have each key and each common prefix once, in order.
    """
    keys = ["a/1", "a/2", "c", "d e+f%", "ä/1", "ä/2", "z\n<&>"]
    pages: dict[str, list[str]] = {}
    async with running_store(tmp_path) as running:
        for key in keys:
            folder = running.store.objects.bucket("b")
            folder.put(key, running.store.objects.receive(), 0.0, {})
        for version, parameter, element in (
            ("1", "marker", "NextMarker"),
            ("2", "continuation-token", "NextContinuationToken"),
        ):
            shown = pages[version] = []
            after = ""
            while True:
                query = f"list-type={version}&delimiter=/&max-keys=1&encoding-type=url&{parameter}={after}"
                listed = await running.ask("GET", f"/b?{query}")
                shown += map(unquote, found(listed, "Key") + found(listed, "Prefix")[1:])
                if found(listed, "IsTruncated") == ["false"]:
                    break
                (after,) = found(listed, element)
        prefixed = await running.ask("GET", "/b?prefix=a/&list-type=2")
        later = await running.ask("GET", "/b?list-type=2&start-after=d&encoding-type=url")
        nothing = await running.ask("GET", "/b?max-keys=0")

    assert pages["1"] == pages["2"] == ["a/", "c", "d e+f%", "z\n<&>", "ä/"]
    assert (found(prefixed, "Key"), found(prefixed, "KeyCount")) == (["a/1", "a/2"], ["2"])
    assert list(map(unquote, found(later, "Key"))) == ["d e+f%", "z\n<&>", "ä/1", "ä/2"]
    assert (found(nothing, "Key"), found(nothing, "IsTruncated")) == ([], ["false"])


@pytest_twisted.ensureDeferred
async def test_buckets(tmp_path: Path) -> None:
    """
    Buckets are listed and located, and only empty ones are deleted.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/other")
        await running.ask("PUT", "/other/k", b"hello")
        listed = await running.ask("GET", "/")
        located = await running.ask("GET", "/b?location", signed="location")
        busy = await running.ask("DELETE", "/other")
        missing = await running.ask("HEAD", "/missing")

    assert found(listed, "Name") == ["b", "other"]
    assert b"<LocationConstraint" in located.body
    assert (busy.status, code(busy)) == (409, "BucketNotEmpty")
    assert missing.status == 404
    assert running.store.object_bytes("other", "k") == b"hello"


@pytest_twisted.ensureDeferred
async def test_many_are_deleted_at_once(tmp_path: Path) -> None:
    """
    The keys of a document are deleted, if the document matches its digest.
    """
    document = b"<Delete xmlns='x'><Object><Key>a&amp;</Key></Object><Object><Key>gone</Key></Object></Delete>"
    quiet = b"<Delete><Quiet>true</Quiet><Object><Key>c</Key></Object></Delete>"
    async with running_store(tmp_path) as running:
        for path in ("/b/a&", "/b/c", "/b/d"):
            await running.ask("PUT", path, b"x")
        without = await running.ask("POST", "/b?delete", document, signed="delete")
        changed = await running.ask("POST", "/b?delete", quiet, signed="delete", headers=md5_header(document))
        before = running.store.has_object("b", "a&"), running.store.has_object("b", "c")
        told = await running.ask("POST", "/b?delete", document, signed="delete", headers=md5_header(document))
        untold = await running.ask("POST", "/b?delete", quiet, signed="delete", headers=md5_header(quiet))

    assert (code(without), code(changed)) == ("InvalidRequest", "BadDigest")
    assert before == (True, True)
    assert found(told, "Key") == ["a&amp;", "gone"]
    assert (untold.status, found(untold, "Key")) == (200, [])
    assert [running.store.has_object("b", key) for key in ("a&", "c", "d")] == [False, False, True]


# Uploads in parts


@pytest_twisted.ensureDeferred
async def test_uploads_in_parts(tmp_path: Path) -> None:
    """
    Parts become one object with the headers of the upload, even by another store on the directory; no listing has them.
    """
    etags = []
    async with running_store(tmp_path) as first, running_store(tmp_path) as second:
        begun = await first.ask("POST", "/b/k?uploads", signed="uploads", headers={"content-type": "text/x"})
        (upload,) = found(begun, "UploadId")
        for number, body in ((1, b"a" * 70_000), (10, b"b" * 10)):
            query = f"partNumber={number}&uploadId={upload}"
            etags.append((await first.ask("PUT", f"/b/k?{query}", body, signed=query)).header("etag"))
        listed = await first.ask("GET", "/b")
        query = f"uploadId={upload}"
        document = complete((1, etags[0]), (10, etags[1]))
        done = await second.ask("POST", f"/b/k?{query}", document, signed=query)
        again = await second.ask("POST", f"/b/k?{query}", document, signed=query)
        got = await first.ask("GET", "/b/k")

    digests = hashlib.md5(b"a" * 70_000).digest() + hashlib.md5(b"b" * 10).digest()
    etag = f'"{hashlib.md5(digests).hexdigest()}-2"'
    assert found(listed, "Key") == []
    assert found(done, "ETag") == [etag]
    assert (got.body, got.header("etag"), got.header("content-type")) == (b"a" * 70_000 + b"b" * 10, etag, "text/x")
    assert code(again) == "NoSuchUpload"
    assert list((tmp_path / "incoming").iterdir()) == []


def part_numbers(listed: Response) -> list[int]:
    return [int(number) for number in found(listed, "PartNumber")]


@pytest_twisted.ensureDeferred
async def test_parts_are_listed(tmp_path: Path) -> None:
    """
    By number, in pages, and in the gateway's order of elements. Another upload's parts are not in the listing.
    """
    async with running_store(tmp_path, quirks=MODES["osg-4.3"]) as running:

        async def ask(query: str) -> Response:
            signed = re.match("uploadId=[^&]*", query)
            assert signed is not None
            return await running.ask("GET", f"/b/k?{query}", signed=signed[0])

        (upload,) = found(await running.ask("POST", "/b/k?uploads", signed="uploads"), "UploadId")
        (other,) = found(await running.ask("POST", "/b/k?uploads", signed="uploads"), "UploadId")
        for number in (10, 2, 1):
            query = f"partNumber={number}&uploadId={upload}"
            await running.ask("PUT", f"/b/k?{query}", b"x" * number, signed=query)
        whole = await ask(f"uploadId={upload}")
        pages = [await ask(f"uploadId={upload}&max-parts=2&part-number-marker={marker}") for marker in (0, 2)]
        none = await ask(f"uploadId={upload}&max-parts=0")
        whole_again = await ask(f"uploadId={upload}&part-number-marker=-1")
        empty = await ask(f"uploadId={other}")
        refused = [await ask(f"uploadId={upload}&{query}") for query in ("max-parts=1001", "part-number-marker=x")]
        missing = await ask("uploadId=none")

    names = re.findall(r"<([A-Za-z]+)[ >]", re.sub(r"<\?[^>]*\?>", "", whole.body.decode()))
    person = ["ID", "DisplayName"]
    part = ["Part", "PartNumber", "ETag", "LastModified", "Size"]
    assert names == [
        *("ListPartsResult", "Bucket", "Key", "UploadId", "Initiator", *person, "Owner", *person, "StorageClass"),
        *("PartNumberMarker", "NextPartNumberMarker", "MaxParts", "IsTruncated", *part, *part, *part),
    ]
    assert (part_numbers(whole), found(whole, "Size")) == ([1, 2, 10], ["1", "2", "10"])
    assert found(whole, "ETag")[0] == f'"{hashlib.md5(b"x").hexdigest()}"'
    told = [(part_numbers(page), found(page, "NextPartNumberMarker"), found(page, "IsTruncated")) for page in pages]
    assert told == [([1, 2], ["2"], ["true"]), ([10], ["10"], ["false"])]
    assert (part_numbers(none), found(none, "IsTruncated")) == ([], ["true"])
    assert part_numbers(whole_again) == [1, 2, 10]
    assert (part_numbers(empty), found(empty, "IsTruncated")) == ([], ["false"])
    assert [(response.status, code(response)) for response in (*refused, missing)] == [
        (400, "InvalidArgument"),
        (400, "InvalidArgument"),
        (404, "NoSuchUpload"),
    ]


@pytest_twisted.ensureDeferred
async def test_uploads_are_listed(tmp_path: Path) -> None:
    """
    By key and id, in pages, and in the gateway's order of elements. Uploads that have ended are not in the listing.
    """
    async with running_store(tmp_path, quirks=MODES["osg-4.3"]) as running:

        async def ask(query: str) -> Response:
            return await running.ask("GET", f"/b?uploads&{query}", signed="uploads")

        async def begin(key: str) -> str:
            return found(await running.ask("POST", f"/b/{key}?uploads", signed="uploads"), "UploadId")[0]

        nothing = await ask("prefix=")
        second = await begin("z/2")
        first = sorted([await begin("a"), await begin("a"), await begin("a")])
        aborted = await begin("b")
        await running.ask("DELETE", f"/b/b?uploadId={aborted}", signed=f"uploadId={aborted}")
        whole = await ask("prefix=&delimiter=/")
        pages = [
            await ask("max-uploads=2"),
            await ask(f"max-uploads=2&key-marker=a&upload-id-marker={first[1]}"),
            await ask("key-marker=a"),
            await ask("upload-id-marker=x"),
        ]
        refused = [await ask(f"max-uploads={number}") for number in ("-1", "x", "1001")]

    names = re.findall(r"<([A-Za-z]+)[ >]", re.sub(r"<\?[^>]*\?>", "", whole.body.decode()))
    markers = ["KeyMarker", "UploadIdMarker", "NextKeyMarker", "NextUploadIdMarker"]
    person = ["ID", "DisplayName"]
    upload = ["Upload", "Key", "UploadId", "Initiator", *person, "Owner", *person, "StorageClass", "Initiated"]
    assert names == [
        *("ListMultipartUploadsResult", "Bucket", *markers, "Delimiter", "Prefix", "MaxUploads", "IsTruncated"),
        *upload * 3,
        *("CommonPrefixes", "Prefix"),
    ]
    assert (found(whole, "UploadId"), found(whole, "Prefix")) == (first, ["", "z/"])
    assert [found(page, "UploadId") for page in pages] == [first[:2], [first[2], second], [second], [*first, second]]
    assert [found(page, "IsTruncated") for page in pages] == [["true"], ["false"], ["false"], ["false"]]
    # The last page has them as well.
    assert [found(page, "NextKeyMarker") for page in pages] == [["a"], ["z/2"], ["z/2"], ["z/2"]]
    assert [found(page, "NextUploadIdMarker") for page in pages] == [[first[1]], [second], [second], [second]]
    assert [found(nothing, name) for name in ("Upload", "NextKeyMarker", "IsTruncated")] == [[], [""], ["false"]]
    assert [(response.status, code(response)) for response in refused] == [(400, "InvalidArgument")] * 3


@pytest_twisted.ensureDeferred
async def test_parts_which_do_not_fit(tmp_path: Path) -> None:
    """
    Wrong, missing and disordered parts, another key's upload and an aborted one are refused, and nothing is stored.
    """
    async with running_store(tmp_path) as running:
        begun = await running.ask("POST", "/b/k?uploads", signed="uploads")
        (upload,) = found(begun, "UploadId")
        query = f"uploadId={upload}"
        etags = []
        for number in (1, 2):
            part_query = f"partNumber={number}&{query}"
            etags.append((await running.ask("PUT", f"/b/k?{part_query}", b"part", signed=part_query)).header("etag"))
        codes = []
        for path, document in (
            ("/b/k", complete((1, '"0"'))),
            ("/b/k", complete((3, etags[0]))),
            ("/b/k", complete((0, etags[0]))),
            ("/b/k", complete((2, etags[1]), (1, etags[0]))),
            ("/b/k", complete()),
            ("/b/k", b"<CompleteMultipartUpload>"),
            ("/b/k", b"<!DOCTYPE a><CompleteMultipartUpload/>"),
            ("/b/k", b"<?xml version='1.0' encoding='x'?><a/>"),
            ("/b/k", b"<a><Part><ChecksumCRC32>x</ChecksumCRC32></Part></a>"),
            ("/b/k", b"<a><Part><PartNumber>one</PartNumber></Part></a>"),
            ("/b/other", complete((1, etags[0]))),
        ):
            codes.append(code(await running.ask("POST", f"{path}?{query}", document, signed=query)))
        for bad in ("0", "10001", "x", ""):
            part_query = f"partNumber={bad}&{query}"
            codes.append(code(await running.ask("PUT", f"/b/k?{part_query}", b"part", signed=part_query)))
        part_query = f"partNumber=1&{query}"
        options = {"signed": part_query, "headers": {"x-amz-copy-source": "/b/k"}}
        codes.append(code(await running.ask("PUT", f"/b/k?{part_query}", **options)))
        aborted = await running.ask("DELETE", f"/b/k?{query}", signed=query)
        codes.append(code(await running.ask("PUT", f"/b/k?{part_query}", b"part", signed=part_query)))
        emptied = await running.ask("DELETE", "/b")

    invalid_parts = ["InvalidPart"] * 3 + ["InvalidPartOrder"]
    invalid_documents = ["MalformedXML"] * 5 + ["InvalidArgument"]
    assert codes[:11] == [*invalid_parts, *invalid_documents, "NoSuchUpload"]
    assert codes[11:] == ["InvalidArgument"] * 4 + ["NotImplemented", "NoSuchUpload"]
    assert (aborted.status, emptied.status) == (204, 204)
    assert not running.store.has_object("b", "k")


# Signatures

PUBLISHED = [
    vector
    for vector in json.loads((VECTORS / "vectors" / "s3-sigv2.json").read_text())["vectors"]
    if vector["carrier"] == "header"
]


@pytest.mark.parametrize("vector", PUBLISHED, ids=lambda vector: vector["name"])
@pytest_twisted.ensureDeferred
async def test_published_signatures(tmp_path: Path, vector: dict[str, Any]) -> None:
    """
    The documentation's examples are believed as they are, and with one byte of the path changed they are not.
    """
    request, credentials = vector["request"], vector["credentials"]
    fields = [(name, value) for name, value in request["headers"] if name != "Content-Length"]
    date = next(value for name, value in fields if name.lower() == "date")
    keys = {credentials["access_key"]: credentials["secret_key"]}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
    target = (vector.get("resource_prefix") or "") + request["target"]
    options = {"quirks": Quirks(), "keys": keys, "wall_clock": lambda: parsedate_to_datetime(date)}
    async with running_store(tmp_path, **options) as running:
        right, wrong = [
            await running.say(f"{request['method']} {path} HTTP/1.1\r\n{lines}\r\n".encode())
            for path in (target, target.replace("/", "/x", 1))
        ]

    # Its bucket does not exist, or its sub-resource is unknown: the store checks both after the signature.
    assert right.status in {200, 404, 501}
    assert (wrong.status, code(wrong)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("headers", "options", "status", "expected"),
    [
        ({}, {"secret": "wrong"}, 403, "SignatureDoesNotMatch"),
        ({}, {"key": "UNKNOWN"}, 403, "InvalidAccessKeyId"),
        ({}, {"signed": "acl"}, 403, "SignatureDoesNotMatch"),
        ({}, {"date": None}, 403, "AccessDenied"),
        ({}, {"date": "20260301T120000Z"}, 403, "AccessDenied"),
        ({}, {"date": "Sunday, 01-Mar-26 12:00:00 GMT"}, 403, "AccessDenied"),
        ({}, {"date": "Sun, 01 Mar 2026 12:15:01 GMT"}, 403, "RequestTimeTooSkewed"),
        ({}, {"date": "Sun, 01 Mar 2026 11:44:59 GMT"}, 403, "RequestTimeTooSkewed"),
        ({"x-amz-date": "20260301T120000Z"}, {}, 403, "AccessDenied"),
        ({"x-amz-date": "Sun, 01 Mar 2026 14:00:00 GMT"}, {}, 403, "RequestTimeTooSkewed"),
        ({"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, {}, 501, "NotImplemented"),
        ({"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, {}, 501, "NotImplemented"),
        ({"content-encoding": "gzip, AWS-chunked"}, {}, 501, "NotImplemented"),
        ({"x-amz-decoded-content-length": "5"}, {}, 501, "NotImplemented"),
        ({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {}, 400, "BadDigest"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_walrus_refuses(
    tmp_path: Path, headers: dict[str, str], options: dict[str, Any], status: int, expected: str
) -> None:
    """
    Wrong signatures and current forms of requests are refused, and the former object stays.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/k", b"former")
        response = await running.ask("PUT", "/b/k", b"hello", headers=headers, **options)

    assert (response.status, code(response)) == (status, expected)
    assert running.store.object_bytes("b", "k") == b"former"
    assert running.store.refused_count == 1
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize(
    ("query", "authorization", "status", "expected"),
    [
        ("", "AWS4-HMAC-SHA256 Credential=a/20260301/us-east-1/s3/aws4_request", 400, "InvalidArgument"),
        ("?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=0", None, 403, "AccessDenied"),
        (f"?AWSAccessKeyId={KEY}&Expires=1772366400&Signature=x", None, 403, "AccessDenied"),
        ("", None, 403, "AccessDenied"),
        ("", f"AWS {KEY}", 403, "SignatureDoesNotMatch"),
        ("", f"AWS {KEY}:\xff", 403, "SignatureDoesNotMatch"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_other_signatures_are_not_known(
    tmp_path: Path, query: str, authorization: str | None, status: int, expected: str
) -> None:
    """
    A V4 header, both kinds of presigned requests and a request without a signature are refused.
    """
    line = "" if authorization is None else f"Authorization: {authorization}\r\n"
    head = f"GET {PREFIX}/b{query} HTTP/1.1\r\nHost: x\r\nDate: {DATE}\r\n{line}\r\n"
    async with running_store(tmp_path) as running:
        response = await running.say(head.encode("latin-1"))

    assert (response.status, code(response)) == (status, expected)


# Bodies


@pytest_twisted.ensureDeferred
async def test_a_refusal_is_read_behind_its_body(tmp_path: Path) -> None:
    """
    A client that first sends a large body can then read the refusal, and reuse the connection.
    """
    body = b"a" * 1_000_000
    async with running_store(tmp_path) as running:
        client = await running.connect()
        head = {"content-length": str(len(body))}
        client.send(running.head("PUT", "/b/k", head, secret="wrong") + body)
        refused = await client.response("PUT")
        client.send(running.head("PUT", "/b/k", head) + body)
        stored = await client.response("PUT")

    assert refused is not None
    assert stored is not None
    assert (refused.status, stored.status) == (403, 200)
    assert running.store.object_bytes("b", "k") == body
    assert running.store.received_size == 2 * len(body)


@pytest_twisted.ensureDeferred
async def test_continue_comes_before_the_body(tmp_path: Path) -> None:
    """
    A client that asks for 100 Continue gets it.
    """
    async with running_store(tmp_path) as running:
        client = await running.connect()
        client.send(running.head("PUT", "/b/k", {"content-length": "5", "expect": "100-continue"}))
        await client.until(lambda: client.received)
        client.send(b"hello")
        response = await client.response("PUT")

    assert response is not None
    assert (response.interim, response.status) == ([100], 200)


@pytest_twisted.ensureDeferred
async def test_a_body_without_length_is_refused(tmp_path: Path) -> None:
    """
    Chunked transfer coding gets 411, and nothing of it is stored.
    """
    async with running_store(tmp_path) as running:
        head = running.head("PUT", "/b/k", {"transfer-encoding": "chunked"})
        response = await running.say(head + b"5\r\nhello\r\n0\r\n\r\n", "PUT")

    assert (response.status, code(response)) == (411, "MissingContentLength")
    assert not running.store.has_object("b", "k")
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest_twisted.ensureDeferred
async def test_half_a_body_is_nothing(tmp_path: Path) -> None:
    """
    A connection that ends inside a PUT leaves the former object, and no file.
    """
    async with running_store(tmp_path) as running:
        await running.ask("PUT", "/b/k", b"former")
        client = await running.connect()
        client.send(running.head("PUT", "/b/k", {"content-length": "100000"}) + b"a" * 50_000)
        await until(lambda: running.store.received_size >= 50_000)
        arriving = list((tmp_path / "incoming").iterdir())
        client.transport.abortConnection()
        await until(lambda: running.store.aborted_count == 1)

    assert len(arriving) == 1
    assert running.store.object_bytes("b", "k") == b"former"
    assert list((tmp_path / "incoming").iterdir()) == []
    assert running.store.stored_count == 1


@pytest_twisted.ensureDeferred
async def test_a_store_with_a_pace(tmp_path: Path) -> None:
    """
    It reads no more than its pace allows in each step of the clock, and answers when the last byte has had its time.
    """
    clock = Clock()
    sizes = []
    async with running_store(tmp_path, reactor=clock, bytes_per_second=1000) as running:
        client = await running.connect()
        client.send(running.head("PUT", "/b/k", {"content-length": "1000"}) + b"a" * 1000)
        await until(lambda: running.store.received_size)
        while not client.received:
            # Without the pace everything would have arrived by now.
            await turns(20)
            sizes.append((clock.seconds(), running.store.received_size))
            clock.advance(0.05)
            await turns(20)
        answered_at = clock.seconds()
        response = await client.response("PUT")

    assert response is not None
    assert response.status == 200
    assert [(at, size) for at, size in sizes if size > 1000 * at + running.store.read_size] == []
    assert running.store.read_size == 100
    assert answered_at >= 0.99
    assert running.store.object_bytes("b", "k") == b"a" * 1000


@pytest_twisted.ensureDeferred
async def test_the_pace_may_change(tmp_path: Path) -> None:
    """
    A store whose pace is lifted reads the rest at once; a client that left meanwhile leaves no timer.
    """
    clock = Clock()
    async with running_store(tmp_path, reactor=clock, bytes_per_second=1000) as running:
        client, leaving = await running.connect(), await running.connect()
        for sender in (client, leaving):
            sender.send(running.head("PUT", "/b/k", {"content-length": "50000"}) + b"a" * 40_000)
        await until(lambda: running.store.received_size >= 2)
        await turns(20)
        paced_size = running.store.received_size
        running.store.bytes_per_second = None
        clock.advance(1)
        client.send(b"a" * 10_000)
        response = await client.response("PUT")
        leaving.transport.abortConnection()
        await until(lambda: running.store.aborted_count == 1)
    left = [call for call in clock.getDelayedCalls() if "_go_on" in str(call)]

    assert paced_size <= 200
    assert response is not None
    assert response.status == 200
    assert left == []


# Invalid requests


@pytest.mark.parametrize(
    ("method", "path", "status", "expected"),
    [
        ("GET", "/b/%ff", 400, "InvalidURI"),
        ("GET", "/b?prefix=%ff", 400, "InvalidURI"),
        ("GET", "/b?max-keys=many", 400, "InvalidArgument"),
        ("GET", "/b?max-keys=-1", 400, "InvalidArgument"),
        ("GET", "/b?encoding-type=x", 400, "InvalidArgument"),
        ("GET", "/b?list-type=2&continuation-token=%C3%A4", 400, "InvalidArgument"),
        ("GET", "/b?list-type=2&continuation-token=_w==", 400, "InvalidArgument"),
        ("GET", "/" + "x" * 300, 400, "InvalidBucketName"),
        ("PUT", "/" + "x" * 300, 400, "InvalidBucketName"),
        ("PUT", "/b/" + "x" * 1025, 400, "KeyTooLong"),
        ("PUT", "//k", 405, "MethodNotAllowed"),
        ("POST", "/", 405, "MethodNotAllowed"),
        ("PATCH", "/b/k", 501, "NotImplemented"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_nonsense_is_refused(tmp_path: Path, method: str, path: str, status: int, expected: str) -> None:
    """
    Invalid requests get an S3 error.
    """
    async with running_store(tmp_path) as running:
        response = await running.ask(method, path)

    assert (response.status, code(response)) == (status, expected)
    assert running.store.objects.buckets() == ["b"]


@pytest_twisted.ensureDeferred
async def test_outside_of_the_service(tmp_path: Path) -> None:
    """
    Nothing is found outside the service path, not even below a path that begins alike.
    """
    async with running_store(tmp_path) as running:
        running.service_path = ""
        responses = [await running.ask("GET", path) for path in ("/b", "/services/WalrusX/b")]

    assert [(response.status, code(response)) for response in responses] == [(404, "NoSuchKey")] * 2


@pytest_twisted.ensureDeferred
async def test_a_length_which_nobody_counts(tmp_path: Path) -> None:
    """
    A Content-Length of 5,000 digits is refused, and ends the connection.
    """
    async with running_store(tmp_path) as running:
        response = await running.say(running.head("PUT", "/b/k", {"content-length": "9" * 5000}), "PUT")
        await until(lambda: running.clients[-1].lost)

    assert response.status == 400


@pytest_twisted.ensureDeferred
async def test_a_disk_which_takes_nothing(tmp_path: Path) -> None:
    """
    If an object cannot be written, the response is 500, and the store keeps running.
    """
    async with running_store(tmp_path) as running:
        (tmp_path / "incoming").rmdir()
        failed = await running.ask("PUT", "/b/k", b"hello")
        empty = await running.ask("PUT", "/b/k")
        (tmp_path / "incoming").mkdir()
        stored = await running.ask("PUT", "/b/k", b"hello")

    assert [(response.status, code(response)) for response in (failed, empty)] == [(500, "InternalError")] * 2
    assert stored.status == 200


def test_secrets_are_not_shown(tmp_path: Path) -> None:
    """
    No text form of the store has a secret.
    """
    store = LegacyStore(tmp_path, {KEY: SECRET}, wall_clock=lambda: NOW, reactor=reactor)

    assert SECRET not in repr(store) + str(store)
