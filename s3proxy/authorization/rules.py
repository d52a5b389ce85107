"""
Access rules: ``ACTION:BUCKET/PREFIX*``.

A request is allowed if each of its accesses is. A rule of `deny` wins. If there are rules of `allow`, one of them must
match.

A rule without a key, ``ACTION:BUCKET``, is about the bucket and everything in it, like ``ACTION:BUCKET/*``. A rule with
a key is about these keys only: it allows a listing of names that all match, and nothing else of the bucket.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from s3proxy.authorization.accesses import Access, Scope, other_reading
from s3proxy.authorization.actions import LIST_ALL_BUCKETS, find_actions
from s3proxy.authorization.pattern import Pattern
from s3proxy.s3.credential import Credential

_RULE = re.compile(r"(?P<action>\*|[a-z]+|s3(?:express)?:[A-Za-z*]+):(?P<bucket>[^/]+)(?:/(?P<key>.+))?", re.DOTALL)

ACCEPTED_RULE = '"ACTION:BUCKET/PREFIX*"; ACTION is read, list, write, delete, configure, * or an S3 action'
"""
The form of a rule, for error messages and the reference.
"""


class BadRuleError(ValueError):
    """
    A rule cannot be read.
    """


class Rule:
    """
    One rule.

    Args:
        text: As the operator wrote it.

    Raises:
        BadRuleError: The rule has another form, or there is no such action.

    Attributes:
        actions: The S3 actions that it names.
        bucket: The buckets.
        is_whole: Whether it is about everything in its buckets.
    """

    __slots__ = ("_key", "actions", "bucket", "is_whole", "text")

    def __init__(self, text: str) -> None:
        found = _RULE.fullmatch(text)
        if found is None or not text.isprintable():
            raise BadRuleError(f'"{text}" is not like {ACCEPTED_RULE}')
        self.text = text
        self.actions = frozenset(find_actions(found["action"]))
        if not self.actions:
            raise BadRuleError(f'there is no action "{found["action"]}"')
        self.bucket = Pattern(found["bucket"].encode())
        self._key = Pattern((found["key"] or "*").encode())
        self.is_whole = self._key.matches_all

    def __repr__(self) -> str:
        return f"<Rule {self.text}>"

    def allows(self, access: Access) -> bool:
        """
        Return True if the rule covers all of an access, whose action and bucket are among the rule's.
        """
        scope = access.scope
        if scope is Scope.KEY:
            return self._key.matches(access.name)
        if scope is Scope.PREFIX:
            return self._key.matches_all_below(access.name)
        return self.is_whole or scope is Scope.PRESENCE

    def denies(self, access: Access) -> bool:
        """
        Return True if the rule covers some of an access, whose action and bucket are among the rule's.
        """
        scope = access.scope
        if scope is Scope.KEY:
            return self._key.matches(access.name)
        if scope is Scope.PREFIX:
            return self._key.matches_some_below(access.name)
        return self.is_whole


class _RulesOfAction:
    """
    The rules that name one action, in their order, by bucket. Most rules name one bucket.
    """

    __slots__ = ("_by_bucket", "_wild")

    def __init__(self, rules: Iterable[Rule]) -> None:
        named = {rule.bucket.literal for rule in rules}
        self._wild = tuple(rule for rule in rules if rule.bucket.literal is None)
        self._by_bucket = {
            bucket: [rule for rule in rules if rule.bucket.matches(bucket)] for bucket in named if bucket is not None
        }

    def about(self, bucket: bytes) -> list[Rule]:
        """
        Return the rules whose buckets include one.
        """
        named = self._by_bucket.get(bucket)
        return [rule for rule in self._wild if rule.bucket.matches(bucket)] if named is None else named


_NONE = _RulesOfAction(())


class Rules:
    """
    The rules of one key.

    Args:
        allow: None if everything is allowed that is not denied.

    Raises:
        BadRuleError: A rule cannot be read.
    """

    __slots__ = ("_allowed", "_allowing", "_denied", "_hiding")

    def __init__(self, allow: Iterable[str] | None, deny: Iterable[str]) -> None:
        self._allowing = None if allow is None else tuple(map(Rule, allow))
        denying = tuple(map(Rule, deny))
        # The rules that deny the listing of whole buckets.
        self._hiding = tuple(rule for rule in denying if rule.is_whole and LIST_ALL_BUCKETS in rule.actions)
        self._allowed = _by_action(self._allowing or ())
        self._denied = _by_action(denying)

    def find(self, access: Access) -> tuple[bool, Rule | None]:
        """
        Return whether an access is allowed, and the rule that decides; None if no rule matches.
        """
        if access.scope is Scope.SERVICE:
            return self._find_of_service()
        for rule in self._denied.get(access.action, _NONE).about(access.bucket):
            if rule.denies(access):
                return False, rule
        if self._allowing is None:
            return True, None
        for rule in self._allowed.get(access.action, _NONE).about(access.bucket):
            if rule.allows(access):
                return True, rule
        return False, None

    def permits(self, access: Access) -> bool:
        """
        Return True if an access is allowed, under every name that a backend could understand.
        """
        if not self.find(access)[0]:
            return False
        if b":" in access.bucket and self._denies(access._replace(bucket=access.bucket.rpartition(b":")[2])):
            # Ceph reads a tenant before the colon, which may be the client's own.
            return False
        if access.scope is not Scope.KEY:
            return True
        if b"\0" in access.name:
            # A backend that is written in C may end the key there.
            return False
        other = other_reading(access.name)
        return other is None or (bool(other) and self.find(access._replace(name=other))[0])

    def _denies(self, access: Access) -> bool:
        return any(rule.denies(access) for rule in self._denied.get(access.action, _NONE).about(access.bucket))

    @property
    def hides_buckets(self) -> bool:
        """
        Whether ListBuckets may have to leave out buckets.
        """
        return self._allowing is not None or bool(self._hiding)

    def shows(self, bucket: bytes) -> bool:
        """
        Return True if ListBuckets shows a bucket: anything in it is allowed, and its listing is not denied.
        """
        if any(rule.bucket.matches(bucket) for rule in self._hiding):
            return False
        return self._allowing is None or any(rule.bucket.matches(bucket) for rule in self._allowing)

    def _find_of_service(self) -> tuple[bool, Rule | None]:
        for rule in self._hiding:
            if rule.bucket.matches_all:
                return False, rule
        # Buckets in which nothing is allowed are left out of the response.
        return self._allowing is None or bool(self._allowing), None


@lru_cache(4096)
def _compiled(allow: tuple[str, ...] | None, deny: tuple[str, ...]) -> Rules:
    return Rules(allow, deny)


def rules_of(credential: Credential) -> Rules | None:
    """
    Return the rules of a key; None if it has none.

    Raises:
        BadRuleError: A rule cannot be read.
    """
    if credential.allow is None and not credential.deny:
        return None
    return _compiled(credential.allow, credential.deny)


def _by_action(rules: Iterable[Rule]) -> dict[str, _RulesOfAction]:
    found: dict[str, list[Rule]] = {}
    for rule in rules:
        for action in rule.actions:
            found.setdefault(action, []).append(rule)
    return {action: _RulesOfAction(some) for action, some in found.items()}
