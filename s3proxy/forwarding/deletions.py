"""
Carry out one DeleteObjects request as many: each object of the document is deleted by a separate request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredList, FirstError, succeed
from twisted.python.failure import Failure

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.relay import DocumentReader
from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.mending.deletions import (
    NOT_ANSWERED,
    Deletion,
    Deletions,
    Outcome,
    answers_all,
    judge_answer,
    result_document,
)
from s3proxy.resign.answer import MAX_JUDGED_SIZE
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import ResponseHead, index_headers

MAX_AT_ONCE = 8
"""
Maximum number of running requests for one document. A thousand objects need 125 round trips, and no client takes more
of the backend's connections.
"""

_NOBODY_THERE = frozenset({BackendFault.UNREACHABLE, BackendFault.SILENT, BackendFault.OPEN, BackendFault.BUSY})
"""
Faults after which no further object is tried: each attempt could take as long as the one that failed.
"""


class _AnswerToAllError(Exception):
    """
    One response is the response to the whole request. The other responses are not awaited.
    """


class DeletingEach:
    """
    The deletion of all objects of one document.

    Args:
        make_request: Returns the request for one object; raises an S3Error if that is refused.
        send: `BackendAgent.send`.
        codes: `error_codes` of the profile.
        writes_own_errors: `writes_own_errors` of the profile.
        failed: Called with the error of the first request that got no response, if other requests got one.
        held: Called with the change in the number of response bytes in memory; negative when bytes have left.
    """

    def __init__(
        self,
        deletions: Deletions,
        make_request: Callable[[Deletion], BackendRequest],
        send: Callable[[BackendRequest], Deferred[BackendResponse]],
        codes: Mapping[bytes, tuple[bytes, bytes]],
        failed: Callable[[BackendError, BackendFault], None],
        held: Callable[[int], None] | None = None,
        *,
        writes_own_errors: bool = False,
    ) -> None:
        self._held = held
        self._writes_own_errors = writes_own_errors
        self._deletions = deletions
        self._make_request = make_request
        self._send = send
        self._codes = codes
        self._failed = failed
        self._outcomes = [NOT_ANSWERED] * len(deletions.wanted)
        self._left: Iterator[tuple[int, Deletion]] = iter(enumerate(deletions.wanted))
        self._is_answered = False
        self._answer_to_all: BackendResponse | None = None
        self._error: BackendError | None = None

    def start(self) -> Deferred[BackendResponse]:
        """
        Begin to delete the objects.

        Returns:
            Fires with the response to the whole; fails with `BackendError` if no request got a response. If it is
            cancelled, running requests are given up and no others begin.
        """
        return Deferred.fromCoroutine(self._run())

    async def _run(self) -> BackendResponse:
        count = min(MAX_AT_ONCE, len(self._outcomes))
        working = [Deferred.fromCoroutine(self._work()) for _ in range(count)]
        try:
            await DeferredList(working, fireOnOneErrback=True, consumeErrors=True)
        except FirstError as first:
            if self._answer_to_all is None:
                first.subFailure.raiseException()
            return self._answer_to_all
        finally:
            self._begin_no_more()
            for deferred in working:
                deferred.cancel()
        if self._error is not None:
            if not self._is_answered:
                raise self._error
            self._failed(self._error, self._error.fault)
        headers = [(b"Content-Type", b"application/xml")]
        head = ResponseHead(b"HTTP/1.1", 200, b"OK", headers, index_headers(headers))
        return own_response(head, result_document(self._deletions, self._outcomes))

    async def _work(self) -> None:
        """
        Delete one object after another, until none is left.
        """
        for position, deletion in iter(lambda: next(self._left, None), None):
            self._outcomes[position] = await self._delete(deletion)

    def _begin_no_more(self) -> None:
        self._left = iter(())

    async def _delete(self, deletion: Deletion) -> Outcome:
        try:
            request = self._make_request(deletion)
        except S3Error as error:
            return Outcome.of_error(error)
        try:
            response = await self._send(request)
        except BackendError as error:
            self._error = self._error or error
            if error.fault in _NOBODY_THERE:
                self._begin_no_more()
            return NOT_ANSWERED
        self._is_answered = True
        document = await read_answer(response, self._held)
        if answers_all(response.head, document):
            self._begin_no_more()
            self._answer_to_all = own_response(response.head, document)
            raise _AnswerToAllError
        return judge_answer(response.head, document, self._codes, writes_own_errors=self._writes_own_errors)


def read_answer(response: BackendResponse, held: Callable[[int], None] | None = None) -> Deferred[bytes]:
    """
    Return the document of a response; empty if it is cut, or too large for an error document.
    """
    if response.is_complete:
        return succeed(response.take_content())
    document: Deferred[bytes] = Deferred(lambda ignored: response.abort())

    def complete(failure: Failure | None) -> None:
        if not reader.is_whole:
            response.abort()
        content = reader.document
        if held is not None:
            held(-len(content))
        if document.called:
            # The response was given up. Its connection ends one reactor turn later.
            return
        document.callback(content if reader.is_whole else b"")

    reader = DocumentReader(MAX_JUDGED_SIZE, complete, held)
    response.deliver(reader)
    return document


def own_response(head: ResponseHead, document: bytes) -> BackendResponse:
    """
    Return a response that s3proxy makes itself, in the form of a backend's response.
    """
    response = BackendResponse(None, replace(head, content_length=len(document), is_chunked=False), len(document), None)
    response.received((document,))
    response.ended(None)
    return response
