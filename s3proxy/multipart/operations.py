"""
The operations of multipart uploads, which s3proxy carries out for a storage system that has none: one client request at
a time.

The upload of a request is determined once: its place, its id, the number of a part. A short operation calls the store
and returns a response. An operation that may take long has its own class, `PartCopy` or `Completion`, and a response
that waits for it. The backend gets one PUT, of the whole object, when the client completes the upload.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from s3proxy.backend.response import BackendResponse
from s3proxy.multipart.completion import Completion
from s3proxy.multipart.context import MultipartContext
from s3proxy.multipart.copying import PartCopy
from s3proxy.multipart.documents import (
    CHECKSUM_PREFIX,
    UploadsQuery,
    initiated_document,
    parse_count,
    parse_part_number,
    parts_document,
    uploads_document,
)
from s3proxy.multipart.files import PartWriter
from s3proxy.multipart.incoming import IncomingPart
from s3proxy.multipart.own_requests import OwnRequests
from s3proxy.multipart.records import Place
from s3proxy.multipart.responses import respond, respond_with
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.multipart.waiting import WaitingResponse
from s3proxy.s3.errors import AccessDenied, MissingContentLength
from s3proxy.s3.head import HeaderList
from s3proxy.s3.limits import MAX_LISTED
from s3proxy.s3.operation import LIST_MULTIPART_UPLOADS, LIST_PARTS, UPLOAD_PART, UPLOAD_PART_COPY
from s3proxy.s3.query import query_items


class MultipartRequest:
    """
    One request about a multipart upload.

    Args:
        uploads: The multipart uploads of the process.

    Raises:
        AccessDenied: The request is anonymous: S3 does not let anonymous clients begin an upload.
        InvalidArgument: A parameter is not valid.
    """

    def __init__(self, uploads: MultipartUploads, context: MultipartContext) -> None:
        self._uploads = uploads
        self._store = uploads.store
        self._context = context
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
        number = 0
        if context.operation in {UPLOAD_PART, UPLOAD_PART_COPY}:
            number = parse_part_number(self._parameters[b"partNumber"])
        self._requests = OwnRequests(context)
        self._part = IncomingPart(uploads, self._upload_id, self._place, number, self._owner)
        self._completion = Completion(uploads, context, self._requests, self._upload_id, self._place)

    @property
    def object_size(self) -> int | None:
        """
        Bytes of the part or the object; None until they are known.
        """
        return self._part.size if self._part.size is not None else self._completion.object_size

    @property
    def is_list(self) -> bool:
        """
        Whether the response is a list. It may be large.
        """
        return self._context.operation in {LIST_MULTIPART_UPLOADS, LIST_PARTS}

    # A part's body

    @property
    def sink(self) -> PartWriter | None:
        """
        The writer for the body of a part; None if the request has no such body.
        """
        return self._part.writer

    def prepare(self, length: int | None) -> Deferred[PartWriter] | None:
        """
        Reserve space for a part, before its client may send it.

        Args:
            length: The declared length of the decoded body in bytes.

        Returns:
            None if there is nothing to wait for.

        Raises:
            MissingContentLength: A part has no length.
        """
        if self._context.operation is not UPLOAD_PART:
            return None
        if length is None:
            raise MissingContentLength
        return self._part.reserve(length)

    def discard(self) -> None:
        """
        Give back the space of a part that was not stored; it may be called twice.
        """
        self._completion.stop()
        self._part.discard()

    # The response

    def respond(self, content: bytes, verified: HeaderList, location: bytes) -> Deferred[BackendResponse]:
        """
        Carry the request out, in the backend's place.

        Args:
            content: The verified document; empty if there is none.
            verified: The verified checksums of a part's body.
            location: The object's URL, for its client.

        Returns:
            Fires with the response of s3proxy, or with the backend's if that refuses the object; fails with the S3Error
            for the client, or with a BackendError.
        """
        name = self._context.operation.name
        if name == "CompleteMultipartUpload":
            return self._respond_slowly(partial(self._completion.complete, content, location))
        if name == "UploadPartCopy":
            return self._respond_slowly(PartCopy(self._context, self._requests, self._part).copy)
        steps: dict[str, Callable[[], Any]] = {
            "CreateMultipartUpload": self._create,
            "UploadPart": partial(self._keep_part, verified),
            "AbortMultipartUpload": self._abort,
            "ListParts": self._list_parts,
            "ListMultipartUploads": self._list_uploads,
        }
        return Deferred.fromCoroutine(steps[name]())

    async def _create(self) -> BackendResponse:
        requests, address = self._requests, self._context.address
        # Raises the error that the request of the whole object would raise.
        requests.make_upload(requests.headers_of_object(), 0)
        await requests.check_bucket()
        upload_id = await self._uploads.run(
            self._store.begin, self._place, self._owner, requests.headers_of_object(), undo=self._forget
        )
        return self._document(initiated_document(address.bucket, address.key, upload_id))

    def _forget(self, upload_id: str) -> None:
        self._store.abort(upload_id, self._place)

    async def _keep_part(self, verified: HeaderList) -> BackendResponse:
        checksums = {name.removeprefix(CHECKSUM_PREFIX).decode(): value.decode() for name, value in verified}
        part = await self._part.commit(checksums)
        headers: HeaderList = [(b"ETag", b'"%b"' % part.etag.encode())]
        return respond(200, headers, b"", self._context.head.method)

    async def _abort(self) -> BackendResponse:
        await self._uploads.run(self._store.abort, self._upload_id, self._place)
        return respond(204, [], b"", self._context.head.method)

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
            await self._requests.check_bucket()
        return self._document(uploads_document(self._context.address.bucket, query, page))

    def _document(self, document: bytes) -> BackendResponse:
        return respond_with(document, self._context.head.method)

    # Long operations

    def _respond_slowly(
        self, step: Callable[[Callable[[], None]], Coroutine[Any, Any, BackendResponse]]
    ) -> Deferred[BackendResponse]:
        """
        Start an operation that may take long.

        Args:
            step: The operation. Its argument is a function to call when no error with a status of its own is expected
                any more.
        """
        context = self._context
        response = WaitingResponse(
            self._uploads.reactor,
            context.write_error,
            context.write_failure,
            context.backend.account.profile,
        )
        response.wait_for(Deferred.fromCoroutine(step(response.begin_to_wait)))
        return response.answered
