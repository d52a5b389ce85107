"""
What an application may bring of its own: credentials, authorisation, backends.
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
    Where access keys are looked up.
    """

    def look_up(access_key_id: bytes) -> Deferred[Credential | None] | Credential | None:
        """
        Find the credential of an access key.

        Args:
            access_key_id: As claimed by the client, not yet believed.

        Returns:
            None where the key is unknown; a Deferred of either where the answer takes time. Its failure means that the
            source is down, and is answered 503. It is cancelled when the client leaves, and after `times.lookup`.
        """


class IAuthorizer(Interface):
    """
    Who may do what, once the client is known to be who it says.
    """

    def authorize(head: RequestHead, address: Address, authenticated: Authenticated) -> Deferred[None] | None:
        """
        Let a request pass, or refuse it.

        Returns:
            None, or a Deferred of None where the decision takes time. It is cancelled when the client leaves, and after
            `times.lookup`; then the request is answered 503.

        Raises:
            AccessDenied: The request is not allowed.
        """


class IStreamedRequest(Interface):
    """
    A request which is rendered at the end of its head, and whose body streams.
    """

    head: RequestHead = Attribute("The head as received.")

    def deliverBody(consumer: IConsumer) -> Deferred[None]:
        """
        Write the body to a consumer as it arrives, `100 Continue` first where the client waits for it.

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
        Begin to answer.
        """
