"""
DeleteObjects through s3proxy at a backend that only deletes one object at a time.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import boto3
import pytest
import pytest_twisted
from botocore.config import Config
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread

from s3proxy.authentication.realm import Anonymous
from s3proxy.forwarding.deletions import MAX_AT_ONCE
from s3proxy.profiles.known import PROFILES
from s3proxy.s3.error_xml import escape_text
from s3proxy.s3.errors import AccessDenied
from s3proxy.testing import MODES
from s3proxy.testing.faulty_backend import FaultyConnection, ReceivedRequest
from s3proxy.testing.faulty_client import Response
from s3proxy.testing.legacy_messages import Call, Refusal
from tests.support.checksums import checksum
from tests.support.deletions import document, request
from tests.support.harness import BACKEND_KEY, Harness, turns, until
from tests.support.legacy import KEY, SECRET, Running, code
from tests.support.pair import Pair, running_pair
from tests.support.signer import Signer

WALRUS = PROFILES["walrus-3.4"]
ODD = ["a+b", "a b", "ä/ö", "<&>\"'", "100%2F", "a//b", "..", "x?versionId=1", "line\nbreak", "cr\rhere", "#"]


async def ask(harness: Harness, data: bytes) -> Response:
    response: Response = await harness.request(data, method="POST")
    return response


def told(response: Response, name: str) -> list[str]:
    """
    Return the text of the elements of one name, as XML has it.
    """
    return re.findall(f"<{name}><Key>([^<]*)</Key>", response.body.decode())


def fill(pair: Pair, *keys: str) -> None:
    folder = pair.store.store.objects.bucket("b")
    for key in keys:
        folder.put(key, pair.store.store.objects.receive(), 0.0, {})


def left(pair: Pair) -> list[str]:
    return sorted(stored.key for stored in pair.store.store.objects.bucket("b").objects())


@pytest.mark.parametrize("mode", ["walrus-3.4", "walrusbackend-4.x"])
@pytest_twisted.ensureDeferred
async def test_several_keys(tmp_path: Path, mode: str) -> None:
    """
    All named objects are deleted, whatever their characters, and no other. A missing object counts as deleted. The
    access log has one request.
    """
    async with running_pair(tmp_path, mode) as pair:
        fill(pair, *ODD)
        response = await ask(pair.harness, request(document(*ODD, "never was")))
        kept = left(pair)
        records = pair.harness.records

    assert (response.status, response.header("content-type")) == (200, "application/xml")
    assert told(response, "Deleted") == [escape_text(key) for key in (*ODD, "never was")]
    assert (told(response, "Error"), kept) == ([], ["k"])
    assert [(record.status, record.error_code, record.sent_size) for record in records] == [
        (200, None, len(response.body))
    ]


@pytest_twisted.ensureDeferred
async def test_more_than_go_at_once(tmp_path: Path) -> None:
    """
    A thousand keys, in quiet mode: the response names none.
    """
    names = [f"n/{number}" for number in range(1000)]
    async with running_pair(tmp_path, "walrus-3.4") as pair:
        fill(pair, *names[:50])
        response = await ask(pair.harness, request(document(*names, is_quiet=True)))
        kept = left(pair)
        connections = len(pair.harness.pool.connections)

    assert (response.status, kept) == (200, ["k"])
    assert response.body.endswith(b'<DeleteResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></DeleteResult>')
    assert connections <= MAX_AT_ONCE


@pytest_twisted.ensureDeferred
async def test_keys_which_are_refused_here(tmp_path: Path) -> None:
    """
    Each is refused as its client's own DELETE would be; the others are deleted.
    """
    profile = replace(WALRUS, refused_keys=re.compile(b"//"))
    async with running_pair(tmp_path, "walrus-3.4", profile=profile) as pair:
        fill(pair, "a", "a//b")
        response = await ask(pair.harness, request(document("a", "a//b", "x" * 1025)))
        only = await ask(pair.harness, request(document("//"), x_amz_meta_n="2"))
        kept = left(pair)

    assert (response.status, told(response, "Deleted"), told(response, "Error")) == (200, ["a"], ["a//b", "x" * 1025])
    assert re.findall("<Code>([^<]*)<", response.body.decode()) == ["InvalidArgument", "KeyTooLongError"]
    assert (only.status, told(only, "Error"), kept) == (200, ["//"], ["a//b", "k"])


@pytest_twisted.ensureDeferred
async def test_keys_which_the_storage_refuses(tmp_path: Path) -> None:
    """
    The code is S3's if the backend has its own. The client's connection stays open, though the backend's ends.
    """
    refusals = {"denied": Refusal(403, "AccessDenied", "not <this>"), "broken": Refusal(500, "InternalError")}
    async with running_pair(tmp_path, "walrus-3.4") as pair:
        fill(pair, "a", "broken", "denied", "z")
        operations = pair.store.store._operations
        perform = operations.perform

        def refusing(call: Call) -> Any:
            if call.key in refusals:
                raise refusals[call.key]
            return perform(call)

        operations.perform = refusing  # type: ignore[method-assign]
        client = await pair.harness.connect()
        responses = []
        for _ in range(2):
            client.send(request(document("a", "denied", "broken", "z", is_quiet=True)))
            responses.append(await client.response("POST"))
        kept, lost = left(pair), client.lost

    assert lost is None
    assert kept == ["broken", "denied", "k"]
    for response in responses:
        assert response is not None
        assert response.status == 200
        assert re.findall(
            "<Error><Key>(.*?)</Key><Code>(.*?)</Code><Message>(.*?)</Message>", response.body.decode()
        ) == [
            ("denied", "AccessDenied", "not &lt;this&gt;"),
            ("broken", "InternalError", "We encountered an internal error. Please try again."),
        ]


@pytest_twisted.ensureDeferred
async def test_no_such_bucket(tmp_path: Path) -> None:
    """
    It is the error of the whole request.
    """
    async with running_pair(tmp_path, "walrus-3.4") as pair:
        response = await ask(pair.harness, request(document("a", "b"), "/none?delete"))
        record = pair.harness.records[0]

    assert (response.status, code(response)) == (404, "NoSuchBucket")
    assert (record.status, record.error_code) == (404, "NoSuchBucket")


UNVERIFIED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "Content-MD5": (
        lambda body: request(body, content_md5=base64.b64encode(bytes(16)).decode(), payload="UNSIGNED-PAYLOAD"),
        "BadDigest",
    ),
    "checksum": (
        lambda body: request(
            body, content_md5="", x_amz_checksum_crc32=checksum("crc32", b"other"), payload="UNSIGNED-PAYLOAD"
        ),
        "BadDigest",
    ),
    "hash of the body": (
        lambda body: request(body, payload=hashlib.sha256(b"other").hexdigest()),
        "XAmzContentSHA256Mismatch",
    ),
    "signature": (lambda body: request(body, signer=Signer(secret="wrong")), "SignatureDoesNotMatch"),
    "no integrity": (lambda body: request(body, content_md5=""), "InvalidRequest"),
    "no XML": (lambda body: request(body[:-1]), "MalformedXML"),
    "an object too much": (lambda body: request(document(*["k"] * 1001)), "MalformedXML"),
    "a document type": (lambda body: request(b"<!DOCTYPE d>" + body), "MalformedXML"),
    "the bucket itself": (lambda body: request(document("k", "")), "MalformedXML"),
}


@pytest.mark.parametrize("what", UNVERIFIED)
@pytest_twisted.ensureDeferred
async def test_what_is_not_verified_deletes_nothing(what: str) -> None:
    """
    The backend gets nothing.
    """
    made, expected = UNVERIFIED[what]
    harness = Harness(profile=WALRUS, signature="v2")
    response = await ask(harness, made(document("k", "l")))
    await turns(3)
    asked = list(harness.backend.requests)
    await harness.close()

    assert (response.status >= 400, code(response)) == (True, expected)
    assert asked == []


@pytest_twisted.ensureDeferred
async def test_what_is_not_allowed_deletes_nothing() -> None:
    """
    The authorizer is asked for each object of the document, and each gets its error.
    """

    class Nobody:
        def authorize(self, *asked: object) -> None:
            raise AccessDenied

    harness = Harness(profile=WALRUS, signature="v2", authorizer=Nobody())
    response = await ask(harness, request(document("k")))
    asked = list(harness.backend.requests)
    await harness.close()

    assert (response.status, code(response), asked) == (200, "AccessDenied", [])


def unsigned_part(received: ReceivedRequest) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """
    Return what a backend got, without its signature.
    """
    head = received.head
    return head.raw_target, [header for header in head.headers if header[0] != b"Authorization"]


@pytest.mark.parametrize("host", ["s3.example.test", "b.s3.example.test"])
@pytest.mark.parametrize("signature", ["v2", "v4"])
@pytest_twisted.ensureDeferred
async def test_each_is_as_its_clients_own(host: str, signature: str) -> None:
    """
    The target and the headers are the same, in either style, as if the client deletes the object alone.
    """
    signer = Signer(host=host)
    bucket = "" if host.startswith("b.") else "/b"
    harness = Harness(profile=WALRUS, signature=signature, forwarded="x-forwarded")
    for key in ODD:
        mine = {"x-amz-mfa": "1 2", "user-agent": "client"}
        alone = signer.head("DELETE", f"{bucket}/{quote(key, safe='/-_.~')}", mine)[0]
        assert (await harness.request(alone)).status == 200
        many = request(document(key), f"{bucket or '/'}?delete&x-id=DeleteObjects", signer, **mine)
        assert (await ask(harness, many)).status == 200
    received = harness.backend.requests
    await harness.close()

    assert len(received) == 2 * len(ODD)
    assert {one.head.method for one in received} == {b"DELETE"}
    for alone, among in zip(received[::2], received[1::2], strict=True):
        assert unsigned_part(alone) == unsigned_part(among)
        assert b"authorization" in among.head.fields
        assert among.head.fields.keys() == alone.head.fields.keys()
        assert alone.head.raw_target.startswith(b"/services/Walrus/b/")


@pytest_twisted.ensureDeferred
async def test_versions_and_conditions() -> None:
    """
    A version is deleted as a version. The backend would ignore a condition, so an object with one is not deleted.
    """
    body = (
        b"<Delete><Object><Key>a</Key><VersionId>v 1/+</VersionId></Object>"
        b"<Object><Key>b</Key><ETag>x</ETag></Object></Delete>"
    )
    harness = Harness(profile=WALRUS, signature="v2")

    def made_a_marker(connection: FaultyConnection, received: ReceivedRequest) -> None:
        if received.head.method == b"GET":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n<ListVersionsResult/>")
            return
        connection.send(b"HTTP/1.1 204 x\r\nx-amz-delete-marker: true\r\nx-amz-version-id: v 1/+\r\n\r\n")

    harness.backend.on_request = made_a_marker
    response = await ask(harness, request(body))
    received = harness.backend.requests
    await harness.close()

    assert [one.head.raw_target for one in received] == [
        b"/services/Walrus/b?versions&prefix=a&max-keys=100",
        b"/services/Walrus/b/a?versionId=v%201%2F%2B",
    ]
    text = response.body.decode()
    assert (
        "<Deleted><Key>a</Key><VersionId>v 1/+</VersionId><DeleteMarker>true</DeleteMarker>"
        "<DeleteMarkerVersionId>v 1/+</DeleteMarkerVersionId></Deleted>"
    ) in text
    assert "<Error><Key>b</Key><Code>NotImplemented</Code>" in text


def versions_of_k(*ids: str) -> bytes:
    """
    Return a page of the versions of one key; the first is the latest.
    """
    listed = "".join(
        f"<Version><Key>k</Key><VersionId>{one}</VersionId><IsLatest>{str(one == ids[0]).lower()}</IsLatest></Version>"
        for one in ids
    )
    document = f"<ListVersionsResult><IsTruncated>false</IsTruncated>{listed}</ListVersionsResult>"
    return f"HTTP/1.1 200 OK\r\nContent-Length: {len(document)}\r\n\r\n{document}".encode()


@pytest.mark.parametrize("fails", ["", "v2", "v1"])
@pytest.mark.parametrize("order", ["v3 v2 v1", "v1 v2 v3", "v2 v3 v1"])
@pytest_twisted.ensureDeferred
async def test_the_latest_version_goes_last(order: str, fails: str) -> None:
    """
    It is deleted once the others of the document are gone: Walrus makes no other version the latest, so that one which
    is left could not be read.
    """
    objects = "".join(f"<Object><Key>k</Key><VersionId>{one}</VersionId></Object>" for one in order.split())
    harness = Harness(profile=WALRUS, signature="v2")
    deleted: list[str] = []

    def respond(connection: FaultyConnection, received: ReceivedRequest) -> None:
        if received.head.method == b"GET":
            connection.send(versions_of_k("v3", "v2", "v1"))
            return
        deleted.append(received.head.raw_target.rpartition(b"=")[2].decode())
        fault = deleted[-1] == fails
        connection.send(b"HTTP/1.1 500 x\r\nContent-Length: 0\r\n\r\n" if fault else b"HTTP/1.1 204 x\r\n\r\n")

    harness.backend.on_request = respond
    text = (await ask(harness, request(f"<Delete>{objects}</Delete>".encode()))).body.decode()
    await harness.close()

    assert sorted(deleted[:2]) == ["v1", "v2"]
    assert deleted[2:] == ([] if fails else ["v3"])
    assert text.count("<Deleted>") == (1 if fails else 3)
    assert ("<VersionId>v3</VersionId><Code>NotImplemented</Code>" in text) is bool(fails)


@pytest_twisted.ensureDeferred
async def test_the_latest_version_stays_if_the_client_leaves() -> None:
    """
    The deletion of the others is not known to have succeeded.
    """
    objects = b"".join(b"<Object><Key>k</Key><VersionId>v%d</VersionId></Object>" % one for one in (3, 2, 1))
    harness = Harness(profile=WALRUS, signature="v2")
    deleted: list[bytes] = []

    def respond(connection: FaultyConnection, received: ReceivedRequest) -> None:
        if received.head.method == b"GET":
            connection.send(versions_of_k("v3", "v2", "v1"))
        else:
            deleted.append(received.head.raw_target.rpartition(b"=")[2])

    harness.backend.on_request = respond
    client = await harness.connect()
    client.send(request(b"<Delete>%b</Delete>" % objects))
    await until(lambda: len(deleted) == 2)
    client.reset()
    await until(lambda: not harness.proxy.running_count)
    await harness.close()

    assert sorted(deleted) == [b"v1", b"v2"]


@pytest_twisted.ensureDeferred
async def test_a_surface_of_the_storages_own() -> None:
    """
    No key reaches it: a bucket cannot be called like a parent directory.
    """
    harness = Harness(profile=WALRUS, signature="v2")
    response = await ask(harness, request(document("services/Eucalyptus"), "/..?delete"))
    asked = list(harness.backend.requests)
    await harness.close()

    assert (response.status, asked) == (400, [])
    assert "<Code>InvalidBucketName</Code>" in response.body.decode()


@pytest_twisted.ensureDeferred
async def test_a_surface_that_a_key_leads_to() -> None:
    """
    Each key is checked with its own path, whatever was decided for the bucket.
    """
    harness = Harness(profile=replace(WALRUS, restrictions=None), signature="v2")
    response = await ask(harness, request(document("services/Eucalyptus"), "/..?delete"))
    asked = list(harness.backend.requests)
    await harness.close()

    assert (response.status, asked) == (200, [])
    assert "<Error><Key>services/Eucalyptus</Key><Code>AccessDenied</Code>" in response.body.decode()


@pytest_twisted.ensureDeferred
async def test_nobody_signs_what_nobody_signed() -> None:
    """
    The backend's own policy decides about anonymous deletions.
    """
    body = document("k")
    md5 = base64.b64encode(hashlib.md5(body).digest())
    head = b"POST /b?delete HTTP/1.1\r\nHost: x\r\nContent-MD5: %s\r\nContent-Length: %d\r\n\r\n" % (md5, len(body))
    harness = Harness(profile=WALRUS, signature="v2", anonymous=Anonymous(passes=True))
    response = await ask(harness, head + body)
    received = harness.backend.requests
    await harness.close()

    assert response.status == 200
    assert [one.head.method for one in received] == [b"DELETE"]
    assert b"authorization" not in received[0].head.fields


@pytest_twisted.ensureDeferred
async def test_our_own_signature_is_refused() -> None:
    """
    This is s3proxy's fault, and the client reads none of the backend's words.
    """
    harness = Harness(profile=WALRUS, signature="v2")
    blame = b"<Error><Code>SignatureDoesNotMatch</Code><StringToSign>secret</StringToSign></Error>"

    def refuse(connection: FaultyConnection, received: ReceivedRequest) -> None:
        connection.send(b"HTTP/1.1 403 x\r\nContent-Length: %d\r\n\r\n%s" % (len(blame), blame))

    harness.backend.on_request = refuse
    response = await ask(harness, request(document(*map(str, range(20)))))
    asked = len(harness.backend.requests)
    await harness.close()

    assert (response.status, code(response)) == (500, "InternalError")
    assert b"secret" not in response.body
    assert asked <= 2 * MAX_AT_ONCE


@pytest_twisted.ensureDeferred
async def test_nobody_is_there() -> None:
    """
    503, as for any request, and not a thousand errors in a 200, which no client would repeat.
    """
    # Bound but not listening, so that no other process takes the port.
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", bound.getsockname()[1], timeout=5)
        harness = Harness(profile=WALRUS, signature="v2", endpoint=endpoint)
        response = await ask(harness, request(document(*map(str, range(100)))))
        aborted = harness.proxy.context.counts.aborted
        await harness.close()

    assert (response.status, code(response)) == (503, "ServiceUnavailable")
    assert dict(aborted) == {"backend_unreachable": 1}


@pytest_twisted.ensureDeferred
async def test_a_connection_which_ends_inside_a_response() -> None:
    """
    The key has an error; the others are deleted.
    """
    harness = Harness(profile=WALRUS, signature="v2")

    def cut_one(connection: FaultyConnection, received: ReceivedRequest) -> None:
        if received.head.raw_target.endswith(b"/7"):
            connection.send(b"HTTP/1.1 204 ")
            connection.end()
        else:
            connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    harness.backend.on_request = cut_one
    response = await ask(harness, request(document(*map(str, range(20)))))
    await harness.close()

    assert (response.status, told(response, "Error"), len(told(response, "Deleted"))) == (200, ["7"], 19)


@pytest.mark.parametrize("who", ["client", "drain"])
@pytest_twisted.ensureDeferred
async def test_giving_up(who: str) -> None:
    """
    Running deletions are reset, and the rest never begin.
    """
    harness = Harness(profile=WALRUS, signature="v2")
    harness.backend.on_request = lambda connection, received: None
    client = await harness.connect()
    client.send(request(document(*map(str, range(50)))))
    backend = harness.backend
    await until(lambda: len(backend.requests) == MAX_AT_ONCE)

    if who == "client":
        client.reset()
    else:
        harness.proxy.abort_all()
    await until(lambda: all(connection.lost for connection in backend.connections) and not harness.proxy.running_count)
    await turns(5)
    asked = len(backend.requests)
    records = harness.records
    await harness.close()

    assert (asked, len(backend.connections), len(records)) == (MAX_AT_ONCE, MAX_AT_ONCE, 1)


@pytest_twisted.ensureDeferred
async def test_boto3(tmp_path: Path) -> None:
    """
    All objects of a bucket, with the call that users of boto3 make.
    """
    now = datetime.now(UTC)
    keys = {KEY: SECRET, BACKEND_KEY.access_key_id: BACKEND_KEY.secret_access_key}
    store = Running(tmp_path, quirks=MODES["walrus-3.4"], keys=keys, wall_clock=lambda: now)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", store.port.getHost().port, timeout=5)
    harness = Harness(profile=WALRUS, signature="v2", endpoint=endpoint, now=now)
    folder = store.store.objects.bucket("b")
    folder.create()
    # A listing of Walrus cannot return the other keys.
    names = [key for key in ODD if "\r" not in key] + [f"n{number}" for number in range(30)]
    for key in names:
        folder.put(key, store.store.objects.receive(), 0.0, {})
    signer = Signer()

    def delete_all(url: str) -> list[str]:
        resource = boto3.resource(
            "s3",
            endpoint_url=url,
            aws_access_key_id=signer.access_key_id,
            aws_secret_access_key=signer.secret,
            region_name="us-east-1",
            config=Config(s3={"addressing_style": "path"}, signature_version="s3v4", proxies={}),
        )
        responses = resource.Bucket("b").objects.delete()
        resource.meta.client.close()
        return [item["Key"] for response in responses for item in response["Deleted"]]

    try:
        deleted = await deferToThread(delete_all, f"http://127.0.0.1:{harness.port.getHost().port}")
    finally:
        await harness.close()
        await store.close()

    assert sorted(deleted) == sorted(names)
    assert folder.is_empty
