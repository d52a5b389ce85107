"""
Each quirk of the older storage systems: the store itself shows it, and the client of s3proxy does not see it.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import boto3
import pytest
import pytest_twisted
from botocore.config import Config
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from s3proxy.authentication.realm import Anonymous
from s3proxy.commands.cli import main
from s3proxy.configuration.loading import make_settings
from s3proxy.daemon.backends import make_backend
from s3proxy.profiles.known import PROFILES
from s3proxy.resign.error_documents import translate_error
from s3proxy.resign.response import MAX_SIZES, ResponseUse
from s3proxy.testing import MODES, FaultyBackend, Quirks
from s3proxy.testing.faulty_client import FaultyClient, Response
from tests.mending.walrus_rows import WALRUS_ROWS
from tests.support.harness import BACKEND_KEY, Harness, until
from tests.support.legacy import DATE, KEY, SECRET, Running, code, complete, found, md5_header
from tests.support.pair import BODY, Pair, running_pair
from tests.support.signer import Signer

ETAG = hashlib.md5(BODY).hexdigest()
ROOT = Path(__file__).parents[2]


Trial = Callable[[Pair], Awaitable[None]]


@dataclass(frozen=True)
class Row:
    """
    A quirk's two trials.
    """

    straight: Trial
    through: Trial


# The trials, in the order of the quirks


async def service_path_straight(pair: Pair) -> None:
    pair.store.service_path = ""
    response = await pair.straight("GET", "/b/k")
    assert response.status in {403, 404}


async def service_path_through(pair: Pair) -> None:
    response = await pair.through("GET", "/b/k")
    assert (response.status, response.body) == (200, BODY)


async def signs_service_path_straight(pair: Pair) -> None:
    path = pair.quirks.service_path.decode()
    statuses = []
    for signed_path in ("", path):
        pair.store.service_path = signed_path
        head = pair.store.head("GET", "/b/k", {}).decode().replace(f"GET {signed_path}/b/k", f"GET {path}/b/k")
        statuses.append((await pair.store.say(head.encode())).status)
    expected = {"in": [403, 200], "out": [200, 403], "either": [200, 200]}
    assert statuses == expected[pair.quirks.signs_service_path]


async def refuses_v4_straight(pair: Pair) -> None:
    signer = Signer(access_key_id=KEY, secret=SECRET)
    response = await pair.store.say(signer.head("GET", pair.quirks.service_path.decode() + "/b/k")[0])
    assert response.status in {400, 403}


async def hashes_buffer_straight(pair: Pair) -> None:
    signer = Signer(access_key_id=KEY, secret=SECRET)
    path = pair.quirks.service_path.decode() + "/b/k"
    statuses = []
    for size in (100_000, 200_000):
        request = signer.put(path, bytes(size))
        statuses.append((await pair.store.say(request.head + request.body, "PUT")).status)
    assert statuses == [200, 403]


async def hashes_buffer_through(pair: Pair) -> None:
    for size in (50_000, 100_000, 200_000):
        body = bytes(size)
        assert (await pair.through("PUT", "/b/k", body)).status == 200
        assert pair.stored() == body


async def refuses_iso_dates_straight(pair: Pair) -> None:
    response = await pair.straight("GET", "/b/k", headers={"x-amz-date": "20260301T120000Z"})
    assert (response.status, code(response)) == (403, "AccessDenied")


async def repeats_amz_date_straight(pair: Pair) -> None:
    response = await pair.straight("GET", "/b/k", headers={"x-amz-date": DATE})
    assert (response.status, code(response)) == (403, "SignatureDoesNotMatch")


async def denies_only_straight(pair: Pair) -> None:
    responses = [
        await pair.straight("GET", "/b/k", secret="wrong"),
        await pair.straight("GET", "/b/k", key="UNKNOWN"),
        await pair.straight("GET", "/b/k", date="Sun, 01 Mar 2026 14:00:00 GMT"),
    ]
    assert [(response.status, code(response)) for response in responses] == [(403, "AccessDenied")] * 3


async def denies_only_through(pair: Pair) -> None:
    """
    The only quirk without a correction: an error about s3proxy's own key looks like one about the client's rights.
    """
    account = pair.harness.backend_key
    pair.store.store._keys = {account.access_key_id: "another secret"}
    response = await pair.through("GET", "/b/k")
    assert (response.status, code(response)) == (403, "AccessDenied")


async def plus_is_space_straight(pair: Pair) -> None:
    await pair.straight("PUT", "/b/a+b", b"x")
    assert (pair.stored("a b"), pair.stored("a+b")) == (b"x", None)
    copied = await pair.straight("PUT", "/b/copy", headers={"x-amz-copy-source": "/b/a+b"})
    assert (copied.status, pair.stored("copy")) == (200, b"x")


async def plus_is_space_through(pair: Pair) -> None:
    await pair.through("PUT", "/b/a+b", b"x")
    got = await pair.through("GET", "/b/a+b")
    assert (pair.stored("a b"), pair.stored("a+b"), got.body) == (None, b"x", b"x")
    copied = await pair.through("PUT", "/b/copy", x_amz_copy_source="/b/a%2Bb")
    spaced = [await pair.through("PUT", "/b/spaced", x_amz_copy_source=source) for source in ("/b/a%20b", "/b/a+b")]
    assert (copied.status, pair.stored("copy"), [response.status for response in spaced]) == (200, b"x", [404, 404])


async def object_parameters_straight(pair: Pair) -> None:
    """
    The tags overwrite the object.
    """
    response = await pair.straight("PUT", "/b/k?tagging", b"<Tagging/>", signed="tagging")
    assert (response.status, pair.stored()) == (200, b"<Tagging/>")


async def refused_before_the_store(pair: Pair, *request: Any, **headers: str) -> None:
    counts = pair.counts
    response = await pair.through(*request, **headers)
    assert (response.status, code(response)) == (501, "NotImplemented")
    assert found(response, "RequestId") == [response.header("x-amz-request-id")]
    assert (pair.counts, pair.stored()) == (counts, BODY)


async def object_parameters_through(pair: Pair) -> None:
    for query in ("tagging", "retention", "legal-hold", "renameObject", "who-knows"):
        await refused_before_the_store(pair, "PUT", f"/b/k?{query}", b"<Tagging/>")
    await refused_before_the_store(pair, "DELETE", "/b/k?tagging")
    await refused_before_the_store(pair, "POST", "/b/k?restore", b"<x/>")
    await refused_before_the_store(pair, "GET", "/b/k?attributes")
    await refused_before_the_store(pair, "PUT", "/b/k", b"x", x_amz_tagging="a=b")
    await refused_before_the_store(pair, "PUT", "/b/k", b"x", x_amz_server_side_encryption="AES256")


async def lacks_multi_delete_straight(pair: Pair) -> None:
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    response = await pair.straight("POST", "/b?delete", document, signed="delete", headers=md5_header(document))
    assert (response.status, pair.stored()) in {(501, BODY), (403, BODY)}


async def lacks_multi_delete_through(pair: Pair) -> None:
    """
    `tests/forwarding/test_deletions.py` has the rest.
    """
    document = b"<Delete><Object><Key>k</Key></Object></Delete>"
    md5 = md5_header(document)["content-md5"]
    response = await pair.through("POST", "/b?delete", document, **{"content-md5": md5})
    assert (response.status, found(response, "Key"), found(response, "Code")) == (200, ["k"], [])
    assert pair.stored() is None


async def ignores_write_conditions_straight(pair: Pair) -> None:
    response = await pair.straight("PUT", "/b/k", b"other", headers={"if-none-match": "*"})
    assert (response.status, pair.stored()) == (200, b"other")


async def ignores_write_conditions_through(pair: Pair) -> None:
    await refused_before_the_store(pair, "PUT", "/b/k", b"other", if_none_match="*")
    await refused_before_the_store(pair, "PUT", "/b/k", b"other", if_match='"x"')
    copy = {"x_amz_copy_source": "/b/k"}
    await refused_before_the_store(pair, "PUT", "/b/copy", b"", **copy, if_none_match="*")
    await refused_before_the_store(pair, "PUT", "/b/copy", b"", **copy, if_match='"x"', x_amz_copy_source_if_match="*")
    await refused_before_the_store(pair, "PUT", "/b/copy", b"", x_amz_copy_source_if_match="*")
    if pair.harness.profile.misreads_sources:
        await source_conditions_through(pair, copy)
    else:
        await refused_before_the_store(pair, "PUT", "/b/copy", b"", **copy, x_amz_copy_source_if_match='"x"')


async def source_conditions_through(pair: Pair, copy: dict[str, str]) -> None:
    before, after = "Sun, 01 Mar 2026 11:59:59 GMT", "Sun, 01 Mar 2026 12:00:00 GMT"
    for condition, status in (
        ({"x_amz_copy_source_if_match": '"x"'}, 412),
        ({"x_amz_copy_source_if_match": '"x"', "x_amz_copy_source_if_unmodified_since": after}, 412),
        ({"x_amz_copy_source_if_none_match": ETAG}, 412),
        ({"x_amz_copy_source_if_none_match": f'"{ETAG}"', "x_amz_copy_source_if_modified_since": before}, 412),
        ({"x_amz_copy_source_if_modified_since": after}, 412),
        ({"x_amz_copy_source_if_unmodified_since": before}, 412),
        ({"x_amz_copy_source_if_match": f'"{ETAG}"', "x_amz_copy_source_if_unmodified_since": before}, 200),
        ({"x_amz_copy_source_if_match": ETAG}, 200),
        ({"x_amz_copy_source_if_none_match": '"x"'}, 200),
        ({"x_amz_copy_source_if_modified_since": before}, 200),
        ({"x_amz_copy_source_if_unmodified_since": after}, 200),
    ):
        stored = pair.counts[0]
        response = await pair.through("PUT", "/b/copy", b"", **copy, **condition)
        assert (condition, response.status) == (condition, status)
        assert status == 200 or code(response) == "PreconditionFailed"
        assert pair.counts[0] - stored == (status == 200)
    missing = await pair.through(
        "PUT", "/b/copy", b"", x_amz_copy_source="/b/missing", x_amz_copy_source_if_match=f'"{ETAG}"'
    )
    assert (missing.status, code(missing), found(missing, "Key")) == (404, "NoSuchKey", ["missing"])
    assert pair.stored("copy") == BODY


async def own_codes_straight(pair: Pair) -> None:
    missing = await pair.straight("GET", "/b/missing")
    changed = await pair.straight("PUT", "/b/k", b"x", headers=md5_header(b"y"))
    beyond = await pair.straight("GET", "/b/k", headers={"Range": "bytes=10-"})
    unknown = await pair.straight("PATCH", "/b/k")
    responses = (missing, changed, beyond, unknown)
    assert [(response.status, code(response)) for response in responses] == [
        (404, "NoSuchEntity"),
        (400, "ContentMismatch"),
        (416, "Invalid Range"),
        (405, "UNKNOWN"),
    ]


async def own_codes_through(pair: Pair) -> None:
    missing = await pair.through("GET", "/b/missing")
    no_bucket = await pair.through("GET", "/none/k")
    changed = await pair.through("PUT", "/b/k", b"x", **{"content-md5": md5_header(b"y")["content-md5"]})
    beyond = await pair.through("GET", "/b/k", range="bytes=10-")
    unknown = await pair.through("PATCH", "/b/k")
    responses = (missing, no_bucket, changed, beyond, unknown)
    assert [(response.status, code(response)) for response in responses] == [
        (404, "NoSuchKey"),
        (404, "NoSuchBucket"),
        (400, "BadDigest"),
        (416, "InvalidRange"),
        (405, "MethodNotAllowed"),
    ]
    assert pair.harness.records[0].error_code == "NoSuchKey"


async def odd_ranges_straight(pair: Pair) -> None:
    middle = await pair.straight("GET", "/b/k", headers={"Range": "bytes=2-4"})
    suffix = await pair.straight("GET", "/b/k", headers={"Range": "bytes=-4"})
    several = await pair.straight("GET", "/b/k", headers={"Range": "bytes=0-1,4-5"})
    assert (middle.header("content-range") or "").startswith("2-4/")
    assert (middle.body, suffix.body) == (b"234", b"01234")
    assert several.status == (400 if pair.quirks.fault_responses == "400" else 500)


RANGES: list[tuple[str, int, bytes | None, str | None]] = [
    ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
    ("bytes=7-", 206, b"789", "bytes 7-9/10"),
    ("bytes=0-", 206, BODY, "bytes 0-9/10"),
    ("bytes=-4", 206, b"6789", "bytes 6-9/10"),
    ("bytes=-99", 206, BODY, "bytes 0-9/10"),
    ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
    ("bytes=10-", 416, None, None),
    ("bytes=-0", 416, None, None),
    ("bytes=5-2", 200, BODY, None),
    ("bytes=-", 200, BODY, None),
    ("bytes=1-2,4-5", 200, BODY, None),
    ("lines=1-2", 200, BODY, None),
]


async def ranges_through(pair: Pair) -> None:
    for asked, status, body, content_range in RANGES:
        got = await pair.through("GET", "/b/k", range=asked)
        assert (asked, got.status) == (asked, status)
        assert got.status == 416 or got.header("content-range") == content_range
        assert code(got) == "InvalidRange" if body is None else got.body == body
    missing = await pair.through("GET", "/b/missing", range="bytes=2-4")
    assert (missing.status, code(missing)) == (404, "NoSuchKey")


async def odd_ranges_through(pair: Pair) -> None:
    await ranges_through(pair)
    same = await pair.through("GET", "/b/k", range="bytes=2-4", if_range=f'"{ETAG}"')
    other = await pair.through("GET", "/b/k", range="bytes=2-4", if_range='"other"')
    assert [(response.status, response.body) for response in (same, other)] == [(206, b"234"), (200, BODY)]


async def bare_etags_straight(pair: Pair) -> None:
    matching = await pair.straight("GET", "/b/k", headers={"If-Match": f'"{ETAG}"'})
    unchanged = await pair.straight("GET", "/b/k", headers={"If-None-Match": f'"{ETAG}"'})
    assert (matching.status, unchanged.status) == (412, 200)


async def bare_etags_through(pair: Pair) -> None:
    statuses = []
    for headers in (
        {"if_match": f'"{ETAG}"'},
        {"if_match": '"other"'},
        {"if_match": "*"},
        {"if_none_match": f'"{ETAG}"'},
        {"if_none_match": f'W/"{ETAG}"'},
        {"if_none_match": '"other"'},
        {"if_match": f'"{ETAG}"', "range": "bytes=2-4"},
        {"if_match": f'"{ETAG}", "other"'},
    ):
        statuses.append((await pair.through("GET", "/b/k", **headers)).status)
    assert statuses == [200, 412, 200, 304, 304, 200, 206, 200]
    beyond = await pair.through("GET", "/b/k", if_match='"other"', range="bytes=99-")
    missing = await pair.through("GET", "/b/missing", if_match='"other"')
    assert [(response.status, code(response)) for response in (beyond, missing)] == [
        (412, "PreconditionFailed"),
        (404, "NoSuchKey"),
    ]
    assert found(beyond, "Condition") == ["If-Match"]


async def document_with_304_straight(pair: Pair) -> None:
    client = await pair.store.connect()
    client.send(pair.store.head("GET", "/b/k", {"If-Modified-Since": DATE}))
    response = await client.response("GET")
    assert response is not None
    await client.until(lambda: b"NotModified" in client.received)
    assert response.status == 304


async def document_with_304_through(pair: Pair) -> None:
    client: FaultyClient = await pair.harness.connect()
    for headers, status in (({"if-modified-since": DATE}, 304), ({}, 200), ({"if-none-match": f'"{ETAG}"'}, 304)):
        for method in ("GET", "HEAD"):
            client.send(pair.request(method, "/b/k", **headers)[0])
            response = await client.response(method)
            assert response is not None
            assert (response.status, response.header("etag")) == (status, f'"{ETAG}"')
            assert response.body == (BODY if status == 200 and method == "GET" else b"")
            assert client.received == b""


async def exact_names_straight(pair: Pair) -> None:
    """
    Clients that write names in lower case get the whole object, and never a 304.
    """
    ranged = await pair.straight("GET", "/b/k", headers={"range": "bytes=2-4"})
    since = await pair.straight("GET", "/b/k", headers={"if-modified-since": DATE})
    assert [(response.status, response.body) for response in (ranged, since)] == [(200, BODY)] * 2


async def exact_names_through(pair: Pair) -> None:
    ranged = await pair.through("GET", "/b/k", range="bytes=2-4")
    since = await pair.through("GET", "/b/k", **{"if-modified-since": DATE})
    unmodified = await pair.through("GET", "/b/k", **{"if-unmodified-since": "Sun, 01 Mar 2026 11:59:59 GMT"})
    assert (ranged.status, since.status, unmodified.status) == (206, 304, 412)


async def ignores_overrides_straight(pair: Pair) -> None:
    query = "response-content-type=text%2Fplain"
    unsigned = await pair.straight("GET", f"/b/k?{query}")
    signed = await pair.straight("GET", f"/b/k?{query}", signed=unquote(query))
    assert (unsigned.status, unsigned.header("content-type"), signed.status) == (200, "text/x", 403)


async def ignores_overrides_through(pair: Pair) -> None:
    query = "response-content-type=text%2Fplain&response-content-disposition=attachment%3B%20filename%3Da%2Bb"
    got = await pair.through("GET", f"/b/k?{query}")
    ranged = await pair.through("GET", f"/b/k?{query}", range="bytes=2-4")
    evil = await pair.through("GET", "/b/k?response-content-type=a%0D%0Ax:%20b")
    for response in (got, ranged):
        assert response.header("content-type") == "text/plain"
        assert response.header("content-disposition") == "attachment; filename=a+b"
    assert (got.body, ranged.body) == (BODY, b"234")
    assert (evil.header("content-type"), evil.header("x")) == ("text/x", None)


async def lists_v1_straight(pair: Pair) -> None:
    """
    A client that wants a continuation token takes the first page for the whole listing.
    """
    await pair.straight("PUT", "/b/l", b"x")
    listed = await pair.straight("GET", "/b?list-type=2&max-keys=1&encoding-type=url")
    assert (found(listed, "Key"), found(listed, "IsTruncated")) == (["k"], ["true"])
    assert found(listed, "NextContinuationToken") == found(listed, "EncodingType") == []


async def lists_v1_through(pair: Pair) -> None:
    keys = ["a/1", "a/2", "c", "d e+f%", "k", "ä/1", "z<&>\"'"]
    folder = pair.store.store.objects.bucket("b")
    for key in keys:
        folder.put(key, pair.store.store.objects.receive(), 0.0, {})
    for delimiter in ("", "%2F"):
        shown: list[str] = []
        counted = 0
        token = ""
        while True:
            query = f"list-type=2&delimiter={delimiter}&max-keys=2&encoding-type=url&fetch-owner=true"
            listed = await pair.through("GET", f"/b?{query}" + (f"&continuation-token={quote(token)}" if token else ""))
            assert listed.status == 200
            assert found(listed, "ContinuationToken") == ([token] if token else [])
            assert found(listed, "Marker") == found(listed, "NextMarker") == []
            shown += [unquote(name) for name in found(listed, "Key") + found(listed, "Prefix")[1:]]
            counted += int(found(listed, "KeyCount")[0])
            if found(listed, "IsTruncated") == ["false"]:
                break
            (token,) = found(listed, "NextContinuationToken")
        whole = keys
        if delimiter:
            whole = ["a/", *(key for key in whole if "/" not in key), "ä/"]
        assert (sorted(shown), counted) == (sorted(whole), len(whole))
    later = await pair.through("GET", "/b?list-type=2&start-after=d%20e%2Bf%25")
    assert found(later, "Key")[0] == "k"
    assert found(later, "StartAfter") == ["d e+f%"]
    first = await pair.through("GET", "/b?marker=c&max-keys=1")
    assert (found(first, "Key"), found(first, "NextMarker")) == (["d e+f%"], ["d e+f%"])
    bad = await pair.through("GET", "/b?list-type=2&continuation-token=%21")
    assert (bad.status, code(bad)) == (400, "InvalidArgument")


async def upload_in_parts(pair: Pair) -> tuple[str, Response]:
    begun = await pair.through("POST", "/b/parts?uploads")
    (upload,) = found(begun, "UploadId")
    part = await pair.through("PUT", f"/b/parts?partNumber=1&uploadId={upload}", BODY)
    document = complete((1, part.header("etag")))
    done = await pair.through("POST", f"/b/parts?uploadId={upload}", document)
    assert done.status == 200
    return found(done, "ETag")[0], await pair.through("GET", "/b/parts", range="bytes=2-4")


async def uuid_etags_straight(pair: Pair) -> None:
    query = f"uploadId={found(await pair.straight('POST', '/b/parts?uploads', signed='uploads'), 'UploadId')[0]}"
    part = await pair.straight("PUT", f"/b/parts?partNumber=1&{query}", BODY, signed=f"partNumber=1&{query}")
    done = await pair.straight("POST", f"/b/parts?{query}", complete((1, part.header("etag"))), signed=query)
    assert re.fullmatch('"uuid-[0-9a-f-]{36}"', found(done, "ETag")[0])


async def uuid_etags_through(pair: Pair) -> None:
    """
    It is the backend's name for the object, in listings and conditions, too: s3proxy leaves it as it is. Clients take
    no entity tag with a hyphen for an MD5.
    """
    etag, got = await upload_in_parts(pair)
    assert etag.startswith('"uuid-')
    assert (got.status, got.body, got.header("etag")) == (206, b"234", etag)
    assert (await pair.through("GET", "/b/parts", if_none_match=etag)).status == 304


async def head_service_straight(pair: Pair) -> None:
    path = pair.quirks.service_path.decode()
    response = await pair.store.say(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "HEAD")
    assert response.status == 405
    assert PROFILES[pair.mode].health.method == b"HEAD"
    assert PROFILES[pair.mode].health.is_healthy(response.status)


async def head_service_through(pair: Pair) -> None:
    """
    S3 responds in the same way.
    """
    assert (await pair.through("HEAD", "/")).status == 405


async def closes_on_errors_straight(pair: Pair) -> None:
    client = await pair.store.connect()
    client.send(pair.store.head("GET", "/b/missing", {}))
    await client.response("GET")
    await until(lambda: client.lost is not None)


async def keeps_its_client(pair: Pair, *targets: str) -> None:
    client: FaultyClient = await pair.harness.connect()
    for target in targets * 2:
        client.send(pair.request("GET", target)[0])
        response = await client.response("GET")
        assert response is not None
        assert response.header("connection") is None
    assert client.lost is None


async def closes_on_errors_through(pair: Pair) -> None:
    await keeps_its_client(pair, "/b/missing", "/b/k")


async def closes_after_reads_straight(pair: Pair) -> None:
    client = await pair.store.connect()
    client.send(pair.store.head("GET", "/b/k", {}))
    await client.response("GET")
    await until(lambda: client.lost is not None)


async def closes_after_reads_through(pair: Pair) -> None:
    await keeps_its_client(pair, "/b/k", "/b/k")


async def trusts_rewrite_header_straight(pair: Pair) -> None:
    """
    One path is signed, and another one is read.
    """
    head = pair.store.head("GET", "/other", {}).decode().replace("GET /other", "GET /b/k")
    response = await pair.store.say(head.replace("\r\n\r\n", "\r\nx-rcs-rewrite-path: /other\r\n\r\n").encode())
    assert (response.status, response.body) == (200, BODY)


async def trusts_rewrite_header_through(pair: Pair) -> None:
    counts = pair.counts
    for name in ("x-rcs-rewrite-path", "x-rcs-raw-url", "x_rcs_rewrite_path"):
        response = await pair.through("GET", "/b/k", **{name: "/other"})
        assert (response.status, code(response)) == (403, "AccessDenied")
    for target in ("/riak-cs/users", "/riak-cs/user", "/usage/KEY", "/./riak-cs/stats", "/%72iak-cs/stats"):
        response = await pair.through("GET", target)
        assert (response.status, code(response)) == (403, "AccessDenied")
    assert pair.counts == counts


ROWS: dict[str, Row] = {
    "service_path": Row(service_path_straight, service_path_through),
    "signs_service_path": Row(signs_service_path_straight, service_path_through),
    "refuses_v4": Row(refuses_v4_straight, service_path_through),
    "hashes_buffer": Row(hashes_buffer_straight, hashes_buffer_through),
    "refuses_iso_dates": Row(refuses_iso_dates_straight, service_path_through),
    "repeats_amz_date": Row(repeats_amz_date_straight, service_path_through),
    "denies_only": Row(denies_only_straight, denies_only_through),
    "plus_is_space": Row(plus_is_space_straight, plus_is_space_through),
    "object_parameters": Row(object_parameters_straight, object_parameters_through),
    "lacks_multi_delete": Row(lacks_multi_delete_straight, lacks_multi_delete_through),
    "ignores_write_conditions": Row(ignores_write_conditions_straight, ignores_write_conditions_through),
    "own_codes": Row(own_codes_straight, own_codes_through),
    "odd_ranges": Row(odd_ranges_straight, odd_ranges_through),
    "bare_etags": Row(bare_etags_straight, bare_etags_through),
    "document_with_304": Row(document_with_304_straight, document_with_304_through),
    "exact_names": Row(exact_names_straight, exact_names_through),
    "ignores_overrides": Row(ignores_overrides_straight, ignores_overrides_through),
    "lists_v1": Row(lists_v1_straight, lists_v1_through),
    "uuid_etags": Row(uuid_etags_straight, uuid_etags_through),
    "head_service_is_405": Row(head_service_straight, head_service_through),
    "closes_on_errors": Row(closes_on_errors_straight, closes_on_errors_through),
    "closes_after_reads": Row(closes_after_reads_straight, closes_after_reads_through),
    "trusts_rewrite_header": Row(trusts_rewrite_header_straight, trusts_rewrite_header_through),
}
THROUGH_OF_OTHERS = {
    "ranges_are_200": odd_ranges_through,
    "reads_any_unit": ranges_through,
    "lacks_accept_ranges": ranges_through,
    "refuses_posts": lacks_multi_delete_through,
}
"""
Quirks whose correction another one's trial shows.
"""

for name, (straight_trial, through_trial) in WALRUS_ROWS.items():
    ROWS[name] = Row(straight_trial, through_trial or THROUGH_OF_OTHERS[name])
"""
Each quirk: how it shows, and that it does not show through s3proxy.
"""

PLAIN = Quirks()
CELLS = [
    (mode, quirk)
    for mode, quirks in MODES.items()
    for quirk in ROWS
    # Which signature covers the path only shows if there is a service path.
    if getattr(quirks, quirk) != getattr(PLAIN, quirk) or (quirk == "signs_service_path" and quirks.service_path)
]
"""
The quirks of each kind of store.
"""


def test_the_table_is_closed() -> None:
    """
    Each quirk has its two trials and occurs in a storage system, and each storage system has a profile of its name.
    """
    names = {field.name for field in fields(Quirks)}

    assert ROWS.keys() == names
    assert {quirk for _, quirk in CELLS} == names
    assert MODES.keys() <= PROFILES.keys()


@pytest.mark.parametrize(("mode", "quirk"), CELLS)
@pytest_twisted.ensureDeferred
async def test_straight(tmp_path: Path, mode: str, quirk: str) -> None:
    """
    The store has the quirk.
    """
    async with running_pair(tmp_path, mode) as pair:
        await ROWS[quirk].straight(pair)


@pytest.mark.parametrize(("mode", "quirk"), CELLS)
@pytest_twisted.ensureDeferred
async def test_through(tmp_path: Path, mode: str, quirk: str) -> None:
    """
    The client of s3proxy does not see it.
    """
    async with running_pair(tmp_path, mode) as pair:
        await ROWS[quirk].through(pair)


@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_all_trials_through_each(tmp_path: Path, mode: str) -> None:
    """
    The corrections for one kind of storage system do no harm at another: reads, listings and uploads are S3's
    everywhere.
    """
    trials = (ranges_through, lists_v1_through, plus_is_space_through, object_parameters_through)
    for number, trial in enumerate(trials):
        async with running_pair(tmp_path / str(number), mode) as pair:
            await trial(pair)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("walrus-3.4", "in"), ("osg-4.3", "out"), ("walrusbackend-4.x", "out")],
)
@pytest_twisted.ensureDeferred
async def test_the_service_path_is_signed_as_the_profile_says(tmp_path: Path, mode: str, form: str) -> None:
    """
    A store that accepts only one form gets that one: with the service path from the first, without it from the others.
    """
    for strict in ("in", "out"):
        quirks = replace(MODES[mode], signs_service_path=strict)
        async with running_pair(tmp_path / strict, mode, quirks) as pair:
            pair.store.store.objects.bucket("b").put("k", pair.store.store.objects.receive(), 0.0, {})
            response = await pair.through("GET", "/b/k")

        assert (response.status == 200) is (strict == form)


@pytest_twisted.ensureDeferred
async def test_downloads_of_boto3(tmp_path: Path) -> None:
    """
    boto3 reads a large object in ranges with If-Match. Walrus understands neither.
    """
    now = datetime.now(UTC)
    body = bytes(range(256)) * 40_000
    keys = {KEY: SECRET, BACKEND_KEY.access_key_id: BACKEND_KEY.secret_access_key}
    quirks = replace(MODES["walrus-3.4"], signs_service_path="either")
    store = Running(tmp_path, quirks=quirks, keys=keys, wall_clock=lambda: now)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", store.port.getHost().port, timeout=5)
    harness = Harness(profile=PROFILES["walrus-3.4"], signature="v2", endpoint=endpoint, now=now)
    store.store.objects.bucket("b").create()
    incoming = store.store.objects.receive()
    incoming.write(body)
    store.store.objects.bucket("b").put("k", incoming, now.timestamp(), {})
    signer = Signer()

    def download(url: str, key_id: str, secret: str, version: str) -> bytes:
        client = boto3.client(
            "s3",
            endpoint_url=url,
            aws_access_key_id=key_id,
            aws_secret_access_key=secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, signature_version=version, proxies={}),
        )
        file = io.BytesIO()
        with closing(client):
            client.download_fileobj("b", "k", file)
        return file.getvalue()

    try:
        through_url = f"http://127.0.0.1:{harness.port.getHost().port}"
        through = await deferToThread(download, through_url, signer.access_key_id, signer.secret, "s3v4")
    finally:
        await harness.close()
        await store.close()

    assert through == body


@pytest_twisted.ensureDeferred
async def test_osg_takes_v4(tmp_path: Path) -> None:
    """
    The gateway of 4.3 works with Signature V4 as well as with V2, service path and all.
    """
    trials = (
        service_path_through,
        hashes_buffer_through,
        plus_is_space_through,
        odd_ranges_through,
        lists_v1_through,
    )
    for number, trial in enumerate(trials):
        async with running_pair(tmp_path / str(number), "osg-4.3", signature="v4") as pair:
            await trial(pair)


@pytest_twisted.ensureDeferred
async def test_nobody_chooses_what_a_response_says_of_itself() -> None:
    """
    As at S3: s3proxy refuses an anonymous request that would make a page of a file, and sends the backend nothing.
    """
    harness = Harness(profile=PROFILES["walrus-3.4"], signature="v2", anonymous=Anonymous(passes=True))
    try:
        plain = await harness.request(b"GET /b/k HTTP/1.1\r\nHost: x\r\n\r\n")
        chosen = await harness.request(b"GET /b/k?response-content-type=text%2Fhtml HTTP/1.1\r\nHost: x\r\n\r\n")
    finally:
        await harness.close()

    assert (plain.status, chosen.status, code(chosen)) == (200, 400, "InvalidRequest")
    assert len(harness.backend.requests) == 1


@pytest_twisted.ensureDeferred
async def test_a_listing_which_is_too_large_to_be_made_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    It is refused: if it were relayed as it is, its client would take the first page for the whole listing.
    """
    monkeypatch.setitem(MAX_SIZES, ResponseUse.CONVERT, 100)
    async with running_pair(tmp_path, "walrus-3.4") as pair:
        response = await pair.through("GET", "/b?list-type=2&max-keys=1")

    assert (response.status, code(response)) == (500, "InternalError")


@pytest_twisted.ensureDeferred
async def test_an_object_which_is_replaced_while_it_is_read(tmp_path: Path) -> None:
    """
    A range of one object is never returned with the size of another: the client reads 500, and tries again.
    """
    async with running_pair(tmp_path, "walrus-3.4") as pair:
        operations = pair.store.store._operations
        perform = operations.perform

        def replacing(call: Any) -> Any:
            reply = perform(call)
            if call.method == b"HEAD":
                body = pair.store.store.objects.receive()
                body.write(BODY * 2)
                pair.store.store.objects.bucket("b").put("k", body, 0.0, {})
            return reply

        operations.perform = replacing  # type: ignore[method-assign]
        response = await pair.through("GET", "/b/k", range="bytes=0-3")

    assert (response.status, code(response)) == (500, "InternalError")


@pytest.mark.parametrize(
    ("wire", "status", "is_about_object", "expected"),
    [
        ("ContentMismatch", 400, True, "BadDigest"),
        ("NoSuchEntity", 404, True, "NoSuchKey"),
        ("NoSuchEntity", 404, False, "NoSuchBucket"),
        ("Invalid Range", 416, True, "InvalidRange"),
        ("UNKNOWN", 405, True, "MethodNotAllowed"),
        ("UNKNOWN", 500, True, "InternalError"),
        ("UNKNOWN", 418, True, "InvalidRequest"),
        ("AccessDenied", 403, True, "AccessDenied"),
    ],
)
def test_codes(wire: str, status: int, *, is_about_object: bool, expected: str) -> None:
    """
    A code that S3 does not have becomes the one that it has; the rest of the document stays.
    """
    document = f"<Error><Code>{wire}</Code><Message>m</Message><Resource>NoSuchEntity</Resource></Error>"

    translated = translate_error(
        document.encode(), PROFILES["walrus-3.4"].error_codes, status, is_about_object=is_about_object
    )

    assert translated.decode() == document.replace(f"<Code>{wire}<", f"<Code>{expected}<")


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.reserved_segments])
@pytest_twisted.ensureDeferred
async def test_what_is_kept_from_a_backend(name: str) -> None:
    """
    Paths, headers and parameters of the backend's own kind get 403, with any signature, and never reach it. A path
    without a bucket has no S3 meaning at all.
    """
    profile = PROFILES[name]
    harness = Harness(profile=profile)
    try:
        responses = []
        for segment in sorted(profile.reserved_segments):
            text = segment.decode()
            escaped = "".join(f"%{byte:02x}" for byte in segment)
            for path in (f"/{text}/a", f"/.//{text.upper()}/a", f"/./{escaped}/a"):
                responses.append((path, await harness.request(Signer().head("GET", path)[0])))
        for prefix in profile.private_headers:
            header = {f"{prefix.decode()}x": "1"}
            for signed, unsigned in ((header, None), (None, header)):
                head = Signer().head("GET", "/b/k", signed, unsigned=unsigned)[0]
                responses.append((prefix.decode(), await harness.request(head)))
        for prefix in profile.private_parameters:
            for parameter in (
                prefix.decode() + "x=1",
                f"%{prefix[0]:02x}{prefix[1:].decode()}",
                prefix.decode().upper(),
            ):
                for path in ("/", "/b", "/b/k"):
                    head = Signer().head("GET", f"{path}?{parameter}")[0]
                    responses.append((parameter, await harness.request(head)))
        outside = await harness.request(Signer().head("GET", f"//{sorted(profile.reserved_segments)[0].decode()}/a")[0])
    finally:
        await harness.close()

    assert (outside.status, code(outside)) == (400, "InvalidURI")
    assert [(what, response.status, code(response)) for what, response in responses] == [
        (what, 403, "AccessDenied") for what, _ in responses
    ]
    assert harness.backend.requests == []


@pytest.mark.parametrize("name", [name for name, profile in PROFILES.items() if profile.reserved_segments])
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_called_like_a_surface(name: str) -> None:
    """
    In virtual-hosted style it is the first segment of the client's path, and never that of the backend's path.
    """
    profile = PROFILES[name]
    segments = map(bytes.decode, sorted(profile.reserved_segments))
    keys = [f"{segment}/{rest}" for segment in segments for rest in ("a", "Walrus/b/k")]
    harness = Harness(profile=profile)
    try:
        for key in keys:
            head = Signer(host="bucket.s3.example.test").head("GET", f"/{key}")[0]
            response = await harness.request(head)
            assert response.status == 200, key
        climbing = Signer(host="bucket.s3.example.test").head("GET", f"/../{keys[0]}")[0]
        refused = await harness.request(climbing)
    finally:
        await harness.close()

    slash = "%2F" if name == "walrus-3.4" else "/"
    expected = [f"{profile.service_path.decode()}/bucket/{key.replace('/', slash)}" for key in keys]
    sent = [received.head for received in harness.backend.requests]
    assert [head.raw_target.decode() for head in sent if head.method == b"GET"] == expected
    assert {head.host.partition(b":")[0] for head in sent} == {b"127.0.0.1"}
    assert (refused.status, code(refused)) == (403, "AccessDenied")


@pytest.mark.parametrize(
    ("name", "line", "healthy", "sick"),
    [
        ("generic", "GET /", 404, 500),
        ("swift", "GET /healthcheck", 200, 503),
        ("walrus-3.4", "HEAD /services/Walrus", 405, 404),
        ("osg-4.3", "HEAD /services/objectstorage", 403, 200),
        ("walrusbackend-4.x", "HEAD /services/WalrusBackend", 405, 500),
        ("riakcs", "GET /riak-cs/ping", 200, 404),
        ("minio", "GET /minio/health/live", 200, 403),
    ],
)
@pytest_twisted.ensureDeferred
async def test_health(tmp_path: Path, name: str, line: str, healthy: int, sick: int) -> None:
    """
    Each gets the request that its profile names, and only the response of a working backend of that kind counts.
    """
    backend = FaultyBackend()
    port = reactor.listenTCP(0, backend, interface="127.0.0.1")
    url = f"http://127.0.0.1:{port.getHost().port}"
    other = f"http://localhost:{port.getHost().port}"
    table = {"name": "b", "urls": [url, other], "profile": name, "signature": "none"}
    settings = make_settings({"backend": [table], "credentials": {"source": "file:keys.toml"}}, tmp_path)
    for status, is_healthy in ((healthy, True), (sick, False)):
        backend.on_request = partial(respond_with, status)
        made = make_backend(settings.backends[0], settings, reactor)
        (pool, _) = made.agent.pools
        pool.is_healthy = not is_healthy
        made.agent.start()
        await until(lambda pool=pool, wanted=is_healthy: pool.is_healthy is wanted)
        await made.agent.close()
    await port.stopListening()
    await until(lambda: all(connection.lost for connection in backend.connections))

    lines = {request.head.method + b" " + request.head.raw_target for request in backend.requests}
    assert {text.decode() for text in lines} == {line}


def respond_with(status: int, connection: Any, request: Any) -> None:
    """
    Send a response with a status, and close.
    """
    connection.send(b"HTTP/1.1 %d x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)


def test_check_says_where_the_tail_was_not_proven(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """
    It also names the command that tests it.
    """
    (tmp_path / "keys.toml").write_text("")
    for name, profile in PROFILES.items():
        path = tmp_path / f"{name}.toml"
        path.write_text(
            '[server]\nlisten = ["tcp:0"]\n[credentials]\nsource = "file:keys.toml"\n'
            f'[[backend]]\nname = "b"\nurl = "http://127.0.0.1:1"\nprofile = "{name}"\nsignature = "none"\n'
        )

        main(["check", str(path)])

        assert ("s3proxy doctor" in capsys.readouterr().out) is not profile.proves_tail


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_has_its_page(name: str) -> None:
    """
    It says what the storage system refuses, what s3proxy translates, how to set it up, and whether ``tail`` was proven.
    """
    page = (ROOT / "docs" / "reference" / "backends" / f"{name}.md").read_text("utf-8")

    for heading in ("## Set it up", "## What it refuses", "## What s3proxy does about it", "## Cut bodies"):
        assert heading in page
    assert f'profile = "{name}"' in page
    assert ("was proven" in page) is PROFILES[name].proves_tail
