"""
Send a backend's response to the client: read, judged and mended if that is needed, otherwise relayed as it arrives.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure

from s3proxy.backend.relay import DocumentReader, LateDocument, ResponseRelay
from s3proxy.backend.response import BackendResponse
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.editing import BlamesUsError, ResponseEditing
from s3proxy.exchange.machine import Event, EventReceiver, State
from s3proxy.exchange.record import Record
from s3proxy.frontend.forwarded import Origin
from s3proxy.postobject.form import Form
from s3proxy.postobject.upload import form_fields, form_response
from s3proxy.resign.error_documents import ERROR_ROOTS
from s3proxy.resign.public_name import PublicName, add_region
from s3proxy.resign.response import (
    JUDGED_STATUSES,
    MAX_SIZES,
    ResponseUse,
    is_coded,
    not_modified_headers,
    read_content,
    read_headers,
    response_headers,
    response_use,
)
from s3proxy.s3.classification import is_head_bucket
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.errors import InternalError
from s3proxy.s3.head import Fields, HeaderList, RequestHead, ResponseHead
from s3proxy.s3.operation import BodyUse
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.writer import DirectWriter

EARLY_TIME = 1.0
"""
Seconds from a response's head until the head goes to the client, although the document has not arrived: the backend
still works, and the client must not take s3proxy for dead.
"""


_NO_RESPONSE = BackendResponse(None, ResponseHead(b"HTTP/1.1", 0, b"", [], Fields()), 0, None)
"""
Stands for the response before it has begun, and after the end.
"""


class AnsweredRequest(Protocol):
    """
    The client's request, which sends the response: a `s3proxy.frontend.request.StreamedRequest`.
    """

    head: RequestHead
    origin: Origin

    @property
    def writer(self) -> DirectWriter: ...

    def make_head(self, status: int, reason: bytes, headers: HeaderList) -> bytes: ...

    def write_response(self, status: int, reason: bytes, headers: HeaderList, content: bytes = b"") -> None: ...

    def respond_from(self, producer: IPushProducer) -> None: ...

    def when_response_sent(self, sent: Callable[[], None]) -> None: ...


class VerifiedBody(Protocol):
    """
    The body of the request: a `s3proxy.exchange.receiving.Receiving`, which describes this attribute.
    """

    checksums: HeaderList


class Answering:
    """
    The response to one admitted request.

    Args:
        form: The form that the request was made from; None if there was no form.
        body: The client's body.
        exchange: Receives an event for each step of the response.
    """

    __slots__ = (
        "_admitted",
        "_body",
        "_context",
        "_document",
        "_early_deadline",
        "_exchange",
        "_form",
        "_mending",
        "_reader",
        "_record",
        "_relay",
        "_request",
        "_response",
        "_unexplained",
        "_use",
    )

    def __init__(
        self,
        context: ProxyContext,
        request: AnsweredRequest,
        admitted: Admitted,
        form: Form | None,
        body: VerifiedBody,
        record: Record,
        exchange: EventReceiver,
    ) -> None:
        self._context = context
        self._request = request
        self._admitted = admitted
        self._form = form
        self._body = body
        self._record = record
        self._exchange = exchange
        self._mending = admitted.mending
        self._use = ResponseUse.RELAY
        self._response = _NO_RESPONSE
        self._unexplained: BackendResponse | None = None
        self._reader: DocumentReader | None = None
        self._document: bytes | None = None
        self._early_deadline: Deadline | None = None
        self._relay: ResponseRelay | None = None

    # What arrived

    def answered(self, response: BackendResponse) -> None:
        """
        Called with the response to the client's own request.
        """
        context, record, admitted = self._context, self._record, self._admitted
        self._response = response
        record.response = response.head
        record.answered_at = context.clock()
        use = response_use(admitted.onward.head, response.head, admitted.operation)
        if admitted.multipart is not None and response.request is None:
            # s3proxy made this response itself: nothing in it needs editing or mending.
            use, self._mending = ResponseUse.RELAY, None
            record.object_size = admitted.multipart.object_size
        if self._mending is not None:
            use = self._mending.response_use(response.head, use)
        if admitted.onward.edit_result is not None and response.head.status < 300:
            use = ResponseUse.CONVERT
        self._use = use
        if response.head.status < 400 and self._exchange.state is State.SENDING:
            context.counts.committed_early += 1
            context.log.error(
                "backend {backend} responded {status} before it had the whole body: {request_id}",
                backend=record.backend_name,
                status=response.head.status,
                request_id=record.request_id,
            )
            record.cause = "backend_committed_early"
            self._exchange.receive(Event.ANSWERED_BELOW_400, InternalError())
        elif use is ResponseUse.EXPLAIN:
            self._unexplained = response
            self._exchange.receive(Event.RESPONSE_UNEXPLAINED)
        elif use is not ResponseUse.RELAY:
            self._exchange.receive(Event.RESPONSE_NEEDS_READING)
        else:
            self._exchange.receive(Event.ANSWERED_BELOW_400 if response.head.status < 400 else Event.ANSWERED_FROM_400)

    def explained(self, response: BackendResponse) -> None:
        """
        Called with the response to GET: it has the document that a response to HEAD cannot have.
        """
        self._take(response)
        if response.head.status in JUDGED_STATUSES and response.head.content_length != 0:
            self._use = ResponseUse.JUDGE
            self._exchange.receive(Event.RESPONSE_NEEDS_READING)
        else:
            self._exchange.receive(Event.ANSWERED_FROM_400)

    def continued(self, response: BackendResponse) -> None:
        """
        Called with the next page of a listing.
        """
        self._take(response)
        if response.head.status != 200:
            # The first page was a success, so this response does not refuse the request.
            raise InternalError
        self._exchange.receive(Event.RESPONSE_NEEDS_READING)

    def _take(self, response: BackendResponse) -> None:
        self._response = response
        self._record.response = response.head

    # Its document

    def read(self) -> None:
        """
        Read the response's document, up to a maximum size.
        """
        response = self._response
        self._reader = reader = DocumentReader(
            MAX_SIZES[self._use], partial(self._exchange.guarded, self._read), self._hold_memory(response)
        )
        if self._may_begin_early(response.head):
            began = partial(self._exchange.receive, Event.RESPONSE_BEGAN)
            reader.began = began
            self._early_deadline = deadline = Deadline(self._context.budgets.reactor, began)
            deadline.set(EARLY_TIME)
        response.deliver(reader)

    def _hold_memory(self, response: BackendResponse) -> Callable[[int], None] | None:
        """
        Return the function that counts the document's bytes in memory; None if no budget bounds them.
        """
        memory = self._admitted.hold_memory(self._context.budgets)
        if memory is None:
            return None
        memory.bind(response.pauseProducing, response.resumeProducing, self._no_memory)
        return memory.add

    def _no_memory(self) -> None:
        self._exchange.receive(Event.BACKEND_FAILED, self._record.error_of_budget())

    def _may_begin_early(self, response: ResponseHead) -> bool:
        """
        Return True if a backend may send the head of this response long before its document.
        """
        # A document with a content coding cannot be read before it is complete.
        return (
            response.status == 200
            and self._admitted.operation.is_slow
            and self._use in {ResponseUse.EDIT, ResponseUse.WATCH}
            and not is_coded(response)
        )

    def _end_early_deadline(self) -> None:
        deadline, self._early_deadline = self._early_deadline, None
        if deadline is not None:
            deadline.cancel()

    def _read(self, failure: Failure | None) -> None:
        reader, memory = self._reader, self._admitted.memory
        if reader is None:
            # The response was given up before. The end of its connection is reported later.
            return
        self._end_early_deadline()
        if memory is not None:
            memory.settle()
        if failure is not None:
            self._exchange.receive(Event.BACKEND_FAILED, self._record.error_of_backend(failure))
            return
        content = reader.document
        document = read_content(content, self._response.head, self._use, is_whole=reader.is_whole)
        try:
            self._document = self._editing().edit(document, is_whole=reader.is_whole)
        except BlamesUsError:
            self._exchange.receive(Event.RESPONSE_BLAMES_US, InternalError())
            return
        if self._mending is not None and self._mending.following:
            self._admitted.onward.turn_page(self._mending.head)
            self._reader = self._document = None
            if memory is not None:
                memory.count(-len(content))
            self._exchange.receive(Event.RESPONSE_CONTINUES)
            return
        self._exchange.receive(Event.RESPONSE_ACQUITS_US)

    def _editing(self) -> ResponseEditing:
        return ResponseEditing(
            self._context, self._admitted, self._mending, self._record, self._response, self._use, self.public_name()
        )

    # To the client

    def relay(self) -> None:
        """
        Send the response to the client: a document that was read and edited at once, anything else as it arrives.
        """
        if self._unexplained is not None:
            # The response to GET was read only for its error code. The client gets the response to HEAD.
            self._response.abort()
            self._take(self._unexplained)
            self._reader = self._document = None
        response, record = self._response, self._record
        status, reason, headers = self._lines(response.head)
        record.status = status
        if self._form is not None and 200 <= response.head.status < 300:
            self._respond_to_form(self._form, headers)
            return
        document = self._document
        if document is not None:
            record.sent_size = len(document)
            self._request.write_response(status, reason, read_headers(headers), document)
            self._exchange.receive(Event.RESPONSE_ENDED)
            return
        cut = self._mending.cut(response.head) if self._mending is not None else None
        is_chunked, length = False, response.head.content_length
        if response.body_length is None:
            if self._request.head.version != b"HTTP/1.0":
                headers.append((b"Transfer-Encoding", b"chunked"))
                is_chunked = True
        elif cut is not None:
            headers.append((b"Content-Length", b"%d" % (cut[1] - cut[0])))
        elif length is not None and response.head.status != 204 and status in {response.head.status, 200, 206}:
            # In a response to HEAD, and in a backend's 304, Content-Length describes a body that is not sent.
            headers.append((b"Content-Length", b"%d" % length))
        head = self._request.make_head(status, reason, headers)
        ticket = self._admitted.ticket
        is_paced = ticket is not None and ticket.is_paced
        if self._reader is None and response.is_complete and not is_chunked and not is_paced:
            # The whole body arrived with its head: nothing is left to pace.
            content = response.take_content()
            if cut is not None:
                content = content[cut[0] : cut[1]]
            record.sent_size = len(content)
            self._request.writer.writeSequence((head, content))
            self._exchange.receive(Event.RESPONSE_ENDED)
            return
        self._begin_relay(head, is_chunked=is_chunked).start(self._reader, cut=cut)

    def relay_early(self) -> None:
        """
        Send the head and the white space to the client. The document follows once it was read.
        """
        reader = self._reader
        assert reader is not None
        self._end_early_deadline()
        self._record.status, reason, headers = self._lines(self._response.head)
        headers = read_headers(headers)
        # The length of the document is unknown until it was edited.
        is_chunked = self._request.head.version != b"HTTP/1.0"
        if is_chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        relay = self._begin_relay(self._request.make_head(self._record.status, reason, headers), is_chunked=is_chunked)
        judged = ERROR_ROOTS if self._use is ResponseUse.WATCH else None
        relay.start(reader, document=LateDocument(relay, self._editing().edit_late, judged, MAX_SIZES[self._use]))

    def _begin_relay(self, head: bytes, *, is_chunked: bool) -> ResponseRelay:
        self._relay = relay = ResponseRelay(
            self._response, self._request.writer, head, is_chunked=is_chunked, ended=self._relayed
        )
        self._request.respond_from(relay)
        if self._admitted.ticket is not None and self._admitted.ticket.is_paced:
            relay.pace = self._admitted.ticket.pace(relay.hold, relay.release)
        return relay

    def _relayed(self, failure: Failure | None) -> None:
        if failure is None:
            self._exchange.receive(Event.RESPONSE_ENDED)
            return
        response = self._response
        self._exchange.receive(Event.BACKEND_FAILED, self._record.error_of_backend(failure))
        # If s3proxy failed to read the response, the backend still sends it.
        response.abort()

    def _lines(self, response: ResponseHead) -> tuple[int, bytes, HeaderList]:
        """
        Return status, reason and headers of a response as its client may see them, without the framing headers.
        """
        status, reason, admitted = response.status, response.reason, self._admitted
        is_stored = status == 200 and admitted.plan.use is BodyUse.OBJECT
        headers = response_headers(
            response,
            self._record.request_id.encode(),
            self._context.settings.host_id.encode(),
            self._body.checksums if is_stored else [],
            self.public_name,
        )
        if b"date" not in response.fields:
            # Some SDKs set their clock by it (RFC 9110, section 6.6.1).
            headers.append((b"Date", format_rfc1123(self._context.wall_clock())))
        if not admitted.address.key and status in {200, 403} and is_head_bucket(admitted.onward.head, admitted.address):
            add_region(headers, self.public_name())
        if self._mending is not None:
            status, reason, headers = self._mending.response_head(response, headers)
            if status == 304 and response.status != 304:
                headers = not_modified_headers(headers)
        return status, reason, headers

    def public_name(self) -> PublicName:
        """
        Return how the client addresses the resource of its request.
        """
        request, admitted, settings = self._request, self._admitted, self._context.settings
        address = admitted.address
        return PublicName(
            request.origin.scheme,
            request.head.host,
            settings.realm.regions[0],
            request.head.raw_path,
            address.raw_bucket if address.is_virtual_hosted else b"",
            admitted.backend.hosts,
            admitted.backend.account.profile.service_path,
            self._record.request_id.encode(),
            settings.host_id.encode(),
        )

    def _respond_to_form(self, form: Form, passed: HeaderList) -> None:
        """
        Respond to a browser whose file is stored, as the form's fields say.
        """
        response, request, address = self._response, self._request, self._admitted.address
        # The response to s3proxy's PUT has no document, or none that a browser should see.
        response.abort()
        base = b"%s://%s%s" % (request.origin.scheme, request.head.host, request.head.raw_path.rstrip(b"/"))
        location = b"%s/%s" % (base, address.raw_key)
        etag = response.head.fields.value(b"etag") or b""
        self._record.status, reason, headers, document = form_response(form_fields(form), address, location, etag)
        headers += [header for header in passed if header[0].lower() not in {b"content-type", b"location"}]
        self._record.sent_size = len(document)
        request.write_response(self._record.status, reason, headers, document)
        self._exchange.receive(Event.RESPONSE_ENDED)

    # The end

    def abort(self) -> None:
        """
        Stop reading the response.
        """
        self._response.abort()

    def release(self) -> None:
        """
        Release everything.
        """
        if self._early_deadline is not None:
            self._end_early_deadline()
        memory = self._admitted.memory
        if self._relay is not None:
            self._record.sent_size = self._relay.sent_size
        multipart = self._admitted.multipart
        if memory is not None and (self._reader is not None or (multipart is not None and multipart.is_list)):
            # The document is in memory until it was sent to the client.
            self._request.when_response_sent(memory.release)
        elif memory is not None:
            memory.release()
        # These objects refer back to this one. Without the reference cycle, a request's memory is freed when it ends,
        # not by the garbage collector.
        self._relay = self._reader = self._unexplained = None
        self._response = _NO_RESPONSE
