"""
Ask an HTTP service for clients' keys, one key at a time.

The service may tell the secret of a key. Or it keeps the secret, and tells only what verifies the signatures of one
scope, or those of Signature V4A.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from s3proxy.backend.json_service import JSONService, ServiceFailed, ServiceResponse
from s3proxy.configuration.modes import Sent
from s3proxy.configuration.tables import Fault, Faults, Kind, NotAccepted, option, structure
from s3proxy.credentials.cache import ClaimedCredentials
from s3proxy.credentials.record import SECRETS, KeyTable, key_faults, make_credential
from s3proxy.credentials.service import open_service, read_service_secret
from s3proxy.credentials.source import KeyRules
from s3proxy.interfaces import ICredentialOrigin, KeyQuestion
from s3proxy.s3.credential import Credential
from s3proxy.sigv4.given_key import SIGNING_KEY_SIZE, GivenKey, give_public_key, give_signing_key


def _hex_key() -> Kind:
    def parse(value: Any) -> bytes:
        try:
            key = bytes.fromhex(value)
        except (TypeError, ValueError):
            raise NotAccepted from None
        if len(key) != SIGNING_KEY_SIZE or len(value) != 2 * SIGNING_KEY_SIZE:
            raise NotAccepted
        return key

    return Kind(f"{2 * SIGNING_KEY_SIZE} hexadecimal digits", parse, is_secret=True)


def _public_key() -> Kind:
    def parse(value: Any) -> GivenKey:
        if not isinstance(value, str):
            raise NotAccepted
        try:
            return give_public_key(value)
        except ValueError as error:
            raise NotAccepted(str(error)) from None

    # A private key that was sent by mistake must not be shown either.
    return Kind("a P-256 SubjectPublicKeyInfo: PEM, or base64 of its DER", parse, is_secret=True)


def _moment() -> Kind:
    def parse(value: Any) -> datetime:
        if not isinstance(value, str):
            raise NotAccepted
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise NotAccepted from None
        if moment.tzinfo is None:
            raise NotAccepted
        return moment

    return Kind("text with a date and time and a UTC offset, like 2030-01-01T00:00:00Z", parse)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalloutKey(KeyTable):
    """
    The members of a callout's JSON response: those of a key, with exactly one of `secret_access_key`, `signing_key` and
    `public_key`.
    """

    secret_access_key: tuple[str, ...] = option(SECRETS, "The secret that the client signs with, or two.", ())
    signing_key: bytes | None = option(
        _hex_key(),
        "The signing key that is derived from the secret for the scope in the request. It verifies Signature V4 of "
        "that day and region, and nothing else.",
        None,
    )
    public_key: GivenKey | None = option(
        _public_key(), "The public half of the key that is derived for Signature V4A. It verifies only V4A.", None
    )
    expires: datetime | None = option(_moment(), "When the key expires.", None)


def read_key(document: Mapping[str, Any], question: KeyQuestion, rules: KeyRules, sent: tuple[Sent, ...]) -> Credential:
    """
    Return the credential that a callout's response describes.

    Args:
        sent: What the service knew of the question. The signing key of a scope that it did not know is worthless.

    Raises:
        Faults: All errors of the response. No secret is in their text.
    """
    key = structure(CalloutKey, document)
    faults = list(key_faults(key, "", rules))
    given = [name for name in ("secret_access_key", "signing_key", "public_key") if getattr(key, name)]
    if len(given) != 1:
        found = " and ".join(given) or "none"
        faults.append(Fault("", f"exactly one of secret_access_key, signing_key and public_key is required: {found}"))
    if key.signing_key is not None and Sent.SCOPE not in sent:
        faults.append(Fault("signing_key", f'needs "{Sent.SCOPE}" in credentials.callout.sends'))
    if faults:
        raise Faults(faults)
    credential = make_credential(key, rules)
    if key.signing_key is not None:
        # A claim of Signature V2 has no scope. This key cannot verify it, and says so.
        return replace(credential, given_key=give_signing_key(key.signing_key, question.scope or b""))
    return replace(credential, given_key=key.public_key)


@implementer(ICredentialOrigin)
class CalloutOrigin:
    """
    An HTTP service that is asked for keys.

    Args:
        path: The path of its URL.
        token: The bearer token of s3proxy; None for none.
    """

    def __init__(self, service: JSONService, path: str, token: str | None, rules: KeyRules) -> None:
        self._service = service
        self._path = path
        self._sent = rules.options.callout.sends
        self._headers = [] if token is None else [(b"Authorization", b"Bearer " + token.encode())]
        self._rules = rules

    def start(self, reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        self._service.start(reactor)

    def stop(self) -> Deferred[None]:
        return self._service.stop()

    def identify(self, question: KeyQuestion) -> Hashable:
        # The answer can depend only on what is sent, and may depend on all of it.
        sent, token = self._sent, question.session_token
        return (
            question.access_key_id,
            question.scope if Sent.SCOPE in sent else None,
            question.carrier if Sent.CARRIER in sent else None,
            hashlib.sha256(token).digest() if token is not None and Sent.SESSION_TOKEN in sent else None,
        )

    def fetch(self, question: KeyQuestion) -> Deferred[Credential | None]:
        document = self._document(question)
        if document is None:
            return succeed(None)
        asked = self._service.ask(b"POST", self._path, self._headers, document)
        return asked.addCallback(self._read, question)

    def _document(self, question: KeyQuestion) -> dict[str, str | None] | None:
        """
        Return the document of a question; None if no key has such a session token.
        """
        document: dict[str, str | None] = {"access_key_id": question.access_key_id.decode("ascii")}
        if Sent.CARRIER in self._sent:
            document["carrier"] = question.carrier.value
        if Sent.SCOPE in self._sent:
            document["scope"] = None if question.scope is None else question.scope.decode("ascii")
        if Sent.SESSION_TOKEN in self._sent:
            try:
                document["session_token"] = None if question.session_token is None else question.session_token.decode()
            except UnicodeDecodeError:
                return None
        return document

    def _read(self, response: ServiceResponse, question: KeyQuestion) -> Credential | None:
        if response.status == 200:
            return read_key(response.document(), question, self._rules, self._sent)
        if response.status == 404 and _names_key(response, question):
            return None
        raise ServiceFailed(f"the response has status {response.status}")


def _names_key(response: ServiceResponse, question: KeyQuestion) -> bool:
    # A gateway returns 404, too, if the service is down. Then the key is not unknown: nobody was asked.
    return response.document().get("access_key_id") == question.access_key_id.decode("ascii")


def open_callout(url: str, directory: Path, rules: KeyRules) -> ClaimedCredentials:
    """
    Open the source ``http://…`` or ``https://…``.

    Raises:
        Faults: The URL, a file or an environment variable is not accepted.
    """
    settings, place = rules.options.callout, "credentials.callout"
    service, path = open_service(url, settings.ca_file, rules.cache.patience, place)
    names = (f"{place}.token_file", f"{place}.token_env")
    token = read_service_secret((settings.token_file, settings.token_env), names)
    files = () if settings.token_file is None else (Path(settings.token_file),)
    return ClaimedCredentials(CalloutOrigin(service, path, token, rules), rules, "the callout", files)
