"""
A form while its fields are read. Its signature is not verified yet, so all such forms share the memory budget of one
key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure

from s3proxy.body.form import FileConsumer
from s3proxy.body.intake import FormIntake
from s3proxy.body.plan import BodyPlan
from s3proxy.exchange.budget import HeldMemory, Ticket
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.machine import Event, EventReceiver
from s3proxy.exchange.record import Record
from s3proxy.s3.address import Address
from s3proxy.s3.head import RequestHead
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE
from s3proxy.transport.deadline import Deadline


class FormRequest(Protocol):
    """
    The request that carries the form: a `s3proxy.frontend.request.StreamedRequest`.

    Attributes:
        meter: Called with the number of body bytes that arrived.
    """

    head: RequestHead
    meter: Callable[[int], None] | None

    def start_head_deadline(self) -> Deadline: ...

    def deliverBody(self, consumer: IConsumer) -> Deferred[None]: ...

    def hold_for_memory(self) -> None: ...

    def release_for_memory(self) -> None: ...


class FormReading:
    """
    One form, up to the beginning of its file.

    Args:
        address: The address of the request that carries the form.
        exchange: Receives an event when the fields are complete, or an error if they never are.
    """

    __slots__ = (
        "_context",
        "_exchange",
        "_memory",
        "_record",
        "_request",
        "_ticket",
        "_waiting",
        "address",
        "intake",
    )

    def __init__(
        self, context: ProxyContext, request: FormRequest, address: Address, record: Record, exchange: EventReceiver
    ) -> None:
        self._context = context
        self._request = request
        self._record = record
        self._exchange = exchange
        self._ticket: Ticket | None = None
        self._waiting: Deferred[None] | None = None
        self._memory: HeldMemory | None = None
        self.address = address
        self.intake = FormIntake(
            request.head,
            address,
            context.settings.body_limits,
            partial(exchange.receive, Event.FIELDS_READ),
            partial(exchange.receive, Event.REFUSED),
        )

    def begin(self) -> None:
        """
        Read the fields as soon as the memory budget has room for them.
        """
        self._ticket = ticket = self._context.budgets.admit_form(MAX_POST_FIELDS_SIZE)
        if ticket is not None and ticket.waiting is not None:
            self._waiting = ticket.waiting
            ticket.waiting.addCallbacks(self._admitted, self._not_admitted)
        else:
            self._admitted()

    def _admitted(self, ignored: None = None) -> None:
        self._waiting = None
        self._memory = memory = self._context.budgets.hold_form()
        if memory is not None:
            memory.bind(self._request.hold_for_memory, self._request.release_for_memory, self._no_memory)
            self._request.meter = memory.add
        self._exchange.guarded(self._read)

    def _not_admitted(self, failure: Failure) -> None:
        if self._waiting is not None:
            self._no_memory()

    def _no_memory(self) -> None:
        self._exchange.receive(Event.REFUSED, self._record.error_of_budget())

    def _read(self) -> None:
        request, reader = self._request, self.intake.reader
        if request.head.has_body:
            reader.bound_by(request.start_head_deadline())
            request.deliverBody(reader).addCallbacks(lambda ignored: reader.wireEnded(), self._cut)
        else:
            reader.wireEnded()

    def _cut(self, failure: Failure) -> None:
        self._exchange.receive(Event.REFUSED, self._record.error_of_body(failure))

    def plan(self, upload: RequestHead, *, computes_md5: bool) -> BodyPlan:
        """
        Return the plan for the file, now that the fields are verified; give their memory back for other forms.
        """
        plan = self.intake.plan(upload, computes_md5=computes_md5)
        self._request.meter = None
        self._give_back()
        return plan

    def give_file_to(self, file: FileConsumer) -> None:
        """
        Let the client send its file.
        """
        self.intake.give_file_to(file)

    def stop(self) -> None:
        """
        Stop reading the form. May be called twice.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
        self.intake.reader.stop()
        self._give_back()

    def _give_back(self) -> None:
        if self._ticket is not None:
            self._ticket.release()
        memory, self._memory = self._memory, None
        if memory is not None:
            # This also ends a wait for room for these fields.
            memory.release()
