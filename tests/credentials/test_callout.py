"""
A callout: what it is told, which responses describe a key, and that no text has a secret.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from twisted.internet import reactor
from twisted.internet.defer import DeferredList
from zope.interface.verify import verifyObject

from s3proxy.backend.json_service import JSONService, ServiceAddress, ServiceFailed
from s3proxy.configuration.modes import Sent
from s3proxy.configuration.options import CalloutSettings
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.callout import CalloutOrigin, open_callout, read_key
from s3proxy.credentials.source import ANY_NAMES, KeyRules, open_source
from s3proxy.interfaces import IClaimedCredentialStore, ICredentialOrigin, ICredentialSource, KeyQuestion
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import ServiceUnavailable
from s3proxy.sigv4.asymmetric import derive_private_key
from s3proxy.testing import faults
from s3proxy.testing.faulty_backend import FaultyBackend
from tests.credentials.rules import rules_with
from tests.support.harness import AUTHORITY, until

SCOPE = b"20300101/us-east-1/s3/aws4_request"
QUESTION = KeyQuestion(b"CLIENT", Carrier.V4_HEADER, SCOPE, b"a-session-token")
HIDDEN = "a-hidden-secret"
ALL = tuple(Sent)
PUBLIC = base64.b64encode(
    derive_private_key(HIDDEN, b"CLIENT").public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
).decode()


def read(document: dict[str, Any], rules: KeyRules = ANY_NAMES, sent: tuple[Sent, ...] = ALL) -> Credential:
    """
    Read a response about the key that was asked for.
    """
    return read_key({"access_key_id": "CLIENT", **document}, QUESTION, rules, sent)


# What it is told


class Called:
    """
    A callout, and the origin that asks it.
    """

    def __init__(self, *sends: Sent, token: str | None = None) -> None:
        self.backend = FaultyBackend()
        self.port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        number = self.port.getHost().port
        service = JSONService(ServiceAddress(host="127.0.0.1", port=number, authority=f"127.0.0.1:{number}"), 5.0)
        rules = rules_with(callout=CalloutSettings(sends=sends))
        self.origin = CalloutOrigin(service, "/keys", token, rules)
        self.origin.start(reactor, lambda key: None)

    def responds(self, status: int, document: Any) -> None:
        """
        Respond to every question with this.
        """
        content = json.dumps(document).encode()
        faults.responds(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(content), content))(
            self.backend
        )

    async def close(self) -> None:
        """
        Release everything.
        """
        await self.origin.stop()
        await self.port.stopListening()
        await until(lambda: all(connection.lost for connection in self.backend.connections))


@pytest.mark.parametrize(
    ("sends", "told"),
    [
        ((), {}),
        ((Sent.SCOPE,), {"scope": SCOPE.decode()}),
        ((Sent.CARRIER, Sent.SCOPE), {"carrier": "v4-header", "scope": SCOPE.decode()}),
        ((Sent.SESSION_TOKEN,), {"session_token": "a-session-token"}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_it_is_told_what_is_configured(sends: tuple[Sent, ...], told: dict[str, str]) -> None:
    """
    A session token is a credential: it is sent only if that is configured.
    """
    called = Called(*sends, token="the-token-of-s3proxy")
    called.responds(200, {"access_key_id": "CLIENT", "secret_access_key": HIDDEN})
    found = await called.origin.fetch(QUESTION)
    await called.close()

    (request,) = called.backend.requests
    assert verifyObject(ICredentialOrigin, called.origin)
    assert found is not None
    assert found.secret_access_keys == (HIDDEN,)
    assert (request.head.method, request.head.raw_target) == (b"POST", b"/keys")
    assert request.head.fields.value(b"authorization") == b"Bearer the-token-of-s3proxy"
    assert json.loads(request.body) == {"access_key_id": "CLIENT", **told}


@pytest_twisted.ensureDeferred
async def test_signature_v2_has_no_scope() -> None:
    """
    Its absence is told, and so is that of a session token. No token of s3proxy is sent if none is configured.
    """
    called = Called(*ALL)
    called.responds(404, {"access_key_id": "CLIENT"})
    found = await called.origin.fetch(KeyQuestion(b"CLIENT", Carrier.V2_QUERY))
    await called.close()

    (request,) = called.backend.requests
    assert found is None
    assert request.head.fields.value(b"authorization") is None
    assert json.loads(request.body) == {
        "access_key_id": "CLIENT",
        "carrier": "v2-query",
        "scope": None,
        "session_token": None,
    }


@pytest_twisted.ensureDeferred
async def test_a_session_token_that_is_no_text() -> None:
    """
    No service can have issued it.
    """
    called = Called(*ALL)
    found = await called.origin.fetch(QUESTION._replace(session_token=b"\xff"))
    await called.close()

    assert (found, called.backend.requests) == (None, [])


OTHERS = {
    Sent.SCOPE: QUESTION._replace(scope=b"20300102/us-east-1/s3/aws4_request"),
    Sent.CARRIER: QUESTION._replace(carrier=Carrier.V4_QUERY),
    Sent.SESSION_TOKEN: QUESTION._replace(session_token=b"another"),
}


@pytest.mark.parametrize("sends", [(), *((each,) for each in Sent), ALL])
@pytest_twisted.ensureDeferred
async def test_a_response_is_for_what_was_told(sends: tuple[Sent, ...]) -> None:
    """
    Requests that differ in what is told are asked for separately; a signing key of one day is not used for another.
    """
    called = Called(*sends)
    identity = called.origin.identify(QUESTION)
    differs = {each for each, other in OTHERS.items() if called.origin.identify(other) != identity}
    another = called.origin.identify(QUESTION._replace(access_key_id=b"OTHER"))
    await called.close()

    assert differs == set(sends)
    assert another != identity
    assert b"a-session-token" not in repr(identity).encode()


# Responses


def test_a_secret() -> None:
    """
    One, or two during a rotation, with the options that a key has in every source.
    """
    rules = KeyRules(backends=["first"], backend_keys={"a": "first"})
    found = read(
        {
            "secret_access_key": ["former", "new"],
            "session_token": "token",
            "expires": "2030-01-01T00:00:00Z",
            "disabled": True,
            "backend_key": "a",
            "refuse": ["v2-query"],
            "requests": 5,
            "bytes_per_second": "1 MiB",
        },
        rules,
    )

    assert (found.secret_access_keys, found.given_key) == (("former", "new"), None)
    assert (found.session_token, found.is_disabled, found.backend_keys) == ("token", True, ("a",))
    assert found.expires_at == datetime(2030, 1, 1, tzinfo=UTC)
    assert found.refused == {"v2-query"}
    assert found.budget is not None
    assert (found.budget.requests, found.budget.bytes_per_second) == (5, 1 << 20)


def test_a_signing_key_is_for_the_scope_that_was_told() -> None:
    """
    And only for that.
    """
    found = read({"signing_key": "0a" * 32})

    assert found.secret_access_keys == ()
    assert found.given_key is not None
    assert len(found.given_key.keys_for(Carrier.V4_HEADER, SCOPE)) == 1
    assert found.given_key.keys_for(Carrier.V4_HEADER, SCOPE.replace(b"0101", b"0102")) == ()


def test_a_signing_key_for_signature_v2() -> None:
    """
    It verifies nothing: there is no scope.
    """
    question = KeyQuestion(b"CLIENT", Carrier.V2_HEADER)
    found = read_key({"access_key_id": "CLIENT", "signing_key": "0a" * 32}, question, ANY_NAMES, ALL)

    assert found.given_key is not None
    assert found.given_key.keys_for(Carrier.V4_HEADER, SCOPE) == ()


def test_a_public_key() -> None:
    """
    It is for Signature V4A.
    """
    found = read({"public_key": PUBLIC})

    assert found.secret_access_keys == ()
    assert found.given_key is not None
    assert len(found.given_key.keys_for(Carrier.V4A_HEADER, b"20300101/s3/aws4_request")) == 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({}, "exactly one of"),
        ({"secret_access_key": HIDDEN, "signing_key": "0a" * 32}, "exactly one of"),
        ({"secret_access_key": HIDDEN, "public_key": PUBLIC}, "exactly one of"),
        ({"signing_key": "0a" * 32, "public_key": PUBLIC}, "exactly one of"),
        ({"secret_access_key": [HIDDEN] * 3}, "secret_access_key"),
        ({"secret_access_key": HIDDEN + "\n"}, "secret_access_key"),
        ({"secret_access_key": None}, "secret_access_key"),
        ({"secret_access_key": HIDDEN, "session_token": 5}, "session_token"),
        ({"secret_access_key": HIDDEN, "secret": HIDDEN}, "secret: unknown name"),
        ({"secret_access_key": HIDDEN, "disabled": "no"}, "disabled"),
        ({"secret_access_key": HIDDEN, "backend": "unknown"}, "backend"),
        ({"secret_access_key": HIDDEN, "expires": "2030-01-01T00:00:00"}, "expires"),
        ({"secret_access_key": HIDDEN, "expires": "tomorrow"}, "expires"),
        ({"secret_access_key": HIDDEN, "expires": 1893456000}, "expires"),
        ({"secret_access_key": HIDDEN, "access_key_id": "a b"}, "access_key_id"),
        ({"signing_key": "0a" * 31}, "signing_key"),
        ({"signing_key": "0a " * 32}, "signing_key"),
        ({"signing_key": "0g" * 32}, "signing_key"),
        ({"signing_key": 5}, "signing_key"),
        ({"public_key": PUBLIC[:-8]}, "public_key"),
        ({"public_key": [PUBLIC]}, "public_key"),
        ({"public_key": HIDDEN}, "public_key"),
    ],
)
def test_what_is_no_key(document: dict[str, Any], told: str) -> None:
    """
    The text says what is wrong, and has nothing that could be a secret.
    """
    with pytest.raises(Faults) as raised:
        read(document, KeyRules(backends=["first"]))

    assert told in str(raised.value)
    for secret in (HIDDEN, "0a0a", "0a 0a", PUBLIC[:20]):
        assert secret not in str(raised.value)


def test_a_signing_key_needs_the_scope() -> None:
    """
    A service that was not told the scope cannot know the key of it.
    """
    with pytest.raises(Faults, match=r"credentials\.callout\.sends"):
        read({"signing_key": "0a" * 32}, sent=(Sent.CARRIER,))


@pytest.mark.parametrize(
    ("status", "document"),
    [
        (404, {}),
        (404, {"access_key_id": "OTHER"}),
        (404, {"message": "no Route matched with those values"}),
        (404, []),
        (400, {"access_key_id": "CLIENT"}),
        (401, {"access_key_id": "CLIENT"}),
        (302, {"access_key_id": "CLIENT"}),
        (204, {"access_key_id": "CLIENT"}),
        (500, {"access_key_id": "CLIENT", "secret_access_key": HIDDEN}),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_response_that_says_nothing_of_the_key(status: int, document: Any) -> None:
    """
    The key is not unknown: a gateway returns such a response while the service is down. A redirect is not followed.
    """
    called = Called(*ALL)
    called.responds(status, document)
    with pytest.raises(ServiceFailed) as raised:
        await called.origin.fetch(QUESTION)
    await called.close()

    assert HIDDEN not in str(raised.value)
    assert len(called.backend.requests) == 1


# Opening


def test_it_is_opened_by_its_url(tmp_path: Path) -> None:
    """
    Nothing is asked. The file of the token is one with a secret.
    """
    token, ca_file = tmp_path / "token", tmp_path / "ca.pem"
    token.write_text("the-token\n")
    AUTHORITY.cert_pem.write_to_path(ca_file)
    settings = CalloutSettings(token_file=str(token), ca_file=str(ca_file))
    source = open_source("https://localhost/keys", tmp_path, rules_with(callout=settings))

    assert verifyObject(ICredentialSource, source)
    assert verifyObject(IClaimedCredentialStore, source)
    assert list(source.secret_files) == [token]
    assert source.list_credentials() is None
    assert "the-token" not in repr(source)


@pytest.mark.parametrize(
    ("url", "settings", "place"),
    [
        ("http://user:hidden@localhost/", {}, "credentials.source"),
        ("http://localhost/?key=hidden", {}, "credentials.source"),
        ("http://localhost/#hidden", {}, "credentials.source"),
        ("http://localhost:99999/hidden", {}, "credentials.source"),
        ("http://localhost/", {"ca_file": "hidden"}, "credentials.callout.ca_file"),
        ("https://localhost/", {"ca_file": "/missing"}, "credentials.callout.ca_file"),
        ("https://localhost/", {"token_file": "/missing"}, "credentials.callout.token_file"),
        ("https://localhost/", {"token_env": "NO_SUCH_VARIABLE"}, "credentials.callout.token_env"),
        ("https://localhost/", {"token_env": "A", "token_file": "/missing"}, "credentials.callout.token_env"),
    ],
)
def test_what_cannot_be_opened(url: str, settings: dict[str, str], place: str) -> None:
    """
    The fault has the option's place, and does not repeat the URL.
    """
    with pytest.raises(Faults) as raised:
        open_callout(url, Path("/"), rules_with(callout=CalloutSettings(**settings)))

    assert [fault.place for fault in raised.value.faults] == [place]
    assert "hidden" not in str(raised.value)


# With the cache


def cached(called: Called) -> CachedCredentials:
    """
    Return the started source of a callout.
    """
    number = called.port.getHost().port
    source = open_callout(
        f"http://127.0.0.1:{number}/keys",
        Path(),
        rules_with(callout=CalloutSettings()),
    )
    source.start(reactor)
    return source


@pytest_twisted.ensureDeferred
async def test_a_thousand_first_uses_make_one_question() -> None:
    """
    All of them get its answer.
    """
    called = Called()
    called.responds(200, {"access_key_id": "CLIENT", "secret_access_key": HIDDEN})
    source = cached(called)
    found: Any = await DeferredList([source.look_up_claim(QUESTION) for _ in range(1000)])
    count = len(called.backend.requests)
    again = source.look_up_claim(QUESTION)
    await source.stop()
    await called.close()

    assert {credential.secret_access_keys for _, credential in found} == {(HIDDEN,)}
    assert (count, len(called.backend.requests)) == (1, 1)
    assert isinstance(again, Credential)


@pytest_twisted.ensureDeferred
async def test_the_key_of_another_response() -> None:
    """
    Responses that are mixed up, by a cache between us and the service, give nobody another's key.
    """
    called = Called()
    called.responds(200, {"access_key_id": "OTHER", "secret_access_key": HIDDEN})
    source = cached(called)
    with pytest.raises(ServiceUnavailable):
        await source.look_up_claim(QUESTION)
    await source.stop()
    await called.close()
