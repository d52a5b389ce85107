"""
Carry out what an exchange decides: the one place where the client's side and the backend's side meet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.authentication.reading import carries_form, read_claim, read_form_claim
from s3proxy.authentication.realm import Realm
from s3proxy.authentication.verdict import Authenticated, admit_anonymous, admit_preflight, verify_claim
from s3proxy.backend.faults import BackendFault, error_for_fault
from s3proxy.backend.relay import DocumentReader, LateDocument, ResponseRelay
from s3proxy.backend.request import BackendError
from s3proxy.backend.trouble import why
from s3proxy.body.guard import GuardedBody, HeldBody
from s3proxy.body.intake import FormIntake
from s3proxy.body.plan import BodyLimits, BodyPlan, plan_body
from s3proxy.body.spool import SpoolDirectory, SpooledBody, SpoolReader
from s3proxy.exchange.budget import Budgets, HeldMemory, Ticket
from s3proxy.exchange.machine import Action, Event, Exchange, State
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.forwarding.deletions import DeletingEach
from s3proxy.forwarding.onward import Onward
from s3proxy.mending.deletions import Outcome
from s3proxy.mending.keys import check_keys
from s3proxy.mending.restrictions import check_restrictions
from s3proxy.mending.results import DisbelievedError
from s3proxy.multipart.files import PartWriter
from s3proxy.multipart.operations import MultipartContext, MultipartRequest
from s3proxy.postobject.form import Form
from s3proxy.postobject.upload import form_answer, form_fields, form_key
from s3proxy.profiles.allowed import check_taken, refusal_of_method
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.resign.answer import (
    JUDGED_STATUSES,
    MAX_SIZES,
    AnswerUse,
    answer_headers,
    answer_use,
    edit_document,
    edited_document,
    is_coded,
    may_fail_late,
    not_modified_headers,
    origin_headers,
    read_content,
    read_headers,
)
from s3proxy.resign.error_documents import ERROR_ROOTS, blames_our_signature, error_code, public_error, read_error
from s3proxy.resign.public_name import PublicName, add_region
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.classification import Classification, check_method, check_request, classify, is_head_bucket
from s3proxy.s3.date import format_rfc1123
from s3proxy.s3.error_xml import error_document, outcome_document
from s3proxy.s3.errors import (
    AccessDenied,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotImplementedByProxy,
    RequestTimeout,
    S3Error,
    ServiceUnavailable,
    SlowDown,
)
from s3proxy.s3.head import Fields, HeaderList, RequestHead, ResponseHead
from s3proxy.s3.limits import MAX_POST_FIELDS_SIZE
from s3proxy.s3.operation import PUT_OBJECT, BodyUse
from s3proxy.telemetry.accesslog import AccessRecord
from s3proxy.transport.deadline import Deadline
from s3proxy.transport.pace import Pace
from s3proxy.transport.writer import ReadSize

if TYPE_CHECKING:
    from s3proxy.backend.backend import Backend
    from s3proxy.backend.response import BackendResponse
    from s3proxy.backend.upload import Upload
    from s3proxy.frontend.request import S3Request
    from s3proxy.interfaces import IAuthorizer, ICredentialStore
    from s3proxy.mending.deletions import Deletions
    from s3proxy.mending.mending import Mending
    from s3proxy.multipart.uploads import MultipartUploads
    from s3proxy.s3.claim import Claim
    from s3proxy.s3.credential import Credential

_CHANGING_METHODS = frozenset({b"PUT", b"POST", b"DELETE"})
EARLY_TIME = 1.0
"""
Seconds after its head that a document is awaited before its client gets the head: the backend works, and the client
must not take us for dead.
"""

_CAUSES = {Event.CLIENT_GONE: "client_left", Event.BACKEND_FAILED: "backend_failed"}
_DISBELIEVED = {
    "document": "backend {backend} answered success with the document of another operation: {request_id}",
    "etag": "backend {backend} answered success without an entity tag: {request_id}",
    "md5": "backend {backend} lost an object: it answered the MD5 of other bytes than it was sent: {request_id}",
}
_REFUSABLE = frozenset({State.LOOKING_UP, State.READING_FORM, State.JUDGING_FORM, State.HOLDING, State.SENDING})


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    What a proxy must know beside its rooms.

    Attributes:
        realm: Which signatures are accepted here.
        body_limits: What is verified whole, and up to which size.
        host_id: Text of ``HostId`` and ``x-amz-id-2``.
        lookup_time: Seconds that a credential source may take, and an authorizer.
        replay_window: Remembers the signatures of requests which change something; None to let them pass again.
    """

    realm: Realm = field(default_factory=Realm)
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    host_id: str = "s3proxy"
    lookup_time: float = 10.0
    replay_window: ReplayWindow | None = None


@dataclass(slots=True)
class ProxyCounts:
    """
    What proxies count, together.

    Attributes:
        committed_early: Answers below 400 which came before the body's end was released; none was believed.
        dropped_headers: Headers which were dropped because no signature covers them.
        lost_headers: Headers that a backend does not keep and did not get, by its name and theirs.
        exempted: How often each exemption of a key was needed.
        aborted: Requests which were given up, by cause.
        disbelieved: Successes of a backend that were none, by what was wrong.
    """

    committed_early: int = 0
    dropped_headers: int = 0
    lost_headers: Counter[tuple[str, str]] = field(default_factory=Counter)
    exempted: Counter[str] = field(default_factory=Counter)
    aborted: Counter[str] = field(default_factory=Counter)
    disbelieved: Counter[str] = field(default_factory=Counter)


class Proxy:
    """
    Sees requests through: from the end of their heads to the access log.

    Args:
        settings: For one listener.
        credentials: Where keys are looked up.
        choose_backend: The backend for a head, its address and an authenticated client.
        wall_clock: Tells the time of signatures, in UTC; not the reactor's, which is monotonic.
        clock: Seconds which never go back, for durations: ``reactor.seconds``.
        log_access: Told of each request when it has ended.
        authorizer: Asked once the client is known to be who it says; None lets everything pass.
        spool: Where bodies go which must be verified whole, and are too large for memory.
        budgets: What requests may have together.
        counts: Where it counts; its own by default.
        multipart: Keeps multipart uploads, for backends that have none; None if there is no such backend.
    """

    log = Logger()

    def __init__(
        self,
        settings: ProxySettings,
        credentials: ICredentialStore,
        choose_backend: Callable[[RequestHead, Address, Authenticated], Backend],
        *,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        make_request_id: Callable[[], str],
        log_access: Callable[[AccessRecord], None],
        authorizer: IAuthorizer | None = None,
        spool: SpoolDirectory,
        budgets: Budgets,
        counts: ProxyCounts | None = None,
        multipart: MultipartUploads | None = None,
    ) -> None:
        self.settings = settings
        self.credentials = credentials
        self.choose_backend = choose_backend
        self.wall_clock = wall_clock
        self.clock = clock
        self.make_request_id = make_request_id
        self.log_access = log_access
        self.authorizer = authorizer
        self.spool = spool
        self.is_draining = False
        self.budgets = budgets
        self.counts = counts or ProxyCounts()
        self.multipart = multipart
        self._running: set[ProxiedExchange] = set()
        self._drained: list[Deferred[None]] = []

    @property
    def running_count(self) -> int:
        """
        How many exchanges have begun and not ended.
        """
        return len(self._running)

    @property
    def held_size(self) -> int:
        """
        How many bytes came from one side and have not left for the other.
        """
        return sum(exchange.held_size for exchange in self._running)

    def begin(self, request: S3Request) -> None:
        """
        See a request through.
        """
        exchange = ProxiedExchange(self, request)
        self._running.add(exchange)
        exchange.begin()

    def ended(self, exchange: ProxiedExchange) -> None:
        """
        Know that an exchange has let go of everything.
        """
        self._running.discard(exchange)
        if not self._running:
            waiting, self._drained = self._drained, []
            for drained in waiting:
                drained.callback(None)

    def drain(self) -> Deferred[None]:
        """
        Refuse new requests with SlowDown; tell when the running ones have ended.
        """
        self.is_draining = True
        if not self._running:
            return succeed(None)
        drained: Deferred[None] = Deferred()
        self._drained.append(drained)
        return drained

    def abort_all(self) -> None:
        """
        Reset whatever still runs: the deadline of a drain has passed.
        """
        for exchange in tuple(self._running):
            exchange.abort()


class ProxiedExchange:
    """
    One request on its way: what it holds of either side, and the carrying out of each action.
    """

    def __init__(self, proxy: Proxy, request: S3Request) -> None:
        self._proxy = proxy
        self._request = request
        # What is judged and forwarded: a form, or what Signature V2 finds in a query, makes another of it.
        self._head = request.head
        self._exchange = Exchange()
        self._began_at = proxy.clock()
        self._received_at = proxy.wall_clock()
        self._request_id = proxy.make_request_id()
        self._address: Address | None = None
        self._claim: Claim | None = None
        self._form: FormIntake | None = None
        self._authenticated: Authenticated | None = None
        self._classification: Classification | None = None
        self._plan: BodyPlan | None = None
        self._ticket: Ticket | None = None
        self._pace: Pace | None = None
        self._memory: HeldMemory | None = None
        self._form_ticket: Ticket | None = None
        self._onward: Onward | None = None
        self._multipart: MultipartRequest | None = None
        self._mending: Mending | None = None
        self._is_admitted_once = False
        self._is_asked = False
        self._backend: Backend | None = None
        self._looking_up: Deferred[Any] | None = None
        self._lookup_deadline: Deadline | None = None
        self._body: GuardedBody | None = None
        self._held: HeldBody | SpooledBody | None = None
        self._spool_reader: SpoolReader | None = None
        self._object_size: int | None = None
        self._verified: HeaderList = []
        self._verified_at: float | None = None
        self._asked: Deferred[BackendResponse] | None = None
        self._upload: Upload | None = None
        self._response: BackendResponse | None = None
        self._reader: DocumentReader | None = None
        self._document: bytes | None = None
        self._unexplained: BackendResponse | None = None
        self._measure: BackendResponse | None = None
        self._early_deadline: Deadline | None = None
        self._answer_use = AnswerUse.RELAY
        self._relay: ResponseRelay | None = None
        self._status = 0
        self._error_code: str | None = None
        self._sent_size = 0
        self._answered_at: float | None = None
        self._cause: str | None = None

    # What happens

    def begin(self) -> None:
        """
        Judge the head, and go on from there.
        """
        self._request.on_gone(partial(self._receive, Event.CLIENT_GONE))
        self._guarded(self._judge_head)

    def abort(self) -> None:
        """
        Reset both sides: the deadline of a drain has passed.
        """
        self._cause = "drain"
        self._request.abort()
        self._receive(Event.CLIENT_GONE)

    @property
    def held_size(self) -> int:
        """
        Bytes which came from one side and have not left for the other.
        """
        held = self._request.writer.waiting_size
        if self._held is not None:
            held += self._held.memory_size
        if self._body is not None:
            held += self._body.withheld_size
        if self._upload is not None:
            held += self._upload.waiting_size
        return held

    def _receive(self, event: Event, error: S3Error | None = None) -> None:
        if event in _CAUSES and self._cause is None and self._exchange.state is not State.ENDED:
            self._cause = _CAUSES[event]
        actions = self._exchange.receive(event, error)
        state = self._exchange.state
        for action in actions:
            if self._exchange.state is not state:
                # The action before it failed at once, and its client has its answer already.
                break
            self._guarded(self._ACTIONS[action], self)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Take a step, and turn whatever it raises into what the client reads.
        """
        try:
            step(*arguments)
        except DisbelievedError as error:
            self._proxy.counts.disbelieved[error.reason] += 1
            self._proxy.log.error(_DISBELIEVED[error.reason], backend=self._backend_name, request_id=self._request_id)
            self._cause = "backend_disbelieved"
            self._fail(error)
        except S3Error as error:
            self._fail(error)
        except Exception:
            self._proxy.log.failure("a request failed inside the proxy: {request_id}", request_id=self._request_id)
            self._fail(InternalError())

    def _fail(self, error: S3Error) -> None:
        if self._exchange.state in _REFUSABLE:
            self._receive(Event.REFUSED, error)
        elif self._exchange.state is State.ENDED:
            self._request.abort()
        else:
            self._receive(Event.BACKEND_FAILED, error)

    # The head

    def _judge_head(self) -> None:
        head = self._request.head
        proxy = self._proxy
        if proxy.is_draining:
            raise SlowDown
        check_method(head.method)
        realm = proxy.settings.realm
        self._address = address = parse_address(head.raw_path, head.host, realm.domains)
        if head.method == b"OPTIONS":
            self._believe(admit_preflight(head))
            return
        claim = read_claim(head, address, realm, self._received_at)
        if claim is not None:
            self._look_up(claim)
        elif carries_form(head, address):
            self._receive(Event.FORM_BEGAN)
        else:
            self._believe(admit_anonymous(head, address, classify(head, address), realm))

    def _look_up(self, claim: Claim) -> None:
        self._claim = claim
        found = self._proxy.credentials.look_up(claim.claimed_access_key_id)
        if isinstance(found, Deferred):
            self._await(found, self._credential_found, self._source_failed)
        else:
            self._authenticate(found)

    def _await(self, asked: Deferred[Any], told: Callable[[Any], None], failed: Callable[[Failure], None]) -> None:
        """
        Wait for a credential source or an authorizer, which may be anybody's: its silence must not keep a client.
        """
        self._looking_up = asked
        asked.addCallbacks(told, failed)
        if self._looking_up is asked:
            if self._lookup_deadline is None:
                self._lookup_deadline = Deadline(self._proxy.budgets.reactor, self._waited_in_vain)
            self._lookup_deadline.set(self._proxy.settings.lookup_time)

    def _looked_up(self) -> None:
        self._looking_up = None
        if self._lookup_deadline is not None:
            self._lookup_deadline.cancel()

    def _waited_in_vain(self) -> None:
        self._proxy.log.error(
            "the credential source, the authorizer or the disk did not answer in time: {request_id}",
            request_id=self._request_id,
        )
        self._receive(Event.REFUSED, ServiceUnavailable())

    def _credential_found(self, credential: Credential | None) -> None:
        self._looked_up()
        if self._exchange.state is not State.ENDED:
            self._guarded(self._authenticate, credential)

    def _source_failed(self, failure: Failure) -> None:
        self._looked_up()
        # After the end it was this exchange that gave up, whatever the source makes of it.
        if self._exchange.state is not State.ENDED:
            self._proxy.log.error("the credential source failed: {reason}", reason=failure.getErrorMessage())
            self._receive(Event.REFUSED, ServiceUnavailable())

    def _authenticate(self, credential: Credential | None) -> None:
        assert self._claim is not None
        proxy = self._proxy
        # A form is judged when its fields are complete: until then there is nothing to judge.
        now = self._form.fields_read_at if self._form is not None else None
        now = now or self._received_at
        authenticated = verify_claim(self._claim, credential, proxy.settings.realm, now)
        if authenticated.exempted:
            proxy.counts.exempted.update(authenticated.exempted)
        window = proxy.settings.replay_window
        if self._form is not None:
            self._form.check_policy(now)
            self._head, self._address = self._form.upload()
            # The policy covers every field, and so every header which was made of one.
            authenticated = replace(authenticated, head=self._head, signed_headers=frozenset(self._head.fields))
        elif window is not None and self._claim.head.method in _CHANGING_METHODS:
            if not window.admit(self._claim.fingerprint(), proxy.clock(), self._claim.claimed_access_key_id):
                raise AccessDenied("This request was sent before, and may not be repeated.")
            self._is_admitted_once = True
        self._believe(authenticated)

    def _believe(self, authenticated: Authenticated) -> None:
        """
        Go on with a request of which it is known who sent it.
        """
        assert self._address is not None
        proxy = self._proxy
        head, address = authenticated.head, self._address
        self._head = head
        self._authenticated = authenticated
        try:
            self._classification = classification = classify(head, address, authenticated.covered_names)
        except MethodNotAllowed as not_allowed:
            backend = proxy.choose_backend(head, address, authenticated)
            raise refusal_of_method(backend.allowed, head, address, not_allowed) from None
        check_request(head, address, classification.operation)
        self._backend = backend = proxy.choose_backend(head, address, authenticated)
        profile = backend.account.profile
        check_private_surface(profile, head, address, backend.allowed, classification.operation.name)
        check_taken(backend.allowed, head, classification)
        if profile.refused_keys is not None:
            check_keys(profile, head, address, classification.operation)
        if profile.restrictions is not None:
            check_restrictions(profile, head, address, classification, keeps_multipart=backend.keeps_multipart)
        if proxy.authorizer is not None:
            deciding = proxy.authorizer.authorize(head, address, authenticated)
            if deciding is not None:
                self._await(deciding, self._authorized, self._authorizer_failed)
                return
        self._plan_body()

    def _authorized(self, ignored: None) -> None:
        self._looked_up()
        if self._exchange.state is not State.ENDED:
            self._guarded(self._plan_body)

    def _authorizer_failed(self, failure: Failure) -> None:
        self._looked_up()
        if self._exchange.state is not State.ENDED:
            error = failure.value if isinstance(failure.value, S3Error) else ServiceUnavailable()
            self._receive(Event.REFUSED, error)

    def _plan_body(self) -> None:
        assert self._address is not None
        assert self._authenticated is not None
        assert self._backend is not None
        assert self._classification is not None
        head = self._head
        authenticated = self._authenticated
        computes_md5 = self._backend.account.profile.loses_objects
        if self._form is None:
            limits = self._proxy.settings.body_limits
            plan = plan_body(
                head,
                self._classification.operation,
                authenticated,
                limits,
                spooled_size=self._backend.spooled_size,
                computes_md5=computes_md5,
            )
            if self._backend.keeps_multipart and self._classification.operation.is_part_of_upload:
                self._multipart = self._take_multipart()
                # A part goes to the disk, whatever its size.
                if plan.use is BodyUse.OBJECT:
                    plan = replace(plan, streams=False, memory_size=0)
        else:
            plan = self._form.plan(head, computes_md5=computes_md5)
            self._fields_read()
        self._plan = plan
        self._ticket = ticket = self._proxy.budgets.admit(
            authenticated.access_key_id,
            authenticated.credential.budget,
            has_body=self._request.head.has_body,
            memory=plan.memory if self._request.head.has_body else 0,
        )
        if ticket is None:
            self._begin_body()
        elif ticket.waiting is not None:
            self._looking_up = ticket.waiting
            ticket.waiting.addCallbacks(self._admitted, self._not_admitted)
        else:
            self._admitted()

    def _admitted(self, ignored: None = None) -> None:
        assert self._ticket is not None
        self._looking_up = None
        self._pace = pace = self._ticket.pace(self._request.hold_for_budget, self._request.release_for_budget)
        if pace is not None:
            self._request.meter = pace.count
        self._guarded(self._begin_body)

    def _not_admitted(self, failure: Failure) -> None:
        self._looking_up = None
        if self._exchange.state is not State.ENDED:
            self._no_memory()

    def _no_memory(self, event: Event = Event.REFUSED) -> None:
        self._cause = "budget"
        self._receive(event, SlowDown())

    def _hold_body(self) -> Callable[[int], None] | None:
        """
        Return what counts the bytes of the body that are held in memory; None where nobody bounds them.
        """
        assert self._authenticated is not None
        request, authenticated = self._request, self._authenticated
        credential = authenticated.credential
        memory = self._proxy.budgets.hold(authenticated.access_key_id, credential.budget, self._ticket)
        if memory is None:
            return None
        self._memory = memory
        memory.bind(request.hold_for_memory, request.release_for_memory, self._no_memory)
        if self._form is not None:
            memory.add(self._form.fields_size)
        return memory.add

    def _hold_answer(self, response: BackendResponse) -> Callable[[int], None] | None:
        """
        Do the same for the document of an answer.
        """
        assert self._authenticated is not None
        authenticated = self._authenticated
        memory = self._memory
        if memory is None:
            memory = self._proxy.budgets.hold(authenticated.access_key_id, authenticated.credential.budget)
            if memory is None:
                return None
            self._memory = memory
        memory.bind(response.pauseProducing, response.resumeProducing, partial(self._no_memory, Event.BACKEND_FAILED))
        return memory.add

    def _begin_body(self) -> None:
        assert self._address is not None
        assert self._authenticated is not None
        assert self._backend is not None
        assert self._plan is not None
        assert self._classification is not None
        backend, proxy = self._backend, self._proxy
        regions = proxy.settings.realm.regions
        self._onward = onward = Onward(
            self._head, self._address, self._classification, self._authenticated, backend, regions
        )
        proxy.counts.dropped_headers += onward.dropped_count
        if backend.account.profile.mends(self._classification.operation.name):
            self._mending = onward.mend()
            self._head = onward.head
            proxy.counts.lost_headers.update((backend.name, name.decode()) for name in self._mending.lost)
        if backend.forwarded != "none":
            onward.tell_origin(self._request.origin)
        if self._multipart is None:
            onward.check_size(self._received_at)
        preparing = self._multipart.prepare(self._plan.length) if self._multipart is not None else None
        if preparing is not None:
            self._await(preparing, self._prepared, self._not_prepared)
        else:
            self._start_body()

    def _start_body(self) -> None:
        assert self._plan is not None
        if self._plan.decoder is None:
            self._verified_at = self._proxy.clock()
            self._receive(Event.AUTHENTICATED_WITHOUT_BODY)
        else:
            self._receive(Event.AUTHENTICATED_TO_STREAM if self._plan.streams else Event.AUTHENTICATED_TO_HOLD)

    # An upload in parts that is kept here

    def _take_multipart(self) -> MultipartRequest:
        assert self._address is not None
        assert self._authenticated is not None
        assert self._backend is not None
        assert self._classification is not None
        proxy = self._proxy
        if proxy.multipart is None:
            raise NotImplementedByProxy
        settings = proxy.settings
        context = MultipartContext(
            self._head,
            self._address,
            self._classification.operation,
            self._authenticated,
            self._backend,
            settings.realm.regions,
            self._request.origin,
            settings.body_limits.object_size,
            proxy.wall_clock,
            self._write_error,
            self._write_failure,
        )
        return MultipartRequest(proxy.multipart, context)

    def _write_error(self, outcome: Outcome) -> bytes:
        """
        Write the document of an error whose status can no longer be sent. The access log has its code, as S3's has.
        """
        self._error_code = outcome.code
        return outcome_document(outcome.code, outcome.message, self._request_id, self._proxy.settings.host_id)

    def _write_failure(self, failure: Failure) -> bytes:
        if isinstance(failure.value, BackendError):
            error = self._know_fault(failure.value)
        else:
            error = self._own_error(failure)
        return self._write_error(Outcome.of_error(error))

    def _prepared(self, ignored: None) -> None:
        self._looked_up()
        if self._exchange.state is not State.ENDED:
            self._guarded(self._start_body)

    def _not_prepared(self, failure: Failure) -> None:
        self._looked_up()
        if self._exchange.state is not State.ENDED:
            self._receive(Event.REFUSED, self._own_error(failure))

    def _own_error(self, failure: Failure) -> S3Error:
        if isinstance(failure.value, S3Error):
            return failure.value
        self._proxy.log.failure("a request failed inside the proxy: {request_id}", failure, request_id=self._request_id)
        return InternalError()

    # A form, whose signature is in its body

    def _read_fields(self) -> None:
        budgets = self._proxy.budgets
        self._form_ticket = ticket = budgets.admit_form(MAX_POST_FIELDS_SIZE)
        if ticket is not None and ticket.waiting is not None:
            self._looking_up = ticket.waiting
            ticket.waiting.addCallbacks(self._fields_admitted, self._not_admitted)
        else:
            self._fields_admitted()

    def _fields_admitted(self, ignored: None = None) -> None:
        self._looking_up = None
        self._memory = memory = self._proxy.budgets.hold_form()
        if memory is not None:
            request = self._request
            memory.bind(request.hold_for_memory, request.release_for_memory, self._no_memory)
            request.meter = memory.add
        self._guarded(self._take_form)

    def _fields_read(self) -> None:
        """
        Let other forms have the room of this one's fields: they are its key's from now on.
        """
        self._request.meter = None
        if self._form_ticket is not None:
            self._form_ticket.release()
        memory, self._memory = self._memory, None
        if memory is not None:
            # What waits for room of theirs waits no more.
            memory.release()

    def _take_form(self) -> None:
        assert self._address is not None
        request = self._request
        self._form = form = FormIntake(
            request.head,
            self._address,
            self._proxy.settings.body_limits,
            partial(self._receive, Event.FIELDS_READ),
            partial(self._receive, Event.REFUSED),
        )
        if request.head.has_body:
            form.reader.bound_by(request.start_head_deadline())
            request.deliverBody(form.reader).addCallbacks(lambda ignored: form.reader.wireEnded(), self._body_cut)
        else:
            form.reader.wireEnded()

    def _judge_form(self) -> None:
        assert self._form is not None
        assert self._address is not None
        realm = self._proxy.settings.realm
        self._form.fields_read_at = self._proxy.wall_clock()
        # A form without a key is refused before anybody's secret is looked up.
        form_key(self._form.form)
        claim = read_form_claim(self._request.head, self._form.form, realm)
        if claim is not None:
            self._look_up(claim)
            return
        # Refused before anything else of the form is parsed. The headers of its request say nothing about the file.
        bare = replace(self._request.head, headers=[], fields=Fields())
        anonymous = admit_anonymous(bare, self._address, Classification(PUT_OBJECT), realm)
        self._head, self._address = self._form.upload()
        self._believe(replace(anonymous, head=self._head, signed_headers=frozenset(self._head.fields)))

    def _receive_file(self) -> None:
        assert self._form is not None
        self._form.give_file_to(self._make_body())

    # The client's body

    def _make_body(self) -> GuardedBody:
        assert self._plan is not None
        assert self._plan.decoder is not None
        sink: Upload | HeldBody | SpooledBody | PartWriter | None = self._upload
        if self._multipart is not None:
            sink = self._multipart.sink
        if sink is None:
            held = self._hold_body() if self._request.head.has_body else None
            sink = self._held = self._plan.make_held(self._proxy.spool, held)
        body = self._body = GuardedBody(
            self._plan.decoder, sink, self._body_verified, partial(self._receive, Event.REFUSED)
        )
        return body

    def _receive_body(self) -> None:
        body = self._make_body()
        if self._request.head.has_body:
            self._request.deliverBody(body).addCallbacks(lambda ignored: body.wireEnded(), self._body_cut)
        else:
            body.wireEnded()

    def _body_cut(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, BadRequest):
            self._proxy.log.info(
                "BadRequest: the body's chunked transfer coding cannot be read: {request_id}",
                request_id=self._request_id,
            )
        self._cause = "client_too_slow" if isinstance(error, RequestTimeout) else "client_cut"
        if not isinstance(error, S3Error):
            self._proxy.log.failure("a body was not delivered: {request_id}", failure, request_id=self._request_id)
            error = InternalError()
        self._receive(Event.REFUSED, error)

    def _body_verified(self, checksums: HeaderList) -> None:
        self._verified = checksums
        self._verified_at = self._proxy.clock()
        if self._mending is not None and self._plan is not None and self._plan.digests is not None:
            self._mending.md5 = self._plan.digests.md5
        if self._memory is not None:
            self._memory.settle()
        if isinstance(self._held, HeldBody) and (error := self._refused_document(self._held)) is not None:
            self._receive(Event.REFUSED, error)
            return
        is_on_disk = isinstance(self._held, SpooledBody) and self._held.is_on_disk
        self._receive(Event.VERIFIED_ON_DISK if is_on_disk else Event.VERIFIED)

    def _refused_document(self, held: HeldBody) -> S3Error | None:
        assert self._onward is not None
        assert self._plan is not None
        if self._plan.use is BodyUse.DOCUMENT:
            try:
                self._onward.read_document(held.content)
            except S3Error as error:
                return error
        return None

    def _stop_body(self) -> None:
        if self._form is not None:
            self._form.reader.stop()
        if self._body is not None:
            self._body.stop()
        if self._spool_reader is not None:
            self._spool_reader.stop()
        self._request.stop_body()

    # Towards the backend

    def _open_upload(self) -> None:
        assert self._plan is not None
        assert self._onward is not None
        assert self._backend is not None
        length = self._held.size if isinstance(self._held, SpooledBody) else self._plan.length
        assert length is not None
        self._object_size = length
        read_size = ReadSize(self._request.transport_to_read, is_paced=self._pace is not None)
        trailer_name = self._plan.trailer_name
        self._upload = self._onward.upload(length, trailer_name, self._verified, read_size, self._proxy.wall_clock())
        self._ask(self._backend.agent.send_upload(self._upload))

    def _send_from_disk(self) -> None:
        assert self._upload is not None
        assert isinstance(self._held, SpooledBody)
        self._spool_reader = SpoolReader(
            self._held,
            self._upload,
            partial(self._receive, Event.VERIFIED),
            partial(self._receive, Event.REFUSED, InternalError()),
        )
        self._spool_reader.start()

    def _finish_upload(self) -> None:
        assert self._upload is not None
        self._upload.finish(self._verified)

    def _send(self) -> None:
        assert self._plan is not None
        assert self._onward is not None
        assert self._backend is not None
        if self._multipart is not None:
            content = self._held.content if self._held is not None else b""
            self._drop_held()
            location = self._public_name().object_url
            self._ask(self._multipart.answer(content, self._verified, location))
            return
        if self._mending is not None and self._mending.must_measure:
            self._ask_measure()
            return
        if self._onward.must_check:
            self._check()
            return
        use = self._plan.use
        content = b""
        if use is not BodyUse.NONE:
            assert self._held is not None
            content = self._held.content
            if use is BodyUse.OBJECT:
                self._object_size = len(content)
        self._drop_held()
        if self._onward.deletions is not None:
            self._ask(self._delete_each(self._onward, self._onward.deletions, self._backend))
            return
        request = self._onward.request(use, content, self._verified, self._proxy.wall_clock())
        self._ask(self._backend.agent.send(request))

    def _delete_each(self, onward: Onward, deletions: Deletions, backend: Backend) -> Deferred[BackendResponse]:
        profile, wall_clock = backend.account.profile, self._proxy.wall_clock
        return DeletingEach(
            deletions,
            lambda deletion: onward.deleting(deletion, wall_clock()),
            backend.agent.send,
            profile.error_codes,
            self._warn_of,
            self._memory.count if self._memory is not None else None,
            writes_own_errors=profile.writes_own_errors,
        ).start()

    def _ask_measure(self) -> None:
        assert self._onward is not None
        assert self._backend is not None
        self._is_asked = True
        self._asked = self._backend.agent.send(self._onward.measuring(self._proxy.wall_clock()))
        self._asked.addCallbacks(partial(self._guarded, self._measured), self._not_answered)

    def _check(self) -> None:
        assert self._onward is not None
        assert self._backend is not None
        self._asked = self._backend.agent.send(self._onward.checking(self._proxy.wall_clock()))
        self._asked.addCallbacks(partial(self._guarded, self._checked), self._not_answered)

    def _checked(self, response: BackendResponse) -> None:
        assert self._onward is not None
        self._asked = None
        self._measure = response
        self._cause = "condition"
        self._onward.checked(response.head, self._proxy.wall_clock())
        self._cause = None
        self._send()

    def _measured(self, response: BackendResponse) -> None:
        assert self._onward is not None
        assert self._mending is not None
        self._asked = None
        self._measure = response
        # Where it raises, nothing has failed.
        self._cause = "condition"
        self._onward.measured(response.head)
        self._cause = None
        if self._mending.is_answered:
            self._answered(response)
        else:
            self._send()

    def _ask(self, asked: Deferred[BackendResponse]) -> None:
        self._is_asked = True
        self._asked = asked
        asked.addCallbacks(partial(self._guarded, self._answered), self._not_answered)

    # The backend's answer

    def _answered(self, response: BackendResponse) -> None:
        self._asked = None
        if self._unexplained is not None:
            self._explained(response)
            return
        self._response = response
        self._answered_at = self._proxy.clock()
        assert self._classification is not None
        operation = self._classification.operation
        use = answer_use(
            self._head,
            response.head,
            names_backend=edited_document(operation),
            fails_late=may_fail_late(operation),
        )
        if self._multipart is not None and response.request is None:
            # Our own: it says what it is to say.
            use, self._mending = AnswerUse.RELAY, None
            self._object_size = self._multipart.object_size
        if self._mending is not None:
            use = self._mending.answer_use(response.head, use)
        self._answer_use = use
        if response.head.status < 400 and self._exchange.state is State.SENDING:
            self._proxy.counts.committed_early += 1
            self._proxy.log.error(
                "backend {backend} answered {status} before it had the whole body: {request_id}",
                backend=self._backend_name,
                status=response.head.status,
                request_id=self._request_id,
            )
            self._cause = "backend_committed_early"
            self._receive(Event.ANSWERED_BELOW_400, InternalError())
        elif use is AnswerUse.EXPLAIN:
            self._unexplained = response
            self._receive(Event.ANSWER_UNEXPLAINED)
        elif use is not AnswerUse.RELAY:
            self._receive(Event.ANSWER_NEEDS_READING)
        else:
            self._receive(Event.ANSWERED_BELOW_400 if response.head.status < 400 else Event.ANSWERED_FROM_400)

    def _ask_why(self) -> None:
        assert self._onward is not None
        assert self._backend is not None
        self._ask(self._backend.agent.send(self._onward.asking_why(self._proxy.wall_clock())))

    def _explained(self, response: BackendResponse) -> None:
        self._response = response
        if response.head.status in JUDGED_STATUSES and response.head.content_length != 0:
            self._answer_use = AnswerUse.JUDGE
            self._receive(Event.ANSWER_NEEDS_READING)
        else:
            self._receive(Event.ANSWERED_FROM_400)

    def _not_answered(self, failure: Failure) -> None:
        self._asked = None
        if self._exchange.state is State.ENDED:
            return
        if self._multipart is not None and not isinstance(failure.value, BackendError):
            self._receive(Event.REFUSED_HERE, self._own_error(failure))
        else:
            self._backend_failed(failure)

    def _backend_failed(self, failure: Failure) -> None:
        self._receive(Event.BACKEND_FAILED, self._know_fault(failure.value))

    def _know_fault(self, error: BaseException | None) -> S3Error:
        fault = error.fault if isinstance(error, BackendError) else BackendFault.LOST
        if self._exchange.state is not State.ENDED:
            self._warn_of(error, fault)
            self._cause = f"backend_{fault.name.lower()}"
        return error_for_fault(fault)

    def _warn_of(self, error: BaseException | None, fault: BackendFault) -> None:
        self._proxy.log.warn(
            "backend {backend} at {address}: {fault}: {cause}: {request_id}",
            backend=self._backend_name,
            address=getattr(error, "address", "") or "-",
            fault=fault.name,
            cause=why(error),
            request_id=self._request_id,
        )

    def _read_answer(self) -> None:
        assert self._response is not None
        max_size, held = MAX_SIZES[self._answer_use], self._hold_answer(self._response)
        self._reader = reader = DocumentReader(max_size, partial(self._guarded, self._document_read), held)
        if self._may_begin_early(self._response.head):
            began = partial(self._receive, Event.ANSWER_BEGAN)
            reader.began = began
            self._early_deadline = deadline = Deadline(self._proxy.budgets.reactor, began)
            deadline.set(EARLY_TIME)
        self._response.deliver(reader)

    def _may_begin_early(self, answer: ResponseHead) -> bool:
        """
        Return True if a backend may send the head of this answer long before its document.
        """
        assert self._classification is not None
        # Nothing of a document that is coded can be told before it is complete.
        return (
            answer.status == 200
            and self._classification.operation.is_slow
            and self._answer_use in {AnswerUse.EDIT, AnswerUse.WATCH}
            and not is_coded(answer)
        )

    def _end_early_deadline(self) -> None:
        deadline, self._early_deadline = self._early_deadline, None
        if deadline is not None:
            deadline.cancel()

    def _document_read(self, failure: Failure | None) -> None:
        if self._reader is None:
            # It was given up before: the end of its connection comes later.
            return
        self._end_early_deadline()
        assert self._response is not None
        if self._memory is not None:
            self._memory.settle()
        if failure is not None:
            self._backend_failed(failure)
            return
        is_whole, content = self._reader.is_whole, self._reader.document
        document = read_content(content, self._response.head, self._answer_use, is_whole=is_whole)
        try:
            self._document = self._edited(document, is_whole=is_whole)
        except _BlamesUsError:
            self._receive(Event.ANSWER_BLAMES_US, InternalError())
            return
        if self._mending is not None and self._mending.following:
            self._reader = self._document = None
            if self._memory is not None:
                self._memory.count(-len(content))
            self._receive(Event.ANSWER_CONTINUES)
            return
        self._receive(Event.ANSWER_ACQUITS_US)

    def _edited(self, document: bytes, *, is_whole: bool = True) -> bytes | None:
        """
        Return a document as its client may see it, or None if it may be relayed as it is.

        Raises:
            _BlamesUsError: It is an error that speaks of our own signature.
            InternalError: It cannot be read.
        """
        assert self._response is not None
        use, status = self._answer_use, self._response.head.status
        # A listing is no error, and long.
        is_result = use in {AnswerUse.CONVERT, AnswerUse.CHECK}
        error = read_error(b"" if is_result else document, is_whole=is_whole)
        is_error = use is AnswerUse.JUDGE or (use is AnswerUse.WATCH and error.root_name in ERROR_ROOTS)
        if not is_result and blames_our_signature(error):
            key = self._backend.account.key if self._backend is not None else None
            self._proxy.log.error(
                "backend {backend} refused our own signature, of key {key}: {code}: {request_id}",
                backend=self._backend_name,
                key=key.access_key_id if key is not None else None,
                code=(error_code(error) or b"").decode("ascii"),
                request_id=self._request_id,
            )
            raise _BlamesUsError
        if not is_whole and self._mending is not None and self._mending.replaces_error(status):
            # Whatever it is, it is no error of S3's.
            self._response.abort()
            document, is_whole = b"", True
        if not is_whole or (use is AnswerUse.WATCH and not is_error):
            return None
        if self._mending is not None:
            mended = self._mending.document(document, status)
            if mended is not document and is_error:
                error = read_error(mended)
            document = mended
        if use is AnswerUse.EDIT:
            etag = self._onward.completed_etag if self._onward is not None else b""
            document = edit_document(document, self._public_name(), etag)
        elif is_error:
            document = public_error(error, self._public_name())
        if status >= 400 or error.root_name == "Error":
            self._error_code = (error_code(error) or b"").decode("ascii") or None
        return document

    def _edited_late(self, document: bytes) -> bytes:
        """
        Do the same for a document whose status went to the client: an error of ours takes the place of what it may not
        see, as S3's own errors do there.
        """
        try:
            edited = self._edited(document)
        except (_BlamesUsError, InternalError):
            error = InternalError()
            self._error_code = error.code
            text = error_document(error, self._request_id, self._proxy.settings.host_id)
            return text[text.index(b"<Error>") :]
        return document if edited is None else edited

    def _ask_on(self) -> None:
        assert self._onward is not None
        assert self._backend is not None
        asked = self._backend.agent.send(self._onward.following(self._proxy.wall_clock()))
        self._asked = asked
        asked.addCallbacks(partial(self._guarded, self._continued), self._not_answered)

    def _continued(self, response: BackendResponse) -> None:
        self._asked = None
        self._response = response
        if response.head.status != 200:
            # The first page was a success, so this is no refusal of the request.
            raise InternalError
        self._receive(Event.ANSWER_NEEDS_READING)

    def _public_name(self) -> PublicName:
        assert self._address is not None
        assert self._backend is not None
        settings = self._proxy.settings
        return PublicName(
            self._request.origin.scheme,
            self._request.head.host,
            settings.realm.regions[0],
            self._request.head.raw_path,
            self._address.raw_bucket if self._address.is_virtual_hosted else b"",
            self._backend.hosts,
            self._backend.account.profile.service_path,
            self._request_id.encode(),
            settings.host_id.encode(),
        )

    def _relay_answer(self) -> None:
        assert self._response is not None
        assert self._backend is not None
        assert self._address is not None
        if self._unexplained is not None:
            # What was read only said why; the answer is the one to HEAD.
            self._response.abort()
            self._response, self._reader, self._document = self._unexplained, None, None
        status, reason, headers = self._answer_lines(self._response.head)
        self._status = status
        if self._form is not None and 200 <= self._response.head.status < 300:
            self._answer_form(self._form.form, headers)
            return
        reader, document = self._reader, self._document
        if document is not None:
            self._sent_size = len(document)
            self._request.write_answer(status, reason, read_headers(headers), document)
            self._receive(Event.ANSWER_ENDED)
            return
        cut = self._mending.cut(self._response.head) if self._mending is not None else None
        is_chunked = self._frame(headers, status, cut)
        head = self._request.make_head(status, reason, headers)
        if reader is None and self._response.is_complete and not is_chunked and self._pace is None:
            # All of it came with its head: nothing is left to pace.
            content = self._response.take_content()
            if cut is not None:
                content = content[cut[0] : cut[1]]
            self._sent_size = len(content)
            self._request.writer.writeSequence((head, content))
            self._receive(Event.ANSWER_ENDED)
            return
        self._begin_relay(head, is_chunked=is_chunked).start(reader, cut=cut)

    def _relay_early(self) -> None:
        assert self._response is not None
        assert self._reader is not None
        self._end_early_deadline()
        self._status, reason, headers = self._answer_lines(self._response.head)
        headers = read_headers(headers)
        # Its length is not known before it was edited.
        is_chunked = self._request.head.version != b"HTTP/1.0"
        if is_chunked:
            headers.append((b"Transfer-Encoding", b"chunked"))
        relay = self._begin_relay(self._request.make_head(self._status, reason, headers), is_chunked=is_chunked)
        judged = ERROR_ROOTS if self._answer_use is AnswerUse.WATCH else None
        document = LateDocument(relay, self._edited_late, judged, MAX_SIZES[self._answer_use])
        relay.start(self._reader, document=document)

    def _begin_relay(self, head: bytes, *, is_chunked: bool) -> ResponseRelay:
        assert self._response is not None
        self._relay = relay = ResponseRelay(
            self._response, self._request.writer, head, is_chunked=is_chunked, ended=self._relayed
        )
        self._request.answer_from(relay)
        if self._ticket is not None:
            if self._pace is not None:
                self._pace.stop()
            self._pace = relay.pace = self._ticket.pace(relay.hold, relay.release)
        return relay

    def _answer_lines(self, answer: ResponseHead) -> tuple[int, bytes, HeaderList]:
        """
        Return status, reason and headers of an answer as its client may see them, framing aside.
        """
        assert self._address is not None
        status, reason = answer.status, answer.reason
        name = self._public_name()
        verified: HeaderList = []
        if answer.status == 200 and self._plan is not None and self._plan.use is BodyUse.OBJECT:
            verified = self._verified
        headers = answer_headers(answer, name, verified)
        if b"date" not in answer.fields:
            # Some SDKs set their clock by it (RFC 9110, section 6.6.1).
            headers.append((b"Date", format_rfc1123(self._proxy.wall_clock())))
        if is_head_bucket(self._head, self._address) and answer.status in {200, 403}:
            add_region(headers, name)
        if self._mending is not None:
            status, reason, headers = self._mending.answer_head(answer, headers)
            if status == 304 and answer.status != 304:
                headers = not_modified_headers(headers)
        return status, reason, headers

    def _answer_form(self, form: Form, passed: HeaderList) -> None:
        """
        Tell a browser that its file is stored, as its form wants to hear it.
        """
        assert self._response is not None
        assert self._address is not None
        # The answer to our PUT has no document, or none that a browser should see.
        self._response.abort()
        request_head = self._request.head
        base = b"%s://%s%s" % (self._request.origin.scheme, request_head.host, request_head.raw_path.rstrip(b"/"))
        location = b"%s/%s" % (base, self._address.raw_key)
        etag = self._response.head.fields.value(b"etag") or b""
        self._status, reason, headers, document = form_answer(form_fields(form), self._address, location, etag)
        headers += [header for header in passed if header[0].lower() not in {b"content-type", b"location"}]
        self._sent_size = len(document)
        self._request.write_answer(self._status, reason, headers, document)
        self._receive(Event.ANSWER_ENDED)

    def _frame(self, headers: HeaderList, status: int, cut: tuple[int, int] | None) -> bool:
        """
        Add the headers which say where the answer ends; return whether that is in chunked transfer coding.

        Args:
            cut: What the client gets of it; None for all.
        """
        assert self._response is not None
        answer = self._response.head
        if self._response.body_length is not None:
            # To HEAD, and with a backend's 304, the length is of what is not sent.
            if cut is not None:
                headers.append((b"Content-Length", b"%d" % (cut[1] - cut[0])))
            elif answer.content_length is not None and answer.status != 204 and status in {answer.status, 200, 206}:
                headers.append((b"Content-Length", b"%d" % answer.content_length))
            return False
        if self._request.head.version == b"HTTP/1.0":
            return False
        headers.append((b"Transfer-Encoding", b"chunked"))
        return True

    def _relayed(self, failure: Failure | None) -> None:
        if failure is None:
            self._receive(Event.ANSWER_ENDED)
            return
        response = self._response
        self._backend_failed(failure)
        if response is not None:
            # Where it was our reading that failed, the backend still sends.
            response.abort()

    # Towards the client

    def _respond(self) -> None:
        error = self._exchange.error or InternalError()
        self._status = error.status
        self._error_code = error.code
        request_id = self._request_id
        host_id = self._proxy.settings.host_id
        document = error_document(error, request_id, host_id)
        headers = [
            (b"x-amz-request-id", request_id.encode()),
            (b"x-amz-id-2", host_id.encode()),
            (b"Date", format_rfc1123(self._proxy.wall_clock())),
            (b"Content-Type", b"application/xml"),
        ]
        if error.retry_after is not None:
            headers.append((b"Retry-After", b"%d" % error.retry_after))
        answer = self._response if self._response is not None else self._measure
        if answer is not None:
            # A page of another origin may not read our error unless the backend lets it.
            headers += origin_headers(answer.head)
        if self._address is not None and (error.names_region or is_head_bucket(self._head, self._address)):
            headers.append((b"x-amz-bucket-region", self._proxy.settings.realm.regions[0]))
        self._sent_size = 0 if self._request.head.method == b"HEAD" else len(document)
        self._request.respond(error.status, error.code.encode(), headers, document)

    def _finish(self) -> None:
        self._request.finish_answer()

    def _cut_client(self) -> None:
        self._request.abort()

    def _abort_backend(self) -> None:
        upload, self._upload = self._upload, None
        if upload is not None:
            upload.fail(ConnectionAbortedError("the body was not verified"))
        asked, self._asked = self._asked, None
        if asked is not None:
            asked.cancel()
        if self._response is not None:
            self._response.abort()

    def _release(self) -> None:
        looking_up = self._looking_up
        if looking_up is not None:
            self._looked_up()
            looking_up.cancel()
        if self._upload is not None and self._upload.read_size is not None:
            self._upload.read_size.reset()
        self._drop_held()
        self._end_early_deadline()
        if self._multipart is not None:
            self._multipart.discard()
        window = self._proxy.settings.replay_window
        if window is not None and self._is_admitted_once and self._status >= 500 and self._claim is not None:
            window.forget(self._claim.fingerprint(), self._claim.claimed_access_key_id)
        if self._pace is not None:
            self._pace.stop()
        for ticket in (self._ticket, self._form_ticket):
            if ticket is not None:
                ticket.release()
        if self._memory is not None:
            if self._reader is not None:
                # The document is in memory until the client has taken it.
                self._request.when_answer_sent(self._memory.release)
            else:
                self._memory.release()
        if self._cause is not None:
            self._proxy.counts.aborted[self._cause] += 1
        # The last one to end lets a draining process end, and with it the log and the counters.
        self._proxy.log_access(self._record())
        self._proxy.ended(self)
        # They call us back: without the circle all of a request is gone with its end, not with a collection.
        self._body = self._relay = self._reader = self._form = None
        self._response = self._unexplained = self._measure = None

    def _drop_held(self) -> None:
        held, self._held = self._held, None
        if isinstance(held, SpooledBody):
            held.discard()

    def _record(self) -> AccessRecord:
        authenticated, clock = self._authenticated, self._proxy.clock
        answer = self._response.head if self._response is not None else None
        carrier = authenticated.carrier if authenticated is not None else None
        cipher_suite, tls_version = self._request.tls_names()
        return AccessRecord(
            received_at=self._received_at,
            client_host=self._request.origin.client_host,
            request_id=self._request_id,
            head=self._request.head,
            address=self._address,
            operation=self._classification.operation if self._classification is not None else None,
            access_key_id=authenticated.access_key_id if authenticated is not None else None,
            status=self._status,
            error_code=self._error_code,
            sent_size=self._relay.sent_size if self._relay is not None else self._sent_size,
            received_size=self._request.received_size,
            object_size=self._object_size,
            total_seconds=clock() - self._began_at,
            turn_around_seconds=(
                self._answered_at - self._verified_at
                if self._answered_at is not None and self._verified_at is not None
                else None
            ),
            host_id=self._proxy.settings.host_id,
            signature_version=carrier.version if carrier is not None else None,
            authentication_type=carrier.place if carrier is not None else None,
            cipher_suite=cipher_suite,
            tls_version=tls_version,
            backend=self._backend_name if self._is_asked else None,
            backend_request_id=answer.fields.value(b"x-amz-request-id") if answer is not None else None,
        )

    @property
    def _backend_name(self) -> str | None:
        return self._backend.name if self._backend is not None else None

    _ACTIONS: ClassVar[dict[Action, Callable[[ProxiedExchange], None]]] = {
        Action.RECEIVE_BODY: _receive_body,
        Action.READ_FIELDS: _read_fields,
        Action.JUDGE_FORM: _judge_form,
        Action.RECEIVE_FILE: _receive_file,
        Action.OPEN_UPLOAD: _open_upload,
        Action.SEND_FROM_DISK: _send_from_disk,
        Action.FINISH_UPLOAD: _finish_upload,
        Action.SEND: _send,
        Action.STOP_BODY: _stop_body,
        Action.READ_ANSWER: _read_answer,
        Action.ASK_WHY: _ask_why,
        Action.ASK_ON: _ask_on,
        Action.RELAY: _relay_answer,
        Action.RELAY_EARLY: _relay_early,
        Action.RESPOND: _respond,
        Action.FINISH: _finish,
        Action.ABORT_BACKEND: _abort_backend,
        Action.CUT_CLIENT: _cut_client,
        Action.RELEASE: _release,
    }


class _BlamesUsError(Exception):
    """
    A backend's error is about the signature which we sent.
    """
