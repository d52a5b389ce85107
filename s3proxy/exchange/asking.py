"""
Send requests to a backend: the HEAD that must come first, then the client's request, then those that its response makes
necessary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.backend.request import BackendError, BackendRequest, PendingRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.body.spool import BodyOnDisk, SpoolReader
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.budget import Spent
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.machine import Event, EventReceiver
from s3proxy.exchange.record import Record
from s3proxy.forwarding.besides import ask_versions, ask_why, delete_one
from s3proxy.forwarding.deletions import DeletingEach, absent_as_deleted, read_whole
from s3proxy.multipart.operations import MultipartRequest
from s3proxy.resign.response import MAX_EDITED_SIZE
from s3proxy.s3.errors import InternalError
from s3proxy.s3.head import HeaderList
from s3proxy.s3.operation import BodyUse
from s3proxy.transport.writer import ReadSize

Told = Callable[[BackendResponse], None]
"""
A callback that gets the final response. An exception in it ends the exchange.
"""


class Asking:
    """
    The requests that one admitted request makes to its backend.

    Args:
        answered: Called with the response to the client's own request.
        exchange: Receives an event for anything else that happens.

    Attributes:
        upload: The running upload, until it is given up; None if the body was held first, or there is no body.
    """

    __slots__ = (
        "_admitted",
        "_answered",
        "_asked",
        "_context",
        "_exchange",
        "_record",
        "_spool_reader",
        "upload",
    )

    def __init__(
        self, context: ProxyContext, admitted: Admitted, record: Record, answered: Told, exchange: EventReceiver
    ) -> None:
        self._context = context
        self._admitted = admitted
        self._record = record
        self._answered = answered
        self._exchange = exchange
        self._asked: PendingRequest | None = None
        self._spool_reader: SpoolReader | None = None
        self.upload: Upload | None = None

    # An object that is sent as it arrives, or from the disk

    def open_upload(self, length: int, checksums: HeaderList, transport: Any) -> None:
        """
        Begin to send an object to the backend.

        Args:
            length: Bytes of the object, decoded.
            checksums: The verified checksums of the object; none if its body has yet to arrive.
            transport: The transport whose reads bring the body.
        """
        admitted = self._admitted
        self._record.object_size = length
        read_size = ReadSize(transport, is_paced=admitted.is_paced)
        self.upload = admitted.onward.upload(
            length, admitted.plan.trailer_name, checksums, read_size, self._context.wall_clock()
        )
        self._ask(admitted.backend.agent.send_upload(self.upload), self._answered)

    def finish_upload(self, checksums: HeaderList) -> None:
        """
        Complete the upload: the object is verified.

        Args:
            checksums: The verified checksums of the body.
        """
        if self.upload is not None:
            self.upload.finish(checksums)

    def send_from_disk(self, held: BodyOnDisk) -> None:
        """
        Send a verified body from the disk, at the backend's pace.
        """
        assert self.upload is not None
        self._spool_reader = SpoolReader(
            held,
            self.upload,
            partial(self._exchange.receive, Event.VERIFIED),
            partial(self._exchange.receive, Event.REFUSED, InternalError()),
        )
        self._spool_reader.start()

    def stop_sending(self) -> None:
        """
        Stop reading from the disk.
        """
        if self._spool_reader is not None:
            self._spool_reader.stop()

    # A request whose body was held, or that has no body

    def send(self, content: bytes, checksums: HeaderList) -> None:
        """
        Send the client's request to the backend.

        Args:
            content: The verified body.
            checksums: The verified checksums of the body.
        """
        admitted = self._admitted
        if admitted.plan.use is BodyUse.OBJECT:
            self._record.object_size = len(content)
        # Most requests are sent within the second of their arrival. A key, a budget or a body can be waited for longer.
        is_prompt = self._context.clock() - self._record.began_at < 1.0
        now = self._record.received_at if is_prompt else self._context.wall_clock()
        request = admitted.onward.request(admitted.plan.use, content, checksums, now)
        agent = admitted.backend.agent
        if not admitted.onward.deletes_version:
            # The way of most requests, and the cheapest: no Deferred is between the response and this object.
            self._record.is_asked = True
            self._asked = agent.ask(request, self)
            return
        asked = agent.send(request)
        asked.addCallback(absent_as_deleted, admitted.backend.account.profile.error_codes)
        self._ask(asked, self._answered)

    def carry_out(self, multipart: MultipartRequest, content: bytes, checksums: HeaderList, location: bytes) -> None:
        """
        Carry out a request of a multipart upload in the backend's place.
        """
        respond = partial(multipart.respond, content, checksums, location)
        self._ask(Deferred.fromCoroutine(self._list(respond)) if multipart.is_list else respond(), self._answered)

    async def _list(self, respond: Callable[[], Deferred[BackendResponse]]) -> BackendResponse:
        """
        Make a list within the memory budgets. It is in memory until the client has taken it.
        """
        memory = self._admitted.hold_memory(self._context.budgets)
        if memory is None:
            return await respond()
        try:
            return await memory.make(respond, lambda response: response.body_length or 0)
        except Spent:
            raise self._record.error_of_budget() from None

    def delete_each(self) -> None:
        """
        Delete each object of the client's document by a separate request.
        """
        admitted, wall_clock = self._admitted, self._context.wall_clock
        profile, deletions = admitted.backend.account.profile, admitted.onward.deletions
        assert deletions is not None
        deleting = DeletingEach(
            deletions,
            lambda deletion: delete_one(admitted.onward, deletion, wall_clock()),
            admitted.backend.agent.send,
            profile.error_codes,
            self._record.warn_of,
            admitted.memory.count if admitted.memory is not None else None,
            writes_own_errors=profile.writes_own_errors,
            list_versions=(
                (lambda versions: ask_versions(admitted.onward, versions, wall_clock()))
                if profile.misplaces_latest
                else None
            ),
            permit=admitted.onward.permit_deletion,
        )
        self._ask(deleting.start(), self._answered)

    # What must come first

    def measure(self, told: Told) -> None:
        """
        Send the request of `Admitted.measuring`. If its response has a document, the callback gets it whole.
        """
        admitted = self._admitted
        asked = admitted.backend.agent.send(admitted.measuring(self._context.wall_clock()))
        if admitted.measures_document:
            memory = admitted.hold_memory(self._context.budgets)
            asked.addCallback(read_whole, MAX_EDITED_SIZE, memory.count if memory is not None else None)
        self._ask(asked, told)

    # What a response makes necessary

    def ask_why(self, told: Told) -> None:
        """
        Send a GET for the error document that a response to HEAD cannot have.
        """
        self._send(ask_why(self._admitted.onward, self._context.wall_clock()), told)

    def ask_on(self, told: Told) -> None:
        """
        Request the next page of a listing.
        """
        onward = self._admitted.onward
        self._send(onward.asking(b"GET", onward.passed, self._context.wall_clock()), told)

    def _send(self, request: BackendRequest, told: Told) -> None:
        self._ask(self._admitted.backend.agent.send(request), told)

    def _ask(self, asked: Deferred[BackendResponse], told: Told) -> None:
        self._record.is_asked = True
        self._asked = asked
        asked.addCallbacks(partial(self._exchange.guarded, self._told, told), self.not_answered)

    def _told(self, told: Told, response: BackendResponse) -> None:
        self._asked = None
        told(response)

    # The response: the `ResponseReceiver` of the client's own request

    def answered(self, response: BackendResponse) -> None:
        """
        Called with the response to the client's own request.
        """
        self._asked = None
        try:
            self._answered(response)
        except Exception as error:
            self._exchange.failed(error)

    def not_answered(self, failure: Failure) -> None:
        """
        Called if there will be no response.
        """
        self._asked = None
        if self._record.is_over:
            return
        if self._admitted.multipart is not None and not isinstance(failure.value, BackendError):
            self._exchange.receive(Event.REFUSED_HERE, self._record.error_of(failure.value, failure))
        else:
            self._exchange.receive(Event.BACKEND_FAILED, self._record.error_of_backend(failure))

    # The end

    def abort(self) -> None:
        """
        Reset the backend's connection, so that the backend never has a complete request.
        """
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.fail(ConnectionAbortedError("the body was not verified"))
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def release(self) -> None:
        """
        Reset the size of reads, and forget the body on disk.
        """
        if self.upload is not None and self.upload.read_size is not None:
            self.upload.read_size.reset()
        self._spool_reader = None
