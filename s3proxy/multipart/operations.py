"""
The operations of multipart uploads, carried out here for a storage that has none: one request of a client at a time.

The storage gets one PUT, of the whole object, when its client completes the upload.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from s3proxy.authentication.verdict import Authenticated
from s3proxy.awschunked.checksums import ALGORITHMS, decode_digest
from s3proxy.backend.backend import Backend
from s3proxy.backend.faults import BackendFault
from s3proxy.backend.relay import CutBody
from s3proxy.backend.request import BackendError
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.forwarding.deletions import own_response, read_answer
from s3proxy.forwarding.onward import Onward
from s3proxy.frontend.forwarded import Origin
from s3proxy.mending.deletions import Outcome
from s3proxy.mending.keys import check_keys
from s3proxy.mending.results import check_head, is_fault
from s3proxy.multipart.documents import (
    CompletedPart,
    UploadsQuery,
    check_object_size,
    completed_document,
    initiated_document,
    joined_digest,
    joined_etag,
    parse_copy_range,
    parse_count,
    parse_part_number,
    part_copied_document,
    parts_document,
    read_completion,
    uploads_document,
)
from s3proxy.multipart.files import JoinedParts, PartsReader, PartWriter
from s3proxy.multipart.records import Claim, ClaimOutcome, Place, Reservation
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.multipart.waiting import WaitingAnswer
from s3proxy.profiles.allowed import SOURCE_CONDITIONS, check_taken
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.resign.answer import AnswerUse
from s3proxy.resign.headers import passed_headers
from s3proxy.s3.address import Address, object_target, written_address
from s3proxy.s3.classification import check_request, classify
from s3proxy.s3.copy_source import copy_source_bucket, copy_source_key
from s3proxy.s3.errors import (
    AccessDenied,
    BadDigest,
    EntityTooLarge,
    InternalError,
    InvalidRange,
    InvalidRequest,
    MissingContentLength,
    NoSuchBucket,
    NotImplementedByProxy,
    OperationAborted,
    PreconditionFailed,
    S3Error,
)
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead, index_headers
from s3proxy.s3.limits import MAX_LISTED
from s3proxy.s3.operation import GET_OBJECT, HEAD_BUCKET, PUT_OBJECT, UPLOAD_PART, UPLOAD_PART_COPY, BodyUse, Operation
from s3proxy.s3.payload import UNSIGNED
from s3proxy.s3.query import query_items
from s3proxy.transport.writer import Buffer, SeesEachByte

CLAIM_TIMES = 20
CLAIM_PAUSE = 0.5
"""
How often an upload is looked at that another request is completing, and seconds in between. A client repeats a request
whose answer it did not get, while the first one is still being given up.
"""

_CHECKSUM_PREFIX = b"x-amz-checksum-"
_OF_OBJECT = frozenset(
    {
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-language",
        b"content-type",
        b"expires",
        b"x-amz-acl",
        b"x-amz-storage-class",
        b"x-amz-tagging",
        b"x-amz-website-redirect-location",
    }
)
_PREFIXES_OF_OBJECT = (b"x-amz-grant-", b"x-amz-meta-", b"x-amz-object-lock-", b"x-amz-server-side-encryption")
"""
Headers of CreateMultipartUpload that are the object's. S3 ignores any other ``x-amz-`` there. One of them,
``x-amz-copy-source``, would make a copy of the storage's PUT: of an object that nobody has authorized.

Source:
    "CreateMultipartUpload", Request Syntax.
"""

_UNREADABLE = frozenset({BackendFault.LOST, BackendFault.UNANSWERED})


@dataclass(frozen=True, slots=True)
class MultipartContext:
    """
    What the proxy knows of one request.

    Attributes:
        head: Authorized.
        regions: Those that clients may name.
        origin: Who the client is.
        object_size: Bytes of one object of the storage, at most.
        wall_clock: The time of our own signatures.
        write_error: Writes the document of an error whose status can no longer be sent.
        write_failure: Does the same for whatever has gone wrong.
    """

    head: RequestHead
    address: Address
    operation: Operation
    authenticated: Authenticated
    backend: Backend
    regions: Container[bytes]
    origin: Origin
    object_size: int
    wall_clock: Callable[[], datetime]
    write_error: Callable[[Outcome], bytes]
    write_failure: Callable[[Failure], bytes]


class MultipartRequest:
    """
    One request about a multipart upload.

    Args:
        uploads: Of the process.

    Attributes:
        object_size: Bytes of the part or the object, once that is known; else None.

    Raises:
        AccessDenied: Nobody signed it: S3 lets nobody begin an upload who is anonymous.
        InvalidArgument: A parameter cannot be used.
    """

    def __init__(self, uploads: MultipartUploads, context: MultipartContext) -> None:
        self._uploads = uploads
        self._store = uploads.store
        self._context = context
        self.object_size: int | None = None
        self._reservation: Reservation | None = None
        self._writer: PartWriter | None = None
        self._reader: PartsReader | None = None
        authenticated = context.authenticated
        if authenticated.access_key_id is None:
            raise AccessDenied("Anonymous users cannot initiate multipart uploads. Please authenticate.")
        self._owner = authenticated.access_key_id.decode("latin-1")
        key = context.backend.account.key if authenticated.is_signed_onward else None
        self._place = Place(
            context.backend.name,
            key.access_key_id if key is not None else "",
            context.address.bucket,
            context.address.key,
        )
        self._parameters = dict(query_items(context.head.raw_query or b""))
        self._upload_id = self._parameters.get(b"uploadId", b"").decode("latin-1")
        self._number = 0
        if context.operation in {UPLOAD_PART, UPLOAD_PART_COPY}:
            self._number = parse_part_number(self._parameters[b"partNumber"])

    # A part's body

    @property
    def sink(self) -> PartWriter | None:
        """
        Where the body of a part goes; None if the request has no such body.
        """
        return self._writer

    def prepare(self, length: int | None) -> Deferred[None] | None:
        """
        Take room for a part, before its client may send it.

        Args:
            length: Bytes, as declared and decoded.

        Returns:
            None if nothing is to be waited for.

        Raises:
            MissingContentLength: A part has no length.
        """
        if self._context.operation is not UPLOAD_PART:
            return None
        if length is None:
            raise MissingContentLength
        self.object_size = length
        return self._reserve(length)

    def _reserve(self, length: int) -> Deferred[None]:
        store = self._store
        reserving: Deferred[Any] = self._uploads.run(
            store.reserve, self._upload_id, self._place, length, self._owner, undo=store.release
        )
        return reserving.addCallback(self._reserved)

    def _reserved(self, reservation: Reservation) -> None:
        self._reservation = reservation
        self._writer = PartWriter(reservation)

    def discard(self) -> None:
        """
        Give back the room of a part that was not kept; it may come twice.
        """
        reservation, self._reservation = self._reservation, None
        if self._reader is not None:
            self._reader.stop()
        if reservation is not None:
            self._uploads.run_alone(self._store.release, reservation)

    # The answer

    def answer(self, content: bytes, verified: HeaderList, location: bytes) -> Deferred[BackendResponse]:
        """
        Carry the request out, in the backend's place.

        Args:
            content: The document, verified; empty if there is none.
            verified: Checksums that hold of a part's body.
            location: The object's URL, for its client.

        Returns:
            Fires with our own response, or with the backend's if that refuses the object; fails with the S3Error that
            the client is to read, or with a BackendError.
        """
        name = self._context.operation.name
        if name == "CompleteMultipartUpload":
            return self._answer_slowly(partial(self._complete, content, location))
        if name == "UploadPartCopy":
            return self._answer_slowly(self._copy_part)
        steps: dict[str, Callable[[], Any]] = {
            "CreateMultipartUpload": self._create,
            "UploadPart": partial(self._keep_part, verified),
            "AbortMultipartUpload": self._abort,
            "ListParts": self._list_parts,
            "ListMultipartUploads": self._list_uploads,
        }
        return Deferred.fromCoroutine(steps[name]())

    async def _create(self) -> BackendResponse:
        head, context = self._context.head, self._context
        # As a request of the whole object would be refused.
        self._make_upload(self._headers_of_object(head), 0)
        await self._check_bucket()
        upload_id = await self._uploads.run(
            self._store.begin, self._place, self._owner, self._headers_of_object(head), undo=self._forget
        )
        return self._document(initiated_document(context.address.bucket, context.address.key, upload_id))

    def _forget(self, upload_id: str) -> None:
        self._store.abort(upload_id, self._place)

    async def _check_bucket(self) -> None:
        """
        Ask whether the bucket is there, before anything is kept for it. The storage itself decides who may write to it.
        """
        address = self._context.address
        bucket = Address(address.bucket, b"", address.raw_bucket, b"")
        onward = self._onward(b"HEAD", b"/" + address.raw_bucket, [], bucket, HEAD_BUCKET)
        try:
            response = await self._send(onward.measuring(self._context.wall_clock()))
        except BackendError as error:
            if error.fault in _UNREADABLE:
                # Walrus may send a document where none may be, after a HEAD that it refuses: it says nothing of the
                # bucket, and the storage will say at the end.
                return
            raise
        await read_answer(response)
        if response.head.status == 404:
            raise NoSuchBucket(address.bucket)

    async def _keep_part(self, verified: HeaderList) -> BackendResponse:
        assert self._writer is not None
        checksums = {name.removeprefix(_CHECKSUM_PREFIX).decode(): value.decode() for name, value in verified}
        part = await self._commit(self._writer, checksums)
        headers: HeaderList = [(b"ETag", b'"%b"' % part.etag.encode())]
        return _respond(200, headers, b"", self._context.head.method)

    async def _commit(self, writer: PartWriter, checksums: dict[str, str]) -> Any:
        # From here on the reservation is the thread's: it ends with a part, or is given back there.
        reservation, self._reservation = self._reservation, None
        assert reservation is not None
        assert writer.size == reservation.size
        return await self._uploads.run(
            self._store.commit, reservation, self._place, self._number, writer.md5, checksums
        )

    async def _abort(self) -> BackendResponse:
        await self._uploads.run(self._store.abort, self._upload_id, self._place)
        return _respond(204, [], b"", self._context.head.method)

    async def _list_parts(self) -> BackendResponse:
        marker = parse_count(self._parameters, b"part-number-marker", 0)
        most = min(MAX_LISTED, parse_count(self._parameters, b"max-parts", MAX_LISTED))
        upload, parts, is_truncated = await self._uploads.run(
            self._store.parts, self._upload_id, self._place, marker, most
        )
        address = self._context.address
        return self._document(
            parts_document(address.bucket, address.key, upload, parts, marker, most, is_truncated=is_truncated)
        )

    async def _list_uploads(self) -> BackendResponse:
        query = UploadsQuery.parse(self._parameters)
        page = await self._uploads.run(self._store.uploads, self._place, query)
        if not page.uploads:
            await self._check_bucket()
        return self._document(uploads_document(self._context.address.bucket, query, page))

    def _document(self, document: bytes) -> BackendResponse:
        return _respond(200, [(b"Content-Type", b"application/xml")], document, self._context.head.method)

    # The copy of a part

    async def _copy_part(self, begin_to_wait: Callable[[], None]) -> BackendResponse:
        head, context = self._context.head, self._context
        source = head.fields.value(b"x-amz-copy-source") or b""
        raw_range = head.fields.value(b"x-amz-copy-source-range")
        wanted = parse_copy_range(raw_range) if raw_range is not None else None
        onward = self._onward_to_source(source, wanted)
        mending = None
        if not context.backend.account.profile.is_plain:
            mending = onward.mend()
            if mending.must_measure:
                measure = await self._send(onward.measuring(context.wall_clock()))
                await read_answer(measure)
                if measure.head.status == 200:
                    onward.measured(measure.head)
                    if mending.is_answered:
                        raise _source_refused(head)
        response = await self._send(onward.request(BodyUse.NONE, b"", [], context.wall_clock()))
        if response.head.status == 304:
            await read_answer(response)
            raise _source_refused(head)
        if response.head.status >= 300:
            return response
        try:
            if mending is not None:
                mending.answer_use(response.head, AnswerUse.RELAY)
            start, end = _wanted_bytes(response, wanted, raw_range or b"")
            if end - start > context.object_size:
                raise EntityTooLarge(end - start, context.object_size)
            # Paused until there is room: what is not claimed is not read.
            await self._reserve(end - start)
            assert self._writer is not None
            self.object_size = end - start
            begin_to_wait()
            await _write_to(response, self._writer, (start, end))
        except BaseException:
            response.abort()
            raise
        part = await self._commit(self._writer, {})
        return self._document(part_copied_document(part.etag, part.modified_at, part.checksums))

    def _onward_to_source(self, source: bytes, wanted: tuple[int, int] | None) -> Onward:
        bucket, key = copy_source_bucket(source), copy_source_key(source)
        if bucket is None:
            raise NotImplementedByProxy(None, Header="x-amz-copy-source")
        address = written_address(bucket, key)
        version = source.partition(b"?versionId=")[2]
        headers: HeaderList = [] if wanted is None else [(b"Range", b"bytes=%d-%d" % wanted)]
        fields = self._context.head.fields
        headers += [
            (SOURCE_CONDITIONS[name], fields.value(name) or b"") for name in SOURCE_CONDITIONS if name in fields
        ]
        return self._onward(b"GET", object_target(address, version), headers, address, GET_OBJECT)

    # What takes long

    def _answer_slowly(
        self, step: Callable[[Callable[[], None]], Coroutine[Any, Any, BackendResponse]]
    ) -> Deferred[BackendResponse]:
        """
        Carry out what may take long.

        Args:
            step: Gets what it is to call once nothing is left that a status of its own could tell.
        """
        context = self._context
        answer = WaitingAnswer(
            self._uploads.reactor,
            context.write_error,
            context.write_failure,
            context.backend.account.profile,
        )
        answer.wait_for(Deferred.fromCoroutine(step(answer.begin_to_wait)))
        return answer.answered

    # The end

    async def _complete(self, content: bytes, location: bytes, begin_to_wait: Callable[[], None]) -> BackendResponse:
        store, context = self._store, self._context
        wanted: tuple[CompletedPart, ...] = await self._uploads.run(read_completion, content)
        claim = await self._claim(wanted)
        address = context.address
        etag = claim.etag
        if claim.outcome is ClaimOutcome.CLAIMED:
            is_claimed = True
            try:
                begin_to_wait()
                refusal = await self._put(claim)
                if refusal is None:
                    etag = joined_etag([part.md5 for part in claim.parts])
                    is_claimed = False
                    # The object is there, whatever the disk makes of this.
                    await self._uploads.run(self._finish, wanted, etag)
                else:
                    is_claimed = False
                    await self._uploads.run(store.give_up, self._upload_id)
                    return refusal
            finally:
                if is_claimed:
                    self._uploads.run_alone(store.give_up, self._upload_id)
        return self._document(completed_document(location, address.bucket, address.key, etag))

    def _finish(self, wanted: tuple[CompletedPart, ...], etag: str) -> None:
        try:
            self._store.finish(self._upload_id, wanted, etag)
        except S3Error:
            self._store.give_up(self._upload_id)

    async def _claim(self, wanted: tuple[CompletedPart, ...]) -> Claim:
        """
        Have the upload for ourselves, once a request that completes it has ended.
        """
        store = self._store
        reactor: Any = self._uploads.reactor
        for turn in range(CLAIM_TIMES):
            if turn:
                await deferLater(reactor, CLAIM_PAUSE)
            claim: Claim = await self._uploads.run(
                store.claim, self._upload_id, self._place, wanted, self._context.object_size, undo=self._unclaim
            )
            if claim.outcome is not ClaimOutcome.BUSY:
                return claim
        raise OperationAborted

    def _unclaim(self, claim: Claim) -> None:
        if claim.outcome is ClaimOutcome.CLAIMED:
            self._store.give_up(self._upload_id)

    async def _put(self, claim: Claim) -> BackendResponse | None:
        """
        Send the object; return None if the storage has it, else its refusal.
        """
        fields = self._context.head.fields
        size = sum(part.size for part in claim.parts)
        check_object_size(fields.value(b"x-amz-mp-object-size"), size)
        self.object_size = size
        claimed = self._claimed_checksum(claim)
        if not size and claimed is not None and ALGORITHMS[claimed[0]].begin().digest() != claimed[1]:
            # Of an empty object nothing can be withheld: it is there with the head of its request.
            raise BadDigest("The checksum you specified did not match the calculated checksum.")
        joined = JoinedParts([(part, self._store.path_of(part)) for part in claim.parts], claimed)
        upload = self._make_upload(list(claim.headers), size)
        asked = self._context.backend.agent.send_upload(upload)
        is_sent: list[bool] = []

        def sent() -> None:
            is_sent.append(True)
            upload.finish()

        reader = self._reader = PartsReader(self._uploads.reactor, joined, upload, sent, upload.fail)
        try:
            reader.start()
            response = await asked
        except CancelledError:
            upload.fail(ConnectionAbortedError("the client has left"))
            raise
        except BackendError:
            if joined.is_other_than_claimed:
                raise BadDigest("The checksum you specified did not match the calculated checksum.") from None
            raise
        finally:
            reader.stop()
        if response.head.status >= 300 and response.head.status != 304:
            return response
        if not is_sent:
            response.abort()
            raise InternalError
        document = await read_answer(response)
        # It may have another object than we sent, or a fault of its own for which it answers 200: after this the parts
        # are gone.
        if response.head.status != 200 or not response.is_complete or is_fault(document):
            raise InternalError
        check_head(PUT_OBJECT, response.head, joined.etag.encode())
        return None

    def _claimed_checksum(self, claim: Claim) -> tuple[bytes, bytes] | None:
        """
        Find what the client claims of the whole object.

        Raises:
            BadDigest: It is of the parts' checksums, and they are others.
            InvalidRequest: It is no checksum.
        """
        fields = self._context.head.fields
        kind = (fields.value(b"x-amz-checksum-type") or b"").upper()
        for name, values in fields.items():
            algorithm = ALGORITHMS.get(name.removeprefix(_CHECKSUM_PREFIX))
            if algorithm is None or not name.startswith(_CHECKSUM_PREFIX):
                continue
            value, dash, count = values[0].partition(b"-")
            digest = decode_digest(value, algorithm.length)
            if digest is None:
                raise InvalidRequest(f"Value for {name.decode()} header is invalid.")
            is_joined = kind != b"FULL_OBJECT" and joined_digest(claim.parts, algorithm) == digest
            if is_joined and (not dash or count == b"%d" % len(claim.parts)):
                return None
            # minio-go names the kind in a header, and leaves out the number of parts.
            if dash or kind == b"COMPOSITE":
                raise BadDigest("The checksum you specified did not match the calculated checksum.")
            return algorithm.name, digest
        return None

    # Towards the backend

    def _headers_of_object(self, head: RequestHead) -> HeaderList:
        """
        Return the headers of CreateMultipartUpload that the request of the whole object is to carry.
        """
        context = self._context
        chosen = passed_headers(
            head,
            context.authenticated.signed_headers,
            passes_checksums=False,
            dropped_headers=context.backend.account.profile.dropped_headers,
        )
        return [(name, value) for name, value in chosen.passed if _is_of_object(name)]

    def _make_upload(self, headers: HeaderList, size: int) -> Upload:
        """
        Make the request of the whole object, which the backend would get from a client that can do without parts.

        Raises:
            S3Error: It would be refused.
        """
        context = self._context
        # Once more: those that were kept may be of an earlier version.
        kept = [(name, value) for name, value in headers if _is_of_object(name)]
        onward = self._onward(b"PUT", context.head.raw_path, kept, context.address, PUT_OBJECT, length=size)
        if not context.backend.account.profile.is_plain:
            onward.mend()
        onward.check_size(context.wall_clock())
        upload = onward.upload(size, None, [], None, context.wall_clock())
        upload.first_byte_time = context.backend.slow_first_byte_time
        return upload

    def _onward(
        self,
        method: bytes,
        target: bytes,
        headers: HeaderList,
        address: Address,
        operation: Operation,
        length: int | None = None,
    ) -> Onward:
        context = self._context
        if address.is_virtual_hosted != context.address.is_virtual_hosted:
            address = replace(address, is_virtual_hosted=False)
        sent: HeaderList = [(b"Host", context.head.host), *headers]
        sent += [header for header in context.head.headers if header[0].lower() in {b"user-agent", b"accept-language"}]
        fields = index_headers(sent)
        head = RequestHead(method, target, b"HTTP/1.1", sent, fields, length)
        authenticated = replace(
            context.authenticated, head=head, signed_headers=frozenset(fields), payload=UNSIGNED, chain=None
        )
        classification = classify(head, address)
        if classification.operation is not operation:
            # It would be checked as one operation and carried out as another.
            raise InternalError
        backend = context.backend
        check_request(head, address, operation)
        check_private_surface(backend.account.profile, head, address, backend.allowed, operation.name)
        check_taken(backend.allowed, head, classification)
        if backend.account.profile.refused_keys is not None:
            check_keys(backend.account.profile, head, address, operation)
        onward = Onward(head, address, classification, authenticated, backend, context.regions)
        if backend.forwarded != "none":
            onward.tell_origin(context.origin)
        return onward

    def _send(self, request: Any) -> Deferred[BackendResponse]:
        return self._context.backend.agent.send(request)


def _is_of_object(name: bytes) -> bool:
    name = name.lower()
    return name in _OF_OBJECT or name.startswith(_PREFIXES_OF_OBJECT)


def _source_refused(head: RequestHead) -> S3Error:
    """
    Return what a client is told whose source is not as its conditions want it.
    """
    names = [name.decode() for name in SOURCE_CONDITIONS if name in head.fields]
    # A storage that answers so to a request without conditions has failed.
    return PreconditionFailed(names[0]) if names else InternalError()


def _wanted_bytes(response: BackendResponse, wanted: tuple[int, int] | None, raw_range: bytes) -> tuple[int, int]:
    """
    Return the first byte of a source's body that becomes the part, and the one after the last.

    Args:
        wanted: The first and the last byte of the object that the client wants; None for all of it.

    Raises:
        InternalError: It is a success that is none, or a piece of an object of which all was asked for.
        InvalidRange: The object ends before the last byte.
        NotImplementedByProxy: The storage does not say how long it is.
    """
    status, length = response.head.status, response.body_length
    if status not in {200, 206} or (status == 206 and wanted is None):
        raise InternalError
    if length is None:
        raise NotImplementedByProxy(None, Header="x-amz-copy-source")
    if wanted is None:
        return 0, length
    first, last = wanted
    if status == 200:
        # Of a version Walrus is asked for all, and another storage may ignore the range.
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
            # Given up: the file may be closed.
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


def _respond(status: int, headers: HeaderList, document: bytes, method: bytes) -> BackendResponse:
    reason = b"No Content" if status == 204 else b"OK"
    head = ResponseHead(b"HTTP/1.1", status, reason, headers, index_headers(headers))
    if method != b"HEAD":
        return own_response(head, document)
    response = BackendResponse(None, replace(head, content_length=len(document)), 0, None)
    response.ended(None)
    return response
