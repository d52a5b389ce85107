"""
Decide whether an authenticated client may do what it asks for: whether anything may be changed here, what the rules of
its key say, and what an authorizer says.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from twisted.internet.defer import Deferred, succeed

from s3proxy.authentication.verdict import Authenticated
from s3proxy.authorization.access_request import AccessRequest
from s3proxy.authorization.accesses import Access, deletion_access, needed_accesses
from s3proxy.authorization.buckets import visible_buckets
from s3proxy.authorization.permission import check_permission, is_change
from s3proxy.authorization.rules import Rules
from s3proxy.backend.backend import Backend
from s3proxy.exchange.context import ProxyContext
from s3proxy.exchange.judgement import wait_for
from s3proxy.forwarding.onward import Onward
from s3proxy.interfaces import IAuthorizer
from s3proxy.mending.deletions import Deletion
from s3proxy.s3.address import Address
from s3proxy.s3.classification import Classification
from s3proxy.s3.errors import InternalError, MethodNotAllowed, S3Error, ServiceUnavailable
from s3proxy.s3.operation import DELETE_OBJECTS, LIST_BUCKETS


class Permission:
    """
    The permission of one request.

    Args:
        client_host: The address of the client as text.
        age: See `AccessRequest`.
    """

    __slots__ = ("_address", "_age", "_authenticated", "_classification", "_client_host", "_context", "_rules")

    def __init__(
        self,
        context: ProxyContext,
        authenticated: Authenticated,
        address: Address,
        classification: Classification,
        client_host: str,
        age: float | None,
    ) -> None:
        self._context = context
        self._authenticated = authenticated
        self._address = address
        self._classification = classification
        self._client_host = client_host
        self._age = age
        self._rules: Rules | None = None

    async def judge(self, backend: Backend) -> None:
        """
        Judge the request by its head.

        Raises:
            MethodNotAllowed: It changes something, and the listener or the backend is for reading only.
            AccessDenied: The client may not do this.
            InternalError: A rule of the key cannot be read.
            ServiceUnavailable: The authorizer failed.
        """
        context, head, operation = self._context, self._authenticated.head, self._classification.operation
        if (context.is_read_only or backend.is_read_only) and is_change(operation):
            raise MethodNotAllowed(head.method, operation.level.value)
        if self._authenticated.credential.is_restricted:
            self._rules = self._check_rules()
        if context.authorizer is not None and operation is not DELETE_OBJECTS:
            asking = self._ask(context.authorizer, self._needed())
            try:
                await wait_for(asking)
            except Exception as error:
                raise self._refusal(error) from None

    def apply(self, onward: Onward) -> None:
        """
        Let the rules and the authorizer decide about what only the document of the request, or of its response, names.
        """
        rules, operation = self._rules, self._classification.operation
        if rules is not None and operation is DELETE_OBJECTS:
            onward.may_delete = partial(self._may_delete, rules)
        elif rules is not None and operation is LIST_BUCKETS and rules.hides_buckets:
            onward.edit_result = partial(visible_buckets, rules)
        if self._context.authorizer is not None and operation is DELETE_OBJECTS:
            onward.permit_deletion = partial(self._permit_deletion, self._context.authorizer)

    def _check_rules(self) -> Rules | None:
        credential = self._authenticated.credential
        try:
            return check_permission(
                credential, self._authenticated.head, self._address, self._classification, self._client_host
            )
        except ValueError as error:
            # Sources check their rules. Those of an application's own store are checked only here.
            self._context.log.error(
                "the rules of key {key} cannot be read: {reason}", key=credential.access_key_id, reason=str(error)
            )
            raise InternalError from None

    def _needed(self) -> list[Access]:
        return needed_accesses(self._authenticated.head, self._address, self._classification)

    def _ask(self, authorizer: IAuthorizer, accesses: Iterable[Access]) -> Deferred[None]:
        operation, address = self._classification.operation, self._address
        asked = AccessRequest(operation, tuple(accesses), address, self._authenticated, self._age, self._client_host)
        return authorizer.authorize(asked) or succeed(None)

    def _refusal(self, error: Exception) -> S3Error:
        if isinstance(error, S3Error):
            return error
        self._context.log.error("the authorizer failed: {reason}", reason=str(error))
        return ServiceUnavailable()

    # The objects of a DeleteObjects document

    def _deletion(self, deletion: Deletion) -> Access:
        return deletion_access(self._address.bucket, deletion.key.encode(), names_version=bool(deletion.version_id))

    def _may_delete(self, rules: Rules, deletion: Deletion) -> bool:
        return rules.permits(self._deletion(deletion))

    async def _permit_deletion(self, authorizer: IAuthorizer, deletion: Deletion) -> None:
        asking = self._ask(authorizer, [self._deletion(deletion), *self._needed()])
        asking.addTimeout(self._context.settings.lookup_time, self._context.budgets.reactor)
        try:
            await asking
        except Exception as error:
            raise self._refusal(error) from None
