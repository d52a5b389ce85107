"""
How a storage system reads the source of a copy, and evaluates the conditions on it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from s3proxy.doctor import writes
from s3proxy.doctor.conditions import LONG_AGO, OTHER_TAG
from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Judgement, Probe, judge, unclear
from s3proxy.doctor.writes import Seen
from s3proxy.s3.head import HeaderList

CONTENT = b"the content of the source"
OTHER_CONTENT = b"the content of another object"

SOURCE, DOUBLE_SOURCE = b"source-a%2541", b"source-aA"
"""
Raw keys: a storage system that decodes the first twice reads the second. Both objects exist, and each decoding is
well-formed: Ceph's gateway 16.2 ends if one is not.
"""


@dataclass(frozen=True, slots=True)
class _Copy:
    """
    An operation that copies.

    Attributes:
        word: The beginning of its raw keys.
    """

    operation: str
    word: bytes
    act: Callable[[Storage, bytes, bytes, HeaderList], Coroutine[Any, Any, Response]]

    async def run(
        self, storage: Storage, word: bytes, source: bytes, header: tuple[bytes, bytes] | None = None
    ) -> tuple[Response, bytes | None]:
        """
        Copy a source to an object of its own; return the response, and what was copied: None for nothing.

        Args:
            word: The end of the raw key.
        """
        raw_key = b"%s-%s" % (self.word, word)
        response = await self.act(storage, raw_key, source, [] if header is None else [header])
        return response, await writes.stored(storage, raw_key)


_OBJECT = _Copy("CopyObject", b"copy", writes.copy)
_PART = _Copy("UploadPartCopy", b"part-copy", writes.copy_part)


def _broken(seen: Seen) -> dict[str, bytes]:
    """
    Return conditions on a source that do not hold for it, by the end of their name.
    """
    return {
        "if-match": OTHER_TAG,
        "if-none-match": seen.etag,
        "if-modified-since": seen.modified,
        "if-unmodified-since": LONG_AGO,
    }


async def _evaluates(copy: _Copy, storage: Storage) -> Judgement:
    """
    Judge whether each condition is refused if it does not hold, and one is not if it holds.
    """
    source = copy.word + b"-conditional"
    seen = await writes.store(storage, source, CONTENT)
    response, content = await copy.run(storage, b"plain", source)
    if content is None:
        return unclear(f"without a condition {response.outcome}, and nothing is copied")
    told, is_right = [], True
    for name, value in _broken(seen).items():
        header = (f"x-amz-copy-source-{name}".encode(), value)
        response, content = await copy.run(storage, name.encode(), source, header)
        is_right = is_right and content is None and response.status == 412
        told.append(f"{name} {'' if content is None else 'ignored, '}{response.outcome}")
    response, content = await copy.run(storage, b"held", source, (b"x-amz-copy-source-if-match", seen.etag))
    if content is None:
        told.append(f"if-match that holds {response.outcome}")
    return judge(is_right and content is not None, "; ".join(told))


async def _reads_percent(copy: _Copy, storage: Storage) -> Judgement:
    """
    Judge whether a percent sign in the key of a source is read once.
    """
    await writes.store(storage, DOUBLE_SOURCE, OTHER_CONTENT)
    await writes.store(storage, SOURCE, CONTENT)
    found = [await writes.stored(storage, key) for key in (SOURCE, DOUBLE_SOURCE)]
    if found != [CONTENT, OTHER_CONTENT]:
        return unclear("both keys are one object")
    response, content = await copy.run(storage, b"percent", SOURCE)
    if content == CONTENT:
        return judge(True, response.outcome)
    if content == OTHER_CONTENT:
        return judge(False, f"{response.outcome}, and another object is copied: it is decoded twice")
    plain, plain_content = await copy.run(storage, b"no-percent", DOUBLE_SOURCE)
    if plain_content is None:
        return unclear(f"without a percent sign {plain.outcome}, and nothing is copied")
    return judge(False, f"{response.outcome}, and it is not copied")


_CONDITIONAL = "conditions on the source of {} are evaluated, with 412 if one does not hold"
_PERCENT = "a%2541 as the source of {} is the key a%41"

PROBES = tuple(
    Probe(name, about.format(copy.operation), partial(examine, copy))
    for name, about, examine, copy in (
        ("copy-source-conditions", _CONDITIONAL, _evaluates, _OBJECT),
        ("part-source-conditions", _CONDITIONAL, _evaluates, _PART),
        ("copy-percent", _PERCENT, _reads_percent, _OBJECT),
        ("part-copy-percent", _PERCENT, _reads_percent, _PART),
    )
)
