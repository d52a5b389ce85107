"""
What is known of one request and its result, for the access log, the counters and the daemon's log.
"""

from __future__ import annotations

from typing import Protocol

from twisted.python.failure import Failure

from s3proxy.authentication.verdict import Authenticated
from s3proxy.backend.backend import Backend
from s3proxy.backend.faults import BackendFault, error_for_fault
from s3proxy.backend.request import BackendError
from s3proxy.backend.trouble import why
from s3proxy.exchange.context import ClientContext, ProxyContext
from s3proxy.frontend.forwarded import Origin
from s3proxy.mending.deletions import Outcome
from s3proxy.mending.results import DisbelievedError
from s3proxy.s3.address import Address
from s3proxy.s3.claim import Carrier, Claim
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import error_document, outcome_document
from s3proxy.s3.errors import BadRequest, InternalError, RequestTimeout, S3Error, SlowDown
from s3proxy.s3.head import HeaderList, RequestHead, ResponseHead
from s3proxy.s3.operation import Operation
from s3proxy.telemetry.accesslog import AccessRecord

_DISBELIEVED = {
    "document": "backend {backend} reported success with the document of another operation: {request_id}",
    "etag": "backend {backend} reported success without an entity tag: {request_id}",
    "md5": "backend {backend} lost an object: its response has the MD5 of other bytes than it was sent: {request_id}",
}


class RecordedRequest(Protocol):
    """
    The client's request, as the access log describes it: a `s3proxy.frontend.request.StreamedRequest`.
    """

    head: RequestHead
    origin: Origin
    received_size: int

    def tls_names(self) -> tuple[str | None, str | None]: ...


def own_headers(context: ClientContext, request_id: str) -> HeaderList:
    """
    Return the headers that name a request, and the date.
    """
    return [
        (b"x-amz-request-id", request_id.encode()),
        (b"x-amz-id-2", context.settings.host_id.encode()),
        (b"Date", format_rfc1123(context.wall_clock())),
    ]


class Record:
    """
    The facts about one request, from its head to the access log. Each stage writes what it learns. The state table
    does not depend on them.

    Attributes:
        began_at: When the head was complete, by the proxy's clock.
        received_at: The same, as an aware datetime in UTC.
        address: The bucket and key of the request; of a form, once its fields are verified.
        operation: The operation, once it is known.
        authenticated: The verified client, once it is known.
        backend: The backend that gets the request, once it is known.
        is_asked: Whether a request was sent to the backend.
        passed_once: The claim of a request that changes something and is in the replay window: a repetition is refused.
        verified_at: When the whole body was verified, by the proxy's clock.
        object_size: Bytes of the object, decoded.
        measure: The head of the response to the request that was sent before this one; None if there was none.
        response: The head of the backend's response.
        answered_at: When the backend's response began, by the proxy's clock.
        status: The status of the client's response; 0 before it.
        error_code: The S3 error code of the client's response; None if it is not an error.
        sent_size: Bytes of the client's response, without its head.
        cause: Why the request was given up; None if it was not.
        is_over: Whether the exchange has ended. A later failure is only a result of that end.
    """

    __slots__ = (
        "_context",
        "_request",
        "address",
        "answered_at",
        "authenticated",
        "backend",
        "began_at",
        "cause",
        "error_code",
        "is_asked",
        "is_over",
        "measure",
        "object_size",
        "operation",
        "passed_once",
        "received_at",
        "request_id",
        "response",
        "sent_size",
        "status",
        "verified_at",
    )

    def __init__(self, context: ProxyContext, request: RecordedRequest) -> None:
        self._context = context
        self._request = request
        self.began_at = context.clock()
        self.received_at = context.wall_clock()
        self.request_id = context.make_request_id()
        self.address: Address | None = None
        self.operation: Operation | None = None
        self.authenticated: Authenticated | None = None
        self.backend: Backend | None = None
        self.is_asked = False
        self.passed_once: Claim | None = None
        self.verified_at: float | None = None
        self.object_size: int | None = None
        self.measure: ResponseHead | None = None
        self.response: ResponseHead | None = None
        self.answered_at: float | None = None
        self.status = 0
        self.error_code: str | None = None
        self.sent_size = 0
        self.cause: str | None = None
        self.is_over = False

    @property
    def backend_name(self) -> str | None:
        """
        The name of the backend, once it is known.
        """
        return self.backend.name if self.backend is not None else None

    # What goes wrong

    def error_of(self, error: BaseException | None, failure: Failure | None = None) -> S3Error:
        """
        Return the client's error for an exception in the proxy, and log it if it is unexpected.

        Args:
            failure: The Failure that brought the exception, if there is one: it has the traceback.
        """
        if isinstance(error, DisbelievedError):
            self._context.counts.disbelieved[error.reason] += 1
            self._context.log.error(_DISBELIEVED[error.reason], backend=self.backend_name, request_id=self.request_id)
            self.cause = "backend_disbelieved"
        if isinstance(error, S3Error):
            return error
        self._context.log.failure(
            "a request failed inside the proxy: {request_id}", failure or Failure(error), request_id=self.request_id
        )
        return InternalError()

    def error_of_body(self, failure: Failure) -> S3Error:
        """
        Return the client's error for a body that does not arrive, and set the cause.
        """
        error = failure.value
        self.cause = "client_too_slow" if isinstance(error, RequestTimeout) else "client_cut"
        if isinstance(error, BadRequest):
            self._context.log.info(
                "BadRequest: the body's chunked transfer coding cannot be read: {request_id}",
                request_id=self.request_id,
            )
        if isinstance(error, S3Error):
            return error
        self._context.log.failure("a body was not delivered: {request_id}", failure, request_id=self.request_id)
        return InternalError()

    def error_of_backend(self, failure: Failure) -> S3Error:
        """
        Return the client's error for a backend that does not respond or whose response is cut, and log the fault.
        """
        error = failure.value
        fault = error.fault if isinstance(error, BackendError) else BackendFault.LOST
        if not self.is_over:
            self.warn_of(error, fault)
            self.cause = f"backend_{fault.name.lower()}"
        return error_for_fault(fault)

    def error_of_budget(self) -> S3Error:
        """
        Return the client's error if a budget had no room for too long.
        """
        self.cause = "budget"
        return SlowDown()

    def warn_of(self, error: BaseException | None, fault: BackendFault) -> None:
        """
        Log a fault of the backend.
        """
        self._context.log.warn(
            "backend {backend} at {address}: {fault}: {cause}: {request_id}",
            backend=self.backend_name,
            address=getattr(error, "address", "") or "-",
            fault=fault.name,
            cause=why(error),
            request_id=self.request_id,
        )

    # Documents that s3proxy writes itself

    def own_headers(self) -> HeaderList:
        """
        Return the headers of each response that s3proxy writes itself.
        """
        return [*own_headers(self._context, self.request_id), (b"Content-Type", b"application/xml")]

    def write_error(self, error: S3Error) -> bytes:
        """
        Return the document of an error, and record its code for the access log.
        """
        self.error_code = error.code
        return error_document(error, self.request_id, self._context.settings.host_id)

    def write_outcome(self, outcome: Outcome) -> bytes:
        """
        Return the document of an error whose status can no longer be sent, and record its code for the access log, as
        S3 does.
        """
        self.error_code = outcome.code
        return outcome_document(outcome.code, outcome.message, self.request_id, self._context.settings.host_id)

    def write_failure(self, failure: Failure) -> bytes:
        """
        Return such a document for an exception, and log it.
        """
        is_backend = isinstance(failure.value, BackendError)
        error = self.error_of_backend(failure) if is_backend else self.error_of(failure.value, failure)
        return self.write_outcome(Outcome.of_error(error))

    # The end

    def finish(self) -> None:
        """
        Count the request, and why it was given up; allow a repetition of a signed write that failed with 5xx; write the
        access log.
        """
        context, passed_once = self._context, self.passed_once
        window = context.settings.replay_window
        if window is not None and passed_once is not None and self.status >= 500:
            window.forget(passed_once.fingerprint(), passed_once.claimed_access_key_id)
        counts, request, authenticated = context.counts, self._request, self.authenticated
        if self.cause is not None:
            counts.aborted[self.cause] += 1
        carrier = authenticated.carrier if authenticated is not None else None
        seconds = context.clock() - self.began_at
        answered_at, verified_at = self.answered_at, self.verified_at
        turn_around = answered_at - verified_at if answered_at is not None and verified_at is not None else None
        backend = self.backend.name if self.is_asked and self.backend is not None else None
        counts.requests.count(
            request.head.method,
            carrier,
            self.status,
            self.error_code,
            seconds=seconds,
            received_size=request.received_size,
            sent_size=self.sent_size,
            backend=backend,
            turn_around=turn_around,
        )
        if context.log_access is not None:
            context.log_access(self._access_record(carrier, seconds, turn_around, backend))

    def _access_record(
        self, carrier: Carrier | None, seconds: float, turn_around: float | None, backend: str | None
    ) -> AccessRecord:
        authenticated, request = self.authenticated, self._request
        cipher_suite, tls_version = request.tls_names()
        return AccessRecord(
            received_at=self.received_at,
            client_host=request.origin.client_host,
            request_id=self.request_id,
            head=request.head,
            address=self.address,
            operation=self.operation,
            access_key_id=authenticated.access_key_id if authenticated is not None else None,
            status=self.status,
            error_code=self.error_code,
            sent_size=self.sent_size,
            received_size=request.received_size,
            object_size=self.object_size,
            total_seconds=seconds,
            turn_around_seconds=turn_around,
            host_id=self._context.settings.host_id,
            signature_version=carrier.version if carrier is not None else None,
            authentication_type=carrier.place if carrier is not None else None,
            cipher_suite=cipher_suite,
            tls_version=tls_version,
            backend=backend,
            backend_request_id=self.response.fields.value(b"x-amz-request-id") if self.response is not None else None,
        )
