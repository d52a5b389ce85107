"""
One request for an application's own resource, from its head to the end of its response: it is authenticated, and then
rendered or refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from inspect import iscoroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from s3proxy.authentication.reading import read_claim
from s3proxy.authentication.verdict import Authenticated
from s3proxy.authorization.accesses import Access
from s3proxy.authorization.permission import check_network
from s3proxy.authorization.rules import Rules, rules_of
from s3proxy.body.plan import plan_stream
from s3proxy.embedding.delivery import DeliveringRequest
from s3proxy.embedding.request import AuthenticatedRequest
from s3proxy.embedding.response import ResourceResponse, RespondingRequest
from s3proxy.exchange.budget import Spent, Ticket
from s3proxy.exchange.context import ClientContext
from s3proxy.exchange.judgement import Judgement, wait_for
from s3proxy.exchange.judging import authenticate
from s3proxy.frontend.forwarded import Origin
from s3proxy.interfaces import IAuthenticatedRequest, IStreamedResource
from s3proxy.s3.address import parse_address
from s3proxy.s3.errors import AccessDenied, InternalError, SlowDown
from s3proxy.s3.operation import READ_METHODS

Accesses = Callable[[IAuthenticatedRequest], Iterable[Access]]
"""
Returns what a request must be allowed to do by the rules of its key; nothing if the rules say nothing about it.
"""


class EnteringRequest(DeliveringRequest, RespondingRequest, Protocol):
    """
    The client's request: a `s3proxy.frontend.request.StreamedRequest`.

    Attributes:
        meter: Called with the number of body bytes that arrived.
    """

    origin: Origin
    meter: Callable[[int], None] | None

    def on_gone(self, gone: Callable[[], None]) -> None: ...

    def hold_for_budget(self) -> None: ...

    def release_for_budget(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Entry:
    """
    What all requests for one resource share.

    Attributes:
        accesses: None to refuse keys that have rules: the rules are about S3, and cannot allow anything else.
        max_size: Maximum bytes of a body.
    """

    context: ClientContext
    resource: IStreamedResource
    accesses: Accesses | None
    max_size: int


class Entrance:
    """
    One request.
    """

    def __init__(self, entry: Entry, request: EnteringRequest) -> None:
        self._entry = entry
        self._request = request
        self._response = ResourceResponse(entry.context, request, self._over)
        self._judgement: Judgement | None = None
        self._ticket: Ticket | None = None
        self._shown: AuthenticatedRequest | None = None
        self._rendering: Deferred[Any] | None = None
        self._is_gone = False

    def begin(self) -> None:
        """
        Judge the head.
        """
        self._request.on_gone(self._gone)
        self.guarded(self._begin)

    def _begin(self) -> None:
        context = self._entry.context
        judging = self._judge(context.wall_clock())
        try:
            waiting = judging.send(None)
        except StopIteration as end:
            self._render(end.value)
            return
        self._judgement = Judgement(judging, context, self._response.request_id, self, self._render)
        self._judgement.wait(waiting)

    # What a judgement calls

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
        self._response.fail(self._response.error_of(error))

    # Judging

    async def _judge(self, now: datetime) -> AuthenticatedRequest:
        entry, request, context = self._entry, self._request, self._entry.context
        head, realm = request.head, context.settings.realm
        address = parse_address(head.raw_path, head.host, realm.domains)
        claim = read_claim(head, address, realm, now)
        if claim is None:
            # A form has its signature in its body, and is none of an application's requests.
            raise AccessDenied
        authenticated = await authenticate(claim, context, now)
        rules = self._find_rules(authenticated) if authenticated.credential.is_restricted else None
        decoder = plan_stream(authenticated.head, authenticated, entry.max_size, context.counts.exempted)
        length = 0 if decoder is None else decoder.length
        if decoder is not None and not head.has_body:
            # Otherwise a resource that does not ask for the body would not miss one that was cut off on the way.
            decoder.finish()
            decoder = None
        shown = AuthenticatedRequest(
            request, self._response, authenticated, request.origin.client_host, decoder, length, entry.max_size
        )
        if rules is not None and (entry.accesses is None or not all(map(rules.permits, entry.accesses(shown)))):
            raise AccessDenied
        await self._take_ticket(authenticated)
        return shown

    def _find_rules(self, authenticated: Authenticated) -> Rules | None:
        """
        Return the rules of the key, after a check of what else restricts it.
        """
        credential = authenticated.credential
        try:
            check_network(credential, self._request.origin.client_host)
            rules = rules_of(credential)
        except ValueError as error:
            # Sources check their rules. Those of an application's own store are checked only here.
            self._entry.context.log.error(
                "the rules of key {key} cannot be read: {reason}", key=credential.access_key_id, reason=str(error)
            )
            raise InternalError from None
        if credential.is_read_only and authenticated.head.method not in READ_METHODS:
            raise AccessDenied
        return rules

    async def _take_ticket(self, authenticated: Authenticated) -> None:
        request = self._request
        ticket = self._entry.context.budgets.admit(
            authenticated.access_key_id,
            authenticated.credential.budget,
            has_body=request.head.has_body,
            memory=0,
        )
        if ticket is None:
            return
        if ticket.waiting is not None:
            try:
                await wait_for(ticket.waiting, is_bounded=False)
            except Spent:
                raise SlowDown from None
        self._ticket = ticket
        if ticket.is_paced:
            pace = ticket.pace(request.hold_for_budget, request.release_for_budget)
            request.meter = pace.count if pace is not None else None

    # Rendering

    def _render(self, shown: AuthenticatedRequest) -> None:
        self._shown = shown
        self._rendered(self._entry.resource.render(shown))

    def _rendered(self, result: Any) -> None:
        if iscoroutine(result):
            result = Deferred.fromCoroutine(result)
        if isinstance(result, Deferred):
            self._rendering = result
            result.addCallback(self._content).addErrback(self._not_rendered)
        else:
            self._content(result)

    def _content(self, result: Any) -> None:
        self._rendering = None
        if self._response.is_over:
            return
        if isinstance(result, bytes):
            self._response.begin(200, [(b"Content-Type", b"application/octet-stream")], len(result))
            self._response.write(result)
            self._response.finish()
        elif result != NOT_DONE_YET:
            raise TypeError(f"a resource returned {type(result).__name__} and did not respond")

    def _not_rendered(self, failure: Failure) -> None:
        self._rendering = None
        error = failure.value
        # What fails after the client has disconnected fails for that reason.
        if isinstance(error, Exception) and not self._is_gone:
            self.failed(error)

    # The end

    def _gone(self) -> None:
        self._is_gone = True
        self._response.gone()

    def _over(self) -> None:
        judgement, self._judgement = self._judgement, None
        if judgement is not None:
            judgement.give_up()
        ticket, self._ticket = self._ticket, None
        if ticket is not None:
            ticket.release()
        shown, self._shown = self._shown, None
        if shown is not None:
            shown.end(is_gone=self._is_gone)
        if self._is_gone and self._rendering is not None:
            self._rendering.cancel()
