"""
The Twisted resource that begins an exchange at the end of a request's head.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from s3proxy.frontend.request import StreamedRequest
from s3proxy.interfaces import IStreamedRequest, IStreamedResource


class ExchangeBeginner(Protocol):
    """
    Carries a request out: a `s3proxy.exchange.proxy.Proxy`.
    """

    def begin(self, request: StreamedRequest) -> None:
        """
        Begin the exchange of a request.
        """


@implementer(IResource, IStreamedResource)
class S3Resource:
    """
    All of S3 below one resource: a leaf, whatever the path.

    It must be served by an `s3proxy.frontend.site.S3Site`, beside an application's own resources if wanted: a stock
    `Site` renders a resource only after the whole body was stored.

    Args:
        proxy: Carries requests out; may be replaced at any time.
    """

    isLeaf = True
    _log = Logger()

    def __init__(self, proxy: ExchangeBeginner) -> None:
        self.proxy = proxy

    def render(self, request: Any) -> int | bytes:
        """
        Begin an exchange.
        """
        streamed: StreamedRequest = request
        if not IStreamedRequest.providedBy(request):
            self._log.critical("an S3Resource must be served by s3proxy.frontend.site.S3Site, not by a stock Site")
            request.setResponseCode(500)
            return b"An S3Resource must be served by s3proxy.frontend.site.S3Site, not by a stock Site.\n"
        self.proxy.begin(streamed)
        return NOT_DONE_YET

    def getChildWithDefault(self, name: bytes, request: object) -> S3Resource:
        """
        Return the resource itself: S3's paths are not a tree of resources.
        """
        return self

    def putChild(self, path: bytes, child: object) -> None:
        """
        Refuse: put an application's resources beside this one, on the site's root.
        """
        raise TypeError("an S3Resource is a leaf; put other resources on the site's root")
