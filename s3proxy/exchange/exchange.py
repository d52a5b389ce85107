"""
One request from its head to its end: each event is looked up in the state table, and its actions are performed.

::

    Exchange ── Judgement ── Judge            the client, the operation, the backend, the permission: `Admitted`
        │    └─ FormReading                   the fields of a form, with its signature
        ├── Transfer ── Receiving             the client's body
        │           ├── Asking                the backend's requests
        │           └── Answering             the client's response
        │               └── ResponseEditing     its document
        └── Record                            the access log, the counters, the log
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, ClassVar, Protocol

from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.forms import FormReading, FormRequest
from s3proxy.exchange.judgement import Judgement, Waiting
from s3proxy.exchange.judging import Judge, JudgedRequest
from s3proxy.exchange.machine import TABLE, Action, Event, State
from s3proxy.exchange.record import Record, RecordedRequest
from s3proxy.exchange.transfer import ACTIONS as TRANSFER_ACTIONS
from s3proxy.exchange.transfer import Transfer, TransferredRequest
from s3proxy.resign.response import origin_headers
from s3proxy.s3.classification import is_head_bucket
from s3proxy.s3.errors import InternalError, S3Error
from s3proxy.s3.head import HeaderList

_CAUSES = {Event.CLIENT_GONE: "client_left", Event.BACKEND_FAILED: "backend_failed"}
_REFUSABLE = frozenset(
    {
        State.LOOKING_UP,
        State.READING_FORM,
        State.JUDGING_FORM,
        State.HOLDING,
        State.SENDING,
        State.MEASURING,
    }
)


class ExchangedRequest(TransferredRequest, FormRequest, RecordedRequest, JudgedRequest, Protocol):
    """
    The client's request: a `s3proxy.frontend.request.StreamedRequest`.
    """

    def on_gone(self, gone: Callable[[], None]) -> None: ...

    def respond(self, status: int, reason: bytes, headers: HeaderList, content: bytes = b"") -> None: ...

    def stop_body(self) -> None: ...

    def finish_response(self) -> None: ...

    def abort(self) -> None: ...


class Exchange:
    """
    One request and its response.

    Args:
        ended: Called when the exchange has released everything.

    Attributes:
        state: What the exchange waits for.
    """

    def __init__(self, context: ProxyContext, request: ExchangedRequest, ended: Callable[[Exchange], None]) -> None:
        self._context = context
        self._request = request
        self._ended = ended
        self.state = State.LOOKING_UP
        self._error: S3Error | None = None
        self._record = Record(context, request)
        self._judge = Judge(context, request, self._record)
        self._judgement: Judgement | None = None
        self._form: FormReading | None = None
        self._transfer: Transfer | None = None

    # What happens

    def begin(self) -> None:
        """
        Judge the head and start the exchange.
        """
        self._request.on_gone(partial(self.receive, Event.CLIENT_GONE))
        try:
            self._begin_judging(self._judge.judge())
        except Exception as error:
            self.failed(error)

    def abort(self) -> None:
        """
        Reset both sides. Called when the deadline of a drain has passed.
        """
        self._record.cause = "drain"
        self._request.abort()
        self.receive(Event.CLIENT_GONE)

    @property
    def held_size(self) -> int:
        """
        Bytes that arrived from one side and were not yet sent to the other.
        """
        return self._request.writer.waiting_size if self._transfer is None else self._transfer.held_size

    def receive(self, event: Event, error: S3Error | None = None) -> None:
        """
        Handle an event: change the state and perform the actions that the table names.

        Args:
            error: The error for the client, with an event that leads to RESPOND.
        """
        record = self._record
        if event in _CAUSES and record.cause is None and not record.is_over:
            record.cause = _CAUSES[event]
        state, actions = _STEPS[self.state, event]
        if error is not None and self._error is None and actions:
            self._error = error
        self.state = state
        record.is_over = state is State.ENDED
        for is_own, perform in actions:
            if self.state is not state:
                # The previous action failed at once, and the client already has its response.
                break
            try:
                if is_own:
                    perform(self)
                elif self._transfer is not None:
                    perform(self._transfer)
            except Exception as failed:
                self._fail(record.error_of(failed))

    def guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Call a function, and turn any exception into the client's error response.
        """
        try:
            step(*arguments)
        except Exception as error:
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """
        Turn an exception into the client's error response.
        """
        self._fail(self._record.error_of(error))

    def _fail(self, error: S3Error) -> None:
        if self.state in _REFUSABLE:
            self.receive(Event.REFUSED, error)
        elif self.state is State.ENDED:
            self._request.abort()
        else:
            self.receive(Event.BACKEND_FAILED, error)

    # Judging

    def _begin_judging(self, judging: Coroutine[Waiting, Any, Admitted | None]) -> None:
        """
        Run the judgement; to its end if it does not have to wait.
        """
        try:
            waiting = judging.send(None)
        except StopIteration as end:
            admitted = end.value
        else:
            self._judgement = Judgement(judging, self._context, self._record.request_id, self, self._judged)
            self._judgement.wait(waiting)
            return
        self._judged(admitted)

    def _judged(self, admitted: Admitted | None) -> None:
        if admitted is None:
            self.receive(Event.FORM_BEGAN)
            return
        self._transfer = Transfer(self._context, self._request, admitted, self._form, self._record, self)
        self._transfer.begin()

    def _read_fields(self) -> None:
        address = self._record.address
        assert address is not None
        self._form = FormReading(self._context, self._request, address, self._record, self)
        self._form.begin()

    def _judge_form(self) -> None:
        assert self._form is not None
        self._begin_judging(self._judge.judge_form(self._form))

    def _stop_body(self) -> None:
        if self._transfer is not None:
            self._transfer.stop_body()
        elif self._form is not None:
            self._form.stop()
        self._request.stop_body()

    # The end

    def _respond(self) -> None:
        record, request = self._record, self._request
        error = self._error or InternalError()
        record.status = error.status
        document = record.write_error(error)
        headers = record.own_headers()
        if error.retry_after is not None:
            headers.append((b"Retry-After", b"%d" % error.retry_after))
        response = record.response or record.measure
        if response is not None:
            # A page of another origin cannot read our error unless the backend's CORS headers allow it.
            headers += origin_headers(response)
        address = record.address
        if address is not None and (error.names_region or is_head_bucket(request.head, address)):
            headers.append((b"x-amz-bucket-region", self._context.settings.realm.regions[0]))
        record.sent_size = 0 if request.head.method == b"HEAD" else len(document)
        request.respond(error.status, error.code.encode(), headers, document)

    def _finish(self) -> None:
        self._request.finish_response()

    def _cut_client(self) -> None:
        self._request.abort()

    def _release(self) -> None:
        if self._judgement is not None:
            self._judgement.give_up()
        if self._transfer is not None:
            self._transfer.release()
        # The end of the last exchange ends a draining process, and with it the log and the counters.
        self._record.finish()
        self._ended(self)
        # These objects refer back to this one. Without the reference cycle, a request's memory is freed when it ends,
        # not by the garbage collector.
        self._judgement = self._form = self._transfer = None

    ACTIONS: ClassVar[dict[Action, Callable[[Exchange], None]]] = {
        Action.READ_FIELDS: _read_fields,
        Action.JUDGE_FORM: _judge_form,
        Action.STOP_BODY: _stop_body,
        Action.RESPOND: _respond,
        Action.FINISH: _finish,
        Action.CUT_CLIENT: _cut_client,
        Action.RELEASE: _release,
    }


def _performed(action: Action) -> tuple[bool, Callable[[Any], None]]:
    own = Exchange.ACTIONS.get(action)
    return (False, TRANSFER_ACTIONS[action]) if own is None else (True, own)


_STEPS = {key: (state, tuple(map(_performed, actions))) for key, (state, actions) in TABLE.items()}
"""
The table with a method in place of each action: whether it is a method of the exchange or of its transfer, and itself.
"""
