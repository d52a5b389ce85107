"""
What a storage system does with an incomplete body. The commit guard depends on this.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from s3proxy.backend.request import BackendError, BackendRequest
from s3proxy.backend.response import BackendResponse
from s3proxy.doctor.line import HeldBody, Response, half_close, read_response
from s3proxy.doctor.storage import Lacking, Storage
from s3proxy.doctor.verdict import Examine, Judgement, Probe, Verdict, judge, unclear
from s3proxy.resign.account import UNSIGNED_PAYLOAD
from s3proxy.s3.limits import KIB, MIB

SMALL, LARGE = 100 * KIB, 9 * MIB
"""
Bytes of two bodies: one that may arrive in a single read, and one that is stored in several stripes.
"""

FORMER = b"the object which was there before"


@dataclass(frozen=True, slots=True)
class Cut:
    """
    A body that is cut before its end.

    Attributes:
        length: The declared length in bytes.
        missing: Bytes at the end that are not sent.
        is_reset: Whether it ends with RST, as s3proxy ends one; otherwise it ends with FIN.
        is_over: Whether an object of that name exists.
    """

    length: int
    missing: int = 1
    is_reset: bool = True
    is_over: bool = False


async def send_cut(storage: Storage, target: bytes, cut: Cut) -> tuple[bool, Response | None]:
    """
    Send a body without its end, wait a while, then cut it.

    Returns:
        Whether the bytes that were sent were acknowledged, and the response, if one arrived.
    """
    head = storage.head(b"PUT", target, length=cut.length, payload=UNSIGNED_PAYLOAD)
    body = HeldBody(_content(cut.length - cut.missing), cut.length, storage.line)
    patience = storage.patience
    async with storage.line.open() as connection:
        answered = connection.send(BackendRequest(b"PUT", head), body)
        try:
            is_taken = await body.taken(len(head), patience.response)
            await storage.line.pause(patience.hold)
            if not answered.called and not cut.is_reset:
                half_close(connection)
                await _first(storage, answered)
            response = await _read(answered) if answered.called else None
        finally:
            # `open` resets the connection; this ends its Deferred.
            answered.addErrback(lambda failure: None)
            answered.cancel()
    return is_taken, response


async def _first(storage: Storage, answered: Deferred[BackendResponse]) -> None:
    until = storage.line.reactor.seconds() + min(storage.patience.response, 5.0)
    while not answered.called and storage.line.reactor.seconds() < until:
        await storage.line.pause(0.05)


async def _read(answered: Deferred[BackendResponse]) -> Response | None:
    try:
        return await read_response(await answered)
    except BackendError:
        return None


def _content(size: int) -> bytes:
    block = hashlib.sha256(b"s3proxy doctor").digest() * (32 * KIB)
    return (block * (size // len(block) + 1))[:size]


def _cuts(name: bytes, cut: Cut) -> Examine:
    async def examine(storage: Storage) -> Judgement:
        former = FORMER if cut.is_over else None
        if former is not None:
            await storage.put(name, former)
        storage.watched[name] = former
        is_taken, response = await send_cut(storage, storage.target(name), cut)
        for seconds in storage.patience.look:
            await storage.line.pause(seconds)
            judgement = await look(storage, name, former)
            if judgement[0] is not Verdict.YES:
                del storage.watched[name]
                return judgement
        if response is not None and response.status < 400:
            return judge(False, f"the response was {response}, but nothing was stored")
        if not is_taken:
            return unclear("it did not accept the body")
        return judge(True, judgement[1] + (f"; the response was {response}" if response is not None else ""))

    return examine


async def look(storage: Storage, raw_key: bytes, former: bytes | None) -> Judgement:
    """
    Judge whether a key is as it was before the cut body.
    """
    found = await storage.get(raw_key)
    if found.is_success:
        if found.content == former:
            return judge(True, "the former object is still there")
        return judge(False, f"{len(found.content)} bytes of it were stored")
    if found.status != 404:
        return unclear(f"GET {found}")
    return judge(former is None, "nothing was stored" if former is None else "the former object is gone")


async def drops_cut_part(storage: Storage) -> Judgement:
    """
    Judge whether a cut part of a multipart upload is dropped: it is not listed, and cannot complete the upload.
    """
    name, cut = b"cut-part", Cut(SMALL)
    try:
        upload = await storage.begin_upload(name)
    except Lacking as error:
        return judge(True, str(error))
    is_taken, _ = await send_cut(storage, storage.target(name, b"partNumber=1&" + upload), cut)
    await storage.line.pause(sum(storage.patience.look))
    if not is_taken:
        return unclear("it did not accept the body")
    parts = await storage.ask(b"GET", storage.target(name, upload))
    if parts.is_success and parts.elements("PartNumber"):
        return judge(False, f"the part is listed, of {parts.element('Size')} bytes")
    etag = hashlib.md5(_content(cut.length - cut.missing)).hexdigest()
    done = await storage.complete_upload(name, upload, f'"{etag}"')
    stored = await storage.get(name)
    if stored.is_success:
        return judge(False, f"the upload was completed with {len(stored.content)} bytes of it")
    return judge(True, f"it is not listed ({parts}), and the upload cannot be completed with it ({done})")


async def waits_for_the_end(storage: Storage) -> Judgement:
    """
    Judge whether success is reported only after the last byte.
    """
    name = b"early-response"
    head = storage.head(b"PUT", storage.target(name), length=SMALL, payload=UNSIGNED_PAYLOAD)
    content = _content(SMALL)
    body = HeldBody(content[:-1], SMALL, storage.line)
    async with storage.line.open() as connection:
        answered = connection.send(BackendRequest(b"PUT", head, first_byte_time=storage.patience.response), body)
        await body.taken(len(head), storage.patience.response)
        await storage.line.pause(storage.patience.hold)
        is_early = answered.called
        if not is_early:
            body.let_go(content[-1:])
        response = await read_response(await answered)
    if is_early:
        return judge(response.status >= 400, f"{response} before the last byte")
    stored = await storage.get(name)
    if not response.is_success or stored.content != content:
        return unclear(f"PUT {response}, GET {stored}")
    return judge(True, f"{response} after the last byte")


async def nothing_came_later(storage: Storage) -> Judgement:
    """
    Look once more for every cut body that seemed to be dropped.
    """
    for raw_key, former in storage.watched.items():
        verdict, why = await look(storage, raw_key, former)
        if verdict is not Verdict.YES:
            return verdict, f"{raw_key.decode()}: {why}"
    return judge(True, f"{len(storage.watched)} keys are unchanged")


PROBES = (
    Probe("early-response", "the response to an upload comes after the whole body", waits_for_the_end),
    Probe("reset-drops", "a body that is reset before its last byte is dropped", _cuts(b"reset", Cut(SMALL))),
    Probe(
        "reset-drops-large",
        f"the same for {LARGE // MIB} MiB, which is more than one stripe",
        _cuts(b"reset-large", Cut(LARGE)),
    ),
    Probe(
        "reset-drops-half",
        "the same for a body that is reset in the middle",
        _cuts(b"reset-half", Cut(SMALL, SMALL // 2)),
    ),
    Probe(
        "reset-keeps-former",
        "an object stays if a body that would replace it is reset",
        _cuts(b"reset-over", Cut(SMALL, is_over=True)),
    ),
    Probe(
        "reset-drops-part", "a part of a multipart upload that is reset before its last byte is dropped", drops_cut_part
    ),
    Probe(
        "fin-drops",
        "a body that ends with FIN before its last byte is dropped",
        _cuts(b"fin", Cut(SMALL, is_reset=False)),
    ),
    Probe(
        "fin-keeps-former",
        "an object stays if a body that would replace it ends with FIN",
        _cuts(b"fin-over", Cut(SMALL, is_reset=False, is_over=True)),
    ),
)

LATE = Probe("nothing-came-later", "no cut body was stored later", nothing_came_later)
"""
Runs after all others.
"""

PART_NAME = "reset-drops-part"
TAIL_NAMES = (
    *("early-response", "reset-drops", "reset-drops-large", "reset-drops-half", "reset-keeps-former"),
    *(PART_NAME, LATE.name),
)
"""
The probes that must all be *yes* for `commit = "tail"`. FIN is not among them: s3proxy never sends it within a body.
"""
