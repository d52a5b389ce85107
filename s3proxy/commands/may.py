"""
Explain what a client key may do, and which of its rules says so.
"""

from __future__ import annotations

from collections.abc import Collection

from s3proxy.authorization.accesses import Access, Scope, scope_of
from s3proxy.authorization.actions import ACTIONS, LIST_ALL_BUCKETS
from s3proxy.authorization.permission import is_change
from s3proxy.authorization.rules import Rules
from s3proxy.configuration.tables import nearest
from s3proxy.s3.credential import Credential
from s3proxy.s3.operation import DELETE_OBJECT, OPERATIONS, Operation


class UnknownWord(ValueError):
    """
    There is no such key or action.
    """


def explain(keys: Collection[Credential], key_id: str, action: str, resource: str) -> tuple[bool, str]:
    """
    Return whether a key may do something, and why.

    Args:
        action: An S3 action, with or without its prefix ``s3:``.
        resource: ``BUCKET/KEY``; for a listing ``BUCKET/PREFIX``.

    Raises:
        UnknownWord: There is no such key or action.
    """
    named = {key.access_key_id: key for key in keys}
    if key_id not in named:
        raise UnknownWord(f'there is no key "{key_id}"{nearest(key_id, named)}')
    action = action if ":" in action else f"s3:{action}"
    if action not in ACTIONS:
        raise UnknownWord(f'there is no action "{action}"{nearest(action, ACTIONS)}')
    credential = named[key_id]
    if credential.is_disabled:
        return False, "the key is disabled"
    if credential.is_read_only and not _only_reads(action):
        return False, "the key is read_only"
    bucket, _, name = resource.partition("/")
    access = Access(action, _scope(action), bucket.encode(), name.encode())
    is_allowed, why = _decide(Rules(credential.allow, credential.deny), access)
    if is_allowed and credential.networks:
        why += f"; only from {', '.join(credential.networks)}"
    return is_allowed, why


def _decide(rules: Rules, access: Access) -> tuple[bool, str]:
    if access.action == LIST_ALL_BUCKETS and access.bucket and rules.permits(access):
        is_shown = rules.shows(access.bucket)
        return is_shown, f"the list of buckets {'shows' if is_shown else 'leaves out'} this one"
    is_allowed, rule = rules.find(access)
    if is_allowed and not rules.permits(access):
        return False, "a backend could read this name as another one, which is not allowed"
    if rule is not None:
        return is_allowed, f"rule {rule.text!r} of {'allow' if is_allowed else 'deny'}"
    return is_allowed, "no rule denies it" if is_allowed else "no rule of allow matches"


def _scope(action: str) -> Scope:
    if action == DELETE_OBJECT.action:
        return Scope.KEY
    known = _operations_that_need(action)
    # HeadBucket has the same action as a listing, but does not depend on a prefix.
    scopes = [scope_of(each) for each in known if scope_of(each) is not Scope.PRESENCE]
    if scopes:
        return scopes[0]
    return Scope.PRESENCE if known else Scope.KEY


def _only_reads(action: str) -> bool:
    return not all(map(is_change, _operations_that_need(action)))


def _operations_that_need(action: str) -> list[Operation]:
    return [each for each in OPERATIONS.values() if action in {each.action, each.version_action}]
