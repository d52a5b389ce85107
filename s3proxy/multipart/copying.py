"""
UploadPartCopy: an object of the backend becomes a part.

s3proxy requests the source as the client itself would, with the client's conditions. The body is paused until there is
space for it on disk, and then written as it arrives. Once it is complete, the client gets the response with the part;
if the source is refused, the client gets the error before that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.backend.relay import CutBody
from s3proxy.backend.response import BackendResponse
from s3proxy.forwarding.besides import ask_measure
from s3proxy.forwarding.deletions import read_response
from s3proxy.multipart.context import MultipartContext
from s3proxy.multipart.documents import parse_copy_range, part_copied_document
from s3proxy.multipart.files import PartWriter
from s3proxy.multipart.incoming import IncomingPart
from s3proxy.multipart.own_requests import OwnRequests
from s3proxy.multipart.responses import respond_with
from s3proxy.profiles.allowed import SOURCE_CONDITIONS
from s3proxy.resign.response import ResponseUse
from s3proxy.s3.errors import (
    EntityTooLarge,
    InternalError,
    InvalidRange,
    NotImplementedByProxy,
    PreconditionFailed,
    S3Error,
)
from s3proxy.s3.head import RequestHead
from s3proxy.s3.operation import BodyUse
from s3proxy.transport.writer import Buffer, SeesEachByte


class PartCopy:
    """
    The copy of one part.
    """

    def __init__(self, context: MultipartContext, requests: OwnRequests, part: IncomingPart) -> None:
        self._context = context
        self._requests = requests
        self._part = part

    async def copy(self, begin_to_wait: Callable[[], None]) -> BackendResponse:
        """
        Copy the source to the part.

        Args:
            begin_to_wait: Called when no error with a status of its own is expected any more.

        Returns:
            The response of s3proxy, or the backend's if that refuses the source.
        """
        head, context = self._context.head, self._context
        source = head.fields.value(b"x-amz-copy-source") or b""
        raw_range = head.fields.value(b"x-amz-copy-source-range")
        wanted = parse_copy_range(raw_range) if raw_range is not None else None
        onward = self._requests.source(source, wanted)
        mending = None
        if context.backend.account.profile.mends("GetObject"):
            mending = onward.mend()
            if mending.must_measure:
                measure = await self._requests.send(ask_measure(onward, context.wall_clock()))
                await read_response(measure)
                if measure.head.status == 200:
                    onward.passed = mending.measure(measure.head, onward.passed)
                    if mending.is_answered:
                        raise _source_refused(head)
        response = await self._requests.send(onward.request(BodyUse.NONE, b"", [], context.wall_clock()))
        if response.head.status == 304:
            await read_response(response)
            raise _source_refused(head)
        if response.head.status >= 300:
            return response
        try:
            if mending is not None:
                mending.response_use(response.head, ResponseUse.RELAY)
            is_range = response.head.status == 206 or (mending is not None and mending.is_range(response.head))
            start, end = _wanted_bytes(response, wanted, raw_range or b"", is_range=is_range)
            if end - start > context.object_size:
                raise EntityTooLarge(end - start, context.object_size)
            # Paused until there is space: a body without a receiver is not read.
            writer = await self._part.reserve(end - start)
            begin_to_wait()
            await _write_to(response, writer, (start, end))
        except BaseException:
            response.abort()
            raise
        part = await self._part.commit({})
        return respond_with(part_copied_document(part.etag, part.modified_at, part.checksums), head.method)


def _source_refused(head: RequestHead) -> S3Error:
    """
    Return the error for a client whose conditions the source does not meet.
    """
    names = [name.decode() for name in SOURCE_CONDITIONS if name in head.fields]
    # A backend that refuses a request without conditions in this way has failed.
    return PreconditionFailed(names[0]) if names else InternalError()


def _wanted_bytes(
    response: BackendResponse, wanted: tuple[int, int] | None, raw_range: bytes, *, is_range: bool
) -> tuple[int, int]:
    """
    Return the first byte of the source's body that becomes the part, and the one after the last.

    Args:
        wanted: The first and the last byte of the object that the client wants; None for the whole object.
        is_range: Whether the body is only a range of the source.

    Raises:
        InternalError: The status is another success than expected, or the body is only a range although the whole
            object was requested.
        InvalidRange: The object ends before the last byte.
        NotImplementedByProxy: The backend does not send the length of the body.
    """
    status, length = response.head.status, response.body_length
    if status not in {200, 206} or (is_range and wanted is None):
        raise InternalError
    if length is None:
        raise NotImplementedByProxy(None, Header="x-amz-copy-source")
    if wanted is None:
        return 0, length
    first, last = wanted
    if not is_range:
        # s3proxy requests a version from Walrus without a range, and another backend may ignore the range.
        if last >= length:
            raise InvalidRange(raw_range, length)
        return first, last + 1
    if length != last - first + 1:
        raise InvalidRange(raw_range, length)
    return 0, length


class _PartReceiver(SeesEachByte):
    """
    Writes the body of a source object to a part.
    """

    def __init__(self, response: BackendResponse, writer: PartWriter, ended: Deferred[None]) -> None:
        self._response = response
        self._writer = writer
        self._ended: Deferred[None] | None = ended

    def bodyReceived(self, pieces: Sequence[Buffer]) -> None:
        if self._ended is None or self._ended.called:
            # The copy was given up: the file may be closed.
            return
        try:
            self._writer.writeSequence(pieces)
        except S3Error as error:
            self._end(Failure(error))
            self._response.abort()

    def bodyEnded(self, failure: Failure | None) -> None:
        self._end(failure)

    def _end(self, failure: Failure | None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None and not ended.called:
            ended.callback(None) if failure is None else ended.errback(failure)


def _write_to(response: BackendResponse, writer: PartWriter, wanted: tuple[int, int]) -> Deferred[None]:
    ended: Deferred[None] = Deferred()
    receiver = _PartReceiver(response, writer, ended)
    is_whole = wanted == (0, response.body_length)
    response.deliver(receiver if is_whole else CutBody(receiver, wanted, response.abort))
    return ended
