"""
CompleteMultipartUpload: the parts become one object of the backend, by one PUT.

The upload is claimed first: no other request completes, aborts or changes it until it is finished or given up. Then its
parts are read from the disk, one after the other, as fast as the backend takes them. The parts are removed only if the
backend has exactly that object. Then the result is remembered for a client that repeats its request. In any other case
the claim is given up, and the parts stay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from s3proxy.awschunked.checksums import ALGORITHMS, decode_digest
from s3proxy.backend.request import BackendError
from s3proxy.backend.response import BackendResponse
from s3proxy.forwarding.deletions import read_response
from s3proxy.mending.results import check_head, is_fault
from s3proxy.multipart.context import MultipartContext
from s3proxy.multipart.documents import (
    CHECKSUM_PREFIX,
    CompletedPart,
    check_object_size,
    completed_document,
    joined_digest,
    joined_etag,
    read_completion,
)
from s3proxy.multipart.files import JoinedParts, PartsReader
from s3proxy.multipart.own_requests import OwnRequests
from s3proxy.multipart.records import Claim, ClaimOutcome, Place
from s3proxy.multipart.responses import respond_with
from s3proxy.multipart.uploads import MultipartUploads
from s3proxy.s3.errors import BadDigest, InternalError, InvalidRequest, OperationAborted, S3Error
from s3proxy.s3.operation import PUT_OBJECT

CLAIM_TIMES = 20
CLAIM_PAUSE = 0.5
"""
How often s3proxy checks an upload that another request is completing, and seconds between two checks. A client repeats
a request whose response it did not get, while the first request is still being given up.
"""


class Completion:
    """
    The completion of one upload.

    Args:
        uploads: The multipart uploads of the process.
        requests: Makes the PUT of the whole object.
        upload_id: The upload id, as the client sent it.

    Attributes:
        object_size: Bytes of the object; None until they are known.
    """

    def __init__(
        self,
        uploads: MultipartUploads,
        context: MultipartContext,
        requests: OwnRequests,
        upload_id: str,
        place: Place,
    ) -> None:
        self._uploads = uploads
        self._store = uploads.store
        self._context = context
        self._requests = requests
        self._upload_id = upload_id
        self._place = place
        self._reader: PartsReader | None = None
        self.object_size: int | None = None

    def stop(self) -> None:
        """
        Stop reading the parts: the client has left. It may be called twice.
        """
        if self._reader is not None:
            self._reader.stop()

    async def complete(self, content: bytes, location: bytes, begin_to_wait: Callable[[], None]) -> BackendResponse:
        """
        Complete the upload.

        Args:
            content: The client's document, verified.
            location: The object's URL, for its client.
            begin_to_wait: Called when no error with a status of its own is expected any more.

        Returns:
            The response of s3proxy, or the backend's if that refuses the object.
        """
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
                    # The object exists, even if this fails on the disk.
                    await self._uploads.run(self._finish, wanted, etag)
                else:
                    is_claimed = False
                    await self._uploads.run(store.give_up, self._upload_id)
                    return refusal
            finally:
                if is_claimed:
                    self._uploads.run_alone(store.give_up, self._upload_id)
        return respond_with(completed_document(location, address.bucket, address.key, etag), context.head.method)

    def _finish(self, wanted: tuple[CompletedPart, ...], etag: str) -> None:
        try:
            self._store.finish(self._upload_id, wanted, etag)
        except S3Error:
            self._store.give_up(self._upload_id)

    async def _claim(self, wanted: tuple[CompletedPart, ...]) -> Claim:
        """
        Claim the upload, after another request that completes it has ended.
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
        Send the object; return None if the backend has it, otherwise the response that refuses it.
        """
        fields = self._context.head.fields
        size = sum(part.size for part in claim.parts)
        check_object_size(fields.value(b"x-amz-mp-object-size"), size)
        self.object_size = size
        claimed = self._claimed_checksum(claim)
        if not size and claimed is not None and ALGORITHMS[claimed[0]].begin().digest() != claimed[1]:
            # No byte of an empty object can be withheld: it exists as soon as the head of its request was sent.
            raise BadDigest("The checksum you specified did not match the calculated checksum.")
        joined = JoinedParts([(part, self._store.path_of(part)) for part in claim.parts], claimed)
        upload = self._requests.make_upload(list(claim.headers), size)
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
        document = await read_response(response)
        # The backend may have stored another object than was sent, or report an error with status 200. After this check
        # the parts are removed.
        if response.head.status != 200 or not response.is_complete or is_fault(document):
            raise InternalError
        check_head(PUT_OBJECT, response.head, joined.etag.encode())
        return None

    def _claimed_checksum(self, claim: Claim) -> tuple[bytes, bytes] | None:
        """
        Return the checksum that the client claims for the whole object; None if there is none, or if it is composite
        and correct.

        Raises:
            BadDigest: The claimed checksum is composite, and does not match the parts.
            InvalidRequest: The value is not a checksum.
        """
        fields = self._context.head.fields
        kind = (fields.value(b"x-amz-checksum-type") or b"").upper()
        for name, values in fields.items():
            algorithm = ALGORITHMS.get(name.removeprefix(CHECKSUM_PREFIX))
            if algorithm is None or not name.startswith(CHECKSUM_PREFIX):
                continue
            value, dash, count = values[0].partition(b"-")
            digest = decode_digest(value, algorithm.length)
            if digest is None:
                raise InvalidRequest(f"Value for {name.decode()} header is invalid.")
            is_joined = kind != b"FULL_OBJECT" and joined_digest(claim.parts, algorithm) == digest
            if is_joined and (not dash or count == b"%d" % len(claim.parts)):
                return None
            # minio-go names the type in a header, and leaves out the number of parts.
            if dash or kind == b"COMPOSITE":
                raise BadDigest("The checksum you specified did not match the calculated checksum.")
            return algorithm.name, digest
        return None
