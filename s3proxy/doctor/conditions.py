"""
How a storage system treats the conditions of writes.

Each probe sets a condition that does not hold, and checks if the write was carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from s3proxy.doctor import writes
from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Finding, Judgement, Probe, Verdict, judge, unclear
from s3proxy.doctor.writes import ABSENT, Seen
from s3proxy.profiles.ignored import IN_DOCUMENT
from s3proxy.s3.head import HeaderList
from s3proxy.s3.identity_enum import IdentityEnum

FORMER = b"the object before the write"
NEW = b"what is written under a condition"

OTHER_TAG = b'"00000000000000000000000000000000"'
LONG_AGO = b"Thu, 01 Feb 2001 00:00:00 GMT"


class Treatment(IdentityEnum):
    """
    How a storage system treats a condition. The reason of a finding begins with it.
    """

    EVALUATED = "evaluated"
    IGNORED = "ignored"
    REFUSED = "refused"
    "a write with the condition is refused even if it holds"


def _treated(treatment: Treatment, why: str) -> Judgement:
    return judge(treatment is not Treatment.IGNORED, f"{treatment.value}: {why}")


def treatment_of(finding: Finding) -> Treatment | None:
    """
    Return the treatment that a probe of a condition found; None if that is not clear.
    """
    if finding.verdict is Verdict.UNCLEAR:
        return None
    return Treatment(finding.why.partition(":")[0])


# Writes that may have a condition


async def _put(storage: Storage, raw_key: bytes, headers: HeaderList) -> Response:
    return await storage.put(raw_key, NEW, headers)


async def _complete(storage: Storage, raw_key: bytes, headers: HeaderList) -> Response:
    return (await writes.upload(storage, raw_key, NEW, headers))[1]


async def _copy(storage: Storage, raw_key: bytes, headers: HeaderList) -> Response:
    source = raw_key + b"-source"
    await storage.put(source, NEW)
    return await writes.copy(storage, raw_key, source, headers)


async def _delete(storage: Storage, raw_key: bytes, headers: HeaderList) -> Response:
    return await storage.ask(b"DELETE", storage.target(raw_key), headers)


async def _delete_listed(storage: Storage, raw_key: bytes, headers: HeaderList) -> Response:
    return await writes.delete_listed(storage, raw_key, dict(headers).get(IN_DOCUMENT))


_WRITTEN: frozenset[bytes | None] = frozenset({NEW, FORMER + NEW})
_DELETED: frozenset[bytes | None] = frozenset({None})


@dataclass(frozen=True, slots=True)
class _Write:
    act: Callable[[Storage, bytes, HeaderList], Coroutine[Any, Any, Response]]
    results: frozenset[bytes | None] = _WRITTEN
    "the content of the object once the write is carried out"


_WRITES = {
    "PutObject": _Write(_put),
    "CompleteMultipartUpload": _Write(_complete),
    "CopyObject": _Write(_copy),
    "DeleteObject": _Write(_delete, _DELETED),
    "DeleteObjects": _Write(_delete_listed, _DELETED),
}


# Conditions


Value = Callable[[Seen], bytes]
"""
Returns the value of a condition for an object.
"""


@dataclass(frozen=True, slots=True)
class Condition:
    """
    A condition of a write.

    Attributes:
        name: The name of its probe.
        header: The header's name in lower case; `IN_DOCUMENT` for an entity tag in the document.
        broken: Returns a value that does not hold for an object.
        held: Return values that hold. One is enough: some storage systems do not read every form.
        holds_for_none: Whether it holds if there is no object.
    """

    name: str
    operation: str
    header: bytes
    broken: Value
    held: tuple[Value, ...]
    holds_for_none: bool = False

    @property
    def about(self) -> str:
        """
        The condition, as text.
        """
        return f"{_SPELLED.get(self.header, self.header.decode())} of {self.operation}"


_SPELLED = {IN_DOCUMENT: "ETag", b"if-match": "If-Match", b"if-none-match": "If-None-Match"}


def _other_tag(seen: Seen) -> bytes:
    return OTHER_TAG


def _tag(seen: Seen) -> bytes:
    return seen.etag


def _bare_tag(seen: Seen) -> bytes:
    return seen.etag.strip(b'"')


def _any(seen: Seen) -> bytes:
    return b"*"


def _one(seen: Seen) -> bytes:
    return b"1"


def _size(seen: Seen) -> bytes:
    return b"%d" % seen.size


def _larger_size(seen: Seen) -> bytes:
    return b"%d" % (seen.size + 1)


def _long_ago(seen: Seen) -> bytes:
    return LONG_AGO


def _modified(seen: Seen) -> bytes:
    return seen.modified


_TAGS = (_tag, _bare_tag)
_MODIFIED_TIME = b"x-amz-if-match-last-modified-time"

_PUT_IF_MATCH = Condition("put-if-match", "PutObject", b"if-match", _other_tag, _TAGS)

CONDITIONS = (
    _PUT_IF_MATCH,
    Condition("put-if-none-match", "PutObject", b"if-none-match", _any, (_any,), holds_for_none=True),
    # It must be the size of the object. A storage system that ignores it replaces the object.
    Condition("put-write-offset", "PutObject", b"x-amz-write-offset-bytes", _one, (_size,)),
    Condition("complete-if-match", "CompleteMultipartUpload", b"if-match", _other_tag, _TAGS),
    Condition(
        "complete-if-none-match", "CompleteMultipartUpload", b"if-none-match", _any, (_any,), holds_for_none=True
    ),
    Condition("copy-if-match", "CopyObject", b"if-match", _other_tag, _TAGS),
    Condition("copy-if-none-match", "CopyObject", b"if-none-match", _any, (_any,), holds_for_none=True),
    Condition("delete-if-match", "DeleteObject", b"if-match", _other_tag, _TAGS),
    Condition("delete-if-match-size", "DeleteObject", b"x-amz-if-match-size", _larger_size, (_size,)),
    Condition("delete-if-match-modified", "DeleteObject", _MODIFIED_TIME, _long_ago, (_modified,)),
    Condition("delete-objects-etag", "DeleteObjects", IN_DOCUMENT, _other_tag, _TAGS),
)
"""
All conditions that have a probe. The condition of AbortMultipartUpload has none: it is not about an object.
"""


@dataclass(frozen=True, slots=True)
class _Attempt:
    response: Response
    is_done: bool

    def __str__(self) -> str:
        return self.response.outcome


async def _attempt(
    storage: Storage, condition: Condition, word: str, value: Value | None, *, is_there: bool = True
) -> _Attempt:
    """
    Write under a condition to an object of its own.

    Args:
        word: The end of the raw key.
        value: The value of the condition; None for no condition.
        is_there: Whether the object exists before.
    """
    raw_key = f"{condition.name}-{word}".encode()
    seen = await writes.store(storage, raw_key, FORMER) if is_there else ABSENT
    headers: HeaderList = [] if value is None else [(condition.header, value(seen))]
    write = _WRITES[condition.operation]
    response = await write.act(storage, raw_key, headers)
    return _Attempt(response, await writes.stored(storage, raw_key) in write.results)


async def _treats(condition: Condition, storage: Storage) -> Judgement:
    broken = await _attempt(storage, condition, "broken", condition.broken)
    if broken.is_done:
        return _treated(Treatment.IGNORED, f"{broken}, and the write is carried out")
    for number, value in enumerate(condition.held):
        held = await _attempt(storage, condition, f"held-{number}", value, is_there=not condition.holds_for_none)
        if held.is_done:
            return _treated(Treatment.EVALUATED, f"{broken}, and {held} if it holds")
    plain = await _attempt(storage, condition, "plain", None)
    if plain.is_done:
        return _treated(Treatment.REFUSED, f"{broken}, even if it holds")
    return unclear(f"without it {plain}, and the write is not carried out")


async def quoted_tag(storage: Storage) -> Judgement:
    """
    Judge whether If-Match accepts the entity tag as S3 writes it, if it is evaluated at all.
    """
    other = await _attempt(storage, _PUT_IF_MATCH, "other", _other_tag)
    if other.is_done:
        return unclear(f"another ETag is accepted as well: {other}")
    quoted = await _attempt(storage, _PUT_IF_MATCH, "quoted", _tag)
    if quoted.is_done:
        return judge(True, str(quoted))
    bare = await _attempt(storage, _PUT_IF_MATCH, "bare", _bare_tag)
    told = f"{quoted}, and without them {bare}"
    return judge(False, told) if bare.is_done else unclear(told)


PROBES = (
    *(
        Probe(one.name, f"{one.about}: the write is not carried out if it does not hold", partial(_treats, one))
        for one in CONDITIONS
    ),
    Probe("put-quoted-tag", "If-Match of PutObject accepts the ETag in quotation marks", quoted_tag),
)
