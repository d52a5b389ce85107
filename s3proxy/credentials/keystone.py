"""
Ask OpenStack Keystone, by its Identity API v3, for the EC2 credentials of its users.

Keystone stores the secret of an EC2 credential, and a user who may read credentials can fetch it. That says nothing of
its owner, who may be disabled, or have lost the role on the project. So the secret then signs a text that is no
request, and Keystone judges that signature with `POST /v3/s3tokens`, as it does for other S3 servers. What Keystone
refuses there, s3proxy refuses.

Source:
    "Identity API v3": "Credentials", "Authentication and token management", "OS-EC2"; the modules `keystone.api` of
    Keystone 24 to 29.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.backend.json_service import JSONService, ServiceFailed, ServiceResponse
from s3proxy.configuration.options import KeystoneSettings
from s3proxy.configuration.tables import Fault, Faults
from s3proxy.credentials.cache import CachedCredentials
from s3proxy.credentials.record import read_record
from s3proxy.credentials.service import open_service, read_service_secret
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential
from s3proxy.s3.head import HeaderList
from s3proxy.s3.limits import MIB
from s3proxy.sigv4.scope import HMAC_ALGORITHM, CredentialScope
from s3proxy.sigv4.signing_key import SigningKey, derive_signing_key

MAX_KEYSTONE_DOCUMENT_SIZE = MIB
"""
Bytes of a response. That of s3tokens has the service catalog, with an entry for each endpoint of the cloud.
"""

_PLACE = "credentials.keystone"
_JUDGE = "use s3tokens"
_RENEWED_AT = 0.8
_NO_KEY = "s3proxy/asks-whether-it-may-ask"  # No access key has a slash.
_SCOPE = CredentialScope(b"19700101", b"s3proxy")
_TEXT = b"\n".join(
    (
        HMAC_ALGORITHM,
        b"19700101T000000Z",
        bytes(_SCOPE),
        hashlib.sha256(b"s3proxy asks Keystone whether this key is valid").hexdigest().encode(),
    )
)
"""
A string to sign that no server accepts as a request: it is of 1970, and its hash is not that of a canonical request.
"""


def authentication_of(settings: KeystoneSettings, secret: str) -> dict[str, Any]:
    """
    Return the document that asks for a token.

    Args:
        secret: The password of the user, or the secret of the application credential.

    Raises:
        Faults: The options contradict each other, or one is missing.
    """
    if (settings.user is None) == (settings.application_credential is None):
        raise Faults([Fault(_PLACE, "exactly one of user and application_credential is required")])
    if settings.application_credential is not None:
        if settings.project is not None or settings.system:
            raise Faults([Fault(_PLACE, "an application credential has a project; project and system have no effect")])
        proof = {"id": settings.application_credential, "secret": secret}
        return {
            "auth": {"identity": {"methods": ["application_credential"], "application_credential": proof}},
        }
    if (settings.project is not None) == settings.system:
        raise Faults([Fault(_PLACE, "exactly one of project and system is required")])
    user = {"name": settings.user, "domain": {"name": settings.user_domain}, "password": secret}
    scope: dict[str, Any] = {"system": {"all": True}}
    if settings.project is not None:
        scope = {"project": {"name": settings.project, "domain": {"name": settings.project_domain}}}
    return {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}


class KeystoneToken:
    """
    The token that s3proxy itself has: asked for when it is needed, used until shortly before its end.

    Args:
        authentication: The document that asks for a token. It has a secret.
        base: The path of the API's version.
    """

    def __init__(self, service: JSONService, base: str, authentication: dict[str, Any]) -> None:
        self._service = service
        # The catalog of a cloud can be long, and is not needed.
        self._path = f"{base}/auth/tokens?nocatalog"
        self._authentication = authentication
        self._token = b""
        self._ends_at = 0.0
        self._reactor: Any = None
        self._asking: Deferred[ServiceResponse] | None = None
        self._waiting: dict[Deferred[bytes], None] = {}

    def start(self, reactor: Any) -> None:
        """
        Use a clock. Nothing is asked yet.
        """
        self._reactor = reactor

    def get(self) -> Deferred[bytes]:
        """
        Return the token. All that wait for a new one wait for the same.

        Returns:
            Fails with `ServiceFailed`. It can be cancelled, and the others go on waiting.
        """
        if self._token and self._reactor.seconds() < self._ends_at:
            return succeed(self._token)
        waiting: Deferred[bytes] = Deferred(lambda cancelled: self._waiting.pop(cancelled, None))
        self._waiting[waiting] = None
        if self._asking is None:
            self._asking = asking = self._service.ask(b"POST", self._path, (), self._authentication)
            asking.addCallback(self._renewed).addBoth(self._ended)
        return waiting

    def forget(self, token: bytes) -> None:
        """
        Stop using a token that Keystone does not accept. Another one stays.
        """
        if token == self._token:
            self._token = b""

    def headers(self, token: bytes) -> HeaderList:
        """
        Return the headers that check the token itself.
        """
        return [(b"X-Auth-Token", token), (b"X-Subject-Token", token)]

    @property
    def path(self) -> str:
        """
        Where tokens are.
        """
        return self._path

    def _renewed(self, response: ServiceResponse) -> None:
        if response.status != 201:
            raise ServiceFailed(f"Keystone gives s3proxy no token: status {response.status}")
        token = response.fields.value(b"x-subject-token")
        try:
            described = response.document()["token"]
            # The clock of Keystone may differ from ours.
            lifetime = _moment(described["expires_at"]) - _moment(described["issued_at"])
        except (KeyError, TypeError, ValueError):
            token, lifetime = None, None
        if not token or lifetime is None:
            raise ServiceFailed("Keystone's response with a token is not as the Identity API v3 describes it")
        self._token = token
        self._ends_at = self._reactor.seconds() + lifetime.total_seconds() * _RENEWED_AT

    def _ended(self, result: Failure | None) -> None:
        self._asking = None
        waiting, self._waiting = self._waiting, {}
        for each in waiting:
            if isinstance(result, Failure):
                each.errback(result)
            else:
                each.callback(self._token)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


@implementer(ICredentialOrigin)
class KeystoneOrigin:
    """
    Keystone, asked for EC2 credentials.

    Args:
        base: The path of the API's version: ``/v3``, or below another path.
    """

    def __init__(self, service: JSONService, base: str, token: KeystoneToken, rules: KeyRules) -> None:
        self._service = service
        self._base = base
        self._token = token
        self._roles = frozenset(rules.options.keystone.roles)
        self._projects = frozenset(rules.options.keystone.projects)
        self._rules = rules

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        self._service.start(reactor)
        self._token.start(reactor)

    def stop(self) -> Deferred[None]:
        return self._service.stop()

    def identify(self, question: KeyQuestion) -> Hashable:
        return question.access_key_id

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        return Deferred.fromCoroutine(self._fetch(question.access_key_id.decode("ascii")))

    async def _fetch(self, access: str) -> Credential | None:
        try:
            return await self._ask_once(access)
        except _TokenEnded:
            # It ended early, or was revoked. A new one is asked for.
            pass
        try:
            return await self._ask_once(access)
        except _TokenEnded:
            raise ServiceFailed("Keystone does not accept a token that it has just given") from None

    async def _ask_once(self, access: str) -> Credential | None:
        secret = await self._read_secret(access)
        if secret is None or not await self._is_valid(access, secret):
            return None
        return read_record({"access_key_id": access, "secret_access_key": secret}, self._rules)

    async def _read_secret(self, access: str) -> str | None:
        """
        Return the secret of an EC2 credential; None if there is no such credential.
        """
        token = await self._token.get()
        name = hashlib.sha256(access.encode()).hexdigest()
        response = await self._service.ask(b"GET", f"{self._base}/credentials/{name}", [(b"X-Auth-Token", token)])
        if response.status == 404:
            _check_not_found(response)
            return None
        self._check_status(response, token, "read credentials")
        try:
            credential = response.document()["credential"]
            if credential["type"] != "ec2":
                return None
            blob = json.loads(credential["blob"])
            found, secret = blob["access"], blob["secret"]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise Faults([Fault("", "the EC2 credential in Keystone is not as s3proxy expects it")]) from None
        if found != access:
            raise Faults([Fault("", "the EC2 credential in Keystone is of another access key")])
        # `read_record` checks that it is text.
        return secret  # type: ignore[no-any-return]

    async def _is_valid(self, access: str, secret: Any) -> bool:
        """
        Return True if Keystone accepts a signature of a key, and the configuration its owner.
        """
        if not isinstance(secret, str):
            raise Faults([Fault("secret", "must be text")])
        signature = SigningKey(derive_signing_key(secret, _SCOPE)).sign_for_backend(_TEXT).decode()
        token = await self._token.get()
        response = await self._judge(token, access, signature)
        if response.status == 200:
            return self._is_accepted(response.document())
        if response.status == 404:
            _check_not_found(response)
            return False
        if response.status == 401:
            await self._check_token(token)
            return False
        if response.status == 403:
            # Keystone refuses the owner of the key, or does not let s3proxy ask.
            response = await self._judge(token, _NO_KEY, signature)
            if response.status != 401:
                self._check_status(response, token, _JUDGE)
            return False
        self._check_status(response, token, _JUDGE)
        return False

    def _judge(self, token: bytes, access: str, signature: str) -> Deferred[ServiceResponse]:
        judged = {"access": access, "token": base64.urlsafe_b64encode(_TEXT).decode(), "signature": signature}
        headers = [(b"X-Auth-Token", token)]
        return self._service.ask(b"POST", f"{self._base}/s3tokens", headers, {"credentials": judged})

    async def _check_token(self, token: bytes) -> None:
        """
        Raise `_TokenEnded` if Keystone no longer accepts our token. The status 401 of s3tokens does not say whether it
        is about that or about the key.
        """
        response = await self._service.ask(b"GET", self._token.path, self._token.headers(token))
        if response.status != 200:
            self._token.forget(token)
            raise _TokenEnded

    def _check_status(self, response: ServiceResponse, token: bytes, what: str) -> None:
        if response.status == 401:
            self._token.forget(token)
            raise _TokenEnded
        if response.status == 403:
            raise ServiceFailed(f"Keystone does not allow s3proxy's user to {what}: it lacks a role")
        if response.status not in {200, 404}:
            raise ServiceFailed(f"Keystone's response has status {response.status}")

    def _is_accepted(self, document: Mapping[str, Any]) -> bool:
        """
        Return True if the owner of a key has one of our roles, on one of our projects.
        """
        try:
            token = document["token"]
            roles = {role["name"] for role in token["roles"]}
            project = token["project"]["id"]
        except (KeyError, TypeError):
            raise ServiceFailed("Keystone's response of s3tokens is not as s3proxy expects it") from None
        return not self._roles.isdisjoint(roles) and (not self._projects or project in self._projects)


class _TokenEnded(Exception):
    """
    Keystone does not accept our token any longer.
    """


def _check_not_found(response: ServiceResponse) -> None:
    """
    Check that a status 404 is Keystone's own. A gateway returns one, too, if Keystone is down.
    """
    error = response.document().get("error")
    if not isinstance(error, dict) or error.get("code") != 404:
        raise ServiceFailed("the response has status 404, and is not Keystone's")


def open_keystone(url: str, directory: Path, rules: KeyRules) -> CachedCredentials:
    """
    Open the source ``keystone:URL``.

    Raises:
        Faults: The URL or an option is not accepted.
    """
    settings = rules.options.keystone
    service, path = open_service(
        url, settings.ca_file, rules.cache.patience, _PLACE, max_size=MAX_KEYSTONE_DOCUMENT_SIZE
    )
    base = path.rstrip("/")
    if not base.endswith("/v3"):
        base += "/v3"
    names = (f"{_PLACE}.secret_file", f"{_PLACE}.secret_env")
    secret = read_service_secret((settings.secret_file, settings.secret_env), names)
    faults = []
    if secret is None:
        faults.append(Fault(_PLACE, "exactly one of secret_file and secret_env is required"))
    if not settings.roles:
        faults.append(Fault(f"{_PLACE}.roles", "at least one role is required: every user of Keystone can create keys"))
    try:
        authentication = authentication_of(settings, secret or "")
    except Faults as error:
        faults += error.faults
    if faults:
        raise Faults(faults)
    token = KeystoneToken(service, base, authentication)
    files = () if settings.secret_file is None else (Path(settings.secret_file),)
    return CachedCredentials(KeystoneOrigin(service, base, token, rules), rules, "Keystone", files)
