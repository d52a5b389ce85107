"""
Carry out one DeleteObjects request as many: each object of the document is deleted by a separate request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import replace

from twisted.internet.defer import Deferred, DeferredList, DeferredLock, FirstError, succeed
from twisted.python.failure import Failure

from s3proxy.backend.faults import BackendFault
from s3proxy.backend.relay import DocumentReader
from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.mending.deletions import (
    GONE,
    NOT_ANSWERED,
    Deletion,
    Deletions,
    Outcome,
    is_response_to_all,
    judge_response,
    result_document,
)
from s3proxy.mending.versions import KeyVersions
from s3proxy.resign.response import MAX_EDITED_SIZE, MAX_JUDGED_SIZE
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


class _ResponseToAllError(Exception):
    """
    One response is the response to the whole request. The other responses are not awaited.
    """


class _TooEarlyError(Exception):
    """
    The latest version of a key is deleted after the others: without it none of those could be read.
    """


class _AskedKey:
    """
    A key whose versions are deleted.

    Attributes:
        versions: The versions that the backend has of the key.
        deleted: The ids of the versions that the document deletes, without those that could not be deleted.
        lock: Held while the versions are requested.
    """

    __slots__ = ("deleted", "lock", "versions")

    def __init__(self, key: str) -> None:
        self.versions = KeyVersions(key.encode())
        self.deleted: set[bytes] = set()
        self.lock = DeferredLock()


class DeletingEach:
    """
    The deletion of all objects of one document.

    Args:
        make_request: Returns the request that deletes one object, or raises the S3Error that the document gets for it.
        send: Sends a request, as `BackendAgent.send` does.
        codes: The profile's `error_codes`.
        failed: Called with the first fault, if some requests got a response and others did not.
        held: Called with the change in the number of bytes of responses in memory; it is negative when bytes are
            released.
        writes_own_errors: The profile's attribute of that name.
        list_versions: Returns the request for the versions of a key, which must be known before one of them is deleted;
            None if the backend deletes a version correctly.
        permit: Asks whether an object may be deleted; raises the S3Error that the document gets for it if not. None if
            nobody must be asked.
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
        list_versions: Callable[[KeyVersions], BackendRequest] | None = None,
        permit: Callable[[Deletion], Awaitable[None]] | None = None,
    ) -> None:
        self._held = held
        self._permit = permit
        self._list_versions = list_versions
        self._asked: dict[str, _AskedKey] = {}
        if list_versions is not None:
            for deletion in deletions.wanted:
                asked = self._asked.setdefault(deletion.key, _AskedKey(deletion.key))
                asked.deleted.add(deletion.version_id.encode())
        self._writes_own_errors = writes_own_errors
        self._deletions = deletions
        self._make_request = make_request
        self._send = send
        self._codes = codes
        self._failed = failed
        self._outcomes = [NOT_ANSWERED] * len(deletions.wanted)
        self._left: Iterator[tuple[int, Deletion]] = enumerate(deletions.wanted)
        self._last: list[tuple[int, Deletion]] = []
        self._is_last = False
        self._is_answered = False
        self._response_to_all: BackendResponse | None = None
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
        try:
            await self._delete_all()
            self._left, self._is_last = iter(self._last), True
            await self._delete_all()
        except FirstError as first:
            if self._response_to_all is None:
                first.subFailure.raiseException()
            return self._response_to_all
        if self._error is not None:
            if not self._is_answered:
                raise self._error
            self._failed(self._error, self._error.fault)
        headers = [(b"Content-Type", b"application/xml")]
        head = ResponseHead(b"HTTP/1.1", 200, b"OK", headers, index_headers(headers))
        return own_response(head, result_document(self._deletions, self._outcomes))

    async def _delete_all(self) -> None:
        """
        Delete all objects that are left, a few at a time.
        """
        count = min(MAX_AT_ONCE, len(self._outcomes))
        working = [Deferred.fromCoroutine(self._work()) for _ in range(count)]
        try:
            await DeferredList(working, fireOnOneErrback=True, consumeErrors=True)
        finally:
            self._left = iter(())
            for deferred in working:
                deferred.cancel()

    async def _work(self) -> None:
        """
        Delete one object after another, until none is left.
        """
        for position, deletion in iter(lambda: next(self._left, None), None):
            try:
                outcome = await self._delete(deletion)
            except _TooEarlyError:
                self._last.append((position, deletion))
                continue
            self._outcomes[position] = outcome
            if outcome.code and deletion.key in self._asked:
                self._asked[deletion.key].deleted.discard(deletion.version_id.encode())

    def _begin_no_more(self) -> None:
        self._left = iter(())
        self._last = []

    async def _delete(self, deletion: Deletion) -> Outcome:
        try:
            request = self._make_request(deletion)
            if self._permit is not None:
                await self._permit(deletion)
            if self._list_versions is not None and deletion.version_id:
                await self._check(deletion, self._list_versions)
            response = await self._send(request)
        except S3Error as error:
            return Outcome.of_error(error)
        except BackendError as error:
            self._error = self._error or error
            if error.fault in _NOBODY_THERE:
                self._begin_no_more()
            return NOT_ANSWERED
        self._is_answered = True
        document = await read_response(response, self._held)
        if is_response_to_all(response.head, document):
            self._begin_no_more()
            self._response_to_all = own_response(response.head, document)
            raise _ResponseToAllError
        return judge_response(response.head, document, self._codes, writes_own_errors=self._writes_own_errors)

    async def _check(self, deletion: Deletion, list_versions: Callable[[KeyVersions], BackendRequest]) -> None:
        """
        Judge the deletion of a version by the versions that the backend has of its key.

        Raises:
            S3Error: The deletion must not be sent.
            BackendError: The backend did not respond.
            _TooEarlyError: The deletion must not be sent yet.
        """
        asked, version_id = self._asked[deletion.key], deletion.version_id.encode()
        # No version of the key is deleted before all are known: the next page begins behind one that must be there.
        await asked.lock.acquire()
        try:
            while asked.versions.has_more:
                response = await self._send(list_versions(asked.versions))
                document = await read_response(response, self._held, MAX_EDITED_SIZE)
                asked.versions.read(response.head, document)
        finally:
            asked.lock.release()
        if not self._is_last and asked.deleted != {version_id} and asked.versions.is_latest(version_id):
            raise _TooEarlyError
        asked.versions.check_deletion(version_id, asked.deleted)


def read_response(
    response: BackendResponse, held: Callable[[int], None] | None = None, max_size: int = MAX_JUDGED_SIZE
) -> Deferred[bytes]:
    """
    Return the document of a response; no bytes if it is cut or too large.

    Args:
        held: As for `DeletingEach`.
        max_size: Maximum size of the document in bytes; by default that of an error document.
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

    reader = DocumentReader(max_size, complete, held)
    response.deliver(reader)
    return document


def read_whole(
    response: BackendResponse, max_size: int, held: Callable[[int], None] | None
) -> Deferred[BackendResponse]:
    """
    Return a response whose whole document has arrived, as `read_response` returns it.
    """
    head = response.head
    return read_response(response, held, max_size).addCallback(lambda document: own_response(head, document))


def absent_as_deleted(
    response: BackendResponse, codes: Mapping[bytes, tuple[bytes, bytes]]
) -> BackendResponse | Deferred[BackendResponse]:
    """
    Return the response to the deletion of a version as S3 sends it: 204, also if the version did not exist.

    Args:
        codes: The profile's `error_codes`.
    """
    head = response.head
    if head.status != 404:
        return response

    def judged(document: bytes) -> BackendResponse:
        if judge_response(head, document, codes) != GONE:
            return own_response(head, document)
        return own_response(ResponseHead(b"HTTP/1.1", 204, b"No Content", [], index_headers([])), b"")

    return read_response(response).addCallback(judged)


def own_response(head: ResponseHead, document: bytes) -> BackendResponse:
    """
    Return a response that s3proxy makes itself, in the form of a backend's response.
    """
    response = BackendResponse(None, replace(head, content_length=len(document), is_chunked=False), len(document), None)
    response.received((document,))
    response.ended(None)
    return response
