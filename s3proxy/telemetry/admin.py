"""
The admin endpoint: health, readiness and metrics. It is read-only, and listens on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from s3proxy.telemetry.metrics import CONTENT_TYPE

_LOCAL = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.ASCII)

MAX_CONNECTIONS = 64
"""
Maximum number of connections. A further one closes the oldest. Every local user may connect, and the process needs its
file descriptors for clients.
"""


class AdminSite(Site):
    """
    The factory to listen with.

    Args:
        metrics: Returns the document of ``/metrics``.
        why_not_ready: Returns the text of ``/ready``, a sentence; empty if requests are served.
    """

    displayTracebacks = False

    def __init__(self, metrics: Callable[[], bytes], why_not_ready: Callable[[], str]) -> None:
        pages = {
            b"/health": lambda: (200, b"text/plain", b"ok\n"),
            b"/ready": lambda: _ready(why_not_ready()),
            b"/metrics": lambda: (200, CONTENT_TYPE, metrics()),
        }
        super().__init__(_Pages(pages), requestFactory=_Request)  # type: ignore[no-untyped-call]
        self.noisy = False
        self.protocol = _Channel  # type: ignore[method-assign,assignment]
        self.channels: dict[_Channel, None] = {}

    def connection_made(self, channel: _Channel) -> None:
        """
        Add a new connection. Above the limit, reset the oldest.
        """
        self.channels[channel] = None
        if len(self.channels) > MAX_CONNECTIONS:
            oldest: Any = next(iter(self.channels))
            del self.channels[oldest]
            oldest.transport.abortConnection()

    def log(self, request: object) -> None:
        """
        Write no log: monitoring sends a request every few seconds.
        """


class _Channel(HTTPChannel):
    factory: AdminSite

    def connectionMade(self) -> None:
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.factory.connection_made(self)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        self.factory.channels.pop(self, None)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]


class _Request(Request):
    """
    A request whose body is dropped as it arrives. Twisted's own class would let any client write a file.
    """

    def gotLength(self, length: int | None) -> None:
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """
        Drop the bytes.
        """


class _Pages(Resource):
    isLeaf = True

    def __init__(self, pages: Mapping[bytes, Callable[[], tuple[int, bytes, bytes]]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._pages = pages

    def render(self, request: Request) -> bytes:
        """
        Return a page if Host is a loopback name or address, and the path is spelled exactly as in the table of pages.

        A web page that reaches this endpoint by another name (DNS rebinding) gets nothing.
        """
        hosts = request.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) != 1 or _LOCAL.fullmatch(hosts[0].decode("latin-1")) is None:
            status, content_type, content = 403, b"text/plain", b"Host must be localhost\n"
        elif request.method not in {b"GET", b"HEAD"}:
            status, content_type, content = 405, b"text/plain", b"method not allowed\n"
        else:
            path = request.uri.partition(b"?")[0]
            status, content_type, content = self._pages.get(path, _not_found)()
        request.setResponseCode(status)
        for name, value in (
            (b"Content-Type", content_type),
            (b"Content-Security-Policy", b"default-src 'self'"),
            (b"Cache-Control", b"no-store"),
            (b"X-Content-Type-Options", b"nosniff"),
            (b"Allow", b"GET, HEAD"),
            (b"Content-Length", b"%d" % len(content)),
            (b"Connection", b"close"),
        ):
            request.setHeader(name, value)
        channel: Any = request.channel
        channel.persistent = False
        return content if request.method != b"HEAD" else b""


def _ready(why_not: str) -> tuple[int, bytes, bytes]:
    return (503, b"text/plain", why_not.encode() + b"\n") if why_not else (200, b"text/plain", b"ready\n")


def _not_found() -> tuple[int, bytes, bytes]:
    return 404, b"text/plain", b"not found; the paths are /health, /ready and /metrics\n"
