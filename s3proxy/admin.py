"""
The admin endpoint: is it alive, is it ready, and what does it measure. It changes nothing, and listens on loopback.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource
from twisted.web.server import Request, Site

from s3proxy.metrics import CONTENT_TYPE

_LOCAL = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?", re.ASCII)


class AdminSite(Site):
    """
    The factory to listen with.

    Args:
        metrics: Returns what ``/metrics`` tells.
        why_not_ready: Returns a sentence, or nothing where requests are served: what ``/ready`` tells.
    """

    displayTracebacks = False

    def __init__(self, metrics: Callable[[], bytes], why_not_ready: Callable[[], str]) -> None:
        root = _Page(lambda: (404, b"text/plain", b"there are /health, /ready and /metrics\n"))
        root.putChild(b"health", _Page(lambda: (200, b"text/plain", b"ok\n")))
        root.putChild(b"ready", _Page(lambda: _ready(why_not_ready())))
        root.putChild(b"metrics", _Page(lambda: (200, CONTENT_TYPE, metrics())))
        super().__init__(root)  # type: ignore[no-untyped-call]
        self.noisy = False

    def log(self, request: object) -> None:
        """
        Keep no log: whoever watches asks every few seconds.
        """


class _Page(Resource):
    def __init__(self, read: Callable[[], tuple[int, bytes, bytes]]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._read = read

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _Page(lambda: (404, b"text/plain", b"there is no such page\n"))

    def render(self, request: Request) -> bytes:
        """
        Answer, if it is asked by its own name: a page of another site which found our address is not.
        """
        hosts = request.requestHeaders.getRawHeaders(b"host", [])
        if len(hosts) != 1 or _LOCAL.fullmatch(hosts[0].decode("latin-1")) is None:
            status, content_type, content = 403, b"text/plain", b"ask by the name localhost\n"
        elif request.method not in {b"GET", b"HEAD"}:
            status, content_type, content = 405, b"text/plain", b"there is nothing to change here\n"
        else:
            status, content_type, content = self._read()
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
