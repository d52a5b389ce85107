"""
The body of an authenticated request on its way into an application's own consumer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.body.guard import BodyDecoder, GuardedBody
from s3proxy.s3.errors import EntityTooLarge, IncompleteBody, InternalError, S3Error
from s3proxy.s3.head import HeaderList
from s3proxy.transport.writer import Buffer, SeesEachByte


class DeliveringRequest(Protocol):
    """
    The request whose body is delivered: a `s3proxy.frontend.request.StreamedRequest`.
    """

    def deliverBody(self, consumer: IConsumer) -> Deferred[None]: ...

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...


@implementer(IPushProducer)
class Delivery(SeesEachByte):
    """
    The delivery of one body: the sink after its decoder, and the producer of the application's consumer.

    The consumer gets each byte as soon as it is decoded, except the last block: that is withheld until everything is
    verified, if the length is known.

    Args:
        max_size: Maximum bytes of the body.
        refused: Called once, with the error for the client, before `delivered` fails.
        failed: Makes the error for the client of an exception of the consumer.

    Attributes:
        delivered: The result for the application.
    """

    def __init__(
        self,
        request: DeliveringRequest,
        consumer: IConsumer,
        max_size: int,
        refused: Callable[[S3Error], None],
        failed: Callable[[BaseException | None], S3Error],
    ) -> None:
        self._request = request
        self._consumer: IConsumer | None = consumer
        self._max_size = max_size
        self._refused = refused
        self._failed = failed
        self._size = 0
        self._error: S3Error | None = None
        self._is_registered = False
        self._is_over = False
        self._body: GuardedBody | None = None
        self.delivered: Deferred[None] = Deferred(lambda cancelled: self._give_up())

    def begin(self, decoder: BodyDecoder | None) -> None:
        """
        Let the client send its body, after 100 Continue if it waits for that.

        Args:
            decoder: None if there is no body.
        """
        if decoder is None:
            self.registerProducer(self, True)
            self._verified([])
            return
        self._body = body = GuardedBody(decoder, self, self._verified, self._refuse)
        self._request.deliverBody(body).addCallbacks(lambda ignored: body.wireEnded(), self._cut)

    def _cut(self, failure: Failure) -> None:
        self._refuse(self._failed(failure.value))

    def _verified(self, checksums: HeaderList) -> None:
        self._end()
        if not self.delivered.called:
            self.delivered.callback(None)

    def _refuse(self, error: S3Error) -> None:
        if not self._is_over and self._error is None:
            self._error = error
            # The client has its error before the application can respond with anything else.
            self._refused(error)
            self.stop()

    def _give_up(self) -> None:
        self._refuse(InternalError())

    def stop(self) -> None:
        """
        Write nothing more to the consumer; `delivered` fails. Called if the client has disconnected or the response has
        ended. Has no effect after the end of the delivery.
        """
        if not self._is_over:
            self._end()
            if not self.delivered.called:
                self.delivered.errback(self._error or IncompleteBody())

    def _end(self) -> None:
        self._is_over = True
        body, self._body = self._body, None
        if body is not None:
            body.stop()
        consumer, self._consumer = self._consumer, None
        if consumer is not None and self._is_registered:
            try:
                consumer.unregisterProducer()
            except Exception as error:
                self._failed(error)

    # The sink of the decoder

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """
        Register this object as the producer of the application's consumer.
        """
        if self._consumer is not None:
            self._consumer.registerProducer(self, True)
            self._is_registered = True

    def unregisterProducer(self) -> None:
        """
        Ignored: the withheld block is still to come. The consumer is told in the end.
        """

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Write bytes to the application's consumer.

        Raises:
            EntityTooLarge: The body is too large.
            S3Error: The error for the client, if the consumer raises.
        """
        for piece in pieces:
            self._size += len(piece)
            if self._size > self._max_size:
                raise EntityTooLarge(self._size, self._max_size)
            # The consumer may have given the body up with the bytes before.
            if self._consumer is not None:
                try:
                    self._consumer.write(bytes(piece))
                except Exception as error:
                    raise self._failed(error) from None

    # The producer of the application's consumer

    def pauseProducing(self) -> None:
        if self._body is not None:
            self._request.pauseProducing()

    def resumeProducing(self) -> None:
        if self._body is not None:
            self._request.resumeProducing()

    def stopProducing(self) -> None:
        self._give_up()
