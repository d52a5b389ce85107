"""
A source of credentials that is asked with the whole claim, because its result may depend on it.
"""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from s3proxy.interfaces import IClaimedCredentialStore, ICredentialStore, KeyQuestion
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from tests.support.carriers import KEY, send, signed_by
from tests.support.harness import MemoryStore, data_set_credentials
from tests.support.signer import HASH, Signer

V4_SCOPE, V4A_SCOPE = b"20260301/us-east-1/s3/aws4_request", b"20260301/s3/aws4_request"
SCOPES = {
    "v4-header": V4_SCOPE,
    "v4-query": V4_SCOPE,
    "v4-form": V4_SCOPE,
    "v4a-header": V4A_SCOPE,
    "v4a-query": V4A_SCOPE,
    "v2-header": None,
    "v2-query": None,
    "v2-form": None,
}


@implementer(IClaimedCredentialStore)
class ClaimedStore:
    """
    A store that remembers what it was asked.
    """

    def __init__(self, credentials: dict[bytes, Credential]) -> None:
        self.credentials = credentials
        self.questions: list[KeyQuestion] = []

    def look_up(self, access_key_id: bytes) -> Credential | None:
        """
        Fail: a claim says more.
        """
        raise AssertionError("it was asked without the claim")

    def look_up_claim(self, question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Find a key.
        """
        self.questions.append(question)
        return succeed(self.credentials.get(question.access_key_id))


@implementer(ICredentialStore)
class PlainStore(MemoryStore):
    """
    A store with a method of that name, which it does not provide.
    """

    def look_up_claim(self, question: KeyQuestion) -> Any:
        """
        Fail.
        """
        raise AssertionError("it was asked with the claim")


@pytest.mark.parametrize("carrier", SCOPES)
@pytest_twisted.ensureDeferred
async def test_it_is_asked_with_the_claim(carrier: str) -> None:
    """
    Once for each request, with all that the request claims of its key. Signature V2 has no scope.
    """
    _, harness = await send(signed_by(carrier), make_store=ClaimedStore)

    assert verifyObject(IClaimedCredentialStore, harness.store)
    assert harness.store.questions == [KeyQuestion(KEY.encode(), Carrier(carrier), SCOPES[carrier], None)]
    assert len(harness.backend.requests) == 1


@pytest_twisted.ensureDeferred
async def test_it_gets_the_session_token() -> None:
    """
    As sent, not yet verified.
    """
    request = Signer().put("/b/k", b"x", HASH, headers={"x-amz-security-token": "a-token"})
    response, harness = await send(request, make_store=ClaimedStore)

    assert harness.store.questions == [KeyQuestion(KEY.encode(), Carrier.V4_HEADER, V4_SCOPE, b"a-token")]
    assert (response.status, harness.backend.requests) == (400, [])


@pytest.mark.parametrize("carrier", ["v4-header", "v4-form"])
@pytest_twisted.ensureDeferred
async def test_another_store_needs_only_its_key(carrier: str) -> None:
    """
    An application's own store stays as simple as it is.
    """
    _, harness = await send(signed_by(carrier), make_store=PlainStore)

    assert harness.store.look_up_count == 1
    assert len(harness.backend.requests) == 1


@pytest_twisted.ensureDeferred
async def test_an_unknown_key() -> None:
    """
    The result is used as that of any store.
    """
    credentials = data_set_credentials()
    del credentials[KEY.encode()]
    response, harness = await send(signed_by("v4-header"), credentials=credentials, make_store=ClaimedStore)

    assert (response.status, harness.backend.requests) == (403, [])
    assert b"InvalidAccessKeyId" in response.body
