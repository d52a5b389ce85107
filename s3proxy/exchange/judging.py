"""
Judge a request, in this order: who sent it, which operation it is, which backend gets it, whether it is allowed.

Until that is done, s3proxy reads nothing of its body and sends nothing to a backend.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Protocol

from twisted.internet.defer import Deferred

from s3proxy.authentication.reading import carries_form, read_claim, read_form_claim
from s3proxy.authentication.verdict import Authenticated, admit_anonymous, admit_preflight, verify_claim
from s3proxy.backend.backend import Backend
from s3proxy.body.plan import plan_body
from s3proxy.exchange.admitted import Admitted
from s3proxy.exchange.budget import Spent
from s3proxy.exchange.context import ClientContext, ProxyContext
from s3proxy.exchange.forms import FormReading
from s3proxy.exchange.judgement import wait_for
from s3proxy.exchange.permission import Permission
from s3proxy.exchange.record import Record
from s3proxy.exchange.replay import ReplayWindow
from s3proxy.forwarding.conditions import Conditions
from s3proxy.forwarding.onward import Onward
from s3proxy.frontend.forwarded import Origin
from s3proxy.mending.keys import check_keys
from s3proxy.mending.mending import Mending
from s3proxy.mending.restrictions import check_restrictions
from s3proxy.multipart.context import MultipartContext
from s3proxy.multipart.operations import MultipartRequest
from s3proxy.postobject.upload import form_key
from s3proxy.profiles.allowed import check_taken, refusal_of_method
from s3proxy.profiles.surfaces import check_private_surface
from s3proxy.s3.address import Address, parse_address
from s3proxy.s3.claim import Claim
from s3proxy.s3.classification import WRITING_METHODS, Classification, check_method, check_request, classify
from s3proxy.s3.credential import Credential
from s3proxy.s3.errors import (
    AccessDenied,
    MethodNotAllowed,
    NotImplementedByProxy,
    ServiceUnavailable,
    SlowDown,
)
from s3proxy.s3.forwarded import ForwardedHeaders
from s3proxy.s3.head import METHODS, Fields, RequestHead
from s3proxy.s3.limits import MAX_KEY_SIZE
from s3proxy.s3.operation import PUT_OBJECT, BodyUse, Operation

_CHANGING_METHODS = frozenset({b"PUT", b"POST", b"DELETE"})


class JudgedRequest(Protocol):
    """
    The request to judge: a `s3proxy.frontend.request.StreamedRequest`.
    """

    head: RequestHead
    origin: Origin


async def authenticate(claim: Claim, context: ClientContext, now: datetime) -> Authenticated:
    """
    Look up the key of a claim, and return the authenticated request. Waits only by `wait_for`.

    Args:
        now: Aware, UTC.

    Raises:
        S3Error: The error for the client.
    """
    found = context.credentials.look_up(claim.claimed_access_key_id)
    if found is not None and not isinstance(found, Credential):
        found = await wait_for_credential(found, context)
    authenticated = verify_claim(claim, found, context.settings.realm, now)
    if authenticated.exempted:
        context.counts.exempted.update(authenticated.exempted)
    return authenticated


async def wait_for_credential(found: Deferred[Credential | None], context: ClientContext) -> Credential | None:
    """
    Wait for a source of credentials.

    Raises:
        ServiceUnavailable: The source failed. That does not mean that the key is unknown.
    """
    try:
        return await wait_for(found)
    except Exception as error:
        context.log.error("the credential source failed: {reason}", reason=str(error))
        raise ServiceUnavailable from None


class Judge:
    """
    Judges one request.

    Args:
        record: Gets each fact as soon as it is known.
    """

    __slots__ = ("_context", "_record", "_request")

    def __init__(self, context: ProxyContext, request: JudgedRequest, record: Record) -> None:
        self._context = context
        self._request = request
        self._record = record

    async def judge(self) -> Admitted | None:
        """
        Judge a request by its head.

        Returns:
            None if the request carries a form, whose signature is in its body: see `judge_form`.

        Raises:
            S3Error: The error for the client.
        """
        context, head, record = self._context, self._request.head, self._record
        realm, claim = context.settings.realm, None
        if context.is_draining:
            raise SlowDown
        if head.method not in METHODS:
            check_method(head.method)
        record.address = address = parse_address(head.raw_path, head.host, realm.domains)
        if head.method == b"OPTIONS":
            authenticated = admit_preflight(head)
        else:
            claim = read_claim(head, address, realm, record.received_at)
            if claim is not None:
                # As `authenticate` does. Written out: another coroutine for each request would cost time.
                found = context.credentials.look_up(claim.claimed_access_key_id)
                if found is not None and not isinstance(found, Credential):
                    found = await wait_for_credential(found, context)
                authenticated = verify_claim(claim, found, realm, record.received_at)
                if authenticated.exempted:
                    context.counts.exempted.update(authenticated.exempted)
                if context.settings.replay_window is not None and head.method in _CHANGING_METHODS:
                    self._pass_once(claim, context.settings.replay_window)
            elif carries_form(head, address):
                return None
            else:
                authenticated = admit_anonymous(head, address, classify(head, address), realm)
        return await self._admit(authenticated, address, claim, None)

    async def judge_form(self, form: FormReading) -> Admitted:
        """
        Judge a form by its fields, which include the signature and the policy. Its file has yet to arrive.

        Raises:
            S3Error: The error for the client.
        """
        context, request_head, intake, address = self._context, self._request.head, form.intake, form.address
        # Signature and policy are judged at this moment, not at the end of the file, which may take longer.
        now = context.wall_clock()
        # A form without a key is refused before a secret is looked up.
        form_key(intake.form)
        claim = read_form_claim(request_head, intake.form, context.settings.realm)
        if claim is not None:
            authenticated = await authenticate(claim, context, now)
            intake.check_policy(now)
        else:
            # An anonymous form is refused before anything else of it is parsed. The headers of its request say nothing
            # about the file.
            bare = replace(request_head, headers=[], fields=Fields())
            authenticated = admit_anonymous(bare, address, Classification(PUT_OBJECT), context.settings.realm)
        head, address = intake.upload()
        self._record.address = address
        # The policy covers every field, and so every header that was made from a field.
        authenticated = replace(authenticated, head=head, signed_headers=frozenset(head.fields))
        return await self._admit(authenticated, address, claim, form)

    # Who sent it

    def _pass_once(self, claim: Claim, window: ReplayWindow) -> None:
        if not window.admit(claim.fingerprint(), self._context.clock(), claim.claimed_access_key_id):
            raise AccessDenied("This request was sent before, and may not be repeated.")
        self._record.passed_once = claim

    # Which operation it is, which backend gets it, and whether it is allowed

    async def _admit(
        self, authenticated: Authenticated, address: Address, claim: Claim | None, form: FormReading | None
    ) -> Admitted:
        context, record, head = self._context, self._record, authenticated.head
        record.authenticated = authenticated
        classification = self._classify(authenticated, address)
        record.operation = classification.operation
        record.backend = backend = context.choose_backend(head, address, authenticated)
        _check_profile(backend, head, address, classification)
        permission = None
        if (
            context.authorizer is not None
            or context.is_read_only
            or backend.is_read_only
            or authenticated.credential.is_restricted
        ):
            permission = self._permission(authenticated, address, classification, claim)
            await permission.judge(backend)
        computes_md5 = backend.account.profile.loses_objects
        if form is not None:
            plan = form.plan(head, computes_md5=computes_md5)
        else:
            plan = plan_body(
                head,
                classification.operation,
                authenticated,
                context.settings.body_limits,
                spooled_size=backend.spooled_size,
                computes_md5=computes_md5,
                exempted=context.counts.exempted,
            )
        multipart = None
        if backend.keeps_multipart and classification.operation.is_part_of_upload:
            multipart = self._keep_upload(authenticated, address, backend, classification.operation)
            if plan.use is BodyUse.OBJECT:
                # A part goes to the disk, whatever its size.
                plan = replace(plan, streams=False, memory_size=0)
        has_body = self._request.head.has_body
        ticket = context.budgets.admit(
            authenticated.access_key_id,
            authenticated.credential.budget,
            has_body=has_body,
            memory=plan.memory if has_body else 0,
        )
        if ticket is not None and ticket.waiting is not None:
            await self._wait_for_ticket(ticket.waiting)
        try:
            onward = Onward(head, address, classification, authenticated, backend, context.settings.realm.regions)
            mending = self._adapt(onward, backend, classification.operation, checks_size=multipart is None)
            if permission is not None:
                permission.apply(onward)
            if multipart is not None and (preparing := multipart.prepare(plan.length)) is not None:
                await wait_for(preparing)
        except BaseException:
            if multipart is not None:
                multipart.discard()
            if ticket is not None:
                ticket.release()
            raise
        return Admitted(
            authenticated,
            address,
            classification.operation,
            backend,
            plan,
            ticket,
            onward,
            mending,
            Conditions(onward) if onward.is_conditional else None,
            multipart,
        )

    def _classify(self, authenticated: Authenticated, address: Address) -> Classification:
        head = authenticated.head
        try:
            classification = classify(head, address, authenticated.covered_names)
        except MethodNotAllowed as not_allowed:
            backend = self._context.choose_backend(head, address, authenticated)
            raise refusal_of_method(backend.allowed, head, address, not_allowed) from None
        if head.method in WRITING_METHODS or len(address.key) > MAX_KEY_SIZE:
            check_request(head, address, classification.operation)
        return classification

    def _permission(
        self, authenticated: Authenticated, address: Address, classification: Classification, claim: Claim | None
    ) -> Permission:
        signed_at = claim.signed_at() if claim is not None else None
        age = None if signed_at is None else (self._record.received_at - signed_at).total_seconds()
        client_host = self._request.origin.client_host
        return Permission(self._context, authenticated, address, classification, client_host, age)

    # What it may take of the shared budgets

    def _keep_upload(
        self, authenticated: Authenticated, address: Address, backend: Backend, operation: Operation
    ) -> MultipartRequest:
        context, record = self._context, self._record
        if context.multipart is None:
            raise NotImplementedByProxy
        multipart = MultipartContext(
            authenticated.head,
            address,
            operation,
            authenticated,
            backend,
            context.settings.realm.regions,
            self._request.origin,
            context.settings.body_limits.object_size,
            context.wall_clock,
            record.write_outcome,
            record.write_failure,
        )
        return MultipartRequest(context.multipart, multipart)

    async def _wait_for_ticket(self, waiting: Deferred[None]) -> None:
        try:
            await wait_for(waiting, is_bounded=False)
        except Spent:
            raise self._record.error_of_budget() from None

    # What the backend gets

    def _adapt(self, onward: Onward, backend: Backend, operation: Operation, *, checks_size: bool) -> Mending | None:
        counts, mending = self._context.counts, None
        counts.dropped_headers += onward.dropped_count
        if backend.account.profile.mends(operation.name):
            mending = onward.mend()
            counts.lost_headers.update((backend.name, name.decode()) for name in mending.lost)
        if backend.forwarded != ForwardedHeaders.NONE:
            onward.tell_origin(self._request.origin)
        if checks_size and backend.account.profile.restrictions is not None:
            onward.check_size(self._record.received_at)
        return mending


def _check_profile(backend: Backend, head: RequestHead, address: Address, classification: Classification) -> None:
    """
    Refuse a request that the backend does not support or would misread.
    """
    profile = backend.account.profile
    check_private_surface(profile, head, address, backend.allowed, classification.operation.name)
    check_taken(backend.allowed, head, classification)
    if profile.refused_keys is not None:
        check_keys(profile, head, address, classification.operation)
    if profile.restrictions is not None:
        check_restrictions(profile, head, address, classification, keeps_multipart=backend.keeps_multipart)
