"""
Relay a response to the client, at the client's pace.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from s3proxy.backend.response import BackendResponse, BodyReceiver
from s3proxy.s3.framing import LAST_CHUNK, encode_chunk
from s3proxy.s3.head import HeaderList
from s3proxy.transport.pace import Pace
from s3proxy.transport.writer import Buffer, DirectWriter, ReadSize, SeesEachByte


@implementer(IPushProducer)
class ResponseRelay:
    """
    Connects a backend's response with a client's socket: when the client pauses, so does the backend.

    Args:
        head: The response head for the client. It is written before the first byte of the body, in the same call if
            that byte has arrived already.
        is_chunked: Whether the client gets the body in chunked transfer coding: its length is not known.
        ended: Called once, with None or the failure that cut the body.

    Attributes:
        sent_size: Bytes of the body that were sent so far.
        pace: Counts the bytes for a budget; None if no budget counts them.
    """

    __slots__ = (
        "_ended",
        "_head",
        "_is_chunked",
        "_is_full",
        "_is_held",
        "_response",
        "_writer",
        "pace",
        "sent_size",
    )

    def __init__(
        self,
        response: BackendResponse,
        writer: DirectWriter,
        head: bytes,
        *,
        is_chunked: bool,
        ended: Callable[[Failure | None], None],
    ) -> None:
        self._response = response
        self._writer = writer
        self._head = head
        self._is_chunked = is_chunked
        self._ended = ended
        self._is_full = False
        self._is_held = False
        self.pace: Pace | None = None
        self.sent_size = 0

    def start(
        self,
        reader: DocumentReader | None = None,
        *,
        cut: tuple[int, int] | None = None,
        document: LateDocument | None = None,
    ) -> None:
        """
        Start relaying.

        Args:
            reader: The reader of the body's beginning; None if nothing was read.
            cut: The first byte of the body that the client gets, and the one after the last; None for the whole body.
            document: Receives the body from the reader, if it must be edited for the client; None if not.
        """
        transport = self._response.transport
        if transport is not None:
            self._writer.read_size = ReadSize(transport, is_paced=self.pace is not None)
        if cut is not None:
            self._response.deliver(CutBody(self, cut, self._response.abort))
        elif reader is None:
            self._response.deliver(self)
        else:
            reader.pass_to(document or self)
        if self._head:
            self._write(())
        if self._writer.is_paused and not self._is_full:
            # The writer was full before, and calls only once.
            self.pauseProducing()

    # Called by the response

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Take bytes of the backend's body.
        """
        size = sum(map(len, pieces))
        self.sent_size += size
        self._write((encode_chunk(size), *pieces, b"\r\n") if self._is_chunked and size else pieces)
        if self.pace is not None:
            self.pace.count(size)

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Called once the body is complete, or was cut.
        """
        if failure is None and self._is_chunked:
            self._write((_last_chunk(self._response.trailers),))
        elif self._head and failure is None:
            self._write(())
        self._writer.read_size = None
        self._ended(failure)

    @property
    def splice_target(self) -> DirectWriter | None:
        """
        The client's writer, if the rest of the body needs no framing and no budget counts it; otherwise None.
        """
        is_free = self.pace is None and not (self._is_chunked or self._is_held or self._is_full or self._head)
        return self._writer if is_free and self._writer.can_splice else None

    def moved(self, size: int) -> None:
        """
        Count bytes that were spliced to `splice_target`.
        """
        self.sent_size += size

    def _write(self, pieces: Sequence[Buffer]) -> None:
        if self._head:
            pieces = (self._head, *pieces)
            self._head = b""
        self._writer.writeSequence(pieces)

    # Called by the client's writer

    def pauseProducing(self) -> None:
        self._is_full = True
        self._response.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_full = False
        if not self._is_held:
            self._response.resumeProducing()

    # Called by a budget

    def hold(self) -> None:
        """
        Stop reading: the budget of bytes a second is spent.
        """
        self._is_held = True
        self._response.pauseProducing()

    def release(self) -> None:
        """
        Resume reading, if the client takes the bytes.
        """
        self._is_held = False
        if not self._is_full:
            self._response.resumeProducing()

    def stopProducing(self) -> None:
        """
        Only pause: the exchange aborts the backend when the client is gone.
        """
        self._response.pauseProducing()


class CutBody(SeesEachByte):
    """
    Passes only a part of a body to its receiver.

    Args:
        receiver: Receives the part.
        cut: The first byte of the part, and the one after the last.
        abort: Called when the part is complete: the rest is not read.
    """

    __slots__ = ("_abort", "_left", "_receiver", "_to_skip")

    def __init__(self, receiver: BodyReceiver, cut: tuple[int, int], abort: Callable[[], None]) -> None:
        self._receiver: BodyReceiver | None = receiver
        self._to_skip = cut[0]
        self._left = cut[1] - cut[0]
        self._abort = abort

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Receive part of the body.
        """
        if self._receiver is None:
            return
        kept: list[Buffer] = []
        for piece in pieces:
            view = memoryview(piece)[self._to_skip :]
            self._to_skip -= len(piece) - len(view)
            view = view[: self._left]
            self._left -= len(view)
            if view:
                kept.append(view)
        if kept:
            self._receiver.bodyReceived(kept)
        if not self._left:
            self._end(None)
            self._abort()

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Called once the body is complete, or was cut.
        """
        self._end(failure)

    def _end(self, failure: Failure | None) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.bodyEnded(failure)


class DocumentReader(SeesEachByte):
    """
    Collects the document of a response, up to a maximum size.

    Args:
        max_size: Maximum size of the document in bytes.
        complete: Called once: with None when the document is complete or too large, otherwise with the failure.
        held: Called with the change in the number of bytes held in memory; it is negative when bytes are released.

    Attributes:
        is_whole: Whether the document is complete.
        began: Called once if at first nothing arrives but what may precede a document's root: the backend still works.
            It may call `pass_to`.
    """

    __slots__ = ("_complete", "_failure", "_held", "_max_size", "_pieces", "_receiver", "_size", "began", "is_whole")

    def __init__(
        self,
        max_size: int,
        complete: Callable[[Failure | None], None],
        held: Callable[[int], None] | None = None,
    ) -> None:
        self._held = held
        self._max_size = max_size
        self._complete: Callable[[Failure | None], None] | None = complete
        self._pieces: list[Buffer] = []
        self._size = 0
        self._receiver: BodyReceiver | None = None
        self._failure: Failure | None = None
        self.began: Callable[[], None] | None = None
        self.is_whole = False

    @property
    def document(self) -> bytes:
        """
        The bytes that were read so far.
        """
        return b"".join(self._pieces)

    def pass_to(self, receiver: BodyReceiver) -> None:
        """
        Give the bytes that were read, and all that follow, to another receiver.
        """
        self._receiver = receiver
        pieces, self._pieces = self._pieces, []
        if self._held is not None and pieces:
            self._held(-self._size)
        if pieces:
            receiver.bodyReceived(pieces)
        if self.is_whole or self._failure is not None:
            receiver.bodyEnded(self._failure)

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Take bytes of the backend's body.
        """
        if self._receiver is not None:
            self._receiver.bodyReceived(pieces)
            return
        self._pieces += pieces
        size = sum(map(len, pieces))
        self._size += size
        if self._held is not None:
            self._held(size)
        if self.began is not None:
            began = self.began
            if PROLOGUE.fullmatch(self.document) is None:
                self.began = None
            elif self._size:
                self.began = None
                began()
        if self._size > self._max_size and self._receiver is None:
            self._tell(None)

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Called once the document is complete, or was cut.
        """
        self.is_whole = failure is None
        self._failure = failure
        if self._receiver is not None:
            self._receiver.bodyEnded(failure)
        else:
            self._tell(failure)

    def _tell(self, failure: Failure | None) -> None:
        complete, self._complete = self._complete, None
        if complete is not None:
            complete(failure)


PROLOGUE = re.compile(rb"(?:\xef\xbb\xbf)?[ \t\r\n]*+(?:<\?xml[ \t\r\n][^<>]*+>[ \t\r\n]*+)?")
"""
What a backend sends while it works, before the root of its document.
"""

_DECLARATION = re.compile(rb"<\?xml[ \t\r\n][^<>]*+>")
_ROOT = re.compile(rb"<(?:[A-Za-z_][\w.\-]*+:)?([A-Za-z_][\w.\-]*+)(?:[^<>\"'/]++|\"[^\"<]*+\"|'[^'<]*+')*>")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\r\n"


class LateDocument(SeesEachByte):
    """
    A document whose status went to the client before its content was known. White space is relayed at once, so that no
    client or proxy on the way times out; the document is edited once it is complete.

    S3, MinIO and Swift send the XML declaration first, then white space. Other backends send only the white space, and
    Ceph sends an element for each part of a copy that is done.

    Args:
        relay: Receives what the client may see.
        edit: Called with the complete document; returns the document for the client.
        judged: Names of the root elements whose document must be edited. None if every document must be.
        max_size: Maximum size of a document that is edited, in bytes.
    """

    __slots__ = (
        "_buffer",
        "_declaration",
        "_edit",
        "_has_begun",
        "_is_over",
        "_judged",
        "_max_size",
        "_passes",
        "_relay",
        "_root",
    )

    def __init__(
        self,
        relay: ResponseRelay,
        edit: Callable[[bytes], bytes],
        judged: frozenset[str] | None,
        max_size: int,
    ) -> None:
        self._relay = relay
        self._edit = edit
        self._judged = judged
        self._max_size = max_size
        self._buffer = bytearray()
        self._declaration = b""
        self._root = b""
        self._has_begun = False
        self._passes = False
        self._is_over = False

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        """
        Receive part of the backend's body.
        """
        if self._passes:
            self._relay.bodyReceived(pieces)
        if self._passes or self._is_over:
            return
        for piece in pieces:
            self._buffer += piece
        self._move()

    def bodyEnded(self, failure: Failure | None) -> None:
        """
        Called once the document is complete, or was cut: edit it and send it to the client. If it cannot be edited, the
        response is cut.
        """
        if self._is_over:
            return
        self._is_over = True
        if failure is None and not self._passes and self._buffer:
            kept = self._declaration + self._root
            try:
                document = self._edit(kept + bytes(self._buffer))
            except Exception:
                failure = Failure()
            else:
                # An error document of s3proxy has no declaration.
                if document.startswith(kept):
                    self._relay.bodyReceived((document[len(kept) :],))
                elif not self._root:
                    self._relay.bodyReceived((document,))
                else:
                    failure = Failure(ValueError("what was edited went to the client before"))
        self._relay.bodyEnded(failure)

    def _move(self) -> None:
        """
        Relay what the client may see now.
        """
        buffer = self._buffer
        passed = b""
        if not self._has_begun and buffer.startswith(_BYTE_ORDER_MARK):
            passed = _BYTE_ORDER_MARK
            del buffer[:3]
        while True:
            size = len(buffer) - len(buffer.lstrip(_WHITE_SPACE))
            passed += buffer[:size]
            del buffer[:size]
            declaration = None if self._declaration or self._root else _DECLARATION.match(buffer)
            if declaration is None:
                break
            self._declaration = bytes(declaration[0])
            if not self._has_begun and passed in {b"", _BYTE_ORDER_MARK}:
                # Parsers refuse a declaration after white space (XML 1.0, section 2.8), and the client's would, too.
                passed += self._declaration
            del buffer[: declaration.end()]
        root = None if self._root else _ROOT.match(buffer)
        if root is not None:
            if self._judged is not None and root[1].decode("ascii", "replace") not in self._judged:
                self._passes = True
                passed += buffer
                buffer.clear()
            elif self._judged is None and root[1] != b"Error" and buffer[root.end() :].isspace():
                # White space after the root element: the backend still works.
                self._root = bytes(root[0])
                passed += buffer
                buffer.clear()
        if passed:
            self._has_begun = True
            self._relay.bodyReceived((bytes(passed),))
        if len(buffer) > self._max_size:
            self.bodyEnded(Failure(ValueError("the document is too long to be edited")))


def _last_chunk(trailers: HeaderList) -> bytes:
    if not trailers:
        return LAST_CHUNK
    return b"0\r\n%s\r\n" % b"".join([b"%s: %s\r\n" % trailer for trailer in trailers])
