"""
What an authorizer is asked, and what becomes of its answer.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from s3proxy.authentication.realm import Anonymous
from s3proxy.authorization.access_request import AccessRequest
from s3proxy.authorization.accesses import Access, Scope
from s3proxy.s3.errors import AccessDenied
from s3proxy.s3.operation import OPERATIONS
from tests.authorization.asked import request_for
from tests.support import deletions
from tests.support.carriers import signed_by
from tests.support.harness import NOW, Harness, turns, until
from tests.support.signer import Signer


class Authorizer:
    """
    Keeps what it is asked; refuses keys that contain ``secret``.
    """

    def __init__(self, *, is_late: bool = False) -> None:
        self.asked: list[AccessRequest] = []
        self.is_late = is_late

    def authorize(self, asked: AccessRequest) -> Deferred[None] | None:
        self.asked.append(asked)
        if any(b"secret" in access.name for access in asked.accesses):
            raise AccessDenied
        return succeed(None) if self.is_late else None


async def ask(authorizer: Any, request: bytes, response: bytes = b"", **options: Any) -> tuple[Any, Harness]:
    harness = Harness(authorizer=authorizer, **options)
    if response:
        harness.backend.on_request = lambda connection, received: connection.send(response)
    found = await harness.request(request)
    await turns(3)
    await harness.close()
    return found, harness


@pytest.mark.parametrize("is_late", [False, True])
@ensureDeferred
async def test_it_sees_every_resource_of_a_copy(is_late: bool) -> None:
    authorizer = Authorizer(is_late=is_late)
    request = request_for(OPERATIONS["CopyObject"], headers={"x-amz-tagging": "a=b"})
    response, _ = await ask(authorizer, request)
    assert response.status == 200
    (asked,) = authorizer.asked
    assert asked.operation is OPERATIONS["CopyObject"]
    assert asked.accesses == (
        Access("s3:PutObject", Scope.KEY, b"mine", b"in/key"),
        Access("s3:PutObjectTagging", Scope.KEY, b"mine", b"in/key"),
        Access("s3:GetObject", Scope.KEY, b"mine", b"in/source"),
    )
    assert asked.client_host == "127.0.0.1"
    assert asked.authenticated.access_key_id == Signer().access_key_id.encode()


@pytest.mark.parametrize(
    ("carrier", "version", "age"),
    [
        ("v4-header", "SigV4", 0),
        ("v4-query", "SigV4", 0),
        ("v4-form", "SigV4", None),
        ("v4a-header", "SigV4A", 0),
        ("v2-header", "SigV2", 0),
        ("v2-query", "SigV2", None),
        ("v2-form", "SigV2", None),
    ],
)
@ensureDeferred
async def test_it_sees_how_and_when_a_request_was_signed(carrier: str, version: str, age: float | None) -> None:
    authorizer = Authorizer()
    request = signed_by(carrier)
    response, _ = await ask(authorizer, request.head + request.body)
    assert response.status in {200, 204}
    (asked,) = authorizer.asked
    assert (asked.authenticated.carrier.value, asked.signature_version, asked.age) == (carrier, version, age)


@ensureDeferred
async def test_the_age_is_that_of_the_signature() -> None:
    authorizer = Authorizer()
    signer = Signer()
    target = signer.presign("GET", "/mine/in/key", expires=600)
    request = f"GET {target} HTTP/1.1\r\nHost: {signer.host}\r\n\r\n".encode()
    await ask(authorizer, request, now=NOW + timedelta(seconds=90))
    assert [asked.age for asked in authorizer.asked] == [90.0]


@ensureDeferred
async def test_it_sees_anonymous_requests() -> None:
    authorizer = Authorizer()
    request = b"GET /open/key HTTP/1.1\r\nHost: s3.example.test\r\n\r\n"
    response, _ = await ask(authorizer, request, anonymous=Anonymous(signed_buckets=("open",)))
    assert response.status == 200
    (asked,) = authorizer.asked
    assert (asked.authenticated.access_key_id, asked.signature_version, asked.age) == (None, None, None)


@pytest.mark.parametrize("is_late", [False, True])
@ensureDeferred
async def test_it_is_asked_for_each_object_of_a_document(is_late: bool) -> None:
    """
    Each object is deleted by its own request, once it is allowed.
    """
    authorizer = Authorizer(is_late=is_late)
    request = deletions.request(deletions.document("a", "secret", "b"), "/mine?delete")
    response, harness = await ask(authorizer, request, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert [asked.accesses for asked in authorizer.asked] == [
        (Access("s3:DeleteObject", Scope.KEY, b"mine", key),) for key in (b"a", b"secret", b"b")
    ]
    assert sorted(request.head.raw_target for request in harness.backend.requests) == [b"/mine/a", b"/mine/b"]
    assert response.body.count(b"<Code>AccessDenied</Code>") == 1


@ensureDeferred
async def test_it_may_be_too_slow_for_an_object() -> None:
    """
    ``times.lookup`` bounds each question; a document of objects that nobody decides about does not wait for ever.
    """
    waiting: list[Deferred[None]] = []

    class Slow:
        def authorize(self, asked: AccessRequest) -> Deferred[None]:
            waiting.append(Deferred())
            return waiting[-1]

    clock = Clock()
    harness = Harness(authorizer=Slow(), clock=clock)
    client = await harness.connect()
    client.send(deletions.request(deletions.document("a"), "/mine?delete"))
    await until(lambda: waiting)
    clock.advance(harness.proxy.context.settings.lookup_time)
    response = await client.response("POST")
    await harness.close()
    assert b"<Code>ServiceUnavailable</Code>" in response.body
    assert harness.backend.requests == []
