"""
A body streams into an application's consumer, and only the Deferred says that it is what was signed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.protocols.basic import FileSender
from twisted.web.server import NOT_DONE_YET

from s3proxy.awschunked.checksums import BodyDigests
from s3proxy.body.plain import PlainDecoder
from s3proxy.embedding.delivery import Delivery
from s3proxy.frontend.hold import Hold
from s3proxy.s3.credential import BudgetLimits, Credential
from s3proxy.s3.errors import AccessDenied, InternalError, S3Error
from tests.conftest import ErrorLog
from tests.support.backpressure import BLOCKS, BUFFER, KERNEL, MIB
from tests.support.carriers import KEY, SECRET, v2
from tests.support.embedding import Kept, Page, embedded
from tests.support.harness import Harness, in_transfer_chunks, send_pieces, turns, until
from tests.support.signer import HASH, MODES, SIGNED_CHUNKS, SIGNED_TRAILER, UNSIGNED, UNSIGNED_TRAILER, Signer
from tests.support.socket_client import SocketClient
from tests.support.wire_cases import element

BODY = bytes(range(256)) * 3
GET = Signer().head("GET", "/test-bucket/k")[0]
MD5 = {"content-md5": base64.b64encode(hashlib.md5(BODY).digest()).decode()}


def put(mode: str, **options: Any) -> Any:
    """
    Return an upload of `BODY` in a payload mode; one that is not signed has an MD5.
    """
    return Signer().put("/test-bucket/k", BODY, mode, headers=MD5 if mode == UNSIGNED else {}, **options)


def page_with(consumer: Kept) -> Page:
    """
    Return a resource that takes bodies into a consumer of the test's.
    """
    return Page(make_consumer=lambda: consumer)


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("transfer_chunks", [0, 100])
@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_each_mode(mode: str, transfer_chunks: int, step: int) -> None:
    """
    However the bytes arrive, the consumer gets the body, and then the Deferred fires.
    """
    request = put(mode)
    if transfer_chunks and mode.startswith("STREAMING"):
        request = put(mode, transfer_chunks=transfer_chunks)
    elif transfer_chunks:
        length = f"Content-Length: {len(BODY)}".encode()
        request.head = request.head.replace(length, b"Transfer-Encoding: chunked")
        request.body = in_transfer_chunks(request.body, transfer_chunks)
    page = Page()
    harness = embedded(page)

    response = await harness.request(request.head, request.body, step=step)
    await harness.close()

    assert (response.status, response.header("X-Size")) == (200, str(len(BODY)))
    assert page.outcomes == [None]
    assert page.consumer.content == BODY
    assert page.consumer.events == ["registered", "unregistered"]
    is_known = mode.startswith("STREAMING") or not transfer_chunks
    assert page.requests[0].length == (len(BODY) if is_known else None)


TAMPERED = {
    HASH: "XAmzContentSHA256Mismatch",
    UNSIGNED: "BadDigest",
    SIGNED_CHUNKS: "SignatureDoesNotMatch",
    SIGNED_TRAILER: "SignatureDoesNotMatch",
    UNSIGNED_TRAILER: "BadDigest",
}


@pytest.mark.parametrize("step", [0, 1, 7])
@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_tampered_body(mode: str, step: int) -> None:
    """
    The Deferred fails, the client gets the S3 error, and the resource cannot send anything else.
    """
    request = put(mode)
    middle = len(request.body) // 2
    body = request.body[:middle] + bytes([request.body[middle] ^ 1]) + request.body[middle + 1 :]
    page = Page()
    harness = embedded(page)

    response = await harness.request(request.head, body, step=step)
    await harness.close()

    (error,) = page.outcomes
    assert isinstance(error, S3Error)
    assert error.code == TAMPERED[mode] == element(response.body, "Code")
    assert response.status == error.status
    assert response.header("X-Size") is None
    assert page.consumer.events == ["registered", "unregistered"]
    assert len(page.consumer.content) < len(BODY)


@pytest.mark.parametrize(
    ("cut", "code"),
    [(1, "IncompleteBody"), (40, "IncompleteBody"), (200, "IncompleteBody")],
)
@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_body_that_ends_early(mode: str, cut: int, code: str) -> None:
    """
    A client that closes its half before the end of its body can read why it is refused.
    """
    request = put(mode)
    page = Page()
    harness = embedded(page)
    client = await harness.connect()
    client.send(request.head + request.body[:-cut])
    client.half_close()
    response: Any = await client.response()
    await harness.close()

    assert element(response.body, "Code") == code == page.outcomes[0].code
    assert page.consumer.events == ["registered", "unregistered"]


@pytest.mark.parametrize("mode", [SIGNED_TRAILER, UNSIGNED_TRAILER])
@pytest_twisted.ensureDeferred
async def test_a_trailer_that_is_cut_off(mode: str) -> None:
    """
    A complete transfer without the trailer is not a complete body.
    """
    request = put(mode)
    body = request.body[: request.body.index(b"x-amz-checksum")]
    head = request.head.replace(b"Content-Length: %d" % len(request.body), b"Content-Length: %d" % len(body))
    page = Page()
    harness = embedded(page)

    response = await harness.request(head, body)
    await harness.close()

    assert response.status == 400
    assert isinstance(page.outcomes[0], S3Error)
    assert len(page.consumer.content) < len(BODY)


@pytest_twisted.ensureDeferred
async def test_a_body_that_was_cut_off_whole() -> None:
    """
    A resource that does not ask for the body would not notice: the request is refused before it is rendered.
    """
    head = put(HASH).head.replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 0")
    page = Page(lambda request: b"stored")
    harness = embedded(page)

    response = await harness.request(head)
    await harness.close()

    assert element(response.body, "Code") == "XAmzContentSHA256Mismatch"
    assert page.requests == []


@pytest_twisted.ensureDeferred
async def test_no_body() -> None:
    """
    The consumer gets nothing, and its end.
    """
    page = page_with(Kept(pauses=True))
    harness = embedded(page)

    response = await harness.request(GET)
    await harness.close()

    assert response.status == 200
    assert (page.outcomes, page.consumer.events) == ([None], ["registered", "unregistered"])


@pytest.mark.parametrize(("max_size", "status"), [(len(BODY) - 1, 400), (len(BODY), 200)])
@pytest_twisted.ensureDeferred
async def test_a_body_of_unknown_length_is_bounded(max_size: int, status: int) -> None:
    """
    Its bytes are counted as they arrive.
    """
    request = put(UNSIGNED)
    head = request.head.replace(b"Content-Length: %d" % len(BODY), b"Transfer-Encoding: chunked")
    page = Page()
    harness = embedded(page, max_size=max_size)

    response = await harness.request(head, in_transfer_chunks(BODY, 100))
    await harness.close()

    assert response.status == status
    assert status == 200 or element(response.body, "Code") == "EntityTooLarge" == page.outcomes[0].code
    assert len(page.consumer.content) <= max_size


# Pace


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("mode", MODES)
@pytest_twisted.ensureDeferred
async def test_a_paused_consumer_stops_the_client(mode: str, *, tls: bool) -> None:
    """
    What the client can send stops at the kernel's buffers and two blocks; then all arrives.
    """
    body = bytes(range(256)) * (4 * MIB // 256)
    page = page_with(Kept(pauses=True))
    harness = embedded(page, Harness(socket_buffer=BUFFER, is_tls=tls))
    request = Signer().put("/test-bucket/key", body, mode)
    client = SocketClient(harness.port.getHost().port, BUFFER)
    if tls:
        await client.start_tls()
    client.put(request.head + request.body)

    await client.settle()

    (channel,) = harness.site.channels
    assert client.sent <= KERNEL + BLOCKS
    assert channel.holds.reasons == {Hold.BACKEND}
    assert page.outcomes == []

    page.consumer.producer.resumeProducing()
    await client.until_answered()

    assert client.status == 200
    assert hashlib.sha256(page.consumer.content).digest() == hashlib.sha256(body).digest()
    assert page.outcomes == [None]
    assert not channel.holds.reasons
    client.close()
    await harness.close()


@pytest_twisted.ensureDeferred
async def test_a_consumer_that_stops_its_producer() -> None:
    """
    It is full or closed: the client gets an error, and nothing more is written.
    """
    page = Page()
    harness = embedded(page)
    client = await harness.connect()
    client.send(put(HASH).head + BODY[:100])
    await until(lambda: page.consumers and page.consumer.pieces)
    page.consumer.producer.stopProducing()
    page.consumer.producer.resumeProducing()
    page.consumer.producer.pauseProducing()
    response: Any = await client.response()
    await harness.close()

    assert (response.status, page.outcomes[0].code) == (500, "InternalError")
    assert page.consumer.events == ["registered", "unregistered"]


@pytest_twisted.ensureDeferred
async def test_the_budget_of_bytes_a_second() -> None:
    """
    The client of a key is paced as for S3.
    """
    credential = Credential(KEY, (SECRET,), budget=BudgetLimits(bytes_per_second=1000.0))
    page = Page()
    harness = embedded(page, Harness(credentials={KEY.encode(): credential}))
    client = await harness.connect()
    request = Signer().put("/test-bucket/k", bytes(100_000), HASH)
    client.send(request.head + request.body[:50_000])
    await until(lambda: any(Hold.BUDGET in channel.holds.reasons for channel in harness.site.channels))
    client.reset()
    await until(lambda: page.outcomes)
    await harness.close()

    assert page.outcomes[0].code == "IncompleteBody"


# What ends a delivery


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves() -> None:
    """
    The consumer is told, the Deferred fails, and what the resource waits for is cancelled.
    """
    ended: list[Any] = []
    page = Page()

    async def render(request: Any) -> bytes:
        request.notifyFinish().addErrback(lambda failure: ended.append(failure.type))
        page.consumers.append(Kept())
        try:
            await request.deliverBody(page.consumer)
        except S3Error as error:
            ended.append(error.code)
        try:
            await Deferred()
        except CancelledError:
            ended.append("cancelled")
            raise
        return b"late"

    page.act = render
    harness = embedded(page)
    client = await harness.connect()
    client.send(put(HASH).head + BODY[:100])
    await until(lambda: page.consumers and page.consumer.pieces)
    client.reset()
    await until(lambda: len(ended) == 3)
    await harness.close()

    assert set(ended) == {ConnectionLost, "IncompleteBody", "cancelled"}
    assert page.consumer.events == ["registered", "unregistered"]
    page.requests[0].respond(200)
    with pytest.raises(ConnectionLost):
        await page.requests[0].notifyFinish()
    with pytest.raises(ValueError, match="only once"):
        page.requests[0].deliverBody(Kept())


@pytest_twisted.ensureDeferred
async def test_a_response_before_the_end_of_the_body() -> None:
    """
    It ends the delivery: the Deferred fails, and the consumer is told.
    """
    page = Page()
    harness = embedded(page)
    client = await harness.connect()
    client.send(put(HASH).head + BODY[:100])
    await until(lambda: page.consumers and page.consumer.pieces)
    finished = page.requests[0].notifyFinish()
    page.requests[0].respond(409, [], b"enough")
    response: Any = await client.response()
    await finished
    await page.requests[0].notifyFinish()
    client.send(BODY[100:])
    await turns(5)
    await harness.close()

    assert (response.status, response.body) == (409, b"enough")
    assert page.outcomes[0].code == "IncompleteBody"
    assert page.consumer.events == ["registered", "unregistered"]
    assert page.consumer.content == BODY[:100]


@pytest_twisted.ensureDeferred
async def test_a_delivery_that_is_cancelled() -> None:
    """
    The client gets an error.
    """
    delivered: list[Any] = []
    consumer = Kept()

    def render(request: Any) -> int:
        delivered.append(request.deliverBody(consumer))
        delivered[0].addErrback(lambda failure: delivered.append(failure.value.code))
        return NOT_DONE_YET

    harness = embedded(Page(render))
    client = await harness.connect()
    client.send(put(HASH).head + BODY[:100])
    await until(lambda: consumer.pieces)
    delivered[0].cancel()
    response: Any = await client.response()
    await harness.close()

    assert (response.status, delivered[1]) == (500, "InternalError")
    assert consumer.events == ["registered", "unregistered"]


class Broken(Kept):
    """
    A consumer one of whose methods raises.
    """

    def __init__(self, method: str, error: Exception) -> None:
        super().__init__()

        def raises(*arguments: object) -> None:
            raise error

        setattr(self, method, raises)


@pytest.mark.parametrize(
    ("method", "error", "status", "count"),
    [
        ("write", ValueError("the-secret"), 500, 1),
        ("write", AccessDenied("no room for you"), 403, 0),
        ("registerProducer", ValueError("the-secret"), 500, 1),
        ("unregisterProducer", ValueError("the-secret"), 200, 1),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_consumer_that_raises(
    method: str, error: Exception, status: int, count: int, error_log: ErrorLog
) -> None:
    """
    The client gets an S3 error, and the reason is in the log.
    """
    page = page_with(Broken(method, error))
    harness = embedded(page)

    response = await harness.request(put(HASH).head, BODY)
    await harness.close()

    assert response.status == status
    assert b"secret" not in response.body
    assert len(error_log.flush()) == count


@pytest_twisted.ensureDeferred
async def test_a_body_is_verified_under_signature_v2() -> None:
    """
    Content-MD5 is signed, and verified.
    """
    text = f"PUT\n{MD5['content-md5']}\n\nSun, 01 Mar 2026 12:00:00 GMT\n/test-bucket/k"
    request = v2("PUT", "/test-bucket/k", "/test-bucket/k", f"Content-MD5: {MD5['content-md5']}\r\n", body=BODY)
    page = Page()
    harness = embedded(page)
    head = resign_v2(request.head, text)

    good = await harness.request(head, BODY)
    bad = await harness.request(head, BODY[:-1] + b"x")
    await harness.close()

    assert (good.status, bad.status) == (200, 400)
    assert page.outcomes[0] is None
    assert page.outcomes[1].code == "BadDigest"


def resign_v2(head: bytes, text: str) -> bytes:
    """
    Return a head with the signature of another text.
    """
    signature = base64.b64encode(hmac.digest(SECRET.encode(), text.encode(), "sha1"))
    return re.sub(rb"(AWS [^:]+:)[^\r]+", lambda found: found[1] + signature, head)


@pytest.mark.parametrize("leaves", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_pull_producer_of_the_response(tmp_path: Any, *, leaves: bool) -> None:
    """
    A file is sent at the client's pace; its sender is stopped if the client leaves.
    """
    size = 8 * MIB
    (tmp_path / "file").write_bytes(bytes(size))
    files: list[Any] = []

    async def render(request: Any) -> int:
        files.append((tmp_path / "file").open("rb"))
        request.beginResponse(200, [], size)
        await FileSender().beginFileTransfer(files[0], request)
        request.finish()
        return NOT_DONE_YET

    harness = embedded(Page(render), Harness(socket_buffer=BUFFER))
    client = SocketClient(harness.port.getHost().port, BUFFER)
    client.put(GET)
    await until(lambda: client.pump(reads=False) or files)
    await turns(300)
    assert files[0].tell() < size / 2
    if leaves:
        client.close(reset=True)
    else:
        await until(lambda: client.pump(keeps=False) or client.received_size > size)
        client.close()
    await harness.close()
    for file in files:
        file.close()
    assert leaves or client.received_size > size


@pytest_twisted.ensureDeferred
async def test_pieces_of_a_slow_client() -> None:
    """
    The consumer gets bytes while the rest has yet to arrive.
    """
    page = Page()
    harness = embedded(page)
    client = await harness.connect()
    client.send(put(HASH).head)
    await send_pieces(client, BODY[:-1], 100)
    await until(lambda: len(page.consumer.content) == len(BODY) - 1)
    assert page.outcomes == []
    client.send(BODY[-1:])
    response: Any = await client.response()
    await harness.close()

    assert response.status == 200


# Alone


class Source:
    """
    A request whose body the test writes.

    Attributes:
        calls: What the consumer asked for.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.body: Any = None

    def deliverBody(self, consumer: Any) -> Deferred[None]:
        """
        Take the consumer.
        """
        self.body = consumer
        consumer.registerProducer(self, True)
        return Deferred()

    def pauseProducing(self) -> None:
        """
        Remember the call.
        """
        self.calls.append("pause")

    def resumeProducing(self) -> None:
        """
        Remember the call.
        """
        self.calls.append("resume")


def delivering(consumer: Kept) -> tuple[Source, Delivery, list[S3Error], list[Any]]:
    """
    Return a source of ten bytes, its delivery to a consumer, the client's errors, and the results of the Deferred.
    """
    source, errors, results = Source(), [], []  # type: ignore[var-annotated]
    delivery = Delivery(source, consumer, 100, errors.append, lambda error: InternalError())
    delivery.delivered.addBoth(results.append)
    delivery.begin(PlainDecoder(10, BodyDigests(None)))
    return source, delivery, errors, results


def test_the_last_block_is_withheld() -> None:
    """
    The consumer gets it once everything is verified, and before it is told of the end.
    """
    consumer = Kept()
    source, _, errors, results = delivering(consumer)
    source.body.write(b"01234")
    source.body.write(b"56789")
    source.body.unregisterProducer()

    assert (consumer.content, consumer.events) == (b"01234", ["registered"])
    source.body.wireEnded()

    assert (consumer.content, consumer.events) == (b"0123456789", ["registered", "unregistered"])
    assert (errors, results) == ([], [None])


def test_an_exception_of_the_consumer() -> None:
    """
    It goes no further than to the client's error.
    """
    source, _, errors, results = delivering(Broken("write", ValueError("the-secret")))

    source.body.write(b"01234")

    assert [error.code for error in errors] == ["InternalError"]
    assert results[0].value is errors[0]


def test_the_producer_of_the_consumer() -> None:
    """
    It pauses and resumes the request until it is stopped.
    """
    consumer = Kept()
    source, delivery, errors, results = delivering(consumer)
    delivery.pauseProducing()
    delivery.resumeProducing()
    delivery.stopProducing()
    delivery.pauseProducing()
    delivery.resumeProducing()
    delivery.stopProducing()
    source.body.write(b"01234")

    assert source.calls == ["pause", "resume"]
    assert [error.code for error in errors] == ["InternalError"]
    assert results[0].value is errors[0]
    assert (consumer.content, consumer.events) == (b"", ["registered", "unregistered"])
