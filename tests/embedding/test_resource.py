"""
An application's own resource is rendered only for requests that S3 would believe.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.test.requesthelper import DummyRequest

from s3proxy import Access, Scope, authenticated
from s3proxy.exchange.budget import Budgets
from s3proxy.frontend.times import ClientTimes
from s3proxy.s3.credential import BudgetLimits, Credential
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.exemption import Exemption
from s3proxy.testing.faulty_client import Response
from tests.conftest import ErrorLog
from tests.support.carriers import FIELDS, KEY, SECRET, signed_by, v2, v2_query
from tests.support.embedding import Kept, Page, embedded
from tests.support.forms import form_request, multipart, v2_fields, v4_fields
from tests.support.harness import NOW, SERVER, Harness, MemoryStore, data_set_credentials, turns
from tests.support.signer import SignedRequest, Signer
from tests.support.wire_cases import element

GET = Signer().head("GET", "/test-bucket/k")[0]
PUT = Signer().put("/test-bucket/k", b"hello")
TEMPORARY = SERVER["credentials"][2]


async def ask(
    request: bytes | SignedRequest, page: Page | None = None, harness: Harness | None = None, **options: Any
) -> tuple[Response, Page]:
    """
    Send a request to a resource; return the response, and the resource.
    """
    page = page or Page()
    harness = embedded(page, harness, **options)
    sent = SignedRequest(request, b"") if isinstance(request, bytes) else request
    response: Any = await harness.request(sent.head, sent.body)
    await turns(3)
    await harness.close()
    assert harness.backend.requests == []
    return response, page


def key(**rights: Any) -> dict[bytes, Credential]:
    """
    Return the store of one key with certain rights.
    """
    return {KEY.encode(): Credential(KEY, (SECRET,), **rights)}


@pytest.mark.parametrize(
    "carrier",
    [
        "v4-header",
        "v4-query",
        "v4a-header",
        "v4a-query",
        "v2-header",
        "v2-query",
        "unsigned-payload",
        "unsigned-trailer",
    ],
)
@pytest_twisted.ensureDeferred
async def test_each_carrier(carrier: str) -> None:
    """
    The resource sees who sent the request, and how.
    """
    response, page = await ask(signed_by(carrier), regions=("us-east-1", "eu-west-1"))

    (request,) = page.requests
    assert response.status == 200
    assert response.header("x-amz-request-id")
    assert response.header("Date")
    assert request.authenticated.access_key_id == KEY.encode()
    assert request.authenticated.credential.access_key_id == KEY
    assert request.authenticated.carrier.value == (carrier if carrier[0] == "v" else "v4-header")
    assert request.client_host == "127.0.0.1"
    assert page.outcomes == [None]


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"GET /test-bucket/k HTTP/1.1\r\nHost: s3.example.test\r\n\r\n", "AccessDenied"),
        (b"OPTIONS /test-bucket/k HTTP/1.1\r\nHost: x\r\nOrigin: o\r\n\r\n", "AccessDenied"),
        (b"POST /test-bucket HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "AccessDenied"),
        (form_request(multipart(v4_fields(FIELDS, key="k"), b"hello")), "AccessDenied"),
        (form_request(multipart(v2_fields(FIELDS, key="k"), b"hello")), "AccessDenied"),
        (GET.replace(b"/k HTTP", b"/j HTTP"), "SignatureDoesNotMatch"),
        (Signer("nobody").head("GET", "/test-bucket/k")[0], "InvalidAccessKeyId"),
        (Signer(secret="another").head("GET", "/test-bucket/k")[0], "SignatureDoesNotMatch"),
        (Signer(now=NOW - timedelta(minutes=16)).head("GET", "/test-bucket/k")[0], "RequestTimeTooSkewed"),
        (v2("GET", "/test-bucket/j", "/test-bucket/k"), "SignatureDoesNotMatch"),
        (v2_query("/test-bucket/j", "GET\n\n\n1772366460\n/test-bucket/k"), "SignatureDoesNotMatch"),
        (GET.replace(b"us-east-1", b"eu-west-1"), "AuthorizationHeaderMalformed"),
        (GET.replace(b"/s3/", b"/ec2/"), "AuthorizationHeaderMalformed"),
        (GET.replace(b"\r\n\r\n", b"\r\nx-amz-acl: private\r\n\r\n"), "AccessDenied"),
        (
            Signer(TEMPORARY["access_key"], TEMPORARY["secret_key"]).head("GET", "/test-bucket/k")[0],
            "InvalidAccessKeyId",
        ),
        (
            Signer(TEMPORARY["access_key"], TEMPORARY["secret_key"]).head(
                "GET", "/test-bucket/k", {"x-amz-security-token": "never-issued"}
            )[0],
            "InvalidToken",
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_is_not_rendered(request_: bytes | SignedRequest, code: str) -> None:
    """
    The client gets S3's document, and the resource is not asked.
    """
    response, page = await ask(request_)

    assert response.status in {400, 403}
    assert element(response.body, "Code") == code
    assert element(response.body, "RequestId") == response.header("x-amz-request-id")
    assert response.header("Content-Type") == "application/xml"
    assert page.requests == []
    assert SECRET.encode() not in response.body


@pytest_twisted.ensureDeferred
async def test_a_session_token() -> None:
    """
    A temporary key works with its own token, which the resource does not see.
    """
    signer = Signer(TEMPORARY["access_key"], TEMPORARY["secret_key"])
    token = {"x-amz-security-token": TEMPORARY["session_token"]}

    response, page = await ask(signer.head("GET", "/test-bucket/k", token)[0])

    assert response.status == 200
    assert b"x-amz-security-token" not in page.requests[0].head.fields
    assert TEMPORARY["session_token"] not in repr(page.requests[0].authenticated)


@pytest.mark.parametrize(
    ("options", "carrier", "status"),
    [
        ({"refuse": ["v2-header"]}, "v2-header", 400),
        ({"refuse": ["v2-header"]}, "v4-header", 200),
        ({"refuse": ["v4-query"]}, "v4-query", 400),
        ({"refuse": ["unsigned-payload"]}, "unsigned-payload", 403),
        ({"regions": ["eu-west-1"]}, "v4-header", 400),
        ({"regions": ["eu-west-1", "us-east-1"]}, "v4-header", 200),
        ({"max_size": 4}, "v4-header", 400),
        ({"max_size": 4}, "unsigned-trailer", 400),
        ({"max_size": 5}, "unsigned-trailer", 200),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_settings(options: dict[str, Any], carrier: str, status: int) -> None:
    """
    Carriers, regions and the size are checked before the resource is rendered.
    """
    response, page = await ask(signed_by(carrier), **options)

    assert response.status == status
    assert len(page.requests) == (status == 200)


@pytest_twisted.ensureDeferred
async def test_a_virtual_host() -> None:
    """
    Under Signature V2 the bucket of the host name is a part of what is signed.
    """
    request = v2("GET", "/test-bucket/k", "/b/test-bucket/k")
    head = request.head.replace(b"Host: s3.", b"Host: b.s3.")

    assert (await ask(head, domains=["S3.example.test"]))[0].status == 200
    assert (await ask(head))[0].status == 403


@pytest.mark.parametrize(
    ("rights", "accesses", "method", "status"),
    [
        ({"networks": ("127.0.0.0/8",)}, None, "PUT", 200),
        ({"networks": ("10.0.0.0/8",)}, None, "PUT", 403),
        ({"networks": ("ten",)}, None, "PUT", 500),
        ({"is_disabled": True}, None, "PUT", 403),
        ({"expires_at": NOW}, None, "PUT", 403),
        ({"refused": frozenset({"v4-header"})}, None, "PUT", 400),
        ({"is_read_only": True}, None, "PUT", 403),
        ({"is_read_only": True}, None, "GET", 200),
        ({"allow": ("*:*",)}, None, "GET", 403),
        ({"deny": ("write:other",)}, None, "GET", 403),
        ({"allow": ("read:pages/k",)}, [Access("s3:GetObject", Scope.KEY, b"pages", b"k")], "GET", 200),
        ({"allow": ("read:pages/j",)}, [Access("s3:GetObject", Scope.KEY, b"pages", b"k")], "GET", 403),
        ({"allow": ("read:other",)}, [], "GET", 200),
        ({"allow": ("bad",)}, [], "GET", 500),
        ({}, [Access("s3:GetObject", Scope.KEY, b"pages", b"k")], "GET", 200),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_rules_of_a_key(
    rights: dict[str, Any], accesses: Iterable[Access] | None, method: str, status: int
) -> None:
    """
    Rules are about S3: a key that has some is refused, unless the application says which actions a request is.
    """
    function = None if accesses is None else lambda request: accesses
    request: Any = PUT if method == "PUT" else GET

    response, page = await ask(request, harness=Harness(credentials=key(**rights)), accesses=function)

    assert response.status == status
    assert len(page.requests) == (status == 200)


@pytest_twisted.ensureDeferred
async def test_an_exemption_is_counted() -> None:
    """
    It is that of the key, and it is the same as for S3.
    """
    old = Signer(now=NOW - timedelta(hours=1)).head("GET", "/test-bucket/k")[0]
    exempt = key(exemptions=frozenset({Exemption.CLOCK_SKEW}))

    assert (await ask(old, harness=Harness(credentials=exempt)))[0].status == 200
    assert (await ask(old))[0].status == 403


@pytest_twisted.ensureDeferred
async def test_a_source_that_fails() -> None:
    """
    That does not mean that the key is unknown.
    """
    harness = Harness()
    harness.store.look_up = lambda name: fail(ValueError("down"))  # type: ignore[method-assign]

    with capturedLogs() as captured:
        response, page = await ask(GET, harness=harness)

    assert (response.status, page.requests) == (503, [])
    assert "the credential source failed: down" in map(formatEvent, captured)


@pytest_twisted.ensureDeferred
async def test_a_slow_source() -> None:
    """
    A late key is a key; one that is too late is 503, and one whose client has left is cancelled.
    """
    clock, waiting, cancelled = Clock(), [], []
    harness = Harness(clock=clock)

    def look_up(name: bytes) -> Deferred[Credential | None]:
        waiting.append(Deferred(cancelled.append))
        return waiting[-1]

    harness.store.look_up = look_up  # type: ignore[method-assign]
    page = Page()
    embedded(page, harness, lookup_time=3.0)
    clients = [await harness.connect() for _ in range(3)]
    for client in clients:
        client.send(GET)
        await turns(5)
    assert (len(waiting), page.requests) == (3, [])
    clients[2].reset()
    await turns(5)
    waiting[0].callback(data_set_credentials()[KEY.encode()])
    clock.advance(3.1)
    statuses = [(await client.response()).status for client in clients[:2]]  # type: ignore[union-attr]
    await harness.close()

    assert statuses == [200, 503]
    assert len(page.requests) == 1
    assert len(cancelled) == 2


@pytest_twisted.ensureDeferred
async def test_the_budget_of_a_key() -> None:
    """
    A request waits for the one before it; if that takes too long, it is refused.
    """
    clock = Clock()
    page = Page(lambda request: NOT_DONE_YET)
    harness = Harness(clock=clock, credentials=key(budget=BudgetLimits(requests=1)))
    embedded(page, harness, budgets=Budgets(harness.site.reactor, patience=5.0))
    clients = []
    for number in range(3):
        clients.append(await harness.connect())
        clients[-1].send(GET)
        await turns(5)
        clock.advance(number)
    assert len(page.requests) == 1
    page.requests[0].respond(204)
    await turns(5)
    assert len(page.requests) == 2
    clock.advance(5.0)
    response: Any = await clients[2].response()
    page.requests[1].respond(204)
    await harness.close()

    assert response.status == 503
    assert element(response.body, "Code") == "SlowDown"


def test_a_stock_site_is_refused(error_log: ErrorLog) -> None:
    """
    It stores a body of any size before it renders: none of that is verified or paced.
    """
    page, request = Page(), DummyRequest([b"page"])

    body = authenticated(page, MemoryStore(data_set_credentials()), Clock()).render(request)

    assert request.responseCode == 500
    assert isinstance(body, bytes)
    assert b"S3Site" in body
    assert page.requests == []
    assert len(error_log.flush()) == 1


@pytest.mark.parametrize(
    ("resource", "options", "error", "words"),
    [
        (Resource(), {}, TypeError, "Resource does not implement IStreamedResource"),
        (Page(), {"refuse": ["v2header"]}, ValueError, "refuse cannot have v2header; it accepts v4-header"),
        (Page(), {"regions": ()}, ValueError, "a region is required"),
    ],
)
def test_what_cannot_be_embedded(resource: Any, options: Any, error: type[Exception], words: str) -> None:
    """
    A mistake is found when the resource is made.
    """
    with pytest.raises(error, match=words):
        authenticated(resource, MemoryStore(data_set_credentials()), Clock(), **options)


def test_it_is_a_leaf() -> None:
    """
    It has no children, and is its own child.
    """
    resource: Any = authenticated(Page(), MemoryStore(data_set_credentials()), Clock())

    assert resource.isLeaf
    assert resource.getChildWithDefault(b"x", None) is resource
    with pytest.raises(TypeError, match="leaf"):
        resource.putChild(b"x", Resource())


@pytest_twisted.ensureDeferred
async def test_s3_is_beside_it() -> None:
    """
    One port serves both.
    """
    harness = embedded(Page())

    own: Any = await harness.request(GET)
    of_s3: Any = await harness.request(Signer().head("GET", "/other-bucket/k")[0])
    await turns(3)
    await harness.close()

    assert (own.status, own.body) == (200, b"stored")
    assert of_s3.status == 200
    assert [request.head.raw_target for request in harness.backend.requests] == [b"/other-bucket/k"]


# What the resource does


async def _coroutine(request: Any) -> bytes:
    await request.deliverBody(Kept())
    return b"from a coroutine"


async def _responds(request: Any) -> None:
    request.respond(201)


async def _raises(request: Any) -> bytes:
    raise AccessDenied("not you")


@pytest.mark.parametrize(
    ("act", "status", "body"),
    [
        (lambda request: b"at once", 200, b"at once"),
        (_coroutine, 200, b"from a coroutine"),
        (_responds, 201, b""),
        (lambda request: request.respond(404, [(b"X-A", b"b")], b"none") or NOT_DONE_YET, 404, b"none"),
        (_raises, 403, None),
        (lambda request: fail(AccessDenied()), 403, None),
    ],
)
@pytest.mark.parametrize("request_", [GET, PUT])
@pytest_twisted.ensureDeferred
async def test_how_a_resource_responds(act: Any, status: int, body: bytes | None, request_: Any) -> None:
    """
    At once, later, or by an S3 error, whether or not it asks for the body.
    """
    response, _ = await ask(request_, Page(act))

    assert response.status == status
    assert body is None or response.body == body
    assert status != 403 or element(response.body, "Code") == "AccessDenied"


@pytest.mark.parametrize(
    "act",
    [
        lambda request: 1 / 0,
        lambda request: "text",
        lambda request: fail(ValueError("the-secret")),
        lambda request: request.respond(200, [(b"X-A", b"a\r\nb: c")]),
        lambda request: request.respond(200, [(b"X A", b"a")]),
        lambda request: request.respond(200, [(b"Content-Length", b"9")]),
        lambda request: request.respond(100),
        lambda request: request.respond(204, [], b"x"),
        lambda request: request.write(b"early"),
        lambda request: request.deliverBody(Kept()).addErrback(id) and request.deliverBody(Kept()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_resource_that_fails(act: Any, error_log: ErrorLog) -> None:
    """
    The client gets an S3 error without the reason, which is in the log.
    """
    response, _ = await ask(PUT.head.replace(b"Length: 5", b"Length: 5\r\nExpect: 100-continue"), Page(act))

    assert response.status == 500
    assert element(response.body, "Code") == "InternalError"
    assert b"secret" not in response.body
    assert len(error_log.flush()) == 1


@pytest_twisted.ensureDeferred
async def test_an_early_response_keeps_the_connection() -> None:
    """
    The rest of a short body is read and dropped, and the next request is served.
    """
    page = Page(lambda request: b"early")
    harness = embedded(page)
    client = await harness.connect()
    client.send(PUT.head)
    first: Any = await client.response()
    client.send(PUT.body + GET)
    second: Any = await client.response()
    await harness.close()

    assert (first.body, second.body) == (b"early", b"early")
    assert len(page.requests) == 2


@pytest.mark.parametrize(
    ("act", "interim", "status"),
    [(None, [100], 200), (lambda request: b"early", [], 200), (_raises, [], 403)],
)
@pytest_twisted.ensureDeferred
async def test_the_client_continues_if_the_body_is_wanted(act: Any, interim: list[int], status: int) -> None:
    """
    100 Continue is sent when the resource asks for the body, and not before.
    """
    head = PUT.head.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length")
    harness = embedded(Page(act))
    client = await harness.connect()
    client.send(head)
    if interim:
        await client.until(lambda: b"100 Continue" in client.received)
        client.send(PUT.body)
    response: Any = await client.response()
    await harness.close()

    assert (response.interim, response.status) == (interim, status)


@pytest_twisted.ensureDeferred
async def test_a_refused_client_does_not_continue() -> None:
    """
    Nothing of its body is wanted.
    """
    head = PUT.head.replace(b"Content-Length", b"Expect: 100-continue\r\nContent-Length").replace(
        b"/k HTTP", b"/j HTTP"
    )

    response, _ = await ask(head)

    assert (response.interim, response.status) == ([], 403)


@pytest.mark.parametrize("body", [b"x" * 100_000, b""])
@pytest_twisted.ensureDeferred
async def test_a_response_that_streams(body: bytes) -> None:
    """
    The request is the consumer of its content.
    """

    async def act(request: Any) -> int:
        request.beginResponse(200, [(b"Content-Type", b"text/plain")], len(body))
        for start in range(0, len(body), 1000):
            request.write(body[start : start + 1000])
        request.finish()
        request.write(b"late")
        request.finish()
        return NOT_DONE_YET

    response, _ = await ask(GET, Page(act))
    to_head, _ = await ask(Signer().head("HEAD", "/test-bucket/k")[0], Page(act))

    assert (response.status, response.body) == (200, body)
    assert response.header("Content-Type") == "text/plain"
    assert (to_head.status, to_head.body, to_head.header("Content-Length")) == (200, b"", str(len(body)))


@pytest.mark.parametrize("error", [None, AccessDenied(), ValueError("x")])
@pytest_twisted.ensureDeferred
async def test_a_cut_response_does_not_look_complete(error: Exception | None, error_log: ErrorLog) -> None:
    """
    If a part is missing, or something fails after the beginning, the connection is reset.
    """

    def act(request: Any) -> int:
        request.beginResponse(200, [], 10)
        request.write(b"12345")
        if error is not None:
            raise error
        request.finish()
        return NOT_DONE_YET

    harness = embedded(Page(act), Harness(times=ClientTimes(keep_alive=0.1)))
    client = await harness.connect()
    client.send(GET)
    await client.until(lambda: client.lost)
    await harness.close()

    assert client.lost is not None
    assert client.lost.check(ConnectionLost)
    assert not client.received.endswith(b"</Error>")
    assert len(error_log.flush()) == isinstance(error, ValueError)
