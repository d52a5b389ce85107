"""
Access rules: their grammar, and their decisions compared with a plain model of them.
"""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from s3proxy.authorization.accesses import Access, Scope
from s3proxy.authorization.actions import ACTIONS, GROUPS
from s3proxy.authorization.rules import BadRuleError, Rule, Rules, rules_of
from s3proxy.s3.credential import Credential
from s3proxy.s3.operation import OPERATIONS

MEMBERS = {
    "s3:GetObject": {"read"},
    "s3:GetObjectVersion": {"read"},
    "s3:PutObject": {"write"},
    "s3:PutObjectTagging": {"write"},
    "s3:DeleteObject": {"delete"},
    "s3:ListBucket": {"list"},
    "s3:ListAllMyBuckets": {"list"},
    "s3:PutBucketPolicy": {"configure"},
    "s3:GetBucketLocation": {"read", "list", "write", "delete", "configure"},
}
"""
Some actions, and the groups that contain them.
"""

ENDINGS = ["".join(letters) for size in range(5) for letters in itertools.product("abc", repeat=size)]


def names(rule: str, action: str) -> bool:
    """
    Return True if a rule names an action.
    """
    word = rule.rpartition(":")[0]
    return word in {"*", action} or word in MEMBERS[action] or (word == "s3:Get*" and action.startswith("s3:Get"))


def is_like(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name, re.DOTALL) is not None


def covers(rule: str, access: Access, *, is_deny: bool) -> bool:
    """
    Return True if a rule allows all of an access, or denies some of it: by trying names.
    """
    bucket, slash, key = rule.rpartition(":")[2].partition("/")
    key = key if slash else "*"
    if not is_like(bucket, access.bucket.decode()):
        return False
    name, is_whole = access.name.decode(), not key.strip("*") and key != ""
    if access.scope is Scope.KEY:
        return is_like(key, name)
    if access.scope is Scope.PREFIX:
        return (any if is_deny else all)([is_like(key, name + ending) for ending in ENDINGS])
    return is_whole or (access.scope is Scope.PRESENCE and not is_deny)


def model(allow: list[str] | None, deny: list[str], access: Access) -> bool:
    """
    Return the decision.
    """
    if any(names(rule, access.action) and covers(rule, access, is_deny=True) for rule in deny):
        return False
    if allow is None:
        return True
    return any(names(rule, access.action) and covers(rule, access, is_deny=False) for rule in allow)


WORDS = ("*", *GROUPS, "s3:Get*", *MEMBERS)
RULES = st.builds(
    lambda word, bucket, slash, key: f"{word}:{bucket}" + (f"/{key}" if slash else ""),
    st.sampled_from(WORDS),
    st.sampled_from(("*", "one", "two", "o*", "*o")),
    st.booleans(),
    st.text("ab*", min_size=1, max_size=3),
)
ACCESSES = st.builds(
    Access,
    st.sampled_from(sorted(MEMBERS)),
    st.sampled_from([scope for scope in Scope if scope is not Scope.SERVICE]),
    st.sampled_from((b"one", b"two")),
    st.text("abc", max_size=3).map(str.encode),
)


@given(st.none() | st.lists(RULES, max_size=4), st.lists(RULES, max_size=3), ACCESSES)
def test_a_decision_is_that_of_the_model(allow: list[str] | None, deny: list[str], access: Access) -> None:
    assert Rules(allow, deny).permits(access) == model(allow, deny, access)


@given(st.none() | st.lists(RULES, max_size=4), st.lists(RULES, max_size=3))
def test_a_bucket_that_is_shown_is_one_where_something_is_allowed(allow: list[str] | None, deny: list[str]) -> None:
    rules = Rules(allow, deny)
    for bucket in ("one", "two"):
        has_rule = allow is None or any(is_like(rule.rpartition(":")[2].partition("/")[0], bucket) for rule in allow)
        listing = Access("s3:ListAllMyBuckets", Scope.WHOLE, bucket.encode())
        assert rules.shows(bucket.encode()) == (has_rule and model(None, deny, listing))
        assert rules.hides_buckets or rules.shows(bucket.encode())


def test_every_action_is_in_a_group() -> None:
    needed = {action for each in OPERATIONS.values() for action in (each.action, each.version_action)} - {None}
    assert needed <= ACTIONS
    for action in sorted(needed - {"s3:GetBucketLocation"}):
        assert sum(action in group for group in GROUPS.values()) == 1, action


@pytest.mark.parametrize(("action", "groups"), MEMBERS.items())
def test_the_group_of_an_action(action: str, groups: set[str]) -> None:
    assert {name for name, group in GROUPS.items() if action in group} == groups


@pytest.mark.parametrize(
    "text",
    [
        "",
        "read",
        "read:",
        "read:/key",
        "read:bucket/",
        "reed:bucket/*",
        "Read:bucket/*",
        "s3:GetObjects:bucket/*",
        "s3:get*:bucket/*",
        "s3::bucket",
        "iam:PassRole:bucket",
        "read:bucket/a\nb",
        "read: \0",
    ],
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(BadRuleError):
        Rule(text)


@pytest.mark.parametrize(
    "text", ["read:b", "*:*", "s3:*:b/*", "s3express:CreateSession:b", "read:t:b/*", "write:b/ä/*"]
)
def test_what_is_a_rule(text: str) -> None:
    assert Rule(text).actions


def test_an_empty_list_allows_nothing() -> None:
    rules = Rules((), ())
    assert not rules.permits(Access("s3:GetObject", Scope.KEY, b"b", b"k"))
    assert not rules.permits(Access("s3:ListAllMyBuckets", Scope.SERVICE, b""))


def test_a_key_without_rules_has_none() -> None:
    assert rules_of(Credential("KEY", ("secret",))) is None
    assert rules_of(Credential("KEY", ("secret",), allow=())) is not None
    assert rules_of(Credential("KEY", ("secret",), deny=("read:b",))) is not None


@pytest.mark.parametrize(
    ("deny", "is_allowed"),
    [((), True), (("list:one",), True), (("list:*",), False), (("list:*/x*",), True), (("read:*",), True)],
)
def test_the_list_of_buckets_can_be_denied(deny: tuple[str, ...], is_allowed: bool) -> None:
    assert Rules(None, deny).permits(Access("s3:ListAllMyBuckets", Scope.SERVICE, b"")) == is_allowed
