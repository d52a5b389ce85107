"""
Carry out what an exchange decides: the one place where the client's side and the backend's side meet.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from s3proxy.accesslog import AccessRecord
from s3proxy.authentication import Authenticated, Realm, SignatureClaim, read_claim, verify_claim
from s3proxy.backend.agent import BackendError, BackendRequest
from s3proxy.backend.relay import ResponseRelay
from s3proxy.backend.upload import Upload
from s3proxy.body.plan import BodyLimits, BodyPlan, plan_body
from s3proxy.exchange import Action, BackendFault, Event, Exchange, error_for_fault
from s3proxy.resign.answer import (
    MAX_EDITED_SIZE,
    MAX_JUDGED_SIZE,
    AnswerUse,
    PublicName,
    answer_headers,
    answer_use,
    blames_our_signature,
    edit_document,
    error_code,
)
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.error_xml import error_document
from s3proxy.s3.errors import AccessDenied, InternalError, S3Error, ServiceUnavailable, SlowDown
from s3proxy.s3.operation import check_request

if TYPE_CHECKING:
    from s3proxy.backend.backend import Backend
    from s3proxy.backend.response import BackendResponse
    from s3proxy.frontend.request import S3Request
    from s3proxy.interfaces import IAuthorizer, ICredentialStore
    from s3proxy.s3.credential import Credential


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """
    What a proxy must know beside its rooms.

    Attributes:
        realm: Which signatures are accepted here.
        body_limits: What is verified whole, and up to which size.
        host_id: Text of ``HostId`` and ``x-amz-id-2``.
    """

    realm: Realm
    body_limits: BodyLimits = field(default_factory=BodyLimits)
    host_id: str = "s3proxy"


class Proxy:
    """
    Sees requests through: from the end of their heads to the access log.

    Args:
        settings: For one listener.
        credentials: Where keys are looked up.
        choose_backend: The backend for an address and an authenticated client.
        wall_clock: Tells the time of signatures, in UTC; not the reactor's, which is monotonic.
        clock: Seconds which never go back, for durations: ``reactor.seconds``.
        log_access: Told of each request when it has ended.
        authorizer: Asked once the client is known to be who it says; None lets everything pass.
    """

    log = Logger()

    def __init__(
        self,
        settings: ProxySettings,
        credentials: ICredentialStore,
        choose_backend: Callable[[Address, Authenticated], Backend],
        *,
        wall_clock: Callable[[], datetime],
        clock: Callable[[], float],
        make_request_id: Callable[[], str],
        log_access: Callable[[AccessRecord], None],
        authorizer: IAuthorizer | None = None,
    ) -> None:
        self.settings = settings
        self.credentials = credentials
        self.choose_backend = choose_backend
        self.wall_clock = wall_clock
        self.clock = clock
        self.make_request_id = make_request_id
        self.log_access = log_access
        self.authorizer = authorizer
        self.is_draining = False
        self.committed_early_count = 0
        self._running: set[ProxiedExchange] = set()
        self._drained: list[Deferred[None]] = []

    @property
    def running_count(self) -> int:
        """
        How many exchanges have begun and not ended.
        """
        return len(self._running)

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
        drained: Deferred[None] = Deferred()
        if self._running:
            self._drained.append(drained)
        else:
            drained.callback(None)
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
        self._exchange = Exchange()
        self._began_at = proxy.clock()
        self._request_id = proxy.make_request_id()
        self._address: Address | None = None
        self._claim: SignatureClaim | None = None
        self._authenticated: Authenticated | None = None
        self._plan: BodyPlan | None = None
        self._backend: Backend | None = None
        self._looking_up: Deferred[Any] | None = None
        self._asked: Deferred[Any] | None = None
        self._upload: Upload | None = None
        self._response: BackendResponse | None = None
        self._relay: ResponseRelay | None = None
        self._document: bytes | None = None
        self._status = 0
        self._error_code: str | None = None
        self._answered_at: float | None = None

    # What happens

    def begin(self) -> None:
        """
        Judge the head, and go on from there.
        """
        self._request.on_gone(partial(self._receive, Event.CLIENT_GONE))
        self._guarded(self._judge_head)

    def abort(self) -> None:
        """
        Reset both sides.
        """
        self._request.abort()
        self._receive(Event.CLIENT_GONE)

    def _guarded(self, step: Callable[..., None], *arguments: Any) -> None:
        """
        Take a step, and turn whatever it raises into what the client reads.
        """
        try:
            step(*arguments)
        except S3Error as error:
            self._receive(Event.REFUSED, error)
        except Exception:  # noqa: BLE001 - a fault of ours must not become a traceback for the client
            self._proxy.log.failure("a request failed inside the proxy: {request_id}", request_id=self._request_id)
            self._receive(Event.REFUSED, InternalError())

    def _judge_head(self) -> None:
        head = self._request.head
        proxy = self._proxy
        if proxy.is_draining:
            raise SlowDown
        realm = proxy.settings.realm
        self._address = address = parse_address(head.raw_path, head.host, realm.domains)
        check_request(head, address)
        self._claim = claim = read_claim(head, address, realm, proxy.wall_clock())
        if claim is None:
            raise AccessDenied
        found = proxy.credentials.look_up(claim.access_key_id)
        self._looking_up = found
        found.addCallbacks(self._credential_found, self._source_failed)

    def _credential_found(self, credential: Credential | None) -> None:
        self._looking_up = None
        self._guarded(self._authenticate, credential)

    def _source_failed(self, failure: Failure) -> None:
        self._looking_up = None
        if failure.check(CancelledError) is None:
            self._proxy.log.error("the credential source failed: {reason}", reason=failure.getErrorMessage())
            self._receive(Event.REFUSED, ServiceUnavailable())

    def _authenticate(self, credential: Credential | None) -> None:
        assert self._claim is not None
        assert self._address is not None
        proxy = self._proxy
        head = self._request.head
        self._authenticated = authenticated = verify_claim(self._claim, credential, proxy.wall_clock())
        self._backend = backend = proxy.choose_backend(self._address, authenticated)
        backend.check(head, self._address)
        if proxy.authorizer is not None:
            deciding = proxy.authorizer.authorize(head, self._address, authenticated)
            if deciding is not None:
                self._looking_up = deciding
                deciding.addCallbacks(self._authorized, self._authorizer_failed)
                return
        self._plan_body()

    def _authorized(self, ignored: None) -> None:
        self._looking_up = None
        self._guarded(self._plan_body)

    def _authorizer_failed(self, failure: Failure) -> None:
        self._looking_up = None
        if failure.check(CancelledError) is None:
            error = failure.value if isinstance(failure.value, S3Error) else ServiceUnavailable()
            self._receive(Event.REFUSED, error)

    def _plan_body(self) -> None:
        assert self._address is not None
        assert self._authenticated is not None
        self._plan = plan = plan_body(
            self._request.head, self._address, self._authenticated, self._proxy.settings.body_limits
        )
        self._receive(Event.AUTHENTICATED_TO_STREAM if plan.streams else Event.AUTHENTICATED_TO_HOLD)

    def _receive(self, event: Event, error: S3Error | None = None) -> None:
        for action in self._exchange.receive(event, error):
            self._ACTIONS[action](self)

    # The client's body

    def _receive_body(self) -> None:
        assert self._plan is not None
        plan = self._plan
        body = plan.make_body(self._upload, self._body_verified, self._body_refused)
        if not self._request.head.has_body:
            body.wireEnded()
            return
        delivered = self._request.deliverBody(body)
        delivered.addCallbacks(lambda ignored: body.wireEnded(), self._body_cut)

    def _body_cut(self, failure: Failure) -> None:
        error = failure.value
        if isinstance(error, S3Error):
            self._receive(Event.REFUSED, error)
        else:
            self._proxy.log.failure("a body was not delivered: {request_id}", failure, request_id=self._request_id)
            self._receive(Event.REFUSED, InternalError())

    def _body_verified(self) -> None:
        self._receive(Event.VERIFIED)

    def _body_refused(self, error: S3Error) -> None:
        self._receive(Event.REFUSED, error)

    def _stop_body(self) -> None:
        self._request.stop_body()

    # Towards the backend

    def _open_upload(self) -> None:
        pass

    def _finish_upload(self) -> None:
        assert self._upload is not None
        self._upload.finish()

    def _send(self) -> None:
        pass
