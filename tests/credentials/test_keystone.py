"""
What s3proxy asks Keystone, and what it makes of each response.

The stand-in follows the modules `keystone.api.credentials`, `keystone.api.s3tokens` and `keystone.api.auth` of
Keystone 28. `tests/integration/test_keystone.py` runs the real one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, DeferredList
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from s3proxy.backend.json_service import JSONService, ServiceAddress, ServiceFailed
from s3proxy.configuration.options import KeystoneSettings
from s3proxy.configuration.tables import Faults
from s3proxy.credentials.keystone import KeystoneOrigin, KeystoneToken, authentication_of, open_keystone
from s3proxy.interfaces import ICredentialOrigin, ICredentialSource, KeyQuestion
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.testing.faulty_backend import FaultyBackend, FaultyConnection, ReceivedRequest
from tests.credentials.rules import rules_with
from tests.support.harness import ClockedReactor, until

ACCESS, SECRET, PASSWORD = "d5c0e26bcf0f4a3b", "a-hidden-secret", "a-hidden-password"
QUESTION = KeyQuestion(ACCESS.encode(), Carrier.V4_HEADER)
SETTINGS = KeystoneSettings(user="s3proxy", system=True, secret_env="X", roles=("member", "another"))
NOT_FOUND = {"error": {"code": 404, "message": "Could not find credential.", "title": "Not Found"}}
REFUSED = {"error": {"code": 401, "message": "The request you have made requires authentication."}}

Answer = tuple[int, Any]


class Keystone:
    """
    A stand-in for Keystone, and the origin that asks it.

    Attributes:
        answers: What replaces a response, by method and path.
        tokens: Its valid tokens.
        calls: The calls so far.
    """

    def __init__(self, settings: KeystoneSettings = SETTINGS) -> None:
        self.backend = FaultyBackend()
        self.backend.on_request = self._respond
        self.port = reactor.listenTCP(0, self.backend, interface="127.0.0.1")
        number = self.port.getHost().port
        self.clock = Clock()
        service = JSONService(ServiceAddress(host="127.0.0.1", port=number, authority=f"127.0.0.1:{number}"), 5.0)
        token = KeystoneToken(service, "/v3", authentication_of(settings, PASSWORD))
        self.origin = KeystoneOrigin(service, "/v3", token, rules_with(keystone=settings))
        self.origin.start(ClockedReactor(self.clock), lambda key: None)
        self.answers: dict[str, Callable[[ReceivedRequest], Answer | None]] = {}
        self.tokens: list[bytes] = []
        self.calls: Counter[str] = Counter()

    def _respond(self, connection: FaultyConnection, request: ReceivedRequest) -> None:
        path = request.head.raw_path.decode()
        name = f"{request.head.method.decode()} {path.rpartition('/v3')[2].split('/')[1]}"
        self.calls[name] += 1
        replaced = self.answers.get(name, lambda request: None)(request)
        more = b""
        if replaced is not None:
            status, document = replaced
        elif name == "POST auth":
            self.tokens.append(b"token-%d" % (len(self.tokens) + 1))
            times = {"issued_at": "2030-01-01T00:00:00.000000Z", "expires_at": "2030-01-01T01:00:00.000000Z"}
            status, document, more = 201, {"token": times}, b"X-Subject-Token: " + self.tokens[-1] + b"\r\n"
        elif request.head.fields.value(b"x-auth-token") not in self.tokens:
            status, document = 401, REFUSED
        elif name == "GET credentials":
            status, document = 404, NOT_FOUND
            if path.endswith(hashlib.sha256(ACCESS.encode()).hexdigest()):
                status, document = 200, credential()
        elif name == "POST s3tokens":
            status, document = self._judge(json.loads(request.body)["credentials"])
        else:
            status, document = 200, {"token": {}}
        content = json.dumps(document).encode()
        connection.send(b"HTTP/1.1 %d X\r\n%sContent-Length: %d\r\n\r\n%s" % (status, more, len(content), content))

    def _judge(self, credentials: dict[str, str]) -> Answer:
        if credentials["access"] != ACCESS:
            return 404, NOT_FOUND
        text = base64.urlsafe_b64decode(credentials["token"]).decode()
        algorithm, _, scope, _ = text.split("\n")
        assert (algorithm, scope.split("/")[2:]) == ("AWS4-HMAC-SHA256", ["s3", "aws4_request"])
        assert credentials["signature"] == _sign(text)
        return 200, {"token": {"roles": [{"name": "member"}], "project": {"id": "the-project"}}}

    async def fetch(self) -> Credential | None:
        """
        Ask for the key.
        """
        return await self.origin.fetch(QUESTION)

    async def close(self) -> None:
        """
        Release everything.
        """
        await self.origin.stop()
        await self.port.stopListening()
        await until(lambda: all(connection.lost for connection in self.backend.connections))


def _sign(text: str) -> str:
    key = ("AWS4" + SECRET).encode()
    for part in text.split("\n")[2].split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def credential(**blob: Any) -> dict[str, Any]:
    """
    Return the document of an EC2 credential.
    """
    content = json.dumps({"access": ACCESS, "secret": SECRET, "trust_id": None, **blob})
    return {"credential": {"type": "ec2", "blob": content, "user_id": "u", "project_id": "the-project"}}


@pytest_twisted.ensureDeferred
async def test_a_key() -> None:
    """
    Three requests make a key; the token is used for the next one.
    """
    keystone = Keystone()
    found = await keystone.fetch()
    again = await keystone.fetch()
    unknown = await keystone.origin.fetch(KeyQuestion(b"unknown", Carrier.V2_HEADER))
    await keystone.close()

    assert verifyObject(ICredentialOrigin, keystone.origin)
    assert found is not None
    assert (found.access_key_id, found.secret_access_keys) == (ACCESS, (SECRET,))
    assert again is not None
    assert unknown is None
    assert keystone.calls == {"POST auth": 1, "GET credentials": 3, "POST s3tokens": 2}
    asked = keystone.backend.requests[0]
    assert asked.head.raw_target == b"/v3/auth/tokens?nocatalog"
    assert json.loads(asked.body)["auth"]["identity"]["password"]["user"]["password"] == PASSWORD
    assert keystone.origin.identify(QUESTION) == keystone.origin.identify(QUESTION._replace(scope=b"x"))


@pytest_twisted.ensureDeferred
async def test_the_signed_text_is_no_request() -> None:
    """
    It is of 1970 and of a region of its own, so no server accepts its signature for a request.
    """
    keystone = Keystone()
    await keystone.fetch()
    await keystone.close()

    judged = json.loads(keystone.backend.requests[2].body)["credentials"]
    _, date, scope, _ = base64.urlsafe_b64decode(judged["token"]).decode().split("\n")
    assert (date, scope) == ("19700101T000000Z", "19700101/s3proxy/s3/aws4_request")


@pytest.mark.parametrize("answer", [(404, NOT_FOUND), (401, REFUSED), (403, {"error": {"code": 403}})])
@pytest_twisted.ensureDeferred
async def test_a_key_that_keystone_refuses(answer: Answer) -> None:
    """
    A status 401 or 403 of s3tokens may be about s3proxy's own token. It is not, so the key is unknown.
    """
    keystone = Keystone()

    def judge(request: ReceivedRequest) -> Answer | None:
        return answer if json.loads(request.body)["credentials"]["access"] == ACCESS else None

    keystone.answers["POST s3tokens"] = judge
    found = await keystone.fetch()
    await keystone.close()

    assert found is None
    assert keystone.calls["POST auth"] == 1


@pytest.mark.parametrize(
    ("settings", "is_accepted"),
    [
        (replace(SETTINGS, roles=("other",)), False),
        (replace(SETTINGS, projects=("other",)), False),
        (replace(SETTINGS, projects=("other", "the-project")), True),
    ],
)
@pytest_twisted.ensureDeferred
async def test_whose_keys_are_accepted(settings: KeystoneSettings, is_accepted: bool) -> None:
    """
    Every user of Keystone can make keys.
    """
    keystone = Keystone(settings)
    found = await keystone.fetch()
    await keystone.close()

    assert (found is not None) == is_accepted


@pytest_twisted.ensureDeferred
async def test_another_type_of_credential() -> None:
    """
    A certificate or a second factor is no key, whatever its id is.
    """
    keystone = Keystone()
    document = credential()
    document["credential"]["type"] = "totp"
    keystone.answers["GET credentials"] = lambda request: (200, document)
    found = await keystone.fetch()
    await keystone.close()

    assert (found, keystone.calls["POST s3tokens"]) == (None, 0)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"credential": None},
        {"credential": {"type": "ec2"}},
        {"credential": {"type": "ec2", "blob": "{"}},
        {"credential": {"type": "ec2", "blob": "[" * 30_000}},
        {"credential": {"type": "ec2", "blob": 5}},
        {"credential": {"type": "ec2", "blob": "5"}},
        credential(access="another"),
        credential(secret=5),
        credential(secret=["a", "b"]),
        credential(secret=SECRET + "\n"),
        credential(secret=""),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_credential_that_is_wrong(document: Any) -> None:
    """
    The text has nothing of it.
    """
    keystone = Keystone()
    keystone.answers["GET credentials"] = lambda request: (200, document)
    keystone.answers["POST s3tokens"] = lambda request: (
        200,
        {"token": {"roles": [{"name": "member"}], "project": {"id": "p"}}},
    )
    with pytest.raises(Faults) as raised:
        await keystone.fetch()
    await keystone.close()

    assert SECRET not in str(raised.value)


@pytest_twisted.ensureDeferred
async def test_a_token_that_ends() -> None:
    """
    It is renewed before its end, by our own clock; the clock of Keystone may be wrong.
    """
    keystone = Keystone()
    await keystone.fetch()
    keystone.clock.advance(0.79 * 3600)
    await keystone.fetch()
    before = keystone.calls["POST auth"]
    keystone.clock.advance(0.02 * 3600)
    await keystone.fetch()
    await keystone.close()

    assert (before, keystone.calls["POST auth"]) == (1, 2)


@pytest.mark.parametrize("when", ["GET credentials", "POST s3tokens"])
@pytest_twisted.ensureDeferred
async def test_a_token_that_was_revoked(when: str) -> None:
    """
    Another one is asked for. The status 401 is not taken for that of the key.
    """
    keystone = Keystone()
    await keystone.fetch()

    def revoke(request: ReceivedRequest) -> None:
        keystone.tokens.clear()
        keystone.tokens.append(b"another")
        del keystone.answers[when]

    keystone.answers[when] = revoke
    found = await keystone.fetch()
    await keystone.close()

    assert found is not None
    assert keystone.calls["POST auth"] == 2


@pytest_twisted.ensureDeferred
async def test_tokens_that_are_never_accepted() -> None:
    """
    A second one is asked for, and no third.
    """
    keystone = Keystone()
    keystone.answers["GET credentials"] = lambda request: (401, REFUSED)
    with pytest.raises(ServiceFailed, match="has just given"):
        await keystone.fetch()
    await keystone.close()

    assert keystone.calls["POST auth"] == 2


@pytest.mark.parametrize(
    ("name", "answer", "told"),
    [
        ("POST auth", (401, REFUSED), "gives s3proxy no token: status 401"),
        ("POST auth", (200, {"token": {}}), "gives s3proxy no token: status 200"),
        ("POST auth", (201, {"token": {}}), "not as the Identity API v3 describes it"),
        ("POST auth", (201, []), "not a JSON object"),
        ("GET credentials", (403, {}), "read credentials: it lacks a role"),
        ("GET credentials", (404, {}), "not Keystone's"),
        ("GET credentials", (404, {"error": "x"}), "not Keystone's"),
        ("GET credentials", (500, {}), "status 500"),
        ("GET credentials", (302, {}), "status 302"),
        ("POST s3tokens", (403, {}), "use s3tokens: it lacks a role"),
        ("POST s3tokens", (404, {}), "not Keystone's"),
        ("POST s3tokens", (500, {}), "status 500"),
        ("POST s3tokens", (200, {}), "not as s3proxy expects it"),
        ("POST s3tokens", (200, {"token": {"roles": 5}}), "not as s3proxy expects it"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_keystone_that_fails(name: str, answer: Answer, told: str) -> None:
    """
    The key is neither known nor unknown. The text says why, without a secret.
    """
    keystone = Keystone()
    keystone.answers[name] = lambda request: answer
    with pytest.raises(ServiceFailed, match=told) as raised:
        await keystone.fetch()
    await keystone.close()

    for hidden in (SECRET, PASSWORD, "token-1"):
        assert hidden not in str(raised.value)


@pytest_twisted.ensureDeferred
async def test_all_wait_for_one_token() -> None:
    """
    A request that is given up takes no token from the others.
    """
    keystone = Keystone()
    first, *others = [keystone.origin.fetch(QUESTION) for _ in range(20)]
    first.cancel()
    with pytest.raises(CancelledError):
        await first
    found: Any = await DeferredList(others)
    await keystone.close()

    assert all(credential.secret_access_keys == (SECRET,) for _, credential in found)
    assert keystone.calls["POST auth"] == 1


@pytest_twisted.ensureDeferred
async def test_a_keystone_that_gives_no_token_to_many() -> None:
    """
    All fail, and the next question asks again.
    """
    keystone = Keystone()
    keystone.answers["POST auth"] = lambda request: (500, {})
    results: Any = await DeferredList([keystone.origin.fetch(QUESTION) for _ in range(5)], consumeErrors=True)
    keystone.answers.clear()
    found = await keystone.fetch()
    await keystone.close()

    assert [is_success for is_success, _ in results] == [False] * 5
    assert found is not None


@pytest.mark.parametrize("path", ["", "/", "/v3", "/v3/", "/identity", "/identity/v3/"])
def test_its_url(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    With or without the version of the API, and below another path.
    """
    monkeypatch.setenv("X", PASSWORD)
    source = open_keystone(f"https://localhost:5000{path}", Path(), rules_with(keystone=SETTINGS))

    assert verifyObject(ICredentialSource, source)
    assert source.list_credentials() is None


USER = {"user": "u", "system": True, "secret_env": "X", "roles": ("r",)}


@pytest.mark.parametrize(
    ("options", "place"),
    [
        ({**USER, "user": None}, "credentials.keystone"),
        ({**USER, "application_credential": "a"}, "credentials.keystone"),
        ({**USER, "user": None, "application_credential": "a"}, "credentials.keystone"),
        (
            {**USER, "user": None, "application_credential": "a", "system": False, "project": "p"},
            "credentials.keystone",
        ),
        ({**USER, "project": "p"}, "credentials.keystone"),
        ({**USER, "system": False}, "credentials.keystone"),
        ({**USER, "secret_env": None}, "credentials.keystone"),
        ({**USER, "secret_env": "NO_SUCH_VARIABLE"}, "credentials.keystone.secret_env"),
        ({**USER, "secret_file": "/missing"}, "credentials.keystone.secret_env"),
        ({**USER, "secret_env": None, "secret_file": "/missing"}, "credentials.keystone.secret_file"),
        ({**USER, "roles": ()}, "credentials.keystone.roles"),
        ({**USER, "ca_file": "/missing"}, "credentials.keystone.ca_file"),
    ],
)
def test_options_that_contradict_each_other(
    options: dict[str, Any], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    The fault has the option's place.
    """
    monkeypatch.setenv("X", PASSWORD)
    with pytest.raises(Faults) as raised:
        open_keystone(
            "https://localhost/v3",
            Path(),
            rules_with(keystone=KeystoneSettings(**options)),
        )

    assert [fault.place for fault in raised.value.faults] == [place]
    assert PASSWORD not in str(raised.value)


def test_what_asks_for_a_token() -> None:
    """
    A user on a project, a user on the system, or an application credential.
    """
    user = KeystoneSettings(user="u", user_domain="D", project="p", project_domain="E")
    system = KeystoneSettings(user="u", system=True)
    application = KeystoneSettings(application_credential="id")

    asked = [authentication_of(each, "s")["auth"] for each in (user, system, application)]

    password = {"user": {"name": "u", "domain": {"name": "D"}, "password": "s"}}
    assert asked[0]["identity"] == {"methods": ["password"], "password": password}
    assert [each.get("scope") for each in asked] == [
        {"project": {"name": "p", "domain": {"name": "E"}}},
        {"system": {"all": True}},
        None,
    ]
    assert asked[2]["identity"] == {
        "methods": ["application_credential"],
        "application_credential": {"id": "id", "secret": "s"},
    }
