"""
Interfaces of the parts that an application can supply: credentials, authorisation, streamed resources.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from zope.interface import Attribute, Interface

from s3proxy.authentication.verdict import Authenticated
from s3proxy.s3.address import Address
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
            and the response is 503. It is cancelled when the client disconnects, and after `times.lookup`.
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
