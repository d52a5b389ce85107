"""
A body on its way to a backend: decoded bytes in, at the pace at which the backend takes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from s3proxy.awschunked.encoder import BodyEncoder
from s3proxy.backend.request import DEFAULT_FIRST_BYTE_TIME
from s3proxy.transport.writer import Buffer, DirectWriter, ReadSize


@implementer(IBodyProducer, IConsumer)
class Upload:
    """
    An `IConsumer` for the body's decoder, and an `IBodyProducer` for the agent.

    Until there is a connection, it keeps one block, and its source is paused. It defines neither ``__len__`` nor
    ``__bool__``: treq does not send data that is false.

    Args:
        head: The head that the agent sends before the body, byte for byte, whatever URL treq was given.
        length: Bytes that are sent, as the head declares: of the decoded body, or of the encoded one if there is an
            encoder.
        encoder: Puts the body into chunks; None to send it unchanged.
        expects_continue: Whether the head asks for ``100 Continue``.
        first_byte_time: Seconds from the last byte of the body to the head of the response.
        read_size: How much is read from the client at once. It grows while the backend takes whole blocks.

    Attributes:
        size: Bytes that were written to the upload so far.
    """

    __slots__ = (
        "_consumer",
        "_done",
        "_encoder",
        "_first_block",
        "_is_finished",
        "_is_paused",
        "_pending",
        "_reason",
        "_sent_blocks",
        "_source",
        "expects_continue",
        "first_byte_time",
        "head",
        "length",
        "read_size",
        "size",
    )

    def __init__(
        self,
        head: bytes,
        length: int,
        *,
        encoder: BodyEncoder | None = None,
        expects_continue: bool = False,
        first_byte_time: float = DEFAULT_FIRST_BYTE_TIME,
        read_size: ReadSize | None = None,
    ) -> None:
        self.head = head
        self.length: Any = length
        self.expects_continue = expects_continue
        self.first_byte_time = first_byte_time
        self.read_size = read_size
        self.size = 0
        self._source: Any = None
        self._encoder = encoder
        self._consumer: Any = None
        self._done: Deferred[None] | None = None
        self._pending: list[Buffer] = []
        self._first_block: list[Buffer] | None = []
        self._sent_blocks = 0
        self._is_paused = False
        self._is_finished = False
        self._reason: Failure | None = None

    # IConsumer, for the decoder

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._source = producer

    def unregisterProducer(self) -> None:
        self._source = None

    def write(self, data: Buffer) -> None:
        self.writeSequence((data,))

    def writeSequence(self, pieces: Sequence[Buffer]) -> None:
        """
        Take the pieces of one block. Their bytes must not change afterwards.
        """
        if self._reason is not None or not pieces:
            return
        self.size += sum(map(len, pieces))
        self._send(pieces if self._encoder is None else self._encoder.feed(pieces))

    def _send(self, pieces: Sequence[Buffer]) -> None:
        if self._consumer is None:
            # Not connected yet, or the connection died: these bytes were on their way when the source was paused.
            self._pending.extend(pieces)
            self._pause_source()
            return
        if not pieces:
            # The encoder keeps all of it for a chunk.
            return
        self._sent_blocks += 1
        self._first_block = list(pieces) if self._sent_blocks == 1 else None
        self._consumer.writeSequence(pieces)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The connection's writer, once the first block can no longer be sent again; None if the body is put into chunks.
        """
        if self._encoder is not None or self._consumer is None or self._sent_blocks < 2:
            return None
        target: DirectWriter | None = self._consumer.splice_target
        return target

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """
        self.size += size
        self._consumer.moved(size)

    @property
    def waiting_size(self) -> int:
        """
        Bytes that no socket has taken yet.
        """
        waiting = sum(map(len, self._pending))
        if self._encoder is not None:
            waiting += self._encoder.kept_size
        return waiting + (self._consumer.waiting_size if self._consumer is not None else 0)

    def finish(self, verified: Iterable[tuple[bytes, bytes]] = ()) -> None:
        """
        Complete the upload: the body is complete and verified.

        Args:
            verified: The verified checksums of the body.
        """
        if self._encoder is not None and self._reason is None:
            # The zero chunk and the trailer are sent with the verdict, not before.
            self._send(self._encoder.finish(verified))
        self._is_finished = True
        self._tell()

    def fail(self, reason: Failure | Exception) -> None:
        """
        Fail the upload: the rest of the body must not be sent, and the body stays incomplete at the backend.
        """
        if self._reason is None and not self._is_finished:
            self._reason = reason if isinstance(reason, Failure) else Failure(reason)
            self._pending = []
            self._tell()

    def _tell(self) -> None:
        done = self._done
        if done is None:
            return
        self._done = self._consumer = None
        if self._reason is not None:
            done.errback(self._reason)
        else:
            done.callback(None)

    # IBodyProducer, for the connection

    def startProducing(self, consumer: Any) -> Deferred[None]:
        if self._reason is not None:
            return fail(self._reason)
        self._consumer = consumer
        done = self._done = Deferred()
        pending, self._pending = self._pending, []
        if pending:
            # Before the source resumes: under TLS it may write at once.
            self._sent_blocks = 1
            self._first_block = pending
            consumer.writeSequence(pending)
        if self._is_finished:
            self._tell()
        elif not self._is_paused:
            self.resumeProducing()
        return done

    def rewind(self) -> bool:
        """
        Prepare to start again from the first byte, on another connection.

        Returns:
            Whether that is possible: the first block is kept until the second is sent.
        """
        if self._first_block is None or self._reason is not None:
            return False
        self._pending = self._first_block + self._pending
        self._first_block = []
        self._sent_blocks = 0
        self._is_paused = False
        return True

    def pauseProducing(self) -> None:
        # This may come before the start: the head may have filled the socket.
        self._is_paused = True
        self._pause_source()

    def resumeProducing(self) -> None:
        self._is_paused = False
        if self._source is not None:
            self._source.resumeProducing()

    def stopProducing(self) -> None:
        """
        Stop writing to the connection. It may be called twice; the Deferred of `startProducing` never fires after it.

        The source is paused, not stopped: the exchange decides about the client's connection.
        """
        self._done = self._consumer = None
        self._pause_source()

    def _pause_source(self) -> None:
        if self._source is not None:
            self._source.pauseProducing()
