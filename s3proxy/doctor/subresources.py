"""
Which sub-resources a storage system ignores, so that a request for one is another operation there.

Only harmless requests are sent: reads, and writes to our own objects. No sub-resource of a bucket is written or
deleted, because a storage system that ignores it might delete the bucket.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from s3proxy.doctor import writes
from s3proxy.doctor.line import Response
from s3proxy.doctor.storage import Storage
from s3proxy.doctor.verdict import Judgement, Probe, judge, unclear
from s3proxy.resign.head import content_md5
from s3proxy.s3.head import HeaderList
from s3proxy.s3.operation import OPERATIONS, VALUELESS_NAMES, Level, Operation

CONTENT = b"s3proxy doctor looks whether this stays"

DOCUMENT = b"<Doctor/>"
"""
A document without meaning: an operation refuses it, or changes only an object of ours.
"""

_TAKEN_FOR = {
    (b"GET", Level.BUCKET): "ListObjects",
    (b"GET", Level.OBJECT): "GetObject",
    (b"PUT", Level.OBJECT): "PutObject",
    (b"DELETE", Level.OBJECT): "DeleteObject",
}
"""
The operation that has no sub-resource, by method and level of the probed operations.
"""

_NOT_PROBED = frozenset(
    {
        # If the sub-resource is ignored, the operation is an older version of the same.
        "ListObjectsV2",
        # gaul/s3proxy 4.1 stores a part of an upload that was never started, and nothing removes it.
        "UploadPart",
        "UploadPartCopy",
    }
)


def subresource_name(operation: Operation) -> str:
    """
    Return the name of the probe of an operation.
    """
    parts = (operation.method, operation.level.value.encode(), operation.subresource or b"")
    return f"subresource-{b'-'.join(parts).decode().lower()}"


def _probed() -> Iterator[Operation]:
    """
    Yield one operation for each sub-resource: the one that requires the fewest other parameters.
    """
    found: dict[str, Operation] = {}
    for operation in OPERATIONS.values():
        if operation.subresource is None or operation.name in _NOT_PROBED:
            continue
        if (operation.method, operation.level) in _TAKEN_FOR:
            name = subresource_name(operation)
            if name not in found or len(operation.required) < len(found[name].required):
                found[name] = operation
    yield from found.values()


def _taken_for(operation: Operation) -> str:
    return _TAKEN_FOR[operation.method, operation.level]


def _query(operation: Operation) -> bytes:
    names = [operation.subresource or b"", *sorted(operation.required - {operation.subresource})]
    # Some values must be numbers.
    return b"&".join(name if name in VALUELESS_NAMES else name + b"=1" for name in names)


def _judge(operation: Operation, response: Response, is_ignored: bool, told: str = "") -> Judgement:
    if is_ignored:
        return judge(False, f"{response}, as {_taken_for(operation)}{told}")
    # The refusal may be about the signature or a right, and a failure about anything.
    if response.status == 403 or (response.status >= 500 and response.status != 501):
        return unclear(str(response))
    return judge(True, str(response))


async def _lists(operation: Operation, storage: Storage) -> Judgement:
    response = await storage.ask(b"GET", storage.bucket_target(_query(operation)))
    return _judge(operation, response, response.is_success and b"ListBucketResult" in response.content)


async def _reads(operation: Operation, storage: Storage) -> Judgement:
    raw_key = subresource_name(operation).encode()
    await storage.put(raw_key, CONTENT)
    response = await storage.ask(b"GET", storage.target(raw_key, _query(operation)))
    return _judge(operation, response, response.is_success and response.content == CONTENT)


async def _writes(operation: Operation, storage: Storage) -> Judgement:
    raw_key = subresource_name(operation).encode()
    await storage.put(raw_key, CONTENT)
    is_put = operation.method == b"PUT"
    headers: HeaderList = [(b"Content-MD5", content_md5(DOCUMENT)), (b"Content-Type", b"application/xml")]
    target = storage.target(raw_key, _query(operation))
    response = await storage.ask(operation.method, target, headers if is_put else None, DOCUMENT if is_put else None)
    content = await writes.stored(storage, raw_key)
    left = "the object is gone" if content is None else f"the object has {len(content)} bytes"
    return _judge(operation, response, content != CONTENT, f": {left}")


def _probe(operation: Operation) -> Probe:
    examine = _writes if not operation.is_read else _lists if operation.level is Level.BUCKET else _reads
    about = f"{operation.name} is not taken for {_taken_for(operation)}"
    return Probe(subresource_name(operation), about, partial(examine, operation))


SUBRESOURCES = {subresource_name(operation): operation for operation in _probed()}
"""
The operations that are probed, by name of the probe.
"""

PROBES = tuple(_probe(operation) for operation in SUBRESOURCES.values())
