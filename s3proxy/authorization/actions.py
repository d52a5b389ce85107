"""
The actions that a rule can name: S3's own, and the groups of them that most rules need.
"""

from __future__ import annotations

from collections.abc import Iterable

from s3proxy.authorization.pattern import Pattern
from s3proxy.s3.operation import OPERATIONS, READ_METHODS, Level, Operation

ANY_ACTION = "*"

LIST_ALL_BUCKETS = "s3:ListAllMyBuckets"
GET_BUCKET_LOCATION = "s3:GetBucketLocation"
BYPASS_RETENTION = "s3:BypassGovernanceRetention"

_LISTS = frozenset(
    {
        LIST_ALL_BUCKETS,
        "s3:ListBucket",
        "s3:ListBucketMultipartUploads",
        "s3:ListBucketVersions",
        "s3:ListMultipartUploadParts",
    }
)
_DELETES = frozenset({"s3:DeleteObject", "s3:DeleteObjectVersion"})


def _group(operation: Operation, action: str) -> str:
    """
    Return the group of an action that an operation needs.
    """
    if action in _LISTS:
        return "list"
    if action in _DELETES:
        return "delete"
    if operation.level is not Level.OBJECT or not action.startswith("s3:"):
        return "configure"
    return "read" if operation.method in READ_METHODS or operation.name == "SelectObjectContent" else "write"


def _groups() -> dict[str, frozenset[str]]:
    members: dict[str, set[str]] = {name: set() for name in ("read", "list", "write", "delete", "configure")}
    for operation in OPERATIONS.values():
        for action in (operation.action, operation.version_action):
            if action is not None:
                members[_group(operation, action)].add(action)
    members["configure"].add(BYPASS_RETENTION)
    for group in members.values():
        # Many clients ask for the region of a bucket before they do anything with it.
        group.add(GET_BUCKET_LOCATION)
    return {name: frozenset(actions) for name, actions in members.items()}


GROUPS = _groups()
"""
The actions of each group. Each action is in one of them, except that all have GetBucketLocation.

``read`` and ``write`` are about objects, with their tags, access control lists, retention and annotations; ``delete``
about objects and their versions; ``list`` about what a bucket contains, and which buckets there are; ``configure``
about buckets themselves.
"""

ACTIONS: frozenset[str] = frozenset().union(*GROUPS.values())
"""
All actions.
"""


def find_actions(word: str) -> Iterable[str]:
    """
    Return the actions that a rule's first word names; none if there is no such action.

    Args:
        word: A group, ``*``, or an S3 action, in which ``*`` stands for any text.
    """
    if word == ANY_ACTION:
        return ACTIONS
    if word in GROUPS:
        return GROUPS[word]
    if "*" not in word:
        return ACTIONS & {word}
    pattern = Pattern(word.encode())
    return [action for action in ACTIONS if pattern.matches(action.encode())]
