"""
Ask a backend: what must be known first, then what the client asked for, and what the answer makes necessary.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.backend.upload import Upload
from s3proxy.body.spool import BodyOnDisk, SpoolReader
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.machine import Event, EventReceiver
from s3proxy.exchange.record import Record
from s3proxy.forwarding.besides import ask_versions, ask_why, delete_one
from s3proxy.forwarding.deletions import DeletingEach, absent_as_deleted, read_whole
from s3proxy.multipart.operations import MultipartRequest
from s3proxy.resign.answer import MAX_EDITED_SIZE
from s3proxy.s3.errors import InternalError
from s3proxy.s3.head import HeaderList
from s3proxy.s3.operation import BodyUse
from s3proxy.transport.writer import ReadSize

Told = Callable[[BackendResponse], None]
"""
Called with a final answer, guarded.
"""


class Asking:
    """
    What one admitted request asks of its backend.

    Args:
        answered: Told of the answer to what the client asked for.
        exchange: Told what else happens.

    Attributes:
        upload: The object on its way, until it is given up; None where the body was held, or there is none.
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
        self._asked: Deferred[BackendResponse] | None = None
        self._spool_reader: SpoolReader | None = None
        self.upload: Upload | None = None

    # An object that is sent as it comes, or from the disk

    def open_upload(self, length: int, checksums: HeaderList, transport: Any) -> None:
        """
        Ask the backend to take an object.

        Args:
            length: Bytes, decoded.
            checksums: Those which hold of all of it; none while it has yet to come.
            transport: Whose reads bring it.
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
        Say that the object is complete.

        Args:
            checksums: Those which hold of it.
        """
        if self.upload is not None:
            self.upload.finish(checksums)

    def send_from_disk(self, held: BodyOnDisk) -> None:
        """
        Give a verified body to the upload, at the backend's pace.
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
        Read no more from the disk.
        """
        if self._spool_reader is not None:
            self._spool_reader.stop()

    # A request whose body was held, or that has none

    def send(self, content: bytes, checksums: HeaderList) -> None:
        """
        Ask for what the client asked for.

        Args:
            content: Verified.
            checksums: Those which hold of it.
        """
        admitted = self._admitted
        if admitted.plan.use is BodyUse.OBJECT:
            self._record.object_size = len(content)
        request = admitted.onward.request(admitted.plan.use, content, checksums, self._context.wall_clock())
        asked = admitted.backend.agent.send(request)
        if admitted.onward.deletes_version:
            asked.addCallback(absent_as_deleted, admitted.backend.account.profile.error_codes)
        self._ask(asked, self._answered)

    def carry_out(self, multipart: MultipartRequest, content: bytes, checksums: HeaderList, location: bytes) -> None:
        """
        Have a request about an upload carried out in the backend's place.
        """
        self._ask(multipart.answer(content, checksums, location), self._answered)

    def delete_each(self) -> None:
        """
        Delete each object of the client's document by a request of its own.
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
        )
        self._ask(deleting.start(), self._answered)

    # What must be known first

    def measure(self, told: Told) -> None:
        """
        Ask what decides about the request: by HEAD, or by GET for a document, which comes whole with its answer.
        """
        admitted = self._admitted
        asked = admitted.backend.agent.send(admitted.measuring(self._context.wall_clock()))
        if admitted.measures_document:
            memory = admitted.hold_memory(self._context.budgets)
            asked.addCallback(read_whole, MAX_EDITED_SIZE, memory.count if memory is not None else None)
        self._ask(asked, told)

    # What an answer makes necessary

    def ask_why(self, told: Told) -> None:
        """
        Ask by GET for the document which an answer to HEAD has not.
        """
        self._send(ask_why(self._admitted.onward, self._context.wall_clock()), told)

    def ask_on(self, told: Told) -> None:
        """
        Ask for the next page of a listing.
        """
        onward = self._admitted.onward
        self._send(onward.asking(b"GET", onward.passed, self._context.wall_clock()), told)

    def _send(self, request: BackendRequest, told: Told) -> None:
        self._ask(self._admitted.backend.agent.send(request), told)

    def _ask(self, asked: Deferred[BackendResponse], told: Told) -> None:
        self._record.is_asked = True
        self._asked = asked
        asked.addCallbacks(partial(self._exchange.guarded, self._told, told), self._not_answered)

    def _told(self, told: Told, response: BackendResponse) -> None:
        self._asked = None
        told(response)

    def _not_answered(self, failure: Failure) -> None:
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
        Reset the backend's connection, so that it cannot hold a complete request.
        """
        upload, self.upload = self.upload, None
        if upload is not None:
            upload.fail(ConnectionAbortedError("the body was not verified"))
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()

    def release(self) -> None:
        """
        Let go of everything.
        """
        if self.upload is not None and self.upload.read_size is not None:
            self.upload.read_size.reset()
        self._spool_reader = None
