"""
Interfaces of the parts that an application can supply: credentials, authorisation, streamed resources.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Container, Hashable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from zope.interface import Attribute, Interface

from s3proxy.authentication.verdict import Authenticated
from s3proxy.authorization.access_request import AccessRequest
from s3proxy.s3.claim import Carrier
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import S3Error
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
            and the response is 503. It is cancelled when the client disconnects, and after `times.lookup`.
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

    def authorize(asked: AccessRequest) -> Deferred[None] | None:
        """
        Allow a request, or refuse it. Called once for each request that the rules of its key allow; for DeleteObjects
        once for each object of its document instead, after the document is verified.

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


class IAuthenticatedRequest(IStreamedRequest, IConsumer):
    """
    A request whose signature is verified, as `s3proxy.authenticated` gives it to an application's resource.

    If something fails, the client gets an S3 error at once: from `fail`, from an exception of the resource, or because
    the body is not what was signed. Whatever is called after the end of the response has no effect.
    """

    head: RequestHead = Attribute(
        "The head, without what the signature does not cover and without the client's credentials. Of the headers that "
        "are not signed, it has those that select nothing and permit nothing, such as Content-Type, Range and If-Match."
    )
    authenticated: Authenticated = Attribute(
        "The client: its access key id, its credential, the carrier of its signature, and the signed headers."
    )
    client_host: str = Attribute("The address of the client as text; ``-`` if it is unknown.")
    length: int | None = Attribute("Bytes of the body as the consumer gets it; None if only its end shows them.")

    def deliverBody(consumer: IConsumer) -> Deferred[None]:
        """
        Write the body to a consumer while it is verified. Only the Deferred commits: until it fires, the bytes may be
        an attacker's. Can be called once.

        The consumer's producer stops the reading of the client's socket. Its `stopProducing` gives the body up, and so
        does the cancellation of the Deferred.

        Returns:
            Fires after the last byte was written and everything is verified: the chunks and their signatures, the
            trailer, the hash, Content-MD5, checksums and the length. Otherwise it fails with the S3Error that the
            client has got, or with IncompleteBody if the client has disconnected or the response has ended.
        """

    def respond(status: int, headers: Iterable[tuple[bytes, bytes]] = (), content: bytes = b"") -> None:
        """
        Send the whole response. Content-Length, Date and the request id are added.

        Raises:
            ValueError: A header cannot be sent, or is one about the framing. Or the response has begun.
        """

    def beginResponse(status: int, headers: Iterable[tuple[bytes, bytes]], length: int) -> None:
        """
        Begin a response whose content is written to the request: it is the consumer of a producer, or `write` is
        called. `finish` ends the response.

        Args:
            length: Bytes of the content. If some are missing in the end, the connection is reset.

        Raises:
            ValueError: As `respond`.
        """

    def finish() -> None:
        """
        End a response that `beginResponse` began.
        """

    def fail(error: S3Error) -> None:
        """
        Send an error as the document that S3 sends.
        """

    def notifyFinish() -> Deferred[None]:
        """
        Return a Deferred that fires when the response has ended, and fails with ConnectionLost if the client
        disconnects before.
        """


class IStreamedResource(Interface):
    """
    A resource whose `render` is called at the end of the head, before the body.
    """

    def render(request: IStreamedRequest) -> int | bytes | Awaitable[int | bytes]:
        """
        Begin the response.

        Returns:
            NOT_DONE_YET if the response is sent by the methods of the request. Behind `s3proxy.authenticated` the
            result may also be the content of a response with status 200, or something to wait for, such as a coroutine,
            with either result; it is cancelled if the client disconnects.
        """
