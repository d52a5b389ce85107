"""
Which sub-resources a storage does not know, so that a request for one is another operation there.

Only what is harmless is asked: reads, and writes to objects of our own. No sub-resource of a bucket is written or
deleted: whoever does not know it might delete the bucket.
"""

from __future__ import annotations

from collections.abc import Iterator

from s3proxy.doctor.line import Answer
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, judge, unclear
from s3proxy.resign.head import content_md5
from s3proxy.s3.head import HeaderList
from s3proxy.s3.operation import OPERATIONS, VALUELESS_NAMES, Level, Operation

CONTENT = b"s3proxy doctor looks whether this stays"

DOCUMENT = b"<Doctor/>"
"""
What means nothing to an operation that is known: it is refused, or changes no more than an object of ours.
"""

_TAKEN_FOR = {
    (b"GET", Level.BUCKET): "ListObjects",
    (b"GET", Level.OBJECT): "GetObject",
    (b"PUT", Level.OBJECT): "PutObject",
    (b"DELETE", Level.OBJECT): "DeleteObject",
}
"""
What is asked, and as what it is done where the sub-resource is ignored.
"""


def subresource_name(operation: Operation) -> str:
    """
    Return the name of an operation's probe.
    """
    assert operation.subresource is not None
    parts = (operation.method, operation.level.value.encode(), operation.subresource)
    return f"subresource-{b'-'.join(parts).decode().lower()}"


def _asked() -> Iterator[Operation]:
    """
    Give an operation for each sub-resource, which needs no more than that where there is one.
    """
    found: dict[str, Operation] = {}
    for operation in OPERATIONS.values():
        # What it is taken for is another version of the same.
        if operation.subresource is None or operation.name == "ListObjectsV2":
            continue
        if (operation.method, operation.level) in _TAKEN_FOR:
            name = subresource_name(operation)
            if name not in found or len(operation.required) < len(found[name].required):
                found[name] = operation
    yield from found.values()


def _query(operation: Operation) -> bytes:
    assert operation.subresource is not None
    names = [operation.subresource, *sorted(operation.required - {operation.subresource})]
    # A number, where it must be one.
    return b"&".join(name if name in VALUELESS_NAMES else name + b"=1" for name in names)


def _refused(answer: Answer) -> bool:
    """
    Say whether an answer tells nothing of what was asked: it may be about the signature, or about a right.
    """
    return answer.status == 403 or (answer.status >= 500 and answer.status != 501)


def _is_known(operation: Operation) -> Examine:
    query = _query(operation)
    method = operation.method
    taken_for = _TAKEN_FOR[method, operation.level]
    raw_key = subresource_name(operation).encode()

    async def reads(storage: Storage) -> Judgement:
        if operation.level is Level.BUCKET:
            answer = await storage.ask(b"GET", storage.bucket_target(query))
            is_ignored = answer.is_success and b"ListBucketResult" in answer.content
        else:
            await storage.put(raw_key, CONTENT)
            answer = await storage.ask(b"GET", storage.target(raw_key, query))
            is_ignored = answer.is_success and answer.content == CONTENT
        if _refused(answer):
            return unclear(str(answer))
        return judge(not is_ignored, f"{answer}{', as ' + taken_for if is_ignored else ''}")

    async def writes(storage: Storage) -> Judgement:
        await storage.put(raw_key, CONTENT)
        if method == b"PUT":
            headers: HeaderList = [(b"Content-MD5", content_md5(DOCUMENT)), (b"Content-Type", b"application/xml")]
            answer = await storage.ask(b"PUT", storage.target(raw_key, query), headers, DOCUMENT)
        else:
            answer = await storage.ask(b"DELETE", storage.target(raw_key, query))
        found = await storage.get(raw_key)
        if found.is_success or found.status == 404:
            if found.content != CONTENT:
                return judge(False, f"{answer}, as {taken_for}: then GET {found}, {len(found.content)} bytes")
            return unclear(str(answer)) if _refused(answer) else judge(True, str(answer))
        return unclear(f"{answer}, then GET {found}")

    return reads if method == b"GET" else writes


SUBRESOURCES = {subresource_name(operation): operation for operation in _asked()}
"""
An operation for each that is asked, by name of its probe.
"""

PROBES = tuple(
    Probe(
        name, f"{operation.name} is not taken for {_TAKEN_FOR[operation.method, operation.level]}", _is_known(operation)
    )
    for name, operation in SUBRESOURCES.items()
)
