"""
Whether bytes follow a response that has no body. On a connection that stays open they would become the next response.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from s3proxy.doctor.storage import Storage, Unclear
from s3proxy.doctor.verdict import Judgement, Probe, judge, unclear
from s3proxy.s3.head import HeaderList

CONTENT = b"s3proxy doctor looks for bytes after this"

_END = b"\r\n\r\n"
_BODILESS = frozenset({204, 304})


class _Listening(Protocol):
    """
    Keeps everything that arrives. `BackendConnection` ends at a stray byte, and does not count what follows.
    """

    def __init__(self) -> None:
        self.received = b""
        self.is_over = False

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_over = True

    def final(self) -> tuple[int, int] | None:
        """
        Return the status of the final response, and the number of bytes after its head; None before it arrives.
        """
        rest = self.received
        while _END in rest:
            head, _, rest = rest.partition(_END)
            status = head.split(b" ", 2)[1:2]
            if status != [b"100"]:
                return (int(status[0]) if status and status[0].isdigit() else 0), len(rest)
        return None


async def _listen(storage: Storage, method: bytes, target: bytes, headers: HeaderList | None = None) -> tuple[int, int]:
    """
    Send a request on a new connection; return the status, and the number of bytes that follow the head in a while.

    Raises:
        Unclear: There was no response.
    """
    line = storage.line
    head = storage.head(method, target, headers)
    try:
        listening: Any = await line.endpoint.connect(Factory.forProtocol(_Listening))
    except Exception as error:
        raise Unclear(f"no response: {error}") from None
    try:
        listening.transport.write(head)
        until = line.reactor.seconds() + storage.patience.response
        while listening.final() is None and not listening.is_over and line.reactor.seconds() < until:
            await line.pause(0.02)
        await line.pause(storage.patience.look[0])
    finally:
        listening.transport.abortConnection()
    found: tuple[int, int] | None = listening.final()
    if found is None:
        raise Unclear("no response: no head of one arrived")
    return found


def _told(about: str, status: int, size: int) -> str:
    return f"{about}{status}{f' and {size} bytes after it' if size else ''}"


async def head_silent(storage: Storage) -> Judgement:
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
    seen = {about: await _listen(storage, b"HEAD", target) for about, target in targets.items()}
    return judge(
        not any(size for _, size in seen.values()), ", ".join(_told(about, *one) for about, one in seen.items())
    )


async def no_content_silent(storage: Storage) -> Judgement:
    await storage.put(b"silent-204", CONTENT)
    return _judge(*await _listen(storage, b"DELETE", storage.target(b"silent-204")))


async def not_modified_silent(storage: Storage) -> Judgement:
    put = await storage.put(b"silent-304", CONTENT)
    headers: HeaderList = [(b"If-None-Match", put.fields.value(b"etag") or b"*")]
    return _judge(*await _listen(storage, b"GET", storage.target(b"silent-304"), headers))


def _judge(status: int, size: int) -> Judgement:
    if status not in _BODILESS:
        return unclear(f"{status}, which may have a body")
    return judge(size == 0, _told("", status, size))


PROBES = (
    Probe("head-silent", "nothing follows the response to HEAD", head_silent),
    Probe("204-silent", "nothing follows 204", no_content_silent),
    Probe("304-silent", "nothing follows 304", not_modified_silent),
)
