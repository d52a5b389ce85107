"""
Receive a client's body: to the backend as it arrives, into memory, to the disk, or as a part of a multipart upload.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure

from s3proxy.backend.upload import Upload
from s3proxy.body.guard import BodyDecoder, BodySink, GuardedBody, HeldBody
from s3proxy.body.spool import BodyOnDisk, SpooledBody
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.forms import FormReading
from s3proxy.exchange.machine import Event, EventReceiver
from s3proxy.exchange.record import Record
from s3proxy.s3.errors import S3Error
from s3proxy.s3.head import HeaderList, RequestHead
from s3proxy.s3.operation import BodyUse


class ReceivedRequest(Protocol):
    """
    The request that delivers the body: a `s3proxy.frontend.request.StreamedRequest`.

    Attributes:
        meter: Called with the number of body bytes that arrived.
    """

    head: RequestHead
    meter: Callable[[int], None] | None

    def take_body(self) -> bytes | None: ...

    def deliverBody(self, consumer: IConsumer) -> Deferred[None]: ...

    def hold_for_budget(self) -> None: ...

    def release_for_budget(self) -> None: ...

    def hold_for_memory(self) -> None: ...

    def release_for_memory(self) -> None: ...


class Receiving:
    """
    The body of one admitted request.

    Args:
        form: The form whose file is the body; None if the request is not a form.
        exchange: Receives the error if the body is refused.

    Attributes:
        checksums: The verified checksums of the whole body, as headers; empty before that.
    """

    __slots__ = (
        "_admitted",
        "_body",
        "_context",
        "_exchange",
        "_form",
        "_held",
        "_record",
        "_request",
        "checksums",
    )

    def __init__(
        self,
        context: ProxyContext,
        request: ReceivedRequest,
        admitted: Admitted,
        form: FormReading | None,
        record: Record,
        exchange: EventReceiver,
    ) -> None:
        self._context = context
        self._request = request
        self._admitted = admitted
        self._form = form
        self._record = record
        self._exchange = exchange
        self._body: GuardedBody | None = None
        self._held: HeldBody | SpooledBody | None = None
        self.checksums: HeaderList = []
        if admitted.ticket is not None and admitted.ticket.is_paced:
            pace = admitted.ticket.pace(request.hold_for_budget, request.release_for_budget)
            if pace is not None:
                request.meter = pace.count

    def begin(self, decoder: BodyDecoder, upload: Upload | None, complete: Callable[[Event], None]) -> None:
        """
        Let the client send its body, after 100 Continue if it waits for that.

        Args:
            decoder: Verifies the body.
            upload: The upload that takes the body; None if the body is verified whole first.
            complete: Called with the next event, once the whole body is verified.
        """
        body = self._body = GuardedBody(
            decoder,
            self._make_sink(upload),
            partial(self._verified, complete),
            partial(self._exchange.receive, Event.REFUSED),
        )
        if self._form is not None:
            self._form.give_file_to(body)
        elif (content := self._request.take_body()) is not None:
            body.write(content)
            body.wireEnded()
        elif self._request.head.has_body:
            self._request.deliverBody(body).addCallbacks(lambda ignored: body.wireEnded(), self._cut)
        else:
            body.wireEnded()

    def _make_sink(self, upload: Upload | None) -> BodySink:
        if upload is not None:
            return upload
        multipart = self._admitted.multipart
        if multipart is not None and multipart.sink is not None:
            return multipart.sink
        held = self._hold_memory() if self._request.head.has_body else None
        self._held = sink = self._admitted.plan.make_held(self._context.spool, held)
        return sink

    def _hold_memory(self) -> Callable[[int], None] | None:
        """
        Return the function that counts the body's bytes in memory; None if no budget bounds them.
        """
        memory = self._admitted.hold_memory(self._context.budgets)
        if memory is None:
            return None
        memory.bind(self._request.hold_for_memory, self._request.release_for_memory, self._no_memory)
        if self._form is not None:
            memory.add(self._form.intake.fields_size)
        return memory.add

    def _no_memory(self) -> None:
        self._exchange.receive(Event.REFUSED, self._record.error_of_budget())

    def _cut(self, failure: Failure) -> None:
        self._exchange.receive(Event.REFUSED, self._record.error_of_body(failure))

    def _verified(self, complete: Callable[[Event], None], checksums: HeaderList) -> None:
        admitted = self._admitted
        self.checksums = checksums
        self._record.verified_at = self._context.clock()
        if admitted.mending is not None and admitted.plan.digests is not None:
            admitted.mending.md5 = admitted.plan.digests.md5
        if admitted.memory is not None:
            admitted.memory.settle()
        error = self._refused_document() if admitted.plan.use is BodyUse.DOCUMENT else None
        if error is not None:
            self._exchange.receive(Event.REFUSED, error)
        else:
            is_on_disk = isinstance(self._held, SpooledBody) and self._held.on_disk is not None
            complete(Event.VERIFIED_ON_DISK if is_on_disk else Event.VERIFIED)

    def _refused_document(self) -> S3Error | None:
        if isinstance(self._held, HeldBody):
            try:
                self._admitted.onward.read_document(self._held.content)
            except S3Error as error:
                return error
        return None

    @property
    def on_disk(self) -> BodyOnDisk | None:
        """
        The body, if it was too large for memory.
        """
        return self._held.on_disk if isinstance(self._held, SpooledBody) else None

    def take_content(self) -> bytes:
        """
        Return the body that was held in memory, and forget it. Returns no bytes if the operation does not use a body.
        """
        held = self._held
        content = b"" if held is None or self._admitted.plan.use is BodyUse.NONE else held.content
        self._drop_held()
        return content

    @property
    def held_size(self) -> int:
        """
        Bytes that arrived and were not yet passed on.
        """
        size = self._held.memory_size if self._held is not None else 0
        return size if self._body is None else size + self._body.withheld_size

    def stop(self) -> None:
        """
        Stop receiving the body.
        """
        if self._form is not None:
            self._form.stop()
        if self._body is not None:
            self._body.stop()

    def release(self) -> None:
        """
        Release everything.
        """
        if self._held is not None:
            self._drop_held()
        # These objects refer back to this one. Without the reference cycle, a request's memory is freed when it ends,
        # not by the garbage collector.
        self._body = self._form = None

    def _drop_held(self) -> None:
        held, self._held = self._held, None
        if isinstance(held, SpooledBody):
            held.discard()
