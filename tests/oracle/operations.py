"""
The S3 operation of a request, by botocore's model of the API: neither its code nor its tables are s3proxy's.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"

_ELSEWHERE = frozenset({"ListDirectoryBuckets", "WriteGetObjectResponse"})
"""
Operations of the model that are sent to other hosts: S3 Express's control endpoint, and Object Lambda's.
"""

_SAME = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
"""
Names that the model has twice.
"""

IGNORED = frozenset({b"x-id"})
"""
Parameters that choose nothing: SDKs name the operation in ``x-id``, and S3 ignores it.
"""


@dataclass(frozen=True, slots=True)
class Operation:
    """
    One operation.

    Attributes:
        fixed: Parameters in its URL, each with its value if the value matters.
        required: Further parameters that it must have.
        optional: Parameters that it may have.
        is_copy: Whether x-amz-copy-source chooses it.
    """

    name: str
    fixed: Mapping[bytes, bytes]
    required: frozenset[bytes]
    optional: frozenset[bytes]
    is_copy: bool


@cache
def table() -> dict[tuple[bytes, str], list[Operation]]:
    """
    Return all operations, by method and level.
    """
    spec = find_spec("botocore")
    assert spec is not None
    assert spec.origin is not None
    found = sorted((Path(spec.origin).parent / "data" / "s3").glob("*/service-2.json*"))[-1]
    raw = found.read_bytes()
    model = json.loads(gzip.decompress(raw) if found.suffix == ".gz" else raw)
    operations: dict[tuple[bytes, str], list[Operation]] = {}
    for name, operation in model["operations"].items():
        if name in _ELSEWHERE:
            continue
        path, _, query = operation["http"]["requestUri"].partition("?")
        level = OBJECT if "{Key+}" in path else BUCKET if "{Bucket}" in path else SERVICE
        shape = model["shapes"][operation["input"]["shape"]] if "input" in operation else {"members": {}}
        required, optional, is_copy = set(), set(), False
        for member, value in shape["members"].items():
            if value.get("location") == "querystring":
                kind = required if member in shape.get("required", ()) else optional
                kind.add(value["locationName"].encode())
            elif value.get("locationName") == "x-amz-copy-source":
                is_copy = True
        fixed = dict(item.encode().partition(b"=")[::2] for item in query.split("&") if query)
        row = Operation(_SAME.get(name, name), fixed, frozenset(required), frozenset(optional), is_copy)
        operations.setdefault((operation["http"]["method"].encode(), level), []).append(row)
    return operations


@cache
def known_names() -> frozenset[bytes]:
    """
    Return every parameter that some operation has.
    """
    names: set[bytes] = set(IGNORED)
    for rows in table().values():
        for row in rows:
            names |= row.fixed.keys() | row.required | row.optional
    return frozenset(names)


@cache
def subresources() -> frozenset[bytes]:
    """
    Return the parameters that choose an operation: they are fixed, or required.
    """
    names: set[bytes] = set()
    for rows in table().values():
        for row in rows:
            names |= row.fixed.keys() | row.required
    return frozenset(names)


@cache
def parameters_of(operation: str) -> frozenset[bytes]:
    """
    Return the parameters that an operation may have.
    """
    found = [row for rows in table().values() for row in rows if row.name == operation]
    return frozenset(name for row in found for name in (*row.fixed, *row.required, *row.optional))


_classified: dict[tuple[bytes, str, frozenset[tuple[bytes, bytes]], bool], tuple[str | None, frozenset[bytes]]] = {}


def classify(
    method: bytes, level: str, parameters: Mapping[bytes, bytes], *, is_copy: bool
) -> tuple[str | None, frozenset[bytes]]:
    """
    Return the operation's name, None if S3 has no such operation, and the parameters that do not belong to the
    operation.

    Args:
        parameters: Decoded names and values.
        is_copy: Whether there is an x-amz-copy-source.
    """
    # Only these values choose an operation.
    values = frozenset(
        (name, value if name in {b"list-type", b"select-type"} else b"") for name, value in parameters.items()
    )
    key = (method, level, values, is_copy)
    found = _classified.get(key)
    if found is None:
        if len(_classified) > 10_000:
            _classified.clear()
        found = _classified[key] = _classify(method, level, dict(values), is_copy=is_copy)
    return found


def _classify(
    method: bytes, level: str, parameters: dict[bytes, bytes], *, is_copy: bool
) -> tuple[str | None, frozenset[bytes]]:
    names = parameters.keys()
    if method == b"OPTIONS" and level != SERVICE:
        return "Preflight", frozenset(names - known_names())
    best: Operation | None = None
    for row in table().get((method, level), ()):
        if not row.required <= names or (row.is_copy and not is_copy):
            continue
        if any(name not in parameters or (value and parameters[name] != value) for name, value in row.fixed.items()):
            continue
        if best is None or _weight(row) > _weight(best):
            best = row
    if best is None:
        return None, frozenset(names)
    return best.name, frozenset(names - best.fixed.keys() - best.required - best.optional - IGNORED)


def _weight(row: Operation) -> int:
    return 2 * (len(row.fixed) + len(row.required)) + row.is_copy
