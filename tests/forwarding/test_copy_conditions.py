"""
Conditions on the source of a copy, at storage systems that read them differently: s3proxy judges them by a HEAD of the
source.

Source:
    "CopyObject" and "UploadPartCopy", x-amz-copy-source-if-*; hadoop, ``S3AFileSystem.copyFile``, which renames with
    x-amz-copy-source-if-match. Walrus 3.4.2 and the gateway compare the tag with its quotation marks, and copy what was
    modified at that very second; WalrusBackend ignores all of them. localstack, ``test_s3_preconditions``, as S3
    responded: the order, the names of the conditions, and that one in the future is ignored. Ceph 16.2 was seen to
    ignore all of these headers: it has other names for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted

from s3proxy.profiles.known import PROFILES
from s3proxy.profiles.profile import Profile
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from tests.oracle.fixture import oracle  # noqa: F401
from tests.oracle.judge import read_place_of_eucalyptus, read_source, read_source_of_eucalyptus
from tests.oracle.wire import decoded_item
from tests.support.eucalyptus import (
    CARRIERS,
    COPY,
    FAMILY,
    STYLES,
    G,
    Sent,
    W,
    request,
    respond_as_storage,
    send,
    service_path,
)
from tests.support.harness import Harness
from tests.support.wire_cases import element

TAG = "0123456789abcdef0123456789abcdef"
OTHER = "fedcba9876543210fedcba9876543210"
MODIFIED = "Sun, 01 Mar 2026 11:00:00 GMT"
NOW, FUTURE = "Sun, 01 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 2026 12:00:01 GMT"
BEFORE, AFTER = "Sun, 01 Mar 2026 10:59:59 GMT", "Sun, 01 Mar 2026 11:00:01 GMT"
MATCH, NONE_MATCH = f"{COPY}-if-match", f"{COPY}-if-none-match"
SINCE, UNMODIFIED = f"{COPY}-if-modified-since", f"{COPY}-if-unmodified-since"
CONDITIONS = {name.encode() for name in (MATCH, NONE_MATCH, SINCE, UNMODIFIED)}
SOURCE = f"HTTP/1.1 200 OK\r\nETag: {TAG}\r\nLast-Modified: {MODIFIED}\r\nContent-Length: 9\r\n\r\n".encode()
Headers = Sequence[tuple[str, str]]


async def copy(
    name: str,
    headers: Headers,
    *,
    target: str = "/b/d",
    found: bytes = SOURCE,
    carrier: str = CARRIERS[0],
    style: str = "path",
    **options: Any,
) -> Sent:
    """
    Send a copy through a proxy to a backend that responds to HEAD with ``found``.
    """

    def on_request(connection: FaultyConnection, received: ReceivedRequest) -> None:
        if received.head.method == b"HEAD":
            connection.send(found)
        else:
            respond_as_storage(connection, received)

    return await send(name, request("PUT", target, headers, carrier, style), on_request=on_request, **options)


SOURCES = [
    "/b/k",
    "b/k",
    "/other-bucket/k",
    "/b/a/b.txt",
    "/b/a+b%2Bc d",
    "/b/\u00fc",
    "/b/%25%23%26=",
    "%2Fb%2Fa%2Fk",
    "/b/services/Walrus/k",
    "/b/.../..",
    "/b/k?versionId=v+1=",
    "/b/a%26versionId=x",
]


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("source", SOURCES)
@pytest_twisted.ensureDeferred
async def test_the_source_that_was_signed_is_asked_for(source: str, carrier: str) -> None:
    """
    The HEAD names it as the storage system reads names, and has nothing else of the copy. The copy has no conditions.
    """
    for name in FAMILY:
        for style in STYLES:
            copied = await copy(name, [(COPY, source), (MATCH, f'"{TAG}"')], carrier=carrier, style=style)

            assert (copied.response.status, copied.methods) == (200, ["HEAD", "PUT"])
            asked, sent = copied.wanted
            path, _, query = asked.raw_target.partition(b"?")
            if name != W:
                path = path.removeprefix(service_path(name).encode())
            place = read_place_of_eucalyptus(name, path)
            found = place.bucket, place.key, decoded_item(query.removeprefix(b"versionId="))
            assert found == read_source(source.encode())
            assert found == read_source_of_eucalyptus(name, sent.fields[COPY.encode()][0])
            assert asked.fields.keys() == {b"authorization", b"date", b"host"}
            assert CONDITIONS.isdisjoint(sent.fields)


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    ("conditions", "failed"),
    [
        ([(MATCH, f'"{TAG}"')], None),
        ([(MATCH, TAG)], None),
        ([(MATCH, "*")], None),
        ([(MATCH, f'"{OTHER}", "{TAG}"')], None),
        ([(MATCH, f'"{OTHER}"')], "x-amz-copy-source-If-Match"),
        ([(MATCH, TAG[:-1])], "x-amz-copy-source-If-Match"),
        ([(MATCH, "")], "x-amz-copy-source-If-Match"),
        ([(NONE_MATCH, f'"{OTHER}"')], None),
        ([(NONE_MATCH, f'"{TAG}"')], "x-amz-copy-source-If-None-Match"),
        ([(NONE_MATCH, TAG)], "x-amz-copy-source-If-None-Match"),
        ([(NONE_MATCH, "*")], "x-amz-copy-source-If-None-Match"),
        ([(SINCE, BEFORE)], None),
        ([(SINCE, MODIFIED)], "x-amz-copy-source-If-Modified-Since"),
        ([(SINCE, AFTER)], "x-amz-copy-source-If-Modified-Since"),
        ([(SINCE, NOW)], "x-amz-copy-source-If-Modified-Since"),
        ([(SINCE, FUTURE)], None),
        ([(SINCE, "yesterday")], None),
        ([(UNMODIFIED, FUTURE)], None),
        ([(UNMODIFIED, AFTER)], None),
        ([(UNMODIFIED, MODIFIED)], None),
        ([(UNMODIFIED, BEFORE)], "x-amz-copy-source-If-Unmodified-Since"),
        ([(SINCE, NOW), (UNMODIFIED, BEFORE), (MATCH, OTHER), (NONE_MATCH, TAG)], "x-amz-copy-source-If-Match"),
        ([(SINCE, NOW), (UNMODIFIED, BEFORE), (NONE_MATCH, TAG)], "x-amz-copy-source-If-Unmodified-Since"),
        ([(SINCE, NOW), (NONE_MATCH, TAG)], "x-amz-copy-source-If-None-Match"),
        ([(SINCE, BEFORE), (UNMODIFIED, NOW), (MATCH, TAG), (NONE_MATCH, OTHER)], None),
        ([(MATCH, TAG), (UNMODIFIED, BEFORE)], None),
        ([(MATCH, OTHER), (UNMODIFIED, AFTER)], "x-amz-copy-source-If-Match"),
        ([(NONE_MATCH, TAG), (SINCE, BEFORE)], "x-amz-copy-source-If-None-Match"),
        ([(NONE_MATCH, OTHER), (SINCE, BEFORE)], None),
        ([(MATCH, TAG), (NONE_MATCH, TAG)], "x-amz-copy-source-If-None-Match"),
        ([(MATCH, TAG), (SINCE, AFTER)], "x-amz-copy-source-If-Modified-Since"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_each_condition(name: str, conditions: Headers, failed: str | None) -> None:
    """
    A failed condition is 412, never 304, and nothing is copied.
    """
    for found in (SOURCE, SOURCE.replace(TAG.encode(), f'"{TAG}"'.encode())):
        copied = await copy(name, [(COPY, "/b/k"), *conditions], found=found)

        if failed is None:
            assert (copied.response.status, copied.methods) == (200, ["HEAD", "PUT"])
            assert element(copied.response.body, "ETag")
            assert copied.counts.aborted == {}
        else:
            assert (copied.code, copied.methods) == ("412 PreconditionFailed", ["HEAD"])
            assert element(copied.response.body, "Condition") == failed
            assert copied.counts.aborted == {"condition": 1}


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    ("found", "status", "code"),
    [
        (b"404 Not Found\r\n", 404, "NoSuchKey"),
        (b"403 Forbidden\r\n", 403, "AccessDenied"),
        (b"405 Method Not Allowed\r\n", 500, "InternalError"),
        (b"500 Error\r\n", 500, "InternalError"),
        (b"304 Not Modified\r\n", 500, "InternalError"),
        (b"206 Partial Content\r\nETag: %b\r\n" % TAG.encode(), 500, "InternalError"),
        (b"200 OK\r\n", 500, "InternalError"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_source_that_cannot_be_judged(name: str, found: bytes, status: int, code: str) -> None:
    """
    If the source cannot be judged, nothing is copied.
    """
    head = b"HTTP/1.1 %bContent-Length: 0\r\n\r\n" % found
    copied = await copy(name, [(COPY, "/b/a%20b"), (NONE_MATCH, OTHER)], found=head)

    assert (copied.code, copied.methods) == (f"{status} {code}", ["HEAD"])
    assert element(copied.response.body, "Key") == ("a b" if status == 404 else None)


@pytest.mark.parametrize("word", ["refuse", "check", "pass"])
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_the_option_changes_nothing(name: str, word: str) -> None:
    """
    ``conditions`` is about the object that is written. Such a condition is refused at these storage systems, whatever
    else the copy sets; so is one on the source of a request that has no source.
    """
    holds = await copy(name, [(COPY, "/b/k"), (MATCH, TAG)], conditions=word)
    fails = await copy(name, [(COPY, "/b/k"), (MATCH, OTHER)], conditions=word)
    plain = await copy(name, [(COPY, "/b/k")], conditions=word)
    refused = [
        await copy(name, [(COPY, "/b/k"), (MATCH, TAG), ("If-None-Match", "*")], conditions=word),
        await copy(name, [(COPY, "/b/k"), (MATCH, TAG), ("If-Match", TAG)], conditions=word),
        await copy(name, [(MATCH, TAG)], conditions=word),
    ]

    assert (holds.response.status, holds.methods) == (200, ["HEAD", "PUT"])
    assert (fails.response.status, fails.methods) == (412, ["HEAD"])
    assert (plain.response.status, plain.methods) == (200, ["HEAD", "PUT"])
    assert [(each.response.status, each.methods) for each in refused] == [(501, [])] * 3


def of_size(size: int) -> bytes:
    return SOURCE.replace(b"Content-Length: 9", b"Content-Length: %d" % size)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_a_source_of_2_gib_is_not_copied(name: str, carrier: str) -> None:
    """
    The storage system would copy its beginning, and respond 200. The error is that of S3 for a source of 5 GiB.
    """
    largest, size = (1 << 31) - 1, 1 << 31
    for headers in ([], [(MATCH, TAG)], [("x-amz-metadata-directive", "REPLACE")]):
        for target in ("/b/d", "/b/k"):
            options: dict[str, Any] = {"target": target, "carrier": carrier}
            copied = await copy(name, [(COPY, "/b/k"), *headers], found=of_size(largest), **options)
            refused = await copy(name, [(COPY, "/b/k"), *headers], found=of_size(size), **options)

            assert (copied.response.status, copied.methods) == (200, ["HEAD", "PUT"])
            assert (refused.code, refused.methods) == ("400 InvalidRequest", ["HEAD"])
            message = element(refused.response.body, "Message")
            assert message.endswith(f"maximum allowable size for a copy source: {largest}")


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize(
    ("found", "code", "methods"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "200", ["HEAD", "PUT"]),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "200", ["HEAD", "PUT"]),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "500 InternalError", ["HEAD"]),
        (b"HTTP/1.1 200 OK\r\n\r\n", "500 InternalError", ["HEAD"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_source_whose_size_is_not_known(name: str, found: bytes, code: str, methods: list[str]) -> None:
    """
    The storage system itself refuses a source that it does not show. Nothing is copied that may be too large.
    """
    copied = await copy(name, [(COPY, "/b/k")], found=found)

    assert (copied.code, copied.methods) == (code, methods)


@pytest.mark.parametrize("name", ["generic", "minio", "swift", "ceph-rgw", "riakcs", "versitygw"])
@pytest_twisted.ensureDeferred
async def test_others_copy_any_size(name: str) -> None:
    """
    They are not asked for the size.
    """
    harness = Harness(profile=PROFILES[name])
    harness.backend.on_request = respond_as_storage
    await harness.request(request("PUT", "/b/d", [(COPY, "/b/k")]))
    await harness.close()

    assert [sent.head.method for sent in harness.backend.requests] == [b"PUT"]


@pytest.mark.parametrize("name", ["generic", "minio", "swift"])
@pytest_twisted.ensureDeferred
async def test_others_judge_judge_for_themselves(name: str) -> None:
    """
    A storage system that knows the conditions gets them.
    """
    harness = Harness(profile=PROFILES[name])
    harness.backend.on_request = respond_as_storage
    await harness.request(request("PUT", "/b/d", [(COPY, "/b/k"), (MATCH, TAG)]))
    await harness.close()

    (sent,) = harness.backend.requests
    assert sent.head.fields[MATCH.encode()] == (TAG.encode(),)


def with_part_copies(name: str) -> Profile:
    """
    Return the profile of a storage system, with UploadPartCopy added.
    """
    return replace(PROFILES[name], operations=PROFILES[name].operations | {"UploadPartCopy"})


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("name", FAMILY)
@pytest_twisted.ensureDeferred
async def test_the_copy_of_a_part(name: str, carrier: str) -> None:
    """
    At a storage system that has it. The range is for the copy, and not sent with the HEAD.
    """
    part = "/b/d?partNumber=1&uploadId=u"
    profile = with_part_copies(name)
    ranged = [(COPY, "/other/a b?versionId=v"), (f"{COPY}-range", "bytes=0-5")]
    holds = await copy(name, [*ranged, (MATCH, TAG)], target=part, carrier=carrier, profile=profile)
    fails = await copy(name, [*ranged, (UNMODIFIED, BEFORE)], target=part, carrier=carrier, profile=profile)

    assert (holds.response.status, holds.methods) == (200, ["HEAD", "PUT"])
    asked, sent = holds.wanted
    assert asked.raw_target == f"{service_path(name)}/other/a%20b?versionId=v".encode()
    assert asked.fields.keys() == {b"authorization", b"date", b"host"}
    assert sent.fields[f"{COPY}-range".encode()] == (b"bytes=0-5",)
    assert CONDITIONS.isdisjoint(sent.fields)
    assert (fails.code, fails.methods) == ("412 PreconditionFailed", ["HEAD"])


@pytest.mark.parametrize("target", ["/b/d", "/b/d?partNumber=1&uploadId=u"])
@pytest.mark.parametrize(
    ("sources", "status"),
    [
        (["/b/k%3Fx"], 501),
        (["/b/k", "/b/l"], 400),
        (["/a%20bucket/k"], 400),
        (["/b/k?versionId="], 400),
        (["/services/k"], 403),
        (["arn:aws:s3:us-east-1:123456789012:accesspoint/a/object/k"], 501),
        (["/b/" + "k" * 1025], 400),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_source_that_cannot_be_asked_for(sources: list[str], status: int, target: str) -> None:
    """
    No request is sent: it would be about another object.
    """
    headers = [*[(COPY, source) for source in sources], (MATCH, TAG)]
    copied = await copy(G, headers, target=target, profile=with_part_copies(G))

    assert (copied.response.status, copied.methods) == (status, [])


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ((MATCH, f'"{TAG}"'), 200),
        ((MATCH, TAG), 200),
        ((MATCH, f'"{OTHER}"'), 412),
        ((NONE_MATCH, f'"{OTHER}"'), 200),
        ((NONE_MATCH, f'"{TAG}"'), 412),
        ((SINCE, BEFORE), 200),
        ((SINCE, AFTER), 412),
        ((UNMODIFIED, AFTER), 200),
        ((UNMODIFIED, BEFORE), 412),
    ],
)
@pytest.mark.parametrize("target", ["/b/d", "/b/d?partNumber=1&uploadId=u"])
@pytest.mark.parametrize("signature", ["v4", "v2"])
@pytest.mark.parametrize("name", ["ceph-rgw", "riakcs", "versitygw"])
@pytest_twisted.ensureDeferred
async def test_ceph_and_others(name: str, signature: str, target: str, condition: tuple[str, str], status: int) -> None:
    """
    Ceph looks for other headers, and versitygw returns 304 to a copy. Riak CS compares dates as text, so that every
    If-Unmodified-Since holds, and tags as they are written. Its source's name has ``%2B`` for a plus.

    Source:
        basho/riak_cs, ``riak_cs_copy_object:condition_check``.
    """
    copied = await copy(name, [(COPY, "/other/a%2Bb"), condition], target=target, signature=signature)

    assert (copied.response.status, copied.methods) == (status, ["HEAD", "PUT"] if status == 200 else ["HEAD"])
    assert copied.wanted[0].raw_target == b"/other/a%2Bb"
    for head in copied.wanted[1:]:
        assert CONDITIONS.isdisjoint(head.fields)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest_twisted.ensureDeferred
async def test_an_encrypted_source(carrier: str) -> None:
    """
    The HEAD has the headers that decrypt the source, as those of a read. It has none that encrypt the copy.
    """
    keys = [
        (f"{where}server-side-encryption-customer-{name}", f"{name}{number}")
        for number, where in enumerate(("x-amz-", f"{COPY}-"))
        for name in ("algorithm", "key", "key-md5")
    ]
    copied = await copy("ceph-rgw", [(COPY, "/b/k"), (MATCH, TAG), *keys], carrier=carrier)

    assert copied.methods == ["HEAD", "PUT"]
    asked, sent = copied.wanted
    found = {name: values for name, values in asked.fields.items() if b"encryption" in name}
    assert found == {
        f"x-amz-server-side-encryption-customer-{name}".encode(): (f"{name}1".encode(),)
        for name in ("algorithm", "key", "key-md5")
    }
    assert {name: values for name, values in sent.fields.items() if b"encryption" in name} == {
        name.encode(): (value.encode(),) for name, value in keys
    }


@pytest_twisted.ensureDeferred
async def test_both_conditions_are_checked() -> None:
    """
    That on the source first, then that on the object that is written.
    """
    both = [(COPY, "/b/k"), (MATCH, TAG), ("If-None-Match", OTHER)]
    holds = await copy("ceph-rgw", both, conditions="check")
    fails = await copy("ceph-rgw", [*both[:2], ("If-None-Match", "*")], conditions="check")

    assert (holds.response.status, holds.methods) == (200, ["HEAD", "HEAD", "PUT"])
    assert [head.raw_target for head in holds.wanted] == [b"/b/k", b"/b/d", b"/b/d"]
    assert (CONDITIONS | {b"if-none-match"}).isdisjoint(holds.wanted[2].fields)
    assert (fails.code, fails.methods) == ("412 PreconditionFailed", ["HEAD", "HEAD"])


@pytest_twisted.ensureDeferred
async def test_several_lines_are_one_list() -> None:
    """
    As the signature joins them.
    """
    copied = await copy(W, [(COPY, "/b/k"), (MATCH, f'"{OTHER}"'), (MATCH, f'"{TAG}"')])

    assert (copied.response.status, copied.methods) == (200, ["HEAD", "PUT"])


@pytest.mark.parametrize("forwarded", ["x-forwarded", "forwarded"])
@pytest_twisted.ensureDeferred
async def test_the_storage_is_told_who_asks(forwarded: str) -> None:
    """
    With both requests, if the option is set.
    """
    copied = await copy(W, [(COPY, "/b/k"), (MATCH, TAG)], forwarded=forwarded)

    name = b"forwarded" if forwarded == "forwarded" else b"x-forwarded-for"
    asked, sent = copied.wanted
    assert asked.fields[name] == sent.fields[name]


@pytest_twisted.ensureDeferred
async def test_the_gateway_with_signature_v4() -> None:
    """
    The HEAD is signed as every request is.
    """
    copied = await copy(G, [(COPY, "/b/k"), (MATCH, TAG)], signature="v4")

    assert copied.methods == ["HEAD", "PUT"]
    assert all(head.fields[b"authorization"][0].startswith(b"AWS4-HMAC-SHA256 ") for head in copied.wanted)


@pytest.mark.parametrize("key", ["k" * 1000, "\u00fc" * 500, "/".join("abc" * 100)])
@pytest_twisted.ensureDeferred
async def test_a_long_key_of_a_source(key: str) -> None:
    """
    The key fits the request line of a HEAD as it fits a header.
    """
    copied = await copy(W, [(COPY, f"/b/{quote(key)}"), (MATCH, TAG)])

    assert copied.methods == ["HEAD", "PUT"]


@pytest.mark.parametrize("found", [b"", SOURCE[:20]])
@pytest_twisted.ensureDeferred
async def test_a_storage_that_is_lost(found: bytes) -> None:
    """
    It fails before it responds to the HEAD: nothing is copied.
    """
    harness = Harness(profile=PROFILES[W], signature="v2")

    def lose(connection: FaultyConnection, received: ReceivedRequest) -> None:
        connection.send(found)
        connection.end()

    harness.backend.on_request = lose
    response = await harness.request(request("PUT", "/b/d", [(COPY, "/b/k"), (MATCH, TAG)]))
    await harness.close()

    assert response.status == 500
    assert {received.head.method for received in harness.backend.requests} == {b"HEAD"}
