"""
Carry out an admitted request: receive its body, send requests to its backend, send its response.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from s3proxy.backend.response import BackendResponse
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.answering import AnsweredRequest, Answering
from s3proxy.exchange.asking import Asking
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.forms import FormReading
from s3proxy.exchange.machine import Action, Event, EventReceiver
from s3proxy.exchange.receiving import ReceivedRequest, Receiving
from s3proxy.exchange.record import Record


class TransferredRequest(ReceivedRequest, AnsweredRequest, Protocol):
    """
    The client's request: a `s3proxy.frontend.request.StreamedRequest`.
    """

    @property
    def transport_to_read(self) -> Any:
        """
        The transport whose reads bring the body.
        """


class Transfer:
    """
    One request from its admission to its end. Each method performs one `s3proxy.exchange.machine.Action`.

    Args:
        form: The form that the request was made from; None if there was no form.
        exchange: Receives the events.
    """

    __slots__ = (
        "_admitted",
        "_answering",
        "_asking",
        "_context",
        "_exchange",
        "_receiving",
        "_record",
        "_request",
    )

    def __init__(
        self,
        context: ProxyContext,
        request: TransferredRequest,
        admitted: Admitted,
        form: FormReading | None,
        record: Record,
        exchange: EventReceiver,
    ) -> None:
        self._context = context
        self._request = request
        self._admitted = admitted
        self._record = record
        self._exchange = exchange
        self._receiving = receiving = Receiving(context, request, admitted, form, record, exchange)
        fields = form.intake.form if form is not None else None
        self._answering = answering = Answering(context, request, admitted, fields, receiving, record, exchange)
        self._asking = Asking(context, admitted, record, answering.answered, exchange)

    @property
    def held_size(self) -> int:
        """
        Bytes that arrived from one side and were not yet sent to the other.
        """
        upload = self._asking.upload
        held = self._request.writer.waiting_size + self._receiving.held_size
        return held if upload is None else held + upload.waiting_size

    # The client's body

    def begin(self) -> None:
        """
        Start the transfer as the plan says: without a body, with a body to hold, or with one to stream.
        """
        admitted = self._admitted
        plan = admitted.plan
        if plan.decoder is None:
            self._record.verified_at = self._context.clock()
            if admitted.mending is None and admitted.conditions is None:
                self._exchange.receive(Event.AUTHENTICATED_WITHOUT_BODY)
            else:
                self._complete(Event.AUTHENTICATED_WITHOUT_BODY)
        else:
            self._exchange.receive(Event.AUTHENTICATED_TO_STREAM if plan.streams else Event.AUTHENTICATED_TO_HOLD)

    def _complete(self, event: Event) -> None:
        """
        Report that the whole request is verified.

        Args:
            event: The event to report if no other request must be sent first, and no objects are deleted one by one.
        """
        admitted = self._admitted
        if admitted.must_measure:
            event = Event.MUST_MEASURE
        elif admitted.onward.deletions is not None:
            event = Event.MUST_DELETE_EACH
        self._exchange.receive(event)

    def receive_body(self) -> None:
        decoder = self._admitted.plan.decoder
        assert decoder is not None
        self._receiving.begin(decoder, self._asking.upload, self._complete)

    def stop_body(self) -> None:
        self._asking.stop_sending()
        self._receiving.stop()

    # Towards the backend

    def open_upload(self) -> None:
        on_disk = self._receiving.on_disk
        length = self._admitted.plan.length if on_disk is None else on_disk.size
        assert length is not None
        self._asking.open_upload(length, self._receiving.checksums, self._request.transport_to_read)

    def send_from_disk(self) -> None:
        on_disk = self._receiving.on_disk
        assert on_disk is not None
        self._asking.send_from_disk(on_disk)

    def finish_upload(self) -> None:
        self._asking.finish_upload(self._receiving.checksums)

    def send(self) -> None:
        receiving, asking, multipart = self._receiving, self._asking, self._admitted.multipart
        content = receiving.take_content() if self._admitted.plan.decoder is not None else b""
        if multipart is not None:
            asking.carry_out(multipart, content, receiving.checksums, self._answering.public_name().object_url)
        else:
            asking.send(content, receiving.checksums)

    def delete_each(self) -> None:
        self._receiving.take_content()
        self._asking.delete_each()

    def measure(self) -> None:
        self._asking.measure(self._measured)

    def _measured(self, response: BackendResponse) -> None:
        admitted, record = self._admitted, self._record
        record.measure = response.head
        # If the next call raises, a condition was not met. Nothing has failed.
        record.cause = "condition"
        document = response.take_content() if admitted.measures_document else b""
        admitted.know_measure(response.head, document, self._context.wall_clock())
        record.cause = None
        if admitted.mending is not None and admitted.mending.is_answered:
            self._answering.answered(response)
        else:
            self._complete(Event.MEASURED)

    def abort_backend(self) -> None:
        self._asking.abort()
        self._answering.abort()

    # The backend's response

    def read_response(self) -> None:
        self._answering.read()

    def ask_why(self) -> None:
        self._asking.ask_why(self._answering.explained)

    def ask_on(self) -> None:
        self._asking.ask_on(self._answering.continued)

    def relay(self) -> None:
        self._answering.relay()

    def relay_early(self) -> None:
        self._answering.relay_early()

    # The end

    def release(self) -> None:
        """
        Release everything.
        """
        admitted = self._admitted
        if admitted.plan.decoder is not None:
            self._asking.release()
            self._receiving.release()
        self._answering.release()
        if admitted.ticket is not None or admitted.multipart is not None:
            admitted.release()


ACTIONS: dict[Action, Callable[[Transfer], None]] = {
    Action.RECEIVE_BODY: Transfer.receive_body,
    Action.RECEIVE_FILE: Transfer.receive_body,
    Action.OPEN_UPLOAD: Transfer.open_upload,
    Action.SEND_FROM_DISK: Transfer.send_from_disk,
    Action.FINISH_UPLOAD: Transfer.finish_upload,
    Action.SEND: Transfer.send,
    Action.MEASURE: Transfer.measure,
    Action.DELETE_EACH: Transfer.delete_each,
    Action.ABORT_BACKEND: Transfer.abort_backend,
    Action.READ_RESPONSE: Transfer.read_response,
    Action.ASK_WHY: Transfer.ask_why,
    Action.ASK_ON: Transfer.ask_on,
    Action.RELAY: Transfer.relay,
    Action.RELAY_EARLY: Transfer.relay_early,
}
"""
The method for each action of an admitted request; `s3proxy.exchange.exchange` performs the others.
"""
