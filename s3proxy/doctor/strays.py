"""
Whether bytes follow an answer that has no body: a kept connection would take them for the next answer.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.verdict import Judgement, Probe, judge, unclear
from s3proxy.s3.head import HeaderList

CONTENT = b"s3proxy doctor looks what follows this"

_END = b"\r\n\r\n"
_BODILESS = frozenset({b"204", b"304"})


class _Listening(Protocol):
    """
    Keeps all that comes. The daemon's own connections end at a stray byte, and do not tell how many there were.
    """

    def __init__(self) -> None:
        self.received = b""
        self.is_over = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_over = True

    def final(self) -> tuple[bytes, bytes] | None:
        """
        Return the head of the final answer, and what is behind it; None while it has not come.
        """
        rest = self.received
        while _END in rest:
            head, _, rest = rest.partition(_END)
            if head.split(b" ", 2)[1:2] != [b"100"]:
                return head, rest
        return None


async def _listen(storage: Storage, method: bytes, target: bytes, headers: HeaderList) -> tuple[bytes, bytes]:
    """
    Ask on a connection of its own; return the head of the answer, and what came behind it in a while.

    Raises:
        Unclear: There was no answer.
    """
    line = storage.line
    head = storage.head(method, target, headers)
    try:
        listening: Any = await line.endpoint.connect(Factory.forProtocol(_Listening))
    except Exception as error:
        raise Unclear(f"no answer: {error}") from None
    try:
        listening.transport.write(head)
        until = line.reactor.seconds() + storage.patience.answer
        while listening.final() is None and not listening.is_over and line.reactor.seconds() < until:
            await line.pause(0.02)
        await line.pause(storage.patience.look[0])
    finally:
        listening.transport.abortConnection()
    found: tuple[bytes, bytes] | None = listening.final()
    if found is None:
        raise Unclear("no answer: no head of one came")
    return found


def _judge(method: bytes, seen: dict[str, tuple[bytes, bytes]]) -> Judgement:
    """
    Judge answers, by what was asked: the head of each, and what is behind it.
    """
    told, strays = [], 0
    for asked, (head, rest) in seen.items():
        status = head.split(b" ", 2)[1]
        if method != b"HEAD" and status not in _BODILESS:
            return unclear(f"{status.decode('latin-1')}, which may have a body")
        told.append(f"{asked}{status.decode('latin-1')}{f' and {len(rest)} bytes behind it' if rest else ''}")
        strays += len(rest)
    return judge(strays == 0, ", ".join(told))


async def heads_silent(storage: Storage) -> Judgement:
    await storage.put(b"silent-head", CONTENT)
    targets = {
        "object ": storage.target(b"silent-head"),
        "its ACL ": storage.target(b"silent-head", b"acl"),
        "absent object ": storage.target(b"silent-absent"),
        "bucket ": storage.bucket_target(),
        "its uploads ": storage.bucket_target(b"uploads"),
        "absent bucket ": storage.bucket_target(bucket=storage.absent_bucket),
        "service ": storage.service_target(),
    }
    seen = {asked: await _listen(storage, b"HEAD", target, []) for asked, target in targets.items()}
    return _judge(b"HEAD", seen)


async def no_content_silent(storage: Storage) -> Judgement:
    await storage.put(b"silent-204", CONTENT)
    return _judge(b"DELETE", {"": await _listen(storage, b"DELETE", storage.target(b"silent-204"), [])})


async def not_modified_silent(storage: Storage) -> Judgement:
    put = await storage.put(b"silent-304", CONTENT)
    headers: HeaderList = [(b"If-None-Match", put.fields.value(b"etag") or b"*")]
    return _judge(b"GET", {"": await _listen(storage, b"GET", storage.target(b"silent-304"), headers)})


PROBES = (
    Probe("head-silent", "nothing follows the answer to HEAD", heads_silent),
    Probe("204-silent", "nothing follows 204", no_content_silent),
    Probe("304-silent", "nothing follows 304", not_modified_silent),
)
