"""
Interfaces of the parts that an application can supply: credentials, authorisation, streamed resources.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Hashable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from zope.interface import Attribute, Interface

from s3proxy.authentication.verdict import Authenticated
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.head import RequestHead


class ICredentialStore(Interface):
    """
    A source of credentials.
    """

    def look_up(access_key_id: bytes) -> Deferred[Credential | None] | Credential | None:
        """
        Return the credential of an access key.

        Args:
            access_key_id: The access key id that the client claims, not yet verified.

        Returns:
            None if the key is unknown; a Deferred of either if the lookup takes time. If it fails, the source is down
            and the response is 503. The text of the exception is logged, unless it is ServiceUnavailable: then the
            source has logged why. The Deferred is cancelled when the client disconnects, and after `times.lookup`.
        """


class ICredentialSource(ICredentialStore):
    """
    A store that the daemon opens by the word in `credentials.source`.

    A source is opened once for each reading of the configuration: at the start and at each reload of the daemon, by
    its supervisor, and by `s3proxy check`. Opening is synchronous. It starts nothing, needs no reactor, waits for no
    other machine, and raises every error that can be found that way. An opened source can be dropped without `stop`.

    There is no reload of a source. A reload opens another one, and starts it only after everything else has succeeded:
    either all of the new keys are used, or the former source stays. Requests that have begun end with the source with
    which they began, so both are in use for a while.
    """

    session_tokens: Container[bytes] = Attribute(
        "The session tokens of all keys. The object stays the same while the source is in use; its content may change."
    )
    secret_files: Collection[Path] = Attribute(
        "The files with secrets that were read to open the source. `s3proxy check` warns if other users can read them."
    )

    def start(reactor: Any) -> None:
        """
        Begin to connect, if lookups need it. Called at most once, before the first lookup.

        It neither waits nor fails: the daemon also starts if a source is unreachable, as it does for a backend. Until
        the source is reached, `look_up` waits or fails, and the response is 503. The source itself connects again.

        An application that takes a resource from a `ProxyService` and never starts that service calls this itself.
        """

    def stop() -> Deferred[None] | None:
        """
        Release everything that `start` and lookups have taken. Called at most once, only after `start`.

        It is called after the last request that uses the source. A request on a connection of a removed listener may
        still follow, and its lookup may fail.

        Returns:
            None, or a Deferred if this takes time. The daemon's end waits for it, so the source must limit that time.
        """

    def list_credentials() -> Collection[Credential] | None:
        """
        Return all credentials as they are known now, also before `start`; None if the source cannot list them without
        waiting. Then their number is unknown, and `s3proxy check` does not compare them.
        """


class KeyQuestion(NamedTuple):
    """
    The key that a request claims, as a source is asked for it. None of it is verified.

    Attributes:
        access_key_id: As sent.
        carrier: Where the request has its signature.
        scope: The scope of a Signature V4 or V4A, without the access key id: ``20300101/us-east-1/s3/aws4_request``;
            None for V2.
        session_token: As sent, or None.
    """

    access_key_id: bytes
    carrier: Carrier
    scope: bytes | None = None
    session_token: bytes | None = None


class ICredentialOrigin(Interface):
    """
    Where a `s3proxy.credentials.cache.CachedCredentials` gets its keys: a database, a directory, another service.

    An origin only asks. What it was told is remembered, and its failures are bridged, by the cache.
    """

    def start(reactor: Any, changed: Callable[[bytes | None], None]) -> None:
        """
        Begin to connect. It neither waits nor fails; see `ICredentialSource.start`.

        Args:
            changed: To be called with an access key id when that key has changed, with None if any may have: the cache
                forgets what it knows. Only for an origin that is told of changes.
        """

    def stop() -> Deferred[None] | None:
        """
        Release everything. Called at most once, only after `start`.
        """

    def identify(question: KeyQuestion) -> Hashable:
        """
        Return what the answer depends on: the access key id, or that and the scope. Questions with the same identity
        get one answer.
        """

    def fetch(question: KeyQuestion) -> Deferred[Credential | None]:
        """
        Ask for a key once.

        Returns:
            Fires with None if the key is unknown. Fails with `Faults` if what was found does not describe a key, and
            with any other exception if the origin does not answer; its text has no secret. It can be cancelled.
        """


class IAuthorizer(Interface):
    """
    Decides what an authenticated client may do.
    """

    def authorize(head: RequestHead, address: Address, authenticated: Authenticated) -> Deferred[None] | None:
        """
        Allow a request, or refuse it.

        Returns:
            None, or a Deferred of None if the decision takes time. It is cancelled when the client disconnects, and
            after `times.lookup`; then the response is 503.

        Raises:
            AccessDenied: The request is not allowed.
        """


class IStreamedRequest(Interface):
    """
    A request that is rendered at the end of its head, and whose body streams.
    """

    head: RequestHead = Attribute("The head as received.")

    def deliverBody(consumer: IConsumer) -> Deferred[None]:
        """
        Write the body to a consumer as it arrives. Send `100 Continue` first if the client waits for it.

        The request registers itself as the consumer's streaming producer; its `pauseProducing` stops the reading of
        the client's socket.

        Returns:
            Fires when the last byte was written; fails with the S3Error which says why it never came.
        """


class IStreamedResource(Interface):
    """
    A resource whose `render` is called at the end of the head, before the body.
    """

    def render(request: IStreamedRequest) -> int | bytes:
        """
        Begin the response.
        """
