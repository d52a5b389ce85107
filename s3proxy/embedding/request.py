"""
An authenticated request, as an application's own resource sees it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from s3proxy.authentication.verdict import Authenticated
from s3proxy.body.guard import BodyDecoder
from s3proxy.embedding.covered import covered_head
from s3proxy.embedding.delivery import DeliveringRequest, Delivery
from s3proxy.embedding.response import ResourceResponse
from s3proxy.interfaces import IAuthenticatedRequest
from s3proxy.s3.errors import IncompleteBody, S3Error


@implementer(IAuthenticatedRequest)
class AuthenticatedRequest:
    """
    An authenticated request. `IAuthenticatedRequest` describes it.

    Args:
        authenticated: The client, with the head as it was received.
        decoder: Verifies the body; None if there is none, or if it has been verified.
        length: Bytes of the body; None if only its end shows them.
        max_size: Maximum bytes of the body.

    Raises:
        NotImplementedByProxy: As `covered_head`.
    """

    def __init__(
        self,
        request: DeliveringRequest,
        response: ResourceResponse,
        authenticated: Authenticated,
        client_host: str,
        decoder: BodyDecoder | None,
        length: int | None,
        max_size: int,
    ) -> None:
        self._request = request
        self._response = response
        self._decoder = decoder
        self._max_size = max_size
        self._delivery: Delivery | None = None
        self._finished: list[Deferred[None]] = []
        self._is_gone = False
        self.head = covered_head(authenticated)
        # The chain has the signing key.
        self.authenticated = replace(authenticated, head=self.head, chain=None)
        self.client_host = client_host
        self.length = length

    def deliverBody(self, consumer: IConsumer) -> Deferred[None]:
        if self._delivery is not None:
            raise ValueError("the body of a request can be delivered only once")
        if self._response.is_over:
            return fail(IncompleteBody())
        self._delivery = delivery = Delivery(
            self._request, consumer, self._max_size, self._response.fail, self._response.error_of
        )
        delivery.begin(self._decoder)
        return delivery.delivered

    def respond(self, status: int, headers: Iterable[tuple[bytes, bytes]] = (), content: bytes = b"") -> None:
        self.beginResponse(status, headers, len(content))
        self.write(content)
        self.finish()

    def beginResponse(self, status: int, headers: Iterable[tuple[bytes, bytes]], length: int) -> None:
        self._response.begin(status, list(headers), length)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._response.write_from(producer, streaming=streaming)

    def unregisterProducer(self) -> None:
        self._response.forget_producer()

    def write(self, data: bytes) -> None:
        self._response.write(data)

    def finish(self) -> None:
        self._response.finish()

    def fail(self, error: S3Error) -> None:
        self._response.fail(error)

    def notifyFinish(self) -> Deferred[None]:
        finished: Deferred[None] = Deferred()
        self._finished.append(finished)
        if self._response.is_over:
            self.end(is_gone=self._is_gone)
        return finished

    def end(self, *, is_gone: bool) -> None:
        """
        Called when the response has ended or the client has disconnected.
        """
        self._is_gone = is_gone
        if self._delivery is not None:
            self._delivery.stop()
        finished, self._finished = self._finished, []
        for each in finished:
            if is_gone:
                each.errback(ConnectionLost())
            else:
                each.callback(None)
